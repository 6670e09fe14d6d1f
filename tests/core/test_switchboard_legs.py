"""What else can happen to legs: listening in, queues, consulting on one leg, new numbers and names, recordings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cti_framework.switchboard import Device, Leg, Switchboard, SwitchError, SwitchEventName
from tests.core.test_switchboard import END, FAR, MATE, OWN, RINGS, Recorder, connected, joined, switch

CALLER = "0671112233"


def talking(switchboard: Switchboard, recorder: Recorder) -> tuple[Leg, Leg]:
    """A caller is talked to: own leg, caller's leg."""
    caller, (own,) = switchboard.incoming(CALLER, OWN)
    switchboard.answer(own.uuid)
    recorder.forget()
    return own, caller


# --- listening in


def test_who_listens_in_is_heard_by_nobody_and_ends_with_the_leg() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    results: list[Leg | SwitchError] = []
    (listener,) = switchboard.eavesdrop(MATE, own.uuid, caller_number="100", callee_number=FAR, on_result=results.append)
    assert recorder.of(MATE) == RINGS
    assert (listener.snapshot.caller_number, listener.snapshot.callee_number) == ("100", FAR)
    recorder.forget()
    switchboard.advance(0.06)
    assert recorder.of(MATE) == ["ANSWER", "CALLSTATE(ACTIVE)", "STATE(CS_EXECUTE)"] and results == [listener]
    assert recorder.of(OWN) == recorder.of(None) == []
    assert joined(own) is far and own.listeners == [listener]
    recorder.forget()
    switchboard.hang_up(far.uuid)
    assert recorder.of(MATE) == END and recorder.causes()[MATE] == "NORMAL_CLEARING"
    assert switchboard.legs == ()


def test_who_stops_listening_leaves_the_call_alone() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    (listener,) = switchboard.eavesdrop(MATE, far.uuid)
    switchboard.advance(0.06)
    switchboard.hang_up(listener.uuid)
    assert far.listeners == [] and joined(own) is far
    assert set(switchboard.legs) == {own, far}


@pytest.mark.parametrize("how", ["transfer", "bridge"])
def test_a_listener_who_is_sent_elsewhere_does_not_end_with_the_leg(how: str) -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    (listener,) = switchboard.eavesdrop(MATE, own.uuid)
    switchboard.advance(0.06)
    if how == "transfer":
        switchboard.transfer(listener.uuid, "0442223344")
    else:
        switchboard.bridge(listener.uuid, switchboard.receive("0442223344", "support", "demo.local").uuid)
    switchboard.advance(0.02)
    assert own.listeners == []
    switchboard.hang_up(own.uuid)
    assert not listener.ended


def test_there_is_nothing_to_listen_to_any_more() -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    switchboard.eavesdrop(MATE, own.uuid)
    switchboard.hang_up(own.uuid)
    recorder.forget()
    switchboard.advance(0.06)
    assert recorder.of(MATE) == ["ANSWER", "CALLSTATE(ACTIVE)", "STATE(CS_EXECUTE)", *END]
    assert switchboard.legs == ()


# --- the switch's own calls


def test_a_queue_takes_a_caller_and_rings_an_agent_who_is_joined_with_him() -> None:
    switchboard, recorder = switch(device_answer_seconds=0.5)
    caller = switchboard.receive(CALLER, "support", "demo.local", name="ACME")
    assert recorder.of(None)[-2:] == ["ANSWER", "CALLSTATE(ACTIVE)"] and caller.answered
    (agent,) = switchboard.ring(OWN, CALLER, name="ACME", variables={"cc_queue": "support"})
    now = agent.snapshot
    assert (now.outgoing, now.originating_leg, now.other_leg, now.call_uuid) == (False, None, None, agent.uuid)
    assert (now.caller_name, now.peer_number, now.peer_name, now.variables["cc_queue"]) == ("ACME", CALLER, "ACME", "support")
    switchboard.advance(0.5)
    recorder.forget()
    switchboard.bridge(caller.uuid, agent.uuid)
    switchboard.advance(0.02)
    assert recorder.of(OWN) == ["STATE(CS_EXCHANGE_MEDIA)"] and recorder.of(None) == ["BRIDGE"]
    assert recorder.events[0].leg is not None and recorder.events[0].leg.other_leg == caller.uuid
    switchboard.hang_up(caller.uuid)
    assert switchboard.legs == ()


