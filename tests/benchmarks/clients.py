"""The clients that are measured: each prints one JSON object."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import orjson

from tests.benchmarks.stream import ACCOUNT, FRAMES_A_CALL

FIRST = 5
"""Sessions that are opened before the measuring begins."""


def initializer(port: int, path: str) -> Any:
    """Make a host's initializer for the engine's side."""
    from cti_framework import CtiProviderInitializer

    return CtiProviderInitializer(
        {
            "cti.provider": "webitel",
            "webitel.connection_string": f"ws://127.0.0.1:{port}/{path}",
            "webitel.login": ACCOUNT,
            "webitel.password": "100",
        },
        environ={},
    )


def quiet() -> None:
    """Log nothing: a log line is not what is measured."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


async def floor(port: int, calls: int) -> dict[str, Any]:
    """Only receive and decode."""
    if sys.argv[2] == "trio":
        from websockets.trio.client import connect
    else:
        from websockets.asyncio.client import connect  # type: ignore[assignment]  # siblings with one signature
    frames = calls * FRAMES_A_CALL
    loads = orjson.loads
    async with connect(f"ws://127.0.0.1:{port}/bare", compression=None, proxy=None) as socket:
        await socket.send("go")
        loads(await socket.recv())
        began = time.perf_counter()
        for _ in range(frames - 1):
            loads(await socket.recv())
        seconds = time.perf_counter() - began
    return {"seconds": seconds}


async def path(port: int, calls: int) -> dict[str, Any]:
    """Engine frame -> provider -> Line -> CtiModel -> one subscriber, who must get every event of every call."""
    from cti_framework import CallFinished, CallStarted, ResyncRequired

    quiet()
    began = 0.0
    first = count = finished = 0
    async with initializer(port, "stream").open("100", wait_for_service=False) as model:
        async for event in model.events():
            count += 1
            kind = type(event)
            if kind is CallFinished:
                finished += 1
                if finished == calls:
                    break
            elif kind is CallStarted and not began:
                began = time.perf_counter()
                first = event.seq - count
            elif kind is ResyncRequired:
                raise SystemExit("the subscriber missed events")
        seconds = time.perf_counter() - began
    # Numbers have no gaps, so as many events as numbers are all of them.
    if event.seq - first != count:
        raise SystemExit(f"{event.seq - first - count} events are missing")
    return {"seconds": seconds, "events": count}


async def tones(port: int, expected: int) -> dict[str, Any]:
    """Note when each tone is with the subscriber."""
    from cti_framework import DtmfEntered

    quiet()
    received: list[float] = []
    async with initializer(port, "tones").open("100", wait_for_service=False) as model:
        async for event in model.events():
            if isinstance(event, DtmfEntered):
                received.append(time.monotonic())
                if len(received) == expected:
                    break
    return {"received": received}


async def idle(sessions: int, enter: Callable[[AsyncExitStack], Awaitable[object]]) -> dict[str, Any]:
    """Open many and tell what one of them holds; the first few pay for what all share."""
    async with AsyncExitStack() as stack:
        for _ in range(FIRST):
            await enter(stack)
        gc.collect()
        before = resident_kb()
        for _ in range(sessions):
            await enter(stack)
        gc.collect()
        held = (resident_kb() - before) / sessions
    return {"kb": held}


def resident_kb() -> float:
    """Tell this process's memory."""
    status = Path("/proc/self/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def idle_bare(port: int, sessions: int) -> dict[str, Any]:
    """Measure bare connections."""
    from websockets.asyncio.client import connect

    url = f"ws://127.0.0.1:{port}/bare"
    return await idle(sessions, lambda stack: stack.enter_async_context(connect(url, compression=None, proxy=None)))


async def idle_session(port: int, sessions: int) -> dict[str, Any]:
    """Measure sessions of one initializer."""
    quiet()
    host = initializer(port, "idle")
    return await idle(sessions, lambda stack: stack.enter_async_context(host.open("100")))


async def hub(port: int, sessions: int) -> dict[str, Any]:
    """Open many users' sessions in a hub, tell what they hold, and when all of them are back after the engine was killed."""
    from cti_framework import SnapshotTaken
    from cti_framework.hub import CtiHub

    quiet()
    host = initializer(port, "idle")
    async with CtiHub(host) as users:
        for number in range(FIRST):
            await users.close(await users.open(f"first {number}"))
        gc.collect()
        before = resident_kb()
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(sessions):
                tasks.start_soon(users.open, f"user {number}")
        opened = time.perf_counter() - began
        gc.collect()
        held = resident_kb() - before
        models = [session.model for session in users.sessions]
        subscriptions = [model.events() for model in models if model is not None]
        print(json.dumps({"mb": held / 1024, "opened_seconds": opened, "sessions": len(subscriptions)}), flush=True)
        for events in subscriptions:
            async for event in events:
                # In service, and with its calls known.
                if type(event) is SnapshotTaken:
                    break
        return {"back_at": time.monotonic(), "in_service": sum(_is_in_service(model) for model in models)}


def _is_in_service(model: Any) -> bool:
    from cti_framework import ProviderState

    return model is not None and model.provider_state is ProviderState.IN_SERVICE


CLIENTS: dict[str, Callable[[int, int], Awaitable[dict[str, Any]]]] = {
    "floor": floor,
    "path": path,
    "tones": tones,
    "idle-bare": idle_bare,
    "idle-session": idle_session,
    "hub": hub,
}


def main() -> None:
    """Run one client: name, backend, port, count."""
    name, backend, port, count = sys.argv[1:]
    found = anyio.run(CLIENTS[name], int(port), int(count), backend=backend)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
