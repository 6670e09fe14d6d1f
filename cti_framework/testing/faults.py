"""The faults that a proxy can do, as values: to be applied, scheduled, printed and read again."""

from __future__ import annotations

from enum import Flag
from typing import Any, ClassVar, Final

import attrs

from cti_framework.switchboard.faults.text import WrittenFault, read_written

__all__ = [
    "Accept",
    "Bandwidth",
    "BlackHole",
    "Clear",
    "Cut",
    "Delay",
    "Direction",
    "Fault",
    "HalfClose",
    "Refuse",
    "Reset",
    "Resume",
    "Split",
    "Stall",
    "read_fault",
]

_LARGEST_BYTES: Final = 2**40
_LONGEST_SECONDS: Final = 10.0**9


class Direction(Flag):
    """Which way bytes go; for a fault, which way it works."""

    TO_SERVER = 1
    """From the client to the server."""
    TO_CLIENT = 2
    """From the server to the client."""
    BOTH = 3
    """Both ways."""

    def __str__(self) -> str:
        return (self.name or "none").lower()

    @property
    def opposite(self) -> Direction:
        """The other way; of both, neither."""
        return ~self


def _seconds(*, default: Any = attrs.NOTHING) -> Any:
    return attrs.field(
        default=default,
        converter=lambda value: None if value is None else float(value),
        validator=attrs.validators.optional(attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(_LONGEST_SECONDS))),
    )


def _bytes(*, default: Any = attrs.NOTHING) -> Any:
    bounds = [attrs.validators.instance_of(int), attrs.validators.ge(1), attrs.validators.le(_LARGEST_BYTES)]
    return attrs.field(default=default, validator=bounds)


@attrs.frozen
class Fault(WrittenFault):
    """One thing that a network can do to a connection. Written as text it is its name and its values."""


@attrs.frozen
class Delay(Fault):
    """Each byte passes some time after it came; order is kept, and what comes meanwhile waits beside it.

    Attributes:
        seconds: How long.
        jitter_seconds: The most that is added to it. What is added is drawn anew for each piece of a `Split`, otherwise for
            every 256 bytes.
    """

    name: ClassVar[str] = "delay"
    seconds: float = _seconds()
    jitter_seconds: float = _seconds(default=0.0)


@attrs.frozen
class Split(Fault):
    """What comes at once passes in small pieces, wherever a frame of a protocol begins or ends.

    Attributes:
        min_bytes: The smallest piece.
        max_bytes: The largest piece. Each piece's size is drawn.
    """

    name: ClassVar[str] = "split"
    min_bytes: int = _bytes(default=1)
    max_bytes: int = _bytes(default=8)

    def __attrs_post_init__(self) -> None:
        if self.max_bytes < self.min_bytes:
            raise ValueError(f"max_bytes ({self.max_bytes}) may not be below min_bytes ({self.min_bytes})")


@attrs.frozen
class Bandwidth(Fault):
    """No more passes than so many bytes a second.

    Attributes:
        bytes_per_second: How many, of each connection and each way.
    """

    name: ClassVar[str] = "bandwidth"
    bytes_per_second: int = _bytes()


@attrs.frozen
class Stall(Fault):
    """Nothing passes and nothing is lost: what comes waits, and when the proxy is full, so does who sends.

    Attributes:
        for_seconds: How long; ``None``: until `Resume`.
    """

    name: ClassVar[str] = "stall"
    for_seconds: float | None = _seconds(default=None)


@attrs.frozen
class Resume(Fault):
    """A `Stall` is over: what has waited passes."""

    name: ClassVar[str] = "resume"


@attrs.frozen
class BlackHole(Fault):
    """What comes is read and thrown away, an end of the connection too; nobody is told anything.

    A connection that has one never gets out of it: bytes are missing. Given to a proxy it takes new connections too, which are
    accepted; where it works both ways they do not reach the server.
    """

    name: ClassVar[str] = "black_hole"


@attrs.frozen
class HalfClose(Fault):
    """The receiver is told that nothing more comes (FIN). What still comes is read and thrown away."""

    name: ClassVar[str] = "half_close"


@attrs.frozen
class Reset(Fault):
    """The receiver's connection is reset (RST). Done one way, the other end is told nothing."""

    name: ClassVar[str] = "reset"


@attrs.frozen
class Cut(Fault):
    """Both ends are closed (FIN), whichever way it is given."""

    name: ClassVar[str] = "cut"


@attrs.frozen
class Refuse(Fault):
    """Nobody listens: new connections are refused. Those that there are go on.

    Attributes:
        for_seconds: How long; ``None``: until `Accept`.
    """

    name: ClassVar[str] = "refuse"
    for_seconds: float | None = _seconds(default=None)


@attrs.frozen
class Accept(Fault):
    """Somebody listens again."""

    name: ClassVar[str] = "accept"


@attrs.frozen
class Clear(Fault):
    """No delay, no split, no bandwidth, no stall from now on; for new connections no black hole either."""

    name: ClassVar[str] = "clear"


_BY_NAME: Final[dict[str, type[Fault]]] = {
    fault.name: fault
    for fault in (Delay, Split, Bandwidth, Stall, Resume, BlackHole, HalfClose, Reset, Cut, Refuse, Accept, Clear)
}


def read_fault(text: str) -> Fault:
    """Read a fault as ``str`` writes it.

    Args:
        text: For example ``delay seconds=0.05``.

    Returns:
        The fault.

    Raises:
        ValueError: There is no such fault, or it may not hold that.
    """
    return read_written(text, _BY_NAME, "no fault")
