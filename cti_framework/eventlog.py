"""The numbered log of a session: one ring of events, and readers that are no more than a place in it.

A reader costs a number: no queue, no copy. It is woken when it has read everything and something is added. One that stays
away until its place has left the ring is told so (``ResyncRequired``) with all there is, and goes on from there; or it is
disconnected, if it prefers. It never slows the writer or the other readers, and what it lost is counted and logged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

import anyio
import anyio.lowlevel
import attrs
import structlog

from cti_framework.errors import SubscriberBehindError
from cti_framework.events import Cursor, Event, ResyncRequired

__all__ = ["EventLog", "EventLoss", "IfBehind", "Subscription"]

_UNNAMED: Final = "unnamed"
_OTHERS: Final = "others"
_MOST_NAMES: Final = 256
"""Losses are kept by so many names: one that a host makes up for each web page is gone tomorrow, and would never be forgotten."""


class IfBehind(Enum):
    """What becomes of a reader that was away for longer than events are kept."""

    RESYNC = "resync"
    """It is given ``ResyncRequired``, with all there is, and goes on from there."""
    DISCONNECT = "disconnect"
    """It gets ``SubscriberBehindError``, and then it is over."""


@attrs.frozen
class EventLoss:
    """What the readers of one name have lost.

    Attributes:
        times: How often one of them was away for too long.
        events: How many events they did not get.
    """

    times: int
    events: int


class EventLog:
    """The events of one session, numbered without gaps.

    Args:
        epoch: Names this opening of the session.
        resync: Makes the event for a reader whose place is gone, from the number of events it misses.
        capacity: How many events are kept.
        log: Where losses are announced.

    Attributes:
        epoch: As given.
        last_seq: The number of the latest event.

    Raises:
        ValueError: The capacity is less than one.
    """

    def __init__(
        self,
        epoch: str,
        resync: Callable[[int | None], ResyncRequired],
        *,
        capacity: int = 1024,
        log: Any = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"The capacity of a log of events must be at least 1, not {capacity!r}.")
        self.epoch = epoch
        self.last_seq = 0
        self._resync = resync
        self._capacity = capacity
        # The latest is at the right end: a reader that keeps up finds its next event near it.
        self._ring: deque[Event] = deque(maxlen=capacity)
        self._waiting: list[anyio.Event] = []
        self._closed = False
        self._log = structlog.get_logger("cti_framework") if log is None else log
        self._losses: dict[str, EventLoss] = {}

    def extend(self, events: Sequence[Event]) -> None:
        """Add events. Their numbers must be the next ones.

        Args:
            events: The events, in order.
        """
        self._ring.extend(events)
        self.last_seq += len(events)
        if self._waiting:
            self._wake()

    def kept(self) -> tuple[Event, ...]:
        """Give all events that are kept, oldest first, for whoever looks back and reads nothing on."""
        return tuple(self._ring)

    def close(self) -> None:
        """Say that nothing more comes: readers end when they have read everything."""
        self._closed = True
        self._wake()

    @property
    def losses(self) -> dict[str, EventLoss]:
        """What readers have lost, by the name that they gave."""
        return dict(self._losses)

    def read(self, after: Cursor | None = None, *, if_behind: IfBehind = IfBehind.RESYNC, name: str = "") -> Subscription:
        """Begin to read.

        Args:
            after: The last event already seen; ``None``: only what comes from now on.
            if_behind: What becomes of the reader when its place is gone.
            name: By what its losses are counted and logged.

        Returns:
            An asynchronous iterator. Its place is fixed now, not when it is first asked.
        """
        if after is None:
            seq: int | None = self.last_seq
        elif after.epoch != self.epoch or not 0 <= after.seq <= self.last_seq:
            seq = None
        else:
            seq = after.seq
        return Subscription(self, seq, if_behind, name, after)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    def _lost(self, name: str, missed: int) -> None:
        name = name or _UNNAMED
        if name not in self._losses and len(self._losses) >= _MOST_NAMES:
            name = _OTHERS
        before = self._losses.get(name, EventLoss(0, 0))
        loss = self._losses[name] = EventLoss(before.times + 1, before.events + missed)
        # The first time, the second, the fourth…: one that is always too slow says so a few times, and not at every event.
        if loss.times & (loss.times - 1) == 0:
            self._log.warning("cti.subscriber.behind", reader=name, missed=missed, times=loss.times, missed_in_all=loss.events)

    async def _wait(self) -> bool:
        """Wait until something is added.

        Returns:
            Whether something can still come.
        """
        if self._closed:
            # Whoever asks again and again must not keep the loop to himself.
            await anyio.lowlevel.checkpoint()
            return False
        event = anyio.Event()
        self._waiting.append(event)
        try:
            await event.wait()
        except BaseException:
            if event in self._waiting:
                self._waiting.remove(event)
            raise
        return True


class Subscription:
    """A reader of a session's events: an asynchronous iterator that needs no closing.

    It ends when the session is closed and everything is read.
    """

    __slots__ = ("_after", "_if_behind", "_is_over", "_log", "_seq", "name")

    def __init__(
        self,
        log: EventLog,
        seq: int | None,
        if_behind: IfBehind = IfBehind.RESYNC,
        name: str = "",
        after: Cursor | None = None,
    ) -> None:
        self._log = log
        self._seq = seq
        self._after = after
        self._if_behind = if_behind
        self._is_over = False
        self.name = name

    @property
    def cursor(self) -> Cursor:
        """The last event that was given out: where another reader can go on. Before the first, where this one was to begin."""
        seq, after = self._seq, self._after
        if seq is None and after is not None:
            # It has lost something and was not told yet: who goes on from here has to be told instead.
            return after
        return Cursor(self._log.epoch, self._log.last_seq if seq is None else seq)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Give the next event, and wait for it if need be.

        Returns:
            The event.

        Raises:
            StopAsyncIteration: The session is closed, and everything is read; or the reader was disconnected.
            SubscriberBehindError: Its place is gone, and it asked to be disconnected then.
        """
        log, seq = self._log, self._seq
        # The usual case without a call: a reader that has not fallen behind and has something to read.
        if seq is not None and seq < log.last_seq <= seq + log._capacity:
            self._seq = seq + 1
            return log._ring[seq - log.last_seq]
        while True:
            event = self.next_nowait()
            if event is not None:
                return event
            if self._is_over or not await log._wait():
                # What was added between the last look and the closing is still to be read.
                event = self.next_nowait()
                if event is not None:
                    return event
                raise StopAsyncIteration

    def next_nowait(self) -> Event | None:
        """Give the next event if it is there already.

        Returns:
            The event, or ``None`` if everything is read, or the reader was disconnected.

        Raises:
            SubscriberBehindError: Its place is gone, and it asked to be disconnected then.
        """
        log, seq = self._log, self._seq
        if self._is_over or seq == log.last_seq:
            return None
        if seq is not None and log.last_seq <= seq + log._capacity:
            self._seq = seq + 1
            return log._ring[seq - log.last_seq]
        missed = None if seq is None else log.last_seq - seq
        if missed is not None:
            log._lost(self.name, missed)
        if self._if_behind is IfBehind.DISCONNECT:
            self._is_over = True
            reader = self.name or _UNNAMED
            raise SubscriberBehindError(
                f"The place of the reader {reader!r} is not in this session's log of events."
                if missed is None
                else f"The reader {reader!r} was away for too long: {missed} events came, and {log._capacity} are kept.",
                missed=missed,
                remedy="Read `model.calls` and `model.agent`, and begin again with `model.events()`.",
            )
        event = log._resync(missed)
        self._seq = event.seq
        return event
