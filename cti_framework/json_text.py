r"""Reading JSON that others write, also where half a character is in it.

JavaScript's texts are made of 16-bit units, and a character beyond them of two: a name that was cut in the middle of one ends in
half a character. ``JSON.stringify`` writes that as the escape ``\ud83d``, which JSON allows and orjson refuses.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["read_json"]

_WHOLE: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF: Final = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"{_WHOLE}|({_HALF})|\\.|([\ud800-\udfff])", re.DOTALL)
_ESCAPE_IN_BYTES: Final = re.compile(rf"{_WHOLE}|({_HALF})|\\.".encode(), re.DOTALL)
_REPLACEMENT: Final = r"\ufffd"
_REPLACEMENT_IN_BYTES: Final = _REPLACEMENT.encode()


def read_json(data: str | bytes | bytearray) -> Any:
    """Read a JSON document.

    Args:
        data: It.

    Returns:
        The value. Half a character in it is ``U+FFFD``.

    Raises:
        ValueError: It is none.
    """
    # Loaded with the first document: importing the core stays light.
    import orjson

    try:
        return orjson.loads(data)
    except ValueError:
        mended = _mended(data)
        if mended == data:
            raise
    return orjson.loads(mended)


def _mended(data: str | bytes | bytearray) -> str | bytes:
    # Escape by escape: of `\\ud83d`, which a text within a text has, the first two characters are one.
    if isinstance(data, str):
        return _ESCAPE.sub(lambda found: _REPLACEMENT if found[1] or found[2] else found[0], data)
    return _ESCAPE_IN_BYTES.sub(lambda found: _REPLACEMENT_IN_BYTES if found[1] else found[0], data)
