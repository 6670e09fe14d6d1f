from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallFeature, CallRole, CallState, Party
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    CtiError,
    InvalidArgumentError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    PluginError,
    SessionClosedError,
)
from cti_framework.events import (
    CallConnected,
    CallFinished,
    CallStarted,
    Event,
    Initialized,
    LineStateChanged,
    ProviderState,
    ProviderStateChanged,
    RawMessage,
    ResyncRequired,
    SnapshotTaken,
)
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.model import CommandTimeouts, CtiModel
from cti_framework.provider import BaseCtiProvider, Capabilities, FetchProgress
from cti_framework.reports import Connected, Held, Offered, Raw, Snapshot
from tests.core.scripted import (
    ALL_CALLS,
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

default_processors = list(structlog.get_config()["processors"])

Act = Callable[[CtiModel], Awaitable[Any]]


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


# Opening ---------------------------------------------------------------------------------------------------------------


async def test_opening_waits_for_service_and_for_the_calls_there_are() -> None:
    async def slow(provider: ScriptedProvider) -> None:
        await anyio.sleep(20)
        provider.started()
        await provider.pbx.live()

    async def slow_snapshot(provider: ScriptedProvider) -> Snapshot:
        await anyio.sleep(10)
        return Snapshot(at=provider.now, calls=(snapshot_of("a"),))

    pbx = Pbx()
    pbx.on_run = {1: slow}
    pbx.on_snapshot = {1: slow_snapshot}
    began_at = anyio.current_time()
    async with session(pbx) as model:
        assert anyio.current_time() - began_at == pytest.approx(30)
        assert state_of(model) is ProviderState.IN_SERVICE
        assert [call.id for call in model.calls] == ["a"]
        assert CallFeature.HOLD in model.calls[0].features
        assert model.provider_state_event is not None
        assert model.provider_state_event.state is ProviderState.IN_SERVICE


async def test_bad_credentials_come_out_as_they_are_and_leave_nothing() -> None:
    refused = CredentialsRefusedError("No such user.")
    pbx = Pbx()
    pbx.on_run = {1: fails(refused)}
    before = living()
    model = session(pbx)
    with pytest.raises(CredentialsRefusedError) as caught:
        async with model:
            pytest.fail("it opened")
    assert caught.value is refused
    assert state_of(model) is ProviderState.FAILED
    await anyio.sleep(3600)
    assert pbx.runs == 1
    assert living() == before


async def test_a_network_that_fails_at_first_is_raised_where_opening_waits() -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(NetworkError("Nobody there."))}
    before = living()
    with pytest.raises(NetworkError, match="Nobody there"):
        async with session(pbx):
            pytest.fail("it opened")
    await anyio.sleep(3600)
    assert pbx.runs == 1
    assert living() == before


async def test_a_network_that_fails_at_first_is_tried_again_where_opening_does_not_wait() -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(NetworkError("Nobody there."))}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        failed = await until_state(events, ProviderState.OUT_OF_SERVICE)
        assert str(failed.error) == "Nobody there."
        with pytest.raises(NotConnectedError, match="out_of_service"):
            await model.make_call("200")
        await until_state(events, ProviderState.IN_SERVICE)


async def test_a_foreign_exception_at_first_is_a_plugins_fault() -> None:
    fault = KeyError("x")
    pbx = Pbx()
    pbx.on_run = {1: fails(fault)}
    with pytest.raises(PluginError, match="'scripted' raised KeyError") as caught:
        async with session(pbx):
            pytest.fail("it opened")
    assert caught.value.__cause__ is fault


async def test_a_provider_that_cannot_be_made_is_named() -> None:
    class Broken(ScriptedProvider):
        def __init__(self, context: Any) -> None:
            raise RuntimeError("no")

    with pytest.raises(PluginError, match="'scripted' cannot be made: it raised RuntimeError") as caught:
        session(Pbx(), Broken)
    assert isinstance(caught.value.__cause__, RuntimeError)

    class Refusing(ScriptedProvider):
        def __init__(self, context: Any) -> None:
            raise CredentialsRefusedError("The key is no key.")

    with pytest.raises(CredentialsRefusedError):
        session(Pbx(), Refusing)


async def test_without_auto_connect_it_stays_closed_until_connect() -> None:
    pbx = Pbx()
    async with session(pbx, auto_connect=False) as model:
        events = model.events()
        await anyio.sleep(3600)
        assert state_of(model) is ProviderState.CLOSED
        assert pbx.runs == 0
        with pytest.raises(NotConnectedError, match="closed"):
            await model.make_call("200")
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert [event.state for event in told(events) if isinstance(event, ProviderStateChanged)] == [
            ProviderState.CONNECTING,
            ProviderState.IN_SERVICE,
        ]
    assert pbx.runs == 1


async def test_connecting_twice_opens_nothing_twice() -> None:
    pbx = Pbx()
    async with session(pbx, auto_connect=False) as model:
        events = model.events()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(model.connect)
        await model.connect()
        assert pbx.runs == pbx.snapshots == 1
        pbx.provider.offered("a")
        seen = told(events)
        assert [type(event) for event in seen].count(Initialized) == 1
        assert [type(event) for event in seen].count(CallStarted) == 1
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))


