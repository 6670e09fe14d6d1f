"""The account's legs and calls, as its call frames tell them (facts: webitel-protocol 4.2, 4.5, 5).

Theory of operation
-------------------

FreeSWITCH tells about *legs* (channels, ``Unique-ID``); people speak of *calls*. A call has one own leg, or several while
several devices of the account ring for it. `CallTable` keeps two tables::

    legs    Unique-ID -> Leg: the leg's headers, each frame merged over those before it
    calls   key -> the call: its state, its legs

The key is ``variable_w_account_origination_uuid``, Webitel's identifier of the call, or else ``Channel-Call-UUID``. Merging keeps
what a frame does not carry: frames of ``CHANNEL_STATE``, ``CHANNEL_CALLSTATE`` and ``DTMF`` carry no variables.

A frame goes to the handler of its ``Event-Name``, which merges it and says what it means. What is told of a call is computed
from the merged headers only when a callback is raised: most frames raise none.

====================  =====================================================================================================
frame                 callbacks
====================  =====================================================================================================
CHANNEL_CREATE        ``OnNewCall``; ``OnNewLeg`` for another leg of a known call
CHANNEL_ANSWER        ``OnAcceptCall`` for the first leg that answers; of an incoming call ``OnBridgeCall`` after it, because
                      the called side gets no ``CHANNEL_BRIDGE``
CHANNEL_BRIDGE        ``OnBridgeCall``
CHANNEL_UNBRIDGE      ``OnUnBridgeCall``
CHANNEL_STATE         ``OnBridgeCall`` if a number changed, came or went
CHANNEL_HOLD          ``OnHoldCall``, told with the headers before the frame, as the library does
CHANNEL_UNHOLD        ``OnUnholdCall``
DTMF                  ``OnDtmfCall``
CHANNEL_CALLSTATE     none by itself; the far end's hold is concluded from it, see below
CHANNEL_HANGUP        none: the leg's last words are yet to come
HANGUP_COMPLETE       of the call's last leg ``OnUuidCall`` (if the call's record has another identifier) and ``OnHangupCall``;
                      of any other leg none
CHANNEL_DESTROY       the same for a leg whose ``CHANNEL_HANGUP_COMPLETE`` was lost
CHANNEL_UUID          ``OnUuidCall`` or ``OnBridgeCall``: the leg has another identifier now
RECORD_START, _STOP   ``OnStartRecordCall``, ``OnStopRecordCall``; a stock installation does not send them
====================  =====================================================================================================

**States** are the library's: 1 ringing, 2 answered, 3 hold, 4 active (after a hold), 5 ended.

**The far end's hold** has no frame of its own. Where the SIP profile has ``proxy-hold``, ``Channel-Call-State`` turns ``HELD``;
for a hold of ours ``CHANNEL_HOLD`` follows at once. So ``HELD`` starts a wait of ``hold_grace_seconds``; ``CHANNEL_HOLD`` or the
end of ``HELD`` within it stops the wait; when it is over, `CallTable.tick` tells ``OnFarHoldCall``. ``UNHELD`` or ``ACTIVE`` ends
the hold. While both hold, ``UNHELD`` is ambiguous: if ``CHANNEL_UNHOLD`` follows within the same time, it was we who took the
call back.

**A missed beginning.** A frame of a leg that is not known is one of a known call's (matched by the SIP dialogue and the call's
identifiers), or makes a call of its own: ``OnNewCall(adopted=True)``, then what the frame itself says. Frames that belong to a
leg's first or last moments never do that, nor any frame of a leg or a call that has ended: a late frame revives nothing.

**Errors.** As the library does, a second ``CHANNEL_CREATE`` of a leg that the switch has not destroyed raises ``OnError``, and so
does the end of a leg that nobody knew.

**Several legs.** The library tells the leg that began first, even if another one was picked up. Here the one that was picked up
is told: commands go to it. The payload is still the library's (`WebitelCall.first`).

**Deviations from the library**, each because its fault would hurt an operator (facts: webitel-protocol 5.3, 7):

- It raises ``onError`` for every frame of a leg it does not know; here the call is adopted.
- ``CHANNEL_UUID`` always fails in it and the call then never ends; here the leg goes on under its new identifier.
- A lost ``CHANNEL_HANGUP_COMPLETE`` leaves a call for ever; here ``CHANNEL_DESTROY`` ends it.
- A repeated ``CHANNEL_ANSWER`` accepts a held call again; here only the first one of a call does.
- A ``CHANNEL_CREATE`` that comes once more after the end begins a call that never ends; here it does not, unless its leg was
  made later than the one that ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote

from cti_framework.construct import constructor
from cti_webitel.engine.callbacks import (
    CALL_ERROR,
    Callback,
    CallCallback,
    OnAcceptCall,
    OnBridgeCall,
    OnDtmfCall,
    OnError,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnNewLeg,
    OnStartRecordCall,
    OnStopRecordCall,
    OnUnBridgeCall,
    OnUnholdCall,
    OnUuidCall,
    WebitelCall,
    WebitelCallState,
    WebitelDirection,
)
from cti_webitel.engine.headers import (
    ANSWER_STATE,
    BILL_SECONDS,
    CALL_STATE,
    CALLEE_NUMBER,
    CALLER_NUMBER,
    CHANNEL_CALL_UUID,
    CHANNEL_STATE,
    DTMF_DIGIT,
    EVENT_NAME,
    MEMBER_SESSION,
    ORIGINATING_LEG,
    OTHER_LEG,
    PRESENCE,
    QUEUE,
    SIP_CALL,
    UNIQUE_ID,
    WEBITEL_CALL,
)
from cti_webitel.engine.legs import CallCounts, EndedCalls, EndedLegs, Leg, LegCall

__all__ = ["CallTable"]

_NOTHING: Final[tuple[CallCallback, ...]] = ()

# An operator has a handful. More are ghosts whose end was lost in an outage, or a flood.
_MOST_LEGS: Final = 1024

_RINGING: Final = WebitelCallState.RINGING
_ANSWERED: Final = WebitelCallState.ANSWERED
_HOLD: Final = WebitelCallState.HOLD
_ACTIVE: Final = WebitelCallState.ACTIVE
_ENDED: Final = WebitelCallState.ENDED

_LAST_EVENTS: Final = frozenset({"CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"})
_END_EVENTS: Final = frozenset({"CHANNEL_HANGUP", "CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"})
# After CHANNEL_HANGUP_COMPLETE each leg still goes through its last states.
_AFTER_THE_END: Final = frozenset({"CHANNEL_STATE", "CHANNEL_DESTROY"})
# Of a leg that it does not know the library takes these for an error; of the others it says nothing.
_OF_KNOWN_LEGS: Final = frozenset(
    {
        "CHANNEL_ANSWER",
        "CHANNEL_BRIDGE",
        "CHANNEL_UNBRIDGE",
        "CHANNEL_HOLD",
        "CHANNEL_UNHOLD",
        "CHANNEL_HANGUP_COMPLETE",
        "DTMF",
        "RECORD_START",
        "RECORD_STOP",
    }
)
_WITHOUT_VARIABLES: Final = frozenset({"CHANNEL_STATE", "CHANNEL_CALLSTATE", "DTMF"})
_FIRST_OR_LAST_STATES: Final = frozenset({"CS_NEW", "CS_INIT", "CS_HANGUP", "CS_REPORTING", "CS_DESTROY"})


# Built for every frame that tells something, so built directly.
_on_accept_call = constructor(OnAcceptCall)
_on_bridge_call = constructor(OnBridgeCall)
_on_un_bridge_call = constructor(OnUnBridgeCall)
_on_hold_call = constructor(OnHoldCall)
_on_unhold_call = constructor(OnUnholdCall)
_on_dtmf_call = constructor(OnDtmfCall)
_webitel_call = constructor(WebitelCall)


class CallTable:
    """The legs and calls of one account.

    Args:
        account: ``number@domain``; frames of others are ignored. Empty: take all.
        hold_grace_seconds: How long after ``HELD`` a ``CHANNEL_HOLD`` can follow.

    Attributes:
        next_deadline: When `tick` is due; ``None`` if nothing waits for time to pass.
        counts: What raised nothing.
        legs_begun: How many own legs have become known so far.
    """

    __slots__ = (
        "_account",
        "_calls",
        "_ended_calls",
        "_ended_legs",
        "_grace_seconds",
        "_legs",
        "_own_number",
        "_waiting",
        "counts",
        "legs_begun",
        "next_deadline",
    )

    def __init__(self, account: str, hold_grace_seconds: float) -> None:
        self._account = account
        self._own_number = account.partition("@")[0]
        self.counts = CallCounts()
        self.next_deadline: float | None = None
        self.legs_begun = 0
        self._grace_seconds = hold_grace_seconds
        self._legs: dict[str, Leg] = {}
        self._calls: dict[str, LegCall] = {}
        self._ended_legs = EndedLegs()
        self._ended_calls = EndedCalls()
        self._waiting: set[Leg] = set()

    @property
    def account(self) -> str:
        """The account; frames of others are ignored."""
        return self._account

    @account.setter
    def account(self, account: str) -> None:
        self._account = account
        self._own_number = account.partition("@")[0]

    def receive(self, frame: dict[str, Any], now: float) -> Sequence[Callback]:
        """Take one call frame.

        Args:
            frame: The frame, as decoded.
            now: Seconds on any clock that does not go back.

        Returns:
            What it tells, in order.
        """
        presence = frame.get(PRESENCE)
        if presence != self._account and not self._is_own(presence):
            self.counts.foreign_frames += 1
            return _NOTHING
        try:
            leg = self._legs.get(frame.get(UNIQUE_ID))  # type: ignore[arg-type]  # no leg is None, and asking is cheapest
            handler = _HANDLERS.get(frame.get(EVENT_NAME))  # type: ignore[arg-type]  # as above
        except TypeError:
            # A list or an object where a text belongs.
            self.counts.malformed_frames += 1
            return _NOTHING
        if leg is None or leg.call.provisional or handler is None:
            return self._out_of_the_ordinary(leg, handler, frame, now)
        return handler(self, leg, frame, now)

    def tick(self, now: float) -> Sequence[CallCallback]:
        """Tell what the passing of time makes certain.

        Args:
            now: Seconds, on the clock of `receive`.

        Returns:
            The holds of the far end that began or ended.
        """
        deadline = self.next_deadline
        if deadline is None or now < deadline:
            return _NOTHING
        told: list[CallCallback] = []
        due = sorted((leg for leg in self._waiting if leg.due is not None and leg.due <= now), key=_due_of)
        for leg in due:
            seconds_ago = max(0.0, now - _due_of(leg) + self._grace_seconds)
            self._stop_waiting(leg)
            told.append(self._far_hold_ends(leg, seconds_ago) if leg.far_held else self._far_hold_begins(leg, seconds_ago))
        return told

    def lose_sight(self) -> None:
        """Stop concluding from what was seen: the connection is closed, and frames will be missing."""
        for leg in self._legs.values():
            leg.call_state = ""
            leg.we_unheld = False
            leg.due = None
        self._waiting.clear()
        self.next_deadline = None

    # What the switch says when it is asked (reconcile.py).

    @property
    def legs(self) -> Mapping[str, Leg]:
        """The own legs that are alive, by uuid: a view that follows what happens."""
        return MappingProxyType(self._legs)

    @property
    def call_ids(self) -> frozenset[str]:
        """The identifiers of the calls that are open."""
        return frozenset(self._calls)

    def has_ended(self, leg_uuid: str) -> bool:
        """Tell whether a leg is known to have ended.

        Args:
            leg_uuid: Which.

        Returns:
            Whether; the latest thousand are remembered.
        """
        return leg_uuid in self._ended_legs

    def told(self, leg_uuid: str) -> WebitelCall:
        """Tell the call of a leg that is alive.

        Args:
            leg_uuid: Which.

        Returns:
            The call as it is now.
        """
        return self._told(self._legs[leg_uuid].call)

    def find_by_far(self, leg_uuid: str) -> tuple[WebitelCall, str] | None:
        """Find a call by the leg at its far end.

        Args:
            leg_uuid: The far end's leg.

        Returns:
            The call as it is now, and the own leg that says so; ``None`` if there is none.
        """
        for leg in self._legs.values():
            if leg_uuid in (leg.headers.get(ORIGINATING_LEG), leg.headers.get(OTHER_LEG), leg.headers.get(CHANNEL_CALL_UUID)):
                return self._told(leg.call), leg.uuid
        return None

    def drop(self, leg_uuid: str) -> None:
        """Forget a leg that the switch does not have any more, and its call with the last of them. Tells nothing.

        Args:
            leg_uuid: Which; one that is not known is left alone.
        """
        leg = self._legs.get(leg_uuid)
        if leg is not None:
            self._end(leg, {}, 0.0)

    def take_over(self, leg_uuid: str, headers: dict[str, Any], *, held_by_own: bool, held_by_other: bool) -> WebitelCall:
        """Take a leg from the switch's description of it: one that is not known, or of which nothing newer came. Tells nothing.

        Args:
            leg_uuid: Which.
            headers: Its headers, named as in call frames.
            held_by_own: It is on hold from our side.
            held_by_other: It is on hold from the far end.

        Returns:
            The call that it belongs to, as it is now.
        """
        leg = self._legs.get(leg_uuid)
        if leg is None:
            call = self._call_of(headers)
            if call is None:
                self._make_room()
                channel_key = headers.get(CHANNEL_CALL_UUID) or leg_uuid
                key = headers.get(WEBITEL_CALL) or channel_key
                call = self._calls[key] = LegCall(key, channel_key == leg_uuid)
            leg = self._add_leg(leg_uuid, call, {})
        leg.headers.update(headers)
        call = leg.call
        leg.answered = headers.get(ANSWER_STATE) == "answered"
        self._stop_waiting(leg)
        leg.own_held = held_by_own
        leg.far_held = held_by_other
        leg.we_unheld = False
        leg.call_state = headers.get(CALL_STATE, "")
        if held_by_own:
            call.state = _HOLD
        elif call.state is _HOLD:
            call.state = _ACTIVE
        elif leg.answered and call.state is _RINGING:
            call.state = _ANSWERED
        if leg.answered and not call.legs[0].answered:
            call.put_in_front(leg)
        return self._told(call)

    # Events of a known leg. Each is given the table, the leg, the frame and the time.

    def _create(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[Callback]:
        self.counts.late_frames += 1
        if not leg.begun:
            # It is known from a later frame, or from a description.
            leg.begun = True
            return _NOTHING
        return (_defined_already(leg.uuid),)

    def _state(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        headers = leg.headers
        get = frame.get
        changed = get(CALLEE_NUMBER) != headers.get(CALLEE_NUMBER) or get(CALLER_NUMBER) != headers.get(CALLER_NUMBER)
        if changed:
            # A key that disappeared is one that the library goes on telling; only the comparison sees that it is gone.
            headers.update(frame)
            return (_on_bridge_call(self._told(leg.call), "CHANNEL_STATE", leg.uuid),)
        headers.update(frame)
        return _NOTHING

    def _call_state(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        state = frame.get(CALL_STATE, "")
        if state == leg.call_state:
            return _NOTHING
        leg.call_state = state
        if state == "HELD":
            if leg.far_held:
                self._stop_waiting(leg)
            else:
                self._wait(leg, now)
            return _NOTHING
        if not leg.far_held:
            if leg.due is not None:
                self._stop_waiting(leg)
            return _NOTHING
        if state == "UNHELD":
            if not leg.own_held:
                return (self._far_hold_ends(leg),)
            self._wait(leg, now)
        elif state == "ACTIVE":
            # After a release of ours the switch says ACTIVE by itself, with the first sound.
            if not leg.we_unheld:
                self._stop_waiting(leg)
                return (self._far_hold_ends(leg),)
            leg.we_unheld = False
        else:
            self._stop_waiting(leg)
        return _NOTHING

    def _answer(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        call = leg.call
        first = not leg.answered and not any(other.answered for other in call.legs)
        leg.answered = True
        if not first:
            return _NOTHING
        call.put_in_front(leg)
        call.state = _ANSWERED
        told = self._told(call)
        accepted = _on_accept_call(told, "CHANNEL_ANSWER", leg.uuid)
        if told.direction is WebitelDirection.INBOUND and (frame.get(OTHER_LEG) or frame.get(QUEUE)):
            return (accepted, _on_bridge_call(told, "CHANNEL_ANSWER", leg.uuid))
        return (accepted,)

    def _bridge(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        return (_on_bridge_call(self._told(leg.call), "CHANNEL_BRIDGE", leg.uuid),)

    def _unbridge(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        return (_on_un_bridge_call(self._told(leg.call), "CHANNEL_UNBRIDGE", leg.uuid),)

    def _hold(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        call = leg.call
        leg.own_held = True
        leg.we_unheld = False
        leg.call_state = "HELD"
        if leg.due is not None:
            self._stop_waiting(leg)
        if call.state is _HOLD:
            leg.headers.update(frame)
            return _NOTHING
        call.state = _HOLD
        held = _on_hold_call(self._told(call), "CHANNEL_HOLD", leg.uuid)
        leg.headers.update(frame)
        return (held,)

    def _unhold(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        call = leg.call
        leg.headers.update(frame)
        if leg.own_held:
            leg.own_held = False
            leg.we_unheld = True
            leg.call_state = "UNHELD"
            self._stop_waiting(leg)
        if call.state is _ACTIVE:
            return _NOTHING
        call.state = _ACTIVE
        return (_on_unhold_call(self._told(call), "CHANNEL_UNHOLD", leg.uuid),)

    def _dtmf(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        digits = frame.get(DTMF_DIGIT)
        if not digits or not isinstance(digits, str):
            self.counts.malformed_frames += 1
            return _NOTHING
        return (_on_dtmf_call(self._told(leg.call), "DTMF", leg.uuid, digits),)

    def _start_record(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        return (OnStartRecordCall(self._told(leg.call), "RECORD_START", leg.uuid),)

    def _stop_record(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        return (OnStopRecordCall(self._told(leg.call), "RECORD_STOP", leg.uuid),)

    def _hangup(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        # Not merged: until the last words the library tells the call without a cause.
        if leg.due is not None:
            self._stop_waiting(leg)
        return _NOTHING

    def _end(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        frame = self._texts_of(frame)
        leg.headers.update(frame)
        call = leg.call
        self._stop_waiting(leg)
        del self._legs[leg.uuid]
        self._remember_end(leg.uuid, leg.headers)
        call.remove(leg)
        if call.legs:
            return _NOTHING
        del self._calls[call.uuid]
        self._ended_calls.add(call.uuid)
        call.state = _ENDED
        told = self._told(call, leg)
        trigger = frame.get(EVENT_NAME, "")
        ended = OnHangupCall(told, trigger, leg.uuid)
        new_id = self._record_id(told, leg, frame)
        if new_id != call.uuid and told.hangup_cause == "NORMAL_CLEARING":
            return (OnUuidCall(told, trigger, leg.uuid, new_id), ended)
        return (ended,)

    def _uuid(self, leg: Leg, frame: dict[str, Any], now: float) -> Sequence[CallCallback]:
        leg.headers.update(frame)
        return _NOTHING

    # Frames of a leg that is not known.

    def _out_of_the_ordinary(
        self, leg: Leg | None, handler: _Handler | None, frame: dict[str, Any], now: float
    ) -> Sequence[Callback]:
        uuid = frame.get(UNIQUE_ID)
        if leg is None and frame.get(CHANNEL_STATE) == "CS_INIT" and frame.get(EVENT_NAME) == "CHANNEL_STATE":
            # A leg's first state is told before CHANNEL_CREATE (facts: webitel-protocol 7.6).
            return _NOTHING
        if leg is None and uuid in self._ended_legs:
            return self._of_ended_leg(frame[UNIQUE_ID], frame)
        frame = self._texts_of(frame)
        uuid, event = frame.get(UNIQUE_ID), frame.get(EVENT_NAME)
        if handler is None or not uuid or not event:
            self.counts.unknown_frames += 1
            return _NOTHING
        if leg is not None:
            return [*self._learn_identifier(leg, frame), *handler(self, leg, frame, now)]
        return self._of_unknown_leg(uuid, event, handler, frame, now)

    def _of_ended_leg(self, uuid: str, frame: dict[str, Any]) -> Sequence[Callback]:
        event, ended = frame.get(EVENT_NAME), self._ended_legs
        if event == "CHANNEL_CREATE" and ended.is_another(uuid, frame):
            ended.forget(uuid)
            return self._begin(uuid, self._texts_of(frame))
        if event == "CHANNEL_DESTROY":
            ended.destroy(uuid)
        if event in _AFTER_THE_END:
            return _NOTHING
        self.counts.late_frames += 1
        # Until the switch has destroyed a leg, the library goes on knowing it.
        if event == "CHANNEL_CREATE":
            return _NOTHING if ended.is_destroyed(uuid) else (_defined_already(uuid),)
        return (_not_found(event, uuid),) if event in _OF_KNOWN_LEGS and ended.is_destroyed(uuid) else _NOTHING

    def _of_unknown_leg(self, uuid: str, event: str, handler: _Handler, frame: dict[str, Any], now: float) -> Sequence[Callback]:
        if event == "CHANNEL_CREATE":
            return self._begin(uuid, frame)
        # A leg under another identifier than before has still the same SIP dialogue.
        renamed = self._leg_of_dialogue(frame.get(SIP_CALL))
        call = renamed.call if renamed is not None else self._call_of(frame)
        if event == "CHANNEL_UUID" and renamed is None and call is not None and len(call.legs) == 1:
            renamed = call.legs[0]
        if renamed is not None:
            return [*self._rename(renamed, uuid, frame, event), *handler(self, renamed, frame, now)]
        if not _tells_a_live_leg(event, frame) or (call is not None and event in _WITHOUT_VARIABLES):
            if event in _LAST_EVENTS:
                # A description of the leg that was made just before must not begin it again.
                self._remember_end(uuid, frame)
            self.counts.unknown_frames += 1
            return (_not_found(event, uuid),) if event in _OF_KNOWN_LEGS else _NOTHING
        if call is None:
            return self._adopt(uuid, frame, event, handler, now)
        leg = self._add_leg(uuid, call, {})
        return [*self._learn_identifier(leg, frame), *handler(self, leg, frame, now)]

    def _begin(self, uuid: str, frame: dict[str, Any]) -> Sequence[Callback]:
        evicted = self._make_room()
        call = self._call_of(frame)
        if call is None:
            key = frame.get(WEBITEL_CALL) or frame.get(CHANNEL_CALL_UUID) or uuid
            call = self._calls[key] = LegCall(key, frame.get(CHANNEL_CALL_UUID) == uuid)
            self._add_leg(uuid, call, dict(frame)).begun = True
            return (*evicted, OnNewCall(self._told(call), "CHANNEL_CREATE", uuid))
        leg = self._add_leg(uuid, call, dict(frame))
        leg.begun = True
        learnt = self._learn_identifier(leg, frame)
        return (*evicted, *learnt, OnNewLeg(self._told(call), "CHANNEL_CREATE", uuid))

    def _adopt(self, uuid: str, frame: dict[str, Any], event: str, handler: _Handler, now: float) -> Sequence[Callback]:
        webitel_key, channel_key = frame.get(WEBITEL_CALL), frame.get(CHANNEL_CALL_UUID)
        key = webitel_key or channel_key or uuid
        if key in self._ended_calls:
            self.counts.late_frames += 1
            return _NOTHING
        evicted = self._make_room()
        call = self._calls[key] = LegCall(key, (channel_key or uuid) == uuid)
        call.provisional = not webitel_key and event in _WITHOUT_VARIABLES
        # An empty Channel-Call-State before: what the frame says of a hold is news.
        leg = self._add_leg(uuid, call, dict(frame))
        answered = frame.get(ANSWER_STATE) == "answered" and event != "CHANNEL_ANSWER"
        if answered:
            call.state = _ANSWERED
            leg.answered = True
        if event == "CHANNEL_UNHOLD":
            call.state = _HOLD
            leg.own_held = True
        told: list[Callback] = [*evicted, OnNewCall(self._told(call), event, uuid, adopted=True)]
        told += handler(self, leg, frame, now)
        if answered and event not in ("CHANNEL_HOLD", "CHANNEL_CALLSTATE") and frame.get(CALL_STATE) == "HELD":
            # The hold itself was missed. It is ours in all but the rarest installations.
            leg.own_held = True
            leg.call_state = "HELD"
            call.state = _HOLD
            told.append(_on_hold_call(self._told(call), event, uuid))
        return told

    def _learn_identifier(self, leg: Leg, frame: dict[str, Any]) -> Sequence[CallCallback]:
        """A call that was adopted without its identifier takes it from the first frame that has variables."""
        call = leg.call
        event = frame.get(EVENT_NAME)
        if not call.provisional or event in _WITHOUT_VARIABLES:
            return _NOTHING
        call.provisional = False
        new_key = frame.get(WEBITEL_CALL)
        if not new_key or new_key == call.uuid or new_key in self._calls:
            return _NOTHING
        changed = OnUuidCall(self._told(call), event or "", leg.uuid, new_key)
        self._rekey(call, new_key)
        return (changed,)

    def _rename(self, leg: Leg, uuid: str, frame: dict[str, Any], event: str) -> Sequence[CallCallback]:
        call = leg.call
        old = leg.uuid
        del self._legs[old]
        self._ended_legs.add(old, {})
        leg.uuid = uuid
        self._legs[uuid] = leg
        leg.headers.update(frame)
        if event in _END_EVENTS:
            return _NOTHING
        if call.uuid != old or uuid in self._calls:
            return (_on_bridge_call(self._told(call), event, uuid),)
        # The operator dialled this call himself: his leg's identifier is the call's.
        changed = OnUuidCall(self._told(call), event, uuid, uuid)
        self._rekey(call, uuid)
        return (changed,)

    def _rekey(self, call: LegCall, key: str) -> None:
        del self._calls[call.uuid]
        self._ended_calls.add(call.uuid)
        call.uuid = key
        self._calls[key] = call

    def _texts_of(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Leave out what is of the wrong type; what names a leg or a call must be a text."""
        kinds = list(map(type, frame.values()))
        numbers = len(kinds) - kinds.count(str)
        if not numbers if BILL_SECONDS not in frame else numbers == 1 and type(frame[BILL_SECONDS]) is int:
            return frame
        self.counts.malformed_frames += 1
        return {
            key: value for key, value in frame.items() if (type(value) is int if key == BILL_SECONDS else isinstance(value, str))
        }

    # The tables.

    def _is_own(self, presence: object) -> bool:
        if not self._account:
            return True
        return isinstance(presence, str) and "%" in presence and unquote(presence) == self._account

    def _add_leg(self, uuid: str, call: LegCall, headers: dict[str, Any]) -> Leg:
        self.legs_begun += 1
        leg = self._legs[uuid] = Leg(uuid, self.legs_begun, call, headers)
        call.legs.append(leg)
        return leg

    def _remember_end(self, uuid: str, headers: dict[str, Any]) -> None:
        self._ended_legs.add(uuid, headers)
        if headers.get(EVENT_NAME) == "CHANNEL_DESTROY":
            self._ended_legs.destroy(uuid)

    def _make_room(self) -> Sequence[CallCallback]:
        if len(self._legs) < _MOST_LEGS:
            return _NOTHING
        oldest = next(iter(self._legs.values()))
        return self._end(oldest, {EVENT_NAME: "CHANNEL_CREATE"}, 0.0)

    def _leg_of_dialogue(self, sip_call: str | None) -> Leg | None:
        if not sip_call:
            return None
        return next((leg for leg in self._legs.values() if leg.headers.get(SIP_CALL) == sip_call), None)

    def _call_of(self, frame: dict[str, Any]) -> LegCall | None:
        """Find the call that a frame of an unknown leg belongs to."""
        key = frame.get(WEBITEL_CALL)
        call = self._calls.get(key) if key else None
        if call is None:
            channel_key = frame.get(CHANNEL_CALL_UUID)
            call = self._calls.get(channel_key) if channel_key else None
            # A call with Webitel's own identifier is another one, though it may share a leg with this.
            if call is not None and key and not call.provisional:
                return None
        return call

    # The far end's hold.

    def _wait(self, leg: Leg, now: float) -> None:
        leg.due = now + self._grace_seconds
        self._waiting.add(leg)
        if self.next_deadline is None or leg.due < self.next_deadline:
            self.next_deadline = leg.due

    def _stop_waiting(self, leg: Leg) -> None:
        if leg.due is not None:
            leg.due = None
            self._waiting.discard(leg)
            waiting = self._waiting
            self.next_deadline = min(map(_due_of, waiting)) if waiting else None

    def _far_hold_begins(self, leg: Leg, seconds_ago: float) -> CallCallback:
        leg.far_held = True
        return OnFarHoldCall(self._told(leg.call), "CHANNEL_CALLSTATE", leg.uuid, seconds_ago)

    def _far_hold_ends(self, leg: Leg, seconds_ago: float = 0.0) -> CallCallback:
        leg.far_held = False
        return OnFarUnholdCall(self._told(leg.call), "CHANNEL_CALLSTATE", leg.uuid, seconds_ago)

    # What is told of a call.

    def _told(self, call: LegCall, leg: Leg | None = None) -> WebitelCall:
        if leg is None:
            leg = call.legs[0]
        if call.first is None:
            return _webitel_call(call.uuid, call.state, call.is_originator, leg.uuid, self._own_number, leg.headers.copy())
        first, about = call.first, (call.uuid, call.state, call.is_originator)
        told_first = _webitel_call(*about, first.uuid, self._own_number, first.headers.copy())
        return _webitel_call(*about, leg.uuid, self._own_number, leg.headers.copy(), told_first)

    def _record_id(self, told: WebitelCall, leg: Leg, frame: dict[str, Any]) -> str | None:
        """The identifier that the switch keeps the call's record by (facts: webitel-protocol 4.5)."""
        if told.direction is not WebitelDirection.INBOUND:
            return leg.uuid
        return leg.headers.get(ORIGINATING_LEG) or frame.get(OTHER_LEG) or frame.get(MEMBER_SESSION) or None


