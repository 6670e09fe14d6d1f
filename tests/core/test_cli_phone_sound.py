"""What speaks and listens in ``cti phone``: how it is named, measured and saved. Without a call and without a device."""

from __future__ import annotations

import stat
import sys
import wave
from pathlib import Path

import anyio
import pytest

from cti_framework.cli.phone import ends as ends_module
from cti_framework.cli.phone.ends import SourceMaker, read_sink, read_source
from cti_framework.cli.phone.files import CallFiles
from cti_framework.cli.phone.sound import PhoneSound
from cti_framework.cli.phone.state import Levels
from cti_framework.errors import CtiError
from cti_framework.media import (
    SILENCE,
    AudioSink,
    AudioSource,
    DeviceNotFoundError,
    FileSource,
    MediaFileError,
    Microphone,
    NoSink,
    Pipe,
    Silence,
    Speaker,
    Tone,
    level_dbfs,
)

pytestmark = pytest.mark.anyio


class Counted(AudioSource):
    """So many loud frames."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def read(self) -> bytes | None:
        self.frames -= 1
        return b"\x00\x40" * 960 if self.frames >= 0 else None

    async def close(self) -> None:
        self.closed += 1


class Missing(AudioSource, AudioSink):
    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None:
        raise DeviceNotFoundError(f"There is no {self.name}.")

    async def read(self) -> bytes | None:
        raise AssertionError

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        raise AssertionError


# How it is named -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "made"), [("silence", Silence), ("tone:440", Tone), ("device", Microphone), ("device:USB", Microphone)]
)
def test_a_source_is_named(text: str, made: type[AudioSource]) -> None:
    maker = read_source(text)
    assert isinstance(maker.make(), made)
    assert maker.make() is not maker.make()
    assert not maker.plays_once


async def test_a_tone_is_the_one_that_was_named() -> None:
    frames = [await source.read() for source in (read_source("tone:440").make(), Tone(440))]
    assert frames[0] == frames[1]


def test_a_file_is_a_source(tmp_path: Path) -> None:
    file = tmp_path / "a:b.wav"
    file.touch()
    for text in (str(file), f"file:{file}"):
        maker = read_source(text)
        assert isinstance(maker.make(), FileSource)
        assert maker.plays_once


@pytest.mark.parametrize(
    "text", ["", "nothing.wav", "file:", "tone", "tone:", "tone:0", "tone:1e3", "tone:20001", "tone:-1", "tone:²"]
)
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tone|no file"):
        read_source(text)


def test_a_sink_is_named() -> None:
    for text, made in (("none", NoSink), ("device", Speaker), ("device:USB", Speaker)):
        maker = read_sink(text)
        assert not isinstance(maker, Path)
        assert isinstance(maker(), made)
    assert read_sink("a/b.WAV") == Path("a/b.WAV")
    assert read_sink("file:b") == Path("b")


@pytest.mark.parametrize("text", ["", "x.mp3", "file:", "tone:440"])
def test_what_is_no_sink_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none, device"):
        read_sink(text)


def test_a_device_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str | None] = []
    monkeypatch.setattr(ends_module, "Microphone", lambda name: named.append(name))
    monkeypatch.setattr(ends_module, "Speaker", lambda name: named.append(name))
    for text in ("device", "device:USB: 2"):
        read_source(text).make()
        maker = read_sink(text)
        assert not isinstance(maker, Path)
        maker()
    assert named == [None, None, "USB: 2", "USB: 2"]


# Where it is saved ---------------------------------------------------------------------------------------------------------


def test_each_call_has_a_file(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    (tmp_path / "call-2.wav").write_text("of yesterday")
    files = CallFiles(path, force=False)
    assert path.exists()
    assert files.of_call("a") == path
    assert files.of_call("b") == tmp_path / "call-3.wav"
    # A call that is begun again writes over its own.
    assert files.of_call("a") == path
    assert files.of_call("c") == tmp_path / "call-4.wav"
    assert (tmp_path / "call-2.wav").read_text() == "of yesterday"


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_what_was_said_is_its_owners_alone(tmp_path: Path) -> None:
    CallFiles(tmp_path / "call.wav", force=False)
    assert stat.S_IMODE((tmp_path / "call.wav").stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_alone_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_text("x")
    with pytest.raises(CtiError, match="there is such a file") as caught:
        CallFiles(path, force=False)
    assert "--force" in (caught.value.remedy or "")
    assert path.read_text() == "x"
    files = CallFiles(path, force=True)
    assert path.read_text() == ""
    (tmp_path / "call-2.wav").write_text("x")
    files.of_call("a")
    assert files.of_call("b") == tmp_path / "call-2.wav"
    with pytest.raises(CtiError, match="cannot be written"):
        CallFiles(tmp_path / "nowhere" / "call.wav", force=False)


async def test_files_without_sound_are_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    files = CallFiles(path, force=False)
    phone = PhoneSound(SourceMaker(Silence), files=files)
    for media_id, frames in (("empty", 0), ("full", 3)):
        heard = phone.sink(media_id)
        await heard.open()
        for _ in range(frames):
            await heard.write(SILENCE)
        await heard.close()
    assert files.drop_empty() == (tmp_path / "call-2.wav",)
    assert not path.exists()
    with wave.open(str(tmp_path / "call-2.wav")) as saved:
        assert saved.getnframes() == 3 * 960


# How it is measured --------------------------------------------------------------------------------------------------------


async def test_both_directions_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("cti_framework.cli.phone.sound.time.monotonic", lambda: now)
    phone = PhoneSound(SourceMaker(lambda: Tone(440)), lambda: Pipe())
    said, heard = phone.source("m"), phone.sink("m")
    assert phone.levels() == {}
    await said.open()
    await heard.open()
    assert phone.levels() == {"m": Levels(-96.0, None)}
    frame = await Tone(440, level_dbfs=-30.0).read()
    assert frame is not None
    for _ in range(5):
        assert await said.read()
        await heard.write(frame)
    levels = phone.levels()["m"]
    assert levels.heard_dbfs is not None
    assert (round(levels.said_dbfs), round(levels.heard_dbfs)) == (-18, -30)
    for _ in range(5):
        await heard.write(SILENCE)
    assert phone.levels()["m"].heard_dbfs == -96.0
    assert round(phone.loudest_dbfs("m")) == -30
    assert phone.heard_seconds("m") == pytest.approx(0.2)
    # Where nothing comes any more, what came last says nothing.
    now += 1.0
    assert phone.levels() == {"m": Levels(-96.0, None)}
    await said.close()
    assert phone.levels() == {}


async def test_what_was_lost_on_the_way_counts_as_heard() -> None:
    phone = PhoneSound(SourceMaker(Silence))
    heard = phone.sink("m")
    await heard.write(SILENCE, missing=2)
    assert phone.heard_seconds("m") == pytest.approx(0.06)
    assert (phone.heard_seconds("other"), phone.loudest_dbfs("other")) == (0.0, -96.0)


async def test_a_file_begins_when_the_call_does_and_its_end_is_told() -> None:
    counted = Counted(2)
    phone = PhoneSound(SourceMaker(lambda: counted, plays_once=True))
    said = phone.source("m")
    await said.open()
    assert await said.read() == SILENCE
    phone.begin("other")
    assert await said.read() == SILENCE
    phone.begin("m")
    frames = [await said.read() for _ in range(3)]
    assert [frame is None or level_dbfs(frame) > -10 for frame in frames] == [True, True, True]
    assert frames[2] is None
    with anyio.fail_after(5):
        await phone.wait_said("m")
    await said.close()
    assert (counted.opened, counted.closed) == (1, 1)


async def test_a_microphone_is_never_over() -> None:
    phone = PhoneSound(SourceMaker(lambda: Counted(9)))
    said = phone.source("m")
    assert await said.read() != SILENCE
    for media_id in ("m", "other"):
        with anyio.move_on_after(0.01) as waiting:
            await phone.wait_said(media_id)
        assert waiting.cancelled_caught


async def test_what_is_missing_is_known_before_a_call(tmp_path: Path) -> None:
    counted = Counted(0)
    fine = PhoneSound(SourceMaker(lambda: counted), lambda: NoSink())
    assert await fine.try_out() == ()
    assert (counted.opened, counted.closed) == (1, 1)
    nothing = PhoneSound(SourceMaker(lambda: Missing("microphone")), lambda: Missing("speaker"))
    assert [error.message for error in await nothing.try_out()] == ["There is no microphone.", "There is no speaker."]
    same = PhoneSound(SourceMaker(lambda: Missing("sound")), lambda: Missing("sound"))
    assert [error.message for error in await same.try_out()] == ["There is no sound."]
    no_sound = tmp_path / "x.wav"
    no_sound.write_text("no sound")
    (error,) = await PhoneSound(read_source(str(no_sound))).try_out()
    assert isinstance(error, MediaFileError)
