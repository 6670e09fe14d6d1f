"""One clock a session: a PBX whose clock is wrong, drifts and is far away, and a computer whose clock is set meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.clock import SessionClock
from cti_framework.events import SnapshotTaken
from tests.core.scripted import Pbx, jumping_backend, session, until

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


class World:
    """True time, which passes when a test says so, and the computer's clock, which anybody may set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.wall_is_off = timedelta(0)
        self.clock = SessionClock(wall=self.wall, monotonic=lambda: 1000.0 + self.passed)

    def wall(self) -> datetime:
        return START + timedelta(seconds=self.passed) + self.wall_is_off

    def ahead(self) -> float | None:
        return self.clock.pbx_ahead_seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)


@pytest.fixture
def world() -> World:
    return World()


def test_it_starts_at_the_computers_time_and_runs(world: World) -> None:
    assert world.clock.now() == START
    world.passed = 12.5
    assert world.clock.now() == START + timedelta(seconds=12.5)
    assert world.clock.now().tzinfo is UTC


def test_without_arguments_it_is_the_computers_own() -> None:
    before = datetime.now(UTC)
    now = SessionClock().now()
    assert now.tzinfo is UTC
    assert abs(now - before) < timedelta(seconds=60)


def test_after_the_computer_slept_it_catches_up_and_forgets_what_it_learnt(world: World) -> None:
    # CLOCK_MONOTONIC stands still meanwhile.
    world.wall_is_off = timedelta(hours=8)
    world.clock.observe(world.now() + timedelta(hours=8))
    assert world.clock.now() == START
    world.clock.catch_up()
    assert world.clock.now() == START + timedelta(hours=8)
    assert world.ahead() is None
    world.passed = 1.0
    world.clock.observe(world.wall())
    assert world.clock.from_pbx(world.wall()) == world.clock.now() == world.wall()


@pytest.mark.parametrize("seconds", [-36_000.0, -1.0, 0.0, 4.0])
def test_it_never_goes_back_and_not_forward_by_little(world: World, seconds: float) -> None:
    world.wall_is_off = timedelta(seconds=seconds)
    world.clock.observe(world.now() + timedelta(seconds=7))
    world.clock.catch_up()
    assert (world.clock.now(), world.ahead()) == (START, 7.0)


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_setting_the_computers_clock_has_no_effect_meanwhile(world: World, jump: timedelta) -> None:
    world.clock.observe(world.now())
    world.passed = 1.0
    world.wall_is_off = jump
    assert world.clock.now() == START + timedelta(seconds=1)
    assert world.clock.from_pbx(START + timedelta(seconds=1)) == START + timedelta(seconds=1)


def test_a_wall_clock_of_another_zone_is_brought_to_utc() -> None:
    clock = SessionClock(wall=lambda: START.astimezone(timezone(timedelta(hours=3))), monotonic=lambda: 0.0)
    assert clock.now() == START
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(minutes=-1), timedelta(0)])
def test_a_pbx_whose_clock_is_wrong(world: World, ahead: timedelta) -> None:
    assert world.ahead() is None
    world.clock.observe(world.now() + ahead)
    assert world.ahead() == ahead.total_seconds()
    began = world.now()
    world.passed = 42.0
    assert world.clock.from_pbx(began + ahead) == began
    assert world.clock.from_pbx(world.now() + ahead) == world.now()
    # What the PBX calls elapsed is what elapsed.
    told = [world.clock.from_pbx(began + ahead + timedelta(seconds=seconds)) for seconds in (1, 30)]
    assert told[1] - told[0] == timedelta(seconds=29)


def test_the_least_delayed_observation_counts(world: World) -> None:
    ahead = timedelta(minutes=10)
    for delay in (0.8, 0.05, 2.0, 0.3):
        world.passed += 5.0
        world.clock.observe(world.now() + ahead - timedelta(seconds=delay))
    assert world.ahead() == pytest.approx(600 - 0.05)


@pytest.mark.parametrize("drift", [0.001, -0.001])
def test_a_pbx_whose_clock_drifts_is_followed(world: World, drift: float) -> None:
    for _ in range(1000):
        world.passed += 1.0
        world.clock.observe(world.now() + timedelta(seconds=world.passed * drift))
    assert world.ahead() == pytest.approx(1000 * drift, abs=32 * abs(drift))


def test_a_pbx_that_is_set_back_is_believed_at_once(world: World) -> None:
    world.clock.observe(world.now() + timedelta(minutes=10))
    world.clock.observe(world.now())
    assert world.ahead() == 0.0


def test_after_a_silence_a_pbx_that_was_set_back_is_believed_when_it_stays_so(world: World) -> None:
    world.clock.observe(world.now() + timedelta(minutes=10))
    world.passed = 3600.0
    for seconds, late, ahead in ((0.0, 0.0, 600.0), (0.5, 0.4, 600.0), (1.0, 0.0, 600.0), (2.0, 0.9, -0.9), (2.5, 0.0, 0.0)):
        world.passed = 3600.0 + seconds
        world.clock.observe(world.now() - timedelta(seconds=late))
        assert world.ahead() == pytest.approx(ahead)


