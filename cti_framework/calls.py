"""Values that describe a call.

The vocabulary and the numbers are those of Creatio's CTI classes, so that their users find them again;
``docs/reference/vocabulary.md`` sets each beside its CSTA (ECMA-269) term.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import Any, Final

import attrs

__all__ = [
    "NO_ATTRIBUTES",
    "Call",
    "CallDirection",
    "CallFeature",
    "CallRole",
    "CallState",
    "EndCause",
    "Party",
    "Redirection",
    "Side",
]


class CallState(IntEnum):
    """What a call is doing. Numbers as Creatio's ``GeneralizedCallState``."""

    NONE = 0
    """Ended."""
    ALERTING = 1
    """Ringing, on either side."""
    CONNECTED = 2
    """Both parties can talk."""
    HELD = 3
    """At least one party holds it; ``Call.held_by`` says who."""
    CONFERENCED = 4
    """More than two parties talk."""
    UNKNOWN = 5
    """The call exists and the PBX did not say what it does."""
    BUSY = 6
    """The far end is busy; the call is not ended yet."""


class CallDirection(Enum):
    """Who began the call. Values as the rows of Creatio's lookup ``CallDirection``."""

    UNKNOWN = "c072be2c-3d82-4468-9d4a-6db47d1f4cca"
    OUT = "53f71b5f-7e17-4cf5-bf14-6a59212db422"
    IN = "1d96a65f-2131-4916-8825-2d142b1000b2"


class CallFeature(IntFlag):
    """What may be done with a call, or on the line. Values as Creatio's ``CallFeaturesSet``; from 0x4000 on ours."""

    NONE = 0
    RECALL = 0x1
    DIAL = 0x2
    ANSWER = 0x4
    DROP = 0x8
    HOLD = 0x10
    UNHOLD = 0x20
    SETUP_TRANSFER = 0x40
    COMPLETE_TRANSFER = 0x80
    BLIND_TRANSFER = 0x100
    CONSULT = 0x200
    DTMF = 0x400
    VIDEO = 0x800
    MUTE = 0x1000
    CANCEL_TRANSFER = 0x2000
    ALTERNATE = 0x4000
    CONFERENCE = 0x8000
    RECORDING = 0x10000
    MONITOR = 0x20000


class CallRole(Enum):
    """What a call is to the line, when there is more than one."""

    CURRENT = "current"
    """The call that the operator deals with first."""
    CONSULT = "consult"
    """An enquiry made on behalf of ``Call.parent_id``."""
    WAITING = "waiting"
    """Any other: a second caller who rings or is kept waiting."""


class Side(Enum):
    """Which party did something."""

    # Enum's own hashes the name, in Python, each time; members are singletons, so their identity serves.
    __hash__ = object.__hash__

    OWN = "own"
    OTHER = "other"
    UNKNOWN = "unknown"


class EndCause(Enum):
    """Why a call ended, in words common to all PBXs; the PBX's own cause is ``Call.pbx_cause``."""

    NORMAL = "normal"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    NOT_REGISTERED = "not_registered"
    CONGESTION = "congestion"
    NOT_ALLOWED = "not_allowed"
    CANCELLED = "cancelled"
    TRANSFERRED = "transferred"
    PICKED_UP_ELSEWHERE = "picked_up_elsewhere"
    RESYNC = "resync"
    MEDIA_FAILURE = "media_failure"
    UNKNOWN = "unknown"


@attrs.frozen
class Party:
    """One end of a call.

    Attributes:
        number: As the PBX tells it; empty if it does not.
        name: What the PBX shows for it; empty if nothing.
    """

    number: str = ""
    name: str = ""


@attrs.frozen
class Redirection:
    """A call was sent on to somebody else.

    Attributes:
        by: The number of the party who sent it on (Creatio's ``redirectingId``).
        to: The number it was sent to (Creatio's ``redirectionId``).
        at: When.
    """

    by: str
    to: str
    at: datetime


NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen
class Call:
    """One call as it was at one moment. It never changes: each event carries the call as it then was.

    Attributes:
        id: The identifier by which the PBX knows it now.
        former_ids: Identifiers it had before; ``CtiModel.call()`` finds it by any of them.
        direction: Who began it.
        state: What it does.
        role: What it is to the line.
        own: The operator's own party.
        other: The party the operator talks to.
        parent_id: The call on whose behalf this one was made.
        features: What may be done with it now: what the state permits and the PBX accepts.
        held_by: Who holds it: one party, or both.
        started_at: When it appeared (aware, UTC, on the session's clock, as all times here).
        answered_at: When the operator's own device was picked up.
        connected_at: When both parties could first talk.
        ended_at: When it ended.
        changed_at: When the latest report about it was made.
        ringing_seconds: Time from ``started_at`` until it was connected, or until it ended unconnected.
        talk_seconds: Time connected and not held, up to ``changed_at``.
        hold_seconds: Time held by anybody, up to ``changed_at``.
        cause: Why it ended.
        pbx_cause: The PBX's own word for why.
        inferred: The end was concluded (the call was gone after an outage), not seen.
        stale: The connection is lost: this is the last that was known.
        missed: It was for us and ended without having been connected.
        recording: It is being recorded; ``None`` where the PBX does not say.
        muted: The operator's microphone is off.
        redirections: Where it was sent on to.
        attributes: Free data from the PBX, for example Webitel's ``webitel_data``. Read only.
    """

    id: str
    direction: CallDirection
    state: CallState
    role: CallRole
    own: Party
    other: Party
    started_at: datetime
    changed_at: datetime
    features: CallFeature = CallFeature.NONE
    held_by: frozenset[Side] = frozenset()
    former_ids: tuple[str, ...] = ()
    parent_id: str | None = None
    answered_at: datetime | None = None
    connected_at: datetime | None = None
    ended_at: datetime | None = None
    ringing_seconds: float = 0.0
    talk_seconds: float = 0.0
    hold_seconds: float = 0.0
    cause: EndCause | None = None
    pbx_cause: str | None = None
    inferred: bool = False
    stale: bool = False
    recording: bool | None = None
    muted: bool = False
    redirections: tuple[Redirection, ...] = ()
    # A mapping has no hash; calls have one, for sets and keys.
    attributes: Mapping[str, Any] = attrs.field(default=NO_ATTRIBUTES, hash=False)

    @property
    def is_ended(self) -> bool:
        """Whether the call is over."""
        return self.state is CallState.NONE

    @property
    def missed(self) -> bool:
        """Whether it was for us and ended without having been connected, and nobody else took it."""
        return (
            self.state is CallState.NONE
            and self.direction is CallDirection.IN
            and self.connected_at is None
            and self.cause is not EndCause.PICKED_UP_ELSEWHERE
        )

    @property
    def total_seconds(self) -> float:
        """Time from ``started_at`` to ``changed_at``: ringing, talk and hold together."""
        return (self.changed_at - self.started_at).total_seconds()

    @property
    def caller(self) -> Party:
        """The party who began it."""
        return self.other if self.direction is CallDirection.IN else self.own

    @property
    def callee(self) -> Party:
        """The party who was called."""
        return self.own if self.direction is CallDirection.IN else self.other

    def talk_seconds_at(self, now: datetime) -> float:
        """Tell the talk time at a later moment, for a timer on a screen.

        Args:
            now: A time of the session's clock (``CtiModel.now()``).

        Returns:
            Seconds; it stands still while the call is held, stale or ended.
        """
        if self.state in (CallState.CONNECTED, CallState.CONFERENCED) and not self.stale:
            return self.talk_seconds + max(0.0, (now - self.changed_at).total_seconds())
        return self.talk_seconds

    def hold_seconds_at(self, now: datetime) -> float:
        """Tell the hold time at a later moment.

        Args:
            now: A time of the session's clock (``CtiModel.now()``).

        Returns:
            Seconds; it stands still unless the call is held.
        """
        if self.state is CallState.HELD and not self.stale:
            return self.hold_seconds + max(0.0, (now - self.changed_at).total_seconds())
        return self.hold_seconds
