"""What a leg's dump says, in the words of call frames (facts: esl-control, uuid_dump json; webitel-protocol 4.2).

``channel_dump`` gives the switch's own headers; the engine's call frames are made from the same ones, some under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from cti_webitel.engine.callbacks import WebitelCall
from cti_webitel.engine.headers import (
    ANSWER_STATE,
    ATTENDED_TRANSFER,
    CALL_STATE,
    HANGUP_CAUSE,
    ORIGINATING_LEG,
    OTHER_LEG,
    WEBITEL_CALL,
)

__all__ = ["LegDump", "SeenLeg", "read_dump"]

# Call frames carry these under another name, or from a second source where the first is missing.
_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    WEBITEL_CALL: ("variable_webitel_call_uuid",),
    ATTENDED_TRANSFER: ("variable_sip_h_X-WebitelXTransfer",),
    OTHER_LEG: (ORIGINATING_LEG,),
    HANGUP_CAUSE: ("Hangup-Cause",),
}
_BRIDGED_TIME: Final = "Caller-Channel-Bridged-Time"
_LAST_HOLD: Final = "Caller-Channel-Last-Hold"
_DUMPED_AT: Final = "Event-Date-Timestamp"
_PARTNER: Final = "variable_signal_bond"


@attrs.frozen
class LegDump:
    """One own leg, as the switch describes it when asked.

    Attributes:
        headers: Its headers, named as in call frames; texts only.
        bridged: It is joined with the far end.
        bridged_microseconds: Since when, on the switch's clock.
        held: It is on hold.
        held_by_own: The own device, or the switch on its behalf, put it there; if not, the far end did.
        dumped_microseconds: When the switch described it.
    """

    headers: dict[str, Any]
    bridged: bool
    bridged_microseconds: int | None
    held: bool
    held_by_own: bool
    dumped_microseconds: int | None


@attrs.frozen
class SeenLeg:
    """One own leg, and the call that it belongs to.

    Attributes:
        call: The call, as the protocol knows it with the dump.
        dump: The leg.
    """

    call: WebitelCall
    dump: LegDump


def read_dump(dump: Mapping[str, Any]) -> LegDump:
    """Read the answer to ``channel_dump``.

    Args:
        dump: The answer, decoded. Values that are no text (repeated variables come as lists) are left out.

    Returns:
        The leg.
    """
    headers = {key: value for key, value in dump.items() if isinstance(value, str)}
    for name, others in _SOURCES.items():
        if not headers.get(name):
            found = next((headers[other] for other in others if headers.get(other)), None)
            if found is not None:
                headers[name] = found
    answered = headers.get(ANSWER_STATE) == "answered"
    call_state = headers.get(CALL_STATE)
    held = call_state == "HELD"
    return LegDump(
        headers,
        # An answered leg whose far end rings has a partner in its headers already; its call state says RING_WAIT.
        bridged=answered and call_state in ("ACTIVE", "HELD", "UNHELD") and bool(headers.get(_PARTNER)),
        bridged_microseconds=_microseconds(headers.get(_BRIDGED_TIME)),
        held=held,
        held_by_own=held and headers.get(_LAST_HOLD) != "0",
        dumped_microseconds=_microseconds(headers.get(_DUMPED_AT)),
    )


def _microseconds(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and text != "0" else None
