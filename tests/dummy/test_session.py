"""End to end: settings, initializer, session, dummy provider, switch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

import cti_framework.chain
import cti_framework.model
from cti_dummy import DummyCtiProvider, DummyPbx
from cti_framework import (
    AgentStateChanged,
    Call,
    CallConnected,
    CallDirection,
    CallEvent,
    CallFeature,
    CallFinished,
    CallHeld,
    CallInfoChanged,
    CallStarted,
    CallState,
    CallUnheld,
    CommandRefusedError,
    CredentialsRefusedError,
    CtiModel,
    CtiProviderInitializer,
    CtiUser,
    DtmfEntered,
    EndCause,
    Event,
    InvalidArgumentError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    Party,
    ProviderState,
    Side,
    SnapshotTaken,
    Subscription,
)
from cti_framework.clock import SessionClock
from cti_framework.provider import Simulation
from tests.core.scripted import jumping_backend, living, told, until, until_state

pytestmark = pytest.mark.anyio

PEER = "0501234567"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(autouse=True)
def everything_in_the_loops_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time jumps here, and would jump over whatever a thread does."""

    async def inline(seconds: float, step: str, act: Callable[..., Any], *arguments: object) -> Any:
        return act(*arguments)

    monkeypatch.setattr(cti_framework.chain, "_in_thread", inline)

    def clock() -> SessionClock:
        seconds = anyio.current_time()
        wall = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        return SessionClock(wall=lambda: wall, monotonic=anyio.current_time)

    monkeypatch.setattr(cti_framework.model, "SessionClock", clock)


def initializer(simulation: Simulation) -> CtiProviderInitializer:
    return CtiProviderInitializer({"cti.provider": "dummy", **simulation.settings}, environ={})


def story(events: list[Event]) -> list[str]:
    """What happened to calls, in words."""
    return [
        " ".join(
            [
                type(event).__name__,
                event.call.state.name,
                *([event.by.value] if isinstance(event, CallHeld | CallUnheld | DtmfEntered) else []),
                *([event.digits] if isinstance(event, DtmfEntered) else []),
            ]
        )
        for event in events
        if isinstance(event, CallEvent) and not isinstance(event, CallInfoChanged)
    ]


async def talking(model: CtiModel, events: Subscription, simulation: Simulation) -> Call:
    await model.make_call(simulation.subscriber)
    return (await until(events, CallConnected)).call


async def test_the_whole_scenario_of_an_outgoing_call() -> None:
    before = living()
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = first = model.events()
        after = model.cursor
        call = await model.make_call(simulation.subscriber)
        assert (call.state, call.direction) == (CallState.ALERTING, CallDirection.OUT)
        assert call.other == Party(simulation.subscriber)
        assert call.own.number == "100"
        assert call.features == CallFeature.DROP
        connected = await until(events, CallConnected)
        # The own phone picks up after 60 ms and the far end 150 ms later: talk begins only then.
        assert connected.call.answered_at is not None
        assert connected.call.connected_at is not None
        assert (connected.call.answered_at - call.started_at).total_seconds() == pytest.approx(0.06, abs=0.005)
        assert (connected.call.connected_at - call.started_at).total_seconds() == pytest.approx(0.21, abs=0.005)
        await anyio.sleep(2)
        await simulation.far_side.hold(simulation.subscriber)
        held = await until(events, CallHeld)
        assert held.call.held_by == {Side.OTHER}
        await anyio.sleep(3)
        await model.hold_call()
        assert (await until(events, CallHeld)).call.held_by == {Side.OWN, Side.OTHER}
        await simulation.far_side.unhold(simulation.subscriber)
        assert (await until(events, CallUnheld)).call.state is CallState.HELD
        await anyio.sleep(4)
        await model.unhold_call()
        assert (await until(events, CallUnheld)).call.state is CallState.CONNECTED
        await model.send_dtmf("1#")
        await simulation.far_side.tones(simulation.subscriber, "9")
        await model.drop_call()
        finished = (await until(events, CallFinished)).call
        assert finished.cause is EndCause.NORMAL
        assert finished.ringing_seconds == pytest.approx(0.21, abs=0.005)
        assert finished.talk_seconds == pytest.approx(2, abs=0.1)
        assert finished.hold_seconds == pytest.approx(7, abs=0.1)
        assert finished.total_seconds == pytest.approx(
            finished.ringing_seconds + finished.talk_seconds + finished.hold_seconds, abs=1e-5
        )
        assert first is events
        assert story(told(model.events(after=after))) == [
            "CallStarted ALERTING",
            "CallConnected CONNECTED",
            "CallHeld HELD other",
            "CallHeld HELD own",
            "CallUnheld HELD other",
            "CallUnheld CONNECTED own",
            "DtmfEntered CONNECTED own 1",
            "DtmfEntered CONNECTED own #",
            "DtmfEntered CONNECTED other 9",
            "CallFinished NONE",
        ]
        assert model.calls == ()
        assert model.features == CallFeature.DIAL
        assert model.refused_reports == {}
    assert living() == before


