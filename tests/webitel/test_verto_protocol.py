"""The web phone's protocol: what may be done with a call, what is told, and rubbish of every kind."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typed_settings.types import Secret

from cti_framework.calls import EndCause
from cti_framework.errors import InvalidArgumentError, NotAllowedNowError
from cti_webitel.verto.dialogs import DialogState
from cti_webitel.verto.frames import encode_request
from cti_webitel.verto.protocol import BadFrame, Output, Reply, Unexpected, VertoProtocol
from cti_webitel.verto.replies import CallCreated, OtherResult, Refused
from cti_webitel.verto.requests import (
    Action,
    Answer,
    Attach,
    Broadcast,
    Bye,
    Invite,
    Login,
    Modify,
    OtherMessage,
    Ping,
    SendChat,
    SendDigits,
    VertoMessage,
)
from cti_webitel.verto.signals import (
    Announced,
    Answered,
    Attached,
    Cause,
    ChatMessage,
    Displayed,
    EarlyMedia,
    Ended,
    EndedBy,
    HoldChanged,
    InfoReceived,
    Invited,
    Punted,
    Ready,
    Signal,
    UnknownRequest,
)
from tests.webitel.verto_captures import CAPTURES

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n"
CALL = "0360199f-fa1f-447b-93ee-18524bd684f3"


class Session:
    """A protocol, and the server's side of it in few words."""

    def __init__(self) -> None:
        self.protocol = VertoProtocol("the-session")
        self.protocol.opened()
        self.serial = 100

    def ask(self, message: VertoMessage) -> int:
        return self.protocol.request(message)[0]

    def say(self, method: str, **params: Any) -> list[Output]:
        self.serial += 1
        frame = {"jsonrpc": "2.0", "id": self.serial, "method": method, "params": params}
        return list(self.protocol.receive(json.dumps(frame)))

    def answer(self, request_id: int, **result: Any) -> list[Output]:
        frame = {"jsonrpc": "2.0", "id": request_id, "result": {**result, "sessid": "the-session"}}
        return list(self.protocol.receive(json.dumps(frame)))

    def refuse(self, request_id: int, **error: Any) -> list[Output]:
        return list(self.protocol.receive(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})))

    def done(self, message: VertoMessage, **result: Any) -> list[Output]:
        return self.answer(self.ask(message), **result)[1:]

    def state(self) -> DialogState | None:
        dialog = self.protocol.dialogs.get(CALL)
        return None if dialog is None else dialog.state

    def answered(self) -> Session:
        """Have an answered call."""
        self.done(Invite(CALL, "9196", SDP), callID=CALL)
        self.say("verto.answer", callID=CALL, sdp=SDP)
        assert self.state() is DialogState.ACTIVE
        return self


@pytest.fixture
def session() -> Session:
    return Session()


# --- calls


def test_a_call_of_ours(session: Session) -> None:
    request_id = session.ask(Invite(CALL, "9196", SDP, "Alice", "1000"))
    assert session.state() is DialogState.REQUESTING
    assert session.answer(request_id, message="CALL CREATED", callID=CALL) == [
        Reply(request_id, Invite(CALL, "9196", SDP, "Alice", "1000"), CallCreated(CALL, "CALL CREATED"))
    ]
    assert session.state() is DialogState.TRYING
    assert session.say("verto.media", callID=CALL, sdp=SDP) == [EarlyMedia(CALL, SDP)]
    assert session.state() is DialogState.EARLY
    assert session.say("verto.answer", callID=CALL) == [Answered(CALL)]
    assert session.protocol.dialogs[CALL].remote_sdp == SDP
    assert session.say("verto.display", callID=CALL, display_name="Bob", display_number="1001") == [
        Displayed(CALL, "Bob", "1001")
    ]
    assert session.protocol.dialogs[CALL].name == "Bob"
    assert session.done(Modify(CALL, Action.HOLD), callID=CALL, action="hold", holdState="held") == [HoldChanged(CALL, True)]
    assert session.state() is DialogState.HELD
    assert session.done(Modify(CALL, Action.HOLD), callID=CALL, action="hold", holdState="held") == []
    assert session.done(Modify(CALL, Action.UNHOLD), callID=CALL, action="unhold", holdState="active") == [
        HoldChanged(CALL, False)
    ]
    assert session.done(Bye(CALL), callID=CALL, causeCode=16, cause="NORMAL_CLEARING") == [
        Ended(CALL, Cause("NORMAL_CLEARING", 16), EndedBy.CLIENT)
    ]
    assert session.protocol.dialogs == {}


