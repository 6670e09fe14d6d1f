from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import CallFeature, CallState, EndCause, Party, Side
from cti_framework.errors import (
    AddressError,
    CommandUnconfirmedError,
    CredentialsRefusedError,
    CtiError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
    PluginError,
)
from cti_framework.eventlog import Subscription
from cti_framework.events import (
    CallConnected,
    CallFinished,
    CallHeld,
    CallStarted,
    CallUnheld,
    Disconnected,
    ErrorOccurred,
    Event,
    Initialized,
    ProviderState,
    ProviderStateChanged,
    SnapshotTaken,
)
from cti_framework.reports import Held, Offered, Snapshot, Started
from tests.core.scripted import (
    POLICY,
    Pbx,
    ScriptedProvider,
    fails,
    jumping_backend,
    living,
    session,
    snapshot_of,
    state_of,
    told,
    until,
    until_state,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


def states(events: list[Event]) -> list[tuple[ProviderState, int]]:
    return [(event.state, event.attempt) for event in events if isinstance(event, ProviderStateChanged)]


# The pauses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_pauses_double_up_to_the_maximum_and_are_drawn_from_their_upper_half(draw: float, share: float) -> None:
    policy = ReconnectPolicy(initial_delay_seconds=1.0, maximum_delay_seconds=10.0)
    pauses = [policy.delay_seconds(failures, lambda: draw) for failures in range(1, 8)]
    assert pauses == [share * longest for longest in (1, 2, 4, 8, 10, 10, 10)]


def test_pauses_of_endless_outages_are_the_maximum() -> None:
    policy = ReconnectPolicy(maximum_delay_seconds=60.0)
    assert policy.delay_seconds(10_000, lambda: 1.0) == 60.0


async def began(session_events: Subscription, pbx: Pbx, count: int) -> list[float]:
    """Read on for a number of attempts and tell the pauses before each."""
    pauses: list[float] = []
    waiting: ProviderStateChanged | None = None
    while len(pauses) < count:
        event = await until(session_events, ProviderStateChanged)
        if event.next_try_at is not None:
            waiting = event
        elif waiting is not None:
            pauses.append((event.at - waiting.at).total_seconds())
            assert waiting.next_try_at is not None
            assert abs((waiting.next_try_at - event.at).total_seconds()) < 1e-3
            waiting = None
    return pauses


async def test_each_attempt_waits_as_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.")) for number in range(1, 7)}
    model = session(pbx, wait_for_service=False)
    monkeypatch.setattr(model._keeper, "_draw", lambda: 1.0)
    events = model.events()
    async with model:
        assert await began(events, pbx, 6) == pytest.approx([1, 2, 4, 8, 8, 8])
        await until_state(events, ProviderState.IN_SERVICE)


async def test_pauses_stay_long_while_connections_do_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Thrown out."), in_service=True) for number in range(1, 5)}
    model = session(pbx, wait_for_service=False)
    monkeypatch.setattr(model._keeper, "_draw", lambda: 1.0)
    events = model.events()
    async with model:
        assert await began(events, pbx, 4) == pytest.approx([1, 2, 4, 8])


async def test_pauses_start_small_again_after_a_connection_that_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lasts(provider: ScriptedProvider) -> None:
        provider.started()
        await anyio.sleep(POLICY.stable_after_seconds)
        raise NetworkError("Cut.")

    pbx = Pbx()
    pbx.on_run = {1: fails(NetworkError("Nobody there.")), 2: fails(NetworkError("Nobody there.")), 3: lasts}
    model = session(pbx, wait_for_service=False)
    monkeypatch.setattr(model._keeper, "_draw", lambda: 1.0)
    events = model.events()
    async with model:
        assert await began(events, pbx, 3) == pytest.approx([1, 2, 1])


async def test_a_slow_log_in_is_no_connection_that_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(provider: ScriptedProvider) -> None:
        await anyio.sleep(2 * POLICY.stable_after_seconds)
        provider.started()
        raise NetworkError("Thrown out.")

    pbx = Pbx()
    pbx.on_run = dict.fromkeys(range(1, 4), slow)
    model = session(pbx, wait_for_service=False)
    monkeypatch.setattr(model._keeper, "_draw", lambda: 1.0)
    events = model.events()
    async with model:
        assert await began(events, pbx, 3) == pytest.approx([1, 2, 4])


# The states ------------------------------------------------------------------------------------------------------------


async def test_states_of_an_outage_in_order() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(NetworkError("Nobody there."))}
    model = session(pbx)
    events = model.events()
    async with model:
        opened = told(events)
        assert states(opened) == [(ProviderState.CONNECTING, 1), (ProviderState.IN_SERVICE, 0)]
        assert [type(event) for event in opened if isinstance(event, Initialized | SnapshotTaken)] == [Initialized, SnapshotTaken]
        pbx.cut()
        seen: list[Event] = []
        async for event in events:
            seen.append(event)
            if isinstance(event, SnapshotTaken):
                break
        assert states(seen) == [
            (ProviderState.RECONNECTING, 1),
            (ProviderState.RECONNECTING, 1),
            (ProviderState.RECONNECTING, 2),
            (ProviderState.RECONNECTING, 2),
            (ProviderState.IN_SERVICE, 0),
        ]
        changes = [event for event in seen if isinstance(event, ProviderStateChanged)]
        assert [change.next_try_at is not None for change in changes] == [True, False, True, False, False]
        assert len({change.since for change in changes[:4]}) == 1
        assert changes[4].since > changes[0].since
        assert str(changes[0].error) == "The line was cut."
        assert str(changes[2].error) == "Nobody there."
        assert changes[4].error is None
        (lost,) = [event for event in seen if isinstance(event, Disconnected)]
        assert lost.seq < changes[0].seq
        assert str(lost.error) == "The line was cut."
    assert states(told(events)) == [(ProviderState.CLOSED, 0)]


