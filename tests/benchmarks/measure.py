"""The measurements. Each runs its clients in fresh processes, against the engine's side in another (stream.py)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.benchmarks.stream import FRAMES_A_CALL

CALLS = 400
ROUNDS = 6
TONES = 1000
TONES_PER_SECOND = 500.0
SESSIONS = 150
IMPORTS = 9
ROOT = Path(__file__).parents[2]


@attrs.frozen
class Throughput:
    """What the whole path does beside a bare client.

    Attributes:
        floor_frames_per_second: The bare client's.
        path_frames_per_second: The whole path's.
        path_events_per_second: The events that a subscriber got from them.
    """

    floor_frames_per_second: float
    path_frames_per_second: float
    path_events_per_second: float

    @property
    def ratio(self) -> float:
        """The path over the floor."""
        return self.path_frames_per_second / self.floor_frames_per_second


@contextmanager
def engine(*arguments: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run the engine's side; give its port."""
    command = [sys.executable, "-m", "tests.benchmarks.stream", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.stdin.close()
            process.wait(10)


def client(*arguments: object) -> dict[str, Any]:
    """Run a client (clients.py) in a fresh process; give what it found."""
    command = [sys.executable, "-m", "tests.benchmarks.clients", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def throughput(backend: str, *, calls: int = CALLS, rounds: int = ROUNDS) -> Throughput:
    """Measure the floor and the path in turns, and compare the best of each: the others were disturbed."""
    floor: list[float] = []
    path: list[float] = []
    events = 0
    with engine("--calls", str(calls)) as (port, _):
        for _ in range(rounds):
            floor.append(client("floor", backend, port, calls)["seconds"])
            found = client("path", backend, port, calls)
            path.append(found["seconds"])
            events = found["events"]
    frames = calls * FRAMES_A_CALL
    return Throughput(frames / min(floor), frames / min(path), events / min(path))


def latency_p99_ms(backend: str, *, tones: int = TONES) -> float:
    """Measure how long after its sending a frame's event is with the subscriber, at a steady pace."""
    with engine("--tones", str(tones), "--tones-per-second", str(TONES_PER_SECOND)) as (port, process):
        received = client("tones", backend, port, tones)["received"]
        assert process.stdout is not None
        sent = json.loads(process.stdout.readline())
    waits = [after - before for before, after in zip(sent, received, strict=True)]
    p99: float = statistics.quantiles(waits, n=100)[98]
    return p99 * 1000


def idle_session_kb(*, sessions: int = SESSIONS) -> float:
    """Measure what a session that does nothing holds more than a bare connection."""
    with engine() as (port, _):
        bare = client("idle-bare", "asyncio", port, sessions)["kb"]
        session = client("idle-session", "asyncio", port, sessions)["kb"]
    return float(session - bare)


def import_ratio(*, imports: int = IMPORTS, used: str = "") -> float:
    """Measure how long the package takes to import, with a name that a host uses or without, beside what it stands on."""
    floor: list[float] = []
    ours: list[float] = []
    for _ in range(imports):
        floor.append(_import_seconds("anyio, attrs, pluggy, structlog"))
        ours.append(_import_seconds(f"cti_framework; cti_framework.{used}" if used else "cti_framework"))
    return min(ours) / min(floor)


def _import_seconds(modules: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, cwd=ROOT)
    return time.perf_counter() - began
