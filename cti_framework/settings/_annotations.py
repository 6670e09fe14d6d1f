"""What a settings class's annotations and validators allow: in words, and as a conversion."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_framework.settings._sources import normalised

if TYPE_CHECKING:
    import cattrs

__all__ = ["allowed", "conversion", "holds_secret", "is_optional", "members_of", "passes_as_is"]


def members_of(annotation: Any) -> tuple[Any, ...]:
    """The types that a union names, without ``None``; the type itself where it is no union."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(annotation) if member is not types.NoneType)
    return (annotation,)


def is_optional(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation) and len(members_of(annotation)) < len(typing.get_args(annotation))


def holds_secret(annotation: Any) -> bool:
    # By module and name: typed-settings is heavy, and a class that uses it has loaded it already.
    for member in members_of(annotation):
        origin = typing.get_origin(member) or member
        if isinstance(origin, type) and any(
            base.__module__ == "typed_settings.types" and base.__name__ in {"Secret", "SecretStr"} for base in origin.__mro__
        ):
            return True
    return False


def passes_as_is(value: Any, annotation: Any) -> bool:
    return any(
        isinstance(member, type)
        and typing.get_origin(member) is None
        and isinstance(value, member)
        and not (isinstance(value, bool) and member is not bool)
        for member in members_of(annotation)
    )


def allowed(annotation: Any, validator: Any, *, secret: bool) -> str:
    if secret or holds_secret(annotation):
        text = "a secret: its value, env:NAME or file:PATH"
    else:
        text = " or ".join(_allowed_type(member) for member in members_of(annotation))
    bounds = ", ".join(_bounds(validator))
    if bounds:
        text = f"{text}, {bounds}"
    return f"{text}, or nothing" if is_optional(annotation) else text


def _allowed_type(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(
            member.value if isinstance(member.value, str) else member.name.lower() for member in annotation
        )
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(annotation))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if origin in words:
        return words[origin]
    if origin in (tuple, list, set, frozenset):
        return "a list, or text separated by commas"
    return f"a {getattr(origin, '__name__', str(origin))}"


def _bounds(validator: Any) -> Iterator[str]:
    """Put the bounds of attrs' own validators into words; others tell nothing."""
    for inner in getattr(validator, "_validators", ()):
        yield from _bounds(inner)
    if hasattr(validator, "validator"):
        yield from _bounds(validator.validator)
    if hasattr(validator, "compare_op"):
        yield f"{validator.compare_op} {validator.bound}"
    if hasattr(validator, "options"):
        yield "one of " + ", ".join(str(option) for option in validator.options)
    if isinstance(getattr(validator, "pattern", None), re.Pattern):
        yield f"of the form {validator.pattern.pattern}"
    if hasattr(validator, "min_length"):
        yield f"at least {validator.min_length} long"
    if hasattr(validator, "max_length"):
        yield f"at most {validator.max_length} long"


@functools.cache
def conversion() -> tuple[tuple[type[BaseException], ...], Any]:
    """The converter, made when something is first read: importing cattrs is not for everybody who imports this package."""
    import cattrs
    from typed_settings.converters import get_default_cattrs_converter, register_strlist_hook

    converter: cattrs.Converter = get_default_cattrs_converter(resolve_paths=False)
    register_strlist_hook(converter, fn=lambda text: [item.strip() for item in text.split(",") if item.strip()])
    # cattrs would take int(3.7), str([1]) and bool as a number: a settings page's mistake must not pass as another value.
    converter.register_structure_hook(int, lambda value, _: _to_int(value))
    converter.register_structure_hook(float, lambda value, _: _to_float(value))
    converter.register_structure_hook(str, lambda value, _: _to_str(value))
    for enum_type in (Enum, IntEnum, StrEnum):
        converter.register_structure_hook(enum_type, _to_enum)
    errors = (ValueError, TypeError, LookupError, ArithmeticError, cattrs.BaseValidationError)
    return errors, converter.structure


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or int(value) != float(value):
        raise ValueError("not a whole number")
    return int(value)


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    return float(value)


def _to_str(value: Any) -> str:
    # Numbers pass: a login or an extension in a TOML file is easily written without quotes.
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("not text")
    return str(value)


def _to_enum(value: Any, enum_type: type[Enum]) -> Enum:
    if isinstance(value, str):
        wanted = normalised(value)
        for member in enum_type:
            if wanted in (normalised(member.name), normalised(str(member.value))):
                return member
    return enum_type(value)
