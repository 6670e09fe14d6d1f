"""What may be sent to the engine.

The engine pastes what it is sent into commands of the switch, unquoted (facts: webitel-protocol 3.2, 7.18, 7.23): a comma, a
brace or a space in a number starts another argument, or another command. So what is not known to be harmless is refused here,
before it is sent, with the character and its place.
"""

from __future__ import annotations

import re
from typing import Final

from cti_framework.errors import InvalidArgumentError
from cti_webitel.engine.causes import CAUSES

__all__ = [
    "check_account",
    "check_cause",
    "check_destination",
    "check_digits",
    "check_note",
    "check_parameter",
    "check_uuid",
    "check_variable",
]

_MOST_DESTINATION_CHARACTERS: Final = 64
_MOST_TONES: Final = 128
_MOST_NOTE_CHARACTERS: Final = 255
_MOST_VALUE_CHARACTERS: Final = 4096

_SEPARATORS: Final = frozenset(" -()./\u00a0\u2010\u2011\u2012\u2013")
_DIALLED: Final = frozenset("0123456789*#")
_TONES: Final = frozenset("0123456789*#ABCD")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

# The engine drops these without a word, or they change whose call it is (facts: webitel-protocol 3.2).
_DROPPED_PREFIXES: Final = ("api_on_", "execute_on_", "exec_")
_DROPPED_NAMES: Final = frozenset(
    {
        "api_after_bridge",
        "api_before_bridge",
        "api_hangup_hook",
        "api_reporting_hook",
        "record_post_process_exec_api",
        "session_in_hangup_hook",
        "domain_name",
    }
)
# They end a value or the list that it stands in, or start a variable of the switch.
_BREAKING_VALUES: Final = frozenset("',\"\\[]{}")
_BREAKING_NOTES: Final = frozenset("',\\[]{}")


def check_destination(text: str) -> str:
    """Check a number to call or to transfer to.

    Args:
        text: Digits, ``*``, ``#`` and one ``+`` in front; spaces, hyphens, points, brackets and slashes between them are what
            people write and are left out.

    Returns:
        What to send.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    dialled: list[str] = []
    for position, character in enumerate(_text("number", text), start=1):
        if character in _DIALLED or (character == "+" and not dialled):
            dialled.append(character)
        elif character == "+":
            raise InvalidArgumentError(
                f"The number {_shown(text)} has '+' at position {position}; it can only stand in front.", remedy=_DIAL_REMEDY
            )
        elif character not in _SEPARATORS:
            raise _refusal("number", text, character, position, _DIAL_REMEDY)
    number = "".join(dialled)
    if number in ("", "+"):
        raise InvalidArgumentError("The number is empty.", remedy=_DIAL_REMEDY)
    if len(number) > _MOST_DESTINATION_CHARACTERS:
        raise InvalidArgumentError(
            f"The number has {len(number)} characters; {_MOST_DESTINATION_CHARACTERS} are allowed.", remedy=_DIAL_REMEDY
        )
    return number


_DIAL_REMEDY: Final = "Use digits, '*', '#' and one '+' in front."


def check_uuid(text: str) -> str:
    """Check an identifier of a leg or a call.

    Args:
        text: A UUID.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is none.
    """
    if _UUID.fullmatch(_text("identifier", text)) is None:
        raise InvalidArgumentError(f"{_shown(text)} is no UUID.", remedy="Use the identifier as the engine told it.")
    return text


def check_digits(text: str) -> str:
    """Check tones to send.

    Args:
        text: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    remedy = "Use 0 to 9, '*', '#' and A to D."
    for position, character in enumerate(_text("tones", text), start=1):
        if character not in _TONES:
            raise _refusal("tones", text, character, position, remedy)
    if not text:
        raise InvalidArgumentError("There are no tones to send.", remedy=remedy)
    if len(text) > _MOST_TONES:
        raise InvalidArgumentError(f"There are {len(text)} tones; {_MOST_TONES} can be sent at once.", remedy=remedy)
    return text


