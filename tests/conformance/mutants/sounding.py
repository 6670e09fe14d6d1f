"""A dummy with a web phone, whose calls have real sound, so that the kit's tests of that are tested; and its faults."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs

from cti_dummy import DummyCtiProvider, DummyPbx
from cti_dummy.pbx import DOMAIN
from cti_framework.calls import Call, CallFeature
from cti_framework.errors import CommandRefusedError
from cti_framework.media import (
    FRAME_SECONDS,
    AudioSink,
    MediaConnected,
    MediaError,
    MediaNotice,
    MediaPeer,
    MediaSettings,
    QualityMeasured,
    Tone,
)
from cti_framework.provider import CtiUser, ProviderContext, Simulation
from cti_framework.reports import Ended, MediaEnded, MediaMeasured, MediaStarted, Muted, Report
from cti_framework.switchboard import SwitchboardFarSide, SwitchEvent, SwitchEventName, drive
from cti_framework.testing.conformance.hearing import FAR_HZ, OPERATOR_HZ, is_tone
from tests.conformance.mutants.making import Mutant

__all__ = ["MUTANTS", "Sounding", "sounding_bench"]

_LOOPBACK = MediaSettings(host_addresses=("127.0.0.1",))
_HEARD_FRAMES = round(0.2 / FRAME_SECONDS)


class _Ear(AudioSink):
    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=_HEARD_FRAMES)
        self._heard_at = 0.0

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self._frames.append(frame)
        self._heard_at = time.monotonic()

    def hears_operator(self) -> bool:
        fresh = time.monotonic() - self._heard_at < 0.3
        return fresh and is_tone(b"".join(self._frames), OPERATOR_HZ)


class SoundPbx(DummyPbx):
    """The PBX in memory, with sound: whoever is at the other end of a web phone's call says his tone, and listens."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = anyio.create_task_group()
        self._ends: dict[str, tuple[MediaPeer, _Ear]] = {}
        self._all: list[MediaPeer] = []
        self.switchboard.subscribe(self._hang_up)

    async def offer(self, call_id: str) -> str:
        """Offer the sound of a call."""
        from cti_framework.media import AiortcPeer

        ear = _Ear()
        peer = AiortcPeer(_LOOPBACK, source=Tone(FAR_HZ), sink=ear)
        self._ends[call_id] = (peer, ear)
        self._all.append(peer)
        return await peer.offer()

    async def connect(self, call_id: str, answer: str) -> None:
        """Take what the web phone answers."""
        await self._ends[call_id][0].set_remote(answer)

    async def close(self) -> None:
        """Let go of all sound."""
        with anyio.CancelScope(shield=True):
            for peer in self._all:
                await peer.close()

    def hears_operator(self) -> bool:
        return any(ear.hears_operator() for _, ear in self._ends.values())

    def _hang_up(self, event: SwitchEvent) -> None:
        if event.name is SwitchEventName.CHANNEL_HANGUP_COMPLETE and event.leg is not None:
            end = self._ends.pop(event.leg.uuid, None)
            if end is not None:
                self.tasks.start_soon(end[0].close)


class _FarSide(SwitchboardFarSide):
    """Its end of a call has a voice and ears. Nobody else can pick the operator's phone up: it is a web phone."""

    def __init__(self, pbx: SoundPbx) -> None:
        super().__init__(pbx.switchboard, f"100@{DOMAIN}", pbx.cut)
        self._pbx = pbx

    async def incoming(self, number: str, name: str = "") -> str:
        _, (own, *_) = self.switchboard.incoming(number, self.presence, name=name)
        return own.uuid

    async def answer_own(self) -> None:
        raise AssertionError("A web phone is picked up by the session.")

    def voice(self, number: str, hz: int) -> None:
        assert hz == FAR_HZ

    def hears(self, number: str) -> float | None:
        return float(OPERATOR_HZ) if self._pbx.hears_operator() else None


