"""The kit finds every fault that it is shown, and does not blame a provider for all when one thing is wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.testing.conformance import BACKENDS, OutcomeKind, ProviderConformance, measure, rules_of
from tests.conformance.mutants import MUTANTS, Able, Guarded, Mutant, bench_of

# One of them is beside every fault. What hangs nobody comes first.
SAMPLE = (
    "test_the_constructor_does_nothing",
    "test_a_snapshot_of_nothing",
    "test_a_session_declares_no_more",
    "test_they_are_apart",
    "test_the_defaults_hold",
    "test_the_class_says_what_it_is",
)
LEAST = 40

# What no provider can break: the core refuses the setting, and it is the bench that names known failures (see test_kit).
NOT_THE_PROVIDERS = {"test_an_unknown_setting", "test_known_failures_are_tests"}


def backend_of(mutant: Mutant) -> str:
    """Each on one event loop: every other one on the other."""
    return mutant.backend or BACKENDS[MUTANTS.index(mutant) % len(BACKENDS)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.provider.__name__)
def test_a_fault_is_found_by_its_tests(mutant: Mutant) -> None:
    bench, backend = bench_of(mutant.provider, **mutant.changes), backend_of(mutant)
    for test, outcome in measure(bench, *mutant.fails, backend=backend).items():
        assert outcome.kind is OutcomeKind.FAILED, f"{test} {outcome.kind.value}: {outcome.why}"
        assert outcome.error is None or isinstance(outcome.error, mutant.raises), outcome.why
    passes = (measure(bench, test, backend=backend)[test].kind is OutcomeKind.PASSED for test in SAMPLE)
    assert any(passes), "Nothing passes: the kit does not tell what is wrong."


def test_there_are_enough() -> None:
    names = Counter(mutant.provider.__name__ for mutant in MUTANTS)
    assert len(names) == len(MUTANTS) >= LEAST
    assert all(mutant.fails for mutant in MUTANTS)


def test_every_test_of_the_kit_is_failed_by_one() -> None:
    failed = {test for mutant in MUTANTS for test in mutant.fails}
    assert failed == rules_of(ProviderConformance).keys() - NOT_THE_PROVIDERS


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("provider", "tests"),
    [
        (Guarded, ("test_a_session_shows_no_secret", "test_a_refusal_shows_no_secret", "test_the_user_is_refused")),
        (
            Able,
            (
                "test_the_microphone",
                "test_the_camera",
                "test_a_call_is_recorded",
                "test_after_call_work",
                "test_an_enquiry",
                "test_three_are_brought_together",
                "test_the_operator_leaves",
            ),
        ),
    ],
)
def test_what_the_mutants_are_made_from_has_no_fault(
    provider: type[DummyCtiProvider], tests: tuple[str, ...], backend: str
) -> None:
    outcomes = measure(bench_of(provider, refused=None, patience_seconds=5.0), *tests, backend=backend)
    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.PASSED}, outcomes
