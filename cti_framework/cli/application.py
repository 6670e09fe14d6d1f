"""The group of commands, its global options, and how whatever goes wrong is told."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click

from cti_framework.cli.call import call
from cti_framework.cli.conformance import conformance
from cti_framework.cli.console import Output, OutputClosed
from cti_framework.cli.demo import demo
from cti_framework.cli.doctor import doctor
from cti_framework.cli.invocation import Invocation, pass_invocation
from cti_framework.cli.listen import listen
from cti_framework.cli.logs import log_to_stderr
from cti_framework.cli.new_provider import new_provider
from cti_framework.cli.phone import phone
from cti_framework.cli.providers import providers
from cti_framework.cli.recordings import recordings
from cti_framework.cli.replay import replay
from cti_framework.cli.running import Stopped, leaves
from cti_framework.cli.simulate import simulate
from cti_framework.cli.support_bundle import support_bundle
from cti_framework.errors import CtiError
from cti_framework.plugins import Plugins

__all__ = ["run_application"]

_EPILOG: Final = """\b
Examples:
  cti demo
  cti --set cti.provider=dummy listen
  CTI_PROVIDER=webitel cti --settings pbx.toml call 0501234567
"""

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
_OF_SIGNAL: Final = 128


def _tell_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        try:
            own = version("cti-framework")
        except PackageNotFoundError:
            own = "(not installed as a distribution)"
        click.echo(f"cti-framework {own}, Python {platform.python_version()}")
        context.exit()


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        # Not the text: it may be a secret that was typed without its key.
        raise click.BadParameter("it takes KEY=VALUE, for example cti.provider=dummy", param_hint="--set")
    return key.strip(), value


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=_EPILOG,
)
@click.option(
    "--settings",
    "toml",
    metavar="FILE.toml",
    type=click.Path(path_type=Path),
    help="A TOML file with settings. CTI_* variables are stronger.",
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="A setting, for this call; stronger than file and variables. Give a secret as env:NAME or file:PATH.",
)
@click.option("-v", "--verbose", count=True, help="Show the log on the standard error, and tracebacks; -vv shows more.")
@click.option("--no-color", is_flag=True, help="No colours. The variable NO_COLOR does the same.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_version, help="Tell the version.")
@pass_invocation
@click.pass_context
def cti(
    context: click.Context,
    invocation: Invocation,
    toml: Path | None,
    assignments: tuple[str, ...],
    verbose: int,
    no_color: bool,
) -> None:
    """Telephony for hosts in Python: try it, look at it, run it.

    The PBX is a plugin, chosen by the setting cti.provider. Settings come from --settings, from CTI_* variables
    (CTI_PROVIDER, CTI_WEBITEL__CONNECTION_STRING: a double underscore is the dot) and from --set.
    """
    colour = not no_color and not os.environ.get("NO_COLOR")
    invocation.write_to(Output(colour=colour))
    invocation.output.verbose = verbose > 0
    invocation.toml = toml
    invocation.assigned = dict(_assignment(text) for text in assignments)
    invocation.verbosity = verbose
    context.with_resource(log_to_stderr(verbose, colour=invocation.output.colour_on_stderr, redact=invocation.secrets))


for _command in (
    demo,
    providers,
    new_provider,
    doctor,
    conformance,
    simulate,
    listen,
    call,
    phone,
    recordings,
    replay,
    support_bundle,
):
    cti.add_command(_command)


def run_application(arguments: Sequence[str] | None = None, *, plugins: Plugins | None = None) -> int:
    """Run the command and tell whatever goes wrong.

    Args:
        arguments: The words behind ``cti``; ``None``: those of the process.
        plugins: The installed plugins; ``None``: as found.

    Returns:
        The exit code.
    """
    invocation = Invocation(Output(), plugins)
    try:
        code = cti.main(arguments, prog_name="cti", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last one who could tell it; Ctrl-C may come in a group of errors
        return _told(error, invocation.output)
    return code if isinstance(code, int) else 0


def _told(error: BaseException, output: Output) -> int:
    found = list(leaves(error))
    for one in found:
        match one:
            case KeyboardInterrupt() | click.Abort():
                return _INTERRUPTED
            case Stopped():
                return _OF_SIGNAL + one.signal_number
            case OutputClosed() | BrokenPipeError():
                _forget_output()
                return _PIPE_CLOSED
            case SystemExit():
                return one.code if isinstance(one.code, int) else int(one.code is not None)
            case click.ClickException():
                one.show()
                return one.exit_code
    try:
        if output.verbose:
            print(output.redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)  # noqa: T201 - as Python does
        told: set[str] = set()
        for one in found:
            cti_error = one if isinstance(one, CtiError) else _unexpected(one)
            if cti_error.message not in told:
                told.add(cti_error.message)
                output.error(cti_error)
    except (OutputClosed, BrokenPipeError):
        _forget_output()
    return _FAILED


def _unexpected(error: BaseException) -> CtiError:
    if isinstance(error, OSError):
        return CtiError(f"{error.filename}: {error.strerror}" if error.filename else str(error), step="command")
    return CtiError(
        f"Unexpected {type(error).__name__}: {error}",
        step="command",
        remedy="A fault of the program or of a plugin; `cti -v …` shows where.",
    )


def _forget_output() -> None:
    """Have what is still buffered written to nobody, or Python complains about the pipe when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (sys.stdout, sys.stderr):
            try:
                os.dup2(nowhere, stream.fileno())
            except OSError:
                continue
    finally:
        os.close(nowhere)
