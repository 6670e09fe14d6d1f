"""PBXs on which everything can go wrong, and an operator at each: the dummy's, and a simulated Webitel behind a bad network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar

import anyio
import pytest
from typed_settings.types import Secret

from cti_dummy import DummyCtiProvider, DummyPbx, DummySettings, DummyUserSettings
from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import CallState, Side
from cti_framework.clock import SessionClock
from cti_framework.errors import OutageKind
from cti_framework.events import CallFinished, CallStarted, Event, ProviderStateChanged
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.switchboard import Device, Leg, Switchboard, SwitchEvent, SwitchEventName, SwitchOptions, drive
from cti_framework.switchboard.faults import (
    ALL_SWITCH_KINDS,
    DropLink,
    FaultHit,
    FaultLink,
    HalfOpen,
    SwitchFault,
    SwitchFaults,
)
from cti_framework.testing import ALL_KINDS, BlackHole, Cut, Direction, Fault, FaultProxy, HalfClose, Refuse, Reset, fault_proxy
from cti_webitel.engine.client import Webitel
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel

OWN = "100@demo.local"
START = datetime(2026, 11, 22, 8, tzinfo=UTC)
POLICY = ReconnectPolicy(initial_delay_seconds=0.5, maximum_delay_seconds=4.0, stable_after_seconds=5.0)
_OF_ONE_CONNECTION = (BlackHole, HalfClose, Reset, Cut)
_LOG_CAPACITY = 100_000
_SMALL_LOG_CAPACITY = 24


class World(ABC):
    """A PBX, the operator's session at it, and what is between.

    Attributes:
        kinds: The faults that it can have.
        model: The session.
        switchboard: The switch.
        dialled: How often each number was dialled for the operator.
        hits: How often each kind of fault hit while a call was open.
        keeps_few_events: Whether who comes back late may find events gone.
        resyncs: How often that happened.
        tells_far_holds: Whether the model is told what far ends hold.
        tells_joins: Whether the model is told with whom a call is that the PBX joins with another.
        lasted: How many seconds each of the operator's legs lasted that is over, by its last identifier; where the model is told
            when everything happened.
    """

    tells_far_holds: ClassVar[bool]
    tells_joins: ClassVar[bool]
    lasted: dict[str, float]
    kinds: ClassVar[tuple[type[SwitchFault] | type[Fault], ...]]
    model: CtiModel
    switchboard: Switchboard
    faults: SwitchFaults

    def __init__(self, seed: int) -> None:
        self.keeps_few_events = bool(seed & 8)
        self.resyncs = 0
        self.dialled: Counter[str] = Counter()
        self.hits: Counter[type[SwitchFault] | type[Fault]] = Counter()
        self.lasted = {}
        self._for_next_link: list[SwitchFault] = []

    def _furnish(self, switchboard: Switchboard, faults: SwitchFaults) -> None:
        self.switchboard, self.faults = switchboard, faults
        faults.on_hit = self._on_hit
        originate = switchboard.originate

        def counted(presence: str, destination: str, **options: Any) -> tuple[Leg, ...]:
            legs = originate(presence, destination, **options)
            if presence == OWN:
                self.dialled[destination] += 1
            return legs

        vars(switchboard)["originate"] = counted
        open_link = faults.open_link

        def met(**ends: Any) -> FaultLink[Any, Any]:
            link = open_link(**ends)
            while self._for_next_link:
                link.apply(self._for_next_link.pop(0))
            return link

        vars(faults)["open_link"] = met

    def _on_hit(self, hit: FaultHit) -> None:
        self._count(type(hit.fault))

    def _count(self, kind: type[SwitchFault] | type[Fault]) -> None:
        if self.own_legs:
            self.hits[kind] += 1

    def count_refused(self, told: list[Event]) -> None:
        """Count the attempts that were refused while the model had a call: the network tells nobody of them."""
        open_calls = 0
        for event in told:
            if isinstance(event, CallStarted):
                open_calls += 1
            elif isinstance(event, CallFinished):
                open_calls -= 1
            elif isinstance(event, ProviderStateChanged) and event.next_try_at is not None and open_calls:
                self.hits[Refuse] += event.error is not None and OutageKind.of(event.error) is OutageKind.REFUSED

    @property
    def log_capacity(self) -> int:
        """How many events the session keeps."""
        return _SMALL_LOG_CAPACITY if self.keeps_few_events else _LOG_CAPACITY

    @property
    def own_legs(self) -> tuple[Leg, ...]:
        """The operator's legs at the switch."""
        return self.switchboard.legs_of(OWN)

    def spoil(self, fault: SwitchFault | Fault, direction: Direction) -> None:
        """Let something go wrong now."""
        assert isinstance(fault, SwitchFault)
        links = self.faults.links
        if not links and not isinstance(fault, DropLink | HalfOpen):
            # Somebody is connecting: it meets him.
            self._for_next_link.append(fault)
        self.faults.apply(fault)
        if links and not self.faults.links:
            self._count(type(fault))

    @classmethod
    @abstractmethod
    def open(cls, seed: int) -> AbstractAsyncContextManager[World]:
        """Open a session at a PBX of its own."""

    @abstractmethod
    def kill(self) -> None:
        """The PBX is killed and started anew: its calls are gone without a word, and so are its connections."""

    def heal(self) -> None:
        """Let nothing go wrong any more. Connections that are dead stay so, without a word."""
        self._for_next_link.clear()
        self.faults.heal()

    def pbx_says(self) -> list[tuple[str, str, bool, bool, str]]:
        """Tell the operator's calls as the switch has them: state, direction, held by him, held by the far end, with whom."""
        by_call: dict[str, list[Leg]] = {}
        for leg in self.own_legs:
            by_call.setdefault(self._name_of(leg), []).append(leg)
        return sorted(_as_a_call(legs, far_holds=self.tells_far_holds) for legs in by_call.values())

    def _name_of(self, leg: Leg) -> str:
        return leg.uuid

    def model_says(self) -> list[tuple[str, str, bool, bool, str]]:
        """Tell the operator's calls as the model shows them."""
        return sorted(
            (
                _state(call.state, held := Side.OWN in call.held_by, far := self.tells_far_holds and Side.OTHER in call.held_by),
                call.direction.name,
                held,
                far,
                call.other.number,
            )
            for call in self.model.calls
        )

    @property
    def pbx_agent(self) -> tuple[str, str, bool | None]:
        """Tell the operator's state as the PBX has it: state, note, call-centre mode."""
        account = self.switchboard.account(OWN)
        return account.status if account.status != "NONE" else account.state, account.description, None

    @property
    def model_agent(self) -> tuple[str, str, bool | None]:
        """Tell the operator's state as the model shows it."""
        agent = self.model.agent
        return agent.state, agent.note or "", agent.call_centre_mode


