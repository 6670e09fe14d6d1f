"""System settings: where they come from, what each key means.

Sources, weakest first; a stronger one overrides a weaker one key by key:

1. the defaults of the settings class,
2. a TOML file,
3. the mapping that the host passes,
4. the answers of the hook ``cti_setting``,
5. ``CTI_*`` environment variables,
6. the parameters of the user whose session it is.

Keys are compared without regard to case, ``_`` and ``-``, so ``webitel.connection_string`` and
``Webitel.ConnectionString`` are one key. A key may be spelled in these ways:

* dotted: ``cti.provider``, ``webitel.connection_string``; tables in TOML and mappings in mappings are dots;
* as the product's own code, where the settings class declares one: ``SysMsgLib``, ``webitelConnectionString``
  (facts: creatio-cti 4.4);
* as a variable: a double underscore is the dot (``CTI_WEBITEL__CONNECTION_STRING``); without one the key is under ``cti.``
  (``CTI_PROVIDER``), or somebody else's where no key is like it (``CTI_HOME``);
* as a user's parameter: without a prefix, ``useWebPhone`` or ``use_web_phone``. Only there: a host's own ``password`` is
  none of ours.

``None`` means "not set". One source that gives one key two values is refused, whichever way they are spelled.

A secret is given by value, as ``env:NAME`` (a variable holds it) or as ``file:PATH`` (a file holds it; relative to the TOML
file that says so, otherwise to the working directory). A user's own parameters may not refer: they would read the secrets
of the process for somebody who is not its administrator. Nor may they set what is the system's alone, such as how a connection
is secured. A path is relative to the same directory as a secret's file.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from cti_framework.errors import SettingsError
from cti_framework.redaction import SecretRedactor

if TYPE_CHECKING:
    import cattrs

__all__ = [
    "CoreSettings",
    "SettingDescription",
    "SettingValue",
    "SystemSettings",
    "describe_settings",
    "secret_values",
    "setting",
]

T = TypeVar("T")

CORE_PREFIX: Final = "cti"

_VARIABLE_PREFIX: Final = "CTI_"
_VARIABLE_ORIGIN: Final = "the variable "
_METADATA: Final = "cti_framework.setting"
_SHOWN_CHARACTERS: Final = 80
_BY_NAME: Final = SecretRedactor()
# An address whose scheme was forgotten.
_USER_AND_PASSWORD: Final = re.compile(r"(?!sips?:)[^\s@:/]+:[^\s@]+@", re.IGNORECASE)


@attrs.frozen
class _SettingMetadata:
    codes: tuple[str, ...]
    help: str
    secret: bool
    system_only: bool


def _repr_of(value: Any) -> str:
    """Show a value; of an address only where it leads."""
    if isinstance(value, str) and ("://" in value or _USER_AND_PASSWORD.match(value)):
        from cti_framework.transport import safe_url

        value = safe_url(value)
    shown: str = _BY_NAME.redact(repr(value)) if isinstance(value, str) else repr(value)
    return shown


def setting(
    *,
    default: Any = attrs.NOTHING,
    code: str | None = None,
    codes: Iterable[str] = (),
    help: str = "",
    secret: bool = False,
    system_only: bool = False,
    validator: Any = None,
) -> Any:
    """Declare one setting in an attrs class; it stands where ``attrs.field`` would.

    The key is the class's prefix and the attribute's name. The type says what a value is converted to: ``str``, ``int``,
    ``float``, ``bool``, an ``Enum`` (by name or value), ``Path``, ``tuple[str, ...]`` (from a list or comma-separated text),
    ``Secret[str]`` of typed-settings, and each of them ``| None`` (empty text is ``None``).

    Args:
        default: What holds where no source says anything. Without one the setting has to be given.
        code: The product's own key for it, for example ``"webitelConnectionString"``. A code is looked up in every source
            and without a prefix, so it has to be a name that nobody else uses.
        codes: Further such keys.
        help: What it is for, in one sentence, for documentation and settings pages.
        secret: Whether it is never shown. ``Secret`` types are secret without it.
        system_only: Whether a user's own parameters may not set it. A users directory may: an administrator writes that.
        validator: One attrs validator or a list; their bounds are told to whoever breaks them. They are given no instance:
            what compares attributes belongs into ``__attrs_post_init__``, and raises ``ValueError``.

    Returns:
        What ``attrs.field`` returns.
    """
    metadata = _SettingMetadata(codes=((code,) if code else ()) + tuple(codes), help=help, secret=secret, system_only=system_only)
    return attrs.field(default=default, validator=validator, repr=False if secret else _repr_of, metadata={_METADATA: metadata})


_POSITIVE: Final = attrs.validators.gt(0)


@attrs.frozen(kw_only=True)
class CoreSettings:
    """What the framework itself reads, under ``cti.``.

    What costs all users of a process something, its memory, its PBX, its hooks, a user's own parameters may not set.

    Attributes:
        provider: The name of the provider to use; ``None``: none is chosen.
        disabled_plugins: Names of providers and companions that are not to be used.
        auto_connect: Whether a session connects when it is opened, or waits for an explicit ``connect()``.
        load_timeout_seconds: The longest that loading the provider's package may take.
        log_in_timeout_seconds: The longest that the hook ``cti_log_in`` may take.
        user_connection_timeout_seconds: The longest that the hook ``cti_user_connection`` may take.
        connect_timeout_seconds: The longest that one attempt to connect may take.
        reconnect_initial_seconds: The pause before the first new attempt, before jitter.
        reconnect_max_seconds: The longest pause between two attempts, before jitter.
        give_up_after_attempts: How many attempts may fail in one outage before the session gives up; ``None``: any number.
        give_up_after_seconds: How long an outage may last before the session gives up; ``None``: for ever.
        silence_seconds: How long nothing may be heard of a PBX before it is asked whether it is there; 0: it is not asked.
        probe_timeout_seconds: How long its answer may take before the connection counts as dead.
        restore_agent_state: Whether an agent whom the PBX has forgotten in an outage is made again what he was.
        command_timeout_seconds: The longest that a verb may take that acts on a call or on the agent, whatever the provider does.
        make_call_timeout_seconds: The same for one that begins a call: until the PBX shows it.
        query_timeout_seconds: The same for one that only asks.
        resolve_seconds: How much longer a call is looked for whose beginning was not confirmed.
        event_log_capacity: How many events a session keeps for readers that come late.
        raw_messages: Whether events carry the PBX's own messages.
        hook_timeout_seconds: The longest that an ``async`` implementation of a hook that is told events may take.
        plugin_fault_limit: After how many faults in a row a plugin is told no event any more; 0: never.
        stall_seconds: The longest that the event loop may stand still before whoever keeps it is named; 0: nobody looks.
        trace_hooks: Whether the log says of each hook who was called with what, and what came of it.
        tls_ca_file: The authorities to trust, in PEM, instead of those of the system.
        tls_client_certificate_file: The certificate, in PEM, by which a PBX knows this host. It may hold its key as well.
        tls_client_key_file: The key of that certificate, where it is in a file of its own.
        tls_client_key_password: The password of that key, where it has one.
        allow_plain_text: Whether a PBX on another computer may be spoken to without encryption.
        flight_recorder_seconds: How long a session keeps the frames of the wire, for captures and support bundles; 0: not at all.
        flight_recorder_kilobytes: How much room they may take in a session; 0: none.
    """

    provider: str | None = setting(default=None, code="SysMsgLib", help="The provider to use.")
    disabled_plugins: tuple[str, ...] = setting(default=(), help="Plugins that are not to be used.")
    auto_connect: bool = setting(default=True, help="Connect when a session is opened.")
    load_timeout_seconds: float = setting(default=10.0, validator=_POSITIVE, system_only=True, help="Time to load the provider.")
    log_in_timeout_seconds: float = setting(
        default=10.0, validator=_POSITIVE, system_only=True, help="Time for the hook cti_log_in."
    )
    user_connection_timeout_seconds: float = setting(
        default=10.0, validator=_POSITIVE, system_only=True, help="Time for the hook cti_user_connection."
    )
    connect_timeout_seconds: float = setting(
        default=15.0, validator=_POSITIVE, system_only=True, help="Time for one attempt to connect."
    )
    reconnect_initial_seconds: float = setting(
        default=0.5, validator=_POSITIVE, system_only=True, help="The pause before the first new attempt to connect."
    )
    reconnect_max_seconds: float = setting(
        default=30.0, validator=_POSITIVE, system_only=True, help="The longest pause between two attempts to connect."
    )
    give_up_after_attempts: int | None = setting(
        default=None,
        validator=attrs.validators.optional(attrs.validators.ge(1)),
        help="How many attempts may fail in one outage before the session gives up.",
    )
    give_up_after_seconds: float | None = setting(
        default=None,
        validator=attrs.validators.optional(_POSITIVE),
        help="How long an outage may last before the session gives up.",
    )
    silence_seconds: float = setting(
        default=60.0,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="How long nothing may be heard of a PBX before it is asked whether it is there.",
    )
    probe_timeout_seconds: float = setting(
        default=10.0,
        validator=_POSITIVE,
        system_only=True,
        help="How long the answer to that may take before the connection counts as dead.",
    )
    restore_agent_state: bool = setting(default=True, help="Make an agent whom the PBX has forgotten in an outage what he was.")
    command_timeout_seconds: float = setting(
        default=15.0, validator=_POSITIVE, help="Time for a verb that acts on a call or on the agent."
    )
    make_call_timeout_seconds: float = setting(
        default=30.0, validator=_POSITIVE, help="Time for a verb that begins a call, until the PBX shows it."
    )
    query_timeout_seconds: float = setting(default=30.0, validator=_POSITIVE, help="Time for a verb that only asks.")
    resolve_seconds: float = setting(
        default=10.0, validator=_POSITIVE, help="Time to look for a call whose beginning was not confirmed."
    )
    event_log_capacity: int = setting(
        default=1024, validator=attrs.validators.ge(1), system_only=True, help="How many events a session keeps for late readers."
    )
    raw_messages: bool = setting(default=False, help="Whether events carry the PBX's own messages.")
    hook_timeout_seconds: float = setting(
        default=30.0,
        validator=_POSITIVE,
        system_only=True,
        help="Time for an async implementation of a hook that is told events.",
    )
    plugin_fault_limit: int = setting(
        default=20,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="After how many faults in a row a plugin is told no event any more; 0: never.",
    )
    stall_seconds: float = setting(
        default=0.5,
        validator=attrs.validators.ge(0),
        system_only=True,
        help="How long the event loop may stand still before whoever keeps it is named; 0: nobody looks.",
    )
    trace_hooks: bool = setting(
        default=False, system_only=True, help="Write each call of a hook, and what came of it, into the log."
    )
    tls_ca_file: Path | None = setting(
        default=None, system_only=True, help="The authorities to trust, in PEM, instead of those of the system."
    )
    tls_client_certificate_file: Path | None = setting(
        default=None, system_only=True, help="The certificate, in PEM, by which a PBX knows this host."
    )
    tls_client_key_file: Path | None = setting(
        default=None, system_only=True, help="The key of that certificate, where it is in a file of its own."
    )
    tls_client_key_password: str | None = setting(
        default=None, secret=True, system_only=True, help="The password of that key, where it has one."
    )
    allow_plain_text: bool = setting(
        default=False, system_only=True, help="Speak to a PBX on another computer without encryption."
    )
    flight_recorder_seconds: float = setting(
        default=300.0, validator=attrs.validators.ge(0), system_only=True, help="How long a session keeps the frames of the wire."
    )
    flight_recorder_kilobytes: float = setting(
        default=256.0, validator=attrs.validators.ge(0), system_only=True, help="How much room they may take in a session."
    )

    def __attrs_post_init__(self) -> None:
        if self.tls_client_key_file is not None and self.tls_client_certificate_file is None:
            raise ValueError("tls_client_key_file is the key of a certificate: set tls_client_certificate_file, too")
        if self.reconnect_max_seconds < self.reconnect_initial_seconds:
            raise ValueError(
                f"reconnect_max_seconds ({self.reconnect_max_seconds}) may not be below"
                f" reconnect_initial_seconds ({self.reconnect_initial_seconds})"
            )


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
            variable=_variable(field.key),
            codes=field.codes,
            allowed=field.allowed,
            default=None if field.required or isinstance(field.default, attrs.Factory) else field.default,  # type: ignore[arg-type]  # attrs types Factory as a function
            required=field.required,
            secret=field.secret,
            help=field.help,
            system_only=field.system_only,
        )
        for field in _fields(prefix, settings_type)
    )


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


def secret_values(settings: Any) -> tuple[str, ...]:
    """Collect the secrets that a settings object holds, for whoever has to take them out of something.

    Args:
        settings: An instance of a settings class; of anything else it is nothing.

    Returns:
        Each secret that is set.
    """
    if not attrs.has(type(settings)):
        return ()
    values: list[str] = []
    for field in attrs.fields(type(settings)):
        value: Any = getattr(settings, field.name, None)
        metadata: _SettingMetadata | None = field.metadata.get(_METADATA)
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        elif metadata is None or not metadata.secret:
            continue
        if value is not None and value != "":
            values.append(str(value))
    return tuple(values)


# Sources ---------------------------------------------------------------------------------------------------------------


class _Rank(Enum):
    """The sources that can be given, weakest first."""

    TOML = 1
    MAPPING = 2
    HOOK = 3
    VARIABLE = 4
    USER = 5


@attrs.frozen(eq=False)
class _Entry:
    spelling: str
    origin: str
    value: Any = attrs.field(repr=False)

    @property
    def variable(self) -> str:
        """The variable that holds it; empty: it is from elsewhere."""
        return self.origin.removeprefix(_VARIABLE_ORIGIN) if self.origin.startswith(_VARIABLE_ORIGIN) else ""

    @property
    def is_flat_variable(self) -> bool:
        return bool(self.variable) and "__" not in self.variable


@attrs.frozen(eq=False)
class _Source:
    rank: _Rank
    entries: Mapping[str, tuple[_Entry, ...]]
    references: bool = True
    """Whether ``env:`` and ``file:`` are followed."""
    directory: Path | None = None
    """What a relative ``file:`` is relative to; ``None``: the working directory."""

    def entries_of(self, keys: Iterable[str]) -> list[_Entry]:
        return [entry for key in keys for entry in self.entries.get(key, ()) if entry.value is not None]


def _normalised(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "").replace(" ", "")


def _variable(key: str) -> str:
    prefix, _, name = key.partition(".")
    name = name.replace(".", "__")
    return _VARIABLE_PREFIX + (name if prefix == CORE_PREFIX and "__" not in name else f"{prefix}__{name}").upper()


def _key_of_variable(name: str) -> str:
    rest = name.removeprefix(_VARIABLE_PREFIX).lower()
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


def _entries(entries: Iterable[_Entry]) -> dict[str, tuple[_Entry, ...]]:
    by_key: dict[str, tuple[_Entry, ...]] = {}
    for entry in entries:
        key = _normalised(entry.spelling)
        by_key[key] = (*by_key.get(key, ()), entry)
    return by_key


def _from_mapping(rank: _Rank, values: Mapping[str, Any], origin: str, *, references: bool = True) -> _Source:
    entries = _entries(_Entry(spelling, origin, value) for spelling, value in _flattened(values))
    return _Source(rank, entries, references=references)


def _from_toml(path: Path) -> _Source:
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
        entries = _entries(_Entry(spelling, origin, value) for spelling, value in _flattened(values))
        return _Source(_Rank.TOML, entries, directory=path.parent)
    raise SettingsError("The settings file cannot be read.", problems=(problem,), remedy="Mend the file, or name another one.")


def _from_variables(environ: Mapping[str, str]) -> _Source:
    entries = _entries(
        _Entry(_key_of_variable(name), f"{_VARIABLE_ORIGIN}{name}", value)
        for name, value in environ.items()
        if name.startswith(_VARIABLE_PREFIX)
    )
    return _Source(_Rank.VARIABLE, entries)


@attrs.frozen(eq=False, repr=False)
class SystemSettings:
    """A read-only view of settings from several sources, compared without regard to case, each with its origin.

    Its ``repr`` tells no value.
    """

    _sources: tuple[_Source, ...] = ()
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
        sources = [_from_variables(environ)]
        if toml is not None:
            sources.append(_from_toml(Path(toml)))
        if mapping is not None:
            sources.append(_from_mapping(_Rank.MAPPING, mapping, "the host's settings"))
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
        return self._with(_from_mapping(_Rank.HOOK, values, origin))

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
        return self._with(_from_mapping(_Rank.USER, parameters, origin, references=references))

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
        fields = _fields(prefix, described)
        for field in fields:
            try:
                value = self._value_of(field)
            except _SettingProblem as problem:
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
                remedy="Change what the lines below name.",
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
        for field in _fields(prefix, settings_type):
            value, origin = None if field.required or isinstance(field.default, attrs.Factory) else field.default, "default"  # type: ignore[arg-type]  # attrs types Factory as a function
            for source in reversed(self._sources):
                entries = source.entries_of(field.user_keys if source.rank is _Rank.USER else field.keys)
                if entries:
                    value, origin = entries[0].value, _spelled(entries[0])
                    break
            told.append(SettingValue(field.key, "***" if field.secret and value else value, origin))
        return tuple(told)

    def secrets(self, prefix: str, settings_type: type) -> tuple[str, ...]:
        """Collect the secrets that are set, also where other settings cannot be used: for whoever takes them out of logs.

        Args:
            prefix: As for ``read``.
            settings_type: As for ``read``.

        Returns:
            Each secret that can be had.
        """
        found: list[str] = []
        for field in _fields(prefix, settings_type):
            if field.secret:
                try:
                    value = self._value_of(field)
                except _SettingProblem:
                    continue
                if hasattr(value, "get_secret_value"):
                    value = value.get_secret_value()
                if isinstance(value, str) and value:
                    found.append(value)
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
        for field in _fields(prefix, settings_type):
            if field.secret and any(
                source.entries_of(field.user_keys if source.rank is _Rank.USER else field.keys) for source in self._sources
            ):
                try:
                    self._value_of(field)
                except _SettingProblem as problem:
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
            keys = known.setdefault(_normalised(prefix), {})
            fields = [field for one in listed for field in _fields(prefix, one)]
            keys.update((_normalised(field.key), field.key) for field in fields)
            codes.update((_normalised(code), field.key) for field in fields for code in field.codes)
        provider_names = {_normalised(prefix) for prefix in (*prefixes, *others)} - {CORE_PREFIX}
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
                            problems.append(f"{_spelled(entry)}: not known; did you mean {meant}?")
                    else:
                        close = difflib.get_close_matches(key, own, n=1)
                        problems.append(_unknown(entry, own[close[0]] if close else None, own.values()))
        if problems:
            raise SettingsError(
                f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} not known.",
                problems=tuple(problems),
                remedy="Correct or remove what the lines below name.",
            )

    def _with(self, *sources: _Source) -> SystemSettings:
        ranked = sorted((*self._sources, *sources), key=lambda source: source.rank.value)
        return SystemSettings(tuple(ranked), self._environ)

    def _value_of(self, field: _Field) -> Any:
        for source in reversed(self._sources):
            entries = source.entries_of(field.user_keys if source.rank is _Rank.USER else field.keys)
            if not entries:
                continue
            first = entries[0]
            for other in entries[1:]:
                if other.value != first.value:
                    raise _SettingProblem(
                        f"{field.key}: given twice with different values, as {_spelled(first)} and as {_spelled(other)}; keep one"
                    )
            if field.system_only and source.rank is _Rank.USER and not source.references:
                raise _SettingProblem(f"{field.key}: {_spelled(first)} may not set it; it is a setting of the system alone")
            value = self._resolved(field, first, source) if field.secret else field.located(first.value, source.directory)
            return field.converted(value, first)
        if field.required:
            ways = " or ".join((field.key, *field.codes, _variable(field.key)))
            raise _SettingProblem(f"{field.key}: not set; it may hold {field.allowed}; set {ways}")
        return attrs.NOTHING

    def _resolved(self, field: _Field, entry: _Entry, source: _Source) -> Any:
        value = entry.value
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        if not isinstance(value, str) or not value.startswith(("env:", "file:")):
            return value
        kind, _, name = value.partition(":")
        if not source.references:
            raise _SettingProblem(f"{field.key}: {kind}: in {entry.origin} is not followed; give the secret by value")
        if kind == "env":
            if name not in self._environ:
                raise _SettingProblem(f"{field.key}: env:{name} in {entry.origin}: the variable {name} is not set")
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
        raise _SettingProblem(f"{field.key}: file:{name} in {entry.origin}: {path} cannot be read: {reason}")


# Fields and conversion -------------------------------------------------------------------------------------------------


class _SettingProblem(Exception):
    """One line for ``SettingsError.problems``."""


@attrs.frozen
class _Field:
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
        if Path not in _members(self.attribute.type) or not isinstance(value, str) or not value.strip():
            return value
        return (directory or Path()) / Path(value).expanduser()

    def converted(self, value: Any, entry: _Entry) -> Any:
        """Turn what a source holds into what the class wants, or raise ``_SettingProblem``."""
        expected = self.attribute.type
        if isinstance(value, str) and not value.strip() and _is_optional(expected):
            return None
        conversion_errors, convert = _conversion()
        refusal: str | None = None
        try:
            converted = value if _passes_as_is(value, expected) else convert(value, expected)
            if self.attribute.validator is not None:
                self.attribute.validator(None, self.attribute, converted)
        except conversion_errors:
            held = "a secret that cannot be used" if self.secret else _shown(value)
            refusal = f"{self.key}: holds {held} (from {_spelled(entry)}); it may hold {self.allowed}"
        if refusal is not None:
            raise _SettingProblem(refusal)
        return converted


@functools.cache
def _fields(prefix: str, settings_type: type) -> tuple[_Field, ...]:
    return tuple(_field(prefix, attribute) for attribute in attrs.fields(attrs.resolve_types(settings_type)) if attribute.init)


def _field(prefix: str, attribute: attrs.Attribute[Any]) -> _Field:
    metadata: _SettingMetadata = attribute.metadata.get(_METADATA) or _SettingMetadata((), "", False, False)
    key = f"{prefix}.{attribute.alias}"
    keys = (_normalised(key), *map(_normalised, metadata.codes))
    return _Field(
        attribute=attribute,
        key=key,
        codes=metadata.codes,
        help=metadata.help,
        secret=metadata.secret or _holds_secret(attribute.type),
        system_only=metadata.system_only,
        allowed=_allowed(attribute.type, attribute.validator, secret=metadata.secret),
        keys=tuple(dict.fromkeys(keys)),
        user_keys=tuple(dict.fromkeys((*keys, _normalised(attribute.alias or attribute.name)))),
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types that a union names, without ``None``; the type itself where it is no union."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(annotation) if member is not types.NoneType)
    return (annotation,)


def _is_optional(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation) and len(_members(annotation)) < len(typing.get_args(annotation))


def _holds_secret(annotation: Any) -> bool:
    # By module and name: typed-settings is heavy, and a class that uses it has loaded it already.
    for member in _members(annotation):
        origin = typing.get_origin(member) or member
        if isinstance(origin, type) and any(
            base.__module__ == "typed_settings.types" and base.__name__ in {"Secret", "SecretStr"} for base in origin.__mro__
        ):
            return True
    return False


def _passes_as_is(value: Any, annotation: Any) -> bool:
    return any(
        isinstance(member, type)
        and typing.get_origin(member) is None
        and isinstance(value, member)
        and not (isinstance(value, bool) and member is not bool)
        for member in _members(annotation)
    )


def _allowed(annotation: Any, validator: Any, *, secret: bool) -> str:
    if secret or _holds_secret(annotation):
        text = "a secret: its value, env:NAME or file:PATH"
    else:
        text = " or ".join(_allowed_type(member) for member in _members(annotation))
    bounds = ", ".join(_bounds(validator))
    if bounds:
        text = f"{text}, {bounds}"
    return f"{text}, or nothing" if _is_optional(annotation) else text


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
def _conversion() -> tuple[tuple[type[BaseException], ...], Any]:
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
        wanted = _normalised(value)
        for member in enum_type:
            if wanted in (_normalised(member.name), _normalised(str(member.value))):
                return member
    return enum_type(value)


# Words -----------------------------------------------------------------------------------------------------------------


def _spelled(entry: _Entry) -> str:
    return entry.origin if entry.variable else f"{entry.spelling} in {entry.origin}"


def _shown(value: Any) -> str:
    text = _repr_of(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _unknown(entry: _Entry, close: str | None, known: Iterable[str]) -> str:
    if close is None:
        return f"{_spelled(entry)}: not known; known are {', '.join(_variable(key) if entry.variable else key for key in known)}"
    return f"{_spelled(entry)}: not known; did you mean {_variable(close) if entry.variable else close}?"


def _variable_meant(name: str, known: Mapping[str, str], codes: Mapping[str, str], providers: Collection[str]) -> str | None:
    """Find what a variable without a double underscore was to be; ``None``: it is somebody else's."""
    rest = name.removeprefix(_VARIABLE_PREFIX)
    for place, character in enumerate(rest):
        if character == "_" and _normalised(rest[:place]) in providers:
            return f"{_VARIABLE_PREFIX}{rest[:place]}__{rest[place + 1 :]}"
    # Without the prefix: that all of them have it makes none of them like another.
    meant = {key.partition(".")[2]: dotted for key, dotted in known.items()} | dict(codes)
    close = difflib.get_close_matches(_normalised(rest), meant, n=1)
    return _variable(meant[close[0]]) if close else None


def _without_secrets(text: str, fields: Iterable[_Field], values: Mapping[str, Any]) -> str:
    for field in fields:
        value = values.get(field.alias)
        if field.secret and value:
            text = text.replace(str(value.get_secret_value() if hasattr(value, "get_secret_value") else value), "***")
    return text
