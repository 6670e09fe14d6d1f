"""What the switch tells of its channels when asked: ``show channels`` and ``uuid_dump`` (facts: esl-control)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs

from cti_framework.switchboard import LegSnapshot, Switchboard, SwitchEvent, SwitchEventName
from cti_webitel.simulator.frames import microseconds

__all__ = ["ChannelTable", "ChannelTimes", "channel_dump", "variables_of"]


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
            One object a channel, all values text. Outside numbers' channels do not carry the domain, so it finds none.
        """
        rows = [_row(leg) for leg in self._legs.values()]
        return rows if domain is None else [row for row in rows if domain in row["name"]]

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
        write = partial(self._write, event.leg, event.name is SwitchEventName.CHANNEL_DESTROY)
        if self.lag_seconds:
            self._switchboard.call_later(self.lag_seconds, write)
        else:
            write()

    def _note(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if event.name is SwitchEventName.CHANNEL_DESTROY:
            self._times.pop(leg.uuid, None)
            return
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

    def _write(self, leg: LegSnapshot, destroyed: bool) -> None:
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
    derived = {
        "uuid": leg.uuid,
        "direction": leg.direction.value,
        "presence_id": leg.presence,
        "webitel_call_uuid": leg.call_id,
        "originating_leg_uuid": leg.originating_leg,
        "signal_bond": leg.signal_bond,
        "bridge_uuid": leg.bridged_to,
        "hangup_cause": leg.hangup_cause,
    }
    return {**{name: value for name, value in derived.items() if value}, **leg.variables}


def channel_dump(leg: LegSnapshot, times: ChannelTimes, now: datetime) -> dict[str, str]:
    """Answer ``uuid_dump <uuid> json``: exact, unlike the table.

    Args:
        leg: Which.
        times: What else is noted of it.
        now: What the switch's clock shows.

    Returns:
        The channel's headers and variables.
    """
    other_type = None if leg.other_leg is None else "originator" if leg.originating_leg else "originatee"
    headers: dict[str, str | None] = {
        "Event-Name": "CHANNEL_DATA",
        "Event-Date-Timestamp": microseconds(now),
        "Channel-State": leg.channel_state.name,
        "Channel-Call-State": leg.call_state.value,
        "Channel-State-Number": str(leg.channel_state.value),
        "Channel-Name": _name(leg),
        "Unique-ID": leg.uuid,
        "Call-Direction": leg.direction.value,
        "Presence-Call-Direction": leg.direction.value,
        "Channel-HIT-Dialplan": "true" if leg.hit_dialplan else "false",
        "Channel-Presence-ID": leg.presence,
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
        "Caller-Channel-Bridged-Time": microseconds(times.bridged_at),
        "Caller-Channel-Last-Hold": microseconds(times.held_at),
        "Caller-Channel-Hold-Accum": str(times.held_for // timedelta(microseconds=1)),
        "Other-Type": other_type,
        "Other-Leg-Unique-ID": leg.other_leg,
    }
    variables = {f"variable_{name}": value for name, value in variables_of(leg).items()}
    return {**{name: value for name, value in headers.items() if value is not None}, **variables}


def _name(leg: LegSnapshot) -> str:
    return f"sofia/internal/{leg.presence}" if leg.presence else f"sofia/external/{leg.party_number}"


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
        "hostname": "fs.loopback",
        "presence_id": leg.presence or "",
        "presence_data": "",
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
