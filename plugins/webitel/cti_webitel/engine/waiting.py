"""A command that waits for its answer."""

from __future__ import annotations

import anyio

from cti_framework.errors import ConnectionFailedError
from cti_webitel.engine.protocol import Reply

__all__ = ["Waiter"]


class Waiter:
    """Gets the answer to one command, or the failure of the connection, whichever is first.

    Args:
        exec_uuid: The command's identifier.
        watched: Nobody waits for it by itself: who keeps the connection looks for it, and has to be woken when it comes.

    Attributes:
        exec_uuid: As given.
        watched: As given.
        reply: The answer; ``None`` while there is none.
        failure: Why none can come any more; ``None`` while one can.
    """

    __slots__ = ("_settled", "exec_uuid", "failure", "reply", "watched")

    def __init__(self, exec_uuid: str, *, watched: bool = False) -> None:
        self.exec_uuid = exec_uuid
        self.watched = watched
        self.reply: Reply | None = None
        self.failure: ConnectionFailedError | None = None
        self._settled = anyio.Event()

    def settle(self, reply: Reply | None, failure: ConnectionFailedError | None) -> None:
        """Give it what it waits for; what comes after the first is left out.

        Args:
            reply: The answer.
            failure: Why there is none.
        """
        if self.reply is None and self.failure is None:
            self.reply, self.failure = reply, failure
            self._settled.set()

    async def wait(self) -> None:
        """Wait until there is one of the two."""
        await self._settled.wait()
