"""What a host is told: one frozen class an event.

Every event carries its place in the session's one order, ``(epoch, seq)``, and when it happened. Events about a call carry
the call as it was right after; ``LineStateChanged`` carries all open calls, so that a screen can be drawn from it alone.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import attrs

from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import Call, CallFeature, Side
from cti_framework.errors import CtiError

__all__ = [
    "EVENT_TYPES",
    "AgentStateChanged",
    "CallBusy",
    "CallCentreModeChanged",
    "CallConnected",
    "CallEvent",
    "CallFinished",
    "CallHeld",
    "CallInfoChanged",
    "CallSaved",
    "CallStarted",
    "CallUnheld",
    "CurrentCallChanged",
    "Cursor",
    "Disconnected",
    "DtmfEntered",
    "ErrorOccurred",
    "Event",
    "Initialized",
    "LineStateChanged",
    "ProviderState",
    "ProviderStateChanged",
    "RawMessage",
    "RecordingStateChanged",
    "ResyncRequired",
    "SnapshotTaken",
    "WebRtcDestroyed",
    "WebRtcQuality",
    "WebRtcStarted",
    "WebRtcVideoStarted",
]


class ProviderState(Enum):
    """What the session's connection to the PBX is doing."""

    CLOSED = "closed"
    """Not opened yet, closed by the host, or waiting for an explicit ``connect()``."""
    CONNECTING = "connecting"
    """The first attempt of this session."""
    IN_SERVICE = "in_service"
    """Logged in; events flow."""
    RECONNECTING = "reconnecting"
    """It was in service and the connection is lost; the core tries again."""
    OUT_OF_SERVICE = "out_of_service"
    """Never in service yet; the core goes on trying."""
    FAILED = "failed"
    """Given up: credentials refused, address unusable, or the plugin's own fault."""


@attrs.frozen
class Cursor:
    """A place in a session's order of events.

    Attributes:
        epoch: Names one opening of the session; it outlives reconnections.
        seq: The number of the last event seen.
    """

    epoch: str
    seq: int


@attrs.frozen
class Event:
    """Base of all events.

    Attributes:
        epoch: Names one opening of the session; it outlives reconnections.
        seq: The event's number in it, from 1, without gaps.
        at: When it happened: aware, UTC, on the session's clock.
    """

    epoch: str
    seq: int
    at: datetime

    @property
    def cursor(self) -> Cursor:
        """Where to go on reading: ``events(after=event.cursor)``."""
        return Cursor(self.epoch, self.seq)


@attrs.frozen
class Initialized(Event):
    """The session is logged in and ready for calls: for the first time, or again.

    Attributes:
        features: What this session can do with calls.
        agent_features: What it can do with its agent.
        agent_states: The states that an agent of this PBX knows.
        own_numbers: The operator's own numbers.
    """

    features: CallFeature
    agent_features: AgentFeature
    agent_states: tuple[AgentState, ...]
    own_numbers: tuple[str, ...]


@attrs.frozen
class Disconnected(Event):
    """The connection to the PBX is gone. Calls that were open are shown as stale until it is back.

    Attributes:
        error: Why; ``None``: the host closed it.
    """

    error: CtiError | None


@attrs.frozen
class ProviderStateChanged(Event):
    """The connection to the PBX does something else now.

    Attributes:
        state: What.
        since: Since when the session is not in service (or is).
        attempt: The number of the present attempt, or of the one that ``next_try_at`` announces, from 1; 0 when in service.
        next_try_at: When the core tries next; ``None``: it does not, or does just now.
        error: What the latest attempt ended with.
    """

    state: ProviderState
    since: datetime
    attempt: int = 0
    next_try_at: datetime | None = None
    error: CtiError | None = None


@attrs.frozen
class CallEvent(Event):
    """Base of the events about one call.

    Attributes:
        call: The call right after it.
        raw: The PBX's own words, where raw data was asked for.
    """

    call: Call
    raw: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class CallStarted(CallEvent):
    """A call appeared, in either direction. The first event of every call."""


@attrs.frozen
class CallConnected(CallEvent):
    """Both parties can talk. At most once a call."""


@attrs.frozen
class CallHeld(CallEvent):
    """A party put the call on hold.

    Attributes:
        by: Which one.
    """

    by: Side = Side.UNKNOWN


@attrs.frozen
class CallUnheld(CallEvent):
    """A party took the call back. The other may hold it still: ``call.held_by``.

    Attributes:
        by: Which one.
    """

    by: Side = Side.UNKNOWN


@attrs.frozen
class CallBusy(CallEvent):
    """The far end is busy."""


