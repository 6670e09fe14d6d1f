"""Reports in a few words, so that what is expected of a capture can be read."""

from __future__ import annotations

from collections.abc import Iterable

from cti_framework.reports import (
    Busy,
    CallReport,
    Connected,
    Ended,
    Held,
    InfoChanged,
    Offered,
    Originated,
    Report,
    Retrieved,
    Tones,
)


def in_words(reports: Iterable[Report]) -> str:
    """One line for all: calls are numbered in the order in which they appear."""
    calls: dict[str, int] = {}
    words = []
    for report in reports:
        assert isinstance(report, CallReport)
        number = calls.setdefault(report.call_id, len(calls) + 1)
        words.append(f"{number} {_words(report)}")
    return ", ".join(words)


def _words(report: CallReport) -> str:
    name = type(report).__name__.lower()
    match report:
        case Originated() | Offered():
            return f"{name} {report.other.number or '?'}{' ' + report.other.name if report.other.name else ''}"
        case Connected() | InfoChanged():
            return f"{name} {report.other.number}" if report.other is not None else name
        case Ended():
            return f"{name} {report.cause.value}"
        case Busy():
            return f"{name} {report.pbx_cause}"
        case Held() | Retrieved():
            return f"{name} by {report.by.value}"
        case Tones():
            return f"{report.digits} by {report.by.value}"
        case _:
            return name
