"""The faults of the engine and of its library that a better client handles, one by one (facts: webitel-protocol 7).

The number in a test's name is the fact's. Those that need a module of their own are tested there: 7.3 and 7.24 also in
`test_commands_subscriptions`, 7.4 in `test_commands_silence`.
"""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandRefusedError,
    CommandUnconfirmedError,
    InvalidArgumentError,
    NetworkError,
    NotConnectedError,
)
from cti_webitel.engine.callbacks import (
    Callback,
    CallCallback,
    OnAcceptCall,
    OnAddUser,
    OnBridgeCall,
    OnError,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnReady,
    OnUserStatusChange,
    OnVideoChangeWebRTCCall,
    WebitelCallState,
    WebitelDirection,
    parse_data,
)
from cti_webitel.engine.client import WebitelTimeouts
from cti_webitel.engine.protocol import EngineProtocol, Reply
from tests.webitel.call_frames import (
    ACCOUNT,
    CALL,
    FAR,
    LEG,
    OTHER_LEG,
    call_frame,
    call_state,
    created,
    ended,
    feed,
    log_in,
    names,
    only,
)
from tests.webitel.scripted_engine import AUTH_OK, PATIENCE_SECONDS, Engine, Told, made, run_error, session

FAR_HOLD: dict[str, Any] = {"Other_Leg_Unique_ID": OTHER_LEG}


@pytest.fixture
def protocol() -> EngineProtocol:
    return EngineProtocol(ACCOUNT)


@pytest.fixture
def talking(protocol: EngineProtocol) -> EngineProtocol:
    feed(protocol, created(), call_frame("CHANNEL_ANSWER"))
    return protocol


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("complete", "response"),
    [("+OK", "-ERR: no agent"), ("+ERR", "cc login - not found."), ("-ERR", "Permission denied!"), ("-ERR: bad response", None)],
)
async def test_quirk_7_1_every_form_of_an_error_is_a_refusal(complete: str, response: str | None) -> None:
    engine = Engine()
    engine.answers["cc login"] = (complete, response)
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError) as caught:
            await webitel.call_centre_login()
        assert caught.value.pbx_text


@pytest.mark.anyio
async def test_quirk_7_1_a_command_that_is_never_answered_ends() -> None:
    engine = Engine()
    async with session(engine, timeouts=WebitelTimeouts(command_seconds=0.5)) as webitel:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(CommandUnconfirmedError):
            await webitel.execute("broadcast", {})
        assert webitel.connected


@pytest.mark.anyio
async def test_quirk_7_2_nothing_vanishes() -> None:
    engine = Engine()
    webitel = made(engine)
    with pytest.raises(NotConnectedError):
        await webitel.hangup(LEG)
    async with session(engine) as webitel:
        await engine.say({"exec-uuid": "nobody's", "exec-complete": "+OK"})
        await webitel.ping()
        async with anyio.create_task_group() as group:

            async def hang_up() -> None:
                with pytest.raises(CommandUnconfirmedError, match="connection broke"):
                    await webitel.hangup(LEG)

            group.start_soon(hang_up)
            await engine.asked("hangup")
            webitel._break(NetworkError("cut"))


@pytest.mark.anyio
async def test_quirk_7_3_each_connection_switches_the_events_on() -> None:
    engine = Engine()
    webitel = made(engine)
    for _ in range(2):
        async with anyio.create_task_group() as group:
            await group.start(webitel.run)
            group.cancel_scope.cancel()
    assert [request["exec-func"] for request in engine.requests] == ["auth", "login", "api account list"] * 2


def test_quirk_7_5_the_account_is_online_before_it_is_authorised(protocol: EngineProtocol) -> None:
    protocol.opened()
    online = {"webitel-event-name": "user", "Event-Name": "ACCOUNT_ONLINE", "User-ID": "100", "User-Domain": "demo.local"}
    assert feed(protocol, online) == []
    assert "onReady" in names(log_in(protocol))


