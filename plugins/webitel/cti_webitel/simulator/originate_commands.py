"""The commands that ring the user's own devices first (facts: webitel-protocol 3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson

from cti_framework.switchboard import Leg, SwitchError
from cti_webitel.simulator.requests import BAD_RESPONSE, Command, Reply, Request, on_switch, text_reply

__all__ = ["ORIGINATE_COMMANDS"]

_PROTECTED: Final = (
    "api_on_",
    "execute_on_",
    "exec_",
    "api_after_bridge",
    "api_before_bridge",
    "api_hangup_hook",
    "api_reporting_hook",
    "record_post_process_exec_api",
    "session_in_hangup_hook",
    "domain_name",
)


def _call(request: Request) -> Reply | None:
    extension, given = request.arguments.get("extension"), request.arguments.get("variables")
    if request.account is None:
        return None
    if not isinstance(extension, str) or not extension:
        return BAD_RESPONSE
    params, auto_answer = request.arguments.get("params"), request.arguments.get("auto_answer_param")
    settings = [*(params if isinstance(params, list) else []), auto_answer if isinstance(auto_answer, str) else ""]
    variables = {"w_jsclient_originate_number": extension, **_assigned(settings), **_outbound(request)}
    if isinstance(given, dict):
        kept = _cleaned(given)
        variables.update(kept, webitel_data=orjson.dumps(kept).decode())
    return request.at_switch(partial(_originate, request, extension, variables))


def _consult(request: Request) -> Reply | None:
    extension, user = request.arguments.get("extension"), request.arguments.get("user", "")
    if extension is not None and not isinstance(extension, str):
        # The engine fails at once on what is no text.
        return None
    if not extension or not isinstance(user, str):
        return BAD_RESPONSE
    if request.account is None:
        return None
    number = extension.partition("@")[0]
    variables = {
        "w_jsclient_originate_number": number,
        "w_jsclient_xtransfer": request.text("parent_call_uuid"),
        **_assigned([request.text("auto_answer_param")]),
        **_outbound(request),
    }
    return request.at_switch(partial(_originate, request, number, variables))


@on_switch
def _attended_transfer(request: Request) -> Reply | None:
    destination = request.text("destination")
    variables = {
        "w_jsclient_originate_number": destination,
        "w_jsclient_xtransfer": request.text("call_uuid"),
        **({"sip_h_Call-Info": "answer-after=1"} if request.arguments.get("is_webrtc") else {}),
        **_assigned([request.text("auto_answer_param")]),
    }
    _originate(request, destination, variables, caller_number=request.text("user"))
    return None


def _eavesdrop(request: Request) -> Reply | None:
    account, leg_uuid = request.account, request.text("channel-uuid")
    if account is None:
        return None
    if leg_uuid == "all":
        if not account.is_root:
            return BAD_RESPONSE
        # Of all legs the switch takes one that talks; which one is its own affair.
        leg_uuid = next((leg.uuid for leg in reversed(request.engine.switchboard.legs) if leg.answered), "")
    user = request.text("user") or account.presence
    if account.domain:
        user = f"{user.partition('@')[0]}@{account.domain}"
    given, display = request.arguments.get("variables"), request.text("display")
    variables = _assigned(
        [
            *([f"origination_callee_id_number={display}"] if display else []),
            *(given if isinstance(given, list) else []),
        ]
    )
    side = request.text("side") or user

    def act() -> None:
        request.engine.switchboard.eavesdrop(
            user,
            leg_uuid,
            caller_number=side,
            callee_number=variables.get("origination_callee_id_number", ""),
            variables=variables,
            on_result=lambda result: _tell(request, result),
        )

    return request.at_switch(act)


def _originate(request: Request, destination: str, variables: Mapping[str, str], caller_number: str = "") -> None:
    request.engine.switchboard.originate(
        request.text("user"),
        destination,
        caller_number=caller_number,
        variables=variables,
        on_result=lambda result: _tell(request, result),
    )


def _tell(request: Request, result: Leg | SwitchError) -> None:
    request.answer(text_reply(f"+OK {result.uuid}\n" if isinstance(result, Leg) else f"{result.text}\n"))


def _outbound(request: Request) -> dict[str, str]:
    domain = request.account.domain if request.account is not None else ""
    domain = domain or request.text("user").partition("@")[2]
    named = {"domain_name": domain} if domain else {}
    return {**named, "webitel_direction": "outbound", "ignore_early_media": "true"}


def _assigned(settings: list[Any]) -> dict[str, str]:
    """Read ``name=value`` texts, each of which may hold several with commas between."""
    pairs = [pair.partition("=") for text in settings if isinstance(text, str) for pair in text.split(",")]
    return {name: value for name, equals, value in pairs if equals}


def _cleaned(given: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: re.sub(r"[\"'\r\n\t\\]", "", value)
        for name, value in given.items()
        if isinstance(value, str) and not name.startswith(_PROTECTED)
    }


ORIGINATE_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "call": _call,
        "att_xfer2": _consult,
        "attended_transfer": _attended_transfer,
        "eavesdrop": _eavesdrop,
    }
)
"""Name to function."""
