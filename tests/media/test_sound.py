"""Sources and sinks by themselves: files of several kinds, tones, meters, pipes."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("av", reason="the extra media is not installed")

import av

from cti_framework.media import (
    FRAME_BYTES,
    SILENCE,
    AudioSink,
    AudioSource,
    AvDevice,
    DeviceNotFoundError,
    DevicePermissionError,
    DtmfTones,
    FileSource,
    LevelMeter,
    MediaDeviceError,
    MediaFileError,
    MediaUnavailableError,
    NoSink,
    Pipe,
    Several,
    Silence,
    Tone,
    WavSink,
    level_dbfs,
)
from tests.media.listening import share_of, threads

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Sources and sinks need no aiortc."""
    backend: str = request.param
    if backend == "trio":
        pytest.importorskip("trio", reason="the extra trio is not installed")
    return backend


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threads()
    yield
    assert {name for name in threads() - before if name.startswith("cti-media")} == set()


async def all_of(source: AudioSource, most: int = 1_000) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < most and (frame := await source.read()) is not None:
        frames.append(frame)
    return frames


def open_files() -> set[str]:
    """The names of the files that this process has open."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(os.path.basename(os.readlink(f"/proc/self/fd/{entry}")))
        except OSError:
            # The descriptor of the listing itself.
            continue
    return found


def written(path: Path, *, codec: str, rate: int, seconds: float = 1.0) -> Path:
    """Make an audio file of a tone of 440 Hz, as any program would."""
    from cti_framework.media.pcm import samples_of

    tone = Tone(440)
    pcm = b"".join(tone._frame(960 * number) for number in range(round(seconds * 50)))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples_of(pcm)))
        frame.planes[0].update(pcm)
        frame.sample_rate = 48_000
        for resampled in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 48_000),
        ("a.wav", "pcm_alaw", 8_000),
        ("a.flac", "flac", 44_100),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.m4a", "aac", 22_050),
    ],
)
async def test_files_of_many_kinds_are_played(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    source = FileSource(written(tmp_path / name, codec=codec, rate=rate))
    await source.open()
    frames = await all_of(source)
    assert await source.read() is None
    await source.close()
    assert {len(frame) for frame in frames} == {FRAME_BYTES}
    # Compressed formats add up to a tenth of a second of their own.
    assert 50 <= len(frames) <= 55
    assert share_of(b"".join(frames[10:40]), 440) > 0.9


async def test_a_file_begins_again_where_that_is_wanted(tmp_path: Path) -> None:
    source = FileSource(written(tmp_path / "music.wav", codec="pcm_s16le", rate=48_000, seconds=0.4), loop=True)
    await source.open()
    frames = await all_of(source, 100)
    await source.close()
    assert len(frames) == 100
    assert frames[:20] == frames[20:40] == frames[80:]


async def test_an_empty_file_is_not_played_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
    source = FileSource(path, loop=True)
    await source.open()
    with anyio.fail_after(5):
        assert await all_of(source) == []
    await source.close()


async def test_a_file_that_gives_nothing_the_second_time_is_at_its_end(tmp_path: Path) -> None:
    source = FileSource(written(tmp_path / "music.wav", codec="pcm_s16le", rate=48_000, seconds=0.4), loop=True)
    await source.open()
    vars(source)["_pcm"] = lambda container: iter(())
    with anyio.fail_after(5):
        assert len(await all_of(source)) == 20
    await source.close()


async def test_a_file_is_opened_again_after_it_was_closed(tmp_path: Path) -> None:
    source = FileSource(written(tmp_path / "a.wav", codec="pcm_s16le", rate=48_000))
    for _ in range(2):
        await source.open()
        assert "a.wav" in open_files()
        assert len(await all_of(source)) == 50
        await source.close()
        assert "a.wav" not in open_files()
        await source.close()
        assert await source.read() is None


async def test_files_that_cannot_be_played(tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("Dear Sir or Madam")
    for path, words in (
        (tmp_path / "nowhere.wav", "No such file"),
        (tmp_path, "directory"),
        (text, "Invalid data"),
        ("http://127.0.0.1:9/a.wav", "No such file"),
    ):
        source = FileSource(path)
        with pytest.raises(MediaFileError, match=words) as raised:
            await source.open()
        assert raised.value.remedy
        await source.close()


async def test_any_device_that_pyav_opens() -> None:
    """`lavfi` is FFmpeg's device for what it makes itself."""
    device = AvDevice("sine=frequency=700:sample_rate=16000", kind="lavfi")
    await device.open()
    frames = await all_of(device, 50)
    await device.close()
    assert share_of(b"".join(frames), 700) > 0.9
    assert await device.read() is None


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (PermissionError(13, "Permission denied"), DevicePermissionError),
        (OSError(16, "Device or resource busy"), MediaDeviceError),
        (FileNotFoundError(2, "No such file or directory"), DeviceNotFoundError),
        (OSError(5, "Input/output error"), DeviceNotFoundError),
        (ValueError("no container format 'dshow'"), DeviceNotFoundError),
    ],
)
async def test_devices_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, told: type[MediaDeviceError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(MediaDeviceError) as found:
        await AvDevice("default", kind="alsa").open()
    assert type(found.value) is told
    assert "'default' (alsa)" in found.value.message
    assert found.value.remedy


async def test_a_kind_of_device_that_is_not_there() -> None:
    with pytest.raises(DeviceNotFoundError):
        await AvDevice("x", kind="no_such_kind").open()


async def test_without_pyav(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MediaUnavailableError, match="PyAV") as raised:
        await FileSource(tmp_path / "a.wav").open()
    assert "cti-framework[media]" in raised.value.remedy


async def test_closed_while_it_is_read(tmp_path: Path) -> None:
    source = FileSource(written(tmp_path / "a.wav", codec="pcm_s16le", rate=48_000, seconds=20))
    await source.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, source)
        await anyio.lowlevel.checkpoint()
        await source.close()
    assert await source.read() is None


