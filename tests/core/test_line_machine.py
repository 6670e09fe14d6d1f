"""The line under whatever a PBX and a careless plugin may say: a state machine walks it, and an oracle of its own judges it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import event as note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cti_framework import events, reports
from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import Call, CallDirection, CallFeature, CallRole, CallState, EndCause, Party, Redirection, Side
from cti_framework.errors import NetworkError, ProtocolError
from cti_framework.events import Event, ProviderState
from cti_framework.line import Line, Refusal

F = CallFeature
START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
EVERYTHING = ~F.NONE


# ------------------------------------------------------------------ what a plugin may say


class Awkward:
    """A value that cannot be compared, hashed or tested."""

    __hash__ = None  # type: ignore[assignment] # that is what is awkward about it

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")


class NoZone(tzinfo):
    """A time zone that does not know its offset: a time that has it is naive for all that."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None


JUNK = st.sampled_from(
    [
        None,
        5,
        -1,
        2**80,
        True,
        "x",
        "",
        b"a",
        1.5,
        math.nan,
        math.inf,
        (),
        (1,),
        ("a", None),
        frozenset({1}),
        Awkward(),
        object(),
        Side.OWN,
        CallState.CONNECTED,
        datetime(2025, 1, 1),
        datetime(2025, 1, 1, tzinfo=NoZone()),
        datetime(2025, 1, 1, tzinfo=UTC).timetz(),
    ]
)


TIMES = st.integers(-60, 600).map(
    lambda halves: (
        START + timedelta(seconds=halves / 2)
        if halves % 7
        else (START + timedelta(seconds=halves / 2)).astimezone(timezone(timedelta(hours=5)))
    )
)
# Now and then one field of a report holds something that its type does not allow.
SPOILS = st.integers(0, 39)


def spoil(fields: dict[str, Any], draw: int, junk: Any) -> dict[str, Any]:
    names = sorted(fields)
    if draw < len(names):
        fields[names[draw]] = junk
    return fields


PARTIES = st.sampled_from([Party(), Party("100"), Party("200", "Two"), Party("300", "Three")])
SIDES = st.sampled_from(Side)
SOME_FEATURES = st.sampled_from(
    [EVERYTHING, EVERYTHING, EVERYTHING, F.NONE, F.DROP | F.UNHOLD, EVERYTHING & ~F.HOLD, EVERYTHING & ~F.UNHOLD, F(0x15555)]
)
REDIRECTIONS = st.builds(Redirection, by=st.just("1"), to=st.just("2"), at=TIMES)
ATTRIBUTES = st.sampled_from([MappingProxyType({}), {"a": "b"}, {"c": 1}])
AGENTS = st.builds(Agent, state=st.sampled_from(["", "ONHOOK", "BUSY"]), call_centre_mode=st.sampled_from([None, True, False]))

