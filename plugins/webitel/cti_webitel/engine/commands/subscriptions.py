"""Events that are told only to who subscribed to them (facts: webitel-protocol 3.1, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cti_framework.errors import CommandRefusedError
from cti_webitel.engine.answers import read_text
from cti_webitel.engine.arguments import check_event
from cti_webitel.engine.commands.execute import Commands

__all__ = ["SubscriptionCommands"]

_SUBSCRIBED_ALREADY: Final = "event subscribed!"


class SubscriptionCommands(Commands):
    """What this account listens to, beside its own calls."""

    _subscriptions: dict[str, bool]

    @property
    def subscriptions(self) -> Mapping[str, bool]:
        """What was subscribed to, and whether with ``all``. Each connection subscribes to it again by itself."""
        return MappingProxyType(self._subscriptions)

    async def subscribe(self, event: str, *, all: bool = False) -> str:
        """Subscribe to an event: ``onServerEvent`` tells it from then on, also after a reconnection.

        ``CC::…`` are the queues' events, ``SE:…`` those of every leg of the domain (with all of the switch's headers; they are
        many), ``DC::CHANGE_STATE`` the diallers'.

        Args:
            event: Its name, in any case.
            all: Of a queue's events also those that are not about this account and its queues. The engine remembers it by
                account, for all programs that are logged in with it.

        Returns:
            The engine's answer; empty if this connection was subscribed to it already.

        Raises:
            InvalidArgumentError: The name could be none; nothing was sent.
            CommandRefusedError: There is no such event (``-ERR: Event unregistered``).
            CommandError: As `execute`.
        """
        name = check_event(event)
        answer = await self._subscribe(name, all)
        self._subscriptions[name] = all
        return answer

    async def unsubscribe(self, event: str) -> str:
        """End a subscription.

        The engine then unbinds an ``SE:…`` event for the whole domain: other programs that subscribed to it hear no more of it
        (facts: webitel-protocol 7.24).

        Args:
            event: Its name, in any case.

        Returns:
            The engine's answer, also for what was not subscribed to.

        Raises:
            InvalidArgumentError: The name could be none; nothing was sent.
            CommandError: As `execute`. It is not subscribed to again, whatever the engine answers.
        """
        name = check_event(event)
        self._subscriptions.pop(name, None)
        return read_text(await self.execute("unsubscribe", {"event": name}))

    async def _subscribe(self, event: str, of_all: bool) -> str:
        args: dict[str, Any] = {"event": event}
        if of_all:
            args["all"] = True
        try:
            return read_text(await self.execute("subscribe", args))
        except CommandRefusedError as error:
            if _SUBSCRIBED_ALREADY in (error.pbx_text or ""):
                return ""
            raise
