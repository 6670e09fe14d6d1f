"""Each command once: identifiers, records, and how far a command got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from cti_framework.calls import Call
from cti_framework.commands import CommandRecord, CommandTimeouts
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    InvalidArgumentError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
)
from cti_framework.model import CtiModel
from cti_framework.reports import IdChanged
from tests.core.awaits import at_every_await, cancelled_at
from tests.core.scripted import Pbx, ScriptedProvider, jumping_backend, living, session
from tests.core.test_model import ALL_VERBS, raising, talking

pytestmark = pytest.mark.anyio

QUICK = CommandTimeouts(command_seconds=1, make_call_seconds=1, query_seconds=1, resolve_seconds=1)


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class Marking(ScriptedProvider):
    """Says when a command leaves: where ``leaves`` says so, before the verb does what a test wants."""

    marks_sent = True
    leaves = True

    async def _asked(self, verb: str, *arguments: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        if self.leaves:
            self.context.command_sent()
        await anyio.lowlevel.checkpoint()
        return await super()._asked(verb, *arguments)


class Keeping(Marking):
    """Never comes so far."""

    leaves = False


def with_id(model: CtiModel, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Give a verb with the arguments that ``ALL_VERBS`` gives it, to be called with more."""

    class Asked:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments, **named: lambda **more: getattr(model, name)(*arguments, **named, **more)

    asked: Any = Asked()
    given: Callable[..., Coroutine[Any, Any, Any]] = ALL_VERBS[verb][1](asked)  # type: ignore[assignment]  # it gives a function here
    return given


def current_asyncio_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def the(record: CommandRecord | None) -> CommandRecord:
    assert record is not None
    return record


# Identifiers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_the_same_command_again_acts_once_and_gives_the_same(verb: str) -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        ALL_VERBS[verb][0](pbx)
        act = with_id(model, verb)
        first = await act(command_id="mine")
        assert await act(command_id="mine") == first
        record = the(model.command("mine"))
        assert (record.verb, record.stage, record.error) == (verb, CommandStage.ACCEPTED, None)
        assert not record.cancelled
        assert not record.is_running
        assert record.ended_at is not None
        assert record.started_at <= record.ended_at
        assert model.commands == (record,)
    assert [asked[0] for asked in pbx.asked] == [verb]


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_who_asks_for_a_command_under_way_waits_for_its_outcome(verb: str) -> None:
    go_on = anyio.Event()

    async def slow(*arguments: Any) -> None:
        await go_on.wait()

    pbx = Pbx()
    pbx.on_verb = {verb: slow}
    outcomes: list[Any] = []

    async def ask() -> None:
        outcomes.append(await act(command_id="mine"))

    async with session(pbx) as model:
        ALL_VERBS[verb][0](pbx)
        act = with_id(model, verb)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            running = the(model.command("mine"))
            assert running.is_running
            assert (running.stage, running.ended_at, running.error) == (None, None, None)
            assert outcomes == []
            go_on.set()
    assert len(outcomes) == 3
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert [asked[0] for asked in pbx.asked] == [verb]


async def test_an_error_is_given_again_as_an_equal_one() -> None:
    cause = ValueError("why")
    refusal = CommandRefusedError("Busy.", pbx_text="-ERR USER_BUSY", remedy="Wait.")
    refusal.__cause__ = cause
    pbx = Pbx()
    pbx.on_verb = {"make_call": raising(refusal)}
    caught: list[CommandError] = []
    async with session(pbx) as model:
        for _ in range(3):
            with pytest.raises(CommandRefusedError) as raised:
                await model.make_call("0501", command_id="mine")
            caught.append(raised.value)
        assert the(model.command("mine")).stage is CommandStage.REJECTED
        assert the(model.command("mine")).error is caught[0]
    assert len(pbx.asked) == 1
    assert caught[1] is not caught[0]
    assert caught[2] is not caught[1]
    for error in caught:
        assert vars(error) == vars(refusal)
        assert error.args == refusal.args
        assert error.__cause__ is cause
        assert error.describe() == {**refusal.describe(), "command_id": "mine"}


async def test_what_was_refused_here_is_given_again_too() -> None:
    # Otherwise the second of two equal requests would act where the first was refused.
    pbx = Pbx()
    async with session(pbx) as model:
        with pytest.raises(NotAllowedNowError) as first:
            await model.hold_call(command_id="mine")
        talking(pbx)
        with pytest.raises(NotAllowedNowError) as second:
            await model.hold_call(command_id="mine")
        assert second.value.reason == first.value.reason == "there is no call"
        await model.hold_call(command_id="another")
    assert len(pbx.asked) == 1


