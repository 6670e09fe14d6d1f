"""What is secret in a text: by its name, by its form, or because it is known.

Every pattern is bounded where it could look twice at the same characters, so that no text takes longer than its length.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Protocol
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "HoldsSecret", "Name", "Texts"]

MASK: Final = "***"
"""What stands in the place of a secret."""

_WORDS: Final = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "cookie",
    "csrf",
    "xsrf",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
)
"""A name that has one of them in it names a secret."""

_NAMES: Final = frozenset({"xkey", "pwd", "pass", "jwt"})
"""Names of secrets only as a whole."""

_KEY: Final = "key"
_TOKEN: Final = "token"
_REMEMBERED: Final = 2048
_SHORT_CHARACTERS: Final = 64
_NOTHING_SECRET: Final = frozenset({"null", "true", "false", "None", "True", "False", MASK})
_NOTHING_IN_WORDS: Final = _NOTHING_SECRET | {"none", "no", "yes"}

_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")
_USER_INFO: Final = re.compile(
    # A user and a password that was not encoded, unless they are host and port; or all before the last @ of the authority.
    r"(?<=://)(?:[^\s/?#@:\[]{1,500}:(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>@]{0,500}(?:@[^\s/?#\"'<>@]{0,500}){0,9}@"
    r"|[^\s/?#\"'<>]{0,1000}@"
    # A quotation mark belongs to the password if an @ comes before the authority can end, and no port was before it.
    r"|[^\s/?#@:\[\"'<>]{0,500}:(?!\d{1,5}(?:[/?#]|\\{0,64}[\"'<>](?:[\s,:;)\]}>]|$)|$))[^\s/@]{0,500}@)"
)
_HEADER: Final = re.compile(
    # To the end of the line, also where a line's end is written as \r or \n: then the name follows a letter.
    r"(?:\b|(?<=\\[rn]))((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,40}(?:token|key))"
    r"[ \t]*:[ \t]*(?:(?!\\[rn])[^\r\n])+",
    re.IGNORECASE,
)
_LINE: Final = re.compile(
    # "Name: value" as a whole line, as protocols of lines have it; also where a line's end is written as \r or \n.
    r"((?:^|(?<=\\[rn]))[ \t]{0,40}([\w.\-]{1,200})[ \t]{0,40}:[ \t]{0,40})((?:(?!\\[rn])\S)+)(?=[ \t]{0,40}(?:\r?$|\\[rn]))",
    re.MULTILINE,
)
_PAIR: Final = re.compile(
    # A pair of name and value as Python and JSON write it, up to where the value begins.
    r"[(\[]\s*[bBrRuUfF]{0,2}\\{0,64}[\"']([\w.\-]{1,200})\\{0,64}[\"']\s*,\s*(?=[bBrRuUfF]{0,2}\\{0,64}[\"'])"
)
_PAIR_END: Final = re.compile(r"\s*,?\s*(?:[)\]]|$)")
_BEARER: Final = re.compile(r"\bbearer\s+[^\s\"',;]+", re.IGNORECASE)
_JSON_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{4,500}\.[\w-]{4,}\.[\w-]*")
_BARE: Final = {
    # What ends a value, by what begins it. In a URL that is a parameter of another one, & and = are encoded.
    "=": re.compile(r"[^&\s\"'<>]+"),
    "%3d": re.compile(r"(?:(?!%26)[^&\s\"'<>])+"),
    ":": re.compile(r"[^\s,}\]\"']+"),
}
_QUOTE: Final = re.compile(r"[bBrRuUfF]{0,2}(\\{0,64})([\"'])")


class HoldsSecret(Protocol):
    """What keeps a secret, as ``Secret`` of typed-settings does."""

    def get_secret_value(self) -> Any:
        """Give the secret."""


class Name(Enum):
    """What a name says of the value under it."""

    HARMLESS = 0
    SECRET = 1
    KEY = 2
    """Secret beside a token."""


class Texts:
    """The look at texts and names.

    Args:
        names: Further names of secrets.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = (_NAMES | frozenset(map(_normalised, names))) - {""}
        self._marks = (*_WORDS, *sorted(self._names))
        self._named = _named(self._names)
        self._named_beside_token = _named(self._names | {_KEY})
        self._kinds: dict[str, Name] = {}
        self._harmless: set[str] = set()
        self._registered: dict[str, int] = {}
        self.known: tuple[str, ...] = ()
        """The registered values in every spelling, the longest first: a secret may be part of another."""
        self._shortest = sys.maxsize
        self.numbers: frozenset[str] = frozenset()
        """Values that are secret where they stand alone."""
        self._alone: re.Pattern[str] | None = None

    @property
    def registered(self) -> int:
        """How many values are known."""
        return len(self._registered)

    @property
    def knows_values(self) -> bool:
        """Whether any value is known."""
        return bool(self.known or self.numbers)

    def is_known(self, value: str) -> bool:
        """Tell whether a value is known as a whole.

        Args:
            value: It.

        Returns:
            Whether it is.
        """
        return value in self.known or value in self.numbers

    def register(self, secret: str) -> None:
        """Know a value.

        Args:
            secret: It.
        """
        if secret:
            self._harmless.clear()
            self._registered[secret] = self._registered.get(secret, 0) + 1
            self._learn()

    def forget(self, secret: str) -> None:
        """Take one registration back.

        Args:
            secret: The value.
        """
        left = self._registered.pop(secret, 0) - 1
        if left > 0:
            self._registered[secret] = left
        self._learn()

    def register_numbers(self, numbers: Iterable[str]) -> None:
        """Know values that are secret only where no letter and no digit stands beside them.

        Args:
            numbers: They.
        """
        self.numbers |= frozenset(numbers) - {""}
        if self.numbers:
            self._harmless.clear()
            words = "|".join(map(re.escape, sorted(self.numbers)))
            self._alone = re.compile(rf"(?<![0-9A-Za-z])(?:{words})(?![0-9A-Za-z])")

    def _learn(self) -> None:
        spellings = {spelling for secret in self._registered for spelling in _spellings(secret)}
        self.known = tuple(sorted(spellings, key=lambda spelling: (-len(spelling), spelling)))
        self._shortest = len(self.known[-1]) if self.known else sys.maxsize

    def kind_of(self, name: str) -> Name:
        """Tell what a name says.

        Args:
            name: Of a key, an attribute, a header.

        Returns:
            What it says of its value.
        """
        kind = self._kinds.get(name)
        if kind is None:
            normalised = _normalised(name)
            if normalised in self._names or any(word in normalised for word in _WORDS):
                kind = Name.SECRET
            else:
                kind = Name.KEY if normalised == _KEY else Name.HARMLESS
            if len(self._kinds) < _REMEMBERED:
                self._kinds[name] = kind
        return kind

    def without_secrets(self, text: str) -> str:
        """Replace what is secret in a text.

        Args:
            text: The text.

        Returns:
            It without secrets; the same object if there are none.
        """
        if text in self._harmless:
            return text
        whole = text
        if len(text) >= self._shortest:
            for known in self.known:
                if known in text:
                    text = text.replace(known, MASK)
        if self._alone is not None:
            text = self._alone.sub(MASK, text)
        shown = text
        if "://" in text and "@" in text:
            shown = _USER_INFO.sub(f"{MASK}@", shown)
        if "eyJ" in text:
            shown = _JSON_WEB_TOKEN.sub(MASK, shown)
        condensed = text.lower()
        if "bearer" in condensed:
            shown = _BEARER.sub(f"Bearer {MASK}", shown)
        if "_" in condensed or "-" in condensed or "%" in condensed:
            condensed = condensed.replace("_", "").replace("-", "").replace("%5f", "").replace("%2d", "")
        for mark in self._marks:
            if mark in condensed:
                shown = _HEADER.sub(rf"\1: {MASK}", shown)
                if ":" in shown:
                    shown = _LINE.sub(self._without_line, shown)
                if "," in shown:
                    shown = self._without_pairs(shown)
                shown = _without_named(shown, self._named_beside_token if _TOKEN in condensed else self._named)
                break
        if shown != whole:
            return shown
        if len(whole) <= _SHORT_CHARACTERS:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless.add(whole)
        return whole

    def _without_pairs(self, text: str) -> str:
        parts: list[str] = []
        place = 0
        for found in _PAIR.finditer(text):
            opening = _QUOTE.match(text, found.end())
            if found.start() < place or opening is None or self.kind_of(found[1]) is not Name.SECRET:
                continue
            end = _end_of_quoted(text, opening)
            # A list of names is none.
            if _PAIR_END.match(text, end):
                parts += (text[place : found.end()], f"{opening[0]}{MASK}{opening[1]}{opening[2]}")
                place = end
        return "".join((*parts, text[place:])) if parts else text

    def _without_line(self, line: re.Match[str]) -> str:
        value = line[3]
        secret = value not in _NOTHING_IN_WORDS and self.kind_of(line[2]) is Name.SECRET
        return f"{line[1]}{MASK}" if secret else line[0]


