"""Faults as data: schedules that are printed and replayed, and a log that is the same for the same seed and traffic."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from anyio.abc import SocketStream
from hypothesis import given
from hypothesis import strategies as st

import cti_framework.testing
from cti_framework.testing import (
    ALL_KINDS,
    Accept,
    Bandwidth,
    BlackHole,
    Clear,
    Cut,
    Delay,
    Direction,
    Fault,
    FaultConnection,
    FaultSchedule,
    HalfClose,
    Refuse,
    Reset,
    Resume,
    ScheduledFault,
    Split,
    Stall,
    random_faults,
    read_fault,
)
from tests.core.fault_bench import TO_CLIENT, TO_SERVER, Bench, bench, hand_clock, read, settled
from tests.core.test_import import HEAVY, modules_after

seconds = st.floats(0, 1000) | st.integers(0, 1000)
faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Delay, seconds, seconds),
    st.builds(lambda least, more: Split(least, least + more), st.integers(1, 100), st.integers(0, 100)),
    st.builds(Bandwidth, st.integers(1, 10**9)),
    st.builds(Stall, st.none() | seconds),
    st.builds(Refuse, st.none() | seconds),
    st.sampled_from([Resume(), BlackHole(), HalfClose(), Reset(), Cut(), Accept(), Clear()]),
)
schedules = st.builds(
    FaultSchedule,
    st.lists(
        st.builds(
            ScheduledFault,
            st.integers(1, 99),
            st.sampled_from([TO_SERVER, TO_CLIENT]),
            st.integers(0, 10**6),
            faults,
            st.sampled_from([TO_SERVER, TO_CLIENT, Direction.BOTH]),
        )
    ),
)


# --- schedules


@given(schedules)
def test_a_schedule_that_is_printed_can_be_read_again(schedule: FaultSchedule) -> None:
    assert FaultSchedule.parse(str(schedule)) == schedule


def test_a_seed_draws_the_same_schedule_in_every_process() -> None:
    assert str(random_faults(7, count=4, connections=2)) == (
        "# connection counting after_bytes direction fault\n"
        "1 to_client 1502 to_server reset\n"
        "2 to_server 12 both cut\n"
        "2 to_server 2319 to_client split min_bytes=1 max_bytes=10\n"
        "2 to_client 969 to_server half_close\n"
    )


def test_other_seeds_draw_other_schedules_of_all_kinds() -> None:
    drawn = [random_faults(seed) for seed in range(50)]
    assert len({str(schedule) for schedule in drawn}) == 50
    assert {type(one.fault) for schedule in drawn for one in schedule} == set(ALL_KINDS)
    assert all(len(schedule.faults) == 8 for schedule in drawn)
    for one in random_faults(3, count=200, connections=2, within_bytes=10, longest_seconds=0.01, kinds=[Stall, Delay]):
        assert one.connection in (1, 2)
        assert 0 <= one.after_bytes < 10
        assert isinstance(one.fault, Stall | Delay)
        assert max(value for value in attrs.astuple(one.fault)) <= 0.01


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 to_server 5 both", "line 2"),
        ("0 to_server 5 both reset", "connection"),
        ("1 both 5 both reset", "one way"),
        ("1 to_server -5 both reset", "after_bytes"),
        ("1 upwards 5 both reset", "UPWARDS"),
        ("1 to_server x both reset", "'x'"),
        ("1 to_server 5 both explode", "'explode' is no fault; there are delay, split"),
        ("1 to_server 5 both reset seconds=1", "reset does not take that"),
        ("1 to_server 5 both delay", "delay does not take that"),
        ("1 to_server 5 both delay seconds=soon", "is not name=number"),
        ("1 to_server 5 both delay seconds=-1", "seconds"),
        ("1 to_server 5 both split min_bytes=9", "may not be below"),
        ("1 to_server 5 both bandwidth bytes_per_second=0", "bytes_per_second"),
        ("1 to_server 5 both bandwidth bytes_per_second=1.5", "bandwidth does not take that"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 of the schedule") as caught:
        FaultSchedule.parse(f"# a comment\n{line}\n")
    assert problem in str(caught.value)


@pytest.mark.parametrize("make", [lambda: Delay(math.nan), lambda: Stall(math.inf), lambda: Split(0), lambda: Bandwidth(-1)])
def test_a_fault_that_could_not_be(make: Callable[[], Fault]) -> None:
    with pytest.raises(ValueError, match=r"must be|has to"):
        make()
    with pytest.raises(ValueError, match="'' is no fault"):
        read_fault(" ")


def test_every_fault_can_be_read_by_its_name() -> None:
    kinds = [value for value in vars(cti_framework.testing).values() if isinstance(value, type) and issubclass(value, Fault)]
    for kind in kinds:
        if kind is not Fault:
            needed = [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING]
            assert isinstance(read_fault(" ".join([kind.name, *(f"{name}=1" for name in needed)])), kind)
    assert len(kinds) == 13


def test_it_needs_no_extra() -> None:
    assert modules_after("import cti_framework.testing") & {*HEAVY, "pluggy", "pytest", "structlog"} == set()


# --- schedules at work

pytestmark = pytest.mark.anyio


def scheduled(text: str) -> dict[str, Any]:
    return {"schedule": FaultSchedule.parse(text)}


async def until_over(stream: SocketStream) -> tuple[bytes, str]:
    """Read until there is no more; give what came and how it ended."""
    data = b""
    while True:
        try:
            data += await stream.receive()
        except anyio.EndOfStream:
            return data, "closed"
        except anyio.BrokenResourceError:
            return data, "reset"


@pytest.mark.parametrize(("fault", "end"), [("cut", "closed"), ("reset", "reset"), ("half_close", "closed")])
async def test_a_scheduled_fault_comes_after_exactly_so_many_bytes(fault: str, end: str) -> None:
    async with bench(**scheduled(f"2 to_server 137 to_server {fault}")) as b:
        spared, its_server, _ = await b.connect()
        client, server, connection = await b.connect()
        await client.send(bytes(range(100)))
        assert await read(server, 100) == bytes(range(100))
        await client.send(bytes(100))
        assert await until_over(server) == (bytes(37), end)
        assert connection.passed_bytes(TO_SERVER) == 137
        await spared.send(bytes(200))
        assert len(await read(its_server, 200)) == 200


async def test_faults_at_the_very_start_and_several_at_one_moment() -> None:
    plan = """
        1 to_client 0 to_client split max_bytes=1
        1 to_server 0 to_server stall
        1 to_client 3 to_client stall
        1 to_client 3 both cut
    """
    async with bench(**scheduled(plan)) as b:
        client, server, connection = await b.connect()
        await client.send(b"waits")
        await b.held(5, TO_SERVER)
        await server.send(b"abcdef")
        assert await until_over(client) == (b"abc", "closed")
        assert await until_over(server) == (b"", "closed")
        assert connection.passed_bytes(TO_SERVER) == 0


async def test_at_no_bytes_is_at_once_and_lines_may_come_in_any_order() -> None:
    async with bench(**scheduled("1 to_client 9 both cut\n1 to_client 2 to_server half_close\n2 to_server 0 both reset")) as b:
        client, server, _ = await b.connect()
        await server.send(b"ab")
        assert await until_over(server) == (b"", "closed")
        await server.send(b"cdefghijkl")
        assert await until_over(client) == (b"abcdefghi", "closed")
        client, server, _ = await b.connect()
        assert await until_over(client) == (b"", "reset")
        assert await until_over(server) == (b"", "reset")


async def test_a_scheduled_refusal_is_the_proxy_s() -> None:
    clock = hand_clock()
    async with bench(clock=clock, **scheduled("1 to_server 1 both refuse for_seconds=5")) as b:
        client, server, _ = await b.connect()
        await client.send(b"x")
        await read(server, 1)
        with pytest.raises(OSError, match="connect"):
            await b.dial()
        await settled()
        clock.advance(5)
        await settled()
        await b.connect()


# --- the log


async def conversation(b: Bench, chunk_bytes: int) -> str:
    """Talk over two connections with everything going on; the messages are cut differently each time."""
    proxy = b.proxy

    async def say(sender: SocketStream, receiver: SocketStream, data: bytes) -> None:
        for start in range(0, len(data), chunk_bytes):
            await sender.send(data[start : start + chunk_bytes])
        assert await read(receiver, len(data)) == data

    client, server, connection = await b.connect()
    await say(client, server, b"hello")
    proxy.split(2, 5)
    await say(server, client, bytes(range(60)))
    proxy.delay(0.0005, jitter_seconds=0.001, direction=TO_SERVER)
    await say(client, server, bytes(50))
    await say(server, client, bytes(40))
    other, its_server, _ = await b.connect()
    connection.stall()
    await client.send(b"waits")
    await b.held(5, TO_SERVER)
    await say(other, its_server, bytes(300))
    connection.clear()
    await say(server, client, bytes(7))
    await read(server, 5)
    connection.black_hole(direction=TO_CLIENT)
    await server.send(bytes(11))
    await proxy.wait_until(lambda: connection.lost_bytes(TO_CLIENT) == 11)
    proxy.refuse()
    proxy.accept()
    proxy.cut()
    return str(proxy.log)


LOG = """\
seed 11
proxy #1 both split min_bytes=2 max_bytes=5
proxy #2 to_server delay seconds=0.0005 jitter_seconds=0.001
proxy #3 both refuse
proxy #4 both accept
proxy #5 both cut
connection 1 #1 both stall
connection 1 #2 both clear
connection 1 #3 to_client black_hole
connection 1 to_server #1 passed bytes=5 at=0
connection 1 to_server #2 passed bytes=50 at=5 (delay seconds=0.0005 jitter_seconds=0.001, split min_bytes=2 \
max_bytes=5) in 13 pieces: 2+0.000659s 5+0.000793s 3+0.001399s 5+0.000859s 5+0.001070s 3+0.000834s 4+0.001281s \
5+0.000685s 5+0.000557s 3+0.000875s 3+0.000532s 5+0.001359s 2+0.000923s
connection 1 to_server #3 passed bytes=5 at=55
connection 1 to_client #1 passed bytes=100 at=0 (split min_bytes=2 max_bytes=5) in 28 pieces: 3 5 3 2 3 2 4 2 5 5 2 4 2 \
5 5 4 and 12 more, crc32 227c44d1
connection 1 to_client #2 passed bytes=7 at=100
connection 1 to_client #3 lost bytes=11 at=107
connection 2 #1 both split min_bytes=1 max_bytes=90 after 200 bytes to_server
connection 2 to_server #1 passed bytes=200 at=0 (delay seconds=0.0005 jitter_seconds=0.001, split min_bytes=2 \
max_bytes=5) in 55 pieces: 4+0.000932s 5+0.001465s 3+0.000907s 4+0.000990s 4+0.001306s 4+0.001464s 4+0.001093s \
4+0.000714s 5+0.001163s 5+0.000969s 2+0.000658s 3+0.000518s 3+0.001295s 4+0.001134s 3+0.000969s 3+0.000985s and 39 more,\
 crc32 fe4c0b2a
