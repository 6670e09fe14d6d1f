"""Plays the clients of a capture against the simulator, and compares what the server says with what FreeSWITCH said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
from attrs import field, frozen
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cti_framework.switchboard import Switchboard
from cti_webitel.simulator import WebitelSimulator
from tests.webitel.verto_captures import Line, lines

DOMAIN = "webitel.test"
USERS = {"1000": "Alice", "1001": "Bob", "1002": "Carol", "1003": "Dave"}
_PATIENCE_SECONDS = 5.0
_DIALPLAN = {"71001": "1001", "81001": "1001"}
"""Numbers by which the captures' dialplan rings another one in a way of its own."""
_UNPROVOKED = {("13e_websocket_level", 0.0691), ("23_websocket_ping", 12.7777)}
"""Answers to pings of WebSocket which were not recorded: when they came."""
_NOTHING: Mapping[str, Callable[[], None]] = {}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def add_users(switchboard: Switchboard) -> None:
    """The accounts that the captures were made with."""
    for number, name in USERS.items():
        role = "admin" if number == "1003" else "user"
        switchboard.add_account(number, DOMAIN, password="1234", name=name, role=role, devices=())


@frozen
class Difference:
    """What the server said in another way than FreeSWITCH."""

    about: str
    captured: Any = field(eq=False)
    got: Any = field(eq=False)


