from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

import cti_framework.blocking.callbacks
from cti_framework import (
    BlockingCtiModel,
    BlockingRuntime,
    CallFinished,
    CallStarted,
    Cursor,
    Event,
    EventCallback,
    EventLoss,
    IfBehind,
    LineStateChanged,
    ProviderState,
    ProviderStateChanged,
    ResyncRequired,
    SubscriberBehindError,
)
from tests.core.blocked import SECONDS, in_loop, in_thread, nothing_left, open_on
from tests.core.scripted import Pbx


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def runtime(anyio_backend: str) -> Iterator[BlockingRuntime]:
    with BlockingRuntime(anyio_backend) as runtime:
        yield runtime


@pytest.fixture
def pbx() -> Pbx:
    return Pbx()


@pytest.fixture
def model(runtime: BlockingRuntime, pbx: Pbx) -> Iterator[BlockingCtiModel]:
    with open_on(runtime, pbx) as model:
        yield model


def ring(model: BlockingCtiModel, pbx: Pbx, *call_ids: str) -> None:
    """Have calls come in and end, all at once."""

    def happens() -> None:
        for call_id in call_ids:
            pbx.provider.offered(call_id)
            pbx.provider.ended(call_id)

    in_loop(model, happens)


def finished(events: list[Event]) -> list[str]:
    return [event.call.id for event in events if isinstance(event, CallFinished)]


# The iterator ------------------------------------------------------------------------------------------------------------


def test_events_are_read_in_order_and_none_is_lost(model: BlockingCtiModel, pbx: Pbx) -> None:
    events = model.events()
    ids = [str(number) for number in range(100)]
    read: list[Event] = []
    for call_id in ids:
        ring(model, pbx, call_id)
    while not read or read[-1].seq < model.cursor.seq:
        read.append(next(events))
    assert finished(read) == ids
    assert [event.seq for event in read] == list(range(read[0].seq, model.cursor.seq + 1))
    assert events.cursor == model.cursor == read[-1].cursor
    assert events.next_nowait() is None


def test_who_waits_is_woken_by_the_next_event(model: BlockingCtiModel, pbx: Pbx) -> None:
    events = model.events()
    waiting = in_thread(lambda: next(events))
    ring(model, pbx, "1")
    first = waiting.result(SECONDS)
    assert isinstance(first, CallStarted)
    assert events.cursor == first.cursor


def test_reading_goes_on_after_a_cursor(model: BlockingCtiModel, pbx: Pbx) -> None:
    before = model.cursor
    ring(model, pbx, "1", "2")
    events = model.events(after=before)
    first = next(events)
    assert first.seq == before.seq + 1
    rest = []
    while (event := events.next_nowait()) is not None:
        rest.append(event)
    assert finished(rest) == ["1", "2"]
    assert isinstance(next(model.events(after=Cursor("another epoch", 1))), ResyncRequired)


def test_who_falls_behind_is_told_how_much_is_missing(runtime: BlockingRuntime, pbx: Pbx) -> None:
    with open_on(runtime, pbx, event_log_capacity=10) as model:
        events = model.events()
        behind = model.cursor.seq
        ring(model, pbx, *(str(number) for number in range(20)))
        gap = next(events)
        assert isinstance(gap, ResyncRequired)
        assert gap.missed == model.cursor.seq - behind
        ring(model, pbx, "last")
        assert isinstance(next(events), CallStarted)


def test_who_falls_behind_may_be_disconnected_and_is_counted(runtime: BlockingRuntime, pbx: Pbx) -> None:
    with open_on(runtime, pbx, event_log_capacity=10) as model:
        board = model.events(if_behind=IfBehind.DISCONNECT, name="board")
        waiting = model.events(timeout_seconds=SECONDS, if_behind=IfBehind.DISCONNECT, name="wall")
        behind = model.cursor.seq
        ring(model, pbx, *(str(number) for number in range(20)))
        missed = model.cursor.seq - behind
        with pytest.raises(SubscriberBehindError) as caught:
            board.next_nowait()
        assert caught.value.missed == missed
        with pytest.raises(SubscriberBehindError):
            next(waiting)
        assert board.next_nowait() is None
        assert list(waiting) == []
        assert model.event_losses == {"board": EventLoss(1, missed), "wall": EventLoss(1, missed)}
        assert model.stalls == {}


