"""The link of a recording, taken apart: what may be shown, and what may not."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

import attrs
import httpx2

from cti_framework.errors import InvalidArgumentError

__all__ = ["EXTENSIONS", "RecordingLink", "extension_of", "read_link"]

_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 128
_HIGHEST_PORT: Final = 65535
_OTHER_EXTENSION: Final = ".bin"

_EXTENSIONS_BY_TYPE: Final = MappingProxyType(
    {
        "audio/wav": ".wav",
        "audio/x-wav": ".wav",
        "audio/wave": ".wav",
        "audio/vnd.wave": ".wav",
        "audio/mpeg": ".mp3",
        "audio/mp3": ".mp3",
        "audio/ogg": ".ogg",
        "application/ogg": ".ogg",
        "audio/opus": ".opus",
        "audio/mp4": ".m4a",
        "audio/x-m4a": ".m4a",
        "audio/flac": ".flac",
        "audio/webm": ".webm",
        "video/webm": ".webm",
        "video/mp4": ".mp4",
        "application/mp4": ".mp4",
    }
)
_OF_UNKNOWN_KIND: Final = ("", "application/octet-stream", "binary/octet-stream")

EXTENSIONS: Final = tuple(sorted({*_EXTENSIONS_BY_TYPE.values(), _OTHER_EXTENSION}))
"""All extensions that a recording is saved with."""


@attrs.frozen(kw_only=True)
class RecordingLink:
    """A link.

    Attributes:
        address: Scheme, host, port and path: what may be shown.
        name: What the recording is called, free of anything that means something to a file system.
        target: Path and query, as they go on the wire: with key and token.
        credentials: User name and password, for a proxy in front of the recordings that asks for them.
    """

    address: str
    name: str
    target: bytes = attrs.field(repr=False)
    credentials: tuple[str, str] | None = attrs.field(repr=False)


def read_link(link: str) -> RecordingLink:
    """Take a link apart.

    Args:
        link: As the engine gave it.

    Returns:
        Its parts.

    Raises:
        InvalidArgumentError: It is no link of ``http`` or ``https``. The error does not quote it.
    """
    try:
        url = httpx2.URL(link.strip())
        # What no name server could be asked for.
        url.raw_host.decode("ascii").encode("idna")
    except (httpx2.InvalidURL, UnicodeError):
        url = httpx2.URL()
    if url.scheme not in ("http", "https") or not url.host or (url.port is not None and not 0 < url.port <= _HIGHEST_PORT):
        raise InvalidArgumentError(
            "The link of the recording is no address of http or https.",
            command="fetch_recording",
            remedy="Give it as `query_recordings` gave it.",
        )
    return RecordingLink(
        address=str(url.copy_with(query=None, fragment=None, username=None, password=None)),
        name=_name(url.raw_path.partition(b"?")[0].decode("ascii", "replace")),
        target=url.raw_path,
        credentials=(url.username, url.password) if url.userinfo else None,
    )


def _name(path: str) -> str:
    """The path's last part, which is the recording's uuid, as a name that can only be a file's."""
    last = unquote(path.rstrip("/").rpartition("/")[2])
    return _STRANGE.sub("_", last).strip("_")[:_LONGEST_NAME] or "recording"


def extension_of(content_type: str) -> str | None:
    """Tell how a recording of a content type is saved.

    Args:
        content_type: It, without parameters.

    Returns:
        The extension, with its dot; ``None``: that is no recording.
    """
    known = _EXTENSIONS_BY_TYPE.get(content_type)
    if known is None and (content_type in _OF_UNKNOWN_KIND or content_type.startswith(("audio/", "video/"))):
        return _OTHER_EXTENSION
    return known