ABOUT_CALLS: dict[type[reports.CallReport], dict[str, st.SearchStrategy[Any]]] = {
    reports.Originated: {
        "other": PARTIES,
        "own": st.none() | PARTIES,
        "attributes": ATTRIBUTES,
        "allowed": st.none() | SOME_FEATURES,
    },
    reports.Offered: {
        "other": PARTIES,
        "own": st.none() | PARTIES,
        "attributes": ATTRIBUTES,
        "redirections": st.just(()) | st.tuples(REDIRECTIONS),
        "allowed": st.none() | SOME_FEATURES,
    },
    reports.Answered: {},
    reports.Connected: {"other": st.none() | PARTIES, "own": st.none() | PARTIES},
    reports.Conferenced: {},
    reports.Busy: {"pbx_cause": st.none() | st.just("486")},
    reports.Held: {"by": SIDES},
    reports.Retrieved: {"by": SIDES},
    reports.Tones: {"digits": st.just("1"), "by": SIDES},
    reports.InfoChanged: {
        "own": st.none() | PARTIES,
        "other": st.none() | PARTIES,
        "direction": st.none() | st.sampled_from(CallDirection),
        "redirections": st.none() | st.tuples(REDIRECTIONS),
        "attributes": st.none() | ATTRIBUTES,
    },
    reports.IdChanged: {},
    reports.RecordingReport: {"on": st.booleans()},
    reports.Muted: {"on": st.booleans()},
    reports.MediaStarted: {"media_id": st.just("m")},
    reports.MediaVideoStarted: {"media_id": st.just("m")},
    reports.MediaMeasured: {
        "media_id": st.just("m"),
        "mos": st.sampled_from([4.1, float("nan")]),
        "loss": st.just(0.0),
        "jitter_seconds": st.just(0.0),
    },
    reports.MediaEnded: {"media_id": st.just("m")},
    reports.Ended: {
        "cause": st.sampled_from(EndCause),
        "pbx_cause": st.none() | st.just("16"),
        "redirection": st.none() | REDIRECTIONS,
    },
    reports.Allowed: {"features": st.none() | SOME_FEATURES},
}
FIELDS = {kind: st.fixed_dictionaries({"at": TIMES, **strategies}) for kind, strategies in ABOUT_CALLS.items()}
# Ends are said by a rule of their own too: a line whose calls all end at once shows little.
COMMON = [kind for kind in ABOUT_CALLS if kind is not reports.Ended] + [
    reports.Connected,
    reports.Allowed,
    reports.Held,
    reports.Held,
    reports.Retrieved,
    reports.Retrieved,
]
PICKS = st.integers(0, 99)
ITEM_FIELDS = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(CallDirection),
        "state": st.sampled_from(CallState),
        "own": PARTIES,
        "other": PARTIES,
        "held_by": st.frozensets(SIDES),
        "started_at": st.none() | TIMES,
        "answered_at": st.none() | TIMES,
        "connected_at": st.none() | TIMES,
        "attributes": ATTRIBUTES,
        "recording": st.none() | st.booleans(),
        "muted": st.none() | st.booleans(),
    }
)
STARTED_FIELDS = st.fixed_dictionaries(
    {
        "at": TIMES,
        "features": st.none() | SOME_FEATURES,
        "agent_features": st.sampled_from([AgentFeature.NONE, AgentFeature.SET_STATE]),
        "agent_states": st.just((AgentState("ONHOOK"),)),
        "own_numbers": st.just(("100",)),
        "agent": st.none() | AGENTS,
    }
)
OTHERS: list[tuple[type[reports.Report], st.SearchStrategy[dict[str, Any]]]] = [
    (reports.AgentReport, st.fixed_dictionaries({"at": TIMES, "agent": AGENTS})),
    (reports.CallCentreModeReport, st.fixed_dictionaries({"at": TIMES, "on": st.booleans()})),
    (reports.Raw, st.fixed_dictionaries({"at": TIMES, "raw": JUNK})),
    (reports.Trouble, st.fixed_dictionaries({"at": TIMES, "error": st.just(ProtocolError("x")), "call_id": st.none()})),
    (reports.CallReport, st.fixed_dictionaries({"at": TIMES, "call_id": st.just("c0")})),
]


# ------------------------------------------------------------------ what may be offered: written again, not taken from the line

TALK = F.DROP | F.HOLD | F.BLIND_TRANSFER | F.CONSULT | F.DTMF | F.VIDEO | F.MUTE | F.RECORDING
TRANSFERRING = F.CANCEL_TRANSFER | F.COMPLETE_TRANSFER | F.ALTERNATE | F.CONFERENCE


