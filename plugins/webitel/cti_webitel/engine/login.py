"""Logging in: what is said on a connection before anything else (facts: webitel-protocol 1.1, 1.2).

``auth`` says who it is, ``login`` switches the account's call events on, ``api account list`` loads the accounts: the order of
Webitel's library.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from cti_framework.errors import (
    CommandError,
    ConnectionFailedError,
    CredentialsRefusedError,
    NetworkError,
    OutageKind,
    ProtocolError,
)
from cti_webitel.engine.answers import read_account_rows, read_refusal
from cti_webitel.engine.protocol import Reply
from cti_webitel.engine.timeouts import WebitelTimeouts

__all__ = ["LogIn"]

_CREDENTIALS_REMEDY: Final = "Check account and password, or key and token, of this user in Webitel."
# Refusals of `auth` that say nothing about the credentials, and what helps (facts: webitel-protocol 1, 1.1).
_BUSY_REFUSALS: Final = (
    ("Maximum opened socket", "Close other programs that are logged in with this account, or wait until dead sockets end."),
    ("Maximum license connections", "Wait until another user logs out, or extend the licence."),
    ("Console connect error", "The engine has lost its directory; it comes back by itself, or ask the administrator of the PBX."),
)


class _Request(Protocol):
    """Sends a command and waits for its answer."""

    def __call__(self, func: str, args: Mapping[str, Any] | None, timeout_seconds: float) -> Awaitable[Reply]: ...


class LogIn:
    """Logs one account in.

    Args:
        request: Sends a command and waits for its answer.
        account: ``number@domain``.
        credentials: The arguments of ``auth``.
        timeouts: How long to wait for what.
        peer: The engine, as errors name it.
    """

    __slots__ = ("_account", "_credentials", "_peer", "_request", "_timeouts")

    def __init__(
        self, request: _Request, account: str, credentials: Mapping[str, Any], timeouts: WebitelTimeouts, *, peer: str
    ) -> None:
        self._request = request
        self._account = account
        self._credentials = credentials
        self._timeouts = timeouts
        self._peer = peer

    async def run(self) -> None:
        """Log in on the connection that there is.

        Raises:
            NetworkError: The engine does not answer in time, is full, or the connection broke.
            CredentialsRefusedError: The engine refuses the account, or does not let it read the accounts.
            ProtocolError: What answers there is no engine.
        """
        await self._authorise()
        await self._step("login", None, "Try again; if it stays so, look at the engine's log.")
        rows = await self._step(
            "api account list",
            {"domain": self._account.partition("@")[2]},
            "Give the account's role the permission account: ro (its own row) or r (all rows).",
        )
        try:
            read_account_rows(rows)
        except CommandError as error:
            raise ProtocolError(error.message, step="api account list", remedy="Check that this is the engine's port.") from None

    async def _authorise(self) -> None:
        reply = await self._answer_to("auth", self._credentials, self._timeouts.auth_seconds)
        if reply.ok:
            return
        said = read_refusal(reply)
        for text, remedy in _BUSY_REFUSALS:
            if text in said:
                raise NetworkError(
                    f"The engine does not let {self._account} in now: {said}.", step="auth", kind=OutageKind.BUSY, remedy=remedy
                )
        raise CredentialsRefusedError(
            f"The engine refuses {self._account}: {said or 'no reason given'}.", step="auth", remedy=_CREDENTIALS_REMEDY
        )

    async def _step(self, func: str, args: Mapping[str, Any] | None, remedy: str) -> Any:
        reply = await self._answer_to(func, args, self._timeouts.command_seconds)
        if reply.ok:
            return reply.response
        said = read_refusal(reply)
        if "permission denied" in said.lower():
            raise CredentialsRefusedError(
                f"The engine does not allow {self._account} the command {func}: {said}.", step=func, remedy=remedy
            )
        raise ProtocolError(f"The engine answered {func} with {said or 'no text'}.", step=func, remedy=remedy)

    async def _answer_to(self, func: str, args: Mapping[str, Any] | None, seconds: float) -> Reply:
        try:
            return await self._request(func, args, seconds)
        except CommandError as error:
            # What broke the connection says more than that it is broken.
            if isinstance(error.__cause__, ConnectionFailedError):
                raise error.__cause__ from None
            raise NetworkError(
                f"The engine at {self._peer} did not answer {func} within {seconds:g} s.",
                step=func,
                kind=OutageKind.NO_ANSWER,
                remedy="Check that this is the engine's port, and that the engine is well.",
            ) from None