async def test_disconnected_it_stays_so_until_connect() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        pbx.provider.offered("a")
        events = model.events()
        await model.disconnect()
        await model.disconnect()
        assert state_of(model) is ProviderState.CLOSED
        assert model.calls[0].stale
        await anyio.sleep(3600)
        assert (pbx.runs, pbx.running) == (1, 0)
        pbx.calls = (snapshot_of("b"),)
        await model.connect()
        assert [call.id for call in model.calls] == ["b"]
        (finished,) = [event for event in told(events) if isinstance(event, CallFinished)]
        assert finished.call.inferred
    assert pbx.runs == 2


async def test_connect_while_it_disconnects_waits_and_connects() -> None:
    async def closes_slowly(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await provider.pbx.live()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)

    pbx = Pbx()
    pbx.on_run = {1: closes_slowly}
    async with session(pbx) as model:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.disconnect)
            await anyio.sleep(1)
            assert pbx.running == 1
            tasks.start_soon(model.connect)
            await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert (pbx.runs, pbx.most_running) == (2, 1)


async def test_disconnect_while_it_connects_says_so_to_whoever_waits() -> None:
    pbx = Pbx()
    pbx.on_run = {1: lambda provider: provider.pbx.live()}
    async with session(pbx, auto_connect=False) as model:
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                with pytest.raises(ConnectionFailedError, match="was disconnected while"):
                    await model.connect()

            tasks.start_soon(wait)
            await anyio.sleep(1)
            await model.disconnect()
        assert state_of(model) is ProviderState.CLOSED


async def test_connect_after_it_failed_tries_again() -> None:
    pbx = Pbx()
    pbx.on_run = {1: fails(CredentialsRefusedError("Locked.")), 2: fails(CredentialsRefusedError("Still locked."))}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        await until_state(events, ProviderState.FAILED)
        with pytest.raises(CredentialsRefusedError, match="Still locked"):
            await model.connect()
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_connect_during_an_attempt_waits_for_it() -> None:
    async def slow(provider: ScriptedProvider) -> None:
        await anyio.sleep(10)
        provider.started()
        await provider.pbx.live()

    pbx = Pbx()
    pbx.on_run = {2: slow}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
        with pytest.raises(NetworkError, match="was cut"):
            await model.connect()
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is None)
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 2


async def test_a_session_is_opened_once_and_needs_to_be_open() -> None:
    model = session(Pbx())
    with pytest.raises(SessionClosedError):
        await model.connect()
    with pytest.raises(SessionClosedError):
        await model.make_call("200")
    async with model:
        with pytest.raises(SessionClosedError, match="once"):
            await model.__aenter__()
        assert state_of(model) is ProviderState.IN_SERVICE
    with pytest.raises(SessionClosedError):
        await model.__aenter__()
    with pytest.raises(SessionClosedError):
        await model.connect()
    with pytest.raises(SessionClosedError):
        await model.hold_call()
    await model.disconnect()


# Closing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("mine"), ExceptionGroup("mine", [ValueError("x")]), NetworkError("mine")])
async def test_a_hosts_exception_comes_out_as_it_is(error: Exception) -> None:
    before = living()
    with pytest.raises(type(error)) as caught:
        async with session(Pbx()):
            raise error
    assert caught.value is error
    assert living() == before


async def test_readers_end_with_the_session_and_have_read_everything() -> None:
    pbx = Pbx()
    seen: list[Event] = []

    async def read(model: CtiModel) -> None:
        async for event in model.events():
            seen.append(event)

    async with anyio.create_task_group() as tasks, session(pbx) as model:
        tasks.start_soon(read, model)
        await anyio.wait_all_tasks_blocked()
        pbx.provider.offered("a")
    assert isinstance(seen[0], CallStarted)
    last = [event for event in seen if isinstance(event, ProviderStateChanged)][-1]
    assert last.state is ProviderState.CLOSED


@pytest.mark.parametrize("turns", range(25))
async def test_a_host_can_be_cancelled_at_any_point(turns: int) -> None:
    class Journal:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await anyio.lowlevel.checkpoint()

    hooks = Hooks()
    hooks.register(Journal(), "journal")
    pbx = Pbx()
    before = living()
    opened: list[CtiModel] = []

    async def host(model: CtiModel) -> None:
        async with model:
            opened.append(model)
            await model.make_call("200")

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host, session(pbx, hooks=hooks))
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert pbx.running == 0
    assert living() == before
    assert all(model.provider_state is ProviderState.CLOSED for model in opened)
    if turns == 24:
        assert opened, "the last point should lie behind the opening"


@pytest.mark.parametrize("anyio_backend", [jumping_backend("asyncio")], indirect=False)
@pytest.mark.parametrize("turns", range(25))
async def test_a_host_can_be_cancelled_at_any_point_as_asyncio_does_it(turns: int) -> None:
    pbx = Pbx()
    before = living()

    async def host() -> None:
        async with session(pbx) as model:
            await model.make_call("200")

    task = asyncio.create_task(host())
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    was_done = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled() or was_done
    assert pbx.running == 0
    assert living() == before


