"""What speaks and what listens, as it is said on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from cti_framework.media import AudioSink, AudioSource, FileSource, Microphone, NoSink, Silence, Speaker, Tone

__all__ = ["SinkMaker", "SourceMaker", "read_sink", "read_source"]

SinkMaker: TypeAlias = Callable[[], AudioSink]
"""Makes what listens in a call."""

_LOWEST_HZ: Final = 1
_HIGHEST_HZ: Final = 20_000


@attrs.frozen
class SourceMaker:
    """Makes what speaks in a call.

    Attributes:
        make: Makes it.
        plays_once: Whether it has an end, and is to begin when the call is connected.
    """

    make: Callable[[], AudioSource]
    plays_once: bool = False


def read_source(text: str) -> SourceMaker:
    """Read what is to speak.

    Args:
        text: ``silence``, ``tone:HZ``, ``device``, ``device:NAME``, ``file:PATH`` or the path of a file that is there.

    Returns:
        What makes it.

    Raises:
        ValueError: It is none of them; the words say what there is.
    """
    kind, colon, rest = text.partition(":")
    if text == "silence":
        return SourceMaker(Silence)
    if kind == "tone" and colon:
        frequency_hz = int(rest) if rest.isascii() and rest.isdecimal() else 0
        if not _LOWEST_HZ <= frequency_hz <= _HIGHEST_HZ:
            raise ValueError(f"a tone has {_LOWEST_HZ} to {_HIGHEST_HZ} whole hertz, as tone:440")
        return SourceMaker(lambda: Tone(frequency_hz))
    if kind == "device":
        return SourceMaker(lambda: Microphone(rest or None))
    path = Path(rest if kind == "file" and colon else text)
    if not path.is_file():
        raise ValueError(f"it is silence, tone:440, device, device:NAME or a file that is there; there is no file {str(path)!r}")
    return SourceMaker(lambda: FileSource(path), plays_once=True)


def read_sink(text: str) -> SinkMaker | Path:
    """Read what is to listen.

    Args:
        text: ``none``, ``device``, ``device:NAME``, ``file:PATH`` or a path that ends in ``.wav``.

    Returns:
        What makes it, or the file to save to.

    Raises:
        ValueError: It is none of them; the words say what there is.
    """
    kind, _, rest = text.partition(":")
    if text == "none":
        return NoSink
    if kind == "device":
        return lambda: Speaker(rest or None)
    if kind == "file" and rest:
        return Path(rest)
    if text.lower().endswith(".wav"):
        return Path(text)
    raise ValueError("it is none, device, device:NAME or a file that ends in .wav")
