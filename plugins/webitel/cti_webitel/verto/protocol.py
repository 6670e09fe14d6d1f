"""The web phone's protocol: messages in, values out; what is asked in, messages out (facts: verto).

Theory of operation
-------------------

There is no I/O here, no clock and no waiting. Who has the socket hands over what it received, and sends what it is given::

    request_id, text = protocol.request(Invite("3b1e…", "0501234567", sdp))      # send text
    for output in protocol.receive(data): ...                                    # a Signal, a Reply, Unexpected, a BadFrame
    for text in protocol.take_replies(): ...                                     # may be sent, or not

**A session** is an identifier that the client makes up, and the calls. Both outlive connections: `opened` begins one, `closed`
ends it. What was asked and not answered is dropped then; the calls are kept. After logging in again with the same identifier the
server offers new media for each call that it still has (`Attached`), then says which ones those are (`Ready`). Only by that, by a
hang up, or because it says so of a call that is asked for, is a call over: `Ended`.

**A request** is told from a reply by its method alone, and a reply is read by what was asked. `Reply` comes first, and what it
means for a call after it. A request that nobody waits for any more (`forget`) still counts when its answer comes late.

**What cannot be** does not leave: `request` refuses what the state of a call does not allow. What the server says and cannot be
is told as `Unexpected` and changes nothing; late words about a call that is over are among it, and are no fault: what the
server had queued comes after its answers.

**Rubbish** never raises: it becomes a `BadFrame`, values of the wrong type are left out, and all is counted
(`VertoProtocol.counts`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final, TypeAlias
from uuid import uuid4

import attrs

from cti_framework.errors import NotAllowedNowError
from cti_webitel.verto.dialogs import Dialog, Dialogs
from cti_webitel.verto.frames import BadFrame, ErrorReply, Frame, Request, Result, encode_reply, encode_request, read_message
from cti_webitel.verto.receiving import read_request
from cti_webitel.verto.replies import LoggedIn, Outcome, read_error, read_result
from cti_webitel.verto.requests import Login, OtherMessage, VertoMessage
from cti_webitel.verto.signals import Ready, Signal, UnknownRequest

__all__ = ["BadFrame", "Output", "Reply", "Unexpected", "VertoCounts", "VertoProtocol"]

_MOST_FORGOTTEN: Final = 256
_MOST_REPLIES: Final = 256


@attrs.frozen
class Reply:
    """The server's answer to a request.

    Attributes:
        request_id: The request's identifier; ``None`` if the answer names none: the server could not read what it was sent.
        message: What was asked; ``None`` if nobody asked.
        outcome: What it says.
    """

    request_id: int | None
    message: VertoMessage | None
    outcome: Outcome


@attrs.frozen
class Unexpected:
    """The server says of a call what cannot be. Nothing was changed by it.

    Attributes:
        signal: What it says.
        reason: Why that cannot be.
    """

    signal: Signal
    reason: str


Output: TypeAlias = Signal | Reply | Unexpected | BadFrame


@attrs.frozen
class VertoCounts:
    """What was received and meant nothing, since the protocol was made.

    Attributes:
        bad_frames: No JSON, or neither request nor reply, or without what is needed.
        unclaimed_replies: Answers to nobody.
        unknown_requests: Requests of methods that are not known.
        unexpected: What the server said of a call and cannot be; late words are among it.
        late: What it said of a call that is over.
        left_out: Values of the wrong type, which were left out.
    """

    bad_frames: int = 0
    unclaimed_replies: int = 0
    unknown_requests: int = 0
    unexpected: int = 0
    late: int = 0
    left_out: int = 0


class VertoProtocol:
    """One session of one user at one server.

    Args:
        session_id: The session's identifier; by default a new one. One that was kept from an earlier run of the program brings
            its calls back.
    """

    __slots__ = (
        "_bad_frames",
        "_dialogs",
        "_forgotten",
        "_ids",
        "_left_out",
        "_pending",
        "_replies",
        "_session_id",
        "_unclaimed_replies",
        "_unexpected",
        "_unknown_requests",
    )

    def __init__(self, session_id: str | None = None) -> None:
        self._session_id = session_id or str(uuid4())
        self._dialogs = Dialogs()
        self._ids = count(1)
        self._pending: dict[int, VertoMessage] = {}
        self._forgotten: deque[int] = deque()
        self._replies: deque[str] = deque(maxlen=_MOST_REPLIES)
        self._bad_frames = 0
        self._unclaimed_replies = 0
        self._unknown_requests = 0
        self._unexpected = 0
        self._left_out = 0

    @property
    def session_id(self) -> str:
        """The session's identifier."""
        return self._session_id

    @property
    def dialogs(self) -> Mapping[str, Dialog]:
        """The calls that there are, by identifier."""
        return self._dialogs.live

    @property
    def pending(self) -> Mapping[int, VertoMessage]:
        """What was asked and is not answered, by identifier."""
        return self._pending

    @property
    def counts(self) -> VertoCounts:
        """What was received and meant nothing."""
        return VertoCounts(
            self._bad_frames,
            self._unclaimed_replies,
            self._unknown_requests,
            self._unexpected,
            self._dialogs.late,
            self._left_out,
        )

    # ------------------------------------------------------------------ connections

    def opened(self) -> None:
        """Begin a connection. The server says nothing until somebody logs in."""
        self._drop()

    def closed(self) -> None:
        """End a connection. The calls are kept: whether the server keeps them, it says when the session is back."""
        self._drop()
        self._dialogs.detach()

    def renew(self) -> Sequence[Signal]:
        """Become another session, between two connections: the old one belongs to somebody else now.

        Returns:
            The end of all calls, as far as they are known here.
        """
        self._drop()
        self._session_id = str(uuid4())
        return self._dialogs.forget_all()

    def _drop(self) -> None:
        self._pending.clear()
        self._forgotten.clear()
        self._replies.clear()

    # ------------------------------------------------------------------ what we ask

    def request(self, message: VertoMessage) -> tuple[int, str]:
        """Make the message of a request, and remember that it will be answered.

        Args:
            message: What is asked.

        Returns:
            The request's identifier, and what to send.

        Raises:
            NotAllowedNowError: The state of the call does not allow it.
            InvalidArgumentError: The server would not read it.
        """
        refusal = self._dialogs.refusal(message)
        if refusal is not None:
            raise NotAllowedNowError(f"{message.method} was not sent", reason=refusal, command=message.method)
        request_id = next(self._ids)
        text = encode_request(request_id, message.method, {**message.params(), "sessid": self._session_id})
        self._pending[request_id] = message
        self._dialogs.asked(message)
        return request_id, text

    def record_sent(self, request_id: int, message: VertoMessage) -> None:
        """Remember a request that another client sent, when a capture is read. Nothing is refused.

        Args:
            request_id: Its identifier.
            message: What it asks.
        """
        self._pending[request_id] = message
        if self._dialogs.refusal(message) is None:
            self._dialogs.asked(message)

    def withdraw(self, request_id: int) -> None:
        """Take back a request of which nothing was sent.

        Args:
            request_id: Its identifier; one that is not known is left alone.
        """
        message = self._pending.pop(request_id, None)
        if message is not None:
            self._dialogs.unasked(message)

    def forget(self, request_id: int) -> None:
        """Wait no longer for the answer to a request. What it means for a call still counts when it comes.

        Args:
            request_id: Its identifier; one that is not known is left alone.
        """
        if request_id in self._pending:
            self._forgotten.append(request_id)
            if len(self._forgotten) > _MOST_FORGOTTEN:
                self._pending.pop(self._forgotten.popleft(), None)

    def take_replies(self) -> Sequence[str]:
        """Take the answers to what the server has asked. None of them is needed; of very many the oldest are left out.

        Returns:
            What to send, in order.
        """
        replies = tuple(self._replies)
        self._replies.clear()
        return replies

    # ------------------------------------------------------------------ what the server says

    def receive(self, data: bytes | bytearray | str) -> Sequence[Output]:
        """Take a message.

        Args:
            data: It, as it came from the socket.

        Returns:
            What it tells, in order. It never raises.
        """
        return self.receive_many((data,))

    def receive_many(self, batch: Iterable[bytes | bytearray | str]) -> Sequence[Output]:
        """Take messages that arrived together.

        Args:
            batch: They, in order.

        Returns:
            What they tell, in order. It never raises.
        """
        told: list[Output] = []
        for data in batch:
            for frame in read_message(data):
                self._take(frame, told)
        return told

    def _take(self, frame: Frame, told: list[Output]) -> None:
        if isinstance(frame, Request):
            reply = encode_reply(frame)
            if reply is not None:
                self._replies.append(reply)
            signal, left_out = read_request(frame)
            self._left_out += left_out
            if isinstance(signal, BadFrame):
                self._take(signal, told)
            else:
                self._hear(signal, told)
        elif isinstance(frame, BadFrame):
            self._bad_frames += 1
            told.append(frame)
        else:
            self._settle(frame, told)

    def _hear(self, signal: Signal, told: list[Output]) -> None:
        reason = self._dialogs.told(signal)
        if reason is not None:
            self._unexpected += 1
            told.append(Unexpected(signal, reason))
            return
        if isinstance(signal, UnknownRequest):
            self._unknown_requests += 1
        told.append(signal)
        if isinstance(signal, Ready):
            told += self._dialogs.ready(signal.reattached)

    def _settle(self, frame: Result | ErrorReply, told: list[Output]) -> None:
        message = None if frame.request_id is None else self._pending.pop(frame.request_id, None)
        if message is None:
            self._unclaimed_replies += 1
        outcome: Outcome
        if isinstance(frame, ErrorReply):
            outcome, left_out = read_error(frame)
        else:
            # Who asks in words of his own reads the answer himself.
            method = "" if message is None or isinstance(message, OtherMessage) else message.method
            outcome, left_out = read_result(method, frame)
        self._left_out += left_out
        told.append(Reply(frame.request_id, message, outcome))
        if message is None:
            return
        if isinstance(message, Login) and isinstance(outcome, LoggedIn) and outcome.session_id:
            self._session_id = outcome.session_id
        told += self._dialogs.answered(message, outcome)
