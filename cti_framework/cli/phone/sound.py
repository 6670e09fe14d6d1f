"""The sound of the phone's calls: what speaks and what listens, measured on the way."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from typing import Final

import anyio
import attrs

from cti_framework.cli.phone.ends import SinkMaker, SourceMaker
from cti_framework.cli.phone.files import CallFiles
from cti_framework.cli.phone.state import Levels
from cti_framework.errors import CtiError
from cti_framework.media import (
    FRAME_SECONDS,
    SILENCE,
    AiortcPeers,
    AudioSink,
    AudioSource,
    MediaOptions,
    MediaPeers,
    Several,
    WavSink,
    level_dbfs,
)

__all__ = ["PhonePeers", "PhoneSound"]

_MEASURED_FRAMES: Final = 5
_STALE_SECONDS: Final = 1.0
_SILENT_DBFS: Final = -96.0


class PhonePeers(AiortcPeers):
    """Makes the media of the phone's calls. It rings as without the phone, where somebody is there to hear it.

    Args:
        options: As the settings say.
        sound: What speaks and listens.
        rings: Whether somebody is there.
    """

    def __init__(self, options: MediaOptions, sound: PhoneSound, *, rings: bool) -> None:
        super().__init__(options, source=sound.source, sink=sound.sink)
        self._bell: MediaPeers = AiortcPeers(options) if rings else self

    def ringing(self, call_id: str) -> AbstractAsyncContextManager[None]:
        """Ring as the settings say.

        Args:
            call_id: The call's identifier.

        Returns:
            An asynchronous context manager.
        """
        return super().ringing(call_id) if self._bell is self else self._bell.ringing(call_id)


class PhoneSound:
    """What speaks and listens in all calls of the phone, and how loud they are.

    Args:
        source: Makes what speaks.
        sink: Makes what listens; ``None``: nothing does, but for the files.
        files: Where what is heard is saved; ``None``: nowhere.
    """

    def __init__(self, source: SourceMaker, sink: SinkMaker | None = None, *, files: CallFiles | None = None) -> None:
        self._source = source
        self._sink = sink
        self._files = files
        self._said: dict[str, _Said] = {}
        self._heard: dict[str, _Heard] = {}

    def source(self, media_id: str) -> AudioSource:
        """Make what speaks in a call.

        Args:
            media_id: The call's sound.

        Returns:
            It. One that has an end waits for ``begin``.
        """
        said = _Said(self._source.make(), waits=self._source.plays_once)
        self._said[media_id] = said
        return said

    def sink(self, media_id: str) -> AudioSink:
        """Make what listens in a call.

        Args:
            media_id: The call's sound.

        Returns:
            It.

        Raises:
            CtiError: The file cannot be made.
        """
        sinks: list[AudioSink] = [] if self._sink is None else [self._sink()]
        if self._files is not None:
            sinks.append(WavSink(self._files.of_call(media_id)))
        heard = _Heard(sinks[0] if len(sinks) == 1 else Several(*sinks))
        self._heard[media_id] = heard
        return heard

    def begin(self, media_id: str) -> None:
        """Begin to speak: the call is connected.

        Args:
            media_id: The call's sound.
        """
        said = self._said.get(media_id)
        if said is not None:
            said.begin()

    async def wait_said(self, media_id: str) -> None:
        """Wait until all is said that there is to say. Where that has no end, it waits for ever.

        Args:
            media_id: The call's sound.
        """
        said = self._said.get(media_id)
        if said is None:
            await anyio.sleep_forever()
        else:
            await said.over.wait()

    def levels(self) -> dict[str, Levels]:
        """Tell how loud the calls are now.

        Returns:
            It by their sound.
        """
        return {
            media_id: Levels(said.meter.level_dbfs or _SILENT_DBFS, self._heard[media_id].meter.level_dbfs)
            for media_id, said in self._said.items()
            if said.is_open and media_id in self._heard
        }

    def heard_seconds(self, media_id: str) -> float:
        """Tell how much was heard in a call.

        Args:
            media_id: The call's sound.

        Returns:
            Seconds of sound, silent or not.
        """
        heard = self._heard.get(media_id)
        return 0.0 if heard is None else heard.frames * FRAME_SECONDS

    def loudest_dbfs(self, media_id: str) -> float:
        """Tell how loud it was at the loudest what was heard in a call.

        Args:
            media_id: The call's sound.

        Returns:
            0 is as loud as can be, -96 is silence.
        """
        heard = self._heard.get(media_id)
        return _SILENT_DBFS if heard is None else heard.meter.loudest_dbfs

    def forget(self, media_id: str) -> None:
        """Forget a call that is over.

        Args:
            media_id: Its sound.
        """
        self._said.pop(media_id, None)
        self._heard.pop(media_id, None)

    async def try_out(self) -> tuple[CtiError, ...]:
        """Open what speaks and what listens, and close it again: what is missing is better known before somebody calls.

        Returns:
            What cannot be had; nothing where all can.
        """
        failed: list[CtiError] = []
        ends: list[AudioSource | AudioSink] = [self._source.make()]
        if self._sink is not None:
            ends.append(self._sink())
        for end in ends:
            try:
                await end.open()
            except CtiError as error:
                # Without PortAudio neither can be had, for the same reason.
                if error.message not in [known.message for known in failed]:
                    failed.append(error)
            else:
                await end.close()
        return tuple(failed)


@attrs.define(eq=False)
class _Meter:
    """How loud the last tenth of a second was."""

    loudest_dbfs: float = _SILENT_DBFS
    _waiting: bytearray = attrs.field(factory=bytearray)
    _level_dbfs: float = _SILENT_DBFS
    _measured_at: float = 0.0

    def add(self, frame: bytes) -> None:
        self._waiting += frame
        if len(self._waiting) >= _MEASURED_FRAMES * len(SILENCE):
            self._level_dbfs = level_dbfs(bytes(self._waiting))
            self.loudest_dbfs = max(self.loudest_dbfs, self._level_dbfs)
            self._measured_at = time.monotonic()
            self._waiting.clear()

    @property
    def level_dbfs(self) -> float | None:
        # Where nothing comes any more, what came last says nothing.
        return self._level_dbfs if time.monotonic() - self._measured_at < _STALE_SECONDS else None


class _Said(AudioSource):
    """A source that is measured, and begins when the call does."""

    def __init__(self, source: AudioSource, *, waits: bool) -> None:
        self._from = source
        self._waits = waits
        self.meter = _Meter()
        self.over = anyio.Event()
        self.is_open = False

    def begin(self) -> None:
        self._waits = False

    async def open(self) -> None:
        await self._from.open()
        self.is_open = True

    async def read(self) -> bytes | None:
        if self._waits:
            return SILENCE
        frame = await self._from.read()
        if frame is None:
            self.over.set()
        else:
            self.meter.add(frame)
        return frame

    async def close(self) -> None:
        self.is_open = False
        await self._from.close()


class _Heard(AudioSink):
    """A sink that is measured."""

    def __init__(self, sink: AudioSink) -> None:
        self._into = sink
        self.meter = _Meter()
        self.frames = 0

    async def open(self) -> None:
        await self._into.open()

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self.frames += 1 + missing
        self.meter.add(frame)
        await self._into.write(frame, missing=missing)

    async def close(self) -> None:
        await self._into.close()
