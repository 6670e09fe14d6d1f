"""The README tells what is so: the table of capabilities, the rules of the quality scale, the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from cti_framework.settings import describe_settings
from cti_framework.testing.conformance import CapabilityTable, Measured, measure
from cti_framework.testing.conformance.table import facts_of

from cti_esl import EslSettings, EslUserSettings
from test_conformance import esl_bench

README: Final = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def rows_of(markdown: str) -> dict[str, tuple[str, str]]:
    """What a table says of each capability: whether it is declared, and the verdict."""
    lines = [line.strip().strip("|").split("|") for line in markdown.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): (cells[1].strip(), cells[-1].strip()) for cells in lines[1:]}


def table_in_this_run(config: pytest.Config) -> CapabilityTable | None:
    """The table of the kit's tests, where they have run already."""
    collected = config.pluginmanager.get_plugin("cti-conformance-table")
    tables = [] if collected is None else [table for table in collected.tables() if table.provider == "esl"]
    return next((table for table in tables if len(table.tests) > 200), None)


def table_now() -> CapabilityTable:
    bench, measured = esl_bench(), []
    for outcome in measure(bench, backend="asyncio").values():
        facts = facts_of(outcome.rule, bench, outcome.backend)
        told = {**facts, "proves": tuple(facts["proves"]), "declares": tuple(facts["declares"])}
        measured.append(Measured(**told, outcome=outcome.kind, why=outcome.why))
    (table,) = CapabilityTable.of(measured)
    return table


def test_the_table_is_what_was_measured(request: pytest.FixtureRequest) -> None:
    table = table_in_this_run(request.config) or table_now()
    place = re.search(r"<!-- capabilities -->(.*?)<!-- /capabilities -->", README, re.DOTALL)
    assert place is not None
    assert rows_of(place[1]) == rows_of(table.markdown()), "run `make table`"
    assert not [row for row, (_, verdict) in rows_of(table.markdown()).items() if verdict == "fails"]


def test_each_setting_is_in_it() -> None:
    for settings_type in (EslSettings, EslUserSettings):
        for setting in describe_settings("esl", settings_type):
            assert f"`{setting.key}`" in README