async def test_a_pbx_that_was_never_reached_is_out_of_service() -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(NetworkError("Nobody there."))}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        await until_state(events, ProviderState.IN_SERVICE)
    numbered = model.events(after=events.cursor)
    assert [event.seq for event in told(numbered)] == list(range(events.cursor.seq + 1, model.cursor.seq + 1))
    assert pbx.runs == 2


@pytest.mark.parametrize("error", [CredentialsRefusedError("No such user."), AddressError("That is no address.")])
@pytest.mark.parametrize("wait", [True, False])
async def test_refused_credentials_and_unusable_addresses_are_never_tried_again(error: CtiError, wait: bool) -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(error)}
    model = session(pbx, wait_for_service=wait)
    events = model.events()
    if wait:
        with pytest.raises(type(error)) as caught:
            async with model:
                pytest.fail("it opened")
        assert caught.value is error
    else:
        async with model:
            assert (await until_state(events, ProviderState.FAILED)).error is error
            await anyio.sleep(3600)
    assert pbx.runs == 1
    assert state_of(model) is ProviderState.FAILED
    assert (ProviderState.CLOSED, 0) not in states(told(model.events(after=None)))


async def test_credentials_refused_after_an_outage_end_it() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(CredentialsRefusedError("The password was changed."))}
    async with session(pbx) as model:
        events = model.events()
        pbx.provider.offered("a")
        pbx.cut()
        failed = await until_state(events, ProviderState.FAILED)
        assert isinstance(failed.error, CredentialsRefusedError)
        await anyio.sleep(3600)
        assert pbx.runs == 2
        assert model.calls[0].stale


@pytest.mark.parametrize("leave", [ValueError("x"), ExceptionGroup("two", [ValueError("x"), KeyError("y")])])
async def test_a_foreign_exception_is_named_with_the_plugin_and_tried_again(leave: Exception) -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(leave)}
    with capture_logs() as logs:
        async with session(pbx) as model:
            events = model.events()
            pbx.cut()
            changed = await until(events, ProviderStateChanged, lambda event: isinstance(event.error, PluginError))
            assert changed.error is not None
            assert "'scripted'" in str(changed.error)
            assert type(leave).__name__ in str(changed.error)
            assert changed.error.__cause__ is leave
            await until_state(events, ProviderState.IN_SERVICE)
    assert "cti.provider.raised" in [line["event"] for line in logs]


