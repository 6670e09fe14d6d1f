"""Schedules: which fault comes to which connection after how many bytes. Bytes and not times, so that a replay is one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from cti_framework.testing.faults import (
    Bandwidth,
    BlackHole,
    Cut,
    Delay,
    Direction,
    Fault,
    HalfClose,
    Refuse,
    Reset,
    Split,
    Stall,
    read_fault,
)

__all__ = ["ALL_KINDS", "FaultSchedule", "ScheduledFault", "random_faults"]

ALL_KINDS: Final[tuple[type[Fault], ...]] = (
    Delay,
    Split,
    Bandwidth,
    Stall,
    BlackHole,
    HalfClose,
    Reset,
    Cut,
    Refuse,
)
"""What `random_faults` chooses from."""

_COLUMNS: Final = "# connection counting after_bytes direction fault"
_LARGEST_PIECE_BYTES: Final = 16


def _one_way(_: object, attribute: attrs.Attribute[Direction], value: Direction) -> None:
    if value not in (Direction.TO_SERVER, Direction.TO_CLIENT):
        raise ValueError(f"{attribute.name} is one way: to_server or to_client")


@attrs.frozen
class ScheduledFault:
    """One fault and its moment.

    Attributes:
        connection: Which connection of the proxy: 1 is the first that it accepted.
        counting: The way whose bytes are counted.
        after_bytes: How many pass before it; not one more does. 0: as soon as the server is reached.
        fault: What happens.
        direction: Which way it works.
    """

    connection: int = attrs.field(validator=attrs.validators.ge(1))
    counting: Direction = attrs.field(validator=_one_way)
    after_bytes: int = attrs.field(validator=attrs.validators.ge(0))
    fault: Fault
    direction: Direction = Direction.BOTH

    def __str__(self) -> str:
        return f"{self.connection} {self.counting} {self.after_bytes} {self.direction} {self.fault}"


def _as_tuple(faults: Iterable[ScheduledFault]) -> tuple[ScheduledFault, ...]:
    return tuple(faults)


@attrs.frozen
class FaultSchedule:
    """Faults and their moments. Printed it is one line a fault, which ``FaultSchedule.parse`` reads.

    Attributes:
        faults: In any order; of one moment, in the order in which they happen.
    """

    faults: tuple[ScheduledFault, ...] = attrs.field(default=(), converter=_as_tuple)

    def __str__(self) -> str:
        return "\n".join([_COLUMNS, *map(str, self.faults)]) + "\n"

    def __iter__(self) -> Iterator[ScheduledFault]:
        return iter(self.faults)

    def of(self, connection: int, counting: Direction) -> tuple[ScheduledFault, ...]:
        """Find what comes to one way of one connection.

        Args:
            connection: Its number.
            counting: The way whose bytes are counted.

        Returns:
            The faults, in the order in which they happen.
        """
        chosen = (one for one in self.faults if one.connection == connection and one.counting is counting)
        return tuple(sorted(chosen, key=lambda one: one.after_bytes))

    @classmethod
    def parse(cls, text: str) -> FaultSchedule:
        """Read a schedule as it is printed.

        Args:
            text: One line a fault: connection, way that is counted, bytes, way that it works, fault. Empty lines and those that
                begin with ``#`` are left out.

        Returns:
            The schedule.

        Raises:
            ValueError: A line is none; it is named.
        """
        lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
        return cls(_read_line(number, line) for number, line in lines if line and not line.startswith("#"))


def _read_line(number: int, line: str) -> ScheduledFault:
    try:
        connection, counting, after_bytes, direction, fault = line.split(maxsplit=4)
        return ScheduledFault(
            int(connection), Direction[counting.upper()], int(after_bytes), read_fault(fault), Direction[direction.upper()]
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"line {number} of the schedule, {line!r}: {error}") from None


def random_faults(
    seed: int,
    *,
    count: int = 8,
    connections: int = 4,
    within_bytes: int = 4096,
    longest_seconds: float = 0.05,
    kinds: Sequence[type[Fault]] = ALL_KINDS,
) -> FaultSchedule:
    """Draw a schedule. The same arguments draw the same one, in every process.

    Stalls and refusals end by themselves. A connection that is cut, reset or in a black hole stays so, so give whoever is tested
    several.

    Args:
        seed: What to draw from.
        count: How many faults.
        connections: They come to connections from 1 to this one.
        within_bytes: Each comes before so many bytes passed its way.
        longest_seconds: The longest delay, stall and refusal.
        kinds: What to choose from.

    Returns:
        The schedule, in the order of connections and bytes.
    """
    draw = random.Random(f"cti-framework faults {seed}")
    faults = [
        ScheduledFault(
            connection=draw.randint(1, connections),
            counting=draw.choice((Direction.TO_SERVER, Direction.TO_CLIENT)),
            after_bytes=draw.randrange(within_bytes),
            fault=_random_fault(draw, draw.choice(kinds), longest_seconds),
            direction=draw.choice((Direction.TO_SERVER, Direction.TO_CLIENT, Direction.BOTH)),
        )
        for _ in range(count)
    ]
    return FaultSchedule(_in_order(faults))


def _random_fault(draw: random.Random, kind: type[Fault], longest_seconds: float) -> Fault:
    # Milliseconds: a printed schedule stays short, and reading it gives the very same.
    seconds = round(draw.uniform(0.0, longest_seconds), 3)
    if kind is Delay:
        return Delay(seconds, jitter_seconds=round(draw.uniform(0.0, seconds), 3))
    if kind is Split:
        return Split(1, draw.randint(1, _LARGEST_PIECE_BYTES))
    if kind is Bandwidth:
        return Bandwidth(2 ** draw.randint(10, 20))
    if kind is Stall:
        return Stall(seconds)
    if kind is Refuse:
        return Refuse(seconds)
    return kind()


def _in_order(faults: Iterable[ScheduledFault]) -> list[ScheduledFault]:
    return sorted(faults, key=lambda one: (one.connection, one.counting.value, one.after_bytes))
