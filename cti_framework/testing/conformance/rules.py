"""A rule of the contract, the test that measures it, and what came out."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature
from cti_framework.provider import Capabilities
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.hearing import missing_media
from cti_framework.testing.conformance.running import Broken, NotMeasured, missing_backend, run_scenario
from cti_framework.testing.conformance.seen import Logs
from cti_framework.testing.conformance.stand import NoWebPhone, Stand, stand_for

if TYPE_CHECKING:
    from cti_framework.testing.conformance.suite import Profile

__all__ = ["Feature", "Outcome", "OutcomeKind", "Rule", "names_of", "offers", "rule"]

Feature = CallFeature | AgentFeature
Scenario = Callable[[Any, Stand], Awaitable[None]]
Look = Callable[[Any, ProviderBench], None]

_PAGE: Final = "docs/reference/conformance.md"
_KIT: Final = os.path.dirname(__file__)
_RUNNERS: Final = tuple(
    [os.path.join(_KIT, name) for name in ("rules.py", "running.py", "stand.py", "tap.py")]
    + [os.path.dirname(module.__file__ or "anyio") for module in (anyio, asyncio)]
)


class OutcomeKind(Enum):
    """What came out of a test."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected"
    """It failed, and is known to."""
    SKIPPED = "skipped"
    """It does not apply, or could not be measured."""


@attrs.frozen
class Outcome:
    """What came out of one test on one event loop.

    Attributes:
        rule: What was measured.
        backend: The event loop.
        kind: What came out.
        why: Why it was skipped, or what is broken; empty: it passed.
        seconds: How long it took.
        error: What else was raised, where it was no finding of the test's own.
    """

    rule: Rule
    backend: str
    kind: OutcomeKind
    why: str = ""
    seconds: float = 0.0
    error: BaseException | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen(eq=False)
class Rule:
    """A rule of the contract.

    Attributes:
        id: Its name, for example ``calls.ended-once``.
        text: What it says.
        contract: Where the contract says so.
        profile: The profile that it belongs to.
        test: The name of the test that measures it.
        proves: The capability that the test is for; none: whatever a provider can do, it holds.
        needs: Further capabilities that the test makes use of.
        opens: Whether the test wants a session that is open.
        undeclared: The capability that the provider must not declare for the test to apply.
        shows: What the PBX has to make known for the test to apply: a key of ``Simulation.hides``; empty: nothing of its own.
        web_phone: Whether the test is of an operator whose sound goes through the session.
        body: The test: a scenario on a stand, or a plain function that looks at the bench.
    """

    id: str
    text: str
    contract: str
    profile: str
    test: str
    proves: tuple[Feature, ...]
    needs: tuple[Feature, ...]
    opens: bool
    undeclared: Feature | None
    shows: str
    web_phone: bool
    body: Scenario | Look = attrs.field(repr=False)

    @property
    def written(self) -> str:
        """Where it is written."""
        return f"{_PAGE}#{self.id.replace('.', '-')} (contract: {self.contract})"

    def measure(self, bench: ProviderBench, backend: str, profile: Profile | None = None) -> Outcome:
        """Measure a provider by it, without pytest.

        Args:
            bench: The provider.
            backend: The event loop.
            profile: The instance whose test it is; ``None``: none is needed.

        Returns:
            What came out.
        """
        began = time.monotonic()
        kind, why, error = self._judged(bench, backend, profile)
        known = bench.known_failures.get(self.test)
        if known is not None and kind is OutcomeKind.FAILED:
            kind, why = OutcomeKind.EXPECTED, known
        elif known is not None and kind is OutcomeKind.PASSED:
            kind = OutcomeKind.FAILED
            why = f"{self.test} is in known_failures ({known}) and passes.\n  do: take it out of known_failures"
        return Outcome(self, backend, kind, why, time.monotonic() - began, error)

    def _judged(
        self, bench: ProviderBench, backend: str, profile: Profile | None
    ) -> tuple[OutcomeKind, str, BaseException | None]:
        story: list[str] = []
        try:
            self._check_measurable(bench, backend)
            body: Any = self.body
            if inspect.iscoroutinefunction(body):
                self._run(bench, backend, profile, body, story)
            else:
                body(profile, bench)
        except NotMeasured as reason:
            return OutcomeKind.SKIPPED, str(reason), None
        except Broken as finding:
            return OutcomeKind.FAILED, self._explained(str(finding), story), None
        except Exception as error:  # noqa: BLE001  # whatever a provider raises is a finding about it
            raised = f"{type(error).__name__}: {error}\n{_indented(_traceback_of(error))}"
            return OutcomeKind.FAILED, self._explained(raised, story), error
        return OutcomeKind.PASSED, "", None

    def _check_measurable(self, bench: ProviderBench, backend: str) -> None:
        missing = missing_backend(backend)
        if missing is not None:
            raise NotMeasured(missing)
        declared = bench.provider_class.capabilities
        missing_features = [feature for feature in (*self.proves, *self.needs) if not offers(declared, feature)]
        if missing_features:
            raise NotMeasured(f"{', '.join(names_of(missing_features))} is not declared")
        if self.undeclared is not None and offers(declared, self.undeclared):
            raise NotMeasured(f"{names_of([self.undeclared])[0]} is declared")
        missing = missing_media(backend) if self._has_sound(bench) else None
        if missing is not None:
            raise NotMeasured(missing)

    def _run(self, bench: ProviderBench, backend: str, profile: Profile | None, scenario: Scenario, story: list[str]) -> None:
        logs = Logs()

        async def at_stand(web_phone: bool) -> list[Feature]:
            async with stand_for(bench, logs, web_phone=web_phone) as stand:
                hidden = stand.simulation.hides.get(self.shows)
                if hidden is not None:
                    raise NotMeasured(f"the PBX does not make {self.shows} known: {hidden}")
                try:
                    if not self.opens:
                        await scenario(profile, stand)
                        return []
                    async with stand.session():
                        missing = [feature for feature in (*self.proves, *self.needs) if not stand.offers(feature)]
                        if not missing:
                            await scenario(profile, stand)
                        return missing
                finally:
                    story[:] = [stand.seen.story()]
                    _find_no_fault(stand)

        async def act() -> None:
            has_sound = self._has_sound(bench)
            missing = await at_stand(has_sound)
            if missing and not has_sound and missing_media(backend) is None:
                # What a session can do only where it has the sound, is measured there.
                with suppress(NoWebPhone):
                    missing = await at_stand(True)
            if missing:
                raise NotMeasured(f"the session does not offer {', '.join(names_of(missing))} (Started says so)")

        # Not in the scenario's thread: one that hangs would never give the logs back.
        with logs.written_down(bench.packages):
            run_scenario(backend, act, bench.limit_seconds)

    def _has_sound(self, bench: ProviderBench) -> bool:
        return self.web_phone or (bench.by_web_phone and inspect.iscoroutinefunction(self.body))

    def _explained(self, finding: str, story: list[str]) -> str:
        parts = [f"{self.id}: {self.text}", f"  broken: {finding}"]
        if story:
            parts += ["  seen:", *story]
        parts.append(f"  written: {self.written}")
        return "\n".join(parts)


