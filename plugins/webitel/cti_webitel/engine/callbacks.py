"""What the engine's protocol tells: one frozen value class a callback, named as in Webitel's own client library.

`Callback.payload` gives the JSON value that the library passes to its consumer, byte for byte the same keys, so that a capture
of the library can be compared with what we make of the same frames. The values themselves are right where the library's are
not (facts: webitel-protocol 7): an ``agent`` that says "false" is false, a time that says "0" is none, ``webitel_data`` keeps
its apostrophes.

Two callbacks are ours (`Callback.ours`): the far end's hold, which the library does not see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final

import attrs
import orjson

from cti_webitel.engine.headers import (
    ANSWERED_TIME,
    ATTENDED_TRANSFER,
    BILL_SECONDS,
    BRIDGE_A,
    BRIDGE_B,
    CALL_DIRECTION,
    CALLEE_NAME,
    CALLEE_NUMBER,
    CALLER_NAME,
    CALLER_NUMBER,
    CHANNEL_CALL_UUID,
    CREATED_TIME,
    DATA,
    DESTINATION,
    DLR_SESSION,
    HANGUP_CAUSE,
    HANGUP_TIME,
    HIT_DIALPLAN,
    LOGICAL_DIRECTION,
    ORIGINATE_NUMBER,
    OTHER_LEG,
    QUEUE,
    TRANSFER_RESULT,
)

__all__ = [
    "CALLBACKS",
    "NO_PAYLOAD",
    "AccountCallback",
    "CallCallback",
    "Callback",
    "NoPayload",
    "OnAcceptCall",
    "OnAddUser",
    "OnBridgeCall",
    "OnConnect",
    "OnDisconnect",
    "OnDtmfCall",
    "OnError",
    "OnFarHoldCall",
    "OnFarUnholdCall",
    "OnHangupCall",
    "OnHoldCall",
    "OnNewCall",
    "OnReady",
    "OnRemoveUser",
    "OnUnBridgeCall",
    "OnUnholdCall",
    "OnUserLogin",
    "OnUserStatusChange",
    "OnUuidCall",
    "UserCallback",
    "WebitelCall",
    "WebitelCallState",
    "WebitelDirection",
    "WebitelUser",
    "parse_data",
]


_LEG: Final = re.compile(r"u?:?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_SHORTEST_LEG: Final = 36
# Microseconds since 1970 have 16 digits; more than 18 are no time.
_MOST_TIME_DIGITS: Final = 18


class NoPayload(Enum):
    """The type of `NO_PAYLOAD`: JSON has no word for "nothing at all"."""

    NO_PAYLOAD = "no payload"


NO_PAYLOAD: Final = NoPayload.NO_PAYLOAD
"""What `Callback.payload` gives where the library calls back without an argument."""


class WebitelCallState(IntEnum):
    """The library's states of a call (facts: webitel-protocol 4.5)."""

    RINGING = 1
    ANSWERED = 2
    HOLD = 3
    ACTIVE = 4
    """Taken back from hold: the library never returns to ``ANSWERED``."""
    ENDED = 5


class WebitelDirection(Enum):
    """Which way a call goes (facts: webitel-protocol 5.1)."""

    CALLBACK = "callback"
    """The operator's own device rings for a call that he asked for; it becomes ``OUTBOUND`` when he answers."""
    OUTBOUND = "outbound"
    INBOUND = "inbound"


