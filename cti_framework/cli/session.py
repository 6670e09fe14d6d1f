"""What ``cti listen`` and ``cti call`` share: a session by settings, and its events as lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation
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
from cti_framework.plain import event_as_plain
from cti_framework.provider import CtiUser
from cti_framework.settings import SystemSettings

if TYPE_CHECKING:
    from cti_framework.media import MediaPeers

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
async def open_session(
    invocation: Invocation,
    user: CtiUser,
    *,
    prepare: Callable[[CtiModel], object] | None = None,
    settings: SystemSettings | None = None,
    media: MediaPeers | None = None,
) -> AsyncIterator[tuple[CtiModel, Subscription]]:
    """Open a session as the settings say, connected even where they leave that to the host.

    Args:
        invocation: The call of the command.
        user: Whose line it is.
        prepare: Given the session before it is opened.
        settings: The settings to use; ``None``: those of the command.
        media: What makes the web phone's media; ``None``: as the settings say.

    Yields:
        The session, and its events from the first.

    Raises:
        CtiError: As ``CtiProviderInitializer.open`` does.
    """
    created = await invocation.initializer(settings).create(user, media=media)
    if prepare is not None:
        prepare(created)
    async with created as model:
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
        # An error's words are a plugin's own. What else an event says is the PBX's, and has to come out as it is.
        has_error = getattr(event, "error", None) is not None
        if output.as_json:
            told = event_as_plain(event)
            if has_error:
                told["error"] = output.redact(told["error"])
            output.json(told)
        else:
            words = event_in_words(event)
            output.line(
                (in_words(event.at), "dim", 0),
                (type(event).__name__, style_of(event), _NAME_WIDTH),
                str(output.redact(words)) if has_error else words,
            )
        yield event
        if isinstance(event, ProviderStateChanged) and event.state is ProviderState.FAILED:
            raise event.error or SessionClosedError("The session has given up.")
