"""The faults as verbs: the same for a whole proxy and for one connection of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from cti_framework.testing.faults import (
    Bandwidth,
    BlackHole,
    Clear,
    Cut,
    Delay,
    Direction,
    Fault,
    HalfClose,
    Reset,
    Resume,
    Split,
    Stall,
)

__all__ = ["Faults"]


class Faults(ABC):
    """What can be made to fail. Each verb works at once, and stays until something else does."""

    @abstractmethod
    def apply(self, fault: Fault, direction: Direction = Direction.BOTH) -> None:
        """Make a fault happen.

        Args:
            fault: Which.
            direction: Which way it works.
        """

    def delay(self, seconds: float, *, jitter_seconds: float = 0.0, direction: Direction = Direction.BOTH) -> None:
        """Hold each byte up; see `Delay`.

        Args:
            seconds: How long.
            jitter_seconds: The most that is added to it, drawn from the proxy's seed.
            direction: Which way.
        """
        self.apply(Delay(seconds, jitter_seconds), direction)

    def split(self, min_bytes: int = 1, max_bytes: int = 8, *, direction: Direction = Direction.BOTH) -> None:
        """Cut what passes into small pieces; see `Split`.

        Args:
            min_bytes: The smallest piece.
            max_bytes: The largest piece.
            direction: Which way.
        """
        self.apply(Split(min_bytes, max_bytes), direction)

    def bandwidth(self, bytes_per_second: int, *, direction: Direction = Direction.BOTH) -> None:
        """Let only so much through; see `Bandwidth`.

        Args:
            bytes_per_second: How much, of each connection and each way.
            direction: Which way.
        """
        self.apply(Bandwidth(bytes_per_second), direction)

    def stall(self, for_seconds: float | None = None, *, direction: Direction = Direction.BOTH) -> None:
        """Let nothing pass and lose nothing; see `Stall`.

        Args:
            for_seconds: How long; ``None``: until ``resume()``.
            direction: Which way.
        """
        self.apply(Stall(for_seconds), direction)

    def resume(self, *, direction: Direction = Direction.BOTH) -> None:
        """End a stall.

        Args:
            direction: Which way.
        """
        self.apply(Resume(), direction)

    def black_hole(self, *, direction: Direction = Direction.BOTH) -> None:
        """Read and throw away, tell nobody; see `BlackHole`.

        Args:
            direction: Which way.
        """
        self.apply(BlackHole(), direction)

    def half_close(self, *, direction: Direction) -> None:
        """Tell the receiver that nothing more comes; see `HalfClose`.

        Args:
            direction: Which way.
        """
        self.apply(HalfClose(), direction)

    def reset(self, *, direction: Direction = Direction.BOTH) -> None:
        """Reset the connection; see `Reset`.

        Args:
            direction: Whose: ``TO_CLIENT`` is the client's.
        """
        self.apply(Reset(), direction)

    def cut(self) -> None:
        """Close both ends."""
        self.apply(Cut())

    def clear(self, *, direction: Direction = Direction.BOTH) -> None:
        """End delay, split, bandwidth and stall; see `Clear`.

        Args:
            direction: Which way.
        """
        self.apply(Clear(), direction)
