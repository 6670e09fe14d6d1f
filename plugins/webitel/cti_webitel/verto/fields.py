"""What stands in an object of the server's, read by type: a value of another type is left out, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["Fields"]


class Fields:
    """One object, read name by name.

    Args:
        values: It.

    Attributes:
        left_out: How many values were left out for their type.
    """

    __slots__ = ("_read", "_values", "left_out")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()
        self.left_out = 0

    def text(self, name: str) -> str | None:
        """Read a text.

        Args:
            name: Its name.

        Returns:
            It; of a number, its digits. ``None`` if there is none.
        """
        value = self._value(name)
        if value is None or isinstance(value, str):
            return value
        if type(value) is int:
            return str(value)
        self.left_out += 1
        return None

    def number(self, name: str) -> int | None:
        """Read a whole number.

        Args:
            name: Its name.

        Returns:
            It; ``None`` if there is none.
        """
        value = self._value(name)
        if value is None or type(value) is int:
            return value
        self.left_out += 1
        return None

    def flag(self, name: str) -> bool:
        """Read a truth value.

        Args:
            name: Its name.

        Returns:
            It; ``False`` if there is none.
        """
        value = self._value(name)
        if value is None or type(value) is bool:
            return bool(value)
        self.left_out += 1
        return False

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of texts.

        Args:
            name: Its name.

        Returns:
            Those of its items that are texts; empty if there is none.
        """
        value = self._value(name)
        if value is None:
            return ()
        if type(value) is not list:
            self.left_out += 1
            return ()
        texts = tuple(item for item in value if isinstance(item, str))
        self.left_out += len(value) - len(texts)
        return texts

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """Read an object.

        Args:
            name: Its name.

        Returns:
            It; ``None`` if there is none.
        """
        value = self._value(name)
        if value is None or type(value) is dict:
            return value
        self.left_out += 1
        return None

    def text_mapping(self, name: str) -> Mapping[str, str]:
        """Read an object of texts.

        Args:
            name: Its name.

        Returns:
            Those of its values that are texts; empty if there is none.
        """
        value = self.mapping(name) or {}
        texts = {key: text for key, text in value.items() if isinstance(text, str)}
        self.left_out += len(value) - len(texts)
        return MappingProxyType(texts)

    def anything(self, name: str) -> Any:
        """Read a value of any type.

        Args:
            name: Its name.

        Returns:
            It; ``None`` if there is none.
        """
        return self._value(name)

    def rest(self) -> Mapping[str, Any]:
        """Tell what was not read.

        Returns:
            The values under the other names.
        """
        return MappingProxyType({name: value for name, value in self._values.items() if name not in self._read})

    def _value(self, name: str) -> Any:
        self._read.add(name)
        return self._values.get(name)
