"""One leg's way through its states, with the events in the order of the switch (facts: webitel-protocol 4.2).

Nothing here decides anything: the Switchboard says what happens to a leg, this says how the switch tells it.

::

    to a device or an outside number    STATE(CS_INIT) CREATE STATE(CS_ROUTING) STATE(CS_CONSUME_MEDIA) CALLSTATE(RINGING)
    from a device or an outside number  STATE(CS_INIT) CREATE CALLSTATE(RINGING) STATE(CS_ROUTING) STATE(CS_EXECUTE)
    answer                              ANSWER CALLSTATE(ACTIVE)
    joined as the called leg            STATE(CS_EXCHANGE_MEDIA), and BRIDGE on the other leg
    into the dialplan                   STATE(CS_ROUTING) STATE(CS_EXECUTE), with caller and callee swapped
    into an application                 STATE(CS_EXECUTE)
    hold, end of hold                   CALLSTATE(HELD) HOLD; CALLSTATE(UNHELD) UNHOLD, soon after CALLSTATE(ACTIVE)
    end                                 HANGUP, UNBRIDGE of an A leg, CALLSTATE(HANGUP) STATE(CS_HANGUP) HANGUP_COMPLETE
                                        STATE(CS_REPORTING) DESTROY
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cti_framework.switchboard.clock import Clock
from cti_framework.switchboard.events import SwitchEvent, SwitchEventName
from cti_framework.switchboard.legs import AnswerState, ChannelCallState, ChannelState, Leg, LegDirection

__all__ = ["Signalling"]


class Signalling:
    """Puts legs through their states.

    Args:
        clock: The switch's.
        publish: Where the events go.
        appeared: Told right after a leg's CREATE.
        vanished: Told right after a leg's DESTROY.
    """

    def __init__(
        self,
        clock: Clock,
        publish: Callable[[SwitchEvent], None],
        appeared: Callable[[Leg], None],
        vanished: Callable[[Leg], None],
    ) -> None:
        self._clock = clock
        self._publish = publish
        self._appeared = appeared
        self._vanished = vanished

    def ring_out(self, leg: Leg) -> None:
        """The switch calls the leg's device.

        Args:
            leg: A new one.
        """
        self._create(leg)
        self._state(leg, ChannelState.CS_ROUTING)
        self._state(leg, ChannelState.CS_CONSUME_MEDIA)
        self.show(leg, ChannelCallState.RINGING)

    def ring_in(self, leg: Leg) -> None:
        """The leg's device calls the switch.

        Args:
            leg: A new one.
        """
        self._create(leg)
        self.show(leg, ChannelCallState.RINGING)
        self._state(leg, ChannelState.CS_ROUTING)
        self._state(leg, ChannelState.CS_EXECUTE)

    def answer(self, leg: Leg) -> None:
        """The leg's device is picked up, or a caller is let through.

        Args:
            leg: A ringing one.
        """
        leg.change(answered_at=self._clock.now, answer_state=AnswerState.ANSWERED)
        self._raise(SwitchEventName.CHANNEL_ANSWER, leg)
        self.show(leg, ChannelCallState.ACTIVE)

    def enter_dialplan(self, leg: Leg, destination: str) -> None:
        """The leg is routed somewhere. A leg that the switch called becomes a caller: the ids swap.

        Args:
            leg: An answered one.
            destination: Where to.
        """
        now = leg.snapshot
        if now.direction is LegDirection.OUTBOUND and not now.hit_dialplan:
            leg.change(
                callee_name=now.caller_name,
                callee_number=now.caller_number,
                caller_name=now.callee_name or now.party_name,
                caller_number=now.callee_number or now.party_number,
                logical_direction=LegDirection.INBOUND,
                hit_dialplan=True,
            )
        leg.change(destination=destination)
        self._state(leg, ChannelState.CS_ROUTING)
        self._state(leg, ChannelState.CS_EXECUTE)

    def enter_application(self, leg: Leg) -> None:
        """The switch itself takes care of the leg: a queue, somebody who listens in.

        Args:
            leg: An answered one.
        """
        self._state(leg, ChannelState.CS_EXECUTE)

    def join(self, first: Leg, second: Leg) -> None:
        """Join two answered legs; the first is the bridge's A leg.

        Args:
            first: One.
            second: The other.
        """
        first.partner, second.partner = second, first
        first.leads_bridge, second.leads_bridge = True, False
        self._point(first, second)
        self._point(second, first)
        if second.snapshot.channel_state is not ChannelState.CS_EXCHANGE_MEDIA:
            self._state(second, ChannelState.CS_EXCHANGE_MEDIA)
        if first.snapshot.callee_number is None:
            first.change(callee_name=second.snapshot.callee_name, callee_number=second.snapshot.callee_number)
        self._raise(SwitchEventName.CHANNEL_BRIDGE, first, bridge_a=first.uuid, bridge_b=second.uuid)

    def part(self, leg: Leg) -> None:
        """Undo a bridge; the event is the A leg's.

        Args:
            leg: Either of the two.
        """
        partner = leg.partner
        if partner is None:
            return
        first, second = (leg, partner) if leg.leads_bridge else (partner, leg)
        for side in (first, second):
            side.partner = None
            side.leads_bridge = False
            side.change(bridged_to=None)
        self._raise(SwitchEventName.CHANNEL_UNBRIDGE, first, bridge_a=first.uuid, bridge_b=second.uuid)

    def consult(self, leg: Leg, other: Leg) -> None:
        """Join a leg with another beside its partner, who waits: a second bridge within the first.

        Args:
            leg: One that is joined with its partner.
            other: Whom it talks to meanwhile.
        """
        leg.consulted, other.consulted_by = other, leg
        self._point(leg, other)
        self._point(other, leg)
        self._state(other, ChannelState.CS_EXCHANGE_MEDIA)
        self._raise(SwitchEventName.CHANNEL_BRIDGE, leg, bridge_a=leg.uuid, bridge_b=other.uuid)

    def end_consultation(self, leg: Leg) -> None:
        """Undo the bridge within the first; the leg is with its partner again.

        Args:
            leg: One that consults somebody; with any other nothing happens.
        """
        other = leg.consulted
        if other is None:
            return
        leg.consulted = other.consulted_by = None
        other.change(bridged_to=None)
        self._raise(SwitchEventName.CHANNEL_UNBRIDGE, leg, bridge_a=leg.uuid, bridge_b=other.uuid)
        if leg.partner is not None:
            self._point(leg, leg.partner)
        else:
            leg.change(bridged_to=None)

    def hold(self, leg: Leg) -> None:
        """The leg's own device puts the call on hold.

        Args:
            leg: An answered one that does not hold.
        """
        leg.change(held=True)
        self.show(leg, ChannelCallState.HELD)
        self._raise(SwitchEventName.CHANNEL_HOLD, leg)

    def unhold(self, leg: Leg) -> None:
        """The leg's own device takes the call back.

        Args:
            leg: One that holds.
        """
        leg.change(held=False)
        self.show(leg, ChannelCallState.UNHELD)
        self._raise(SwitchEventName.CHANNEL_UNHOLD, leg)

    def tone(self, leg: Leg, digit: str) -> None:
        """The leg's device presses a key.

        Args:
            leg: An answered one.
            digit: Which.
        """
        self._raise(SwitchEventName.DTMF, leg, digit=digit)

    def record(self, leg: Leg, recorded: bool) -> None:
        """The switch begins to record the leg, or stops.

        Args:
            leg: Which.
            recorded: Whether it begins.
        """
        leg.change(recorded=recorded)
        self._raise(SwitchEventName.RECORD_START if recorded else SwitchEventName.RECORD_STOP, leg)

    def rename(self, leg: Leg, uuid: str) -> None:
        """The leg gets a new identifier, which becomes its call's, too (facts: webitel-protocol 8.11).

        Args:
            leg: Which.
            uuid: The new one.
        """
        former = leg.uuid
        leg.change(uuid=uuid, call_uuid=uuid)
        self._raise(SwitchEventName.CHANNEL_UUID, leg, former_uuid=former)

    def tell_state(self, leg: Leg) -> None:
        """Say once more what the switch does with the leg, and with it whom the leg shows.

        Args:
            leg: Which.
        """
        self._raise(SwitchEventName.CHANNEL_STATE, leg)

    def end(self, leg: Leg, cause: str) -> None:
        """The leg is hung up.

        Args:
            leg: A live one.
            cause: Why.
        """
        leg.change(channel_state=ChannelState.CS_HANGUP, answer_state=AnswerState.HANGUP, hung_up_at=self._clock.now)
        self._raise(SwitchEventName.CHANNEL_HANGUP, leg, hangup_cause=cause)
        self.end_consultation(leg)
        if leg.leads_bridge:
            self.part(leg)
        self.show(leg, ChannelCallState.HANGUP)
        self.tell_state(leg)
        if leg.snapshot.recorded:
            self.record(leg, False)
        leg.change(hangup_cause=cause)
        self._raise(SwitchEventName.CHANNEL_HANGUP_COMPLETE, leg)
        self._state(leg, ChannelState.CS_REPORTING)
        leg.change(channel_state=ChannelState.CS_DESTROY)
        self._raise(SwitchEventName.CHANNEL_DESTROY, leg)
        self._vanished(leg)

    def show(self, leg: Leg, call_state: ChannelCallState) -> None:
        """Set what a leg shows to people; showing the same again says nothing.

        Args:
            leg: Which.
            call_state: What.
        """
        former = leg.snapshot.call_state
        if former is not call_state:
            leg.change(call_state=call_state)
            self._raise(SwitchEventName.CHANNEL_CALLSTATE, leg, former_call_state=former)

    @staticmethod
    def _point(leg: Leg, other: Leg) -> None:
        leg.change(other_leg=other.uuid, signal_bond=other.uuid, bridged_to=other.uuid)

    def _create(self, leg: Leg) -> None:
        self.tell_state(leg)
        self._raise(SwitchEventName.CHANNEL_CREATE, leg)
        self._appeared(leg)

    def _state(self, leg: Leg, channel_state: ChannelState) -> None:
        leg.change(channel_state=channel_state)
        self.tell_state(leg)

    def _raise(self, name: SwitchEventName, leg: Leg, **details: Any) -> None:
        event = SwitchEvent(name=name, at=self._clock.now, leg=leg.snapshot, **details)
        self._publish(event)
