"""A server, a proxy before it and clients: what the tests of fault injection stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.memory import MemoryObjectReceiveStream

from cti_framework.switchboard import DEFAULT_START, Clock
from cti_framework.testing import Direction, FaultConnection, FaultProxy, fault_proxy

TO_SERVER, TO_CLIENT, BOTH = Direction.TO_SERVER, Direction.TO_CLIENT, Direction.BOTH
# A regression hangs; a healthy run needs milliseconds.
PATIENCE_SECONDS = 5.0


class Bench:
    """A server, the proxy before it, and as many clients as are asked for."""

    def __init__(self, proxy: FaultProxy, accepted: MemoryObjectReceiveStream[SocketStream]) -> None:
        self.proxy = proxy
        self.accepted = accepted
        self.streams: list[SocketStream] = []

    async def dial(self) -> SocketStream:
        stream = await anyio.connect_tcp(self.proxy.host, self.proxy.port)
        self.streams.append(stream)
        return stream

    async def connect(self) -> tuple[SocketStream, SocketStream, FaultConnection]:
        """Give the client's end, the server's end, and what is between."""
        client = await self.dial()
        return client, await self.accepted.receive(), self.proxy.connections[-1]

    async def held(self, size: int, direction: Direction) -> None:
        await self.proxy.wait_until(lambda: sum(one.held_bytes(direction) for one in self.proxy.connections) == size)


@asynccontextmanager
async def bench(**options: Any) -> AsyncIterator[Bench]:
    give, accepted = anyio.create_memory_object_stream[SocketStream](8)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await give.send(stream)
            await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE_SECONDS), give, accepted:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            async with fault_proxy("127.0.0.1", listener.extra(SocketAttribute.local_port), **options) as proxy:
                made = Bench(proxy, accepted)
                try:
                    yield made
                finally:
                    for stream in made.streams:
                        await stream.aclose()
            group.cancel_scope.cancel()


def hand_clock() -> Clock:
    return Clock(DEFAULT_START)


async def settled() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def read(stream: SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive()
    return data
