"""A provider that does what a test says, event loops whose time jumps, and ways to wait for what a session tells."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import trio.testing

from cti_framework.agents import AgentFeature
from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import Call, CallDirection, CallFeature, CallState, Party
from cti_framework.clock import SessionClock
from cti_framework.errors import NetworkError
from cti_framework.eventlog import Subscription
from cti_framework.events import Event, ProviderState, ProviderStateChanged
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, FetchProgress
from cti_framework.reports import CallSnapshot, Connected, Ended, Offered, Originated, Snapshot, Started

EventT = TypeVar("EventT", bound=Event)
Step = Callable[["ScriptedProvider"], Awaitable[None]]

ALL_CALLS = CallFeature(sum(CallFeature) & ~CallFeature.RECALL & ~CallFeature.SETUP_TRANSFER)
ALL_AGENT = AgentFeature(sum(AgentFeature))


# Time that jumps: whoever sleeps is woken at once, and no other way than by its turn -----------------------------------


class _JumpingSelector(selectors.DefaultSelector):
    loop: JumpingLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.loop.jump(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that does not wait for a time: it makes it that time. Not for tests with threads."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._jumped_seconds = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self._jumped_seconds

    def jump(self, seconds: float) -> None:
        self._jumped_seconds += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncio's name
        # Python 3.12 and later give its threads a time to end in, which is over at once here.
        await super().shutdown_default_executor()


def jumping_backend(name: str) -> tuple[str, dict[str, Any]]:
    """Give what the fixture ``anyio_backend`` returns for tests whose time jumps."""
    if name == "asyncio":
        return "asyncio", {"loop_factory": JumpingLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


# What is left behind ---------------------------------------------------------------------------------------------------


def living() -> tuple[int, int]:
    """Count the tasks of the running loop and the threads of the process, but for the one that anyio's trio runner waits in."""
    tasks = trio.lowlevel.current_statistics().tasks_living if _in_trio() else len(asyncio.all_tasks())
    return tasks, len([thread for thread in threading.enumerate() if not thread.name.lower().startswith("trio")])


def _in_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


# The PBX of a test -----------------------------------------------------------------------------------------------------


class Pbx:
    """What the provider does, and what was asked of it. A test changes what it wants to be otherwise.

    Attributes:
        on_run: What ``run()`` does, by its number from 1; the others log in and live until the line is cut.
        on_verb: What a verb does in place of accepting; what it returns is what the verb returns.
        on_snapshot: What ``snapshot()`` does, by its number from 1.
        calls: The calls of a snapshot.
        complete: Whether it tells all.
        features: What ``Started`` says.
        runs: How often ``run()`` was called.
        running: How many are running now.
        most_running: The most that ran at once.
        asked: The verbs that arrived, with their arguments.
    """

    def __init__(self) -> None:
        self.on_run: dict[int, Step] = {}
        self.on_verb: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.on_snapshot: dict[int, Callable[[ScriptedProvider], Awaitable[Any]]] = {}
        self.calls: tuple[CallSnapshot, ...] = ()
        self.complete = True
        self.features: CallFeature | None = None
        self.agent_features: AgentFeature | None = None
        self.runs = 0
        self.running = 0
        self.most_running = 0
        self.snapshots = 0
        self.asked: list[tuple[Any, ...]] = []
        self.providers: list[ScriptedProvider] = []
        self._line: anyio.Event | None = None

    @property
    def provider(self) -> ScriptedProvider:
        return self.providers[-1]

    def cut(self) -> None:
        """Cut the line of the connection that is up."""
        assert self._line is not None
        self._line.set()

    async def live(self) -> None:
        """Live until the line is cut."""
        self._line = anyio.Event()
        await self._line.wait()
        raise NetworkError("The line was cut.")


