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
    CommandStage,
    ConnectionFailedError,
    NetworkError,
    NotConnectedError,
    NotSupportedError,
    OutageKind,
    told_error,
    traceback_text,
)
from cti_framework.liveness import Liveness, LivenessStep
from cti_framework.provider import BaseCtiProvider
from cti_framework.questions import OutOfTime, Questions

__all__ = ["ConnectionWatch"]


class _Proof:
    """What those are told who wait for one question's outcome."""

    __slots__ = ("decided", "is_asked")

    def __init__(self) -> None:
        self.decided = anyio.Event()
        self.is_asked = True


class ConnectionWatch:
    """Watches one session's connections, one after the other.

    Args:
        provider: Asks the PBX.
        name: By what it is named in logs and errors.
        clock: The session's clock.
        liveness: Says when to ask.
        questions: Wait for the provider.
        log: Where to log.

    Attributes:
        can_ask: Whether the provider has a question at all, and has not said that it cannot ask it on this connection.
    """

    __slots__ = (
        "_clock",
        "_has_question",
        "_is_fault_told",
        "_liveness",
        "_log",
        "_name",
        "_nap",
        "_next",
        "_open",
        "_provider",
        "_questions",
        "can_ask",
    )

    def __init__(
        self,
        provider: BaseCtiProvider,
        *,
        name: str,
        clock: SessionClock,
        liveness: Liveness,
        questions: Questions,
        log: Any,
    ) -> None:
        self._provider = provider
        self._name = name
        self._clock = clock
        self._liveness = liveness
        self._questions = questions
        self._log = log
        self._nap: anyio.CancelScope | None = None
        # Who waits for the question that is open, and who asked since: for him it proves nothing.
        self._open: _Proof | None = None
        self._next: _Proof | None = None
        self._is_fault_told = False
        self.can_ask = self._has_question = type(provider).probe is not BaseCtiProvider.probe

    def begin(self) -> None:
        """Say that a connection comes into being."""
        self._is_fault_told = False
        self.can_ask = self._has_question
        self._liveness.restart(watches_silence=self.can_ask)

    def end(self) -> None:
        """Say that the connection is over: who waits to know whether it lives knows now."""
        self._nap = None
        self._decide_open()
        self._begin_next()
        self._decide_open()

    def suspect(self) -> None:
        """Have the PBX asked at once, if it can be asked."""
        if self.can_ask:
            self._liveness.suspect()
            if self._nap is not None:
                self._nap.cancel()

    async def wait_proved(self) -> bool:
        """Wait until the first question that is asked from now on is decided, or the connection is over.

        Returns:
            Whether it was asked; not where the provider could not ask it, or failed to.
        """
        if self._next is None:
            self._next = _Proof()
        proof = self._next
        await proof.decided.wait()
        return proof.is_asked

    def _begin_next(self) -> None:
        self._open, self._next = self._next, None

    def _decide_open(self) -> None:
        if self._open is not None:
            self._open.decided.set()
            self._open = None

    def _proves_nothing(self) -> None:
        if self._open is not None:
            self._open.is_asked = False

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
            if not liveness.is_open or step is LivenessStep.PROBE:
                self._decide_open()
            if step is LivenessStep.PROBE:
                self._begin_next()
                lost = await self._ask()
                if lost is not None:
                    give_up(lost)
                    return
                continue
            if not liveness.is_asking and self._next is not None:
                # He asked what cannot be asked any more.
                self._begin_next()
                self._proves_nothing()
                self._decide_open()
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
            await self._questions.ask("probe", self._provider.probe, self._liveness.policy.probe_timeout_seconds)
            self._liveness.answered()
        except OutOfTime:
            pass
        except BaseException as error:
            fault = fault_of(error)
            if fault is None:
                raise
            told = told_error(fault) if isinstance(fault, Exception) else None
            if isinstance(told, ConnectionFailedError):
                return told
            if isinstance(told, CommandError):
                self._not_answered(told)
            else:
                # Whatever else a plugin raises is named with the plugin, and proves nothing: neither life nor death.
                if not self._is_fault_told:
                    self._is_fault_told = True
                    self._log.error("cti.provider.raised", provider=self._name, verb="probe", stack=traceback_text(fault))
                self._proves_nothing()
                self._liveness.withdraw()
        return None

    def _not_answered(self, error: CommandError) -> None:
        self._log.debug("cti.connection.probe_failed", provider=self._name, **error.describe())
        if isinstance(error, NotSupportedError):
            # An old server that knows no ping is no dead one. The next connection may be to a newer one.
            self.can_ask = False
            self._proves_nothing()
            self._liveness.cannot_ask()
        elif error.stage in (CommandStage.REJECTED, CommandStage.ACCEPTED):
            # Who refuses is there.
            self._liveness.answered()
        elif error.stage is CommandStage.NOT_SENT and not isinstance(error, NotConnectedError):
            # What was not asked needs no answer.
            self._proves_nothing()
            self._liveness.withdraw()
        # Else something may still be heard in what is left of the time.

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
