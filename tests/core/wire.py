"""A wire between a client and a server that can go dark: what is sent arrives nowhere, and nobody is told."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["Wire", "drop_everything", "wire_to"]

_SO_ATTACH_FILTER = 26
_RETURN_CONSTANT = 0x06


def drop_everything(raw: socket.socket) -> None:
    """Have the operating system drop each packet for a socket before TCP sees it: none is acknowledged any more (Linux)."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN_CONSTANT, 0, 0, 0))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("H6xP", 1, ctypes.addressof(program)))


class Wire:
    """The wire, and the connections over it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._ends: list[SocketStream] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def go_dark(self) -> None:
        """Lose every packet of the connections that there are; later ones are well."""
        for end in self._ends:
            drop_everything(end.extra(SocketAttribute.raw_socket))
        self._ends.clear()

    async def lay(self, client: SocketStream, port: int) -> None:
        self._ends.append(client)
        async with client, await anyio.connect_tcp("127.0.0.1", port) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, client, server)
            tasks.start_soon(_pass_on, server, client)


async def _pass_on(source: SocketStream, target: SocketStream) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await target.send(await source.receive())
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await target.send_eof()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        wire = Wire(listener.extra(SocketAttribute.local_port))
        tasks.start_soon(listener.serve, lambda client: wire.lay(client, port))
        try:
            yield wire
        finally:
            tasks.cancel_scope.cancel()
