"""The verbs that act on the operator's state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cti_framework.agents import AgentFeature
from cti_framework.verbs.checks import VerbChecks, command

__all__ = ["AgentVerbs"]


class AgentVerbs(VerbChecks):
    """The verbs that act on the operator's state."""

    @command
    async def set_agent_state(self, state: str, reason: str | None = None, *, command_id: str | None = None) -> None:
        """Change the operator's state.

        Args:
            state: The PBX's code of the state; ``Initialized.agent_states`` lists them.
            reason: The reason, where the state takes one.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_agent_state", AgentFeature.SET_STATE)
        self._check_text("set_agent_state", "state", state)
        await self._choose("set_agent_state", self._provider.set_agent_state, state, reason)

    @command
    async def set_wrap_up(self, on: bool, *, command_id: str | None = None) -> None:
        """Enter or leave after-call work.

        Args:
            on: Whether to enter.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_wrap_up", AgentFeature.WRAP_UP)
        await self._choose("set_wrap_up", self._provider.set_wrap_up, on)

    @command
    async def set_call_centre_mode(self, on: bool, *, command_id: str | None = None) -> None:
        """Take calls of queues, or no longer.

        Args:
            on: Whether to take them.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_call_centre_mode", AgentFeature.CALL_CENTRE_MODE)
        await self._choose("set_call_centre_mode", self._provider.set_call_centre_mode, on)

    async def _choose(self, verb: str, act: Callable[..., Awaitable[None]], *arguments: object) -> None:
        command = self._commands.current()
        with self._keeper.operator_chooses(verb, *arguments, is_sent=lambda: command.is_sent):
            await self._command(verb, self._timeouts.command_seconds, act, *arguments)
