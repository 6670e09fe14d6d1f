"""Faults in what is reported about a call: its beginning, its parties, its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import anyio
import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.calls import CallDirection, EndCause, Party, Side
from cti_framework.provider import ProviderContext
from cti_framework.reports import (
    Answered,
    CallReport,
    Connected,
    Ended,
    InfoChanged,
    Offered,
    Originated,
    Report,
    Tones,
)
from cti_framework.switchboard import LegSnapshot, SwitchEvent
from tests.conformance.mutants.making import Misreporting, Mutant

__all__ = ["MUTANTS", "DoubleEnd"]


class DoubleEnd(Misreporting):
    """Tells an end twice."""

    def said(self, report: Report) -> Iterable[Report]:
        return [report, report] if isinstance(report, Ended) else [report]


class EventAfterEnd(Misreporting):
    """Goes on about a call that is over."""

    def said(self, report: Report) -> Iterable[Report]:
        yield report
        if isinstance(report, Ended):
            yield InfoChanged(at=report.at, call_id=report.call_id, other=Party("1"))


class NoEnd(Misreporting):
    """Never tells that a call is over."""

    def said(self, report: Report) -> Iterable[Report]:
        return [] if isinstance(report, Ended) else [report]


class EndWithoutCause(Misreporting):
    """Does not say why a call ended."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, cause=EndCause.UNKNOWN) if isinstance(report, Ended) else report]


class EndThatWasTransfer(Misreporting):
    """Takes each end for a transfer."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, cause=EndCause.TRANSFERRED) if isinstance(report, Ended) else report]


class LateBeginning(Misreporting):
    """Tells first that a call is connected, and then that it rings."""

    def __init__(self, context: ProviderContext) -> None:
        self.kept: list[Report] = []
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Offered):
            self.kept.append(report)
            return []
        late, self.kept = self.kept if isinstance(report, Connected) else [], [] if isinstance(report, Connected) else self.kept
        return [report, *late]


class OneBehind(Misreporting):
    """Tells each thing about a call when the next one happens."""

    def __init__(self, context: ProviderContext) -> None:
        self.kept: list[Report] = []
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, CallReport):
            return [report]
        late, self.kept = self.kept, [report]
        return late


class WrongWayIn(Misreporting):
    """Takes a call for the operator for one of the operator's own."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Offered):
            return [Originated(at=report.at, call_id=report.call_id, other=report.other, own=report.own)]
        return [report]


class WrongWayOut(Misreporting):
    """Takes a call of the operator's own for one that comes in."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Originated):
            return [Offered(at=report.at, call_id=report.call_id, other=report.other, own=report.own)]
        return [report]


class TurnedRound(Misreporting):
    """Says of a call that is connected that it went the other way."""

    def said(self, report: Report) -> Iterable[Report]:
        yield report
        if isinstance(report, Offered):
            yield InfoChanged(at=report.at, call_id=report.call_id, direction=CallDirection.OUT)


class PartiesSwapped(Misreporting):
    """Takes the operator for the other party."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Offered | Originated):
            return [attrs.evolve(report, own=report.other, other=cast(Party, report.own))]
        return [report]


class NoName(Misreporting):
    """Loses the caller's name."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Offered | Connected) and report.other is not None:
            report = attrs.evolve(report, other=Party(report.other.number))
        return [report]


class FallingOver(Misreporting):
    """Falls over an event that it did not expect; the core connects again, and the snapshot heals what was not told."""

    async def run(self) -> None:
        self.fell = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(super().run)
            await self.fell.wait()
            raise KeyError("Bridgeuniqueid")

    def said(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, Connected):
            return [report]
        self.fell.set()
        return []


class ConnectedTooEarly(Misreporting):
    """Takes the operator's own phone being picked up for both being able to talk."""

    def said(self, report: Report) -> Iterable[Report]:
        return [Connected(at=report.at, call_id=report.call_id) if isinstance(report, Answered) else report]


class ConnectedWhileItRings(Misreporting):
    """Tells a call to be connected when it rings."""

    def said(self, report: Report) -> Iterable[Report]:
        yield report
        if isinstance(report, Offered | Originated):
            yield Connected(at=report.at, call_id=report.call_id)


class NeverConnected(Misreporting):
    """Does not tell that both can talk."""

    def said(self, report: Report) -> Iterable[Report]:
        return [] if isinstance(report, Connected) else [report]