async def test_an_error_in_a_group_of_the_providers_own_is_found() -> None:
    refused = CredentialsRefusedError("No such user.")
    group = ExceptionGroup("both", [NetworkError("Cut."), ExceptionGroup("inner", [refused])])
    pbx = Pbx()
    pbx.on_run = {1: fails(group)}
    with pytest.raises(CredentialsRefusedError) as caught:
        async with session(pbx):
            pytest.fail("it opened")
    assert caught.value is refused


async def test_a_provider_that_returns_is_taken_for_a_lost_connection() -> None:
    async def returns(provider: ScriptedProvider) -> None:
        return

    pbx = Pbx()
    pbx.on_run = {1: returns}
    with pytest.raises(NetworkError, match="'scripted' ended"):
        async with session(pbx):
            pytest.fail("it opened")


async def test_a_connection_that_ends_right_after_its_log_in_is_not_taken_for_a_live_one() -> None:
    async def flickers(provider: ScriptedProvider) -> None:
        provider.started()
        raise NetworkError("Cut.")

    pbx = Pbx()
    pbx.on_run = {1: flickers}
    with pytest.raises(NetworkError, match="Cut"):
        async with session(pbx):
            pytest.fail("it opened")
    assert pbx.snapshots == 0


async def test_a_snapshot_of_a_connection_that_broke_meanwhile_is_not_believed() -> None:
    pbx = Pbx()

    async def late(provider: ScriptedProvider) -> Snapshot:
        pbx.cut()
        with anyio.CancelScope(shield=True):
            while pbx.running:
                await anyio.lowlevel.checkpoint()
        return Snapshot(at=provider.now, calls=(snapshot_of("ghost"),))

    pbx.on_snapshot = {1: late}
    with pytest.raises(NetworkError, match="cut"):
        async with session(pbx) as model:
            pytest.fail(f"it opened with {model.calls}")


async def test_a_provider_that_never_says_started_is_given_up_in_time() -> None:
    pbx = Pbx()
    pbx.on_run = {1: lambda provider: provider.pbx.live()}
    began_at = anyio.current_time()
    with pytest.raises(NetworkError, match="did not log in within 30 s"):
        async with session(pbx):
            pytest.fail("it opened")
    assert anyio.current_time() - began_at == pytest.approx(POLICY.log_in_timeout_seconds)
    assert pbx.running == 0


async def test_a_command_that_failed_in_the_log_in_is_tried_again() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(CommandUnconfirmedError("login: no answer"))}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.IN_SERVICE)
        assert pbx.runs == 3


async def test_a_started_that_is_no_such_thing_does_not_put_it_in_service() -> None:
    async def naive(provider: ScriptedProvider) -> None:
        provider.context.report(Started(at=provider.now.replace(tzinfo=None)))
        await provider.pbx.live()

    pbx = Pbx()
    pbx.on_run = {1: naive}
    with pytest.raises(NetworkError, match="did not log in"):
        async with session(pbx):
            pytest.fail("it opened")


async def test_what_is_reported_without_a_connection_is_refused() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(NetworkError("Nobody there."))}
    async with session(pbx) as model:
        events = model.events()
        pbx.provider.offered("a")
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        pbx.provider.started()
        pbx.provider.connected("a")
        assert state_of(model) is ProviderState.RECONNECTING
        assert model.calls[0].stale
        assert model.calls[0].state is CallState.ALERTING
        await until_state(events, ProviderState.IN_SERVICE)


# What a provider does when it is stopped -------------------------------------------------------------------------------


async def swallows(provider: ScriptedProvider) -> None:
    provider.started()
    try:
        await provider.pbx.live()
    except anyio.get_cancelled_exc_class():
        pass
    await provider.pbx.live()


async def takes_long(provider: ScriptedProvider) -> None:
    provider.started()
    try:
        await provider.pbx.live()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)