async def test_one_identifier_is_one_command() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        await model.send_dtmf("ABCDA", command_id="mine")
        others: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: model.send_dtmf("ABCDB", command_id="mine"),
            lambda: model.send_dtmf("ABCDA", "a", command_id="mine"),
            lambda: model.hold_call(command_id="mine"),
        )
        for act in others:
            with pytest.raises(InvalidArgumentError, match="is another one") as caught:
                await act()
            assert caught.value.stage is CommandStage.NOT_SENT
            # Tones may be a PIN.
            assert "ABCD" not in str(caught.value)
            assert "ABCD" not in repr(model.commands)
        assert the(model.command("mine")).stage is CommandStage.ACCEPTED
    assert len(pbx.asked) == 1


async def test_a_call_and_its_identifier_mean_the_same() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        call = model.calls[0]
        await model.hold_call(call, command_id="mine")
        await model.hold_call(call.id, command_id="mine")
        await model.hold_call(call=call, command_id="mine")
        assert the(model.command("mine")).call_id == call.id
    assert len(pbx.asked) == 1


async def test_who_is_told_of_the_progress_makes_no_other_command() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        for progress in (None, print):
            await model.fetch_recording("https://pbx.example/1.mp3", Path("here"), progress=progress, command_id="mine")
    assert len(pbx.asked) == 1


@pytest.mark.parametrize("command_id", ["", 5, b"x", False])
async def test_an_identifier_is_a_text(command_id: Any) -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        with pytest.raises(InvalidArgumentError, match="command_id must be a text"):
            await model.make_call("0501", command_id=command_id)
        assert model.commands == ()
    assert pbx.asked == []


async def test_without_an_identifier_each_is_a_command_of_its_own() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        await model.hold_call()
        await model.hold_call()
        with pytest.raises(NotAllowedNowError) as caught:
            await model.answer_call()
        ids = [record.command_id for record in model.commands]
        assert len(set(ids)) == 3
        assert caught.value.command_id == ids[2]
        assert [record.stage for record in model.commands] == [CommandStage.ACCEPTED] * 2 + [CommandStage.NOT_SENT]
        assert model.command("nobody's") is None
    assert len(pbx.asked) == 2


async def test_256_are_remembered_and_none_under_way_is_forgotten() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def slow(*arguments: Any) -> None:
        asked.set()
        await go_on.wait()

    pbx = Pbx()
    pbx.on_verb = {"hold_call": slow}
    async with session(pbx) as model, anyio.create_task_group() as tasks:
        talking(pbx)
        tasks.start_soon(lambda: model.hold_call(command_id="slow"))
        await asked.wait()
        for number in range(300):
            await model.set_mute(True, command_id=f"{number}")
        ids = [record.command_id for record in model.commands]
        assert ids == ["slow", *(f"{number}" for number in range(45, 300))]
        assert len(ids) == 256
        # Forgotten, it is a new one.
        await model.set_mute(True, command_id="0")
        go_on.set()
    assert [name for name, *_ in pbx.asked].count("set_mute") == 301


async def test_commands_without_an_identifier_of_the_hosts_push_out_none_with_one() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        await model.set_mute(True, command_id="mine")
        for _ in range(300):
            await model.set_mute(False)
        await model.set_mute(True, command_id="mine")
        assert [name for name, *_ in pbx.asked].count("set_mute") == 301
        assert len(model.commands) == 257
        assert model.commands[0].command_id == "mine"


async def test_a_call_that_got_another_identifier_makes_no_other_command() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        talking(pbx)
        (before,) = model.calls
        await model.hold_call(before, command_id="mine")
        pbx.provider.context.report(IdChanged(at=pbx.provider.now, call_id=before.id, new_id="new"))
        (after,) = model.calls
        for same in (before, before.id, after, "new"):
            await model.hold_call(same, command_id="mine")
        pbx.provider.ended("new")
        await model.hold_call(after, command_id="mine")
        with pytest.raises(InvalidArgumentError, match="another one"):
            await model.hold_call("other", command_id="mine")
    assert len(pbx.asked) == 1


async def test_what_became_of_a_command_can_be_read_after_the_session() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        call = await model.make_call("0501", command_id="mine")
    record = the(model.command("mine"))
    assert record.call_id == call.id
    assert await model.make_call("0501", command_id="mine") == call


