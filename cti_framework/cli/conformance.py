"""``cti conformance``: what an installed provider can do, and what is wrong with it, measured."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation
from cti_framework.cli.running import BACKENDS
from cti_framework.errors import CtiError

__all__ = ["conformance"]

_EPILOG: Final = """\b
With --json it writes one object with
  provider  its name
  passed    whether no test failed and all were run
  rows      capabilities and profiles: name, declared, passed, failed, expected, skipped, verdict
  tests     test, rule, backend, outcome, why

\b
Examples:
  cti conformance dummy
  cti conformance webitel --backend asyncio -k hold
"""

_MODULE: Final = "cti_framework.testing.conformance.installed"
_IMPORT_SECONDS: Final = 10.0
_BEGIN_SECONDS: Final = 34.0
_END_SECONDS: Final = 44.0
_SHOWN_LINES: Final = 20
_NO_TESTS: Final = 5


@click.command(short_help="Measure what an installed provider can do.", epilog=_EPILOG)
@click.argument("name")
@json_option
@click.option("--backend", type=click.Choice(BACKENDS), help="The event loop to run on; by default each.")
@click.option("-k", "expression", metavar="EXPR", help="Only the tests whose names fit, as pytest's -k takes it.")
@pass_invocation
def conformance(invocation: Invocation, name: str, backend: str | None, expression: str | None) -> int:
    """Measure what an installed provider can do, on its own simulator.

    Runs the conformance kit and writes the capability table, in Markdown for the provider's README. What fails is told
    with the rule that is broken, what was seen and where the rule is written. It ends within 45 seconds. The extra
    "testing" has to be installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise CtiError(
            "The conformance kit needs pytest, which is not installed.",
            step="conformance",
            remedy='Install the extra: pip install "cti-framework[testing]".',
        )
    until = time.monotonic() + _END_SECONDS
    _check_usable(invocation, name)
    output = invocation.output
    if not output.as_json:
        output.note(f"Measuring '{name}' on {backend or ' and '.join(BACKENDS)}; this takes some ten seconds.")
    table = _measured(name, backend, expression, until)
    was_cut = any(test["why"].endswith("the time is up") for test in table["tests"])
    table["passed"] = table["passed"] and not was_cut
    if output.as_json:
        output.json(table)
    else:
        _show(output, table, was_cut=was_cut)
    return 0 if table["passed"] else 1


def _check_usable(invocation: Invocation, name: str) -> None:
    """Tell, with what to do, where there is no such provider, or nothing to measure it on; also where its import hangs."""
    failure: BaseException | None = None

    def look() -> None:
        nonlocal failure
        try:
            invocation.tool_of(name, "simulator")
        except BaseException as error:  # noqa: BLE001  # raised below, in the command's own thread
            failure = error

    thread = threading.Thread(target=look, name=f"cti: conformance {name}", daemon=True)
    # What a module prints while it is imported is no result.
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(_IMPORT_SECONDS)
    if thread.is_alive():
        raise CtiError(
            f"The import of the provider '{name}' did not end within {_IMPORT_SECONDS:g} s.",
            step="conformance",
            remedy="See what its module does when it is imported: it has to connect nowhere, and to wait for nothing.",
        )
    if failure is not None:
        raise failure


def _measured(name: str, backend: str | None, expression: str | None, until: float) -> dict[str, Any]:
    """Have pytest run the kit in a process of its own: whatever the provider does there, this one ends in time."""
    module = importlib.util.find_spec(_MODULE)
    assert module is not None
    assert module.origin is not None
    with tempfile.TemporaryDirectory() as folder:
        # Nothing of a project whose folder this happens to be is to change what is measured.
        empty, target = Path(folder, "pytest.ini"), Path(folder, "table.json")
        empty.write_text("[pytest]\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "cti_framework.pytest_plugin", "-p", "no:cacheprovider"]
        command += ["-c", str(empty), "--rootdir", folder, "--cti-table", str(target), module.origin]
        command += ["-k", expression] if expression else []
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "CTI_CONFORMANCE_PROVIDER": name,
            "CTI_CONFORMANCE_BACKENDS": backend or ",".join(BACKENDS),
            "CTI_CONFORMANCE_SECONDS": str(_BEGIN_SECONDS),
        }
        said = Path(folder, "said.txt")
        try:
            code = _run(command, environment, said, until - time.monotonic())
        except subprocess.TimeoutExpired:
            raise CtiError(
                f"Measuring '{name}' did not end within {_END_SECONDS:g} s: something in it hangs.",
                step="conformance",
                remedy="Run the kit from a test of your own, with `-x`: the first test that hangs says where.",
            ) from None
        if code == _NO_TESTS:
            raise CtiError(f"No test fits {expression!r}.", step="conformance", remedy="Take another -k.")
        if not target.exists():
            last = "\n".join(said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_SHOWN_LINES:])
            raise CtiError(f"pytest could not run the kit:\n{last}", step="conformance")
        (table,) = json.loads(target.read_text(encoding="utf-8"))
        told: dict[str, Any] = table
        return told


def _run(command: list[str], environment: Mapping[str, str], said: Path, seconds: float) -> int:
    """Run a command, and end it in time or with this one, with all that it started itself.

    What it says goes to a file: a pipe would be open, and waited for, as long as any process that a provider left has it.
    """
    with said.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(timeout=seconds)
        finally:
            if sys.platform == "win32":
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _show(output: Output, table: dict[str, Any], *, was_cut: bool) -> None:
    for heading, why in _failures(table):
        output.line((heading, "bold red", 0))
        for line in why.splitlines():
            output.line(line)
        output.line("")
    headings = (table["provider"], "declared", "passed", "failed", "known to fail", "skipped", "verdict")
    output.line(f"| {' | '.join(headings)} |")
    output.line("|" + "---|" * len(headings))
    for row in table["rows"]:
        declared = "" if row["declared"] is None else "yes" if row["declared"] else "-"
        cells = (row["name"], declared, row["passed"], row["failed"], row["expected"], row["skipped"], row["verdict"])
        output.line(f"| {' | '.join(map(str, cells))} |")
    if was_cut:
        output.note("The time was up before all tests were run: measure with `-k`, or from a test of your own.")


def _failures(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give each test that failed once, with the event loops on which it did."""
    failed: dict[str, list[dict[str, Any]]] = {}
    for test in table["tests"]:
        if test["outcome"] == "failed":
            failed.setdefault(test["test"], []).append(test)
    for name, tests in failed.items():
        yield f"FAILED {name} on {' and '.join(test['backend'] for test in tests)}", tests[0]["why"]
