"""What goes wrong with the web phone beside the framework's own errors.

::

    ConnectionFailedError
    └── SessionTakenError       another program has taken the session over: never retried with the same session
    CommandRefusedError
    └── CallGoneError           the server does not have the call any more: both sides may hang up at once
"""

from __future__ import annotations

from cti_framework.errors import CommandRefusedError, ConnectionFailedError

__all__ = ["CallGoneError", "SessionTakenError"]


class SessionTakenError(ConnectionFailedError):
    """Another connection has taken this session over, or another user has it. `VertoClient.renew_session` begins a new one."""

    retryable = False
    remedy = "The web phone runs in another program or window with this session: close one of them, or begin a new session."


class CallGoneError(CommandRefusedError):
    """The server does not have the call any more. It is no fault: both sides may hang up at the same moment."""

    remedy = "Nothing is to be done: the call is over."
