"""Faults in what is done with a command: the wrong thing, nothing, twice, or without a word about a refusal."""

from __future__ import annotations

import anyio
import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.agents import AgentState
from cti_framework.calls import Call, CallState
from cti_framework.errors import CommandError, NotConnectedError
from cti_framework.reports import Report, Started
from tests.conformance.mutants.making import Misreporting, Mutant

__all__ = ["MUTANTS", "Shouting", "Swallowing"]


class Swallowing(DummyCtiProvider):
    """Says nothing when the PBX says no."""

    async def drop_call(self, call: Call) -> None:
        try:
            await super().drop_call(call)
        except CommandError:
            return


class SwallowingAnswer(DummyCtiProvider):
    """Says nothing when the PBX does not pick a phone up."""

    async def answer_call(self, call: Call) -> None:
        try:
            await super().answer_call(call)
        except CommandError:
            return


class SwallowingTones(DummyCtiProvider):
    """Says nothing when the PBX takes no tones."""

    async def send_dtmf(self, call: Call, digits: str) -> None:
        try:
            await super().send_dtmf(call, digits)
        except CommandError:
            return


class SwallowingUnhold(DummyCtiProvider):
    """Says nothing when the PBX does not take a call back."""

    async def unhold_call(self, call: Call) -> None:
        try:
            await super().unhold_call(call)
        except CommandError:
            return


class KeepsWhatItHolds(DummyCtiProvider):
    """Cannot drop a call that is held."""

    async def drop_call(self, call: Call) -> None:
        self.context.command_sent()
        if not call.held_by:
            await super().drop_call(call)


class Shouting(DummyCtiProvider):
    """Raises something of its own."""

    async def hold_call(self, call: Call) -> None:
        raise RuntimeError("no holding here")


class RaisingItsOwn(DummyCtiProvider):
    """Lets out its library's error in place of a refusal."""

    async def drop_call(self, call: Call) -> None:
        try:
            await super().drop_call(call)
        except CommandError as error:
            raise RuntimeError("-ERR no such channel") from error


class DropsAll(DummyCtiProvider):
    """Drops every call, whichever is meant."""

    async def drop_call(self, call: Call) -> None:
        for shown in (await self.snapshot()).calls:
            found = self.context.call(shown.call_id)
            if found is not None:
                await super().drop_call(found)


class AnswersTheFirst(DummyCtiProvider):
    """Picks up the call that rang first, whichever is meant."""

    async def answer_call(self, call: Call) -> None:
        first, *_ = (await self.snapshot()).calls
        await super().answer_call(self.context.call(first.call_id) or call)


class AnswersNothing(DummyCtiProvider):
    """Says that it answers, and does nothing."""

    async def answer_call(self, call: Call) -> None:
        self.context.command_sent()


class DropsNoRinging(DummyCtiProvider):
    """Cannot drop a call that is not connected."""

    async def drop_call(self, call: Call) -> None:
        self.context.command_sent()
        if call.connected_at is not None:
            await super().drop_call(call)


class CallsTwice(DummyCtiProvider):
    """Sends a command again when its answer is a moment away."""

    async def make_call(self, destination: str) -> Call:
        await super().make_call(destination)
        return await super().make_call(destination)


class CallsAnybody(DummyCtiProvider):
    """Sends whatever it is given, line breaks and all."""

    async def make_call(self, destination: str) -> Call:
        return await super().make_call("".join(digit for digit in destination if digit in "+0123456789*#"))


class CallsSlowly(DummyCtiProvider):
    """Gives a call only when the far end has answered."""

    async def make_call(self, destination: str) -> Call:
        call = await super().make_call(destination)
        while call.state is not CallState.CONNECTED:
            await anyio.sleep(0.01)
            call = self.context.call(call.id) or call
        return call


class CallsSomebodyElse(DummyCtiProvider):
    """Calls another number than it was asked to."""

    async def make_call(self, destination: str) -> Call:
        return await super().make_call("0509999999")


class InventsACall(DummyCtiProvider):
    """Gives a call that the PBX has not shown."""

    async def make_call(self, destination: str) -> Call:
        return attrs.evolve(await super().make_call(destination), id="somebody's", former_ids=())


