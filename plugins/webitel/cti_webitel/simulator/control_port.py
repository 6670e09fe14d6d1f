"""The control port: JSON lines over TCP, and on the same port HTTP POST with a JSON body.

The first bytes tell which: no JSON object begins with a method's name. A bad line, or a bad body, is answered with
``{"error": …}`` and the connection lives on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio
import orjson
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["serve_control"]

_MAX_LINE_BYTES = 2**20
_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")


async def serve_control(stream: ByteStream, carry_out: Callable[[object], dict[str, object]]) -> None:
    """Serve one connection to its end, and close it.

    Args:
        stream: The connection.
        carry_out: Given each object that came in; what it returns goes out.
    """
    received = BufferedByteReceiveStream(stream)
    try:
        goes_on = True
        while goes_on:
            line = (await received.receive_until(b"\n", _MAX_LINE_BYTES)).rstrip(b"\r")
            if line.startswith(_METHODS):
                goes_on = await _answer_http(stream, received, line, carry_out)
            elif line.strip():
                await stream.send(orjson.dumps(_answer(line, carry_out), default=dict) + b"\n")
    except anyio.DelimiterNotFound:
        # Where a line of that length ends nobody can say: the connection cannot go on.
        with suppress(anyio.BrokenResourceError):
            await stream.send(b'{"error":"a line has at most 1 MiB"}\n')
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
        pass
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()


def _answer(text: bytes, carry_out: Callable[[object], dict[str, object]]) -> dict[str, object]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return {"error": f"this is no JSON: {error}"}
    return carry_out(request)


async def _answer_http(
    stream: ByteStream,
    received: BufferedByteReceiveStream,
    request_line: bytes,
    carry_out: Callable[[object], dict[str, object]],
) -> bool:
    """Answer one HTTP request; tell whether the connection goes on."""
    headers: dict[bytes, bytes] = {}
    while header := (await received.receive_until(b"\n", _MAX_LINE_BYTES)).rstrip(b"\r"):
        name, _, value = header.partition(b":")
        headers[name.strip().lower()] = value.strip()
    method, _, rest = request_line.partition(b" ")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > _MAX_LINE_BYTES or b"transfer-encoding" in headers:
        await _send_http(stream, b"413 Content Too Large", {"error": "at most 1 MiB with its Content-Length is expected"})
        return False
    body = await received.receive_exactly(int(length)) if int(length) else b""
    if method == b"POST":
        await _send_http(stream, b"200 OK", _answer(body, carry_out))
    else:
        await _send_http(stream, b"405 Method Not Allowed", {"error": "POST a JSON object"})
    closes = headers.get(b"connection", b"").lower()
    return closes != b"close" and (rest.endswith(b"HTTP/1.1") or closes == b"keep-alive")


async def _send_http(stream: ByteStream, status: bytes, answer: dict[str, object]) -> None:
    body = orjson.dumps(answer, default=dict)
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    await stream.send(head + body)
