"""Making legs: what the switch writes into a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cti_framework.switchboard.clock import Clock
from cti_framework.switchboard.legs import Leg, LegDirection, LegSnapshot

__all__ = ["LegFactory"]

_SWITCH_NAME = "Outbound Call"
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class LegFactory:
    """Makes legs.

    Args:
        clock: The switch's.
        new_id: Makes identifiers.
    """

    def __init__(self, clock: Clock, new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_id = new_id

    def outbound(
        self,
        *,
        number: str,
        name: str = "",
        domain: str,
        presence: str | None = None,
        device: int = 0,
        caller_name: str,
        caller_number: str,
        callee_number: str = "",
        originator: Leg | None = None,
        outgoing: bool = False,
        variables: Mapping[str, str] = _NO_VARIABLES,
    ) -> Leg:
        """Make a leg on which the switch calls somebody.

        Args:
            number: Whom.
            name: The name of that party.
            domain: The domain in which it is dialled.
            presence: The account called; ``None``: an outside number.
            device: The account's device.
            caller_name: Who calls, for people.
            caller_number: Who calls.
            callee_number: Who is shown as called; empty: whom.
            originator: The leg on whose behalf; ``None``: on nobody's.
            outgoing: Whether that party clicked to call, so that the caller's number is whom it calls.
            variables: Free ones.

        Returns:
            The leg, not alive yet.
        """
        uuid = self._new_id()
        by = originator.uuid if originator is not None else None
        return Leg(
            LegSnapshot(
                uuid=uuid,
                presence=presence,
                domain=domain,
                device=device,
                party_number=number,
                party_name=name,
                peer_number=caller_number,
                peer_name="" if outgoing else caller_name,
                outgoing=outgoing,
                call_uuid=by or uuid,
                direction=LegDirection.OUTBOUND,
                logical_direction=LegDirection.OUTBOUND,
                callee_name=_SWITCH_NAME,
                callee_number=callee_number or number,
                caller_name=caller_name,
                caller_number=caller_number,
                destination=number,
                initial_caller_name=caller_name,
                initial_caller_number=caller_number,
                initial_destination=number,
                other_leg=by,
                originating_leg=by,
                created_at=self._clock.now,
                variables=self._variables(domain, variables),
            )
        )

    def inbound(
        self,
        *,
        number: str,
        name: str = "",
        domain: str,
        presence: str | None = None,
        device: int = 0,
        destination: str,
        uuid: str = "",
        variables: Mapping[str, str] = _NO_VARIABLES,
    ) -> Leg:
        """Make a leg on which somebody calls the switch.

        Args:
            number: Who.
            name: The name of that party.
            domain: The domain that is called.
            presence: The account that calls; ``None``: an outside number.
            device: The account's device.
            destination: The number dialled.
            uuid: Its identifier; empty: a new one.
            variables: Free ones.

        Returns:
            The leg, not alive yet.
        """
        uuid = uuid or self._new_id()
        return Leg(
            LegSnapshot(
                uuid=uuid,
                presence=presence,
                domain=domain,
                device=device,
                party_number=number,
                party_name=name,
                peer_number=destination,
                peer_name="",
                outgoing=True,
                call_uuid=uuid,
                direction=LegDirection.INBOUND,
                logical_direction=LegDirection.INBOUND,
                hit_dialplan=True,
                caller_name=name or number,
                caller_number=number,
                destination=destination,
                initial_caller_name=name or number,
                initial_caller_number=number,
                initial_destination=destination,
                created_at=self._clock.now,
                variables=self._variables(domain, variables),
            )
        )

    def _variables(self, domain: str, variables: Mapping[str, str]) -> Mapping[str, str]:
        return MappingProxyType({"sip_call_id": f"{self._new_id()}@loopback", "domain_name": domain, **variables})
