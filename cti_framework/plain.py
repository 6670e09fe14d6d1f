"""Values as plain data and as lines of JSON, for ``--json`` and support bundles.

Enumerations are told by name in lower case, flags as a list of names, times in ISO 8601 and UTC, errors by
``CtiError.describe()``. Secrets are masked, and attributes that a class keeps out of its ``repr`` are left out: only ``raw``,
which a host asked for, is told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from enum import Enum, Flag
from typing import Any, Final

import attrs

from cti_framework.calls import Call
from cti_framework.errors import CtiError, SettingsError
from cti_framework.events import Event

__all__ = ["as_plain", "error_as_plain", "event_as_plain", "json_line"]

_MASK: Final = "***"


def as_plain(value: Any) -> Any:
    """Turn a value into what JSON knows.

    Args:
        value: Anything that an event, a call or an error holds.

    Returns:
        ``None``, a truth value, a number, a text, a list or a dictionary.
    """
    match value:
        case None | bool() | str():
            return value
        case Flag():
            return [(member.name or "").lower() for member in value]
        case Enum():
            return value.name.lower()
        case int():
            return value
        case float():
            return round(value, 6) if math.isfinite(value) else None
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case timedelta():
            return round(value.total_seconds(), 6)
        case CtiError():
            return error_as_plain(value)
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Mapping():
            return {str(key): as_plain(entry) for key, entry in value.items()}
        case AbstractSet():
            return sorted((as_plain(entry) for entry in value), key=str)
        case list() | tuple():
            return [as_plain(entry) for entry in value]
    if hasattr(value, "get_secret_value"):
        return _MASK
    if attrs.has(type(value)):
        return _attributes(value)
    return str(value)


def event_as_plain(event: Event) -> dict[str, Any]:
    """Turn an event into what JSON knows.

    Args:
        event: The event.

    Returns:
        ``event`` (its class's name) and its attributes.
    """
    return {"event": type(event).__name__, **_attributes(event)}


def error_as_plain(error: CtiError) -> dict[str, Any]:
    """Turn an error into what JSON knows.

    Args:
        error: The error.

    Returns:
        What ``describe()`` says, and the problems of wrong settings.
    """
    description = error.describe()
    if isinstance(error, SettingsError):
        description["problems"] = list(error.problems)
    return description


def json_line(value: Any, *, ascii_only: bool = False) -> str:
    """Write a value as one line of JSON, without a blank.

    Args:
        value: Plain data; what is not plain in it is told as ``as_plain`` tells it.
        ascii_only: Whether to escape what is not ASCII.

    Returns:
        The line, without its end.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only, default=as_plain)


def _attributes(value: Any) -> dict[str, Any]:
    told = {field.name: as_plain(getattr(value, field.name)) for field in _told_fields(type(value))}
    raw = getattr(value, "raw", None)
    if raw is not None:
        told["raw"] = as_plain(raw)
    if isinstance(value, Call):
        told["total_seconds"] = as_plain(value.total_seconds)
        told["missed"] = value.missed
    return told


def _told_fields(cls: type) -> Iterable[attrs.Attribute[Any]]:
    return (field for field in attrs.fields(cls) if field.repr)
