"""The recordings' port: HTTP/1.1 on anyio's streams, framed by ``h11``, so asyncio and trio run the same lines.

``GET`` and ``HEAD`` of ``/api/v2/files/<uuid>`` with the key and the token of the link, or with them in the headers that the
engine's REST takes (facts: webitel-protocol 1.1, 3.5). A part of a file is answered as RFC 9110 has it: ``Range``, ``If-Range``,
``206``, ``416``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import UTC
from email.utils import format_datetime
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import attrs
import h11
import orjson
from anyio.abc import ByteStream

from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.recordings import Recording, Recordings
from cti_webitel.simulator.tokens import Tokens

__all__ = ["RecordingServer"]

_FILES: Final = "/api/v2/files/"
_RANGE: Final = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")
_PIECE_BYTES: Final = 16384
_MOST_REMEMBERED: Final = 256

_Headers = list[tuple[str, str]]


@attrs.frozen(kw_only=True)
class _Answer:
    status: int
    headers: _Headers
    body: bytes


class _Cut(Exception):
    """The line is to be cut in the middle of an answer."""


class RecordingServer:
    """Serves recordings.

    Args:
        recordings: Which there are.
        tokens: Who may fetch them.
        options: Tells how it behaves now.
        is_away: Tells whether the network is cut just now: then whoever connects is cut off at once.

    Attributes:
        requests: The latest requests: method, path without the query, and the range that was asked for.
    """

    def __init__(
        self,
        recordings: Recordings,
        tokens: Tokens,
        options: Callable[[], SimulatorOptions],
        is_away: Callable[[], bool],
    ) -> None:
        self._recordings = recordings
        self._tokens = tokens
        self._options = options
        self._is_away = is_away
        self._connections: set[anyio.CancelScope] = set()
        self.requests: deque[tuple[str, str, str]] = deque(maxlen=_MOST_REMEMBERED)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def drop(self) -> None:
        """Cut every connection, whatever is on its way."""
        for connection in tuple(self._connections):
            connection.cancel()

    async def serve(self, stream: ByteStream) -> None:
        """Serve one connection to its end, and close it.

        Args:
            stream: The connection.
        """
        try:
            with anyio.CancelScope() as scope:
                self._connections.add(scope)
                if not self._is_away():
                    await self._converse(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, h11.RemoteProtocolError, _Cut):
            # A peer that went away, one that speaks no HTTP, and one that is to find out what it does then.
            return
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()
            self._connections.discard(scope)

    async def _converse(self, stream: ByteStream) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            request: h11.Request | None = None
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await stream.receive())
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
            if request is None:
                return
            await self._send(stream, http, request, self._answer(request))
            if http.our_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _send(self, stream: ByteStream, http: h11.Connection, request: h11.Request, answer: _Answer) -> None:
        async def send(event: h11.Event) -> None:
            data = http.send(event)
            if data:
                await stream.send(data)

        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        await send(h11.Response(status_code=answer.status, headers=headers))
        body = b"" if request.method == b"HEAD" else answer.body
        cut_after_bytes = self._options().recording_cut_after_bytes if answer.status in (200, 206) else None
        for first in range(0, len(body), _PIECE_BYTES):
            await anyio.sleep(self._options().recording_pause_seconds)
            piece = body[first : first + _PIECE_BYTES]
            if cut_after_bytes is not None and first + len(piece) >= cut_after_bytes:
                await send(h11.Data(data=piece[: cut_after_bytes - first]))
                raise _Cut
            await send(h11.Data(data=piece))
        await send(h11.EndOfMessage())

    def _answer(self, request: h11.Request) -> _Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        url = urlsplit(request.target.decode("latin-1"))
        self.requests.append((request.method.decode("latin-1"), url.path, headers.get("range", "")))
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(405, "A recording can only be read.", [("Allow", "GET, HEAD")])
        query = parse_qs(url.query)
        key = query.get("x_key", [headers.get("x-key", "")])[0]
        token = query.get("access_token", [headers.get("x-access-token", "")])[0]
        presence, problem = self._tokens.owner(key, token)
        if presence is None:
            return _refusal(401, problem)
        recording = self._recordings.get(unquote(url.path.removeprefix(_FILES)))
        if recording is None or not url.path.startswith(_FILES):
            return _refusal(404, "Not found.")
        return _part(recording, headers)


def _refusal(status: int, message: str, headers: _Headers | None = None) -> _Answer:
    told = [("Content-Type", "application/json"), *(headers or [])]
    return _Answer(status=status, headers=told, body=orjson.dumps({"status": status, "message": message}))


def _part(recording: Recording, asked: dict[str, str]) -> _Answer:
    file = recording.wav()
    total = len(file)
    etag = f'"{recording.uuid}-{total}"'
    modified = format_datetime(recording.ended_at.astimezone(UTC), usegmt=True)
    headers = [("Content-Type", "audio/wav"), ("Accept-Ranges", "bytes"), ("ETag", etag), ("Last-Modified", modified)]
    found = _RANGE.fullmatch(asked.get("range", ""))
    # What cannot be understood, or is of another version, is answered with the whole.
    if found is None or not (found["first"] or found["last"]) or asked.get("if-range", etag) not in (etag, modified):
        return _Answer(status=200, headers=headers, body=file)
    first, last = _bounds(found["first"], found["last"], total)
    if first >= total or last < first:
        return _Answer(status=416, headers=[*headers, ("Content-Range", f"bytes */{total}")], body=b"")
    headers.append(("Content-Range", f"bytes {first}-{last}/{total}"))
    return _Answer(status=206, headers=headers, body=file[first : last + 1])


def _bounds(first: str, last: str, total: int) -> tuple[int, int]:
    """Read ``3-7``, ``3-`` or ``-7`` (the last seven bytes): the first and the last byte that are asked for."""
    if not first:
        return max(0, total - int(last)), total - 1
    return int(first), min(int(last), total - 1) if last else total - 1
