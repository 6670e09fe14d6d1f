"""Faults in what a snapshot shows, and in what is made of an outage."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import anyio
import attrs

from cti_dummy import DummyCtiProvider
from cti_framework.agents import Agent
from cti_framework.calls import CallDirection, CallState, EndCause, Party
from cti_framework.errors import NetworkError
from cti_framework.provider import ProviderContext
from cti_framework.reports import CallSnapshot, Ended, Offered, Originated, Report, Snapshot, Started
from tests.conformance.mutants.making import Misquoting, Misreporting, Mutant

__all__ = ["MUTANTS"]


class NothingThere(Misquoting):
    """Shows no call."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return []


class OnlyTalkedOn(Misquoting):
    """Shows no call that rings."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [] if call.state is CallState.ALERTING else [call]


class ShownTurnedRound(Misquoting):
    """Shows calls as going the other way."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        other = CallDirection.OUT if call.direction is CallDirection.IN else CallDirection.IN
        return [attrs.evolve(call, direction=other)]


class ShownAsTalkedOn(Misquoting):
    """Shows a call that rings as one that is talked on."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, state=CallState.CONNECTED)]


class ShownWithoutNumber(Misquoting):
    """Shows calls without the other party."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, other=Party())]


class ShownByOtherIds(Misquoting):
    """Names a call otherwise in a snapshot than in reports."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, call_id=f"channel/{call.call_id}")]


class ShownHoursAgo(Misquoting):
    """Shows calls as having begun at another time."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, started_at=None if call.started_at is None else call.started_at - timedelta(hours=2))]


class ShownLate(DummyCtiProvider):
    """Says of a snapshot that it was taken at another time."""

    async def snapshot(self) -> Snapshot:
        truth = await super().snapshot()
        return attrs.evolve(truth, at=truth.at - timedelta(hours=2))


class ShowsEverybody(DummyCtiProvider):
    """Shows everybody's calls."""

    async def snapshot(self) -> Snapshot:
        calls = tuple(
            self._seen(leg.snapshot) for account in self._switch.accounts for leg in self._switch.legs_of(account.presence)
        )
        return attrs.evolve(await super().snapshot(), calls=calls)


class ShownTwice(Misquoting):
    """Shows both legs of a call."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [call, attrs.evolve(call, call_id=f"{call.call_id}-b")]


class Ghosts(DummyCtiProvider):
    """Goes on to show what it has once shown."""

    def __init__(self, context: ProviderContext) -> None:
        self.known: dict[str, CallSnapshot] = {}
        super().__init__(context)

    async def snapshot(self) -> Snapshot:
        truth = await super().snapshot()
        self.known |= {call.call_id: call for call in truth.calls}
        return attrs.evolve(truth, calls=tuple(self.known.values()))


class NeverComplete(DummyCtiProvider):
    """Says of each snapshot that there may be more."""

    async def snapshot(self) -> Snapshot:
        return attrs.evolve(await super().snapshot(), complete=False)


class NoSnapshot(DummyCtiProvider):
    """Gives nothing for a snapshot."""

    async def snapshot(self) -> Snapshot:
        await super().snapshot()
        return None  # type: ignore[return-value]  # that is its fault


class OneSnapshotAtATime(DummyCtiProvider):
    """Cannot take a snapshot while it takes one."""

    is_busy = False

    async def snapshot(self) -> Snapshot:
        if self.is_busy:
            return Snapshot(at=self.context.clock.now())
        self.is_busy = True
        try:
            return await self._slow_snapshot()
        finally:
            self.is_busy = False

    async def _slow_snapshot(self) -> Snapshot:
        await anyio.sleep(0.01)
        return await super().snapshot()


class AgentForgotten(DummyCtiProvider):
    """Shows the agent as it was at log in."""

    async def snapshot(self) -> Snapshot:
        return attrs.evolve(await super().snapshot(), agent=Agent(state="ONHOOK"))


class EndsWithTheConnection(DummyCtiProvider):
    """Takes a lost connection for the end of its calls."""

    def __init__(self, context: ProviderContext) -> None:
        self.ended_by_it: list[str] = []
        super().__init__(context)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            for leg in self._switch.legs_of(self._presence):
                at = self.context.clock.now()
                self.context.report(Ended(at=at, call_id=leg.uuid, cause=EndCause.UNKNOWN))


class BeginsAgain(Misreporting):
    """Tells of the calls that it knew again when it is back."""

    def __init__(self, context: ProviderContext) -> None:
        self.begun: dict[str, Offered | Originated] = {}
        super().__init__(context)

    def said(self, report: Report) -> Iterable[Report]:
        yield report
        if isinstance(report, Offered | Originated):
            self.begun[report.call_id] = report
        elif isinstance(report, Ended):
            self.begun.pop(report.call_id, None)
        elif isinstance(report, Started):
            for number, begun in enumerate(self.begun.values()):
                yield attrs.evolve(begun, call_id=f"again-{number}")


class DeafAfterwards(DummyCtiProvider):
    """Hears nothing on its second connection."""

    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs > 1:
            self._on_leg = {}
        await super().run()


class NetworkFault(DummyCtiProvider):
    """Lets out its library's error when the network is cut."""

    async def run(self) -> None:
        try:
            await super().run()
        except NetworkError as error:
            raise RuntimeError("WebSocket connection is already closed") from error


class NotAgain(DummyCtiProvider):
    """Says that what the network did cannot be tried again."""

    async def run(self) -> None:
        try:
            await super().run()
        except NetworkError as error:
            raise NetworkError("The network is gone.", retryable=False) from error


MUTANTS = (
    Mutant(NothingThere, ("test_a_snapshot_of_a_call_that_rings", "test_a_call_goes_on")),
    Mutant(OnlyTalkedOn, ("test_a_snapshot_of_a_call_that_rings", "test_a_call_begins_meanwhile")),
    Mutant(ShownTurnedRound, ("test_a_snapshot_of_a_call_that_rings",)),
    Mutant(ShownAsTalkedOn, ("test_a_snapshot_of_a_call_that_rings",)),
    Mutant(ShownWithoutNumber, ("test_a_call_begins_meanwhile",)),
    Mutant(ShownByOtherIds, ("test_a_call_goes_on",)),
    Mutant(ShownHoursAgo, ("test_a_snapshot_of_a_call_that_is_talked_on",)),
    Mutant(ShownLate, ("test_times_are_on_the_sessions_clock",)),
    Mutant(ShowsEverybody, ("test_calls_of_others",)),
    Mutant(ShownTwice, ("test_a_snapshot_of_a_call_that_is_talked_on",)),
    Mutant(Ghosts, ("test_a_snapshot_after_a_call", "test_a_call_ends_meanwhile")),
    Mutant(NeverComplete, ("test_a_call_ends_meanwhile",)),
    Mutant(NoSnapshot, ("test_a_snapshot_of_nothing",)),
    Mutant(OneSnapshotAtATime, ("test_two_snapshots_at_once",)),
    Mutant(AgentForgotten, ("test_a_snapshot_tells_the_state",)),
    Mutant(EndsWithTheConnection, ("test_a_call_goes_on",)),
    Mutant(BeginsAgain, ("test_a_call_goes_on",)),
    Mutant(DeafAfterwards, ("test_a_call_goes_on", "test_it_can_be_run_again")),
    Mutant(NetworkFault, ("test_the_network_is_cut",)),
    Mutant(NotAgain, ("test_the_network_is_cut",)),
)
