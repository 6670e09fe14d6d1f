"""The translator and the line behind it: captures of the real engine give the calls that a host would see."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from cti_framework.agents import Agent
from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause, Party, Side
from cti_framework.clock import SessionClock
from cti_framework.events import (
    AgentStateChanged,
    CallConnected,
    CallEvent,
    CallFinished,
    CallHeld,
    CallInfoChanged,
    CallStarted,
    CallUnheld,
    DtmfEntered,
    Event,
)
from cti_framework.line import Line
from cti_framework.reports import (
    AgentReport,
    Answered,
    Connected,
    Ended,
    InfoChanged,
    Offered,
    Originated,
    RecordingReport,
    Report,
    Started,
)
from cti_webitel.agents import AGENT_STATES, agent_of
from cti_webitel.engine.callbacks import (
    Callback,
    OnAcceptCall,
    OnBridgeCall,
    OnFarHoldCall,
    OnFarUnholdCall,
    OnHangupCall,
    OnHoldCall,
    OnNewCall,
    OnStartRecordCall,
    OnStopRecordCall,
    OnUserStatusChange,
    WebitelCall,
    WebitelCallState,
    WebitelUser,
)
from cti_webitel.engine.replay import replay_frames
from cti_webitel.translator import Translator, attributes_of, parties_of

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"
ALL = sorted(path.name.removesuffix(".frames.jsonl") for path in CAPTURES.glob("*.frames.jsonl"))
FEATURES = CallFeature.DIAL | CallFeature.DROP | CallFeature.HOLD | CallFeature.UNHOLD | CallFeature.DTMF
TOLERANCE_SECONDS = 0.004
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def frames(name: str) -> list[str]:
    return (CAPTURES / f"{name}.frames.jsonl").read_text(encoding="utf-8").splitlines()


def seconds_of(name: str, event: str) -> list[float]:
    """When the capture has an event's frames."""
    entries = map(json.loads, frames(name))
    return [entry["t"] / 1000 for entry in entries if entry["dir"] == "s2c" and entry["frame"].get("Event-Name") == event]