def test_a_call_that_comes_in(session: Session) -> None:
    told = session.say("verto.invite", callID=CALL, sdp=SDP, caller_id_name="Bob", caller_id_number="1001", verto_h_queue="sales")
    assert isinstance(told[0], Invited)
    assert told[0].headers == {"verto_h_queue": "sales"}
    assert (session.protocol.dialogs[CALL].name, session.protocol.dialogs[CALL].is_incoming) == ("Bob", True)
    request_id = session.ask(Answer(CALL, SDP))
    assert session.state() is DialogState.ANSWERING
    with pytest.raises(NotAllowedNowError, match="is being answered"):
        session.ask(Answer(CALL, SDP))
    session.answer(request_id)
    assert session.state() is DialogState.ACTIVE


def test_an_answer_may_come_before_the_channel(session: Session) -> None:
    request_id = session.ask(Invite(CALL, "9196", SDP))
    session.say("verto.answer", callID=CALL, sdp=SDP)
    session.answer(request_id, callID=CALL)
    assert session.state() is DialogState.ACTIVE


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Answer(CALL, SDP), "is answered already"),
        (Attach(CALL, SDP), "is answered already"),
        (Invite(CALL, "9196", SDP), "of this identifier"),
        (Modify("other", Action.HOLD), "no such call"),
        (Bye("other"), "no such call"),
    ],
)
def test_what_an_answered_call_does_not_allow(session: Session, message: VertoMessage, reason: str) -> None:
    session.answered()
    before = dict(session.protocol.dialogs)
    with pytest.raises(NotAllowedNowError, match=reason) as caught:
        session.ask(message)
    assert caught.value.stage.value == "not_sent"
    assert session.protocol.dialogs == before
    assert session.protocol.pending == {}


@pytest.mark.parametrize(
    "message",
    [
        Modify(CALL, Action.HOLD),
        Modify(CALL, Action.UPDATE_MEDIA, sdp=SDP),
        Modify(CALL, Action.TRANSFER, "1002"),
        SendDigits(CALL, "1"),
    ],
)
def test_what_a_call_that_is_not_answered_does_not_allow(session: Session, message: VertoMessage) -> None:
    session.done(Invite(CALL, "9196", SDP), callID=CALL)
    with pytest.raises(NotAllowedNowError, match="is not answered"):
        session.ask(message)
    if isinstance(message, SendDigits):
        # A voice that asks for digits may speak before the call is answered.
        session.say("verto.media", callID=CALL, sdp=SDP)
        session.ask(message)


def test_nothing_can_be_done_with_a_call_that_is_over(session: Session) -> None:
    session.answered()
    session.say("verto.bye", callID=CALL, causeCode=16, cause="NORMAL_CLEARING")
    for message in (Answer(CALL, SDP), Attach(CALL, SDP), Modify(CALL, Action.HOLD), Bye(CALL), SendDigits(CALL, "1")):
        with pytest.raises(NotAllowedNowError, match="the call is over"):
            session.ask(message)


@pytest.mark.parametrize("method", ["verto.answer", "verto.media", "verto.display", "verto.attach", "verto.invite", "verto.bye"])
def test_late_words_bring_no_call_back(session: Session, method: str) -> None:
    session.answered()
    session.done(Bye(CALL), callID=CALL, causeCode=16, cause="NORMAL_CLEARING")
    (told,) = session.say(method, callID=CALL, sdp=SDP)
    assert isinstance(told, Unexpected)
    assert session.protocol.dialogs == {}
    assert session.protocol.counts.late == 1


@pytest.mark.parametrize("method", ["verto.answer", "verto.media", "verto.display", "verto.bye"])
def test_words_about_a_call_that_never_was(session: Session, method: str) -> None:
    (told,) = session.say(method, callID=CALL, sdp=SDP)
    assert isinstance(told, Unexpected)
    assert told.reason == "there is no such call"
    assert (session.protocol.counts.unexpected, session.protocol.counts.late) == (1, 0)


