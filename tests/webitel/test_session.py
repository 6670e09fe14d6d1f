"""Whole sessions on the simulator: what a host sees of calls, outages, clocks and log ins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
from anyio.abc import SocketAttribute, SocketStream
from typed_settings.types import Secret

from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import CallDirection, CallFeature, CallState, EndCause, Side
from cti_framework.errors import (
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    NetworkError,
    NotSupportedError,
    SettingsError,
)
from cti_framework.events import (
    AgentStateChanged,
    CallConnected,
    CallFinished,
    CallHeld,
    CallStarted,
    CallUnheld,
    DtmfEntered,
    Event,
    Initialized,
    ProviderState,
    ProviderStateChanged,
    RawMessage,
    SnapshotTaken,
)
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.provider import CtiUser
from cti_framework.switchboard import ChannelCallState, Device, SwitchEvent
from cti_webitel import looks
from cti_webitel.settings import WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from tests.core.scripted import living, told, until, until_state
from tests.webitel.sessions import CALLER, FAR, HOLD_GRACE_SECONDS, OWN, SWIFT, Tap, line_says, model_at, switch_says

pytestmark = pytest.mark.anyio

SOON_SECONDS = 15.0


@asynccontextmanager
async def serve(*, start: datetime | None = None, **options: Any) -> AsyncIterator[WebitelSimulator]:
    by_hand: dict[str, Any] = {"own_answer_seconds": None, "far_answer_seconds": None, "media_seconds": 0.005}
    settings = SimulatorOptions(**{**by_hand, **options})
    async with serve_webitel(control_port=None, options=settings, start=start) as simulator:
        yield simulator


async def ring_in(simulator: WebitelSimulator) -> None:
    simulator.switchboard.incoming(CALLER, OWN, name="ACME")


async def talk_in(simulator: WebitelSimulator) -> None:
    await ring_in(simulator)
    await simulator.answer_own()


async def ring_own(simulator: WebitelSimulator) -> None:
    simulator.switchboard.originate(OWN, FAR, variables={"w_jsclient_originate_number": FAR})


async def ring_far(simulator: WebitelSimulator) -> None:
    await ring_own(simulator)
    await simulator.answer_own()


async def talk_out(simulator: WebitelSimulator) -> None:
    await ring_far(simulator)
    await simulator.answer(FAR)


async def own_hold(simulator: WebitelSimulator) -> None:
    simulator.switchboard.hold(simulator.switchboard.legs_of(OWN)[0].uuid)


async def own_unhold(simulator: WebitelSimulator) -> None:
    simulator.switchboard.unhold(simulator.switchboard.legs_of(OWN)[0].uuid)


async def talk_out_held(simulator: WebitelSimulator) -> None:
    await talk_out(simulator)
    await own_hold(simulator)


async def talk_out_held_by_far(simulator: WebitelSimulator) -> None:
    await talk_out(simulator)
    await simulator.hold(FAR)


async def talk_in_held(simulator: WebitelSimulator) -> None:
    await talk_in(simulator)
    await own_hold(simulator)


async def end_all(simulator: WebitelSimulator) -> None:
    for leg in simulator.switchboard.legs_of(OWN):
        simulator.switchboard.hang_up(leg.uuid)


def is_held_again(event: SwitchEvent) -> bool:
    """The far end's hold is shown again, once ours is over and the first sound came."""
    leg = event.leg
    return leg is not None and leg.presence == OWN and leg.call_state is ChannelCallState.HELD and not leg.held


async def nothing(simulator: WebitelSimulator) -> None:
    """Everything stays as it is."""


Step = Callable[[WebitelSimulator], Any]


# --- calls


async def test_an_incoming_call_that_is_answered_on_the_phone() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await ring_in(simulator)
        call = (await until(events, CallStarted)).call
        assert (call.direction, call.state, call.other.number) == (CallDirection.IN, CallState.ALERTING, CALLER)
        # The engine has no command to answer.
        assert CallFeature.ANSWER not in call.features | model.features
        with pytest.raises(NotSupportedError):
            await model.answer_call(call)
        await simulator.answer_own()
        connected = (await until(events, CallConnected)).call
        assert (connected.id, connected.other.name) == (call.id, "ACME")
        simulator.switchboard.tones(simulator.switchboard.legs_of(OWN)[0].uuid, "5")
        assert (await until(events, DtmfEntered)).digits == "5"
        await simulator.hang_up(CALLER)
        finished = (await until(events, CallFinished)).call
        assert (finished.cause, finished.missed, finished.inferred) == (EndCause.NORMAL, False, False)
        assert model.calls == () and CallFeature.DIAL in model.features
        assert model.refused_reports == {}


