"""The flight recorder: what it keeps, what it forgets, what it never shows."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.recorder import FlightRecorder, FrameDirection

OPEN, TO_PBX, FROM_PBX, CLOSE = FrameDirection.OPEN, FrameDirection.TO_PBX, FrameDirection.FROM_PBX, FrameDirection.CLOSE
SECRET = "canary-7f3a"


class Clock:
    """Seconds that a test turns by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def read(recorder: FlightRecorder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorder.lines()]


def frames(recorder: FlightRecorder) -> list[Any]:
    return [entry["frame"] for entry in read(recorder)]


def test_frames_are_lines_of_a_capture() -> None:
    clock = Clock()
    recorder = FlightRecorder(monotonic=clock)
    recorder.record(OPEN, "ws://pbx.example:871")
    clock.now += 0.0351
    recorder.record(TO_PBX, '{"exec-func":"login"}')
    recorder.record_many(FROM_PBX, [b'{"a":"\xc3\xa4"}', bytearray(b"[1]")])
    recorder.record(CLOSE, {"code": 1005, "reason": ""}, connection="verto")
    assert list(recorder.lines()) == [
        '{"t":0,"dir":"open","frame":"ws://pbx.example:871"}',
        '{"t":35,"dir":"c2s","frame":{"exec-func":"login"}}',
        '{"t":35,"dir":"s2c","frame":{"a":"ä"}}',
        '{"t":35,"dir":"s2c","frame":[1]}',
        '{"t":35,"dir":"close","conn":"verto","frame":{"code":1005,"reason":""}}',
    ]


@pytest.mark.parametrize("data", [b"no json", b'{"torn', b"\xff\xfe\x00", "text", b"", '{"a":NaN}'])
def test_what_is_no_json_is_a_text(data: bytes | str) -> None:
    recorder = FlightRecorder()
    recorder.record(FROM_PBX, data)
    (frame,) = frames(recorder)
    assert frame == (data if isinstance(data, str) else data.decode("utf-8", "backslashreplace"))


def test_half_a_character_makes_no_text_of_a_frame() -> None:
    recorder = FlightRecorder()
    recorder.record(FROM_PBX, rb'{"name":"Ole\ud83d","secret":"x"}')
    recorder.record(TO_PBX, r'{"name":"Ole\ud83d","secret":"x"}')
    assert frames(recorder) == [{"name": "Ole\ufffd", "secret": "***"}] * 2


def test_a_frame_that_is_older_than_it_may_be_is_forgotten() -> None:
    clock = Clock()
    recorder = FlightRecorder(seconds=300, monotonic=clock)
    recorder.record(FROM_PBX, b'"old"')
    clock.now += 299
    recorder.record(FROM_PBX, b'"new"')
    assert frames(recorder) == ["old", "new"]
    clock.now += 2
    # Also where nothing comes any more: the reader is not to be shown what is too old.
    assert frames(recorder) == ["new"]
    assert recorder.lost == 1


def test_memory_stays_within_its_bound() -> None:
    recorder = FlightRecorder(kilobytes=64)
    payload = b"x" * 500
    for number in range(20_000):
        recorder.record_many(FROM_PBX, [payload + str(number).encode()])
    held = sum(len(entry[3][0] or "") + sys.getsizeof(entry) for entry in recorder._entries)
    assert held < 64 * 1024
    assert recorder.lost + len(frames(recorder)) == 20_000
    assert frames(recorder)[-1].endswith("19999")


def test_a_frame_larger_than_the_ring_washes_nothing_out() -> None:
    recorder = FlightRecorder(kilobytes=4)
    recorder.record(FROM_PBX, b'"before"')
    recorder.record(FROM_PBX, b"y" * 5000)
    recorder.record_many(FROM_PBX, [b'"a"', b"z" * 5000, b'"b"'])
    assert frames(recorder) == ["before", "a", "b"]
    assert recorder.lost == 2


@pytest.mark.parametrize("recorder", [FlightRecorder(seconds=0), FlightRecorder(kilobytes=0)], ids=["seconds", "kilobytes"])
def test_it_can_be_switched_off(recorder: FlightRecorder) -> None:
    recorder.record(FROM_PBX, b"1")
    assert frames(recorder) == []
    told: list[str] = []
    leave = recorder.follow(told.append)
    recorder.record(FROM_PBX, b"2")
    leave()
    recorder.record(FROM_PBX, b"3")
    assert [json.loads(line)["frame"] for line in told] == [2]
    assert frames(recorder) == []


