"""From Webitel's callbacks to the core's reports, without I/O, so that captures can be replayed through it.

An outgoing call is *connected* at the raw CHANNEL_BRIDGE of the own leg: neither when the own phone is picked up
(``onAcceptCall``) nor at an ``onBridgeCall`` that a changed number raised. An incoming one is connected when the own phone is
picked up, for the switch joins it then (facts: webitel-protocol 4.5, 7.8; capture 03: accepted at 125 ms, answered at 284 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import attrs

from cti_framework.agents import Agent, AgentState
from cti_framework.calls import NO_ATTRIBUTES, EndCause, Party, Side
from cti_framework.clock import SessionClock, from_microseconds
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
    Report,
    Retrieved,
    Tones,
)
from cti_webitel.engine.callbacks import (
    CallCallback,
    Callback,
    OnAcceptCall,
    OnBridgeCall,
    OnDtmfCall,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnUnholdCall,
    OnUserStatusChange,
    OnUuidCall,
    WebitelCall,
    WebitelDirection,
    WebitelUser,
    parse_data,
)
from cti_webitel.engine.causes import end_cause

__all__ = ["AGENT_STATES", "Translator", "agent_of", "attributes_of", "parties_of"]

AGENT_STATES: Final = (
    AgentState("ONHOOK", "Ready", ready=True),
    AgentState("DND", "Do not disturb"),
    AgentState("ONBREAK", "Break", selectable=False),
    AgentState("CALLFORWARD", "Forwarding", selectable=False),
    AgentState("VOICEMAIL", "Voice mail", selectable=False),
    AgentState("ISBUSY", "In a call", selectable=False),
    AgentState("NONREG", "No phone registered", selectable=False, logged_out=True),
)
"""What an operator of Webitel can be (facts: creatio-cti 2.9, webitel-protocol 3.3)."""

_NOTHING: Final[tuple[Report, ...]] = ()
# What FreeSWITCH writes where it has no name to show.
_NO_NAMES: Final = frozenset({"", "Outbound Call", "Unknown", "undefined"})


@attrs.define
class _Shown:
    """What was told of a call, and the legs that it has here."""

    own: Party
    other: Party
    data: str | None
    leg: str
    legs: dict[str, None]
    connected: bool = False


class Translator:
    """Turns one session's callbacks into reports, and knows which leg of a call commands go to.

    Args:
        account: The operator's account, ``number@domain``.
        clock: The session's clock; it learns from the engine's times how far the switch's clock is off.
    """

    def __init__(self, account: str, clock: SessionClock) -> None:
        self.account = account
        self._clock = clock
        self._shown: dict[str, _Shown] = {}
        self._translate: dict[type[Callback], Callable[[Any], tuple[Report, ...]]] = {
            OnNewCall: self._on_new,
            OnAcceptCall: self._on_accept,
            OnBridgeCall: self._on_bridge,
            OnHoldCall: self._on_hold,
            OnUnholdCall: self._on_unhold,
            OnFarHoldCall: self._on_far_hold,
            OnFarUnholdCall: self._on_far_unhold,
            OnDtmfCall: self._on_dtmf,
            OnUuidCall: self._on_uuid,
            OnHangupCall: self._on_hangup,
            OnUserStatusChange: self._on_user,
        }

    def translate(self, callback: Callback) -> tuple[Report, ...]:
        """Turn one callback into what it reports.

        Args:
            callback: As the protocol gives it.

        Returns:
            The reports, in order; none for callbacks that tell nothing about calls or the own agent.
        """
        act = self._translate.get(type(callback))
        return _NOTHING if act is None else act(callback)

    def leg_of(self, call_id: str) -> str | None:
        """Tell the leg that commands about a call go to: the one that was picked up (facts: webitel-protocol 7.12).

        Args:
            call_id: The call.

        Returns:
            The leg's uuid, or ``None`` if the call is not known.
        """
        shown = self._shown.get(call_id)
        return None if shown is None else shown.leg

    def legs_of(self, call_id: str) -> tuple[str, ...]:
        """Tell all own legs of a call that were told of: one a device that rings.

        Args:
            call_id: The call.

        Returns:
            Their uuids, the one that was picked up alone once it was.
        """
        shown = self._shown.get(call_id)
        return () if shown is None else tuple(shown.legs)

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

    # ------------------------------------------------------------------ calls

    def _remember(self, call: WebitelCall) -> _Shown:
        shown = self._shown.get(call.uuid)
        if shown is None:
            own, other = parties_of(call)
            shown = _Shown(own, other, call.data, call.channel_uuid, {call.channel_uuid: None})
            self._shown[call.uuid] = shown
        return shown

    def _at(self, microseconds: int | None) -> datetime:
        if microseconds is None:
            return self._clock.now()
        return self._clock.from_pbx(from_microseconds(microseconds))

    def _just_now(self, microseconds: int | None) -> datetime:
        """Translate the time of something that the engine tells at once, and learn from it."""
        if microseconds is None:
            return self._clock.now()
        pbx_time = from_microseconds(microseconds)
        self._clock.observe(pbx_time)
        return self._clock.from_pbx(pbx_time)

    def _on_new(self, callback: OnNewCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        at = self._at(call.created_microseconds) if callback.adopted else self._just_now(call.created_microseconds)
        attributes = attributes_of(call)
        if call.direction is WebitelDirection.INBOUND:
            return (Offered(at=at, call_id=call.uuid, own=shown.own, other=shown.other, attributes=attributes),)
        return (
            Originated(
                at=at,
                call_id=call.uuid,
                own=shown.own,
                other=shown.other,
                parent_id=call.attended_transfer_call_uuid,
                attributes=attributes,
            ),
        )

    def _on_accept(self, callback: OnAcceptCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        shown.leg = callback.leg_uuid
        shown.legs = {callback.leg_uuid: None}
        at = self._just_now(call.answered_microseconds)
        answered = Answered(at=at, call_id=call.uuid)
        news = self._news(call, shown, at)
        return (answered,) if news is None else (answered, news)

    def _on_bridge(self, callback: OnBridgeCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._remember(call)
        shown.legs.setdefault(call.channel_uuid)
        at = self._clock.now()
        news = self._news(call, shown, at)
        if callback.trigger == "CHANNEL_BRIDGE" or (callback.trigger == "CHANNEL_ANSWER" and not shown.connected):
            shown.connected = True
            connected = Connected(at=at, call_id=call.uuid)
            return (connected,) if news is None else (news, connected)
        return _NOTHING if news is None else (news,)

    def _news(self, call: WebitelCall, shown: _Shown, at: datetime) -> InfoChanged | None:
        own, other = parties_of(call)
        if own == shown.own and other == shown.other and call.data == shown.data:
            return None
        attributes = attributes_of(call) if call.data != shown.data else None
        shown.own, shown.other, shown.data = own, other, call.data
        return InfoChanged(at=at, call_id=call.uuid, own=own, other=other, attributes=attributes)

    def _on_hold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (Held(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OWN),)

    def _on_unhold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (Retrieved(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OWN),)

    def _on_far_hold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (Held(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OTHER),)

    def _on_far_unhold(self, callback: CallCallback) -> tuple[Report, ...]:
        return (Retrieved(at=self._clock.now(), call_id=callback.call.uuid, by=Side.OTHER),)

    def _on_dtmf(self, callback: OnDtmfCall) -> tuple[Report, ...]:
        # The switch tells the tones that it hears from the own leg: those that the operator sends.
        return (Tones(at=self._clock.now(), call_id=callback.call.uuid, digits=callback.digits, by=Side.OWN),)

    def _on_uuid(self, callback: OnUuidCall) -> tuple[Report, ...]:
        old, new = callback.call.uuid, callback.new_id
        if not new or new == old:
            return _NOTHING
        shown = self._shown.get(old)
        if shown is not None and callback.trigger not in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
            self._shown[new] = self._shown.pop(old)
        return (IdChanged(at=self._clock.now(), call_id=old, new_id=new),)

    def _on_hangup(self, callback: OnHangupCall) -> tuple[Report, ...]:
        call = callback.call
        shown = self._shown.pop(call.uuid, None)
        cause = end_cause(call.hangup_cause, call.transfer_result)
        if cause is EndCause.NORMAL and shown is not None and not shown.connected and call.direction is not WebitelDirection.INBOUND:
            # The operator hung up before anybody answered: for the switch that is a normal clearing of the own leg.
            cause = EndCause.CANCELLED
        return (
            Ended(
                at=self._just_now(call.hangup_microseconds), call_id=call.uuid, cause=cause, pbx_cause=call.hangup_cause
            ),
        )

    # ------------------------------------------------------------------ the agent

    def _on_user(self, callback: OnUserStatusChange) -> tuple[Report, ...]:
        if not callback.user.is_own:
            return _NOTHING
        return (AgentReport(at=self._clock.now(), agent=agent_of(callback.user)),)


def agent_of(user: WebitelUser) -> Agent:
    """Tell the operator's state: why he is away, or else what his phone does (facts: webitel-protocol 5.3).

    Args:
        user: The own account.

    Returns:
        The agent.
    """
    away = user.away if user.away not in ("", "NONE") else ""
    return Agent(state=away or user.state, note=user.tag or None)


def parties_of(call: WebitelCall) -> tuple[Party, Party]:
    """Tell the two parties of a call.

    Args:
        call: As the frames told it.

    Returns:
        The operator's, and the other.
    """
    caller = _party(call.caller_number, call.caller_name)
    callee = _party(call.callee_number, call.callee_name)
    return (callee, caller) if call.direction is WebitelDirection.INBOUND else (caller, callee)


def _party(number: str | None, name: str | None) -> Party:
    number = number or ""
    if name is None or name == number or name in _NO_NAMES:
        return Party(number)
    return Party(number, name)


def attributes_of(call: WebitelCall) -> Mapping[str, Any]:
    """Tell the free data that comes with a call.

    Args:
        call: As the frames told it.

    Returns:
        ``webitel_data`` (the object that is in it), ``cc_queue`` and ``dlr_session_id``, each only if there is one.
    """
    if call.data is None and call.cc_queue is None and call.dlr_session_id is None:
        return NO_ATTRIBUTES
    told = {
        "webitel_data": parse_data(call.data) or None,
        "cc_queue": call.cc_queue,
        "dlr_session_id": call.dlr_session_id,
    }
    return MappingProxyType({key: value for key, value in told.items() if value is not None})
