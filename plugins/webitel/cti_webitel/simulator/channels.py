"""What the switch tells of its channels: ``show channels``, ``uuid_dump``, its own events (facts: esl-control; capture 13)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs

from cti_framework.switchboard import LegSnapshot, Switchboard, SwitchEvent, SwitchEventName
from cti_webitel.simulator.frames import microseconds

__all__ = ["ChannelTable", "ChannelTimes", "channel_dump", "server_channel_frame", "variables_of"]

_HOST = "fs.loopback"
_LIKE = ("uuid", "name", "cid_name", "cid_num", "presence_data", "accountcode")
_WITHOUT_VARIABLES = (SwitchEventName.CHANNEL_STATE, SwitchEventName.CHANNEL_CALLSTATE, SwitchEventName.DTMF)


@attrs.define
class ChannelTimes:
    """What the switch notes of a channel beside its state.

    Attributes:
        bridged_at: Since when it is joined with another; ``None``: it is not.
        held_at: When its device began its latest hold, also after the end of it; ``None``: it never held.
        held_for: How long its holds that are over lasted, together.
    """

    bridged_at: datetime | None = None
    held_at: datetime | None = None
    held_for: timedelta = timedelta(0)


class ChannelTable:
    """The switch's table of channels. It is written behind the events, so rows lag, and ended legs linger as ghosts.

    Args:
        switchboard: The switch.
        lag_seconds: Asked at each event how far it is behind.
    """

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._legs: dict[str, LegSnapshot] = {}
        self._times: dict[str, ChannelTimes] = {}
        self.lag_seconds = 0.0
        switchboard.subscribe(self._on_event)

    def rows(self, domain: str | None) -> list[dict[str, str]]:
        """Answer ``show channels like <domain>``.

        Args:
            domain: Which; ``None``: all channels.

        Returns:
            One object a channel, all values text. Outside numbers' channels do not carry the domain, so they are not found.
        """
        rows = [_row(leg) for leg in self._legs.values()]
        return rows if domain is None else [row for row in rows if any(domain in row[column] for column in _LIKE)]

    def clear(self) -> None:
        """Forget all channels."""
        self._legs.clear()
        self._times.clear()

    def times_of(self, leg_uuid: str) -> ChannelTimes:
        """Tell what is noted of a channel: it is exact, unlike the rows.

        Args:
            leg_uuid: Which.

        Returns:
            Its times.
        """
        return self._times.get(leg_uuid) or ChannelTimes()

    def _on_event(self, event: SwitchEvent) -> None:
        if event.leg is None:
            return
        self._note(event, event.leg)
        write = partial(self._write, event.leg, event.former_uuid, event.name is SwitchEventName.CHANNEL_DESTROY)
        if self.lag_seconds:
            self._switchboard.call_later(self.lag_seconds, write)
        else:
            write()

    def _note(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if event.name is SwitchEventName.CHANNEL_DESTROY:
            self._times.pop(leg.uuid, None)
            return
        if event.former_uuid in self._times:
            self._times[leg.uuid] = self._times.pop(event.former_uuid)
        times = self._times.setdefault(leg.uuid, ChannelTimes())
        if event.name in (SwitchEventName.CHANNEL_BRIDGE, SwitchEventName.CHANNEL_UNBRIDGE):
            joined = event.name is SwitchEventName.CHANNEL_BRIDGE
            for side in (event.bridge_a, event.bridge_b):
                if side in self._times:
                    self._times[side].bridged_at = event.at if joined else None
        elif event.name is SwitchEventName.CHANNEL_HOLD:
            times.held_at = event.at
        elif event.name is SwitchEventName.CHANNEL_UNHOLD and times.held_at is not None:
            times.held_for += event.at - times.held_at

    def _write(self, leg: LegSnapshot, former_uuid: str | None, destroyed: bool) -> None:
        self._legs.pop(former_uuid or "", None)
        if destroyed:
            self._legs.pop(leg.uuid, None)
        else:
            self._legs[leg.uuid] = leg


def variables_of(leg: LegSnapshot) -> dict[str, str]:
    """Collect a channel's variables, under the switch's own names.

    Args:
        leg: Which.

    Returns:
        Name to value.
    """
    free = dict(leg.variables)
    known = {
        "uuid": leg.uuid,
        "direction": leg.direction.value,
        "webitel_call_uuid": leg.call_id,
        "domain_name": free.pop("domain_name", None),
        "presence_id": leg.presence,
        "sip_call_id": free.pop("sip_call_id", None),
        "originating_leg_uuid": leg.originating_leg,
        # Who calls an account from outside, or from inside, does so within the PBX.
        "webitel_direction": free.pop("webitel_direction", "internal" if leg.presence else None),
        "signal_bond": leg.signal_bond,
        "bridge_uuid": leg.bridged_to,
        "hangup_cause": leg.hangup_cause,
    }
    return {**{name: value for name, value in known.items() if value}, **free}


def channel_dump(leg: LegSnapshot, times: ChannelTimes, now: datetime) -> dict[str, str]:
    """Answer ``uuid_dump <uuid> json``: exact, unlike the table.

    Args:
        leg: Which.
        times: What else is noted of it.
        now: What the switch's clock shows.

    Returns:
        The channel's headers and variables.
    """
    headers = {
        "Event-Name": "CHANNEL_DATA",
        "Event-Date-Timestamp": microseconds(now),
        **_headers(leg),
        "Caller-Channel-Bridged-Time": microseconds(times.bridged_at),
        "Caller-Channel-Last-Hold": microseconds(times.held_at),
        "Caller-Channel-Hold-Accum": str(times.held_for // timedelta(microseconds=1)),
    }
    variables = {f"variable_{name}": value for name, value in variables_of(leg).items()}
    return {**{name: value for name, value in headers.items() if value is not None}, **variables}


def server_channel_frame(event: SwitchEvent, core_uuid: str) -> dict[str, str]:
    """Make the frame of an event of a channel for who subscribed to the switch's own events: all its headers.

    Args:
        event: An event with a leg.
        core_uuid: The switch's identifier.

    Returns:
        The frame, its keys in the switch's order.
    """
    leg = event.leg
    assert leg is not None
    told = event.name not in _WITHOUT_VARIABLES
    # Its headers say the two already (capture 13).
    variables = {name: value for name, value in variables_of(leg).items() if told and name not in ("uuid", "direction")}
    headers = {
        "Event-Name": f"SE:{event.name.value}",
        "Core-UUID": core_uuid,
        "FreeSWITCH-Hostname": _HOST,
        "Event-Date-Timestamp": microseconds(event.at),
        **_headers(leg),
        "Original-Channel-Call-State": event.former_call_state and event.former_call_state.value,
        "Hangup-Cause": leg.hangup_cause or event.hangup_cause,
        "DTMF-Digit": event.digit,
        "Bridge-A-Unique-ID": event.bridge_a,
        "Bridge-B-Unique-ID": event.bridge_b,
    }
    return {
        **{name: value for name, value in headers.items() if value is not None},
        **{f"variable_{name}": value for name, value in variables.items()},
        "webitel-event-name": "server",
    }


def _headers(leg: LegSnapshot) -> dict[str, str | None]:
    return {
        "Channel-State": leg.channel_state.name,
        "Channel-Call-State": leg.call_state.value,
        "Channel-State-Number": str(leg.channel_state.value),
        "Channel-Name": _name(leg),
        "Unique-ID": leg.uuid,
        "Call-Direction": leg.direction.value,
        "Presence-Call-Direction": leg.direction.value,
        "Channel-HIT-Dialplan": "true" if leg.hit_dialplan else "false",
        "Channel-Presence-ID": leg.presence,
        "Channel-Presence-Data": leg.domain if leg.presence else None,
        "Channel-Call-UUID": leg.call_uuid,
        "Answer-State": leg.answer_state.value,
        "Caller-Direction": leg.direction.value,
        "Caller-Logical-Direction": leg.logical_direction.value,
        "Caller-Caller-ID-Name": leg.caller_name,
        "Caller-Caller-ID-Number": leg.caller_number,
        "Caller-Callee-ID-Name": leg.callee_name,
        "Caller-Callee-ID-Number": leg.callee_number,
        "Caller-Destination-Number": leg.destination,
        "Caller-Unique-ID": leg.uuid,
        "Caller-Channel-Created-Time": microseconds(leg.created_at),
        "Caller-Channel-Answered-Time": microseconds(leg.answered_at),
        "Caller-Channel-Hangup-Time": microseconds(leg.hung_up_at),
        "Other-Type": None if leg.other_leg is None else "originator" if leg.originating_leg else "originatee",
        "Other-Leg-Unique-ID": leg.other_leg,
    }


def _name(leg: LegSnapshot) -> str:
    return f"sofia/{'internal' if leg.presence else 'external'}/{leg.party_number}"


def _row(leg: LegSnapshot) -> dict[str, str]:
    # A caller's leg has no call uuid until it is joined with somebody.
    unjoined_caller = leg.presence is None and leg.originating_leg is None and leg.signal_bond is None
    in_dialplan = leg.hit_dialplan
    known: dict[str, Any] = {
        "uuid": leg.uuid,
        "direction": leg.direction.value,
        "created": leg.created_at.strftime("%Y-%m-%d %H:%M:%S"),
        "created_epoch": str(int(leg.created_at.timestamp())),
        "name": _name(leg),
        "state": leg.channel_state.name,
        "cid_name": leg.caller_name,
        "cid_num": leg.caller_number,
        "ip_addr": "127.0.0.1",
        "dest": leg.destination,
        "application": "bridge" if in_dialplan else "",
        "application_data": f"user/{leg.destination}@{leg.domain}" if in_dialplan else "",
        "dialplan": "XML",
        "context": "default",
        "read_codec": "PCMA",
        "read_rate": "8000",
        "read_bit_rate": "64000",
        "write_codec": "PCMA",
        "write_rate": "8000",
        "write_bit_rate": "64000",
        "secure": "",
        "hostname": _HOST,
        "presence_id": leg.presence or "",
        "presence_data": leg.domain if leg.presence else "",
        "accountcode": "",
        "callstate": leg.call_state.value,
        "callee_name": leg.callee_name or "",
        "callee_num": leg.callee_number or "",
        "callee_direction": "",
        "call_uuid": "" if unjoined_caller else leg.call_uuid,
        "sent_callee_name": "",
        "sent_callee_num": "",
        "initial_cid_name": leg.initial_caller_name,
        "initial_cid_num": leg.initial_caller_number,
        "initial_ip_addr": "127.0.0.1",
        "initial_dest": leg.initial_destination,
        "initial_dialplan": "XML",
        "initial_context": "default",
    }
    return known