class ScriptedProvider(BaseCtiProvider):
    """Does what its ``Pbx``, which stands in for the settings, says."""

    capabilities = Capabilities(calls=ALL_CALLS, agent=ALL_AGENT)
    settings_type = Pbx

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.pbx: Pbx = context.settings
        self.pbx.providers.append(self)

    @property
    def now(self) -> datetime:
        return self.context.clock.now()

    def started(self, **fields: Any) -> None:
        told = {"features": self.pbx.features, "agent_features": self.pbx.agent_features, "own_numbers": ("100",), **fields}
        self.context.report(Started(at=self.now, **told))

    def offered(self, call_id: str, number: str = "0501") -> None:
        self.context.report(Offered(at=self.now, call_id=call_id, other=Party(number)))

    def originated(self, call_id: str, number: str = "0501", **fields: Any) -> Call:
        self.context.report(Originated(at=self.now, call_id=call_id, other=Party(number), **fields))
        call = self.context.call(call_id)
        assert call is not None
        return call

    def connected(self, call_id: str) -> None:
        self.context.report(Connected(at=self.now, call_id=call_id))

    def ended(self, call_id: str) -> None:
        self.context.report(Ended(at=self.now, call_id=call_id))

    async def run(self) -> None:
        pbx = self.pbx
        pbx.runs += 1
        pbx.running += 1
        pbx.most_running = max(pbx.most_running, pbx.running)
        try:
            step = pbx.on_run.get(pbx.runs)
            if step is not None:
                await step(self)
            else:
                self.started()
                await pbx.live()
        finally:
            pbx.running -= 1

    async def snapshot(self) -> Snapshot:
        self.pbx.snapshots += 1
        step = self.pbx.on_snapshot.get(self.pbx.snapshots)
        if step is not None:
            answer: Snapshot = await step(self)
            return answer
        return Snapshot(at=self.now, calls=self.pbx.calls, complete=self.pbx.complete)

    async def _asked(self, verb: str, *arguments: Any) -> Any:
        self.pbx.asked.append((verb, *arguments))
        act = self.pbx.on_verb.get(verb)
        return None if act is None else await act(*arguments)

    async def make_call(self, destination: str) -> Call:
        answer = await self._asked("make_call", destination)
        return self.originated(f"out-{len(self.pbx.asked)}", destination) if answer is None else answer

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        answer = await self._asked("make_consult_call", call, destination)
        return self.originated("consult", destination, parent_id=call.id) if answer is None else answer

    async def monitor(self, call_id: str, mode: str) -> Call:
        answer = await self._asked("monitor", call_id, mode)
        return self.originated("monitor", call_id) if answer is None else answer

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        answer: tuple[str, ...] | None = await self._asked("query_recordings", call_id)
        return ("https://pbx.example/1.mp3",) if answer is None else answer

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        self.progress = progress
        answer: Path | None = await self._asked("fetch_recording", link, directory)
        return directory / "1.mp3" if answer is None else answer

    async def drop_call(self, call: Call) -> None:
        await self._asked("drop_call", call)

    async def answer_call(self, call: Call) -> None:
        await self._asked("answer_call", call)

    async def hold_call(self, call: Call) -> None:
        await self._asked("hold_call", call)

    async def unhold_call(self, call: Call) -> None:
        await self._asked("unhold_call", call)

    async def complete_transfer(self, call: Call, consult_call: Call) -> None:
        await self._asked("complete_transfer", call, consult_call)

    async def cancel_transfer(self, call: Call, consult_call: Call) -> None:
        await self._asked("cancel_transfer", call, consult_call)

    async def blind_transfer(self, call: Call, destination: str) -> None:
        await self._asked("blind_transfer", call, destination)

    async def alternate(self, call: Call, consult_call: Call) -> None:
        await self._asked("alternate", call, consult_call)

    async def conference(self, call: Call, consult_call: Call) -> None:
        await self._asked("conference", call, consult_call)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        await self._asked("send_dtmf", call, digits)

    async def set_mute(self, call: Call, on: bool) -> None:
        await self._asked("set_mute", call, on)

    async def set_video(self, call: Call, on: bool) -> None:
        await self._asked("set_video", call, on)

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        await self._asked("set_agent_state", state, reason)

    async def set_wrap_up(self, on: bool) -> None:
        await self._asked("set_wrap_up", on)

    async def set_call_centre_mode(self, on: bool) -> None:
        await self._asked("set_call_centre_mode", on)

    async def start_recording(self, call: Call) -> None:
        await self._asked("start_recording", call)

    async def stop_recording(self, call: Call) -> None:
        await self._asked("stop_recording", call)

    async def pause_recording(self, call: Call, on: bool) -> None:
        await self._asked("pause_recording", call, on)


# Steps -----------------------------------------------------------------------------------------------------------------


def fails(error: BaseException, *, in_service: bool = False) -> Step:
    """A connection that ends with an error, before the log in or right after it."""

    async def step(provider: ScriptedProvider) -> None:
        if in_service:
            provider.started()
        raise error

    return step


def snapshot_of(call_id: str, state: CallState = CallState.CONNECTED, **fields: Any) -> CallSnapshot:
    return CallSnapshot(
        call_id=call_id,
        state=state,
        **{"direction": CallDirection.IN, "own": Party("100"), "other": Party("0501"), **fields},
    )


# Sessions --------------------------------------------------------------------------------------------------------------

POLICY = ReconnectPolicy(
    initial_delay_seconds=1.0,
    maximum_delay_seconds=8.0,
    stable_after_seconds=10.0,
    log_in_timeout_seconds=30.0,
    snapshot_timeout_seconds=15.0,
)


def session(pbx: Pbx, provider_class: type[BaseCtiProvider] = ScriptedProvider, **options: Any) -> CtiModel:
    """Make a session on the running loop's own time; it is not opened yet."""
    return CtiModel(
        provider_class,
        **{
            "user": CtiUser("ann"),
            "settings": pbx,
            "user_settings": None,
            "name": "scripted",
            "policy": POLICY,
            "clock": SessionClock(monotonic=anyio.current_time),
            **options,
        },
    )


async def until(events: Subscription, event_type: type[EventT], fits: Callable[[EventT], bool] = lambda event: True) -> EventT:
    """Read until an event of a class. Where time jumps, one that never comes is noticed at once."""
    with anyio.fail_after(30 * 86_400):
        async for event in events:
            if isinstance(event, event_type) and fits(event):
                return event
    raise AssertionError(f"the session ended without {event_type.__name__}")


def state_of(model: CtiModel) -> ProviderState:
    """Tell what the connection does: mypy would take what was asserted once for what it is."""
    return model.provider_state


async def until_state(events: Subscription, state: ProviderState) -> ProviderStateChanged:
    """Read until the connection does something."""
    return await until(events, ProviderStateChanged, lambda event: event.state is state)


def told(events: Subscription) -> list[Event]:
    """Take what has been told and not read yet."""
    taken = []
    while (event := events.next_nowait()) is not None:
        taken.append(event)
    return taken
