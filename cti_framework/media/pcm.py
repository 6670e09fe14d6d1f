"""The one form in which sound is handed around: frames of 20 ms, 48 kHz, mono, 16 bits signed, little-endian.

It is what Opus works at. Whatever comes in another form is converted where it comes in.
"""

from __future__ import annotations

import math
import sys
from array import array
from typing import Final

__all__ = [
    "FRAME_BYTES",
    "FRAME_SAMPLES",
    "FRAME_SECONDS",
    "SAMPLE_RATE_HZ",
    "SILENCE",
    "level_dbfs",
    "samples_of",
]

SAMPLE_RATE_HZ: Final = 48_000
FRAME_SECONDS: Final = 0.02
FRAME_SAMPLES: Final = 960
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
SILENCE: Final = bytes(FRAME_BYTES)

_FULL_SCALE: Final = 32_768
_FLOOR_DBFS: Final = -96.0


def samples_of(pcm: bytes) -> array[int]:
    """Give the samples as numbers.

    Args:
        pcm: One or more frames.

    Returns:
        A number between -32,768 and 32,767 a sample.
    """
    samples = array("h")
    samples.frombytes(pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def level_dbfs(pcm: bytes) -> float:
    """Measure how loud it is.

    Args:
        pcm: One or more frames.

    Returns:
        The root mean square against full scale, in dB: 0 is as loud as can be, -96 is silence.
    """
    samples = samples_of(pcm)
    if not samples:
        return _FLOOR_DBFS
    power = sum(sample * sample for sample in samples) / len(samples)
    return max(10 * math.log10(power / _FULL_SCALE**2), _FLOOR_DBFS) if power else _FLOOR_DBFS
