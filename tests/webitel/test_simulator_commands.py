"""The simulator's commands about sockets, the directory and the rest, and who may give them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cti_webitel.simulator import WebitelSimulator, serve_webitel
from tests.webitel.raw_client import Client, open_client

pytestmark = pytest.mark.anyio

OWN = "100@demo.local"
DENIED = ("-ERR", "Permission denied!")


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel() as running:
        yield running


@pytest.fixture
async def client(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        yield opened


@pytest.fixture
async def administrator(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.log_in("200")
        yield opened


@pytest.fixture
async def root(simulator: WebitelSimulator, anyio_backend: str) -> AsyncIterator[Client]:
    async with open_client(simulator, anyio_backend) as opened:
        await opened.ask("auth", account="root", secret="rootpass")
        yield opened


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


# --- root


async def test_root_stands_above_all_domains(simulator: WebitelSimulator, client: Client, root: Client) -> None:
    simulator.switchboard.add_account("100", "other.local", password="100")
    simulator.control({"do": "incoming", "from": "0671112233", "to": "101@demo.local"})
    await client.log_in("100", "other.local")
    online = await root.until("ACCOUNT_ONLINE")
    assert online["User-Domain"] == "other.local"
    assert await root.answer("api account list") == ("-ERR", "Domain is require.")
    assert await root.answer("api list_users") == ("-ERR", "Domain is require.")
    rows = json.loads((await root.ask("api account list", domain="other.local"))["exec-response"]["response"])
    assert list(rows) == ["100"] and rows["100"]["online"] is True
    assert list((await root.ask("api list_users", domain="demo.local"))["exec-response"]) == ["100", "101", "102", "200"]
    assert (await root.ask("show_channel"))["exec-response"]["row_count"] == 2
    assert (await root.ask("show_channel", domain="demo.local"))["exec-response"]["row_count"] == 1
    assert (await client.ask("show_channel", domain="demo.local"))["exec-response"]["row_count"] == 0
    who = json.loads((await root.ask("api whoami"))["exec-response"])
    assert (who["id"], who["roleName"], "domain" in who) == ("root", "root", False)
    await root.send("login")
    assert (await root.until("login"))["exec-response"] == "+OK: logged: true"
    text = "-ERR: -ERR Agent not found!\n"
    assert await root.answer("cc login") == ("+OK", text)


async def test_root_is_let_in_by_its_own_password_as_often_as_it_likes(
    simulator: WebitelSimulator, client: Client, root: Client, anyio_backend: str
) -> None:
    simulator.configure(root_password="other", sockets_per_account=1)
    reply = await client.ask("auth", account="root", secret="rootpass")
    assert reply["exec-response"] == {"login": {"status": 401, "message": "secret incorrect"}}
    reply = await client.ask("auth", account="root", secret="other")
    assert reply["exec-response"]["ws-count"] == 2
    token = json.loads((await client.ask("token_generate"))["exec-response"])
    async with open_client(simulator, anyio_backend) as other:
        reply = await other.ask("auth", key=token["key"], token=token["token"])
        assert [reply["exec-response"].get(key) for key in ("login", "domain", "state", "ws-count")] == ["root", None, "", 3]
    assert "other" not in json.dumps(simulator.control({"do": "opts"}))


async def test_sockets_are_listed_for_root_with_where_they_come_from(client: Client, root: Client) -> None:
    await client.log_in()
    assert await client.answer("list_sockets") == ("-ERR", "Forbidden")
    body = (await root.ask("list_sockets"))["exec-response"]["body"]
    assert {"id": OWN, "sockets": 1, "ips": ["127.0.0.1"]} in body


# --- messages, tokens, desks


async def test_a_message_reaches_every_socket_of_the_addressee_in_ones_own_domain(
    simulator: WebitelSimulator, client: Client, anyio_backend: str
) -> None:
    await client.log_in("101")
    async with open_client(simulator, anyio_backend) as first, open_client(simulator, anyio_backend) as second:
        await first.log_in()
        await second.log_in()
        answer = await client.answer("sys_msg", to="100@other.local", body="hello")
        assert answer == ("+OK", "+OK: Message send.")
        for socket in (first, second):
            assert (await socket.receive())[0] == {
                "to": OWN,
                "from": "101@demo.local",
                "body": "hello",
                "webitel-event-name": "WEBITEL-CUSTOM",
                "Event-Name": "WEBITEL-CUSTOM-MESSAGE",
            }
    assert await client.answer("sys_msg", to="102", body="x") == ("-ERR", "-ERR: User not found")
    assert await client.answer("sys_msg", to="101") == ("-ERR", "-ERR: Bad request")


async def test_before_authentication_there_is_nobody_to_speak_for(client: Client) -> None:
    assert await client.answer("sys_msg", to="100", body="x") == ("-ERR", "-ERR: Bad caller.")
    assert await client.answer("token_generate") == ("-ERR", "-ERR: Bad caller.")
    assert await client.answer("unsubscribe", event="CC::MEMBERS-COUNT") == ("-ERR", "-ERR: Authentication required!")
    for silent in ("hotdesk_signin", "hotdesk_signout", "cc login", "cc logout", "cc tier from user", "eavesdrop"):
        await client.send(silent, address="1", channel_uuid="x")
        assert await client.nothing_came(), silent
    for denied in ("api account", "api account create", "api account remove", "api account change", "sip_gateway_list"):
        assert await client.answer(denied, user=OWN, param="x@demo.local", role="user") == DENIED


async def test_a_desk_is_taken_once_a_socket_and_never_left(client: Client) -> None:
    await client.log_in()
    assert await client.answer("hotdesk_signin") == ("-ERR", "Address is required")
    complete, response = await client.answer("hotdesk_signin", address="desk 5")
    assert (complete, json.loads(response)["status"]) == ("+OK", "OK")
    assert await client.answer("hotdesk_signin", address="desk 5") == ("-ERR", "You connected")
    assert (await client.answer("hotdesk_signin", address="desk 6"))[0] == "+OK"
    assert (await client.answer("hotdesk_signin", address="desk 5"))[0] == "+OK"
    assert await client.answer("hotdesk_signout", address="desk 5") == ("-ERR", "Address is required")


# --- the directory


async def test_the_status_of_a_user_with_any_note(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in()
    for value, status, state, note in (
        ("ONBREAK('lunch break')", "ONBREAK", "ISBUSY", "lunch break"),
        ("DND", "DND", "ISBUSY", ""),
        ("CHAT('it's\nx')", "CHAT", "ISBUSY", "it's x"),
        ("CALLFORWARD('a)b')", "CALLFORWARD", "ISBUSY", "a)b"),
        ("ONHOOK", "NONE", "ONHOOK", ""),
    ):
        await client.send("api account change", user=OWN, param="status", value=value)
        reply, told = await client.receive(2)
        assert reply["exec-response"] == {"user": "100", "domain": "demo.local", "state": state, "status": status}
        assert (told["Account-Status"], told["Account-User-State"]) == (status, state)
        assert told.get("Account-Status-Descript", "") == note
    # The last note that was not empty stays (facts: webitel-protocol 7, 14).
    assert json.loads((await client.ask("api whoami"))["exec-response"])["description"] == "a)b"


async def test_a_user_changes_nothing_of_others_and_nobody_his_own_role(
    simulator: WebitelSimulator, client: Client, administrator: Client
) -> None:
    await client.log_in()
    token = json.loads((await client.ask("token_generate"))["exec-response"])
    mine = {"user": OWN, "param": "password", "value": "x"}
    assert await client.answer("api account change", **mine) == ("-ERR", "Woow! Slow down!")
    own_role = {"user": "200@demo.local", "param": {"variables": ["account_role='user'"]}}
    assert await administrator.answer("api account change", **own_role) == ("-ERR", "Woow! Slow down!")
    assert await administrator.answer("api account change", user=OWN, param={}) == ("-ERR", "Bad request.")
    changed = {"user": OWN, "param": {"parameters": ["password=secret", "name=Zoe"], "variables": ["account_role='admin'"]}}
    assert (await administrator.answer("api account change", **changed))[0] == "+OK"
    assert await client.nothing_came()
    # A new role takes effect at once, a new password takes the tokens back.
    assert (await client.answer("sip_gateway_list"))[0] == "+OK"
    assert simulator.engine.tokens.owner(token["key"], token["token"]) == (None, "Invalid Token or Key")
    account = simulator.switchboard.account(OWN)
    assert (account.password, account.name, account.role) == ("secret", "Zoe", "admin")


async def test_accounts_are_made_and_removed_by_an_administrator(
    simulator: WebitelSimulator, client: Client, administrator: Client, anyio_backend: str
) -> None:
    await client.log_in()
    assert await client.answer("api account create", role="user", param="150:pw@demo.local") == DENIED
    assert await client.answer("api account remove", user="101@demo.local") == DENIED
    create = {"role": "user", "param": "150:pw@other.local"}
    assert (await administrator.answer("api account create", **create))[0] == "+OK"
    assert await client.until("USER_CREATE") == {
        "Event-Name": "USER_CREATE",
        "Event-Domain": "demo.local",
        "User-Domain": "demo.local",
        "User-ID": "150",
        "User-State": "NONREG",
        "webitel-event-name": "USER_CREATE",
    }
    assert await administrator.answer("api account create", **create) == ("-ERR", "Number exists")
    assert await administrator.answer("api account create", param="151") == ("-ERR", "Domain, login is require.")
    rows = json.loads((await client.ask("api account list"))["exec-response"]["response"])
    assert rows["150"]["state"] == "NONREG"
    async with open_client(simulator, anyio_backend) as fresh:
        reply = await fresh.ask("auth", account="150@demo.local", secret="pw")
        assert reply["exec-complete"] == "+OK"
        await client.until("ACCOUNT_ONLINE")
        assert (await administrator.answer("api account remove", user="150@demo.local"))[0] == "+OK"
        assert await fresh.closed() == 1006
        assert "USER_DESTROY" not in [frame.get("Event-Name") for frame in fresh.frames]
    assert (await client.until("USER_DESTROY"))["User-ID"] == "150"
    assert (await client.until("ACCOUNT_OFFLINE"))["User-ID"] == "150"
    assert await administrator.answer("api account remove", user="200@demo.local") == ("-ERR", "Easy! it's YOU !!!")
    assert await administrator.answer("api account remove", user="150@demo.local") == ("-ERR", "-ERR user not found!\n")
    await administrator.send("api account remove")
    assert all(frame.get("exec-uuid") != "api account remove" for frame in await administrator.seen())


async def test_an_account_is_described_and_a_stranger_is_not(client: Client) -> None:
    await client.log_in()
    complete, response = await client.answer("api account", user="101")
    assert (complete, json.loads(response)) == (
        "+OK",
        {"user": "101", "domain": "demo.local", "state": "ONHOOK", "status": "NONE"},
    )
    assert await client.answer("api account") == ("-ERR", "Domain, login is require.")
    assert await client.answer("api account", user="999@demo.local") == ("-ERR", "-ERR user not found!\n")


async def test_an_account_that_is_called_when_it_was_removed_ends_quietly(simulator: WebitelSimulator, client: Client) -> None:
    await client.log_in("101")
    ids = simulator.control({"do": "incoming", "from": "0671112233", "to": OWN})
    simulator.switchboard.remove_account(OWN)
    assert simulator.control({"do": "hangup", "uuid": ids["a"]})["ok"]
    assert simulator.switchboard.legs == ()


# --- administration


@pytest.mark.parametrize(
    "command",
    [
        "api domain list",
        "api domain create",
        "api domain remove",
        "api domain",
        "api domain change",
        "sip_gateway_list",
        "sip_gateway_create",
        "sip_gateway_change",
        "sip_gateway_remove",
        "sip_gateway_up",
        "sip_gateway_down",
        "sip_gateway_kill",
        "sip_profile_list",
        "sip_gateway_rescan",
        "license_list",
        "license_item",
        "license_upload",
        "license_remove",
    ],
)
async def test_a_user_may_not_administer_and_root_may(client: Client, root: Client, command: str) -> None:
    await client.log_in()
    assert await client.answer(command) == DENIED
    complete, response = await root.answer(command)
    assert complete == "+OK" and response is not None


async def test_an_administrator_has_gateways_and_no_licences(administrator: Client, root: Client) -> None:
    assert (await administrator.answer("sip_gateway_list"))[0] == "+OK"
    for command in ("license_list", "api domain list"):
        assert await administrator.answer(command) == DENIED
    assert await root.answer("api domain list") == ("+OK", {"response": "demo.local\n"})


async def test_errors_of_the_black_list_hide_in_success(client: Client, administrator: Client) -> None:
    await client.log_in()
    assert await client.answer("blacklist_names") == ("+OK", [])
    assert (await client.answer("blacklist_create"))[0] == "+OK"
    assert await client.answer("blacklist_remove_name") == ("+OK", "-ERR: bad parameters.")
    assert await client.answer("blacklist_remove_name", name="x") == ("+OK", "-ERR: Permission denied!")
    assert await client.answer("blacklist_remove_number", name="x") == ("+OK", "-ERR: bad parameters.")
    assert await administrator.answer("blacklist_remove_number", name="x", number="1") == ("+OK", "+OK\n")


@pytest.mark.parametrize(
    "name",
    ["park", "state", "rawapi", "reloadAgents", "bind", "answer", "cc ready", "cc busy", "api device list", "event", "nixevent"],
)
async def test_what_this_engine_does_not_have_it_says(client: Client, name: str) -> None:
    await client.log_in()
    assert await client.answer(name) == ("+ERR", f"{name} - not found.")


@pytest.mark.parametrize("arguments", [None, 1, "x", [], {"event": 7}, {"to": {"a": 1}, "body": 1}, {"user": 5, "param": ["x"]}])
async def test_no_argument_of_any_type_stops_the_engine(client: Client, arguments: Any) -> None:
    from cti_webitel.simulator.commands import COMMANDS

    await client.log_in()
    for command in COMMANDS:
        await client.connection.send(json.dumps({"exec-uuid": command, "exec-func": command, "exec-args": arguments}))
    await client.seen()
    assert await client.answer("login") == ("+OK", "+OK: logged: true")
