"""A connection's life: log in, refusal, cancellation at every step, and nothing left behind."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

import anyio

from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature, CallState
from cti_framework.errors import CommandError, CommandRefusedError, CredentialsRefusedError, CtiError
from cti_framework.events import CallHeld, CallStarted, CallUnheld, Disconnected, Initialized, ProviderState
from cti_framework.provider import PROVIDER_API_SUPPORTED, BaseCtiProvider, Capabilities
from cti_framework.reports import Started
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.cancelling import cancel_at, cancelled
from cti_framework.testing.conformance.given import refused
from cti_framework.testing.conformance.living import steady, what_is_left
from cti_framework.testing.conformance.rules import offers, rule
from cti_framework.testing.conformance.running import Broken, NotMeasured, Watch
from cti_framework.testing.conformance.stand import Stand, stand_for
from cti_framework.testing.conformance.suite import Profile

__all__ = ["LifecycleProfile"]

_DIAL: Final = CallFeature.DIAL
_MOST_STEPS: Final = 60
_WRONG: Final = "kit-wrong-secret-4711"
_IDLE_SECONDS: Final = 0.2


class LifecycleProfile(Profile):
    """What holds for every provider, whatever it can do."""

    @rule(
        "lifecycle.class",
        "The class says what the provider is, without an instance: a number of the contract that is supported, and its"
        " capabilities.",
        contract="BaseCtiProvider.provider_api, BaseCtiProvider.capabilities",
    )
    def test_the_class_says_what_it_is(self, bench: ProviderBench) -> None:
        provider_class = bench.provider_class
        api: object = provider_class.provider_api
        if api not in PROVIDER_API_SUPPORTED:
            raise Broken(f"provider_api is {api!r}, supported are {list(PROVIDER_API_SUPPORTED)}.")
        capabilities: object = provider_class.capabilities
        if not isinstance(capabilities, Capabilities):
            raise Broken(f"capabilities is {capabilities!r}, no Capabilities.")

    @rule(
        "lifecycle.started",
        "Started is the first report of every run(), and comes once in each.",
        contract="BaseCtiProvider.run, reports.Started",
    )
    async def test_started_comes_first(self, stand: Stand) -> None:
        await stand.model.disconnect()
        await stand.within(stand.model.connect(), "connecting again")
        await stand.settle()
        for run in stand.seen.runs:
            kinds = [type(told.report) for told in stand.seen.told if told.run == run.number]
            names = [kind.__name__ for kind in kinds]
            stand.expect(kinds and kinds[0] is Started, f"run() {run.number} reported {names[:3]} first.")
            stand.expect(kinds.count(Started) == 1, f"run() {run.number} reported Started {kinds.count(Started)} times.")

    @rule(
        "lifecycle.constructor",
        "Making a provider does no I/O: it opens nothing and starts nothing.",
        contract="docs/how-to/write-a-provider.md",
        opens=False,
    )
    async def test_the_constructor_does_nothing(self, stand: Stand) -> None:
        before = await steady(stand.bench.patience_seconds)
        await stand.initializer().create(stand.simulation.user)
        left = await what_is_left(before, stand.bench.patience_seconds)
        stand.expect(not left, f"A provider was only made, and there is: {'; '.join(left)}.")
        stand.expect(not stand.seen.told, "A provider was only made, and has reported something.")

    @rule(
        "lifecycle.refused",
        "Where the PBX refuses the user, run() raises CredentialsRefusedError, leaves nothing behind, and is not called again.",
        contract="BaseCtiProvider.run",
        opens=False,
    )
    async def test_the_user_is_refused(self, stand: Stand) -> None:
        wrong = refused(stand.bench, stand.simulation, _WRONG)
        before = await _after_one_session(stand)
        runs = len(stand.seen.runs)
        started = len(stand.seen.reports_of(Started))
        with stand.expect_error(CredentialsRefusedError, doing="Opening a session with a user whom the PBX refuses"):
            async with stand.session(wrong):
                pass
        stand.expect(len(stand.seen.runs) == runs + 1, f"run() was called {len(stand.seen.runs) - runs} times.")
        stand.expect(len(stand.seen.reports_of(Started)) == started, "The PBX refuses the user, and Started was reported.")
        await _nothing_left(stand, before)

    # --- being ended

    @rule(
        "lifecycle.closed",
        "Leaving a session ends run() and all that it opened: no task, no socket, no thread is left.",
        contract="BaseCtiProvider.run",
        opens=False,
    )
    async def test_nothing_is_left_of_a_session(self, stand: Stand) -> None:
        before = await _after_one_session(stand)
        async with stand.session():
            pass
        await _nothing_left(stand, before)

    @rule(
        "lifecycle.closed-in-a-call",
        "Leaving a session while calls are up and a command is on its way leaves nothing behind; the calls go on.",
        contract="BaseCtiProvider.run",
        opens=False,
    )
    async def test_nothing_is_left_of_a_session_in_a_call(self, stand: Stand) -> None:
        before = await _after_one_session(stand)
        async with stand.session() as model:
            call = await stand.talking()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_ask_for_snapshots, stand)
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        await _nothing_left(stand, before)
        async with stand.session() as model:
            stand.expect(model.call(call.id) is not None, "The session was left, and the call has ended.")

    @rule(
        "lifecycle.closed-when-cut",
        "A connection that breaks leaves nothing behind.",
        contract="BaseCtiProvider.run",
        opens=False,
    )
    async def test_nothing_is_left_of_a_lost_connection(self, stand: Stand) -> None:
        before = await _after_one_session(stand)
        async with stand.session() as model:
            for _ in range(2):
                since = stand.mark()
                await stand.far.do("drop_network")
                await stand.until(Disconnected, since=since)
                await stand.until_so(lambda: model.provider_state is ProviderState.IN_SERVICE, "the session is in service again")
        await _nothing_left(stand, before)

    @rule(
        "lifecycle.silent",
        "Nothing is reported when run() is over, whatever happens at the PBX.",
        contract="ProviderContext.report; docs/how-to/write-a-provider.md",
    )
    async def test_nothing_is_reported_afterwards(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.disconnect()
        before = len(stand.seen.told)
        await stand.far.do("tones", stand.number_of(call), "1")
        await stand.far.do("hang_up", stand.number_of(call))
        await anyio.sleep(stand.bench.settle_seconds)
        late = [type(told.report).__name__ for told in stand.seen.told[before:]]
        stand.expect(not late, f"When run() was over, {', '.join(late)} came.")
        early = [type(told.report).__name__ for told in stand.seen.told if told.run == 0]
        stand.expect(not early, f"While no run() was running, {', '.join(early)} came.")

    @rule(
        "lifecycle.cancelled",
        "run() can be cancelled at every await until it has logged in: it ends at once, and nothing that it opened is left.",
        contract="BaseCtiProvider.run",
        opens=False,
    )
    async def test_it_can_be_cancelled_at_every_step(self, stand: Stand) -> None:
        before = await steady(stand.bench.patience_seconds)
        for step in range(1, _MOST_STEPS + 1):
            if not await cancel_at(stand, step):
                return
            left = await what_is_left(before, stand.bench.patience_seconds)
            stand.expect(not left, f"run() was cancelled at its await {step}, and there is: {'; '.join(left)}.")

    @rule(
        "lifecycle.cancelled-later",
        "run() can be cancelled when it has logged in: it ends at once, by the cancellation.",
        contract="BaseCtiProvider.run",
    )
    async def test_it_can_be_cancelled_in_service(self, stand: Stand) -> None:
        await stand.within(stand.model.disconnect(), "Ending run() by cancelling it")
        run = stand.seen.runs[-1]
        stand.expect(run.is_over, "disconnect() has ended, and run() has not.")
        stand.expect(
            isinstance(run.error, anyio.get_cancelled_exc_class() | BaseExceptionGroup),
            f"run() was cancelled and ended {'by itself' if run.error is None else f'with {type(run.error).__name__}'}:"
            " it must let the cancellation through.",
        )

    @rule(
        "lifecycle.again",
        "run() can be called again on the same provider, as often as the connection is lost, and works each time.",
        contract="BaseCtiProvider.run",
    )
    async def test_it_can_be_run_again(self, stand: Stand) -> None:
        for _ in range(3):
            await stand.model.disconnect()
            await stand.within(stand.model.connect(), "connecting again")
            stand.expect(stand.model.provider_state is ProviderState.IN_SERVICE, "The session is not in service.")
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        stand.expect(
            sum(isinstance(event, CallStarted) for event in stand.seen.events) == 1, "One call was told to begin several times."
        )

    @rule(
        "lifecycle.verb-cancelled",
        "A verb can be cancelled while it waits; the session goes on, and the next one works.",
        contract="BaseCtiProvider: verbs; docs/how-to/write-a-provider.md",
        proves=_DIAL,
        needs=CallFeature.DROP,
    )
    async def test_a_verb_can_be_cancelled(self, stand: Stand) -> None:
        waited = await stand.within(cancelled(stand.model.make_call(stand.simulation.subscriber)), "A cancelled make_call")
        if waited:
            # It may have been sent: then the call comes, and belongs to nobody.
            await stand.settle()
        for call in stand.model.calls:
            await stand.model.drop_call(call)
            await stand.finished(call)
        stand.expect(stand.model.provider_state is ProviderState.IN_SERVICE, "The session is not in service any more.")
        await stand.calling()

    @rule(
        "lifecycle.probe",
        "probe(), where a provider has one, ends while the PBX answers.",
        contract="BaseCtiProvider.probe",
    )
    async def test_a_probe_is_answered(self, stand: Stand) -> None:
        if stand.bench.provider_class.probe is BaseCtiProvider.probe:
            raise NotMeasured("the provider has no probe")
        # Who refuses is there.
        with suppress(CommandRefusedError):
            await stand.within(stand.provider.probe(), "probe")

    @rule(
        "lifecycle.not-connected",
        "What is asked while no run() is logged in ends in a CtiError: it was not sent.",
        contract="BaseCtiProvider: NotConnectedError",
    )
    async def test_nothing_is_asked_without_a_connection(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.disconnect()
        with stand.expect_error(CtiError, doing="The provider's snapshot() without a connection"):
            await stand.within(stand.provider.snapshot(), "snapshot")
        if offers(stand.bench.provider_class.capabilities, CallFeature.DROP):
            with stand.expect_error(CtiError, doing="The provider's drop_call() without a connection"):
                await stand.within(stand.provider.drop_call(call), "drop_call")

    @rule(
        "lifecycle.marks-sent",
        "Where marks_sent is set, each verb says by command_sent() that its command leaves: the core tries again what it takes"
        " for unsent.",
        contract="BaseCtiProvider.marks_sent, ProviderContext.command_sent",
    )
    async def test_what_is_sent_is_marked(self, stand: Stand) -> None:
        if not stand.bench.provider_class.marks_sent:
            raise NotMeasured("the provider does not say that its verbs mark what they send")
        await _whatever_it_can(stand)
        unmarked = sorted(set(stand.seen.unmarked))
        stand.expect(not unmarked, f"marks_sent is set, and these verbs returned without command_sent(): {', '.join(unmarked)}.")

    # --- being one of many

    @rule(
        "lifecycle.no-globals",
        "Two sessions in one process know nothing of each other.",
        contract="docs/how-to/write-a-provider.md",
    )
    async def test_two_sessions_are_two(self, stand: Stand) -> None:
        async with stand_for(stand.bench, stand.seen.logs) as other, other.session():
            call = await stand.talking()
            await other.settle()
            stand.expect(not other.model.calls, f"Call {call.id} of one PBX is shown in a session at another.")
            second = await other.talking()
            stand.expect(stand.model.call(second.id) is None or second.id == call.id, "A call is shown in both sessions.")
            await stand.far.do("hang_up", stand.number_of(call))
            await stand.finished(call)
            stand.expect(other.model.call(second.id) is not None, "A call of one PBX ended, and with it that of another.")

    @rule(
        "lifecycle.loop",
        "Nothing blocks the event loop: not logging in, not a verb, not a report, not logging out.",
        contract="docs/how-to/write-a-provider.md",
        opens=False,
    )
    async def test_the_event_loop_goes_on(self, stand: Stand) -> None:
        watch = Watch()
        async with anyio.create_task_group() as tasks:
            with watch.watching():
                tasks.start_soon(watch.beat)
                async with stand.session():
                    # What it does not do as it should is another rule's affair.
                    with suppress(Broken, CommandError):
                        await _whatever_it_can(stand)
            tasks.cancel_scope.cancel()
        if watch.stalls:
            longest = max(watch.stalls, key=lambda stall: stall.seconds)
            raise Broken(f"The event loop stood still for {longest.seconds:.2f} s at least, at:\n{longest.stack}")

    @rule(
        "lifecycle.idle",
        "A session in which nothing happens leaves the processor alone.",
        contract="docs/how-to/write-a-provider.md",
    )
    async def test_an_idle_session_is_idle(self, stand: Stand) -> None:
        await stand.settle()
        # The processor time of this thread only: how busy the computer is does not count.
        before = time.thread_time()
        await anyio.sleep(_IDLE_SECONDS)
        used = time.thread_time() - before
        stand.expect(used < _IDLE_SECONDS / 5, f"Nothing happened for {_IDLE_SECONDS:g} s, and {used:.2f} s of them it was busy.")

    @rule(
        "lifecycle.one-thread",
        "Reports come in the event loop's own thread.",
        contract="ProviderContext.report",
    )
    async def test_reports_come_in_one_thread(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        stand.expect(not stand.seen.astray, f"From another thread came {', '.join(stand.seen.astray)}.")


async def _after_one_session(stand: Stand) -> Any:
    """Tell what lives when a session has been there: what is made once, and for all, is there now."""
    async with stand.session():
        pass
    return await steady(stand.bench.patience_seconds)


async def _nothing_left(stand: Stand, before: Any) -> None:
    left = await what_is_left(before, stand.bench.patience_seconds)
    stand.expect(not left, f"The session is closed, and there is: {'; '.join(left)}.")


async def _ask_for_snapshots(stand: Stand) -> None:
    while True:
        await stand.provider.snapshot()
        await anyio.lowlevel.checkpoint()


async def _whatever_it_can(stand: Stand) -> None:
    """Have a provider do what it offers, in one call."""
    call = await stand.talking()
    if stand.offers(CallFeature.HOLD):
        await stand.model.hold_call(call)
        await stand.until(CallHeld, call)
        if stand.offers(CallFeature.UNHOLD):
            await stand.model.unhold_call(call)
            await stand.until(CallUnheld, call)
    if stand.offers(CallFeature.DTMF) and stand.now(call).state is CallState.CONNECTED:
        await stand.model.send_dtmf("1", call)
    if stand.offers(AgentFeature.SET_STATE):
        states = next(event for event in stand.seen.events if isinstance(event, Initialized)).agent_states
        for state in [state for state in states if state.selectable][:2]:
            await stand.model.set_agent_state(state.code)
    await stand.provider.snapshot()
    if stand.offers(CallFeature.DROP):
        await stand.model.drop_call(call)
        await stand.finished(call)
    if stand.offers(_DIAL) and stand.offers(CallFeature.DROP):
        made = await stand.model.make_call(stand.simulation.subscriber)
        await stand.model.drop_call(made)
        await stand.finished(made)
