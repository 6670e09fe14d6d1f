"""Giving the agent back: what he had chosen when the connection was lost, and what is left for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.agents import Agent
from cti_framework.errors import CommandError, CommandRefusedError, CommandStage, CommandUnconfirmedError
from cti_framework.events import ErrorOccurred, ProviderState, SnapshotTaken
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CtiModel
from cti_framework.reports import AgentReport
from tests.core.scripted import Pbx, jumping_backend, session, told, until, until_state
from tests.core.test_resync import Agents, never, raising

pytestmark = pytest.mark.anyio

DND = ("set_agent_state", "DND", None)
READY = ("set_agent_state", "READY", None)
UNCONFIRMED = CommandUnconfirmedError("The connection was lost before it answered.")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT", call_centre_mode=False))


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


def says(model: CtiModel, pbx: Pbx, agent: Agent) -> None:
    pbx.provider.context.report(AgentReport(at=model.now(), agent=agent))


def asked(pbx: Pbx) -> list[tuple[Any, ...]]:
    return [each for each in pbx.asked if each[0] != "probe"]


async def outage(model: CtiModel, pbx: Pbx) -> list[tuple[Any, ...]]:
    """Lose the connection, and tell what the core asked of the PBX when it was back."""
    before, events = len(pbx.asked), model.events()
    pbx.cut()
    await until(events, SnapshotTaken)
    await anyio.wait_all_tasks_blocked()
    return [each for each in pbx.asked[before:] if each[0] != "probe"]


async def chooses(model: CtiModel, verb: str = "set_agent_state", *arguments: Any) -> None:
    with pytest.raises(CommandError):
        await getattr(model, verb)(*(arguments or ("DND",)))


class Losing(Agents):
    """Tells whoever waits for an answer that there will be none, before its connection has ended."""

    async def run(self) -> None:
        self.lost = anyio.Event()
        try:
            await super().run()
        finally:
            self.lost.set()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        self.pbx.asked.append(("set_agent_state", state, reason))
        if len(self.pbx.asked) == 1:
            await self.lost.wait()
            raise UNCONFIRMED


# Left for the next connection ------------------------------------------------------------------------------------------


async def test_what_was_on_its_way_when_the_connection_broke_is_given_back_after_it() -> None:
    pbx = Pbx()
    async with session(pbx, Losing) as model:
        says(model, pbx, Agent("DND"))
        assert await outage(model, pbx) == [DND]
        assert await outage(model, pbx) == [DND]
        # Once is enough.
        assert await outage(model, pbx) == []


async def test_a_pbx_that_hung_is_asked_again_after_the_connection_was_given_up_for_it() -> None:
    pbx = Pbx()
    async with session(pbx, Agents, liveness=LivenessPolicy(silence_seconds=0)) as model:
        says(model, pbx, Agent("DND"))
        events = model.events()
        pbx.on_verb = {"set_agent_state": never, "probe": never}
        pbx.cut()
        await until(events, ErrorOccurred)
        del pbx.on_verb["set_agent_state"]
        await until(events, SnapshotTaken)
        await anyio.wait_all_tasks_blocked()
        assert asked(pbx) == [DND, DND]


async def test_one_that_was_not_answered_is_not_given_back_hours_later() -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        says(model, pbx, Agent("DND"))
        pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
        assert await outage(model, pbx) == [DND]
        pbx.on_verb.clear()
        await anyio.sleep(3600)
        assert await outage(model, pbx) == []


async def test_what_the_pbx_told_since_is_newer_than_what_was_not_given_back() -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        says(model, pbx, Agent("DND", call_centre_mode=True))
        pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
        assert await outage(model, pbx) == [("set_call_centre_mode", True), DND]
        pbx.on_verb.clear()
        says(model, pbx, Agent("READY", call_centre_mode=False))
        assert await outage(model, pbx) == [("set_call_centre_mode", True), READY]


# What he chose ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["under way", "unconfirmed", "accepted", "cancelled"])
async def test_what_he_chose_last_is_given_back_and_nothing_older(how: str) -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model, anyio.create_task_group() as tasks:
        if how == "under way":
            pbx.on_verb = {"set_agent_state": never}
            tasks.start_soon(chooses, model)
        elif how == "unconfirmed":
            pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
            await chooses(model)
        elif how == "accepted":
            await model.set_agent_state("DND")
        else:
            pbx.on_verb = {"set_agent_state": never}
            with anyio.move_on_after(1):
                await model.set_agent_state("DND")
        await anyio.wait_all_tasks_blocked()
        assert asked(pbx) == [DND]
        pbx.on_verb.clear()
        assert await outage(model, pbx) == [DND]
        # The PBX has been asked: what it tells from now on is right.
        says(model, pbx, Agent("READY"))
        assert await outage(model, pbx) == [READY]
        tasks.cancel_scope.cancel()


async def test_a_choice_with_a_reason_keeps_it() -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
    async with session(pbx, Agents) as model:
        await chooses(model, "set_agent_state", "BREAK", "TEA")
        pbx.on_verb.clear()
        assert await outage(model, pbx) == [("set_agent_state", "BREAK", "TEA")]


@pytest.mark.parametrize("act", [None, raising(UNCONFIRMED)], ids=["accepted", "unconfirmed"])
async def test_what_the_pbx_told_after_it_is_newer(act: Callable[..., Any] | None) -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        if act is None:
            await model.set_agent_state("DND")
        else:
            pbx.on_verb = {"set_agent_state": act}
            await chooses(model)
            pbx.on_verb.clear()
        says(model, pbx, Agent("BREAK", reason="TEA"))
        assert await outage(model, pbx) == [("set_agent_state", "BREAK", "TEA")]


async def test_a_pbx_that_said_otherwise_after_the_outage_is_right_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
    async with session(pbx, Agents) as model:
        await chooses(model)
        pbx.on_verb.clear()
        monkeypatch.setattr(Agents, "after", Agent("READY"))
        assert await outage(model, pbx) == []
        monkeypatch.setattr(Agents, "after", Agent("OUT"))
        assert await outage(model, pbx) == [READY]


async def test_what_was_refused_he_is_not() -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_agent_state": raising(CommandRefusedError("No."))}
    async with session(pbx, Agents) as model:
        await chooses(model)
        pbx.on_verb.clear()
        assert await outage(model, pbx) == [READY]


async def test_what_was_told_not_to_be_sent_is_not_sent_later_and_nothing_older_is() -> None:
    pbx = Pbx()
    gone = anyio.Event()

    async def not_sent(*arguments: Any) -> None:
        await gone.wait()
        raise CommandError("It was not sent.", stage=CommandStage.NOT_SENT)

    pbx.on_verb = {"set_agent_state": not_sent}
    async with session(pbx, Agents) as model, anyio.create_task_group() as tasks:
        events = model.events()
        tasks.start_soon(chooses, model)
        await anyio.wait_all_tasks_blocked()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        gone.set()
        await until(events, SnapshotTaken)
        await anyio.wait_all_tasks_blocked()
        assert asked(pbx) == [DND]


async def test_after_call_work_on_its_way_gives_nothing_back() -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_wrap_up": raising(UNCONFIRMED)}
    async with session(pbx, Agents) as model:
        await chooses(model, "set_wrap_up", True)
        assert await outage(model, pbx) == []


async def test_after_call_work_that_the_pbx_told_of_is_what_he_is() -> None:
    pbx = Pbx()

    async def tells(on: bool) -> None:
        says(model, pbx, Agent("DND"))

    pbx.on_verb = {"set_wrap_up": tells}
    async with session(pbx, Agents) as model:
        await model.set_wrap_up(False)
        assert await outage(model, pbx) == [DND]


@pytest.mark.parametrize("on", [False, True])
async def test_the_calls_of_queues_are_as_he_chose(on: bool) -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_call_centre_mode": raising(UNCONFIRMED)}
    async with session(pbx, Agents) as model:
        says(model, pbx, Agent("READY", call_centre_mode=not on))
        await chooses(model, "set_call_centre_mode", on)
        pbx.on_verb.clear()
        assert await outage(model, pbx) == [*([("set_call_centre_mode", True)] if on else []), READY]


async def test_who_chooses_often_is_remembered_once() -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        for number in range(50):
            await model.set_agent_state("DND" if number % 2 else "BREAK")
            await model.set_call_centre_mode(bool(number % 2))
        assert model._keeper._agents is not None
        assert len(model._keeper._agents._choices) <= 2
        assert (await outage(model, pbx))[-1] == DND


async def test_who_disconnects_has_chosen_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pbx = Pbx()
    pbx.on_verb = {"set_agent_state": raising(UNCONFIRMED)}
    async with session(pbx, Agents) as model:
        await chooses(model)
        pbx.on_verb.clear()
        await model.disconnect()
        # The same again is no news of him.
        monkeypatch.setattr(Agents, "after", Agent("READY"))
        await model.connect()
        monkeypatch.setattr(Agents, "after", Agent("OUT"))
        assert await outage(model, pbx) == [READY]


# How loud --------------------------------------------------------------------------------------------------------------


async def test_one_loud_line_then_quiet_and_a_loud_one_when_he_is_given_back(logs: list[Any]) -> None:
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        events = model.events()
        for number in range(3):
            says(model, pbx, Agent("DND"))
            pbx.on_verb = {"set_agent_state": raising(CommandRefusedError("No."))} if number < 2 else {}
            assert await outage(model, pbx) == [DND]
        # A host is told each time.
        assert len([event for event in told(events) if isinstance(event, ErrorOccurred)]) == 2
        says(model, pbx, Agent("DND"))
        await outage(model, pbx)
    lines = [(line["event"], line["log_level"]) for line in logs if line["event"].startswith("cti.agent")]
    assert lines == [
        ("cti.agent.not_restored", "warning"),
        ("cti.agent.not_restored", "debug"),
        ("cti.agent.restored", "warning"),
        ("cti.agent.restored", "info"),
    ]
