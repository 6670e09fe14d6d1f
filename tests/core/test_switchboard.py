from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cti_framework.switchboard import (
    AnswerState,
    ChannelCallState,
    Clock,
    Device,
    FarSide,
    Leg,
    Switchboard,
    SwitchboardFarSide,
    SwitchError,
    SwitchEvent,
    SwitchEventName,
    SwitchOptions,
    drive,
)

OWN = "100@demo.local"
MATE = "101@demo.local"
FAR = "0501234567"
START = datetime(2026, 11, 22, 8, tzinfo=UTC)


class Recorder:
    """What the switch said, leg by leg."""

    def __init__(self, switchboard: Switchboard) -> None:
        self.events: list[SwitchEvent] = []
        switchboard.subscribe(self.events.append)

    def of(self, presence: str | None) -> list[str]:
        """The events of an account's legs, or of the outside legs."""
        return [
            event.name.value.removeprefix("CHANNEL_") + detail(event)
            for event in self.events
            if event.leg is not None and event.leg.presence == presence
        ]

    def statuses(self, presence: str = OWN) -> list[str]:
        return [event.account.state for event in self.events if event.account is not None and event.account.presence == presence]

    def causes(self) -> dict[str, str | None]:
        return {
            event.leg.presence or event.leg.party_number: event.leg.hangup_cause
            for event in self.events
            if event.leg is not None and event.name is SwitchEventName.CHANNEL_DESTROY
        }

    def forget(self) -> None:
        self.events.clear()


def detail(event: SwitchEvent) -> str:
    assert event.leg is not None
    if event.name is SwitchEventName.CHANNEL_STATE:
        return f"({event.leg.channel_state.name})"
    if event.name is SwitchEventName.CHANNEL_CALLSTATE:
        return f"({event.leg.call_state.value})"
    return f"({event.digit})" if event.digit else ""


def switch(**options: Any) -> tuple[Switchboard, Recorder]:
    switchboard = Switchboard(start=START, options=SwitchOptions(**options))
    switchboard.add_account("100")
    switchboard.add_account("101")
    return switchboard, Recorder(switchboard)


END = ["HANGUP", "CALLSTATE(HANGUP)", "STATE(CS_HANGUP)", "HANGUP_COMPLETE", "STATE(CS_REPORTING)", "DESTROY"]
END_OF_A_LEG = ["HANGUP", "UNBRIDGE", *END[1:]]
RINGS = ["STATE(CS_INIT)", "CREATE", "STATE(CS_ROUTING)", "STATE(CS_CONSUME_MEDIA)", "CALLSTATE(RINGING)"]


def joined(leg: Leg) -> Leg | None:
    """The leg's partner, read anew."""
    return leg.partner


def shown(leg: Leg) -> str:
    """The leg's call state, read anew."""
    return leg.snapshot.call_state.value


def connected(switchboard: Switchboard, recorder: Recorder) -> tuple[Leg, Leg]:
    """A click to call that the far end answered: own leg, far leg."""
    (own,) = switchboard.originate(OWN, FAR)
    switchboard.advance(0.06)
    (far,) = switchboard.legs_at(FAR)
    switchboard.answer(far.uuid)
    recorder.forget()
    return own, far


# --- calls


def test_a_click_to_call_rings_the_own_device_first_and_is_joined_when_the_far_end_answers() -> None:
    switchboard, recorder = switch()
    results: list[Leg | SwitchError] = []
    (own,) = switchboard.originate(OWN, FAR, variables={"order": "77"}, on_result=results.append)
    assert recorder.of(OWN) == RINGS
    assert (own.snapshot.caller_number, own.snapshot.callee_number, own.snapshot.destination) == (FAR, "100", "100")
    assert switchboard.legs == (own,) and not results
    recorder.forget()
    switchboard.advance(0.06)
    assert results == [own]
    assert recorder.of(OWN) == ["ANSWER", "CALLSTATE(ACTIVE)", "STATE(CS_ROUTING)", "STATE(CS_EXECUTE)"]
    assert (own.snapshot.caller_number, own.snapshot.callee_number, own.snapshot.destination) == ("100", FAR, FAR)
    assert recorder.of(None) == RINGS and joined(own) is None
    recorder.forget()
    (far,) = switchboard.legs_at(FAR)
    switchboard.advance(1)
    switchboard.answer(far.uuid)
    assert recorder.of(OWN) == ["BRIDGE"]
    assert recorder.of(None) == ["ANSWER", "CALLSTATE(ACTIVE)", "STATE(CS_EXCHANGE_MEDIA)"]
    assert joined(own) is far and joined(far) is own
    assert own.snapshot.variables["order"] == "77"
    assert (own.snapshot.peer_number, own.snapshot.outgoing, far.snapshot.outgoing) == (FAR, True, False)
    assert own.snapshot.answered_at == START + timedelta(seconds=0.06)


