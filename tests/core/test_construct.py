"""`constructor` builds what the class itself builds, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from cti_framework import calls, events, reports
from cti_framework.construct import constructor

AT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@attrs.frozen
class Plain:
    """Positional and defaulted fields."""

    first: int
    second: str = "two"
    third: list[int] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class ByKeyword:
    """Keyword-only fields."""

    first: int
    second: str = "two"


@attrs.frozen
class Checked:
    """A field with a validator."""

    first: int = attrs.field(validator=attrs.validators.instance_of(int))


@attrs.frozen
class Converted:
    """A field with a converter."""

    first: int = attrs.field(converter=int)


@attrs.frozen
class Finished:
    """A class that does something once it is built."""

    first: int

    def __attrs_post_init__(self) -> None:
        """Do something."""


@pytest.mark.parametrize(
    ("cls", "arguments", "keywords"),
    [
        (Plain, (1,), {}),
        (Plain, (1, "x"), {"third": [3]}),
        (ByKeyword, (), {"first": 1}),
        (ByKeyword, (), {"first": 1, "second": "x"}),
        (reports.Held, (), {"at": AT, "call_id": "1"}),
        (events.CallCentreModeChanged, ("epoch", 1, AT, True), {}),
        (calls.Party, ("100", "Name"), {}),
    ],
)
def test_it_builds_what_the_class_builds(cls: type, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    built: Any = constructor(cls)(*arguments, **keywords)
    assert type(built) is cls
    assert built == cls(*arguments, **keywords)
    assert repr(built) == repr(cls(*arguments, **keywords))


def test_what_it_builds_is_frozen() -> None:
    built = constructor(Plain)(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        built.first = 2  # type: ignore[misc]  # that it is refused is what is tested
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del built.first


def test_a_factory_makes_a_value_for_each() -> None:
    build = constructor(Plain)
    assert build(1).third is not build(1).third


def test_missing_and_surplus_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="first"):
        constructor(Plain)()
    with pytest.raises(TypeError, match="fourth"):
        constructor(Plain)(1, fourth=4)


@pytest.mark.parametrize("cls", [Checked, Converted, Finished])
def test_a_class_that_checks_or_converts_is_refused(cls: type) -> None:
    with pytest.raises(TypeError, match=cls.__name__):
        constructor(cls)


def test_a_class_that_is_none_of_attrs_is_refused() -> None:
    with pytest.raises(attrs.exceptions.NotAnAttrsClassError):
        constructor(int)
