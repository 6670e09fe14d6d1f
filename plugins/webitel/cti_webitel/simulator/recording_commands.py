"""The command about recordings (facts: webitel-protocol 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cti_webitel.simulator.requests import DENIED, Command, Reply, Request

__all__ = ["RECORDING_COMMANDS"]


def _record_link(request: Request) -> Reply:
    online, uuid = request.account, request.text("uuid")
    if online is None or not (online.may("cdr", "r") or online.may("cdr", "ro")):
        return DENIED
    if not uuid:
        return Reply("-ERR", "-ERR: UUID is required.")
    link = request.engine.recordings.link(uuid, request.engine.tokens.give(online.presence))
    return Reply("+OK", "+OK: Not found." if link is None else link)


RECORDING_COMMANDS: Mapping[str, Command] = MappingProxyType({"cdr_get_record_link": _record_link})
"""Name to function."""