class OwnPhoneUnseen(Misreporting):
    """Does not tell of calls for the operator."""

    def said(self, report: Report) -> Iterable[Report]:
        return [] if isinstance(report, Offered) else [report]


class EachCallTwice(Misreporting):
    """Takes the two legs of a call for two calls."""

    def said(self, report: Report) -> Iterable[Report]:
        yield report
        if isinstance(report, Offered):
            yield attrs.evolve(report, call_id=f"{report.call_id}-b")


class OneIdForAll(Misreporting):
    """Gives every call the same identifier."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, call_id="the call") if isinstance(report, CallReport) else report]


class LostIdChange(Misreporting):
    """Says another identifier when a call is connected, and not that it is the same call."""

    def __init__(self, context: ProviderContext) -> None:
        self.connected: set[str] = set()
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, CallReport):
            return [report]
        if isinstance(report, Connected):
            self.connected.add(report.call_id)
        known = report.call_id in self.connected
        return [attrs.evolve(report, call_id=f"{report.call_id}-new") if known else report]


class AboutTheOtherOne(Misreporting):
    """Tells what happens to the second call about the first."""

    def __init__(self, context: ProviderContext) -> None:
        self.first: str | None = None
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Offered | Originated):
            self.first = self.first or report.call_id
        elif isinstance(report, CallReport) and self.first is not None:
            return [attrs.evolve(report, call_id=self.first)]
        return [report]


class SeesEverybody(DummyCtiProvider):
    """Takes everybody's calls for the operator's."""

    def _on_create(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        at = self.context.clock.from_pbx(event.at)
        self.context.report(Offered(at=at, call_id=leg.uuid, other=Party(leg.peer_number)))


class TheirTonesAsOwn(Misreporting):
    """Takes the far end's keys for the operator's."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, by=Side.OWN) if isinstance(report, Tones) else report]


class TonesAstray(Misreporting):
    """Tells keys in another order than they were pressed in."""

    def __init__(self, context: ProviderContext) -> None:
        self.kept: list[Report] = []
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, Tones):
            return [report]
        if not self.kept:
            self.kept.append(report)
            return []
        return [report, self.kept.pop()]


class TonesTwice(Misreporting):
    """Tells each key twice."""

    def said(self, report: Report) -> Iterable[Report]:
        return [report, report] if isinstance(report, Tones) else [report]


MUTANTS = (
    Mutant(DoubleEnd, ("test_an_end_is_told_once",)),
    Mutant(EventAfterEnd, ("test_an_end_is_told_once", "test_reports_are_sound")),
    Mutant(NoEnd, ("test_a_call_is_dropped", "test_a_caller_gives_up")),
    Mutant(EndWithoutCause, ("test_the_far_end_hangs_up",)),
    Mutant(EndThatWasTransfer, ("test_the_far_end_hangs_up",)),
    Mutant(LateBeginning, ("test_reports_are_in_order", "test_a_call_is_offered")),
    Mutant(OneBehind, ("test_a_call_is_offered",)),
    Mutant(WrongWayIn, ("test_a_call_is_offered",)),
    Mutant(WrongWayOut, ("test_a_call_is_made",)),
    Mutant(TurnedRound, ("test_a_call_keeps_its_identity",)),
    Mutant(PartiesSwapped, ("test_a_call_is_offered", "test_a_call_is_made")),
    Mutant(NoName, ("test_the_callers_name",)),
    Mutant(FallingOver, ("test_a_call_is_connected", "test_the_callers_name")),
    Mutant(ConnectedTooEarly, ("test_a_call_is_connected",)),
    Mutant(ConnectedWhileItRings, ("test_a_caller_gives_up",)),
    Mutant(NeverConnected, ("test_the_own_phone_is_picked_up",)),
    Mutant(OwnPhoneUnseen, ("test_a_call_is_offered",)),
    Mutant(EachCallTwice, ("test_a_call_keeps_its_identity",)),
    Mutant(OneIdForAll, ("test_one_call_after_another",)),
    Mutant(LostIdChange, ("test_a_call_keeps_its_identity",)),
    Mutant(AboutTheOtherOne, ("test_two_calls_at_once",)),
    Mutant(SeesEverybody, ("test_calls_of_others",)),
    Mutant(TheirTonesAsOwn, ("test_tones_are_received",)),
    Mutant(TonesAstray, ("test_tones_are_received",)),
    Mutant(TonesTwice, ("test_tones_are_received",)),
)
