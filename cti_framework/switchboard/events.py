"""What a switch says: one frozen value an event, one error.

The names are FreeSWITCH's, because its facts are what the Switchboard stands on (facts: webitel-protocol 4.2, esl-control).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import attrs

from cti_framework.errors import CtiError
from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.legs import ChannelCallState, LegSnapshot

__all__ = ["SwitchError", "SwitchEvent", "SwitchEventName"]


class SwitchError(CtiError):
    """The switch refuses; the message is its own text, for example ``-ERR No such channel!``.

    Args:
        text: What the switch answers, with its leading ``-ERR``.

    Attributes:
        text: As given.
        cause: The text without ``-ERR``: a hangup cause such as ``USER_BUSY``, or words.
    """

    step = "switchboard"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.cause = text.removeprefix("-ERR").strip()


class SwitchEventName(StrEnum):
    """The kinds of events."""

    CHANNEL_STATE = "CHANNEL_STATE"
    CHANNEL_CREATE = "CHANNEL_CREATE"
    CHANNEL_CALLSTATE = "CHANNEL_CALLSTATE"
    CHANNEL_ANSWER = "CHANNEL_ANSWER"
    CHANNEL_BRIDGE = "CHANNEL_BRIDGE"
    CHANNEL_UNBRIDGE = "CHANNEL_UNBRIDGE"
    CHANNEL_HOLD = "CHANNEL_HOLD"
    CHANNEL_UNHOLD = "CHANNEL_UNHOLD"
    CHANNEL_HANGUP = "CHANNEL_HANGUP"
    CHANNEL_HANGUP_COMPLETE = "CHANNEL_HANGUP_COMPLETE"
    CHANNEL_DESTROY = "CHANNEL_DESTROY"
    CHANNEL_UUID = "CHANNEL_UUID"
    DTMF = "DTMF"
    RECORD_START = "RECORD_START"
    RECORD_STOP = "RECORD_STOP"
    ACCOUNT_STATUS = "ACCOUNT_STATUS"
    """An account became busy or free, or its status, registration or agent status was set."""


@attrs.frozen(kw_only=True)
class SwitchEvent:
    """Something that happened on the switch.

    Attributes:
        name: What.
        at: When, on the switch's clock.
        leg: The leg concerned, as it was at that moment; ``None`` for ``ACCOUNT_STATUS``.
        account: The account concerned, as it was at that moment; only for ``ACCOUNT_STATUS``.
        former_call_state: ``CHANNEL_CALLSTATE``: the state before.
        hangup_cause: ``CHANNEL_HANGUP``: why. Later events of the leg carry it in ``leg.hangup_cause``.
        bridge_a: ``CHANNEL_BRIDGE`` and ``CHANNEL_UNBRIDGE``: the leg that began the bridge; only it has these events.
        bridge_b: The other one.
        digit: ``DTMF``: one of ``0123456789*#ABCD``.
        former_uuid: ``CHANNEL_UUID``: what the leg was called before.
    """

    name: SwitchEventName
    at: datetime
    leg: LegSnapshot | None = None
    account: Account | None = None
    former_call_state: ChannelCallState | None = None
    hangup_cause: str | None = None
    bridge_a: str | None = None
    bridge_b: str | None = None
    digit: str | None = None
    former_uuid: str | None = None
