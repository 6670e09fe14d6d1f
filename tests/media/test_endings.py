"""How media ends: closed, cancelled, lost, or never there. Nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import attrs
import pytest
from structlog.testing import capture_logs

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_framework.media import (
    AiortcPeer,
    AudioSource,
    DeviceNotFoundError,
    IceFailedError,
    IceServer,
    MediaEnded,
    MediaFailed,
    MediaState,
    MediaStateError,
    Silence,
    Tone,
    rtc_peer,
)
from tests.media.listening import LOOPBACK, Heard, Side, a_call, both_connected, connect, nothing_left, sockets, threads

pytestmark = pytest.mark.anyio


async def test_closing_twice_and_from_two_tasks() -> None:
    async with nothing_left(), a_call(Tone(440), Tone(700)) as (caller, callee):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.peer.close)
            tasks.start_soon(caller.peer.close)
        await caller.peer.close()
        assert caller.heard.closed == 1
        await callee.notices.first(MediaEnded)
        assert callee.peer.state is MediaState.ENDED
        with pytest.raises(MediaStateError, match="ended the media"):
            await callee.peer.wait_connected()


class _Gated(Heard):
    """Opens and closes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def _wait(self) -> None:
        self.began.set()
        await self.go_on.wait()

    async def close(self) -> None:
        await self._wait()
        await super().close()
        self.ended.set()


class _GatedAtOpening(_Gated):
    async def open(self) -> None:
        await self._wait()
        await super().open()


async def test_whoever_closes_again_waits_for_the_end_of_it() -> None:
    async with nothing_left():
        sink = _Gated()
        peer = AiortcPeer(LOOPBACK, sink=sink)
        await peer.offer()
        first = asyncio.ensure_future(peer.close())
        await sink.began.wait()
        second = asyncio.ensure_future(peer.close())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
        sink.go_on.set()
        await second
        await first
        assert sink.closed == 1


async def test_closed_while_a_device_is_opened() -> None:
    async with nothing_left():
        source, sink = _Counted(), _GatedAtOpening()
        peer = AiortcPeer(LOOPBACK, source=source, sink=sink)
        offering = asyncio.ensure_future(peer.offer())
        await sink.began.wait()
        await peer.close()
        sink.go_on.set()
        with pytest.raises(MediaStateError, match="closed"):
            await offering
        assert (sink.opened, sink.closed) == (1, 1)
        assert (source.opened, source.closed) == (1, 1)


async def test_cancelled_while_a_device_is_opened() -> None:
    async with nothing_left():
        sink = _GatedAtOpening()
        async with AiortcPeer(LOOPBACK, sink=sink) as peer:
            offering = asyncio.ensure_future(peer.offer())
            await sink.began.wait()
            offering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await offering
            # As a file or a device that a thread opens: it is opened all the same.
            sink.go_on.set()
        assert (sink.opened, sink.closed) == (1, 1)


async def test_replaced_while_the_first_one_is_opened() -> None:
    async with nothing_left():
        first, second = _GatedAtOpening(), Heard()
        async with AiortcPeer(LOOPBACK, sink=first) as peer:
            offering = asyncio.ensure_future(peer.offer())
            await first.began.wait()
            replacing = asyncio.ensure_future(peer.replace_sink(second))
            for _ in range(10):
                await asyncio.sleep(0)
            first.go_on.set()
            await offering
            await replacing
        assert (first.opened, first.closed) == (1, 1)
        assert (second.opened, second.closed) == (1, 1)


async def test_one_that_does_not_close_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_peer, "_CLOSE_SECONDS", 0.1)
    async with nothing_left():
        sink = _Gated()
        peer = AiortcPeer(LOOPBACK, sink=sink)
        await peer.offer()
        with capture_logs() as logged, anyio.fail_after(5):
            await peer.close()
        assert [entry["event"] for entry in logged] == ["cti.media.not_finished"]
        sink.go_on.set()
        with anyio.fail_after(5):
            await sink.ended.wait()


async def test_a_peer_that_was_never_used() -> None:
    async with nothing_left():
        source, sink = Tone(440), Heard()
        async with AiortcPeer(LOOPBACK, source=source, sink=sink) as peer:
            assert peer.state is MediaState.NEW
        # What was not opened is not closed.
        assert (sink.opened, sink.closed) == (0, 0)


async def test_an_offer_that_nobody_answers() -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        await peer.offer()
        await peer.restart()


async def test_fifty_calls_leave_nothing() -> None:
    async def call() -> None:
        async with AiortcPeer(LOOPBACK, source=Tone(440)) as caller, AiortcPeer(LOOPBACK, source=Tone(700)) as callee:
            await connect(caller, callee)

    def peers() -> set[int]:
        gc.collect()
        return {id(found) for found in gc.get_objects() if isinstance(found, AiortcPeer)}

    # Other tests of this process may have left some on purpose: faulty providers are among them.
    before = peers()
    async with nothing_left():
        for _ in range(50):
            await call()
    assert peers() <= before