def test_an_answer_to_a_call_that_comes_in_cannot_be(session: Session) -> None:
    session.say("verto.invite", callID=CALL, sdp=SDP)
    for method in ("verto.answer", "verto.media", "verto.invite"):
        assert isinstance(session.say(method, callID=CALL, sdp=SDP)[0], Unexpected)
    assert session.state() is DialogState.RINGING


def test_a_call_is_answered_once(session: Session) -> None:
    session.answered()
    for method in ("verto.answer", "verto.media"):
        assert isinstance(session.say(method, callID=CALL, sdp="v=0 other")[0], Unexpected)
    assert (session.state(), session.protocol.dialogs[CALL].remote_sdp) == (DialogState.ACTIVE, SDP)


def test_both_sides_hang_up_at_once(session: Session) -> None:
    session.answered()
    request_id = session.ask(Bye(CALL))
    assert session.say("verto.bye", callID=CALL, causeCode=16, cause="NORMAL_CLEARING") == [
        Ended(CALL, Cause("NORMAL_CLEARING", 16), EndedBy.SERVER)
    ]
    (reply,) = session.refuse(request_id, callID=CALL, message="CALL DOES NOT EXIST", code=-32002)
    assert isinstance(reply, Reply)
    assert isinstance(reply.outcome, Refused)
    assert reply.outcome.is_gone


def test_a_call_that_the_server_does_not_have_is_over(session: Session) -> None:
    session.answered()
    request_id = session.ask(Modify(CALL, Action.HOLD))
    assert session.refuse(request_id, callID=CALL, action="hold", message="CALL DOES NOT EXIST", code=-32002)[1:] == [
        Ended(CALL, None, EndedBy.SERVER)
    ]


def test_a_refused_answer_can_be_given_again(session: Session) -> None:
    session.say("verto.invite", callID=CALL, sdp=SDP)
    session.refuse(session.ask(Answer(CALL, SDP)), message="SDP missing", code=-32002)
    assert session.state() is DialogState.RINGING


def test_nothing_was_sent(session: Session) -> None:
    session.protocol.withdraw(session.ask(Invite(CALL, "9196", SDP)))
    assert session.protocol.dialogs == {}
    session.say("verto.invite", callID=CALL, sdp=SDP)
    session.protocol.withdraw(session.ask(Answer(CALL, SDP)))
    assert session.state() is DialogState.RINGING


def test_an_answer_that_nobody_waits_for_still_counts(session: Session) -> None:
    request_id = session.ask(Invite(CALL, "9196", SDP))
    session.protocol.forget(request_id)
    session.answer(request_id, callID=CALL)
    assert session.state() is DialogState.TRYING
    for _ in range(1_000):
        session.protocol.forget(session.ask(Ping()))
    assert len(session.protocol.pending) == 256


def test_causes(session: Session) -> None:
    session.answered()
    (told,) = session.say("verto.bye", callID=CALL, causeCode=4711, cause="NEW_CAUSE")
    assert told == Ended(CALL, Cause("NEW_CAUSE", 4711), EndedBy.SERVER)
    assert Cause("NEW_CAUSE", 4711).meaning is EndCause.UNKNOWN
    assert Cause("USER_BUSY", 17).meaning is EndCause.BUSY
    assert str(Cause("USER_BUSY", 17)) == "17 USER_BUSY"
    session.say("verto.invite", callID="x", sdp=SDP)
    assert session.say("verto.bye", callID="x") == [Ended("x", None, EndedBy.SERVER)]


# --- sessions


def test_a_call_outlives_the_connection(session: Session) -> None:
    session.answered()
    session.done(Modify(CALL, Action.HOLD), callID=CALL, holdState="held")
    session.protocol.closed()
    assert session.state() is DialogState.DETACHED
    session.protocol.opened()
    with pytest.raises(NotAllowedNowError, match="cut off"):
        session.ask(Modify(CALL, Action.UNHOLD))
    (told,) = session.say("verto.attach", callID=CALL, sdp=SDP)
    assert isinstance(told, Attached)
    assert session.say("verto.clientReady", reattached_sessions=[CALL]) == [Ready((CALL,))]
    assert session.state() is DialogState.RECOVERING
    session.done(Attach(CALL, SDP))
    assert session.state() is DialogState.HELD


