"""What was pressed, and what is to be done: values."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

import attrs

__all__ = [
    "BACKSPACE",
    "DOWN",
    "ENTER",
    "ESCAPE",
    "UP",
    "Act",
    "Action",
    "Cannot",
    "Entry",
    "Hand",
    "Pasted",
    "Pressed",
    "Purpose",
    "Quit",
    "SendTones",
]

ENTER: Final = "enter"
ESCAPE: Final = "escape"
BACKSPACE: Final = "backspace"
UP: Final = "up"
DOWN: Final = "down"


@attrs.frozen
class Pasted:
    """What was pasted.

    Attributes:
        text: It.
    """

    text: str


Pressed: TypeAlias = str | Pasted


class Purpose(Enum):
    """What a number is typed for."""

    DIAL = "Call"
    TRANSFER = "Send the call to"
    CONSULT = "Ask first"
    TONES = "Send tones"


@attrs.frozen
class Entry:
    """A number that is being typed.

    Attributes:
        purpose: What for.
        text: What there is of it.
        takes_all: Whether letters belong to it; where it was begun by a digit they are keys.
    """

    purpose: Purpose
    text: str = ""
    takes_all: bool = True


@attrs.frozen
class Hand:
    """What was pressed so far that still matters.

    Attributes:
        entry: The number that is being typed.
        selected: The call that was chosen by the arrow keys; ``None``: the line's own order holds.
        is_leaving: Whether leaving was asked for once, while a call was up.
    """

    entry: Entry | None = None
    selected: str | None = None
    is_leaving: bool = False


@attrs.frozen
class Act:
    """A verb of the session is to be called.

    Attributes:
        verb: Its name.
        call_id: The call that it is about; ``None``: none.
        arguments: What stands before the call.
    """

    verb: str
    call_id: str | None = None
    arguments: tuple[str | bool, ...] = ()


@attrs.frozen
class SendTones:
    """Tones are to be sent.

    Attributes:
        call_id: In which call.
        digits: Which.
    """

    call_id: str
    digits: str


@attrs.frozen
class Cannot:
    """What was pressed cannot be done now.

    Attributes:
        text: What is not possible, for the operator.
    """

    text: str


@attrs.frozen
class Quit:
    """The phone is to be put away."""


Action: TypeAlias = Act | SendTones | Cannot | Quit
