"""The protocol's tables and the switch's dumps: what each says, and which of them is newer."""

from __future__ import annotations

from typing import Any

import pytest

from cti_framework.switchboard import Device, Switchboard
from cti_webitel.engine.callbacks import (
    CallCallback,
    OnAcceptCall,
    OnBridgeCall,
    OnFarHoldCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    WebitelCallState,
    WebitelDirection,
)
from cti_webitel.engine.protocol import EngineProtocol
from cti_webitel.engine.snapshot import LegDump, read_dump
from cti_webitel.simulator import SimulatorOptions
from cti_webitel.simulator.channels import channel_dump
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.frames import call_frame

OWN = "100@demo.local"
FAR = "0501234567"


class Switch:
    """A switch, turned by hand, whose frames reach a protocol only while somebody listens."""

    def __init__(self, **options: Any) -> None:
        self.switchboard = Switchboard(seed=1)
        self.switchboard.add_account("100", "demo.local", password="100")
        self.switchboard.add_account("101", "demo.local", password="101")
        settings = {"own_answer_seconds": None, "far_answer_seconds": None, **options}
        self.engine = Engine(self.switchboard, SimulatorOptions(**settings))
        self.protocol = EngineProtocol(OWN, hold_grace_seconds=0.5)
        self.told: list[Any] = []
        self.listening = True
        self.switchboard.subscribe(self._on_event)

    def _on_event(self, event: Any) -> None:
        if self.listening and event.leg is not None and event.leg.presence == OWN:
            self.told += self.protocol.receive_decoded(call_frame(event), self.now)

    @property
    def now(self) -> float:
        return self.switchboard.clock.elapsed_seconds

    @property
    def own(self) -> list[str]:
        return [leg.uuid for leg in self.switchboard.legs_of(OWN)]

    def dump(self, uuid: str) -> LegDump:
        leg = self.switchboard.leg(uuid).snapshot
        return read_dump(channel_dump(leg, self.engine.channels.times_of(uuid), self.switchboard.now))

    def look(self, *, gone: tuple[str, ...] = ()) -> tuple[Any, list[CallCallback]]:
        seen, told = self.protocol.reconcile(self.protocol.sight(), [self.dump(uuid) for uuid in self.own], gone)
        return seen, list(told)

    def go_away(self) -> None:
        self.listening = False
        self.protocol.closed(1006)

    def come_back(self) -> None:
        self.listening = True
        self.protocol.opened()
        self.told.clear()

    def originate(self) -> str:
        (leg,) = self.switchboard.originate(OWN, FAR, variables={"w_jsclient_originate_number": FAR})
        return leg.uuid

    def answer_far(self) -> None:
        self.switchboard.answer(self.switchboard.legs_at(FAR)[0].uuid)

    def talk(self) -> str:
        own = self.originate()
        self.switchboard.answer(own)
        self.answer_far()
        return own


def names(callbacks: list[CallCallback]) -> list[str]:
    return [type(callback).__name__ for callback in callbacks]


# --- what a dump says

# From the dumps of a real switch (facts: esl-control): a called leg has its partner before the two are joined.
RINGING_CALLED_LEG = {
    "Unique-ID": "leg",
    "Channel-Call-State": "RINGING",
    "Answer-State": "ringing",
    "Caller-Channel-Bridged-Time": "0",
    "Caller-Channel-Last-Hold": "0",
    "Caller-Channel-Hold-Accum": "0",
    "variable_signal_bond": "cfea0000-0000-4000-8000-000000000000",
    "Event-Date-Timestamp": "1795336031453568",
}


