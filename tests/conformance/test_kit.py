"""What the kit says about providers that have a fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.calls import CallFeature
from cti_framework.errors import NotSupportedError
from cti_framework.provider import ProviderContext, Simulation
from cti_framework.reports import Report, Started
from cti_framework.testing.conformance import (
    BACKENDS,
    CapabilityTable,
    Measured,
    NotMeasured,
    Outcome,
    OutcomeKind,
    Profile,
    ProviderBench,
    ProviderConformance,
    Rule,
    Stand,
    measure,
    rule,
    rules_of,
)
from cti_framework.testing.conformance.table import facts_of
from cti_webitel import WebitelCtiProvider
from tests.conformance.mutants import (
    Blocking,
    DoubleEnd,
    Leaking,
    OverDeclaring,
    Shielded,
    Swallowing,
    UnderDeclaring,
    bench_of,
)
from tests.conformance.mutants.living import FromAnotherThread
from tests.conformance.mutants.timed import NaiveTimes

RULES = rules_of(ProviderConformance)

backends = pytest.mark.parametrize("backend", BACKENDS)


def one(bench: ProviderBench, test: str, backend: str = "asyncio") -> Outcome:
    return measure(bench, test, backend=backend)[test]


class SaysNothing(DummyCtiProvider):
    async def run(self) -> None:
        await anyio.sleep_forever()


def hanging() -> int:
    return sum(thread.name.startswith("conformance on") for thread in threading.enumerate())


# --- what is found


@backends
@pytest.mark.parametrize(
    ("provider", "test", "finding"),
    [
        (DoubleEnd, "test_an_end_is_told_once", "Ended was reported 2 times"),
        (Swallowing, "test_a_refusal_is_told", "raised nothing; CommandError was due"),
        (Blocking, "test_the_event_loop_goes_on", "time.sleep(0.4)"),
        (Leaking, "test_nothing_is_left_of_a_session", "thread left behind"),
        (OverDeclaring, "test_a_call_is_sent_on", "NotSupportedError"),
        (UnderDeclaring, "test_hold_call_undeclared", "raised nothing; NotSupportedError was due"),
    ],
)
def test_a_fault_is_found_by_its_rule(provider: type[DummyCtiProvider], test: str, finding: str, backend: str) -> None:
    outcome = one(bench_of(provider), test, backend)
    assert outcome.kind is OutcomeKind.FAILED
    assert finding in outcome.why
    assert one(bench_of(DummyCtiProvider), test, backend).kind in (OutcomeKind.PASSED, OutcomeKind.SKIPPED)


def test_a_finding_tells_the_rule_what_was_seen_and_where_it_is_written() -> None:
    why = one(bench_of(DoubleEnd), "test_an_end_is_told_once").why
    assert why.startswith("calls.ended-once: The end of a call is reported, and reported once")
    story = why.partition("  seen:\n")[2]
    told = [
        "far side   incoming(",
        "report     Offered",
        "event      #",
        "far side   hang_up(",
        "report     Ended",
        "report     Ended",
    ]
    place = 0
    for line in told:
        place = story.index(line, place) + 1
    assert why.endswith("written: docs/reference/conformance.md#calls-ended-once (contract: reports.Ended)")


@backends
def test_one_that_cannot_be_ended_is_given_up(backend: str) -> None:
    before = hanging()
    # Long enough to be inside the shield by then on a busy computer too: cancelled before it, the test would end in order.
    outcome = one(bench_of(Shielded, limit_seconds=3.0), "test_a_call_is_offered", backend)
    assert outcome.kind is OutcomeKind.FAILED
    assert "something ignores cancellation or blocks" in outcome.why
    assert "mutants.py" in outcome.why or "selectors.py" in outcome.why or "_io_epoll.py" in outcome.why
    assert hanging() == before + 1
    assert one(bench_of(DummyCtiProvider), "test_a_call_is_offered", backend).kind is OutcomeKind.PASSED


def test_one_that_takes_too_long_is_ended() -> None:
    before = hanging()
    outcome = one(bench_of(DummyCtiProvider, settle_seconds=5.0, limit_seconds=0.3), "test_an_end_is_told_once")
    assert (outcome.kind, "did not end within 0.3 s" in outcome.why) == (OutcomeKind.FAILED, True)
    assert hanging() == before


class Telling(WebitelCtiProvider):
    async def run(self) -> None:
        password = self.context.user_settings.password.get_secret_value()
        if password.startswith("kit-"):
            logging.getLogger(f"{__package__}.telling").debug("logging in with %s", password)
        else:
            self.context.log.info("acme.log_in", password=password)
        await super().run()


@pytest.mark.parametrize("test", ["test_a_session_shows_no_secret", "test_a_refusal_shows_no_secret"])
def test_a_secret_in_a_log_is_found_and_not_repeated(test: str) -> None:
    outcome = one(ProviderBench(Telling, name="webitel", patience_seconds=2.0), test)
    assert outcome.kind is OutcomeKind.FAILED
    assert "The log shows a secret" in outcome.why
    assert "(the secret)" in outcome.why
    assert "simulated-4100" not in outcome.why
    assert "kit-planted" not in outcome.why


@backends
@pytest.mark.parametrize(
    ("provider", "finding"),
    [
        (NaiveTimes, "the core refused reports: bad_report (1); Started.at is datetime.datetime("),
        (FromAnotherThread, "from another thread than the event loop's came Started"),
        (SaysNothing, "nothing was reported"),
    ],
)
def test_a_session_that_is_not_in_service_says_why(provider: type[DummyCtiProvider], finding: str, backend: str) -> None:
    outcome = one(bench_of(provider), "test_a_call_is_offered", backend)
    assert outcome.kind is OutcomeKind.FAILED
    assert "The session is not in service 0.3 s after it was opened" in outcome.why
    assert finding in outcome.why


# --- what does not apply


def test_what_is_not_declared_is_skipped() -> None:
    outcome = one(bench_of(DummyCtiProvider), "test_an_enquiry")
    assert (outcome.kind, outcome.why) == (OutcomeKind.SKIPPED, "CONSULT is not declared")


def test_what_the_session_does_not_offer_is_skipped() -> None:
    class Narrow(DummyCtiProvider):
        def __init__(self, context: ProviderContext) -> None:
            report = context.report

            def narrowed(*told: Report) -> None:
                report(*(attrs.evolve(one, features=CallFeature.DIAL) if isinstance(one, Started) else one for one in told))

            context.report = narrowed
            super().__init__(context)

    outcome = one(bench_of(Narrow), "test_the_operator_holds")
    assert outcome.kind is OutcomeKind.SKIPPED
    assert "does not offer HOLD" in outcome.why


def simulated(**changes: object) -> ProviderBench:
    """The dummy on a PBX in a box that is changed."""

    @asynccontextmanager
    async def simulate() -> AsyncIterator[Simulation]:
        async with DummyCtiProvider.simulator() as simulation:
            yield attrs.evolve(simulation, **changes)  # type: ignore[arg-type]  # by the names of its fields

    return bench_of(DummyCtiProvider, simulate=simulate)


def test_what_the_pbx_hides_is_not_measured() -> None:
    outcome = one(simulated(hides={"tones": "it is deaf"}), "test_tones_are_received")
    assert outcome.kind is OutcomeKind.SKIPPED
    assert "it is deaf" in outcome.why


def test_what_the_far_side_cannot_do_is_not_measured() -> None:
    outcome = one(simulated(far_side=object()), "test_a_call_is_offered")
    assert (outcome.kind, outcome.why) == (OutcomeKind.SKIPPED, "the far side cannot incoming")


def test_without_a_pbx_in_a_box_nothing_is_measured() -> None:
    class Alone(DummyCtiProvider):
        @classmethod
        def simulator(cls) -> Any:
            raise NotSupportedError("Alone brings no simulator.", command="simulator")

    outcome = one(bench_of(Alone), "test_a_call_is_offered")
    assert outcome.kind is OutcomeKind.SKIPPED
    assert "there is no PBX in a box" in outcome.why
    assert one(bench_of(Alone), "test_each_is_described").kind is OutcomeKind.PASSED


def test_an_event_loop_that_is_not_there_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_framework.testing.conformance.running.importlib.util.find_spec", lambda name: None)
    outcome = one(bench_of(DummyCtiProvider), "test_each_is_described", "trio")
    assert (outcome.kind, outcome.why) == (OutcomeKind.SKIPPED, "trio is not installed (pip install trio)")


# --- known failures


def test_a_known_failure_is_expected() -> None:
    outcome = one(bench_of(DoubleEnd, known_failures={"test_an_end_is_told_once": "it stutters"}), "test_an_end_is_told_once")
    assert (outcome.kind, outcome.why) == (OutcomeKind.EXPECTED, "it stutters")


def test_a_known_failure_that_passes_fails() -> None:
    outcome = one(bench_of(DummyCtiProvider, known_failures={"test_a_call_is_offered": "it is deaf"}), "test_a_call_is_offered")
    assert outcome.kind is OutcomeKind.FAILED
    assert "take it out of known_failures" in outcome.why


def test_a_known_failure_of_a_test_that_there_is_not_fails() -> None:
    outcome = one(bench_of(DummyCtiProvider, known_failures={"test_no_such_test": "?"}), "test_known_failures_are_tests")
    assert outcome.kind is OutcomeKind.FAILED
    assert "test_no_such_test" in outcome.why


# --- rules


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [made.id for made in RULES.values()]
    assert len(set(names)) == len(names) > 90
    assert all(test == made.test for test, made in RULES.items())


def test_an_author_can_add_rules() -> None:
    class Own(Profile):
        @rule("own.numbers", "The operator has a number.", contract="reports.Started.own_numbers")
        async def test_the_operator_has_a_number(self, stand: Stand) -> None:
            stand.expect(stand.offers(stand.bench.provider_class.capabilities.calls), "It offers less than it declares.")

        @rule("own.never", "It cannot be measured.", contract="none")
        async def test_never(self, stand: Stand) -> None:
            raise NotMeasured("there is nothing to it")

    outcomes = measure(bench_of(DummyCtiProvider), suite=Own)
    assert [outcome.kind for outcome in outcomes.values()] == [OutcomeKind.PASSED, OutcomeKind.SKIPPED]


# --- the table


def table(bench: ProviderBench, **outcomes: OutcomeKind) -> CapabilityTable:
    def measured(made: Rule) -> Measured:
        facts = facts_of(made, bench, "asyncio")
        told = {**facts, "proves": tuple(facts["proves"]), "declares": tuple(facts["declares"])}
        return Measured(**told, outcome=outcomes[made.test])

    (made,) = CapabilityTable.of([measured(RULES[test]) for test in outcomes])
    return made


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (OutcomeKind.PASSED, "works"),
        (OutcomeKind.FAILED, "fails"),
        (OutcomeKind.EXPECTED, "known failures"),
        (OutcomeKind.SKIPPED, "not measured"),
    ],
)
def test_the_verdict_on_what_is_declared(outcome: OutcomeKind, verdict: str) -> None:
    made = table(bench_of(DummyCtiProvider), test_the_operator_holds=outcome, test_hold_call_undeclared=OutcomeKind.SKIPPED)
    rows = {row.name: row for row in made.rows}
    assert (rows["HOLD"].declared, rows["HOLD"].verdict) == (True, verdict)
    assert rows["hold"].verdict == verdict
    assert made.passed is (outcome is not OutcomeKind.FAILED)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [(OutcomeKind.PASSED, "not offered"), (OutcomeKind.FAILED, "fails"), (OutcomeKind.SKIPPED, "not measured")],
)
def test_the_verdict_on_what_is_not_declared(outcome: OutcomeKind, verdict: str) -> None:
    made = table(bench_of(DummyCtiProvider), test_an_enquiry=OutcomeKind.SKIPPED, test_make_consult_call_undeclared=outcome)
    rows = {row.name: row for row in made.rows}
    assert (rows["CONSULT"].declared, rows["CONSULT"].verdict) == (False, verdict)
    assert rows["consult and transfer"].verdict == "not offered"


def test_a_table_says_whether_all_is_well_and_what_came_out() -> None:
    told = table(bench_of(DummyCtiProvider), test_the_operator_holds=OutcomeKind.FAILED).as_dict()
    assert told["passed"] is False
    assert told["tests"] == [
        {"test": "test_the_operator_holds", "rule": "hold.own", "backend": "asyncio", "outcome": "failed", "why": ""}
    ]
    assert (
        "| HOLD | yes | 0 | 1 | 0 | 0 | fails |"
        in table(bench_of(DummyCtiProvider), test_the_operator_holds=OutcomeKind.FAILED).markdown()
    )
