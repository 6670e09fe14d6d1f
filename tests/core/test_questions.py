"""What the core asks of a provider that does not end: time-outs hold, a loss is told at once, and the next connection is made."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import attrs
import pytest
from structlog.testing import capture_logs

from cti_framework.agents import Agent
from cti_framework.calls import CallFeature
from cti_framework.commands import CommandTimeouts
from cti_framework.errors import CommandUnconfirmedError, OutageKind
from cti_framework.events import Disconnected, ProviderState, SnapshotTaken
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CtiModel
from cti_framework.questions import Questions
from cti_framework.reports import AgentReport
from tests.core.scripted import (
    POLICY,
    Pbx,
    ScriptedProvider,
    jumping_backend,
    living,
    session,
    snapshot_of,
    state_of,
    until,
    until_state,
)
from tests.core.test_resync import Agents

pytestmark = pytest.mark.anyio

WATCHED = LivenessPolicy(silence_seconds=60.0, probe_timeout_seconds=10.0)
GRACE_SECONDS = 1.0


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


def now() -> float:
    return anyio.current_time()


def calls(model: CtiModel) -> list[str]:
    return [call.id for call in model.calls]


def given_up(logs: list[Any]) -> list[str]:
    return [line["verb"] for line in logs if line["event"] == "cti.provider.given_up"]


class Stuck:
    """A question that does not end when it is cancelled, until it is let go."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._go = threading.Event()
        self.began = anyio.Event()

    async def __call__(self, *arguments: Any) -> Any:
        self.began.set()
        if self._how == "thread":
            # As a library that blocks is called: anyio does not leave a thread.
            await anyio.to_thread.run_sync(self._go.wait, 60.0)
        else:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10_000)

    def let_go(self) -> None:
        self._go.set()


class Counted(Agents):
    """Knows agents, and counts what runs at once."""

    async def run(self) -> None:
        pbx = self.pbx
        pbx.running += 1
        pbx.most_running = max(pbx.most_running, pbx.running)
        try:
            await super().run()
        finally:
            pbx.running -= 1


@pytest.fixture(params=["thread", "shield"])
def stuck(request: pytest.FixtureRequest) -> Iterator[Stuck]:
    made = Stuck(request.param)
    yield made
    made.let_go()


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))