def check_cause(text: str) -> str:
    """Check a hang-up cause.

    Args:
        text: FreeSWITCH's name of it, in capitals.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: FreeSWITCH knows none of that name, and would take it for ``NORMAL_CLEARING``.
    """
    if _text("cause", text) not in CAUSES:
        raise InvalidArgumentError(
            f"{_shown(text)} is no hang-up cause.", remedy="Use one of FreeSWITCH's names, such as USER_BUSY or CALL_REJECTED."
        )
    return text


def check_account(text: str) -> str:
    """Check the name of an account.

    Args:
        text: ``number@domain``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has another form.
    """
    if _ACCOUNT.fullmatch(_text("account", text)) is None:
        raise InvalidArgumentError(f"{_shown(text)} is no account.", remedy="Write it as number@domain, such as 100@pbx.example.")
    return text


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
    kept = _text("note", text).replace("'", "\u2019")
    note = " ".join("".join(" " if c in _BREAKING_NOTES or not c.isprintable() else c for c in kept).split())
    if len(note) > _MOST_NOTE_CHARACTERS:
        raise InvalidArgumentError(
            f"The note has {len(note)} characters; {_MOST_NOTE_CHARACTERS} are allowed.", remedy="Shorten it."
        )
    return note


def check_variable(name: str, value: str) -> tuple[str, str]:
    """Check a channel variable of a call to be made.

    Args:
        name: A letter or ``_``, then letters, digits, ``_``, ``.``, ``-``; none of those that the engine drops.
        value: Any text without quotes, commas, brackets, braces, backslashes and control characters.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: Name or value could inject into the switch, or would be dropped.
    """
    if _VARIABLE.fullmatch(_text("name of a variable", name)) is None:
        raise InvalidArgumentError(
            f"{_shown(name)} is no name of a variable.",
            remedy="Begin it with a letter or '_' and go on with letters, digits, '_', '.' and '-'.",
        )
    lowered = name.lower()
    if lowered in _DROPPED_NAMES or lowered.startswith(_DROPPED_PREFIXES):
        raise InvalidArgumentError(f"The engine does not let clients set {_shown(name)}.", remedy="Use another name.")
    for position, character in enumerate(_text(f"value of {name}", value), start=1):
        if character in _BREAKING_VALUES or not character.isprintable():
            raise _refusal(f"value of {name}", value, character, position, "Leave it out.")
    # The switch reads "^^" and a sign as another separator of its list.
    if value.startswith("^^"):
        raise _refusal(f"value of {name}", value, "^", 1, "Leave it out.")
    if len(value) > _MOST_VALUE_CHARACTERS:
        raise InvalidArgumentError(
            f"The value of {name} has {len(value)} characters; {_MOST_VALUE_CHARACTERS} are allowed.", remedy="Shorten it."
        )
    return name, value


def check_parameter(text: str) -> str:
    """Check a channel variable that the engine pastes unquoted, such as the one that makes a device answer by itself.

    Args:
        text: ``name=value``; as for `check_variable`, and no space in the value.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has another form, or could inject into the switch.
    """
    name, sign, value = _text("parameter", text).partition("=")
    if not sign:
        raise InvalidArgumentError(f"{_shown(text)} is no parameter.", remedy="Write it as name=value.")
    check_variable(name, value)
    if " " in value:
        raise _refusal(f"value of {name}", value, " ", value.index(" ") + 1, "Leave it out.")
    return text


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"The {what} is a {type(value).__name__}, not a text.", remedy="Pass a str.")
    return value


def _shown(text: str) -> str:
    # An error is logged and shown: what was given must not fill the screen or move the cursor.
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _refusal(what: str, text: str, character: str, position: int, remedy: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"The {what} {_shown(text)} has {character!a} at position {position}.", remedy=remedy)
