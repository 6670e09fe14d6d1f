"""The server's requests, read: one function a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from cti_webitel.verto.fields import Fields
from cti_webitel.verto.frames import BadFrame, Request
from cti_webitel.verto.signals import (
    Announced,
    Answered,
    Attached,
    Cause,
    ChannelEvent,
    ChatMessage,
    Displayed,
    EarlyMedia,
    Ended,
    EndedBy,
    InfoReceived,
    Invited,
    Parties,
    PingReceived,
    Punted,
    Ready,
    Signal,
    UnknownRequest,
)

__all__ = ["read_cause", "read_request"]


class _Missing(Exception):
    """Something without which a request means nothing is not there."""


def read_request(request: Request) -> tuple[Signal | BadFrame, int]:
    """Read a request of the server's.

    Args:
        request: It.

    Returns:
        What it tells, and how many of its values were left out because they are of the wrong type.
    """
    read = _READERS.get(request.method)
    if read is None:
        return UnknownRequest(request.method, request.params), 0
    fields = Fields(request.params)
    try:
        return read(fields), fields.left_out
    except _Missing as missing:
        return BadFrame(f"It has no {missing}.", method=request.method), fields.left_out


def read_cause(fields: Fields) -> Cause | None:
    """Read why a call ended.

    Args:
        fields: Where it stands.

    Returns:
        Why; ``None`` if nothing says it.
    """
    name, code = fields.text("cause"), fields.number("causeCode")
    return None if name is None and code is None else Cause(name, code)


def _needed(fields: Fields, name: str) -> str:
    text = fields.text(name)
    if not text:
        raise _Missing(name)
    return text


def _parties(fields: Fields) -> Parties:
    return Parties(
        fields.text("caller_id_name") or "",
        fields.text("caller_id_number") or "",
        fields.text("callee_id_name") or "",
        fields.text("callee_id_number") or "",
        fields.text("display_direction") or "",
    )


def _read_ready(fields: Fields) -> Signal:
    told = type(fields.anything("reattached_sessions")) is list
    calls = fields.texts("reattached_sessions")
    # Of a list that cannot be read it must not be concluded that a call is lost.
    return Ready(calls if told and not fields.left_out else None)


def _read_punt(fields: Fields) -> Signal:
    return Punted()


def _read_ping(fields: Fields) -> Signal:
    return PingReceived(fields.number("serno"))


def _read_invite(fields: Fields) -> Signal:
    call_id, sdp = _needed(fields, "callID"), _needed(fields, "sdp")
    return Invited(call_id, sdp, _parties(fields), fields.text_mapping("variables"), fields.rest())


def _read_attach(fields: Fields) -> Signal:
    call_id, sdp = _needed(fields, "callID"), _needed(fields, "sdp")
    return Attached(call_id, sdp, _parties(fields), fields.text_mapping("variables"), fields.rest())


def _read_media(fields: Fields) -> Signal:
    call_id, sdp = _needed(fields, "callID"), _needed(fields, "sdp")
    return EarlyMedia(call_id, sdp, fields.text_mapping("variables"), fields.rest())


def _read_answer(fields: Fields) -> Signal:
    call_id, sdp = _needed(fields, "callID"), fields.text("sdp") or None
    return Answered(call_id, sdp, fields.text_mapping("variables"), fields.rest())


def _read_display(fields: Fields) -> Signal:
    call_id = _needed(fields, "callID")
    name, number = fields.text("display_name") or "", fields.text("display_number") or ""
    return Displayed(call_id, name, number, _parties(fields), fields.rest())


def _read_bye(fields: Fields) -> Signal:
    return Ended(_needed(fields, "callID"), read_cause(fields), EndedBy.SERVER)


def _read_info(fields: Fields) -> Signal:
    call_id, digits, said = fields.text("callID"), fields.text("dtmf"), fields.mapping("msg")
    chat = None
    if said is not None:
        message = Fields(said)
        chat = ChatMessage(message.text("from") or "", message.text("to") or "", message.text("body") or "")
        fields.left_out += message.left_out
    return InfoReceived(call_id, digits, chat, fields.rest())


def _read_event(fields: Fields) -> Signal:
    event = ChannelEvent(
        _needed(fields, "eventChannel"),
        fields.text("subscribedChannel"),
        fields.anything("data"),
        fields.mapping("pvtData"),
        fields.text("eventType"),
        fields.number("eventSerno"),
        fields.text("sessid"),
        fields.text("userid"),
        fields.flag("localBroadcast"),
    )
    return attrs.evolve(event, headers=fields.rest())


def _read_announce(fields: Fields) -> Signal:
    return Announced(fields.texts("msg"))


_READERS: Final[Mapping[str, Callable[[Fields], Any]]] = MappingProxyType(
    {
        "verto.announce": _read_announce,
        "verto.answer": _read_answer,
        "verto.attach": _read_attach,
        "verto.bye": _read_bye,
        "verto.clientReady": _read_ready,
        "verto.display": _read_display,
        "verto.event": _read_event,
        "verto.info": _read_info,
        "verto.invite": _read_invite,
        "verto.media": _read_media,
        "verto.ping": _read_ping,
        "verto.punt": _read_punt,
    }
)
