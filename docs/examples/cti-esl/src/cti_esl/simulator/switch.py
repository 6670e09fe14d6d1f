"""The switch in the box: what happens on the switchboard, told as FreeSWITCH tells it.

The switchboard decides; what is added here is what it does not know (facts: esl-control):

- A called leg's first events are PROGRESS and CALLSTATE, and CREATE comes third.
- A leg whose far end rings shows RING_WAIT, and ACTIVE for a moment where that fails.
- ``uuid_hold`` of a Verto phone's leg leaves the call state as it is, and cannot be undone.
- The table of channels can lag behind the events.
- An originated leg has the uuid that it was given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

import attrs
from cti_framework.switchboard import (
    ChannelState,
    Leg,
    LegDirection,
    LegSnapshot,
    Switchboard,
    SwitchError,
    SwitchEvent,
    SwitchEventName,
)

from cti_esl.simulator.wire import base_fields, call_state_fields, channel_row, event_message, leg_fields

__all__ = ["FakeSwitch"]

_TOLD: Final = {
    SwitchEventName.CHANNEL_ANSWER,
    SwitchEventName.CHANNEL_UNBRIDGE,
    SwitchEventName.CHANNEL_HOLD,
    SwitchEventName.CHANNEL_UNHOLD,
    SwitchEventName.CHANNEL_HANGUP_COMPLETE,
    SwitchEventName.CHANNEL_DESTROY,
    SwitchEventName.DTMF,
}


@attrs.define(eq=False)
class _Shown:
    """What is shown of a leg beside what the switchboard knows."""

    uuid: str
    call_state: str = "DOWN"
    is_announced: bool = False
    is_held_by_command: bool = False
    bridged_at: datetime | None = None
    failed_cause: str | None = None
    snapshot: LegSnapshot | None = None
    """As the latest event had it: events are delivered when what raised them is through."""


class FakeSwitch:
    """A FreeSWITCH in memory.

    Args:
        switchboard: What decides.
        lag_seconds: How far the table of channels is behind; 30 to 120 ms on a real one.

    Attributes:
        switchboard: As given.
        lag_seconds: As given; may be changed.
    """

    def __init__(self, switchboard: Switchboard, *, lag_seconds: float = 0.0) -> None:
        self.switchboard = switchboard
        self.lag_seconds = lag_seconds
        self._shown: dict[str, _Shown] = {}
        self._rows: dict[str, dict[str, str]] = {}
        self._sequence = 0
        self._listeners: list[Callable[[str, bytes], None]] = []
        switchboard.subscribe(self._happened)

    def subscribe(self, listener: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Be told of every event.

        Args:
            listener: Told its name, and the message.

        Returns:
            What ends it.
        """
        self._listeners.append(listener)
        return partial(self._listeners.remove, listener)

    # --- what is told

    def _happened(self, event: SwitchEvent) -> None:
        if event.leg is None:
            return
        given = event.leg.variables.get("origination_uuid", event.leg.uuid)
        shown = self._shown.setdefault(event.leg.uuid, _Shown(given))
        shown.snapshot = event.leg
        match event.name:
            case SwitchEventName.CHANNEL_CREATE if event.leg.direction is LegDirection.INBOUND:
                shown.is_announced = True
                self._tell("CHANNEL_CREATE", event)
            case SwitchEventName.CHANNEL_CREATE:
                self._waits_for(event)
            case SwitchEventName.CHANNEL_CALLSTATE:
                self._call_state(event, shown)
            case SwitchEventName.CHANNEL_BRIDGE:
                self._bridged(event)
            case SwitchEventName.CHANNEL_HANGUP_COMPLETE:
                self._tell("CHANNEL_HANGUP_COMPLETE", event)
                self._gave_up_waiting(event)
            case SwitchEventName.CHANNEL_UNBRIDGE:
                for leg in (event.bridge_a, event.bridge_b):
                    if leg in self._shown:
                        self._shown[leg].bridged_at = None
                self._tell("CHANNEL_UNBRIDGE", event)
            case name if name in _TOLD:
                self._tell(name.value, event)
        self._note(event.leg)

    def _waits_for(self, event: SwitchEvent) -> None:
        """The leg on whose behalf a new one rings, and which is answered, waits for it."""
        by = self._shown_originator(event)
        if by is not None and by.snapshot is not None and by.call_state == "ACTIVE":
            self._show(by.snapshot, event.at, "RING_WAIT")

    def _gave_up_waiting(self, event: SwitchEvent) -> None:
        by = self._shown_originator(event)
        if by is None or event.leg is None or event.leg.answered_at is not None:
            return
        by.failed_cause = event.leg.hangup_cause
        if by.snapshot is not None and by.call_state == "RING_WAIT":
            self._show(by.snapshot, event.at, "ACTIVE")

    def _shown_originator(self, event: SwitchEvent) -> _Shown | None:
        return None if event.leg is None else self._shown.get(event.leg.originating_leg or "")

    def _call_state(self, event: SwitchEvent, shown: _Shown) -> None:
        leg = event.leg
        assert leg is not None
        if shown.is_held_by_command and leg.call_state.value != "HANGUP":
            return
        if not shown.is_announced:
            shown.is_announced = True
            self._tell("CHANNEL_PROGRESS", event)
            self._show(leg, event.at, leg.call_state.value)
            self._tell("CHANNEL_CREATE", event)
        elif shown.call_state != leg.call_state.value:
            self._show(leg, event.at, leg.call_state.value)

    def _bridged(self, event: SwitchEvent) -> None:
        for uuid in (event.bridge_a, event.bridge_b):
            leg = self._live(uuid)
            if leg is None:
                continue
            shown = self._shown[leg.uuid]
            shown.bridged_at = event.at
            if shown.call_state == "RING_WAIT":
                self._show(leg.snapshot, event.at, "ACTIVE")
        self._tell("CHANNEL_BRIDGE", event)

    def _show(self, leg: LegSnapshot, at: datetime, call_state: str) -> None:
        shown = self._shown[leg.uuid]
        former, shown.call_state = shown.call_state, call_state
        fields = self._fields(leg)
        # Of the twelve only CALLSTATE, DTMF and BACKGROUND_JOB carry no variables.
        plain = {name: value for name, value in fields.items() if not name.startswith("variable_")}
        self._send("CHANNEL_CALLSTATE", at, {**call_state_fields(former, call_state), **plain})

    def _tell(self, name: str, event: SwitchEvent) -> None:
        leg = event.leg
        assert leg is not None
        if name == "CHANNEL_DESTROY":
            self._shown[leg.uuid].call_state = "HANGUP"
        fields = self._fields(leg)
        if self._shown[leg.uuid].failed_cause is not None:
            fields["variable_originate_failed_cause"] = self._shown[leg.uuid].failed_cause
        if name == "DTMF":
            fields = {field: value for field, value in fields.items() if not field.startswith("variable_")}
            fields |= {"DTMF-Digit": event.digit, "DTMF-Duration": "2000", "DTMF-Source": "APP"}
        if event.bridge_a is not None and event.bridge_b is not None:
            fields["Bridge-A-Unique-ID"] = self.shown(event.bridge_a)
            fields["Bridge-B-Unique-ID"] = self.shown(event.bridge_b)
        self._send(name, event.at, fields)

    def _send(self, name: str, at: datetime, fields: Mapping[str, Any]) -> None:
        self._sequence += 1
        message = event_message({**base_fields(name, at, self._sequence), **fields})
        for listener in tuple(self._listeners):
            listener(name, message)

    def _fields(self, leg: LegSnapshot) -> dict[str, Any]:
        live = self._live(leg.uuid)
        if live is not None:
            # The switchboard learns the caller's name when the phone rings already; here it is shown from the first.
            leg = attrs.evolve(leg, caller_name=live.snapshot.caller_name)
        shown = self._shown[leg.uuid]
        return leg_fields(self._as_shown(leg), call_state=shown.call_state, bridged_at=shown.bridged_at)

    def _as_shown(self, leg: LegSnapshot) -> LegSnapshot:
        def named(uuid: str | None) -> str | None:
            return None if uuid is None else self.shown(uuid)

        return attrs.evolve(
            leg,
            uuid=self.shown(leg.uuid),
            call_uuid=self.shown(leg.call_uuid),
            other_leg=named(leg.other_leg),
            originating_leg=named(leg.originating_leg),
            signal_bond=named(leg.signal_bond),
            bridged_to=named(leg.bridged_to),
        )

    def _live(self, uuid: str | None) -> Leg | None:
        try:
            return None if uuid is None else self.switchboard.leg(uuid)
        except SwitchError:
            return None

    # --- the table, which lags

    def _note(self, leg: LegSnapshot) -> None:
        is_gone = leg.channel_state is ChannelState.CS_DESTROY
        row = None if is_gone else channel_row(self._as_shown(leg), call_state=self._shown[leg.uuid].call_state)

        def write() -> None:
            if row is None:
                self._rows.pop(leg.uuid, None)
                self._shown.pop(leg.uuid, None)
            else:
                self._rows[leg.uuid] = row

        if self.lag_seconds:
            self.switchboard.call_later(self.lag_seconds, write)
        else:
            write()

    # --- what commands need

    def named(self, uuid: str) -> str:
        """Tell what the switchboard calls a leg.

        Args:
            uuid: As it is shown.

        Returns:
            The switchboard's uuid.

        Raises:
            SwitchError: There is no such leg.
        """
        for leg in self.switchboard.legs:
            if self.shown(leg.uuid) == uuid:
                return leg.uuid
        raise SwitchError("-ERR No such channel!")

    def shown(self, uuid: str) -> str:
        """Tell by what uuid a leg is shown.

        Args:
            uuid: As the switchboard calls it.

        Returns:
            The uuid that it was given.
        """
        known = self._shown.get(uuid)
        return uuid if known is None else known.uuid

    def table(self) -> str:
        """Tell the channels, as they were a moment ago.

        Returns:
            The answer to ``show channels as json``.
        """
        rows = list(self._rows.values())
        if not rows:
            return '{"row_count": 0}\n'
        return json.dumps({"row_count": len(rows), "rows": rows}, separators=(",", ":"))

    def dump(self, uuid: str) -> str:
        """Tell all of a leg, as it is.

        Args:
            uuid: Which.

        Returns:
            The answer to ``uuid_dump … json``.

        Raises:
            SwitchError: There is no such leg.
        """
        leg = self.switchboard.leg(self.named(uuid)).snapshot
        fields = {**base_fields("CHANNEL_DATA", self.switchboard.now, self._sequence), **self._fields(leg)}
        return json.dumps(fields, separators=(",", ":"))

    def hold(self, uuid: str) -> None:
        """Hold a Verto phone's leg from here: its call state stays as it is, and it cannot be undone.

        Args:
            uuid: Which.

        Raises:
            SwitchError: There is no such leg, or its phone holds it.
        """
        leg = self.switchboard.leg(self.named(uuid))
        shown = self._shown[leg.uuid]
        if shown.is_held_by_command:
            self._send("CHANNEL_HOLD", self.switchboard.now, self._fields(leg.snapshot))
            return
        shown.is_held_by_command = True
        try:
            self.switchboard.hold(leg.uuid)
        except SwitchError:
            shown.is_held_by_command = False
            raise

    def is_held_by_command(self, uuid: str) -> bool:
        """Tell whether a leg was held from here.

        Args:
            uuid: Which.

        Returns:
            Whether.

        Raises:
            SwitchError: There is no such leg.
        """
        return self._shown[self.named(uuid)].is_held_by_command

    def job(self, job_uuid: str, command: str, arguments: str, text: str) -> None:
        """Tell what came of a background job. Everybody who subscribed is told.

        Args:
            job_uuid: The job.
            command: What was asked.
            arguments: And with what.
            text: The answer.
        """
        fields = {"Job-UUID": job_uuid, "Job-Command": command, "Job-Command-Arg": arguments}
        body = {"Content-Length": str(len(text.encode())), "_body": text}
        self._send("BACKGROUND_JOB", self.switchboard.now, {**fields, **body})
