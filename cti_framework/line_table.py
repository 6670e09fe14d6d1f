"""The tables that ``Line`` works by: which report moves a call where, and what each state permits.

They are data: the documentation's diagram and the conformance kit's list of cases are made from them. ``line.py`` has the
theory of operation and gives out the public names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from cti_framework import reports
from cti_framework.calls import CallFeature, CallState, Side

__all__ = ["CONSULTING", "FEATURES", "TRANSITIONS", "ConsultRule", "Situation"]

_F = CallFeature
_S = CallState

TRANSITIONS: Final[Mapping[CallState, Mapping[type[reports.CallReport], CallState]]] = MappingProxyType(
    {
        _S.ALERTING: {
            reports.Answered: _S.ALERTING,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Busy: _S.BUSY,
            reports.Held: _S.ALERTING,
            reports.Retrieved: _S.ALERTING,
            reports.Ended: _S.NONE,
        },
        _S.CONNECTED: {
            reports.Answered: _S.CONNECTED,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Held: _S.CONNECTED,
            reports.Retrieved: _S.CONNECTED,
            reports.Ended: _S.NONE,
        },
        _S.CONFERENCED: {
            reports.Answered: _S.CONFERENCED,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Held: _S.CONFERENCED,
            reports.Retrieved: _S.CONFERENCED,
            reports.Ended: _S.NONE,
        },
        _S.UNKNOWN: {
            reports.Answered: _S.ALERTING,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Busy: _S.BUSY,
            reports.Held: _S.CONNECTED,
            reports.Retrieved: _S.CONNECTED,
            reports.Ended: _S.NONE,
        },
        _S.BUSY: {
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Ended: _S.NONE,
        },
    }
)
"""Base state -> report -> next base state. What is not here is refused. Holding is not a base state: see ``held_by``."""


@attrs.frozen
class Situation:
    """One row's key in ``FEATURES``: what decides which features a state permits.

    Attributes:
        state: The state that a host sees.
        detail: What else decides: the direction of a ringing call, or who holds a held one.
    """

    state: CallState
    detail: str = ""


_TALKING = _F.DROP | _F.HOLD | _F.BLIND_TRANSFER | _F.CONSULT | _F.DTMF | _F.VIDEO | _F.MUTE | _F.RECORDING
_HELD = _F.DROP | _F.BLIND_TRANSFER | _F.CONSULT

FEATURES: Final[Mapping[Situation, CallFeature]] = MappingProxyType(
    {
        Situation(_S.ALERTING, "in"): _F.ANSWER | _F.DROP,
        Situation(_S.ALERTING, "in, own device picked up"): _F.DROP,
        Situation(_S.ALERTING, "out"): _F.DROP,
        Situation(_S.CONNECTED): _TALKING,
        Situation(_S.HELD, "by own"): _HELD | _F.UNHOLD,
        Situation(_S.HELD, "by other"): _HELD | _F.HOLD,
        Situation(_S.HELD, "by both"): _HELD | _F.UNHOLD,
        Situation(_S.HELD, "by unknown"): _HELD,
        Situation(_S.HELD, "by own, not connected yet"): _F.DROP | _F.UNHOLD,
        Situation(_S.HELD, "by other, not connected yet"): _F.DROP,
        Situation(_S.CONFERENCED): _F.DROP | _F.HOLD | _F.DTMF | _F.VIDEO | _F.MUTE | _F.RECORDING,
        Situation(_S.BUSY): _F.DROP,
        Situation(_S.UNKNOWN): _F.DROP,
        Situation(_S.NONE): _F.NONE,
    }
)
"""What each state permits, before the session's and the PBX's limits."""


@attrs.frozen
class ConsultRule:
    """What an enquiry changes in the features of the two calls concerned.

    Attributes:
        parent_gains: Features that the call gains on whose behalf the enquiry is made.
        parent_loses: Features that it loses.
        consult_loses: Features that the enquiry call itself does not have.
    """

    parent_gains: CallFeature
    parent_loses: CallFeature
    consult_loses: CallFeature


CONSULTING: Final[Mapping[str, ConsultRule]] = MappingProxyType(
    {
        "ringing": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER,
        ),
        "talking": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER | _F.COMPLETE_TRANSFER | _F.ALTERNATE | _F.CONFERENCE,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER,
        ),
        "held": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER | _F.COMPLETE_TRANSFER | _F.ALTERNATE | _F.CONFERENCE,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
        ),
    }
)
"""By what the enquiry call does: the difference that it makes. While the parent is talked to, the enquiry is "held"."""

ADOPTED_AS: Final[Mapping[type[reports.CallReport], CallState]] = MappingProxyType(
    {
        reports.Answered: _S.ALERTING,
        reports.Busy: _S.ALERTING,
        reports.Connected: _S.UNKNOWN,
        reports.Conferenced: _S.UNKNOWN,
        reports.Held: _S.CONNECTED,
        reports.Retrieved: _S.CONNECTED,
        reports.Tones: _S.UNKNOWN,
        reports.RecordingReport: _S.UNKNOWN,
        reports.InfoChanged: _S.UNKNOWN,
        reports.MediaStarted: _S.UNKNOWN,
        reports.MediaVideoStarted: _S.UNKNOWN,
        reports.Muted: _S.UNKNOWN,
    }
)
"""What an unseen call is taken to do before the first report about it is applied. What is not here adopts nothing.

