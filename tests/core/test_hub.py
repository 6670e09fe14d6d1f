from __future__ import annotations

import contextvars
import math
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from structlog.testing import capture_logs
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandStage,
    CredentialsRefusedError,
    CtiError,
    LogInRefusedError,
    NetworkError,
    NotAllowedNowError,
    SessionClosedError,
)
from cti_framework.events import Cursor, ProviderState
from cti_framework.hub import CtiHub, HubBudget, HubSession, HubSessionState
from cti_framework.hub._gate import Gates, Places
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.reports import Started
from cti_framework.settings import setting
from tests.core.scripted import Pbx, ScriptedProvider, fails, jumping_backend, living, session, state_of, until_state

pytestmark = pytest.mark.anyio

BOUND = contextvars.ContextVar("BOUND", default="nobody")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class Host(CtiProviderInitializer):
    """An initializer whose chain a test scripts, and whose users each have a PBX of their own unless they share one."""

    def __init__(self) -> None:
        super().__init__({}, environ={})
        self.pbxs: dict[str, Pbx] = {}
        self.on_create: Callable[[CtiUser], Any] | None = None
        self.created: list[str] = []
        self.options: dict[str, Any] = {}
        self.settings: Callable[[CtiUser], object] = lambda user: None

    def pbx(self, user_id: str) -> Pbx:
        return self.pbxs.setdefault(user_id, Pbx())

    async def create(self, user: CtiUser | str, **given: Any) -> CtiModel:
        assert isinstance(user, CtiUser)
        self.created.append(user.id)
        self.options = dict(given)
        admission = given.pop("admission")("scripted", self.settings(user))
        capacity = given.pop("event_log_capacity")
        if self.on_create is not None:
            await self.on_create(user)
        if capacity is not None:
            given["event_log_capacity"] = capacity
        return session(self.pbx(user.id), ScriptedProvider, user=user, admission=admission, **given)


class Asking:
    """Somebody who asks for a session in a task of their own."""

    def __init__(self, hub: CtiHub, user: str) -> None:
        self.hub = hub
        self.user = user
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.model: CtiModel | None = None

    async def ask(self) -> None:
        with self.scope:
            self.model = await self.hub.open(self.user)
        self.done.set()

    async def answer(self) -> CtiModel:
        with anyio.fail_after(3600):
            await self.done.wait()
        assert self.model is not None
        return self.model


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def hub_of(host: Host, **options: Any) -> AsyncIterator[CtiHub]:
    """Open a hub; when it is closed nothing of it is left."""
    before = living()
    async with CtiHub(host, **options) as hub:
        yield hub
    assert hub.sessions == ()
    assert living() == before
    assert all(pbx.running == 0 for pbx in host.pbxs.values())


# Opening and closing ---------------------------------------------------------------------------------------------------


async def test_sessions_outlive_the_tasks_that_asked_for_them() -> None:
    host = Host()
    async with hub_of(host) as hub:
        asking = Asking(hub, "ann")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asking.ask)
        model = await asking.answer()
        assert state_of(model) is ProviderState.IN_SERVICE
        seen = hub.session("ann")
        assert seen is not None
        assert (seen.state, seen.model, seen.holders) == (HubSessionState.OPEN, model, 1)
        assert hub.sessions == (seen,)
    assert state_of(model) is ProviderState.CLOSED


