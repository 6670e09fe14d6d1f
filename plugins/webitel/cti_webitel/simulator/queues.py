"""What a call centre knows of its agents' places and of its callers."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["Member", "Tier"]


@attrs.frozen(kw_only=True)
class Tier:
    """An agent's place in a queue.

    Attributes:
        queue: Which, ``name@domain``.
        agent: Who.
        level: Lower ones are rung first.
        position: Among those of a level.
    """

    queue: str
    agent: str
    level: int = 1
    position: int = 1


@attrs.define(kw_only=True, eq=False)
class Member:
    """A caller in a queue.

    Attributes:
        uuid: The queue's own identifier.
        leg_uuid: The caller's leg.
        queue: Which.
        name: Who calls.
        number: From where.
        joined: When, in seconds since 1970, as the switch writes it.
        variables: Set on the legs of the agents who are rung for him.
        agent: Who is rung for the caller, or talks with him; ``None``: nobody.
        agent_legs: The legs that ring, or the one that was picked up.
        called: When the agent was rung.
        answered: When he picked up; empty: not yet.
    """

    uuid: str
    leg_uuid: str
    queue: str
    name: str
    number: str
    joined: str
    variables: Mapping[str, str]
    agent: str | None = None
    agent_legs: list[str] = attrs.field(factory=list)
    called: str = ""
    answered: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Who he is."""
        return {
            "CC-Member-UUID": self.uuid,
            "CC-Member-Session-UUID": self.leg_uuid,
            "CC-Member-CID-Name": self.name,
            "CC-Member-CID-Number": self.number,
        }

    def rename(self, former_uuid: str, uuid: str) -> None:
        """One of the legs may have got another identifier.

        Args:
            former_uuid: The one it had.
            uuid: The one it has now.
        """
        if self.leg_uuid == former_uuid:
            self.leg_uuid = uuid
        self.agent_legs = [uuid if leg_uuid == former_uuid else leg_uuid for leg_uuid in self.agent_legs]
