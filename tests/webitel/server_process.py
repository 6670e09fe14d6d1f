"""A simulator in a process of its own: it can be stopped, killed and started again at the same port."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["ServerProcess", "server_process"]

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 20.0


class ServerProcess:
    """One simulator, while it runs and after it was killed."""

    def __init__(self) -> None:
        self.port = 0
        self.control_port = 0
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        ports = ["--port", str(self.port), "--control-port", str(self.control_port)]
        command = [sys.executable, "-m", "cti_framework.cli", "simulate", "webitel", *ports]
        self._process = await anyio.open_process(command, cwd=_ROOT, stderr=None)
        assert self._process.stdout is not None
        with anyio.fail_after(_START_SECONDS):
            line = await BufferedByteReceiveStream(self._process.stdout).receive_until(b"\n", 4096)
        found = re.search(rb"ws://[\d.]+:(\d+),.* control port (\d+)", line)
        assert found is not None, line
        self.port, self.control_port = int(found[1]), int(found[2])

    def stop(self) -> None:
        """Have it stand still: its computer goes on to take what is sent."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without a word. What it knew of calls is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def do(self, verb: str, **request: Any) -> dict[str, Any]:
        """Have the far side, or the switch, do something."""
        async with await anyio.connect_tcp("127.0.0.1", self.control_port) as stream:
            await stream.send(json.dumps({"do": verb, **request}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await BufferedByteReceiveStream(stream).receive_until(b"\n", 1 << 20))
        assert "error" not in answer, answer
        return answer


@asynccontextmanager
async def server_process() -> AsyncIterator[ServerProcess]:
    server = ServerProcess()
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