async def raises(provider: ScriptedProvider) -> None:
    provider.started()
    try:
        await provider.pbx.live()
    finally:
        raise ValueError("while closing")


async def raises_in_a_group(provider: ScriptedProvider) -> None:
    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while closing")

    provider.started()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child)
        await provider.pbx.live()


BAD_CLOSERS = [swallows, takes_long, raises, raises_in_a_group]


@pytest.mark.parametrize("closer", BAD_CLOSERS)
async def test_a_provider_that_closes_badly_is_closed_and_leaves_nothing(closer: Callable[..., Any]) -> None:
    before = living()
    pbx = Pbx()
    pbx.on_run = {1: closer}
    async with session(pbx) as model:
        pass
    assert living() == before
    assert pbx.running == 0
    assert state_of(model) is ProviderState.CLOSED


@pytest.mark.parametrize("closer", BAD_CLOSERS)
async def test_a_provider_that_closes_badly_is_disconnected_and_connected_again(closer: Callable[..., Any]) -> None:
    pbx = Pbx()
    pbx.on_run = {1: closer}
    async with session(pbx) as model:
        events = model.events()
        await model.disconnect()
        # Whoever ended it knows: nothing was lost.
        states = [event.state for event in told(events) if isinstance(event, ProviderStateChanged)]
        assert states == [ProviderState.CLOSED]
        assert pbx.running == 0
        assert state_of(model) is ProviderState.CLOSED
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.most_running == 1


@pytest.mark.parametrize("closer", [raises, raises_in_a_group])
async def test_a_provider_that_closes_badly_after_its_time_is_tried_again(closer: Callable[..., Any]) -> None:
    async def silent(provider: ScriptedProvider) -> None:
        provider.started = lambda **fields: None  # type: ignore[method-assign]  # this one connection says nothing
        try:
            await closer(provider)
        finally:
            del provider.started

    pbx = Pbx()
    pbx.on_run = {1: silent}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        await until_state(events, ProviderState.IN_SERVICE)
        assert pbx.runs == 2


# Calls through an outage -----------------------------------------------------------------------------------------------


async def test_calls_are_stale_and_nothing_is_offered_meanwhile() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        pbx.provider.offered("a")
        pbx.provider.connected("a")
        assert CallFeature.HOLD in model.calls[0].features
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        (call,) = model.calls
        assert call.stale
        assert call.features is CallFeature.NONE
        assert call.state is CallState.CONNECTED
        assert model.features is CallFeature.NONE
        for act in (lambda: model.make_call("200"), lambda: model.hold_call(), lambda: model.drop_call("a")):
            with pytest.raises(NotConnectedError, match="reconnecting") as caught:
                await act()
            assert caught.value.stage.value == "not_sent"
        assert pbx.asked == []


async def test_after_an_outage_the_line_agrees_with_the_pbx() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        for call_id in ("gone", "stays", "over"):
            pbx.provider.offered(call_id)
            pbx.provider.connected(call_id)
        pbx.provider.ended("over")
        told(events)
        await anyio.sleep(60)
        pbx.calls = (snapshot_of("stays"), snapshot_of("new", CallState.ALERTING, other=Party("0777")), snapshot_of("over"))
        pbx.cut()
        taken = await until(events, SnapshotTaken)
        assert [call.id for call in model.calls] == [call.id for call in taken.calls] == ["stays", "new"]
        history = told(model.events(after=None)) or []
        assert history == []
        assert not any(call.stale for call in model.calls)
        assert CallFeature.DROP in model.calls[0].features
        assert model.calls[1].other == Party("0777")
        assert model.calls[1].features == CallFeature.ANSWER | CallFeature.DROP


async def test_each_difference_is_an_event() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        pbx.provider.offered("gone")
        pbx.provider.connected("gone")
        await anyio.sleep(60)
        events = model.events()
        pbx.calls = (snapshot_of("new", CallState.CONNECTED),)
        pbx.cut()
        seen: list[Event] = []
        async for event in events:
            seen.append(event)
            if isinstance(event, SnapshotTaken):
                break
        (finished,) = [event for event in seen if isinstance(event, CallFinished)]
        assert (finished.call.id, finished.call.inferred, finished.call.cause) == ("gone", True, EndCause.RESYNC)
        assert [type(event) for event in seen if getattr(getattr(event, "call", None), "id", "") == "new"][:2] == [
            CallStarted,
            CallConnected,
        ]


