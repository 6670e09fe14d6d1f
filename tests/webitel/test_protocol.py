"""The engine's protocol: answers, accounts, legs and calls; what is ours and not the library's; garbage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_webitel.engine.callbacks import (
    CALLBACKS,
    NO_PAYLOAD,
    CallCallback,
    OnAcceptCall,
    OnAddUser,
    OnBridgeCall,
    OnConnect,
    OnDisconnect,
    OnDtmfCall,
    OnError,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnReady,
    OnRemoveUser,
    OnUnholdCall,
    OnUserLogin,
    OnUserStatusChange,
    OnUuidCall,
    WebitelCallState,
    WebitelDirection,
    parse_data,
)
from cti_webitel.engine.protocol import BadFrame, Callback, Counts, EngineProtocol, Output, Reply
from tests.webitel.call_frames import (
    ACCOUNT,
    CALL,
    FAR,
    LEG,
    OTHER_LEG,
    account_status,
    call_frame,
    call_state,
    created,
    ended,
    feed,
    log_in,
    names,
    only,
)

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"


@pytest.fixture
def protocol() -> EngineProtocol:
    return EngineProtocol(ACCOUNT)


@pytest.fixture
def talking(protocol: EngineProtocol) -> EngineProtocol:
    """An incoming call, answered and active."""
    feed(protocol, created(), call_state("RINGING"), call_frame("CHANNEL_ANSWER"), call_state("ACTIVE"))
    return protocol


class TestRequests:
    def test_is_compact_so_that_the_engine_masks_the_secret(self) -> None:
        exec_uuid, text = EngineProtocol(ACCOUNT, new_id=lambda: "id-1").request("auth", {"account": ACCOUNT, "secret": "s3"})
        assert exec_uuid == "id-1"
        assert text == '{"exec-uuid":"id-1","exec-func":"auth","exec-args":{"account":"100@demo.local","secret":"s3"}}'

    def test_leaves_absent_arguments_out(self, protocol: EngineProtocol) -> None:
        assert "exec-args" not in json.loads(protocol.request("ping")[1])

    def test_remembers_no_secret(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("auth", {"account": ACCOUNT, "secret": "s3"})
        assert dict(protocol.pending[exec_uuid].args) == {}
        other, _ = protocol.request("hold", {"channel-uuid": LEG})
        assert protocol.pending[other].args == {"channel-uuid": LEG}
        assert LEG not in repr(protocol.pending[other])

    def test_identifiers_differ(self, protocol: EngineProtocol) -> None:
        assert len({protocol.request("ping")[0] for _ in range(10)}) == 10


class TestReplies:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ({"exec-complete": "+OK", "exec-response": "pong"}, None),
            ({"exec-complete": "+OK", "exec-response": {"rows": []}}, None),
            ({"exec-complete": "+OK"}, None),
            ({"exec-complete": "+OK", "exec-response": "-ERR: agent not found"}, "agent not found"),
            ({"exec-complete": "+OK", "exec-response": "-USAGE: uuid"}, "-USAGE: uuid"),
            ({"exec-complete": "-ERR", "exec-response": "-ERR SUBSCRIBER_ABSENT\n"}, "SUBSCRIBER_ABSENT"),
            ({"exec-complete": "-ERR", "exec-response": "Forbidden"}, "Forbidden"),
            ({"exec-complete": "+ERR", "exec-response": "park - not found."}, "park - not found."),
            (
                {"exec-complete": "+ERR", "exec-response": {"login": {"status": 401, "message": "secret incorrect"}}},
                "secret incorrect",
            ),
            ({"exec-complete": "-ERR: bad response"}, "no reason given (-ERR: bad response)"),
            ({"exec-complete": 7, "exec-response": [1]}, "no reason given"),
        ],
    )
    def test_all_forms_of_errors(self, protocol: EngineProtocol, answer: dict[str, Any], error: str | None) -> None:
        exec_uuid, _ = protocol.request("ping")
        reply = only(feed(protocol, {"exec-uuid": exec_uuid, **answer}), Reply)
        assert (reply.func, reply.ok, reply.error) == ("ping", error is None, error)
        assert not protocol.pending

    def test_to_nobody_is_counted(self, protocol: EngineProtocol) -> None:
        (reply,) = feed(protocol, {"exec-uuid": "x", "exec-complete": "+OK", "exec-response": {"login": "100@demo.local"}})
        assert isinstance(reply, Reply)
        assert reply.func is None
        assert protocol.counts.unclaimed_replies == 1

    def test_forgotten_command_is_answered_to_nobody(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("auth", {"account": ACCOUNT, "secret": "s"})
        protocol.forget(exec_uuid)
        protocol.forget("never sent")
        assert names(feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK"})) == ["Reply"]

    def test_failed_command_raises_on_error_with_the_library_s_kind(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("call", {"extension": "5"})
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "-ERR: bad response"})
        assert names(outputs) == ["Reply", "onError"]
        assert only(outputs, OnError).payload() == {"errorType": "CALL-ERROR"}

    def test_error_hidden_in_ok_raises_none(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("cc login")
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": "-ERR: no agent"})
        assert names(outputs) == ["Reply"]


class TestConnection:
    def test_tells_the_library_s_order(self, protocol: EngineProtocol) -> None:
        expected = ["onConnect", "onUserLogin", "onAddUser", "onUserStatusChange", "onReady"]
        assert [name for name in names(log_in(protocol)) if name != "Reply"] == expected

    def test_agent_is_right_in_the_value_and_the_library_s_in_the_payload(self, protocol: EngineProtocol) -> None:
        connected = only(log_in(protocol), OnConnect)
        assert connected.agent is False
        assert connected.payload()["agent"] is True
        assert connected.socket_count == 2

    def test_is_ready_once(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        exec_uuid, _ = protocol.request("api account list")
        answer = {"100": {"id": "100", "domain": "demo.local", "state": "ISBUSY", "online": True}, "101": {"id": "101"}}
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": json.dumps(answer)})
        assert names(outputs) == ["Reply", "onUserStatusChange", "onAddUser"]

    @pytest.mark.parametrize("response", [None, 5, "no JSON", "[]", {"response": {"rows": "no"}}])
    def test_unreadable_list_makes_nobody_ready(self, protocol: EngineProtocol, response: Any) -> None:
        exec_uuid, _ = protocol.request("auth")
        feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": {"login": ACCOUNT}})
        exec_uuid, _ = protocol.request("api account list")
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": response})
        assert not [output for output in outputs if isinstance(output, OnAddUser)]

    def test_refusal_disconnects_and_is_an_error(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("auth", {"account": ACCOUNT, "secret": "bad"})
        refusal = {"login": {"status": 401, "message": "secret incorrect"}}
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+ERR", "exec-response": refusal})
        assert names(outputs) == ["Reply", "onDisconnect", "onError"]
        assert only(outputs, OnDisconnect).payload() == refusal

    def test_refused_login_says_so(self, protocol: EngineProtocol) -> None:
        exec_uuid, _ = protocol.request("login")
        outputs = feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "-ERR", "exec-response": "no"})
        assert names(outputs) == ["Reply", "onUserLogin", "onError"]
        assert only(outputs, OnUserLogin).ok is False

    def test_close_drops_commands_and_accounts_and_keeps_calls(self, talking: EngineProtocol) -> None:
        log_in(talking)
        talking.request("ping")
        outputs = talking.closed(1006, "gone")
        assert names(outputs) == ["onDisconnect", "onRemoveUser"]
        assert only(outputs, OnDisconnect) == OnDisconnect(1006, "gone")
        assert only(outputs, OnDisconnect).payload() is NO_PAYLOAD
        assert not talking.pending
        assert not talking.users
        assert "onHangupCall" in names(feed(talking, ended()))

    def test_account_is_learnt(self) -> None:
        protocol = EngineProtocol()
        protocol.record_sent({"exec-uuid": "a", "exec-func": "auth", "exec-args": {"key": "k", "token": "t"}})
        feed(protocol, {"exec-uuid": "a", "exec-complete": "+OK", "exec-response": {"login": "7@other"}})
        assert protocol.account == "7@other"
        feed(protocol, created())
        assert protocol.counts.foreign_call_frames == 1

    @pytest.mark.parametrize("frame", [{}, {"exec-uuid": 5, "exec-func": "auth"}, {"exec-uuid": "x", "exec-func": None}])
    def test_recording_takes_anything(self, protocol: EngineProtocol, frame: dict[str, Any]) -> None:
        protocol.record_sent(frame)
        assert not protocol.pending


class TestAccounts:
    def test_status_is_told_without_a_change_too(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        frame = account_status(
            Account_User_State="ISBUSY", Account_Status="DND", Account_Status_Descript="100% off", Account_Online=True
        )
        first, second = feed(protocol, frame, frame)
        assert isinstance(first, OnUserStatusChange)
        assert first == second
        assert (first.user.state, first.user.away, first.user.tag, first.user.is_own) == ("ISBUSY", "DND", "100% off", True)

    def test_note_ends_with_the_absence(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        feed(protocol, account_status(Account_Status_Descript="lunch"))
        assert only(feed(protocol, account_status()), OnUserStatusChange).user.tag == ""

    def test_deviation_the_note_of_an_event_is_not_decoded_again(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        assert only(feed(protocol, account_status(Account_Status_Descript="%41")), OnUserStatusChange).user.tag == "%41"

    def test_deviation_other_domains_do_not_interfere(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        assert feed(protocol, account_status(Account_Domain="other.local", Account_User_State="ISBUSY")) == []

    def test_online_and_offline(self, protocol: EngineProtocol) -> None:
        log_in(protocol, listed={"101": {"id": "101", "domain": "demo.local"}})
        event = {"webitel-event-name": "user", "User-ID": "101", "User-Domain": "demo.local"}
        outputs = feed(protocol, event | {"Event-Name": "ACCOUNT_ONLINE"}, event | {"Event-Name": "ACCOUNT_OFFLINE"})
        assert [output.user.online for output in outputs if isinstance(output, OnUserStatusChange)] == [True, False]

    def test_a_created_account_is_undefined_in_the_payload_alone(self, protocol: EngineProtocol) -> None:
        log_in(protocol)
        event = {"Event-Domain": "demo.local", "User-Domain": "demo.local", "User-ID": "150", "User-State": "NONREG"}
        made = only(feed(protocol, event | {"webitel-event-name": "USER_CREATE", "Event-Name": "USER_CREATE"}), OnAddUser)
        assert (made.user.name, made.user.tag, made.user.state) == ("", "", "NONREG")
        assert made.payload() == {"id": "150", "domain": "demo.local", "tag": "undefined", "online": False, "name": "undefined"}
        status = account_status(Account_User="150", Account_User_State="ONHOOK", Account_User_Name="Ann%20B")
        told = only(feed(protocol, status), OnUserStatusChange)
        assert (told.payload()["name"], told.payload()["state"]) == ("Ann B", "ONHOOK")
        gone = feed(protocol, event | {"webitel-event-name": "USER_DESTROY", "Event-Name": "USER_DESTROY"})
        assert only(gone, OnRemoveUser).user.id == "150"

    def test_unknown_events_are_counted(self, protocol: EngineProtocol) -> None:
        for frame in (
            {"webitel-event-name": "news", "Event-Name": "WEATHER"},
            {"webitel-event-name": ["x"], "Event-Name": {}},
            {"webitel-event-name": "server"},
            {"webitel-event-name": "server", "Event-Name": ["CC::MEMBERS-COUNT"]},
            {"webitel-event-name": "account", "Event-Name": "RECONNECT"},
        ):
            assert feed(protocol, frame) == []
        assert protocol.counts.unknown_events == 5


class TestCalls:
    def test_incoming_call_is_connected_at_the_answer(self, protocol: EngineProtocol) -> None:
        outputs = feed(protocol, created(), call_state("RINGING"), call_frame("CHANNEL_ANSWER"))
        assert names(outputs) == ["onNewCall", "onAcceptCall", "onBridgeCall"]
        bridged = only(outputs, OnBridgeCall)
        assert (bridged.trigger, bridged.leg_uuid) == ("CHANNEL_ANSWER", LEG)
        assert bridged.call.direction is WebitelDirection.INBOUND
        assert bridged.call.caller_number == "0671112233"

    def test_outgoing_call_is_connected_at_the_bridge_of_the_own_leg(self) -> None:
        protocol = EngineProtocol(ACCOUNT)
        lines = map(json.loads, (CAPTURES / "03-out-call.frames.jsonl").read_text().splitlines())
        triggers = [
            (line["t"], output.trigger)
            for line in lines
            if line["dir"] == "s2c"
            for output in protocol.receive_decoded(line["frame"])
            if isinstance(output, OnBridgeCall)
        ]
        assert triggers == [(125, "CHANNEL_STATE"), (284, "CHANNEL_BRIDGE")]

    def test_url_encoded_presence_is_ours_and_another_is_not(self, protocol: EngineProtocol) -> None:
        foreign = created(Channel_Presence_ID="101@demo.local")
        assert feed(protocol, foreign, created(Channel_Presence_ID=None), created(Channel_Presence_ID=7)) == []
        assert protocol.counts.foreign_call_frames == 3
        assert names(feed(protocol, created(Channel_Presence_ID="100%40demo.local"))) == ["onNewCall"]

    def test_values_are_typed(self, talking: EngineProtocol) -> None:
        told = feed(talking, ended(Caller_Channel_Answered_Time="1795332544326000", variable_billsec=3))
        call = only(told, OnHangupCall).call
        assert call.created_microseconds == 1795332544217000
        assert call.answered_microseconds == 1795332544326000
        assert call.hangup_microseconds is None
        assert call.bill_seconds == 3
        assert call.state is WebitelCallState.ENDED

    def test_a_leg_s_identifier_as_number_is_the_operator_himself(self, protocol: EngineProtocol) -> None:
        assert only(feed(protocol, created(Caller_Callee_ID_Number=f"u:{FAR}")), OnNewCall).call.callee_number == "100"

    def test_a_disappearing_number_is_a_change(self, talking: EngineProtocol) -> None:
        told = only(feed(talking, call_frame("CHANNEL_STATE", Caller_Callee_ID_Number=None)), OnBridgeCall)
        assert told.trigger == "CHANNEL_STATE"
        assert told.call.callee_number == "100"

    def test_hold_is_told_with_the_headers_before_it(self, talking: EngineProtocol) -> None:
        outputs = feed(talking, call_frame("CHANNEL_HOLD", Other_Leg_Unique_ID="new"), call_frame("CHANNEL_UNHOLD"))
        assert only(outputs, OnHoldCall).call.other_leg_uuid == FAR
        assert names(outputs) == ["onHoldCall", "onUnholdCall"]

    def test_tones_come_one_by_one(self, talking: EngineProtocol) -> None:
        outputs = feed(talking, call_frame("DTMF", DTMF_Digit="5"), call_frame("DTMF"), call_frame("DTMF", DTMF_Digit=5))
        assert only(outputs, OnDtmfCall).digits == "5"

    def test_another_identifier_of_the_record_comes_before_the_end(self, talking: EngineProtocol) -> None:
        outputs = feed(talking, ended("CHANNEL_HANGUP"), ended())
        assert names(outputs) == ["onUuidCall", "onHangupCall"]
        changed = only(outputs, OnUuidCall)
        assert (changed.call.uuid, changed.new_id, changed.trigger) == (CALL, FAR, "CHANNEL_HANGUP_COMPLETE")

    def test_no_other_identifier_after_another_cause(self, talking: EngineProtocol) -> None:
        assert names(feed(talking, ended(cause="USER_BUSY"))) == ["onHangupCall"]

    def test_another_identifier_may_be_none(self, talking: EngineProtocol) -> None:
        feed(talking, call_frame("CHANNEL_HOLD", Other_Leg_Unique_ID=None))
        outputs = feed(talking, ended(Other_Leg_Unique_ID=None))
        assert names(outputs) == ["onUuidCall", "onHangupCall"]
        assert only(outputs, OnUuidCall).new_id is None
        assert set(only(outputs, OnUuidCall).payload()) == {"call"}

    def test_deviation_the_last_frame_alone_ends_a_call(self, talking: EngineProtocol) -> None:
        outputs = feed(talking, ended("CHANNEL_DESTROY", Channel_State="CS_DESTROY"))
        assert only(outputs, OnHangupCall).trigger == "CHANNEL_DESTROY"
        assert only(outputs, OnHangupCall).call.hangup_cause == "NORMAL_CLEARING"

    def test_late_frames_revive_nothing(self, talking: EngineProtocol) -> None:
        feed(talking, ended())
        late = [created(), call_frame("CHANNEL_ANSWER"), call_frame("CHANNEL_BRIDGE"), call_state("ACTIVE"), ended()]
        assert not [output for output in feed(talking, *late) if isinstance(output, CallCallback)]
        assert talking.counts.late_call_frames == len(late)

    def test_a_missed_leg_of_an_ended_call_revives_nothing(self, talking: EngineProtocol) -> None:
        feed(talking, ended())
        assert feed(talking, call_frame("CHANNEL_ANSWER", OTHER_LEG)) == []

    def test_a_repeated_beginning_is_an_error(self, talking: EngineProtocol) -> None:
        error = only(feed(talking, created()), OnError)
        assert error.payload() == {"errorType": "CALL-ERROR", "message": f"Key {LEG} already defined!"}
        assert talking.counts.late_call_frames == 1

    def test_a_beginning_between_the_end_and_the_destruction_is_an_error(self, talking: EngineProtocol) -> None:
        feed(talking, ended())
        assert only(feed(talking, created()), OnError).message == f"Key {LEG} already defined!"

    def test_deviation_a_beginning_that_comes_late_revives_nothing(self, talking: EngineProtocol) -> None:
        feed(talking, ended(), ended("CHANNEL_DESTROY"))
        assert feed(talking, created()) == []
        assert talking.counts.late_call_frames == 1

    def test_a_leg_that_is_made_again_is_a_new_one(self, talking: EngineProtocol) -> None:
        again = {"variable_w_account_origination_uuid": OTHER_LEG, "Caller_Channel_Created_Time": "1795332999999000"}
        feed(talking, ended(), ended("CHANNEL_DESTROY"))
        outputs = feed(talking, created(**again), call_frame("CHANNEL_ANSWER", **again), ended(**again))
        assert names(outputs) == ["onNewCall", "onAcceptCall", "onBridgeCall", "onUuidCall", "onHangupCall"]
        assert only(outputs, OnNewCall).call.uuid == OTHER_LEG

    def test_what_comes_of_a_destroyed_leg_is_an_error(self, talking: EngineProtocol) -> None:
        feed(talking, ended(), ended("CHANNEL_DESTROY"))
        last_words = [ended(), call_frame("CHANNEL_HOLD"), call_state("HANGUP"), ended("CHANNEL_HANGUP")]
        errors = [output.payload() for output in feed(talking, *last_words) if isinstance(output, OnError)]
        assert errors == [{"errorType": "CALL-ERROR", "message": f"Channel not found {LEG}"}] * 2

    def test_the_end_of_a_leg_that_nobody_knew_is_an_error(self, protocol: EngineProtocol) -> None:
        error = only(feed(protocol, ended("CHANNEL_HANGUP"), ended(), ended("CHANNEL_DESTROY")), OnError)
        assert (error.func, error.message) == ("CHANNEL_HANGUP_COMPLETE", f"Channel not found {LEG}")

    def test_deviation_a_repeated_answer_changes_nothing(self, talking: EngineProtocol) -> None:
        feed(talking, call_frame("CHANNEL_HOLD"))
        assert feed(talking, call_frame("CHANNEL_ANSWER"), call_frame("CHANNEL_HOLD")) == []

    def test_unhold_of_what_was_not_seen_held_is_told_once(self, talking: EngineProtocol) -> None:
        unheld = feed(talking, call_frame("CHANNEL_UNHOLD"), call_frame("CHANNEL_UNHOLD"))
        assert only(unheld, OnUnholdCall).call.state is WebitelCallState.ACTIVE

    def test_a_hold_before_the_answer_is_told_and_ends(self, protocol: EngineProtocol) -> None:
        early = feed(protocol, created(), call_frame("CHANNEL_HOLD"), call_frame("CHANNEL_ANSWER"))
        assert names(early) == ["onNewCall", "onHoldCall", "onAcceptCall", "onBridgeCall"]
        assert only(early, OnHoldCall).call.state is WebitelCallState.HOLD
        assert only(early, OnAcceptCall).call.state is WebitelCallState.ANSWERED
        assert names(feed(protocol, call_frame("CHANNEL_UNHOLD"))) == ["onUnholdCall"]

    def test_a_normal_call_counts_nothing(self) -> None:
        protocol = EngineProtocol(ACCOUNT)
        for line in map(json.loads, (CAPTURES / "04-incoming.frames.jsonl").read_text().splitlines()):
            if line["dir"] == "s2c" and line["frame"].get("webitel-event-name") == "call":
                protocol.receive_decoded(line["frame"])
        assert protocol.counts == Counts()

    def test_given_frame_is_neither_changed_nor_kept(self, protocol: EngineProtocol) -> None:
        frame = created()
        before = dict(frame)
        told = only(protocol.receive_decoded(frame), OnNewCall)
        protocol.receive_decoded(call_frame("CHANNEL_STATE", Caller_Callee_ID_Number="changed"))
        assert frame == before
        assert told.call.callee_number == "100"


class TestSeveralLegs:
    @pytest.fixture
    def ringing(self, protocol: EngineProtocol) -> EngineProtocol:
        outputs = feed(protocol, created(), created(OTHER_LEG, variable_sip_call_id="another@loopback"))
        assert names(outputs) == ["onNewCall", "onNewLeg"]
        return protocol

    def test_the_loser_only_shrinks(self, ringing: EngineProtocol) -> None:
        assert names(feed(ringing, call_frame("CHANNEL_ANSWER"))) == ["onAcceptCall", "onBridgeCall"]
        assert feed(ringing, ended(leg=OTHER_LEG, cause="LOSE_RACE")) == []
        assert names(feed(ringing, ended())) == ["onUuidCall", "onHangupCall"]

    def test_the_answered_leg_is_told_and_the_first_one_in_the_payload(self, ringing: EngineProtocol) -> None:
        answer = call_frame("CHANNEL_ANSWER", OTHER_LEG, Caller_Channel_Answered_Time="1795332544326000")
        accepted = only(feed(ringing, answer), OnAcceptCall)
        assert (accepted.call.channel_uuid, accepted.call.answered_microseconds) == (OTHER_LEG, 1795332544326000)
        payload = accepted.payload()
        assert (payload["call-channel-uuid"], payload["call-answered-time"], payload["state"]) == (LEG, "0", 2)
        feed(ringing, ended(cause="LOSE_RACE"))
        held = only(feed(ringing, call_frame("CHANNEL_HOLD", OTHER_LEG)), OnHoldCall)
        assert held.call.first is None
        assert held.payload()["call-channel-uuid"] == OTHER_LEG
        assert only(feed(ringing, ended(leg=OTHER_LEG)), OnHangupCall).leg_uuid == OTHER_LEG

    def test_of_three_the_payload_is_of_the_one_that_began_first(self, ringing: EngineProtocol) -> None:
        third = "11111111-0000-4000-8000-000000000003"
        feed(ringing, created(third, variable_sip_call_id="a third@loopback"), call_frame("CHANNEL_ANSWER", third))
        legs = []
        for leg in (None, LEG, OTHER_LEG):
            told = [] if leg is None else feed(ringing, ended(leg=leg, cause="LOSE_RACE"))
            assert told == []
            bridged = only(feed(ringing, call_frame("CHANNEL_BRIDGE", third)), OnBridgeCall)
            assert bridged.call.channel_uuid == third
            legs.append(bridged.payload()["call-channel-uuid"])
        assert legs == [LEG, OTHER_LEG, third]


class TestAdoption:
    def test_any_frame_of_a_live_leg_adopts(self, protocol: EngineProtocol) -> None:
        for event in (
            "CHANNEL_ANSWER",
            "CHANNEL_BRIDGE",
            "CHANNEL_UNBRIDGE",
            "CHANNEL_HOLD",
            "CHANNEL_STATE",
            "CHANNEL_CALLSTATE",
        ):
            outputs = feed(EngineProtocol(ACCOUNT), call_frame(event))
            assert isinstance(outputs[0], OnNewCall)
            assert outputs[0].adopted
            assert outputs[0].trigger == event

    def test_then_comes_what_the_frame_says(self) -> None:
        assert names(feed(EngineProtocol(ACCOUNT), call_frame("CHANNEL_ANSWER"))) == ["onNewCall", "onAcceptCall", "onBridgeCall"]
        assert names(feed(EngineProtocol(ACCOUNT), call_frame("CHANNEL_HOLD"))) == ["onNewCall", "onHoldCall"]
        assert names(feed(EngineProtocol(ACCOUNT), call_frame("CHANNEL_UNHOLD"))) == ["onNewCall", "onUnholdCall"]
        held = call_frame("CHANNEL_STATE", Channel_Call_State="HELD")
        assert names(feed(EngineProtocol(ACCOUNT), held)) == ["onNewCall", "onHoldCall"]

    def test_state_is_that_of_the_leg(self) -> None:
        adopted = only(feed(EngineProtocol(ACCOUNT), call_state("ACTIVE")), OnNewCall)
        assert adopted.call.state is WebitelCallState.ANSWERED
        ringing = call_frame("CHANNEL_CALLSTATE", Channel_Call_State="RINGING", Answer_State="ringing")
        assert only(feed(EngineProtocol(ACCOUNT), ringing), OnNewCall).call.state is WebitelCallState.RINGING

    @pytest.mark.parametrize(
        "frame",
        [
            call_frame("CHANNEL_STATE", Channel_State="CS_INIT", Channel_Call_State="DOWN", Answer_State="ringing"),
            call_frame("CHANNEL_STATE", Channel_State="CS_ROUTING", Channel_Call_State="DOWN", Answer_State="ringing"),
            call_frame("CHANNEL_STATE", Channel_State="CS_REPORTING", Channel_Call_State="HANGUP", Answer_State="hangup"),
            call_frame("CHANNEL_STATE", Channel_State="CS_HANGUP"),
            call_state("HANGUP"),
            ended("CHANNEL_HANGUP"),
            ended(),
            ended("CHANNEL_DESTROY"),
            call_frame("CHANNEL_UNBRIDGE", Answer_State="hangup"),
        ],
    )
    def test_first_and_last_moments_adopt_nothing(self, protocol: EngineProtocol, frame: dict[str, Any]) -> None:
        assert not [output for output in feed(protocol, frame) if not isinstance(output, OnError)]

    def test_webitel_s_identifier_is_taken_when_it_comes(self, protocol: EngineProtocol) -> None:
        assert only(feed(protocol, call_state("ACTIVE")), OnNewCall).call.uuid == FAR
        outputs = feed(protocol, call_frame("CHANNEL_HOLD"))
        assert names(outputs) == ["onUuidCall", "onHoldCall"]
        assert (only(outputs, OnUuidCall).call.uuid, only(outputs, OnUuidCall).new_id) == (FAR, CALL)
        assert only(outputs, OnHoldCall).call.uuid == CALL

    def test_a_second_leg_joins_the_adopted_call(self, protocol: EngineProtocol) -> None:
        feed(protocol, call_frame("CHANNEL_CALLSTATE", Channel_Call_State="RINGING", Answer_State="ringing"))
        assert names(feed(protocol, created(OTHER_LEG))) == ["onUuidCall", "onNewLeg"]
        assert feed(protocol, ended(leg=OTHER_LEG, cause="LOSE_RACE")) == []
        assert "onHangupCall" in names(feed(protocol, ended()))


class TestRenamedLeg:
    def test_same_call_under_another_leg(self, talking: EngineProtocol) -> None:
        told = only(feed(talking, call_frame("CHANNEL_UUID", OTHER_LEG)), OnBridgeCall)
        assert (told.trigger, told.leg_uuid, told.call.channel_uuid, told.call.uuid) == (
            "CHANNEL_UUID",
            OTHER_LEG,
            OTHER_LEG,
            CALL,
        )
        assert feed(talking, ended()) == []
        assert names(feed(talking, ended(leg=OTHER_LEG))) == ["onUuidCall", "onHangupCall"]

    def test_a_self_dialled_call_takes_the_new_identifier(self, protocol: EngineProtocol) -> None:
        own: dict[str, Any] = {"Channel_Call_UUID": LEG, "variable_w_account_origination_uuid": None}
        feed(protocol, created(**own))
        renamed = own | {"Channel_Call_UUID": OTHER_LEG}
        assert only(feed(protocol, call_frame("CHANNEL_UUID", OTHER_LEG, **renamed)), OnUuidCall).new_id == OTHER_LEG
        assert only(feed(protocol, ended(leg=OTHER_LEG, **renamed)), OnHangupCall).call.uuid == OTHER_LEG

    def test_is_seen_without_its_own_frame(self, talking: EngineProtocol) -> None:
        assert names(feed(talking, call_frame("CHANNEL_HOLD", OTHER_LEG))) == ["onBridgeCall", "onHoldCall"]
        assert names(feed(talking, ended(leg=OTHER_LEG))) == ["onUuidCall", "onHangupCall"]

    def test_end_under_another_identifier_ends_it(self, talking: EngineProtocol) -> None:
        assert names(feed(talking, ended(leg=OTHER_LEG))) == ["onUuidCall", "onHangupCall"]

    def test_an_unknown_call_is_adopted(self, protocol: EngineProtocol) -> None:
        assert names(feed(protocol, call_frame("CHANNEL_UUID"))) == ["onNewCall"]


class TestFarHold:
    def test_is_told_when_the_grace_time_is_over(self, talking: EngineProtocol) -> None:
        assert feed(talking, call_state("HELD"), now=10.0) == []
        deadlines = [talking.next_deadline]
        assert talking.tick(10.9) == ()
        held = only(talking.tick(11.0), OnFarHoldCall)
        assert (held.leg_uuid, held.call.state) == (LEG, WebitelCallState.ANSWERED)
        assert [*deadlines, talking.next_deadline] == [11.0, None]
        assert names(feed(talking, call_state("UNHELD"), call_state("ACTIVE"), now=20.0)) == ["onFarUnholdCall"]

    def test_ends_with_active_alone(self, talking: EngineProtocol) -> None:
        feed(talking, call_state("HELD"))
        talking.tick(1.0)
        assert names(feed(talking, call_state("ACTIVE"))) == ["onFarUnholdCall"]

    def test_late_tick_is_made_up_for_by_the_next_frame(self, talking: EngineProtocol) -> None:
        feed(talking, call_state("HELD"), now=10.0)
        assert names(feed(talking, call_state("UNHELD"), now=15.0)) == ["onFarHoldCall", "onFarUnholdCall"]

    def test_own_hold_is_none(self, talking: EngineProtocol) -> None:
        assert names(feed(talking, call_state("HELD"), call_frame("CHANNEL_HOLD"), call_state("HELD"))) == ["onHoldCall"]
        assert talking.next_deadline is None
        outputs = feed(talking, call_state("UNHELD"), call_frame("CHANNEL_UNHOLD"), call_state("ACTIVE"), now=9.0)
        assert names(outputs) == ["onUnholdCall"]
        assert talking.next_deadline is None

    def test_a_hold_within_the_grace_time_is_not_told(self, talking: EngineProtocol) -> None:
        assert feed(talking, call_state("HELD"), call_state("UNHELD"), call_state("ACTIVE"), now=1.0) == []
        assert talking.tick(99.0) == ()

    @pytest.mark.parametrize("end", [ended("CHANNEL_HANGUP"), ended(), call_state("HANGUP")])
    def test_a_call_that_ends_meanwhile_is_not_held(self, talking: EngineProtocol, end: dict[str, Any]) -> None:
        feed(talking, call_state("HELD"), end)
        assert talking.next_deadline is None
        assert talking.tick(99.0) == ()

    def test_a_lost_connection_concludes_nothing(self, talking: EngineProtocol) -> None:
        feed(talking, call_state("HELD"))
        talking.closed(1006)
        assert talking.next_deadline is None
        assert talking.tick(99.0) == ()

    @pytest.fixture
    def both_hold(self, talking: EngineProtocol) -> EngineProtocol:
        feed(talking, call_state("HELD"))
        assert names(talking.tick(1.0)) == ["onFarHoldCall"]
        assert names(feed(talking, call_frame("CHANNEL_HOLD"), now=2.0)) == ["onHoldCall"]
        return talking

    def test_of_both_holds_ours_ends_first(self, both_hold: EngineProtocol) -> None:
        ours = feed(both_hold, call_state("UNHELD"), call_frame("CHANNEL_UNHOLD"), call_state("ACTIVE"), now=3.0)
        assert names(ours) == ["onUnholdCall"]
        assert both_hold.tick(99.0) == ()
        assert names(feed(both_hold, call_state("UNHELD"), call_state("ACTIVE"), now=100.0)) == ["onFarUnholdCall"]

    def test_of_both_holds_the_far_end_s_ends_first(self, both_hold: EngineProtocol) -> None:
        assert feed(both_hold, call_state("UNHELD"), now=3.0) == []
        assert both_hold.next_deadline == 4.0
        assert names(both_hold.tick(4.0)) == ["onFarUnholdCall"]
        assert names(feed(both_hold, call_state("ACTIVE"), call_state("UNHELD"), call_frame("CHANNEL_UNHOLD"))) == [
            "onUnholdCall"
        ]

    def test_of_both_holds_the_far_end_s_ends_with_sound(self, both_hold: EngineProtocol) -> None:
        assert names(feed(both_hold, call_state("UNHELD"), call_state("ACTIVE"), now=3.0)) == ["onFarUnholdCall"]
        assert both_hold.next_deadline is None

    def test_grace_time_can_be_set(self) -> None:
        protocol = EngineProtocol(ACCOUNT, hold_grace_seconds=0.25)
        feed(protocol, created(), call_frame("CHANNEL_ANSWER"), call_state("HELD"), now=4.0)
        assert protocol.next_deadline == 4.25


class TestData:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            (None, {}),
            ("", {}),
            ("''", {}),
            ("undefined", {}),
            ("'undefined'", {}),
            ('\'{"order":"77"}\'', {"order": "77"}),
            ('{"name":"O\'Brien"}', {"name": "O'Brien"}),
            ('\'{"name":"O\'Brien"}\'', {"name": "O'Brien"}),
            ("'free text'", {"webitel_data": "free text"}),
            ("'[1]'", {"webitel_data": "[1]"}),
        ],
    )
    def test_quotes_and_kinds(self, text: str | None, data: dict[str, Any]) -> None:
        assert parse_data(text) == data

    def test_payload_keeps_the_library_s_fault(self, protocol: EngineProtocol) -> None:
        call = only(feed(protocol, created(variable_webitel_data='\'{"name":"O\'Brien"}\'')), OnNewCall).call
        assert call.payload()["data"] == '{"name":"OBrien"}'
        assert parse_data(call.data) == {"name": "O'Brien"}


def test_every_callback_has_its_name() -> None:
    assert len({callback.name for callback in CALLBACKS}) == len(CALLBACKS) == 29
    assert {callback.name for callback in CALLBACKS if callback.ours} == {
        "onFarHoldCall",
        "onFarUnholdCall",
        "onNewLeg",
        "onServerEvent",
        "onCustomMessage",
        "onDomainChange",
        "onSilenced",
        "onSubscriptionLost",
        "onAuthTimeout",
    }
    assert not issubclass(OnReady, OnConnect)


# Garbage.


def _captured() -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    for name in ("03-out-call", "04-incoming", "07-att-xfer-confirm"):
        for line in map(json.loads, (CAPTURES / f"{name}.frames.jsonl").read_text().splitlines()):
            if line["dir"] == "s2c":
                frames.append(line["frame"])
    return frames


CAPTURED = _captured()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    frame = dict(draw(st.sampled_from(CAPTURED)))
    for key in draw(st.lists(st.sampled_from(sorted(frame)), max_size=4)):
        if draw(st.booleans()):
            frame.pop(key, None)
        else:
            frame[key] = draw(JSON_VALUES)
    return frame


@st.composite
def shuffled_streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    start = draw(st.integers(0, len(CAPTURED) - 1))
    part = CAPTURED[start : start + draw(st.integers(1, 60))]
    stream = [frame for frame in part for _ in range(draw(st.sampled_from((1, 1, 1, 0, 2))))]
    for _ in range(draw(st.integers(0, 8))):
        if stream:
            at, to = draw(st.integers(0, len(stream) - 1)), draw(st.integers(0, len(stream) - 1))
            stream.insert(to, stream.pop(at))
    stream += draw(st.lists(spoilt(), max_size=8))
    return stream


def check_lives(outputs: Iterable[Output]) -> None:
    """Nothing is told of a call before it began or after it ended; each party's holds and unholds alternate.

    But an unhold may come of a hold that was not seen. A call is there again only if its leg was made again.
    """
    live: dict[str, tuple[bool, bool]] = {}
    over: dict[str, int] = {}
    for output in outputs:
        if not isinstance(output, CallCallback):
            continue
        assert isinstance(orjson.loads(orjson.dumps(output.payload())), dict)
        uuid = output.call.uuid
        if isinstance(output, OnNewCall):
            assert uuid not in live
            assert over.get(uuid, 0) < (output.call.created_microseconds or 1)
            live[uuid] = (output.call.state is WebitelCallState.HOLD, False)
            continue
        assert uuid in live, f"{output.name} of a call that is not live"
        own, far = live[uuid]
        if isinstance(output, OnHoldCall | OnUnholdCall):
            assert not own or isinstance(output, OnUnholdCall)
            live[uuid] = (isinstance(output, OnHoldCall), far)
        elif isinstance(output, OnAcceptCall):
            # A hold before the answer is forgotten with it, as in the library.
            live[uuid] = (False, far)
        elif isinstance(output, OnFarHoldCall | OnFarUnholdCall):
            assert far is isinstance(output, OnFarUnholdCall)
            live[uuid] = (own, not far)
        elif isinstance(output, OnHangupCall):
            del live[uuid]
            over[uuid] = output.call.created_microseconds or 0
        elif isinstance(output, OnUuidCall) and output.call.state is not WebitelCallState.ENDED:
            assert output.new_id is not None
            live[output.new_id] = live.pop(uuid)


@given(shuffled_streams())
def test_streams_out_of_order_tell_possible_lives(stream: list[dict[str, Any]]) -> None:
    protocol = EngineProtocol(ACCOUNT)
    outputs: list[Output] = []
    for second, frame in enumerate(stream):
        outputs += protocol.receive(orjson.dumps(frame), second * 0.4)
    outputs += protocol.tick(1e9)
    check_lives(outputs)


@given(st.lists(spoilt(), max_size=20))
def test_wrong_types_never_raise(frames: list[dict[str, Any]]) -> None:
    protocol = EngineProtocol(ACCOUNT)
    for frame in frames:
        for output in protocol.receive_decoded(frame):
            if isinstance(output, Callback):
                payload = output.payload()
                assert payload is NO_PAYLOAD or orjson.dumps(payload)
            repr(output)
            if isinstance(output, CallCallback):
                call = output.call
                for value in (call.callee_number, call.caller_name, call.other_leg_uuid, call.hangup_cause, call.data):
                    assert value is None or isinstance(value, str)
                parse_data(call.data)


@given(st.one_of(st.binary(), st.text(), JSON_VALUES.map(orjson.dumps)))
def test_anything_at_all_never_raises(data: bytes | str) -> None:
    protocol = EngineProtocol(ACCOUNT)
    for output in protocol.receive(data):
        assert isinstance(output, BadFrame | Reply)
    assert sum(attrs.astuple(protocol.counts)) <= 1


@given(st.sampled_from(CAPTURED), st.integers(0, 400))
def test_truncated_frames_are_bad_frames(frame: dict[str, Any], length: int) -> None:
    protocol = EngineProtocol(ACCOUNT)
    whole = orjson.dumps(frame)
    if length < len(whole):
        bad = only(protocol.receive(whole[:length]), BadFrame)
        assert bad.size_bytes == length
        assert protocol.counts.bad_frames == 1


def with_half_a_character(frame: dict[str, Any]) -> dict[str, Any]:
    return {**frame, "Caller-Caller-ID-Name": "Ole\ud83d"}


def test_half_a_character_hides_no_call(protocol: EngineProtocol) -> None:
    beginning = [created(), call_state("RINGING"), call_frame("CHANNEL_ANSWER"), call_state("ACTIVE")]
    outputs: list[Output] = []
    for frame in beginning:
        outputs += protocol.receive(json.dumps(with_half_a_character(frame)).encode())
    plain = EngineProtocol(ACCOUNT)
    assert [type(output) for output in outputs] == [type(output) for output in feed(plain, *beginning)]
    assert [output.call.caller_name for output in outputs if isinstance(output, OnNewCall)] == ["Ole\ufffd"]
    assert protocol.counts == plain.counts


def test_half_a_character_in_the_list_of_accounts_hides_nobody(protocol: EngineProtocol) -> None:
    _, request = protocol.request("api account list")
    rows = json.dumps({"100": {"id": "100", "name": "Ole\ud83d", "domain": "demo.local"}})
    answer = {"exec-uuid": json.loads(request)["exec-uuid"], "exec-complete": "+OK", "exec-response": {"response": rows}}
    outputs = protocol.receive(json.dumps(answer))
    assert [output.user.name for output in outputs if isinstance(output, OnAddUser)] == ["Ole\ufffd"]


def test_bad_frames_do_not_show_what_they_hold() -> None:
    secret = b'{"exec-response":"{\\"token\\":\\"s3cret'
    assert b"s3cret" not in repr(EngineProtocol(ACCOUNT).receive(secret)).encode()


def test_huge_frames_are_read(protocol: EngineProtocol) -> None:
    exec_uuid, _ = protocol.request("api whoami")
    frame = {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": "x" * (20 << 20)}
    assert only(feed(protocol, frame), Reply).ok


def test_a_flood_of_calls_is_bounded(protocol: EngineProtocol) -> None:
    outputs: list[Output] = []
    for number in range(3000):
        outputs += protocol.receive_decoded(
            created(f"leg-{number}", Channel_Call_UUID=f"far-{number}", variable_w_account_origination_uuid=f"call-{number}")
        )
    kinds = names(outputs)
    assert kinds.count("onNewCall") == 3000
    assert kinds.count("onHangupCall") == 3000 - 1024
    check_lives(outputs)
