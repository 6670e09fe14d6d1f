"""`Webitel` against a scripted engine: the log in, commands, what goes wrong, and what must not be told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog
from anyio.abc import SocketAttribute, SocketStream
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    InvalidArgumentError,
    NetworkError,
    NotConnectedError,
    ProtocolError,
)
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from tests.webitel.scripted_engine import (
    ACCOUNT,
    AUTH_OK,
    CREATE,
    LEG,
    PATIENCE_SECONDS,
    URL,
    Engine,
    Told,
    made,
    run_error,
    session,
)

pytestmark = pytest.mark.anyio

# --- logging in


async def test_the_log_in_in_the_order_of_the_library() -> None:
    engine, told = Engine(), Told()
    async with session(engine, told) as webitel:
        assert webitel.connected
        assert [(request["exec-func"], request.get("exec-args")) for request in engine.requests] == [
            ("auth", {"account": ACCOUNT, "secret": "hunter2"}),
            ("login", None),
            ("api account list", {"domain": "demo.local"}),
        ]
        assert [name for name in told.names if name in ("onConnect", "onUserLogin", "onReady")] == [
            "onConnect",
            "onUserLogin",
            "onReady",
        ]
        assert list(webitel.users) == ["100"]
    assert repr(webitel) == f"<Webitel {ACCOUNT} at ws://pbx.example:10022/engine, disconnected>"
    # The flag that `logout` clears is shared by all sockets of the account.
    assert "logout" not in [request["exec-func"] for request in engine.requests]


async def test_the_auth_frame_is_compact_so_that_the_engine_masks_the_secret() -> None:
    engine = Engine()
    async with session(engine):
        exec_uuid = engine.requests[0]["exec-uuid"]
        assert engine.texts[0] == (
            f'{{"exec-uuid":"{exec_uuid}","exec-func":"auth","exec-args":{{"account":"{ACCOUNT}","secret":"hunter2"}}}}'
        )


async def test_logging_in_by_key_and_token() -> None:
    engine = Engine()
    async with session(engine, key="the-key", token=Secret("the-token")):
        assert engine.requests[0]["exec-args"] == {"key": "the-key", "token": "the-token"}


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"key": "k"},
        {"token": Secret("t")},
        {"secret": Secret("s"), "key": "k", "token": Secret("t")},
    ],
)
def test_credentials_are_one_of_two_kinds(credentials: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either secret"):
        Webitel(URL, ACCOUNT, on_callbacks=Told(), **credentials)


def test_the_account_is_checked_before_anything_is_opened() -> None:
    for account in ("", "100@demo local", "100@demo.local,x=y", '100"@demo.local'):
        with pytest.raises(InvalidArgumentError):
            Webitel(URL, account, secret=Secret("s"), on_callbacks=Told())


def test_the_time_for_auth_is_below_the_engines() -> None:
    with pytest.raises(ValueError, match="auth_seconds"):
        WebitelTimeouts(auth_seconds=5.0)


@pytest.mark.parametrize(
    ("complete", "response", "kind", "retryable", "text"),
    [
        ("+ERR", {"login": {"status": 401, "message": "secret incorrect"}}, CredentialsRefusedError, False, "secret incorrect"),
        ("+ERR", {"login": {"status": 401, "message": "-ERR user not found!\n"}}, CredentialsRefusedError, False, "not found"),
        ("+ERR", {"login": {"status": 301, "message": "Set security code"}}, CredentialsRefusedError, False, "security code"),
        ("-ERR", "Invalid Token or Key", CredentialsRefusedError, False, "Invalid Token"),
        ("-ERR", "Token Expired", CredentialsRefusedError, False, "Token Expired"),
        ("+ERR", {"login": {"status": 401, "message": "-ERR: Console connect error"}}, NetworkError, True, "Console connect"),
        ("-ERR", "Maximum opened socket 10", NetworkError, True, "Maximum opened socket 10"),
        ("-ERR", "Maximum license connections", NetworkError, True, "Maximum license"),
        ("-ERR: bad response", None, CredentialsRefusedError, False, ACCOUNT),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
async def test_refused(complete: str, response: Any, kind: type[Exception], retryable: bool, text: str, cut: bool) -> None:
    engine = Engine()
    engine.silent.add("auth")
    error: ConnectionFailedError | None = None
    webitel = made(engine)

    async with anyio.create_task_group() as group:

        async def run() -> None:
            nonlocal error
            error = await run_error(webitel)

        group.start_soon(run)
        request = await engine.asked("auth")
        await engine.reply(request, complete, response)
        if cut:
            # Some refusals are followed by the end of the line: the reason must win.
            engine.sockets[-1].shut()
    assert isinstance(error, kind)
    assert error.retryable is retryable
    assert text in str(error)
    assert error.remedy
    assert [request["exec-func"] for request in engine.requests] == ["auth"]


@pytest.mark.parametrize("silent", ["auth", "login", "api account list"])
async def test_a_log_in_that_is_not_answered(silent: str) -> None:
    engine = Engine()
    engine.silent.add(silent)
    error = await run_error(made(engine, timeouts=WebitelTimeouts(auth_seconds=0.05, command_seconds=0.05)))
    assert isinstance(error, NetworkError)
    assert error.retryable
    assert f"did not answer {silent} within 0.05 s" in str(error)
    assert engine.left == 1


async def test_the_line_is_cut_during_the_log_in() -> None:
    engine = Engine()
    engine.silent.add("login")
    webitel = made(engine)
    async with anyio.create_task_group() as group:

        async def cut() -> None:
            await engine.asked("login")
            engine.sockets[-1].shut()

        group.start_soon(cut)
        error = await run_error(webitel)
    assert isinstance(error, NetworkError)
    assert "1006" in str(error)


async def test_the_line_is_cut_right_after_an_answer() -> None:
    engine = Engine()
    engine.silent.add("auth")
    webitel = made(engine)
    async with anyio.create_task_group() as group:

        async def answer_and_cut() -> None:
            await engine.reply(await engine.asked("auth"), "+OK", AUTH_OK)
            engine.sockets[-1].shut(1012, "restarting")

        group.start_soon(answer_and_cut)
        error = await run_error(webitel)
    assert isinstance(error, NetworkError)
    assert "1012" in str(error)


async def test_accounts_that_may_not_be_read() -> None:
    engine = Engine()
    engine.answers["api account list"] = ("-ERR", "Permission denied!")
    error = await run_error(made(engine))
    assert isinstance(error, CredentialsRefusedError)
    assert "permission account" in error.remedy
    for answer in (("-ERR", "-ERR no reply\n"), ("+OK", {"response": "no json"}), ("+OK", 7)):
        engine.answers["api account list"] = answer
        error = await run_error(made(engine))
        assert isinstance(error, ProtocolError)
        assert error.remedy


async def test_the_engine_says_disconnect() -> None:
    """What it sends to a socket whose five seconds are over, before it cuts the line."""
    engine = Engine()
    engine.silent.add("auth")
    webitel = made(engine)
    async with anyio.create_task_group() as group:

        async def cut() -> None:
            await engine.asked("auth")
            await engine.say({"webitel-event-name": "account", "Event-Name": "DISCONNECT"})
            engine.sockets[-1].shut()

        group.start_soon(cut)
        error = await run_error(webitel)
    assert isinstance(error, NetworkError)
    assert error.retryable


async def test_one_object_is_one_connection() -> None:
    engine = Engine()
    async with session(engine) as webitel:
        with pytest.raises(RuntimeError, match="runs already"):
            await webitel.run()
        assert webitel.connected
    # After the end of one connection's life comes the next, when somebody asks for it.
    async with anyio.create_task_group() as group:
        await group.start(webitel.run)
        assert webitel.connected
        group.cancel_scope.cancel()
    assert len(engine.sockets) == engine.left == 2


# --- commands


@pytest.mark.parametrize(
    ("send", "func", "args"),
    [
        (lambda w: w.call("0501234567"), "call", {"extension": "0501234567", "user": ACCOUNT}),
        (lambda w: w.call("+38*#"), "call", {"extension": "+38*#", "user": ACCOUNT}),
        (
            lambda w: w.call("101", variables={"my_id": "7"}),
            "call",
            {"extension": "101", "user": ACCOUNT, "variables": {"my_id": "7"}},
        ),
        (lambda w: w.hangup(LEG), "hangup", {"channel-uuid": LEG}),
        (lambda w: w.hangup(LEG, "USER_BUSY"), "hangup", {"channel-uuid": LEG, "cause": "USER_BUSY"}),
        (lambda w: w.hold(LEG), "hold", {"channel-uuid": LEG}),
        (lambda w: w.unhold(LEG), "unhold", {"channel-uuid": LEG}),
        (lambda w: w.dtmf(LEG, "12#"), "dtmf", {"channel-uuid": LEG, "digits": "12#"}),
        (lambda w: w.execute("list_sockets", {}), "list_sockets", {}),
        (lambda w: w.login(), "login", None),
        (lambda w: w.logout(), "logout", None),
        (lambda w: w.ping(), "ping", None),
    ],
)
async def test_commands_as_the_library_sends_them(
    send: Callable[[Webitel], Awaitable[Any]], func: str, args: dict[str, Any] | None
) -> None:
    engine = Engine()
    engine.answers[func] = ("+OK", "+OK Success\n")
    engine.answers.setdefault("login", ("+OK", "+OK: logged: true"))
    async with session(engine) as webitel:
        with anyio.fail_after(PATIENCE_SECONDS):
            result = await send(webitel)
        assert engine.requests[-1]["exec-func"] == func
        assert engine.requests[-1].get("exec-args") == args
        if args:
            assert list(engine.requests[-1]["exec-args"]) == list(args)
        assert result is None or result.strip() == "+OK Success"


async def test_auto_answer_goes_with_a_call() -> None:
    engine = Engine()
    engine.answers["call"] = ("+OK", f"+OK {LEG}\n")
    async with session(engine, auto_answer_param="sip_auto_answer=true") as webitel:
        assert await webitel.call("101") == f"+OK {LEG}"
        assert engine.requests[-1]["exec-args"]["auto_answer_param"] == "sip_auto_answer=true"
    with pytest.raises(InvalidArgumentError):
        made(engine, auto_answer_param="a=b,c=d}")


async def test_answers_that_are_read() -> None:
    engine = Engine()
    engine.answers |= {
        "channel_dump": ("+OK", json.dumps({"Unique-ID": LEG})),
        "show_channel": ("+OK", {"row_count": 1, "rows": [{"uuid": LEG}, "junk"]}),
        "api whoami": ("+OK", json.dumps({"id": ACCOUNT})),
    }
    async with session(engine) as webitel:
        assert await webitel.channel_dump(LEG) == {"Unique-ID": LEG}
        assert engine.requests[-1]["exec-args"] == {"uuid": LEG}
        assert await webitel.show_channels() == [{"uuid": LEG}]
        assert await webitel.whoami() == {"id": ACCOUNT}
        assert list(await webitel.account_list()) == ["100"]


@pytest.mark.parametrize("answer", ["no json", "[1]", None, [], 7, {"rows": 7}])
async def test_answers_that_cannot_be_read(answer: Any) -> None:
    engine = Engine()
    engine.answers["show_channel"] = ("+OK", answer)
    async with session(engine) as webitel:
        with pytest.raises(CommandError, match="cannot be read") as caught:
            await webitel.show_channels()
        assert caught.value.stage is CommandStage.ACCEPTED
        assert webitel.connected


@pytest.mark.parametrize(
    "send",
    [
        lambda w: w.call(""),
        lambda w: w.call("101 XML public"),
        lambda w: w.call("101,{x=y}"),
        lambda w: w.call("101", variables={"a b": "c"}),
        lambda w: w.hangup("all"),
        lambda w: w.hangup(LEG, "USER_BUSY ; status"),
        lambda w: w.hold(f"{LEG},{LEG}"),
        lambda w: w.unhold(""),
        lambda w: w.dtmf(LEG, "1 status"),
        lambda w: w.dtmf("x", "1"),
        lambda w: w.channel_dump("x json"),
    ],
)
async def test_what_could_inject_is_never_sent(send: Callable[[Webitel], Awaitable[Any]]) -> None:
    engine = Engine()
    async with session(engine) as webitel:
        sent = len(engine.requests)
        with pytest.raises(InvalidArgumentError) as caught:
            await send(webitel)
        assert caught.value.stage is CommandStage.NOT_SENT
        assert len(engine.requests) == sent


@pytest.mark.parametrize(
    ("complete", "response", "text"),
    [
        ("-ERR", "-ERR No such channel!\n", "-ERR No such channel!"),
        ("+ERR", "hangup - not found.", "hangup - not found."),
        ("+OK", "-ERR: hidden in success", "-ERR: hidden in success"),
    ],
)
async def test_a_refused_command(complete: str, response: str, text: str) -> None:
    engine = Engine()
    engine.answers["hangup"] = (complete, response)
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError) as caught:
            await webitel.hangup(LEG)
        assert caught.value.pbx_text == text
        assert caught.value.stage is CommandStage.REJECTED
        assert webitel.connected


async def test_a_command_that_is_never_answered() -> None:
    engine = Engine()
    async with session(engine, timeouts=WebitelTimeouts(command_seconds=0.2, call_seconds=0.1)) as webitel:
        for send, seconds in ((webitel.hangup, "0.2 s"), (webitel.call, "0.1 s")):
            with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(CommandUnconfirmedError, match=seconds) as caught:
                await send(LEG if send == webitel.hangup else "101")
            assert caught.value.stage is CommandStage.UNCONFIRMED
        assert webitel.connected
        # Its late answer is a reply to nobody.
        await engine.reply(await engine.asked("hangup"), "+OK", "+OK\n")
        await webitel.ping()
        assert webitel.counts.unclaimed_replies == 1
    assert len([request for request in engine.requests if request["exec-func"] == "hangup"]) == 1


async def test_the_line_breaks_while_a_command_waits() -> None:
    engine = Engine()
    webitel = made(engine)
    ended: list[BaseException] = []
    async with anyio.create_task_group() as group:

        async def run(*, task_status: Any) -> None:
            try:
                await webitel.run(task_status=task_status)
            except NetworkError as error:
                ended.append(error)

        async def hang_up() -> None:
            with pytest.raises(CommandUnconfirmedError, match="broke before hangup") as caught:
                await webitel.hangup(LEG)
            assert isinstance(caught.value.__cause__, NetworkError)
            ended.append(caught.value)

        await group.start(run)
        group.start_soon(hang_up)
        await engine.asked("hangup")
        engine.sockets[-1].shut(1001, "restarting")
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(ended) < 2:
                await anyio.lowlevel.checkpoint()
    assert any("1001" in str(error) for error in ended)
    assert engine.left == 1


async def test_without_a_connection_nothing_is_sent() -> None:
    engine = Engine()
    webitel = made(engine)
    with pytest.raises(NotConnectedError) as caught:
        await webitel.hangup(LEG)
    assert caught.value.stage is CommandStage.NOT_SENT
    assert caught.value.retryable
    # Nor while it logs in: the engine would obey before it knows who asks.
    engine.silent.add("login")
    async with anyio.create_task_group() as group:
        group.start_soon(webitel.run)
        await engine.asked("login")
        with pytest.raises(NotConnectedError):
            await webitel.hangup(LEG)
        group.cancel_scope.cancel()
    assert "hangup" not in [request["exec-func"] for request in engine.requests]


# --- listening


async def test_callbacks_in_order_and_the_raw_frames() -> None:
    engine, told = Engine(), Told()
    frames: list[bytes] = []
    async with session(engine, told, on_frame=frames.append):
        await engine.say(CREATE)
        await told.until("onNewCall")
    assert json.loads(frames[-1]) == CREATE
    assert told.names.index("onReady") < told.names.index("onNewCall")
    assert told.names[-1] in ("onDisconnect", "onRemoveUser")
    assert "onDisconnect" in told.names


GARBAGE: list[Any] = [
    b"\xff\xfe",
    "",
    "null",
    "[]",
    "7",
    '"text"',
    "{",
    {},
    {"exec-uuid": 7},
    {"exec-uuid": "nobody", "exec-complete": "+OK"},
    {"exec-uuid": ["x"], "exec-complete": {}, "exec-response": []},
    {"webitel-event-name": 7},
    {"webitel-event-name": "call"},
    {"webitel-event-name": "call", "Event-Name": ["CHANNEL_CREATE"]},
    {"webitel-event-name": "call", "Event-Name": "CHANNEL_CREATE", "Channel-Presence-ID": {}},
    {"webitel-event-name": "call", "Event-Name": "CHANNEL_HANGUP", "Channel-Presence-ID": ACCOUNT, "Unique-ID": 7},
    {"webitel-event-name": "call", "Event-Name": "CHANNEL_ANSWER", "Channel-Presence-ID": ACCOUNT, "Unique-ID": "unknown"},
    {"webitel-event-name": "ACCOUNT_STATUS", "Event-Name": "ACCOUNT_STATUS"},
    "[" * 5000,
]


async def test_the_session_lives_on_through_garbage() -> None:
    engine, told = Engine(), Told()
    async with session(engine, told) as webitel:
        for frame in GARBAGE:
            await engine.say(frame)
        await engine.say(CREATE)
        await told.until("onNewCall")
        await webitel.ping()
        assert webitel.connected
        assert webitel.counts.bad_frames >= 10


async def test_a_flood_of_garbage_is_counted_and_does_not_flood_the_log() -> None:
    engine = Engine()
    with structlog.testing.capture_logs() as lines:
        async with session(engine) as webitel:
            for _ in range(1000):
                await engine.say("garbage")
            await webitel.ping()
            assert webitel.counts.bad_frames == 1000
    warnings = [line for line in lines if line["event"] == "engine.bad_frame"]
    assert len(warnings) == 10
    assert warnings[-1]["count"] == 512


async def test_twenty_mebibytes() -> None:
    engine = Engine()
    engine.answers["show_channel"] = ("+OK", {"rows": [{"uuid": LEG, "padding": "x" * 20 * 1024 * 1024}]})
    async with session(engine) as webitel:
        with anyio.fail_after(PATIENCE_SECONDS):
            (row,) = await webitel.show_channels()
        assert row["uuid"] == LEG


# --- staying alive


async def test_an_unanswered_ping_means_a_frozen_peer() -> None:
    engine = Engine()
    engine.silent.add("ping")
    error = await run_error(made(engine, timeouts=WebitelTimeouts(ping_interval_seconds=0.05, ping_reply_seconds=0.05)))
    assert isinstance(error, NetworkError)
    assert "did not answer ping within 0.05 s" in str(error)
    assert error.retryable
    assert engine.requests[-1].get("exec-args") is None


async def test_a_short_interval_between_pings_is_kept_although_answers_may_take_long() -> None:
    engine = Engine()
    timeouts = WebitelTimeouts(ping_interval_seconds=0.01, ping_reply_seconds=30)
    async with session(engine, timeouts=timeouts):
        with anyio.fail_after(10):
            await engine.asked("ping", times=5)


async def test_answered_pings_keep_it_alive() -> None:
    engine = Engine()
    timeouts = WebitelTimeouts(ping_interval_seconds=0.01, ping_reply_seconds=0.2)
    async with session(engine, timeouts=timeouts) as webitel:
        await engine.asked("ping", times=3)
        assert webitel.connected


async def test_the_protocols_deadlines_are_kept() -> None:
    """HELD without HOLD is a hold by the far end, said when the grace time is over; no frame comes to wake anybody."""
    engine, told = Engine(), Told()
    answered = CREATE | {"Event-Name": "CHANNEL_ANSWER", "Answer-State": "answered", "Channel-Call-State": "ACTIVE"}
    held = CREATE | {
        "Event-Name": "CHANNEL_CALLSTATE",
        "Channel-Call-State": "HELD",
        "Original-Channel-Call-State": "ACTIVE",
        "Answer-State": "answered",
    }
    async with session(engine, told):
        await engine.say(CREATE)
        await engine.say(answered)
        await told.until("onAcceptCall")
        before = len(told.callbacks)
        await engine.say(held)
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(told.callbacks) == before:
                told.changed = anyio.Event()
                await told.changed.wait()


# --- cancelling, and what is left


async def cancel_after(steps: int, scope: anyio.CancelScope) -> None:
    for _ in range(steps):
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def test_cancelled_at_every_await_of_run() -> None:
    engine = Engine()
    ready = 0
    await anyio.lowlevel.checkpoint()
    tasks = len(anyio.get_running_tasks())
    for steps in range(80):
        webitel = made(engine)
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel_after, steps, scope)
                    await webitel.run()
        ready += "api account list" in [request["exec-func"] for request in engine.requests]
        engine.requests.clear()
        assert not webitel.connected
        assert repr(webitel).endswith("disconnected>")
    assert 0 < ready < 80
    assert len(engine.sockets) == engine.left
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    assert len(anyio.get_running_tasks()) == tasks


async def test_cancelled_at_every_await_of_a_command() -> None:
    engine = Engine()
    engine.answers["hangup"] = ("+OK", "+OK\n")
    done = 0
    async with session(engine) as webitel:
        for steps in range(30):
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel_after, steps, scope)
                    await webitel.hangup(LEG)
                    done += 1
                group.cancel_scope.cancel()
        assert done > 0
        await webitel.ping()
        assert not webitel._waiting
        assert webitel.connected


# --- what must not be told


async def test_no_secret_is_told() -> None:
    told: list[str] = []
    engine = Engine()
    with structlog.testing.capture_logs() as lines:
        async with session(engine) as webitel:
            told.append(repr(webitel))
        engine.answers["auth"] = ("+ERR", {"login": {"status": 401, "message": "secret incorrect"}})
        told.append(repr(await run_error(webitel)))
        engine.silent.add("auth")
        error: BaseException | None = await run_error(made(engine, timeouts=WebitelTimeouts(auth_seconds=0.01)))
        while error is not None:
            told.append(f"{error!r} {error}")
            error = error.__cause__ or error.__context__
    text = " ".join([*told, *(str(line) for line in lines)])
    assert "hunter2" not in text
    assert ACCOUNT in text


# --- one connection over a real socket


async def test_nobody_there_and_a_server_that_is_none() -> None:
    async def mute(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async def hang_up(stream: SocketStream) -> None:
        await stream.aclose()

    for handler, text in ((mute, "did not answer within"), (hang_up, "during the opening handshake")):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, handler)
            url = f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
            webitel = Webitel(
                url, ACCOUNT, secret=Secret("hunter2"), on_callbacks=Told(), timeouts=WebitelTimeouts(open_seconds=0.2)
            )
            error = await run_error(webitel)
            assert isinstance(error, NetworkError)
            assert text in str(error)
            group.cancel_scope.cancel()
    assert "refuses" in str(await run_error(Webitel(url, ACCOUNT, secret=Secret("hunter2"), on_callbacks=Told())))
