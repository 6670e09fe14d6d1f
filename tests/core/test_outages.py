"""What kind of outage it is, how long is waited in it, how it is noticed, and when the session gives up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import attrs
import pytest
from structlog.testing import capture_logs

from cti_framework.back_off import BackOff
from cti_framework.calls import CallFeature
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    CtiError,
    NetworkError,
    NotConnectedError,
    NotSupportedError,
    OutageKind,
    PluginError,
    SessionClosedError,
)
from cti_framework.events import CallFinished, Disconnected, Event, ProviderState, ProviderStateChanged, SnapshotTaken
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CtiModel
from cti_framework.reports import Trouble
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

WATCHED = LivenessPolicy(silence_seconds=60.0, probe_timeout_seconds=10.0)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class Asked(ScriptedProvider):
    """A provider whose PBX can be asked whether it is there. It answers, unless ``on_verb`` says otherwise."""

    unacknowledged: int | None = None

    async def probe(self) -> None:
        await self._asked("probe")

    def unacknowledged_bytes(self) -> int | None:
        return self.unacknowledged


def watched(pbx: Pbx, **options: Any) -> CtiModel:
    return session(pbx, Asked, **{"liveness": WATCHED, **options})


def probes(pbx: Pbx) -> int:
    return [verb for verb, *_ in pbx.asked].count("probe")


async def never() -> None:
    await anyio.sleep_forever()


def raising(error: Exception) -> Callable[..., Awaitable[None]]:
    async def act(*arguments: Any) -> None:
        raise error

    return act


def now() -> float:
    return anyio.current_time()


# Each kind has pauses of its own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(OutageKind))
async def test_the_pause_is_the_kinds(kind: OutageKind) -> None:
    pbx = Pbx()
    error: CtiError = PluginError("x", retryable=True) if kind is OutageKind.PLUGIN else NetworkError("x", kind=kind)
    pbx.on_run = {2: fails(error), 3: fails(error)}
    own = 100.0 + list(OutageKind).index(kind)
    by_kind = {OutageKind.LOST: BackOff(1.0, 1.0), kind: BackOff(own, 10_000.0)}
    async with session(pbx, policy=attrs.evolve(POLICY, by_kind=by_kind)) as model:
        model._keeper._draw = lambda: 1.0
        events = model.events()
        pbx.cut()
        waits = [await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None) for _ in range(3)]
        await until_state(events, ProviderState.IN_SERVICE)
    kinds = [OutageKind.of(wait.error or ValueError()) for wait in waits]
    assert kinds == [OutageKind.LOST, kind, kind]
    pauses = [(wait.next_try_at - wait.at).total_seconds() for wait in waits if wait.next_try_at is not None]
    assert pauses == pytest.approx([own, 2 * own, 4 * own] if kind is OutageKind.LOST else [1, own, 2 * own])


async def test_each_kind_counts_its_own_failures() -> None:
    pbx = Pbx()
    refused = NetworkError("x", kind=OutageKind.REFUSED)
    pbx.on_run = {2: fails(NetworkError("x")), 3: fails(refused), 4: fails(NetworkError("x")), 5: fails(refused)}
    async with session(pbx) as model:
        model._keeper._draw = lambda: 1.0
        events = model.events()
        pbx.cut()
        waits = [await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None) for _ in range(5)]
        pauses = [(wait.next_try_at - wait.at).total_seconds() for wait in waits if wait.next_try_at is not None]
        # Lost three times, refused twice: the one grows beside the other.
        assert pauses == pytest.approx([1, 2, 2, 4, 4])
        await until_state(events, ProviderState.IN_SERVICE)


async def test_a_log_in_without_an_answer_is_no_answer() -> None:
    pbx = Pbx()
    pbx.on_run = {1: lambda provider: provider.pbx.live(), 2: fails(CommandUnconfirmedError("login: no answer"))}
    model = session(pbx, wait_for_service=False)
    events = model.events()
    async with model:
        kinds = []
        for _ in range(2):
            event = await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
            kinds.append(OutageKind.of(event.error or ValueError()))
        assert kinds == [OutageKind.NO_ANSWER, OutageKind.NO_ANSWER]
        await until_state(events, ProviderState.IN_SERVICE)


# Giving up -------------------------------------------------------------------------------------------------------------


async def test_it_gives_up_after_so_many_attempts(logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError(f"Attempt {number}.")) for number in range(2, 10)}
    async with session(pbx, policy=attrs.evolve(POLICY, give_up_after_attempts=3)) as model:
        events = model.events()
        pbx.cut()
        failed = await until_state(events, ProviderState.FAILED)
        assert str(failed.error) == "Attempt 4."
        assert failed.attempt == 3
        await anyio.sleep(86_400)
        # The connection that was there first, and three that failed.
        assert pbx.runs == 4
        assert state_of(model) is ProviderState.FAILED
        with pytest.raises(NotConnectedError, match="failed"):
            await model.make_call("0501")
        pbx.on_run = {}
        await model.connect()
        assert state_of(model) is ProviderState.IN_SERVICE
    assert [line["event"] for line in logs if line["event"] == "cti.connection.failed"] == ["cti.connection.failed"]


async def test_a_first_connection_that_never_comes_is_given_up_too() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.")) for number in range(1, 10)}
    model = session(pbx, wait_for_service=False, policy=attrs.evolve(POLICY, give_up_after_attempts=2))
    events = model.events()
    async with model:
        await until_state(events, ProviderState.FAILED)
        assert pbx.runs == 2


async def test_it_gives_up_after_so_long() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.")) for number in range(2, 100)}
    async with session(pbx, policy=attrs.evolve(POLICY, give_up_after_seconds=60.0)) as model:
        events = model.events()
        began_at = now()
        pbx.cut()
        await until_state(events, ProviderState.FAILED)
        # The last attempt is made when the time is up.
        assert now() - began_at == pytest.approx(60.0, abs=0.01)
        runs = pbx.runs
        await anyio.sleep(86_400)
        assert pbx.runs == runs


async def test_each_outage_has_its_own_time_and_its_own_attempts() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(NetworkError("x")), 4: fails(NetworkError("x"))}
    policy = attrs.evolve(POLICY, give_up_after_attempts=2, give_up_after_seconds=30.0)
    async with session(pbx, policy=policy) as model:
        events = model.events()
        for _ in range(2):
            await anyio.sleep(100)
            pbx.cut()
            await until_state(events, ProviderState.IN_SERVICE)
        assert pbx.runs == 5


# Now -------------------------------------------------------------------------------------------------------------------


async def test_reconnect_now_does_not_wait_for_the_next_attempt() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(NetworkError("Nobody there.", kind=OutageKind.TLS_NOT_TRUSTED))}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        waiting = await until(
            events, ProviderStateChanged, lambda event: OutageKind.of(event.error or ValueError()) is OutageKind.TLS_NOT_TRUSTED
        )
        assert waiting.next_try_at is not None
        began_at = now()
        await model.reconnect_now()
        assert now() == began_at
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 3


async def test_reconnect_now_raises_what_its_attempt_ended_with_and_not_the_one_before() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError(f"Attempt {number}.")) for number in range(2, 5)}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(
            events, ProviderStateChanged, lambda event: str(event.error) == "Attempt 2." and event.next_try_at is not None
        )
        with pytest.raises(NetworkError, match="Attempt 3"):
            await model.reconnect_now()
        await until_state(events, ProviderState.IN_SERVICE)
        assert pbx.runs == 5


async def test_many_that_want_it_now_get_one_attempt() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(model.reconnect_now)
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.most_running == 1
        assert pbx.runs == 2


async def test_reconnect_now_asks_a_connection_that_is_there_and_keeps_it() -> None:
    pbx = Pbx()
    async with watched(pbx) as model:
        await model.reconnect_now()
        assert probes(pbx) == 1
        assert pbx.runs == 1
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_reconnect_now_makes_a_new_connection_where_the_old_one_is_dead() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    async with watched(pbx) as model:
        began_at = now()
        await model.reconnect_now()
        assert now() - began_at == pytest.approx(WATCHED.probe_timeout_seconds)
        assert pbx.runs == 2
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_reconnect_now_makes_a_new_connection_where_nothing_can_be_asked() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        pbx.provider.offered("a")
        pbx.calls = (snapshot_of("a"),)
        await model.reconnect_now()
        assert pbx.runs == 2
        assert pbx.most_running == 1
        assert state_of(model) is ProviderState.IN_SERVICE
        assert [call.stale for call in model.calls] == [False]


async def test_reconnect_now_after_giving_up_or_disconnecting_connects() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(CredentialsRefusedError("Locked."))}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.FAILED)
        await model.reconnect_now()
        assert state_of(model) is ProviderState.IN_SERVICE
        await model.disconnect()
        await model.reconnect_now()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 4
    with pytest.raises(SessionClosedError):
        await model.reconnect_now()


@pytest.mark.parametrize("asks", [False, True])
async def test_reconnect_now_makes_a_new_connection_where_the_plugin_fails_to_ask(asks: bool) -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(KeyError("a fault"))
    async with watched(pbx) as model, anyio.create_task_group() as tasks:
        if asks:
            # Whoever else wants to know is told the same.
            tasks.start_soon(model.reconnect_now)
        await model.reconnect_now()
        assert pbx.runs == 2
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_who_wants_to_know_waits_for_the_first_answer_after_he_asked_and_no_longer() -> None:
    pbx = Pbx()
    waited: list[float] = []

    async def takes_a_moment() -> None:
        await anyio.sleep(0.2)

    async def press() -> None:
        began_at = now()
        await model.reconnect_now()
        waited.append(now() - began_at)

    pbx.on_verb["probe"] = takes_a_moment
    async with watched(pbx) as model:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(press)
                tasks.start_soon(press)
                await anyio.sleep(0.15)
        assert len(waited) == 100
        # What was asked before he did proves nothing for him: he may have to wait for two.
        assert max(waited) <= 0.4 + 1e-6
        assert probes(pbx) <= 50
        assert pbx.runs == 1


async def test_of_two_questions_the_one_that_fails_is_not_the_others_answer() -> None:
    pbx = Pbx()
    outcomes: list[str] = []

    async def asked() -> None:
        await anyio.sleep(1)
        if probes(pbx) == 1:
            raise KeyError("a fault")

    async def press(name: str) -> None:
        await model.reconnect_now()
        outcomes.append(name)

    pbx.on_verb["probe"] = asked
    async with watched(pbx) as model:
        model._keeper.suspect()
        await anyio.sleep(0.5)
        await press("later")
        assert outcomes == ["later"]
        assert (pbx.runs, probes(pbx)) == (1, 2)


async def test_an_attempt_that_fails_after_somebody_wanted_it_now_is_followed_by_another_at_once() -> None:
    async def swallowed(provider: ScriptedProvider) -> None:
        await anyio.sleep_forever()

    pbx = Pbx()
    pbx.on_run = {2: swallowed}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is None)
        await model.reconnect_now()
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 3
        (waits,) = [event for event in told(events) if isinstance(event, ProviderStateChanged) and event.next_try_at is not None]
        assert waits.next_try_at == waits.at


async def test_only_once_and_then_it_is_waited_for_as_ever() -> None:
    async def swallowed(provider: ScriptedProvider) -> None:
        await anyio.sleep_forever()

    pbx = Pbx()
    pbx.on_run = dict.fromkeys(range(2, 5), swallowed)
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is None)
        with pytest.raises(NetworkError, match="did not log in"):
            await model.reconnect_now()
        assert pbx.runs == 3
        waits = model.provider_state_event
        assert waits is not None
        assert waits.next_try_at is not None
        assert waits.next_try_at > waits.at


async def test_an_attempt_that_somebody_wanted_now_and_that_must_not_be_repeated_is_not() -> None:
    async def refused(provider: ScriptedProvider) -> None:
        await anyio.sleep(5)
        raise CredentialsRefusedError("Locked.")

    pbx = Pbx()
    pbx.on_run = {2: refused}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
        await until(events, ProviderStateChanged, lambda event: event.next_try_at is None)
        with pytest.raises(CredentialsRefusedError):
            await model.reconnect_now()
        assert state_of(model) is ProviderState.FAILED
        assert pbx.runs == 2


async def test_reconnect_now_while_it_is_closed_does_not_wait_for_ever() -> None:
    before = living()
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    outcomes: list[Exception] = []
    async with watched(pbx) as model:

        async def ask() -> None:
            try:
                await model.reconnect_now()
            except CtiError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await model.disconnect()
    assert len(outcomes) <= 1
    assert living() == before


# Whether it still lives ------------------------------------------------------------------------------------------------


async def test_a_silent_pbx_is_asked_and_one_that_answers_is_left_alone() -> None:
    pbx = Pbx()
    async with watched(pbx):
        await anyio.sleep(601)
        assert probes(pbx) == 10
        assert pbx.runs == 1


async def test_what_is_reported_is_heard_and_so_is_what_the_provider_says_it_heard() -> None:
    pbx = Pbx()
    async with watched(pbx):
        for _ in range(10):
            await anyio.sleep(59)
            pbx.provider.offered("a")
            await anyio.sleep(59)
            pbx.provider.context.heard()
        assert probes(pbx) == 0
        await anyio.sleep(61)
        assert probes(pbx) == 1


@pytest.mark.parametrize(
    ("unacknowledged", "kind"), [(None, OutageKind.FROZEN), (0, OutageKind.FROZEN), (17, OutageKind.HALF_OPEN)]
)
async def test_a_pbx_that_does_not_answer_is_dead(unacknowledged: int | None, kind: OutageKind) -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    async with watched(pbx) as model:
        pbx.provider.unacknowledged = unacknowledged  # type: ignore[attr-defined]  # it is an Asked
        events = model.events()
        began_at = now()
        lost = await until(events, Disconnected)
        assert now() - began_at == pytest.approx(70.0)
        assert isinstance(lost.error, NetworkError)
        assert lost.error.kind is kind
        assert "70 s" in str(lost.error)
        await until(events, SnapshotTaken)
        assert pbx.most_running == 1
        assert pbx.runs == 2


async def test_calls_that_a_dead_connection_hid_ended_when_the_pbx_was_heard_last() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    async with watched(pbx) as model:
        pbx.provider.offered("a")
        pbx.provider.connected("a")
        await anyio.sleep(20)
        pbx.provider.context.heard()
        heard_at = model.now()
        events = model.events()
        finished = await until(events, CallFinished)
        assert finished.call.ended_at == heard_at
        assert finished.call.talk_seconds == pytest.approx(20.0)


@pytest.mark.parametrize("kind", list(OutageKind))
async def test_so_did_those_whose_connection_the_provider_itself_noticed_to_be_dead(kind: OutageKind) -> None:
    pbx = Pbx()
    error = NetworkError("ping was not answered", kind=kind)

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        provider.offered("a")
        provider.connected("a")
        await anyio.sleep(60)
        pbx.calls = ()
        raise error

    pbx.calls = (snapshot_of("a"),)
    pbx.on_run[1] = run
    async with session(pbx) as model:
        events = model.events()
        finished = await until(events, CallFinished)
        late = kind in (OutageKind.FROZEN, OutageKind.HALF_OPEN)
        assert finished.call.talk_seconds == pytest.approx(0.0 if late else 60.0)


async def test_what_the_plugin_makes_up_is_no_life() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    async with watched(pbx) as model:
        events = model.events()
        async with anyio.create_task_group() as tasks:

            async def complain() -> None:
                while True:
                    await anyio.sleep(5)
                    pbx.provider.context.report(Trouble(at=model.now(), error=CommandUnconfirmedError("It does not answer.")))

            tasks.start_soon(complain)
            lost = await until(events, Disconnected)
            tasks.cancel_scope.cancel()
        assert OutageKind.of(lost.error or ValueError()) is OutageKind.FROZEN


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_question_that_finds_the_connection_broken_gives_it_up(wrapped: bool) -> None:
    pbx = Pbx()
    broken = NetworkError("The socket is closed.")
    pbx.on_verb["probe"] = raising(ExceptionGroup("x", [broken]) if wrapped else broken)
    async with watched(pbx) as model:
        events = model.events()
        began_at = now()
        lost = await until(events, Disconnected)
        assert lost.error is broken
        assert now() - began_at == pytest.approx(60.0)
        await until(events, SnapshotTaken)
        assert pbx.runs == 2
        await model.reconnect_now()
        assert pbx.runs == 3


async def test_anything_that_is_heard_while_it_is_asked_is_life() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = never
    async with watched(pbx):
        await anyio.sleep(65)
        assert probes(pbx) == 1
        pbx.provider.context.heard()
        await anyio.sleep(30)
        assert pbx.runs == 1


async def test_who_refuses_to_answer_is_there() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(CommandRefusedError("No."))
    async with watched(pbx):
        await anyio.sleep(600)
        assert pbx.runs == 1


async def test_a_question_that_fails_at_once_leaves_the_rest_of_the_time() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(CommandUnconfirmedError("ping: no answer"))
    async with watched(pbx) as model:
        events = model.events()
        began_at = now()
        await until(events, Disconnected)
        assert now() - began_at == pytest.approx(70.0)
        assert probes(pbx) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_one_that_cannot_be_asked_on_this_connection_is_left_alone(wrapped: bool) -> None:
    pbx = Pbx()
    cannot = NotSupportedError("This server knows no ping.")
    pbx.on_verb["probe"] = raising(ExceptionGroup("x", [cannot]) if wrapped else cannot)
    async with watched(pbx) as model:
        await anyio.sleep(86_400)
        assert (pbx.runs, probes(pbx)) == (1, 1)
        # What cannot be asked is not asked, whoever doubts.
        model._keeper.suspect()
        await anyio.sleep(60)
        assert probes(pbx) == 1
        # Who wants to know gets a new connection, and that one is asked again: it may be to another server.
        await model.reconnect_now()
        assert pbx.runs == 2
        del pbx.on_verb["probe"]
        await anyio.sleep(61)
        assert probes(pbx) == 2


async def test_who_wants_to_know_gets_a_new_connection_where_it_turns_out_that_it_cannot_be_asked() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(NotSupportedError("This server knows no ping."))
    async with watched(pbx) as model:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(model.reconnect_now)
        assert (pbx.runs, pbx.most_running, probes(pbx)) == (2, 1, 1)
        assert state_of(model) is ProviderState.IN_SERVICE


async def test_a_question_that_was_not_sent_proves_nothing() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(CommandError("Too much is under way.", stage=CommandStage.NOT_SENT))
    async with watched(pbx) as model:
        await anyio.sleep(601)
        assert (pbx.runs, probes(pbx)) == (1, 10)
        await model.reconnect_now()
        assert pbx.runs == 2


async def test_that_there_is_no_connection_is_no_life() -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(NotConnectedError("There is no connection."))
    async with watched(pbx) as model:
        events = model.events()
        began_at = now()
        await until(events, Disconnected)
        assert now() - began_at == pytest.approx(70.0)


async def test_a_fault_of_the_plugin_is_no_proof_of_death_and_ends_no_watch(logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = raising(KeyError("a fault"))
    async with watched(pbx) as model:
        await anyio.sleep(601)
        assert pbx.runs == 1
        assert probes(pbx) == 10
        # What it was is said once a connection; and nothing was heard meanwhile.
        pbx.on_verb["probe"] = never
        events = model.events()
        assert "670 s" in str((await until(events, Disconnected)).error)
    assert [line["verb"] for line in logs if line["event"] == "cti.provider.raised"] == ["probe"]


async def test_silence_can_be_left_alone() -> None:
    pbx = Pbx()
    async with watched(pbx, liveness=LivenessPolicy(silence_seconds=0)) as model:
        await anyio.sleep(86_400)
        assert probes(pbx) == 0
        # What is asked for is asked all the same.
        await model.reconnect_now()
        assert probes(pbx) == 1


async def test_a_provider_that_cannot_ask_is_not_watched() -> None:
    pbx = Pbx()
    async with session(pbx, liveness=WATCHED):
        await anyio.sleep(86_400)
        assert pbx.runs == 1


@pytest.mark.parametrize("silent", ["in time", "for ever"])
async def test_a_command_without_an_answer_has_the_pbx_asked_at_once(silent: str) -> None:
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = raising(CommandUnconfirmedError("no answer")) if silent == "in time" else never_with
    async with watched(pbx) as model:
        with pytest.raises(CommandUnconfirmedError):
            await model.set_agent_state("DND")
        await anyio.wait_all_tasks_blocked()
        assert probes(pbx) == 1
        assert pbx.runs == 1


async def never_with(*arguments: Any) -> None:
    await anyio.sleep_forever()


async def test_a_command_that_is_refused_has_nobody_asked() -> None:
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = raising(CommandRefusedError("No."))
    async with watched(pbx) as model:
        with pytest.raises(CommandRefusedError):
            await model.set_agent_state("DND")
        await anyio.wait_all_tasks_blocked()
        assert probes(pbx) == 0


async def test_a_snapshot_without_an_answer_has_the_pbx_asked() -> None:
    async def hangs(provider: ScriptedProvider) -> Any:
        await anyio.sleep_forever()

    pbx = Pbx()
    pbx.on_snapshot = {1: hangs}
    pbx.on_verb["probe"] = never
    slow = attrs.evolve(POLICY, initial_delay_seconds=20.0, maximum_delay_seconds=20.0)
    async with watched(pbx, policy=slow, liveness=LivenessPolicy(silence_seconds=0)) as model:
        events = model.events()
        lost = await until(events, Disconnected)
        assert OutageKind.of(lost.error or ValueError()) is OutageKind.FROZEN
        await until(events, SnapshotTaken)
        assert pbx.runs == 2


async def test_watching_costs_no_task() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        await anyio.wait_all_tasks_blocked()
        plain = living()
        await model.disconnect()
    other = Pbx()
    async with watched(other):
        await anyio.wait_all_tasks_blocked()
        # The attempt's own task, which waits for `run()` in the one and watches in the other.
        assert living() == plain


# What does not end ------------------------------------------------------------------------------------------------------


async def ends_late(provider: ScriptedProvider) -> None:
    """Live, and take five minutes to end: closing a connection to a peer that has gone, for instance."""
    provider.started()
    provider.offered("a")
    try:
        await provider.pbx.live()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(300)


def stuck(logs: list[Any]) -> int:
    return [line["event"] for line in logs].count("cti.provider.does_not_end")


@pytest.mark.parametrize("provider_class", [Asked, ScriptedProvider])
async def test_a_connection_that_is_given_up_is_lost_at_once(logs: list[Any], provider_class: type[ScriptedProvider]) -> None:
    pbx = Pbx()
    pbx.on_run[1] = ends_late
    pbx.on_verb["probe"] = never
    pbx.calls = (snapshot_of("a"),)
    async with session(pbx, provider_class) as model:
        events = model.events()
        began_at = now()
        with pytest.raises(NetworkError) as caught:
            await model.reconnect_now()
        # Asked for ten seconds where it can be asked, and waited for until the plugin is named.
        assert now() - began_at < 15
        lost = await until(events, Disconnected)
        assert lost.error is caught.value
        assert lost.at < model.now()
        assert state_of(model) is ProviderState.RECONNECTING
        assert [(call.stale, call.features) for call in model.calls] == [(True, CallFeature.NONE)]
        with pytest.raises(NotConnectedError):
            await model.answer_call("a")
        pbx.provider.connected("a")
        assert model.refused_reports["not_connected"] == 1
        with pytest.raises(NetworkError):
            await model.reconnect_now()
        assert stuck(logs) == 1
        assert pbx.runs == 1
        # When it has ended after all, nothing is waited for: somebody wanted to have it now.
        await until_state(events, ProviderState.IN_SERVICE)
        assert now() - began_at == pytest.approx(310 if provider_class is Asked else 300, abs=0.1)
        assert pbx.runs == 2
        assert pbx.most_running == 1
    (told_once,) = [line for line in logs if line["event"] == "cti.connection.lost"]
    assert told_once["error"] == "NetworkError"


async def test_one_that_ends_in_time_is_not_named(logs: list[Any]) -> None:
    pbx = Pbx()

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await pbx.live()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)

    pbx.on_run[1] = run
    async with session(pbx) as model:
        place = model.cursor
        began_at = now()
        await model.reconnect_now()
        assert now() - began_at == pytest.approx(3.0)
        assert state_of(model) is ProviderState.IN_SERVICE
        assert states(told(model.events(after=place))) == [
            (ProviderState.RECONNECTING, 1),
            (ProviderState.RECONNECTING, 1),
            (ProviderState.IN_SERVICE, 0),
        ]
    assert stuck(logs) == 0


async def test_a_log_in_that_does_not_end_keeps_nobody_waiting(logs: list[Any]) -> None:
    pbx = Pbx()

    async def run(provider: ScriptedProvider) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(300)

    pbx.on_run[1] = run
    async with session(pbx, auto_connect=False) as model:
        with anyio.fail_after(40), pytest.raises(NetworkError, match="log in within"):
            await model.connect()
        events = model.events()
        assert pbx.runs == 1
        await until_state(events, ProviderState.IN_SERVICE)
        assert pbx.most_running == 1
    assert stuck(logs) == 1


async def test_disconnecting_names_one_that_does_not_end(logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_run[1] = ends_late
    async with session(pbx) as model:
        with anyio.move_on_after(10):
            await model.disconnect()
        assert stuck(logs) == 1


# What the log says -----------------------------------------------------------------------------------------------------


async def test_one_loud_line_when_it_breaks_and_one_when_it_is_back(logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.", kind=OutageKind.REFUSED)) for number in range(2, 6)}
    async with session(pbx) as model:
        events = model.events()
        began_at = now()
        pbx.cut()
        await until_state(events, ProviderState.IN_SERVICE)
        outage_seconds = now() - began_at
        await anyio.wait_all_tasks_blocked()
    lines = [line for line in logs if line["event"].startswith("cti.connection.")]
    loud = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in loud] == ["cti.connection.lost", "cti.connection.back"]
    assert loud[0]["kind"] == "lost"
    assert loud[0]["next_try_in_seconds"] > 0
    assert loud[1]["outage_seconds"] == pytest.approx(outage_seconds, abs=0.1)
    assert loud[1]["attempts"] == 5
    quiet = [line for line in lines if line["event"] == "cti.connection.attempt_failed"]
    assert [(line["log_level"], line["kind"], line["attempt"]) for line in quiet] == [
        ("debug", "refused", number) for number in range(1, 5)
    ]


async def test_a_session_that_is_simply_opened_is_not_loud(logs: list[Any]) -> None:
    async with session(Pbx()) as model:
        await model.disconnect()
        await model.connect()
    levels = {line["log_level"] for line in logs if line["event"].startswith("cti.connection.")}
    assert levels == {"info"}


async def test_a_host_that_comes_late_reads_how_it_stands() -> None:
    pbx = Pbx()
    pbx.on_run = {number: fails(NetworkError("Nobody there.", kind=OutageKind.UNREACHABLE)) for number in range(2, 10)}
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, ProviderStateChanged, lambda event: event.attempt == 3 and event.next_try_at is not None)
        late = model.provider_state_event
        assert late is not None
        assert isinstance(late.error, ConnectionFailedError)
        assert (late.state, late.attempt, late.error.kind) == (ProviderState.RECONNECTING, 3, OutageKind.UNREACHABLE)
        assert late.next_try_at is not None
        assert late.next_try_at > model.now() >= late.since


def states(events: list[Event]) -> list[tuple[ProviderState, int]]:
    return [(event.state, event.attempt) for event in events if isinstance(event, ProviderStateChanged)]


async def test_the_states_of_a_session_that_gives_up() -> None:
    pbx = Pbx()
    pbx.on_run = {2: fails(NetworkError("x")), 3: fails(NetworkError("x"))}
    async with session(pbx, policy=attrs.evolve(POLICY, give_up_after_attempts=2)) as model:
        events = model.events()
        pbx.cut()
        await until(events, Disconnected)
        place = events.cursor
        await until_state(events, ProviderState.FAILED)
        assert states(told(model.events(after=place))) == [
            (ProviderState.RECONNECTING, 1),
            (ProviderState.RECONNECTING, 1),
            (ProviderState.RECONNECTING, 2),
            (ProviderState.RECONNECTING, 2),
            (ProviderState.FAILED, 2),
        ]
