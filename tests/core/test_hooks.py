from __future__ import annotations

import contextvars
import inspect
import threading
import types
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import attrs
import pytest
import structlog
from structlog.testing import capture_logs

from cti_framework.errors import HookError, LogInRefusedError, StepTimeoutError
from cti_framework.events import (
    EVENT_TYPES,
    CallCentreModeChanged,
    CallStarted,
    Event,
    RawMessage,
    ResyncRequired,
    WebRtcVideoStarted,
)
from cti_framework.hooks import Hooks, HookSpecs, TimeLimit, hook_name, hookimpl
from cti_framework.provider import CtiUser
from tests.core.scripted import living

pytestmark = pytest.mark.anyio

NOW = datetime(2024, 5, 1, tzinfo=UTC)
USER = CtiUser("7", "Alex")


@pytest.fixture(autouse=True)
def fresh_log_configuration() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Model:
    """Stands for a session's model: hooks only hand it on."""


def event(number: int = 1) -> RawMessage:
    return RawMessage("e", number, NOW, raw=number)


def registered(*plugins: object) -> Hooks:
    hooks = Hooks()
    for plugin in plugins:
        hooks.register(plugin, type(plugin).__name__)
    return hooks


def refusal(plugin: object, name: str = "journal") -> str:
    hooks = Hooks()
    with pytest.raises(HookError) as caught:
        hooks.register(plugin, name)
    assert hooks.names() == ()
    assert not hooks.wants(RawMessage)
    return str(caught.value)


class Sessions:
    """Runs the hooks of models until its block ends."""

    def __init__(self, hooks: Hooks, group: anyio.abc.TaskGroup) -> None:
        self.hooks = hooks
        self.group = group

    async def open(self) -> Model:
        model = Model()
        await self.group.start(self.hooks.run, model)
        return model


async def with_sessions(hooks: Hooks, scenario: Callable[[Sessions], Awaitable[None]]) -> None:
    async with anyio.create_task_group() as group:
        await scenario(Sessions(hooks, group))
        group.cancel_scope.cancel()


# The specifications


def test_every_event_has_one_hook_with_its_class() -> None:
    specified = {name for name in vars(HookSpecs) if name.startswith("cti_")}
    asked = {"cti_log_in", "cti_user_connection", "cti_identify", "cti_save_call", "cti_setting"}
    assert specified == {hook_name(event_type) for event_type in EVENT_TYPES} | {"cti_event", "cti_resync_required"} | asked
    for event_type in (*EVENT_TYPES, ResyncRequired):
        signature = inspect.signature(getattr(HookSpecs, hook_name(event_type)))
        assert list(signature.parameters) == ["self", "model", "event"]
        assert signature.parameters["event"].annotation == event_type.__name__


def test_every_hook_is_documented() -> None:
    for name in vars(HookSpecs):
        if name.startswith("cti_"):
            assert getattr(HookSpecs, name).__doc__, name


def test_hook_names() -> None:
    assert hook_name(CallStarted) == "cti_call_started"
    assert hook_name(WebRtcVideoStarted) == "cti_web_rtc_video_started"


# Registration


def test_a_module_is_a_plugin() -> None:
    told = []
    module = types.ModuleType("journal")

    def cti_event(event: Event) -> None:
        told.append(event)

    vars(module).update(cti_event=hookimpl(cti_event), cti_framework=types.ModuleType("cti_framework"))
    hooks = Hooks()
    hooks.register(module, "journal")
    hooks.tell(Model(), event())
    assert told == [event()]


