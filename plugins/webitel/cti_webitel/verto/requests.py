"""What can be asked of the server, one value class each. Each says what it is about, and writes its parameters.

Of a dialog's parameters only those are sent that say something (facts: verto, Calls); ``extra`` takes any others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar, Final

from attrs import field, frozen
from typed_settings.types import Secret

from cti_webitel.verto.signals import Cause

__all__ = [
    "Action",
    "Answer",
    "Attach",
    "Broadcast",
    "Bye",
    "DialogMessage",
    "Invite",
    "Login",
    "Modify",
    "OtherMessage",
    "Ping",
    "SendChat",
    "SendDigits",
    "Subscribe",
    "Unsubscribe",
    "VertoMessage",
]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Action(Enum):
    """What `Modify` does with a call."""

    HOLD = "hold"
    """Hold it; once more does nothing."""
    UNHOLD = "unhold"
    """Take it back; once more does nothing."""
    TOGGLE_HOLD = "toggleHold"
    """The one or the other."""
    TRANSFER = "transfer"
    """Give the other party to a number."""
    REPLACE = "replace"
    """Join the other parties of two calls."""
    UPDATE_MEDIA = "updateMedia"
    """Make new media. The server hangs up a call that is not answered."""


@frozen
class VertoMessage(ABC):
    """Base of what can be asked."""

    method: ClassVar[str]

    @abstractmethod
    def params(self) -> dict[str, Any]:
        """Write what it says.

        Returns:
            The parameters, without the session's identifier.
        """


@frozen
class Login(VertoMessage):
    """Log in on this connection.

    Attributes:
        user: ``number@domain``.
        password: The user's.
        login_params: What the server's directory is to know of the client.
        user_variables: Variables of the session.
    """

    method: ClassVar[str] = "login"

    user: str
    password: Secret[str]
    login_params: Mapping[str, Any] = field(default=_NOTHING, repr=False)
    user_variables: Mapping[str, Any] = field(default=_NOTHING, repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {
            "login": self.user,
            "passwd": self.password,
            "loginParams": dict(self.login_params),
            "userVariables": dict(self.user_variables),
        }


@frozen
class DialogMessage(VertoMessage):
    """Base of what is about a call.

    Attributes:
        call_id: The call.
        extra: Further parameters of the dialog.
    """

    call_id: str
    extra: Mapping[str, Any] = field(default=_NOTHING, repr=False, kw_only=True)

    def dialog_params(self) -> dict[str, Any]:
        """Write what is said of the dialog.

        Returns:
            The parameters.
        """
        return {**self.extra, "callID": self.call_id}


@frozen
class Invite(DialogMessage):
    """Call somebody.

    Attributes:
        destination: The number.
        sdp: The offer.
        caller_name: The own name, as the called one sees it.
        caller_number: The own number.
        remote_name: How the called one is named until something else is known.
        remote_number: The called one's number, likewise.
        recovers: The call is kept when the connection is lost.
        variables: The call gets them as channel variables ``verto_dvar_…``.
    """

    method: ClassVar[str] = "verto.invite"

    destination: str
    sdp: str = field(repr=False)
    caller_name: str | None = None
    caller_number: str | None = None
    remote_name: str | None = None
    remote_number: str | None = None
    recovers: bool = True
    variables: Mapping[str, Any] = field(default=_NOTHING, repr=False)

    def dialog_params(self) -> dict[str, Any]:
        """See `DialogMessage.dialog_params`."""
        named = {
            "destination_number": self.destination,
            "caller_id_name": self.caller_name,
            "caller_id_number": self.caller_number,
            "remote_caller_id_name": self.remote_name,
            "remote_caller_id_number": self.remote_number,
            "recoverCall": None if self.recovers else False,
            "userVariables": dict(self.variables) or None,
        }
        return super().dialog_params() | {name: value for name, value in named.items() if value is not None}

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"sdp": self.sdp, "dialogParams": self.dialog_params()}


@frozen
class Answer(DialogMessage):
    """Answer a call that came in.

    Attributes:
        sdp: The answer to the server's offer.
    """

    method: ClassVar[str] = "verto.answer"

    sdp: str = field(repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"sdp": self.sdp, "dialogParams": self.dialog_params()}


@frozen
class Attach(DialogMessage):
    """Give a call new media.

    Attributes:
        sdp: The answer to the server's offer.
    """

    method: ClassVar[str] = "verto.attach"

    sdp: str = field(repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"sdp": self.sdp, "dialogParams": self.dialog_params()}


@frozen
class Bye(DialogMessage):
    """Hang up.

    Attributes:
        cause: Why; ``None``: in the normal way. The name wins over the number, and a name that the server does not know means
            the normal way (facts: verto, Calls).
    """

    method: ClassVar[str] = "verto.bye"

    cause: Cause | None = None

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        params: dict[str, Any] = {"dialogParams": self.dialog_params()}
        if self.cause is not None:
            named = {"cause": self.cause.name, "causeCode": self.cause.code}
            params |= {name: value for name, value in named.items() if value is not None}
        return params


@frozen
class Modify(DialogMessage):
    """Change a call.

    Attributes:
        action: How. The server does nothing, and says that it did, where it does not know the action.
        destination: To whom, for a transfer.
        replaced_id: The other call, for `Action.REPLACE`.
        sdp: The offer, for new media.
    """

    method: ClassVar[str] = "verto.modify"

    action: Action
    destination: str | None = None
    replaced_id: str | None = None
    sdp: str | None = field(default=None, repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        named = {"destination": self.destination, "replaceCallID": self.replaced_id, "sdp": self.sdp}
        return {
            "action": self.action.value,
            **{name: value for name, value in named.items() if value is not None},
            "dialogParams": self.dialog_params(),
        }


@frozen
class SendDigits(DialogMessage):
    """Press keys.

    Attributes:
        digits: Which.
    """

    method: ClassVar[str] = "verto.info"

    digits: str = field(repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"dtmf": self.digits, "dialogParams": self.dialog_params()}


@frozen
class SendChat(VertoMessage):
    """Send a text.

    Attributes:
        recipient: To whom, ``number@domain``.
        body: The text.
        sender: From whom, where that is to be said.
        call_id: The call that it is sent within, if it is.
        extra: Further parameters of that call's dialog.
    """

    method: ClassVar[str] = "verto.info"

    recipient: str
    body: str = field(repr=False)
    sender: str | None = None
    call_id: str | None = None
    extra: Mapping[str, Any] = field(default=_NOTHING, repr=False, kw_only=True)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        said: dict[str, Any] = {} if self.sender is None else {"from": self.sender}
        said |= {"to": self.recipient, "body": self.body}
        if self.call_id is None:
            return {"msg": said}
        return {"msg": {**said, "inDialog": True}, "dialogParams": {**self.extra, "callID": self.call_id}}


@frozen
class Ping(VertoMessage):
    """Ask whether the server is there."""

    method: ClassVar[str] = "verto.ping"

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {}


@frozen
class Subscribe(VertoMessage):
    """Listen to channels of events.

    Attributes:
        channels: Which.
    """

    method: ClassVar[str] = "verto.subscribe"

    channels: tuple[str, ...]

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"eventChannel": _one_or_all(self.channels)}


@frozen
class Unsubscribe(VertoMessage):
    """Listen no longer.

    Attributes:
        channels: To which.
    """

    method: ClassVar[str] = "verto.unsubscribe"

    channels: tuple[str, ...]

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return {"eventChannel": _one_or_all(self.channels)}


@frozen
class Broadcast(VertoMessage):
    """Say something on a channel of events.

    Attributes:
        channel: Which.
        data: What.
        is_local: To all who subscribed to it. Otherwise it is meant for the server; it may reach nobody (facts: verto, Event
            channels).
    """

    method: ClassVar[str] = "verto.broadcast"

    channel: str
    data: Any = field(repr=False)
    is_local: bool = False

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        local = {"localBroadcast": True} if self.is_local else {}
        return {**local, "eventChannel": self.channel, "data": self.data}


@frozen
class OtherMessage(VertoMessage):
    """Anything else that the server may know.

    Attributes:
        method: What it is about.
        values: What it says.
    """

    method: str  # type: ignore[misc]  # the one message that is told its method
    values: Mapping[str, Any] = field(default=_NOTHING, repr=False)

    def params(self) -> dict[str, Any]:
        """See `VertoMessage.params`."""
        return dict(self.values)


def _one_or_all(channels: tuple[str, ...]) -> str | list[str]:
    return channels[0] if len(channels) == 1 else list(channels)
