"""One schedule: people call, hold, hang up and change their state, things go wrong meanwhile; afterwards all has to be true."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup
from structlog.testing import capture_logs

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallDirection, CallFeature
from cti_framework.errors import CommandError, CommandStage, CtiError
from cti_framework.events import CallEvent, CallFinished, CallSaved, CallStarted, Event, ProviderState, ResyncRequired
from cti_framework.switchboard import NO_STATUS, Leg, SwitchError
from cti_framework.switchboard.faults import DelayMessages, SlowPeer, SwitchFault
from cti_framework.testing import Direction, Fault
from tests.faults.worlds import OWN, World

CALLERS: Final = ("0671111111", "0672222222")
ENDING: Final = (
    CallFeature.DROP
    | CallFeature.BLIND_TRANSFER
    | CallFeature.COMPLETE_TRANSFER
    | CallFeature.CANCEL_TRANSFER
    | CallFeature.UNHOLD
)
STATES: Final = ("ONHOOK", "DND", "ONBREAK")
MOST_LEGS: Final = 3
FURTHER: Final = 3
PATIENCE_SECONDS: Final = 3600.0
_QUIET_SECONDS: Final = 40.0
_MOST_DEAD_CONNECTIONS: Final = 3
_EVENTS_AT_A_SITTING: Final = 5
_AWAY_SECONDS: Final = 30.0
_CLOCKS_DIFFER_SECONDS: Final = 2.0
_LONGEST_DELAY_SECONDS: Final = 1.0


@attrs.frozen
class Step:
    """One thing that happens, and how long it is left alone after it.

    Attributes:
        what: A fault; or what somebody does: a number that chooses among all that can be done just now, or its name.
        seconds: How long nothing else happens.
        direction: Which way a fault of the network works.
    """

    what: int | str | SwitchFault | Fault
    seconds: float
    direction: Direction = Direction.BOTH

    def __str__(self) -> str:
        return f"{self.what} {self.direction} {self.seconds}" if isinstance(self.what, Fault) else f"{self.what} {self.seconds}"


@attrs.frozen
class Schedule:
    """What happens, in order."""

    seed: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"seed {self.seed}: " + ", ".join(map(str, self.steps))


@attrs.frozen
class Dialled:
    """What became of a call that the operator asked for."""

    number: str
    call: Call | None
    error: CtiError | None


class Walk:
    """One schedule at one PBX.

    Args:
        world: Where.
        tasks: Where what the operator asks runs: he does not wait for one thing before he does the next.
    """

    def __init__(self, world: World, tasks: TaskGroup) -> None:
        self.world = world
        self.model = world.model
        self.done: list[str] = []
        self.asked: list[Dialled] = []
        self.faults: list[Exception] = []
        self._tasks = tasks
        self._asking = 0
        self._all_ended = anyio.Event()
        self._numbers = 0

    # --- what can be done just now

    def moves(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """List it, always in the same order. What leads further is in it more often than what ends a call."""
        yield from self._of_the_operator()
        yield from self._of_far_ends()
        yield from self._of_phones()
        yield from self._of_the_pbx()

    def _of_the_operator(self) -> Iterator[tuple[str, Callable[[], object]]]:
        model = self.model
        if CallFeature.DIAL in model.features and len(self.world.own_legs) < MOST_LEGS:
            yield from [("the operator calls", partial(self._dial, model.make_call))] * FURTHER
        for place, call in enumerate(model.calls):
            verbs: dict[CallFeature, tuple[str, Callable[[], Awaitable[object]]]] = {
                CallFeature.ANSWER: ("answers", partial(model.answer_call, call)),
                CallFeature.DROP: ("drops", partial(model.drop_call, call)),
                CallFeature.HOLD: ("holds", partial(model.hold_call, call)),
                CallFeature.UNHOLD: ("takes back", partial(model.unhold_call, call)),
                CallFeature.DTMF: ("sends tones to", partial(model.send_dtmf, "5", call)),
                CallFeature.BLIND_TRANSFER: ("sends on", partial(model.blind_transfer, "0504444444", call)),
                CallFeature.COMPLETE_TRANSFER: ("transfers", partial(model.complete_transfer, call)),
                CallFeature.CANCEL_TRANSFER: ("cancels the transfer of", partial(model.cancel_transfer, call)),
                CallFeature.ALTERNATE: ("alternates", partial(model.alternate, call)),
            }
            for feature, (name, act) in verbs.items():
                if feature in call.features:
                    yield from [(f"the operator {name} call {place}", partial(self._ask, act))] * (
                        1 if feature in ENDING else FURTHER
                    )
            if CallFeature.CONSULT in call.features and len(self.world.own_legs) < MOST_LEGS:
                yield from [
                    (f"the operator enquires for call {place}", partial(self._dial, model.make_consult_call, call))
                ] * FURTHER
        if AgentFeature.SET_STATE in model.agent_features and model.provider_state is ProviderState.IN_SERVICE:
            for state in STATES:
                yield f"the operator is {state}", partial(self._ask, partial(model.set_agent_state, state))
        if AgentFeature.CALL_CENTRE_MODE in model.agent_features and model.provider_state is ProviderState.IN_SERVICE:
            for on in (True, False):
                yield f"the operator sets call-centre mode {on}", partial(self._ask, partial(model.set_call_centre_mode, on))

    def _of_far_ends(self) -> Iterator[tuple[str, Callable[[], object]]]:
        switch = self.world.switchboard
        for caller in CALLERS:
            if len(self.world.own_legs) < MOST_LEGS and not switch.legs_at(caller):
                yield from [(f"{caller} calls", partial(switch.incoming, caller, OWN))] * FURTHER
        for leg in switch.legs:
            if leg.snapshot.presence is None:
                yield from self._of_leg(leg.snapshot.party_number, leg)

    def _of_phones(self) -> Iterator[tuple[str, Callable[[], object]]]:
        if not self.world.own_legs:
            yield "the operator dials on the phone", partial(self.world.switchboard.dial_from_device, OWN, "0505555555")
        for place, leg in enumerate(self.world.own_legs):
            yield from self._of_leg(f"the phone of leg {place}", leg)

    def _of_leg(self, who: str, leg: Leg) -> Iterator[tuple[str, Callable[[], object]]]:
        switch = self.world.switchboard
        if leg.rings_in is not None:
            yield from [(f"{who} answers", partial(switch.answer, leg.uuid))] * 2 * FURTHER
        elif leg.partner is not None:
            if leg.snapshot.held:
                yield f"{who} takes back", partial(switch.unhold, leg.uuid)
            else:
                yield from [(f"{who} holds", partial(switch.hold, leg.uuid))] * FURTHER
                yield f"{who} presses a key", partial(switch.tones, leg.uuid, "7")
        yield f"{who} hangs up", partial(switch.hang_up, leg.uuid)

    def _of_the_pbx(self) -> Iterator[tuple[str, Callable[[], object]]]:
        switch = self.world.switchboard
        for status in (NO_STATUS, "ONBREAK"):
            yield f"a supervisor sets {status}", partial(switch.set_status, OWN, status)
        registered = not switch.account(OWN).registered_devices
        yield f"the phone registers: {registered}", partial(switch.set_registered, OWN, registered)
        yield "the PBX is killed", self.world.kill
        own_legs = self.world.own_legs
        for place, leg in enumerate(own_legs):
            yield f"the PBX renames leg {place}", partial(self._rename, leg)
            for further, other in enumerate(own_legs):
                if not self.world.tells_joins or leg is other or not leg.answered:
                    continue
                if other.partner is not None and other.partner not in own_legs:
                    name = f"the PBX joins leg {place} with whom leg {further} talks to"
                    yield name, partial(switch.bridge, leg.uuid, other.partner.uuid)

    def _rename(self, leg: Leg) -> None:
        self.world.switchboard.rename(leg.uuid, self.world.switchboard.new_id())

    # --- what the operator asks

    def _dial(self, verb: Callable[..., Awaitable[Call]], *before: Any) -> None:
        self._numbers += 1
        number = f"0509{self._numbers:06}"

        async def dial() -> None:
            try:
                # The enquiry's verb takes the call last.
                self.asked.append(Dialled(number, await verb(number, *before), None))
            except CtiError as error:
                self.asked.append(Dialled(number, None, error))
                raise

        self._ask(dial)

    def _ask(self, act: Callable[[], Awaitable[object]]) -> None:
        self._asking += 1

        async def ask() -> None:
            try:
                await act()
            except CtiError as error:
                if "fault of the plugin" in str(error):
                    self.faults.append(error)
            finally:
                self._asking -= 1
                if not self._asking:
                    self._all_ended.set()

        self._tasks.start_soon(ask)

    async def until_all_is_answered(self) -> None:
        """Wait until each verb has ended."""
        while self._asking:
            self._all_ended = anyio.Event()
            await self._all_ended.wait()

    # --- the steps

    async def take(self, step: Step) -> None:
        if isinstance(step.what, int | str):
            possible = list(self.moves())
            if isinstance(step.what, str):
                possible = [move for move in possible if move[0] == step.what] or [(f"not now: {step.what}", lambda: None)]
            name, act = possible[step.what % len(possible) if isinstance(step.what, int) else 0]
            self.done.append(name)
            try:
                act()
            except SwitchError as error:
                self.done[-1] += f" ({error})"
        else:
            self.done.append(f"FAULT {step.what}")
            self.world.spoil(step.what, step.direction)
        # In the loop's time, which jumps: this is when the next step comes.
        await anyio.sleep(step.seconds)


class Reader:
    """Reads the session's events a few at a time, stops, and comes back with its cursor."""

    def __init__(self, world: World) -> None:
        self._model = world.model
        # Where few events are kept he may come back too late for some.
        self._away_seconds = _AWAY_SECONDS if world.keeps_few_events else 0.0
        self.cursor = world.model.cursor
        self.events: list[Event] = []
        self._has_read = anyio.Event()

    async def catch_up(self) -> None:
        """Wait until there is nothing more to read."""
        while self.cursor != self._model.cursor:
            self._has_read = anyio.Event()
            await self._has_read.wait()

    async def read(self) -> None:
        while True:
            taken = 0
            async for event in self._model.events(after=self.cursor):
                self.events.append(event)
                self.cursor = event.cursor
                self._has_read.set()
                taken += 1
                if taken == _EVENTS_AT_A_SITTING:
                    break
            else:
                return
            await anyio.sleep(self._away_seconds)


