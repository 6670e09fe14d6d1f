"""Legs: what an event or a dump says of one, which there are, and whose news a piece of news is.

One connection serves all users, so each piece of news has to find the users whom it concerns: the one whose phone the
leg is (``Channel-Presence-ID``), and the one who talks to it (the other leg's). Nobody else is told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
from cti_framework.calls import Party

__all__ = ["DESTINATION_VARIABLE", "PARENT_VARIABLE", "LegNews", "LegTable", "SeenLeg", "read_leg"]

DESTINATION_VARIABLE: Final = "cti_destination"
"""The variable of our own by which an originated leg says whom it calls."""
PARENT_VARIABLE: Final = "cti_parent"
"""And the one by which it says on behalf of which call."""

_NO_NUMBER: Final = "0000000000"
"""What a phone is shown of an originate without a caller's number (facts: esl-control, click to call)."""
_ENDED: Final = frozenset({"HANGUP"})
_MOST_DIGITS: Final = 17
"""Of microseconds: they lead into the year 5138. One more, and no calendar has the day."""


@attrs.frozen(kw_only=True)
class LegNews:
    """What an event, or a dump, says of a leg.

    Attributes:
        name: ``Event-Name``; ``CHANNEL_DATA`` for a dump.
        leg: ``Unique-ID``.
        presence: Whose phone it is: ``1000@example``; empty: nobody's here.
        is_inbound: Whether its phone called the switch; else the switch called it.
        call_state: ``Channel-Call-State``.
        former_call_state: ``CHANNEL_CALLSTATE``: the one before.
        is_answered: Whether its phone was picked up.
        is_over: Whether it was hung up.
        other_leg: ``Other-Leg-Unique-ID``.
        is_called: Whether it was made to ring somebody on behalf of another leg.
        caller: Who calls, as the leg shows it.
        callee_number: Who is called, as the leg shows it.
        destination: ``Caller-Destination-Number``; empty where it is a Verto phone's session.
        asked_destination: What we wrote into the originate.
        parent: Likewise.
        bridge_a: ``CHANNEL_BRIDGE`` and ``CHANNEL_UNBRIDGE``: the leg that they are told of.
        bridge_b: And the other one.
        cause: ``Hangup-Cause``.
        failed_cause: Why the far end that it called did not answer.
        digit: ``DTMF-Digit``.
        at_microseconds: When; 0: it does not say.
        created_microseconds: When the leg began.
        answered_microseconds: When it was picked up; 0: not yet.
        bridged_microseconds: When it was bridged; 0: it is not now.
    """

    name: str
    leg: str
    presence: str = ""
    is_inbound: bool = False
    call_state: str = ""
    former_call_state: str = ""
    is_answered: bool = False
    is_over: bool = False
    other_leg: str = ""
    is_called: bool = False
    caller: Party = attrs.field(factory=Party)
    callee_number: str = ""
    destination: str = ""
    asked_destination: str = ""
    parent: str = ""
    bridge_a: str = ""
    bridge_b: str = ""
    cause: str = ""
    failed_cause: str = ""
    digit: str = ""
    at_microseconds: int = 0
    created_microseconds: int = 0
    answered_microseconds: int = 0
    bridged_microseconds: int = 0

    @property
    def is_clicked(self) -> bool:
        """Whether it is the own phone's leg of a click to call: the switch calls it, and on nobody's behalf."""
        return not self.is_inbound and not self.is_called

    @property
    def party(self) -> Party:
        """Who is at this leg's end."""
        number, _, _ = self.presence.partition("@")
        if self.is_inbound:
            return Party(number or self.caller.number, self.caller.name)
        return Party(number or self.callee_number)

    @property
    def dialled(self) -> str:
        """Whom the leg of a call of the own making calls."""
        if self.is_inbound:
            return self.destination
        shown = self.callee_number if self.destination else self.caller.number
        return self.asked_destination or self.destination or ("" if shown == _NO_NUMBER else shown)