def test_ending_either_leg_ends_both_in_the_order_of_the_switch() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    switchboard.hang_up(own.uuid)
    assert recorder.of(OWN) == END_OF_A_LEG and recorder.of(None) == END
    own, far = connected(switchboard, recorder)
    switchboard.hang_up(far.uuid)
    assert recorder.of(OWN) == ["UNBRIDGE", *END] and recorder.of(None) == END
    assert switchboard.legs == () and own.ended and far.partner is None


def test_an_incoming_call_has_no_bridge_event_on_the_called_leg_and_gets_its_name_while_it_rings() -> None:
    switchboard, recorder = switch()
    caller, (own,) = switchboard.incoming("0671112233", OWN, name="ACME", variables={"data": "x"})
    created = next(event.leg for event in recorder.events if event.leg and event.leg.uuid == own.uuid)
    assert created.caller_name == "0671112233" and "data" not in created.variables
    assert own.snapshot.caller_name == "ACME" and own.snapshot.variables["data"] == "x"
    assert own.snapshot.other_leg == own.snapshot.call_uuid == caller.uuid
    recorder.forget()
    switchboard.answer(own.uuid)
    assert recorder.of(OWN) == ["ANSWER", "CALLSTATE(ACTIVE)", "STATE(CS_EXCHANGE_MEDIA)"]
    assert recorder.of(None) == ["ANSWER", "CALLSTATE(ACTIVE)", "BRIDGE"]
    assert own.snapshot.outgoing is False and own.snapshot.peer_number == "0671112233"


def test_a_desk_phone_dials_and_its_leg_is_answered_by_the_far_end() -> None:
    switchboard, recorder = switch(far_answer_seconds=2.0)
    own = switchboard.dial_from_device(OWN, FAR)
    assert recorder.of(OWN) == ["STATE(CS_INIT)", "CREATE", "CALLSTATE(RINGING)", "STATE(CS_ROUTING)", "STATE(CS_EXECUTE)"]
    assert own.snapshot.callee_number is None and own.snapshot.call_id is None and own.ringing
    recorder.forget()
    switchboard.advance(2)
    assert recorder.of(OWN) == ["ANSWER", "CALLSTATE(ACTIVE)", "BRIDGE"]
    assert own.snapshot.callee_number == FAR


def test_an_internal_number_rings_its_phones() -> None:
    switchboard, recorder = switch(device_answer_seconds=1.0)
    switchboard.originate(OWN, "101")
    switchboard.advance(0.06)
    assert recorder.of(MATE) == RINGS and switchboard.account(MATE).state == "ISBUSY"
    switchboard.advance(1)
    own, mate = switchboard.legs
    assert own.partner is mate and mate.snapshot.caller_number == "100" and own.snapshot.peer_name == "User 101"


def test_a_caller_who_gives_up_cancels_and_a_refusal_reaches_the_caller() -> None:
    switchboard, recorder = switch()
    caller, (own,) = switchboard.incoming("0671112233", OWN)
    switchboard.hang_up(caller.uuid)
    assert recorder.causes() == {"0671112233": "NORMAL_CLEARING", OWN: "ORIGINATOR_CANCEL"}
    caller, (own,) = switchboard.incoming("0671112233", OWN)
    switchboard.hang_up(own.uuid, "CALL_REJECTED")
    assert recorder.causes() == {"0671112233": "CALL_REJECTED", OWN: "CALL_REJECTED"}


