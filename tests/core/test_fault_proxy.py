"""The proxy that spoils the network, each fault seen from both ends, on both backends."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream

from cti_framework.testing import Direction, _connection, fault_proxy
from tests.core.fault_bench import BOTH, PATIENCE_SECONDS, TO_CLIENT, TO_SERVER, bench, hand_clock, read, settled

pytestmark = pytest.mark.anyio


async def is_closed(stream: SocketStream) -> None:
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()


async def reset(stream: SocketStream) -> None:
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def is_reset(stream: SocketStream) -> None:
    with pytest.raises(anyio.BrokenResourceError) as caught:
        await stream.receive()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


# --- no fault


async def test_what_is_sent_arrives_and_each_end_is_told_of_the_other_s_end() -> None:
    size = 3_000_000
    async with bench() as b, anyio.create_task_group() as group:
        client, server, connection = await b.connect()
        data = bytes(range(250)) * (size // 250)
        group.start_soon(client.send, data)
        group.start_soon(server.send, data[::-1])
        assert await read(server, size) == data
        assert await read(client, size) == data[::-1]
        await client.send_eof()
        await is_closed(server)
        await server.send(b"last words")
        assert await read(client, 10) == b"last words"
        await server.send_eof()
        await is_closed(client)
        await b.proxy.wait_until(lambda: not connection.open)
        assert connection.passed_bytes(BOTH) == 2 * size + 10


@pytest.mark.parametrize("by_client", [True, False])
async def test_a_reset_of_one_end_reaches_the_other(by_client: bool) -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        ours, theirs = (client, server) if by_client else (server, client)
        await reset(ours)
        await is_reset(theirs)
        await b.proxy.wait_until(lambda: not connection.open)


async def keep_sending(stream: SocketStream) -> None:
    with pytest.raises(anyio.BrokenResourceError):
        while True:
            await stream.send(bytes(1000))


async def test_a_reset_after_the_end_of_one_way_is_found_by_writing() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        await client.send_eof()
        await is_closed(server)
        await reset(client)
        await keep_sending(server)
        await b.proxy.wait_until(lambda: not connection.open)


@pytest.mark.parametrize("unread_bytes", [0, 100])
async def test_a_reset_that_is_found_by_writing_is_told_in_its_turn(unread_bytes: int) -> None:
    async with bench(buffer_bytes=10) as b, anyio.create_task_group() as group:
        client, server, connection = await b.connect()
        b.proxy.stall(direction=TO_SERVER)
        if unread_bytes:
            await client.send(bytes(unread_bytes))
            await b.held(10, TO_SERVER)
        else:
            await client.send_eof()
            await settled()
        await reset(client)
        group.start_soon(keep_sending, server)
        await settled()
        assert connection.open
        b.proxy.resume()
        await b.proxy.wait_until(lambda: not connection.open)


async def test_a_server_that_cannot_be_reached() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with fault_proxy("127.0.0.1", port) as proxy:
            with anyio.fail_after(PATIENCE_SECONDS):
                async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                    await is_reset(client)
        assert str(proxy.log) == "seed 0\nconnection 1 #1 the server cannot be reached\n"


async def test_a_server_by_name_and_the_address_for_a_client() -> None:
    async with await anyio.create_tcp_listener(local_host="localhost") as listener, anyio.create_task_group() as group:

        async def serve(stream: SocketStream) -> None:
            async with stream:
                await stream.send(b"here")

        group.start_soon(listener.serve, serve)
        async with fault_proxy("localhost", listener.extra(SocketAttribute.local_port)) as proxy:
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                assert await read(client, 4) == b"here"
            there = f"127.0.0.1:{proxy.port}"
            assert proxy.url_for("ws://pbx.example:10022/engine?x=y") == f"ws://{there}/engine?x=y"
            assert proxy.url_for("wss://user:pass@pbx.example") == f"wss://user:pass@{there}"
        group.cancel_scope.cancel()


# --- faults that change how bytes pass


async def test_delay_holds_each_message_up_and_not_those_behind_it() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        client, server, connection = await b.connect()
        b.proxy.delay(0.05, direction=TO_SERVER)
        await client.send(b"one")
        await b.held(3, TO_SERVER)
        clock.advance(0.04)
        await client.send(b"two")
        await b.held(6, TO_SERVER)
        await settled()
        assert connection.passed_bytes(TO_SERVER) == 0
        clock.advance(0.01)
        assert await server.receive() == b"one"
        await server.send(b"not delayed")
        assert await read(client, 11) == b"not delayed"
        assert connection.held_bytes(TO_SERVER) == 3
        clock.advance(0.04)
        assert await server.receive() == b"two"


async def test_jitter_is_within_its_bounds_and_keeps_the_order() -> None:
    clock = hand_clock()
    async with bench(clock=clock, seed=2) as b:
        client, server, connection = await b.connect()
        b.proxy.delay(0.05, jitter_seconds=0.02)
        data = bytes(range(256)) * 8
        await client.send(data)
        await b.held(len(data), TO_SERVER)
        passed = []
        for _ in range(70):
            clock.advance(0.001)
            await settled()
            passed.append(connection.passed_bytes(TO_SERVER))
        assert passed[48] == 0
        assert passed[69] == len(data)
        # A piece that is drawn a shorter delay waits for those before it.
        assert 3 <= len({*passed}) <= 8
        assert await read(server, len(data)) == data


async def test_the_end_of_a_connection_is_delayed_too() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b, anyio.create_task_group() as group:
        client, server, _ = await b.connect()
        told = anyio.Event()

        async def wait_for_the_end() -> None:
            await is_closed(server)
            told.set()

        group.start_soon(wait_for_the_end)
        b.proxy.delay(0.05)
        await client.send_eof()
        await settled()
        clock.advance(0.04)
        await settled()
        assert not told.is_set()
        clock.advance(0.01)
        await told.wait()


async def test_a_delay_that_is_cleared_lets_go_what_waits() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        client, server, _ = await b.connect()
        await client.send(b"12345")
        await read(server, 5)
        b.proxy.delay(3600, jitter_seconds=60)
        await client.send(b"x")
        await b.held(1, TO_SERVER)
        await settled()
        timers = [clock.next_deadline_seconds]
        b.proxy.clear()
        assert await read(server, 1) == b"x"
        await settled()
        timers.append(clock.next_deadline_seconds)
        assert timers[0] is not None
        assert timers[1] is None
        # Nothing passed while it held: the log does not depend on who was quicker.
        assert [(entry.at_bytes, entry.size_bytes) for entry in b.proxy.log.entries if entry.event == "passed"] == [(0, 6)]


async def test_split_cuts_wherever_it_likes_and_loses_nothing() -> None:
    async with bench(seed=1) as b:
        client, server, _ = await b.connect()
        b.proxy.split(1, 3, direction=TO_SERVER)
        data = bytes(range(200))
        await client.send(data)
        pieces: list[bytes] = []
        while len(b"".join(pieces)) < len(data):
            pieces.append(await server.receive())
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= 3
        await server.send(data)
        assert await client.receive() == data


async def test_bandwidth_lets_so_many_bytes_a_second_through() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        client, server, connection = await b.connect()
        b.proxy.bandwidth(1000, direction=TO_SERVER)
        await client.send(bytes(1000))
        passed = []
        for _ in range(4):
            await b.proxy.wait_until(lambda: connection.held_bytes(TO_SERVER) > 0)
            await settled()
            passed.append(connection.passed_bytes(TO_SERVER))
            clock.advance(0.25)
        assert passed == [50, 300, 550, 800]
        assert len(await read(server, 1000)) == 1000


async def test_bandwidth_does_not_make_up_for_a_stall() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        client, _, connection = await b.connect()
        b.proxy.bandwidth(1000)
        b.proxy.stall()
        await client.send(bytes(1000))
        await b.held(1000, TO_SERVER)
        clock.advance(10)
        b.proxy.resume()
        await settled()
        assert connection.passed_bytes(TO_SERVER) == 50


# --- faults that stop bytes


async def test_stalled_nothing_passes_and_nothing_is_lost() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        b.proxy.stall()
        await client.send(b"ping")
        await server.send(b"pong!")
        await client.send_eof()
        await b.held(9, BOTH)
        await settled()
        assert connection.passed_bytes(BOTH) == 0
        b.proxy.resume(direction=TO_CLIENT)
        assert await read(client, 5) == b"pong!"
        assert connection.held_bytes(TO_SERVER) == 4
        b.proxy.resume()
        assert await read(server, 4) == b"ping"
        await is_closed(server)


async def test_a_stall_that_ends_by_itself_and_one_that_new_connections_meet() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        b.proxy.stall(2.0)
        client, server, connection = await b.connect()
        await client.send(b"x")
        await b.held(1, BOTH)
        clock.advance(1.9)
        await settled()
        assert connection.passed_bytes(BOTH) == 0
        clock.advance(0.1)
        assert await read(server, 1) == b"x"


async def test_a_black_hole_reads_and_tells_nobody() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        b.proxy.stall()
        await client.send(b"under way")
        await b.held(9, BOTH)
        b.proxy.black_hole()
        await client.send(bytes(1_000_000))
        await server.send(bytes(500_000))
        await client.send_eof()
        await b.proxy.wait_until(lambda: connection.lost_bytes(BOTH) == 1_500_009)
        b.proxy.clear()
        await server.send(b"still open")
        await b.proxy.wait_until(lambda: connection.lost_bytes(TO_CLIENT) == 500_010)
        assert connection.open
        assert connection.passed_bytes(BOTH) == 0


async def test_a_black_hole_takes_new_connections_which_never_reach_the_server() -> None:
    async with bench() as b:
        b.proxy.black_hole()
        client = await b.dial()
        await client.send(b"hello?")
        await b.proxy.wait_until(lambda: b.proxy.connections and b.proxy.connections[0].lost_bytes(TO_SERVER) == 6)
        b.proxy.clear()
        later, server, _ = await b.connect()
        await later.send(b"hello!")
        assert await read(server, 6) == b"hello!"
        assert b.proxy.connections[0].open
        assert b.accepted.statistics().current_buffer_used == 0


async def test_a_black_hole_one_way_is_a_half_open_connection() -> None:
    async with bench() as b:
        b.proxy.black_hole(direction=TO_SERVER)
        client, server, connection = await b.connect()
        await client.send(b"lost")
        await b.proxy.wait_until(lambda: connection.lost_bytes(TO_SERVER) == 4)
        await server.send(b"passes")
        assert await read(client, 6) == b"passes"


# --- faults that end connections


async def test_reset_is_seen_by_both_ends() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        b.proxy.reset()
        await is_reset(client)
        await is_reset(server)
        await b.proxy.wait_until(lambda: not connection.open)


@pytest.mark.parametrize("way", [TO_SERVER, TO_CLIENT])
async def test_reset_one_way_leaves_the_other_end_in_the_dark(way: Direction) -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        told, other = (client, server) if way is TO_CLIENT else (server, client)
        connection.reset(direction=way)
        await is_reset(told)
        await other.send(b"hello?")
        await b.proxy.wait_until(lambda: connection.lost_bytes(way) == 6)
        assert connection.open
        await other.aclose()
        await b.proxy.wait_until(lambda: not connection.open)


@pytest.mark.parametrize("way", [TO_SERVER, TO_CLIENT])
async def test_half_close_ends_one_way_only(way: Direction) -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        told, other = (client, server) if way is TO_CLIENT else (server, client)
        b.proxy.half_close(direction=way)
        await is_closed(told)
        await told.send(b"the other way")
        assert await read(other, 13) == b"the other way"
        await other.send(b"lost")
        await b.proxy.wait_until(lambda: connection.lost_bytes(way) == 4)
        await told.send_eof()
        await is_closed(other)


async def test_faults_of_a_connection_that_has_not_reached_the_server_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, connect = anyio.Event(), _connection._connect

    async def connect_late(sock: socket.socket, address: Any) -> None:
        await gate.wait()
        await connect(sock, address)

    monkeypatch.setattr(_connection, "_connect", connect_late)
    async with bench() as b:
        client, other = await b.dial(), await b.dial()
        await b.proxy.wait_until(lambda: len(b.proxy.connections) == 2)
        half_closed, cut = b.proxy.connections
        half_closed.half_close(direction=TO_SERVER)
        cut.cut()
        await is_closed(other)
        gate.set()
        server = await b.accepted.receive()
        await is_closed(server)
        await server.send(b"x")
        assert await read(client, 1) == b"x"
        await b.proxy.wait_until(lambda: not cut.open)


async def test_cut_closes_both_ends_without_a_reset() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        b.proxy.stall()
        # Not even with something under way, and more than the proxy holds.
        await client.send(bytes(100_000))
        await b.proxy.wait_until(lambda: connection.held_bytes(TO_SERVER) > 0)
        b.proxy.cut()
        await is_closed(client)
        await is_closed(server)
        await b.proxy.wait_until(lambda: not connection.open)


async def test_cut_loses_nothing_of_what_was_passed_on_to_a_slow_receiver() -> None:
    async with bench() as b, anyio.create_task_group() as group:
        client, server, connection = await b.connect()
        # On asyncio a stream reads ahead until it was read from once.
        await client.send(b"x")
        await read(server, 1)
        b.proxy.stall(direction=TO_CLIENT)
        await server.send(bytes(200_000))
        group.start_soon(keep_sending, client)
        passed = -1
        while passed < connection.passed_bytes(TO_SERVER):
            passed = connection.passed_bytes(TO_SERVER)
            for _ in range(20):
                await settled()
        b.proxy.cut()
        assert len(await read(server, passed - 1)) == passed - 1
        await is_closed(server)


async def test_refused_until_accepted_again_on_the_same_port() -> None:
    async with bench() as b:
        port = b.proxy.port
        client, server, _ = await b.connect()
        for _ in range(2):
            b.proxy.refuse()
            for _ in range(2):
                with pytest.raises(OSError, match="connect"):
                    await b.dial()
            await client.send(b"x")
            assert await read(server, 1) == b"x"
            b.proxy.accept()
            await b.connect()
        assert b.proxy.port == port


async def test_a_refusal_that_ends_by_itself() -> None:
    clock = hand_clock()
    async with bench(clock=clock) as b:
        b.proxy.refuse(1.5)
        await settled()
        clock.advance(1.4)
        await settled()
        with pytest.raises(OSError, match="connect"):
            await b.dial()
        clock.advance(0.1)
        await settled()
        await b.connect()


async def test_a_fault_for_one_connection_spares_the_others() -> None:
    async with bench() as b:
        client, server, connection = await b.connect()
        spared, its_server, other = await b.connect()
        connection.stall()
        await client.send(b"waits")
        await spared.send(b"passes")
        assert await read(its_server, 6) == b"passes"
        connection.reset()
        await is_reset(server)
        assert not b.proxy.connections[0].held_bytes(BOTH)
        assert other.open


# --- back-pressure, and what is left


async def test_a_receiver_that_does_not_read_holds_the_sender_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as never_reads, socket.socket() as sender:
        async with fault_proxy("127.0.0.1", never_reads.getsockname()[1], buffer_bytes=10_000) as proxy:
            sender.setblocking(False)
            sender.connect_ex((proxy.host, proxy.port))
            with anyio.fail_after(PATIENCE_SECONDS):
                await proxy.wait_until(lambda: proxy.connections)
                (connection,) = proxy.connections
                sent = turned_away = most = 0
                while turned_away < 200:
                    try:
                        sent += sender.send(bytes(65536))
                        turned_away = 0
                    except BlockingIOError:
                        turned_away += 1
                        await anyio.lowlevel.checkpoint()
                    most = max(most, connection.held_bytes(TO_SERVER))
                # The system's own buffers take a few megabytes; the proxy no more than it was given.
                assert 5_000 < most <= 10_000
                passed = connection.passed_bytes(TO_SERVER)
                assert passed + most < sent < 64 * 2**20
                server, _ = never_reads.accept()
                with server:
                    server.setblocking(False)
                    received = 0
                    while received < sent:
                        await anyio.wait_readable(server)
                        received += len(server.recv(2**20))
                    assert received == sent


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets by /proc")


@needs_proc
@pytest.mark.parametrize("fault", ["none", "stall", "black_hole", "delay", "refuse", "reset", "cut"])
async def test_nothing_is_left_when_the_block_is_left(fault: str) -> None:
    tasks, files = len(anyio.get_running_tasks()), open_files()
    with socket.create_server(("127.0.0.1", 0)) as server, anyio.fail_after(PATIENCE_SECONDS):
        async with (
            fault_proxy("127.0.0.1", server.getsockname()[1]) as proxy,
            await anyio.connect_tcp(proxy.host, proxy.port) as client,
        ):
            await proxy.wait_until(lambda: proxy.connections)
            await client.send(b"x")
            if fault == "delay":
                proxy.delay(3600)
            elif fault != "none":
                getattr(proxy, fault)()
        assert open_files() <= files + 1
        assert all(not connection.open for connection in proxy.connections)
    await settled()
    assert len(anyio.get_running_tasks()) <= tasks
    with pytest.raises(OSError, match="connect"):
        await anyio.connect_tcp(proxy.host, proxy.port)


async def test_what_waits_when_the_block_is_left_is_not_in_the_log() -> None:
    async with bench() as b:
        client, _, _ = await b.connect()
        b.proxy.stall()
        await client.send(b"waits")
        await b.held(5, TO_SERVER)
        told = str(b.proxy.log)
    assert str(b.proxy.log) == told == "seed 0\nproxy #1 both stall\n"


@needs_proc
async def test_cancelled_at_every_await_nothing_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with fault_proxy("127.0.0.1", server.getsockname()[1]):
            pass
        await settled()
        files = open_files()
        for steps in range(15):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def cancel(after: int, scope: anyio.CancelScope) -> None:
                        for _ in range(after):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    group.start_soon(cancel, steps, scope)
                    async with (
                        fault_proxy("127.0.0.1", server.getsockname()[1]) as proxy,
                        await anyio.connect_tcp(proxy.host, proxy.port) as client,
                    ):
                        await client.send(b"x")
                        await anyio.sleep_forever()
            await settled()
            assert open_files() == files


async def test_what_the_block_raises_leaves_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with fault_proxy("127.0.0.1", 9):
            raise KeyError("mine")
    with pytest.raises(ExceptionGroup, match="ours"):
        async with fault_proxy("127.0.0.1", 9):
            raise ExceptionGroup("ours", [KeyError("a"), ValueError("b")])
    with pytest.raises(ValueError, match="buffer_bytes"):
        async with fault_proxy("127.0.0.1", 9, buffer_bytes=0):
            pytest.fail("it opened")
