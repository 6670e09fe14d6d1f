"""The line by examples: whole scenarios, each event in its order, and what is offered at each step."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from cti_framework import events, reports
from cti_framework import line as line_module
from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import Call, CallDirection, CallFeature, CallRole, CallState, EndCause, Party, Redirection, Side
from cti_framework.errors import NetworkError, ProtocolError
from cti_framework.events import Event, ProviderState
from cti_framework.line import CONSULTING, FEATURES, TRANSITIONS, Line, Refusal, Situation

F = CallFeature
EVERYTHING = ~F.NONE
START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
OPERATOR, SUBSCRIBER, COLLEAGUE = Party("100", "Operator"), Party("200", "Subscriber"), Party("300", "Colleague")
TALK = FEATURES[Situation(CallState.CONNECTED)]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


ABOUT_CALLS = [
    kind
    for kind in (getattr(reports, name) for name in reports.__all__)
    if issubclass(kind, reports.CallReport) and kind not in (reports.CallReport, reports.IdChanged)
]


class Desk:
    """A line in service, and what was said and told."""

    def __init__(self, features: CallFeature = EVERYTHING, *, raw: bool = False, started: bool = True) -> None:
        self.refused: list[Refusal] = []
        self.line = Line("epoch", raw=raw, on_refused=self.refused.append)
        if started:
            self.line.connection_changed(ProviderState.CONNECTING, START, attempt=1)
            self.line.apply(reports.Started(at=START, features=features, own_numbers=("100",)))

    def say(self, *said: reports.Report) -> list[Event]:
        return [event for report in said for event in self.line.apply(report)]

    def call(self, call_id: str = "a") -> Call:
        call = self.line.find(call_id)
        assert call is not None
        return call

    def talking(self, call_id: str = "a", seconds: float = 0) -> list[Event]:
        return self.say(
            reports.Originated(at=at(seconds), call_id=call_id, other=SUBSCRIBER),
            reports.Connected(at=at(seconds), call_id=call_id),
        )

    def ringing(self, call_id: str = "b", seconds: float = 0) -> list[Event]:
        return self.say(reports.Offered(at=at(seconds), call_id=call_id, other=COLLEAGUE))

    def held(self, call_id: str = "a", by: Side = Side.OWN, seconds: float = 0) -> list[Event]:
        return self.say(reports.Held(at=at(seconds), call_id=call_id, by=by))

    def consulting(self, talking: bool = True) -> None:
        self.talking("a")
        self.held("a")
        self.say(reports.Originated(at=START, call_id="b", other=COLLEAGUE, parent_id="a"))
        if talking:
            self.say(reports.Connected(at=START, call_id="b"))

    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.refused]

    def lose(self, seconds: float = 0) -> list[Event]:
        return self.line.connection_changed(ProviderState.RECONNECTING, at(seconds), attempt=1, error=NetworkError("gone"))

    def back(self, seconds: float = 0, features: CallFeature = EVERYTHING) -> list[Event]:
        return self.say(reports.Started(at=at(seconds), features=features, own_numbers=("100",)))

    def snapshot(
        self, *calls: reports.CallSnapshot, seconds: float = 0, complete: bool = True, asked_at_seq: int | None = None
    ) -> list[Event]:
        snapshot = reports.Snapshot(at=at(seconds), calls=calls, complete=complete)
        if asked_at_seq is None:
            return self.line.apply(snapshot)
        return self.line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq)


def item(call_id: str = "a", state: CallState = CallState.CONNECTED, **fields: Any) -> reports.CallSnapshot:
    given: dict[str, Any] = {"direction": CallDirection.OUT, "own": OPERATOR, "other": SUBSCRIBER}
    return reports.CallSnapshot(call_id=call_id, state=state, **{**given, **fields})


def names(told: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


def only(told: list[Event], kind: type[Event]) -> Any:
    (event,) = (event for event in told if type(event) is kind)
    return event


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ------------------------------------------------------------------ the tables


def test_every_state_has_its_features() -> None:
    assert {situation.state for situation in FEATURES} == set(CallState)


def test_unhold_is_offered_only_while_we_hold() -> None:
    for situation, features in FEATURES.items():
        ours = situation.detail.startswith(("by own", "by both"))
        assert (F.UNHOLD in features) == ours, situation


def test_every_open_state_can_end_and_hold_is_not_a_base_state() -> None:
    for moves in TRANSITIONS.values():
        assert moves[reports.Ended] is CallState.NONE
        assert CallState.HELD not in moves.values()
    assert set(TRANSITIONS) == set(CallState) - {CallState.NONE, CallState.HELD}


def test_nothing_but_the_end_ends_a_call() -> None:
    for moves in TRANSITIONS.values():
        assert [kind for kind, state in moves.items() if state is CallState.NONE] == [reports.Ended]


def test_the_module_gives_out_its_tables() -> None:
    assert {name for name in line_module.__all__ if hasattr(line_module, name)} == set(line_module.__all__)


# ------------------------------------------------------------------ a call's life


def test_an_outgoing_call_from_dialling_to_the_end(desk: Desk) -> None:
    told = desk.say(reports.Originated(at=at(0), call_id="a", other=SUBSCRIBER, attributes={"order": 7}))
    assert names(told) == ["CallStarted", "CurrentCallChanged", "LineStateChanged"]
    call = desk.call()
    assert (call.direction, call.state, call.role) == (CallDirection.OUT, CallState.ALERTING, CallRole.CURRENT)
    assert (call.own, call.other, call.features) == (Party("100"), SUBSCRIBER, F.DROP)
    assert desk.line.features == F.DROP | F.MONITOR

    told = desk.say(reports.Answered(at=at(1), call_id="a"))
    assert names(told) == ["CallInfoChanged"]
    assert only(told, events.CallInfoChanged).changed == ("answered_at",)

    told = desk.say(reports.Connected(at=at(3), call_id="a", other=Party("200", "Known now")))
    assert names(told) == ["CallConnected", "LineStateChanged"]
    call = desk.call()
    assert (call.state, call.features, call.other.name) == (CallState.CONNECTED, TALK, "Known now")
    assert (call.answered_at, call.connected_at) == (at(1), at(3))

    told = desk.say(reports.Held(at=at(5), call_id="a"))
    assert names(told) == ["CallHeld", "LineStateChanged"]
    assert desk.call().features == F.DROP | F.BLIND_TRANSFER | F.CONSULT | F.UNHOLD
    desk.say(reports.Retrieved(at=at(9), call_id="a"))
    told = desk.say(reports.Tones(at=at(10), call_id="a", digits="12#", by=Side.OWN))
    assert names(told) == ["DtmfEntered"]
    assert (only(told, events.DtmfEntered).digits, only(told, events.DtmfEntered).by) == ("12#", Side.OWN)

    told = desk.say(reports.Ended(at=at(20), call_id="a", cause=EndCause.NORMAL, pbx_cause="16"))
    assert names(told) == ["CallFinished", "CurrentCallChanged", "LineStateChanged"]
    ended = only(told, events.CallFinished).call
    assert (ended.state, ended.features, ended.cause, ended.pbx_cause) == (CallState.NONE, F.NONE, EndCause.NORMAL, "16")
    assert (ended.ringing_seconds, ended.talk_seconds, ended.hold_seconds) == (3.0, 13.0, 4.0)
    assert ended.total_seconds == 20.0
    assert not ended.inferred
    assert desk.line.calls == ()
    assert desk.line.features == F.DIAL | F.MONITOR
    assert desk.line.has_ended("a")
    assert desk.refused == []


def test_an_incoming_call_is_answered(desk: Desk) -> None:
    redirection = Redirection(by="900", to="100", at=START)
    told = desk.say(reports.Offered(at=at(0), call_id="a", other=SUBSCRIBER, own=OPERATOR, redirections=(redirection,)))
    call = only(told, events.CallStarted).call
    assert (call.direction, call.own, call.redirections) == (CallDirection.IN, OPERATOR, (redirection,))
    assert call.features == F.ANSWER | F.DROP
    desk.say(reports.Answered(at=at(2), call_id="a"))
    assert desk.call().features == F.DROP
    desk.say(reports.Connected(at=at(3), call_id="a"))
    assert desk.call().features == TALK


def test_an_incoming_call_that_is_not_answered_is_missed(desk: Desk) -> None:
    desk.ringing("a")
    ended = only(desk.say(reports.Ended(at=at(20), call_id="a", cause=EndCause.NO_ANSWER)), events.CallFinished).call
    assert ended.missed
    assert (ended.ringing_seconds, ended.talk_seconds) == (20.0, 0.0)


def test_a_connection_without_an_answer_implies_one(desk: Desk) -> None:
    desk.talking(seconds=4)
    assert desk.call().answered_at == at(4)


def test_a_busy_far_end(desk: Desk) -> None:
    desk.say(reports.Originated(at=at(0), call_id="a", other=SUBSCRIBER))
    told = desk.say(reports.Busy(at=at(1), call_id="a", pbx_cause="USER_BUSY"))
    assert names(told) == ["CallBusy", "LineStateChanged"]
    assert (desk.call().state, desk.call().features) == (CallState.BUSY, F.DROP)
    assert desk.held() == []
    assert desk.reasons() == ["not_in_this_state"]
    ended = only(desk.say(reports.Ended(at=at(3), call_id="a", cause=EndCause.BUSY)), events.CallFinished).call
    assert (ended.cause, ended.pbx_cause) == (EndCause.BUSY, "USER_BUSY")


def test_a_busy_tone_is_held_by_nobody(desk: Desk) -> None:
    desk.say(reports.Originated(at=at(0), call_id="a", other=SUBSCRIBER))
    desk.held(by=Side.OWN, seconds=1)
    desk.held(by=Side.OTHER, seconds=1)
    told = desk.say(reports.Busy(at=at(2), call_id="a"))
    assert names(told) == ["CallUnheld", "CallUnheld", "CallBusy", "LineStateChanged"]
    assert desk.call().held_by == frozenset()


def test_a_conference_and_back(desk: Desk) -> None:
    desk.talking()
    told = desk.say(reports.Conferenced(at=at(5), call_id="a"))
    assert names(told) == ["CallInfoChanged", "LineStateChanged"]
    assert only(told, events.CallInfoChanged).changed == ("state",)
    assert desk.call().features == FEATURES[Situation(CallState.CONFERENCED)]
    assert desk.say(reports.Conferenced(at=at(6), call_id="a")) == []
    desk.say(reports.Connected(at=at(7), call_id="a"))
    assert desk.call().state is CallState.CONNECTED
    assert desk.reasons() == ["repeated"]


def test_a_call_that_begins_as_a_conference_is_connected_once(desk: Desk) -> None:
    desk.ringing("a")
    assert "CallConnected" in names(desk.say(reports.Conferenced(at=at(1), call_id="a")))
    assert "CallConnected" not in names(desk.say(reports.Connected(at=at(2), call_id="a")))


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (reports.MediaStarted(at=START, call_id="a", media_id="m"), events.WebRtcStarted),
        (reports.MediaVideoStarted(at=START, call_id="a", media_id="m"), events.WebRtcVideoStarted),
        (reports.MediaEnded(at=START, call_id="a", media_id="m"), events.WebRtcDestroyed),
    ],
)
def test_media(desk: Desk, report: reports.Report, kind: type[Event]) -> None:
    desk.talking()
    assert only(desk.say(report), kind).media_id == "m"


def measured(**fields: Any) -> reports.MediaMeasured:
    figures: dict[str, Any] = {"mos": 4.1, "loss": 0.01, "jitter_seconds": 0.002, "round_trip_seconds": 0.03}
    return reports.MediaMeasured(at=START, call_id="a", media_id="m", **(figures | fields))


def test_the_quality_of_sound_is_told(desk: Desk) -> None:
    desk.talking()
    told = only(desk.say(measured()), events.WebRtcQuality)
    assert (told.media_id, told.mos, told.loss, told.jitter_seconds, told.round_trip_seconds) == ("m", 4.1, 0.01, 0.002, 0.03)
    assert only(desk.say(measured(round_trip_seconds=None)), events.WebRtcQuality).round_trip_seconds is None


@pytest.mark.parametrize(
    "figure",
    [{"mos": float("nan")}, {"loss": -0.1}, {"jitter_seconds": float("inf")}, {"round_trip_seconds": "1"}, {"mos": None}],
)
def test_a_quality_that_is_no_figure_is_refused(desk: Desk, figure: dict[str, Any]) -> None:
    desk.talking()
    assert desk.say(measured(**figure)) == []
    assert desk.reasons() == ["bad_report"]


@pytest.mark.parametrize("kind", [reports.Offered, reports.Originated])
def test_no_event_offers_what_the_pbx_does_not_accept_from_the_beginning(desk: Desk, kind: type[Any]) -> None:
    told = desk.say(kind(at=START, call_id="a", other=SUBSCRIBER, allowed=F.DROP))
    assert told
    assert all(F.ANSWER not in event.call.features for event in told if isinstance(event, events.CallEvent))
    assert desk.call().features == F.DROP
    desk.say(reports.Allowed(at=at(1), call_id="a", features=None))
    assert (F.ANSWER in desk.call().features) is (kind is reports.Offered)


def test_the_beginning_of_an_adopted_call_may_narrow_it(desk: Desk) -> None:
    desk.say(reports.InfoChanged(at=START, call_id="a", attributes={"k": 1}))
    desk.say(reports.Offered(at=at(1), call_id="a", other=SUBSCRIBER, allowed=F.DROP))
    assert desk.call().features == F.DROP


def test_recording_and_mute_are_told_when_they_change(desk: Desk) -> None:
    desk.talking()
    assert desk.call().recording is None
    assert only(desk.say(reports.RecordingReport(at=START, call_id="a", on=True)), events.RecordingStateChanged).call.recording
    assert desk.say(reports.RecordingReport(at=START, call_id="a", on=True)) == []
    told = desk.say(reports.Muted(at=START, call_id="a", on=True), reports.Muted(at=START, call_id="a", on=True))
    assert names(told) == ["CallInfoChanged"]
    assert only(told, events.CallInfoChanged).changed == ("muted",)


def test_what_becomes_known_is_told_once(desk: Desk) -> None:
    desk.talking()
    news = reports.InfoChanged(at=at(1), call_id="a", other=COLLEAGUE, attributes={"k": "v"})
    told = desk.say(news, news)
    assert names(told) == ["CallInfoChanged"]
    assert set(only(told, events.CallInfoChanged).changed) == {"other", "attributes"}


def test_a_call_keeps_attributes_of_its_own(desk: Desk) -> None:
    mine = {"k": "v"}
    desk.say(reports.Originated(at=START, call_id="a", other=SUBSCRIBER, attributes=mine))
    call = desk.call()
    mine["k"] = "changed"
    assert call.attributes == {"k": "v"}
    with pytest.raises(TypeError):
        call.attributes["k"] = "x"  # type: ignore[index] # that it cannot be written is what is shown


# ------------------------------------------------------------------ hold


@pytest.mark.parametrize(
    ("by", "features"),
    [
        (Side.OWN, F.DROP | F.BLIND_TRANSFER | F.CONSULT | F.UNHOLD),
        (Side.OTHER, F.DROP | F.BLIND_TRANSFER | F.CONSULT | F.HOLD),
        (Side.UNKNOWN, F.DROP | F.BLIND_TRANSFER | F.CONSULT),
    ],
)
def test_hold_by_each(desk: Desk, by: Side, features: CallFeature) -> None:
    desk.talking()
    told = desk.held(by=by, seconds=1)
    assert only(told, events.CallHeld).by is by
    assert (desk.call().state, desk.call().held_by, desk.call().features) == (CallState.HELD, frozenset({by}), features)
    assert desk.held(by=by, seconds=2) == []
    assert only(desk.say(reports.Retrieved(at=at(3), call_id="a", by=by)), events.CallUnheld).by is by
    assert desk.say(reports.Retrieved(at=at(4), call_id="a", by=by)) == []
    assert desk.reasons() == ["repeated", "repeated"]
    assert (desk.call().state, desk.call().features) == (CallState.CONNECTED, TALK)
    assert (desk.call().hold_seconds, desk.call().talk_seconds) == (2.0, 1.0)


def test_both_hold_and_it_is_held_until_both_took_it_back(desk: Desk) -> None:
    desk.talking()
    desk.held(by=Side.OTHER, seconds=1)
    desk.held(by=Side.OWN, seconds=2)
    assert desk.call().held_by == {Side.OWN, Side.OTHER}
    assert F.UNHOLD in desk.call().features
    assert F.HOLD not in desk.call().features
    told = desk.say(reports.Retrieved(at=at(3), call_id="a", by=Side.OWN))
    assert names(told) == ["CallUnheld", "LineStateChanged"]
    assert (desk.call().state, desk.call().held_by) == (CallState.HELD, frozenset({Side.OTHER}))
    assert F.UNHOLD not in desk.call().features
    desk.say(reports.Retrieved(at=at(4), call_id="a", by=Side.OTHER))
    assert desk.call().state is CallState.CONNECTED
    assert desk.call().hold_seconds == 3.0


@pytest.mark.parametrize(
    ("holders", "by", "remain"),
    [
        ([Side.UNKNOWN], Side.OWN, set()),
        ([Side.UNKNOWN], Side.OTHER, set()),
        ([Side.OWN], Side.UNKNOWN, set()),
        ([Side.OTHER], Side.UNKNOWN, set()),
        ([Side.OWN, Side.UNKNOWN], Side.OTHER, {Side.OWN}),
        ([Side.OWN, Side.OTHER], Side.UNKNOWN, {Side.OWN, Side.OTHER}),
        ([Side.OWN], Side.OTHER, {Side.OWN}),
    ],
)
def test_who_took_it_back_where_the_pbx_does_not_name_one(desk: Desk, holders: list[Side], by: Side, remain: set[Side]) -> None:
    desk.talking()
    for holder in holders:
        desk.held(by=holder)
    desk.say(reports.Retrieved(at=at(1), call_id="a", by=by))
    assert desk.call().held_by == remain
    assert desk.reasons() == (["repeated"] if len(remain) == len(holders) else [])


def test_a_call_held_before_it_is_connected_rings_again_when_taken_back(desk: Desk) -> None:
    desk.ringing("a")
    desk.held(seconds=2)
    assert (desk.call().state, desk.call().features) == (CallState.HELD, F.DROP | F.UNHOLD)
    desk.say(reports.Retrieved(at=at(5), call_id="a"))
    assert (desk.call().state, desk.call().features) == (CallState.ALERTING, F.ANSWER | F.DROP)
    desk.say(reports.Connected(at=at(6), call_id="a"), reports.Ended(at=at(10), call_id="a"))


def test_a_held_call_can_be_connected_and_stays_held(desk: Desk) -> None:
    desk.ringing("a")
    desk.held(seconds=1)
    assert "CallConnected" in names(desk.say(reports.Connected(at=at(2), call_id="a")))
    assert desk.call().state is CallState.HELD


def test_ending_a_held_call_releases_it(desk: Desk) -> None:
    desk.talking()
    desk.held(seconds=1)
    ended = only(desk.say(reports.Ended(at=at(4), call_id="a")), events.CallFinished).call
    assert (ended.state, ended.held_by, ended.hold_seconds) == (CallState.NONE, frozenset(), 3.0)


# ------------------------------------------------------------------ several calls


def test_a_second_caller_waits_and_is_answered(desk: Desk) -> None:
    desk.talking("a")
    told = desk.ringing("b")
    assert names(told) == ["CallStarted", "LineStateChanged"]
    assert (desk.call("a").role, desk.call("b").role) == (CallRole.CURRENT, CallRole.WAITING)
    assert desk.call("b").features == F.ANSWER | F.DROP
    assert desk.line.features == TALK | F.MONITOR

    desk.held("a")
    assert desk.line.current == desk.call("a")
    told = desk.say(reports.Connected(at=at(2), call_id="b"))
    assert names(told) == ["CallConnected", "CurrentCallChanged", "LineStateChanged"]
    assert desk.line.current == desk.call("b")
    assert desk.call("a").role is CallRole.WAITING
    assert F.UNHOLD not in desk.call("a").features

    told = desk.say(reports.Ended(at=at(3), call_id="b"))
    assert desk.line.current == desk.call("a")
    assert F.UNHOLD in desk.call("a").features


def test_of_calls_nobody_talks_on_a_held_one_is_dealt_with_first(desk: Desk) -> None:
    desk.talking("a")
    desk.ringing("b")
    desk.say(reports.Originated(at=START, call_id="c", other=COLLEAGUE))
    desk.held("c")
    desk.say(reports.Ended(at=at(1), call_id="a"))
    assert desk.line.current == desk.call("c")


def test_an_enquiry_that_rings(desk: Desk) -> None:
    desk.consulting(talking=False)
    parent, enquiry = desk.call("a"), desk.call("b")
    assert (parent.role, enquiry.role) == (CallRole.CURRENT, CallRole.CONSULT)
    assert desk.line.current == parent
    assert desk.line.consult == enquiry
    assert parent.features == F.DROP | F.CANCEL_TRANSFER
    assert enquiry.features == F.DROP


def test_an_enquiry_that_is_talked_to_and_alternated(desk: Desk) -> None:
    desk.consulting()
    transferring = F.CANCEL_TRANSFER | F.COMPLETE_TRANSFER | F.ALTERNATE | F.CONFERENCE
    assert desk.call("a").features == F.DROP | transferring
    assert desk.call("b").features == TALK & ~(F.CONSULT | F.BLIND_TRANSFER)
    assert desk.line.features == desk.call("a").features | F.MONITOR

    desk.held("b")
    assert F.UNHOLD in desk.call("a").features
    assert F.UNHOLD in desk.call("b").features
    desk.say(reports.Retrieved(at=at(1), call_id="a"))
    assert desk.call("a").features == TALK & ~(F.CONSULT | F.BLIND_TRANSFER) | transferring
    assert F.UNHOLD not in desk.call("b").features
    assert desk.line.current == desk.call("a")


def test_a_completed_transfer_ends_both(desk: Desk) -> None:
    desk.consulting()
    redirection = Redirection(by="100", to="300", at=START)
    told = desk.say(
        reports.Ended(at=at(5), call_id="b", cause=EndCause.TRANSFERRED),
        reports.Ended(at=at(5), call_id="a", cause=EndCause.TRANSFERRED, redirection=redirection),
    )
    first, second = (event.call for event in told if isinstance(event, events.CallFinished))
    assert (first.id, second.id) == ("b", "a")
    assert second.redirections == (redirection,)
    assert desk.line.calls == ()
    assert desk.line.features == F.DIAL | F.MONITOR


def test_a_cancelled_transfer_gives_the_call_back(desk: Desk) -> None:
    desk.consulting()
    desk.say(reports.Ended(at=at(5), call_id="b"))
    assert desk.line.consult is None
    assert desk.call("a").features == FEATURES[Situation(CallState.HELD, "by own")]
    desk.say(reports.Retrieved(at=at(6), call_id="a"))
    assert desk.call("a").features == TALK


def test_an_enquiry_whose_parent_ends_becomes_the_current_call(desk: Desk) -> None:
    desk.consulting()
    told = desk.say(reports.Ended(at=at(5), call_id="a"))
    assert desk.line.current == desk.call("b")
    assert only(told, events.CurrentCallChanged).call == desk.call("b")
    assert desk.call("b").features == TALK


def test_an_enquiry_can_name_its_parent_late_and_by_a_former_identifier(desk: Desk) -> None:
    desk.talking("a")
    desk.held("a")
    desk.talking("b")
    assert desk.call("b").role is CallRole.CURRENT
    desk.say(reports.IdChanged(at=START, call_id="a", new_id="a2"))
    desk.say(reports.InfoChanged(at=START, call_id="b", parent_id="a"))
    assert (desk.call("a").role, desk.call("b").role) == (CallRole.CURRENT, CallRole.CONSULT)


def test_a_parent_may_become_known_by_the_identifier_that_its_enquiry_names(desk: Desk) -> None:
    desk.talking("a")
    desk.held("a")
    desk.say(reports.Originated(at=START, call_id="b", other=COLLEAGUE, parent_id="a2"))
    assert desk.call("b").role is CallRole.WAITING
    told = desk.say(reports.IdChanged(at=START, call_id="a", new_id="a2"))
    assert desk.call("b").role is CallRole.CONSULT
    assert {call.role for call in only(told, events.LineStateChanged).calls} == {CallRole.CURRENT, CallRole.CONSULT}


@pytest.mark.parametrize("parents", [{"a": "b", "b": "a"}, {"a": "a", "b": "b"}, {"a": "b", "b": "c", "c": "a"}])
def test_calls_that_are_each_others_parents_still_have_one_that_is_current(desk: Desk, parents: dict[str, str]) -> None:
    for call_id, parent_id in parents.items():
        desk.say(reports.Originated(at=START, call_id=call_id, other=SUBSCRIBER, parent_id=parent_id))
    assert [call.id for call in desk.line.calls if call.role is CallRole.CURRENT] == ["a"]
    for call_id in parents:
        desk.say(reports.Ended(at=START, call_id=call_id))
    assert desk.line.calls == ()


# ------------------------------------------------------------------ identifiers


def test_a_call_changes_its_identifier_and_is_found_by_all(desk: Desk) -> None:
    desk.talking("a")
    told = desk.say(reports.IdChanged(at=at(1), call_id="a", new_id="b"))
    assert names(told) == ["CallInfoChanged", "LineStateChanged"]
    assert set(only(told, events.CallInfoChanged).changed) == {"id", "former_ids"}
    desk.say(reports.IdChanged(at=at(2), call_id="b", new_id="c"))
    assert desk.call("a") == desk.call("b") == desk.call("c")
    assert desk.call("a").former_ids == ("a", "b")
    desk.held("a", seconds=3)
    assert desk.call("c").state is CallState.HELD
    desk.say(reports.Ended(at=at(4), call_id="b"))
    assert all(desk.line.has_ended(call_id) for call_id in "abc")
    assert desk.say(reports.Held(at=at(5), call_id="a"), reports.Offered(at=at(5), call_id="c", other=SUBSCRIBER)) == []


def test_an_identifier_can_change_back(desk: Desk) -> None:
    desk.talking("a")
    desk.say(reports.IdChanged(at=START, call_id="a", new_id="b"), reports.IdChanged(at=START, call_id="b", new_id="a"))
    assert (desk.call("b").id, desk.call("b").former_ids) == ("a", ("b",))


def test_a_former_identifier_of_one_call_can_become_anothers(desk: Desk) -> None:
    desk.talking("a")
    desk.ringing("b")
    desk.say(reports.IdChanged(at=START, call_id="a", new_id="c"), reports.IdChanged(at=START, call_id="b", new_id="a"))
    assert (desk.call("a").direction, desk.call("c").direction) == (CallDirection.IN, CallDirection.OUT)
    assert desk.call("c").former_ids == ()
    desk.say(reports.Ended(at=START, call_id="c"))
    assert desk.call("a").former_ids == ("b",)
    assert not desk.line.has_ended("a")


def test_two_calls_that_were_seen_to_begin_are_two(desk: Desk) -> None:
    desk.talking("a")
    desk.ringing("b")
    assert desk.say(reports.IdChanged(at=START, call_id="a", new_id="b")) == []
    assert desk.reasons() == ["id_in_use"]
    assert len(desk.line.calls) == 2


def test_a_call_adopted_by_its_new_identifier_before_the_change_is_one_call(desk: Desk) -> None:
    desk.talking("a")
    desk.held("b")
    told = desk.say(reports.IdChanged(at=at(2), call_id="a", new_id="b"))
    ended = only(told, events.CallFinished).call
    assert (ended.id, ended.inferred, ended.cause) == ("a", True, EndCause.RESYNC)
    (call,) = desk.line.calls
    assert (call.id, call.direction, call.other, call.state) == ("b", CallDirection.OUT, SUBSCRIBER, CallState.HELD)


def test_an_end_told_by_the_new_identifier_before_the_change_ends_the_call(desk: Desk) -> None:
    desk.talking("a")
    desk.say(reports.Ended(at=at(2), call_id="b", cause=EndCause.REJECTED))
    told = desk.say(reports.IdChanged(at=at(2), call_id="a", new_id="b"))
    assert only(told, events.CallFinished).call.cause is EndCause.REJECTED
    assert desk.line.calls == ()


def test_an_identifier_of_an_ended_call_is_not_taken(desk: Desk) -> None:
    desk.talking("a")
    desk.say(reports.Ended(at=START, call_id="a"))
    desk.ringing("b")
    desk.say(reports.IdChanged(at=START, call_id="b", new_id="a"))
    assert desk.reasons() == ["id_in_use"]
    assert desk.call("b").state is CallState.ALERTING


def test_what_an_ended_call_is_called_later_stays_ended(desk: Desk) -> None:
    desk.talking("a")
    desk.say(reports.Ended(at=START, call_id="a"), reports.IdChanged(at=START, call_id="a", new_id="b"))
    assert desk.say(reports.Connected(at=START, call_id="b")) == []
    assert desk.line.calls == ()


# ------------------------------------------------------------------ what comes late, twice or out of the blue


def adopted(*said: reports.CallReport) -> tuple[list[str], Call]:
    desk = Desk()
    told = desk.say(*said)
    return [name for name in names(told) if name.startswith("Call") or "Dtmf" in name or "Recording" in name], desk.call()


@pytest.mark.parametrize(
    ("report", "told", "state"),
    [
        (reports.Answered(at=START, call_id="a"), ["CallStarted", "CallInfoChanged"], CallState.ALERTING),
        (reports.Connected(at=START, call_id="a"), ["CallStarted", "CallConnected"], CallState.CONNECTED),
        (reports.Conferenced(at=START, call_id="a"), ["CallStarted", "CallConnected"], CallState.CONFERENCED),
        (reports.Busy(at=START, call_id="a"), ["CallStarted", "CallBusy"], CallState.BUSY),
        (reports.Held(at=START, call_id="a"), ["CallStarted", "CallConnected", "CallHeld"], CallState.HELD),
        (reports.Retrieved(at=START, call_id="a"), ["CallStarted", "CallConnected"], CallState.CONNECTED),
        # A call can be recorded, and tones be heard, while it rings.
        (reports.Tones(at=START, call_id="a", digits="1"), ["CallStarted", "DtmfEntered"], CallState.UNKNOWN),
        (reports.RecordingReport(at=START, call_id="a", on=True), ["CallStarted", "RecordingStateChanged"], CallState.UNKNOWN),
        (reports.InfoChanged(at=START, call_id="a", other=SUBSCRIBER), ["CallStarted", "CallInfoChanged"], CallState.UNKNOWN),
        (reports.Muted(at=START, call_id="a", on=True), ["CallStarted", "CallInfoChanged"], CallState.UNKNOWN),
        (reports.MediaStarted(at=START, call_id="a", media_id="m"), ["CallStarted"], CallState.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, reports.Report) else None,
)
def test_an_unseen_call_is_adopted_by_what_is_said_of_it(report: reports.CallReport, told: list[str], state: CallState) -> None:
    found, call = adopted(report)
    assert found == told
    assert (call.direction, call.state) == (CallDirection.UNKNOWN, state)
    assert (call.connected_at is not None) == ("CallConnected" in told)


@pytest.mark.parametrize(
    "report",
    [
        reports.Ended(at=START, call_id="a"),
        reports.MediaEnded(at=START, call_id="a", media_id="m"),
        reports.Allowed(at=START, call_id="a", features=F.DROP),
        reports.IdChanged(at=START, call_id="a", new_id="b"),
    ],
    ids=lambda report: type(report).__name__,
)
def test_some_reports_adopt_nothing(desk: Desk, report: reports.Report) -> None:
    assert desk.say(report) == []
    assert desk.line.calls == ()
    assert desk.reasons() == ["unknown_call"]


def test_the_beginning_of_an_adopted_call_completes_it(desk: Desk) -> None:
    desk.say(reports.InfoChanged(at=START, call_id="a", attributes={"k": 1}))
    told = desk.say(reports.Offered(at=at(1), call_id="a", other=SUBSCRIBER, own=OPERATOR))
    assert names(told) == ["CallInfoChanged", "LineStateChanged"]
    call = desk.call()
    assert (call.state, call.direction, call.other, call.own) == (CallState.ALERTING, CallDirection.IN, SUBSCRIBER, OPERATOR)
    assert (call.features, call.attributes) == (F.ANSWER | F.DROP, {"k": 1})
    assert desk.say(reports.Offered(at=at(2), call_id="a", other=SUBSCRIBER)) == []
    assert desk.reasons() == ["repeated"]


def test_the_late_beginning_of_a_call_that_is_talked_on_does_not_make_it_ring(desk: Desk) -> None:
    desk.say(reports.Connected(at=START, call_id="a"))
    desk.say(reports.Originated(at=at(1), call_id="a", other=SUBSCRIBER, parent_id=None))
    assert (desk.call().state, desk.call().direction) == (CallState.CONNECTED, CallDirection.OUT)


@pytest.mark.parametrize("kind", ABOUT_CALLS, ids=lambda kind: kind.__name__)
def test_nothing_revives_an_ended_call(desk: Desk, kind: type[reports.CallReport]) -> None:
    desk.talking()
    desk.say(reports.Ended(at=START, call_id="a"))
    figures = {"mos": 4.1, "loss": 0.0, "jitter_seconds": 0.0}
    needed = {"digits": "1", "on": True, "media_id": "m", "features": None, "other": SUBSCRIBER, **figures}
    fields = {field.name: needed[field.name] for field in attrs.fields(kind) if field.name in needed}
    assert desk.say(kind(at=START, call_id="a", **fields)) == []
    assert desk.reasons() == ["ended"]
    assert desk.line.calls == ()


def test_an_end_before_its_beginning_keeps_the_call_hidden(desk: Desk) -> None:
    desk.say(reports.Ended(at=START, call_id="a"))
    assert desk.ringing("a") == []
    assert desk.reasons() == ["unknown_call", "ended"]
    assert not desk.line.has_ended("a")


def test_ended_identifiers_are_remembered_up_to_a_number() -> None:
    line = Line("epoch", remembered_ends=2)
    for call_id in "abc":
        line.apply(reports.Offered(at=START, call_id=call_id, other=SUBSCRIBER))
        line.apply(reports.Ended(at=START, call_id=call_id))
    assert [line.has_ended(call_id) for call_id in "abc"] == [False, True, True]


def test_a_refused_report_changes_nothing(desk: Desk) -> None:
    desk.talking()
    before = desk.call()
    desk.say(
        reports.Answered(at=at(5), call_id="a"),
        reports.Connected(at=at(5), call_id="a", other=SUBSCRIBER),
        reports.Busy(at=at(5), call_id="a"),
        reports.Retrieved(at=at(5), call_id="a"),
        reports.Originated(at=at(5), call_id="a", other=COLLEAGUE),
    )
    assert desk.call() == before
    assert desk.reasons() == ["repeated", "repeated", "not_in_this_state", "repeated", "repeated"]
    assert desk.line.refusals == {"repeated": 4, "not_in_this_state": 1}


def test_a_refusal_says_what_it_is_about_and_no_more() -> None:
    refusal = Refusal("ended", reports.Tones(at=START, call_id="a", digits="4711"))
    assert repr(refusal) == "<Refusal ended: Tones about call a>"
    assert repr(Refusal("bad_report", 5)) == "<Refusal bad_report: int>"


def test_times_that_go_backwards_take_nothing_away(desk: Desk) -> None:
    desk.talking(seconds=10)
    desk.held(seconds=5)
    desk.say(reports.Retrieved(at=at(20), call_id="a"), reports.Ended(at=at(1), call_id="a"))
    told = desk.talking("b", seconds=30) + desk.say(reports.Ended(at=at(29), call_id="b"))
    ended = only(told, events.CallFinished).call
    assert (ended.ended_at, ended.total_seconds) == (at(30), 0.0)


def test_a_zone_other_than_utc_is_as_good(desk: Desk) -> None:
    desk.talking()
    desk.held(seconds=0)
    desk.say(reports.Retrieved(at=at(3).astimezone(timezone(timedelta(hours=5))), call_id="a"))
    assert desk.call().hold_seconds == 3.0


# ------------------------------------------------------------------ what a careless plugin fills in


NAIVE = datetime(2025, 3, 1)


@pytest.mark.parametrize(
    "report",
    [
        None,
        5,
        object(),
        reports.Report(at=START),
        reports.CallReport(at=START, call_id="a"),
        reports.Offered(at=NAIVE, call_id="a", other=SUBSCRIBER),
        reports.Offered(at=START.timetz(), call_id="a", other=SUBSCRIBER),  # type: ignore[arg-type] # wrong on purpose
        reports.Offered(at=None, call_id="a", other=SUBSCRIBER),  # type: ignore[arg-type] # wrong on purpose
        reports.Offered(at=START, call_id="", other=SUBSCRIBER),
        reports.Offered(at=START, call_id=7, other=SUBSCRIBER),  # type: ignore[arg-type] # wrong on purpose
        reports.Offered(at=START, call_id=[], other=SUBSCRIBER),  # type: ignore[arg-type] # wrong on purpose
        reports.Snapshot(at=START, calls=None),  # type: ignore[arg-type] # wrong on purpose
        reports.Tones(at=START, call_id="a", digits=5),  # type: ignore[arg-type] # wrong on purpose
        reports.Muted(at=START, call_id="a", on="yes"),  # type: ignore[arg-type] # wrong on purpose
    ],
    ids=repr,
)
def test_a_report_that_cannot_be_read_is_refused_and_nothing_more(desk: Desk, report: Any) -> None:
    assert desk.say(report) == []
    assert desk.reasons() == ["bad_report"]
    assert desk.line.calls == ()


def test_a_call_is_shown_even_if_its_fields_are_filled_in_badly(desk: Desk) -> None:
    wrong: dict[str, Any] = {"other": 5, "own": "100", "parent_id": [], "attributes": "x"}
    desk.say(reports.Originated(at=START, call_id="a", **wrong))
    call = desk.call()
    assert (call.other, call.own, call.parent_id, call.attributes) == (Party(), Party("100"), None, {})
    assert set(desk.reasons()) == {"bad_report"}


def test_a_call_ends_even_if_the_end_is_filled_in_badly(desk: Desk) -> None:
    desk.talking()
    wrong: dict[str, Any] = {"cause": "busy", "pbx_cause": 16, "redirection": "300"}
    ended = only(desk.say(reports.Ended(at=START, call_id="a", **wrong)), events.CallFinished).call
    assert (ended.cause, ended.pbx_cause, ended.redirections) == (EndCause.UNKNOWN, None, ())
    assert desk.line.calls == ()


def test_a_session_starts_even_if_it_is_described_badly() -> None:
    desk = Desk(started=False)
    wrong: dict[str, Any] = {"features": "all", "agent_features": 3.5, "agent_states": [1], "own_numbers": 100, "agent": 5}
    told = desk.say(reports.Started(at=START, **wrong))
    assert names(told) == ["ProviderStateChanged", "Initialized", "LineStateChanged"]
    started = only(told, events.Initialized)
    assert (started.features, started.agent_states, started.own_numbers) == (F.NONE, (), ())
    desk.ringing("a")
    assert desk.call("a").own == Party()


@pytest.mark.parametrize("features", ["x", 1.5, float("inf"), [], object()])
def test_a_limit_that_cannot_be_read_is_none(desk: Desk, features: Any) -> None:
    desk.talking()
    desk.say(reports.Allowed(at=START, call_id="a", features=features))
    assert desk.call().features == TALK
    assert desk.reasons() == ["bad_report"]


def test_one_bad_call_in_a_snapshot_spoils_no_other_and_ends_none(desk: Desk) -> None:
    desk.talking("a")
    desk.talking("b")
    wrong: dict[str, Any] = {
        "state": "talking",
        "held_by": 5,
        "former_ids": "x",
        "started_at": NAIVE,
        "direction": None,
        "own": 1,
    }
    nameless: dict[str, Any] = {"call_id": 7}
    told = desk.snapshot(
        item("a"),
        None,  # type: ignore[arg-type] # wrong on purpose
        attrs.evolve(item("c"), **nameless),
        attrs.evolve(item("d"), **wrong),
    )
    assert [call.id for call in desk.line.calls] == ["a", "b", "d"]
    assert (desk.call("d").state, desk.call("d").started_at) == (CallState.UNKNOWN, START)
    assert not only(told, events.SnapshotTaken).complete


# ------------------------------------------------------------------ limits


def test_what_the_pbx_accepts_narrows_what_the_state_permits(desk: Desk) -> None:
    desk.talking()
    told = desk.say(reports.Allowed(at=START, call_id="a", features=F.DROP | F.HOLD | F.ANSWER))
    assert names(told) == ["LineStateChanged"]
    assert desk.call().features == F.DROP | F.HOLD
    assert desk.line.features == F.DROP | F.HOLD | F.MONITOR
    desk.held()
    assert desk.call().features == F.DROP
    desk.say(reports.Allowed(at=START, call_id="a", features=None))
    assert desk.call().features == FEATURES[Situation(CallState.HELD, "by own")]
    assert desk.say(reports.Allowed(at=START, call_id="a", features=None)) == []


@pytest.mark.parametrize("features", [F.NONE, F.DROP, F.DIAL | F.DROP | F.ANSWER])
def test_what_the_session_cannot_do_is_not_offered(features: CallFeature) -> None:
    desk = Desk(features)
    assert desk.line.session_features == features
    assert desk.line.features == features & F.DIAL
    desk.ringing("a")
    assert desk.call("a").features == (F.ANSWER | F.DROP) & features
    desk.say(reports.Connected(at=START, call_id="a"))
    assert desk.call("a").features == TALK & features


def scene(situation: Situation) -> Desk:
    """Bring a call to a row of the table."""
    desk = Desk()
    direction, _, rest = situation.detail.partition(",")
    if direction == "in":
        desk.ringing("a")
        if rest:
            desk.say(reports.Answered(at=START, call_id="a"))
        return desk
    if situation.state is CallState.UNKNOWN:
        desk.say(reports.InfoChanged(at=START, call_id="a"))
        return desk
    desk.say(reports.Originated(at=START, call_id="a", other=SUBSCRIBER))
    if situation.state is CallState.BUSY:
        desk.say(reports.Busy(at=START, call_id="a"))
    elif situation.state is CallState.CONFERENCED:
        desk.say(reports.Conferenced(at=START, call_id="a"))
    elif situation.state is not CallState.ALERTING and "not connected" not in situation.detail:
        desk.say(reports.Connected(at=START, call_id="a"))
    sides = {"by own": [Side.OWN], "by other": [Side.OTHER], "by both": [Side.OWN, Side.OTHER], "by unknown": [Side.UNKNOWN]}
    for side in sides.get(direction, []):
        desk.held("a", by=side)
    return desk


@pytest.mark.parametrize("situation", [situation for situation in FEATURES if situation.state is not CallState.NONE], ids=str)
def test_each_row_of_the_table_is_what_is_offered(situation: Situation) -> None:
    desk = scene(situation)
    assert desk.call("a").state is situation.state
    assert desk.call("a").features == FEATURES[situation]
    assert desk.line.features == FEATURES[situation] | F.MONITOR


@pytest.mark.parametrize("enquiry", CONSULTING)
def test_each_row_of_consulting_is_what_it_changes(enquiry: str) -> None:
    desk = Desk()
    desk.consulting(talking=enquiry != "ringing")
    if enquiry == "held":
        desk.held("b")
    rule = CONSULTING[enquiry]
    parent = FEATURES[Situation(CallState.HELD, "by own")] & ~rule.parent_loses | rule.parent_gains
    state = {"ringing": Situation(CallState.ALERTING, "out"), "talking": Situation(CallState.CONNECTED)}
    own = FEATURES[state.get(enquiry, Situation(CallState.HELD, "by own"))]
    assert desk.call("a").features == parent
    # The enquiry is taken back while its parent waits: what it loses is lost when the parent is talked to.
    assert desk.call("b").features == own & ~CONSULTING["talking"].consult_loses


# ------------------------------------------------------------------ the connection


def test_the_session_comes_into_service() -> None:
    desk = Desk(started=False)
    assert not desk.line.features
    (told,) = desk.line.connection_changed(ProviderState.CONNECTING, at(0), attempt=1)
    assert isinstance(told, events.ProviderStateChanged)
    agent = Agent("ONHOOK", call_centre_mode=True)
    states = (AgentState("ONHOOK", ready=True),)
    began = desk.say(
        reports.Started(
            at=at(1), features=F.DIAL, agent_features=AgentFeature.SET_STATE, agent_states=states, own_numbers=("1",), agent=agent
        )
    )
    assert names(began) == [
        "ProviderStateChanged",
        "Initialized",
        "AgentStateChanged",
        "CallCentreModeChanged",
        "LineStateChanged",
    ]
    assert only(began, events.ProviderStateChanged).since == at(1)
    assert (desk.line.agent, desk.line.agent_states, desk.line.own_numbers) == (agent, states, ("1",))
    assert desk.line.agent_features == AgentFeature.SET_STATE
    assert desk.line.features == F.DIAL


def test_when_the_connection_is_lost_nothing_pretends(desk: Desk) -> None:
    desk.talking()
    told = desk.lose(5)
    assert names(told) == ["Disconnected", "ProviderStateChanged", "LineStateChanged"]
    (call,) = only(told, events.LineStateChanged).calls
    assert (call.stale, call.features, call.state) == (True, F.NONE, CallState.CONNECTED)
    assert desk.line.features == F.NONE
    again = desk.line.connection_changed(ProviderState.RECONNECTING, at(9), attempt=2)
    assert names(again) == ["ProviderStateChanged"]
    assert only(again, events.ProviderStateChanged).since == at(5)


def test_what_comes_in_while_the_connection_is_lost_is_as_stale(desk: Desk) -> None:
    desk.talking()
    desk.lose()
    desk.held("a", seconds=1)
    desk.ringing("b", seconds=1)
    assert [call.stale for call in desk.line.calls] == [True, True]
    desk.back(2)
    assert [call.features for call in desk.line.calls] == [F.NONE, F.NONE]


def test_a_call_is_no_longer_stale_when_something_is_said_of_it_after_the_reconnection(desk: Desk) -> None:
    desk.talking()
    desk.lose()
    desk.back(2)
    told = desk.held("a", seconds=3)
    assert names(told) == ["LineStateChanged", "CallHeld", "LineStateChanged"]
    assert not desk.call().stale
    assert desk.call().features


@pytest.mark.parametrize(
    "report",
    [
        reports.Tones(at=at(3), call_id="a", digits="1"),
        reports.InfoChanged(at=at(3), call_id="a", attributes={"x": 1}),
        reports.Muted(at=at(3), call_id="a", on=True),
        reports.RecordingReport(at=at(3), call_id="a", on=True),
        reports.IdChanged(at=at(3), call_id="a", new_id="b"),
    ],
)
def test_what_does_not_tell_what_a_call_does_leaves_it_stale(desk: Desk, report: reports.CallReport) -> None:
    desk.talking()
    desk.lose()
    desk.back(2)
    assert desk.say(report)
    (call,) = desk.line.calls
    assert (call.stale, call.features) == (True, F.NONE)


def test_a_hold_does_not_tell_whether_a_call_still_rings(desk: Desk) -> None:
    desk.ringing("a")
    desk.lose()
    desk.back(2)
    desk.say(reports.Held(at=at(3), call_id="a", by=Side.OWN), reports.Retrieved(at=at(4), call_id="a", by=Side.OWN))
    assert (desk.call().stale, desk.call().state) == (True, CallState.ALERTING)
    desk.say(reports.Connected(at=at(5), call_id="a"))
    assert (desk.call().stale, desk.call().state) == (False, CallState.CONNECTED)


def test_after_an_outage_the_truth(desk: Desk) -> None:
    desk.talking("goes-on")
    desk.ringing("is-gone")
    desk.lose(10)
    desk.back(60)
    told = desk.snapshot(
        item("goes-on", CallState.HELD, held_by=frozenset({Side.OTHER})),
        item("is-new", CallState.CONNECTED, direction=CallDirection.IN, started_at=at(20), connected_at=at(30)),
        seconds=61,
    )
    assert names(told) == [
        "CallFinished",
        "CallHeld",
        "CallInfoChanged",
        "CallStarted",
        "CallConnected",
        "LineStateChanged",
        "SnapshotTaken",
    ]
    gone = only(told, events.CallFinished).call
    assert (gone.id, gone.inferred, gone.cause, gone.stale) == ("is-gone", True, EndCause.RESYNC, False)
    goes_on = desk.call("goes-on")
    assert (goes_on.stale, goes_on.state, goes_on.held_by) == (False, CallState.HELD, frozenset({Side.OTHER}))
    new = desk.call("is-new")
    assert (new.started_at, new.connected_at, new.ringing_seconds) == (at(20), at(30), 10.0)
    assert only(told, events.CallConnected).call.id == "is-new"
    assert only(told, events.SnapshotTaken).calls == desk.line.calls
    assert new.talk_seconds_at(at(61)) == 31.0


def test_an_incomplete_snapshot_ends_no_call(desk: Desk) -> None:
    desk.talking("a")
    desk.talking("b")
    desk.lose()
    desk.back()
    told = desk.snapshot(item("a"), complete=False)
    assert [(call.id, call.stale) for call in desk.line.calls] == [("a", False), ("b", True)]
    assert not only(told, events.SnapshotTaken).complete


def test_a_snapshot_that_says_a_call_is_over_ends_it_even_if_it_tells_only_a_part(desk: Desk) -> None:
    desk.talking("a")
    desk.snapshot(item("a", CallState.NONE), item("b", CallState.NONE), complete=False)
    assert desk.line.calls == ()


def test_a_snapshot_older_than_the_end_revives_nothing(desk: Desk) -> None:
    desk.talking()
    desk.say(reports.Ended(at=at(1), call_id="a"))
    told = desk.snapshot(item("a"), item("b", former_ids=("a",)), seconds=2)
    assert names(told) == ["SnapshotTaken"]
    assert desk.line.calls == ()


def test_what_came_in_since_the_snapshot_was_asked_for_is_newer(desk: Desk) -> None:
    desk.talking("held-since")
    desk.talking("limited-since")
    desk.talking("untouched")
    asked = desk.line.seq
    desk.held("held-since", seconds=11)
    desk.ringing("began-since", seconds=11)
    desk.say(reports.Allowed(at=at(11), call_id="limited-since", features=F.DROP))
    told = desk.snapshot(item("held-since"), item("limited-since", allowed=EVERYTHING), seconds=12, asked_at_seq=asked)
    assert only(told, events.CallFinished).call.id == "untouched"
    assert desk.call("held-since").state is CallState.HELD
    assert desk.call("began-since").state is CallState.ALERTING
    assert desk.call("limited-since").features == F.DROP
    assert desk.line.left_out == ("held-since", "limited-since")
    told = desk.snapshot(seconds=30, asked_at_seq=desk.line.seq)
    assert desk.line.calls == ()


def test_a_snapshot_that_agrees_tells_nothing_but_itself(desk: Desk) -> None:
    desk.talking()
    before = desk.call()
    told = desk.snapshot(item("a", own=Party("100")), seconds=5)
    assert names(told) == ["SnapshotTaken"]
    assert desk.call() == before


@pytest.mark.parametrize(
    ("state", "held_by", "told"),
    [
        (CallState.ALERTING, frozenset(), ["CallStarted"]),
        (CallState.UNKNOWN, frozenset(), ["CallStarted"]),
        (CallState.BUSY, frozenset(), ["CallStarted", "CallBusy"]),
        (CallState.CONNECTED, frozenset(), ["CallStarted", "CallConnected"]),
        (CallState.CONFERENCED, frozenset(), ["CallStarted", "CallConnected"]),
        (CallState.HELD, frozenset({Side.OWN}), ["CallStarted", "CallConnected", "CallHeld"]),
        (CallState.HELD, frozenset({Side.OWN, Side.OTHER}), ["CallStarted", "CallConnected", "CallHeld", "CallHeld"]),
        (CallState.HELD, frozenset(), ["CallStarted", "CallConnected", "CallHeld"]),
    ],
)
def test_a_new_call_in_a_snapshot_starts_in_full(desk: Desk, state: CallState, held_by: frozenset[Side], told: list[str]) -> None:
    found = desk.snapshot(item("a", state, held_by=held_by))
    assert [name for name in names(found) if name.startswith("Call")] == told
    call = desk.call()
    assert call.state is state
    assert call.held_by == (held_by or ({Side.UNKNOWN} if state is CallState.HELD else set()))
    assert desk.line.current == call


def test_a_snapshot_that_does_not_say_who_holds_takes_nobodys_hold_away(desk: Desk) -> None:
    desk.talking()
    desk.held(by=Side.OWN)
    desk.snapshot(item("a", CallState.HELD))
    assert desk.call().held_by == {Side.OWN}
    told = desk.snapshot(item("a", CallState.CONNECTED), seconds=1)
    assert only(told, events.CallUnheld).by is Side.OWN


def test_a_snapshot_that_tells_more_at_once_keeps_the_times(desk: Desk) -> None:
    desk.ringing("a")
    desk.snapshot(item("a2", former_ids=("a",), connected_at=at(4)), seconds=10)
    call = desk.call("a2")
    assert (call.connected_at, call.ringing_seconds, call.talk_seconds, call.changed_at) == (at(4), 4.0, 6.0, at(10))


def test_a_snapshot_catches_up_with_what_was_not_seen(desk: Desk) -> None:
    desk.say(reports.InfoChanged(at=START, call_id="unknown"))
    desk.ringing("rings")
    desk.snapshot(
        item("unknown", CallState.ALERTING, direction=CallDirection.IN),
        item("rings", CallState.ALERTING, direction=CallDirection.IN, answered_at=at(1)),
        seconds=2,
    )
    assert desk.call("unknown").features == F.ANSWER | F.DROP
    assert (desk.call("rings").answered_at, desk.call("rings").features) == (at(1), F.DROP)


def test_a_waiting_call_that_a_snapshot_changes_is_drawn_again(desk: Desk) -> None:
    desk.talking("a")
    desk.ringing("b")
    told = desk.snapshot(item("a"), item("b", CallState.BUSY), seconds=1)
    drawn = {call.id: call.state for call in only(told, events.LineStateChanged).calls}
    assert drawn == {"a": CallState.CONNECTED, "b": CallState.BUSY}


def test_a_snapshot_knows_calls_by_former_identifiers(desk: Desk) -> None:
    desk.talking("a")
    desk.say(reports.IdChanged(at=START, call_id="a", new_id="b"))
    desk.snapshot(item("a"))
    assert desk.call().id == "b"
    desk.snapshot(item("c", former_ids=("a", "z")))
    assert (desk.call("c").former_ids, desk.call("z").id) == (("a", "b", "z"), "c")
    assert desk.line.find("z") == desk.call("b")


def test_a_snapshot_carries_the_agent(desk: Desk) -> None:
    agent = Agent("BUSY")
    told = desk.line.apply(reports.Snapshot(at=START, agent=agent))
    assert names(told) == ["AgentStateChanged", "SnapshotTaken"]
    assert only(told, events.SnapshotTaken).agent == desk.line.agent == agent


def test_a_call_limited_in_a_snapshot(desk: Desk) -> None:
    desk.snapshot(item("a", allowed=F.DROP))
    assert desk.call().features == F.DROP
    desk.snapshot(item("a"))
    assert desk.call().features == F.DROP
    desk.snapshot(item("a", allowed=F.DROP | F.HOLD))
    assert desk.call().features == F.DROP | F.HOLD


# ------------------------------------------------------------------ the rest


def test_the_agent(desk: Desk) -> None:
    agent = Agent("BUSY", reason="lunch")
    report = reports.AgentReport(at=START, agent=agent)
    assert names(desk.say(report, report)) == ["AgentStateChanged"]
    mode = reports.CallCentreModeReport(at=START, on=True)
    assert names(desk.say(mode, mode)) == ["CallCentreModeChanged"]
    assert desk.line.agent == attrs.evolve(agent, call_centre_mode=True)


def test_trouble_names_the_call_if_it_is_open(desk: Desk) -> None:
    desk.talking()
    error = ProtocolError("x")
    assert only(desk.say(reports.Trouble(at=START, error=error, call_id="a")), events.ErrorOccurred).call == desk.call()
    assert only(desk.say(reports.Trouble(at=START, error=error, call_id="z")), events.ErrorOccurred).call is None
    assert only(desk.say(reports.Trouble(at=START, error=error)), events.ErrorOccurred).error is error


@pytest.mark.parametrize("raw", [False, True])
def test_raw_data_rides_along_where_it_was_asked_for(raw: bool) -> None:
    desk = Desk(raw=raw)
    frame = {"Event-Name": "CHANNEL_CREATE"}
    told = desk.say(reports.Offered(at=START, call_id="a", other=SUBSCRIBER, raw=frame))
    assert only(told, events.CallStarted).raw is (frame if raw else None)
    ended = only(desk.say(reports.Ended(at=START, call_id="a", raw=frame)), events.CallFinished)
    assert ended.raw is (frame if raw else None)
    told = desk.say(reports.Raw(at=START, raw=frame))
    assert names(told) == (["RawMessage"] if raw else [])


def test_a_saved_call_may_be_over(desk: Desk) -> None:
    desk.talking()
    assert only(desk.line.saved("a", "7", START), events.CallSaved).database_id == "7"
    ended = only(desk.say(reports.Ended(at=START, call_id="a")), events.CallFinished).call
    assert only(desk.line.saved("a", "7", START, ended), events.CallSaved).call == ended
    assert desk.line.saved("z", "7", START) == []


def test_resync_tells_all_there_is(desk: Desk) -> None:
    desk.talking()
    resync = desk.line.resync(7, at(1))
    assert (resync.seq, resync.missed, resync.calls) == (desk.line.seq, 7, desk.line.calls)
    assert (resync.agent, resync.provider_state) == (desk.line.agent, ProviderState.IN_SERVICE)


def test_events_are_numbered_without_gaps() -> None:
    desk = Desk(started=False)
    told = [*desk.back(), *desk.talking(), *desk.held(), *desk.ringing(), *desk.lose(), *desk.back(1), *desk.snapshot(seconds=2)]
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert {event.epoch for event in told} == {"epoch"}