def test_names_and_records() -> None:
    class Journal:
        @hookimpl
        def cti_event(self, event: Event) -> None: ...

        @hookimpl
        def cti_setting(self, key: str) -> None: ...

    hooks = registered(Journal())
    assert hooks.names() == ("Journal",)
    assert [record.as_dict() for record in hooks.records()] == [
        {
            "plugin": "Journal",
            "hooks": ["cti_event", "cti_setting"],
            "failures": 0,
            "slow": 0,
            "timed_out": 0,
            "stalls": 0,
            "behind": 0,
            "dropped": 0,
            "faults_in_row": 0,
            "switched_off": False,
            "last_error": None,
        }
    ]
    assert hooks.implements("cti_setting")
    assert not hooks.implements("cti_log_in")
    hooks.unregister("Journal")
    assert hooks.names() == ()
    assert not hooks.implements("cti_setting")
    with pytest.raises(HookError, match="No plugin is registered as 'Journal'"):
        hooks.unregister("Journal")


def test_a_misspelt_hook_is_refused() -> None:
    class Marked:
        @hookimpl
        def cti_call_startd(self, event: Event) -> None: ...

    class Bare:
        async def cti_call_startd(self, event: Event) -> None: ...

    class Renamed:
        @hookimpl(specname="cti_call_startd")
        def started(self, event: Event) -> None: ...

    class Strange:
        @hookimpl
        def on_call(self, event: Event) -> None: ...

    for plugin in (Marked(), Bare(), Renamed()):
        assert "'cti_call_startd', which is no hook. Did you mean 'cti_call_started'?" in refusal(plugin)
    assert "implements 'on_call', which is no hook." in refusal(Strange())


def test_a_function_named_like_a_hook_without_the_mark_is_refused() -> None:
    class Journal:
        def cti_call_started(self, event: Event) -> None: ...

    class Static:
        @staticmethod
        def cti_call_started(event: Event) -> None: ...

    for plugin in (Journal(), Static(), types.SimpleNamespace(cti_call_started=lambda event: None)):
        assert "'cti_call_started' that is not marked as a hook. Add @hookimpl" in refusal(plugin)


def test_what_is_named_like_a_hook_and_is_none() -> None:
    class Journal:
        cti_framework = types.ModuleType("cti_framework")
        cti_version = 1
        cti_Kind = int

        @property
        def cti_lazy(self) -> str:
            raise AssertionError("evaluated")

        @hookimpl
        def cti_event(self, event: Event) -> None: ...

        @hookimpl(optionalhook=True)
        def cti_of_another_version(self, event: Event) -> None: ...

    assert registered(Journal()).records()[0].hooks == ("cti_event",)


def test_a_wrong_argument_is_refused() -> None:
    class Journal:
        @hookimpl
        def cti_call_started(self, evnt: Event) -> None: ...

    class KeywordOnly:
        @hookimpl
        def cti_call_started(self, *, call: Event) -> None: ...

    assert "takes 'evnt' in cti_call_started, which gives model, event. Did you mean 'event'?" in refusal(Journal())
    assert "takes 'call' in cti_call_started, which gives model, event." in refusal(KeywordOnly())


def test_other_refusals() -> None:
    class Journal:
        @hookimpl
        def cti_event(self, event: Event) -> None: ...

    class Twice(Journal):
        @hookimpl(specname="cti_event")
        def again(self, event: Event) -> None: ...

    class Wrapper:
        @hookimpl(wrapper=True)
        def cti_event(self, event: Event) -> Iterator[None]:
            return (yield)

    assert "is the class Journal; register an instance" in refusal(Journal)
    assert "implements no hook" in refusal(object())
    assert "implements cti_event twice" in refusal(Twice())
    assert "wraps cti_event" in refusal(Wrapper())
    plugin = Journal()
    hooks = registered(plugin)
    with pytest.raises(HookError, match="already registered"):
        hooks.register(plugin, "other")
    with pytest.raises(HookError, match="already registered"):
        hooks.register(Journal(), "Journal")
    assert hooks.names() == ("Journal",)


# Told


def test_nobody_listens() -> None:
    hooks = Hooks()
    assert not any(map(hooks.wants, EVENT_TYPES))
    hooks.tell(Model(), event())


