"""Queues: whether the operator takes their calls, and which he belongs to (facts: webitel-protocol 3.4).

The engine answers ``+OK`` around ``-ERR`` here; that is a refusal like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from cti_webitel.engine.answers import read_object, read_text
from cti_webitel.engine.commands.execute import Commands

__all__ = ["CallCentreCommands", "Tier"]


@frozen
class Tier:
    """That an operator belongs to a queue.

    Attributes:
        queue: The queue, ``name@domain``.
        agent: The operator's account.
        state: What the queue does with him: ``Ready``, ``Offering``, ``Active Inbound``, ``Standby``, ``No Answer``; empty if not
            told.
        level: Operators of a lower level are called first; ``None`` if not told.
        position: Among those of a level, the lower ones first; ``None`` if not told.
    """

    queue: str
    agent: str
    state: str = ""
    level: int | None = None
    position: int | None = None


class CallCentreCommands(Commands):
    """The own account as an agent of queues."""

    async def call_centre_login(self, *, on_demand: bool = False) -> str:
        """Take calls of queues. When the account's last connection is gone for a minute, the engine ends it.

        Who takes them already is answered ``+OK`` and stays as he is: to change ``on_demand``, log out before.

        Args:
            on_demand: Only when called for; after each call the operator is on a break.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            CommandRefusedError: The account is no agent.
            CommandError: As `execute`.
        """
        status = "Available (On Demand)" if on_demand else "Available"
        return read_text(await self.execute("cc login", {"status": status}))

    async def call_centre_logout(self) -> str:
        """Take calls of queues no longer.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            CommandError: As `execute`.
        """
        return read_text(await self.execute("cc logout", {}))

    async def tiers(self) -> Mapping[str, Tier]:
        """Ask which queues the operator belongs to: as it was when the engine connected to the switch.

        Returns:
            The queues by name; none if he belongs to none.

        Raises:
            CommandRefusedError: The role lacks the permission cc/tiers: ``r``.
            CommandError: As `execute`, or the answer cannot be read.
        """
        answer = await self.execute("cc tier from user", {})
        # Without a queue it is an empty list.
        rows = {} if answer == [] else read_object("cc tier from user", answer)
        return MappingProxyType({queue: _tier(queue, row) for queue, row in rows.items() if isinstance(row, Mapping)})


def _tier(queue: str, row: Mapping[str, Any]) -> Tier:
    agent, state = row.get("agent"), row.get("state")
    return Tier(
        queue=queue,
        agent=agent if isinstance(agent, str) else "",
        state=state if isinstance(state, str) else "",
        level=_number(row.get("level")),
        position=_number(row.get("position")),
    )


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if type(value) is int else None