def test_quirk_7_5_events_may_come_before_the_answer_that_caused_them(protocol: EngineProtocol) -> None:
    exec_uuid, _ = protocol.request("call", {"extension": "5"})
    assert names(feed(protocol, created(), call_frame("CHANNEL_ANSWER")))[0] == "onNewCall"
    reply = only(feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": f"+OK {LEG}\n"}), Reply)
    assert (reply.func, reply.ok) == ("call", True)


def test_quirk_7_6_a_state_before_the_beginning_is_no_beginning(protocol: EngineProtocol) -> None:
    first = call_frame("CHANNEL_STATE", Channel_State="CS_INIT", Channel_Call_State="DOWN", Answer_State="ringing")
    told = feed(protocol, first, created())
    assert only(told, OnNewCall).adopted is False


def test_quirk_7_6_a_leg_under_another_identifier_goes_on_and_ends(talking: EngineProtocol) -> None:
    told = feed(talking, call_frame("CHANNEL_UUID", OTHER_LEG), call_frame("CHANNEL_HOLD", OTHER_LEG), ended(leg=OTHER_LEG))
    assert not [output for output in told if isinstance(output, OnError)]
    assert only(told, OnHangupCall).call.uuid == CALL


def test_quirk_7_7_a_call_whose_beginning_was_missed_is_adopted(protocol: EngineProtocol) -> None:
    told = feed(protocol, call_frame("CHANNEL_HOLD"))
    assert names(told) == ["onNewCall", "onHoldCall"]
    assert only(told, OnNewCall).adopted is True


def test_quirk_7_8_a_called_side_is_connected_at_its_answer_and_an_originating_one_at_its_bridge() -> None:
    incoming = EngineProtocol(ACCOUNT)
    assert only(feed(incoming, created(), call_frame("CHANNEL_ANSWER")), OnBridgeCall).trigger == "CHANNEL_ANSWER"
    originate: dict[str, Any] = {"variable_w_jsclient_originate_number": "0501234567"}
    outgoing = EngineProtocol(ACCOUNT)
    told = feed(outgoing, created(**originate), call_frame("CHANNEL_ANSWER", **originate))
    assert names(told) == ["onNewCall", "onAcceptCall"]
    assert only(told, OnAcceptCall).call.direction is WebitelDirection.OUTBOUND
    assert only(feed(outgoing, call_frame("CHANNEL_BRIDGE", **originate)), OnBridgeCall).trigger == "CHANNEL_BRIDGE"


def test_quirk_7_9_a_hold_is_told_once_and_as_it_was_before(talking: EngineProtocol) -> None:
    held = only(feed(talking, call_frame("CHANNEL_HOLD", **FAR_HOLD), call_frame("CHANNEL_HOLD")), OnHoldCall)
    assert (held.call.state, held.call.other_leg_uuid) == (WebitelCallState.HOLD, FAR)


@pytest.mark.anyio
async def test_quirk_7_9_hold_and_unhold_say_which_is_meant() -> None:
    engine = Engine()
    engine.answers |= {"hold": ("+OK", "+OK Success\n"), "unhold": ("+OK", "+OK Success\n")}
    async with session(engine) as webitel:
        await webitel.hold(LEG)
        await webitel.unhold(LEG)
    assert [request["exec-func"] for request in engine.requests[-2:]] == ["hold", "unhold"]


def test_quirk_7_10_the_talk_time_is_that_of_the_end(talking: EngineProtocol) -> None:
    assert only(feed(talking, ended(variable_billsec=7), ended("CHANNEL_DESTROY")), OnHangupCall).call.bill_seconds == 7


def test_quirk_7_11_what_a_frame_does_not_carry_stays(talking: EngineProtocol) -> None:
    # The tables of the library keep it, too; who needs the far end's leg now asks `channel_dump`.
    told = only(feed(talking, call_frame("DTMF", DTMF_Digit="5", Other_Leg_Unique_ID=None)), CallCallback)
    assert (told.call.uuid, told.call.other_leg_uuid) == (CALL, FAR)


def test_quirk_7_12_commands_go_to_the_leg_that_was_picked_up(protocol: EngineProtocol) -> None:
    feed(protocol, created(), created(OTHER_LEG, variable_sip_call_id="another@x"), call_frame("CHANNEL_ANSWER", OTHER_LEG))
    assert protocol.sight().calls == {CALL: (OTHER_LEG, LEG)}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('\'{"name":"O\'Brien"}\'', {"name": "O'Brien"}),
        ("'undefined'", {}),
        ('\'{"name":"Ann\\sB"}\'', {"name": "Ann B"}),
        ('\'{"path":"C:\\\\s"}\'', {"path": "C:\\s"}),
    ],
)
def test_quirk_7_13_data_keeps_its_apostrophes_and_blanks(text: str, data: dict[str, str]) -> None:
    assert parse_data(text) == data


