"""The WebSocket of trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.trio.client import ClientConnection, connect

from cti_framework.errors import ConnectionFailedError

from ._failures import closed_failure, opening_failure, unread_failure
from ._options import Options
from ._port import WebSocket
from ._unacknowledged import unacknowledged_bytes

__all__ = ["open_connection"]


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow none: the first message may be a password."""
        return exc


class TrioWebSocket(WebSocket):
    """A connection of ``websockets.trio`` behind the port."""

    __slots__ = ("_close_now", "_closed", "_connection", "_options", "_said")

    def __init__(self, connection: ClientConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._close_now = trio.Event()
        self._closed = trio.Event()
        self._said = (1000, "")

    async def receive(self) -> bytes:
        # trio's channels suspend at every message: no pause is needed here.
        try:
            return await self._connection.recv(False)
        except ConnectionClosed as error:
            failure = closed_failure(error, self._options)
        raise failure

    async def send(self, message: str | bytes) -> None:
        failure: ConnectionFailedError | None = None
        await trio.lowlevel.checkpoint_if_cancelled()
        # Shielded: half a frame on the wire would make everything after it unreadable.
        with trio.move_on_after(self._options.send_timeout_seconds, shield=True) as scope:
            try:
                await self._connection.send(message)
            except ConnectionClosed as error:
                failure = closed_failure(error, self._options)
        if scope.cancelled_caught:
            self._close_now.set()
            failure = unread_failure(self._options)
        if failure is not None:
            raise failure

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._close_now.is_set():
            self._said = (code, reason)
            self._close_now.set()
        with trio.CancelScope(shield=True):
            await self._closed.wait()

    async def serve(self, nursery: trio.Nursery) -> None:
        """Wait until the connection is to be closed, and close it; runs in a shielded scope.

        Args:
            nursery: Where the connection's own tasks run; it is cancelled at the end.
        """
        connection = self._connection
        await self._close_now.wait()
        with trio.move_on_after(self._options.close_timeout_seconds):
            await connection.aclose(*self._said)
        # The library waits for its reading task, and that one for room in a queue that nobody empties any more.
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await connection.close_stream()
        self._closed.set()

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
        stream = self._connection.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return unacknowledged_bytes(stream.socket.fileno()) if isinstance(stream, trio.SocketStream) else None


async def _connect(options: Options, nursery: trio.Nursery) -> ClientConnection:
    keywords: dict[str, Any] = options.keywords()
    try:
        return await _Connect(options.url, **keywords).connect(nursery)
    except (OSError, WebSocketException, ValueError, ImportError, trio.BrokenResourceError) as error:
        failure = opening_failure(error, options)
    raise failure


async def _host(options: Options, *, task_status: trio.TaskStatus[TrioWebSocket | ConnectionFailedError]) -> None:
    """Hold the library's tasks where no cancellation of the caller reaches them before the connection is closed."""
    async with trio.open_nursery() as nursery:
        try:
            connection = await _connect(options, nursery)
        except ConnectionFailedError as failure:
            nursery.cancel_scope.cancel()
            task_status.started(failure)
            return
        nursery.cancel_scope.shield = True
        websocket = TrioWebSocket(connection, options)
        task_status.started(websocket)
        await websocket.serve(nursery)


@asynccontextmanager
async def open_connection(options: Options) -> AsyncIterator[WebSocket]:
    """Open a connection on trio.

    Args:
        options: What to open.

    Yields:
        The open connection.

    Raises:
        ConnectionFailedError: It cannot be opened.
    """
    raised: BaseException
    try:
        async with trio.open_nursery() as nursery:
            websocket = await nursery.start(_host, options)
            if isinstance(websocket, ConnectionFailedError):
                raise websocket
            try:
                yield websocket
            finally:
                await websocket.close()
        return
    except BaseExceptionGroup as group:
        # That a nursery stands here is nobody's business: what was raised leaves as it was raised.
        others = [member for member in group.exceptions if not isinstance(member, trio.Cancelled)]
        if len(others) > 1:
            raise
        raised = others[0] if others else group.exceptions[0]
    raise raised
