"""What the faults of links did, in a text that is the same, byte for byte, for the same script and the same traffic.

No times, no identifiers, and no order between links or kinds of messages: nobody decides those. Each kind of message of each
link has a list of its own, which tells by its ordinals which messages met which fault. A link that is half open is told once, at
the message that began it, or as it was ordered.
"""

from __future__ import annotations

import attrs

from cti_framework.switchboard.faults.kinds import Message, SwitchFault
from cti_framework.switchboard.faults.script import FaultScript

__all__ = ["FaultHit", "SwitchFaultLog"]


@attrs.frozen
class FaultHit:
    """A message met a fault.

    Attributes:
        link: The link's number.
        message: What kind of message it is.
        ordinal: Its number among those of its kind on that link, from 1.
        fault: What it met.
    """

    link: int
    message: Message
    ordinal: int
    fault: SwitchFault


class SwitchFaultLog:
    """What the faults did. ``str`` gives all of it; neighbours that met the same fault share a line.

    It grows with the number of faults, not with that of messages.

    Args:
        script: The script that is played.
    """

    def __init__(self, script: FaultScript) -> None:
        self._script = script
        self._applied: list[str] = []
        self._runs: dict[tuple[int, Message], list[tuple[SwitchFault, int, int]]] = {}

    def applied(self, link: int | None, fault: str) -> None:
        """Write down what was ordered, not scripted.

        Args:
            link: For which link; ``None``: for all.
            fault: What.
        """
        self._applied.append(f"{'all links' if link is None else f'link {link}'} {fault}")

    def hit(self, hit: FaultHit) -> None:
        """Write down that a message met a fault.

        Args:
            hit: Which.
        """
        runs = self._runs.setdefault((hit.link, hit.message), [])
        if runs and runs[-1][0] == hit.fault and runs[-1][2] == hit.ordinal - 1:
            runs[-1] = (hit.fault, runs[-1][1], hit.ordinal)
        else:
            runs.append((hit.fault, hit.ordinal, hit.ordinal))

    def __str__(self) -> str:
        lines = [] if self._script.seed is None else [f"seed {self._script.seed}"]
        lines += [f"#{number} {told}" for number, told in enumerate(self._applied, start=1)]
        for link, message in sorted(self._runs, key=lambda place: (place[0], place[1].value)):
            for fault, first, last in self._runs[link, message]:
                ordinals = str(first) if first == last else f"{first}-{last}"
                lines.append(f"link {link} {message} {ordinals} {fault}")
        return "".join(f"{line}\n" for line in lines)
