"""Captures of a real FreeSWITCH, in both directions: all that it said means something, and we would have said the same to it."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from cti_framework.errors import InvalidArgumentError, NotAllowedNowError
from cti_webitel.verto.dialogs import DialogState
from cti_webitel.verto.frames import MOST_BYTES, encode_request
from cti_webitel.verto.protocol import BadFrame, Output, Reply, Unexpected, VertoCounts, VertoProtocol
from cti_webitel.verto.replies import Accepted, InfoSent, LoggedIn, OtherResult, Refused
from cti_webitel.verto.requests import Login, OtherMessage, VertoMessage
from cti_webitel.verto.signals import Answered, Attached, Cause, Ended, EndedBy, Punted, Ready, UnknownRequest
from tests.webitel.verto_captures import NAMES, Line, lines, message_of, without_noise

KNOWN_IN_RESULTS = {
    "login": {"message", "sessid"},
    "verto.invite": {"message", "callID", "sessid"},
    "verto.answer": {"sessid"},
    "verto.attach": {"sessid"},
    "verto.bye": {"callID", "message", "causeCode", "cause", "sessid"},
    "verto.modify": {"callID", "action", "holdState", "message", "sdp", "sessid"},
    "verto.info": {"message", "sessid"},
    "verto.ping": {"message", "sessid"},
    "verto.subscribe": {"subscribedChannels", "unauthorizedChannels", "alreadySubscribedChannels", "sessid"},
    "verto.unsubscribe": {"unsubscribedChannels", "notSubscribedChannels", "sessid"},
    "verto.broadcast": {"sessid"},
}
"""What each reading of a result reads."""

NOT_SAID_BY_US = Counter(
    {
        ("01b_login_without_sessid", "login"): 1,
        ("02_login_wrong_password", "login"): 4,
        ("03_request_before_login", "echo"): 1,
        ("03_request_before_login", "no.such.method"): 1,
        ("03_request_before_login", "verto.ping"): 1,
        ("04d_modify_variants", "verto.modify"): 5,
        ("08b_bad_invites", "verto.answer"): 1,
        ("08b_bad_invites", "verto.bye"): 2,
        ("08b_bad_invites", "verto.info"): 1,
        ("08b_bad_invites", "verto.invite"): 3,
        ("12_subscribe_broadcast", "verto.broadcast"): 1,
        ("12_subscribe_broadcast", "verto.subscribe"): 1,
        ("12_subscribe_broadcast", "verto.unsubscribe"): 1,
        ("16_chat_info", "verto.info"): 2,
    }
)
"""What was tried that is wrong or of no use: no message of ours says it."""

REFUSED_IDS = 1_000_000
"""From here on are the identifiers of what our protocol would not have sent."""
ANOTHER_SESSION = {("09d_reconnect_other_sessid", "verto.modify"), ("09d_reconnect_other_sessid", "verto.bye")}
"""What was asked of another session's call: the server does not check whose a call is, and we do."""