def test_the_beginning_of_the_connection_is_kept_as_long_as_frames_of_it() -> None:
    recorder = FlightRecorder(kilobytes=8)
    for address in ("first", "second"):
        recorder.record(OPEN, address)
        recorder.record(TO_PBX, f'"log in {address}"')
        for _ in range(100):
            recorder.record(FROM_PBX, b'"' + b"x" * 300 + b'"')
        assert frames(recorder)[:2] == [address, f"log in {address}"]
        recorder.record(CLOSE, None)
    kept = frames(recorder)
    assert "first" not in kept
    # A part of the room beside the ring, and no more.
    assert sum(len(json.dumps(frame)) for frame in kept) < 13 * 1024
    for _ in range(100):
        recorder.record(FROM_PBX, b'"' + b"z" * 300 + b'"')
    assert "second" not in frames(recorder)


def test_each_connection_has_a_beginning_of_its_own() -> None:
    recorder = FlightRecorder(kilobytes=4)
    for name in ("a", "b"):
        recorder.record(OPEN, f"at {name}", connection=name)
    for _ in range(100):
        recorder.record(FROM_PBX, b'"' + b"x" * 300 + b'"', connection="a")
    assert frames(recorder)[:2] == ["at a", "at b"]


def test_secrets_are_out_of_every_line() -> None:
    recorder = FlightRecorder(secrets=lambda: [SECRET])
    recorder.record(OPEN, f"wss://user:{SECRET}@pbx.example/?token=abc")
    recorder.record(TO_PBX, '{"exec-func":"auth","exec-args":{"account":"100@x","secret":"100"}}')
    recorder.record(FROM_PBX, json.dumps({"echo": f"you said {SECRET}", "list": [{"deep": SECRET}]}).encode())
    recorder.record(FROM_PBX, f"no json, {SECRET}".encode())
    text = "\n".join(recorder.lines())
    assert SECRET not in text
    assert "abc" not in text
    sent = frames(recorder)[1]
    assert sent == {"exec-func": "auth", "exec-args": {"account": "100@x", "secret": "***"}}
    # A value that is short, or a number, is part of every time and identifier: it is recognised by its name alone.
    recorder = FlightRecorder(secrets=lambda: ["100", "123456"])
    recorder.record(FROM_PBX, b'{"account":"100@x","at":"1785123456"}')
    assert frames(recorder) == [{"account": "100@x", "at": "1785123456"}]


def test_what_we_say_is_without_its_secret_in_memory_too() -> None:
    recorder = FlightRecorder()
    recorder.record(TO_PBX, f'{{"exec-func":"auth","exec-args":{{"secret":"{SECRET}"}}}}')
    assert SECRET not in repr(list(recorder._entries))
    assert SECRET not in repr(recorder)


def test_what_is_said_stays_an_object_when_its_secrets_go() -> None:
    recorder = FlightRecorder()
    recorder.record(TO_PBX, '{"password":"x","remark":"token=","exec-func":"call"}')
    assert frames(recorder) == [{"password": "***", "remark": "token=", "exec-func": "call"}]


def test_a_secret_that_changes_is_known_at_the_next_reading() -> None:
    secrets = ["first-word"]
    recorder = FlightRecorder(secrets=lambda: secrets)
    recorder.record(FROM_PBX, b'["first-word","second-word"]')
    assert frames(recorder) == [["***", "second-word"]]
    secrets.append("second-word")
    assert frames(recorder) == [["***", "***"]]


def test_followers_are_told_each_frame_as_it_comes_and_only_while_they_follow() -> None:
    recorder = FlightRecorder(secrets=lambda: [SECRET])
    told: list[str] = []
    leave, leave_too = recorder.follow(told.append), recorder.follow(told.append)
    recorder.record_many(FROM_PBX, [b'"1"', SECRET.encode()])
    assert [json.loads(line)["frame"] for line in told] == ["1", "1", "***", "***"]
    leave()
    leave()
    recorder.record(FROM_PBX, b'"2"')
    assert len(told) == 5
    leave_too()
    recorder.record(FROM_PBX, b'"3"')
    assert len(told) == 5