def test_an_event_is_told_to_its_hook_and_to_the_catch_all() -> None:
    told: list[Any] = []

    class Journal:
        @hookimpl
        def cti_call_centre_mode_changed(self, model: Any, event: Event) -> None:
            told.append(("mode", model, event))

        @hookimpl
        def cti_event(self, event: Event, model: Any) -> None:
            told.append(("any", model, event))

    hooks = registered(Journal())
    model = Model()
    changed = CallCentreModeChanged("e", 1, NOW, on=True)
    hooks.tell(model, changed)
    assert told == [("mode", model, changed), ("any", model, changed)]
    told.clear()
    hooks.tell(model, event())
    assert told == [("any", model, event())]


def test_wants() -> None:
    class Journal:
        @hookimpl
        def cti_raw_message(self) -> None: ...

    hooks = registered(Journal())
    assert hooks.wants(RawMessage)
    assert not hooks.wants(CallStarted)


def test_implementations_take_the_arguments_that_they_name() -> None:
    told: list[Any] = []

    class Journal:
        @hookimpl(specname="cti_raw_message")
        def none(self) -> None:
            told.append(())

        @hookimpl(specname="cti_event")
        def keyword(self, *, event: Event, other: int = 5) -> None:
            told.append((event, other))

    class Default:
        @hookimpl
        def cti_event(self, event: Event | None = None, model: Any = None) -> None:
            told.append((event, model))

    class Anything:
        @hookimpl
        def cti_event(self, *args: Any, **kwargs: Any) -> None:
            told.append((args, kwargs))

    class Positional:
        @hookimpl
        def cti_event(self, event: Event, /) -> None:
            told.append(event)

    model = Model()
    registered(Positional(), Anything(), Default(), Journal()).tell(model, event())
    assert told == [(), (event(), 5), (event(), model), ((), {"model": model, "event": event()}), event()]


def test_order() -> None:
    told: list[str] = []

    def plugin(name: str, **options: Any) -> object:
        def cti_event() -> None:
            told.append(name)

        return types.SimpleNamespace(cti_event=hookimpl(**options)(cti_event))

    hooks = Hooks()
    for name, options in {"a": {"trylast": True}, "b": {}, "c": {}, "d": {"tryfirst": True}, "e": {}}.items():
        hooks.register(plugin(name, **options), name)
    hooks.tell(Model(), event())
    assert told == ["d", "e", "c", "b", "a"]


class Broken:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or RuntimeError("no disk")

    @hookimpl
    def cti_event(self) -> None:
        raise self.error


class Listener:
    def __init__(self) -> None:
        self.told: list[Event] = []

    @hookimpl
    def cti_event(self, event: Event) -> None:
        self.told.append(event)


def test_one_that_raises_is_named_and_stops_nobody() -> None:
    first, last = Listener(), Listener()
    hooks = Hooks()
    hooks.register(last, "last")
    hooks.register(Broken(), "broken")
    hooks.register(first, "first")
    with capture_logs() as logs:
        for number in range(3):
            hooks.tell(Model(), event(number))
    assert len(first.told) == len(last.told) == 3
    (record,) = [record for record in hooks.records() if record.plugin == "broken"]
    assert (record.failures, record.last_error) == (3, "cti_event: RuntimeError: no disk")
    assert [(entry["event"], entry["plugin"], entry["hook"]) for entry in logs] == [("cti.hook.failed", "broken", "cti_event")]


def test_one_that_keeps_the_session_waiting_is_named() -> None:
    ticks = iter([0.0, 0.05, 1.0, 1.1, 2.0, 5.0])
    hooks = Hooks(clock=lambda: next(ticks))
    hooks.register(Listener(), "slow")
    with capture_logs() as logs:
        for number in range(3):
            hooks.tell(Model(), event(number))
    assert hooks.records()[0].slow == 2
    assert [entry["event"] for entry in logs] == ["cti.hook.slow"]


