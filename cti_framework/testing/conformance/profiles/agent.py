"""The agent: which states there are, being in one, choosing one."""

from __future__ import annotations

from collections.abc import Callable

from cti_framework.agents import AgentFeature, AgentState
from cti_framework.errors import CommandError
from cti_framework.events import AgentStateChanged, Initialized
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["AgentProfile"]

_NO_STATE = "NO-SUCH-STATE"


class AgentProfile(Profile):
    """The operator's state."""

    @rule(
        "agent.states",
        "Started lists the agent's states: each code once, one of them chosen by whoever can choose, the logged-out state of the"
        " capabilities among them.",
        contract="reports.Started.agent_states, Capabilities.logged_out_state",
        proves=AgentFeature.SET_STATE,
    )
    async def test_the_states_are_listed(self, stand: Stand) -> None:
        states = _states(stand)
        codes = [state.code for state in states]
        stand.expect(codes, "SET_STATE is declared and Started lists no state.")
        stand.expect(len(set(codes)) == len(codes), f"A code is listed twice: {codes}.")
        stand.expect(any(state.selectable for state in states), "SET_STATE is declared and no state can be chosen.")
        logged_out = stand.bench.provider_class.capabilities.logged_out_state
        stand.expect(logged_out is None or logged_out in codes, f"The logged-out state {logged_out!r} is not among {codes}.")

    @rule(
        "agent.known",
        "The state that an agent is told to be in is one of those that Started lists.",
        contract="reports.AgentReport, reports.Started.agent_states",
        proves=AgentFeature.SET_STATE,
    )
    async def test_the_state_is_known(self, stand: Stand) -> None:
        codes = [state.code for state in _states(stand)]
        await stand.until_so(lambda: stand.model.agent.state, "the agent's state is told")
        stand.expect(stand.model.agent.state in codes, f"The agent is {stand.model.agent.state!r}, which is not among {codes}.")

    @rule(
        "agent.set",
        "set_agent_state brings the agent into each state that can be chosen, and AgentReport says so.",
        contract="BaseCtiProvider.set_agent_state, reports.AgentReport",
        proves=AgentFeature.SET_STATE,
    )
    async def test_each_state_can_be_chosen(self, stand: Stand) -> None:
        chosen = [state for state in _states(stand) if state.selectable]
        # The first comes again at the end: an agent may be in it already.
        for state in (*chosen[1:], *chosen[:1]):
            await stand.within(stand.model.set_agent_state(state.code), f"set_agent_state({state.code!r})")
            await stand.until_so(_is_in(stand, state), f"the agent is {state.code}")
        stand.expect(
            any(isinstance(event, AgentStateChanged) for event in stand.seen.events) or len(chosen) == 1,
            "No change of the agent's state was told.",
        )

    @rule(
        "agent.refusal",
        "A state that there is none of ends in a CommandError, and the agent stays as it was.",
        contract="BaseCtiProvider.set_agent_state",
        proves=AgentFeature.SET_STATE,
    )
    async def test_a_state_that_there_is_not(self, stand: Stand) -> None:
        before = stand.model.agent.state
        with stand.expect_error(CommandError, doing=f"set_agent_state({_NO_STATE!r})"):
            await stand.within(stand.model.set_agent_state(_NO_STATE), "set_agent_state")
        await stand.settle()
        stand.expect(stand.model.agent.state == before, f"The agent was {before!r} and is {stand.model.agent.state!r}.")

    @rule(
        "agent.snapshot",
        "A snapshot tells the agent's state as the reports do.",
        contract="reports.Snapshot.agent",
        proves=AgentFeature.SET_STATE,
    )
    async def test_a_snapshot_tells_the_state(self, stand: Stand) -> None:
        chosen = [state for state in _states(stand) if state.selectable]
        await stand.model.set_agent_state(chosen[-1].code)
        await stand.until_so(_is_in(stand, chosen[-1]), f"the agent is {chosen[-1].code}")
        snapshot = await stand.within(stand.provider.snapshot(), "snapshot")
        told = None if snapshot.agent is None else snapshot.agent.state
        stand.expect(
            told is None or told == chosen[-1].code, f"The reports say {chosen[-1].code!r}, and the snapshot says {told!r}."
        )

    @rule(
        "agent.wrap-up",
        "set_wrap_up enters after-call work and leaves it.",
        contract="BaseCtiProvider.set_wrap_up",
        proves=AgentFeature.WRAP_UP,
    )
    async def test_after_call_work(self, stand: Stand) -> None:
        for on in (True, False):
            await stand.within(stand.model.set_wrap_up(on), f"set_wrap_up({on})")


def _states(stand: Stand) -> tuple[AgentState, ...]:
    return next(event for event in reversed(stand.seen.events) if isinstance(event, Initialized)).agent_states


def _is_in(stand: Stand, state: AgentState) -> Callable[[], bool]:
    return lambda: stand.model.agent.state == state.code or stand.model.agent.pending == state.code