@pytest.mark.parametrize(
    ("changes", "bridged", "held", "by_own"),
    [
        ({}, False, False, False),
        ({"Answer-State": "answered"}, False, False, False),
        ({"Answer-State": "answered", "Channel-Call-State": "ACTIVE"}, False, False, False),
        ({"Answer-State": "answered", "Channel-Call-State": "RING_WAIT"}, False, False, False),
        (
            {"Answer-State": "answered", "Channel-Call-State": "ACTIVE", "Caller-Channel-Bridged-Time": "1795336032298503"},
            *(True, False, False),
        ),
        (
            {
                "Answer-State": "answered",
                "Channel-Call-State": "HELD",
                "Caller-Channel-Bridged-Time": "1795336032298503",
                "Caller-Channel-Last-Hold": "1795336168837126",
            },
            *(True, True, True),
        ),
        (
            {"Answer-State": "answered", "Channel-Call-State": "HELD", "Caller-Channel-Bridged-Time": "1795336032298503"},
            *(True, True, False),
        ),
        # A hold that is over leaves its time there.
        (
            {
                "Answer-State": "answered",
                "Channel-Call-State": "ACTIVE",
                "Caller-Channel-Bridged-Time": "1795336184153460",
                "Caller-Channel-Last-Hold": "1795336184969102",
                "Caller-Channel-Hold-Accum": "1097203",
            },
            *(True, False, False),
        ),
    ],
)
def test_what_a_dump_says(changes: dict[str, str], bridged: bool, held: bool, by_own: bool) -> None:
    dump = read_dump({**RINGING_CALLED_LEG, **changes})
    assert (dump.bridged, dump.held, dump.held_by_own) == (bridged, held, by_own)
    assert dump.dumped_microseconds == 1795336031453568


def test_a_switch_that_tells_no_time_of_the_bridge_tells_it_by_the_partner() -> None:
    dump = {**RINGING_CALLED_LEG, "Answer-State": "answered", "Channel-Call-State": "ACTIVE"}
    del dump["Caller-Channel-Bridged-Time"]
    assert read_dump(dump).bridged
    del dump["variable_signal_bond"]
    assert not read_dump(dump).bridged


def test_the_headers_are_named_as_in_call_frames() -> None:
    dump = read_dump(
        {
            **RINGING_CALLED_LEG,
            "variable_webitel_call_uuid": "call",
            "variable_originating_leg_uuid": "other",
            "variable_DP_MATCH": ["a", "b"],
            "Hangup-Cause": "USER_BUSY",
        }
    )
    assert dump.headers["variable_w_account_origination_uuid"] == "call"
    assert dump.headers["Other-Leg-Unique-ID"] == "other"
    assert dump.headers["variable_hangup_cause"] == "USER_BUSY"
    assert "variable_DP_MATCH" not in dump.headers


@pytest.mark.parametrize("text", ["", "0", "x", "-5", "1.5"])
def test_a_time_that_is_none(text: str) -> None:
    assert read_dump({**RINGING_CALLED_LEG, "Event-Date-Timestamp": text}).dumped_microseconds is None


# --- calls that nobody saw begin


def test_a_call_that_rings_here() -> None:
    switch = Switch()
    switch.listening = False
    _, (own,) = switch.switchboard.incoming("0671112233", OWN, name="ACME", variables={"webitel_data": '{"order":"77"}'})
    (seen,), told = switch.look()
    assert seen.call.direction is WebitelDirection.INBOUND
    assert (seen.call.caller_number, seen.call.caller_name) == ("0671112233", "ACME")
    assert (seen.call.uuid, seen.call.channel_uuid) == (own.snapshot.call_id, own.uuid)
    assert not (seen.dump.bridged or seen.held_by_own or seen.held_by_other)
    assert names(told) == ["OnNewCall"]
    (begun,) = told
    assert isinstance(begun, OnNewCall) and begun.adopted


def test_an_own_phone_that_rings_for_a_call_out() -> None:
    switch = Switch()
    switch.listening = False
    switch.originate()
    (seen,), told = switch.look()
    assert seen.call.direction is WebitelDirection.CALLBACK
    assert (seen.call.callee_number, seen.call.caller_number) == (FAR, "100")
    assert names(told) == ["OnNewCall"]


def test_a_far_end_that_rings_is_not_connected() -> None:
    switch = Switch()
    switch.listening = False
    switch.switchboard.answer(switch.originate())
    (seen,), told = switch.look()
    assert not seen.dump.bridged
    assert seen.call.state is WebitelCallState.ANSWERED
    assert names(told) == ["OnNewCall", "OnAcceptCall"]


