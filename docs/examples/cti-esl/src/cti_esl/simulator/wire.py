"""Legs and events as the event socket writes them: the same names and shapes as in the captures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cti_framework.switchboard import AnswerState, LegDirection, LegSnapshot

__all__ = [
    "api_response",
    "base_fields",
    "call_state_fields",
    "channel_row",
    "command_reply",
    "event_message",
    "leg_fields",
    "microseconds",
]

_CORE: Final = "b041adf0-5be8-4aa2-8a2a-16807b134bcd"
_CALL_STATES: Final = {
    "DOWN": 0,
    "RINGING": 2,
    "EARLY": 3,
    "ACTIVE": 4,
    "HELD": 5,
    "RING_WAIT": 6,
    "HANGUP": 7,
    "UNHELD": 8,
}
_COLUMNS: Final = [
    "uuid",
    "direction",
    "created",
    "created_epoch",
    "name",
    "state",
    "cid_name",
    "cid_num",
    "ip_addr",
    "dest",
    "application",
    "application_data",
    "dialplan",
    "context",
    "read_codec",
    "read_rate",
    "read_bit_rate",
    "write_codec",
    "write_rate",
    "write_bit_rate",
    "secure",
    "hostname",
    "presence_id",
    "presence_data",
    "accountcode",
    "callstate",
    "callee_name",
    "callee_num",
    "callee_direction",
    "call_uuid",
    "sent_callee_name",
    "sent_callee_num",
    "initial_cid_name",
    "initial_cid_num",
    "initial_ip_addr",
    "initial_dest",
    "initial_dialplan",
    "initial_context",
]


def command_reply(text: str, **headers: str) -> bytes:
    """Write the answer to a command.

    Args:
        text: ``Reply-Text``.
        **headers: Further headers, with ``_`` for ``-``.

    Returns:
        The message.
    """
    more = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    return f"Content-Type: command/reply\nReply-Text: {text}\n{more}\n".encode()


def api_response(text: str) -> bytes:
    """Write the answer to an ``api`` command.

    Args:
        text: The answer.

    Returns:
        The message.
    """
    body = text.encode()
    return b"Content-Type: api/response\nContent-Length: %d\n\n" % len(body) + body


def event_message(fields: Mapping[str, Any]) -> bytes:
    """Write an event.

    Args:
        fields: What it says.

    Returns:
        The message.
    """
    body = json.dumps(fields, separators=(",", ":")).encode()
    return b"Content-Length: %d\nContent-Type: text/event-json\n\n" % len(body) + body


def base_fields(name: str, at: datetime, sequence: int) -> dict[str, Any]:
    """Write what every event says.

    Args:
        name: ``Event-Name``.
        at: When.
        sequence: Its number.

    Returns:
        The fields.
    """
    return {
        "Event-Name": name,
        "Core-UUID": _CORE,
        "FreeSWITCH-Hostname": "box",
        "FreeSWITCH-Switchname": "box",
        "Event-Date-Local": f"{at:%Y-%m-%d %H:%M:%S}",
        "Event-Date-GMT": f"{at:%a, %d %b %Y %H:%M:%S} GMT",
        "Event-Date-Timestamp": microseconds(at),
        "Event-Sequence": str(sequence),
    }


def leg_fields(leg: LegSnapshot, *, call_state: str, bridged_at: datetime | None) -> dict[str, Any]:
    """Write what an event, or a dump, says of a leg.

    Args:
        leg: It; its identifiers are those that are shown.
        call_state: What it shows to people.
        bridged_at: Since when it is bridged.

    Returns:
        The fields.
    """
    name = _name(leg)
    joined = leg.bridged_to or (leg.signal_bond if leg.answer_state is AnswerState.HANGUP else None)
    other = joined or leg.originating_leg
    variables = {
        "direction": leg.direction.value,
        "uuid": leg.uuid,
        "presence_id": leg.presence,
        "call_uuid": leg.call_uuid,
        "originating_leg_uuid": leg.originating_leg,
        "originator": leg.originating_leg,
        "bridge_uuid": leg.bridged_to,
        "signal_bond": joined or leg.originating_leg,
        **leg.variables,
    }
    fields: dict[str, Any] = {
        "Channel-State": leg.channel_state.name,
        "Channel-Call-State": call_state,
        "Channel-State-Number": str(leg.channel_state.value),
        "Channel-Name": name,
        "Unique-ID": leg.uuid,
        "Call-Direction": leg.direction.value,
        "Presence-Call-Direction": leg.direction.value,
        "Channel-HIT-Dialplan": str(leg.hit_dialplan).lower(),
        "Channel-Presence-ID": leg.presence,
        "Channel-Call-UUID": leg.call_uuid,
        "Answer-State": leg.answer_state.value,
        "Hangup-Cause": leg.hangup_cause,
        "Caller-Direction": leg.direction.value,
        "Caller-Logical-Direction": leg.logical_direction.value,
        "Caller-Caller-ID-Name": leg.caller_name if leg.caller_name != leg.caller_number else None,
        "Caller-Caller-ID-Number": leg.caller_number,
        "Caller-Callee-ID-Name": leg.callee_name,
        "Caller-Callee-ID-Number": leg.callee_number,
        "Caller-Destination-Number": _destination(leg),
        "Caller-Unique-ID": leg.uuid,
        "Caller-Context": "default",
        "Caller-Channel-Name": name,
        "Caller-Channel-Created-Time": microseconds(leg.created_at),
        "Caller-Channel-Answered-Time": microseconds(leg.answered_at),
        "Caller-Channel-Progress-Time": microseconds(leg.created_at),
        "Caller-Channel-Hangup-Time": microseconds(leg.hung_up_at),
        "Caller-Channel-Bridged-Time": microseconds(bridged_at),
        "Caller-Channel-Last-Hold": "0",
        "Other-Type": None if other is None else "originator" if leg.originating_leg else "originatee",
        "Other-Leg-Unique-ID": other,
        **{f"variable_{variable}": value for variable, value in variables.items()},
    }
    return {field: value for field, value in fields.items() if value is not None}


def call_state_fields(former: str, now: str) -> dict[str, Any]:
    """Write what ``CHANNEL_CALLSTATE`` says beside its leg.

    Args:
        former: The state before.
        now: The state.

    Returns:
        The fields.
    """
    return {"Original-Channel-Call-State": former, "Channel-Call-State-Number": str(_CALL_STATES[now])}


def channel_row(leg: LegSnapshot, *, call_state: str) -> dict[str, str]:
    """Write a row of the table of channels.

    Args:
        leg: The leg.
        call_state: What it shows to people.

    Returns:
        The row.
    """
    known = {
        "uuid": leg.uuid,
        "direction": leg.direction.value,
        "created": f"{leg.created_at:%Y-%m-%d %H:%M:%S}",
        "created_epoch": str(int(leg.created_at.timestamp())),
        "name": _name(leg),
        "state": leg.channel_state.name,
        "cid_name": leg.caller_name,
        "cid_num": leg.caller_number,
        "dest": _destination(leg),
        "context": "default",
        "hostname": "box",
        "presence_id": leg.presence or "",
        "callstate": call_state,
        "callee_name": leg.callee_name or "",
        "callee_num": leg.callee_number or "",
        "call_uuid": leg.call_uuid,
        "initial_cid_name": leg.initial_caller_name,
        "initial_cid_num": leg.initial_caller_number,
        "initial_dest": leg.initial_destination,
        "initial_context": "default",
    }
    return {column: known.get(column, "") for column in _COLUMNS}


def microseconds(at: datetime | None) -> str:
    """Write a time as FreeSWITCH does.

    Args:
        at: It; ``None``: not yet.

    Returns:
        Microseconds since 1970, or 0.
    """
    return "0" if at is None else str(round(at.timestamp() * 1_000_000))


def _destination(leg: LegSnapshot) -> str:
    rings_a_phone = leg.presence is not None and leg.direction is LegDirection.OUTBOUND and not leg.hit_dialplan
    return f"u:{_session(leg)}" if rings_a_phone else leg.destination


def _name(leg: LegSnapshot) -> str:
    if leg.presence is None:
        return f"sofia/external/{leg.party_number}"
    is_called = leg.direction is LegDirection.OUTBOUND
    return f"verto.rtc/{_session(leg) if is_called else leg.destination}"


def _session(leg: LegSnapshot) -> str:
    """The identifier of the session in which a Verto phone is logged in."""
    return f"75e5c762-dc3d-4d74-8ecc-{leg.party_number:0>12}"
