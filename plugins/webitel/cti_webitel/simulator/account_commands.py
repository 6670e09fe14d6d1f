"""The commands of the directory (facts: webitel-protocol 3.3, 3.5).

What the directory answers beside a state is not known: it says ``+OK`` here (facts: webitel-protocol 7.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from cti_framework.switchboard import NO_STATUS, Account, Device
from cti_webitel.simulator.frames import as_json
from cti_webitel.simulator.requests import DENIED, Command, Reply, Request, error_reply
from cti_webitel.simulator.sessions import OnlineAccount

__all__ = ["ACCOUNT_COMMANDS"]

_NO_DOMAIN: Final = error_reply("Domain is require.")
_NO_LOGIN: Final = error_reply("Domain, login is require.")
_BAD_REQUEST: Final = error_reply("Bad request.")
_RESETS_TOKENS: Final = ("password=", "role=", "account_role=")


def _list(request: Request) -> Reply:
    online, domain = request.account, request.domain()
    if online is None or not (online.may("account", "r") or online.may("account", "ro")):
        return DENIED
    if not domain:
        return _NO_DOMAIN
    accounts = _accounts_of(request, domain)
    if not online.may("account", "r"):
        accounts = [account for account in accounts if account.presence == online.presence]
    rows = {account.number: _row(account, request.engine.online.get(account.presence)) for account in accounts}
    return Reply("+OK", {"response": as_json(rows).decode()})


def _accounts_of(request: Request, domain: str) -> list[Account]:
    return [account for account in request.engine.switchboard.accounts if account.domain == domain]


def _row(account: Account, online: OnlineAccount | None) -> dict[str, Any]:
    # The engine writes the two keys the other way round for an account that has no socket (capture 01).
    flags = {"cc_logged": False, "online": False}
    if online is not None:
        flags = {"online": online.logged, "cc_logged": online.cc_logged}
    return {
        "name": account.name,
        "role": account.role,
        "agent": "true",
        "agent.status": account.agent_status,
        "state": account.state,
        "status": account.status,
        "descript": account.description,
        "id": account.number,
        **flags,
        "domain": account.domain,
    }


def _list_users(request: Request) -> Reply:
    domain = request.domain()
    if not request.may("account", "r"):
        return DENIED
    if not domain:
        return _NO_DOMAIN
    users = {
        account.number: {
            "id": account.number,
            "domain": account.domain,
            "scheme": "account",
            "state": account.state,
            "status": account.status,
        }
        for account in _accounts_of(request, domain)
    }
    return Reply("+OK", users)


def _item(request: Request) -> Reply:
    presence = _presence(request, request.text("user"))
    if not request.may("account", "r"):
        return DENIED
    if presence is None:
        return _NO_LOGIN
    return Reply("+OK", as_json(_state(request.engine.switchboard.account(presence))).decode())


def _create(request: Request) -> Reply | None:
    login, _, domain = request.text("param").partition("@")
    number, _, password = login.partition(":")
    domain = (request.account.domain if request.account is not None else "") or domain
    if not request.may("account", "c"):
        return DENIED
    if not number or not domain or not request.arguments.get("role"):
        return _NO_LOGIN
    switchboard = request.engine.switchboard
    if any(account.presence == f"{number}@{domain}" for account in switchboard.accounts):
        return error_reply("Number exists")
    role = request.text("role").partition(",")[0]
    # Nobody has registered a phone yet.
    devices = (Device(registered=False),)
    account = switchboard.add_account(number, domain, password=password, role=role, devices=devices)
    request.answer(Reply("+OK", "+OK\n"))
    request.engine.telling.console(
        "USER_CREATE",
        {"Event-Domain": domain, "User-Domain": domain, "User-ID": number, "User-State": account.state},
    )
    return None


def _remove(request: Request) -> Reply | None:
    user = request.text("user")
    if not user:
        return None
    presence = _presence(request, user)
    if not request.may("account", "d"):
        return DENIED
    if presence is None:
        return _NO_LOGIN
    if request.account is not None and presence == request.account.presence:
        return error_reply("Easy! it's YOU !!!")
    account = request.engine.switchboard.remove_account(presence)
    request.answer(Reply("+OK", "+OK\n"))
    request.engine.telling.console(
        "USER_DESTROY", {"Event-Domain": account.domain, "User-Domain": account.domain, "User-ID": account.number}
    )
    return None


def _change(request: Request) -> Reply | None:
    online, user = request.account, request.text("user")
    if not user or online is None:
        # The engine fails at once (facts: webitel-protocol 3.3).
        return DENIED if user else None
    if not online.may("account", "uo" if user == online.presence else "u"):
        return DENIED
    presence = _presence(request, user)
    if presence is None:
        return _BAD_REQUEST
    param = request.arguments.get("param")
    if isinstance(param, dict):
        parameters, variables = param.get("parameters"), param.get("variables")
        if not isinstance(parameters, list) and not isinstance(variables, list):
            return _BAD_REQUEST
    else:
        parameters, variables = [f"{param}={request.text('value')}"], None
    settings = [str(setting) for setting in [*(parameters or []), *(variables or [])]]
    if any(setting.startswith(_RESETS_TOKENS) for setting in settings):
        if presence == online.presence:
            return error_reply("Woow! Slow down!")
        request.engine.tokens.forget(presence)
    _apply(request, presence, settings)
    return None


def _apply(request: Request, presence: str, settings: list[str]) -> None:
    switchboard = request.engine.switchboard
    status: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, _, value in (setting.partition("=") for setting in settings):
        if name == "status":
            status = _status(value)
        elif name in ("password", "name"):
            others[name] = value
        elif name in ("role", "account_role"):
            others["role"] = value.strip("'")
    account = switchboard.amend_account(presence, **others)
    online = request.engine.online.get(presence)
    if online is not None:
        online.role = account.role
    # The directory answers before the change is announced (capture 01).
    request.answer(Reply("+OK", _state(attrs.evolve(account, **status))))
    if status:
        switchboard.set_status(presence, **status)


def _status(value: str) -> dict[str, Any]:
    """Read ``ONBREAK('lunch')``: nothing in the note is escaped."""
    status, _, note = value.replace("\n", " ").partition("(")
    note = note.removesuffix(")").removeprefix("'").removesuffix("'")
    return {"status": NO_STATUS if status in ("ONHOOK", "") else status, "description": note}


def _state(account: Account) -> dict[str, str]:
    return {"user": account.number, "domain": account.domain, "state": account.state, "status": account.status}


def _presence(request: Request, user: str) -> str | None:
    """Complete a user's name: one's own domain, whatever was named; ``None``: it is not complete."""
    number, _, domain = user.partition("@")
    domain = (request.account.domain if request.account is not None else "") or domain
    return f"{number}@{domain}" if number and domain else None


ACCOUNT_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "api account list": _list,
        "api list_users": _list_users,
        "api account": _item,
        "api account create": _create,
        "api account remove": _remove,
        "api account change": _change,
    }
)
"""Name to function."""
