"""Microphones and speakers by PortAudio (`sounddevice`), which is imported when the first one is asked for.

PortAudio calls from a thread of its own. The microphone hands what it gets to the event loop; the speaker takes from a short
queue, and plays silence where there is nothing: sound that comes too late is not worth waiting for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import attrs

from cti_framework.media.errors import (
    DeviceNotFoundError,
    DevicePermissionError,
    MediaDeviceError,
    MediaError,
    MediaUnavailableError,
)
from cti_framework.media.pcm import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ, SILENCE
from cti_framework.media.sinks import AudioSink
from cti_framework.media.sources import AudioSource
from cti_framework.threads import call_in_thread

__all__ = ["Microphone", "SoundDevice", "Speaker", "sound_devices"]

T = TypeVar("T")

_PortAudio: TypeAlias = Any
"""The module `sounddevice`, or one of its streams. It has no types; nothing of it leaves this file."""

_KEPT_FRAMES: Final = 10
"""How much sound may wait, at most: 200 ms. What is older is let go, or two clocks that differ would add up to an echo."""


@attrs.frozen(kw_only=True)
class SoundDevice:
    """A sound device of this computer.

    Attributes:
        name: Its name: what ``Microphone`` and ``Speaker`` take.
        inputs: How many channels it records; 0: it is no microphone.
        outputs: How many channels it plays; 0: it is no speaker.
        is_default_input: Whether it is the microphone where none is named.
        is_default_output: Whether it is the speaker where none is named.
    """

    name: str
    inputs: int
    outputs: int
    is_default_input: bool
    is_default_output: bool


def _portaudio() -> _PortAudio:
    try:
        import sounddevice  # type: ignore[import-untyped]  # it has no types
    except ImportError as error:
        raise MediaUnavailableError("sounddevice, which records and plays, is not installed.") from error
    except OSError as error:
        # It is what the package raises where the system has no such library.
        raise MediaUnavailableError(
            "PortAudio, the system library that records and plays, is not installed.",
            remedy="Install it: 'apt install libportaudio2' on Debian and Ubuntu, 'dnf install portaudio' on Fedora.",
        ) from error
    return sounddevice


def _told(error: Exception, what: str, device: str | None) -> MediaError:
    """Say in our words what PortAudio said in its own: it has numbers for its errors, and texts of the system below."""
    named = f"default {what}" if device is None else f"{what} {device!r}"
    text = f"The {named} cannot be used: {error}."
    words = str(error).lower()
    if "permission" in words or "access" in words or "not authorized" in words:
        return DevicePermissionError(text)
    if isinstance(error, ValueError) or "no input device" in words or "no output device" in words or "querying device" in words:
        return DeviceNotFoundError(text)
    return MediaDeviceError(text)


async def sound_devices() -> tuple[SoundDevice, ...]:
    """List the sound devices of this computer.

    Returns:
        All of them; none where there is none.

    Raises:
        MediaUnavailableError: `sounddevice` or PortAudio is not installed.
        MediaDeviceError: PortAudio cannot be asked.
    """

    def ask() -> tuple[SoundDevice, ...]:
        portaudio = _portaudio()
        try:
            listed = portaudio.query_devices()
            default_input, default_output = portaudio.default.device
        except portaudio.PortAudioError as error:
            raise MediaDeviceError(f"The sound devices cannot be listed: {error}.") from error
        return tuple(
            SoundDevice(
                name=str(found["name"]),
                inputs=int(found["max_input_channels"]),
                outputs=int(found["max_output_channels"]),
                is_default_input=index == default_input,
                is_default_output=index == default_output,
            )
            for index, found in enumerate(listed)
        )

    return await call_in_thread("cti-media-devices", ask)


@attrs.define(eq=False)
class _Stream:
    """One stream of PortAudio, opened and closed in a thread: either can take a second."""

    kind: str
    what: str
    device: str | None
    stream: _PortAudio = None

    async def open(self, on_sound: Callable[..., None]) -> None:
        def begin() -> _PortAudio:
            portaudio = _portaudio()
            stream: _PortAudio = None
            try:
                stream = getattr(portaudio, self.kind)(
                    samplerate=SAMPLE_RATE_HZ,
                    blocksize=FRAME_SAMPLES,
                    device=self.device,
                    channels=1,
                    dtype="int16",
                    latency="low",
                    callback=on_sound,
                )
                stream.start()
            except (portaudio.PortAudioError, ValueError) as error:
                if stream is not None:
                    stream.close(ignore_errors=True)
                raise _told(error, self.what, self.device) from error
            return stream

        with anyio.CancelScope(shield=True):
            self.stream = await call_in_thread("cti-media-sound", begin)

    async def close(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await call_in_thread("cti-media-sound", stream.close, True)


class Microphone(AudioSource):
    """A microphone.

    Args:
        device: Its name, or a part of it that is no other's; ``None``: the computer's default.
    """

    def __init__(self, device: str | None = None) -> None:
        self._stream = _Stream("RawInputStream", "microphone", device)
        self._frames: deque[bytes] = deque(maxlen=_KEPT_FRAMES)

    async def open(self) -> None:
        """Begin to record.

        Raises:
            DeviceNotFoundError: There is no such microphone, or none at all.
            DevicePermissionError: This program may not use it.
            MediaDeviceError: It is there and cannot be used.
            MediaUnavailableError: `sounddevice` or PortAudio is not installed.
        """
        loop = asyncio.get_running_loop()

        def on_sound(recorded: Any, frames: int, time: object, status: object) -> None:
            sound = bytes(recorded)
            try:
                loop.call_soon_threadsafe(self._frames.append, sound)
            except RuntimeError:
                # The loop is gone: nobody listens any more.
                return

        await self._stream.open(on_sound)

    async def read(self) -> bytes | None:
        """Give the oldest frame that was recorded.

        Returns:
            The frame; silence where the microphone is late.
        """
        return self._frames.popleft() if self._frames else SILENCE

    async def close(self) -> None:
        """Stop recording."""
        await self._stream.close()
        self._frames.clear()


class Speaker(AudioSink):
    """A speaker, or headphones.

    Args:
        device: Its name, or a part of it that is no other's; ``None``: the computer's default.
    """

    def __init__(self, device: str | None = None) -> None:
        self._stream = _Stream("RawOutputStream", "speaker", device)
        # Appending and popping are atomic: PortAudio's thread takes from it without a lock.
        self._frames: deque[bytes] = deque(maxlen=_KEPT_FRAMES)

    async def open(self) -> None:
        """Begin to play.

        Raises:
            DeviceNotFoundError: There is no such speaker, or none at all.
            DevicePermissionError: This program may not use it.
            MediaDeviceError: It is there and cannot be used.
            MediaUnavailableError: `sounddevice` or PortAudio is not installed.
        """

        def on_sound(played: Any, frames: int, time: object, status: object) -> None:
            try:
                sound = self._frames.popleft()
            except IndexError:
                sound = SILENCE
            played[:] = sound[: 2 * frames].ljust(2 * frames, b"\0")

        await self._stream.open(on_sound)

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Play a frame after those that wait.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it: their time has been silent already.
        """
        self._frames.append(frame[:FRAME_BYTES])

    async def close(self) -> None:
        """Stop playing."""
        await self._stream.close()
        self._frames.clear()