def mentions_token(name: str) -> bool:
    """Tell whether a key beside this name is secret, too.

    Args:
        name: The name.

    Returns:
        Whether it names a token.
    """
    return _TOKEN in _normalised(name)


def _normalised(name: str) -> str:
    return _SEPARATORS.sub("", name.lower())


def _spellings(secret: str) -> set[str]:
    """Give a secret as it stands in JSON, Python, HTML and URLs."""
    escaped = {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    }
    encoded = {quote(secret, errors="replace"), quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), one) for one in encoded}
    return {secret, *escaped, *encoded, *lower}


def _named(names: Iterable[str]) -> re.Pattern[str]:
    """Find names of secrets, up to where their value begins."""
    between = r"(?:[-_]|%5f|%2d)?"
    words = "|".join(between.join(word) for word in _WORDS)
    wholes = "|".join(between.join(name) for name in sorted(names))
    return re.compile(
        rf"(?:(?:{words})[\w.\-]{{0,200}}|(?:(?<![a-z0-9])|(?<=%[0-9a-f][0-9a-f]))(?:{wholes}))"
        # In JSON, or as Python shows a mapping: "name": …; elsewhere name=… or "name"=….
        r"(?:\\{0,64}[\"']\s*(?P<colon>:)|(?:\\{0,64}[\"'])?\s*(?P<equals>=|%3d))\s*",
        re.IGNORECASE,
    )


