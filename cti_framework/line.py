"""The pure state of one operator's line: reports in, events out. No I/O, no clock, no await.

Theory of operation
===================

A plugin reports what its PBX made known (``reports.py``). ``Line.apply()`` turns one report into the events that follow from
it (``events.py``), and is the only place where states, features, roles and the order of events are decided.

A call has a *base* state, which moves along ``TRANSITIONS``, and a set of parties that hold it. What a host sees as
``Call.state`` is HELD while anybody holds it and the base state otherwise: so a call that we and the far end both hold stays
HELD until both took it back, and a call that is held before the far end answered goes back to ALERTING, not to CONNECTED.

``FEATURES`` says what a state permits, ``CONSULTING`` what changes while an enquiry is made on behalf of a call. What is
offered is that, less what the session cannot do (``Started.features``), less what the PBX does not accept for this call
(``allowed`` of its beginning, ``Allowed``), and nothing at all while the connection is lost.

Time spent is booked when a report moves a call, from the reports' own times: until a call is connected it is ringing, then
it is talk, and whenever somebody holds it, it is hold. The three add up to ``Call.total_seconds``.

A report that the table does not allow is *refused*: counted in ``Line.refusals`` and handed to ``on_refused``, never fatal,
and changes nothing. One that is sound but for a field is applied without that field and counted as ``bad_report``: what
matters is that no call is hidden, and none that is gone is shown, because a plugin filled in something badly.
Whatever comes in whatever order: no call ends twice, none begins twice, and a call that was not seen to begin is adopted as
soon as anything is said about it.

What an identifier means depends on when it is said. One whose call is over stays over for what is late or comes twice, and for a
PBX's list that still has it. It names a new call where a beginning is reported a minute or more after the end, and where a list
has it with a beginning of its own after the end. An end that was only inferred was a guess: a list asked for well after it that
has the call is right, and one that is asked for sooner is asked for again. An identifier that an open call had before goes on
naming that call. That a call is called otherwise from now on may be said before the call is known: it is remembered, for a
snapshot on its way has the call by the identifier that it had.

A snapshot is an answer, and the PBX goes on while it is on its way. What events have said of a call since the question is newer
and stays. A list can lag: a call that began just before the question is over only when a later one does not show it either. Calls
that were left as they are for one of these two reasons are named in ``Line.left_out``, and the core asks again. A call that stays
stale although the PBX has told what it has, and of which nobody asks again, may be over for long: it does not keep the operator
from calling.

No call goes back: one that was connected and is said to ring, or to be busy, stays connected, and is held by whom the PBX says.
A call of which the PBX says that it is there and not what it does stays as it is. What is said of a call while it is stale makes
it fresh only if it tells what the call does: after a tone it is no better known whether it is held.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from cti_framework import events, reports
from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import (
    NO_ATTRIBUTES,
    Call,
    CallDirection,
    CallFeature,
    CallRole,
    CallState,
    EndCause,
    Party,
    Redirection,
    Side,
)
from cti_framework.construct import constructor
from cti_framework.errors import CtiError
from cti_framework.events import Event, ProviderState
from cti_framework.line_table import (
    ADOPTED_AS,
    ALL_BITS,
    BIT_DIAL,
    BIT_MONITOR,
    BIT_UNHOLD,
    BITS_CONNECTED,
    BITS_HELD,
    BITS_HELD_UNCONNECTED,
    BITS_PICKED_UP,
    BITS_PLAIN,
    BITS_RINGING_IN,
    BITS_RINGING_OUT,
    CONSULTING,
    FEATURES,
    HOLDERS,
    OWN_BIT,
    SIDE_BITS,
    SIDES,
    TRANSITIONS,
    UNKNOWN_BIT,
    ConsultRule,
    Situation,
)

__all__ = ["CONSULTING", "FEATURES", "TRANSITIONS", "ConsultRule", "Line", "Refusal", "Situation"]

T = TypeVar("T")

_NO_PARTY: Final = Party()


_S_HELD: Final = CallState.HELD
_S_NONE: Final = CallState.NONE
_CURRENT: Final = CallRole.CURRENT
_CONSULT: Final = CallRole.CONSULT
_WAITING: Final = CallRole.WAITING
_LIST_LAG: Final = timedelta(seconds=1)
"""How long after it began a call may be missing in a PBX's list of calls (facts: esl-control, show channels)."""
_YOUNG: Final = timedelta(seconds=5)
"""What is younger than this may be missing for that: more than the lag, for the clocks are known only about."""
_USED_AGAIN_AFTER: Final = timedelta(seconds=60)
"""How long after an end a beginning by the same identifier is another call's: what is late or told twice comes sooner."""
_REMEMBERED_RENAMES: Final = 256
_End: TypeAlias = tuple[datetime, int, datetime | None, reports.Ended | None]
"""What is kept of an identifier whose call is over: when it ended, the number of the event that told it, when it was inferred (if
it was not reported), and the report itself where the call was not known by that identifier yet."""
_TELLS_STATE: Final = frozenset({reports.Answered, reports.Connected, reports.Conferenced, reports.Busy})
"""What is said of a call that tells what it does. Holding does where it is known to be connected."""
# What can make roles and features others; the rest of what is known about a call cannot.
_SETTLED_BY: Final = frozenset({"state", "direction", "parent_id"})

# Built for every report, so built directly.
_call = constructor(Call)
_agent_state_changed = constructor(events.AgentStateChanged)
_call_busy = constructor(events.CallBusy)
_call_centre_mode_changed = constructor(events.CallCentreModeChanged)
_call_connected = constructor(events.CallConnected)
_call_finished = constructor(events.CallFinished)
_call_held = constructor(events.CallHeld)
_call_unheld = constructor(events.CallUnheld)
_call_info_changed = constructor(events.CallInfoChanged)
_call_saved = constructor(events.CallSaved)
_call_started = constructor(events.CallStarted)
_current_call_changed = constructor(events.CurrentCallChanged)
_disconnected = constructor(events.Disconnected)
_dtmf_entered = constructor(events.DtmfEntered)
_error_occurred = constructor(events.ErrorOccurred)
_initialized = constructor(events.Initialized)
_line_state_changed = constructor(events.LineStateChanged)
_provider_state_changed = constructor(events.ProviderStateChanged)
_raw_message = constructor(events.RawMessage)
_recording_state_changed = constructor(events.RecordingStateChanged)
_snapshot_taken = constructor(events.SnapshotTaken)


class Refusal:
    """A report that was not applied, and why.

    Attributes:
        reason: One of ``ended``, ``unknown_call``, ``repeated``, ``not_in_this_state``, ``bad_report``, ``id_in_use``.
        report: The report.
    """

    __slots__ = ("reason", "report")

    def __init__(self, reason: str, report: object) -> None:
        self.reason = reason
        self.report = report

    def __repr__(self) -> str:
        call_id = getattr(self.report, "call_id", None)
        about = f" about call {call_id}" if call_id is not None else ""
        return f"<Refusal {self.reason}: {type(self.report).__name__}{about}>"


class _OpenCall:
    """What the line keeps of a call while it is open."""

    __slots__ = (
        "allowed",
        "answered_at",
        "attributes",
        "base",
        "begun_seq",
        "cause",
        "changed_at",
        "connected_at",
        "direction",
        "ended_at",
        "features",
        "former_ids",
        "frozen",
        "heard_seq",
        "hold",
        "holders",
        "id",
        "inferred",
        "is_left_out",
        "is_listed",
        "known_at",
        "missing_since",
        "muted",
        "other",
        "own",
        "parent_id",
        "pbx_cause",
        "recording",
        "redirections",
        "ringing",
        "role",
        "stale",
        "started_at",
        "talk",
        "told_seq",
    )

    def __init__(self, call_id: str, direction: CallDirection, base: CallState, at: datetime) -> None:
        self.id = call_id
        self.direction = direction
        self.base = base
        self.holders = 0
        self.role = CallRole.CURRENT
        self.own = _NO_PARTY
        self.other = _NO_PARTY
        self.parent_id: str | None = None
        self.former_ids: tuple[str, ...] = ()
        self.started_at = at
        self.changed_at = at
        self.answered_at: datetime | None = None
        self.connected_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.ringing = 0.0
        self.talk = 0.0
        self.hold = 0.0
        self.cause: EndCause | None = None
        self.pbx_cause: str | None = None
        self.inferred = False
        # When the PBX was last known to have it, beside what it reported about it.
        self.known_at = at
        self.stale = False
        self.recording: bool | None = None
        self.muted = False
        self.redirections: tuple[Redirection, ...] = ()
        self.attributes: Mapping[str, Any] = NO_ATTRIBUTES
        self.allowed: int | None = None
        self.features = 0
        self.frozen: Call | None = None
        # The latest event that told something of it, and the latest that told what no snapshot says: that it was there.
        self.told_seq = 0
        self.heard_seq = 0
        self.begun_seq = 0
        # Whether a snapshot has shown it, and whether one was of no use for it and no other has come since.
        self.is_listed = False
        self.is_left_out = False
        self.missing_since: datetime | None = None

    @property
    def state(self) -> CallState:
        return CallState.HELD if self.holders and self.base is not CallState.NONE else self.base

    @property
    def is_talked_on(self) -> bool:
        return (self.base is CallState.CONNECTED or self.base is CallState.CONFERENCED) and not self.holders & OWN_BIT

    def permitted_bits(self) -> int:
        """What the state permits, before the other calls and the session's and the PBX's limits."""
        base = self.base
        if self.holders:
            unconnected = self.connected_at is None and base is not CallState.CONNECTED
            return (BITS_HELD_UNCONNECTED if unconnected else BITS_HELD)[self.holders]
        if base is CallState.CONNECTED:
            return BITS_CONNECTED
        if base is not CallState.ALERTING:
            return BITS_PLAIN[base]
        if self.direction is not CallDirection.IN:
            return BITS_RINGING_OUT
        return BITS_RINGING_IN if self.answered_at is None else BITS_PICKED_UP

    def book(self, at: datetime) -> None:
        """Add the time since the last change to what the call did in it, and make ``at`` the time of the change."""
        self.frozen = None
        seconds = (at - self.changed_at).total_seconds()
        if seconds <= 0.0:
            return
        self.changed_at = at
        if self.holders:
            self.hold += seconds
        elif self.connected_at is None:
            self.ringing += seconds
        else:
            self.talk += seconds


