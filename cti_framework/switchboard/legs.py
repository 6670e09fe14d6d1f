"""Legs: what a switch knows about each end of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import attrs

from cti_framework.switchboard.clock import Timer

__all__ = ["AnswerState", "ChannelCallState", "ChannelState", "Leg", "LegDirection", "LegSnapshot", "Ringing"]


class ChannelState(IntEnum):
    """What the switch does with a leg; numbers as FreeSWITCH's."""

    CS_NEW = 0
    CS_INIT = 1
    CS_ROUTING = 2
    CS_SOFT_EXECUTE = 3
    CS_EXECUTE = 4
    CS_EXCHANGE_MEDIA = 5
    CS_PARK = 6
    CS_CONSUME_MEDIA = 7
    CS_HIBERNATE = 8
    CS_RESET = 9
    CS_HANGUP = 10
    CS_REPORTING = 11
    CS_DESTROY = 12


class ChannelCallState(StrEnum):
    """What a leg shows to people."""

    DOWN = "DOWN"
    RINGING = "RINGING"
    ACTIVE = "ACTIVE"
    HELD = "HELD"
    UNHELD = "UNHELD"
    HANGUP = "HANGUP"


class AnswerState(StrEnum):
    """How far a leg's own device is."""

    RINGING = "ringing"
    ANSWERED = "answered"
    HANGUP = "hangup"


class LegDirection(StrEnum):
    """Who called whom, from the switch's view."""

    INBOUND = "inbound"
    """Somebody called the switch."""
    OUTBOUND = "outbound"
    """The switch called somebody: also the operator's own device, at the start of a click to call."""


@attrs.frozen(kw_only=True)
class LegSnapshot:
    """A leg as it is at one moment: the switch's headers, and beside them what they mean.

    Attributes:
        uuid: The leg.
        presence: The account that it belongs to, ``100@demo.local``; ``None``: it is an outside number's.
        domain: The domain in which it was dialled.
        device: The number of the account's device; 0 for an outside number.
        party_number: Who is at this leg's end: the account's or the outside number.
        party_name: And the name.
        peer_number: Whom that party talks to, or is to talk to.
        peer_name: And the name.
        outgoing: Whether that party began the call, by clicking or by dialling.
        bridged_to: The leg it is joined with now.
        call_uuid: The uuid of the call's first leg.
        call_id: The PBX's identifier of the call that the party sees; ``None``: it gave none.
        direction: From the switch's view.
        logical_direction: Turned round when a click-to-call leg enters the dialplan.
        channel_state: What the switch does with it.
        call_state: What it shows to people.
        answer_state: How far its own device is.
        hit_dialplan: Whether it went through the dialplan.
        callee_name: Caller-Callee-ID-Name; ``None``: there is no such header.
        callee_number: Caller-Callee-ID-Number.
        caller_name: Caller-Caller-ID-Name.
        caller_number: Caller-Caller-ID-Number.
        destination: Caller-Destination-Number.
        initial_caller_name: The caller's name when the leg was made.
        initial_caller_number: The caller's number then.
        initial_destination: The destination then.
        other_leg: Other-Leg-Unique-ID.
        originating_leg: The leg on whose behalf it was dialled.
        signal_bond: The leg it is or was last joined with.
        hangup_cause: Why it ended, once that is settled.
        created_at: When it was made.
        answered_at: When its own device was picked up.
        hung_up_at: When it ended.
        held: Whether its own device holds the call.
        recorded: Whether the switch records it.
        application: What takes care of it in place of another leg, as the options name it; empty: nothing.
        variables: Free variables; the switch interprets none.
    """

    uuid: str
    presence: str | None
    domain: str
    device: int = 0
    party_number: str
    party_name: str
    peer_number: str
    peer_name: str
    outgoing: bool
    bridged_to: str | None = None
    call_uuid: str
    call_id: str | None = None
    direction: LegDirection
    logical_direction: LegDirection
    channel_state: ChannelState = ChannelState.CS_INIT
    call_state: ChannelCallState = ChannelCallState.DOWN
    answer_state: AnswerState = AnswerState.RINGING
    hit_dialplan: bool = False
    callee_name: str | None = None
    callee_number: str | None = None
    caller_name: str
    caller_number: str
    destination: str
    initial_caller_name: str
    initial_caller_number: str
    initial_destination: str
    other_leg: str | None = None
    originating_leg: str | None = None
    signal_bond: str | None = None
    hangup_cause: str | None = None
    created_at: datetime
    answered_at: datetime | None = None
    hung_up_at: datetime | None = None
    held: bool = False
    recorded: bool = False
    application: str = ""
    variables: Mapping[str, str] = MappingProxyType({})

    @property
    def bill_seconds(self) -> int:
        """How long the leg is billed for once it has ended: whole seconds of the clock, as FreeSWITCH counts; until then 0."""
        if self.answered_at is None or self.hung_up_at is None or self.hangup_cause is None:
            return 0
        second = timedelta(seconds=1)
        epoch = datetime.fromtimestamp(0, self.answered_at.tzinfo)
        return (self.hung_up_at - epoch) // second - (self.answered_at - epoch) // second


