"""Who makes the media of a session's calls, and how it rings. On both loops: aiortc is asyncio's, the ringing is not."""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.lowlevel
import pytest
import structlog

from cti_framework.media import (
    FRAME_BYTES,
    SAMPLE_RATE_HZ,
    SILENCE,
    AiortcPeers,
    AudioSink,
    AudioSource,
    DeviceNotFoundError,
    MediaNotice,
    MediaOptions,
    MediaPeer,
    MediaPeers,
    MediaUnavailableError,
    NoSink,
    RelayPeer,
    RelayPeers,
    Silence,
    Told,
    Tone,
    level_dbfs,
)
from tests.media.test_relay import Browser

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    if backend == "trio":
        pytest.importorskip("trio", reason="the extra trio is not installed")
    return backend


def ignore(notice: MediaNotice) -> None:
    return


class Loudspeaker(AudioSink):
    """Stands for a device: keeps what it plays, and lets tests wait for it."""

    made: ClassVar[list[Loudspeaker]] = []
    refusal: Exception | None = None

    def __init__(self, device: str | None = None) -> None:
        self.device = device
        self.pcm = bytearray()
        self.is_closed = False
        self.made.append(self)
        self._more = anyio.Event()

    async def open(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self.pcm += frame
        self._more.set()

    async def close(self) -> None:
        self.is_closed = True

    async def frames(self, count: int) -> list[bytes]:
        with anyio.fail_after(10):
            while len(self.pcm) < count * FRAME_BYTES:
                self._more = anyio.Event()
                await self._more.wait()
        return [bytes(self.pcm[start : start + FRAME_BYTES]) for start in range(0, count * FRAME_BYTES, FRAME_BYTES)]


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[Loudspeaker]:
    """The devices that were made, in a time that passes at once."""
    monkeypatch.setattr(Loudspeaker, "made", [])
    monkeypatch.setattr("cti_framework.media.peers.Speaker", Loudspeaker)

    async def at_once(due: float) -> None:
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("anyio.sleep_until", at_once)
    return Loudspeaker.made


# ---------------------------------------------------------------------- aiortc


async def test_a_peer_is_made_of_the_options_or_of_what_the_host_gives(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    from cti_framework.media import rtc_peer

    made: list[tuple[object, ...]] = []

    def make(settings: object, told: object, *, source: object, sink: object) -> None:
        made.append((settings, told, source, sink))

    monkeypatch.setattr(rtc_peer, "AiortcPeer", make)
    options = MediaOptions(microphone="Headset", speaker="Earphones", codecs=("PCMA",))
    opened: list[tuple[str, AudioSource | AudioSink]] = []

    def source(call_id: str) -> AudioSource:
        opened.append((call_id, Silence()))
        return Silence()

    def sink(call_id: str) -> AudioSink:
        opened.append((call_id, NoSink()))
        return NoSink()

    peers = AiortcPeers(options)
    if anyio_backend_name == "trio":
        for ask in (peers.check, lambda: peers.peer("a", ignore)):
            with pytest.raises(MediaUnavailableError, match="needs asyncio"):
                ask()
        return
    peers.check()
    peers.peer("a", ignore)
    AiortcPeers(options, source=source, sink=sink).peer("b", ignore)
    (settings, told, microphone, speaker), (other_settings, _, silence, nowhere) = made
    assert settings == other_settings == options.media_settings()
    assert told is ignore
    assert [type(end).__name__ for end in (microphone, speaker, silence, nowhere)] == [
        "Microphone",
        "Speaker",
        "Silence",
        "NoSink",
    ]
    assert [call_id for call_id, _ in opened] == ["b", "b"]


async def test_two_of_them_call_each_other(anyio_backend_name: str) -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    if anyio_backend_name == "trio":
        pytest.skip("aiortc needs asyncio")
    from tests.media.listening import Heard, connect

    heard = Heard()
    options = MediaOptions(host_addresses=("127.0.0.1",))
    caller = AiortcPeers(options, source=lambda _: Tone(440), sink=lambda _: NoSink()).peer("a", ignore)
    callee = AiortcPeers(options, source=lambda _: Silence(), sink=lambda _: heard).peer("b", ignore)
    async with caller, callee:
        await connect(caller, callee)
        await heard.tone(440)


async def test_what_is_missing_is_told_before_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)
    peers = AiortcPeers()
    with pytest.raises(MediaUnavailableError):
        peers.check()
    with pytest.raises(MediaUnavailableError):
        peers.peer("a", ignore)


# ---------------------------------------------------------------------- ringing


async def test_it_rings_a_second_of_five_until_it_is_left(devices: list[Loudspeaker]) -> None:
    async with AiortcPeers(MediaOptions(ring_device="Loudspeaker", speaker="Headset")).ringing("a"):
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            while not devices:
                await anyio.lowlevel.checkpoint()
        frames = await devices[0].frames(2 * 250)
        was_closed = devices[0].is_closed
    assert devices[0].device == "Loudspeaker"
    assert (was_closed, devices[0].is_closed) == (False, True)
    assert [level_dbfs(frame) > -30 for frame in frames] == 2 * (50 * [True] + 200 * [False])
    assert len(devices) == 1


async def test_it_rings_with_a_file_over_and_over(devices: list[Loudspeaker], tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra media is not installed")
    ring = tmp_path / "ring.wav"
    with wave.open(str(ring), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(b"\1\2" * (FRAME_BYTES // 2) + SILENCE)
    async with AiortcPeers(MediaOptions(ring_file=ring)).ringing("a"):
        with anyio.fail_after(10):
            while not devices:
                await anyio.lowlevel.checkpoint()
        assert await devices[0].frames(4) == 2 * [b"\1\2" * (FRAME_BYTES // 2), SILENCE]


async def test_two_calls_ring_as_one(devices: list[Loudspeaker]) -> None:
    peers = AiortcPeers()
    first = peers.ringing("a")
    async with peers.ringing("b"):
        with anyio.fail_after(10):
            while not devices:
                await anyio.lowlevel.checkpoint()
        await devices[0].frames(1)
        async with first:
            await devices[0].frames(len(devices[0].pcm) // FRAME_BYTES + 3)
            assert len(devices) == 1
    assert devices[0].is_closed
    assert len(devices) == 1


async def test_the_second_call_rings_on_when_the_first_stops(devices: list[Loudspeaker]) -> None:
    peers = AiortcPeers()
    stop_first = anyio.Event()

    async def first() -> None:
        async with peers.ringing("a"):
            await stop_first.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        with anyio.fail_after(10):
            while not devices:
                await anyio.lowlevel.checkpoint()
            async with peers.ringing("b"):
                stop_first.set()
                while len(devices) < 2:
                    await anyio.lowlevel.checkpoint()
                await devices[1].frames(3)
                assert devices[0].is_closed
    assert devices[1].is_closed


@pytest.mark.parametrize("refusal", [DeviceNotFoundError("There is none."), RuntimeError("a fault")])
async def test_a_device_that_does_not_ring_is_told_once_and_harms_no_call(
    devices: list[Loudspeaker], monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    monkeypatch.setattr(Loudspeaker, "refusal", refusal)
    peers = AiortcPeers(MediaOptions(ring_device="Gone"))
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            async with peers.ringing("a"):
                with anyio.fail_after(10):
                    while not devices or not devices[-1].is_closed:
                        await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            devices.clear()
    loud = [entry for entry in logged if entry["log_level"] == "warning"]
    assert [(entry["event"], entry["device"]) for entry in loud] == [("cti.media.does_not_ring", "Gone")]


async def test_what_is_raised_while_it_rings_comes_out_as_it_is(devices: list[Loudspeaker]) -> None:
    with pytest.raises(LookupError, match="the call's own"):
        async with AiortcPeers().ringing("a"):
            raise LookupError("the call's own")


async def test_whoever_rings_can_be_cancelled(devices: list[Loudspeaker]) -> None:
    with anyio.CancelScope() as scope:
        async with AiortcPeers().ringing("a"):
            with anyio.fail_after(10):
                while not devices:
                    await anyio.lowlevel.checkpoint()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert devices[0].is_closed


async def test_a_host_with_a_sink_of_its_own_rings_only_where_it_says_on_what(devices: list[Loudspeaker]) -> None:
    async with AiortcPeers(sink=lambda _: NoSink()).ringing("a"):
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
    assert not devices
    async with AiortcPeers(MediaOptions(ring_device="Bell"), sink=lambda _: NoSink()).ringing("a"):
        with anyio.fail_after(10):
            while not devices:
                await anyio.lowlevel.checkpoint()
    assert devices[0].device == "Bell"


# ---------------------------------------------------------------------- elsewhere


async def test_a_remote_party_has_the_media_of_each_call() -> None:
    browsers: dict[str, Browser] = {}

    def party(call_id: str) -> Browser:
        browsers[call_id] = Browser()
        return browsers[call_id]

    peers = RelayPeers(party)
    peers.check()
    peer = peers.peer("a", ignore)
    assert isinstance(peer, RelayPeer)
    assert peers.open_peer("a") is peer
    assert peers.open_peer("b") is None
    async with peer, peers.ringing("a"):
        assert await peer.answer("an offer") == "v=0 answer to an offer"
    assert browsers["a"].asked == ["answer to an offer", "close"]
    assert peers.open_peer("a") is None


async def test_whoever_makes_peers_of_his_own_needs_nothing_else() -> None:
    class Own(MediaPeers):
        def peer(self, call_id: str, told: Told) -> MediaPeer:
            return RelayPeer(Browser(), told)

    own = Own()
    own.check()
    async with own.ringing("a"), own.peer("a", ignore) as peer:
        assert await peer.offer() == "v=0 offer"