def _state(state: CallState, held: bool, held_by_far: bool) -> str:
    # The far end's hold is not heard of everywhere.
    return "CONNECTED" if state is CallState.HELD and not held and not held_by_far else state.name


def _as_a_call(legs: list[Leg], *, far_holds: bool) -> tuple[str, str, bool, bool, str]:
    held = any(leg.snapshot.held for leg in legs)
    far = far_holds and any(leg.partner is not None and leg.partner.snapshot.held for leg in legs)
    talks = any(leg.partner is not None for leg in legs)
    state = CallState.HELD if held or far else CallState.CONNECTED if talks else CallState.ALERTING
    return state.name, "OUT" if legs[0].snapshot.outgoing else "IN", held, far, legs[0].snapshot.peer_number


def _clock() -> SessionClock:
    """Give a session's clock that goes by the loop's time."""
    return SessionClock(wall=lambda: START + timedelta(seconds=anyio.current_time()), monotonic=anyio.current_time)


class DummyWorld(World):
    """The dummy's PBX."""

    kinds = ALL_SWITCH_KINDS
    tells_far_holds = True
    tells_joins = True

    def __init__(self, pbx: DummyPbx, seed: int) -> None:
        super().__init__(seed)
        self.pbx = pbx
        self._furnish(pbx.switchboard, pbx.faults)
        pbx.switchboard.subscribe(self._note_end)
        self.model = CtiModel(
            DummyCtiProvider,
            user=CtiUser("100"),
            settings=DummySettings(pbx=pbx),
            user_settings=DummyUserSettings(),
            name="dummy",
            policy=POLICY,
            clock=_clock(),
            event_log_capacity=self.log_capacity,
        )

    def _note_end(self, event: SwitchEvent) -> None:
        leg = event.leg
        if event.name is SwitchEventName.CHANNEL_HANGUP_COMPLETE and leg is not None and leg.presence == OWN:
            self.lasted[leg.uuid] = (event.at - leg.created_at).total_seconds()

    def kill(self) -> None:
        self.switchboard.reset()
        self.pbx.cut()

    @classmethod
    @asynccontextmanager
    async def open(cls, seed: int) -> AsyncIterator[DummyWorld]:
        """Open a session at a PBX of its own."""
        by_hand = SwitchOptions(own_answer_seconds=0.5, far_answer_seconds=None, ring_timeout_seconds=1e6)
        switchboard = Switchboard(seed=seed, start=START, options=by_hand)
        for number in ("100", "101", "102"):
            switchboard.add_account(number)
        world = cls(DummyPbx(switchboard), seed)
        async with _driven(switchboard), world.model:
            yield world


