from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_dummy import DummyCtiProvider, DummyPbx, DummySettings, DummyUserSettings
from cti_framework.calls import Call, CallDirection, CallFeature, CallState, Party, Side
from cti_framework.clock import SessionClock
from cti_framework.errors import CredentialsRefusedError, NetworkError, NotSupportedError
from cti_framework.line import Line
from cti_framework.provider import PROVIDER_API, BaseCtiProvider, CtiUser, ProviderContext
from cti_framework.reports import Report, Started
from cti_framework.switchboard import FarSide, Switchboard
from tests.core.scripted import jumping_backend, living

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


class Bench:
    """A provider without a session: its reports, and the line that they make."""

    def __init__(self, pbx: DummyPbx, number: str = "100") -> None:
        self.reports: list[Report] = []
        self.line = Line("bench")
        self.provider = DummyCtiProvider(
            ProviderContext(
                user=CtiUser(number),
                settings=DummySettings(pbx=pbx),
                user_settings=DummyUserSettings(number=number),
                clock=SessionClock(monotonic=lambda: pbx.switchboard.clock.elapsed_seconds),
                report=self.report,
                find_call=self.line.find,
            )
        )

    def report(self, *reports: Report) -> None:
        for report in reports:
            self.reports.append(report)
            self.line.apply(report)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.provider.run)
            await anyio.wait_all_tasks_blocked()
            yield
            tasks.cancel_scope.cancel()

    @property
    def call(self) -> Call:
        (call,) = self.line.calls
        return call


def test_it_is_for_this_contract() -> None:
    assert DummyCtiProvider.provider_api == PROVIDER_API
    assert DummyCtiProvider.settings_type is DummySettings
    assert DummyCtiProvider.user_settings_type is DummyUserSettings


def test_it_overrides_the_verbs_that_it_declares_and_no_other() -> None:
    verbs = {
        "answer_call": CallFeature.ANSWER,
        "hold_call": CallFeature.HOLD,
        "unhold_call": CallFeature.UNHOLD,
        "send_dtmf": CallFeature.DTMF,
        "make_consult_call": CallFeature.CONSULT,
        "complete_transfer": CallFeature.COMPLETE_TRANSFER,
        "cancel_transfer": CallFeature.CANCEL_TRANSFER,
        "blind_transfer": CallFeature.BLIND_TRANSFER,
        "alternate": CallFeature.ALTERNATE,
        "conference": CallFeature.CONFERENCE,
        "set_mute": CallFeature.MUTE,
        "set_video": CallFeature.VIDEO,
        "start_recording": CallFeature.RECORDING,
        "monitor": CallFeature.MONITOR,
    }
    for verb, feature in verbs.items():
        overridden = getattr(DummyCtiProvider, verb) is not getattr(BaseCtiProvider, verb)
        assert overridden is (feature in DummyCtiProvider.capabilities.calls), verb


async def test_started_comes_first_and_the_line_is_unplugged_at_the_end() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running():
        (started,) = bench.reports
        assert isinstance(started, Started)
        assert started.own_numbers == ("100",)
        assert started.agent is not None
        assert started.agent.state in {state.code for state in started.agent_states}
        assert len(pbx._lines) == 1
    assert not pbx._lines
    pbx.switchboard.incoming("0501", "100@demo.local")
    assert bench.reports == [started]


async def test_a_leg_that_is_renamed_is_the_same_call() -> None:
    pbx = DummyPbx()
    bench, switch = Bench(pbx), pbx.switchboard
    async with bench.running():
        _, (own, *_) = switch.incoming("0501", "100@demo.local")
        first = own.uuid
        switch.answer(own.uuid)
        switch.rename(own.uuid, "second")
        switch.rename("second", "third")
        assert (bench.call.id, bench.call.former_ids) == ("third", (first, "second"))
        (seen,) = (await bench.provider.snapshot()).calls
        assert (seen.call_id, seen.former_ids) == ("third", (first, "second"))
        switch.hang_up("third")
        assert bench.line.calls == ()
        assert not bench.line.refusals
    assert not pbx._former


async def test_a_call_that_the_switch_joins_with_another_is_with_whom_it_is_now() -> None:
    pbx = DummyPbx()
    bench, switch = Bench(pbx), pbx.switchboard
    async with bench.running():
        _, (own, *_) = switch.incoming("0501", "100@demo.local")
        _, (other, *_) = switch.incoming("0502", "101@demo.local")
        switch.answer(own.uuid)
        switch.answer(other.uuid)
        assert bench.call.other.number == "0501"
        assert other.partner is not None
        switch.bridge(own.uuid, other.partner.uuid)
        switch.advance(5)
        assert bench.call.other.number == "0502"


async def test_it_tells_what_is_recorded() -> None:
    pbx = DummyPbx()
    bench, switch = Bench(pbx), pbx.switchboard
    async with bench.running():
        _, (own, *_) = switch.incoming("0501", "100@demo.local")
        switch.answer(own.uuid)
        for recorded in (True, False):
            switch.record(own.uuid, recorded)
            assert bench.call.recording is recorded
            assert [seen.recording for seen in (await bench.provider.snapshot()).calls] == [recorded]


