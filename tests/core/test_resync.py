"""What is told after an outage: when calls ended, whether a thousand of them take long, and what the agent is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import CallDirection, CallState, EndCause, Party, Side
from cti_framework.errors import CommandRefusedError, CommandUnconfirmedError, NetworkError, OutageKind, PluginError
from cti_framework.events import (
    AgentStateChanged,
    CallFinished,
    Disconnected,
    ErrorOccurred,
    Event,
    ProviderState,
    SnapshotTaken,
)
from cti_framework.line import Line
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CtiModel
from cti_framework.provider import Capabilities
from cti_framework.reports import (
    AgentReport,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    IdChanged,
    Offered,
    Originated,
    Report,
    Snapshot,
    Started,
)
from tests.benchmarks.resync import RESYNC_CASES, resync_1000_calls_s, resync_case_s
from tests.core.scripted import (
    ALL_AGENT,
    ALL_CALLS,
    Pbx,
    ScriptedProvider,
    fails,
    jumping_backend,
    session,
    snapshot_of,
    told,
    until,
    until_state,
)

T0 = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_line(*reports: Report) -> Line:
    line = Line("epoch")
    line.apply(Started(at=T0, features=ALL_CALLS, agent_features=ALL_AGENT))
    for report in reports:
        line.apply(report)
    return line


def offered(call_id: str, seconds: float) -> Offered:
    return Offered(at=at(seconds), call_id=call_id, own=Party("100"), other=Party("0501"))


def connected(call_id: str, seconds: float) -> Connected:
    return Connected(at=at(seconds), call_id=call_id)


def held(call_id: str, seconds: float) -> Held:
    return Held(at=at(seconds), call_id=call_id)


def resynced(line: Line, seconds: float, *calls: CallSnapshot, complete: bool = True) -> list[Event]:
    snapshot = Snapshot(at=at(seconds), calls=calls, complete=complete)
    return line.apply_snapshot(snapshot, asked_at_seq=line.seq)


def finished(events: list[Event]) -> CallFinished:
    (event,) = [event for event in events if isinstance(event, CallFinished)]
    return event


def over(call_id: str, **fields: Any) -> CallSnapshot:
    return snapshot_of(call_id, CallState.NONE, **fields)


# When a call ended that nobody saw end ---------------------------------------------------------------------------------


def test_a_call_that_ended_in_an_outage_ended_when_the_connection_was_lost() -> None:
    line = a_line(offered("a", 0), connected("a", 5))
    line.connection_changed(ProviderState.RECONNECTING, at(35))
    line.apply(Started(at=at(95), features=ALL_CALLS))
    call = finished(resynced(line, 100)).call
    assert (call.inferred, call.cause, call.pbx_cause) == (True, EndCause.RESYNC, None)
    assert call.ended_at == at(35)
    assert (call.ringing_seconds, call.talk_seconds, call.hold_seconds) == (5, 30, 0)


@pytest.mark.parametrize(
    ("reports", "seconds"),
    [
        ((), (30, 0, 0)),
        ((connected("a", 10),), (10, 20, 0)),
        ((connected("a", 10), held("a", 15)), (10, 5, 15)),
    ],
)
def test_time_is_booked_until_then_as_what_the_call_did(reports: tuple[Report, ...], seconds: tuple[float, ...]) -> None:
    line = a_line(offered("a", 0), *reports)
    line.connection_changed(ProviderState.RECONNECTING, at(30))
    line.apply(Started(at=at(95), features=ALL_CALLS))
    call = finished(resynced(line, 100)).call
    assert (call.ringing_seconds, call.talk_seconds, call.hold_seconds) == seconds
    assert call.total_seconds == 30


def test_where_death_was_noticed_late_it_ended_when_the_pbx_was_heard_last() -> None:
    line = a_line(offered("a", 0), connected("a", 5))
    line.connection_changed(ProviderState.RECONNECTING, at(100), known_until=at(30))
    line.apply(Started(at=at(110), features=ALL_CALLS))
    assert finished(resynced(line, 111)).call.ended_at == at(30)


def test_it_never_ended_before_its_last_report() -> None:
    line = a_line(offered("a", 0), connected("a", 50))
    line.connection_changed(ProviderState.RECONNECTING, at(100), known_until=at(30))
    line.apply(Started(at=at(110), features=ALL_CALLS))
    call = finished(resynced(line, 111)).call
    assert call.ended_at == at(50)
    assert call.talk_seconds == 0


def test_several_outages_that_ended_in_no_snapshot_are_one() -> None:
    line = a_line(offered("a", 0))
    line.connection_changed(ProviderState.RECONNECTING, at(10))
    line.apply(Started(at=at(20), features=ALL_CALLS))
    line.connection_changed(ProviderState.RECONNECTING, at(25))
    line.apply(Started(at=at(30), features=ALL_CALLS))
    # Nobody knew of it between the two: it was logged in and not asked.
    assert finished(resynced(line, 31)).call.ended_at == at(10)


def test_a_snapshot_that_had_it_is_when_it_was_known_last() -> None:
    line = a_line(offered("a", 0), connected("a", 5))
    line.connection_changed(ProviderState.RECONNECTING, at(10))
    line.apply(Started(at=at(20), features=ALL_CALLS))
    resynced(line, 21, snapshot_of("a"))
    call = finished(resynced(line, 30, over("a"), complete=False)).call
    assert call.ended_at == at(21)
    assert call.talk_seconds == 16


def test_a_pbx_that_knows_when_and_why_is_believed() -> None:
    line = a_line(offered("a", 0), connected("a", 5))
    line.connection_changed(ProviderState.RECONNECTING, at(10))
    line.apply(Started(at=at(95), features=ALL_CALLS))
    told_end = over("a", ended_at=at(65), cause=EndCause.BUSY, pbx_cause="USER_BUSY")
    call = finished(resynced(line, 100, told_end, complete=False)).call
    assert (call.ended_at, call.cause, call.pbx_cause, call.inferred) == (at(65), EndCause.BUSY, "USER_BUSY", True)
    assert call.talk_seconds == 60


def test_what_is_known_of_the_cause_only_in_the_pbxs_words_is_kept() -> None:
    line = a_line(offered("a", 0))
    call = finished(resynced(line, 10, over("a", pbx_cause="LOSE_RACE"))).call
    assert (call.cause, call.pbx_cause) == (EndCause.RESYNC, "LOSE_RACE")


def test_an_end_in_the_future_is_now() -> None:
    line = a_line(offered("a", 0))
    assert finished(resynced(line, 10, over("a", ended_at=at(99)))).call.ended_at == at(10)


def test_an_end_that_is_no_time_is_left_out_and_counted() -> None:
    line = a_line(offered("a", 0), connected("a", 5))
    naive: Any = over("a", ended_at=datetime(2026, 1, 2), cause="busy")  # a plugin's fault
    assert finished(resynced(line, 10, naive)).call.cause is EndCause.RESYNC
    assert line.refusals["bad_report"] == 2


def test_a_report_of_the_end_that_comes_after_all_ends_nothing_twice() -> None:
    line = a_line(offered("a", 0))
    resynced(line, 10)
    assert line.apply(Ended(at=at(11), call_id="a")) == []


# A thousand calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RESYNC_CASES)
def test_a_thousand_calls_agree_within_a_second(case: str) -> None:
    assert min(resync_case_s(case) for _ in range(2)) <= 1.0


def test_the_benchmark_measures_the_worst_case(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = dict.fromkeys(RESYNC_CASES, 0.1) | {"ringing, renamed": 7.0}
    monkeypatch.setattr("tests.benchmarks.resync.resync_case_s", lambda case, calls: seconds[case])
    assert resync_1000_calls_s() == 7.0


CALL_IDS = [f"call-{number}" for number in range(6)]
CALL_REPORTS = st.one_of(
    st.builds(lambda call_id: offered(call_id, 1), st.sampled_from(CALL_IDS)),
    st.builds(
        lambda call_id, parent_id: Originated(at=at(1), call_id=call_id, other=Party("0502"), parent_id=parent_id),
        st.sampled_from(CALL_IDS),
        st.sampled_from([None, *CALL_IDS]),
    ),
    st.builds(lambda call_id: connected(call_id, 2), st.sampled_from(CALL_IDS)),
    st.builds(lambda call_id, by: Held(at=at(3), call_id=call_id, by=by), st.sampled_from(CALL_IDS), st.sampled_from([*Side])),
    st.builds(
        lambda call_id, new_id: IdChanged(at=at(3), call_id=call_id, new_id=new_id),
        st.sampled_from(CALL_IDS),
        st.sampled_from([*CALL_IDS, "renamed"]),
    ),
)
SEEN_CALLS = st.builds(
    lambda call_id, state, direction, held_by, parent_id, former_ids: CallSnapshot(
        call_id=call_id,
        state=state,
        direction=direction,
        held_by=held_by if state is CallState.HELD else frozenset(),
        own=Party("100"),
        other=Party("0503"),
        parent_id=parent_id,
        former_ids=former_ids,
    ),
    st.sampled_from([*CALL_IDS, "new-1", "new-2"]),
    st.sampled_from([*CallState]),
    st.sampled_from([*CallDirection]),
    st.frozensets(st.sampled_from([*Side])),
    st.sampled_from([None, None, None, *CALL_IDS]),
    st.lists(st.sampled_from(CALL_IDS), max_size=1).map(tuple),
)


@given(st.lists(CALL_REPORTS, max_size=25), st.lists(SEEN_CALLS, max_size=8, unique_by=lambda call: call.call_id), st.booleans())
def test_settling_calls_as_they_change_tells_what_settling_all_of_them_each_time_tells(
    reports: list[Report], seen: list[CallSnapshot], complete: bool
) -> None:
    def tell(line: Line) -> list[Event]:
        line.apply(Started(at=T0, features=ALL_CALLS))
        events = [event for report in reports for event in line.apply(report)]
        events += line.connection_changed(ProviderState.RECONNECTING, at(10))
        events += line.apply(Started(at=at(20), features=ALL_CALLS))
        return events + resynced(line, 21, *seen, complete=complete)

    class Thorough(Line):
        def _make_index(self) -> None:
            return None

    line = Line("epoch")
    events = tell(line)
    thorough = Thorough("epoch")
    assert events == tell(thorough)
    assert line.calls == thorough.calls
    # And what is settled stays so.
    assert not line._settle_several()[1]


def test_there_are_calls_that_are_settled_as_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[Any] = []
    settle = Line._settle_in_index

    def noted(line: Line, call: Any, index: Any) -> None:
        settled.append(call)
        settle(line, call, index)

    monkeypatch.setattr(Line, "_settle_in_index", noted)
    assert resync_1000_calls_s(100) > 0
    assert len(settled) > 1000


# The agent -------------------------------------------------------------------------------------------------------------

STATES = (
    AgentState("READY", ready=True),
    AgentState("BREAK", reasons=("LUNCH", "TEA")),
    AgentState("DND"),
    AgentState("BUSY", selectable=False),
    AgentState("GONE", selectable=False, logged_out=True),
)


class Agents(ScriptedProvider):
    """A provider whose PBX knows agents. It forgets in an outage what ``forgets`` says."""

    capabilities = Capabilities(calls=ALL_CALLS, agent=ALL_AGENT, logged_out_state="OUT")
    after: Agent | None = None

    async def run(self) -> None:
        self.pbx.runs += 1
        step = self.pbx.on_run.get(self.pbx.runs)
        if step is not None:
            await step(self)
        self.started(agent_states=STATES, agent=Agent("READY") if self.pbx.runs == 1 else type(self).after)
        await self.pbx.live()

    async def probe(self) -> None:
        await self._asked("probe")


pytest_agents = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


async def asked_after_an_outage(
    monkeypatch: pytest.MonkeyPatch,
    before: Agent,
    after: Agent | None,
    pbx: Pbx | None = None,
    then: Callable[[CtiModel, list[Event]], None] | None = None,
    **options: Any,
) -> list[tuple[Any, ...]]:
    """Be an agent, lose the connection, be told another, and tell what the core asked of the PBX."""
    monkeypatch.setattr(Agents, "after", after)
    pbx = pbx or Pbx()
    async with session(pbx, Agents, **options) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=before))
        events = model.events()
        pbx.cut()
        await until(events, SnapshotTaken)
        await anyio.wait_all_tasks_blocked()
        if then is not None:
            then(model, told(events))
        return [asked for asked in pbx.asked if asked[0] != "probe"]


@pytest_agents
@pytest.mark.parametrize("forgotten", ["", "OUT", "GONE"])
async def test_an_agent_whom_the_pbx_forgot_is_made_what_he_was(monkeypatch: pytest.MonkeyPatch, forgotten: str) -> None:
    asked = await asked_after_an_outage(monkeypatch, Agent("BREAK", reason="TEA"), Agent(forgotten))
    assert asked == [("set_agent_state", "BREAK", "TEA")]


@pytest_agents
@pytest.mark.parametrize("after", [Agent("DND"), Agent("READY"), Agent("BREAK", reason="TEA"), Agent("BUSY"), None])
async def test_what_else_the_pbx_says_is_right(monkeypatch: pytest.MonkeyPatch, after: Agent | None) -> None:
    assert await asked_after_an_outage(monkeypatch, Agent("BREAK", reason="TEA"), after) == []


@pytest_agents
@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (Agent("READY", note="back soon"), [("set_agent_state", "READY", None)]),
        # Where there are no codes, the operator's own words stand for one.
        (Agent("DND", note="in a meeting"), [("set_agent_state", "DND", "in a meeting")]),
        (Agent("BREAK", note="in a meeting"), [("set_agent_state", "BREAK", None)]),
        # Nobody can choose to be in a call; what he is after it he chose.
        (Agent("BUSY"), []),
        (Agent("BUSY", pending="DND"), [("set_agent_state", "DND", None)]),
        (Agent("GONE"), []),
        (Agent(""), []),
    ],
)
async def test_only_what_he_chose_is_given_back(
    monkeypatch: pytest.MonkeyPatch, before: Agent, asked: list[tuple[Any, ...]]
) -> None:
    assert await asked_after_an_outage(monkeypatch, before, Agent("GONE")) == asked


@pytest_agents
@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        (True, False, [("set_call_centre_mode", True)]),
        (True, None, []),
        (True, True, []),
        (False, True, []),
        (False, False, []),
        (None, False, []),
    ],
)
async def test_the_calls_of_queues_are_taken_again(
    monkeypatch: pytest.MonkeyPatch, before: bool | None, after: bool | None, asked: list[tuple[Any, ...]]
) -> None:
    was, told_now = Agent("READY", call_centre_mode=before), Agent("READY", call_centre_mode=after)
    assert await asked_after_an_outage(monkeypatch, was, told_now) == asked


@pytest_agents
async def test_the_state_is_said_last(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await asked_after_an_outage(monkeypatch, Agent("DND", call_centre_mode=True), Agent("OUT", call_centre_mode=False))
    assert asked == [("set_call_centre_mode", True), ("set_agent_state", "DND", None)]


@pytest_agents
@pytest.mark.parametrize("verb", ["set_agent_state", "set_call_centre_mode", "set_wrap_up"])
async def test_what_the_operator_chooses_meanwhile_holds(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT", call_centre_mode=False))
    pbx = Pbx()
    is_asked, is_done = anyio.Event(), anyio.Event()

    async def slowly(on: bool) -> None:
        is_asked.set()
        await is_done.wait()

    async with session(pbx, Agents) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND", call_centre_mode=True)))
        pbx.on_verb["set_call_centre_mode"] = slowly
        pbx.cut()
        with anyio.fail_after(60):
            await is_asked.wait()
        del pbx.on_verb["set_call_centre_mode"]
        # The PBX has not said yet what came of it.
        await getattr(model, verb)("READY" if verb == "set_agent_state" else True)
        is_done.set()
        await anyio.sleep(60)
        assert [asked for asked, *_ in pbx.asked if asked != "probe"] == ["set_call_centre_mode", verb]


@pytest_agents
async def test_what_the_pbx_says_while_he_is_given_back_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT", call_centre_mode=False))
    pbx = Pbx()

    async def changes(on: bool) -> None:
        pbx.provider.context.report(AgentReport(at=pbx.provider.now, agent=Agent("BREAK", call_centre_mode=True)))

    async with session(pbx, Agents) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND", call_centre_mode=True)))
        pbx.on_verb["set_call_centre_mode"] = changes
        events = model.events()
        pbx.cut()
        await until(events, SnapshotTaken)
        await anyio.wait_all_tasks_blocked()
        assert pbx.asked == [("set_call_centre_mode", True)]


@pytest_agents
async def test_who_disconnects_comes_back_as_what_he_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND")))
        events = model.events()
        pbx.cut()
        await until(events, Disconnected)
        await model.disconnect()
        await anyio.sleep(16 * 3600)
        await model.connect()
        await anyio.wait_all_tasks_blocked()
        assert pbx.asked == []


@pytest_agents
async def test_it_can_be_switched_off_and_needs_a_pbx_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    was = Agent("DND", call_centre_mode=True)
    forgotten = Agent("OUT", call_centre_mode=False)
    assert await asked_after_an_outage(monkeypatch, was, forgotten, restore_agent_state=False) == []
    pbx = Pbx()
    pbx.agent_features = AgentFeature.NONE
    assert await asked_after_an_outage(monkeypatch, was, forgotten, pbx) == []


@pytest_agents
async def test_the_first_connection_gives_nothing_back() -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(NetworkError("Nobody there."))}
    model = session(pbx, Agents, wait_for_service=False)
    events = model.events()
    async with model:
        await until_state(events, ProviderState.IN_SERVICE)
        await anyio.wait_all_tasks_blocked()
        assert pbx.asked == []


async def never(*arguments: Any) -> None:
    await anyio.sleep_forever()


def raising(error: Exception) -> Callable[..., Any]:
    async def act(*arguments: Any) -> None:
        raise error

    return act


@pytest_agents
@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (raising(CommandRefusedError("No.")), CommandRefusedError),
        (raising(CommandUnconfirmedError("No answer.")), CommandUnconfirmedError),
        (raising(KeyError("a fault")), PluginError),
    ],
)
async def test_a_pbx_that_will_not_is_told_of_once_and_asked_no_more(
    monkeypatch: pytest.MonkeyPatch, logs: list[Any], act: Any, kind: type[Exception]
) -> None:
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = act

    def check(model: CtiModel, events: list[Event]) -> None:
        (error,) = [event.error for event in events if isinstance(event, ErrorOccurred)]
        assert isinstance(error, kind)
        assert error.step == "set_agent_state"
        assert model.provider_state is ProviderState.IN_SERVICE

    asked = await asked_after_an_outage(monkeypatch, Agent("DND"), Agent("OUT"), pbx, check)
    assert len(asked) == 1
    assert [line["event"] for line in logs if line["log_level"] == "warning"].count("cti.agent.not_restored") == 1


@pytest_agents
async def test_a_pbx_that_never_answers_is_given_up_in_time_and_asked_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = pbx.on_verb["probe"] = never
    async with session(pbx, Agents, liveness=LivenessPolicy(silence_seconds=0)) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND")))
        events = model.events()
        pbx.cut()
        await until(events, ErrorOccurred)
        lost = await until_state(events, ProviderState.RECONNECTING)
        assert OutageKind.of(lost.error or ValueError()) is OutageKind.FROZEN


@pytest_agents
async def test_what_was_not_given_back_before_the_next_outage_is_given_back_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = never
    async with session(pbx, Agents) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND")))
        events = model.events()
        pbx.cut()
        await until(events, AgentStateChanged, lambda event: event.agent.state == "OUT")
        await anyio.wait_all_tasks_blocked()
        assert pbx.asked == [("set_agent_state", "DND", None)]
        pbx.on_verb.clear()
        pbx.cut()
        await until(events, SnapshotTaken)
        await until(events, SnapshotTaken)
        await anyio.wait_all_tasks_blocked()
        assert pbx.asked == [("set_agent_state", "DND", None)] * 2


@pytest_agents
async def test_each_outage_gives_back_what_he_was_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))
    pbx = Pbx()
    async with session(pbx, Agents) as model:
        for state in ("DND", "READY"):
            pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent(state)))
            events = model.events()
            pbx.cut()
            await until(events, SnapshotTaken)
            await anyio.wait_all_tasks_blocked()
        assert pbx.asked == [("set_agent_state", "DND", None), ("set_agent_state", "READY", None)]
