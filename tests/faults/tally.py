"""How often each kind of fault hit while a call was open: what the run prints, and what it fails by."""

from __future__ import annotations

from collections import Counter

from cti_framework.switchboard.faults import SwitchFault
from cti_framework.testing import Fault
from tests.faults.worlds import World

TALLIES: dict[str, str] = {}


class Tally:
    """The hits of all walks at one kind of PBX."""

    def __init__(self, world: type[World]) -> None:
        self._world = world
        self._hits: Counter[type[SwitchFault] | type[Fault]] = Counter()
        self._walks: Counter[str] = Counter()
        self.resyncs = 0

    def add(self, world: World, backend: str) -> None:
        """Count one walk."""
        self._hits.update(world.hits)
        self._walks[backend] += 1
        self.resyncs += world.resyncs

    def publish(self) -> None:
        """Have it printed at the end of the run."""
        TALLIES[self._world.__name__] = str(self)

    def __str__(self) -> str:
        walks = ", ".join(f"{count} on {backend}" for backend, count in sorted(self._walks.items()))
        hits = ", ".join(f"{_name(kind)} {self._hits[kind]}" for kind in self._world.kinds)
        return f"{self._world.__name__}, {walks}: {hits}; readers who came back too late {self.resyncs}"

    @property
    def missing(self) -> list[str]:
        """The kinds that never hit."""
        return [_name(kind) for kind in self._world.kinds if not self._hits[kind]]

    @property
    def backends(self) -> set[str]:
        """The event loops that were walked on."""
        return set(self._walks)


def _name(kind: type[SwitchFault] | type[Fault]) -> str:
    return kind.name if issubclass(kind, SwitchFault) else f"network {kind.name}"
