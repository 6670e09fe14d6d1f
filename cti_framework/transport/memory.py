"""The twin without a network: two ends of one WebSocket in one process, for tests and for simulators."""

from __future__ import annotations

from collections import deque

import anyio
import anyio.lowlevel

from cti_framework.errors import NetworkError, ProtocolError

from ._options import YIELD_EVERY_MESSAGES
from ._port import DEFAULT_MAX_SIZE_BYTES, WebSocket, kind_of_close

__all__ = ["MemoryWebSocket", "memory_websocket_pair"]

# As many as `websockets` queues before it stops reading.
_QUEUE_MESSAGES = 16


class _Pipe:
    """One direction: a queue of limited length whose two ends are closed apart."""

    __slots__ = ("_changed", "_limit", "messages", "unread", "unwritten")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = anyio.Event()
        self.messages: deque[bytes] = deque()
        self.unread = False
        self.unwritten = False

    def full(self) -> bool:
        return len(self.messages) >= self._limit

    def change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self) -> None:
        await self._changed.wait()


class MemoryWebSocket(WebSocket):
    """One end. It behaves as the real ones do: limited queue, same errors, text given as bytes.

    Args:
        name: How errors name the peer.
        outgoing: Where to send.
        incoming: Where to receive.
        max_size_bytes: The largest message to accept.
    """

    __slots__ = ("_close", "_incoming", "_max_size_bytes", "_name", "_outgoing", "_peer", "_received")

    def __init__(self, name: str, outgoing: _Pipe, incoming: _Pipe, max_size_bytes: int) -> None:
        self._name = name
        self._outgoing = outgoing
        self._incoming = incoming
        self._max_size_bytes = max_size_bytes
        self._peer: MemoryWebSocket | None = None
        self._close: tuple[int, str, bool] | None = None
        self._received = 0

    async def receive(self) -> bytes:
        """See `WebSocket.receive`."""
        self._received += 1
        if self._received % YIELD_EVERY_MESSAGES == 0:
            await anyio.lowlevel.checkpoint()
        pipe = self._incoming
        while not pipe.messages:
            if pipe.unread or pipe.unwritten:
                raise self._failure()
            await pipe.wait()
        data = pipe.messages.popleft()
        pipe.change()
        if len(data) > self._max_size_bytes:
            self.shut(1009, "message too big")
            raise ProtocolError(f"{self._name} sent a message of more than {self._max_size_bytes} bytes.")
        return data

    async def send(self, message: str | bytes) -> None:
        """See `WebSocket.send`."""
        await anyio.lowlevel.checkpoint()
        pipe = self._outgoing
        while pipe.full() and not pipe.unread and not pipe.unwritten:
            await pipe.wait()
        if pipe.unread or pipe.unwritten:
            raise self._failure()
        pipe.messages.append(message.encode() if isinstance(message, str) else message)
        pipe.change()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See `WebSocket.close`; here it takes no time."""
        self.shut(code, reason)

    def shut(self, code: int = 1006, reason: str = "") -> None:
        """Close both ends at once, without waiting; with the default code as if the line were cut.

        Args:
            code: The close code that both ends show.
            reason: The reason that both ends show.
        """
        self._end(code, reason, ours=True)
        if self._peer is not None:
            self._peer._end(code, reason, ours=False)

    def _end(self, code: int, reason: str, *, ours: bool) -> None:
        if self._close is not None:
            return
        self._close = (code, reason, ours)
        self._outgoing.unwritten = True
        self._outgoing.change()
        if ours:
            self._incoming.unread = True
            self._incoming.messages.clear()
            self._incoming.change()

    def _failure(self) -> NetworkError:
        code, reason, ours = self._close or (1006, "", False)
        if ours:
            return NetworkError(f"The connection to {self._name} was closed by this side.")
        if code == 1006:
            return NetworkError(f"The connection to {self._name} was cut without a closing handshake (code 1006).")
        reason = f", {reason}" if reason else ""
        return NetworkError(f"{self._name} closed the connection (code {code}{reason}).", kind=kind_of_close(code))

    @property
    def close_code(self) -> int | None:
        """See `WebSocket.close_code`."""
        return self._close[0] if self._close else None

    @property
    def close_reason(self) -> str | None:
        """See `WebSocket.close_reason`."""
        return self._close[1] if self._close else None

    @property
    def subprotocol(self) -> str | None:
        """Always ``None``: there is no handshake to agree on one."""
        return None


def memory_websocket_pair(
    *, max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES, queue_messages: int = _QUEUE_MESSAGES
) -> tuple[MemoryWebSocket, MemoryWebSocket]:
    """Connect two ends without a network.

    Args:
        max_size_bytes: The largest message that either end accepts.
        queue_messages: How many messages may wait in each direction before ``send`` waits too.

    Returns:
        The client's end and the server's.
    """
    to_server, to_client = _Pipe(queue_messages), _Pipe(queue_messages)
    client = MemoryWebSocket("memory://server", to_server, to_client, max_size_bytes)
    server = MemoryWebSocket("memory://client", to_client, to_server, max_size_bytes)
    client._peer, server._peer = server, client
    return client, server
