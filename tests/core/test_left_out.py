"""A snapshot is an answer that was on its way: what it is too old or too young for is left as it is, and asked for again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.agents import Agent
from cti_framework.calls import CallFeature, CallState, Party, Side
from cti_framework.errors import CommandRefusedError, CommandUnconfirmedError, CtiError, NotAllowedNowError, PluginError
from cti_framework.events import CallFinished, ErrorOccurred, Event, ProviderState, SnapshotTaken
from cti_framework.line import Line
from cti_framework.reports import (
    AgentReport,
    CallCentreModeReport,
    CallReport,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    InfoChanged,
    Muted,
    Offered,
    RecordingReport,
    Report,
    Retrieved,
    Snapshot,
    Started,
    Tones,
)
from tests.core.scripted import (
    ALL_AGENT,
    ALL_CALLS,
    Pbx,
    ScriptedProvider,
    jumping_backend,
    session,
    snapshot_of,
    told,
    until,
    until_state,
)

T0 = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
STARTED = Started(at=T0, features=ALL_CALLS, agent_features=ALL_AGENT)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_line(*reports: Report, lost_at: float | None = 30) -> Line:
    """A line that was told something and lost its connection; at 60 it is back."""
    line = Line("epoch")
    for report in (STARTED, *reports):
        line.apply(report)
    if lost_at is not None:
        line.connection_changed(ProviderState.RECONNECTING, at(lost_at))
        line.apply(Started(at=at(60), features=ALL_CALLS, agent_features=ALL_AGENT))
    return line


def rings(call_id: str = "c", seconds: float = 0) -> Offered:
    return Offered(at=at(seconds), call_id=call_id, other=Party("0501"))


def talks(call_id: str = "c", seconds: float = 1) -> Connected:
    return Connected(at=at(seconds), call_id=call_id)


def answered(line: Line, *calls: CallSnapshot, asked: int | None = None, seconds: float = 61, **fields: Any) -> list[Event]:
    """Apply the answer to a question that was asked a second before, or at once."""
    asked_at_seq = line.seq if asked is None else asked
    snapshot = Snapshot(at=at(seconds), calls=calls, **fields)
    return line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq, asked_at=at(seconds - 1))


# What is too old for a call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [
        Tones(at=at(60), call_id="c", digits="1"),
        Muted(at=at(60), call_id="c", on=True),
        RecordingReport(at=at(60), call_id="c", on=True),
    ],
)
def test_what_no_snapshot_says_makes_none_older(report: CallReport) -> None:
    line = a_line(rings())
    asked = line.seq
    assert line.apply(report)
    answered(line, snapshot_of("c"), asked=asked)
    assert (line.calls[0].state, line.calls[0].stale, line.left_out) == (CallState.CONNECTED, False, ())


def test_it_shows_that_the_call_is_there() -> None:
    line = a_line(rings())
    asked = line.seq
    line.apply(Tones(at=at(60), call_id="c", digits="1"))
    answered(line, asked=asked)
    assert line.left_out == ("c",)
    answered(line, seconds=63)
    assert not line.calls
    assert not line.left_out


@pytest.mark.parametrize(
    "reports",
    [
        (InfoChanged(at=at(60), call_id="c", attributes={"x": 1}),),
        (Held(at=at(60), call_id="c", by=Side.OWN), Retrieved(at=at(60), call_id="c", by=Side.OWN)),
    ],
)
def test_what_was_told_of_since_is_left_out_and_stays_stale_until_it_is_asked_for_again(reports: tuple[Report, ...]) -> None:
    line = a_line(rings(), rings("other"))
    asked = line.seq
    for report in reports:
        assert line.apply(report)
    seen = (snapshot_of("c"), snapshot_of("other"))
    answered(line, *seen, asked=asked)
    call, other = line.calls
    assert (line.left_out, call.stale, call.features) == (("c",), True, CallFeature.NONE)
    assert (other.state, other.stale) == (CallState.CONNECTED, False)
    answered(line, *seen, seconds=63)
    assert (line.left_out, line.calls[0].state, line.calls[0].stale) == ((), CallState.CONNECTED, False)


def test_what_was_told_again_is_as_new() -> None:
    # Held before, taken back in the outage, and held again after the question.
    line = a_line(rings(), talks(), Held(at=at(2), call_id="c", by=Side.OWN))
    asked = line.seq
    assert not [event for event in line.apply(Held(at=at(60), call_id="c", by=Side.OWN)) if "Held" in type(event).__name__]
    answered(line, snapshot_of("c"), asked=asked)
    assert (line.calls[0].state, line.left_out) == (CallState.HELD, ("c",))


def test_of_a_call_that_was_seen_to_begin_since_nothing_is_missing() -> None:
    line = a_line()
    asked = line.seq
    line.apply(rings(seconds=60))
    line.apply(Connected(at=at(60), call_id="adopted"))
    answered(line, asked=asked)
    assert [call.id for call in line.calls] == ["c", "adopted"]
    assert line.left_out == ("adopted",)


def test_a_call_that_is_over_is_left_out_no_more_and_neither_is_one_whose_connection_is_lost() -> None:
    line = a_line(rings(), rings("b"))
    asked = line.seq
    for call_id in ("b", "c"):
        line.apply(InfoChanged(at=at(60), call_id=call_id, attributes={"x": 1}))
    answered(line, asked=asked)
    line.apply(Ended(at=at(61), call_id="c"))
    assert line.left_out == ("b",)
    line.connection_changed(ProviderState.RECONNECTING, at(62))
    assert not line.left_out


def test_an_answer_to_another_question_that_tells_only_a_part_forgets_nothing() -> None:
    line = a_line(rings())
    asked = line.seq
    line.apply(InfoChanged(at=at(60), call_id="c", attributes={"x": 1}))
    answered(line, asked=asked)
    answered(line, complete=False)
    assert line.left_out == ("c",)


# What is too young for a list ------------------------------------------------------------------------------------------


def test_a_young_call_is_over_when_two_looks_have_not_shown_it() -> None:
    line = a_line(rings(seconds=29.9))
    line.apply(rings("new", seconds=60))
    answered(line, seconds=61)
    assert [(call.id, call.stale) for call in line.calls] == [("new", False)]
    assert line.left_out == ("new",)
    # The same lag: both were asked for at about the same time.
    answered(line, seconds=61.5)
    assert line.left_out == ("new",)
    ended = [event for event in answered(line, seconds=62) if isinstance(event, CallFinished)]
    assert [event.call.id for event in ended] == ["new"]
    assert not line.left_out


def test_a_young_call_of_before_a_short_outage_is_stale_meanwhile() -> None:
    line = a_line(rings(seconds=58), lost_at=59)
    answered(line, seconds=61)
    assert [(call.stale, call.features) for call in line.calls] == [(True, CallFeature.NONE)]
    assert line.left_out == ("c",)
    answered(line, snapshot_of("c", CallState.ALERTING), seconds=63)
    assert [call.stale for call in line.calls] == [False]


def test_what_a_list_has_shown_cannot_be_missing_for_its_age() -> None:
    line = a_line(lost_at=None)
    answered(line, snapshot_of("c", started_at=at(59)), seconds=60)
    answered(line, seconds=61)
    assert line.calls == ()


def test_what_is_told_of_a_missing_call_begins_the_count_anew() -> None:
    line = a_line()
    line.apply(rings(seconds=59))
    answered(line, seconds=61)
    asked = line.seq
    line.apply(talks(seconds=62))
    answered(line, asked=asked, seconds=63)
    assert line.left_out == ("c",)


def test_that_it_is_over_may_be_said_of_a_young_call() -> None:
    line = a_line()
    line.apply(rings(seconds=60))
    answered(line, snapshot_of("c", CallState.NONE))
    assert line.calls == ()


def test_a_list_that_nobody_asked_for_does_not_lag() -> None:
    line = a_line(lost_at=None)
    line.apply(rings())
    line.apply(Snapshot(at=at(1)))
    assert line.calls == ()


# What says nothing -----------------------------------------------------------------------------------------------------


def test_a_call_of_which_the_pbx_does_not_say_what_it_does_stays_as_it_is() -> None:
    line = a_line(rings(), talks(), Held(at=at(2), call_id="c", by=Side.OWN))
    events = answered(line, snapshot_of("c", CallState.UNKNOWN))
    assert "CallUnheld" not in [type(event).__name__ for event in events]
    (call,) = line.calls
    assert (call.state, call.held_by, call.stale) == (CallState.HELD, frozenset({Side.OWN}), False)
    assert CallFeature.UNHOLD in call.features


@pytest.mark.parametrize("state", [CallState.ALERTING, CallState.BUSY])
@pytest.mark.parametrize("holders", [frozenset(), frozenset({Side.OWN})])
def test_no_call_goes_back(state: CallState, holders: frozenset[Side]) -> None:
    line = a_line(rings(), talks(), *(Held(at=at(2), call_id="c", by=side) for side in holders))
    answered(line, snapshot_of("c", state))
    (call,) = line.calls
    assert (call.state, call.held_by, call.stale) == (CallState.CONNECTED, frozenset(), False)
    assert not line.refusals


# The agent -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["BREAK", "READY"])
def test_what_was_told_of_the_agent_since_is_newer(before: str) -> None:
    line = a_line(AgentReport(at=T0, agent=Agent(before)))
    asked = line.seq
    line.apply(AgentReport(at=at(60), agent=Agent("BREAK")))
    answered(line, asked=asked, agent=Agent("READY"))
    assert line.agent.state == "BREAK"
    assert line.is_agent_left_out
    answered(line, agent=Agent("READY"))
    assert line.agent.state == "READY"
    assert not line.is_agent_left_out


def test_of_the_agent_only_what_was_told_since_is_newer() -> None:
    line = a_line(AgentReport(at=T0, agent=Agent("BREAK", call_centre_mode=True)))
    asked = line.seq
    line.apply(CallCentreModeReport(at=at(60), on=False))
    answered(line, asked=asked, agent=Agent("READY", call_centre_mode=True))
    assert line.agent == Agent("READY", call_centre_mode=False)


# What is offered before the calls are known ----------------------------------------------------------------------------


def test_no_call_is_offered_to_be_made_until_it_is_known_which_there_are() -> None:
    free = CallFeature.DIAL | CallFeature.MONITOR
    line = Line("epoch", waits_for_calls=True)
    line.apply(STARTED)
    assert line.features == CallFeature.NONE
    # A part that the provider tells by itself is not the answer.
    line.apply(Snapshot(at=at(1), complete=False))
    assert line.features == CallFeature.NONE
    answered(line)
    assert line.features == free
    line.apply(STARTED)
    assert line.features == free
    line.connection_changed(ProviderState.RECONNECTING, at(70))
    line.apply(STARTED)
    assert line.features == CallFeature.NONE
    answered(line, complete=False)
    assert line.features == free


# The core asks again ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


def telling(*reports: Callable[[ScriptedProvider], Report]) -> Callable[[ScriptedProvider], Any]:
    """Answer a question for the calls that are there, after something else was told."""

    async def step(provider: ScriptedProvider) -> Snapshot:
        provider.context.report(*(report(provider) for report in reports))
        await anyio.sleep(0.1)
        return Snapshot(at=provider.now, calls=provider.pbx.calls)

    return step


def info(provider: ScriptedProvider) -> Report:
    return InfoChanged(at=provider.now, call_id="c", attributes={"asked": provider.pbx.snapshots})


@pytest.mark.anyio
async def test_no_call_stays_wrong_because_something_was_told_of_it_meanwhile() -> None:
    pbx = Pbx()
    pbx.on_snapshot = dict.fromkeys(range(2, 6), telling(info))
    async with session(pbx) as model:
        pbx.provider.offered("c")
        await anyio.sleep(60)
        events = model.events()
        pbx.calls = (snapshot_of("c"),)
        pbx.cut()
        for _ in range(4):
            await until(events, SnapshotTaken)
            assert [(call.state, call.stale) for call in model.calls] == [(CallState.ALERTING, True)]
        await until(events, SnapshotTaken)
        assert [(call.state, call.stale) for call in model.calls] == [(CallState.CONNECTED, False)]
        await anyio.sleep(3600)
        assert pbx.snapshots == 6


@pytest.mark.anyio
async def test_who_is_told_of_for_ever_is_asked_for_ever_less_often() -> None:
    pbx = Pbx()
    pbx.on_snapshot = dict.fromkeys(range(2, 10_000), telling(info))
    async with session(pbx) as model:
        pbx.provider.offered("c")
        pbx.cut()
        await anyio.sleep(3600)
        assert 3600 / 16 <= pbx.snapshots <= 3600 / 8 + 10
        assert [call.stale for call in model.calls] == [True]


@pytest.mark.anyio
async def test_a_call_that_rings_right_after_the_log_in_is_not_hidden_by_a_list_that_lags() -> None:
    pbx = Pbx()

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        provider.offered("c")
        await pbx.live()

    pbx.on_run[1] = run
    pbx.on_snapshot[2] = lambda provider: telling()(provider)
    async with session(pbx) as model:
        events = model.events()
        assert [call.id for call in model.calls] == ["c"]
        pbx.calls = (snapshot_of("c", CallState.ALERTING),)
        await until(events, SnapshotTaken)
        await anyio.sleep(3600)
        assert [call.id for call in model.calls] == ["c"]
        assert pbx.snapshots == 2


@pytest.mark.anyio
async def test_one_that_no_list_shows_is_over() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        pbx.provider.offered("c")
        pbx.cut()
        (call,) = (await until(events, SnapshotTaken)).calls
        assert call.stale
        finished = await until(events, CallFinished)
        assert finished.call.inferred
        assert pbx.snapshots == 3


async def never(provider: ScriptedProvider) -> Any:
    await anyio.sleep_forever()


def failing(error: Exception) -> Callable[[ScriptedProvider], Any]:
    async def step(provider: ScriptedProvider) -> Any:
        raise error

    return step


async def nonsense(provider: ScriptedProvider) -> Any:
    return None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (failing(CommandRefusedError("no rights to list channels")), CommandRefusedError),
        (failing(KeyError("a fault")), PluginError),
        (nonsense, PluginError),
        (never, CommandUnconfirmedError),
    ],
)
async def test_a_host_is_told_once_that_the_calls_are_not_known_and_offered_no_new_ones(step: Any, kind: type[CtiError]) -> None:
    pbx = Pbx()
    with capture_logs():
        async with session(pbx) as model:
            events = model.events()
            assert CallFeature.DIAL in model.features
            pbx.on_snapshot = dict.fromkeys(range(2, 7), step)
            pbx.cut()
            error = await until(events, ErrorOccurred)
            assert isinstance(error.error, kind)
            assert error.error.step == "snapshot"
            assert model.provider_state is ProviderState.IN_SERVICE
            assert CallFeature.DIAL not in model.features
            with pytest.raises(NotAllowedNowError):
                await model.make_call("0501")
            rest: list[Event] = []
            async for event in events:
                rest.append(event)
                if isinstance(event, SnapshotTaken):
                    break
            assert not [event for event in rest if isinstance(event, ErrorOccurred)]
            assert CallFeature.DIAL in model.features
            # The next row of failures is told of, too.
            pbx.on_snapshot = {pbx.snapshots + 1: step}
            pbx.cut()
            await until(events, ErrorOccurred)
            await until(events, SnapshotTaken)


@pytest.mark.anyio
async def test_opening_does_not_wait_for_ever_for_calls_that_are_not_told() -> None:
    pbx = Pbx()
    pbx.on_snapshot = dict.fromkeys(range(1, 1000), failing(CommandRefusedError("not now")))
    async with session(pbx) as model:
        events = model.events()
        assert model.provider_state is ProviderState.IN_SERVICE
        await anyio.sleep(60)
        assert not [event for event in told(events) if isinstance(event, ErrorOccurred)]
        pbx.cut()
        await until_state(events, ProviderState.IN_SERVICE)
