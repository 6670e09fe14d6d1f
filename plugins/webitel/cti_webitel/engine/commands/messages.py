"""Messages to other operators (facts: webitel-protocol 3.1)."""

from __future__ import annotations

from typing import Any

from cti_webitel.engine.answers import read_text
from cti_webitel.engine.arguments import check_message, check_user, check_word
from cti_webitel.engine.commands.execute import Commands

__all__ = ["MessageCommands"]


class MessageCommands(Commands):
    """Messages to programs and to people."""

    async def send_message(self, to: str, body: Any) -> str:
        """Send a message to the programs that are logged in with an account of the own domain (``onCustomMessage`` there).

        Args:
            to: The account's number.
            body: What to say: any JSON value.

        Returns:
            The engine's answer, ``+OK: Message send.``

        Raises:
            InvalidArgumentError: The number is none; nothing was sent.
            CommandRefusedError: Nobody is logged in with it (``-ERR: User not found``).
            TypeError: The body is nothing that JSON can say.
            CommandError: As `execute`.
        """
        return read_text(await self.execute("sys_msg", {"to": check_user(to), "body": body}))

    async def send_chat(self, to: str, message: str, *, profile: str = "verto") -> str:
        """Send a chat message to somebody's phone, in the own account's name.

        Args:
            to: The account, ``number@domain`` or a number.
            message: What to say.
            profile: The switch's way to the phone.

        Returns:
            The switch's answer, ``Sent``.

        Raises:
            InvalidArgumentError: An argument could inject; nothing was sent.
            CommandError: As `execute`.
        """
        args = {
            "from": self.own_account,
            "to": check_user(to),
            "message": check_message(message),
            "profile": check_word("profile", profile),
        }
        return read_text(await self.execute("chat_send", args))
