"""What a plugin says: one frozen class a report.

A report is what the PBX made known, without policy: no state, no features, no order. ``Line`` alone turns reports into
those. Each carries ``at``: when it happened, on the session's clock (``context.clock``), aware and in UTC.

``call_id`` is the PBX's identifier. ``Line`` knows former ones too, and adopts a call that it has not seen begin. A PBX may use
the identifier of a call that is over again: a beginning a minute or more after the end is another call's.
In reports about a call that has begun, a party that is ``None`` means "nothing new about it".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from cti_framework.agents import Agent, AgentState
from cti_framework.calls import NO_ATTRIBUTES, CallDirection, CallFeature, CallState, EndCause, Party, Redirection, Side
from cti_framework.errors import CtiError

__all__ = [
    "AgentReport",
    "Allowed",
    "Answered",
    "Busy",
    "CallCentreModeReport",
    "CallReport",
    "CallSnapshot",
    "Conferenced",
    "Connected",
    "Ended",
    "Held",
    "IdChanged",
    "InfoChanged",
    "MediaEnded",
    "MediaMeasured",
    "MediaStarted",
    "MediaVideoStarted",
    "Muted",
    "Offered",
    "Originated",
    "Raw",
    "RecordingReport",
    "Report",
    "Retrieved",
    "Snapshot",
    "Started",
    "Tones",
    "Trouble",
]


@attrs.frozen(kw_only=True)
class Report:
    """Base of all reports.

    Attributes:
        at: When it happened: aware, UTC, on the session's clock.
        raw: The PBX's own words (a decoded frame), passed on as ``event.raw`` where somebody asked for raw data.
    """

    at: datetime
    raw: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(kw_only=True)
class CallReport(Report):
    """Base of the reports about one call.

    Attributes:
        call_id: The PBX's identifier of the call.
    """

    call_id: str


@attrs.frozen(kw_only=True)
class Started(Report):
    """The session is logged in and its events flow. The first report of every ``run()``, once in each.

    Attributes:
        features: What this session can do with calls; never more than the class's ``capabilities``.
        agent_features: What it can do with its agent.
        agent_states: The states that an agent of this PBX knows.
        own_numbers: The operator's own numbers.
        agent: The operator's state, if the PBX told it while logging in.
    """

    features: CallFeature | None = None
    agent_features: Any = None
    agent_states: tuple[AgentState, ...] = ()
    own_numbers: tuple[str, ...] = ()
    agent: Agent | None = None


@attrs.frozen(kw_only=True)
class Originated(CallReport):
    """A call of the operator's own making has appeared.

    Attributes:
        other: Who is called.
        own: The operator's party.
        parent_id: The call on whose behalf it is made (a consult call).
        attributes: Free data from the PBX.
        allowed: What the PBX accepts for it, as for ``Allowed``: no event offers more from the first one on.
    """

    other: Party
    own: Party | None = None
    parent_id: str | None = None
    attributes: Mapping[str, Any] = NO_ATTRIBUTES
    allowed: CallFeature | None = None


@attrs.frozen(kw_only=True)
class Offered(CallReport):
    """A call for the operator rings.

    Attributes:
        other: Who calls.
        own: The operator's party.
        redirections: Where it came by.
        attributes: Free data from the PBX.
        allowed: What the PBX accepts for it, as for ``Allowed``: no event offers more from the first one on.
    """

    other: Party
    own: Party | None = None
    redirections: tuple[Redirection, ...] = ()
    attributes: Mapping[str, Any] = NO_ATTRIBUTES
    allowed: CallFeature | None = None


@attrs.frozen(kw_only=True)
class Answered(CallReport):
    """The operator's own device was picked up. The parties cannot talk yet: ``Connected`` says when they can."""


@attrs.frozen(kw_only=True)
class Connected(CallReport):
    """Both parties can talk.

    Attributes:
        other: The other party, if more is known about it now.
        own: The operator's party, likewise.
    """

    other: Party | None = None
    own: Party | None = None


@attrs.frozen(kw_only=True)
class Conferenced(CallReport):
    """More than two parties talk in this call."""


@attrs.frozen(kw_only=True)
class Busy(CallReport):
    """The far end is busy; the call has not ended yet.

    Attributes:
        pbx_cause: The PBX's own word for it.
    """

    pbx_cause: str | None = None


@attrs.frozen(kw_only=True)
class Held(CallReport):
    """A party put the call on hold.

    Attributes:
        by: Which one.
    """

    by: Side = Side.OWN


@attrs.frozen(kw_only=True)
class Retrieved(CallReport):
    """A party took the call back from hold.

    Attributes:
        by: Which one.
    """

    by: Side = Side.OWN


@attrs.frozen(kw_only=True)
class Tones(CallReport):
    """DTMF was sent or received in the call.

    Attributes:
        digits: One or more of ``0123456789*#ABCD``.
        by: Who pressed them.
    """

    digits: str
    by: Side = Side.UNKNOWN