@pytest.mark.parametrize(
    ("refusal", "own_cause"),
    [("USER_BUSY", "USER_BUSY"), ("CALL_REJECTED", "CALL_REJECTED"), ("NETWORK_OUT_OF_ORDER", "NORMAL_CLEARING")],
)
def test_a_number_that_refuses_ends_the_own_leg_with_what_callers_are_told(refusal: str, own_cause: str) -> None:
    switchboard, recorder = switch(refusals={FAR: refusal})
    switchboard.originate(OWN, FAR)
    switchboard.advance(1)
    assert recorder.causes() == {FAR: refusal, OWN: own_cause}


def test_nobody_answers() -> None:
    switchboard, recorder = switch(ring_timeout_seconds=30.0)
    switchboard.originate(OWN, FAR)
    switchboard.advance(31)
    assert recorder.causes() == {FAR: "NO_ANSWER", OWN: "NORMAL_CLEARING"}
    switchboard.options = attrs.evolve(switchboard.options, own_answer_seconds=None)
    results: list[Leg | SwitchError] = []
    switchboard.originate(OWN, FAR, on_result=results.append)
    switchboard.advance(31)
    assert [result.text for result in results if isinstance(result, SwitchError)] == ["-ERR NO_ANSWER"]
    assert switchboard.legs == () and switchboard.next_deadline is None


def test_two_phones_one_call_and_the_slower_one_loses_the_race() -> None:
    switchboard, recorder = switch()
    devices = (Device(number=1), Device(number=2, answer_seconds=2.0), Device(number=3, registered=False))
    switchboard.set_account(OWN, devices=devices)
    caller, (first, second) = switchboard.incoming("0671112233", OWN)
    assert first.snapshot.call_id == second.snapshot.call_id
    switchboard.hang_up(first.uuid, "USER_BUSY")
    assert not caller.ended
    switchboard.advance(2)
    assert caller.partner is second
    switchboard.hang_up(caller.uuid)
    caller, (first, second) = switchboard.incoming("0671112233", OWN)
    recorder.forget()
    switchboard.answer(first.uuid)
    assert recorder.causes() == {OWN: "LOSE_RACE"} and caller.partner is first


# --- hold, tones, joining others


def test_a_phone_that_is_picked_up_by_hand_alone_waits_for_its_user() -> None:
    switchboard, _ = switch(device_answer_seconds=1.0)
    switchboard.amend_account(OWN, devices=(Device(number=7, by_hand=True),))
    (leg,) = switchboard.originate(OWN, FAR)
    switchboard.advance(10)
    assert leg.ringing and leg.snapshot.device == 7
    switchboard.hang_up(leg.uuid)
    _, (leg,) = switchboard.incoming(FAR, OWN)
    switchboard.advance(10)
    assert leg.ringing
    switchboard.answer(leg.uuid)
    assert leg.answered


def test_a_phone_calls_and_is_routed_afterwards() -> None:
    switchboard, _ = switch()
    leg = switchboard.call_from_device(OWN, FAR, device=3, uuid="mine", name="Somebody", variables={"verto_dvar_x": "1"})
    now = leg.snapshot
    assert (now.uuid, now.device, now.caller_name, now.caller_number, now.destination) == ("mine", 3, "Somebody", "100", FAR)
    assert now.variables["verto_dvar_x"] == "1"
    assert switchboard.legs == (leg,)
    with pytest.raises(SwitchError, match="DESTINATION_OUT_OF_ORDER"):
        switchboard.call_from_device(OWN, FAR, device=3, uuid="mine")
    switchboard.route("mine")
    far = switchboard.legs_at(FAR)[0]
    assert far.snapshot.caller_name == "Somebody"
    with pytest.raises(SwitchError, match="Operation failed"):
        switchboard.route("mine")
    switchboard.answer(far.uuid)
    with pytest.raises(SwitchError, match="Operation failed"):
        switchboard.route("mine")
    with pytest.raises(SwitchError, match="No such channel"):
        switchboard.route("gone")


def test_the_switch_takes_care_of_numbers_of_its_own() -> None:
    switchboard, _ = switch(applications={"9196": "echo"})
    leg = switchboard.dial_from_device(OWN, "9196")
    assert leg.answered and leg.partner is None and leg.snapshot.application == "echo"
    switchboard.transfer(leg.uuid, FAR)
    switchboard.advance(1)
    (_, far) = switchboard.legs
    assert leg.snapshot.application == ""
    switchboard.answer(far.uuid)
    switchboard.transfer(far.uuid, "9196")
    switchboard.advance(1)
    assert switchboard.legs == (far,) and far.snapshot.application == "echo"


