"""The live legs, and what follows from what: who is joined, who holds, who ends with whom."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.causes import NORMAL
from cti_framework.switchboard.dialling import Dialling
from cti_framework.switchboard.legs import AnswerState, ChannelCallState, Leg, Ringing

__all__ = ["Exchange"]


class Exchange(Dialling):
    """Carries out what the Switchboard has found to be possible. Everything here happens within an operation."""

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
        partner, ringing, consulted, consulting = leg.partner, leg.rings_in, leg.consulted, leg.consulted_by
        self.signalling.end(leg, cause)
        if ringing is not None:
            leg.rings_in = None
            ringing.legs.remove(leg)
            if not ringing.legs:
                ringing.settle()
                ringing.failed(cause)
        self.stop_ringing_for(leg)
        self._let_go(leg)
        if consulting is not None:
            self.signalling.end_consultation(consulting)
        if partner is not None:
            self.signalling.part(partner)
            self._leave(partner, consulted)
        elif consulted is not None:
            self.hang_up(consulted, NORMAL)

    def forget_legs(self) -> None:
        """Drop every leg without a word."""
        for leg in self.legs.values():
            leg.cancel_timers()
            if leg.rings_in is not None:
                leg.rings_in.settle()
            # What is still to be carried out for it then finds an ended leg.
            leg.change(answer_state=AnswerState.HANGUP)
        self.legs.clear()

    def _let_go(self, leg: Leg) -> None:
        """Whoever listens in on a leg that ended hears nothing more."""
        self._stop_listening(leg)
        for listener in tuple(leg.listeners):
            self.hang_up(listener, NORMAL)

    @staticmethod
    def _stop_listening(leg: Leg) -> None:
        if leg.listens_to is not None:
            leg.listens_to.listeners.remove(leg)
            leg.listens_to = None

    def _leave(self, partner: Leg, consulted: Leg | None) -> None:
        """A leg's partner ended, who consulted somebody meanwhile, or nobody."""
        if consulted is not None:
            self.bridge(partner, consulted)
        elif partner.consulted is not None:
            self._stay_with(partner, partner.consulted)
        elif partner.rings_for is None:
            self.hang_up(partner, NORMAL)

    @staticmethod
    def _stay_with(leg: Leg, consulted: Leg) -> None:
        """Whom a leg consults is all it has now: what was the bridge within the other is the only one."""
        leg.consulted = consulted.consulted_by = None
        leg.partner, consulted.partner = consulted, leg
        leg.leads_bridge, consulted.leads_bridge = True, False
        leg.change(bridged_to=consulted.uuid)

    # --- joining others

    def transfer(self, leg: Leg, destination: str) -> None:
        """Send a leg elsewhere, and hang up whom it was joined with.

        Args:
            leg: Which.
            destination: Where to.
        """
        former, consulted = leg.partner, leg.consulted
        self._stop_listening(leg)
        self.signalling.end_consultation(leg.consulted_by or leg)
        self.signalling.part(leg)
        for other in (former, consulted):
            if other is not None:
                self.hang_up(other, NORMAL)
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
        joined = [other for leg in (first, second) for other in (leg.partner, leg.consulted, leg.consulted_by)]
        left = [leg for leg in joined if leg is not None and leg not in (first, second)]
        for leg in (first, second):
            leg.cancel_transfer()
            self._stop_listening(leg)
            self.signalling.end_consultation(leg.consulted_by or leg)
            self.signalling.part(leg)
            self.stop_ringing_for(leg)
            leg.change(application="")
        for leg in left:
            if leg.partner is None and leg.consulted is not None:
                self._stay_with(leg, leg.consulted)

        def carry_out() -> None:
            for leg in left:
                if leg.partner is None and leg.consulted_by is None:
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

    def listen_in(self, leg: Leg, target: Leg | None) -> None:
        """A leg hears what is said on another, and ends with it.

        Args:
            leg: An answered one.
            target: On which; ``None``: there is none any more, so the leg has nothing to do and ends.
        """
        self.signalling.enter_application(leg)
        if target is None or target.ended:
            self.hang_up(leg, NORMAL)
            return
        leg.listens_to = target
        target.listeners.append(leg)

    def consult(self, leg: Leg, account: Account, variables: Mapping[str, str]) -> None:
        """Ring somebody on behalf of a leg whose partner waits meanwhile. Who hangs up then leaves the other two joined.

        Args:
            leg: An answered one that is joined with somebody.
            account: Whom.
            variables: Set on the account's legs.
        """

        def answered(other: Leg) -> None:
            leg.rings_for = None
            if leg.partner is None:
                self.signalling.join(leg, other)
            else:
                self.signalling.consult(leg, other)

        def failed(cause: str) -> None:
            leg.rings_for = None
            if leg.partner is None:
                self.hang_up(leg, NORMAL)

        leg.rings_for = ringing = Ringing(answered=answered, failed=failed)
        now = leg.snapshot
        self.ring_account(
            ringing,
            account,
            caller_name=now.party_number,
            caller_number=now.party_number,
            originator=leg,
            variables=MappingProxyType(dict(variables)),
        )

    # --- identifiers

    def rename(self, leg: Leg, uuid: str) -> None:
        """Give a leg another identifier; whoever points at it points at the new one.

        Args:
            leg: Which.
            uuid: The new one.
        """
        former = leg.uuid
        self.signalling.rename(leg, uuid)
        self.legs = {known.uuid: known for known in self.legs.values()}
        for other in self.legs.values():
            pointers = ("other_leg", "signal_bond", "bridged_to")
            stale = {name: uuid for name in pointers if getattr(other.snapshot, name) == former}
            if stale:
                other.change(**stale)

    # --- the rest

    def _await_media(self, leg: Leg) -> None:
        def media_came() -> None:
            # Where holds are passed on, a far end that still holds is heard of again instead of media.
            still_held = self.options.proxy_hold and leg.partner is not None and leg.partner.snapshot.held
            self.signalling.show(leg, ChannelCallState.HELD if still_held else ChannelCallState.ACTIVE)

        leg.stop_media_timer()
        leg.media_timer = self.call_later(self.options.media_seconds, media_came)
