"""The Switchboard: its time, its listeners, and how calls begin; what goes on then is in ``leg_verbs`` and ``account_verbs``."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import attrs

from cti_framework.switchboard.account_verbs import AccountVerbs
from cti_framework.switchboard.accounts import Account
from cti_framework.switchboard.clock import Clock, Timer
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.directory import Directory
from cti_framework.switchboard.events import SwitchError, SwitchEvent
from cti_framework.switchboard.exchange import Exchange
from cti_framework.switchboard.leg_verbs import LegVerbs
from cti_framework.switchboard.legs import Leg, Ringing
from cti_framework.switchboard.options import SwitchOptions

__all__ = ["DEFAULT_START", "Switchboard"]

DEFAULT_START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
_FAILED = "-ERR Operation failed"
_NOT_REGISTERED = "-ERR USER_NOT_REGISTERED"
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Switchboard(AccountVerbs, LegVerbs):
    """A small PBX in memory: pure, synchronous and deterministic.

    Events are delivered when the operation that raised them is through, in order, to every listener; a listener may
    operate the switch, what that raises comes after.

    Args:
        seed: What its identifiers are made from: the same seed gives the same ones.
        start: What its clock shows first: aware.
        options: How its people behave where nobody drives them.

    Attributes:
        clock: Its time.
    """

    def __init__(self, seed: int = 0, start: datetime = DEFAULT_START, options: SwitchOptions | None = None) -> None:
        self.clock = Clock(start)
        self._random = random.Random(seed)
        delivery = Delivery()
        directory = Directory(self.clock, delivery)
        exchange = Exchange(self.clock, delivery, directory, self.new_id, options or SwitchOptions())
        AccountVerbs.__init__(self, directory)
        LegVerbs.__init__(self, exchange, delivery)

    # --- time, listeners, options

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return self.clock.now

    @property
    def next_deadline(self) -> datetime | None:
        """When something happens by itself next; ``None``: nothing will."""
        deadline = self.clock.next_deadline_seconds
        return None if deadline is None else self.clock.at(deadline)

    @property
    def options(self) -> SwitchOptions:
        """How its people behave where nobody drives them; may be replaced at any time."""
        return self._exchange.options

    @options.setter
    def options(self, options: SwitchOptions) -> None:
        self._exchange.options = options

    def advance(self, seconds: float) -> None:
        """Turn the clock by hand.

        Args:
            seconds: How far; not negative.
        """
        self.clock.advance(seconds)

    def call_later(self, delay_seconds: float, callback: Callable[[], None]) -> Timer:
        """Have something happen later.

        Args:
            delay_seconds: From now.
            callback: What.

        Returns:
            The timer, to cancel it.
        """
        return self._exchange.call_later(delay_seconds, callback)

    def subscribe(self, listener: Callable[[SwitchEvent], None]) -> Callable[[], None]:
        """Be told of every event, in order.

        Args:
            listener: Called with each; it must not raise.

        Returns:
            What ends the subscription.
        """
        return self._delivery.subscribe(listener)

    def new_id(self) -> str:
        """Make an identifier.

        Returns:
            A uuid, as the switch's seed gives it.
        """
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    # --- calls begin

    def originate(
        self,
        presence: str,
        destination: str,
        *,
        caller_number: str = "",
        variables: Mapping[str, str] = _NO_VARIABLES,
        on_result: Callable[[Leg | SwitchError], None] | None = None,
    ) -> tuple[Leg, ...]:
        """Click to call: ring the user's own devices, and when one is picked up, the destination.

        Args:
            presence: Who calls.
            destination: Whom: an internal or an outside number.
            caller_number: What the user's devices show while they ring; empty: the destination.
            variables: Set on the user's legs.
            on_result: Told once, just before the events of it: the own leg that was picked up, or why none was.

        Returns:
            The user's legs, one a registered device.

        Raises:
            SwitchError: ``SUBSCRIBER_ABSENT`` (no such account) or ``USER_NOT_REGISTERED``; ``on_result`` is not told.
        """

        def answered(leg: Leg) -> None:
            self._exchange.signalling.enter_dialplan(leg, destination)
            self._exchange.route(leg, destination)

        return self._click(presence, caller_number or destination, variables, answered, on_result)

    def eavesdrop(
        self,
        presence: str,
        leg_uuid: str,
        *,
        caller_number: str = "",
        callee_number: str = "",
        variables: Mapping[str, str] = _NO_VARIABLES,
        on_result: Callable[[Leg | SwitchError], None] | None = None,
    ) -> tuple[Leg, ...]:
        """Ring the user's own devices, and let the one that is picked up hear what is said on a leg. It ends with that leg.

        Args:
            presence: Who listens.
            leg_uuid: On which leg. It is looked for when the device is picked up; without it the user's leg ends at once.
            caller_number: What the user's devices show while they ring; empty: the user.
            callee_number: Who is shown as called; empty: the user.
            variables: Set on the user's legs.
            on_result: Told once, just before the events of it: the own leg that was picked up, or why none was.

        Returns:
            The user's legs, one a registered device.

        Raises:
            SwitchError: ``SUBSCRIBER_ABSENT`` (no such account) or ``USER_NOT_REGISTERED``; ``on_result`` is not told.
        """

        def answered(leg: Leg) -> None:
            self._exchange.listen_in(leg, self._exchange.legs.get(leg_uuid))

        return self._click(presence, caller_number or presence, variables, answered, on_result, callee_number)

    def ring(
        self, presence: str, number: str, *, name: str = "", variables: Mapping[str, str] = _NO_VARIABLES
    ) -> tuple[Leg, ...]:
        """Ring a user on the switch's own behalf, as a queue does. The device that is picked up waits to be bridged.

        Args:
            presence: Whom.
            number: Who is shown as the caller.
            name: And the name.
            variables: Set on the user's legs.

        Returns:
            The user's legs, one a registered device.

        Raises:
            SwitchError: ``SUBSCRIBER_ABSENT`` (no such account) or ``USER_NOT_REGISTERED``.
        """
        account = self._reachable(presence)
        with self._delivery.operation():
            ringing = Ringing(answered=lambda leg: None, failed=lambda cause: None)
            return self._exchange.ring_account(
                ringing, account, caller_name=name or number, caller_number=number, variables=variables
            )

    def dial_from_device(self, presence: str, destination: str, *, variables: Mapping[str, str] = _NO_VARIABLES) -> Leg:
        """The user dials on a desk phone.

        Args:
            presence: Who calls.
            destination: Whom.
            variables: Set on the user's leg.

        Returns:
            The user's leg.

        Raises:
            SwitchError: There is no such account, or it has no phone.
        """
        account = self.account(presence)
        if not account.registered_devices:
            raise SwitchError(_NOT_REGISTERED)
        with self._delivery.operation():
            leg = self.call_from_device(presence, destination, device=account.registered_devices[0].number, variables=variables)
            self._exchange.route(leg, destination)
            return leg

    def call_from_device(
        self,
        presence: str,
        destination: str,
        *,
        device: int,
        uuid: str = "",
        name: str = "",
        variables: Mapping[str, str] = _NO_VARIABLES,
    ) -> Leg:
        """A phone calls the switch, which does nothing with the call until it is routed.

        Args:
            presence: Whose phone.
            destination: What is dialled.
            device: The phone's number.
            uuid: The leg's identifier, where the phone chooses it; empty: a new one.
            name: The caller's name, where the phone chooses it; empty: the account's.
            variables: Set on the user's leg.

        Returns:
            The user's leg.

        Raises:
            SwitchError: There is no such account, or the identifier is taken.
        """
        account = self.account(presence)
        if uuid in self._exchange.legs:
            raise SwitchError("-ERR DESTINATION_OUT_OF_ORDER")
        with self._delivery.operation():
            leg = self._exchange.factory.inbound(
                number=account.number,
                name=name or account.name,
                domain=account.domain,
                presence=presence,
                device=device,
                destination=destination,
                uuid=uuid,
                variables=variables,
            )
            self._exchange.signalling.ring_in(leg)
            return leg

    def route(self, leg_uuid: str) -> None:
        """Ring whom a phone has called, on behalf of its leg.

        Args:
            leg_uuid: A leg that ``call_from_device`` gave.

        Raises:
            SwitchError: There is no such leg any more, or it is routed already.
        """
        leg = self.leg(leg_uuid)
        if not leg.ringing or leg.rings_for is not None or leg.rings_in is not None:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            self._exchange.route(leg, leg.snapshot.destination)

    def incoming(
        self, number: str, presence: str, *, name: str = "", variables: Mapping[str, str] = _NO_VARIABLES
    ) -> tuple[Leg, tuple[Leg, ...]]:
        """An outside number calls a user.

        Args:
            number: Who calls.
            presence: Whom.
            name: The caller's name. It and the variables reach the user's legs once they ring (facts: capture 04).
            variables: Set on the user's legs.

        Returns:
            The caller's leg, and the user's: one a registered device.

        Raises:
            SwitchError: There is no such account, or no phone of it can be reached.
        """
        account = self.account(presence)
        with self._delivery.operation():
            caller = self._exchange.factory.inbound(number=number, name=name, domain=account.domain, destination=account.number)
            self._exchange.signalling.ring_in(caller)
            own = self._exchange.ring_for(caller, account, caller_name=number)
            if not own:
                raise SwitchError(_NOT_REGISTERED)
            for leg in own:
                leg.change(caller_name=name or number, peer_name=name, variables={**leg.snapshot.variables, **variables})
            return caller, own

    def receive(self, number: str, destination: str, domain: str, *, name: str = "") -> Leg:
        """An outside number calls something of the switch's own, a queue for example, which answers at once.

        Args:
            number: Who calls.
            destination: What is dialled.
            domain: The domain that is called.
            name: The caller's name.

        Returns:
            The caller's leg, answered; it waits to be bridged.
        """
        with self._delivery.operation():
            caller = self._exchange.factory.inbound(number=number, name=name, domain=domain, destination=destination)
            self._exchange.signalling.ring_in(caller)
            self._exchange.signalling.answer(caller)
            return caller

    def consult(self, leg_uuid: str, presence: str, variables: Mapping[str, str] = _NO_VARIABLES) -> None:
        """A leg rings a user, while whom it was joined with waits; who hangs up then leaves the other two joined.

        Args:
            leg_uuid: A leg that is joined with another.
            presence: Whom it rings.
            variables: Set on that user's legs.

        Raises:
            SwitchError: There is no such leg or account, no phone of it can be reached, or the leg talks to nobody.
        """
        leg, account = self.leg(leg_uuid), self._reachable(presence)
        if leg.partner is None or leg.consulted is not None or leg.rings_for is not None:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            self._exchange.consult(leg, account, variables)

    def _click(
        self,
        presence: str,
        caller_number: str,
        variables: Mapping[str, str],
        answered: Callable[[Leg], None],
        on_result: Callable[[Leg | SwitchError], None] | None,
        callee_number: str = "",
    ) -> tuple[Leg, ...]:
        account = self._reachable(presence)

        def failed(cause: str) -> None:
            if on_result is not None:
                on_result(SwitchError(f"-ERR {cause}"))

        with self._delivery.operation():
            ringing = Ringing(answered=answered, failed=failed, picked_up=on_result)
            return self._exchange.ring_account(
                ringing,
                account,
                caller_name=caller_number,
                caller_number=caller_number,
                callee_number=callee_number,
                clicked=True,
                variables=variables,
            )

    def _reachable(self, presence: str) -> Account:
        account = self._directory.find(presence)
        if account is None:
            raise SwitchError("-ERR SUBSCRIBER_ABSENT")
        if not account.registered_devices:
            raise SwitchError(_NOT_REGISTERED)
        return account

    # --- the end

    def reset(self) -> None:
        """Forget every leg without a word, as a switch that was killed does. Accounts and other timers stay."""
        self._exchange.forget_legs()
        self._delivery.drop()
        for account in self.accounts:
            self._directory.add(attrs.evolve(account, in_call=False))
