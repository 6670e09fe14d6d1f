"""A raw client of the simulated engine's socket, and one of its control port."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.exceptions import ConnectionClosed

from cti_webitel.simulator import WebitelSimulator

Frame = dict[str, Any]


class Client:
    """A raw WebSocket client that keeps every frame."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames: list[Frame] = []

    async def send(self, command: str, exec_uuid: Any = None, **arguments: Any) -> None:
        """Send a command; where the engine spells an argument with dashes, it has underscores here."""
        names = {_spelled(name): value for name, value in arguments.items()}
        frame = {"exec-uuid": exec_uuid or command, "exec-func": command, "exec-args": names}
        await self.connection.send(json.dumps(frame))

    async def receive(self, count: int = 1) -> list[Frame]:
        frames = []
        for _ in range(count):
            frames.append(json.loads(await self.connection.recv()))
        self.frames.extend(frames)
        return frames

    async def until(self, name: str) -> Frame:
        """Read up to the event or the reply of that name."""
        while True:
            (frame,) = await self.receive()
            if name in (frame.get("Event-Name"), frame.get("exec-uuid")):
                return frame

    async def ask(self, command: str, **arguments: Any) -> Frame:
        await self.send(command, **arguments)
        return await self.until(command)

    async def answer(self, command: str, **arguments: Any) -> tuple[str, Any]:
        """Ask, and give the two halves of the answer."""
        reply = await self.ask(command, **arguments)
        return reply["exec-complete"], reply.get("exec-response")

    async def nothing_came(self) -> bool:
        """A reply is a barrier: whatever the engine sent before it came before it."""
        await self.send("ping", exec_uuid="barrier")
        (frame,) = await self.receive()
        self.frames.pop()
        return frame.get("exec-uuid") == "barrier"

    async def seen(self) -> list[Frame]:
        """Everything that is on its way, up to a barrier."""
        await self.send("ping", exec_uuid="barrier")
        first = len(self.frames)
        while (await self.receive())[0].get("exec-uuid") != "barrier":
            pass
        self.frames.pop()
        return self.frames[first:]

    async def log_in(self, number: str = "100", domain: str = "demo.local") -> None:
        await self.ask("auth", account=f"{number}@{domain}", secret=number)
        await self.ask("login")

    async def call(self, number: str = "0501234567", user: str = "100@demo.local", **arguments: Any) -> str:
        """Click to call; give the own leg once it rings."""
        await self.send("call", extension=number, user=user, **arguments)
        uuid: str = (await self.until("CHANNEL_CREATE"))["Unique-ID"]
        return uuid

    async def close(self) -> None:
        """Leave politely."""
        await (self.connection.aclose() if hasattr(self.connection, "aclose") else self.connection.close())

    async def closed(self) -> int | None:
        """Read to the end; the close code as the client sees it."""
        try:
            while True:
                self.frames.append(json.loads(await self.connection.recv()))
        except ConnectionClosed:
            code: int | None = self.connection.close_code
            return code


def _spelled(name: str) -> str:
    return name if name in ("channel_uuid_A", "channel_uuid_B") or "channel_uuid" not in name else name.replace("_", "-")


@asynccontextmanager
async def open_client(simulator: WebitelSimulator, backend: str) -> AsyncGenerator[Client]:
    """Open a socket, without authenticating on it."""
    if backend == "trio":
        from websockets.trio.client import connect as connect_trio

        async with connect_trio(simulator.url, compression=None, proxy=None, max_size=None) as connection:
            yield Client(connection)
    else:
        from websockets.asyncio.client import connect as connect_asyncio

        async with connect_asyncio(simulator.url, compression=None, proxy=None, max_size=None) as connection:
            yield Client(connection)


class ControlPort:
    """A connection to the control port."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)

    async def send(self, request: Any) -> Any:
        return await self.send_line(json.dumps(request).encode())

    async def send_line(self, line: bytes) -> Any:
        await self._stream.send(line + b"\n")
        return json.loads(await self._received.receive_until(b"\n", 2**20))

    async def post(self, body: bytes, method: str = "POST") -> tuple[bytes, Any]:
        head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._stream.send(head.encode() + body)
        status = await self._received.receive_until(b"\r\n", 1000)
        headers = await self._received.receive_until(b"\r\n\r\n", 1000)
        length = int(re.search(rb"Content-Length: (\d+)", headers)[1])  # type: ignore[index]  # it must be there
        return status, json.loads(await self._received.receive_exactly(length))


@asynccontextmanager
async def open_control(simulator: WebitelSimulator) -> AsyncGenerator[ControlPort]:
    """Connect to the control port."""
    assert simulator.control_port is not None
    async with await anyio.connect_tcp("127.0.0.1", simulator.control_port) as stream:
        yield ControlPort(stream)