def permitted(call: Call) -> CallFeature:
    """What a call's own state permits, whatever else there is."""
    match call.state:
        case CallState.NONE:
            return F.NONE
        case CallState.ALERTING:
            rings_here = call.direction is CallDirection.IN and call.answered_at is None
            return F.DROP | F.ANSWER if rings_here else F.DROP
        case CallState.CONNECTED:
            return TALK
        case CallState.CONFERENCED:
            return TALK & ~(F.BLIND_TRANSFER | F.CONSULT)
        case CallState.HELD:
            own = F.UNHOLD if Side.OWN in call.held_by else F.NONE
            if call.connected_at is None:
                return F.DROP | own
            other = F.HOLD if call.held_by == {Side.OTHER} else F.NONE
            return F.DROP | F.BLIND_TRANSFER | F.CONSULT | own | other
        case _:
            return F.DROP


def talked_on(call: Call) -> bool:
    if call.state is CallState.HELD:
        return call.connected_at is not None and Side.OWN not in call.held_by
    return call.state in (CallState.CONNECTED, CallState.CONFERENCED)


def offered(call: Call, calls: Iterable[Call], session: CallFeature, allowed: CallFeature) -> CallFeature:
    """What must be offered for a call beside those others."""
    if call.stale:
        return F.NONE
    others = [other for other in calls if other is not call]
    features = permitted(call)
    for enquiry in (other for other in others if is_parent(call, other)):
        features &= ~(F.CONSULT | F.BLIND_TRANSFER)
        if enquiry.connected_at is None:
            gains = F.CANCEL_TRANSFER
            features &= ~F.UNHOLD
        else:
            gains = TRANSFERRING
            if Side.OWN not in enquiry.held_by:
                features &= ~F.UNHOLD
        if call.connected_at is not None:
            features |= gains
    if call.role is CallRole.CONSULT:
        features &= ~(F.CONSULT | F.BLIND_TRANSFER)
    if any(talked_on(other) and not is_parent(call, other) for other in others):
        features &= ~F.UNHOLD
    return features & session & allowed


def is_parent(parent: Call, call: Call) -> bool:
    return call is not parent and call.parent_id is not None and call.parent_id in (parent.id, *parent.former_ids)


# ------------------------------------------------------------------ what was told, kept as a host without wits would keep it