async def test_a_user_has_one_session_which_the_last_who_holds_it_closes() -> None:
    host = Host()
    async with hub_of(host) as hub:
        all_asking = [Asking(hub, "ann") for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for asking in all_asking:
                tasks.start_soon(asking.ask)
        models = [await asking.answer() for asking in all_asking]
        assert len({id(model) for model in models}) == 1
        assert (host.created, host.pbx("ann").runs) == (["ann"], 1)
        await hub.close("ann")
        await hub.close(models[0])
        assert state_of(models[0]) is ProviderState.IN_SERVICE
        await hub.close("ann")
        assert state_of(models[0]) is ProviderState.CLOSED
        assert hub.session("ann") is None
        # None that has to be closed.
        await hub.close("ann")


async def test_a_session_can_be_closed_for_all_who_hold_it() -> None:
    host = Host()
    async with hub_of(host) as hub:
        for _ in range(3):
            model = await hub.open("ann")
        await hub.close(model, for_all=True)
        assert state_of(model) is ProviderState.CLOSED


async def test_one_who_gives_back_a_session_that_ended_does_not_close_the_next() -> None:
    host = Host()
    async with hub_of(host) as hub:
        first = await hub.open("ann")
        await hub.close(first, for_all=True)
        second = await hub.open("ann")
        assert second is not first
        await hub.close(first)
        assert state_of(second) is ProviderState.IN_SERVICE


async def test_whoever_comes_while_it_closes_gets_a_new_one() -> None:
    host = Host()
    closing, closed = anyio.Event(), anyio.Event()

    async def closes_slowly(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                closing.set()
                await closed.wait()

    host.pbx("ann").on_run[1] = closes_slowly
    async with hub_of(host) as hub, anyio.create_task_group() as tasks:
        first = await hub.open("ann")
        tasks.start_soon(hub.close, first)
        await closing.wait()
        second = Asking(hub, "ann")
        tasks.start_soon(second.ask)
        await turns()
        assert second.model is None
        closed.set()
        assert await second.answer() is not first
        assert host.pbx("ann").most_running == 1


async def test_what_ends_the_block_comes_out_as_it_is() -> None:
    host = Host()
    with pytest.raises(KeyError, match="mine"):
        async with hub_of(host) as hub:
            await hub.open("ann")
            raise KeyError("mine")


async def test_leaving_the_block_by_cancellation_closes_everything() -> None:
    host = Host()
    with anyio.CancelScope() as scope:
        async with hub_of(host) as hub:
            models = [await hub.open(f"user {number}") for number in range(5)]
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert {state_of(model) for model in models} == {ProviderState.CLOSED}
    assert all(pbx.running == 0 for pbx in host.pbxs.values())


async def test_a_hub_is_opened_once_and_used_while_it_is_open() -> None:
    hub = CtiHub(Host())
    with pytest.raises(SessionClosedError):
        await hub.open("ann")
    async with hub:
        pass
    with pytest.raises(SessionClosedError):
        await hub.open("ann")
    with pytest.raises(SessionClosedError):
        async with hub:
            raise AssertionError("it opened again")


@pytest.mark.parametrize("options", [{"concurrent_openings": 0}, {"openings_per_second": 0.0}, {"openings_per_second": math.nan}])
def test_a_hub_that_opens_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="opens at least"):
        CtiHub(Host(), **options)


async def test_what_a_request_has_bound_does_not_stay_with_the_session() -> None:
    seen: list[str] = []
    host = Host()

    async def look(provider: ScriptedProvider) -> None:
        seen.append(BOUND.get())
        provider.started()
        await anyio.sleep_forever()

    host.pbx("ann").on_run[1] = look
    BOUND.set("the hub")
    async with hub_of(host) as hub:
        BOUND.set("a request")
        await hub.open("ann")
    assert seen == ["the hub"]


# One that fails harms no other -----------------------------------------------------------------------------------------


async def test_what_the_chain_or_the_pbx_refuses_is_raised_and_harms_no_other() -> None:
    host = Host()

    async def refuse(user: CtiUser) -> None:
        if user.id == "eve":
            raise LogInRefusedError("No licence.")

    host.on_create = refuse
    host.pbx("bob").on_run[1] = fails(CredentialsRefusedError("Wrong password."))
    host.pbx("dan").on_run[1] = fails(NetworkError("Nobody there."))
    told: list[HubSession] = []
    async with hub_of(host, on_change=told.append) as hub:
        ann = await hub.open("ann")
        with pytest.raises(LogInRefusedError):
            await hub.open("eve")
        with pytest.raises(CredentialsRefusedError):
            await hub.open("bob")
        with pytest.raises(NetworkError):
            await hub.open("dan")
        assert state_of(ann) is ProviderState.IN_SERVICE
        assert [seen.user.id for seen in hub.sessions] == ["ann"]
        eve = [change for change in told if change.user.id == "eve"]
        assert [change.state for change in eve] == [HubSessionState.OPENING, HubSessionState.FAILED]
        assert isinstance(eve[-1].error, LogInRefusedError)


async def test_who_does_not_wait_holds_a_session_that_goes_on_trying() -> None:
    host = Host()
    host.pbx("ann").on_run = {1: fails(NetworkError("Nobody there.")), 2: fails(NetworkError("Nobody there."))}
    async with hub_of(host) as hub:
        model = await hub.open("ann", wait_for_service=False)
        events = model.events()
        await until_state(events, ProviderState.OUT_OF_SERVICE)
        # Another who wants it in service is told what keeps it from that, and does not take the first one's away.
        with pytest.raises(NetworkError):
            await hub.open("ann")
        await until_state(events, ProviderState.IN_SERVICE)
        assert await hub.open("ann") is model


async def test_one_that_was_refused_is_not_tried_again_by_those_who_join() -> None:
    host = Host()
    host.pbx("ann").on_run[1] = fails(CredentialsRefusedError("Wrong password."))
    async with hub_of(host) as hub:
        model = await hub.open("ann", wait_for_service=False)
        await until_state(model.events(Cursor(model.cursor.epoch, 0)), ProviderState.FAILED)
        with pytest.raises(CredentialsRefusedError):
            await hub.open("ann")
        assert host.pbx("ann").runs == 1
        assert hub.session("ann") is not None


async def test_one_that_was_disconnected_is_given_as_it_is() -> None:
    host = Host()
    async with hub_of(host) as hub:
        model = await hub.open("ann")
        await model.disconnect()
        assert await hub.open("ann") is model
        assert state_of(model) is ProviderState.CLOSED


async def test_a_fault_that_ends_a_session_is_named_and_harms_no_other(logs: list[Any]) -> None:
    host = Host()
    told: list[HubSession] = []
    ended = anyio.Event()

    def on_change(change: HubSession) -> None:
        told.append(change)
        if change.state is HubSessionState.FAILED:
            ended.set()

    async with hub_of(host, on_change=on_change) as hub:
        ann, bob = await hub.open("ann"), await hub.open("bob")

        async def crash() -> None:
            raise ZeroDivisionError("a fault of the core")

        assert bob._tasks is not None
        bob._tasks.start_soon(crash)
        with anyio.fail_after(5):
            await ended.wait()
        assert hub.session("bob") is None
        assert (state_of(ann), state_of(bob)) == (ProviderState.IN_SERVICE, ProviderState.CLOSED)
        failed = told[-1]
        assert (failed.user.id, failed.state) == ("bob", HubSessionState.FAILED)
        assert isinstance(failed.error, CtiError)
        crashed = [line for line in logs if line["event"] == "cti.hub.session_crashed"]
        assert [line["user"] for line in crashed] == ["bob"]
        assert "ZeroDivisionError" in crashed[0]["stack"]
        # And can be opened again.
        assert await hub.open("bob") is not bob


async def test_a_callback_that_raises_harms_nothing(logs: list[Any]) -> None:
    def callback(change: HubSession) -> None:
        raise ZeroDivisionError("a fault of the host")

    async with hub_of(Host(), on_change=callback) as hub:
        assert state_of(await hub.open("ann")) is ProviderState.IN_SERVICE
    assert [line["event"] for line in logs].count("cti.hub.on_change_raised") == 3


async def test_changes_are_told_in_order() -> None:
    told: list[HubSession] = []
    async with hub_of(Host(), on_change=told.append) as hub:
        model = await hub.open("ann")
        await hub.close(model)
    assert [change.state for change in told] == [HubSessionState.OPENING, HubSessionState.OPEN, HubSessionState.CLOSED]
    assert [change.model for change in told] == [None, model, None]


async def test_an_error_that_many_raise_has_one_short_traceback() -> None:
    host = Host()
    asked, refuse = anyio.Event(), anyio.Event()

    async def refuse_later(user: CtiUser) -> None:
        asked.set()
        await refuse.wait()
        raise LogInRefusedError("No licence.")

    host.on_create = refuse_later
    caught: list[LogInRefusedError] = []

    async with hub_of(host) as hub:

        async def ask() -> None:
            with pytest.raises(LogInRefusedError) as info:
                await hub.open("ann")
            caught.append(info.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
            await asked.wait()
            await turns()
            refuse.set()
    assert len(caught) == 20
    assert len({id(error) for error in caught}) == 1
    assert len(traceback.extract_tb(caught[0].__traceback__)) < 5


# Whoever is cancelled leaves nothing ------------------------------------------------------------------------------------


async def test_one_who_is_cancelled_while_it_opens_leaves_nothing() -> None:
    host = Host()
    asked = anyio.Event()

    async def hang(user: CtiUser) -> None:
        asked.set()
        await anyio.sleep_forever()

    host.on_create = hang
    async with hub_of(host) as hub:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hub.open, "ann")
                await asked.wait()
                scope.cancel()
        assert hub.sessions == ()


async def test_one_who_is_cancelled_while_it_connects_leaves_nothing() -> None:
    host = Host()
    connecting = anyio.Event()

    async def hang(provider: ScriptedProvider) -> None:
        connecting.set()
        await anyio.sleep_forever()

    host.pbx("ann").on_run[1] = hang
    async with hub_of(host) as hub:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hub.open, "ann")
                await connecting.wait()
                scope.cancel()
        assert hub.sessions == ()
        assert host.pbx("ann").running == 0