async def carry_out(schedule: Schedule, world: World) -> list[str]:
    """Carry a schedule out, and look whether all is true afterwards."""
    random.seed(schedule.seed)
    log: list[Any]
    with capture_logs() as log:
        async with anyio.create_task_group() as tasks:
            walk, reader, all_events = Walk(world, tasks), Reader(world), world.model.events(after=world.model.cursor)
            reading = anyio.CancelScope()
            told: list[Event] = []

            async def listen() -> None:
                # He who never goes away is told all of them, however few are kept.
                async for event in all_events:
                    told.append(event)

            async def read() -> None:
                with reading:
                    async with anyio.create_task_group() as readers:
                        readers.start_soon(listen)
                        await reader.read()

            tasks.start_soon(read)
            for step in schedule.steps:
                await walk.take(step)
            world.heal()
            try:
                await _ends_well(walk, "after the faults")
                for leg in world.switchboard.legs:
                    if any(leg is live for live in world.switchboard.legs):
                        world.switchboard.hang_up(leg.uuid)
                await _ends_well(walk, "at the end")
                assert not world.model.calls
                with anyio.fail_after(PATIENCE_SECONDS):
                    await reader.catch_up()
            except BaseException as error:
                error.add_note("\n".join(walk.done))
                raise
            reading.cancel()
            while (event := all_events.next_nowait()) is not None:
                told.append(event)
    world.count_refused(told)
    world.resyncs = sum(isinstance(event, ResyncRequired) for event in reader.events)
    try:
        _check_events(told)
        _check_read(told, reader.events)
        _check_dialled(walk)
        if not _may_look_set_back(schedule):
            _check_times(told, world)
        assert walk.faults == []
        loud = [entry for entry in log if entry["log_level"] in ("error", "critical")]
        assert loud == []
        assert not set(world.model.refused_reports) & {"bad_report"}
    except AssertionError as error:
        error.add_note("\n".join(walk.done))
        raise
    return walk.done


