"""Keeping a provider connected: when to try, when to wait, when to stop.

A provider lives through one connection (``run()``) and ends. The keeper calls it again, after a pause that `ReconnectPolicy`
draws for the kind of outage it is. The pauses start small again only after a connection has lasted: a PBX that lets everybody in
and throws them out at once is not stormed.

Refused credentials and unusable addresses stop it for good: trying again would lock the account and help nobody. A provider
that raises something that is no ``CtiError`` has a fault of its own; it is named, and tried again like a lost network. So is
one whose log in ended in a command that failed: a PBX that is slow once must not end the session.

A connection that is given up (its PBX is dead, or somebody wants a new one) is told at once as what it is: lost. Its ``run()`` is
cancelled, and the next one is begun when it has ended, never before: two connections of one operator would contradict each
other, and a coroutine that is left where it is keeps its socket and its tasks. One that does not end is named, and whoever
waits for a new connection is told that there is none.

What a provider keeps over all its connections (``lifetime()``) is entered before the first and left after the last. It may
fail as ``run()`` may: that ends the connection that there is, and all begins anew after a pause.

After each log in the keeper asks the provider for its calls (``snapshot()``) while events flow already, and makes the line
agree: what ended meanwhile ends, what began is shown. A snapshot that fails is asked for again, and so is one that was too old
or too young for one of the calls (``Line.left_out``): no call stays wrong until it ends. Then the agent's state is given
back where the PBX has forgotten it, and the connection is watched (`Liveness`) until it ends. None of these questions holds up
the news that the connection has ended, nor the next one (`Questions`).

The log says once that a connection broke and once that it is back; what is tried in between is told to those who read
debug lines, and to every host by ``ProviderStateChanged``. So it does of calls that are not told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from cti_framework.agent_restore import AgentRestorer
from cti_framework.back_off import BackOff, ReconnectPolicy
from cti_framework.cancellation import fault_of
from cti_framework.clock import SessionClock
from cti_framework.errors import (
    CommandError,
    CommandUnconfirmedError,
    CtiError,
    NetworkError,
    OutageKind,
    PluginError,
    told_error,
    traceback_text,
)
from cti_framework.events import Event, ProviderState, SnapshotTaken
from cti_framework.line import Line
from cti_framework.liveness import Liveness, LivenessPolicy
from cti_framework.probing import ConnectionWatch
from cti_framework.provider import BaseCtiProvider
from cti_framework.questions import OutOfTime, Questions
from cti_framework.reports import Trouble

__all__ = ["ConnectionKeeper"]

_END_SECONDS: Final = 4.0
"""How long a ``run()`` that is cancelled may take to end before the plugin is named. Less than closing a session takes."""
_LOOK_AGAIN: Final = BackOff(initial_seconds=2.0, maximum_seconds=16.0)
"""The pauses before the calls are asked for again. Lists lag for about a second (facts: esl-control, show channels)."""
_HEARD_NO_MORE: Final = frozenset({OutageKind.FROZEN, OutageKind.HALF_OPEN})
"""Kinds of outage that are noticed only some time after they began."""


class ConnectionKeeper:
    """Keeps one provider connected.

    Args:
        provider: The provider.
        name: By what it is named in logs and errors.
        line: The session's line.
        clock: The session's clock.
        publish: Where events go.
        policy: How long to wait.
        log: Where to log.
        draw: Gives a number between 0 and 1, for the pauses.
        liveness: Watches the connections.
        restore_agent: Whether the agent's state is given back to a PBX that has forgotten it.
        admission: Entered before each attempt and left when its log in is decided: there attempts of many sessions wait for
            their turn.

    Attributes:
        error: What the latest attempt ended with; ``None`` while in service.
        is_live: Whether the provider lives through a connection now: what it reports at other times is not to be believed.
        liveness: As given.
        questions: Wait for the provider, where it is the core that asks.
    """

    __slots__ = (
        "_admission",
        "_agents",
        "_attempt_number",
        "_clock",
        "_connection",
        "_down_since",
        "_draw",
        "_ended",
        "_failures",
        "_in_service_at",
        "_is_hurried",
        "_is_over",
        "_is_settled",
        "_is_stuck",
        "_is_told_blind",
        "_is_told_down",
        "_line",
        "_log",
        "_name",
        "_next_try",
        "_outcome",
        "_pause",
        "_policy",
        "_provider",
        "_publish",
        "_scope",
        "_settled",
        "_started",
        "_stopped",
        "_trying_since",
        "_was_in_service",
        "_watch",
        "error",
        "is_live",
        "liveness",
        "questions",
    )

    def __init__(
        self,
        provider: BaseCtiProvider,
        *,
        name: str,
        line: Line,
        clock: SessionClock,
        publish: Callable[[list[Event]], None],
        policy: ReconnectPolicy,
        log: Any,
        draw: Callable[[], float] = random.random,
        liveness: Liveness | None = None,
        restore_agent: bool = True,
        admission: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> None:
        self._provider = provider
        self._name = name
        self._line = line
        self._clock = clock
        self._publish = publish
        self._policy = policy
        self._log = log
        self._draw = draw
        self._admission = admission
        self._scope: anyio.CancelScope | None = None
        # An event takes nearly a kilobyte: each is made by the first who waits.
        self._stopped: anyio.Event | None = None
        self._settled: anyio.Event | None = None
        self._is_settled = False
        self._started: anyio.Event | None = None
        self._in_service_at: float | None = None
        self.questions = Questions(name, log)
        self._agents = (
            AgentRestorer(provider, name=name, line=line, clock=clock, publish=publish, questions=self.questions, log=log)
            if restore_agent
            else None
        )
        self._pause: anyio.CancelScope | None = None
        self._connection: TaskGroup | None = None
        self._outcome: list[CtiError] = []
        self._ended: anyio.Event | None = None
        self._failures: Counter[OutageKind] = Counter()
        self._attempt_number = 1
        self._trying_since = 0.0
        self._was_in_service = False
        # When the next attempt is due; not known before the latest has been decided.
        self._next_try: float | None = None
        self._is_hurried = False
        self._is_over = False
        self._is_stuck = False
        self._down_since = 0.0
        self._is_told_down = False
        # The log has it that the calls are not told.
        self._is_told_blind = False
        self.error: CtiError | None = None
        self.is_live = False
        self.liveness = liveness or Liveness(LivenessPolicy(), clock.monotonic)
        self._watch = ConnectionWatch(provider, name=name, clock=clock, liveness=self.liveness, questions=self.questions, log=log)

    @property
    def is_running(self) -> bool:
        """Whether it keeps the provider connected, or tries to."""
        return self._scope is not None

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop()`` was called, or it has given up, and something is left of the connection."""
        return self._scope is not None and (self._scope.cancel_called or self._is_over)

    def started(self) -> None:
        """Say that the provider reported ``Started``."""
        if self._in_service_at is None:
            self._in_service_at = anyio.current_time()
        if self._started is not None:
            self._started.set()

    async def wait_settled(self) -> None:
        """Wait until the present attempt is decided: it failed, or is in service and was asked for its calls.

        They are known then, unless the PBX did not tell them at once; it is asked again, and tells it by ``SnapshotTaken``.
        """
        if not self._is_settled:
            if self._settled is None:
                self._settled = anyio.Event()
            await self._settled.wait()

    def _settle(self) -> None:
        self._is_settled = True
        if self._settled is not None:
            self._settled.set()
            self._settled = None

    async def stop(self) -> None:
        """End the connection and all attempts, and wait until nothing is left of them."""
        if self._agents is not None:
            # Whoever comes back does so as what he chooses then.
            self._agents.forget()
        if self._scope is not None:
            self._scope.cancel()
            if self._stopped is None:
                self._stopped = anyio.Event()
            stopped = self._stopped
            with anyio.move_on_after(_END_SECONDS):
                await stopped.wait()
                return
            self._tell_stuck()
            await stopped.wait()

    def prepare(self) -> None:
        """Make ready for ``keep()``: whoever asks from now on sees it running."""
        self._scope = anyio.CancelScope()
        self._stopped = None
        self._is_settled = self._is_over = self._is_stuck = False
        self.error = None

    def hurry(self) -> None:
        """Try now, where the next attempt is waited for; whoever waits until it is decided waits for this one.

        An attempt that is under way may be one that the network swallowed while it was down. It is waited for, and if it
        fails, the next one follows at once.
        """
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._is_settled = False
        elif self._next_try is not None and not self._is_over:
            # What is left of the latest attempt has to end first.
            self._next_try = -inf
            if not self._is_stuck:
                self._is_settled = False
        else:
            self._is_hurried = True

    def suspect(self) -> None:
        """Say that an answer did not come: the PBX is asked at once whether it is still there, if it can be asked."""
        if self.is_live:
            self._watch.suspect()

    async def prove(self) -> bool:
        """Ask the PBX whether it is still there, and wait until that is known.

        Where it cannot be asked, or the plugin fails to ask it, the connection is given up.

        Returns:
            Whether the connection lives.
        """
        watch = self._watch
        if not watch.can_ask:
            self._give_up_unproved()
        self.suspect()
        if self._connection is not None and self._next_try is None and not await watch.wait_proved():
            self._give_up_unproved()
        return self.is_live

    def _give_up_unproved(self) -> None:
        self._give_up(NetworkError(f"The connection of provider {self._name!r} was given up to make a new one."))

    def operator_chooses(self, verb: str, *arguments: object, is_sent: Callable[[], bool]) -> AbstractContextManager[object]:
        """Say that the operator changes his own state: he is not given back what he was before the outage, but what he chose.

        Args:
            verb: By which verb.
            arguments: What it is given.
            is_sent: Tells whether the command may have left.

        Returns:
            What is entered before it is sent, and left when it has ended.
        """
        return nullcontext() if self._agents is None else self._agents.choosing(verb, *arguments, is_sent=is_sent)

    async def keep(self) -> None:
        """Keep the provider connected until ``stop()``, or until it is of no use to go on."""
        scope = self._scope
        assert scope is not None
        try:
            with scope:
                await self._live()
        finally:
            if self._line.provider_state is not ProviderState.FAILED:
                self._is_told_down = False
                self._say(ProviderState.CLOSED)
            self._scope = self._pause = self._connection = None
            self._settle()
            self._watch.end()
            if self._stopped is not None:
                self._stopped.set()

    async def _live(self) -> None:
        """Have what the provider keeps over all connections, and make them."""
        self._failures.clear()
        self._attempt_number = 1
        self._trying_since = anyio.current_time()
        if not self._is_told_down:
            self._down_since = self._trying_since
        self._was_in_service = False
        while not self._is_over:
            self._next_try = self._in_service_at = None
            seconds = self._policy.log_in_timeout_seconds
            own: list[BaseException] = []
            try:
                with anyio.CancelScope(deadline=anyio.current_time() + seconds) as entering:
                    async with self._provider.lifetime():
                        entering.deadline = inf
                        try:
                            await self._attempts()
                        except Exception as error:
                            own.append(error)
                            raise
            except BaseException as error:
                # Whatever a plugin raises is named with the plugin. What is ours is not.
                fault = None if own else fault_of(error)
                if fault is None:
                    raise
                failed = self._named(fault)
            else:
                late = f"did not enter its lifetime within {seconds:g} s"
                failed = self._fault(late if entering.cancelled_caught else "left its lifetime by itself", when="")
            # Who stops the session lost nothing.
            await anyio.lowlevel.checkpoint_if_cancelled()
            if not self._is_over:
                await self._pause_after(failed)

    async def _attempts(self) -> None:
        while not self._is_over:
            self._is_settled = self._is_stuck = self._is_hurried = False
            self._next_try = None
            state = ProviderState.CONNECTING if self._attempt_number == 1 and not self._was_in_service else self._waiting
            self._say(state, attempt=self._attempt_number, error=self.error)
            error = await self._attempt()
            # Of trio, one whose tasks all end otherwise does not say that it was cancelled. Who stops the session lost nothing.
            await anyio.lowlevel.checkpoint_if_cancelled()
            await self._pause_after(error)

    async def _pause_after(self, error: CtiError) -> None:
        """Decide what follows an attempt that has ended, and wait until it is time for the next one, if there is one."""
        next_try = self._decide(error)
        if self._is_over:
            return
        if next_try > -inf:
            self._settle()
        self._watch.end()
        with anyio.CancelScope(deadline=next_try) as self._pause:
            await anyio.sleep_forever()
        self._pause = None

    @property
    def _waiting(self) -> ProviderState:
        return ProviderState.RECONNECTING if self._was_in_service else ProviderState.OUT_OF_SERVICE

    def _decide(self, error: CtiError) -> float:
        """Tell what an attempt ended with, and when the next one is due, if any: once, where it was given up, at once."""
        if self._next_try is not None:
            return self._next_try
        policy, attempt = self._policy, self._attempt_number
        kind = OutageKind.of(error)
        self.error = error
        now = anyio.current_time()
        lasted = None if self._in_service_at is None else now - self._in_service_at
        known_until: datetime | None = None
        if lasted is not None:
            self._was_in_service = True
            self._trying_since = now
            if self._agents is not None:
                self._agents.remember()
            if not self._is_told_down:
                self._down_since = now
            if kind in _HEARD_NO_MORE:
                # It is noticed only now; what is certain is that the PBX was there when it was heard last.
                known_until = self._clock.now() - timedelta(seconds=self.liveness.silent_seconds)
            if lasted >= policy.stable_after_seconds:
                self._failures.clear()
        failed = attempt if lasted is None else 0
        self._failures[kind] += 1
        delay = policy.delay_seconds(self._failures[kind], self._draw, kind)
        if policy.give_up_after_seconds is not None:
            delay = min(delay, self._trying_since + policy.give_up_after_seconds - now)
        next_try = self._next_try = now + delay
        if not error.retryable or delay <= 0 or (policy.give_up_after_attempts or inf) <= failed:
            self._is_over = self._is_told_down = True
            self._log.error("cti.connection.failed", provider=self._name, attempts=failed, **error.describe())
            self._say(ProviderState.FAILED, attempt=attempt, error=error, known_until=known_until)
            return next_try
        if self._is_hurried and lasted is None:
            # Whoever asks for it now waits for that one.
            delay, next_try = 0.0, -inf
            self._next_try = next_try
        self._tell_down(attempt, delay, error)
        self._attempt_number = failed + 1
        self._say(self._waiting, attempt=self._attempt_number, next_try_seconds=delay, error=error, known_until=known_until)
        return next_try

    def _tell_down(self, attempt: int, delay: float, error: CtiError) -> None:
        told = {"provider": self._name, "next_try_in_seconds": round(delay, 1), **error.describe()}
        if self._is_told_down:
            self._log.debug("cti.connection.attempt_failed", attempt=attempt, **told)
        else:
            self._is_told_down = True
            self._log.warning("cti.connection.lost", **told)

    def _tell_up(self) -> None:
        if not self._is_told_down:
            self._log.info("cti.connection.in_service", provider=self._name)
            return
        self._is_told_down = False
        # As loud as what it ends: whoever was woken by the one is to see the other.
        self._log.warning(
            "cti.connection.back",
            provider=self._name,
            outage_seconds=round(anyio.current_time() - self._down_since, 1),
            attempts=self._attempt_number,
        )

    # ------------------------------------------------------------------ one connection

    async def _attempt(self) -> CtiError:
        """Live through one connection.

        Returns:
            What it ended with.
        """
        started = self._started = anyio.Event()
        self._in_service_at = None
        outcome = self._outcome = []
        self._clock.catch_up()
        try:
            async with anyio.create_task_group() as tasks:
                self._connection = tasks
                async with self._admission():
                    self._watch.begin()
                    tasks.start_soon(self._run, tasks.cancel_scope, outcome)
                    with anyio.move_on_after(self._policy.log_in_timeout_seconds):
                        await started.wait()
                self._started = None
                if not started.is_set():
                    self._give_up(
                        NetworkError(
                            f"Provider {self._name!r} did not log in within {self._policy.log_in_timeout_seconds:g} s.",
                            kind=OutageKind.NO_ANSWER,
                            remedy="Check that the PBX answers at that address; `cti listen` shows what it says.",
                        )
                    )
                elif self.is_live:
                    self._tell_up()
                    self.error = None
                    await self._serve()
        finally:
            self._connection = None
        # Of asyncio, a plugin can cancel the task that it is called in.
        return outcome[0] if outcome else self._fault("cancelled itself")

    def _give_up(self, error: CtiError) -> None:
        """End the connection that there is, and say at once that it is lost: its ``run()`` may take long to end."""
        connection = self._connection
        if connection is None or self._outcome:
            return
        self._outcome.append(error)
        if self.is_live:
            self.is_live = False
            self._ended = anyio.Event()
            connection.start_soon(self._see_it_end, self._ended, error)
        connection.cancel_scope.cancel()
        if self._in_service_at is not None:
            self._decide(error)
            self._watch.end()

    async def _see_it_end(self, ended: anyio.Event, error: CtiError) -> None:
        """Have nobody wait for ever for a connection that cannot be made because the one before does not end."""
        with anyio.move_on_after(_END_SECONDS, shield=True):
            await ended.wait()
            return
        self._tell_stuck()
        self.error = error
        self._settle()

    def _tell_stuck(self) -> None:
        if self._is_stuck:
            return
        self._is_stuck = True
        self._log.error(
            "cti.provider.does_not_end",
            provider=self._name,
            seconds=_END_SECONDS,
            remedy="Its run() or lifetime() goes on although it was cancelled: a fault of the plugin. Nothing is begun before.",
        )

    async def _serve(self) -> None:
        """Make the line and the PBX agree, then watch over the connection."""
        await self._take_snapshot()
        if self.is_live:
            self._settle()
            if self._agents is not None and not await self._agents.restore():
                self.suspect()
            await self._look_again()
            await self._watch.keep(self._give_up)

    async def _run(self, scope: anyio.CancelScope, outcome: list[CtiError]) -> None:
        if outcome:
            # It was given up before it began.
            return
        self.is_live = True
        try:
            await self._provider.run()
        except BaseException as error:
            # Whatever a plugin raises is named with the plugin and ends its connection only.
            fault = fault_of(error)
            if fault is None:
                raise
            outcome.append(self._named(fault))
        else:
            outcome.append(NetworkError(f"The connection of provider {self._name!r} ended."))
        finally:
            self.is_live = False
            if self._ended is not None:
                self._ended.set()
                self._ended = None
        # Whoever ended it has told so, or will.
        is_ended_by_us = anyio.current_effective_deadline() == -inf
        scope.cancel()
        if self._in_service_at is not None and not is_ended_by_us:
            # What is still asked of the provider may take its time to end.
            self._decide(outcome[0])
            self._watch.end()

    def _named(self, error: BaseException) -> CtiError:
        told = told_error(error) if isinstance(error, Exception) else None
        if isinstance(told, CommandError):
            kind = OutageKind.NO_ANSWER if isinstance(told, CommandUnconfirmedError) else OutageKind.LOST
            failed = NetworkError(f"Provider {self._name!r} could not log in: {told.message}", kind=kind, remedy=told.remedy)
            failed.__cause__ = told
            return failed
        if told is None:
            self._log.error("cti.provider.raised", provider=self._name, stack=traceback_text(error))
            only = error
            while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
                only = only.exceptions[0]
            told = self._fault(f"raised {type(only).__name__}")
            told.__cause__ = error
        return told

    def _fault(self, what: str, *, when: str = " while connected") -> PluginError:
        return PluginError(
            f"Provider {self._name!r} {what}{when}: a fault of the plugin.",
            step="connect",
            retryable=True,
            remedy="Tell its author; the log has the traceback.",
        )

    async def _take_snapshot(self) -> None:
        """Ask for the calls until that is answered. A host is told once of a row of failures."""
        failures = 0
        while True:
            error: CtiError
            asked_at_seq, asked_at = self._line.seq, self._clock.now()
            try:
                snapshot = await self.questions.ask("snapshot", self._provider.snapshot, self._policy.snapshot_timeout_seconds)
            except (OutOfTime, TimeoutError):
                self.suspect()
                seconds = self._policy.snapshot_timeout_seconds
                error = CommandUnconfirmedError(f"The PBX did not tell its calls within {seconds:g} s.", command="snapshot")
            except CtiError as told:
                if isinstance(told, CommandUnconfirmedError):
                    self.suspect()
                if isinstance(told, CommandError):
                    told.step = "snapshot"
                error = told
            except BaseException as raised:
                # Whatever a plugin raises is named with the plugin, and asked again.
                fault = fault_of(raised)
                if fault is None:
                    raise
                say = self._log.debug if self._is_told_blind else self._log.error
                say("cti.provider.raised", provider=self._name, verb="snapshot", stack=traceback_text(fault))
                error = self._no_snapshot(f"raised {type(fault).__name__}")
                error.__cause__ = fault
            else:
                if not self.is_live:
                    # The connection broke while it was asked: nothing of it is the truth any more.
                    return
                events = self._line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq, asked_at=asked_at)
                self._publish(events)
                if events and type(events[-1]) is SnapshotTaken:
                    self._tell_calls_known()
                    return
                error = self._no_snapshot("gave no snapshot that can be used")
            if not self.is_live:
                # That is told, and why.
                return
            failures += 1
            self._tell_calls_unknown(error, failures)
            self._settle()
            await self._watch.keep(self._give_up, self._policy.delay_seconds(failures, self._draw))

    def _tell_calls_unknown(self, error: CtiError, failures: int) -> None:
        say = self._log.debug if self._is_told_blind else self._log.warning
        self._is_told_blind = True
        say("cti.snapshot.failed", provider=self._name, reason=str(error), failures=failures)
        if failures == 1:
            self._publish(self._line.apply(Trouble(at=self._clock.now(), error=error)))

    def _tell_calls_known(self) -> None:
        if self._is_told_blind:
            self._is_told_blind = False
            # As loud as what it ends.
            self._log.warning("cti.snapshot.back", provider=self._name)

    def _no_snapshot(self, what: str) -> PluginError:
        return PluginError(
            f"The calls are not known: provider {self._name!r} {what}, a fault of the plugin.",
            step="snapshot",
            remedy="Tell its author; the log has what it did.",
        )

    async def _look_again(self) -> None:
        """Ask for the calls again while the line has some that the answers so far were of no use for."""
        looks = 0
        while self.is_live and (self._line.left_out or self._line.is_agent_left_out):
            looks += 1
            await self._watch.keep(self._give_up, _LOOK_AGAIN.delay_seconds(looks, self._draw))
            await self._take_snapshot()

    def _say(
        self,
        state: ProviderState,
        *,
        attempt: int = 0,
        next_try_seconds: float | None = None,
        error: CtiError | None = None,
        known_until: datetime | None = None,
    ) -> None:
        now = self._clock.now()
        next_try_at = None if next_try_seconds is None else now + timedelta(seconds=next_try_seconds)
        self._publish(
            self._line.connection_changed(
                state, now, attempt=attempt, next_try_at=next_try_at, error=error, known_until=known_until
            )
        )
