"""Captures of the real client library beside the real engine: the same frames must give the same callbacks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.errors import CtiError, ProtocolError
from cti_webitel.engine.callbacks import NO_PAYLOAD, OnFarHoldCall, OnFarUnholdCall
from cti_webitel.engine.protocol import BadFrame, Callback, Output, Reply
from cti_webitel.engine.replay import replay_frames

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"
LIKE_THE_LIBRARY = [
    "01-auth-ok",
    "02-auth-fail",
    "03-out-call",
    "04-incoming",
    "07-att-xfer-confirm",
    "08-att-xfer-cancel",
    "09-blind-xfer",
    "11-device-dial",
    "12-errors",
    "14-reconnect",
    "15-webrtc",
]


def frames(name: str) -> list[str]:
    return (CAPTURES / f"{name}.frames.jsonl").read_text(encoding="utf-8").splitlines()


def library_callbacks(name: str) -> list[dict[str, Any]]:
    entries = map(json.loads, (CAPTURES / f"{name}.callbacks.jsonl").read_text(encoding="utf-8").splitlines())
    return [{key: entry[key] for key in ("cb", "payload") if key in entry} for entry in entries if "cb" in entry]


def callbacks(outputs: Iterable[tuple[float, Output]]) -> list[dict[str, Any]]:
    told = []
    for _, output in outputs:
        if isinstance(output, Callback) and not output.ours:
            payload = output.payload()
            told.append({"cb": output.name} if payload is NO_PAYLOAD else {"cb": output.name, "payload": payload})
    return told


@pytest.mark.parametrize("name", LIKE_THE_LIBRARY)
def test_calls_back_as_the_library_did(name: str) -> None:
    # As text: the order of keys and the difference between 1 and true count, too.
    ours, theirs = callbacks(replay_frames(frames(name))), library_callbacks(name)
    assert [json.dumps(entry) for entry in ours] == [json.dumps(entry) for entry in theirs]


def test_deviates_from_the_library_only_in_a_created_account() -> None:
    ours, theirs = callbacks(replay_frames(frames("13-cc-events"))), library_callbacks("13-cc-events")
    different = [(our, their) for our, their in zip(ours, theirs, strict=True) if our != their]
    assert [our["cb"] for our, _ in different] == ["onAddUser", "onRemoveUser"]
    for our, their in different:
        assert our["payload"]["id"] == their["payload"]["id"] == "150"
        assert (their["payload"]["name"], their["payload"]["tag"]) == ("undefined", "undefined")
        assert (our["payload"]["name"], our["payload"]["tag"], our["payload"]["state"]) == ("", "", "NONREG")


@pytest.mark.parametrize("name", [*LIKE_THE_LIBRARY, "13-cc-events"])
def test_every_frame_means_something(name: str) -> None:
    for _, output in replay_frames(frames(name)):
        assert not isinstance(output, BadFrame)
        assert not isinstance(output, Reply) or output.func is not None


def test_several_sockets_at_once_are_read_as_one() -> None:
    assert not [output for _, output in replay_frames(frames("20-raw-probe")) if isinstance(output, BadFrame)]


def test_times_are_seconds_in_order() -> None:
    times = [at for at, _ in replay_frames(frames("03-out-call"))]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.042, 2.565)


def held_lines(then_ms: int) -> list[str]:
    """Capture 04, whose far end holds after the answer, until ``then_ms`` after that."""
    lines = frames("04-incoming")
    frames_of_states = [entry for entry in map(json.loads, lines) if "CHANNEL_CALLSTATE" in json.dumps(entry)]
    active = next(entry for entry in frames_of_states if entry["frame"]["Channel-Call-State"] == "ACTIVE")
    until = [line for line in lines if json.loads(line)["t"] <= active["t"]]
    held = active | {"t": 1000, "frame": active["frame"] | {"Channel-Call-State": "HELD"}}
    ping = {"t": 1000 + then_ms, "dir": "s2c", "frame": {"exec-uuid": "x", "exec-complete": "+OK", "exec-response": "pong"}}
    unheld = active | {"t": 1000 + then_ms + 1, "frame": active["frame"] | {"Channel-Call-State": "UNHELD"}}
    return [*until, *map(json.dumps, (held, ping, unheld))]


def test_time_passes_between_the_frames() -> None:
    told = [(at, type(output)) for at, output in replay_frames(held_lines(5000)) if isinstance(output, Callback) and output.ours]
    assert told == [(2.0, OnFarHoldCall), (6.001, OnFarUnholdCall)]


def test_time_does_not_pass_where_the_capture_says_so() -> None:
    assert not [output for _, output in replay_frames(held_lines(500)) if isinstance(output, Callback) and output.ours]


def test_empty_lines_are_skipped() -> None:
    assert callbacks(replay_frames(["", *frames("02-auth-fail"), "  \n"])) == library_callbacks("02-auth-fail")


def test_what_was_no_json_on_the_wire_is_a_bad_frame() -> None:
    lines = ['{"t":0,"dir":"s2c","frame":"{\\"torn"}', '{"t":1,"dir":"s2c","frame":[1]}', '{"t":2,"dir":"c2s","frame":"{"}']
    assert [type(output) for _, output in replay_frames(lines)] == [BadFrame, BadFrame]


@pytest.mark.parametrize(
    "rubbish",
    [
        "no JSON",
        "[]",
        "7",
        "{}",
        '{"t":"1","dir":"s2c","frame":{}}',
        '{"t":true,"dir":"s2c","frame":{}}',
        '{"t":1,"dir":"s2c"}',
        '{"t":1,"dir":7,"frame":{}}',
        '{"t":1,"dir":"sideways","frame":{}}',
        '{"t":1,"dir":"open","frame":{}}',
        '{"t":1,"dir":"close","frame":"gone"}',
    ],
)
def test_rubbish_names_its_line(rubbish: str) -> None:
    with pytest.raises(ProtocolError, match="Line 2 is none of a capture") as caught:
        list(replay_frames([frames("02-auth-fail")[0], rubbish]))
    assert caught.value.retryable is False


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_lines_give_outputs_or_a_protocol_error(lines: list[str]) -> None:
    try:
        list(replay_frames(lines))
    except CtiError as error:
        assert isinstance(error, ProtocolError)
