"""Snapshots tell the truth, and after an outage the line agrees with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import anyio

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, Side
from cti_framework.events import CallFinished, CallHeld, CallStarted, Disconnected, ProviderState, ProviderStateChanged
from cti_framework.reports import CallSnapshot, Snapshot
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import CALLER, Stand, is_same_call, is_same_number
from cti_framework.testing.conformance.suite import Profile

__all__ = ["ResyncProfile"]

_HOLD: Final = CallFeature.HOLD
_JUST_NOW: Final = timedelta(minutes=1)


class ResyncProfile(Profile):
    """What a provider says is there, and what the core makes of it."""

    # --- a snapshot

    @rule(
        "resync.empty",
        "The snapshot of a line without calls has none.",
        contract="BaseCtiProvider.snapshot",
    )
    async def test_a_snapshot_of_nothing(self, stand: Stand) -> None:
        snapshot = await _snapshot(stand)
        stand.expect(not snapshot.calls, f"Nobody has called, and the snapshot has {[call.call_id for call in snapshot.calls]}.")

    @rule(
        "resync.ringing",
        "A snapshot tells a call that rings as the reports do: identifier, direction, state, the other party's number.",
        contract="BaseCtiProvider.snapshot, reports.CallSnapshot",
    )
    async def test_a_snapshot_of_a_call_that_rings(self, stand: Stand) -> None:
        call = await stand.incoming()
        item = await _only(stand, call)
        stand.expect(item.direction is CallDirection.IN, f"The snapshot says {item.direction.name}, the reports said IN.")
        stand.expect(item.state is CallState.ALERTING, f"The call rings, and the snapshot says {item.state.name}.")
        stand.expect(is_same_number(item.other.number, CALLER), f"{CALLER!r} calls, the snapshot says {item.other.number!r}.")

    @rule(
        "resync.talking",
        "A snapshot tells a call that is talked on as the reports do, with times on the session's clock.",
        contract="BaseCtiProvider.snapshot, reports.CallSnapshot",
    )
    async def test_a_snapshot_of_a_call_that_is_talked_on(self, stand: Stand) -> None:
        call = await stand.talking()
        item = await _only(stand, call)
        stand.expect(item.direction is call.direction, f"The snapshot says {item.direction.name}, not {call.direction.name}.")
        stand.expect(item.state is CallState.CONNECTED, f"The call is talked on, and the snapshot says {item.state.name}.")
        stand.expect(not item.held_by, "Nobody holds the call, and the snapshot says that somebody does.")
        for name in ("started_at", "answered_at", "connected_at"):
            at: datetime | None = getattr(item, name)
            if at is not None:
                stand.expect(at.utcoffset() is not None, f"{name} is {at!r}: it is not aware.")
                distance = abs(at - stand.model.now())
                stand.expect(distance < _JUST_NOW, f"{name} is {at}, and the call has just begun: it is {stand.model.now()}.")

    @rule(
        "resync.held",
        "A snapshot tells a held call as the reports do, and who holds it.",
        contract="reports.CallSnapshot.held_by",
        proves=_HOLD,
    )
    async def test_a_snapshot_of_a_held_call(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.hold_call(call)
        await stand.until(CallHeld, call)
        item = await _only(stand, call)
        stand.expect(item.state is CallState.HELD, f"The call is held, and the snapshot says {item.state.name}.")
        stand.expect(
            item.held_by <= {Side.OWN, Side.UNKNOWN},
            f"The operator holds the call, the snapshot says {sorted(side.value for side in item.held_by)}.",
        )

    @rule(
        "resync.over",
        "A snapshot does not have calls that are over.",
        contract="BaseCtiProvider.snapshot",
    )
    async def test_a_snapshot_after_a_call(self, stand: Stand) -> None:
        call = await stand.talking()
        # What a provider has once told, it must not go on to tell.
        await _snapshot(stand)
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        await stand.settle()
        snapshot = await _snapshot(stand)
        stand.expect(not snapshot.calls, f"The call is over, and the snapshot has {[one.call_id for one in snapshot.calls]}.")

    @rule(
        "resync.at-once",
        "Two snapshots can be under way at once, and both tell the same.",
        contract="BaseCtiProvider.snapshot",
    )
    async def test_two_snapshots_at_once(self, stand: Stand) -> None:
        await stand.talking()
        taken: list[Snapshot] = []

        async def take() -> None:
            taken.append(await _snapshot(stand))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(take)
        told = {tuple(call.call_id for call in snapshot.calls) for snapshot in taken}
        stand.expect(len(told) == 1, f"At one time snapshots tell of {sorted(told)}.")

    # --- after an outage

    @rule(
        "resync.kept",
        "A call that goes on while the session is away goes on afterwards: it neither ends nor begins again, and what happens"
        " to it then is told.",
        contract="BaseCtiProvider.run, BaseCtiProvider.snapshot",
    )
    async def test_a_call_goes_on(self, stand: Stand) -> None:
        call = await stand.talking()
        await _away(stand)
        await _back(stand)
        stand.expect(stand.model.call(call.id) is not None, "The call is up at the PBX, and the line has ended it.")
        await stand.until_so(lambda: not stand.now(call).stale, "the call is not stale any more")
        stand.expect(stand.now(call).state is CallState.CONNECTED, f"The call is {stand.now(call).state.name} afterwards.")
        await stand.settle()
        stand.expect(len(stand.model.calls) == 1, f"One call is up, and {len(stand.model.calls)} are shown.")
        for kind in (CallStarted, CallFinished):
            told = [event.call.id for event in stand.seen.events if isinstance(event, kind)]
            stand.expect(told == [call.id] * (kind is CallStarted), f"{kind.__name__} was told of {told}; one call is up.")
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        stand.expect(not stand.model.calls, "The call has ended, and one is shown.")

    @rule(
        "resync.ended",
        "A call that ends while the session is away is over afterwards, told once; no ghost of it stays.",
        contract="BaseCtiProvider.run, BaseCtiProvider.snapshot",
    )
    async def test_a_call_ends_meanwhile(self, stand: Stand) -> None:
        call = await stand.talking()
        number = stand.number_of(call)
        await _snapshot(stand)
        await _away(stand)
        await stand.far.do("hang_up", number)
        await _back(stand)
        await stand.finished(call)
        await stand.settle()
        stand.expect(not stand.model.calls, f"The call is over, and {_ids(stand)} is shown.")
        ends = [event for event in stand.seen.events if isinstance(event, CallFinished)]
        stand.expect(len(ends) == 1, f"CallFinished was told {len(ends)} times.")

    @rule(
        "resync.begun",
        "A call that begins while the session is away is shown afterwards, in full, and what happens to it then is told.",
        contract="BaseCtiProvider.snapshot, reports.CallSnapshot",
    )
    async def test_a_call_begins_meanwhile(self, stand: Stand) -> None:
        await _away(stand)
        await stand.far.do("incoming", CALLER, "")
        await _back(stand)
        call = (await stand.until(CallStarted, what="the call that began meanwhile")).call
        await stand.until_so(lambda: stand.now(call).direction is CallDirection.IN, "the call is told to be incoming")
        stand.expect(
            is_same_number(stand.now(call).other.number, CALLER),
            f"The call is from {CALLER!r}, and is told to be from {stand.now(call).other.number!r}.",
        )
        await stand.far.do("hang_up", CALLER)
        await stand.finished(call)
        await stand.settle()
        begun = [event for event in stand.seen.events if isinstance(event, CallStarted)]
        stand.expect(len(begun) == 1, f"CallStarted was told {len(begun)} times for one call.")
        stand.expect(not stand.model.calls, f"The call is over, and {_ids(stand)} is shown.")

    @rule(
        "resync.network",
        "run() ends when the network is cut, with a ConnectionFailedError that the core tries again after; the core connects"
        " again, and a call that was up is up.",
        contract="BaseCtiProvider.run",
    )
    async def test_the_network_is_cut(self, stand: Stand) -> None:
        call = await stand.talking()
        since = stand.mark()
        await stand.far.do("drop_network")
        lost = await stand.until(Disconnected, since=since)
        error = lost.error
        stand.expect(error is not None and error.retryable, f"run() ended with {error!r}, which is not tried again after.")
        stand.expect(
            type(error).__name__ != "PluginError", f"run() raised something that is no CtiError: {error and error.__cause__!r}."
        )
        await stand.until(
            ProviderStateChanged, where=lambda event: event.state is ProviderState.IN_SERVICE, since=since, what="in service"
        )
        await stand.until_so(
            lambda: (found := stand.model.call(call.id)) is not None and not found.stale, f"call {call.id} is up again"
        )
        stand.expect(len(stand.model.calls) == 1, f"One call is up, and {_ids(stand)} are shown.")


async def _snapshot(stand: Stand) -> Snapshot:
    snapshot: object = await stand.within(stand.provider.snapshot(), "snapshot")
    stand.expect(isinstance(snapshot, Snapshot), f"snapshot() gave {type(snapshot).__name__}.")
    assert isinstance(snapshot, Snapshot)
    return snapshot


async def _only(stand: Stand, call: Call) -> CallSnapshot:
    """Give what a snapshot says about the only call there is."""
    snapshot = await _snapshot(stand)
    listed = [item.call_id for item in snapshot.calls]
    stand.expect(len(listed) == 1, f"One call is up, the snapshot has {listed}.")
    (item,) = snapshot.calls
    now = stand.now(call)
    stand.expect(
        is_same_call(now, item.call_id) or now.id in item.former_ids,
        f"The reports are about call {now.id}, the snapshot about {item.call_id}.",
    )
    return item


async def _away(stand: Stand) -> None:
    await stand.within(stand.model.disconnect(), "disconnecting")


async def _back(stand: Stand) -> None:
    await stand.within(stand.model.connect(), "connecting again")


def _ids(stand: Stand) -> list[str]:
    return [call.id for call in stand.model.calls]
