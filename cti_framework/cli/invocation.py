"""What one call of the command has in hand: its settings, the installed plugins, where it writes."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import click

from cti_framework.cli.console import Output
from cti_framework.errors import NotSupportedError
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings, describe_settings

__all__ = ["DEFAULT_PROVIDER", "Invocation", "json_option", "pass_invocation", "provider_option", "user_option"]

DEFAULT_PROVIDER: Final = "webitel"
"""The provider whose simulator is shown, and whose captures are replayed, where none is named."""


@attrs.define(eq=False)
class Invocation:
    """One call of the command.

    Attributes:
        output: Where it writes.
        given_plugins: The installed plugins; ``None``: as found.
        toml: The file of ``--settings``.
        assigned: What ``--set`` gave, by key.
    """

    output: Output
    given_plugins: Plugins | None = None
    toml: Path | None = None
    assigned: dict[str, str] = attrs.field(factory=dict, repr=False)

    def settings(self) -> SystemSettings:
        """Collect the settings: the file, ``--set``, ``CTI_*`` variables.

        Returns:
            The settings.

        Raises:
            SettingsError: The file cannot be read.
        """
        return SystemSettings.load(self.assigned, toml=self.toml, environ=_without_assigned(os.environ, self.assigned))

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

    def initializer(self) -> CtiProviderInitializer:
        """Make what opens sessions.

        Returns:
            An initializer with the command's settings and plugins.

        Raises:
            SettingsError: The settings cannot be used.
        """
        return CtiProviderInitializer(self.settings(), plugins=self.given_plugins)

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
        inherited = getattr(BaseCtiProvider, tool)
        own = getattr(provider_class, tool)
        if getattr(own, "__func__", own) is inherited.__func__:
            raise NotSupportedError(
                f"The provider '{provider}' ({provider_class.__name__}) brings no {_TOOLS[tool]}.",
                command=tool,
                remedy="Name another provider; `cti providers` lists what is installed.",
            )
        return provider_class, own


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
    "--provider", metavar="NAME", default=DEFAULT_PROVIDER, show_default=True, help="The provider, as `cti providers` names it."
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


def _without_assigned(environ: Mapping[str, str], assigned: Mapping[str, str]) -> dict[str, str]:
    """Leave out the variables of keys that ``--set`` gives: what is typed now is meant more than what was exported once."""
    dotted = {code.casefold(): d.key for d in describe_settings(CORE_PREFIX, CoreSettings) for code in d.codes}
    keys = {_compared(dotted.get(key.casefold(), key)) for key in assigned}
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("CTI_") or not keys & {_compared(way) for way in _keys_of(name.removeprefix("CTI_"))}
    }


def _keys_of(name: str) -> tuple[str, str]:
    return name.replace("__", "."), f"{CORE_PREFIX}.{name}"


def _compared(key: str) -> str:
    return key.replace("_", "").replace("-", "").casefold()
