"""The ``cti`` command on Webitel: the demo on real wire formats, captures, a simulator for other programs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cti_framework.cli import main

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests/captures/webitel"


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_demo_plays_the_call_on_a_simulated_webitel(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    assert main(["demo", "--json", "--backend", backend]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    steps = objects(out)
    told = [(step["from"], step["to"], step["step"]) for step in steps]
    expected = [
        ("simulator", "operator", "note"),
        ("Plugins", "CtiProviderInitializer", "class"),
        ("CtiProviderInitializer", "companion", "cti_log_in"),
        ("CtiProviderInitializer", "companion", "cti_user_connection"),
        ("WebitelCtiProvider", "Line", "Started"),
        ("host", "CtiModel", "make_call"),
        ("WebitelCtiProvider", "PBX", "call"),
        ("PBX", "WebitelCtiProvider", "CHANNEL_CREATE"),
        ("Line", "CtiModel", "CallStarted"),
        ("PBX", "WebitelCtiProvider", "CHANNEL_ANSWER"),
        ("PBX", "WebitelCtiProvider", "CHANNEL_BRIDGE"),
        ("Line", "CtiModel", "CallConnected"),
        ("subscriber", "PBX", "hold"),
        ("WebitelCtiProvider", "Line", "Held"),
        ("CtiModel", "host", "CallHeld"),
        ("subscriber", "PBX", "unhold"),
        ("CtiModel", "host", "CallUnheld"),
        ("host", "CtiModel", "drop_call"),
        ("WebitelCtiProvider", "PBX", "hangup"),
        ("PBX", "WebitelCtiProvider", "CHANNEL_HANGUP"),
        ("Line", "CtiModel", "CallFinished"),
        ("host", "operator", "summary"),
    ]
    positions = [told.index(step) for step in expected]
    assert positions == sorted(positions)
    assert "proxy-hold" in steps[0]["detail"]
    details = {step["step"]: step["detail"] for step in steps if (step["from"], step["to"]) == ("Line", "CtiModel")}
    assert details["CallHeld"].startswith("by the other party")
    assert details["CallUnheld"].startswith("by the other party")
    assert details["CallFinished"].startswith("normal")
    assert "refused" not in steps[-1]["detail"]


@pytest.mark.parametrize("name", ["01-auth-ok", "02-auth-fail", "03-out-call", "04-incoming", "11-device-dial"])
def test_replayed_callbacks_are_the_captured_ones_to_the_byte(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["replay", str(CAPTURES / f"{name}.frames.jsonl"), "--provider", "webitel", "--callbacks"]) == 0
    captured = (CAPTURES / f"{name}.callbacks.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [re.sub(r'^\{"t":\d+,', "{", line) for line in captured if '"cb":' in line]
    assert capsys.readouterr().out.splitlines() == expected


def test_a_replayed_call_tells_its_events(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(CAPTURES / "03-out-call.frames.jsonl"), "--provider", "webitel", "--json"]) == 0
    events = [event["event"] for line in objects(capsys.readouterr().out) for event in line["events"]]
    calls = [event for event in events if event.startswith("Call") and event != "CallCentreModeChanged"]
    assert calls == [
        "CallStarted",
        "CallInfoChanged",
        "CallConnected",
        *["CallHeld", "CallUnheld"] * 3,
        "CallInfoChanged",
        "CallFinished",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_call_on_a_simulator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cti = [sys.executable, "-m", "cti_framework.cli"]
    with subprocess.Popen([*cti, "simulate", "webitel"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        address = re.search(r"ws://[\d.]+:\d+", simulator.stdout.readline())
        assert address is not None
        settings = [f"webitel.connection_string={address.group()}", "webitel.login=100@demo.local", "SysMsgLib=webitel"]
        session = [*cti, *(word for setting in settings for word in ("--set", setting))]
        monkeypatch.setenv("PBX_PASSWORD", "100")
        try:
            command = [*session, "--set", "webitel.password=env:PBX_PASSWORD", "call", "0501234567", "--json"]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as call:
                assert call.stdout is not None
                for line in call.stdout:
                    if json.loads(line)["event"] == "CallConnected":
                        call.send_signal(signal.SIGINT)
                        break
                rest, _ = call.communicate()
            assert call.returncode == 130
            assert "CallFinished" in [event["event"] for event in objects(rest)]
            wrong = [*session, "--set", "webitel.password=wrong-word", "listen"]
            refused = subprocess.run(wrong, cwd=ROOT, capture_output=True, text=True)
            assert refused.returncode == 1
            assert refused.stderr.startswith("cti: The engine refuses 100@demo.local")
            assert "wrong-word" not in refused.stderr
        finally:
            simulator.send_signal(signal.SIGTERM)
    assert simulator.returncode == 0
