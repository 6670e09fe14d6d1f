"""What the server answers, read by what was asked (facts: verto, Calls and Errors).

A refusal is an error object, or a result that holds a ``code``: broadcasts are refused like that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from cti_webitel.verto.fields import Fields
from cti_webitel.verto.frames import ErrorReply, Result
from cti_webitel.verto.receiving import read_cause
from cti_webitel.verto.signals import Cause

__all__ = [
    "Accepted",
    "CallCreated",
    "CallEnded",
    "HoldState",
    "InfoSent",
    "LoggedIn",
    "Modified",
    "OtherResult",
    "Outcome",
    "Pong",
    "RefusalCode",
    "Refused",
    "Subscribed",
    "Unsubscribed",
    "read_error",
    "read_result",
]

_NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})
CALL_GONE: Final = "CALL DOES NOT EXIST"


class RefusalCode(int, Enum):
    """The numbers of refusals that are known."""

    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    """Or one that this user may not use."""
    NOT_PERMITTED = -32602
    LOGIN_NEEDED = -32000
    LOGIN_REFUSED = -32001
    FAILED = -32002


class HoldState(Enum):
    """Whether the own side holds a call."""

    ACTIVE = "active"
    HELD = "held"


@frozen
class LoggedIn:
    """The user is logged in.

    Attributes:
        session_id: The session, as the server knows it.
        message: The server's words.
    """

    session_id: str
    message: str = ""


@frozen
class CallCreated:
    """There is a channel for the call. It says nothing of whether it leads anywhere.

    Attributes:
        call_id: The call.
        message: The server's words.
    """

    call_id: str
    message: str = ""


@frozen
class Accepted:
    """The server did it, or will; it says nothing else."""


@frozen
class CallEnded:
    """The call is over.

    Attributes:
        call_id: The call.
        cause: Why.
        message: The server's words.
    """

    call_id: str
    cause: Cause | None
    message: str = ""


@frozen
class Modified:
    """The call was changed, as far as the server knows the action.

    Attributes:
        call_id: The call.
        action: What was asked.
        hold_state: Whether the own side holds it now; ``None`` if that was not told.
        sdp: The answer to the offer of new media.
        message: The server's words: a transfer has some. They do not say that the transfer will succeed.
    """

    call_id: str
    action: str
    hold_state: HoldState | None = None
    sdp: str | None = field(default=None, repr=False)
    message: str = ""


@frozen
class InfoSent:
    """The server took a message within a call, or beside it.

    Attributes:
        taken: It passed it on. If not there is no such call any more, or nothing to pass on. It is no proof that it arrived.
    """

    taken: bool


@frozen
class Pong:
    """The server is there."""


@frozen
class Subscribed:
    """What is listened to.

    Attributes:
        channels: Begun by this request.
        refused: Not allowed.
        already: Listened to before.
    """

    channels: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    already: tuple[str, ...] = ()


@frozen
class Unsubscribed:
    """What is not listened to any more.

    Attributes:
        channels: Ended by this request.
        unknown: Were not listened to.
    """

    channels: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@frozen
class OtherResult:
    """The answer to anything else.

    Attributes:
        values: What it says.
    """

    values: Mapping[str, Any] = field(repr=False)


@frozen
class Refused:
    """The server did not do it.

    Attributes:
        message: Its words; empty where it has none.
        code: Its number; ``None`` where it has none.
        detail: What exactly is wrong, where ``message`` says only that something is.
        cause: Why a call did not come into being.
        channels: Those that are not allowed, or were not subscribed to.
        call_id: The call that it is about.
        action: What was to be done with it.
        values: What else it says.
    """

    message: str = ""
    code: int | None = None
    detail: str | None = None
    cause: Cause | None = None
    channels: tuple[str, ...] = ()
    call_id: str | None = None
    action: str | None = None
    values: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)

    @property
    def is_gone(self) -> bool:
        """Whether it says that the call does not exist: both sides may hang up at once."""
        return self.message == CALL_GONE

    @property
    def words(self) -> str:
        """What it says, for people."""
        words = self.detail or self.message
        if self.channels:
            words = f"not these channels: {', '.join(channel or '(no name)' for channel in self.channels)}"
        if self.cause is not None:
            words = f"{words} ({self.cause})"
        return words or "no reason given"


Outcome: TypeAlias = (
    LoggedIn | CallCreated | Accepted | CallEnded | Modified | InfoSent | Pong | Subscribed | Unsubscribed | OtherResult | Refused
)


def read_result(method: str, reply: Result) -> tuple[Outcome, int]:
    """Read a result.

    Args:
        method: What was asked.
        reply: The result.

    Returns:
        What it says, and how many of its values were left out because they are of the wrong type.
    """
    read = _READERS.get(method)
    if read is None:
        return OtherResult(MappingProxyType(dict(reply.result))), 0
    fields = Fields(reply.result)
    code = fields.number("code")
    outcome = read(fields) if code is None or code >= 0 else _refused(fields, code, None)
    return outcome, fields.left_out


def read_error(reply: ErrorReply) -> tuple[Refused, int]:
    """Read an error.

    Args:
        reply: It.

    Returns:
        What it says, and how many of its values were left out because they are of the wrong type.
    """
    fields = Fields(reply.error)
    return _refused(fields, fields.number("code"), reply.detail), fields.left_out


def _refused(fields: Fields, code: int | None, detail: str | None) -> Refused:
    message = fields.text("message") or ""
    # Of results; it is known.
    fields.text("sessid")
    return Refused(
        message,
        code,
        detail,
        read_cause(fields),
        fields.texts("unauthorizedChannels") + fields.texts("notSubscribedChannels"),
        fields.text("callID"),
        fields.text("action"),
        fields.rest(),
    )


def _read_login(fields: Fields) -> Outcome:
    return LoggedIn(fields.text("sessid") or "", fields.text("message") or "")


def _read_invite(fields: Fields) -> Outcome:
    return CallCreated(fields.text("callID") or "", fields.text("message") or "")


def _read_nothing(fields: Fields) -> Outcome:
    return Accepted()


def _read_bye(fields: Fields) -> Outcome:
    return CallEnded(fields.text("callID") or "", read_cause(fields), fields.text("message") or "")


def _read_modify(fields: Fields) -> Outcome:
    told = fields.text("holdState")
    state = HoldState(told) if told in ("active", "held") else None
    return Modified(
        fields.text("callID") or "",
        fields.text("action") or "",
        state,
        fields.text("sdp") or None,
        fields.text("message") or "",
    )


def _read_info(fields: Fields) -> Outcome:
    return InfoSent(fields.text("message") == "SENT")


def _read_ping(fields: Fields) -> Outcome:
    return Pong()


def _read_subscribe(fields: Fields) -> Outcome:
    channels, refused = fields.texts("subscribedChannels"), fields.texts("unauthorizedChannels")
    return Subscribed(channels, refused, fields.texts("alreadySubscribedChannels"))


def _read_unsubscribe(fields: Fields) -> Outcome:
    return Unsubscribed(fields.texts("unsubscribedChannels"), fields.texts("notSubscribedChannels"))


_READERS: Final[Mapping[str, Callable[[Fields], Outcome]]] = MappingProxyType(
    {
        "login": _read_login,
        "verto.answer": _read_nothing,
        "verto.attach": _read_nothing,
        "verto.broadcast": _read_nothing,
        "verto.bye": _read_bye,
        "verto.info": _read_info,
        "verto.invite": _read_invite,
        "verto.modify": _read_modify,
        "verto.ping": _read_ping,
        "verto.subscribe": _read_subscribe,
        "verto.unsubscribe": _read_unsubscribe,
    }
)
