"""``cti listen --capture`` and ``cti support-bundle`` as processes at a Webitel on loopback, and how a signal ends them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CTI = [sys.executable, "-m", "cti_framework.cli"]
PASSWORD = "100"


@contextmanager
def simulated() -> Iterator[list[str]]:
    """Run a Webitel; give the words of a command at it."""
    with subprocess.Popen([*CTI, "simulate", "webitel"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout is not None
            address = re.search(r"ws://[\d.]+:\d+", simulator.stdout.readline())
            assert address is not None
            settings = [f"webitel.connection_string={address.group()}", "webitel.login=100@demo.local", "cti.provider=webitel"]
            settings.append("webitel.password=env:PBX_PASSWORD")
            yield [*CTI, *(word for setting in settings for word in ("--set", setting))]
        finally:
            simulator.send_signal(signal.SIGTERM)


def call(session: list[str]) -> None:
    """Have somebody call and hang up, in a session of the same account."""
    with subprocess.Popen([*session, "call", "0501234567", "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as calling:
        assert calling.stdout is not None
        for line in calling.stdout:
            if json.loads(line)["event"] == "CallConnected":
                calling.send_signal(signal.SIGINT)
        assert calling.wait() == 130


def calls_told(lines: list[str]) -> list[str]:
    return [event["event"] for event in map(json.loads, lines) if "call" in event and event["event"] != "CurrentCallChanged"]


def replayed(path: Path) -> list[str]:
    done = subprocess.run(
        [*CTI, "replay", str(path), "--provider", "webitel", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = [event for line in done.stdout.splitlines() for event in json.loads(line)["events"]]
    return calls_told([json.dumps(event) for event in found])


@pytest.mark.parametrize("ends_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_capture_survives_whatever_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_by: signal.Signals
) -> None:
    monkeypatch.setenv("PBX_PASSWORD", PASSWORD)
    path = tmp_path / "x.frames.jsonl"
    with simulated() as session:
        command = [*session, "listen", "--json", "--capture", str(path)]
        told: list[str] = []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as listening:
            assert listening.stdout is not None
            for line in listening.stdout:
                told.append(line)
                event = json.loads(line)["event"]
                if event == "SnapshotTaken":
                    call(session)
                elif event == "CallFinished":
                    break
            listening.send_signal(ends_by)
            listening.wait()
    assert listening.returncode == {signal.SIGTERM: 0, signal.SIGKILL: -9}[ends_by]
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert entries[0]["dir"] == "open"
    assert (entries[-1]["dir"] == "close") is (ends_by is not signal.SIGKILL)
    assert entries[1]["frame"]["exec-args"] == {"account": "100@demo.local", "secret": "***"}
    assert replayed(path) == calls_told(told)
    assert "CallConnected" in calls_told(told)


@pytest.mark.parametrize("ends_by", [signal.SIGINT])
def test_a_bundle_is_written_when_the_recording_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_by: signal.Signals
) -> None:
    monkeypatch.setenv("PBX_PASSWORD", PASSWORD)
    path = tmp_path / "x.zip"
    with simulated() as session:
        command = [*session, "-v", "support-bundle", "--output", str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as recording:
            assert recording.stderr is not None
            for line in recording.stderr:
                if "in_service" in line:
                    break
            call(session)
            recording.send_signal(ends_by)
            out, _ = recording.communicate()
    assert recording.returncode == 0
    assert out.startswith(f"{path}: ")
    with zipfile.ZipFile(path) as bundle:
        live = bundle.read("events.jsonl").decode().splitlines()
        assert "cti.connection.in_service" in bundle.read("log.txt").decode()
    assert replayed(path) == calls_told(live)
    assert "CallConnected" in calls_told(live)