def test_the_caller_is_told_that_a_phone_was_lost_while_it_rang() -> None:
    switchboard, said = switch()
    switchboard.incoming(FAR, OWN)
    (leg,) = switchboard.legs_of(OWN)
    switchboard.hang_up(leg.uuid, "DESTINATION_OUT_OF_ORDER")
    assert said.causes() == {OWN: "DESTINATION_OUT_OF_ORDER", FAR: "DESTINATION_OUT_OF_ORDER"}


def test_a_hold_is_told_on_the_leg_that_holds_alone() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    switchboard.hold(own.uuid)
    assert recorder.of(OWN) == ["CALLSTATE(HELD)", "HOLD"] and own.snapshot.held
    recorder.forget()
    switchboard.unhold(own.uuid)
    assert recorder.of(OWN) == ["CALLSTATE(UNHELD)", "UNHOLD"]
    switchboard.advance(0.02)
    assert recorder.of(OWN)[-1] == "CALLSTATE(ACTIVE)"
    recorder.forget()
    switchboard.hold(far.uuid)
    switchboard.unhold(far.uuid)
    assert recorder.of(OWN) == []


def test_a_hold_again_before_the_media_came_leaves_no_late_active() -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    switchboard.hold(own.uuid)
    switchboard.unhold(own.uuid)
    switchboard.hold(own.uuid)
    switchboard.advance(1)
    assert own.snapshot.call_state is ChannelCallState.HELD


def test_a_passed_on_hold_shows_in_the_call_state_of_the_other_leg() -> None:
    switchboard, recorder = switch(proxy_hold=True)
    own, far = connected(switchboard, recorder)
    switchboard.hold(far.uuid)
    assert recorder.of(OWN) == ["CALLSTATE(HELD)"] and not own.snapshot.held
    switchboard.unhold(far.uuid)
    switchboard.advance(1)
    assert recorder.of(OWN) == ["CALLSTATE(HELD)", "CALLSTATE(UNHELD)", "CALLSTATE(ACTIVE)"]
    recorder.forget()
    switchboard.hold(own.uuid)
    switchboard.hold(far.uuid)
    switchboard.unhold(own.uuid)
    switchboard.advance(1)
    assert shown(own) == "HELD"
    switchboard.unhold(far.uuid)
    switchboard.advance(1)
    assert shown(own) == "ACTIVE"
    assert recorder.of(OWN).count("HOLD") == recorder.of(OWN).count("UNHOLD") == 1


def test_tones_are_one_event_a_key_and_none_while_the_leg_holds() -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    switchboard.tones(own.uuid, "12#x a")
    assert recorder.of(OWN) == ["DTMF(1)", "DTMF(2)", "DTMF(#)", "DTMF(A)"]
    switchboard.hold(own.uuid)
    recorder.forget()
    switchboard.tones(own.uuid, "1")
    assert recorder.of(OWN) == []


def test_a_blind_transfer_of_the_far_leg_ends_the_own_one_a_moment_later() -> None:
    switchboard, recorder = switch()
    own, far = connected(switchboard, recorder)
    switchboard.transfer(far.uuid, "101")
    assert recorder.of(OWN) == []
    switchboard.advance(0.02)
    assert recorder.of(OWN) == ["UNBRIDGE", *END] and own.ended
    (mate,) = switchboard.legs_of(MATE)
    assert mate.snapshot.caller_number == FAR
    switchboard.answer(mate.uuid)
    assert far.partner is mate


def test_a_caller_who_waits_can_be_sent_elsewhere() -> None:
    switchboard, recorder = switch()
    caller, (own,) = switchboard.incoming("0671112233", OWN)
    switchboard.transfer(caller.uuid, "101")
    switchboard.advance(0.02)
    assert own.ended and recorder.causes() == {OWN: "ORIGINATOR_CANCEL"} and switchboard.legs_of(MATE)