async def test_a_host_that_waits_for_a_log_in_can_be_cancelled() -> None:
    pbx = Pbx()
    pbx.on_run = {1: lambda provider: provider.pbx.live()}
    before = living()
    model = session(pbx)
    with anyio.move_on_after(5) as scope:
        async with model:
            pytest.fail("it opened")
    assert scope.cancelled_caught
    assert living() == before
    assert pbx.running == 0
    assert state_of(model) is ProviderState.CLOSED


async def test_cancelled_in_a_verb_the_cancellation_passes() -> None:
    async def never() -> None:
        await anyio.sleep_forever()

    async def hang(*arguments: Any) -> None:
        await never()

    pbx = Pbx()
    pbx.on_verb = {"make_call": hang}
    before = living()
    with anyio.move_on_after(5) as scope:
        async with session(pbx) as model:
            await model.make_call("200")
            pytest.fail("it ended")
    assert scope.cancelled_caught
    assert living() == before

    async with session(pbx) as model:
        with anyio.move_on_after(5) as scope:
            await model.make_call("200")
        assert scope.cancelled_caught
        assert pbx.asked == [("make_call", "200")] * 2
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_cancelled_while_it_closes_it_still_closes_everything() -> None:
    async def closes_slowly(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await provider.pbx.live()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(60)

    pbx = Pbx()
    pbx.on_run = {1: closes_slowly}
    before = living()
    with anyio.move_on_after(2) as scope:
        async with session(pbx) as model:
            pass
    assert scope.cancel_called
    assert pbx.running == 0
    assert state_of(model) is ProviderState.CLOSED
    assert living() == before


async def test_no_thread_is_made() -> None:
    before = threading.active_count()
    async with session(Pbx()):
        assert threading.active_count() == before


# Verbs: what a host says, what arrives ---------------------------------------------------------------------------------


def call_of(pbx: Pbx, call_id: str) -> Call:
    call = pbx.provider.context.call(call_id)
    assert call is not None
    return call


def nothing(pbx: Pbx) -> None:
    return


def ringing(pbx: Pbx) -> None:
    pbx.provider.offered("a")


def talking(pbx: Pbx) -> None:
    pbx.provider.offered("a")
    pbx.provider.connected("a")


def held(pbx: Pbx) -> None:
    talking(pbx)
    pbx.provider.context.report(Held(at=pbx.provider.now, call_id="a"))


def consulting(pbx: Pbx) -> None:
    held(pbx)
    pbx.provider.originated("c", "300", parent_id="a")
    pbx.provider.connected("c")


CALL_VERBS: dict[str, tuple[Callable[[Pbx], None], Act, CallFeature, tuple[Any, ...]]] = {
    "make_call": (nothing, lambda model: model.make_call("+7*9#"), CallFeature.DIAL, ("+7*9#",)),
    "drop_call": (ringing, lambda model: model.drop_call(), CallFeature.DROP, ("a",)),
    "answer_call": (ringing, lambda model: model.answer_call(), CallFeature.ANSWER, ("a",)),
    "hold_call": (talking, lambda model: model.hold_call("a"), CallFeature.HOLD, ("a",)),
    "unhold_call": (held, lambda model: model.unhold_call(), CallFeature.UNHOLD, ("a",)),
    "make_consult_call": (held, lambda model: model.make_consult_call("300"), CallFeature.CONSULT, ("a", "300")),
    "complete_transfer": (consulting, lambda model: model.complete_transfer(), CallFeature.COMPLETE_TRANSFER, ("a", "c")),
    "cancel_transfer": (consulting, lambda model: model.cancel_transfer("a"), CallFeature.CANCEL_TRANSFER, ("a", "c")),
    "blind_transfer": (talking, lambda model: model.blind_transfer("300"), CallFeature.BLIND_TRANSFER, ("a", "300")),
    "alternate": (consulting, lambda model: model.alternate(consult_call="c"), CallFeature.ALTERNATE, ("a", "c")),
    "conference": (consulting, lambda model: model.conference("a", "c"), CallFeature.CONFERENCE, ("a", "c")),
    "send_dtmf": (talking, lambda model: model.send_dtmf("0123456789*#ABCD"), CallFeature.DTMF, ("a", "0123456789*#ABCD")),
    "set_mute": (talking, lambda model: model.set_mute(True), CallFeature.MUTE, ("a", True)),
    "set_video": (talking, lambda model: model.set_video(False), CallFeature.VIDEO, ("a", False)),
    "start_recording": (talking, lambda model: model.start_recording(), CallFeature.RECORDING, ("a",)),
    "stop_recording": (talking, lambda model: model.stop_recording(), CallFeature.RECORDING, ("a",)),
    "pause_recording": (talking, lambda model: model.pause_recording(True), CallFeature.RECORDING, ("a", True)),
    "monitor": (nothing, lambda model: model.monitor("far", "whisper"), CallFeature.MONITOR, ("far", "whisper")),
}
AGENT_VERBS: dict[str, tuple[Act, AgentFeature, tuple[Any, ...]]] = {
    "set_agent_state": (lambda model: model.set_agent_state("DND", "lunch"), AgentFeature.SET_STATE, ("DND", "lunch")),
    "set_wrap_up": (lambda model: model.set_wrap_up(True), AgentFeature.WRAP_UP, (True,)),
    "set_call_centre_mode": (lambda model: model.set_call_centre_mode(False), AgentFeature.CALL_CENTRE_MODE, (False,)),
    "query_recordings": (lambda model: model.query_recordings("old"), AgentFeature.CALL_RECORDS, ("old",)),
    "fetch_recording": (
        lambda model: model.fetch_recording("https://pbx.example/1.mp3", Path("here")),
        AgentFeature.CALL_RECORDS,
        ("https://pbx.example/1.mp3", Path("here")),
    ),
}
ALL_VERBS: dict[str, tuple[Callable[[Pbx], None], Act]] = {
    **{verb: (given, act) for verb, (given, act, _, _) in CALL_VERBS.items()},
    **{verb: (nothing, act) for verb, (act, _, _) in AGENT_VERBS.items()},
}


def test_every_verb_is_tried_here() -> None:
    verbs = {
        name
        for name, value in vars(BaseCtiProvider).items()
        if inspect.iscoroutinefunction(value) and name not in {"run", "snapshot", "probe", "diagnose"}
    }
    assert set(ALL_VERBS) == verbs
    assert len(ALL_VERBS) == 23


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_a_verb_arrives_once_with_what_the_host_said(verb: str) -> None:
    given, act = ALL_VERBS[verb]
    expected = CALL_VERBS[verb][3] if verb in CALL_VERBS else AGENT_VERBS[verb][2]
    pbx = Pbx()
    async with session(pbx) as model:
        given(pbx)
        answer = await act(model)
        ((asked, *arguments),) = pbx.asked
        assert asked == verb
        assert tuple(argument.id if isinstance(argument, Call) else argument for argument in arguments) == expected
        if verb in {"make_call", "make_consult_call", "monitor"}:
            assert answer == model.call(answer.id)
        elif verb == "query_recordings":
            assert answer == ("https://pbx.example/1.mp3",)
        elif verb == "fetch_recording":
            assert answer == Path("here/1.mp3")
        else:
            assert answer is None


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_a_verb_that_the_provider_can_never_do_is_not_supported(verb: str) -> None:
    given, act = ALL_VERBS[verb]
    most = Capabilities(
        calls=ALL_CALLS & ~CALL_VERBS[verb][2] if verb in CALL_VERBS else ALL_CALLS,
        agent=ScriptedProvider.capabilities.agent & ~AGENT_VERBS[verb][1]
        if verb in AGENT_VERBS
        else ScriptedProvider.capabilities.agent,
    )
    limited = type("Limited", (ScriptedProvider,), {"capabilities": most})
    pbx = Pbx()
    async with session(pbx, limited) as model:
        given(pbx)
        with pytest.raises(NotSupportedError, match="can never do that") as caught:
            await act(model)
    assert (caught.value.step, caught.value.stage, caught.value.retryable) == (verb, CommandStage.NOT_SENT, False)
    assert pbx.asked == []


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_a_verb_that_the_session_cannot_do_is_not_supported(verb: str) -> None:
    given, act = ALL_VERBS[verb]
    pbx = Pbx()
    if verb in CALL_VERBS:
        pbx.features = ALL_CALLS & ~CALL_VERBS[verb][2]
    else:
        pbx.agent_features = ScriptedProvider.capabilities.agent & ~AGENT_VERBS[verb][1]
    async with session(pbx) as model:
        given(pbx)
        with pytest.raises(NotSupportedError, match="in this session") as caught:
            await act(model)
    assert caught.value.step == verb
    assert pbx.asked == []


@pytest.mark.parametrize("verb", [verb for verb in CALL_VERBS if verb not in {"make_call", "monitor"}])
async def test_a_verb_that_the_state_does_not_allow_says_why(verb: str) -> None:
    _, act = ALL_VERBS[verb]
    wrong = {"drop_call": nothing, "hold_call": held}.get(verb, ringing if verb != "answer_call" else talking)
    pbx = Pbx()
    async with session(pbx) as model:
        wrong(pbx)
        with pytest.raises(NotAllowedNowError) as caught:
            await act(model)
    assert caught.value.step == verb
    assert caught.value.stage is CommandStage.NOT_SENT
    assert caught.value.reason
    assert caught.value.reason in str(caught.value)
    assert pbx.asked == []


async def test_a_second_call_is_not_made_beside_the_first() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(NotAllowedNowError, match="a call is up already"):
            await model.make_call("200")
    assert pbx.asked == []


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_a_verb_without_a_connection_is_not_sent(verb: str) -> None:
    given, act = ALL_VERBS[verb]
    pbx = Pbx()
    async with session(pbx) as model:
        given(pbx)
        await model.disconnect()
        with pytest.raises(NotConnectedError, match="Nothing was sent") as caught:
            await act(model)
    assert (caught.value.step, caught.value.stage) == (verb, CommandStage.NOT_SENT)
    with pytest.raises(SessionClosedError):
        await act(model)
    assert pbx.asked == []


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_a_verb_that_never_ends_is_unconfirmed_and_sent_once(verb: str) -> None:
    async def hang(*arguments: Any) -> None:
        await anyio.sleep_forever()

    given, act = ALL_VERBS[verb]
    pbx = Pbx()
    pbx.on_verb = {verb: hang}
    timeouts = CommandTimeouts(command_seconds=1, make_call_seconds=2, query_seconds=3)
    seconds = {"query_recordings": 3, "fetch_recording": 3, "make_call": 2, "make_consult_call": 2, "monitor": 2}.get(verb, 1)
    async with session(pbx, timeouts=timeouts) as model:
        given(pbx)
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match=f"within {seconds} s") as caught:
            await act(model)
        # The PBX is looked at for a call that may have begun, and again a moment later.
        looking_seconds = 1.5 if verb in {"make_call", "make_consult_call", "monitor"} else 0.0
        assert anyio.current_time() - began_at == pytest.approx(seconds + looking_seconds)
        assert caught.value.stage is CommandStage.UNCONFIRMED
        assert (caught.value.step, caught.value.retryable) == (verb, False)
        assert len(pbx.asked) == 1
        await anyio.sleep(3600)
        assert len(pbx.asked) == 1


