"""One user's calls: what the switch tells of legs becomes reports. Without I/O.

Theory of operation. A call is the leg of the user's own phone; its uuid is the call's identifier. What the leg is says
which way the call goes (facts: esl-control, click to call; incoming):

======================================  ==========  =================================================================
the own leg                             the call    connected
======================================  ==========  =================================================================
called, on nobody's behalf              outgoing    BRIDGE; or, where an application answers, which has no leg, when
(click to call)                                     a dump a second after the own answer shows neither RING_WAIT nor
                                                    another leg
called, on behalf of another            incoming    BRIDGE
calling                                 outgoing    BRIDGE, or its own ANSWER
======================================  ==========  =================================================================

Between legs the order of events is not certain, so nothing depends on it: CREATE is seldom the first event of a leg,
the end of the far leg may come before or behind the end of the own one, RING_WAIT -> ACTIVE is no answer, and each
event counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias

import attrs
from cti_framework.calls import CallDirection, CallState, EndCause, Party, Side
from cti_framework.reports import (
    Answered,
    Busy,
    CallReport,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    InfoChanged,
    Offered,
    Originated,
    Retrieved,
    Tones,
)

from cti_esl.causes import FOLLOWED, NORMAL, common_cause
from cti_esl.legs import LegNews, LegTable

__all__ = ["OwnCall", "UserCalls"]

Clock: TypeAlias = Callable[[int], datetime]
"""Translates the switch's microseconds."""

_REMEMBERED: Final = 64
_APPLICATION_MICROSECONDS: Final = 1_000_000
"""How long after the own answer a leg that waits for nobody talks to an application."""


@attrs.define(kw_only=True)
class OwnCall:
    """A call that is up.

    Attributes:
        leg: The own leg.
        direction: Who began it.
        other: With whom.
        is_clicked: Whether it is a click to call.
        far: The other leg; ``None``: none, or not known.
        is_answered: Whether the own phone was picked up.
        is_connected: Whether both can talk.
        is_held: Whether the own side holds it.
        is_leaving: Whether it was sent on, so that its end is a transfer.
        parent: On behalf of which call it was made.
    """

    leg: str
    direction: CallDirection
    other: Party
    is_clicked: bool = False
    far: str | None = None
    is_answered: bool = False
    is_connected: bool = False
    is_held: bool = False
    is_leaving: bool = False
    parent: str | None = None


