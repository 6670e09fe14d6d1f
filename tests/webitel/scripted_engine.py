"""An engine that answers what a test tells it to, for `Webitel` over sockets in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest
from typed_settings.types import Secret

from cti_framework.errors import ConnectionFailedError, NetworkError
from cti_framework.transport import WebSocket, memory_websocket_pair
from cti_framework.transport.memory import MemoryWebSocket
from cti_webitel.engine.callbacks import Callback
from cti_webitel.engine.client import Webitel

CallbackT = TypeVar("CallbackT", bound=Callback)

PATIENCE_SECONDS = 5.0
URL = "ws://user:hunter2@pbx.example:10022/engine?token=hunter2"
ACCOUNT = "100@demo.local"
LEG = "29740a8c-1ed2-4474-a13c-feebb8611d47"
AUTH_OK = {
    "login": ACCOUNT,
    "role": "user",
    "domain": "demo.local",
    "state": "ONHOOK",
    "status": "NONE",
    "cc-agent": "true",
    "session": "206a7121-aaae-41f7-b188-ffae72f84eb5",
    "ws-count": 1,
    "cc-logged": False,
    "acl": {},
}
ACCOUNTS = {
    "response": json.dumps(
        {
            "100": {
                "id": "100",
                "domain": "demo.local",
                "name": "User 100",
                "role": "user",
                "agent": "true",
                "state": "ONHOOK",
                "status": "NONE",
                "descript": "",
                "online": True,
            }
        }
    )
}
CREATE = {
    "webitel-event-name": "call",
    "Event-Name": "CHANNEL_CREATE",
    "Channel-Presence-ID": ACCOUNT,
    "Unique-ID": LEG,
    "Channel-Call-UUID": LEG,
    "Channel-Call-State": "DOWN",
    "Channel-State": "CS_INIT",
    "Answer-State": "ringing",
    "Call-Direction": "outbound",
    "Caller-Logical-Direction": "outbound",
    "Caller-Callee-ID-Number": "100",
    "Caller-Caller-ID-Number": "0501234567",
    "variable_billsec": 0,
}


class Engine:
    """The engine's end of the connections that one `Webitel` opens, and what is said on them."""

    def __init__(self) -> None:
        self.sockets: list[MemoryWebSocket] = []
        self.requests: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.silent: set[str] = set()
        self.answers: dict[str, tuple[str, Any]] = {
            "auth": ("+OK", AUTH_OK),
            "login": ("+OK", "+OK: logged: true"),
            "api account list": ("+OK", ACCOUNTS),
            "ping": ("+OK", "pong"),
        }
        self.came = anyio.Event()
        self.left = 0

    @asynccontextmanager
    async def open(self, url: str, **options: Any) -> AsyncIterator[WebSocket]:
        await anyio.lowlevel.checkpoint()
        client, server = memory_websocket_pair()
        self.sockets.append(server)
        async with anyio.create_task_group() as group:
            group.start_soon(self.serve, server)
            try:
                yield client
            finally:
                await client.close()
                self.left += 1
                group.cancel_scope.cancel()

    async def serve(self, socket: MemoryWebSocket) -> None:
        try:
            while True:
                text = (await socket.receive()).decode()
                request = json.loads(text)
                self.texts.append(text)
                self.requests.append(request)
                self.came.set()
                self.came = anyio.Event()
                func = request["exec-func"]
                if func in self.answers and func not in self.silent:
                    await self.reply(request, *self.answers[func])
        except NetworkError:
            pass

    async def say(self, frame: Any) -> None:
        text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        await self.sockets[-1].send(text)

    async def reply(self, request: Mapping[str, Any], complete: str, response: Any) -> None:
        await self.say({"exec-uuid": request["exec-uuid"], "exec-complete": complete, "exec-response": response})

    async def asked(self, func: str, times: int = 1) -> dict[str, Any]:
        """Wait until a command has come so many times."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                found = [request for request in self.requests if request["exec-func"] == func]
                if len(found) >= times:
                    return found[-1]
                await self.came.wait()


class Told:
    """The callbacks, and an event to wait for one."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self.changed = anyio.Event()

    def __call__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks += callbacks
        self.changed.set()

    @property
    def names(self) -> list[str]:
        return [callback.name for callback in self.callbacks]

    async def until(self, name: str, times: int = 1) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while self.names.count(name) < times:
                self.changed = anyio.Event()
                await self.changed.wait()


def made(engine: Engine, told: Callable[[Sequence[Callback]], object] | None = None, **options: Any) -> Webitel:
    if "key" not in options:
        options.setdefault("secret", Secret("hunter2"))
    return Webitel(URL, ACCOUNT, on_callbacks=told or Told(), open_socket=engine.open, **options)


@asynccontextmanager
async def session(
    engine: Engine, told: Callable[[Sequence[Callback]], object] | None = None, **options: Any
) -> AsyncIterator[Webitel]:
    webitel = made(engine, told, **options)
    async with anyio.create_task_group() as group:
        with anyio.fail_after(PATIENCE_SECONDS):
            await group.start(webitel.run)
        yield webitel
        group.cancel_scope.cancel()


async def run_error(webitel: Webitel) -> ConnectionFailedError:
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ConnectionFailedError) as caught:
        await webitel.run()
    assert not webitel.connected
    return caught.value
