"""What a host asked of its line: each command once, and how far it got.

A command has an identifier, the host's or one made here, and happens once: whoever asks for the same identifier again waits for
the outcome of the first, or is given it. So a host that does not know what became of a request (a page was reloaded, its own
caller asked twice) repeats it and nothing acts twice.

How far a command got is not guessed. A provider that can says when the command leaves it (`ProviderContext.command_sent`), in the
task of the verb or in one that it started from there: until then nothing was sent, from then on it may have acted. Of a provider
that does not say (``BaseCtiProvider.marks_sent``), whatever it was handed counts as sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio
import attrs

from cti_framework.calls import Call
from cti_framework.errors import (
    CommandError,
    CommandStage,
    CommandUnconfirmedError,
    CtiError,
    InvalidArgumentError,
    NotAllowedNowError,
)

__all__ = ["Command", "CommandRecord", "CommandTimeouts", "Commands", "like", "new_command_id"]

E = TypeVar("E", bound=CtiError)
T = TypeVar("T")

_REMEMBERED: Final = 256
"""How many commands with an identifier of the host's are remembered, and as many without."""
_MAY_HAVE_ACTED: Final = (CommandStage.UNCONFIRMED, CommandStage.ACCEPTED)
_LOOK_AT_THE_CALLS: Final = "It may have acted: look at the calls before trying again."
_TRY_AGAIN: Final = "Nothing was sent: trying again, as another command, is safe."


@attrs.frozen
class CommandTimeouts:
    """How long the core waits for a verb, whatever the provider does.

    Attributes:
        command_seconds: For a verb that acts on a call, or on the agent.
        make_call_seconds: For one that begins a call: until the PBX shows it.
        query_seconds: For one that only asks; for one that fetches a file, for each silence.
        resolve_seconds: For one that begins a call and was not confirmed: how much longer the call is looked for.
    """

    command_seconds: float = 15.0
    make_call_seconds: float = 30.0
    query_seconds: float = 30.0
    resolve_seconds: float = 10.0


@attrs.frozen
class CommandRecord:
    """What became of one command.

    Attributes:
        command_id: Its identifier.
        verb: Which verb.
        started_at: When the host asked, on the session's clock.
        stage: How far it got; ``None``: it is under way. ``ACCEPTED`` without an error: it succeeded.
        ended_at: When it ended; ``None``: it is under way.
        call_id: The call that it is about; of one that begins a call, that call once it is shown.
        error: What it ended with; ``None`` also where it succeeded.
        cancelled: Whoever asked was cancelled before it ended.
    """

    command_id: str
    verb: str
    started_at: datetime
    stage: CommandStage | None = None
    ended_at: datetime | None = None
    call_id: str | None = None
    error: CtiError | None = None
    cancelled: bool = False

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self.ended_at is None


