"""The simulator's call centre: one queue, its agents, a caller who is offered to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cti_framework.switchboard import SwitchError
from cti_webitel.simulator import WebitelSimulator, serve_webitel
from cti_webitel.simulator.subscriptions import CENTRE_EVENTS
from tests.webitel.raw_client import Client, Frame, open_client

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
MATE = "101@demo.local"
SUPPORT = "support@demo.local"
CALLER = "0671112233"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def agent(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    """Account 100, subscribed to everything that the call centre says."""
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in()
        for event in sorted(CENTRE_EVENTS):
            await opened.ask("subscribe", event=event, all=True)
        opened.frames.clear()
        yield opened


def incoming(simulator: WebitelSimulator, **more: Any) -> dict[str, Any]:
    return simulator.control({"do": "incoming", "from": CALLER, "to": SUPPORT, "name": "ACME", **more})


def told(frames: list[Frame]) -> list[str]:
    """What the call centre said, with the detail that matters."""
    details = ("CC-Agent-State", "CC-Agent-Status", "CC-Count", "CC-Hangup-Cause", "CC-Cause")
    return [
        " ".join([frame["CC-Action"], *(frame[key] for key in details if key in frame)])
        for frame in frames
        if frame.get("webitel-event-name") == "server"
    ]


def states(frames: list[Frame], number: str = "100") -> list[str]:
    """The agent states that the account's status events carried."""
    mine = [frame["Account-Agent-State"] for frame in frames if frame.get("Account-User") == number]
    return [state for state, former in zip(mine, [None, *mine], strict=False) if state != former]


# --- logging in


async def test_an_agent_logs_in_and_out_and_is_not_asked_twice(simulator: WebitelSimulator, agent: Client) -> None:
    assert await agent.answer("cc login") == ("+OK", "+OK\n")
    assert told(agent.frames) == ["agent-status-change Available"]
    status = next(frame for frame in agent.frames if frame.get("Event-Name") == "ACCOUNT_STATUS")
    assert [status[key] for key in ("Account-Agent-Status", "cc_logged", "cc")] == ["Available", True, True]
    agent.frames.clear()
    # The engine knows that already and does not ask the switch.
    assert await agent.answer("cc login", status="Available (On Demand)") == ("+OK", "+OK")
    assert await agent.nothing_came()
    assert simulator.switchboard.account(OWN).agent_status == "Available"
    for _ in range(2):
        assert await agent.answer("cc logout") == ("+OK", "+OK\n")
    assert told(agent.frames) == ["agent-status-change Logged Out"] * 2
    assert await agent.answer("cc login", status="available (on demand)") == ("+OK", "+OK\n")
    assert simulator.switchboard.account(OWN).agent_status == "Available (On Demand)"


async def test_errors_of_the_call_centre_hide_in_success(simulator: WebitelSimulator, agent: Client) -> None:
    assert await agent.answer("cc login", status="Sleeping") == ("+OK", "-ERR: -ERR Invalid Agent Status!\n")
    simulator.switchboard.remove_account(OWN)
    assert await agent.answer("cc logout") == ("+OK", "-ERR: -ERR Agent not found!\n")


async def test_places_in_queues_are_those_of_the_engines_start(
    simulator: WebitelSimulator, agent: Client, anyio_backend: str
) -> None:
    simulator.engine.centre.add_tier("sales@demo.local", OWN)
    place = {"queue": SUPPORT, "agent": OWN, "state": "Ready", "level": "1", "position": "1"}
    assert await agent.answer("cc tier from user") == ("+OK", {SUPPORT: place})
    async with open_client(simulator, anyio_backend) as administrator:
        await administrator.log_in("200")
        assert await administrator.answer("cc tier from user") == ("+OK", [])