async def test_cancelled_at_any_moment_of_opening_and_closing_nothing_is_left() -> None:
    host = Host()
    opened = 0
    async with hub_of(host, budget=HubBudget(openings=None), openings_per_second=math.inf) as hub:
        for moment in range(60):
            asking = Asking(hub, "ann")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asking.ask)
                await turns(moment)
                asking.scope.cancel()
            if asking.model is not None:
                opened += 1
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(hub.close, asking.model)
                        await turns(moment % 20)
                        scope.cancel()
            assert hub.sessions == ()
            assert host.pbx("ann").running == 0
    # Both were there: those cancelled on the way, and those cancelled too late.
    assert 0 < opened < 60


async def test_one_who_is_cancelled_takes_nothing_from_the_others() -> None:
    host = Host()
    connecting, go_on = anyio.Event(), anyio.Event()

    async def slow(provider: ScriptedProvider) -> None:
        connecting.set()
        await go_on.wait()
        provider.started()
        await anyio.sleep_forever()

    host.pbx("ann").on_run[1] = slow
    async with hub_of(host) as hub, anyio.create_task_group() as tasks:
        first, second = Asking(hub, "ann"), Asking(hub, "ann")
        tasks.start_soon(first.ask)
        await connecting.wait()
        tasks.start_soon(second.ask)
        await turns()
        first.scope.cancel()
        await first.done.wait()
        assert first.model is None
        go_on.set()
        assert state_of(await second.answer()) is ProviderState.IN_SERVICE
        assert host.pbx("ann").runs == 1


