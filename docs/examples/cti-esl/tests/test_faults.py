"""Networks and switches that fail."""

from __future__ import annotations

import errno
import socket

import anyio
import anyio.abc
import pytest
from cti_framework import CtiProviderInitializer
from cti_framework.calls import CallState
from cti_framework.errors import (
    AddressError,
    CommandError,
    CommandStage,
    CommandUnconfirmedError,
    CredentialsRefusedError,
    CtiError,
    NetworkError,
    NotConnectedError,
    OutageKind,
    ProtocolError,
)
from cti_framework.events import Disconnected, ProviderState
from cti_framework.provider import CtiUser
from cti_framework.testing import Direction

from boxed import boxed, is_up, settings_for, until
from cti_esl import client
from cti_esl.client import EslConnection
from cti_esl.simulator import PASSWORD, running_switch, server

pytestmark = pytest.mark.anyio

ALICE = CtiUser(id="1000", parameters={"esl.number": "1000"})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def outage(port: int, **settings: object) -> CtiError:
    """What opening a session there ends with."""
    model = await CtiProviderInitializer(settings_for(port, **settings), environ={}).create(ALICE)
    with anyio.fail_after(20):
        try:
            async with model:
                pytest.fail("It was opened.")
        except CtiError as error:
            return error


# --- the network


async def test_bytes_that_come_one_by_one() -> None:
    with anyio.fail_after(30):
        async with boxed() as box:
            box.network.split(1, 3)
            call = await box.model.make_call("0501234567")
            await until(box.model, lambda: box.model.calls[0].state is CallState.CONNECTED)
            await box.model.drop_call(call)
            await until(box.model, lambda: not box.model.calls)


@pytest.mark.parametrize("after_bytes", [10, 40, 150, 700, 1900, 3500])
async def test_a_connection_that_is_cut_in_the_middle(after_bytes: int) -> None:
    with anyio.fail_after(20):
        async with boxed(f"1 to_client {after_bytes} both reset") as box:
            await box.far.incoming("0671112233")
            await until(box.model, lambda: is_up(box.model) and bool(box.model.calls))
            await box.far.hang_up("0671112233")
            await until(box.model, lambda: not box.model.calls)


async def test_a_call_that_ends_while_the_connection_is_cut() -> None:
    with anyio.fail_after(20):
        async with boxed() as box:
            await box.far.incoming("0671112233")
            await until(box.model, lambda: bool(box.model.calls))
            box.network.refuse()
            box.network.reset()
            await until(box.model, lambda: not is_up(box.model))
            await box.far.hang_up("0671112233")
            box.network.accept()
            await until(box.model, lambda: not box.model.calls)
            await until(box.model, lambda: is_up(box.model))


async def test_a_switch_that_says_nothing_is_noticed() -> None:
    with anyio.fail_after(20):
        async with boxed(cti__silence_seconds=0.1, cti__probe_timeout_seconds=0.2) as box:
            before = box.model.cursor
            box.network.connections[0].black_hole()
            async for event in box.model.events(after=before):
                if isinstance(event, Disconnected):
                    break
            await until(box.model, lambda: is_up(box.model))


async def test_an_answer_that_is_lost_is_not_asked_for_again() -> None:
    with anyio.fail_after(20):
        async with boxed(cti__resolve_seconds=0.2) as box:
            box.network.stall(direction=Direction.TO_CLIENT)
            async with anyio.create_task_group() as tasks:

                async def call() -> None:
                    with pytest.raises(CommandUnconfirmedError):
                        await box.model.make_call("0501234567")

                tasks.start_soon(call)
                while not any("originate" in command for command in box.server.commands):
                    await anyio.wait_all_tasks_blocked()
                # The switch forgets it all, as one does that is killed.
                box.server.switch.switchboard.reset()
                await box.server.cut()
                box.network.clear()
                box.network.reset()
            assert sum("originate" in command for command in box.server.commands) == 1


# --- the switch


async def test_a_switch_that_shuts_down_says_so() -> None:
    with anyio.fail_after(20):
        async with boxed() as box:
            before = box.model.cursor
            box.server.shut_down()
            async for event in box.model.events(after=before):
                if isinstance(event, Disconnected):
                    assert isinstance(event.error, NetworkError)
                    assert event.error.kind is OutageKind.RESTARTING
                    break
            await until(box.model, lambda: is_up(box.model))
            assert box.server.accepted == 2


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\n\n",
        b"Content-Type: text/event-json\nContent-Length: 4\n\noops",
        b"Content-Type: command/reply\nReply-Text: +OK\n\n",
        b"Content-Type: api/response\nContent-Length: 99999999999\n\n",
    ],
)
async def test_a_switch_that_talks_nonsense_is_left_and_comes_back(said: bytes) -> None:
    with anyio.fail_after(20):
        async with boxed() as box:
            before = box.model.cursor
            box.server.say(said)
            async for event in box.model.events(after=before):
                if isinstance(event, Disconnected):
                    assert isinstance(event.error, ProtocolError)
                    break
            await until(box.model, lambda: is_up(box.model))


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n",
        b"Content-Type: text/event-json\nContent-Length: 25\n\n" + b'{"Event-Name":"HEARTBEAT"}'[:25],
        b"Content-Type: text/event-json\nContent-Length: 28\n\n" + b'{"Event-Name":"RE_SCHEDULE"}',
        b'Content-Type: text/event-json\nContent-Length: 48\n\n{"Event-Name":"BACKGROUND_JOB","Job-UUID":"none"}'[:100],
    ],
)
async def test_what_listens_there_may_be_anything(said: bytes) -> None:
    async def say(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(said)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, say)
        error = await outage(listener.extra(anyio.abc.SocketAttribute.local_port))
        assert isinstance(error, ProtocolError | NetworkError)
        tasks.cancel_scope.cancel()


