"""The walk from the settings to a session: it stops nowhere, and says behind a failure what can still be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from cti_framework.chain import Chain, settings_types
from cti_framework.diagnosis import Checks, DiagnosisStep, Finding, StepState
from cti_framework.doctor.endpoints import check_endpoint
from cti_framework.errors import (
    CtiError,
    PluginImportError,
    PluginIncompatibleError,
    SettingsError,
    StepTimeoutError,
)
from cti_framework.hooks import Hooks
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.network import NetworkPolicy
from cti_framework.plugins import PluginKind, PluginStatus
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.redaction import SecretRedactor
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings

__all__ = ["examine"]

_SHORTEST_SECRET: Final = 6
"""A shorter one stands in other texts by chance."""
_MORE_SECONDS: Final = 5.0
"""What has a time-out of its own is to tell by itself that it is over."""
_UNUSABLE: Final = frozenset({PluginStatus.IMPORT_FAILED, PluginStatus.INCOMPATIBLE, PluginStatus.DUPLICATE})


async def examine(
    initialize: Callable[[], CtiProviderInitializer],
    user: CtiUser | str,
    *,
    on_step: Callable[[DiagnosisStep], object] | None = None,
) -> tuple[DiagnosisStep, ...]:
    """Walk from the settings to a session, and look at it.

    It connects and logs in as the user, and closes that again; it makes no call and changes nothing. Companions are asked, as
    for any session, and told nothing of this one.

    Args:
        initialize: Makes the initializer; called in the first step, for the settings may be a file that cannot be read.
        user: Whose telephony it is; a text is taken as the user's identifier.
        on_step: Told each step when it has ended.

    Returns:
        All steps, in order, without secrets.
    """
    examination = _Examination(initialize, CtiUser(id=user) if isinstance(user, str) else user, on_step)
    await examination.take()
    return tuple(examination.checks.steps)


class _Examination:
    """One diagnosis: what each step leaves for the next."""

    def __init__(
        self,
        initialize: Callable[[], CtiProviderInitializer],
        user: CtiUser,
        on_step: Callable[[DiagnosisStep], object] | None,
    ) -> None:
        self._initialize = initialize
        self._user = user
        self._redactor = SecretRedactor()
        self.checks = Checks(on_step=on_step, redact=lambda text: str(self._redactor.redact(text)))
        self._chain: Chain
        self._hooks = Hooks()
        self._core: CoreSettings
        self._settings: SystemSettings
        self._name = ""
        self._provider_class: type[BaseCtiProvider]
        self._provider_settings: Any = None
        self._user_settings: Any = None
        self._network: NetworkPolicy
        self._model: CtiModel

    async def take(self) -> None:
        await self._look_at_settings()
        await self._look_at_provider()
        await self._look_at_user()
        await self._look_at_endpoints()
        await self._look_at_session()

    # ------------------------------------------------------------------ settings and companions

    async def _look_at_settings(self) -> None:
        async def source() -> str:
            self._chain = self._initialize().chain
            self._settings = self._chain.settings
            count = len(self._settings.keys())
            return f"{count} key{'' if count == 1 else 's'} given, by file, host, variables and command line together."

        async def companions() -> Finding | str:
            try:
                core = self._settings.read(CORE_PREFIX, CoreSettings)
            except SettingsError:
                # The step behind this one says what is wrong with them.
                return Finding("Not looked at: it needs settings that can be used.", StepState.SKIPPED)
            self._hooks = await self._chain.hooks()
            records = [one for one in self._chain.plugins(core).records() if one.kind is PluginKind.COMPANION]
            bad = [record for record in records if record.status in _UNUSABLE or record.status is PluginStatus.AVAILABLE]
            if bad:
                told = " ".join(f"{record.name}: {record.error or 'it hangs while it is imported'}." for record in bad)
                return Finding(told, StepState.WARNING, remedy="Mend it, or add it to cti.disabled_plugins.")
            names = self._hooks.names()
            return f"In use: {', '.join(names)}." if names else "None."

        async def settings() -> str:
            self._learn(self._settings, CORE_PREFIX, CoreSettings)
            self._settings, self._core = await self._chain.core_settings(self._settings, self._hooks)
            self._learn(self._settings, CORE_PREFIX, CoreSettings)
            return _given(self._settings, (CORE_PREFIX, CoreSettings))

        async def tls_files() -> str:
            self._network = await self._chain.network(self._core)
            return "They can be used." if self._network.has_files else "None are named: the system's authorities are trusted."

        await self.checks.check("settings_source", source)
        await self.checks.check("companions", companions, needs=["settings_source"], timeout_seconds=60.0)
        await self.checks.check("settings", settings, needs=["settings_source"])
        await self.checks.check("tls_files", tls_files, needs=["settings"])

    # ------------------------------------------------------------------ the provider

    async def _look_at_provider(self) -> None:
        checks = self.checks
        error: CtiError | None = None

        async def is_set() -> str:
            if not self._core.provider:
                await self._chain.load_provider(self._core)
            return f"cti.provider is {self._core.provider!r}."

        async def found() -> str:
            nonlocal error
            try:
                self._name, self._provider_class = await self._chain.load_provider(self._core)
            except (PluginImportError, PluginIncompatibleError, StepTimeoutError) as failure:
                # It is there; what is wrong with it are the steps behind this one.
                error = failure
            record = self._chain.plugins(self._core).find_provider(self._core.provider or "")
            assert record is not None
            return f"{record.distribution} {record.version}, {record.value}."

        async def loadable() -> str:
            if isinstance(error, PluginImportError | StepTimeoutError):
                raise error
            return "It is imported."

        async def compatible() -> Finding | str:
            if error is not None:
                raise error
            record = self._chain.plugins(self._core).find_provider(self._name)
            assert record is not None
            if record.warning is not None:
                return Finding(record.warning, StepState.WARNING, remedy=f"pip install --upgrade {record.distribution}")
            return f"It is written for provider API {record.api}."

        await checks.check("provider_set", is_set, needs=["settings"])
        await checks.check("provider_found", found, needs=["provider_set"], timeout_seconds=self._seconds("load"))
        await checks.check("provider_loadable", loadable, needs=["provider_found"])
        await checks.check("provider_compatible", compatible, needs=["provider_loadable"])

    # ------------------------------------------------------------------ its settings, and the user

    async def _look_at_user(self) -> None:
        checks = self.checks
        secret_problems: list[str] | None = None

        async def provider_settings() -> Finding | str:
            nonlocal secret_problems
            name, provider_class = self._name, self._provider_class
            self._settings = await self._chain.ask_hooks_for(self._settings, self._hooks, name, provider_class, self._core)
            # As for a session: a user's own parameters may also say otherwise what the system says.
            settings = self._settings.with_user(self._user.parameters)
            self._learn_all(settings)
            secret_problems = []
            for prefix, settings_type in settings_types(name, provider_class):
                secret_problems.extend(settings.secret_problems(prefix, settings_type))
            unknown: SettingsError | None = None
            try:
                self._chain.check_unknown(self._settings, name, provider_class, self._core)
            except SettingsError as error:
                unknown = error
            try:
                self._provider_settings = settings.read(name, provider_class.settings_type)
            except SettingsError as error:
                if unknown is None and set(error.problems) <= set(secret_problems):
                    return Finding("All but the secrets can be used.", StepState.SKIPPED)
                # A key that is not known is often the one that is not set.
                raise unknown or error from None
            if unknown is not None:
                # The others say where the PBX is: that can be looked at.
                raise unknown
            # Those of its users are told by the step `user_connection`.
            others = [one for one in settings_types(name, provider_class) if one[0] != name]
            return _given(settings, (name, provider_class.settings_type), *others)

        async def secrets() -> Finding | str:
            if secret_problems is None:
                return Finding("Not looked at: what the hooks say of the settings is not known.", StepState.SKIPPED)
            if secret_problems:
                raise SettingsError(
                    "What a secret refers to cannot be had.",
                    problems=tuple(secret_problems),
                    remedy="Set the variable, or mend the file, in the surroundings of this very process.",
                )
            return "Each that is set can be had."

        async def log_in() -> str:
            await self._chain.log_in(self._hooks, self._user, self._provider_class, self._core)
            asked = self._hooks.implements("cti_log_in")
            return f"The host lets {self._user.id!r} in." if asked else "Nobody is asked: no companion answers cti_log_in."

        async def user_connection() -> str:
            name, provider_class = self._name, self._provider_class
            settings = await self._chain.with_user_connection(self._settings, self._hooks, self._user, name, self._core)
            self._learn_all(settings)
            self._chain.check_unknown(settings, name, provider_class, self._core)
            self._user_settings = self._chain.user_settings(settings, self._user, name, provider_class)
            # The directory may send this user to another PBX, and say otherwise how to get there.
            self._core = settings.read(CORE_PREFIX, CoreSettings)
            self._provider_settings = settings.read(name, provider_class.settings_type)
            self._settings = settings
            if checks.is_good("tls_files"):
                self._network = await self._chain.network(self._core)
            origins = {value.origin for value in settings.values(name, provider_class.user_settings_type)} - {"default"}
            return f"There is one, by {' and '.join(sorted(origins))}." if origins else "All is as it is by default."

        needs = ["provider_compatible"]
        await checks.check("provider_settings", provider_settings, needs=needs, timeout_seconds=self._seconds("user_connection"))
        await checks.check("secrets", secrets, needs=needs)
        await checks.check("log_in", log_in, needs=needs, timeout_seconds=self._seconds("log_in"))
        await checks.check(
            "user_connection", user_connection, needs=["provider_settings"], timeout_seconds=self._seconds("user_connection")
        )

    def _seconds(self, step: str) -> float | None:
        """How long a step may take that has a time-out of its own, which is to come first."""
        if not self.checks.is_good("settings"):
            return None
        seconds: float = getattr(self._core, f"{step}_timeout_seconds")
        return seconds + _MORE_SECONDS

    # ------------------------------------------------------------------ the network, and the session

    async def _look_at_endpoints(self) -> None:
        if self._provider_settings is None:
            self.checks.tell("endpoints", Finding("Not looked at: it needs provider_settings.", StepState.SKIPPED))
            return
        # Of what TLS needs only the steps that speak it make use.
        network = self._network if self.checks.is_good("tls_files") else NetworkPolicy.of(self._core)
        told: Iterable[Any] = ()

        async def endpoints() -> str:
            nonlocal told
            told = tuple(self._provider_class.endpoints(self._provider_settings))
            return f"It connects to: {', '.join(one.name for one in told)}." if told else "It names no address."

        await self.checks.check("endpoints", endpoints)
        for endpoint in told:
            await check_endpoint(self.checks, endpoint, network)

    async def _look_at_session(self) -> None:
        checks = self.checks
        needs = ["log_in", "user_connection", "tls_files"]

        async def provider_made() -> str:
            self._model = self._chain.model(
                self._provider_class,
                name=self._name,
                user=self._user,
                settings=self._settings,
                core=self._core,
                provider_settings=self._provider_settings,
                user_settings=self._user_settings,
                network=self._network,
                auto_connect=False,
                restore_agent_state=False,
                # This session's events are nobody's affair: a journal would enter calls twice.
                hooks=Hooks(),
            )
            return "It takes its settings."

        async def authorisation() -> str:
            await self._model.connect()
            return f"The PBX lets {self._user.id!r} in."

        if not await checks.check("provider_made", provider_made, needs=needs):
            for step in ("authorisation", *_IN_SESSION):
                checks.tell(step, Finding("Not looked at: it needs provider_made.", StepState.SKIPPED))
            return
        async with self._model as model:
            if await checks.check("authorisation", authorisation, timeout_seconds=self._seconds("connect")):
                await model.examine(checks)
                return
        for step in _IN_SESSION:
            checks.tell(step, Finding("Not looked at: it needs authorisation.", StepState.SKIPPED))

    # ------------------------------------------------------------------ secrets

    def _learn_all(self, settings: SystemSettings) -> None:
        for prefix, settings_type in settings_types(self._name, self._provider_class):
            self._learn(settings, prefix, settings_type)

    def _learn(self, settings: SystemSettings, prefix: str, settings_type: type) -> None:
        for secret in settings.secrets(prefix, settings_type):
            if len(secret) >= _SHORTEST_SECRET:
                self._redactor.register(secret)


_IN_SESSION: Final = ("answers", "snapshot", "clock", "provider_steps")


def _given(settings: SystemSettings, *types: tuple[str, type]) -> str:
    values = [value for prefix, settings_type in types for value in settings.values(prefix, settings_type)]
    given = [value.key for value in values if value.origin != "default"]
    return f"Set: {', '.join(given)}." if given else "All are as they are by default."