class Command:
    """A command under way, and then its outcome.

    Args:
        command_id: Its identifier.
        verb: Which verb.
        arguments: What it was given, to be compared only: it may be secret.
        started_at: When.

    Attributes:
        command_id: As given.
        verb: As given.
        arguments: As given.
        is_sent: Whether it may have left.
        call_id: The call that it is about.
        number: Whom it calls, where it begins a call to a number.
        look_again: Looks for the call that it began, where it ended in this error without one; gives what its verb would have
            given, or ``None``. ``None``: there is nothing to look for.
    """

    __slots__ = (
        "_cancelled",
        "_ended",
        "_ended_at",
        "_error",
        "_looking",
        "_stage",
        "_started_at",
        "_value",
        "arguments",
        "call_id",
        "command_id",
        "is_sent",
        "look_again",
        "number",
        "verb",
    )

    def __init__(self, command_id: str, verb: str, arguments: tuple[object, ...], started_at: datetime) -> None:
        self.command_id = command_id
        self.verb = verb
        self.arguments = arguments
        self.is_sent = False
        self.call_id: str | None = None
        self.number: str | None = None
        self.look_again: Callable[[CommandError], Awaitable[Call | None]] | None = None
        self._started_at = started_at
        self._ended_at: datetime | None = None
        self._stage: CommandStage | None = None
        self._value: Any = None
        self._error: CtiError | None = None
        self._cancelled = False
        # Made by the first who waits: hardly a command is asked for twice.
        self._ended: anyio.Event | None = None
        self._looking: anyio.Lock | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is under way."""
        return self._ended_at is None

    @property
    def started_at(self) -> datetime:
        """When the host asked."""
        return self._started_at

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; ``None``: it is under way."""
        return self._ended_at

    @property
    def may_have_acted(self) -> bool:
        """Whether it is under way, or nothing says that it did nothing."""
        return self._stage is None or self._stage in _MAY_HAVE_ACTED

    @property
    def record(self) -> CommandRecord:
        """What became of it so far."""
        return CommandRecord(
            command_id=self.command_id,
            verb=self.verb,
            started_at=self._started_at,
            stage=self._stage,
            ended_at=self._ended_at,
            call_id=self.call_id,
            error=self._error,
            cancelled=self._cancelled,
        )

    @property
    def stage(self) -> CommandStage:
        """How far it got, where nobody answered."""
        return CommandStage.UNCONFIRMED if self.is_sent else CommandStage.NOT_SENT

    def unanswered(self, message: str, *, sent: str = _LOOK_AT_THE_CALLS) -> CommandError:
        """Make the error of a command that ended without an answer of the PBX: it says whether it was sent.

        Args:
            message: What happened.
            sent: What to do where it was.

        Returns:
            The error.
        """
        if self.is_sent:
            return CommandUnconfirmedError(message, command=self.verb, remedy=sent)
        return CommandError(message, command=self.verb, retryable=True, remedy=_TRY_AGAIN)

    def end(
        self,
        at: datetime,
        stage: CommandStage,
        *,
        value: object = None,
        error: CtiError | None = None,
        cancelled: bool = False,
    ) -> None:
        """Say what became of it.

        Args:
            at: When it ended.
            stage: How far it got.
            value: What it gave.
            error: What it ended with.
            cancelled: Whether whoever asked was cancelled.
        """
        self._value, self._error = value, error
        self._stage, self._ended_at, self._cancelled = stage, at, cancelled
        if self._ended is not None:
            self._ended.set()

    def began(self, call: Call) -> bool:
        """Tell whether it is known to have begun a call.

        Args:
            call: The call.

        Returns:
            Whether.
        """
        began = self._value
        return isinstance(began, Call) and began.id in (call.id, *call.former_ids)

    async def look_for_outcome(self, now: Callable[[], datetime]) -> None:
        """Look for what it began, where it ended without an answer. It is not carried out again.

        Args:
            now: Tells the time.

        Raises:
            CommandError: It cannot be looked for now.
        """
        if self._looking is None:
            self._looking = anyio.Lock()
        # Who asks meanwhile is given what is found.
        async with self._looking:
            error, look_again = self._error, self.look_again
            if look_again is None or not isinstance(error, CommandError) or error.stage not in _MAY_HAVE_ACTED:
                return
            call = await look_again(error)
            if call is not None:
                self.call_id, self.look_again = call.id, None
                self._value, self._error = call, None
                self._stage, self._ended_at = CommandStage.ACCEPTED, now()

    async def outcome(self) -> Any:
        """Wait until it has ended, and give what it gave to who asked first.

        Returns:
            The same value.

        Raises:
            CtiError: The like of what it ended with.
        """
        if self.is_running:
            if self._ended is None:
                self._ended = anyio.Event()
            await self._ended.wait()
        if self._error is not None:
            raise like(self._error)
        return self._value


_current: ContextVar[Command | None] = ContextVar("cti_framework_command", default=None)


