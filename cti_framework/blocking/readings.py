"""What a host reads of ``CtiModel``, for any thread: the loop is asked, so that nothing is seen half changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from cti_framework.agents import Agent, AgentFeature
from cti_framework.calls import Call, CallFeature
from cti_framework.commands import CommandRecord
from cti_framework.eventlog import EventLoss
from cti_framework.events import Cursor, ProviderState, ProviderStateChanged
from cti_framework.model import CtiModel
from cti_framework.provider import Capabilities
from cti_framework.watchdog import LoopStalls

__all__ = ["BlockingReadings"]

T = TypeVar("T")


class BlockingReadings(ABC):
    """What can be read, while the session is open and after. The same names as in ``CtiModel``.

    In a process that was forked from the session's own, each raises ``SessionClosedError``; where an event loop runs,
    ``BlockingCallError``.
    """

    __slots__ = ()

    def now(self) -> datetime:
        """Tell the time by the session's clock: aware, UTC, never going back."""
        return self._read("now", lambda model: model.now())

    @property
    def calls(self) -> tuple[Call, ...]:
        """All open calls, in the order in which they began."""
        return self._read("calls", lambda model: model.calls)

    @property
    def current_call(self) -> Call | None:
        """The call that the operator deals with first."""
        return self._read("current_call", lambda model: model.current_call)

    @property
    def consult_call(self) -> Call | None:
        """The enquiry call made on behalf of the current one."""
        return self._read("consult_call", lambda model: model.consult_call)

    @property
    def features(self) -> CallFeature:
        """What may be done on the line now."""
        return self._read("features", lambda model: model.features)

    @property
    def agent(self) -> Agent:
        """The operator's state."""
        return self._read("agent", lambda model: model.agent)

    @property
    def agent_features(self) -> AgentFeature:
        """What this session can do with its agent."""
        return self._read("agent_features", lambda model: model.agent_features)

    @property
    def capabilities(self) -> Capabilities:
        """The most that the provider can ever do."""
        return self._read("capabilities", lambda model: model.capabilities)

    @property
    def provider_state(self) -> ProviderState:
        """What the connection to the PBX does."""
        return self._read("provider_state", lambda model: model.provider_state)

    @property
    def is_kept_connected(self) -> bool:
        """Whether the core keeps the session connected, or tries to."""
        return self._read("is_kept_connected", lambda model: model.is_kept_connected)

    @property
    def provider_state_event(self) -> ProviderStateChanged | None:
        """The latest ``ProviderStateChanged``, for those who come late; ``None`` before the first."""
        return self._read("provider_state_event", lambda model: model.provider_state_event)

    @property
    def cursor(self) -> Cursor:
        """The last event told so far."""
        return self._read("cursor", lambda model: model.cursor)

    @property
    def refused_reports(self) -> dict[str, int]:
        """How many reports of the provider were refused, by reason."""
        return self._read("refused_reports", lambda model: model.refused_reports)

    @property
    def event_losses(self) -> dict[str, EventLoss]:
        """What readers of events have lost because they were too slow, by the name that they gave."""
        return self._read("event_losses", lambda model: model.event_losses)

    @property
    def stalls(self) -> dict[str, LoopStalls]:
        """Who made the event loop stand still while the session was open: plugins by name, or ``"host"``."""
        return self._read("stalls", lambda model: model.stalls)

    def call(self, call_id: str) -> Call | None:
        """Find an open call.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            The call as it is now, or ``None``.
        """
        return self._read("call", lambda model: model.call(call_id))

    @property
    def commands(self) -> tuple[CommandRecord, ...]:
        """What became of the latest commands, 256 of them, the oldest first."""
        return self._read("commands", lambda model: model.commands)

    def command(self, command_id: str) -> CommandRecord | None:
        """Tell what became of a command.

        Args:
            command_id: Its identifier: as it was given to the verb, or as ``CommandError.command_id`` has it.

        Returns:
            What became of it so far; ``None``: it was never asked for, or is none of the latest 256.
        """
        return self._read("command", lambda model: model.command(command_id))

    @abstractmethod
    def _read(self, step: str, act: Callable[[CtiModel], T]) -> T:
        """Have the loop look something up in the model."""
