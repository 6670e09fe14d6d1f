"""The attempts of a download, until all of it is there: what is asked for, and what each answer means.

::

    200         the whole: what came before is forgotten
    206         the rest, if it is that of the same file; otherwise it begins anew
    416         there is no rest: it is complete, or another file
    401, 403    RecordingExpiredError
    404, 410    RecordingNotFoundError
    408, 425,   tried again
    429, 5xx
    all else    RecordingAnswerError

A line that breaks or falls silent is tried again. A server that cannot be connected to is not, unless it answered before.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import anyio
import attrs
import httpx2

from cti_framework.provider import FetchProgress
from cti_framework.threads import call_in_thread
from cti_webitel.part_file import FileVersion, PartFile, PartFileBusyError
from cti_webitel.recording_errors import (
    RecordingAnswerError,
    RecordingError,
    RecordingExpiredError,
    RecordingFileError,
    RecordingInterruptedError,
    RecordingNotFoundError,
    RecordingUnavailableError,
)
from cti_webitel.recording_link import RecordingLink, extension_of

__all__ = ["Download", "DownloadLimits", "on_disk"]

T = TypeVar("T")

_OVERLOADED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(?P<first>\d+)-\d+|\*)/(?P<total>\d+|\*)")


@attrs.frozen(kw_only=True)
class DownloadLimits:
    """How long and how often a download is tried.

    Attributes:
        connect_seconds: For a connection to be made, and again for TLS.
        silence_seconds: How long nothing may come.
        attempts: How often it is tried in all.
        pause_seconds: The longest pause before the second attempt; before each further one it is twice as long. Each is drawn
            from its upper half.
    """

    connect_seconds: float = 5.0
    silence_seconds: float = 15.0
    attempts: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    pause_seconds: float = 0.5


class Download:
    """One recording on its way.

    Args:
        where: From where it comes.
        part: What has come of it.
        progress: Told how far it is.
        limits: How long and how often to try.
        log: Where to log.
    """

    def __init__(
        self,
        where: RecordingLink,
        part: PartFile,
        progress: Callable[[FetchProgress], object] | None,
        limits: DownloadLimits,
        log: Any,
    ) -> None:
        self._where = where
        self._part = part
        self._progress = progress
        self._limits = limits
        self._log = log
        self._was_reached = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing: it was cancelled just before the file got its name."""
        return self._part.version is not None and 0 < self._part.size_bytes == self._part.version.total_bytes

    async def run(self, client: httpx2.AsyncClient) -> None:
        """Try until all of it is there.

        Args:
            client: What asks.

        Raises:
            RecordingError: It cannot be had, or not by so many attempts.
        """
        pause_seconds = self._limits.pause_seconds
        for attempt in range(1, self._limits.attempts + 1):
            self._tell()
            failure = await self._attempt(client)
            if failure is None:
                return
            self._log.info(
                "webitel.recording.attempt_failed",
                address=self._where.address,
                reason=failure.message,
                received_bytes=self._part.size_bytes,
                attempt=attempt,
            )
            if attempt == self._limits.attempts:
                raise failure
            await anyio.sleep(pause_seconds * random.uniform(0.5, 1.0))
            pause_seconds *= 2

    async def _attempt(self, client: httpx2.AsyncClient) -> RecordingError | None:
        """Ask for what is missing, and take it. Gives what went wrong if another attempt may help, and raises the rest."""
        request = client.build_request(
            "GET", self._where.address, headers=self._range(), extensions={"target": self._where.target}
        )
        answered = False
        try:
            response = await client.send(request, stream=True)
            answered = self._was_reached = True
            try:
                return await self._take(response)
            finally:
                await response.aclose()
        except httpx2.TransportError as error:
            failure = self._interrupted(error) if answered else self._unavailable(error)
            is_final = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) and not self._was_reached
        # Not where the library's error would hang on it: that one knows the request.
        if is_final or not failure.retryable:
            raise failure
        return failure

    def _range(self) -> dict[str, str]:
        """The headers that ask for the rest, if the server can then tell whether it is the same file."""
        version, size_bytes = self._part.version, self._part.size_bytes
        if version is None or not size_bytes or (version.total_bytes is not None and version.total_bytes < size_bytes):
            return {}
        # A weak name does not promise the same bytes.
        condition = version.etag if version.etag and not version.etag.startswith("W/") else version.last_modified
        if condition is None and version.total_bytes is None:
            return {}
        return {"Range": f"bytes={size_bytes}-", **({"If-Range": condition} if condition else {})}

    async def _take(self, response: httpx2.Response) -> RecordingError | None:
        where, status = self._where.address, response.status_code
        if status in (401, 403):
            raise RecordingExpiredError(f"{where} refuses the key or the token of the link ({status}).")
        if status in (404, 410):
            raise RecordingNotFoundError(f"There is no recording at {where} ({status}).")
        if status in _OVERLOADED:
            return RecordingUnavailableError(f"{where} cannot answer now ({status}).", remedy="Try again later.")
        if 300 <= status < 400:
            raise RecordingAnswerError(f"{where} redirects to {_host_of(response)} ({status}): the key is not sent there.")
        asked = "Range" in response.request.headers
        if status in (206, 416) and asked:
            return await self._continue(response)
        if status != 200:
            raise RecordingAnswerError(f"{where} answers what was not asked for ({status}).")
        version = _version_of(response)
        self._check(response, version)
        await on_disk(self._part.begin, version)
        return await self._receive(response)

    async def _continue(self, response: httpx2.Response) -> RecordingError | None:
        """Take the rest, or find that there is none, or that it is the rest of something else."""
        known, here = self._part.version or FileVersion(), self._part.size_bytes
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = found["total"] if found else "*"
        told = attrs.evolve(_version_of(response), total_bytes=None if total == "*" else int(total))
        if known.may_be(told):
            if response.status_code == 416 and told.total_bytes == here:
                return None
            if response.status_code == 206 and found and found["first"] == str(here):
                self._check(response, told)
                return await self._receive(response)
        await on_disk(self._part.begin, FileVersion())
        return RecordingInterruptedError(f"{self._where.address} holds another recording than before.")

    def _check(self, response: httpx2.Response, version: FileVersion) -> None:
        where, headers = self._where.address, response.headers
        if extension_of(version.content_type) is None:
            raise RecordingAnswerError(f"{where} answers with {version.content_type[:80]}, which is no recording.")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise RecordingAnswerError(f"{where} sends the recording compressed, which was not asked for.")
        if "Content-Length" not in headers and "chunked" not in headers.get("Transfer-Encoding", ""):
            raise RecordingAnswerError(f"{where} does not say where the recording ends: half of one would look whole.")

    async def _receive(self, response: httpx2.Response) -> RecordingError | None:
        self._tell()
        failure: Exception | None = None
        try:
            async for piece in response.aiter_raw():
                if failure is None:
                    try:
                        await on_disk(self._part.append, piece)
                        self._tell()
                    except Exception as error:  # noqa: BLE001  # a full disk, or whoever is told: it goes out below
                        # Left alone, the library's generators are closed by the garbage collector, of which trio complains.
                        # With the response closed they come to their end.
                        failure = error
                        await response.aclose()
        except httpx2.TransportError:
            if failure is None:
                raise
        if failure is not None:
            raise failure
        version, here = self._part.version, self._part.size_bytes
        if not here:
            raise RecordingAnswerError(f"The recording at {self._where.address} is empty.")
        if version is not None and version.total_bytes is not None and version.total_bytes != here:
            return RecordingInterruptedError(f"{self._where.address} sent {here} of {version.total_bytes} bytes.")
        return None

    def _tell(self) -> None:
        if self._progress is not None:
            version = self._part.version
            self._progress(FetchProgress(self._part.size_bytes, version.total_bytes if version else None))

    def _interrupted(self, error: httpx2.TransportError) -> RecordingError:
        silent = isinstance(error, httpx2.TimeoutException)
        how = f"fell silent for {self._limits.silence_seconds:g} s" if silent else "broke off"
        version = self._part.version
        total = f" of {version.total_bytes}" if version and version.total_bytes is not None else ""
        return RecordingInterruptedError(f"{self._where.address} {how} after {self._part.size_bytes}{total} bytes.")

    def _unavailable(self, error: httpx2.TransportError) -> RecordingError:
        where = self._where.address
        if isinstance(error, httpx2.TimeoutException):
            return RecordingUnavailableError(f"{where} does not answer.", remedy="Check network and firewall.")
        for cause in _causes(error):
            match cause:
                case ssl.SSLCertVerificationError():
                    return RecordingUnavailableError(
                        f"The TLS certificate of {where} is not trusted: {cause.verify_message}.",
                        retryable=False,
                        remedy="Install the authority that signed it, or name its file: cti.tls_ca_file.",
                    )
                case ssl.SSLError():
                    return RecordingUnavailableError(
                        f"TLS with {where} failed.", retryable=False, remedy="Check that the port speaks TLS."
                    )
                case socket.gaierror():
                    return RecordingUnavailableError(f"The host name of {where} is not known.", remedy="Check the name server.")
                case ConnectionRefusedError():
                    return RecordingUnavailableError(f"{where} refuses connections.", remedy="Check that the server runs.")
        if isinstance(error, httpx2.RemoteProtocolError):
            return RecordingUnavailableError(f"{where} gives no answer in HTTP.", remedy="Check the port.")
        return RecordingUnavailableError(f"{where} cannot be connected to.", remedy="Check the network.")


