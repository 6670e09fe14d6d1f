"""The capability table: what a provider declares, and what the kit measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.rules import OutcomeKind, Rule, names_of, offers

__all__ = ["FACTS", "PROFILES", "CapabilityRow", "CapabilityTable", "Measured", "facts_of"]

FACTS: Final = "cti_conformance"
"""The name under which a test's report carries what the table needs."""

PROFILES: Final[Mapping[str, str]] = {
    "calls": "basic calls",
    "hold": "hold",
    "transfer": "consult and transfer",
    "conference": "conference",
    "tones": "tones",
    "media": "microphone, camera, recording, listening in",
    "sound": "sound of the web phone",
    "agent": "agent",
    "centre": "call centre",
    "recordings": "recordings",
    "resync": "snapshot and resynchronisation",
    "lifecycle": "lifecycle",
    "secrets": "secrets",
    "settings": "settings",
    "capabilities": "capabilities",
}
"""The profiles by the first word of their rules, in the order of the table."""

_WITHOUT_VERB: Final = CallFeature.RECALL | CallFeature.SETUP_TRANSFER
_CAPABILITIES: Final[tuple[CallFeature | AgentFeature, ...]] = (
    *(feature for feature in CallFeature if feature not in _WITHOUT_VERB),
    *AgentFeature,
)


@attrs.frozen(kw_only=True)
class Measured:
    """One test on one event loop.

    Attributes:
        provider: The provider's name.
        test: The test's name.
        rule: The rule's.
        backend: The event loop.
        proves: The names of the capabilities that it is for.
        undeclared: The name of the capability that it shows to be refused; empty: it is no such test.
        declares: The names of the capabilities that the provider declares.
        outcome: What came out.
        why: Why it was skipped, is known to fail, or what is broken.
    """

    provider: str
    test: str
    rule: str
    backend: str
    proves: tuple[str, ...]
    undeclared: str
    declares: tuple[str, ...]
    outcome: OutcomeKind
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data.

        Returns:
            The attributes by name, without what is the same for all tests of a provider.
        """
        return {
            "test": self.test,
            "rule": self.rule,
            "backend": self.backend,
            "outcome": self.outcome.value,
            "why": self.why,
        }


@attrs.frozen(kw_only=True)
class CapabilityRow:
    """One row: a capability, or a profile that holds whatever a provider can do.

    Attributes:
        name: Of the capability, or of the profile.
        declared: Whether the provider declares it; ``None``: nobody declares a profile.
        passed: How many tests passed.
        failed: How many failed.
        expected: How many failed that are known to.
        skipped: How many were skipped.
        undeclared_passed: Whether what is not declared was measured to be refused.
    """

    name: str
    declared: bool | None
    passed: int
    failed: int
    expected: int
    skipped: int
    undeclared_passed: bool = False

    @property
    def verdict(self) -> str:
        """What it comes to: ``works``, ``fails``, ``known failures``, ``not measured`` or ``not offered``."""
        if self.failed:
            return "fails"
        if self.declared is False:
            return "not offered" if self.undeclared_passed else "not measured"
        if self.expected:
            return "known failures"
        return "works" if self.passed else "not measured"

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data.

        Returns:
            The attributes by name, with the verdict.
        """
        told = attrs.asdict(self, filter=lambda field, _: field.name != "undeclared_passed")
        return {**told, "verdict": self.verdict}