def test_a_call_is_lost_only_when_the_server_says_so(session: Session) -> None:
    session.answered()
    session.protocol.closed()
    session.protocol.opened()
    # One that began meanwhile is none of those that were to come back.
    session.ask(Invite("new", "9196", SDP))
    for unreadable in ({}, {"reattached_sessions": None}, {"reattached_sessions": "x"}, {"reattached_sessions": [1]}):
        assert session.say("verto.clientReady", **unreadable) == [Ready(None)]
    assert session.say("verto.clientReady", reattached_sessions=[]) == [Ready(()), Ended(CALL, None, EndedBy.LOST)]
    assert set(session.protocol.dialogs) == {"new"}


def test_a_call_that_was_lost_can_come_back(session: Session) -> None:
    session.answered()
    session.protocol.closed()
    session.say("verto.clientReady", reattached_sessions=[])
    (told,) = session.say("verto.attach", callID=CALL, sdp=SDP, display_direction="inbound")
    assert isinstance(told, Attached)
    assert session.protocol.dialogs[CALL].is_incoming is False


def test_a_call_of_an_earlier_run(session: Session) -> None:
    session.say("verto.attach", callID=CALL, sdp=SDP, display_direction="outbound")
    session.say("verto.clientReady", reattached_sessions=[CALL])
    assert session.protocol.dialogs[CALL].is_incoming is True
    assert session.done(Bye(CALL), callID=CALL, causeCode=16) == [Ended(CALL, Cause(None, 16), EndedBy.CLIENT)]


def test_of_two_offers_of_new_media_the_answer_to_the_second_counts(session: Session) -> None:
    session.answered()
    session.say("verto.attach", callID=CALL, sdp="v=0 one")
    first = session.ask(Attach(CALL, SDP))
    session.say("verto.attach", callID=CALL, sdp="v=0 two")
    # The two say the same: it is the one that was asked last, not one that looks like it.
    second = session.ask(Attach(CALL, SDP))
    session.refuse(first, code=-32002, message="SDP missing")
    assert session.state() is DialogState.ATTACHING
    session.answer(second)
    assert session.state() is DialogState.ACTIVE


def test_of_two_offers_of_new_media_the_refusal_of_the_second_counts(session: Session) -> None:
    session.answered()
    session.say("verto.attach", callID=CALL, sdp="v=0 one")
    first = session.ask(Attach(CALL, SDP))
    session.say("verto.attach", callID=CALL, sdp="v=0 two")
    second = session.ask(Attach(CALL, SDP))
    session.answer(first)
    assert session.state() is DialogState.ATTACHING
    session.refuse(second, code=-32002, message="SDP missing")
    # It has no media: it can still be given some.
    assert session.state() is DialogState.RECOVERING


def test_media_anew_on_a_connection_that_lives(session: Session) -> None:
    session.answered()
    session.say("verto.attach", callID=CALL, sdp="v=0 one")
    session.ask(Attach(CALL, SDP))
    assert session.state() is DialogState.ATTACHING
    session.say("verto.attach", callID=CALL, sdp="v=0 two")
    assert session.state() is DialogState.RECOVERING
    session.done(Attach(CALL, SDP))
    assert session.state() is DialogState.ACTIVE


def test_another_session(session: Session) -> None:
    session.answered()
    assert session.say("verto.punt") == [Punted()]
    session.protocol.closed()
    assert session.protocol.renew() == [Ended(CALL, None, EndedBy.LOST)]
    assert session.protocol.session_id != "the-session"


def test_replies_to_nobody_after_the_connection_was_lost(session: Session) -> None:
    request_id = session.ask(Ping())
    session.protocol.closed()
    session.protocol.opened()
    assert session.answer(request_id, message="PONG") == [
        Reply(request_id, None, OtherResult({"message": "PONG", "sessid": "the-session"}))
    ]
    assert session.protocol.counts.unclaimed_replies == 1


# --- the wire


def test_a_request_is_told_by_its_method_not_by_its_identifier(session: Session) -> None:
    request_id = session.ask(Ping())
    frame = {"jsonrpc": "2.0", "id": request_id, "method": "verto.ping", "params": {"serno": 1}}
    session.protocol.receive(json.dumps(frame))
    assert list(session.protocol.pending) == [request_id]
    assert json.loads(session.protocol.take_replies()[0]) == {
        "jsonrpc": "2.0",
        "id": request_id,
        "result": {"method": "verto.ping"},
    }
    assert session.protocol.take_replies() == ()


def test_a_server_that_asks_without_end_is_not_remembered_without_end(session: Session) -> None:
    for _ in range(10_000):
        session.say("verto.ping", serno=1)
    assert len(session.protocol.take_replies()) == 256


