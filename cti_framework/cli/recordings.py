"""``cti recordings``: find a call's recordings, and save them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.running import Stopping, run
from cti_framework.cli.session import open_session
from cti_framework.errors import CommandRefusedError, CtiError
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.transport import safe_url

__all__ = ["recordings"]

_EPILOG: Final = """\b
Examples:
  cti --settings pbx.toml recordings 1f9d6c02-3c4b-4a57-9d0e-1f6f2f0a8c11
  cti --settings pbx.toml recordings 1f9d6c02-3c4b-4a57-9d0e-1f6f2f0a8c11 --save ./audio
"""


@click.command(short_help="Find a call's recordings, and save them.", epilog=_EPILOG)
@click.argument("call_id")
@click.option(
    "--save",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save each of them in this directory; it is made if it is not there.",
)
@user_option
@json_option
@pass_invocation
def recordings(invocation: Invocation, call_id: str, directory: Path | None, user: CtiUser) -> int:
    """Connect as the settings say, and print where the recordings of CALL_ID are; with --save, fetch them.

    CALL_ID is the PBX's identifier of the call, as `cti call --json` tells it. Links are printed without the keys in them.

    What Ctrl-C or a lost line leaves is kept beside the files, and the same command goes on with it. A file that is there already
    is left as it is.

    The exit code is 0 if there are recordings, and all of them were saved; 1 if not.
    """
    output = invocation.output
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)

    async def find(stopping: Stopping) -> int:
        async with open_session(invocation, user) as (model, _):
            links = await model.query_recordings(call_id)
            if not links:
                raise CommandRefusedError(
                    f"There is no recording of call {call_id}.",
                    command="query_recordings",
                    remedy="It can come a while after the call has ended, and not every call is recorded.",
                )
            saved = [await _tell(output, model, link, directory) for link in links]
        return 0 if all(saved) else 1

    return run(find)


async def _tell(output: Output, model: CtiModel, link: str, directory: Path | None) -> bool:
    """Print a recording; save it, if that is asked for; tell whether that could be done."""
    address = safe_url(link)
    if directory is None:
        if output.as_json:
            output.json({"recording": address})
        else:
            output.line(address)
        return True
    try:
        with output.progress(address.rpartition("/")[2]) as shown:
            file = await model.fetch_recording(
                link, directory, progress=lambda state: shown(state.received_bytes, state.total_bytes)
            )
    except CtiError as error:
        # The others may be better off.
        output.error(error)
        return False
    size_bytes = file.stat().st_size
    if output.as_json:
        output.json({"recording": address, "file": str(file), "bytes": size_bytes})
    else:
        output.line((address, "", 0), (str(file), "bold", 0), f"{size_bytes} bytes")
    return True