def test_a_number_that_refuses_may_be_a_users() -> None:
    switchboard, recorder = switch(refusals={"101": "USER_BUSY"})
    switchboard.dial_from_device(OWN, "101")
    switchboard.advance(0.05)
    assert recorder.causes() == {MATE: "USER_BUSY", OWN: "USER_BUSY"}
    # Who clicks to call does not refuse himself.
    switchboard.originate(MATE, FAR)
    switchboard.advance(0.06)
    assert switchboard.legs_of(MATE)[0].answered


# --- consulting on the same leg


def test_who_consults_on_his_leg_and_leaves_joins_the_other_two() -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE, {"a": "b"})
    (mate,) = switchboard.legs_of(MATE)
    assert mate.snapshot.variables["a"] == "b" and recorder.of(OWN) == recorder.of(None) == []
    switchboard.answer(mate.uuid)
    assert recorder.of(OWN) == ["BRIDGE"] and own.consulted is mate and joined(caller) is own
    assert own.snapshot.bridged_to == mate.uuid
    recorder.forget()
    switchboard.hang_up(own.uuid)
    assert recorder.of(OWN) == ["HANGUP", "UNBRIDGE", *END[1:]] and recorder.of(None) == ["UNBRIDGE"]
    switchboard.advance(0.02)
    assert joined(caller) is mate and recorder.of(None) == ["UNBRIDGE", "BRIDGE"]


def gone(switchboard: Switchboard, own: Leg, mate: Leg) -> None:
    switchboard.answer(mate.uuid)
    switchboard.hang_up(mate.uuid)


@pytest.mark.parametrize("how", [gone, lambda switchboard, own, mate: switchboard.hang_up(mate.uuid, "CALL_REJECTED")])
def test_without_the_consulted_one_the_first_call_goes_on(how: Callable[[Switchboard, Leg, Leg], None]) -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    (mate,) = switchboard.legs_of(MATE)
    how(switchboard, own, mate)
    assert joined(own) is caller and joined(caller) is own and own.snapshot.bridged_to == caller.uuid
    recorder.forget()
    switchboard.hang_up(own.uuid)
    # The caller's leg still leads the bridge.
    assert recorder.of(None) == ["UNBRIDGE", *END] and recorder.of(OWN) == END
    assert switchboard.legs == ()


def test_a_bridge_that_the_consulting_leg_led_is_led_by_it_again() -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    (mate,) = switchboard.legs_of(MATE)
    gone(switchboard, own, mate)
    recorder.forget()
    switchboard.hang_up(own.uuid)
    assert recorder.of(OWN).count("UNBRIDGE") == 1 and "UNBRIDGE" not in recorder.of(None)


def test_who_is_sent_away_from_a_consultation_leaves_the_first_call_as_it_was() -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    (mate,) = switchboard.legs_of(MATE)
    switchboard.answer(mate.uuid)
    recorder.forget()
    switchboard.transfer(mate.uuid, FAR)
    switchboard.advance(0.02)
    assert recorder.of(OWN) == ["UNBRIDGE"] and own.consulted is None and joined(own) is caller
    assert [leg.snapshot.party_number for leg in switchboard.legs] == [CALLER, "100", "101", FAR]


def test_who_waits_may_hang_up_while_somebody_is_consulted() -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    (mate,) = switchboard.legs_of(MATE)
    switchboard.answer(mate.uuid)
    switchboard.hang_up(caller.uuid)
    assert set(switchboard.legs) == {own, mate} and joined(own) is mate
    switchboard.hang_up(mate.uuid)
    assert switchboard.legs == ()


def test_who_waits_may_be_joined_with_somebody_else_while_somebody_is_consulted() -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    (mate,) = switchboard.legs_of(MATE)
    switchboard.answer(mate.uuid)
    other = switchboard.receive("0442223344", "support", "demo.local")
    switchboard.bridge(other.uuid, caller.uuid)
    switchboard.advance(0.02)
    assert joined(other) is caller and joined(own) is mate and own.consulted is None
    recorder.forget()
    switchboard.hang_up(mate.uuid)
    assert recorder.of(OWN) == ["UNBRIDGE", *END]


