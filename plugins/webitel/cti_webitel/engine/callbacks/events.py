"""What is told because it was subscribed to, or sent by somebody.

The library has no callback of its own for these: it hands the event to whatever handler its user gave it (``onServerEvent``), so
nothing of them is in a capture of its callbacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cti_webitel.engine.callbacks.callback import Callback

__all__ = ["OnCustomMessage", "OnDomainChange", "OnServerEvent"]


@attrs.frozen
class OnServerEvent(Callback):
    """Something that was subscribed to: at a queue, at any leg of the domain, at a dialler (facts: webitel-protocol 4.4).

    Attributes:
        event: Its name, as it was subscribed to: ``CC::MEMBERS-COUNT``, ``SE:CHANNEL_CREATE``, ``DC::CHANGE_STATE`` and so on.
        headers: All that the engine told, by the keys of the frame: of the queues ``CC-Queue``, ``CC-Agent``, ``CC-Count``…
    """

    name = "onServerEvent"
    ours = True

    event: str
    headers: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)

    def payload(self) -> Any:
        """Tell what the library gives the handler: the frame."""
        return dict(self.headers)


@attrs.frozen
class OnCustomMessage(Callback):
    """Another program of the domain sent this account a message (``sys_msg``; facts: webitel-protocol 3.1, 4.1).

    Attributes:
        sender: Whose program, ``number@domain``.
        to: This account.
        body: What it says: any JSON value.
    """

    name = "onCustomMessage"
    ours = True

    sender: str
    to: str
    body: Any = attrs.field(default=None, repr=False, hash=False)

    def payload(self) -> Any:
        """Tell sender, addressee and body."""
        return {"to": self.to, "from": self.sender, "body": self.body}


@attrs.frozen
class OnDomainChange(Callback):
    """A domain was created or destroyed; only the account ``root`` is told of others than its own.

    Attributes:
        domain: Which.
        exists: It was created; if not, it was destroyed.
    """

    name = "onDomainChange"
    ours = True

    domain: str
    exists: bool