class Ringing:
    """Legs that ring for one purpose: the first to answer wins, the others lose the race.

    Args:
        answered: What to do with the one that answers.
        failed: What to do when the last of them ended unanswered, told its cause.
        picked_up: Told of the one that answers before anything else happens.

    Attributes:
        legs: Those that still ring.
        answered: As given.
        failed: As given.
        picked_up: As given.
        timer: Ends it when nobody answers.
    """

    __slots__ = ("answered", "failed", "legs", "picked_up", "timer")

    def __init__(
        self,
        *,
        answered: Callable[[Leg], None],
        failed: Callable[[str], None],
        picked_up: Callable[[Leg], None] | None = None,
    ) -> None:
        self.legs: list[Leg] = []
        self.answered = answered
        self.failed = failed
        self.picked_up = picked_up
        self.timer: Timer | None = None

    def settle(self) -> None:
        """It is decided, one way or the other: nobody rings any more."""
        self.legs.clear()
        if self.timer is not None:
            self.timer.cancel()


class Leg:
    """One end of a call, alive on the switch.

    Args:
        snapshot: What it is to begin with.

    Attributes:
        snapshot: What it is now.
        partner: The leg it is joined with.
        leads_bridge: Whether it is the bridge's A leg, the only one of the two that has its events.
        rings_in: The ringing that it takes part in, until that is settled.
        rings_for: What rings on its behalf.
        listeners: The legs that listen in on it.
        listens_to: The leg that it listens in on.
        consulted: Whom it talks to instead, while its partner waits.
        consulted_by: The leg that consults it.
        timers: What is going to happen to it.
        media_timer: What makes it active after a hold.
        transfer_timer: What sends it elsewhere.
    """

    __slots__ = (
        "consulted",
        "consulted_by",
        "leads_bridge",
        "listeners",
        "listens_to",
        "media_timer",
        "partner",
        "rings_for",
        "rings_in",
        "snapshot",
        "timers",
        "transfer_timer",
    )

    def __init__(self, snapshot: LegSnapshot) -> None:
        self.snapshot = snapshot
        self.partner: Leg | None = None
        self.leads_bridge = False
        self.rings_in: Ringing | None = None
        self.rings_for: Ringing | None = None
        self.listeners: list[Leg] = []
        self.listens_to: Leg | None = None
        self.consulted: Leg | None = None
        self.consulted_by: Leg | None = None
        self.timers: list[Timer] = []
        self.media_timer: Timer | None = None
        self.transfer_timer: Timer | None = None

    def __repr__(self) -> str:
        now = self.snapshot
        return f"<Leg {now.uuid} of {now.presence or now.party_number} {now.call_state}>"

    @property
    def uuid(self) -> str:
        """Its identifier."""
        return self.snapshot.uuid

    @property
    def ringing(self) -> bool:
        """Whether its own device has not been picked up yet."""
        return self.snapshot.answer_state is AnswerState.RINGING

    @property
    def answered(self) -> bool:
        """Whether its own device has been picked up, and not put down again."""
        return self.snapshot.answer_state is AnswerState.ANSWERED

    @property
    def ended(self) -> bool:
        """Whether it was hung up."""
        return self.snapshot.answer_state is AnswerState.HANGUP

    def change(self, **changes: Any) -> None:
        """Replace fields of the snapshot.

        Args:
            **changes: Which, as :class:`LegSnapshot` names them.
        """
        self.snapshot = attrs.evolve(self.snapshot, **changes)

    def cancel_timers(self) -> None:
        """Have nothing happen to it any more by itself."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        self.stop_media_timer()
        self.cancel_transfer()

    def stop_media_timer(self) -> None:
        """Have it not become active by itself."""
        if self.media_timer is not None:
            self.media_timer.cancel()

    def cancel_transfer(self) -> None:
        """Have it not sent elsewhere by what was asked before."""
        if self.transfer_timer is not None:
            self.transfer_timer.cancel()
