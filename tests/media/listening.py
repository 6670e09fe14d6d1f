"""Listening: sinks that tests wait on, and what a tone is known by."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from cti_framework.media import (
    FRAME_BYTES,
    SAMPLE_RATE_HZ,
    AudioSink,
    AudioSource,
    MediaNotice,
    MediaPeer,
    MediaSettings,
    QualityMeasured,
    level_dbfs,
)
from cti_framework.media.pcm import samples_of
from cti_framework.media.rtc_peer import AiortcPeer

LOOPBACK = MediaSettings(host_addresses=("127.0.0.1",), connect_timeout_seconds=10, quality_interval_seconds=0.5)
SILENT_DBFS = -70.0
_WINDOW = 10 * FRAME_BYTES


def share_of(pcm: bytes, frequency_hz: int) -> float:
    """The share of the power that is at one frequency, by Goertzel's algorithm: 1 is that tone and nothing else."""
    samples = samples_of(pcm)
    turn = 2 * math.cos(2 * math.pi * frequency_hz / SAMPLE_RATE_HZ)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + turn * last - before
    power = before * before + last * last - turn * before * last
    total = sum(sample * sample for sample in samples)
    return 2 * power / (len(samples) * total) if total else 0.0


class Heard(AudioSink):
    """Keeps what is heard, and lets tests wait for it."""

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.missing = 0
        self.opened = 0
        self.closed = 0
        self._more = asyncio.Event()

    async def open(self) -> None:
        self.opened += 1

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        assert len(frame) == FRAME_BYTES
        self.pcm += frame
        self.missing += missing
        self._more.set()

    async def close(self) -> None:
        self.closed += 1

    async def more(self, frames: int = 1) -> bytes:
        """Wait for so many new frames; give them."""
        start = len(self.pcm)
        while len(self.pcm) < start + frames * FRAME_BYTES:
            self._more.clear()
            await self._more.wait()
        return bytes(self.pcm[start:])

    async def tone(self, frequency_hz: int, *, share: float = 0.9) -> None:
        """Wait until a fifth of a second holds that tone and little else."""
        with anyio.fail_after(10):
            while True:
                latest = await self.more(10)
                if level_dbfs(latest) > -30 and share_of(latest, frequency_hz) > share:
                    return

    async def silence(self) -> None:
        """Wait until a fifth of a second is silent."""
        with anyio.fail_after(10):
            while level_dbfs(await self.more(10)) > SILENT_DBFS:
                pass


class Notices(list[MediaNotice]):
    """Keeps what a peer tells, and lets tests wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def __call__(self, notice: MediaNotice) -> None:
        self.append(notice)
        self._more.set()

    def kinds(self) -> list[type[MediaNotice]]:
        """What was told, without measurements."""
        return [type(notice) for notice in self if not isinstance(notice, QualityMeasured)]

    async def first(self, kind: type[MediaNotice], *, count: int = 1) -> MediaNotice:
        """Wait for the given one of a kind."""
        with anyio.fail_after(15):
            while len(found := [notice for notice in self if isinstance(notice, kind)]) < count:
                self._more.clear()
                await self._more.wait()
        return found[count - 1]


async def connect(caller: MediaPeer, callee: MediaPeer) -> None:
    """Let one call the other."""
    await caller.set_remote(await callee.answer(await caller.offer()))
    await both_connected(caller, callee)


async def both_connected(*peers: MediaPeer) -> None:
    with anyio.fail_after(10):
        for peer in peers:
            await peer.wait_connected()


class Side:
    """A peer with what it says, what it hears and what it tells."""

    def __init__(self, source: AudioSource, settings: MediaSettings = LOOPBACK) -> None:
        self.heard = Heard()
        self.notices = Notices()
        self.source = source
        self.peer = AiortcPeer(settings, self.notices, source=source, sink=self.heard)


@asynccontextmanager
async def a_call(first: AudioSource, second: AudioSource, settings: MediaSettings = LOOPBACK) -> AsyncIterator[tuple[Side, Side]]:
    """Two sides that hear each other."""
    caller, callee = Side(first, settings), Side(second, settings)
    async with caller.peer, callee.peer:
        await connect(caller.peer, callee.peer)
        yield caller, callee


def sockets() -> int:
    """How many sockets this process has."""
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
        except OSError:
            # The descriptor of the listing itself.
            continue
    return count


def threads() -> set[str]:
    """The threads of this process, but those that the event loop keeps for itself."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fails if what is done inside leaves a task, a thread or a socket."""
    tasks, names, count = asyncio.all_tasks(), threads(), sockets()
    yield
    # What has ended is still there for a turn of the loop.
    for _ in range(5):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks
    assert not left, left
    assert threads() - names == set()
    assert sockets() == count
