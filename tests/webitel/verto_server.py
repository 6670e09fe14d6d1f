"""A Verto server that answers as FreeSWITCH does (facts: verto), for `VertoClient`: over sockets in memory, or over loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from typed_settings.types import Secret
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from cti_framework.errors import ConnectionFailedError, NetworkError
from cti_framework.transport import WebSocket, memory_websocket_pair
from cti_framework.transport.memory import MemoryWebSocket
from cti_webitel.verto.client import VertoClient
from cti_webitel.verto.signals import Signal

SignalT = TypeVar("SignalT", bound=Signal)

PATIENCE_SECONDS = 5.0
URL = "ws://user:hunter2@pbx.example:8081/verto?token=hunter2"
USER = "1000@demo.local"
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"
OFFER = "v=0\r\no=FreeSWITCH 1 1 IN IP4 127.0.0.1\r\n"


class Socket:
    """One connection, as the server sees it. What it is told to send goes out in order."""

    def __init__(self, server: VertoServer) -> None:
        self.server = server
        self.session = ""
        self.logged_in = False

    async def send(self, text: str | bytes) -> None:
        raise NotImplementedError

    def cut(self) -> None:
        raise NotImplementedError


class MemorySocket(Socket):
    def __init__(self, server: VertoServer, end: MemoryWebSocket) -> None:
        super().__init__(server)
        self.end = end

    async def send(self, text: str | bytes) -> None:
        with suppress(NetworkError):
            await self.end.send(text)

    def cut(self) -> None:
        self.end.shut()


class VertoServer:
    """What answers.

    Attributes:
        requests: All that it was asked, in order, on all connections.
        replies: The client's answers to its own requests.
        silent: What it does not answer.
        refusals: What it refuses, and with what error.
        calls: The answered calls of each session.
    """

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.requests: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.texts: list[bytes] = []
        self.options: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        self.refusals: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, list[str]] = {}
        self.is_ready_told = True
        self.serial = 100
        self.came = anyio.Event()
        self.reads = anyio.Event()
        self.reads.set()
        self.closed = anyio.Event()
        self.left = 0
        self.port = 0

    @asynccontextmanager
    async def open(self, url: str, **options: Any) -> AsyncIterator[WebSocket]:
        await anyio.lowlevel.checkpoint()
        self.options.append(options)
        client, end = memory_websocket_pair()
        socket = MemorySocket(self, end)
        self.sockets.append(socket)
        async with anyio.create_task_group() as group:
            group.start_soon(self._serve, socket, end)
            try:
                yield client
            finally:
                await client.close()
                self.left += 1
                group.cancel_scope.cancel()

    async def _serve(self, socket: Socket, end: MemoryWebSocket) -> None:
        with suppress(NetworkError):
            while True:
                await self.reads.wait()
                await self.receive(socket, await end.receive())

    async def receive(self, socket: Socket, data: bytes) -> None:
        frame = json.loads(data)
        self.texts.append(data)
        if "method" in frame:
            self.requests.append(frame)
        else:
            self.replies.append(frame)
        self.came.set()
        self.came = anyio.Event()
        if "method" in frame and frame["method"] not in self.silent:
            await self.answer(socket, frame)

    async def answer(self, socket: Socket, frame: dict[str, Any]) -> None:
        method, params = frame["method"], frame["params"]
        if method in self.refusals:
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": frame["id"], "error": self.refusals[method]}))
            return
        call_id = params.get("dialogParams", {}).get("callID")
        result: dict[str, Any] = {}
        match method:
            case "login":
                await self.log_in(socket, frame)
                return
            case "verto.invite":
                result = {"message": "CALL CREATED", "callID": call_id}
            case "verto.bye":
                self.drop(call_id)
                cause = params.get("cause", "NORMAL_CLEARING")
                result = {"callID": call_id, "message": "CALL ENDED", "causeCode": 16, "cause": cause}
            case "verto.modify":
                held = "held" if params["action"] in ("hold", "toggleHold") else "active"
                result = {"callID": call_id, "action": params["action"], "holdState": held}
                if "sdp" in params:
                    result["sdp"] = OFFER
            case "verto.info":
                result = {"message": "SENT"}
            case "verto.ping":
                result = {"message": "PONG"}
            case "verto.subscribe":
                channels = params["eventChannel"]
                result = {"subscribedChannels": [channels] if isinstance(channels, str) else channels}
            case "verto.unsubscribe":
                result = {"unsubscribedChannels": [params["eventChannel"]]}
            case "echo":
                result = {name: value for name, value in params.items() if name != "sessid"}
        await self.reply(socket, frame["id"], **result)

    async def log_in(self, socket: Socket, frame: dict[str, Any]) -> None:
        session = frame["params"]["sessid"]
        for other in self.sockets:
            if other is not socket and other.logged_in and other.session == session:
                other.logged_in = False
                await self.say("verto.punt", to=other)
        socket.session, socket.logged_in = session, True
        await self.reply(socket, frame["id"], message="logged in")
        for call_id in self.calls.get(session, ()):
            await self.say("verto.attach", to=socket, callID=call_id, sdp=OFFER, display_direction="inbound")
        if self.is_ready_told:
            await self.say("verto.clientReady", to=socket, reattached_sessions=list(self.calls.get(session, ())))

    def drop(self, call_id: str) -> None:
        for calls in self.calls.values():
            if call_id in calls:
                calls.remove(call_id)

    async def reply(self, socket: Socket, request_id: int, **result: Any) -> None:
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {**result, "sessid": socket.session}}))

    async def say(self, method: str, *, to: Socket | None = None, **params: Any) -> None:
        self.serial += 1
        await (to or self.sockets[-1]).send(json.dumps({"jsonrpc": "2.0", "id": self.serial, "method": method, "params": params}))

    async def asked(self, method: str, times: int = 1) -> dict[str, Any]:
        """Wait until something was asked so many times."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                found = [request for request in self.requests if request["method"] == method]
                if len(found) >= times:
                    return found[times - 1]
                await self.came.wait()

    async def answered(self, times: int) -> None:
        """Wait until the client has answered so many requests."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.replies) < times:
                await self.came.wait()

    def methods(self) -> list[str]:
        return [request["method"] for request in self.requests]


class LoopbackSocket(Socket):
    """A connection over TCP. As FreeSWITCH it answers no ping of WebSocket (facts: verto, Framing)."""

    def __init__(self, server: VertoServer, stream: ByteStream) -> None:
        super().__init__(server)
        self.stream = stream
        self.protocol = ServerProtocol(max_size=2**20)
        self.pings = 0
        self.lock = anyio.Lock()
        self.scope = anyio.CancelScope()

    async def send(self, text: str | bytes) -> None:
        self.protocol.send_text(text.encode() if isinstance(text, str) else text)
        await self.flush()

    async def flush(self) -> None:
        async with self.lock:
            for data in self.protocol.data_to_send():
                if data:
                    await self.stream.send(data)

    def cut(self) -> None:
        self.scope.cancel()

    async def run(self) -> None:
        with self.scope, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            while True:
                self.protocol.receive_data(await self.stream.receive())
                for event in self.protocol.events_received():
                    if isinstance(event, Request):
                        self.protocol.send_response(self.protocol.accept(event))
                        assert self.protocol.state is OPEN
                        self.server.sockets.append(self)
                    elif isinstance(event, Frame) and event.opcode is Opcode.PING:
                        self.pings += 1
                    elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                        await self.server.receive(self, bytes(event.data))
                await self.flush()
                if self.protocol.close_expected():
                    break
        self.server.left += 1
        self.logged_in = False
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self.stream)


@asynccontextmanager
async def loopback() -> AsyncIterator[VertoServer]:
    """Serve over TCP."""
    server = VertoServer()

    async def handle(stream: ByteStream) -> None:
        await LoopbackSocket(server, stream).run()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        yield server
        group.cancel_scope.cancel()


class Told:
    """The signals, and a way to wait for one."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.changed = anyio.Event()

    def __call__(self, signals: Sequence[Signal]) -> None:
        self.signals += signals
        self.changed.set()

    def of(self, kind: type[SignalT]) -> list[SignalT]:
        return [signal for signal in self.signals if isinstance(signal, kind)]

    async def until(self, kind: type[SignalT], times: int = 1) -> SignalT:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.of(kind)) < times:
                self.changed = anyio.Event()
                await self.changed.wait()
        return self.of(kind)[times - 1]


def made(server: VertoServer, told: Told | None = None, **options: Any) -> VertoClient:
    options.setdefault("open_socket", server.open)
    options.setdefault("url", URL)
    return VertoClient(user=USER, password=Secret("hunter2"), on_signals=told or Told(), **options)


@asynccontextmanager
async def running(client: VertoClient) -> AsyncIterator[VertoClient]:
    async with anyio.create_task_group() as group:
        with anyio.fail_after(PATIENCE_SECONDS):
            await group.start(client.run)
        yield client
        group.cancel_scope.cancel()


async def run_error(client: VertoClient) -> ConnectionFailedError:
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ConnectionFailedError) as caught:
        await client.run()
    assert not client.connected
    return caught.value


@asynccontextmanager
async def breaking(client: VertoClient) -> AsyncIterator[list[ConnectionFailedError]]:
    """Run a client whose connection is to break within; give what it ended with."""
    ended: list[ConnectionFailedError] = []

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await client.run(task_status=task_status)
        except ConnectionFailedError as error:
            ended.append(error)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as group:
            await group.start(run)
            yield ended
    assert len(ended) == 1
    assert not client.connected