def _without_named(text: str, named: re.Pattern[str]) -> str:
    parts: list[str] = []
    place = 0
    for found in named.finditer(text):
        if found.start() < place:
            continue
        end, shown = _value_at(text, found.end(), (found["colon"] or found["equals"]).lower())
        parts += (text[place : found.end()], shown)
        place = end
    return "".join((*parts, text[place:])) if parts else text


def _value_at(text: str, start: int, separator: str) -> tuple[int, str]:
    """Find where the value that begins there ends, and what to show for it."""
    mask = f'"{MASK}"' if separator == ":" else MASK
    opening = _QUOTE.match(text, start)
    if opening is not None:
        return _end_of_quoted(text, opening), f"{opening[0]}{MASK}{opening[1]}{opening[2]}"
    if text[start : start + 1] in ("[", "{", "("):
        return _end_of_bracketed(text, start), mask
    bare = _BARE[separator].match(text, start)
    if bare is None:
        return start, ""
    if bare[0].rstrip(",)") in _NOTHING_SECRET:
        return bare.end(), bare[0]
    return bare.end(), mask


def _end_of_quoted(text: str, opening: re.Match[str]) -> int:
    level, mark = len(opening[1]), opening[2]
    place = opening.end()
    while (place := text.find(mark, place)) >= 0:
        before = place
        while before > opening.end() and text[before - 1] == "\\":
            before -= 1
        escapes = place - before
        place += 1
        # A text within a text has its quotation marks escaped, and those of its own more so.
        if escapes == level or (level == 0 and escapes % 2 == 0):
            return place
    return len(text)


def _end_of_bracketed(text: str, start: int) -> int:
    still_open = 0
    place = start
    while place < len(text):
        character = text[place]
        opening = _QUOTE.match(text, place) if character in "\\\"'" else None
        if opening is not None:
            place = _end_of_quoted(text, opening)
            continue
        if character in "[{(":
            still_open += 1
        elif character in ")}]":
            still_open -= 1
            if not still_open:
                return place + 1
        place += 1
    return len(text)
