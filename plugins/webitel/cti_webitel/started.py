"""What a session at an engine can do, and the report that says so."""

from __future__ import annotations

from typing import Final

from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature
from cti_framework.clock import SessionClock
from cti_framework.reports import Started
from cti_webitel.agents import AGENT_STATES, agent_of
from cti_webitel.engine.callbacks import WebitelUser

__all__ = ["AGENT_FEATURES", "FEATURES", "PHONE_FEATURES", "started"]

FEATURES: Final = (
    CallFeature.DIAL
    | CallFeature.DROP
    | CallFeature.HOLD
    | CallFeature.UNHOLD
    | CallFeature.DTMF
    | CallFeature.BLIND_TRANSFER
    | CallFeature.CONSULT
    | CallFeature.COMPLETE_TRANSFER
    | CallFeature.CANCEL_TRANSFER
    | CallFeature.ALTERNATE
    | CallFeature.MONITOR
)
"""What it can do with calls, without the web phone."""
PHONE_FEATURES: Final = CallFeature.ANSWER | CallFeature.MUTE
"""What it can do besides with the calls of the web phone."""
AGENT_FEATURES: Final = AgentFeature.SET_STATE | AgentFeature.CALL_CENTRE_MODE | AgentFeature.CALL_RECORDS
"""What it can do with its agent, where that is one of the call centre's."""


def started(
    clock: SessionClock, account: str, own_user: WebitelUser | None, *, in_call: bool, features: CallFeature = FEATURES
) -> Started:
    """Say that commands can be sent.

    Args:
        clock: The session's.
        account: ``number@domain``.
        own_user: The own account as the engine tells it.
        in_call: Whether calls are open.
        features: What the session can do with calls.

    Returns:
        The report.
    """
    takes_queues = own_user is None or own_user.agent
    return Started(
        at=clock.now(),
        features=features,
        agent_features=AGENT_FEATURES if takes_queues else AGENT_FEATURES & ~AgentFeature.CALL_CENTRE_MODE,
        agent_states=AGENT_STATES,
        own_numbers=(account.partition("@")[0],),
        agent=None if own_user is None else agent_of(own_user, in_call=in_call),
    )
