"""The engine's commands: one function each (facts: webitel-protocol 3).

A function returns the reply, or nothing where the engine gives none or gives it later. Errors of the switch become
replies in one place, :meth:`Engine.receive`. Who adds a command adds a function and a line in ``COMMANDS``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import orjson

from cti_framework.switchboard import NO_STATUS, Account, Leg, SwitchError
from cti_webitel.simulator.channels import channel_dump, variables_of
from cti_webitel.simulator.sessions import OnlineAccount, Session

if TYPE_CHECKING:
    from cti_webitel.simulator.engine import Engine

__all__ = ["COMMANDS", "SILENT_COMMANDS", "Command", "Reply", "Request", "text_reply"]

_STATUS = re.compile(r"(?P<status>[A-Z_]+)(?:\('(?P<note>.*)'\))?", re.DOTALL)
_DROPPED_VARIABLES = (
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


@attrs.frozen
class Reply:
    """What the engine answers.

    Attributes:
        complete: ``exec-complete``.
        response: ``exec-response``; ``None``: there is none.
    """

    complete: str
    response: Any = None


@attrs.frozen(kw_only=True)
class Request:
    """A command that came in.

    Attributes:
        engine: Where.
        session: On which socket.
        exec_uuid: Its identifier: any JSON value, or none.
        arguments: ``exec-args``; empty where they are no object.
    """

    engine: Engine
    session: Session
    exec_uuid: object
    arguments: Mapping[str, Any]

    @property
    def account(self) -> OnlineAccount | None:
        """Who authenticated on the socket."""
        return self.session.account

    def text(self, name: str) -> str:
        """Read an argument as the engine puts it into a command of the switch.

        Args:
            name: Which.

        Returns:
            The text; empty if it is missing.
        """
        value = self.arguments.get(name)
        if value is None:
            return ""
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)

    def answer(self, reply: Reply) -> None:
        """Send the reply.

        Args:
            reply: It.
        """
        self.engine.answer(self.session, self.exec_uuid, reply)


Command = Callable[[Request], Reply | None]


def text_reply(text: str) -> Reply:
    """Make the reply that a text of the switch becomes (facts: webitel-protocol 2).

    Args:
        text: What the switch said.

    Returns:
        The reply.
    """
    return Reply("-ERR" if text.startswith(("-ERR", "-USAGE")) else "+OK", text)


_DENIED = Reply("-ERR", "Permission denied!")
_BAD_RESPONSE = Reply("-ERR: bad response")


# --- session


def _auth(request: Request) -> Reply | None:
    engine, arguments = request.engine, request.arguments
    by_token = bool(arguments.get("key") and arguments.get("token"))
    if by_token:
        presence, problem = engine.tokens.owner(arguments["key"], arguments["token"])
        if presence is None:
            return Reply("-ERR", problem)
    else:
        presence = request.text("account")
    try:
        account = engine.switchboard.account(presence)
    except SwitchError as error:
        return Reply("+ERR", {"login": {"status": 401, "message": f"{error.text}\n"}})
    if not by_token and request.text("secret") != account.password:
        return Reply("+ERR", {"login": {"status": 401, "message": "secret incorrect"}})
    if request.account is not None:
        return None
    online = engine.admit(request.session, account)
    if online is None:
        request.answer(Reply("-ERR", f"Maximum opened socket {engine.options.sockets_per_account}"))
        engine.terminate(request.session)
        return None
    # With a token the engine has not asked the directory (facts: webitel-protocol 7, 22).
    state, status, agent = ("", "", "") if by_token else (account.state, account.status, "true")
    return Reply(
        "+OK",
        {
            "login": account.presence,
            "role": account.role,
            "domain": account.domain,
            "state": state,
            "status": status,
            "cc-agent": agent,
            "session": request.session.session_id,
            "ws-count": len(online.sessions),
            "cc-logged": account.agent_status != "Logged Out",
            "acl": dict(online.acl),
        },
    )


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
        return Reply("-ERR", "-ERR: user not auth.")
    account = request.engine.switchboard.account(online.presence)
    answer = {
        "id": account.presence,
        "domain": account.domain,
        "logged": online.logged,
        "sessionLength": len(online.sessions),
        "roleName": account.role,
        "state": account.state,
        "status": account.status,
        "description": online.description,
        "acl": dict(online.acl),
    }
    return Reply("+OK", orjson.dumps(answer).decode())


def _token_generate(request: Request) -> Reply | None:
    online = request.account
    if online is None:
        return None
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
    return Reply("+OK", orjson.dumps(answer).decode())


# --- accounts


def _account_list(request: Request) -> Reply:
    online = request.account
    if online is None or not online.may("account", "r"):
        return _DENIED
    rows = {
        account.number: _account_row(account, request.engine.online.get(account.presence))
        for account in request.engine.switchboard.accounts
        if account.domain == online.domain
    }
    return Reply("+OK", {"response": orjson.dumps(rows).decode()})


def _account_row(account: Account, online: OnlineAccount | None) -> dict[str, Any]:
    cc_logged = {"cc_logged": account.agent_status != "Logged Out"}
    # The engine writes the two keys the other way round for an account that has no socket (capture 01).
    flags = {"online": online.logged, **cc_logged} if online is not None else {**cc_logged, "online": False}
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


def _account_change(request: Request) -> Reply | None:
    online, presence = request.account, request.text("user")
    if not presence:
        return None
    if online is None or not online.may("account", "uo" if presence == online.presence else "u"):
        return _DENIED
    value = _STATUS.fullmatch(request.text("value").replace("\n", " "))
    if request.arguments.get("param") != "status" or value is None:
        # Changing passwords, roles and the rest is the PBX's administration, which is not simulated.
        return _DENIED
    account = request.engine.switchboard.account(presence)
    status = NO_STATUS if value["status"] == "ONHOOK" else value["status"]
    after = attrs.evolve(account, status=status)
    # The directory answers before the change is announced (capture 01).
    state = {"user": account.number, "domain": account.domain, "state": after.state, "status": status}
    request.answer(Reply("+OK", state))
    request.engine.switchboard.set_status(presence, status, value["note"] or "")
    return None


# --- calls


def _call(request: Request) -> Reply | None:
    online, extension = request.account, request.arguments.get("extension")
    if online is None:
        return None
    if not isinstance(extension, str) or not extension:
        return _BAD_RESPONSE

    def on_result(result: Leg | SwitchError) -> None:
        request.answer(text_reply(f"+OK {result.uuid}\n" if isinstance(result, Leg) else f"{result.text}\n"))

    request.engine.switchboard.originate(
        request.text("user"), extension, variables=_originate_variables(request, extension), on_result=on_result
    )
    return None


def _originate_variables(request: Request, extension: str) -> dict[str, str]:
    variables = {"w_jsclient_originate_number": extension}
    settings = request.arguments.get("params")
    for setting in [*(settings if isinstance(settings, list) else []), request.arguments.get("auto_answer_param")]:
        name, equals, value = setting.partition("=") if isinstance(setting, str) else ("", "", "")
        if equals:
            variables[name] = value
    given = request.arguments.get("variables")
    if isinstance(given, dict):
        kept = {
            name: re.sub(r"[\"'\r\n\t\\]", "", str(value))
            for name, value in given.items()
            if not name.startswith(_DROPPED_VARIABLES)
        }
        variables.update(kept)
        variables["webitel_data"] = orjson.dumps(kept).decode()
    return variables


def _hangup(request: Request) -> Reply:
    leg_uuid, name = request.text("channel-uuid"), request.text("variable")
    if name:
        request.engine.switchboard.set_variable(leg_uuid, name, request.text("value"))
    request.engine.switchboard.hang_up(leg_uuid, request.text("cause"))
    return text_reply("+OK\n")


def _hold(change: Callable[[Request, Leg], None]) -> Command:
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


def _dtmf(request: Request) -> Reply:
    leg_uuid, digits = request.text("channel-uuid"), request.text("digits")
    if leg_uuid and not digits:
        return text_reply("-USAGE: <uuid> <dtmf_data>\n")
    request.engine.switchboard.tones(leg_uuid, digits)
    return text_reply(f"+OK {leg_uuid} received DTMF {digits}.\n")


def _getvar(request: Request) -> Reply:
    leg = request.engine.switchboard.leg(request.text("channel-uuid"))
    return text_reply(variables_of(leg.snapshot).get(request.text("variable"), "_undef_"))


def _setvar(request: Request) -> Reply:
    switchboard = request.engine.switchboard
    switchboard.set_variable(request.text("channel-uuid"), request.text("variable"), request.text("value"))
    return text_reply("+OK\n")


def _channel_dump(request: Request) -> Reply:
    engine = request.engine
    leg = engine.switchboard.leg(request.text("uuid"))
    dump = channel_dump(leg.snapshot, engine.channels.times_of(leg.uuid), engine.switchboard.now)
    return text_reply(orjson.dumps(dump).decode())


def _show_channel(request: Request) -> Reply:
    # Before authentication the engine shows the channels of everybody (facts: webitel-protocol 7, 18).
    domain = request.account.domain if request.account is not None else None
    rows = request.engine.channels.rows(domain)
    return Reply("+OK", {"row_count": len(rows), "rows": rows})


def _transfer(request: Request) -> Reply:
    leg_uuid, destination = request.text("channel-uuid"), request.text("destination")
    if not leg_uuid or not destination:
        return text_reply("-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n")
    request.engine.switchboard.transfer(leg_uuid, destination)
    return text_reply("+OK\n")


def _bridge(request: Request) -> Reply:
    first, second = request.text("channel_uuid_A"), request.text("channel_uuid_B")
    request.engine.switchboard.bridge(first, second)
    return text_reply(f"+OK {second}\n")


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "auth": _auth,
        "login": _log(True),
        "logout": _log(False),
        "ping": _ping,
        "api whoami": _whoami,
        "token_generate": _token_generate,
        "api account list": _account_list,
        "api account change": _account_change,
        "call": _call,
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
    }
)
"""Name to function; every other name is answered ``+ERR "<name> - not found."``."""

SILENT_COMMANDS = frozenset(
    {
        "broadcast",
        "constructor",
        "toString",
        "toLocaleString",
        "valueOf",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "__proto__",
    }
)
"""Names on which the engine's handler raises, so that nobody is answered (capture 20)."""