async def test_a_caller_whose_name_was_cut_in_the_middle_of_a_character() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        simulator.switchboard.incoming(CALLER, OWN, name="Ole\ud83d")
        assert (await until(events, CallStarted)).call.other.number == CALLER
        await simulator.answer_own()
        assert (await until(events, CallConnected)).call.other.name == "Ole\ufffd"
        await simulator.hang_up(CALLER)
        await until(events, CallFinished)
        assert model.refused_reports == {}
        assert all("\\ud83d" not in line for line in model.recorder.lines())


async def test_an_incoming_call_that_the_phone_answers_by_itself() -> None:
    async with serve(device_answer_seconds=0.01) as simulator, model_at(simulator) as model:
        events = model.events()
        await ring_in(simulator)
        call = (await until(events, CallConnected)).call
        assert (call.direction, call.state) == (CallDirection.IN, CallState.CONNECTED)


async def test_a_caller_who_gives_up_is_missed() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await ring_in(simulator)
        await until(events, CallStarted)
        await simulator.hang_up(CALLER)
        finished = (await until(events, CallFinished)).call
        assert (finished.cause, finished.missed) == (EndCause.CANCELLED, True)


async def test_a_call_dialled_on_the_own_phone() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        simulator.switchboard.dial_from_device(OWN, FAR)
        call = (await until(events, CallStarted)).call
        assert (call.direction, call.other.number) == (CallDirection.OUT, FAR)
        await simulator.answer(FAR)
        assert (await until(events, CallConnected)).call.id == call.id


@pytest.mark.parametrize(
    ("begin", "cause"),
    [
        (ring_in, EndCause.REJECTED),
        (talk_in, EndCause.NORMAL),
        (talk_in_held, EndCause.NORMAL),
        (ring_own, EndCause.CANCELLED),
        (ring_far, EndCause.CANCELLED),
        (talk_out, EndCause.NORMAL),
        (talk_out_held, EndCause.NORMAL),
    ],
)
async def test_hanging_up_in_every_state(begin: Step, cause: EndCause) -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await begin(simulator)
        state, held_by = next(iter(switch_says(simulator).values()))
        while not model.calls or (model.calls[0].state, model.calls[0].held_by) != (state, held_by):
            await until(events, Event)
        await model.drop_call()
        finished = (await until(events, CallFinished)).call
        assert finished.cause is cause
        assert simulator.switchboard.legs == ()


async def test_of_two_phones_that_ring_the_losers_end_is_not_the_calls() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        simulator.switchboard.set_account(OWN, devices=(Device(number=1), Device(number=2)))
        events = model.events()
        await ring_in(simulator)
        first, second = simulator.switchboard.legs_of(OWN)
        simulator.switchboard.answer(second.uuid)
        call = (await until(events, CallConnected)).call
        assert first.snapshot.hangup_cause == "LOSE_RACE"
        await model.hold_call(call)
        await until(events, CallHeld)
        assert second.snapshot.held
        await simulator.hang_up(CALLER)
        finished = (await until(events, CallFinished)).call
        assert (finished.cause, finished.pbx_cause) == (EndCause.NORMAL, "NORMAL_CLEARING")


