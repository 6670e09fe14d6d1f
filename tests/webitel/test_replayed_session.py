"""What a session recorded, replayed: the same plugin makes the same calls of the same frames."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from cti_framework.calls import CallState, EndCause
from cti_framework.cli import main
from cti_framework.cli.replay import _Session
from cti_framework.events import (
    CallConnected,
    CallEvent,
    CallFinished,
    CallHeld,
    CallStarted,
    ErrorOccurred,
    Event,
    LineStateChanged,
    ProviderStateChanged,
    SnapshotTaken,
)
from cti_framework.model import CtiModel
from cti_framework.plain import event_as_plain
from cti_webitel.provider import WebitelCtiProvider
from tests.webitel.in_memory import PATIENCE_SECONDS, Desk, desk
from tests.webitel.sessions import OWN, model_at
from tests.webitel.test_walk import CALLERS, ELSEWHERE, FAR, STARTS, Start, enquiring, talking, walk

pytestmark = pytest.mark.anyio


def told(event: Event) -> Any:
    """An event without when it was and how it is numbered."""
    return untimed({key: value for key, value in event_as_plain(event).items() if key not in ("epoch", "seq")})


def untimed(plain: Any) -> Any:
    match plain:
        case dict():
            left_out = ("at", "error")
            return {
                key: untimed(value)
                for key, value in plain.items()
                if key not in left_out and not key.endswith(("_at", "_seconds"))
            }
        case list():
            return [untimed(value) for value in plain]
    return plain


def lived(model: CtiModel) -> list[Event]:
    return [event for event in model._events.kept() if isinstance(event, CallEvent)]


def replayed(lines: Iterable[str]) -> Iterator[Event]:
    session = _Session(WebitelCtiProvider)
    for line in WebitelCtiProvider.replay(lines):
        yield from session.events(line)


def same(model: CtiModel, lines: Iterable[str], *, but: tuple[type[Event], ...] = (ProviderStateChanged, ErrorOccurred)) -> None:
    # What the connection does is the core's affair; when it did, the replay knows.
    live, again = [
        [told(event) for event in events if not isinstance(event, but)] for events in (model._events.kept(), replayed(lines))
    ]
    assert again == live


async def outage(at: Desk, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Break the connection, let something happen, and wait until it is back and the switch has been asked."""
    events = at.model.events()
    at.engine.drop_sockets()
    meanwhile()
    with anyio.fail_after(PATIENCE_SECONDS):
        async for event in events:
            # A call that had only just begun is over when a second look lacks it, too.
            if isinstance(event, SnapshotTaken) and not any(call.stale for call in event.calls):
                break
    await at.settle()


@pytest.mark.parametrize("start", STARTS, ids=lambda start: str(start.__name__))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=8)
@given(choices=st.lists(st.integers(0, 1_000), max_size=12))
def test_a_session_is_the_same_when_its_frames_are_played_again(start: Start, choices: list[int]) -> None:
    async def live() -> tuple[CtiModel, list[str]]:
        async with desk(command_timeout_seconds=0.5) as at:
            note(" / ".join(await walk(at, start, choices)))
        return at.model, list(at.model.recorder.lines())

    same(*anyio.run(live))


async def test_calls_that_ended_in_an_outage_end_in_the_replay_as_they_did() -> None:
    async with desk() as at:
        await enquiring(at)
        first, enquiry = at.own_legs
        await outage(at, lambda: at.switchboard.hang_up(enquiry.uuid))
        await outage(at, lambda: at.switchboard.incoming(CALLERS[1], OWN))
        await outage(at, lambda: at.switchboard.hang_up(first.uuid))
    finished = [event.call for event in lived(at.model) if isinstance(event, CallFinished)]
    assert [(call.cause, call.inferred) for call in finished] == [(EndCause.RESYNC, True)] * 2
    # Who asks twice for a young call, the core or the provider, the frames do not say: only between what calls do it differs.
    same(at.model, at.model.recorder.lines(), but=(ProviderStateChanged, ErrorOccurred, SnapshotTaken, LineStateChanged))


async def test_a_call_that_an_outage_changed_is_changed_in_the_replay() -> None:
    async with desk() as at:
        await talking(at)
        (leg,) = at.own_legs
        await outage(at, lambda: at.switchboard.hold(leg.uuid))
        assert at.model.calls[0].state is CallState.HELD
        await at.ask(at.model.unhold_call)
        await at.settle()
        await at.ask(at.model.drop_call)
        await at.settle()
    same(at.model, at.model.recorder.lines())


async def test_calls_that_were_there_before_the_session_are_in_the_replay() -> None:
    async with desk() as at:
        await talking(at)
        later = model_at("ws://memory")
        async with later:
            await at.settle()
            (call,) = later.calls
            assert call.state is CallState.CONNECTED
            at.switchboard.hang_up(at.own_legs[0].uuid)
            await at.settle()
            await later_settles(later)
    assert next(type(event) for event in lived(later)) is CallStarted
    same(later, later.recorder.lines())


async def later_settles(model: CtiModel) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while model.calls:
            await model._provider._webitel.ping()  # type: ignore[attr-defined]  # the tests' own look into it


