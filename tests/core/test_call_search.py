"""A command that begins a call and is not confirmed is looked for, in the events and in the PBX's own list; never sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.calls import Call, CallDirection, CallState, Party
from cti_framework.commands import CommandTimeouts
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    NetworkError,
    NotAllowedNowError,
)
from cti_framework.events import ProviderState, SnapshotTaken
from cti_framework.model import CtiModel
from cti_framework.reports import CallSnapshot, Snapshot
from cti_framework.verbs.search import is_same_number
from tests.core.awaits import at_every_await, cancelled_at
from tests.core.scripted import (
    Pbx,
    ScriptedProvider,
    jumping_backend,
    living,
    session,
    snapshot_of,
    state_of,
    told,
    until,
    until_state,
)
from tests.core.test_commands import the
from tests.core.test_model import held, raising

pytestmark = pytest.mark.anyio

TIMEOUTS = CommandTimeouts(command_seconds=1, make_call_seconds=2, query_seconds=3, resolve_seconds=10)
LAG_SECONDS = 1.5
NUMBER = "+380501234567"


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


@pytest.fixture
def pbx() -> Pbx:
    pbx = Pbx()
    pbx.on_verb = {"make_call": unanswered}
    return pbx


async def unanswered(*arguments: Any) -> None:
    raise CommandUnconfirmedError("The answer was lost.", remedy="Look at the calls.")


def at(pbx: Pbx) -> CtiModel:
    return session(pbx, timeouts=TIMEOUTS)


def outgoing(call_id: str, number: str = "0501234567", **fields: Any) -> CallSnapshot:
    return snapshot_of(call_id, CallState.ALERTING, **{"direction": CallDirection.OUT, "other": Party(number), **fields})


def calls(model: CtiModel) -> list[str]:
    return [call.id for call in model.calls]


# Found -----------------------------------------------------------------------------------------------------------------


async def test_one_that_was_told_of_by_an_event_is_the_call(pbx: Pbx, logs: list[Any]) -> None:
    async def loses_the_answer(destination: str) -> None:
        pbx.provider.originated("x", "0501234567")
        await anyio.sleep_forever()

    pbx.on_verb = {"make_call": loses_the_answer}
    async with at(pbx) as model:
        began_at = anyio.current_time()
        call = await model.make_call(NUMBER, command_id="mine")
        assert call == model.call("x")
        # At once: nobody had to be asked.
        assert anyio.current_time() - began_at == pytest.approx(TIMEOUTS.make_call_seconds)
        assert pbx.snapshots == 1
        record = the(model.command("mine"))
        assert (record.stage, record.call_id, record.error) == (CommandStage.ACCEPTED, "x", None)
    (line,) = [line for line in logs if line["event"] == "cti.command.resolved"]
    assert (line["verb"], line["call_id"]) == ("make_call", "x")
    assert len(pbx.asked) == 1


async def test_one_that_the_pbx_shows_when_it_is_asked_is_the_call(pbx: Pbx) -> None:
    async with at(pbx) as model:
        pbx.calls = (outgoing("x"),)
        began_at = anyio.current_time()
        assert await model.make_call(NUMBER) == model.call("x")
        assert anyio.current_time() == pytest.approx(began_at)
    assert pbx.snapshots == 2
    assert len(pbx.asked) == 1


async def test_one_that_the_pbx_lists_only_later_is_the_call(pbx: Pbx) -> None:
    async def lags(provider: ScriptedProvider) -> Snapshot:
        return Snapshot(at=provider.now, calls=())

    pbx.on_snapshot = {2: lags}
    async with at(pbx) as model:
        pbx.calls = (outgoing("x"),)
        assert (await model.make_call(NUMBER)).id == "x"
    assert pbx.snapshots == 3


async def test_one_that_is_over_already_is_the_call_as_it_ended(pbx: Pbx) -> None:
    async def loses_the_answer(destination: str) -> None:
        pbx.provider.originated("x", "0501234567")
        pbx.provider.ended("x")
        await unanswered()

    pbx.on_verb = {"make_call": loses_the_answer}
    async with at(pbx) as model:
        call = await model.make_call(NUMBER)
        assert (call.id, call.is_ended) == ("x", True)


async def test_one_that_appears_later_is_the_call(pbx: Pbx) -> None:
    async def knows_nothing_yet(provider: ScriptedProvider) -> Snapshot:
        return Snapshot(at=provider.now, calls=(), complete=False)

    pbx.on_snapshot = dict.fromkeys(range(2, 9), knows_nothing_yet)
    async with at(pbx) as model, anyio.create_task_group() as tasks:

        async def appear() -> None:
            await anyio.sleep(7)
            pbx.provider.originated("x", "0501234567")

        tasks.start_soon(appear)
        assert (await model.make_call(NUMBER)).id == "x"


async def test_one_that_is_told_of_while_the_pbx_is_asked_is_the_call(pbx: Pbx) -> None:
    async def never(provider: ScriptedProvider) -> Snapshot:
        provider.originated("x", "0501234567")
        await anyio.sleep_forever()
        raise AssertionError

    pbx.on_snapshot = {2: never}
    async with at(pbx) as model:
        before = living()
        with anyio.fail_after(1):
            assert (await model.make_call(NUMBER)).id == "x"
        assert living() == before


async def test_one_that_the_pbx_shows_after_a_lost_connection_is_the_call(pbx: Pbx) -> None:
    async def loses_the_connection(destination: str) -> None:
        pbx.calls = (outgoing("x"),)
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        raise NetworkError("The line was cut.")

    pbx.on_verb = {"make_call": loses_the_connection}
    async with at(pbx) as model:
        call = await model.make_call(NUMBER)
        assert (call.id, state_of(model)) == ("x", ProviderState.IN_SERVICE)
    assert (pbx.runs, len(pbx.asked)) == (2, 1)


async def test_one_that_was_accepted_and_not_shown_is_looked_for_too(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": raising(CommandError("Placed.", stage=CommandStage.ACCEPTED, remedy="Connect again."))}
    async with at(pbx) as model:
        with pytest.raises(CommandError, match="Connect again") as caught:
            await model.make_call(NUMBER)
        assert caught.value.stage is CommandStage.ACCEPTED
        pbx.calls = (outgoing("x"),)
        assert (await model.make_call(NUMBER)).id == "x"


async def test_an_enquiry_is_found_by_the_call_on_whose_behalf_it_is(pbx: Pbx) -> None:
    pbx.on_verb = {"make_consult_call": unanswered}
    async with at(pbx) as model:
        held(pbx)
        first = snapshot_of("a", CallState.HELD)
        pbx.calls = (first, outgoing("other", parent_id="b"), outgoing("x", parent_id="a"))
        assert (await model.make_consult_call(NUMBER)).id == "x"


async def test_an_enquiry_whose_first_call_got_another_identifier_is_found(pbx: Pbx) -> None:
    pbx.on_verb = {"make_consult_call": unanswered}
    async with at(pbx) as model:
        held(pbx)
        pbx.calls = (snapshot_of("a2", CallState.HELD, former_ids=("a",)), outgoing("x", parent_id="a2"))
        assert (await model.make_consult_call(NUMBER)).id == "x"


async def test_a_call_that_listens_is_found_without_a_number(pbx: Pbx) -> None:
    pbx.on_verb = {"monitor": unanswered}
    async with at(pbx) as model:
        pbx.calls = (outgoing("x", "anybody"),)
        assert (await model.monitor("far")).id == "x"


async def test_a_list_that_lags_ends_no_call(pbx: Pbx) -> None:
    async def rings_here_meanwhile(destination: str) -> None:
        pbx.provider.offered("in")
        # So that what the list says would be newer.
        await anyio.sleep(0.2)
        await unanswered()

    pbx.on_verb = {"make_call": rings_here_meanwhile}
    async with at(pbx) as model:
        events = model.events()
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_call(NUMBER)
        assert calls(model) == ["in"]
        pbx.provider.connected("in")
        taken = [event for event in told(events) if isinstance(event, SnapshotTaken)]
        assert [event.complete for event in taken] == [False, False]
        assert not model.refused_reports


@pytest.mark.parametrize("unreadable", [None, 7])
async def test_a_list_that_cannot_be_read_proves_nothing(pbx: Pbx, unreadable: Any) -> None:
    async with at(pbx) as model:
        pbx.calls = (unreadable,)
        with pytest.raises(CommandUnconfirmedError) as caught:
            await model.make_call(NUMBER)
        assert "shows no such call" not in str(caught.value)


async def test_a_session_that_closes_ends_the_search_and_the_loop_goes_on(pbx: Pbx) -> None:
    async def never(provider: ScriptedProvider) -> Snapshot:
        await anyio.sleep_forever()
        raise AssertionError

    async def ends_slowly(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await pbx.live()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(7)

    pbx.on_run = {1: ends_slowly}
    pbx.on_snapshot = {2: never, 3: never}
    ended: list[CommandError] = []

    async def ask() -> None:
        with pytest.raises(CommandUnconfirmedError) as caught:
            await model.make_call(NUMBER)
        ended.append(caught.value)

    async with anyio.create_task_group() as tasks, at(pbx) as model:
        tasks.start_soon(ask)
        await anyio.sleep(1)
    assert len(ended) == 1


# Looked for again ------------------------------------------------------------------------------------------------------


async def hangs(*arguments: Any) -> None:
    await anyio.sleep_forever()


async def test_who_was_cancelled_can_ask_again_and_is_given_the_call(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        assert (the(model.command("mine")).stage, the(model.command("mine")).cancelled) == (CommandStage.UNCONFIRMED, True)
        pbx.provider.originated("x", "0501234567")
        assert (await model.make_call(NUMBER, command_id="mine")).id == "x"
        record = the(model.command("mine"))
        assert (record.stage, record.call_id, record.error) == (CommandStage.ACCEPTED, "x", None)
        # Found once, it stays the one.
        pbx.provider.ended("x")
        assert (await model.make_call(NUMBER, command_id="mine")).id == "x"
    assert len(pbx.asked) == 1


async def test_of_several_who_ask_again_one_looks_and_all_are_given_the_call(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    found: list[str] = []

    async def again() -> None:
        found.append((await model.make_call(NUMBER, command_id="mine")).id)

    async with at(pbx) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        pbx.calls = (outgoing("x"),)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            tasks.start_soon(again)
    assert found == ["x", "x"]
    assert (len(pbx.asked), pbx.snapshots) == (1, 2)


async def test_the_call_of_another_command_is_not_taken_for_it(pbx: Pbx) -> None:
    async with at(pbx) as model:
        pbx.on_verb = {"make_call": hangs}
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        pbx.on_verb = {}
        other = await model.make_call(NUMBER, command_id="another")
        pbx.calls = (outgoing(other.id, NUMBER),)
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_call(NUMBER, command_id="mine")
        snapshots = pbx.snapshots
        # That is certain, and is not looked for once more.
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_call(NUMBER, command_id="mine")
    assert pbx.snapshots == snapshots


async def test_it_is_not_looked_for_while_another_call_is_made(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model, anyio.create_task_group() as tasks:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        tasks.start_soon(model.make_call, "0507654321")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(CommandUnconfirmedError, match="Another call is being made now") as caught:
            await model.make_call(NUMBER, command_id="mine")
        # How far it got is what the record says, and what it was told before stays as it was.
        record = the(model.command("mine"))
        assert (caught.value.stage, record.stage) == (CommandStage.UNCONFIRMED, CommandStage.UNCONFIRMED)
        assert (caught.value.command_id, caught.value.retryable) == ("mine", False)
        assert record.error is not None
        assert "being made" not in record.error.remedy
        tasks.cancel_scope.cancel()


async def test_what_was_not_sent_is_not_looked_for() -> None:
    class Quiet(ScriptedProvider):
        marks_sent = True

    pbx = Pbx()
    pbx.on_verb = {"make_call": hangs}
    async with session(pbx, Quiet, timeouts=TIMEOUTS) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        with pytest.raises(CommandError) as caught:
            await model.make_call(NUMBER, command_id="mine")
        assert caught.value.stage is CommandStage.NOT_SENT
    assert pbx.snapshots == 1


# Not found -------------------------------------------------------------------------------------------------------------


async def test_where_the_pbx_shows_none_twice_that_is_said(pbx: Pbx) -> None:
    async with at(pbx) as model:
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match="shows no such call") as caught:
            await model.make_call(NUMBER, command_id="mine")
        assert anyio.current_time() - began_at == pytest.approx(LAG_SECONDS)
        assert pbx.snapshots == 3
        assert (caught.value.stage, caught.value.retryable, caught.value.command_id) == (CommandStage.UNCONFIRMED, False, "mine")
        assert calls(model) == []
        # It is not being made any more.
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call(NUMBER)
    assert len(pbx.asked) == 2


@pytest.mark.parametrize(
    "call",
    [
        outgoing("x", "0671112233"),
        snapshot_of("x", CallState.ALERTING, other=Party("0501234567")),
        outgoing("x", parent_id="somebody's"),
        outgoing("x", ""),
    ],
    ids=["another number", "for us", "an enquiry", "no number"],
)
async def test_another_call_is_not_the_one(pbx: Pbx, call: CallSnapshot) -> None:
    async with at(pbx) as model:
        pbx.calls = (call,)
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_call(NUMBER)
        # What the PBX showed is shown all the same.
        assert calls(model) == ["x"]


async def test_a_call_that_began_before_is_not_the_one(pbx: Pbx) -> None:
    async with at(pbx) as model:
        await anyio.sleep(60)
        pbx.calls = (outgoing("x", started_at=model.now() - timedelta(seconds=3)),)
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_call(NUMBER)
        pbx.calls = (outgoing("x"), outgoing("y", started_at=model.now() - timedelta(seconds=1)))
        pbx.provider.ended("x")
        assert (await model.make_call(NUMBER)).id == "y"


async def test_a_call_that_began_long_after_it_is_not_the_one(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        await anyio.sleep(3600)
        # On the desk phone.
        pbx.provider.originated("desk", NUMBER)
        for _ in range(2):
            with pytest.raises(CommandUnconfirmedError) as caught:
                await model.make_call(NUMBER, command_id="mine")
            # Only its time speaks against it, and that may not be known.
            assert "shows no such call" not in str(caught.value)
        assert the(model.command("mine")).stage is CommandStage.UNCONFIRMED


async def test_one_that_began_in_time_and_is_asked_for_late_is_the_call(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        await anyio.sleep(TIMEOUTS.resolve_seconds)
        pbx.provider.originated("x", NUMBER)
        await anyio.sleep(3600)
        assert (await model.make_call(NUMBER, command_id="mine")).id == "x"


@pytest.mark.parametrize(("number", "is_found"), [("0501234567", False), ("0507654321", True)])
async def test_a_call_that_began_after_a_later_command_to_its_number_is_not_the_one(
    pbx: Pbx, number: str, is_found: bool
) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model:
        for command_id, called in (("mine", NUMBER), ("later", number)):
            with anyio.move_on_after(0.5):
                await model.make_call(called, command_id=command_id)
        pbx.provider.originated("x", NUMBER)
        if is_found:
            assert (await model.make_call(NUMBER, command_id="mine")).id == "x"
        else:
            with pytest.raises(CommandUnconfirmedError):
                await model.make_call(NUMBER, command_id="mine")
            assert (await model.make_call(number, command_id="later")).id == "x"


async def test_a_later_command_that_did_nothing_takes_no_call_away(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": hangs}
    async with at(pbx) as model:
        with anyio.move_on_after(0.5):
            await model.make_call(NUMBER, command_id="mine")
        pbx.on_verb = {"make_call": raising(CommandRefusedError("Busy."))}
        with pytest.raises(CommandRefusedError):
            await model.make_call(NUMBER, command_id="later")
        pbx.provider.originated("x", NUMBER)
        assert (await model.make_call(NUMBER, command_id="mine")).id == "x"


async def test_a_call_that_was_there_is_not_the_one(pbx: Pbx) -> None:
    pbx.on_verb = {"make_consult_call": unanswered}
    async with at(pbx) as model:
        held(pbx)
        pbx.provider.originated("old", "0501234567", parent_id="a")
        pbx.provider.ended("old")
        pbx.calls = (snapshot_of("a", CallState.HELD),)
        with pytest.raises(CommandUnconfirmedError, match="shows no such call"):
            await model.make_consult_call(NUMBER)


async def test_of_two_it_cannot_be_told_which(pbx: Pbx) -> None:
    async with at(pbx) as model:
        pbx.calls = (outgoing("x"), outgoing("y", "501234567"))
        with pytest.raises(CommandUnconfirmedError) as caught:
            await model.make_call(NUMBER)
        assert "'x', 'y'" in str(caught.value)
        assert calls(model) == ["x", "y"]


async def test_a_pbx_that_does_not_tell_all_is_given_its_time(pbx: Pbx) -> None:
    async with at(pbx) as model:
        pbx.complete = False
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match=r"Look at the calls\.") as caught:
            await model.make_call(NUMBER)
        assert "shows no such call" not in str(caught.value)
        assert anyio.current_time() - began_at == pytest.approx(TIMEOUTS.resolve_seconds)


@pytest.mark.parametrize("fault", [CommandUnconfirmedError("No answer."), KeyError("x")])
async def test_a_pbx_that_cannot_be_asked_is_given_its_time(pbx: Pbx, fault: Exception) -> None:
    pbx.on_snapshot = dict.fromkeys(range(2, 9), raising(fault))
    async with at(pbx) as model:
        before = living()
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match=r"Look at the calls\."):
            await model.make_call(NUMBER)
        assert anyio.current_time() - began_at == pytest.approx(TIMEOUTS.resolve_seconds)
        assert living() == before


async def test_a_cancellation_that_the_plugin_lets_out_does_not_end_the_search(
    pbx: Pbx, anyio_backend: tuple[str, Any], logs: list[Any]
) -> None:
    if anyio_backend[0] != "asyncio":
        pytest.skip("of trio, only trio itself cancels")

    async def lets_out(provider: ScriptedProvider) -> Snapshot:
        # As one that cancels whatever waits for a reply when its connection breaks.
        reply: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(reply.cancel)
        return await reply

    pbx.on_snapshot = {2: lets_out}
    async with at(pbx) as model:
        pbx.calls = (outgoing("x"),)
        assert (await model.make_call(NUMBER)).id == "x"
    assert pbx.snapshots == 3
    assert [line["verb"] for line in logs if line["event"] == "cti.provider.raised"] == ["snapshot"]


async def test_a_connection_that_stays_lost_is_given_its_time(pbx: Pbx) -> None:
    async def loses_the_connection(destination: str) -> None:
        pbx.on_run = {run: lambda provider: anyio.sleep_forever() for run in range(2, 9)}
        events = model.events()
        pbx.cut()
        await until_state(events, ProviderState.RECONNECTING)
        await unanswered()

    pbx.on_verb = {"make_call": loses_the_connection}
    async with at(pbx) as model:
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError, match=r"Look at the calls\."):
            await model.make_call(NUMBER)
        assert anyio.current_time() - began_at == pytest.approx(TIMEOUTS.resolve_seconds)


async def test_a_session_that_is_disconnected_has_nobody_to_wait_for(pbx: Pbx) -> None:
    async def hang_up(destination: str) -> None:
        await model.disconnect()
        await unanswered()

    pbx.on_verb = {"make_call": hang_up}
    async with at(pbx) as model:
        began_at = anyio.current_time()
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call(NUMBER)
        assert anyio.current_time() == pytest.approx(began_at)


async def test_disconnecting_ends_the_search(pbx: Pbx) -> None:
    pbx.complete = False
    async with at(pbx) as model, anyio.create_task_group() as tasks:
        began_at = anyio.current_time()

        async def hang_up() -> None:
            await anyio.sleep(3)
            await model.disconnect()

        tasks.start_soon(hang_up)
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call(NUMBER)
        assert anyio.current_time() - began_at == pytest.approx(3)


async def test_an_old_answer_on_a_new_connection_is_not_believed(pbx: Pbx) -> None:
    answer = anyio.Event()

    async def late(provider: ScriptedProvider) -> Snapshot:
        await answer.wait()
        return Snapshot(at=provider.now, calls=())

    pbx.on_snapshot = {2: late}
    pbx.on_verb = {"make_consult_call": unanswered}
    async with at(pbx) as model, anyio.create_task_group() as tasks:
        held(pbx)
        events = model.events()

        async def cut_and_answer() -> None:
            await anyio.sleep(1)
            pbx.calls = (snapshot_of("a", CallState.HELD),)
            pbx.cut()
            await until_state(events, ProviderState.IN_SERVICE)
            await until(events, SnapshotTaken)
            answer.set()

        tasks.start_soon(cut_and_answer)
        with pytest.raises(CommandUnconfirmedError):
            await model.make_consult_call(NUMBER)
        # It would have ended the call.
        assert calls(model) == ["a"]


async def test_while_it_is_looked_for_no_other_call_is_made(pbx: Pbx) -> None:
    pbx.complete = False
    async with at(pbx) as model, anyio.create_task_group() as tasks:

        async def again() -> None:
            await anyio.sleep(5)
            with pytest.raises(NotAllowedNowError, match="a call is being made already"):
                await model.make_call(NUMBER)

        tasks.start_soon(again)
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call(NUMBER)
    assert len(pbx.asked) == 1


async def test_cancelled_at_every_await_of_the_search_nothing_is_left(pbx: Pbx) -> None:
    async def slow(provider: ScriptedProvider) -> Snapshot:
        await anyio.sleep(1)
        return Snapshot(at=provider.now, calls=(), complete=False)

    async def once(number: int) -> bool:
        pbx = Pbx()
        pbx.on_verb = {"make_call": unanswered}
        pbx.on_snapshot = {2: slow}
        async with at(pbx) as model:
            before = living()
            reached = await cancelled_at(number, lambda: ends_unconfirmed(model))
            assert living() == before
            assert not model._is_dialling
            assert not model._events._waiting
            record = the(model.command("mine"))
            assert (record.stage, record.cancelled) == (CommandStage.UNCONFIRMED, reached)
        assert len(pbx.asked) == 1
        return reached

    async def ends_unconfirmed(model: CtiModel) -> None:
        with pytest.raises(CommandUnconfirmedError):
            await model.make_call(NUMBER, command_id="mine")

    assert await at_every_await(once) >= 2


async def test_a_log_that_has_gone_on_without_us_still_shows_the_call(pbx: Pbx) -> None:
    async def loses_the_answer(destination: str) -> None:
        pbx.provider.originated("x", "0501234567")
        for number in range(20):
            pbx.provider.offered(f"in-{number}")
            pbx.provider.ended(f"in-{number}")
        await unanswered()

    pbx.on_verb = {"make_call": loses_the_answer}
    async with session(pbx, timeouts=TIMEOUTS, event_log_capacity=4) as model:
        assert (await model.make_call(NUMBER)).id == "x"


async def test_a_log_that_has_gone_on_without_us_makes_no_old_call_the_one(pbx: Pbx) -> None:
    async def loses_the_answer(call: Call, destination: str) -> None:
        pbx.provider.originated("x", "0501234567", parent_id="a")
        for number in range(20):
            pbx.provider.offered(f"in-{number}")
            pbx.provider.ended(f"in-{number}")
        await unanswered()

    pbx.on_verb = {"make_consult_call": loses_the_answer}
    async with session(pbx, timeouts=TIMEOUTS, event_log_capacity=4) as model:
        held(pbx)
        # Begun in the same moment, by hand.
        pbx.provider.originated("old", "0501234567")
        assert (await model.make_consult_call(NUMBER, "a")).id == "x"


async def test_an_error_that_says_it_was_not_sent_is_not_looked_for(pbx: Pbx) -> None:
    pbx.on_verb = {"make_call": raising(CommandError("No.", stage=CommandStage.NOT_SENT))}
    async with at(pbx) as model:
        pbx.calls = (outgoing("x"),)
        with pytest.raises(CommandError):
            await model.make_call(NUMBER)
    assert pbx.snapshots == 1


# Numbers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialled", "shown"),
    [
        ("100", "100"),
        ("+380501234567", "0501234567"),
        ("0501234567", "+38 (050) 123-45-67"),
        ("0501234567", "90501234567"),
        ("02079460000", "+442079460000"),
        ("00442079460000", "+44 20 7946 0000"),
        ("*72#", "*72#"),
        ("sip:Ann@example.org", "ann"),
    ],
)
def test_one_number_in_two_spellings(dialled: str, shown: str) -> None:
    assert is_same_number(dialled, shown)
    assert is_same_number(shown, dialled)


@pytest.mark.parametrize(
    ("dialled", "shown"),
    [
        ("100", "9100"),
        ("0501234567", "0501234568"),
        ("0501234567", ""),
        ("", ""),
        ("0", "00"),
        ("ann", "joann"),
        ("*72#", "72"),
    ],
)
def test_two_numbers(dialled: str, shown: str) -> None:
    assert not is_same_number(dialled, shown)
    assert not is_same_number(shown, dialled)
