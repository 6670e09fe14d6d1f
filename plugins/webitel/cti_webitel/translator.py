"""From Webitel's callbacks to the core's reports, without I/O, so that captures can be replayed through it.

An outgoing call is *connected* at the raw CHANNEL_BRIDGE of the own leg: neither when the own phone is picked up
(``onAcceptCall``) nor at an ``onBridgeCall`` that a changed number raised. An incoming one is connected when the own phone is
picked up, for the switch joins it then (facts: webitel-protocol 4.5, 7.8; capture 03: accepted at 125 ms, answered at 284 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import attrs

from cti_framework.calls import NO_ATTRIBUTES, CallDirection, EndCause, Party, Redirection, Side
from cti_framework.clock import SessionClock
from cti_framework.construct import constructor
from cti_framework.reports import (
    AgentReport,
    Answered,
    Connected,
    Ended,
    Held,
    IdChanged,
    InfoChanged,
    Offered,
    Originated,
    RecordingReport,
    Report,
    Retrieved,
    Tones,
)
from cti_webitel.agents import agent_of
from cti_webitel.engine.callbacks import (
    Callback,
    CallCallback,
    OnAcceptCall,
    OnBridgeCall,
    OnDtmfCall,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnStartRecordCall,
    OnStopRecordCall,
    OnUnholdCall,
    OnUserStatusChange,
    OnUuidCall,
    WebitelCall,
    WebitelCallState,
    WebitelDirection,
    WebitelUser,
    parse_data,
)
from cti_webitel.engine.causes import end_cause
from cti_webitel.engine.headers import (
    ATTENDED_TRANSFER,
    CALL_DIRECTION,
    CALLEE_NAME,
    CALLEE_NUMBER,
    CALLER_NAME,
    CALLER_NUMBER,
    DATA,
    DESTINATION,
    DLR_SESSION,
    HIT_DIALPLAN,
    LOGICAL_DIRECTION,
    ORIGINATE_NUMBER,
    QUEUE,
    WEBITEL_CALL,
)

__all__ = ["Translator", "attributes_of", "direction_of", "is_dialled", "parties_of"]

_NOTHING: Final[tuple[Report, ...]] = ()
_ABOUT_CALL: Final = (
    CALLER_NUMBER,
    CALLER_NAME,
    CALLEE_NUMBER,
    CALLEE_NAME,
    DESTINATION,
    CALL_DIRECTION,
    LOGICAL_DIRECTION,
    HIT_DIALPLAN,
    ORIGINATE_NUMBER,
    ATTENDED_TRANSFER,
    WEBITEL_CALL,
    DATA,
    QUEUE,
    DLR_SESSION,
)
# What FreeSWITCH writes where it has no name to show.
_NO_NAMES: Final = frozenset({"", "Outbound Call", "Unknown", "undefined"})
_NO_DATA: Final = (None, None, None)
_originated = constructor(Originated)
_offered = constructor(Offered)
_id_changed = constructor(IdChanged)
_answered = constructor(Answered)
_connected = constructor(Connected)
_held = constructor(Held)
_retrieved = constructor(Retrieved)
_tones = constructor(Tones)
_ended = constructor(Ended)
_party_of = constructor(Party)


# An own leg ends at once when its far end is sent on. A command whose answer was lost may not have acted: an end much later is
# another one's doing.
_TRANSFER_TAKES: Final = timedelta(seconds=5)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@attrs.define
class _Shown:
    """What was told of a call."""

    own: Party
    other: Party
    direction: CallDirection
    parent_id: str | None
    data: tuple[str | None, ...]
    heard: tuple[Any, ...]
    is_settled: bool
    """Which way it goes was told by a frame that can say so; what later ones say is about bridges, not about the call."""
    connected: bool = False
    dropped: bool = False
    transferred: bool = False
    """Its far end was asked to go on without us."""
    transferred_to: str = ""
    transferring_until: datetime = _NEVER
    listening: bool = False
    """It is no call of two parties: we listen in on somebody else's."""