# The budget ------------------------------------------------------------------------------------------------------------


async def test_a_hub_has_no_more_sessions_than_it_may() -> None:
    async with hub_of(Host(), budget=HubBudget(sessions=2)) as hub:
        await hub.open("ann")
        await hub.open("bob")
        with pytest.raises(NotAllowedNowError) as caught:
            await hub.open("eve")
        assert "2 sessions" in caught.value.reason
        assert caught.value.stage is CommandStage.NOT_SENT
        await hub.open("ann")
        await hub.close("bob")
        await hub.open("eve")


async def test_a_session_is_held_no_more_often_than_it_may_be() -> None:
    async with hub_of(Host(), budget=HubBudget(holders=2)) as hub:
        await hub.open("ann")
        await hub.open("ann")
        with pytest.raises(NotAllowedNowError) as caught:
            await hub.open("ann")
        assert "held 2 times" in caught.value.reason
        await hub.open("bob")


async def test_a_page_that_reloads_itself_does_not_lock_an_account() -> None:
    host = Host()
    host.pbx("ann").on_run = {number: fails(CredentialsRefusedError("Wrong password.")) for number in range(1, 100)}
    async with hub_of(host, budget=HubBudget(openings=3, openings_seconds=60)) as hub:
        for _ in range(3):
            with pytest.raises(CredentialsRefusedError):
                await hub.open("ann")
        for _ in range(5):
            with pytest.raises(NotAllowedNowError, match="try again in 60 s"):
                await hub.open("ann")
        assert host.pbx("ann").runs == 3
        await hub.open("bob")
        await anyio.sleep(60)
        with pytest.raises(CredentialsRefusedError):
            await hub.open("ann")