async def test_hold_follows_the_snapshot() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        for call_id in ("a", "b"):
            pbx.provider.offered(call_id)
            pbx.provider.connected(call_id)
        pbx.provider.context.report(Held(at=model.now(), call_id="a", by=Side.OWN))
        events = model.events()
        pbx.calls = (
            snapshot_of("a"),
            snapshot_of("b", CallState.HELD, held_by=frozenset({Side.OTHER})),
        )
        pbx.cut()
        seen: list[Event] = []
        async for event in events:
            seen.append(event)
            if isinstance(event, SnapshotTaken):
                break
        assert [(event.call.id, event.by) for event in seen if isinstance(event, CallUnheld)] == [("a", Side.OWN)]
        assert [(event.call.id, event.by) for event in seen if isinstance(event, CallHeld)] == [("b", Side.OTHER)]


async def test_what_is_told_while_the_snapshot_is_on_its_way_is_newer() -> None:
    async def answers_late(provider: ScriptedProvider) -> Snapshot:
        old = Snapshot(at=provider.now, calls=(snapshot_of("ends", CallState.ALERTING), snapshot_of("moves", CallState.ALERTING)))
        provider.offered("begins")
        provider.ended("ends")
        provider.connected("moves")
        return old

    pbx = Pbx()
    pbx.on_snapshot = {2: answers_late}
    async with session(pbx) as model:
        pbx.provider.offered("ends")
        pbx.provider.offered("moves")
        events = model.events()
        pbx.cut()
        await until(events, SnapshotTaken)
        assert {call.id: call.state for call in model.calls} == {
            "moves": CallState.CONNECTED,
            "begins": CallState.ALERTING,
        }
        assert not any(call.stale for call in model.calls)


async def test_a_call_is_not_refused_for_another_one_before_it_is_known_whether_there_is_one() -> None:
    asked, told_calls = anyio.Event(), anyio.Event()

    async def answers_late(provider: ScriptedProvider) -> Snapshot:
        asked.set()
        await told_calls.wait()
        return Snapshot(at=provider.now)

    pbx = Pbx()
    pbx.on_snapshot = {1: answers_late}
    async with session(pbx, wait_for_service=False) as model:
        await asked.wait()
        with pytest.raises(NotAllowedNowError, match="which calls there are is not known yet; try again in a moment"):
            await model.make_call("0501")
        assert pbx.asked == []
        events = model.events()
        told_calls.set()
        await until(events, SnapshotTaken)
        await model.make_call("0501")


async def test_an_incomplete_snapshot_ends_no_call() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        pbx.provider.offered("a")
        events = model.events()
        pbx.complete = False
        pbx.cut()
        taken = await until(events, SnapshotTaken)
        assert not taken.complete
        assert [call.id for call in model.calls] == ["a"]
        # What the PBX says next about it is believed.
        pbx.provider.ended("a")
        finished = await until(events, CallFinished)
        assert not finished.call.inferred


async def hangs(provider: ScriptedProvider) -> Any:
    await anyio.sleep_forever()


async def refuses(provider: ScriptedProvider) -> Any:
    raise CommandUnconfirmedError("snapshot: no answer")


async def breaks(provider: ScriptedProvider) -> Any:
    raise KeyError("a fault")


async def gives_nothing(provider: ScriptedProvider) -> Any:
    return None


async def gives_naive_time(provider: ScriptedProvider) -> Any:
    return Snapshot(at=provider.now.replace(tzinfo=None))


