"""What the operator is: ready, or away and why (facts: webitel-protocol 3.3).

The answer says that the directory took it; what it is then, the event ``ACCOUNT_STATUS`` says (``onUserStatusChange``).
"""

from __future__ import annotations

from typing import Any

from cti_framework.errors import InvalidArgumentError
from cti_webitel.engine.arguments import check_note, check_status
from cti_webitel.engine.commands.execute import Commands

__all__ = ["StateCommands"]


class StateCommands(Commands):
    """The own account's state."""

    async def ready(self) -> Any:
        """Be ready for calls.

        Returns:
            The engine's answer: an object with the account's state and status, or an empty one.

        Raises:
            CommandRefusedError: The role lacks the permission account: ``uo``.
            CommandError: As `execute`.
        """
        return await self.set_status("ONHOOK")

    async def busy(self, cause: str, note: str = "") -> Any:
        """Be away.

        Args:
            cause: ``ONBREAK``, ``CALLFORWARD``, ``VOICEMAIL`` or ``DND``, or a word of the site's own in capitals: the engine
                takes any.
            note: What to show beside it, in the operator's own words; what the directory cannot take is replaced.

        Returns:
            As `ready`.

        Raises:
            InvalidArgumentError: The cause is no such word, or it is ``ONHOOK`` or ``NONE``, which is not away; nothing was sent.
            CommandError: As `ready`.
        """
        if cause in ("ONHOOK", "NONE"):
            raise InvalidArgumentError(f"{cause!r} is not a cause to be away.", remedy="Use ready() for that.")
        return await self.set_status(cause, note)

    async def set_status(self, status: str, note: str = "") -> Any:
        """Change the own account's status.

        Args:
            status: As the cause of `busy`, or ``ONHOOK``.
            note: As for `busy`.

        Returns:
            As `ready`.

        Raises:
            InvalidArgumentError: The status is no word in capitals; nothing was sent.
            CommandError: As `ready`.
        """
        checked, kept = check_status(status), check_note(note)
        value = f"{checked}('{kept}')" if kept else checked
        return await self.execute("api account change", {"user": self.own_account, "param": "status", "value": value})
