"""The operator's sound in a test: what he says is a tone, and what comes to his ear is measured."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Final

from cti_framework.media import (
    SAMPLE_RATE_HZ,
    AiortcPeers,
    AudioSink,
    AudioSource,
    DeviceNotFoundError,
    MediaOptions,
    MediaUnavailableError,
    Tone,
    level_dbfs,
    require_media,
)
from cti_framework.media.pcm import samples_of

__all__ = ["FAR_HZ", "OPERATOR_HZ", "Hearing", "is_tone", "missing_media"]

OPERATOR_HZ: Final = 750
"""What the operator says."""
FAR_HZ: Final = 1_950
"""What the other end says."""

_HEARD_FRAMES: Final = 10
_FRESH_SECONDS: Final = 0.3
_QUIET_DBFS: Final = -50.0
_LEAST_SHARE: Final = 0.8
_EVERY: Final = 4
"""One sample of so many is looked at: both tones are far below what 12,000 samples a second can show."""


def missing_media(backend: str) -> str | None:
    """Tell why sound cannot be measured on an event loop.

    Args:
        backend: Its name.

    Returns:
        Why; ``None``: it can.
    """
    if backend != "asyncio":
        return "the sound of a call is measured on asyncio: the media library is asyncio's"
    try:
        require_media()
    except MediaUnavailableError as error:
        return f"{error.message} {error.remedy}"
    return None


def is_tone(sound: bytes, hertz: int) -> bool:
    """Tell whether sound is one tone and little else.

    Args:
        sound: In the form of ``media.pcm``.
        hertz: Which tone.

    Returns:
        Whether.
    """
    if level_dbfs(sound) < _QUIET_DBFS:
        return False
    samples = samples_of(sound)[::_EVERY]
    # Goertzel's algorithm: the power at one frequency.
    turn = 2 * math.cos(2 * math.pi * hertz * _EVERY / SAMPLE_RATE_HZ)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    power = before * before + last * last - turn * before * last
    total = sum(sample * sample for sample in samples)
    return 2 * power > _LEAST_SHARE * len(samples) * total


class Hearing(AiortcPeers):
    """Makes the media of the operator's calls: a tone instead of a microphone, and an ear that is looked into.

    Args:
        options: How media finds its way.

    Attributes:
        refusals: How many times the next microphone is not there.
    """

    def __init__(self, options: MediaOptions) -> None:
        super().__init__(options, source=lambda _: _Mouth(self), sink=lambda _: _Ear(self))
        self.refusals = 0
        self._open: set[_Mouth | _Ear] = set()

    @property
    def in_use(self) -> bool:
        """Whether a microphone or a speaker is open."""
        return bool(self._open)

    def forget(self) -> None:
        """Hear anew: what was heard up to now does not count any more."""
        for ear in self._ears:
            ear.forget()

    @property
    def _ears(self) -> list[_Ear]:
        return [end for end in self._open if isinstance(end, _Ear)]

    def hears(self, hertz: int) -> bool:
        """Tell whether the operator hears a tone now, in one of his calls.

        Args:
            hertz: Which.

        Returns:
            Whether.
        """
        return any(is_tone(ear.latest(), hertz) for ear in self._ears)


class _Mouth(AudioSource):
    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._tone = Tone(OPERATOR_HZ)

    async def open(self) -> None:
        if self._hearing.refusals:
            self._hearing.refusals -= 1
            raise DeviceNotFoundError("The conformance kit has pulled the microphone out.")
        self._hearing._open.add(self)

    async def read(self) -> bytes | None:
        return await self._tone.read()

    async def close(self) -> None:
        self._hearing._open.discard(self)


class _Ear(AudioSink):
    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._frames: deque[bytes] = deque(maxlen=_HEARD_FRAMES)
        self._heard_at = 0.0

    async def open(self) -> None:
        self._hearing._open.add(self)

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self._frames.append(frame)
        self._heard_at = time.monotonic()

    async def close(self) -> None:
        self._hearing._open.discard(self)

    def forget(self) -> None:
        self._frames.clear()

    def latest(self) -> bytes:
        """Give the last fifth of a second; nothing where it is not whole, or long ago."""
        if len(self._frames) < _HEARD_FRAMES or time.monotonic() - self._heard_at > _FRESH_SECONDS:
            return b""
        return b"".join(self._frames)
