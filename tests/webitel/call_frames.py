"""Frames as the engine sends them, and what the protocol makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import orjson

from cti_webitel.engine.callbacks import Callback
from cti_webitel.engine.protocol import EngineProtocol, Output

Told = TypeVar("Told")

ACCOUNT = "100@demo.local"
LEG = "11111111-0000-4000-8000-000000000001"
OTHER_LEG = "11111111-0000-4000-8000-000000000002"
FAR = "22222222-0000-4000-8000-000000000001"
CALL = "33333333-0000-4000-8000-000000000001"
VARIABLES = {"variable_w_account_origination_uuid": CALL, "variable_sip_call_id": "dialogue@loopback"}


def call_frame(event: str, leg: str = LEG, **headers: Any) -> dict[str, Any]:
    """Make a frame of an incoming call: ``Channel_State`` stands for ``Channel-State``, None leaves a header out."""
    frame: dict[str, Any] = {
        "webitel-event-name": "call",
        "Event-Name": event,
        "Channel-Presence-ID": ACCOUNT,
        "Unique-ID": leg,
        "Channel-Call-UUID": FAR,
        "Channel-Call-State": "ACTIVE",
        "Channel-State": "CS_EXCHANGE_MEDIA",
        "Answer-State": "answered",
        "Channel-HIT-Dialplan": "false",
        "Call-Direction": "outbound",
        "Caller-Logical-Direction": "outbound",
        "Caller-Callee-ID-Number": "100",
        "Caller-Caller-ID-Number": "0671112233",
        "Other-Leg-Unique-ID": FAR,
        "Caller-Channel-Created-Time": "1795332544217000",
        "Caller-Channel-Answered-Time": "0",
        "Caller-Channel-Hangup-Time": "0",
        "variable_billsec": 0,
    }
    if event not in ("CHANNEL_STATE", "CHANNEL_CALLSTATE", "DTMF"):
        frame |= VARIABLES
    for name, value in headers.items():
        key = name if name.startswith("variable_") else name.replace("_", "-")
        if value is None:
            frame.pop(key, None)
        else:
            frame[key] = value
    return frame


def created(leg: str = LEG, **headers: Any) -> dict[str, Any]:
    early = {"Channel_State": "CS_INIT", "Channel_Call_State": "DOWN", "Answer_State": "ringing"}
    return call_frame("CHANNEL_CREATE", leg, **(early | headers))


def call_state(state: str, leg: str = LEG) -> dict[str, Any]:
    return call_frame("CHANNEL_CALLSTATE", leg, Channel_Call_State=state)


def ended(
    event: str = "CHANNEL_HANGUP_COMPLETE", leg: str = LEG, cause: str = "NORMAL_CLEARING", **headers: Any
) -> dict[str, Any]:
    last = {
        "Channel_State": "CS_HANGUP",
        "Channel_Call_State": "HANGUP",
        "Answer_State": "hangup",
        "variable_hangup_cause": cause,
    }
    return call_frame(event, leg, **(last | headers))


def names(outputs: Iterable[Output]) -> list[str]:
    return [output.name if isinstance(output, Callback) else type(output).__name__ for output in outputs]


def only(outputs: Sequence[Output], kind: type[Told]) -> Told:
    (found,) = (output for output in outputs if isinstance(output, kind))
    return found


def feed(protocol: EngineProtocol, *frames: dict[str, Any], now: float = 0.0) -> list[Output]:
    return [output for frame in frames for output in protocol.receive(orjson.dumps(frame), now)]


def log_in(protocol: EngineProtocol, listed: Any = None, **answer: Any) -> list[Output]:
    protocol.opened()
    told: list[Output] = []
    rows = {"100": {"id": "100", "domain": "demo.local", "state": "ONHOOK", "status": "NONE", "online": True, "agent": "true"}}
    row = {"login": ACCOUNT, "role": "user", "domain": "demo.local", "cc-agent": "false", "ws-count": 2, "session": "s"} | answer
    for func, response in (
        ("auth", row),
        ("login", "+OK: logged: true"),
        ("api account list", {"response": json.dumps(rows if listed is None else listed)}),
    ):
        exec_uuid, _ = protocol.request(func)
        told += feed(protocol, {"exec-uuid": exec_uuid, "exec-complete": "+OK", "exec-response": response})
    return told


def account_status(**headers: Any) -> dict[str, Any]:
    return {"webitel-event-name": "ACCOUNT_STATUS", "Event-Name": "ACCOUNT_STATUS", "Account-User": "100"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
