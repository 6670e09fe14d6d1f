"""The protocol: every byte of the captures, in whatever pieces, and what is no event socket at all."""

from __future__ import annotations

import json

import pytest
from cti_framework.errors import InvalidArgumentError, ProtocolError
from cti_framework.reports import Originated
from hypothesis import given, settings
from hypothesis import strategies as st

from captured import CAPTURES, messages, rows, wire
from cti_esl.client import read_table
from cti_esl.legs import read_leg
from cti_esl.protocol import (
    AuthRequest,
    Disconnecting,
    EslProtocol,
    Event,
    Message,
    Reply,
    Unknown,
    auth_command,
    command_bytes,
    is_refusal,
    read_object,
)
from cti_esl.replay import replay_frames

SMALL = ["01_connect_and_subscribe", "02c_click_to_call_one_leg", "19_esl_raw_protocol"]


@pytest.mark.parametrize("name", CAPTURES)
def test_each_message_of_a_capture_is_read(name: str) -> None:
    read = messages(name)
    assert len(read) == len(rows(name, "s2c"))
    # One client of one capture asked for events as text.
    unknown = [message for message in read if isinstance(message, Unknown)]
    assert all(message.content_type == "text/event-plain" for message in unknown)
    assert len(unknown) == (name == "19_esl_raw_protocol")


@pytest.mark.parametrize("name", CAPTURES)
def test_each_command_has_its_answer(name: str) -> None:
    commands = [row for row in rows(name, "c2s") if row["text"].strip()]
    answers = [message for message in messages(name) if isinstance(message, Reply)]
    assert len(commands) == len(answers)


@pytest.mark.parametrize("name", CAPTURES)
def test_each_message_keeps_its_bytes(name: str) -> None:
    sent = [f"{row['head']}{row['body']}".encode() for row in rows(name, "s2c")]
    kept = [message.raw for message in messages(name) if isinstance(message, Event | Reply)]
    assert set(kept) <= set(sent)


@pytest.mark.parametrize("name", CAPTURES)
def test_each_command_that_we_could_send_is_written_as_there(name: str) -> None:
    for row in rows(name, "c2s"):
        line, _, rest = row["text"].removesuffix("\n\n").partition("\n")
        job = rest.removeprefix("Job-UUID: ") if rest.startswith("Job-UUID: ") else None
        if not rest or job:
            assert command_bytes(line, job_uuid=job) == row["text"].encode()


@pytest.mark.parametrize("name", CAPTURES)
def test_each_table_and_dump_is_read(name: str) -> None:
    for message in messages(name):
        if not isinstance(message, Reply):
            continue
        if '"rows":[{"uuid"' in message.text:
            table = read_object(message.text)
            assert table is not None
            assert len(read_table(message.text)) == table["row_count"]
        elif message.text.startswith('{"Event-Name":"CHANNEL_DATA"'):
            news = read_leg(read_object(message.text) or {})
            assert news is not None
            assert news.leg
            assert news.created_microseconds


@given(st.sampled_from(SMALL), st.data())
@settings(max_examples=40, deadline=None)
def test_it_is_read_alike_in_whatever_pieces_it_comes(name: str, data: st.DataObject) -> None:
    for sent in wire(name).values():
        cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=30)))
        protocol, read = EslProtocol(), list[Message]()
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            read += protocol.feed(sent[start:end])
        assert read == EslProtocol().feed(sent)


def test_it_is_read_byte_by_byte() -> None:
    (sent,) = wire("02c_click_to_call_one_leg").values()
    protocol = EslProtocol()
    read = [message for at in range(len(sent)) for message in protocol.feed(sent[at : at + 1])]
    assert read == messages("02c_click_to_call_one_leg")


def test_logging_in_and_out() -> None:
    first, accepted, *_, bye, goodbye = messages("02_click_to_call")
    assert first == AuthRequest()
    assert accepted == Reply("+OK accepted")
    assert bye == Reply("+OK bye")
    assert isinstance(goodbye, Disconnecting)


def test_a_wrong_password() -> None:
    refused = messages("19_esl_raw_protocol")[2]
    assert isinstance(refused, Reply)
    assert is_refusal(refused.text)


# --- what is no event socket


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_garbage_is_read_or_refused(data: bytes) -> None:
    protocol = EslProtocol()
    try:
        protocol.feed(data)
        protocol.feed(b"\n\n")
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\n\n",
        b"HTTP/1.1 400 Bad Request\n\n",
        b"Content-Type: api/response\nContent-Length: many\n\n",
        b"Content-Type: api/response\nContent-Length: -5\n\n",
        b"Content-Type: api/response\nContent-Length: 99999999999999\n\n",
        b"Content-Type: api/response\nContent-Length: 999999999\n\n",
        b"Content-Type: text/event-json\nContent-Length: 2\n\n[]",
        b"Content-Type: text/event-json\nContent-Length: 2\n\n{}",
        b"Content-Type: text/event-json\nContent-Length: 5\n\n{nope",
        b'Content-Type: text/event-json\nContent-Length: 16\n\n{"Event-Name":1}',
        b"x: y\n" * 20_000,
        b"x: " + b"y" * 70_000 + b"\n\n",
    ],
)
def test_what_is_no_event_socket_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        EslProtocol().feed(data)


def test_headers_without_an_end_are_not_kept_for_ever() -> None:
    protocol = EslProtocol()
    with pytest.raises(ProtocolError):
        for _ in range(1000):
            protocol.feed(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n")


@pytest.mark.parametrize("line", ["api version\n\nexit", "api version\r", "api\x00version", "bgapi \x7f"])
def test_nothing_sends_two_commands_at_once(line: str) -> None:
    with pytest.raises(InvalidArgumentError):
        command_bytes(line)


def test_a_password_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        auth_command("very\nsecret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ['{"rows": 5}', '{"rows": [5, {}, {"uuid": 7}, null]}', "[]", "-ERR", "", "[" * 100_000]
)
def test_a_table_that_is_none_has_no_rows(text: str) -> None:
    assert read_table(text) == []


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["Unique-ID", "Event-Name", "Event-Date-Timestamp", "Call-Direction"]), st.text())
)
def test_a_leg_of_garbage(fields: dict[str, str]) -> None:
    news = read_leg(fields)
    assert (news is not None) == bool(fields.get("Unique-ID"))


@pytest.mark.parametrize("microseconds", ["9" * 17, "9" * 18, "9" * 400, "-1", "0", "1e3"])
def test_a_time_that_no_calendar_has_is_none(microseconds: str) -> None:
    body = json.dumps(
        {
            "Event-Name": "CHANNEL_CREATE",
            "Unique-ID": "a",
            "Channel-Presence-ID": "1000@example",
            "Event-Date-Timestamp": microseconds,
        }
    )
    message = f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n{body}"
    capture = [
        json.dumps({"t": 0, "dir": "open", "frame": "tcp://127.0.0.1:8021#1000@example"}),
        json.dumps({"t": 1, "dir": "s2c", "frame": message}),
    ]
    (line,) = replay_frames(capture)
    assert [type(report) for report in line.reports] == [Originated]
