"""The far side of the PBX in a box, as a test drives it."""

from __future__ import annotations

from inspect import isawaitable
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
        self._check(verb)
        self._seen.note("far side", f"{verb}({', '.join(map(repr, arguments))})")
        return await self._have(verb, *arguments)

    async def hears(self, number: str) -> float | None:
        """Tell what it hears. That is asked again and again, and not written down.

        Args:
            number: Who is at the other end.

        Returns:
            The loudest frequency of the last half second, in hertz; ``None``: it is quiet.

        Raises:
            NotMeasured: It has no ears.
        """
        self._check("hears")
        heard: float | None = await self._have("hears", number)
        return heard

    def _check(self, verb: str) -> None:
        if not self.can(verb):
            raise NotMeasured(f"the far side cannot {verb}")

    async def _have(self, verb: str, *arguments: Any) -> Any:
        try:
            answer = getattr(self._far_side, verb)(*arguments)
            return await answer if isawaitable(answer) else answer
        except (NotImplementedError, NotSupportedError) as error:
            raise NotMeasured(f"the far side cannot {verb}: {error}") from None
