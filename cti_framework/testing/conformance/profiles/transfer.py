"""Consult and transfer: an enquiry on behalf of a call, and what becomes of the two; sending a call on without one."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause, Side
from cti_framework.errors import CommandError
from cti_framework.events import CallConnected, CallHeld
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import CALLER, Stand, is_same_call, is_same_number
from cti_framework.testing.conformance.suite import Profile

__all__ = ["TransferProfile", "consulting"]

_CONSULT: Final = CallFeature.CONSULT


async def consulting(stand: Stand) -> tuple[Call, Call]:
    """Talk to a caller, and begin an enquiry on behalf of that call that is talked on, too.

    Args:
        stand: The stand.

    Returns:
        The first call and the enquiry.
    """
    first = await stand.talking()
    enquiry = await stand.within(stand.model.make_consult_call(stand.simulation.subscriber, call=first), "make_consult_call")
    await stand.until(CallConnected, enquiry)
    return stand.now(first), stand.now(enquiry)


class TransferProfile(Profile):
    """Two calls that belong together."""

    @rule(
        "transfer.enquiry",
        "make_consult_call gives the enquiry: an outgoing call whose parent is the first one, which the operator holds"
        " meanwhile.",
        contract="BaseCtiProvider.make_consult_call, reports.Originated.parent_id",
        proves=_CONSULT,
    )
    async def test_an_enquiry(self, stand: Stand) -> None:
        first = await stand.talking()
        enquiry = await stand.within(stand.model.make_consult_call(stand.simulation.subscriber, call=first), "make_consult_call")
        stand.expect(enquiry.direction is CallDirection.OUT, f"The enquiry's direction is {enquiry.direction.name}.")
        first = stand.now(first)
        stand.expect(
            enquiry.parent_id is not None and is_same_call(first, enquiry.parent_id),
            f"The enquiry's parent is {enquiry.parent_id}, not {first.id}.",
        )
        stand.expect(
            is_same_number(enquiry.other.number, stand.simulation.subscriber),
            f"The enquiry's other party is {enquiry.other.number!r}, {stand.simulation.subscriber!r} was asked for.",
        )
        held = await stand.until(CallHeld, first)
        stand.expect(held.by is Side.OWN, f"The first call's hold is told to be by {held.by.value}.")
        await stand.until(CallConnected, enquiry)

    @rule(
        "transfer.completed",
        "complete_transfer connects the two far ends: both calls of the operator end, as transferred.",
        contract="BaseCtiProvider.complete_transfer, reports.Ended.cause",
        proves=CallFeature.COMPLETE_TRANSFER,
        needs=_CONSULT,
    )
    async def test_a_transfer_is_completed(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.within(stand.model.complete_transfer(first, enquiry), "complete_transfer")
        for call, what in ((first, "first call"), (enquiry, "enquiry")):
            finished = await stand.finished(call)
            stand.expect(finished.cause is EndCause.TRANSFERRED, f"The {what} ended as {finished.cause}, not as TRANSFERRED.")

    @rule(
        "transfer.cancelled",
        "cancel_transfer ends the enquiry and takes the first call back.",
        contract="BaseCtiProvider.cancel_transfer",
        proves=CallFeature.CANCEL_TRANSFER,
        needs=_CONSULT,
    )
    async def test_a_transfer_is_cancelled(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.within(stand.model.cancel_transfer(first, enquiry), "cancel_transfer")
        await stand.finished(enquiry)
        await stand.until_state(first, CallState.CONNECTED)

    @rule(
        "transfer.enquiry-hung-up",
        "An enquiry that its far end hangs up leaves the first call up.",
        contract="BaseCtiProvider.make_consult_call",
        proves=_CONSULT,
    )
    async def test_the_enquiry_is_hung_up(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.far.do("hang_up", stand.simulation.subscriber)
        await stand.finished(enquiry)
        await stand.settle()
        stand.expect(stand.model.call(first.id) is not None, "The first call has ended, too.")

    @rule(
        "transfer.caller-hung-up",
        "A first call whose far end hangs up leaves the enquiry up.",
        contract="BaseCtiProvider.make_consult_call",
        proves=_CONSULT,
    )
    async def test_the_first_call_is_hung_up(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        if first.direction is not CallDirection.IN:
            # Both go to the one number that answers: the far side could not tell which is meant.
            return
        await stand.far.do("hang_up", CALLER)
        await stand.finished(first)
        await stand.settle()
        stand.expect(stand.model.call(enquiry.id) is not None, "The enquiry has ended, too.")

    @rule(
        "transfer.alternated",
        "alternate holds the one of the two that is talked to, and takes the other one back.",
        contract="BaseCtiProvider.alternate",
        proves=CallFeature.ALTERNATE,
        needs=_CONSULT,
    )
    async def test_the_operator_alternates(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.within(stand.model.alternate(first, enquiry), "alternate")
        await stand.until_state(first, CallState.CONNECTED)
        await stand.until_state(enquiry, CallState.HELD)
        await stand.within(stand.model.alternate(first, enquiry), "alternate")
        await stand.until_state(enquiry, CallState.CONNECTED)
        await stand.until_state(first, CallState.HELD)

    @rule(
        "transfer.blind",
        "blind_transfer sends a call on: the operator's call ends, as transferred.",
        contract="BaseCtiProvider.blind_transfer, reports.Ended.cause",
        proves=CallFeature.BLIND_TRANSFER,
    )
    async def test_a_call_is_sent_on(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.within(stand.model.blind_transfer(stand.simulation.subscriber, call), "blind_transfer")
        finished = await stand.finished(call)
        stand.expect(finished.cause is EndCause.TRANSFERRED, f"The call ended as {finished.cause}, not as TRANSFERRED.")

    @rule(
        "transfer.refusal",
        "What the PBX does not do ends in a CommandError: a call that is over cannot be sent on.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=CallFeature.BLIND_TRANSFER,
    )
    async def test_a_refused_transfer_is_told(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's blind_transfer of a call that is over"):
            await stand.within(stand.provider.blind_transfer(finished, stand.simulation.subscriber), "blind_transfer")
