"""``cti providers``: what is installed, and what is wrong with it."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

import click

from cti_framework.cli.invocation import Invocation, json_option, pass_invocation
from cti_framework.plugins import PluginRecord, PluginStatus

__all__ = ["providers"]

_EPILOG: Final = """\b
Examples:
  cti providers
  cti providers --check --json
"""

_CHECK_SECONDS: Final = 10.0
_STYLES: Final = {
    PluginStatus.AVAILABLE: "",
    PluginStatus.LOADED: "green",
    PluginStatus.DISABLED: "dim",
}


@click.command(short_help="List the installed providers and companions.", epilog=_EPILOG)
@json_option
@click.option("--check", is_flag=True, help="Import each, to find out which of them can be used.")
@pass_invocation
def providers(invocation: Invocation, check: bool) -> int:
    """List the installed providers and companions.

    Nothing of them is imported unless --check asks for it: a broken one is listed like any other. One that hangs in its
    import is given ten seconds. With --check the exit code is 1 where one cannot be used.
    """
    plugins = invocation.plugins()
    if check:
        # What a module prints while it is imported is no result.
        with contextlib.redirect_stdout(sys.stderr):
            plugins.check(timeout_seconds=_CHECK_SECONDS)
    records = plugins.records()
    output = invocation.output
    code = 1 if check and any(record.error for record in records) else 0
    if output.as_json:
        for record in records:
            output.json(record.as_dict())
        return code
    if not records:
        output.line("No provider is installed. For a first try: pip install cti-framework-dummy")
        return 0
    headings = ("name", "kind", "status", "api", "distribution", "version", "value")
    output.table(headings, (_row(record) for record in records))
    for record in records:
        for told in filter(None, (record.error, record.warning)):
            output.line("")
            output.line((record.name, "bold", 0), told)
    return code


def _row(record: PluginRecord) -> tuple[tuple[str, str, int] | str, ...]:
    return (
        (record.name, "bold", 0),
        record.kind.value,
        (record.status.value, _STYLES.get(record.status, "red"), 0),
        "" if record.api is None else str(record.api),
        record.distribution or "(unnamed)",
        record.version,
        record.value,
    )
