"""What the documentation says of the kit and of our providers is what the kit says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.testing.conformance import (
    CapabilityTable,
    Measured,
    ProviderBench,
    ProviderConformance,
    Rule,
    measure,
    rules_of,
)
from cti_framework.testing.conformance.table import facts_of
from cti_webitel import WebitelCtiProvider

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "conformance.md").read_text(encoding="utf-8")
BENCHES = (ProviderBench(DummyCtiProvider, refused={"dummy.number": "999"}), ProviderBench(WebitelCtiProvider))


def measured_in_this_run(bench: ProviderBench, config: pytest.Config) -> CapabilityTable | None:
    """Give the table of the tests beside these, where all of them have run already."""
    collected = config.pluginmanager.get_plugin("cti-conformance-table")
    tables = () if collected is None else collected.tables()
    tests = rules_of(ProviderConformance).keys()
    mine = (table for table in tables if table.provider == bench.provider_name)
    return next((table for table in mine if {test.test for test in table.tests} == tests), None)


def measured_now(bench: ProviderBench) -> CapabilityTable:
    measured = []
    for outcome in measure(bench).values():
        facts = facts_of(outcome.rule, bench, outcome.backend)
        told = {**facts, "proves": tuple(facts["proves"]), "declares": tuple(facts["declares"])}
        measured.append(Measured(**told, outcome=outcome.kind, why=outcome.why))
    (table,) = CapabilityTable.of(measured)
    return table


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.provider_name)
def test_the_table_of_a_provider_is_what_was_measured(bench: ProviderBench, request: pytest.FixtureRequest) -> None:
    table = measured_in_this_run(bench, request.config) or measured_now(bench)
    assert f"### {bench.provider_name}\n\n{table.summary()}" in PAGE, table.summary()


@pytest.mark.parametrize("made", rules_of(ProviderConformance).values(), ids=lambda made: made.id)
def test_every_rule_is_written_down(made: Rule) -> None:
    target = made.id.replace(".", "-")
    found = re.search(rf"^\({re.escape(target)}\)=\n`{re.escape(made.id)}`\n: (.*)\n  (.*)$", PAGE, re.MULTILINE)
    assert found is not None, f"docs/reference/conformance.md does not tell {made.id}"
    assert found[1] == made.text
    for told in (made.contract, f"`{made.test}`", *(str(feature.name) for feature in (*made.proves, *made.needs))):
        assert told in found[2]


def test_no_rule_is_written_down_that_there_is_not() -> None:
    written = set(re.findall(r"^`([a-z-]+\.[a-z-]+)`$", PAGE, re.MULTILINE))
    assert written == {made.id for made in rules_of(ProviderConformance).values()}
