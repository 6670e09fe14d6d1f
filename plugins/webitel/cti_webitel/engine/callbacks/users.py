"""What is told of the accounts of the domain."""

from __future__ import annotations

from typing import Any

import attrs

from cti_webitel.engine.callbacks.callback import Callback

__all__ = ["OnAddUser", "OnRemoveUser", "OnUserStatusChange", "UserCallback", "WebitelUser"]


@attrs.frozen
class WebitelUser:
    """One account of the domain (facts: webitel-protocol 3.3, 4.5).

    Attributes:
        id: The number, without the domain.
        domain: The domain.
        state: ``ONHOOK`` (registered and free), ``ISBUSY`` (in a call, or away) or ``NONREG``; empty if not told.
        away: ``NONE``, ``ONBREAK``, ``DND``, ``CALLFORWARD`` or ``VOICEMAIL``; empty if not told.
        tag: The note beside ``away``.
        online: Somebody is logged in with it at the engine.
        name: What to show for it.
        agent: It can take calls of queues; ``None`` if not told.
        is_own: It is the account of this connection.
        agent_status: What it is for queues: ``Logged Out``, ``Available``, ``Available (On Demand)`` or ``On Break``; empty if
            not told (facts: webitel-protocol 4.3, 5.4).
        agent_state: What the queues do with it: ``Waiting``, ``Receiving``, ``In a queue call`` or ``Idle``; empty if not told.
        cc_logged: It takes calls of queues now; ``None`` if not told.
        role: Its role at the PBX; empty if not told.
        only_created: Nothing is known of it but that it was created, which tells no name: the library says "undefined" then.
    """

    id: str
    domain: str
    state: str = ""
    away: str = ""
    tag: str = ""
    online: bool = False
    name: str = ""
    agent: bool | None = None
    is_own: bool = False
    agent_status: str = ""
    agent_state: str = ""
    cc_logged: bool | None = None
    role: str = ""
    only_created: bool = False

    def payload(self) -> dict[str, Any]:
        """Tell the account as the library does.

        Returns:
            The library's keys in the library's order.
        """
        if self.only_created:
            return {"id": self.id, "domain": self.domain, "tag": "undefined", "online": self.online, "name": "undefined"}
        told = {
            "id": self.id,
            "domain": self.domain,
            "state": self.state or None,
            "away": self.away or None,
            "tag": self.tag,
            "online": self.online,
            "name": self.name,
            "agent": self.agent,
        }
        return {key: value for key, value in told.items() if value is not None}


@attrs.frozen
class UserCallback(Callback):
    """Something about one account of the domain.

    Attributes:
        user: The account as it is now.
    """

    user: WebitelUser

    def payload(self) -> Any:
        """Tell the account."""
        return self.user.payload()


@attrs.frozen
class OnAddUser(UserCallback):
    """An account became known: listed at the start, or created."""

    name = "onAddUser"


@attrs.frozen
class OnRemoveUser(UserCallback):
    """An account is gone: destroyed, or the connection is closed and nothing is known of it any more."""

    name = "onRemoveUser"


@attrs.frozen
class OnUserStatusChange(UserCallback):
    """The engine told an account's state, often without any change."""

    name = "onUserStatusChange"