connection 2 to_server #2 passed bytes=100 at=200 (delay seconds=0.0005 jitter_seconds=0.001, split min_bytes=1 \
max_bytes=90) in 4 pieces: 24+0.001422s 67+0.001213s 5+0.001369s 4+0.001482s
"""


async def test_the_same_seed_gives_the_same_log_however_the_bytes_came() -> None:
    logs = []
    for chunk_bytes in (1, 7, 1000):
        async with bench(seed=11, schedule=FaultSchedule.parse("2 to_server 200 both split max_bytes=90")) as b:
            logs.append(await conversation(b, chunk_bytes))
            left = b.proxy
        assert str(left.log) == logs[-1]
    assert logs[0].encode() == logs[1].encode() == logs[2].encode()
    # Pinned: it is the same on both event loops, in every process.
    assert logs[0] == LOG


async def test_another_seed_gives_another_log() -> None:
    logs = []
    for seed in (11, 12):
        async with bench(seed=seed) as b:
            logs.append((await conversation(b, 1000)).replace(f"seed {seed}", ""))
    assert logs[0] != logs[1]


async def test_the_log_does_not_grow_with_the_bytes_but_tells_of_each_piece() -> None:
    sizes, sums = [], []
    for seed, count in ((1, 2000), (1, 20_000), (2, 20_000)):
        async with bench(seed=seed) as b:
            client, server, _ = await b.connect()
            b.proxy.split(1, 30)
            await client.send(bytes(count))
            await read(server, count)
            (_, entry) = b.proxy.log.entries
            assert (entry.event, entry.size_bytes, entry.direction) == ("passed", count, TO_SERVER)
            sizes.append(len(str(b.proxy.log)))
            sums.append(entry.detail.rpartition(" ")[2])
    assert max(sizes) < 500
    assert len(set(sums)) == 3


# --- anything at all


async def dialled(b: Bench) -> SocketStream:
    while True:
        try:
            return await b.dial()
        except OSError:
            await anyio.lowlevel.checkpoint()


async def push(stream: SocketStream, data: bytes) -> None:
    with suppress(anyio.BrokenResourceError):
        await stream.send(data)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_what_comes_out_is_the_beginning_of_what_went_in(seed: int) -> None:
    schedule = random_faults(seed, count=10, connections=4, within_bytes=500, longest_seconds=0.004)
    sent = {TO_SERVER: bytes(range(256)) * 4, TO_CLIENT: bytes(reversed(range(256))) * 4}
    async with bench(seed=seed, schedule=schedule) as b:
        for number in range(4):
            client = await dialled(b)
            server = await b.accepted.receive()
            connection = b.proxy.connections[number]
            got: dict[Direction, bytes] = {}

            async def pull(stream: SocketStream, way: Direction, got: dict[Direction, bytes] = got) -> None:
                got[way], _ = await until_over(stream)

            async with anyio.create_task_group() as group:
                for way, (sender, receiver) in {TO_SERVER: (client, server), TO_CLIENT: (server, client)}.items():
                    group.start_soon(push, sender, sent[way])
                    group.start_soon(pull, receiver, way)
                # Where a reset one way leaves the other end waiting, nothing more would change.
                with anyio.move_on_after(0.2):
                    await b.proxy.wait_until(partial(all_over, connection))
                b.proxy.cut()
            for way in Direction:
                assert sent[way].startswith(got[way]), str(schedule)
                assert len(got[way]) <= connection.passed_bytes(way), str(schedule)
    assert not any(connection.open for connection in b.proxy.connections)


def all_over(connection: FaultConnection) -> bool:
    ways = [connection.passed_bytes(way) == 1024 or connection.lost_bytes(way) > 0 for way in Direction]
    return not connection.open or all(ways)
