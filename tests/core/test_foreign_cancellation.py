"""A cancellation that a plugin lets out and that is nobody's in the session: a fault of the plugin, and no end of anything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.agents import Agent
from cti_framework.cancellation import fault_of, is_ours
from cti_framework.errors import PluginError
from cti_framework.events import CallStarted, Disconnected, ErrorOccurred, ProviderState, SnapshotTaken
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.reports import AgentReport
from tests.core.scripted import Pbx, ScriptedProvider, jumping_backend, session, state_of, until, until_state
from tests.core.test_resync import Agents

pytestmark = pytest.mark.anyio

ASYNCIO = pytest.mark.parametrize("anyio_backend", [jumping_backend("asyncio")], ids=["asyncio"])
"""Of trio, nobody gets the cancellation of something else that he waits for."""


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


async def foreign(*arguments: Any) -> None:
    """Wait for something that is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.sleep(100))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def foreign_in_a_group(*arguments: Any) -> None:
    try:
        await foreign()
    except asyncio.CancelledError as error:
        raise BaseExceptionGroup("two of the plugin's tasks", [error]) from None


async def own(*arguments: Any) -> None:
    """Cancel the very task that one is called in, as no scope does."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


class Panic(BaseException):
    """As pyo3's ``PanicException`` and gevent's ``Timeout`` are."""


def faults(logs: list[Any]) -> int:
    return [line["event"] for line in logs].count("cti.provider.raised")


# Whose it is -----------------------------------------------------------------------------------------------------------


async def test_a_scopes_cancellation_is_ours() -> None:
    seen: list[bool] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            seen.append(is_ours())
            raise
    assert [*seen, is_ours()] == [True, False]


@ASYNCIO
async def test_the_cancellation_of_the_task_is_ours_and_that_of_something_else_is_not() -> None:
    seen: list[bool] = []

    async def ask() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            seen.append(is_ours())
            assert fault_of(error) is None
            raise

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await ask()
    task = asyncio.ensure_future(ask())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert seen == [True, True]
    assert not is_ours()
    assert fault_of(caught.value) is caught.value


async def test_what_goes_on_and_what_is_a_fault() -> None:
    fault = KeyError("x")
    assert fault_of(fault) is fault
    assert fault_of(KeyboardInterrupt()) is None
    for ending in (Panic(), SystemExit(), GeneratorExit()):
        assert fault_of(ending) is ending
    both = BaseExceptionGroup("x", [asyncio.CancelledError(), fault])
    found = fault_of(both)
    assert isinstance(found, ExceptionGroup)
    assert found.exceptions == (fault,)
    assert fault_of(BaseExceptionGroup("x", [KeyboardInterrupt(), fault])) is None
    panics = BaseExceptionGroup("x", [Panic(), fault])
    found = fault_of(panics)
    assert isinstance(found, BaseExceptionGroup)
    assert found.exceptions == panics.exceptions


@pytest.mark.parametrize("anyio_backend", [jumping_backend("trio")], ids=["trio"])
async def test_of_trio_a_cancellation_of_asyncio_is_a_fault_also_of_who_is_cancelled() -> None:
    alone, in_a_group = asyncio.CancelledError(), BaseExceptionGroup("x", [asyncio.CancelledError()])
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        finally:
            assert fault_of(alone) is alone
            assert fault_of(in_a_group) is in_a_group


async def test_of_a_group_what_is_ours_is_split_off() -> None:
    panic, seen = Panic(), []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class() as ours:
            seen.append(fault_of(BaseExceptionGroup("x", [ours, panic])))
            assert fault_of(BaseExceptionGroup("x", [ours])) is None
            raise
    (faults,) = seen
    assert isinstance(faults, BaseExceptionGroup)
    assert faults.exceptions == (panic,)


@pytest.mark.parametrize("ending", [GeneratorExit(), Panic()])
def test_what_is_taken_away_when_the_loop_is_gone_goes_on(ending: BaseException) -> None:
    assert fault_of(ending) is None


# A provider lets it out ------------------------------------------------------------------------------------------------


@ASYNCIO
@pytest.mark.parametrize("way", [foreign, foreign_in_a_group, own])
async def test_run(logs: list[Any], way: Any) -> None:
    pbx = Pbx()

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        await anyio.sleep(1)
        await way()

    pbx.on_run[1] = run
    async with session(pbx) as model:
        events = model.events()
        lost = await until(events, Disconnected)
        assert isinstance(lost.error, PluginError)
        await until_state(events, ProviderState.IN_SERVICE)
        await anyio.sleep(60)
        assert pbx.runs == 2
        assert model.is_kept_connected


@ASYNCIO
@pytest.mark.parametrize("way", [foreign, foreign_in_a_group])
async def test_snapshot(logs: list[Any], way: Any) -> None:
    pbx = Pbx()
    pbx.on_snapshot[2] = way
    async with session(pbx) as model:
        events = model.events()
        pbx.cut()
        await until(events, SnapshotTaken)
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 2
    assert faults(logs) == 1


@ASYNCIO
@pytest.mark.parametrize("way", [foreign, foreign_in_a_group])
async def test_probe(logs: list[Any], way: Any) -> None:
    pbx = Pbx()
    pbx.on_verb["probe"] = way
    async with session(pbx, Agents) as model:
        await anyio.sleep(600)
        assert pbx.runs == 1
        assert state_of(model) is ProviderState.IN_SERVICE
    assert faults(logs) == 1


@ASYNCIO
@pytest.mark.parametrize("way", [foreign, foreign_in_a_group])
async def test_giving_the_agent_back(monkeypatch: pytest.MonkeyPatch, logs: list[Any], way: Any) -> None:
    monkeypatch.setattr(Agents, "after", Agent("OUT"))
    pbx = Pbx()
    pbx.on_verb["set_agent_state"] = way
    async with session(pbx, Agents) as model:
        pbx.provider.context.report(AgentReport(at=model.now(), agent=Agent("DND")))
        events = model.events()
        pbx.cut()
        assert isinstance((await until(events, ErrorOccurred)).error, PluginError)
        await anyio.sleep(60)
        assert state_of(model) is ProviderState.IN_SERVICE
        assert pbx.runs == 2
    assert faults(logs) == 1


@pytest.mark.parametrize("error", [Panic(), SystemExit(), GeneratorExit(), BaseExceptionGroup("x", [Panic(), ValueError()])])
async def test_a_run_that_ends_with_what_is_no_exception_is_a_fault_of_the_plugin(logs: list[Any], error: BaseException) -> None:
    pbx = Pbx()

    async def run(provider: ScriptedProvider) -> None:
        provider.started()
        await anyio.sleep(1)
        raise error

    pbx.on_run[1] = run
    async with session(pbx) as model:
        events = model.events()
        lost = await until(events, Disconnected)
        assert isinstance(lost.error, PluginError)
        assert type(lost.error.__cause__) is type(error)
        await until_state(events, ProviderState.IN_SERVICE)
    assert faults(logs) == 1


# A companion lets it out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
async def test_a_hook(error: type[BaseException]) -> None:
    class Bad:
        @hookimpl
        def cti_call_started(self, event: CallStarted) -> None:
            raise error

    class BadAndAsync:
        @hookimpl
        async def cti_call_started(self, event: CallStarted) -> None:
            raise SystemExit

    hooks = Hooks()
    hooks.register(Bad(), "bad")
    hooks.register(BadAndAsync(), "bad and async")
    pbx = Pbx()
    async with session(pbx, hooks=hooks) as model:
        pbx.provider.offered("a")
        pbx.provider.connected("a")
        await anyio.wait_all_tasks_blocked()
        assert [call.id for call in model.calls] == ["a"]
        assert state_of(model) is ProviderState.IN_SERVICE
        assert [(record.plugin, record.failures) for record in hooks.records()] == [("bad", 1), ("bad and async", 1)]
        assert pbx.runs == 1


async def test_ctrl_c_in_a_hook_ends_the_program() -> None:
    class Interrupted:
        @hookimpl
        def cti_call_started(self, event: CallStarted) -> None:
            raise KeyboardInterrupt

    hooks = Hooks()
    hooks.register(Interrupted(), "interrupted")
    pbx = Pbx()
    async with session(pbx, hooks=hooks):
        with pytest.raises(KeyboardInterrupt):
            pbx.provider.offered("a")
