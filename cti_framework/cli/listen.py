"""``cti listen``: connect by settings, print events until stopped."""

from __future__ import annotations

from typing import Final

import click

from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.running import Stopping, run_until_stopped
from cti_framework.cli.session import open_session, tell_events
from cti_framework.provider import CtiUser

__all__ = ["listen"]

_EPILOG: Final = """\b
Examples:
  cti --set cti.provider=dummy listen
  cti --settings pbx.toml listen --user 100 --json
"""


@click.command(short_help="Connect, and print events until stopped.", epilog=_EPILOG)
@user_option
@json_option
@pass_invocation
def listen(invocation: Invocation, user: CtiUser) -> int:
    """Connect as the settings say and print a user's events, until Ctrl-C or SIGTERM.

    The connection is made again when it is lost. With --json each line is an object with event (the event's class), epoch, seq,
    at and what the event carries; a call is an object of its own.
    """
    output = invocation.output

    async def follow(stopping: Stopping) -> None:
        async with open_session(invocation, user) as (model, events):
            if not output.as_json:
                output.note(f"Listening as {user.id} at {model.provider_name}. Ctrl-C ends it.")
            async for _ in tell_events(output, events):
                pass

    return run_until_stopped(follow)
