"""How long a session takes to agree with a PBX after an outage in which a thousand calls changed, however they did."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from cti_framework.calls import CallDirection, CallFeature, CallState, Party, Side
from cti_framework.clock import SessionClock
from cti_framework.eventlog import EventLog
from cti_framework.events import ProviderState, SnapshotTaken
from cti_framework.line import Line
from cti_framework.reports import CallSnapshot, Connected, Offered, Snapshot, Started

__all__ = ["RESYNC_CASES", "resync_1000_calls_s", "resync_case_s"]

CALLS: Final = 1000
_ALL: Final = CallFeature(sum(CallFeature))
_TALKS, _RINGS, _HELD = CallState.CONNECTED, CallState.ALERTING, CallState.HELD
_BY_OWN: Final = frozenset({Side.OWN})
_OUTAGE: Final = timedelta(minutes=1)


def _seen(number: int, state: CallState = _TALKS, **fields: Any) -> CallSnapshot:
    return CallSnapshot(
        **{
            "call_id": f"call-{number}",
            "direction": CallDirection.IN,
            "state": state,
            "own": Party("100"),
            "other": Party(f"05{number:04}"),
            **fields,
        }
    )


def _mixed(number: int) -> CallSnapshot:
    """A quarter is held, a quarter has a parent and another party, a quarter goes on, and a quarter is new and the old gone."""
    if number % 4 == 0:
        return _seen(number, _HELD, held_by=_BY_OWN)
    if number % 4 == 1:
        return _seen(number, other=Party(f"06{number:04}"), parent_id="call-999")
    return _seen(number if number % 4 == 2 else number + CALLS)


RESYNC_CASES: Final[Mapping[str, tuple[bool, Callable[[int], CallSnapshot]]]] = MappingProxyType(
    {
        "talked on, mixed": (True, _mixed),
        "talked on, as they were": (True, _seen),
        "talked on, limited": (True, lambda n: _seen(n, allowed=CallFeature.DROP)),
        "talked on, held": (True, lambda n: _seen(n, _HELD, held_by=_BY_OWN)),
        "talked on, conferences": (True, lambda n: _seen(n, CallState.CONFERENCED)),
        "talked on, each the next one's enquiry": (True, lambda n: _seen(n, parent_id=f"call-{(n + 1) % CALLS}")),
        "talked on, enquiries of the first": (True, lambda n: _seen(n, parent_id="call-0")),
        "ringing, talked on": (False, _seen),
        "ringing, held": (False, lambda n: _seen(n, _HELD, held_by=_BY_OWN)),
        "ringing, busy": (False, lambda n: _seen(n, CallState.BUSY)),
        "ringing, the other way": (False, lambda n: _seen(n, _RINGS, direction=CallDirection.OUT)),
        "ringing, each the next one's enquiry": (False, lambda n: _seen(n, _RINGS, parent_id=f"call-{(n + 1) % CALLS}")),
        "ringing, renamed": (False, lambda n: _seen(n, _RINGS, call_id=f"new-{n}", former_ids=(f"call-{n}",))),
        "ringing, with former ids": (False, lambda n: _seen(n, _RINGS, former_ids=(f"old-{n}",))),
        "gone, others ringing": (False, lambda n: _seen(n + CALLS, _RINGS)),
        "gone, others held": (False, lambda n: _seen(n + CALLS, _HELD, held_by=_BY_OWN)),
    }
)
"""What the calls did before the outage (whether they were talked on), and what the PBX says of each after it."""


def resync_1000_calls_s(calls: int = CALLS) -> float:
    """Measure how long it takes from the arrival of the snapshot until the last event of it is in the log, in the worst case.

    Args:
        calls: How many calls the snapshot has.

    Returns:
        Seconds.
    """
    return max(resync_case_s(case, calls) for case in RESYNC_CASES)


def resync_case_s(case: str, calls: int = CALLS) -> float:
    """Measure it in one case.

    Args:
        case: Which.
        calls: How many calls the snapshot has.

    Returns:
        Seconds.
    """
    are_talked_on, seen = RESYNC_CASES[case]
    now = SessionClock().now()
    line = Line("epoch")
    log = EventLog("epoch", lambda missed: line.resync(missed, now))
    _begin(line, log, now, calls, are_talked_on=are_talked_on)
    snapshot = Snapshot(at=now + _OUTAGE, calls=tuple(map(seen, range(calls))))
    began_at = time.perf_counter()
    events = line.apply_snapshot(snapshot, asked_at_seq=line.seq)
    log.extend(events)
    seconds = time.perf_counter() - began_at
    assert isinstance(events[-1], SnapshotTaken)
    assert {call.id for call in line.calls} == {call.call_id for call in snapshot.calls}
    return seconds


def _begin(line: Line, log: EventLog, now: datetime, calls: int, *, are_talked_on: bool) -> None:
    """Have calls, and lose the connection."""
    log.extend(line.apply(Started(at=now, features=_ALL)))
    for number in range(calls):
        call_id = f"call-{number}"
        log.extend(line.apply(Offered(at=now, call_id=call_id, other=Party(f"05{number:04}"))))
        if are_talked_on:
            log.extend(line.apply(Connected(at=now, call_id=call_id)))
    log.extend(line.connection_changed(ProviderState.RECONNECTING, now))
    log.extend(line.apply(Started(at=now, features=_ALL)))