class LosesTones(DummyCtiProvider):
    """Sends the first of several tones."""

    async def send_dtmf(self, call: Call, digits: str) -> None:
        await super().send_dtmf(call, digits[:1])


class KnowsNoLetters(DummyCtiProvider):
    """Cannot send the tones A to D."""

    async def send_dtmf(self, call: Call, digits: str) -> None:
        if not digits.isdigit():
            raise ValueError(digits)
        await super().send_dtmf(call, digits)


class StaysAsItWas(DummyCtiProvider):
    """Says that it sets the agent's state, and does nothing."""

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        self.context.command_sent()


class AnyState(DummyCtiProvider):
    """Takes any state for one that there is."""

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        await self._ask("set_agent_state", lambda: self._switch.set_status(self._presence, state, ""))


class EachStateTwice(Misreporting):
    """Lists each state of an agent twice."""

    def said(self, report: Report) -> list[Report]:
        return [attrs.evolve(report, agent_states=report.agent_states * 2) if isinstance(report, Started) else report]


class OtherCodes(Misreporting):
    """Lists states by other codes than it tells them by."""

    def said(self, report: Report) -> list[Report]:
        if not isinstance(report, Started):
            return [report]
        states = tuple(AgentState(state.code.lower(), state.name, selectable=state.selectable) for state in report.agent_states)
        return [attrs.evolve(report, agent_states=states)]


class Unconnected(DummyCtiProvider):
    """Falls over what it has only while it is connected."""

    async def drop_call(self, call: Call) -> None:
        try:
            await super().drop_call(call)
        except NotConnectedError:
            raise AttributeError("'NoneType' object has no attribute 'ask'") from None


class Unmarked(DummyCtiProvider):
    """Says that its verbs mark what they send, and hold_call does not."""

    async def hold_call(self, call: Call) -> None:
        line = self._line
        if line is None:
            raise NotConnectedError("There is no line.", command="hold_call")
        await line.ask(lambda: self._switch.hold(call.id))


MUTANTS = (
    Mutant(Swallowing, ("test_a_refusal_is_told",)),
    Mutant(SwallowingAnswer, ("test_a_refused_answer_is_told",)),
    Mutant(SwallowingTones, ("test_refused_tones_are_told",)),
    Mutant(SwallowingUnhold, ("test_a_refused_taking_back_is_told",)),
    Mutant(KeepsWhatItHolds, ("test_a_held_call_is_dropped",)),
    Mutant(Shouting, ("test_the_operator_holds", "test_a_refused_hold_is_told"), raises=(CommandError,)),
    Mutant(RaisingItsOwn, ("test_a_refusal_is_told",)),
    Mutant(DropsAll, ("test_the_right_call_is_dropped",)),
    Mutant(AnswersTheFirst, ("test_the_right_call_is_answered",)),
    Mutant(AnswersNothing, ("test_a_call_is_answered",)),
    Mutant(DropsNoRinging, ("test_a_ringing_call_is_dropped", "test_a_call_is_rejected")),
    Mutant(CallsTwice, ("test_a_call_is_made",)),
    Mutant(CallsAnybody, ("test_a_destination_that_cannot_be_dialled",)),
    Mutant(CallsSlowly, ("test_a_call_is_made",)),
    Mutant(CallsSomebodyElse, ("test_a_call_is_made",)),
    Mutant(InventsACall, ("test_a_call_is_made",)),
    Mutant(LosesTones, ("test_tones_are_sent",)),
    Mutant(KnowsNoLetters, ("test_tones_are_sent",), raises=(CommandError,)),
    Mutant(StaysAsItWas, ("test_each_state_can_be_chosen",)),
    Mutant(AnyState, ("test_a_state_that_there_is_not",)),
    Mutant(EachStateTwice, ("test_the_states_are_listed",)),
    Mutant(OtherCodes, ("test_the_state_is_known",)),
    Mutant(Unconnected, ("test_nothing_is_asked_without_a_connection",)),
    Mutant(Unmarked, ("test_what_is_sent_is_marked",)),
)
