"""``cti call``: call somebody, print what happens until the call ends."""

from __future__ import annotations

from typing import Final

import anyio
import attrs
import click

from cti_framework.calls import Call
from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, user_option
from cti_framework.cli.running import Stopping, run
from cti_framework.cli.session import open_session, tell_events
from cti_framework.errors import NotAllowedNowError
from cti_framework.eventlog import Subscription
from cti_framework.events import CallFinished
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

__all__ = ["call"]

_EPILOG: Final = """\b
Examples:
  cti --set cti.provider=dummy call 0501234567
  cti --settings pbx.toml call +380501234567 --no-wait
"""


@click.command(short_help="Connect, call, print what happens.", epilog=_EPILOG)
@click.argument("number")
@user_option
@click.option("--wait/--no-wait", default=True, help="Whether to stay until the call ends, or to leave it alone once it began.")
@json_option
@pass_invocation
def call(invocation: Invocation, number: str, user: CtiUser, wait: bool) -> int:
    """Connect as the settings say, call NUMBER, and print what happens until the call ends.

    Ctrl-C hangs up and waits for the call's end; one more, a second later or more, leaves at once, and the call may go on without
    you.
    The exit code is 0 if the call was connected, 1 if it was not.
    """
    output = invocation.output

    async def place(stopping: Stopping) -> int:
        async with open_session(invocation, user) as (model, events), anyio.create_task_group() as tasks:
            stopping.is_own_affair = True
            finished = _Finished()
            tasks.start_soon(_read, output, events, finished)
            made = await model.make_call(number)
            if not wait:
                tasks.cancel_scope.cancel()
                return 0
            tasks.start_soon(_hang_up_on_request, output, model, made, stopping)
            ended = await finished.wait_for(made)
            tasks.cancel_scope.cancel()
        return 0 if ended.connected_at is not None else 1

    return run(place)


@attrs.define(eq=False)
class _Finished:
    """The calls that are over: one can end before the verb that began it returns."""

    calls: list[Call] = attrs.field(factory=list)
    news: anyio.Event = attrs.field(factory=lambda: anyio.Event())

    def add(self, call: Call) -> None:
        self.calls.append(call)
        self.news.set()

    async def wait_for(self, call: Call) -> Call:
        while True:
            for ended in self.calls:
                if {ended.id, *ended.former_ids} & {call.id, *call.former_ids}:
                    return ended
            self.news = anyio.Event()
            await self.news.wait()


async def _read(output: Output, events: Subscription, finished: _Finished) -> None:
    async for event in tell_events(output, events):
        if isinstance(event, CallFinished):
            finished.add(event.call)


async def _hang_up_on_request(output: Output, model: CtiModel, made: Call, stopping: Stopping) -> None:
    await stopping.requested.wait()
    output.note("Hanging up; once more Ctrl-C leaves at once.")
    try:
        await model.drop_call(made.id)
    except NotAllowedNowError:
        # It ended just now: that is told by its event.
        return
