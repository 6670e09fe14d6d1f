"""What the siblings need to know to open a connection. Imported when one is first opened."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["YIELD_EVERY_MESSAGES", "Options", "SilentLogger"]

# `websockets` returns queued messages without suspending: without a pause a flood would keep every other task from running.
# Measured on asyncio: with a pause every 64 messages receiving costs no more than the bare loop.
YIELD_EVERY_MESSAGES = 64


class SilentLogger(logging.LoggerAdapter[logging.Logger]):
    """The log of ``websockets`` without its debug lines: they quote every frame and header, passwords too."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger("websockets.client"), {})

    def isEnabledFor(self, level: int) -> bool:
        """Say no to everything below INFO.

        Args:
            level: The level asked for.

        Returns:
            Whether a record of this level is wanted.
        """
        return level >= logging.INFO and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Pass a record on as it is.

        Args:
            msg: The message.
            kwargs: The keywords of the logging call.

        Returns:
            Both, unchanged.
        """
        return msg, kwargs


@frozen
class Options:
    """The arguments of `cti_framework.transport.open_websocket`, with ``place``: the address without secrets."""

    url: str = field(repr=False)
    place: str
    open_timeout_seconds: float
    close_timeout_seconds: float
    send_timeout_seconds: float
    max_size_bytes: int
    ssl_context: ssl.SSLContext | None = field(repr=False)
    proxy: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    subprotocols: tuple[str, ...]
    ping_interval_seconds: float | None
    ping_timeout_seconds: float | None
    logger: SilentLogger = field(factory=SilentLogger, repr=False)

    def keywords(self) -> dict[str, Any]:
        """Give the keyword arguments that both clients of ``websockets`` share.

        Returns:
            The keywords of ``websockets``' ``connect``.
        """
        keywords: dict[str, Any] = {
            "additional_headers": dict(self.headers),
            "close_timeout": self.close_timeout_seconds,
            # The engine's frames are small and loopback or LAN fast: deflating costs more than it saves.
            "compression": None,
            "logger": self.logger,
            # Reading is paused and resumed by system calls: a longer queue needs them less often.
            "max_queue": (256, 64),
            "max_size": self.max_size_bytes,
            "open_timeout": self.open_timeout_seconds,
            "ping_interval": self.ping_interval_seconds,
            "ping_timeout": self.ping_timeout_seconds,
            "proxy": self.proxy,
            "subprotocols": list(self.subprotocols) or None,
        }
        if self.ssl_context is not None and self.url.startswith("wss:"):
            keywords["ssl"] = self.ssl_context
        return keywords