@attrs.frozen
class CallInfoChanged(CallEvent):
    """Something about a call changed that no other event tells.

    Attributes:
        changed: The names of the attributes of ``Call`` that changed.
    """

    changed: tuple[str, ...] = ()


@attrs.frozen
class CallFinished(CallEvent):
    """The call is over: ``call.cause``, ``call.inferred``. Exactly once a call."""


@attrs.frozen
class CallSaved(CallEvent):
    """A journal stored the call.

    Attributes:
        database_id: Its identifier there.
    """

    database_id: str = ""


@attrs.frozen
class RecordingStateChanged(CallEvent):
    """Recording of the call started or stopped: ``call.recording``."""


@attrs.frozen
class DtmfEntered(CallEvent):
    """Tones were sent or received.

    Attributes:
        digits: Which.
        by: Who pressed them.
    """

    digits: str = ""
    by: Side = Side.UNKNOWN


@attrs.frozen
class WebRtcStarted(CallEvent):
    """The web phone's media session for the call began.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str = ""


@attrs.frozen
class WebRtcVideoStarted(CallEvent):
    """Video flows in the web phone's media session.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str = ""


@attrs.frozen
class WebRtcQuality(CallEvent):
    """How good the sound of the web phone's media session was since it was told last.

    Attributes:
        media_id: The media session's identifier.
        mos: The mean opinion score to be expected of what is heard here, 1 to 4.5.
        loss: The share of packets that did not come, 0 to 1.
        jitter_seconds: How unevenly packets come.
        round_trip_seconds: There and back; ``None``: not measured yet.
    """

    media_id: str = ""
    mos: float = 0.0
    loss: float = 0.0
    jitter_seconds: float = 0.0
    round_trip_seconds: float | None = None


@attrs.frozen
class WebRtcDestroyed(CallEvent):
    """The web phone's media session for the call is over.

    Attributes:
        media_id: The media session's identifier.
    """

    media_id: str = ""


@attrs.frozen
class CurrentCallChanged(Event):
    """Another call, or none, is the one that the operator deals with first.

    Attributes:
        call: Which; ``None``: none.
    """

    call: Call | None


@attrs.frozen
class LineStateChanged(Event):
    """What may be done has changed, on the line or with one of its calls.

    Attributes:
        features: What may be done on the line now.
        calls: All open calls, in the order in which they began.
    """

    features: CallFeature
    calls: tuple[Call, ...]


@attrs.frozen
class AgentStateChanged(Event):
    """The operator's state changed.

    Attributes:
        agent: What it is now.
    """

    agent: Agent


@attrs.frozen
class CallCentreModeChanged(Event):
    """The operator takes calls of queues, or no longer.

    Attributes:
        on: Whether.
    """

    on: bool


@attrs.frozen
class SnapshotTaken(Event):
    """The PBX was asked for its calls, and the line agrees with the answer now.

    Attributes:
        calls: All open calls.
        agent: The operator's state.
        complete: Whether the PBX told all it has.
    """

    calls: tuple[Call, ...]
    agent: Agent
    complete: bool


@attrs.frozen
class ErrorOccurred(Event):
    """Something went wrong that no command's outcome tells.

    Attributes:
        error: What; ``error.error_type`` is the number that Creatio's hosts know.
        call: The call concerned, if it is one.
    """

    error: CtiError
    call: Call | None = None


@attrs.frozen
class RawMessage(Event):
    """A message of the PBX, unchanged. Only where raw messages were asked for.

    Attributes:
        raw: The message.
    """

    raw: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class ResyncRequired(Event):
    """The events before this one are gone, for this reader. It carries the truth to go on from.

    Attributes:
        missed: How many events this reader did not get; ``None``: not known (its cursor is of another epoch).
        calls: All open calls.
        agent: The operator's state.
        provider_state: What the connection does.
    """

    missed: int | None
    calls: tuple[Call, ...]
    agent: Agent
    provider_state: ProviderState


EVENT_TYPES: tuple[type[Event], ...] = (
    Initialized,
    Disconnected,
    ProviderStateChanged,
    CallStarted,
    CallConnected,
    CallHeld,
    CallUnheld,
    CallBusy,
    CallInfoChanged,
    CallFinished,
    CallSaved,
    RecordingStateChanged,
    DtmfEntered,
    WebRtcStarted,
    WebRtcVideoStarted,
    WebRtcQuality,
    WebRtcDestroyed,
    CurrentCallChanged,
    LineStateChanged,
    AgentStateChanged,
    CallCentreModeChanged,
    SnapshotTaken,
    ErrorOccurred,
    RawMessage,
)
"""Every class of event of a session, each told to hooks, too. ``ResyncRequired`` is none: it is made for one reader."""