def test_a_wait_may_have_a_time_and_can_be_taken_up_again(model: BlockingCtiModel, pbx: Pbx) -> None:
    events = model.events(timeout_seconds=0.01)
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        next(events)
    ring(model, pbx, "1")
    assert isinstance(next(events), CallStarted)


def test_the_iterator_ends_with_the_session_and_tells_its_end(model: BlockingCtiModel, pbx: Pbx) -> None:
    events, shared, unread = model.events(), model.events(), model.events()
    waiting = in_thread(lambda: list(shared))
    ring(model, pbx, "1")
    model.close()
    read = list(events)
    assert finished(read) == ["1"]
    assert any(isinstance(event, ProviderStateChanged) and event.state is ProviderState.CLOSED for event in read)
    assert waiting.result(SECONDS) == read
    # What is left of the log can be read when the loop is gone, too.
    model._runtime.close()
    assert list(unread) == read
    assert list(unread) == []
    assert unread.next_nowait() is None
    late = model.events(after=Cursor(model.cursor.epoch, model.cursor.seq - 1))
    assert late.next_nowait() == read[-1]
    assert late.next_nowait() is None


def test_threads_may_share_an_iterator(model: BlockingCtiModel, pbx: Pbx) -> None:
    events = model.events()
    readers = [in_thread(lambda: list(events)) for _ in range(8)]
    for number in range(200):
        ring(model, pbx, str(number))
    model.close()
    read = [event for reader in readers for event in reader.result(SECONDS)]
    assert sorted(event.seq for event in read) == list(range(min(event.seq for event in read), model.cursor.seq + 1))


def test_ctrl_c_loses_no_event(model: BlockingCtiModel, pbx: Pbx) -> None:
    before, events = model.cursor, model.events()

    def interrupt() -> None:
        # The reader is woken by an event, and interrupted before it has it.
        pbx.provider.offered("1")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def when_it_waits() -> None:
        while not in_loop(model, lambda: model._model._events._waiting):
            pass
        in_loop(model, interrupt)

    interrupting = in_thread(when_it_waits)
    with pytest.raises(KeyboardInterrupt):
        next(events)
    interrupting.result(SECONDS)
    assert next(events).seq == before.seq + 1


# Callbacks ---------------------------------------------------------------------------------------------------------------


