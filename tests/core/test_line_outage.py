"""What a line makes of a call after an outage: what it must not believe any more, and what it must not lose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cti_framework.calls import CallDirection, CallFeature, CallState, Party, Side
from cti_framework.events import CallInfoChanged, Event, LineStateChanged, ProviderState, RecordingStateChanged
from cti_framework.line import Line
from cti_framework.reports import (
    Allowed,
    CallReport,
    CallSnapshot,
    Connected,
    InfoChanged,
    Muted,
    Offered,
    RecordingReport,
    Report,
    Snapshot,
    Started,
    Tones,
)
from tests.core.scripted import ALL_CALLS, snapshot_of

F = CallFeature
T0 = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def after_an_outage(*said: Report) -> Line:
    """A line with one call, whose connection was lost and is back."""
    line = Line("epoch", waits_for_calls=True)
    line.apply(Started(at=T0, features=ALL_CALLS))
    line.apply(Snapshot(at=T0))
    for report in (Offered(at=at(1), call_id="a", other=Party("0501")), Connected(at=at(2), call_id="a"), *said):
        line.apply(report)
    lose(line)
    return line


def lose(line: Line, seconds: float = 100) -> None:
    line.connection_changed(ProviderState.RECONNECTING, at(seconds))
    line.apply(Started(at=at(seconds + 10), features=ALL_CALLS))


def take(line: Line, *calls: CallSnapshot, asked: int | None = None, complete: bool = True, seconds: float = 111) -> list[Event]:
    snapshot = Snapshot(at=at(seconds), calls=calls, complete=complete)
    return line.apply_snapshot(snapshot, asked_at_seq=line.seq if asked is None else asked, asked_at=at(seconds - 0.1))


# A call that may be over takes no line away -----------------------------------------------------------------------------


def test_a_call_of_which_a_look_told_nothing_takes_no_line_away() -> None:
    line = after_an_outage()
    assert F.DIAL not in line.features
    told = take(line, complete=False)
    assert [(call.stale, call.features) for call in line.calls] == [(True, F.NONE)]
    assert line.features == F.DIAL | F.MONITOR
    (drawn,) = (event for event in told if isinstance(event, LineStateChanged))
    assert (drawn.features, drawn.calls) == (line.features, line.calls)


def test_once_it_is_known_to_be_there_it_does() -> None:
    line = after_an_outage()
    take(line, complete=False)
    told = line.apply(Connected(at=at(120), call_id="a", other=Party("0502")))
    assert F.DIAL not in line.features
    assert F.HOLD in line.features
    assert [event.features for event in told if isinstance(event, LineStateChanged)][-1] == line.features


def test_so_does_one_that_is_asked_for_again() -> None:
    line = after_an_outage()
    asked = line.seq
    line.apply(InfoChanged(at=at(110.5), call_id="a", attributes={"x": 1}))
    take(line, asked=asked)
    assert (line.left_out, line.calls[0].stale, line.features) == (("a",), True, F.MONITOR)


def test_so_does_one_beside_a_call_that_is_there() -> None:
    line = after_an_outage()
    take(line, snapshot_of("b"), complete=False)
    assert [(call.id, call.stale) for call in line.calls] == [("a", True), ("b", False)]
    assert F.DIAL not in line.features


def test_before_the_look_and_in_the_outage_nothing_is_offered() -> None:
    line = after_an_outage()
    take(line, complete=False)
    line.connection_changed(ProviderState.RECONNECTING, at(200))
    assert line.features == F.NONE
    line.apply(Started(at=at(210), features=ALL_CALLS))
    assert line.features == F.NONE


# Recording, mute, limits ------------------------------------------------------------------------------------------------

RECORDED = RecordingReport(at=at(3), call_id="a", on=True)
MUTED = Muted(at=at(3), call_id="a", on=True)


def test_whether_it_is_recorded_and_muted_is_as_the_pbx_says() -> None:
    line = after_an_outage(RECORDED, MUTED)
    take(line, snapshot_of("a"), seconds=110)
    told = take(line, snapshot_of("a", recording=False, muted=False))
    assert (line.calls[0].recording, line.calls[0].muted) == (False, False)
    assert [event.call.recording for event in told if isinstance(event, RecordingStateChanged)] == [False]
    assert [event.changed for event in told if isinstance(event, CallInfoChanged)] == [("muted",)]
    told = take(line, snapshot_of("a", recording=True, muted=True), seconds=112)
    assert (line.calls[0].recording, line.calls[0].muted) == (True, True)
    assert len(told) == 3
    assert len(take(line, snapshot_of("a", recording=True, muted=True), seconds=113)) == 1


def test_where_the_pbx_does_not_say_it_stays_as_it_was() -> None:
    line = after_an_outage(RECORDED, MUTED)
    take(line, snapshot_of("a"))
    assert (line.calls[0].recording, line.calls[0].muted, line.refusals) == (True, True, {})


@pytest.mark.parametrize(("recording", "events"), [(None, []), (False, []), (True, [True])])
def test_a_call_that_a_snapshot_begins_is_recorded_as_it_says(recording: bool | None, events: list[bool]) -> None:
    line = after_an_outage()
    told = take(line, snapshot_of("b", recording=recording, muted=True))
    (call,) = line.calls
    assert (call.recording, call.muted) == (recording, True)
    assert [event.call.recording for event in told if isinstance(event, RecordingStateChanged)] == events


@pytest.mark.parametrize("report", [RECORDED, MUTED])
@pytest.mark.parametrize("is_repeated", [False, True])
def test_what_was_reported_since_the_question_is_newer(report: CallReport, is_repeated: bool) -> None:
    line = after_an_outage(*[report] * is_repeated)
    asked = line.seq
    line.apply(report)
    name = "recording" if report is RECORDED else "muted"
    seen = snapshot_of("a", recording=False) if name == "recording" else snapshot_of("a", muted=False)
    take(line, seen, asked=asked)
    assert getattr(line.calls[0], name) is True
    # What the call does was not told since: that is taken over.
    assert (line.calls[0].stale, line.left_out) == (False, ("a",))
    take(line, seen, seconds=113)
    assert (getattr(line.calls[0], name), line.left_out) == (False, ())


def test_what_is_no_boolean_is_not_known() -> None:
    line = after_an_outage(RECORDED)
    take(line, snapshot_of("a", recording="no"))
    assert (line.calls[0].recording, line.refusals) == (True, {"bad_report": 1})


LIMIT = Allowed(at=at(3), call_id="a", features=F.DROP)


def test_a_limit_of_before_the_outage_holds_no_longer_unless_it_is_said_again() -> None:
    line = after_an_outage(LIMIT)
    take(line, snapshot_of("a"))
    assert F.HOLD in line.calls[0].features
    line = after_an_outage(LIMIT)
    take(line, snapshot_of("a", allowed=F.DROP))
    assert line.calls[0].features == F.DROP
    take(line, snapshot_of("a"), seconds=112)
    assert line.calls[0].features == F.DROP
    lose(line, 200)
    take(line, snapshot_of("a"), seconds=211)
    assert line.calls[0].features & F.HOLD


def test_a_limit_that_was_told_since_the_connection_was_made_holds() -> None:
    line = after_an_outage(LIMIT)
    line.apply(LIMIT)
    take(line, snapshot_of("a"))
    take(line, snapshot_of("a"), seconds=113)
    assert (line.calls[0].features, line.calls[0].stale) == (F.DROP, False)


def test_a_limit_that_a_late_beginning_told_since_the_connection_was_made_holds() -> None:
    adopted = Connected(at=at(3), call_id="b"), Allowed(at=at(3), call_id="b", features=F.HOLD)
    line = after_an_outage(*adopted)
    told = line.apply(Offered(at=at(110.5), call_id="b", other=Party("0502"), allowed=F.DROP))
    assert {event.call.features for event in told if isinstance(event, CallInfoChanged)} == {F.DROP}
    take(line, snapshot_of("a"), snapshot_of("b"), seconds=113)
    assert line.calls[1].features == F.DROP


def test_a_limit_that_was_told_since_the_question_is_newer_also_of_a_stale_call() -> None:
    line = after_an_outage()
    asked = line.seq
    line.apply(Allowed(at=at(110.6), call_id="a", features=F.DROP | F.HOLD))
    take(line, snapshot_of("a", allowed=F.DROP), asked=asked)
    assert line.left_out == ("a",)
    take(line, snapshot_of("a", allowed=F.DROP | F.HOLD), seconds=113)
    assert line.calls[0].features == F.DROP | F.HOLD
    line = after_an_outage()
    asked = line.seq
    line.apply(Allowed(at=at(110.6), call_id="a", features=F.DROP | F.HOLD))
    line.apply(Connected(at=at(110.7), call_id="a"))
    take(line, snapshot_of("a", allowed=F.DROP), asked=asked)
    assert line.calls[0].features == F.DROP | F.HOLD


# A guess can be corrected -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "report",
    [RecordingReport(at=at(110.5), call_id="b", on=True), Tones(at=at(110.5), call_id="b", digits="1", by=Side.OTHER)],
)
def test_a_call_that_rings_may_be_recorded_or_hear_tones(report: CallReport) -> None:
    line = after_an_outage()
    asked = line.seq
    line.apply(report)
    seen = snapshot_of("b", CallState.ALERTING, direction=CallDirection.IN)
    take(line, seen, asked=asked)
    take(line, seen, seconds=113)
    (call,) = line.calls
    assert (call.state, call.features, call.stale) == (CallState.ALERTING, F.ANSWER | F.DROP, False)
