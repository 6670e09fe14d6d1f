"""Hooks that close and open their own session, or each other's: nobody waits for himself, and nobody for ever."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.errors import CtiError, NotAllowedNowError, SessionClosedError
from cti_framework.events import CallStarted
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.hub import CtiHub, HubSession, HubSessionState
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from tests.core.scripted import ScriptedProvider, jumping_backend, session
from tests.core.test_hub import Host, hub_of

pytestmark = pytest.mark.anyio

BOUND = contextvars.ContextVar("BOUND", default="nobody")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class HookedHost(Host):
    """A host with companions: its chain asks ``cti_log_in``, and its sessions tell events."""

    def __init__(self, *companions: object) -> None:
        super().__init__()
        self.hooks = Hooks()
        for companion in companions:
            self.hooks.register(companion, type(companion).__name__)
        self.on_create = self.log_in

    async def log_in(self, user: CtiUser) -> None:
        await self.hooks.log_in(user, ())

    async def create(self, user: CtiUser | str, **given: Any) -> CtiModel:
        assert isinstance(user, CtiUser)
        given.pop("admission")
        given.pop("event_log_capacity")
        await self.log_in(user)
        return session(self.pbx(user.id), ScriptedProvider, user=user, hooks=self.hooks, **given)


class AtLogIn:
    def __init__(self, act: Callable[[CtiHub, CtiUser], Any]) -> None:
        self.act = act
        self.hub: CtiHub | None = None
        self.ended = 0

    @hookimpl
    async def cti_log_in(self, user: CtiUser) -> bool:
        assert self.hub is not None
        await self.act(self.hub, user)
        self.ended += 1
        return True


class AtCall:
    def __init__(self, act: Callable[[CtiHub, CtiModel], Any]) -> None:
        self.act = act
        self.hub: CtiHub | None = None
        self.ended = anyio.Event()

    @hookimpl
    async def cti_call_started(self, model: CtiModel, event: CallStarted) -> None:
        assert self.hub is not None
        await self.act(self.hub, model)
        self.ended.set()


def warned(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] in ("warning", "error")]


@pytest.mark.parametrize("for_all", [False, True])
async def test_a_log_in_that_closes_its_own_users_session_ends_it_and_does_not_wait(logs: list[Any], for_all: bool) -> None:
    companion = AtLogIn(lambda hub, user: hub.close(user.id, for_all=for_all))
    async with hub_of(HookedHost(companion)) as hub:
        companion.hub = hub
        began = anyio.current_time()
        with pytest.raises(SessionClosedError, match="while it was opening"):
            await hub.open("ann")
        assert anyio.current_time() == began
        assert hub.sessions == ()
    assert companion.ended == 1
    assert "cti.hook.given_up" not in warned(logs)


async def test_a_log_in_that_opens_its_own_users_session_is_refused() -> None:
    async def open_again(hub: CtiHub, user: CtiUser) -> None:
        with pytest.raises(NotAllowedNowError, match="waits for the hook that asks"):
            await hub.open(user.id)

    companion = AtLogIn(open_again)
    async with hub_of(HookedHost(companion)) as hub:
        companion.hub = hub
        await hub.open("ann")
        seen = hub.session("ann")
        assert seen is not None
        assert seen.holders == 1
    assert companion.ended == 1


async def test_log_ins_that_close_each_others_sessions_wait_a_limited_time(logs: list[Any]) -> None:
    other = {"ann": "bob", "bob": "ann"}
    both = anyio.Event()
    came: list[str] = []

    async def close_the_other(hub: CtiHub, user: CtiUser) -> None:
        came.append(user.id)
        if len(came) == 2:
            both.set()
        await both.wait()
        await hub.close(other[user.id], for_all=True)

    companion = AtLogIn(close_the_other)
    async with hub_of(HookedHost(companion)) as hub:
        companion.hub = hub

        async def ask(user: str) -> None:
            with pytest.raises(SessionClosedError):
                await hub.open(user)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, "ann")
                tasks.start_soon(ask, "bob")
        assert hub.sessions == ()


async def test_leaving_the_hub_does_not_wait_for_ever_for_a_log_in(logs: list[Any]) -> None:
    asked, release = anyio.Event(), anyio.Event()

    async def hold(user: CtiUser) -> None:
        asked.set()
        with anyio.CancelScope(shield=True), anyio.move_on_after(60):
            await release.wait()

    host = Host()
    host.on_create = hold
    hub = CtiHub(host)
    async with hub, anyio.create_task_group() as tasks:
        tasks.start_soon(_open_and_forget, hub)
        await asked.wait()
        tasks.cancel_scope.cancel()
    lines = [line for line in logs if line["event"] == "cti.hub.does_not_end"]
    # Who opened it has waited, and so has the hub.
    assert [(line["user"], line["seconds"]) for line in lines] == [("ann", 10.0), ("ann", 10.0)]


async def _open_and_forget(hub: CtiHub) -> None:
    await hub.open("ann")


async def test_a_hook_that_closes_its_own_session_does_not_wait(logs: list[Any]) -> None:
    closed: list[HubSession] = []
    gone = anyio.Event()

    def on_change(change: HubSession) -> None:
        if change.state is HubSessionState.CLOSED:
            closed.append(change)
            gone.set()

    companion = AtCall(lambda hub, model: hub.close(model))
    host = HookedHost(companion)
    async with hub_of(host, on_change=on_change) as hub:
        companion.hub = hub
        await hub.open("ann")
        began = anyio.current_time()
        # Told from here, a task that has nothing to do with the session.
        host.pbx("ann").provider.offered("1")
        with anyio.fail_after(5):
            await companion.ended.wait()
            await gone.wait()
        assert anyio.current_time() == began
        assert [change.user.id for change in closed] == ["ann"]
    assert warned(logs) == []
    (record,) = host.hooks.records()
    assert (record.timed_out, record.faults_in_row) == (0, 0)


async def test_a_hook_that_opens_its_closing_session_is_refused_and_one_that_opens_an_open_one_is_not() -> None:
    async def open_twice(hub: CtiHub, model: CtiModel) -> None:
        assert await hub.open("ann") is model
        await hub.close(model, for_all=True)
        with pytest.raises(NotAllowedNowError, match="waits for the hook that asks"):
            await hub.open("ann")

    companion = AtCall(open_twice)
    host = HookedHost(companion)
    async with hub_of(host) as hub:
        companion.hub = hub
        await hub.open("ann")
        host.pbx("ann").provider.offered("1")
        with anyio.fail_after(5):
            await companion.ended.wait()


async def test_what_a_hook_closes_of_others_is_gone_when_it_goes_on() -> None:
    seen: list[HubSession | None] = []

    async def close_bobs(hub: CtiHub, model: CtiModel) -> None:
        await hub.close("bob")
        seen.append(hub.session("bob"))

    companion = AtCall(close_bobs)
    host = HookedHost(companion)
    async with hub_of(host) as hub:
        companion.hub = hub
        await hub.open("ann")
        await hub.open("bob")
        host.pbx("ann").provider.offered("1")
        with anyio.fail_after(5):
            await companion.ended.wait()
    assert seen == [None]


async def test_hooks_run_in_the_context_of_the_session_and_not_of_who_sets_them_off() -> None:
    seen: list[str] = []

    async def look(hub: CtiHub, model: CtiModel) -> None:
        seen.append(BOUND.get())

    companion = AtCall(look)
    host = HookedHost(companion)
    BOUND.set("the hub")
    async with hub_of(host) as hub:
        companion.hub = hub
        await hub.open("ann")
        BOUND.set("a request")
        host.pbx("ann").provider.offered("1")
        await companion.ended.wait()
    assert seen == ["the hub"]


async def test_what_a_host_begins_when_a_session_changes_is_no_part_of_it() -> None:
    states: list[Any] = []

    async with anyio.create_task_group() as tasks:

        def on_change(change: HubSession) -> None:
            if change.state is HubSessionState.OPEN:
                tasks.start_soon(close, change.model)

        async def close(model: CtiModel | None) -> None:
            assert model is not None
            await hub.close(model, for_all=True)
            states.append(hub.session("ann"))
            tasks.cancel_scope.cancel()

        async with CtiHub(Host(), on_change=on_change) as hub:
            with pytest.raises(CtiError):
                await hub.open("ann")
            await anyio.sleep_forever()
    assert states == [None]