class Sounding(DummyCtiProvider):
    """Has a web phone. Nothing is wrong with it."""

    capabilities = attrs.evolve(DummyCtiProvider.capabilities, calls=DummyCtiProvider.capabilities.calls | CallFeature.MUTE)
    uses_media = True

    def __init__(self, context: ProviderContext) -> None:
        self.report = context.report
        context.report = self.tapped
        super().__init__(context)
        self.pbx: Any = self._pbx
        self.peers: dict[str, MediaPeer] = {}
        self.ending: list[MediaPeer] = []
        self.tasks = anyio.create_task_group()

    @asynccontextmanager
    async def lifetime(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self.tasks:
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    for peer in (*self.peers.values(), *self.ending):
                        await peer.close()

    def tapped(self, *reports: Report) -> None:
        for one in reports:
            if isinstance(one, Ended) and one.call_id in self.peers:
                self.end(one.call_id)
            self.report(one)

    def end(self, call_id: str) -> None:
        """The call is over: so is its sound."""
        self.let_go(call_id)
        self.report(MediaEnded(at=self.context.clock.now(), call_id=call_id, media_id=call_id))

    def let_go(self, call_id: str) -> None:
        """Close a call's media."""
        # Where the session is left first, that closes it.
        peer = self.peers.pop(call_id)
        self.ending.append(peer)
        self.tasks.start_soon(peer.close)

    def told(self, call_id: str) -> Callable[[MediaNotice], None]:
        """Give what is told the notices of a call's media."""

        def told(notice: MediaNotice) -> None:
            at = self.context.clock.now()
            if isinstance(notice, MediaConnected):
                self.report(MediaStarted(at=at, call_id=call_id, media_id=call_id))
            elif isinstance(notice, QualityMeasured):
                self.measured(call_id, notice)

        return told

    def measured(self, call_id: str, notice: QualityMeasured) -> None:
        quality = notice.quality
        self.report(
            MediaMeasured(
                at=self.context.clock.now(),
                call_id=call_id,
                media_id=call_id,
                mos=quality.mos,
                loss=quality.loss,
                jitter_seconds=quality.jitter_seconds,
                round_trip_seconds=quality.round_trip_seconds,
            )
        )

    def peer(self, call_id: str) -> MediaPeer:
        """Make a call's media."""
        peer = self.peers[call_id] = self.context.media().peer(call_id, self.told(call_id))
        return peer

    async def begin(self, call_id: str) -> None:
        """Let a call have sound."""
        peer = self.peer(call_id)
        try:
            answer = await peer.answer(await self.pbx.offer(call_id))
        except MediaError:
            await self.peers.pop(call_id).close()
            raise
        await self.pbx.connect(call_id, answer)

    async def answer_call(self, call: Call) -> None:
        await self.begin(call.id)
        await super().answer_call(call)

    async def make_call(self, destination: str) -> Call:
        call = await super().make_call(destination)
        await super().answer_call(call)
        await self.begin(call.id)
        return call

    async def set_mute(self, call: Call, on: bool) -> None:
        self.context.command_sent()
        peer = self.peers[call.id]
        (peer.mute if on else peer.unmute)()
        self.report(Muted(at=self.context.clock.now(), call_id=call.id, on=on))

    async def hold_call(self, call: Call) -> None:
        self.peers[call.id].hold()
        await super().hold_call(call)

    async def unhold_call(self, call: Call) -> None:
        self.peers[call.id].unhold()
        await super().unhold_call(call)


@asynccontextmanager
async def web_phone() -> AsyncIterator[Simulation]:
    """Run the PBX in memory with sound."""
    pbx = SoundPbx()
    failure: Exception | None = None
    async with pbx.tasks:
        pbx.tasks.start_soon(drive, pbx.switchboard)
        try:
            yield Simulation(
                settings={"dummy.pbx": pbx},
                user=CtiUser(id="100", parameters={"dummy.number": "100"}),
                far_side=_FarSide(pbx),
                subscriber="0501234567",
            )
        except Exception as error:  # noqa: BLE001  # passed on below as it is: a task group would wrap it
            failure = error
        pbx.tasks.cancel_scope.cancel()
    await pbx.close()
    if failure is not None:
        raise failure


def sounding_bench(patience_seconds: float = 10.0) -> dict[str, Any]:
    """What a bench is told beside the usual: sound takes its time."""
    return {"web_phone": web_phone, "patience_seconds": patience_seconds, "limit_seconds": 40.0}


class Mute(Sounding):
    """Answers, and lets the call have no sound."""

    async def begin(self, call_id: str) -> None:
        self.peer(call_id)


class SaysNothingOfSound(Sounding):
    """Does not tell that there is sound."""

    def told(self, call_id: str) -> Callable[[MediaNotice], None]:
        told = super().told(call_id)
        return lambda notice: None if isinstance(notice, MediaConnected) else told(notice)


class MadeWithoutSound(Sounding):
    """Makes calls that have none."""

    async def make_call(self, destination: str) -> Call:
        call = await DummyCtiProvider.make_call(self, destination)
        await DummyCtiProvider.answer_call(self, call)
        return call


class MutesItself(Sounding):
    """Says that the microphone is off, and leaves it on."""

    async def set_mute(self, call: Call, on: bool) -> None:
        self.context.command_sent()
        self.report(Muted(at=self.context.clock.now(), call_id=call.id, on=on))


class Deafens(Sounding):
    """Switches the speaker off with the microphone: it holds."""

    async def set_mute(self, call: Call, on: bool) -> None:
        peer = self.peers[call.id]
        (peer.hold if on else peer.unhold)()
        self.report(Muted(at=self.context.clock.now(), call_id=call.id, on=on))


class HoldsByName(Sounding):
    """Holds at the switch, and both are still heard."""

    async def hold_call(self, call: Call) -> None:
        await DummyCtiProvider.hold_call(self, call)


class NeverBack(Sounding):
    """Takes a call back that nobody hears anything of."""

    async def unhold_call(self, call: Call) -> None:
        await DummyCtiProvider.unhold_call(self, call)


class Unmeasured(Sounding):
    """Keeps the quality to itself."""

    def measured(self, call_id: str, notice: QualityMeasured) -> None:
        return


class BetterThanCanBe(Sounding):
    """Tells the quality in per cent."""

    def measured(self, call_id: str, notice: QualityMeasured) -> None:
        quality = attrs.evolve(notice.quality, mos=notice.quality.mos * 20)
        super().measured(call_id, QualityMeasured(quality))


class EndsTwice(Sounding):
    """Tells the end of the sound twice."""

    def end(self, call_id: str) -> None:
        super().end(call_id)
        self.report(MediaEnded(at=self.context.clock.now(), call_id=call_id, media_id=call_id))


class NeverEnds(Sounding):
    """Does not tell that the sound is over."""

    def end(self, call_id: str) -> None:
        self.let_go(call_id)


class AnswersFirst(Sounding):
    """Answers, and then looks for a microphone."""

    async def answer_call(self, call: Call) -> None:
        await DummyCtiProvider.answer_call(self, call)
        await self.begin(call.id)


class SwallowsTheMicrophone(Sounding):
    """Says nothing of a microphone that is not there."""

    async def answer_call(self, call: Call) -> None:
        try:
            await super().answer_call(call)
        except MediaError:
            return


class SpeaksOfSomethingElse(Sounding):
    """Says of a microphone that is not there that the PBX refuses."""

    async def answer_call(self, call: Call) -> None:
        try:
            await super().answer_call(call)
        except MediaError:
            raise CommandRefusedError("No.", command="answer_call") from None


class KeepsTheSound(Sounding):
    """Does not close the media of a call that is over."""

    kept: list[MediaPeer] = []  # noqa: RUF012  # it is the fault

    def end(self, call_id: str) -> None:
        self.kept.append(self.peers.pop(call_id))
        self.report(MediaEnded(at=self.context.clock.now(), call_id=call_id, media_id=call_id))


class LeavesInTheCall(Sounding):
    """Forgets the media of calls that are up when the session is left."""

    @asynccontextmanager
    async def lifetime(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self.tasks:
            yield


MUTANTS = tuple(
    Mutant(provider, tests, changes=sounding_bench(patience_seconds=3.0), backend="asyncio")
    for provider, tests in (
        (Mute, ("test_both_sides_are_heard",)),
        (SaysNothingOfSound, ("test_both_sides_are_heard",)),
        (MadeWithoutSound, ("test_a_call_that_is_made_is_heard",)),
        (MutesItself, ("test_a_muted_operator_is_not_heard",)),
        (Deafens, ("test_a_muted_operator_is_not_heard",)),
        (HoldsByName, ("test_a_held_call_is_silent",)),
        (NeverBack, ("test_a_held_call_is_silent",)),
        (Unmeasured, ("test_the_quality_is_told",)),
        (BetterThanCanBe, ("test_the_quality_is_told",)),
        (EndsTwice, ("test_the_sound_ends_with_the_call",)),
        (NeverEnds, ("test_the_sound_ends_with_the_call",)),
        (AnswersFirst, ("test_without_a_microphone_the_call_rings_on",)),
        (SwallowsTheMicrophone, ("test_without_a_microphone_the_call_rings_on",)),
        (SpeaksOfSomethingElse, ("test_without_a_microphone_the_call_rings_on",)),
        (KeepsTheSound, ("test_nothing_is_left_of_the_sound",)),
        (LeavesInTheCall, ("test_nothing_is_left_of_a_session_with_sound",)),
    )
)
