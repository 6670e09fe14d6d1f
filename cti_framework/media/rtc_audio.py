"""Between aiortc's tracks and our sources and sinks: the pace, the silence of a muted or held call, faults that end no call.

Opus is encoded here, and aiortc given the packets: its own encoder makes 96 kbit/s stereo of a voice, 3 dB too quiet, in a
thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, Final, TypeVar

import structlog
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioCodecContext, AudioFormat, AudioFrame, AudioLayout, AudioResampler, CodecContext, Packet

from cti_framework.errors import CtiError, traceback_text
from cti_framework.media.errors import MediaError
from cti_framework.media.pcm import FRAME_BYTES, FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE_HZ, SILENCE
from cti_framework.media.sinks import AudioSink, NoSink
from cti_framework.media.sources import AudioSource
from cti_framework.media.values import AudioFailed, MediaNotice, SourceEnded

__all__ = ["Ear", "Mouth", "MouthTrack"]

T = TypeVar("T")

_log = structlog.get_logger("cti_framework")

_TIME_BASE: Final = Fraction(1, SAMPLE_RATE_HZ)
_OPUS_BITS_PER_SECOND: Final = 32_000
_OPUS_LEAST_BITS_PER_SECOND: Final = 8_000
_LATE_SECONDS: Final = 0.2
"""Whoever is later than this, as after a computer's sleep, does not catch up: the time is left out."""
_KEPT_FRAMES: Final = 50
_STUCK_SECONDS: Final = 10.0
"""A source or a sink that takes longer for one frame hangs: nobody would hear anything, and the call could not be closed."""
_LONGEST_GAP_SECONDS: Final = 5.0
"""A longer one is no loss but a stream that begins anew."""


def _as_ours(error: Exception, what: str) -> CtiError:
    if isinstance(error, CtiError):
        return error
    _log.error("cti.media.audio_failed", of=what, error=traceback_text(error))
    return MediaError(f"The {what} failed: {str(error) or type(error).__name__}.")


async def _in_time(act: Awaitable[T], what: str) -> T:
    try:
        async with asyncio.timeout(_STUCK_SECONDS) as patience:
            return await act
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise MediaError(f"The {what} hangs: it took more than {_STUCK_SECONDS:g} s for 20 ms of sound.") from error


class Mouth:
    """What a peer says: one source after the other, a frame every 20 ms.

    Args:
        source: The first one.
        tell: Called with what happens to it.
    """

    def __init__(self, source: AudioSource, tell: Callable[[MediaNotice], None]) -> None:
        self.source = source
        self.silent = False
        """Whether silence goes out in place of the source, which is read on."""
        self._tell = tell
        self._over = False
        self._due_seconds = 0.0
        self._count = 0

    def take(self, source: AudioSource) -> AudioSource:
        """Go on with another source.

        Args:
            source: The new one, open.

        Returns:
            The old one, still open.
        """
        old, self.source, self._over = self.source, source, False
        return old

    async def next(self) -> tuple[bytes, int]:
        """Wait until the next frame is due, and give it.

        Returns:
            The frame and its number. Numbers are left out where nobody asked in time.
        """
        now = asyncio.get_running_loop().time()
        late_seconds = now - self._due_seconds
        if late_seconds < 0:
            await asyncio.sleep(-late_seconds)
        elif late_seconds > _LATE_SECONDS:
            missed = round(late_seconds / FRAME_SECONDS) if self._count else 0
            self._count += missed
            self._due_seconds = now
        self._due_seconds += FRAME_SECONDS
        self._count += 1
        frame = SILENCE if self._over else await self._read()
        return SILENCE if self.silent else frame, self._count

    async def _read(self) -> bytes:
        source = self.source
        try:
            frame = await _in_time(source.read(), "source")
        except Exception as error:  # noqa: BLE001  # a source may be anybody's, and must not end the call
            told: MediaNotice = AudioFailed(_as_ours(error, "source"))
        else:
            if frame is not None:
                return frame if len(frame) == FRAME_BYTES else frame[:FRAME_BYTES].ljust(FRAME_BYTES, b"\0")
            told = SourceEnded()
        # It may have been replaced while it was read.
        if source is self.source:
            self._over = True
            self._tell(told)
        return SILENCE