class Replayed:
    """A capture, gone through protocol, translator and line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.now = 0.0
        self.start = START
        clock = SessionClock(wall=lambda: START, monotonic=lambda: self.now)
        self.line = Line("epoch")
        self.line.apply(Started(at=clock.now(), features=FEATURES, own_numbers=("100",)))
        self.events: list[tuple[float, Event]] = []
        translator = Translator("", clock)
        for self.now, output in replay_frames(lines):
            if isinstance(output, Callback):
                for report in translator.translate(output):
                    self.events += ((self.now, event) for event in self.line.apply(report))

    def told(self, *kinds: type[Event]) -> list[tuple[float, Event]]:
        return [(at, event) for at, event in self.events if isinstance(event, kinds)]

    def calls(self, kind: type[CallEvent]) -> Iterator[tuple[float, Call]]:
        return ((at, event.call) for at, event in self.events if isinstance(event, kind))

    def finished(self) -> list[Call]:
        return [call for _, call in self.calls(CallFinished)]

    def after(self, moment: datetime) -> float:
        return (moment - self.start).total_seconds()


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=TOLERANCE_SECONDS)


# --- the captures


def test_an_outgoing_call_is_connected_at_the_raw_bridge() -> None:
    replayed = Replayed(frames("03-out-call"))
    ((at, call),) = replayed.calls(CallConnected)
    assert [at] == seconds_of("03-out-call", "CHANNEL_BRIDGE") == [0.284]
    assert call.state is CallState.CONNECTED
    assert call.connected_at is not None and replayed.after(call.connected_at) == about(0.284)
    # The own phone was picked up long before; that is no more than information.
    ((picked_up_at, ringing),) = [
        (at, event.call)
        for at, event in replayed.events
        if isinstance(event, CallInfoChanged) and event.changed == ("answered_at",)
    ]
    assert picked_up_at == pytest.approx(0.124)
    assert ringing.state is CallState.ALERTING


def test_the_outgoing_call_from_its_beginning_to_its_end() -> None:
    replayed = Replayed(frames("03-out-call"))
    assert [type(event).__name__ for _, event in replayed.told(CallEvent)] == [
        "CallStarted",
        "CallInfoChanged",
        "CallConnected",
        *["CallHeld", "CallUnheld"] * 3,
        *["DtmfEntered"] * 3,
        "CallInfoChanged",
        "CallFinished",
    ]
    ((_, started),) = replayed.calls(CallStarted)
    assert (started.direction, started.state) == (CallDirection.OUT, CallState.ALERTING)
    # "Outbound Call" and a number are no names.
    assert (started.own, started.other) == (Party("100"), Party("0501234567"))
    assert all(event.by is Side.OWN for _, event in replayed.events if isinstance(event, CallHeld | CallUnheld))
    assert "".join(event.digits for _, event in replayed.events if isinstance(event, DtmfEntered)) == "12#"
    (finished,) = replayed.finished()
    assert (finished.cause, finished.pbx_cause) == (EndCause.NORMAL, "NORMAL_CLEARING")
    assert not finished.inferred
    assert replayed.line.calls == ()


def test_the_durations_are_right_across_three_holds() -> None:
    name = "03-out-call"
    replayed = Replayed(frames(name))
    (call,) = replayed.finished()
    (began,) = seconds_of(name, "CHANNEL_CREATE")
    (bridged,) = seconds_of(name, "CHANNEL_BRIDGE")
    (ended,) = seconds_of(name, "CHANNEL_HANGUP_COMPLETE")
    held = sum(seconds_of(name, "CHANNEL_UNHOLD")) - sum(seconds_of(name, "CHANNEL_HOLD"))
    assert len(seconds_of(name, "CHANNEL_HOLD")) == 3
    assert call.ringing_seconds == about(bridged - began)
    assert call.hold_seconds == about(held)
    assert call.talk_seconds == about(ended - bridged - held)
    assert call.total_seconds == pytest.approx(call.ringing_seconds + call.hold_seconds + call.talk_seconds)


@pytest.mark.parametrize("name", ["03-out-call", "04-incoming"])
def test_at_its_end_a_call_gets_its_records_identifier_and_is_found_by_the_former(name: str) -> None:
    replayed = Replayed(frames(name))
    ((_, started),) = replayed.calls(CallStarted)
    renamed = [event.call for _, event in replayed.events if isinstance(event, CallInfoChanged) and "id" in event.changed]
    entries = [json.loads(line) for line in (CAPTURES / f"{name}.callbacks.jsonl").read_text(encoding="utf-8").splitlines()]
    (record_id,) = [entry["payload"]["newId"] for entry in entries if entry.get("cb") == "onUuidCall"]
    assert [(call.id, call.former_ids) for call in renamed] == [(record_id, (started.id,))]
    (finished,) = replayed.finished()
    assert (finished.id, finished.former_ids) == (record_id, (started.id,))
    assert replayed.line.has_ended(started.id) and replayed.line.has_ended(record_id)


def test_an_incoming_call_is_connected_at_the_answer_and_learns_the_callers_name() -> None:
    replayed = Replayed(frames("04-incoming"))
    ((_, started),) = replayed.calls(CallStarted)
    assert started.direction is CallDirection.IN
    assert (started.own, started.other) == (Party("100"), Party("0671112233"))
    assert dict(started.attributes) == {}
    ((at, connected),) = replayed.calls(CallConnected)
    assert [at] == seconds_of("04-incoming", "CHANNEL_ANSWER")
    assert connected.other == Party("0671112233", "ACME")
    assert dict(connected.attributes) == {"webitel_data": {"order": "77"}}
    assert connected.connected_at == connected.answered_at
    (finished,) = replayed.finished()
    assert (finished.cause, finished.missed, finished.hold_seconds) == (EndCause.NORMAL, False, 0)
    (began,), (answered,) = seconds_of("04-incoming", "CHANNEL_CREATE"), seconds_of("04-incoming", "CHANNEL_ANSWER")
    # The phone was picked up a moment before the engine told so: the switch's own times are the truth.
    assert finished.ringing_seconds == pytest.approx(answered - began, abs=0.01)


def test_a_call_dialled_on_the_own_phone() -> None:
    replayed = Replayed(frames("11-device-dial"))
    ((_, started),) = replayed.calls(CallStarted)
    assert (started.direction, started.state) == (CallDirection.OUT, CallState.ALERTING)
    assert (started.own, started.other) == (Party("100", "User 100"), Party("0501234567"))
    ((at, connected),) = replayed.calls(CallConnected)
    assert [at] == seconds_of("11-device-dial", "CHANNEL_ANSWER")
    assert connected.other == Party("0501234567")
    (finished,) = replayed.finished()
    assert (finished.cause, finished.pbx_cause) == (EndCause.NORMAL, "NORMAL_CLEARING")


def test_a_call_dialled_to_an_announcement_is_connected_without_a_bridge() -> None:
    unbridged = [line for line in frames("11-device-dial") if '"CHANNEL_BRIDGE"' not in line]
    assert len(unbridged) < len(frames("11-device-dial"))
    replayed = Replayed(unbridged)
    ((at, connected),) = replayed.calls(CallConnected)
    assert ([at], connected.state) == (seconds_of("11-device-dial", "CHANNEL_ANSWER"), CallState.CONNECTED)
    (finished,) = replayed.finished()
    assert finished.talk_seconds > 0


@pytest.mark.parametrize("name", ALL)
def test_every_capture_gives_a_sensible_line(name: str) -> None:
    replayed = Replayed(frames(name))
    states: dict[str, CallState] = {}
    for at, event in replayed.told(CallEvent):
        assert isinstance(event, CallEvent)
        call = event.call
        began = call.former_ids[0] if call.former_ids else call.id
        if isinstance(event, CallStarted):
            assert began not in states, (name, at)
        else:
            assert states[began] is not CallState.NONE, (name, at)
        assert call.state is CallState.NONE or call.state in (CallState.ALERTING, CallState.CONNECTED, CallState.HELD)
        assert (call.state is CallState.HELD) is bool(call.held_by), (name, at)
        assert call.direction is not CallDirection.UNKNOWN
        assert "Outbound" not in call.own.name + call.other.name
        assert call.own.name != call.own.number and call.other.name != call.other.number
        assert call.changed_at <= replayed.start + timedelta(seconds=at + TOLERANCE_SECONDS)
        states[began] = call.state
    if name not in ("14-reconnect", "20-raw-probe"):
        # The one ends in an outage, the other shows several accounts' sockets as one.
        assert replayed.line.refusals == {}
        assert all(state is CallState.NONE for state in states.values())


@pytest.mark.parametrize("name", ["07-att-xfer-confirm", "08-att-xfer-cancel"])
def test_an_enquiry_knows_its_first_call(name: str) -> None:
    replayed = Replayed(frames(name))
    first, second = (call for _, call in replayed.calls(CallStarted))
    assert second.parent_id == first.id
    causes = {call.cause for call in replayed.finished()}
    assert causes == ({EndCause.TRANSFERRED} if name == "07-att-xfer-confirm" else {EndCause.NORMAL})


def test_a_transfer_says_who_sent_the_call_on_and_to_whom() -> None:
    first, enquiry = Replayed(frames("07-att-xfer-confirm")).finished()
    (redirection,) = first.redirections
    assert (redirection.by, redirection.to) == ("100", "0509998877")
    assert enquiry.redirections == (), "its far end stays where it is"


def test_the_own_agent_is_told_and_no_other() -> None:
    replayed = Replayed(frames("01-auth-ok"))
    told = [event.agent for _, event in replayed.events if isinstance(event, AgentStateChanged)]
    assert told, "the own account is told of at the log in"
    assert {agent.state for agent in told} <= {state.code for state in AGENT_STATES}


# --- what the captures do not show


class Told:
    """A translator on a clock that stands, and the reports that it gives."""

    def __init__(self) -> None:
        self.now = 100.0
        self.clock = SessionClock(wall=lambda: START, monotonic=lambda: self.now)
        self.translator = Translator("100@demo.local", self.clock)

    def translate(self, *callbacks: Callback) -> list[Report]:
        return [report for callback in callbacks for report in self.translator.translate(callback)]


CALL_ID, LEG = "9a88478d-628d-4402-b2bc-369df3cf6dd0", "29740a8c-1ed2-4474-a13c-feebb8611d47"
OUT = {
    "Call-Direction": "outbound",
    "Caller-Logical-Direction": "outbound",
    "Caller-Callee-ID-Number": "100",
    "Caller-Callee-ID-Name": "Outbound Call",
    "Caller-Caller-ID-Number": "0501234567",
    "Caller-Caller-ID-Name": "0501234567",
    "variable_w_jsclient_originate_number": "0501234567",
    "variable_w_account_origination_uuid": CALL_ID,
}
IN = {
    "Call-Direction": "outbound",
    "Caller-Logical-Direction": "outbound",
    "Caller-Callee-ID-Number": "100",
    "Caller-Caller-ID-Number": "0671112233",
    "Caller-Caller-ID-Name": "ACME",
    "Other-Leg-Unique-ID": "9bce75f5-51e6-4bbc-b538-78423b7afdc4",
    "variable_w_account_origination_uuid": CALL_ID,
}


def call_of(headers: dict[str, Any], state: WebitelCallState = WebitelCallState.RINGING, **more: Any) -> WebitelCall:
    named = {key.replace("_h_", "-"): value for key, value in more.items()}
    return WebitelCall(CALL_ID, state, True, LEG, "100", {**headers, **named})


def ended(headers: dict[str, Any], cause: str, **more: Any) -> OnHangupCall:
    call = call_of({**headers, "variable_hangup_cause": cause}, WebitelCallState.ENDED, **more)
    return OnHangupCall(call, "CHANNEL_HANGUP_COMPLETE", LEG)


@pytest.mark.parametrize(
    ("pbx_cause", "cause"),
    [
        ("USER_BUSY", EndCause.BUSY),
        ("CALL_REJECTED", EndCause.REJECTED),
        ("NO_ANSWER", EndCause.NO_ANSWER),
        ("UNALLOCATED_NUMBER", EndCause.UNREACHABLE),
        ("USER_NOT_REGISTERED", EndCause.NOT_REGISTERED),
        ("NORMAL_CLEARING", EndCause.NO_ANSWER),
        ("NEVER_HEARD_OF", EndCause.UNKNOWN),
    ],
)
def test_why_a_call_out_ended_that_nobody_answered(pbx_cause: str, cause: EndCause) -> None:
    told = Told()
    *_, end = told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG), ended(OUT, pbx_cause))
    assert isinstance(end, Ended)
    assert (end.cause, end.pbx_cause) == (cause, pbx_cause)


def test_a_call_out_that_we_hang_up_is_cancelled() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG))
    told.translator.dropping(CALL_ID)
    (end,) = told.translate(ended(OUT, "NORMAL_CLEARING"))
    assert isinstance(end, Ended) and end.cause is EndCause.CANCELLED


def test_an_own_phone_that_hangs_up_while_the_far_end_rings_cancels() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG))
    headers = {**OUT, "Original-Channel-Call-State": "RING_WAIT"}
    (end,) = told.translate(ended(headers, "NORMAL_CLEARING"))
    assert isinstance(end, Ended) and end.cause is EndCause.CANCELLED


def test_a_connected_call_that_we_hang_up_ends_normally() -> None:
    told = Told()
    talking = call_of(OUT, WebitelCallState.ANSWERED)
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG), OnBridgeCall(talking, "CHANNEL_BRIDGE", LEG))
    told.translator.dropping(CALL_ID)
    (end,) = told.translate(ended(OUT, "NORMAL_CLEARING"))
    assert isinstance(end, Ended) and end.cause is EndCause.NORMAL


def test_a_call_in_that_we_hang_up_is_rejected() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(IN), "CHANNEL_CREATE", LEG))
    told.translator.dropping(CALL_ID)
    (end,) = told.translate(ended(IN, "NORMAL_CLEARING"))
    assert isinstance(end, Ended) and end.cause is EndCause.REJECTED


def ended_by(told: Told, call_id: str, headers: dict[str, str]) -> Ended:
    """End a call as the switch does, and give the report."""
    call = attrs.evolve(call_of({**headers, "variable_hangup_cause": "NORMAL_CLEARING"}, WebitelCallState.ENDED), uuid=call_id)
    (end,) = [
        report for report in told.translate(OnHangupCall(call, "CHANNEL_HANGUP_COMPLETE", LEG)) if isinstance(report, Ended)
    ]
    return end


ENQUIRY_ID = "1b88478d-628d-4402-b2bc-369df3cf6dd1"
CONFIRMED = {"variable_w_transfer_result": "confirmed"}


def with_an_enquiry() -> tuple[Told, dict[str, str]]:
    told = Told()
    enquiry = {**OUT, "variable_w_jsclient_xtransfer": CALL_ID, "Caller-Caller-ID-Number": "0509998877"}
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG))
    told.translate(OnNewCall(attrs.evolve(call_of(enquiry), uuid=ENQUIRY_ID), "CHANNEL_CREATE", LEG))
    return told, enquiry


@pytest.mark.parametrize("enquiry_first", [False, True])
@pytest.mark.parametrize("asked", [False, True], ids=["seen only", "asked for here"])
def test_both_calls_of_a_transfer_end_transferred_whichever_ends_first(enquiry_first: bool, asked: bool) -> None:
    told, enquiry = with_an_enquiry()
    if asked:
        told.translator.transferring(CALL_ID, "0509998877")
        told.translator.transferring(ENQUIRY_ID, "")
    first_headers = OUT if asked else {**OUT, **CONFIRMED}
    enquiry_headers = {**enquiry, **CONFIRMED} if enquiry_first and not asked else enquiry
    if enquiry_first:
        second = ended_by(told, ENQUIRY_ID, enquiry_headers)
        first = ended_by(told, CALL_ID, first_headers)
    else:
        first = ended_by(told, CALL_ID, first_headers)
        second = ended_by(told, ENQUIRY_ID, enquiry_headers)
    assert first.cause is second.cause is EndCause.TRANSFERRED
    assert first.redirection is not None
    assert (first.redirection.by, first.redirection.to) == ("100", "0509998877")
    assert second.redirection is None


def test_a_transfer_that_another_program_completed_says_to_whom_though_the_enquiry_ended_first() -> None:
    told, enquiry = with_an_enquiry()
    ended_by(told, ENQUIRY_ID, enquiry)
    first = ended_by(told, CALL_ID, {**OUT, **CONFIRMED})
    assert first.cause is EndCause.TRANSFERRED
    assert first.redirection is not None and first.redirection.to == "0509998877"


def test_a_transfer_that_failed_leaves_an_ordinary_end() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG), OnBridgeCall(call_of(OUT), "CHANNEL_BRIDGE", LEG))
    told.translator.transferring(CALL_ID, "102")
    told.translator.not_transferring(CALL_ID)
    end = ended_by(told, CALL_ID, OUT)
    assert (end.cause, end.redirection) == (EndCause.NORMAL, None)


def test_an_enquiry_that_is_sent_on_itself_tells_nothing_of_its_first_call() -> None:
    told, enquiry = with_an_enquiry()
    told.translator.transferring(ENQUIRY_ID, "102")
    second = ended_by(told, ENQUIRY_ID, enquiry)
    assert second.redirection is not None and second.redirection.to == "102"
    told.translate(OnBridgeCall(call_of(OUT), "CHANNEL_BRIDGE", LEG))
    assert ended_by(told, CALL_ID, OUT).cause is EndCause.NORMAL


def test_a_recording_that_the_site_tells_of() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG))
    (begun,) = told.translate(OnStartRecordCall(call_of(OUT), "RECORD_START", LEG))
    (over,) = told.translate(OnStopRecordCall(call_of(OUT), "RECORD_STOP", LEG))
    assert isinstance(begun, RecordingReport) and begun.on
    assert isinstance(over, RecordingReport) and not over.on


def test_a_call_that_listens_in_is_connected_when_the_own_phone_is_picked_up() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(OUT), "CHANNEL_CREATE", LEG))
    assert not told.translator.is_listening(CALL_ID)
    told.translator.listening(CALL_ID)
    assert told.translator.is_listening(CALL_ID)
    reports = told.translate(OnAcceptCall(call_of(OUT), "CHANNEL_ANSWER", LEG))
    assert [type(report) for report in reports] == [Answered, Connected]


def test_a_call_adopted_in_the_middle_is_told_with_what_it_had_been_through() -> None:
    told = Told()
    answered = str(round((START.timestamp() - 60) * 1_000_000))
    call = call_of({**IN, "Caller-Channel-Answered-Time": answered}, WebitelCallState.ANSWERED)
    reports = told.translate(OnNewCall(call, "CHANNEL_HOLD", LEG, adopted=True), OnHoldCall(call, "CHANNEL_HOLD", LEG))
    assert [type(report).__name__ for report in reports] == ["Offered", "Answered", "Connected", "Held"]
    assert reports[2].at == START - timedelta(seconds=60)


def test_an_outgoing_call_adopted_while_the_far_end_rings_is_not_connected() -> None:
    told = Told()
    call = call_of(OUT, WebitelCallState.ANSWERED)
    reports = told.translate(OnNewCall(call, "CHANNEL_STATE", LEG, adopted=True))
    assert [type(report).__name__ for report in reports] == ["Originated", "Answered"]
    reports = told.translate(OnBridgeCall(call, "CHANNEL_BRIDGE", LEG))
    assert [type(report).__name__ for report in reports] == ["Connected"]


def test_a_call_adopted_by_its_bridge_is_connected_once() -> None:
    told = Told()
    call = call_of({**OUT, "Other-Leg-Unique-ID": LEG}, WebitelCallState.ANSWERED)
    reports = told.translate(OnNewCall(call, "CHANNEL_BRIDGE", LEG, adopted=True), OnBridgeCall(call, "CHANNEL_BRIDGE", LEG))
    assert len([report for report in reports if isinstance(report, Connected)]) == 1


def test_a_call_adopted_without_variables_turns_out_to_be_our_own() -> None:
    told = Told()
    bare = {key: value for key, value in OUT.items() if not key.startswith("variable_")}
    (offered,) = told.translate(OnNewCall(call_of(bare), "CHANNEL_CALLSTATE", LEG, adopted=True))
    assert isinstance(offered, Offered)
    reports = told.translate(OnAcceptCall(call_of(OUT, WebitelCallState.ANSWERED), "CHANNEL_ANSWER", LEG))
    (news,) = [report for report in reports if isinstance(report, InfoChanged)]
    assert (news.direction, news.own, news.other) == (CallDirection.OUT, Party("100"), Party("0501234567"))


def test_what_a_bridge_does_to_the_logical_direction_changes_no_direction() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(IN), "CHANNEL_CREATE", LEG))
    turned = {**IN, "Caller-Logical-Direction": "inbound", "Caller-Caller-ID-Name": "Somebody else"}
    reports = told.translate(OnBridgeCall(call_of(turned, WebitelCallState.ANSWERED), "CHANNEL_STATE", LEG))
    assert all(report.direction is None for report in reports if isinstance(report, InfoChanged))


def test_a_hold_of_the_far_end_is_told_with_the_time_when_it_began() -> None:
    told = Told()
    call = call_of(IN, WebitelCallState.ANSWERED)
    told.translate(OnNewCall(call_of(IN), "CHANNEL_CREATE", LEG))
    held, retrieved = told.translate(
        OnFarHoldCall(call, "CHANNEL_CALLSTATE", LEG, 1.0), OnFarUnholdCall(call, "CHANNEL_CALLSTATE", LEG)
    )
    assert held.at == told.clock.now() - timedelta(seconds=1)
    assert retrieved.at == told.clock.now()


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (None, {}),
        ("''", {}),
        ("'undefined'", {}),
        ('\'{"order":"77"}\'', {"webitel_data": {"order": "77"}}),
        ('\'{"name":"O\'Neill"}\'', {"webitel_data": {"name": "O'Neill"}}),
        ("'free words'", {"webitel_data": {"webitel_data": "free words"}}),
    ],
)
def test_free_data(data: str | None, attributes: dict[str, Any]) -> None:
    headers = IN if data is None else {**IN, "variable_webitel_data": data}
    assert dict(attributes_of(call_of(headers))) == attributes


def test_data_that_come_later_are_told_once() -> None:
    told = Told()
    told.translate(OnNewCall(call_of(IN), "CHANNEL_CREATE", LEG))
    call = call_of({**IN, "variable_cc_queue": "sales@demo.local"}, WebitelCallState.ANSWERED)
    reports = told.translate(OnBridgeCall(call, "CHANNEL_STATE", LEG), OnBridgeCall(call, "CHANNEL_STATE", LEG))
    (news,) = reports
    assert isinstance(news, InfoChanged)
    assert dict(news.attributes or {}) == {"cc_queue": "sales@demo.local"}


@pytest.mark.parametrize("name", ["", "Outbound Call", "0671112233", None])
def test_what_is_no_name(name: str | None) -> None:
    headers = {key: value for key, value in IN.items() if key != "Caller-Caller-ID-Name"}
    if name is not None:
        headers["Caller-Caller-ID-Name"] = name
    assert parties_of(call_of(headers))[1] == Party("0671112233")


@pytest.mark.parametrize(
    ("user", "agent"),
    [
        (WebitelUser("100", "demo.local", state="ONHOOK", away="NONE"), Agent("ONHOOK")),
        (WebitelUser("100", "demo.local", state="ISBUSY", away="NONE"), Agent("ISBUSY")),
        (WebitelUser("100", "demo.local", state="ISBUSY", away="DND", tag="lunch"), Agent("DND", note="lunch")),
        (WebitelUser("100", "demo.local", state="NONREG", away=""), Agent("NONREG")),
    ],
)
def test_away_goes_before_what_the_phone_does(user: WebitelUser, agent: Agent) -> None:
    assert agent_of(user) == agent


def test_other_accounts_are_not_the_agent() -> None:
    told = Told()
    assert told.translate(OnUserStatusChange(WebitelUser("101", "demo.local", state="ISBUSY"))) == []
    (report,) = told.translate(OnUserStatusChange(WebitelUser("100", "demo.local", state="ISBUSY", is_own=True)))
    assert isinstance(report, AgentReport)


@pytest.mark.parametrize("ahead_seconds", [600.0, -60.0])
def test_the_switchs_clock_is_learnt(ahead_seconds: float) -> None:
    told = Told()

    def at(seconds: float) -> str:
        return str(round((told.clock.now().timestamp() + ahead_seconds + seconds) * 1_000_000))

    (begun,) = told.translate(OnNewCall(call_of(OUT, Caller_h_Channel_h_Created_h_Time=at(-0.01)), "CHANNEL_CREATE", LEG))
    assert isinstance(begun, Originated)
    assert begun.at == told.clock.now()
    told.now += 30
    (end,) = told.translate(ended(OUT, "USER_BUSY", Caller_h_Channel_h_Hangup_h_Time=at(-0.01)))
    assert (end.at - begun.at).total_seconds() == pytest.approx(30, abs=0.001)