async def on_disk(act: Callable[..., T], *arguments: object) -> T:
    """Do what may block in a thread, to its end: what it opens or writes is known of even to who is cancelled.

    Args:
        act: What to do.
        arguments: Its arguments.

    Returns:
        What it returns.

    Raises:
        RecordingFileError: The file system refuses, or somebody else has the file.
    """
    failure: RecordingFileError
    with anyio.CancelScope(shield=True):
        try:
            return await call_in_thread("cti: recording", act, *arguments)
        except PartFileBusyError as error:
            failure = RecordingFileError(f"{error}.", retryable=True, remedy="Wait until it is there.")
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
            failure = RecordingFileError(
                f"The recording cannot be saved: {what}.", remedy="Make room, or name another directory."
            )
            failure.__cause__ = error
    raise failure


def _version_of(response: httpx2.Response) -> FileVersion:
    headers = response.headers
    length = headers.get("Content-Length", "")
    return FileVersion(
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        total_bytes=int(length) if length.isdigit() else None,
        content_type=headers.get("Content-Type", "").partition(";")[0].strip().lower(),
    )


def _host_of(response: httpx2.Response) -> str:
    """Where a redirect leads, and no more of it: a server that redirects repeats the query."""
    try:
        url = response.request.url.join(response.headers.get("Location", ""))
    except httpx2.InvalidURL:
        return "nowhere"
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    for member in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _causes(member)
    # The library's pool cuts the causes off; what was being handled is still there.
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield from _causes(cause)