async def test_the_whole_scenario_of_an_incoming_call() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        call_id = await simulation.far_side.incoming("0509999999", "Alice")
        started = await until(events, CallStarted)
        assert started.call.id == call_id
        assert started.call.direction is CallDirection.IN
        assert started.call.other == Party("0509999999", "Alice")
        assert started.call.own.number == "100"
        assert started.call.features == CallFeature.ANSWER | CallFeature.DROP
        await anyio.sleep(5)
        await model.answer_call()
        connected = await until(events, CallConnected)
        assert connected.call.ringing_seconds == pytest.approx(5, abs=0.1)
        await model.hold_call()
        await until(events, CallHeld)
        await model.unhold_call()
        await until(events, CallUnheld)
        await simulation.far_side.hang_up("0509999999")
        finished = (await until(events, CallFinished)).call
        assert not finished.missed
        assert finished.cause is EndCause.NORMAL
        assert model.refused_reports == {}


async def test_the_operators_own_phone_is_picked_up_by_hand() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        await simulation.far_side.incoming("0509999999")
        await simulation.far_side.answer_own()
        await until(events, CallConnected)
        assert model.current_call is not None
        assert CallFeature.HOLD in model.current_call.features


async def test_a_caller_who_gives_up_is_a_missed_call() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        await simulation.far_side.incoming("0509999999")
        await simulation.far_side.hang_up("0509999999")
        finished = (await until(events, CallFinished)).call
        assert finished.missed
        assert finished.cause is EndCause.CANCELLED


async def test_a_call_that_is_declined_is_over() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        await simulation.far_side.incoming("0509999999")
        await model.drop_call()
        finished = (await until(events, CallFinished)).call
        assert finished.connected_at is None
        assert model.calls == ()


async def test_colleagues_call_each_other() -> None:
    async with DummyCtiProvider.simulator() as simulation:
        colleague = CtiUser("101", parameters={"dummy.number": "101"})
        by = initializer(simulation)
        async with by.open(simulation.user) as one, by.open(colleague) as other:
            seen, others = one.events(), other.events()
            await one.make_call("101")
            offered = await until(others, CallStarted)
            assert offered.call.direction is CallDirection.IN
            assert offered.call.other.number == "100"
            assert len(one.calls) == len(other.calls) == 1
            await other.answer_call()
            await until(seen, CallConnected)
            await until(others, CallConnected)
            await one.hold_call()
            assert (await until(seen, CallHeld)).by is Side.OWN
            assert (await until(others, CallHeld)).by is Side.OTHER
            await other.drop_call()
            await until(seen, CallFinished)
            await until(others, CallFinished)
            assert one.refused_reports == other.refused_reports == {}


async def test_two_sessions_of_one_number_see_the_same() -> None:
    async with DummyCtiProvider.simulator() as simulation:
        by = initializer(simulation)
        async with by.open(simulation.user) as one, by.open(simulation.user) as other:
            events = other.events()
            await one.make_call(simulation.subscriber)
            await until(events, CallConnected)
            assert [call.id for call in one.calls] == [call.id for call in other.calls]


async def test_refusals_are_typed() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        for number in ("abc", "+", "05 01", "\u0661\u0662", "1+2", "5\n"):
            with pytest.raises(InvalidArgumentError, match="no number"):
                await model.make_call(number)
        assert model.calls == ()
        with pytest.raises(InvalidArgumentError, match="cannot be chosen"):
            await model.set_agent_state("NONREG")
        with pytest.raises(NotSupportedError):
            await model.make_consult_call("101")
        with pytest.raises(NotSupportedError):
            await model.set_wrap_up(True)
        events = model.events()
        await talking(model, events, simulation)
        with pytest.raises(NotAllowedNowError):
            await model.unhold_call()
        with pytest.raises(NotAllowedNowError):
            await model.make_call("101")
        pbx: DummyPbx = simulation.settings["dummy.pbx"]
        assert model.current_call is not None
        call = model.current_call
        await model.drop_call()
        provider = model._provider
        with pytest.raises(CommandRefusedError, match="The switch refused") as caught:
            await provider.hold_call(call)
        assert caught.value.pbx_text
        assert pbx.switchboard.legs == ()


async def test_a_number_with_star_hash_and_plus_can_be_dialled() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        for number in ("*97#", "+380501234567"):
            call = await model.make_call(number)
            assert call.other.number == number
            await model.drop_call()
            await until(events, CallFinished)


async def test_an_unregistered_phone_refuses_before_there_is_a_call() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        pbx: DummyPbx = simulation.settings["dummy.pbx"]
        pbx.switchboard.set_registered("100@demo.local", False)
        with pytest.raises(CommandRefusedError, match="USER_NOT_REGISTERED"):
            await model.make_call("101")
        assert model.calls == ()


