"""The Switchboard: its verbs, and what can be read from it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

import attrs

from cti_framework.switchboard.accounts import NO_STATUS, Account, Device
from cti_framework.switchboard.causes import known_cause
from cti_framework.switchboard.clock import Clock, Timer
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.directory import Directory
from cti_framework.switchboard.events import SwitchError, SwitchEvent
from cti_framework.switchboard.exchange import Exchange
from cti_framework.switchboard.legs import Leg, Ringing
from cti_framework.switchboard.options import SwitchOptions

__all__ = ["DEFAULT_START", "Switchboard"]

DEFAULT_START = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
_NO_CHANNEL = "-ERR No such channel!"
_FAILED = "-ERR Operation failed"
_NOT_REGISTERED = "-ERR USER_NOT_REGISTERED"
_DIGITS = frozenset("0123456789*#ABCDabcd")
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Switchboard:
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
        self._delivery = Delivery()
        self._directory = Directory(self.clock, self._delivery)
        self._exchange = Exchange(self.clock, self._delivery, self._directory, self.new_id, options or SwitchOptions())

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

    # --- accounts

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts, in the order in which they were added."""
        return self._directory.accounts

    def add_account(
        self,
        number: str,
        domain: str = "demo.local",
        *,
        password: str = "",
        name: str = "",
        role: str = "user",
        devices: Iterable[Device] = (Device(),),
    ) -> Account:
        """Add a user.

        Args:
            number: The internal number.
            domain: The domain.
            password: What the user logs in with.
            name: For people; without one, ``User`` and the number.
            role: ``user`` or ``admin``.
            devices: The phones.

        Returns:
            The account.
        """
        account = Account(
            number=number, domain=domain, password=password, name=name or f"User {number}", role=role, devices=tuple(devices)
        )
        self._directory.add(account)
        return account

    def account(self, presence: str) -> Account:
        """Find an account.

        Args:
            presence: ``number@domain``.

        Returns:
            It, as it is now.

        Raises:
            SwitchError: There is none.
        """
        return self._directory.get(presence)

    def set_account(self, presence: str, **changes: Any) -> Account:
        """Replace fields of an account: status, phones, agent status… Calls that are up stay up.

        Args:
            presence: Whose.
            **changes: As :class:`Account` names them.

        Returns:
            The account as it is now.

        Raises:
            SwitchError: There is no such account.
        """
        return self._directory.change(presence, **changes)

    def set_status(self, presence: str, status: str = NO_STATUS, description: str = "") -> Account:
        """Say that a user is away, or back.

        Args:
            presence: Who.
            status: ``NONE``, ``ONBREAK``, ``DND``…
            description: The user's note.

        Returns:
            The account.

        Raises:
            SwitchError: There is no such account.
        """
        return self.set_account(presence, status=status, description=description)

    def set_registered(self, presence: str, registered: bool) -> Account:
        """Register or unregister all phones of a user.

        Args:
            presence: Who.
            registered: Whether they can be reached.

        Returns:
            The account.

        Raises:
            SwitchError: There is no such account.
        """
        devices = self.account(presence).devices
        return self.set_account(presence, devices=tuple(attrs.evolve(device, registered=registered) for device in devices))

    # --- reading

    @property
    def legs(self) -> tuple[Leg, ...]:
        """All live legs, oldest first."""
        return tuple(self._exchange.legs.values())

    def leg(self, leg_uuid: str) -> Leg:
        """Find a live leg.

        Args:
            leg_uuid: Which.

        Returns:
            It.

        Raises:
            SwitchError: There is none.
        """
        leg = self._exchange.legs.get(leg_uuid)
        if leg is None:
            raise SwitchError(_NO_CHANNEL)
        return leg

    def legs_of(self, presence: str) -> tuple[Leg, ...]:
        """The live legs of an account, oldest first.

        Args:
            presence: Whose.

        Returns:
            They.
        """
        return tuple(leg for leg in self.legs if leg.snapshot.presence == presence)

    def legs_at(self, number: str) -> tuple[Leg, ...]:
        """The live legs at whose end a number is: those of outside numbers first, each kind oldest first.

        Args:
            number: An outside number, or an internal one.

        Returns:
            They.
        """
        found = [leg for leg in self.legs if leg.snapshot.party_number == number]
        return tuple(sorted(found, key=lambda leg: leg.snapshot.presence is not None))

    # --- calls begin

    def originate(
        self,
        presence: str,
        destination: str,
        *,
        variables: Mapping[str, str] = _NO_VARIABLES,
        on_result: Callable[[Leg | SwitchError], None] | None = None,
    ) -> tuple[Leg, ...]:
        """Click to call: ring the user's own devices, and when one is picked up, the destination.

        Args:
            presence: Who calls.
            destination: Whom: an internal or an outside number.
            variables: Set on the user's legs.
            on_result: Told once, just before the events of it: the own leg that was picked up, or why none was.

        Returns:
            The user's legs, one a registered device.

        Raises:
            SwitchError: ``SUBSCRIBER_ABSENT`` (no such account) or ``USER_NOT_REGISTERED``; ``on_result`` is not told.
        """
        account = self._directory.find(presence)
        if account is None:
            raise SwitchError("-ERR SUBSCRIBER_ABSENT")
        if not account.registered_devices:
            raise SwitchError(_NOT_REGISTERED)

        def answered(leg: Leg) -> None:
            self._exchange.signalling.enter_dialplan(leg, destination)
            self._exchange.route(leg, destination)

        def failed(cause: str) -> None:
            if on_result is not None:
                on_result(SwitchError(f"-ERR {cause}"))

        with self._delivery.operation():
            ringing = Ringing(answered=answered, failed=failed, picked_up=on_result)
            return self._exchange.ring_account(
                ringing, account, caller_name=destination, caller_number=destination, variables=variables
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
            leg = self._exchange.factory.inbound(
                number=account.number,
                name=account.name,
                domain=account.domain,
                presence=presence,
                device=account.registered_devices[0].number,
                destination=destination,
                variables=variables,
            )
            self._exchange.signalling.ring_in(leg)
            self._exchange.route(leg, destination)
            return leg

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

    # --- calls go on and end

    def answer(self, leg_uuid: str) -> None:
        """The leg's own device is picked up. Nothing happens to one that is answered already.

        Args:
            leg_uuid: A leg that the switch rings.

        Raises:
            SwitchError: There is no such leg, or it is a caller's.
        """
        leg = self.leg(leg_uuid)
        if leg.answered:
            return
        if leg.rings_in is None:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            self._exchange.answer(leg, leg.rings_in)

    def hang_up(self, leg_uuid: str, cause: str | None = None) -> None:
        """End a leg, and with it what hangs on it: the leg it is joined with, and what rings for it.

        Args:
            leg_uuid: Which.
            cause: Why; without one, or with an unknown one, ``NORMAL_CLEARING``.

        Raises:
            SwitchError: There is no such leg.
        """
        leg = self.leg(leg_uuid)
        with self._delivery.operation():
            self._exchange.hang_up(leg, known_cause(cause))

    def hold(self, leg_uuid: str) -> None:
        """The leg's device, or somebody on its behalf, puts the call on hold.

        Args:
            leg_uuid: Which.

        Raises:
            SwitchError: There is no such leg, it is not answered, or it holds already.
        """
        leg = self.leg(leg_uuid)
        if not leg.answered or leg.snapshot.held:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            self._exchange.hold(leg)

    def unhold(self, leg_uuid: str) -> None:
        """The leg's device, or somebody on its behalf, takes the call back.

        Args:
            leg_uuid: Which.

        Raises:
            SwitchError: There is no such leg, or it does not hold.
        """
        leg = self.leg(leg_uuid)
        if not leg.snapshot.held:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            self._exchange.unhold(leg)

    def tones(self, leg_uuid: str, digits: str) -> None:
        """The leg's device presses keys. What is no key is left out; while the leg holds, no key is heard.

        Args:
            leg_uuid: Which.
            digits: The keys.

        Raises:
            SwitchError: There is no such leg, it is not answered, or none of it is a key.
        """
        leg = self._exchange.legs.get(leg_uuid)
        if leg is None:
            raise SwitchError("-ERR Cannot locate session!")
        keys = [digit.upper() for digit in digits if digit in _DIGITS]
        if not leg.answered or not keys:
            raise SwitchError(_FAILED)
        with self._delivery.operation():
            if not leg.snapshot.held:
                for key in keys:
                    self._exchange.signalling.tone(leg, key)

    def transfer(self, leg_uuid: str, destination: str) -> None:
        """Send a leg somewhere else (blind). It happens a moment later; whom it was joined with is hung up.

        Args:
            leg_uuid: An answered leg, or a caller's that still waits for an answer.
            destination: Where to.

        Raises:
            SwitchError: There is no such leg, or it rings itself.
        """
        leg = self.leg(leg_uuid)
        if leg.rings_in is not None:
            raise SwitchError(_FAILED)
        leg.cancel_transfer()
        carry_out = partial(self._exchange.transfer, leg, destination)
        leg.transfer_timer = self.call_later(self.options.transfer_seconds, carry_out)

    def bridge(self, first_uuid: str, second_uuid: str) -> None:
        """Join two answered legs; those they were joined with are hung up a moment later, then the two are joined.

        Args:
            first_uuid: The new bridge's A leg.
            second_uuid: The other.

        Raises:
            SwitchError: There is no such leg, one is not answered, or they are the same.
        """
        first, second = self._exchange.legs.get(first_uuid), self._exchange.legs.get(second_uuid)
        if first is None or second is None or first is second or not first.answered or not second.answered:
            raise SwitchError("-ERR Invalid uuid")
        with self._delivery.operation():
            self._exchange.bridge(first, second)

    def set_variable(self, leg_uuid: str, name: str, value: str | None) -> None:
        """Set a variable of a leg.

        Args:
            leg_uuid: Which.
            name: The variable.
            value: Its value; ``None`` or nothing unsets it.

        Raises:
            SwitchError: There is no such leg.
        """
        leg = self.leg(leg_uuid)
        variables = {key: kept for key, kept in leg.snapshot.variables.items() if key != name}
        if value:
            variables[name] = value
        leg.change(variables=MappingProxyType(variables))

    def reset(self) -> None:
        """Forget every leg without a word, as a switch that was killed does. Accounts and other timers stay."""
        self._exchange.forget_legs()
        self._delivery.drop()
        for account in self.accounts:
            self._directory.add(attrs.evolve(account, in_call=False))