class UserCalls:
    """A user's calls.

    Args:
        presence: The user: ``1000@example``.
        legs: The legs of the connection.
        clock: Translates the switch's times.
    """

    def __init__(self, presence: str, legs: LegTable, clock: Clock) -> None:
        self._presence = presence
        self._own = Party(presence.partition("@")[0])
        self._legs = legs
        self._clock = clock
        self._calls: dict[str, OwnCall] = {}
        # A dict keeps the order in which they ended.
        self._ended: dict[str, None] = {}

    def get(self, call_id: str) -> OwnCall | None:
        """Find a call that is up.

        Args:
            call_id: The own leg.

        Returns:
            It; ``None``: there is none.
        """
        return self._calls.get(call_id)

    @property
    def up(self) -> tuple[str, ...]:
        """The own legs of the calls that are up, oldest first."""
        return tuple(self._calls)

    def sent_on(self, leg: str) -> None:
        """Take note that whoever is at a leg's end was sent on: the call with him ends as transferred.

        Args:
            leg: The far leg of a call.
        """
        for call in self._calls.values():
            call.is_leaving |= call.far == leg

    def feed(self, news: LegNews) -> list[CallReport]:
        """Take note of a piece of news that concerns the user.

        Args:
            news: It.

        Returns:
            What it means for the user's calls, in order.
        """
        if news.presence == self._presence:
            reports = self._of_own_leg(news)
            # One user can call himself: then both legs are his.
            return reports if reports or news.bridge_b else self._of_far_leg(news)
        return self._of_far_leg(news)

    # --- the own leg

    def _of_own_leg(self, news: LegNews) -> list[CallReport]:
        reports: list[CallReport] = []
        call = self._calls.get(news.leg)
        if call is None:
            if news.is_over or news.name in ("CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY"):
                self._forget(news.leg)
                return reports
            if news.leg in self._ended:
                return reports
            call = self._begin(news)
            reports.append(self._beginning(call, news))
            # It may have gone on unseen.
            if news.is_answered and news.name != "CHANNEL_ANSWER":
                reports += self._answered(call, news)
            if news.bridged_microseconds and news.name != "CHANNEL_BRIDGE":
                reports += self._connected(call, news.other_leg or None, news)
        match news.name:
            case "CHANNEL_ANSWER":
                reports += self._answered(call, news)
                if news.is_inbound:
                    reports += self._connected(call, None, news)
            case "CHANNEL_BRIDGE":
                reports += self._bridged(call, news)
            case "CHANNEL_HOLD" if call.is_answered and not call.is_held:
                call.is_held = True
                reports.append(Held(at=self._at(news), call_id=call.leg, by=Side.OWN))
            case "CHANNEL_UNHOLD" if call.is_held and news.call_state != "HELD":
                # Taken off on top of the phone's own hold, it says UNHOLD and stays HELD.
                call.is_held = False
                reports.append(Retrieved(at=self._at(news), call_id=call.leg, by=Side.OWN))
            case "DTMF" if news.digit:
                reports.append(Tones(at=self._at(news), call_id=call.leg, digits=news.digit, by=Side.OWN))
            case "CHANNEL_HANGUP_COMPLETE" | "CHANNEL_DESTROY":
                reports.append(self._ends(call, news))
        return reports

    def _begin(self, news: LegNews) -> OwnCall:
        if news.is_called:
            call = OwnCall(leg=news.leg, direction=CallDirection.IN, other=news.caller, far=news.other_leg or None)
        else:
            call = OwnCall(
                leg=news.leg,
                direction=CallDirection.OUT,
                other=Party(news.dialled),
                is_clicked=news.is_clicked,
                parent=news.parent or None,
            )
        self._calls[news.leg] = call
        return call

    def _beginning(self, call: OwnCall, news: LegNews) -> CallReport:
        at = self._at(news)
        if call.direction is CallDirection.IN:
            return Offered(at=at, call_id=call.leg, own=self._own, other=call.other)
        return Originated(at=at, call_id=call.leg, own=self._own, other=call.other, parent_id=call.parent)

    def _answered(self, call: OwnCall, news: LegNews) -> list[CallReport]:
        if call.is_answered:
            return []
        call.is_answered = True
        return [Answered(at=self._at(news), call_id=call.leg)]

    def _connected(self, call: OwnCall, far: str | None, news: LegNews) -> list[CallReport]:
        known = None if far is None else self._legs.party_of(far)
        # What was dialled stays: a phone's own number may be another. A name is news.
        other = known if known is not None and (not call.other.number or _adds_name(known, call.other)) else None
        if call.is_connected:
            moved = far is not None and call.far is not None and far != call.far and known is not None
            call.far = far or call.far
            if not moved or known == call.other:
                return []
            call.other = known or call.other
            return [InfoChanged(at=self._at(news), call_id=call.leg, other=call.other)]
        call.far = far or call.far
        call.is_connected = True
        call.other = other or call.other
        return [Connected(at=self._at(news), call_id=call.leg, other=other)]

    def _bridged(self, call: OwnCall, news: LegNews) -> list[CallReport]:
        far = news.bridge_b if call.leg == news.bridge_a else news.bridge_a
        # Whoever was sent on and is back talks here again.
        call.is_leaving = False
        return [*self._answered(call, news), *self._connected(call, far, news)]

    def _ends(self, call: OwnCall, news: LegNews) -> Ended:
        self._forget(call.leg)
        cause = news.cause
        if cause == NORMAL and not call.is_connected and news.failed_cause not in FOLLOWED:
            # So ends a leg whose far end rang in vain, and one of its variables says why (capture 05c).
            cause = news.failed_cause
        common = EndCause.TRANSFERRED if call.is_leaving and cause == NORMAL else common_cause(cause)
        return Ended(at=self._at(news), call_id=call.leg, cause=common, pbx_cause=cause or None)

    def _forget(self, leg: str) -> None:
        self._calls.pop(leg, None)
        self._ended[leg] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    # --- the far leg

    def _of_far_leg(self, news: LegNews) -> list[CallReport]:
        if news.name == "CHANNEL_BRIDGE":
            # Told of the other leg alone, where that began the bridge.
            own = self._calls.get(news.bridge_b) or self._calls.get(news.bridge_a)
            return [] if own is None else self._bridged(own, news)
        call = self._call_with(news)
        if call is None:
            return []
        at = self._at(news)
        match news.name:
            case "CHANNEL_HOLD":
                return [Held(at=at, call_id=call.leg, by=Side.OTHER)]
            case "CHANNEL_UNHOLD" if news.call_state != "HELD":
                return [Retrieved(at=at, call_id=call.leg, by=Side.OTHER)]
            case "DTMF" if news.digit and call.is_connected:
                return [Tones(at=at, call_id=call.leg, digits=news.digit, by=Side.OTHER)]
            case "CHANNEL_HANGUP_COMPLETE" if not call.is_connected and common_cause(news.cause) is EndCause.BUSY:
                is_ours = call.direction is CallDirection.OUT
                return [Busy(at=at, call_id=call.leg, pbx_cause=news.cause)] if is_ours else []
            case _:
                return []

    def _call_with(self, news: LegNews) -> OwnCall | None:
        for call in self._calls.values():
            if call.far == news.leg and call.leg != news.leg:
                return call
        waiting = self._calls.get(news.other_leg)
        if waiting is None or waiting.is_connected or not news.is_called:
            return None
        waiting.far = news.leg
        return waiting

    # --- what a dump says

    def look(self, leg: str, news: LegNews | None, far: LegNews | None) -> CallSnapshot | None:
        """Tell a call as a dump shows it, and take note of it.

        Args:
            leg: The own leg.
            news: Its dump; ``None``: there is no such leg.
            far: The dump of the leg that it is joined with; ``None``: it is not, or that could not be looked at.

        Returns:
            The call; ``None``: it is over.
        """
        if news is None or news.is_over or leg in self._ended:
            return None
        call = self._calls.get(leg)
        if call is None:
            call = self._begin(news)
        call.is_answered |= news.is_answered
        if news.bridged_microseconds:
            call.far, call.is_connected = news.other_leg or call.far, True
            call.is_held |= news.call_state == "HELD"
            if far is not None and (not call.other.number or _adds_name(far.party, call.other)):
                call.other = far.party
        elif self.talks_to_an_application(call, news):
            call.is_connected = True
        held_by = {Side.OWN} if call.is_held else set()
        held_by |= {Side.OTHER} if far is not None and far.call_state == "HELD" else set()
        joined = CallState.HELD if held_by else CallState.CONNECTED
        return CallSnapshot(
            call_id=leg,
            direction=call.direction,
            state=joined if call.is_connected else CallState.ALERTING,
            own=self._own,
            other=call.other,
            held_by=frozenset(held_by),
            parent_id=call.parent,
            started_at=self._time(news.created_microseconds),
            answered_at=self._time(news.answered_microseconds),
            connected_at=self._time(news.bridged_microseconds) if call.is_connected else None,
        )

    def missed(self, leg: str, news: LegNews, far: LegNews | None) -> list[CallReport]:
        """Report a call that began unseen, as a dump shows it.

        Args:
            leg: The own leg.
            news: Its dump.
            far: As for `look`.

        Returns:
            What would have been told of it; nothing where it is known, or over.
        """
        if leg in self._calls or self.look(leg, news, far) is None:
            return []
        call = self._calls[leg]
        reports = [self._beginning(call, news)]
        if call.is_answered:
            reports.append(Answered(at=self._at(news), call_id=leg))
        if call.is_connected:
            reports.append(Connected(at=self._at(news), call_id=leg))
        return reports

    def talks_to_an_application(self, call: OwnCall, news: LegNews) -> bool:
        """Tell whether a click to call has been answered by what has no leg of its own: an echo, a menu, a mailbox.

        Args:
            call: The call.
            news: A dump of its leg.

        Returns:
            Whether: the own phone was picked up a second ago, and nothing rings for it.
        """
        since = news.at_microseconds - news.answered_microseconds
        is_settled = news.answered_microseconds > 0 and since >= _APPLICATION_MICROSECONDS
        return call.is_clicked and is_settled and news.call_state == "ACTIVE" and not news.other_leg

    def application_answered(self, leg: str, news: LegNews | None) -> list[CallReport]:
        """Report that an application has answered, if a dump shows that.

        Args:
            leg: The own leg.
            news: Its dump; ``None``: there is no such leg.

        Returns:
            What it means.
        """
        call = self._calls.get(leg)
        if call is None or news is None or call.is_connected or not self.talks_to_an_application(call, news):
            return []
        return self._connected(call, None, news)

    def _at(self, news: LegNews) -> datetime:
        return self._clock(news.at_microseconds)

    def _time(self, microseconds: int) -> datetime | None:
        return self._clock(microseconds) if microseconds else None


def _adds_name(known: Party, shown: Party) -> bool:
    return known.number == shown.number and bool(known.name) and not shown.name
