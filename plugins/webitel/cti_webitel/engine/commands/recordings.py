"""Recordings of calls (facts: webitel-protocol 3.5)."""

from __future__ import annotations

from typing import Final

from typed_settings.types import Secret

from cti_webitel.engine.answers import unreadable
from cti_webitel.engine.arguments import check_uuid
from cti_webitel.engine.commands.execute import Commands

__all__ = ["RecordingCommands"]

_NONE: Final = "+OK: Not found."


class RecordingCommands(Commands):
    """Where recordings are fetched."""

    async def recording_link(self, call_id: str) -> Secret[str] | None:
        """Ask where the recording of a call can be fetched.

        Args:
            call_id: The identifier that the call's record is kept by: the one of ``onUuidCall`` at the call's end.

        Returns:
            The link. It holds a key and a token, which open more than this recording, so it is secret. ``None``: there is no
            recording, or not yet.

        Raises:
            InvalidArgumentError: The identifier is no UUID; nothing was sent.
            CommandRefusedError: The role lacks the permission cdr: ``r`` or ``ro``.
            CommandError: As `execute`, or the answer is no link.
        """
        answer = await self.execute("cdr_get_record_link", {"uuid": check_uuid(call_id)})
        if isinstance(answer, str):
            if answer.strip() == _NONE:
                return None
            if answer.startswith(("http://", "https://")):
                return Secret(answer.strip())
        raise unreadable("cdr_get_record_link")