def test_a_follower_that_raises_is_named_once_and_dropped_and_the_others_are_told() -> None:
    with structlog.testing.capture_logs() as entries:
        recorder = FlightRecorder()
        told: list[str] = []

        def full_disk(line: str) -> None:
            raise OSError(f"no room for {line}")

        leave = recorder.follow(full_disk)
        recorder.follow(told.append)
        recorder.record_many(FROM_PBX, [b"1", b"2"])
        recorder.record(FROM_PBX, b"3")
        leave()
    assert [json.loads(line)["frame"] for line in told] == [1, 2, 3]
    (entry,) = entries
    assert (entry["event"], entry["error"]) == ("cti.recorder.follower_failed", "OSError")
    assert entry["follower"].endswith("full_disk")
    assert "no room" not in repr(entry)


def test_a_follower_may_raise_whatever_it_likes_but_ctrl_c() -> None:
    def exits(line: str) -> None:
        raise SystemExit(line)

    def interrupted(line: str) -> None:
        raise KeyboardInterrupt

    recorder = FlightRecorder()
    told: list[str] = []
    recorder.follow(exits)
    recorder.follow(told.append)
    with structlog.testing.capture_logs() as entries:
        recorder.record(FROM_PBX, b"1")
    assert len(told) == 1
    assert [entry["error"] for entry in entries] == ["SystemExit"]
    recorder.follow(interrupted)
    with pytest.raises(KeyboardInterrupt):
        recorder.record(FROM_PBX, b"2")


def test_a_frame_that_is_no_json_can_be_told() -> None:
    recorder = FlightRecorder()
    told: list[str] = []
    recorder.follow(told.append)
    recorder.record(FROM_PBX, {"at": Clock, "numbers": {1: "x"}, "half": "\ud800"})
    (frame,) = [json.loads(line)["frame"] for line in told]
    assert (frame["numbers"], frame["half"]) == ({"1": "x"}, "\ud800")


@pytest.mark.parametrize("direction", [FROM_PBX, TO_PBX, CLOSE])
def test_a_mapping_takes_the_room_of_all_that_is_in_it(direction: FrameDirection) -> None:
    recorder = FlightRecorder(kilobytes=64)
    for number in range(200):
        recorder.record(direction, {"rows": [{"text": f"{number}:" + "x" * 1000}], "more": {"y" * 1000: None}})
    kept = len(frames(recorder))
    assert 20 < kept < 32
    assert kept + recorder.lost == 200
    # One in itself has an end, too.
    circle: dict[str, Any] = {}
    circle["itself"] = circle
    recorder.record(FROM_PBX, circle)


def test_a_number_that_is_secret_is_out_of_what_we_say_where_it_stands_alone() -> None:
    recorder = FlightRecorder(secrets=lambda: ["48151623", "100"])
    for text in (
        "Action: Login\r\nSecret: hush\r\n\r\n",
        "userauth 100@pbx:48151623",
        '{"params":["100","48151623",48151623],"to":"0481516230"}',
    ):
        recorder.record(TO_PBX, text)
    recorder.record(FROM_PBX, b'{"caller":"48151623"}')
    assert frames(recorder) == [
        "Action: Login\r\nSecret: ***\r\n\r\n",
        "userauth 100@pbx:***",
        {"params": ["100", "***", "***"], "to": "0481516230"},
        {"caller": "48151623"},
    ]


def test_a_reader_sees_what_was_there_when_it_began() -> None:
    recorder = FlightRecorder()
    recorder.record(FROM_PBX, b"1")
    lines = recorder.lines()
    recorder.record(FROM_PBX, b"2")
    assert [json.loads(line)["frame"] for line in lines] == [1]


@given(st.lists(st.tuples(st.sampled_from(list(FrameDirection)), st.text(max_size=200), st.sampled_from(["", "a"])), max_size=60))
def test_whatever_is_recorded_can_be_read_and_is_counted(told: list[tuple[FrameDirection, str, str]]) -> None:
    recorder = FlightRecorder(kilobytes=3)
    for direction, text, connection in told:
        recorder.record(direction, text, connection=connection)
    lines = list(recorder.lines())
    assert all(set(json.loads(line)) <= {"t", "dir", "conn", "frame"} for line in lines)
    assert len(lines) + recorder.lost == len(told)
