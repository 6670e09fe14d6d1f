"""The Switchboard's time: turned by hand in tests, by :func:`drive` where the switch runs in real time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskStatus

if TYPE_CHECKING:
    from cti_framework.switchboard.board import Switchboard

__all__ = ["Clock", "Timer", "drive"]

_ROUNDING_SECONDS: Final = 1e-9
"""A timer this close is due: the sleep until it can be too short for a clock that jumps from sleep to sleep to move at all."""


class Timer:
    """Something that is to happen later.

    Args:
        deadline_seconds: When, in seconds since the clock's start.
        callback: What.

    Attributes:
        deadline_seconds: As given.
    """

    __slots__ = ("_callback", "deadline_seconds")

    def __init__(self, deadline_seconds: float, callback: Callable[[], None]) -> None:
        self.deadline_seconds = deadline_seconds
        self._callback: Callable[[], None] | None = callback

    @property
    def pending(self) -> bool:
        """Whether it is still going to happen."""
        return self._callback is not None

    def cancel(self) -> None:
        """Have it not happen. Cancelling twice, or too late, does no harm."""
        self._callback = None

    def fire(self) -> None:
        """Have it happen now, unless it did or was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Clock:
    """Time and timers.

    Args:
        start: What the clock shows first: aware.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a clock is an aware time")
        self._start = start
        self._elapsed_seconds = 0.0
        self._source: Callable[[], float] | None = None
        self._wake: Callable[[], None] | None = None
        # The count keeps timers of one deadline in the order in which they were set.
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._turning = False

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self.at(self.elapsed_seconds)

    def at(self, elapsed_seconds: float) -> datetime:
        """Tell what the clock shows at a moment.

        Args:
            elapsed_seconds: Seconds since the start.

        Returns:
            The time, aware.
        """
        return self._start + timedelta(seconds=elapsed_seconds)

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the start; never goes back."""
        if self._source is not None:
            self._elapsed_seconds = max(self._elapsed_seconds, self._source())
        return self._elapsed_seconds

    @property
    def next_deadline_seconds(self) -> float | None:
        """When the next timer is due, in seconds since the start; ``None``: there is none."""
        while self._timers and not self._timers[0][2].pending:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> Timer:
        """Set a timer.

        Args:
            delay_seconds: From now; 0 is "when the clock is turned next", never at once.
            callback: What to do then.

        Returns:
            The timer, to cancel it.
        """
        timer = Timer(self.elapsed_seconds + max(0.0, delay_seconds), callback)
        self._count += 1
        heapq.heappush(self._timers, (timer.deadline_seconds, self._count, timer))
        if self._wake is not None:
            self._wake()
        return timer

    def advance(self, seconds: float) -> None:
        """Turn the clock by hand; timers fire in the order of their deadlines, each at its own time.

        Args:
            seconds: How far; not negative.

        Raises:
            ValueError: It is negative.
            RuntimeError: The clock follows real time, or a timer turns it.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        if self._source is not None:
            raise RuntimeError("this clock follows real time and cannot be turned by hand")
        target = self._elapsed_seconds + seconds
        self._fire_until(target)
        self._elapsed_seconds = target

    def fire_due(self) -> None:
        """Fire the timers that are due now."""
        self._fire_until(self.elapsed_seconds + _ROUNDING_SECONDS)

    @contextmanager
    def follow(self, source: Callable[[], float], wake: Callable[[], None]) -> Generator[None]:
        """Show another clock's time for as long as the block lasts; what was shown before goes on from there.

        Args:
            source: A monotonic clock, in seconds.
            wake: Called whenever a timer is set.

        Raises:
            RuntimeError: It follows one already.
        """
        if self._source is not None:
            raise RuntimeError("this clock already follows real time")
        offset = self._elapsed_seconds - source()
        self._source, self._wake = lambda: source() + offset, wake
        try:
            yield
        finally:
            self._elapsed_seconds = self.elapsed_seconds
            self._source = self._wake = None

    def _fire_until(self, target_seconds: float) -> None:
        if self._turning:
            raise RuntimeError("a timer cannot turn the clock")
        self._turning = True
        try:
            while (deadline := self.next_deadline_seconds) is not None and deadline <= target_seconds:
                self._elapsed_seconds = max(self._elapsed_seconds, deadline)
                heapq.heappop(self._timers)[2].fire()
        finally:
            self._turning = False


async def drive(switchboard: Switchboard, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Turn a Switchboard's clock in real time until cancelled. It sleeps until the next timer; new ones wake it.

    Args:
        switchboard: Whose.
        task_status: Told when the clock runs, for ``TaskGroup.start``.

    Raises:
        RuntimeError: Its clock is driven already.
    """
    clock = switchboard.clock
    alarm = anyio.Event()

    def wake() -> None:
        alarm.set()

    with clock.follow(anyio.current_time, wake):
        task_status.started()
        while True:
            alarm = anyio.Event()
            clock.fire_due()
            deadline = clock.next_deadline_seconds
            delay = float("inf") if deadline is None else max(0.0, deadline - clock.elapsed_seconds)
            with anyio.move_on_after(delay):
                await alarm.wait()
