"""Scripts: which message of which link meets which fault. Messages and not times, so that a replay is one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from cti_framework.switchboard.faults.kinds import (
    DelayMessages,
    DropLink,
    DuplicateEvents,
    HalfOpen,
    LoseReplies,
    Message,
    ReorderEvents,
    SlowPeer,
    SwitchFault,
    read_switch_fault,
)

__all__ = ["ALL_SWITCH_KINDS", "MET_BY", "FaultScript", "ScriptedFault", "random_switch_faults"]

ALL_SWITCH_KINDS: Final[tuple[type[SwitchFault], ...]] = (
    DropLink,
    HalfOpen,
    DelayMessages,
    DuplicateEvents,
    ReorderEvents,
    LoseReplies,
    SlowPeer,
)
"""What `random_switch_faults` chooses from."""

_COLUMNS: Final = "# link message ordinal fault"
_SEED: Final = "seed "
_MOST_MESSAGES: Final = 4
MET_BY: Final[dict[type[SwitchFault], tuple[Message, ...]]] = {
    DuplicateEvents: (Message.EVENT,),
    ReorderEvents: (Message.EVENT,),
    DelayMessages: (Message.EVENT, Message.REPLY),
    LoseReplies: (Message.REPLY,),
    SlowPeer: (Message.COMMAND,),
}
"""Which messages meet a fault; any does where nothing is said."""


@attrs.frozen
class ScriptedFault:
    """One fault, and the message that meets it first.

    Attributes:
        link: Which link: 1 is the first.
        message: Messages of which kind are counted.
        ordinal: Which of them, from 1.
        fault: What happens.
    """

    link: int = attrs.field(validator=attrs.validators.ge(1))
    message: Message
    ordinal: int = attrs.field(validator=attrs.validators.ge(1))
    fault: SwitchFault

    def __str__(self) -> str:
        return f"{self.link} {self.message} {self.ordinal} {self.fault}"


def _as_tuple(faults: Iterable[ScriptedFault]) -> tuple[ScriptedFault, ...]:
    return tuple(faults)


@attrs.frozen
class FaultScript:
    """Faults and the messages that meet them. Printed it is one line a fault, which ``FaultScript.parse`` reads.

    Attributes:
        faults: In any order; of one message, in the order in which they happen.
        seed: What they were drawn from; ``None``: somebody wrote them.
    """

    faults: tuple[ScriptedFault, ...] = attrs.field(default=(), converter=_as_tuple)
    seed: int | None = None

    def __str__(self) -> str:
        seed = [] if self.seed is None else [f"{_SEED}{self.seed}"]
        return "\n".join([_COLUMNS, *seed, *map(str, self.faults)]) + "\n"

    def __iter__(self) -> Iterator[ScriptedFault]:
        return iter(self.faults)

    def of(self, link: int) -> tuple[ScriptedFault, ...]:
        """Find what one link meets.

        Args:
            link: Its number.

        Returns:
            The faults, as they are in the script.
        """
        return tuple(one for one in self.faults if one.link == link)

    @classmethod
    def parse(cls, text: str) -> FaultScript:
        """Read a script as it is printed.

        Args:
            text: One line a fault: link, kind of message, its ordinal, fault. A line ``seed 7`` says where they come from. Empty
                lines and those that begin with ``#`` are left out.

        Returns:
            The script.

        Raises:
            ValueError: A line is none; it is named.
        """
        faults: list[ScriptedFault] = []
        seed: int | None = None
        for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
            if line and not line.startswith("#"):
                try:
                    if line.startswith(_SEED):
                        seed = int(line.removeprefix(_SEED))
                    else:
                        faults.append(_read_line(line))
                except ValueError as error:
                    raise ValueError(f"line {number} of the script, {line!r}: {error}") from None
        return cls(faults, seed)


def _read_line(line: str) -> ScriptedFault:
    link, message, ordinal, fault = line.split(maxsplit=3)
    return ScriptedFault(int(link), Message(message), int(ordinal), read_switch_fault(fault))


def random_switch_faults(
    seed: int,
    *,
    count: int = 6,
    links: int = 4,
    within_messages: int = 40,
    longest_seconds: float = 5.0,
    kinds: Sequence[type[SwitchFault]] = ALL_SWITCH_KINDS,
) -> FaultScript:
    """Draw a script. The same arguments draw the same one, in every process.

    Args:
        seed: What to draw from.
        count: How many faults.
        links: They come to links from 1 to this one: whoever is tested opens another after each that breaks.
        within_messages: Each is met by a message of at most this ordinal.
        longest_seconds: The longest delay of one message.
        kinds: What to choose from.

    Returns:
        The script, in the order of links and messages.
    """
    draw = random.Random(f"cti-framework switch faults {seed}")
    faults = []
    for _ in range(count):
        kind = draw.choice(kinds)
        link, ordinal = draw.randint(1, links), draw.randint(1, within_messages)
        faults.append(
            ScriptedFault(link, draw.choice(MET_BY.get(kind, tuple(Message))), ordinal, _random(draw, kind, longest_seconds))
        )
    return FaultScript(sorted(faults, key=lambda one: (one.link, one.message.value, one.ordinal)), seed)


def _random(draw: random.Random, kind: type[SwitchFault], longest_seconds: float) -> SwitchFault:
    messages = draw.randint(1, _MOST_MESSAGES)
    # Milliseconds: a printed script stays short, and reading it gives the very same.
    seconds = round(draw.uniform(0.0, longest_seconds), 3)
    if kind is DelayMessages:
        return DelayMessages(messages, seconds)
    if kind is SlowPeer:
        return SlowPeer(messages, seconds)
    if kind is ReorderEvents:
        return ReorderEvents(messages, min(seconds, ReorderEvents().seconds))
    if kind is DuplicateEvents:
        return DuplicateEvents(messages)
    if kind is LoseReplies:
        return LoseReplies(messages)
    return kind()
