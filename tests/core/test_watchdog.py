"""Who keeps the event loop is named. The one place where a test blocks the loop on purpose."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from cti_framework.clock import SessionClock
from cti_framework.events import ErrorOccurred
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider
from cti_framework.watchdog import HOST, Watch, _dogs, _is_waiting, _packages_of
from cti_webitel import WebitelCtiProvider
from tests.core.scripted import Pbx, ScriptedProvider, living, session, told

pytestmark = pytest.mark.anyio

STALL_SECONDS = 0.1
BLOCKED_SECONDS = 0.5
"""Long enough to be seen for certain: a beat goes out every half of ``STALL_SECONDS``."""


@pytest.fixture(autouse=True)
def fresh_log_configuration() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Sleeper:
    """A companion that blocks where it must not."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.is_blocking = True

    @hookimpl
    async def cti_call_started(self) -> None:
        if self.is_blocking:
            time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251  # on purpose
        self.done.set()


class NeverSays(ScriptedProvider):
    """A provider that blocks where it must not."""

    async def hold_call(self, call: Any) -> None:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251  # on purpose


def watched(pbx: Pbx, provider_class: type[BaseCtiProvider] = ScriptedProvider, **options: Any) -> CtiModel:
    options = {"stall_seconds": STALL_SECONDS, "clock": SessionClock(), **options}
    return session(pbx, provider_class, **options)


OF_OTHERS: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def of_others() -> None:
    """Leave out what tests before these could not end: the kit's own of providers that cannot be cancelled."""
    OF_OTHERS.clear()
    OF_OTHERS.update(dogs())


def dogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cti: watchdog" and thread not in OF_OTHERS]


async def until_told(logs: list[Any], event: str) -> dict[str, Any]:
    with anyio.fail_after(10):
        while True:
            for entry in list(logs):
                if entry["event"] == event:
                    return dict(entry)
            await anyio.lowlevel.checkpoint()


async def test_an_async_hook_that_blocks_is_named_with_the_time_and_the_place() -> None:
    hooks, pbx, sleeper = Hooks(), Pbx(), Sleeper()
    hooks.register(sleeper, "journal")
    with capture_logs() as logs:
        async with watched(pbx, hooks=hooks) as model:
            pbx.provider.offered("a")
            with anyio.fail_after(10):
                await sleeper.done.wait()
            over = await until_told(logs, "cti.loop.stall_over")
            stalls = model.stalls
            record = hooks.records()[0]
    (seen,) = [entry for entry in logs if entry["event"] == "cti.loop.stalled"]
    assert seen["plugin"] == over["plugin"] == "journal"
    assert "test_watchdog.py:" in seen["where"]
    assert seen["where"].endswith("Sleeper.cti_call_started")
    assert "time.sleep(BLOCKED_SECONDS)" in seen["stack"]
    assert over["seconds"] >= BLOCKED_SECONDS - 2 * STALL_SECONDS
    assert list(stalls) == ["journal"]
    assert stalls["journal"].times == record.stalls == 1
    assert stalls["journal"].seconds >= BLOCKED_SECONDS - 2 * STALL_SECONDS
    # It is one fault, though two have seen it.
    assert (record.slow, record.faults_in_row) == (1, 1)


async def test_a_provider_that_blocks_is_named() -> None:
    pbx = Pbx()
    with capture_logs() as logs:
        async with watched(pbx, NeverSays) as model:
            pbx.provider.offered("a")
            pbx.provider.connected("a")
            await model.hold_call("a")
            await until_told(logs, "cti.loop.stall_over")
            assert list(model.stalls) == ["scripted"]
    (seen,) = [entry for entry in logs if entry["event"] == "cti.loop.stalled"]
    assert seen["plugin"] == "scripted"
    assert seen["where"].endswith("NeverSays.hold_call")


def view_of_a_host() -> Callable[[float], None]:
    # The test's own package is the scripted provider's: something else has to block.
    block: dict[str, Any] = {"time": time, "__name__": "acme_desk.views"}
    exec(compile("def view(seconds):\n    time.sleep(seconds)\n", "views.py", "exec"), block)
    view: Callable[[float], None] = block["view"]
    return view