@pytest.mark.parametrize("question", ["probe", "snapshot", "set_agent_state"])
async def test_a_lost_connection_is_told_at_once_and_the_next_one_is_made(stuck: Stuck, question: str, logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.calls = (snapshot_of("a"),)
    async with session(pbx, Counted, liveness=WATCHED) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND")))
        events = model.events()
        if question == "snapshot":
            pbx.on_snapshot = {2: stuck}
        else:
            pbx.on_verb = {question: stuck}
        if question == "probe":
            model._keeper.suspect()
        else:
            pbx.cut()
        with anyio.fail_after(60):
            await stuck.began.wait()
        if question == "snapshot":
            await until_state(events, ProviderState.IN_SERVICE)
        began_at, runs, events = now(), pbx.runs, model.events()
        pbx.cut()
        await anyio.wait_all_tasks_blocked()
        assert state_of(model) is not ProviderState.IN_SERVICE
        assert [call.stale for call in model.calls] == [True]
        assert model.features is CallFeature.NONE
        assert now() - began_at <= GRACE_SECONDS
        pbx.on_verb.clear()
        await until_state(events, ProviderState.RECONNECTING)
        await until_state(events, ProviderState.IN_SERVICE)
        await until(events, SnapshotTaken)
        assert now() - began_at <= GRACE_SECONDS + POLICY.initial_delay_seconds * 4
        assert [call.stale for call in model.calls] == [False]
        assert (pbx.runs, pbx.most_running) == (runs + 1, 1)
        assert given_up(logs) == [question]
        stuck.let_go()


async def test_the_time_of_a_snapshot_holds(stuck: Stuck, logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_snapshot = {1: stuck}
    began_at = now()
    async with session(pbx, policy=attrs.evolve(POLICY, snapshot_timeout_seconds=0.5)) as model:
        assert now() - began_at == pytest.approx(0.5 + GRACE_SECONDS)
        assert state_of(model) is ProviderState.IN_SERVICE
        await until(model.events(), SnapshotTaken)
        assert pbx.runs == 1
        stuck.let_go()
    assert given_up(logs) == ["snapshot"]


async def test_the_time_of_a_probe_holds(stuck: Stuck, logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_verb = {"probe": stuck}
    async with session(pbx, Agents, liveness=WATCHED) as model:
        events = model.events()
        began_at = now()
        lost = await until(events, Disconnected)
        assert OutageKind.of(lost.error or ValueError()) is OutageKind.FROZEN
        assert now() - began_at == pytest.approx(70.0 + GRACE_SECONDS)
        pbx.on_verb.clear()
        await until_state(events, ProviderState.IN_SERVICE)
        stuck.let_go()
    assert given_up(logs) == ["probe"]


async def test_the_search_for_a_call_does_not_wait_for_it_either(stuck: Stuck, logs: list[Any]) -> None:
    async def unanswered(*arguments: Any) -> None:
        raise CommandUnconfirmedError("The answer was lost.")

    pbx = Pbx()
    pbx.on_verb, pbx.on_snapshot = {"make_call": unanswered}, {2: stuck}
    async with session(pbx, timeouts=CommandTimeouts(resolve_seconds=5)) as model:
        began_at = now()
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call("0501234567")
        assert now() - began_at == pytest.approx(5 + GRACE_SECONDS)
        stuck.let_go()


async def test_closing_does_not_wait_for_it(stuck: Stuck) -> None:
    pbx = Pbx()
    pbx.on_snapshot = {1: stuck}
    model = session(pbx, wait_for_service=False)
    async with model:
        await stuck.began.wait()
        began_at = now()
    assert now() - began_at <= GRACE_SECONDS
    assert state_of(model) is ProviderState.CLOSED
    stuck.let_go()


async def test_what_is_left_of_a_question_says_nothing_of_the_next_connection() -> None:
    pbx = Pbx()
    is_asked, go = anyio.Event(), anyio.Event()

    async def ghost() -> None:
        await go.wait()
        pbx.provider.offered("ghost")

    async def asks(provider: ScriptedProvider) -> Any:
        tasks.start_soon(ghost)
        is_asked.set()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(10_000)

    pbx.on_snapshot = {2: asks}
    async with session(pbx) as model, anyio.create_task_group() as tasks:
        events = model.events()
        pbx.cut()
        with anyio.fail_after(60):
            await is_asked.wait()
        pbx.cut()
        await until(events, SnapshotTaken)
        assert state_of(model) is ProviderState.IN_SERVICE
        heard_at = model._liveness.heard_at
        await anyio.sleep(1)
        go.set()
        await anyio.wait_all_tasks_blocked()
        assert calls(model) == []
        assert model.refused_reports == {"not_connected": 1}
        assert model._liveness.heard_at == heard_at
        # The others are believed as ever.
        pbx.provider.offered("a")
        assert calls(model) == ["a"]


async def test_one_that_ends_in_time_is_waited_for_before_the_next_connection_begins() -> None:
    order: list[str] = []

    async def tidies_up(provider: ScriptedProvider) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.9)
            order.append(f"ended, runs: {pbx.runs}")

    pbx = Pbx()
    pbx.on_snapshot = {1: tidies_up}
    model = session(pbx, wait_for_service=False, policy=attrs.evolve(POLICY, initial_delay_seconds=0.01))
    async with model:
        events = model.events()
        await until_state(events, ProviderState.IN_SERVICE)
        await anyio.wait_all_tasks_blocked()
        pbx.cut()
        await until(events, SnapshotTaken)
        assert order == ["ended, runs: 1"]
        assert pbx.runs == 2


async def test_what_it_gives_and_what_it_raises_comes_out_and_nothing_is_left() -> None:
    questions = Questions("scripted", None)

    async def gives(value: Awaitable[int]) -> int:
        return await value

    async def seven() -> int:
        await anyio.sleep(1)
        return 7

    async def raises() -> None:
        raise KeyboardInterrupt

    before = living()
    assert await questions.ask("x", lambda: gives(seven())) == 7
    with pytest.raises(KeyboardInterrupt):
        await questions.ask("x", raises)
    with anyio.move_on_after(0.5) as scope:
        await questions.ask("x", seven)
    assert scope.cancelled_caught
    assert living() == before
    assert not questions.has_left
    assert not questions.is_of_one_left()
