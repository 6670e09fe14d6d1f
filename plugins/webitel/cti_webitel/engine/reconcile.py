"""Making the protocol's tables agree with what the switch says when asked (facts: esl-control; webitel-protocol 7.3, 7.7).

The engine tells nothing of what happened while nobody listened. So the switch is asked for the account's legs, and each is
described by its dump. Frames that come in while it is asked are newer than the answers and win.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from cti_webitel.engine.callbacks import (
    CallCallback,
    OnAcceptCall,
    OnBridgeCall,
    OnFarHoldCall,
    OnHoldCall,
    OnNewCall,
    WebitelDirection,
)
from cti_webitel.engine.calls import CallTable
from cti_webitel.engine.headers import UNIQUE_ID
from cti_webitel.engine.snapshot import LegDump, SeenLeg

__all__ = ["Sighting", "reconcile", "sight"]

_TRIGGER = "channel_dump"
"""What stands for the name of an event in callbacks that a dump raised."""


@attrs.frozen
class Sighting:
    """The legs and calls that were known at one moment.

    Attributes:
        legs: The legs' headers, by uuid.
        calls: The legs of each call, by its identifier; one that was picked up comes first.
    """

    legs: Mapping[str, Mapping[str, Any]]
    calls: Mapping[str, tuple[str, ...]]


def sight(table: CallTable) -> Sighting:
    """Note what is known, before the switch is asked.

    Args:
        table: The account's legs and calls.

    Returns:
        What is known.
    """
    return Sighting(
        {uuid: dict(leg.headers) for uuid, leg in table.legs.items()},
        {leg.call.uuid: tuple(own.uuid for own in leg.call.legs) for leg in table.legs.values()},
    )


def reconcile(
    table: CallTable, sighting: Sighting, dumps: Iterable[LegDump], gone: Iterable[str]
) -> tuple[tuple[SeenLeg, ...], tuple[CallCallback, ...]]:
    """Make the table agree with the switch's answers.

    Args:
        table: The account's legs and calls.
        sighting: What was known when the switch was asked.
        dumps: The legs that there are.
        gone: Known legs that the switch said it does not have.

    Returns:
        One leg for each call that there is, and the callbacks that its unseen beginning would have raised.
    """
    for gone_uuid in gone:
        table.drop(gone_uuid)
    best: dict[str, tuple[str, LegDump]] = {}
    begun: dict[str, tuple[str, LegDump]] = {}
    for dump in dumps:
        uuid = dump.headers.get(UNIQUE_ID, "")
        known = uuid in table.legs
        if not uuid or table.has_ended(uuid) or (dump.ending and not known):
            continue
        call = table.told(uuid) if known else None
        if call is None or (table.legs[uuid].headers == sighting.legs.get(uuid) and not dump.ending):
            is_new = call is None
            held_by_other = dump.held and not dump.held_by_own
            known_calls = table.call_ids
            call = table.take_over(uuid, dump.headers, held_by_own=dump.held_by_own, held_by_other=held_by_other)
            if is_new and call.uuid not in known_calls:
                begun[call.uuid] = (uuid, dump)
        # Of several devices that ring, or of a race just lost, the leg that talks says what the call does.
        if call.uuid not in best or (dump.bridged, dump.answered) > (best[call.uuid][1].bridged, best[call.uuid][1].answered):
            best[call.uuid] = (uuid, dump)
            if call.uuid in begun:
                begun[call.uuid] = (uuid, dump)
    # Told when all legs are known: only then it is known which of them was picked up.
    seen = tuple(_seen(table, uuid, dump) for uuid, dump in best.values())
    return seen, tuple(callback for uuid, dump in begun.values() for callback in _beginning(_seen(table, uuid, dump), uuid))


def _seen(table: CallTable, uuid: str, dump: LegDump) -> SeenLeg:
    leg = table.legs[uuid]
    return SeenLeg(table.told(uuid), dump, leg.own_held, leg.far_held)


def _beginning(seen: SeenLeg, uuid: str) -> Sequence[CallCallback]:
    call = seen.call
    told: list[CallCallback] = [OnNewCall(call, _TRIGGER, uuid, adopted=True)]
    if call.answered_microseconds is not None:
        told.append(OnAcceptCall(call, _TRIGGER, uuid))
    if seen.dump.bridged:
        joined_by = "CHANNEL_ANSWER" if call.direction is WebitelDirection.INBOUND else "CHANNEL_BRIDGE"
        told.append(OnBridgeCall(call, joined_by, uuid))
    if seen.held_by_own:
        told.append(OnHoldCall(call, _TRIGGER, uuid))
    if seen.held_by_other:
        told.append(OnFarHoldCall(call, _TRIGGER, uuid))
    return told
