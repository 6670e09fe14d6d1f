"""From a settings key to a session: the chain, step by step, each with an error of its own.

    settings -> provider's entry point -> its class -> its settings -> log in -> user connection -> provider -> ``CtiModel``

Each step has a time-out (``cti.*_timeout_seconds``) and fails with an error that names the step, what was found and what to do.
Nothing of a provider is imported before it is chosen, and nothing is connected before the host's log in has agreed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cti_framework.chain import Chain
from cti_framework.hooks import Hooks
from cti_framework.model import CtiModel
from cti_framework.plugins import Plugins
from cti_framework.provider import CtiUser
from cti_framework.settings import CORE_PREFIX, CoreSettings, SystemSettings
from cti_framework.shared import SharedConnections

if TYPE_CHECKING:
    from cti_framework.media import MediaPeers

__all__ = ["CtiProviderInitializer"]


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

    Attributes:
        chain: The steps to a session, each for itself.
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
        if not isinstance(settings, SystemSettings):
            settings = SystemSettings.load(settings, toml=toml, environ=environ)
        self.chain = Chain(settings, companions=companions, hooks=hooks, plugins=plugins)

    @asynccontextmanager
    async def open(
        self, user: CtiUser | str, *, wait_for_service: bool = True, media: MediaPeers | None = None
    ) -> AsyncIterator[CtiModel]:
        """Open a session for a user: the whole chain, then the connection.

        Args:
            user: Whose line it is; a text is taken as the user's identifier.
            wait_for_service: Whether to wait for the first attempt to connect and raise what it ended with. If not, the
                session opens at once and goes on trying.
            media: Makes the sound of the web phone's calls, where the user has one; ``None``: this computer does, as the
                settings under ``media.`` say.

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
        async with await self.create(user, wait_for_service=wait_for_service, media=media) as model:
            yield model

    async def create(
        self,
        user: CtiUser | str,
        *,
        wait_for_service: bool = True,
        media: MediaPeers | None = None,
        admission: Callable[[str, object], Callable[[], AbstractAsyncContextManager[object]]] | None = None,
        shared: SharedConnections | None = None,
        event_log_capacity: int | None = None,
        commands_in_flight: int | None = None,
    ) -> CtiModel:
        """Go through the chain up to a session that is not opened yet.

        Args:
            user: Whose line it is; a text is taken as the user's identifier.
            wait_for_service: As for ``open``.
            media: As for ``open``.
            admission: Gives the session's ``admission`` for a provider's name and settings. A hub's, as are those below.
            shared: Where shared connections are found; ``None``: the session has its own.
            event_log_capacity: How many events are kept; ``None``: as the setting says.
            commands_in_flight: How many commands may be under way at a time; ``None``: any number.

        Returns:
            The session; open it with ``async with``.

        Raises:
            CtiError: As for ``open``, up to the connection.
        """
        if isinstance(user, str):
            user = CtiUser(id=user)
        chain = self.chain
        hooks = await chain.hooks()
        settings, core = await chain.core_settings(chain.settings, hooks)
        name, provider_class = await chain.load_provider(core)
        settings = await chain.ask_hooks_for(settings, hooks, name, provider_class, core)
        chain.check_unknown(settings, name, provider_class, core)
        # Refused early where they are wrong, before anybody is asked anything. A user's own parameters may also say otherwise
        # what the system says: the address of another PBX, for one.
        with_parameters = settings.with_user(user.parameters)
        with_parameters.read(name, provider_class.settings_type)
        with_parameters.read(CORE_PREFIX, CoreSettings)
        await chain.log_in(hooks, user, provider_class, core)
        settings = await chain.with_user_connection(settings, hooks, user, name, core)
        chain.check_unknown(settings, name, provider_class, core)
        user_settings = chain.user_settings(settings, user, name, provider_class)
        core = settings.read(CORE_PREFIX, CoreSettings)
        provider_settings: Any = settings.read(name, provider_class.settings_type)
        return chain.model(
            provider_class,
            name=name,
            user=user,
            settings=settings,
            core=core,
            provider_settings=provider_settings,
            user_settings=user_settings,
            network=await chain.network(core),
            hooks=hooks,
            wait_for_service=wait_for_service,
            media=media,
            admission=nullcontext if admission is None else admission(name, provider_settings),
            shared=shared,
            event_log_capacity=event_log_capacity or core.event_log_capacity,
            commands_in_flight=commands_in_flight,
        )
