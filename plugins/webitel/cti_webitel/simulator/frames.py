"""The engine's frames, key by key (facts: webitel-protocol 2 and 4, and the captures)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson

from cti_framework.switchboard import Account, SwitchEvent, SwitchEventName

__all__ = [
    "DISCONNECT",
    "account_presence_frame",
    "account_status_frame",
    "as_json",
    "call_frame",
    "centre_frame",
    "console_frame",
    "microseconds",
]

_EPOCH = datetime.fromtimestamp(0, UTC)
_WITHOUT_VARIABLES = frozenset({SwitchEventName.CHANNEL_STATE, SwitchEventName.CHANNEL_CALLSTATE, SwitchEventName.DTMF})
_OF_THE_CONSOLE = (
    "Account-Domain",
    "Account-Role",
    "Account-Status",
    "Account-User",
    "Account-User-State",
    "Event-Account",
    "Event-Date-Timestamp",
    "Event-Domain",
    "Domain-Name",
    "variable_customer_id",
    "User-Domain",
    "User-ID",
    "User-State",
    "Account-Skills",
    "Account-Status-Descript",
    "Account-Agent-State",
    "Account-Agent-Status",
    "variable_skills",
    "Account-User-Name",
)

DISCONNECT = b'{"webitel-event-name":"account","Event-Name":"DISCONNECT"}'
"""What a socket that did not authenticate in time is told before it is cut."""


def as_json(value: Any) -> bytes:
    r"""Write a frame as Node does.

    Args:
        value: What it says.

    Returns:
        Its JSON; half a character in it is an escape, ``\ud83d``.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "backslashreplace")


