"""FreeSWITCH's hang-up causes, and what they mean to a person.

The names are the fixed list that the switch itself takes (``switch_cause_t``); what it does not know it treats as
``NORMAL_CLEARING``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cti_framework.calls import EndCause

__all__ = ["CAUSES", "end_cause"]

_BY_MEANING: Final[Mapping[EndCause, str]] = {
    EndCause.NORMAL: "NORMAL_CLEARING SUCCESS MANAGER_REQUEST REDIRECTION_TO_NEW_DESTINATION",
    EndCause.BUSY: "USER_BUSY",
    EndCause.NO_ANSWER: "NO_ANSWER NO_USER_RESPONSE ALLOTTED_TIMEOUT PROGRESS_TIMEOUT RECOVERY_ON_TIMER_EXPIRE",
    EndCause.REJECTED: "CALL_REJECTED DECLINE REJECT_ALL",
    EndCause.CANCELLED: "ORIGINATOR_CANCEL",
    EndCause.PICKED_UP_ELSEWHERE: "LOSE_RACE PICKED_OFF CALL_AWARDED_DELIVERED",
    EndCause.NOT_REGISTERED: "USER_NOT_REGISTERED",
    EndCause.UNREACHABLE: (
        "SUBSCRIBER_ABSENT UNALLOCATED_NUMBER NO_ROUTE_DESTINATION NO_ROUTE_TRANSIT_NET DESTINATION_OUT_OF_ORDER "
        "NUMBER_CHANGED INVALID_NUMBER_FORMAT INVALID_GATEWAY INVALID_URL INVALID_PROFILE GATEWAY_DOWN NO_PICKUP "
        "CHAN_NOT_IMPLEMENTED NETWORK_OUT_OF_ORDER BUSY_EVERYWHERE DOES_NOT_EXIST_ANYWHERE NOT_ACCEPTABLE UNWANTED "
        "EXCHANGE_ROUTING_ERROR"
    ),
    EndCause.CONGESTION: (
        "NORMAL_CIRCUIT_CONGESTION SWITCH_CONGESTION NORMAL_TEMPORARY_FAILURE REQUESTED_CHAN_UNAVAIL PRE_EMPTED "
        "GATEWAY_CONGESTION SERVICE_UNAVAILABLE CHANNEL_UNACCEPTABLE"
    ),
    EndCause.NOT_ALLOWED: (
        "OUTGOING_CALL_BARRED INCOMING_CALL_BARRED BEARERCAPABILITY_NOTAUTH FACILITY_NOT_SUBSCRIBED FACILITY_REJECTED "
        "USER_CHALLENGE ACCESS_INFO_DISCARDED UNAUTHORIZED NO_IDENTITY BAD_IDENTITY_INFO UNSUPPORTED_CERTIFICATE "
        "INVALID_IDENTITY STALE_DATE INVALID_SECURITY"
    ),
    EndCause.TRANSFERRED: "BLIND_TRANSFER ATTENDED_TRANSFER",
    EndCause.MEDIA_FAILURE: (
        "MEDIA_TIMEOUT INCOMPATIBLE_DESTINATION BEARERCAPABILITY_NOTAVAIL BEARERCAPABILITY_NOTIMPL SRTP_READ_ERROR CRYPTO_FAILURE"
    ),
    EndCause.UNKNOWN: (
        "NONE UNSPECIFIED NORMAL_UNSPECIFIED FACILITY_NOT_IMPLEMENTED SERVICE_NOT_IMPLEMENTED "
        "INVALID_CALL_REFERENCE INVALID_MSG_UNSPECIFIED MANDATORY_IE_MISSING MESSAGE_TYPE_NONEXIST WRONG_MESSAGE "
        "IE_NONEXIST INVALID_IE_CONTENTS WRONG_CALL_STATE MANDATORY_IE_LENGTH_ERROR PROTOCOL_ERROR INTERWORKING CRASH "
        "SYSTEM_SHUTDOWN RESPONSE_TO_STATUS_ENQUIRY"
    ),
}

_END_CAUSES: Final[Mapping[str, EndCause]] = MappingProxyType(
    {name: meaning for meaning, names in _BY_MEANING.items() for name in names.split()}
)

CAUSES: Final[frozenset[str]] = frozenset(_END_CAUSES)
"""Every hang-up cause of FreeSWITCH, by name."""


def end_cause(cause: str | None, transfer_result: str | None = None) -> EndCause:
    """Tell what a cause of the switch means.

    Args:
        cause: FreeSWITCH's name of it, as in `WebitelCall.hangup_cause`; ``None`` if it was not told.
        transfer_result: `WebitelCall.transfer_result`: a leg that was transferred away ends "normally" (facts:
            webitel-protocol 5.3).

    Returns:
        The meaning; ``UNKNOWN`` for a name that is not known.
    """
    if transfer_result == "confirmed":
        return EndCause.TRANSFERRED
    return _END_CAUSES.get(cause or "", EndCause.UNKNOWN)
