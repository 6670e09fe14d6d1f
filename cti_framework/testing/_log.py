"""What a proxy writes down: what it was told to do, and what it did to the bytes. No times, no order between directions.

What cannot be the same in two runs is not in it. The ends of two connections, or the two directions of one, come in an order
that nobody decides; TCP hands over a message whole or in parts. So each direction has a list of its own, and a list tells
*runs* of bytes: how many passed or were lost, under which faults, cut and delayed how. Sizes and delays are drawn by a byte's
place in its run, not by when it came.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from typing import Final

import attrs

from cti_framework.testing.faults import Bandwidth, Delay, Direction, Fault, Split

__all__ = ["FaultLog", "LogEntry", "Run", "Shape", "StreamLog"]

_JITTER_BYTES: Final = 256
_PACED_BYTES: Final = 1460
_PACED_STEPS_A_SECOND: Final = 20
_PIECES_SHOWN: Final = 16


@attrs.frozen
class LogEntry:
    """One line of the log.

    Attributes:
        connection: The connection's number; 0: the proxy.
        direction: The direction whose bytes it tells; ``None``: it is what was done to the connection or the proxy.
        ordinal: Its place in the list of its direction, connection or proxy, from 1.
        event: ``passed`` or ``lost`` for bytes, the fault's name otherwise.
        at_bytes: How many bytes of this direction came before.
        size_bytes: How many bytes it tells.
        detail: More, in words.
    """

    connection: int
    direction: Direction | None
    ordinal: int
    event: str
    at_bytes: int = 0
    size_bytes: int = 0
    detail: str = ""

    def __str__(self) -> str:
        where = f"connection {self.connection}" if self.connection else "proxy"
        if self.direction is None:
            return f"{where} #{self.ordinal} {self.detail}"
        detail = f" {self.detail}" if self.detail else ""
        return f"{where} {self.direction} #{self.ordinal} {self.event} bytes={self.size_bytes} at={self.at_bytes}{detail}"


@attrs.frozen
class Shape:
    """The faults that do not stop bytes.

    Attributes:
        delay: Holds each up.
        split: Cuts them up.
        bandwidth: Lets so many through.
    """

    delay: Delay | None = None
    split: Split | None = None
    bandwidth: Bandwidth | None = None

    def __str__(self) -> str:
        return ", ".join(str(fault) for fault in (self.delay, self.split, self.bandwidth) if fault is not None)


class Run:
    """Bytes that one direction treated alike, one after the other.

    Args:
        seed: What its pieces are drawn from.
        lost: Whether they were thrown away.
        shape: The faults they met.
        at_bytes: How many came before.

    Attributes:
        lost: As given.
        shape: As given.
        at_bytes: As given.
        size_bytes: How many there are.
    """

    __slots__ = (
        "_crc",
        "_draw",
        "_piece_bytes",
        "_piece_left",
        "_piece_seconds",
        "_pieces",
        "_shown",
        "at_bytes",
        "lost",
        "shape",
        "size_bytes",
    )

    def __init__(self, seed: str, *, lost: bool, shape: Shape, at_bytes: int) -> None:
        self.lost = lost
        self.shape = shape
        self.at_bytes = at_bytes
        self.size_bytes = 0
        self._draw = random.Random(seed)
        self._piece_bytes = 0
        self._piece_left = 0
        self._piece_seconds = 0.0
        self._pieces = 0
        self._shown: list[str] = []
        self._crc = 0

    def next_piece(self) -> tuple[int, float]:
        """Say what is to pass next.

        Returns:
            How many bytes at most, and how long each is held up. The same until some have passed.
        """
        if not self._piece_left:
            self._piece_bytes = self._piece_left = self._piece_size()
            delay = self.shape.delay
            self._piece_seconds = 0.0
            if delay is not None:
                self._piece_seconds = delay.seconds + (
                    self._draw.random() * delay.jitter_seconds if delay.jitter_seconds else 0.0
                )
        return self._piece_left, self._piece_seconds

    def _piece_size(self) -> int:
        split, delay, bandwidth = self.shape.split, self.shape.delay, self.shape.bandwidth
        if split is not None:
            return self._draw.randint(split.min_bytes, split.max_bytes)
        if delay is not None and delay.jitter_seconds:
            return _JITTER_BYTES
        if bandwidth is not None:
            return max(1, min(_PACED_BYTES, bandwidth.bytes_per_second // _PACED_STEPS_A_SECOND))
        return _PACED_BYTES * 64

    def add(self, size_bytes: int) -> None:
        """Say that bytes passed, of the piece that was given last, or were lost.

        Args:
            size_bytes: How many.
        """
        self.size_bytes += size_bytes
        if self.lost:
            return
        self._piece_left -= size_bytes
        if not self._piece_left and self._is_drawn:
            told = self._piece(self._piece_bytes)
            self._pieces += 1
            if len(self._shown) < _PIECES_SHOWN:
                self._shown.append(told)
            else:
                self._crc = zlib.crc32(f" {told}".encode(), self._crc)

    @property
    def _is_drawn(self) -> bool:
        delay = self.shape.delay
        return self.shape.split is not None or (delay is not None and delay.jitter_seconds > 0)

    def _piece(self, size_bytes: int) -> str:
        return f"{size_bytes}+{self._piece_seconds:.6f}s" if self.shape.delay is not None else str(size_bytes)

    def detail(self) -> str:
        """Tell the faults, and the pieces if they were drawn: the first by size and delay, the rest by a sum over them."""
        told = [f"({self.shape})"] if str(self.shape) else []
        if not self.lost and self._is_drawn:
            shown, pieces, crc = list(self._shown), self._pieces, self._crc
            if 0 < self._piece_left < self._piece_bytes:
                unfinished = self._piece(self._piece_bytes - self._piece_left)
                pieces += 1
                if len(shown) < _PIECES_SHOWN:
                    shown.append(unfinished)
                else:
                    crc = zlib.crc32(f" {unfinished}".encode(), crc)
            told.append(f"in {pieces} pieces: {' '.join(shown)}")
            if pieces > len(shown):
                told.append(f"and {pieces - len(shown)} more, crc32 {crc:08x}")
        return " ".join(told)


class StreamLog:
    """The runs of one direction of one connection.

    Args:
        seed: The proxy's.
        connection: The connection's number.
        direction: Which way.
    """

    __slots__ = ("_connection", "_direction", "_runs", "_seed")

    def __init__(self, seed: int, connection: int, direction: Direction) -> None:
        self._seed = seed
        self._connection = connection
        self._direction = direction
        self._runs: list[Run] = []

    def run(self, shape: Shape, *, lost: bool = False) -> Run:
        """Give the run that bytes belong to now: the latest, or a new one where something else holds.

        Args:
            shape: The faults that hold.
            lost: Whether the bytes are thrown away.

        Returns:
            It.
        """
        runs = self._runs
        if runs and (runs[-1].shape is shape or runs[-1].shape == shape) and runs[-1].lost is lost:
            return runs[-1]
        if runs and not runs[-1].size_bytes:
            # Nothing came while it held: without it the log does not depend on when it was asked for.
            runs.pop()
            return self.run(shape, lost=lost)
        at_bytes = runs[-1].at_bytes + runs[-1].size_bytes if runs else 0
        # A text, because those seed alike in every process.
        seed = f"{self._seed} {self._connection} {self._direction} {len(runs)}"
        runs.append(Run(seed, lost=lost, shape=shape, at_bytes=at_bytes))
        return runs[-1]

    def entries(self) -> Iterator[LogEntry]:
        """Tell the runs.

        Yields:
            One entry a run.
        """
        for ordinal, run in enumerate((run for run in self._runs if run.size_bytes), start=1):
            yield LogEntry(
                self._connection,
                self._direction,
                ordinal,
                "lost" if run.lost else "passed",
                run.at_bytes,
                run.size_bytes,
                run.detail(),
            )


class FaultLog:
    """What a proxy did. ``str`` gives all of it, a line an entry: the proxy first, then each connection by its number.

    It grows with the number of faults and connections, not with the number of bytes.

    Args:
        seed: The proxy's.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._commands: dict[int, list[LogEntry]] = {0: []}
        self._streams: dict[int, list[StreamLog]] = {}

    def command(self, connection: int, fault: Fault, direction: Direction, moment: str = "") -> None:
        """Write down what was ordered.

        Args:
            connection: For which connection; 0: for the proxy.
            fault: What.
            direction: Which way it works.
            moment: When, if it was scheduled.
        """
        self.event(connection, fault.name, f"{direction} {fault}{f' after {moment}' if moment else ''}")

    def event(self, connection: int, event: str, detail: str) -> None:
        """Write down what happened to a connection or to the proxy.

        Args:
            connection: Its number; 0: the proxy.
            event: One word.
            detail: The words that are shown.
        """
        entries = self._commands[connection]
        entries.append(LogEntry(connection, None, len(entries) + 1, event, detail=detail))

    def connection(self, number: int) -> dict[Direction, StreamLog]:
        """Begin the lists of a connection.

        Args:
            number: Its number.

        Returns:
            One for each direction.
        """
        streams = {direction: StreamLog(self._seed, number, direction) for direction in Direction}
        self._commands[number] = []
        self._streams[number] = list(streams.values())
        return streams

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """Everything so far."""
        told = []
        for number, commands in self._commands.items():
            told += commands
            for stream in self._streams.get(number, ()):
                told += stream.entries()
        return tuple(told)

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (f"seed {self._seed}", *self.entries))
