"""What is done with the web phone's calls: which of the two ways each command goes, and what it does to the sound."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import anyio
import pytest

from cti_framework.calls import CallDirection, CallFeature, CallState, Side
from cti_framework.errors import CommandError, CommandRefusedError, CommandStage, CommandUnconfirmedError
from cti_framework.events import CallConnected, CallFinished, CallStarted, DtmfEntered, ErrorOccurred, WebRtcStarted
from cti_framework.media.errors import SdpError
from cti_webitel.web_phone.phone_call import HoldInDoubt, PhoneNews
from tests.webitel.sessions import FAR, OWN, Tap
from tests.webitel.verto_server import OFFER
from tests.webitel.web_phone_bench import SDP, PhoneBench, hasten, phone_bench, ring_alone, ring_both, talk

pytestmark = pytest.mark.anyio

MUTE = CallFeature.MUTE
CALL = "33333333-0000-4000-8000-000000000001"
FAR_LEG = "22222222-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def dial(bench: PhoneBench, *, by_engine: bool = True) -> str:
    """Make a call by the phone; give its dialog."""
    dialogs: list[str] = []

    async def serve() -> None:
        asked = await bench.server.asked("verto.invite")
        dialogs.append(asked["params"]["dialogParams"]["callID"])
        if by_engine:
            bench.simulator.switchboard.call_from_device(OWN, FAR, device=1, uuid=dialogs[0])
            bench.simulator.switchboard.route(dialogs[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        call = await bench.model.make_call(FAR)
    assert call.direction is CallDirection.OUT
    assert call.other.number == FAR
    return dialogs[0]


async def nothing_more(bench: PhoneBench) -> None:
    """Give whatever could be done by itself the time to be done."""
    for _ in range(3):
        await anyio.wait_all_tasks_blocked()
        await bench.phone.client.ping()


# --- calling


async def test_a_call_goes_by_the_phone() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        dialog = await dial(bench)
        assert bench.call().id == dialog
        asked = await bench.server.asked("verto.invite")
        assert asked["params"]["sdp"] == SDP
        assert asked["params"]["dialogParams"]["destination_number"] == FAR
        await bench.until(lambda: bench.told(WebRtcStarted))
        await bench.server.say("verto.answer", callID=dialog, sdp=OFFER)
        await bench.simulator.answer(FAR)
        await bench.until(lambda: bench.told(CallConnected))
        assert "set_remote" in bench.peers.of(dialog).steps
        assert MUTE in bench.call().features
        assert tap.asked("call") == []
        assert len(bench.told(CallStarted)) == 1
        assert bench.model.refused_reports == {}


async def test_a_call_that_the_engine_does_not_show() -> None:
    async with phone_bench() as bench:
        dialog = await dial(bench, by_engine=False)
        assert bench.call().id == dialog
        await bench.server.say("verto.answer", callID=dialog, sdp=OFFER)
        await bench.until(lambda: bench.told(CallConnected))
        await bench.server.say("verto.bye", callID=dialog, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.told(CallFinished))


async def test_media_before_the_answer_is_the_calls_media() -> None:
    """The answer has none then; where it repeats it, the sound that is there goes on."""
    async with phone_bench() as bench:
        dialog = await dial(bench, by_engine=False)
        await bench.server.say("verto.media", callID=dialog, sdp=OFFER)
        await bench.until(lambda: "set_remote" in bench.peers.of(dialog).steps)
        await bench.server.say("verto.answer", callID=dialog, sdp=OFFER)
        await bench.until(lambda: bench.told(CallConnected))
        await nothing_more(bench)
        assert bench.peers.of(dialog).steps.count("set_remote") == 1
        assert bench.told(ErrorOccurred) == []
        assert "verto.bye" not in bench.server.methods()


async def test_an_answer_that_says_nothing_of_media_ends_the_call() -> None:
    """It would be silent, and look like any other."""
    async with phone_bench() as bench:
        dialog = await dial(bench, by_engine=False)
        await bench.server.say("verto.answer", callID=dialog)
        asked = await bench.server.asked("verto.bye")
        assert asked["params"]["dialogParams"]["callID"] == dialog
        await bench.until(lambda: bench.told(ErrorOccurred))
        assert [type(told.error) for told in bench.told(ErrorOccurred)] == [SdpError]


async def test_a_number_that_nobody_has() -> None:
    async with phone_bench() as bench:

        async def refuse() -> None:
            asked = await bench.server.asked("verto.invite")
            dialog = asked["params"]["dialogParams"]["callID"]
            await bench.server.say("verto.bye", callID=dialog, causeCode=1, cause="UNALLOCATED_NUMBER")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refuse)
            with pytest.raises(CommandRefusedError) as raised:
                await bench.model.make_call(FAR)
        assert raised.value.pbx_text == "UNALLOCATED_NUMBER"
        assert bench.model.calls == ()
        assert bench.peers.open == 0


async def test_an_invite_that_is_refused() -> None:
    async with phone_bench() as bench:
        bench.server.refusals["verto.invite"] = {"code": -32002, "message": "CALL ERROR", "cause": "DESTINATION_OUT_OF_ORDER"}
        with pytest.raises(CommandRefusedError):
            await bench.model.make_call(FAR)
        await bench.until(lambda: bench.peers.open == 0)
        assert not bench.phone.calls


async def test_an_invite_that_is_not_answered_is_hung_up() -> None:
    """It may ring all the same, and nobody is told of it."""
    async with phone_bench(command_timeout_seconds=0.3) as bench:
        bench.server.silent.add("verto.invite")
        with pytest.raises(CommandUnconfirmedError):
            await bench.model.make_call(FAR)
        invited = await bench.server.asked("verto.invite")
        asked = await bench.server.asked("verto.bye")
        assert asked["params"]["dialogParams"]["callID"] == invited["params"]["dialogParams"]["callID"]
        await bench.until(lambda: bench.peers.open == 0)
        assert bench.server.methods().count("verto.invite") == 1


async def test_without_a_connection_the_engine_rings_the_desk_phone() -> None:
    async with phone_bench(before=lambda _, server: server.refusals.update(login={"code": -32001, "message": "x"})) as bench:
        assert not bench.phone.connected
        tap = Tap(bench.simulator)
        call = await bench.model.make_call(FAR)
        assert call.direction is CallDirection.OUT
        assert len(tap.asked("call")) == 1
        assert bench.peers.made == []


# --- hold, keys, mute


async def test_hold_goes_by_the_phone_and_silences_at_once() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        leg = await talk(bench)
        peer = bench.peers.of(leg)

        async def switch() -> None:
            await bench.server.asked("verto.modify")
            assert peer.held
            bench.simulator.switchboard.hold(leg)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(switch)
            await bench.model.hold_call()
        await bench.until(lambda: bench.call().held_by == {Side.OWN})
        await bench.model.unhold_call()
        bench.simulator.switchboard.unhold(leg)
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        assert not peer.held
        actions = [request["params"]["action"] for request in bench.server.requests if request["method"] == "verto.modify"]
        assert actions == ["hold", "unhold"]
        assert tap.asked("hold") == tap.asked("unhold") == []


async def test_a_hold_that_is_refused_lets_the_call_be_heard_again() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.server.refusals["verto.modify"] = {"code": -32002, "message": "no"}
        with pytest.raises(CommandRefusedError):
            await bench.model.hold_call()
        assert not bench.peers.of(leg).held
        assert bench.call().state is CallState.CONNECTED


@pytest.mark.parametrize("took_it", [True, False])
async def test_a_hold_that_is_not_confirmed_silences_only_a_call_that_is_held(took_it: bool) -> None:
    async with phone_bench(command_timeout_seconds=0.3) as bench:
        leg = await talk(bench)
        bench.server.silent.add("verto.modify")
        told: list[PhoneNews] = []
        tell = bench.phone._on_news

        def on_news(news: PhoneNews) -> None:
            told.append(news)
            tell(news)

        vars(bench.phone)["_on_news"] = on_news

        async def take() -> None:
            await bench.server.asked("verto.modify")
            assert bench.peers.of(leg).held
            if took_it:
                bench.simulator.switchboard.hold(leg)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            with pytest.raises(CommandUnconfirmedError):
                await bench.model.hold_call()
        await bench.until(lambda: any(isinstance(news, HoldInDoubt) for news in told))
        assert bench.peers.of(leg).held is took_it
        assert bench.call().state is (CallState.HELD if took_it else CallState.CONNECTED)


async def test_a_hold_by_another_program_silences_the_microphone() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.simulator.switchboard.hold(leg)
        await bench.until(lambda: bench.call().state is CallState.HELD)
        assert bench.peers.of(leg).held
        bench.simulator.switchboard.unhold(leg)
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        assert not bench.peers.of(leg).held


async def test_a_call_at_the_desk_phone_is_held_by_the_engine() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        leg = bench.ring_engine().uuid
        await bench.until(lambda: bench.model.calls)
        bench.simulator.switchboard.answer(leg)
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        await bench.model.hold_call()
        await bench.until(lambda: bench.call().state is CallState.HELD)
        await bench.model.unhold_call()
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        await bench.model.send_dtmf("5")
        assert [len(tap.asked(name)) for name in ("hold", "unhold", "dtmf")] == [1, 1, 1]
        assert bench.server.methods() == ["login"]


async def test_keys_go_by_the_phone() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        await talk(bench)
        await bench.model.send_dtmf("12#")
        asked = await bench.server.asked("verto.info")
        assert asked["params"]["dtmf"] == "12#"
        assert tap.asked("dtmf") == []


async def test_keys_of_a_call_of_the_phones_alone_are_told_here() -> None:
    async with phone_bench() as bench:
        await ring_alone(bench)
        await bench.model.answer_call()
        await bench.until(lambda: bench.told(CallConnected))
        await bench.model.send_dtmf("7")
        await bench.until(lambda: bench.told(DtmfEntered))
        (tone,) = bench.told(DtmfEntered)
        assert (tone.digits, tone.by) == ("7", Side.OWN)


async def test_mute() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        sent = len(bench.server.requests)
        await bench.model.set_mute(True)
        assert bench.peers.of(leg).muted
        assert bench.call().muted
        await bench.model.set_mute(False)
        assert not bench.peers.of(leg).muted
        assert not bench.call().muted
        assert len(bench.server.requests) == sent


# --- hanging up


async def test_hanging_up_goes_by_the_engine() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        leg = await talk(bench)
        await bench.model.drop_call()
        await bench.until(lambda: bench.told(CallFinished))
        assert len(tap.asked("hangup")) == 1
        await bench.server.say("verto.bye", callID=leg, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.peers.open == 0)
        assert "verto.bye" not in bench.server.methods()


async def test_a_call_that_the_engine_does_not_know_any_more_is_hung_up_by_the_phone() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        leg = await talk(bench)
        tap.answers["hangup"] = ("-ERR", "-ERR No such channel!\n")
        await bench.model.drop_call()
        asked = await bench.server.asked("verto.bye")
        assert asked["params"]["dialogParams"]["callID"] == leg
        await bench.until(lambda: bench.peers.open == 0)


async def test_a_dialog_whose_call_is_over_for_the_engine_is_hung_up() -> None:
    """Nobody sees it any more, and the microphone would go on."""
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.simulator.switchboard.hang_up(leg)
        await bench.until(lambda: bench.told(CallFinished))
        asked = await bench.server.asked("verto.bye")
        assert asked["params"]["dialogParams"]["callID"] == leg
        await bench.until(lambda: bench.peers.open == 0)
        assert len(bench.told(CallStarted)) == 1


async def test_a_leg_that_the_engine_goes_on_showing_is_asked_for() -> None:
    async with phone_bench() as bench:
        tap = Tap(bench.simulator)
        leg = await talk(bench)
        # The look that follows each log in is over.
        await tap.until_asked("show_channel")
        # The engine tells no end: it is told to nobody that the switch hung up.
        for session in bench.simulator.engine.sessions:
            session.is_mute = lambda: True
        bench.simulator.switchboard.hang_up(leg)
        for session in bench.simulator.engine.sessions:
            session.is_mute = lambda: False
        await bench.server.say("verto.bye", callID=leg, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.told(CallFinished))
        assert len(tap.asked("show_channel")) == 3


# --- two calls


async def test_an_enquiry_is_picked_up_by_the_phone() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        tap = Tap(bench.simulator)

        async def switch() -> None:
            await bench.server.asked("verto.modify")
            bench.simulator.switchboard.hold(leg)
            await tap.until_asked("att_xfer2")
            await bench.until(lambda: len(bench.model.calls) == 2)
            own = next(own for own in bench.simulator.switchboard.legs_of(OWN) if own.uuid != leg)
            await bench.ring_phone(own.uuid)
            asked = await bench.server.asked("verto.answer", 2)
            assert asked["params"]["dialogParams"]["callID"] == own.uuid
            bench.simulator.switchboard.answer(own.uuid)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(switch)
            await bench.model.make_consult_call("101")
        consult = bench.model.consult_call
        assert consult is not None
        await bench.until(lambda: (call := bench.model.consult_call) is not None and call.answered_at)
        assert bench.peers.of(leg).held
        assert bench.server.methods().count("verto.answer") == 2


async def test_what_another_program_asks_for_is_not_picked_up() -> None:
    """Whoever can ask the engine for a call of this account would listen to the room."""
    async with phone_bench() as bench:
        bench.simulator.switchboard.originate(OWN, FAR, variables={"w_jsclient_originate_number": FAR})
        await bench.until(lambda: bench.model.calls)
        leg = bench.simulator.switchboard.legs_of(OWN)[0].uuid
        await bench.ring_phone(leg)
        await bench.until(lambda: leg in bench.phone.calls)
        await nothing_more(bench)
        assert "verto.answer" not in bench.server.methods()
        assert bench.peers.made == []


@pytest.mark.parametrize("at_the_phone", [True, False])
async def test_an_enquiry_that_another_program_asks_for(at_the_phone: bool) -> None:
    """It is picked up where the operator talks here already: his microphone is open for the first call."""
    async with phone_bench() as bench:
        if at_the_phone:
            await talk(bench)
        else:
            desk = bench.ring_engine().uuid
            await bench.until(lambda: bench.model.calls)
            bench.simulator.switchboard.answer(desk)
            await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        parent = bench.call().id
        before = bench.server.methods().count("verto.answer")
        leg = str(uuid4())
        variables = {"variable_w_jsclient_xtransfer": parent, "variable_w_jsclient_originate_number": "101"}
        bench.engine_says("CHANNEL_CREATE", leg, FAR_LEG, CALL, **variables)
        await bench.until(lambda: len(bench.model.calls) == 2)
        await bench.ring_phone(leg)
        await bench.until(lambda: leg in bench.phone.calls)
        if at_the_phone:
            await bench.server.asked("verto.answer", 2)
        else:
            await nothing_more(bench)
            assert bench.server.methods().count("verto.answer") == before == 0


@pytest.mark.parametrize(
    ("setting", "variables", "picks_up"),
    [
        ("never", {"variable_w_jsclient_auto_answer": "true"}, False),
        ("by_variable", {"variable_w_jsclient_auto_answer": "true"}, True),
        ("by_variable", {}, False),
        ("always", {}, True),
    ],
)
async def test_answering_by_itself(setting: str, variables: dict[str, str], picks_up: bool) -> None:
    async with phone_bench(web_phone_auto_answer=setting) as bench:
        leg = str(uuid4())
        bench.engine_says("CHANNEL_CREATE", leg, FAR_LEG, CALL, **variables)
        await bench.until(lambda: bench.model.calls)
        await bench.ring_phone(leg)
        await bench.until(lambda: leg in bench.phone.calls)
        if picks_up:
            await bench.server.asked("verto.answer")
        else:
            await nothing_more(bench)
            assert "verto.answer" not in bench.server.methods()


async def test_a_second_call_that_is_answered_holds_the_first() -> None:
    async with phone_bench() as bench:
        first = await talk(bench)
        second = bench.ring_engine().uuid
        await bench.until(lambda: len(bench.model.calls) == 2)
        await bench.ring_phone(second)
        # It is not heard to ring: somebody talks.
        ringing = bench.model.calls[1]
        await bench.until(lambda: CallFeature.ANSWER in bench.model.calls[1].features)
        assert bench.peers.rings == []
        await bench.model.answer_call(ringing)
        asked = await bench.server.asked("verto.modify")
        assert (asked["params"]["action"], asked["params"]["dialogParams"]["callID"]) == ("hold", first)
        assert bench.peers.of(first).held
        assert not bench.peers.of(second).held


async def test_always_answering_leaves_a_call_alone_that_comes_beside_another() -> None:
    async with phone_bench(web_phone_auto_answer="always") as bench:
        first = bench.ring_engine().uuid
        await bench.until(lambda: bench.model.calls)
        await bench.ring_phone(first)
        await bench.server.asked("verto.answer")
        second = bench.ring_engine().uuid
        await bench.until(lambda: len(bench.model.calls) == 2)
        await bench.ring_phone(second)
        await bench.until(lambda: second in bench.phone.calls)
        await nothing_more(bench)
        assert bench.server.methods().count("verto.answer") == 1


# --- what must not act twice


async def test_answering_twice_at_once() -> None:
    async with phone_bench() as bench:
        leg = await ring_both(bench)
        bench.peers.lets_go = anyio.Event()
        failures: list[Exception] = []

        async def answer() -> None:
            try:
                await bench.model.answer_call()
            except CommandError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            tasks.start_soon(answer)
            await bench.until(lambda: failures)
            bench.peers.lets_go.set()
        assert len(failures) == 1
        assert getattr(failures[0], "stage", None) is CommandStage.NOT_SENT
        assert bench.server.methods().count("verto.answer") == 1
        assert len(bench.peers.made) == 1
        assert leg in bench.phone.calls


async def test_an_answer_that_is_not_confirmed_is_not_given_twice() -> None:
    async with phone_bench(command_timeout_seconds=0.3) as bench:
        leg = await ring_both(bench)
        bench.server.silent.add("verto.answer")
        with pytest.raises(CommandUnconfirmedError):
            await bench.model.answer_call()
        # The media stays: the call may be answered.
        assert bench.peers.open == 1
        bench.simulator.switchboard.answer(leg)
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        assert bench.server.methods().count("verto.answer") == 1


async def test_a_call_that_ends_while_it_is_answered() -> None:
    async with phone_bench() as bench:
        leg = await ring_both(bench)
        bench.peers.lets_go = anyio.Event()
        raised: list[Any] = []

        async def answer() -> None:
            try:
                await bench.model.answer_call()
            except CommandError as error:
                raised.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await bench.until(lambda: bench.peers.made)
            await bench.server.say("verto.bye", callID=leg, causeCode=487, cause="ORIGINATOR_CANCEL")
            await bench.until(lambda: leg not in bench.phone.calls)
            bench.peers.lets_go.set()
        assert raised[0].stage is CommandStage.NOT_SENT
        assert bench.peers.open == 0
        assert "verto.answer" not in bench.server.methods()
        assert bench.told(ErrorOccurred) == []
