"""What one user's plugin or chain raises ends that user's session at most: also what is no ``Exception``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.errors import CtiError, HookError
from cti_framework.events import CallStarted, ProviderState
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.hub import CtiHub, HubSession, HubSessionState
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from tests.core.scripted import fails, jumping_backend, state_of
from tests.core.test_hub import Host, hub_of
from tests.core.test_hub_hooks import HookedHost

pytestmark = pytest.mark.anyio


class Panic(BaseException):
    """As pyo3's ``PanicException`` and gevent's ``Timeout`` are."""


ERRORS = pytest.mark.parametrize(
    "error",
    [
        Panic("index out of range"),
        SystemExit(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("both", [Panic(), ValueError()]),
        BaseExceptionGroup("both", [asyncio.CancelledError(), Panic()]),
    ],
    ids=repr,
)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


async def unharmed(hub: CtiHub, good: CtiModel) -> None:
    """The session that was open stays, and another can be opened."""
    await anyio.sleep(1)
    assert state_of(good) is ProviderState.IN_SERVICE
    assert state_of(await hub.open("another")) is ProviderState.IN_SERVICE


@ERRORS
async def test_in_the_chain(logs: list[Any], error: BaseException) -> None:
    host = Host()

    async def on_create(user: CtiUser) -> None:
        if user.id == "bad":
            raise error

    host.on_create = on_create
    changes: list[HubSession] = []
    async with hub_of(host, on_change=changes.append) as hub:
        good = await hub.open("good")
        with pytest.raises(CtiError, match="The session of user 'bad' ended with"):
            await hub.open("bad")
        assert [change.state for change in changes if change.user.id == "bad"] == [
            HubSessionState.OPENING,
            HubSessionState.FAILED,
        ]
        await unharmed(hub, good)
    assert [line["user"] for line in logs if line["event"] == "cti.hub.session_crashed"] == ["bad"]


class LogIn:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _look(self, user: CtiUser) -> bool:
        if user.id == "bad":
            raise self.error
        return True


class LogInInAThread(LogIn):
    @hookimpl
    def cti_log_in(self, user: CtiUser) -> bool:
        return self._look(user)


class LogInAndAwait(LogIn):
    @hookimpl
    async def cti_log_in(self, user: CtiUser) -> bool:
        return self._look(user)


@ERRORS
@pytest.mark.parametrize("kind", [LogInInAThread, LogInAndAwait])
async def test_in_the_log_in(kind: type[LogIn], error: BaseException) -> None:
    async with hub_of(HookedHost(kind(error))) as hub:
        good = await hub.open("good")
        with pytest.raises(HookError, match="failed in cti_log_in"):
            await hub.open("bad")
        await unharmed(hub, good)


class Told:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _hear(self, user: CtiUser) -> None:
        if user.id == "bad":
            raise self.error


class ToldAtOnce(Told):
    @hookimpl
    def cti_call_started(self, model: CtiModel, event: CallStarted) -> None:
        self._hear(model.user)


class ToldAndAwaits(Told):
    @hookimpl
    async def cti_call_started(self, model: CtiModel, event: CallStarted) -> None:
        self._hear(model.user)


@ERRORS
@pytest.mark.parametrize("kind", [ToldAtOnce, ToldAndAwaits])
async def test_in_a_told_hook(kind: type[Told], error: BaseException) -> None:
    host = HookedHost(kind(error))
    async with hub_of(host) as hub:
        good, bad = await hub.open("good"), await hub.open("bad")
        host.pbx("bad").provider.offered("a")
        await unharmed(hub, good)
        assert state_of(bad) is ProviderState.IN_SERVICE
    (record,) = host.hooks.records()
    assert record.failures == 1


@ERRORS
async def test_in_run(error: BaseException) -> None:
    host = Host()
    host.pbx("bad").on_run[1] = fails(error, in_service=True)
    async with hub_of(host) as hub:
        good, bad = await hub.open("good"), await hub.open("bad", wait_for_service=False)
        await unharmed(hub, good)
        await anyio.sleep(60)
        assert state_of(bad) is ProviderState.IN_SERVICE
        assert host.pbx("bad").runs == 2


@ERRORS
async def test_in_a_shared_connection(error: BaseException) -> None:
    async def broken(opened: Callable[[object], None]) -> None:
        raise error

    async with hub_of(Host()) as hub:
        good = await hub.open("good")
        with pytest.raises(CtiError, match="The shared connection raised"):
            async with hub._shared.use("pbx", broken):
                pytest.fail("There is none.")
        await unharmed(hub, good)


@ERRORS
async def test_in_the_hosts_callback(logs: list[Any], error: BaseException) -> None:
    def on_change(change: HubSession) -> None:
        raise error

    async with hub_of(Host(), on_change=on_change) as hub:
        await unharmed(hub, await hub.open("good"))
    assert {line["event"] for line in logs if line["log_level"] == "error"} == {"cti.hub.on_change_raised"}


# Of asyncio it ends the event loop, whatever anybody does.
@pytest.mark.parametrize("anyio_backend", [jumping_backend("trio")], ids=["trio"])
@pytest.mark.parametrize("where", ["chain", "callback"])
async def test_ctrl_c_ends_the_hub(where: str) -> None:
    def interrupted(*told: object) -> Awaitable[None]:
        raise KeyboardInterrupt

    host = Host()
    if where == "chain":
        host.on_create = interrupted
    with pytest.raises(BaseExceptionGroup) as caught:
        async with CtiHub(host, on_change=interrupted if where == "callback" else None) as hub:
            await hub.open("ann")
    assert caught.value.subgroup(KeyboardInterrupt) is not None


# By the clock: a thread takes the time that it takes.
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@ERRORS
async def test_the_whole_chain_with_a_provider_that_is_installed(error: BaseException) -> None:
    hooks = Hooks()
    hooks.register(LogInInAThread(error), "bad")
    async with CtiHub(CtiProviderInitializer({"cti.provider": "dummy"}, environ={}, hooks=hooks)) as hub:
        good = await hub.open("good")
        with pytest.raises(HookError):
            await hub.open("bad")
        assert state_of(good) is ProviderState.IN_SERVICE
