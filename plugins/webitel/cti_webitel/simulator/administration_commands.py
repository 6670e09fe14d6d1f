"""The commands by which a Webitel is administered: refused to whoever may not, and otherwise nothing is there to administer.

What the real engine answers to whoever may is text tables of an installation (facts: webitel-protocol 3.5): here they are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cti_webitel.simulator.requests import DENIED, Command, Reply, Request

__all__ = ["ADMINISTRATION_COMMANDS"]

_DONE: Final = "+OK\n"
_EMPTY_TABLE: Final = {"response": ""}


def _administered(resource: str, permission: str, answer: Any) -> Command:
    def command(request: Request) -> Reply:
        return Reply("+OK", answer) if request.may(resource, permission) else DENIED

    return command


def _blacklist(permission: str, answer: Any, *required: str) -> Command:
    def command(request: Request) -> Reply:
        # All its errors hide in +OK (facts: webitel-protocol 2).
        if not all(request.arguments.get(name) for name in required):
            return Reply("+OK", "-ERR: bad parameters.")
        return Reply("+OK", answer if request.may("blacklist", permission) else "-ERR: Permission denied!")

    return command


def _domains(request: Request) -> Reply:
    if not request.may("domain", "r"):
        return DENIED
    names = dict.fromkeys(account.domain for account in request.engine.switchboard.accounts)
    return Reply("+OK", {"response": "".join(f"{name}\n" for name in names)})


ADMINISTRATION_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "api domain list": _domains,
        "api domain create": _administered("domain", "c", _DONE),
        "api domain remove": _administered("domain", "d", _DONE),
        "api domain": _administered("domain/item", "ro", "{}"),
        "api domain change": _administered("domain/item", "uo", _DONE),
        "sip_gateway_list": _administered("gateway", "r", _EMPTY_TABLE),
        "sip_gateway_create": _administered("gateway", "c", '{"status":"OK"}'),
        "sip_gateway_change": _administered("gateway", "u", _EMPTY_TABLE),
        "sip_gateway_remove": _administered("gateway", "d", _DONE),
        "sip_gateway_up": _administered("gateway", "u", _EMPTY_TABLE),
        "sip_gateway_down": _administered("gateway", "u", _EMPTY_TABLE),
        "sip_gateway_kill": _administered("gateway", "u", _DONE),
        "sip_profile_list": _administered("gateway/profile", "r", _DONE),
        "sip_gateway_rescan": _administered("gateway/profile", "u", _DONE),
        "license_list": _administered("license", "r", []),
        "license_item": _administered("license", "r", []),
        "license_upload": _administered("license", "c", []),
        "license_remove": _administered("license", "d", []),
        "blacklist_names": _blacklist("r", []),
        "blacklist_list": _blacklist("r", []),
        "blacklist_search": _blacklist("r", []),
        "blacklist_get_name": _blacklist("r", []),
        "blacklist_create": _blacklist("c", _DONE),
        "blacklist_remove_number": _blacklist("d", _DONE, "name", "number"),
        "blacklist_remove_name": _blacklist("d", _DONE, "name"),
    }
)
"""Name to function."""