@pytest.mark.parametrize("failure", [hangs, refuses, breaks, gives_nothing, gives_naive_time])
async def test_a_snapshot_that_fails_is_asked_for_again(failure: Callable[..., Any]) -> None:
    pbx = Pbx()
    pbx.on_snapshot = {2: failure, 3: failure}
    with capture_logs() as logs:
        async with session(pbx) as model:
            pbx.provider.offered("a")
            pbx.calls = (snapshot_of("a"),)
            events = model.events()
            pbx.cut()
            await until(events, SnapshotTaken)
            assert pbx.snapshots == 4
            assert not model.calls[0].stale
            assert pbx.runs == 2
    failed = [line for line in logs if line["event"] == "cti.snapshot.failed"]
    assert [line["failures"] for line in failed] == [1, 2]
    assert all(line["reason"] for line in failed)
    # One loud line, and one as loud when it is over.
    loud = [line["event"] for line in logs if line["log_level"] == "warning" and "snapshot" in line["event"]]
    assert loud == ["cti.snapshot.failed", "cti.snapshot.back"]
    assert len([line for line in logs if line["log_level"] == "error"]) == (failure is breaks)


async def test_a_first_snapshot_that_fails_does_not_keep_the_session_shut() -> None:
    pbx = Pbx()
    pbx.on_snapshot = {1: hangs}
    async with session(pbx) as model:
        events = model.events()
        assert state_of(model) is ProviderState.IN_SERVICE
        await until(events, SnapshotTaken)


async def test_a_line_cut_while_the_snapshot_is_on_its_way_is_an_outage() -> None:
    async def is_cut(provider: ScriptedProvider) -> Any:
        provider.pbx.cut()
        await anyio.sleep_forever()

    pbx = Pbx()
    pbx.on_snapshot = {1: is_cut}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        await until_state(events, ProviderState.RECONNECTING)
        await until(events, SnapshotTaken)
        assert pbx.most_running == 1


async def test_a_cut_that_meets_a_snapshot_is_told_as_a_cut() -> None:
    lost = anyio.Event()

    async def is_lost(provider: ScriptedProvider) -> Any:
        await lost.wait()
        raise CommandUnconfirmedError("The connection was lost.")

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await provider.pbx.live()
        finally:
            # Whoever waits for an answer is told that there will be none.
            lost.set()

    pbx = Pbx()
    pbx.on_run, pbx.on_snapshot = {1: run}, {1: is_lost}
    with capture_logs() as logs:
        async with session(pbx, wait_for_service=False) as model:
            start, events = model.cursor, model.events()
            await until_state(events, ProviderState.IN_SERVICE)
            await anyio.wait_all_tasks_blocked()
            pbx.cut()
            await until(events, SnapshotTaken)
            assert not [event for event in told(model.events(start)) if isinstance(event, ErrorOccurred)]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["cti.connection.lost", "cti.connection.back"]


async def test_one_loud_line_then_quiet() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.")) for number in range(2, 20)}
    with capture_logs() as logs:
        async with session(pbx) as model:
            events = model.events()
            pbx.cut()
            await until_state(events, ProviderState.IN_SERVICE)
    lost = [line for line in logs if line["event"] == "cti.connection.lost"]
    assert len(lost) == 1
    assert lost[0]["provider"] == "scripted"


async def test_nothing_is_kept_of_attempts_that_failed() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.")) for number in range(1, 200)}
    before = living()
    model = session(pbx, wait_for_service=False)
    async with model:
        events = model.events()
        tasks = living()
        await until(events, SnapshotTaken)
        assert living()[0] <= tasks[0] + 1
    gc.collect()
    assert living() == before


# What outlives a connection -----------------------------------------------------------------------------------------------


class Lasting(ScriptedProvider):
    """Has something that lasts over its connections."""

    told: list[str]
    on_enter: Callable[[], None] = staticmethod(lambda: None)
    broken: anyio.Event

    @asynccontextmanager
    async def lifetime(self) -> AsyncIterator[None]:
        self.told.append("enter")
        self.on_enter()
        self.broken = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._last)
            try:
                yield
            finally:
                self.told.append("leave")
                group.cancel_scope.cancel()

    async def _last(self) -> None:
        await self.broken.wait()
        raise ValueError("what lasts has ended")

    async def run(self) -> None:
        self.told.append("run")
        try:
            await super().run()
        finally:
            self.told.append("ran")


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> type[Lasting]:
    monkeypatch.setattr(Lasting, "told", [], raising=False)
    return Lasting


