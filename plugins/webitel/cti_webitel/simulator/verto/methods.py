"""What a client may ask: the messages, who may ask what, the log in, and what is not about calls (facts: verto)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cti_webitel.simulator.verto import rpc
from cti_webitel.simulator.verto.asked import MALFORMED, Asked, Later, Method
from cti_webitel.simulator.verto.call_methods import CALL_METHODS
from cti_webitel.simulator.verto.channel_methods import CHANNEL_METHODS
from cti_webitel.simulator.verto.clients import Client, texts_of
from cti_webitel.simulator.verto.rpc import Members, Refusal

if TYPE_CHECKING:
    from cti_webitel.simulator.verto.endpoint import VertoEndpoint

__all__ = ["obey"]

_NO_METHOD: Final[Members] = [("code", -32601), ("message", "Invalid Method, Missing Method or Permission Denied")]
_INVALID: Final[Members] = [("code", -32600), ("message", "Invalid message")]
_NOT_LOGGED_IN: Final = ("code", -32000), ("message", "Authentication Required")
_API: Final = MappingProxyType({"version": "FreeSWITCH Version 1.11.3-dev~64bit ( 64bit)\n"})


def obey(endpoint: VertoEndpoint, client: Client, data: str | bytes) -> None:
    """Carry out a message of a client's.

    Args:
        endpoint: The server.
        client: The socket.
        data: The message.
    """
    if client.terminated or client.is_closing:
        return
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if not text:
        return
    if text.startswith("#"):
        # The speed test, which nobody here makes; before the log in it ends the connection.
        if client.session is None:
            client.close()
        return
    try:
        message = rpc.read(text)
    except ValueError:
        client.reply(rpc.INVALID_REQUEST)
        return
    if isinstance(message, list):
        answers: list[str] = []
        for one in message:
            _carry_out(endpoint, client, one, answers)
        client.reply(rpc.array_text(answers))
    else:
        _carry_out(endpoint, client, message, None)


def _carry_out(endpoint: VertoEndpoint, client: Client, message: Any, batch: list[str] | None) -> None:
    """Carry out one request, and answer it: to the client, or among the others that it came with."""
    fields: dict[str, Any] = message if isinstance(message, dict) else {}
    if "result" in fields and "method" not in fields and fields.get("jsonrpc") == "2.0":
        return
    in_batch = batch is not None
    asked = Asked(endpoint, client, fields.get("id"), fields.get("method"), fields.get("params"), in_batch=in_batch)
    try:
        text = _answer(asked, fields.get("jsonrpc") == "2.0")
    except Later:
        return
    except Refusal as refusal:
        text = asked.refused(refusal)
    if batch is None:
        asked.send(text)
    else:
        batch.append(text)


def _answer(asked: Asked, is_valid: bool) -> str:
    if not is_valid:
        return rpc.error_text(asked.request_id, _INVALID, id_last=True)
    if asked.client.session is None or asked.method == "login":
        _log_in(asked)
    method = _METHODS.get(asked.method) if isinstance(asked.method, str) else None
    if method is None or (asked.method in _OF_ADMINISTRATORS and not _is_administrator(asked)):
        raise Refusal(*_NO_METHOD)
    return asked.answered(method(asked))


def _log_in(asked: Asked) -> None:
    """Any request with a login and a password logs in, and runs then (facts: verto, Login)."""
    if asked.params is None and asked.method == "login":
        raise Refusal(("code", -32001), ("message", "Missing params"))
    login, password = asked.get("login"), asked.get("passwd")
    if not isinstance(login, str) or not login:
        raise Refusal(*_NOT_LOGGED_IN)
    if not isinstance(password, str) or not password:
        if asked.method == "login":
            raise Refusal(("code", -32001), ("message", "Missing passwd"))
        raise Refusal(*_NOT_LOGGED_IN)
    endpoint = asked.endpoint
    accounts = {account.presence: account for account in endpoint.switchboard.accounts}
    account = accounts.get(login) or accounts.get(f"{login.partition('@')[0]}@{endpoint.domain}")
    if account is None:
        raise Refusal(("code", -32001), ("message", "Login Incorrect"))
    if account.password != password:
        raise Refusal(("code", -32001), ("message", "Authentication Failure"))
    wanted = asked.get("sessid")
    session_id = wanted if isinstance(wanted, str) and wanted else endpoint.switchboard.new_id()
    variables = texts_of(asked.get("userVariables"), "verto_svar_")
    if endpoint.log_in(asked.client, session_id, account.presence, variables) is None:
        endpoint.close_client(asked.client)
        raise Refusal(("code", -32001), ("message", "Session in use"))


def _is_administrator(asked: Asked) -> bool:
    session = asked.session
    return asked.endpoint.switchboard.account(session.presence).role == "admin"


def _login(asked: Asked) -> Members:
    return [("message", "logged in")]


def _ping(asked: Asked) -> Members:
    echoed: Members = [("requestParams", asked.params)] if asked.get("echoParams") is True else []
    return [("message", "PONG"), *echoed]


def _echo(asked: Asked) -> Members:
    # It has the session's name twice: once of the client, once of the server.
    return list(asked.params.items()) if isinstance(asked.params, dict) else []


def _info(asked: Asked) -> Members:
    if asked.params is None:
        raise Refusal(("message", "Params data missing"), ("code", MALFORMED))
    told: Members = []
    chat = asked.get("msg")
    if chat is not None:
        if not isinstance(chat, dict) or not chat.get("to") or not chat.get("body"):
            raise Refusal(("message", "INVALID MESSAGE to and body params required"))
        # Nothing is delivered: that needs a module which the recorded server does not have.
        told = [("message", "SENT")]
    digits = asked.get("dtmf")
    dialog_params = asked.get("dialogParams")
    call_id = dialog_params.get("callID") if isinstance(dialog_params, dict) else None
    dialog = asked.endpoint.dialogs.get(call_id) if isinstance(call_id, str) else None
    if isinstance(digits, str) and dialog is not None:
        asked.press(dialog, digits)
        told = [("message", "SENT")]
    return told


def _fsapi(asked: Asked) -> Members:
    return _api(asked, asked.get("cmd"))


def _jsapi(asked: Asked) -> Members:
    data = asked.get("data")
    if asked.get("command") != "fsapi" or not isinstance(data, dict):
        raise Refusal(("code", -32602), ("message", "Permission Denied"))
    return _api(asked, data.get("cmd"))


def _api(asked: Asked, command: object) -> Members:
    if command == "uuid_exists":
        legs = {leg.uuid for leg in asked.endpoint.switchboard.legs}
        return [("message", "true" if asked.get("arg") in legs else "false")]
    if not isinstance(command, str) or command not in _API:
        raise Refusal(("code", -32602), ("message", "Permission Denied"))
    return [("message", _API[command])]


_OF_ADMINISTRATORS: Final = frozenset({"echo", "fsapi", "jsapi"})
_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "login": _login,
        "verto.ping": _ping,
        "verto.info": _info,
        "echo": _echo,
        "fsapi": _fsapi,
        "jsapi": _jsapi,
        **CALL_METHODS,
        **CHANNEL_METHODS,
    }
)
