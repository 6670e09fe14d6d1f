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
from cti_webitel.engine.callbacks import NO_PAYLOAD, CallCallback, OnAuthTimeout, OnConnect, OnFarHoldCall, OnFarUnholdCall
from cti_webitel.engine.protocol import BadFrame, Callback, Output, Reply
from cti_webitel.engine.replay import replay_frames

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"
LIKE_THE_LIBRARY = sorted(path.name.removesuffix(".callbacks.jsonl") for path in CAPTURES.glob("*.callbacks.jsonl"))
"""Every capture beside which the library's callbacks were recorded."""


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


def test_there_are_captures() -> None:
    assert len(LIKE_THE_LIBRARY) == 12


@pytest.mark.parametrize("name", LIKE_THE_LIBRARY)
def test_calls_back_as_the_library_did(name: str) -> None:
    # As text: the order of keys and the difference between 1 and true count, too.
    ours, theirs = callbacks(replay_frames(frames(name))), library_callbacks(name)
    assert [json.dumps(entry) for entry in ours] == [json.dumps(entry) for entry in theirs]


@pytest.mark.parametrize("name", LIKE_THE_LIBRARY)
def test_every_frame_means_something(name: str) -> None:
    for _, output in replay_frames(frames(name)):
        assert not isinstance(output, BadFrame)
        assert not isinstance(output, Reply) or output.func is not None


def test_each_of_several_clients_is_read_by_itself() -> None:
    outputs = [output for _, output in replay_frames(frames("20-raw-probe"))]
    assert not [output for output in outputs if isinstance(output, BadFrame)]
    connected = [output.login for output in outputs if isinstance(output, OnConnect)]
    assert connected[:4] == ["100@demo.local", "100@demo.local", "100@other.local", "101@demo.local"]
    assert connected.count("102@demo.local") == 10
    # One call, of which two clients of the account are told, and the account of the same number in the other domain is not.
    told = [(output.name, output.call.uuid) for output in outputs if isinstance(output, CallCallback)]
    assert [name for name, _ in told] == ["onNewCall", "onNewCall", "onUuidCall", "onHangupCall", "onUuidCall", "onHangupCall"]
    assert len({uuid for _, uuid in told}) == 1
    assert len([output for output in outputs if isinstance(output, OnAuthTimeout)]) == 5


def with_client(name: str, conn: str | int, shift_ms: int = 0) -> list[dict[str, Any]]:
    return [entry | {"conn": conn, "t": entry["t"] + shift_ms} for entry in map(json.loads, frames(name))]


def test_mixed_captures_tell_what_each_tells_alone() -> None:
    mixed = [*with_client("03-out-call", "a"), *with_client("04-incoming", 2, 7), *with_client("14-reconnect", "c", 3)]
    mixed.sort(key=lambda entry: entry["t"])
    told = callbacks(replay_frames(map(json.dumps, mixed)))
    for name in ("03-out-call", "04-incoming", "14-reconnect"):
        waiting = [json.dumps(entry) for entry in library_callbacks(name)]
        for entry in map(json.dumps, told):
            if waiting and entry == waiting[0]:
                waiting.pop(0)
        assert not waiting, name
    assert len(told) == sum(len(library_callbacks(name)) for name in ("03-out-call", "04-incoming", "14-reconnect"))


def test_an_answer_is_its_own_client_s() -> None:
    """Two clients that give their commands the same identifiers."""
    lines = [
        {"t": 0, "conn": "a", "dir": "c2s", "frame": {"exec-uuid": "1", "exec-func": "login"}},
        {"t": 1, "conn": "b", "dir": "c2s", "frame": {"exec-uuid": "1", "exec-func": "ping"}},
        {"t": 2, "conn": "a", "dir": "s2c", "frame": {"exec-uuid": "1", "exec-complete": "+OK"}},
        {"t": 3, "conn": "b", "dir": "s2c", "frame": {"exec-uuid": "1", "exec-complete": "+OK", "exec-response": "pong"}},
    ]
    outputs = [output for _, output in replay_frames(map(json.dumps, lines))]
    assert [output.func for output in outputs if isinstance(output, Reply)] == ["login", "ping"]


def test_time_passes_for_each_client() -> None:
    first = [json.loads(line) | {"conn": "a"} for line in held_lines(5000)]
    second = [json.loads(line) | {"conn": "b", "t": json.loads(line)["t"] + 300} for line in held_lines(5000)]
    mixed = sorted([*first, *second], key=lambda entry: entry["t"])
    told = [
        (at, type(output)) for at, output in replay_frames(map(json.dumps, mixed)) if isinstance(output, Callback) and output.ours
    ]
    assert told == [(2.0, OnFarHoldCall), (2.3, OnFarHoldCall), (6.001, OnFarUnholdCall), (6.301, OnFarUnholdCall)]


def test_the_account_is_the_one_that_was_let_in() -> None:
    """A client that tries another account first."""
    lines = [json.loads(line) for line in frames("03-out-call")]
    refused = [
        {"t": 0, "dir": "c2s", "frame": {"exec-uuid": "0", "exec-func": "auth", "exec-args": {"account": "9@x", "secret": "?"}}},
        {"t": 0, "dir": "s2c", "frame": {"exec-uuid": "0", "exec-complete": "+ERR", "exec-response": {"login": {"status": 401}}}},
    ]
    told = callbacks(replay_frames(map(json.dumps, [lines[0], *refused, *lines[1:]])))
    assert told[2:] == library_callbacks("03-out-call")


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


def test_half_a_character_is_none_of_rubbish() -> None:
    whole = frames("04-incoming")
    half = [json.dumps(halved(json.loads(line))) for line in whole]
    assert [type(output) for _, output in replay_frames(half)] == [type(output) for _, output in replay_frames(whole)]


def halved(entry: dict[str, Any]) -> dict[str, Any]:
    if isinstance(entry["frame"], dict) and "Caller-Caller-ID-Name" in entry["frame"]:
        entry["frame"]["Caller-Caller-ID-Name"] += "\ud83d"
    return entry


@pytest.mark.parametrize(
    "rubbish",
    [
        "no JSON",
        "[]",
        "7",
        "{}",
        '{"t":"1","dir":"s2c","frame":{}}',
        '{"t":true,"dir":"s2c","frame":{}}',
        '{"t":1e15,"dir":"s2c","frame":{}}',
        '{"t":-1e18,"dir":"s2c","frame":{}}',
        '{"t":1,"dir":"s2c"}',
        '{"t":1,"dir":"s2c","conn":[1],"frame":{}}',
        '{"t":1,"dir":"s2c","conn":true,"frame":{}}',
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