@attrs.frozen(kw_only=True)
class InfoChanged(CallReport):
    """Something about a call became known or changed; what is ``None`` stays as it was.

    Attributes:
        own: The operator's party.
        other: The other party.
        direction: Who began it.
        parent_id: The call on whose behalf it was made.
        redirections: All of them, in order.
        attributes: All of them.
    """

    own: Party | None = None
    other: Party | None = None
    direction: CallDirection | None = None
    parent_id: str | None = None
    redirections: tuple[Redirection, ...] | None = None
    attributes: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class IdChanged(CallReport):
    """The PBX calls the call by another identifier from now on; ``call_id`` is the old one.

    Attributes:
        new_id: The new one.
    """

    new_id: str


@attrs.frozen(kw_only=True)
class RecordingReport(CallReport):
    """Recording of the call started, paused or stopped.

    Attributes:
        on: Whether it is being recorded now.
    """

    on: bool


@attrs.frozen(kw_only=True)
class Muted(CallReport):
    """The operator's microphone was switched.

    Attributes:
        on: Whether it is off ("muted") now.
    """

    on: bool


@attrs.frozen(kw_only=True)
class MediaStarted(CallReport):
    """The web phone's media session for the call began.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str


@attrs.frozen(kw_only=True)
class MediaVideoStarted(CallReport):
    """Video flows in the web phone's media session.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str


@attrs.frozen(kw_only=True)
class MediaMeasured(CallReport):
    """How good the sound of the web phone's media session was since it was measured last.

    Attributes:
        media_id: The media session's identifier.
        mos: The mean opinion score to be expected of what is heard here, 1 to 4.5.
        loss: The share of packets that did not come, 0 to 1.
        jitter_seconds: How unevenly packets come.
        round_trip_seconds: There and back; ``None``: not measured yet.
    """

    media_id: str
    mos: float
    loss: float
    jitter_seconds: float
    round_trip_seconds: float | None = None


@attrs.frozen(kw_only=True)
class MediaEnded(CallReport):
    """The web phone's media session for the call is over.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str


@attrs.frozen(kw_only=True)
class Ended(CallReport):
    """The call is over. To be reported once; saying it twice does no harm.

    Attributes:
        cause: Why, in common words.
        pbx_cause: Why, in the PBX's.
        redirection: Where it went on to, if it was transferred.
    """

    cause: EndCause = EndCause.NORMAL
    pbx_cause: str | None = None
    redirection: Redirection | None = None


@attrs.frozen(kw_only=True)
class Allowed(CallReport):
    """The PBX accepts just these for the call now; the table says what the state permits, and the call offers both.

    Attributes:
        features: What the PBX accepts; ``None`` lifts the limit.
    """

    features: CallFeature | None


@attrs.frozen(kw_only=True)
class AgentReport(Report):
    """The operator's state as the PBX sees it.

    Attributes:
        agent: The whole of it.
    """

    agent: Agent


@attrs.frozen(kw_only=True)
class CallCentreModeReport(Report):
    """The operator takes calls of queues, or no longer.

    Attributes:
        on: Whether.
    """

    on: bool


@attrs.frozen(kw_only=True)
class Trouble(Report):
    """Something went wrong that no command's outcome tells; the session goes on.

    Attributes:
        error: What.
        call_id: The call concerned, if it is one.
    """

    error: CtiError
    call_id: str | None = None


@attrs.frozen(kw_only=True)
class Raw(Report):
    """A frame of the PBX that nothing else reports, for hosts that asked for raw messages."""


@attrs.frozen(kw_only=True)
class CallSnapshot:
    """One call as the PBX sees it at the time of a snapshot.

    Attributes:
        call_id: The PBX's identifier.
        direction: Who began it.
        state: What it does. HELD is told by ``held_by`` too; NONE says that it is over.
        own: The operator's party.
        other: The other party.
        held_by: Who holds it, as far as the PBX says.
        former_ids: Identifiers it had before.
        parent_id: The call on whose behalf it was made.
        started_at: When it began; ``None``: not known.
        answered_at: When the own device was picked up.
        connected_at: When both could first talk.
        attributes: Free data from the PBX.
        allowed: What the PBX accepts for it, if it says so; ``None``: as ``Allowed`` said since the connection was made, and what
            was said before it is forgotten.
        ended_at: Of one that is over, when it ended; ``None``: not known.
        cause: Of one that is over, why, in common words; ``None``: not known.
        pbx_cause: Of one that is over, why, in the PBX's.
        recording: Whether it is being recorded; ``None``: not known.
        muted: Whether the operator's microphone is off in it; ``None``: not known.
    """

    call_id: str
    direction: CallDirection
    state: CallState
    own: Party
    other: Party
    held_by: frozenset[Side] = frozenset()
    former_ids: tuple[str, ...] = ()
    parent_id: str | None = None
    started_at: datetime | None = None
    answered_at: datetime | None = None
    connected_at: datetime | None = None
    attributes: Mapping[str, Any] = NO_ATTRIBUTES
    allowed: CallFeature | None = None
    ended_at: datetime | None = None
    cause: EndCause | None = None
    pbx_cause: str | None = None
    recording: bool | None = None
    muted: bool | None = None


@attrs.frozen(kw_only=True)
class Snapshot(Report):
    """The operator's calls and agent state as the PBX sees them now.

    Attributes:
        calls: The calls.
        agent: The agent's state; ``None``: the PBX did not say.
        complete: Whether these are all calls there are. An incomplete snapshot ends no call.
    """

    calls: tuple[CallSnapshot, ...] = ()
    agent: Agent | None = None
    complete: bool = True
