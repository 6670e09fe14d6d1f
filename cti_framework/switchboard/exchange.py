"""The live legs, and what follows from what: who rings for whom, who is joined, who ends with whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.causes import NORMAL, cause_for_caller, known_cause
from cti_framework.switchboard.clock import Clock, Timer
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.directory import Directory
from cti_framework.switchboard.leg_factory import LegFactory
from cti_framework.switchboard.legs import AnswerState, ChannelCallState, Leg, Ringing
from cti_framework.switchboard.options import SwitchOptions
from cti_framework.switchboard.signalling import Signalling

__all__ = ["Exchange"]


class Exchange:
    """Carries out what the Switchboard has found to be possible. Everything here happens within an operation.

    Args:
        clock: The switch's.
        delivery: Where the events go.
        directory: The accounts.
        new_id: Makes identifiers.
        options: How people behave.

    Attributes:
        legs: The live legs by uuid, oldest first.
        factory: Makes legs.
        options: As given; may be replaced at any time.
        signalling: Puts legs through their states.
    """

    def __init__(
        self,
        clock: Clock,
        delivery: Delivery,
        directory: Directory,
        new_id: Callable[[], str],
        options: SwitchOptions,
    ) -> None:
        self._clock = clock
        self._delivery = delivery
        self._directory = directory
        self._new_id = new_id
        self.factory = LegFactory(clock, new_id)
        self.options = options
        self.legs: dict[str, Leg] = {}
        self.signalling = Signalling(clock, delivery.publish, self._appeared, self._vanished)

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> Timer:
        """Have something happen later, as an operation of its own.

        Args:
            delay_seconds: From now.
            callback: What.

        Returns:
            The timer, to cancel it.
        """

        def operate() -> None:
            with self._delivery.operation():
                callback()

        return self._clock.call_later(delay_seconds, operate)

    # --- ringing and answering

    def ring_account(
        self,
        ringing: Ringing,
        account: Account,
        *,
        caller_name: str,
        caller_number: str,
        originator: Leg | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Leg, ...]:
        """Ring all phones of an account that can be reached: one leg each, one call id.

        Args:
            ringing: For what.
            account: Whom.
            caller_name: Who calls, for people.
            caller_number: Who calls.
            originator: On whose behalf; ``None``: the account itself clicked to call.
            variables: Set on the legs.

        Returns:
            The legs.
        """
        legs: list[Leg] = []
        call_id: str | None = None
        for device in account.registered_devices:
            leg = self.factory.outbound(
                number=account.number,
                name=account.name,
                domain=account.domain,
                presence=account.presence,
                device=device.number,
                caller_name=caller_name,
                caller_number=caller_number,
                originator=originator,
                variables=variables,
            )
            call_id = call_id or self._new_id()
            leg.change(call_id=call_id)
            if originator is None:
                answer_seconds = self.options.own_answer_seconds
            elif device.answer_seconds is None:
                answer_seconds = self.options.device_answer_seconds
            else:
                answer_seconds = device.answer_seconds
            self._ring(ringing, leg, answer_seconds)
            legs.append(leg)
        self._await_answer(ringing)
        return tuple(legs)

    def ring_for(self, leg: Leg, account: Account, *, caller_name: str) -> tuple[Leg, ...]:
        """Ring an account on behalf of a leg.

        Args:
            leg: Whose behalf.
            account: Whom.
            caller_name: What the account is shown.

        Returns:
            The account's legs; none, and ``leg`` is hung up, if no phone of it can be reached.
        """
        if not account.registered_devices:
            self.hang_up(leg, "USER_NOT_REGISTERED")
            return ()
        leg.change(peer_name=account.name)
        leg.rings_for = ringing = self._ringing_for(leg)
        return self.ring_account(
            ringing, account, caller_name=caller_name, caller_number=leg.snapshot.party_number, originator=leg
        )

    def route(self, leg: Leg, destination: str) -> None:
        """Ring an account or an outside number on behalf of a leg that is in the dialplan.

        Args:
            leg: Whose behalf.
            destination: An internal number, with or without its domain, or an outside one.
        """
        number, _, domain = destination.partition("@")
        account = self._directory.find(f"{number}@{domain or leg.snapshot.domain}")
        if account is not None:
            self.ring_for(leg, account, caller_name=leg.snapshot.party_name or leg.snapshot.party_number)
            return
        leg.rings_for = ringing = self._ringing_for(leg)
        far = self.factory.outbound(
            number=number,
            domain=leg.snapshot.domain,
            caller_name=leg.snapshot.party_name,
            caller_number=leg.snapshot.party_number,
            originator=leg,
        )
        refusal = self.options.refusals.get(number)
        self._ring(ringing, far, None if refusal else self.options.far_answer_seconds_of(number))
        if refusal:
            refuse = partial(self.hang_up, far, known_cause(refusal))
            far.timers.append(self.call_later(self.options.refusal_seconds, refuse))
        self._await_answer(ringing)

    def answer(self, leg: Leg, ringing: Ringing) -> None:
        """A ringing device is picked up.

        Args:
            leg: Its leg.
            ringing: What it rings for.
        """
        losers = [other for other in ringing.legs if other is not leg]
        ringing.settle()
        leg.rings_in = None
        leg.cancel_timers()
        if ringing.picked_up is not None:
            ringing.picked_up(leg)
        self.signalling.answer(leg)
        for other in losers:
            other.rings_in = None
            self.hang_up(other, "LOSE_RACE")
        ringing.answered(leg)

    def stop_ringing_for(self, leg: Leg) -> None:
        """Whoever rings on behalf of a leg is left alone.

        Args:
            leg: Whose behalf.
        """
        ringing, leg.rings_for = leg.rings_for, None
        if ringing is None:
            return
        others = tuple(ringing.legs)
        ringing.settle()
        for other in others:
            other.rings_in = None
            self.hang_up(other, "ORIGINATOR_CANCEL")

    # --- hold and end

    def hold(self, leg: Leg) -> None:
        """A device puts its call on hold.

        Args:
            leg: Its leg.
        """
        leg.stop_media_timer()
        self.signalling.hold(leg)
        if self.options.proxy_hold and leg.partner is not None:
            leg.partner.stop_media_timer()
            self.signalling.show(leg.partner, ChannelCallState.HELD)

    def unhold(self, leg: Leg) -> None:
        """A device takes its call back.

        Args:
            leg: Its leg.
        """
        self.signalling.unhold(leg)
        self._await_media(leg)
        partner = leg.partner
        if partner is not None and not partner.snapshot.held and partner.snapshot.call_state is ChannelCallState.HELD:
            self.signalling.show(partner, ChannelCallState.UNHELD)
            self._await_media(partner)

    def hang_up(self, leg: Leg, cause: str) -> None:
        """End a leg and what hangs on it. Ending it twice does nothing.

        Args:
            leg: Which.
            cause: Why.
        """
        if leg.ended:
            return
        leg.cancel_timers()
        partner, ringing = leg.partner, leg.rings_in
        self.signalling.end(leg, cause)
        if ringing is not None:
            leg.rings_in = None
            ringing.legs.remove(leg)
            if not ringing.legs:
                ringing.settle()
                ringing.failed(cause)
        self.stop_ringing_for(leg)
        if partner is not None:
            self.signalling.part(partner)
            self.hang_up(partner, NORMAL)

    def forget_legs(self) -> None:
        """Drop every leg without a word."""
        for leg in self.legs.values():
            leg.cancel_timers()
            if leg.rings_in is not None:
                leg.rings_in.settle()
            # What is still to be carried out for it then finds an ended leg.
            leg.change(answer_state=AnswerState.HANGUP)
        self.legs.clear()

    # --- joining others

    def transfer(self, leg: Leg, destination: str) -> None:
        """Send a leg elsewhere, and hang up whom it was joined with.

        Args:
            leg: Which.
            destination: Where to.
        """
        former = leg.partner
        self.signalling.part(leg)
        if former is not None:
            self.hang_up(former, NORMAL)
        self.stop_ringing_for(leg)
        leg.change(callee_name=None, callee_number=None, peer_number=destination, peer_name="")
        self.signalling.enter_dialplan(leg, destination)
        self.route(leg, destination)

    def bridge(self, first: Leg, second: Leg) -> None:
        """Join two answered legs; those they leave are hung up a moment later, then the two are joined.

        Args:
            first: The new bridge's A leg.
            second: The other.
        """
        left = [leg.partner for leg in (first, second) if leg.partner is not None and leg.partner not in (first, second)]
        for leg in (first, second):
            leg.cancel_transfer()
            self.signalling.part(leg)
            self.stop_ringing_for(leg)

        def carry_out() -> None:
            for leg in left:
                if leg.partner is None:
                    self.hang_up(leg, NORMAL)
            if first.answered and second.answered and first.partner is None and second.partner is None:
                for leg, other in ((first, second), (second, first)):
                    # A transfer may have come in between.
                    self.stop_ringing_for(leg)
                    leg.change(peer_number=other.snapshot.party_number, peer_name=other.snapshot.party_name)
                    if leg.snapshot.call_state is ChannelCallState.HELD and not leg.snapshot.held:
                        self._await_media(leg)
                self.signalling.join(first, second)

        self.call_later(self.options.transfer_seconds, carry_out)

    # --- the rest

    def _ring(self, ringing: Ringing, leg: Leg, answer_seconds: float | None) -> None:
        leg.rings_in = ringing
        ringing.legs.append(leg)
        self.signalling.ring_out(leg)
        if answer_seconds is not None:
            leg.timers.append(self.call_later(answer_seconds, partial(self.answer, leg, ringing)))

    def _ringing_for(self, leg: Leg) -> Ringing:
        def answered(other: Leg) -> None:
            leg.rings_for = None
            if leg.ringing:
                self.signalling.answer(leg)
            self.signalling.join(leg, other)

        def failed(cause: str) -> None:
            leg.rings_for = None
            self.hang_up(leg, cause_for_caller(cause))

        return Ringing(answered=answered, failed=failed)

    def _await_answer(self, ringing: Ringing) -> None:
        def give_up() -> None:
            for leg in tuple(ringing.legs):
                self.hang_up(leg, "NO_ANSWER")

        ringing.timer = self.call_later(self.options.ring_timeout_seconds, give_up)

    def _await_media(self, leg: Leg) -> None:
        def media_came() -> None:
            # Where holds are passed on, a far end that still holds is heard of again instead of media.
            still_held = self.options.proxy_hold and leg.partner is not None and leg.partner.snapshot.held
            self.signalling.show(leg, ChannelCallState.HELD if still_held else ChannelCallState.ACTIVE)

        leg.stop_media_timer()
        leg.media_timer = self.call_later(self.options.media_seconds, media_came)

    def _appeared(self, leg: Leg) -> None:
        self.legs[leg.uuid] = leg
        account = self._directory.find(leg.snapshot.presence or "")
        if account is not None and not account.in_call:
            self._directory.change(account.presence, in_call=True)

    def _vanished(self, leg: Leg) -> None:
        self.legs.pop(leg.uuid, None)
        presence = leg.snapshot.presence
        if presence is not None and not any(other.snapshot.presence == presence for other in self.legs.values()):
            self._directory.change(presence, in_call=False)
