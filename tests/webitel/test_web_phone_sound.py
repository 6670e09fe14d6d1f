"""Two web phones on the simulated Webitel, whole sessions on real media: who hears whom, and what is left when they are gone."""

from __future__ import annotations

import gc
import os
import threading
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_framework import CtiModel, CtiProviderInitializer
from cti_framework.calls import CallDirection, CallFeature, CallState
from cti_framework.events import WebRtcDestroyed, WebRtcStarted
from cti_framework.media import (
    FRAME_BYTES,
    AiortcPeers,
    AudioSink,
    MediaConnected,
    MediaNotice,
    MediaOptions,
    MediaPeer,
    NoSink,
    Told,
    Tone,
    WavSink,
    level_dbfs,
)
from cti_webitel.simulator import WebitelSimulator, serve_webitel
from tests.media.listening import SILENT_DBFS, share_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

PATIENCE_SECONDS = 20.0
WINDOW_FRAMES = 10
"""A fifth of a second: tones of 50 Hz and more apart are told apart in it."""
CALLS = 100


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Ear(AudioSink):
    """Hears, and writes down what it hears as a recording does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wav = WavSink(path)
        self._heard = bytearray()
        self._more = anyio.Event()
        self.closed = anyio.Event()

    async def open(self) -> None:
        await self._wav.open()

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        await self._wav.write(frame, missing=missing)
        self._heard += frame
        del self._heard[: -WINDOW_FRAMES * FRAME_BYTES]
        self._more.set()

    async def close(self) -> None:
        await self._wav.close()
        self.closed.set()

    async def until(self, fits: Callable[[bytes], bool]) -> None:
        """Wait until the latest fifth of a second is as wanted."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self._heard) < WINDOW_FRAMES * FRAME_BYTES or not fits(bytes(self._heard)):
                self._more = anyio.Event()
                await self._more.wait()

    async def until_tone(self, hertz: int) -> None:
        self.forget()
        await self.until(lambda pcm: level_dbfs(pcm) > -40 and share_of(pcm, hertz) > 0.8)

    async def until_silent(self) -> None:
        """Wait for half a second in which nothing is heard: who holds is sent nothing at all, who is muted sends silence."""
        with anyio.fail_after(PATIENCE_SECONDS):
            heard = True
            while heard:
                heard = False
                with anyio.move_on_after(0.5):
                    while not heard:
                        self._more = anyio.Event()
                        await self._more.wait()
                        heard = level_dbfs(bytes(self._heard[-FRAME_BYTES:])) >= SILENT_DBFS

    def forget(self) -> None:
        """What was heard before is not what is asked for."""
        self._heard.clear()