class Told:
    """A callback that keeps what it is told, and by which thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: set[str] = set()
        self._came: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread().name)
        self._came.put(event)

    def until(self, event_type: type[Event]) -> Event:
        while not isinstance(event := self._came.get(timeout=SECONDS), event_type):
            pass
        return event


def test_callbacks_are_told_everything_in_order_in_one_thread(model: BlockingCtiModel, pbx: Pbx) -> None:
    one, other = Told(), Told()
    both: list[tuple[int, int]] = []
    model.on_event(one)
    model.on_event(lambda event: both.append((1, event.seq)))
    ring(model, pbx, "1")
    one.until(CallFinished)
    model.on_event(other)
    model.on_event(lambda event: both.append((2, event.seq)))
    ring(model, pbx, "2", "3")
    model.close()
    assert finished(one.events) == ["1", "2", "3"]
    assert finished(other.events) == ["2", "3"]
    assert isinstance(other.events[-1], LineStateChanged)
    assert one.threads == other.threads == {"cti: callbacks"}
    # An event is told to all before the next is told to anybody.
    assert [who for who, seq in both if seq >= other.events[0].seq] == [1, 2] * len(other.events)
    assert [seq for who, seq in both if who == 1] == [event.seq for event in one.events]


def test_callbacks_that_came_at_different_times_are_told_in_one_order(model: BlockingCtiModel, pbx: Pbx) -> None:
    told: list[tuple[int, int]] = []

    def tell(number: int, event: Event) -> None:
        told.append((number, event.seq))

    def happens() -> None:
        # All before their thread comes to it.
        for number in (1, 2, 3):
            model._callbacks.add(EventCallback(partial(tell, number), None, None))
            pbx.provider.offered(str(number))

    in_loop(model, happens)
    model.close()
    assert [seq for _, seq in told] == sorted(seq for _, seq in told)
    assert {number for number, _ in told} == {1, 2, 3}


def test_a_callback_that_raises_is_named_and_stops_nobody(model: BlockingCtiModel, pbx: Pbx) -> None:
    told = Told()

    def broken(event: Event) -> None:
        raise ValueError("broken")

    def leaving(event: Event) -> None:
        sys.exit(1)

    with capture_logs() as logs:
        failing = [model.on_event(broken), model.on_event(partial(leaving)), model.on_event(told)]
        ring(model, pbx, "1", "2")
        model.close()
    assert finished(told.events) == ["1", "2"]
    assert [callback.failures for callback in failing] == [len(told.events), len(told.events), 0]
    # Once each: what fails fails at every event.
    failures = [line for line in logs if line["event"] == "cti.callback.failed"]
    assert [line["callback"] for line in failures] == [
        "test_a_callback_that_raises_is_named_and_stops_nobody.<locals>.broken",
        "partial",
    ]
    assert "ValueError: broken" in failures[0]["stack"]
    assert failures[0]["user"] == "ann"


def test_a_cancelled_callback_is_told_no_more(model: BlockingCtiModel, pbx: Pbx) -> None:
    told, other = Told(), Told()
    callback = model.on_event(told)

    def once(event: Event) -> None:
        other(event)
        cancelling.cancel()

    cancelling = model.on_event(once)
    ring(model, pbx, "1")
    told.until(CallFinished)
    callback.cancel()
    callback.cancel()
    ring(model, pbx, "2")
    model.close()
    assert finished(told.events) == ["1"]
    assert len(other.events) == 1


def test_a_callback_may_call_verbs(model: BlockingCtiModel, pbx: Pbx) -> None:
    told = Told()

    def reject(event: Event) -> None:
        if isinstance(event, CallStarted):
            model.drop_call(event.call)
            told(event)

    model.on_event(reject)
    in_loop(model, lambda: pbx.provider.offered("1"))
    told.until(CallStarted)
    assert [verb for verb, *_ in pbx.asked] == ["drop_call"]


@pytest.mark.parametrize("owns_runtime", [True, False])
def test_a_callback_may_close_the_session(runtime: BlockingRuntime, pbx: Pbx, owns_runtime: bool) -> None:
    model = open_on(None if owns_runtime else runtime, pbx)
    told = Told()

    def close(event: Event) -> None:
        if isinstance(event, CallStarted):
            model.close()
            assert model.closed
        told(event)

    model.on_event(close)
    in_loop(model, lambda: pbx.provider.offered("1"))
    told.until(CallStarted)
    told.until(ProviderStateChanged)
    model.close()
    assert pbx.running == 0


def test_a_slow_callback_is_told_what_it_missed_and_slows_no_reader(runtime: BlockingRuntime, pbx: Pbx) -> None:
    with open_on(runtime, pbx, event_log_capacity=10) as model:
        told, go_on = Told(), threading.Event()

        def slow(event: Event) -> None:
            told(event)
            go_on.wait(SECONDS)

        model.on_event(slow)
        ring(model, pbx, "1")
        told.until(CallStarted)
        events = model.events()
        for number in range(20):
            ring(model, pbx, f"more {number}")
            assert isinstance(next(events), CallStarted)
            while events.next_nowait() is not None:
                pass
        go_on.set()
        told.until(ResyncRequired)
        (name,) = model.event_losses
        assert name.endswith("slow")


def test_a_callback_that_never_ends_is_left_after_a_time(
    monkeypatch: pytest.MonkeyPatch, model: BlockingCtiModel, pbx: Pbx
) -> None:
    monkeypatch.setattr(cti_framework.blocking.callbacks, "CLOSE_SECONDS", 0.01)
    told, go_on = Told(), threading.Event()

    def hang(event: Event) -> None:
        told(event)
        go_on.wait(SECONDS)

    model.on_event(hang)
    ring(model, pbx, "1")
    told.until(CallStarted)
    with capture_logs() as logs:
        model.close()
    (line,) = [line for line in logs if line["event"] == "cti.callback.hangs"]
    assert line["callback"].endswith("hang")
    go_on.set()
    model._callbacks._thread.join(SECONDS)
    assert len(told.events) == 1


# Callbacks in the host's own thread --------------------------------------------------------------------------------------


class Desk:
    """A host's thread as a window toolkit has it: it does one thing after the other.

    ``invoke`` is like the toolkits that make a stranger's thread wait until the window's own has taken what it brings.
    """

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def invoke(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def work() -> None:
            act()
            done.set()

        self.inbox.put(work)
        done.wait(SECONDS)

    def do_next(self) -> None:
        self.inbox.get(timeout=SECONDS)()

    def do_all(self) -> None:
        while not self.inbox.empty():
            self.do_next()


def test_callbacks_are_delivered_to_the_host_s_own_thread(model: BlockingCtiModel, pbx: Pbx) -> None:
    desk, told = Desk(), Told()
    model.on_event(told, deliver=desk.inbox.put)
    ring(model, pbx, "1", "2")
    while len(finished(told.events)) < 2:
        desk.do_next()
    assert finished(told.events) == ["1", "2"]
    assert told.threads == {threading.current_thread().name}
    model.close()
    desk.do_all()
    assert isinstance(told.events[-1], LineStateChanged)


def test_what_was_delivered_and_not_run_yet_is_cancelled_too(model: BlockingCtiModel, pbx: Pbx) -> None:
    desk, told = Desk(), Told()
    callback = model.on_event(told, deliver=desk.inbox.put)
    ring(model, pbx, "1")
    desk.do_next()
    callback.cancel()
    model.close()
    desk.do_all()
    assert len(told.events) == 1


def test_what_fails_in_the_host_s_thread_is_named_and_stops_nobody(model: BlockingCtiModel, pbx: Pbx) -> None:
    desk, told = Desk(), Told()

    def broken(event: Event) -> None:
        raise ValueError("broken")

    def gone(act: Callable[[], None]) -> Any:
        raise RuntimeError("The window is gone.")

    with capture_logs() as logs:
        model.on_event(broken, deliver=desk.inbox.put)
        model.on_event(told, deliver=gone)
        model.on_event(told)
        ring(model, pbx, "1")
        model.close()
        desk.do_all()
    assert finished(told.events) == ["1"]
    names = [line["callback"] for line in logs if line["event"] == "cti.callback.failed"]
    assert names == [
        "test_what_fails_in_the_host_s_thread_is_named_and_stops_nobody.<locals>.gone for Told",
        "test_what_fails_in_the_host_s_thread_is_named_and_stops_nobody.<locals>.broken",
    ]


def test_closing_in_a_thread_that_deliver_waits_for_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, model: BlockingCtiModel, pbx: Pbx
) -> None:
    monkeypatch.setattr(cti_framework.blocking.callbacks, "_DELIVER_SECONDS", 0.01)
    desk, told = Desk(), Told()
    model.on_event(told, deliver=desk.invoke)
    ring(model, pbx, "1")
    desk.do_next()
    with capture_logs() as logs:
        model.close()
    assert model.closed
    # Back in its own loop the host takes what is still brought.
    while told.events[-1].seq < model.cursor.seq:
        desk.do_next()
    model._callbacks._thread.join(SECONDS)
    assert finished(told.events) == ["1"]
    assert logs == []