No call goes back, so what is only likely is not taken for certain: a call can be recorded, and tones be heard, while it rings.
"""

# Flag arithmetic costs about a microsecond each and hashing a member half of that; the hot path works on plain numbers.
# Who holds a call is a number too: the sum of SIDE_BITS.
SIDE_BITS: Final[Mapping[Side, int]] = MappingProxyType({Side.OWN: 1, Side.OTHER: 2, Side.UNKNOWN: 4})
OWN_BIT: Final = SIDE_BITS[Side.OWN]
UNKNOWN_BIT: Final = SIDE_BITS[Side.UNKNOWN]
SIDES: Final[Mapping[int, Side]] = MappingProxyType({bit: side for side, bit in SIDE_BITS.items()})
HOLDERS: Final[tuple[frozenset[Side], ...]] = tuple(
    frozenset(side for side, bit in SIDE_BITS.items() if bit & sides) for sides in range(8)
)


def _held_bits(sides: int) -> int:
    if sides == OWN_BIT:
        by = "by own"
    elif sides & OWN_BIT:
        by = "by both"
    else:
        by = "by unknown" if sides & UNKNOWN_BIT else "by other"
    return int(FEATURES[Situation(_S.HELD, by)])


def _held_unconnected_bits(sides: int) -> int:
    by = "by own" if sides & OWN_BIT else "by other"
    return int(FEATURES[Situation(_S.HELD, f"{by}, not connected yet")])


BITS_CONNECTED: Final = int(FEATURES[Situation(_S.CONNECTED)])
BITS_RINGING_OUT: Final = int(FEATURES[Situation(_S.ALERTING, "out")])
BITS_RINGING_IN: Final = int(FEATURES[Situation(_S.ALERTING, "in")])
BITS_PICKED_UP: Final = int(FEATURES[Situation(_S.ALERTING, "in, own device picked up")])
BITS_PLAIN: Final[Mapping[CallState, int]] = MappingProxyType(
    {state: int(FEATURES[Situation(state)]) for state in (_S.CONFERENCED, _S.BUSY, _S.UNKNOWN, _S.NONE)}
)
BITS_HELD: Final[tuple[int, ...]] = (0, *(_held_bits(sides) for sides in range(1, 8)))
BITS_HELD_UNCONNECTED: Final[tuple[int, ...]] = (0, *(_held_unconnected_bits(sides) for sides in range(1, 8)))
BIT_UNHOLD: Final = int(_F.UNHOLD)
BIT_DIAL: Final = int(_F.DIAL)
BIT_MONITOR: Final = int(_F.MONITOR)
ALL_BITS: Final = int(~_F.NONE)