def test_no_error_is_ever_sent(session: Session) -> None:
    # The server answers one, under the same identifier as a request of ours may have.
    assert session.say("verto.new", x=1) == [UnknownRequest("verto.new", {"x": 1})]
    session.say("verto.invite", callID=5)
    assert all("error" not in json.loads(text) for text in session.protocol.take_replies())
    assert session.protocol.counts.unknown_requests == 1


def test_what_is_said_beside_calls(session: Session) -> None:
    assert session.say("verto.info", msg={"from": "a", "to": "b", "body": "hello"}) == [
        InfoReceived(chat=ChatMessage("a", "b", "hello"))
    ]
    assert session.say("verto.info", callID=CALL, dtmf="5") == [InfoReceived(CALL, "5")]
    assert session.say("verto.announce", msg=["the", "words"]) == [Announced(("the", "words"))]


def test_values_of_the_wrong_type_are_left_out(session: Session) -> None:
    (told,) = session.say(
        "verto.invite",
        callID=CALL,
        sdp=SDP,
        caller_id_name=["no"],
        caller_id_number=1001,
        variables={"good": "1", "bad": {}},
        display_direction={},
    )
    assert isinstance(told, Invited)
    assert (told.parties.caller_name, told.parties.caller_number, told.parties.direction) == ("", "1001", "")
    assert told.variables == {"good": "1"}
    assert session.protocol.counts.left_out == 3


@pytest.mark.parametrize(
    "params", [{}, {"callID": ""}, {"callID": CALL}, {"callID": CALL, "sdp": ""}, {"callID": {}, "sdp": SDP}]
)
def test_a_call_without_what_is_needed(session: Session, params: dict[str, Any]) -> None:
    (told,) = session.say("verto.invite", **params)
    assert isinstance(told, BadFrame)
    assert told.method == "verto.invite"
    assert session.protocol.dialogs == {}


RUBBISH = [
    b"\x00\x01\x02",
    b"this is no JSON",
    b'{"jsonrpc":"2.0","method":"verto.ping","id":1',
    b"null",
    b"42",
    b'"hi"',
    b"{}",
    b"[[]]",
    b'{"method":5}',
    b'{"method":null,"id":1}',
    b'{"method":"verto.bye","params":[1,2]}',
    b'{"method":"verto.bye","params":"x"}',
    b'{"id":1,"result":"x"}',
    b'{"id":1,"error":"x"}',
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"method":"verto.invite","params":{"callID":' + b"[" * 900 + b"]" * 900 + b"}}",
    b'{"method":"verto.bye","params":{"callID":"\xff\xfe"',
]


@pytest.mark.parametrize("data", RUBBISH)
def test_rubbish_is_told_and_changes_nothing(session: Session, data: bytes) -> None:
    session.answered()
    told = session.protocol.receive(data)
    assert told
    assert all(isinstance(output, BadFrame) for output in told)
    assert session.protocol.counts.bad_frames == len(told)
    assert session.state() is DialogState.ACTIVE


@pytest.mark.parametrize("data", [b"", b"[]", ""])
def test_nothing_is_nothing(session: Session, data: bytes | str) -> None:
    assert session.protocol.receive(data) == []
    assert session.protocol.counts.bad_frames == 0


def test_a_long_message(session: Session) -> None:
    (told,) = session.say("verto.invite", callID=CALL, sdp="v=0" + "x" * 5_000_000)
    assert isinstance(told, Invited)
    assert len(repr(told)) < 500


def test_a_name_that_is_not_utf_8_loses_no_call(session: Session) -> None:
    frame = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "verto.invite",
        "params": {"callID": CALL, "sdp": SDP, "caller_id_name": "NAME"},
    }
    (told,) = session.protocol.receive(json.dumps(frame).encode().replace(b"NAME", b"\xc1\xee\xe1e"))
    assert isinstance(told, Invited)
    assert told.parties.caller_name.endswith("e")
    assert "\ufffd" in told.parties.caller_name


def test_a_batch_is_read_in_its_order(session: Session) -> None:
    request_id = session.ask(Ping())
    batch = [
        {"method": "verto.invite", "id": 1, "params": {"callID": CALL, "sdp": SDP}},
        {"id": request_id, "result": {"message": "PONG"}},
        7,
        {"method": "verto.bye", "id": 2, "params": {"callID": CALL, "cause": "LOSE_RACE", "causeCode": 702}},
    ]
    told = session.protocol.receive(json.dumps(batch))
    assert [type(output) for output in told] == [Invited, Reply, BadFrame, Ended]