async def test_holds_of_both_are_told_once_each_and_separately() -> None:
    async with serve(proxy_hold=True) as simulator, model_at(simulator) as model:
        events, everything = model.events(), model.events()
        await talk_out(simulator)
        await until(events, CallConnected)
        await simulator.hold(FAR)
        held = await until(events, CallHeld)
        assert (held.by, set(held.call.held_by)) == (Side.OTHER, {Side.OTHER})
        assert CallFeature.UNHOLD not in held.call.features
        await model.hold_call()
        held = await until(events, CallHeld)
        assert (held.by, set(held.call.held_by)) == (Side.OWN, {Side.OWN, Side.OTHER})
        shown = anyio.Event()
        simulator.switchboard.subscribe(lambda event: shown.set() if is_held_again(event) else None)
        await model.unhold_call()
        released = await until(events, CallUnheld)
        assert (released.by, set(released.call.held_by), released.call.state) == (Side.OWN, {Side.OTHER}, CallState.HELD)
        await shown.wait()
        await simulator.unhold(FAR)
        released = await until(events, CallUnheld)
        assert (released.by, set(released.call.held_by), released.call.state) == (Side.OTHER, set(), CallState.CONNECTED)
        # By the frames, not by the second look.
        assert not [event for event in told(everything) if isinstance(event, SnapshotTaken)]
        await end_all(simulator)
        await until(events, CallFinished)
        assert model.refused_reports == {}


async def test_a_hold_of_the_far_end_is_counted_from_its_beginning() -> None:
    async with serve(proxy_hold=True) as simulator, model_at(simulator) as model:
        events = model.events()
        await talk_out(simulator)
        await until(events, CallConnected)
        await simulator.hold(FAR)
        held = await until(events, CallHeld)
        assert (model.now() - held.at).total_seconds() >= HOLD_GRACE_SECONDS
        assert held.call.talk_seconds < HOLD_GRACE_SECONDS


async def test_an_own_hold_is_never_told_as_the_far_ends() -> None:
    async with serve(proxy_hold=True) as simulator, model_at(simulator) as model:
        events = model.events()
        await talk_in(simulator)
        await until(events, CallConnected)
        for _ in range(3):
            await model.hold_call()
            assert (await until(events, CallHeld)).by is Side.OWN
            await model.unhold_call()
            assert (await until(events, CallUnheld)).by is Side.OWN


# --- what is there at the log in


@pytest.mark.parametrize(
    ("begin", "direction", "connected"),
    [
        (ring_in, CallDirection.IN, False),
        (ring_own, CallDirection.OUT, False),
        (ring_far, CallDirection.OUT, False),
        (talk_in, CallDirection.IN, True),
        (talk_out, CallDirection.OUT, True),
        (talk_out_held, CallDirection.OUT, True),
        (talk_in_held, CallDirection.IN, True),
        (talk_out_held_by_far, CallDirection.OUT, True),
    ],
)
async def test_a_call_that_is_up_at_the_log_in(begin: Step, direction: CallDirection, connected: bool) -> None:
    async with serve(proxy_hold=True) as simulator:
        await begin(simulator)
        async with model_at(simulator) as model:
            events = model.events()
            (call,) = model.calls
            assert line_says(model) == switch_says(simulator)
            assert call.direction is direction
            assert (call.connected_at is not None) is connected
            assert call.other.number == (FAR if direction is CallDirection.OUT else CALLER)
            assert call.own.number == "100"
            # It goes on as one that was seen to begin.
            await model.drop_call()
            assert (await until(events, CallFinished)).call.id in (call.id, *call.former_ids) or model.calls == ()
            assert simulator.switchboard.legs == ()


async def test_times_of_a_call_that_is_up_at_the_log_in_are_the_switchs() -> None:
    async with serve() as simulator:
        await talk_out(simulator)
        leg = simulator.switchboard.legs_of(OWN)[0].snapshot
        async with model_at(simulator) as model:
            (call,) = model.calls
            assert call.answered_at is not None and call.connected_at is not None and leg.answered_at is not None
            for ours, theirs in ((call.started_at, leg.created_at), (call.answered_at, leg.answered_at)):
                assert abs((ours - theirs).total_seconds()) < 1
            assert call.started_at <= call.answered_at <= call.connected_at


async def test_several_calls_at_the_log_in() -> None:
    async with serve() as simulator:
        await talk_out_held(simulator)
        await ring_in(simulator)
        async with model_at(simulator) as model:
            assert line_says(model) == switch_says(simulator)
            assert len(model.calls) == 2


async def test_other_accounts_calls_are_not_ours() -> None:
    async with serve() as simulator:
        simulator.switchboard.incoming(CALLER, "101@demo.local")
        async with model_at(simulator) as model:
            assert model.calls == ()


