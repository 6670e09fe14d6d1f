"""The stand on which a provider is measured: a PBX in a box, sessions at it, and all that was seen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import attrs

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallDirection, CallFeature, CallState
from cti_framework.errors import NotSupportedError
from cti_framework.events import CallConnected, CallFinished, CallStarted, Cursor, Initialized
from cti_framework.hooks import Hooks
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.media import MediaOptions
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider, Simulation
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.far import FarSideOfTest
from cti_framework.testing.conformance.given import parted
from cti_framework.testing.conformance.hearing import Hearing
from cti_framework.testing.conformance.running import Broken, NotMeasured
from cti_framework.testing.conformance.seen import Logs, Seen
from cti_framework.testing.conformance.tap import Taps, plugins_with
from cti_framework.testing.conformance.waiting import Waiting, is_same_call

__all__ = ["CALLER", "CALLER_NAME", "OTHER_CALLER", "NoWebPhone", "Stand", "is_same_call", "is_same_number", "stand_for"]

CALLER: Final = "0671112233"
CALLER_NAME: Final = "Ann Caller"
OTHER_CALLER: Final = "0672223344"

_RECONNECT_SECONDS: Final = 0.02
_LEAST_DIGITS: Final = 3
_QUALITY_SECONDS: Final = 0.3


def is_same_number(one: str, other: str) -> bool:
    """Tell whether two numbers can be one, however a PBX writes it: by their last digits.

    Args:
        one: A number.
        other: Another.

    Returns:
        Whether.
    """
    digits, others = (re.sub(r"\D", "", number) for number in (one, other))
    short, long = sorted((digits, others), key=len)
    return short == long if len(short) < _LEAST_DIGITS else long.endswith(short)


class NoWebPhone(NotMeasured):
    """There is no user whose sound goes through the session."""


class Stand(Waiting):
    """A PBX in a box and the sessions of one operator at it.

    Args:
        bench: The provider under test.
        simulation: The PBX in a box.
        logs: What is logged meanwhile.
        hearing: The operator's sound; ``None``: his calls have their sound elsewhere.

    Attributes:
        bench: As given.
        simulation: As given.
        seen: All that was done, reported and told.
        far: The other end of the operator's calls.
        hearing: As given.
    """

    def __init__(self, bench: ProviderBench, simulation: Simulation, logs: Logs, hearing: Hearing | None = None) -> None:
        super().__init__(bench, Seen(logs))
        self.simulation = simulation
        self.hearing = hearing
        self.far = FarSideOfTest(simulation, self.seen)
        self._taps = Taps(bench.provider_class, self.seen)
        self._model: CtiModel | None = None

    # ------------------------------------------------------------------ sessions

    def initializer(self, settings: Mapping[str, Any] | None = None) -> CtiProviderInitializer:
        """Make what opens sessions.

        Args:
            settings: Settings beside those of the PBX in a box.

        Returns:
            An initializer that knows the provider under test and no other, and no companion.
        """
        name = self.bench.provider_name
        given = {
            "cti.provider": name,
            "cti.reconnect_initial_seconds": _RECONNECT_SECONDS,
            "cti.reconnect_max_seconds": _RECONNECT_SECONDS,
            **self.simulation.settings,
            **(settings or {}),
        }
        return CtiProviderInitializer(given, environ={}, hooks=Hooks(), plugins=plugins_with(name, self._taps.wrapped))

    @asynccontextmanager
    async def session(
        self, overrides: Mapping[str, Any] | None = None, *, wait_for_service: bool = True
    ) -> AsyncIterator[CtiModel]:
        """Open a session of the operator.

        Args:
            overrides: Settings, by dotted key, that go before those of the PBX in a box and of its user: the system's in the
                system's settings, the user's in his parameters.
            wait_for_service: Whether to wait until it is in service, and raise what that failed with.

        Yields:
            It.

        Raises:
            CtiError: It cannot be opened.
        """
        simulated = self.simulation.user
        of_system, of_user = parted(self.bench, self.simulation, overrides or {})
        user = attrs.evolve(simulated, parameters={**simulated.parameters, **of_user})
        sound: dict[str, Any] = {} if self.hearing is None else {"media": self.hearing}
        model = await self.initializer(of_system).create(user, wait_for_service=wait_for_service, **sound)
        beginning = Cursor(model.cursor.epoch, 0)
        self.seen.read(model.events(after=beginning))
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.seen.follow, model.events(after=beginning))
            opening = anyio.CancelScope()

            async def give_up() -> None:
                nonlocal failure
                with opening:
                    await anyio.sleep(self.bench.patience_seconds)
                    failure = Broken(self._why_not_in_service(model))
                    tasks.cancel_scope.cancel()

            tasks.start_soon(give_up)
            try:
                async with model:
                    opening.cancel()
                    was, self._model = self._model, model
                    try:
                        yield model
                    finally:
                        self._model = was
            except Exception as error:  # noqa: BLE001  # raised behind the group, which would wrap it
                failure = error
            self.seen.catch_up()
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _why_not_in_service(self, model: CtiModel) -> str:
        parts = [f"The session is not in service {self.bench.patience_seconds:g} s after it was opened"]
        if not self.seen.told:
            parts.append("nothing was reported")
        if model.refused_reports:
            refused = ", ".join(f"{reason} ({count})" for reason, count in model.refused_reports.items())
            parts.append(f"the core refused reports: {refused}")
        naive = [told.report for told in self.seen.told if getattr(told.report.at, "tzinfo", None) is None]
        if naive:
            parts.append(f"{type(naive[0]).__name__}.at is {naive[0].at!r}, which is no aware time")
        if self.seen.astray:
            parts.append(f"from another thread than the event loop's came {', '.join(self.seen.astray)}")
        return "; ".join(parts) + "."

    @property
    def model(self) -> CtiModel:
        """The session that is open."""
        if self._model is None:
            raise RuntimeError("No session is open on this stand.")
        return self._model

    @property
    def provider(self) -> BaseCtiProvider:
        """The provider of the session that was opened last, for what the core would refuse by itself."""
        if self._taps.provider is None:
            raise RuntimeError("No session was opened on this stand.")
        return self._taps.provider

    def offers(self, feature: CallFeature | AgentFeature) -> bool:
        """Tell whether the session says that it can do something.

        Args:
            feature: What.

        Returns:
            Whether.
        """
        said = [event for event in self.seen.events if isinstance(event, Initialized)]
        if not said:
            return False
        return feature in said[-1].features if isinstance(feature, CallFeature) else feature in said[-1].agent_features

    async def settle(self) -> None:
        """Let come what is still on its way: a round trip to the PBX, and the time that the bench gives."""
        with anyio.move_on_after(self.bench.patience_seconds):
            await self.provider.snapshot()
        await anyio.sleep(self.bench.settle_seconds)
        self.seen.catch_up()

    # ------------------------------------------------------------------ calls

    async def incoming(self, number: str = CALLER, name: str = "") -> Call:
        """Have somebody call the operator.

        Args:
            number: Who.
            name: The caller's name.

        Returns:
            The call, which rings.

        Raises:
            Broken: It is not shown.
            NotMeasured: The far side cannot.
        """
        since = self.mark()
        await self.far.do("incoming", number, name)
        call = (await self.until(CallStarted, since=since, what=f"the call from {number}")).call
        if self.hearing is None or not self.offers(CallFeature.ANSWER):
            return call
        # What tells of the call and what carries its sound need not come at once.
        await self.until_so(lambda: CallFeature.ANSWER in self.now(call).features, f"call {call.id} rings and can be answered")
        return self.now(call)

    async def pick_up(self, call: Call) -> Call:
        """Pick up a call that rings: by hand where the far side can, otherwise by the provider's own verb.

        Args:
            call: The call.

        Returns:
            The call, connected.

        Raises:
            Broken: It is not connected then.
            NotMeasured: Nobody can.
        """
        if self.hearing is None and self.far.can("answer_own"):
            await self.far.do("answer_own")
        elif self.offers(CallFeature.ANSWER):
            await self.model.answer_call(call)
        else:
            raise NotMeasured("neither the far side nor the provider can pick up the operator's phone")
        return (await self.until(CallConnected, call)).call

    async def talking(self, number: str = CALLER) -> Call:
        """Begin a call and connect it: one that comes in where the far side can, otherwise one of the operator's.

        Args:
            number: Who calls.

        Returns:
            The call.

        Raises:
            Broken: It does not come so far.
            NotMeasured: No call can be had.
        """
        if self.far.can("incoming") and (self.far.can("answer_own") or self.offers(CallFeature.ANSWER)):
            return await self.pick_up(await self.incoming(number))
        return await self.calling()

    async def calling(self) -> Call:
        """Call the number that answers by itself, and wait until it has.

        Returns:
            The call, connected.

        Raises:
            Broken: It does not come so far.
            NotMeasured: The provider cannot call.
        """
        if not self.offers(CallFeature.DIAL):
            raise NotMeasured("no call can be had: the far side cannot call, and DIAL is not offered")
        call = await self.within(self.model.make_call(self.simulation.subscriber), "make_call")
        return (await self.until(CallConnected, call)).call

    def number_of(self, call: Call) -> str:
        """Tell by which number the far side knows who is at the other end of a call.

        Args:
            call: The call.

        Returns:
            The number.
        """
        known = (CALLER, OTHER_CALLER) if call.direction is CallDirection.IN else (self.simulation.subscriber,)
        return next((number for number in known if is_same_number(number, call.other.number)), known[0])

    def now(self, call: Call) -> Call:
        """Give a call as it is now.

        Args:
            call: As it was.

        Returns:
            It.

        Raises:
            Broken: It is not open any more.
        """
        found = self.model.call(call.id)
        if found is None:
            raise Broken(f"Call {call.id} is not open any more.")
        return found

    async def until_state(self, call: Call, state: CallState) -> Call:
        """Wait until a call does something.

        Args:
            call: The call.
            state: What.

        Returns:
            It, as it is then.

        Raises:
            Broken: It does not in time.
        """

        def is_so() -> bool:
            found = self.model.call(call.id)
            return found is not None and found.state is state

        await self.until_so(is_so, f"call {call.id} is {state.name}")
        return self.now(call)

    async def finished(self, call: Call) -> Call:
        """Wait until a call is over.

        Args:
            call: The call.

        Returns:
            It, as it was at its end.

        Raises:
            Broken: It does not end.
        """
        return (await self.until(CallFinished, call)).call


@asynccontextmanager
async def stand_for(bench: ProviderBench, logs: Logs, *, web_phone: bool = False) -> AsyncIterator[Stand]:
    """Run the PBX in a box and make a stand at it.

    Args:
        bench: The provider under test.
        logs: What is logged meanwhile.
        web_phone: Whether the sound of the operator's calls goes through the session.

    Yields:
        The stand.

    Raises:
        NotMeasured: There is no PBX in a box.
        NoWebPhone: There is none for such an operator.
    """
    given = bench.web_phone if web_phone else None
    try:
        simulation = bench.simulation() if given is None else given()
    except NotSupportedError as error:
        raise NotMeasured(f"there is no PBX in a box: {error}") from None
    async with simulation as running:
        of_it = running.web_phone if web_phone and given is None else running
        if of_it is None:
            raise NoWebPhone("the PBX in a box has no web phone (Simulation.web_phone)")
        yield Stand(bench, of_it, logs, _hearing(of_it) if web_phone else None)


def _hearing(simulation: Simulation) -> Hearing:
    addresses = tuple(simulation.settings.get("media.host_addresses", ()))
    return Hearing(MediaOptions(host_addresses=addresses, quality_interval_seconds=_QUALITY_SECONDS))