async def test_an_enquiry_is_the_call_that_its_command_is_about_once_it_is_shown() -> None:
    asked, go_on = anyio.Event(), anyio.Event()

    async def slow(*arguments: Any) -> None:
        asked.set()
        await go_on.wait()

    pbx = Pbx()
    pbx.on_verb = {"make_consult_call": slow}
    async with session(pbx) as model:
        talking(pbx)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: model.make_consult_call("300", command_id="mine"))
            await asked.wait()
            assert the(model.command("mine")).call_id == "a"
            go_on.set()
        assert the(model.command("mine")).call_id == "consult"


# How far it got --------------------------------------------------------------------------------------------------------


async def hang(*arguments: Any) -> None:
    await anyio.sleep_forever()


FAULTS: dict[str, Callable[..., Awaitable[None]]] = {
    "time-out": hang,
    "fault of the plugin": raising(KeyError("x")),
    "group": raising(ExceptionGroup("x", [OSError("y")])),
    "lost network": raising(NetworkError("The line was cut.")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_what_was_not_sent_may_be_tried_again_and_what_was_may_have_acted(verb: str, fault: str) -> None:
    for provider_class, stage in (
        (Marking, CommandStage.UNCONFIRMED),
        (Keeping, CommandStage.NOT_SENT),
        # Who does not say when a command leaves may have sent it.
        (ScriptedProvider, CommandStage.UNCONFIRMED),
    ):
        pbx = Pbx()
        pbx.on_verb = {verb: FAULTS[fault]}
        async with session(pbx, provider_class, timeouts=QUICK) as model:
            ALL_VERBS[verb][0](pbx)
            with pytest.raises(CommandError) as caught:
                await with_id(model, verb)(command_id="mine")
            error, record = caught.value, the(model.command("mine"))
        assert (error.stage, error.step, error.command_id) == (stage, verb, "mine")
        assert error.retryable is (stage is CommandStage.NOT_SENT)
        assert isinstance(error, CommandUnconfirmedError) is (stage is CommandStage.UNCONFIRMED)
        assert (record.stage, record.error, record.cancelled) == (stage, error, False)
        assert ("Nothing was sent" in str(error)) is (stage is CommandStage.NOT_SENT)


async def test_a_faulty_group_that_is_out_of_time_is_a_fault_of_the_plugin() -> None:
    async def badly(*arguments: Any) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            raise BaseExceptionGroup("the plugin's", [cancelled, OSError("and more")]) from None

    pbx = Pbx()
    pbx.on_verb = {"make_call": badly}
    async with session(pbx, Marking, timeouts=QUICK) as model:
        with pytest.raises(CommandUnconfirmedError, match="raised ExceptionGroup: a fault of the plugin"):
            await model.make_call("0501")


REFUSED = CommandRefusedError("Busy.", pbx_text="USER_BUSY")


@pytest.mark.parametrize(
    ("raised", "stage"),
    [
        ([REFUSED], CommandStage.REJECTED),
        ([ExceptionGroup("inner", [REFUSED])], CommandStage.REJECTED),
        ([REFUSED, NotConnectedError("Not sent.")], CommandStage.REJECTED),
        # Of several, one that may have acted decides.
        ([REFUSED, CommandUnconfirmedError("Lost.")], CommandStage.UNCONFIRMED),
        ([REFUSED, NetworkError("Cut.")], CommandStage.UNCONFIRMED),
        ([REFUSED, KeyError("x")], CommandStage.UNCONFIRMED),
        ([NotConnectedError("Not sent.")], CommandStage.NOT_SENT),
    ],
)
async def test_an_error_in_a_group_of_the_plugins_keeps_its_stage(raised: list[Exception], stage: CommandStage) -> None:
    pbx = Pbx()
    pbx.on_verb = {"hold_call": raising(ExceptionGroup("the plugin's", raised))}
    async with session(pbx) as model:
        talking(pbx)
        with pytest.raises(CommandError) as caught:
            await model.hold_call()
        assert (caught.value.stage, model.commands[-1].stage) == (stage, stage)
        assert caught.value.step == "hold_call"
        assert (caught.value.pbx_text == "USER_BUSY") is (stage is CommandStage.REJECTED)


async def test_not_sent_is_not_believed_once_something_was(logs: list[Any]) -> None:
    fault = raising(NotConnectedError("The second step was not sent."))
    for provider_class, stage in (
        (Marking, CommandStage.UNCONFIRMED),
        (Keeping, CommandStage.NOT_SENT),
        # Who does not say when a command leaves knows it best.
        (ScriptedProvider, CommandStage.NOT_SENT),
    ):
        pbx = Pbx()
        pbx.on_verb = {"hold_call": fault}
        async with session(pbx, provider_class) as model:
            talking(pbx)
            with pytest.raises(CommandError, match="The second step was not sent") as caught:
                await model.hold_call()
        assert caught.value.stage is stage
        assert caught.value.retryable is (stage is CommandStage.NOT_SENT)


@pytest.mark.parametrize("verb", ["set_wrap_up", "make_call", "fetch_recording"])
async def test_a_verb_that_shields_itself_is_left_where_it_is(verb: str, logs: list[Any]) -> None:
    async def stuck(*arguments: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3600)

    pbx = Pbx()
    pbx.on_verb = {verb: stuck}
    async with session(pbx, Marking, timeouts=QUICK) as model:
        ALL_VERBS[verb][0](pbx)
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match="within 1 s"):
            await with_id(model, verb)(command_id="mine")
        assert anyio.current_time() - began_at < 5
        assert the(model.command("mine")).stage is CommandStage.UNCONFIRMED
        # The task of the host is as it was: nothing cancels it, and nobody counts a cancellation.
        await anyio.sleep(10)
        if task := current_asyncio_task():
            assert task.cancelling() == 0
        pbx.on_verb.clear()
        await model.set_wrap_up(False)
    (line,) = [line for line in logs if line["event"] == "cti.provider.given_up"]
    assert (line["verb"], line["command_id"]) == (verb, "mine")


async def test_a_verb_under_way_does_not_cut_a_later_ones_time_short() -> None:
    async def slow(*arguments: Any) -> None:
        await anyio.sleep(0.9)

    pbx = Pbx()
    pbx.on_verb = {"set_wrap_up": slow, "set_mute": slow}
    async with session(pbx, timeouts=QUICK) as model, anyio.create_task_group() as tasks:
        talking(pbx)
        tasks.start_soon(model.set_wrap_up, True)
        await anyio.sleep(0.8)
        await model.set_mute(True)
    assert [record.stage for record in model.commands] == [CommandStage.ACCEPTED] * 2


async def test_the_cancellation_of_something_else_does_not_cancel_the_host(anyio_backend: tuple[str, Any]) -> None:
    if anyio_backend[0] != "asyncio":
        # Trio cancels tasks only.
        return

    async def awaits_what_is_cancelled(*arguments: Any) -> None:
        task = asyncio.ensure_future(asyncio.sleep(100))
        await anyio.lowlevel.checkpoint()
        task.cancel()
        await task

    pbx = Pbx()
    pbx.on_verb = {"set_wrap_up": awaits_what_is_cancelled}
    async with session(pbx) as model:
        with pytest.raises(CommandUnconfirmedError, match="raised CancelledError: a fault of the plugin"):
            await model.set_wrap_up(True)
        assert not model.commands[-1].cancelled


async def test_a_task_that_the_verb_started_can_say_that_it_is_sent() -> None:
    class Handing(Keeping):
        async def make_call(self, destination: str) -> Call:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._send)
            raise KeyError("x")

        async def _send(self) -> None:
            await anyio.lowlevel.checkpoint()
            self.context.command_sent()

    async with session(Pbx(), Handing, timeouts=QUICK) as model:
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call("0501")