@attrs.frozen
class WebitelCall:
    """One call of the account as the frames had told it at one moment (facts: webitel-protocol 4.5, 5.1, 5.2).

    What is told of a call is told of one of its legs: the one that answered, or else the first. Most callbacks are read for
    one or two of these values, so they are worked out when they are asked for; the headers are a copy and do not change.

    Attributes:
        uuid: Webitel's identifier of the call, not of a leg.
        state: What the library calls its state.
        is_originator: The own leg began it: the operator dialled, or asked for the call.
        channel_uuid: The own leg's ``Unique-ID``: commands are sent to it.
        own_number: The account's number.
        headers: All that the engine said of the leg, by the keys of its frames.
    """

    uuid: str
    state: WebitelCallState
    is_originator: bool
    channel_uuid: str
    own_number: str = ""
    headers: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def direction(self) -> WebitelDirection:
        """Which way it goes."""
        if self.headers.get(ORIGINATE_NUMBER):
            return WebitelDirection.CALLBACK if self.state is WebitelCallState.RINGING else WebitelDirection.OUTBOUND
        return WebitelDirection.OUTBOUND if self.headers.get(LOGICAL_DIRECTION) == "inbound" else WebitelDirection.INBOUND

    @property
    def callee_number(self) -> str | None:
        """Who was called; ``None`` if not told, as below."""
        return self.parties[0]

    @property
    def callee_name(self) -> str | None:
        """Who was called, by name."""
        return self.parties[1]

    @property
    def caller_number(self) -> str | None:
        """Who called."""
        return self.parties[2]

    @property
    def caller_name(self) -> str | None:
        """Who called, by name."""
        return self.parties[3]

    @property
    def parties(self) -> tuple[str | None, str | None, str | None, str | None]:
        """Callee's number and name, caller's number and name: all at once, for who needs them all."""
        get = self._text
        outgoing = self.direction is not WebitelDirection.INBOUND
        if self._is_swapped() is not outgoing:
            callee, callee_name, caller, caller_name = get(CALLER_NUMBER), get(CALLER_NAME), get(CALLEE_NUMBER), get(CALLEE_NAME)
        else:
            callee, callee_name, caller, caller_name = get(CALLEE_NUMBER), get(CALLEE_NAME), get(CALLER_NUMBER), get(CALLER_NAME)
        if outgoing and not (callee and callee_name):
            destination = get(DESTINATION)
            callee, callee_name = callee or destination, callee_name or destination
        return self._without_leg(callee), callee_name, self._without_leg(caller), caller_name

    @property
    def display_number(self) -> str | None:
        """The party to show: who was called, if the own leg began it, or else who called."""
        return self.callee_number if self.is_originator else self.caller_number

    @property
    def other_leg_uuid(self) -> str | None:
        """The far end's leg."""
        return self._text(OTHER_LEG)

    @property
    def bridge_a_uuid(self) -> str | None:
        """The leg that began the latest bridge."""
        return self._text(BRIDGE_A)

    @property
    def bridge_b_uuid(self) -> str | None:
        """The leg that it was bridged to."""
        return self._text(BRIDGE_B)

    @property
    def created_microseconds(self) -> int | None:
        """When the own leg was made, on the switch's clock, since 1970."""
        return _microseconds(self._text(CREATED_TIME))

    @property
    def answered_microseconds(self) -> int | None:
        """When the own leg was answered; ``None`` while it is not."""
        return _microseconds(self._text(ANSWERED_TIME))

    @property
    def hangup_microseconds(self) -> int | None:
        """When the own leg was hung up; ``None`` while it is not."""
        return _microseconds(self._text(HANGUP_TIME))

    @property
    def hangup_cause(self) -> str | None:
        """FreeSWITCH's word for why it ended."""
        return self._text(HANGUP_CAUSE)

    @property
    def transfer_result(self) -> str | None:
        """``confirmed`` or ``error``, for an attended transfer."""
        return self._text(TRANSFER_RESULT)

    @property
    def attended_transfer_call_uuid(self) -> str | None:
        """The call on whose behalf this one was made."""
        return self._text(ATTENDED_TRANSFER)

    @property
    def cc_queue(self) -> str | None:
        """The queue that gave the call."""
        return self._text(QUEUE)

    @property
    def data(self) -> str | None:
        """``webitel_data`` as it came, quotes and all; `parse_data` reads it."""
        return self._text(DATA)

    @property
    def bill_seconds(self) -> int:
        """The switch's talk time; 0 but at the end (facts: webitel-protocol 7.10)."""
        value = self.headers.get(BILL_SECONDS)
        return value if type(value) is int else 0

    @property
    def dlr_session_id(self) -> str | None:
        """The dialler's session."""
        return self._text(DLR_SESSION) or None

    def payload(self) -> dict[str, Any]:
        """Tell the call as the library does.

        Returns:
            The library's keys in the library's order; those that it leaves undefined are absent.
        """
        told = {
            "uuid": self.uuid,
            "state": int(self.state),
            "calleeNumber": self.callee_number,
            "calleeName": self.callee_name,
            "callerNumber": self.caller_number,
            "callerName": self.caller_name,
            "displayNumber": self.display_number,
            "isOriginator": self.is_originator,
            "attended-transfer-call-uuid": self.attended_transfer_call_uuid,
            "direction": self.direction.value,
            "call-channel-uuid": self.channel_uuid,
            "data": None if self.data is None else self.data.replace("'", ""),
            "hangup_cause": self.hangup_cause,
            "cc_queue": self.cc_queue,
            "transferResult": self.transfer_result,
            "call-created-time": self._text(CREATED_TIME),
            "call-answered-time": self._text(ANSWERED_TIME),
            "call-hangup-time": self._text(HANGUP_TIME),
            "other-leg-unique-id": self.other_leg_uuid,
            "bridge-A-Unique-ID": self.bridge_a_uuid,
            "bridge-B-Unique-ID": self.bridge_b_uuid,
            "bill_sec": self.bill_seconds,
            "dlr_session_id": self.dlr_session_id,
        }
        return {key: value for key, value in told.items() if value is not None}

    def _text(self, key: str) -> str | None:
        value = self.headers.get(key)
        return value if isinstance(value, str) else None

    def _is_swapped(self) -> bool:
        """The switch writes both parties from its own side, and swaps them once the dialplan has the leg."""
        headers = self.headers
        switch_direction = headers.get(CALL_DIRECTION)
        if switch_direction == "inbound":
            return headers.get(CHANNEL_CALL_UUID) == self.channel_uuid
        return switch_direction == "outbound" and headers.get(HIT_DIALPLAN) == "true"

    def _without_leg(self, number: str | None) -> str | None:
        # A number that is a leg's identifier stands for the operator himself.
        if number is not None and len(number) >= _SHORTEST_LEG and _LEG.fullmatch(number):
            return self.own_number
        return number


