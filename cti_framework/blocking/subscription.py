"""A reader of a session's events for a thread that waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from cti_framework.eventlog import Subscription
from cti_framework.events import Cursor, Event

__all__ = ["Await", "BlockingSubscription"]

_BATCH: Final = 256
"""How many events are fetched at once: a burst then costs one turn of the loop, not one each."""

Await = Callable[[Callable[[], Awaitable[bool]]], bool]
"""Has the loop do something, and gives what it returned. When the session is over and nothing more is told: ``False``."""


class BlockingSubscription:
    """A reader of a session's events: an iterator that waits for the next one and needs no closing.

    It ends when the session is closed and everything is read. Threads may share one: each event is given to one of them.
    Interrupted or timed out, it has lost nothing and can be asked again.

    Args:
        subscription: The place in the session's log.
        wait: How to wait in the loop.
        timeout_seconds: How long to wait for each event; ``None``: as long as it takes.
    """

    __slots__ = ("_buffer", "_cursor", "_lock", "_subscription", "_timeout_seconds", "_wait")

    def __init__(self, subscription: Subscription, wait: Await, timeout_seconds: float | None = None) -> None:
        self._subscription = subscription
        self._wait = wait
        self._timeout_seconds = timeout_seconds
        self._buffer: deque[Event] = deque()
        self._cursor = subscription.cursor
        self._lock = threading.Lock()

    @property
    def cursor(self) -> Cursor:
        """The last event that was given out: where another reader can go on."""
        return self._cursor

    def __iter__(self) -> BlockingSubscription:
        return self

    def __next__(self) -> Event:
        """Give the next event, and wait for it if need be.

        Returns:
            The event.

        Raises:
            StopIteration: The session is closed, and everything is read.
            TimeoutError: None came in the time given.
            SubscriberBehindError: Its place is gone, and it asked to be disconnected then.
            SessionClosedError: This process was forked from the session's own.
            BlockingCallError: An event loop runs in this thread.
        """
        while True:
            event = self._given()
            if event is not None:
                return event
            if not self._wait(self._fetch):
                self._fetch_rest()
                if not self._buffer:
                    raise StopIteration

    def next_nowait(self) -> Event | None:
        """Give the next event if it is there already.

        Returns:
            The event, or ``None`` if everything is read.

        Raises:
            SessionClosedError: This process was forked from the session's own.
            BlockingCallError: An event loop runs in this thread.
        """
        event = self._given()
        if event is None and not self._wait(self._fetch_present):
            self._fetch_rest()
        return event or self._given()

    def _given(self) -> Event | None:
        try:
            event = self._buffer.popleft()
        except IndexError:
            return None
        self._cursor = event.cursor
        return event

    # What is fetched lies in the buffer before anybody is told: a thread that is interrupted meanwhile finds it there.

    async def _fetch(self) -> bool:
        with anyio.move_on_after(self._timeout_seconds):
            try:
                self._buffer.append(await anext(self._subscription))
            except StopAsyncIteration:
                return False
            return await self._fetch_present()
        raise TimeoutError(f"No event came within {self._timeout_seconds:g} s.")

    async def _fetch_present(self) -> bool:
        while len(self._buffer) < _BATCH and (event := self._subscription.next_nowait()) is not None:
            self._buffer.append(event)
        return True

    def _fetch_rest(self) -> None:
        # The session is over: nobody adds to the log any more, and nobody reads it in the loop.
        with self._lock:
            while (event := self._subscription.next_nowait()) is not None:
                self._buffer.append(event)
