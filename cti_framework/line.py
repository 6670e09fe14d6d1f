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
(``Allowed``), and nothing at all while the connection is lost.

Time spent is booked when a report moves a call, from the reports' own times: until a call is connected it is ringing, then
it is talk, and whenever somebody holds it, it is hold. The three add up to ``Call.total_seconds``.

A report that the table does not allow is *refused*: counted in ``Line.refusals`` and handed to ``on_refused``, never fatal.
Whatever comes in whatever order: no call ends twice, none begins twice, ended identifiers stay ended, and a call that was not
seen to begin is adopted as soon as anything is said about it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

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
from cti_framework.errors import CtiError
from cti_framework.events import Event, ProviderState

__all__ = ["CONSULTING", "FEATURES", "TRANSITIONS", "ConsultRule", "Line", "Refusal", "Situation"]

_NOBODY: Final[frozenset[Side]] = frozenset()
_NO_PARTY: Final = Party()
_F = CallFeature
_S = CallState

TRANSITIONS: Final[Mapping[CallState, Mapping[type[reports.CallReport], CallState]]] = MappingProxyType(
    {
        _S.ALERTING: {
            reports.Answered: _S.ALERTING,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Busy: _S.BUSY,
            reports.Held: _S.ALERTING,
            reports.Retrieved: _S.ALERTING,
            reports.Ended: _S.NONE,
        },
        _S.CONNECTED: {
            reports.Answered: _S.CONNECTED,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Held: _S.CONNECTED,
            reports.Retrieved: _S.CONNECTED,
            reports.Ended: _S.NONE,
        },
        _S.CONFERENCED: {
            reports.Answered: _S.CONFERENCED,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Held: _S.CONFERENCED,
            reports.Retrieved: _S.CONFERENCED,
            reports.Ended: _S.NONE,
        },
        _S.UNKNOWN: {
            reports.Answered: _S.ALERTING,
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Busy: _S.BUSY,
            reports.Held: _S.CONNECTED,
            reports.Retrieved: _S.CONNECTED,
            reports.Ended: _S.NONE,
        },
        _S.BUSY: {
            reports.Connected: _S.CONNECTED,
            reports.Conferenced: _S.CONFERENCED,
            reports.Ended: _S.NONE,
        },
    }
)
"""Base state -> report -> next base state. What is not here is refused. Holding is not a base state: see ``held_by``."""


@attrs.frozen
class Situation:
    """One row's key in ``FEATURES``: what decides which features a state permits.

    Attributes:
        state: The state that a host sees.
        detail: What else decides: the direction of a ringing call, or who holds a held one.
    """

    state: CallState
    detail: str = ""


_TALKING = _F.DROP | _F.HOLD | _F.BLIND_TRANSFER | _F.CONSULT | _F.DTMF | _F.VIDEO | _F.MUTE | _F.RECORDING
_HELD = _F.DROP | _F.BLIND_TRANSFER | _F.CONSULT

FEATURES: Final[Mapping[Situation, CallFeature]] = MappingProxyType(
    {
        Situation(_S.ALERTING, "in"): _F.ANSWER | _F.DROP,
        Situation(_S.ALERTING, "in, own device picked up"): _F.DROP,
        Situation(_S.ALERTING, "out"): _F.DROP,
        Situation(_S.CONNECTED): _TALKING,
        Situation(_S.HELD, "by own"): _HELD | _F.UNHOLD,
        Situation(_S.HELD, "by other"): _HELD | _F.HOLD,
        Situation(_S.HELD, "by both"): _HELD | _F.UNHOLD,
        Situation(_S.HELD, "by unknown"): _HELD,
        Situation(_S.HELD, "by own, not connected yet"): _F.DROP | _F.UNHOLD,
        Situation(_S.HELD, "by other, not connected yet"): _F.DROP,
        Situation(_S.CONFERENCED): _F.DROP | _F.HOLD | _F.DTMF | _F.VIDEO | _F.MUTE | _F.RECORDING,
        Situation(_S.BUSY): _F.DROP,
        Situation(_S.UNKNOWN): _F.DROP,
        Situation(_S.NONE): _F.NONE,
    }
)
"""What each state permits, before the session's and the PBX's limits."""


@attrs.frozen
class ConsultRule:
    """What an enquiry changes in the features of the two calls concerned.

    Attributes:
        parent_gains: Features that the call gains on whose behalf the enquiry is made.
        parent_loses: Features that it loses.
        consult_loses: Features that the enquiry call itself does not have.
    """

    parent_gains: CallFeature
    parent_loses: CallFeature
    consult_loses: CallFeature


