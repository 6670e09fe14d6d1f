"""The operator's states at Webitel: what he is, what he can be, what he will be (facts: webitel-protocol 3.3, 3.4)."""

from __future__ import annotations

from typing import Final

from cti_framework.agents import Agent, AgentState
from cti_webitel.engine.callbacks import WebitelUser

__all__ = ["AGENT_STATES", "AWAY_CAUSES", "agent_of"]

AWAY_CAUSES: Final = ("ONBREAK", "DND", "CALLFORWARD", "VOICEMAIL")
"""Why an operator can be away."""

AGENT_STATES: Final = (
    AgentState("ONHOOK", "Ready", ready=True),
    AgentState("DND", "Do not disturb"),
    AgentState("ONBREAK", "Break"),
    AgentState("CALLFORWARD", "Forwarding"),
    AgentState("VOICEMAIL", "Voice mail"),
    AgentState("ISBUSY", "In a call", selectable=False),
    AgentState("NONREG", "No phone registered", selectable=False, logged_out=True),
)
"""What an operator of Webitel can be. Those that say why he is away take a reason: a note in his own words."""

_LOGGED_OUT: Final = "Logged Out"


def agent_of(user: WebitelUser, *, in_call: bool = False) -> Agent:
    """Tell the operator's state.

    Away causes and calls are two things at Webitel: an operator who is away can be in a call, and both is ISBUSY. While he
    is in a call, the cause is what he will be after it.

    Args:
        user: The own account.
        in_call: Whether it has a call.

    Returns:
        The agent.
    """
    away = user.away if user.away not in ("", "NONE") else None
    busy = in_call and user.state == "ISBUSY"
    return Agent(
        state=user.state if busy or away is None else away,
        note=user.tag or None,
        pending=away if busy else None,
        call_centre_mode=user.agent_status != _LOGGED_OUT if user.agent_status else None,
    )