def test_a_bridge_of_two_far_legs_ends_both_own_ones() -> None:
    switchboard, recorder = switch()
    _, (first,) = switchboard.incoming("0671112233", OWN)
    switchboard.answer(first.uuid)
    switchboard.hold(first.uuid)
    caller = first.partner
    assert caller is not None
    _, far = connected(switchboard, recorder)
    switchboard.bridge(caller.uuid, far.uuid)
    assert recorder.of(OWN) == ["UNBRIDGE"] and not first.ended
    switchboard.advance(0.02)
    assert recorder.of(OWN) == ["UNBRIDGE", *END, *END]
    assert caller.partner is far and caller.leads_bridge and far.snapshot.peer_number == "0671112233"
    assert switchboard.account(OWN).state == "ONHOOK"


# --- accounts, time, listeners


def test_an_account_is_busy_from_its_first_leg_to_its_last() -> None:
    switchboard, recorder = switch()
    own, _ = connected(switchboard, recorder)
    switchboard.incoming("0671112233", OWN)
    assert recorder.statuses() == []
    switchboard.hang_up(own.uuid)
    assert recorder.statuses() == []
    switchboard.hang_up(switchboard.legs_of(OWN)[0].uuid)
    assert recorder.statuses() == ["ONHOOK"]
    switchboard.set_status(OWN, "ONBREAK", "lunch")
    assert switchboard.account(OWN).description == "lunch"
    switchboard.set_registered(OWN, False)
    assert recorder.statuses() == ["ONHOOK", "ISBUSY", "NONREG"]
    switchboard.set_account(OWN, agent_status="Available")
    assert switchboard.account(OWN).agent_status == "Available"


def test_the_same_seed_gives_the_same_identifiers() -> None:
    def run(seed: int) -> list[SwitchEvent]:
        switchboard = Switchboard(seed)
        switchboard.add_account("100")
        recorder = Recorder(switchboard)
        switchboard.originate(OWN, FAR)
        switchboard.advance(100)
        return recorder.events

    assert run(1) == run(1) != run(2)


def test_a_listener_may_operate_the_switch_and_all_see_one_order() -> None:
    switchboard, _ = switch()
    seen: list[str] = []

    def refuse(event: SwitchEvent) -> None:
        if event.name is SwitchEventName.CHANNEL_CREATE and event.leg is not None and event.leg.presence == OWN:
            switchboard.hang_up(event.leg.uuid, "USER_BUSY")

    def watch(event: SwitchEvent) -> None:
        if event.leg is not None and event.leg.presence == OWN:
            seen.append(event.name.value)

    switchboard.subscribe(refuse)
    unsubscribe = switchboard.subscribe(watch)
    switchboard.incoming("0671112233", OWN)
    assert seen[-1] == "CHANNEL_DESTROY" and seen.count("CHANNEL_DESTROY") == 1
    assert switchboard.legs == ()
    unsubscribe()
    unsubscribe()
    seen.clear()
    switchboard.incoming("0671112233", OWN)
    assert seen == []


def test_billed_seconds_count_the_seconds_of_the_clock() -> None:
    switchboard, recorder = switch(own_answer_seconds=0.9)
    (own,) = switchboard.originate(OWN, FAR)
    switchboard.advance(1.1)
    switchboard.hang_up(own.uuid)
    billed = {event.name: event.leg.bill_seconds for event in recorder.events if event.leg and event.leg.uuid == own.uuid}
    assert billed[SwitchEventName.CHANNEL_HANGUP] == 0
    assert billed[SwitchEventName.CHANNEL_HANGUP_COMPLETE] == billed[SwitchEventName.CHANNEL_DESTROY] == 1


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        (lambda board: board.answer("x"), "-ERR No such channel!"),
        (lambda board: board.hang_up("x"), "-ERR No such channel!"),
        (lambda board: board.hold("x"), "-ERR No such channel!"),
        (lambda board: board.transfer("x", "1"), "-ERR No such channel!"),
        (lambda board: board.set_variable("x", "a", "b"), "-ERR No such channel!"),
        (lambda board: board.tones("x", "1"), "-ERR Cannot locate session!"),
        (lambda board: board.bridge("x", "y"), "-ERR Invalid uuid"),
        (lambda board: board.originate("999@demo.local", "1"), "-ERR SUBSCRIBER_ABSENT"),
        (lambda board: board.account("999@demo.local"), "-ERR user not found!"),
    ],
)
def test_what_the_switch_refuses_says_so_in_its_words(verb: Callable[[Switchboard], object], text: str) -> None:
    switchboard, _ = switch()
    with pytest.raises(SwitchError) as refusal:
        verb(switchboard)
    assert refusal.value.text == text and refusal.value.cause == text.removeprefix("-ERR ")