def test_a_call_that_talks_and_goes_on_being_told() -> None:
    switch = Switch()
    switch.listening = False
    own = switch.talk()
    (seen,), told = switch.look()
    assert seen.dump.bridged
    assert names(told) == ["OnNewCall", "OnAcceptCall", "OnBridgeCall"]
    switch.listening = True
    switch.switchboard.hold(own)
    switch.switchboard.unhold(own)
    switch.switchboard.hang_up(own)
    call = [callback for callback in switch.told if isinstance(callback, CallCallback)]
    assert names(call) == ["OnHoldCall", "OnUnholdCall", "OnUnBridgeCall", "OnUuidCall", "OnHangupCall"]
    assert {callback.call.uuid for callback in call} == {seen.call.uuid}


def test_a_call_that_is_held_by_us() -> None:
    switch = Switch()
    switch.listening = False
    switch.switchboard.hold(switch.talk())
    (seen,), told = switch.look()
    assert (seen.held_by_own, seen.held_by_other) == (True, False)
    assert names(told) == ["OnNewCall", "OnAcceptCall", "OnBridgeCall", "OnHoldCall"]
    assert isinstance(told[-1], OnHoldCall)


def test_a_call_that_is_held_by_the_far_end_is_released_by_it() -> None:
    switch = Switch(proxy_hold=True)
    switch.listening = False
    switch.talk()
    far = switch.switchboard.legs_at(FAR)[0].uuid
    switch.switchboard.hold(far)
    (seen,), told = switch.look()
    assert (seen.held_by_own, seen.held_by_other) == (False, True)
    assert isinstance(told[-1], OnFarHoldCall)
    switch.listening = True
    switch.switchboard.unhold(far)
    assert names(switch.told) == ["OnFarUnholdCall"]


def test_two_phones_that_ring_are_one_call() -> None:
    switch = Switch()
    switch.switchboard.set_account(OWN, devices=(Device(), Device()))
    switch.listening = False
    switch.switchboard.incoming("0671112233", OWN)
    seen, told = switch.look()
    assert len(switch.own) == 2
    assert len(seen) == 1 and names(told) == ["OnNewCall"]
    assert set(switch.protocol.sight().calls[seen[0].call.uuid]) == set(switch.own)


def test_of_two_phones_the_one_that_was_picked_up_speaks_for_the_call() -> None:
    switch = Switch()
    switch.switchboard.set_account(OWN, devices=(Device(), Device()))
    switch.switchboard.originate(OWN, FAR, variables={"w_jsclient_originate_number": FAR})
    first, second = switch.own
    before = switch.dump(first)
    switch.go_away()
    switch.switchboard.answer(second)
    switch.come_back()
    # The loser is dumped before it is gone.
    seen, told = switch.protocol.reconcile(switch.protocol.sight(), [before, switch.dump(second)], [])
    assert told == ()
    assert seen[0].call.channel_uuid == second
    assert seen[0].call.answered_microseconds is not None
    assert seen[0].dump.answered
    assert next(iter(switch.protocol.sight().calls.values()))[0] == second


# --- an outage


def test_what_ended_meanwhile_is_forgotten_and_stays_so() -> None:
    switch = Switch()
    own = switch.talk()
    late = switch.dump(own)
    switch.go_away()
    switch.switchboard.hang_up(own)
    switch.come_back()
    seen, told = switch.look(gone=(own,))
    assert (seen, told) == ((), [])
    assert switch.protocol.call_ids == frozenset()
    # Neither an older answer nor a late frame revives it.
    assert switch.protocol.reconcile(switch.protocol.sight(), [late], []) == ((), ())


@pytest.mark.parametrize("held", [True, False])
def test_a_hold_that_began_or_ended_meanwhile(held: bool) -> None:
    switch = Switch()
    own = switch.talk()
    if not held:
        switch.switchboard.hold(own)
    switch.go_away()
    (switch.switchboard.hold if held else switch.switchboard.unhold)(own)
    switch.come_back()
    (seen,), told = switch.look()
    assert (seen.held_by_own, told) == (held, [])
    # The next change is told, though the library's state machine never saw the one before.
    (switch.switchboard.unhold if held else switch.switchboard.hold)(own)
    assert names(switch.told) == ["OnUnholdCall" if held else "OnHoldCall"]


