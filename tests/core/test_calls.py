"""The values that describe a call: the numbers that Creatio's hosts know, and the arithmetic of durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from cti_framework import agents, calls, events, reports
from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallDirection, CallFeature, CallRole, CallState, EndCause, Party, Redirection, Side

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)

STATES = {"NONE": 0, "ALERTING": 1, "CONNECTED": 2, "HELD": 3, "CONFERENCED": 4, "UNKNOWN": 5, "BUSY": 6}
FEATURES = {
    "NONE": 0,
    "RECALL": 0x1,
    "DIAL": 0x2,
    "ANSWER": 0x4,
    "DROP": 0x8,
    "HOLD": 0x10,
    "UNHOLD": 0x20,
    "SETUP_TRANSFER": 0x40,
    "COMPLETE_TRANSFER": 0x80,
    "BLIND_TRANSFER": 0x100,
    "CONSULT": 0x200,
    "DTMF": 0x400,
    "VIDEO": 0x800,
    "MUTE": 0x1000,
    "CANCEL_TRANSFER": 0x2000,
    "ALTERNATE": 0x4000,
    "CONFERENCE": 0x8000,
    "RECORDING": 0x10000,
    "MONITOR": 0x20000,
}
CAUSES = {
    "NORMAL",
    "BUSY",
    "NO_ANSWER",
    "REJECTED",
    "UNREACHABLE",
    "NOT_REGISTERED",
    "CONGESTION",
    "NOT_ALLOWED",
    "CANCELLED",
    "TRANSFERRED",
    "PICKED_UP_ELSEWHERE",
    "RESYNC",
    "MEDIA_FAILURE",
    "UNKNOWN",
}
VALUES = [
    value
    for module in (agents, calls, events, reports)
    for value in vars(module).values()
    if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
]


def call(**fields: Any) -> Call:
    given: dict[str, Any] = {
        "id": "a",
        "direction": CallDirection.IN,
        "state": CallState.CONNECTED,
        "role": CallRole.CURRENT,
        "own": Party("100"),
        "other": Party("200"),
        "started_at": START,
        "changed_at": START + timedelta(seconds=30),
    }
    return Call(**{**given, **fields})


def test_states_have_creatios_numbers() -> None:
    assert {state.name: state.value for state in CallState} == STATES


def test_features_have_creatios_bits() -> None:
    assert {name: member.value for name, member in CallFeature.__members__.items()} == FEATURES


def test_agent_features_have_creatios_bits() -> None:
    named = {name: member.value for name, member in AgentFeature.__members__.items()}
    assert named == {"NONE": 0, "WRAP_UP": 1, "CALL_CENTRE_MODE": 2, "CALL_RECORDS": 4, "SET_STATE": 8}


def test_directions_are_the_rows_of_creatios_lookup() -> None:
    assert {direction.name: direction.value for direction in CallDirection} == {
        "UNKNOWN": "c072be2c-3d82-4468-9d4a-6db47d1f4cca",
        "OUT": "53f71b5f-7e17-4cf5-bf14-6a59212db422",
        "IN": "1d96a65f-2131-4916-8825-2d142b1000b2",
    }


def test_causes_roles_and_sides_are_those_of_the_vocabulary() -> None:
    assert {cause.name: cause.value for cause in EndCause} == {name: name.lower() for name in CAUSES}
    assert {role.value for role in CallRole} == {"current", "consult", "waiting"}
    assert {side.value for side in Side} == {"own", "other", "unknown"}


def test_the_documentation_says_the_same_numbers() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/vocabulary.md").read_text(encoding="utf-8")
    documented = {name: int(bit, 16) for bit, name in re.findall(r"`(0x[0-9a-f]+)` \| `([A-Z_]+)`", page)}
    assert documented == {name: bit for name, bit in FEATURES.items() if bit}
    documented = {name: int(number) for number, name in re.findall(r"\| (\d+) \| `([A-Z_]+)`", page)}
    assert documented == STATES


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_values_are_frozen_and_slotted(value: type[Any]) -> None:
    bare = object.__new__(value)
    assert not hasattr(bare, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        bare.anything = 1


def test_calls_are_equal_by_value_and_can_be_kept_in_sets() -> None:
    one, same = call(attributes={"a": [1]}), call(attributes={"a": [1]})
    assert one == same
    assert one != call(attributes={"a": [2]})
    assert {one, same, call(id="b")} == {one, call(id="b")}


def test_total_is_from_the_beginning_to_the_latest_change() -> None:
    assert call().total_seconds == 30.0


@pytest.mark.parametrize(
    ("direction", "caller", "callee"),
    [(CallDirection.IN, "200", "100"), (CallDirection.OUT, "100", "200"), (CallDirection.UNKNOWN, "100", "200")],
)
def test_who_calls_whom(direction: CallDirection, caller: str, callee: str) -> None:
    assert (call(direction=direction).caller.number, call(direction=direction).callee.number) == (caller, callee)


@pytest.mark.parametrize(
    ("fields", "missed"),
    [
        ({}, True),
        ({"connected_at": START}, False),
        ({"direction": CallDirection.OUT}, False),
        ({"direction": CallDirection.UNKNOWN}, False),
        ({"state": CallState.ALERTING}, False),
        ({"cause": EndCause.PICKED_UP_ELSEWHERE}, False),
        ({"cause": EndCause.REJECTED}, True),
        ({"answered_at": START}, True),
    ],
)
def test_missed_is_a_call_for_us_that_nobody_took(fields: dict[str, Any], missed: bool) -> None:
    ended = call(**{"state": CallState.NONE, "cause": EndCause.NO_ANSWER, **fields})
    assert ended.missed is missed
    assert ended.is_ended == (ended.state is CallState.NONE)


@pytest.mark.parametrize("state", CallState)
@pytest.mark.parametrize("stale", [False, True])
def test_timers_go_on_only_while_the_call_does_that(state: CallState, stale: bool) -> None:
    timed = call(state=state, stale=stale, talk_seconds=5.0, hold_seconds=7.0)
    later = timed.changed_at + timedelta(seconds=10)
    talks = state in (CallState.CONNECTED, CallState.CONFERENCED) and not stale
    holds = state is CallState.HELD and not stale
    assert timed.talk_seconds_at(later) == (15.0 if talks else 5.0)
    assert timed.hold_seconds_at(later) == (17.0 if holds else 7.0)


def test_timers_never_go_back() -> None:
    earlier = START - timedelta(hours=1)
    assert call(talk_seconds=5.0).talk_seconds_at(earlier) == 5.0
    assert call(state=CallState.HELD, hold_seconds=7.0).hold_seconds_at(earlier) == 7.0


def test_a_redirection_says_by_whom_and_where_to() -> None:
    redirection = Redirection(by="100", to="300", at=START)
    assert call(redirections=(redirection,)).redirections[0].to == "300"
