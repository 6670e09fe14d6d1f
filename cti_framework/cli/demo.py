"""``cti demo``: one call from end to end, on the provider's own simulator, every layer saying what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import click

from cti_framework.calls import Call
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, provider_option
from cti_framework.cli.narrating import JsonNarrator, TimelineNarrator
from cti_framework.cli.running import BACKENDS, Stopping, run
from cti_framework.cli.tracing import (
    HOST,
    INITIALIZER,
    MODEL,
    OPERATOR,
    PBX,
    SIMULATOR,
    SUBSCRIBER,
    Trace,
    WatchedPlugins,
    WatchingCompanion,
    call_id_of,
)
from cti_framework.cli.words import durations_in_words, event_in_words
from cti_framework.errors import CommandError, CtiError, NotSupportedError, StepTimeoutError
from cti_framework.eventlog import Subscription
from cti_framework.events import (
    CallConnected,
    CallEvent,
    CallFinished,
    CallHeld,
    CallUnheld,
    Cursor,
    Event,
    ProviderState,
    ProviderStateChanged,
)
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.plugins import Plugins
from cti_framework.provider import Simulation

if TYPE_CHECKING:
    from cti_framework.cli.demo_sound import DemoSound

__all__ = ["demo"]

_EPILOG: Final = """\b
With --json each line is an object with
  at_ms   milliseconds since the start
  from    who
  to      to whom
  step    what
  call    the call's identifier, or null
  detail  more, in words

\b
Examples:
  cti demo
  cti demo --provider dummy --backend trio
  cti demo --web-phone
  cti demo --json | grep '"to":"PBX"'
