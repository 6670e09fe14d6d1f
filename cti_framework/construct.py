"""Building frozen values quickly.

A frozen class of attrs guards each attribute, also while it is built: a value of 26 attributes takes four to five times as long
as one that is not frozen. On the way of every frame that is the largest single cost. ``constructor`` builds a value of a
subclass that is not guarded, and makes it one of the frozen class when it is complete: nobody sees it before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

__all__ = ["constructor"]

T = TypeVar("T")


def constructor(cls: type[T]) -> Callable[..., T]:
    """Make a function that builds values of a frozen class and takes what the class itself takes.

    Args:
        cls: A frozen attrs class without converters, validators and ``__attrs_post_init__``.

    Returns:
        The function. What it builds is equal to what the class builds from the same arguments.

    Raises:
        TypeError: The class checks or converts what it is given.
        attrs.exceptions.NotAnAttrsClassError: It is no attrs class.
    """
    fields = attrs.fields(cls)  # type: ignore[arg-type]  # that it is an attrs class is checked here, not by its type
    if hasattr(cls, "__attrs_post_init__") or any(field.converter or field.validator for field in fields):
        raise TypeError(f"{cls.__name__} checks or converts what it is given: build it as it is.")
    unguarded = type(
        f"_Unguarded{cls.__name__}",
        (cls,),
        {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__},
    )
    names: dict[str, Any] = {"_new": object.__new__, "_unguarded": unguarded, "_class": cls}
    positional: list[str] = []
    by_keyword: list[str] = []
    body: list[str] = []
    for field in fields:
        alias = field.alias
        value = alias
        parameter = alias
        if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]  # attrs types Factory as a function
            names[f"_make_{alias}"] = field.default.factory
            parameter = f"{alias}=None"
            value = f"_make_{alias}() if {alias} is None else {alias}"
        elif field.default is not attrs.NOTHING:
            names[f"_default_{alias}"] = field.default
            parameter = f"{alias}=_default_{alias}"
        (by_keyword if field.kw_only else positional).append(parameter)
        body.append(f"    self.{field.name} = {value}")
    parameters = [*positional, *(["*", *by_keyword] if by_keyword else [])]
    source = "\n".join(
        [
            f"def construct({', '.join(parameters)}):",
            "    self = _new(_unguarded)",
            *body,
            "    self.__class__ = _class",
            "    return self",
        ]
    )
    exec(source, names)
    built: Callable[..., T] = names["construct"]
    return built
