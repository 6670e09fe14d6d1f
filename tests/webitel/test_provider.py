"""`WebitelCtiProvider` alone, on the simulator: what it reports, what it sends, and how each command ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from typed_settings.types import Secret

from cti_framework.calls import Call, CallState, EndCause, Side
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    InvalidArgumentError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    SettingsError,
)
from cti_framework.reports import (
    AgentReport,
    Answered,
    Connected,
    Ended,
    Held,
    Offered,
    Originated,
    Raw,
    Report,
    Snapshot,
    Started,
    Tones,
    Trouble,
)
from cti_framework.switchboard import Device
from cti_webitel import asked, looks
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from tests.webitel.in_memory import desk
from tests.webitel.sessions import CALLER, FAR, OWN, PATIENCE_SECONDS, Bench, Tap
from tests.webitel.test_replay import LIKE_THE_LIBRARY, frames, library_callbacks

pytestmark = pytest.mark.anyio

BY_HAND: dict[str, Any] = {"own_answer_seconds": None, "far_answer_seconds": None}


@asynccontextmanager
async def serve(**options: Any) -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel(control_port=None, options=SimulatorOptions(**{**BY_HAND, **options})) as simulator:
        yield simulator


def own_leg(simulator: WebitelSimulator, index: int = -1) -> str:
    return simulator.switchboard.legs_of(OWN)[index].uuid


def ring(simulator: WebitelSimulator) -> None:
    simulator.switchboard.incoming(CALLER, OWN)


async def talk(simulator: WebitelSimulator, bench: Bench) -> Call:
    """Bring an outgoing call to where both talk."""
    call = await bench.provider.make_call(FAR)
    await simulator.answer_own()
    await bench.until(Answered, lambda report: report.call_id == call.id)
    await simulator.answer(FAR)
    await bench.until(Connected, lambda report: report.call_id == call.id)
    return call


# --- replaying


@pytest.mark.parametrize("name", LIKE_THE_LIBRARY)
def test_replaying_a_capture_gives_what_the_library_called_back(name: str) -> None:
    lines = list(WebitelCtiProvider.replay(frames(name)))
    ours = [
        {"cb": line.callback, **({"payload": line.payload} if line.has_payload else {})}
        for line in lines
        if line.callback is not None
    ]
    assert [json.dumps(entry) for entry in ours] == [json.dumps(entry) for entry in library_callbacks(name)]
    assert [line.at_seconds for line in lines] == sorted(line.at_seconds for line in lines)
    assert all(line.text for line in lines)


def test_replaying_shows_the_reports_beside_the_callbacks() -> None:
    lines = list(WebitelCtiProvider.replay(frames("03-out-call")))
    connected = [line for line in lines if any(isinstance(report, Connected) for report in line.reports)]
    assert [(line.callback, line.at_seconds) for line in connected] == [("onBridgeCall", 0.284)]


# --- settings


def settings(**changes: Any) -> WebitelSettings:
    return WebitelSettings(**{"connection_string": "ws://pbx.example", **changes})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"key": "key"},
        {"token": Secret("token")},
        {"password": Secret("pw"), "key": "key"},
        {"password": Secret("pw"), "token": Secret("token")},
    ],
)
def test_half_credentials_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="key and token"):
        WebitelUserSettings(login="100@demo.local", **values)


@pytest.mark.parametrize("parameter", ["no equals sign", "name=a,b", "a=[b]"])
def test_an_auto_answer_parameter_that_could_inject_is_refused(parameter: str) -> None:
    with pytest.raises(ValueError):
        settings(auto_answer_param=parameter)


@pytest.mark.parametrize(
    "name", ["command_timeout_seconds", "ring_timeout_seconds", "hold_grace_seconds", "ping_interval_seconds"]
)
def test_times_are_positive(name: str) -> None:
    with pytest.raises(ValueError):
        settings(**{name: 0})


async def test_a_login_without_a_domain_is_a_fault_of_the_settings() -> None:
    async with serve() as simulator:
        with pytest.raises(SettingsError, match=r"webitel\.domain") as caught:
            Bench(simulator, user_settings=WebitelUserSettings(login="100", password=Secret("hunter2")))
        assert "hunter2" not in str(caught.value)
        assert "webitel.login" in caught.value.problems[0]


# --- one connection's life


async def test_started_is_the_first_report_of_each_run() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        for _ in range(2):
            bench.reports.clear()
            async with bench.running():
                started = bench.reports[0]
                assert isinstance(started, Started)
                assert started.own_numbers == ("100",)
                assert started.agent is not None and started.agent.state == "ONHOOK"


async def test_raw_messages_come_after_started_too_and_hold_the_frames() -> None:
    async with serve() as simulator:
        bench = Bench(simulator, wants_raw=True)
        async with bench.running() as provider:
            assert [type(report) for report in bench.reports].index(Started) == 0
            await provider.make_call(FAR)
            raw = [report.raw for report in bench.told(Raw)]
            assert any(frame.get("Event-Name") == "CHANNEL_CREATE" for frame in raw)


async def test_what_happens_during_the_log_in_is_not_lost() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        # The account is logged in, its accounts are not listed yet: call events come already.
        tap.before["api account list"] = lambda: ring(simulator)
        async with bench.running():
            offered = await bench.until(Offered)
            assert offered.other.number == CALLER
            assert isinstance(bench.reports[0], Started)
            assert len(bench.line.calls) == 1


async def test_commands_can_be_sent_as_soon_as_started_is_reported() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        refused: list[CommandError] = []
        sent = anyio.Event()

        async def call_at_once() -> None:
            await bench.until(Started)
            try:
                await bench.provider.make_call(FAR)
            except CommandError as error:
                refused.append(error)
            sent.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_at_once)
            tasks.start_soon(bench.provider.run)
            with anyio.fail_after(PATIENCE_SECONDS):
                await sent.wait()
            tasks.cancel_scope.cancel()
        assert refused == []


async def test_the_own_agents_state_is_told_with_its_note_and_no_other_accounts() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running():
            simulator.switchboard.set_status("101@demo.local", "DND", "not mine")
            simulator.switchboard.set_status(OWN, "DND", "lunch")
            report = await bench.until(AgentReport, lambda report: report.agent.state == "DND")
            assert report.agent.note == "lunch"
            assert "not mine" not in [told.agent.note for told in bench.told(AgentReport)]
            simulator.switchboard.set_status(OWN)
            await bench.until(AgentReport, lambda report: report.agent.state == "ONHOOK")


async def test_a_trace_shows_both_ways_and_no_secret() -> None:
    traced: list[tuple[str, str, str]] = []
    async with serve() as simulator:
        simulator.switchboard.add_account("300", "demo.local", password="hunter2")
        user_settings = WebitelUserSettings(login="300@demo.local", password=Secret("hunter2"))
        bench = Bench(simulator, user_settings=user_settings, trace=lambda *step: traced.append(step))
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            await provider.snapshot()
            await provider.drop_call(call)
            await bench.until(Ended)
    names = {(way, name) for way, name, _ in traced}
    assert {("to_pbx", "call"), ("to_pbx", "hangup"), ("from_pbx", "CHANNEL_CREATE"), ("from_pbx", "reply to call")} <= names
    assert "hunter2" not in str(traced)
    # A dump of a leg is no line for people, and holds what is nobody's affair.
    assert max(len(detail) for _, _, detail in traced) < 100


# --- calling


async def test_a_call_is_given_back_while_the_own_phone_still_rings() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            assert (call.state, call.answered_at, call.other.number) == (CallState.ALERTING, None, FAR)
            assert bench.line.find(call.id) == call
            assert not bench.told(Answered)


@pytest.mark.parametrize(
    ("typed", "dialled"),
    [
        ("+380501234567", "+380501234567"),
        ("*55", "*55"),
        ("#31#0501234567", "#31#0501234567"),
        ("050 123-45 67", FAR),
        ("(050) 123.45/67", FAR),
    ],
)
async def test_what_is_dialled(typed: str, dialled: str) -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            call = await provider.make_call(typed)
            (command,) = tap.asked("call")
            assert command["exec-args"]["extension"] == dialled
            assert call.other.number == dialled


@pytest.mark.parametrize("typed", ["050,1", "050 XML default", "{a=b}050", "050}", "050\n", "", "+", "050@other", "&park()"])
async def test_what_could_inject_is_refused_before_anything_is_sent(typed: str) -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            sent = len(tap.commands)
            with pytest.raises(InvalidArgumentError) as caught:
                await provider.make_call(typed)
            assert caught.value.stage is CommandStage.NOT_SENT
            await provider.snapshot()
            assert "call" not in {command["exec-func"] for command in tap.commands[sent:]}


async def test_without_a_phone_the_call_is_refused() -> None:
    async with serve() as simulator:
        simulator.switchboard.set_registered(OWN, False)
        bench = Bench(simulator)
        async with bench.running() as provider:
            with pytest.raises(CommandRefusedError) as caught:
                await provider.make_call(FAR)
            assert (caught.value.pbx_text, caught.value.stage) == ("USER_NOT_REGISTERED", CommandStage.REJECTED)
            assert "USER_NOT_REGISTERED" in str(caught.value)
            assert bench.line.calls == ()


@pytest.mark.parametrize(
    ("pbx_cause", "cause"),
    [("USER_BUSY", EndCause.BUSY), ("CALL_REJECTED", EndCause.REJECTED), ("NO_ANSWER", EndCause.NO_ANSWER)],
)
async def test_an_own_phone_that_is_not_picked_up(pbx_cause: str, cause: EndCause) -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            simulator.switchboard.hang_up(own_leg(simulator), pbx_cause)
            ended = await bench.until(Ended)
            assert (ended.call_id, ended.cause, ended.pbx_cause) == (call.id, cause, pbx_cause)
            assert not bench.told(Trouble)


async def test_an_own_phone_that_rings_in_vain() -> None:
    async with serve(ring_timeout_seconds=0.1) as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            ended = await bench.until(Ended)
            assert (ended.call_id, ended.cause) == (call.id, EndCause.NO_ANSWER)


async def test_a_call_that_is_over_at_once_is_given_back_as_it_was_and_ends() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        tap.after["call"] = lambda: simulator.switchboard.hang_up(own_leg(simulator), "USER_BUSY")
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            ended = await bench.until(Ended)
            assert (ended.call_id, ended.cause, call.state) == (call.id, EndCause.BUSY, CallState.ALERTING)


@pytest.mark.parametrize(
    ("pbx_cause", "cause"),
    [("USER_BUSY", EndCause.BUSY), ("CALL_REJECTED", EndCause.REJECTED), ("UNALLOCATED_NUMBER", EndCause.UNREACHABLE)],
)
async def test_a_far_end_that_refuses(pbx_cause: str, cause: EndCause) -> None:
    async with serve(own_answer_seconds=0.0, refusals={FAR: pbx_cause}, refusal_seconds=0.01) as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            await provider.make_call(FAR)
            assert (await bench.until(Ended)).cause is cause
            assert not bench.told(Connected)


async def test_a_far_end_that_never_answers() -> None:
    async with serve(own_answer_seconds=0.0, ring_timeout_seconds=0.1) as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            await provider.make_call(FAR)
            ended = await bench.until(Ended)
            assert (ended.cause, ended.pbx_cause) == (EndCause.NO_ANSWER, "NORMAL_CLEARING")
            assert not bench.told(Connected)


async def test_two_calls_asked_for_at_once_to_one_number_are_two() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        calls: list[Call] = []

        async def make() -> None:
            calls.append(await bench.provider.make_call(FAR))

        async with bench.running():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(make)
                tasks.start_soon(make)
            assert len({call.id for call in calls}) == 2
            assert {call.id for call in calls} == {call.id for call in bench.line.calls}


async def test_nobodys_call_is_given_to_the_next_who_asks_for_the_same_number() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        tap.silent.add("call")
        async with bench.running() as provider:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(provider.make_call, FAR)
                await tap.until_asked("call")
                tasks.cancel_scope.cancel()
            tap.release()
            first = await bench.until(Originated)
            second = await provider.make_call(FAR)
            assert second.id != first.call_id
            assert len(bench.line.calls) == 2


async def test_a_call_that_is_cancelled_before_it_was_sent_is_never_sent() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await provider.make_call(FAR)
            await provider.snapshot()
            assert tap.asked("call") == []


async def test_the_connection_is_cut_while_a_call_is_waited_for() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        tap.silent.add("call")
        failures: list[CommandError] = []

        async def make() -> None:
            with pytest.raises(CommandUnconfirmedError) as caught:
                await bench.provider.make_call(FAR)
            failures.append(caught.value)

        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(NetworkError):
                    await bench.provider.run()

            tasks.start_soon(run)
            await bench.until(Started)
            tasks.start_soon(make)
            await tap.until_asked("call")
            simulator.cut()
        assert [failure.stage for failure in failures] == [CommandStage.UNCONFIRMED]
        with pytest.raises(NotConnectedError):
            await bench.provider.make_call(FAR)


async def test_a_cut_while_the_own_phone_rings_is_told_by_the_connection_alone() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(NetworkError):
                    await bench.provider.run()

            tasks.start_soon(run)
            await bench.until(Started)
            await bench.provider.make_call(FAR)
            simulator.cut()
        assert not bench.told(Trouble)


async def test_the_engine_places_a_call_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_SHOWN_WITHIN_SECONDS", 0.05)
    async with serve(own_answer_seconds=0.0) as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            # As when another program of the account logs out (facts: webitel-protocol 1.2).
            simulator.engine.online[OWN].logged = False
            with pytest.raises(CommandError) as caught:
                await provider.make_call(FAR)
            assert caught.value.stage is CommandStage.ACCEPTED
            assert "logged out" in str(caught.value)


async def test_the_connection_is_cut_when_the_engine_said_yes_and_showed_nothing() -> None:
    said_yes = anyio.Event()

    def watch(way: str, name: str, detail: str) -> None:
        if name == "reply to call" and detail.startswith("+OK "):
            said_yes.set()

    async with serve(own_answer_seconds=0.0) as simulator:
        bench = Bench(simulator, trace=watch)
        failures: list[CommandError] = []

        async def make() -> None:
            with pytest.raises(CommandUnconfirmedError) as caught:
                await bench.provider.make_call(FAR)
            failures.append(caught.value)

        async def run() -> None:
            with pytest.raises(NetworkError):
                await bench.provider.run()

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await bench.until(Started)
                simulator.engine.online[OWN].logged = False
                tasks.start_soon(make)
                await said_yes.wait()
                simulator.cut()
        assert "ended before the call was shown" in str(failures[0])


async def test_a_call_that_is_never_answered_and_never_shown() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator, ring_timeout_seconds=0.1)
        tap.silent.add("call")
        async with bench.running() as provider:
            with pytest.raises(CommandUnconfirmedError):
                await provider.make_call(FAR)


async def test_an_own_phone_that_rings_longer_than_the_command_may_take() -> None:
    async with serve() as simulator:
        bench = Bench(simulator, ring_timeout_seconds=0.1)
        async with bench.running() as provider:
            call = await provider.make_call(FAR)
            trouble = await bench.until(Trouble)
            assert (trouble.call_id, type(trouble.error)) == (call.id, CommandUnconfirmedError)
            assert bench.line.find(call.id) is not None


async def test_a_call_that_is_known_by_a_snapshot_first_is_given_back() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        given: list[Call] = []

        async def make() -> None:
            given.append(await bench.provider.make_call(FAR))

        async with bench.running() as provider:
            # The switch answers faster than it tells.
            simulator.engine.online[OWN].logged = False
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(make)
                await tap.until_asked("call")
                snapshot = await provider.snapshot()
            assert [call.id for call in given] == [call.call_id for call in snapshot.calls]


# --- in a call


async def test_answering_is_not_supported() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            simulator.switchboard.incoming(CALLER, OWN)
            await bench.until(Offered)
            with pytest.raises(NotSupportedError):
                await provider.answer_call(bench.line.calls[0])


async def test_hold_unhold_and_tones() -> None:
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running() as provider:
            call = await talk(simulator, bench)
            await provider.send_dtmf(call, "12#")
            await bench.until(Tones, lambda report: report.digits == "#")
            assert [report.digits for report in bench.told(Tones)] == ["1", "2", "#"]
            await provider.hold_call(call)
            held = await bench.until(Held)
            assert (held.call_id, held.by) == (call.id, Side.OWN)
            await provider.unhold_call(call)
            with pytest.raises(InvalidArgumentError):
                await provider.send_dtmf(call, "1,2")


async def test_hanging_up_a_call_that_rings_on_two_phones_stops_both() -> None:
    async with serve() as simulator:
        simulator.switchboard.set_account(OWN, devices=(Device(number=1), Device(number=2)))
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            simulator.switchboard.incoming(CALLER, OWN)
            await bench.until(Offered)
            await provider.drop_call(bench.line.calls[0])
            assert simulator.switchboard.legs_of(OWN) == ()
            assert len(tap.asked("hangup")) == 2
            await bench.until(Ended)


async def test_commands_go_to_the_phone_that_was_picked_up() -> None:
    async with serve() as simulator:
        simulator.switchboard.set_account(OWN, devices=(Device(number=1), Device(number=2)))
        bench = Bench(simulator)
        async with bench.running() as provider:
            simulator.switchboard.incoming(CALLER, OWN)
            await bench.until(Offered)
            second = own_leg(simulator, 1)
            simulator.switchboard.answer(second)
            await bench.until(Connected)
            (call,) = bench.line.calls
            await provider.hold_call(call)
            await bench.until(Held)
            assert simulator.switchboard.leg(second).snapshot.held
            # The loser of the race is no end of the call.
            assert not bench.told(Ended)
            await provider.drop_call(bench.line.calls[0])
            await bench.until(Ended)


async def test_a_call_that_is_over_is_not_asked_for() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            call = await talk(simulator, bench)
            await simulator.hang_up(FAR)
            await bench.until(Ended)
            for verb in (provider.drop_call, provider.hold_call, provider.unhold_call):
                with pytest.raises(NotAllowedNowError):
                    await verb(call)
            assert not {"hangup", "hold", "unhold"} & {command["exec-func"] for command in tap.commands}


async def test_a_refused_hang_up_is_an_error() -> None:
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            call = await talk(simulator, bench)
            tap.answers["hangup"] = ("-ERR", "-ERR No such channel!\n")
            with pytest.raises(CommandRefusedError):
                await provider.drop_call(call)


# --- the second look


async def test_a_call_that_no_frame_told_of_is_found_by_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.1)
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running():
            simulator.engine.online[OWN].logged = False
            simulator.switchboard.incoming(CALLER, OWN)
            snapshot = await bench.until(Snapshot)
            assert (len(snapshot.calls), snapshot.complete) == (1, False)
            assert [call.other.number for call in bench.line.calls] == [CALLER]


async def test_an_end_that_the_second_look_knows_before_it_is_told_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.1)
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            await provider.make_call(FAR)
            # The switch answers that there is no such leg; its last words are still on their way.
            tap.answers["channel_dump"] = ("-ERR", "-ERR No such channel!\n")
            await tap.until_asked("channel_dump")
            # The answer to this one is behind that one's.
            with pytest.raises(CommandRefusedError):
                await provider.send_dtmf(bench.line.calls[0], "1")
            simulator.switchboard.hang_up(own_leg(simulator), "USER_BUSY")
            assert (await bench.until(Ended)).cause is EndCause.BUSY


async def test_what_the_line_missed_of_a_hold_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.2)
    async with serve() as simulator:
        bench = Bench(simulator)
        async with bench.running():
            call = await talk(simulator, bench)
            simulator.engine.online[OWN].logged = False
            simulator.switchboard.hold(own_leg(simulator))
            await bench.until(Snapshot)
            known = bench.line.find(call.id)
            assert known is not None and known.held_by == {Side.OWN}


async def test_a_second_look_that_sees_what_is_known_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.3)
    async with serve() as simulator:
        tap, bench = Tap(simulator), Bench(simulator)
        async with bench.running() as provider:
            await talk(simulator, bench)
            await tap.until_asked("channel_dump")
            # Its answer is behind the second look's.
            await provider.snapshot()
            assert bench.told(Snapshot) == []
            assert bench.line.refusals == {}


# --- in a box


async def test_the_simulator_of_the_provider_is_complete() -> None:
    async with WebitelCtiProvider.simulator() as simulation:
        assert {"webitel.connection_string"} <= set(simulation.settings)
        assert simulation.user.parameters["webitel.login"] == OWN
        assert simulation.notes


def test_the_captures_used_here_are_there() -> None:
    assert (Path(__file__).parents[1] / "captures" / "webitel" / "03-out-call.frames.jsonl").is_file()
    assert issubclass(Snapshot, Report)


async def test_a_call_whose_beginning_was_missed_is_given_back_when_it_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:

        async def unseen(number: str) -> str:
            at.engine.online[OWN].logged = False
            (leg,) = at.switchboard.originate(OWN, number, variables={"w_jsclient_originate_number": number})
            await at.settle()
            at.engine.online[OWN].logged = True
            at.switchboard.answer(leg.uuid)
            await anyio.sleep_forever()
            return ""

        monkeypatch.setattr(at.webitel, "call", unseen)
        call = await at.ask(at.model.make_call, FAR)
        assert call.other.number == FAR
        assert [known.id for known in at.model.calls] == [call.id]