async def test_a_second_call_is_refused_while_one_is_being_made() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def slow(destination: str) -> None:
        asked.set()
        await go_on.wait()

    pbx = Pbx()
    pbx.on_verb = {"make_call": slow}
    async with session(pbx) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(model.make_call, "0501")
        await asked.wait()
        with pytest.raises(NotAllowedNowError, match="a call is being made already") as caught:
            await model.make_call("0501")
        assert caught.value.stage is CommandStage.NOT_SENT
        go_on.set()
    assert len(pbx.asked) == 1


async def test_another_call_can_be_asked_for_once_the_first_was_refused() -> None:
    pbx = Pbx()
    pbx.on_verb = {"make_call": raising(CommandRefusedError("Busy."))}
    async with session(pbx) as model:
        for _ in range(2):
            with pytest.raises(CommandRefusedError):
                await model.make_call("0501")
    assert len(pbx.asked) == 2


async def test_a_provider_that_gives_no_call_for_one_is_at_fault() -> None:
    async def gives_text(destination: str) -> str:
        return "call 1"

    pbx = Pbx()
    pbx.on_verb = {"make_call": gives_text}
    async with session(pbx) as model:
        with pytest.raises(CommandError, match="gave str for a call: a fault of the plugin") as caught:
            await model.make_call("0501")
    assert caught.value.stage is CommandStage.UNCONFIRMED


