"""The Verto socket: pings of WebSocket are not answered but read as text, and a large message ends it (facts: verto, Framing)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import anyio
from anyio.abc import ByteStream
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from cti_webitel.simulator.verto.clients import Client
from cti_webitel.simulator.verto.endpoint import VertoEndpoint
from cti_webitel.simulator.websocket import Socket

__all__ = ["serve_verto_socket"]

_LARGEST_BYTES: Final = 1_000_000
_MOST_READ_BYTES: Final = 100 * 2**20
_NORMAL: Final = 1000
_QUIET = logging.getLogger("cti_webitel.simulator.verto.websocket")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


def _echoed(_: ServerProtocol, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
    """Give back what the client asked for, whole: which is right of one name, and of no more (capture 13e)."""
    return Subprotocol(", ".join(subprotocols)) if subprotocols else None


class _Protocol(ServerProtocol):
    """WebSocket without pongs."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            self.events.append(frame)
        else:
            super().recv_frame(frame)


class _VertoSocket(Socket[Client]):
    """One connection."""

    def __init__(self, stream: ByteStream, server: VertoEndpoint) -> None:
        protocol = _Protocol(max_size=_MOST_READ_BYTES, logger=_QUIET, select_subprotocol=_echoed)
        super().__init__(stream, server, protocol)

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            if self._session is not None:
                self._server.receive(self._session, bytes(frame.data))
            return
        if sum(map(len, self._message)) + len(frame.data) > _LARGEST_BYTES:
            self._close()
            return
        super()._take(frame)

    def _fill(self) -> bool:
        filled = super()._fill()
        if not filled and self._session is not None and self._session.is_closing:
            self._close()
        return filled

    def _close(self) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_close(_NORMAL)


async def serve_verto_socket(stream: ByteStream, endpoint: VertoEndpoint, is_away: Callable[[], bool]) -> None:
    """Serve one TCP connection to its end, and close it.

    Args:
        stream: The connection.
        endpoint: The server.
        is_away: Tells whether the network is cut just now: then the connection is closed at once.
    """
    try:
        if not is_away():
            await _VertoSocket(stream, endpoint).run()
    finally:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
