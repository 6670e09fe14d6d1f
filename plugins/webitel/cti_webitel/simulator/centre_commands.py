"""The commands of the call centre: their errors hide in ``+OK`` (facts: webitel-protocol 2, 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cti_framework.switchboard import SwitchError
from cti_webitel.simulator.call_centre import LOGGED_OUT
from cti_webitel.simulator.requests import Command, Reply, Request

__all__ = ["CENTRE_COMMANDS"]


def _login(request: Request) -> Reply | None:
    online = request.account
    if online is None:
        return None
    if online.cc_logged:
        return Reply("+OK", "+OK")
    status = request.text("status") or "Available"
    return request.at_switch(lambda: _set_status(request, online.presence, status))


def _logout(request: Request) -> Reply | None:
    online = request.account
    if online is None:
        return None
    return request.at_switch(lambda: _set_status(request, online.presence, LOGGED_OUT))


def _set_status(request: Request, agent: str, status: str) -> Reply:
    try:
        request.engine.centre.set_status(agent, status)
    except SwitchError as error:
        return Reply("+OK", f"-ERR: {error.text}\n")
    return Reply("+OK", "+OK\n")


def _tiers(request: Request) -> Reply | None:
    online = request.account
    if online is None:
        return None
    if not online.may("cc/tiers", "r"):
        return Reply("+OK", "-ERR: Permission denied!")
    return Reply("+OK", request.engine.tiers.get(online.presence, []))


CENTRE_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "cc login": _login,
        "cc logout": _logout,
        "cc tier from user": _tiers,
    }
)
"""Name to function."""
