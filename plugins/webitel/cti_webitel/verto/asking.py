"""A request and its answer, on the connection that there is: sent once, waited for, and read as what happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel

from cti_framework.errors import CommandRefusedError, CommandUnconfirmedError, ConnectionFailedError, NotConnectedError
from cti_framework.transport import WebSocket
from cti_webitel.verto.errors import CallGoneError
from cti_webitel.verto.protocol import Reply, VertoProtocol
from cti_webitel.verto.replies import Outcome, Refused
from cti_webitel.verto.requests import VertoMessage

__all__ = ["Asking"]

_MAY_HAVE_ACTED: Final = "It may have acted: look at the calls before trying again."


class _Waiter:
    """Gets the answer to one request, or the failure of the connection, whichever is first."""

    __slots__ = ("_settled", "failure", "reply")

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.failure: ConnectionFailedError | None = None
        self._settled = anyio.Event()

    def settle(self, reply: Reply | None, failure: ConnectionFailedError | None) -> None:
        if self.reply is None and self.failure is None:
            self.reply, self.failure = reply, failure
            self._settled.set()

    async def wait(self) -> None:
        await self._settled.wait()


class Asking:
    """Asks on one connection after the other.

    Args:
        protocol: Writes what is asked.
        on_sending: Called with what is asked, and with its text, before it is sent.
        on_silence: Called when an answer did not come.

    Attributes:
        socket: The connection; ``None``: there is none.
        failure: Why nothing can be asked on it any more; ``None`` while something can.
    """

    __slots__ = ("_on_sending", "_on_silence", "_protocol", "_waiting", "failure", "socket")

    def __init__(
        self, protocol: VertoProtocol, *, on_sending: Callable[[VertoMessage, str], object], on_silence: Callable[[], object]
    ) -> None:
        self._protocol = protocol
        self._on_sending = on_sending
        self._on_silence = on_silence
        self._waiting: dict[int, _Waiter] = {}
        self.socket: WebSocket | None = None
        self.failure: ConnectionFailedError | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for their answers."""
        return len(self._waiting)

    def settle(self, reply: Reply) -> None:
        """Give an answer to whoever waits for it.

        Args:
            reply: It.
        """
        waiter = None if reply.request_id is None else self._waiting.pop(reply.request_id, None)
        if waiter is not None:
            waiter.settle(reply, None)

    def fail(self, failure: ConnectionFailedError) -> None:
        """Have nobody wait any longer: no answer can come. Of several failures the first counts.

        Args:
            failure: Why.
        """
        if self.failure is None:
            self.failure = failure
        for waiter in self._waiting.values():
            waiter.settle(None, self.failure)

    async def ask(self, message: VertoMessage, seconds: float) -> Outcome:
        """Ask, and take a refusal for an error.

        Args:
            message: What is asked.
            seconds: How long for the answer.

        Returns:
            What the server answers.

        Raises:
            CallGoneError: The server does not have the call any more.
            CommandRefusedError: It answered no.
            CommandError: As `request`.
        """
        outcome = (await self.request(message, seconds)).outcome
        if not isinstance(outcome, Refused):
            return outcome
        said = outcome.words
        if outcome.is_gone:
            raise CallGoneError(f"{message.method}: the call is over.", pbx_text=said, command=message.method)
        raise CommandRefusedError(f"The server refused {message.method}: {said}.", pbx_text=said, command=message.method)

    async def request(self, message: VertoMessage, seconds: float) -> Reply:
        """Ask, and wait for the answer, whatever it is.

        Args:
            message: What is asked.
            seconds: How long for the answer.

        Returns:
            The answer.

        Raises:
            NotConnectedError: There is no connection; nothing was sent.
            NotAllowedNowError: The state of the call does not allow it; nothing was sent.
            InvalidArgumentError: The server would not read it; nothing was sent.
            CommandUnconfirmedError: No answer in time, or the connection broke while waiting.
        """
        # From here on nothing waits before it is sent: whoever is cancelled before it has asked nothing.
        await anyio.lowlevel.checkpoint_if_cancelled()
        socket = self.socket
        if socket is None or self.failure is not None:
            raise self.not_connected(message) from self.failure
        request_id, text = self._protocol.request(message)
        self._on_sending(message, text)
        waiter = self._waiting[request_id] = _Waiter()
        try:
            with anyio.move_on_after(seconds):
                await socket.send(text)
                await waiter.wait()
        except ConnectionFailedError as failure:
            waiter.settle(None, failure)
        finally:
            self._waiting.pop(request_id, None)
            self._protocol.forget(request_id)
        if waiter.reply is not None:
            return waiter.reply
        if waiter.failure is not None:
            raise CommandUnconfirmedError(
                f"The connection broke before {message.method} was answered.", command=message.method, remedy=_MAY_HAVE_ACTED
            ) from waiter.failure
        self._on_silence()
        raise CommandUnconfirmedError(
            f"The server did not answer {message.method} within {seconds:g} s.", command=message.method, remedy=_MAY_HAVE_ACTED
        )

    async def send(self, message: VertoMessage) -> None:
        """Ask, and wait for no answer.

        Args:
            message: What is asked.

        Raises:
            NetworkError: The connection broke.
        """
        assert self.socket is not None
        request_id, text = self._protocol.request(message)
        self._protocol.forget(request_id)
        self._on_sending(message, text)
        await self.socket.send(text)

    def not_connected(self, message: VertoMessage) -> NotConnectedError:
        """Say that something cannot be asked for want of a connection.

        Args:
            message: What was to be asked.

        Returns:
            The error to raise.
        """
        return NotConnectedError(f"{message.method} was not sent: the web phone is not connected.", command=message.method)
