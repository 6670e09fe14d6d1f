"""What the server tells of its own accord, one value class each, and what the protocol concludes from it.

The media descriptions (SDP) hold keys of the media and are long: no ``repr`` shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

from cti_framework.calls import EndCause
from cti_framework.errors import CtiError
from cti_webitel.engine.causes import end_cause

__all__ = [
    "Announced",
    "Answered",
    "AttachFailed",
    "Attached",
    "Cause",
    "ChannelEvent",
    "ChatMessage",
    "Displayed",
    "EarlyMedia",
    "Ended",
    "EndedBy",
    "HoldChanged",
    "InfoReceived",
    "Invited",
    "Parties",
    "PingReceived",
    "Punted",
    "Ready",
    "Signal",
    "SubscriptionLost",
    "UnknownRequest",
]

_NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_VALUES: Final[Mapping[str, Any]] = MappingProxyType({})


@frozen
class Cause:
    """Why a call ended, as the switch says it. What is not known is kept as it came.

    Attributes:
        name: FreeSWITCH's name, such as ``USER_BUSY``; ``None`` if only the number was told.
        code: Its number: of Q.850 up to 127, the switch's own above; ``None`` if only the name was told.
    """

    name: str | None = None
    code: int | None = None

    @property
    def meaning(self) -> EndCause:
        """What it means to a person."""
        return end_cause(self.name)

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.code, self.name) if part is not None) or "no cause"


@frozen
class Parties:
    """Who talks to whom, as the server names them (facts: verto, Calls).

    On a leg that was transferred caller and callee change their meaning: then only what `Displayed` shows can be trusted.

    Attributes:
        caller_name: The caller's name.
        caller_number: The caller's number.
        callee_name: The called one's name; ``Outbound Call`` is the switch's word for none.
        callee_number: The called one's number.
        direction: Of the leg, as the server sees it: ``inbound`` on the caller's, ``outbound`` on the called one's.
    """

    caller_name: str = ""
    caller_number: str = ""
    callee_name: str = ""
    callee_number: str = ""
    direction: str = ""


class EndedBy(Enum):
    """Who says that a call is over."""

    SERVER = "server"
    """The server hung it up, or says of it that it does not exist."""
    CLIENT = "client"
    """We hung up, and the server confirmed it."""
    REFUSED = "refused"
    """It never began: the server refused it."""
    LOST = "lost"
    """The connection was lost, and after it was back the server did not have the call any more."""


@frozen
class Signal:
    """Base of what is told."""


@frozen
class Ready(Signal):
    """The server is ready for this connection. The calls that come back were told before, by `Attached`.

    Attributes:
        reattached: The calls that it still has for this session; ``None``: that cannot be read.
    """

    reattached: tuple[str, ...] | None = ()


@frozen
class Punted(Signal):
    """Another connection has taken this session over, with all of its calls. The server closes this one."""


@frozen
class PingReceived(Signal):
    """The server asks whether somebody is there. It needs no answer.

    Attributes:
        serial: The number of the question.
    """

    serial: int | None = None


@frozen
class Invited(Signal):
    """A call comes in.

    Attributes:
        call_id: The call: the ``Unique-ID`` of its channel.
        sdp: The offer.
        parties: Who talks to whom.
        variables: Channel variables of the call (``verto_svar_…``), and headers of the server's events.
        headers: What else stands beside them: channel variables ``verto_h_…``.
    """

    call_id: str
    sdp: str = field(repr=False)
    parties: Parties = field(factory=Parties)
    variables: Mapping[str, str] = field(default=_NO_TEXTS, repr=False)
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class EarlyMedia(Signal):
    """Media before the answer: ringing tones or an announcement. The call is not answered.

    Attributes:
        call_id: The call.
        sdp: The answer to our offer.
        variables: As of `Invited`.
        headers: As of `Invited`.
    """

    call_id: str
    sdp: str = field(repr=False)
    variables: Mapping[str, str] = field(default=_NO_TEXTS, repr=False)
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class Answered(Signal):
    """A call of ours was answered.

    Attributes:
        call_id: The call.
        sdp: The answer to our offer; ``None`` where `EarlyMedia` brought it already.
        variables: As of `Invited`.
        headers: As of `Invited`.
    """

    call_id: str
    sdp: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default=_NO_TEXTS, repr=False)
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class Attached(Signal):
    """The server wants new media for a call: after the connection was lost, or because it renegotiates.

    The media that there was is of no use any more. Until this is answered the call goes on, mute.

    Attributes:
        call_id: The call; it may be one of an earlier run of the program.
        sdp: The offer.
        parties: Who talks to whom.
        variables: As of `Invited`.
        headers: As of `Invited`.
    """

    call_id: str
    sdp: str = field(repr=False)
    parties: Parties = field(factory=Parties)
    variables: Mapping[str, str] = field(default=_NO_TEXTS, repr=False)
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class AttachFailed(Signal):
    """There is no new media for a call that wants it: the call is mute. It can be attached by hand, or hung up.

    Attributes:
        call_id: The call.
        error: What went wrong.
    """

    call_id: str
    error: CtiError


@frozen
class Displayed(Signal):
    """Who the other party is, from now on.

    Attributes:
        call_id: The call.
        name: The other party's name.
        number: The other party's number.
        parties: Who talks to whom.
        headers: As of `Invited`.
    """

    call_id: str
    name: str = ""
    number: str = ""
    parties: Parties = field(factory=Parties)
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class HoldChanged(Signal):
    """The own side holds a call, or has taken it back. Nothing tells that the other side does.

    Attributes:
        call_id: The call.
        held: Whether it is held.
    """

    call_id: str
    held: bool


@frozen
class Ended(Signal):
    """A call is over.

    Attributes:
        call_id: The call.
        cause: Why; ``None`` if that was not told.
        by: Who says so.
    """

    call_id: str
    cause: Cause | None
    by: EndedBy


@frozen
class ChatMessage:
    """A text from somebody to somebody.

    Attributes:
        sender: Who sent it.
        recipient: To whom.
        body: The text.
    """

    sender: str
    recipient: str
    body: str = field(repr=False)


@frozen
class InfoReceived(Signal):
    """A message beside the calls, or within one.

    Attributes:
        call_id: The call; ``None``: it belongs to none.
        digits: Tones that were pressed.
        chat: A text.
        headers: What else it says.
    """

    call_id: str | None = None
    digits: str | None = None
    chat: ChatMessage | None = None
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class ChannelEvent(Signal):
    """Something on a channel of events (facts: verto, Event channels).

    Attributes:
        channel: Which; the own session identifier, where it is meant for this session alone.
        subscribed_channel: By which subscription it comes; ``None`` where none is needed.
        data: What it says.
        private: What it says to this session alone.
        event_type: Its kind, where it has one.
        serial: Its number on this connection.
        session_id: Who sent it: the session.
        user_id: Who sent it: the user.
        is_local: It came from another client, by a local broadcast.
        headers: What else it says.
    """

    channel: str
    subscribed_channel: str | None = None
    data: Any = field(default=None, repr=False)
    private: Mapping[str, Any] | None = field(default=None, repr=False)
    event_type: str | None = None
    serial: int | None = None
    session_id: str | None = None
    user_id: str | None = None
    is_local: bool = False
    headers: Mapping[str, Any] = field(default=_NO_VALUES, repr=False)


@frozen
class SubscriptionLost(Signal):
    """After an outage the server does not give what was subscribed to any more, or did not say that it does.

    Attributes:
        channels: Which channels.
        reason: Why, for people.
    """

    channels: tuple[str, ...]
    reason: str


@frozen
class Announced(Signal):
    """The server tells everybody something.

    Attributes:
        words: What.
    """

    words: tuple[str, ...]


@frozen
class UnknownRequest(Signal):
    """The server says what this version does not understand.

    Attributes:
        method: What it is about.
        params: What it says.
    """

    method: str
    params: Mapping[str, Any] = field(repr=False)