async def test_a_ring_that_lost_the_beginning_takes_the_call_up_in_the_middle() -> None:
    async with desk() as at:
        await talking(at)
        (call,) = at.model.calls
        lines = list(at.model.recorder.lines())
        began = next(place for place, line in enumerate(lines) if "CHANNEL_CREATE" in line)
        await at.ask(at.model.hold_call)
        await at.settle()
        await at.ask(at.model.drop_call)
        await at.settle()
    lines = list(at.model.recorder.lines())
    answered = next(place for place, line in enumerate(lines) if "CHANNEL_ANSWER" in line)
    # As the recorder forgets: whose connection it is, and then the end of the ring.
    again = list(replayed([*lines[:5], *lines[answered + 1 :]]))
    assert began < answered
    finished = [event.call for event in again if isinstance(event, CallFinished)]
    live = next(event.call for event in lived(at.model) if isinstance(event, CallFinished))
    assert [(one.id, one.former_ids, one.cause, one.other) for one in finished] == [
        (live.id, live.former_ids, live.cause, live.other)
    ]
    assert any(isinstance(event, CallHeld) for event in again)
    assert call.id in finished[0].former_ids


async def test_a_ring_without_a_word_of_ours_is_replayed_to_its_end() -> None:
    async with desk() as at:
        await talking(at)
        lines = list(at.model.recorder.lines())
    of_log_in = [line for line in lines if '"c2s"' not in line or '"auth"' in line][:4]
    again = list(replayed([*of_log_in, *(line for line in lines if '"CHANNEL_' in line)]))
    assert [type(event) for event in again if isinstance(event, CallStarted | CallConnected)] == [CallStarted, CallConnected]


async def test_a_call_that_rang_before_the_session_ends_in_the_replay_as_it_did() -> None:
    async with desk() as at:
        await at.ask(at.model.make_call, FAR)
        later = model_at("ws://memory")
        async with later:
            await at.settle()
            await at.ask(later.drop_call)
            await later_settles(later)
    (finished,) = [event.call for event in lived(later) if isinstance(event, CallFinished)]
    assert finished.cause is EndCause.CANCELLED
    same(later, later.recorder.lines())


async def test_a_call_that_listens_in_does_so_in_the_replay() -> None:
    async with desk() as at:
        at.switchboard.incoming(CALLERS[0], "101@demo.local")
        (leg,) = at.switchboard.legs_of("101@demo.local")
        at.switchboard.answer(leg.uuid)
        await at.settle()
        await at.ask(at.model.monitor, leg.uuid)
        at.switchboard.answer(at.own_legs[0].uuid)
        await at.settle()
        assert at.model.calls[0].state is CallState.CONNECTED
        await at.ask(at.model.drop_call)
        await at.settle()
    same(at.model, at.model.recorder.lines())


async def test_a_small_ring_can_be_replayed() -> None:
    async with desk(options={"flight_recorder_kilobytes": 24}) as at:
        for _ in range(3):
            await talking(at)
            await at.ask(at.model.drop_call)
            await at.settle()
    recorder = at.model.recorder
    lines = list(recorder.lines())
    assert recorder.lost
    assert json.loads(lines[0])["dir"] == "open"
    assert sum(map(len, lines)) < 30_000
    again = list(replayed(lines))
    last = lived(at.model)[-1]
    assert told([event for event in again if isinstance(event, CallEvent)][-1]) == told(last)


async def test_what_is_hung_up_and_sent_on_by_us_is_known_in_the_replay() -> None:
    """Their ends look alike on the wire: only what was asked tells them apart."""
    async with desk() as at:
        at.switchboard.incoming(CALLERS[0], OWN)
        await at.settle()
        await at.ask(at.model.drop_call)
        await at.settle()
        await talking(at)
        await at.ask(at.model.blind_transfer, ELSEWHERE)
        await at.settle()
        await at.ask(at.model.make_call, FAR)
        await at.ask(at.model.drop_call)
        await at.settle()
        await enquiring(at)
        await at.ask(at.model.complete_transfer)
        await at.settle()
    causes = [event.call.cause for event in lived(at.model) if isinstance(event, CallFinished)]
    moved = EndCause.TRANSFERRED
    assert causes == [EndCause.REJECTED, moved, EndCause.CANCELLED, moved, moved]
    same(at.model, at.model.recorder.lines())


async def test_a_bundle_is_replayed_through_the_plugin_that_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with desk() as at:
        await enquiring(at)
        await outage(at)
        await at.ask(at.model.drop_call)
        await at.settle()
        path = await at.model.write_support_bundle(tmp_path / "fault.zip")
    assert await anyio.to_thread.run_sync(main, ["replay", str(path), "--json"]) == 0
    out = capsys.readouterr().out
    again = [event for line in out.splitlines() if line.startswith("{") for event in json.loads(line)["events"]]
    with zipfile.ZipFile(path) as bundle:
        live = [json.loads(line) for line in bundle.read("events.jsonl").splitlines()]
    names = {event["event"] for event in map(event_as_plain, lived(at.model))}
    calls = [[untimed(event) for event in events if event["event"] in names] for events in (live, again)]
    for event in (*calls[0], *calls[1]):
        del event["epoch"], event["seq"]
    assert calls[0] == calls[1]
    assert len(calls[0]) > 5
