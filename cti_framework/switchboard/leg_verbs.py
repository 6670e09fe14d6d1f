"""What the Switchboard lets one do with legs that are up."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from cti_framework.switchboard.causes import known_cause
from cti_framework.switchboard.delivery import Delivery
from cti_framework.switchboard.events import SwitchError
from cti_framework.switchboard.exchange import Exchange
from cti_framework.switchboard.legs import Leg

__all__ = ["LegVerbs"]

_NO_CHANNEL = "-ERR No such channel!"
_FAILED = "-ERR Operation failed"
_DIGITS = frozenset("0123456789*#ABCDabcd")


class LegVerbs:
    """The part of the Switchboard that is about legs, from their first ring to their end.

    Args:
        exchange: The legs.
        delivery: Where the events go.
    """

    def __init__(self, exchange: Exchange, delivery: Delivery) -> None:
        self._exchange = exchange
        self._delivery = delivery

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
        leg.transfer_timer = self._exchange.call_later(self._exchange.options.transfer_seconds, carry_out)

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

    # --- what else happens to a leg

    def renumber(self, leg_uuid: str, *, caller: str | None = None, callee: str | None = None) -> None:
        """Change the numbers that a leg shows, as a switch does when the other party is somebody else now.

        Args:
            leg_uuid: Which.
            caller: The caller's number; ``None``: as it is.
            callee: The callee's number; ``None``: as it is.

        Raises:
            SwitchError: There is no such leg.
        """
        leg = self.leg(leg_uuid)
        with self._delivery.operation():
            numbers = {"caller_number": caller, "callee_number": callee}
            leg.change(**{name: number for name, number in numbers.items() if number is not None})
            self._exchange.signalling.tell_state(leg)

    def rename(self, leg_uuid: str, new_uuid: str) -> None:
        """Give a leg another identifier.

        Args:
            leg_uuid: Which.
            new_uuid: The new one.

        Raises:
            SwitchError: There is no such leg, or the new identifier is taken.
        """
        leg = self.leg(leg_uuid)
        if new_uuid in self._exchange.legs:
            raise SwitchError("-ERR DESTINATION_OUT_OF_ORDER")
        with self._delivery.operation():
            self._exchange.rename(leg, new_uuid)

    def record(self, leg_uuid: str, recorded: bool) -> None:
        """Begin or stop recording a leg. Nothing happens where that is how it is already.

        Args:
            leg_uuid: Which.
            recorded: Whether it is to be recorded.

        Raises:
            SwitchError: There is no such leg, or it is not answered.
        """
        leg = self.leg(leg_uuid)
        if not leg.answered:
            raise SwitchError(_FAILED)
        if leg.snapshot.recorded is not recorded:
            with self._delivery.operation():
                self._exchange.signalling.record(leg, recorded)