def is_moment(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def is_text(value: object) -> bool:
    return isinstance(value, str)


def features_of(value: object, otherwise: CallFeature) -> CallFeature:
    return F(int(value) & int(EVERYTHING)) if isinstance(value, int) else otherwise


class Shown:
    """What a host knows of one call from its events."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.holders: set[Side] = set()
        self.connected = False
        self.allowed = EVERYTHING
        self.is_limit_old = False
        self.told_seq = 0


class LineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.refused: list[Refusal] = []
        self.line = Line("epoch", raw=True, on_refused=self.refused.append)
        self.seq = 0
        self.seen_seqs = [0]
        self.fresh = 0
        self.shown: dict[str, Shown] = {}
        self.accepted = EVERYTHING
        self.naive: dict[str, Call] = {}
        self.drawn: tuple[Call, ...] = ()
        self.over: dict[str, Call] = {}
        self.renamed: dict[str, set[str]] = {}
        self.again: set[str] = set()
        self.has_looked = False
        self.current: Shown | None = None
        self.session = F.NONE
        self.line_features = F.NONE

    # -------------------------------------------------------------- drawing

    def pick_id(self, data: st.DataObject, label: str = "call_id") -> str:
        """Mostly an open call's, now and then a former, a new or an ended one's."""
        pick = data.draw(PICKS, label)
        open_ids = list(self.shown)
        if pick < 70 and open_ids:
            return open_ids[pick % len(open_ids)]
        if pick < 78:
            former = [former_id for shown in self.shown.values() for former_id in shown.call.former_ids]
            if former:
                return former[pick % len(former)]
        if pick < 88 and self.over:
            return list(self.over)[-1 - pick % min(6, len(self.over))]
        return self.fresh_id() if pick < 94 else f"c{self.fresh + 1}"

    def fresh_id(self) -> str:
        self.fresh += 1
        return f"c{self.fresh - 1}"

    def spoiled(self, data: st.DataObject, fields: dict[str, Any]) -> dict[str, Any]:
        draw = data.draw(SPOILS, "spoil")
        return spoil(fields, draw, data.draw(JUNK, "junk")) if draw < len(fields) else fields

    def draw_report(self, data: st.DataObject, kind: type[reports.CallReport], call_id: str | None = None) -> reports.CallReport:
        fields = data.draw(FIELDS[kind])
        fields["call_id"] = self.pick_id(data) if call_id is None else call_id
        if kind is reports.IdChanged:
            fields["new_id"] = self.pick_id(data, "new_id")
        if kind in (reports.Originated, reports.InfoChanged):
            fields["parent_id"] = self.pick_id(data, "parent_id") if data.draw(st.booleans()) else None
        return kind(**self.spoiled(data, fields))

    def draw_item(self, data: st.DataObject) -> Any:
        fields = data.draw(ITEM_FIELDS)
        fields["call_id"] = self.pick_id(data)
        fields["former_ids"] = tuple(self.pick_id(data, "former") for _ in range(max(0, data.draw(PICKS) - 97)))
        fields["parent_id"] = self.pick_id(data, "parent_id") if data.draw(PICKS) > 70 else None
        item = reports.CallSnapshot(**self.spoiled(data, fields))
        return item if data.draw(PICKS) < 97 else data.draw(JUNK)

    # -------------------------------------------------------------- rules

    @initialize(begun=st.integers(0, 5))
    def begin(self, begun: int) -> None:
        if begun:
            self.take(self.line.connection_changed(ProviderState.CONNECTING, START, attempt=1))
            self.session = EVERYTHING
            self.apply(reports.Started(at=START, features=EVERYTHING))

    @rule(data=st.data(), kind=st.sampled_from(COMMON))
    def say(self, data: st.DataObject, kind: type[reports.CallReport]) -> None:
        self.apply(self.draw_report(data, kind))

    @precondition(lambda self: len(self.shown) < 4)
    @rule(data=st.data(), kind=st.sampled_from([reports.Originated, reports.Offered]), talk=st.booleans())
    def begin_call(self, data: st.DataObject, kind: type[reports.CallReport], talk: bool) -> None:
        call_id = self.fresh_id()
        self.apply(self.draw_report(data, kind, call_id))
        if talk:
            self.apply(reports.Connected(at=START, call_id=call_id))

    @precondition(lambda self: self.shown)
    @rule(data=st.data(), at=TIMES, talk=st.booleans())
    def consult(self, data: st.DataObject, at: datetime, talk: bool) -> None:
        parent = data.draw(st.sampled_from(list(self.shown)))
        enquiry = self.fresh_id()
        self.apply(reports.Held(at=at, call_id=parent))
        self.apply(reports.Originated(at=at, call_id=enquiry, other=Party("9"), parent_id=parent))
        if talk:
            self.apply(reports.Connected(at=at, call_id=enquiry))

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.apply(self.draw_report(data, reports.Ended))

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        report = reports.Started(**self.spoiled(data, data.draw(STARTED_FIELDS)))
        if is_moment(report.at):
            self.session = features_of(report.features, F.NONE)
        self.apply(report)

    @rule(state=st.sampled_from([state for state in ProviderState if state is not ProviderState.IN_SERVICE]), at=TIMES)
    def lose_connection(self, state: ProviderState, at: datetime) -> None:
        self.session = F.NONE
        if self.line.provider_state is ProviderState.IN_SERVICE:
            self.has_looked = False
            for shown in self.shown.values():
                shown.is_limit_old = True
        self.take(self.line.connection_changed(state, at, attempt=1, next_try_at=at, error=NetworkError("gone")))

    @rule(data=st.data(), at=TIMES, complete=st.booleans(), asked=st.booleans(), count=st.integers(0, 3))
    def snapshot(self, data: st.DataObject, at: datetime, complete: bool, asked: bool, count: int) -> None:
        calls = tuple(self.draw_item(data) for _ in range(count))
        fields = {"at": at, "calls": calls, "agent": data.draw(st.none() | AGENTS), "complete": complete}
        snapshot = reports.Snapshot(**self.spoiled(data, fields))
        before = {call_id: shown.told_seq for call_id, shown in self.shown.items()}
        self.again = self.listed_again(calls)
        if asked:
            asked_at_seq = data.draw(st.sampled_from(self.seen_seqs[-6:]))
            told = self.take(self.line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq))
        else:
            asked_at_seq = self.seq
            told = self.take(self.line.apply(snapshot))
        items = [item for item in calls if isinstance(item, reports.CallSnapshot) and item.state is CallState.NONE]
        named = [name for item in items for name in (item.call_id, *(item.former_ids if type(item.former_ids) is tuple else ()))]
        over = {name for known in filter(is_text, named) for name in self.names_since(known)}
        self.lift_limits(calls)
        for event in told:
            if isinstance(event, events.SnapshotTaken):
                self.has_looked |= asked or event.complete
            if isinstance(event, events.CallFinished):
                assert event.call.inferred
                assert snapshot.complete is True or {event.call.id, *event.call.former_ids} & over
                assert before[event.call.id] <= asked_at_seq

    def names_since(self, call_id: str) -> set[str]:
        """What a call may be called now."""
        names: set[str] = set()
        further = {call_id}
        while further:
            names |= further
            further = {new for name in further for new in self.renamed.get(name, ())} - names
        return names

    def listed_again(self, calls: tuple[Any, ...]) -> set[str]:
        """Tell which identifiers that are over may be another call's, or were only believed to be over."""
        times: list[Any] = [getattr(item, "started_at", None) for item in calls]
        return {
            call_id
            for call_id, call in self.over.items()
            if call.inferred or any(is_moment(time) and time - call.changed_at > timedelta(seconds=1) for time in times)
        }

    def lift_limits(self, calls: tuple[Any, ...]) -> None:
        """What was accepted before an outage, and is not said again, is a limit no longer."""
        if not any(isinstance(item, reports.CallSnapshot) for item in calls):
            return
        for call_id, shown in self.shown.items():
            if shown.is_limit_old and self.line._open[call_id].allowed is None:
                shown.is_limit_old, shown.allowed = False, EVERYTHING

    @rule(data=st.data(), other=st.sampled_from(OTHERS))
    def say_something_else(
        self, data: st.DataObject, other: tuple[type[reports.Report], st.SearchStrategy[dict[str, Any]]]
    ) -> None:
        kind, fields = other
        self.apply(kind(**self.spoiled(data, data.draw(fields))))

    @rule(junk=JUNK)
    def say_junk(self, junk: Any) -> None:
        assert self.line.apply(junk) == []
        assert self.refused[-1].reason == "bad_report"

    @precondition(lambda self: self.shown)
    @rule(data=st.data(), at=TIMES)
    def save(self, data: st.DataObject, at: datetime) -> None:
        call_id = data.draw(st.sampled_from(list(self.shown)))
        (saved,) = self.take(self.line.saved(call_id, "7", at))
        assert isinstance(saved, events.CallSaved)

    # -------------------------------------------------------------- judging what is told

    def apply(self, report: Any) -> None:
        if isinstance(report, reports.Allowed):
            known = self.find(report.call_id)
            if known is not None and is_moment(report.at):
                known.is_limit_old = False
                known.allowed = EVERYTHING if report.features is None else features_of(report.features, known.allowed)
        if isinstance(report, reports.IdChanged) and is_text(report.call_id) and is_text(report.new_id):
            self.renamed.setdefault(report.call_id, set()).add(report.new_id)
        self.again = set()
        self.accepted = EVERYTHING
        if isinstance(report, reports.Originated | reports.Offered) and is_moment(report.at):
            self.accepted = features_of(report.allowed, EVERYTHING)
            known = self.find(report.call_id)
            if known is not None and known.call.direction is CallDirection.UNKNOWN and isinstance(report.allowed, int):
                known.is_limit_old, known.allowed = False, self.accepted
            late = timedelta(seconds=60)
            self.again = {call_id for call_id, call in self.over.items() if report.at - call.changed_at >= late}
        elif isinstance(report, reports.Snapshot):
            self.again = set(self.over)
        self.take(self.line.apply(report))
        self.accepted = EVERYTHING

    def find(self, call_id: Any) -> Shown | None:
        if not isinstance(call_id, str):
            return None
        for shown in self.shown.values():
            if shown.call.id == call_id:
                return shown
        return next((shown for shown in self.shown.values() if call_id in shown.call.former_ids), None)

    def take(self, told: list[Event]) -> list[Event]:
        for event in told:
            self.seq += 1
            assert (event.epoch, event.seq) == ("epoch", self.seq)
            note(type(event).__name__)
            if isinstance(event, events.CallEvent):
                self.take_call_event(event)
            elif isinstance(event, events.LineStateChanged):
                self.take_line_state(event)
            elif isinstance(event, events.CurrentCallChanged):
                self.current = None if event.call is None else self.shown[event.call.id]
        assert self.line.seq == self.seq
        self.seen_seqs.append(self.seq)
        return told

    def take_call_event(self, event: events.CallEvent) -> None:
        call = event.call
        if isinstance(event, events.CallStarted):
            assert call.id not in self.shown
            assert not {call.id, *call.former_ids} & (set(self.over) - self.again)
            self.over.pop(call.id, None)
            shown = self.shown[call.id] = Shown(call)
            shown.allowed = self.accepted
        elif isinstance(event, events.CallInfoChanged) and "id" in event.changed:
            assert call.id not in self.over
            assert not set(call.former_ids) & set(self.over)
            shown = self.shown.pop(call.former_ids[-1])
            self.shown[call.id] = shown
            self.naive = {call.id if known == call.former_ids[-1] else known: value for known, value in self.naive.items()}
        else:
            shown = self.shown[call.id]
        if isinstance(event, events.CallHeld):
            assert event.by not in shown.holders
            shown.holders.add(event.by)
        elif isinstance(event, events.CallUnheld):
            assert event.by in shown.holders
            shown.holders.remove(event.by)
        elif isinstance(event, events.CallConnected):
            assert not shown.connected
            shown.connected = True
        elif isinstance(event, events.CallFinished):
            shown.holders.clear()
            assert call.ended_at == call.changed_at
            assert call.cause is not None
            self.over.update(dict.fromkeys((call.id, *call.former_ids), call))
            del self.shown[call.id]
        elif isinstance(event, events.CallBusy):
            assert call.state is CallState.BUSY
        assert call.is_ended == isinstance(event, events.CallFinished)
        assert call.held_by == shown.holders
        assert (call.connected_at is not None) == shown.connected
        self.judge(call, shown)
        # Beside others a call may offer less than its state permits, and what an enquiry adds.
        assert not call.features & ~((permitted(call) | TRANSFERRING) & self.session & shown.allowed)
        before, shown.call = shown.call, call
        # That a journal stored it says nothing about the call itself.
        shown.told_seq = shown.told_seq if isinstance(event, events.CallSaved) else event.seq
        assert call.ringing_seconds >= before.ringing_seconds
        assert call.talk_seconds >= before.talk_seconds
        assert call.hold_seconds >= before.hold_seconds
        assert call.changed_at >= before.changed_at
        assert call.started_at == before.started_at
        self.naive[call.id] = call
        if call.is_ended:
            del self.naive[call.id]

    def judge(self, call: Call, shown: Shown) -> None:
        assert isinstance(call.own, Party)
        assert isinstance(call.other, Party)
        assert isinstance(call.direction, CallDirection)
        assert isinstance(call.attributes, MappingProxyType)
        assert call.parent_id is None or isinstance(call.parent_id, str)
        assert (call.state is CallState.HELD) == (bool(call.held_by) and not call.is_ended)
        if call.state in (CallState.CONNECTED, CallState.CONFERENCED):
            assert call.connected_at is not None
        elif call.state in (CallState.ALERTING, CallState.UNKNOWN, CallState.BUSY):
            assert call.connected_at is None
        assert F.UNHOLD not in call.features or Side.OWN in call.held_by
        parts = (call.ringing_seconds, call.talk_seconds, call.hold_seconds)
        assert min(parts) >= 0
        assert math.isclose(sum(parts), call.total_seconds, abs_tol=1e-6)

    def take_line_state(self, event: events.LineStateChanged) -> None:
        self.naive = {call.id: call for call in event.calls}
        self.drawn = event.calls
        self.line_features = event.features
        for call in event.calls:
            self.shown[call.id].call = call

    # -------------------------------------------------------------- judging what can be read

    @invariant()
    def what_was_told_is_what_there_is(self) -> None:
        calls = self.line.calls
        assert tuple(self.naive.values()) == calls
        assert set(self.shown) == {call.id for call in calls}
        for drawn, call in zip(self.drawn, calls, strict=True):
            for name in ("id", "state", "features", "role", "held_by", "stale"):
                assert getattr(drawn, name) == getattr(call, name), name
        assert self.line.features == self.line_features

    @invariant()
    def one_call_is_current(self) -> None:
        calls = self.line.calls
        assert [call.id for call in calls if call.role is CallRole.CURRENT] == (
            [self.line.current.id] if self.line.current else []
        )
        assert bool(calls) == (self.line.current is not None)
        assert (self.current.call.id if self.current else None) == (self.line.current.id if self.line.current else None)
        consult = self.line.consult
        assert consult is None or (self.line.current is not None and is_parent(self.line.current, consult))
        for call in calls:
            if call.role is CallRole.CONSULT:
                assert any(is_parent(parent, call) for parent in calls)

    @invariant()
    def what_is_offered_is_what_may_be_done(self) -> None:
        calls = self.line.calls
        for call in calls:
            assert call.features == offered(call, calls, self.session, self.shown[call.id].allowed)
        # A call of which nobody knows whether it is still there, and nobody asks, takes nothing away.
        is_lost = self.has_looked and all(call.stale and call.id not in self.line.left_out for call in calls)
        own = self.line.current.features if self.line.current and not is_lost else self.session & F.DIAL
        assert self.line.features == own | self.session & F.MONITOR
        assert self.line.session_features == self.session
        if self.line.provider_state is not ProviderState.IN_SERVICE:
            assert all(call.stale and not call.features for call in calls)
            assert not self.line.features

    @invariant()
    def calls_are_found(self) -> None:
        for call in self.line.calls:
            for call_id in (call.id, *call.former_ids):
                found = self.line.find(call_id)
                assert found is not None
                assert found.id == call.id
        assert set(self.line._former) == {former_id for call in self.line.calls for former_id in call.former_ids}
        for call_id in self.over:
            assert self.line.find(call_id) is None
            assert self.line.has_ended(call_id)

    @invariant()
    def an_enquiry_names_its_parent_as_it_is_called_now(self) -> None:
        calls = self.line.calls
        for call in calls:
            assert not any(call.parent_id in parent.former_ids for parent in calls if parent is not call)

    @invariant()
    def refusals_are_counted(self) -> None:
        assert len(self.refused) == sum(self.line.refusals.values())
        known = {"ended", "unknown_call", "repeated", "not_in_this_state", "bad_report", "id_in_use"}
        assert set(self.line.refusals) <= known


# On a busy computer it takes longer than other tests may.
TestLine = pytest.mark.timeout(300)(LineMachine.TestCase)