def test_one_that_hides_that_it_is_async_is_named() -> None:
    class Hidden:
        @hookimpl
        def cti_event(self) -> Any:
            async def later() -> None: ...

            return later()

    hooks = registered(Hidden())
    hooks.tell(Model(), event())
    assert "not declared with 'async def'" in str(hooks.records()[0].last_error)


async def test_async_implementations_run_in_order_beside_the_session() -> None:
    told: list[Any] = []
    proceed = anyio.Event()

    class Journal:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await proceed.wait()
            told.append(event.seq)

        @hookimpl
        async def cti_raw_message(self, event: Event) -> None:
            told.append(f"raw {event.seq}")

    hooks = registered(Journal())

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        for number in range(3):
            hooks.tell(model, event(number))
        await anyio.wait_all_tasks_blocked()
        assert told == ["raw 0"]
        proceed.set()
        await hooks.flush(model)
        assert told == ["raw 0", 0, "raw 1", 1, "raw 2", 2]
        hooks.tell(model, event(3))
        await hooks.flush(model)
        assert told[-2:] == ["raw 3", 3]
        await hooks.flush(model)

    await with_sessions(hooks, scenario)


async def test_several_may_wait_for_the_same_session() -> None:
    proceed = anyio.Event()
    waited: list[int] = []

    class Journal:
        @hookimpl
        async def cti_event(self) -> None:
            await proceed.wait()

    hooks = registered(Journal())

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        hooks.tell(model, event())

        async def wait(number: int) -> None:
            await hooks.flush(model)
            waited.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            assert waited == []
            proceed.set()

    await with_sessions(hooks, scenario)
    assert sorted(waited) == [0, 1, 2]


async def test_async_ones_that_raise_or_hang_stop_nobody() -> None:
    told: list[int] = []

    class Raising:
        @hookimpl
        async def cti_event(self) -> None:
            await anyio.lowlevel.checkpoint()
            raise RuntimeError("no disk")

    class Hanging:
        @hookimpl
        async def cti_event(self) -> None:
            await anyio.sleep_forever()

    class Good:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            told.append(event.seq)
            if event.seq == 2:
                done.set()

    done = anyio.Event()
    hooks = registered(Raising(), Hanging(), Good())

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        for number in range(3):
            hooks.tell(model, event(number))
        await done.wait()
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as scope:
            await hooks.flush(model)
        assert scope.cancelled_caught

    with capture_logs() as logs:
        await with_sessions(hooks, scenario)
    assert told == [0, 1, 2]
    records = {record.plugin: record for record in hooks.records()}
    assert records["Raising"].failures == 3
    assert records["Good"].failures == 0
    # The first of the hanging one had begun; the two behind it never did.
    assert records["Hanging"].dropped == 2
    assert {(entry["event"], entry["plugin"]) for entry in logs} == {
        ("cti.hook.failed", "Raising"),
        ("cti.hook.dropped", "Hanging"),
    }


async def test_too_many_waiting_are_dropped_and_counted() -> None:
    told: list[int] = []
    proceed = anyio.Event()

    class Slow:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            await proceed.wait()
            told.append(event.seq)

    hooks = registered(Slow())

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        for number in range(1030):
            hooks.tell(model, event(number))
        proceed.set()
        await hooks.flush(model)

    with capture_logs() as logs:
        await with_sessions(hooks, scenario)
    assert told == list(range(1024))
    assert hooks.records()[0].dropped == 6
    assert [entry["event"] for entry in logs] == ["cti.hook.dropped"]


