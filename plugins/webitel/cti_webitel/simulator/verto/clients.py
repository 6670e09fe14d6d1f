"""One socket of a Verto client, and one session, both without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cti_framework.switchboard.faults import FaultLink, SwitchFaults
from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.verto.rpc import Members, request_text

if TYPE_CHECKING:
    from cti_webitel.simulator.verto.dialogs import Dialog

__all__ = ["Client", "VertoSession", "texts_of"]

_MOST_UNWRITTEN: Final = 10_000


class Client:
    """One socket, as the server sees it.

    Args:
        faults: What goes wrong on sockets.
        options: Gives the options.
        obey: Given each message of the client's that reaches the server.

    Attributes:
        session: Who logged in on it; ``None``: nobody yet.
        heard_seconds: When its client was heard of last, on the switch's clock.
        is_ready_told: Whether the client was told that it is ready.
        is_closing: Whether the server closes it once what is queued is out.
        terminated: Whether it is cut.
        wake: Called when there is something to write, or it is cut.
        abort: Ends TCP at once.
    """

    def __init__(
        self, *, faults: SwitchFaults, options: Callable[[], SimulatorOptions], obey: Callable[[Client, str | bytes], None]
    ) -> None:
        self.session: VertoSession | None = None
        self.heard_seconds = 0.0
        self.is_ready_told = False
        self.is_closing = False
        self.terminated = False
        self.wake: Callable[[], None] = lambda: None
        self.abort: Callable[[], None] = lambda: None
        self._options = options
        self._outbox: deque[bytes] = deque()
        self._blocked = False
        self._waiting: deque[str | bytes] = deque()
        self._obey = obey
        self.link: FaultLink[bytes, str | bytes] = faults.open_link(
            to_client=self._queue, to_pbx=self._take_in_turn, cut=self._cut
        )

    # --- what comes

    def block(self) -> Callable[[], None]:
        """Carry nothing out until a request is answered: the server reads a socket's requests one after the other.

        Returns:
            What ends that.
        """
        self._blocked = True

        def go_on() -> None:
            self._blocked = False
            while self._waiting and not self._blocked:
                self._obey(self, self._waiting.popleft())

        return go_on

    def _take_in_turn(self, data: str | bytes) -> None:
        if self._blocked:
            self._waiting.append(data)
        else:
            self._obey(self, data)

    # --- what goes

    def reply(self, text: str) -> None:
        """Queue an answer.

        Args:
            text: The message.
        """
        if not self._options().silent:
            self.link.reply(text.encode())

    def request(self, serial: int, method: str, members: Members) -> None:
        """Queue a request of the server's.

        Args:
            serial: Its number.
            method: What.
            members: Those of its parameters.
        """
        if not self._options().silent:
            self.link.event(request_text(serial, method, members).encode())

    def close(self) -> None:
        """Close it properly once what is queued is out."""
        self.is_closing = True
        self.wake()

    def drop(self) -> None:
        """Cut it as a lost network does: what is queued is lost."""
        self.link.close()
        self._cut()

    def take(self) -> bytes | None:
        """Take the next message to write.

        Returns:
            It; ``None``: there is none.
        """
        return self._outbox.popleft() if self._outbox else None

    def _queue(self, message: bytes) -> None:
        if not self.terminated and not self.is_closing and len(self._outbox) < _MOST_UNWRITTEN:
            self._outbox.append(message)
            self.wake()

    def _cut(self) -> None:
        self._outbox.clear()
        self.terminated = True
        self.abort()


class VertoSession:
    """A client's session, which outlasts its sockets while it has calls.

    Args:
        session_id: As the client calls it.
        presence: Whose.
        device: The number of the account's device that it is.
        variables: What the client said of itself when it logged in.

    Attributes:
        session_id: As given.
        presence: As given.
        device: As given.
        variables: As given.
        client: The socket that it is on; ``None``: it is detached.
        dialogs: Its calls, oldest first, by the client's names of them.
        channels: The event channels that it listens to.
    """

    def __init__(self, session_id: str, presence: str, device: int, variables: dict[str, str]) -> None:
        self.session_id = session_id
        self.presence = presence
        self.device = device
        self.variables = variables
        self.client: Client | None = None
        self.dialogs: dict[str, Dialog] = {}
        self.channels: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<VertoSession {self.session_id} of {self.presence}, {'attached' if self.client else 'detached'}>"


def texts_of(values: Any, prefix: str) -> dict[str, str]:
    """Read variables that a client gives.

    Args:
        values: What it gave.
        prefix: Put before each name.

    Returns:
        Name to value; nothing where it gave something else.
    """
    return {f"{prefix}{name}": str(value) for name, value in values.items()} if isinstance(values, dict) else {}
