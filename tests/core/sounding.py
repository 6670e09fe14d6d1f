"""A provider of the tests' own with a web phone: its PBX is in memory, its sound is real."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import attrs

from cti_framework.calls import Call, CallFeature, EndCause, Party, Side
from cti_framework.errors import CredentialsRefusedError, NotConnectedError
from cti_framework.media import (
    SAMPLE_RATE_HZ,
    AudioSink,
    MediaError,
    MediaNotice,
    MediaPeer,
    MediaSettings,
    QualityMeasured,
    Tone,
    level_dbfs,
)
from cti_framework.media.pcm import samples_of
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, Capabilities, ProviderContext
from cti_framework.reports import (
    Answered,
    Connected,
    Ended,
    Held,
    MediaEnded,
    MediaMeasured,
    MediaStarted,
    Muted,
    Offered,
    Originated,
    Retrieved,
    Snapshot,
    Started,
    Tones,
)
from cti_framework.settings import setting

FAR_HZ = 1_000
"""What the other side says."""

F = CallFeature
DESK = F.DIAL | F.DROP
ALL = DESK | F.ANSWER | F.HOLD | F.UNHOLD | F.DTMF | F.MUTE


def share_of(pcm: bytes, frequency_hz: int) -> float:
    """The share of the power that is at one frequency, by Goertzel's algorithm: 1 is that tone and nothing else."""
    turn = 2 * math.cos(2 * math.pi * frequency_hz / SAMPLE_RATE_HZ)
    before = last = 0.0
    samples = samples_of(pcm)
    for sample in samples:
        before, last = last, sample + turn * last - before
    total = sum(sample * sample for sample in samples)
    return 2 * (before * before + last * last - turn * before * last) / (len(samples) * total) if total else 0.0


class FarEar(AudioSink):
    """What the other side hears: it waits for tones, one after the other, each for a tenth of a second at least.

    Args:
        awaited: Their frequencies.
    """

    def __init__(self, awaited: tuple[int, ...]) -> None:
        self.awaited = list(awaited)
        self.heard_all = anyio.Event()
        self.listens = False
        self._waiting = bytearray()

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        if not self.listens:
            return
        self._waiting += frame
        if len(self._waiting) < 5 * len(frame):
            return
        heard = bytes(self._waiting)
        self._waiting.clear()
        if self.awaited and level_dbfs(heard) > -40 and share_of(heard, self.awaited[0]) > 0.8:
            self.awaited.pop(0)
            if not self.awaited:
                self.heard_all.set()


@attrs.frozen(kw_only=True)
class SoundingSettings:
    does: str = setting(default="")
    """What the PBX does: ``rings``, ``gone``, ``late``, ``stubborn``, ``lost``, and the hertz that are waited for."""


@attrs.frozen(kw_only=True)
class SoundingUserSettings:
    use_web_phone: bool = setting(default=False)