async def _ends_well(walk: Walk, when: str) -> None:
    """Wait until the PBX's last word has come, and then see that the model shows what is there."""
    world, model = walk.world, walk.model
    note = f"agreed {when}"
    events = model.events()

    def agreed() -> bool:
        return (
            model.provider_state is ProviderState.IN_SERVICE
            and world.model_agent == world.pbx_agent
            and world.model_says() == world.pbx_says()
            and not any(call.stale for call in model.calls)
        )

    def why() -> str:
        return (
            f"{when} the model ({model.provider_state.value}) shows {world.model_says()} {world.model_agent},"
            f" the PBX has {world.pbx_says()} {world.pbx_agent}"
        )

    await walk.until_all_is_answered()
    for _ in range(_MOST_DEAD_CONNECTIONS):
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                while not (agreed() and model.agent.note == note):
                    if world.switchboard.account(OWN).description != note:
                        # Whoever sets a state clears the note: the core, which gives the PBX the state that it has forgotten.
                        world.switchboard.set_status(OWN, world.switchboard.account(OWN).status, note)
                    await anext(events)
        except TimeoutError:
            raise AssertionError(why()) from None
        # It stays so, unless the connection is dead one way and was noticed to be only now.
        await anyio.sleep(_QUIET_SECONDS)
        if model.provider_state is ProviderState.IN_SERVICE:
            break
    assert agreed(), why()