def raising(error: BaseException) -> Callable[..., Awaitable[None]]:
    async def raise_it(*arguments: Any) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize("verb", ALL_VERBS)
@pytest.mark.parametrize("fault", [KeyError("x"), TimeoutError("x"), ExceptionGroup("x", [OSError("y")])])
async def test_a_foreign_exception_of_a_verb_is_unconfirmed_and_named(verb: str, fault: Exception) -> None:
    given, act = ALL_VERBS[verb]
    pbx = Pbx()
    pbx.on_verb = {verb: raising(fault)}
    async with session(pbx) as model:
        given(pbx)
        with pytest.raises(CommandError, match=f"'scripted' raised {type(fault).__name__}") as caught:
            await act(model)
        assert caught.value.stage is CommandStage.UNCONFIRMED
        assert caught.value.step == verb
        assert caught.value.__cause__ is fault
        assert len(pbx.asked) == 1
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_a_command_error_of_a_verb_comes_out_as_it_is_with_the_verb_as_its_step() -> None:
    refused = CommandRefusedError("The PBX said no.", pbx_text="-ERR no")
    pbx = Pbx()
    pbx.on_verb = {"hold_call": raising(refused)}
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(CommandRefusedError) as caught:
            await model.hold_call()
    assert caught.value is refused
    assert (refused.step, refused.stage, refused.pbx_text) == ("hold_call", CommandStage.REJECTED, "-ERR no")


async def test_a_lost_network_in_a_verb_says_that_it_may_have_acted() -> None:
    pbx = Pbx()
    pbx.on_verb = {"hold_call": raising(NetworkError("The line was cut."))}
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(CommandUnconfirmedError, match=r"hold_call: The line was cut\.") as caught:
            await model.hold_call()
    assert isinstance(caught.value.__cause__, NetworkError)
    assert caught.value.step == "hold_call"


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda model: model.make_call(""), "destination"),
        (lambda model: model.make_call("   "), "destination"),
        (lambda model: model.make_call(None), "destination"),
        (lambda model: model.set_agent_state(""), "state"),
        (lambda model: model.query_recordings(""), "call_id"),
        (lambda model: model.fetch_recording(" ", Path("here")), "link"),
        (lambda model: model.fetch_recording(b"https://x?key=1", Path("here")), "link"),
        (lambda model: model.monitor("", "listen"), "call_id"),
        (lambda model: model.monitor("far", "shout"), "'shout' is no mode"),
    ],
)
async def test_bad_arguments_are_never_sent(act: Act, says: str) -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        with pytest.raises(InvalidArgumentError, match=says) as caught:
            await act(model)
    assert caught.value.stage is CommandStage.NOT_SENT
    assert isinstance(caught.value, ValueError)
    assert pbx.asked == []


