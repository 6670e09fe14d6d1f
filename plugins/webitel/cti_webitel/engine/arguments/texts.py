"""What people write: notes, messages, passwords."""

from __future__ import annotations

import string
from typing import Final

from cti_framework.errors import InvalidArgumentError
from cti_webitel.engine.arguments.refusal import check_length, check_text, refusal

__all__ = ["check_message", "check_note", "check_password"]

_MOST_NOTE_CHARACTERS: Final = 255
_MOST_MESSAGE_CHARACTERS: Final = 4096
_MOST_PASSWORD_CHARACTERS: Final = 255
_BREAKING_NOTES: Final = frozenset("',\\[]{}")
# The switch separates what it is told of a message by the first, and takes the second for the beginning of an escape.
_BREAKING_MESSAGES: Final = frozenset("|\\")
_OF_PASSWORDS: Final = frozenset(string.ascii_letters + string.digits + "!#$%&()*+-./<=>?^_`~")


def check_note(text: str) -> str:
    """Make a note beside a status such that it can be sent.

    Quotes, commas and brackets would end the directory's command (facts: webitel-protocol 7.23). An apostrophe becomes a
    typographic one, the others and line ends become spaces.

    Args:
        text: What the operator wrote.

    Returns:
        What to send; it can be empty.

    Raises:
        InvalidArgumentError: It is too long.
    """
    kept = check_text("note", text).replace("'", "\u2019")
    note = " ".join("".join(" " if c in _BREAKING_NOTES or not c.isprintable() else c for c in kept).split())
    return check_length("note", note, _MOST_NOTE_CHARACTERS)


def check_message(text: str) -> str:
    """Make a chat message such that it can be sent: the switch reads it out of a command's line.

    Args:
        text: What the operator wrote. Line ends become spaces, an apostrophe becomes a typographic one.

    Returns:
        What to send.

    Raises:
        InvalidArgumentError: It is empty or too long, or holds ``|``, a backslash or a control character.
    """
    message = " ".join(check_text("message", text).splitlines()).replace("'", "\u2019").strip()
    for position, character in enumerate(message, start=1):
        if character in _BREAKING_MESSAGES or not character.isprintable():
            raise refusal("message", message, character, position, "Leave it out.")
    return check_length("message", message, _MOST_MESSAGE_CHARACTERS, least=1)


def check_password(text: str) -> str:
    """Check the password of an account to be made. An error does not repeat it.

    Args:
        text: Letters, digits and the marks of ASCII that end nothing: the directory reads it out of ``number:password@domain``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    for position, character in enumerate(check_text("password", text), start=1):
        if character not in _OF_PASSWORDS:
            raise InvalidArgumentError(
                f"The password has a character at position {position} that the directory cannot take.",
                remedy="Use letters, digits and the marks ! # $ % & ( ) * + - . / < = > ? ^ _ ` ~.",
            )
    return check_length("password", text, _MOST_PASSWORD_CHARACTERS, least=1)