def _microseconds(text: str | None) -> int | None:
    if text is None or text == "0" or len(text) > _MOST_TIME_DIGITS or not text.isdecimal():
        return None
    return int(text) or None


@attrs.frozen
class WebitelUser:
    """One account of the domain (facts: webitel-protocol 3.3, 4.5).

    Attributes:
        id: The number, without the domain.
        domain: The domain.
        state: ``ONHOOK`` (registered and free), ``ISBUSY`` (in a call, or away) or ``NONREG``; empty if not told.
        away: ``NONE``, ``ONBREAK``, ``DND``, ``CALLFORWARD`` or ``VOICEMAIL``; empty if not told.
        tag: The note beside ``away``.
        online: Somebody is logged in with it at the engine.
        name: What to show for it.
        agent: It can take calls of queues; ``None`` if not told.
        is_own: It is the account of this connection.
    """

    id: str
    domain: str
    state: str = ""
    away: str = ""
    tag: str = ""
    online: bool = False
    name: str = ""
    agent: bool | None = None
    is_own: bool = False

    def payload(self) -> dict[str, Any]:
        """Tell the account as the library does.

        Returns:
            The library's keys in the library's order.
        """
        told = {
            "id": self.id,
            "domain": self.domain,
            "state": self.state or None,
            "away": self.away or None,
            "tag": self.tag,
            "online": self.online,
            "name": self.name,
            "agent": self.agent,
        }
        return {key: value for key, value in told.items() if value is not None}


class Callback:
    """What the protocol tells its consumer.

    Attributes:
        name: The library's name of the callback.
        ours: The library does not have it.
    """

    __slots__ = ()
    name: ClassVar[str] = ""
    ours: ClassVar[bool] = False

    def payload(self) -> Any:
        """Tell what the library would call back with.

        Returns:
            A JSON value, or `NO_PAYLOAD`.
        """
        return NO_PAYLOAD


