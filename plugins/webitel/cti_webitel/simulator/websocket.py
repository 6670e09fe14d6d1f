"""The engine's WebSocket: `websockets`' sans-I/O protocol on anyio's streams, so asyncio and trio run the same lines.

The engine never begins a close and never pings; to cut a socket it ends TCP, which a client sees as 1006
(facts: webitel-protocol 1). That is why the ready-made servers, which always close politely, are not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

import anyio
from anyio.abc import ByteStream, SocketAttribute
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.options import SimulatorOptions

__all__ = ["Server", "Socket", "SocketSession", "serve_socket"]

_MAX_FRAME_BYTES = 100 * 2**20
_HANDSHAKE_SECONDS = 10.0
_LAST_WORDS_SECONDS = 1.0
_FRAMES_A_TURN = 64
# The protocol logs what clients do wrong; a simulator's clients do wrong on purpose.
_QUIET = logging.getLogger("cti_webitel.simulator.websocket")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class SocketSession(Protocol):
    """What a server knows of a connection: what is to be written, and whether it is cut."""

    wake: Callable[[], None]
    abort: Callable[[], None]

    @property
    def terminated(self) -> bool:
        """Whether the server has cut it."""
        ...

    def take(self) -> bytes | None:
        """Take the next message to write; ``None``: there is none."""
        ...


SessionT = TypeVar("SessionT", bound=SocketSession)


class Server(Protocol[SessionT]):
    """Whom connections belong to."""

    @property
    def options(self) -> SimulatorOptions:
        """How it behaves."""
        ...

    def watch(self, look: Callable[[], None]) -> Callable[[], None]:
        """Call ``look`` whenever options are replaced; what it gives ends that."""
        ...

    def connect(self, address: str) -> SessionT:
        """A connection opened from that address."""
        ...

    def receive(self, session: SessionT, data: bytes) -> None:
        """A message came in."""
        ...

    def disconnect(self, session: SessionT) -> None:
        """A connection is gone."""
        ...


class Socket(Generic[SessionT]):
    """One connection.

    While the network is half-open (:class:`~cti_webitel.simulator.options.SimulatorOptions`) it takes nothing from the stream and
    gives nothing to it, not even its end.

    Args:
        stream: Its TCP stream.
        server: Whom it belongs to.
        protocol: What reads and writes WebSocket; by default the library's, which answers pings.
    """

    def __init__(self, stream: ByteStream, server: Server[SessionT], protocol: ServerProtocol | None = None) -> None:
        self._stream = stream
        self._server = server
        self._protocol = protocol or ServerProtocol(max_size=_MAX_FRAME_BYTES, logger=_QUIET)
        self._session: SessionT | None = None
        self._something_to_write = anyio.Event()
        self._options_changed = anyio.Event()
        self._message: list[bytes] = []
        self._ended = False
        self._abort: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Serve it to its end."""
        stop_watching = self._server.watch(self._look_again)
        try:
            async with anyio.create_task_group() as tasks:
                self._abort = tasks.cancel_scope.cancel
                tasks.start_soon(self._read)
                tasks.start_soon(self._write)
        finally:
            stop_watching()
            if self._session is not None:
                self._server.disconnect(self._session)

    async def _network(self) -> None:
        """Wait until the network carries something."""
        while self._server.options.half_open:
            await self._options_changed.wait()

    def _look_again(self) -> None:
        changed, self._options_changed = self._options_changed, anyio.Event()
        changed.set()

    async def _read(self) -> None:
        await self._network()
        with anyio.move_on_after(_HANDSHAKE_SECONDS):
            while self._session is None and not self._ended:
                await self._receive()
        while self._session is not None and not self._ended:
            await self._receive()
        # What the protocol has to say last, an echoed close or a refusal, is written before the stream ends.
        self._ended = True
        self._wake()
        await anyio.sleep(_LAST_WORDS_SECONDS)
        self._abort()

    async def _receive(self) -> None:
        await self._network()
        data = b""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            data = await self._stream.receive(65536)
        # What came while nothing was carried comes once it is again; the end of the stream, too.
        await self._network()
        if not data:
            self._ended = True
            self._protocol.receive_eof()
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._open(event)
            elif isinstance(event, Frame):
                self._take(event)
        # A failed or closed protocol discards what comes after; the peer is not waited for.
        self._ended = self._ended or self._protocol.close_expected()
        self._wake()

    def _open(self, request: Request) -> None:
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if self._protocol.state is OPEN:
            self._session = self._server.connect(self._address(request))
            self._session.wake = self._wake
            self._session.abort = self._abort

    def _address(self, request: Request) -> str:
        """Tell where the client is: what a proxy says, or the stream (facts: webitel-protocol 1)."""
        told = request.headers.get("X-Forwarded-For")
        if told:
            return told.partition(",")[0].strip()
        remote = self._stream.extra(SocketAttribute.remote_address, ("",))
        return str(remote[0])

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._message.append(bytes(frame.data))
        if frame.fin:
            data = b"".join(self._message)
            self._message.clear()
            if self._session is not None:
                self._server.receive(self._session, data)

    async def _write(self) -> None:
        goes_on = True
        while goes_on:
            await self._something_to_write.wait()
            await self._network()
            self._something_to_write = anyio.Event()
            last = self._ended or (self._session is not None and self._session.terminated)
            while goes_on and self._fill():
                goes_on = await self._flush()
            goes_on = goes_on and await self._flush() and not last
        self._abort()

    def _fill(self) -> bool:
        """Hand queued frames to the protocol; tell whether there were any."""
        session, taken = self._session, 0
        while session is not None and self._protocol.state is OPEN and taken < _FRAMES_A_TURN:
            frame = session.take()
            if frame is None:
                break
            self._protocol.send_text(frame)
            taken += 1
        return taken > 0

    async def _flush(self) -> bool:
        """Write what the protocol has to say; tell whether the stream goes on."""
        data = self._protocol.data_to_send()
        # An empty piece is the protocol's word for the end.
        ends = b"" in data
        try:
            if any(data):
                await self._stream.send(b"".join(data))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return not ends

    def _wake(self) -> None:
        self._something_to_write.set()


async def serve_socket(stream: ByteStream, engine: Engine, is_away: Callable[[], bool]) -> None:
    """Serve one TCP connection to its end, and close it.

    Args:
        stream: The connection.
        engine: Whom it belongs to.
        is_away: Tells whether the network is cut just now: then the connection is closed at once.
    """
    try:
        if not is_away():
            await Socket(stream, engine).run()
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
