"""Values in words, for people: one short line each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum, Flag
from typing import Any, Final

import attrs

from cti_framework.agents import Agent, AgentState
from cti_framework.calls import Call, CallDirection, CallState, Party, Side
from cti_framework.errors import CtiError
from cti_framework.events import (
    AgentStateChanged,
    CallBusy,
    CallCentreModeChanged,
    CallConnected,
    CallEvent,
    CallFinished,
    CallHeld,
    CallInfoChanged,
    CallSaved,
    CallStarted,
    CallUnheld,
    CurrentCallChanged,
    Disconnected,
    DtmfEntered,
    ErrorOccurred,
    Event,
    Initialized,
    LineStateChanged,
    ProviderStateChanged,
    RawMessage,
    RecordingStateChanged,
    ResyncRequired,
    SnapshotTaken,
    WebRtcQuality,
)
from cti_framework.plain import as_plain, json_line
from cti_framework.reports import Report, Snapshot

__all__ = ["call_in_words", "durations_in_words", "event_in_words", "in_words", "printable", "report_in_words"]

_NOT_TOLD: Final = frozenset({"at", "call_id", "raw"})
_LONGEST_RAW: Final = 200


def printable(text: str) -> str:
    """Take out of a text what would command the terminal, or break the line.

    Args:
        text: From anywhere, a PBX for one.

    Returns:
        The text with control characters spelled out.
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def in_words(value: Any) -> str:
    """Tell a value.

    Args:
        value: What an attribute of an event or a report holds.

    Returns:
        A few words.
    """
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case Flag():
            return ", ".join((member.name or "").lower() for member in value) or "nothing"
        case Enum():
            return value.name.lower()
        case Party():
            return f"{value.number} ({value.name})" if value.name and value.name != value.number else value.number or "unknown"
        case Agent():
            return _joined((value.state or "unknown", value.reason or ""))
        case AgentState():
            return value.code
        case Call():
            return call_in_words(value)
        case CtiError():
            return value.message
        case datetime():
            return value.astimezone().strftime("%H:%M:%S.%f")[:-3]
        case tuple() | list() | frozenset():
            return ", ".join(in_words(entry) for entry in value) or "none"
        case str():
            return value
    return str(as_plain(value)) if not isinstance(value, dict) else json_line(as_plain(value))


def call_in_words(call: Call) -> str:
    """Tell a call: which way, who, what it does.

    Args:
        call: The call.

    Returns:
        One line.
    """
    sign = {CallDirection.OUT: "to", CallDirection.IN: "from"}.get(call.direction, "with")
    state = "ended" if call.state is CallState.NONE else call.state.name.lower()
    return _joined((f"{sign} {in_words(call.other)}", state, "stale" if call.stale else ""))


def durations_in_words(call: Call) -> str:
    """Tell how long a call rang, talked, was held and lasted.

    Args:
        call: The call.

    Returns:
        One line.
    """
    durations = {
        "ringing": call.ringing_seconds,
        "talk": call.talk_seconds,
        "hold": call.hold_seconds,
        "total": call.total_seconds,
    }
    return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in durations.items())


def event_in_words(event: Event) -> str:
    """Tell what an event says, without its name.

    Args:
        event: The event.

    Returns:
        One line.
    """
    match event:
        case CallEvent():
            return _joined((*_call_event(event), call_in_words(event.call)))
        case LineStateChanged():
            may = [f"may be done: {in_words(event.features)}"]
            if len(event.calls) > 1:
                may.extend(f"{in_words(call.other)}: {in_words(call.features)}" for call in event.calls)
            return "; ".join(may)
        case CurrentCallChanged():
            return call_in_words(event.call) if event.call else "no call"
        case AgentStateChanged():
            return in_words(event.agent)
        case CallCentreModeChanged():
            return "on" if event.on else "off"
        case Initialized():
            return f"own numbers: {in_words(event.own_numbers)}; can: {in_words(event.features)}"
        case Disconnected():
            return in_words(event.error) if event.error else "closed by the host"
        case ProviderStateChanged():
            return _joined(
                (
                    in_words(event.state),
                    f"attempt {event.attempt}" if event.attempt else "",
                    f"next try at {in_words(event.next_try_at)}" if event.next_try_at else "",
                    in_words(event.error) if event.error else "",
                )
            )
        case SnapshotTaken():
            return _joined((_count(event.calls), "" if event.complete else "incomplete"))
        case ErrorOccurred():
            return _joined((in_words(event.error), call_in_words(event.call) if event.call else ""))
        case ResyncRequired():
            missed = "an unknown number of" if event.missed is None else event.missed
            return f"missed {missed} events; {_count(event.calls)}"
        case RawMessage():
            raw = json_line(as_plain(event.raw))
            return raw if len(raw) <= _LONGEST_RAW else raw[:_LONGEST_RAW] + "…"
    return ""


def report_in_words(report: Report) -> str:
    """Tell what a report says, without its name.

    Args:
        report: The report.

    Returns:
        One line: what differs from the class's defaults.
    """
    if isinstance(report, Snapshot):
        return _joined((_count(report.calls), "" if report.complete else "incomplete"))
    return "; ".join(
        f"{field.name.replace('_', ' ')} {in_words(value)}"
        for field in attrs.fields(type(report))
        if field.name not in _NOT_TOLD and (value := getattr(report, field.name)) != field.default and value != ()
    )


def _call_event(event: CallEvent) -> tuple[str, ...]:
    call = event.call
    match event:
        case CallHeld() | CallUnheld():
            by = {Side.OWN: "by us", Side.OTHER: "by the other party"}.get(event.by, "")
            return (by,)
        case CallFinished():
            return (
                in_words(call.cause) + (f" ({call.pbx_cause})" if call.pbx_cause else ""),
                "inferred" if call.inferred else "",
                durations_in_words(call),
            )
        case CallInfoChanged():
            return (", ".join(event.changed),)
        case DtmfEntered():
            return (event.digits, f"by {in_words(event.by)}")
        case CallSaved():
            return (event.database_id,)
        case WebRtcQuality():
            return _quality(event)
        case RecordingStateChanged():
            return ("recorded" if call.recording else "not recorded",)
        case CallStarted() | CallConnected() | CallBusy():
            return ()
    media_id = getattr(event, "media_id", "")
    return (f"media {media_id}",) if media_id else ()


def _quality(event: WebRtcQuality) -> tuple[str, ...]:
    delay = event.round_trip_seconds
    return (
        f"MOS {event.mos:.1f}",
        f"loss {event.loss:.1%}",
        f"jitter {event.jitter_seconds * 1000:.0f} ms",
        "" if delay is None else f"round trip {delay * 1000:.0f} ms",
        f"media {event.media_id}" if event.media_id else "",
    )


def _count(calls: tuple[object, ...]) -> str:
    return f"{len(calls)} call{'' if len(calls) == 1 else 's'}"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)