def test_an_unregistered_account_can_neither_call_nor_be_called() -> None:
    switchboard, recorder = switch()
    switchboard.set_registered(OWN, False)
    for verb in (
        lambda: switchboard.originate(OWN, FAR),
        lambda: switchboard.dial_from_device(OWN, FAR),
        lambda: switchboard.incoming("1", OWN),
    ):
        with pytest.raises(SwitchError, match="USER_NOT_REGISTERED"):
            verb()
    assert recorder.causes() == {"1": "USER_NOT_REGISTERED"} and switchboard.legs == ()


def test_a_reset_forgets_the_legs_without_a_word_and_leaves_other_timers() -> None:
    switchboard, recorder = switch(far_answer_seconds=1.0)
    own, far = connected(switchboard, recorder)
    switchboard.incoming("0671112233", OWN)
    switchboard.bridge(own.uuid, far.uuid)
    recorder.forget()
    fired: list[datetime] = []
    switchboard.call_later(5, lambda: fired.append(switchboard.now))
    switchboard.reset()
    switchboard.advance(100)
    assert recorder.events == [] and switchboard.legs == () and switchboard.account(OWN).state == "ONHOOK"
    assert len(fired) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"own_answer_seconds": -1},
        {"media_seconds": None},
        {"proxy_hold": 1},
        {"refusals": []},
        {"refusals": {"1": 2}},
        {"applications": {"1": 2}},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SwitchOptions(**options)


def test_timers_fire_in_order_each_at_its_own_time() -> None:
    clock = Clock(START)
    fired: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: fired.append((name, clock.elapsed_seconds))

    clock.call_later(2, note("late"))
    clock.call_later(1, note("early"))
    clock.call_later(1, note("early too"))
    clock.call_later(1, note("never")).cancel()

    def set_another() -> None:
        clock.call_later(0.5, note("nested"))

    clock.call_later(1, set_another)
    assert clock.next_deadline_seconds == 1
    clock.advance(1.75)
    assert fired == [("early", 1), ("early too", 1), ("nested", 1.5)]
    assert clock.now == START + timedelta(seconds=1.75)
    clock.call_later(0, lambda: clock.advance(1))
    with pytest.raises(RuntimeError, match="turn"):
        clock.advance(1)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="aware"):
        Clock(datetime(2026, 1, 1))  # just that is refused


@pytest.mark.anyio
async def test_a_driven_switchboard_follows_real_time_and_wakes_for_new_timers() -> None:
    switchboard, _ = switch(far_answer_seconds=0.01)
    switchboard.advance(10)
    bridged = anyio.Event()
    switchboard.subscribe(lambda event: bridged.set() if event.name is SwitchEventName.CHANNEL_BRIDGE else None)
    async with anyio.create_task_group() as tasks:
        await tasks.start(drive, switchboard)
        with pytest.raises(RuntimeError, match="by hand"):
            switchboard.advance(1)
        with pytest.raises(RuntimeError, match="already"):
            await drive(switchboard)
        switchboard.originate(OWN, FAR)
        with anyio.fail_after(5):
            await bridged.wait()
        assert START + timedelta(seconds=10) < switchboard.now < START + timedelta(seconds=20)
        tasks.cancel_scope.cancel()
    switchboard.advance(1)
    assert switchboard.now > START + timedelta(seconds=11)


@pytest.mark.anyio
async def test_the_far_side_of_a_switchboard() -> None:
    switchboard, recorder = switch()
    cuts: list[bool] = []
    far_side: FarSide = SwitchboardFarSide(switchboard, OWN, lambda: cuts.append(True))

    async def cut() -> None:
        cuts.append(False)

    await SwitchboardFarSide(switchboard, OWN, cut).drop_network()
    assert cuts.pop() is False
    assert isinstance(far_side, FarSide)
    call_id = await far_side.incoming("0671112233", "ACME")
    (own,) = switchboard.legs_of(OWN)
    assert own.snapshot.call_id == call_id
    await far_side.answer_own()
    await far_side.hold("0671112233")
    await far_side.unhold("0671112233")
    await far_side.tones("0671112233", "5")
    await far_side.hang_up("0671112233", "NORMAL_CLEARING")
    assert switchboard.legs == ()
    switchboard.originate(OWN, FAR)
    switchboard.advance(0.06)
    await far_side.answer(FAR)
    assert recorder.of(OWN)[-1] == "BRIDGE"
    await far_side.drop_network()
    assert cuts == [True]
    for attempt in (far_side.answer("1"), far_side.hold("1"), far_side.answer_own(), far_side.tones(FAR, "x")):
        with pytest.raises(SwitchError):
            await attempt


