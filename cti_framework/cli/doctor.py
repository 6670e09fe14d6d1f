"""``cti doctor``: why there is no telephony, step by step, and what to do."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from typing import Final

import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.running import Stopping, run
from cti_framework.diagnosis import DiagnosisStep, StepState
from cti_framework.doctor import examine
from cti_framework.provider import CtiUser

__all__ = ["doctor"]

_EPILOG: Final = """\b
With --json it writes one object a step with
  step     its name: docs/reference/cli.md lists them
  state    ok, warning, failed or skipped
  detail   what was found
  remedy   what to do, or null
  seconds  how long it took
The exit code is 1 if a step failed, otherwise 0.

\b
Examples:
  cti doctor
  cti --settings pbx.toml doctor --user 100 --json
"""

_STYLES: Final = {
    StepState.OK: "green",
    StepState.WARNING: "yellow",
    StepState.FAILED: "bold red",
    StepState.SKIPPED: "dim",
}
_STATE_WIDTH: Final = 7
_STEP_WIDTH: Final = 22


@click.command(short_help="Find out why there is no telephony.", epilog=_EPILOG)
@user_option
@json_option
@pass_invocation
def doctor(invocation: Invocation, user: CtiUser) -> int:
    """Walk the whole way from the settings to a session, and say of each step what was found and what to do.

    Nothing stops it: behind a step that failed it goes on with what can still be looked at. It logs in as the user and logs
    out again; it makes no call and changes nothing. No secret is shown.
    """
    output = invocation.output

    async def walk(stopping: Stopping) -> tuple[DiagnosisStep, ...]:
        return await examine(invocation.initializer, user, on_step=lambda step: _tell(output, step))

    # What a plugin prints is no step.
    with contextlib.redirect_stdout(sys.stderr):
        steps = run(walk)
    states = Counter(step.state for step in steps)
    if not output.as_json:
        output.line("")
        output.line(", ".join(f"{states[state]} {state.value}" for state in StepState if states[state]))
    return 1 if states[StepState.FAILED] else 0


def _tell(output: Output, step: DiagnosisStep) -> None:
    if output.as_json:
        output.json(output.redact(step.as_dict()))
        return
    name = (step.step, "", _STEP_WIDTH)
    output.line((step.state.value, _STYLES[step.state], _STATE_WIDTH), name, output.redact(step.detail))
    if step.remedy is not None:
        output.line(("", "", _STATE_WIDTH), ("", "", _STEP_WIDTH), (output.redact(step.remedy), "cyan", 0))