async def test_a_row_that_only_looks_like_ours_is_no_call() -> None:
    async with serve() as simulator:
        _, (other,) = simulator.switchboard.incoming(CALLER, "101@demo.local")
        tap = Tap(simulator)
        # Without a presence the channel's name counts, and that can be a gateway's, or another's device's.
        row = {"uuid": other.uuid, "presence_id": "", "name": f"sofia/internal/{OWN}"}
        tap.answers["show_channel"] = ("+OK", {"row_count": 1, "rows": [row, {"uuid": "no uuid", "presence_id": OWN}, None]})
        async with model_at(simulator) as model:
            assert model.calls == ()
            assert [command["exec-args"]["uuid"] for command in tap.asked("channel_dump")] == [other.uuid]


async def test_a_row_of_a_leg_that_is_gone_is_no_call() -> None:
    async with serve() as simulator:
        await talk_out(simulator)
        simulator.configure(table_lag_seconds=60.0)
        await end_all(simulator)
        tap = Tap(simulator)
        async with model_at(simulator) as model:
            assert model.calls == ()
        # There was such a row, or this shows nothing.
        assert tap.asked("channel_dump")


async def test_a_call_that_is_in_no_row_yet_is_found_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.6)
    async with serve(table_lag_seconds=0.4) as simulator:
        await ring_in(simulator)
        async with model_at(simulator) as model:
            events = model.events()
            assert model.calls == ()
            call = (await until(events, CallStarted)).call
            assert (call.direction, call.other.name) == (CallDirection.IN, "ACME")
            assert line_says(model) == switch_says(simulator)
            await simulator.answer_own()
            assert (await until(events, CallConnected)).call.id == call.id


@pytest.mark.parametrize(
    ("begin", "meanwhile"),
    [
        (talk_out, own_hold),
        (talk_out_held, own_unhold),
        (talk_out, end_all),
        (ring_in, end_all),
        (ring_far, lambda simulator: simulator.answer(FAR)),
        (ring_in, lambda simulator: simulator.answer_own()),
        (nothing, ring_in),
        (nothing, talk_in),
    ],
)
async def test_what_happens_while_the_switch_is_asked_wins(begin: Step, meanwhile: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.3)
    async with serve() as simulator:
        await begin(simulator)
        tap = Tap(simulator)
        changed = anyio.Event()

        async with anyio.create_task_group() as tasks:

            async def change() -> None:
                # The rows and dumps are told before it, and read after it.
                await tap.until_asked("channel_dump" if simulator.switchboard.legs else "show_channel")
                await meanwhile(simulator)
                changed.set()

            tasks.start_soon(change)
            async with model_at(simulator) as model:
                events = model.events()
                await changed.wait()
                while line_says(model) != switch_says(simulator):
                    await until(events, Event)
                # The second look changes nothing of it.
                await tap.until_asked("show_channel", 2)
                with anyio.fail_after(SOON_SECONDS):
                    await model._provider.snapshot()
                assert line_says(model) == switch_says(simulator)
                (*calls,) = model.calls
                for call in calls:
                    assert (call.connected_at is not None) is (call.state is not CallState.ALERTING)


# --- outages


@pytest.mark.parametrize(
    ("begin", "meanwhile"),
    [
        (talk_out, nothing),
        (talk_out, end_all),
        (ring_in, end_all),
        (nothing, ring_in),
        (nothing, talk_in),
        (talk_out, own_hold),
        (talk_out_held, own_unhold),
        (talk_out, lambda simulator: simulator.hold(FAR)),
        (talk_out_held_by_far, lambda simulator: simulator.unhold(FAR)),
        (ring_own, lambda simulator: simulator.answer_own()),
        (ring_far, lambda simulator: simulator.answer(FAR)),
        (ring_in, lambda simulator: simulator.answer_own()),
        (talk_out_held, ring_in),
    ],
)
async def test_after_an_outage_the_line_is_the_switchs(begin: Step, meanwhile: Step) -> None:
    async with serve(proxy_hold=True) as simulator, model_at(simulator) as model:
        events = model.events()
        await begin(simulator)
        while line_says(model) != switch_says(simulator):
            await until(events, Event)
        before = {call.id for call in model.calls}
        history = [*told(events)]
        simulator.cut(0.1)
        # In the same turn: nobody can be told.
        await meanwhile(simulator)
        await until_state(events, ProviderState.RECONNECTING)
        assert all(call.stale and not call.features for call in model.calls)
        taken = await until(events, SnapshotTaken)
        assert taken.complete
        while line_says(model) != switch_says(simulator):
            # Calls so young may be in no list yet: a second look ends them.
            assert meanwhile is end_all
            assert all(call.stale for call in model.calls)
            await until(events, Event)
        assert not any(call.stale for call in model.calls)
        await end_all(simulator)
        while model.calls:
            history.append(await until(events, Event))
        started = [event.call.id for event in history if isinstance(event, CallStarted)]
        assert len(started) == len(set(started))
        assert not before & {call.id for call in model.calls}


