"""The commands that act on legs: no permission, no login, any leg of anybody (facts: webitel-protocol 3.2 and 7, 18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

from cti_framework.switchboard import Leg, SwitchError
from cti_webitel.simulator.channels import channel_dump, variables_of
from cti_webitel.simulator.frames import as_json
from cti_webitel.simulator.requests import BAD_RESPONSE, Command, Reply, Request, on_switch, text_reply

__all__ = ["CALL_COMMANDS"]

_RESULT = "w_transfer_result"


@on_switch
def _hangup(request: Request) -> Reply:
    leg_uuid, name, value = request.text("channel-uuid"), request.text("variable"), request.text("value")
    if name and value:
        # The engine does not wait for the answer to this one.
        with suppress(SwitchError):
            request.engine.switchboard.set_variable(leg_uuid, name, value)
    request.engine.switchboard.hang_up(leg_uuid, request.text("cause"))
    return text_reply("+OK\n")


def _hold(change: Callable[[Request, Leg], None]) -> Command:
    @on_switch
    def command(request: Request) -> Reply:
        try:
            leg = request.engine.switchboard.leg(request.text("channel-uuid"))
        except SwitchError:
            # The switch answers success for a leg that it does not know (facts: webitel-protocol 3.2).
            return text_reply("+OK Success\n")
        change(request, leg)
        return text_reply("+OK Success\n")

    return command


def _put_on_hold(request: Request, leg: Leg) -> None:
    request.engine.switchboard.hold(leg.uuid)


def _take_back(request: Request, leg: Leg) -> None:
    request.engine.switchboard.unhold(leg.uuid)


def _toggle(request: Request, leg: Leg) -> None:
    (_take_back if leg.snapshot.held else _put_on_hold)(request, leg)


@on_switch
def _dtmf(request: Request) -> Reply:
    leg_uuid, digits = request.text("channel-uuid"), request.text("digits")
    if leg_uuid and not digits:
        return text_reply("-USAGE: <uuid> <dtmf_data>\n")
    request.engine.switchboard.tones(leg_uuid, digits)
    return text_reply(f"+OK {leg_uuid} received DTMF {digits}.\n")


@on_switch
def _getvar(request: Request) -> Reply:
    leg = request.engine.switchboard.leg(request.text("channel-uuid"))
    return text_reply(variables_of(leg.snapshot).get(request.text("variable"), "_undef_"))


@on_switch
def _setvar(request: Request) -> Reply:
    value = f"{request.text('value')} {request.text('inleg')}".strip()
    request.engine.switchboard.set_variable(request.text("channel-uuid"), request.text("variable"), value)
    return text_reply("+OK\n")


@on_switch
def _channel_dump(request: Request) -> Reply:
    engine = request.engine
    leg = engine.switchboard.leg(request.text("uuid"))
    dump = channel_dump(leg.snapshot, engine.channels.times_of(leg.uuid), engine.switchboard.now)
    return text_reply(as_json(dump).decode())


@on_switch
def _show_channel(request: Request) -> Reply:
    # Before authentication the engine shows the channels of everybody (facts: webitel-protocol 7, 18).
    rows = request.engine.channels.rows(request.domain() or None)
    return Reply("+OK", {"row_count": len(rows), "rows": rows})


@on_switch
def _transfer(request: Request) -> Reply:
    leg_uuid, destination = request.text("channel-uuid"), request.text("destination")
    if not leg_uuid or not destination:
        return text_reply("-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n")
    request.engine.switchboard.transfer(leg_uuid, destination)
    return text_reply("+OK\n")


@on_switch
def _bridge(request: Request) -> Reply:
    first, second = request.text("channel_uuid_A"), request.text("channel_uuid_B")
    request.engine.switchboard.bridge(first, second)
    return text_reply(f"+OK {second}\n")


@on_switch
def _confirm_transfer(request: Request) -> Reply:
    first, second = request.text("channel-uuid-leg-b"), request.text("channel-uuid-leg-c")
    _set_result(request, "confirmed")
    try:
        request.engine.switchboard.bridge(first, second)
    except SwitchError:
        _set_result(request, "error")
        raise
    return text_reply(f"+OK {second}\n")


def _set_result(request: Request, result: str) -> None:
    for name in ("channel-uuid-leg-d", "channel-uuid-leg-a"):
        with suppress(SwitchError):
            request.engine.switchboard.set_variable(request.text(name), _RESULT, result)


@on_switch
def _cancel_transfer(request: Request) -> Reply:
    request.engine.switchboard.hang_up(request.text("channel-uuid-leg-c"))
    return text_reply("+OK\n")


def _consult_on_leg(request: Request) -> Reply | None:
    if not isinstance(request.arguments.get("user"), str):
        # The engine fails at once on what is no text.
        return None

    def act() -> Reply:
        # The switch says that it has passed the order on, not what becomes of it.
        with suppress(SwitchError):
            request.engine.switchboard.consult(
                request.text("channel-uuid"), request.text("destination"), {"webitel_att_xfer": "true"}
            )
        return text_reply("+OK Message sent\n")

    return request.at_switch(act)


@on_switch
def _displace(request: Request) -> Reply:
    try:
        request.engine.switchboard.leg(request.text("channel-uuid"))
    except SwitchError:
        return text_reply("-ERR Cannot locate session!\n")
    return text_reply("+OK Success\n")


@on_switch
def _video_refresh(request: Request) -> Reply:
    try:
        request.engine.switchboard.leg(request.text("uuid"))
    except SwitchError:
        return text_reply("-ERR Operation failed\n")
    return text_reply("+OK Message sent\n")


def _chat_send(request: Request) -> Reply | None:
    if not all(request.arguments.get(name) for name in ("from", "to", "message")):
        return BAD_RESPONSE
    return request.at_switch(lambda: text_reply("Sent"))


CALL_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "hangup": _hangup,
        "hold": _hold(_put_on_hold),
        "unhold": _hold(_take_back),
        "toggle_hold": _hold(_toggle),
        "dtmf": _dtmf,
        "getvar": _getvar,
        "setvar": _setvar,
        "channel_dump": _channel_dump,
        "show_channel": _show_channel,
        "transfer": _transfer,
        "bridge": _bridge,
        "att_xfer_bridge": _confirm_transfer,
        "att_xfer_cancel": _cancel_transfer,
        "att_xfer": _consult_on_leg,
        "displace": _displace,
        "video_refresh": _video_refresh,
        "chat_send": _chat_send,
    }
)
"""Name to function."""