async def test_a_switch_that_takes_no_connections_from_here() -> None:
    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        error = await outage(listener.extra(anyio.abc.SocketAttribute.local_port))
        assert isinstance(error, ProtocolError)
        assert "from this computer" in error.message
        assert "apply-inbound-acl" in (error.remedy or "")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (socket.gaierror(-2, "Name or service not known"), OutageKind.NAME_UNKNOWN),
        (OSError(errno.EHOSTUNREACH, "No route to host"), OutageKind.UNREACHABLE),
    ],
)
async def test_a_switch_that_there_is_no_way_to(
    monkeypatch: pytest.MonkeyPatch, raised: OSError, kind: OutageKind
) -> None:
    async def connect_tcp(host: str, port: int) -> anyio.abc.SocketStream:
        raise raised

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    error = await outage(8021)
    assert isinstance(error, NetworkError)
    assert error.kind is kind
    assert "esl.host" in (error.remedy or "")


async def test_nobody_listens() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    error = await outage(port)
    assert isinstance(error, NetworkError)
    assert error.kind is OutageKind.REFUSED


async def test_who_listens_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LOG_IN_SECONDS", 0.1)

    async def wait(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, wait)
        error = await outage(listener.extra(anyio.abc.SocketAttribute.local_port))
        assert isinstance(error, NetworkError)
        assert error.kind is OutageKind.NO_ANSWER
        tasks.cancel_scope.cancel()


async def test_a_wrong_password_is_final_and_not_shown() -> None:
    async with running_switch() as (server, port):
        error = await outage(port, esl__password="not-the-secret-one")
        assert isinstance(error, CredentialsRefusedError)
        assert "not-the-secret-one" not in f"{error} {error!r} {error.describe()}"
        assert server.accepted == 1


@pytest.mark.parametrize("host", ["pbx.example", "192.0.2.1", "127.0.0.1.example"])
async def test_a_switch_elsewhere_is_not_spoken_to_in_plain_text(host: str) -> None:
    error = await outage(8021, esl__host=host)
    assert isinstance(error, AddressError)
    assert "allow_plain_text" in str(error)


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_job_that_overtakes_the_events_of_its_leg(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """Only per leg is the order certain (facts: esl-control, framing and replies)."""
    tell = server._Session._told

    def told(session: server._Session, name: str, message: bytes) -> None:
        if name == "BACKGROUND_JOB":
            tell(session, name, message)

    async def dump(connection: EslConnection, leg: str) -> None:
        """There is no such leg any more."""

    monkeypatch.setattr(server._Session, "_told", told)
    with anyio.fail_after(20):
        async with boxed() as box:
            if is_there:
                call = await box.model.make_call("0501234567")
                assert call.other.number == "0501234567"
                assert [up.id for up in box.model.calls] == [call.id]
                return
            monkeypatch.setattr(EslConnection, "dump", dump)
            with pytest.raises(CommandError) as over:
                await box.model.make_call("0501234567")
            assert over.value.stage is CommandStage.ACCEPTED


# --- cancellation


async def test_it_can_be_cancelled_at_every_step_of_logging_in() -> None:
    """What the kit asks of every provider, of the opener that all users share."""
    async with running_switch() as (server, port):
        for step in range(1, 200):
            opened = anyio.Event()
            with anyio.fail_after(5), anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def live(opened: anyio.Event = opened) -> None:
                        await EslConnection.live("127.0.0.1", port, PASSWORD, lambda connection: opened.set())

                    tasks.start_soon(live)
                    for _ in range(step):
                        await anyio.lowlevel.checkpoint()
                    is_through = opened.is_set()
                    scope.cancel()
            if is_through:
                break
        else:
            pytest.fail("It never opened.")
        with anyio.fail_after(5):
            while server.open:
                await anyio.wait_all_tasks_blocked()
        assert step > 3


async def test_a_command_that_is_cancelled_spoils_no_other() -> None:
    async with running_switch() as (server, port), anyio.create_task_group() as tasks:
        opened: list[EslConnection] = []
        is_open = anyio.Event()

        def take(connection: EslConnection) -> None:
            opened.append(connection)
            is_open.set()

        tasks.start_soon(EslConnection.live, "127.0.0.1", port, PASSWORD, take)
        await is_open.wait()
        (connection,) = opened
        for step in range(30):
            async with anyio.create_task_group() as asking:
                for leg in ("a", "b", "c"):
                    asking.start_soon(connection.api, f"uuid_exists {leg}")
                asking.start_soon(connection.background, "version", f"job {step}", lambda text: None)
                for _ in range(step):
                    await anyio.lowlevel.checkpoint()
                asking.cancel_scope.cancel()
            with anyio.fail_after(5):
                assert (await connection.api("version")).text.startswith("FreeSWITCH")
                assert (await connection.api("uuid_kill a")).text == "-ERR No such channel!\n"
        assert server.accepted == 1
        tasks.cancel_scope.cancel()


async def test_who_asks_without_a_connection_is_told() -> None:
    with anyio.fail_after(20):
        async with boxed() as box:
            await box.model.disconnect()
            assert box.model.provider_state is not ProviderState.IN_SERVICE
            with pytest.raises((NotConnectedError, CtiError)):
                await box.model.make_call("0501234567")
            while box.server.open:
                await anyio.wait_all_tasks_blocked()
