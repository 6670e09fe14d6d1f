"""The far side of a PBX under test: whoever calls in, answers, holds, presses keys, hangs up; and the network.

Tools that are the same for every provider (the demo, the conformance kit, the panel) drive a simulator through this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from cti_framework.switchboard.board import Switchboard
from cti_framework.switchboard.events import SwitchError
from cti_framework.switchboard.legs import Leg

__all__ = ["FarSide", "SwitchboardFarSide"]

_OUTSIDE = "0443334455"


@runtime_checkable
class FarSide(Protocol):
    """What the other end of the operator's calls can do. Numbers are outside numbers.

    What cannot be done at that moment raises: nobody can press keys before the call is answered. A far side that cannot do
    something at all raises ``NotSupportedError``; the conformance kit does not measure it then. One may have more methods: the
    kit knows ``call_between_others() -> str``, which has two others talk and gives the identifier of their call; and, where calls
    have their sound in the session, ``voice(number, hertz)`` and ``hears(number) -> float | None``: the tone that a number speaks
    with, and the loudest frequency that it has heard in the last half second.
    """

    async def incoming(self, number: str, name: str = "") -> str:
        """Call the operator.

        Args:
            number: Who calls.
            name: The caller's name.

        Returns:
            The PBX's identifier of the call.
        """
        ...

    async def answer(self, number: str) -> None:
        """Answer the operator's call.

        Args:
            number: Who answers.
        """
        ...

    async def hold(self, number: str) -> None:
        """Put the call on hold.

        Args:
            number: Who does.
        """
        ...

    async def unhold(self, number: str) -> None:
        """Take the call back.

        Args:
            number: Who does.
        """
        ...

    async def tones(self, number: str, digits: str) -> None:
        """Press keys.

        Args:
            number: Who does.
            digits: Which.
        """
        ...

    async def hang_up(self, number: str, cause: str | None = None) -> None:
        """Hang up, give up, or refuse.

        Args:
            number: Who does.
            cause: Why, in the PBX's word; ``None``: the ordinary one.
        """
        ...

    async def answer_own(self) -> None:
        """Pick up the operator's own device."""
        ...

    async def drop_network(self) -> None:
        """Cut every connection to the PBX, without a goodbye."""
        ...


class SwitchboardFarSide:
    """The far side of a :class:`Switchboard`.

    Args:
        switchboard: Which.
        presence: The operator's account.
        cut: What cutting the network does, where there is one; what it gives is awaited if it can be.
    """

    def __init__(self, switchboard: Switchboard, presence: str, cut: Callable[[], object] | None = None) -> None:
        self.switchboard = switchboard
        self.presence = presence
        self._cut = cut

    async def incoming(self, number: str, name: str = "") -> str:
        """Call the operator.

        Args:
            number: Who calls.
            name: The caller's name.

        Returns:
            The call's identifier.

        Raises:
            SwitchError: No phone of the operator can be reached.
        """
        _, own = self.switchboard.incoming(number, self.presence, name=name)
        return own[0].snapshot.call_id or own[0].uuid

    async def answer(self, number: str) -> None:
        """Answer the operator's call.

        Args:
            number: Who answers.

        Raises:
            SwitchError: That number has no call.
        """
        self.switchboard.answer(self._leg_at(number, lambda leg: leg.rings_in is not None).uuid)

    async def hold(self, number: str) -> None:
        """Put the call on hold.

        Args:
            number: Who does.

        Raises:
            SwitchError: That number has no call, or holds it already.
        """
        self.switchboard.hold(self._leg_at(number, lambda leg: leg.answered and not leg.snapshot.held).uuid)

    async def unhold(self, number: str) -> None:
        """Take the call back.

        Args:
            number: Who does.

        Raises:
            SwitchError: That number has no call, or does not hold it.
        """
        self.switchboard.unhold(self._leg_at(number, lambda leg: leg.snapshot.held).uuid)

    async def tones(self, number: str, digits: str) -> None:
        """Press keys.

        Args:
            number: Who does.
            digits: Which.

        Raises:
            SwitchError: That number has no call, or none of it is a key.
        """
        self.switchboard.tones(self._leg_at(number, lambda leg: leg.answered).uuid, digits)

    async def hang_up(self, number: str, cause: str | None = None) -> None:
        """Hang up, give up, or refuse.

        Args:
            number: Who does.
            cause: Why; ``None``: ``NORMAL_CLEARING``.

        Raises:
            SwitchError: That number has no call.
        """
        self.switchboard.hang_up(self._leg_at(number, lambda leg: True).uuid, cause)

    async def answer_own(self) -> None:
        """Pick up the operator's own device.

        Raises:
            SwitchError: It does not ring.
        """
        ringing = [leg for leg in self.switchboard.legs_of(self.presence) if leg.rings_in is not None]
        if not ringing:
            raise SwitchError("-ERR No such channel!")
        self.switchboard.answer(ringing[-1].uuid)

    async def call_between_others(self) -> str:
        """Have another user call an outside number and talk to whoever answers there. What not every far side can do.

        Returns:
            The identifier of that user's leg.

        Raises:
            SwitchError: There is no other user with a phone.
        """
        others = [account for account in self.switchboard.accounts if account.presence != self.presence]
        other = next((account for account in others if account.registered_devices), None)
        if other is None:
            raise SwitchError("-ERR USER_NOT_REGISTERED")
        leg = self.switchboard.dial_from_device(other.presence, _OUTSIDE)
        far = self._leg_at(_OUTSIDE, lambda leg: leg.rings_in is not None)
        self.switchboard.answer(far.uuid)
        return leg.uuid

    async def drop_network(self) -> None:
        """Cut every connection to the PBX, without a goodbye."""
        if self._cut is not None:
            done = self._cut()
            if isinstance(done, Awaitable):
                await done

    def _leg_at(self, number: str, fits: Callable[[Leg], bool]) -> Leg:
        """The newest leg at that number that the verb fits; else the newest, so that the switch says why it does not."""
        legs = self.switchboard.legs_at(number)
        if not legs:
            raise SwitchError("-ERR No such channel!")
        fitting = [leg for leg in legs if fits(leg)]
        return (fitting or legs)[-1]
