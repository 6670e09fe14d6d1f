"""Asked hooks that cannot be cancelled: whoever asks does not wait for them longer than a moment after the time is over."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from structlog.testing import capture_logs

from cti_framework.errors import HookError, StepTimeoutError
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.hooks import asked as asked_module
from cti_framework.hooks.asked import TimeLimit
from cti_framework.provider import CtiUser
from tests.core.scripted import living
from tests.core.test_hooks_isolation import catching, catching_cancellation, end_what_was_left, shielded

pytestmark = pytest.mark.anyio

USER = CtiUser("ann")
SHORT_SECONDS = 0.05
STUBBORN = [catching, catching_cancellation, shielded]
Hang = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_module, "GRACE_SECONDS", SHORT_SECONDS)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


def hanging(hang: Hang, *, is_async: bool) -> Hooks:
    class Async:
        @hookimpl
        async def cti_log_in(self) -> object:
            return await hang()

    class GivesAwaitable:
        @hookimpl
        def cti_log_in(self) -> object:
            return hang()

    hooks = Hooks()
    hooks.register(Async() if is_async else GivesAwaitable(), "stubborn")
    return hooks


def limit() -> TimeLimit:
    return TimeLimit.starting_now("log_in", SHORT_SECONDS, "cti.log_in_timeout_seconds")


def told(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("way", STUBBORN)
async def test_the_time_of_a_step_is_kept_though_one_cannot_be_cancelled(
    way: Callable[[list[bool]], Hang], is_async: bool, logs: list[Any]
) -> None:
    release: list[bool] = []
    hooks = hanging(way(release), is_async=is_async)
    before = living()
    with anyio.fail_after(10):
        with pytest.raises(StepTimeoutError, match=r"log_in did not end within 0\.05 s: the plugin 'stubborn'"):
            await hooks.log_in(USER, (), limit=limit())
        # Who asked goes on as if nothing had been.
        await anyio.sleep(0.01)
        # Trio ends a task that was left in its next turn.
        await anyio.lowlevel.checkpoint()
    assert living() == before
    assert told(logs) == ["cti.hook.given_up", "cti.hook.abandoned"]
    (record,) = hooks.records()
    assert record.last_error == "cti_log_in did not end when it was cancelled"
    end_what_was_left(hooks, release)


@pytest.mark.parametrize("way", STUBBORN)
async def test_whoever_asks_may_be_cancelled_though_one_cannot_be(way: Callable[[list[bool]], Hang], logs: list[Any]) -> None:
    release: list[bool] = []
    hooks = hanging(way(release), is_async=True)
    with anyio.fail_after(10):
        with anyio.move_on_after(SHORT_SECONDS) as scope:
            await hooks.log_in(USER, ())
    assert scope.cancelled_caught
    assert told(logs) == ["cti.hook.given_up", "cti.hook.abandoned"]
    end_what_was_left(hooks, release)


async def test_one_that_waits_in_a_thread_is_not_waited_for(logs: list[Any]) -> None:
    release, ended = threading.Event(), anyio.Event()

    async def wait() -> bool:
        try:
            await anyio.to_thread.run_sync(release.wait)
            return True
        finally:
            ended.set()

    hooks = hanging(wait, is_async=True)
    with anyio.fail_after(10):
        with pytest.raises(StepTimeoutError):
            await hooks.log_in(USER, (), limit=limit())
        assert told(logs) == ["cti.hook.given_up", "cti.hook.abandoned"]
        # It ends when its thread does, at the latest.
        release.set()
        await ended.wait()


async def test_one_that_ends_in_a_moment_when_it_is_cancelled_may(logs: list[Any]) -> None:
    cleaned: list[bool] = []

    async def clean_up() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(SHORT_SECONDS / 10)
                cleaned.append(True)

    with anyio.fail_after(10), pytest.raises(StepTimeoutError):
        await hanging(clean_up, is_async=True).log_in(USER, (), limit=limit())
    assert cleaned == [True]
    assert told(logs) == ["cti.hook.abandoned"]


async def test_an_implementation_sees_what_whoever_asks_has_bound() -> None:
    bound = contextvars.ContextVar("bound", default="nobody")
    seen: list[str] = []

    async def look() -> bool:
        seen.append(bound.get())
        return True

    bound.set("the session")
    assert await hanging(look, is_async=True).log_in(USER, ()) is True
    assert seen == ["the session"]


class Panic(BaseException):
    """As pyo3's ``PanicException`` and gevent's ``Timeout`` are."""


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class RaisesInAThread(Raises):
    @hookimpl
    def cti_log_in(self) -> object:
        raise self.error


class RaisesAndAwaits(Raises):
    @hookimpl
    async def cti_log_in(self) -> object:
        raise self.error


@pytest.mark.parametrize("kind", [RaisesInAThread, RaisesAndAwaits])
async def test_ctrl_c_goes_through(kind: type[Raises]) -> None:
    hooks = Hooks()
    hooks.register(kind(KeyboardInterrupt()), "interrupted")
    with pytest.raises(KeyboardInterrupt):
        await hooks.log_in(USER, ())


@pytest.mark.parametrize("kind", [RaisesInAThread, RaisesAndAwaits])
@pytest.mark.parametrize(
    "error",
    [
        Panic(),
        SystemExit(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("both", [Panic(), ValueError()]),
        BaseExceptionGroup("both", [asyncio.CancelledError(), Panic()]),
    ],
    ids=repr,
)
async def test_whatever_else_it_raises_is_a_fault_of_the_plugin(
    kind: type[Raises], error: BaseException, logs: list[Any]
) -> None:
    hooks = Hooks()
    hooks.register(kind(error), "bad")
    with pytest.raises(HookError, match="The plugin 'bad' failed in cti_log_in"):
        await hooks.log_in(USER, ())
    assert hooks.records()[0].failures == 1
    assert told(logs) == ["cti.hook.failed"]


async def test_what_it_raised_in_its_thread_is_named(logs: list[Any]) -> None:
    hooks = Hooks()
    hooks.register(RaisesInAThread(SystemExit(3)), "bad")
    with pytest.raises(HookError, match="it raised SystemExit") as caught:
        await hooks.log_in(USER, ())
    assert isinstance(caught.value.__cause__, SystemExit)
    assert hooks.records()[0].last_error == "cti_log_in: SystemExit: 3"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_cancellation_of_something_else_is_no_cancellation_of_who_asks() -> None:
    async def wait_for_what_is_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    hooks = hanging(wait_for_what_is_cancelled, is_async=True)
    with pytest.raises(HookError):
        await hooks.log_in(USER, ())
    assert hooks.records()[0].failures == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_while_it_asks_leaves_nothing(logs: list[Any]) -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with anyio.fail_after(10):
        task = asyncio.create_task(hanging(wait, is_async=True).log_in(USER, ()))
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()
    assert told(logs) == ["cti.hook.abandoned"]
