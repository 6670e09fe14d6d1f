"""How long the client waits for what."""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["WebitelTimeouts"]

# The engine gives an unauthorised socket five seconds (facts: webitel-protocol 1).
_AUTH_LIMIT_SECONDS = 5.0


@frozen
class WebitelTimeouts:
    """How long to wait for what, in seconds.

    Attributes:
        open_seconds: For the address to be resolved, reached and to speak WebSocket.
        auth_seconds: For the answer to ``auth``; less than the five seconds after which the engine cuts the line.
        command_seconds: For the answer to any other command.
        call_seconds: For the answer to a command that rings the operator's own device: it comes when that was picked up.
        ping_interval_seconds: Between two commands ``ping``.
        ping_reply_seconds: For the answer to ``ping``; after that the peer counts as frozen.
        close_seconds: For the closing handshake; then the socket is closed by force.
        silence_seconds: How long the account can be in a call of which nothing is told, before it is asked whether another
            program switched its events off.
        silence_pause_seconds: Between two times that they are switched on again: two programs could fight about it.
    """

    open_seconds: float = field(default=10.0, validator=validators.gt(0))
    auth_seconds: float = field(default=4.5, validator=[validators.gt(0), validators.lt(_AUTH_LIMIT_SECONDS)])
    command_seconds: float = field(default=10.0, validator=validators.gt(0))
    call_seconds: float = field(default=65.0, validator=validators.gt(0))
    ping_interval_seconds: float = field(default=50.0, validator=validators.gt(0))
    ping_reply_seconds: float = field(default=10.0, validator=validators.gt(0))
    close_seconds: float = field(default=2.0, validator=validators.gt(0))
    silence_seconds: float = field(default=1.0, validator=validators.gt(0))
    silence_pause_seconds: float = field(default=5.0, validator=validators.gt(0))