async def test_the_engine_logs_an_agent_out_who_does_not_come_back(simulator: WebitelSimulator, anyio_backend: str) -> None:
    assert simulator.options.agent_logout_seconds == 60.0
    simulator.configure(agent_logout_seconds=0.05)
    async with open_client(simulator, anyio_backend) as watcher:
        await watcher.log_in("101")
        async with open_client(simulator, anyio_backend) as agent:
            await agent.log_in()
            await agent.ask("cc login")
        await watcher.until("ACCOUNT_OFFLINE")
        assert simulator.switchboard.account(OWN).agent_status == "Available"
        status = await watcher.until("ACCOUNT_STATUS")
        assert [status[key] for key in ("Account-Agent-Status", "Account-Online", "cc_logged", "cc")] == [
            "Logged Out",
            False,
            False,
            False,
        ]


async def test_an_agent_who_comes_back_in_time_stays_and_must_log_in_anew_for_the_engine(
    simulator: WebitelSimulator, anyio_backend: str
) -> None:
    simulator.configure(agent_logout_seconds=0.05)
    async with open_client(simulator, anyio_backend) as first:
        await first.log_in()
        await first.ask("cc login")
    async with open_client(simulator, anyio_backend) as again:
        reply = await again.ask("auth", account=OWN, secret="100")
        assert reply["exec-response"]["cc-logged"] is False
        row = json.loads((await again.ask("api account list"))["exec-response"]["response"])["100"]
        assert (row["agent.status"], row["cc_logged"]) == ("Available", False)
        simulator.configure(reply_delay_seconds=0.1)
        await again.ask("ping")
        assert simulator.switchboard.account(OWN).agent_status == "Available"
        simulator.configure(reply_delay_seconds=0.0)
        assert await again.answer("cc login") == ("+OK", "+OK\n")
        assert await again.answer("cc login") == ("+OK", "+OK")


async def test_of_an_agent_without_a_socket_the_engine_knows_what_the_switch_says_alone(
    simulator: WebitelSimulator, agent: Client
) -> None:
    simulator.control({"do": "status", "account": "101", "set": {"agent_status": "Available"}})
    status = await agent.until("ACCOUNT_STATUS")
    assert [status[key] for key in ("Account-User", "Account-Online", "cc_logged", "ws", "cc")] == [
        "101",
        False,
        False,
        False,
        True,
    ]


# --- a caller


async def test_a_caller_is_offered_to_an_agent_and_joined_when_he_picks_up(simulator: WebitelSimulator, agent: Client) -> None:
    await agent.ask("cc login")
    agent.frames.clear()
    ids = incoming(simulator)
    await agent.seen()
    assert told(agent.frames) == [
        "member-queue-start",
        "members-count 1",
        "agent-state-change Receiving",
        "agent-offering",
    ]
    offering = next(frame for frame in agent.frames if frame.get("Event-Name") == "CC::AGENT-OFFERING")
    assert [offering[key] for key in ("CC-Queue", "CC-Agent", "CC-Member-Session-UUID", "CC-Member-CID-Name")] == [
        SUPPORT,
        OWN,
        ids["a"],
        "ACME",
    ]
    created = next(frame for frame in agent.frames if frame.get("Event-Name") == "CHANNEL_CREATE")
    assert (created["Unique-ID"], created["Channel-Call-UUID"]) == (ids["b"], ids["b"])
    assert (created["variable_cc_queue"], created["variable_cc_member_session_uuid"]) == (SUPPORT, ids["a"])
    assert [created[f"Caller-Caller-ID-{what}"] for what in ("Name", "Number")] == ["ACME", CALLER]
    assert "Other-Leg-Unique-ID" not in created and created["variable_w_account_origination_uuid"] == ids["callUuid"]
    agent.frames.clear()
    await simulator.answer_own()
    joined = await agent.until("CHANNEL_STATE")
    assert (joined["Channel-State"], joined["Other-Leg-Unique-ID"]) == ("CS_EXCHANGE_MEDIA", ids["a"])
    answered = next(frame for frame in agent.frames if frame.get("Event-Name") == "CHANNEL_ANSWER")
    assert answered["variable_cc_queue"] == SUPPORT and "Other-Leg-Unique-ID" not in answered
    assert told(agent.frames) == ["bridge-agent-start", "agent-state-change In a queue call"]
    agent.frames.clear()
    await simulator.hang_up(CALLER)
    await agent.seen()
    assert told(agent.frames) == [
        "bridge-agent-end",
        "member-queue-end Terminated",
        "members-count 0",
        "agent-state-change Waiting",
    ]
    ended = next(frame for frame in agent.frames if frame.get("Event-Name") == "CC::BRIDGE-AGENT-END")
    assert ended["CC-Agent-UUID"] == ids["b"] and ended["CC-Agent-Answered-Time"]
    assert simulator.switchboard.legs == () and simulator.engine.centre.members == []


