"""The pytest plugin of the conformance kit: it collects what the kit's tests measured, and shows it as a table.

Pytest loads it wherever cti-framework is installed, so it imports nothing until a test of the kit has run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from cti_framework.testing.conformance import CapabilityTable, Measured

__all__ = ["pytest_addoption", "pytest_configure"]

_FACTS: Final = "cti_conformance"
_PLUGIN: Final = "cti-conformance-table"
_SUFFIXES: Final = (".md", ".json")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the kit.

    Args:
        parser: Pytest's.
    """
    parser.getgroup("cti-framework").addoption(
        "--cti-table",
        metavar="FILE",
        default=None,
        help="Write the capability table of cti-framework's conformance kit to FILE.md, or with all tests to FILE.json.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect.

    Args:
        config: Pytest's.

    Raises:
        pytest.UsageError: The table's file has no suffix that says how to write it.
    """
    target: str | None = config.getoption("--cti-table")
    if target is not None and Path(target).suffix not in _SUFFIXES:
        raise pytest.UsageError(f"--cti-table takes a file that ends in {' or '.join(_SUFFIXES)}, not {target!r}")
    if not hasattr(config, "workerinput"):
        # With several processes, the one that they report to has all results.
        config.pluginmanager.register(_Table(None if target is None else Path(target)), _PLUGIN)


class _Table:
    def __init__(self, target: Path | None) -> None:
        self._target = target
        self._found: dict[str, tuple[dict[str, Any], str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what came out of a test of the kit."""
        for name, facts in report.user_properties:
            if name != _FACTS or not isinstance(facts, dict):
                continue
            outcome, why = _outcome_of(report)
            was = self._found.get(report.nodeid)
            # A test reports three times: what is worse than passing counts, whichever part it is of.
            if was is None or was[1] == "passed":
                self._found[report.nodeid] = (facts, outcome, why)

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        if self._target is None:
            return
        tables = self.tables()
        if self._target.suffix == ".md":
            text = "\n".join(table.markdown() for table in tables)
        else:
            text = json.dumps([table.as_dict() for table in tables], indent=2, ensure_ascii=False) + "\n"
        self._target.write_text(text, encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the tables."""
        for table in self.tables():
            terminalreporter.section(f"conformance of {table.provider}")
            terminalreporter.write(table.markdown())

    def tables(self) -> tuple[CapabilityTable, ...]:
        """Make the tables of what was measured so far."""
        if not self._found:
            return ()
        from cti_framework.testing.conformance import CapabilityTable

        return CapabilityTable.of(self._measured())

    def _measured(self) -> Iterator[Measured]:
        from cti_framework.testing.conformance import Measured, OutcomeKind

        for facts, outcome, why in self._found.values():
            told = {**facts, "proves": tuple(facts["proves"]), "declares": tuple(facts["declares"])}
            yield Measured(**told, outcome=OutcomeKind(outcome), why=why)


def _outcome_of(report: pytest.TestReport) -> tuple[str, str]:
    if hasattr(report, "wasxfail"):
        return "expected", str(report.wasxfail).removeprefix("reason: ")
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return "skipped", reason.removeprefix("Skipped: ")
    return ("failed", report.longreprtext) if report.failed else ("passed", "")
