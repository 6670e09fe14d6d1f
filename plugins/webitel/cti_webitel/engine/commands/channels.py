"""Single legs: what the switch knows of them, and what is done to one (facts: webitel-protocol 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cti_webitel.engine.answers import read_object, read_rows, read_text
from cti_webitel.engine.arguments import check_uuid, check_variable, check_variable_name
from cti_webitel.engine.commands.execute import Commands

__all__ = ["ChannelCommands"]

_UNDEFINED: Final = "_undef_"


class ChannelCommands(Commands):
    """Legs of the switch, the own ones and others."""

    async def channel_dump(self, leg: str) -> Mapping[str, Any]:
        """Read all that the switch knows about a leg: exact, unlike `show_channels`.

        Args:
            leg: The leg's ``Unique-ID``.

        Returns:
            The leg's headers and variables.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandRefusedError: There is no such leg.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_object("channel_dump", await self.execute("channel_dump", {"uuid": check_uuid(leg)}))

    async def show_channels(self) -> Sequence[Mapping[str, Any]]:
        """List the legs of the account's domain. It lags behind, and may hold legs that have ended.

        Returns:
            One row a leg.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        table = read_object("show_channel", await self.execute("show_channel", {}))
        return read_rows("show_channel", table.get("rows", []))

    async def get_variable(self, leg: str, name: str) -> str | None:
        """Read a variable of a leg.

        Args:
            leg: The leg's ``Unique-ID``.
            name: The variable.

        Returns:
            Its value; ``None`` if the leg has none of that name.

        Raises:
            InvalidArgumentError: The leg is no UUID, or the name is none; nothing was sent.
            CommandRefusedError: There is no such leg (``-ERR No such channel!``).
            CommandError: As `execute`.
        """
        answer = await self.execute("getvar", {"channel-uuid": check_uuid(leg), "variable": check_variable_name(name)})
        value = "" if answer is None else str(answer).removesuffix("\n")
        return None if value == _UNDEFINED else value

    async def set_variable(self, leg: str, name: str, value: str) -> str:
        """Set a variable of a leg. The engine refuses no name here, so those that run something are refused before.

        Args:
            leg: The leg's ``Unique-ID``.
            name: The variable.
            value: Its value.

        Returns:
            The engine's answer, ``+OK``.

        Raises:
            InvalidArgumentError: The leg is no UUID, or name or value could inject; nothing was sent.
            CommandRefusedError: There is no such leg (``-ERR No such channel!``).
            CommandError: As `execute`.
        """
        checked_name, checked_value = check_variable(name, value)
        args = {"channel-uuid": check_uuid(leg), "variable": checked_name, "value": checked_value}
        return read_text(await self.execute("setvar", args))

    async def displace(self, leg: str, on: bool) -> str:
        """Let the far end hear silence instead of a leg's sound, or the sound again.

        Args:
            leg: The leg's ``Unique-ID``.
            on: Silence; if not, sound.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(leg), "record": "start" if on else "stop"}
        return read_text(await self.execute("displace", args))

    async def refresh_video(self, leg: str) -> str:
        """Ask a leg for a whole picture of its video.

        Args:
            leg: The leg's ``Unique-ID``.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        return read_text(await self.execute("video_refresh", {"uuid": check_uuid(leg)}))
