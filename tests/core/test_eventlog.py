"""The numbered log: readers that come, go, sleep and are cancelled, on both event loops, and a plain list to compare with."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import anyio
import anyio.lowlevel
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cti_framework.agents import Agent
from cti_framework.errors import SubscriberBehindError
from cti_framework.eventlog import EventLog, EventLoss, IfBehind, Subscription
from cti_framework.events import CallCentreModeChanged, Cursor, Event, ProviderState, ResyncRequired

pytestmark = pytest.mark.anyio

AT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fresh_log_configuration() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Session:
    """A log and what writes it."""

    def __init__(self, capacity: int = 1024) -> None:
        self.seq = 0
        self.log = EventLog("epoch", self.resync, capacity=capacity)

    def resync(self, missed: int | None) -> ResyncRequired:
        return ResyncRequired("epoch", self.seq, AT, missed, (), Agent(), ProviderState.IN_SERVICE)

    def say(self, count: int = 1) -> None:
        for _ in range(count):
            self.seq += 1
            self.log.extend([CallCentreModeChanged("epoch", self.seq, AT, True)])

    def after(self, seq: int) -> Subscription:
        return self.log.read(Cursor("epoch", seq))


def seqs(reader: Subscription) -> list[int]:
    found = []
    while (event := reader.next_nowait()) is not None:
        found.append(event.seq)
    return found


async def read_all(reader: AsyncIterator[Event]) -> list[int]:
    return [event.seq async for event in reader]


async def until_waiting(session: Session, readers: int = 1) -> None:
    """Let the other tasks run until that many readers wait; nothing here takes time."""
    for _ in range(100):
        if len(session.log._waiting) == readers:
            return
        await anyio.lowlevel.checkpoint()
    pytest.fail("the readers do not wait")


# ------------------------------------------------------------------ places


def test_a_reader_without_a_cursor_gets_what_comes_from_now_on() -> None:
    session = Session()
    session.say(3)
    reader = session.log.read()
    assert seqs(reader) == []
    session.say(2)
    assert seqs(reader) == [4, 5]
    assert reader.cursor == Cursor("epoch", 5)


def test_a_cursor_is_where_to_go_on() -> None:
    session = Session()
    session.say(5)
    assert seqs(session.after(2)) == [3, 4, 5]
    assert seqs(session.after(0)) == [1, 2, 3, 4, 5]
    assert seqs(session.after(5)) == []


def test_a_readers_place_is_fixed_when_it_begins() -> None:
    session = Session()
    reader = session.log.read()
    session.say()
    assert seqs(reader) == [1]


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_still_kept_is_replayed_and_one_more_is_not(kept: bool) -> None:
    session = Session(capacity=4)
    session.say(10)
    reader = session.after(6 if kept else 5)
    first = reader.next_nowait()
    assert first is not None
    if kept:
        assert (type(first), first.seq) == (CallCentreModeChanged, 7)
    else:
        assert isinstance(first, ResyncRequired)
        assert (first.seq, first.missed) == (10, 5)
        assert seqs(reader) == []
        session.say(2)
        assert seqs(reader) == [11, 12]


@pytest.mark.parametrize("cursor", [Cursor("other", 3), Cursor("other", 0), Cursor("epoch", 11), Cursor("epoch", -1)])
def test_a_cursor_that_is_not_of_this_log_starts_with_the_truth(cursor: Cursor) -> None:
    session = Session()
    session.say(10)
    reader = session.log.read(cursor)
    first = reader.next_nowait()
    assert isinstance(first, ResyncRequired)
    assert (first.seq, first.missed) == (10, None)
    session.say()
    assert seqs(reader) == [11]


@pytest.mark.parametrize("cursor", [Cursor("other", 3), Cursor("epoch", 11)])
def test_who_goes_on_from_a_reader_that_has_read_nothing_is_told_what_it_would_have_been_told(cursor: Cursor) -> None:
    session = Session()
    session.say(10)
    assert session.log.read(cursor).cursor == cursor
    told = session.log.read(session.log.read(cursor).cursor).next_nowait()
    assert isinstance(told, ResyncRequired)
    # With a place, it is the place.
    assert session.log.read(Cursor("epoch", 4)).cursor == Cursor("epoch", 4)
    assert session.log.read().cursor == Cursor("epoch", 10)


def test_an_empty_log_keeps_nothing() -> None:
    log = Session().log
    assert log.last_seq == 0
    assert log.read(Cursor("epoch", 0)).next_nowait() is None


def test_a_log_keeps_something() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Session(capacity=0)


def test_a_burst_is_read_at_once_where_the_ring_is_large_enough() -> None:
    session = Session(capacity=4096)
    reader = session.log.read()
    session.say(4096)
    assert seqs(reader) == list(range(1, 4097))


def test_a_burst_larger_than_the_ring_is_told_with_its_size() -> None:
    session = Session(capacity=1024)
    reader = session.log.read()
    session.say(4096)
    event = reader.next_nowait()
    assert isinstance(event, ResyncRequired)
    assert event.missed == 4096
    assert seqs(reader) == []


def test_a_slow_reader_neither_slows_nor_disturbs_the_others() -> None:
    session = Session(capacity=8)
    slow, quick = session.log.read(), session.log.read()
    read = []
    for _ in range(100):
        session.say()
        read += seqs(quick)
    assert read == list(range(1, 101))
    told = slow.next_nowait()
    assert isinstance(told, ResyncRequired)
    assert told.missed == 100


# ------------------------------------------------------------------ losses


async def test_a_reader_that_would_rather_be_disconnected_is() -> None:
    session = Session(capacity=4)
    reader = session.log.read(if_behind=IfBehind.DISCONNECT, name="board")
    session.say(4)
    assert seqs(reader) == [1, 2, 3, 4]
    session.say(5)
    with pytest.raises(SubscriberBehindError, match="'board' was away for too long: 5 events came, and 4 are kept") as caught:
        await anext(reader)
    assert caught.value.missed == 5
    # It is over, and says so however it is asked; where it was it still knows.
    assert reader.next_nowait() is None
    assert await read_all(reader) == []
    assert reader.cursor == Cursor("epoch", 4)
    session.say()
    assert await read_all(reader) == []
    with pytest.raises(SubscriberBehindError):
        session.log.read(reader.cursor, if_behind=IfBehind.DISCONNECT).next_nowait()


def test_a_reader_of_another_epoch_may_be_disconnected_too() -> None:
    session = Session()
    session.say()
    reader = session.log.read(Cursor("other", 3), if_behind=IfBehind.DISCONNECT)
    with pytest.raises(SubscriberBehindError, match="not in this session's log") as caught:
        reader.next_nowait()
    assert caught.value.missed is None
    assert session.log.losses == {}


def test_losses_are_counted_by_name() -> None:
    session = Session(capacity=4)
    board, other = session.log.read(name="board"), session.log.read()
    with capture_logs():
        for count in (5, 4, 9):
            session.say(count)
            seqs(board)
        seqs(other)
        assert session.log.losses == {"board": EventLoss(2, 14), "unnamed": EventLoss(1, 18)}
        second = session.log.read(Cursor("epoch", 0), name="board")
        seqs(second)
    assert session.log.losses["board"] == EventLoss(3, 32)


def test_losses_are_announced_the_first_time_and_then_less_and_less() -> None:
    session = Session(capacity=2)
    reader = session.log.read(name="board")
    with capture_logs() as logs:
        for _ in range(20):
            session.say(3)
            seqs(reader)
    assert {entry["event"] for entry in logs} == {"cti.subscriber.behind"}
    assert [entry["times"] for entry in logs] == [1, 2, 4, 8, 16]
    assert logs[2] == {
        "event": "cti.subscriber.behind",
        "log_level": "warning",
        "reader": "board",
        "missed": 3,
        "times": 4,
        "missed_in_all": 12,
    }


def test_names_that_a_host_makes_up_do_not_add_up_for_ever() -> None:
    session = Session(capacity=1)
    with capture_logs():
        for number in range(1_000):
            reader = session.log.read(name=f"page {number}")
            session.say(2)
            seqs(reader)
        known = session.log.read(name="page 7")
        session.say(2)
        seqs(known)
    losses = session.log.losses
    assert losses["page 7"] == EventLoss(2, 4)
    assert len(losses) == 257
    assert losses["others"] == EventLoss(744, 1488)
    assert sum(loss.events for loss in losses.values()) == session.seq


def test_a_stalled_reader_lets_nothing_grow() -> None:
    session = Session(capacity=64)
    stalled = session.log.read()
    session.say(1_000)
    gc.collect()
    tracemalloc.start()
    try:
        session.say(1_000)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        session.say(20_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    with capture_logs():
        event = stalled.next_nowait()
    assert isinstance(event, ResyncRequired)
    assert event.missed == 22_000


# ------------------------------------------------------------------ waiting


async def test_a_waiting_reader_is_woken() -> None:
    session = Session()
    read: list[int] = []

    async def follow() -> None:
        async for event in session.log.read():
            read.append(event.seq)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for expected in ([1], [1, 2], [1, 2, 3]):
            await until_waiting(session)
            session.say()
            await until_waiting(session)
            assert read == expected
        session.log.close()
    assert read == [1, 2, 3]


async def test_many_readers_each_get_everything() -> None:
    session = Session(capacity=64)
    read: list[list[int]] = []

    async def follow(reader: Subscription) -> None:
        read.append(await read_all(reader))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(follow, session.log.read())
        await until_waiting(session, 200)
        for _ in range(10):
            session.say(5)
            await until_waiting(session, 200)
        session.log.close()
    assert read == [list(range(1, 51))] * 200


async def test_a_reader_of_a_burst_from_another_task_misses_nothing() -> None:
    session = Session(capacity=4096)

    async def write() -> None:
        await until_waiting(session)
        session.say(4096)
        session.log.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        assert await read_all(session.log.read()) == list(range(1, 4097))


async def test_closing_ends_readers_when_they_have_read_everything() -> None:
    session = Session()
    reader = session.log.read()
    session.say(3)
    session.log.close()
    assert await read_all(reader) == [1, 2, 3]
    assert await read_all(reader) == []
    assert await read_all(session.after(1)) == [2, 3]
    assert await read_all(session.log.read()) == []
    session.log.close()


async def test_who_asks_a_closed_log_again_and_again_leaves_the_loop_to_others() -> None:
    session = Session()
    session.log.close()
    reader = session.log.read()
    with anyio.move_on_after(0.01) as patience:
        for _ in range(1_000_000):
            assert await anext(reader, None) is None
    assert patience.cancelled_caught


async def test_what_is_said_and_closed_at_once_is_still_read() -> None:
    session = Session()

    async def write() -> None:
        await until_waiting(session)
        session.say(2)
        session.log.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        assert await read_all(session.log.read()) == [1, 2]


async def test_a_closed_log_still_owes_the_truth_to_one_who_lost_his_place() -> None:
    session = Session(capacity=2)
    reader = session.log.read()
    session.say(5)
    session.log.close()
    events = [event async for event in reader]
    assert [type(event) for event in events] == [ResyncRequired]


async def test_cancelling_a_waiting_reader_leaves_nothing_behind_and_loses_nothing() -> None:
    session = Session()
    reader = session.log.read()
    other = session.log.read()
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.__anext__)
            tasks.start_soon(other.__anext__)
            await until_waiting(session, 2)
            tasks.cancel_scope.cancel()
        assert session.log._waiting == []
    session.say(2)
    assert seqs(reader) == seqs(other) == [1, 2]


async def test_a_reader_cancelled_just_as_it_is_woken_loses_nothing() -> None:
    session = Session()
    reader = session.log.read()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.__anext__)
        await until_waiting(session)
        session.say()
        tasks.cancel_scope.cancel()
    # Whether the reader had the event before it was cancelled is the loop's affair; that it is not lost is ours.
    assert [*range(1, reader.cursor.seq + 1), *seqs(reader)] == [1]
    assert session.log._waiting == []


async def test_a_time_out_while_waiting_is_no_end() -> None:
    session = Session()
    reader = session.log.read()
    with anyio.move_on_after(0):
        await anext(reader)
    session.say()
    assert (await anext(reader)).seq == 1


async def test_readers_beyond_the_ring_in_step_with_a_writer() -> None:
    """A reader that is always a little too late is told of every gap, and the numbers add up."""
    session = Session(capacity=4)
    reader = session.log.read()
    accounted = 0
    for count in (3, 4, 5, 9, 1, 4):
        session.say(count)
        while (event := reader.next_nowait()) is not None:
            accounted += event.missed or 0 if isinstance(event, ResyncRequired) else 1
    assert accounted == session.seq


# ------------------------------------------------------------------ a plain list to compare with


@given(
    capacity=st.integers(1, 6),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.integers(1, 9)),
            st.tuples(st.just("open"), st.integers(-1, 30)),
            st.tuples(st.just("read"), st.integers(0, 9)),
            st.tuples(st.just("cut"), st.integers(-1, 30)),
        ),
        max_size=60,
    ),
)
def test_readers_see_what_a_plain_list_would_show(capacity: int, steps: list[tuple[str, int]]) -> None:
    session = Session(capacity=capacity)
    readers: list[tuple[Subscription, int | None, bool]] = []
    for step, number in steps:
        if step == "say":
            session.say(number)
        elif step in ("open", "cut"):
            after = None if number == -1 else number
            place = session.seq if after is None else after if after <= session.seq else None
            if_behind = IfBehind.RESYNC if step == "open" else IfBehind.DISCONNECT
            cursor = None if after is None else Cursor("epoch", after)
            readers.append((session.log.read(cursor, if_behind=if_behind), place, step == "cut"))
        elif readers:
            index = number % len(readers)
            reader, place, is_cut = readers[index]
            if is_cut and (place is None or session.seq - place > capacity):
                with pytest.raises(SubscriberBehindError) as caught:
                    reader.next_nowait()
                assert caught.value.missed == (None if place is None else session.seq - place)
                assert reader.next_nowait() is None
                del readers[index]
                continue
            event = reader.next_nowait()
            if place is None or session.seq - place > capacity:
                assert isinstance(event, ResyncRequired)
                assert event.seq == session.seq
                assert event.missed == (None if place is None else session.seq - place)
                place = session.seq
            elif place == session.seq:
                assert event is None
            else:
                assert type(event) is CallCentreModeChanged
                place += 1
                assert event.seq == place
            assert reader.cursor.seq == place
            readers[index] = (reader, place, is_cut)
