"""What the kit measures of the providers of this repository, and the page that says so.

``python -m tests.conformance.measured`` measures them and writes the tables of the page anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cti_dummy import DummyCtiProvider
from cti_framework.testing.conformance import CapabilityTable, Measured, ProviderBench, measure
from cti_framework.testing.conformance.table import facts_of
from cti_webitel import WebitelCtiProvider

__all__ = ["BENCHES", "COMMAND", "PAGE", "measured_now", "section_of", "with_tables"]

BENCHES = (ProviderBench(DummyCtiProvider, refused={"dummy.number": "999"}), ProviderBench(WebitelCtiProvider))
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "capabilities.md"
COMMAND = "python -m tests.conformance.measured"


def measured_now(bench: ProviderBench) -> CapabilityTable:
    """Measure a provider.

    Args:
        bench: The provider.

    Returns:
        Its table.
    """
    measured = []
    for outcome in measure(bench).values():
        facts = facts_of(outcome.rule, bench, outcome.backend)
        told = {**facts, "proves": tuple(facts["proves"]), "declares": tuple(facts["declares"])}
        measured.append(Measured(**told, outcome=outcome.kind, why=outcome.why))
    (table,) = CapabilityTable.of(measured)
    return table


def section_of(table: CapabilityTable) -> str:
    """Write a provider's section of the page.

    Args:
        table: What was measured of it.

    Returns:
        Markdown.
    """
    return f"## {table.provider}\n\n{table.summary()}"


def with_tables(page: str, tables: Iterable[CapabilityTable]) -> str:
    """Write tables into the page, each in the place of the one that is there, or at its end.

    Args:
        page: The page as it is.
        tables: What was measured.

    Returns:
        The page as it has to be.
    """
    for table in tables:
        there = re.compile(rf"^## {re.escape(table.provider)}\n\n(?:\|.*\n)*", re.MULTILINE)
        found, section = there.search(page), section_of(table)
        page = f"{page[: found.start()]}{section}{page[found.end() :]}" if found else f"{page.rstrip()}\n\n{section}"
    return page


def _main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, map(measured_now, BENCHES)), encoding="utf-8")


if __name__ == "__main__":
    _main()
