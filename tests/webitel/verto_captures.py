"""Captures of a real FreeSWITCH with a Verto client, read: what each side sent, and the message of ours that says the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from typed_settings.types import Secret

from cti_webitel.verto.requests import (
    Action,
    Answer,
    Attach,
    Broadcast,
    Bye,
    Invite,
    Login,
    Modify,
    OtherMessage,
    Ping,
    SendChat,
    SendDigits,
    Subscribe,
    Unsubscribe,
    VertoMessage,
)
from cti_webitel.verto.signals import Cause

CAPTURES = Path(__file__).parents[1] / "captures" / "verto"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.jsonl"))

NOISE = frozenset(
    {
        "audioParams",
        "dedEnc",
        "incomingBandwidth",
        "localTag",
        "login",
        "mirrorInput",
        "outgoingBandwidth",
        "screenShare",
        "tag",
        "useCamera",
        "useMic",
        "useSpeak",
        "useStereo",
        "useVideo",
        "videoParams",
    }
)
"""What the stock client sends of every dialog, whatever it is about."""

OF_INVITES = frozenset(
    {
        "callID",
        "destination_number",
        "caller_id_name",
        "caller_id_number",
        "remote_caller_id_name",
        "remote_caller_id_number",
        "recoverCall",
    }
)


@frozen
class Line:
    """One line of a capture."""

    direction: str
    connection: str
    entry: dict[str, Any]

    @property
    def frame(self) -> Any:
        """What was sent, decoded; ``None`` if it is no JSON."""
        return self.entry.get("frame")

    def data(self) -> bytes | None:
        """What was sent, as it was on the wire; ``None`` if it was no message."""
        entry = self.entry
        if "b64" in entry:
            return base64.b64decode(entry["b64"])
        if entry.get("truncated"):
            head = entry["text_head"]
            tail = '"}}' if self.direction == "s2c" else '"}, "id": 2}'
            return f"{head}{head[-1] * (entry['size'] - len(head) - len(tail))}{tail}".encode()
        if "text" in entry:
            return str(entry["text"]).encode()
        if "frame" not in entry:
            return None
        return json.dumps(entry["frame"], ensure_ascii=False, separators=(",", ":")).encode()


def lines(name: str) -> Iterator[Line]:
    for text in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(text)
        yield Line(entry["dir"], entry.get("conn", "-"), entry)


def without_noise(frame: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only the stock client says."""
    params = frame.get("params")
    if not isinstance(params, dict) or "dialogParams" not in params:
        return frame
    dialog = {name: value for name, value in params["dialogParams"].items() if name not in NOISE}
    return {**frame, "params": {**params, "dialogParams": dialog}}


def message_of(frame: dict[str, Any]) -> VertoMessage:
    """Make the message of ours that says what a client's request says.

    Returns:
        It; an `OtherMessage` for what only somebody says who tries what is wrong.
    """
    method, said = frame["method"], without_noise(frame).get("params") or {}
    params = {name: value for name, value in said.items() if name != "sessid"}
    try:
        message = _message_of(method, dict(params))
    except (KeyError, TypeError, ValueError):
        message = None
    return OtherMessage(method, params) if message is None else message


def _message_of(method: str, params: dict[str, Any]) -> VertoMessage | None:
    dialog = dict(params.pop("dialogParams", {}))
    call_id = dialog.pop("callID", None)
    message: VertoMessage | None = None
    match method:
        case "login":
            password = Secret(params.pop("passwd"))
            message = Login(params.pop("login"), password, params.pop("loginParams"), params.pop("userVariables"))
        case "verto.invite":
            message = Invite(
                call_id,
                dialog.pop("destination_number"),
                params.pop("sdp"),
                dialog.pop("caller_id_name", None),
                dialog.pop("caller_id_number", None),
                dialog.pop("remote_caller_id_name", None),
                dialog.pop("remote_caller_id_number", None),
                dialog.pop("recoverCall", True),
            )
        case "verto.answer":
            message, dialog = Answer(call_id, params.pop("sdp"), extra=dialog), {}
        case "verto.attach":
            message = Attach(call_id, params.pop("sdp"))
        case "verto.bye":
            name, code = params.pop("cause", None), params.pop("causeCode", None)
            message = Bye(call_id, None if name is None and code is None else Cause(name, code))
        case "verto.modify":
            action, destination = Action(params.pop("action")), params.pop("destination", None)
            # The stock client sends an empty object with a transfer.
            params.pop("params", None)
            message = Modify(call_id, action, destination, params.pop("replaceCallID", None), params.pop("sdp", None))
        case "verto.info" if "dtmf" in params:
            message = SendDigits(call_id, params.pop("dtmf"))
        case "verto.info":
            chat = dict(params.pop("msg"))
            in_dialog = chat.pop("inDialog", False)
            message = SendChat(chat.pop("to"), chat.pop("body"), chat.pop("from", None), call_id)
            call_id = call_id if in_dialog else "none"
            params |= chat
        case "verto.ping":
            message = Ping()
        case "verto.subscribe" | "verto.unsubscribe":
            channels = params.pop("eventChannel")
            params.pop("subParams", None)
            of = (channels,) if isinstance(channels, str) else tuple(channels)
            message = Subscribe(of) if method == "verto.subscribe" else Unsubscribe(of)
        case "verto.broadcast":
            message = Broadcast(params.pop("eventChannel"), params.pop("data"), params.pop("localBroadcast", False))
    about_call = method in ("verto.invite", "verto.answer", "verto.attach", "verto.bye", "verto.modify")
    if params or dialog or (about_call and call_id is None):
        return None
    return message