@attrs.frozen
class AccountCallback(Callback):
    """Something about the account of this connection, as the engine told it in its answer to ``auth``.

    Attributes:
        login: The account.
        role: The account's role; ``None`` if not told.
        domain: The account's domain; ``None`` for root.
        socket_count: How many sockets the account has at the engine, this one included; ``None`` if not told.
        agent: The account can take calls of queues.
        state: As `WebitelUser.state`; empty when authorised by token.
        away: As `WebitelUser.away`; empty when authorised by token.
        session: The engine's identifier of this socket.
        cc_logged: The account takes calls of queues now.
        agent_told: ``cc-agent`` was not empty, which the library takes for ``true``.
    """

    login: str
    role: str | None = None
    domain: str | None = None
    socket_count: int | None = None
    agent: bool = False
    state: str = ""
    away: str = ""
    session: str = ""
    cc_logged: bool = False
    agent_told: bool = False

    def payload(self) -> Any:
        """Tell the account; ``agent`` is true for "false", as in the library (facts: webitel-protocol 7.14)."""
        told = {
            "login": self.login,
            "role": self.role,
            "domain": self.domain,
            "wsCount": self.socket_count,
            "agent": self.agent_told,
        }
        return {key: value for key, value in told.items() if value is not None}


@attrs.frozen
class OnConnect(AccountCallback):
    """The engine knows the account now. Calls are told only after ``login`` (facts: webitel-protocol 1.1, 1.2)."""

    name = "onConnect"


@attrs.frozen
class OnReady(AccountCallback):
    """The accounts of the domain are loaded: all is known that the engine tells by itself."""

    name = "onReady"


@attrs.frozen
class OnUserLogin(Callback):
    """The engine answered ``login``.

    Attributes:
        ok: Call events come from now on. The library calls back for a refusal, too.
    """

    name = "onUserLogin"

    ok: bool = True


@attrs.frozen
class OnDisconnect(Callback):
    """The socket is closed, or the engine refused the account (the socket then stays open for a while).

    Attributes:
        code: The close code; ``None`` for a refusal.
        reason: The close reason.
        refusal: What the engine answered to ``auth``; ``None`` for a closed socket.
    """

    name = "onDisconnect"

    code: int | None = None
    reason: str = ""
    refusal: Any = None

    def payload(self) -> Any:
        """Tell the engine's refusal; nothing for a closed socket."""
        return NO_PAYLOAD if self.refusal is None else self.refusal


@attrs.frozen
class OnError(Callback):
    """The engine answered a command with an error.

    Attributes:
        func: The command.
        error_type: The library's kind of error; ``None`` for most commands.
        message: What the engine answered; ``None`` if nothing.
    """

    name = "onError"

    func: str
    error_type: str | None = None
    message: Any = None

    def payload(self) -> Any:
        """Tell kind and message, each only if there is one."""
        told = {"errorType": self.error_type, "message": self.message}
        return {key: value for key, value in told.items() if value is not None}


@attrs.frozen
class UserCallback(Callback):
    """Something about one account of the domain.

    Attributes:
        user: The account as it is now.
    """

    user: WebitelUser

    def payload(self) -> Any:
        """Tell the account."""
        return self.user.payload()


@attrs.frozen
class OnAddUser(UserCallback):
    """An account became known: listed at the start, or created."""

    name = "onAddUser"


@attrs.frozen
class OnRemoveUser(UserCallback):
    """An account is gone: destroyed, or the connection is closed and nothing is known of it any more."""

    name = "onRemoveUser"


@attrs.frozen
class OnUserStatusChange(UserCallback):
    """The engine told an account's state, often without any change."""

    name = "onUserStatusChange"


@attrs.frozen
class CallCallback(Callback):
    """Something about one call.

    Attributes:
        call: The call as it is now.
        trigger: The ``Event-Name`` of the frame that it came by.
        leg_uuid: The own leg that the frame is about.
    """

    call: WebitelCall
    trigger: str
    leg_uuid: str

    def payload(self) -> Any:
        """Tell the call."""
        return self.call.payload()


@attrs.frozen
class OnNewCall(CallCallback):
    """A call appeared.

    Attributes:
        adopted: Its beginning was missed: it is known from a later frame (facts: webitel-protocol 7.7).
    """

    name = "onNewCall"

    adopted: bool = False


@attrs.frozen
class OnAcceptCall(CallCallback):
    """The operator's own device was picked up: nothing is said about the far end."""

    name = "onAcceptCall"