class _Renaming:
    """That a call that nobody knew is called otherwise now.

    Args:
        new_id: How.
        at: Since when.
        seq: The number of the event that would have told it.
    """

    __slots__ = ("at", "new_id", "seq")

    def __init__(self, new_id: str, at: datetime, seq: int) -> None:
        self.new_id = new_id
        self.at = at
        self.seq = seq


class _Index:
    """What is asked of all calls when one of them changes, while a snapshot changes a thousand of them.

    A snapshot ends its calls before there is an index, so in an index calls only begin and change.

    Args:
        calls: The open calls, in their order.
    """

    __slots__ = ("_heap", "_parent_of", "calls", "enquiries", "is_renamed", "order", "talked_on")

    def __init__(self, calls: Collection[_OpenCall], parent_of: Callable[[_OpenCall], _OpenCall | None]) -> None:
        self._parent_of = parent_of
        self.calls = list(calls)
        self.order = {call: place for place, call in enumerate(self.calls)}
        self.talked_on = {call for call in self.calls if call.is_talked_on}
        # Those among them that are nobody's enquiry, and some that are or were: it is looked at when one is taken from it.
        self._heap = [self.order[call] for call in self.talked_on]
        heapify(self._heap)
        self.enquiries: dict[str, dict[_OpenCall, None]] = {}
        for call in self.calls:
            self.file_under_parent(call)
        self.is_renamed = False

    def file_under_parent(self, call: _OpenCall) -> None:
        """Note what a call says of its parent."""
        if call.parent_id is not None:
            self.enquiries.setdefault(call.parent_id, {})[call] = None

    def take(self, call: _OpenCall) -> None:
        """Note what a call that has changed is now."""
        if call not in self.order:
            self.order[call] = len(self.calls)
            self.calls.append(call)
        self.file_under_parent(call)
        if call.is_talked_on:
            self.talked_on.add(call)
            heappush(self._heap, self.order[call])
        else:
            self.talked_on.discard(call)

    def enquiries_for(self, call: _OpenCall) -> Iterator[_OpenCall]:
        """Give the calls that were made on behalf of one."""
        for call_id in (call.id, *call.former_ids):
            for enquiry in self.enquiries.get(call_id, ()):
                if enquiry.parent_id == call_id and self._parent_of(enquiry) is call:
                    yield enquiry

    def first_talked_on(self) -> _OpenCall | None:
        """Give the first call that is talked on and is nobody's enquiry."""
        while self._heap:
            call = self.calls[self._heap[0]]
            if call in self.talked_on and self._parent_of(call) is None:
                return call
            heappop(self._heap)
        return None