async def test_what_no_plugin_does_is_the_hosts() -> None:
    with capture_logs() as logs:
        async with watched(Pbx()) as model:
            _in_a_callback(partial(view_of_a_host(), BLOCKED_SECONDS))
            await until_told(logs, "cti.loop.stall_over")
            assert list(model.stalls) == [HOST]
    (seen,) = [entry for entry in logs if entry["event"] == "cti.loop.stalled"]
    assert seen["where"] == "views.py:2 view"


def _in_a_callback(act: Callable[[], object]) -> None:
    """Have the loop call something that has no frame of a test below it."""
    native: Any = anyio.lowlevel.current_token().native_token
    (native.call_soon_threadsafe if hasattr(native, "call_soon_threadsafe") else native.run_sync_soon)(act)


async def test_a_companions_own_task_counts_as_a_fault_and_is_switched_off_in_the_end() -> None:
    module: dict[str, Any] = {"time": time, "__name__": "acme_journal", "hookimpl": hookimpl}
    exec(
        compile(
            "@hookimpl\ndef cti_call_started(event): ...\n\ndef sync():\n    time.sleep(0.5)\n",
            "journal.py",
            "exec",
        ),
        module,
    )
    hooks, pbx = Hooks(fault_limit=1), Pbx()
    hooks.register(SimpleNamespace(cti_call_started=module["cti_call_started"]), "journal")
    with capture_logs() as logs:
        async with watched(pbx, hooks=hooks) as model:
            events = model.events()
            _in_a_callback(module["sync"])
            await until_told(logs, "cti.plugin.switched_off")
            record = hooks.records()[0]
            assert (record.stalls, record.switched_off) == (1, True)
            (trouble,) = [event for event in told(events) if isinstance(event, ErrorOccurred)]
            assert "'journal' is told no event any more" in trouble.error.message
            assert "a task of its own" in trouble.error.message


async def test_nothing_is_said_of_a_loop_that_turns() -> None:
    pbx, hooks, sleeper = Pbx(), Hooks(), Sleeper()
    sleeper.is_blocking = False
    hooks.register(sleeper, "journal")
    with capture_logs() as logs:
        async with watched(pbx, hooks=hooks) as model:
            for number in range(300):
                pbx.provider.offered(f"call {number}")
                await anyio.sleep(0.001)
            assert model.stalls == {}
    assert [entry for entry in logs if entry["event"].startswith("cti.loop")] == []


async def test_one_thread_a_loop_which_ends_with_the_last_session() -> None:
    before = living()
    async with watched(Pbx()):
        (first,) = dogs()
        async with watched(Pbx(), stall_seconds=0.05), watched(Pbx(), stall_seconds=2):
            assert dogs() == [first]
            assert limit() == 0.05
        assert limit() == STALL_SECONDS
        assert dogs() == [first]
        async with watched(Pbx(), stall_seconds=0):
            assert dogs() == [first]
    assert dogs() == []
    assert living() == before
    async with watched(Pbx()):
        assert len(dogs()) == 1
    assert dogs() == []


def limit() -> float:
    """Tell how long the running loop may stand still."""
    dog = _dogs.get()
    assert dog is not None
    return dog._stall_seconds


