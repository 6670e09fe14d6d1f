"""How a fault is written, in a script and in a log, and read again: its name, then its values as ``name=number``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

import attrs

__all__ = ["WrittenFault", "read_written"]

FaultT = TypeVar("FaultT", bound="WrittenFault")


@attrs.frozen
class WrittenFault:
    """Something that can go wrong, whose attributes are numbers. One that is ``None`` is not written."""

    name: ClassVar[str] = ""

    def __str__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in attrs.fields(type(self)))
        return " ".join([self.name, *(f"{name}={value!r}" for name, value in values if value is not None)])


def read_written(text: str, kinds: Mapping[str, type[FaultT]], what: str) -> FaultT:
    """Read a fault as ``str`` writes it.

    Args:
        text: What was written.
        kinds: The faults that there are, by name.
        what: What they are called in an error.

    Returns:
        The fault.

    Raises:
        ValueError: There is no such fault, or it may not hold that.
    """
    name, *values = text.split() or [""]
    if name not in kinds:
        raise ValueError(f"{name!r} is {what}; there are {', '.join(kinds)}")
    given: dict[str, float | int] = {}
    for value in values:
        key, _, number = value.partition("=")
        try:
            given[key] = int(number) if number.isdecimal() else float(number)
        except ValueError:
            raise ValueError(f"{value!r} in {text!r} is not name=number") from None
    try:
        return kinds[name](**given)
    except TypeError:
        raise ValueError(f"{text!r}: {name} does not take that") from None
