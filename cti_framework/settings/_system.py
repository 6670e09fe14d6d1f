"""All sources together, and what they say."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from cti_framework.errors import SettingsError
from cti_framework.settings._declared import secrets_in
from cti_framework.settings._fields import Field, SettingProblem, fields_of
from cti_framework.settings._sources import (
    CORE_PREFIX,
    VARIABLE_PREFIX,
    Entry,
    Rank,
    Source,
    from_mapping,
    from_toml,
    from_variables,
    normalised,
    variable_of,
)

__all__ = ["SettingValue", "SystemSettings"]

T = TypeVar("T")


@attrs.frozen
class SettingValue:
    """What a setting holds, and who said so, for whoever looks into an installation.

    Attributes:
        key: The dotted key.
        value: What the source holds, not converted; ``"***"`` for a secret, ``None`` where it has to be set and is not.
        origin: The source: ``"default"``, or in words; a key that was given under another name says so.
    """

    key: str
    value: Any
    origin: str


@attrs.frozen(eq=False, repr=False)
class SystemSettings:
    """A read-only view of settings from several sources, compared without regard to case, each with its origin.

    Its ``repr`` tells no value.
    """

    _sources: tuple[Source, ...] = ()
    _environ: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"SystemSettings({len(self.keys())} keys)"

    @classmethod
    def load(
        cls,
        mapping: Mapping[str, Any] | None = None,
        *,
        toml: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> SystemSettings:
        """Collect the settings of the system.

        Args:
            mapping: What the host passes: dotted keys, nested mappings, codes; keys that are none of ours are left alone.
            toml: A TOML file.
            environ: The environment variables; ``None``: those of the process.

        Returns:
            The settings, nothing of them converted yet.

        Raises:
            SettingsError: The file cannot be read, or is not TOML.
        """
        environ = dict(os.environ if environ is None else environ)
        sources = [from_variables(environ)]
        if toml is not None:
            sources.append(from_toml(Path(toml)))
        if mapping is not None:
            sources.append(from_mapping(Rank.MAPPING, mapping, "the host's settings"))
        return cls((), environ)._with(*sources)

    def with_values(self, values: Mapping[str, Any], origin: str) -> SystemSettings:
        """Add values that were asked for, such as the answers of the hook ``cti_setting``.

        They are stronger than the host's mapping and weaker than variables.

        Args:
            values: As for ``load``.
            origin: Where they come from, as errors are to tell it: ``"the hook cti_setting"``.

        Returns:
            The settings with them.
        """
        return self._with(from_mapping(Rank.HOOK, values, origin))

    def with_user(
        self, parameters: Mapping[str, Any], *, origin: str = "the user's parameters", references: bool = False
    ) -> SystemSettings:
        """Add the parameters of one user, on top of everything given before.

        Args:
            parameters: As for ``load``, and also without a prefix: ``{"useWebPhone": False}``.
            origin: Where they come from, as errors are to tell it.
            references: Whether a secret among them may be ``env:NAME`` or ``file:PATH``: only where an administrator
                writes them, such as in a users directory.

        Returns:
            The settings with them.
        """
        return self._with(from_mapping(Rank.USER, parameters, origin, references=references))

    def keys(self) -> tuple[str, ...]:
        """Tell all keys that any source gives.

        Returns:
            Each as the weakest source that has it spells it, sorted.
        """
        spelled: dict[str, str] = {}
        for source in self._sources:
            for key, entries in source.entries.items():
                spelled.setdefault(key, entries[0].spelling)
        return tuple(sorted(spelled.values()))

    def has(self, prefix: str) -> bool:
        """Tell whether any source gives a key under a prefix.

        Args:
            prefix: What the keys begin with.

        Returns:
            Whether.
        """
        start = f"{normalised(prefix)}."
        return any(key.startswith(start) for source in self._sources for key in source.entries)

    def read(self, prefix: str, settings_type: type[T]) -> T:
        """Build a settings object.

        Args:
            prefix: What its keys begin with: ``"cti"``, ``"webitel"``.
            settings_type: The attrs class; its fields are best declared with ``setting``.

        Returns:
            The object: every value converted, secrets resolved.

        Raises:
            SettingsError: Something is missing, twice there, or not what it may be: one problem a key, all at once.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        described: type = settings_type
        fields = fields_of(prefix, described)
        for field in fields:
            try:
                value = self._value_of(field)
            except SettingProblem as problem:
                problems.append(str(problem))
            else:
                if value is not attrs.NOTHING:
                    values[field.alias] = value
        settings: T | None = None
        if not problems:
            try:
                settings = settings_type(**values)
            except (ValueError, TypeError) as error:
                problems.append(f"{prefix}: {_without_secrets(str(error), fields, values)}")
        if settings is None:
            count = len(problems)
            # Raised outside the handlers above: a chained error of the converter would carry the value.
            raise SettingsError(
                f"{count} setting{'s' if count > 1 else ''} under '{prefix}' cannot be used.",
                problems=tuple(problems),
                remedy="Change the settings that are named.",
            )
        return settings

    def values(self, prefix: str, settings_type: type) -> tuple[SettingValue, ...]:
        """Tell what holds and who says so, without secrets. Wrong values are told as they are.

        Args:
            prefix: What the keys begin with.
            settings_type: The attrs class.

        Returns:
            One value a setting, in the class's order.
        """
        told: list[SettingValue] = []
        for field in fields_of(prefix, settings_type):
            value, origin = None if field.required or isinstance(field.default, attrs.Factory) else field.default, "default"  # type: ignore[arg-type]  # attrs types Factory as a function
            for source in reversed(self._sources):
                entries = source.entries_of(field.user_keys if source.rank is Rank.USER else field.keys)
                if entries:
                    value, origin = entries[0].value, entries[0].told
                    break
            told.append(SettingValue(field.key, "***" if field.secret and value else value, origin))
        return tuple(told)

    def secrets(self, prefix: str, settings_type: type) -> tuple[str, ...]:
        """Collect the secrets that are set, also where other settings cannot be used: for whoever takes them out of logs.

        Args:
            prefix: As for ``read``.
            settings_type: As for ``read``.

        Returns:
            Each secret that can be had, and the password of each URL.
        """
        found: list[str] = []
        for field in fields_of(prefix, settings_type):
            try:
                value = self._value_of(field)
            except SettingProblem:
                continue
            if value is not attrs.NOTHING:
                found += secrets_in(value, is_secret=field.secret)
        return tuple(found)

    def secret_problems(self, prefix: str, settings_type: type) -> tuple[str, ...]:
        """Tell which secrets that are set cannot be had: a variable that is not there, a file that cannot be read.

        Args:
            prefix: As for ``read``.
            settings_type: As for ``read``.

        Returns:
            One problem a secret, as ``SettingsError.problems`` has them.
        """
        problems: list[str] = []
        for field in fields_of(prefix, settings_type):
            if field.secret and any(
                source.entries_of(field.user_keys if source.rank is Rank.USER else field.keys) for source in self._sources
            ):
                try:
                    self._value_of(field)
                except SettingProblem as problem:
                    problems.append(str(problem))
        return tuple(problems)

    def check_unknown(self, prefixes: Mapping[str, type | Sequence[type]], *, others: Iterable[str] = ()) -> None:
        """Refuse keys under our prefixes that nobody reads: they are misspelt, or of another version.

        A variable without a double underscore is refused only where it is like a key, or begins with a prefix: many other
        programs may call theirs ``CTI_HOME``.

        Args:
            prefixes: The settings class, or classes, that read each prefix.
            others: Further prefixes, whose keys are not known here: the names of the installed providers.

        Raises:
            SettingsError: One problem an unknown key, with the closest known one. Values are not told.
        """
        known: dict[str, dict[str, str]] = {}
        codes: dict[str, str] = {}
        for prefix, settings_types in prefixes.items():
            listed = settings_types if isinstance(settings_types, Sequence) else (settings_types,)
            keys = known.setdefault(normalised(prefix), {})
            fields = [field for one in listed for field in fields_of(prefix, one)]
            keys.update((normalised(field.key), field.key) for field in fields)
            codes.update((normalised(code), field.key) for field in fields for code in field.codes)
        # A former key of a setting is a code with our own prefix.
        for prefix, keys in known.items():
            keys.update((code, key) for code, key in codes.items() if code.startswith(f"{prefix}."))
        provider_names = {normalised(prefix) for prefix in (*prefixes, *others)} - {CORE_PREFIX}
        problems: list[str] = []
        for source in self._sources:
            for key, entries in source.entries.items():
                owners = [prefix for prefix in known if key.startswith(f"{prefix}.")]
                if not owners:
                    continue
                own = known[max(owners, key=len)]
                if key in own:
                    continue
                for entry in entries:
                    if entry.is_flat_variable:
                        meant = _variable_meant(entry.variable, own, codes, provider_names)
                        if meant is not None:
                            problems.append(f"{entry.told}: not known; did you mean {meant}?")
                    else:
                        close = difflib.get_close_matches(key, own, n=1)
                        problems.append(_unknown(entry, own[close[0]] if close else None, own.values()))
        if problems:
            raise SettingsError(
                f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} not known.",
                problems=tuple(problems),
                remedy="Correct or remove the keys that are named.",
            )

    def _with(self, *sources: Source) -> SystemSettings:
        ranked = sorted((*self._sources, *sources), key=lambda source: source.rank.value)
        return SystemSettings(tuple(ranked), self._environ)

    def _value_of(self, field: Field) -> Any:
        for source in reversed(self._sources):
            entries = source.entries_of(field.user_keys if source.rank is Rank.USER else field.keys)
            if not entries:
                continue
            first = entries[0]
            for other in entries[1:]:
                if other.value != first.value:
                    raise SettingProblem(
                        f"{field.key}: given twice with different values, as {first.told} and as {other.told}; keep one"
                    )
            if field.system_only and source.rank is Rank.USER and not source.references:
                raise SettingProblem(f"{field.key}: only the system may set it, and {first.told} does")
            value = self._resolved(field, first, source) if field.secret else field.located(first.value, source.directory)
            return field.converted(value, first)
        if field.required:
            ways = " or ".join((field.key, *field.codes, variable_of(field.key)))
            raise SettingProblem(f"{field.key}: not set; it may hold {field.allowed}; set {ways}")
        return attrs.NOTHING

    def _resolved(self, field: Field, entry: Entry, source: Source) -> Any:
        value = entry.value
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        if not isinstance(value, str) or not value.startswith(("env:", "file:")):
            return value
        kind, _, name = value.partition(":")
        if not source.references:
            raise SettingProblem(f"{field.key}: {kind}: in {entry.origin} is not followed; give the secret by value")
        if kind == "env":
            if name not in self._environ:
                raise SettingProblem(f"{field.key}: env:{name} in {entry.origin}: the variable {name} is not set")
            return self._environ[name]
        path = (source.directory or Path()) / Path(name).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except ValueError:
            reason = "it is not UTF-8 text"
        else:
            return text.removesuffix("\n").removesuffix("\r")
        raise SettingProblem(f"{field.key}: file:{name} in {entry.origin}: {path} cannot be read: {reason}")


