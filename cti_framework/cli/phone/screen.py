"""The phone on a terminal: a screen that is drawn anew when something changes, and keys."""

from __future__ import annotations

import sys
from functools import partial
from typing import Final

import anyio
import anyio.abc

from cti_framework.calls import CallFeature
from cti_framework.cli.console import Output, Screen
from cti_framework.cli.phone.drawing import draw
from cti_framework.cli.phone.hand import Act, Quit, SendTones
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.phone.terminal import Keys, keys_one_by_one, stderr_kept
from cti_framework.cli.running import Stopping
from cti_framework.errors import SessionClosedError
from cti_framework.eventlog import Subscription
from cti_framework.events import ProviderState, ProviderStateChanged
from cti_framework.threads import call_in_thread

__all__ = ["use_screen"]

_LEAST_SECONDS: Final = 0.04
_WITH_SOUND_SECONDS: Final = 0.15
_IDLE_SECONDS: Final = 1.0


async def use_screen(output: Output, phone: Softphone, events: Subscription, stopping: Stopping) -> None:
    """Use the phone by keys, until it is put away.

    Args:
        output: The terminal.
        phone: The phone.
        events: The session's events, from the first.
        stopping: What a signal does.

    Raises:
        CtiError: The session has given up, or is no phone.
    """
    stdin = sys.stdin.fileno()
    with stderr_kept(), keys_one_by_one(stdin, sys.stdout.fileno()) as leave_at_once, output.screen() as screen:
        stopping.is_own_affair = True
        stopping.before_leaving_at_once = leave_at_once
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_read_events, phone, events)
                tasks.start_soon(_hang_up_on_request, phone, stopping, tasks.cancel_scope)
                tasks.start_soon(_draw, screen, phone)
                await _follow_keys(phone, stdin, tasks)
                await phone.hang_up()
                tasks.cancel_scope.cancel()
        finally:
            stopping.before_leaving_at_once = None


async def _read_events(phone: Softphone, events: Subscription) -> None:
    async for event in events:
        phone.take(event)
        if isinstance(event, ProviderStateChanged) and event.state is ProviderState.FAILED:
            raise event.error or SessionClosedError("The session has given up.")


async def _follow_keys(phone: Softphone, descriptor: int, tasks: anyio.abc.TaskGroup) -> None:
    async for key in Keys(descriptor):
        action = phone.press(key)
        if isinstance(action, Quit):
            return
        if isinstance(action, Act | SendTones):
            tasks.start_soon(phone.act, action)


async def _hang_up_on_request(phone: Softphone, stopping: Stopping, scope: anyio.CancelScope) -> None:
    await stopping.requested.wait()
    phone.state.tell(phone.model.now(), "Hanging up and leaving; once more Ctrl-C leaves at once.")
    phone.touch()
    await phone.hang_up()
    scope.cancel()


async def _draw(screen: Screen, phone: Softphone) -> None:
    ringing: set[str] = set()
    while True:
        drawn, view = phone.changes, phone.view()
        before, ringing = ringing, {call.id for call in view.calls if CallFeature.ANSWER in call.features}
        if ringing - before:
            screen.ring()
        # In a thread: a terminal can be slow, and sound cannot wait. And to its end: half a screen helps nobody.
        with anyio.CancelScope(shield=True):
            await call_in_thread("cti-phone-screen", screen.draw, partial(draw, view, ascii_only=screen.ascii_only))
        await anyio.sleep(_LEAST_SECONDS)
        if phone.changes == drawn:
            with anyio.move_on_after(_WITH_SOUND_SECONDS if view.levels else _IDLE_SECONDS):
                await phone.wait_changed()
