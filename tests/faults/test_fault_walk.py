"""Whatever goes wrong meanwhile: when it is over, the model is what the PBX is, and nothing was lost, doubled or kept silent.

Every kind of fault has a schedule in which it hits a call for sure; the others are drawn. Time jumps, so that time-outs of
minutes cost nothing.
"""

from __future__ import annotations

from typing import Any

import anyio
import hypothesis
import pytest
from hypothesis import HealthCheck, given, note
from hypothesis import strategies as st

from cti_framework.switchboard.faults import (
    DelayMessages,
    DropLink,
    DuplicateEvents,
    HalfOpen,
    LoseReplies,
    ReorderEvents,
    SlowPeer,
    SwitchFault,
)
from cti_framework.testing import (
    Bandwidth,
    BlackHole,
    Cut,
    Delay,
    Direction,
    Fault,
    HalfClose,
    Refuse,
    Reset,
    Split,
    Stall,
)
from tests.core.scripted import jumping_backend
from tests.faults.tally import Tally
from tests.faults.walk import Schedule, Step, carry_out
from tests.faults.worlds import DummyWorld, SimulatorWorld, World

BACKENDS = ("asyncio", "trio")
WORLDS = pytest.mark.parametrize("world", [DummyWorld, SimulatorWorld])
THOROUGH = hypothesis.settings().max_examples > 500
WALKS = 500 if THOROUGH else 50


async def walk(world: type[World], schedule: Schedule, backend: str, tally: Tally) -> list[str]:
    async with world.open(schedule.seed) as opened:
        done = await carry_out(schedule, opened)
        tally.add(opened, backend)
        return done


def run(world: type[World], schedule: Schedule, backend: str, tally: Tally) -> list[str]:
    name, options = jumping_backend(backend)
    done: list[str] = anyio.run(walk, world, schedule, backend, tally, backend=name, backend_options=options)
    return done


# --- schedules

messages, seconds = st.integers(1, 4), st.sampled_from((0.01, 0.2, 1.0, 4.0, 20.0))
pauses = st.sampled_from((0.0, 0.0, 0.01, 0.05, 0.1, 0.3, 0.6, 1.0, 3.0, 20.0))
FAULTS: dict[type[SwitchFault] | type[Fault], st.SearchStrategy[Any]] = {
    DropLink: st.just(DropLink()),
    HalfOpen: st.just(HalfOpen()),
    DelayMessages: st.builds(DelayMessages, messages, seconds),
    DuplicateEvents: st.builds(DuplicateEvents, messages),
    ReorderEvents: st.builds(ReorderEvents, messages),
    LoseReplies: st.builds(LoseReplies, messages),
    SlowPeer: st.builds(SlowPeer, messages, seconds),
    Delay: st.builds(Delay, seconds, seconds),
    Split: st.just(Split(1, 9)),
    Bandwidth: st.builds(Bandwidth, st.sampled_from((1000, 20_000))),
    Stall: st.builds(Stall, seconds),
    BlackHole: st.just(BlackHole()),
    HalfClose: st.just(HalfClose()),
    Reset: st.just(Reset()),
    Cut: st.just(Cut()),
    Refuse: st.builds(Refuse, seconds),
}
moves = st.builds(Step, st.integers(0, 1 << 16), pauses)


def schedules(world: type[World]) -> st.SearchStrategy[Schedule]:
    """Draw what happens: a fault among every few moves."""
    going_wrong = st.builds(
        Step, st.one_of([FAULTS[kind] for kind in world.kinds]), pauses, st.sampled_from((Direction.BOTH, *Direction))
    )
    steps = st.lists(st.one_of(moves, moves, moves, going_wrong), min_size=5, max_size=30).map(tuple)
    return st.builds(Schedule, st.integers(0, 1 << 32), steps)


def certain(kind: type[SwitchFault] | type[Fault]) -> Schedule:
    """Give a schedule in which a fault hits a call that is being made, and again one on hold while another comes and goes."""
    faults: dict[type[SwitchFault] | type[Fault], SwitchFault | Fault] = {
        DelayMessages: DelayMessages(6, 3.0),
        DuplicateEvents: DuplicateEvents(30),
        ReorderEvents: ReorderEvents(30),
        SlowPeer: SlowPeer(2, 3.0),
        Delay: Delay(1.0, jitter_seconds=1.0),
        Bandwidth: Bandwidth(1000),
        Stall: Stall(20.0),
        Refuse: Refuse(5.0),
    }
    fault = Step(faults.get(kind) or kind(), 0.0)
    # Who is connected is not refused.
    cut = (Step(Cut(), 0.0),) if kind is Refuse else ()
    return Schedule(
        1,
        (
            fault,
            Step("the operator calls", 60.0),
            Step("0509000001 hangs up", 60.0),
            Step("0671111111 calls", 0.1),
            Step("the phone of leg 0 answers", 0.5),
            Step("the operator holds call 0", 0.5),
            fault,
            *cut,
            Step("the operator sends tones to call 0", 0.0),
            Step("0671111111 presses a key", 0.0),
            Step("0672222222 calls", 0.0),
            Step("a supervisor sets ONBREAK", 0.0),
            Step("0672222222 hangs up", 0.5),
            Step("the operator is DND", 60.0),
            Step("the operator calls", 1.0),
            Step("the operator drops call 1", 0.0),
            Step("0672222222 calls", 0.0),
        ),
    )


