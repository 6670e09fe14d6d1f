"""``cti listen``: connect by settings, print events until stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import click

from cti_framework.cli.capture import open_capture
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.running import Stopping, run_until_stopped
from cti_framework.cli.session import open_session, tell_events
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

__all__ = ["listen"]

_EPILOG: Final = """\b
Examples:
  cti --set cti.provider=dummy listen
  cti --settings pbx.toml listen --user 100 --json
  cti --settings pbx.toml listen --capture fault.frames.jsonl
"""


@click.command(short_help="Connect, and print events until stopped.", epilog=_EPILOG)
@user_option
@click.option(
    "--capture",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the frames of the wire there as they come, without secrets, for `cti replay`.",
)
@click.option("--force", is_flag=True, help="Replace a capture that is there.")
@json_option
@pass_invocation
def listen(invocation: Invocation, user: CtiUser, path: Path | None, force: bool) -> int:
    """Connect as the settings say and print a user's events, until Ctrl-C or SIGTERM.

    The connection is made again when it is lost. With --json each line is an object with event (the event's class), epoch, seq,
    at and what the event carries; a call is an object of its own.
    """
    output = invocation.output

    async def follow(stopping: Stopping) -> None:
        if path is None:
            await tell()
            return
        with open_capture(path, force=force) as capture:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(capture.watch)
                try:
                    await tell(lambda model: model.recorder.follow(capture.write))
                finally:
                    if not capture.frames:
                        output.note(f"{path} is empty: no frame came by. A provider without a wire of its own hands none over.")
                tasks.cancel_scope.cancel()

    async def tell(prepare: Callable[[CtiModel], object] | None = None) -> None:
        async with open_session(invocation, user, prepare=prepare) as (model, events):
            if not output.as_json:
                output.note(f"Listening as {user.id} at {model.provider_name}. Ctrl-C ends it.")
            async for _ in tell_events(output, events):
                pass

    return run_until_stopped(follow)
