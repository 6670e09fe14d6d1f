"""Faults in the life of a connection: how it begins, how it ends, what it does not let through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import ClassVar

import anyio

from cti_dummy import DummyCtiProvider
from cti_framework.calls import Call
from cti_framework.errors import CredentialsRefusedError, NetworkError, PluginError
from cti_framework.provider import ProviderContext
from cti_framework.reports import InfoChanged, Report, Started
from tests.conformance.mutants.making import Misreporting, Mutant

__all__ = ["MUTANTS", "Shielded"]


class AsyncioOnly(DummyCtiProvider):
    """Runs on one event loop only."""

    async def run(self) -> None:
        await asyncio.sleep(0.001)
        await super().run()


class ListeningOn(DummyCtiProvider):
    """Goes on to listen when run() is over."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self._switch.subscribe(self._on_event)


class HangsUpWhenItLeaves(DummyCtiProvider):
    """Ends the operator's calls when its session is left."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            for leg in tuple(self._switch.legs_of(self._presence)):
                self._switch.hang_up(leg.uuid)


class StartsWhenMade(DummyCtiProvider):
    """Starts a thread when it is made."""

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        threading.Thread(target=threading.Event().wait, args=(2.0,), name="begun too early", daemon=True).start()


class Shielded(DummyCtiProvider):
    """Cannot be cancelled."""

    async def run(self) -> None:
        with anyio.CancelScope(shield=True):
            await super().run()


class ShieldedGoodbye(DummyCtiProvider):
    """Says goodbye for ever when it is cancelled."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3600)


class SwallowsCancellation(DummyCtiProvider):
    """Takes its cancellation for an ordinary end."""

    async def run(self) -> None:
        try:
            await super().run()
        except anyio.get_cancelled_exc_class():
            return


class CancellationIsFailure(DummyCtiProvider):
    """Takes its cancellation for a lost network."""

    async def run(self) -> None:
        try:
            await super().run()
        except BaseException as error:
            raise NetworkError("The line was cut.") from error


class RetriesByItself(DummyCtiProvider):
    """Connects again by itself."""

    async def run(self) -> None:
        while True:
            try:
                await super().run()
            except NetworkError:
                await anyio.sleep(0.01)


class OnlyOnce(DummyCtiProvider):
    """Cannot be run again."""

    has_run = False

    async def run(self) -> None:
        if self.has_run:
            raise RuntimeError("cannot reuse already awaited coroutine")
        self.has_run = True
        await super().run()


class RefusedForEver(DummyCtiProvider):
    """Takes a refused user for a lost network, and has it tried again."""

    async def run(self) -> None:
        try:
            await super().run()
        except CredentialsRefusedError as error:
            raise NetworkError("The PBX closed the connection.") from error


class RefusedAfterStart(DummyCtiProvider):
    """Tells that it is logged in before it is."""

    async def run(self) -> None:
        self.context.report(Started(at=self.context.clock.now()))
        await super().run()


class LateStart(Misreporting):
    """Tells something else before it tells that it is logged in."""

    def said(self, report: Report) -> Iterable[Report]:
        if isinstance(report, Started):
            yield InfoChanged(at=report.at, call_id="before")
        yield report


class LosesItsLock(DummyCtiProvider):
    """Does not give back what a verb took when that is cancelled."""

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.free = anyio.Semaphore(1)

    async def make_call(self, destination: str) -> Call:
        await self.free.acquire()
        await anyio.sleep(0.01)
        call = await super().make_call(destination)
        self.free.release()
        return call


class NeverCancelledVerb(DummyCtiProvider):
    """Waits in a verb for what does not come, and cannot be cancelled in it."""

    async def make_call(self, destination: str) -> Call:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3600)
        return await super().make_call(destination)


class NeverAnswered(DummyCtiProvider):
    """Waits for an event of its own making that never comes."""

    async def drop_call(self, call: Call) -> None:
        await super().drop_call(call)
        await anyio.sleep_forever()


class RaisingProbe(DummyCtiProvider):
    """Lets out its library's error in place of an answer to its ping."""

    async def probe(self) -> None:
        raise RuntimeError("ping is not implemented")


class DeadProbe(DummyCtiProvider):
    """Waits for an answer to its ping that never comes."""

    async def probe(self) -> None:
        await anyio.sleep_forever()


class OneForAll(DummyCtiProvider):
    """Keeps for the class what belongs to one session."""

    contexts: ClassVar[list[ProviderContext]] = []

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.contexts.append(context)
        self.report = context.report
        context.report = self._report_to_all

    def _report_to_all(self, *reports: Report) -> None:
        self.report(*reports)
        for context in self.contexts:
            if context is not self.context and not isinstance(reports[0], Started):
                context.report.__self__.report(*reports)  # type: ignore[attr-defined]  # the method of another of these


class FromAnotherThread(Misreporting):
    """Reports from a thread of its library."""

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        report = self.report

        def tell(*reports: Report) -> None:
            # The core has no event loop there, and says so: its library would not care.
            with suppress(RuntimeError):
                report(*reports)

        def elsewhere(*reports: Report) -> None:
            thread = threading.Thread(target=tell, args=reports)
            thread.start()
            thread.join()

        self.report = elsewhere


MUTANTS = (
    Mutant(AsyncioOnly, ("test_a_call_is_offered",), backend="trio", raises=(PluginError,)),
    Mutant(ListeningOn, ("test_nothing_is_reported_afterwards",)),
    Mutant(HangsUpWhenItLeaves, ("test_nothing_is_left_of_a_session_in_a_call",)),
    Mutant(StartsWhenMade, ("test_the_constructor_does_nothing",)),
    Mutant(Shielded, ("test_it_can_be_cancelled_in_service",), changes={"limit_seconds": 0.3}),
    Mutant(ShieldedGoodbye, ("test_it_can_be_cancelled_in_service",), changes={"limit_seconds": 0.3}),
    Mutant(SwallowsCancellation, ("test_it_can_be_cancelled_in_service",)),
    Mutant(CancellationIsFailure, ("test_it_can_be_cancelled_in_service",)),
    Mutant(RetriesByItself, ("test_the_network_is_cut",)),
    Mutant(OnlyOnce, ("test_it_can_be_run_again",), raises=(PluginError,)),
    Mutant(RefusedForEver, ("test_the_user_is_refused",)),
    Mutant(RefusedAfterStart, ("test_the_user_is_refused", "test_started_comes_first")),
    Mutant(LateStart, ("test_started_comes_first",)),
    Mutant(LosesItsLock, ("test_a_verb_can_be_cancelled",)),
    Mutant(NeverCancelledVerb, ("test_a_verb_can_be_cancelled",), changes={"limit_seconds": 0.3}),
    Mutant(NeverAnswered, ("test_a_call_is_dropped",)),
    Mutant(RaisingProbe, ("test_a_probe_is_answered",), raises=(RuntimeError,)),
    Mutant(DeadProbe, ("test_a_probe_is_answered",)),
    Mutant(OneForAll, ("test_two_sessions_are_two",)),
    Mutant(FromAnotherThread, ("test_reports_come_in_one_thread",)),
)