def test_an_answer_that_was_missed_does_not_come_again() -> None:
    switch = Switch()
    own = switch.originate()
    switch.go_away()
    switch.switchboard.answer(own)
    switch.come_back()
    (seen,), told = switch.look()
    assert (seen.call.state, told) == (WebitelCallState.ANSWERED, [])
    switch.answer_far()
    assert [type(callback) for callback in switch.told] == [OnBridgeCall]


def test_a_phone_that_was_picked_up_meanwhile_takes_the_commands() -> None:
    switch = Switch()
    switch.switchboard.set_account(OWN, devices=(Device(), Device()))
    switch.switchboard.incoming("0671112233", OWN)
    first, second = switch.own
    switch.go_away()
    switch.switchboard.answer(second)
    switch.come_back()
    (seen,), _ = switch.look(gone=(first,))
    assert seen.call.channel_uuid == second
    assert switch.protocol.sight().calls == {seen.call.uuid: (second,)}


# --- frames that come while the switch is asked


def test_a_hold_that_came_meanwhile_wins() -> None:
    switch = Switch()
    own = switch.talk()
    sighting, dump = switch.protocol.sight(), switch.dump(own)
    switch.switchboard.hold(own)
    (seen,), told = switch.protocol.reconcile(sighting, [dump], [])
    assert (seen.held_by_own, seen.call.state, told) == (True, WebitelCallState.HOLD, ())
    switch.told.clear()
    switch.switchboard.unhold(own)
    assert names(switch.told) == ["OnUnholdCall"]


def test_a_leg_that_was_told_of_meanwhile_is_not_new() -> None:
    switch = Switch()
    sighting = switch.protocol.sight()
    own = switch.originate()
    (seen,), told = switch.protocol.reconcile(sighting, [switch.dump(own)], [])
    assert told == ()
    assert seen.call.channel_uuid == own
    assert len([callback for callback in switch.told if isinstance(callback, OnNewCall)]) == 1


def test_a_call_that_ended_meanwhile_is_not_shown() -> None:
    switch = Switch()
    own = switch.talk()
    sighting, dump = switch.protocol.sight(), switch.dump(own)
    switch.switchboard.hang_up(own)
    assert [type(callback) for callback in switch.told if isinstance(callback, OnHangupCall)] == [OnHangupCall]
    assert switch.protocol.reconcile(sighting, [dump], []) == ((), ())


def test_a_leg_that_is_hung_up_just_now_begins_no_call() -> None:
    switch = Switch()
    switch.listening = False
    dump = {**RINGING_CALLED_LEG, "Channel-Presence-ID": OWN, "Answer-State": "hangup", "Channel-Call-State": "HANGUP"}
    assert switch.protocol.reconcile(switch.protocol.sight(), [read_dump(dump)], []) == ((), ())
    assert switch.protocol.call_ids == frozenset()


def test_a_known_leg_that_is_hung_up_just_now_still_ends_by_its_frames() -> None:
    switch = Switch()
    own = switch.talk()
    dump = switch.dump(own)
    ending = read_dump({**dump.headers, "Answer-State": "hangup", "Channel-Call-State": "HANGUP"})
    (seen,), told = switch.protocol.reconcile(switch.protocol.sight(), [ending], [])
    assert (seen.call.channel_uuid, told) == (own, ())
    switch.told.clear()
    switch.switchboard.hang_up(own)
    assert "OnHangupCall" in names(switch.told)


def test_accepted_once_even_if_the_answer_comes_after_the_dump() -> None:
    switch = Switch()
    own = switch.originate()
    sighting = switch.protocol.sight()
    switch.listening = False
    switch.switchboard.answer(own)
    switch.protocol.reconcile(sighting, [switch.dump(own)], [])
    switch.listening = True
    late = {**switch.dump(own).headers, "webitel-event-name": "call", "Event-Name": "CHANNEL_ANSWER", "variable_billsec": 0}
    assert not [callback for callback in switch.protocol.receive_decoded(late, 1.0) if isinstance(callback, OnAcceptCall)]


def test_a_dump_without_an_identifier_means_nothing() -> None:
    switch = Switch()
    assert switch.protocol.reconcile(switch.protocol.sight(), [read_dump({})], []) == ((), ())
