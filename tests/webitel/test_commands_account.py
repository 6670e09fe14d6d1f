"""The commands about accounts, states, queues, recordings and the session: what is sent, what is read, what stays secret."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from typed_settings.types import Secret

from cti_framework.errors import CommandError, CommandRefusedError, CommandStage, InvalidArgumentError
from cti_webitel.engine.client import OnlineAccount, Tier, Webitel
from cti_webitel.engine.commands import Commands
from tests.webitel.scripted_engine import ACCOUNT, LEG, Engine, session

pytestmark = pytest.mark.anyio

OTHER = "101@demo.local"
LINK = f"http://pbx.example:10021/api/v2/files/{LEG}?x_key=s3cretkey&access_token=s3crettoken"
CHANGE = "api account change"


def status(value: str) -> dict[str, str]:
    return {"user": ACCOUNT, "param": "status", "value": value}


SENT: list[tuple[Callable[[Webitel], Awaitable[Any]], str, dict[str, Any]]] = [
    (lambda w: w.ready(), CHANGE, status("ONHOOK")),
    (lambda w: w.busy("ONBREAK"), CHANGE, status("ONBREAK")),
    (lambda w: w.busy("ONBREAK", "lunch break"), CHANGE, status("ONBREAK('lunch break')")),
    (lambda w: w.busy("DND", "don't, [please]\n"), CHANGE, status("DND('don\u2019t please')")),
    (lambda w: w.busy("DND", " ',' "), CHANGE, status("DND('\u2019 \u2019')")),
    (lambda w: w.busy("VOICEMAIL", ",[ ]"), CHANGE, status("VOICEMAIL")),
    (lambda w: w.busy("WRAP_UP"), CHANGE, status("WRAP_UP")),
    (lambda w: w.set_status("CHAT", "x"), CHANGE, status("CHAT('x')")),
    (lambda w: w.call_centre_login(), "cc login", {"status": "Available"}),
    (lambda w: w.call_centre_login(on_demand=True), "cc login", {"status": "Available (On Demand)"}),
    (lambda w: w.call_centre_logout(), "cc logout", {}),
    (lambda w: w.list_users(), "api list_users", {"domain": "demo.local"}),
    (lambda w: w.account(OTHER), "api account", {"user": OTHER}),
    (lambda w: w.create_account("150"), "api account create", {"role": "user", "param": "150@demo.local"}),
    (
        lambda w: w.create_account(
            "150", password=Secret("p4ss"), role="admin", parameters={"vm-enabled": "true"}, variables={"team": "blue"}
        ),
        "api account create",
        {
            "role": "admin",
            "param": "150:p4ss@demo.local",
            "attribute": {"parameters": ["vm-enabled=true"], "variables": ["team=blue"]},
        },
    ),
    (
        lambda w: w.change_account(OTHER, password=Secret("p4ss"), parameters={"role": "admin"}),
        CHANGE,
        {"user": OTHER, "param": {"parameters": ["role=admin", "password=p4ss"], "variables": []}},
    ),
    (
        lambda w: w.change_account(OTHER, variables={"team": "red"}),
        CHANGE,
        {"user": OTHER, "param": {"parameters": [], "variables": ["team=red"]}},
    ),
    (lambda w: w.remove_account(OTHER), "api account remove", {"user": OTHER}),
    (lambda w: w.send_message("101", {"x": [1, None]}), "sys_msg", {"to": "101", "body": {"x": [1, None]}}),
    (
        lambda w: w.send_chat(OTHER, "it's\nme"),
        "chat_send",
        {"from": ACCOUNT, "to": OTHER, "message": "it\u2019s me", "profile": "verto"},
    ),
    (
        lambda w: w.send_chat("101", "hi", profile="sip"),
        "chat_send",
        {"from": ACCOUNT, "to": "101", "message": "hi", "profile": "sip"},
    ),
    (lambda w: w.sign_in_at("desk-7.pbx.example"), "hotdesk_signin", {"address": "desk-7.pbx.example"}),
    (lambda w: w.sign_out(), "hotdesk_signout", {}),
]


@pytest.mark.parametrize(("send", "func", "args"), SENT)
async def test_sent(send: Callable[[Webitel], Awaitable[Any]], func: str, args: dict[str, Any]) -> None:
    engine = Engine()
    engine.answers[func] = ("+OK", {"user": "100"})
    async with session(engine) as webitel:
        await send(webitel)
    request = engine.requests[-1]
    assert (request["exec-func"], request["exec-args"]) == (func, args)


READ: list[tuple[Callable[[Webitel], Awaitable[Any]], str, Any, Any]] = [
    (lambda w: w.ready(), CHANGE, {"user": "100", "status": "NONE"}, {"user": "100", "status": "NONE"}),
    (lambda w: w.call_centre_login(), "cc login", "+OK\n", "+OK"),
    (
        lambda w: w.tiers(),
        "cc tier from user",
        {
            "support@demo.local": {
                "queue": "support@demo.local",
                "agent": ACCOUNT,
                "state": "Ready",
                "level": "1",
                "position": "12",
            },
            "sales@demo.local": {"level": 2, "position": "first"},
            "rubbish": 7,
        },
        {
            "support@demo.local": Tier("support@demo.local", ACCOUNT, "Ready", 1, 12),
            "sales@demo.local": Tier("sales@demo.local", "", "", 2, None),
        },
    ),
    (lambda w: w.tiers(), "cc tier from user", [], {}),
    (lambda w: w.list_users(), "api list_users", {"100": {"id": "100"}}, {"100": {"id": "100"}}),
    (lambda w: w.account(OTHER), "api account", '{"user":"101"}', {"user": "101"}),
    (lambda w: w.recording_link(LEG), "cdr_get_record_link", "+OK: Not found.", None),
    (lambda w: w.recording_link(LEG), "cdr_get_record_link", LINK, Secret(LINK)),
    (
        lambda w: w.list_sockets(),
        "list_sockets",
        {"body": [{"id": OTHER, "sockets": 2, "ips": ["10.0.0.1", 7]}, {"id": "root"}, {"sockets": 1}, 7]},
        [OnlineAccount(OTHER, 2, ("10.0.0.1",)), OnlineAccount("root")],
    ),
    (lambda w: w.send_message("101", None), "sys_msg", "+OK: Message send.", "+OK: Message send."),
    (lambda w: w.send_chat("101", "hi"), "chat_send", "Sent", "Sent"),
    (lambda w: w.sign_in_at("desk"), "hotdesk_signin", '{"status":"OK","info":""}', {"status": "OK", "info": ""}),
]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Secret) and isinstance(other, Secret):
        return bool(one.get_secret_value() == other.get_secret_value())
    return bool((dict(one) if isinstance(one, Mapping) else one) == other)


@pytest.mark.parametrize(("send", "func", "answer", "value"), READ)
async def test_read(send: Callable[[Webitel], Awaitable[Any]], func: str, answer: Any, value: Any) -> None:
    engine = Engine()
    engine.answers[func] = ("+OK", answer)
    async with session(engine) as webitel:
        assert same(await send(webitel), value)


TOKEN = {"key": "the-key", "domain": "demo.local", "username": ACCOUNT, "expires": 1803972580693, "token": "s3crettoken"}


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        (1803972580693, datetime(2027, 3, 2, 7, 29, 40, 693000, UTC)),
        (None, None),
        ("1", None),
        (0, None),
        (1 << 60, None),
        (True, None),
    ],
)
async def test_a_token(expires: Any, at: datetime | None) -> None:
    engine = Engine()
    engine.answers["token_generate"] = ("+OK", json.dumps(TOKEN | {"expires": expires}))
    async with session(engine) as webitel:
        token = await webitel.generate_token()
    assert (token.key, token.token.get_secret_value(), token.account, token.expires_at) == ("the-key", "s3crettoken", ACCOUNT, at)
    assert "s3cret" not in repr(token)


@pytest.mark.parametrize(
    ("send", "func", "answer"),
    [
        (lambda w: w.tiers(), "cc tier from user", "no json"),
        (lambda w: w.tiers(), "cc tier from user", [1]),
        (lambda w: w.account(OTHER), "api account", "no json"),
        (lambda w: w.list_users(), "api list_users", None),
        (lambda w: w.recording_link(LEG), "cdr_get_record_link", "s3cret no link"),
        (lambda w: w.recording_link(LEG), "cdr_get_record_link", {"link": "s3cret"}),
        (lambda w: w.list_sockets(), "list_sockets", {"body": "text"}),
        (lambda w: w.generate_token(), "token_generate", '{"key":"k","token":""}'),
        (lambda w: w.generate_token(), "token_generate", '{"token":"s3cret"}'),
    ],
)
async def test_answers_that_cannot_be_read(send: Callable[[Webitel], Awaitable[Any]], func: str, answer: Any) -> None:
    engine = Engine()
    engine.answers[func] = ("+OK", answer)
    async with session(engine) as webitel:
        with pytest.raises(CommandError, match="cannot be read") as caught:
            await send(webitel)
    assert caught.value.stage is CommandStage.ACCEPTED
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("send", "func", "complete", "said"),
    [
        (lambda w: w.call_centre_login(), "cc login", "+OK", "-ERR: Agent not found!"),
        (lambda w: w.call_centre_logout(), "cc logout", "+OK", "-ERR: Agent not found!"),
        (lambda w: w.tiers(), "cc tier from user", "+OK", "-ERR: Permission denied!"),
        (lambda w: w.recording_link(LEG), "cdr_get_record_link", "-ERR", "Permission denied!"),
        (lambda w: w.send_message("101", 1), "sys_msg", "-ERR", "-ERR: User not found"),
        (lambda w: w.list_sockets(), "list_sockets", "-ERR", "Forbidden"),
        (lambda w: w.remove_account(ACCOUNT), "api account remove", "-ERR", "Easy! it's YOU !!!"),
        (lambda w: w.sign_out(), "hotdesk_signout", "-ERR", "Address is required"),
        (lambda w: w.sign_in_at("desk"), "hotdesk_signin", "-ERR", "You connected"),
    ],
)
async def test_refusals(send: Callable[[Webitel], Awaitable[Any]], func: str, complete: str, said: str) -> None:
    engine = Engine()
    engine.answers[func] = (complete, said)
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError) as caught:
            await send(webitel)
    assert caught.value.pbx_text == said


@pytest.mark.parametrize(
    ("send", "named"),
    [
        (lambda w: w.busy("dnd"), "'d' at position 1"),
        (lambda w: w.busy("DND('x')] [role=admin"), "'[(]' at position 4"),
        (lambda w: w.busy(""), "empty"),
        (lambda w: w.busy("ONHOOK"), "not a cause"),
        (lambda w: w.busy("NONE"), "not a cause"),
        (lambda w: w.busy("DND", "x" * 256), "256 characters"),
        (lambda w: w.set_status("A B"), "' ' at position 2"),
        (lambda w: w.account("100"), "no account"),
        (lambda w: w.account("100@demo.local] [x"), "']' at position 15"),
        (lambda w: w.create_account("150@x"), "no account"),
        (lambda w: w.create_account("150,1"), "',' at position 4"),
        (lambda w: w.create_account("150", role="a b"), "' ' at position 2"),
        (lambda w: w.create_account("150", parameters={"a": "b,c"}), "',' at position 2"),
        (lambda w: w.create_account("150", variables={"a": "b]"}), "']' at position 2"),
        (lambda w: w.create_account("150", password=Secret("s3cret,")), "position 7"),
        (lambda w: w.create_account("150", password=Secret("")), "empty"),
        (lambda w: w.change_account(OTHER, password=Secret("s3cret@x")), "position 7"),
        (lambda w: w.change_account("x y"), "' ' at position 2"),
        (lambda w: w.remove_account("*"), "'[*]' at position 1"),
        (lambda w: w.send_message("101 102", 1), "' ' at position 4"),
        (lambda w: w.send_chat(OTHER, "a|b"), "'[|]' at position 2"),
        (lambda w: w.send_chat(OTHER, "a\\b"), "at position 2"),
        (lambda w: w.send_chat(OTHER, "\x1b"), "at position 1"),
        (lambda w: w.send_chat(OTHER, " \n"), "empty"),
        (lambda w: w.send_chat("a|b", "hi"), "'[|]' at position 2"),
        (lambda w: w.send_chat(OTHER, "hi", profile="a|b"), "'[|]' at position 2"),
        (lambda w: w.sign_in_at("desk 7"), "' ' at position 5"),
        (lambda w: w.sign_in_at(""), "empty"),
        (lambda w: w.recording_link("../x"), "'.' at position 1"),
        (lambda w: w.subscribe("CC::X\n"), "at position 6"),
        (lambda w: w.unsubscribe(""), "empty"),
    ],
)
async def test_what_could_inject_is_named_and_never_sent(send: Callable[[Webitel], Awaitable[Any]], named: str) -> None:
    engine = Engine()
    async with session(engine) as webitel:
        sent = len(engine.requests)
        with pytest.raises(InvalidArgumentError, match=named) as caught:
            await send(webitel)
        assert caught.value.stage is CommandStage.NOT_SENT
        assert "s3cret" not in str(caught.value)
        assert len(engine.requests) == sent


async def test_what_is_no_json_is_not_sent() -> None:
    engine = Engine()
    async with session(engine) as webitel:
        sent = len(engine.requests)
        with pytest.raises(TypeError):
            await webitel.send_message("101", object())
        assert len(engine.requests) == sent


async def test_passwords_are_sent_and_told_to_nobody() -> None:
    engine = Engine()
    engine.answers |= {"api account create": ("-ERR", "Permission denied!"), CHANGE: ("-ERR", "Permission denied!")}
    told: list[str] = []
    commands: dict[str, set[str]] = {}

    def on_command(func: str, args: Mapping[str, Any]) -> None:
        commands[func] = set(args)
        told.append(f"{func} {args}")

    with structlog.testing.capture_logs() as lines:
        async with session(engine, on_command=on_command) as webitel:
            for sent in (
                webitel.create_account("150", password=Secret("s3cret")),
                webitel.change_account(OTHER, password=Secret("s3cret")),
            ):
                with pytest.raises(CommandRefusedError) as caught:
                    await sent
                told.append(f"{caught.value!r} {caught.value}")
                assert "s3cret" in engine.texts[-1]
    assert commands["api account create"] == {"role"}
    assert commands["auth"] == {"account"}
    assert "s3cret" not in "".join([*told, *map(str, lines)])


def test_every_command_says_what_it_raises() -> None:
    methods = [
        value
        for base in Webitel.__mro__
        if issubclass(base, Commands)
        for name, value in vars(base).items()
        if not name.startswith("_") and callable(value)
    ]
    assert len(methods) > 40
    for method in methods:
        assert method.__doc__ is not None
        if method.__name__ not in ("call_of", "call_told", "func_of", "look"):
            assert "Raises:" in method.__doc__, method
