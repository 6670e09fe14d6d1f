"""What is told of the connection and its own account."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import attrs

from cti_webitel.engine.callbacks.callback import NO_PAYLOAD, Callback

__all__ = [
    "CALL_ERROR",
    "AccountCallback",
    "OnAuthTimeout",
    "OnConnect",
    "OnDisconnect",
    "OnError",
    "OnReady",
    "OnSilenced",
    "OnSubscriptionLost",
    "OnUserLogin",
    "SilencedBy",
]

CALL_ERROR: Final = "CALL-ERROR"
"""The library's kind of error for what is about calls (`OnError.error_type`)."""


@attrs.frozen
class AccountCallback(Callback):
    """Something about the account of this connection, as the engine told it in its answer to ``auth``.

    Attributes:
        login: The account.
        role: The account's role; ``None`` if not told.
        domain: The account's domain; ``None`` for root.
        socket_count: How many sockets the account has at the engine, this one included; ``None`` if not told.
        agent: The account can take calls of queues.
        state: As `WebitelUser.state`; empty when authorised by token.
        away: As `WebitelUser.away`; empty when authorised by token.
        session: The engine's identifier of this socket.
        cc_logged: The account takes calls of queues now.
        agent_told: ``cc-agent`` was not empty, which the library takes for ``true``.
    """

    login: str
    role: str | None = None
    domain: str | None = None
    socket_count: int | None = None
    agent: bool = False
    state: str = ""
    away: str = ""
    session: str = ""
    cc_logged: bool = False
    agent_told: bool = False

    def payload(self) -> Any:
        """Tell the account; ``agent`` is true for "false", as in the library (facts: webitel-protocol 7.14)."""
        told = {
            "login": self.login,
            "role": self.role,
            "domain": self.domain,
            "wsCount": self.socket_count,
            "agent": self.agent_told,
        }
        return {key: value for key, value in told.items() if value is not None}


@attrs.frozen
class OnConnect(AccountCallback):
    """The engine knows the account now. Calls are told only after ``login`` (facts: webitel-protocol 1.1, 1.2)."""

    name = "onConnect"


@attrs.frozen
class OnReady(AccountCallback):
    """The accounts of the domain are loaded: all is known that the engine tells by itself."""

    name = "onReady"


@attrs.frozen
class OnUserLogin(Callback):
    """The engine answered ``login``.

    Attributes:
        ok: Call events come from now on. The library calls back for a refusal, too.
    """

    name = "onUserLogin"

    ok: bool = True


@attrs.frozen
class OnDisconnect(Callback):
    """The socket is closed, or the engine refused the account (the socket then stays open for a while).

    Attributes:
        code: The close code; ``None`` for a refusal.
        reason: The close reason.
        refusal: What the engine answered to ``auth``; ``None`` for a closed socket.
    """

    name = "onDisconnect"

    code: int | None = None
    reason: str = ""
    refusal: Any = None

    def payload(self) -> Any:
        """Tell the engine's refusal; nothing for a closed socket."""
        return NO_PAYLOAD if self.refusal is None else self.refusal


@attrs.frozen
class OnError(Callback):
    """The engine answered a command with an error, or told of a leg what cannot be.

    Attributes:
        func: The command; for a leg the ``Event-Name`` of the frame.
        error_type: The library's kind of error; ``None`` for most commands.
        message: What the engine answered, ``None`` if nothing; for a leg what is wrong, in the library's words.
    """

    name = "onError"

    func: str
    error_type: str | None = None
    message: Any = None

    def payload(self) -> Any:
        """Tell kind and message, each only if there is one."""
        told = {"errorType": self.error_type, "message": self.message}
        return {key: value for key, value in told.items() if value is not None}


@attrs.frozen
class OnAuthTimeout(Callback):
    """The engine will cut the line: within its five seconds nobody was authorised on it (facts: webitel-protocol 1, 4.1)."""

    name = "onAuthTimeout"
    ours = True


class SilencedBy(Enum):
    """By what it was noticed that another program switched the account's call events off."""

    ACCOUNT_STATUS = "account status"
    """The account was told to be in a call, and no call was told."""
    WHOAMI = "whoami"
    """The engine was asked, as it is at intervals."""


@attrs.frozen
class OnSilenced(Callback):
    """Another program's ``logout`` switched the account's call events off; they are on again (facts: webitel-protocol 1.2, 7.4).

    What calls did meanwhile was not told: `Webitel.look` asks the switch.

    Attributes:
        noticed_by: How it was noticed.
    """

    name = "onSilenced"
    ours = True

    noticed_by: SilencedBy


@attrs.frozen
class OnSubscriptionLost(Callback):
    """An event that was subscribed to is not told on this connection: the engine refused, or did not answer.

    Attributes:
        event: Its name.
        reason: What the engine said, for people.
    """

    name = "onSubscriptionLost"
    ours = True

    event: str
    reason: str
