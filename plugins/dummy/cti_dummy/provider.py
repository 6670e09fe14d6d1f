"""The dummy provider: what the switch says becomes reports, what the host asks becomes operations of the switch."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final, TypeVar

import anyio
import attrs

from cti_dummy.pbx import DOMAIN, DummyLine, DummyPbx
from cti_framework.agents import Agent, AgentFeature, AgentState
from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause, Party, Side
from cti_framework.diagnosis import Checks, Finding, StepState
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CredentialsRefusedError,
    InvalidArgumentError,
    NetworkError,
    NotConnectedError,
)
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, ProviderContext, Simulation
from cti_framework.reports import (
    AgentReport,
    Answered,
    CallSnapshot,
    Connected,
    Ended,
    Held,
    IdChanged,
    Offered,
    Originated,
    RecordingReport,
    Retrieved,
    Snapshot,
    Started,
    Tones,
)
from cti_framework.settings import setting
from cti_framework.switchboard import (
    Account,
    LegSnapshot,
    SwitchboardFarSide,
    SwitchError,
    SwitchEvent,
    SwitchEventName,
    drive,
)

__all__ = ["DummyCtiProvider", "DummySettings", "DummyUserSettings"]

T = TypeVar("T")

_CAUSES: Final = {
    "NORMAL_CLEARING": EndCause.NORMAL,
    "USER_BUSY": EndCause.BUSY,
    "NO_ANSWER": EndCause.NO_ANSWER,
    "CALL_REJECTED": EndCause.REJECTED,
    "ORIGINATOR_CANCEL": EndCause.CANCELLED,
    "LOSE_RACE": EndCause.PICKED_UP_ELSEWHERE,
    "USER_NOT_REGISTERED": EndCause.NOT_REGISTERED,
    "SUBSCRIBER_ABSENT": EndCause.UNREACHABLE,
    "UNALLOCATED_NUMBER": EndCause.UNREACHABLE,
}
_STATES: Final = (
    AgentState("ONHOOK", "Ready", ready=True),
    AgentState("DND", "Do not disturb"),
    AgentState("ONBREAK", "Break"),
    AgentState("ISBUSY", "In a call", selectable=False),
    AgentState("NONREG", "No phone", selectable=False, logged_out=True),
)


@attrs.frozen(kw_only=True)
class DummySettings:
    """The dummy's system settings.

    Attributes:
        pbx: The PBX to connect to; ``None``: a new one for each connection.
    """

    pbx: DummyPbx | None = setting(default=None, help="The PBX in memory to connect to.")


@attrs.frozen(kw_only=True)
class DummyUserSettings:
    """The dummy's settings for a user.

    Attributes:
        number: The user's own number.
    """

    number: str = setting(default="100", help="The user's own number.")


class DummyCtiProvider(BaseCtiProvider):
    """A provider for the PBX in memory. Every leg of the user's number is a call, named by the leg's identifier."""

    provider_api = 1
    capabilities: ClassVar[Capabilities] = Capabilities(
        calls=CallFeature.DIAL | CallFeature.ANSWER | CallFeature.DROP | CallFeature.HOLD | CallFeature.UNHOLD | CallFeature.DTMF,
        agent=AgentFeature.SET_STATE,
        logged_out_state="NONREG",
    )
    marks_sent: ClassVar[bool] = True
    settings_type = DummySettings
    user_settings_type = DummyUserSettings

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        # A PBX of one's own is set by the clock on the wall, so that nobody is told that it is wrong.
        self._pbx: DummyPbx = context.settings.pbx or DummyPbx(start=context.clock.now())
        self._switch = self._pbx.switchboard
        self._presence = f"{context.user_settings.number}@{DOMAIN}"
        self._line: DummyLine | None = None
        self._is_started = False
        self._on_leg: dict[SwitchEventName, Callable[[SwitchEvent, LegSnapshot], None]] = {
            SwitchEventName.CHANNEL_CREATE: self._on_create,
            SwitchEventName.CHANNEL_ANSWER: self._on_answer,
            SwitchEventName.CHANNEL_HOLD: self._on_hold,
            SwitchEventName.CHANNEL_UNHOLD: self._on_unhold,
            SwitchEventName.CHANNEL_UUID: self._on_renamed,
            SwitchEventName.DTMF: self._on_tone,
            SwitchEventName.RECORD_START: self._on_record,
            SwitchEventName.RECORD_STOP: self._on_record,
            SwitchEventName.CHANNEL_HANGUP_COMPLETE: self._on_hangup,
        }

    # What the switch says

    async def run(self) -> None:
        """Live on one line to the PBX.

        Raises:
            CredentialsRefusedError: The PBX has no such user.
            NetworkError: The line was cut.
        """
        self._is_started = False
        self._line = line = self._pbx.plug_in(self._on_event)
        try:
            self.context.clock.forget()
            own = await line.ask(self._log_in)
            self.context.clock.observe(self._switch.now)
            self.context.report(
                Started(
                    at=self.context.clock.now(),
                    agent_states=_STATES,
                    own_numbers=(self.context.user_settings.number,),
                    agent=self._agent(own),
                )
            )
            self._is_started = True
            if self.context.settings.pbx is None:
                await drive(self._switch)
            await line.wait_cut()
        finally:
            self._line = None
            self._pbx.unplug(line)
        raise NetworkError("The line to the PBX in memory was cut.")

    async def diagnose(self, checks: Checks) -> None:
        """Look whether the user has a phone.

        Args:
            checks: Takes the step.
        """

        async def phone() -> Finding | str:
            state = self._switch.account(self._presence).state
            if state == "NONREG":
                return Finding(f"{self._presence} has no phone.", StepState.WARNING, remedy="Register one at the switchboard.")
            return f"{self._presence} has a phone; its state is {state}."

        await checks.check("agent_registered", phone)

    def _log_in(self) -> Account:
        if all(account.presence != self._presence for account in self._switch.accounts):
            raise CredentialsRefusedError(
                f"The PBX in memory has no user {self._presence!r}.", remedy="Set dummy.number to 100, 101 or 102."
            )
        return self._switch.account(self._presence)

    def _on_event(self, event: SwitchEvent) -> None:
        if not self._is_started:
            # The snapshot, which is asked for after ``Started``, has it.
            return
        self.context.clock.observe(event.at)
        if event.account is not None:
            if event.account.presence == self._presence:
                self.context.report(AgentReport(at=self.context.clock.now(), agent=self._agent(event.account)))
        elif event.name is SwitchEventName.CHANNEL_BRIDGE:
            for leg_uuid in (event.bridge_a, event.bridge_b):
                if leg_uuid is not None and self._is_own(leg_uuid):
                    self._on_bridge(event, leg_uuid)
        elif event.leg is not None and event.name in self._on_leg:
            self._on_leg[event.name](event, event.leg)

    def _on_create(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if leg.presence != self._presence:
            return
        # The switch learns the caller's name in the same moment, but after it told of the leg.
        leg = self._at_hand(leg.uuid) or leg
        at = self.context.clock.from_pbx(event.at)
        own, other = Party(leg.party_number, leg.party_name), Party(leg.peer_number, leg.peer_name)
        if leg.outgoing:
            self.context.report(Originated(at=at, call_id=leg.uuid, own=own, other=other))
        else:
            self.context.report(Offered(at=at, call_id=leg.uuid, own=own, other=other))

    def _on_bridge(self, event: SwitchEvent, leg_uuid: str) -> None:
        # It may be with somebody else now: the switch joins what was transferred with whom it was transferred to.
        leg = event.leg if event.leg is not None and event.leg.uuid == leg_uuid else self._at_hand(leg_uuid)
        other = None if leg is None else Party(leg.peer_number, leg.peer_name)
        at = self.context.clock.from_pbx(event.at)
        self.context.report(Connected(at=at, call_id=leg_uuid, other=other))
        # Whom it is with now may hold already, and whom it was with before may have held.
        now, call = self._at_hand(leg_uuid), self.context.call(leg_uuid)
        if now is not None and now.bridged_to is not None and call is not None:
            holds = self._switch.leg(now.bridged_to).snapshot.held
            if holds is not (Side.OTHER in call.held_by):
                self.context.report((Held if holds else Retrieved)(at=at, call_id=leg_uuid, by=Side.OTHER))

    def _on_renamed(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if leg.presence == self._presence and event.former_uuid is not None:
            self.context.report(IdChanged(at=self.context.clock.from_pbx(event.at), call_id=event.former_uuid, new_id=leg.uuid))

    def _on_record(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if leg.presence == self._presence:
            on = event.name is SwitchEventName.RECORD_START
            self.context.report(RecordingReport(at=self.context.clock.from_pbx(event.at), call_id=leg.uuid, on=on))

    def _on_answer(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if leg.presence == self._presence:
            self.context.report(Answered(at=self.context.clock.from_pbx(event.at), call_id=leg.uuid))

    def _on_hold(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        for call_id, by in self._concerned(leg):
            self.context.report(Held(at=self.context.clock.from_pbx(event.at), call_id=call_id, by=by))

    def _on_unhold(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        for call_id, by in self._concerned(leg):
            self.context.report(Retrieved(at=self.context.clock.from_pbx(event.at), call_id=call_id, by=by))

    def _on_tone(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        for call_id, by in self._concerned(leg):
            self.context.report(Tones(at=self.context.clock.from_pbx(event.at), call_id=call_id, digits=event.digit or "", by=by))

    def _on_hangup(self, event: SwitchEvent, leg: LegSnapshot) -> None:
        if leg.presence == self._presence:
            cause = _CAUSES.get(leg.hangup_cause or "", EndCause.UNKNOWN)
            self.context.report(
                Ended(at=self.context.clock.from_pbx(event.at), call_id=leg.uuid, cause=cause, pbx_cause=leg.hangup_cause)
            )

    def _concerned(self, leg: LegSnapshot) -> Iterator[tuple[str, Side]]:
        """Give the own calls that an event of a leg concerns, and on which side of them it happened."""
        if leg.presence == self._presence:
            yield leg.uuid, Side.OWN
        if leg.bridged_to is not None and self._is_own(leg.bridged_to):
            yield leg.bridged_to, Side.OTHER

    def _is_own(self, leg_uuid: str) -> bool:
        # What comes late can be about a leg that the switch has no more.
        return self._at_hand(leg_uuid) is not None or self.context.call(leg_uuid) is not None

    def _at_hand(self, leg_uuid: str) -> LegSnapshot | None:
        legs = (leg.snapshot for leg in self._switch.legs_of(self._presence))
        return next((leg for leg in legs if leg.uuid == leg_uuid), None)

    def _agent(self, account: Account) -> Agent:
        away = account.status if account.status != "NONE" else ""
        return Agent(state=away or account.state, note=account.description or None)

    # What the host asks

    async def probe(self) -> None:
        """Ask whether the PBX still answers."""
        await self._ask("probe", lambda: None)

    async def snapshot(self) -> Snapshot:
        """Tell the user's calls and state.

        Returns:
            All there is.
        """
        return await self._ask("snapshot", self._look)

    def _look(self) -> Snapshot:
        # As of when the PBX looked: its answer may take long.
        at = self.context.clock.from_pbx(self._switch.now)
        calls = tuple(self._seen(leg.snapshot) for leg in self._switch.legs_of(self._presence))
        return Snapshot(at=at, calls=calls, agent=self._agent(self._switch.account(self._presence)))

    def _seen(self, leg: LegSnapshot) -> CallSnapshot:
        partner = None if leg.bridged_to is None else self._switch.leg(leg.bridged_to).snapshot
        held_by = {Side.OWN} if leg.held else set()
        if partner is not None and partner.held:
            held_by.add(Side.OTHER)
        state = CallState.ALERTING if partner is None else CallState.CONNECTED
        from_pbx = self.context.clock.from_pbx
        return CallSnapshot(
            call_id=leg.uuid,
            direction=CallDirection.OUT if leg.outgoing else CallDirection.IN,
            state=CallState.HELD if held_by else state,
            held_by=frozenset(held_by),
            own=Party(leg.party_number, leg.party_name),
            other=Party(leg.peer_number, leg.peer_name),
            started_at=from_pbx(leg.created_at),
            answered_at=None if leg.answered_at is None else from_pbx(leg.answered_at),
            former_ids=self._pbx.former_ids(leg.uuid),
            recording=leg.recorded,
        )

    async def make_call(self, destination: str) -> Call:
        """Call a number: the switch rings the user's phone first.

        Args:
            destination: Digits, ``*``, ``#``, and a ``+`` in front.

        Returns:
            The call.

        Raises:
            InvalidArgumentError: It is no such number.
            CommandRefusedError: The switch refuses.
            CommandError: The call was made, and is over already.
        """
        if not re.fullmatch(r"\+?[0-9*#]+", destination):
            raise InvalidArgumentError(f"{destination!r} is no number.", remedy="Use digits, *, # and a + in front.")
        # As it is called at first: it may be called otherwise before the answer has come.
        call_id = await self._ask("make_call", lambda: self._switch.originate(self._presence, destination)[0].uuid)
        call = self.context.call(call_id)
        if call is None:
            raise CommandError("The call was over at once.", stage=CommandStage.ACCEPTED, command="make_call")
        return call

    async def drop_call(self, call: Call) -> None:
        """Hang up.

        Args:
            call: The call.
        """
        await self._ask("drop_call", lambda: self._switch.hang_up(call.id))

    async def answer_call(self, call: Call) -> None:
        """Pick the user's phone up.

        Args:
            call: The call.
        """
        await self._ask("answer_call", lambda: self._switch.answer(call.id))

    async def hold_call(self, call: Call) -> None:
        """Hold.

        Args:
            call: The call.
        """
        await self._ask("hold_call", lambda: self._switch.hold(call.id))

    async def unhold_call(self, call: Call) -> None:
        """Take back.

        Args:
            call: The call.
        """
        await self._ask("unhold_call", lambda: self._switch.unhold(call.id))

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Press keys.

        Args:
            call: The call.
            digits: Which.
        """
        await self._ask("send_dtmf", lambda: self._switch.tones(call.id, digits))

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        """Be ready, or away for a reason.

        Args:
            state: ``ONHOOK``, ``DND`` or ``ONBREAK``.
            reason: A note.

        Raises:
            InvalidArgumentError: It is no state that can be chosen.
        """
        selectable = [known.code for known in _STATES if known.selectable]
        if state not in selectable:
            raise InvalidArgumentError(f"{state!r} cannot be chosen.", remedy=f"Choose one of {', '.join(selectable)}.")
        status = "NONE" if state == "ONHOOK" else state
        await self._ask("set_agent_state", lambda: self._switch.set_status(self._presence, status, reason or ""))

    async def _ask(self, verb: str, act: Callable[[], T]) -> T:
        """Have the switch do something, and wait for its answer.

        Raises:
            NotConnectedError: There is no line to it.
            CommandRefusedError: It refuses.
            CommandUnconfirmedError: The line was lost before the answer came.
        """
        if self._line is None:
            raise NotConnectedError(f"{verb} was not sent: there is no line to the PBX in memory.", command=verb)
        self.context.command_sent()
        try:
            return await self._line.ask(act)
        except SwitchError as error:
            raise CommandRefusedError(f"The switch refused: {error.cause}.", command=verb, pbx_text=error.text) from error

    # A PBX in a box

    @classmethod
    @asynccontextmanager
    async def simulator(cls) -> AsyncIterator[Simulation]:
        """Run a PBX in memory in real time.

        Yields:
            It, with an operator at 100 and an outside number that answers by itself.
        """
        pbx = DummyPbx()
        far_side = _DummyFarSide(pbx.switchboard, f"100@{DOMAIN}", pbx.cut)
        simulation = Simulation(
            settings={"dummy.pbx": pbx},
            user=CtiUser(id="100", name="User 100", parameters={"dummy.number": "100"}),
            far_side=far_side,
            subscriber="0501234567",
            notes=("The PBX is in memory: nothing crosses a network.",),
        )
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drive, pbx.switchboard)
            try:
                yield simulation
            except Exception as error:  # noqa: BLE001  # passed on below as it is: a task group would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure


class _DummyFarSide(SwitchboardFarSide):
    """A far side that names calls as the provider does: by their legs."""

    async def incoming(self, number: str, name: str = "") -> str:
        _, (own, *_) = self.switchboard.incoming(number, self.presence, name=name)
        return own.uuid
