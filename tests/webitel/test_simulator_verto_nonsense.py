"""The simulated Verto server and clients that say anything: it answers, and keeps no call that the switch has not."""

from __future__ import annotations

import json
import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_framework.switchboard import SwitchError
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.verto.clients import Client
from tests.webitel.verto_captures import lines

pytestmark = pytest.mark.anyio

CALLS = ("one", "two", "three")
METHODS = (
    *("login", "verto.invite", "verto.answer", "verto.attach", "verto.bye", "verto.modify", "verto.info", "verto.ping"),
    *("verto.subscribe", "verto.unsubscribe", "verto.broadcast", "echo", "fsapi", "jsapi", "nothing.of.the.kind"),
)
NAMES = (
    *("action", "destination", "replaceCallID", "dtmf", "msg", "eventChannel", "data", "cause", "causeCode", "localBroadcast"),
    *("echoParams", "login", "passwd", "sessid", "cmd", "arg", "command", "userVariables", "sdp"),
)
ACTIONS = ("hold", "unhold", "toggleHold", "transfer", "replace", "updateMedia", "mute")
DESCRIPTIONS = tuple(
    line.frame["params"]["sdp"]
    for line in lines("05_call_alice_bob")
    if line.direction == "c2s" and "sdp" in line.frame.get("params", {})
)
VALUES: tuple[Any, ...] = (
    *(None, True, 1, -1, 1.5, 10**30, "", "x", "\ud800", [], {}, [1], {"to": "x", "body": "y"}),
    *("9196", "103", "104", "0501234567", "demo", *ACTIONS, *CALLS, *DESCRIPTIONS),
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Nonsense:
    """Somebody who says anything, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self) -> str:
        one = self._request()
        return json.dumps(one if self._random.random() < 0.9 else [one, self._value(), self._request()])

    def chosen(self, values: Any) -> Any:
        return self._random.choice(list(values))

    def _value(self) -> Any:
        return self._random.choice(VALUES)

    def _request(self) -> Any:
        params = {name: self._value() for name in self._random.sample(NAMES, self._random.randint(0, 6))}
        if self._random.random() < 0.6:
            params |= {"sdp": self.chosen(DESCRIPTIONS), "action": self.chosen(ACTIONS)}
        sane = {
            "callID": self.chosen(CALLS),
            "destination_number": self.chosen(("9196", "103", "104", "0501234567")),
            "caller_id_name": self._value(),
            "recoverCall": self._value(),
        }
        params["dialogParams"] = sane if self._random.random() < 0.8 else self._value()
        return {
            "jsonrpc": self.chosen(["2.0"] * 9 + [2]),
            "id": self._value(),
            "method": self.chosen(METHODS),
            "params": params if self._random.random() < 0.9 else self._value(),
        }


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_said_is_survived(seed: int) -> None:
    options = SimulatorOptions(far_answer_seconds=0.01, verto_queue_seconds=0.0)
    async with serve_webitel(verto_port=0, control_port=None, options=options) as simulator:
        nonsense, server = Nonsense(seed), simulator.verto
        clients = [await logged_in(simulator, number) for number in ("103", "104", "200")]
        most_dialogs = 0
        for turn in range(600):
            client = nonsense.chosen(clients)
            if not client.is_closing and not client.terminated:
                server.receive(client, nonsense.message())
            if turn % 10 == 0:
                await anyio.lowlevel.checkpoint()
                act_at_random(simulator, nonsense)
            most_dialogs = max(most_dialogs, len(server.dialogs))
        assert most_dialogs > 1, "nobody called anybody"
        for leg in simulator.switchboard.legs:
            if leg in simulator.switchboard.legs:
                simulator.switchboard.hang_up(leg.uuid)
        assert not simulator.switchboard.legs
        assert not server.dialogs
        assert not any(session.dialogs for session in server.sessions.values())
        last = await logged_in(simulator, "103", "another")
        assert '"message":"PONG"' in said(simulator, last, {"method": "verto.ping"})


def act_at_random(simulator: WebitelSimulator, nonsense: Nonsense) -> None:
    switchboard = simulator.switchboard
    if switchboard.legs:
        verb = nonsense.chosen((switchboard.answer, switchboard.hang_up, switchboard.hold, switchboard.unhold))
        try:
            verb(nonsense.chosen(switchboard.legs).uuid)
        except SwitchError:
            return


async def logged_in(simulator: WebitelSimulator, number: str, session_id: str = "") -> Client:
    client = simulator.verto.connect("127.0.0.1")
    params = {"login": number, "passwd": number, "sessid": session_id or number}
    assert "logged in" in said(simulator, client, {"method": "login", "params": params})
    return client


def said(simulator: WebitelSimulator, client: Client, request: dict[str, Any]) -> str:
    """Ask, and give what is queued as the answer."""
    simulator.verto.receive(client, json.dumps({"jsonrpc": "2.0", "id": 1, **request}))
    answer = client.take()
    assert answer is not None
    return answer.decode()
