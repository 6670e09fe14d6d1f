"""Hangup causes in common words (facts: esl-control, replies; click to call)."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import EndCause

__all__ = ["FOLLOWED", "NORMAL", "common_cause"]

NORMAL: Final = "NORMAL_CLEARING"

FOLLOWED: Final = frozenset({"", NORMAL, "ORIGINATOR_CANCEL", "LOSE_RACE"})
"""What a leg ends with because another ended: it is no reason of its own."""

_CAUSES: Final = {
    NORMAL: EndCause.NORMAL,
    "USER_BUSY": EndCause.BUSY,
    "NO_ANSWER": EndCause.NO_ANSWER,
    "NO_USER_RESPONSE": EndCause.NO_ANSWER,
    "CALL_REJECTED": EndCause.REJECTED,
    "ORIGINATOR_CANCEL": EndCause.CANCELLED,
    "LOSE_RACE": EndCause.PICKED_UP_ELSEWHERE,
    "USER_NOT_REGISTERED": EndCause.NOT_REGISTERED,
    "SUBSCRIBER_ABSENT": EndCause.UNREACHABLE,
    "NO_ROUTE_DESTINATION": EndCause.UNREACHABLE,
    "UNALLOCATED_NUMBER": EndCause.UNREACHABLE,
    "DESTINATION_OUT_OF_ORDER": EndCause.UNREACHABLE,
    "INCOMPATIBLE_DESTINATION": EndCause.MEDIA_FAILURE,
}


def common_cause(cause: str) -> EndCause:
    """Say in common words why a leg ended.

    Args:
        cause: In the switch's.

    Returns:
        The cause; UNKNOWN for one that no fact explains.
    """
    return _CAUSES.get(cause, EndCause.UNKNOWN)
