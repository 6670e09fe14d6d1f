"""Logging in: what is said on a connection before anything else, and what a refusal means (facts: verto, Login)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from cti_framework.errors import (
    CommandError,
    ConnectionFailedError,
    CredentialsRefusedError,
    NetworkError,
    OutageKind,
    ProtocolError,
)
from cti_webitel.verto.errors import SessionTakenError
from cti_webitel.verto.protocol import Reply
from cti_webitel.verto.replies import LoggedIn, RefusalCode, Refused
from cti_webitel.verto.requests import Login, VertoMessage

__all__ = ["log_in"]

_SESSION_IN_USE: Final = "Session in use"
_REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Authentication Failure": "Check the password of this user's web phone in Webitel.",
        "Login Incorrect": "Check the login of this user's web phone in Webitel: the server knows no such user.",
        "Missing passwd": "Set the password of this user's web phone.",
        "Authentication Required": "Set the login of this user's web phone.",
    }
)
_REMEDY: Final = "Check login and password of this user's web phone in Webitel."
_PORT_REMEDY: Final = "Check that this is Verto's port, and that the server is well."


async def log_in(login: Login, request: Callable[[VertoMessage, float], Awaitable[Reply]], *, seconds: float, peer: str) -> None:
    """Log in on the connection that there is.

    Args:
        login: Who, and with what.
        request: Sends a request and waits for its answer.
        seconds: How long for the answer.
        peer: The server, as errors name it.

    Raises:
        NetworkError: The server does not answer in time, or the connection broke.
        CredentialsRefusedError: The server refuses the user.
        SessionTakenError: Another user has the session.
        ProtocolError: What answers there is no Verto.
    """
    try:
        outcome = (await request(login, seconds)).outcome
    except CommandError as error:
        # What broke the connection says more than that it is broken.
        if isinstance(error.__cause__, ConnectionFailedError):
            raise error.__cause__ from None
        raise NetworkError(
            f"The server at {peer} did not answer the web phone's log in within {seconds:g} s.",
            step="login",
            kind=OutageKind.NO_ANSWER,
            remedy=_PORT_REMEDY,
        ) from None
    if isinstance(outcome, Refused):
        raise _failure(login.user, outcome)
    if not isinstance(outcome, LoggedIn):
        raise ProtocolError(f"The server at {peer} gives the web phone's log in no answer that can be read.", step="login")


def _failure(user: str, refused: Refused) -> ConnectionFailedError:
    said = refused.words
    if refused.message == _SESSION_IN_USE:
        return SessionTakenError(f"Another user has the session of {user}'s web phone.", step="login")
    if refused.code in (RefusalCode.LOGIN_NEEDED, RefusalCode.LOGIN_REFUSED):
        remedy = _REMEDIES.get(refused.message, _REMEDY)
        return CredentialsRefusedError(f"The server refuses the web phone of {user}: {said}.", step="login", remedy=remedy)
    return ProtocolError(f"The server answered the web phone's log in with: {said}.", step="login", remedy=_PORT_REMEDY)
