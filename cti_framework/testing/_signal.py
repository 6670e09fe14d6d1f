"""Waiting until something changes, or until a time: of the computer, or of a clock that a test turns by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from cti_framework.switchboard import Clock

__all__ = ["ROUNDING_SECONDS", "Signal"]

ROUNDING_SECONDS: Final = 1e-9
"""What is due so soon is due: on a clock turned by hand the rest would never come."""


class Signal:
    """Something that can be waited for again and again.

    Args:
        clock: The clock turned by hand; ``None``: the event loop's.
        also: Another that is set whenever this one is.
    """

    __slots__ = ("_also", "_clock", "_event", "_waiting")

    def __init__(self, clock: Clock | None, also: Signal | None = None) -> None:
        self._clock = clock
        self._also = also
        self._event = anyio.Event()
        self._waiting = 0

    def now(self) -> float:
        """Tell the time, in seconds that never go back."""
        return anyio.current_time() if self._clock is None else self._clock.elapsed_seconds

    def set(self) -> None:
        """Wake whoever waits."""
        if self._waiting:
            self._event.set()
            self._event = anyio.Event()
        if self._also is not None:
            self._also.set()

    async def wait(self, until_seconds: float = math.inf) -> None:
        """Wait until it is set, or until a time. It may wake for nothing.

        Args:
            until_seconds: By ``now``.
        """
        event = self._event
        timer = None
        self._waiting += 1
        try:
            if self._clock is None:
                with anyio.CancelScope(deadline=until_seconds):
                    await event.wait()
            else:
                if until_seconds < math.inf:
                    timer = self._clock.call_later(until_seconds - self._clock.elapsed_seconds, self.set)
                await event.wait()
        finally:
            self._waiting -= 1
            if timer is not None:
                timer.cancel()
