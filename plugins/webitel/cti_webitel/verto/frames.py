"""JSON-RPC 2.0 as FreeSWITCH speaks it: a WebSocket message into requests and replies, and back (facts: verto, Framing).

A message is one object, or a list of them. An object with a ``method`` is a request of the server's, any other a reply to one of
ours: **the two sides number their requests apart, so that an identifier says nothing of whose request it is**.

What deviates from what one would expect:

- An object may hold a name twice. Readers of JSON keep the last one; the error of a call has ``message`` twice and says in the
  first one what is wrong (``detail``).
- Errors need not have a ``code``, nor a ``message``.
- A reply to nobody in particular has ``"id": null``: the server could not read what it was sent.
- No error is ever sent: the server would answer it, with the same identifier, and that one may be of a request of ours.

Texts of the switch need not be UTF-8, a caller's name for one. A message that is not is read all the same, with the bytes in
question replaced: it may be the only word of a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs
import orjson
from typed_settings.types import Secret

from cti_framework.errors import InvalidArgumentError
from cti_framework.json_text import read_json

__all__ = ["MOST_BYTES", "BadFrame", "ErrorReply", "Frame", "Request", "Result", "encode_reply", "encode_request", "read_message"]

MOST_BYTES: Final = 1_000_000
"""The server closes the connection without a word on a longer message."""
_MOST_LEVELS: Final = 64
_CALL_ERROR: Final = "CALL ERROR"


@attrs.frozen
class Request:
    """A request of the server's.

    Attributes:
        request_id: Its identifier, whatever it is.
        method: What it is about.
        params: What it says; empty where it says nothing.
    """

    request_id: Any
    method: str
    params: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen
class Result:
    """A reply: the server did it, or says so.

    Attributes:
        request_id: Of our request; ``None`` if it names none.
        result: What it says.
    """

    request_id: int | None
    result: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen
class ErrorReply:
    """A reply: the server did not do it.

    Attributes:
        request_id: Of our request; ``None`` if it names none.
        error: What it says.
        detail: The first ``message`` where there are two.
    """

    request_id: int | None
    error: Mapping[str, Any] = attrs.field(repr=False)
    detail: str | None = None


@attrs.frozen
class BadFrame:
    """A message, or one object of it, that means nothing.

    Attributes:
        reason: What is wrong with it; never what it holds, which may be secret.
        size_bytes: How long the message is.
        method: What it is about, where that can be told.
    """

    reason: str
    size_bytes: int = 0
    method: str | None = None


Frame: TypeAlias = Request | Result | ErrorReply | BadFrame


def read_message(data: bytes | bytearray | str) -> list[Frame]:
    """Read a message of the server's.

    Args:
        data: It, as it came from the socket. Whether it was text or binary makes no difference.

    Returns:
        What it holds, in order; of an empty message or list, nothing. It never raises.
    """
    if not data:
        return []
    try:
        decoded = _decode(data)
    except ValueError as error:
        return [BadFrame(f"It is no JSON: {error}.", len(data))]
    if type(decoded) is not list:
        return [_read(decoded, data, None)]
    return [_read(each, data, index) for index, each in enumerate(decoded)]


def encode_request(request_id: int, method: str, params: Mapping[str, Any]) -> str:
    """Write a request.

    Args:
        request_id: Its identifier.
        method: What it is about.
        params: What it says. A `Secret` is written as what it holds.

    Returns:
        The message.

    Raises:
        InvalidArgumentError: It would be longer, or its values would stand deeper inside each other, than the server takes; or
            it holds what JSON cannot say.
    """
    # The request itself is a level, too.
    if _is_deeper(params, _MOST_LEVELS - 1):
        raise InvalidArgumentError(
            f"{method} has values more than {_MOST_LEVELS} levels deep, which the server does not read.", command=method
        )
    try:
        data = orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": request_id}, default=_revealed)
    except (TypeError, ValueError):
        # Whatever it was may be secret.
        raise InvalidArgumentError(f"{method} holds what JSON cannot say.", command=method) from None
    if len(data) > MOST_BYTES:
        raise InvalidArgumentError(
            f"{method} would be a message of {len(data)} bytes; the server takes {MOST_BYTES}.", command=method
        )
    return data.decode()


def encode_reply(request: Request) -> str | None:
    """Write the answer to a request of the server's, as the stock client does. The server needs none.

    Args:
        request: It.

    Returns:
        The message; ``None`` if its identifier cannot be given back.
    """
    try:
        return orjson.dumps({"jsonrpc": "2.0", "id": request.request_id, "result": {"method": request.method}}).decode()
    except (TypeError, ValueError):
        return None


def _decode(data: bytes | bytearray | str) -> Any:
    try:
        return read_json(data)
    except ValueError:
        if isinstance(data, str):
            raise
        repaired = data.decode(errors="replace")
        if "\ufffd" not in repaired:
            raise
    return read_json(repaired)


def _read(frame: Any, data: bytes | bytearray | str, index: int | None) -> Frame:
    if type(frame) is not dict:
        return BadFrame(f"It is a JSON {type(frame).__name__}, not an object.", len(data))
    if "method" in frame:
        method, params = frame["method"], frame.get("params")
        if not isinstance(method, str):
            return BadFrame("Its method is no text.", len(data))
        if params is not None and type(params) is not dict:
            return BadFrame("Its params are no object.", len(data), method)
        return Request(frame.get("id"), method, params or {})
    error, result = frame.get("error"), frame.get("result")
    if type(error) is dict:
        return ErrorReply(_own_id(frame), error, _detail(error, data, index))
    if type(result) is dict:
        return Result(_own_id(frame), result)
    return BadFrame("It is neither a request nor a reply.", len(data))


def _own_id(frame: Mapping[str, Any]) -> int | None:
    request_id = frame.get("id")
    return request_id if type(request_id) is int else None


def _detail(error: Mapping[str, Any], data: bytes | bytearray | str, index: int | None) -> str | None:
    """Find the first ``message`` of an error that has two."""
    if error.get("message") != _CALL_ERROR:
        return None
    text = data if isinstance(data, str) else data.decode(errors="replace")
    try:
        pairs: Any = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    frame = pairs if index is None else pairs[index]
    # Of an error that is there twice the last one was read, and it is an object.
    said = [value for name, value in frame if name == "error"][-1]
    messages = [value for name, value in said if name == "message" and isinstance(value, str)]
    return messages[0] if len(messages) > 1 else None


def _is_deeper(value: Any, most: int) -> bool:
    levels: list[Iterator[Any]] = [iter((value,))]
    while levels:
        for inner in levels[-1]:
            if isinstance(inner, Mapping):
                levels.append(iter(inner.values()))
            elif isinstance(inner, list | tuple):
                levels.append(iter(inner))
            else:
                continue
            break
        else:
            levels.pop()
        if len(levels) > most + 1:
            return True
    return False


def _revealed(value: object) -> object:
    if isinstance(value, Secret):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"A {type(value).__name__} is nothing that JSON can say.")
