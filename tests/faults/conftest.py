"""Tells at the end of a run how often each kind of fault hit while a call was open."""

from __future__ import annotations

import pytest

from tests.faults.tally import TALLIES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the walks met."""
    if TALLIES:
        terminalreporter.section("faults that hit while a call was open")
        for told in TALLIES.values():
            terminalreporter.line(told)
