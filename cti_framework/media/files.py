"""Sound from files, and from any device that FFmpeg opens: decoded by PyAV, which is imported when the first one is opened."""

from __future__ import annotations

import errno
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from cti_framework.media.errors import (
    DeviceNotFoundError,
    DevicePermissionError,
    MediaDeviceError,
    MediaError,
    MediaFileError,
    MediaUnavailableError,
)
from cti_framework.media.pcm import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE_HZ
from cti_framework.media.sources import AudioSource
from cti_framework.threads import call_in_thread

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["AvDevice", "FileSource"]

_OPEN_SECONDS: Final = 5.0
_READ_SECONDS: Final = 1.0


class _Decoded(AudioSource):
    """What PyAV decodes, chunk by chunk, in a thread that lives as long as one chunk."""

    chunk_frames: int

    def __init__(self) -> None:
        # Filled by the thread itself: nothing is lost where whoever waits for it is cancelled.
        self._frames: deque[bytes] = deque()
        self._ended = False
        self._heard = False
        self._container: InputContainer | None = None
        self._decoding: Iterator[bytes] | None = None
        # A container that is read in a thread must not be closed in another: FFmpeg does not survive it.
        self._using = threading.Lock()
        self._reading = anyio.Lock()

    async def open(self) -> None:
        await call_in_thread("cti-media-open", self._open_now)

    async def read(self) -> bytes | None:
        async with self._reading:
            if not self._frames and not self._ended:
                await call_in_thread("cti-media-decode", self._chunk)
            return self._frames.popleft() if self._frames else None

    async def close(self) -> None:
        self._ended = True
        with anyio.CancelScope(shield=True):
            await call_in_thread("cti-media-close", self._close_now)
        self._frames.clear()

    @abstractmethod
    def _container_now(self) -> InputContainer:
        """Open what is decoded."""

    @abstractmethod
    def _error(self, error: OSError | ValueError) -> MediaError:
        """Say in our words why it cannot be read."""

    def _at_end(self) -> bool:
        """Begin again, or not."""
        return False

    def _open_now(self) -> None:
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise MediaUnavailableError("PyAV, which decodes sound, is not installed.") from error
        with self._using:
            try:
                self._container = self._container_now()
                if not self._container.streams.audio:
                    raise ValueError("it holds no sound")
            except (OSError, ValueError) as error:
                self._let_go()
                raise self._error(error) from error
            self._decoding = self._pcm(self._container)
            self._ended = False

    def _close_now(self) -> None:
        with self._using:
            self._let_go()

    def _let_go(self) -> None:
        self._decoding = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _chunk(self) -> None:
        with self._using:
            while self._decoding is not None and len(self._frames) < self.chunk_frames and not self._ended:
                try:
                    pcm = next(self._decoding, None)
                except (OSError, ValueError) as error:
                    self._ended = True
                    raise self._error(error) from error
                if pcm is not None:
                    self._frames.append(pcm)
                    self._heard = True
                elif not self._at_end():
                    self._ended = True

    @staticmethod
    def _pcm(container: InputContainer) -> Iterator[bytes]:
        from av import AudioResampler

        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ, frame_size=FRAME_SAMPLES)
        for decoded in container.decode(audio=0):
            for frame in resampler.resample(decoded):
                yield bytes(frame.planes[0])[:FRAME_BYTES]
        for frame in resampler.resample(None):
            # The last frame is filled up with silence.
            yield bytes(frame.planes[0])[: 2 * frame.samples].ljust(FRAME_BYTES, b"\0")


class FileSource(_Decoded):
    """Any audio file that FFmpeg reads: WAV, MP3, FLAC, OGG, M4A, the sound of a video.

    Args:
        path: The file.
        loop: Whether to begin again at its end, as music on hold.
    """

    chunk_frames = 25

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        super().__init__()
        self._path = Path(path)
        self._loop = loop

    async def open(self) -> None:
        """Open the file.

        Raises:
            MediaFileError: It is not there, cannot be read, or holds no sound.
            MediaUnavailableError: PyAV is not installed.
        """
        await super().open()

    async def read(self) -> bytes | None:
        """Give the next 20 ms of the file.

        Returns:
            The frame; ``None`` after the last.

        Raises:
            MediaFileError: It cannot be read on.
        """
        return await super().read()

    async def close(self) -> None:
        """Close the file."""
        await super().close()

    def _container_now(self) -> InputContainer:
        import av

        # FFmpeg reads addresses as well; a path is a file of this computer and nothing else.
        return av.open(f"file:{self._path}")

    def _error(self, error: OSError | ValueError) -> MediaError:
        return MediaFileError(f"{self._path} cannot be played: {_reason(error)}.")

    def _at_end(self) -> bool:
        if not self._loop or self._container is None or not self._heard:
            return False
        # A round without any sound would go on for ever.
        self._heard = False
        self._container.seek(0)
        self._decoding = self._pcm(self._container)
        return True


class AvDevice(_Decoded):
    """Any input device that FFmpeg opens, by its own names: where PortAudio is not wanted, or cannot do it.

    Args:
        device: The device, as FFmpeg names it: ``default`` for ALSA and PulseAudio, ``:0`` for AVFoundation, ``audio=…`` for
            DirectShow.
        kind: FFmpeg's name for the kind of device: ``alsa``, ``pulse``, ``avfoundation``, ``dshow``.
        options: FFmpeg's options for it.
    """

    chunk_frames = 2

    def __init__(self, device: str, *, kind: str, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._device = device
        self._kind = kind
        self._options = dict(options or {})

    async def open(self) -> None:
        """Open the device.

        Raises:
            DeviceNotFoundError: There is no such device, or no such kind.
            DevicePermissionError: This program may not use it.
            MediaDeviceError: It is there and cannot be used.
            MediaUnavailableError: PyAV is not installed.
        """
        await super().open()

    async def read(self) -> bytes | None:
        """Give the next 20 ms of the device.

        Returns:
            The frame; ``None`` when the device ends or was closed.

        Raises:
            MediaDeviceError: The device broke, or is gone.
        """
        return await super().read()

    async def close(self) -> None:
        """Close the device."""
        await super().close()

    def _container_now(self) -> InputContainer:
        import av

        return av.open(self._device, format=self._kind, options=self._options, timeout=(_OPEN_SECONDS, _READ_SECONDS))

    def _error(self, error: OSError | ValueError) -> MediaError:
        text = f"The sound device {self._device!r} ({self._kind}) cannot be used: {_reason(error)}."
        if isinstance(error, PermissionError):
            return DevicePermissionError(text)
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT):
            return MediaDeviceError(text)
        return DeviceNotFoundError(text)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