async def test_what_is_said_without_a_command_is_nothing() -> None:
    pbx = Pbx()
    async with session(pbx, Marking) as model:
        pbx.provider.context.command_sent()
        assert model.commands == ()


async def test_nothing_of_a_command_stays_with_the_task_that_asked() -> None:
    pbx = Pbx()
    pbx.on_verb = {"hold_call": raising(KeyError("x"))}
    async with session(pbx) as model:
        talking(pbx)
        await model.set_mute(True)
        with pytest.raises(AssertionError):
            model._commands.current()
        with pytest.raises(CommandError):
            await model.hold_call()
        with pytest.raises(AssertionError):
            model._commands.current()


async def test_two_commands_at_once_are_told_apart() -> None:
    pbx = Pbx()

    class Half(Keeping):
        async def hold_call(self, call: Call) -> None:
            self.context.command_sent()
            await anyio.sleep_forever()

        async def set_mute(self, call: Call, on: bool) -> None:
            await anyio.sleep_forever()

    async with session(pbx, Half) as model:
        talking(pbx)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: model.hold_call(command_id="sent"))
            tasks.start_soon(lambda: model.set_mute(True, command_id="kept"))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert the(model.command("sent")).stage is CommandStage.UNCONFIRMED
        assert the(model.command("kept")).stage is CommandStage.NOT_SENT


