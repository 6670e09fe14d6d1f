"""All commands of the engine, by name (facts: webitel-protocol 3). Who adds one adds it to a room's table, or a room here.

A function returns the reply, or nothing where the engine gives none or gives it later. Errors of the switch become
replies in one place, :meth:`Engine.carry_out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cti_webitel.simulator.account_commands import ACCOUNT_COMMANDS
from cti_webitel.simulator.administration_commands import ADMINISTRATION_COMMANDS
from cti_webitel.simulator.call_commands import CALL_COMMANDS
from cti_webitel.simulator.centre_commands import CENTRE_COMMANDS
from cti_webitel.simulator.originate_commands import ORIGINATE_COMMANDS
from cti_webitel.simulator.recording_commands import RECORDING_COMMANDS
from cti_webitel.simulator.requests import Command, Reply, Request, text_reply
from cti_webitel.simulator.session_commands import SESSION_COMMANDS

__all__ = ["COMMANDS", "SILENT_COMMANDS", "Command", "Reply", "Request", "text_reply"]

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        **SESSION_COMMANDS,
        **ACCOUNT_COMMANDS,
        **ORIGINATE_COMMANDS,
        **CALL_COMMANDS,
        **CENTRE_COMMANDS,
        **RECORDING_COMMANDS,
        **ADMINISTRATION_COMMANDS,
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
