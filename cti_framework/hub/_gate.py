"""Attempts to connect, spread over time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import anyio
import attrs

__all__ = ["Gates", "Places"]

_ADDRESS_WORDS: Final = frozenset({"address", "endpoint", "gateway", "host", "hostname", "port", "server", "uri", "url"})
"""A setting whose name has one of them says where the PBX is, also where its value is no URL."""


@attrs.define(eq=False)
class _Gate:
    """Lets attempts to connect to one PBX through, in the order in which they came."""

    places: anyio.CapacityLimiter
    interval_seconds: float
    next_turn: float = 0.0

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        place = object()
        await self.places.acquire_on_behalf_of(place)
        try:
            now = anyio.current_time()
            turn = max(now, self.next_turn)
            self.next_turn = turn + self.interval_seconds
            await anyio.sleep(turn - now)
            yield
        finally:
            self.places.release_on_behalf_of(place)


class Gates:
    """One gate for each PBX.

    Args:
        places: How many attempts are let through at a time.
        per_second: How many a second, at most.

    Raises:
        ValueError: That would be none at all.
    """

    def __init__(self, places: int, per_second: float) -> None:
        if places < 1 or not per_second > 0:
            raise ValueError("A hub opens at least one session at a time, and more than none a second.")
        self._places = places
        self._interval_seconds = 1.0 / per_second
        # Held by the sessions that go through them.
        self._gates: WeakValueDictionary[Hashable, _Gate] = WeakValueDictionary()

    def admission(self, provider: str, settings: object) -> Callable[[], AbstractAsyncContextManager[None]]:
        """Give the gate of the PBX that a provider connects to with these settings.

        Two settings are one PBX if they lead to the same place: whatever else a user has set for himself, it makes no PBX of
        his own.

        Args:
            provider: The provider's name.
            settings: Its system settings, with what the user has set otherwise. Where nothing in them leads anywhere, the
                provider's name alone counts.

        Returns:
            What is entered before an attempt, and left when that is decided.
        """
        key = (provider, *_addresses(settings))
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = _Gate(anyio.CapacityLimiter(self._places), self._interval_seconds)
        return gate.admit


def _addresses(settings: object) -> Iterator[Hashable]:
    """Find what says where the PBX is: each URL, and what is called a host, a port or the like."""
    settings_type = type(settings)
    for field in attrs.fields(settings_type) if attrs.has(settings_type) else ():
        value: Any = getattr(settings, field.name)
        if hasattr(value, "get_secret_value"):
            # An address can hold a password, which is cut off below: two secrets never compare equal.
            value = value.get_secret_value()
        is_named = not _ADDRESS_WORDS.isdisjoint(field.name.split("_"))
        if isinstance(value, str) and (is_named or "://" in value):
            yield field.name, _destination(value)
        elif is_named and isinstance(value, int) and not isinstance(value, bool):
            yield field.name, value


def _destination(address: str) -> Hashable:
    """Tell where an address leads, without who goes there: name, password, query."""
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        return url.scheme, url.hostname, url.port, url.path
    except ValueError:
        # It leads nowhere; what is wrong with it, the attempt to connect tells.
        return None


class Places:
    """So many at a time, each for so long: who takes longer goes on without a place, and keeps nobody out.

    Args:
        count: How many.
        seconds: How long.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._turn = anyio.Lock()
        self._changed = anyio.Event()
        # Until when each is taken, the first that is over first.
        self._taken: dict[object, float] = {}

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Take a place, in the order in which they came; wait until one is free, or over."""
        place = object()
        # One at a time waits for a place: those who wait stay in order.
        async with self._turn:
            while not self._is_one_free():
                self._changed = anyio.Event()
                with anyio.CancelScope(deadline=next(iter(self._taken.values()))):
                    await self._changed.wait()
            self._taken[place] = anyio.current_time() + self._seconds
        try:
            yield
        finally:
            self._taken.pop(place, None)
            self._changed.set()

    def _is_one_free(self) -> bool:
        now = anyio.current_time()
        for place, until in tuple(self._taken.items()):
            if until > now:
                break
            del self._taken[place]
        return len(self._taken) < self._count