async def test_the_agents_state_is_told_with_his_status(simulator: WebitelSimulator, agent: Client) -> None:
    await agent.ask("cc login")
    agent.frames.clear()
    incoming(simulator)
    await simulator.answer_own()
    await agent.until("CC::BRIDGE-AGENT-START")
    await simulator.hang_up(CALLER)
    await agent.until("CC::AGENT-STATE-CHANGE")
    await agent.seen()
    assert states(agent.frames) == ["Receiving", "In a queue call", "Waiting"]


async def test_nobody_is_logged_in_so_the_caller_waits_for_whoever_comes(simulator: WebitelSimulator, agent: Client) -> None:
    ids = incoming(simulator)
    assert (ids["b"], ids["agent"]) == (None, None)
    assert told(await agent.seen()) == ["member-queue-start", "members-count 1"]
    await agent.ask("cc login", status="Available (On Demand)")
    (created,) = (frame for frame in agent.frames if frame.get("Event-Name") == "CHANNEL_CREATE")
    assert created["variable_cc_member_session_uuid"] == ids["a"]
    await simulator.answer_own()
    await agent.until("CC::BRIDGE-AGENT-START")
    agent.frames.clear()
    await simulator.hang_up(CALLER)
    # On demand he takes one call and then says himself when he is ready for another.
    assert told(await agent.seen())[-1] == "agent-state-change Idle"
    assert incoming(simulator)["b"] is None
    simulator.control({"do": "status", "account": "100", "set": {"agent_state": "Waiting"}})
    await agent.until("CHANNEL_CREATE")


async def test_a_caller_who_gives_up_cancels_what_rings(simulator: WebitelSimulator, agent: Client) -> None:
    await agent.ask("cc login")
    incoming(simulator)
    await agent.seen()
    agent.frames.clear()
    await simulator.hang_up(CALLER)
    frames = await agent.seen()
    assert told(frames) == [
        "member-queue-end Cancel",
        "members-count 0",
        "bridge-agent-fail ORIGINATOR_CANCEL",
        "agent-state-change Waiting",
    ]
    ended = next(frame for frame in frames if frame.get("Event-Name") == "CHANNEL_HANGUP_COMPLETE")
    assert ended["variable_hangup_cause"] == "ORIGINATOR_CANCEL"
    assert simulator.switchboard.legs == ()


async def test_an_agent_who_refuses_is_left_alone_and_the_next_one_is_rung(simulator: WebitelSimulator, agent: Client) -> None:
    simulator.configure(agent_rest_seconds=0.2)
    for number in ("100", "101"):
        simulator.control({"do": "status", "account": number, "set": {"agent_status": "Available"}})
    ids = incoming(simulator)
    assert ids["agent"] == OWN
    await agent.seen()
    agent.frames.clear()
    simulator.control({"do": "hangup", "uuid": ids["b"], "cause": "USER_BUSY"})
    frames = await agent.seen()
    assert told(frames) == [
        "bridge-agent-fail USER_BUSY",
        "agent-state-change Waiting",
        "agent-state-change Receiving",
        "agent-offering",
    ]
    assert [leg.snapshot.presence for leg in simulator.switchboard.legs if leg.rings_in] == [MATE]
    simulator.control({"do": "hangup", "presence": MATE})
    await agent.seen()
    assert [leg.snapshot.presence for leg in simulator.switchboard.legs] == [None]
    # Both had their rest.
    created = await agent.until("CHANNEL_CREATE")
    assert created["variable_cc_queue"] == SUPPORT