class Commands:
    """The commands of one session: those under way, and the latest that have ended.

    Args:
        now: Tells the session's time.
        log: Where to log.
        at_once: How many may be under way at a time; ``None``: any number.
    """

    __slots__ = ("_at_once", "_by_id", "_given", "_log", "_made", "_now")

    def __init__(self, now: Callable[[], datetime], log: Any, *, at_once: int | None = None) -> None:
        self._now = now
        self._at_once = at_once
        self._log = log
        self._by_id: dict[str, Command] = {}
        # The same ones, by whose identifier it is: the host's, or one made here.
        self._given: dict[str, Command] = {}
        self._made: dict[str, Command] = {}

    @property
    def records(self) -> tuple[CommandRecord, ...]:
        """What became of each, the oldest first."""
        return tuple(command.record for command in self._by_id.values())

    def record(self, command_id: str) -> CommandRecord | None:
        """Tell what became of one.

        Args:
            command_id: Which.

        Returns:
            That; ``None`` for one that was never asked for, or too long ago.
        """
        command = self._by_id.get(command_id)
        return None if command is None else command.record

    @staticmethod
    def current() -> Command:
        """Give the command that this task carries out."""
        command = _current.get()
        assert command is not None
        return command

    @staticmethod
    def sent() -> None:
        """Say that the command of this task, or of the one that started it, leaves now."""
        command = _current.get()
        if command is not None:
            command.is_sent = True

    async def run(self, verb: str, arguments: tuple[object, ...], command_id: str | None, act: Callable[[], Awaitable[T]]) -> T:
        """Carry a command out, unless that was done or is being done.

        Args:
            verb: Which verb.
            arguments: What it was given.
            command_id: Its identifier; ``None``: one is made.
            act: Carries it out.

        Returns:
            What it gives, or gave.

        Raises:
            InvalidArgumentError: The identifier is none, or that of another command.
            CtiError: As it ends, or ended.
        """
        if command_id is None:
            return await self._carry_out(Command(new_command_id(), verb, arguments, self._now()), act, self._made)
        given: object = command_id
        if not isinstance(given, str) or not given:
            raise InvalidArgumentError(f"{verb}: command_id must be a text that is not empty, not {command_id!r}.", command=verb)
        known = self._by_id.get(command_id)
        if known is None:
            return await self._carry_out(Command(command_id, verb, arguments, self._now()), act, self._given)
        if known.verb != verb or known.arguments != arguments:
            # What it was given may be secret.
            raise InvalidArgumentError(
                f"{verb}: the command {command_id!r} is another one: {known.verb}, or with other arguments.",
                command=verb,
                remedy="Give each command an identifier of its own; the same one only to ask for the same again.",
            )
        if not known.is_running and known.look_again is not None:
            await known.look_for_outcome(self._now)
        value: T = await known.outcome()
        return value

    def is_anothers(self, command: Command, call: Call) -> bool:
        """Tell whether another command is known to have begun a call.

        Args:
            command: The one that looks for its own.
            call: The call.

        Returns:
            Whether.
        """
        return any(known is not command and known.began(call) for known in self._by_id.values())

    def later_than(self, command: Command) -> list[Command]:
        """Give the commands that the host asked for after one, and that may have acted.

        Args:
            command: The one.

        Returns:
            Those that are remembered.
        """
        commands = list(self._by_id.values())
        after = commands[commands.index(command) + 1 :] if command in commands else []
        return [known for known in after if known.may_have_acted]

    async def _carry_out(self, command: Command, act: Callable[[], Awaitable[T]], alike: dict[str, Command]) -> T:
        self._check_room(command)
        self._remember(command, alike)
        token = _current.set(command)
        try:
            value = await act()
        except CtiError as error:
            stage = CommandStage.NOT_SENT
            if isinstance(error, CommandError):
                stage, error.command_id = error.stage, command.command_id
            command.end(self._now(), stage, error=error)
            raise
        except BaseException as error:
            self._broken_off(command, error)
            raise
        finally:
            _current.reset(token)
        command.end(self._now(), CommandStage.ACCEPTED, value=value)
        return value

    def _broken_off(self, command: Command, error: BaseException) -> None:
        cancelled = _is_cancellation(error)
        why = "whoever asked was cancelled" if cancelled else f"whoever asked was interrupted by {type(error).__name__}"
        # For those who wait for the same command, and for the record; the cancellation itself goes out untouched.
        told = command.unanswered(f"{command.verb}: {why} before it ended.")
        told.command_id = command.command_id
        command.end(self._now(), command.stage, error=told, cancelled=cancelled)
        say = self._log.warning if command.is_sent else self._log.info
        say("cti.command.cancelled", verb=command.verb, command_id=command.command_id, stage=command.stage.value, why=why)

    def _check_room(self, command: Command) -> None:
        at_once = self._at_once
        if at_once is not None and sum(known.is_running for known in self._by_id.values()) >= at_once:
            raise NotAllowedNowError(
                command.verb, reason=f"{at_once} commands are under way, as many as may be at a time", command=command.verb
            )

    def _remember(self, command: Command, alike: dict[str, Command]) -> None:
        # Those without an identifier of the host's are never asked for again: they must not push out those with one.
        self._by_id[command.command_id] = alike[command.command_id] = command
        if len(alike) > _REMEMBERED:
            oldest = next((known for known in alike.values() if not known.is_running), None)
            if oldest is not None:
                del self._by_id[oldest.command_id], alike[oldest.command_id]


def new_command_id() -> str:
    """Make an identifier that no other command has."""
    return uuid.uuid4().hex


def _is_cancellation(error: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    # A task group of a plugin's that is cancelled can hand on the cancellation and its tasks' faults together.
    return isinstance(error, cancelled) or (isinstance(error, BaseExceptionGroup) and error.subgroup(cancelled) is not None)


def like(error: E) -> E:
    """Make an error equal to one that was raised already: raised again, its traceback would grow from caller to caller."""
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__
    return twin
