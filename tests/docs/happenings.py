"""What makes each event happen in a session on the PBX in memory.

Where that PBX cannot do it, its provider reports it by hand: the core makes the same event of the same report, whoever has made
it. `BY_HAND` says which those are and why. Two events are made without a session: nothing in the core tells `CallSaved`, and
`ResyncRequired` is only for a reader that has fallen behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from cti_framework import events
from cti_framework.calls import Call
from cti_framework.errors import CommandRefusedError
from cti_framework.events import CallFinished, CallHeld, Cursor, Event, SnapshotTaken
from cti_framework.model import CtiModel
from cti_framework.provider import Simulation
from cti_framework.reports import (
    Busy,
    CallCentreModeReport,
    MediaEnded,
    MediaMeasured,
    MediaStarted,
    MediaVideoStarted,
    Raw,
    Trouble,
)
from tests.core.scripted import until
from tests.docs.reference_pages import talked_on

__all__ = ["BY_HAND", "HAPPENINGS", "Happening", "made_without_a_session"]

Happening = Callable[[CtiModel, Simulation], Awaitable[None]]

BY_HAND = {
    events.CallBusy: "the switch in memory ends a call to somebody busy at once",
    events.CallCentreModeChanged: "the PBX in memory has no queues",
    events.ErrorOccurred: "nothing goes wrong there by itself",
    events.RawMessage: "the PBX in memory has no messages on a wire",
    events.WebRtcStarted: "there is no web phone",
    events.WebRtcVideoStarted: "there is no web phone",
    events.WebRtcQuality: "there is no web phone",
    events.WebRtcDestroyed: "there is no web phone",
}


def made_without_a_session(event_type: type[Event], call: Call, model: CtiModel) -> Event | None:
    """Give an event that no session tells by itself; `None`: sessions do."""
    if event_type is events.CallSaved:
        # A journal makes it; the core itself has none.
        return events.CallSaved(epoch=model.cursor.epoch, seq=model.cursor.seq + 1, at=model.now(), call=call, database_id="J-17")
    return None


async def _lost_and_back(model: CtiModel, pbx: Simulation) -> None:
    reader = model.events()
    await pbx.far_side.drop_network()
    await until(reader, SnapshotTaken)


async def _talks(model: CtiModel, pbx: Simulation) -> None:
    await talked_on(model, pbx)


async def _finishes(model: CtiModel, pbx: Simulation) -> None:
    await talked_on(model, pbx)
    reader = model.events()
    await pbx.far_side.hang_up(pbx.subscriber)
    await until(reader, CallFinished)


async def _is_held_and_taken_back(model: CtiModel, pbx: Simulation) -> None:
    await talked_on(model, pbx)
    reader = model.events()
    await pbx.far_side.hold(pbx.subscriber)
    await until(reader, CallHeld)
    await pbx.far_side.unhold(pbx.subscriber)
    await until(reader, events.CallUnheld)


async def _is_muted(model: CtiModel, pbx: Simulation) -> None:
    await model.set_mute(True, await talked_on(model, pbx))


async def _is_recorded(model: CtiModel, pbx: Simulation) -> None:
    await model.start_recording(await talked_on(model, pbx))


async def _hears_tones(model: CtiModel, pbx: Simulation) -> None:
    await talked_on(model, pbx)
    reader = model.events()
    await pbx.far_side.tones(pbx.subscriber, "42")
    await until(reader, events.DtmfEntered)


async def _goes_to_lunch(model: CtiModel, pbx: Simulation) -> None:
    reader = model.events()
    await model.set_agent_state("DND", reason="Lunch")
    await until(reader, events.AgentStateChanged, lambda event: event.agent.state == "DND")


def _reported(*make: Callable[[datetime, str], Any]) -> Happening:
    async def happen(model: CtiModel, pbx: Simulation) -> None:
        call = await talked_on(model, pbx)
        context = model._provider.context
        for one in make:
            context.report(one(context.clock.now(), call.id))

    return happen


async def _is_busy(model: CtiModel, pbx: Simulation) -> None:
    call = await model.make_call(pbx.subscriber)
    context = model._provider.context
    context.report(Busy(at=context.clock.now(), call_id=call.id, pbx_cause="USER_BUSY"))


async def _falls_behind(model: CtiModel, pbx: Simulation) -> None:
    await talked_on(model, pbx)


_STARTED = (lambda at, call_id: MediaStarted(at=at, call_id=call_id, media_id="M-1"),)
_SHOWN = (*_STARTED, lambda at, call_id: MediaVideoStarted(at=at, call_id=call_id, media_id="M-1"))
_MEASURED = (
    *_STARTED,
    lambda at, call_id: MediaMeasured(
        at=at, call_id=call_id, media_id="M-1", mos=3.1, loss=0.05, jitter_seconds=0.012, round_trip_seconds=0.04
    ),
)
_OVER = (*_STARTED, lambda at, call_id: MediaEnded(at=at, call_id=call_id, media_id="M-1"))

HAPPENINGS: dict[type[Event], Happening] = {
    events.Initialized: _talks,
    events.Disconnected: _lost_and_back,
    events.ProviderStateChanged: _lost_and_back,
    events.SnapshotTaken: _lost_and_back,
    events.CallStarted: _talks,
    events.CallConnected: _talks,
    events.CallHeld: _is_held_and_taken_back,
    events.CallUnheld: _is_held_and_taken_back,
    events.CallBusy: _is_busy,
    events.CallInfoChanged: _is_muted,
    events.CallFinished: _finishes,
    events.CallSaved: _finishes,
    events.RecordingStateChanged: _is_recorded,
    events.DtmfEntered: _hears_tones,
    events.WebRtcStarted: _reported(*_STARTED),
    events.WebRtcVideoStarted: _reported(*_SHOWN),
    events.WebRtcQuality: _reported(*_MEASURED),
    events.WebRtcDestroyed: _reported(*_OVER),
    events.CurrentCallChanged: _talks,
    events.LineStateChanged: _talks,
    events.AgentStateChanged: _goes_to_lunch,
    events.CallCentreModeChanged: _reported(lambda at, call_id: CallCentreModeReport(at=at, on=True)),
    events.ErrorOccurred: _reported(
        lambda at, call_id: Trouble(at=at, error=CommandRefusedError("The recorder is full."), call_id=call_id)
    ),
    events.RawMessage: _reported(lambda at, call_id: Raw(at=at, raw={"name": "PING"})),
    events.ResyncRequired: _falls_behind,
}
"""What makes each happen."""

BEHIND = Cursor("another opening of the session", 17)
"""Where a reader is that has fallen behind: whoever comes back with the place of another opening has."""
