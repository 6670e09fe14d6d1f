"""What an author subclasses: the tests of one profile, or of all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.rules import Outcome, OutcomeKind, Rule
from cti_framework.testing.conformance.running import BACKENDS
from cti_framework.testing.conformance.table import FACTS, facts_of

__all__ = ["Profile", "rules_of"]


class Profile:
    """Tests of the contract. Subclass it and override the fixture ``bench``.

    Attributes:
        not_on: Event loops that the provider does not run on, each with why: ``{"trio": "the vendor's library is asyncio's"}``.
    """

    not_on: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @pytest.fixture
    def bench(self) -> ProviderBench:
        """The provider under test: override it.

        Returns:
            It, and the PBX in a box that it is tested on.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has to override the fixture `bench`: return ProviderBench(YourProvider)"
        )

    @pytest.fixture(params=BACKENDS)
    def backend(self, request: pytest.FixtureRequest) -> str:
        """The event loop of a test.

        Args:
            request: Pytest's.

        Returns:
            Its name.
        """
        name: str = request.param
        return name

    @pytest.fixture(autouse=True)
    def _facts_for_the_table(self, request: pytest.FixtureRequest, bench: ProviderBench, backend: str) -> None:
        measured: Any = getattr(request.function, "rule", None)
        if isinstance(measured, Rule):
            request.node.user_properties.append((FACTS, facts_of(measured, bench, backend)))

    def judge(self, measured: Rule, bench: ProviderBench, backend: str) -> None:
        """Measure the provider by a rule, and tell pytest what came out.

        Args:
            measured: The rule.
            bench: The provider.
            backend: The event loop.
        """
        __tracebackhide__ = True
        reason = self.not_on.get(backend)
        if reason is not None:
            pytest.skip(f"not on {backend}: {reason}")
        outcome: Outcome = measured.measure(bench, backend, self)
        if outcome.kind is OutcomeKind.SKIPPED:
            pytest.skip(outcome.why)
        elif outcome.kind is OutcomeKind.EXPECTED:
            pytest.xfail(outcome.why)
        elif outcome.kind is OutcomeKind.FAILED:
            pytest.fail(outcome.why, pytrace=False)


def rules_of(suite: type[Profile]) -> Mapping[str, Rule]:
    """Tell the rules that a class of tests measures.

    Args:
        suite: The class.

    Returns:
        By the name of the test, in the order of the profiles.
    """
    found: dict[str, Rule] = {}
    for owner in suite.__mro__:
        for name, member in vars(owner).items():
            made = getattr(member, "rule", None)
            # What a subclass has put something else in place of is not measured.
            if isinstance(made, Rule) and getattr(suite, name) is member:
                found.setdefault(name, made)
    return MappingProxyType(found)
