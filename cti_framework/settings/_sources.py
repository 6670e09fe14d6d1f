"""Where settings come from: each source's entries, under keys that are compared whichever way they are spelled."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import attrs

from cti_framework.errors import SettingsError

__all__ = [
    "CORE_PREFIX",
    "MEDIA_PREFIX",
    "VARIABLE_PREFIX",
    "Entry",
    "Rank",
    "Source",
    "from_mapping",
    "from_toml",
    "from_variables",
    "normalised",
    "variable_of",
]

CORE_PREFIX: Final = "cti"
MEDIA_PREFIX: Final = "media"
VARIABLE_PREFIX: Final = "CTI_"

_VARIABLE_ORIGIN: Final = "the variable "


class Rank(Enum):
    """The sources that can be given, weakest first."""

    TOML = 1
    MAPPING = 2
    HOOK = 3
    VARIABLE = 4
    USER = 5


@attrs.frozen(eq=False)
class Entry:
    spelling: str
    origin: str
    value: Any = attrs.field(repr=False)

    @property
    def variable(self) -> str:
        """The variable that holds it; empty: it is from elsewhere."""
        return self.origin.removeprefix(_VARIABLE_ORIGIN) if self.origin.startswith(_VARIABLE_ORIGIN) else ""

    @property
    def told(self) -> str:
        """What an error calls it."""
        return self.origin if self.variable else f"{self.spelling} in {self.origin}"

    @property
    def is_flat_variable(self) -> bool:
        return bool(self.variable) and "__" not in self.variable


@attrs.frozen(eq=False)
class Source:
    rank: Rank
    entries: Mapping[str, tuple[Entry, ...]]
    references: bool = True
    """Whether ``env:`` and ``file:`` are followed."""
    directory: Path | None = None
    """What a relative ``file:`` is relative to; ``None``: the working directory."""

    def entries_of(self, keys: Iterable[str]) -> list[Entry]:
        return [entry for key in keys for entry in self.entries.get(key, ()) if entry.value is not None]


def normalised(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "").replace(" ", "")


def variable_of(key: str) -> str:
    prefix, _, name = key.partition(".")
    name = name.replace(".", "__")
    return VARIABLE_PREFIX + (name if prefix == CORE_PREFIX and "__" not in name else f"{prefix}__{name}").upper()


def _key_of_variable(name: str) -> str:
    rest = name.removeprefix(VARIABLE_PREFIX).lower()
    return rest.replace("__", ".") if "__" in rest else f"{CORE_PREFIX}.{rest}"


def _flattened(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if not isinstance(key, str):
            continue
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{dotted}.")
        else:
            yield dotted, value


def _entries(entries: Iterable[Entry]) -> dict[str, tuple[Entry, ...]]:
    by_key: dict[str, tuple[Entry, ...]] = {}
    for entry in entries:
        key = normalised(entry.spelling)
        by_key[key] = (*by_key.get(key, ()), entry)
    return by_key


def from_mapping(rank: Rank, values: Mapping[str, Any], origin: str, *, references: bool = True) -> Source:
    entries = _entries(Entry(spelling, origin, value) for spelling, value in _flattened(values))
    return Source(rank, entries, references=references)


def from_toml(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        problem = f"{path}: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        problem = f"{path}: it is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        # Only the position: the rest of the text can quote the line, and the line can be a secret.
        position = re.search(r"\(at (?:line \d+, column \d+|end of document)\)", str(error))
        problem = f"{path}: it is not TOML {position[0] if position else ''}".rstrip()
    else:
        origin = f"the file {path}"
        entries = _entries(Entry(spelling, origin, value) for spelling, value in _flattened(values))
        return Source(Rank.TOML, entries, directory=path.parent)
    raise SettingsError("The settings file cannot be read.", problems=(problem,), remedy="Mend the file, or name another one.")


def from_variables(environ: Mapping[str, str]) -> Source:
    entries = _entries(
        Entry(_key_of_variable(name), f"{_VARIABLE_ORIGIN}{name}", value)
        for name, value in environ.items()
        if name.startswith(VARIABLE_PREFIX)
    )
    return Source(Rank.VARIABLE, entries)
