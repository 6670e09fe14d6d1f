"""What every verb goes through: what is checked before, and how it ends."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallFeature
from cti_framework.cancellation import is_ours
from cti_framework.commands import Command, Commands, CommandTimeouts, like
from cti_framework.connection import ConnectionKeeper
from cti_framework.errors import (
    CommandError,
    CommandStage,
    CtiError,
    InvalidArgumentError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    SessionClosedError,
    told_error,
    traceback_text,
)
from cti_framework.eventlog import EventLog
from cti_framework.events import Event, ProviderState
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider, Capabilities
from cti_framework.verbs.patience import OutOfTime, Patience
from cti_framework.verbs.search import CallSearch, is_same_number

__all__ = ["VerbChecks", "command"]

P = ParamSpec("P")
S = TypeVar("S", bound="VerbChecks")
T = TypeVar("T")

_NOT_COMPARED: Final = ("self", "command_id", "progress")
"""What two commands may differ in and be the same."""
_CALLS: Final = ("call", "consult_call", "call_id")
"""What is a call, or the identifier of one."""


class _TheCall:
    """A call as a command was given it. It changes while it lasts, its identifier too, and stays the call it is.

    Args:
        ids: The identifiers by which it is known.
    """

    __slots__ = ("_ids",)

    def __init__(self, ids: frozenset[str]) -> None:
        self._ids = ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TheCall) and not self._ids.isdisjoint(other._ids)

    __hash__ = None  # type: ignore[assignment]  # equal ones need not have all identifiers in common


def command(
    verb: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make a verb a command: with an identifier, carried out once.

    Args:
        verb: The verb. What is given as ``command_id`` is taken here.

    Returns:
        The verb as the host calls it.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    async def ask(self: S, /, *arguments: P.args, **named: P.kwargs) -> T:
        given = signature.bind(self, *arguments, **named)
        given.apply_defaults()
        command_id = given.arguments["command_id"]
        asked = tuple(
            self._the_call(value) if name in _CALLS else value
            for name, value in given.arguments.items()
            if name not in _NOT_COMPARED
        )
        return await self._commands.run(verb.__name__, asked, command_id, lambda: verb(self, *arguments, **named))

    return ask


class VerbChecks(ABC):
    """What every verb needs of the session, and the checks."""

    provider_name: str
    _capabilities: Capabilities
    _commands: Commands
    _events: EventLog
    _is_closed: bool
    _is_dialling: bool
    _keeper: ConnectionKeeper
    _line: Line
    _log: structlog.typing.FilteringBoundLogger
    _patience: Patience
    _provider: BaseCtiProvider
    _tasks: TaskGroup | None
    _timeouts: CommandTimeouts

    @abstractmethod
    def now(self) -> datetime:
        """Tell the session's time."""

    @abstractmethod
    def _publish(self, events: list[Event]) -> None:
        """Tell events."""

    async def _begin_call(
        self,
        verb: str,
        act: Callable[..., Awaitable[Call]],
        *arguments: object,
        number: str | None = None,
        parent_id: str | None = None,
    ) -> Call:
        # A double click asks twice before the first call is shown: the line does not know of it yet.
        if self._is_dialling:
            raise NotAllowedNowError(verb, reason="a call is being made already", command=verb)
        self._is_dialling = True
        command = self._commands.current()
        search = CallSearch(
            self._provider,
            self._line,
            self._events,
            self._publish,
            asked_at=self.now(),
            number=number,
            parent_id=parent_id,
            is_anothers=lambda call: self._is_anothers(command, call),
            questions=self._keeper.questions,
            log=self._log,
        )
        command.number = number
        # Whoever asked may be cancelled; who asks for the same command again has it looked for.
        command.look_again = lambda error: self._look_again(command, search, error)
        try:
            call = await self._call_of(command, search, act, *arguments)
        finally:
            self._is_dialling = False
        command.call_id = call.id
        return call

    async def _call_of(
        self, command: Command, search: CallSearch, act: Callable[..., Awaitable[object]], *arguments: object
    ) -> Call:
        try:
            call = await self._command(command.verb, self._timeouts.make_call_seconds, act, *arguments)
            if isinstance(call, Call):
                return call
            raise command.unanswered(
                f"{command.verb}: provider {self.provider_name!r} gave {type(call).__name__} for a call: a fault of the plugin.",
                sent="It may have acted: look at the calls before trying again. Tell the plugin's author.",
            )
        except CommandError as error:
            if error.stage not in (CommandStage.UNCONFIRMED, CommandStage.ACCEPTED):
                raise
            found = await self._found(command, search, error)
            if found is None:
                raise
            return found

    async def _found(self, command: Command, search: CallSearch, error: CommandError) -> Call | None:
        """Look for the call of a command that ended in an error. Where it is not found, the error says what was seen."""
        seconds = self._timeouts.resolve_seconds
        found = await search.find(seconds, begun_by=(command.ended_at or self.now()) + timedelta(seconds=seconds))
        if len(found) == 1:
            self._log.info("cti.command.resolved", verb=command.verb, call_id=found[0].id, reason=error.message)
            return found[0]
        if found:
            ids = ", ".join(repr(call.id) for call in found)
            error.remedy = f"It acted, and each of the calls {ids} can be the one: look at them before trying again."
        elif error.stage is CommandStage.UNCONFIRMED and search.has_looked and not search.has_seen_later:
            error.remedy = "It may have acted, but the PBX, asked for its calls since, shows no such call."
            # That is certain, and stays so.
            command.look_again = None
        return None

    def _is_anothers(self, command: Command, call: Call) -> bool:
        """Tell whether another command began a call: what began after a later one to the same number is not this one's."""
        number = command.number
        return self._commands.is_anothers(command, call) or any(
            number is not None
            and later.number is not None
            and call.started_at >= later.started_at
            and is_same_number(number, later.number)
            for later in self._commands.later_than(command)
        )

    async def _look_again(self, command: Command, search: CallSearch, error: CommandError) -> Call | None:
        # A call that is being made now may look the same.
        if self._is_dialling:
            # How far this one got is no other than before.
            told = like(error)
            told.remedy = "It may have acted. Another call is being made now: ask again when that is done, and it is looked for."
            raise told
        self._is_dialling = True
        try:
            return await self._found(command, search, error)
        finally:
            self._is_dialling = False

    async def _command(
        self, verb: str, seconds: float, act: Callable[..., Awaitable[T]], *arguments: object, acts: bool = True
    ) -> T:
        command = self._commands.current()
        if not self._provider.marks_sent:
            command.is_sent = True
        patience = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        try:
            return await self._wait(command, patience, act, *arguments)
        except OutOfTime:
            self._keeper.suspect()
            late = f"{verb}: provider {self.provider_name!r} did not end it within {seconds:g} s."
        except Exception as error:  # whatever a plugin raises is named with the plugin
            told = self._told(command, error, acts=acts)
            if told is error:
                raise
            raise told from (told.__cause__ or error)
        except BaseExceptionGroup as group:
            # A task group of the plugin's that is cancelled can hand on the cancellation and its tasks' faults together.
            _, faults = group.split(anyio.get_cancelled_exc_class())
            if group.subgroup(KeyboardInterrupt) is not None or (not patience.cancelled_caught and is_ours()):
                raise
            if isinstance(faults, ExceptionGroup):
                told = self._told(command, faults, acts=acts)
            else:
                told = self._fault_of_plugin(command, group)
            raise told from (told.__cause__ or group)
        except anyio.get_cancelled_exc_class() as error:
            if is_ours():
                raise
            # Of asyncio, it can let out the cancellation of something else that it waited for.
            raise self._fault_of_plugin(command, error) from error
        except (KeyboardInterrupt, GeneratorExit):
            # Ctrl-C, and a host that throws the verb away.
            raise
        except BaseException as error:  # a panic of a library, `sys.exit()`
            raise self._fault_of_plugin(command, error) from error
        raise command.unanswered(late)

    async def _wait(
        self, command: Command, patience: anyio.CancelScope, act: Callable[..., Awaitable[T]], *arguments: object
    ) -> T:
        """Wait for the provider, and no longer than this patience lasts, whatever it does.

        Raises:
            OutOfTime: It did not end in time.
        """
        assert self._tasks is not None

        async def carry_out() -> T:
            return await act(*arguments)

        try:
            return await self._patience.wait(self._tasks, patience, carry_out())
        except OutOfTime as over:
            if over.is_given_up:
                self._log.error("cti.provider.given_up", verb=command.verb, command_id=command.command_id)
            raise

    def _told(self, command: Command, error: Exception, *, acts: bool) -> CommandError:
        """Make what a provider raised the error of its command."""
        raised = _raised(error)
        # Of several, one that may have acted says more than one that did not.
        told = next((each for each in raised if not _did_nothing(each)), None) or told_error(error)
        if not isinstance(told, CtiError):
            return self._fault_of_plugin(command, error)
        if not isinstance(told, CommandError):
            # It says nothing about how far the command got.
            return command.unanswered(f"{command.verb}: {told.message}")
        if acts and told.stage is CommandStage.NOT_SENT and self._provider.marks_sent and command.is_sent:
            # It is true of the latest step; one before it has left.
            return command.unanswered(f"{told.message.rstrip('.')}. Something had been sent before.")
        told.step = command.verb
        if told.stage is CommandStage.UNCONFIRMED:
            self._keeper.suspect()
        return told

    def _the_call(self, value: object) -> object:
        call_id = value.id if isinstance(value, Call) else value
        if not isinstance(call_id, str):
            return value
        ids = {call_id}
        for known in (value, self._line.find(call_id)):
            if isinstance(known, Call):
                ids.update((known.id, *known.former_ids))
        return _TheCall(frozenset(ids))

    def _fault_of_plugin(self, command: Command, error: BaseException) -> CommandError:
        # As text: a renderer that is given the exception may show local variables, so secrets.
        self._log.error("cti.provider.raised", verb=command.verb, stack=traceback_text(error))
        return command.unanswered(
            f"{command.verb}: provider {self.provider_name!r} raised {type(error).__name__}: a fault of the plugin.",
            sent="It may have acted. Tell the plugin's author; the log has the traceback.",
        )

    def _find(self, verb: str, call: Call | str | None) -> Call:
        if call is None:
            call = self._line.current
            if call is None:
                raise NotAllowedNowError(verb, reason="there is no call", command=verb)
        call_id = call.id if isinstance(call, Call) else call
        if not isinstance(call_id, str):
            raise InvalidArgumentError(f"{verb}: a call is a Call or its identifier, not {call!r}.", command=verb)
        known = self._line.find(call_id)
        if known is not None:
            return known
        if self._line.has_ended(call_id):
            raise NotAllowedNowError(f"{verb} for call {call_id!r}", reason="the call is over", command=verb)
        raise InvalidArgumentError(
            f"{verb}: there is no call {call_id!r}.", command=verb, remedy="`model.calls` lists those there are."
        )

    def _allowed(self, verb: str, feature: CallFeature, call: Call | str | None) -> Call:
        self._check_can(verb, feature)
        known = self._find(verb, call)
        if feature not in known.features:
            doing = known.state.name.lower()
            if known.stale:
                doing = "not known: the connection was lost"
            raise NotAllowedNowError(
                f"{verb} for call {known.id!r}", reason=f"its state ({doing}) does not allow it now", command=verb
            )
        self._commands.current().call_id = known.id
        return known

    def _check_line(self, verb: str, feature: CallFeature, reason: str) -> None:
        self._check_can(verb, feature)
        if feature not in self._line.features:
            raise NotAllowedNowError(verb, reason=reason, command=verb)

    def _check_can(self, verb: str, feature: CallFeature) -> None:
        if feature not in self._capabilities.calls:
            self._refuse_unsupported(verb, "can never do that")
        self._check_connected(verb)
        if feature not in self._line.session_features:
            self._refuse_unsupported(verb, "cannot do that in this session")

    def _check_agent(self, verb: str, feature: AgentFeature) -> None:
        if feature not in self._capabilities.agent:
            self._refuse_unsupported(verb, "can never do that")
        self._check_connected(verb)
        if feature not in self._line.agent_features:
            self._refuse_unsupported(verb, "cannot do that in this session")

    def _refuse_unsupported(self, verb: str, what: str) -> NoReturn:
        raise NotSupportedError(
            f"{verb}: provider {self.provider_name!r} {what}.",
            command=verb,
            remedy="Ask `capabilities`, `features` or `call.features` before offering it.",
        )

    def _check_open(self, step: str) -> None:
        if self._is_closed or self._tasks is None:
            raise SessionClosedError("The session is not open.", step=step, remedy="Open it with `async with`.")

    def _check_connected(self, verb: str) -> None:
        self._check_open(verb)
        if self._line.provider_state is not ProviderState.IN_SERVICE:
            raise NotConnectedError(
                f"{verb}: there is no connection to the PBX ({self._line.provider_state.value}). Nothing was sent.",
                command=verb,
                remedy="Try again when `provider_state` is in_service.",
            )

    def _check_text(self, verb: str, name: str, value: object) -> None:
        if not isinstance(value, str) or not value.strip():
            raise InvalidArgumentError(f"{verb}: {name} must be a text that is not empty, not {value!r}.", command=verb)


def _raised(error: Exception) -> list[Exception]:
    """Give what was raised, out of the groups of the plugin's own task groups: what is no error of ours first."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    raised = [each for group in error.exceptions for each in _raised(group)]
    return sorted(raised, key=lambda each: isinstance(each, CtiError))


def _did_nothing(error: Exception) -> bool:
    return isinstance(error, CommandError) and error.stage in (CommandStage.NOT_SENT, CommandStage.REJECTED)
