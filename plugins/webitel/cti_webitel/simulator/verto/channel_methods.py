"""The methods about event channels (facts: verto, Event channels)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cti_webitel.simulator.verto.asked import MALFORMED, Asked, Method
from cti_webitel.simulator.verto.rpc import Members, Refusal

__all__ = ["CHANNEL_METHODS"]

_ALLOWED: Final = frozenset({"conference", "demo", "presence"})


def _channels(asked: Asked) -> list[str]:
    wanted: Any = asked.get("eventChannel")
    if isinstance(wanted, str):
        return [wanted]
    return [channel for channel in wanted if isinstance(channel, str)] if isinstance(wanted, list) else []


def _may(channel: str) -> bool:
    """A permission for a channel covers those below it."""
    return channel.partition(".")[0] in _ALLOWED


def _subscribe(asked: Asked) -> Members:
    session, wanted = asked.session, _channels(asked)
    allowed = [channel for channel in wanted if _may(channel)]
    refused = [channel for channel in wanted if not _may(channel)]
    unauthorized: Members = [("unauthorizedChannels", refused)] if refused else []
    if not allowed:
        raise Refusal(*unauthorized)
    known = [channel for channel in allowed if channel in session.channels]
    new = [channel for channel in allowed if channel not in session.channels]
    session.channels.update(dict.fromkeys(new))
    already: Members = [("alreadySubscribedChannels", known)] if known else []
    return [("subscribedChannels", new), *unauthorized, *already]


def _unsubscribe(asked: Asked) -> Members:
    session, wanted = asked.session, _channels(asked)
    if not wanted:
        session.channels.clear()
        return []
    gone = [channel for channel in wanted if channel in session.channels]
    unknown = [channel for channel in wanted if channel not in session.channels]
    for channel in gone:
        del session.channels[channel]
    missing: Members = [("notSubscribedChannels", unknown)] if unknown else []
    if not gone:
        raise Refusal(*missing)
    return [("unsubscribedChannels", gone), *missing]


def _broadcast(asked: Asked) -> Members:
    channel = asked.get("eventChannel")
    if not isinstance(channel, str):
        return [("message", "eventChannel not specified."), ("code", MALFORMED)]
    if not _may(channel):
        return [("message", "Permission Denied."), ("code", MALFORMED)]
    # A plain one reached nobody on the recorded server, the sender and other subscribers included.
    if asked.get("localBroadcast") is True:
        endpoint = asked.endpoint
        params = [(name, value) for name, value in asked.params.items() if name != "sessid"]
        for session in tuple(endpoint.sessions.values()):
            if channel in session.channels:
                sender: Members = [("sessid", asked.session.session_id), ("userid", asked.session.presence), ("eventSerno", 0)]
                endpoint.tell(session, "verto.event", [*params, *sender, ("subscribedChannel", channel)])
    return []


CHANNEL_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {"verto.subscribe": _subscribe, "verto.unsubscribe": _unsubscribe, "verto.broadcast": _broadcast}
)
"""Name to function."""