def test_quirk_7_14_words_are_what_they_say(protocol: EngineProtocol) -> None:
    listed = {"100": {"id": "100", "domain": "demo.local", "name": "Ann%20B", "agent": "false", "agent.status": "Logged%20Out"}}
    told = log_in(protocol, listed=listed)
    user = only(told, OnAddUser).user
    assert (user.name, user.agent, user.agent_status, user.tag) == ("Ann B", False, "Logged Out", "")
    status = {
        "webitel-event-name": "ACCOUNT_STATUS",
        "Event-Name": "ACCOUNT_STATUS",
        "Account-User": "100",
        "Account-Status-Descript": "50%25 left",
        "Account-Agent-Status": "Available%20(On%20Demand)",
        "Account-Agent-State": "In a queue call",
        "cc_logged": True,
    }
    now = only(feed(protocol, status), OnUserStatusChange).user
    assert (now.tag, now.agent_status, now.agent_state, now.cc_logged) == (
        "50%25 left",
        "Available (On Demand)",
        "In a queue call",
        True,
    )
    # A note that is gone is gone, although `api whoami` goes on showing it.
    del status["Account-Status-Descript"]
    assert only(feed(protocol, status), OnUserStatusChange).user.tag == ""


@pytest.mark.anyio
async def test_quirk_7_15_the_cause_of_a_hang_up_is_sent() -> None:
    engine = Engine()
    engine.answers["hangup"] = ("+OK", "+OK\n")
    async with session(engine) as webitel:
        await webitel.hangup(LEG, "USER_BUSY")
    assert engine.requests[-1]["exec-args"]["cause"] == "USER_BUSY"


@pytest.mark.anyio
async def test_quirk_7_16_what_the_library_never_could() -> None:
    engine = Engine()
    engine.answers |= {
        "chat_send": ("+OK", "Sent"),
        "api whoami": ("+OK", json.dumps({"id": ACCOUNT})),
        "channel_dump": ("+OK", json.dumps({"Unique-ID": LEG})),
    }
    async with session(engine) as webitel:
        assert await webitel.send_chat("101", "hi") == "Sent"
        assert engine.requests[-1]["exec-args"]["from"] == ACCOUNT
        assert (await webitel.whoami())["id"] == ACCOUNT
        assert (await webitel.channel_dump(LEG))["Unique-ID"] == LEG


def video(far_leg: str, *, on: bool = True) -> dict[str, Any]:
    body = {"type": "REMOTE-VIDEO-CHANGE", "callID": far_leg, "enabled": on}
    kind = {"webitel-event-name": "WEBITEL-CUSTOM", "Event-Name": "WEBITEL-CUSTOM-MESSAGE"}
    return {"to": ACCOUNT, "from": "101@demo.local", "body": body} | kind


def test_deviation_quirk_7_17_a_camera_is_told_once_after_a_reconnection(talking: EngineProtocol) -> None:
    for _ in range(3):
        talking.closed(1006)
        log_in(talking)
    assert only(feed(talking, video(FAR)), OnVideoChangeWebRTCCall).call.uuid == CALL


def test_quirk_7_17_what_is_over_is_forgotten(protocol: EngineProtocol) -> None:
    for number in range(5000):
        leg, key = f"leg-{number}", {"variable_w_account_origination_uuid": f"call-{number}"}
        # Of every second one the last frame is lost.
        lost = [] if number % 2 else [ended("CHANNEL_DESTROY", leg)]
        feed(protocol, created(leg, **key), ended(leg=leg, **key), *lost)
    calls = protocol._calls
    assert (len(calls.legs), len(calls.call_ids)) == (0, 0)
    assert len(calls._ended_legs._created) <= 1024
    assert len(calls._ended_legs._destroyed) <= 1024
    assert len(calls._ended_calls._known) <= 1024


