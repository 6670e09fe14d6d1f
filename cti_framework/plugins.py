"""Finding and loading plugins.

What is installed is read from the metadata of distributions alone: nothing is imported until it is used, and a plugin that
cannot be used disturbs no other. Two groups of entry points count::

    [project.entry-points."cti_framework.providers"]      # one is chosen by cti.provider, only that one is imported
    webitel = "cti_webitel:WebitelCtiProvider"

    [project.entry-points."cti_framework.companions"]     # all are loaded that are not switched off
    journal = "acme_journal:Journal"

A companion is a module, an object, or a class that is called without arguments. Names are compared without regard to case,
``-``, ``_``, ``.`` and blanks, so that a product's own code for a library (``Webitel``) finds its plugin.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from functools import partial
from importlib.metadata import Distribution, EntryPoint
from typing import Any, Final

import attrs
import structlog

from cti_framework.deprecation import CtiDeprecationWarning
from cti_framework.errors import (
    CtiError,
    HookError,
    PluginImportError,
    PluginIncompatibleError,
    ProviderDisabledError,
    ProviderDuplicateError,
    ProviderNotFoundError,
)
from cti_framework.hooks import Hooks
from cti_framework.provider import PROVIDER_API_DEPRECATED, PROVIDER_API_SUPPORTED, BaseCtiProvider

__all__ = ["PluginKind", "PluginRecord", "PluginStatus", "Plugins", "installed_entry_points"]

_GROUPS: Final = "cti_framework."
_DISTRIBUTION_OF_PROVIDER: Final = "cti-framework-{name}"

_log = structlog.get_logger("cti_framework.plugins")


class PluginKind(Enum):
    """What a plugin is for."""

    PROVIDER = "provider"
    """It connects a PBX."""
    COMPANION = "companion"
    """It listens to events, or answers what the framework asks."""

    @property
    def group(self) -> str:
        """The group of entry points that registers it."""
        return f"{_GROUPS}{self.value}s"


class PluginStatus(Enum):
    """What is known about a plugin."""

    AVAILABLE = "available"
    """Installed; not imported yet."""
    LOADED = "loaded"
    """Imported and in use."""
    INCOMPATIBLE = "incompatible"
    """Imported, and written for another contract, or no plugin at all."""
    IMPORT_FAILED = "import-failed"
    """Importing it raised."""
    DUPLICATE = "duplicate"
    """Another distribution offers the same name; neither is used."""
    DISABLED = "disabled"
    """Switched off by ``cti.disabled_plugins``."""


@attrs.frozen
class PluginRecord:
    """One installed plugin.

    Attributes:
        name: Its name, as it registered itself.
        kind: What it is for.
        distribution: The distribution that brings it; empty if not known.
        version: That distribution's version; empty if not known.
        value: Where it is: ``package.module:attribute``.
        api: The number of the contract that a provider is written for; ``None``: not imported yet, or no provider.
        status: What is known about it.
        error: Why it cannot be used.
        warning: What will stop it from being used: it is loaded, and written for a contract that is about to go.
    """

    name: str
    kind: PluginKind
    distribution: str
    version: str
    value: str
    api: int | None = None
    status: PluginStatus = PluginStatus.AVAILABLE
    error: str | None = None
    warning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data, for ``--json`` output.

        Returns:
            The attributes by name, enumerations by value.
        """
        return {**attrs.asdict(self), "kind": self.kind.value, "status": self.status.value}

    def __str__(self) -> str:
        return f"{self.distribution or 'an unnamed distribution'} {self.version}".rstrip() + f" ({self.value})"