async def test_an_end_that_nobody_saw_is_inferred() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await talk_out(simulator)
        await until(events, CallConnected)
        simulator.cut()
        await end_all(simulator)
        finished = (await until(events, CallFinished)).call
        assert (finished.cause, finished.inferred) == (EndCause.RESYNC, True)
        # And the line is free, for another call, too.
        await until(events, SnapshotTaken)
        call = await model.make_call(FAR)
        assert call.id != finished.id


async def test_a_call_that_went_on_keeps_its_times() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await talk_out(simulator)
        before = (await until(events, CallConnected)).call
        simulator.cut()
        await until(events, SnapshotTaken)
        (after,) = model.calls
        assert (after.id, after.started_at, after.connected_at) == (before.id, before.started_at, before.connected_at)
        await model.hold_call()
        assert (await until(events, CallHeld)).call.id == before.id


# --- clocks


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-1), timedelta(0)])
@pytest.mark.parametrize("seen_to_begin", [True, False])
async def test_a_switch_whose_clock_is_wrong(ahead: timedelta, seen_to_begin: bool) -> None:
    async with serve(start=datetime.now(UTC) + ahead) as simulator:
        marks: dict[str, datetime] = {}

        async def mark(name: str, step: Step) -> None:
            await step(simulator)
            marks[name] = datetime.now(UTC)

        async def begin() -> None:
            await mark("started", ring_own)
            await mark("answered", lambda simulator: simulator.answer_own())
            await mark("connected", lambda simulator: simulator.answer(FAR))

        if not seen_to_begin:
            await begin()
        async with model_at(simulator) as model:
            events = model.events()
            if seen_to_begin:
                await begin()
                await until(events, CallConnected)
            await model.hold_call()
            await until(events, CallHeld)
            await model.unhold_call()
            await until(events, CallUnheld)
            await mark("ended", lambda simulator: simulator.hang_up(FAR))
            call = (await until(events, CallFinished)).call
        for name, moment in marks.items():
            told_at = getattr(call, f"{name}_at")
            assert abs((told_at - moment).total_seconds()) < 1, name
        total = (marks["ended"] - marks["started"]).total_seconds()
        assert call.total_seconds == pytest.approx(total, abs=0.5)
        assert call.total_seconds == pytest.approx(call.ringing_seconds + call.talk_seconds + call.hold_seconds, abs=1e-6)
        assert min(call.ringing_seconds, call.talk_seconds, call.hold_seconds) >= 0


# --- log ins


def initializer(simulator: WebitelSimulator, **more: Any) -> CtiProviderInitializer:
    return CtiProviderInitializer({"cti.provider": "webitel", "webitelConnectionString": simulator.url, **more}, environ={})


async def test_a_login_without_a_domain_gets_the_systems() -> None:
    async with serve() as simulator:
        tap = Tap(simulator)
        chain = initializer(simulator, webitelDomain="demo.local")
        async with chain.open(CtiUser("ann", parameters={"login": "100", "password": "100"})) as model:
            assert model.provider_state is ProviderState.IN_SERVICE
        assert tap.asked("auth")[0]["exec-args"]["account"] == OWN


async def test_a_login_without_any_domain_says_what_is_missing() -> None:
    async with serve() as simulator:
        with pytest.raises(SettingsError, match=r"webitel\.domain"):
            async with initializer(simulator).open(CtiUser("ann", parameters={"login": "100", "password": "100"})):
                raise AssertionError("it opened")


