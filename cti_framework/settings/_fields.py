"""The settings of one class: what each is called, what it may hold, and how what a source says becomes that."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import attrs

from cti_framework.settings._annotations import allowed, conversion, holds_secret, is_optional, members_of, passes_as_is
from cti_framework.settings._declared import METADATA, SettingMetadata, repr_of
from cti_framework.settings._sources import Entry, normalised, variable_of

__all__ = ["Field", "SettingDescription", "SettingProblem", "describe_settings", "fields_of"]

_SHOWN_CHARACTERS: Final = 80


@attrs.frozen
class SettingDescription:
    """One setting, for documentation, settings pages and whoever has to ask for it.

    Attributes:
        key: The dotted key.
        variable: The environment variable.
        codes: The product's own keys for it.
        allowed: What it may hold, in words.
        default: What holds when it is not set; ``None`` also where it has to be set.
        required: Whether it has to be set.
        secret: Whether its value is never shown.
        help: What it is for.
        system_only: Whether a user's own parameters may not set it.
    """

    key: str
    variable: str
    codes: tuple[str, ...]
    allowed: str
    default: Any
    required: bool
    secret: bool
    help: str
    system_only: bool = False


def describe_settings(prefix: str, settings_type: type) -> tuple[SettingDescription, ...]:
    """Tell what a settings class reads.

    Args:
        prefix: What its keys begin with, for example ``"webitel"``.
        settings_type: The attrs class.

    Returns:
        One description a setting, in the class's order.
    """
    return tuple(
        SettingDescription(
            key=field.key,
            variable=variable_of(field.key),
            codes=field.codes,
            allowed=field.allowed,
            default=None if field.required or isinstance(field.default, attrs.Factory) else field.default,  # type: ignore[arg-type]  # attrs types Factory as a function
            required=field.required,
            secret=field.secret,
            help=field.help,
            system_only=field.system_only,
        )
        for field in fields_of(prefix, settings_type)
    )


class SettingProblem(Exception):
    """One line for ``SettingsError.problems``."""


@attrs.frozen
class Field:
    """One attribute of a settings class, with what is known about it."""

    attribute: attrs.Attribute[Any]
    key: str
    codes: tuple[str, ...]
    help: str
    secret: bool
    system_only: bool
    allowed: str
    keys: tuple[str, ...]
    user_keys: tuple[str, ...]

    @property
    def alias(self) -> str:
        return self.attribute.alias or self.attribute.name

    @property
    def default(self) -> Any:
        return self.attribute.default

    @property
    def required(self) -> bool:
        return self.attribute.default is attrs.NOTHING

    def located(self, value: Any, directory: Path | None) -> Any:
        """Find out where a path leads that a settings file may say relative to itself; leave all else as it is."""
        if Path not in members_of(self.attribute.type) or not isinstance(value, str) or not value.strip():
            return value
        return (directory or Path()) / Path(value).expanduser()

    def converted(self, value: Any, entry: Entry) -> Any:
        """Turn what a source holds into what the class wants, or raise ``SettingProblem``."""
        expected = self.attribute.type
        if isinstance(value, str) and not value.strip() and is_optional(expected):
            return None
        conversion_errors, convert = conversion()
        refusal: str | None = None
        try:
            converted = value if passes_as_is(value, expected) else convert(value, expected)
        except conversion_errors:
            refusal = ""
        else:
            if self.attribute.validator is not None:
                try:
                    self.attribute.validator(None, self.attribute, converted)
                except conversion_errors as error:
                    refusal = _own_words(error)
        if refusal is not None:
            # A validator's own words may quote what it was given.
            held, why = ("a secret that cannot be used", "") if self.secret else (_shown(value), refusal)
            raise SettingProblem(f"{self.key}: holds {held} (from {entry.told}); it may hold {self.allowed}{why and f'; {why}'}")
        return converted


@functools.cache
def fields_of(prefix: str, settings_type: type) -> tuple[Field, ...]:
    return tuple(_field(prefix, attribute) for attribute in attrs.fields(attrs.resolve_types(settings_type)) if attribute.init)


def _field(prefix: str, attribute: attrs.Attribute[Any]) -> Field:
    metadata: SettingMetadata = attribute.metadata.get(METADATA) or SettingMetadata((), "", False, False)
    key = f"{prefix}.{attribute.alias}"
    keys = (normalised(key), *map(normalised, metadata.codes))
    return Field(
        attribute=attribute,
        key=key,
        codes=metadata.codes,
        help=metadata.help,
        secret=metadata.secret or holds_secret(attribute.type),
        system_only=metadata.system_only,
        allowed=allowed(attribute.type, attribute.validator, secret=metadata.secret),
        keys=tuple(dict.fromkeys(keys)),
        user_keys=tuple(dict.fromkeys((*keys, normalised(attribute.alias or attribute.name)))),
    )


def _shown(value: Any) -> str:
    text = repr_of(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _own_words(error: BaseException) -> str:
    """What an author's own validator says; of attrs' validators nothing, for what they allow is told anyway."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    raised_in = "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))
    return "" if raised_in.partition(".")[0] in ("attr", "attrs") else str(error)
