"""Several calls, one after another or at once: what happens to one is told of that one, and done to that one."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import Call, CallDirection, CallFeature, CallState
from cti_framework.events import CallConnected
from cti_framework.reports import CallReport
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import CALLER, OTHER_CALLER, Stand, is_same_call, is_same_number
from cti_framework.testing.conformance.suite import Profile

__all__ = ["SeveralCallsProfile", "is_open"]

_DROP: Final = CallFeature.DROP


def is_open(stand: Stand, call: Call) -> bool:
    """Tell whether a call is open on the line.

    Args:
        stand: The stand.
        call: The call.

    Returns:
        Whether.
    """
    return stand.model.call(call.id) is not None


class SeveralCallsProfile(Profile):
    """Which call is which. A part of the basic calls."""

    @rule(
        "calls.one-after-another",
        "Each call has an identifier of its own, also when it is like the one before it.",
        contract="reports.CallReport.call_id",
    )
    async def test_one_call_after_another(self, stand: Stand) -> None:
        first = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(first))
        first = await stand.finished(first)
        second = await stand.talking()
        stand.expect(not is_same_call(first, second.id), f"Both calls are {second.id}.")
        await stand.far.do("hang_up", stand.number_of(second))
        await stand.finished(second)

    @rule(
        "calls.two-at-once",
        "What happens to one of two calls is reported about that one.",
        contract="reports.CallReport.call_id",
    )
    async def test_two_calls_at_once(self, stand: Stand) -> None:
        first = await stand.talking()
        second = await stand.incoming(OTHER_CALLER)
        stand.expect(not is_same_call(first, second.id), f"Both calls are {second.id}.")
        await stand.far.do("hang_up", OTHER_CALLER)
        await stand.finished(second)
        await stand.settle()
        stand.expect(is_open(stand, first), "The other call has ended, too.")
        stand.expect(stand.now(first).state is CallState.CONNECTED, f"The other call is {stand.now(first).state.name} now.")

    @rule(
        "calls.dropped-that-one",
        "drop_call ends the call that it is given, and no other.",
        contract="BaseCtiProvider.drop_call",
        proves=_DROP,
    )
    async def test_the_right_call_is_dropped(self, stand: Stand) -> None:
        first = await stand.talking()
        second = await stand.incoming(OTHER_CALLER)
        await stand.within(stand.model.drop_call(second), "drop_call")
        await stand.finished(second)
        await stand.settle()
        stand.expect(is_open(stand, first), "The other call has ended, too.")

    @rule(
        "calls.answered-that-one",
        "answer_call picks up the call that it is given, and no other.",
        contract="BaseCtiProvider.answer_call",
        proves=CallFeature.ANSWER,
    )
    async def test_the_right_call_is_answered(self, stand: Stand) -> None:
        first = await stand.incoming()
        second = await stand.incoming(OTHER_CALLER)
        await stand.within(stand.model.answer_call(second), "answer_call")
        await stand.until(CallConnected, second)
        await stand.settle()
        stand.expect(
            not is_open(stand, first) or stand.now(first).connected_at is None, "The other call is told to be connected, too."
        )

    @rule(
        "calls.own-only",
        "Calls between others are not the operator's: no report tells of them, and no snapshot has them.",
        contract="reports; BaseCtiProvider.snapshot",
    )
    async def test_calls_of_others(self, stand: Stand) -> None:
        call_id: str = await stand.far.do("call_between_others")
        await stand.settle()
        told = sorted({type(report).__name__ for report in stand.seen.reports_of(CallReport)})
        stand.expect(not told, f"Two others talk (call {call_id}), and {', '.join(told)} came.")
        listed = [item.call_id for item in (await stand.within(stand.provider.snapshot(), "snapshot")).calls]
        stand.expect(not listed, f"Two others talk (call {call_id}), and the snapshot has {listed}.")
        own = await stand.incoming()
        await stand.settle()
        stand.expect(len(stand.model.calls) == 1, f"One call is the operator's ({own.id}), {len(stand.model.calls)} are shown.")

    @rule(
        "calls.identified",
        "A call is found by the identifier that it began with until it is over; where the PBX gives it another one, IdChanged"
        " says so. Which way it goes, and with whom, stays as it is.",
        contract="reports.IdChanged, reports.InfoChanged",
        needs=_DROP,
    )
    async def test_a_call_keeps_its_identity(self, stand: Stand) -> None:
        call = await stand.incoming()
        talking = await stand.pick_up(call)
        stand.expect(is_same_call(talking, call.id), f"Call {call.id} was offered, call {talking.id} is connected.")
        await stand.settle()
        stand.expect(len(stand.model.calls) == 1, f"One call is up, and {len(stand.model.calls)} are shown.")
        await stand.model.drop_call(talking)
        finished = await stand.finished(call)
        stand.expect(is_same_call(finished, call.id), f"Call {call.id} was offered, call {finished.id} has ended.")
        stand.expect(finished.direction is CallDirection.IN, f"The call came in, and ended as {finished.direction.name}.")
        stand.expect(
            is_same_number(finished.other.number, CALLER),
            f"{CALLER!r} called, and the call ended with {finished.other.number!r}.",
        )
        await stand.settle()
        stand.expect(not stand.model.calls, f"{len(stand.model.calls)} calls are shown when it is over.")
