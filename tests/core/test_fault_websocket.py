"""The WebSocket port behind a network that fails: what its caller is told, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from websockets.frames import Opcode

from cti_framework.errors import NetworkError
from cti_framework.testing import Direction, FaultProxy, FaultSchedule, fault_proxy
from cti_framework.transport import WebSocket, open_websocket
from tests.core.fault_bench import BOTH, TO_CLIENT, TO_SERVER, hand_clock
from tests.core.test_transport import PATIENCE_SECONDS, Peer, opening_error, serving

pytestmark = pytest.mark.anyio


async def echo(peer: Peer) -> None:
    await peer.accept()
    async for frame in peer.frames():
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            await peer.send(bytes(frame.data).decode())


@asynccontextmanager
async def echoing(**options: Any) -> AsyncIterator[tuple[FaultProxy, str]]:
    """A WebSocket server that says everything back, behind a proxy; give the proxy and the address."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with serving(echo) as url, fault_proxy("127.0.0.1", urlsplit(url).port or 0, **options) as proxy:
            yield proxy, proxy.url_for(f"{url}/engine")


async def ask(websocket: WebSocket, text: str) -> None:
    await websocket.send(text)
    assert await websocket.receive() == text.encode()


QUICK: dict[str, Any] = {"close_timeout_seconds": 0.05, "ping_interval_seconds": None}


async def test_without_a_fault_nothing_is_noticed() -> None:
    async with echoing() as (proxy, url), open_websocket(url) as websocket:
        await ask(websocket, "x" * 1_000_000)
        await websocket.close()
        assert websocket.close_code == 1000
        await proxy.wait_until(lambda: not proxy.connections[0].open)


@pytest.mark.parametrize("most", [1, 7])
async def test_split_at_every_byte_handshake_and_frames_are_read_all_the_same(most: int) -> None:
    async with echoing() as (proxy, url):
        proxy.split(1, most)
        async with open_websocket(url) as websocket:
            for text in ("", "x", "ä" * 100, "y" * 700):
                await ask(websocket, text)
            assert proxy.connections[0].passed_bytes(BOTH) > 2000


async def test_delayed_the_answer_comes_when_it_comes() -> None:
    clock = hand_clock()
    async with echoing(clock=clock) as (proxy, url), open_websocket(url) as websocket, anyio.create_task_group() as group:
        proxy.delay(1.0)
        group.start_soon(ask, websocket, "text")
        (connection,) = proxy.connections
        await proxy.wait_until(lambda: connection.held_bytes(TO_SERVER) > 0)
        clock.advance(1.0)
        await proxy.wait_until(lambda: connection.held_bytes(TO_CLIENT) > 0)
        clock.advance(1.0)
        await proxy.wait_until(lambda: connection.held_bytes(TO_CLIENT) == 0)
        proxy.clear()


async def test_reset_is_told_at_once() -> None:
    async with echoing() as (proxy, url), open_websocket(url, **QUICK) as websocket:
        await ask(websocket, "text")
        proxy.reset()
        with pytest.raises(NetworkError, match="reset the connection") as caught:
            await websocket.receive()
        assert caught.value.retryable
        assert websocket.close_code == 1006


async def test_cut_is_told_at_once() -> None:
    async with echoing() as (proxy, url), open_websocket(url, **QUICK) as websocket:
        await ask(websocket, "text")
        proxy.cut()
        with pytest.raises(NetworkError, match="cut without a closing handshake"):
            await websocket.receive()


@pytest.mark.parametrize("way", [TO_CLIENT, TO_SERVER])
async def test_half_closed_either_way_the_connection_is_over(way: Direction) -> None:
    async with echoing() as (proxy, url), open_websocket(url, **QUICK) as websocket:
        await ask(websocket, "text")
        proxy.half_close(direction=way)
        with pytest.raises(NetworkError, match="cut without a closing handshake"):
            await websocket.receive()


@pytest.mark.parametrize("after_bytes", [1, 60, 130, 200])
async def test_cut_within_handshake_or_frame_no_half_message_is_told(after_bytes: int) -> None:
    schedule = FaultSchedule.parse(f"1 to_client {after_bytes} both cut")
    got = []
    async with echoing(schedule=schedule) as (proxy, url):
        with pytest.raises(NetworkError):
            async with open_websocket(url, **QUICK) as websocket:
                for _ in range(20):
                    await websocket.send("0123456789")
                    got.append(await websocket.receive())
        assert set(got) <= {b"0123456789"}
        assert proxy.connections[0].passed_bytes(TO_CLIENT) == after_bytes


async def test_stalled_nothing_comes_and_afterwards_everything() -> None:
    async with echoing() as (proxy, url), open_websocket(url, **QUICK) as websocket:
        (connection,) = proxy.connections
        proxy.stall(direction=TO_CLIENT)
        for number in range(3):
            await websocket.send(str(number))
        await proxy.wait_until(lambda: connection.held_bytes(TO_CLIENT) == 9)
        proxy.resume()
        assert [await websocket.receive() for _ in range(3)] == [b"0", b"1", b"2"]


async def test_a_peer_in_a_black_hole_is_found_dead_by_its_silence() -> None:
    async with (
        echoing() as (proxy, url),
        open_websocket(url, ping_interval_seconds=0.02, ping_timeout_seconds=0.05, close_timeout_seconds=0.05) as websocket,
    ):
        await ask(websocket, "text")
        proxy.black_hole()
        await websocket.send("lost")
        with pytest.raises(NetworkError, match="did not answer a ping") as caught:
            await websocket.receive()
        assert caught.value.retryable


async def test_nobody_answers_from_a_black_hole() -> None:
    async with echoing() as (proxy, url):
        proxy.black_hole()
        error = await opening_error(url, open_timeout_seconds=0.1)
        assert "did not answer within 0.1 s" in str(error)
        assert proxy.connections[0].lost_bytes(TO_SERVER) > 100


async def test_refused_and_reset_in_the_handshake() -> None:
    async with echoing() as (proxy, url):
        proxy.refuse()
        assert "refuses connections" in str(await opening_error(url))
        proxy.accept()
        async with open_websocket(url) as websocket:
            await ask(websocket, "again")
    async with echoing(schedule=FaultSchedule.parse("1 to_server 5 both reset")) as (_, url):
        assert "during the opening handshake" in str(await opening_error(url))


async def test_a_peer_that_does_not_read_fails_the_send_and_the_proxy_s_memory_stays_flat() -> None:
    async with (
        echoing(buffer_bytes=20_000) as (proxy, url),
        open_websocket(url, send_timeout_seconds=0.1, **QUICK) as websocket,
    ):
        (connection,) = proxy.connections
        proxy.stall()
        with pytest.raises(NetworkError, match=r"has not read anything for 0\.1 s"):
            for _ in range(100):
                await websocket.send("x" * 1_000_000)
        assert 10_000 < connection.held_bytes(TO_SERVER) <= 20_000