async def test_logging_in_by_key_and_token() -> None:
    async with serve() as simulator:
        given = simulator.engine.tokens.give(OWN)
        user_settings = WebitelUserSettings(login=OWN, key=given.key, token=Secret(given.token))
        tap = Tap(simulator)
        async with model_at(simulator, user_settings=user_settings) as model:
            assert set(tap.asked("auth")[0]["exec-args"]) == {"key", "token"}
            # The answer to `auth` is silent about the state; the list of accounts is not (facts: webitel-protocol 7.22).
            assert model.agent.state == "ONHOOK"
            assert (await model.make_call(FAR)).other.number == FAR


@pytest.mark.parametrize(
    "user_settings",
    [
        WebitelUserSettings(login=OWN, password=Secret("wrong")),
        WebitelUserSettings(login="999@demo.local", password=Secret("100")),
        WebitelUserSettings(login=OWN, key="nobodys", token=Secret("nothing")),
    ],
)
async def test_refused_credentials_are_not_tried_again(user_settings: WebitelUserSettings) -> None:
    async with serve() as simulator:
        tap = Tap(simulator)
        model = model_at(simulator, user_settings=user_settings)
        with pytest.raises(CredentialsRefusedError) as caught:
            async with model:
                raise AssertionError("it opened")
        assert not caught.value.retryable
        assert model.provider_state is ProviderState.FAILED
        assert len(tap.asked("auth")) == 1
        for secret in ("wrong", "nothing"):
            assert secret not in str(caught.value)
        await tap.until_nobody_is_there()


async def test_one_socket_too_many_is_tried_again() -> None:
    async with serve(sockets_per_account=1) as simulator, model_at(simulator):
        second = model_at(simulator, options={"wait_for_service": False})
        async with second:
            events = second.events()
            refused = await until(events, ProviderStateChanged, lambda event: event.error is not None)
            assert isinstance(refused.error, NetworkError) and refused.error.retryable
            assert "Maximum opened socket 1" in str(refused.error)
            simulator.configure(sockets_per_account=2)
            await until_state(events, ProviderState.IN_SERVICE)


@pytest.mark.parametrize("silent", ["auth", "login", "api account list"])
async def test_a_log_in_that_is_never_answered(silent: str) -> None:
    async with serve() as simulator:
        tap = Tap(simulator)
        tap.silent.add(silent)
        policy = attrs.evolve(SWIFT, log_in_timeout_seconds=0.3)
        with pytest.raises(NetworkError) as caught:
            async with model_at(simulator, options={"policy": policy}):
                raise AssertionError("it opened")
        assert caught.value.retryable
        await tap.until_nobody_is_there()


@pytest.mark.parametrize("silent", ["show_channel", "channel_dump"])
async def test_an_engine_that_tells_no_calls_is_asked_again(silent: str) -> None:
    async with serve() as simulator:
        await talk_out(simulator)
        tap = Tap(simulator)
        tap.silent.add(silent)
        model = model_at(simulator, command_timeout_seconds=0.1)
        async with model:
            events = model.events()
            # In service, and what is not known is not made up.
            assert (model.provider_state, model.calls) == (ProviderState.IN_SERVICE, ())
            tap.silent.clear()
            await until(events, SnapshotTaken)
            assert line_says(model) == switch_says(simulator)


@pytest.mark.parametrize("name", ["hangup", "hold", "dtmf"])
async def test_a_command_that_is_never_answered(name: str) -> None:
    async with serve() as simulator:
        tap = Tap(simulator)
        model = model_at(simulator, command_timeout_seconds=0.1)
        async with model:
            events = model.events()
            await talk_out(simulator)
            await until(events, CallConnected)
            tap.silent.add(name)
            verbs: dict[str, Callable[[], Any]] = {
                "hangup": model.drop_call,
                "hold": model.hold_call,
                "dtmf": lambda: model.send_dtmf("1"),
            }
            with pytest.raises(CommandUnconfirmedError):
                await verbs[name]()
            assert len(tap.asked(name)) == 1
            assert model.provider_state is ProviderState.IN_SERVICE


@asynccontextmanager
async def some_server(answer: Callable[[SocketStream], Any]) -> AsyncIterator[str]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def say_nothing(stream: SocketStream) -> None:
    async with stream:
        await anyio.sleep_forever()


async def close_at_once(stream: SocketStream) -> None:
    await stream.aclose()


