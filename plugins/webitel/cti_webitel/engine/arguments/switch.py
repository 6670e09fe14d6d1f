"""What is pasted into a command of the switch: numbers, legs, tones, causes, channel variables."""

from __future__ import annotations

import re
from typing import Final

from cti_framework.errors import InvalidArgumentError
from cti_webitel.engine.arguments.refusal import check_characters, check_length, check_text, refusal, shown
from cti_webitel.engine.causes import CAUSES

__all__ = [
    "check_cause",
    "check_destination",
    "check_digits",
    "check_parameter",
    "check_uuid",
    "check_variable",
    "check_variable_name",
]

_MOST_DESTINATION_CHARACTERS: Final = 64
_MOST_TONES: Final = 128
_MOST_VALUE_CHARACTERS: Final = 4096

_SEPARATORS: Final = frozenset(" -()./\u00a0\u2010\u2011\u2012\u2013")
_DIALLED: Final = frozenset("0123456789*#")
_TONES: Final = frozenset("0123456789*#ABCD")
_OF_UUIDS: Final = frozenset("0123456789abcdefABCDEF-")
_OF_CAUSES: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

# The engine drops these from a call without a word, and from nothing else: they run something at the switch, or change whose
# call it is (facts: webitel-protocol 3.2).
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
# These run something, too, and the engine lets them through.
_RUNNING_PREFIXES: Final = ("bridge_pre_execute_", "group_confirm_")
_RUNNING_NAMES: Final = frozenset({"record_post_process_exec_app"})
# They end a value or the list that it stands in, or start a variable of the switch.
_BREAKING_VALUES: Final = frozenset("',\"\\[]{}")

_DIAL_REMEDY: Final = "Use digits, '*', '#' and one '+' in front."
_UUID_REMEDY: Final = "Use the identifier as the engine told it."
_CAUSE_REMEDY: Final = "Use one of FreeSWITCH's names, such as USER_BUSY or CALL_REJECTED."
_TONE_REMEDY: Final = "Use 0 to 9, '*', '#' and A to D."


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
    for position, character in enumerate(check_text("number", text), start=1):
        if character in _DIALLED or (character == "+" and not dialled):
            dialled.append(character)
        elif character == "+":
            raise InvalidArgumentError(
                f"The number {shown(text)} has '+' at position {position}; it can only stand in front.", remedy=_DIAL_REMEDY
            )
        elif character not in _SEPARATORS:
            raise refusal("number", text, character, position, _DIAL_REMEDY)
    number = "".join(dialled)
    if number in ("", "+"):
        raise InvalidArgumentError("The number is empty.", remedy=_DIAL_REMEDY)
    if len(number) > _MOST_DESTINATION_CHARACTERS:
        raise InvalidArgumentError(
            f"The number has {len(number)} characters; {_MOST_DESTINATION_CHARACTERS} are allowed.", remedy=_DIAL_REMEDY
        )
    return number


def check_uuid(text: str) -> str:
    """Check an identifier of a leg or a call.

    Args:
        text: A UUID.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is none.
    """
    check_characters("identifier", text, _OF_UUIDS, _UUID_REMEDY)
    if _UUID.fullmatch(text) is None:
        raise InvalidArgumentError(f"{shown(text)} is no UUID.", remedy=_UUID_REMEDY)
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
    for position, character in enumerate(check_text("tones", text), start=1):
        if character not in _TONES:
            # Without the others: they may be a PIN.
            raise InvalidArgumentError(f"Among the tones is {character!a} at position {position}.", remedy=_TONE_REMEDY)
    if not text:
        raise InvalidArgumentError("There are no tones to send.", remedy=_TONE_REMEDY)
    if len(text) > _MOST_TONES:
        raise InvalidArgumentError(f"There are {len(text)} tones; {_MOST_TONES} can be sent at once.", remedy=_TONE_REMEDY)
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
    check_characters("cause", text, _OF_CAUSES, _CAUSE_REMEDY)
    if text not in CAUSES:
        raise InvalidArgumentError(f"{shown(text)} is no hang-up cause.", remedy=_CAUSE_REMEDY)
    return text


def check_variable_name(name: str) -> str:
    """Check the name of a channel variable to read.

    Args:
        name: A letter or ``_``, then letters, digits, ``_``, ``.``, ``-``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has another form.
    """
    if _VARIABLE.fullmatch(check_text("name of a variable", name)) is None:
        raise InvalidArgumentError(
            f"{shown(name)} is no name of a variable.",
            remedy="Begin it with a letter or '_' and go on with letters, digits, '_', '.' and '-'.",
        )
    return name


def check_variable(name: str, value: str) -> tuple[str, str]:
    """Check a channel variable to set, of a call to be made or of a leg.

    Args:
        name: As for `check_variable_name`; none of those that the engine drops, nor of the others that run something.
        value: Any text without quotes, commas, brackets, braces, backslashes and control characters.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: Name or value could inject into the switch, or would be dropped.
    """
    lowered = check_variable_name(name).lower()
    if lowered in _DROPPED_NAMES or lowered.startswith(_DROPPED_PREFIXES):
        raise InvalidArgumentError(f"The engine does not let clients set {shown(name)}.", remedy="Use another name.")
    if lowered in _RUNNING_NAMES or lowered.startswith(_RUNNING_PREFIXES):
        raise InvalidArgumentError(f"{shown(name)} would run something at the switch.", remedy="Use another name.")
    for position, character in enumerate(check_text(f"value of {name}", value), start=1):
        if character in _BREAKING_VALUES or not character.isprintable():
            raise refusal(f"value of {name}", value, character, position, "Leave it out.")
    # The switch reads "^^" and a sign as another separator of its list.
    if value.startswith("^^"):
        raise refusal(f"value of {name}", value, "^", 1, "Leave it out.")
    check_length(f"value of {name}", value, _MOST_VALUE_CHARACTERS)
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
    name, sign, value = check_text("parameter", text).partition("=")
    if not sign:
        raise InvalidArgumentError(f"{shown(text)} is no parameter.", remedy="Write it as name=value.")
    check_variable(name, value)
    if " " in value:
        raise refusal(f"value of {name}", value, " ", value.index(" ") + 1, "Leave it out.")
    return text
