"""Call recordings over HTTP (port 4004): a link of the engine becomes a file.

The engine answers ``cdr_get_record_link`` with ``<cdr>/api/v2/files/<uuid>?x_key=<key>&access_token=<token>`` (facts:
webitel-protocol 3.5): whoever reads the link has the recording. So its query goes on the wire and nowhere else. The HTTP library
knows the address without it and is given path and query as the request's target; what is logged, raised, and used for names
comes from the address.

A download is written to ``NAME.part`` and gets its name when all of it is there. It is continued where it broke off, at once and
by a later call, as long as the server says that it is the same file.
"""

from __future__ import annotations

import contextvars
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import httpx2
import structlog
from typed_settings.types import Secret

from cti_framework.errors import InvalidArgumentError
from cti_framework.provider import FetchProgress
from cti_framework.threads import call_in_thread
from cti_webitel.part_file import PartFile
from cti_webitel.recording_download import Download, DownloadLimits, on_disk
from cti_webitel.recording_errors import (
    RecordingAnswerError,
    RecordingError,
    RecordingExpiredError,
    RecordingFileError,
    RecordingInsecureError,
    RecordingInterruptedError,
    RecordingNotFoundError,
    RecordingUnavailableError,
)
from cti_webitel.recording_link import EXTENSIONS, RecordingLink, extension_of, read_link

__all__ = [
    "DownloadLimits",
    "RecordingAnswerError",
    "RecordingError",
    "RecordingExpiredError",
    "RecordingFile",
    "RecordingFileError",
    "RecordingInsecureError",
    "RecordingInterruptedError",
    "RecordingNotFoundError",
    "RecordingUnavailableError",
    "address_of",
    "download_recording",
]

_HEADERS: Final = {
    "User-Agent": "cti-framework-webitel",
    # Compressed it could neither be counted nor continued.
    "Accept-Encoding": "identity",
}


@attrs.frozen(kw_only=True)
class RecordingFile:
    """A recording that was saved.

    Attributes:
        path: Where.
        size_bytes: How long it is.
        content_type: What the server says that it is; empty: it does not say.
    """

    path: Path
    size_bytes: int
    content_type: str


def address_of(link: Secret[str] | str) -> str:
    """Tell where a link leads, without its key and token.

    Args:
        link: As ``Webitel.recording_link`` gave it.

    Returns:
        Scheme, host, port and path.

    Raises:
        InvalidArgumentError: The link is none.
    """
    return read_link(link if isinstance(link, str) else link.get_secret_value()).address


async def download_recording(
    link: Secret[str] | str,
    directory: Path,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Callable[[FetchProgress], object] | None = None,
    limits: DownloadLimits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    log: structlog.typing.FilteringBoundLogger | Any = None,
) -> RecordingFile:
    """Save a recording as a file.

    Redirects are not followed and no proxy is used, whatever the environment says: the link holds a key. Cancelling it loses
    nothing of what came. The pieces stay where they are, and the next call for the same recording and directory goes on with
    them, also with a fresh link.

    Args:
        link: As ``Webitel.recording_link`` gave it.
        directory: Where to save it.
        name: What to call the file; by default the recording's own identifier, with the extension of its content type.
        overwrite: Whether a file that is there may be replaced.
        progress: Told whenever bytes came in, and when an attempt begins. It must not raise.
        limits: How long and how often to try.
        ssl_context: For ``https``; by default one that checks the certificate against the system's authorities.
        log: Where to log.

    Returns:
        The complete file.

    Raises:
        InvalidArgumentError: The link is none, or the name.
        RecordingExpiredError: Its key or its token is refused.
        RecordingNotFoundError: There is no such recording.
        RecordingUnavailableError: Nobody answers there, or the server is down.
        RecordingInterruptedError: It broke off, and again each time it was continued.
        RecordingAnswerError: What answers is no recording.
        RecordingFileError: It cannot be saved there, is just being saved by somebody else, or is there already.
    """
    where = read_link(link if isinstance(link, str) else link.get_secret_value())
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise InvalidArgumentError(f"{name!r} is no name of a file.", command="fetch_recording")
    limits = limits or DownloadLimits()
    log = structlog.get_logger("cti_webitel") if log is None else log
    place = _Place(Path(directory), where.name, name, overwrite)
    part = await on_disk(place.open)
    try:
        download = Download(where, part, progress, limits, log)
        if not download.is_complete:
            context = ssl_context or await _ssl_context(where)
            with _headers_untold():
                async with _client(where, limits, context) as client:
                    await download.run(client)
        return await on_disk(place.finish, part)
    finally:
        # Not in a thread: it takes no time, and may not be left out.
        part.close()


class _Place:
    """Where a recording goes.

    Args:
        directory: Into which directory.
        stem: What the recording is called by itself.
        name: What it is to be called instead.
        overwrite: Whether it may replace what is there.
    """

    def __init__(self, directory: Path, stem: str, name: str | None, overwrite: bool) -> None:
        self._directory = directory
        self._stem = stem
        self._name = name
        self._overwrite = overwrite

    def open(self) -> PartFile:
        if not self._directory.is_dir():
            raise RecordingFileError(f"There is no directory {str(self._directory)!r}.", remedy="Make it, or name another.")
        part = PartFile(self._directory / f"{self._name or self._stem}.part")
        try:
            for name in (self._name,) if self._name else [self._stem + extension for extension in EXTENSIONS]:
                self._spare(self._directory / name)
        except BaseException:
            part.close()
            raise
        return part

    def finish(self, part: PartFile) -> RecordingFile:
        content_type = part.version.content_type if part.version else ""
        target = self._directory / (self._name or self._stem + (extension_of(content_type) or ""))
        self._spare(target)
        part.finish(target)
        return RecordingFile(path=target, size_bytes=part.size_bytes, content_type=content_type)

    def _spare(self, target: Path) -> None:
        if not self._overwrite and target.exists():
            raise RecordingFileError(
                f"{str(target)!r} is there already.", remedy="It is left as it is: move it away to fetch the recording again."
            )


def _client(where: RecordingLink, limits: DownloadLimits, context: ssl.SSLContext) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        auth=where.credentials,
        headers=_HEADERS,
        verify=context,
        timeout=httpx2.Timeout(limits.silence_seconds, connect=limits.connect_seconds),
        follow_redirects=False,
        trust_env=False,
    )


async def _ssl_context(where: RecordingLink) -> ssl.SSLContext:
    if where.address.startswith("https:"):
        # It reads all authorities that the system trusts.
        return await call_in_thread("cti: recording", ssl.create_default_context)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


_is_fetching: Final = contextvars.ContextVar("_is_fetching", default=False)


class _HeadersUntold(logging.Filter):
    """Keeps the headers of our answers out of ``httpcore2``'s debug lines: a redirect repeats the link with its key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_fetching.get()


_HEADERS_UNTOLD: Final = _HeadersUntold()


@contextmanager
def _headers_untold() -> Iterator[None]:
    # Adding it again does nothing, and it stops nobody else's records.
    logging.getLogger("httpcore2.http11").addFilter(_HEADERS_UNTOLD)
    token = _is_fetching.set(True)
    try:
        yield
    finally:
        _is_fetching.reset(token)
