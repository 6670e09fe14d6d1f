"""The faults of a link to a PBX, as values: to be applied, scripted, printed and read again.

A network loses bytes; a link loses, repeats and delays *messages*, and knows an event from the answer to a command. What can go
wrong with bytes is in ``cti_framework.testing.faults``.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar, Final

import attrs

from cti_framework.switchboard.faults.text import WrittenFault, read_written

__all__ = [
    "DelayMessages",
    "DropLink",
    "DuplicateEvents",
    "HalfOpen",
    "LoseReplies",
    "Message",
    "ReorderEvents",
    "SlowPeer",
    "SwitchFault",
    "read_switch_fault",
]

_LONGEST_SECONDS: Final = 10.0**9


class Message(Enum):
    """What passes over a link."""

    EVENT = "event"
    """From the PBX: something happened."""
    REPLY = "reply"
    """From the PBX: the answer to a command."""
    COMMAND = "command"
    """To the PBX."""

    def __str__(self) -> str:
        return self.value


def _count() -> Any:
    bounds = [attrs.validators.instance_of(int), attrs.validators.ge(1)]
    return attrs.field(default=1, validator=bounds)


def _seconds(default: float) -> Any:
    bounds: Any = [attrs.validators.ge(0), attrs.validators.le(_LONGEST_SECONDS)]
    return attrs.field(default=default, converter=float, validator=bounds)


@attrs.frozen
class SwitchFault(WrittenFault):
    """One thing that can be wrong with a link. Written as text it is its name and its values."""


@attrs.frozen
class DropLink(SwitchFault):
    """The link is cut, and both ends see it. What was on its way is lost; calls go on."""

    name: ClassVar[str] = "drop"


@attrs.frozen
class HalfOpen(SwitchFault):
    """Nothing passes either way any more, and nobody is told. Only another link heals that."""

    name: ClassVar[str] = "half_open"


@attrs.frozen
class DelayMessages(SwitchFault):
    """What the PBX says comes later. The order is kept: what comes behind waits, too.

    Attributes:
        messages: How many messages are delayed: so many events, and so many replies. From a script that counts the one or the
            other, only these.
        seconds: How long each.
    """

    name: ClassVar[str] = "delay"
    messages: int = _count()
    seconds: float = _seconds(1.0)


@attrs.frozen
class DuplicateEvents(SwitchFault):
    """Events come twice, the second right behind the first.

    Attributes:
        messages: How many of them.
    """

    name: ClassVar[str] = "duplicate"
    messages: int = _count()


@attrs.frozen
class ReorderEvents(SwitchFault):
    """Two neighbours that concern different calls change places. One call's events stay in order, and no reply is overtaken.

    Attributes:
        messages: How many events wait for a neighbour to change places with.
        seconds: How long each waits at most.
    """

    name: ClassVar[str] = "reorder"
    messages: int = _count()
    seconds: float = _seconds(0.05)


@attrs.frozen
class LoseReplies(SwitchFault):
    """Commands are carried out, and their replies never come.

    Attributes:
        messages: How many replies.
    """

    name: ClassVar[str] = "lost_reply"
    messages: int = _count()


@attrs.frozen
class SlowPeer(SwitchFault):
    """The PBX takes its time to read: one command after the other. What it says on its own comes as ever.

    Attributes:
        messages: How many commands.
        seconds: How long each takes.
    """

    name: ClassVar[str] = "slow_peer"
    messages: int = _count()
    seconds: float = _seconds(1.0)


_BY_NAME: Final[dict[str, type[SwitchFault]]] = {
    fault.name: fault for fault in (DropLink, HalfOpen, DelayMessages, DuplicateEvents, ReorderEvents, LoseReplies, SlowPeer)
}


def read_switch_fault(text: str) -> SwitchFault:
    """Read a fault as ``str`` writes it.

    Args:
        text: For example ``delay messages=3 seconds=0.5``.

    Returns:
        The fault.

    Raises:
        ValueError: There is no such fault, or it may not hold that.
    """
    return read_written(text, _BY_NAME, "no fault of a link")
