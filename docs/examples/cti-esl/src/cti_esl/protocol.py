"""FreeSWITCH's event socket without a socket: bytes in, messages out (facts: esl-control, framing and replies).

Theory of operation. What the switch sends is blocks of header lines, each ended by an empty line; ``Content-Length``
says how many bytes of body follow. A connection begins with ``auth/request``. Each command is answered by one
``command/reply`` or ``api/response``, strictly in the order of the commands; events come between the answers and never
inside. A command is one line and an empty one, so nothing that the host gives may hold a line break.

::

    bytes --> EslProtocol.feed() --> AuthRequest | Reply | Event | Disconnecting | Unknown

What is no such stream raises `ProtocolError` and can raise nothing else: sizes are limited, and nothing is trusted.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeAlias

import attrs
from cti_framework.errors import InvalidArgumentError, ProtocolError

__all__ = [
    "EVENTS",
    "AuthRequest",
    "Disconnecting",
    "EslProtocol",
    "Event",
    "Message",
    "Reply",
    "Unknown",
    "auth_command",
    "command_bytes",
    "is_refusal",
    "read_object",
]

EVENTS: Final = (
    "CHANNEL_CREATE",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_CALLSTATE",
    "CHANNEL_PROGRESS",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_DESTROY",
    "DTMF",
    "BACKGROUND_JOB",
)
"""What is subscribed to."""

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 64 * 1024 * 1024
"""A table of ten thousand channels is ten megabytes."""
_LENGTH: Final = re.compile(r"[0-9]{1,10}")
_UNSENDABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


@attrs.frozen
class AuthRequest:
    """The switch asks for the password."""


@attrs.frozen
class Reply:
    """The answer to the oldest command that has none yet.

    Attributes:
        text: ``Reply-Text`` of a command, the body of an ``api`` command.
        raw: The message as it was on the wire.
    """

    text: str
    raw: bytes = attrs.field(default=b"", repr=False, eq=False)


@attrs.frozen
class Event:
    """Something happened.

    Attributes:
        name: ``Event-Name``.
        fields: All that the event says. A value is a text, or a list of texts where a variable was set repeatedly.
        raw: The message as it was on the wire.
    """

    name: str
    fields: dict[str, Any] = attrs.field(repr=False)
    raw: bytes = attrs.field(default=b"", repr=False, eq=False)


@attrs.frozen
class Disconnecting:
    """The switch is about to close the connection.

    Attributes:
        text: What it says.
    """

    text: str


@attrs.frozen
class Unknown:
    """A message of a type that this protocol has no use for.

    Attributes:
        content_type: Its ``Content-Type``.
    """

    content_type: str


Message: TypeAlias = AuthRequest | Reply | Event | Disconnecting | Unknown


class EslProtocol:
    """Reads what the switch sends, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head_bytes = b""
        self._headers: dict[str, str] | None = None
        self._body_bytes = 0

    def feed(self, data: bytes) -> list[Message]:
        """Read on.

        Args:
            data: What came.

        Returns:
            The messages that are complete now, in order.

        Raises:
            ProtocolError: It is no event socket.
        """
        self._buffer += data
        messages: list[Message] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> Message | None:
        if self._headers is None:
            head = self._head()
            if head is None:
                return None
            self._head_bytes = head
            self._headers = _read_head(head)
            self._body_bytes = _body_bytes(self._headers)
        if len(self._buffer) < self._body_bytes:
            return None
        headers, body = self._headers, bytes(self._buffer[: self._body_bytes])
        del self._buffer[: self._body_bytes]
        self._headers, self._searched = None, 0
        return _message(headers, body, self._head_bytes + b"\n\n" + body)

    def _head(self) -> bytes | None:
        end = self._buffer.find(b"\n\n", max(0, self._searched - 1))
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > _MAX_HEAD_BYTES:
                raise ProtocolError(f"The switch sent {_MAX_HEAD_BYTES} bytes of headers without an end.")
            return None
        if end > _MAX_HEAD_BYTES:
            raise ProtocolError(f"The switch sent a header of {end} bytes.")
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return head


def _read_head(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        if not colon:
            # Not the line: it may be anything.
            raise ProtocolError("The switch sent a header line without a colon: it speaks another protocol.")
        headers[name.strip().lower()] = value.strip()
    return headers


def _body_bytes(headers: dict[str, str]) -> int:
    text = headers.get("content-length")
    if text is None:
        return 0
    if not _LENGTH.fullmatch(text):
        raise ProtocolError("The switch sent a Content-Length that is no number.")
    length = int(text)
    if length > _MAX_BODY_BYTES:
        raise ProtocolError(f"The switch announced a body of {length} bytes.")
    return length


def _message(headers: dict[str, str], body: bytes, raw: bytes) -> Message:
    content_type = headers.get("content-type", "")
    match content_type:
        case "text/event-json":
            fields = read_object(body.decode("utf-8", "replace"))
            name = None if fields is None else fields.get("Event-Name")
            if fields is None or not isinstance(name, str):
                raise ProtocolError("The switch sent an event that is no JSON object with an Event-Name.")
            return Event(name, fields, raw)
        case "command/reply":
            return Reply(headers.get("reply-text", ""), raw)
        case "api/response":
            return Reply(body.decode("utf-8", "replace"), raw)
        case "auth/request":
            return AuthRequest()
        case "text/disconnect-notice":
            return Disconnecting(body.decode("utf-8", "replace").strip())
        case _:
            return Unknown(content_type[:80])


def read_object(text: str) -> dict[str, Any] | None:
    """Read a JSON object.

    Args:
        text: An answer, or an event's body.

    Returns:
        The object; ``None``: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_refusal(text: str) -> bool:
    """Tell whether an answer says no: ``-ERR…``, ``-ERROR``, ``-USAGE…``.

    Args:
        text: The answer.

    Returns:
        Whether.
    """
    return text.startswith("-")


def command_bytes(line: str, *, job_uuid: str | None = None) -> bytes:
    """Write a command.

    Args:
        line: The command, without its end.
        job_uuid: The ``Job-UUID`` that a ``bgapi`` command is to have; the switch takes ours as it is.

    Returns:
        What to send.

    Raises:
        InvalidArgumentError: It holds a control character: it would be two commands.
    """
    if _UNSENDABLE.search(line):
        raise InvalidArgumentError("A command cannot hold a control character; nothing was sent.")
    header = "" if job_uuid is None else f"Job-UUID: {job_uuid}\n"
    return f"{line}\n{header}\n".encode()


def auth_command(password: str) -> bytes:
    """Write the answer to ``auth/request``.

    Args:
        password: The event socket's.

    Returns:
        What to send.

    Raises:
        InvalidArgumentError: It cannot be sent. The text does not show it.
    """
    return command_bytes(f"auth {password}")
