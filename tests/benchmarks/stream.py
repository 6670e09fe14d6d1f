"""The engine's side of the benchmarks, in a process of its own: it lets everybody in and sends what it was told to.

The frames are those of capture 03 that belong to its call, over and over with fresh identifiers. They are put into WebSocket
frames beforehand and written to the socket in large pieces, so that the sender is never what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import struct
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection, serve

CAPTURE = Path(__file__).parents[1] / "captures" / "webitel" / "03-out-call.frames.jsonl"
ACCOUNT = "100@demo.local"
FRAMES_A_CALL = 35
PIECE_BYTES = 1 << 16
QUEUE_BYTES = 1 << 20

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def call_frames() -> list[str]:
    """Give the frames of the captured call as JSON texts, in order."""
    frames = (json.loads(line)["frame"] for line in CAPTURE.read_text().splitlines())
    return [
        json.dumps(frame, separators=(",", ":"))
        for frame in frames
        if isinstance(frame, dict) and frame.get("webitel-event-name") == "call"
    ]


def with_fresh_identifiers(frames: list[str], number: int) -> list[str]:
    """Give one more call like it."""
    fresh: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        return fresh.setdefault(match[0], str(uuid.UUID(int=(number << 64) + len(fresh), version=4)))

    return [_UUID.sub(renamed, frame) for frame in frames]


def in_websocket_frame(text: str) -> bytes:
    """Put a text into an unmasked, final text frame (RFC 6455, 5.2)."""
    payload = text.encode()
    size = len(payload)
    head = struct.pack("!BB", 0x81, size) if size < 126 else struct.pack("!BBH", 0x81, 126, size)
    return head + payload


def stream_of(calls: int) -> bytes:
    """Give the stream of that many calls."""
    frames = call_frames()
    assert len(frames) == FRAMES_A_CALL, len(frames)
    return b"".join(in_websocket_frame(text) for n in range(1, calls + 1) for text in with_fresh_identifiers(frames, n))


class Engine:
    """Answers what a session asks while it logs in, and sends the stream when it is told to go."""

    def __init__(self, calls: int, tones: int, tones_per_second: float) -> None:
        self.stream = stream_of(calls)
        self.tones = tones
        self.tones_per_second = tones_per_second
        self.log_ins: list[tuple[float, float]] = []

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one client. `go` as the path starts the stream with the first message, for clients that do not log in."""
        path = connection.request.path if connection.request is not None else ""
        started = False
        began = 0.0
        async for message in connection:
            if path == "/bare":
                if message == "go":
                    await self.send_stream(connection)
                continue
            request = json.loads(message)
            if request["exec-func"] == "auth":
                began = time.monotonic()
            try:
                await connection.send(json.dumps(self.reply(request), separators=(",", ":")))
            except ConnectionClosed:
                # The client had what it wanted.
                return
            # show_channel is the last thing that a session asks while it connects; it may look a second time later.
            if request["exec-func"] == "show_channel" and not started:
                started = True
                self.log_ins.append((began, time.monotonic()))
                if path == "/stream":
                    await self.send_stream(connection)
                elif path == "/tones":
                    await self.send_tones(connection)

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a command as the engine does (facts: webitel-protocol 1.1, 3)."""
        number, _, domain = ACCOUNT.partition("@")
        row = {"id": number, "domain": domain, "name": "User 100", "role": "user", "agent": "true", "state": "ONHOOK",
               "status": "NONE", "descript": "", "online": True, "cc_logged": False, "agent.status": "Logged Out"}  # fmt: skip
        answers: dict[str, Any] = {
            "auth": {"login": ACCOUNT, "role": "user", "domain": domain, "state": "ONHOOK", "status": "NONE",
                     "cc-agent": "true", "session": str(uuid.uuid4()), "ws-count": 1, "cc-logged": False, "acl": {}},
            "login": "+OK: logged: true",
            "api account list": {"response": json.dumps({number: row})},
            "show_channel": {"row_count": 0, "rows": []},
            "ping": "pong",
        }  # fmt: skip
        func = request["exec-func"]
        return {"exec-uuid": request["exec-uuid"], "exec-complete": "+OK", "exec-response": answers.get(func, "+OK\n")}

    async def send_stream(self, connection: ServerConnection) -> None:
        """Send all calls as fast as they are taken."""
        transport = connection.transport
        for start in range(0, len(self.stream), PIECE_BYTES):
            if transport.is_closing():
                return
            transport.write(self.stream[start : start + PIECE_BYTES])
            # The transport's own pause is the connection's affair; the sender looks itself whether there is room.
            while transport.get_write_buffer_size() > QUEUE_BYTES:  # noqa: ASYNC110 - a transport has no event for it
                await asyncio.sleep(0.0005)

    async def send_tones(self, connection: ServerConnection) -> None:
        """Send a call up to its bridge, then tones at a steady pace; print when each was sent."""
        frames = with_fresh_identifiers(call_frames(), 1)
        bridge = next(i for i, text in enumerate(frames) if '"CHANNEL_BRIDGE"' in text)
        tone = in_websocket_frame(next(text for text in frames if '"DTMF"' in text))
        transport = connection.transport
        for text in frames[: bridge + 1]:
            transport.write(in_websocket_frame(text))
        sent: list[float] = []
        began = time.monotonic() + 0.2
        for i in range(self.tones):
            await asyncio.sleep(max(0.0, began + i / self.tones_per_second - time.monotonic()))
            sent.append(time.monotonic())
            transport.write(tone)
        print(json.dumps(sent), flush=True)


async def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tell-log-ins", action="store_true", help="print when each log in began and ended, at the end")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--tones", type=int, default=0)
    parser.add_argument("--tones-per-second", type=float, default=500.0)
    arguments = parser.parse_args()
    engine = Engine(arguments.calls, arguments.tones, arguments.tones_per_second)
    async with serve(engine.serve, "127.0.0.1", arguments.port, compression=None, ping_interval=None, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        if arguments.tell_log_ins:
            print(json.dumps(engine.log_ins), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