class SoundingProvider(BaseCtiProvider):
    """Calls in or is called. The other side says a tone, and hangs up once it heard all that it waits for."""

    capabilities = Capabilities(calls=ALL)
    settings_type = SoundingSettings
    user_settings_type = SoundingUserSettings
    uses_media = True

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.does = context.settings.does.split()
        self.count = 0
        self.ours: dict[str, MediaPeer] = {}
        self.theirs: dict[str, MediaPeer] = {}
        self.tasks: anyio.abc.TaskGroup | None = None
        self.cut = anyio.Event()

    def say(self, report: type, call_id: str, **more: Any) -> None:
        self.context.report(report(at=self.context.clock.now(), call_id=call_id, **more))

    async def run(self) -> None:
        has_phone = self.context.user_settings.use_web_phone
        if has_phone:
            self.context.media().check()
        self.context.report(Started(at=self.context.clock.now(), features=ALL if has_phone else DESK, own_numbers=("103",)))
        async with anyio.create_task_group() as tasks:
            self.tasks = tasks
            try:
                await self.cut.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    for peer in (*self.ours.values(), *self.theirs.values()):
                        await peer.close()
        raise CredentialsRefusedError("The PBX refuses user 103.")

    async def snapshot(self) -> Snapshot:
        if "rings" in self.does and self.tasks is not None:
            self.tasks.start_soon(self.ring)
        return Snapshot(at=self.context.clock.now())

    async def ring(self) -> None:
        await anyio.lowlevel.checkpoint()
        if "gone" in self.does:
            self.say(Offered, "gone", other=Party("0440000000"))
            self.say(Ended, "gone", cause=EndCause.CANCELLED)
        self.say(Offered, "in", other=Party("0501234567", "Ann"))

    async def make_call(self, destination: str) -> Call:
        self.count += 1
        call_id = f"out-{self.count}"
        self.say(Originated, call_id, other=Party(destination))
        call = self.context.call(call_id)
        assert call is not None
        if destination == "666":
            self.cut.set()
        if destination == "busy":
            self.say(Ended, call_id, cause=EndCause.BUSY, pbx_cause="USER_BUSY")
        elif destination not in ("nobody", "666"):
            try:
                await self.connect(call_id)
            except MediaError:
                # A call without sound is no call.
                self.say(Ended, call_id, cause=EndCause.MEDIA_FAILURE)
                raise
        return call

    async def answer_call(self, call: Call) -> None:
        await self.connect(call.id)

    async def drop_call(self, call: Call) -> None:
        if "stubborn" not in self.does:
            await self.end(call.id)
        elif "lost" in self.does:
            raise NotConnectedError("The PBX is gone.")

    async def hold_call(self, call: Call) -> None:
        self.ours[call.id].hold()
        self.say(Held, call.id, by=Side.OWN)

    async def unhold_call(self, call: Call) -> None:
        self.ours[call.id].unhold()
        self.say(Retrieved, call.id, by=Side.OWN)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        self.say(Tones, call.id, digits=digits, by=Side.OWN)
        if digits.endswith("#"):
            await self.end(call.id)

    async def set_mute(self, call: Call, on: bool) -> None:
        peer = self.ours[call.id]
        (peer.mute if on else peer.unmute)()
        self.say(Muted, call.id, on=on)

    async def connect(self, call_id: str) -> None:
        """Have both sides hear each other."""
        from cti_framework.media import AiortcPeer

        def told(notice: MediaNotice) -> None:
            if isinstance(notice, QualityMeasured):
                quality = notice.quality
                self.say(
                    MediaMeasured,
                    call_id,
                    media_id=f"media-{call_id}",
                    mos=quality.mos,
                    loss=quality.loss,
                    jitter_seconds=quality.jitter_seconds,
                    round_trip_seconds=quality.round_trip_seconds,
                )

        ours = self.ours[call_id] = self.context.media().peer(f"media-{call_id}", told)
        ear = FarEar(tuple(int(word) for word in self.does if word.isdecimal()))
        theirs = self.theirs[call_id] = AiortcPeer(MediaSettings(host_addresses=("127.0.0.1",)), source=Tone(FAR_HZ), sink=ear)
        answer = await ours.answer(await theirs.offer())
        await theirs.set_remote(answer)
        await ours.wait_connected()
        self.say(Answered, call_id)
        self.say(MediaStarted, call_id, media_id=f"media-{call_id}")
        if "late" in self.does:
            # Who begins to speak before the call is connected is not heard.
            await anyio.sleep(0.4)
        ear.listens = True
        self.say(Connected, call_id)
        if ear.awaited and self.tasks is not None:
            self.tasks.start_soon(self.hang_up_when_heard, call_id, ear)

    async def hang_up_when_heard(self, call_id: str, ear: FarEar) -> None:
        await ear.heard_all.wait()
        await self.end(call_id, pbx_cause="HEARD_ALL")

    async def end(self, call_id: str, pbx_cause: str | None = None) -> None:
        for peers in (self.ours, self.theirs):
            if call_id in peers:
                await peers.pop(call_id).close()
        if self.context.call(call_id) is not None:
            self.say(MediaEnded, call_id, media_id=f"media-{call_id}")
            self.say(Ended, call_id, cause=EndCause.NORMAL, pbx_cause=pbx_cause)


class DeskProvider(BaseCtiProvider):
    """The phone is on the desk."""

    capabilities = Capabilities(calls=DESK)

    async def run(self) -> None:
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now())

    async def make_call(self, destination: str) -> Call:
        raise AssertionError("nobody calls from here")

    async def drop_call(self, call: Call) -> None:
        raise AssertionError("there is no call here")


def sounding_plugins() -> Plugins:
    """Both, as if they were installed."""
    here = "tests.core.sounding"
    return Plugins(
        entry_points=lambda: [
            EntryPoint("sounding", f"{here}:SoundingProvider", "cti_framework.providers"),
            EntryPoint("desk", f"{here}:DeskProvider", "cti_framework.providers"),
        ]
    )
