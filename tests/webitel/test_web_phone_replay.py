"""Captures with frames of the web phone's signalling, gone through again: what the library would have called back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cti_framework.errors import ProtocolError
from cti_framework.provider import ReplayLine
from cti_framework.recorder import FlightRecorder, FrameDirection
from cti_webitel.provider import WebitelCtiProvider
from tests.webitel.verto_captures import CAPTURES, NAMES
from tests.webitel.web_phone_bench import SDP, VIDEO

NEW, VIDEO_SHOWN, OVER = "onNewWebRTCCall", "onVideoWebRTCCall", "onDestroyWebRTCCall"


def converted(name: str) -> Iterator[str]:
    """A capture of the real server, in the form of ours."""
    for text in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(text)
        line: dict[str, Any] = {"t": entry["t"] * 1000, "conn": entry.get("conn", "-")}
        if entry["dir"] == "net" and entry["event"] == "open":
            yield json.dumps(line | {"dir": "open", "frame": entry["url"]})
        elif entry["dir"] == "net":
            yield json.dumps(line | {"dir": "close", "frame": {"code": entry.get("code"), "reason": ""}})
        elif entry["dir"] in ("c2s", "s2c") and isinstance(entry.get("frame"), dict):
            yield json.dumps(line | {"dir": entry["dir"], "frame": entry["frame"]})


def replay(lines: Iterator[str] | list[str]) -> list[ReplayLine]:
    return list(WebitelCtiProvider.replay(lines))


def told(lines: Iterator[str] | list[str]) -> list[str | None]:
    return [line.callback for line in replay(lines)]


def line(direction: str, frame: Any, conn: str = "verto", t: float = 1.0) -> str:
    return json.dumps({"t": t, "dir": direction, "conn": conn, "frame": frame})


def invited(call_id: str = "call", sdp: str = SDP) -> str:
    params = {"callID": call_id, "sdp": sdp, "caller_id_number": "067", "caller_id_name": "ACME"}
    return line("s2c", {"jsonrpc": "2.0", "id": 7, "method": "verto.invite", "params": params})


@pytest.mark.parametrize("name", NAMES)
def test_every_capture_of_the_real_server(name: str) -> None:
    lines = replay(converted(name))
    new = [each.payload["callID"] for each in lines if each.callback == NEW]
    over = [each.payload["callID"] for each in lines if each.callback == OVER]
    assert {each.callback for each in lines} <= {NEW, VIDEO_SHOWN, OVER, None}
    assert set(over) <= set(new)
    asked = sum('"method": "verto.invite"' in text for text in converted(name))
    assert bool(new) is bool(asked) or "rejected" in name
    assert all(not each.disconnected for each in lines)


def test_a_call_between_two() -> None:
    lines = replay(converted("05_call_alice_bob"))
    assert [each.callback for each in lines].count(NEW) == 2
    assert [each.payload.get("direction") for each in lines if each.callback == NEW] == ["outbound", "inbound"]
    assert [each.callback for each in lines].count(OVER) == 2
    times = [each.at_seconds for each in lines]
    assert times == sorted(times)


def test_video() -> None:
    both = SDP + VIDEO
    answer = {"jsonrpc": "2.0", "id": 3, "method": "verto.answer", "params": {"sdp": both, "dialogParams": {"callID": "call"}}}
    lines = [
        invited(sdp=both),
        line("c2s", answer),
        line("s2c", {"jsonrpc": "2.0", "id": 3, "result": {"sessid": "s"}}),
        line("s2c", {"jsonrpc": "2.0", "id": 8, "method": "verto.bye", "params": {"callID": "call", "cause": "NORMAL_CLEARING"}}),
    ]
    assert told(lines) == [NEW, VIDEO_SHOWN, OVER]
    assert replay(lines)[0].payload == {"callID": "call", "direction": "inbound", "remoteNumber": "067", "remoteName": "ACME"}


def test_beside_the_engines_frames_in_one_order() -> None:
    auth = {"exec-uuid": "1", "exec-func": "auth", "exec-args": {"account": "100@demo.local", "secret": "***"}}
    lines = [
        line("open", "ws://pbx.example:10022", conn="", t=0),
        line("open", "ws://pbx.example:8082", t=1),
        line("c2s", auth, conn="", t=2),
        invited(),
        line("close", {"code": 1006, "reason": ""}, conn="", t=30),
        line("close", {"code": 1006, "reason": ""}, t=31),
    ]
    lines[3] = invited().replace('"t": 1.0', '"t": 20')
    replayed = replay(lines)
    assert [each.callback for each in replayed] == [NEW, None, "onDisconnect"]
    assert [each.disconnected for each in replayed] == [False, True, False]


def test_rubbish_keeps_its_number() -> None:
    lines = [line("open", "ws://pbx.example:8082"), invited(), invited("second"), "no json"]
    with pytest.raises(ProtocolError, match="Line 4"):
        replay(lines)


def test_a_log_in_of_the_phone_is_recorded_without_its_password() -> None:
    recorder = FlightRecorder()
    frame = {"jsonrpc": "2.0", "id": 1, "method": "login", "params": {"login": "100@demo.local", "passwd": "hunter2"}}
    recorder.record_many(FrameDirection.TO_PBX, (json.dumps(frame),), connection="verto")
    (text,) = recorder.lines()
    assert "hunter2" not in text
    assert json.loads(text)["conn"] == "verto"


def test_a_capture_of_the_engine_alone_loads_nothing_of_the_phone() -> None:
    program = """
import sys
from cti_webitel.provider import WebitelCtiProvider
assert list(WebitelCtiProvider.replay(['{"t": 0, "dir": "open", "frame": "ws://pbx.example:10022"}'])) == []
assert not any(name.startswith(("cti_webitel.verto", "cti_webitel.web_phone")) for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