async def test_attempts_of_strangers_are_not_remembered_without_end() -> None:
    host = Host()

    async def refuse(user: CtiUser) -> None:
        raise LogInRefusedError("No licence.")

    host.on_create = refuse
    async with hub_of(host) as hub:
        for number in range(4100):
            with pytest.raises(LogInRefusedError):
                await hub.open(f"stranger {number}")
        assert len(hub._openings) == 4096


async def test_a_user_has_no_more_commands_under_way_than_the_budget_says() -> None:
    host = Host()
    waiting = anyio.Event()
    go_on = anyio.Event()

    async def hang(*arguments: Any) -> None:
        waiting.set()
        await go_on.wait()

    host.pbx("ann").on_verb["set_wrap_up"] = hang
    async with hub_of(host, budget=HubBudget(commands_in_flight=1)) as hub, anyio.create_task_group() as tasks:
        ann, bob = await hub.open("ann"), await hub.open("bob")
        tasks.start_soon(ann.set_wrap_up, True)
        await waiting.wait()
        with pytest.raises(NotAllowedNowError) as caught:
            await ann.set_call_centre_mode(True)
        assert "1 commands are under way" in caught.value.reason
        assert len(host.pbx("ann").asked) == 1
        await bob.set_call_centre_mode(True)
        go_on.set()
    assert host.pbx("bob").asked


async def test_the_budget_says_how_many_events_are_kept() -> None:
    async with hub_of(Host(), budget=HubBudget(event_log_capacity=7)) as hub:
        assert (await hub.open("ann"))._events._capacity == 7


@pytest.mark.parametrize(
    "given",
    [
        {"sessions": 0},
        {"holders": 0},
        {"commands_in_flight": 0},
        {"openings": 0},
        {"openings": -1},
        {"openings_seconds": 0.0},
        {"openings_seconds": math.nan},
        {"event_log_capacity": 0},
    ],
)
def test_a_budget_that_grants_nothing_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        HubBudget(**given)


async def test_whoever_asks_with_other_parameters_does_not_get_the_line() -> None:
    async with hub_of(Host()) as hub:
        ann = CtiUser("ann", parameters={"password": "hers"})
        model = await hub.open(ann)
        with pytest.raises(NotAllowedNowError) as caught:
            await hub.open(CtiUser("ann", parameters={"password": "guessed"}))
        assert "guessed" not in str(caught.value)
        assert "hers" not in str(caught.value)
        assert await hub.open(CtiUser("ann", parameters={"password": "hers"})) is model
        # Who names no parameters takes what there is: a host that knows its users by their identifiers.
        assert await hub.open("ann") is model


# Start-up, spread over time ---------------------------------------------------------------------------------------------


class Counted:
    """Counts the log ins that a PBX is asked for."""

    def __init__(self, host: Host, seconds: float) -> None:
        self.host = host
        self.seconds = seconds
        self.now = 0
        self.most = 0
        self.at: list[float] = []

    async def log_in(self, provider: ScriptedProvider) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.at.append(anyio.current_time())
        try:
            await anyio.sleep(self.seconds)
            provider.context.report(Started(at=provider.now))
        finally:
            self.now -= 1
        await provider.pbx.live()

    def of(self, count: int, *, runs: int = 3) -> list[str]:
        users = [f"user {number}" for number in range(count)]
        for user in users:
            self.host.pbx(user).on_run = dict.fromkeys(range(1, runs + 1), self.log_in)
        return users

    def most_in_a_second(self) -> int:
        return max(sum(began <= at < began + 1 for at in self.at) for began in self.at)