def read_leg(fields: Mapping[str, Any]) -> LegNews | None:
    """Read what an event or a dump says of a leg.

    Args:
        fields: All that it says.

    Returns:
        It; ``None``: it is about none.
    """
    leg = _text(fields, "Unique-ID")
    if not leg:
        return None
    call_state, destination = _text(fields, "Channel-Call-State"), _text(fields, "Caller-Destination-Number")
    return LegNews(
        name=_text(fields, "Event-Name"),
        leg=leg,
        presence=_text(fields, "Channel-Presence-ID"),
        is_inbound=_text(fields, "Call-Direction") == "inbound",
        call_state=call_state,
        former_call_state=_text(fields, "Original-Channel-Call-State"),
        is_answered=_text(fields, "Answer-State") == "answered",
        is_over=_text(fields, "Answer-State") == "hangup" or call_state in _ENDED,
        other_leg=_text(fields, "Other-Leg-Unique-ID"),
        is_called=bool(_text(fields, "variable_originating_leg_uuid")) or _text(fields, "Other-Type") == "originator",
        caller=Party(_text(fields, "Caller-Caller-ID-Number"), _text(fields, "Caller-Caller-ID-Name")),
        callee_number=_text(fields, "Caller-Callee-ID-Number"),
        destination="" if destination.startswith("u:") else destination,
        asked_destination=_text(fields, f"variable_{DESTINATION_VARIABLE}"),
        parent=_text(fields, f"variable_{PARENT_VARIABLE}"),
        bridge_a=_text(fields, "Bridge-A-Unique-ID"),
        bridge_b=_text(fields, "Bridge-B-Unique-ID"),
        cause=_text(fields, "Hangup-Cause"),
        failed_cause=_text(fields, "variable_originate_failed_cause"),
        digit=_text(fields, "DTMF-Digit"),
        at_microseconds=_number(fields, "Event-Date-Timestamp"),
        created_microseconds=_number(fields, "Caller-Channel-Created-Time"),
        answered_microseconds=_number(fields, "Caller-Channel-Answered-Time"),
        bridged_microseconds=_number(fields, "Caller-Channel-Bridged-Time"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, list) and value:
        # A variable that was set again: the latest is what holds.
        value = value[-1]
    return value if isinstance(value, str) else ""


def _number(fields: Mapping[str, Any], name: str) -> int:
    text = _text(fields, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


@attrs.frozen
class SeenLeg:
    """What is known of a leg that is up.

    Attributes:
        presence: Whose phone it is; empty: nobody's here.
        party: Who is at its end; ``None``: only the table of channels has told of it.
    """

    presence: str
    party: Party | None = None


class LegTable:
    """The legs of a switch, as far as a connection has heard of them."""

    def __init__(self) -> None:
        self._legs: dict[str, SeenLeg] = {}

    def feed(self, news: LegNews) -> tuple[str, ...]:
        """Take note of a piece of news.

        Args:
            news: It.

        Returns:
            The presences of those whom it concerns, each once.
        """
        if news.name == "CHANNEL_DESTROY":
            self._legs.pop(news.leg, None)
        else:
            self._see(news)
        others = (self.presence_of(leg) for leg in (news.other_leg, news.bridge_a, news.bridge_b))
        return tuple(dict.fromkeys(presence for presence in (news.presence, *others) if presence))

    def remember(self, legs: Iterable[str], presence: str) -> None:
        """Take note of legs that were up on a connection before this one; a dump will say whether they still are.

        Args:
            legs: Which.
            presence: Whose.
        """
        self.note((leg, presence) for leg in legs)

    def note(self, rows: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """Take note of rows of the table of channels, which lags: a leg that is known stays as it is.

        Args:
            rows: Leg and presence of each.

        Returns:
            The legs that nothing was known of.
        """
        new = [(leg, presence) for leg, presence in rows if leg not in self._legs]
        self._legs.update((leg, SeenLeg(presence)) for leg, presence in new)
        return tuple(leg for leg, _ in new)

    def dumped(self, leg: str, news: LegNews | None) -> None:
        """Take note of what a dump said, which is exact.

        Args:
            leg: Of which.
            news: What; ``None``: there is no such leg.
        """
        if news is None:
            self._legs.pop(leg, None)
        else:
            self._see(news)

    def _see(self, news: LegNews) -> None:
        known = self._legs.get(news.leg)
        if known is None or known.party is None:
            self._legs[news.leg] = SeenLeg(news.presence, news.party)

    def legs_of(self, presence: str) -> tuple[str, ...]:
        """Tell the legs of a user's phones.

        Args:
            presence: Whose.

        Returns:
            They, oldest first.
        """
        return tuple(leg for leg, seen in self._legs.items() if seen.presence == presence)

    def presence_of(self, leg: str) -> str:
        """Tell whose phone's leg it is.

        Args:
            leg: Which.

        Returns:
            The presence; empty: nobody's, or not known.
        """
        seen = self._legs.get(leg)
        return "" if seen is None else seen.presence

    def party_of(self, leg: str) -> Party | None:
        """Tell who is at a leg's end.

        Args:
            leg: Which.

        Returns:
            The party; ``None``: not known.
        """
        seen = self._legs.get(leg)
        return None if seen is None else seen.party

    def __len__(self) -> int:
        return len(self._legs)