@attrs.frozen
class OnBridgeCall(CallCallback):
    """The own leg was bridged, or a number or an identifier of the call changed: ``trigger`` says which.

    An outgoing call is connected at the trigger ``CHANNEL_BRIDGE`` and an incoming one at ``CHANNEL_ANSWER``; at any other
    trigger only what is told about the call changed (facts: webitel-protocol 4.5, 7.8).
    """

    name = "onBridgeCall"


@attrs.frozen
class OnUnBridgeCall(CallCallback):
    """The own leg's bridge ended; only an own leg that began the bridge is told so."""

    name = "onUnBridgeCall"


@attrs.frozen
class OnHoldCall(CallCallback):
    """The operator put the far end on hold."""

    name = "onHoldCall"


@attrs.frozen
class OnUnholdCall(CallCallback):
    """The operator took the far end back from hold."""

    name = "onUnholdCall"


@attrs.frozen
class OnFarHoldCall(CallCallback):
    """The far end put the operator on hold (facts: webitel-protocol 4.2).

    Attributes:
        seconds_ago: How long it has been so: it is certain only after a while.
    """

    name = "onFarHoldCall"
    ours = True

    seconds_ago: float = 0.0


@attrs.frozen
class OnFarUnholdCall(CallCallback):
    """The far end took the operator back from hold.

    Attributes:
        seconds_ago: How long it has been so: where we hold, too, it is certain only after a while.
    """

    name = "onFarUnholdCall"
    ours = True

    seconds_ago: float = 0.0


@attrs.frozen
class OnDtmfCall(CallCallback):
    """A tone was heard on the own leg.

    Attributes:
        digits: The tone, one a callback.
    """

    name = "onDtmfCall"

    digits: str

    def payload(self) -> Any:
        """Tell call and tone."""
        return {"call": self.call.payload(), "digits": self.digits}


@attrs.frozen
class OnUuidCall(CallCallback):
    """The call has another identifier: ``call.uuid`` is the former one.

    At the trigger ``CHANNEL_HANGUP_COMPLETE`` (or ``CHANNEL_DESTROY``) it is the one that the call's record and recording are
    kept by, and `OnHangupCall` follows, still by the former one. At any other, later callbacks come by the new one.

    Attributes:
        new_id: The identifier from now on.
    """

    name = "onUuidCall"

    new_id: str

    def payload(self) -> Any:
        """Tell call and identifier."""
        return {"call": self.call.payload(), "newId": self.new_id}


@attrs.frozen
class OnHangupCall(CallCallback):
    """The call ended: its last own leg did."""

    name = "onHangupCall"


CALLBACKS: Final[tuple[type[Callback], ...]] = (
    OnConnect,
    OnUserLogin,
    OnReady,
    OnDisconnect,
    OnError,
    OnAddUser,
    OnRemoveUser,
    OnUserStatusChange,
    OnNewCall,
    OnAcceptCall,
    OnBridgeCall,
    OnUnBridgeCall,
    OnHoldCall,
    OnUnholdCall,
    OnDtmfCall,
    OnUuidCall,
    OnHangupCall,
    OnFarHoldCall,
    OnFarUnholdCall,
)
"""Every callback that the protocol can tell."""

_NO_DATA: Final[Mapping[str, Any]] = MappingProxyType({})


def parse_data(text: str | None) -> Mapping[str, Any]:
    """Read ``webitel_data``, the free data of a call (facts: webitel-protocol 7.13).

    Args:
        text: As it came: usually a JSON object within single quotes.

    Returns:
        The object; any other text under the key ``webitel_data``; nothing for ``None``, an empty text and ``'undefined'``.
    """
    if text is None:
        return _NO_DATA
    inner = text[1:] if text.startswith("'") else text
    inner = inner[:-1] if inner.endswith("'") else inner
    if inner.strip() in ("", "undefined"):
        return _NO_DATA
    try:
        data = orjson.loads(inner)
    except orjson.JSONDecodeError:
        data = None
    return MappingProxyType(data) if isinstance(data, dict) else MappingProxyType({"webitel_data": inner})
