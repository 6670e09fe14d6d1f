"""The figures of what outages cost: many sessions in one process, and many calls to be reconciled."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

import attrs

from tests.benchmarks.measure import ROOT, engine

SESSIONS = 2000
FILES = 8192
WITHIN_SECONDS = 120.0


@attrs.frozen
class Restart:
    """What became of many sessions when the engine was killed and came back.

    Attributes:
        opened_seconds: How long opening all of them took.
        mb: What the process holds more than with none, after a few had been open that paid for what all share.
        back_seconds: From the moment at which the new engine listens until the last session is in service again.
        log_ins: How many there were at the new engine.
        log_ins_at_once: The most that were under way at a time.
        log_ins_in_a_second: The most that began within one second.
        in_service: How many sessions were in service at the end.
    """

    opened_seconds: float
    mb: float
    back_seconds: float
    log_ins: int
    log_ins_at_once: int
    log_ins_in_a_second: int
    in_service: int


def restart(backend: str = "asyncio", *, sessions: int = SESSIONS) -> Restart:
    """Open sessions in one process, kill the engine that they are connected to, start another, and wait until all are back."""
    allow_files()
    with engine() as (port, first):
        command = [sys.executable, "-m", "tests.benchmarks.clients", "hub", backend, str(port), str(sessions)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as client:
            try:
                opened = _line(client)
                first.kill()
                first.wait(10)
                with engine("--port", str(port), "--tell-log-ins") as (_, second):
                    listening_at = time.monotonic()
                    back = _line(client)
                    assert second.stdin is not None
                    second.stdin.close()
                    log_ins = _line(second)
            finally:
                client.kill()
    return Restart(
        opened_seconds=opened["opened_seconds"],
        mb=opened["mb"],
        back_seconds=back["back_at"] - listening_at,
        log_ins=len(log_ins),
        log_ins_at_once=_most_at_once(log_ins),
        log_ins_in_a_second=_most_in_a_second([began for began, _ in log_ins]),
        in_service=back["in_service"],
    )


def allow_files() -> None:
    """Let this process and those that it starts have so many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))


def _line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args!r} ended without a word")
    return json.loads(line)


def _most_at_once(log_ins: list[tuple[float, float]]) -> int:
    changes = sorted([(began, 1) for began, _ in log_ins] + [(ended, -1) for _, ended in log_ins])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _most_in_a_second(times: list[float]) -> int:
    times = sorted(times)
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