async def test_what_lasts_is_entered_before_the_first_connection_and_left_after_the_last(lasting: type[Lasting]) -> None:
    pbx = Pbx()
    async with session(pbx, lasting) as model:
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.IN_SERVICE)
        assert lasting.told == ["enter", "run", "ran", "run"]
        await model.disconnect()
        assert lasting.told[4:] == ["ran", "leave"]
        await model.connect()
        assert lasting.told[6:] == ["enter", "run"]
    assert lasting.told[8:] == ["ran", "leave"]


async def test_what_lasts_is_left_when_the_session_gives_up(lasting: type[Lasting]) -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(CredentialsRefusedError("No."))}
    with pytest.raises(CredentialsRefusedError):
        async with session(pbx, lasting):
            pass
    assert lasting.told == ["enter", "run", "ran", "leave"]


async def test_what_lasts_and_fails_ends_the_connection_and_all_begins_anew(lasting: type[Lasting]) -> None:
    pbx = Pbx()
    async with session(pbx, lasting) as model:
        events = model.events()
        provider = pbx.provider
        assert isinstance(provider, Lasting)
        with capture_logs() as logs:
            provider.broken.set()
            lost = await until_state(events, ProviderState.RECONNECTING)
            await until_state(events, ProviderState.IN_SERVICE)
        assert isinstance(lost.error, PluginError)
        assert "ValueError" in lost.error.message
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["cti.provider.raised"]
        assert lasting.told == ["enter", "run", "ran", "leave", "enter", "run"]