class Player:
    """One capture, played.

    Args:
        simulator: Against which.
        name: The capture.
        before: What to do before the first of what the server says by that name: what a dialplan did.
    """

    def __init__(self, simulator: WebitelSimulator, name: str, *, before: Mapping[str, Callable[[], None]] = _NOTHING) -> None:
        self._before = dict(before)
        self._simulator = simulator
        self._name = name
        self._connections: dict[str, ClientConnection] = {}
        self._stack = AsyncExitStack()
        self._ours: dict[str, str] = {}
        self._ids: dict[tuple[str, Any], Any] = {}
        self.compared = 0
        self.differences: list[Difference] = []

    async def play(self) -> Player:
        async with self._stack:
            for line in lines(self._name):
                match line.direction:
                    case "net":
                        await self._network(line)
                    case "c2s":
                        await self._say(line)
                    case "s2c":
                        await self._hear(line)
        return self

    async def _network(self, line: Line) -> None:
        event, name = line.entry["event"], line.connection
        if event == "open":
            url = str(self._simulator.verto_url) + re.sub(r"^ws://[^/]*", "", line.entry.get("url", ""))
            wanted = line.entry.get("subprotocol")
            self._connections[name] = await self._stack.enter_async_context(
                connect(
                    url,
                    compression=None,
                    proxy=None,
                    ping_interval=None,
                    max_size=None,
                    close_timeout=2,
                    subprotocols=[wanted] if wanted else None,
                )
            )
            assert self._connections[name].subprotocol == wanted
        elif event == "abort":
            self._connections[name].transport.abort()
        elif event == "close" and line.entry.get("by") == "server":
            code = await self._closed(self._connections[name])
            if code != line.entry["code"]:
                self.differences.append(Difference("close", line.entry["code"], code))
        elif event == "close":
            await self._connections[name].close()

    async def _closed(self, connection: ClientConnection) -> int | None:
        with anyio.move_on_after(_PATIENCE_SECONDS), suppress(ConnectionClosed):
            while True:
                self.differences.append(Difference("more", None, await connection.recv()))
        return connection.close_code

    async def _say(self, line: Line) -> None:
        connection = self._connections[line.connection]
        if "ws_opcode" in line.entry:
            send = connection.ping if line.entry["ws_opcode"] == "ping" else connection.pong
            await send(line.entry["payload"])
            return
        data = line.data()
        assert data is not None
        frame = line.frame
        if isinstance(frame, dict) and frame.get("method") == "verto.invite":
            for number, rung in _DIALPLAN.items():
                data = data.replace(f'"{number}"'.encode(), f'"{rung}"'.encode())
        if isinstance(frame, dict) and "method" not in frame and ("result" in frame or "error" in frame):
            frame = {**frame, "id": self._ids.get((line.connection, frame["id"]), frame["id"])}
            data = json.dumps(frame).encode()
        for captured, ours in self._ours.items():
            data = data.replace(captured.encode(), ours.encode())
        with suppress(ConnectionClosed):
            await connection.send(data if line.entry.get("binary") else data.decode())

    async def _hear(self, line: Line) -> None:
        if line.connection not in self._connections or (self._name, line.entry["t"]) in _UNPROVOKED:
            return
        happens = self._before.pop(_about(line.frame), None)
        if happens is not None:
            happens()
        captured = json.loads(line.entry["text"]) if "text" in line.entry and "frame" not in line.entry else line.frame
        try:
            with anyio.fail_after(_PATIENCE_SECONDS):
                text = await self._connections[line.connection].recv()
        except (TimeoutError, ConnectionClosed) as error:
            self.differences.append(Difference(f"no {_about(captured)}", captured, repr(error)))
            return
        self.compared += 1
        got = json.loads(text)
        self._learn(line.connection, captured, got)
        # A name that comes twice is lost in reading.
        twice = line.entry.get("text", "").count('"message"')
        if twice and twice != str(text).count('"message"'):
            self.differences.append(Difference(f"twice {_about(captured)}", line.entry["text"], text))
        if line.entry.get("truncated"):
            # What the client sent is made up again without its session, which comes back.
            if abs(len(str(text)) - line.entry["size"]) > 100:
                self.differences.append(Difference("size", line.entry["size"], len(str(text))))
            return
        ours, theirs = self._plain(got, is_ours=True), self._plain(captured)
        if ours != theirs or (isinstance(ours, dict) and list(ours) != list(theirs)):
            self.differences.append(Difference(_about(captured), theirs, ours))

    def _learn(self, connection: str, captured: Any, got: Any) -> None:
        if not isinstance(captured, dict) or not isinstance(got, dict):
            return
        if "method" in captured and "id" in got:
            self._ids[connection, captured["id"]] = got["id"]
        for part in ("params", "result"):
            for name in ("callID", "sessid"):
                theirs, ours = (side.get(part) for side in (captured, got))
                if isinstance(theirs, dict) and isinstance(ours, dict) and name in theirs and name in ours:
                    theirs, ours = theirs[name], ours[name]
                    if theirs != ours and _UUID.fullmatch(str(ours)) and theirs not in self._ours:
                        self._ours[theirs] = ours

    def _plain(self, value: Any, *, is_ours: bool = False) -> Any:
        """Leave out what differs from one server to the next, and from one call to the next."""
        if isinstance(value, list):
            return [self._plain(one, is_ours=is_ours) for one in value]
        if isinstance(value, str):
            known = {ours: theirs for theirs, ours in self._ours.items()}
            return known.get(value, value) if is_ours else value
        if not isinstance(value, dict):
            return value
        plain: dict[str, Any] = {}
        for name, one in value.items():
            if name == "id" and "method" in value:
                plain[name] = "the server's own number"
            elif name == "serno":
                plain[name] = type(one).__name__
            elif name == "sdp":
                plain[name] = described(one)
            elif name == "variables":
                plain[name] = sorted(one)
            else:
                plain[name] = self._plain(one, is_ours=is_ours)
        return plain


def described(sdp: str) -> list[str]:
    """Each line of an SDP without its numbers, addresses and keys."""
    keyed = re.compile(r"(a=(?:fingerprint:sha-\d+|ice-ufrag:|ice-pwd:|msid-semantic: WMS|ssrc:)) ?.*")
    return [re.sub(r"\d{4,}|(?<=a=candidate:)\S+", "N", keyed.sub(r"\1", line)) for line in sdp.splitlines()]


def _about(frame: Any) -> str:
    if not isinstance(frame, dict):
        return "batch" if isinstance(frame, list) else type(frame).__name__
    return str(frame.get("method") or ("error" if "error" in frame else "result"))
