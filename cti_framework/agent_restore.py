"""Giving the agent's state back to a PBX that has forgotten it.

A PBX that restarts may have logged its agents out, or have forgotten what they were. Where it says after a reconnection that the
agent is logged out, or is nothing, though he was something before, he is made that again; so is his taking of queues' calls.
Where it says that he is something else, the PBX is right: a supervisor may have changed it. And where the operator chooses for
himself, or disconnects, he is right: nothing of before is given back then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from cti_framework.agents import Agent, AgentFeature
from cti_framework.cancellation import fault_of
from cti_framework.clock import SessionClock
from cti_framework.errors import CommandError, CommandUnconfirmedError, CtiError, PluginError, traceback_text
from cti_framework.events import Event
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider
from cti_framework.reports import Trouble

__all__ = ["AgentRestorer"]

_RESTORE_SECONDS: Final = 15.0


class AgentRestorer:
    """Knows what the agent of one session was before an outage, and makes him that again.

    Args:
        provider: Changes the agent's state.
        name: By what the provider is named in logs and errors.
        line: Knows what the agent is.
        clock: The session's clock.
        publish: Where events go.
        log: Where to log.
    """

    __slots__ = ("_before", "_clock", "_line", "_log", "_name", "_provider", "_publish")

    def __init__(
        self,
        provider: BaseCtiProvider,
        *,
        name: str,
        line: Line,
        clock: SessionClock,
        publish: Callable[[list[Event]], None],
        log: Any,
    ) -> None:
        self._provider = provider
        self._name = name
        self._line = line
        self._clock = clock
        self._publish = publish
        self._log = log
        self._before: Agent | None = None

    def remember(self) -> None:
        """Note what the agent is, when the connection is lost; not where he has not been given back what he was before."""
        if self._before is None:
            self._before = self._line.agent

    def forget(self) -> None:
        """Forget what he was before: he chooses himself now. What is being given back is the last of it."""
        self._before = None

    async def restore(self) -> bool:
        """Make the agent what he was, if the PBX has forgotten it. It is tried once.

        Returns:
            Whether the PBX answered, or did not have to.
        """
        before = self._before
        if before is None:
            return True
        # A cancellation leaves it to the next connection.
        is_answered = await self._restore(before)
        self._before = None
        return is_answered

    async def _restore(self, before: Agent) -> bool:
        line, is_answered = self._line, True
        if (
            AgentFeature.CALL_CENTRE_MODE in line.agent_features
            and before.call_centre_mode
            and line.agent.call_centre_mode is False
        ):
            is_answered = await self._ask("set_call_centre_mode", self._provider.set_call_centre_mode, True)
        # While that took its time, the operator or a supervisor may have chosen.
        if self._before is before and AgentFeature.SET_STATE in line.agent_features and line.agent.state in self._forgotten:
            state, reason = self._chosen(before)
            if state is not None:
                is_answered &= await self._ask("set_agent_state", self._provider.set_agent_state, state, reason)
        return is_answered

    @property
    def _forgotten(self) -> set[str | None]:
        """The states of an agent of whom the PBX knows nothing any more."""
        told = {state.code for state in self._line.agent_states if state.logged_out}
        return {"", self._provider.capabilities.logged_out_state, *told}

    def _chosen(self, before: Agent) -> tuple[str | None, str | None]:
        """Tell which state he had chosen, and its reason: what he is in a call, nobody can choose."""
        states = {state.code: state for state in self._line.agent_states}
        unselectable = {code for code, state in states.items() if not state.selectable} | self._forgotten
        if before.state in unselectable:
            return (before.pending, None) if before.pending and before.pending not in unselectable else (None, None)
        known = states.get(before.state)
        # Where a PBX has no codes for reasons, the operator's own words stand for one.
        is_free_text = known is not None and not known.ready and not known.reasons
        return before.state, before.note if before.reason is None and is_free_text else before.reason

    async def _ask(self, verb: str, act: Callable[..., Awaitable[None]], *arguments: object) -> bool:
        error: CtiError
        try:
            with anyio.move_on_after(_RESTORE_SECONDS):
                await act(*arguments)
                self._log.info("cti.agent.restored", provider=self._name, verb=verb)
                return True
            error = CommandUnconfirmedError(
                f"{verb}: provider {self._name!r} did not end it within {_RESTORE_SECONDS:g} s.", command=verb
            )
        except CommandError as refused:
            refused.step = verb
            error = refused
        except CtiError as told:
            error = told
        except BaseException as raised:
            # Whatever a plugin raises is named with the plugin, and told.
            fault = fault_of(raised)
            if fault is None:
                raise
            self._log.error("cti.provider.raised", provider=self._name, verb=verb, stack=traceback_text(fault))
            error = PluginError(
                f"{verb}: provider {self._name!r} raised {type(fault).__name__}: a fault of the plugin.",
                step=verb,
                remedy="Tell its author; the log has the traceback.",
            )
            error.__cause__ = fault
        self._log.warning("cti.agent.not_restored", provider=self._name, verb=verb, **error.describe())
        self._publish(self._line.apply(Trouble(at=self._clock.now(), error=error)))
        return not isinstance(error, CommandUnconfirmedError)
