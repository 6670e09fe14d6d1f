"""Microphone, camera, recording, and listening in on somebody else's call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cti_framework.calls import CallFeature
from cti_framework.events import CallInfoChanged, RecordingStateChanged
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["MediaProfile"]


class MediaProfile(Profile):
    """What is done with what is said."""

    @rule(
        "media.muted",
        "set_mute switches the operator's microphone, and Muted says so.",
        contract="BaseCtiProvider.set_mute, reports.Muted",
        proves=CallFeature.MUTE,
    )
    async def test_the_microphone(self, stand: Stand) -> None:
        call = await stand.talking()
        for on in (True, False):
            since = stand.mark()
            await stand.within(stand.model.set_mute(on, call), "set_mute")
            changed = await stand.until(CallInfoChanged, call, lambda event: "muted" in event.changed, since=since)
            stand.expect(changed.call.muted is on, f"set_mute({on}) was asked, and muted is {changed.call.muted}.")

    @rule(
        "media.camera",
        "set_video switches the operator's camera.",
        contract="BaseCtiProvider.set_video",
        proves=CallFeature.VIDEO,
    )
    async def test_the_camera(self, stand: Stand) -> None:
        call = await stand.talking()
        for on in (True, False):
            await stand.within(stand.model.set_video(on, call), "set_video")

    @rule(
        "media.recorded",
        "start_recording and stop_recording switch the recording of a call, pause_recording pauses it and goes on with it, and"
        " RecordingReport says so each time.",
        contract="BaseCtiProvider.start_recording, BaseCtiProvider.pause_recording, reports.RecordingReport",
        proves=CallFeature.RECORDING,
    )
    async def test_a_call_is_recorded(self, stand: Stand) -> None:
        call = await stand.talking()
        model = stand.model
        steps: tuple[tuple[Callable[[], Awaitable[None]], str, bool], ...] = (
            (lambda: model.start_recording(call), "start_recording", True),
            (lambda: model.pause_recording(True, call), "pause_recording(True)", False),
            (lambda: model.pause_recording(False, call), "pause_recording(False)", True),
            (lambda: model.stop_recording(call), "stop_recording", False),
        )
        for act, doing, on in steps:
            since = stand.mark()
            await stand.within(act(), doing)
            changed = await stand.until(RecordingStateChanged, call, since=since, what=f"what {doing} did")
            stand.expect(changed.call.recording is on, f"{doing} was asked, and recording is {changed.call.recording}.")

    @rule(
        "media.listened",
        "monitor gives the operator's own call that listens in on somebody else's.",
        contract="BaseCtiProvider.monitor",
        proves=CallFeature.MONITOR,
    )
    async def test_listening_in(self, stand: Stand) -> None:
        call_id: str = await stand.far.do("call_between_others")
        call = await stand.within(stand.model.monitor(call_id), "monitor")
        stand.expect(stand.model.call(call.id) is not None, f"monitor gave call {call.id}, which is not open.")
        stand.expect(call.id != call_id, "monitor gave the call that is listened to, not the operator's own.")
