"""Many sessions in one process: what they share, what they leave behind, and how they come back."""

from __future__ import annotations

import gc
import logging
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import pytest
import structlog

from cti_dummy import DummyPbx
from cti_framework.back_off import ReconnectPolicy
from cti_framework.events import CallStarted, Cursor, ProviderState
from cti_framework.hub import CtiHub, HubBudget
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from tests.benchmarks.clients import resident_kb
from tests.benchmarks.reliability import restart
from tests.core.scripted import living, told, until, until_state
from tests.core.trunk import TrunkCtiProvider, TrunkPbx, TrunkSettings, TrunkUserSettings, trunk_pbx

pytestmark = pytest.mark.anyio

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
USERS = 1000
CYCLES = {"asyncio": 10_000, "trio": 10_000 if THOROUGH else 2_000}
SESSIONS = 2_000 if THOROUGH else 200
UNLIMITED: dict[str, Any] = {"concurrent_openings": 100, "openings_per_second": 100_000.0}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """A log line for each of thousands of sessions is nothing that anybody reads."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


# One connection for many users -----------------------------------------------------------------------------------------


class TrunkHost(CtiProviderInitializer):
    """Opens sessions of users who are served over one socket."""

    def __init__(self, pbx: TrunkPbx, *, first_pause_seconds: float = 0.5) -> None:
        super().__init__({}, environ={})
        self.pbx = pbx
        self.first_pause_seconds = first_pause_seconds

    async def create(self, user: CtiUser | str, **options: Any) -> CtiModel:
        assert isinstance(user, CtiUser)
        options.pop("event_log_capacity")
        admission = options.pop("admission")("trunk", self.pbx.port)
        return CtiModel(
            TrunkCtiProvider,
            user=user,
            settings=TrunkSettings(port=self.pbx.port),
            user_settings=TrunkUserSettings(number=user.id),
            name="trunk",
            admission=admission,
            policy=ReconnectPolicy(self.first_pause_seconds, max(30.0, self.first_pause_seconds)),
            **options,
        )


@pytest.mark.timeout(120)
async def test_a_thousand_users_are_one_socket_and_one_reconnection_and_nobody_gets_anothers_call() -> None:
    numbers = [str(1000 + number) for number in range(USERS)]
    with anyio.fail_after(100):
        async with trunk_pbx() as pbx, CtiHub(TrunkHost(pbx), **UNLIMITED) as hub:
            async with anyio.create_task_group() as tasks:
                for number in numbers:
                    tasks.start_soon(hub.open, number)
            models = {seen.user.id: seen.model for seen in hub.sessions if seen.model is not None}
            assert (len(models), pbx.accepted) == (USERS, 1)
            everything = {number: model.events() for number, model in models.items()}

            # Each user's call has the user's number: whoever is shown another's has got a wrong event.
            await pbx.say("".join(f"{number} rings of-{number}\n" for number in reversed(numbers)))
            for number, events in everything.items():
                assert (await until(events, CallStarted)).call.id == f"of-{number}"

            await pbx.cut()
            for events in everything.values():
                await until_state(events, ProviderState.IN_SERVICE)
            assert (pbx.accepted, pbx.most_open) == (2, 1)
            assert sorted(pbx.log_ins[1]) == sorted(pbx.log_ins[2]) == numbers

            for number, model in models.items():
                assert [call.id for call in model.calls] == [f"of-{number}"]
                started = [event for event in told(model.events(Cursor(model.cursor.epoch, 0))) if type(event) is CallStarted]
                assert [event.call.id for event in started] == [f"of-{number}"]


async def test_a_session_in_no_hub_has_its_connection_for_itself() -> None:
    async with trunk_pbx() as pbx:
        for number in ("100", "101"):
            async with CtiModel(
                TrunkCtiProvider,
                user=CtiUser(number),
                settings=TrunkSettings(port=pbx.port),
                user_settings=TrunkUserSettings(number=number),
                name="trunk",
            ) as model:
                events = model.events()
                await pbx.say(f"{number} rings 7\n")
                await until(events, CallStarted)
        assert pbx.accepted == 2


async def test_a_shared_connection_that_is_down_is_tried_by_one_for_all() -> None:
    async with trunk_pbx() as pbx:
        pass
    # It is gone now, and its port with it: the host still believes in it.
    attempts: list[float] = []

    async def counted(port: int, opened: Any) -> None:
        attempts.append(anyio.current_time())
        await anyio.connect_tcp("127.0.0.1", port)

    class Counting(TrunkCtiProvider):
        async def run(self) -> None:
            async with self.context.shared("pbx", lambda opened: _as_network_error(counted(pbx.port, opened))):
                raise AssertionError("there is nothing to stand on")

    class Host(TrunkHost):
        async def create(self, user: CtiUser | str, **options: Any) -> CtiModel:
            model = await super().create(user, **options)
            model._provider.__class__ = Counting
            return model

    failed = 0
    # A hundred openings may take a slow computer longer than the usual first pause, after which it is tried again.
    async with CtiHub(Host(pbx, first_pause_seconds=600.0), **UNLIMITED) as hub:
        async with anyio.create_task_group() as tasks:
            for number in range(100):

                async def ask(number: int = number) -> None:
                    nonlocal failed
                    model = await hub.open(str(number), wait_for_service=False)
                    await until_state(model.events(Cursor(model.cursor.epoch, 0)), ProviderState.OUT_OF_SERVICE)
                    failed += 1

                tasks.start_soon(ask)
        assert failed == 100
        assert len(attempts) == 1


async def _as_network_error(attempt: Any) -> None:
    from cti_framework.errors import NetworkError

    try:
        await attempt
    except OSError as error:
        raise NetworkError("Nobody listens there.") from error


# What is left behind ---------------------------------------------------------------------------------------------------


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def nothing_more(now: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    """As many tasks and sessions, and no thread or file more: those of other tests may end meanwhile."""
    return (now[0], now[3]) == (before[0], before[3]) and now[1] <= before[1] and now[2] <= before[2]


@pytest.mark.timeout(300)
async def test_ten_thousand_sessions_opened_and_closed_leave_nothing(anyio_backend: str) -> None:
    cycles = CYCLES[anyio_backend]
    host = CtiProviderInitializer({"cti.provider": "dummy", "dummy.pbx": DummyPbx()}, environ={})
    budget = HubBudget(openings=None)
    async with CtiHub(host, budget=budget, **UNLIMITED) as hub:

        async def cycle(number: int) -> None:
            for turn in range(number):
                model = await hub.open(f"user {turn % 50}")
                assert model.provider_state is ProviderState.IN_SERVICE
                await hub.close(model)

        # First so that none is open in between: what sessions share goes with the last and comes with the next.
        left = (*living(), open_files(), hub.sessions)
        await cycle(cycles // 10)
        assert nothing_more((*living(), open_files(), hub.sessions), left)
        await hub.open("stays")
        grown: list[tuple[int, float]] = []
        for _ in range(3):
            gc.collect()
            before = (*living(), open_files(), hub.sessions)
            objects, memory = len(gc.get_objects()), resident_kb()
            await cycle(cycles * 3 // 10)
            gc.collect()
            assert nothing_more((*living(), open_files(), hub.sessions), before)
            grown.append((len(gc.get_objects()) - objects, resident_kb() - memory))
        # A session holds hundreds of objects: one object of one session in ten would be seen. On trio, two of each: it keeps up
        # to a thousand deadlines that are over, three objects each, before it throws them away.
        slack = 3_500 if anyio_backend == "trio" else 0
        assert sum(objects for objects, _ in grown) < cycles // 10 + slack
        assert median(memory for _, memory in grown) < cycles * 3 // 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["asyncio", *(["trio"] if THOROUGH else [])])
def test_sessions_come_back_after_a_restart_of_the_pbx_without_a_storm(backend: str) -> None:
    began = time.monotonic()
    found = restart(backend, sessions=SESSIONS)
    assert found.in_service == SESSIONS
    # Nobody logs in twice, so many at a time, and so many a second, as the hub says by default.
    assert found.log_ins == SESSIONS
    assert found.log_ins_at_once <= 16
    assert found.log_ins_in_a_second <= 100 + 16
    assert found.back_seconds <= time.monotonic() - began
