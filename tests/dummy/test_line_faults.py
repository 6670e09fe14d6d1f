"""Lines to the PBX in memory on which something goes wrong, as the provider without a session sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_dummy import DummyPbx
from cti_framework.calls import CallState
from cti_framework.errors import CommandError, CommandStage, CtiError
from cti_framework.reports import Started, Tones
from cti_framework.switchboard.faults import (
    DelayMessages,
    DropLink,
    DuplicateEvents,
    FaultScript,
    HalfOpen,
    LoseReplies,
    ReorderEvents,
    SlowPeer,
)
from tests.core.scripted import jumping_backend
from tests.dummy.test_dummy import Bench

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


class Asking:
    """A verb that is under way."""

    def __init__(self, verb: Callable[[], Awaitable[object]]) -> None:
        self.over = anyio.Event()
        self.value: object = None
        self.error: CtiError | None = None
        self._verb = verb

    async def run(self) -> None:
        try:
            self.value = await self._verb()
        except CtiError as error:
            self.error = error
        self.over.set()


async def asked(tasks: anyio.abc.TaskGroup, verb: Callable[[], Awaitable[object]]) -> Asking:
    asking = Asking(verb)
    tasks.start_soon(asking.run)
    await anyio.wait_all_tasks_blocked()
    return asking


async def talking(bench: Bench, pbx: DummyPbx) -> str:
    """Have a caller talked to; give the operator's leg."""
    _, (own, *_) = pbx.switchboard.incoming("0671", OWN)
    pbx.switchboard.answer(own.uuid)
    await anyio.wait_all_tasks_blocked()
    assert bench.call.state is CallState.CONNECTED
    return own.uuid


async def test_without_an_answer_a_verb_waits_and_is_unconfirmed_when_the_line_is_lost() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with anyio.create_task_group() as tasks:
        running = await asked(tasks, bench.provider.run)
        pbx.faults.apply(LoseReplies())
        calling = await asked(tasks, lambda: bench.provider.make_call("0501"))
        assert not calling.over.is_set()
        assert bench.call.other.number == "0501"
        pbx.faults.apply(DropLink())
        await running.over.wait()
        await calling.over.wait()
        assert isinstance(calling.error, CommandError)
        assert calling.error.stage is CommandStage.UNCONFIRMED
        after = await asked(tasks, lambda: bench.provider.make_call("0502"))
        assert isinstance(after.error, CommandError)
        assert after.error.stage is CommandStage.NOT_SENT
    assert len(pbx.switchboard.legs_of(OWN)) == 1


async def test_a_half_open_line_answers_no_probe_and_a_sound_one_does() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running(), anyio.create_task_group() as tasks:
        await bench.provider.probe()
        pbx.faults.apply(HalfOpen())
        probing = await asked(tasks, bench.provider.probe)
        pbx.switchboard.incoming("0671", OWN)
        await anyio.sleep(3600)
        assert not probing.over.is_set()
        assert len(bench.reports) == 1
        tasks.cancel_scope.cancel()


async def test_a_slow_pbx_does_what_it_is_asked_when_it_reads_it() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running(), anyio.create_task_group() as tasks:
        await talking(bench, pbx)
        pbx.faults.apply(SlowPeer(seconds=5.0))
        holding = await asked(tasks, lambda: bench.provider.hold_call(bench.call))
        pbx.switchboard.advance(4.9)
        await anyio.wait_all_tasks_blocked()
        assert not holding.over.is_set()
        pbx.switchboard.advance(0.1)
        await holding.over.wait()
        assert (holding.error, bench.call.state) == (None, CallState.HELD)


async def test_what_comes_twice_says_nothing_new_and_a_tone_that_does_is_one() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running():
        pbx.faults.apply(DuplicateEvents(messages=1000))
        own = await talking(bench, pbx)
        pbx.switchboard.hold(own)
        pbx.switchboard.unhold(own)
        pbx.switchboard.tones(own, "55")
        assert [report.digits for report in bench.reports if isinstance(report, Tones)] == ["5", "5"]
        assert (bench.call.state, bench.line.refusals["repeated"] > 0) == (CallState.CONNECTED, True)
        pbx.switchboard.hang_up(own)
        assert bench.line.calls == ()
        assert bench.line.refusals["ended"] == 1


async def test_tones_of_two_calls_that_change_places_are_all_told() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running():
        first = await talking(bench, pbx)
        _, (second, *_) = pbx.switchboard.incoming("0672", OWN)
        pbx.switchboard.answer(second.uuid)
        pbx.faults.apply(ReorderEvents(messages=1))
        pbx.switchboard.tones(first, "1")
        pbx.switchboard.tones(second.uuid, "2")
        assert [report.digits for report in bench.reports if isinstance(report, Tones)] == ["2", "1"]


async def test_what_is_told_before_the_log_in_is_answered_is_left_to_the_snapshot() -> None:
    pbx = DummyPbx()
    pbx.faults.play(FaultScript.parse("1 reply 1 delay seconds=2.0"))
    bench = Bench(pbx)
    async with bench.running():
        pbx.switchboard.incoming("0671", OWN)
        assert bench.reports == []
        pbx.switchboard.advance(2)
        await anyio.wait_all_tasks_blocked()
        (started,) = bench.reports
        assert isinstance(started, Started)
        assert [call.other.number for call in (await bench.provider.snapshot()).calls] == ["0671"]


async def test_a_late_event_about_a_leg_that_is_gone_still_counts() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running():
        _, (own, *_) = pbx.switchboard.incoming("0671", OWN, name="Ann")
        pbx.faults.apply(DelayMessages(messages=100, seconds=1.0))
        pbx.switchboard.answer(own.uuid)
        pbx.switchboard.hang_up(own.uuid)
        pbx.switchboard.advance(1)
        told = [type(report).__name__ for report in bench.reports if hasattr(report, "call_id")]
        assert told == ["Offered", "Answered", "Connected", "Ended"]


async def test_a_call_that_is_over_before_its_answer_comes_was_made() -> None:
    pbx = DummyPbx()
    bench = Bench(pbx)
    async with bench.running(), anyio.create_task_group() as tasks:
        pbx.faults.apply(DelayMessages(messages=100, seconds=1.0))
        calling = await asked(tasks, lambda: bench.provider.make_call("0501"))
        pbx.faults.apply(DelayMessages(messages=100, seconds=0.0))
        (leg,) = pbx.switchboard.legs_of(OWN)
        pbx.switchboard.hang_up(leg.uuid)
        pbx.switchboard.advance(1)
        await calling.over.wait()
        assert isinstance(calling.error, CommandError)
        assert calling.error.stage is CommandStage.ACCEPTED