CONSULTING: Final[Mapping[str, ConsultRule]] = MappingProxyType(
    {
        "ringing": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER,
        ),
        "talking": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER | _F.COMPLETE_TRANSFER | _F.ALTERNATE | _F.CONFERENCE,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER,
        ),
        "held": ConsultRule(
            parent_gains=_F.CANCEL_TRANSFER | _F.COMPLETE_TRANSFER | _F.ALTERNATE | _F.CONFERENCE,
            parent_loses=_F.CONSULT | _F.BLIND_TRANSFER,
            consult_loses=_F.CONSULT | _F.BLIND_TRANSFER | _F.UNHOLD,
        ),
    }
)
"""By what the enquiry call does: the difference that it makes. While the parent is talked to, the enquiry is "held"."""

_ADOPTED_AS: Final[Mapping[type[reports.CallReport], CallState]] = MappingProxyType(
    {
        reports.Answered: _S.ALERTING,
        reports.Connected: _S.CONNECTED,
        reports.Conferenced: _S.CONFERENCED,
        reports.Busy: _S.ALERTING,
        reports.Held: _S.CONNECTED,
        reports.Retrieved: _S.CONNECTED,
        reports.Tones: _S.CONNECTED,
        reports.RecordingReport: _S.CONNECTED,
        reports.InfoChanged: _S.UNKNOWN,
        reports.MediaStarted: _S.UNKNOWN,
        reports.MediaVideoStarted: _S.UNKNOWN,
        reports.Muted: _S.UNKNOWN,
    }
)
"""What an unseen call is taken to do when this is the first that is said about it. What is not here adopts nothing."""

# Flag arithmetic costs about a microsecond each; the hot path works on plain numbers and looks the flag up again.
_FEATURE_BITS: Final[dict[Situation, int]] = {key: int(value) for key, value in FEATURES.items()}
_BITS_CONNECTED: Final = _FEATURE_BITS[Situation(_S.CONNECTED)]
_BITS_HELD: Final[dict[frozenset[Side], int]] = {
    frozenset({Side.OWN}): _FEATURE_BITS[Situation(_S.HELD, "by own")],
    frozenset({Side.OTHER}): _FEATURE_BITS[Situation(_S.HELD, "by other")],
    frozenset({Side.OWN, Side.OTHER}): _FEATURE_BITS[Situation(_S.HELD, "by both")],
    frozenset({Side.OWN, Side.UNKNOWN}): _FEATURE_BITS[Situation(_S.HELD, "by both")],
    frozenset(Side): _FEATURE_BITS[Situation(_S.HELD, "by both")],
    frozenset({Side.UNKNOWN}): _FEATURE_BITS[Situation(_S.HELD, "by unknown")],
    frozenset({Side.OTHER, Side.UNKNOWN}): _FEATURE_BITS[Situation(_S.HELD, "by unknown")],
}
_UNHOLD: Final = int(_F.UNHOLD)


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
        "cause",
        "changed_at",
        "connected_at",
        "direction",
        "ended_at",
        "features",
        "former_ids",
        "frozen",
        "held_by",
        "hold",
        "id",
        "inferred",
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
        self.held_by = _NOBODY
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
        self.stale = False
        self.recording: bool | None = None
        self.muted = False
        self.redirections: tuple[Redirection, ...] = ()
        self.attributes: Mapping[str, Any] = NO_ATTRIBUTES
        self.allowed: int | None = None
        self.features = 0
        self.frozen: Call | None = None
        self.told_seq = 0

    @property
    def state(self) -> CallState:
        return CallState.HELD if self.held_by and self.base is not CallState.NONE else self.base

    @property
    def is_talked_on(self) -> bool:
        return (self.base is CallState.CONNECTED or self.base is CallState.CONFERENCED) and Side.OWN not in self.held_by

    def book(self, at: datetime) -> None:
        """Add the time since the last change to what the call did in it, and make ``at`` the time of the change."""
        self.frozen = None
        seconds = (at - self.changed_at).total_seconds()
        if seconds <= 0.0:
            return
        self.changed_at = at
        if self.held_by:
            self.hold += seconds
        elif self.connected_at is None:
            self.ringing += seconds
        else:
            self.talk += seconds


