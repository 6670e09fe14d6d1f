"""The connection's own affairs: who is logged in, tokens, where the operator sits (facts: webitel-protocol 3.1, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import field, frozen
from typed_settings.types import Secret

from cti_webitel.engine.answers import read_object, read_rows, unreadable
from cti_webitel.engine.arguments import check_address
from cti_webitel.engine.commands.execute import Commands

__all__ = ["OnlineAccount", "SessionCommands", "Token"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_MILLISECONDS: Final = 253_402_300_799_000


@frozen
class Token:
    """What authorises an account instead of its password, until it expires.

    Attributes:
        key: The key that goes with it.
        token: The token.
        account: Whose it is, ``number@domain``.
        expires_at: Until when it is good; ``None`` if not told.
    """

    key: str = field(repr=False)
    token: Secret[str]
    account: str
    expires_at: datetime | None = None


@frozen
class OnlineAccount:
    """An account that is logged in at the engine.

    Attributes:
        account: Which, ``number@domain``.
        sockets: How many connections it has.
        addresses: Where they come from.
    """

    account: str
    sockets: int = 0
    addresses: tuple[str, ...] = field(default=(), repr=False)


class SessionCommands(Commands):
    """This connection, and those of others."""

    async def whoami(self) -> Mapping[str, Any]:
        """Ask the engine who this connection is logged in as. `run` does so by itself at intervals.

        Returns:
            The account's id, domain, role, state, status and permissions; ``logged``: whether its call events are on.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_object("api whoami", await self.execute("api whoami", {}))

    async def ping(self) -> None:
        """Ask the engine for a sign of life. `run` does so by itself at intervals.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("ping", timeout_seconds=self.timeouts.ping_reply_seconds)

    async def login(self) -> None:
        """Switch the account's call events on, for all its sockets. `run` does it, and again when another program silenced us.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("login")

    async def logout(self) -> None:
        """Switch the account's call events off, for all its sockets: other programs of this operator fall silent too.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("logout")

    async def list_sockets(self) -> Sequence[OnlineAccount]:
        """List the accounts that are logged in at the engine. Only ``root`` may.

        Returns:
            One value an account.

        Raises:
            CommandRefusedError: It is not ``root`` (``Forbidden``).
            CommandError: As `execute`, or the answer cannot be read.
        """
        rows = read_rows("list_sockets", read_object("list_sockets", await self.execute("list_sockets", {})).get("body"))
        return [_online(row) for row in rows if isinstance(row.get("id"), str)]

    async def generate_token(self) -> Token:
        """Get a token of the own account; one that is good for another day is given again.

        Returns:
            It.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        row = read_object("token_generate", await self.execute("token_generate", {}))
        key, token, account = row.get("key"), row.get("token"), row.get("username")
        if not isinstance(key, str) or not isinstance(token, str) or not key or not token:
            raise unreadable("token_generate")
        return Token(
            key=key,
            token=Secret(token),
            account=account if isinstance(account, str) else self.own_account,
            expires_at=_time(row.get("expires")),
        )

    async def sign_in_at(self, address: str) -> Mapping[str, Any]:
        """Say at which desk the operator sits: its phone becomes his.

        Args:
            address: The desk's address, as the PBX knows it.

        Returns:
            What the PBX says about it: ``status``, ``info``.

        Raises:
            InvalidArgumentError: The address could inject; nothing was sent.
            CommandRefusedError: He sits at one already (``You connected``), or the role lacks the permission hotdesk: ``u``.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return read_object("hotdesk_signin", await self.execute("hotdesk_signin", {"address": check_address(address)}))

    async def sign_out(self) -> Any:
        """Leave the desk. Engines of this generation refuse it always (facts: webitel-protocol 7.24); mended ones may not.

        Returns:
            The engine's answer.

        Raises:
            CommandRefusedError: As every engine does that is known (``Address is required``).
            CommandError: As `execute`.
        """
        return await self.execute("hotdesk_signout", {})


def _time(milliseconds: object) -> datetime | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int) or not 0 < milliseconds <= _MOST_MILLISECONDS:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _online(row: Mapping[str, Any]) -> OnlineAccount:
    sockets, addresses = row.get("sockets"), row.get("ips")
    return OnlineAccount(
        account=str(row["id"]),
        sockets=sockets if type(sockets) is int else 0,
        addresses=tuple(address for address in addresses if isinstance(address, str)) if isinstance(addresses, list) else (),
    )