def microseconds(at: datetime | None) -> str:
    """Write a time as the switch does.

    Args:
        at: When; ``None``: not yet.

    Returns:
        Microseconds since 1970, ``"0"`` for not yet.
    """
    return "0" if at is None else str((at - _EPOCH) // timedelta(microseconds=1))


def call_frame(event: SwitchEvent) -> dict[str, Any]:
    """Make the frame of an event of a leg. What the switch did not say has no key; ``variable_billsec`` is always there.

    Args:
        event: An event with a leg.

    Returns:
        The frame, its keys in the engine's order.
    """
    leg = event.leg
    assert leg is not None
    told = event.name not in _WITHOUT_VARIABLES
    variables = leg.variables if told else {}
    data = variables.get("webitel_data")
    frame: dict[str, Any] = {
        "webitel-event-name": "call",
        "Event-Name": event.name.value,
        "Channel-Presence-ID": leg.presence,
        "Unique-ID": leg.uuid,
        "Channel-Call-UUID": leg.call_uuid,
        "Channel-Call-State": leg.call_state.value,
        "Original-Channel-Call-State": event.former_call_state and event.former_call_state.value,
        "Channel-State-Number": str(leg.channel_state.value),
        "Channel-State": leg.channel_state.name,
        "Answer-State": leg.answer_state.value,
        "Channel-HIT-Dialplan": "true" if leg.hit_dialplan else "false",
        "Call-Direction": leg.direction.value,
        "Caller-Logical-Direction": leg.logical_direction.value,
        "variable_sip_call_id": variables.get("sip_call_id"),
        "Caller-Callee-ID-Name": leg.callee_name,
        "Caller-Callee-ID-Number": leg.callee_number,
        "Caller-Caller-ID-Name": leg.caller_name,
        "Caller-Caller-ID-Number": leg.caller_number,
        "Caller-Destination-Number": leg.destination,
        "variable_w_account_origination_uuid": leg.call_id if told else None,
        "variable_w_jsclient_xtransfer": variables.get("w_jsclient_xtransfer") or variables.get("sip_h_X-WebitelXTransfer"),
        "variable_w_jsclient_originate_number": variables.get("w_jsclient_originate_number"),
        "variable_w_jsclient_auto_answer": variables.get("w_jsclient_auto_answer"),
        "Other-Leg-Unique-ID": leg.other_leg,
        "variable_hangup_cause": (leg.hangup_cause if told else None) or event.hangup_cause,
        "Caller-Channel-Created-Time": microseconds(leg.created_at),
        "Caller-Channel-Answered-Time": microseconds(leg.answered_at),
        "Caller-Channel-Hangup-Time": microseconds(leg.hung_up_at),
        "DTMF-Digit": event.digit,
        "Bridge-A-Unique-ID": event.bridge_a,
        "Bridge-B-Unique-ID": event.bridge_b,
        "variable_originating_leg_uuid": leg.originating_leg if told else None,
        "variable_webitel_att_xfer": variables.get("webitel_att_xfer"),
        "variable_cc_queue": variables.get("cc_queue"),
        "variable_cc_member_session_uuid": variables.get("cc_member_session_uuid"),
        "variable_w_transfer_result": variables.get("w_transfer_result"),
        "variable_signal_bond": leg.signal_bond if told else None,
        "variable_billsec": leg.bill_seconds if told else 0,
        "variable_dlr_session_id": variables.get("dlr_session_id"),
        "variable_webitel_data": f"'{data}'" if data else None,
    }
    return {key: value for key, value in frame.items() if value is not None}


def account_status_frame(account: Account, at: datetime, *, online: bool, cc_logged: bool) -> dict[str, Any]:
    """Make the frame of a change of an account (facts: webitel-protocol 4.3).

    Args:
        account: As it is then.
        at: When.
        online: Whether it has a socket.
        cc_logged: Whether it is logged in to the call centre. The engine itself knows that of who has a socket alone.

    Returns:
        The frame.
    """
    description = {"Account-Status-Descript": account.description} if account.description else {}
    return {
        "Event-Name": "ACCOUNT_STATUS",
        "Account-Domain": account.domain,
        "Account-Role": account.role.upper(),
        "Account-Status": account.status,
        "Account-User": account.number,
        "Account-User-State": account.state,
        "Event-Account": account.number,
        "Event-Date-Timestamp": microseconds(at),
        "Event-Domain": account.domain,
        **description,
        "Account-Agent-State": account.agent_state,
        "Account-Agent-Status": account.agent_status,
        "Account-User-Name": quote(account.name, safe=""),
        "Account-Online": online,
        "cc_logged": cc_logged and online,
        "ws": online,
        "presence_id": account.presence,
        "cc": cc_logged,
        "webitel-event-name": "ACCOUNT_STATUS",
    }


def account_presence_frame(name: str, number: str, domain: str) -> dict[str, Any]:
    """Make the frame that an account's first socket opened, or its last one closed.

    Args:
        name: ``ACCOUNT_ONLINE`` or ``ACCOUNT_OFFLINE``.
        number: The account.
        domain: Its domain.

    Returns:
        The frame.
    """
    return {
        "Event-Name": name,
        "Event-Domain": domain,
        "User-ID": number,
        "User-Domain": domain,
        "User-Scheme": "account",
        "Content-Type": "text/event-json",
        "webitel-event-name": "user",
    }


def console_frame(name: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Make the frame of what the directory's console said: of its headers only the known ones (facts: webitel-protocol 4.3).

    Args:
        name: What happened.
        headers: As the console writes them.

    Returns:
        The frame, its keys in the engine's order.
    """
    known = {key: headers[key] for key in _OF_THE_CONSOLE if key in headers}
    return {"Event-Name": name, **known, "webitel-event-name": name}


def centre_frame(action: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Make the frame of what the call centre said (facts: webitel-protocol 4.4).

    Args:
        action: The switch's word for it.
        headers: As the switch writes them.

    Returns:
        The frame.
    """
    return {
        "Event-Name": f"CC::{action.upper()}",
        "Event-Subclass": "callcenter::info",
        "CC-Action": action,
        **headers,
        "webitel-event-name": "server",
    }