async def speak_http(stream: SocketStream) -> None:
    async with stream:
        await stream.receive()
        await stream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answer", [say_nothing, close_at_once, speak_http])
async def test_servers_that_are_no_engine(answer: Callable[[SocketStream], Any]) -> None:
    policy = ReconnectPolicy(initial_delay_seconds=30.0, log_in_timeout_seconds=0.5)
    async with some_server(answer) as url:
        with pytest.raises(ConnectionFailedError):
            async with model_at(url, options={"policy": policy}):
                raise AssertionError("it opened")


async def test_nobody_listens() -> None:
    async with some_server(close_at_once) as url:
        pass
    with pytest.raises(NetworkError):
        async with model_at(url):
            raise AssertionError("it opened")


# --- the session itself


@pytest.mark.parametrize("end", ["left", "cancelled", "raised", "in a call", "while calling"])
async def test_nothing_is_left_behind(end: str) -> None:
    tasks_before, _ = living()
    async with serve() as simulator:
        # The event loop keeps a thread of its own for names, since the server was opened.
        _, threads_before = living()
        tap = Tap(simulator)
        with anyio.CancelScope() as scope:
            try:
                async with model_at(simulator) as model:
                    if end == "in a call":
                        events = model.events()
                        await talk_out(simulator)
                        await until(events, CallConnected)
                    elif end == "while calling":
                        tap.silent.add("call")
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(model.make_call, FAR)
                            await tap.until_asked("call")
                            tasks.cancel_scope.cancel()
                    elif end == "raised":
                        raise LookupError("the host's own")
                    elif end == "cancelled":
                        scope.cancel()
                        await anyio.sleep_forever()
            except LookupError:
                assert end == "raised"
        await tap.until_nobody_is_there()
        assert simulator.engine.online == {}
    assert living() == (tasks_before, threads_before)


async def test_raw_messages() -> None:
    async with serve() as simulator, model_at(simulator, options={"raw_messages": True}) as model:
        events = model.events()
        await model.make_call(FAR)
        raw = await until(events, RawMessage, lambda event: event.raw.get("Event-Name") == "CHANNEL_CREATE")
        assert raw.raw["variable_w_jsclient_originate_number"] == FAR


async def test_without_raw_messages_there_are_none() -> None:
    async with serve() as simulator, model_at(simulator) as model:
        events = model.events()
        await model.make_call(FAR)
        await until(events, CallStarted)
        assert not [event for event in told(events) if isinstance(event, RawMessage)]


async def test_the_agent_at_the_log_in_and_after_it() -> None:
    async with serve() as simulator:
        simulator.switchboard.set_status(OWN, "DND", "lunch")
        async with model_at(simulator) as model:
            assert (model.agent.state, model.agent.note) == ("DND", "lunch")
            events = model.events()
            simulator.switchboard.set_status("101@demo.local", "DND")
            simulator.switchboard.set_status(OWN)
            changed = await until(events, AgentStateChanged)
            assert (changed.agent.state, changed.agent.note) == ("ONHOOK", None)


async def test_initialized_is_told_before_anything_else_of_the_pbx() -> None:
    async with serve() as simulator:
        await ring_in(simulator)
        model = model_at(simulator, options={"wait_for_service": False})
        async with model:
            events = model.events()
            seen: list[Event] = []
            while not isinstance(seen[-1:] and seen[-1], SnapshotTaken):
                seen.append(await until(events, Event))
            kinds = [type(event) for event in seen if not isinstance(event, ProviderStateChanged)]
            assert kinds[0] is Initialized


async def test_a_half_open_socket_is_noticed_and_left() -> None:
    async with serve() as simulator, model_at(simulator, ping_interval_seconds=0.1, command_timeout_seconds=0.2) as model:
        events = model.events()
        await ring_in(simulator)
        await until(events, CallStarted)
        simulator.configure(half_open=True)
        lost = await until_state(events, ProviderState.RECONNECTING)
        assert model.calls[0].stale, "until then nothing pretends"
        simulator.configure(half_open=False)
        await until_state(events, ProviderState.IN_SERVICE)
        await until(events, SnapshotTaken)
        assert "ping" in str(lost.error)
        assert line_says(model) == switch_says(simulator)
