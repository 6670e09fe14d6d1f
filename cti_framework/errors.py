"""The one error tree: whose fault it is, whether to try again, what to do now.

::

    CtiError                          everything below; has step, retryable, remedy, error_type
    ├── ConfigurationError            the settings say something that cannot be used
    │   ├── ProviderNotSetError       no provider is chosen
    │   ├── ProviderNotFoundError     a provider is chosen that is not installed
    │   ├── ProviderDisabledError     a provider is chosen that is switched off
    │   ├── ProviderDuplicateError    two distributions offer a provider under one name
    │   └── SettingsError             one or more settings hold what they may not hold
    ├── PluginError                   an installed plugin cannot be used
    │   ├── PluginImportError         its import raised
    │   ├── PluginIncompatibleError   it was written for another contract
    │   └── HookError                 a hook implementation raised, or is misspelt
    ├── LogInRefusedError             the host's own log in (``cti_log_in``) said no
    ├── UserConnectionError           the user has no connection to the PBX
    ├── StepTimeoutError              a step on the way to a session took too long
    ├── ConnectionFailedError         the PBX cannot be reached, or went away; has kind
    │   ├── AddressError              the address is not one that can be connected to
    │   ├── NetworkError              nobody answers there, or the line was cut
    │   ├── CredentialsRefusedError   the PBX answers and refuses the user: never retried
    │   └── ProtocolError             the peer says what the protocol does not allow
    ├── CommandError                  a command did not do what it was asked; has stage
    │   ├── InvalidArgumentError      an argument that is never sent
    │   ├── NotSupportedError         this provider, or this session, cannot do it at all
    │   ├── NotAllowedNowError        it can, but not in the present state
    │   ├── NotConnectedError         there is no connection to send it on
    │   ├── CommandRefusedError       the PBX answered no
    │   └── CommandUnconfirmedError   sent, and no answer: it may have acted
    ├── SubscriberBehindError         a reader of events was too slow, and asked to be told so by this
    ├── SessionClosedError            the session is closed, or was never opened in this process
    └── BlockingCallError             a call that waits, where an event loop would stand still
"""

from __future__ import annotations

import traceback
from enum import Enum, IntEnum
from typing import Any

__all__ = [
    "AddressError",
    "BlockingCallError",
    "CommandError",
    "CommandRefusedError",
    "CommandStage",
    "CommandUnconfirmedError",
    "ConfigurationError",
    "ConnectionFailedError",
    "CredentialsRefusedError",
    "CtiError",
    "ErrorType",
    "HookError",
    "InvalidArgumentError",
    "LogInRefusedError",
    "NetworkError",
    "NotAllowedNowError",
    "NotConnectedError",
    "NotSupportedError",
    "OutageKind",
    "PluginError",
    "PluginImportError",
    "PluginIncompatibleError",
    "ProtocolError",
    "ProviderDisabledError",
    "ProviderDuplicateError",
    "ProviderNotFoundError",
    "ProviderNotSetError",
    "SessionClosedError",
    "SettingsError",
    "StepTimeoutError",
    "SubscriberBehindError",
    "UserConnectionError",
    "told_error",
    "traceback_text",
]


class ErrorType(IntEnum):
    """The error numbers of Creatio's ``MsgErrorType``; hosts that know them can go on using them."""

    GENERAL = 0
    LOAD_LIBRARY = 1
    OPEN_CONNECTION = 2
    COMMAND = 3
    COMMAND_NOT_IMPLEMENTED = 4
    CALL_CENTRE_NOT_AVAILABLE = 5
    AUTHENTICATION = 6
    CALL_SAVING = 7
    EVENT_HANDLER = 8
    CONNECTION_CONFIG = 9


class CommandStage(Enum):
    """How far a command got before it ended."""

    NOT_SENT = "not_sent"
    """Nothing left this process: trying again is safe."""
    UNCONFIRMED = "unconfirmed"
    """It was sent and no answer came: it may or may not have acted."""
    REJECTED = "rejected"
    """The PBX answered that it did not do it."""
    ACCEPTED = "accepted"
    """The PBX answered that it did it; what failed came later."""


class OutageKind(Enum):
    """Why there is no connection. Each kind has a back-off of its own; ``back_off`` says how long is waited for which."""

    LOST = "lost"
    """It was there and was cut."""
    REFUSED = "refused"
    """The computer answers, and nobody listens at that port."""
    NO_ANSWER = "no_answer"
    """Nobody said anything in time, neither yes nor no."""
    NAME_UNKNOWN = "name_unknown"
    """The name server does not know the host's name."""
    UNREACHABLE = "unreachable"
    """The network has no way there."""
    TLS_NOT_TRUSTED = "tls_not_trusted"
    """The certificate is signed by nobody whom we trust, has expired, or is another host's."""
    FROZEN = "frozen"
    """The peer's computer takes what is sent, and the program on it answers nothing any more."""
    HALF_OPEN = "half_open"
    """What is sent arrives nowhere: the peer, or the way to it, went away without a word."""
    RESTARTING = "restarting"
    """The peer said that it goes away and comes back."""
    BUSY = "busy"
    """The peer has no room for one more now."""
    CREDENTIALS = "credentials"
    """The peer refuses the user. Never tried again by itself."""
    ADDRESS = "address"
    """The address cannot be used. Never tried again by itself."""
    PROTOCOL = "protocol"
    """Another program, or another version, listens there."""
    PLUGIN = "plugin"
    """The plugin failed, and not the network."""

    @staticmethod
    def of(error: BaseException) -> OutageKind:
        """Tell the kind of what a connection ended with.

        Args:
            error: What it ended with.

        Returns:
            Its kind; ``PLUGIN`` for what is no ``ConnectionFailedError``.
        """
        return error.kind if isinstance(error, ConnectionFailedError) else OutageKind.PLUGIN