@attrs.define(eq=False)
class _Plugin:
    """An entry point, and what became of it."""

    entry_point: EntryPoint
    record: PluginRecord

    def set(self, status: PluginStatus, error: str | None = None, *, api: int | None = None, warning: str | None = None) -> None:
        api = self.record.api if api is None else api
        self.record = attrs.evolve(self.record, status=status, error=error, api=api, warning=warning)

    def imported(self) -> Any:
        """Import what the entry point names.

        Raises:
            PluginImportError: The import raised.
        """
        record = self.record
        try:
            return self.entry_point.load()
        except BaseException as error:  # isolates the plugin; a module may well end in sys.exit()
            if _is_ctrl_c(error):
                raise
            self.set(PluginStatus.IMPORT_FAILED, _in_words(error))
            raise PluginImportError(
                f"The {record.kind.value} '{record.name}' of {record} cannot be imported: {_in_words(error)}.",
                remedy=f"Reinstall it with what it needs: pip install --force-reinstall {record.distribution or record.name}.",
            ) from error


class Plugins:
    """The plugins that are installed. They are looked for once, when first asked for.

    Args:
        disabled: Names of plugins that are not to be used.
        entry_points: Gives all entry points; ``None``: those of the installed distributions.
    """

    def __init__(
        self,
        *,
        disabled: Collection[str] = (),
        entry_points: Callable[[], Iterable[EntryPoint]] | None = None,
    ) -> None:
        self._disabled = frozenset(_normalised(name) for name in disabled)
        self._entry_points = installed_entry_points if entry_points is None else entry_points
        self._found: dict[tuple[PluginKind, str], list[_Plugin]] | None = None
        self._providers: dict[str, type[BaseCtiProvider]] = {}

    def records(self) -> tuple[PluginRecord, ...]:
        """Tell what is installed. Nothing is imported for it.

        Returns:
            One record a plugin: providers first, by name.
        """
        records = [plugin.record for plugins in self._plugins().values() for plugin in plugins]
        return tuple(sorted(records, key=lambda record: (record.kind.value != "provider", record.name, record.distribution)))

    def find_provider(self, name: str) -> PluginRecord | None:
        """Find the provider of a name, however the name is spelled. Nothing is imported for it.

        Args:
            name: As in ``cti.provider``.

        Returns:
            Its record (of duplicates the first), or ``None``.
        """
        candidates = self._plugins().get((PluginKind.PROVIDER, _normalised(name)))
        return candidates[0].record if candidates else None

    def load_provider(self, name: str) -> type[BaseCtiProvider]:
        """Import the provider of a name, and no other.

        Args:
            name: As in ``cti.provider``.

        Returns:
            Its class.

        Raises:
            ProviderNotFoundError: Nothing that is installed offers the name.
            ProviderDisabledError: It is switched off.
            ProviderDuplicateError: Two distributions offer it.
            PluginImportError: Importing it raised.
            PluginIncompatibleError: It is no provider, or written for another version of the contract.
        """
        key = _normalised(name)
        candidates = self._plugins().get((PluginKind.PROVIDER, key), [])
        if not candidates:
            raise self._not_found(name)
        if key in self._disabled:
            raise ProviderDisabledError(
                f"The provider '{name}' is installed and switched off.",
                remedy=f"Remove '{name}' from cti.disabled_plugins, or choose another cti.provider.",
            )
        if len(candidates) > 1:
            raise ProviderDuplicateError(
                f"The provider '{name}' is offered by {_listed(candidates)}; which one is meant cannot be guessed.",
                remedy="Uninstall all but one of them.",
            )
        if key not in self._providers:
            self._providers[key] = _checked_provider(candidates[0])
        return self._providers[key]

    def load_companions(self, hooks: Hooks) -> None:
        """Import all companions that are not switched off, and register them. One that fails is recorded and logged.

        Args:
            hooks: Where to.
        """
        for (kind, _), plugins in self._plugins().items():
            if kind is PluginKind.COMPANION:
                for plugin in plugins:
                    _load_companion(plugin, hooks)

    def check(self, *, timeout_seconds: float) -> None:
        """Import everything, to find out what can be used: the records say it. Nothing that a plugin does there stops this.

        Args:
            timeout_seconds: How long each may take; one that hangs is recorded, and left in its thread.
        """
        hooks = Hooks()
        for (kind, _), plugins in tuple(self._plugins().items()):
            for plugin in plugins:
                if kind is PluginKind.COMPANION:
                    act: Callable[[], object] = partial(_load_companion, plugin, hooks)
                else:
                    act = partial(self.load_provider, plugin.record.name)
                thread = threading.Thread(
                    target=_quietly, args=(plugin, act), name=f"cti: check {plugin.record.name}", daemon=True
                )
                thread.start()
                thread.join(timeout_seconds)
                if thread.is_alive():
                    plugin.set(PluginStatus.IMPORT_FAILED, f"Its import did not end within {timeout_seconds:g} s.")

    def _plugins(self) -> dict[tuple[PluginKind, str], list[_Plugin]]:
        if self._found is None:
            self._found = self._find()
        return self._found

    def _find(self) -> dict[tuple[PluginKind, str], list[_Plugin]]:
        kinds = {kind.group: kind for kind in PluginKind}
        found: dict[tuple[PluginKind, str], list[_Plugin]] = {}
        for entry_point in self._entry_points():
            kind = kinds.get(entry_point.group)
            if kind is None:
                continue
            distribution, version = _describe(entry_point.dist)
            record = PluginRecord(entry_point.name, kind, distribution, version, entry_point.value)
            same_name = found.setdefault((kind, _normalised(entry_point.name)), [])
            # A distribution that is on sys.path twice is one distribution: Python imports the first.
            if not any(
                _canonical(other.record.distribution) == _canonical(distribution) and other.record.value == record.value
                for other in same_name
            ):
                same_name.append(_Plugin(entry_point, record))
        for (_, key), plugins in found.items():
            for plugin in plugins:
                if key in self._disabled:
                    plugin.set(PluginStatus.DISABLED)
                elif len(plugins) > 1:
                    plugin.set(PluginStatus.DUPLICATE, f"The name is offered by {_listed(plugins)}.")
        return found

    def _not_found(self, name: str) -> ProviderNotFoundError:
        installed = {
            key: plugins[0].record.name for (kind, key), plugins in self._plugins().items() if kind is PluginKind.PROVIDER
        }
        close = difflib.get_close_matches(_normalised(name), installed, n=1)
        sentences = [f"No installed plugin offers the provider '{name}'."]
        if close:
            sentences.append(f"Did you mean '{installed[close[0]]}'?")
        sentences.append(f"Installed: {', '.join(sorted(installed.values()))}." if installed else "No provider is installed.")
        # What cannot be a name must not be pasted into a shell.
        suffix = _canonical(name) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else "<name>"
        return ProviderNotFoundError(
            " ".join(sentences),
            remedy="Correct cti.provider, or install what brings it, for example:"
            f" pip install {_DISTRIBUTION_OF_PROVIDER.format(name=suffix)}.",
        )