class Line:
    """The state of one operator's line.

    Args:
        epoch: Names this opening of the session; every event carries it.
        raw: Whether events carry the PBX's own words, and ``Raw`` reports become ``RawMessage`` events.
        remembered_ends: How many ended identifiers are kept, so that late reports do not revive a call.
        waits_for_calls: Whether after each log in no call is offered to be made until a snapshot has told which there are.
        on_refused: Told each report that is refused.

    Attributes:
        is_agent_left_out: Whether the latest snapshot's agent was left out, for something newer had been told of him. Ask again.
    """

    def __init__(
        self,
        epoch: str,
        *,
        raw: bool = False,
        remembered_ends: int = 4096,
        waits_for_calls: bool = False,
        on_refused: Callable[[Refusal], None] | None = None,
    ) -> None:
        self.epoch = epoch
        self.seq = 0
        self.refusals: Counter[str] = Counter()
        self.agent = Agent()
        self.agent_states: tuple[AgentState, ...] = ()
        self.agent_features = AgentFeature.NONE
        self.own_numbers: tuple[str, ...] = ()
        self.provider_state = events.ProviderState.CLOSED
        self.provider_state_event: events.ProviderStateChanged | None = None
        self._raw = raw
        self._remembered_ends = remembered_ends
        self._on_refused = on_refused
        self._open: dict[str, _OpenCall] = {}
        self._former: dict[str, str] = {}
        self._ended: OrderedDict[str, _End] = OrderedDict()
        self._renamed: OrderedDict[str, _Renaming] = OrderedDict()
        # Listed by the PBX soon after their end was inferred.
        self._doubted: tuple[str, ...] = ()
        # Whose limit was told before an outage: the PBX may accept other things now.
        self._limited_before: set[_OpenCall] = set()
        self._current: _OpenCall | None = None
        self._announced_current: _OpenCall | None = None
        self._line_changed = False
        self._waits_for_calls = waits_for_calls
        self._has_looked = False
        self._session_bits = 0
        # What may be done on a line without calls, and beside them.
        self._free_bits = 0
        self._line_bits = 0
        self._feature_cache: dict[int, CallFeature] = {}
        self._in_service_since: datetime | None = None
        self._out: list[Event] = []
        self._batch = False
        self._index: _Index | None = None
        self._asked_at_seq: int | None = None
        self._asked_at: datetime | None = None
        self._agent_told_seq = 0
        self._mode_told_seq = 0
        self.is_agent_left_out = False

    # ------------------------------------------------------------------ what a host reads

    @property
    def calls(self) -> tuple[Call, ...]:
        """All open calls, in the order in which they began."""
        return tuple([call.frozen or self._freeze(call) for call in self._open.values()])

    @property
    def current(self) -> Call | None:
        """The call that the operator deals with first."""
        return None if self._current is None else self._freeze(self._current)

    @property
    def consult(self) -> Call | None:
        """The enquiry call made on behalf of the current one, if there is one."""
        for call in self._open.values():
            if call.role is CallRole.CONSULT and self._parent_of(call) is self._current:
                return self._freeze(call)
        return None

    @property
    def features(self) -> CallFeature:
        """What may be done on the line now."""
        return self._flags(self._line_bits)

    @property
    def session_features(self) -> CallFeature:
        """What this session can do with calls at all."""
        return self._flags(self._session_bits)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Calls that a snapshot left as they are: whoever asked asks again.

        Something newer had been told of them, or they are missing in it though they began just before the question. Also those
        that it has though their end was inferred just before.
        """
        doubted = (call_id for call_id in self._doubted if call_id not in self._open)
        return (*(call.id for call in self._open.values() if call.is_left_out), *doubted)

    def find(self, call_id: str) -> Call | None:
        """Find an open call.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            The call, or ``None`` if no open call has or had that identifier.
        """
        call = self._open.get(call_id) or self._open.get(self._former.get(call_id, ""))
        return None if call is None else self._freeze(call)

    def has_ended(self, call_id: str) -> bool:
        """Tell whether a call of this identifier has been here and is over.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            Whether; the latest few thousand are remembered.
        """
        end = self._ended.get(call_id)
        return end is not None and end[3] is None

    # ------------------------------------------------------------------ what the core and the plugins say

    def apply(self, report: reports.Report) -> list[Event]:
        """Apply one report.

        Args:
            report: What the PBX made known. Whatever it is, this never raises.

        Returns:
            The events that follow from it, numbered, in order; empty if it was refused or changed nothing.
        """
        applier = _APPLIERS.get(type(report))
        try:
            if applier is None or not ((type(report.at) is datetime and report.at.tzinfo is UTC) or _is_moment(report.at)):
                self._refuse("bad_report", report)
            else:
                applier(self, report)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            # A plugin that mypy did not check: a field holds what its type does not allow.
            self._refuse("bad_report", report)
        out = self._out
        self._out = []
        return out

    def apply_snapshot(self, snapshot: reports.Snapshot, *, asked_at_seq: int, asked_at: datetime | None = None) -> list[Event]:
        """Make the line agree with what the PBX says it has, except where its events said something newer.

        Args:
            snapshot: The PBX's answer.
            asked_at_seq: ``Line.seq`` when the PBX was asked. Calls of which something was told since are left as they are.
            asked_at: When it was asked, on the session's clock; ``None``: just now. A call that began a few seconds before it is
                over only when the answer to a later question lacks it too.

        Returns:
            The events that follow from it; the last is ``SnapshotTaken``. ``left_out`` tells which calls to ask for again.
        """
        self._asked_at_seq = asked_at_seq
        self._asked_at = asked_at
        try:
            return self.apply(snapshot)
        finally:
            self._asked_at_seq = None

    def connection_changed(
        self,
        state: ProviderState,
        at: datetime,
        *,
        attempt: int = 0,
        next_try_at: datetime | None = None,
        error: CtiError | None = None,
        known_until: datetime | None = None,
    ) -> list[Event]:
        """Say what the connection to the PBX does. The core says it; a plugin's ``Started`` says IN_SERVICE itself.

        Args:
            state: What it does now.
            at: Since when, on the session's clock.
            attempt: The number of the present attempt, from 1.
            next_try_at: When the next one is due.
            error: What the latest one ended with.
            known_until: Until when the PBX was heard, where it was noticed only later that it is gone.

        Returns:
            The events that follow from it.
        """
        was = self.provider_state
        if was is ProviderState.IN_SERVICE and state is not was:
            self._session_bits = self._free_bits = 0
            self._has_looked = False
            self._renamed.clear()
            self._doubted = ()
            self._limited_before = {call for call in self._open.values() if call.allowed is not None}
            for call in self._open.values():
                if not call.stale:
                    call.known_at = known_until or at
                call.stale = True
                call.is_left_out = False
                call.missing_since = None
                call.frozen = None
            self._number(_disconnected, at, error)
        self._state_changed(state, at, attempt, next_try_at, error)
        self._settle()
        self._announce(at, changed=was is ProviderState.IN_SERVICE and state is not was)
        return self._take()

    def saved(self, call_id: str, database_id: str, at: datetime, ended: Call | None = None) -> list[Event]:
        """Say that a journal stored a call.

        Args:
            call_id: Which.
            database_id: Its identifier in the journal.
            at: When.
            ended: The call itself, where it is over already.

        Returns:
            The event, or nothing if neither is known.
        """
        call = self.find(call_id) or ended
        if call is not None:
            self._number(_call_saved, at, call, None, database_id)
        return self._take()

    # ------------------------------------------------------------------ events

    def resync(self, missed: int | None, at: datetime) -> events.ResyncRequired:
        """Tell all there is, for a reader who cannot be given the events that led to it.

        Args:
            missed: How many events that reader does not get.
            at: Now.

        Returns:
            An event with the number of the latest one: the reader goes on after it.
        """
        return events.ResyncRequired(self.epoch, self.seq, at, missed, self.calls, self.agent, self.provider_state)

    def _take(self) -> list[Event]:
        out = self._out
        self._out = []
        return out

    def _number(self, event_type: Callable[..., Event], at: datetime, *fields: Any) -> None:
        self.seq += 1
        self._out.append(event_type(self.epoch, self.seq, at, *fields))

    def _tell(self, event_type: Callable[..., Event], call: _OpenCall, report: reports.Report, *fields: Any) -> None:
        self.seq = call.told_seq = seq = self.seq + 1
        raw = report.raw if self._raw else None
        self._out.append(event_type(self.epoch, seq, report.at, call.frozen or self._freeze(call), raw, *fields))

    def _tell_beside(self, event_type: Callable[..., Event], call: _OpenCall, report: reports.Report, *fields: Any) -> None:
        """Tell of a call what no snapshot says: one that is on its way is no older for it."""
        told_seq = call.told_seq
        self._tell(event_type, call, report, *fields)
        call.heard_seq, call.told_seq = call.told_seq, told_seq

    def _refuse_as_known(self, reason: str, report: reports.Report, call: _OpenCall) -> None:
        # It says nothing new of what the line has; of what a snapshot has that was asked for before, it may.
        call.told_seq = self.seq + 1
        self._refuse(reason, report)

    def _refuse(self, reason: str, report: object) -> None:
        self.refusals[reason] += 1
        if self._on_refused is not None:
            self._on_refused(Refusal(reason, report))

    # ------------------------------------------------------------------ fields of reports, as far as they are sound

    def _sound(self, value: object, kind: type[T], report: object) -> T | None:
        """Give the value of a report's field, or ``None`` where it is none or not of its kind, which is counted."""
        if value is None or isinstance(value, kind):
            return value
        self._refuse("bad_report", report)
        return None

    def _all_sound(self, values: object, kind: type[T], report: object) -> tuple[T, ...]:
        """Give the values of a report's field that are of their kind; the others are counted."""
        if type(values) is tuple and not values:
            return ()
        told = values if isinstance(values, (tuple, list, frozenset, set)) else (values,)
        sound = tuple(value for value in told if isinstance(value, kind))
        if len(sound) != len(told) or told is not values:
            self._refuse("bad_report", report)
        return sound

    def _attributes(self, value: object, report: object) -> Mapping[str, Any] | None:
        """Give attributes of our own: a call never changes, whatever the plugin does with its dictionary."""
        if value is NO_ATTRIBUTES:
            return NO_ATTRIBUTES
        # mypy: an abstract class is a kind like any other here.
        attributes: Mapping[str, Any] | None = self._sound(value, Mapping, report)  # type: ignore[type-abstract]
        return MappingProxyType(dict(attributes)) if attributes is not None else None

    def _bits(self, value: object, report: object) -> int | None:
        bits = self._sound(value, int, report)
        return None if bits is None else int(bits) & ALL_BITS

    # ------------------------------------------------------------------ finding and adopting calls

    def _known(self, call_id: str) -> _OpenCall | None:
        call = self._open.get(call_id)
        if call is None and call_id in self._former:
            call = self._open.get(self._former[call_id])
        return call

    def _found(self, report: reports.CallReport) -> _OpenCall | None:
        """Find the open call that a report is about, also by an identifier that it lost before it was known."""
        call = self._known(report.call_id)
        if call is None and self._renamed and (names := self._renamed_to(report.call_id, report.at)):
            call = self._known(names[-1])
        return call

    def _renamed_to(self, call_id: str, at: datetime | None = None) -> list[str]:
        """Tell what a call was called, one after the other, that nobody knew when it was renamed.

        Args:
            call_id: What it is called in a report or a snapshot.
            at: The report's time; ``None``: it is the snapshot's that is being taken over.
        """
        names: list[str] = []
        asked_at_seq = self._asked_at_seq
        while (renaming := self._renamed.get(call_id)) is not None:
            if at is None:
                is_over = asked_at_seq is not None and renaming.seq <= asked_at_seq
            else:
                is_over = at - renaming.at >= _USED_AGAIN_AFTER
            if is_over:
                break
            call_id = renaming.new_id
            names.append(call_id)
        return names

    def _remember_renaming(self, old: str, new: str, at: datetime) -> None:
        # The latest word is the last in its chain, so no chain ever comes back to where it began.
        self._renamed.pop(new, None)
        self._renamed[old] = _Renaming(new, at, self.seq + 1)
        self._renamed.move_to_end(old)
        if len(self._renamed) > _REMEMBERED_RENAMES:
            self._renamed.popitem(last=False)

    def _call_for(self, report: reports.CallReport) -> _OpenCall | None:
        call = self._open.get(report.call_id) or self._found(report)
        if call is None:
            return self._adopt(report)
        if call.stale and (
            type(report) in _TELLS_STATE
            or (
                isinstance(report, reports.Held | reports.Retrieved) and call.base in (CallState.CONNECTED, CallState.CONFERENCED)
            )
        ):
            self._freshen(call)
            self._announce(report.at)
        return call

    def _freshen(self, call: _OpenCall) -> None:
        # What the PBX says about a call after the reconnection is newer than the outage.
        if self.provider_state is ProviderState.IN_SERVICE and call.stale:
            call.stale = False
            call.frozen = None
            self._line_changed = True
            self._settle()

    def _freshen_all(self, there: Collection[_OpenCall]) -> None:
        # All at once: a thousand calls would be settled a thousand times.
        if self.provider_state is ProviderState.IN_SERVICE:
            for call in there:
                if call.stale and not self._is_newer(call):
                    call.stale = False
                    call.frozen = None
                    self._line_changed = True
        self._settle()

    def _adopt(self, report: reports.CallReport) -> _OpenCall | None:
        base = ADOPTED_AS.get(type(report))
        if not _is_identifier(report.call_id):
            self._refuse("bad_report", report)
            return None
        *former_ids, call_id = report.call_id, *self._renamed_to(report.call_id, report.at)
        if call_id in self._ended:
            self._refuse("ended", report)
        elif base is None:
            self._refuse("unknown_call", report)
        else:
            call = _OpenCall(
                call_id,
                CallDirection.UNKNOWN,
                CallState.UNKNOWN if base is CallState.CONNECTED else base,
                report.at,
            )
            self._had_names(call, former_ids)
            self._begin(call, report)
            if base is CallState.CONNECTED:
                self._connect(call, report, base)
            return call
        return None

    def _had_names(self, call: _OpenCall, former_ids: Collection[str]) -> None:
        for former_id in former_ids:
            call.former_ids = (*call.former_ids, former_id)
            self._former[former_id] = call.id
            self._ended.pop(former_id, None)

    def _begin(self, call: _OpenCall, report: reports.Report) -> None:
        call.stale = self.provider_state is not ProviderState.IN_SERVICE
        self._open[call.id] = call
        self._settle(call)
        self.seq = call.told_seq = call.begun_seq = self.seq + 1
        raw = report.raw if self._raw else None
        self._out.append(_call_started(self.epoch, self.seq, call.started_at, self._freeze(call), raw))
        if self._renamed:
            # Whatever it once was a former identifier of, now it is this call's.
            self._renamed.pop(call.id, None)
        if call.former_ids:
            for former_id in call.former_ids:
                self._tell_moved(self._move_enquiries(former_id, call), report)
        self._announce(report.at, changed=True)

    def _present(self, parent_id: str | None) -> str | None:
        """Give what the call is called now that is somebody's parent."""
        parent = None if parent_id is None else self._known(parent_id)
        return parent_id if parent is None else parent.id

    def _move_enquiries(self, old: str, parent: _OpenCall) -> list[_OpenCall]:
        """Have those that name their parent by an identifier that it had name it by the present one."""
        index = self._index
        moved: list[_OpenCall] = []
        for call in list(self._open.values()) if index is None else index.enquiries.pop(old, ()):
            if call.parent_id == old and call is not parent:
                call.parent_id = parent.id
                call.frozen = None
                moved.append(call)
                if index is not None:
                    index.file_under_parent(call)
        return moved

    def _tell_moved(self, enquiries: list[_OpenCall], report: reports.Report) -> None:
        for call in enquiries:
            self._settle(call)
            self._tell_beside(_call_info_changed, call, report, ("parent_id",))

    def _parent_of(self, call: _OpenCall) -> _OpenCall | None:
        if call.parent_id is None:
            return None
        parent = self._known(call.parent_id)
        return None if parent is call else parent

    def _freeze(self, call: _OpenCall) -> Call:
        frozen = call.frozen
        if frozen is None:
            base = call.base
            frozen = call.frozen = _call(
                call.id,
                call.direction,
                _S_HELD if call.holders and base is not _S_NONE else base,
                call.role,
                call.own,
                call.other,
                call.started_at,
                call.changed_at,
                self._feature_cache.get(call.features) or self._flags(call.features),
                HOLDERS[call.holders],
                call.former_ids,
                call.parent_id,
                call.answered_at,
                call.connected_at,
                call.ended_at,
                call.ringing,
                call.talk,
                call.hold,
                call.cause,
                call.pbx_cause,
                call.inferred,
                call.stale,
                call.recording,
                call.muted,
                call.redirections,
                call.attributes,
            )
        return frozen

    # ------------------------------------------------------------------ features and roles

    def _flags(self, bits: int) -> CallFeature:
        flags = self._feature_cache.get(bits)
        if flags is None:
            flags = self._feature_cache[bits] = CallFeature(bits)
        return flags

    def _settle(self, touched: _OpenCall | None = None) -> None:
        """Work out roles and features again, and note whether any of them changed.

        Args:
            touched: The call that was changed, where it is only one. In an index the others are worked out when all are through.
        """
        current: _OpenCall | None
        if len(self._open) == 1:
            (current,) = self._open.values()
            if self._index is not None:
                self._index.take(current)
            changed = self._assign(current, _CURRENT, current.permitted_bits())
        elif self._index is not None and touched is not None:
            self._settle_in_index(touched, self._index)
            return
        else:
            current, changed = self._settle_several()
        if current is None or (current.stale and self._has_looked and self._are_all_lost()):
            line_bits = self._free_bits & BIT_DIAL
        else:
            line_bits = current.features
        line_bits |= self._free_bits & BIT_MONITOR
        if changed or current is not self._current or line_bits != self._line_bits:
            self._current = current
            self._line_bits = line_bits
            self._line_changed = True

    def _are_all_lost(self) -> bool:
        """Whether it is not known of any call that it is still there, and nobody asks."""
        return all(call.stale and not call.is_left_out for call in self._open.values())

    def _assign(self, call: _OpenCall, role: CallRole, bits: int) -> bool:
        """Give a call its role and, of what is permitted, what can be offered; tell whether that is different."""
        if call.stale:
            bits = 0
        else:
            bits &= self._session_bits
            if call.allowed is not None:
                bits &= call.allowed
        if bits == call.features and role is call.role:
            return False
        call.features = bits
        call.role = role
        call.frozen = None
        return True

    def _settle_in_index(self, call: _OpenCall, index: _Index) -> None:
        """Give one call the role and the features that ``_settle_several`` would give it."""
        index.take(call)
        current = self._current_in_index(index)
        if current is not self._current:
            self._current = current
            self._line_changed = True
        own_parent = None if call is current else self._parent_of(call)
        bits = call.permitted_bits()
        for enquiry in index.enquiries_for(call):
            bits = _with_enquiry(call, enquiry, bits)
        if own_parent is not None:
            role = _CONSULT
            bits &= ~int(CONSULTING["held" if own_parent.is_talked_on else "talking"].consult_loses)
        else:
            role = _CURRENT if call is current else _WAITING
        if bits & BIT_UNHOLD and any(
            other is not own_parent and self._parent_of(other) is not call for other in index.talked_on if other is not call
        ):
            bits &= ~BIT_UNHOLD
        self._line_changed |= self._assign(call, role, bits)

    def _current_in_index(self, index: _Index) -> _OpenCall | None:
        """Choose the current call as ``_choose_current`` does."""
        present = self._current
        if present is not None and self._parent_of(present) is None:
            if present.is_talked_on or next(index.enquiries_for(present), None) is not None:
                return present
            return index.first_talked_on() or present
        talked_on = index.first_talked_on()
        if talked_on is not None:
            return talked_on
        candidates = [call for call in index.calls if self._parent_of(call) is None]
        return min(candidates, key=_precedence) if candidates else index.calls[0]

    def _settle_several(self) -> tuple[_OpenCall | None, bool]:
        calls = list(self._open.values())
        talked_on = [call for call in calls if call.is_talked_on]
        parents: dict[_OpenCall, _OpenCall] = {}
        enquiries: dict[_OpenCall, list[_OpenCall]] = {}
        for call in calls:
            if call.parent_id is not None and (parent := self._parent_of(call)) is not None:
                parents[call] = parent
                enquiries.setdefault(parent, []).append(call)
        # Calls that are each other's parents: take the first, so that one is shown as current whatever a PBX says.
        candidates = [call for call in calls if call not in parents] or calls[:1] if parents else calls
        current = self._choose_current(candidates, enquiries)
        changed = False
        for call in calls:
            own_parent = None if call is current else parents.get(call)
            bits = call.permitted_bits()
            if call in enquiries:
                for enquiry in enquiries[call]:
                    bits = _with_enquiry(call, enquiry, bits)
            if own_parent is not None:
                role = _CONSULT
                bits &= ~int(CONSULTING["held" if own_parent.is_talked_on else "talking"].consult_loses)
            else:
                role = _CURRENT if call is current else _WAITING
            if bits & BIT_UNHOLD and any(
                other is not own_parent and parents.get(other) is not call for other in talked_on if other is not call
            ):
                # One mouth: a held call is taken back when no other call is being talked on.
                bits &= ~BIT_UNHOLD
            changed |= self._assign(call, role, bits)
        return current, changed

    def _choose_current(self, candidates: list[_OpenCall], enquiries: Mapping[_OpenCall, list[_OpenCall]]) -> _OpenCall | None:
        if not candidates:
            return None
        present = self._current if self._current in candidates else None
        if present is not None and (present.is_talked_on or present in enquiries):
            return present
        talked_on = next((call for call in candidates if call.is_talked_on), None)
        return talked_on or present or min(candidates, key=_precedence)

    def _announce(self, at: datetime, *, changed: bool = False) -> None:
        """Say which call is current and what may be done, where that is not what was said last."""
        if changed:
            self._line_changed = True
        if self._batch:
            return
        if self._current is not self._announced_current:
            self._announced_current = self._current
            self._number(_current_call_changed, at, self.current)
        if self._line_changed:
            self._line_changed = False
            self.seq = seq = self.seq + 1
            flags = self._feature_cache.get(self._line_bits) or self._flags(self._line_bits)
            current = self._current
            calls = (current.frozen or self._freeze(current),) if current is not None and len(self._open) == 1 else self.calls
            self._out.append(_line_state_changed(self.epoch, seq, at, flags, calls))

    # ------------------------------------------------------------------ a call's life

    def _apply_originated(self, report: reports.Originated) -> None:
        parent_id = self._present(self._sound(report.parent_id, str, report))
        call = self._new_call(report, CallDirection.OUT, parent_id=parent_id)
        if call is not None:
            call.parent_id = parent_id
            self._begin(call, report)

    def _apply_offered(self, report: reports.Offered) -> None:
        redirections = self._all_sound(report.redirections, Redirection, report)
        call = self._new_call(report, CallDirection.IN, redirections=redirections or None)
        if call is not None:
            call.redirections = redirections
            self._begin(call, report)

    def _own_party(self) -> Party:
        return Party(self.own_numbers[0]) if self.own_numbers else _NO_PARTY

    def _new_call(self, report: reports.Originated | reports.Offered, direction: CallDirection, **news: Any) -> _OpenCall | None:
        """Make the call that a report begins, or tell what the report adds to one that is open already."""
        known = self._known(report.call_id) if not self._renamed else self._found(report)
        if known is not None and known.direction is not CallDirection.UNKNOWN:
            self._refuse("repeated", report)
            return None
        if known is None and not _is_identifier(report.call_id):
            self._refuse("bad_report", report)
            return None
        call_id = report.call_id
        end: _End | None = None
        if known is None:
            names = self._renamed_to(call_id, report.at) if self._renamed else ()
            call_id = names[-1] if names else call_id
            end = self._ended.get(call_id)
            if end is not None and report.at - end[0] < _USED_AGAIN_AFTER:
                self._refuse("ended", report)
                return None
        own = self._sound(report.own, Party, report)
        other = self._sound(report.other, Party, report)
        attributes = self._attributes(report.attributes, report)
        if known is None:
            if end is not None:
                self._use_again(call_id, report)
            call = _OpenCall(call_id, direction, CallState.ALERTING, report.at)
            if names:
                self._had_names(call, (report.call_id, *names[:-1]))
            call.own = own or self._own_party()
            call.other = other or _NO_PARTY
            call.attributes = attributes or NO_ATTRIBUTES
            call.allowed = self._bits(report.allowed, report)
            return call
        # It was adopted from something said about it earlier; now its beginning comes in.
        bits = self._bits(report.allowed, report)
        if bits is not None:
            # It is settled below: its direction changes at least.
            known.allowed = bits
            self._limited_before.discard(known)
        self._freshen(known)
        state = CallState.ALERTING if known.base is CallState.UNKNOWN else None
        self._change_info(known, report, state, own=own, other=other, direction=direction, attributes=attributes or None, **news)
        return None

    def _use_again(self, call_id: str, report: reports.Report) -> None:
        """Forget that a call of this identifier is over: another has it now, on whose behalf no enquiry was made yet."""
        del self._ended[call_id]
        for call in list(self._open.values()):
            if call.parent_id == call_id:
                call.parent_id = None
                call.frozen = None
                self._tell_moved([call], report)

    def _next_base(self, call: _OpenCall, report: reports.CallReport) -> CallState | None:
        """Tell to which base state the report moves the call; if to none, refuse it."""
        base = TRANSITIONS[call.base].get(type(report))
        if base is None:
            self._refuse_as_known("not_in_this_state", report, call)
        return base

    def _apply_answered(self, report: reports.Answered) -> None:
        call = self._call_for(report)
        if call is None or (base := self._next_base(call, report)) is None:
            return
        if call.answered_at is not None and base is call.base:
            self._refuse_as_known("repeated", report, call)
            return
        changed = ("answered_at",) if base is call.base else ("state", "answered_at")
        call.book(report.at)
        call.base = base
        if call.answered_at is None:
            call.answered_at = max(report.at, call.started_at)
        self._settle(call)
        self._tell(_call_info_changed, call, report, changed)
        self._announce(report.at, changed="state" in changed)

    def _apply_connected(self, report: reports.Connected) -> None:
        call = self._call_for(report)
        if call is None or (base := self._next_base(call, report)) is None:
            return
        news = {
            name: party
            for name, told in (("own", report.own), ("other", report.other))
            if (party := self._sound(told, Party, report)) is not None and party != getattr(call, name)
        }
        if call.connected_at is not None and base is call.base and not news:
            self._refuse_as_known("repeated", report, call)
            return
        for name, party in news.items():
            setattr(call, name, party)
        self._connect(call, report, base, *news)

    def _apply_conferenced(self, report: reports.Conferenced) -> None:
        call = self._call_for(report)
        if call is None or (base := self._next_base(call, report)) is None:
            return
        if base is call.base:
            self._refuse_as_known("repeated", report, call)
        else:
            self._connect(call, report, base)

    def _connect(self, call: _OpenCall, report: reports.Report, base: CallState, *changed: str) -> None:
        """Bring a call to where the parties can talk; what else changed is told with it."""
        call.book(report.at)
        if call.connected_at is None:
            call.base = base
            call.connected_at = call.changed_at
            if call.answered_at is None:
                call.answered_at = call.changed_at
            self._settle(call)
            self._tell(_call_connected, call, report)
        else:
            if base is not call.base:
                changed = (*changed, "state")
            call.base = base
            self._settle(call)
            self._tell(_call_info_changed, call, report, changed)
        self._announce(report.at, changed=True)

    def _apply_busy(self, report: reports.Busy) -> None:
        call = self._call_for(report)
        if call is None or (base := self._next_base(call, report)) is None:
            return
        call.book(report.at)
        # Nobody holds a busy tone: what was held is told to be so no longer.
        for bit, side in SIDES.items():
            if call.holders & bit:
                self._hold(call, report, _call_unheld, call.holders & ~bit, side)
        call.base = base
        call.pbx_cause = self._sound(report.pbx_cause, str, report)
        call.frozen = None
        self._settle(call)
        self._tell(_call_busy, call, report)
        self._announce(report.at, changed=True)

    def _apply_held(self, report: reports.Held) -> None:
        call = self._call_for(report)
        if call is None:
            return
        bit = SIDE_BITS.get(report.by)
        if bit is None:
            self._refuse("bad_report", report)
        elif call.holders & bit:
            self._refuse_as_known("repeated", report, call)
        elif (base := self._next_base(call, report)) is not None:
            if base is not call.base:
                # A call of unknown state that is held must have been connected.
                self._connect(call, report, base)
            self._hold(call, report, _call_held, call.holders | bit, report.by)
            self._announce(report.at, changed=True)

    def _apply_retrieved(self, report: reports.Retrieved) -> None:
        call = self._call_for(report)
        if call is None:
            return
        bit = SIDE_BITS.get(report.by)
        if bit is None:
            self._refuse("bad_report", report)
            return
        if not call.holders & bit:
            # Somebody who was not named held it, or somebody who is not named took it back: there is only one it can be.
            bit = call.holders & UNKNOWN_BIT if bit != UNKNOWN_BIT else call.holders
        if bit not in SIDES:
            self._refuse_as_known("repeated", report, call)
        elif (base := self._next_base(call, report)) is not None:
            if base is not call.base:
                self._connect(call, report, base)
            self._hold(call, report, _call_unheld, call.holders & ~bit, SIDES[bit])
            self._announce(report.at, changed=True)

    def _hold(self, call: _OpenCall, report: reports.Report, event_type: Callable[..., Event], holders: int, by: Side) -> None:
        call.book(report.at)
        call.holders = holders
        self._settle(call)
        self.seq = call.told_seq = seq = self.seq + 1
        raw = report.raw if self._raw else None
        self._out.append(event_type(self.epoch, seq, report.at, call.frozen or self._freeze(call), raw, by))

    def _apply_tones(self, report: reports.Tones) -> None:
        digits = self._sound(report.digits, str, report)
        if digits is None:
            return
        call = self._call_for(report)
        if call is not None:
            self._tell_beside(_dtmf_entered, call, report, digits, report.by)

    def _apply_ended(self, report: reports.Ended) -> None:
        call = self._found(report)
        if call is None:
            if not _is_identifier(report.call_id):
                self._refuse("bad_report", report)
                return
            if report.call_id in self._ended:
                self._refuse("ended", report)
            else:
                # Its beginning, or the change to this identifier, may still be on its way: the call must not be shown then.
                self._refuse("unknown_call", report)
                end: _End = (report.at, self.seq + 1, None, report)
                for call_id in (report.call_id, *self._renamed_to(report.call_id, report.at)):
                    # A call of one of them may be over already: then this is another's.
                    if call_id not in self._ended:
                        self._remember_end(call_id, end)
            return
        self._end_as_told(call, report)

    def _end_as_told(self, call: _OpenCall, report: reports.Ended) -> None:
        self._end(
            call,
            report,
            self._sound(report.cause, EndCause, report) or EndCause.UNKNOWN,
            self._sound(report.pbx_cause, str, report),
            self._sound(report.redirection, Redirection, report),
        )

    def _end(
        self,
        call: _OpenCall,
        report: reports.Report,
        cause: EndCause,
        pbx_cause: str | None = None,
        redirection: Redirection | None = None,
        *,
        inferred: bool = False,
        at: datetime | None = None,
    ) -> None:
        call.book(report.at if at is None else at)
        call.frozen = None
        call.ended_at = call.changed_at
        call.base = CallState.NONE
        call.holders = 0
        call.features = 0
        call.stale = False
        call.inferred = inferred
        call.cause = cause
        call.pbx_cause = pbx_cause if pbx_cause is not None else call.pbx_cause
        if redirection is not None:
            call.redirections = (*call.redirections, redirection)
        del self._open[call.id]
        end = (call.changed_at, self.seq + 1, report.at if inferred else None, None)
        ended = self._ended
        ended[call.id] = end
        for call_id in call.former_ids:
            self._former.pop(call_id, None)
            ended[call_id] = end
        if len(ended) > self._remembered_ends:
            self._forget_ends()
        self._tell(_call_finished, call, report)
        if not self._batch:
            self._settle()
        self._announce(report.at, changed=True)

    def _remember_end(self, call_id: str, end: _End) -> None:
        self._ended[call_id] = end
        self._ended.move_to_end(call_id)
        self._forget_ends()

    def _forget_ends(self) -> None:
        while len(self._ended) > self._remembered_ends:
            self._ended.popitem(last=False)

    # ------------------------------------------------------------------ what is known about a call

    def _apply_info(self, report: reports.InfoChanged) -> None:
        call = self._call_for(report)
        if call is None:
            return
        redirections = report.redirections
        self._change_info(
            call,
            report,
            own=self._sound(report.own, Party, report),
            other=self._sound(report.other, Party, report),
            direction=self._sound(report.direction, CallDirection, report),
            parent_id=self._present(self._sound(report.parent_id, str, report)),
            redirections=None if redirections is None else self._all_sound(redirections, Redirection, report),
            attributes=self._attributes(report.attributes, report),
        )

    def _change_info(self, call: _OpenCall, report: reports.Report, state: CallState | None = None, /, **news: Any) -> None:
        changed = [name for name, value in news.items() if value is not None and value != getattr(call, name)]
        if not changed and state is None:
            return
        call.book(report.at)
        for name in changed:
            setattr(call, name, news[name])
        if state is not None:
            call.base = state
            changed.append("state")
        if self._index is not None or not _SETTLED_BY.isdisjoint(changed):
            self._settle(call)
        self._tell(_call_info_changed, call, report, tuple(changed))
        self._announce(report.at, changed=state is not None)

    def _apply_id(self, report: reports.IdChanged) -> None:
        old, new = report.call_id, report.new_id
        call = self._found(report)
        if not _is_identifier(new):
            self._refuse("bad_report", report)
        elif call is None:
            end = self._ended.get(old)
            if end is None:
                self._refuse("unknown_call", report)
                if old != new and _is_identifier(old):
                    # A snapshot on its way may have it, by the identifier that it had.
                    self._remember_renaming(old, new, report.at)
                return
            self._refuse("ended", report)
            if new not in self._ended and self._known(new) is None:
                # It is over; whatever comes by the new identifier is late.
                self._remember_end(new, (*end[:3], None))
        elif call.id == new:
            self._refuse("repeated", report)
        elif new in self._open:
            self._take_over(self._open[new], call, report)
        elif new in self._ended:
            early = self._ended[new][3]
            if early is None:
                self._refuse("id_in_use", report)
            else:
                # Its end was told by the new identifier before the change to it was.
                self._end_as_told(call, early)
        else:
            self._rename(call, new, report)

    def _take_over(self, successor: _OpenCall, call: _OpenCall, report: reports.IdChanged) -> None:
        """Deal with a call that is said to be another open one now."""
        if successor.direction is not CallDirection.UNKNOWN:
            # Both were seen to begin: they are two, and each has an end of its own to come.
            self._refuse("id_in_use", report)
            return
        # What was said about it by the new identifier came before the change to it, and was adopted: it is one call.
        moved = [other for other in self._move_enquiries(call.id, successor) if other is not call]
        self._end(call, report, EndCause.RESYNC, inferred=True, at=call.changed_at)
        self._change_info(
            successor,
            report,
            own=call.own if successor.own == _NO_PARTY else None,
            other=call.other if successor.other == _NO_PARTY else None,
            direction=call.direction,
            parent_id=call.parent_id if successor.parent_id is None and call.parent_id != successor.id else None,
            attributes=None if successor.attributes else call.attributes,
        )
        self._tell_moved(moved, report)
        self._announce(report.at)

    def _rename(self, call: _OpenCall, new: str, report: reports.Report) -> None:
        namesake = self._open.get(self._former.get(new, ""))
        if namesake is not None:
            # It was another call's once, or its own: what it names now is this call.
            namesake.former_ids = tuple(former_id for former_id in namesake.former_ids if former_id != new)
            namesake.frozen = None
            del self._former[new]
        old = call.id
        call.book(report.at)
        call.former_ids = (*call.former_ids, old)
        call.id = new
        for former_id in call.former_ids:
            self._former[former_id] = new
        index = self._index
        if index is None:
            self._open = {other.id: other for other in self._open.values()}
        else:
            # Their order is made again when all are through.
            del self._open[old]
            self._open[new] = call
            index.is_renamed = True
        moved = self._move_enquiries(old, call)
        self._settle(call)
        self._tell(_call_info_changed, call, report, ("id", "former_ids"))
        self._tell_moved(moved, report)
        # Whoever draws from the line's state alone must not go on with the identifier that was.
        self._announce(report.at, changed=True)

    def _apply_recording(self, report: reports.RecordingReport) -> None:
        on = self._sound(report.on, bool, report)
        call = None if on is None else self._call_for(report)
        if call is None:
            return
        # A snapshot on its way may say otherwise.
        call.heard_seq = self.seq + 1
        if call.recording is on:
            self._refuse("repeated", report)
            return
        call.book(report.at)
        call.recording = on
        self._tell_beside(_recording_state_changed, call, report)

    def _apply_muted(self, report: reports.Muted) -> None:
        on = self._sound(report.on, bool, report)
        call = None if on is None else self._call_for(report)
        if call is None or on is None:
            return
        call.heard_seq = self.seq + 1
        if call.muted is not on:
            call.book(report.at)
            call.muted = on
            self._tell_beside(_call_info_changed, call, report, ("muted",))

    def _apply_media_started(self, report: reports.MediaStarted) -> None:
        self._tell_media(events.WebRtcStarted, report, report.media_id)

    def _apply_media_video(self, report: reports.MediaVideoStarted) -> None:
        self._tell_media(events.WebRtcVideoStarted, report, report.media_id)

    def _apply_media_measured(self, report: reports.MediaMeasured) -> None:
        figures = (report.mos, report.loss, report.jitter_seconds, report.round_trip_seconds)
        if not all(_is_figure(figure) for figure in figures[:3]) or not (figures[3] is None or _is_figure(figures[3])):
            self._refuse("bad_report", report)
            return
        call = self._call_for(report)
        if call is not None:
            self._tell_beside(events.WebRtcQuality, call, report, report.media_id, *figures)

    def _apply_media_ended(self, report: reports.MediaEnded) -> None:
        self._tell_media(events.WebRtcDestroyed, report, report.media_id)

    def _tell_media(self, event_type: Callable[..., Event], report: reports.CallReport, media_id: str) -> None:
        call = self._call_for(report)
        if call is not None:
            self._tell_beside(event_type, call, report, media_id)

    def _apply_allowed(self, report: reports.Allowed) -> None:
        call = self._found(report)
        if call is None:
            self._refuse("ended" if report.call_id in self._ended else "unknown_call", report)
            return
        bits = self._bits(report.features, report)
        if bits is None and report.features is not None:
            return
        call.allowed = bits
        self._limited_before.discard(call)
        # Also where nothing is offered otherwise for it now: a snapshot on its way may say less.
        call.told_seq = self.seq + 1
        self._settle()
        if self._line_changed:
            self._announce(report.at)
            call.told_seq = self.seq

    # ------------------------------------------------------------------ the session and its agent

    def _apply_started(self, report: reports.Started) -> None:
        self.own_numbers = self._all_sound(report.own_numbers, str, report)
        self.agent_states = self._all_sound(report.agent_states, AgentState, report)
        self.agent_features = self._sound(report.agent_features, AgentFeature, report) or AgentFeature.NONE
        self._session_bits = self._bits(report.features, report) or 0
        self._free_bits = self._session_bits if self._has_looked or not self._waits_for_calls else 0
        self._state_changed(ProviderState.IN_SERVICE, report.at, 0, None, None)
        self._number(
            _initialized,
            report.at,
            self._flags(self._session_bits),
            self.agent_features,
            self.agent_states,
            self.own_numbers,
        )
        self._change_agent(report.agent, report)
        self._settle()
        self._announce(report.at, changed=True)

    def _state_changed(
        self,
        state: ProviderState,
        at: datetime,
        attempt: int,
        next_try_at: datetime | None,
        error: CtiError | None,
    ) -> None:
        was_in_service = self.provider_state is ProviderState.IN_SERVICE
        if self._in_service_since is None or was_in_service is not (state is ProviderState.IN_SERVICE):
            self._in_service_since = at
        self.provider_state = state
        self._number(_provider_state_changed, at, state, self._in_service_since, attempt, next_try_at, error)
        event = self._out[-1]
        assert isinstance(event, events.ProviderStateChanged)
        self.provider_state_event = event

    def _apply_agent(self, report: reports.AgentReport) -> None:
        self._change_agent(report.agent, report)
        # Also where it is what the line has already: a snapshot asked for before may have another.
        self._agent_told_seq = self.seq + 1

    def _change_agent(self, told: object, report: reports.Report) -> None:
        agent, at = self._sound(told, Agent, report), report.at
        if agent is None or agent == self.agent:
            return
        mode_was = self.agent.call_centre_mode
        self.agent = agent
        self._number(_agent_state_changed, at, agent)
        if agent.call_centre_mode is not None and agent.call_centre_mode is not mode_was:
            self._number(_call_centre_mode_changed, at, agent.call_centre_mode)

    def _apply_call_centre(self, report: reports.CallCentreModeReport) -> None:
        on = self._sound(report.on, bool, report)
        if on is not None:
            self._mode_told_seq = self.seq + 1
        if on is not None and self.agent.call_centre_mode is not on:
            self.agent = attrs.evolve(self.agent, call_centre_mode=on)
            self._number(_call_centre_mode_changed, report.at, on)

    def _apply_trouble(self, report: reports.Trouble) -> None:
        call = None if report.call_id is None else self.find(report.call_id)
        self._number(_error_occurred, report.at, report.error, call)

    def _apply_raw(self, report: reports.Raw) -> None:
        if self._raw:
            self._number(_raw_message, report.at, report.raw)

    # ------------------------------------------------------------------ reconciling

    def _apply_snapshot(self, snapshot: reports.Snapshot) -> None:
        """Make the line agree with what the PBX says it has: the only way by which calls end or begin without a report."""
        items = [self._called_now(item) for told in snapshot.calls if (item := self._sound_item(told, snapshot)) is not None]
        # A call that cannot be read may be any of ours.
        complete = snapshot.complete is True and len(items) == len(snapshot.calls)
        there = {call for item in items if item.state is not CallState.NONE and (call := self._match(item)) is not None}
        over = {call: item for item in items if item.state is CallState.NONE and (call := self._match(item)) is not None}
        self._batch = True
        if self._asked_at_seq is not None:
            self._doubted = ()
        try:
            for call in list(self._open.values()):
                if call in there or not (complete or call in over):
                    continue
                if self._is_there(call, over.get(call), snapshot):
                    self._leave_out(call)
                else:
                    self._end_unseen(call, over.get(call), snapshot)
            self._freshen_all(there)
            self._index = self._make_index()
            for item in items:
                if item.state is not CallState.NONE:
                    self._reconcile(item, snapshot)
        finally:
            index, self._index = self._index, None
            if index is not None and index.is_renamed:
                self._open = {call.id: call for call in index.calls}
            if self._asked_at_seq is not None or complete:
                self._has_looked = True
                self._free_bits = self._session_bits
            self._settle()
            self._batch = False
        self._reconcile_agent(snapshot)
        self._announce(snapshot.at)
        self._number(_snapshot_taken, snapshot.at, self.calls, self.agent, complete)

    def _leave_out(self, call: _OpenCall) -> None:
        # What has begun since the question, and was seen to, nothing is missing of.
        has_begun_since = self._asked_at_seq is not None and call.begun_seq > self._asked_at_seq
        call.is_left_out = not has_begun_since or call.direction is CallDirection.UNKNOWN

    def _make_index(self) -> _Index | None:
        return _Index(self._open.values(), self._parent_of)

    def _reconcile_agent(self, snapshot: reports.Snapshot) -> None:
        """Take over the agent, except what was told of him since the question."""
        agent, asked_at_seq = self._sound(snapshot.agent, Agent, snapshot), self._asked_at_seq
        is_older = asked_at_seq is not None and self._agent_told_seq > asked_at_seq
        # A plugin may know better at the end of its look than when it reported: asked again, it says so.
        self.is_agent_left_out = is_older and agent is not None and agent != self.agent
        if agent is None or is_older:
            return
        if asked_at_seq is not None and self._mode_told_seq > asked_at_seq:
            agent = attrs.evolve(agent, call_centre_mode=self.agent.call_centre_mode)
        self._change_agent(agent, snapshot)

    def _is_there(self, call: _OpenCall, over: reports.CallSnapshot | None, snapshot: reports.Snapshot) -> bool:
        """Whether a call is not over, or may not be, though a snapshot lacks it or says so."""
        if self._asked_at_seq is None:
            return False
        if max(call.told_seq, call.heard_seq) > self._asked_at_seq:
            call.missing_since = None
            return True
        if over is not None or call.is_listed:
            return False
        asked_at = self._asked_at or snapshot.at
        if call.missing_since is None and asked_at - call.started_at < _YOUNG:
            call.missing_since = asked_at
        return call.missing_since is not None and asked_at - call.missing_since < _LIST_LAG

    def _end_unseen(self, call: _OpenCall, told: reports.CallSnapshot | None, snapshot: reports.Snapshot) -> None:
        """End a call whose end nobody saw: when the PBX says, or else when it was last known to be there."""
        ended_at = None if told is None else told.ended_at
        cause = None if told is None else told.cause
        self._end(
            call,
            snapshot,
            cause or EndCause.RESYNC,
            None if told is None else told.pbx_cause,
            inferred=True,
            at=min(ended_at or call.known_at, snapshot.at),
        )

    def _sound_item(self, told: object, snapshot: reports.Snapshot) -> reports.CallSnapshot | None:
        """Give a snapshot's call with what is sound of it; nothing if it cannot be told which call it is."""
        item = self._sound(told, reports.CallSnapshot, snapshot)
        if item is None:
            return None
        if not _is_identifier(item.call_id):
            self._refuse("bad_report", snapshot)
            return None
        return reports.CallSnapshot(
            call_id=item.call_id,
            direction=self._sound(item.direction, CallDirection, snapshot) or CallDirection.UNKNOWN,
            state=_or(self._sound(item.state, CallState, snapshot), CallState.UNKNOWN),
            own=self._sound(item.own, Party, snapshot) or _NO_PARTY,
            other=self._sound(item.other, Party, snapshot) or _NO_PARTY,
            held_by=frozenset(self._all_sound(item.held_by, Side, snapshot)),
            former_ids=tuple(filter(None, self._all_sound(item.former_ids, str, snapshot))),
            parent_id=self._sound(item.parent_id, str, snapshot),
            started_at=self._sound_time(item.started_at, snapshot),
            answered_at=self._sound_time(item.answered_at, snapshot),
            connected_at=self._sound_time(item.connected_at, snapshot),
            attributes=self._attributes(item.attributes, snapshot) or NO_ATTRIBUTES,
            allowed=self._sound(item.allowed, CallFeature, snapshot),
            ended_at=self._sound_time(item.ended_at, snapshot),
            cause=self._sound(item.cause, EndCause, snapshot),
            pbx_cause=self._sound(item.pbx_cause, str, snapshot),
            recording=self._sound(item.recording, bool, snapshot),
            muted=self._sound(item.muted, bool, snapshot),
        )

    def _called_now(self, item: reports.CallSnapshot) -> reports.CallSnapshot:
        """Give a snapshot's call by the identifier that it has now, where it got it while nobody knew it."""
        if not self._renamed or self._known(item.call_id) is not None:
            return item
        *former_ids, call_id = item.call_id, *self._renamed_to(item.call_id)
        return attrs.evolve(item, call_id=call_id, former_ids=(*item.former_ids, *former_ids)) if former_ids else item

    def _sound_time(self, value: object, snapshot: reports.Snapshot) -> datetime | None:
        time = self._sound(value, datetime, snapshot)
        if time is None or _is_moment(time):
            return time
        self._refuse("bad_report", snapshot)
        return None

    def _is_newer(self, call: _OpenCall) -> bool:
        return self._asked_at_seq is not None and call.told_seq > self._asked_at_seq

    def _match(self, item: reports.CallSnapshot) -> _OpenCall | None:
        """Find the open call that a snapshot speaks of: none where its end was seen, for then the snapshot is older."""
        call = self._open.get(item.call_id)
        if call is None and item.call_id not in self._ended:
            # That an identifier which it had before has ended says nothing of it: it may have been taken over.
            call = next((known for known in map(self._known, (item.call_id, *item.former_ids)) if known is not None), None)
        return call

    def _is_over(self, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> bool:
        """Whether a call that a snapshot shows, and that is not open, is over for all that."""
        asked_at_seq = self._asked_at_seq
        for former_id in item.former_ids:
            end = self._ended.get(former_id)
            if end is not None and (asked_at_seq is None or end[1] > asked_at_seq):
                return True
        end = self._ended.get(item.call_id)
        if end is None:
            return False
        ended_at, seq, inferred_at, _ = end
        if inferred_at is not None and asked_at_seq is not None and seq > asked_at_seq:
            return True
        if item.started_at is not None and item.started_at - ended_at > _LIST_LAG:
            return False
        if inferred_at is None:
            return True
        asked_at = None if asked_at_seq is None else self._asked_at
        if (asked_at or snapshot.at) - inferred_at > _YOUNG:
            return False
        self._doubted = (*self._doubted, item.call_id)
        return True

    def _reconcile(self, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> None:
        """Take over what a snapshot says of a call that is there, unless something newer was told of it."""
        call = self._match(item)
        at = snapshot.at
        if call is None:
            if not self._is_over(item, snapshot):
                self._begin_in_full(item, snapshot)
        elif self._is_newer(call):
            call.is_listed = True
            self._leave_out(call)
        else:
            call.is_listed = True
            call.is_left_out = False
            call.known_at = at
            if item.answered_at is not None and call.answered_at is None and call.base is CallState.ALERTING:
                self._apply_answered(reports.Answered(at=min(item.answered_at, at), call_id=call.id, raw=snapshot.raw))
            # Before what is true as of the snapshot: it may tell of an earlier moment.
            self._catch_up(call, item, snapshot)
            if call.id != item.call_id and (call.id in item.former_ids or item.call_id not in call.former_ids):
                self._rename(call, item.call_id, snapshot)
            for former_id in self._learn_former_ids(call, item):
                self._tell_moved(self._move_enquiries(former_id, call), snapshot)
            rings = call.base is CallState.UNKNOWN and item.state is CallState.ALERTING
            self._change_info(
                call,
                snapshot,
                CallState.ALERTING if rings else None,
                own=item.own if item.own != _NO_PARTY else None,
                other=item.other if item.other != _NO_PARTY else None,
                direction=item.direction if item.direction is not CallDirection.UNKNOWN else None,
                parent_id=self._present(item.parent_id),
                attributes=item.attributes or None,
            )
            self._switch_over(call, item, snapshot)
            if item.allowed is not None or call in self._limited_before:
                call.allowed = None if item.allowed is None else int(item.allowed) & ALL_BITS
                self._limited_before.discard(call)
                self._settle(call)

    def _begin_in_full(self, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> None:
        """Begin a call as if it had been seen to: it appears, and then does what the PBX says it does."""
        talks = item.state in (CallState.CONNECTED, CallState.CONFERENCED, CallState.HELD)
        started_at = min(item.started_at or snapshot.at, snapshot.at)
        base = CallState.ALERTING if talks or item.state is CallState.BUSY else item.state
        if item.call_id in self._ended:
            self._use_again(item.call_id, snapshot)
        call = _OpenCall(item.call_id, item.direction, base, started_at)
        call.own, call.other, call.parent_id = item.own, item.other, self._present(item.parent_id)
        call.attributes = item.attributes
        if item.recording is False:
            call.recording = False
        call.is_listed = True
        call.allowed = None if item.allowed is None else int(item.allowed) & ALL_BITS
        if item.answered_at is not None:
            call.answered_at = max(item.answered_at, started_at)
        self._open[call.id] = call
        self._learn_former_ids(call, item)
        self._begin(call, snapshot)
        self._catch_up(call, item, snapshot)
        self._switch_over(call, item, snapshot)

    def _switch_over(self, call: _OpenCall, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> None:
        """Say, as if it had been reported, that a call is recorded or muted, or no longer, unless something newer was told."""
        is_recorded, is_muted = item.recording, item.muted
        records = is_recorded is not None and is_recorded is not call.recording
        mutes = is_muted is not None and is_muted is not call.muted
        if not records and not mutes:
            return
        if self._asked_at_seq is not None and call.heard_seq > self._asked_at_seq:
            # It may have been this that was heard.
            call.is_left_out = True
            return
        at, raw = snapshot.at, snapshot.raw
        if is_recorded is not None and records:
            self._apply_recording(reports.RecordingReport(at=at, call_id=call.id, on=is_recorded, raw=raw))
        if is_muted is not None and mutes:
            self._apply_muted(reports.Muted(at=at, call_id=call.id, on=is_muted, raw=raw))

    def _learn_former_ids(self, call: _OpenCall, item: reports.CallSnapshot) -> list[str]:
        learnt: list[str] = []
        for former_id in item.former_ids:
            if former_id != call.id and former_id not in self._ended and self._known(former_id) is None:
                self._had_names(call, (former_id,))
                learnt.append(former_id)
        if learnt:
            call.frozen = None
            self._line_changed = True
            self._settle(call)
        return learnt

    def _catch_up(self, call: _OpenCall, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> None:
        """Say, as if it had been reported, what must have happened to a call since it was as the line knows it."""
        at, raw, call_id = snapshot.at, snapshot.raw, call.id
        state = item.state
        if state is CallState.UNKNOWN:
            return
        connected_at = at
        if call.connected_at is None and item.connected_at is not None:
            connected_at = min(max(item.connected_at, call.changed_at), at)
        if state is CallState.CONFERENCED and call.base is not state:
            self._apply_conferenced(reports.Conferenced(at=connected_at, call_id=call_id, raw=raw))
        elif (state is CallState.CONNECTED and call.base is not state) or (state is CallState.HELD and call.connected_at is None):
            self._apply_connected(reports.Connected(at=connected_at, call_id=call_id, raw=raw))
        elif state is CallState.BUSY and call.base in (CallState.ALERTING, CallState.UNKNOWN):
            self._apply_busy(reports.Busy(at=at, call_id=call_id, raw=raw))
        held_by = item.held_by
        if state is CallState.HELD and not held_by:
            # A PBX that says HELD without saying by whom does not say that one of the two has taken it back.
            held_by = HOLDERS[call.holders] or HOLDERS[UNKNOWN_BIT]
        for bit, side in SIDES.items():
            if side in held_by and not call.holders & bit:
                self._apply_held(reports.Held(at=at, call_id=call_id, by=side, raw=raw))
        for bit, side in SIDES.items():
            if side not in held_by and call.holders & bit:
                self._apply_retrieved(reports.Retrieved(at=at, call_id=call_id, by=side, raw=raw))


_APPLIERS: Final[Mapping[type, Callable[[Line, Any], None]]] = MappingProxyType(
    {
        reports.Started: Line._apply_started,
        reports.Originated: Line._apply_originated,
        reports.Offered: Line._apply_offered,
        reports.Answered: Line._apply_answered,
        reports.Connected: Line._apply_connected,
        reports.Conferenced: Line._apply_conferenced,
        reports.Busy: Line._apply_busy,
        reports.Held: Line._apply_held,
        reports.Retrieved: Line._apply_retrieved,
        reports.Tones: Line._apply_tones,
        reports.InfoChanged: Line._apply_info,
        reports.IdChanged: Line._apply_id,
        reports.RecordingReport: Line._apply_recording,
        reports.Muted: Line._apply_muted,
        reports.MediaStarted: Line._apply_media_started,
        reports.MediaVideoStarted: Line._apply_media_video,
        reports.MediaMeasured: Line._apply_media_measured,
        reports.MediaEnded: Line._apply_media_ended,
        reports.Ended: Line._apply_ended,
        reports.Allowed: Line._apply_allowed,
        reports.AgentReport: Line._apply_agent,
        reports.CallCentreModeReport: Line._apply_call_centre,
        reports.Trouble: Line._apply_trouble,
        reports.Raw: Line._apply_raw,
        reports.Snapshot: Line._apply_snapshot,
    }
)
"""What each report does: one table for all lines, for there may be hundreds of them."""


def _with_enquiry(call: _OpenCall, enquiry: _OpenCall, bits: int) -> int:
    if enquiry.base in (CallState.ALERTING, CallState.UNKNOWN, CallState.BUSY):
        rule = CONSULTING["ringing"]
    else:
        rule = CONSULTING["held" if enquiry.holders & OWN_BIT else "talking"]
    if call.base is CallState.CONNECTED or call.base is CallState.CONFERENCED:
        bits |= int(rule.parent_gains)
    return bits & ~int(rule.parent_loses)


def _is_identifier(value: object) -> bool:
    # Plugins are not all checked by mypy.
    return isinstance(value, str) and value != ""


def _is_figure(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _is_moment(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _or(state: CallState | None, otherwise: CallState) -> CallState:
    # NONE, which is ended, counts as nothing.
    return otherwise if state is None else state


def _precedence(call: _OpenCall) -> int:
    if call.holders:
        return 1
    if call.base is CallState.ALERTING and call.direction is CallDirection.IN:
        return 3
    return 2