@pytest.mark.parametrize("turns", range(0, 100, 4))
async def test_cancelled_at_any_step(turns: int) -> None:
    """A caller is cancelled so many turns of the loop after it began, in whichever step that is."""

    async def call() -> None:
        async with a_call(Tone(440), Tone(700)) as (caller, _):
            await caller.heard.tone(700)

    async with nothing_left():
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("step", ["offer", "restart", "answer"])
async def test_closed_while_a_step_is_under_way(step: str) -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as other:
        offer = await other.offer()
        peer = AiortcPeer(LOOPBACK)
        working = asyncio.ensure_future(peer.answer(offer) if step == "answer" else getattr(peer, step)())
        await asyncio.sleep(0)
        await peer.close()
        with pytest.raises(MediaStateError, match="closed"):
            await working


async def test_closed_while_addresses_are_asked_for() -> None:
    """The STUN server never answers: nothing listens there, and the port is one that discards."""
    settings = attrs.evolve(LOOPBACK, ice_servers=(IceServer(url="stun:127.0.0.1:9"),), gather_timeout_seconds=0.3)
    async with nothing_left():
        peer = AiortcPeer(settings)
        with anyio.move_on_after(0.05) as scope:
            await peer.offer()
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            await peer.close()


async def test_a_server_that_does_not_answer_costs_its_time_and_no_more() -> None:
    settings = attrs.evolve(LOOPBACK, ice_servers=(IceServer(url="stun:127.0.0.1:9"),), gather_timeout_seconds=0.2)
    async with nothing_left(), AiortcPeer(settings) as peer:
        with anyio.fail_after(3):
            assert "typ host" in await peer.offer()


async def test_a_side_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 1)
    async with nothing_left(), a_call(Tone(440), Tone(700)) as (caller, callee):
        await caller.heard.tone(700)
        # Its computer is switched off: nothing more is sent, and nothing answered.
        for protocol in transport_of(callee)._protocols:
            monkeypatch.setattr(protocol, "datagram_received", lambda data, addr: None)
            monkeypatch.setattr(protocol.transport, "sendto", lambda data, addr: None)
        told = await caller.notices.first(MediaFailed)
        assert isinstance(told, MediaFailed)
        assert isinstance(told.error, IceFailedError)
        assert "not heard of any more" in str(told.error)
        assert caller.peer.state is MediaState.FAILED


def transport_of(side: Side) -> Any:
    current: Any = side.peer._current
    return current._transceiver.sender.transport.transport._connection


async def test_a_failed_peer_begins_new_media() -> None:
    settings = attrs.evolve(LOOPBACK, connect_timeout_seconds=0.5)
    async with nothing_left():
        caller, gone, callee = Side(Tone(440), settings), Side(Tone(700)), Side(Tone(1_000))
        async with caller.peer, callee.peer:
            async with gone.peer:
                answer = await gone.peer.answer(await caller.peer.offer())
            await caller.peer.set_remote(answer)
            await caller.notices.first(MediaFailed)
            await caller.peer.set_remote(await callee.peer.answer(await caller.peer.restart()))
            await both_connected(caller.peer, callee.peer)
            await caller.heard.tone(1_000)


class _NoMicrophone(AudioSource):
    async def open(self) -> None:
        raise DeviceNotFoundError("The default microphone cannot be used: there is none.")

    async def read(self) -> bytes | None:
        raise AssertionError("never opened")


class _NoSpeaker(Heard):
    async def open(self) -> None:
        raise DeviceNotFoundError("The default speaker cannot be used: there is none.")


class _Counted(Silence):
    def __init__(self) -> None:
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1


async def test_a_missing_device_is_told_before_anything_is_offered() -> None:
    async with nothing_left():
        source = _Counted()
        async with AiortcPeer(LOOPBACK, source=source, sink=_NoSpeaker()) as peer:
            with pytest.raises(DeviceNotFoundError, match="speaker"):
                await peer.offer()
            assert (source.opened, source.closed) == (1, 1)
            # The user goes on without.
            await peer.replace_sink(Heard())
            assert await peer.offer()
        assert (source.opened, source.closed) == (2, 2)
        async with AiortcPeer(LOOPBACK, source=_NoMicrophone(), sink=Heard()) as peer:
            with pytest.raises(DeviceNotFoundError, match="microphone"):
                await peer.offer()


async def test_the_probe_can_fail() -> None:
    """What looks for leaks sees one of each."""
    names, count = threads(), sockets()
    with pytest.raises(AssertionError):
        async with nothing_left():
            peer = AiortcPeer(LOOPBACK)
            await peer.offer()
    assert sockets() > count
    await peer.close()
    assert (threads(), sockets()) == (names, count)
