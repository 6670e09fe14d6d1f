"""The simulator's server events: who subscribed, who is told; and what the directory says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cti_webitel.simulator import WebitelSimulator, serve_webitel
from tests.webitel.raw_client import Client, Frame, open_client

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
SUPPORT = "support@demo.local"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    """Account 100."""
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in()
        yield opened


@pytest.fixture
async def mate(simulator: WebitelSimulator, client: Client, anyio_backend: str) -> AsyncIterator[Client]:
    """Account 101, which came after account 100."""
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in("101")
        await client.until("ACCOUNT_ONLINE")
        yield opened


@pytest.fixture
async def root(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.ask("auth", account="root", secret="rootpass")
        yield opened


def names(frames: list[Frame]) -> list[str]:
    return [frame["Event-Name"] for frame in frames if "Event-Name" in frame]


def count(simulator: WebitelSimulator, queue: str = SUPPORT) -> None:
    simulator.control({"do": "cc", "action": "members-count", "headers": {"CC-Queue": queue, "CC-Count": 3}})


# --- subscribing


async def test_every_event_can_be_subscribed_and_no_other(client: Client) -> None:
    for event in (
        "CC::AGENT-OFFERING",
        "SE:DTMF",
        "SE:CHANNEL_HANGUP_COMPLETE",
        "SE:HEARTBEAT",
        "SE::BROADCAST",
        "DC::CHANGE_STATE",
    ):
        assert await client.answer("subscribe", event=event) == ("+OK", f"+OK: subscribe {event}")
        assert await client.answer("subscribe", event=event) == ("-ERR", "-ERR: event subscribed!")
    for event in ("SE:CHANNEL_UUID", "cc::members-count", ""):
        assert await client.answer("subscribe", event=event) == ("-ERR", "-ERR: Event unregistered")
        assert await client.answer("unsubscribe", event=event) == ("-ERR", "-ERR: Event unregistered")
    assert await client.answer("subscribe") == ("-ERR", "-ERR: Bad parameters.")
    assert await client.answer("unsubscribe", event=3) == ("-ERR", "-ERR: Bad parameters")
    # It is no mistake to give up what one did not want.
    assert await client.answer("unsubscribe", event="CC::MEMBERS-COUNT") == ("+OK", "+OK: unsubscribe CC::MEMBERS-COUNT")


async def test_a_subscription_is_a_sockets_own_and_ends_with_it(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    async with open_client(simulator, anyio_backend) as other:
        await other.log_in()
        await other.ask("subscribe", event="CC::MEMBERS-COUNT")
        count(simulator)
        assert names(await other.seen()) == ["CC::MEMBERS-COUNT"]
        assert await client.nothing_came()
        await other.ask("unsubscribe", event="CC::MEMBERS-COUNT")
        count(simulator)
        assert await other.nothing_came()
        await other.ask("subscribe", event="CC::MEMBERS-COUNT")
    await client.ask("subscribe", event="CC::MEMBERS-COUNT")
    count(simulator)
    assert names(await client.seen()) == ["CC::MEMBERS-COUNT"]


# --- the call centre's events


async def test_a_queues_events_reach_its_agents_and_who_wants_all(
    simulator: WebitelSimulator, client: Client, mate: Client, root: Client, anyio_backend: str
) -> None:
    async with open_client(simulator, anyio_backend) as administrator:
        await administrator.log_in("200")
        for socket in (client, mate, root, administrator):
            await socket.ask("subscribe", event="CC::MEMBERS-COUNT")
        await client.seen()
        await mate.seen()
        await root.seen()
        count(simulator)
        for socket in (client, mate, root):
            (frame,) = await socket.receive()
            assert frame == {
                "Event-Name": "CC::MEMBERS-COUNT",
                "Event-Subclass": "callcenter::info",
                "CC-Action": "members-count",
                "CC-Queue": SUPPORT,
                "CC-Count": "3",
                "webitel-event-name": "server",
            }
        assert await administrator.nothing_came()
        await administrator.ask("unsubscribe", event="CC::MEMBERS-COUNT")
        await administrator.ask("subscribe", event="CC::MEMBERS-COUNT", all=True)
        for queue in (SUPPORT, "other@demo.local", "support@other.local"):
            count(simulator, queue)
        assert [frame["CC-Queue"] for frame in await administrator.seen()] == [SUPPORT, "other@demo.local"]
        assert [frame["CC-Queue"] for frame in await client.seen()] == [SUPPORT]
        assert len(await root.seen()) == 3


async def test_all_is_remembered_for_the_account_and_forgotten_by_any_of_its_sockets(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    async with open_client(simulator, anyio_backend) as other:
        await other.log_in()
        await client.ask("subscribe", event="CC::MEMBERS-COUNT")
        await other.ask("subscribe", event="CC::MEMBERS-COUNT", all=True)
        count(simulator, "other@demo.local")
        assert len(await client.seen()) == len(await other.seen()) == 1
        await other.ask("unsubscribe", event="CC::MEMBERS-COUNT")
        count(simulator, "other@demo.local")
        assert await client.nothing_came() and await other.nothing_came()


async def test_an_agents_event_reaches_the_agent_alone(simulator: WebitelSimulator, client: Client, mate: Client) -> None:
    for socket in (client, mate):
        await socket.ask("subscribe", event="CC::AGENT-STATE-CHANGE")
    headers = {"CC-Agent": OWN, "CC-Agent-State": "Idle"}
    simulator.control({"do": "cc", "action": "agent-state-change", "headers": headers})
    assert [frame["CC-Agent-State"] for frame in await client.seen()] == ["Idle"]
    assert await mate.nothing_came()


# --- the switch's own events


async def test_the_switchs_events_are_of_every_leg_of_the_domain_with_all_headers(
    simulator: WebitelSimulator, client: Client, mate: Client, root: Client
) -> None:
    events = ["CHANNEL_CREATE", "CHANNEL_CALLSTATE", "CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE", "DTMF", "CHANNEL_HANGUP"]
    for event in events:
        await mate.ask("subscribe", event=f"SE:{event}")
        await root.ask("subscribe", event=f"SE:{event}")
    await client.ask("logout")
    ids = simulator.control({"do": "incoming", "from": "0671112233", "to": OWN})
    simulator.control({"do": "answer", "uuid": ids["b"]})
    simulator.control({"do": "dtmf", "uuid": ids["b"], "digits": "5"})
    simulator.control({"do": "hangup", "uuid": ids["b"]})
    frames = [frame for frame in await mate.seen() if frame["webitel-event-name"] == "server"]
    assert {frame["Unique-ID"] for frame in frames} == {ids["b"]}
    assert names(frames) == [
        f"SE:{name}"
        for name in (
            *("CHANNEL_CREATE", "CHANNEL_CALLSTATE", "CHANNEL_ANSWER", "CHANNEL_CALLSTATE", "DTMF"),
            *("CHANNEL_HANGUP", "CHANNEL_CALLSTATE", "CHANNEL_HANGUP_COMPLETE"),
        )
    ]
    ringing, tone, ended = frames[1], frames[4], frames[-1]
    assert ringing["Original-Channel-Call-State"] == "DOWN" and tone["DTMF-Digit"] == "5"
    assert ended["Hangup-Cause"] == ended["variable_hangup_cause"] == "NORMAL_CLEARING"
    for bare in (ringing, tone):
        assert not [key for key in bare if key.startswith("variable_")]
    assert [frame for frame in await root.seen() if frame["webitel-event-name"] == "server"] == frames
    # Whoever did not log in for calls has none of them.
    assert {frame["webitel-event-name"] for frame in await client.seen()} == {"ACCOUNT_STATUS"}


async def test_who_leaves_silences_the_domains_others_until_somebody_subscribes_again(
    simulator: WebitelSimulator, client: Client, mate: Client
) -> None:
    """Facts: webitel-protocol 7, 24."""
    event = {"event": "SE:CHANNEL_CREATE"}
    for socket in (client, mate):
        await socket.ask("subscribe", **event)

    async def heard() -> bool:
        simulator.control({"do": "reset"})
        simulator.control({"do": "incoming", "from": "0671112233", "to": "102@demo.local"})
        return "SE:CHANNEL_CREATE" in names(await mate.seen())

    assert await heard()
    await client.ask("unsubscribe", **event)
    assert not await heard()
    await client.ask("subscribe", **event)
    assert await heard()
    await client.close()
    await mate.until("ACCOUNT_OFFLINE")
    assert not await heard()


# --- the directory's events


@pytest.mark.parametrize(
    ("subclass", "headers", "told"),
    [
        (
            "webitel::domain_create",
            {"Event-Domain": "demo.local", "Domain-Name": "new.local", "variable_customer_id": "7", "X": "y"},
            {"Event-Domain": "demo.local", "Domain-Name": "new.local", "variable_customer_id": "7"},
        ),
        ("webitel::user_managed", {"Event-Domain": "demo.local", "User-ID": "150"}, None),
        ("webitel::user_create", {"Event-Domain": "other.local", "User-ID": "150"}, None),
    ],
)
async def test_what_the_directory_says_reaches_the_domain(
    simulator: WebitelSimulator, client: Client, subclass: str, headers: dict[str, Any], told: dict[str, Any] | None
) -> None:
    assert simulator.control({"do": "console", "subclass": subclass, "headers": headers}) == {"ok": True}
    if told is None:
        assert await client.nothing_came()
        return
    (frame,) = await client.receive()
    name = subclass.removeprefix("webitel::").upper()
    assert list(frame.items()) == [("Event-Name", name), *told.items(), ("webitel-event-name", name)]


async def test_root_hears_of_every_domain(simulator: WebitelSimulator, root: Client) -> None:
    headers = {"Event-Domain": "other.local", "User-ID": "150", "User-Domain": "other.local"}
    simulator.control({"do": "console", "subclass": "webitel::user_create", "headers": headers})
    assert names(await root.seen()) == ["USER_CREATE"]
    simulator.control({"do": "status", "account": "101", "set": {"status": "DND"}})
    assert names(await root.seen()) == ["ACCOUNT_STATUS"]


async def test_a_status_of_the_console_is_completed_by_the_engine(simulator: WebitelSimulator, client: Client) -> None:
    headers = {
        "Account-Domain": "demo.local",
        "Account-User": "100",
        "Account-Status": "ONBREAK",
        "Account-User-State": "ISBUSY",
        "Account-Status-Descript": "lunch%20break",
        "Account-Agent-Status": "Available%20(On%20Demand)",
        "Account-User-Name": "User%20100",
        "Event-Domain": "demo.local",
    }
    simulator.control({"do": "console", "subclass": "webitel::account_status", "headers": headers})
    (frame,) = await client.receive()
    assert (frame["Account-Status-Descript"], frame["Account-User-Name"]) == ("lunch break", "User%20100")
    assert frame["Account-Agent-Status"] == "Available (On Demand)"
    assert [frame[key] for key in ("Account-Online", "cc_logged", "ws", "presence_id", "cc")] == [True, True, True, OWN, True]
    assert list(frame)[-1] == "webitel-event-name"


async def test_who_may_not_read_accounts_hears_of_his_own_status_alone(
    simulator: WebitelSimulator, client: Client, mate: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cti_webitel.simulator.sessions import OnlineAccount

    monkeypatch.setattr(OnlineAccount, "acl", {"account": ["ro", "uo"]})
    simulator.control({"do": "status", "account": "101", "set": {"status": "DND"}})
    assert names(await mate.seen()) == ["ACCOUNT_STATUS"]
    assert await client.nothing_came()
    rows = (await client.ask("api account list"))["exec-response"]["response"]
    assert '"100"' in rows and '"101"' not in rows