# Cancelling ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ALL_VERBS)
async def test_cancelled_at_every_await_of_a_verb_it_says_how_far_it_got_and_leaves_nothing(verb: str, logs: list[Any]) -> None:
    pbx = Pbx()

    async def slow(*arguments: Any) -> None:
        await anyio.sleep(0.01)

    pbx.on_verb = {verb: slow}
    stages = []

    async def once(number: int) -> bool:
        pbx.asked.clear()
        logs.clear()
        async with session(pbx, Marking) as model:
            ALL_VERBS[verb][0](pbx)
            before = living()
            cancelled = await cancelled_at(number, lambda: with_id(model, verb)(command_id="mine"))
            # Who looked after its time is told, and goes.
            await anyio.wait_all_tasks_blocked()
            assert living() == before
            record = the(model.command("mine"))
            assert not record.is_running
            assert not model._is_dialling
            assert record.cancelled is cancelled
            if cancelled:
                assert record.stage is not None
                assert record.stage is (CommandStage.UNCONFIRMED if pbx.asked else CommandStage.NOT_SENT) or number == 2
                stages.append(record.stage)
                (line,) = [line for line in logs if line["event"] == "cti.command.cancelled"]
                assert (line["verb"], line["command_id"], line["stage"]) == (verb, "mine", record.stage.value)
                # Who asked for the same is told, and nothing is sent.
                sent = len(pbx.asked)
                with pytest.raises(CommandError, match="whoever asked was cancelled") as caught:
                    await with_id(model, verb)(command_id="mine")
                assert (caught.value.stage, caught.value.command_id) == (record.stage, "mine")
                assert len(pbx.asked) == sent
        return cancelled

    assert await at_every_await(once) == 3
    # Marked between the first await and the second.
    assert stages == [CommandStage.NOT_SENT, CommandStage.UNCONFIRMED, CommandStage.UNCONFIRMED]


async def test_who_waits_for_a_command_whose_caller_is_cancelled_is_told() -> None:
    pbx = Pbx()
    pbx.on_verb = {"make_call": hang}
    caught: list[CommandError] = []

    async def second() -> None:
        with pytest.raises(CommandUnconfirmedError, match="whoever asked was cancelled") as raised:
            await model.make_call("0501", command_id="mine")
        caught.append(raised.value)

    async with session(pbx) as model:
        first = anyio.CancelScope()

        async def ask() -> None:
            with first:
                await model.make_call("0501", command_id="mine")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
        assert the(model.command("mine")).cancelled
    assert len(caught) == 1
    assert len(pbx.asked) == 1


async def test_who_only_waits_can_be_cancelled_and_the_command_goes_on() -> None:
    go_on = anyio.Event()

    async def slow(*arguments: Any) -> None:
        await go_on.wait()

    pbx = Pbx()
    pbx.on_verb = {"make_call": slow}
    async with session(pbx) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: model.make_call("0501", command_id="mine"))
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(1) as scope:
            await model.make_call("0501", command_id="mine")
        assert scope.cancelled_caught
        assert the(model.command("mine")).is_running
        go_on.set()
    assert the(model.command("mine")).stage is CommandStage.ACCEPTED
    assert not the(model.command("mine")).cancelled


async def test_a_host_that_is_interrupted_leaves_a_record(logs: list[Any]) -> None:
    pbx = Pbx()
    pbx.on_verb = {"make_call": raising(KeyboardInterrupt())}
    async with session(pbx) as model:
        with pytest.raises(KeyboardInterrupt):
            await model.make_call("0501", command_id="mine")
        record = the(model.command("mine"))
    assert (record.stage, record.cancelled) == (CommandStage.UNCONFIRMED, False)
    assert "interrupted by KeyboardInterrupt" in str(record.error)


async def test_without_a_connection_it_is_recorded_too() -> None:
    pbx = Pbx()
    async with session(pbx) as model:
        await model.disconnect()
        with pytest.raises(NotConnectedError) as caught:
            await model.make_call("0501")
        assert caught.value.command_id is not None
        assert the(model.command(caught.value.command_id)).error is caught.value
