"""What is sent: sound from somewhere, one frame at a time.

Whoever sends reads a frame every 20 ms. A source that has its own clock, as a microphone, gives what it has; it never makes the
sender wait for long.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from array import array
from collections import deque
from typing import Final

from cti_framework.media.pcm import FRAME_SAMPLES, SAMPLE_RATE_HZ, SILENCE
from cti_framework.media.sinks import AudioSink

__all__ = ["AudioSource", "DtmfTones", "Pipe", "Silence", "Tone"]

_DTMF: Final = {
    digit: (row, column)
    for row, digits in ((697, "123A"), (770, "456B"), (852, "789C"), (941, "*0#D"))
    for column, digit in zip((1_209, 1_336, 1_477, 1_633), digits, strict=True)
}
"""ITU-T Q.23."""


class AudioSource(ABC):
    """Sound to be sent. Opened by the peer that it is given to, and closed by it."""

    async def open(self) -> None:
        """Get ready. What is there already needs nothing.

        Raises:
            MediaError: It cannot be had; the sentence says why and what to do.
        """
        return

    @abstractmethod
    async def read(self) -> bytes | None:
        """Give the next frame.

        Returns:
            20 ms of sound in the form of ``pcm``; ``None``: there is no more, now and for ever.

        Raises:
            MediaError: The source broke.
        """

    async def close(self) -> None:
        """Let go of everything, also while a ``read`` waits: it then gives ``None``. Closing again does nothing."""
        return


class Silence(AudioSource):
    """Nothing to hear: for those who only listen."""

    async def read(self) -> bytes | None:
        """Give 20 ms of silence.

        Returns:
            The frame.
        """
        return SILENCE


class Tone(AudioSource):
    """One or more tones together: for tests, and to be recognised by.

    Args:
        frequencies_hz: Each between 1 and 20,000.
        level_dbfs: How loud all together are, as ``pcm.level_dbfs`` measures: a number below 0.

    Raises:
        ValueError: No frequency, one out of range, or too loud.
    """

    def __init__(self, *frequencies_hz: int, level_dbfs: float = -18.0) -> None:
        if not frequencies_hz or not all(1 <= frequency <= 20_000 for frequency in frequencies_hz):
            raise ValueError(f"frequencies_hz: {frequencies_hz!r}; one or more between 1 and 20,000 make a tone")
        # The waves of several tones can meet: their sum must stay below full scale.
        amplitude = math.sqrt(2 / len(frequencies_hz)) * 10 ** (level_dbfs / 20)
        if amplitude * len(frequencies_hz) > 1:
            raise ValueError(f"level_dbfs: {level_dbfs!r} is louder than {len(frequencies_hz)} tones can be")
        self._frequencies = frequencies_hz
        self._amplitude = 32_767 * amplitude
        # Tones of whole hertz repeat after a second.
        self._frames: list[bytes] = []
        self._next = 0

    async def read(self) -> bytes | None:
        """Give the next 20 ms of the tone.

        Returns:
            The frame.
        """
        index = self._next
        self._next = (index + 1) % (SAMPLE_RATE_HZ // FRAME_SAMPLES)
        if index == len(self._frames):
            self._frames.append(self._frame(index * FRAME_SAMPLES))
        return self._frames[index]

    def _frame(self, first: int) -> bytes:
        turns = [2 * math.pi * frequency / SAMPLE_RATE_HZ for frequency in self._frequencies]
        samples = array(
            "h",
            (
                round(self._amplitude * sum(math.sin(turn * sample) for turn in turns))
                for sample in range(first, first + FRAME_SAMPLES)
            ),
        )
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()


class DtmfTones(AudioSource):
    """Digits as they sound on a telephone, for machines that listen instead of reading the signalling.

    FreeSWITCH takes digits by the signalling (facts: verto, Calls); these are for where only sound goes through.

    Args:
        digits: Of ``0``-``9``, ``*``, ``#``, ``A``-``D``.

    Raises:
        ValueError: Another character.
    """

    def __init__(self, digits: str) -> None:
        wrong = sorted(set(digits.upper()) - set(_DTMF))
        if wrong:
            raise ValueError(f"digits: {''.join(wrong)!r} cannot be dialled")
        self._tones = deque(Tone(*_DTMF[digit], level_dbfs=-12.0) for digit in digits.upper())
        self._frame = 0

    async def read(self) -> bytes | None:
        """Give the next 20 ms: 100 ms a digit, and 100 ms of silence after it.

        Returns:
            The frame; ``None`` after the last digit.
        """
        if not self._tones:
            return None
        self._frame += 1
        if self._frame <= 5:
            return await self._tones[0].read()
        if self._frame == 10:
            self._frame = 0
            self._tones.popleft()
        return SILENCE


class Pipe(AudioSource, AudioSink):
    """Both ends of a pipe: what one peer hears, another one says. A peer that has it as source and as sink is an echo.

    Args:
        longest_frames: What is kept, at most; older sound is let go.
    """

    def __init__(self, longest_frames: int = 10) -> None:
        self._frames: deque[bytes] = deque(maxlen=longest_frames)

    async def open(self) -> None:
        """Get ready: nothing of an earlier call is left in it."""
        self._frames.clear()

    async def read(self) -> bytes | None:
        """Give the oldest frame in it.

        Returns:
            The frame; silence where there is none.
        """
        return self._frames.popleft() if self._frames else SILENCE

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Put a frame in.

        Args:
            frame: 20 ms of sound.
            missing: How many were lost before it; nothing is put in for them.
        """
        self._frames.append(frame)

    async def close(self) -> None:
        """Let go of what is in it."""
        self._frames.clear()