# --- what is made here


async def test_a_tone_is_as_loud_as_asked_and_goes_on_without_a_seam() -> None:
    tone = Tone(440, level_dbfs=-20)
    pcm = b"".join([await tone.read() or b"" for _ in range(100)])
    assert level_dbfs(pcm) == pytest.approx(-20, abs=0.1)
    assert share_of(pcm, 440) > 0.999


async def test_two_tones_together() -> None:
    tone = Tone(440, 700, level_dbfs=-20)
    pcm = b"".join([await tone.read() or b"" for _ in range(50)])
    assert level_dbfs(pcm) == pytest.approx(-20, abs=0.1)
    assert share_of(pcm, 440) == pytest.approx(0.5, abs=0.01)
    assert share_of(pcm, 700) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("frequencies", "level"), [((), -18), ((0,), -18), ((30_000,), -18), ((440,), 0), ((440, 700), -3)])
def test_tones_that_cannot_be(frequencies: tuple[int, ...], level: float) -> None:
    with pytest.raises(ValueError, match=r"frequencies_hz|level_dbfs"):
        Tone(*frequencies, level_dbfs=level)


async def test_digits_as_they_sound() -> None:
    frames = await all_of(DtmfTones("5#"))
    assert len(frames) == 20
    five, hash_ = b"".join(frames[:5]), b"".join(frames[10:15])
    assert share_of(five, 770) + share_of(five, 1_336) > 0.95
    assert share_of(hash_, 941) + share_of(hash_, 1_477) > 0.95
    assert frames[5:10] == 5 * [SILENCE]
    with pytest.raises(ValueError, match="cannot be dialled"):
        DtmfTones("5x")


async def test_silence() -> None:
    assert await Silence().read() == SILENCE
    assert level_dbfs(SILENCE) == -96
    assert level_dbfs(b"") == -96


async def test_a_pipe_keeps_the_newest() -> None:
    pipe = Pipe(longest_frames=2)
    assert await pipe.read() == SILENCE
    for number in (1, 2, 3):
        await pipe.write(bytes([number]) * FRAME_BYTES)
    assert [(await pipe.read() or b"")[0] for _ in range(3)] == [2, 3, 0]
    await pipe.write(b"\1" * FRAME_BYTES)
    await pipe.close()
    assert await pipe.read() == SILENCE


# --- where it goes


async def test_a_wav_file_holds_what_came_and_silence_for_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    sink = WavSink(path)
    await sink.open()
    tone = Tone(440)
    for number in range(120):
        await sink.write(await tone.read() or b"", missing=3 if number == 60 else 0)
    await sink.close()
    await sink.close()
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 1, 2)
        pcm = file.readframes(file.getnframes())
    assert len(pcm) == 123 * FRAME_BYTES
    assert pcm[60 * FRAME_BYTES : 63 * FRAME_BYTES] == 3 * SILENCE
    assert share_of(pcm[: 60 * FRAME_BYTES], 440) > 0.99


async def test_a_wav_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MediaFileError, match="cannot be written") as raised:
        await WavSink(tmp_path / "nowhere" / "call.wav").open()
    assert "rights" in raised.value.remedy


async def test_a_disk_that_is_full() -> None:
    sink = WavSink("/dev/full")
    await sink.open()
    with pytest.raises(MediaFileError, match="No space left"):
        for _ in range(200):
            await sink.write(SILENCE)
    with pytest.raises(MediaFileError, match="No space left"):
        await sink.close()
    await sink.close()


async def test_a_meter_tells_the_level_and_hands_on() -> None:
    levels: list[float] = []
    pipe = Pipe(20)
    meter = LevelMeter(levels.append, pipe, interval_seconds=0.1)
    await meter.open()
    tone = Tone(440, level_dbfs=-20)
    for _ in range(5):
        await meter.write(await tone.read() or b"")
    for _ in range(7):
        await meter.write(SILENCE)
    assert levels == [pytest.approx(-20, abs=0.2), -96]
    assert len([frame for frame in await all_of(pipe, 12) if frame != SILENCE]) == 5
    await meter.close()


class _Sink(AudioSink):
    def __init__(self, *, opens: bool = True, closes: bool = True) -> None:
        self.opens, self.closes = opens, closes
        self.done: list[str] = []

    async def open(self) -> None:
        if not self.opens:
            raise MediaFileError("no room.")
        self.done.append("open")

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self.done.append(f"write {missing}")

    async def close(self) -> None:
        self.done.append("close")
        if not self.closes:
            raise MediaFileError("no room.")


async def test_several_at_once() -> None:
    first, second = _Sink(), _Sink()
    several = Several(first, second, NoSink())
    await several.open()
    await several.write(SILENCE, missing=2)
    await several.close()
    assert first.done == second.done == ["open", "write 2", "close"]


async def test_several_of_which_one_fails() -> None:
    first, second = _Sink(), _Sink(opens=False)
    with pytest.raises(MediaFileError):
        await Several(first, second).open()
    assert (first.done, second.done) == (["open", "close"], [])
    first, second = _Sink(closes=False), _Sink()
    with pytest.raises(MediaFileError):
        await Several(first, second).close()
    assert (first.done, second.done) == (["close"], ["close"])
