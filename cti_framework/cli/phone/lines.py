"""The phone without a terminal: events as lines, and keys in lines, for pipes, files and terminals that can do no more."""

from __future__ import annotations

import sys
from typing import Final

import anyio

from cti_framework.cli.console import Output
from cti_framework.cli.phone.hand import (
    ENTER,
    Act,
    Cannot,
    Pressed,
    SendTones,
)
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.phone.terminal import Lines
from cti_framework.cli.running import Stopping
from cti_framework.cli.session import tell_events
from cti_framework.errors import CommandError, CtiError
from cti_framework.eventlog import Subscription

__all__ = ["keys_of", "use_lines"]


_WORDS: Final = {
    "answer": "a",
    "hangup": "h",
    "hold": "H",
    "unhold": "H",
    "mute": "m",
    "unmute": "m",
    "transfer": "t",
    "consult": "c",
    "complete": "x",
    "swap": "s",
    "back": "b",
    "join": "j",
    "next": "n",
    "dial": "d",
    "call": "d",
    "quit": "q",
}
_LETTERS: Final = frozenset(_WORDS.values())


def keys_of(line: str) -> tuple[Pressed, ...] | None:
    """Make keys of a line.

    Args:
        line: Digits, or a key or its word, with the number that it asks for: ``9196``, ``a``, ``t 102``, ``transfer 102``.

    Returns:
        The keys, with Enter as the last; ``None``: it means nothing.
    """
    text = line.strip()
    if text and text[0] in "0123456789*#+":
        return (*text.replace(" ", ""), ENTER)
    word, _, rest = text.partition(" ")
    # Not by the first letter: "hold" begins as "hang up" does.
    letter = word if word in _LETTERS else _WORDS.get(word.lower())
    return None if letter is None else (letter, *rest.strip(), ENTER)


async def use_lines(output: Output, phone: Softphone, events: Subscription, stopping: Stopping) -> None:
    """Use the phone by lines, until there are no more and the last call is over, or it is put away.

    Args:
        output: Where events go.
        phone: The phone.
        events: The session's events, from the first.
        stopping: What a signal does.

    Raises:
        CtiError: The session has given up, or is no phone.
    """
    stopping.is_own_affair = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read_events, output, phone, events)
        tasks.start_soon(_hang_up_on_request, output, phone, stopping, tasks.cancel_scope)
        await _follow_lines(output, phone)
        tasks.cancel_scope.cancel()


async def _read_events(output: Output, phone: Softphone, events: Subscription) -> None:
    async for event in tell_events(output, events):
        phone.take(event)


async def _follow_lines(output: Output, phone: Softphone) -> None:
    async for line in Lines(sys.stdin.fileno()):
        keys = keys_of(line)
        if keys is None:
            if line.strip():
                output.note(f"{line.strip()!r} means nothing here; there are {', '.join(sorted(set(_WORDS)))}, and digits.")
            continue
        if keys[0] == "q":
            await phone.hang_up()
            return
        for key in keys:
            if key == ENTER and phone.hand.entry is None:
                continue
            action = phone.press(key)
            if isinstance(action, Cannot):
                output.error(CommandError(action.text, command="phone"))
                break
            if isinstance(action, Act | SendTones):
                # One after the other, so that a file of lines does the same each time.
                came_of_it = await phone.act(action)
                if isinstance(came_of_it, CtiError):
                    output.error(came_of_it)
                    break
    while phone.own_calls:
        await phone.wait_changed()


async def _hang_up_on_request(output: Output, phone: Softphone, stopping: Stopping, scope: anyio.CancelScope) -> None:
    await stopping.requested.wait()
    if phone.own_calls:
        output.note("Hanging up; once more Ctrl-C leaves at once.")
    await phone.hang_up()
    scope.cancel()