class CtiError(Exception):
    """Base of every error that this framework raises.

    Args:
        message: What happened, in one sentence that names the value concerned.
        step: Where in the chain it happened, for example ``"settings"``, ``"log_in"``, ``"connect"`` or a verb's name.
        retryable: Whether the same attempt can succeed later without anybody changing anything.
        remedy: What to do now, in one sentence.

    Attributes:
        message: As given.
        step: As given, or the class's own.
        retryable: As given, or the class's own.
        remedy: As given, or the class's own.
        error_type: The number that Creatio's hosts know this kind of error by.
    """

    error_type: ErrorType = ErrorType.GENERAL
    step: str = "session"
    retryable: bool = False
    remedy: str = ""

    def __init__(
        self,
        message: str,
        *,
        step: str | None = None,
        retryable: bool | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if step is not None:
            self.step = step
        if retryable is not None:
            self.retryable = retryable
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message

    def describe(self) -> dict[str, Any]:
        """Tell the error as plain data, for logs and for ``--json`` output.

        Returns:
            ``error`` (class name), ``message``, ``step``, ``retryable``, ``remedy``, ``error_type`` (number), ``stage`` and
            ``command_id`` for a command's error, ``kind`` for a connection's. It holds no secret.
        """
        description: dict[str, Any] = {
            "error": type(self).__name__,
            "message": self.message,
            "step": self.step,
            "retryable": self.retryable,
            "remedy": self.remedy,
            "error_type": int(self.error_type),
        }
        stage = getattr(self, "stage", None)
        if isinstance(stage, CommandStage):
            description["stage"] = stage.value
        command_id = getattr(self, "command_id", None)
        if isinstance(command_id, str):
            description["command_id"] = command_id
        return description


class ConfigurationError(CtiError):
    """The settings say something that cannot be used; somebody has to change them."""

    error_type = ErrorType.CONNECTION_CONFIG
    step = "settings"


class ProviderNotSetError(ConfigurationError):
    """No provider is chosen. Set ``cti.provider``."""


class ProviderNotFoundError(ConfigurationError):
    """A provider is chosen that no installed distribution offers."""

    error_type = ErrorType.LOAD_LIBRARY
    step = "find_provider"


class ProviderDisabledError(ConfigurationError):
    """The chosen provider is installed and switched off by ``cti.disabled_plugins``."""

    error_type = ErrorType.LOAD_LIBRARY
    step = "find_provider"


class ProviderDuplicateError(ConfigurationError):
    """Two distributions offer the chosen name; which one is meant cannot be guessed."""

    error_type = ErrorType.LOAD_LIBRARY
    step = "find_provider"


class SettingsError(ConfigurationError):
    """One or more settings hold what they may not hold.

    Args:
        message: One sentence.
        problems: One line a key: the key, what it holds (secrets masked), what it may hold.
        remedy: What to do now.

    Attributes:
        problems: As given.
    """

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class PluginError(CtiError):
    """An installed plugin cannot be used; its author or whoever installed it can mend that."""

    error_type = ErrorType.LOAD_LIBRARY
    step = "load_provider"


class PluginImportError(PluginError):
    """Importing the plugin raised; the cause is ``__cause__``."""


class PluginIncompatibleError(PluginError):
    """The plugin was written for another version of the contract, or is no provider at all."""


class HookError(PluginError):
    """A hook implementation raised, returned what it may not, or is misspelt."""

    error_type = ErrorType.EVENT_HANDLER
    step = "hook"


class LogInRefusedError(CtiError):
    """A ``cti_log_in`` hook said no: licence, user or role. Nothing was connected."""

    error_type = ErrorType.AUTHENTICATION
    step = "log_in"


class UserConnectionError(CtiError):
    """The users directory knows no connection for this user, or one that is not complete."""

    error_type = ErrorType.CONNECTION_CONFIG
    step = "user_connection"


class StepTimeoutError(CtiError):
    """A step on the way to a session did not end in its time."""

    retryable = True


class ConnectionFailedError(CtiError):
    """The PBX cannot be reached, or went away. The core tries again unless ``retryable`` is false.

    Args:
        message: What happened.
        kind: Which kind of outage it is; the class's own if not given.
        step: Where in the chain it happened.
        retryable: Whether the same attempt can succeed later without anybody changing anything.
        remedy: What to do now.

    Attributes:
        kind: As given, or the class's own.
    """

    error_type = ErrorType.OPEN_CONNECTION
    step = "connect"
    retryable = True
    kind: OutageKind = OutageKind.LOST

    def __init__(
        self,
        message: str,
        *,
        kind: OutageKind | None = None,
        step: str | None = None,
        retryable: bool | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, step=step, retryable=retryable, remedy=remedy)
        if kind is not None:
            self.kind = kind

    def describe(self) -> dict[str, Any]:
        """Tell the error as plain data.

        Returns:
            As for every error, and ``kind``.
        """
        return {**super().describe(), "kind": self.kind.value}


class AddressError(ConnectionFailedError):
    """The address is not one that can be connected to; trying again will not help."""

    error_type = ErrorType.CONNECTION_CONFIG
    retryable = False
    kind = OutageKind.ADDRESS


class NetworkError(ConnectionFailedError):
    """Nobody answers there, the name is not known, or the line was cut."""


class CredentialsRefusedError(ConnectionFailedError):
    """The PBX answered and refuses the user. Never tried again by itself: accounts get locked that way."""

    error_type = ErrorType.AUTHENTICATION
    retryable = False
    kind = OutageKind.CREDENTIALS


class ProtocolError(ConnectionFailedError):
    """The peer says what the protocol does not allow: another program, or another version, listens there."""

    kind = OutageKind.PROTOCOL


class CommandError(CtiError):
    """A command did not do what it was asked.

    Args:
        message: What happened.
        stage: How far it got; the class's own if not given.
        pbx_text: The PBX's own words, if it gave any.
        command: The verb's name; it becomes ``step``.
        retryable: Whether sending it again is both safe and of use.
        remedy: What to do now.

    Attributes:
        stage: As given.
        pbx_text: As given.
        command_id: Which command it was; `CtiModel.command` tells more of it.
    """

    error_type = ErrorType.COMMAND
    step = "command"
    stage: CommandStage = CommandStage.NOT_SENT
    command_id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        stage: CommandStage | None = None,
        pbx_text: str | None = None,
        command: str | None = None,
        retryable: bool | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, step=command, retryable=retryable, remedy=remedy)
        if stage is not None:
            self.stage = stage
        self.pbx_text = pbx_text