async def test_so_many_log_ins_at_a_time() -> None:
    host = Host()
    counted = Counted(host, seconds=0.5)
    async with hub_of(host, concurrent_openings=4, openings_per_second=1000) as hub, anyio.create_task_group() as tasks:
        for user in counted.of(20):
            tasks.start_soon(hub.open, user)
    assert counted.most == 4
    assert len(counted.at) == 20


async def test_so_many_log_ins_a_second() -> None:
    host = Host()
    counted = Counted(host, seconds=0.0)
    async with hub_of(host, concurrent_openings=50, openings_per_second=5) as hub, anyio.create_task_group() as tasks:
        for user in counted.of(20):
            tasks.start_soon(hub.open, user)
    assert counted.most_in_a_second() in (5, 6)
    assert counted.at[-1] - counted.at[0] == pytest.approx(19 / 5, abs=0.1)


async def test_a_pbx_that_comes_back_is_not_stormed() -> None:
    host = Host()
    counted = Counted(host, seconds=0.5)
    async with hub_of(host, concurrent_openings=3, openings_per_second=10) as hub, anyio.create_task_group() as tasks:
        users = counted.of(30)
        everybody = [Asking(hub, user) for user in users]
        for asking in everybody:
            tasks.start_soon(asking.ask)
        models = [await asking.answer() for asking in everybody]
        counted.at.clear()
        counted.most = 0
        events = [(model, model.events()) for model in models]
        for user in users:
            host.pbx(user).cut()
        for _, subscription in events:
            await until_state(subscription, ProviderState.IN_SERVICE)
        assert counted.most == 3
        assert counted.most_in_a_second() <= 11
        assert len(counted.at) == 30


async def test_a_pbx_that_hangs_keeps_nobody_from_another() -> None:
    host = Host()
    host.settings = lambda user: Address(host=user.id.partition(" ")[0])

    async def hang(provider: ScriptedProvider) -> None:
        await anyio.sleep_forever()

    async with hub_of(host, concurrent_openings=2) as hub:
        for number in range(10):
            host.pbx(f"dead {number}").on_run = dict.fromkeys(range(1, 100), hang)
            await hub.open(f"dead {number}", wait_for_service=False)
        with anyio.fail_after(1):
            await hub.open("alive 1")


@attrs.frozen(kw_only=True)
class Address:
    host: str = setting(help="Where the PBX is.")


@attrs.frozen(kw_only=True)
class Addresses:
    address: str = setting(default="pbx.example", help="Where the PBX is.")
    port: int = setting(default=5060, help="And its port.")
    login_page: str | None = setting(default=None, help="Where it is logged in.")
    secret_url: Secret[str] | None = setting(default=None, help="An address with a password in it.")
    api_key: Secret[str] = setting(default=Secret("k3y"), help="No two of it compare equal.")
    extension: str = setting(default="100", help="What a user may have for himself.")
    ring_seconds: float = setting(default=60.0, help="That, too.")
    is_on_port: bool = setting(default=True, help="And that.")


ONE_PBX = [
    {},
    {"api_key": Secret("another")},
    {"extension": "101", "ring_seconds": 5.0, "is_on_port": False},
    {"address": "PBX.example"},
    {"address": "ann:pa55@pbx.example"},
]
ONE_URL = [
    {"login_page": "wss://pbx.example/api"},
    {"login_page": "wss://ann:pa55@PBX.example/api?token=1"},
]
ONE_SECRET_URL = [
    {"secret_url": Secret("wss://pbx.example/api?token=1")},
    {"secret_url": Secret("wss://pbx.example/api?token=2")},
]