# --- anything, in any order


class Walk(RuleBasedStateMachine):
    """Whatever is done in whatever order: only refusals are raised, and the switch's story holds together."""

    numbers = st.sampled_from(["100", "101", "102", FAR, "0500000000", "102@demo.local"])
    accounts = st.sampled_from([OWN, MATE, "102@demo.local"])
    picks = st.integers(0, 7)

    def __init__(self) -> None:
        super().__init__()
        self.switchboard, self.recorder = switch(
            far_answer_seconds=3.0, refusals={"0500000000": "USER_BUSY"}, ring_timeout_seconds=20.0
        )
        self.switchboard.add_account("102", devices=(Device(number=1), Device(number=2, answer_seconds=2.0)))
        self.results = 0
        self.originated = 0

    def leg(self, pick: int) -> str:
        legs = self.switchboard.legs
        return legs[pick % len(legs)].uuid if legs else "none"

    def attempt(self, verb: Callable[[], object]) -> bool:
        try:
            verb()
        except SwitchError:
            return False
        return True

    def count_result(self, result: Leg | SwitchError) -> None:
        self.results += 1

    @rule(account=accounts, number=numbers)
    def originate(self, account: str, number: str) -> None:
        self.originated += self.attempt(lambda: self.switchboard.originate(account, number, on_result=self.count_result))

    @rule(account=accounts, number=numbers)
    def dial(self, account: str, number: str) -> None:
        self.attempt(lambda: self.switchboard.dial_from_device(account, number))

    @rule(account=accounts)
    def incoming(self, account: str) -> None:
        self.attempt(lambda: self.switchboard.incoming("0671112233", account, name="ACME"))

    @rule(pick=picks)
    def answer(self, pick: int) -> None:
        self.attempt(lambda: self.switchboard.answer(self.leg(pick)))

    @rule(pick=picks, cause=st.sampled_from([None, "USER_BUSY", "nonsense"]))
    def hang_up(self, pick: int, cause: str | None) -> None:
        self.attempt(lambda: self.switchboard.hang_up(self.leg(pick), cause))

    @rule(pick=picks)
    def hold(self, pick: int) -> None:
        self.attempt(lambda: self.switchboard.hold(self.leg(pick)))

    @rule(pick=picks)
    def unhold(self, pick: int) -> None:
        self.attempt(lambda: self.switchboard.unhold(self.leg(pick)))

    @rule(pick=picks, digits=st.text(max_size=3))
    def tones(self, pick: int, digits: str) -> None:
        self.attempt(lambda: self.switchboard.tones(self.leg(pick), digits))

    @rule(pick=picks, number=numbers)
    def transfer(self, pick: int, number: str) -> None:
        self.attempt(lambda: self.switchboard.transfer(self.leg(pick), number))

    @rule(first=picks, second=picks)
    def bridge(self, first: int, second: int) -> None:
        self.attempt(lambda: self.switchboard.bridge(self.leg(first), self.leg(second)))

    @rule(account=accounts, pick=picks)
    def eavesdrop(self, account: str, pick: int) -> None:
        target = self.leg(pick)
        self.originated += self.attempt(lambda: self.switchboard.eavesdrop(account, target, on_result=self.count_result))

    @rule(account=accounts)
    def ring(self, account: str) -> None:
        self.attempt(lambda: self.switchboard.ring(account, "0671112233"))

    @rule()
    def receive(self) -> None:
        self.switchboard.receive("0442223344", "support", "demo.local")

    @rule(pick=picks, account=accounts)
    def consult(self, pick: int, account: str) -> None:
        self.attempt(lambda: self.switchboard.consult(self.leg(pick), account))

    @rule(pick=picks)
    def rename(self, pick: int) -> None:
        self.attempt(lambda: self.switchboard.rename(self.leg(pick), self.switchboard.new_id()))

    @rule(pick=picks, recorded=st.booleans())
    def record(self, pick: int, recorded: bool) -> None:
        self.attempt(lambda: self.switchboard.record(self.leg(pick), recorded))

    @rule(account=accounts, registered=st.booleans())
    def register(self, account: str, registered: bool) -> None:
        self.switchboard.set_registered(account, registered)

    @rule(proxy_hold=st.booleans())
    def pass_holds_on(self, proxy_hold: bool) -> None:
        self.switchboard.options = attrs.evolve(self.switchboard.options, proxy_hold=proxy_hold)

    @rule(seconds=st.sampled_from([0.01, 0.02, 0.06, 1.0, 3.0, 25.0]))
    def advance(self, seconds: float) -> None:
        self.switchboard.advance(seconds)

    @invariant()
    def legs_hang_together(self) -> None:
        for leg in self.switchboard.legs:
            assert not leg.ended
            if leg.partner is not None:
                assert leg.partner.partner is leg and leg.answered and leg.partner.answered
                assert leg.leads_bridge is not leg.partner.leads_bridge
                assert leg.snapshot.bridged_to == (leg.consulted or leg.partner).uuid
            if leg.rings_in is not None:
                assert leg.ringing and leg in leg.rings_in.legs
            assert self.switchboard.leg(leg.uuid) is leg
            assert all(listener.listens_to is leg and listener.answered for listener in leg.listeners)
            if leg.listens_to is not None:
                assert leg in leg.listens_to.listeners and not leg.listens_to.ended
            if leg.consulted is not None:
                assert leg.consulted.consulted_by is leg and not leg.consulted.ended and leg.partner is not None
            if leg.consulted_by is not None:
                assert leg.consulted_by.consulted is leg and not leg.consulted_by.ended and leg.partner is None
        for account in self.switchboard.accounts:
            assert account.in_call is bool(self.switchboard.legs_of(account.presence))

    def teardown(self) -> None:
        for leg in self.switchboard.legs:
            self.attempt(lambda leg=leg: self.switchboard.hang_up(leg.uuid))  # type: ignore[misc]  # bound to this leg
        self.switchboard.advance(100)
        assert self.switchboard.legs == ()
        assert self.results == self.originated
        told: dict[str, list[SwitchEvent]] = {}
        for event in self.recorder.events:
            if event.leg is not None:
                if event.former_uuid is not None:
                    told[event.leg.uuid] = told.pop(event.former_uuid)
                told.setdefault(event.leg.uuid, []).append(event)
        for events in told.values():
            self.check_story(events)

    @staticmethod
    def check_story(events: list[SwitchEvent]) -> None:
        names = [event.name for event in events]
        assert names[:2] == [SwitchEventName.CHANNEL_STATE, SwitchEventName.CHANNEL_CREATE]
        assert names[-1] is SwitchEventName.CHANNEL_DESTROY
        for once in (SwitchEventName.CHANNEL_CREATE, SwitchEventName.CHANNEL_HANGUP, SwitchEventName.CHANNEL_DESTROY):
            assert names.count(once) == 1
        assert names.count(SwitchEventName.CHANNEL_ANSWER) <= 1
        for begin, end, most in PAIRS:
            depth = 0
            for name in names:
                depth += (name == begin) - (name == end)
                assert 0 <= depth <= most, begin
        shown = ChannelCallState.DOWN
        for event in events:
            assert event.leg is not None
            if event.name is SwitchEventName.CHANNEL_CALLSTATE:
                assert event.former_call_state is shown
                shown = event.leg.call_state
        assert shown is ChannelCallState.HANGUP
        assert [event.at for event in events] == sorted(event.at for event in events)
        last = events[-1].leg
        assert last is not None and last.answer_state is AnswerState.HANGUP and last.hangup_cause is not None


# What begins and ends, and how often it may have begun: who consults somebody on his leg has a bridge within the other.
PAIRS = (("CHANNEL_HOLD", "CHANNEL_UNHOLD", 1), ("CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE", 2), ("RECORD_START", "RECORD_STOP", 1))

TestWalk = pytest.mark.timeout(300)(Walk.TestCase)
