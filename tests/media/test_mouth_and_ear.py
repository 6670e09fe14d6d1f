"""What is made of the frames that aiortc gives, gaps, new streams, other forms; and the pace of those that it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from cti_framework.media import FRAME_BYTES, SILENCE, AudioSink, Tone
from cti_framework.media.rtc_audio import Ear, Mouth, MouthTrack

pytestmark = pytest.mark.anyio


class Given(MediaStreamTrack):
    """A track of given frames."""

    kind = "audio"

    def __init__(self, frames: list[AudioFrame]) -> None:
        super().__init__()
        self.frames = frames
        self.over = asyncio.Event()

    async def recv(self) -> AudioFrame:
        if not self.frames:
            self.over.set()
            raise MediaStreamError
        return self.frames.pop(0)


class Written(AudioSink):
    def __init__(self) -> None:
        self.missing: list[int] = []
        self.pcm = b""

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self.missing.append(missing)
        self.pcm += frame


def frame(pts: int, *, rate: int = 48_000, layout: str = "stereo") -> AudioFrame:
    """20 ms, as a decoder gives them."""
    made = AudioFrame(format="s16", layout=layout, samples=rate // 50)
    made.planes[0].update(b"\1\1" * (rate // 50) * (2 if layout == "stereo" else 1))
    made.sample_rate = rate
    made.time_base = Fraction(1, rate)
    made.pts = pts
    return made


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    ear = Ear(Written(), lambda notice: None)
    yield ear
    await ear.close()


async def heard(ear: Ear, *frames: AudioFrame) -> Written:
    track = Given(list(frames))
    ear.follow(track)
    with anyio.fail_after(5):
        await track.over.wait()
    assert isinstance(ear.sink, Written)
    return ear.sink


async def test_lost_frames_are_counted(ear: Ear) -> None:
    written = await heard(ear, frame(0), frame(960), frame(4 * 960), frame(5 * 960))
    assert written.missing == [0, 0, 2, 0]
    assert len(written.pcm) == 4 * FRAME_BYTES


async def test_at_the_rate_of_g711_too(ear: Ear) -> None:
    frames = [frame(160 * number, rate=8_000, layout="mono") for number in (0, 1, 2, 5, 6, 7)]
    assert sum((await heard(ear, *frames)).missing) == 2


async def test_a_stream_that_begins_anew_lost_nothing(ear: Ear) -> None:
    written = await heard(ear, frame(0), frame(3_000_000_000), frame(3_000_000_960), frame(0), frame(960))
    assert written.missing == 5 * [0]


async def test_the_form_may_change_in_a_call(ear: Ear) -> None:
    frames = [frame(0), frame(960), *(frame(160 * number, rate=8_000, layout="mono") for number in range(20))]
    written = await heard(ear, *frames)
    assert 20 <= len(written.pcm) / FRAME_BYTES <= 22


async def test_nothing_is_written_while_it_is_deaf(ear: Ear) -> None:
    ear.deaf = True
    assert (await heard(ear, frame(0), frame(960))).pcm == b""
    ear.deaf = False
    assert (await heard(ear, frame(0))).pcm != SILENCE


async def test_a_frame_is_due_every_20_ms() -> None:
    track = MouthTrack(Mouth(Tone(440), lambda notice: None))
    loop = asyncio.get_running_loop()
    began = loop.time()
    given = [(await track.recv()).pts for _ in range(6)]
    assert given == [0, 960, 1_920, 2_880, 3_840, 4_800]
    assert loop.time() - began >= 0.095


async def test_after_a_standstill_the_time_is_left_out_and_not_caught_up_on() -> None:
    mouth = Mouth(Tone(440), lambda notice: None)
    _, first = await mouth.next()
    # The computer slept for a second.
    mouth._due_seconds -= 1.0
    began = asyncio.get_running_loop().time()
    _, second = await mouth.next()
    _, third = await mouth.next()
    assert 49 <= second - first <= 51
    assert third == second + 1
    assert asyncio.get_running_loop().time() - began >= 0.01