@pytest.mark.anyio
async def test_quirk_7_18_nothing_is_sent_before_the_log_in_and_nothing_that_injects_ever() -> None:
    engine = Engine()
    engine.silent.add("auth")
    webitel = made(engine)
    async with anyio.create_task_group() as group:
        group.start_soon(webitel.run)
        await engine.asked("auth")
        with pytest.raises(NotConnectedError):
            await webitel.hangup(LEG)
        with pytest.raises(InvalidArgumentError):
            await webitel.transfer(LEG, "102,{x=y}")
        group.cancel_scope.cancel()
    assert [request["exec-func"] for request in engine.requests] == ["auth"]


@pytest.mark.anyio
async def test_quirk_7_19_no_space_follows_the_colon_of_a_secret() -> None:
    engine = Engine()
    link = "https://pbx/x?access_token=s3cret"
    engine.answers["cdr_get_record_link"] = ("+OK", link)
    async with session(engine) as webitel:
        assert '"secret":"hunter2"' in engine.texts[0]
        assert "s3cret" not in repr(await webitel.recording_link(LEG))


@pytest.mark.anyio
async def test_quirk_7_20_no_socket_is_left_behind() -> None:
    engine = Engine()
    engine.answers["auth"] = ("-ERR", "Maximum opened socket 10")
    error = await run_error(made(engine))
    assert isinstance(error, NetworkError)
    assert error.retryable
    engine.answers["auth"] = ("+OK", AUTH_OK)
    engine.silent.add("login")
    await run_error(made(engine, timeouts=WebitelTimeouts(command_seconds=0.01)))
    assert len(engine.sockets) == engine.left == 2


def test_quirk_7_21_another_domain_s_account_of_the_same_number_changes_nothing(protocol: EngineProtocol) -> None:
    log_in(protocol)
    event = {"webitel-event-name": "user", "Event-Name": "ACCOUNT_OFFLINE", "User-ID": "100", "User-Domain": "other.local"}
    assert feed(protocol, event) == []
    assert protocol.own_user is not None
    assert protocol.own_user.online is True


@pytest.mark.anyio
async def test_quirk_7_22_with_a_token_the_state_is_the_list_s() -> None:
    engine, told = Engine(), Told()
    engine.answers["auth"] = ("+OK", AUTH_OK | {"state": "", "status": "", "cc-agent": ""})
    async with session(engine, told, key="k", token=Secret("t")) as webitel:
        (ready,) = [callback for callback in told.callbacks if isinstance(callback, OnReady)]
        assert (ready.state, ready.away) == ("", "")
        assert webitel.own_user is not None
        assert (webitel.own_user.state, webitel.own_user.away) == ("ONHOOK", "NONE")


@pytest.mark.anyio
async def test_quirk_7_23_a_note_cannot_break_the_directory_s_command() -> None:
    engine = Engine()
    engine.answers["api account change"] = ("+OK", {})
    async with session(engine) as webitel:
        await webitel.busy("ONBREAK", "it's [late], {bye}\r\n")
    assert engine.requests[-1]["exec-args"]["value"] == "ONBREAK('it\u2019s late bye')"


@pytest.mark.anyio
async def test_quirk_7_24_leaving_a_desk_is_refused_and_says_so() -> None:
    engine = Engine()
    engine.answers["hotdesk_signout"] = ("-ERR", "Address is required")
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError, match="Address is required"):
            await webitel.sign_out()


@pytest.mark.parametrize(
    "last",
    [
        [ended("CHANNEL_HANGUP"), ended(), ended("CHANNEL_DESTROY")],
        [ended(), ended(), ended("CHANNEL_DESTROY")],
        [ended("CHANNEL_HANGUP"), ended("CHANNEL_DESTROY")],
        [ended("CHANNEL_DESTROY"), ended("CHANNEL_DESTROY")],
        [call_state("HANGUP"), ended("CHANNEL_DESTROY"), ended("CHANNEL_HANGUP")],
    ],
)
def test_quirk_7_25_a_call_ends_once_by_whichever_frame_comes(talking: EngineProtocol, last: list[dict[str, Any]]) -> None:
    told = [output for output in feed(talking, *last) if isinstance(output, Callback) and not isinstance(output, OnError)]
    assert names(told) == ["onUuidCall", "onHangupCall"]
    assert talking.call_ids == frozenset()
