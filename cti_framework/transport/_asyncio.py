"""The WebSocket of asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from cti_framework.errors import ConnectionFailedError

from ._failures import closed_failure, opening_failure, unread_failure
from ._options import YIELD_EVERY_MESSAGES, Options
from ._port import WebSocket
from ._unacknowledged import unacknowledged_bytes

__all__ = ["open_connection"]


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow none: the first message may be a password."""
        return exc


class AsyncioWebSocket(WebSocket):
    """A connection of ``websockets.asyncio`` behind the port."""

    __slots__ = ("_assembler", "_closing", "_connection", "_options", "_queued", "_received")

    def __init__(self, connection: ClientConnection, options: Options) -> None:
        self._connection = connection
        self._queued, self._assembler = _arrived_of(connection)
        self._options = options
        self._received = 0
        self._closing = False

    async def receive(self) -> bytes:
        await self._let_others_run()
        self._received += 1
        return await self._recv()

    async def receive_many(self) -> Sequence[bytes | bytearray]:
        await self._let_others_run()
        queued = self._queued
        batch: list[bytes | bytearray] = []
        if not queued or not queued[0].fin:
            batch.append(await self._recv())
        room = YIELD_EVERY_MESSAGES - self._received
        while queued and len(batch) < room and queued[0].fin:
            batch.append(queued.popleft().data)
        self._received += len(batch)
        if self._assembler is not None and self._assembler.paused:
            self._assembler.maybe_resume()
        return batch

    async def _let_others_run(self) -> None:
        # Before a message is taken, so that a cancellation here loses none.
        if self._received >= YIELD_EVERY_MESSAGES:
            self._received = 0
            await asyncio.sleep(0)

    async def _recv(self) -> bytes:
        try:
            return await self._connection.recv(False)
        except ConnectionClosed as error:
            failure = closed_failure(error, self._options)
        raise failure

    async def send(self, message: str | bytes) -> None:
        failure: ConnectionFailedError | None = None
        with anyio.move_on_after(self._options.send_timeout_seconds) as scope:
            try:
                await self._connection.send(message)
            except ConnectionClosed as error:
                failure = closed_failure(error, self._options)
        if scope.cancelled_caught:
            self._connection.transport.abort()
            failure = unread_failure(self._options)
        if failure is not None:
            raise failure

    async def close(self, code: int = 1000, reason: str = "") -> None:
        connection = self._connection
        if self._closing:
            with anyio.CancelScope(shield=True):
                await connection.wait_closed()
            return
        self._closing = True
        # It is forgotten by the connection before it has ended.
        keepalive = connection.keepalive_task
        with anyio.CancelScope(shield=True):
            try:
                with anyio.move_on_after(self._options.close_timeout_seconds):
                    await connection.close(code, reason)
            finally:
                # A cancelled close() of the library leaves the socket open until its keep-alive fails.
                connection.transport.abort()
            await connection.wait_closed()
            if keepalive is not None:
                await asyncio.wait([keepalive])

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        return self._connection.close_reason

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def unacknowledged_bytes(self) -> int | None:
        socket = self._connection.transport.get_extra_info("socket")
        return None if socket is None else unacknowledged_bytes(socket.fileno())


def _arrived_of(connection: ClientConnection) -> tuple[deque[Any], Any]:
    """Find the queue of a connection's arrived frames, and what pauses and resumes its reading.

    A whole message that is there already is taken from the queue directly: ``recv()`` puts messages together from fragments and
    decodes them, which costs a sixth of a frame's whole way. The queue is no public part of ``websockets``: where a version of it
    has none of this shape, an empty one is given, and ``recv()`` is used for all messages.
    """
    assembler = getattr(connection, "recv_messages", None)
    queued = getattr(getattr(assembler, "frames", None), "queue", None)
    if isinstance(queued, deque) and hasattr(assembler, "paused") and hasattr(assembler, "maybe_resume"):
        return queued, assembler
    return deque(), None


async def _connect(options: Options) -> ClientConnection:
    keywords: dict[str, Any] = options.keywords()
    try:
        return await _Connect(options.url, **keywords)
    except (OSError, WebSocketException, ValueError, ImportError) as error:
        failure = opening_failure(error, options)
    raise failure


@asynccontextmanager
async def open_connection(options: Options) -> AsyncIterator[WebSocket]:
    """Open a connection on asyncio.

    Args:
        options: What to open.

    Yields:
        The open connection.

    Raises:
        ConnectionFailedError: It cannot be opened.
    """
    websocket = AsyncioWebSocket(await _connect(options), options)
    try:
        yield websocket
    finally:
        await websocket.close()
