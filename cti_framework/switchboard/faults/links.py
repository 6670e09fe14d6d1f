"""All links of a PBX, and the script that they play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cti_framework.switchboard.clock import Clock
from cti_framework.switchboard.faults.kinds import Message, SwitchFault
from cti_framework.switchboard.faults.link import FaultLink
from cti_framework.switchboard.faults.log import FaultHit, SwitchFaultLog
from cti_framework.switchboard.faults.script import FaultScript

__all__ = ["SwitchFaults"]

ToClient = TypeVar("ToClient")
ToPbx = TypeVar("ToPbx")


def _no_call(message: object) -> str:
    return ""


class SwitchFaults:
    """The faults of a PBX's links. Every connection to it is a link, numbered from 1 in the order in which they opened.

    Without a script and without an order nothing goes wrong.

    Args:
        clock: The switch's, by which messages wait.
        script: What is to happen.

    Attributes:
        on_hit: Called with each message that meets a fault. It must not raise.
        log: What happened since the script began.
        script: The present one.
    """

    def __init__(self, clock: Clock, script: FaultScript | None = None) -> None:
        self._clock = clock
        self._links: dict[FaultLink[Any, Any], None] = {}
        self._opened = 0
        self.on_hit: Callable[[FaultHit], object] = _no_call
        self.script = script or FaultScript()
        self.log = SwitchFaultLog(self.script)

    @property
    def links(self) -> tuple[FaultLink[Any, Any], ...]:
        """The links that are open, oldest first."""
        return tuple(self._links)

    def play(self, script: FaultScript) -> None:
        """Play another script from now on. The links that are open count as the first ones, each from its next message.

        What earlier faults hold back still comes at its time; a link that is half open stays so.

        Args:
            script: Which.
        """
        self.script = script
        self.log = SwitchFaultLog(script)
        for number, link in enumerate(self.links, start=1):
            link.renumber(number, script.of(number))
        self._opened = len(self._links)

    def apply(self, fault: SwitchFault) -> None:
        """Make a fault happen to every open link.

        Args:
            fault: Which.
        """
        self.log.applied(None, str(fault))
        for link in self.links:
            link.begin(fault)

    def heal(self) -> None:
        """End the script and every fault; what was held back comes now. A link that is half open stays so until it is closed."""
        self.log.applied(None, "heal")
        self.script = FaultScript()
        for link in self.links:
            link.heal()

    def open_link(
        self,
        *,
        to_client: Callable[[ToClient], None],
        to_pbx: Callable[[ToPbx], None],
        cut: Callable[[], None],
        concerns: Callable[[ToClient], str] = _no_call,
    ) -> FaultLink[ToClient, ToPbx]:
        """Say that a client has connected.

        Args:
            to_client: Given what the PBX says, event or reply, when it is to come out.
            to_pbx: Given each command, when it is to be carried out.
            cut: Cuts the connection, for both ends to see.
            concerns: Tells which call an event concerns; empty: none.

        Returns:
            The link. Whoever opened it closes it when the connection is gone.
        """
        self._opened += 1
        link = FaultLink(
            self._opened,
            self._clock,
            to_client=to_client,
            to_pbx=to_pbx,
            cut=cut,
            concerns=concerns,
            scripted=self.script.of(self._opened),
            on_hit=self._hit,
            # Which messages a dead link loses, and of which kind, is nobody's order: the log tells once what ended it.
            on_swallowed=self._swallowed,
            on_applied=lambda number, fault: self.log.applied(number, str(fault)),
            on_closed=lambda closed: self._links.pop(closed, None),
        )
        self._links[link] = None
        return link

    def _swallowed(self, link: int, message: Message, ordinal: int, fault: SwitchFault) -> None:
        self.on_hit(FaultHit(link, message, ordinal, fault))

    def _hit(self, link: int, message: Message, ordinal: int, fault: SwitchFault) -> None:
        hit = FaultHit(link, message, ordinal, fault)
        self.log.hit(hit)
        self.on_hit(hit)
