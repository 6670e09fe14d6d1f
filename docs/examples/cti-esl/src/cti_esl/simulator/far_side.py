"""The far side of the switch in the box, for the kit, the demo and hosts' tests."""

from __future__ import annotations

from cti_framework.switchboard import SwitchboardFarSide

from cti_esl.simulator.server import EslServer

__all__ = ["EslFarSide"]


class EslFarSide(SwitchboardFarSide):
    """A far side that names calls as the provider does: by the own leg.

    Args:
        server: The event socket.
        presence: The operator.
    """

    def __init__(self, server: EslServer, presence: str) -> None:
        super().__init__(server.switch.switchboard, presence)
        self.server = server

    async def incoming(self, number: str, name: str = "") -> str:
        """Call the operator.

        Args:
            number: Who calls.
            name: The caller's name.

        Returns:
            The uuid of the operator's leg.
        """
        _, (own, *_) = self.switchboard.incoming(number, self.presence, name=name)
        return own.uuid

    async def drop_network(self) -> None:
        """Cut every connection to the event socket, without a goodbye."""
        await self.server.cut()
