"""Asking the PBX whether it is still there, and saying so when it is not.

When to ask is `Liveness`' affair; here are the provider who asks, the waiting between, and those who want to know the answer. It
runs in the task that opened the connection, so that watching costs none.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import anyio

from cti_framework.cancellation import fault_of
from cti_framework.clock import SessionClock
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    ConnectionFailedError,
    NetworkError,
    OutageKind,
    told_error,
    traceback_text,
)
from cti_framework.liveness import Liveness, LivenessStep
from cti_framework.provider import BaseCtiProvider

__all__ = ["ConnectionWatch"]


class ConnectionWatch:
    """Watches one session's connections, one after the other.

    Args:
        provider: Asks the PBX.
        name: By what it is named in logs and errors.
        clock: The session's clock.
        liveness: Says when to ask.
        log: Where to log.

    Attributes:
        can_ask: Whether the provider has a question at all.
        faults: How often it failed to ask by a fault of the plugin.
    """

    __slots__ = ("_clock", "_is_fault_told", "_liveness", "_log", "_name", "_nap", "_proved", "_provider", "can_ask", "faults")

    def __init__(self, provider: BaseCtiProvider, *, name: str, clock: SessionClock, liveness: Liveness, log: Any) -> None:
        self._provider = provider
        self._name = name
        self._clock = clock
        self._liveness = liveness
        self._log = log
        self._nap: anyio.CancelScope | None = None
        self._proved: anyio.Event | None = None
        self._is_fault_told = False
        self.faults = 0
        self.can_ask = type(provider).probe is not BaseCtiProvider.probe

    def begin(self) -> None:
        """Say that a connection comes into being."""
        self._is_fault_told = False
        self._liveness.restart(watches_silence=self.can_ask)

    def end(self) -> None:
        """Say that the connection is over: who waits to know whether it lives knows now."""
        self._nap = None
        if self._proved is not None:
            self._proved.set()
            self._proved = None

    def suspect(self) -> None:
        """Have the PBX asked at once, if it can be asked."""
        if self.can_ask:
            self._liveness.suspect()
            if self._nap is not None:
                self._nap.cancel()

    async def wait_proved(self) -> None:
        """Wait until no question is open, or the connection is over."""
        if self._proved is None:
            self._proved = anyio.Event()
        await self._proved.wait()

    async def keep(self, give_up: Callable[[ConnectionFailedError], None], seconds: float = inf) -> None:
        """Ask the PBX whether it is still there, where there is reason to, until it is not.

        Args:
            give_up: Ends the connection, with the reason.
            seconds: How long to watch; where nothing can be asked, for ever takes no time.
        """
        if not self.can_ask and seconds == inf:
            return
        clock, liveness = self._clock.monotonic, self._liveness
        ends_at = clock() + seconds
        while True:
            step = liveness.step()
            if step is LivenessStep.DEAD:
                give_up(self._dead())
                return
            if step is LivenessStep.PROBE:
                lost = await self._ask()
                if lost is not None:
                    give_up(lost)
                    return
                continue
            if not liveness.is_asking and self._proved is not None:
                self._proved.set()
                self._proved = None
            now = clock()
            if now >= ends_at:
                return
            left = min(liveness.next_deadline, ends_at) - now
            with anyio.CancelScope(deadline=anyio.current_time() + left) as self._nap:
                await anyio.sleep_forever()
            self._nap = None

    async def _ask(self) -> ConnectionFailedError | None:
        """Ask once; what kept the question from being sent, where the connection has broken."""
        try:
            with anyio.move_on_after(self._liveness.policy.probe_timeout_seconds):
                await self._provider.probe()
                self._liveness.answered()
        except CommandRefusedError:
            # Who refuses is there.
            self._liveness.answered()
        except CommandError as error:
            # Something else may still be heard in what is left of the time.
            self._log.debug("cti.connection.probe_failed", provider=self._name, **error.describe())
        except BaseException as error:
            fault = fault_of(error)
            if fault is None:
                raise
            told = told_error(fault) if isinstance(fault, Exception) else None
            if isinstance(told, ConnectionFailedError):
                return told
            # Whatever else a plugin raises is named with the plugin, and proves nothing: neither life nor death.
            if not self._is_fault_told:
                self._is_fault_told = True
                self._log.error("cti.provider.raised", provider=self._name, verb="probe", stack=traceback_text(fault))
            self.faults += 1
            self._liveness.withdraw()
        return None

    def _dead(self) -> NetworkError:
        if self._provider.unacknowledged_bytes():
            kind, what = OutageKind.HALF_OPEN, "takes nothing of what is sent any more"
        else:
            kind, what = OutageKind.FROZEN, "does not answer any more"
        return NetworkError(
            f"The PBX of provider {self._name!r} {what}: nothing was heard for {self._liveness.silent_seconds:.0f} s.",
            kind=kind,
            remedy="Check that it is well, and the network on the way to it.",
        )