async def test_sessions_that_share_hooks_do_not_share_tasks() -> None:
    told: list[Any] = []

    class Journal:
        @hookimpl
        async def cti_event(self, model: Any) -> None:
            told.append(model)
            if model is stuck:
                await anyio.sleep_forever()

    hooks = registered(Journal())
    stuck: Any = None

    async def scenario(sessions: Sessions) -> None:
        nonlocal stuck
        stuck = await sessions.open()
        free = await sessions.open()
        hooks.tell(stuck, event())
        await anyio.wait_all_tasks_blocked()
        hooks.tell(free, event())
        await hooks.flush(free)
        assert told == [stuck, free]

    await with_sessions(hooks, scenario)


async def test_what_is_told_outside_of_a_session_is_counted() -> None:
    class Journal:
        @hookimpl
        async def cti_event(self) -> None: ...

    hooks = registered(Journal())
    model = Model()
    with capture_logs():
        hooks.tell(model, event())
        await hooks.flush(model)
    assert hooks.records()[0].dropped == 1


async def test_hooks_of_a_session_run_once() -> None:
    hooks = Hooks()

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        with pytest.raises(HookError, match="run already"):
            await hooks.run(model)

    await with_sessions(hooks, scenario)


async def test_no_task_outlives_a_session() -> None:
    cancelled: list[bool] = []

    class Journal:
        @hookimpl
        async def cti_event(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append(True)

    hooks = registered(Journal())
    before = len(anyio.get_running_tasks())
    async with anyio.create_task_group() as group:
        model = Model()
        await group.start(hooks.run, model)
        hooks.tell(model, event())
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert cancelled == [True]
    assert len(anyio.get_running_tasks()) == before
    # The session can be opened again: nothing of the first is left.
    await with_sessions(hooks, lambda sessions: sessions.group.start(hooks.run, model))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_an_implementation_lets_out_is_its_own() -> None:
    # Only asyncio lets a cancelled thing be waited for; trio's Cancelled cannot be made by anybody else.
    import asyncio

    told: list[int] = []

    class Journal:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            told.append(event.seq)
            if event.seq == 0:
                raise asyncio.CancelledError

    hooks = registered(Journal())

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        hooks.tell(model, event(0))
        hooks.tell(model, event(1))
        await hooks.flush(model)

    await with_sessions(hooks, scenario)
    assert told == [0, 1]
    assert hooks.records()[0].failures == 1


async def test_a_plugin_that_joins_an_open_session() -> None:
    told: list[int] = []

    class Journal:
        @hookimpl
        async def cti_event(self, event: Event) -> None:
            told.append(event.seq)

    hooks = Hooks()

    async def scenario(sessions: Sessions) -> None:
        model = await sessions.open()
        hooks.tell(model, event(0))
        hooks.register(Journal(), "journal")
        hooks.tell(model, event(1))
        hooks.unregister("journal")
        hooks.tell(model, event(2))
        await hooks.flush(model)

    await with_sessions(hooks, scenario)
    assert told == [1]


# Asked


def answering(hook: str, answer: Any, *, asynchronous: bool = False, **options: Any) -> object:
    def give() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def give_later() -> Any:
        await anyio.lowlevel.checkpoint()
        return give()

    return types.SimpleNamespace(given=hookimpl(specname=hook, **options)(give_later if asynchronous else give))


async def test_nobody_answers() -> None:
    hooks = Hooks()
    assert await hooks.log_in(USER, ["a"]) is None
    assert await hooks.user_connection(USER, "acme") is None
    assert await hooks.identify("100") is None
    assert await hooks.save_call(None) is None
    assert await hooks.setting("cti.provider") is None


async def test_the_first_answer_wins() -> None:
    hooks = Hooks()
    asked: list[Any] = []

    class Last:
        @hookimpl(trylast=True)
        def cti_setting(self, key: str) -> str:
            asked.append(key)
            return "last"

    hooks.register(Last(), "last")
    hooks.register(answering("cti_setting", None), "no-opinion")
    assert await hooks.setting("cti.provider") == "last"
    hooks.register(answering("cti_setting", "async", asynchronous=True), "async")
    assert await hooks.setting("cti.provider") == "async"
    hooks.register(answering("cti_setting", 0, tryfirst=True), "falsy")
    assert await hooks.setting("cti.provider") == 0
    assert asked == ["cti.provider"]


async def test_arguments_of_what_is_asked() -> None:
    asked: list[Any] = []

    class Directory:
        @hookimpl
        def cti_log_in(self, licences: tuple[str, ...], user: CtiUser) -> bool:
            asked.append((user, licences))
            return True

        @hookimpl
        async def cti_user_connection(self, user: CtiUser, provider: str) -> dict[str, Any]:
            asked.append((user, provider))
            return {"login": "1001"}

        @hookimpl
        def cti_identify(self, number: str) -> str:
            return f"owner of {number}"

        @hookimpl
        async def cti_save_call(self, entry: Any) -> int:
            return len(entry)

    hooks = registered(Directory())
    assert await hooks.log_in(USER, ["x.use"]) is True
    assert await hooks.user_connection(USER, "acme") == {"login": "1001"}
    assert await hooks.identify("100") == "owner of 100"
    assert await hooks.save_call("entry") == "5"
    assert asked == [(USER, ("x.use",)), (USER, "acme")]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_one_that_fails_to_answer_is_named(asynchronous: bool) -> None:
    hooks = Hooks()
    cause = RuntimeError("no database")
    hooks.register(answering("cti_user_connection", cause, asynchronous=asynchronous), "directory")
    with capture_logs(), pytest.raises(HookError) as caught:
        await hooks.user_connection(USER, "acme")
    assert caught.value.__cause__ is cause
    assert caught.value.step == "user_connection"
    assert "The plugin 'directory' failed in cti_user_connection: it raised RuntimeError." in str(caught.value)
    assert "no database" not in str(caught.value)
    assert hooks.records()[0].failures == 1


async def test_errors_of_the_framework_pass_through() -> None:
    hooks = Hooks()
    refused = LogInRefusedError("No licence.")
    hooks.register(answering("cti_log_in", refused, asynchronous=True), "licences")
    with pytest.raises(LogInRefusedError) as caught:
        await hooks.log_in(USER, ())
    assert caught.value is refused
    assert hooks.records()[0].failures == 0


@pytest.mark.parametrize("answer", [True, False, "a session", None])
async def test_answers_to_log_in(answer: Any) -> None:
    hooks = Hooks()
    hooks.register(answering("cti_log_in", answer), "licences")
    assert await hooks.log_in(USER, ()) is answer


async def test_wrong_answers_are_refused_without_being_told() -> None:
    hooks = Hooks()
    hooks.register(answering("cti_log_in", ["hunter2"]), "a")
    hooks.register(answering("cti_user_connection", "hunter2"), "b")
    hooks.register(answering("cti_save_call", True), "c")
    questions: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("'a' answered cti_log_in with a value of type list", lambda: hooks.log_in(USER, ())),
        ("'b' answered cti_user_connection with a value of type str", lambda: hooks.user_connection(USER, "acme")),
        ("'c' answered cti_save_call with a value of type bool", lambda: hooks.save_call("entry")),
    ]
    for text, ask in questions:
        with pytest.raises(HookError, match=text) as caught:
            await ask()
        assert "hunter2" not in str(caught.value)