class Line:
    """The state of one operator's line.

    Args:
        epoch: Names this opening of the session; every event carries it.
        raw: Whether events carry the PBX's own words, and ``Raw`` reports become ``RawMessage`` events.
        remembered_ends: How many ended identifiers are kept, so that late reports do not revive a call.
        on_refused: Told each report that is refused.
    """

    def __init__(
        self,
        epoch: str,
        *,
        raw: bool = False,
        remembered_ends: int = 4096,
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
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._current: _OpenCall | None = None
        self._announced_current: _OpenCall | None = None
        self._line_changed = False
        self._session_bits = 0
        self._line_bits = 0
        self._feature_cache: dict[int, CallFeature] = {}
        self._in_service_since: datetime | None = None
        self._out: list[Event] = []
        self._batch = False
        self._asked_at_seq: int | None = None
        self._appliers: dict[type, Callable[[Any], None]] = {
            reports.Started: self._apply_started,
            reports.Originated: self._apply_originated,
            reports.Offered: self._apply_offered,
            reports.Answered: self._apply_answered,
            reports.Connected: self._apply_connected,
            reports.Conferenced: self._apply_conferenced,
            reports.Busy: self._apply_busy,
            reports.Held: self._apply_held,
            reports.Retrieved: self._apply_retrieved,
            reports.Tones: self._apply_tones,
            reports.InfoChanged: self._apply_info,
            reports.IdChanged: self._apply_id,
            reports.RecordingReport: self._apply_recording,
            reports.Muted: self._apply_muted,
            reports.MediaStarted: self._apply_media_started,
            reports.MediaVideoStarted: self._apply_media_video,
            reports.MediaEnded: self._apply_media_ended,
            reports.Ended: self._apply_ended,
            reports.Allowed: self._apply_allowed,
            reports.AgentReport: self._apply_agent,
            reports.CallCentreModeReport: self._apply_call_centre,
            reports.Trouble: self._apply_trouble,
            reports.Raw: self._apply_raw,
            reports.Snapshot: self._apply_snapshot,
        }

    # ------------------------------------------------------------------ what a host reads

    @property
    def calls(self) -> tuple[Call, ...]:
        """All open calls, in the order in which they began."""
        return tuple(self._freeze(call) for call in self._open.values())

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
        return call_id in self._ended

    # ------------------------------------------------------------------ what the core and the plugins say

    def apply(self, report: reports.Report) -> list[Event]:
        """Apply one report.

        Args:
            report: What the PBX made known. Whatever it is, this never raises.

        Returns:
            The events that follow from it, numbered, in order; empty if it was refused or changed nothing.
        """
        applier = self._appliers.get(type(report))
        try:
            if applier is None or report.at.tzinfo is None:
                self._refuse("bad_report", report)
            else:
                applier(report)
        except (AttributeError, TypeError, ValueError):
            # A plugin that mypy did not check: a field holds what its type does not allow.
            self._refuse("bad_report", report)
        return self._take()

    def apply_snapshot(self, snapshot: reports.Snapshot, *, asked_at_seq: int) -> list[Event]:
        """Make the line agree with what the PBX says it has, except where its events said something newer.

        Args:
            snapshot: The PBX's answer.
            asked_at_seq: ``Line.seq`` when the PBX was asked. Calls about which anything came in since are left as they are.

        Returns:
            The events that follow from it; the last is ``SnapshotTaken``.
        """
        self._asked_at_seq = asked_at_seq
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
    ) -> list[Event]:
        """Say what the connection to the PBX does. The core says it; a plugin's ``Started`` says IN_SERVICE itself.

        Args:
            state: What it does now.
            at: Since when, on the session's clock.
            attempt: The number of the present attempt, from 1.
            next_try_at: When the next one is due.
            error: What the latest one ended with.

        Returns:
            The events that follow from it.
        """
        was = self.provider_state
        if was is ProviderState.IN_SERVICE and state is not was:
            self._session_bits = 0
            for call in self._open.values():
                call.stale = True
                call.frozen = None
            self._number(events.Disconnected, at, error)
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
            self._number(events.CallSaved, at, call, None, database_id)
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

    def _tell(
        self, event_type: Callable[..., Event], call: _OpenCall, report: reports.CallReport, *fields: Any
    ) -> None:
        if self._batch:
            self._features_alone(call)
        self.seq += 1
        call.told_seq = self.seq
        raw = report.raw if self._raw else None
        self._out.append(event_type(self.epoch, self.seq, report.at, self._freeze(call), raw, *fields))

    def _refuse(self, reason: str, report: object) -> None:
        self.refusals[reason] += 1
        if self._on_refused is not None:
            self._on_refused(Refusal(reason, report))

    # ------------------------------------------------------------------ finding and adopting calls

    def _known(self, call_id: str) -> _OpenCall | None:
        call = self._open.get(call_id)
        if call is None and call_id in self._former:
            call = self._open.get(self._former[call_id])
        return call

    def _call_for(self, report: reports.CallReport) -> _OpenCall | None:
        call = self._open.get(report.call_id) or self._known(report.call_id)
        if call is not None:
            if call.stale:
                # What the PBX says about a call after the reconnection is newer than the outage.
                call.stale = False
                call.frozen = None
            return call
        base = _ADOPTED_AS.get(type(report))
        if not _is_identifier(report.call_id):
            self._refuse("bad_report", report)
        elif report.call_id in self._ended:
            self._refuse("ended", report)
        elif base is None:
            self._refuse("unknown_call", report)
        else:
            call = _OpenCall(report.call_id, CallDirection.UNKNOWN, base, report.at)
            if base is not CallState.ALERTING and base is not CallState.UNKNOWN:
                call.answered_at = call.connected_at = report.at
            self._begin(call, report)
            return call
        return None

    def _begin(self, call: _OpenCall, report: reports.Report) -> None:
        self._open[call.id] = call
        self._settle()
        self.seq += 1
        call.told_seq = self.seq
        raw = report.raw if self._raw else None
        self._out.append(events.CallStarted(self.epoch, self.seq, call.started_at, self._freeze(call), raw))
        self._announce(report.at, changed=True)

    def _parent_of(self, call: _OpenCall) -> _OpenCall | None:
        if call.parent_id is None:
            return None
        parent = self._known(call.parent_id)
        return None if parent is call else parent

    def _freeze(self, call: _OpenCall) -> Call:
        frozen = call.frozen
        if frozen is None:
            frozen = call.frozen = Call(
                call.id,
                call.direction,
                call.state,
                call.role,
                call.own,
                call.other,
                call.started_at,
                call.changed_at,
                self._flags(call.features),
                call.held_by,
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

    def _state_bits(self, call: _OpenCall) -> int:
        base = call.base
        if call.held_by:
            if call.connected_at is None and base is not CallState.CONNECTED and base is not CallState.CONFERENCED:
                by = "by own, not connected yet" if Side.OWN in call.held_by else "by other, not connected yet"
                return _FEATURE_BITS[Situation(CallState.HELD, by)]
            return _BITS_HELD[call.held_by]
        if base is CallState.CONNECTED:
            return _BITS_CONNECTED
        if base is CallState.ALERTING:
            if call.direction is not CallDirection.IN:
                return _FEATURE_BITS[Situation(base, "out")]
            detail = "in" if call.answered_at is None else "in, own device picked up"
            return _FEATURE_BITS[Situation(base, detail)]
        return _FEATURE_BITS[Situation(base)]

    def _settle(self) -> None:
        """Work out roles and features again, and note whether any of them changed."""
        if self._batch:
            return
        open_calls = self._open.values()
        if len(self._open) == 1:
            current: _OpenCall | None = next(iter(open_calls))
        else:
            current = self._choose_current()
        changed = current is not self._current
        for call in open_calls:
            if call is current:
                role = CallRole.CURRENT
            elif self._parent_of(call) is not None:
                role = CallRole.CONSULT
            else:
                role = CallRole.WAITING
            bits = 0
            if not call.stale:
                bits = self._state_bits(call)
                if len(self._open) > 1:
                    bits = self._among_others(call, role, bits)
                bits &= self._session_bits
                if call.allowed is not None:
                    bits &= call.allowed
            if bits != call.features or role is not call.role:
                call.features = bits
                call.role = role
                call.frozen = None
                changed = True
        self._current = current
        line_bits = current.features if current is not None else self._session_bits & int(CallFeature.DIAL)
        line_bits |= self._session_bits & int(CallFeature.MONITOR)
        if changed or line_bits != self._line_bits:
            self._line_bits = line_bits
            self._line_changed = True

    def _among_others(self, call: _OpenCall, role: CallRole, bits: int) -> int:
        for other in self._open.values():
            if other is call:
                continue
            if self._parent_of(other) is call:
                if other.base is CallState.ALERTING or other.base is CallState.UNKNOWN or other.base is CallState.BUSY:
                    rule = CONSULTING["ringing"]
                else:
                    rule = CONSULTING["held" if Side.OWN in other.held_by else "talking"]
                if call.base is CallState.CONNECTED or call.base is CallState.CONFERENCED:
                    bits |= int(rule.parent_gains)
                bits &= ~int(rule.parent_loses)
            elif role is CallRole.CONSULT and self._parent_of(call) is other:
                rule = CONSULTING["talking" if not other.is_talked_on else "held"]
                bits &= ~int(rule.consult_loses)
            elif other.is_talked_on:
                # One mouth: a held call is taken back when no other call is being talked on.
                bits &= ~_UNHOLD
        return bits

    def _choose_current(self) -> _OpenCall | None:
        candidates = [call for call in self._open.values() if self._parent_of(call) is None]
        if not candidates:
            # Calls that are each other's parents: take the first, so that one is shown as current whatever a PBX says.
            candidates = list(self._open.values())[:1]
        if not candidates:
            return None
        present = self._current if self._current in candidates else None
        if present is not None and (present.is_talked_on or self._is_consulting(present)):
            return present
        talked_on = next((call for call in candidates if call.is_talked_on), None)
        if talked_on is not None:
            return talked_on
        return present or min(candidates, key=_precedence)

    def _is_consulting(self, call: _OpenCall) -> bool:
        return any(self._parent_of(other) is call for other in self._open.values())

    def _announce(self, at: datetime, *, changed: bool = False) -> None:
        """Say which call is current and what may be done, where that is not what was said last."""
        if self._batch:
            return
        if self._current is not self._announced_current:
            self._announced_current = self._current
            self._number(events.CurrentCallChanged, at, self.current)
        if changed or self._line_changed:
            self._line_changed = False
            self._number(events.LineStateChanged, at, self._flags(self._line_bits), self.calls)

    # ------------------------------------------------------------------ a call's life

    def _apply_originated(self, report: reports.Originated) -> None:
        call = self._new_call(report, CallDirection.OUT)
        if call is None:
            return
        call.other = report.other
        call.own = report.own or self._own_party()
        call.parent_id = report.parent_id
        call.attributes = report.attributes
        self._begin(call, report)

    def _apply_offered(self, report: reports.Offered) -> None:
        call = self._new_call(report, CallDirection.IN)
        if call is None:
            return
        call.other = report.other
        call.own = report.own or self._own_party()
        call.redirections = report.redirections
        call.attributes = report.attributes
        self._begin(call, report)

    def _own_party(self) -> Party:
        return Party(self.own_numbers[0]) if self.own_numbers else _NO_PARTY

    def _new_call(self, report: reports.Originated | reports.Offered, direction: CallDirection) -> _OpenCall | None:
        known = self._known(report.call_id)
        if known is None:
            if not _is_identifier(report.call_id):
                self._refuse("bad_report", report)
                return None
            if report.call_id in self._ended:
                self._refuse("ended", report)
                return None
            return _OpenCall(report.call_id, direction, CallState.ALERTING, report.at)
        if known.direction is not CallDirection.UNKNOWN:
            self._refuse("repeated", report)
            return None
        # It was adopted from something said about it earlier; now its beginning comes in.
        if known.base is CallState.UNKNOWN:
            known.base = CallState.ALERTING
        self._change_info(
            known,
            report,
            own=report.own,
            other=report.other,
            direction=direction,
            parent_id=getattr(report, "parent_id", None),
            redirections=getattr(report, "redirections", None) or None,
            attributes=report.attributes or None,
        )
        return None

    def _move(self, report: reports.CallReport) -> _OpenCall | None:
        """Find the report's call and move its base state as the table says, or refuse."""
        call = self._call_for(report)
        if call is None:
            return None
        base = TRANSITIONS[call.base].get(type(report))
        if base is None:
            self._refuse("not_in_this_state", report)
            return None
        call.book(report.at)
        call.base = base
        return call

    def _apply_answered(self, report: reports.Answered) -> None:
        call = self._move(report)
        if call is None:
            return
        if call.answered_at is not None:
            self._refuse("repeated", report)
            return
        call.answered_at = max(report.at, call.started_at)
        self._settle()
        self._tell(events.CallInfoChanged, call, report, ("answered_at",))
        self._announce(report.at)

    def _apply_connected(self, report: reports.Connected) -> None:
        call = self._call_for(report)
        if call is None:
            return
        was = call.base
        first = call.connected_at is None
        if self._move(report) is None:
            return
        new_other = report.other if report.other is not None and report.other != call.other else None
        new_own = report.own if report.own is not None and report.own != call.own else None
        if new_other is not None:
            call.other = new_other
        if new_own is not None:
            call.own = new_own
        self._say_connected(call, report, first=first, moved=was is not call.base)
        if not first and (new_other is not None or new_own is not None):
            changed = ("other",) if new_own is None else ("own",) if new_other is None else ("own", "other")
            self._tell(events.CallInfoChanged, call, report, changed)

    def _apply_conferenced(self, report: reports.Conferenced) -> None:
        call = self._call_for(report)
        if call is None:
            return
        was = call.base
        first = call.connected_at is None
        if self._move(report) is not None:
            self._say_connected(call, report, first=first, moved=was is not call.base)

    def _say_connected(self, call: _OpenCall, report: reports.CallReport, *, first: bool, moved: bool) -> None:
        if not first and not moved:
            return
        if first:
            call.connected_at = call.changed_at
            if call.answered_at is None:
                call.answered_at = call.changed_at
        self._settle()
        if first:
            self._tell(events.CallConnected, call, report)
        else:
            self._tell(events.CallInfoChanged, call, report, ("state",))
        self._announce(report.at, changed=True)

    def _apply_busy(self, report: reports.Busy) -> None:
        call = self._move(report)
        if call is not None:
            call.held_by = _NOBODY
            call.pbx_cause = report.pbx_cause
            self._settle()
            self._tell(events.CallBusy, call, report)
            self._announce(report.at, changed=True)

    def _apply_held(self, report: reports.Held) -> None:
        call = self._call_for(report)
        if call is None:
            return
        if report.by in call.held_by:
            self._refuse("repeated", report)
        elif frozenset((report.by,)) not in _BITS_HELD:
            self._refuse("bad_report", report)
        elif self._move(report) is not None:
            self._imply_connection(call)
            call.held_by = call.held_by | {report.by}
            self._settle()
            self._tell(events.CallHeld, call, report, report.by)
            self._announce(report.at, changed=True)

    def _apply_retrieved(self, report: reports.Retrieved) -> None:
        call = self._call_for(report)
        if call is None:
            return
        by = report.by
        if by not in call.held_by and len(call.held_by) == 1 and Side.UNKNOWN in (by, *call.held_by):
            # Somebody who was not named held it, or somebody who is not named took it back: there is only one it can be.
            (by,) = call.held_by
        if by not in call.held_by:
            self._refuse("repeated", report)
        elif self._move(report) is not None:
            call.held_by = call.held_by - {by}
            self._settle()
            self._tell(events.CallUnheld, call, report, by)
            self._announce(report.at, changed=True)

    def _imply_connection(self, call: _OpenCall) -> None:
        # A call of unknown state that is held must have been connected: its talk before is not known, so it is none.
        if call.base is CallState.CONNECTED and call.connected_at is None:
            call.connected_at = call.changed_at

    def _apply_tones(self, report: reports.Tones) -> None:
        call = self._call_for(report)
        if call is not None:
            self._tell(events.DtmfEntered, call, report, report.digits, report.by)

    def _apply_ended(self, report: reports.Ended) -> None:
        call = self._known(report.call_id)
        if call is None:
            if not _is_identifier(report.call_id):
                self._refuse("bad_report", report)
                return
            self._refuse("ended" if report.call_id in self._ended else "unknown_call", report)
            # Its beginning may still be on its way: it must not be shown when it comes.
            self._remember_end(report.call_id)
            return
        self._end(call, report, report.cause, report.pbx_cause, report.redirection)

    def _end(
        self,
        call: _OpenCall,
        report: reports.Report,
        cause: EndCause,
        pbx_cause: str | None,
        redirection: Redirection | None,
        *,
        inferred: bool = False,
    ) -> None:
        if not inferred:
            call.book(report.at)
        call.frozen = None
        call.ended_at = call.changed_at
        call.base = CallState.NONE
        call.held_by = _NOBODY
        call.features = 0
        call.stale = False
        call.inferred = inferred
        call.cause = cause
        call.pbx_cause = pbx_cause if pbx_cause is not None else call.pbx_cause
        if redirection is not None:
            call.redirections = (*call.redirections, redirection)
        del self._open[call.id]
        for call_id in (call.id, *call.former_ids):
            self._former.pop(call_id, None)
            self._remember_end(call_id)
        self.seq += 1
        raw = report.raw if self._raw else None
        self._out.append(events.CallFinished(self.epoch, self.seq, report.at, self._freeze(call), raw))
        self._settle()
        self._announce(report.at, changed=True)

    def _remember_end(self, call_id: str) -> None:
        self._ended[call_id] = None
        self._ended.move_to_end(call_id)
        if len(self._ended) > self._remembered_ends:
            self._ended.popitem(last=False)

    # ------------------------------------------------------------------ what is known about a call

    def _apply_info(self, report: reports.InfoChanged) -> None:
        call = self._call_for(report)
        if call is not None:
            self._change_info(
                call,
                report,
                own=report.own,
                other=report.other,
                direction=report.direction,
                parent_id=report.parent_id,
                redirections=report.redirections,
                attributes=report.attributes,
            )

    def _change_info(self, call: _OpenCall, report: reports.CallReport, **news: Any) -> None:
        changed = [name for name, value in news.items() if value is not None and value != getattr(call, name)]
        if not changed:
            return
        call.book(report.at)
        for name in changed:
            setattr(call, name, news[name])
        self._settle()
        self._tell(events.CallInfoChanged, call, report, tuple(changed))
        self._announce(report.at)

    def _apply_id(self, report: reports.IdChanged) -> None:
        old, new = report.call_id, report.new_id
        call = self._known(old)
        if not _is_identifier(new):
            self._refuse("bad_report", report)
        elif call is None:
            self._refuse("ended" if old in self._ended else "unknown_call", report)
            if old in self._ended:
                self._remember_end(new)
        elif call.id == new:
            self._refuse("repeated", report)
        elif new in self._ended or (self._known(new) is not None and self._known(new) is not call):
            self._refuse("id_in_use", report)
        else:
            old = call.id
            call.book(report.at)
            call.former_ids = (*(i for i in call.former_ids if i != new), old)
            call.id = new
            self._former.pop(new, None)
            for former_id in call.former_ids:
                self._former[former_id] = new
            self._open = {other.id: other for other in self._open.values()}
            for other in self._open.values():
                if other.parent_id == old:
                    other.parent_id = new
                    other.frozen = None
            self._tell(events.CallInfoChanged, call, report, ("id", "former_ids"))

    def _apply_recording(self, report: reports.RecordingReport) -> None:
        call = self._call_for(report)
        if call is None:
            return
        if call.recording is report.on:
            self._refuse("repeated", report)
            return
        call.book(report.at)
        call.recording = report.on
        self._tell(events.RecordingStateChanged, call, report)

    def _apply_muted(self, report: reports.Muted) -> None:
        call = self._call_for(report)
        if call is not None and call.muted is not report.on:
            call.book(report.at)
            call.muted = report.on
            self._tell(events.CallInfoChanged, call, report, ("muted",))

    def _apply_media_started(self, report: reports.MediaStarted) -> None:
        call = self._call_for(report)
        if call is not None:
            self._tell(events.WebRtcStarted, call, report, report.media_id)

    def _apply_media_video(self, report: reports.MediaVideoStarted) -> None:
        call = self._call_for(report)
        if call is not None:
            self._tell(events.WebRtcVideoStarted, call, report, report.media_id)

    def _apply_media_ended(self, report: reports.MediaEnded) -> None:
        call = self._call_for(report)
        if call is not None:
            self._tell(events.WebRtcDestroyed, call, report, report.media_id)

    def _apply_allowed(self, report: reports.Allowed) -> None:
        call = self._known(report.call_id)
        if call is None:
            self._refuse("ended" if report.call_id in self._ended else "unknown_call", report)
            return
        call.allowed = None if report.features is None else int(report.features)
        self._settle()
        self._announce(report.at)

    # ------------------------------------------------------------------ the session and its agent

    def _apply_started(self, report: reports.Started) -> None:
        self.own_numbers = report.own_numbers
        self.agent_states = report.agent_states
        self.agent_features = report.agent_features or AgentFeature.NONE
        self._session_bits = int(report.features or 0)
        self._state_changed(ProviderState.IN_SERVICE, report.at, 0, None, None)
        self._number(
            events.Initialized,
            report.at,
            self._flags(self._session_bits),
            self.agent_features,
            self.agent_states,
            self.own_numbers,
        )
        if report.agent is not None:
            self._change_agent(report.agent, report.at)
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
        self._number(events.ProviderStateChanged, at, state, self._in_service_since, attempt, next_try_at, error)
        event = self._out[-1]
        assert isinstance(event, events.ProviderStateChanged)
        self.provider_state_event = event

    def _apply_agent(self, report: reports.AgentReport) -> None:
        self._change_agent(report.agent, report.at)

    def _change_agent(self, agent: Agent, at: datetime) -> None:
        if agent == self.agent:
            return
        mode_was = self.agent.call_centre_mode
        self.agent = agent
        self._number(events.AgentStateChanged, at, agent)
        if agent.call_centre_mode is not None and agent.call_centre_mode is not mode_was:
            self._number(events.CallCentreModeChanged, at, agent.call_centre_mode)

    def _apply_call_centre(self, report: reports.CallCentreModeReport) -> None:
        if self.agent.call_centre_mode is not report.on:
            self.agent = attrs.evolve(self.agent, call_centre_mode=report.on)
            self._number(events.CallCentreModeChanged, report.at, report.on)

    def _apply_trouble(self, report: reports.Trouble) -> None:
        call = None if report.call_id is None else self.find(report.call_id)
        self._number(events.ErrorOccurred, report.at, report.error, call)

    def _apply_raw(self, report: reports.Raw) -> None:
        if self._raw:
            self._number(events.RawMessage, report.at, report.raw)

    # ------------------------------------------------------------------ reconciling

    def _apply_snapshot(self, snapshot: reports.Snapshot) -> None:
        """Make the line agree with what the PBX says it has: the only way by which calls end or begin without a report."""
        self._batch = True
        try:
            seen: set[int] = set()
            for item in snapshot.calls:
                call = self._reconcile(item, snapshot)
                if call is not None:
                    seen.add(id(call))
            if snapshot.complete:
                for call in [c for c in self._open.values() if id(c) not in seen and not self._is_newer(c)]:
                    self._end(call, snapshot, EndCause.RESYNC, None, None, inferred=True)
        finally:
            self._batch = False
        if snapshot.agent is not None:
            self._change_agent(snapshot.agent, snapshot.at)
        self._settle()
        self._announce(snapshot.at)
        self._number(events.SnapshotTaken, snapshot.at, self.calls, self.agent, snapshot.complete)

    def _is_newer(self, call: _OpenCall) -> bool:
        return self._asked_at_seq is not None and call.told_seq > self._asked_at_seq

    def _reconcile(self, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> _OpenCall | None:
        ids = (item.call_id, *item.former_ids)
        if any(call_id in self._ended for call_id in ids):
            # The end was seen: a snapshot that still lists the call is older than that.
            return None
        call = next((known for known in map(self._known, ids) if known is not None), None)
        at = snapshot.at
        if call is None:
            started_at = min(item.started_at or at, at)
            call = _OpenCall(item.call_id, item.direction, _base_of(item), started_at)
            call.former_ids = item.former_ids
            call.own, call.other, call.parent_id = item.own, item.other, item.parent_id
            call.attributes = item.attributes
            self._former.update(dict.fromkeys(item.former_ids, item.call_id))
            self._begin_in_full(call, item, snapshot)
        elif self._is_newer(call):
            return call
        else:
            call.stale = False
            call.frozen = None
            if call.id != item.call_id and item.call_id not in self._open:
                self._apply_id(reports.IdChanged(at=at, call_id=call.id, new_id=item.call_id))
            self._change_info(
                call,
                reports.InfoChanged(at=at, call_id=call.id),
                own=item.own if item.own != _NO_PARTY else None,
                other=item.other if item.other != _NO_PARTY else None,
                direction=item.direction if item.direction is not CallDirection.UNKNOWN else None,
                parent_id=item.parent_id,
                attributes=item.attributes or None,
            )
        call.allowed = None if item.allowed is None else int(item.allowed)
        self._catch_up(call, item, at)
        return call

    def _begin_in_full(self, call: _OpenCall, item: reports.CallSnapshot, snapshot: reports.Snapshot) -> None:
        base = call.base
        call.base = CallState.ALERTING if base in (CallState.CONNECTED, CallState.CONFERENCED) else base
        self._open[call.id] = call
        self._features_alone(call)
        self._number(events.CallStarted, call.started_at, self._freeze(call), None)
        if item.answered_at is not None:
            call.answered_at = max(item.answered_at, call.started_at)
            call.frozen = None

    def _catch_up(self, call: _OpenCall, item: reports.CallSnapshot, at: datetime) -> None:
        base = _base_of(item)
        if base is not call.base and base is not CallState.UNKNOWN and base is not CallState.ALERTING:
            connected_at = at
            if call.connected_at is None and item.connected_at is not None:
                connected_at = min(max(item.connected_at, call.changed_at), at)
            kind = {CallState.CONNECTED: reports.Connected, CallState.CONFERENCED: reports.Conferenced}.get(base)
            if kind is not None:
                self._appliers[kind](kind(at=connected_at, call_id=call.id))
            elif base is CallState.BUSY:
                self._apply_busy(reports.Busy(at=at, call_id=call.id))
        for side in sorted(item.held_by - call.held_by, key=_side_order):
            self._apply_held(reports.Held(at=at, call_id=call.id, by=side))
        # A PBX that says HELD without saying by whom does not say that one of the two has taken it back.
        if item.state is not CallState.HELD or item.held_by:
            for side in sorted(call.held_by - item.held_by, key=_side_order):
                self._apply_retrieved(reports.Retrieved(at=at, call_id=call.id, by=side))
        self._features_alone(call)

    def _features_alone(self, call: _OpenCall) -> None:
        bits = self._state_bits(call) & self._session_bits
        bits = bits if call.allowed is None else bits & call.allowed
        if bits != call.features:
            call.features = bits
            call.frozen = None


def _is_identifier(value: object) -> bool:
    # Plugins are not all checked by mypy.
    return isinstance(value, str) and value != ""


def _base_of(item: reports.CallSnapshot) -> CallState:
    if item.state is CallState.HELD:
        return CallState.CONNECTED
    if item.state is CallState.NONE:
        return CallState.UNKNOWN
    return item.state


def _precedence(call: _OpenCall) -> int:
    if call.held_by:
        return 1
    if call.base is CallState.ALERTING and call.direction is CallDirection.IN:
        return 3
    return 2


def _side_order(side: Side) -> int:
    return tuple(Side).index(side)
