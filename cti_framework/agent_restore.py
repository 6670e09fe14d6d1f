"""Giving the agent's state back to a PBX that has forgotten it.

A PBX that restarts may have logged its agents out, or have forgotten what they were. Where it says after a reconnection that the
agent is logged out, or is nothing, though he was something before, he is made that again; so is his taking of queues' calls.
Where it says that he is something else, the PBX is right: a supervisor may have changed it. And where the operator chooses for
himself, or disconnects, he is right: nothing of before is given back then.

What he had chosen when the connection was lost, and of which the PBX had not told yet, is what he wants: that is given back then,
and never what he was before it. To set a state twice is to set it once. After-call work cannot be given back as it was: he is
given nothing then, which is better than calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, Final

import attrs

from cti_framework.agents import Agent, AgentFeature
from cti_framework.cancellation import fault_of
from cti_framework.clock import SessionClock
from cti_framework.errors import (
    CommandError,
    CommandStage,
    CommandUnconfirmedError,
    CtiError,
    PluginError,
    traceback_text,
)
from cti_framework.events import Event, ProviderState
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider
from cti_framework.questions import OutOfTime, Questions
from cti_framework.reports import Trouble

__all__ = ["AgentRestorer"]

_RESTORE_SECONDS: Final = 15.0
_SETTLED_SECONDS: Final = 60.0
"""How long after a verb, or after giving him back without an answer, what the PBX had told may still be older than that."""
_DID_NOTHING: Final = (CommandStage.NOT_SENT, CommandStage.REJECTED)


class _Choice:
    """What the operator asked to be.

    Args:
        verb: By which verb.
        arguments: What that was given.
        told: What the PBX has told of him.

    Attributes:
        told: What the PBX had told of him when the verb began, and once it has ended, when it did.
        is_mode: Whether it is about calls of queues; if not, it is about his state.
        is_open: Whether the verb is under way.
        is_void: Whether nothing is to be made of it, nor of what was before.
        holds_until: When it is of no use any more, by the session's clock.
    """

    __slots__ = ("_arguments", "_verb", "holds_until", "is_mode", "is_open", "is_void", "told")

    def __init__(self, verb: str, arguments: tuple[Any, ...], told: Agent) -> None:
        self._verb = verb
        self._arguments = arguments
        self.told = told
        self.is_mode = verb == "set_call_centre_mode"
        self.is_open = True
        self.is_void = False
        self.holds_until = inf

    def holds(self, told: Agent, now: float) -> bool:
        """Tell whether the PBX has told nothing of the operator since."""
        return self.is_open or (self.told is told and now < self.holds_until)

    def made_of(self, agent: Agent) -> Agent:
        """Give what he wants to be, of what he is."""
        if self.is_mode:
            return attrs.evolve(agent, call_centre_mode=None if self.is_void else self._arguments[0])
        state, reason = self._arguments if self._verb == "set_agent_state" and not self.is_void else ("", None)
        # What the PBX told of that state is more than what was asked for.
        return agent if agent.state == state else attrs.evolve(agent, state=state, reason=reason, note=None, pending=None)


class AgentRestorer:
    """Knows what the agent of one session was before an outage, and makes him that again.

    Args:
        provider: Changes the agent's state.
        name: By what the provider is named in logs and errors.
        line: Knows what the agent is.
        clock: The session's clock.
        publish: Where events go.
        questions: Wait for the provider.
        log: Where to log.
    """

    __slots__ = (
        "_before",
        "_choices",
        "_clock",
        "_holds_until",
        "_is_told",
        "_line",
        "_log",
        "_name",
        "_provider",
        "_publish",
        "_questions",
    )

    def __init__(
        self,
        provider: BaseCtiProvider,
        *,
        name: str,
        line: Line,
        clock: SessionClock,
        publish: Callable[[list[Event]], None],
        questions: Questions,
        log: Any,
    ) -> None:
        self._provider = provider
        self._name = name
        self._line = line
        self._clock = clock
        self._publish = publish
        self._questions = questions
        self._log = log
        self._before: Agent | None = None
        self._holds_until = inf
        self._choices: list[_Choice] = []
        # The log has it that he could not be given back.
        self._is_told = False

    def remember(self) -> None:
        """Note what the agent is, when the connection is lost; not where he has not been given back what he was before."""
        agent, before, now = self._line.agent, self._before, self._clock.monotonic()
        if before is None or now >= self._holds_until:
            self._choices = [choice for choice in self._choices if choice.holds(agent, now)]
        elif agent.state in self._forgotten:
            # That the PBX has forgotten him is no news.
            agent = before
        else:
            self._choices = [choice for choice in self._choices if choice.is_open]
            if before.call_centre_mode and agent.call_centre_mode is False:
                agent = attrs.evolve(agent, call_centre_mode=True)
        self._before, self._holds_until = agent, inf

    def forget(self) -> None:
        """Forget what he was before: he chooses himself now. What is being given back is the last of it."""
        self._before = None
        self._choices.clear()

    @contextmanager
    def choosing(self, verb: str, *arguments: object, is_sent: Callable[[], bool]) -> Iterator[None]:
        """Note that the operator chooses himself, while he does, and how that ends.

        Args:
            verb: Which verb.
            arguments: What it is given.
            is_sent: Tells whether the command may have left.
        """
        if self._before is not None:
            self.forget()
        choice = _Choice(verb, arguments, self._line.agent)
        self._choices.append(choice)
        try:
            yield
        except BaseException as error:
            did_nothing = error.stage in _DID_NOTHING if isinstance(error, CommandError) else not is_sent()
            self._ended(choice, did_nothing=did_nothing)
            raise
        self._ended(choice, is_accepted=True)

    def _ended(self, choice: _Choice, *, did_nothing: bool = False, is_accepted: bool = False) -> None:
        if choice not in self._choices:
            return
        told, is_down = self._line.agent, self._line.provider_state is not ProviderState.IN_SERVICE
        if did_nothing and is_down:
            # It is told that it was not done, so it must not be done later. What he was before he wanted no more.
            choice.is_void = True
        elif did_nothing or (is_accepted and told is not choice.told):
            # He is what the PBX tells.
            self._choices.remove(choice)
            return
        # An earlier one of which nothing came is of no use any more.
        older = self._choices[: self._choices.index(choice)]
        self._choices = [
            known for known in self._choices if known.is_open or known not in older or known.is_mode is not choice.is_mode
        ]
        choice.is_open, choice.told = False, told
        if is_accepted:
            choice.holds_until = self._clock.monotonic() + _SETTLED_SECONDS

    async def restore(self) -> bool:
        """Make the agent what he was, if the PBX has forgotten it. It is tried once a connection.

        Returns:
            Whether the PBX answered, or did not have to.
        """
        before, choices = self._before, list(self._choices)
        if before is None:
            return True
        wanted = before
        for choice in choices:
            wanted = choice.made_of(wanted)
        # A cancellation leaves it to the next connection.
        is_answered = await self._restore(before, wanted)
        if self._before is not before or self._line.provider_state is not ProviderState.IN_SERVICE:
            return is_answered
        if is_answered:
            self._before = None
            self._choices = [choice for choice in self._choices if choice not in choices]
        else:
            # The connection may be dead; if it is, the next one is asked again.
            self._holds_until = self._clock.monotonic() + _SETTLED_SECONDS
        return is_answered

    async def _restore(self, before: Agent, wanted: Agent) -> bool:
        line, is_answered = self._line, True
        if (
            AgentFeature.CALL_CENTRE_MODE in line.agent_features
            and wanted.call_centre_mode
            and line.agent.call_centre_mode is False
        ):
            is_answered = await self._ask("set_call_centre_mode", self._provider.set_call_centre_mode, True)
        # While that took its time, the operator or a supervisor may have chosen.
        if self._before is before and AgentFeature.SET_STATE in line.agent_features and line.agent.state in self._forgotten:
            state, reason = self._chosen(wanted)
            if state is not None:
                is_answered &= await self._ask("set_agent_state", self._provider.set_agent_state, state, reason)
        return is_answered

    @property
    def _forgotten(self) -> set[str | None]:
        """The states of an agent of whom the PBX knows nothing any more."""
        told = {state.code for state in self._line.agent_states if state.logged_out}
        return {"", self._provider.capabilities.logged_out_state, *told}

    def _chosen(self, wanted: Agent) -> tuple[str | None, str | None]:
        """Tell which state he had chosen, and its reason: what he is in a call, nobody can choose."""
        states = {state.code: state for state in self._line.agent_states}
        unselectable = {code for code, state in states.items() if not state.selectable} | self._forgotten
        if wanted.state in unselectable:
            return (wanted.pending, None) if wanted.pending and wanted.pending not in unselectable else (None, None)
        known = states.get(wanted.state)
        # Where a PBX has no codes for reasons, the operator's own words stand for one.
        is_free_text = known is not None and not known.ready and not known.reasons
        return wanted.state, wanted.note if wanted.reason is None and is_free_text else wanted.reason

    async def _ask(self, verb: str, act: Callable[..., Awaitable[None]], *arguments: object) -> bool:
        error: CtiError
        try:
            await self._questions.ask(verb, partial(act, *arguments), _RESTORE_SECONDS)
        except OutOfTime:
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
        else:
            # As loud as what it ends.
            (self._log.warning if self._is_told else self._log.info)("cti.agent.restored", provider=self._name, verb=verb)
            self._is_told = False
            return True
        self._tell(verb, error)
        return not isinstance(error, CommandUnconfirmedError)

    def _tell(self, verb: str, error: CtiError) -> None:
        is_lost = self._line.provider_state is not ProviderState.IN_SERVICE
        # Once, until he is given back; and a lost connection is told as such.
        (self._log.debug if self._is_told or is_lost else self._log.warning)(
            "cti.agent.not_restored", provider=self._name, verb=verb, **error.describe()
        )
        if not is_lost:
            self._is_told = True
            self._publish(self._line.apply(Trouble(at=self._clock.now(), error=error)))