class MouthTrack(MediaStreamTrack):
    """A peer's mouth as aiortc wants it. Each connection has one of its own: aiortc stops it with the connection.

    It gives sound, which aiortc encodes, or, after ``begin_opus``, Opus.

    Args:
        mouth: Whose.
    """

    kind = "audio"

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth
        self._first: int | None = None
        self._encoder: AudioCodecContext | None = None

    def begin_opus(self, bits_per_second: int | None) -> None:
        """Give Opus from now on.

        Args:
            bits_per_second: The most that the other side wants; ``None``: it does not say.
        """
        if self._encoder is None:
            encoder = CodecContext.create("libopus", "w")
            encoder.format = AudioFormat("s16")
            encoder.layout = AudioLayout("mono")
            encoder.sample_rate = SAMPLE_RATE_HZ
            encoder.time_base = _TIME_BASE
            encoder.bit_rate = min(
                max(bits_per_second or _OPUS_BITS_PER_SECOND, _OPUS_LEAST_BITS_PER_SECOND), _OPUS_BITS_PER_SECOND
            )
            # Each packet carries a coarse copy of the one before, for whoever lost that.
            encoder.options = {"application": "voip", "fec": "1", "packet_loss": "5"}
            self._encoder = encoder

    async def recv(self) -> AudioFrame | Packet[Any]:
        """Give aiortc the next 20 ms.

        Returns:
            The sound, or its packet.
        """
        pcm, number = await self._mouth.next()
        if self._first is None:
            self._first = number
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.time_base = _TIME_BASE
        frame.pts = (number - self._first) * FRAME_SAMPLES
        if self._encoder is None:
            return frame
        pts = frame.pts
        (packet,) = self._encoder.encode(frame)
        packet.pts, packet.time_base = pts, _TIME_BASE
        return packet


class Ear:
    """What a peer hears: one track after the other, into one sink after the other.

    Args:
        sink: The first one.
        tell: Called with what happens to it.
    """

    def __init__(self, sink: AudioSink, tell: Callable[[MediaNotice], None]) -> None:
        self.sink = sink
        self.deaf = False
        """Whether what comes is let go."""
        self._tell = tell
        self._broken = False
        self._listening: asyncio.Task[None] | None = None
        self._track: MediaStreamTrack | None = None
        self._writing = asyncio.Lock()

    async def take(self, sink: AudioSink) -> AudioSink:
        """Go on with another sink.

        Args:
            sink: The new one, open.

        Returns:
            The old one, still open, with nothing being written to it.
        """
        async with self._writing:
            old, self.sink, self._broken = self.sink, sink, False
        return old

    def follow(self, track: MediaStreamTrack | None) -> None:
        """Listen to a track, and to no other any more.

        Args:
            track: The track.
        """
        if track is self._track:
            return
        self._track = track
        if self._listening is not None:
            # In the middle of a write it is left to its end: half a frame would be written, or two at once.
            if not self._writing.locked():
                self._listening.cancel()
            self._listening = None
        if track is not None:
            self._listening = asyncio.ensure_future(self._listen(track))

    async def close(self) -> None:
        """Listen no more."""
        listening = self._listening
        self.follow(None)
        if listening is not None:
            await asyncio.wait({listening})

    async def _listen(self, track: MediaStreamTrack) -> None:
        form: tuple[str, str, int] | None = None
        resampler: AudioResampler | None = None
        expected: int | None = None
        # Where the sink is slower than the call, the newest second is kept.
        queue: asyncio.Queue[Any] | None = getattr(track, "_queue", None)
        while track is self._track:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            while queue is not None and queue.qsize() > _KEPT_FRAMES:
                queue.get_nowait()
            if not isinstance(frame, AudioFrame):
                continue
            pts = frame.pts or 0
            missing = 0
            if expected is not None and 0 < pts - expected < _LONGEST_GAP_SECONDS * frame.sample_rate:
                missing = round((pts - expected) / frame.sample_rate / FRAME_SECONDS)
            expected = pts + frame.samples
            if self.deaf or self._broken or isinstance(self.sink, NoSink):
                continue
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != form:
                form = now
                resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ, frame_size=FRAME_SAMPLES)
            # What was counted is no time of a file that the resampler could fill up.
            frame.pts = None
            for out in resampler.resample(frame):
                await self._write(bytes(out.planes[0])[:FRAME_BYTES], missing)
                missing = 0

    async def _write(self, pcm: bytes, missing: int) -> None:
        async with self._writing:
            if self._broken:
                return
            try:
                await _in_time(self.sink.write(pcm, missing=missing), "sink")
            except Exception as error:  # noqa: BLE001  # a sink may be anybody's, and must not end the call
                self._broken = True
                self._tell(AudioFailed(_as_ours(error, "sink")))