STOPPED = """
import sys
import anyio
from cti_framework import CtiProviderInitializer

async def main():
    settings = {"cti.provider": "dummy", "cti.stall_seconds": 0.1}
    async with CtiProviderInitializer(settings, environ={}).open("100") as model:
        print("open", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        # Beats that go out now have come back, whatever was on its way.
        await anyio.sleep(0.4)
        print(model.stalls, flush=True)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_process_that_was_stopped_is_nobodys_stall(anyio_backend: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, anyio_backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            told = iter(process.stdout)
            assert any(line == "open\n" for line in told)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.7)
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert list(told)[-1] == "{}\n"
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_a_loop_that_is_found_waiting_stands_still_for_nobody(anyio_backend: str) -> None:
    async def scenario() -> None:
        async with watched(Pbx(), stall_seconds=30):
            dog = _dogs.get()
            assert dog is not None
            loop_thread = threading.get_ident()

            def look() -> object:
                deadline = time.monotonic() + 10
                while not _is_waiting(sys._current_frames()[loop_thread]):
                    assert time.monotonic() < deadline
                return dog._look(False)

            with capture_logs() as logs:
                assert await anyio.to_thread.run_sync(look) is None
        assert logs == []

    # In a run of its own: the loop of the other tests on trio is a guest of another loop, which waits in its place.
    anyio.run(scenario, backend=anyio_backend)


async def test_the_host_is_not_named_where_the_whole_process_stood_still() -> None:
    """Who looks was woken much too late itself. A plugin whose code is found running then is named all the same."""
    async with watched(Pbx(), stall_seconds=30):
        dog = _dogs.get()
        assert dog is not None
        loop_thread = threading.get_ident()

        def look() -> list[object]:
            dog._post(partial(view_of_a_host(), BLOCKED_SECONDS))
            deadline = time.monotonic() + 10
            while sys._current_frames()[loop_thread].f_code.co_filename != "views.py":
                assert time.monotonic() < deadline
            return [dog._look(is_late) for is_late in (True, False)]

        with capture_logs() as logs:
            late, in_time = await anyio.to_thread.run_sync(look)
    assert late is None
    assert in_time is not None
    assert [entry["plugin"] for entry in logs] == [HOST]


async def test_a_session_that_cannot_be_opened_leaves_no_thread() -> None:
    async def fails(provider: ScriptedProvider) -> None:
        raise RuntimeError("no")

    pbx = Pbx()
    pbx.on_run = {1: fails}
    with pytest.raises(Exception, match="RuntimeError"):
        async with watched(pbx):
            pytest.fail("it opened")
    assert dogs() == []


async def test_nobody_watches_where_it_is_switched_off() -> None:
    async with session(Pbx(), stall_seconds=0.0):
        assert dogs() == []


async def test_every_session_of_the_loop_takes_the_stall_down() -> None:
    first, second = Pbx(), Pbx()
    with capture_logs() as logs:
        async with watched(first, NeverSays, name="one") as one, watched(second, name="two") as two:
            first.provider.offered("a")
            first.provider.connected("a")
            await one.hold_call("a")
            await until_told(logs, "cti.loop.stall_over")
            assert len(one.stalls) == len(two.stalls) == 1
            assert one.stalls == two.stalls


def test_it_survives_a_loop_that_is_closed_under_it() -> None:
    loop = asyncio.new_event_loop()

    async def watch() -> None:
        Watch(Hooks(), "scripted", ScriptedProvider, STALL_SECONDS).start()

    try:
        loop.run_until_complete(watch())
        (dog,) = dogs()
    finally:
        loop.close()
    dog.join(10)
    assert not dog.is_alive()


def test_a_loop_closed_with_a_beat_on_its_way_takes_the_thread_along() -> None:
    loop = asyncio.new_event_loop()

    def block() -> None:
        # The beat that goes out now is handed over, and the loop ends without having looked.
        time.sleep(BLOCKED_SECONDS)
        loop.stop()

    async def watch() -> None:
        Watch(Hooks(), "scripted", ScriptedProvider, 0.05).start()
        block()

    with capture_logs() as logs:
        opening = loop.create_task(watch())
        loop.run_forever()
        (dog,) = dogs()
        loop.close()
        dog.join(10)
    assert opening.done()
    assert not dog.is_alive()
    assert [entry["event"] for entry in logs] == ["cti.loop.stalled"]


def test_a_providers_code_is_its_package_and_not_the_core() -> None:
    assert _packages_of(WebitelCtiProvider) == {"cti_webitel"}
    assert _packages_of(ScriptedProvider) == {"tests.core"}
    script = type("Mine", (BaseCtiProvider,), {"__module__": "__main__"})
    assert _packages_of(script) == frozenset()
    mine = type("Mine", (WebitelCtiProvider,), {"__module__": "acme.desk.telephony"})
    assert _packages_of(mine) == {"acme.desk", "cti_webitel"}