def _find_no_fault(stand: Stand) -> None:
    """Break any rule where ``run()`` ended by a fault: the core makes a new connection, which heals what it did, and hides it."""
    run = next((run for run in stand.seen.runs if run.fault is not None), None)
    if run is not None and run.fault is not None:
        where = _indented(_traceback_of(run.fault))
        raise Broken(f"run() {run.number} ended with {type(run.fault).__name__}, which no provider may let out.\n{where}")


def offers(capabilities: Capabilities, feature: Feature) -> bool:
    """Tell whether capabilities hold a feature.

    Args:
        capabilities: A provider's.
        feature: The feature.

    Returns:
        Whether.
    """
    return feature in capabilities.calls if isinstance(feature, CallFeature) else feature in capabilities.agent


def names_of(features: Iterable[Feature]) -> list[str]:
    """Name features.

    Args:
        features: Single ones.

    Returns:
        Their names.
    """
    return [feature.name or str(int(feature)) for feature in features]


def rule(
    id: str,
    text: str,
    *,
    contract: str,
    proves: Feature | tuple[Feature, ...] = (),
    needs: Feature | tuple[Feature, ...] = (),
    opens: bool = True,
    undeclared: Feature | None = None,
    shows: str = "",
    web_phone: bool = False,
) -> Callable[[Scenario | Look], Any]:
    """Make a test of a rule: a plain function that pytest can run, of what measures it.

    Args:
        id: The rule's name: that of its profile, a dot, its own.
        text: What it says.
        contract: Where the contract says so.
        proves: The capability that the test is for.
        needs: Further capabilities that it makes use of.
        opens: Whether the test wants a session that is open.
        undeclared: The capability that the provider must not declare for the test to apply.
        shows: What the PBX has to make known for the test to apply: a key of ``Simulation.hides``.
        web_phone: Whether the test is of an operator whose sound goes through the session.

    Returns:
        What makes the test.
    """

    def make(body: Scenario | Look) -> Any:
        made = Rule(
            id=id,
            text=text,
            contract=contract,
            profile=id.partition(".")[0],
            test=body.__name__,
            proves=_several(proves),
            needs=_several(needs),
            opens=opens,
            undeclared=undeclared,
            shows=shows,
            web_phone=web_phone,
            body=body,
        )

        def test(self: Profile, bench: ProviderBench, backend: str) -> None:
            __tracebackhide__ = True
            self.judge(made, bench, backend)

        test.__name__ = body.__name__
        test.__qualname__ = body.__qualname__
        test.__module__ = body.__module__
        test.__doc__ = text
        test.rule = made  # type: ignore[attr-defined]  # by which it is found
        return test

    return make


def _several(features: Feature | tuple[Feature, ...]) -> tuple[Feature, ...]:
    return features if isinstance(features, tuple) else tuple(features)


def _traceback_of(error: BaseException) -> str:
    """Write an error's traceback without the frames of whoever only runs what was asked of the provider."""
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        frames = [frame for frame in one.stack if not frame.filename.startswith(_RUNNERS)]
        one.stack = traceback.StackSummary.from_list(frames)
        waiting += [one.__cause__, one.__context__]
    return "".join(told.format()).rstrip()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
