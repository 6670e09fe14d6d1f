"""The simulator, driven by the scripts of the captures through its socket and its control port, says what the engine said."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.control import VERBS
from tests.webitel.raw_client import Client, Frame, open_client, open_control

pytestmark = pytest.mark.anyio

CAPTURES = Path(__file__).parent.parent / "captures" / "webitel"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{16}")
MADE_UP = re.compile(r'("expires":)\d{13}|("token":)"[\w.-]+"')

# How many frames the capture shows after each step of the far side, before anybody does anything else.
FRAMES_AFTER_CONTROL = {
    "01-auth-ok": [],
    "03-out-call": [1, 2, 3, 0, 0],
    "04-incoming": [6, 3, 1],
    "07-att-xfer-confirm": [6, 3, 1, 0],
    "08-att-xfer-cancel": [6, 3, 1],
    "09-blind-xfer": [6, 3, 0],
    "11-device-dial": [6, 3, 8],
    "13-cc-events": [1, 0, 1, 2, 0, 1, 1, 1],
    "14-reconnect": [6, 0, 0, 7, 0],
    "15-webrtc": [6, 3],
}

# How many frames the library sends for a command of a script, where it is not one.
FRAMES_PER_COMMAND = {"connect": 3, "account": 0}
# With the web phone the library goes through Verto, and asks the engine for a fresh picture after a hold.
FRAMES_PER_COMMAND_WITH_VERTO = {**FRAMES_PER_COMMAND, "answer": 0, "hold": 0, "call": 0}

# Those that tell how long a leg was billed for.
AT_THE_END = ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY")

Plan = list[tuple[str, Any, int]]


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def captured(name: str, direction: str = "s2c") -> list[Frame]:
    return [line["frame"] for line in read_lines(CAPTURES / f"{name}.frames.jsonl") if line["dir"] == direction]


def identifiers(frames: list[Frame]) -> list[str]:
    """All identifiers in the order in which they appear, but for a phone's own: the recorded one's was a literal x."""
    known = [{key: value for key, value in frame.items() if key != "variable_sip_call_id"} for frame in frames]
    return list(dict.fromkeys(UUID.findall(json.dumps(known))))


def normalised(frames: list[Frame]) -> list[list[tuple[str, Any]]]:
    """What must be equal: the same keys in the same order, the same values but for identifiers and times."""
    names = {identifier: f"<{number}>" for number, identifier in enumerate(identifiers(frames))}

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            renamed = UUID.sub(lambda match: names.get(match[0], "<phone's>"), value)
            return MADE_UP.sub(r"\1\2<made up>", TIME.sub("<time>", renamed))
        if isinstance(value, dict):
            return [(key, plain(kept)) for key, kept in value.items()]
        return [plain(kept) for kept in value] if isinstance(value, list) else value

    result = []
    for frame in frames:
        frame = dict(frame)
        if "variable_sip_call_id" in frame:
            assert frame["variable_sip_call_id"].endswith("@loopback")
            frame["variable_sip_call_id"] = "<sip call>"
        if frame.get("Event-Name") in AT_THE_END:
            frame["variable_billsec"] = "<seconds>"
        result.append(plain(frame))
    return result


def check_billing(frames: list[Frame]) -> None:
    """The switch counts seconds of the clock, as FreeSWITCH does; the captures were made with a switch that rounded."""
    for frame in frames:
        if frame.get("Event-Name") in AT_THE_END:
            answered, ended = int(frame["Caller-Channel-Answered-Time"]), int(frame["Caller-Channel-Hangup-Time"])
            assert frame["variable_billsec"] == (ended // 10**6 - answered // 10**6 if answered else 0)


def planned(name: str) -> Plan:
    """The script, step by step: ("send", frame), ("control", verb) or ("reconnect", None); and how many frames follow."""
    capture = [line for line in read_lines(CAPTURES / f"{name}.frames.jsonl") if line["dir"] in ("c2s", "s2c")]
    asked = [index for index, line in enumerate(capture) if line["dir"] == "c2s"]
    answers = [following - index - 1 for index, following in zip(asked, [*asked[1:], len(capture)], strict=True)]
    requests = iter([(capture[index]["frame"], count) for index, count in zip(asked, answers, strict=True)])
    controls = iter(FRAMES_AFTER_CONTROL[name])
    frames_per_command = FRAMES_PER_COMMAND_WITH_VERTO if name == "15-webrtc" else FRAMES_PER_COMMAND
    plan: Plan = []
    for step in read_lines(CAPTURES / f"{name}.script.jsonl"):
        sent = frames_per_command.get(step["cmd"], 1) if "cmd" in step else 0
        if "ctl" in step:
            count = next(controls)
            plan.append(("control", step["ctl"], count))
            last = max(index for index, (kind, _, _) in enumerate(plan) if kind == "send")
            plan[last] = (*plan[last][:2], plan[last][2] - count)
        elif step.get("wait") == "onReady" and step.get("next"):
            plan.append(("reconnect", None, 0))
            sent = FRAMES_PER_COMMAND["connect"]
        for _ in range(sent):
            plan.append(("send", *next(requests)))
    assert next(requests, None) is None and next(controls, None) is None
    return plan


async def play(name: str, simulator: WebitelSimulator, backend: str) -> list[Frame]:
    """Do what the script did; give what came."""
    expected, frames = captured(name), list[Frame]()
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(open_control(simulator))
        client = await stack.enter_async_context(open_client(simulator, backend))
        client.frames = frames
        for kind, step, count in planned(name):
            if kind == "send":
                theirs, ours = identifiers(expected[: len(frames)]), identifiers(frames)
                renamed = dict(zip(theirs, ours, strict=True))
                text = UUID.sub(lambda match, renamed=renamed: renamed.get(match[0], match[0]), json.dumps(step))  # type: ignore[misc]  # mypy takes no default here
                await client.connection.send(text)
                await client.receive(count)
            elif kind == "control":
                assert "error" not in await control.send(step)
                await client.receive(count)
                if step["do"] != "console":
                    assert await client.nothing_came()
            else:
                assert await client.closed() == 1006
                client = await stack.enter_async_context(open_client(simulator, backend))
                client.frames = frames
    return frames


@pytest.mark.parametrize("name", FRAMES_AFTER_CONTROL)
async def test_a_script_of_the_captures_gives_the_frames_of_the_real_engine(name: str, anyio_backend_name: str) -> None:
    async with serve_webitel() as simulator:
        frames = await play(name, simulator, anyio_backend_name)
    check_billing(frames)
    assert normalised(frames) == normalised(captured(name))


async def test_capture_02_a_refused_password_is_cut_off_when_its_time_is_over(anyio_backend_name: str) -> None:
    async with (
        serve_webitel(options=SimulatorOptions(unauthenticated_seconds=0.5)) as simulator,
        open_client(simulator, anyio_backend_name) as client,
    ):
        (request,) = captured("02-auth-fail", "c2s")
        began = anyio.current_time()
        await client.connection.send(json.dumps(request))
        assert await client.closed() == 1006
        assert anyio.current_time() - began > 0.4
    assert normalised(client.frames) == normalised(captured("02-auth-fail"))


def test_the_verbs_are_those_that_the_captures_need() -> None:
    for path in CAPTURES.glob("*.script.jsonl"):
        for step in read_lines(path):
            assert step.get("ctl", {"do": "list"})["do"] in VERBS


# --- many commands at once


BY_THE_SWITCH = ("hangup", "call", "getvar", "show_channel", "cc login", "cc logout", "chat_send")


async def test_capture_12_every_command_is_answered_as_the_engine_did_and_the_switch_answers_last(
    anyio_backend_name: str,
) -> None:
    """No order is promised between replies, nor between replies and events (facts: webitel-protocol 2)."""
    requests, expected = captured("12-errors", "c2s"), captured("12-errors")
    async with (
        serve_webitel(options=SimulatorOptions(switch_seconds=0.05)) as simulator,
        open_client(simulator, anyio_backend_name) as client,
    ):
        for request in requests[:3]:
            await client.connection.send(json.dumps(request))
        await client.receive(4)
        for request in requests[3:]:
            await client.connection.send(json.dumps(request))
        await client.receive(len(expected) - 4)
        assert await client.nothing_came()
    assert replies_and_events(client.frames, requests) == replies_and_events(expected, requests)
    answered = [frame["exec-uuid"] for frame in client.frames if "exec-uuid" in frame]
    by_switch = [
        request["exec-uuid"]
        for request in requests
        # A call without a number does not get as far as the switch.
        if request["exec-func"] in BY_THE_SWITCH and (request["exec-func"], request.get("exec-args")) not in REFUSED_BEFORE
    ]
    assert set(answered[-len(by_switch) :]) == set(by_switch)
    assert [request["exec-func"] for request in requests if request["exec-uuid"] not in answered] == ["broadcast"]


REFUSED_BEFORE = [("call", {"user": "100@demo.local"}), ("chat_send", {})]


def replies_and_events(frames: list[Frame], requests: list[Frame]) -> Any:
    """The replies in the order of the requests, then the events in theirs."""
    by_id = {frame["exec-uuid"]: frame for frame in frames if "exec-uuid" in frame}
    replies = [by_id[request["exec-uuid"]] for request in requests if request.get("exec-uuid") in by_id]
    return normalised([*replies, *(frame for frame in frames if "exec-uuid" not in frame)])


# --- several connections, root, another domain, rubbish

# The lines of the capture before which a call came in to account 100, and its leg there, where somebody names it.
FAR_SIDE_CALLS = {
    9: "08a25ed8-5516-4ecc-b323-68f37b31d07b",
    43: "nobody's",
    47: "db11aad9-2e3b-43d3-846f-d1526df5b204",
    77: "nobody's",
}
FAR_SIDE_RESETS = 47
# The captured directory took some time to announce a change of a status: root came in between, and heard of it.
STATUS_IS_CHANGED = 93
ROOT_COMES = slice(97, 99)
CUT_AT_ONCE = ("m10", "m11")
NOT_IN_THE_CAPTURE = "big"
# The directory behind the captured engine was a stand-in that knew no empty name.
OTHER_TEXTS = {"-ERR not implemented in stub\n": "-ERR user not found!\n"}


class Probe:
    """The dialogue of capture 20, connection by connection."""

    def __init__(self, simulator: WebitelSimulator) -> None:
        self.simulator = simulator
        self.clients: dict[str, Client] = {}
        self.renamed: dict[str, str] = {}

    async def step(self, number: int, line: dict[str, Any]) -> None:
        client, frame = self.clients[line["conn"]], line["frame"]
        self.far_side(number)
        if line["dir"] == "c2s":
            await client.connection.send(frame if isinstance(frame, str) else self.with_our_names(json.dumps(frame)))
            if line["conn"] not in CUT_AT_ONCE:
                await client.seen()
        elif isinstance(frame.get("exec-response"), str) and '"token"' in frame["exec-response"]:
            theirs, ours = (json.loads(reply["exec-response"]) for reply in (frame, client.frames[-1]))
            self.renamed.update({theirs[key]: ours[key] for key in ("key", "token")})

    def far_side(self, number: int) -> None:
        """What somebody did to the switch meanwhile; only what came of it is in the capture."""
        if number == FAR_SIDE_RESETS:
            self.simulator.control({"do": "reset"})
        if number in FAR_SIDE_CALLS:
            leg = self.simulator.control({"do": "incoming", "from": "0670001122", "to": "100@demo.local"})["b"]
            self.renamed[FAR_SIDE_CALLS[number]] = leg

    def with_our_names(self, text: str) -> str:
        for theirs, ours in self.renamed.items():
            text = text.replace(theirs, ours)
        return text


async def test_capture_20_several_connections_root_another_domain_and_rubbish(anyio_backend_name: str) -> None:
    lines = read_lines(CAPTURES / "20-raw-probe.frames.jsonl")
    lines = [line for line in lines if line["conn"] != NOT_IN_THE_CAPTURE]
    assert [line["conn"] for line in lines[ROOT_COMES]] == ["root", "root"]
    lines[STATUS_IS_CHANGED:STATUS_IS_CHANGED] = lines[ROOT_COMES]
    del lines[ROOT_COMES.start + 2 : ROOT_COMES.stop + 2]
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(serve_webitel(options=SimulatorOptions(unauthenticated_seconds=1.5)))
        simulator.switchboard.add_account("100", "other.local", password="100")
        probe = Probe(simulator)
        for number, line in enumerate(lines):
            if line["dir"] == "open":
                probe.clients[line["conn"]] = await stack.enter_async_context(open_client(simulator, anyio_backend_name))
            elif line["dir"] != "close":
                await probe.step(number, line)
            elif line["frame"]["code"] == 1005:
                await probe.clients[line["conn"]].seen()
                await probe.clients[line["conn"]].close()
                if line["conn"] == "s1":
                    await probe.clients["mate"].until("ACCOUNT_OFFLINE")
        closes = {line["conn"]: line["frame"]["code"] for line in lines if line["dir"] == "close"}
        for name, client in probe.clients.items():
            if name not in closes:
                await client.seen()
            elif closes[name] == 1006:
                assert await client.closed() == 1006
    for name, client in probe.clients.items():
        expected = [as_of_our_directory(line["frame"]) for line in lines if line["conn"] == name and line["dir"] == "s2c"]
        sent = [line["frame"] for line in lines if line["conn"] == name and line["dir"] == "c2s"]
        requests = [request for request in sent if isinstance(request, dict)]
        assert replies_and_events(client.frames, requests) == replies_and_events(expected, requests), name
        assert len(client.frames) == len(expected), name


def as_of_our_directory(frame: Frame) -> Frame:
    text = json.dumps(frame)
    for theirs, ours in OTHER_TEXTS.items():
        text = text.replace(json.dumps(theirs), json.dumps(ours))
    changed: Frame = json.loads(text)
    return changed