# --- what walks have found


FOUND: dict[str, tuple[type[World], Schedule]] = {
    "the PBX joined a call with somebody who held already, and the call was not shown as held": (
        DummyWorld,
        Schedule(
            0,
            (
                Step("0671111111 calls", 0.0),
                Step("0672222222 calls", 0.0),
                Step("the phone of leg 0 answers", 0.0),
                Step("the phone of leg 1 answers", 0.0),
                Step("0672222222 holds", 0.0),
                Step("the PBX joins leg 0 with whom leg 1 talks to", 1.0),
            ),
        ),
    ),
    # At a site whose list of calls lags.
    "the answer to the second look was lost, and a call that the first could not see yet was never shown": (
        SimulatorWorld,
        Schedule(
            1,
            (
                Step(DropLink(), 0.1),
                Step("0672222222 calls", 0.0),
                Step("0671111111 calls", 0.01),
                Step("the phone of leg 0 answers", 1.01),
                Step("the phone of leg 0 presses a key", 0.01),
                Step(LoseReplies(), 0.3),
            ),
        ),
    ),
    "a call that only the answer on its way knew was renamed behind it, and never ended": (
        DummyWorld,
        Schedule(
            1,
            (
                Step(DropLink(), 0.0),
                Step("0671111111 calls", 0.0),
                Step(DelayMessages(2, 3.0), 1.0),
                Step("a supervisor sets ONBREAK", 0.0),
                Step("a supervisor sets NONE", 4.0),
                Step("the PBX renames leg 0", 20.0),
            ),
        ),
    ),
    "a call was told of by its new identifier before the change to it, was renamed again in an outage, and was hidden": (
        DummyWorld,
        Schedule(
            1,
            (
                Step("0671111111 calls", 1.0),
                Step("the phone of leg 0 answers", 1.0),
                Step(ReorderEvents(1), 0.0),
                Step("the PBX renames leg 0", 0.0),
                Step("the phone of leg 0 presses a key", 1.0),
                Step(DropLink(), 0.0),
                Step("the PBX renames leg 0", 20.0),
            ),
        ),
    ),
    "a call was renamed, and its end was another's": (
        DummyWorld,
        Schedule(
            1, (Step("0671111111 calls", 1.0), Step("the PBX renames leg 0", 1.0), Step("the phone of leg 0 hangs up", 1.0))
        ),
    ),
    "the PBX gave a call another far end, and the first was shown": (
        DummyWorld,
        Schedule(
            1,
            (
                Step("0671111111 calls", 1.0),
                Step("the phone of leg 0 answers", 1.0),
                Step("0672222222 calls", 1.0),
                Step("the phone of leg 1 answers", 1.0),
                Step("the PBX joins leg 0 with whom leg 1 talks to", 20.0),
            ),
        ),
    ),
    "what a network held back was taken for a clock that was set back, and the call had lasted no time": (
        DummyWorld,
        Schedule(
            1,
            (
                Step(DelayMessages(1, 30.0), 0.0),
                Step("0671111111 calls", 5.0),
                Step("the phone of leg 0 answers", 20.0),
                Step("the phone of leg 0 hangs up", 20.0),
            ),
        ),
    ),
    "a key was pressed while the answer to the question for the calls was on its way, and the call rang on for ever": (
        DummyWorld,
        Schedule(
            1,
            (
                Step("0671111111 calls", 1.0),
                Step(DropLink(), 0.0),
                Step("the phone of leg 0 answers", 0.2),
                Step(SlowPeer(3, 3.0), 0.0),
                *(Step("0671111111 presses a key", 0.1),) * 30,
            ),
        ),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", FOUND)
def test_what_a_walk_has_found(what: str, backend: str) -> None:
    world, schedule = FOUND[what]
    run(world, schedule, backend, Tally(world))


# --- the walk


@WORLDS
@pytest.mark.timeout(1800 if THOROUGH else 300)
def test_after_any_faults_the_model_is_what_the_pbx_is(world: type[World]) -> None:
    tally = Tally(world)
    for number, kind in enumerate(world.kinds):
        run(world, certain(kind), BACKENDS[number % 2], tally)

    @hypothesis.settings(
        max_examples=WALKS - len(world.kinds), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    @given(schedules(world), st.sampled_from(BACKENDS))
    def walks(schedule: Schedule, backend: str) -> None:
        note("\n".join(run(world, schedule, backend, tally)))

    try:
        walks()
    finally:
        tally.publish()
    assert tally.missing == []
    # A reader that comes back too late is rare: among fifty schedules there may be none.
    assert tally.resyncs or hypothesis.settings.get_current_profile_name() != "thorough"
    assert tally.backends == set(BACKENDS)
