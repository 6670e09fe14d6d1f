"""What every WebSocket behind the port can do, and how its address is named without its secrets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from cti_framework.errors import OutageKind

__all__ = ["DEFAULT_MAX_SIZE_BYTES", "WebSocket", "kind_of_close", "safe_url"]

# Answers of 20 MiB were seen from a real engine (facts: webitel-protocol 1).
DEFAULT_MAX_SIZE_BYTES = 32 * 1024 * 1024

# Going away, service restart, try again later.
_RESTART_CODES: Final = frozenset({1001, 1012, 1013})


class WebSocket(ABC):
    """One open WebSocket. It lives inside the ``async with`` that opened it, and is closed when that is left.

    One task receives at a time; any number of tasks may send.
    """

    __slots__ = ()

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for the next message.

        Cancelling it loses no message. It suspends at least once every few dozen messages, so that a flood cannot keep
        other tasks from running.

        Returns:
            The payload; a text message as the bytes that were sent, not decoded.

        Raises:
            NetworkError: The peer closed, the line was cut, or this side has closed.
            ProtocolError: The peer sent what WebSocket does not allow, or a message above the size limit.
        """

    async def receive_many(self) -> Sequence[bytes | bytearray]:
        """Wait for the next message and take with it those that have arrived already, a few dozen at most.

        For readers that have many to read. Cancelling it loses no message, and it suspends as ``receive`` does.

        Returns:
            The payloads in order, at least one; each is the reader's own.

        Raises:
            NetworkError: As ``receive``.
            ProtocolError: As ``receive``.
        """
        return (await self.receive(),)

    @abstractmethod
    async def send(self, message: str | bytes) -> None:
        """Send one message: a text frame for ``str``, a binary frame for ``bytes``.

        When it is cancelled the message may have gone out or not; the connection stays usable.

        Args:
            message: The payload.

        Raises:
            NetworkError: The connection is closed, or the peer did not read for ``send_timeout_seconds``; the connection is
                then closed by force, since half a frame may be on its way.
        """

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: politely at first, by force after ``close_timeout_seconds``, even when cancelled.

        Closing twice does nothing. Leaving the ``async with`` does it too.

        Args:
            code: The close code to tell the peer.
            reason: The reason to tell the peer, at most 123 bytes.
        """

    @property
    @abstractmethod
    def close_code(self) -> int | None:
        """The close code: ``None`` while open, 1006 if the connection ended without a closing handshake."""

    @property
    @abstractmethod
    def close_reason(self) -> str | None:
        """The reason given with the close code; ``None`` while open."""

    @property
    @abstractmethod
    def subprotocol(self) -> str | None:
        """The subprotocol that both sides agreed on, if any."""

    @property
    def unacknowledged_bytes(self) -> int | None:
        """How much of what was sent the peer's computer has not acknowledged; ``None`` where that cannot be told.

        Where it stays above zero, what is sent arrives nowhere: the connection is half open. It is told on Linux, for TCP.
        """
        return None


def kind_of_close(code: int) -> OutageKind:
    """Tell what a peer's close code says about it.

    Args:
        code: The code.

    Returns:
        ``RESTARTING`` where it says that it comes back, ``LOST`` otherwise.
    """
    return OutageKind.RESTARTING if code in _RESTART_CODES else OutageKind.LOST


def safe_url(url: str) -> str:
    """Name an address without what may be secret in it.

    Args:
        url: Any text that is meant as a URL.

    Returns:
        Scheme, host, port and path. User name, password, query and fragment are left out.
    """
    scheme, mark, rest = url.rpartition("://")
    try:
        parts = urlsplit(url)
        well_formed = bool(parts.hostname) and "@" not in parts.path and (parts.port is None or parts.port >= 0)
    except ValueError:
        well_formed = False
    if well_formed:
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    # A password with a slash or a question mark in it makes every other cut unsafe.
    tail = rest.rpartition("@")[2]
    for separator in "?#":
        tail = tail.partition(separator)[0]
    return f"{scheme}{mark}{tail}" if mark and scheme.isalnum() else tail