async def test_a_file_that_keeps_coming_may_take_its_time_and_a_silence_may_not() -> None:
    async def come_slowly(link: str, directory: Path) -> Path:
        for second in range(20):
            await anyio.sleep(2)
            assert pbx.provider.progress is not None
            pbx.provider.progress(FetchProgress(second, 20))
        await anyio.sleep(ends_after_seconds)
        return directory / "all of it"

    pbx = Pbx()
    pbx.on_verb = {"fetch_recording": come_slowly}
    told: list[FetchProgress] = []
    async with session(pbx, timeouts=CommandTimeouts(query_seconds=3)) as model:
        ends_after_seconds = 2
        assert await model.fetch_recording("https://x", Path("here"), progress=told.append) == Path("here/all of it")
        assert told == [FetchProgress(second, 20) for second in range(20)]
        ends_after_seconds = 4
        with pytest.raises(CommandUnconfirmedError, match="nothing came from provider 'scripted' within 3 s"):
            await model.fetch_recording("https://x", Path("here"))


async def test_a_link_is_in_no_error_and_no_log_of_the_core() -> None:
    async def raise_it(link: str, directory: Path) -> None:
        raise KeyError("x")

    pbx = Pbx()
    link = "https://pbx.example/1?x_key=secret-word"
    with capture_logs() as logged:
        async with session(pbx) as model:
            for fault in (raise_it, lambda link, directory: anyio.sleep(3600)):
                pbx.on_verb = {"fetch_recording": fault}
                with pytest.raises(CommandError) as caught:
                    await model.fetch_recording(link, Path("here"))
                assert "secret-word" not in str(caught.value) + repr(caught.value.describe())
            with pytest.raises(InvalidArgumentError) as refused:
                await model.fetch_recording(link.encode(), Path("here"))  # type: ignore[arg-type]  # as a host may by mistake
    assert "secret-word" not in str(refused.value) + repr(logged)
    assert logged


@pytest.mark.parametrize(
    ("digits", "says"),
    [
        ("12a4", "'a' at place 3"),
        ("1 2", "' ' at place 2"),
        ("\u0661", "'\u0661' at place 1"),
        ("1\n", r"'\\n' at place 2"),
        ("", "not empty"),
        (12, "not empty"),
    ],
)
async def test_tones_that_are_none_are_named(digits: Any, says: str) -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(InvalidArgumentError, match=says):
            await model.send_dtmf(digits)
    assert pbx.asked == []


@pytest.mark.parametrize("destination", ["", None])
async def test_destinations_of_transfers_and_enquiries_are_checked(destination: Any) -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(InvalidArgumentError, match="destination"):
            await model.blind_transfer(destination)
        with pytest.raises(InvalidArgumentError, match="destination"):
            await model.make_consult_call(destination)
    assert pbx.asked == []


async def test_calls_are_found_by_value_by_identifier_and_by_default() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        pbx.provider.offered("b")
        assert (model.call("a"), model.call("b")) == model.calls
        await model.hold_call()
        await model.drop_call("b")
        await model.drop_call(model.calls[1])
        await model.answer_call()
        assert [(verb, call.id) for verb, call in pbx.asked] == [
            ("hold_call", "a"),
            ("drop_call", "b"),
            ("drop_call", "b"),
            ("answer_call", "b"),
        ]
        # A host's old value stands for the call as it is now.
        old = model.calls[0]
        assert CallFeature.UNHOLD not in old.features
        pbx.provider.ended("b")
        pbx.provider.context.report(Held(at=model.now(), call_id="a"))
        await model.unhold_call(old)
        assert pbx.asked[-1] == ("unhold_call", call_of(pbx, "a"))
        with pytest.raises(NotAllowedNowError, match="held"):
            await model.hold_call(old)


async def test_calls_that_are_not_there_are_refused() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        with pytest.raises(NotAllowedNowError, match="there is no call"):
            await model.drop_call()
        talking(pbx)
        old = model.calls[0]
        pbx.provider.ended("a")
        for ended in (old, "a"):
            with pytest.raises(NotAllowedNowError, match="the call is over"):
                await model.drop_call(ended)
        for unknown in ("nobody", 5, ["a"], object()):
            with pytest.raises(InvalidArgumentError):
                await model.drop_call(unknown)  # type: ignore[arg-type]  # what a host without a type checker may say
    assert pbx.asked == []


async def test_a_pair_has_to_be_one() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        consulting(pbx)
        pbx.provider.offered("other", "0999")
        for not_it in ("other", "a"):
            with pytest.raises(NotAllowedNowError, match="no enquiry"):
                await model.complete_transfer("a", not_it)
        pbx.provider.ended("c")
        with pytest.raises(NotAllowedNowError):
            await model.complete_transfer()
        with pytest.raises(NotAllowedNowError):
            await model.alternate("a", "c")
    assert pbx.asked == []


async def test_no_enquiry_no_completion() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        held(pbx)
        with pytest.raises(NotAllowedNowError):
            await model.complete_transfer()
        consult = await model.make_consult_call("300")
        assert consult.role is CallRole.CONSULT
        assert model.consult_call == consult
        assert model.current_call == call_of(pbx, "a")


# What the session tells ------------------------------------------------------------------------------------------------