async def test_two_callers_two_agents_and_the_third_caller_waits(simulator: WebitelSimulator) -> None:
    for number in ("100", "101"):
        simulator.control({"do": "status", "account": number, "set": {"agent_status": "Available"}})
    agents = [simulator.control({"do": "incoming", "from": f"067000000{number}", "to": SUPPORT})["agent"] for number in range(3)]
    assert agents == [OWN, MATE, None]
    simulator.control({"do": "status", "account": "100", "set": {"agent_status": "On Break"}})
    await simulator.hang_up("0670000000")
    # Who is on a break is not rung.
    assert [member.agent for member in simulator.engine.centre.members] == [MATE, None]
    simulator.control({"do": "status", "account": "100", "set": {"agent_status": "Available"}})
    assert [member.agent for member in simulator.engine.centre.members] == [MATE, OWN]


async def test_an_agent_without_a_phone_fails_and_rests(simulator: WebitelSimulator, agent: Client) -> None:
    simulator.switchboard.set_registered(OWN, False)
    await agent.ask("cc login")
    agent.frames.clear()
    assert incoming(simulator)["b"] is None
    assert told(await agent.seen())[-2:] == ["bridge-agent-fail USER_NOT_REGISTERED", "agent-state-change Waiting"]
    assert simulator.engine.centre.members[0].agent is None


async def test_a_leg_that_is_renamed_is_still_the_agents(simulator: WebitelSimulator, agent: Client) -> None:
    await agent.ask("cc login")
    ids = incoming(simulator)
    await simulator.answer_own()
    simulator.control({"do": "uuid", "uuid": ids["b"], "to": "renamed"})
    simulator.control({"do": "uuid", "uuid": ids["a"], "to": "caller"})
    simulator.control({"do": "hangup", "uuid": "renamed"})
    await agent.seen()
    assert told(agent.frames)[-1] == "agent-state-change Waiting" and simulator.engine.centre.members == []


async def test_variables_and_a_reset(simulator: WebitelSimulator, agent: Client) -> None:
    await agent.ask("cc login")
    ids = incoming(simulator, vars={"dlr_session_id": "9"})
    created = await agent.until("CHANNEL_CREATE")
    assert created["variable_dlr_session_id"] == "9"
    await agent.seen()
    assert simulator.control({"do": "reset"})["ok"]
    assert await agent.nothing_came()
    assert incoming(simulator)["agent"] == OWN and ids["agent"] == OWN


async def test_a_call_to_an_account_may_say_that_it_came_through_a_queue(simulator: WebitelSimulator, agent: Client) -> None:
    variables = {"cc_queue": SUPPORT, "cc_member_session_uuid": "someone"}
    ids = simulator.control({"do": "incoming", "from": CALLER, "to": OWN, "vars": variables})
    simulator.control({"do": "answer", "uuid": ids["b"]})
    answered = await agent.until("CHANNEL_ANSWER")
    assert (answered["variable_cc_queue"], answered["variable_cc_member_session_uuid"]) == (SUPPORT, "someone")


async def test_there_is_no_such_queue(simulator: WebitelSimulator) -> None:
    assert "error" in simulator.control({"do": "incoming", "from": CALLER, "to": "sales@demo.local"})
    with pytest.raises(SwitchError, match="Queue not found"):
        simulator.engine.centre.join("sales@demo.local", CALLER)
    assert simulator.switchboard.legs == ()
