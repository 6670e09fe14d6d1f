"""Hangup causes and their numbers: those of Q.850 below 128, FreeSWITCH's own above (facts: verto, Calls)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cti_framework.switchboard import CAUSES

__all__ = ["cause_of", "code_of"]

_NORMAL: Final = "NORMAL_CLEARING"

_CODES: Mapping[str, int] = MappingProxyType(
    {
        "UNSPECIFIED": 0,
        "UNALLOCATED_NUMBER": 1,
        "NO_ROUTE_TRANSIT_NET": 2,
        "NO_ROUTE_DESTINATION": 3,
        "CHANNEL_UNACCEPTABLE": 6,
        "CALL_AWARDED_DELIVERED": 7,
        "NORMAL_CLEARING": 16,
        "USER_BUSY": 17,
        "NO_USER_RESPONSE": 18,
        "NO_ANSWER": 19,
        "SUBSCRIBER_ABSENT": 20,
        "CALL_REJECTED": 21,
        "NUMBER_CHANGED": 22,
        "REDIRECTION_TO_NEW_DESTINATION": 23,
        "EXCHANGE_ROUTING_ERROR": 25,
        "DESTINATION_OUT_OF_ORDER": 27,
        "INVALID_NUMBER_FORMAT": 28,
        "FACILITY_REJECTED": 29,
        "RESPONSE_TO_STATUS_ENQUIRY": 30,
        "NORMAL_UNSPECIFIED": 31,
        "NORMAL_CIRCUIT_CONGESTION": 34,
        "NETWORK_OUT_OF_ORDER": 38,
        "NORMAL_TEMPORARY_FAILURE": 41,
        "SWITCH_CONGESTION": 42,
        "ACCESS_INFO_DISCARDED": 43,
        "REQUESTED_CHAN_UNAVAIL": 44,
        "PRE_EMPTED": 45,
        "FACILITY_NOT_SUBSCRIBED": 50,
        "OUTGOING_CALL_BARRED": 52,
        "INCOMING_CALL_BARRED": 54,
        "BEARERCAPABILITY_NOTAUTH": 57,
        "BEARERCAPABILITY_NOTAVAIL": 58,
        "SERVICE_UNAVAILABLE": 63,
        "BEARERCAPABILITY_NOTIMPL": 65,
        "CHAN_NOT_IMPLEMENTED": 66,
        "FACILITY_NOT_IMPLEMENTED": 69,
        "SERVICE_NOT_IMPLEMENTED": 79,
        "INVALID_CALL_REFERENCE": 81,
        "INCOMPATIBLE_DESTINATION": 88,
        "INVALID_MSG_UNSPECIFIED": 95,
        "MANDATORY_IE_MISSING": 96,
        "MESSAGE_TYPE_NONEXIST": 97,
        "WRONG_MESSAGE": 98,
        "IE_NONEXIST": 99,
        "INVALID_IE_CONTENTS": 100,
        "WRONG_CALL_STATE": 101,
        "RECOVERY_ON_TIMER_EXPIRE": 102,
        "MANDATORY_IE_LENGTH_ERROR": 103,
        "PROTOCOL_ERROR": 111,
        "INTERWORKING": 127,
        "ORIGINATOR_CANCEL": 487,
        "CRASH": 700,
        "SYSTEM_SHUTDOWN": 701,
        "LOSE_RACE": 702,
        "MANAGER_REQUEST": 703,
        "BLIND_TRANSFER": 800,
        "ATTENDED_TRANSFER": 801,
        "ALLOTTED_TIMEOUT": 802,
        "USER_CHALLENGE": 803,
        "MEDIA_TIMEOUT": 804,
        "PICKED_OFF": 805,
        "USER_NOT_REGISTERED": 806,
        "PROGRESS_TIMEOUT": 807,
        "INVALID_GATEWAY": 808,
        "GATEWAY_DOWN": 809,
        "INVALID_URL": 810,
        "INVALID_PROFILE": 811,
        "NO_PICKUP": 812,
    }
)
_NAMES: Mapping[int, str] = MappingProxyType({code: name for name, code in _CODES.items()})


def code_of(cause: str) -> int:
    """Tell a cause's number.

    Args:
        cause: Its name.

    Returns:
        The number; that of a normal end for what is no cause.
    """
    return _CODES.get(cause, _CODES[_NORMAL])


def cause_of(cause: object, code: object) -> str:
    """Read why a client hangs up: the name wins over the number, and what is neither means the normal way.

    Args:
        cause: The name, if it is one.
        code: The number, if it is one.

    Returns:
        The name.
    """
    if isinstance(cause, str):
        return cause if cause in CAUSES else _NORMAL
    return _NAMES.get(code, _NORMAL) if isinstance(code, int) else _NORMAL
