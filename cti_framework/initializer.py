"""From a settings key to a session: the chain, step by step, each with an error of its own.

    settings -> provider's entry point -> its class -> its settings -> log in -> user connection -> provider -> ``CtiModel``

Each step has a time-out (``cti.*_timeout_seconds``) and fails with an error that names the step, what was found and what to do.
Nothing of a provider is imported before it is chosen, and nothing is connected before the host's log in has agreed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import structlog

from cti_framework.connection import ReconnectPolicy
from cti_framework.errors import (
    LogInRefusedError,
    ProviderDisabledError,
    ProviderNotSetError,
    SettingsError,
    StepTimeoutError,
    UserConnectionError,
)
from cti_framework.hooks import Hooks, TimeLimit
from cti_framework.model import CommandTimeouts, CtiModel
from cti_framework.plugins import PluginKind, Plugins, PluginStatus
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings, describe_settings
from cti_framework.threads import call_in_thread

__all__ = ["CtiProviderInitializer"]

T = TypeVar("T")


class CtiProviderInitializer:
    """Picks the provider that the settings name and opens sessions with it.

    One initializer serves any number of users; it keeps no connection and no state of a session.

    Args:
        settings: The host's settings; keys that are none of ours are left alone. Or settings loaded already.
        toml: A TOML file with settings.
        environ: The environment variables; ``None``: those of the process.
        companions: Objects with hook implementations, beside the companions that are installed.
        hooks: The hooks to use, with whatever is registered; ``None``: new ones, with the companions and those installed. All
            sessions share them.
        plugins: The installed plugins; ``None``: as found.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | SystemSettings | None = None,
        *,
        toml: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        companions: Iterable[object] = (),
        hooks: Hooks | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        if isinstance(settings, SystemSettings):
            self._settings = settings
        else:
            self._settings = SystemSettings.load(settings, toml=toml, environ=environ)
        self._hooks = hooks
        self._companions = tuple(companions)
        self._plugins = plugins
        self._loading = anyio.Lock()
        self._log = structlog.get_logger("cti_framework")

    @asynccontextmanager
    async def open(self, user: CtiUser | str, *, wait_for_service: bool = True) -> AsyncIterator[CtiModel]:
        """Open a session for a user: the whole chain, then the connection.

        Args:
            user: Whose line it is; a text is taken as the user's identifier.
            wait_for_service: Whether to wait for the first attempt to connect and raise what it ended with. If not, the
                session opens at once and goes on trying.

        Yields:
            The open session. Leaving the block closes it.

        Raises:
            ConfigurationError: The settings cannot be used.
            PluginError: The provider cannot be used.
            LogInRefusedError: The host's log in refused the user.
            UserConnectionError: The user has no connection to the PBX.
            StepTimeoutError: A step took too long.
            ConnectionFailedError: The PBX cannot be reached, or refuses the user.
        """
        async with await self.create(user, wait_for_service=wait_for_service) as model:
            yield model

    async def create(self, user: CtiUser | str, *, wait_for_service: bool = True) -> CtiModel:
        """Go through the chain up to a session that is not opened yet.

        Args:
            user: Whose line it is; a text is taken as the user's identifier.
            wait_for_service: As for ``open``.

        Returns:
            The session; open it with ``async with``.

        Raises:
            CtiError: As for ``open``, up to the connection.
        """
        if isinstance(user, str):
            user = CtiUser(id=user)
        settings = self._settings
        hooks = await self._shared_hooks(settings)
        settings, core = await self._core_settings(settings, hooks)
        name, provider_class = await self._load_provider(core)
        settings = await self._ask_hooks(settings, hooks, name, provider_class.settings_type, core)
        known: dict[str, type | tuple[type, ...]] = {
            CORE_PREFIX: CoreSettings,
            name: (provider_class.settings_type, provider_class.user_settings_type),
        }
        installed = self._provider_names(core)
        settings.check_unknown(known, others=installed)
        # Refused early where they are wrong, before anybody is asked anything. A user's own parameters may also say otherwise
        # what the system says: the address of another PBX, for one.
        settings.with_user(user.parameters).read(name, provider_class.settings_type)
        await self._log_in(hooks, user, provider_class, core)
        settings = await self._with_user_connection(settings, hooks, user, name, core)
        settings.check_unknown(known, others=installed)
        user_settings = self._read_user_settings(settings, user, name, provider_class)
        core = settings.read(CORE_PREFIX, CoreSettings)
        return CtiModel(
            provider_class,
            user=user,
            settings=settings.read(name, provider_class.settings_type),
            user_settings=user_settings,
            name=name,
            hooks=hooks,
            policy=ReconnectPolicy(
                initial_delay_seconds=core.reconnect_initial_seconds,
                maximum_delay_seconds=core.reconnect_max_seconds,
                log_in_timeout_seconds=core.connect_timeout_seconds,
            ),
            timeouts=CommandTimeouts(
                command_seconds=core.command_timeout_seconds,
                make_call_seconds=core.make_call_timeout_seconds,
                query_seconds=core.query_timeout_seconds,
            ),
            auto_connect=core.auto_connect,
            wait_for_service=wait_for_service,
            event_log_capacity=core.event_log_capacity,
            raw_messages=core.raw_messages,
        )

    # ------------------------------------------------------------------ the steps

    async def _shared_hooks(self, settings: SystemSettings) -> Hooks:
        if self._hooks is None:
            async with self._loading:
                # Sessions that are opened at once wait for the first, and share what it loaded.
                if self._hooks is None:
                    self._hooks = await self._make_hooks(settings.read(CORE_PREFIX, CoreSettings))
        return self._hooks

    async def _make_hooks(self, core: CoreSettings) -> Hooks:
        hooks = Hooks()
        for number, companion in enumerate(self._companions, start=1):
            name = getattr(companion, "__name__", type(companion).__name__)
            hooks.register(companion, name if name not in hooks.names() else f"{name} ({number})")
        plugins = self._installed(core)
        try:
            await _in_thread(core.load_timeout_seconds, "load companions", plugins.load_companions, hooks)
        except StepTimeoutError:
            # A companion is no reason not to telephone.
            waiting = [
                record.name
                for record in plugins.records()
                if record.kind is PluginKind.COMPANION and record.status is PluginStatus.AVAILABLE
            ]
            self._log.error("cti.companions.hang", not_loaded=waiting, timeout_seconds=core.load_timeout_seconds)
        return hooks

    def _installed(self, core: CoreSettings) -> Plugins:
        if self._plugins is None:
            # Looked for once: a thousand sessions need not read all metadata a thousand times.
            self._plugins = Plugins(disabled=core.disabled_plugins)
        return self._plugins

    def _provider_names(self, core: CoreSettings) -> set[str]:
        return {record.name for record in self._installed(core).records() if record.kind is PluginKind.PROVIDER}

    async def _core_settings(self, settings: SystemSettings, hooks: Hooks) -> tuple[SystemSettings, CoreSettings]:
        core = settings.read(CORE_PREFIX, CoreSettings)
        # Before the provider is looked for: a misspelt key would pass for a provider that nobody chose.
        settings.check_unknown({CORE_PREFIX: CoreSettings}, others=self._provider_names(core))
        settings = await self._ask_hooks(settings, hooks, CORE_PREFIX, CoreSettings, core)
        return settings, settings.read(CORE_PREFIX, CoreSettings)

    async def _ask_hooks(
        self, settings: SystemSettings, hooks: Hooks, prefix: str, settings_type: type, core: CoreSettings
    ) -> SystemSettings:
        if not hooks.implements("cti_setting"):
            return settings
        answers: dict[str, Any] = {}
        limit = TimeLimit.starting_now("settings", core.user_connection_timeout_seconds, "cti.user_connection_timeout_seconds")
        for described in describe_settings(prefix, settings_type):
            for key in (described.key, *described.codes):
                answer = await hooks.setting(key, limit=limit)
                if answer is not None:
                    answers[key] = answer
                    break
        return settings.with_values(answers, "the hook cti_setting") if answers else settings

    async def _load_provider(self, core: CoreSettings) -> tuple[str, type[BaseCtiProvider]]:
        plugins = self._installed(core)
        if not core.provider:
            installed = ", ".join(sorted(self._provider_names(core)))
            raise ProviderNotSetError(
                "No provider is chosen: the setting cti.provider (SysMsgLib) is empty.",
                remedy=f"Set it to one of those that are installed: {installed or 'none; install one first'}.",
            )
        record = plugins.find_provider(core.provider)
        # The hook cti_setting may have switched it off, which came too late for those who looked for plugins.
        if record is not None and record in [plugins.find_provider(name) for name in core.disabled_plugins]:
            raise ProviderDisabledError(
                f"The provider '{record.name}' is installed and switched off.",
                remedy=f"Remove '{record.name}' from cti.disabled_plugins, or choose another cti.provider.",
            )
        # An import runs code of a stranger: it gets a thread of its own and a time.
        provider_class = await _in_thread(
            core.load_timeout_seconds, f"load provider {core.provider!r}", plugins.load_provider, core.provider
        )
        record = plugins.find_provider(core.provider)
        assert record is not None
        return record.name, provider_class

    async def _log_in(self, hooks: Hooks, user: CtiUser, provider_class: type[BaseCtiProvider], core: CoreSettings) -> None:
        limit = TimeLimit.starting_now("log_in", core.log_in_timeout_seconds, "cti.log_in_timeout_seconds")
        answer = await hooks.log_in(user, provider_class.licences, limit=limit)
        if answer is False:
            raise LogInRefusedError(
                f"The host's log in refused user {user.id!r}.", remedy="Ask whoever grants telephony licences and roles."
            )

    async def _with_user_connection(
        self, settings: SystemSettings, hooks: Hooks, user: CtiUser, name: str, core: CoreSettings
    ) -> SystemSettings:
        limit = TimeLimit.starting_now(
            "user_connection", core.user_connection_timeout_seconds, "cti.user_connection_timeout_seconds"
        )
        answer = await hooks.user_connection(user, name, limit=limit)
        if answer is not None:
            if not isinstance(answer, Mapping):
                raise UserConnectionError(
                    f"The hook cti_user_connection answered {type(answer).__name__} for user {user.id!r}, not a mapping.",
                    remedy="It must give the user's settings by key, or None.",
                )
            if not answer:
                raise UserConnectionError(
                    f"The users directory has no connection for user {user.id!r}.",
                    remedy="Add the user's PBX account to the directory.",
                )
            settings = settings.with_user(answer, origin="the users directory", references=True)
        return settings.with_user(user.parameters) if user.parameters else settings

    def _read_user_settings(
        self, settings: SystemSettings, user: CtiUser, name: str, provider_class: type[BaseCtiProvider]
    ) -> Any:
        try:
            return settings.read(name, provider_class.user_settings_type)
        except SettingsError as error:
            keys = ", ".join(
                described.key
                for described in describe_settings(name, provider_class.user_settings_type)
                if any(problem.startswith(f"{described.key}:") for problem in error.problems)
            )
            raise UserConnectionError(
                f"User {user.id!r} has no usable connection to the PBX: {'; '.join(error.problems)}.",
                remedy=(f"Set {keys}" if keys else "Correct what is named here")
                + ": in the users directory (hook cti_user_connection), in the user's parameters or in the settings.",
            ) from None


async def _in_thread(seconds: float, step: str, act: Callable[..., T], *arguments: object) -> T:
    with anyio.move_on_after(seconds):
        return await call_in_thread(f"cti: {step}", act, *arguments)
    raise StepTimeoutError(
        f"The step '{step}' did not end within {seconds:g} s.",
        step="load_provider",
        remedy="The package hangs while it is imported; its author can tell why. cti.load_timeout_seconds sets a longer time.",
    )