class Peers(AiortcPeers):
    """Counts how often a call's sound began to flow."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connected = 0
        self._more = anyio.Event()

    def peer(self, call_id: str, told: Told) -> MediaPeer:
        def take(notice: MediaNotice) -> None:
            if isinstance(notice, MediaConnected):
                self.connected += 1
                self._more.set()
            told(notice)

        return super().peer(call_id, take)

    async def until_connected(self, times: int) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while self.connected < times:
                self._more = anyio.Event()
                await self._more.wait()


@attrs.define
class Phone:
    """One operator with a web phone: his session, his voice, what he hears."""

    number: str
    voice: int
    directory: Path
    records: bool = True
    model: CtiModel = attrs.field(init=False)
    peers: Peers = attrs.field(init=False)
    ears: list[Ear] = attrs.field(factory=list)

    @property
    def ear(self) -> Ear:
        return self.ears[-1]

    def sink(self, call_id: str) -> AudioSink:
        if not self.records:
            return NoSink()
        self.ears.append(Ear(self.directory / f"{self.number}-{len(self.ears)}.wav"))
        return self.ear

    @asynccontextmanager
    async def at(self, pbx: WebitelSimulator, **settings: Any) -> AsyncIterator[Phone]:
        options = MediaOptions(host_addresses=("127.0.0.1",), quality_interval_seconds=0.5)
        self.peers = Peers(options, source=lambda call_id: Tone(self.voice), sink=self.sink)
        known = {
            "cti.provider": "webitel",
            "webitel.connection_string": pbx.url,
            "webitel.webrtc_connection_string": pbx.verto_url,
            "webitel.login": f"{self.number}@demo.local",
            "webitel.password": self.number,
            "webitel.use_web_phone": True,
            "webitel.use_notification_sound": False,
            "cti.reconnect_initial_seconds": 0.05,
            **settings,
        }
        async with CtiProviderInitializer(known, environ={}).open(self.number, media=self.peers) as self.model:
            yield self

    async def until(self, fits: Callable[[CtiModel], Any]) -> Any:
        """Wait until the session shows something; give it."""
        with anyio.fail_after(PATIENCE_SECONDS):
            events = self.model.events()
            while not (found := fits(self.model)):
                await anext(events)
            return found


def current(state: CallState | None = None) -> Callable[[CtiModel], Any]:
    def fits(model: CtiModel) -> Any:
        call = model.current_call
        return call if call is not None and (state is None or call.state is state) else None

    return fits


def no_call(model: CtiModel) -> bool:
    return not model.calls


@pytest.fixture
async def pbx() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel(control_port=None, verto_port=0) as served:
        served.configure(far_answer_seconds=0.1)
        yield served


@pytest.fixture
async def two(pbx: WebitelSimulator, tmp_path: Path) -> AsyncIterator[tuple[Phone, Phone]]:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(Phone("103", 440, tmp_path).at(pbx))
        bob = await stack.enter_async_context(Phone("104", 700, tmp_path).at(pbx))
        yield alice, bob


async def talk(alice: Phone, bob: Phone) -> None:
    """Alice calls, Bob answers, each hears the other."""
    await alice.model.make_call(bob.number)
    ringing = await bob.until(lambda model: next((call for call in model.calls if CallFeature.ANSWER in call.features), None))
    assert (ringing.direction, ringing.other.number) == (CallDirection.IN, alice.number)
    await bob.model.answer_call(ringing)
    await alice.until(current(CallState.CONNECTED))
    await bob.until(current(CallState.CONNECTED))
    await alice.ear.until_tone(bob.voice)
    await bob.ear.until_tone(alice.voice)


def recorded(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (48_000, 2, 1)
        return bytes(file.readframes(file.getnframes()))


def seconds_of(pcm: bytes, hertz: int) -> float:
    """How long a recording holds a tone and little else."""
    window = WINDOW_FRAMES * FRAME_BYTES
    pieces = [pcm[start : start + window] for start in range(0, len(pcm) - window + 1, window)]
    return sum(level_dbfs(piece) > -40 and share_of(piece, hertz) > 0.8 for piece in pieces) * WINDOW_FRAMES * 0.02


async def test_each_recording_holds_the_other_sides_tone(two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    told = alice.model.events()
    await talk(alice, bob)
    await alice.model.drop_call()
    await bob.until(no_call)
    await alice.until(no_call)
    media = [event async for event in _told(told) if isinstance(event, (WebRtcStarted, WebRtcDestroyed))]
    assert [type(event) for event in media] == [WebRtcStarted, WebRtcDestroyed]
    for phone, other in ((alice, bob), (bob, alice)):
        await phone.ear.closed.wait()
        pcm = recorded(phone.ear.path)
        assert seconds_of(pcm, other.voice) >= 0.2
        assert seconds_of(pcm, phone.voice) == 0


async def _told(events: Any) -> AsyncIterator[Any]:
    while (event := events.next_nowait()) is not None:
        yield event


async def _sooner_or_later(is_so: Callable[[], bool]) -> None:
    """Look until something is so that nobody tells of."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async for _ in _moments():
            if is_so():
                return


async def _moments() -> AsyncIterator[None]:
    while True:
        yield
        await anyio.sleep(0.05)


