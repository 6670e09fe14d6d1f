"""What ``cti listen`` and ``cti call`` share: a session by settings, and its events as lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation
from cti_framework.cli.plain import event_as_plain
from cti_framework.cli.words import event_in_words, in_words
from cti_framework.errors import SessionClosedError
from cti_framework.eventlog import Subscription
from cti_framework.events import (
    CallBusy,
    CallConnected,
    CallFinished,
    CallHeld,
    CallStarted,
    CallUnheld,
    Cursor,
    Disconnected,
    ErrorOccurred,
    Event,
    LineStateChanged,
    ProviderState,
    ProviderStateChanged,
    ResyncRequired,
)
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

__all__ = ["open_session", "style_of", "tell_events"]

_STYLES: Final[dict[type[Event], str]] = {
    CallStarted: "bold cyan",
    CallConnected: "bold green",
    CallHeld: "bold yellow",
    CallUnheld: "bold green",
    CallBusy: "bold red",
    CallFinished: "bold",
    Disconnected: "bold red",
    ErrorOccurred: "bold red",
    ResyncRequired: "bold red",
    LineStateChanged: "dim",
}
_NAME_WIDTH: Final = max(len(event_type.__name__) for event_type in (ProviderStateChanged, LineStateChanged))


def style_of(event: Event) -> str:
    """Tell how an event's name is drawn.

    Args:
        event: The event.

    Returns:
        A style of rich; empty for an ordinary one.
    """
    return _STYLES.get(type(event), "")


@asynccontextmanager
async def open_session(invocation: Invocation, user: CtiUser) -> AsyncIterator[tuple[CtiModel, Subscription]]:
    """Open a session as the settings say, connected even where they leave that to the host.

    Args:
        invocation: The call of the command.
        user: Whose line it is.

    Yields:
        The session, and its events from the first.

    Raises:
        CtiError: As ``CtiProviderInitializer.open`` does.
    """
    async with invocation.initializer().open(user) as model:
        events = model.events(after=Cursor(model.cursor.epoch, 0))
        if model.provider_state is ProviderState.CLOSED:
            await model.connect()
        yield model, events


async def tell_events(output: Output, events: Subscription) -> AsyncIterator[Event]:
    """Write each event as it comes.

    Args:
        output: Where to write.
        events: The session's events.

    Yields:
        Each event, written already.

    Raises:
        CtiError: The session has given up: it is what it ended with.
    """
    async for event in events:
        if output.as_json:
            output.json(event_as_plain(event))
        else:
            output.line(
                (in_words(event.at), "dim", 0),
                (type(event).__name__, style_of(event), _NAME_WIDTH),
                event_in_words(event),
            )
        yield event
        if isinstance(event, ProviderStateChanged) and event.state is ProviderState.FAILED:
            raise event.error or SessionClosedError("The session has given up.")
