"""JSON-RPC 2.0 as FreeSWITCH writes it: members in its order, a name twice where it says it twice (facts: verto, Framing)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

__all__ = [
    "INVALID_REQUEST",
    "Members",
    "Refusal",
    "array_text",
    "error_text",
    "object_text",
    "read",
    "request_text",
    "result_text",
]

Members: TypeAlias = list[tuple[str, Any]]
"""The members of an object, in order; a name may come twice."""

_DEEPEST: Final = 64
_DECODER: Final = json.JSONDecoder()


class Refusal(Exception):
    """A request is refused.

    Args:
        *members: Those of the error, in order.

    Attributes:
        members: As given.
    """

    def __init__(self, *members: tuple[str, Any]) -> None:
        super().__init__(members)
        self.members: Members = list(members)


def read(text: str) -> Any:
    """Read a message. A byte order mark before it and anything behind it are let go.

    Args:
        text: What came.

    Returns:
        The value.

    Raises:
        ValueError: It is no JSON, or deeper than FreeSWITCH reads.
    """
    try:
        value, _ = _DECODER.raw_decode(text.lstrip("\ufeff \t\r\n"))
    except RecursionError:
        raise ValueError("too deep") from None
    if _depth(value) > _DEEPEST:
        raise ValueError("too deep")
    if "\\ud" in text.lower():
        # Half a character, escaped, is no text: the switch could not say it to anybody.
        value = json.loads(_text(value).encode("utf-8", "replace"))
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [inner for outer in level for inner in _inside(outer)]:
        depth += 1
        if depth > _DEEPEST:
            break
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values() or (None,)
    if isinstance(value, list):
        return value or (None,)
    return ()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def object_text(members: Iterable[tuple[str, Any]]) -> str:
    """Write an object.

    Args:
        members: Its members.

    Returns:
        Its text.
    """
    return "{" + ",".join(f"{_text(name)}:{_text(value)}" for name, value in members) + "}"


def array_text(texts: Iterable[str]) -> str:
    """Write an array of what is written already.

    Args:
        texts: Its elements.

    Returns:
        Its text.
    """
    return "[" + ",".join(texts) + "]"


def result_text(request_id: Any, members: Members) -> str:
    """Write the answer to a request.

    Args:
        request_id: Of which; a large whole number loses precision.
        members: Those of the result.

    Returns:
        The message.
    """
    return f'{{"jsonrpc":"2.0","id":{_text(_as_number(request_id))},"result":{object_text(members)}}}'


def error_text(request_id: Any, members: Members, *, id_last: bool = False) -> str:
    """Write the refusal of a request.

    Args:
        request_id: Of which.
        members: Those of the error.
        id_last: Whether it is one of the reader's, which writes the identifier behind the error.

    Returns:
        The message.
    """
    identifier, error = f'"id":{_text(_as_number(request_id))}', f'"error":{object_text(members)}'
    first, second = (error, identifier) if id_last else (identifier, error)
    return f'{{"jsonrpc":"2.0",{first},{second}}}'


def request_text(serial: int, method: str, members: Members) -> str:
    """Write a request of the server's.

    Args:
        serial: Its number.
        method: What.
        members: Those of its parameters.

    Returns:
        The message.
    """
    return f'{{"jsonrpc":"2.0","id":{serial},"method":{_text(method)},"params":{object_text(members)}}}'


def _as_number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 else value


INVALID_REQUEST: Final = error_text(None, [("code", -32600), ("message", "Invalid Request")], id_last=True)
"""The answer to what is no JSON."""