async def test_hold_silences_both_and_unhold_brings_them_back(two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    await talk(alice, bob)
    await alice.model.hold_call()
    await alice.until(current(CallState.HELD))
    bob.ear.forget()
    await bob.ear.until(lambda pcm: share_of(pcm, alice.voice) < 0.05)
    await alice.ear.until_silent()
    await alice.model.unhold_call()
    await alice.until(current(CallState.CONNECTED))
    await bob.ear.until_tone(alice.voice)
    await alice.ear.until_tone(bob.voice)


async def test_a_muted_microphone_is_not_heard_and_the_other_side_is(two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    await talk(alice, bob)
    await alice.model.set_mute(True)
    await bob.ear.until_silent()
    await alice.ear.until_tone(bob.voice)
    assert current()(alice.model).muted
    await alice.model.set_mute(False)
    await bob.ear.until_tone(alice.voice)


async def test_after_a_consult_transfer_the_two_others_hear_each_other(pbx: WebitelSimulator, two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    pbx.voice("0501234567", 1000)
    await talk(alice, bob)
    await alice.model.make_consult_call("0501234567")
    await alice.until(lambda model: model.consult_call is not None and model.consult_call.state is CallState.CONNECTED)
    await alice.ear.until_tone(1000)
    await alice.model.complete_transfer()
    await alice.until(no_call)
    await bob.ear.until_tone(1000)
    await _sooner_or_later(lambda: abs((pbx.hears("0501234567") or 0.0) - bob.voice) < 10)
    assert [call.state for call in bob.model.calls] == [CallState.CONNECTED]


async def test_a_call_goes_on_when_the_signalling_is_cut(pbx: WebitelSimulator, two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    await talk(alice, bob)
    call = current()(alice.model)
    pbx.verto.drop_sockets()
    for phone, other in ((alice, bob), (bob, alice)):
        await phone.peers.until_connected(2)
        await phone.ear.until_tone(other.voice)
    assert [known.id for known in alice.model.calls] == [call.id]
    await alice.model.hold_call()
    await alice.model.unhold_call()
    await bob.ear.until_tone(alice.voice)


async def test_a_call_goes_on_when_the_engine_is_cut(pbx: WebitelSimulator, two: tuple[Phone, Phone]) -> None:
    alice, bob = two
    await talk(alice, bob)
    events = alice.model.events()
    pbx.engine.drop_sockets()
    await bob.ear.until_tone(alice.voice)
    await alice.until(
        lambda model: model.current_call is not None and not model.current_call.stale and model.current_call.features
    )
    assert not [event async for event in _told(events) if isinstance(event, (WebRtcStarted, WebRtcDestroyed))]
    await alice.ear.until_tone(bob.voice)


def _left() -> tuple[int, int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(_all_tasks())


def _all_tasks() -> list[Any]:
    import asyncio

    return [task for task in asyncio.all_tasks() if not task.done()]


def _decoders() -> int:
    """How many decoders and encoders of sound there are, and connections that would have some."""
    kinds = {"OpusDecoder", "OpusEncoder", "RTCPeerConnection", "RTCDtlsTransport", "RTCIceTransport", "RTCRtpReceiver"}
    return sum(type(each).__name__ in kinds for each in gc.get_objects())


@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
async def test_many_calls_one_after_another_leave_nothing(pbx: WebitelSimulator, tmp_path: Path) -> None:
    alice = Phone("103", 440, tmp_path, records=False)
    async with alice.at(pbx):

        async def once() -> None:
            due = alice.peers.connected + 1
            await alice.model.make_call("9196")
            await alice.peers.until_connected(due)
            await alice.until(current(CallState.CONNECTED))
            await alice.model.drop_call()
            await alice.until(no_call)

        for _ in range(3):
            await once()
        before = await _settled()
        for _ in range(CALLS):
            await once()
        assert await _settled(before) == before


async def _settled(at_most: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Count what there is, once what ends has ended."""
    found: tuple[int, ...] = ()
    with anyio.move_on_after(PATIENCE_SECONDS):
        while True:
            found = (*_left(), _decoders())
            if at_most is None:
                await anyio.sleep(1)
                again = (*_left(), _decoders())
                if again == found:
                    return found
            elif found == at_most:
                return found
            await anyio.sleep(0.2)
    return found