def test_who_consults_and_hangs_up_before_an_answer_ends_everything() -> None:
    switchboard, recorder = switch()
    own, _ = talking(switchboard, recorder)
    switchboard.consult(own.uuid, MATE)
    switchboard.hang_up(own.uuid)
    assert recorder.causes() == {OWN: "NORMAL_CLEARING", MATE: "ORIGINATOR_CANCEL", CALLER: "NORMAL_CLEARING"}
    assert switchboard.legs == ()


# --- names, numbers, recordings


def test_a_leg_is_renamed_and_whoever_points_at_it_follows() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    former = own.uuid
    switchboard.rename(former, "new")
    (event,) = recorder.events
    assert (event.name, event.former_uuid) == (SwitchEventName.CHANNEL_UUID, former)
    assert event.leg is not None and (event.leg.uuid, event.leg.call_uuid) == ("new", "new")
    assert (far.snapshot.bridged_to, far.snapshot.other_leg, far.snapshot.signal_bond) == ("new", "new", "new")
    assert switchboard.leg("new") is own and set(switchboard.legs) == {own, far}
    with pytest.raises(SwitchError, match="No such channel"):
        switchboard.leg(former)
    with pytest.raises(SwitchError):
        switchboard.rename("new", far.uuid)
    switchboard.hang_up("new")
    assert switchboard.legs == ()


def test_numbers_change_and_are_told_with_the_state() -> None:
    switchboard, recorder = switch()
    own, _ = talking(switchboard, recorder)
    switchboard.renumber(own.uuid, caller="1")
    switchboard.renumber(own.uuid, callee="2")
    assert recorder.of(OWN) == ["STATE(CS_EXCHANGE_MEDIA)"] * 2
    assert (own.snapshot.caller_number, own.snapshot.callee_number, own.snapshot.caller_name) == ("1", "2", CALLER)


def test_a_recording_begins_once_and_stops_with_the_leg() -> None:
    switchboard, recorder = switch()
    own, _ = talking(switchboard, recorder)
    for recorded in (True, True, False, False, True):
        switchboard.record(own.uuid, recorded)
    assert recorder.of(OWN) == ["RECORD_START", "RECORD_STOP", "RECORD_START"]
    recorder.forget()
    switchboard.hang_up(own.uuid)
    assert recorder.of(OWN) == [*END[:3], "RECORD_STOP", *END[3:]]


# --- users


def test_a_user_is_amended_without_a_word_and_removed_with_his_call_up() -> None:
    switchboard, recorder = switch()
    own, caller = talking(switchboard, recorder)
    assert switchboard.amend_account(OWN, password="new", role="admin").in_call
    assert switchboard.remove_account(OWN).password == "new"
    assert recorder.events == [] and [account.presence for account in switchboard.accounts] == [MATE]
    switchboard.hang_up(own.uuid)
    assert recorder.statuses() == [] and switchboard.legs == () and caller.ended
    for verb in (switchboard.remove_account, switchboard.amend_account):
        with pytest.raises(SwitchError, match="user not found"):
            verb(OWN)


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        (lambda switchboard: switchboard.eavesdrop("999@demo.local", "x"), "-ERR SUBSCRIBER_ABSENT"),
        (lambda switchboard: switchboard.ring("102@demo.local", CALLER), "-ERR USER_NOT_REGISTERED"),
        (lambda switchboard: switchboard.consult("x", MATE), "-ERR No such channel!"),
        (lambda switchboard: switchboard.rename("x", "y"), "-ERR No such channel!"),
        (lambda switchboard: switchboard.renumber("x", caller="1"), "-ERR No such channel!"),
        (lambda switchboard: switchboard.record("x", True), "-ERR No such channel!"),
        (lambda switchboard: switchboard.record(switchboard.incoming(CALLER, OWN)[1][0].uuid, True), "-ERR Operation failed"),
        (lambda switchboard: switchboard.consult(switchboard.incoming(CALLER, OWN)[0].uuid, MATE), "-ERR Operation failed"),
    ],
)
def test_what_the_switch_refuses_says_so_in_its_words(verb: Callable[[Switchboard], object], text: str) -> None:
    switchboard, _ = switch()
    switchboard.add_account("102", devices=(Device(registered=False),))
    with pytest.raises(SwitchError) as caught:
        verb(switchboard)
    assert caught.value.text == text
