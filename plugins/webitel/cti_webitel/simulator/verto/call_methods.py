"""The methods about calls (facts: verto, Calls)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from cti_framework.media import MediaError
from cti_framework.switchboard import SwitchError
from cti_webitel.simulator.verto.asked import MALFORMED, Asked, Method
from cti_webitel.simulator.verto.causes import cause_of, code_of
from cti_webitel.simulator.verto.clients import texts_of
from cti_webitel.simulator.verto.dialogs import Dialog
from cti_webitel.simulator.verto.rpc import Members, Refusal
from cti_webitel.simulator.verto.sdp import has_common_codec

__all__ = ["CALL_METHODS"]

_TOGGLE_SECONDS: Final = 0.25


def _call_error(detail: str, cause: str) -> Refusal:
    """Refuse an invite: the detail comes first, and is overwritten for whoever reads a name once."""
    members = ("message", detail), ("causeCode", code_of(cause)), ("cause", cause), ("message", "CALL ERROR"), ("code", MALFORMED)
    return Refusal(*members)


def _invite(asked: Asked) -> Members:
    try:
        params = asked.dialog_params()
        sdp = asked.sdp()
    except Refusal as refusal:
        raise _call_error(str(refusal.members[0][1]), "INVALID_MSG_UNSPECIFIED") from None
    endpoint, session, call_id = asked.endpoint, asked.session, params["callID"]
    variables = {
        **session.variables,
        **texts_of(params.get("userVariables"), "verto_dvar_"),
    }
    try:
        leg = endpoint.switchboard.call_from_device(
            session.presence,
            _text(params, "destination_number"),
            device=session.device,
            uuid=call_id,
            name=_text(params, "caller_id_name"),
            variables=variables,
        )
    except SwitchError:
        raise _call_error("Cannot create channel", "DESTINATION_OUT_OF_ORDER") from None
    dialog = Dialog(endpoint, session, leg.snapshot, remote_sdp=sdp, recovers=params.get("recoverCall") is not False)
    endpoint.begin(dialog)

    async def route() -> None:
        if not has_common_codec(sdp):
            dialog.hang_up("INCOMPATIBLE_DESTINATION")
            return
        if not leg.snapshot.destination:
            dialog.hang_up("NO_ROUTE_DESTINATION")
            return
        with suppress(SwitchError):
            endpoint.switchboard.route(dialog.leg_uuid)

    dialog.do(route)
    return [("message", "CALL CREATED"), ("callID", call_id)]


def _answer(asked: Asked) -> Members:
    dialog, sdp = asked.dialog(), asked.sdp()

    async def answer() -> None:
        await dialog.take_answer(sdp)

    dialog.do(answer)
    return []


def _attach(asked: Asked) -> Members:
    dialog, sdp = asked.dialog(), asked.sdp()

    async def attach() -> None:
        await dialog.take_attach(sdp)

    dialog.do(attach)
    return []


def _bye(asked: Asked) -> Members:
    call_id = asked.dialog_params()["callID"]
    try:
        dialog = asked.dialog()
    except Refusal as refusal:
        raise Refusal(("callID", call_id), *refusal.members) from None
    cause = cause_of(asked.get("cause"), asked.get("causeCode"))
    dialog.said_bye = dialog.session is asked.session
    dialog.hang_up(cause)
    return [("callID", dialog.call_id), ("message", "CALL ENDED"), ("causeCode", code_of(cause)), ("cause", cause)]


def _modify(asked: Asked) -> Members:
    call_id = asked.dialog_params()["callID"]
    action = asked.get("action")
    if not isinstance(action, str) or not action:
        raise Refusal(("message", "action missing"), ("code", MALFORMED))
    named: Members = [("callID", call_id), ("action", action)]
    try:
        dialog = asked.dialog()
        change = _ACTIONS.get(action)
        if change is not None:
            return change(asked, dialog, named)
    except Refusal as refusal:
        raise Refusal(*named, *refusal.members) from None
    return [*named, ("holdState", dialog.hold_state)]


def _hold(asked: Asked, dialog: Dialog, named: Members) -> Members:
    if dialog.hold_state == "held":
        return [*named, ("holdState", "held")]
    with suppress(SwitchError):
        asked.endpoint.switchboard.hold(dialog.leg_uuid)
    return asked.later(_TOGGLE_SECONDS, lambda: [*named, ("holdState", dialog.hold_state)])


def _unhold(asked: Asked, dialog: Dialog, named: Members) -> Members:
    if dialog.hold_state == "active":
        return [*named, ("holdState", "active")]

    def take_back() -> Members:
        # The media comes back at the end of the while, and with it the events (capture 05).
        with suppress(SwitchError):
            asked.endpoint.switchboard.unhold(dialog.leg_uuid)
        return [*named, ("holdState", "active")]

    return asked.later(_TOGGLE_SECONDS, take_back)


def _toggle(asked: Asked, dialog: Dialog, named: Members) -> Members:
    return (_unhold if dialog.hold_state == "held" else _hold)(asked, dialog, named)


def _transfer(asked: Asked, dialog: Dialog, named: Members) -> Members:
    destination = asked.get("destination")
    if not isinstance(destination, str) or not destination:
        raise Refusal(("message", "destination missing"), ("code", MALFORMED))
    leg = dialog.leg
    if leg is None or leg.partner is None:
        raise Refusal(("message", "call is not bridged"), ("code", MALFORMED))
    held = dialog.hold_state
    asked.endpoint.switchboard.transfer(leg.partner.uuid, destination)
    return [*named, ("message", "CALL TRANSFERRED"), ("holdState", held)]


def _replace(asked: Asked, dialog: Dialog, named: Members) -> Members:
    other_id = asked.get("replaceCallID")
    if not isinstance(other_id, str) or not other_id:
        raise Refusal(("message", "replaceCallID missing"), ("code", MALFORMED))
    other = asked.endpoint.dialogs.get(other_id)
    leg, replaced = dialog.leg, other.leg if other is not None else None
    if leg is None or replaced is None or leg.partner is None or replaced.partner is None:
        raise Refusal(("message", "invalid transfer leg"), ("code", MALFORMED))
    held = dialog.hold_state
    try:
        asked.endpoint.switchboard.bridge(replaced.partner.uuid, leg.partner.uuid)
    except SwitchError:
        raise Refusal(("message", "invalid transfer leg"), ("code", MALFORMED)) from None
    return [*named, ("holdState", held)]


def _update_media(asked: Asked, dialog: Dialog, named: Members) -> Members:
    sdp = asked.sdp()
    leg = dialog.leg
    if leg is None or not leg.answered:
        dialog.hang_up("DESTINATION_OUT_OF_ORDER")
        raise Refusal(("message", "Cannot update a call that has not been answered."), ("code", MALFORMED))

    async def update() -> Members:
        try:
            answer = await dialog.take_offer(sdp)
        except MediaError:
            dialog.hang_up("INCOMPATIBLE_DESTINATION")
            raise Refusal(*named, ("message", "CALL ERROR"), ("code", MALFORMED)) from None
        return [*named, ("sdp", answer), ("holdState", dialog.hold_state)]

    return asked.when_done(dialog, update)


def _text(params: Mapping[str, Any], name: str) -> str:
    value = params.get(name)
    return value if isinstance(value, str) else ""


_ACTIONS: Final = MappingProxyType(
    {
        "hold": _hold,
        "unhold": _unhold,
        "toggleHold": _toggle,
        "transfer": _transfer,
        "replace": _replace,
        "updateMedia": _update_media,
    }
)
CALL_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "verto.invite": _invite,
        "verto.answer": _answer,
        "verto.attach": _attach,
        "verto.bye": _bye,
        "verto.modify": _modify,
    }
)
"""Name to function."""
