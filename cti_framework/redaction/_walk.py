"""The walk through a log entry: values are looked at, and copied where something in them is secret."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from enum import Enum
from typing import Any, Final

import attrs

from cti_framework.redaction._texts import MASK, Name, Texts, mentions_token

__all__ = ["Bounds", "Walk"]

_LEFT_OUT: Final = "…"
_CUT_CHARACTERS: Final = 2048
_HARMLESS: Final = (complex, date, time, timedelta, Enum)
_OF_STRUCTLOG_ITSELF: Final = frozenset({"_record", "_from_structlog"})
_MASKED_TEXT: Final = "*" * 7
"""What ``repr`` shows of a ``SecretStr`` of typed-settings."""


@attrs.frozen
class Bounds:
    """How much of one entry is looked at.

    Attributes:
        depth: How many values inside each other.
        values: How many values.
        characters: How many characters.
    """

    depth: int
    values: int
    characters: int


class _Shown:
    """An object as it is shown without its secrets."""

    __slots__ = ("_repr", "_str")

    def __init__(self, shown: str, as_text: str) -> None:
        self._repr = shown
        self._str = as_text

    def __repr__(self) -> str:
        return self._repr

    def __str__(self) -> str:
        return self._str


class Walk:
    """One look at one entry.

    Args:
        texts: What is secret in texts.
        bounds: How far to look.
    """

    __slots__ = ("_characters", "_depth", "_texts", "_values")

    def __init__(self, texts: Texts, bounds: Bounds) -> None:
        self._texts = texts
        self._depth = bounds.depth
        self._values = bounds.values
        self._characters = bounds.characters

    def entry(self, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Look at an entry.

        Args:
            entry: As structlog gives it.

        Returns:
            It without secrets; the same object if there are none.
        """
        changed = self._mapping(entry, 0, left_alone=_OF_STRUCTLOG_ITSELF)
        return entry if changed is None else changed

    def text(self, text: str) -> str:
        """Look at a text.

        Args:
            text: The text.

        Returns:
            It without secrets; the same object if there are none.
        """
        if len(text) <= self._characters:
            self._characters -= len(text)
            return self._texts.without_secrets(text)
        window = self._texts.without_secrets(text[: self._characters])
        self._characters = 0
        # Half a secret at the cut has not been recognised.
        longest = len(self._texts.known[0]) if self._texts.known else 0
        kept = window[: max(0, len(window) - max(_CUT_CHARACTERS, longest))]
        return f"{kept}{_LEFT_OUT} (of {len(text)} characters)"

    def value(self, value: Any, depth: int) -> Any:
        """Look at any value.

        Args:
            value: The value.
            depth: How many values it is in.

        Returns:
            It without secrets; the same object if there are none.
        """
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return MASK if self._texts.knows_values and self._texts.is_known(str(value)) else value
        if depth > self._depth:
            return _LEFT_OUT
        try:
            return self._other(value, depth)
        except Exception:  # noqa: BLE001  # whatever an object's own code raises: it cannot be looked at
            return MASK

    def _other(self, value: Any, depth: int) -> Any:
        # The usual first: to ask whether something is any mapping takes longer than to look through a small one.
        kind = type(value)
        changed: Any
        if kind is dict or kind is list or kind is tuple:
            changed = self._mapping(value, depth) if kind is dict else self._sequence(value, depth)
            return value if changed is None else changed
        if isinstance(value, _HARMLESS):
            return value
        if isinstance(value, str):
            shown = MASK if value and repr(value).strip("'") == _MASKED_TEXT else self.text(str(value))
            return value if shown == value else shown
        if isinstance(value, bytes | bytearray):
            text = value.decode("utf-8", "surrogateescape")
            shown = self.text(text)
            return value if shown is text else shown.encode("utf-8", "surrogateescape")
        if hasattr(value, "get_secret_value"):
            return MASK
        if isinstance(value, Mapping):
            changed = self._mapping(value, depth)
        elif isinstance(value, list | tuple | deque | AbstractSet):
            changed = self._sequence(value, depth)
        else:
            names = _shown_fields(type(value))
            changed = self._object(value) if names is None else self._fields(value, names, depth)
        return value if changed is None else changed

    def _mapping(
        self, mapping: Mapping[Any, Any], depth: int, left_alone: AbstractSet[str] = frozenset()
    ) -> dict[Any, Any] | None:
        """Give a copy without secrets; ``None``: there are none."""
        copy: dict[Any, Any] | None = None
        beside_token: bool | None = None
        for place, (key, value) in enumerate(mapping.items()):
            self._values -= 1
            if self._values < 0:
                copy = _beginning(mapping, place) if copy is None else copy
                copy[_LEFT_OUT] = f"of {len(mapping)}"
                return copy
            kind = self._kind_of(key)
            if kind is Name.KEY:
                if beside_token is None:
                    beside_token = any(isinstance(other, str) and mentions_token(other) for other in mapping)
                kind = Name.SECRET if beside_token else Name.HARMLESS
            if kind is Name.SECRET:
                shown = value if value is None or value is True or value is False or value == "" else MASK
            else:
                shown = value if key in left_alone else self.value(value, depth + 1)
            # Of a plain word that is not known nothing is a secret. Most keys are such.
            is_word = type(key) is str and key.isidentifier() and not self._texts.knows_values
            shown_key = key if is_word else self.value(key, depth + 1)
            if copy is None and (shown is not value or shown_key is not key):
                copy = _beginning(mapping, place)
            if copy is not None:
                copy[shown_key] = shown
        return copy

    def _kind_of(self, name: Any) -> Name:
        # By its type: isinstance() asks an object that may lie, or raise.
        kind = type(name)
        if issubclass(kind, bytes):
            name = name.decode("ascii", "replace")
        elif not issubclass(kind, str):
            return Name.HARMLESS
        return self._texts.kind_of(name)

    def _sequence(self, sequence: Any, depth: int) -> list[Any] | tuple[Any, ...] | None:
        """Give a copy without secrets; ``None``: there are none."""
        copy: list[Any] = []
        changed = False
        # A header, or an item of a mapping.
        pair = len(sequence) == 2 and isinstance(sequence, list | tuple) and self._kind_of(sequence[0]) is Name.SECRET
        for value in sequence:
            self._values -= 1
            if self._values < 0:
                copy.append(f"{_LEFT_OUT} of {len(sequence)}")
                changed = True
                break
            shown = MASK if pair and copy else self.value(value, depth + 1)
            changed = changed or shown is not value
            copy.append(shown)
        if not changed:
            return None
        return copy if isinstance(sequence, list) else tuple(copy)

    def _fields(self, value: Any, names: tuple[str, ...], depth: int) -> _Shown | None:
        changed = self._mapping({name: getattr(value, name) for name in names}, depth)
        if changed is None:
            return None
        shown = f"{type(value).__name__}({', '.join(f'{name}={one!r}' for name, one in changed.items())})"
        return _Shown(shown, shown)

    def _object(self, value: Any) -> _Shown | None:
        """Show an object of which nothing is known as its own code does."""
        told, said = repr(value), str(value)
        shown, text = self.text(told), self.text(said)
        return None if shown is told and text is said else _Shown(shown, text)


def _beginning(mapping: Mapping[Any, Any], size: int) -> dict[Any, Any]:
    return dict(itertools.islice(mapping.items(), size))


def _shown_fields(cls: type) -> tuple[str, ...] | None:
    """Tell which fields a value class shows; ``None``: it is none, or shows itself in a way of its own."""
    code = getattr(cls.__repr__, "__code__", None)
    if code is not None and attrs.has(cls) and code.co_filename.startswith("<attrs generated"):
        return tuple(field.name for field in attrs.fields(cls) if field.repr)
    if dataclasses.is_dataclass(cls) and hasattr(cls.__repr__, "__wrapped__"):
        return tuple(field.name for field in dataclasses.fields(cls) if field.repr)
    return None