_Handler = Callable[[CallTable, Leg, dict[str, Any], float], Sequence[Callback]]

_HANDLERS: Final[Mapping[str, _Handler]] = MappingProxyType(
    {
        "CHANNEL_CREATE": CallTable._create,
        "CHANNEL_STATE": CallTable._state,
        "CHANNEL_CALLSTATE": CallTable._call_state,
        "CHANNEL_ANSWER": CallTable._answer,
        "CHANNEL_BRIDGE": CallTable._bridge,
        "CHANNEL_UNBRIDGE": CallTable._unbridge,
        "CHANNEL_HOLD": CallTable._hold,
        "CHANNEL_UNHOLD": CallTable._unhold,
        "DTMF": CallTable._dtmf,
        "CHANNEL_HANGUP": CallTable._hangup,
        "CHANNEL_HANGUP_COMPLETE": CallTable._end,
        "CHANNEL_DESTROY": CallTable._end,
        "CHANNEL_UUID": CallTable._uuid,
        "RECORD_START": CallTable._start_record,
        "RECORD_STOP": CallTable._stop_record,
    }
)


def _defined_already(uuid: str) -> OnError:
    return OnError("CHANNEL_CREATE", CALL_ERROR, f"Key {uuid} already defined!")


def _not_found(event: str, uuid: str) -> OnError:
    return OnError(event, CALL_ERROR, f"Channel not found {uuid}")


def _tells_a_live_leg(event: str, frame: dict[str, Any]) -> bool:
    if event in _END_EVENTS or frame.get(ANSWER_STATE) == "hangup" or frame.get(CALL_STATE) == "HANGUP":
        return False
    if event in ("CHANNEL_STATE", "CHANNEL_CALLSTATE"):
        return frame.get(CHANNEL_STATE) not in _FIRST_OR_LAST_STATES and frame.get(CALL_STATE) != "DOWN"
    return True


def _due_of(leg: Leg) -> float:
    return leg.due if leg.due is not None else float("inf")
