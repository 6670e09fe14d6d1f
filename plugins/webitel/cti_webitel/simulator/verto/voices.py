"""What those say and hear who have no web phone: each number a tone of its own, measured by its frequency."""

from __future__ import annotations

import cmath
import math
import sys
import zlib
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cti_framework.media import FRAME_SAMPLES, SAMPLE_RATE_HZ, SILENCE, level_dbfs

__all__ = ["MUSIC_HZ", "RING_HZ", "TEST_TONE_HZ", "default_voice_hz", "dominant_hz", "mixed", "tone_frame"]

MUSIC_HZ: Final = 523
"""What is heard by whoever is kept waiting."""
RING_HZ: Final = 425
"""What is heard while somebody's phone rings: a second on, four off."""
TEST_TONE_HZ: Final = 1_004
"""That of the number 9197."""

_LEVEL_DBFS: Final = -18.0
_QUIET_DBFS: Final = -50.0
_FRAMES_A_SECOND: Final = SAMPLE_RATE_HZ // FRAME_SAMPLES
_DECIMATION: Final = 6
_LOWEST_HZ: Final = 60.0


def default_voice_hz(number: str) -> int:
    """Give the tone that a number speaks with unless it is told another one: none that the switch itself has.

    Args:
        number: Whose.

    Returns:
        Hertz, from 1,100 to 1,690.
    """
    return 1_100 + 10 * (zlib.crc32(number.encode()) % 60)


@lru_cache(maxsize=64)
def _second_of(hertz: int) -> tuple[bytes, ...]:
    amplitude, turn = 32_767 * math.sqrt(2) * 10 ** (_LEVEL_DBFS / 20), 2 * math.pi * hertz / SAMPLE_RATE_HZ
    samples = array("h", (round(amplitude * math.sin(turn * sample)) for sample in range(SAMPLE_RATE_HZ)))
    if sys.byteorder == "big":
        samples.byteswap()
    pcm = samples.tobytes()
    return tuple(pcm[first : first + len(SILENCE)] for first in range(0, len(pcm), len(SILENCE)))


def tone_frame(hertz: int, index: int) -> bytes:
    """Give 20 ms of a tone.

    Args:
        hertz: Which: a whole number, so that it repeats every second.
        index: Which 20 ms.

    Returns:
        The frame.
    """
    return _second_of(hertz)[index % _FRAMES_A_SECOND]


def mixed(frames: Sequence[bytes]) -> bytes:
    """Let several be heard at once.

    Args:
        frames: What each says.

    Returns:
        The sum; silence where there is none.
    """
    loud = [frame for frame in frames if frame is not SILENCE]
    if len(loud) < 2:
        return loud[0] if loud else SILENCE
    sums = [max(-32_768, min(32_767, sum(values))) for values in zip(*map(_samples, loud), strict=True)]
    mix = array("h", sums)
    if sys.byteorder == "big":
        mix.byteswap()
    return mix.tobytes()


def dominant_hz(pcm: bytes) -> float | None:
    """Measure which frequency is the loudest.

    Args:
        pcm: Sound, half a second or so.

    Returns:
        Hertz, to within one; ``None``: it is quiet, or there is none.
    """
    if level_dbfs(pcm) < _QUIET_DBFS:
        return None
    samples = _samples(pcm)
    # An average is filter enough for tones: what is above 4 kHz is no voice.
    short = [sum(samples[at : at + _DECIMATION]) for at in range(0, len(samples) - _DECIMATION + 1, _DECIMATION)]
    size = 1 << max(len(short), 2).bit_length()
    count = len(short)
    windowed = [value * (0.5 - 0.5 * math.cos(2 * math.pi * at / count)) for at, value in enumerate(short)]
    powers = [abs(value) for value in _transform([complex(value) for value in windowed] + [0j] * (size - count))[: size // 2]]
    step = SAMPLE_RATE_HZ / _DECIMATION / size
    lowest = max(int(_LOWEST_HZ / step), 1)
    peak = max(range(lowest, len(powers) - 1), key=lambda at: powers[at])
    before, at, after = (math.log(powers[peak + offset] + 1e-9) for offset in (-1, 0, 1))
    curve = before - 2 * at + after
    return (peak + (0.5 * (before - after) / curve if curve else 0.0)) * step


def _samples(pcm: bytes) -> array[int]:
    samples = array("h")
    samples.frombytes(pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _transform(values: list[complex]) -> list[complex]:
    """Fourier's, by halves; the length is a power of two."""
    size = len(values)
    if size == 1:
        return values
    even, odd = _transform(values[::2]), _transform(values[1::2])
    half = size // 2
    turned = [cmath.exp(-2j * math.pi * at / size) * odd[at] for at in range(half)]
    return [even[at] + turned[at] for at in range(half)] + [even[at] - turned[at] for at in range(half)]
