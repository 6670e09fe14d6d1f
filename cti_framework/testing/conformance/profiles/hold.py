"""Hold: by the operator, by the far end, by both; and taking back."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import CallFeature, CallState, Side
from cti_framework.errors import CommandError
from cti_framework.events import CallHeld, CallUnheld
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import OTHER_CALLER, Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["HoldProfile"]

_HOLD: Final = CallFeature.HOLD
_UNHOLD: Final = CallFeature.UNHOLD


class HoldProfile(Profile):
    """Calls that somebody holds."""

    @rule(
        "hold.own",
        "hold_call puts a call on hold, and Held says that it was the operator.",
        contract="BaseCtiProvider.hold_call, reports.Held.by",
        proves=_HOLD,
    )
    async def test_the_operator_holds(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.within(stand.model.hold_call(call), "hold_call")
        held = await stand.until(CallHeld, call)
        stand.expect(held.by is Side.OWN, f"The hold is told to be by {held.by.value}.")
        stand.expect(held.call.state is CallState.HELD, f"The call is {held.call.state.name}.")

    @rule(
        "hold.taken-back",
        "unhold_call takes a call back that the operator holds.",
        contract="BaseCtiProvider.unhold_call, reports.Retrieved",
        proves=_UNHOLD,
        needs=_HOLD,
    )
    async def test_the_operator_takes_back(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.hold_call(call)
        held = (await stand.until(CallHeld, call)).call
        stand.expect(_UNHOLD in held.features, "The operator holds the call, and UNHOLD is not offered.")
        await stand.within(stand.model.unhold_call(call), "unhold_call")
        taken = await stand.until(CallUnheld, call)
        stand.expect(taken.by is Side.OWN, f"It is told to be taken back by {taken.by.value}.")
        stand.expect(taken.call.state is CallState.CONNECTED, f"The call is {taken.call.state.name}.")

    @rule(
        "hold.again",
        "A call can be held and taken back as often as one likes, and each time is told.",
        contract="reports.Held, reports.Retrieved",
        proves=(_HOLD, _UNHOLD),
    )
    async def test_hold_and_back_twice(self, stand: Stand) -> None:
        call = await stand.talking()
        for _ in range(2):
            since = stand.mark()
            await stand.model.hold_call(call)
            await stand.until(CallHeld, call, since=since)
            since = stand.mark()
            await stand.model.unhold_call(call)
            await stand.until(CallUnheld, call, since=since)
        stand.expect(stand.now(call).state is CallState.CONNECTED, f"The call is {stand.now(call).state.name} at the end.")

    @rule(
        "hold.that-one",
        "hold_call puts the call on hold that it is given, and no other, also where another one came after it.",
        contract="BaseCtiProvider.hold_call",
        proves=_HOLD,
    )
    async def test_the_right_call_is_held(self, stand: Stand) -> None:
        first = await stand.talking()
        second = await stand.incoming(OTHER_CALLER)
        await stand.within(stand.model.hold_call(first), "hold_call")
        await stand.until(CallHeld, first)
        await stand.settle()
        state = stand.now(second).state
        stand.expect(state is CallState.ALERTING, f"The other call, which rang, is {state.name} now.")

    @rule(
        "hold.other",
        "A hold by the far end that the PBX shows is told, and not as the operator's own.",
        contract="reports.Held.by",
        shows="hold",
    )
    async def test_the_far_end_holds(self, stand: Stand) -> None:
        call = await stand.talking()
        number = stand.number_of(call)
        await stand.far.do("hold", number)
        held = await stand.until(CallHeld, call)
        stand.expect(held.by is not Side.OWN, "The far end's hold is told as the operator's own.")
        stand.expect(_UNHOLD not in held.call.features, "The far end holds the call, and UNHOLD is offered.")
        since = stand.mark()
        await stand.far.do("unhold", number)
        await stand.until(CallUnheld, call, since=since)
        stand.expect(not stand.now(call).held_by, "The call is taken back and still held.")

    @rule(
        "hold.both",
        "A call that both hold stays held until both have taken it back.",
        contract="reports.Held.by, reports.Retrieved.by",
        proves=(_HOLD, _UNHOLD),
        shows="hold",
    )
    async def test_both_hold(self, stand: Stand) -> None:
        call = await stand.talking()
        number = stand.number_of(call)
        await stand.far.do("hold", number)
        await stand.until(CallHeld, call, lambda event: event.by is not Side.OWN)
        await stand.model.hold_call(call)
        await stand.until(CallHeld, call, lambda event: event.by is Side.OWN)
        since = stand.mark()
        await stand.far.do("unhold", number)
        taken = await stand.until(CallUnheld, call, since=since)
        stand.expect(
            taken.call.held_by == {Side.OWN},
            f"The far end took it back; held by {sorted(side.value for side in taken.call.held_by)} now.",
        )
        since = stand.mark()
        await stand.model.unhold_call(call)
        await stand.until(CallUnheld, call, since=since)
        stand.expect(stand.now(call).state is CallState.CONNECTED, f"The call is {stand.now(call).state.name} at the end.")

    @rule(
        "hold.hung-up",
        "A call that is held can end.",
        contract="reports.Ended",
        proves=_HOLD,
        needs=CallFeature.DROP,
    )
    async def test_a_held_call_is_dropped(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.hold_call(call)
        await stand.until(CallHeld, call)
        await stand.within(stand.model.drop_call(call), "drop_call")
        await stand.finished(call)

    @rule(
        "hold.refusal",
        "What the PBX does not do ends in a CommandError: a call that is over cannot be held.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=_HOLD,
    )
    async def test_a_refused_hold_is_told(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's hold_call of a call that is over"):
            await stand.within(stand.provider.hold_call(finished), "hold_call")

    @rule(
        "hold.refused-back",
        "What the PBX does not do ends in a CommandError: a call that is over cannot be taken back.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=_UNHOLD,
    )
    async def test_a_refused_taking_back_is_told(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's unhold_call of a call that is over"):
            await stand.within(stand.provider.unhold_call(finished), "unhold_call")
