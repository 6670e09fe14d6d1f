"""One user's session in a hub, from the moment it is asked for until nothing is left of it."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from cti_framework.errors import CtiError
from cti_framework.hub._values import HubSession, HubSessionState
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

if TYPE_CHECKING:
    from cti_framework.media import MediaPeers

__all__ = ["LIVING", "Entry"]


@attrs.define(eq=False)
class Entry:
    """One user's session: who holds it, and how far it is."""

    user: CtiUser
    at: datetime
    media: MediaPeers | None = None
    holders: int = 0
    model: CtiModel | None = None
    error: CtiError | None = None
    state: HubSessionState = HubSessionState.OPENING
    closing: anyio.Event = attrs.field(factory=anyio.Event)
    decided: anyio.Event = attrs.field(factory=anyio.Event)
    gone: anyio.Event = attrs.field(factory=anyio.Event)
    opening: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    def end(self) -> None:
        """Have it closed."""
        self.closing.set()
        self.opening.cancel()

    def seen(self) -> HubSession:
        """Tell what it is now."""
        return HubSession(self.user, self.state, self.holders, self.at, self.model, self.error)


LIVING: Final[ContextVar[Entry | None]] = ContextVar("cti_framework.hub.LIVING", default=None)
"""The session that the code which runs is part of: its chain, its provider, its hooks."""
