"""Which sockets want which server events (facts: webitel-protocol 3.1, 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cti_webitel.simulator.sessions import Session

__all__ = ["CENTRE_EVENTS", "SWITCH_EVENTS", "Subscriptions"]

CENTRE_EVENTS: Final = frozenset(
    {
        "CC::AGENT-OFFERING",
        "CC::BRIDGE-AGENT-START",
        "CC::MEMBER-QUEUE-RESUME",
        "CC::BRIDGE-AGENT-END",
        "CC::BRIDGE-AGENT-FAIL",
        "CC::MEMBERS-COUNT",
        "CC::MEMBER-QUEUE-START",
        "CC::MEMBER-QUEUE-END",
        "CC::AGENT-STATUS-CHANGE",
        "CC::AGENT-STATE-CHANGE",
    }
)
"""The call centre's events."""

SWITCH_EVENTS: Final = frozenset(
    {
        "SE:CHANNEL_CREATE",
        "SE:CHANNEL_DESTROY",
        "SE:CHANNEL_CALLSTATE",
        "SE:CHANNEL_STATE",
        "SE:CHANNEL_ANSWER",
        "SE:CHANNEL_HANGUP_COMPLETE",
        "SE:CHANNEL_HANGUP",
        "SE:CHANNEL_HOLD",
        "SE:CHANNEL_UNHOLD",
        "SE:CHANNEL_BRIDGE",
        "SE:CHANNEL_UNBRIDGE",
        "SE:DTMF",
    }
)
"""The switch's own events, of every leg of a domain."""

_REGISTERED: Final = CENTRE_EVENTS | SWITCH_EVENTS | {"SE:HEARTBEAT", "SE::BROADCAST", "DC::CHANGE_STATE"}


class Subscriptions:
    """The sockets by event and domain.

    The engine draws a domain's switch events from its broker as long as it thinks that somebody wants them. It forgets to
    count: one socket that leaves, or closes, silences the domain's others, until one of them subscribes again.
    """

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, str], list[Session]] = {}
        self._drawn: set[tuple[str, str]] = set()

    def add(self, event: object, session: Session) -> str:
        """A socket wants an event.

        Args:
            event: Which, as it came in.
            session: The socket; somebody authenticated on it.

        Returns:
            What is wrong with that; empty: nothing.
        """
        if not isinstance(event, str):
            return "-ERR: Bad parameters."
        if event not in _REGISTERED:
            return "-ERR: Event unregistered"
        key = (event, _home(session))
        sessions = self._wanted.setdefault(key, [])
        if session in sessions:
            return "-ERR: event subscribed!"
        sessions.append(session)
        self._drawn.add(key)
        return ""

    def remove(self, event: object, session: Session) -> str:
        """A socket does not want an event any more.

        Args:
            event: Which, as it came in.
            session: The socket.

        Returns:
            What is wrong with that; empty: nothing, also where it did not want it before.
        """
        if not isinstance(event, str):
            return "-ERR: Bad parameters"
        if event not in _REGISTERED:
            return "-ERR: Event unregistered"
        key = (event, _home(session))
        sessions = self._wanted.get(key, [])
        if session in sessions:
            sessions.remove(session)
            self._drawn.discard(key)
        return ""

    def leave(self, session: Session) -> None:
        """A socket closed.

        Args:
            session: Which.
        """
        for (event, _), sessions in tuple(self._wanted.items()):
            if session in sessions:
                self.remove(event, session)

    def wanting(self, event: str, domain: str) -> Iterator[Session]:
        """Tell who wants an event of a domain.

        Args:
            event: Which.
            domain: Whose; ``root`` for those above all domains.

        Yields:
            The sockets.
        """
        key = (event, domain)
        if event in SWITCH_EVENTS and key not in self._drawn:
            return
        yield from tuple(self._wanted.get(key, ()))


def _home(session: Session) -> str:
    assert session.account is not None
    return session.account.home