def _check_read(told: list[Event], read: list[Event]) -> None:
    """No event is missing or doubled for who comes back with a cursor; what was gone by then he is told of as it has become."""
    by_seq = {event.seq: event for event in told}
    place = told[0].seq - 1
    for event in read:
        if isinstance(event, ResyncRequired):
            assert event.missed == event.seq - place
            assert {call.id for call in event.calls} == _open_calls([past for past in told if past.seq <= event.seq])
        else:
            assert event == by_seq[place + 1]
        place = event.seq
    assert place == told[-1].seq


def _open_calls(told: list[Event]) -> set[str]:
    open_ids: set[str] = set()
    for event in told:
        if isinstance(event, CallEvent) and not isinstance(event, CallSaved):
            open_ids -= {event.call.id, *event.call.former_ids}
            if not isinstance(event, CallFinished):
                open_ids.add(event.call.id)
    return open_ids


def _check_events(told: list[Event]) -> None:
    """Each event was told once, and each call that was shown ended exactly once."""
    assert [event.seq for event in told] == list(range(told[0].seq, told[0].seq + len(told)))
    assert len({event.epoch for event in told}) == 1
    open_ids: set[str] = set()
    ended: set[str] = set()
    for event in told:
        if not isinstance(event, CallEvent) or isinstance(event, CallSaved):
            continue
        call = event.call
        names = {call.id, *call.former_ids}
        assert not names & ended, f"{event} after the end"
        if isinstance(event, CallStarted):
            assert not names & open_ids, f"{event} twice"
        else:
            assert names & open_ids, f"{event} before the beginning"
        open_ids |= names
        if isinstance(event, CallFinished):
            open_ids -= names
            ended |= names
    assert open_ids == set()


def _may_look_set_back(schedule: Schedule) -> bool:
    """Whether messages some seconds apart may be late by the same: then nobody can tell that the PBX's clock was not set back."""
    delays = [step.what for step in schedule.steps if isinstance(step.what, DelayMessages | SlowPeer)]
    long = [delay for delay in delays if delay.seconds > _LONGEST_DELAY_SECONDS]
    return sum(delay.messages for delay in long) > 1


def _check_times(told: list[Event], world: World) -> None:
    """However late it was told, a call that was seen to begin and to end lasted as long as it did."""
    seen_to_begin: set[str] = set()
    for event in told:
        if not isinstance(event, CallEvent):
            continue
        call = event.call
        if isinstance(event, CallStarted) and call.direction is not CallDirection.UNKNOWN:
            seen_to_begin.add(call.id)
        elif isinstance(event, CallFinished) and not call.inferred and seen_to_begin & {call.id, *call.former_ids}:
            lasted = world.lasted.get(call.id, call.total_seconds)
            assert abs(call.total_seconds - lasted) < _CLOCKS_DIFFER_SECONDS, (call, lasted)


def _check_dialled(walk: Walk) -> None:
    """Nobody is called twice, and what is said about a command is true."""
    assert all(count == 1 for count in walk.world.dialled.values()), walk.world.dialled
    for dialled in walk.asked:
        count, call, error = walk.world.dialled[dialled.number], dialled.call, dialled.error
        if call is not None:
            assert (count, call.other.number) == (1, dialled.number), dialled
        elif isinstance(error, CommandError) and error.stage in (CommandStage.NOT_SENT, CommandStage.REJECTED):
            assert count == 0, dialled
        elif isinstance(error, CommandError) and error.stage is CommandStage.ACCEPTED:
            assert count == 1, dialled
