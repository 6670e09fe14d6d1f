"""Plugins that raise, block, never return, cannot be cancelled or cannot keep up: each is named, counted, and harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from structlog.testing import capture_logs

from cti_framework import model as model_module
from cti_framework.agents import Agent
from cti_framework.errors import CtiError, HookError
from cti_framework.events import (
    CallFinished,
    CallStarted,
    ErrorOccurred,
    Event,
    ProviderState,
    RawMessage,
    ResyncRequired,
)
from cti_framework.hooks import HookRecord, Hooks, hookimpl
from cti_framework.hooks import told as told_module
from tests.core.scripted import Pbx, living, session
from tests.core.scripted import told as take

pytestmark = pytest.mark.anyio

NOW = datetime(2024, 5, 1, tzinfo=UTC)
SHORT_SECONDS = 0.05


@pytest.fixture(autouse=True)
def fresh_log_configuration() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_module, "GRACE_SECONDS", SHORT_SECONDS)


def event(number: int = 1) -> RawMessage:
    return RawMessage("e", number, NOW, raw=number)


class Session:
    """A session as hooks see it: what they tell it, and what it knows when they ask."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.seq = 0
        self.trouble: list[CtiError] = []

    def resync(self, missed: int | None) -> ResyncRequired:
        return ResyncRequired("e", self.seq, NOW, missed, (), Agent(), ProviderState.IN_SERVICE)

    def tell(self, count: int = 1) -> None:
        for _ in range(count):
            self.seq += 1
            self.hooks.tell(self, event(self.seq))

    def record(self, plugin: str) -> HookRecord:
        (record,) = [record for record in self.hooks.records() if record.plugin == plugin]
        return record


@contextlib.asynccontextmanager
async def open_session(hooks: Hooks) -> Any:
    """Run the hooks of a session until the block ends."""
    opened = Session(hooks)
    async with anyio.create_task_group() as group:
        await group.start(hooks.run, opened, opened.resync, opened.trouble.append)
        yield opened
        group.cancel_scope.cancel()


def registered(*plugins: object, **options: Any) -> Hooks:
    hooks = Hooks(**options)
    for plugin in plugins:
        hooks.register(plugin, type(plugin).__name__)
    return hooks


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others run until something is so; nothing here takes time."""
    with anyio.fail_after(10):
        while not is_so():
            await anyio.lowlevel.checkpoint()


class Good:
    """Does what it should, and says when it has been told enough."""

    def __init__(self, enough: int = 1) -> None:
        self.told: list[int] = []
        self.enough = enough
        self.done = anyio.Event()

    @hookimpl
    async def cti_event(self, event: Event) -> None:
        self.told.append(event.seq)
        await anyio.lowlevel.checkpoint()
        if event.seq >= self.enough:
            self.done.set()


def lines(logs: list[Any]) -> list[tuple[str, str]]:
    return [(entry["event"], entry["plugin"]) for entry in logs]


# Raising ----------------------------------------------------------------------------------------------------------------


class Panic(BaseException):
    """As pyo3's ``PanicException`` and gevent's ``Timeout`` are."""


class Raising:
    """Raises whatever is asked of it, and goes on with the next event."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.told: list[int] = []

    def _hear(self, event: Event) -> None:
        self.told.append(event.seq)
        error, self.error = self.error, None
        if error is not None:
            raise error


class RaisingAtOnce(Raising):
    @hookimpl
    def cti_event(self, event: Event) -> None:
        self._hear(event)


