"""Where what is heard goes: a file, a speaker, a meter, nowhere, or several at once."""

from __future__ import annotations

import wave
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, TypeVar

import anyio

from cti_framework.media.errors import MediaError, MediaFileError
from cti_framework.media.pcm import FRAME_SECONDS, SAMPLE_RATE_HZ, SILENCE, level_dbfs
from cti_framework.threads import call_in_thread

__all__ = ["AudioSink", "LevelMeter", "NoSink", "Several", "WavSink"]

T = TypeVar("T")

_File: TypeAlias = tuple[wave.Wave_write, BinaryIO]

_FLUSH_FRAMES: Final = 50


class AudioSink(ABC):
    """Where sound goes. Opened by the peer that it is given to, and closed by it."""

    async def open(self) -> None:
        """Get ready.

        Raises:
            MediaError: It cannot be had; the sentence says why and what to do.
        """
        return

    @abstractmethod
    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Take a frame. It has to be quick: frames that come meanwhile are kept for a second, then let go.

        Args:
            frame: 20 ms of sound in the form of ``pcm``.
            missing: How many frames were lost on the way just before this one. A file writes silence for them, a speaker has
                already played it.

        Raises:
            MediaError: The sink broke.
        """

    async def close(self) -> None:
        """Let go of everything, and finish what is written. Closing again does nothing."""
        return


class NoSink(AudioSink):
    """Nowhere: nobody listens. What comes is not even decoded into our form."""

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Take a frame and forget it.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it.
        """
        return


class WavSink(AudioSink):
    """A WAV file: 48 kHz, mono, 16 bits. Sound that was lost on the way is silence in it, so that it is as long as the call.

    Args:
        path: Where to write. A file that is there is written over.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file: _File | None = None
        self._waiting = bytearray()
        self._lock = anyio.Lock()

    async def open(self) -> None:
        """Begin the file.

        Raises:
            MediaFileError: It cannot be written there.
        """
        self._file = await self._in_thread(self._begin)

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Add a frame. The disk is written to once a second.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it: so much silence is added first.

        Raises:
            MediaFileError: The disk is full, or gone.
        """
        self._waiting += SILENCE * missing + frame
        if len(self._waiting) >= _FLUSH_FRAMES * len(SILENCE):
            await self._flush()

    async def close(self) -> None:
        """Write what is waiting, and the file's head.

        Raises:
            MediaFileError: The disk is full, or gone.
        """
        with anyio.CancelScope(shield=True):
            await self._flush(last=True)

    async def _flush(self, *, last: bool = False) -> None:
        async with self._lock:
            file, waiting = self._file, bytes(self._waiting)
            self._waiting.clear()
            if last:
                self._file = None
            if file is not None:
                with anyio.CancelScope(shield=True):
                    await self._in_thread(self._put, file, waiting, last)

    def _begin(self) -> _File:
        # Where `wave` opens a file itself and cannot, it leaves half an object behind that complains.
        stream = self._path.open("wb")
        file = wave.open(stream, "wb")  # noqa: SIM115  # open for as long as the call
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        return file, stream

    @staticmethod
    def _put(file: _File, waiting: bytes, last: bool) -> None:
        head, stream = file
        try:
            head.writeframesraw(waiting)
            if last:
                head.close()
        finally:
            if last:
                stream.close()

    async def _in_thread(self, act: Callable[..., T], *arguments: object) -> T:
        try:
            return await call_in_thread("cti-media-wav", act, *arguments)
        except (OSError, wave.Error) as error:
            raise MediaFileError(
                f"{self._path} cannot be written: {error}.", remedy="Check the folder, its rights, and the room on the disk."
            ) from error


class LevelMeter(AudioSink):
    """Tells how loud it is, and hands the sound on.

    Args:
        on_level: Called with the level in dB of full scale (0 is as loud as can be, -96 is silence), from the event loop.
        into: Where the sound goes on to.
        interval_seconds: How often it is told; the level is of all sound since the last time.
    """

    def __init__(
        self, on_level: Callable[[float], None], into: AudioSink | None = None, *, interval_seconds: float = 0.1
    ) -> None:
        self._on_level = on_level
        self._into = NoSink() if into is None else into
        self._frames = max(round(interval_seconds / FRAME_SECONDS), 1)
        self._heard: list[bytes] = []

    async def open(self) -> None:
        """Open where the sound goes on to."""
        await self._into.open()

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Measure a frame and hand it on.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it.
        """
        self._heard.append(frame)
        if len(self._heard) >= self._frames:
            heard = b"".join(self._heard)
            self._heard.clear()
            self._on_level(level_dbfs(heard))
        await self._into.write(frame, missing=missing)

    async def close(self) -> None:
        """Close where the sound goes on to."""
        await self._into.close()


class Several(AudioSink):
    """Several sinks at once: heard and written down.

    Args:
        sinks: Where the sound goes.
    """

    def __init__(self, *sinks: AudioSink) -> None:
        self._sinks = sinks

    async def open(self) -> None:
        """Open all; if one cannot be had, those that were opened are closed again."""
        opened: list[AudioSink] = []
        try:
            for sink in self._sinks:
                await sink.open()
                opened.append(sink)
        except BaseException:
            with anyio.CancelScope(shield=True):
                for sink in opened:
                    await sink.close()
            raise

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Hand a frame to all.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it.
        """
        for sink in self._sinks:
            await sink.write(frame, missing=missing)

    async def close(self) -> None:
        """Close all, also where one of them fails; its error comes after."""
        failed: MediaError | None = None
        for sink in self._sinks:
            try:
                await sink.close()
            except MediaError as error:
                failed = error
        if failed is not None:
            raise failed