async def test_a_line_that_is_cut_is_a_lost_network() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    with pytest.raises(NetworkError, match="was cut"):
        async with anyio.create_task_group() as tasks:
            outcome: list[BaseException] = []

            async def run() -> None:
                try:
                    await bench.provider.run()
                except NetworkError as error:
                    outcome.append(error)

            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            pbx.cut()
        raise outcome[0]
    assert not pbx._lines


async def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(CredentialsRefusedError, match="999"):
        await Bench(DummyPbx(), "999").provider.run()


async def test_the_snapshot_is_what_the_reports_told() -> None:
    pbx = DummyPbx()
    switch = pbx.switchboard
    bench = Bench(pbx)
    async with bench.running():
        (empty,) = [await bench.provider.snapshot()]
        assert (empty.calls, empty.complete) == ((), True)
        assert empty.agent == bench.line.agent or empty.agent is not None

        async def agrees(state: CallState, held_by: frozenset[Side]) -> None:
            (seen,) = (await bench.provider.snapshot()).calls
            call = bench.call
            assert (seen.state, seen.held_by) == (state, held_by) == (call.state, call.held_by)
            assert (seen.call_id, seen.direction, seen.own, seen.other) == (call.id, call.direction, call.own, call.other)
            assert seen.started_at is not None
            assert abs((seen.started_at - call.started_at).total_seconds()) < 0.001
            assert (seen.answered_at is None) is (call.answered_at is None)

        call = await bench.provider.make_call("0501234567")
        await agrees(CallState.ALERTING, frozenset())
        switch.advance(0.07)
        await agrees(CallState.ALERTING, frozenset())
        assert bench.call.answered_at is not None
        switch.advance(1)
        await agrees(CallState.CONNECTED, frozenset())
        await bench.provider.hold_call(call)
        await agrees(CallState.HELD, frozenset({Side.OWN}))
        far = switch.legs_at("0501234567")[-1].uuid
        switch.hold(far)
        await agrees(CallState.HELD, frozenset({Side.OWN, Side.OTHER}))
        await bench.provider.unhold_call(call)
        await agrees(CallState.HELD, frozenset({Side.OTHER}))
        switch.unhold(far)
        await agrees(CallState.CONNECTED, frozenset())
        await bench.provider.drop_call(call)
        assert (await bench.provider.snapshot()).calls == ()
        assert bench.line.calls == ()


async def test_the_snapshot_of_an_incoming_call() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running():
        pbx.switchboard.incoming("0509999999", "100@demo.local", name="Alice")
        (seen,) = (await bench.provider.snapshot()).calls
        assert seen.direction is CallDirection.IN
        assert seen.other == Party("0509999999", "Alice") == bench.call.other
        assert seen.state is CallState.ALERTING
        await bench.provider.answer_call(bench.call)
        (seen,) = (await bench.provider.snapshot()).calls
        assert seen.state is CallState.CONNECTED is bench.call.state


async def test_a_switch_of_another_time_is_told_in_ours() -> None:
    switch = Switchboard(start=datetime(2001, 1, 1, tzinfo=UTC))
    switch.add_account("100", "demo.local")
    pbx = DummyPbx(switch)
    bench = Bench(pbx)
    async with bench.running():
        await bench.provider.make_call("0501234567")
        now = bench.provider.context.clock.now()
        assert abs((bench.call.started_at - now).total_seconds()) < 1
        assert abs((pbx.switchboard.now - now).total_seconds()) > 86_400


# The simulator ---------------------------------------------------------------------------------------------------------


async def test_the_simulator_gives_what_tools_need_and_leaves_nothing() -> None:
    before = living()
    async with DummyCtiProvider.simulator() as simulation:
        assert isinstance(simulation.far_side, FarSide)
        assert simulation.user.id == "100"
        assert simulation.subscriber.isdecimal()
        assert simulation.notes
        assert all(key.startswith("dummy.") for key in simulation.settings)
    assert living() == before


@pytest.mark.parametrize("error", [ValueError("mine"), ExceptionGroup("mine", [ValueError("x")]), NetworkError("mine")])
async def test_the_simulator_lets_exceptions_of_its_block_out_as_they_are(error: Exception) -> None:
    before = living()
    with pytest.raises(type(error)) as caught:
        async with DummyCtiProvider.simulator():
            raise error
    assert caught.value is error
    assert living() == before


async def test_the_simulator_can_be_cancelled() -> None:
    before = living()
    with anyio.move_on_after(1) as scope:
        async with DummyCtiProvider.simulator():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert living() == before


async def test_the_simulator_is_no_server_and_replays_nothing() -> None:
    with pytest.raises(NotSupportedError, match="listens"):
        DummyCtiProvider.serve_simulator(host="127.0.0.1", port=0, control_port=0)
    with pytest.raises(NotSupportedError, match="replay"):
        DummyCtiProvider.replay([])


async def test_two_simulators_do_not_mix() -> None:
    async with DummyCtiProvider.simulator() as one, DummyCtiProvider.simulator() as other:
        await one.far_side.incoming("0501")
        assert len(one.settings["dummy.pbx"].switchboard.legs) == 2
        assert not other.settings["dummy.pbx"].switchboard.legs