# Words ---------------------------------------------------------------------------------------------------------------


def _unknown(entry: Entry, close: str | None, known: Iterable[str]) -> str:
    if close is None:
        return f"{entry.told}: not known; known are {', '.join(variable_of(key) if entry.variable else key for key in known)}"
    return f"{entry.told}: not known; did you mean {variable_of(close) if entry.variable else close}?"


def _variable_meant(name: str, known: Mapping[str, str], codes: Mapping[str, str], providers: Collection[str]) -> str | None:
    """Find what a variable without a double underscore was to be; ``None``: it is somebody else's."""
    rest = name.removeprefix(VARIABLE_PREFIX)
    for place, character in enumerate(rest):
        if character == "_" and normalised(rest[:place]) in providers:
            return f"{VARIABLE_PREFIX}{rest[:place]}__{rest[place + 1 :]}"
    # Without the prefix: that all of them have it makes none of them like another.
    meant = {key.partition(".")[2]: dotted for key, dotted in known.items()} | dict(codes)
    close = difflib.get_close_matches(normalised(rest), meant, n=1)
    return variable_of(meant[close[0]]) if close else None


def _without_secrets(text: str, fields: Iterable[Field], values: Mapping[str, Any]) -> str:
    for field in fields:
        value = values.get(field.alias)
        if field.secret and value:
            text = text.replace(str(value.get_secret_value() if hasattr(value, "get_secret_value") else value), "***")
    return text
