"""The simulator's sockets, its control port, its network; what it says to commands is in the modules beside this one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from cti_framework.switchboard import Device, FarSide
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.options import changed
from tests.webitel.raw_client import Client, open_client, open_control

pytestmark = pytest.mark.anyio


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        yield opened


def test_the_engine_cuts_after_five_seconds_unless_told_otherwise() -> None:
    assert SimulatorOptions().unauthenticated_seconds == 5.0


# --- who is told what


async def test_ten_sockets_an_account_and_the_eleventh_is_refused_and_cut(anyio_backend: str) -> None:
    async with (
        serve_webitel(options=SimulatorOptions(sockets_per_account=2)) as simulator,
        open_client(simulator, anyio_backend) as first,
        open_client(simulator, anyio_backend) as second,
        open_client(simulator, anyio_backend) as third,
    ):
        await first.log_in("102")
        reply = await second.ask("auth", account="102@demo.local", secret="102")
        assert reply["exec-response"]["ws-count"] == 2
        reply = await third.ask("auth", account="102@demo.local", secret="102")
        assert reply == {"exec-uuid": "auth", "exec-complete": "-ERR", "exec-response": "Maximum opened socket 2"}
        assert await third.closed() == 1006
    assert SimulatorOptions().sockets_per_account == 10


async def test_an_account_comes_online_once_and_goes_offline_with_its_last_socket(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in("101")
    async with open_client(simulator, anyio_backend) as first:
        await first.log_in("100")
        assert first.frames[0]["Event-Name"] == "ACCOUNT_ONLINE"
        assert (await client.receive())[0] == first.frames[0]
        async with open_client(simulator, anyio_backend) as second:
            await second.log_in("100")
            assert "Event-Name" not in second.frames[0]
        assert await client.nothing_came()
    frame = await client.until("ACCOUNT_OFFLINE")
    assert (frame["User-ID"], frame["webitel-event-name"]) == ("100", "user")


async def test_logout_on_one_socket_silences_the_calls_of_all_and_nothing_else(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in()
    async with open_client(simulator, anyio_backend) as other:
        await other.ask("auth", account="100@demo.local", secret="100")
        await simulator.incoming("0671112233")
        assert (await other.until("CHANNEL_CALLSTATE"))["Channel-Call-State"] == "RINGING"
        assert (await client.until("CHANNEL_CALLSTATE"))["Channel-Call-State"] == "RINGING"
        await other.ask("logout")
        await simulator.hang_up("0671112233")
        (frame,) = await client.receive()
        assert (frame["Event-Name"], frame["Account-User-State"]) == ("ACCOUNT_STATUS", "ONHOOK")
        await client.ask("login")
        await simulator.incoming("0671112233")
        await other.until("CHANNEL_CREATE")


async def test_a_new_first_socket_is_not_logged_in(simulator: WebitelSimulator, anyio_backend: str) -> None:
    async with open_client(simulator, anyio_backend) as first:
        await first.log_in()
    async with open_client(simulator, anyio_backend) as watcher:
        await watcher.log_in("101")
        async with open_client(simulator, anyio_backend) as second:
            await second.ask("auth", account="100@demo.local", secret="100")
            await simulator.incoming("0671112233")
            assert (await second.receive())[0]["Event-Name"] == "ACCOUNT_STATUS"
            assert await second.nothing_came()


async def test_a_second_authentication_gets_no_reply_and_a_wrong_one_does(client: Client) -> None:
    await client.log_in()
    await client.send("auth", account="100@demo.local", secret="100")
    assert await client.nothing_came()
    reply = await client.ask("auth", account="100@demo.local", secret="no")
    assert reply["exec-response"] == {"login": {"status": 401, "message": "secret incorrect"}}
    reply = await client.ask("auth", account="nobody@demo.local", secret="x")
    assert reply["exec-response"]["login"]["message"] == "-ERR user not found!\n"


async def test_a_token_opens_another_socket_with_nothing_known_of_the_state(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in()
    token = json.loads((await client.ask("token_generate"))["exec-response"])
    assert json.loads((await client.ask("token_generate"))["exec-response"]) == token
    async with open_client(simulator, anyio_backend) as other:
        reply = await other.ask("auth", key="k", token="t")
        assert (reply["exec-complete"], reply["exec-response"]) == ("-ERR", "Invalid Token or Key")
        reply = await other.ask("auth", key=token["key"], token=token["token"])
        assert reply["exec-complete"] == "+OK"
        assert [reply["exec-response"][key] for key in ("login", "state", "status", "cc-agent", "ws-count")] == [
            "100@demo.local",
            "",
            "",
            "",
            2,
        ]


# --- before authentication, and rubbish


async def test_before_authentication_calls_can_be_controlled_and_little_else(simulator: WebitelSimulator, client: Client) -> None:
    own = simulator.switchboard.dial_from_device("100@demo.local", "0501234567")
    assert (await client.ask("ping"))["exec-response"] == "pong"
    assert (await client.ask("api whoami"))["exec-response"] == "-ERR: user not auth."
    assert (await client.ask("api account list", domain="demo.local"))["exec-response"] == "Permission denied!"
    for silent in ("login", "logout", "call"):
        await client.send(silent, extension="1", user="100@demo.local")
        assert await client.nothing_came()
    assert (await client.ask("getvar", channel_uuid=own.uuid, variable="domain_name"))["exec-response"] == "demo.local"
    assert (await client.ask("show_channel"))["exec-response"]["row_count"] == 2
    assert (await client.ask("hangup", channel_uuid=own.uuid))["exec-response"] == "+OK\n"
    assert simulator.switchboard.legs == ()


@pytest.mark.parametrize(
    "frame",
    ["", "not json", "null", '{"a":', b"\xff\xfe", '{"exec-func":"toString","exec-args":{}}', '{"exec-func":7}', "[" * 5000],
)
async def test_what_cannot_be_read_gets_no_reply_and_the_socket_lives_on(client: Client, frame: str | bytes) -> None:
    await client.connection.send(frame)
    assert await client.nothing_came()
    await client.log_in()


@pytest.mark.parametrize("arguments", [None, 1, "x", [], {"channel-uuid": None}, {"channel-uuid": {"a": 1}}])
async def test_arguments_of_any_type_are_answered(client: Client, arguments: Any) -> None:
    await client.log_in()
    commands = ["hangup", "hold", "dtmf", "getvar", "setvar", "channel_dump", "show_channel", "transfer", "bridge"]
    for command in [*commands, "api account list", "api whoami", "token_generate", "call", "auth"]:
        await client.connection.send(json.dumps({"exec-uuid": command, "exec-func": command, "exec-args": arguments}))
        assert (await client.until(command))["exec-complete"]


async def test_a_frame_of_20_mib_is_answered(client: Client) -> None:
    await client.connection.send(json.dumps({"exec-uuid": "big", "exec-func": "ping", "exec-args": "x" * (20 * 2**20)}))
    assert (await client.until("big"))["exec-response"] == "pong"


async def test_a_binary_frame_and_a_fragmented_one_are_read(client: Client) -> None:
    await client.connection.send(b'{"exec-uuid":"binary","exec-func":"ping"}')
    await client.until("binary")

    async def fragments() -> AsyncIterator[str]:
        yield '{"exec-uuid":"pieces",'
        yield '"exec-func":"ping"}'

    await client.connection.send(fragments())
    await client.until("pieces")


@pytest.mark.parametrize("exec_uuid", [1, 1.5, "", None, [1, {"a": None}], {"b": True}])
async def test_the_request_identifier_comes_back_as_it_is(client: Client, exec_uuid: Any) -> None:
    await client.connection.send(json.dumps({"exec-uuid": exec_uuid, "exec-func": "ping"}))
    assert await client.receive() == [{"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": "pong"}]


async def test_a_port_scanner_and_a_web_browser_do_no_harm(simulator: WebitelSimulator, client: Client) -> None:
    for rubbish in (b"", b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        async with await anyio.connect_tcp("127.0.0.1", simulator.port) as stream:
            await stream.send(rubbish) if rubbish else await stream.send_eof()
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await stream.receive()
    await client.log_in()


# --- two phones


async def test_two_phones_ring_and_the_slower_one_loses_the_race(simulator: WebitelSimulator, client: Client) -> None:
    simulator.switchboard.set_account("100@demo.local", devices=(Device(number=1), Device(number=2)))
    await client.log_in()
    await simulator.incoming("0671112233")
    first = await client.until("CHANNEL_CREATE")
    second = await client.until("CHANNEL_CREATE")
    key = "variable_w_account_origination_uuid"
    assert first[key] == second[key] and first["Unique-ID"] != second["Unique-ID"]
    assert simulator.control({"do": "answer", "uuid": first["Unique-ID"]})["ok"]
    ended = await client.until("CHANNEL_HANGUP_COMPLETE")
    assert (ended["Unique-ID"], ended["variable_hangup_cause"]) == (second["Unique-ID"], "LOSE_RACE")


# --- the control port


async def test_the_control_port_answers_lines_and_posts_on_one_connection(simulator: WebitelSimulator) -> None:
    async with open_control(simulator) as control:
        assert await control.send({"do": "list"}) == {"legs": []}
        status, answer = await control.post(b'{"do":"incoming","from":"0671112233","to":"100"}')
        assert status == b"HTTP/1.1 200 OK"
        assert set(answer) == {"a", "b", "callUuid"}
        legs = (await control.send({"do": "list"}))["legs"]
        assert [leg["uuid"] for leg in legs] == [answer["a"], answer["b"]]
        status, answer = await control.post(b"", method="GET")
        assert status.startswith(b"HTTP/1.1 405") and "error" in answer
        assert (await control.send({"do": "reset"}))["ok"]
        assert await control.send({"do": "list"}) == {"legs": []}


async def test_a_bad_line_is_answered_with_its_error_and_the_connection_lives_on(simulator: WebitelSimulator) -> None:
    bad = [
        b"not json",
        b"null",
        b"[]",
        b'"list"',
        b"{}",
        b'{"do":["list"]}',
        b'{"do":"renumber","uuid":"x"}',
        b'{"do":"answer"}',
        b'{"do":"answer","presence":"100@demo.local"}',
        b'{"do":"hold","uuid":7}',
        b'{"do":"dtmf","presence":"100@demo.local"}',
        b'{"do":"incoming","from":"1","to":"999"}',
        b'{"do":"incoming","from":"1","to":"100","vars":3}',
        b'{"do":"opts","set":{"no_such_option":1}}',
        b'{"do":"opts","set":{"proxy_hold":"yes"}}',
        b'{"do":"opts","set":{"far_answer_seconds":-1}}',
        b'{"do":"status","account":"100","set":{"state":"SLEEPING"}}',
        b'{"do":"status","account":"100","set":{"colour":"red"}}',
    ]
    async with open_control(simulator) as control:
        for line in bad:
            answer = await control.send_line(line)
            assert list(answer) == ["error"] and answer["error"], line
        status, answer = await control.post(b"nothing")
        assert status == b"HTTP/1.1 200 OK" and "error" in answer
        assert await control.send({"do": "list"}) == {"legs": []}


async def test_options_are_changed_and_told_by_the_control_port(simulator: WebitelSimulator) -> None:
    async with open_control(simulator) as control:
        answer = await control.send({"do": "opts", "set": {"proxyHold": True, "far-answer-seconds": None}})
        assert answer["opts"]["proxy_hold"] is True
        assert simulator.options == changed(SimulatorOptions(), {"proxy_hold": True, "far_answer_seconds": None})
        assert (await control.send({"do": "opts"}))["opts"] == answer["opts"]


async def test_every_selector_finds_its_leg(simulator: WebitelSimulator) -> None:
    async with open_control(simulator) as control:
        ids = await control.send({"do": "incoming", "from": "0671112233", "to": "100@demo.local"})
        assert (await control.send({"do": "answer", "presence": "100@demo.local"}))["uuid"] == ids["b"]
        for selector, leg in (
            ({"uuid": ids["b"]}, ids["b"]),
            ({"dest": "0671112233"}, ids["a"]),
            ({"far": "100@demo.local"}, ids["a"]),
            ({"far": ids["b"]}, ids["a"]),
            ({"far": "0671112233"}, ids["b"]),
        ):
            assert (await control.send({"do": "hold", **selector}))["uuid"] == leg
            assert (await control.send({"do": "unhold", **selector}))["uuid"] == leg
        assert (await control.send({"do": "dtmf", "presence": "100@demo.local", "digits": "5"}))["ok"]
        assert (await control.send({"do": "hangup", "far": "100@demo.local"}))["uuid"] == ids["a"]
        assert await control.send({"do": "list"}) == {"legs": []}


async def test_the_status_of_an_account_is_set_and_told(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    async with open_control(simulator) as control:
        answer = await control.send({"do": "status", "account": "101@demo.local", "set": {"state": "NONREG"}})
        assert answer["state"] == "NONREG"
        frame = await client.until("ACCOUNT_STATUS")
        assert [frame[key] for key in ("Account-User", "Account-User-State", "Account-Online")] == ["101", "NONREG", False]
        answer = await control.send({"do": "status", "account": "101", "set": {"state": "ONHOOK"}})
        assert answer["state"] == "ONHOOK"


# --- the network, and leaving


async def test_a_dropped_network_is_seen_as_1006_and_calls_go_on(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in()
    await simulator.incoming("0671112233")
    await simulator.drop_network()
    assert await client.closed() == 1006
    assert len(simulator.switchboard.legs) == 2
    async with open_client(simulator, anyio_backend) as again:
        await again.log_in()
        assert (await again.ask("show_channel"))["exec-response"]["row_count"] == 1


async def test_while_the_network_is_away_nobody_gets_in(simulator: WebitelSimulator, client: Client) -> None:
    simulator.cut(30.0)
    assert await client.closed() == 1006
    async with await anyio.connect_tcp("127.0.0.1", simulator.port) as stream:
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_a_peer_that_reads_nothing_is_dropped_all_the_same(simulator: WebitelSimulator) -> None:
    async with await anyio.connect_tcp("127.0.0.1", simulator.port) as stream:
        await stream.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await stream.receive()
        (session,) = simulator.engine.sessions
        for _ in range(300):
            session.send(b"x" * 100_000)
        await anyio.lowlevel.checkpoint()
        await simulator.drop_network()
        with anyio.fail_after(5), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await stream.receive()


async def test_the_simulator_is_a_far_side(simulator: WebitelSimulator, client: Client) -> None:
    far_side: FarSide = simulator
    assert isinstance(far_side, FarSide)
    await client.log_in()
    call_id = await far_side.incoming("0671112233", "ACME")
    assert (await client.until("CHANNEL_CREATE"))["variable_w_account_origination_uuid"] == call_id
    await far_side.answer_own()
    await client.until("CHANNEL_ANSWER")
    await far_side.tones("0671112233", "1")
    await far_side.hold("0671112233")
    await far_side.unhold("0671112233")
    await far_side.hang_up("0671112233")
    await client.until("CHANNEL_DESTROY")
    await client.call("0501112233")
    await client.until("CHANNEL_ANSWER")
    await far_side.answer("0501112233")
    await client.until("CHANNEL_BRIDGE")


async def test_nothing_is_left_when_the_block_is_left(anyio_backend: str) -> None:
    async with anyio.create_task_group() as tasks:
        before = len(tasks_now(anyio_backend))
        async with serve_webitel() as simulator, open_control(simulator):
            async with open_client(simulator, anyio_backend) as client:
                await client.log_in()
                await client.call()
                port, control_port = simulator.port, simulator.control_port
                assert len(simulator.engine.sessions) == 1
            engine = simulator.engine
            await simulator.incoming("1")
        assert len(tasks_now(anyio_backend)) == before
        assert not engine.sessions and not engine.online
        for closed in (port, control_port):
            with pytest.raises(OSError):
                await anyio.connect_tcp("127.0.0.1", closed or 0)
        tasks.cancel_scope.cancel()


def tasks_now(backend: str) -> list[Any]:
    if backend == "trio":
        import trio

        found, nurseries = [], list(trio.lowlevel.current_root_task().child_nurseries)  # type: ignore[union-attr]  # trio runs
        while nurseries:
            for task in nurseries.pop().child_tasks:
                found.append(task)
                nurseries.extend(task.child_nurseries)
        return found
    import asyncio

    return list(asyncio.all_tasks())


async def test_an_error_in_the_block_leaves_it_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serve_webitel():
            raise KeyError("mine")


async def test_a_taken_port_is_said_at_once(simulator: WebitelSimulator) -> None:
    with pytest.raises(OSError):
        async with serve_webitel(port=simulator.port):
            pass