async def test_a_user_whom_the_pbx_does_not_know() -> None:
    async with DummyCtiProvider.simulator() as simulation:
        with pytest.raises(CredentialsRefusedError, match="999"):
            async with initializer(simulation).open(CtiUser("x", parameters={"dummy.number": "999"})):
                pytest.fail("it opened")


async def test_the_agents_state() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        assert model.agent.state == "ONHOOK"
        await model.set_agent_state("DND", "lunch")
        changed = await until(events, AgentStateChanged)
        assert (changed.agent.state, changed.agent.note) == ("DND", "lunch")
        await model.set_agent_state("ONHOOK")
        await until(events, AgentStateChanged)
        assert (model.agent.state, model.agent.note) == ("ONHOOK", None)
        await model.make_call(simulation.subscriber)
        assert (await until(events, AgentStateChanged)).agent.state == "ISBUSY"
        await model.drop_call()
        await until(events, AgentStateChanged, lambda event: event.agent.state == "ONHOOK")


async def test_an_outage_with_a_call_up() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        call = await talking(model, events, simulation)
        await simulation.far_side.drop_network()
        await until_state(events, ProviderState.RECONNECTING)
        assert model.calls[0].stale
        with pytest.raises(NotConnectedError):
            await model.hold_call()
        # Nobody sees the hold; the snapshot tells it.
        await simulation.far_side.hold(simulation.subscriber)
        assert (await until(events, CallHeld)).by is Side.OTHER
        taken = await until(events, SnapshotTaken)
        assert taken.complete
        (now,) = model.calls
        assert (now.id, now.state, now.held_by, now.stale) == (call.id, CallState.HELD, frozenset({Side.OTHER}), False)
        assert (now.started_at, now.connected_at) == (call.started_at, call.connected_at)
        await simulation.far_side.unhold(simulation.subscriber)
        await until(events, CallUnheld)
        await model.drop_call()
        await until(events, CallFinished)
        assert model.refused_reports == {}


async def test_an_outage_in_which_a_call_ends_and_another_begins() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        call = await talking(model, events, simulation)
        await simulation.far_side.drop_network()
        await until_state(events, ProviderState.RECONNECTING)
        await simulation.far_side.hang_up(simulation.subscriber)
        call_id = await simulation.far_side.incoming("0509999999", "Alice")
        seen = []
        async for event in events:
            seen.append(event)
            if isinstance(event, SnapshotTaken):
                break
        # It is so young that a list may not have it yet: a second look ends it.
        assert [call.stale for call in model.calls if call.id == call_id] == [False]
        finished = (await until(events, CallFinished)).call
        assert (finished.id, finished.inferred, finished.cause) == (call.id, True, EndCause.RESYNC)
        (started,) = [event.call for event in seen if isinstance(event, CallStarted)]
        assert (started.id, started.direction, started.other) == (call_id, CallDirection.IN, Party("0509999999", "Alice"))
        await model.answer_call()
        await until(events, CallConnected)


async def test_a_session_that_opens_late_is_told_the_calls_there_are() -> None:
    async with DummyCtiProvider.simulator() as simulation:
        by = initializer(simulation)
        async with by.open(simulation.user) as model:
            events = model.events()
            early = await talking(model, events, simulation)
            await model.hold_call()
            async with by.open(simulation.user) as other:
                (late,) = other.calls
                assert (late.id, late.direction, late.own, late.other) == (early.id, early.direction, early.own, early.other)
                assert (late.state, late.held_by) == (CallState.HELD, frozenset({Side.OWN}))
                assert abs((late.started_at - early.started_at).total_seconds()) < 0.01
                assert late.answered_at is not None
                assert CallFeature.UNHOLD in late.features
                assert other.agent == model.agent


async def test_many_outages_leave_nothing() -> None:
    async with DummyCtiProvider.simulator() as simulation, initializer(simulation).open(simulation.user) as model:
        events = model.events()
        before = living()
        pbx: DummyPbx = simulation.settings["dummy.pbx"]
        for _ in range(50):
            await simulation.far_side.drop_network()
            await until(events, SnapshotTaken)
            await anyio.wait_all_tasks_blocked()
        assert living() == before
        # The PBX listens to its own switch, and the line that is left.
        assert len(pbx.switchboard._delivery._listeners) == 2
        assert len(pbx._lines) == 1


async def test_a_pbx_of_its_own_where_none_is_given() -> None:
    before = living()
    by = CtiProviderInitializer({"SysMsgLib": "Dummy"}, environ={})
    async with by.open("ann") as model:
        events = model.events()
        await model.make_call("0501234567")
        await until(events, CallConnected)
        await model.drop_call()
        await until(events, CallFinished)
        await model.disconnect()
        await model.connect()
        await model.make_call("101")
    gc.collect()
    assert living() == before


async def test_sessions_without_a_pbx_do_not_share_one() -> None:
    by = CtiProviderInitializer({"cti.provider": "dummy"}, environ={})
    async with by.open("ann") as one, by.open("bob") as other:
        await one.make_call("0501234567")
        assert not other.calls
