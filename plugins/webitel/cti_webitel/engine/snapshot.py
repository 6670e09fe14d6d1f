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

__all__ = ["LegDump", "SeenLeg", "is_leg_of", "read_dump"]

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
        answered: Its device was picked up.
        ending: It is hung up, and its last words are on their way.
        bridged: It is joined with the far end.
        bridged_microseconds: Since when, on the switch's clock.
        held: It is on hold.
        held_by_own: The own device, or the switch on its behalf, put it there; if not, the far end did.
        dumped_microseconds: When the switch described it.
    """

    headers: dict[str, Any]
    answered: bool
    ending: bool
    bridged: bool
    bridged_microseconds: int | None
    held: bool
    held_by_own: bool
    dumped_microseconds: int | None


@attrs.frozen
class SeenLeg:
    """One own leg, and the call that it belongs to: what its dump and the frames since then say together.

    Attributes:
        call: The call.
        dump: The leg, as the switch described it.
        held_by_own: Our side holds the call.
        held_by_other: The far end holds it.
    """

    call: WebitelCall
    dump: LegDump
    held_by_own: bool
    held_by_other: bool


def is_leg_of(row: Mapping[str, Any], account: str) -> bool:
    """Tell whether a row of ``show_channel`` is a leg of an account.

    ``presence_id`` says whose leg it is; where the switch leaves it empty, the channel's name does (facts: esl-control).

    Args:
        row: The row.
        account: ``number@domain``.

    Returns:
        Whether it is one that can be asked for.
    """
    uuid, presence, name = row.get("uuid"), row.get("presence_id"), row.get("name")
    if not isinstance(uuid, str):
        return False
    return presence == account or (not presence and isinstance(name, str) and name.endswith(f"/{account}"))


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
    bridged_microseconds = _microseconds(headers.get(_BRIDGED_TIME))
    # A called leg has a partner from its first moment on; a time of the bridge, only while there is one.
    joined = bool(headers.get(_PARTNER)) if _BRIDGED_TIME not in headers else bridged_microseconds is not None
    held = call_state == "HELD"
    return LegDump(
        headers,
        answered=answered,
        ending=headers.get(ANSWER_STATE) == "hangup" or call_state == "HANGUP",
        bridged=answered and call_state in ("ACTIVE", "HELD", "UNHELD") and joined,
        bridged_microseconds=bridged_microseconds,
        held=held,
        # The time of an own hold stays when that is over, so a later one of the far end counts as ours: the rarer by far, and
        # the other mistake would leave the operator unable to take the call back.
        held_by_own=held and headers.get(_LAST_HOLD) != "0",
        dumped_microseconds=_microseconds(headers.get(_DUMPED_AT)),
    )


def _microseconds(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and text != "0" else None
