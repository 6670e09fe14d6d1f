"""Values that describe an operator: the agent's state and what may be done with it."""

from __future__ import annotations

from enum import IntFlag
from typing import Any

import attrs

__all__ = ["Agent", "AgentFeature", "AgentState"]


class AgentFeature(IntFlag):
    """What a session can do with its agent. Values as in Creatio; from 0x8 on ours."""

    NONE = 0
    WRAP_UP = 0x1
    CALL_CENTRE_MODE = 0x2
    CALL_RECORDS = 0x4
    SET_STATE = 0x8


@attrs.frozen
class AgentState:
    """A state that an agent can be in, as the PBX names it.

    Attributes:
        code: The PBX's own code, for example ``"ONHOOK"``.
        name: What to show an operator.
        ready: Whether an agent in this state can be given a call.
        selectable: Whether an operator can choose it; the others are only shown.
        reasons: Reason codes that can be given with it.
        logged_out: Whether it means that the agent is not logged in at all.
    """

    code: str
    name: str = ""
    ready: bool = False
    selectable: bool = True
    reasons: tuple[str, ...] = ()
    logged_out: bool = False


@attrs.frozen
class Agent:
    """The operator's state as the PBX last told it.

    Attributes:
        state: The PBX's code of the state; empty while it is not known.
        reason: The reason code, if there is one.
        note: Free text beside the reason.
        pending: A state that takes effect when the present call ends.
        call_centre_mode: Whether the agent takes calls of queues; ``None`` where the PBX has no such mode.
        raw: What the PBX said, unchanged.
    """

    state: str = ""
    reason: str | None = None
    note: str | None = None
    pending: str | None = None
    call_centre_mode: bool | None = None
    raw: Any = attrs.field(default=None, eq=False, repr=False)