def test_the_detail_of_an_error_with_two_messages(session: Session) -> None:
    request_id = session.ask(Invite(CALL, "9196", SDP))
    error = '{"message":"SDP missing","causeCode":95,"cause":"INVALID_MSG_UNSPECIFIED","message":"CALL ERROR","code":-32002}'
    told = session.protocol.receive(f'{{"jsonrpc":"2.0","id":{request_id},"error":{error}}}')
    assert isinstance(told[0], Reply)
    assert told[0].outcome == Refused("CALL ERROR", -32002, "SDP missing", Cause("INVALID_MSG_UNSPECIFIED", 95))
    assert told[1] == Ended(CALL, Cause("INVALID_MSG_UNSPECIFIED", 95), EndedBy.REFUSED)


def test_the_detail_of_the_second_of_a_batch(session: Session) -> None:
    request_id = session.ask(Invite(CALL, "9196", SDP))
    error = '{"message":"SDP missing","message":"CALL ERROR","code":-32002}'
    told = session.protocol.receive(f'[{{"id":7,"error":{{"message":"CALL ERROR"}}}},{{"id":{request_id},"error":{error}}}]')
    outcomes = [output.outcome for output in told if isinstance(output, Reply)]
    assert outcomes == [Refused("CALL ERROR"), Refused("CALL ERROR", -32002, "SDP missing")]


@pytest.mark.parametrize("first", ['"x"', "5", "null", "[1]", '["ab"]', '{"message":"no"}'])
def test_an_error_that_is_there_twice_is_the_last_one(first: str) -> None:
    session = Session()
    request_id = session.ask(Invite(CALL, "9196", SDP))
    error = '{"message":"SDP missing","message":"CALL ERROR"}'
    told = session.protocol.receive(f'{{"id":{request_id},"error":{first},"error":{error}}}')
    assert isinstance(told[0], Reply)
    assert told[0].outcome == Refused("CALL ERROR", detail="SDP missing")


def test_a_refusal_that_comes_as_a_result(session: Session) -> None:
    told = session.answer(session.ask(Broadcast("secret", 1)), message="Permission Denied.", code=-32002)
    assert isinstance(told[0], Reply)
    assert told[0].outcome == Refused("Permission Denied.", -32002)


def test_no_secret_is_shown() -> None:
    login = Login("1000@demo.local", Secret("hunter2"), {"token": "hunter2"}, {"x": "hunter2"})
    protocol = VertoProtocol()
    _, text = protocol.request(login)
    assert json.loads(text)["params"]["passwd"] == "hunter2"
    shown = f"{login!r} {protocol.pending!r} {OtherMessage('x', {'pin': 'hunter2'})!r} {SendDigits(CALL, 'hunter2')!r}"
    shown += repr(SendChat("a", "hunter2")) + repr(Invite(CALL, "1", "hunter2", variables={"x": "hunter2"}))
    assert "hunter2" not in shown
    told = protocol.receive('{"id":1,"result":{"hunter2":"hunter2","sessid":"s"}}')
    assert "hunter2" not in repr(told)


def test_the_server_gives_the_session_its_name() -> None:
    session = Session()
    session.answer(session.ask(Login("1000", Secret("x"))), message="logged in")
    assert session.protocol.session_id == "the-session"
    session.protocol.receive('{"id":2,"result":{"message":"logged in","sessid":"other"}}')
    assert session.protocol.session_id == "the-session"
    session.ask(Login("1000", Secret("x")))
    session.protocol.receive('{"id":2,"result":{"message":"logged in","sessid":"other"}}')
    assert session.protocol.session_id == "other"


@pytest.mark.parametrize("levels", [62, 63])
def test_what_stands_too_deep_is_not_sent(levels: int) -> None:
    data: Any = 1
    for _ in range(levels):
        data = {"a": data}
    if levels == 62:
        assert encode_request(1, "x", {"data": data})
    else:
        with pytest.raises(InvalidArgumentError, match="levels deep"):
            encode_request(1, "x", {"data": data})


