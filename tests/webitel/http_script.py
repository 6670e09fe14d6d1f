"""A server of HTTP that says what a test has written down, byte for byte: for what no proper server would do."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import anyio
import attrs
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

__all__ = ["Asked", "Script", "Silence", "Unasked", "answer", "serve_script"]

_MAX_HEAD_BYTES = 65536


@attrs.frozen
class Asked:
    """A request that came."""

    target: str
    headers: Mapping[str, str]


@attrs.frozen
class Silence:
    """What is said before nothing is said any more, without an end."""

    said: bytes


@attrs.frozen
class Unasked:
    """What is said before anything was asked, and then the end."""

    said: bytes


def answer(status: int = 200, body: bytes = b"", cut_after_bytes: int | None = None, **headers: str) -> bytes:
    """Write an answer, or what is heard of it where the line is cut. A header given as ``""`` is left out."""
    told = {"Content-Type": "audio/wav", "Content-Length": str(len(body))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in told.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body[:cut_after_bytes]


class Script:
    """What the server says: one answer a connection, the last one again and again."""

    def __init__(self, *answers: bytes | Silence | Unasked) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.url = ""

    async def serve(self, stream: ByteStream) -> None:
        try:
            if isinstance(self.answers[0], Unasked):
                await stream.send(self.answers[0].said)
                return
            head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", _MAX_HEAD_BYTES)
            request, *lines = head.decode().split("\r\n")
            headers = dict(re.split(r":\s*", line.lower(), maxsplit=1) for line in lines)
            self.asked.append(Asked(request.split(" ")[1], headers))
            said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            await stream.send(said if isinstance(said, bytes) else said.said)
            if isinstance(said, Silence):
                await stream.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            return
        finally:
            # Over TLS a peer that has gone does not say goodbye.
            with anyio.CancelScope(shield=True), suppress(anyio.BrokenResourceError):
                await stream.aclose()


@asynccontextmanager
async def serve_script(*answers: bytes | Silence | Unasked, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """Serve it on loopback."""
    script = Script(*answers)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        script.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}"
        served = TLSListener(listener, ssl_context) if ssl_context else listener
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.serve, script.serve)
            yield script
            tasks.cancel_scope.cancel()
