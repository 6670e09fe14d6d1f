"""Keeping the web phone's signalling connected: when to try, when to wait, when to stop.

The engine's connection is the core's to keep; this one lives beside it, for the sound goes on while the engine is away. The
pauses are the core's, by the kind of outage. The log says once that it broke and once that it is back.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio

from cti_framework.back_off import ReconnectPolicy
from cti_framework.errors import ConnectionFailedError, CtiError, OutageKind
from cti_webitel.verto.client import VertoClient
from cti_webitel.verto.errors import SessionTakenError

__all__ = ["PhoneKeeper"]


class _WhenReady:
    """What the client tells that something can be asked, and what then happens."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def started(self, value: object = None) -> None:
        self._act()


class PhoneKeeper:
    """Keeps one client connected.

    Args:
        client: The client.
        on_back: Told that it is connected.
        on_lost: Told once an outage why it is not, and again where no further attempt is made; with whether one is.
        policy: How long to wait.
        log: A structlog logger.
        draw: Gives a number between 0 and 1, for the pauses.

    Attributes:
        settled: Set when the first attempt is decided.
        error: Why it is not connected; ``None``: it is, or no attempt is decided yet.
    """

    def __init__(
        self,
        client: VertoClient,
        *,
        on_back: Callable[[], None],
        on_lost: Callable[[CtiError, bool], None],
        policy: ReconnectPolicy,
        log: Any,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._on_back = on_back
        self._on_lost = on_lost
        self._policy = policy
        self._log = log
        self._draw = draw
        self._failures: Counter[OutageKind] = Counter()
        self._is_told_lost = False
        self._is_taken = False
        self._ready_at: float | None = None
        self.settled = anyio.Event()
        self.error: CtiError | None = None

    async def keep(self) -> None:
        """Keep it connected until it is cancelled, or until it is of no use to go on. Whoever calls again begins anew."""
        self._failures.clear()
        if self.settled.is_set():
            # Of an earlier life. Who waits already waits for this one's.
            self.settled = anyio.Event()
        if self._is_taken:
            # Somebody has the old session, and its calls. Whoever connects again wants a phone of his own.
            self._client.renew_session()
            self._is_taken = False
        try:
            while True:
                self._ready_at = None
                error = await self._attempt()
                if not self._goes_on(error):
                    return
                await anyio.sleep(self._pause_seconds(error))
        finally:
            self.settled.set()

    async def _attempt(self) -> CtiError:
        try:
            await self._client.run(task_status=_WhenReady(self._ready))
        except CtiError as error:
            # Of no ``ConnectionFailedError`` is a file for TLS that cannot be used.
            return error
        raise AssertionError("The client's run ends by an error only.")

    def _ready(self) -> None:
        self.error = None
        self._ready_at = anyio.current_time()
        if self._is_told_lost:
            self._is_told_lost = False
            # As loud as what it ends.
            self._log.warning("webitel.web_phone.back", user=self._client.user)
        self._on_back()
        self.settled.set()

    def _goes_on(self, error: CtiError) -> bool:
        self.error = error
        self._is_taken = isinstance(error, SessionTakenError)
        goes_on = isinstance(error, ConnectionFailedError) and error.retryable
        told = {"user": self._client.user, **error.describe()}
        if not goes_on:
            self._is_told_lost = True
            self._log.error("webitel.web_phone.failed", **told)
            self._on_lost(error, False)
        elif self._is_told_lost:
            self._log.debug("webitel.web_phone.attempt_failed", **told)
        else:
            self._is_told_lost = True
            self._log.warning("webitel.web_phone.lost", **told)
            self._on_lost(error, True)
        self.settled.set()
        return goes_on

    def _pause_seconds(self, error: CtiError) -> float:
        kind = OutageKind.of(error)
        if self._ready_at is not None and anyio.current_time() - self._ready_at >= self._policy.stable_after_seconds:
            self._failures.clear()
        self._failures[kind] += 1
        return self._policy.delay_seconds(self._failures[kind], self._draw, kind)
