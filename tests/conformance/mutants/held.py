"""Faults in who holds a call."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.calls import Call, CallState, Side
from cti_framework.errors import CommandError
from cti_framework.provider import ProviderContext
from cti_framework.reports import CallSnapshot, Held, Report, Retrieved
from tests.conformance.mutants.making import Misquoting, Misreporting, Mutant

__all__ = ["MUTANTS"]


class OwnHoldAsTheirs(Misreporting):
    """Takes the operator's hold for the far end's."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, by=Side.OTHER) if isinstance(report, Held | Retrieved) else report]


class TheirHoldAsOwn(Misreporting):
    """Takes the far end's hold for the operator's."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, by=Side.OWN) if isinstance(report, Held | Retrieved) else report]


class TakenBackByBoth(Misreporting):
    """Takes a call that one has taken back for one that nobody holds."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Retrieved):
            return [attrs.evolve(report, by=side) for side in (Side.OWN, Side.OTHER)]
        return [report]


class NeverTakenBack(Misreporting):
    """Does not tell that a call was taken back."""

    def said(self, report: Report) -> Iterable[Report]:
        return [] if isinstance(report, Retrieved) else [report]


class HeldOnce(Misreporting):
    """Tells of the first hold of a call and of no other."""

    def __init__(self, context: ProviderContext) -> None:
        self.held: set[str] = set()
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Held):
            if report.call_id in self.held:
                return []
            self.held.add(report.call_id)
        return [report]


class HoldOfNothing(DummyCtiProvider):
    """Says that it holds a call, and does nothing."""

    async def hold_call(self, call: Call) -> None:
        self.context.command_sent()


class HoldsTheNewest(DummyCtiProvider):
    """Holds the call that came last, whichever it is given."""

    async def hold_call(self, call: Call) -> None:
        for newest in (await self.snapshot()).calls[-1:]:
            call = self.context.call(newest.call_id) or call
        await super().hold_call(call)


class HeldAndLost(Misquoting):
    """Shows a held call as one that is talked on."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        held = call.state is CallState.HELD
        return [attrs.evolve(call, state=CallState.CONNECTED, held_by=frozenset()) if held else call]


class HeldByTheWrongOne(Misquoting):
    """Shows the operator's hold as the far end's."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, held_by=frozenset({Side.OTHER}) if call.held_by else call.held_by)]


MUTANTS = (
    Mutant(OwnHoldAsTheirs, ("test_the_operator_holds",)),
    Mutant(TheirHoldAsOwn, ("test_the_far_end_holds",)),
    Mutant(TakenBackByBoth, ("test_both_hold",)),
    Mutant(NeverTakenBack, ("test_the_operator_takes_back",)),
    Mutant(HeldOnce, ("test_hold_and_back_twice",)),
    Mutant(HoldsTheNewest, ("test_the_right_call_is_held",), raises=(CommandError,)),
    Mutant(HoldOfNothing, ("test_the_operator_holds", "test_a_refused_hold_is_told")),
    Mutant(HeldAndLost, ("test_a_snapshot_of_a_held_call",)),
    Mutant(HeldByTheWrongOne, ("test_a_snapshot_of_a_held_call",)),
)