async def test_what_cannot_be_entered_is_tried_again_after_a_pause(
    lasting: type[Lasting], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def fails_thrice() -> None:
        tries.append(anyio.current_time())
        if len(tries) < 4:
            raise NetworkError("not yet")

    monkeypatch.setattr(lasting, "on_enter", staticmethod(fails_thrice))
    pbx = Pbx()
    with pytest.raises(NetworkError, match="not yet"):
        async with session(pbx, lasting):
            pass
    tries.clear()
    async with session(pbx, lasting, wait_for_service=False) as model:
        events = model.events(after=None)
        await until_state(events, ProviderState.IN_SERVICE)
    pauses = [after - before for before, after in pairwise(tries)]
    assert [0.5 <= pauses[0] <= 1, 1 <= pauses[1] <= 2, 2 <= pauses[2] <= 4] == [True] * 3
    assert pbx.runs == 1


async def test_what_lasts_and_cannot_be_entered_for_long_is_told(lasting: type[Lasting]) -> None:
    class Slow(lasting):  # type: ignore[misc, valid-type]
        @asynccontextmanager
        async def lifetime(self) -> AsyncIterator[None]:
            self.told.append("enter")
            await anyio.sleep_forever()
            yield

    pbx = Pbx()
    with pytest.raises(PluginError, match="did not enter its lifetime within 30 s: a fault of the plugin"):
        async with session(pbx, Slow):
            pass
    assert lasting.told == ["enter"]
    assert pbx.runs == 0


async def test_what_lasts_and_leaves_by_itself_begins_anew_after_a_pause(lasting: type[Lasting]) -> None:
    class Leaving(lasting):  # type: ignore[misc, valid-type]
        @asynccontextmanager
        async def lifetime(self) -> AsyncIterator[None]:
            with anyio.CancelScope() as self.own:
                yield

    pbx = Pbx()
    async with session(pbx, Leaving) as model:
        events = model.events()
        pbx.provider.own.cancel()  # type: ignore[attr-defined]
        lost = await until_state(events, ProviderState.RECONNECTING)
        assert isinstance(lost.error, PluginError)
        assert "left its lifetime by itself" in lost.error.message
        back = await until_state(events, ProviderState.IN_SERVICE)
        assert (back.at - lost.at).total_seconds() >= 0.25
    assert lasting.told == ["run", "ran", "run", "ran"]


@pytest.mark.parametrize("how", ["raises", "swallows"])
async def test_whoever_stops_the_session_lost_nothing_however_what_lasts_is_left(
    lasting: type[Lasting], how: str, logs: list[Any]
) -> None:
    class Bad(lasting):  # type: ignore[misc, valid-type]
        @asynccontextmanager
        async def lifetime(self) -> AsyncIterator[None]:
            try:
                yield
            except anyio.get_cancelled_exc_class():
                self.told.append("leave")
                if how == "raises":
                    raise ValueError("cannot be left") from None

    pbx = Pbx()
    async with session(pbx, Bad) as model:
        events = model.events()
        await model.disconnect()
        assert model.provider_state is ProviderState.CLOSED
        assert not model.is_kept_connected
    assert states([event async for event in events]) == [(ProviderState.CLOSED, 0)]
    assert lasting.told == ["run", "ran", "leave"]
    raised = [entry for entry in logs if entry["event"] == "cti.provider.raised"]
    assert len(raised) == (how == "raises")
    assert not [entry for entry in logs if entry["event"] == "cti.connection.lost"]


async def test_what_lasts_may_fail_while_another_connection_is_waited_for(lasting: type[Lasting]) -> None:
    pbx = Pbx()
    async with session(pbx, lasting) as model:
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        provider = pbx.provider
        assert isinstance(provider, Lasting)
        provider.broken.set()
        await until_state(events, ProviderState.IN_SERVICE)
        assert lasting.told == ["enter", "run", "ran", "leave", "enter", "run"]
    assert pbx.most_running == 1


async def test_what_lasts_reports_only_while_a_connection_lives(lasting: type[Lasting]) -> None:
    class Telling(lasting):  # type: ignore[misc, valid-type]
        def say(self) -> None:
            self.context.report(Offered(at=self.context.clock.now(), call_id=str(len(self.told)), other=Party("1")))

        @asynccontextmanager
        async def lifetime(self) -> AsyncIterator[None]:
            self.say()
            async with super().lifetime():
                yield

    pbx = Pbx()
    async with session(pbx, Telling) as model:
        assert model.refused_reports == {"not_connected": 1}
        provider: Any = pbx.provider
        provider.say()
        assert len(model.calls) == 1
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        provider.say()
        assert model.refused_reports == {"not_connected": 2}


async def test_a_host_that_is_cancelled_leaves_what_lasts(lasting: type[Lasting]) -> None:
    before = living()
    with anyio.CancelScope() as scope:
        async with session(Pbx(), lasting):
            scope.cancel()
            await anyio.sleep_forever()
    assert lasting.told == ["enter", "run", "ran", "leave"]
    assert living() == before


async def test_a_host_that_is_cancelled_while_what_lasts_is_entered_or_waited_for_leaves_nothing(lasting: type[Lasting]) -> None:
    class Slow(lasting):  # type: ignore[misc, valid-type]
        @asynccontextmanager
        async def lifetime(self) -> AsyncIterator[None]:
            async with super().lifetime():
                entered.set()
                await anyio.sleep_forever()
                yield

    before = living()
    entered = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def open_it() -> None:
            async with session(Pbx(), Slow):
                raise AssertionError

        tasks.start_soon(open_it)
        await entered.wait()
        tasks.cancel_scope.cancel()
    assert living() == before
    assert lasting.told[:1] == ["enter"]
    assert "run" not in lasting.told


async def test_a_fault_of_the_hosts_own_is_not_named_with_the_plugin(lasting: type[Lasting], logs: list[Any]) -> None:
    def broken() -> AbstractAsyncContextManager[object]:
        raise LookupError("the host's own")

    with pytest.raises(BaseExceptionGroup) as raised:
        async with session(Pbx(), lasting, admission=broken):
            pass
    assert raised.group_contains(LookupError, match="the host's own")
    assert not [entry for entry in logs if entry["event"] == "cti.provider.raised"]
    assert lasting.told == ["enter", "leave"]
