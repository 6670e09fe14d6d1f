"""The steps from a settings key to what a session is made of, each for itself.

``CtiProviderInitializer`` goes through all of them and stops at the first that fails; ``cti_framework.doctor`` goes on behind
it. Each has a time-out (``cti.*_timeout_seconds``) and fails with an error that names the step, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import anyio
import structlog

from cti_framework.back_off import ReconnectPolicy
from cti_framework.errors import (
    LogInRefusedError,
    ProviderDisabledError,
    ProviderNotSetError,
    SettingsError,
    StepTimeoutError,
    UserConnectionError,
)
from cti_framework.hooks import Hooks, TimeLimit
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CommandTimeouts, CtiModel
from cti_framework.network import NetworkPolicy
from cti_framework.plugins import PluginKind, Plugins, PluginStatus
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.settings import CORE_PREFIX, MEDIA_PREFIX, CoreSettings, SystemSettings, describe_settings
from cti_framework.support_bundle import BundleFacts
from cti_framework.threads import call_in_thread

if TYPE_CHECKING:
    from cti_framework.media import MediaOptions

__all__ = ["Chain", "settings_types"]

T = TypeVar("T")


def settings_types(name: str, provider_class: type[BaseCtiProvider]) -> tuple[tuple[str, type], ...]:
    """Name all that is read for a provider's sessions, beside the framework's own settings.

    Args:
        name: The provider's name.
        provider_class: Its class.

    Returns:
        Prefix and class of each: its system's, its users', and those of media where it uses that.
    """
    types = [(name, one) for one in dict.fromkeys((provider_class.settings_type, provider_class.user_settings_type))]
    if provider_class.uses_media:
        types.append((MEDIA_PREFIX, _media_options()))
    return tuple(types)


def _media_options() -> type[MediaOptions]:
    # Loaded for those who have a web phone, or settings for one.
    from cti_framework.media.options import MediaOptions

    return MediaOptions


class Chain:
    """What all sessions of one host go through, and what they share on the way: plugins, hooks, what TLS needs.

    Args:
        settings: As they were loaded.
        companions: Objects with hook implementations, beside the companions that are installed.
        hooks: The hooks to use; ``None``: new ones, with the companions and those installed.
        plugins: The installed plugins; ``None``: as found.

    Attributes:
        settings: As given.
    """

    def __init__(
        self,
        settings: SystemSettings,
        *,
        companions: Iterable[object] = (),
        hooks: Hooks | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        self.settings = settings
        self._companions = tuple(companions)
        self._hooks = hooks
        self._plugins = plugins
        self._loading = anyio.Lock()
        self._networks: WeakValueDictionary[Hashable, NetworkPolicy] = WeakValueDictionary()
        self._log = structlog.get_logger("cti_framework")

    # ------------------------------------------------------------------ settings and plugins

    def plugins(self, core: CoreSettings) -> Plugins:
        """Give the installed plugins, which are looked for once: a thousand sessions need not read all metadata each.

        Args:
            core: Says which are switched off.

        Returns:
            They.
        """
        if self._plugins is None:
            self._plugins = Plugins(disabled=core.disabled_plugins)
        return self._plugins

    def provider_names(self, core: CoreSettings) -> set[str]:
        """Tell which providers are installed.

        Args:
            core: The framework's own settings.

        Returns:
            Their names.
        """
        return {record.name for record in self.plugins(core).records() if record.kind is PluginKind.PROVIDER}

    async def hooks(self) -> Hooks:
        """Give the hooks, with all companions loaded. Sessions that are opened at once wait for the first, and share them.

        Returns:
            They.

        Raises:
            SettingsError: The framework's own settings cannot be used.
            HookError: A companion that the host gave cannot be registered.
        """
        if self._hooks is None:
            async with self._loading:
                if self._hooks is None:
                    self._hooks = await self._make_hooks(self.settings.read(CORE_PREFIX, CoreSettings))
        return self._hooks

    async def core_settings(self, settings: SystemSettings, hooks: Hooks) -> tuple[SystemSettings, CoreSettings]:
        """Read the framework's own settings, with what the hook ``cti_setting`` says of them.

        Args:
            settings: As they were loaded.
            hooks: Who is asked.

        Returns:
            The settings with the answers, and those of the framework.

        Raises:
            SettingsError: A key is not known, or holds what it may not hold.
            HookError: A hook raised.
        """
        core = settings.read(CORE_PREFIX, CoreSettings)
        # Before the provider is looked for: a misspelt key would pass for a provider that nobody chose.
        settings.check_unknown({CORE_PREFIX: CoreSettings}, others=self.provider_names(core))
        settings = await self.ask_hooks(settings, hooks, CORE_PREFIX, CoreSettings, core)
        return settings, settings.read(CORE_PREFIX, CoreSettings)

    async def ask_hooks(
        self, settings: SystemSettings, hooks: Hooks, prefix: str, settings_type: type, core: CoreSettings
    ) -> SystemSettings:
        """Ask the hook ``cti_setting`` for each setting of a class.

        Args:
            settings: What is known already.
            hooks: Who is asked.
            prefix: What the keys begin with.
            settings_type: The class.
            core: Says how long it may take.

        Returns:
            The settings with the answers.

        Raises:
            StepTimeoutError: It took too long.
            HookError: A hook raised.
        """
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

    async def ask_hooks_for(
        self, settings: SystemSettings, hooks: Hooks, name: str, provider_class: type[BaseCtiProvider], core: CoreSettings
    ) -> SystemSettings:
        """Ask the hook ``cti_setting`` for each setting of a provider, and of media where it uses that.

        Args:
            settings: What is known already.
            hooks: Who is asked.
            name: The provider's name.
            provider_class: Its class.
            core: Says how long it may take.

        Returns:
            The settings with the answers.

        Raises:
            StepTimeoutError: It took too long.
            HookError: A hook raised.
        """
        settings = await self.ask_hooks(settings, hooks, name, provider_class.settings_type, core)
        if provider_class.uses_media and hooks.implements("cti_setting"):
            settings = await self.ask_hooks(settings, hooks, MEDIA_PREFIX, _media_options(), core)
        return settings

    def check_unknown(
        self, settings: SystemSettings, name: str, provider_class: type[BaseCtiProvider], core: CoreSettings
    ) -> None:
        """Refuse keys that nobody reads.

        Args:
            settings: Where they are.
            name: The provider's.
            provider_class: Its class.
            core: The framework's own settings.

        Raises:
            SettingsError: There are some.
        """
        known: dict[str, type | tuple[type, ...]] = {
            CORE_PREFIX: CoreSettings,
            name: (provider_class.settings_type, provider_class.user_settings_type),
        }
        others = self.provider_names(core)
        if provider_class.uses_media:
            others.add(MEDIA_PREFIX)
            if settings.has(MEDIA_PREFIX):
                known[MEDIA_PREFIX] = _media_options()
        settings.check_unknown(known, others=others)

    async def load_provider(self, core: CoreSettings) -> tuple[str, type[BaseCtiProvider]]:
        """Import the provider that the settings name, and no other.

        Args:
            core: The framework's own settings.

        Returns:
            Its name, as it registered itself, and its class.

        Raises:
            ConfigurationError: None is chosen, or one that is not installed, switched off, or there twice.
            PluginError: It cannot be imported, or was written for another contract.
            StepTimeoutError: The import hangs.
        """
        plugins = self.plugins(core)
        if not core.provider:
            installed = ", ".join(sorted(self.provider_names(core)))
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
        if record is not None and record.status is PluginStatus.LOADED:
            return record.name, plugins.load_provider(core.provider)
        # An import runs code of a stranger: it gets a thread of its own and a time.
        provider_class = await _in_thread(
            core.load_timeout_seconds, f"load provider {core.provider!r}", plugins.load_provider, core.provider
        )
        record = plugins.find_provider(core.provider)
        assert record is not None
        return record.name, provider_class

    # ------------------------------------------------------------------ the user

    async def log_in(self, hooks: Hooks, user: CtiUser, provider_class: type[BaseCtiProvider], core: CoreSettings) -> None:
        """Ask the host whether the user may use telephony.

        Args:
            hooks: Who is asked.
            user: Who.
            provider_class: Says which licences are needed.
            core: Says how long it may take.

        Raises:
            LogInRefusedError: He may not.
            StepTimeoutError: It took too long.
            HookError: A hook raised.
        """
        limit = TimeLimit.starting_now("log_in", core.log_in_timeout_seconds, "cti.log_in_timeout_seconds")
        answer = await hooks.log_in(user, provider_class.licences, limit=limit)
        if answer is False:
            raise LogInRefusedError(
                f"The host's log in refused user {user.id!r}.", remedy="Ask whoever grants telephony licences and roles."
            )

    async def with_user_connection(
        self, settings: SystemSettings, hooks: Hooks, user: CtiUser, name: str, core: CoreSettings
    ) -> SystemSettings:
        """Add what the users directory and the user's own parameters say.

        Args:
            settings: The system's.
            hooks: Who knows the directory.
            user: Who.
            name: The provider's.
            core: Says how long it may take.

        Returns:
            The settings with the user's.

        Raises:
            UserConnectionError: The directory says that there is no connection for the user.
            StepTimeoutError: It took too long.
            HookError: A hook raised.
        """
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

    def user_settings(self, settings: SystemSettings, user: CtiUser, name: str, provider_class: type[BaseCtiProvider]) -> Any:
        """Read the provider's settings of the user.

        Args:
            settings: With the user's.
            user: Who.
            name: The provider's.
            provider_class: Its class.

        Returns:
            An instance of its ``user_settings_type``.

        Raises:
            UserConnectionError: They cannot be used.
        """
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

    # ------------------------------------------------------------------ the session

    async def network(self, core: CoreSettings) -> NetworkPolicy:
        """Give how connections are secured. Sessions that are secured alike share it: what TLS needs is large.

        Args:
            core: The framework's own settings.

        Returns:
            It, with its files read.

        Raises:
            SettingsError: A file cannot be used.
            StepTimeoutError: They were not read in time.
        """
        policy = NetworkPolicy.of(core)
        policy = self._networks.setdefault(policy.key, policy)
        if policy.has_files:
            # A file that cannot be used is a fault of the settings, and not of a connection.
            with anyio.move_on_after(core.load_timeout_seconds):
                await call_in_thread("cti: tls", policy.ssl_context)
                return policy
            raise StepTimeoutError(
                f"The files for TLS were not read within {core.load_timeout_seconds:g} s.",
                step="settings",
                remedy="Look at the disk that cti.tls_ca_file and its like are on.",
            )
        return policy

    def model(
        self,
        provider_class: type[BaseCtiProvider],
        *,
        name: str,
        user: CtiUser,
        settings: SystemSettings,
        core: CoreSettings,
        provider_settings: Any,
        user_settings: Any,
        network: NetworkPolicy,
        **options: Any,
    ) -> CtiModel:
        """Make the session, as the settings say. It is not opened yet.

        Args:
            provider_class: The provider's class.
            name: Its name.
            user: Whose line it is.
            settings: Told in support bundles.
            core: The framework's own settings.
            provider_settings: An instance of the provider's ``settings_type``.
            user_settings: An instance of its ``user_settings_type``.
            network: How connections are secured.
            **options: Whatever else ``CtiModel`` takes; stronger than the settings.

        Returns:
            The session.

        Raises:
            PluginError: The provider cannot be made.
        """
        chosen: dict[str, Any] = {
            "policy": ReconnectPolicy(
                initial_delay_seconds=core.reconnect_initial_seconds,
                maximum_delay_seconds=core.reconnect_max_seconds,
                log_in_timeout_seconds=core.connect_timeout_seconds,
                give_up_after_attempts=core.give_up_after_attempts,
                give_up_after_seconds=core.give_up_after_seconds,
            ),
            "liveness": LivenessPolicy(silence_seconds=core.silence_seconds, probe_timeout_seconds=core.probe_timeout_seconds),
            "timeouts": CommandTimeouts(
                command_seconds=core.command_timeout_seconds,
                make_call_seconds=core.make_call_timeout_seconds,
                query_seconds=core.query_timeout_seconds,
                resolve_seconds=core.resolve_seconds,
            ),
            "restore_agent_state": core.restore_agent_state,
            "auto_connect": core.auto_connect,
            "event_log_capacity": core.event_log_capacity,
            "raw_messages": core.raw_messages,
            "stall_seconds": core.stall_seconds,
            "flight_recorder_seconds": core.flight_recorder_seconds,
            "flight_recorder_kilobytes": core.flight_recorder_kilobytes,
            "facts": partial(self._facts, settings, name, provider_class),
        }
        if provider_class.uses_media:
            chosen["media_options"] = lambda: settings.read(MEDIA_PREFIX, _media_options())
        return CtiModel(
            provider_class,
            name=name,
            user=user,
            settings=provider_settings,
            user_settings=user_settings,
            network=network,
            **(chosen | options),
        )

    # ------------------------------------------------------------------ inside

    def _facts(self, settings: SystemSettings, name: str, provider_class: type[BaseCtiProvider]) -> BundleFacts:
        types = ((CORE_PREFIX, CoreSettings), *settings_types(name, provider_class))
        values = [value for prefix, settings_type in types for value in settings.values(prefix, settings_type)]
        plugins = () if self._plugins is None else self._plugins.records()
        # The session itself knows its provider's.
        secrets = [
            secret for prefix, settings_type in types if prefix != name for secret in settings.secrets(prefix, settings_type)
        ]
        return BundleFacts(tuple(values), plugins, tuple(secrets))

    async def _make_hooks(self, core: CoreSettings) -> Hooks:
        hooks = Hooks(timeout_seconds=core.hook_timeout_seconds, fault_limit=core.plugin_fault_limit, trace=core.trace_hooks)
        for number, companion in enumerate(self._companions, start=1):
            name = getattr(companion, "__name__", type(companion).__name__)
            hooks.register(companion, name if name not in hooks.names() else f"{name} ({number})")
        plugins = self.plugins(core)
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


async def _in_thread(seconds: float, step: str, act: Callable[..., T], *arguments: object) -> T:
    with anyio.move_on_after(seconds):
        return await call_in_thread(f"cti: {step}", act, *arguments)
    raise StepTimeoutError(
        f"The step '{step}' did not end within {seconds:g} s.",
        step="load_provider",
        remedy="The package hangs while it is imported; its author can tell why. cti.load_timeout_seconds sets a longer time.",
    )
