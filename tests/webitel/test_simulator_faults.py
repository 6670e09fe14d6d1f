"""What can be wrong with the simulated engine and its network, on demand and while it runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from cti_framework.switchboard import SwitchEvent, SwitchEventName
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, engine, serve_webitel, websocket
from cti_webitel.simulator.sessions import Session
from tests.webitel.raw_client import Client, open_client, open_control

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
CALLER = "0671112233"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in()
        yield opened


# --- replies


async def test_replies_can_be_late(simulator: WebitelSimulator, client: Client) -> None:
    simulator.configure(reply_delay_seconds=0.05)
    began = anyio.current_time()
    await client.ask("ping")
    assert anyio.current_time() - began >= 0.045


async def test_replies_of_single_commands_are_overtaken(simulator: WebitelSimulator, client: Client) -> None:
    simulator.configure(reply_delay_seconds_by_command={"api whoami": 0.1, "show_channel": 0.05})
    for command in ("api whoami", "show_channel", "ping"):
        await client.send(command)
    assert [frame["exec-uuid"] for frame in await client.receive(3)] == ["ping", "show_channel", "api whoami"]


async def test_a_lost_reply_is_of_a_command_that_was_carried_out(simulator: WebitelSimulator, client: Client) -> None:
    simulator.configure(lost_replies=["call", "hangup", "no_such_command"])
    own = await client.call()
    await client.until("CHANNEL_ANSWER")
    await client.send("no_such_command")
    await client.send("hangup", channel_uuid=own)
    await client.until("CHANNEL_DESTROY")
    await client.until("ACCOUNT_STATUS")
    assert await client.nothing_came()
    assert {frame.get("exec-uuid") for frame in client.frames} == {"auth", "login", None}
    simulator.configure(lost_replies=[])
    assert await client.answer("hangup", channel_uuid=own) == ("-ERR", "-ERR No such channel!\n")


async def test_the_switch_takes_its_time_and_the_engine_answers_others_meanwhile(
    simulator: WebitelSimulator, client: Client
) -> None:
    ids = simulator.control({"do": "incoming", "from": CALLER, "to": OWN})
    simulator.control({"do": "answer", "uuid": ids["b"]})
    await client.seen()
    client.frames.clear()
    simulator.configure(switch_seconds=0.05)
    await client.send("hold", channel_uuid=ids["b"])
    await client.send("call", user=OWN)
    await client.send("ping")
    names = [frame.get("exec-uuid") or frame["Event-Name"] for frame in await client.receive(5)]
    assert names == ["call", "ping", "CHANNEL_CALLSTATE", "CHANNEL_HOLD", "hold"]
    # What became impossible meanwhile is refused when the switch gets to it.
    await client.send("unhold", channel_uuid=ids["b"])
    await client.send("hangup", channel_uuid=ids["b"])
    await client.send("bridge", channel_uuid_A=ids["a"], channel_uuid_B=ids["b"])
    await client.until("unhold")
    assert (await client.until("bridge"))["exec-response"] == "-ERR Invalid uuid\n"


# --- an engine that says nothing


async def test_a_silent_engine_carries_out_and_says_nothing(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    simulator.configure(silent=True)
    own, other_own = (simulator.control({"do": "incoming", "from": CALLER, "to": OWN})["b"] for _ in range(2))
    ended = {own: anyio.Event(), other_own: anyio.Event()}

    def watch(event: SwitchEvent) -> None:
        if event.leg is not None and event.leg.uuid in ended and event.name is SwitchEventName.CHANNEL_DESTROY:
            ended[event.leg.uuid].set()

    simulator.switchboard.subscribe(watch)
    async with open_client(simulator, anyio_backend) as other:
        await client.send("hangup", channel_uuid=own)
        await other.send("auth", account="101@demo.local", secret="101")
        await other.send("hangup", channel_uuid=other_own)
        # What it does is the only sign of it.
        with anyio.fail_after(5):
            for leg_ended in ended.values():
                await leg_ended.wait()
        assert "101@demo.local" in simulator.engine.online
        simulator.configure(silent=False)
        # What was not said is never said.
        for socket in (client, other):
            assert await socket.nothing_came()
    assert (await client.until("ACCOUNT_OFFLINE"))["User-ID"] == "101"


# --- a network that lost both sides


async def test_a_half_open_network_carries_nothing_and_ends_nothing(simulator: WebitelSimulator, client: Client) -> None:
    async with open_control(simulator) as control:
        assert (await control.send({"do": "opts", "set": {"halfOpen": True}}))["opts"]["half_open"] is True
        ids = simulator.control({"do": "incoming", "from": CALLER, "to": OWN})
        await client.send("hangup", channel_uuid=ids["b"])
        with anyio.move_on_after(0.1) as waited:
            await client.receive()
        assert waited.cancelled_caught and client.connection.close_code is None
        assert len(simulator.engine.sessions) == 1 and len(simulator.switchboard.legs) == 2
        await control.send({"do": "opts", "set": {"halfOpen": False}})
    await client.until("CHANNEL_CREATE")
    await client.until("CHANNEL_DESTROY")
    await client.until("hangup")


async def test_on_a_half_open_network_the_engine_does_not_notice_who_leaves_nor_can_it_cut(
    simulator: WebitelSimulator, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LAST_WORDS_SECONDS", 0.05)
    simulator.configure(unauthenticated_seconds=0.05)
    async with open_client(simulator, anyio_backend) as watcher, open_client(simulator, anyio_backend) as stranger:
        await watcher.log_in("101")
        async with await anyio.connect_tcp("127.0.0.1", simulator.port) as stream:
            await stream.send(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            assert (await stream.receive()).startswith(b"HTTP/1.1 101 ")
            simulator.configure(half_open=True)
        assert len(simulator.engine.sessions) == 3
        with anyio.move_on_after(0.2) as waited:
            await stranger.receive()
        assert waited.cancelled_caught and stranger.connection.close_code is None
        both_left = leaving(simulator, 2)
        simulator.configure(half_open=False)
        assert await stranger.closed() == 1006
        assert [frame["Event-Name"] for frame in stranger.frames] == ["DISCONNECT"]
        with anyio.fail_after(5):
            await both_left.wait()
        assert len(simulator.engine.sessions) == 1


def leaving(simulator: WebitelSimulator, count: int) -> anyio.Event:
    """What is set when so many sockets are gone."""
    gone, left = anyio.Event(), list[Session]()
    disconnect = simulator.engine.disconnect

    def noted(session: Session) -> None:
        disconnect(session)
        left.append(session)
        if len(left) == count:
            gone.set()

    vars(simulator.engine).update(disconnect=noted)
    return gone


async def test_a_half_open_network_greets_nobody_until_it_is_over(
    simulator: WebitelSimulator, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "_HANDSHAKE_SECONDS", 0.05)
    simulator.configure(half_open=True)
    greeted = anyio.Event()

    async def knock() -> None:
        async with open_client(simulator, anyio_backend) as client:
            greeted.set()
            await client.log_in()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(knock)
        with anyio.move_on_after(0.1):
            await greeted.wait()
        assert not greeted.is_set()
        simulator.configure(half_open=False)


async def test_a_half_open_network_can_be_cut_for_good(simulator: WebitelSimulator, client: Client) -> None:
    simulator.configure(half_open=True)
    await simulator.drop_network()
    assert await client.closed() == 1006


# --- options


async def test_accounts_can_be_limited(simulator: WebitelSimulator, client: Client, anyio_backend: str) -> None:
    simulator.configure(accounts_online=1)
    async with open_client(simulator, anyio_backend) as same, open_client(simulator, anyio_backend) as root:
        assert (await same.ask("auth", account=OWN, secret="100"))["exec-complete"] == "+OK"
        assert (await root.ask("auth", account="root", secret="rootpass"))["exec-complete"] == "+OK"
        async with open_client(simulator, anyio_backend) as other:
            reply = await other.ask("auth", account="101@demo.local", secret="101")
            assert (reply["exec-complete"], reply["exec-response"]) == ("-ERR", "Maximum license connections")
            assert await other.closed() == 1006


@pytest.mark.parametrize(
    "options",
    [
        {"lost_replies": "call"},
        {"lost_replies": [1]},
        {"reply_delay_seconds_by_command": {"call": None}},
        {"reply_delay_seconds_by_command": {"call": True}},
        {"reply_delay_seconds_by_command": 3},
        {"silent": 1},
        {"half_open": "yes"},
        {"accounts_online": -1},
        {"switch_seconds": -0.1},
        {"root_password": 5},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        SimulatorOptions(**options)


async def test_every_option_is_told_but_the_secret_ones(simulator: WebitelSimulator) -> None:
    told = simulator.control({"do": "opts"})["opts"]
    assert {"lost_replies", "silent", "half_open", "switch_seconds", "agent_logout_seconds"} <= set(told)
    assert "root_password" not in told and "rootpass" not in repr(simulator.options)
    json.dumps(told)
    assert "error" in simulator.control({"do": "opts", "set": {"root_password": 5}})