@asynccontextmanager
async def _driven(switchboard: Switchboard) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(drive, switchboard)
        yield
        tasks.cancel_scope.cancel()


class SimulatorWorld(World):
    """Webitel's simulator, behind a network that fails as well."""

    kinds = (*ALL_SWITCH_KINDS, *ALL_KINDS)
    tells_far_holds = False
    # An outgoing call goes on showing whom it was made to where no frame with other numbers comes.
    tells_joins = False

    def __init__(self, simulator: WebitelSimulator, proxy: FaultProxy, seed: int) -> None:
        super().__init__(seed)
        self.simulator = simulator
        self.proxy = proxy
        self._furnish(simulator.switchboard, simulator.faults)
        self.model = CtiModel(
            WebitelCtiProvider,
            user=CtiUser("100"),
            settings=WebitelSettings(connection_string=proxy.url_for(simulator.url)),
            user_settings=WebitelUserSettings(login=OWN, password=Secret("100")),
            name="webitel",
            policy=POLICY,
            clock=_clock(),
            event_log_capacity=self.log_capacity,
        )

    def spoil(self, fault: SwitchFault | Fault, direction: Direction) -> None:
        if isinstance(fault, SwitchFault):
            super().spoil(fault, direction)
            return
        if isinstance(fault, _OF_ONE_CONNECTION):
            for connection in self.proxy.connections:
                if connection.open:
                    self._count(type(fault))
                    connection.apply(fault, direction)
        else:
            if not isinstance(fault, Refuse):
                self._count(type(fault))
            self.proxy.apply(fault, direction)

    def kill(self) -> None:
        self.simulator.engine.reset()
        self.simulator.cut()

    def heal(self) -> None:
        super().heal()
        self.proxy.clear()
        self.proxy.accept()

    def _name_of(self, leg: Leg) -> str:
        return leg.snapshot.call_id or leg.snapshot.call_uuid

    @property
    def pbx_agent(self) -> tuple[str, str, bool | None]:
        account = self.switchboard.account(OWN)
        busy = account.state == "ISBUSY" and bool(self.own_legs)
        away = account.status if account.status != "NONE" and not busy else account.state
        return away, account.description, account.agent_status != "Logged Out"

    @classmethod
    @asynccontextmanager
    async def open(cls, seed: int) -> AsyncIterator[SimulatorWorld]:
        """Open a session at a simulator of its own."""
        options = SimulatorOptions(
            own_answer_seconds=0.5,
            far_answer_seconds=None,
            ring_timeout_seconds=1e6,
            sockets_per_account=1000,
            # Sites differ. None passes on holds of far ends: a dump cannot tell such a hold from one of our own that is over.
            table_lag_seconds=0.5 if seed & 1 else 0.0,
            switch_seconds=0.2 if seed & 2 else 0.0,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cti_webitel.provider.Webitel", partial(Webitel, clock=anyio.current_time))
            async with (
                serve_webitel(control_port=None, options=options, seed=seed, start=START) as simulator,
                fault_proxy(simulator.host, simulator.port, seed=seed) as proxy,
            ):
                if seed & 4:
                    simulator.switchboard.set_account(OWN, devices=(Device(), Device(number=2)))
                world = cls(simulator, proxy, seed)
                async with world.model:
                    yield world
