"""Faults in when something is said to have happened."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import attrs

from cti_framework.reports import CallSnapshot, Ended, Report
from tests.conformance.mutants.making import Misquoting, Misreporting, Mutant

__all__ = ["MUTANTS"]


class NaiveTimes(Misreporting):
    """Says times without a time zone."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, at=report.at.replace(tzinfo=None))]


class LocalTimes(Misreporting):
    """Says times in a zone of its own."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, at=report.at.astimezone(timezone(timedelta(hours=2))))]


class SecondsSinceThen(Misreporting):
    """Says times on the PBX's clock, which began at another time."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, at=report.at - timedelta(hours=1))]


class AtNoTime(Misreporting):
    """Says a number for a time."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, at=cast(Any, report.at.timestamp()))]


class EndBeforeBeginning(Misreporting):
    """Says of an end that it was long ago."""

    def said(self, report: Report) -> Iterable[Report]:
        return [attrs.evolve(report, at=datetime(2001, 1, 1, tzinfo=UTC)) if isinstance(report, Ended) else report]


class NaiveSnapshot(Misquoting):
    """Says times without a time zone in a snapshot."""

    def shown(self, call: CallSnapshot) -> Iterable[CallSnapshot]:
        return [attrs.evolve(call, started_at=None if call.started_at is None else call.started_at.replace(tzinfo=None))]


MUTANTS = (
    Mutant(NaiveTimes, ("test_times_are_on_the_sessions_clock",)),
    Mutant(LocalTimes, ("test_times_are_on_the_sessions_clock",)),
    Mutant(SecondsSinceThen, ("test_times_are_on_the_sessions_clock",)),
    Mutant(AtNoTime, ("test_times_are_on_the_sessions_clock",)),
    Mutant(EndBeforeBeginning, ("test_reports_are_in_order",)),
    Mutant(NaiveSnapshot, ("test_a_snapshot_of_a_call_that_is_talked_on",)),
)
