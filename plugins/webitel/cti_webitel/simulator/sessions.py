"""The engine's sockets and the accounts behind them, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from cti_framework.json_text import read_json
from cti_framework.switchboard.faults import FaultLink, SwitchFaults
from cti_webitel.simulator.frames import as_json

__all__ = ["ACL", "ROOT", "OnlineAccount", "Session"]

ROOT = "root"
"""The account above all domains: its name, its role, and where a domain is needed, its domain."""

_USER_ACL: Mapping[str, list[str]] = MappingProxyType(
    {
        "kibana": ["r"],
        "hotdesk": ["*"],
        "metadata": ["r"],
        "cc/tiers": ["r"],
        "cdr/files": ["ro"],
        "cdr": ["ro"],
        "vmail": ["ro"],
        "channels": ["*"],
        "blacklist": ["c", "u", "r"],
        "acl/roles": ["r"],
        "account": ["r", "uo"],
    }
)
_ADMIN_RESOURCES = (
    *("kibana", "hotdesk", "metadata", "callback/members", "callback", "widget", "account", "gateway/profile", "gateway"),
    *("cdr/media", "cdr/files", "cdr", "vmail", "hook", "dialer/templates", "dialer/members", "dialer", "cc/queue"),
    *("cc/members", "cc/tiers", "channels", "rotes/domain", "rotes/extension", "rotes/default", "calendar", "blacklist"),
)
_ADMIN_ACL: Mapping[str, list[str]] = MappingProxyType({**{resource: ["*"] for resource in _ADMIN_RESOURCES}, "acl/roles": ["r"]})
_ROOT_RESOURCES = (
    *("kibana", "hotdesk", "metadata", "callback/members", "callback", "widget", "license", "system/reload", "account"),
    *("domain/item", "domain", "gateway/profile", "gateway", "cdr/media", "cdr/files", "cdr", "vmail", "hook"),
    *("dialer/templates", "dialer/members", "dialer", "cc/queue", "cc/members", "cc/tiers", "channels", "rotes/domain"),
    *("rotes/extension", "rotes/public", "rotes/default", "calendar", "blacklist", "acl/resource", "acl/roles"),
)
_ROOT_ACL: Mapping[str, list[str]] = MappingProxyType({resource: ["*"] for resource in _ROOT_RESOURCES})
ACL: Mapping[str, Mapping[str, list[str]]] = MappingProxyType({"user": _USER_ACL, "admin": _ADMIN_ACL, ROOT: _ROOT_ACL})
"""What a role may do: resource to permissions (facts: webitel-protocol 3)."""


class Session:
    """One socket, as the engine sees it.

    Args:
        session_id: What the auth reply calls it.
        address: Where it comes from.
        faults: What goes wrong on sockets.
        obey: Given each frame of the client's that reaches the engine.

    Attributes:
        session_id: As given.
        address: As given.
        link: What frames pass through on their way from the one end to the other.
        account: Who authenticated on it; ``None``: nobody yet.
        closed: Whether it is gone: what is sent to it is lost.
        terminated: Whether the engine has cut it; what was sent before still goes out.
        wake: Called when there is something to write, or it is cut.
        abort: Ends TCP at once, whatever the peer reads or does not.
        is_mute: Tells whether nothing is to be said just now: it is never said then.
    """

    def __init__(
        self, session_id: str, address: str, *, faults: SwitchFaults, obey: Callable[[Session, str | bytes], None]
    ) -> None:
        self.session_id = session_id
        self.address = address
        self.link: FaultLink[bytes, str | bytes] = faults.open_link(
            to_client=self._queue, to_pbx=partial(obey, self), cut=self._cut, concerns=_call_of
        )
        self.account: OnlineAccount | None = None
        self.closed = False
        self.terminated = False
        self.wake: Callable[[], None] = lambda: None
        self.abort: Callable[[], None] = lambda: None
        self.is_mute: Callable[[], bool] = lambda: False
        self._outbox: deque[bytes] = deque()

    def send(self, frame: Mapping[str, Any] | bytes) -> None:
        """Queue a frame that tells what happened.

        Args:
            frame: It, or its JSON.
        """
        if not self.closed and not self.terminated and not self.is_mute():
            self.link.event(frame if isinstance(frame, bytes) else as_json(frame))

    def reply(self, frame: bytes) -> None:
        """Queue a frame that answers a command.

        Args:
            frame: Its JSON.
        """
        if not self.closed and not self.terminated and not self.is_mute():
            self.link.reply(frame)

    def terminate(self) -> None:
        """Cut it: TCP ends without a WebSocket close (facts: webitel-protocol 1). What is queued still goes out."""
        self.terminated = True
        self.wake()

    def drop(self) -> None:
        """Cut it as a lost network does: what is queued is lost."""
        self.link.close()
        self._cut()

    def close(self) -> None:
        """It is gone."""
        self.closed = True
        self.link.close()

    def _queue(self, frame: bytes) -> None:
        if not self.closed and not self.terminated:
            self._outbox.append(frame)
            self.wake()

    def _cut(self) -> None:
        self._outbox.clear()
        self.terminated = True
        self.abort()

    def take(self) -> bytes | None:
        """Take the next frame to write.

        Returns:
            It; ``None``: there is none.
        """
        return self._outbox.popleft() if self._outbox else None


def _call_of(frame: bytes) -> str:
    """Tell which call a frame is about, for those whose places a fault changes."""
    told = read_json(frame)
    return str(told.get("Channel-Call-UUID") or told.get("variable_cc_member_session_uuid") or "")


class OnlineAccount:
    """An account that has sockets. The next first socket gets a new one, not logged in (facts: webitel-protocol 1.2).

    Args:
        presence: Whose.
        role: What it may do.

    Attributes:
        presence: As given.
        number: The part before ``@``.
        domain: The part after it; empty for root.
        role: As given; a change of the directory replaces it.
        logged: Whether call events are forwarded: one flag for all its sockets.
        cc_logged: Whether the engine has seen it log in to the call centre since its first socket opened.
        sessions: Its sockets.
        description: The last note that was not empty; ``api whoami`` goes on showing it (facts: webitel-protocol 7, 14).
        wants_all: The events of which it is told whomever they concern: once for all its sockets (facts: webitel-protocol 4.4).
        desk: The address of the desk where it signed in.
        desk_sessions: The sockets that signed in there.
    """

    def __init__(self, presence: str, role: str) -> None:
        self.presence = presence
        self.number, _, self.domain = presence.partition("@")
        self.role = role
        self.logged = False
        self.cc_logged = False
        self.sessions: list[Session] = []
        self.description = ""
        self.wants_all: set[str] = set()
        self.desk = ""
        self.desk_sessions: list[Session] = []

    @property
    def is_root(self) -> bool:
        """Whether it stands above all domains."""
        return self.presence == ROOT

    @property
    def home(self) -> str:
        """Its domain, or what stands for one."""
        return self.domain or ROOT

    @property
    def acl(self) -> Mapping[str, list[str]]:
        """Resource to permissions."""
        return ACL.get(self.role, _USER_ACL)

    def may(self, resource: str, permission: str) -> bool:
        """Tell whether its role has a permission.

        Args:
            resource: On what.
            permission: Which.

        Returns:
            Whether.
        """
        permissions = self.acl.get(resource, [])
        return permission in permissions or "*" in permissions

    def send(self, frame: bytes) -> None:
        """Send a frame to all its sockets.

        Args:
            frame: Its JSON.
        """
        for session in tuple(self.sessions):
            session.send(frame)
