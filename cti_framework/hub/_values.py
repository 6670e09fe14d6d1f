"""What a hub says of its sessions, and what it grants them."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Final

import attrs

from cti_framework.errors import CtiError
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

__all__ = ["HubBudget", "HubSession", "HubSessionState"]

_AT_LEAST_ONE: Final[Any] = attrs.validators.ge(1)
_COUNT_OR_NONE: Final[Any] = attrs.validators.optional(_AT_LEAST_ONE)


class HubSessionState(Enum):
    """What a hub's session does."""

    OPENING = "opening"
    """It is on its way through the chain: settings, log in, user connection."""
    OPEN = "open"
    """It is open; what its connection does, ``model.provider_state`` says."""
    FAILED = "failed"
    """It could not be opened, or a fault ended it; ``error`` says why. It is no longer in the hub."""
    CLOSED = "closed"
    """It was closed. It is no longer in the hub."""


@attrs.frozen
class HubSession:
    """What a hub knows of a user's session at one moment.

    Attributes:
        user: Whose it is.
        state: What it does.
        holders: How many hold it.
        at: Since when, aware, UTC.
        model: The session, where it is open.
        error: What it ended with, where it failed.
    """

    user: CtiUser
    state: HubSessionState
    holders: int
    at: datetime
    model: CtiModel | None = None
    error: CtiError | None = None


@attrs.frozen(kw_only=True)
class HubBudget:
    """What a hub grants, so that no user takes what is everybody's. One that grants nothing at all is refused (``ValueError``).

    Attributes:
        sessions: How many users may have a session at a time; ``None``: as many as come.
        holders: How often one user's session may be held at a time: browser tabs, say.
        commands_in_flight: How many commands one user may have under way; ``None``: any number.
        openings: How often one user's session may be opened within ``openings_seconds``; ``None``: any number. A page that
            reloads itself must not get the user's account locked.
        openings_seconds: Within which time.
        event_log_capacity: How many events each session keeps; ``None``: as the setting ``cti.event_log_capacity`` says.
    """

    sessions: int | None = attrs.field(default=None, validator=_COUNT_OR_NONE)
    holders: int = attrs.field(default=64, validator=_AT_LEAST_ONE)
    commands_in_flight: int | None = attrs.field(default=16, validator=_COUNT_OR_NONE)
    openings: int | None = attrs.field(default=10, validator=_COUNT_OR_NONE)
    openings_seconds: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    event_log_capacity: int | None = attrs.field(default=None, validator=_COUNT_OR_NONE)