class RaisingAndAwaiting(Raising):
    @hookimpl
    async def cti_event(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self._hear(event)


NO_EXCEPTIONS = [
    Panic("index out of range"),
    GeneratorExit(),
    SystemExit(3),
    asyncio.CancelledError(),
    BaseExceptionGroup("both", [Panic(), ValueError()]),
    BaseExceptionGroup("both", [asyncio.CancelledError(), Panic()]),
]


@pytest.mark.parametrize("kind", [RaisingAtOnce, RaisingAndAwaiting])
@pytest.mark.parametrize("error", NO_EXCEPTIONS, ids=repr)
async def test_whatever_one_raises_harms_neither_the_session_nor_another_plugin(
    kind: type[Raising], error: BaseException
) -> None:
    raising, good = kind(error), Good(enough=2)
    with capture_logs() as logs:
        async with open_session(registered(raising, good)) as opened:
            opened.tell(2)
            await until(lambda: len(raising.told) == 2 and good.done.is_set())
            record = opened.record(kind.__name__)
            assert (record.failures, record.faults_in_row) == (1, 0)
    assert raising.told == good.told == [1, 2]
    assert lines(logs) == [("cti.hook.failed", kind.__name__)]


# Of asyncio a cancellation that comes then is the session's own.
@pytest.mark.parametrize("error", [error for error in NO_EXCEPTIONS if not isinstance(error, asyncio.CancelledError)], ids=repr)
async def test_whatever_one_raises_when_its_session_is_closed_is_its_own(error: BaseException) -> None:
    began = anyio.Event()

    class Ending:
        @hookimpl
        async def cti_event(self) -> None:
            began.set()
            try:
                await anyio.sleep_forever()
            finally:
                raise error

    with capture_logs():
        async with open_session(registered(Ending())) as opened:
            opened.tell()
            await began.wait()
    assert opened.record("Ending").failures == 1


# Of asyncio it ends the event loop, whatever anybody does.
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_ctrl_c_in_one_that_awaits_goes_through() -> None:
    with capture_logs(), pytest.raises(BaseExceptionGroup) as caught:
        async with open_session(registered(RaisingAndAwaiting(KeyboardInterrupt()))) as opened:
            opened.tell()
            await anyio.sleep_forever()
    assert caught.value.subgroup(KeyboardInterrupt) is not None


# Falling behind ---------------------------------------------------------------------------------------------------------


class Slow:
    """Takes as long as a test wants."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.resyncs: list[ResyncRequired] = []
        self.proceed = anyio.Event()

    @hookimpl
    async def cti_event(self, event: Event) -> None:
        await self.proceed.wait()
        self.told.append(event.seq)

    @hookimpl
    async def cti_resync_required(self, model: Session, event: ResyncRequired) -> None:
        assert event.seq == model.seq
        self.resyncs.append(event)


async def test_one_that_falls_behind_is_told_how_much_it_missed_and_goes_on() -> None:
    slow, good = Slow(), Good()
    hooks = registered(slow, good)
    with capture_logs() as logs:
        async with open_session(hooks) as opened:
            opened.tell(1)
            await anyio.wait_all_tasks_blocked()
            for _ in range(60):
                opened.tell(20)
                await until(lambda: len(good.told) == opened.seq)
            assert opened.seq == 1201
            # One is being told, 1,024 wait, the rest is missed; and the other plugin knows nothing of it.
            assert good.told == list(range(1, 1202))
            slow.proceed.set()
            await hooks.flush(opened)
            assert slow.told == list(range(1, 1026))
            assert [told.missed for told in slow.resyncs] == [176]
            assert slow.resyncs[0].seq == 1201
            opened.tell(3)
            await hooks.flush(opened)
            assert slow.told[-4:] == [1025, 1202, 1203, 1204]
            record = opened.record("Slow")
    assert (record.behind, record.dropped) == (1, 176)
    # Slow is no fault: it is nobody's but its own affair.
    assert (record.faults_in_row, record.switched_off) == (0, False)
    assert opened.record("Good").behind == 0
    assert lines(logs) == [("cti.hook.dropped", "Slow")]


async def test_an_event_that_two_hooks_of_a_plugin_miss_is_missed_once() -> None:
    class Both(Slow):
        @hookimpl
        async def cti_raw_message(self, event: Event) -> None:
            await self.proceed.wait()

    both = Both()
    hooks = registered(both)
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(1)
            await anyio.wait_all_tasks_blocked()
            opened.tell(600)
            both.proceed.set()
            await hooks.flush(opened)
            # 1 + 1,024 calls are made: events 1 to 512, and the first half of 513.
            assert both.told[-1] == 512
            assert [told.missed for told in both.resyncs] == [601 - 512]


async def test_what_comes_while_it_is_told_what_it_missed_is_told_after_it() -> None:
    told: list[Any] = []
    proceed, catching_up, caught_up = anyio.Event(), anyio.Event(), anyio.Event()

    class Late:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await proceed.wait()
            told.append(event.seq)

        @hookimpl
        async def cti_resync_required(self, event: ResyncRequired) -> None:
            catching_up.set()
            await caught_up.wait()
            told.append((event.missed, event.seq))

    hooks = registered(Late())
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(1100)
            proceed.set()
            with anyio.fail_after(10):
                await catching_up.wait()
                opened.tell(2)
                caught_up.set()
                await hooks.flush(opened)
    assert told == [*range(1, 1025), (76, 1100), 1101, 1102]


async def test_nothing_that_comes_while_it_is_behind_overtakes_what_it_missed() -> None:
    told: list[Any] = []
    send, receive = anyio.create_memory_object_stream[None](10_000)

    class Stepwise:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await receive.receive()
            told.append(event.seq)

        @hookimpl
        def cti_resync_required(self, event: ResyncRequired) -> None:
            told.append((event.missed, event.seq))

    hooks = registered(Stepwise())
    with send, receive, capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(1)
            await anyio.lowlevel.checkpoint()
            opened.tell(1100)
            for _ in range(10):
                send.send_nowait(None)
            await until(lambda: len(told) == 10)
            # There is room again, and still these come after those that were missed.
            opened.tell(5)
            for _ in range(2_000):
                send.send_nowait(None)
            await hooks.flush(opened)
            opened.tell(1)
            await hooks.flush(opened)
    before = len(told) - 2
    assert told == [*range(1, before + 1), (1106 - before, 1106), 1107]


async def test_one_without_a_hook_for_it_goes_on_and_is_counted() -> None:
    proceed = anyio.Event()
    told: list[int] = []

    class Plain:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await proceed.wait()
            told.append(event.seq)

    hooks = registered(Plain())
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(1100)
            proceed.set()
            await hooks.flush(opened)
            opened.tell()
            await hooks.flush(opened)
    assert told == [*range(1, 1025), 1101]
    assert opened.record("Plain").behind == 1


async def test_a_synchronous_hook_is_told_what_its_async_ones_missed() -> None:
    proceed = anyio.Event()
    missed: list[int | None] = []

    class Mixed:
        @hookimpl
        async def cti_event(self) -> None:
            await proceed.wait()

        @hookimpl
        def cti_resync_required(self, event: ResyncRequired) -> None:
            missed.append(event.missed)

    hooks = registered(Mixed())
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(1030)
            proceed.set()
            await hooks.flush(opened)
    assert missed == [6]


async def test_a_stalled_hook_lets_nothing_grow() -> None:
    slow = Slow()
    hooks = registered(slow)

    async def tell(opened: Session, rounds: int) -> None:
        for _ in range(rounds):
            opened.tell(100)
            await anyio.lowlevel.checkpoint()

    with capture_logs():
        async with open_session(hooks) as opened:
            await tell(opened, 20)
            gc.collect()
            tracemalloc.start()
            try:
                await tell(opened, 20)
                gc.collect()
                before, _ = tracemalloc.get_traced_memory()
                await tell(opened, 200)
                gc.collect()
                after, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # Twenty thousand events of some hundred bytes each would be megabytes; threads of other tests take kilobytes.
            assert after - before < 400_000
            slow.proceed.set()
            await hooks.flush(opened)
            assert [told.missed for told in slow.resyncs] == [24_000 - 1025]


# Never returning --------------------------------------------------------------------------------------------------------


async def test_one_that_never_returns_is_cancelled_and_told_the_next() -> None:
    began: list[int] = []
    ended: list[int] = []

    class Hanging:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            began.append(event.seq)
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(event.seq)

    good = Good(3)
    hooks = registered(Hanging(), good, timeout_seconds=SHORT_SECONDS)
    with capture_logs() as logs, anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(3)
            await good.done.wait()
            assert began == [1]
            await hooks.flush(opened)
            assert began == ended == [1, 2, 3]
            record = opened.record("Hanging")
    assert (record.timed_out, record.faults_in_row, record.failures) == (3, 3, 0)
    assert record.last_error == "cti_event did not return within 0.05 s"
    assert lines(logs) == [("cti.hook.timed_out", "Hanging")]


async def test_the_time_counts_for_each_call_alone() -> None:
    """Many calls that are quick enough one by one are not taken for one that hangs."""

    class Steady:
        @hookimpl
        async def cti_event(self) -> None:
            await anyio.sleep(0.3)

    hooks = registered(Steady(), timeout_seconds=0.6)
    with capture_logs() as logs, anyio.fail_after(20):
        async with open_session(hooks) as opened:
            opened.tell(4)
            await hooks.flush(opened)
    assert opened.record("Steady").timed_out == 0
    assert logs == []


def catching(release: list[bool]) -> Callable[[], Any]:
    async def swallow() -> None:
        while not release:
            with contextlib.suppress(BaseException):
                await anyio.sleep_forever()

    return swallow


def catching_cancellation(release: list[bool]) -> Callable[[], Any]:
    async def swallow() -> None:
        while not release:
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                continue

    return swallow


def shielded(release: list[bool]) -> Callable[[], Any]:
    async def shield() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.Event().wait()

    return shield


STUBBORN = [catching, catching_cancellation, shielded]


@pytest.mark.parametrize("way", STUBBORN)
async def test_one_that_cannot_be_cancelled_is_named_and_left(way: Callable[[list[bool]], Callable[[], Any]]) -> None:
    release: list[bool] = []
    hang = way(release)
    told: list[int] = []

    class Stubborn:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            told.append(event.seq)
            await hang()

    before = living()
    good = Good(3)
    hooks = registered(Stubborn(), good, timeout_seconds=SHORT_SECONDS)
    with capture_logs() as logs, anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(3)
            await good.done.wait()
            await hooks.flush(opened)
            assert told == [1]
            opened.tell(1)
            await hooks.flush(opened)
            assert good.told == [1, 2, 3, 4]
            # Another session is told, until it is the same there.
            async with open_session(hooks) as other:
                other.tell()
                await hooks.flush(other)
            assert told == [1, 1]
    assert living() == before
    record = opened.record("Stubborn")
    assert (record.timed_out, record.dropped) == (2, 3)
    assert record.last_error == "cti_event did not end when it was cancelled"
    assert lines(logs) == [
        ("cti.hook.timed_out", "Stubborn"),
        ("cti.hook.given_up", "Stubborn"),
        ("cti.hook.dropped", "Stubborn"),
    ]
    end_what_was_left(hooks, release)


@pytest.mark.parametrize("way", STUBBORN)
async def test_a_session_closes_though_one_cannot_be_cancelled(way: Callable[[list[bool]], Callable[[], Any]]) -> None:
    release: list[bool] = []
    hang = way(release)
    began = anyio.Event()

    class Stubborn:
        @hookimpl
        async def cti_event(self) -> None:
            began.set()
            await hang()

    before = living()
    hooks = registered(Stubborn())
    with capture_logs() as logs, anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(2)
            await began.wait()
    assert living() == before
    assert lines(logs) == [("cti.hook.dropped", "Stubborn"), ("cti.hook.given_up", "Stubborn")]
    end_what_was_left(hooks, release)


async def test_what_one_that_was_left_waits_for_may_still_happen() -> None:
    release: list[bool] = []
    happened = anyio.Event()
    began: list[int] = []

    class Stubborn:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            while not release:
                began.append(event.seq)
                with contextlib.suppress(BaseException):
                    await happened.wait()

    hooks = registered(Stubborn(), timeout_seconds=SHORT_SECONDS)
    with capture_logs(), anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(1)
            await until(lambda: bool(hooks._accounts["Stubborn"].kept))
            rounds = len(began)
            # Whoever sets it wakes those that wait, and it is none of them any more.
            happened.set()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert len(began) == rounds
    end_what_was_left(hooks, release)


def end_what_was_left(hooks: Hooks, release: list[bool]) -> None:
    """Let a coroutine go that swallows even what Python says when it is thrown away."""
    release.append(True)
    for account in hooks._accounts.values():
        for coroutine in account.kept:
            coroutine.close()
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_one_that_takes_a_moment_to_end_is_let() -> None:
    ended: list[int] = []

    class Careful:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(SHORT_SECONDS / 5)
                ended.append(event.seq)

    hooks = registered(Careful(), timeout_seconds=SHORT_SECONDS)
    with capture_logs() as logs, anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(1)
            await hooks.flush(opened)
            opened.tell(1)
            await anyio.wait_all_tasks_blocked()
    assert ended == [1, 2]
    assert lines(logs) == [("cti.hook.timed_out", "Careful")]


# Faults in a row --------------------------------------------------------------------------------------------------------


class Sometimes:
    """Fails where a test says so."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.fails: Callable[[int], bool] = lambda seq: True

    @hookimpl
    def cti_event(self, event: Event) -> None:
        self.told.append(event.seq)
        if self.fails(event.seq):
            raise RuntimeError("password=hunter2")


class SometimesAsync(Sometimes):
    @hookimpl
    async def cti_event(self, event: Event) -> None:  # type: ignore[override]  # a hook may be either
        await anyio.lowlevel.checkpoint()
        super().cti_event(event)


@pytest.mark.parametrize("kind", [Sometimes, SometimesAsync])
async def test_too_many_faults_in_a_row_and_it_is_told_nothing_more(kind: type[Sometimes]) -> None:
    bad, good = kind(), Good()
    hooks = Hooks(fault_limit=3)
    hooks.register(bad, "bad")
    hooks.register(good, "Good")
    with capture_logs() as logs:
        async with open_session(hooks) as opened, open_session(hooks) as other:
            for _ in range(10):
                opened.tell(1)
                await hooks.flush(opened)
            assert bad.told == [1, 2, 3]
            assert good.told == list(range(1, 11))
            record = opened.record("bad")
            for told in (opened, other):
                (error,) = told.trouble
                assert isinstance(error, HookError)
                assert error.message == (
                    "The plugin 'bad' is told no event any more: it failed 3 times in a row;"
                    " the latest: cti_event raised RuntimeError."
                )
                assert "hunter2" not in str(error)
    assert (record.failures, record.faults_in_row, record.switched_off) == (3, 3, True)
    off = [entry for entry in logs if entry["event"] == "cti.plugin.switched_off"]
    assert [(entry["plugin"], entry["faults_in_row"], entry["log_level"]) for entry in off] == [("bad", 3, "error")]


@pytest.mark.parametrize("kind", [Sometimes, SometimesAsync])
async def test_a_success_begins_the_row_anew(kind: type[Sometimes]) -> None:
    bad = kind()
    bad.fails = lambda seq: seq % 3 != 0
    hooks = Hooks(fault_limit=3)
    hooks.register(bad, "bad")
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(30)
            await hooks.flush(opened)
            assert len(bad.told) == 30
            assert opened.record("bad").failures == 20
            bad.fails = lambda seq: True
            opened.tell(5)
            await hooks.flush(opened)
    assert bad.told == list(range(1, 34))


def test_what_waits_for_it_is_dropped_and_its_other_hooks_are_not_called_for_the_same_event() -> None:
    told: list[str] = []

    class Twice:
        @hookimpl
        def cti_raw_message(self) -> None:
            told.append("own")
            raise RuntimeError

        @hookimpl
        def cti_event(self) -> None:
            told.append("any")

    hooks = registered(Twice(), fault_limit=1)
    with capture_logs():
        hooks.tell(Session(hooks), event())
    assert told == ["own"]
    assert not hooks.has_listeners
    assert not hooks.wants(RawMessage)


async def test_what_waits_for_one_that_is_switched_off_is_dropped() -> None:
    bad = SometimesAsync()
    hooks = Hooks(fault_limit=2)
    hooks.register(bad, "bad")
    with capture_logs():
        async with open_session(hooks) as opened:
            opened.tell(7)
            await hooks.flush(opened)
    assert bad.told == [1, 2]
    assert opened.record("bad").dropped == 5


def test_no_limit_no_end() -> None:
    bad = Sometimes()
    hooks = registered(bad, fault_limit=0)
    with capture_logs():
        for number in range(50):
            hooks.tell(Session(hooks), event(number))
    assert len(bad.told) == 50
    assert hooks.records()[0].switched_off is False


async def test_time_outs_and_keeping_the_loop_are_faults() -> None:
    class Keeper:
        def __init__(self) -> None:
            self.calls = 0

        @hookimpl
        async def cti_event(self) -> None:
            self.calls += 1
            await anyio.lowlevel.checkpoint()
            now["seconds"] += 0.2
            await anyio.lowlevel.checkpoint()

    class Hanging:
        @hookimpl
        async def cti_event(self) -> None:
            await anyio.sleep_forever()

    now = {"seconds": 0.0}
    keeper = Keeper()
    hooks = registered(keeper, Hanging(), clock=lambda: now["seconds"], timeout_seconds=SHORT_SECONDS, fault_limit=2)
    with capture_logs() as logs, anyio.fail_after(10):
        async with open_session(hooks) as opened:
            opened.tell(5)
            await hooks.flush(opened)
    records = {record.plugin: record for record in hooks.records()}
    assert (records["Keeper"].slow, records["Keeper"].switched_off, keeper.calls) == (2, True, 2)
    assert (records["Hanging"].timed_out, records["Hanging"].switched_off) == (2, True)
    # What another did meanwhile is not its fault.
    assert records["Hanging"].slow == 0
    assert [entry["plugin"] for entry in logs if entry["event"] == "cti.hook.slow"] == ["Keeper"]
    latest = {entry["plugin"]: entry["latest"] for entry in logs if entry["event"] == "cti.plugin.switched_off"}
    assert latest == {
        "Keeper": "cti_event kept the event loop for 0.2 s",
        "Hanging": "cti_event did not return within 0.05 s",
    }


async def test_a_log_in_that_is_switched_off_is_asked_all_the_same() -> None:
    class Gate(Sometimes):
        @hookimpl
        def cti_log_in(self) -> bool:
            return False

    gate = Gate()
    hooks = registered(gate, fault_limit=1)
    with capture_logs():
        hooks.tell(Session(hooks), event())
    assert hooks.records()[0].switched_off
    assert await hooks.log_in(None, ()) is False  # type: ignore[arg-type]  # it only hands it on


async def test_asking_neither_ends_a_row_nor_adds_to_it() -> None:
    class Registry(Sometimes):
        @hookimpl
        def cti_setting(self, key: str) -> int:
            if key == "bad":
                raise RuntimeError
            return 1

    hooks = registered(Registry(), fault_limit=2)
    with capture_logs():
        hooks.tell(Session(hooks), event())
        assert await hooks.setting("good") == 1
        for _ in range(5):
            with pytest.raises(HookError):
                await hooks.setting("bad")
        assert hooks.records()[0].faults_in_row == 1
        hooks.tell(Session(hooks), event())
    assert hooks.records()[0].switched_off


async def test_one_that_is_switched_on_again_is_told_what_there_is_and_goes_on() -> None:
    class Mended(SometimesAsync):
        def __init__(self) -> None:
            super().__init__()
            self.resyncs: list[tuple[int | None, int]] = []

        @hookimpl
        async def cti_resync_required(self, event: ResyncRequired) -> None:
            self.resyncs.append((event.missed, event.seq))

    mended = Mended()
    hooks = registered(mended, fault_limit=2)
    with capture_logs() as logs:
        async with open_session(hooks) as opened:
            opened.tell(5)
            await hooks.flush(opened)
            assert mended.told == [1, 2]
            mended.fails = lambda seq: False
            hooks.switch_on("Mended")
            await hooks.flush(opened)
            assert opened.record("Mended").switched_off is False
            opened.tell(2)
            await hooks.flush(opened)
            hooks.switch_on("Mended")
            await hooks.flush(opened)
            assert mended.told == [1, 2, 6, 7]
            assert mended.resyncs == [(None, 5)]
            assert lines(logs)[-1] == ("cti.plugin.switched_on", "Mended")
            mended.fails = lambda seq: True
            opened.tell(2)
            await hooks.flush(opened)
            mended.fails = lambda seq: False
            hooks.switch_on("Mended")
            # It comes before the plugin was told what there is, and is part of that.
            opened.tell(1)
            await hooks.flush(opened)
    assert mended.told == [1, 2, 6, 7, 8, 9]
    assert mended.resyncs == [(None, 5), (None, 10)]
    with pytest.raises(HookError, match="No plugin is registered as 'other'"):
        hooks.switch_on("other")


# The real way of an event -----------------------------------------------------------------------------------------------


class Journal:
    """Awaits at every event, and keeps what it was told."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.by_call: dict[str, list[Event]] = {}
        self.missed = 0

    @hookimpl
    async def cti_event(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.seqs.append(event.seq)
        call = getattr(event, "call", None)
        if call is not None:
            self.by_call.setdefault(call.id, []).append(event)

    @hookimpl
    def cti_resync_required(self, event: ResyncRequired) -> None:
        assert event.missed is not None
        assert not self.seqs or event.seq > self.seqs[-1]
        self.missed += event.missed

    def check_order(self) -> None:
        assert self.seqs == sorted(set(self.seqs))
        for told in self.by_call.values():
            assert [event.seq for event in told] == sorted(event.seq for event in told)
            # A call that has ended says nothing more, and one that began does so once.
            assert [type(event) for event in told[:-1]].count(CallFinished) == 0
            assert [type(event) for event in told].count(CallStarted) <= 1


async def calls_in_and_out(pbx: Pbx, calls: int, each: Callable[[int], Any], first: int = 0) -> None:
    for number in range(first, first + calls):
        pbx.provider.offered(f"call {number}")
        pbx.provider.connected(f"call {number}")
        pbx.provider.ended(f"call {number}")
        await each(number)


async def test_awaiting_hooks_hear_a_burst_of_twenty_thousand_events_in_order() -> None:
    """As fast as can be: what a hook cannot keep up with it is told that it missed, and nothing is out of order."""
    journal, hooks, pbx = Journal(), Hooks(), Pbx()
    hooks.register(journal, "journal")

    async def each(number: int) -> None:
        if number % 10 == 0:
            await anyio.lowlevel.checkpoint()

    with capture_logs():
        async with session(pbx, hooks=hooks) as model:
            begin = model.cursor.seq
            calls = 0
            while model.cursor.seq - begin < 20_000:
                await calls_in_and_out(pbx, 100, each, calls)
                assert model.calls == ()
                calls += 100
            await hooks.flush(model)
            journal.check_order()
            assert len(journal.seqs) + journal.missed == model.cursor.seq
            assert journal.missed > 0


async def test_awaiting_hooks_miss_nothing_at_five_thousand_events_a_second() -> None:
    journal, hooks, pbx = Journal(), Hooks(), Pbx()
    hooks.register(journal, "journal")

    async def keep_up(number: int) -> None:
        # As a socket does between two frames.
        await hooks.flush(model)

    with capture_logs():
        async with session(pbx, hooks=hooks) as model:
            seq, began = model.cursor.seq, time.perf_counter()
            await calls_in_and_out(pbx, 1_000, keep_up)
            seconds, events = time.perf_counter() - began, model.cursor.seq - seq
            assert journal.seqs == list(range(1, model.cursor.seq + 1))
            journal.check_order()
            assert set(journal.by_call) == {f"call {number}" for number in range(1_000)}
    assert events / seconds > 5_000


async def test_a_hook_that_never_returns_delays_neither_the_pbx_nor_a_reader_nor_another_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_module, "_CLOSE_SECONDS", SHORT_SECONDS)

    class Hanging:
        @hookimpl
        async def cti_event(self) -> None:
            await anyio.sleep_forever()

    journal, hooks, pbx = Journal(), Hooks(), Pbx()
    hooks.register(Hanging(), "hanging")
    hooks.register(journal, "journal")
    with capture_logs():
        async with session(pbx, hooks=hooks, event_log_capacity=64) as model:
            stalled, reader, seen = model.events(name="stalled"), model.events(), 0

            async def each(number: int) -> None:
                nonlocal seen
                seen += len(take(reader))
                await until(lambda: len(journal.seqs) == model.cursor.seq)

            seq = model.cursor.seq
            await calls_in_and_out(pbx, 100, each)
            assert seen == model.cursor.seq - seq
            assert journal.seqs == list(range(1, model.cursor.seq + 1))
            assert pbx.running == 1
            first = stalled.next_nowait()
            assert isinstance(first, ResyncRequired)
            assert model.event_losses["stalled"].events == first.missed == seen


async def test_the_host_is_told_that_a_plugin_was_switched_off() -> None:
    class Broken:
        @hookimpl
        def cti_call_started(self) -> None:
            raise RuntimeError("no disk")

    hooks, pbx = Hooks(fault_limit=2), Pbx()
    hooks.register(Broken(), "broken")
    with capture_logs():
        async with session(pbx, hooks=hooks) as model:
            events = model.events()
            for number in range(4):
                pbx.provider.offered(f"call {number}")
            told = take(events)
            (trouble,) = [event for event in told if isinstance(event, ErrorOccurred)]
            assert isinstance(trouble.error, HookError)
            assert [event.seq for event in told] == list(range(told[0].seq, told[0].seq + len(told)))
            assert len(model.calls) == 4