@pytest.mark.parametrize("value", [object(), {1, 2}, "\ud800", 2**70])
def test_what_json_cannot_say_is_not_sent(session: Session, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="JSON cannot say"):
        session.ask(Invite(CALL, "9196", SDP, variables={"hunter2": value}))
    assert session.protocol.dialogs == {}


# --- anything at all

METHODS = st.sampled_from(
    [
        "verto.announce",
        "verto.answer",
        "verto.attach",
        "verto.bye",
        "verto.clientReady",
        "verto.display",
        "verto.event",
        "verto.info",
        "verto.invite",
        "verto.media",
        "verto.ping",
        "verto.punt",
        "verto.unknown",
    ]
)
NAMES = st.sampled_from(
    [
        "callID",
        "sdp",
        "variables",
        "caller_id_name",
        "reattached_sessions",
        "msg",
        "cause",
        "causeCode",
        "eventChannel",
        "dtmf",
        "code",
        "message",
        "holdState",
        "action",
        "sessid",
        "data",
        "pvtData",
        "serno",
        "subscribedChannels",
        "localBroadcast",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "b", SDP, "held"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
FRAMES = st.one_of(
    st.fixed_dictionaries({"method": METHODS, "params": OBJECTS | VALUES, "id": VALUES}),
    st.fixed_dictionaries({"result": OBJECTS | VALUES, "id": st.integers(0, 12)}),
    st.fixed_dictionaries({"error": OBJECTS | VALUES, "id": st.integers(0, 12)}),
    VALUES,
)
ASKED: list[VertoMessage] = [
    Invite("a", "1", SDP),
    Answer("b", SDP),
    Attach("a", SDP),
    Bye("a"),
    Modify("b", Action.HOLD),
    SendDigits("a", "1"),
    Ping(),
]


@given(st.lists(st.one_of(FRAMES, st.sampled_from(ASKED), st.just("closed")), max_size=25), st.booleans())
def test_whatever_comes_the_protocol_stands(steps: list[Any], batched: bool) -> None:
    protocol = VertoProtocol("s")
    protocol.opened()
    known: set[str] = set()
    ended: set[str] = set()
    for step in steps:
        if isinstance(step, VertoMessage):
            try:
                protocol.request(step)
            except NotAllowedNowError:
                continue
            if isinstance(step, Invite):
                known.add(step.call_id)
            continue
        if step == "closed":
            protocol.closed()
            assert all(dialog.state is DialogState.DETACHED for dialog in protocol.dialogs.values())
            continue
        for output in protocol.receive(orjson.dumps([step, step] if batched else step)):
            assert isinstance(output, Signal | Reply | Unexpected | BadFrame)
            assert repr(output)
            if isinstance(output, Invited | Attached):
                known.add(output.call_id)
                ended.discard(output.call_id)
            elif isinstance(output, Ended):
                # Each end is of a call that was told before, and is told once.
                assert output.call_id in known
                assert output.call_id not in ended
                ended.add(output.call_id)
        ended -= set(protocol.dialogs)
        assert set(protocol.dialogs) <= known
        for text in protocol.take_replies():
            assert json.loads(text)["result"]


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    VertoProtocol().receive(data)


TEXTS = [
    json.dumps(json.loads(line)["frame"]).encode()
    for name in ("05_call_alice_bob", "09_reconnect_same_sessid", "12_subscribe_broadcast", "17_conference")
    for line in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    if '"s2c"' in line
]


@given(st.sampled_from(TEXTS), st.data())
def test_a_message_that_was_cut_or_changed(text: bytes, data: st.DataObject) -> None:
    session = Session()
    session.ask(Ping())
    at = data.draw(st.integers(0, len(text) - 1))
    session.protocol.receive(text[:at])
    session.protocol.receive(text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :])


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12), st.data())
def test_a_batch_tells_what_its_messages_tell(texts: list[bytes], data: st.DataObject) -> None:
    alone, together = VertoProtocol("s"), VertoProtocol("s")
    cut = data.draw(st.integers(0, len(texts)))
    one_by_one = [output for text in texts for output in alone.receive(text)]
    batches = [batch for batch in (texts[:cut], texts[cut:]) if batch]
    at_once = [output for batch in batches for output in together.receive(b"[" + b",".join(batch) + b"]")]
    assert at_once == one_by_one
    assert together.dialogs == alone.dialogs
    assert together.take_replies() == alone.take_replies()