def installed_entry_points() -> Iterator[EntryPoint]:
    """Read the entry points of the installed distributions that are for this framework.

    Unlike ``importlib.metadata.entry_points`` it goes on behind a distribution whose metadata is broken.

    Yields:
        Each, in the order of ``sys.path``; of distributions of one name only the first counts, as in an import.
    """
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            # Most distributions have none of ours, and parsing is what costs.
            if _GROUPS not in (distribution.read_text("entry_points.txt") or ""):
                continue
            entry_points = [one for one in distribution.entry_points if one.group.startswith(_GROUPS)]
        except Exception as error:  # noqa: BLE001 - isolates the distribution, whose files may hold anything
            _log.warning("cti.plugin.metadata_unreadable", distribution=str(distribution), error=_in_words(error))
            continue
        name = _canonical(_describe(distribution)[0])
        if name not in seen or not name:
            seen.add(name)
            yield from entry_points


def _describe(distribution: Distribution | None) -> tuple[str, str]:
    if distribution is None:
        return "", ""
    try:
        return distribution.metadata["Name"] or "", distribution.metadata["Version"] or ""
    except Exception as error:  # noqa: BLE001 - isolates the distribution, whose files may hold anything
        _log.warning("cti.plugin.metadata_unreadable", distribution=str(distribution), error=_in_words(error))
        return "", ""