@attrs.frozen
class CapabilityTable:
    """What was measured of one provider.

    Attributes:
        provider: Its name.
        tests: The tests, in the order in which they ran.
    """

    provider: str
    tests: tuple[Measured, ...]

    @classmethod
    def of(cls, tests: Iterable[Measured]) -> tuple[CapabilityTable, ...]:
        """Make the tables of all providers that were measured.

        Args:
            tests: All tests.

        Returns:
            One a provider, by name.
        """
        by_provider: dict[str, list[Measured]] = {}
        for test in tests:
            by_provider.setdefault(test.provider, []).append(test)
        return tuple(cls(provider, tuple(of_it)) for provider, of_it in sorted(by_provider.items()))

    @property
    def passed(self) -> bool:
        """Whether no test failed."""
        return all(test.outcome is not OutcomeKind.FAILED for test in self.tests)

    @property
    def rows(self) -> tuple[CapabilityRow, ...]:
        """The rows: capabilities first."""
        return (*self._capabilities(), *self._profiles())

    def _capabilities(self) -> Iterator[CapabilityRow]:
        declares = {name for test in self.tests for name in test.declares}
        for (name,) in map(names_of, ([feature] for feature in _CAPABILITIES)):
            is_declared = name in declares
            of_it = [test for test in self.tests if name in test.proves or name == test.undeclared]
            counted = [test for test in of_it if (name in test.proves) is is_declared]
            if counted:
                refused = not is_declared and any(test.outcome is OutcomeKind.PASSED for test in counted)
                yield _row(name, is_declared, counted, refused=refused)

    def _profiles(self) -> Iterator[CapabilityRow]:
        for profile, title in PROFILES.items():
            of_it = [test for test in self.tests if test.rule.partition(".")[0] == profile]
            if of_it:
                nothing_declared = all(test.proves and not set(test.proves) & set(test.declares) for test in of_it)
                yield _row(title, False if nothing_declared else None, of_it, refused=nothing_declared)

    def markdown(self) -> str:
        """Write it for a README.

        Returns:
            A table in Markdown.
        """
        lines = [
            f"| {self.provider} | declared | passed | failed | known to fail | skipped | verdict |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            cells = (row.name, _declared(row), row.passed, row.failed, row.expected, row.skipped, row.verdict)
            lines.append(f"| {' | '.join(map(str, cells))} |")
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """Write it for a documentation that many runs share: without numbers.

        Returns:
            A table in Markdown.
        """
        lines = ["| | declared | verdict |", "|---|---|---|"]
        lines += [f"| {row.name} | {_declared(row)} | {row.verdict} |" for row in self.rows]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data.

        Returns:
            The provider, whether all is well, the rows and the tests.
        """
        return {
            "provider": self.provider,
            "passed": self.passed,
            "rows": [row.as_dict() for row in self.rows],
            "tests": [test.as_dict() for test in self.tests],
        }


def _declared(row: CapabilityRow) -> str:
    return "" if row.declared is None else "yes" if row.declared else "-"


def _row(name: str, declared: bool | None, tests: Iterable[Measured], *, refused: bool = False) -> CapabilityRow:
    outcomes = [test.outcome for test in tests]
    return CapabilityRow(
        name=name,
        declared=declared,
        passed=outcomes.count(OutcomeKind.PASSED),
        failed=outcomes.count(OutcomeKind.FAILED),
        expected=outcomes.count(OutcomeKind.EXPECTED),
        skipped=outcomes.count(OutcomeKind.SKIPPED),
        undeclared_passed=refused,
    )


def facts_of(measured: Rule, bench: ProviderBench, backend: str) -> dict[str, Any]:
    """Tell what the table needs of a test, as plain data that a report can carry from process to process.

    Args:
        measured: The test's rule.
        bench: The provider.
        backend: The event loop.

    Returns:
        All of ``Measured`` but what came out.
    """
    capabilities = bench.provider_class.capabilities
    return {
        # A table of its own: what is measured elsewhere is not the same provider's row.
        "provider": f"{bench.provider_name} by web phone" if bench.by_web_phone else bench.provider_name,
        "test": measured.test,
        "rule": measured.id,
        "backend": backend,
        "proves": names_of(measured.proves),
        "undeclared": "" if measured.undeclared is None else names_of([measured.undeclared])[0],
        "declares": names_of(feature for feature in _CAPABILITIES if offers(capabilities, feature)),
    }