@pytest.mark.parametrize("alike", [ONE_PBX, ONE_URL, ONE_SECRET_URL])
def test_settings_that_lead_to_one_place_have_one_gate(alike: list[dict[str, Any]]) -> None:
    gates = Gates(1, 1.0)
    admissions = [gates.admission("acme", Addresses(**given)) for given in alike]
    assert all(admission == admissions[0] for admission in admissions)
    assert "pa55" not in repr(list(gates._gates.keys()))


def test_settings_that_lead_elsewhere_have_another_gate() -> None:
    gates = Gates(1, 1.0)
    elsewhere: list[dict[str, Any]] = [
        {},
        {"address": "branch.example"},
        {"address": "[broken"},
        {"port": 5061},
        {"login_page": "wss://pbx.example/api"},
        {"login_page": "ws://pbx.example/api"},
        {"login_page": "wss://pbx.example:8443/api"},
        {"login_page": "wss://pbx.example/other"},
        {"secret_url": Secret("wss://pbx.example/api")},
    ]
    admissions = [gates.admission("acme", Addresses(**given)) for given in elsewhere]
    admissions += [gates.admission("other", Addresses()), gates.admission("acme", None)]
    assert len(set(admissions)) == len(admissions)
    assert gates.admission("acme", {"no": "settings class"}) == gates.admission("acme", None)


async def test_users_with_secrets_and_settings_of_their_own_go_through_one_gate() -> None:
    host = Host()
    host.settings = lambda user: Addresses(api_key=Secret("k3y"), extension=user.id)
    counted = Counted(host, seconds=0.5)
    async with hub_of(host, concurrent_openings=2, openings_per_second=1000) as hub, anyio.create_task_group() as tasks:
        for user in counted.of(6):
            tasks.start_soon(hub.open, user)
    assert counted.most == 2


async def test_a_directory_that_hangs_for_some_keeps_nobody_else_out() -> None:
    host = Host()

    async def look_up(user: CtiUser) -> None:
        if user.id.startswith("lost"):
            await anyio.sleep(10)

    host.on_create = look_up
    async with hub_of(host, concurrent_openings=4) as hub, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(hub.open, f"lost {number}")
        await turns()
        assert len(host.created) == 4
        # Eight of them have the four places for a second each.
        with anyio.fail_after(2.5):
            await hub.open("ann")
        assert len(host.created) == 9


async def test_places_are_had_in_order_and_given_back_by_who_is_quick() -> None:
    places, order = Places(1, 1.0), list[tuple[str, float]]()
    all_came, release = anyio.Event(), anyio.Event()

    async def take(name: str) -> None:
        async with places.one():
            order.append((name, anyio.current_time() - began))
            if len(order) == 4:
                all_came.set()
            if name == "slow":
                await release.wait()

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for name in ("slow", "a", "b", "c"):
            tasks.start_soon(take, name)
            await turns()
        with anyio.fail_after(5):
            await all_came.wait()
        # One who has had no place any more for long gives none back.
        release.set()
    assert [name for name, _ in order] == ["slow", "a", "b", "c"]
    assert [at for _, at in order] == pytest.approx([0.0, 1.0, 1.0, 1.0], abs=0.05)
    assert places._taken == {}


async def test_one_who_is_cancelled_while_it_waits_for_a_place_leaves_nothing() -> None:
    places = Places(1, 100.0)
    async with places.one():
        with anyio.move_on_after(1) as scope:
            async with places.one():
                raise AssertionError("there is none")
        assert scope.cancelled_caught
    with anyio.fail_after(1):
        async with places.one():
            assert len(places._taken) == 1


async def test_the_hosts_own_directory_is_not_stormed_either() -> None:
    host = Host()
    at_once: list[int] = [0, 0]

    async def look_up(user: CtiUser) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await anyio.sleep(0.1)
        at_once[0] -= 1

    host.on_create = look_up
    async with hub_of(host, concurrent_openings=4) as hub, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(hub.open, f"user {number}")
    assert at_once[1] == 4
