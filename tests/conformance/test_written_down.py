"""What the documentation says of the kit and of our providers is what the kit says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cti_framework.testing.conformance import (
    CapabilityTable,
    Measured,
    OutcomeKind,
    ProviderBench,
    ProviderConformance,
    Rule,
    rules_of,
)
from tests.conformance import measured
from tests.conformance.measured import BENCHES, measured_now, section_of, with_tables

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "conformance.md").read_text(encoding="utf-8")
CAPABILITIES = measured.PAGE.read_text(encoding="utf-8")


def measured_in_this_run(bench: ProviderBench, config: pytest.Config) -> CapabilityTable | None:
    """Give the table of the tests beside these, where all of them have run already."""
    collected = config.pluginmanager.get_plugin("cti-conformance-table")
    tables = () if collected is None else collected.tables()
    tests = rules_of(ProviderConformance).keys()
    mine = (table for table in tables if table.provider == bench.provider_name)
    return next((table for table in mine if {test.test for test in table.tests} == tests), None)


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.provider_name)
def test_the_table_of_a_provider_is_what_was_measured(bench: ProviderBench, request: pytest.FixtureRequest) -> None:
    table = measured_in_this_run(bench, request.config) or measured_now(bench)
    assert with_tables(CAPABILITIES, [table]) == CAPABILITIES, f"run `{measured.COMMAND}`; it is\n{table.summary()}"


def test_the_page_says_how_its_tables_are_written() -> None:
    assert f".venv/bin/{measured.COMMAND}\n" in CAPABILITIES
    for verdict in ("works", "not offered", "not measured", "known failures", "fails"):
        assert f"| {verdict} |" in CAPABILITIES


def test_what_has_changed_is_written_and_the_rest_is_left() -> None:
    (bench, _) = BENCHES
    told = CapabilityTable(
        bench.provider_name,
        (
            Measured(
                provider=bench.provider_name,
                test="test_it",
                rule="calls.it",
                backend="asyncio",
                proves=("DIAL",),
                undeclared="",
                declares=("DIAL",),
                outcome=OutcomeKind.FAILED,
            ),
        ),
    )
    page = with_tables(CAPABILITIES, [told])
    before, _, after = CAPABILITIES.partition("## dummy\n")
    assert page.startswith(f"{before}## dummy\n\n| | declared | verdict |\n|---|---|---|\n| DIAL | yes | fails |\n")
    assert page.endswith(after[after.index("## webitel") :])
    assert with_tables("# Capabilities\n", [told]).endswith(section_of(told))


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
