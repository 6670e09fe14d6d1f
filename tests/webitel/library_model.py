"""Webitel's own client library, as far as it tells of calls.

It is written down from the library's description alone (facts: webitel-protocol 4.5, 5.1, 5.2, 5.3), word by word, and with
nothing of ours, so that the two can be compared on streams that nobody captured.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

LEG = re.compile(r"^u?:?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
NAMES = {
    "onBridgeCall": ("CHANNEL_BRIDGE",),
    "onUnBridgeCall": ("CHANNEL_UNBRIDGE",),
    "onStartRecordCall": ("RECORD_START",),
    "onStopRecordCall": ("RECORD_STOP",),
}
BY_EVENT = {event: name for name, events in NAMES.items() for event in events}

Told = list[tuple[str, Any]]


class LibraryModel:
    """The library with one account.

    Args:
        account: ``number@domain``.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self.channels: dict[str, dict[str, Any]] = {}
        self.call_of: dict[str, str] = {}
        self.calls: dict[str, dict[str, Any]] = {}

    def receive(self, frame: dict[str, Any]) -> Told:
        """Give what it calls back for a call frame."""
        if unquote(frame.get("Channel-Presence-ID", "")) != self.account:
            return []
        event, uuid = frame["Event-Name"], frame["Unique-ID"]
        if event == "CHANNEL_CREATE":
            return self._create(uuid, frame)
        channel = self.channels.get(uuid)
        if event == "CHANNEL_STATE":
            return [] if channel is None else self._state(uuid, channel, frame)
        if event == "CHANNEL_CALLSTATE":
            if channel is not None:
                channel.update(frame)
            return []
        if event == "CHANNEL_HANGUP":
            return []
        if event == "CHANNEL_DESTROY":
            self.channels.pop(uuid, None)
            return []
        if channel is None:
            return [("onError", {"errorType": "CALL-ERROR", "message": f"Channel not found {uuid}"})]
        call = self.calls.get(self.call_of[uuid])
        return [] if call is None else self._handle(event, call, channel, frame)

    def _create(self, uuid: str, frame: dict[str, Any]) -> Told:
        if uuid in self.channels:
            return [("onError", {"errorType": "CALL-ERROR", "message": f"Key {uuid} already defined!"})]
        self.channels[uuid] = dict(frame)
        key = frame.get("variable_w_account_origination_uuid") or frame["Channel-Call-UUID"]
        self.call_of[uuid] = key
        if key in self.calls:
            self.calls[key]["channels"].append(uuid)
            return []
        originator = frame["Channel-Call-UUID"] == uuid
        self.calls[key] = {"uuid": key, "state": 1, "channels": [uuid], "isOriginator": originator}
        return [("onNewCall", self._payload(self.calls[key]))]

    def _state(self, uuid: str, channel: dict[str, Any], frame: dict[str, Any]) -> Told:
        numbers = ("Caller-Callee-ID-Number", "Caller-Caller-ID-Number")
        changed = any(channel.get(number) != frame.get(number) for number in numbers)
        channel.update(frame)
        call = self.calls.get(self.call_of[uuid])
        return [("onBridgeCall", self._payload(call))] if changed and call is not None else []

    def _handle(self, event: str, call: dict[str, Any], channel: dict[str, Any], frame: dict[str, Any]) -> Told:
        if event == "DTMF":
            return [("onDtmfCall", {"call": self._payload(call), "digits": frame["DTMF-Digit"]})]
        if event == "CHANNEL_HOLD":
            told: Told = []
            if call["state"] != 3:
                call["state"] = 3
                told.append(("onHoldCall", self._payload(call)))
            channel.update(frame)
            return told
        channel.update(frame)
        if event == "CHANNEL_ANSWER":
            return self._answer(call, frame)
        if event == "CHANNEL_UNHOLD":
            if call["state"] == 4:
                return []
            call["state"] = 4
            return [("onUnholdCall", self._payload(call))]
        if event == "CHANNEL_HANGUP_COMPLETE":
            return self._end(call, channel, frame)
        return [(BY_EVENT[event], self._payload(call))]

    def _answer(self, call: dict[str, Any], frame: dict[str, Any]) -> Told:
        if call["state"] == 2:
            return []
        call["state"] = 2
        told: Told = [("onAcceptCall", self._payload(call))]
        if told[0][1]["direction"] == "inbound" and (frame.get("Other-Leg-Unique-ID") or frame.get("variable_cc_queue")):
            told.append(("onBridgeCall", self._payload(call)))
        return told

    def _end(self, call: dict[str, Any], channel: dict[str, Any], frame: dict[str, Any]) -> Told:
        call["channels"].remove(frame["Unique-ID"])
        if call["channels"]:
            return []
        del self.calls[call["uuid"]]
        call["state"] = 5
        payload = self._payload(call, channel)
        told: Told = []
        if payload["direction"] == "inbound":
            new_id = (
                channel.get("variable_originating_leg_uuid")
                or frame.get("Other-Leg-Unique-ID")
                or frame.get("variable_cc_member_session_uuid")
            )
        else:
            new_id = frame["Unique-ID"]
        if channel.get("variable_hangup_cause") == "NORMAL_CLEARING" and new_id != call["uuid"]:
            told.append(("onUuidCall", {"call": payload} | ({} if new_id is None else {"newId": new_id})))
        return [*told, ("onHangupCall", payload)]

    def _payload(self, call: dict[str, Any], channel: dict[str, Any] | None = None) -> dict[str, Any]:
        actual = self.channels[call["channels"][0]] if channel is None else channel
        get = actual.get
        originate = get("variable_w_jsclient_originate_number")
        if originate and call["state"] < 2:
            direction = "callback"
        elif originate or get("Caller-Logical-Direction") == "inbound":
            direction = "outbound"
        else:
            direction = "inbound"
        swap = (get("Call-Direction") == "inbound" and get("Unique-ID") == get("Channel-Call-UUID")) or (
            get("Call-Direction") == "outbound" and get("Channel-HIT-Dialplan") == "true"
        )
        callee_side, caller_side = "Caller-Callee-ID-", "Caller-Caller-ID-"
        if direction == "inbound":
            if swap:
                callee_side, caller_side = caller_side, callee_side
        elif not swap:
            callee_side, caller_side = caller_side, callee_side
        callee, callee_name = get(callee_side + "Number"), get(callee_side + "Name")
        caller, caller_name = get(caller_side + "Number"), get(caller_side + "Name")
        if direction != "inbound":
            callee = callee or get("Caller-Destination-Number")
            callee_name = callee_name or get("Caller-Destination-Number")
        callee, caller = self._number(callee), self._number(caller)
        data = get("variable_webitel_data")
        told = {
            "uuid": call["uuid"],
            "state": call["state"],
            "calleeNumber": callee,
            "calleeName": callee_name,
            "callerNumber": caller,
            "callerName": caller_name,
            "displayNumber": callee if call["isOriginator"] else caller,
            "isOriginator": call["isOriginator"],
            "attended-transfer-call-uuid": get("variable_w_jsclient_xtransfer"),
            "direction": direction,
            "call-channel-uuid": get("Unique-ID"),
            "data": None if data is None else data.replace("'", ""),
            "hangup_cause": get("variable_hangup_cause"),
            "cc_queue": get("variable_cc_queue"),
            "transferResult": get("variable_w_transfer_result"),
            "call-created-time": get("Caller-Channel-Created-Time"),
            "call-answered-time": get("Caller-Channel-Answered-Time"),
            "call-hangup-time": get("Caller-Channel-Hangup-Time"),
            "other-leg-unique-id": get("Other-Leg-Unique-ID"),
            "bridge-A-Unique-ID": get("Bridge-A-Unique-ID"),
            "bridge-B-Unique-ID": get("Bridge-B-Unique-ID"),
            "bill_sec": get("variable_billsec"),
            "dlr_session_id": get("variable_dlr_session_id"),
        }
        return {key: value for key, value in told.items() if value is not None}

    def _number(self, number: str | None) -> str | None:
        return self.account.partition("@")[0] if number is not None and LEG.match(number) else number
