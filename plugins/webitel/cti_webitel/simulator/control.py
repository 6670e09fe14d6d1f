"""The control verbs: the far side and the switch, driven by whoever tests (one JSON object in, one out).

=====================================  =========================================================================================
``incoming {from, to, name, vars}``    an outside number calls an account, or a queue: ``"to": "support@demo.local"``
``deviceDial {from, to}``              an account dials on its phone
``answer``, ``hold``, ``unhold``       a leg's device is picked up, holds, takes the call back
``hangup {cause}``, ``dtmf {digits}``  it hangs up, presses keys
``uuid {to}``                          the leg gets a new identifier: ``to``, or any
``record {to}``                        the switch begins or stops recording the leg (``start``, ``stop``; without it: the other)
``renumber {caller, callee}``          the leg shows other numbers
``status {account, set}``              ``state``, ``status``, ``description``, ``agent_status``, ``agent_state`` of an account,
                                       and ``devices``: how many phones it has
``cc {action, headers}``               the call centre says something
``console {subclass, headers}``        the directory says something, ``webitel::user_destroy`` for example
``faults {script, seed, apply, heal}`` plays a script of faults from now on, or the one that a seed draws; does one to every
                                       socket now; ends them all; it answers with the script and the log
``opts {set}``                         options are replaced; it answers with all of them
``list``, ``reset``                    the live legs; the switch forgets them without a word
=====================================  =========================================================================================

A leg is named by ``uuid``, ``presence``, ``dest`` (the party at its end) or ``far`` (the other end of the leg that the value
names: by uuid, presence or number). Where several fit, the newest one is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from cti_framework.switchboard import NO_STATUS, Device, Leg, LegSnapshot, Switchboard, SwitchError
from cti_framework.switchboard.faults import FaultScript, random_switch_faults, read_switch_fault
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.options import changed, told

__all__ = ["VERBS", "control"]

Json = dict[str, Any]
_Verb = Callable[[Engine, Mapping[str, Any]], Json]
_NOBODY = "-ERR No such channel!"
_SETTABLE = {"state", "status", "description", "agent_status", "agent_state", "devices"}
_MOST_DEVICES = 10


def control(engine: Engine, request: object) -> Json:
    """Carry out a verb.

    Args:
        engine: On which simulator.
        request: The object that came in.

    Returns:
        The verb's answer, or ``{"error": …}``.
    """
    if not isinstance(request, dict):
        return {"error": 'a JSON object is expected, with the verb in "do"'}
    name = request.get("do")
    verb = VERBS.get(name) if isinstance(name, str) else None
    if verb is None:
        return {"error": f"there is no verb {name!r}, only {', '.join(sorted(VERBS))}"}
    try:
        return verb(engine, request)
    except SwitchError as error:
        return {"error": error.text}
    except ValueError as error:
        return {"error": str(error)}


def _text(request: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = request.get(key, default)
    if not isinstance(value, str) or (not value and default is None):
        raise ValueError(f'{request["do"]}: "{key}" is {value!r}, it takes a text')
    return value


def _object(request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = request.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f'{request["do"]}: "{key}" is {value!r}, it takes an object')
    return value


def _texts(request: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: str(value) for name, value in _object(request, key).items()}


def _presence(switchboard: Switchboard, name: str) -> str:
    """Complete ``100`` to ``100@demo.local`` where just one account has that number."""
    matching = [account.presence for account in switchboard.accounts if name in (account.presence, account.number)]
    return matching[0] if len(matching) == 1 else name


def _incoming(engine: Engine, request: Mapping[str, Any]) -> Json:
    variables = _texts(request, "vars")
    number, to, name = _text(request, "from"), _text(request, "to"), _text(request, "name", "")
    if engine.centre.has_queue(to):
        member = engine.centre.join(to, number, name=name, variables=variables)
        rung = [leg for leg in engine.switchboard.legs if leg.uuid in member.agent_legs]
        call_id = rung[0].snapshot.call_id if rung else None
        return {"a": member.leg_uuid, "b": rung[0].uuid if rung else None, "callUuid": call_id, "agent": member.agent}
    caller, own = engine.switchboard.incoming(number, _presence(engine.switchboard, to), name=name, variables=variables)
    answer: Json = {"a": caller.uuid, "b": own[0].uuid, "callUuid": own[0].snapshot.call_id}
    if len(own) > 1:
        answer["legs"] = [leg.uuid for leg in own]
    return answer


def _device_dial(engine: Engine, request: Mapping[str, Any]) -> Json:
    presence = _presence(engine.switchboard, _text(request, "from"))
    own = engine.switchboard.dial_from_device(presence, _text(request, "to"))
    far = own.rings_for.legs if own.rings_for is not None else []
    return {"a": own.uuid, "b": far[0].uuid if far else None, "callUuid": own.snapshot.call_uuid}


def _answer(engine: Engine, request: Mapping[str, Any]) -> Json:
    return _on_leg(engine, request, lambda leg: leg.rings_in is not None, engine.switchboard.answer)


def _hang_up(engine: Engine, request: Mapping[str, Any]) -> Json:
    cause = _text(request, "cause", "")
    return _on_leg(engine, request, lambda leg: True, lambda uuid: engine.switchboard.hang_up(uuid, cause))


def _hold(engine: Engine, request: Mapping[str, Any]) -> Json:
    return _on_leg(engine, request, lambda leg: leg.answered and not leg.snapshot.held, engine.switchboard.hold)


def _unhold(engine: Engine, request: Mapping[str, Any]) -> Json:
    return _on_leg(engine, request, lambda leg: leg.snapshot.held, engine.switchboard.unhold)


def _dtmf(engine: Engine, request: Mapping[str, Any]) -> Json:
    digits = _text(request, "digits")
    return _on_leg(engine, request, lambda leg: leg.answered, lambda uuid: engine.switchboard.tones(uuid, digits))


def _uuid(engine: Engine, request: Mapping[str, Any]) -> Json:
    new_uuid = _text(request, "to", "") or engine.switchboard.new_id()
    answer = _on_leg(engine, request, lambda leg: True, lambda uuid: engine.switchboard.rename(uuid, new_uuid))
    return {**answer, "newUuid": new_uuid}


def _record(engine: Engine, request: Mapping[str, Any]) -> Json:
    to = _text(request, "to", "")
    if to not in ("", "start", "stop"):
        raise ValueError(f'record: "to" is {to!r}, it takes start or stop')

    def act(uuid: str) -> None:
        recorded = to == "start" if to else not engine.switchboard.leg(uuid).snapshot.recorded
        engine.switchboard.record(uuid, recorded)

    return _on_leg(engine, request, lambda leg: leg.answered, act)


def _renumber(engine: Engine, request: Mapping[str, Any]) -> Json:
    caller, callee = (_text(request, key, "") or None for key in ("caller", "callee"))
    if caller is None and callee is None:
        raise ValueError('renumber: name "caller", "callee" or both')
    return _on_leg(
        engine, request, lambda leg: True, lambda uuid: engine.switchboard.renumber(uuid, caller=caller, callee=callee)
    )


def _on_leg(engine: Engine, request: Mapping[str, Any], fits: Callable[[Leg], bool], act: Callable[[str], None]) -> Json:
    """Act on the newest leg that the selector names and the verb fits; on the newest at all, if it fits none."""
    legs = _selected(engine.switchboard, request)
    if not legs:
        raise SwitchError(_NOBODY)
    uuid = ([leg for leg in legs if fits(leg)] or list(legs))[-1].uuid
    act(uuid)
    return {"ok": True, "uuid": uuid}


def _selected(switchboard: Switchboard, request: Mapping[str, Any]) -> tuple[Leg, ...]:
    if "far" in request:
        others = [_other_end(switchboard, leg) for leg in _named(switchboard, _text(request, "far"))]
        return tuple(leg for leg in others if leg is not None)
    for key in ("uuid", "presence", "dest"):
        if key in request:
            return _named(switchboard, _text(request, key))
    raise ValueError(f'{request["do"]}: name a leg by "uuid", "presence", "dest" or "far"')


def _named(switchboard: Switchboard, name: str) -> tuple[Leg, ...]:
    legs = tuple(leg for leg in switchboard.legs if leg.uuid == name)
    legs = legs or switchboard.legs_of(name) or switchboard.legs_at(name)
    # Of an outside number's legs and an account's of the same number, the outside one is meant.
    outside = tuple(leg for leg in legs if leg.snapshot.presence is None)
    return outside or legs


def _other_end(switchboard: Switchboard, leg: Leg) -> Leg | None:
    if leg.partner is not None:
        return leg.partner
    if leg.rings_for is not None and leg.rings_for.legs:
        return leg.rings_for.legs[0]
    originator = leg.snapshot.originating_leg
    return next((other for other in switchboard.legs if other.uuid == originator), None)


def _status(engine: Engine, request: Mapping[str, Any]) -> Json:
    switchboard, wanted = engine.switchboard, _object(request, "set")
    presence = switchboard.account(_presence(switchboard, _text(request, "account"))).presence
    texts = {name: value for name, value in wanted.items() if name != "devices"}
    if not set(wanted) <= _SETTABLE or not all(isinstance(value, str) for value in texts.values()):
        raise ValueError(
            f'status: "set" takes the texts {", ".join(sorted(_SETTABLE - {"devices"}))} and devices, not {wanted!r}'
        )
    state = wanted.get("state")
    if state not in (None, "NONREG", "ONHOOK"):
        raise ValueError(f"status: the state can be set to NONREG or ONHOOK, not {state!r}: ISBUSY follows from calls and status")
    devices = _devices(switchboard.account(presence).devices, wanted.get("devices"), state)
    if "agent_status" in wanted:
        engine.centre.set_status(presence, wanted["agent_status"])
    if "agent_state" in wanted:
        engine.centre.set_state(presence, wanted["agent_state"])
    account = switchboard.account(presence)
    if set(wanted) - {"agent_status", "agent_state"}:
        account = switchboard.set_account(
            presence,
            devices=devices,
            status=wanted.get("status", NO_STATUS if state == "ONHOOK" else account.status),
            description=wanted.get("description", ""),
        )
    return {"user": account.number, "domain": account.domain, "state": account.state, "status": account.status}


def _devices(present: tuple[Device, ...], count: object, state: str | None) -> tuple[Device, ...]:
    if count is not None:
        # Web phones come and go by themselves.
        web_phones = tuple(device for device in present if device.by_hand)
        present = tuple(device for device in present if not device.by_hand)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_DEVICES:
            raise ValueError(f"status: devices is {count!r}, it takes a whole number from 1 to {_MOST_DEVICES}")
        present = (*present[:count], *(Device(number=number) for number in range(len(present) + 1, count + 1)), *web_phones)
    if state is None:
        return present
    return tuple(attrs.evolve(device, registered=state != "NONREG") for device in present)


def _centre(engine: Engine, request: Mapping[str, Any]) -> Json:
    engine.telling.centre(_text(request, "action"), _texts(request, "headers"))
    return {"ok": True}


def _console(engine: Engine, request: Mapping[str, Any]) -> Json:
    name = _text(request, "subclass").removeprefix("webitel::").upper()
    engine.telling.console(name, _texts(request, "headers"))
    return {"ok": True}


def _options(engine: Engine, request: Mapping[str, Any]) -> Json:
    engine.configure(changed(engine.options, _object(request, "set")))
    return {"ok": True, "opts": told(engine.options)}


def _faults(engine: Engine, request: Mapping[str, Any]) -> Json:
    faults = engine.faults
    unknown = set(request) - {"do", "script", "seed", "apply", "heal"}
    if unknown:
        raise ValueError(f"faults: it takes script, seed, apply and heal, not {', '.join(sorted(unknown))}")
    seed = request.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ValueError(f'faults: "seed" is {seed!r}, it takes a whole number')
    if seed is not None and "script" in request:
        raise ValueError('faults: name "script" or "seed", not both')
    script = FaultScript.parse(_text(request, "script", "")) if seed is None else random_switch_faults(seed)
    fault = read_switch_fault(_text(request, "apply")) if "apply" in request else None
    if request.get("heal"):
        faults.heal()
    if seed is not None or "script" in request:
        faults.play(script)
    if fault is not None:
        faults.apply(fault)
    return {"ok": True, "script": str(faults.script), "log": str(faults.log), "links": len(faults.links)}


def _list(engine: Engine, request: Mapping[str, Any]) -> Json:
    return {"legs": [_described(leg.snapshot) for leg in engine.switchboard.legs]}


def _described(leg: LegSnapshot) -> Json:
    return {
        "uuid": leg.uuid,
        "presence": leg.presence,
        "dest": leg.party_number,
        "peer": leg.peer_number,
        "callUuid": leg.call_uuid,
        "direction": leg.direction.value,
        "state": leg.channel_state.name,
        "callState": leg.call_state.value,
        "answerState": leg.answer_state.value,
        "held": leg.held,
        "bridgedTo": leg.bridged_to,
    }


def _reset(engine: Engine, request: Mapping[str, Any]) -> Json:
    engine.reset()
    return {"ok": True}


VERBS: Mapping[str, _Verb] = MappingProxyType(
    {
        "incoming": _incoming,
        "deviceDial": _device_dial,
        "answer": _answer,
        "hangup": _hang_up,
        "hold": _hold,
        "unhold": _unhold,
        "dtmf": _dtmf,
        "uuid": _uuid,
        "record": _record,
        "renumber": _renumber,
        "status": _status,
        "cc": _centre,
        "console": _console,
        "faults": _faults,
        "opts": _options,
        "list": _list,
        "reset": _reset,
    }
)
"""Name to function."""
