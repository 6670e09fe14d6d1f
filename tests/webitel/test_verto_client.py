"""`VertoClient` against a server that answers as FreeSWITCH does: calls, refusals, outages, sessions, what must not happen."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from attrs import evolve

from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    InvalidArgumentError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
    OutageKind,
    PluginError,
    ProtocolError,
)
from cti_framework.recorder import FrameDirection
from cti_framework.redaction import SecretRedactor
from cti_framework.transport import open_websocket
from cti_framework.transport.memory import MemoryWebSocket
from cti_webitel.verto.client import VertoClient, VertoTimeouts
from cti_webitel.verto.dialogs import DialogState
from cti_webitel.verto.errors import CallGoneError, SessionTakenError
from cti_webitel.verto.replies import HoldState, Subscribed, Unsubscribed
from cti_webitel.verto.requests import Invite, Ping, VertoMessage
from cti_webitel.verto.signals import (
    Answered,
    Attached,
    AttachFailed,
    Cause,
    Ended,
    EndedBy,
    HoldChanged,
    InfoReceived,
    Invited,
    Punted,
    Ready,
    SubscriptionLost,
)
from tests.webitel.verto_captures import lines
from tests.webitel.verto_server import (
    OFFER,
    PATIENCE_SECONDS,
    SDP,
    USER,
    LoopbackSocket,
    Told,
    VertoServer,
    breaking,
    loopback,
    made,
    run_error,
    running,
)

pytestmark = pytest.mark.anyio

CALL = "0360199f-fa1f-447b-93ee-18524bd684f3"


async def answered(server: VertoServer, client: VertoClient, told: Told, call_id: str = CALL) -> str:
    """Have an answered call."""
    times = len(told.of(Answered)) + 1
    await client.invite("9196", SDP, call_id=call_id)
    await server.say("verto.answer", callID=call_id, sdp=OFFER)
    await told.until(Answered, times)
    server.calls.setdefault(client.session_id, []).append(call_id)
    return call_id


# --- logging in


async def test_logging_in() -> None:
    server, told = VertoServer(), Told()
    client = made(server, told, session_id="kept", user_variables={"verto_user_agent": "test"})
    async with running(client):
        assert server.requests[0]["params"] == {
            "login": USER,
            "passwd": "hunter2",
            "loginParams": {},
            "userVariables": {"verto_user_agent": "test"},
            "sessid": "kept",
        }
        assert told.signals == [Ready(())]
        await server.answered(1)
        assert repr(client) == f"<VertoClient {USER} at ws://pbx.example:8081/verto, ready>"
    assert repr(client).endswith(", disconnected>")
    # The server takes a ping of WebSocket for a message that it cannot read, and never answers it.
    assert server.options[0]["ping_interval_seconds"] is None
    assert server.left == 1


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "remedy"),
    [
        ({"code": -32001, "message": "Authentication Failure"}, CredentialsRefusedError, False, "password"),
        ({"code": -32001, "message": "Login Incorrect"}, CredentialsRefusedError, False, "no such user"),
        ({"code": -32001, "message": "Missing passwd"}, CredentialsRefusedError, False, "Set the password"),
        ({"code": -32001, "message": "Missing params"}, CredentialsRefusedError, False, "login and password"),
        ({"code": -32000, "message": "Authentication Required"}, CredentialsRefusedError, False, "Set the login"),
        ({"code": -32001, "message": "Session in use"}, SessionTakenError, False, "session"),
        ({"code": -32601, "message": "Invalid Method"}, ProtocolError, True, "port"),
        ({}, ProtocolError, True, "port"),
    ],
)
async def test_refused(error: dict[str, Any], kind: type[ConnectionFailedError], retryable: bool, remedy: str) -> None:
    server = VertoServer()
    server.refusals["login"] = error
    client = made(server)
    failure = await run_error(client)
    assert type(failure) is kind
    assert failure.retryable is retryable
    assert remedy in failure.remedy
    assert "hunter2" not in f"{failure} {failure!r} {failure.describe()}"
    assert server.methods() == ["login"]


async def test_a_log_in_that_is_not_answered() -> None:
    server = VertoServer()
    server.silent.add("login")
    failure = await run_error(made(server, timeouts=VertoTimeouts(login_seconds=0.05)))
    assert isinstance(failure, NetworkError)
    assert failure.kind is OutageKind.NO_ANSWER
    assert server.left == 1


async def test_a_connection_that_breaks_while_logging_in() -> None:
    server = VertoServer()
    server.silent.add("login")
    client = made(server)
    failures: list[ConnectionFailedError] = []

    async def run() -> None:
        failures.append(await run_error(client))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await server.asked("login")
        server.sockets[-1].cut()
    assert isinstance(failures[0], NetworkError)
    assert "1006" in str(failures[0])


async def test_a_server_that_never_says_that_it_is_ready() -> None:
    server, told = VertoServer(), Told()
    server.is_ready_told = False
    with structlog.testing.capture_logs() as logs:
        async with running(made(server, told, timeouts=VertoTimeouts(ready_seconds=0.05))) as client:
            await client.ping()
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["verto.not_ready"]


async def test_one_object_is_one_connection() -> None:
    server = VertoServer()
    client = made(server)
    async with running(client):
        with pytest.raises(RuntimeError, match="one connection"):
            await client.run()
        with pytest.raises(RuntimeError, match="between two connections"):
            client.renew_session()


# --- calls


async def test_a_call() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        call_id = await client.invite("050 123-45-67", SDP, caller_name="Alice", caller_number="1000", variables={"x": "1"})
        assert (await server.asked("verto.invite"))["params"] == {
            "sdp": SDP,
            "dialogParams": {
                "callID": call_id,
                "destination_number": "0501234567",
                "caller_id_name": "Alice",
                "caller_id_number": "1000",
                "userVariables": {"x": "1"},
            },
            "sessid": client.session_id,
        }
        assert client.dialogs[call_id].state is DialogState.TRYING
        await server.say("verto.answer", callID=call_id, sdp=OFFER)
        await told.until(Answered)
        assert await client.hold(call_id) is HoldState.HELD
        assert await client.unhold(call_id) is HoldState.ACTIVE
        assert await client.toggle_hold(call_id) is HoldState.HELD
        assert [signal.held for signal in told.of(HoldChanged)] == [True, False, True]
        await client.send_digits(call_id, "12*#")
        assert await client.update_media(call_id, SDP) == OFFER
        await client.transfer(call_id, "1002")
        await client.replace(call_id, "other")
        assert [request["params"].get("replaceCallID") for request in server.requests][-1] == "other"
        assert await client.hang_up(call_id, "USER_BUSY") == Cause("USER_BUSY", 16)
        assert told.signals[-1] == Ended(call_id, Cause("USER_BUSY", 16), EndedBy.CLIENT)
        assert client.dialogs == {}


async def test_a_call_that_comes_in() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        await server.say("verto.invite", callID=CALL, sdp=OFFER, caller_id_number="1001")
        assert (await told.until(Invited)).parties.caller_number == "1001"
        await client.answer(CALL, SDP)
        assert client.dialogs[CALL].state is DialogState.ACTIVE
        await server.say("verto.bye", callID=CALL, causeCode=16, cause="NORMAL_CLEARING")
        assert (await told.until(Ended)).by is EndedBy.SERVER
        with pytest.raises(NotAllowedNowError):
            await client.answer(CALL, SDP)
        # Each request of the server's was answered, as the stock client does.
        await server.answered(3)
        methods = [reply["result"]["method"] for reply in server.replies]
        assert methods == ["verto.clientReady", "verto.invite", "verto.bye"]


async def test_beside_calls() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        await client.send_chat("1001@demo.local", "hello")
        assert (await server.asked("verto.info"))["params"]["msg"] == {"from": USER, "to": "1001@demo.local", "body": "hello"}
        await server.say("verto.info", msg={"from": "a", "to": "b", "body": "hi"})
        assert (await told.until(InfoReceived)).chat is not None
        assert await client.subscribe("presence") == Subscribed(("presence",))
        await client.broadcast("presence", {"x": 1})
        assert await client.unsubscribe("presence") == Unsubscribed(("presence",))
        assert await client.execute("echo", {"x": [1]}) == {"x": [1], "sessid": client.session_id}
        assert (await client.execute("verto.ping"))["message"] == "PONG"
        await client.ping()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.invite("", SDP),
        lambda client: client.invite("1001@evil", SDP),
        lambda client: client.invite("1001", "no media"),
        lambda client: client.invite("1001", ""),
        lambda client: client.invite("1001", None),
        lambda client: client.invite("1001", "v=0" + "x" * 1_000_000),
        lambda client: client.answer(CALL, "no media"),
        lambda client: client.send_digits(CALL, "5&6"),
        lambda client: client.hang_up(CALL, "NO_SUCH_CAUSE"),
        lambda client: client.transfer(CALL, "1001,x"),
        lambda client: client.subscribe(),
        lambda client: client.subscribe(""),
        lambda client: client.execute("echo", {"x": object()}),
    ],
)
async def test_what_is_never_sent(ask: Any) -> None:
    server = VertoServer()
    async with running(made(server)) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await ask(client)
        assert caught.value.stage is CommandStage.NOT_SENT
        await client.ping()
        assert server.methods() == ["login", "verto.ping"]
        assert client.dialogs == {}


async def test_a_refusal() -> None:
    server, told = VertoServer(), Told()
    server.refusals["verto.invite"] = {
        "message": "CALL ERROR",
        "causeCode": 27,
        "cause": "DESTINATION_OUT_OF_ORDER",
        "code": -32002,
    }
    async with running(made(server, told)) as client:
        with pytest.raises(CommandRefusedError) as caught:
            await client.invite("1001", SDP, call_id=CALL)
        assert caught.value.stage is CommandStage.REJECTED
        assert caught.value.pbx_text == "CALL ERROR (27 DESTINATION_OUT_OF_ORDER)"
        assert told.signals[-1] == Ended(CALL, Cause("DESTINATION_OUT_OF_ORDER", 27), EndedBy.REFUSED)


async def test_a_call_that_is_gone() -> None:
    server, told = VertoServer(), Told()
    gone = {"message": "CALL DOES NOT EXIST", "code": -32002}
    async with running(made(server, told)) as client:
        server.refusals.update({"verto.bye": gone, "verto.modify": gone})
        await answered(server, client, told)
        # Both sides hung up: the wish is fulfilled.
        assert await client.hang_up(CALL) is None
        assert told.signals[-1] == Ended(CALL, None, EndedBy.SERVER)
        await answered(server, client, told, "another")
        with pytest.raises(CallGoneError):
            await client.hold("another")
        assert client.dialogs == {}


async def test_keys_that_nobody_takes() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        await answered(server, client, told)
        server.silent.add("verto.info")
        async with anyio.create_task_group() as group:

            async def send() -> None:
                with pytest.raises(CallGoneError):
                    await client.send_digits(CALL, "1")

            group.start_soon(send)
            request = await server.asked("verto.info")
            await server.reply(server.sockets[-1], request["id"])


# --- answers that do not come


async def test_an_answer_that_does_not_come_and_comes_late() -> None:
    server, told = VertoServer(), Told()
    server.silent.add("verto.invite")
    async with running(made(server, told)) as client:
        with pytest.raises(CommandUnconfirmedError) as caught:
            await client.ask(Invite(CALL, "1001", SDP), timeout_seconds=0.05)
        assert caught.value.stage is CommandStage.UNCONFIRMED
        # It is known that it may be there, the server is asked whether it lives, and nothing is sent again.
        assert client.dialogs[CALL].state is DialogState.REQUESTING
        await server.asked("verto.ping")
        assert server.methods().count("verto.invite") == 1
        request = await server.asked("verto.invite")
        await server.reply(server.sockets[-1], request["id"], callID=CALL)
        await client.ping()
        assert client.dialogs[CALL].state is DialogState.TRYING
        await client.hang_up(CALL)
        assert client.dialogs == {}


async def test_answers_that_never_come_are_not_waited_for_without_end() -> None:
    server = VertoServer()
    server.silent.add("echo")
    async with running(made(server)) as client:
        for times in range(1, 301):
            async with anyio.create_task_group() as group:
                group.start_soon(client.execute, "echo")
                await server.asked("echo", times)
                group.cancel_scope.cancel()
        assert len(client._protocol.pending) == 256
        assert client._asking.waiting == 0


async def test_a_connection_that_breaks_before_the_answer() -> None:
    server, told = VertoServer(), Told()
    server.silent.add("verto.modify")
    client = made(server, told)
    errors: list[CommandError] = []

    async def hold() -> None:
        with pytest.raises(CommandUnconfirmedError) as caught:
            await client.hold(CALL)
        errors.append(caught.value)

    async with breaking(client) as ended, anyio.create_task_group() as group:
        await answered(server, client, told)
        group.start_soon(hold)
        await server.asked("verto.modify")
        server.sockets[-1].cut()
    assert errors[0].__cause__ is ended[0]
    with pytest.raises(NotConnectedError) as caught:
        await client.hold(CALL)
    assert caught.value.stage is CommandStage.NOT_SENT


@pytest.mark.parametrize("verb", ["invite", "hold", "hang_up", "ping"])
async def test_a_request_that_is_cancelled(verb: str) -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        await answered(server, client, told)
        server.silent |= {"verto.invite", "verto.modify", "verto.bye", "verto.ping"}
        asks: dict[str, Any] = {
            "invite": lambda: client.invite("1001", SDP, call_id="new"),
            "hold": lambda: client.hold(CALL),
            "hang_up": lambda: client.hang_up(CALL),
            "ping": lambda: client.ping(),
        }
        method = {"invite": "verto.invite", "hold": "verto.modify", "hang_up": "verto.bye", "ping": "verto.ping"}[verb]
        with anyio.CancelScope() as before:
            before.cancel()
            await asks[verb]()
        assert method not in server.methods()[2:]
        assert "new" not in client.dialogs
        seen = server.methods().count(method)
        async with anyio.create_task_group() as group:
            group.start_soon(asks[verb])
            request = await server.asked(method, seen + 1)
            group.cancel_scope.cancel()
        server.silent.clear()
        # Its answer comes late, and is nobody's; what it means still counts.
        await server.answer(server.sockets[-1], request)
        await client.ping()
        expected = {"invite": ("new", DialogState.TRYING), "hold": (CALL, DialogState.HELD), "hang_up": None, "ping": None}[verb]
        if expected is not None:
            assert client.dialogs[expected[0]].state is expected[1]
        elif verb == "hang_up":
            assert client.dialogs == {}
        assert server.methods().count(method) == seen + (2 if verb == "ping" else 1)
        assert client.counts.unclaimed_replies == 0


@pytest.mark.parametrize("turns", range(12))
async def test_a_run_that_is_cancelled_at_any_moment(turns: int) -> None:
    server, told = VertoServer(), Told()
    server.calls["kept"] = [CALL]

    async def new_media(offered: Attached) -> str:
        await anyio.lowlevel.checkpoint()
        return SDP

    client = made(server, told, session_id="kept", on_attach=new_media)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(client.run)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert not client.connected
        assert server.left == len(server.sockets)
        # It can be run again, and everything is as it would be.
        async with running(client):
            with anyio.fail_after(PATIENCE_SECONDS):
                while client.dialogs[CALL].state is not DialogState.ACTIVE:
                    await client.ping()


# --- outages


async def test_a_call_survives_an_outage() -> None:
    server, told = VertoServer(), Told()
    offers: list[Attached] = []

    async def new_media(offered: Attached) -> str:
        offers.append(offered)
        return SDP + "new"

    client = made(server, told, on_attach=new_media)
    session_id = client.session_id
    async with breaking(client) as ended:
        await answered(server, client, told)
        server.sockets[-1].cut()
    assert isinstance(ended[0], NetworkError)
    assert client.dialogs[CALL].state is DialogState.DETACHED
    async with running(client):
        request = await server.asked("verto.attach")
        assert request["params"] == {"sdp": SDP + "new", "dialogParams": {"callID": CALL}, "sessid": session_id}
        assert offers[0].sdp == OFFER
        await client.ping()
        assert client.dialogs[CALL].state is DialogState.ACTIVE
        assert await client.hold(CALL) is HoldState.HELD
    assert told.of(Ended) == []
    assert [request["params"]["sessid"] for request in server.requests if request["method"] == "login"] == [session_id] * 2


async def test_a_call_is_lost_when_the_server_does_not_have_it_any_more() -> None:
    server, told = VertoServer(), Told()
    client = made(server, told)
    async with breaking(client):
        await answered(server, client, told)
        await server.say("verto.invite", callID="rings", sdp=OFFER)
        await told.until(Invited)
        server.sockets[-1].cut()
    assert told.of(Ended) == []
    server.calls.clear()
    async with running(client):
        assert told.signals[-3:] == [Ready(()), Ended(CALL, None, EndedBy.LOST), Ended("rings", None, EndedBy.LOST)]
        assert client.dialogs == {}


async def test_media_by_hand() -> None:
    server, told = VertoServer(), Told()
    server.calls["kept"] = [CALL]
    async with running(made(server, told, session_id="kept")) as client:
        await told.until(Attached)
        assert client.dialogs[CALL].state is DialogState.RECOVERING
        await client.attach(CALL, SDP)
        assert client.dialogs[CALL].state is DialogState.ACTIVE
        with pytest.raises(NotAllowedNowError):
            await client.attach(CALL, SDP)


@pytest.mark.parametrize("how", ["raises", "raises ours", "is slow", "no media", "refused"])
async def test_new_media_that_fails_leaves_the_call_mute(how: str) -> None:
    server, told = VertoServer(), Told()
    server.calls["kept"] = [CALL]

    async def new_media(offered: Attached) -> str | None:
        if how == "raises":
            raise ValueError("hunter2")
        if how == "raises ours":
            raise PluginError("No microphone.")
        if how == "is slow":
            await anyio.sleep_forever()
        return None if how == "no media" else SDP

    if how == "refused":
        server.refusals["verto.attach"] = {"code": -32002, "message": "SDP missing"}
    with structlog.testing.capture_logs() as logs:
        timeouts = VertoTimeouts(attach_seconds=0.05 if how == "is slow" else 10.0)
        client = made(server, told, session_id="kept", on_attach=new_media, timeouts=timeouts)
        async with running(client):
            if how != "no media":
                failed = await told.until(AttachFailed)
                assert failed.call_id == CALL
                expected = {"raises ours": PluginError, "refused": CommandRefusedError}.get(how, CommandError)
                assert type(failed.error) is expected
            await client.ping()
            assert client.dialogs[CALL].state is DialogState.RECOVERING
            await client.hang_up(CALL)
    assert ("verto.media_raised" in [entry["event"] for entry in logs]) is (how == "raises")
    assert told.of(Ended)[-1].by is EndedBy.CLIENT


async def test_media_for_a_call_that_is_gone_meanwhile() -> None:
    server, told = VertoServer(), Told()
    server.calls["kept"] = [CALL]
    server.refusals["verto.attach"] = {"code": -32002, "message": "CALL DOES NOT EXIST"}

    async def new_media(offered: Attached) -> str:
        return SDP

    async with running(made(server, told, session_id="kept", on_attach=new_media)) as client:
        assert await told.until(Ended) == Ended(CALL, None, EndedBy.SERVER)
        await client.ping()
        assert told.of(AttachFailed) == []


@pytest.mark.parametrize("how", ["hung up", "anew", "cut"])
async def test_media_that_is_of_no_use_any_more_is_given_up(how: str) -> None:
    server, told = VertoServer(), Told()
    begun: list[Attached] = []
    given_up: list[Attached] = []

    async def new_media(offered: Attached) -> str:
        begun.append(offered)
        if len(begun) == 1:
            try:
                await anyio.sleep_forever()
            finally:
                given_up.append(offered)
        return SDP

    client = made(server, told, on_attach=new_media)
    async with breaking(client):
        await answered(server, client, told)
        await server.say("verto.attach", callID=CALL, sdp="v=0 first")
        await told.until(Attached)
        with anyio.fail_after(PATIENCE_SECONDS):
            while not begun:
                await anyio.lowlevel.checkpoint()
        match how:
            case "hung up":
                await server.say("verto.bye", callID=CALL)
                await told.until(Ended)
                await client.ping()
                assert given_up
            case "anew":
                await server.say("verto.attach", callID=CALL, sdp="v=0 second")
                await server.asked("verto.attach")
                await client.ping()
                assert client.dialogs[CALL].state is DialogState.ACTIVE
                assert given_up
        server.sockets[-1].cut()
    assert [offered.sdp for offered in given_up] == ["v=0 first"]
    assert len(begun) == (2 if how == "anew" else 1)
    assert told.of(AttachFailed) == []


async def test_a_server_that_shuts_down_comes_back() -> None:
    server, told = VertoServer(), Told()
    client = made(server, told)
    async with breaking(client) as ended:
        await answered(server, client, told)
        await server.say("verto.bye", callID=CALL, causeCode=701, cause="SYSTEM_SHUTDOWN")
        await told.until(Ended)
        server.sockets[-1].cut()
    assert ended[0].kind is OutageKind.RESTARTING


@pytest.mark.parametrize(
    ("unacknowledged", "kind"), [(None, OutageKind.FROZEN), (0, OutageKind.FROZEN), (60, OutageKind.HALF_OPEN)]
)
async def test_a_silent_server_is_asked_and_given_up(
    monkeypatch: pytest.MonkeyPatch, unacknowledged: int | None, kind: OutageKind
) -> None:
    monkeypatch.setattr(MemoryWebSocket, "unacknowledged_bytes", unacknowledged)
    server = VertoServer()
    server.silent.add("verto.ping")
    client = made(server, timeouts=VertoTimeouts(silence_seconds=0.05, probe_seconds=0.1))
    async with breaking(client) as ended:
        await server.asked("verto.ping")
    assert ended[0].kind is kind
    assert ended[0].retryable
    assert server.methods() == ["login", "verto.ping"]


async def test_a_quiet_server_that_answers_is_kept() -> None:
    server = VertoServer()
    client = made(server, timeouts=VertoTimeouts(silence_seconds=0.02))
    async with running(client):
        await server.asked("verto.ping", 5)
        assert client.connected


async def test_whoever_says_anything_lives() -> None:
    server = VertoServer()
    server.silent.add("verto.ping")
    async with running(made(server, timeouts=VertoTimeouts(silence_seconds=0.05, probe_seconds=0.3))) as client:
        for times in range(1, 4):
            await server.asked("verto.ping", times)
            await server.say("verto.event", eventChannel="x", data=1)
        assert client.connected


async def test_no_question_where_none_is_wanted() -> None:
    server = VertoServer()
    async with running(made(server, timeouts=VertoTimeouts(silence_seconds=0))) as client:
        assert client._liveness.next_deadline == float("inf")


# --- sessions


async def test_a_session_that_is_taken_over() -> None:
    server, told, other_told = VertoServer(), Told(), Told()
    client = made(server, told, session_id="one")
    async with breaking(client) as ended:
        await answered(server, client, told)
        async with running(made(server, other_told, session_id="one")) as other:
            assert told.of(Punted) == [Punted()]
            assert list(other.dialogs) == [CALL]
    assert type(ended[0]) is SessionTakenError
    assert not ended[0].retryable
    # It must not come back with this session: it would take it over in turn, and so on without end.
    logins = server.methods().count("login")
    assert type(await run_error(client)) is SessionTakenError
    assert server.methods().count("login") == logins
    client.renew_session()
    assert told.of(Ended) == [Ended(CALL, None, EndedBy.LOST)]
    assert client.session_id != "one"
    async with running(client):
        await client.ping()


async def test_subscriptions_come_back() -> None:
    server, told = VertoServer(), Told()
    client = made(server, told)
    async with breaking(client):
        await client.subscribe("presence", "demo")
        await client.subscribe("gone")
        await client.unsubscribe("gone")
        server.sockets[-1].cut()
    async with running(client):
        assert (await server.asked("verto.subscribe", 3))["params"]["eventChannel"] == ["presence", "demo"]
        await client.ping()
    server.refusals["verto.subscribe"] = {"unauthorizedChannels": ["presence", "demo"]}
    async with running(client):
        lost = await told.until(SubscriptionLost)
        assert lost.channels == ("presence", "demo")
    seen = server.methods().count("verto.subscribe")
    async with running(client):
        await client.ping()
    assert server.methods().count("verto.subscribe") == seen


async def test_a_subscription_that_is_not_confirmed_is_not_relied_on() -> None:
    server, told = VertoServer(), Told()
    client = made(server, told, timeouts=VertoTimeouts(command_seconds=0.5))
    async with breaking(client):
        await client.subscribe("presence")
        server.sockets[-1].cut()
    server.silent.add("verto.subscribe")
    async with running(client):
        assert (await told.until(SubscriptionLost)).channels == ("presence",)
    server.silent.clear()
    async with running(client):
        await server.asked("verto.subscribe", 3)


async def test_media_that_comes_after_the_connection_broke_is_no_failure() -> None:
    server, told = VertoServer(), Told()
    begun = anyio.Event()

    async def new_media(offered: Attached) -> str:
        begun.set()
        with anyio.CancelScope(shield=True):
            await server.closed.wait()
        return SDP

    client = made(server, told, on_attach=new_media)
    async with breaking(client):
        await answered(server, client, told)
        await server.say("verto.attach", callID=CALL, sdp=OFFER)
        await begun.wait()
        server.sockets[-1].cut()
        while client.connected:
            await anyio.lowlevel.checkpoint()
        server.closed.set()
    assert told.of(AttachFailed) == []


# --- rubbish, floods, secrets


async def test_rubbish_harms_nobody() -> None:
    server, told = VertoServer(), Told()
    with structlog.testing.capture_logs() as logs:
        async with running(made(server, told)) as client:
            await answered(server, client, told)
            rubbish: list[str | bytes] = [
                b"\x00\xff",
                "no JSON",
                "42",
                "[" * 50_000,
                '{"method":5}',
                '{"method":"verto.bye","params":[]}',
                "[]",
                "",
            ]
            for data in rubbish:
                await server.sockets[-1].send(data)
            await server.sockets[-1].send(json.dumps({"method": "verto.new", "params": {"x": "y" * 2_000_000}, "id": 1}))
            await client.ping()
            assert client.dialogs[CALL].state is DialogState.ACTIVE
            assert client.counts.bad_frames == 6
            assert client.counts.unknown_requests == 1
    warned = [entry["count"] for entry in logs if entry["event"] == "verto.bad_frame"]
    assert warned == [1, 2, 4]


async def test_a_flood_keeps_nobody_waiting() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client, anyio.create_task_group() as group:

        async def flood() -> None:
            while True:
                await server.say("verto.event", eventChannel="x", data=1)

        group.start_soon(flood)
        with anyio.fail_after(PATIENCE_SECONDS):
            for _ in range(20):
                await client.ping()
            assert await client.invite("1001", SDP)
        group.cancel_scope.cancel()


async def test_a_server_that_asks_and_reads_no_answers_is_heard() -> None:
    server, told = VertoServer(), Told()
    async with running(made(server, told)) as client:
        await server.answered(1)
        server.reads = anyio.Event()
        for serial in range(2_000):
            await server.say("verto.ping", serno=serial)
        await server.say("verto.invite", callID=CALL, sdp=OFFER)
        await told.until(Invited)
        assert client.connected
        server.reads.set()
        await client.hang_up(CALL)
        # What nobody took was left out, not kept: no answer is needed.
        assert len(server.replies) < 600


async def test_who_watches_sees_all_and_shows_nothing() -> None:
    server = VertoServer()
    traffic: list[tuple[FrameDirection, Any]] = []
    requests: list[VertoMessage] = []
    client = made(
        server,
        on_traffic=lambda direction, frames: traffic.extend((direction, frame) for frame in frames),
        on_request=requests.append,
    )
    with structlog.testing.capture_logs() as logs:
        async with running(client):
            await client.ping()
            await server.answered(1)
    assert [direction.value for direction, _ in traffic if direction.value in ("open", "close")] == ["open", "close"]
    sent = [json.loads(frame) for direction, frame in traffic if direction is FrameDirection.TO_PBX]
    assert sorted(frame.get("method", "-") for frame in sent) == ["-", "login", "verto.ping"]
    assert traffic[0][1] == "ws://pbx.example:8081/verto"
    assert requests[1:] == [Ping()]
    # The recorder, which is handed all of it, takes the password out.
    assert "hunter2" in f"{traffic!r}"
    assert "hunter2" not in f"{[SecretRedactor().redact(frame) for _, frame in traffic]!r}"
    assert "hunter2" not in f"{requests!r} {logs!r} {client!r}"


async def test_a_host_that_raises_ends_the_connection() -> None:
    server = VertoServer()

    def on_signals(signals: Any) -> None:
        raise ValueError("the host's fault")

    client = VertoClient("ws://x", USER, made(server)._login.password, on_signals=on_signals, open_socket=server.open)
    with pytest.raises(ExceptionGroup):
        await client.run()
    assert server.left == 1
    assert not client._running


# --- over loopback


async def test_over_loopback() -> None:
    async with loopback() as server:
        told = Told()
        timeouts = VertoTimeouts(silence_seconds=0.05)
        client = made(server, told, url=f"ws://127.0.0.1:{server.port}/any", open_socket=open_websocket, timeouts=timeouts)
        async with breaking(client) as ended:
            await answered(server, client, told)
            await server.asked("verto.ping", 3)
            server.sockets[-1].cut()
        assert isinstance(ended[0], NetworkError)
        async with running(client):
            await told.until(Attached)
            await client.attach(CALL, SDP)
            assert client.dialogs[CALL].state is DialogState.ACTIVE
        assert all(isinstance(socket, LoopbackSocket) and socket.pings == 0 for socket in server.sockets)


async def test_a_server_that_is_not_there() -> None:
    async with loopback() as server:
        port = server.port
    failure = await run_error(made(server, url=f"ws://127.0.0.1:{port}", open_socket=open_websocket))
    assert failure.kind is OutageKind.REFUSED


class Played(VertoServer):
    """Says what a capture says, each thing after what the capture's client had said before it."""

    def __init__(self, name: str, connections: tuple[str, ...]) -> None:
        super().__init__()
        self.scripts = {
            connection: [line for line in lines(name) if line.connection == connection and line.direction in ("c2s", "s2c")]
            for connection in connections
        }
        self.names: dict[str, str] = {}

    async def receive(self, socket: Any, data: bytes) -> None:
        frame = json.loads(data)
        if "method" not in frame:
            return
        self.requests.append(frame)
        script = list(self.scripts.values())[self.sockets.index(socket)]
        while script and (script[0].direction == "s2c" or "result" in script[0].frame):
            script.pop(0)
        recorded = script.pop(0).frame
        assert recorded["method"] == frame["method"]
        self.learn(recorded["params"], frame["params"])
        while script and (script[0].direction == "s2c" or "result" in script[0].frame):
            said = script.pop(0)
            if said.direction == "s2c":
                text = json.dumps(said.frame if "method" in said.frame else evolve_id(said.frame, frame["id"]))
                for theirs, ours in self.names.items():
                    text = text.replace(theirs, ours)
                await socket.send(text)

    def learn(self, recorded: dict[str, Any], ours: dict[str, Any]) -> None:
        self.names[recorded["sessid"]] = ours["sessid"]
        if "dialogParams" in recorded:
            self.names[recorded["dialogParams"]["callID"]] = ours["dialogParams"]["callID"]


