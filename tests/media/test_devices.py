"""Microphones and speakers: on a stand-in for PortAudio, for the computers of tests have neither."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import pytest

from cti_framework.media import (
    FRAME_BYTES,
    SILENCE,
    DeviceNotFoundError,
    DevicePermissionError,
    MediaDeviceError,
    MediaUnavailableError,
    Microphone,
    SoundDevice,
    Speaker,
    sound_devices,
)

pytestmark = pytest.mark.anyio


class PortAudioError(Exception):
    pass


class PortAudio(ModuleType):
    """Stands for `sounddevice`."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.refusal: Exception | None = None
        self.at_start: Exception | None = None
        self.streams: list[Stream] = []
        self.default = type("default", (), {"device": (0, 1)})

        def stream(**given: Any) -> Stream:
            if self.refusal is not None:
                raise self.refusal
            self.streams.append(Stream(self, **given))
            return self.streams[-1]

        self.RawInputStream = self.RawOutputStream = stream

    def query_devices(self) -> list[dict[str, object]]:
        if self.refusal is not None:
            raise self.refusal
        return [
            {"name": "Headset", "max_input_channels": 1, "max_output_channels": 0},
            {"name": "Loudspeaker", "max_input_channels": 0, "max_output_channels": 2},
        ]


class Stream:
    def __init__(self, library: PortAudio, callback: Callable[..., None], **given: Any) -> None:
        self.library, self.callback, self.given = library, callback, given
        self.done: list[str] = []

    def start(self) -> None:
        if self.library.at_start is not None:
            raise self.library.at_start
        self.done.append("start")

    def close(self, ignore_errors: bool = True) -> None:
        self.done.append("close")

    def called(self, sound: Any, frames: int = 960) -> None:
        """Call back from a thread of its own, as PortAudio does, and wait for its end."""
        thread = threading.Thread(target=self.callback, args=(sound, frames, None, None))
        thread.start()
        thread.join()


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> PortAudio:
    library = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return library


async def test_the_devices_are_listed(portaudio: PortAudio) -> None:
    assert await sound_devices() == (
        SoundDevice(name="Headset", inputs=1, outputs=0, is_default_input=True, is_default_output=False),
        SoundDevice(name="Loudspeaker", inputs=0, outputs=2, is_default_input=False, is_default_output=True),
    )


async def test_what_is_recorded_is_read(portaudio: PortAudio) -> None:
    microphone = Microphone("Headset")
    await microphone.open()
    (stream,) = portaudio.streams
    assert stream.given["device"] == "Headset"
    assert (stream.given["samplerate"], stream.given["channels"], stream.given["dtype"]) == (48_000, 1, "int16")
    assert await microphone.read() == SILENCE
    for number in range(1, 14):
        stream.called(bytearray([number]) * FRAME_BYTES)
    await anyio.lowlevel.checkpoint()
    # Nobody read for 260 ms: the oldest of it is let go.
    assert [(await microphone.read() or b"")[0] for _ in range(11)] == [*range(4, 14), 0]
    await microphone.close()
    await microphone.close()
    assert stream.done == ["start", "close"]
    stream.called(bytearray(FRAME_BYTES))


async def test_what_is_written_is_played(portaudio: PortAudio) -> None:
    speaker = Speaker()
    await speaker.open()
    (stream,) = portaudio.streams
    assert stream.given["device"] is None
    played = memoryview(bytearray(b"x" * FRAME_BYTES))
    stream.called(played)
    assert bytes(played) == SILENCE
    await speaker.write(b"\1" * FRAME_BYTES, missing=7)
    stream.called(played)
    assert bytes(played) == b"\1" * FRAME_BYTES
    stream.called(played)
    assert bytes(played) == SILENCE
    await speaker.close()
    assert stream.done == ["start", "close"]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (PortAudioError("Error querying device -1"), DeviceNotFoundError),
        (ValueError("No input device matching 'Headset'"), DeviceNotFoundError),
        (PortAudioError("Error opening RawInputStream: Permission denied"), DevicePermissionError),
        (PortAudioError("Error opening RawInputStream: Device unavailable [PaErrorCode -9985]"), MediaDeviceError),
        (PortAudioError("Invalid sample rate [PaErrorCode -9997]"), MediaDeviceError),
    ],
)
@pytest.mark.parametrize("at_start", [False, True])
async def test_a_device_that_cannot_be_used(
    portaudio: PortAudio, raised: Exception, told: type[MediaDeviceError], at_start: bool
) -> None:
    setattr(portaudio, "at_start" if at_start else "refusal", raised)
    with pytest.raises(MediaDeviceError, match="microphone 'Headset' cannot be used") as found:
        await Microphone("Headset").open()
    assert type(found.value) is told
    assert found.value.remedy
    with pytest.raises(MediaDeviceError, match="default speaker cannot be used"):
        await Speaker().open()
    # What was made before it failed is given back.
    assert [stream.done for stream in portaudio.streams] == 2 * [["close"]] * at_start


async def test_devices_that_cannot_be_listed(portaudio: PortAudio) -> None:
    portaudio.refusal = PortAudioError("not initialised")
    with pytest.raises(MediaDeviceError, match="cannot be listed"):
        await sound_devices()


class _NoPortAudio:
    """Lets `import sounddevice` fail as it does where the system library is missing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")


async def test_without_the_system_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NoPortAudio(), *sys.meta_path])
    for opening in (Microphone().open, Speaker().open, sound_devices):
        with pytest.raises(MediaUnavailableError, match="PortAudio") as raised:
            await opening()
        assert "libportaudio2" in raised.value.remedy


async def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MediaUnavailableError, match="sounddevice") as raised:
        await sound_devices()
    assert "cti-framework[media]" in raised.value.remedy
