"""What every room of commands stands on: an account, and a way to send a command and wait for its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from cti_webitel.engine.timeouts import WebitelTimeouts

__all__ = ["Commands"]


class Commands(ABC):
    """Commands of one account. Each room of them is a class of its own; `Webitel` is all of them."""

    @property
    @abstractmethod
    def own_account(self) -> str:
        """The account of this connection, ``number@domain``."""

    @property
    @abstractmethod
    def timeouts(self) -> WebitelTimeouts:
        """How long to wait for what."""

    @property
    @abstractmethod
    def auto_answer_param(self) -> str | None:
        """What makes the operator's own device answer by itself, ``name=value``; ``None``: nothing does."""

    @abstractmethod
    async def execute(self, func: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float | None = None) -> Any:
        """Send any command and wait for its answer. The arguments are sent as they are: the typed methods check theirs.

        When it is cancelled the command may have acted; its answer is then ignored.

        Args:
            func: The command's name, for example ``"hangup"`` (facts: webitel-protocol 3).
            args: Its arguments. A `Secret` is sent as what it holds, and shown to nobody else.
            timeout_seconds: How long to wait for the answer; by default ``command_seconds``.

        Returns:
            The engine's ``exec-response``: text, an object, a list, or ``None`` if it has none.

        Raises:
            NotConnectedError: There is no connection; nothing was sent.
            CommandRefusedError: The engine answered no; its words are in ``pbx_text``.
            CommandUnconfirmedError: No answer in time, or the connection broke while waiting.
        """

    @property
    def domain(self) -> str:
        """The account's domain."""
        return self.own_account.partition("@")[2]