async def test_one_that_never_answers_can_be_given_up_and_is_named() -> None:
    class Hanging:
        @hookimpl
        async def cti_log_in(self) -> None:
            await anyio.sleep_forever()

    hooks = registered(Hanging())
    with capture_logs() as logs:
        with anyio.move_on_after(0.01) as scope:
            await hooks.log_in(USER, ())
    assert scope.cancelled_caught
    assert [(entry["event"], entry["plugin"], entry["hook"]) for entry in logs] == [
        ("cti.hook.abandoned", "Hanging", "cti_log_in")
    ]


class Blocking:
    """Answers in the way of a database without ``async``: by waiting, until the test lets it go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[threading.Thread] = []

    @hookimpl
    def cti_setting(self, key: str) -> str:
        self.asked.append(threading.current_thread())
        assert self.go.wait(10)
        return key


async def test_a_synchronous_one_that_blocks_holds_up_nobody() -> None:
    before = living()
    blocking = Blocking()
    hooks = registered(blocking)
    answers: list[Any] = []

    async def ask(key: str) -> None:
        answers.append(await hooks.setting(key))

    async with anyio.create_task_group() as tasks:
        for key in ("a", "b"):
            tasks.start_soon(ask, key)
        while len(blocking.asked) < 2:
            await anyio.lowlevel.checkpoint()
        assert answers == []
        blocking.go.set()
    assert sorted(answers) == ["a", "b"]
    assert len(set(blocking.asked)) == 2
    assert living() == before


@pytest.mark.parametrize("end", ["time", "cancellation"])
async def test_a_synchronous_one_that_blocks_is_given_up_and_ends_alone(end: str) -> None:
    blocking = Blocking()
    hooks = registered(blocking)
    with anyio.fail_after(5), capture_logs() as logs:
        if end == "time":
            with pytest.raises(StepTimeoutError, match=r"'Blocking' did not answer cti_setting") as caught:
                await hooks.setting("a", limit=TimeLimit.starting_now("settings", 0.02, "cti.some_seconds"))
            assert caught.value.step == "settings"
            assert "0.02 s" in caught.value.message
            assert "cti.some_seconds" in str(caught.value.remedy)
        else:
            with anyio.move_on_after(0.02) as scope:
                await hooks.setting("a")
            assert scope.cancelled_caught
    assert [(entry["event"], entry["plugin"]) for entry in logs] == [("cti.hook.abandoned", "Blocking")]
    while not blocking.asked:
        await anyio.lowlevel.checkpoint()
    (thread,) = blocking.asked
    assert thread.daemon
    assert thread.name == "cti: cti_setting of Blocking"
    # The loop turns while it ends: it may still want to say there that it has.
    blocking.go.set()
    while thread.is_alive():
        await anyio.lowlevel.checkpoint()


async def test_several_questions_may_share_one_time() -> None:
    class Slow:
        @hookimpl
        async def cti_setting(self, key: str) -> None:
            await anyio.sleep(0.03)

    hooks = registered(Slow())
    limit = TimeLimit.starting_now("settings", 0.1, "cti.some_seconds")
    with anyio.fail_after(5), pytest.raises(StepTimeoutError):
        while True:
            await hooks.setting("a", limit=limit)


async def test_a_thread_sees_the_context_of_whoever_asks() -> None:
    tenant = contextvars.ContextVar("tenant", default="")
    tenant.set("acme")

    class Registry:
        @hookimpl
        def cti_setting(self, key: str) -> str:
            return tenant.get()

    assert await registered(Registry()).setting("a") == "acme"


async def test_one_that_hands_out_something_to_wait_for_is_waited_for_in_the_loop() -> None:
    async def later() -> threading.Thread:
        return threading.current_thread()

    class Registry:
        @hookimpl
        def cti_setting(self, key: str) -> Awaitable[Any]:
            return later()

    assert await registered(Registry()).setting("a") is threading.current_thread()


async def test_async_ones_and_those_that_are_told_stay_in_the_loop() -> None:
    seen: list[threading.Thread] = []

    class Companion:
        @hookimpl
        async def cti_setting(self, key: str) -> None:
            seen.append(threading.current_thread())

        @hookimpl
        def cti_event(self, event: Event) -> None:
            seen.append(threading.current_thread())

    hooks = registered(Companion())
    hooks.tell(Model(), event())
    await hooks.setting("a")
    assert seen == [threading.current_thread()] * 2


def test_records_are_values() -> None:
    record = registered(Listener()).records()[0]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.failures = 1  # type: ignore[misc]  # on purpose
