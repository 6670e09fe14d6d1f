"""The numbered log of a session: one ring of events, and readers that are no more than a place in it.

A reader costs a number: no queue, no copy. It is woken when it has read everything and something is added. One that stays
away until its place has left the ring is told so (``ResyncRequired``) with all there is, and goes on from there; it never slows
the writer or the other readers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import anyio

from cti_framework.events import Cursor, Event, ResyncRequired

__all__ = ["EventLog", "Subscription"]


class EventLog:
    """The events of one session, numbered without gaps.

    Args:
        epoch: Names this opening of the session.
        resync: Makes the event for a reader whose place is gone, from the number of events it misses.
        capacity: How many events are kept.

    Raises:
        ValueError: The capacity is less than one.
    """

    def __init__(self, epoch: str, resync: Callable[[int | None], ResyncRequired], *, capacity: int = 1024) -> None:
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

    def extend(self, events: Sequence[Event]) -> None:
        """Add events. Their numbers must be the next ones.

        Args:
            events: The events, in order.
        """
        self._ring.extend(events)
        self.last_seq += len(events)
        if self._waiting:
            self._wake()

    def close(self) -> None:
        """Say that nothing more comes: readers end when they have read everything."""
        self._closed = True
        self._wake()

    def read(self, after: Cursor | None = None) -> Subscription:
        """Begin to read.

        Args:
            after: The last event already seen; ``None``: only what comes from now on.

        Returns:
            An asynchronous iterator. Its place is fixed now, not when it is first asked.
        """
        if after is None:
            return Subscription(self, self.last_seq)
        if after.epoch != self.epoch or not 0 <= after.seq <= self.last_seq:
            return Subscription(self, None)
        return Subscription(self, after.seq)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    def _next_after(self, seq: int | None) -> Event | None:
        """Give the event after a place, the one that makes up for it, or ``None`` if all is read."""
        if seq is None:
            return self._resync(None)
        if seq >= self.last_seq:
            return None
        if seq + self._capacity < self.last_seq:
            return self._resync(self.last_seq - seq)
        return self._ring[seq - self.last_seq]

    async def _wait(self) -> bool:
        """Wait until something is added.

        Returns:
            Whether something can still come.
        """
        if self._closed:
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

    __slots__ = ("_log", "_seq")

    def __init__(self, log: EventLog, seq: int | None) -> None:
        self._log = log
        self._seq = seq

    @property
    def cursor(self) -> Cursor:
        """The last event that was given out: where another reader can go on."""
        return Cursor(self._log.epoch, self._log.last_seq if self._seq is None else self._seq)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        log, seq = self._log, self._seq
        # The usual case without a call: a reader that has not fallen behind and has something to read.
        if seq is not None and seq < log.last_seq <= seq + log._capacity:
            self._seq = seq + 1
            return log._ring[seq - log.last_seq]
        while True:
            event = self.next_nowait()
            if event is not None:
                return event
            if not await log._wait():
                # What was added between the last look and the closing is still to be read.
                event = self.next_nowait()
                if event is not None:
                    return event
                raise StopAsyncIteration

    def next_nowait(self) -> Event | None:
        """Give the next event if it is there already.

        Returns:
            The event, or ``None`` if everything is read.
        """
        event = self._log._next_after(self._seq)
        if event is not None:
            self._seq = event.seq
        return event