class Translator:
    """Turns one session's callbacks into reports.

    Args:
        account: The operator's account, ``number@domain``.
        clock: The session's clock; it learns from the engine's times how far the switch's clock is off.
    """

    def __init__(self, account: str, clock: SessionClock) -> None:
        self.account = account
        self._clock = clock
        self._shown: dict[str, _Shown] = {}
        self._renamed: dict[str, str] = {}
        # Whom the latest enquiry of each open call asked: it may end before the call says that both were joined.
        self._enquired: dict[str, str] = {}
        self._user: WebitelUser | None = None

    def translate(self, callback: Callback) -> tuple[Report, ...]:
        """Turn one callback into what it reports.

        Args:
            callback: As the protocol gives it.

        Returns:
            The reports, in order; none for callbacks that tell nothing about calls or the own agent.
        """
        act = _TRANSLATE.get(type(callback))
        return _NOTHING if act is None else act(self, callback)

    def dropping(self, call_id: str) -> None:
        """Note that we hang a call up: for the switch that end is an ordinary one, whatever the call was doing.

        Args:
            call_id: Which.
        """
        shown = self._shown.get(call_id)
        if shown is not None:
            shown.dropped = True
            shown.transferred, shown.transferred_to = False, ""

    def transferring(self, call_id: str, to: str) -> None:
        """Note that the far end of a call is being sent on: for the switch that end, too, is an ordinary one.

        Args:
            call_id: Which.
            to: To whom: a number; empty where it is the other call's affair.
        """
        shown = self._shown.get(call_id)
        if shown is not None:
            shown.transferred, shown.transferred_to = True, to
            shown.transferring_until = self._clock.now() + _TRANSFER_TAKES

    def not_transferring(self, call_id: str) -> None:
        """Note that sending a call's far end on failed.

        Args:
            call_id: Which.
        """
        shown = self._shown.get(call_id)
        if shown is not None:
            shown.transferred, shown.transferred_to = False, ""

    def listening(self, call_id: str) -> None:
        """Note that a call only listens in on another: no bridge is ever told of it.

        Args:
            call_id: Which.
        """
        shown = self._shown.get(call_id)
        if shown is not None:
            shown.listening = True

    def is_listening(self, call_id: str) -> bool:
        """Tell whether a call only listens in on another.

        Args:
            call_id: Which.

        Returns:
            Whether.
        """
        shown = self._shown.get(call_id)
        return shown is not None and shown.listening

    def number_of(self, call_id: str) -> str:
        """Tell whom a call is with.

        Args:
            call_id: Which.

        Returns:
            The other party's number; empty where it is not known.
        """
        shown = self._shown.get(call_id)
        return "" if shown is None else shown.other.number

    @property
    def open_calls(self) -> int:
        """How many calls began and did not end, as far as callbacks have been translated."""
        return len(self._shown)

    def take_over(self, seen: Iterable[tuple[WebitelCall, bool]], *, known: Collection[str]) -> None:
        """Agree with a snapshot of the switch: know what it shows, and forget what is over.

        Args:
            seen: The calls that it shows, and whether both parties of each can talk.
            known: All calls that are open for the protocol, also those that began while the snapshot was on its way.
        """
        for call, connected in seen:
            shown = self._remember(call)
            shown.connected = shown.connected or connected
        for call_id in [shown_id for shown_id in self._shown if shown_id not in known]:
            del self._shown[call_id]
        self._renamed = {old: new for old, new in self._renamed.items() if new in self._shown}
        self._enquired = {first: number for first, number in self._enquired.items() if first in self._shown}

    # ------------------------------------------------------------------ calls

    def _remember(self, call: WebitelCall) -> _Shown:
        shown = self._shown.get(call.uuid)
        if shown is None:
            direction = direction_of(call)
            own, other = _sides(call, direction)
            settled = direction is CallDirection.OUT or WEBITEL_CALL in call.headers
            parent_id = call.attended_transfer_call_uuid
            shown = self._shown[call.uuid] = _Shown(own, other, direction, parent_id, _data_of(call), _heard_of(call), settled)
        return shown

    def _at(self, microseconds: int | None, *, just_now: bool = True) -> datetime:
        """Translate a time of the switch's clock; the engine tells most things at once, and the clock learns from those."""
        if microseconds is None:
            return self._clock.now()
        return self._clock.from_microseconds(microseconds, just_now=just_now)

    def _on_new(self, callback: OnNewCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        at = self._at(call.created_microseconds, just_now=not callback.adopted)
        attributes = NO_ATTRIBUTES if shown.data == _NO_DATA else attributes_of(call)
        begun: Report
        if shown.direction is CallDirection.IN:
            begun = _offered(at=at, call_id=call.uuid, own=shown.own, other=shown.other, attributes=attributes)
        else:
            begun = _originated(
                at=at,
                call_id=call.uuid,
                own=shown.own,
                other=shown.other,
                parent_id=shown.parent_id,
                attributes=attributes,
            )
        if callback.adopted:
            return (begun, *self._missed(callback, shown), *self._agent_again())
        return (begun,) if self._user is None else (begun, *self._agent_again())

    def _missed(self, callback: OnNewCall, shown: _Shown) -> tuple[Report, ...]:
        """Tell what a call that was adopted in the middle had been through before the frame that it became known by."""
        call = callback.call
        if call.state is WebitelCallState.RINGING or callback.trigger == "channel_dump":
            return _NOTHING
        # When the far end was joined, no frame says; of an outgoing call's own leg, the other one is told from then on.
        at = self._at(call.answered_microseconds, just_now=False)
        told: list[Report] = [_answered(at=at, call_id=call.uuid)]
        if callback.trigger != "CHANNEL_BRIDGE" and (shown.direction is CallDirection.IN or call.other_leg_uuid):
            shown.connected = True
            told.append(_connected(at=at, call_id=call.uuid))
        if call.state is WebitelCallState.HOLD:
            told.append(_held(at=self._clock.now(), call_id=call.uuid, by=Side.OWN))
        return tuple(told)

    def _on_accept(self, callback: OnAcceptCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        at = self._at(call.answered_microseconds, just_now=callback.trigger == "CHANNEL_ANSWER")
        answered = _answered(at=at, call_id=call.uuid)
        news = self._news(call, shown, at)
        told = (answered,) if news is None else (answered, news)
        if call.direction is not WebitelDirection.INBOUND and not shown.listening and not is_dialled(call):
            return told
        # Also where no bridge is told of: a queue, or an announcement that the switch itself speaks.
        shown.connected = True
        return (*told, _connected(at=at, call_id=call.uuid))

    def _on_bridge(self, callback: OnBridgeCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        at = self._clock.now()
        news = self._news(call, shown, at)
        # A call that he dialled himself was connected when its leg was answered, a moment before.
        if callback.trigger == "CHANNEL_BRIDGE" and not (shown.connected and is_dialled(call)):
            shown.connected = True
            connected = _connected(at=at, call_id=call.uuid)
            return (connected,) if news is None else (news, connected)
        return _NOTHING if news is None else (news,)

    def _news(self, call: WebitelCall, shown: _Shown, at: datetime) -> InfoChanged | None:
        heard = _heard_of(call)
        if heard == shown.heard:
            return None
        shown.heard = heard
        goes = direction_of(call)
        own, other = _sides(call, goes)
        data, parent_id = _data_of(call), call.attended_transfer_call_uuid
        direction = None
        # A call that became known by a frame without variables looks like an incoming one while the own phone rings for it.
        if not shown.is_settled and (goes is CallDirection.OUT or WEBITEL_CALL in call.headers):
            shown.is_settled = True
            direction = goes if goes is not shown.direction else None
        same_parties = own == shown.own and other == shown.other
        if same_parties and data == shown.data and parent_id == shown.parent_id and direction is None:
            return None
        attributes = attributes_of(call) if data != shown.data else None
        shown.own, shown.other, shown.data, shown.parent_id = own, other, data, parent_id
        shown.direction = direction or shown.direction
        return InfoChanged(
            at=at, call_id=call.uuid, own=own, other=other, direction=direction, parent_id=parent_id, attributes=attributes
        )

    def _on_hold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (_held(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OWN),)

    def _on_unhold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (_retrieved(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OWN),)

    def _on_far_hold(self, callback: OnFarHoldCall) -> tuple[Report, ...]:
        at = self._clock.now() - timedelta(seconds=callback.seconds_ago)
        return (_held(at=at, call_id=callback.call.uuid, by=Side.OTHER),)

    def _on_far_unhold(self, callback: OnFarUnholdCall) -> tuple[Report, ...]:
        at = self._clock.now() - timedelta(seconds=callback.seconds_ago)
        return (_retrieved(at=at, call_id=callback.call.uuid, by=Side.OTHER),)

    def _on_dtmf(self, callback: OnDtmfCall) -> tuple[Report, ...]:
        # The switch tells the tones that it hears from the own leg: those that the operator sends.
        return (_tones(at=self._clock.now(), call_id=callback.call.uuid, digits=callback.digits, by=Side.OWN),)

    def _on_uuid(self, callback: OnUuidCall) -> tuple[Report, ...]:
        old, new = callback.call.uuid, callback.new_id
        if not new or new == old:
            return _NOTHING
        shown = self._shown.get(old)
        if shown is not None and callback.trigger not in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
            self._shown[new] = self._shown.pop(old)
            self._renamed[old] = new
        return (_id_changed(at=self._clock.now(), call_id=old, new_id=new),)

    def _on_hangup(self, callback: OnHangupCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._shown.pop(call.uuid, None)
        at = self._at(call.hangup_microseconds)
        cause = end_cause(call.hangup_cause, call.transfer_result)
        if shown is None:
            return (_ended(at=at, call_id=call.uuid, cause=cause, pbx_cause=call.hangup_cause),)
        redirection = None
        enquired = self._enquired.pop(call.uuid, "")
        if shown.parent_id is not None:
            self._enquired[self._renamed.get(shown.parent_id, shown.parent_id)] = shown.other.number
        if cause is EndCause.TRANSFERRED or (shown.transferred and cause is EndCause.NORMAL and at <= shown.transferring_until):
            cause = EndCause.TRANSFERRED
            redirection = self._redirection(call, shown, at, enquired)
        elif cause is EndCause.NORMAL and not shown.connected:
            cause = _unanswered(call, shown)
        ended = _ended(at=at, call_id=call.uuid, cause=cause, pbx_cause=call.hangup_cause, redirection=redirection)
        return (ended,) if self._user is None else (ended, *self._agent_again())

    def _redirection(self, call: WebitelCall, shown: _Shown, at: datetime, enquired: str) -> Redirection | None:
        """Tell who sent a transferred call's far end on, and to whom; nothing of an enquiry, whose far end stays where it is."""
        if shown.parent_id is not None and not shown.transferred_to:
            parent = self._shown.get(self._renamed.get(shown.parent_id, shown.parent_id))
            if parent is not None:
                # Which of the two ends first is not certain.
                parent.transferred = True
                parent.transferred_to = parent.transferred_to or shown.other.number
            return None
        to = shown.transferred_to
        for enquiry in self._shown.values():
            if enquiry.parent_id is not None and self._renamed.get(enquiry.parent_id, enquiry.parent_id) == call.uuid:
                enquiry.transferred = True
                to = to or enquiry.other.number
        to = to or enquired
        return Redirection(by=shown.own.number or self.account.partition("@")[0], to=to, at=at) if to else None

    def _on_record(self, callback: CallCallback) -> tuple[Report, ...]:
        on = type(callback) is OnStartRecordCall
        return (RecordingReport(at=self._clock.now(), call_id=callback.call.uuid, on=on),)

    # ------------------------------------------------------------------ the agent

    def _on_user(self, callback: OnUserStatusChange) -> tuple[Report, ...]:
        if not callback.user.is_own:
            return _NOTHING
        # While he is away, what he is depends on his calls, too; told in no order to them (facts: webitel-protocol 4.2).
        self._user = callback.user if callback.user.away not in ("", "NONE") else None
        return (AgentReport(at=self._clock.now(), agent=agent_of(callback.user, in_call=bool(self._shown))),)

    def _agent_again(self) -> tuple[Report, ...]:
        if self._user is None:
            return _NOTHING
        return (AgentReport(at=self._clock.now(), agent=agent_of(self._user, in_call=bool(self._shown))),)


_TRANSLATE: Final[Mapping[type[Callback], Callable[[Translator, Any], tuple[Report, ...]]]] = MappingProxyType(
    {
        OnNewCall: Translator._on_new,
        OnAcceptCall: Translator._on_accept,
        OnBridgeCall: Translator._on_bridge,
        OnHoldCall: Translator._on_hold,
        OnUnholdCall: Translator._on_unhold,
        OnFarHoldCall: Translator._on_far_hold,
        OnFarUnholdCall: Translator._on_far_unhold,
        OnDtmfCall: Translator._on_dtmf,
        OnUuidCall: Translator._on_uuid,
        OnHangupCall: Translator._on_hangup,
        OnStartRecordCall: Translator._on_record,
        OnStopRecordCall: Translator._on_record,
        OnUserStatusChange: Translator._on_user,
    }
)
"""What each callback becomes."""


def _unanswered(call: WebitelCall, shown: _Shown) -> EndCause:
    """Tell how a call ended that nobody answered: for the switch an own leg that it hangs up ends normally."""
    if shown.direction is CallDirection.IN:
        return EndCause.REJECTED if shown.dropped else EndCause.NORMAL
    # A far end that gave up lets the own leg go on for a moment, before it is hung up; an own phone that was hung up while
    # the far end rang does not (facts: esl-control, click to call).
    by_own_phone = call.headers.get("Original-Channel-Call-State") == "RING_WAIT"
    return EndCause.CANCELLED if shown.dropped or by_own_phone else EndCause.NO_ANSWER


def direction_of(call: WebitelCall) -> CallDirection:
    """Tell which way a call goes.

    Args:
        call: As the frames told it.

    Returns:
        The direction.
    """
    return CallDirection.IN if call.direction is WebitelDirection.INBOUND else CallDirection.OUT


def is_dialled(call: WebitelCall) -> bool:
    """Tell whether the operator dialled it on a phone of his own: then that leg is answered when the other side is.

    The leg of a call that a program asked for is one that the switch made (facts: webitel-protocol 4.5).

    Args:
        call: As the frames told it.

    Returns:
        Whether.
    """
    return call.headers.get(CALL_DIRECTION) == "inbound"


def _data_of(call: WebitelCall) -> tuple[str | None, ...]:
    return call.data, call.cc_queue, call.dlr_session_id


def _heard_of(call: WebitelCall) -> tuple[Any, ...]:
    """Give what a call's parties and data are worked out from, to see cheaply that there is nothing new."""
    return (call.channel_uuid, *map(call.headers.get, _ABOUT_CALL))


def parties_of(call: WebitelCall) -> tuple[Party, Party]:
    """Tell the two parties of a call.

    Args:
        call: As the frames told it.

    Returns:
        The operator's, and the other.
    """
    return _sides(call, direction_of(call))


def _sides(call: WebitelCall, direction: CallDirection) -> tuple[Party, Party]:
    callee_number, callee_name, caller_number, caller_name = call.parties
    if direction is CallDirection.OUT and callee_number is not None and callee_number.partition("@")[0] == call.own_number:
        # The own phone rings for a call that shows the operator himself, as one that listens in does: whom it is for was asked.
        callee_number, callee_name = call.headers.get(ORIGINATE_NUMBER) or callee_number, None
    caller = _party(caller_number, caller_name)
    callee = _party(callee_number, callee_name)
    return (callee, caller) if direction is CallDirection.IN else (caller, callee)


def _party(number: str | None, name: str | None) -> Party:
    if name is None or name == number or name in _NO_NAMES:
        return _party_of(number or "")
    return _party_of(number or "", name)


def attributes_of(call: WebitelCall) -> Mapping[str, Any]:
    """Tell the free data that comes with a call.

    Args:
        call: As the frames told it.

    Returns:
        ``webitel_data`` (the object that is in it), ``cc_queue`` and ``dlr_session_id``, each only if there is one.
    """
    if _data_of(call) == _NO_DATA:
        return NO_ATTRIBUTES
    told = {
        "webitel_data": parse_data(call.data) or None,
        "cc_queue": call.cc_queue,
        "dlr_session_id": call.dlr_session_id,
    }
    return MappingProxyType({key: value for key, value in told.items() if value is not None})