async def test_what_is_over_declared_is_cut_and_said() -> None:
    class Small(ScriptedProvider):
        capabilities = Capabilities(calls=CallFeature.DIAL | CallFeature.DROP, agent=AgentFeature.NONE)

    pbx = Pbx()
    pbx.features = CallFeature.DIAL | CallFeature.HOLD
    pbx.agent_features = AgentFeature.SET_STATE
    with capture_logs() as logs:
        model = session(pbx, Small)
        events = model.events()
        async with model:
            initialized = await until(events, Initialized)
            assert initialized.features == CallFeature.DIAL
            assert initialized.agent_features == AgentFeature.NONE
            assert model.features == CallFeature.DIAL
            assert model.agent_features is AgentFeature.NONE
            assert model.capabilities is Small.capabilities
    (line,) = [line for line in logs if line["event"] == "cti.provider.over_declared"]
    assert "HOLD" in line["calls"]
    assert "SET_STATE" in line["agent"]


async def test_a_started_that_names_nothing_means_everything_the_class_can() -> None:
    async with session(Pbx()) as model:
        assert model.agent_features == ScriptedProvider.capabilities.agent
        assert model.features == CallFeature.DIAL | CallFeature.MONITOR


async def test_two_sessions_of_one_process_do_not_mix() -> None:
    first, second = Pbx(), Pbx()
    second.features = CallFeature.DIAL
    async with session(first) as one, session(second) as other:
        seen, others = one.events(), other.events()
        talking(first)
        assert one.calls and not other.calls
        assert told(seen) and not told(others)
        first.cut()
        await until_state(seen, ProviderState.RECONNECTING)
        assert state_of(other) is ProviderState.IN_SERVICE
        assert one.cursor.epoch != other.cursor.epoch
        assert other.features == CallFeature.DIAL
        (answer,) = told(other.events(after=one.cursor))
        assert isinstance(answer, ResyncRequired)


async def test_reading_goes_on_after_a_cursor() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        talking(pbx)
        seen = told(events)
        again = told(model.events(after=seen[0].cursor))
        assert again == seen[1:]
        pbx.cut()
        await until(events, SnapshotTaken)
        assert told(model.events(after=seen[0].cursor))[: len(again)] == again


async def test_a_reader_that_was_away_too_long_is_told_what_there_is() -> None:
    pbx = Pbx()
    async with session(pbx, event_log_capacity=4) as model:
        events = model.events()
        first = model.cursor
        for number in range(10):
            pbx.provider.offered(str(number))
            if number:
                pbx.provider.ended(str(number))
        missed = told(events)[0]
        assert isinstance(missed, ResyncRequired)
        assert missed.missed == model.cursor.seq - first.seq
        assert [call.id for call in missed.calls] == ["0"]
        assert told(events) == []


async def test_what_happens_between_two_reads_is_not_missed() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        talking(pbx)
        started = await until(events, CallStarted)
        assert started.call.state is CallState.ALERTING
        await until(events, CallConnected)


async def test_raw_messages_are_told_where_they_were_asked_for() -> None:
    for wanted in (True, False):
        pbx = Pbx()
        async with session(pbx, raw_messages=wanted) as model:
            events = model.events()
            assert pbx.provider.context.wants_raw is wanted
            pbx.provider.context.report(Raw(at=model.now(), raw={"x": 1}))
            pbx.provider.context.report(Offered(at=model.now(), call_id="a", other=Party("1"), raw="frame"))
            seen = told(events)
            assert [event.raw for event in seen if isinstance(event, RawMessage)] == ([{"x": 1}] if wanted else [])
            assert [event.raw for event in seen if isinstance(event, CallStarted)] == (["frame"] if wanted else [None])


async def test_refused_reports_are_counted_and_logged_once_a_kind() -> None:
    pbx = Pbx()
    with capture_logs() as logs:
        async with session(pbx) as model:
            talking(pbx)
            pbx.provider.ended("a")
            for _ in range(5):
                pbx.provider.connected("a")
                pbx.provider.ended("a")
            pbx.provider.context.report(object())  # type: ignore[arg-type]  # what a plugin without a type checker may say
            assert model.refused_reports == {"ended": 10, "bad_report": 1}
    refused = [(line["reason"], line["report"]) for line in logs if line["event"] == "cti.report.refused"]
    assert refused == [("ended", "Connected"), ("ended", "Ended"), ("bad_report", "object")]


# Hooks -----------------------------------------------------------------------------------------------------------------


class Recorder:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.events: list[Event] = []

    @hookimpl
    def cti_call_started(self, model: CtiModel, event: CallStarted) -> None:
        self.told.append(f"started {event.call.id} of {len(model.calls)}")

    @hookimpl
    async def cti_call_finished(self, event: CallFinished) -> None:
        await anyio.sleep(1)
        self.told.append(f"finished {event.call.id}")

    @hookimpl
    def cti_event(self, event: Event) -> None:
        self.events.append(event)


class Raising:
    @hookimpl
    def cti_event(self, event: Event) -> None:
        raise ValueError("a fault")

    @hookimpl
    async def cti_call_finished(self, event: CallFinished) -> None:
        raise ValueError("a fault")