"""

EventT = TypeVar("EventT", bound=CallEvent)

_WAIT_SECONDS: Final = 10.0


@click.command(short_help="Play one call from end to end, on a simulated PBX.", epilog=_EPILOG)
@provider_option
@json_option
@click.option("--backend", type=click.Choice(BACKENDS), default=BACKENDS[0], show_default=True, help="The event loop to run on.")
@click.option("--web-phone", is_flag=True, help="Let the sound go through the session, and show that each side hears the other.")
@pass_invocation
def demo(invocation: Invocation, provider: str | None, backend: str, web_phone: bool) -> int:
    """Play one call from end to end, on the provider's own simulator.

    The host picks the provider by a settings key, the operator calls a subscriber, the subscriber puts the call on hold and
    takes it back, the operator hangs up; each line tells who said what to whom, and when. No PBX is needed, nothing is left
    running. Of the settings only cti.provider and cti.disabled_plugins are used. Where no provider is chosen, one that speaks
    its PBX's own protocol to its simulator goes before one that does not.

    With --web-phone the operator has no phone but the session's own: he holds the call, takes it back and switches his
    microphone off and on, and what arrives at either end is measured. It needs the extra `media`, and asyncio.
    """
    narrator = JsonNarrator(invocation.output) if invocation.output.as_json else TimelineNarrator(invocation.output)
    # A simulator that listens on a port is one with a wire: more of what happens can be seen.
    name = provider or invocation.provider_with("simulator", preferred="serve_simulator")
    _, simulator = invocation.tool_of(name, "simulator")
    plugins = invocation.plugins()

    async def play(stopping: Stopping) -> None:
        trace = Trace(narrator.step)
        async with simulator() as simulation:
            if web_phone:
                simulation, sound = _with_web_phone(name, simulation, trace)
            else:
                sound = None
            await _play(name, plugins, simulation, trace, narrator.act, sound)
        trace.check()

    run(play, backend=backend)
    return 0


def _with_web_phone(provider: str, simulation: Simulation, trace: Trace) -> tuple[Simulation, DemoSound]:
    # Media is loaded by whoever wants sound.
    from cti_framework.cli.demo_sound import DemoSound
    from cti_framework.media import require_media

    require_media()
    if simulation.web_phone is None:
        raise NotSupportedError(
            f"The simulator of the provider '{provider}' has no web phone.",
            command="demo",
            remedy="Leave --web-phone out, or name another provider; `cti providers` lists what is installed.",
        )
    return simulation.web_phone, DemoSound(simulation.web_phone, trace)


async def _play(
    provider: str,
    plugins: Plugins,
    simulation: Simulation,
    trace: Trace,
    act: Callable[[str], None],
    sound: DemoSound | None,
) -> None:
    for note in simulation.notes:
        trace.step(SIMULATOR, OPERATOR, "note", note)
    subscriber, far_side = simulation.subscriber, simulation.far_side

    act("The host picks the provider by a settings key")
    settings = {**simulation.settings, "cti.provider": provider}
    trace.step(HOST, INITIALIZER, "settings", f"cti.provider = {provider}; beside it {', '.join(simulation.settings) or 'none'}")
    initializer = CtiProviderInitializer(
        settings,
        environ={},
        companions=[WatchingCompanion(trace, simulation.user.parameters)],
        plugins=WatchedPlugins(plugins, trace),
    )
    trace.step(HOST, INITIALIZER, "open", f"for user {simulation.user.id}")
    media = None if sound is None else sound.peers()
    async with anyio.create_task_group() as tasks, initializer.open(simulation.user, media=media) as model:
        host = _Host(model.events(after=Cursor(model.cursor.epoch, 0)), trace)
        trace.step(INITIALIZER, HOST, "open", f"a CtiModel, {model.provider_state.value}")
        await tasks.start(host.read)
        if sound is not None:
            await sound.begin()
        call = await _call(model, host, subscriber, trace, act)
        if sound is not None:
            await _listen(model, host, call, trace, act, sound)

        act("The subscriber puts the call on hold, and takes it back")
        trace.step(SUBSCRIBER, PBX, "hold", call=call.id)
        await far_side.hold(subscriber)
        await host.wait_for(CallHeld, call)
        trace.step(SUBSCRIBER, PBX, "unhold", call=call.id)
        await far_side.unhold(subscriber)
        await host.wait_for(CallUnheld, call)

        act("The operator hangs up")
        finished = await _hang_up(model, host, call, trace)

        act("The host closes the session")
        trace.step(HOST, MODEL, "close")
        # The host's reader ends with the session, when it has read everything.
    act("Summary")
    refused = sum(model.refused_reports.values())
    parts = [durations_in_words(finished.call), f"{host.count} events"]
    if refused:
        parts.append(f"{refused} reports refused")
    trace.step(HOST, OPERATOR, "summary", "; ".join(parts), call=call.id)


async def _call(model: CtiModel, host: _Host, subscriber: str, trace: Trace, act: Callable[[str], None]) -> Call:
    act("The operator calls a subscriber")
    trace.step(OPERATOR, HOST, "call", subscriber)
    trace.step(HOST, MODEL, "make_call", subscriber)
    call = await model.make_call(subscriber)
    trace.step(MODEL, HOST, "make_call", f"call {call.id}", call=call.id)
    await host.wait_for(CallConnected, call)
    return call


async def _listen(model: CtiModel, host: _Host, call: Call, trace: Trace, act: Callable[[str], None], sound: DemoSound) -> None:
    act("Each hears the other")
    await sound.both_hear(call)

    act("The operator puts the call on hold: neither hears the other")
    await _ask("hold_call", model.hold_call(call), trace, call)
    await host.wait_for(CallHeld, call)
    await sound.neither_hears(call)

    act("The operator takes it back: each hears the other")
    await _ask("unhold_call", model.unhold_call(call), trace, call)
    await host.wait_for(CallUnheld, call)
    await sound.both_hear(call)

    act("The operator switches the microphone off, and on again")
    await _ask("set_mute", model.set_mute(True, call), trace, call)
    await sound.only_operator_hears(call)
    await _ask("set_mute", model.set_mute(False, call), trace, call)
    await sound.both_hear(call)


async def _ask(verb: str, asked: Awaitable[None], trace: Trace, call: Call) -> None:
    trace.step(HOST, MODEL, verb, call=call.id)
    await asked
    trace.step(MODEL, HOST, verb, "done", call=call.id)


async def _hang_up(model: CtiModel, host: _Host, call: Call, trace: Trace) -> CallFinished:
    trace.step(OPERATOR, HOST, "hang up", call=call.id)
    await _ask("drop_call", model.drop_call(call), trace, call)
    return await host.wait_for(CallFinished, call)


class _Host:
    """The host: it reads the session's events and waits for some of them.

    Args:
        events: The session's events, from the first.
        trace: Where steps go.

    Attributes:
        count: How many events it has read.
    """

    def __init__(self, events: Subscription, trace: Trace) -> None:
        self._events = events
        self._trace = trace
        self._unseen: list[Event] = []
        self._news = anyio.Event()
        self.count = 0

    async def read(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Read until the session is closed.

        Args:
            task_status: Told when everything that is there already is read.
        """
        while (earlier := self._events.next_nowait()) is not None:
            self._take(earlier)
        task_status.started()
        async for event in self._events:
            self._take(event)

    def _take(self, event: Event) -> None:
        self._trace.step(MODEL, HOST, type(event).__name__, event_in_words(event), call=call_id_of(event))
        self.count += 1
        self._unseen.append(event)
        self._news.set()

    async def wait_for(self, event_type: type[EventT], call: Call) -> EventT:
        """Wait for an event about a call.

        Args:
            event_type: Its class.
            call: The call.

        Returns:
            The event.

        Raises:
            StepTimeoutError: It did not come in time.
            CtiError: It cannot come any more.
        """
        latest = "none"
        with anyio.move_on_after(_WAIT_SECONDS):
            while True:
                while self._unseen:
                    event = self._unseen.pop(0)
                    latest = type(event).__name__
                    if isinstance(event, event_type) and call.id in (event.call.id, *event.call.former_ids):
                        return event
                    _check_goes_on(event, event_type)
                self._news = anyio.Event()
                await self._news.wait()
        raise StepTimeoutError(
            f"{event_type.__name__} did not come within {_WAIT_SECONDS:g} s; the latest event is {latest}.",
            step="demo",
            remedy="The lines above tell which layer was the last to do something; `cti -v demo` shows the log beside them.",
        )


def _check_goes_on(event: Event, awaited: type[Event]) -> None:
    if isinstance(event, CallFinished):
        raise CommandError(
            f"The call ended before {awaited.__name__}: {event_in_words(event)}.",
            command="demo",
            remedy="The lines above tell why; `cti -v demo` shows the log beside them.",
        )
    if isinstance(event, ProviderStateChanged) and event.state is ProviderState.FAILED:
        raise event.error or CtiError("The provider has given up.", step="demo")
