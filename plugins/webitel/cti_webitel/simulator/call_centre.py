"""A call centre with queues: callers wait, agents who are logged in are offered them one by one.

Theory of operation: a caller's leg is answered by the queue and waits. Of the agents with a tier of the queue the first that
is available and idle (by level, then position) is rung on the switch's own behalf: his leg carries the queue and the caller's
leg as variables. Who picks up is joined with the caller; who does not is left alone for a while, and the next one is rung.
The names, and the order in which things are said, are those of the switch's own call centre module:

::

    a caller joins       member-queue-start, members-count
    an agent is rung     agent-state-change (Receiving), agent-offering
    he picks up          bridge-agent-start, agent-state-change (In a queue call)
    he does not          bridge-agent-fail, agent-state-change (Waiting)
    the call ends        bridge-agent-end, member-queue-end (Terminated), members-count, agent-state-change (Waiting, or Idle)
    the caller gives up  member-queue-end (Cancel), members-count, and where an agent was rung, as if he did not pick up
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from cti_framework.switchboard import Switchboard, SwitchError, SwitchEvent, SwitchEventName
from cti_webitel.simulator.queues import Member, Tier

__all__ = ["LOGGED_OUT", "STATUSES", "CallCentre"]

LOGGED_OUT: Final = "Logged Out"
_ON_DEMAND: Final = "Available (On Demand)"
_AVAILABLE: Final = ("Available", _ON_DEMAND)
STATUSES: Final = (LOGGED_OUT, *_AVAILABLE, "On Break")
"""What an agent can be (facts: webitel-protocol 5.4)."""
_WAITING, _IDLE, _RECEIVING, _TALKING = "Waiting", "Idle", "Receiving", "In a queue call"

_CANCELLED = "ORIGINATOR_CANCEL"
_CONCERN_AN_AGENT = (SwitchEventName.CHANNEL_ANSWER, SwitchEventName.CHANNEL_HANGUP_COMPLETE)

Headers = Mapping[str, str]
_NO_VARIABLES: Headers = MappingProxyType({})


class CallCentre:
    """The queues and their agents.

    Args:
        switchboard: On which.
        publish: Told what happens: the action, and what belongs to it.
        rest_seconds: Tells how long an agent who did not pick up is left alone.

    Attributes:
        tiers: The agents' places; each queue that is named in one exists.
        members: The callers, in the order in which they came.
    """

    def __init__(
        self, switchboard: Switchboard, publish: Callable[[str, Headers], None], rest_seconds: Callable[[], float]
    ) -> None:
        self._switchboard = switchboard
        self._publish = publish
        self._rest_seconds = rest_seconds
        self._resting: set[str] = set()
        self.tiers: list[Tier] = []
        self.members: list[Member] = []
        switchboard.subscribe(self._on_event)

    def add_tier(self, queue: str, agent: str, level: int = 1, position: int = 1) -> None:
        """Give an agent a place in a queue.

        Args:
            queue: Which, ``name@domain``; a new name makes a new queue.
            agent: Who.
            level: Lower ones are rung first.
            position: Among those of a level.
        """
        self.tiers.append(Tier(queue=queue, agent=agent, level=level, position=position))

    def has_queue(self, name: str) -> bool:
        """Tell whether there is such a queue.

        Args:
            name: ``name@domain``.

        Returns:
            Whether.
        """
        return any(tier.queue == name for tier in self.tiers)

    def tiers_of(self, agent: str) -> tuple[Tier, ...]:
        """Tell an agent's places.

        Args:
            agent: Whose.

        Returns:
            One for each of his queues.
        """
        return tuple(tier for tier in self.tiers if tier.agent == agent)

    def join(self, queue: str, number: str, *, name: str = "", variables: Headers = _NO_VARIABLES) -> Member:
        """A caller comes into a queue.

        Args:
            queue: Which, ``name@domain``.
            number: Who calls.
            name: The caller's name.
            variables: Set on the legs of the agents who are rung for the caller.

        Returns:
            The caller in the queue.

        Raises:
            SwitchError: There is no such queue.
        """
        if not self.has_queue(queue):
            raise SwitchError("-ERR Queue not found!")
        destination, _, domain = queue.partition("@")
        leg = self._switchboard.receive(number, destination, domain, name=name)
        member = Member(
            uuid=self._switchboard.new_id(),
            leg_uuid=leg.uuid,
            queue=queue,
            name=name or number,
            number=number,
            joined=self._now(),
            variables=variables,
        )
        self.members.append(member)
        self._say(member, "member-queue-start")
        self._count(queue)
        self._offer_all()
        return member

    def set_status(self, agent: str, status: str) -> None:
        """An agent logs in, out, or goes on a break.

        Args:
            agent: Who.
            status: One of :data:`STATUSES`, in any case.

        Raises:
            SwitchError: There is no such agent or status.
        """
        known = next((name for name in STATUSES if name.lower() == status.lower()), None)
        if known is None:
            raise SwitchError("-ERR Invalid Agent Status!")
        try:
            self._switchboard.set_account(agent, agent_status=known)
        except SwitchError:
            raise SwitchError("-ERR Agent not found!") from None
        self._publish("agent-status-change", {"CC-Agent": agent, "CC-Agent-Status": known})
        self._offer_all()

    def set_state(self, agent: str, state: str) -> None:
        """Say what an agent does now.

        Args:
            agent: Who.
            state: ``Waiting``, ``Idle``, ``Receiving`` or ``In a queue call``.

        Raises:
            SwitchError: There is no such agent.
        """
        self._switchboard.set_account(agent, agent_state=state)
        self._publish("agent-state-change", {"CC-Agent": agent, "CC-Agent-State": state})
        if state == _WAITING:
            self._offer_all()

    def reset(self) -> None:
        """Forget the callers without a word; their agents wait again."""
        for member in self.members:
            if member.agent is not None:
                self._switchboard.amend_account(member.agent, agent_state=_WAITING)
        self.members.clear()
        self._resting.clear()

    # --- offering

    def _offer_all(self) -> None:
        for member in tuple(self.members):
            if member.agent is None:
                agent = self._next_agent(member.queue)
                if agent is not None:
                    self._offer(member, agent)

    def _next_agent(self, queue: str) -> str | None:
        tiers = sorted((tier for tier in self.tiers if tier.queue == queue), key=lambda tier: (tier.level, tier.position))
        accounts = {account.presence: account for account in self._switchboard.accounts}
        for tier in tiers:
            account = accounts.get(tier.agent)
            if account is None or account.agent_status not in _AVAILABLE or account.agent_state != _WAITING:
                continue
            if tier.agent not in self._resting:
                return tier.agent
        return None

    def _offer(self, member: Member, agent: str) -> None:
        member.agent, member.called = agent, self._now()
        self.set_state(agent, _RECEIVING)
        self._say(member, "agent-offering", {"CC-Agent": agent, "CC-Agent-Type": "callback", "CC-Agent-System": "single_box"})
        variables = {
            **member.variables,
            "cc_queue": member.queue,
            "cc_member_uuid": member.uuid,
            "cc_member_session_uuid": member.leg_uuid,
            "cc_agent": agent,
            "cc_agent_type": "callback",
            "cc_side": "agent",
        }
        try:
            legs = self._switchboard.ring(agent, member.number, name=member.name, variables=variables)
        except SwitchError as error:
            self._refused(member, error.cause)
            return
        member.agent_legs = [leg.uuid for leg in legs]

    def _refused(self, member: Member, cause: str) -> None:
        agent = member.agent or ""
        self._failed(member, cause)
        member.agent, member.called, member.agent_legs = None, "", []
        self._resting.add(agent)
        self._switchboard.call_later(self._rest_seconds(), lambda: self._rested(agent))
        self._free(agent)

    def _rested(self, agent: str) -> None:
        self._resting.discard(agent)
        self._offer_all()

    # --- what the switch says

    def _on_event(self, event: SwitchEvent) -> None:
        leg = event.leg
        if leg is None:
            return
        for member in tuple(self.members):
            if event.name is SwitchEventName.CHANNEL_UUID:
                member.rename(event.former_uuid or "", leg.uuid)
            elif leg.uuid == member.leg_uuid and event.name is SwitchEventName.CHANNEL_HANGUP_COMPLETE:
                self._left(member)
            elif leg.uuid in member.agent_legs and event.name in _CONCERN_AN_AGENT:
                self._agent_leg_changed(member, leg.uuid, leg.hangup_cause)

    def _agent_leg_changed(self, member: Member, leg_uuid: str, hangup_cause: str | None) -> None:
        if hangup_cause is None:
            self._picked_up(member, leg_uuid)
            return
        if member.answered:
            self._talk_over(member)
            return
        member.agent_legs.remove(leg_uuid)
        if not member.agent_legs:
            self._refused(member, hangup_cause)

    def _picked_up(self, member: Member, leg_uuid: str) -> None:
        member.answered, member.agent_legs = self._now(), [leg_uuid]
        self._say(member, "bridge-agent-start", self._served(member))
        with suppress(SwitchError):
            self.set_state(member.agent or "", _TALKING)
            # Where one of them hung up in the same moment, what follows from that is on its way.
            self._switchboard.bridge(member.leg_uuid, leg_uuid)

    def _left(self, member: Member) -> None:
        if member.answered:
            self._talk_over(member)
            return
        self.members.remove(member)
        self._say(member, "member-queue-end", {"CC-Cause": "Cancel", "CC-Cancel-Reason": "BREAK_OUT"})
        self._count(member.queue)
        for leg_uuid in member.agent_legs:
            # The phone that was picked up in the same moment, and those that lost against it, end by themselves.
            with suppress(SwitchError):
                self._switchboard.hang_up(leg_uuid, _CANCELLED)
        if member.agent is not None:
            self._failed(member, _CANCELLED)
            self._free(member.agent)

    def _talk_over(self, member: Member) -> None:
        agent, served = member.agent or "", self._served(member)
        self.members.remove(member)
        self._say(member, "bridge-agent-end", {**served, "CC-Bridge-Terminated-Time": self._now()})
        self._say(member, "member-queue-end", {"CC-Cause": "Terminated", **served, "CC-Member-Leaving-Time": self._now()})
        self._count(member.queue)
        self._free(agent)

    def _free(self, agent: str) -> None:
        """An agent can be rung again; on demand, once he says so. Nobody cares where his account is gone meanwhile."""
        with suppress(SwitchError):
            on_demand = self._switchboard.account(agent).agent_status == _ON_DEMAND
            self.set_state(agent, _IDLE if on_demand else _WAITING)

    # --- saying it

    def _served(self, member: Member) -> dict[str, str]:
        return {
            "CC-Agent": member.agent or "",
            "CC-Agent-System": "single_box",
            "CC-Agent-UUID": member.agent_legs[0] if member.agent_legs else "",
            "CC-Agent-Called-Time": member.called,
            "CC-Agent-Answered-Time": member.answered,
        }

    def _failed(self, member: Member, cause: str) -> None:
        self._say(
            member,
            "bridge-agent-fail",
            {
                "CC-Hangup-Cause": cause,
                "CC-Agent": member.agent or "",
                "CC-Agent-System": "single_box",
                "CC-Agent-Called-Time": member.called,
                "CC-Agent-Aborted-Time": self._now(),
            },
        )

    def _say(self, member: Member, action: str, headers: Headers | None = None) -> None:
        told = {"CC-Queue": member.queue, **(headers or {}), "CC-Member-Joined-Time": member.joined, **member.headers}
        self._publish(action, {name: value for name, value in told.items() if value})

    def _count(self, queue: str) -> None:
        waiting = sum(member.queue == queue and not member.answered for member in self.members)
        self._publish("members-count", {"CC-Queue": queue, "CC-Count": str(waiting), "CC-Selection": "Single-Queue"})

    def _now(self) -> str:
        return str(int(self._switchboard.now.timestamp()))
