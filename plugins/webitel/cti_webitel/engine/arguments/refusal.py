"""How an argument is refused: by name, with the first character that it may not hold and its place."""

from __future__ import annotations

from collections.abc import Container

from cti_framework.errors import InvalidArgumentError

__all__ = ["check_characters", "check_length", "check_text", "refusal", "shown"]


def check_text(what: str, value: object) -> str:
    """Check that an argument is a text.

    Args:
        what: What it is, for people.
        value: It.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is of another type.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"The {what} is a {type(value).__name__}, not a text.", remedy="Pass a str.")
    return value


def check_characters(what: str, text: str, allowed: Container[str], remedy: str) -> str:
    """Check that a text holds nothing else than what is allowed.

    Args:
        what: What it is, for people.
        text: It.
        allowed: The characters that it may hold.
        remedy: What to do instead.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is no text or holds something else; the first such character is named with its place.
    """
    for position, character in enumerate(check_text(what, text), start=1):
        if character not in allowed:
            raise refusal(what, text, character, position, remedy)
    return text


def check_length(what: str, text: str, most: int, *, least: int = 0) -> str:
    """Check that a text is not too long, nor too short.

    Args:
        what: What it is, for people.
        text: It.
        most: How many characters it may have.
        least: How many it must have.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has more or fewer.
    """
    if len(text) > most:
        raise InvalidArgumentError(f"The {what} has {len(text)} characters; {most} are allowed.", remedy="Shorten it.")
    if len(text) < least:
        raise InvalidArgumentError(f"The {what} is empty.", remedy="Give one.")
    return text


def shown(text: str) -> str:
    """Write what was given such that an error can be logged and shown: it must not fill the screen or move the cursor.

    Args:
        text: What was given.

    Returns:
        It in ASCII and quotes, cut short.
    """
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def refusal(what: str, text: str, character: str, position: int, remedy: str) -> InvalidArgumentError:
    """Make the error for a character that may not be there.

    Args:
        what: What the text is, for people.
        text: It.
        character: Which character.
        position: Its place, counted from 1.
        remedy: What to do instead.

    Returns:
        The error.
    """
    return InvalidArgumentError(f"The {what} {shown(text)} has {character!a} at position {position}.", remedy=remedy)
