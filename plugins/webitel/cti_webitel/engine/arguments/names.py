"""Names that the engine or its directory takes: accounts, events, states, words."""

from __future__ import annotations

import re
import string
from typing import Final

from cti_framework.errors import InvalidArgumentError
from cti_webitel.engine.arguments.refusal import check_characters, check_length, shown

__all__ = ["check_account", "check_address", "check_event", "check_status", "check_user", "check_word"]

_ALPHANUMERICS: Final = frozenset(string.ascii_letters + string.digits)
_OF_WORDS: Final = _ALPHANUMERICS | frozenset("_-.")
_OF_USERS: Final = _ALPHANUMERICS | frozenset("_.+-@")
_OF_ADDRESSES: Final = _ALPHANUMERICS | frozenset("_.:@-")
_OF_EVENTS: Final = _ALPHANUMERICS | frozenset("_:-")
_OF_STATUSES: Final = frozenset(string.ascii_uppercase + "_")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?")
_NUMBER: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_MOST_WORD_CHARACTERS: Final = 64
_MOST_ADDRESS_CHARACTERS: Final = 255

_ACCOUNT_REMEDY: Final = "Write it as number@domain, such as 100@pbx.example."
_USER_REMEDY: Final = "Write the number of an account, such as 100, or number@domain."


def check_account(text: str) -> str:
    """Check the name of an account.

    Args:
        text: ``number@domain``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has another form.
    """
    check_characters("account", text, _OF_USERS, _ACCOUNT_REMEDY)
    if _ACCOUNT.fullmatch(text) is None:
        raise InvalidArgumentError(f"{shown(text)} is no account.", remedy=_ACCOUNT_REMEDY)
    return text


def check_user(text: str) -> str:
    """Check the number of an account, with or without its domain.

    Args:
        text: ``number`` or ``number@domain``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It has another form.
    """
    check_characters("user", text, _OF_USERS, _USER_REMEDY)
    if _NUMBER.fullmatch(text) is None and _ACCOUNT.fullmatch(text) is None:
        raise InvalidArgumentError(f"{shown(text)} is no user.", remedy=_USER_REMEDY)
    return text


def check_word(what: str, text: str) -> str:
    """Check a name of the site's own, such as a role or a profile.

    Args:
        what: What it names, for people.
        text: Letters, digits, ``_``, ``.`` and ``-``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    check_characters(what, text, _OF_WORDS, "Use letters, digits, '_', '.' and '-'.")
    return check_length(what, text, _MOST_WORD_CHARACTERS, least=1)


def check_address(text: str) -> str:
    """Check the address of a place where operators sign in.

    Args:
        text: A host, an address or a device's name: letters, digits, ``_``, ``.``, ``:``, ``@`` and ``-``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    check_characters("address", text, _OF_ADDRESSES, "Use letters, digits, '_', '.', ':', '@' and '-'.")
    return check_length("address", text, _MOST_ADDRESS_CHARACTERS, least=1)


def check_event(text: str) -> str:
    """Check the name of an event to subscribe to. Whether there is such an event, the engine says.

    Args:
        text: Letters, digits, ``_``, ``:`` and ``-``, as in ``CC::MEMBERS-COUNT``.

    Returns:
        It in capitals, as the engine knows it.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    check_characters("event", text, _OF_EVENTS, "Write it as the engine does, such as CC::MEMBERS-COUNT.")
    return check_length("event", text, _MOST_WORD_CHARACTERS, least=1).upper()


def check_status(text: str) -> str:
    """Check a word for what an operator is: ``ONBREAK``, ``DND``, or one of the site's own.

    Args:
        text: Capitals and ``_``.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is empty, too long or holds anything else.
    """
    check_characters("status", text, _OF_STATUSES, "Use a word in capitals, such as ONBREAK.")
    return check_length("status", text, _MOST_WORD_CHARACTERS, least=1)