async def test_hooks_are_told_and_one_that_raises_breaks_nothing() -> None:
    recorder, hooks, pbx = Recorder(), Hooks(), Pbx()
    hooks.register(recorder, "recorder")
    hooks.register(Raising(), "raising")
    with capture_logs() as logs:
        model = session(pbx, hooks=hooks)
        events = model.events()
        async with model:
            talking(pbx)
            pbx.provider.ended("a")
            await model.disconnect()
            await model.connect()
    assert recorder.told == ["started a of 1", "finished a"]
    # What is told while the session closes is told as well: the connection closes before the hooks do.
    assert recorder.events == told(events)
    last = [event for event in recorder.events if isinstance(event, ProviderStateChanged)][-1]
    assert last.state is ProviderState.CLOSED
    failed = [line for line in logs if line["event"] == "cti.hook.failed"]
    assert {line["plugin"] for line in failed} == {"raising"}
    assert {line["hook"] for line in failed} == {"cti_event", "cti_call_finished"}


async def test_a_hook_that_hangs_delays_the_closing_and_is_ended() -> None:
    class Hanging:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await anyio.sleep_forever()

    hooks = Hooks()
    hooks.register(Hanging(), "hanging")
    before = living()
    began_at = anyio.current_time()
    async with session(Pbx(), hooks=hooks):
        pass
    assert anyio.current_time() - began_at == pytest.approx(5)
    assert living() == before
    (record,) = hooks.records()
    assert record.dropped > 0


async def test_a_hook_can_use_the_session() -> None:
    class Answers:
        @hookimpl
        async def cti_call_started(self, model: CtiModel, event: CallStarted) -> None:
            await model.answer_call(event.call)

    hooks, pbx = Hooks(), Pbx()
    hooks.register(Answers(), "answers")
    async with session(pbx, hooks=hooks):
        pbx.provider.offered("a")
    assert [verb for verb, *_ in pbx.asked] == []  # closed before it came to it
    async with session(pbx, hooks=hooks) as model:
        pbx.provider.offered("a")
        await hooks.flush(model)
        assert [verb for verb, *_ in pbx.asked] == ["answer_call"]


async def test_what_a_hook_sets_off_comes_after_what_it_was_told() -> None:
    class SetsOff:
        @hookimpl
        def cti_call_started(self, event: CallStarted) -> None:
            if event.call.id == "a":
                pbx.provider.context.report(Connected(at=pbx.provider.now, call_id="a"))

    recorder, hooks, pbx = Recorder(), Hooks(), Pbx()
    hooks.register(SetsOff(), "sets off")
    hooks.register(recorder, "recorder")
    async with session(pbx, hooks=hooks) as model:
        events = model.events()
        pbx.provider.offered("a")
        seen = told(events)
        assert [event.seq for event in seen] == list(range(seen[0].seq, seen[0].seq + len(seen)))
        assert model.cursor == seen[-1].cursor
        assert recorder.events[-len(seen) :] == seen
        assert isinstance(seen[-1], LineStateChanged)


# Secrets ---------------------------------------------------------------------------------------------------------------


async def test_no_secret_is_told_by_anything_that_fails() -> None:
    from typed_settings.types import Secret

    secret = "tr0ub4dor"

    class Careless(ScriptedProvider):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self.password = context.user_settings

    pbx = Pbx()
    pbx.on_run = {1: fails(ValueError("refused"))}
    said: list[str] = []
    with capture_logs() as logs:
        model = session(pbx, Careless, user_settings=Secret(secret), wait_for_service=False)
        events = model.events()
        async with model:
            await until_state(events, ProviderState.IN_SERVICE)
            said += [repr(model), str(model.user), repr(model.provider_state_event), repr(pbx.provider.context)]
        said += [repr(event) for event in told(model.events())]
    said.append(repr(logs))
    assert secret not in "".join(said)


async def test_tracebacks_show_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    async def careless(provider: ScriptedProvider) -> None:
        password = "tr0ub4dor"
        if password:
            raise ValueError("refused")

    async def careless_verb(call: Call) -> None:
        password = "tr0ub4dor"
        if password:
            raise ValueError("refused")

    pbx = Pbx()
    pbx.on_run = {1: careless}
    pbx.on_snapshot = {1: careless}
    pbx.on_verb = {"drop_call": careless_verb}
    processors = structlog.get_config()["processors"]
    captor = processors[:]
    processors[:] = default_processors
    try:
        model = session(pbx, wait_for_service=False)
        events = model.events()
        async with model:
            await until(events, SnapshotTaken)
            talking(pbx)
            with pytest.raises(CommandError):
                await model.drop_call()
    finally:
        processors[:] = captor
    said = capsys.readouterr().out
    assert said.count("Traceback (most recent call last)") == 3
    assert said.count("in careless") == 3
    assert "tr0ub4dor" not in said.replace('password = "tr0ub4dor"', "")


def test_errors_describe_themselves_without_their_cause() -> None:
    error: CtiError = PluginError("A fault.", remedy="Tell its author.")
    error.__cause__ = ValueError("tr0ub4dor")
    assert "tr0ub4dor" not in repr(error.describe()) + str(error) + repr(error)
