"""Who rings for whom: devices and outside numbers, the answer, and giving up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.causes import cause_for_caller, known_cause
from cti_framework.switchboard.clock import Clock, Timer
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.directory import Directory
from cti_framework.switchboard.leg_factory import LegFactory
from cti_framework.switchboard.legs import Leg, Ringing
from cti_framework.switchboard.options import SwitchOptions
from cti_framework.switchboard.signalling import Signalling

__all__ = ["Dialling"]

_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Dialling(ABC):
    """The part of the exchange that rings and answers. Everything here happens within an operation.

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

    @abstractmethod
    def hang_up(self, leg: Leg, cause: str) -> None:
        """End a leg and what hangs on it. Ending it twice does nothing.

        Args:
            leg: Which.
            cause: Why.
        """

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

    def ring_account(
        self,
        ringing: Ringing,
        account: Account,
        *,
        caller_name: str,
        caller_number: str,
        callee_number: str = "",
        originator: Leg | None = None,
        clicked: bool = False,
        variables: Mapping[str, str] = _NO_VARIABLES,
    ) -> tuple[Leg, ...]:
        """Ring all phones of an account that can be reached: one leg each, one call id.

        Args:
            ringing: For what.
            account: Whom.
            caller_name: Who calls, for people.
            caller_number: Who calls.
            callee_number: Who is shown as called; empty: the account.
            originator: On whose behalf; ``None``: on nobody's, or the switch's own.
            clicked: Whether the account itself clicked to call.
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
                callee_number=callee_number,
                originator=originator,
                outgoing=clicked,
                variables=variables,
            )
            call_id = call_id or self._new_id()
            leg.change(call_id=call_id)
            if device.by_hand:
                self._ring(ringing, leg, None)
            elif clicked:
                self._ring(ringing, leg, self.options.own_answer_seconds)
            else:
                by_itself = self.options.device_answer_seconds if device.answer_seconds is None else device.answer_seconds
                self._ring(ringing, leg, by_itself, self.options.refusals.get(account.number))
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
        """Ring an account or an outside number on behalf of a leg that is in the dialplan, or take care of it as the number says.

        Args:
            leg: Whose behalf.
            destination: An internal number, with or without its domain, one of the switch's own, or an outside one.
        """
        leg.change(application="")
        number, _, domain = destination.partition("@")
        account = self._directory.find(f"{number}@{domain or leg.snapshot.domain}")
        if account is not None:
            self.ring_for(leg, account, caller_name=leg.snapshot.party_name or leg.snapshot.party_number)
            return
        application = self.options.applications.get(number)
        if application is not None:
            leg.change(application=application)
            if leg.ringing:
                self.signalling.answer(leg)
            return
        leg.rings_for = ringing = self._ringing_for(leg)
        far = self.factory.outbound(
            number=number,
            domain=leg.snapshot.domain,
            caller_name=leg.snapshot.party_name,
            caller_number=leg.snapshot.party_number,
            originator=leg,
        )
        self._ring(ringing, far, self.options.far_answer_seconds_of(number), self.options.refusals.get(number))
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

    def _ring(self, ringing: Ringing, leg: Leg, answer_seconds: float | None, refusal: str | None = None) -> None:
        leg.rings_in = ringing
        ringing.legs.append(leg)
        self.signalling.ring_out(leg)
        if refusal:
            refuse = partial(self.hang_up, leg, known_cause(refusal))
            leg.timers.append(self.call_later(self.options.refusal_seconds, refuse))
        elif answer_seconds is not None:
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

    def _appeared(self, leg: Leg) -> None:
        self.legs[leg.uuid] = leg
        account = self._directory.find(leg.snapshot.presence or "")
        if account is not None and not account.in_call:
            self._directory.change(account.presence, in_call=True)

    def _vanished(self, leg: Leg) -> None:
        self.legs.pop(leg.uuid, None)
        presence = leg.snapshot.presence
        if presence is None or self._directory.find(presence) is None:
            return
        if not any(other.snapshot.presence == presence for other in self.legs.values()):
            self._directory.change(presence, in_call=False)
