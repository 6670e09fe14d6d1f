"""One direction of one connection: bytes are read, kept for as long as the faults say, and written.

A reader and a writer share a buffer of limited size. When it is full the reader reads no more, so who sends is held up by TCP
itself, as by a slow peer. Plain sockets and not anyio's streams: those of asyncio read ahead without being asked, and
neither can be reset.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel
import attrs

from cti_framework.testing._log import Shape, StreamLog
from cti_framework.testing._signal import ROUNDING_SECONDS, Signal
from cti_framework.testing.faults import Bandwidth, BlackHole, Clear, Delay, Fault, Resume, Split, Stall
from cti_framework.testing.schedule import ScheduledFault

__all__ = ["Conditions", "Stream"]

_READ_BYTES: Final = 65536


@attrs.frozen
class Conditions:
    """What holds for one direction, until something else does.

    Attributes:
        shape: The faults that do not stop bytes.
        stalled_until_seconds: When something passes again.
        black_hole: Whether everything is thrown away.
    """

    shape: Shape = attrs.field(factory=Shape)
    stalled_until_seconds: float = -math.inf
    black_hole: bool = False

    def under(self, fault: Fault, now_seconds: float) -> Conditions:
        """Tell what holds once a fault is there.

        Args:
            fault: The fault.
            now_seconds: The time.

        Returns:
            The conditions; the same for a fault that happens once.
        """
        match fault:
            case Delay():
                return attrs.evolve(self, shape=attrs.evolve(self.shape, delay=fault))
            case Split():
                return attrs.evolve(self, shape=attrs.evolve(self.shape, split=fault))
            case Bandwidth():
                return attrs.evolve(self, shape=attrs.evolve(self.shape, bandwidth=fault))
            case Stall(for_seconds=seconds):
                return attrs.evolve(self, stalled_until_seconds=math.inf if seconds is None else now_seconds + seconds)
            case Resume():
                return attrs.evolve(self, stalled_until_seconds=-math.inf)
            case BlackHole():
                return attrs.evolve(self, black_hole=True)
            case Clear():
                return Conditions()
            case _:
                return self


@attrs.define(eq=False)
class _End:
    """The end of what the sender says."""

    at_seconds: float
    reset: bool


class Stream:
    """One direction.

    Args:
        conditions: What holds at first.
        signal: Set whenever something changes.
        log: Where bytes are written down.
        buffer_bytes: How many may wait.
        scheduled: What comes after so many bytes.
        carry_out: Does what was scheduled.
        on_broken: Called when the receiver has reset its connection.
        on_reset: Called when the receiver is to be told that the sender has reset.

    Attributes:
        source: Whence bytes come; ``None``: it is not there yet.
        conditions: What holds now.
        passed_bytes: How many were passed on.
        held_bytes: How many wait.
        lost_bytes: How many were thrown away because of a fault.
    """

    def __init__(
        self,
        *,
        conditions: Conditions,
        signal: Signal,
        log: StreamLog,
        buffer_bytes: int,
        scheduled: Sequence[ScheduledFault],
        carry_out: Callable[[ScheduledFault], None],
        on_broken: Callable[[], None],
        on_reset: Callable[[], None],
    ) -> None:
        self.source: socket.socket | None = None
        self._sink: socket.socket | None = None
        self.conditions = conditions
        self.passed_bytes = 0
        self.held_bytes = 0
        self.lost_bytes = 0
        self._signal = signal
        self._log = log
        self._buffer_bytes = buffer_bytes
        # Read in crumbs, TCP closes its window and looks every 200 ms whether there is room.
        self._least_room_bytes = max(1, buffer_bytes // 2)
        self._scheduled = deque(scheduled)
        self._carry_out = carry_out
        self._on_broken = on_broken
        self._on_reset = on_reset
        self._chunks: deque[tuple[float, memoryview]] = deque()
        self._end: _End | None = None
        self._end_told = False
        self._sender_reset = False
        self._free_at_seconds = -math.inf
        self._discarding = conditions.black_hole
        self._counts_lost = True

    # What is done to it -----------------------------------------------------------------------------------------------

    def change(self, fault: Fault) -> None:
        """Have other conditions hold.

        Args:
            fault: What comes or goes.
        """
        now = self._signal.now()
        self.conditions = self.conditions.under(fault, now)
        # What could not pass in a stall is not made up for afterwards.
        self._free_at_seconds = max(self._free_at_seconds, now)
        if self.conditions.black_hole:
            self.discard()
        self._signal.set()

    def open_sink(self, sink: socket.socket) -> None:
        """Give it the socket that bytes go to.

        Args:
            sink: It.
        """
        self._sink = sink
        if self._end_told:
            self._finish()

    def half_close(self) -> None:
        """Tell the receiver that nothing more comes."""
        self._finish()
        self.discard()

    def discard(self, *, counted: bool = True) -> None:
        """Throw away what waits and what still comes.

        Args:
            counted: Whether it is a fault's doing, so that it is in the log. What nobody could receive any more is not.
        """
        if not self._discarding:
            self._discarding = True
            self._counts_lost = counted
            held, self.held_bytes = self.held_bytes, 0
            self._chunks.clear()
            self._lose(held)
        self._signal.set()

    def sender_has_reset(self) -> None:
        """Pass on that the sender has reset its connection: a failed write to it has shown it."""
        self._sender_reset = True
        if self._end is not None:
            self._end.reset = True
        if self._end_told:
            self._on_reset()
        self._signal.set()

    def carry_out_due(self) -> None:
        """Have what was scheduled for the bytes passed so far."""
        while self._scheduled and self._scheduled[0].after_bytes <= self.passed_bytes:
            self._carry_out(self._scheduled.popleft())

    # Reading ----------------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read until the sender has no more to say, or its connection is closed here."""
        source = self.source
        if source is None:
            return
        while source.fileno() >= 0:
            room = _READ_BYTES if self._discarding else self._buffer_bytes - self.held_bytes
            if room < self._least_room_bytes and not self._discarding:
                await self._signal.wait()
                continue
            try:
                data = source.recv(min(room, _READ_BYTES))
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(source)
                continue
            except OSError:
                self._ended(reset=True)
                return
            if not data:
                self._ended(reset=self._sender_reset)
                return
            self._arrived(data)
            if self._discarding:
                await anyio.lowlevel.checkpoint()

    def _arrived(self, data: bytes) -> None:
        if self._discarding:
            self._lose(len(data))
        else:
            self.held_bytes += len(data)
            self._chunks.append((self._signal.now(), memoryview(data)))
        self._signal.set()

    def _ended(self, *, reset: bool) -> None:
        self._end = _End(self._signal.now(), reset)
        self._signal.set()

    def _lose(self, size_bytes: int) -> None:
        if size_bytes and self._counts_lost:
            self.lost_bytes += size_bytes
            self._log.run(Shape(), lost=True).add(size_bytes)

    # Writing ----------------------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """Write until there is no more to come, or it is all thrown away."""
        sink = self._sink
        while sink is not None and not self._discarding:
            due = self._due_seconds()
            if due > self._signal.now() + ROUNDING_SECONDS:
                await self._signal.wait(due)
            elif self._chunks:
                if self._write_piece(sink, due):
                    # A receiver in this very loop is woken at the first turn and has read at the second: pieces stay apart.
                    await anyio.lowlevel.checkpoint()
                    await anyio.lowlevel.checkpoint()
                elif not self._discarding:
                    with suppress(anyio.ClosedResourceError):
                        await anyio.wait_writable(sink)
                    self._free_at_seconds = max(self._free_at_seconds, self._signal.now())
            elif self._end is not None:
                self._tell_end(self._end)
                return

    def _due_seconds(self) -> float:
        """Tell when the next thing is to happen, as far as is known now."""
        shape = self.conditions.shape
        if self._chunks:
            arrived, _ = self._chunks[0]
            _, held_up_seconds = self._log.run(shape).next_piece()
            due = arrived + held_up_seconds
            if shape.bandwidth is not None:
                due = max(due, self._free_at_seconds)
        elif self._end is not None:
            due = self._end.at_seconds + (shape.delay.seconds if shape.delay is not None else 0.0)
        else:
            return math.inf
        return max(due, self.conditions.stalled_until_seconds)

    def _write_piece(self, sink: socket.socket, due_seconds: float) -> bool:
        """Write what is due. ``False``: nothing could be."""
        run = self._log.run(self.conditions.shape)
        size, _ = run.next_piece()
        if self._scheduled:
            size = min(size, self._scheduled[0].after_bytes - self.passed_bytes)
        arrived, chunk = self._chunks[0]
        try:
            sent = sink.send(chunk[:size])
        except BlockingIOError:
            return False
        except OSError:
            self._on_broken()
            return False
        if sent == len(chunk):
            self._chunks.popleft()
        else:
            self._chunks[0] = (arrived, chunk[sent:])
        run.add(sent)
        self.passed_bytes += sent
        self.held_bytes -= sent
        bandwidth = self.conditions.shape.bandwidth
        if bandwidth is not None:
            self._free_at_seconds = due_seconds + sent / bandwidth.bytes_per_second
        self.carry_out_due()
        self._signal.set()
        return True

    def _tell_end(self, end: _End) -> None:
        if end.reset:
            self._end_told = True
            self._on_reset()
        else:
            self._finish()

    def _finish(self) -> None:
        self._end_told = True
        if self._sink is not None:
            with suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