def _checked_provider(plugin: _Plugin) -> type[BaseCtiProvider]:
    record = plugin.record
    provider = plugin.imported()
    who = f"The provider '{record.name}' of {record}"
    remedy = f"Ask its author for one that works, or upgrade it: pip install --upgrade {record.distribution or record.name}."
    api = getattr(provider, "provider_api", None) if isinstance(provider, type) else None
    if not (isinstance(provider, type) and issubclass(provider, BaseCtiProvider)):
        message = f"{who} is no subclass of BaseCtiProvider."
    elif not isinstance(api, int) or isinstance(api, bool):
        message = f"{who} does not say by provider_api which contract it is written for."
    elif api not in PROVIDER_API_SUPPORTED:
        plugin.set(record.status, api=api)
        oldest, newest = min(PROVIDER_API_SUPPORTED), max(PROVIDER_API_SUPPORTED)
        window = str(newest) if oldest == newest else f"{oldest} to {newest}"
        message = f"{who} is written for provider API {api}; this cti-framework supports {window}."
        if api < oldest:
            remedy = f"Upgrade the plugin: pip install --upgrade {record.distribution or record.name}."
        else:
            remedy = "Upgrade the framework: pip install --upgrade cti-framework."
    elif inspect.isabstract(provider):
        message = f"{who} does not implement {', '.join(sorted(provider.__abstractmethods__))}."
    else:
        plugin.set(PluginStatus.LOADED, api=api)
        deprecation = PROVIDER_API_DEPRECATED.get(api)
        if deprecation is not None:
            # Python shows its own warnings to developers only; an administrator has to hear of it before the upgrade.
            what = f"Provider API {api}, for which the provider '{record.name}' of {record} is written,"
            plugin.set(PluginStatus.LOADED, warning=str(CtiDeprecationWarning(what, deprecation)))
            _log.warning("cti.plugin.deprecated", plugin=record.name, warning=plugin.record.warning)
            deprecation.warn(what, stacklevel=3)
        return provider
    plugin.set(PluginStatus.INCOMPATIBLE, f"{message} {remedy}")
    raise PluginIncompatibleError(message, remedy=remedy)


def _load_companion(plugin: _Plugin, hooks: Hooks) -> None:
    record = plugin.record
    if record.status is PluginStatus.DISABLED:
        return
    if record.status is PluginStatus.LOADED and record.name in hooks.names():
        return
    if record.status is not PluginStatus.DUPLICATE:
        try:
            companion = plugin.imported()
            hooks.register(_made(plugin, companion) if isinstance(companion, type) else companion, record.name)
        except PluginImportError:
            pass  # recorded where it was raised
        except HookError as error:
            plugin.set(PluginStatus.INCOMPATIBLE, str(error))
        else:
            plugin.set(PluginStatus.LOADED)
            return
    _log.error("cti.companion.not_used", **plugin.record.as_dict())


def _quietly(plugin: _Plugin, act: Callable[[], object]) -> None:
    try:
        act()
    except CtiError:
        pass  # its record says what is wrong
    except BaseException as error:  # noqa: BLE001 - isolates the plugin, whose class may raise at the first look
        plugin.set(PluginStatus.IMPORT_FAILED, _in_words(error))


def _is_ctrl_c(error: BaseException) -> bool:
    """Tell the user's Ctrl-C, which Python raises in the main thread alone, from what a plugin raises itself."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _made(plugin: _Plugin, companion: type) -> object:
    try:
        made: object = companion()
    except BaseException as error:  # isolates the plugin
        if _is_ctrl_c(error):
            raise
        plugin.set(PluginStatus.IMPORT_FAILED, _in_words(error))
        raise PluginImportError(
            f"The companion '{plugin.record.name}' of {plugin.record} cannot be made: {_in_words(error)}."
        ) from error
    return made


def _listed(plugins: Iterable[_Plugin]) -> str:
    return " and ".join(str(plugin.record) for plugin in plugins)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _normalised(name: str) -> str:
    return re.sub(r"[-_.\s]+", "", name).casefold()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
