"""What the line is to show of a call of the phone's: values for values, no state."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause, Party, Side
from cti_framework.reports import (
    Answered,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    InfoChanged,
    MediaEnded,
    MediaStarted,
    MediaVideoStarted,
    Muted,
    Offered,
    Originated,
    Report,
    Retrieved,
)
from cti_webitel.verto.signals import Cause, EndedBy
from cti_webitel.web_phone.phone_call import PhoneCall

__all__ = ["beginning", "end_of", "media_of", "news_of", "snapshot_of"]

_NO_NAMES: Final = frozenset({"", "Outbound Call", "Unknown"})
_NOBODY: Final = Party()


def _other(call: PhoneCall) -> Party:
    if call.name in _NO_NAMES or call.name == call.number:
        return Party(call.number)
    return Party(call.number, call.name)


def beginning(call: PhoneCall, call_id: str, own_number: str, allowed: CallFeature) -> Offered | Originated:
    """Tell that a call began that the engine does not show.

    Args:
        call: The call.
        call_id: What the line is to call it.
        own_number: The operator's number.
        allowed: What can be done with it.

    Returns:
        The report.
    """
    kind = Offered if call.is_incoming else Originated
    return kind(at=call.began_at, call_id=call_id, own=Party(own_number), other=_other(call), allowed=allowed)


def news_of(call: PhoneCall, known: Call, at: datetime) -> tuple[Report, ...]:
    """Tell what a call does that the engine does not show, as far as the line does not know it.

    Args:
        call: The call.
        known: What the line shows of it.
        at: Now.

    Returns:
        The reports, in order.
    """
    told: list[Report] = []
    other = _other(call)
    if other not in (known.other, _NOBODY):
        told.append(InfoChanged(at=at, call_id=known.id, other=other))
    if call.is_answered and known.connected_at is None:
        if known.answered_at is None:
            told.append(Answered(at=at, call_id=known.id))
        told.append(Connected(at=at, call_id=known.id))
    if call.is_held is not (Side.OWN in known.held_by):
        told.append((Held if call.is_held else Retrieved)(at=at, call_id=known.id, by=Side.OWN))
    return tuple(told)


def media_of(call: PhoneCall, known: Call, told: Collection[str], shown: Collection[str], at: datetime) -> tuple[Report, ...]:
    """Tell how a call's media is, as far as that was not told.

    Args:
        call: The call.
        known: What the line shows of it.
        told: The media that was told to have begun.
        shown: The media whose video was told.
        at: Now.

    Returns:
        The reports, in order.
    """
    reports: list[Report] = []
    if call.has_media and call.id not in told:
        reports.append(MediaStarted(at=at, call_id=known.id, media_id=call.id))
    if not call.has_media and call.id in told:
        reports.append(MediaEnded(at=at, call_id=known.id, media_id=call.id))
    elif call.is_video_told and call.id not in shown:
        reports.append(MediaVideoStarted(at=at, call_id=known.id, media_id=call.id))
    if call.is_muted is not known.muted:
        reports.append(Muted(at=at, call_id=known.id, on=call.is_muted))
    return tuple(reports)


def end_of(call: PhoneCall, call_id: str, cause: Cause | None, by: EndedBy, at: datetime) -> Ended:
    """Tell that a call is over that the engine does not show.

    Args:
        call: The call.
        call_id: What the line calls it.
        cause: Why, as the server said.
        by: Who says so.
        at: When.

    Returns:
        The report.
    """
    meaning = EndCause.RESYNC if by is EndedBy.LOST else EndCause.NORMAL if cause is None else cause.meaning
    if meaning is EndCause.NORMAL and not call.is_answered and by is EndedBy.CLIENT:
        meaning = EndCause.REJECTED if call.is_incoming else EndCause.CANCELLED
    elif meaning is EndCause.NORMAL and not call.is_answered and not call.is_incoming:
        meaning = EndCause.NO_ANSWER
    return Ended(at=at, call_id=call_id, cause=meaning, pbx_cause=None if cause is None else cause.name)


def snapshot_of(call: PhoneCall, call_id: str, own_number: str, allowed: CallFeature, known: Call | None) -> CallSnapshot:
    """Describe a call that the engine does not show.

    Args:
        call: The call.
        call_id: What the line calls it, or is to.
        own_number: The operator's number.
        allowed: What can be done with it.
        known: What the line shows of it.

    Returns:
        It.
    """
    state = CallState.HELD if call.is_held else CallState.CONNECTED if call.is_answered else CallState.ALERTING
    return CallSnapshot(
        call_id=call_id,
        direction=CallDirection.IN if call.is_incoming else CallDirection.OUT,
        state=state,
        own=Party(own_number),
        other=_other(call),
        held_by=frozenset({Side.OWN} if call.is_held else ()) | (frozenset() if known is None else known.held_by - {Side.OWN}),
        started_at=call.began_at,
        allowed=allowed,
        muted=call.is_muted,
        parent_id=None if known is None else known.parent_id,
    )
