from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from websockets.exceptions import ConnectionClosed

from cti_framework.switchboard import Device, FarSide
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.control import VERBS
from cti_webitel.simulator.options import changed

pytestmark = pytest.mark.anyio

CAPTURES = Path(__file__).parent.parent / "captures" / "webitel"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{16}")

# How many frames the capture shows after each step of the far side, before anybody does anything else.
FRAMES_AFTER_CONTROL = {
    "03-out-call": [1, 2, 3, 0, 0],
    "04-incoming": [6, 3, 1],
    "11-device-dial": [6, 3, 8],
}

Frame = dict[str, Any]


class Client:
    """A raw WebSocket client that keeps every frame."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames: list[Frame] = []

    async def send(self, command: str, exec_uuid: Any = None, **arguments: Any) -> None:
        names = {name.replace("_", "-") if name.startswith("channel_uuid") else name: arguments[name] for name in arguments}
        frame = {"exec-uuid": exec_uuid or command, "exec-func": command, "exec-args": names}
        await self.connection.send(json.dumps(frame))

    async def receive(self, count: int = 1) -> list[Frame]:
        frames = []
        for _ in range(count):
            frames.append(json.loads(await self.connection.recv()))
        self.frames.extend(frames)
        return frames

    async def until(self, name: str) -> Frame:
        """Read up to the event or the reply of that name."""
        while True:
            (frame,) = await self.receive()
            if name in (frame.get("Event-Name"), frame.get("exec-uuid")):
                return frame

    async def ask(self, command: str, **arguments: Any) -> Frame:
        await self.send(command, **arguments)
        return await self.until(command)

    async def nothing_came(self) -> bool:
        """A reply is a barrier: whatever the engine sent before it came before it."""
        await self.send("ping", exec_uuid="barrier")
        (frame,) = await self.receive()
        self.frames.pop()
        return frame.get("exec-uuid") == "barrier"

    async def log_in(self, number: str = "100") -> None:
        await self.ask("auth", account=f"{number}@demo.local", secret=number)
        await self.ask("login")

    async def closed(self) -> int | None:
        """Read to the end; the close code as the client sees it."""
        try:
            while True:
                self.frames.append(json.loads(await self.connection.recv()))
        except ConnectionClosed:
            code: int | None = self.connection.close_code
            return code


@asynccontextmanager
async def open_client(simulator: WebitelSimulator, backend: str) -> AsyncGenerator[Client]:
    if backend == "trio":
        from websockets.trio.client import connect as connect_trio

        async with connect_trio(simulator.url, compression=None, proxy=None, max_size=None) as connection:
            yield Client(connection)
    else:
        from websockets.asyncio.client import connect as connect_asyncio

        async with connect_asyncio(simulator.url, compression=None, proxy=None, max_size=None) as connection:
            yield Client(connection)


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        yield opened


class ControlPort:
    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)

    async def send(self, request: Any) -> Any:
        return await self.send_line(json.dumps(request).encode())

    async def send_line(self, line: bytes) -> Any:
        await self._stream.send(line + b"\n")
        return json.loads(await self._received.receive_until(b"\n", 2**20))

    async def post(self, body: bytes, method: str = "POST") -> tuple[bytes, Any]:
        head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._stream.send(head.encode() + body)
        status = await self._received.receive_until(b"\r\n", 1000)
        headers = await self._received.receive_until(b"\r\n\r\n", 1000)
        length = int(re.search(rb"Content-Length: (\d+)", headers)[1])  # type: ignore[index]  # it must be there
        return status, json.loads(await self._received.receive_exactly(length))


@asynccontextmanager
async def open_control(simulator: WebitelSimulator) -> AsyncGenerator[ControlPort]:
    assert simulator.control_port is not None
    async with await anyio.connect_tcp("127.0.0.1", simulator.control_port) as stream:
        yield ControlPort(stream)


# --- the captures


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def identifiers(frames: list[Frame]) -> list[str]:
    """All identifiers in the order in which they appear, but for a phone's own: the recorded one's was a literal x."""
    known = [{key: value for key, value in frame.items() if key != "variable_sip_call_id"} for frame in frames]
    return list(dict.fromkeys(UUID.findall(json.dumps(known))))


def normalised(frames: list[Frame]) -> list[list[tuple[str, Any]]]:
    """What must be equal: the same keys in the same order, the same values but for identifiers and times."""
    names = {identifier: f"<{number}>" for number, identifier in enumerate(identifiers(frames))}

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return TIME.sub("<time>", UUID.sub(lambda match: names[match[0]], value))
        if isinstance(value, dict):
            return [(key, plain(kept)) for key, kept in value.items()]
        return [plain(kept) for kept in value] if isinstance(value, list) else value

    result = []
    for frame in frames:
        frame = dict(frame)
        if "variable_sip_call_id" in frame:
            assert frame["variable_sip_call_id"].endswith("@loopback")
            frame["variable_sip_call_id"] = "<sip call>"
        if frame.get("Event-Name") in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
            assert frame["variable_billsec"] == billed_seconds(frame)
            frame["variable_billsec"] = "<seconds>"
        result.append(plain(frame))
    return result


def billed_seconds(frame: Frame) -> int:
    answered, ended = int(frame["Caller-Channel-Answered-Time"]), int(frame["Caller-Channel-Hangup-Time"])
    return ended // 10**6 - answered // 10**6 if answered else 0


# How many frames the library sends for a command of a script, where it is not one.
FRAMES_PER_COMMAND = {"connect": 3, "account": 0}


def planned(name: str) -> list[tuple[str, Any, int]]:
    """The script, step by step: ("send", frame) or ("control", verb), and how many frames follow in the capture."""
    capture = read_lines(CAPTURES / f"{name}.frames.jsonl")
    asked = [index for index, line in enumerate(capture) if line["dir"] == "c2s"]
    answers = [
        sum(line["dir"] == "s2c" for line in capture[index:following])
        for index, following in zip(asked, [*asked[1:], len(capture)], strict=True)
    ]
    requests = iter([(capture[index]["frame"], count) for index, count in zip(asked, answers, strict=True)])
    controls = iter(FRAMES_AFTER_CONTROL.get(name, []))
    plan: list[tuple[str, Any, int]] = []
    for step in read_lines(CAPTURES / f"{name}.script.jsonl"):
        if "ctl" in step:
            count = next(controls)
            plan.append(("control", step["ctl"], count))
            last = max(index for index, (kind, _, _) in enumerate(plan) if kind == "send")
            plan[last] = (*plan[last][:2], plan[last][2] - count)
        for _ in range(FRAMES_PER_COMMAND.get(step["cmd"], 1) if "cmd" in step else 0):
            plan.append(("send", *next(requests)))
    assert next(requests, None) is None
    return plan


async def play(name: str, simulator: WebitelSimulator, client: Client) -> None:
    """Do what the script did and compare what came with what the engine sent."""
    expected = [line["frame"] for line in read_lines(CAPTURES / f"{name}.frames.jsonl") if line["dir"] == "s2c"]
    async with open_control(simulator) as control:
        for kind, step, count in planned(name):
            if kind == "send":
                theirs, ours = identifiers(expected[: len(client.frames)]), identifiers(client.frames)
                renamed = dict(zip(theirs, ours, strict=True))
                text = json.dumps(step)
                for identifier, our_identifier in renamed.items():
                    text = text.replace(identifier, our_identifier)
                await client.connection.send(text)
                await client.receive(count)
            else:
                answer = await control.send(step)
                assert "error" not in answer
                await client.receive(count)
                assert await client.nothing_came()
    assert normalised(client.frames) == normalised(expected)


@pytest.mark.parametrize("name", ["01-auth-ok", "03-out-call", "04-incoming", "11-device-dial"])
async def test_a_script_of_the_captures_gives_the_frames_of_the_real_engine(
    simulator: WebitelSimulator, client: Client, name: str
) -> None:
    await play(name, simulator, client)


async def test_capture_02_a_refused_password_is_cut_off_when_its_time_is_over(anyio_backend: str) -> None:
    expected = [line["frame"] for line in read_lines(CAPTURES / "02-auth-fail.frames.jsonl") if line["dir"] == "s2c"]
    async with (
        serve_webitel(options=SimulatorOptions(unauthenticated_seconds=0.5)) as simulator,
        open_client(simulator, anyio_backend) as client,
    ):
        request = read_lines(CAPTURES / "02-auth-fail.frames.jsonl")[1]["frame"]
        began = anyio.current_time()
        await client.connection.send(json.dumps(request))
        assert await client.closed() == 1006
        assert anyio.current_time() - began > 0.4
    assert normalised(client.frames) == normalised(expected)


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


# --- commands


async def test_errors_of_the_switch_and_unknown_commands(client: Client) -> None:
    await client.log_in()
    expected = {
        "no_such_command": ("+ERR", "no_such_command - not found."),
        "hangup": ("-ERR", "-ERR No such channel!\n"),
        "transfer": ("-ERR", "-ERR No such channel!\n"),
        "bridge": ("-ERR", "-ERR Invalid uuid\n"),
        "dtmf": ("-ERR", "-ERR Cannot locate session!\n"),
        "getvar": ("-ERR", "-ERR No such channel!\n"),
        "channel_dump": ("-ERR", "-ERR No such channel!\n"),
        "hold": ("+OK", "+OK Success\n"),
        "unhold": ("+OK", "+OK Success\n"),
        "toggle_hold": ("+OK", "+OK Success\n"),
    }
    for command, (complete, response) in expected.items():
        reply = await client.ask(command, channel_uuid="0-0", uuid="0-0", destination="1", digits="1")
        assert reply == {"exec-uuid": command, "exec-complete": complete, "exec-response": response}
    assert await client.ask("call", user="100@demo.local") == {"exec-uuid": "call", "exec-complete": "-ERR: bad response"}
    reply = await client.ask("call", user="999@demo.local", extension="5")
    assert (reply["exec-complete"], reply["exec-response"]) == ("-ERR", "-ERR SUBSCRIBER_ABSENT\n")


async def call(client: Client, number: str = "0501234567", **arguments: Any) -> str:
    await client.send("call", extension=number, user="100@demo.local", **arguments)
    uuid: str = (await client.until("CHANNEL_CREATE"))["Unique-ID"]
    return uuid


async def test_a_call_is_answered_with_the_cause_when_the_own_leg_fails(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(own_answer_seconds=None)
    own = await call(client)
    await client.send("hangup", channel_uuid=own, cause="USER_BUSY")
    assert (await client.until("call"))["exec-response"] == "-ERR USER_BUSY\n"
    simulator.switchboard.set_registered("100@demo.local", False)
    await client.send("call", extension="1", user="100@demo.local")
    assert (await client.until("call"))["exec-response"] == "-ERR USER_NOT_REGISTERED\n"


async def test_the_far_end_answers_by_itself_unless_it_refuses(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.01, refusals={"0500000000": "USER_BUSY"}, refusal_seconds=0.01)
    own = await call(client)
    await client.until("CHANNEL_BRIDGE")
    await client.ask("hangup", channel_uuid=own)
    await call(client, "0500000000")
    assert (await client.until("CHANNEL_HANGUP"))["variable_hangup_cause"] == "USER_BUSY"


async def test_variables_reach_the_leg_cleaned_and_as_data(client: Client) -> None:
    await client.log_in()
    variables = {"order": "7'7\"", "exec_after": "x", "domain_name": "x"}
    await call(client, variables=variables, auto_answer_param="w_jsclient_auto_answer=true", params=["a=b", "c"])
    frame = client.frames[-1]
    assert frame["variable_webitel_data"] == '\'{"order":"77"}\''
    assert frame["variable_w_jsclient_auto_answer"] == "true"
    own = frame["Unique-ID"]
    assert (await client.ask("getvar", channel_uuid=own, variable="a"))["exec-response"] == "b"
    assert (await client.ask("getvar", channel_uuid=own, variable="exec_after"))["exec-response"] == "_undef_"
    assert (await client.ask("setvar", channel_uuid=own, variable="x", value="y"))["exec-response"] == "+OK\n"
    assert (await client.ask("getvar", channel_uuid=own, variable="x"))["exec-response"] == "y"


async def test_hold_is_refused_when_held_and_toggled(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.0)
    own = await call(client)
    await client.until("CHANNEL_BRIDGE")
    assert (await client.ask("unhold", channel_uuid=own))["exec-complete"] == "-ERR"
    assert (await client.ask("toggle_hold", channel_uuid=own))["exec-response"] == "+OK Success\n"
    reply = await client.ask("hold", channel_uuid=own)
    assert (reply["exec-complete"], reply["exec-response"]) == ("-ERR", "-ERR Operation failed\n")
    await client.ask("toggle_hold", channel_uuid=own)
    assert (await client.until("CHANNEL_CALLSTATE"))["Channel-Call-State"] == "ACTIVE"
    assert [frame["Event-Name"] for frame in client.frames if "HOLD" in frame.get("Event-Name", "")] == [
        "CHANNEL_HOLD",
        "CHANNEL_UNHOLD",
    ]


async def test_a_passed_on_hold_shows_the_call_state_alone(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(far_answer_seconds=0.0, proxy_hold=True)
    await call(client)
    await client.until("CHANNEL_BRIDGE")
    await simulator.hold("0501234567")
    (held,) = await client.receive()
    assert (held["Event-Name"], held["Channel-Call-State"]) == ("CHANNEL_CALLSTATE", "HELD")
    await simulator.unhold("0501234567")
    states = [frame["Channel-Call-State"] for frame in await client.receive(2)]
    assert states == ["UNHELD", "ACTIVE"]
    assert await client.nothing_came()


async def test_channels_are_shown_and_dumped(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    await simulator.incoming("0671112233", "ACME")
    own = (await client.until("CHANNEL_CREATE"))["Unique-ID"]
    await simulator.answer_own()
    await client.until("CHANNEL_ANSWER")
    table = (await client.ask("show_channel"))["exec-response"]
    assert table["row_count"] == len(table["rows"]) == 1
    row = table["rows"][0]
    assert len(row) == 38 and all(isinstance(value, str) for value in row.values())
    assert (row["uuid"], row["presence_id"], row["callstate"]) == (own, "100@demo.local", "ACTIVE")
    dump = json.loads((await client.ask("channel_dump", uuid=own))["exec-response"])
    answered = next(frame for frame in client.frames if frame.get("Event-Name") == "CHANNEL_ANSWER")
    for key in ("Channel-Call-UUID", "Other-Leg-Unique-ID", "Caller-Caller-ID-Name", "Caller-Channel-Answered-Time"):
        assert dump[key] == answered[key]
    assert dump["Other-Type"] == "originator"
    assert dump["variable_webitel_call_uuid"] == answered["variable_w_account_origination_uuid"]


async def test_rows_lag_and_linger_where_asked_for(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    own = await call(client)
    simulator.configure(table_lag_seconds=30.0)
    await client.ask("hangup", channel_uuid=own)
    assert (await client.ask("show_channel"))["exec-response"]["rows"][0]["uuid"] == own
    assert (await client.ask("channel_dump", uuid=own))["exec-complete"] == "-ERR"
    late = await call(client)
    assert [row["uuid"] for row in (await client.ask("show_channel"))["exec-response"]["rows"]] == [own]
    assert (await client.ask("channel_dump", uuid=late))["exec-complete"] == "+OK"


async def test_a_blind_transfer_ends_the_own_leg_after_the_reply_and_rings_the_target(
    simulator: WebitelSimulator, client: Client
) -> None:
    await client.log_in()
    await simulator.incoming("0671112233")
    await simulator.answer_own()
    far = (await client.until("CHANNEL_ANSWER"))["Other-Leg-Unique-ID"]
    await client.send("transfer", channel_uuid=far, destination="102")
    names: list[str] = []
    while names[-1:] != ["ACCOUNT_STATUS 102 ISBUSY"]:
        (frame,) = await client.receive()
        status = f" {frame['Account-User']} {frame['Account-User-State']}" if "Account-User" in frame else ""
        names.append(str(frame.get("Event-Name", frame.get("exec-uuid"))) + status)
    assert names[names.index("transfer") :] == [
        "transfer",
        "CHANNEL_HANGUP",
        "CHANNEL_CALLSTATE",
        "CHANNEL_STATE",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_STATE",
        "CHANNEL_DESTROY",
        "ACCOUNT_STATUS 100 ONHOOK",
        "ACCOUNT_STATUS 102 ISBUSY",
    ]


async def test_only_an_administrator_changes_the_status_of_others(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in("101")
    change = {"user": "102@demo.local", "param": "status", "value": "DND"}
    assert (await client.ask("api account change", **change))["exec-response"] == "Permission denied!"
    await client.send("api account change", param="status", value="DND")
    assert await client.nothing_came()
    async with open_client(simulator, anyio_backend) as administrator:
        await administrator.log_in("200")
        reply = await administrator.ask("api account change", **change)
        assert reply["exec-response"] == {"user": "102", "domain": "demo.local", "state": "ISBUSY", "status": "DND"}
        assert (await client.until("ACCOUNT_STATUS"))["Account-Status"] == "DND"


async def test_replies_can_be_late(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    simulator.configure(reply_delay_seconds=0.05)
    began = anyio.current_time()
    await client.ask("ping")
    assert anyio.current_time() - began >= 0.045


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


def test_the_verbs_are_those_that_the_captures_need() -> None:
    for name in FRAMES_AFTER_CONTROL:
        for step in read_lines(CAPTURES / f"{name}.script.jsonl"):
            assert step.get("ctl", {"do": "list"})["do"] in VERBS


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
    await call(client, "0501112233")
    await client.until("CHANNEL_ANSWER")
    await far_side.answer("0501112233")
    await client.until("CHANNEL_BRIDGE")


async def test_nothing_is_left_when_the_block_is_left(anyio_backend: str) -> None:
    async with anyio.create_task_group() as tasks:
        before = len(tasks_now(anyio_backend))
        async with serve_webitel() as simulator, open_control(simulator):
            async with open_client(simulator, anyio_backend) as client:
                await client.log_in()
                await call(client)
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