class Replay:
    """A capture, gone through as its clients did. A session that connects again is the same client."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: dict[str, VertoProtocol] = {}
        self.by_session: dict[str, VertoProtocol] = {}
        self.ids: dict[tuple[str, int], int] = {}
        self.told: list[tuple[str, Output]] = []
        self.refused: set[tuple[str, str]] = set()
        self.not_said: Counter[tuple[str, str]] = Counter()
        self.replies: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.said = 0
        self.unreadable = 0

    def run(self) -> Replay:
        for line in lines(self.name):
            if line.direction == "net":
                self.net(line)
            elif line.direction == "c2s" and line.connection != "http":
                frames = line.frame if isinstance(line.frame, list) else [line.frame]
                for frame in frames:
                    if isinstance(frame, dict):
                        self.sent(line.connection, frame)
            elif line.direction == "s2c" and line.connection != "http":
                self.received(line)
        return self

    def net(self, line: Line) -> None:
        protocol = self.clients.get(line.connection)
        if line.entry["event"] == "close" and protocol is not None:
            protocol.closed()
            del self.clients[line.connection]

    def client(self, connection: str, session_id: str | None = None) -> VertoProtocol:
        protocol = self.clients.get(connection)
        if protocol is None:
            known = self.by_session.get(session_id or "")
            is_free = known is not None and known not in self.clients.values()
            protocol = known if known is not None and is_free else VertoProtocol(session_id)
            protocol.opened()
            self.clients[connection] = self.by_session[protocol.session_id] = protocol
        return protocol

    def sent(self, connection: str, frame: dict[str, Any]) -> None:
        params = frame.get("params")
        protocol = self.client(connection, params.get("sessid") if isinstance(params, dict) else None)
        if "result" in frame:
            self.answered[json.dumps(frame, sort_keys=True)] += 1
            return
        if not isinstance(frame.get("method"), str) or type(frame.get("id")) is not int:
            return
        if params is not None and not isinstance(params, dict):
            return
        message = message_of(frame)
        if isinstance(message, OtherMessage):
            self.not_said[self.name, frame["method"]] += 1
        elif not self.name.startswith("13"):
            self.compare(message, frame)
        try:
            request_id, _ = protocol.request(message)
        except NotAllowedNowError:
            self.refused.add((self.name, frame["method"]))
            request_id = REFUSED_IDS + frame["id"]
            protocol.record_sent(request_id, message)
        except InvalidArgumentError:
            self.unreadable += 1
            return
        self.ids[connection, frame["id"]] = request_id

    def compare(self, message: VertoMessage, frame: dict[str, Any]) -> None:
        expected = without_noise(frame)
        params = {name: value for name, value in (expected.get("params") or {}).items() if name not in ("subParams", "params")}
        ours = {**message.params(), **({"sessid": params["sessid"]} if "sessid" in params else {})}
        text = encode_request(frame["id"], message.method, ours)
        assert json.loads(text) == {**expected, "params": params}
        self.said += 1

    def received(self, line: Line) -> None:
        data = line.data()
        assert data is not None
        protocol = self.client(line.connection)
        if b'"method"' not in data[:200]:
            data = re.sub(rb'(?<="id":)(\d+)(?=[,}])', lambda found: self.renamed(line.connection, found), data)
        self.told += ((line.connection, output) for output in protocol.receive(data))
        self.replies.update(json.dumps(json.loads(text), sort_keys=True) for text in protocol.take_replies())

    def renamed(self, connection: str, found: re.Match[bytes]) -> bytes:
        return b"%d" % self.ids.get((connection, int(found[1])), int(found[1]))


@pytest.fixture(scope="module")
def replays() -> dict[str, Replay]:
    return {name: Replay(name).run() for name in NAMES}


def test_there_are_captures() -> None:
    assert len(NAMES) >= 53


@pytest.mark.parametrize("name", NAMES)
def test_all_that_the_server_said_means_something(replays: dict[str, Replay], name: str) -> None:
    for _, output in replays[name].told:
        assert not isinstance(output, BadFrame | UnknownRequest)
        # What the server had queued comes after its answers.
        assert not isinstance(output, Unexpected) or output.reason == "the call is over"
        assert not getattr(output, "headers", None)
        if isinstance(output, Reply):
            if isinstance(output.outcome, Refused):
                assert not output.outcome.values
                # To a subscription without a channel nothing at all is said.
                assert output.outcome.message or output.outcome.channels or output.message == OtherMessage("verto.subscribe")
            elif output.message is not None and not isinstance(output.message, OtherMessage):
                assert not isinstance(output.outcome, OtherResult)
            # An answer to nobody follows only what nobody says.
            assert output.message is not None or name.startswith(("13", "23"))
    for protocol in replays[name].by_session.values():
        counts = protocol.counts
        late = counts.late
        assert counts == VertoCounts(unclaimed_replies=counts.unclaimed_replies, unexpected=late, late=late)
        assert protocol.pending == {} or name.startswith(("13c", "15"))


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_a_result_is_passed_over(name: str) -> None:
    asked: dict[tuple[str, Any], str] = {}
    for line in lines(name):
        for frame in line.frame if isinstance(line.frame, list) else [line.frame]:
            if isinstance(frame, dict) and line.direction == "c2s" and isinstance(frame.get("method"), str):
                asked[line.connection, str(frame.get("id"))] = frame["method"]
            elif isinstance(frame, dict) and isinstance(frame.get("result"), dict) and line.direction == "s2c":
                method = asked.get((line.connection, str(frame.get("id"))), "")
                result = frame["result"]
                if "code" not in result and "requestParams" not in result:
                    assert set(result) <= KNOWN_IN_RESULTS.get(method, set(result))


def test_what_no_message_of_ours_says(replays: dict[str, Replay]) -> None:
    not_said: Counter[tuple[str, str]] = sum((replay.not_said for replay in replays.values()), Counter())
    known = {name for name, _ in NOT_SAID_BY_US}
    assert {key: number for key, number in not_said.items() if key[0] in known} == NOT_SAID_BY_US
    assert sum(replay.said for replay in replays.values()) >= 269


def test_what_the_server_does_not_read_is_not_sent(replays: dict[str, Replay]) -> None:
    assert {name: replay.unreadable for name, replay in replays.items() if replay.unreadable} == {"13_malformed": 1}
    encode_request(1, "echo", {"pad": "x" * (MOST_BYTES - 100)})
    with pytest.raises(InvalidArgumentError, match="1000000"):
        encode_request(1, "echo", {"pad": "x" * MOST_BYTES})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_refused_here_is_refused_there(replays: dict[str, Replay], name: str) -> None:
    for _, output in replays[name].told:
        if isinstance(output, Reply) and (output.request_id or 0) >= REFUSED_IDS:
            assert output.message is not None
            if (name, output.message.method) not in ANOTHER_SESSION:
                # Of keys for a call that is gone the server says only that it sent nothing.
                assert isinstance(output.outcome, Refused) or output.outcome == InfoSent(False)


def test_what_is_refused_here(replays: dict[str, Replay]) -> None:
    refused = set().union(*(replay.refused for replay in replays.values()))
    assert len(refused) >= 10
    assert refused >= ANOTHER_SESSION


@pytest.mark.parametrize("name", NAMES)
def test_the_server_is_answered_as_by_the_stock_client(replays: dict[str, Replay], name: str) -> None:
    theirs, ours = replays[name].answered, replays[name].replies
    if not name.startswith("13"):
        assert not theirs - ours


# --- what the captures tell


def story(replay: Replay, *connections: str) -> list[Output]:
    return [output for connection, output in replay.told if connection in connections and not isinstance(output, Reply)]


def test_a_session_that_comes_back_has_its_call(replays: dict[str, Replay]) -> None:
    told = [type(output).__name__ for output in story(replays["09_reconnect_same_sessid"], "alice", "alice2")]
    assert told == [
        "Ready",
        "EarlyMedia",
        "Answered",
        "Displayed",
        "Attached",
        "Ready",
        "Displayed",
        "HoldChanged",
        "HoldChanged",
        "Ended",
    ]


def test_the_media_of_a_call_comes_once(replays: dict[str, Replay]) -> None:
    early = next(output for output in story(replays["04b_early_media"], "alice") if isinstance(output, Answered))
    direct = next(output for output in story(replays["04_call_echo"], "alice") if isinstance(output, Answered))
    assert early.sdp is None
    assert direct.sdp is not None
    assert direct.sdp.startswith("v=0")


def test_each_way_a_call_ends(replays: dict[str, Replay]) -> None:
    def ends(name: str, connection: str) -> list[tuple[str | None, int | None, EndedBy]]:
        told = [output for output in story(replays[name], connection) if isinstance(output, Ended)]
        causes = [end.cause or Cause() for end in told]
        return [(cause.name, cause.code, end.by) for cause, end in zip(causes, told, strict=True)]

    assert ends("04_call_echo", "alice") == [("NORMAL_CLEARING", 16, EndedBy.CLIENT)]
    assert ends("06_bob_rejects_busy", "alice") == [("USER_BUSY", 17, EndedBy.SERVER)]
    assert ends("06_bob_rejects_busy", "bob") == [("USER_BUSY", 17, EndedBy.CLIENT)]
    assert ends("07_alice_cancels", "bob") == [("ORIGINATOR_CANCEL", 487, EndedBy.SERVER)]
    assert [end[1] for end in ends("08_unknown_number", "alice")] == [3, 1, 17, 806, 3]
    assert ends("15_shutdown", "alice") == [("SYSTEM_SHUTDOWN", 701, EndedBy.SERVER)]
    assert ends("15f_invite_while_server_starting", "alice")[0] == ("DESTINATION_OUT_OF_ORDER", 27, EndedBy.REFUSED)
    assert ends("11c_attended_transfer", "alice") == [("NORMAL_CLEARING", 16, EndedBy.SERVER)] * 2


def test_a_refusal_says_what_is_wrong(replays: dict[str, Replay]) -> None:
    def words(name: str) -> list[str]:
        told = [output.outcome for _, output in replays[name].told if isinstance(output, Reply)]
        return [outcome.words for outcome in told if isinstance(outcome, Refused)]

    assert words("15f_invite_while_server_starting") == ["Cannot create channel (27 DESTINATION_OUT_OF_ORDER)"]
    assert words("08b_bad_invites")[:3] == [
        "SDP missing (95 INVALID_MSG_UNSPECIFIED)",
        "Dialog data missing (95 INVALID_MSG_UNSPECIFIED)",
        "CallID missing (95 INVALID_MSG_UNSPECIFIED)",
    ]
    assert words("12_subscribe_broadcast") == [
        "not these channels: secret",
        "not these channels: FSevent.channel_create",
        "not these channels: (no name)",
        "no reason given",
        "Permission Denied.",
        "not these channels: demo",
    ]
    assert words("02_login_wrong_password")[0] == "Authentication Failure"


def test_the_detail_of_an_error_within_a_batch(replays: dict[str, Replay]) -> None:
    told = [output.outcome for _, output in replays["13_malformed"].told if isinstance(output, Reply)]
    details = [outcome.detail for outcome in told if isinstance(outcome, Refused) and outcome.detail is not None]
    assert len(details) == 1
    assert details[0] != "CALL ERROR"


def test_a_session_that_is_taken_over_is_told_so(replays: dict[str, Replay]) -> None:
    assert story(replays["10_punt_same_sessid"], "alice") == [Ready(()), Punted()]
    back = story(replays["15b_reload_mod_verto"], "alice2")
    assert isinstance(back[0], Attached)
    assert back[1] == Ready((back[0].call_id,))


def test_the_session_is_the_one_that_we_named(replays: dict[str, Replay]) -> None:
    replies = [output for _, output in replays["01_login_ok"].told if isinstance(output, Reply)]
    for reply in replies:
        assert isinstance(reply.message, Login)
        assert isinstance(reply.outcome, LoggedIn)
        assert reply.outcome.session_id in replays["01_login_ok"].by_session


def test_a_call_that_was_held_and_lost_its_media_is_not_answered_for_us(replays: dict[str, Replay]) -> None:
    protocol = replays["09e_reconnect_no_attach_answer"]
    attached = [output for output in story(protocol, "alice2") if isinstance(output, Attached)]
    assert len(attached) == 1
    assert not [output for _, output in protocol.told if isinstance(output, Reply) and isinstance(output.outcome, Accepted)][1:]
    assert DialogState.RECOVERING not in {
        dialog.state for client in protocol.by_session.values() for dialog in client.dialogs.values()
    }
