"""Whether media can be had here, asked before a call needs it: when settings are read, when a session is opened."""

from __future__ import annotations

import asyncio
from importlib import import_module

import anyio

from cti_framework.media.errors import MediaUnavailableError

__all__ = ["require_media"]


def require_media() -> None:
    """Look that media by aiortc can be had in this process, and on the event loop that runs, if one does.

    Raises:
        MediaUnavailableError: The extra is not installed, or the event loop is another one than asyncio's.
    """
    try:
        foreign = anyio.get_cancelled_exc_class() is not asyncio.CancelledError
    except RuntimeError:
        # No event loop runs: nothing is known of it yet.
        foreign = False
    if foreign:
        raise MediaUnavailableError(
            "The web phone's media needs asyncio, and this session runs on another event loop.",
            remedy="Run the session on asyncio, or leave the media to a browser (RelayPeer), or switch the web phone off.",
        )
    for library in ("aiortc", "av"):
        try:
            import_module(library)
        except ImportError as error:
            raise MediaUnavailableError(f"The web phone's media needs {library}, which is not installed here.") from error
