"""The simulated engine's sockets, on which frames are lost, late, doubled or out of order: by script, seed and control port."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from cti_framework.switchboard import SwitchEvent, SwitchEventName
from cti_framework.testing import (
    DropLink,
    DuplicateEvents,
    FaultScript,
    HalfOpen,
    LoseReplies,
    ReorderEvents,
    random_switch_faults,
)
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.sessions import Session
from tests.webitel.raw_client import Client, open_client, open_control

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
CALLER = "0671112233"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel(options=SimulatorOptions(far_answer_seconds=None)) as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in()
        yield opened


async def names_of_an_incoming_call(simulator: WebitelSimulator, client: Client) -> list[str]:
    simulator.control({"do": "incoming", "from": CALLER, "to": OWN})
    return [frame["Event-Name"] for frame in await client.seen()]


async def test_events_come_twice_and_replies_do_not(simulator: WebitelSimulator, client: Client) -> None:
    as_ever = await names_of_an_incoming_call(simulator, client)
    # By the second call he is busy already.
    as_ever.remove("ACCOUNT_STATUS")
    simulator.faults.apply(DuplicateEvents(messages=100))
    assert await names_of_an_incoming_call(simulator, client) == [name for name in as_ever for _ in range(2)]
    assert await client.nothing_came()


async def test_what_concerns_different_calls_changes_places(simulator: WebitelSimulator, client: Client) -> None:
    first = simulator.control({"do": "incoming", "from": CALLER, "to": OWN})["b"]
    second = simulator.control({"do": "incoming", "from": "0672", "to": OWN})["b"]
    for leg in (first, second):
        simulator.control({"do": "answer", "uuid": leg})
    await client.seen()
    simulator.faults.apply(ReorderEvents(messages=1, seconds=60.0))
    simulator.control({"do": "dtmf", "uuid": first, "digits": "1"})
    simulator.control({"do": "dtmf", "uuid": second, "digits": "2"})
    assert [frame["DTMF-Digit"] for frame in await client.seen()] == ["2", "1"]


async def test_a_reply_is_lost_and_its_command_carried_out(simulator: WebitelSimulator, client: Client) -> None:
    simulator.faults.apply(LoseReplies())
    own = simulator.control({"do": "incoming", "from": CALLER, "to": OWN})["b"]
    await client.send("hangup", channel_uuid=own)
    await client.until("CHANNEL_DESTROY")
    assert "hangup" not in [frame.get("exec-uuid") for frame in await client.seen()]
    assert simulator.switchboard.legs_of(OWN) == ()


async def test_a_dropped_socket_ends_without_a_goodbye(simulator: WebitelSimulator, client: Client) -> None:
    simulator.faults.apply(DropLink())
    with anyio.fail_after(10):
        assert await client.closed() == 1006
    assert simulator.faults.links == ()


async def test_a_half_open_socket_carries_nothing_and_the_next_one_does(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    simulator.faults.apply(HalfOpen())
    swallowed = anyio.Event()
    simulator.faults.on_hit = lambda hit: swallowed.set()
    await client.send("ping")
    with anyio.fail_after(10):
        await swallowed.wait()
    assert simulator.engine.online[OWN].sessions != []
    async with open_client(simulator, anyio_backend) as other:
        await other.log_in()
        assert await other.answer("ping") == ("+OK", "pong")
    assert [frame.get("exec-uuid") for frame in client.frames].count("ping") == 0


async def test_a_socket_that_is_gone_leaves_no_link(simulator: WebitelSimulator, client: Client) -> None:
    gone = anyio.Event()
    disconnect = simulator.engine.disconnect

    def leave(session: Session) -> None:
        disconnect(session)
        gone.set()

    vars(simulator.engine)["disconnect"] = leave
    await client.close()
    with anyio.fail_after(10):
        await gone.wait()
    assert simulator.faults.links == ()


# --- the control port


async def test_the_control_port_plays_a_script_and_shows_what_it_did(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    async with open_control(simulator) as port:
        script = "1 reply 1 lost_reply messages=1\n1 event 1 duplicate messages=1\n"
        answer = await port.send({"do": "faults", "script": script})
        assert (answer["ok"], answer["links"], FaultScript.parse(answer["script"])) == (True, 1, FaultScript.parse(script))
        await client.send("ping", exec_uuid="lost")
        simulator.control({"do": "status", "account": "100", "set": {"status": "ONBREAK"}})
        assert [frame.get("Event-Name") for frame in await client.seen()] == ["ACCOUNT_STATUS"] * 2
        answer = await port.send({"do": "faults"})
        assert answer["log"] == "link 1 event 1 duplicate messages=1\nlink 1 reply 1 lost_reply messages=1\n"
        await port.send({"do": "faults", "apply": "delay messages=9 seconds=3600"})
        delayed = anyio.Event()
        simulator.faults.on_hit = lambda hit: delayed.set()
        await client.send("ping", exec_uuid="late")
        with anyio.fail_after(10):
            await delayed.wait()
        answer = await port.send({"do": "faults", "heal": True})
        assert answer["script"] == str(FaultScript())
        with anyio.fail_after(10):
            assert (await client.until("late"))["exec-complete"] == "+OK"


async def test_the_control_port_draws_a_script_from_a_seed(simulator: WebitelSimulator) -> None:
    answer = simulator.control({"do": "faults", "seed": 7})
    assert answer == {"ok": True, "script": str(random_switch_faults(7)), "log": "seed 7\n", "links": 0}


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"script": "1 event 5 explode"}, "line 1 of the script"),
        ({"script": 5}, "takes a text"),
        ({"seed": "seven"}, "takes a whole number"),
        ({"seed": True}, "takes a whole number"),
        ({"seed": 1, "script": ""}, "not both"),
        ({"apply": "explode"}, "no fault of a link"),
        ({"do_it": 1}, "it takes script, seed, apply and heal, not do_it"),
    ],
)
async def test_what_cannot_be_is_said(simulator: WebitelSimulator, request_: dict[str, object], problem: str) -> None:
    script = FaultScript.parse("9 event 1 drop")
    simulator.faults.play(script)
    assert problem in simulator.control({"do": "faults", **request_})["error"]
    assert simulator.faults.script == script


async def test_the_same_script_and_traffic_give_the_same_log(anyio_backend: str) -> None:
    logs = []
    for _ in range(2):
        async with serve_webitel(options=SimulatorOptions(far_answer_seconds=None)) as simulator:
            simulator.faults.play(
                random_switch_faults(5, links=1, within_messages=8, longest_seconds=0.01, kinds=[DuplicateEvents])
            )
            async with open_client(simulator, anyio_backend) as client:
                await client.log_in()
                ended = anyio.Event()

                def watch(event: SwitchEvent, ended: anyio.Event = ended) -> None:
                    if event.name is SwitchEventName.CHANNEL_DESTROY and event.leg is not None and event.leg.presence == OWN:
                        ended.set()

                simulator.switchboard.subscribe(watch)
                own = await client.call()
                await client.until("CHANNEL_ANSWER")
                await client.send("hangup", channel_uuid=own)
                with anyio.fail_after(10):
                    await ended.wait()
                await client.seen()
            logs.append(str(simulator.faults.log))
    assert logs[0].startswith("seed 5\nlink 1 event ")
    assert logs[0].encode() == logs[1].encode()
