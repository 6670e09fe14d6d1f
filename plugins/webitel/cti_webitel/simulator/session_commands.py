"""The commands about sockets: logging in, subscriptions, messages, tokens, desks (facts: webitel-protocol 1.1, 3.1, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from cti_framework.switchboard import SwitchError
from cti_webitel.simulator.frames import as_json
from cti_webitel.simulator.requests import DENIED, Command, Reply, Request, error_reply, text_reply
from cti_webitel.simulator.sessions import ROOT

__all__ = ["SESSION_COMMANDS"]

_WRONG_SECRET = "secret incorrect"


@attrs.frozen(kw_only=True)
class _Identity:
    """Who logs in, as the directory, or the engine's own settings, know them."""

    presence: str
    role: str
    domain: str | None = None
    state: str | None = None
    status: str | None = None
    agent: str | None = None


def _auth(request: Request) -> Reply | None:
    engine, arguments = request.engine, request.arguments
    if arguments.get("key") and arguments.get("token"):
        presence, problem = engine.tokens.owner(arguments["key"], arguments["token"])
        if presence is None:
            return error_reply(problem)
        try:
            # With a token the engine does not ask the directory for the state (facts: webitel-protocol 7, 22).
            identity = attrs.evolve(_identity(request, presence), state="", status="", agent="")
        except SwitchError:
            return error_reply("Invalid Token or Key")
    else:
        try:
            identity = _identity(request, request.text("account"))
        except SwitchError as error:
            return _refused(f"{error.text}\n")
        if request.text("secret") != _secret(request, identity.presence):
            return _refused(_WRONG_SECRET)
    if request.account is not None:
        return None
    online = engine.admit(request.session, identity.presence, identity.role)
    if isinstance(online, str):
        request.answer(error_reply(online))
        engine.terminate(request.session)
        return None
    answer = {
        "login": identity.presence,
        "role": identity.role,
        "domain": identity.domain,
        "state": identity.state,
        "status": identity.status,
        "cc-agent": identity.agent,
        "session": request.session.session_id,
        "ws-count": len(online.sessions),
        "cc-logged": online.cc_logged,
        "acl": dict(online.acl),
    }
    return Reply("+OK", {key: value for key, value in answer.items() if value is not None})


def _identity(request: Request, presence: str) -> _Identity:
    if presence == ROOT:
        return _Identity(presence=ROOT, role=ROOT)
    account = request.engine.switchboard.account(presence)
    return _Identity(
        presence=account.presence,
        role=account.role,
        domain=account.domain,
        state=account.state,
        status=account.status,
        agent="true",
    )


def _secret(request: Request, presence: str) -> str:
    engine = request.engine
    return engine.options.root_password if presence == ROOT else engine.switchboard.account(presence).password


def _refused(message: str) -> Reply:
    return Reply("+ERR", {"login": {"status": 401, "message": message}})


def _log(logged: bool) -> Command:
    def command(request: Request) -> Reply | None:
        if request.account is None:
            return None
        request.account.logged = logged
        return Reply("+OK", f"+OK: logged: {'true' if logged else 'false'}")

    return command


def _ping(_: Request) -> Reply:
    return Reply("+OK", "pong")


def _whoami(request: Request) -> Reply:
    online = request.account
    if online is None:
        return text_reply("-ERR: user not auth.")
    known = {} if online.is_root else _state_of(request, online.presence)
    answer = {
        "id": online.presence,
        "domain": online.domain or None,
        "logged": online.logged,
        "sessionLength": len(online.sessions),
        "roleName": online.role,
        "state": known.get("state", ""),
        "status": known.get("status", ""),
        "description": online.description,
        "acl": dict(online.acl),
    }
    return Reply("+OK", as_json({key: value for key, value in answer.items() if value is not None}).decode())


def _state_of(request: Request, presence: str) -> dict[str, str]:
    account = request.engine.switchboard.account(presence)
    return {"state": account.state, "status": account.status}


def _list_sockets(request: Request) -> Reply:
    if request.account is None or not request.account.is_root:
        return error_reply("Forbidden")
    sockets = [
        {
            "id": online.presence,
            "sockets": len(online.sessions),
            "ips": [session.address for session in online.sessions],
        }
        for online in request.engine.online.values()
    ]
    return Reply("+OK", {"body": sockets})


def _token_generate(request: Request) -> Reply:
    online = request.account
    if online is None:
        return text_reply("-ERR: Bad caller.")
    token = request.engine.tokens.give(online.presence)
    answer = {
        "key": token.key,
        "domain": online.domain,
        "username": online.presence,
        "expires": token.expires_ms,
        "token": token.token,
        "role": 0,
        "roleName": online.role,
        "acl": dict(online.acl),
    }
    return Reply("+OK", as_json(answer).decode())


def _subscribe(request: Request) -> Reply:
    event, online = request.arguments.get("event"), request.account
    if online is None:
        return text_reply("-ERR: Authentication required!")
    problem = request.engine.subscriptions.add(event, request.session)
    if problem:
        return text_reply(problem)
    if request.arguments.get("all"):
        online.wants_all.add(str(event))
    return text_reply(f"+OK: subscribe {event}")


def _unsubscribe(request: Request) -> Reply:
    event, online = request.arguments.get("event"), request.account
    if online is None:
        return text_reply("-ERR: Authentication required!")
    problem = request.engine.subscriptions.remove(event, request.session)
    online.wants_all.discard(str(event))
    return text_reply(problem or f"+OK: unsubscribe {event}")


def _sys_msg(request: Request) -> Reply:
    sender, body = request.account, request.arguments.get("body")
    if sender is None:
        return text_reply("-ERR: Bad caller.")
    if not request.arguments.get("to") or not body:
        return text_reply("-ERR: Bad request")
    to = request.text("to")
    if sender.domain:
        to = f"{to.partition('@')[0]}@{sender.domain}"
    addressee = request.engine.online.get(to)
    if addressee is None:
        return text_reply("-ERR: User not found")
    message: dict[str, Any] = {
        "to": addressee.presence,
        "from": sender.presence,
        "body": body,
        "webitel-event-name": "WEBITEL-CUSTOM",
        "Event-Name": "WEBITEL-CUSTOM-MESSAGE",
    }
    addressee.send(as_json(message))
    return text_reply("+OK: Message send.")


def _hotdesk_signin(request: Request) -> Reply | None:
    online, address = request.account, request.text("address")
    if online is None:
        return None
    if address and online.desk == address and request.session in online.desk_sessions:
        return error_reply("You connected")
    if not online.may("hotdesk", "u"):
        return DENIED
    if not address:
        return error_reply("Address is required")
    if online.desk != address:
        online.desk, online.desk_sessions = address, []
    online.desk_sessions.append(request.session)
    return Reply("+OK", as_json({"status": "OK", "info": "+OK\n"}).decode())


def _hotdesk_signout(request: Request) -> Reply | None:
    online = request.account
    if online is None:
        return None
    # The engine never hands the address on (facts: webitel-protocol 7, 24).
    return error_reply("Address is required") if online.may("hotdesk", "u") else DENIED


SESSION_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "auth": _auth,
        "login": _log(True),
        "logout": _log(False),
        "ping": _ping,
        "api whoami": _whoami,
        "list_sockets": _list_sockets,
        "token_generate": _token_generate,
        "subscribe": _subscribe,
        "unsubscribe": _unsubscribe,
        "sys_msg": _sys_msg,
        "hotdesk_signin": _hotdesk_signin,
        "hotdesk_signout": _hotdesk_signout,
    }
)
"""Name to function."""