def evolve_id(frame: dict[str, Any], request_id: int) -> dict[str, Any]:
    return {**frame, "id": request_id}


async def test_the_recorded_outage_of_a_real_server() -> None:
    server, told = Played("09_reconnect_same_sessid", ("alice", "alice2")), Told()

    async def new_media(offered: Attached) -> str:
        return SDP

    client = made(server, told, on_attach=new_media)
    async with breaking(client):
        call_id = await client.invite("1001", SDP)
        await told.until(Answered)
        assert client.dialogs[call_id].remote_sdp is not None
        server.sockets[-1].cut()
    async with running(client):
        with anyio.fail_after(PATIENCE_SECONDS):
            while client.dialogs[call_id].state is not DialogState.ACTIVE:
                await anyio.lowlevel.checkpoint()
        assert client.dialogs[call_id].number == "1001"
        assert await client.hold(call_id) is HoldState.HELD
        assert await client.unhold(call_id) is HoldState.ACTIVE
        await client.send_digits(call_id, "3")
        ended = await told.until(Ended)
        assert ended == Ended(call_id, Cause("NORMAL_CLEARING", 16), EndedBy.SERVER)
    assert client.counts == evolve(client.counts, bad_frames=0, unclaimed_replies=0, unknown_requests=0, unexpected=0)


# --- what is imported


def test_nothing_of_the_web_phone_is_imported_with_the_plugin() -> None:
    code = "import sys, cti_webitel; print([name for name in sys.modules if name.startswith('cti_webitel.verto')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert ran.stdout.strip() == "[]"