@pytest.mark.parametrize("stall", [6.0, 45.0, 3600.0])
@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=-10)])
def test_what_a_network_held_back_does_not_look_like_a_clock_that_was_set_back(
    world: World, stall: float, ahead: timedelta
) -> None:
    world.clock.observe(world.now() + ahead)
    happened = [START + timedelta(seconds=stall * part) for part in (0.02, 0.3, 0.3, 0.9)]
    world.passed = stall
    for at in happened:
        world.clock.observe(at + ahead)
        assert world.clock.from_pbx(at + ahead) == at
    assert world.ahead() == ahead.total_seconds()


def test_a_row_of_late_messages_each_less_late_is_no_clock_that_was_set_back(world: World) -> None:
    world.clock.observe(world.now())
    world.passed = 60.0
    for late in (60, 50, 40, 30, 20, 10, 6):
        world.passed += 3.0
        world.clock.observe(world.now() - timedelta(seconds=late))
        assert world.ahead() == 0.0


def test_one_very_late_message_makes_no_other_suspect(world: World) -> None:
    for late in (0, 10, 0, 10):
        world.passed += 20.0
        world.clock.observe(world.now() - timedelta(seconds=late))
        assert world.ahead() == 0.0


def test_a_pbx_that_is_set_back_a_little_is_believed_when_the_window_has_passed(world: World) -> None:
    world.clock.observe(world.now() + timedelta(seconds=3))
    for _ in range(31):
        world.clock.observe(world.now())
        assert world.ahead() == 3.0
    world.clock.observe(world.now())
    assert world.ahead() == 0.0


def test_nothing_lies_in_the_future(world: World) -> None:
    assert world.clock.from_pbx(START + timedelta(minutes=10)) == START
    world.clock.observe(START)
    assert world.clock.from_pbx(START + timedelta(seconds=1)) == START


def test_times_that_no_clock_can_show_are_now(world: World) -> None:
    latest, earliest = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    for observed in (latest, earliest):
        world.clock.forget()
        world.clock.observe(observed)
        for told in (latest, earliest):
            assert world.clock.from_pbx(told) <= world.clock.now()
    world.clock.forget()
    far_east = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    assert world.clock.from_pbx(far_east) == world.clock.now()


def test_what_was_learnt_can_be_forgotten(world: World) -> None:
    world.clock.observe(START + timedelta(minutes=10))
    world.clock.forget()
    assert world.ahead() is None
    assert world.clock.from_pbx(START) == START


def test_pbx_times_of_any_zone_come_out_in_utc(world: World) -> None:
    told = world.clock.from_pbx(START.astimezone(timezone(timedelta(hours=-7))))
    assert told == START
    assert told.tzinfo is UTC


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_session_catches_up_before_it_connects_again(backend: str) -> None:
    async def sleep_and_wake() -> None:
        slept = [timedelta(0)]
        began = anyio.current_time()

        def wall() -> datetime:
            return START + timedelta(seconds=anyio.current_time() - began) + slept[0]

        pbx = Pbx()
        async with session(pbx, clock=SessionClock(wall=wall, monotonic=anyio.current_time)) as model:
            events = model.events()
            slept[0] = timedelta(hours=8)
            assert model.now() < START + timedelta(hours=1)
            pbx.cut()
            await until(events, SnapshotTaken)
            assert model.now() == wall()

    name, options = jumping_backend(backend)
    anyio.run(sleep_and_wake, backend=name, backend_options=options)


@given(
    ahead=st.integers(-100_000, 100_000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 3)), min_size=1, max_size=40),
)
def test_whatever_the_delays_no_time_is_told_late_or_in_the_future(ahead: int, steps: list[tuple[float, float]]) -> None:
    world = World()
    for elapsed, delay in steps:
        world.passed += elapsed
        happened = world.now()
        world.passed += delay
        world.clock.observe(happened + timedelta(seconds=ahead))
        told = world.clock.from_pbx(happened + timedelta(seconds=ahead))
        assert told <= world.clock.now()
        assert happened <= told + timedelta(microseconds=2)
        assert told <= happened + timedelta(seconds=3, microseconds=2)


def test_microseconds_since_1970(world: World) -> None:
    microseconds = 1_740_830_400_000_000
    world.passed = 60.0
    assert world.clock.from_microseconds(microseconds) == START
    assert world.ahead() is None
    assert world.clock.from_microseconds(microseconds + 600_000_000, just_now=True) == world.now()
    assert world.ahead() == 540.0
    assert world.clock.from_microseconds(microseconds + 570_000_000) == world.now() - timedelta(seconds=30)


@pytest.mark.parametrize("microseconds", [10**20, -(10**20), 10**400, -(10**400)])
def test_microseconds_that_no_calendar_has_are_now(world: World, microseconds: int) -> None:
    assert world.clock.from_microseconds(microseconds) == START