class InvalidArgumentError(CommandError, ValueError):
    """An argument that is never sent: empty, of the wrong form, or able to inject into the switch."""


class NotSupportedError(CommandError):
    """This provider, or this session of it, cannot do the verb at all."""

    error_type = ErrorType.COMMAND_NOT_IMPLEMENTED


class NotAllowedNowError(CommandError):
    """The verb exists, but the present state does not allow it; ``call.features`` says what it allows.

    Args:
        message: What was asked.
        reason: Why it is not allowed now, in words for the operator.
        command: The verb's name.

    Attributes:
        reason: As given.
    """

    def __init__(self, message: str, *, reason: str, command: str | None = None) -> None:
        super().__init__(f"{message}: {reason}", command=command)
        self.reason = reason


class NotConnectedError(CommandError):
    """There is no connection to send the command on. It was not sent, and will not be sent later."""

    error_type = ErrorType.OPEN_CONNECTION
    retryable = True


class CommandRefusedError(CommandError):
    """The PBX answered no; its words are in ``pbx_text``."""

    stage = CommandStage.REJECTED


class CommandUnconfirmedError(CommandError):
    """The command was sent and no answer came: it may have acted. Look at the calls before trying again."""

    stage = CommandStage.UNCONFIRMED


class SubscriberBehindError(CtiError):
    """A reader of events was away for longer than they are kept. It asked for this error in place of ``ResyncRequired``.

    Args:
        message: What happened.
        missed: How many events it did not get; ``None``: not known.
        remedy: What to do now.

    Attributes:
        missed: As given.
    """

    error_type = ErrorType.EVENT_HANDLER
    step = "events"

    def __init__(self, message: str, *, missed: int | None, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.missed = missed


class SessionClosedError(CtiError):
    """The session is closed, or was never opened in this process: a session is not carried over a fork."""


class BlockingCallError(CtiError):
    """A call that waits, made in a thread in which an event loop runs: the loop would stand still. Nothing was done."""


def told_error(error: Exception) -> CtiError | None:
    """Find the error that a plugin meant, where a task group of its own has wrapped it.

    Args:
        error: What it raised.

    Returns:
        The error; of several, one that must not be tried again. ``None``: it meant none of ours.
    """
    if isinstance(error, CtiError):
        return error
    if isinstance(error, ExceptionGroup):
        told = [found for found in map(told_error, error.exceptions) if found is not None]
        return min(told, key=lambda found: found.retryable, default=None)
    return None


def traceback_text(error: BaseException) -> str:
    """Write an error's traceback as text, for a log.

    Given to a log as ``exc_info`` it would be up to the renderer, and structlog's own shows local variables: secrets, too.

    Args:
        error: The error.

    Returns:
        The lines that Python prints.
    """
    return "".join(traceback.format_exception(error))
