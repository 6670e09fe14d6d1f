"""The far side of the PBX in a box, as a test drives it."""

from __future__ import annotations

from typing import Any

from cti_framework.errors import NotSupportedError
from cti_framework.provider import Simulation
from cti_framework.testing.conformance.running import NotMeasured
from cti_framework.testing.conformance.seen import Seen

__all__ = ["FarSideOfTest"]


class FarSideOfTest:
    """The far side of the PBX in a box: what it cannot do is not measured.

    Args:
        simulation: The PBX in a box.
        seen: Where to write down.
    """

    def __init__(self, simulation: Simulation, seen: Seen) -> None:
        self._far_side = simulation.far_side
        self._seen = seen

    def can(self, verb: str) -> bool:
        """Tell whether it has a verb.

        Args:
            verb: Its name.

        Returns:
            Whether.
        """
        return callable(getattr(self._far_side, verb, None))

    async def do(self, verb: str, *arguments: Any) -> Any:
        """Have it do something.

        Args:
            verb: The name of a method of ``FarSide``, or of one that a far side may have beside them.
            arguments: The method's.

        Returns:
            What the method gives.

        Raises:
            NotMeasured: It cannot do that.
        """
        if not self.can(verb):
            raise NotMeasured(f"the far side cannot {verb}")
        self._seen.note("far side", f"{verb}({', '.join(map(repr, arguments))})")
        try:
            return await getattr(self._far_side, verb)(*arguments)
        except (NotImplementedError, NotSupportedError) as error:
            raise NotMeasured(f"the far side cannot {verb}: {error}") from None
