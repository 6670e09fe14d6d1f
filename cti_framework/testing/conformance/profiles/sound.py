"""The sound of calls that goes through the session: what a provider with a web phone owes to whoever talks by it.

The operator says one tone, the other end another one, and what comes at either end is measured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from cti_framework.calls import Call, CallDirection, CallFeature, CallState
from cti_framework.errors import CommandError, CommandStage
from cti_framework.events import CallConnected, CallHeld, CallUnheld, WebRtcDestroyed, WebRtcQuality, WebRtcStarted
from cti_framework.media import MediaError
from cti_framework.testing.conformance.hearing import FAR_HZ, OPERATOR_HZ, Hearing
from cti_framework.testing.conformance.living import steady, what_is_left
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.running import Broken
from cti_framework.testing.conformance.stand import CALLER, Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["SoundProfile"]

_ANSWER: Final = CallFeature.ANSWER
_LOOK_AGAIN_SECONDS: Final = 0.05
_TOLERANCE_HZ: Final = 15.0
_BEST_MOS: Final = 5.0


class SoundProfile(Profile):
    """Calls whose sound goes through the session. They are measured on asyncio, with the extra ``media``."""

    @rule(
        "sound.heard",
        "A call that is answered through the session has sound: WebRtcStarted is told of it, and each side hears the other.",
        contract="reports.MediaStarted, media.MediaPeers.peer",
        proves=_ANSWER,
        web_phone=True,
    )
    async def test_both_sides_are_heard(self, stand: Stand) -> None:
        await _talking(stand)

    @rule(
        "sound.made",
        "A call that is made through the session has sound, as one that is answered has.",
        contract="reports.MediaStarted, media.MediaPeers.peer",
        proves=CallFeature.DIAL,
        needs=_ANSWER,
        web_phone=True,
    )
    async def test_a_call_that_is_made_is_heard(self, stand: Stand) -> None:
        await stand.far.do("voice", stand.simulation.subscriber, FAR_HZ)
        call = await stand.calling()
        await stand.until(WebRtcStarted, call)
        await _hear_each_other(stand, call)

    @rule(
        "sound.muted",
        "set_mute keeps the operator from being heard, and lets him be heard again; he hears the other side all the time.",
        contract="BaseCtiProvider.set_mute, media.MediaPeer.mute",
        proves=CallFeature.MUTE,
        needs=_ANSWER,
        web_phone=True,
    )
    async def test_a_muted_operator_is_not_heard(self, stand: Stand) -> None:
        call = await _talking(stand)
        await stand.within(stand.model.set_mute(True, call), "set_mute")
        await _until(stand, lambda: _is_not_heard(stand, call), "He is muted, and the other side hears him")
        _hearing(stand).forget()
        await _until(stand, lambda: _hears(stand), "He is muted, and does not hear the other side any more")
        await stand.within(stand.model.set_mute(False, call), "set_mute")
        await _hear_each_other(stand, call)

    @rule(
        "sound.held",
        "While a call is on hold neither side hears the other; when it is taken back both do again.",
        contract="BaseCtiProvider.hold_call, BaseCtiProvider.unhold_call, media.MediaPeer.hold",
        proves=(CallFeature.HOLD, CallFeature.UNHOLD),
        needs=_ANSWER,
        web_phone=True,
    )
    async def test_a_held_call_is_silent(self, stand: Stand) -> None:
        call = await _talking(stand)
        for _ in range(2):
            since = stand.mark()
            await stand.within(stand.model.hold_call(call), "hold_call")
            await stand.until(CallHeld, call, since=since)
            await _until(stand, lambda: _is_not_heard(stand, call), "The call is on hold, and the other side hears the operator")
            await _until(stand, lambda: _hears_not(stand), "The call is on hold, and the operator hears the other side")
            since = stand.mark()
            await stand.within(stand.model.unhold_call(call), "unhold_call")
            await stand.until(CallUnheld, call, since=since)
            await _hear_each_other(stand, call)

    @rule(
        "sound.measured",
        "While there is sound its quality is told, again and again, in figures that can be.",
        contract="reports.MediaMeasured, media.MediaPeers.peer",
        proves=_ANSWER,
        web_phone=True,
    )
    async def test_the_quality_is_told(self, stand: Stand) -> None:
        call = await _talking(stand)
        media_id = (await stand.until(WebRtcStarted, call)).media_id
        for _ in range(2):
            told = await stand.until(WebRtcQuality, call, since=stand.mark())
            stand.expect(told.media_id == media_id, f"The quality of {told.media_id!r} is told, the sound is {media_id!r}.")
            stand.expect(
                1.0 <= told.mos <= _BEST_MOS and 0.0 <= told.loss <= 1.0,
                f"The quality is told to be {told.mos!r}, the loss {told.loss!r}.",
            )

    @rule(
        "sound.ended",
        "When a call is over so is its sound: WebRtcDestroyed is told of what WebRtcStarted began, once, and nothing after it.",
        contract="reports.MediaEnded",
        proves=_ANSWER,
        web_phone=True,
    )
    async def test_the_sound_ends_with_the_call(self, stand: Stand) -> None:
        call = await _talking(stand)
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        await stand.until(WebRtcDestroyed, call)
        await stand.settle()
        kinds = (WebRtcStarted, WebRtcQuality, WebRtcDestroyed)
        told: list[Any] = [event for event in stand.seen.events if isinstance(event, kinds)]
        names = [type(event).__name__ for event in told]
        stand.expect(names.count("WebRtcDestroyed") == 1, f"WebRtcDestroyed was told {names.count('WebRtcDestroyed')} times.")
        stand.expect(names[-1] == "WebRtcDestroyed", f"After WebRtcDestroyed came {names[-1]}.")
        stand.expect(len({event.media_id for event in told}) == 1, "What ended has another identifier than what began.")

    @rule(
        "sound.refused",
        "Without a microphone answer_call raises a CommandError of the stage not_sent, caused by the media's error; the call"
        " rings on, and can be answered again.",
        contract="BaseCtiProvider.answer_call, media.errors",
        proves=_ANSWER,
        web_phone=True,
    )
    async def test_without_a_microphone_the_call_rings_on(self, stand: Stand) -> None:
        await stand.far.do("voice", CALLER, FAR_HZ)
        call = await stand.incoming()
        hearing = _hearing(stand)
        hearing.refusals = 1
        told: CommandError | None = None
        with stand.expect_error(CommandError, doing="answer_call without a microphone"):
            try:
                await stand.within(stand.model.answer_call(call), "answer_call")
            except CommandError as error:
                told = error
                raise
        assert told is not None
        stand.expect(told.stage is CommandStage.NOT_SENT, f"Nothing could be answered, and the stage is {told.stage.value}.")
        stand.expect(_is_of_media(told), f"The {type(told).__name__} does not say what was wrong with the media: {told}.")
        stand.expect(hearing.refusals == 0, "The microphone was not even asked for.")
        await stand.settle()
        rings = stand.now(call)
        stand.expect(rings.state is CallState.ALERTING, f"The microphone is not there, and the call is {rings.state.name}.")
        stand.expect(_ANSWER in rings.features, "The microphone was not there, and the call cannot be answered any more.")
        await stand.within(stand.model.answer_call(call), "answer_call")
        await stand.until(CallConnected, call)
        await _hear_each_other(stand, call)

    @rule(
        "sound.left",
        "Nothing is left of the sound of a call that is over: no task, no socket, no thread, and no open microphone.",
        contract="BaseCtiProvider.lifetime, media.MediaPeer.close",
        proves=_ANSWER,
        web_phone=True,
    )
    async def test_nothing_is_left_of_the_sound(self, stand: Stand) -> None:
        await _call_and_hang_up(stand)
        # What is made once, and for all, is there now.
        before = await steady(stand.bench.patience_seconds)
        await _call_and_hang_up(stand)
        left = await what_is_left(before, stand.bench.patience_seconds)
        stand.expect(not left, f"The call is over, and there is: {'; '.join(left)}.")
        await _until(stand, lambda: _is_closed(stand), "The call is over, and microphone or speaker are open")

    @rule(
        "sound.closed",
        "Leaving a session in the middle of a call that has sound leaves nothing of it behind, and no open microphone.",
        contract="BaseCtiProvider.lifetime",
        proves=_ANSWER,
        web_phone=True,
        opens=False,
    )
    async def test_nothing_is_left_of_a_session_with_sound(self, stand: Stand) -> None:
        async with stand.session():
            await _call_and_hang_up(stand)
        before = await steady(stand.bench.patience_seconds)
        async with stand.session():
            call = await _talking(stand)
        await _until(stand, lambda: _is_closed(stand), "The session is closed, and microphone or speaker are open")
        # The call goes on at the PBX, and with it the PBX's own part of the sound.
        await stand.far.do("hang_up", stand.number_of(call))
        left = await what_is_left(before, stand.bench.patience_seconds)
        stand.expect(not left, f"The session is closed, and there is: {'; '.join(left)}.")


async def _talking(stand: Stand) -> Call:
    """Have somebody call, answer, and wait until each side hears the other."""
    await stand.far.do("voice", CALLER, FAR_HZ)
    call = await stand.incoming()
    await stand.within(stand.model.answer_call(call), "answer_call")
    call = (await stand.until(CallConnected, call)).call
    await stand.until(WebRtcStarted, call)
    await _hear_each_other(stand, call)
    return call


async def _call_and_hang_up(stand: Stand) -> None:
    call = await _talking(stand)
    await stand.far.do("hang_up", stand.number_of(call))
    await stand.finished(call)


async def _hear_each_other(stand: Stand, call: Call) -> None:
    _hearing(stand).forget()
    await _until(stand, lambda: _hears(stand), "The operator does not hear the other side")
    await _until(stand, lambda: _is_heard(stand, call), "The other side does not hear the operator")


async def _until(stand: Stand, is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    deadline = anyio.current_time() + stand.bench.patience_seconds
    while anyio.current_time() < deadline:
        if await is_so():
            return
        # Nothing tells that a tone has begun or ended: that can only be looked at.
        await anyio.sleep(_LOOK_AGAIN_SECONDS)
    raise Broken(f"{otherwise}, {stand.bench.patience_seconds:g} s later.")


def _hearing(stand: Stand) -> Hearing:
    if stand.hearing is None:
        raise RuntimeError("This stand has no sound: its rule is to say web_phone=True.")
    return stand.hearing


async def _hears(stand: Stand) -> bool:
    return _hearing(stand).hears(FAR_HZ)


async def _hears_not(stand: Stand) -> bool:
    return not _hearing(stand).hears(FAR_HZ)


async def _is_closed(stand: Stand) -> bool:
    return not _hearing(stand).in_use


async def _is_heard(stand: Stand, call: Call) -> bool:
    number = stand.number_of(call) if call.direction is CallDirection.IN else stand.simulation.subscriber
    heard = await stand.far.hears(number)
    return heard is not None and abs(heard - OPERATOR_HZ) <= _TOLERANCE_HZ


def _is_of_media(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, MediaError) or _is_of_media(error.__cause__))


async def _is_not_heard(stand: Stand, call: Call) -> bool:
    return not await _is_heard(stand, call)
