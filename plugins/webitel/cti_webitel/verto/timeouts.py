"""How long the web phone waits for what."""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["VertoTimeouts"]


@frozen
class VertoTimeouts:
    """How long the web phone waits for what.

    Attributes:
        open_seconds: For the name to be resolved, reached and to speak WebSocket.
        login_seconds: For the answer to the log in.
        ready_seconds: For the server to say which calls it still has. It comes 0.1 s after the log in.
        command_seconds: For the answer to anything else. Most come at once, hold after a quarter of a second.
        attach_seconds: For the new media of a call that has come back.
        silence_seconds: How long nothing may be heard before the server is asked; 0: it is never asked for silence. It pings by
            itself only a client that has said nothing for 30 s.
        probe_seconds: For the answer to that.
        close_seconds: For the closing handshake; then the socket is closed by force.
    """

    open_seconds: float = field(default=10.0, validator=validators.gt(0))
    login_seconds: float = field(default=10.0, validator=validators.gt(0))
    ready_seconds: float = field(default=5.0, validator=validators.gt(0))
    command_seconds: float = field(default=10.0, validator=validators.gt(0))
    attach_seconds: float = field(default=10.0, validator=validators.gt(0))
    silence_seconds: float = field(default=25.0, validator=validators.ge(0))
    probe_seconds: float = field(default=10.0, validator=validators.gt(0))
    close_seconds: float = field(default=2.0, validator=validators.gt(0))
