"""The WebSocket port: one small interface, the native clients of ``websockets`` for asyncio and trio behind it.

``websockets`` is imported when a connection is first opened. The siblings ``_asyncio`` and ``_trio`` have the same names in
the same order: a diff shows what differs. `memory_websocket_pair` is the twin without a network.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from ._port import DEFAULT_MAX_SIZE_BYTES, WebSocket, safe_url
from .memory import memory_websocket_pair

__all__ = ["DEFAULT_MAX_SIZE_BYTES", "WebSocket", "memory_websocket_pair", "open_websocket", "safe_url"]


@asynccontextmanager
async def open_websocket(
    url: str,
    *,
    open_timeout_seconds: float = 10.0,
    close_timeout_seconds: float = 2.0,
    send_timeout_seconds: float = 5.0,
    max_size_bytes: int = DEFAULT_MAX_SIZE_BYTES,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    ping_interval_seconds: float | None = 20.0,
    ping_timeout_seconds: float | None = 20.0,
) -> AsyncIterator[WebSocket]:
    """Open a WebSocket for the time of an ``async with``, on asyncio or trio, whichever runs.

    Redirects are not followed: the first message is often a password, and it goes to the address that was configured.

    Args:
        url: ``ws://`` or ``wss://``. A user name and password in it go into an ``Authorization`` header.
        open_timeout_seconds: For name, TCP, TLS and opening handshake together.
        close_timeout_seconds: For the closing handshake; then the connection is closed by force.
        send_timeout_seconds: How long one message may wait for a peer that does not read.
        max_size_bytes: The largest message to accept.
        ssl_context: For ``wss://``; by default one that checks the certificate against the system's authorities.
        proxy: The proxy's URL. Without it none is used, whatever the environment says.
        headers: Further headers of the opening request.
        subprotocols: What to offer, best first.
        ping_interval_seconds: How often to send a WebSocket ping; ``None`` for never. Pings of the peer are always answered.
        ping_timeout_seconds: How long to wait for the pong before the connection counts as dead.

    Yields:
        The open connection.

    Raises:
        AddressError: ``url`` or ``proxy`` is not one that can be connected to.
        NetworkError: The name is not known, nobody answers in time, the connection is refused or reset, the certificate is
            not trusted, or a proxy on the way says 502, 503 or 504.
        ProtocolError: Whoever answers there speaks no WebSocket, or refused the opening handshake.
    """
    from ._options import Options

    options = Options(
        url=url,
        place=safe_url(url),
        open_timeout_seconds=open_timeout_seconds,
        close_timeout_seconds=close_timeout_seconds,
        send_timeout_seconds=send_timeout_seconds,
        max_size_bytes=max_size_bytes,
        ssl_context=ssl_context,
        proxy=proxy,
        headers=headers or {},
        subprotocols=tuple(subprotocols),
        ping_interval_seconds=ping_interval_seconds,
        ping_timeout_seconds=ping_timeout_seconds,
    )
    if _in_trio():
        from ._trio import open_connection
    else:
        from ._asyncio import open_connection
    async with open_connection(options) as websocket:
        yield websocket


def _in_trio() -> bool:
    # Where trio was never imported it does not run, and importing it would cost every host on asyncio its time.
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())
