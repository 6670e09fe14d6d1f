"""What one call of the command has in hand: its settings, the installed plugins, where it writes."""

from __future__ import annotations

import contextlib
import getpass
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import click
import structlog

from cti_framework.chain import settings_types
from cti_framework.cli.console import Output
from cti_framework.cli.secrets import CommandSecrets
from cti_framework.errors import CtiError, NotSupportedError, ProviderNotSetError
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import PluginKind, Plugins
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings

__all__ = ["Invocation", "json_option", "pass_invocation", "provider_option", "user_option"]

_log = structlog.get_logger("cti_framework.cli")


@attrs.define(eq=False)
class Invocation:
    """One call of the command.

    Attributes:
        output: Where it writes.
        given_plugins: The installed plugins; ``None``: as found.
        toml: The file of ``--settings``.
        assigned: What ``--set`` gave, by key.
        verbosity: How often ``-v`` was given.
        secrets: Takes what the settings keep secret out of what is written.
    """

    output: Output
    given_plugins: Plugins | None = None
    toml: Path | None = None
    assigned: dict[str, str] = attrs.field(factory=dict, repr=False)
    verbosity: int = 0
    secrets: CommandSecrets = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.secrets = CommandSecrets(self._find_secrets)
        self.write_to(self.output)

    def write_to(self, output: Output) -> None:
        """Write there from now on, without secrets.

        Args:
            output: Where.
        """
        output.redact = self.secrets.redact
        self.output = output

    def settings(self) -> SystemSettings:
        """Collect the settings: the file, ``CTI_*`` variables, ``--set``.

        Returns:
            The settings.

        Raises:
            SettingsError: The file cannot be read.
        """
        settings = SystemSettings.load(toml=self.toml)
        # What is typed now is meant more than what was exported once; whoever types it may refer to what only they can read.
        return settings.with_user(self.assigned, origin="--set", references=True) if self.assigned else settings

    def _find_secrets(self) -> Iterator[str]:
        """Find the secrets in the settings, as far as these can be read: what cannot be is told elsewhere."""
        with contextlib.suppress(CtiError):
            settings = self.settings()
            yield from settings.secrets(CORE_PREFIX, CoreSettings)
            core = settings.read(CORE_PREFIX, CoreSettings)
            if core.provider:
                for prefix, settings_type in _settings_types(self.plugins(), core.provider, core.load_timeout_seconds):
                    yield from settings.secrets(prefix, settings_type)

    def plugins(self) -> Plugins:
        """Find the installed plugins.

        Returns:
            They, without those that the settings switch off.

        Raises:
            SettingsError: The settings cannot be used.
        """
        if self.given_plugins is not None:
            return self.given_plugins
        return Plugins(disabled=self.settings().read(CORE_PREFIX, CoreSettings).disabled_plugins)

    def initializer(self, settings: SystemSettings | None = None) -> CtiProviderInitializer:
        """Make what opens sessions.

        Args:
            settings: The settings to use; ``None``: those of the command.

        Returns:
            An initializer with the command's settings and plugins.

        Raises:
            SettingsError: The settings cannot be used.
        """
        return CtiProviderInitializer(settings or self.settings(), plugins=self.given_plugins)

    def tool_of(self, provider: str, tool: str) -> tuple[type[BaseCtiProvider], Any]:
        """Find one of the classmethods that not every provider has.

        Args:
            provider: The provider's name.
            tool: The method's name.

        Returns:
            The provider's class, and the method.

        Raises:
            ConfigurationError: No such provider can be used.
            PluginError: It cannot be used.
            NotSupportedError: It does not have the method.
        """
        provider_class = self.plugins().load_provider(provider)
        own = _own_tool(provider_class, tool)
        if own is None:
            raise NotSupportedError(
                f"The provider '{provider}' ({provider_class.__name__}) brings no {_TOOLS[tool]}.",
                command=tool,
                remedy="Name another provider; `cti providers` lists what is installed.",
            )
        return provider_class, own

    def provider_with(self, tool: str, *, preferred: str | None = None) -> str:
        """Choose the provider for a tool where the command line names none.

        Args:
            tool: The name of the classmethod that it has to have.
            preferred: The name of another one: whoever has that, too, goes first. ``None``: there must be no choice.

        Returns:
            The provider of the settings, whether it has the tool or not; without one the first that is installed, by name.

        Raises:
            SettingsError: The settings cannot be used.
            ProviderNotSetError: Several have the tool, and none goes first.
            NotSupportedError: No provider that can be used has the tool.
        """
        chosen = self.settings().read(CORE_PREFIX, CoreSettings).provider
        if chosen:
            return chosen
        plugins = self.plugins()
        able: list[str] = []
        for name in dict.fromkeys(record.name for record in plugins.records() if record.kind is PluginKind.PROVIDER):
            try:
                provider_class = plugins.load_provider(name)
            except CtiError as error:
                _log.info("cti.provider.skipped", provider=name, reason=error.message)
                continue
            if _own_tool(provider_class, tool) is None:
                continue
            if preferred is not None and _own_tool(provider_class, preferred) is not None:
                return name
            able.append(name)
        if not able:
            raise NotSupportedError(
                f"No provider that is installed brings a {_TOOLS[tool]}.",
                command=tool,
                remedy="Install one that does; `cti providers --check` tells what is installed, and what is wrong with it.",
            )
        if preferred is None and len(able) > 1:
            raise ProviderNotSetError(
                f"Several providers that are installed bring a {_TOOLS[tool]}: {', '.join(able)}.",
                step="find_provider",
                remedy="Name one by --provider, or by cti.provider.",
            )
        return able[0]


def _settings_types(plugins: Plugins, provider: str, timeout_seconds: float) -> tuple[tuple[str, type], ...]:
    """All that is read for the provider's sessions, with its prefix; nothing where it cannot be imported, or not in time.

    Whoever writes a line asks for them, be it in an event loop: what hangs in its import must not hold that up for ever.
    """
    found: list[tuple[str, type]] = []

    def load() -> None:
        # Whatever is wrong with it is told where it is loaded to be used.
        with contextlib.suppress(Exception):
            found.extend(settings_types(provider, plugins.load_provider(provider)))

    thread = threading.Thread(target=load, name="cti: secrets", daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return tuple(found)


def _own_tool(provider_class: type[BaseCtiProvider], tool: str) -> Any:
    """The method, or ``None`` where the class only inherits the one that refuses."""
    own = getattr(provider_class, tool)
    return None if getattr(own, "__func__", own) is getattr(BaseCtiProvider, tool).__func__ else own


_TOOLS: Final = {
    "simulator": "simulator to play on",
    "serve_simulator": "simulator that listens on a port",
    "replay": "way to replay captures",
}

pass_invocation = click.make_pass_decorator(Invocation)


def _want_json(context: click.Context, parameter: click.Parameter, wanted: bool) -> bool:
    context.find_object(Invocation).output.as_json = wanted  # type: ignore[union-attr]  # the application gives one
    return wanted


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_want_json,
    help="One JSON object a line; an error is one, too, on the standard error.",
)

provider_option = click.option(
    "--provider",
    metavar="NAME",
    help="The provider, as `cti providers` names it; by default that of cti.provider, or else an installed one that can do it.",
)


def _as_user(context: click.Context, parameter: click.Parameter, user_id: str | None) -> CtiUser:
    return CtiUser(id=user_id or _own_name())


user_option = click.option(
    "--user",
    metavar="ID",
    callback=_as_user,
    help="The host's identifier of the user whose line it is, for whoever answers log in and users directory; by default you.",
)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # An account without a name, as containers have them.
        return "operator"
