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
    OnHoldCall,
    OnNewCall,
    WebitelCall,
    WebitelDirection,
)
from cti_webitel.engine.calls import CallTable
from cti_webitel.engine.headers import UNIQUE_ID
from cti_webitel.engine.snapshot import LegDump, SeenLeg

__all__ = ["Sighting", "reconcile", "sight"]

TRIGGER = "channel_dump"
"""What stands for the name of an event in callbacks that a dump raised."""


@attrs.frozen
class Sighting:
    """The legs that were known when the switch was asked.

    Attributes:
        legs: Their headers then, by uuid.
    """

    legs: Mapping[str, Mapping[str, Any]]


def sight(table: CallTable) -> Sighting:
    """Note what is known, before the switch is asked.

    Args:
        table: The account's legs and calls.

    Returns:
        What is known.
    """
    return Sighting({uuid: dict(leg.headers) for uuid, leg in table.legs.items()})


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
    seen: dict[str, SeenLeg] = {}
    told: list[CallCallback] = []
    for dump in dumps:
        uuid = dump.headers.get(UNIQUE_ID, "")
        if not uuid or table.has_ended(uuid):
            continue
        known = uuid in table.legs
        if not known or table.legs[uuid].headers == sighting.legs.get(uuid):
            call = table.take_over(uuid, dump.headers, held_by_own=dump.held_by_own, held_by_other=dump.held and not dump.held_by_own)
        else:
            call = table.told(uuid)
        if not known:
            told.extend(_beginning(call, dump, uuid))
        # Of several devices that ring, or of a race just lost, the leg that talks says what the call does.
        if call.uuid not in seen or dump.bridged:
            seen[call.uuid] = SeenLeg(call, dump)
    return tuple(seen.values()), tuple(told)


def _beginning(call: WebitelCall, dump: LegDump, uuid: str) -> Sequence[CallCallback]:
    told: list[CallCallback] = [OnNewCall(call, TRIGGER, uuid, adopted=True)]
    if call.answered_microseconds is not None:
        told.append(OnAcceptCall(call, TRIGGER, uuid))
    if dump.bridged:
        joined_by = "CHANNEL_ANSWER" if call.direction is WebitelDirection.INBOUND else "CHANNEL_BRIDGE"
        told.append(OnBridgeCall(call, joined_by, uuid))
    if dump.held_by_own:
        told.append(OnHoldCall(call, TRIGGER, uuid))
    return told
