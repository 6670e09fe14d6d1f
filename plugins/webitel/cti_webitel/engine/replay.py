"""A capture, read by the protocol.

A capture is a file of lines, one frame a line::

    {"t": 28, "dir": "open", "frame": "ws://pbx.example:10022"}
    {"t": 29, "dir": "c2s", "frame": {"exec-uuid": "…", "exec-func": "auth", "exec-args": {…}}}
    {"t": 35, "dir": "s2c", "frame": {"exec-uuid": "…", "exec-complete": "+OK", "exec-response": {…}}}
    {"t": 1066, "dir": "close", "frame": {"code": 1005, "reason": ""}}

``t`` is milliseconds since the capture began. The client's frames are the record of what was asked; calls outlive a socket. Where
a capture holds several clients, ``conn`` names whose frame it is: each has a protocol of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import orjson

from cti_framework.errors import ProtocolError
from cti_webitel.engine.protocol import EngineProtocol, Output

__all__ = ["replay_frames"]

_REMEDY: Final = "Give a capture: one JSON object a line, with t, dir (open, c2s, s2c or close) and frame."
_NO_STATUS: Final = 1005


def replay_frames(lines: Iterable[str]) -> Iterator[tuple[float, Output]]:
    """Feed a capture to the protocol.

    Args:
        lines: The lines of the capture; empty ones are skipped.

    Yields:
        Seconds since the capture began, and what the protocol told then.

    Raises:
        ProtocolError: A line is none of a capture; the message names it.
    """
    protocols: dict[str | int | None, EngineProtocol] = {}
    now = 0.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        milliseconds, client, direction, frame = _read(line, number)
        then = max(now, milliseconds / 1000)
        yield from _let_pass(protocols.values(), then)
        now = then
        protocol = protocols.get(client)
        if protocol is None:
            protocol = protocols[client] = EngineProtocol()
        yield from ((now, output) for output in _feed(protocol, direction, frame, now, number))


def _let_pass(protocols: Collection[EngineProtocol], then: float) -> Iterator[tuple[float, Output]]:
    """Tell what the passing of time makes certain, in the order in which it does."""
    while due := [protocol for protocol in protocols if protocol.next_deadline is not None and protocol.next_deadline <= then]:
        protocol = min(due, key=_deadline_of)
        deadline = _deadline_of(protocol)
        yield from ((deadline, output) for output in protocol.tick(deadline))


def _deadline_of(protocol: EngineProtocol) -> float:
    return float("inf") if protocol.next_deadline is None else protocol.next_deadline


def _feed(protocol: EngineProtocol, direction: str, frame: Any, now: float, number: int) -> Sequence[Output]:
    if direction == "s2c":
        # What was no JSON object on the wire stands in a capture as a text.
        if isinstance(frame, dict):
            return protocol.receive_decoded(frame, now)
        return protocol.receive(frame if isinstance(frame, str) else orjson.dumps(frame), now)
    if direction == "c2s":
        if isinstance(frame, dict):
            protocol.record_sent(frame)
        return ()
    if direction == "open" and isinstance(frame, str):
        protocol.opened()
        return ()
    if direction == "close" and (frame is None or isinstance(frame, dict)):
        code, reason = (frame or {}).get("code"), (frame or {}).get("reason")
        return protocol.closed(code if type(code) is int else _NO_STATUS, reason if isinstance(reason, str) else "")
    raise _rubbish(number, f"dir is {direction!r} and frame is a {type(frame).__name__}")


def _read(line: str, number: int) -> tuple[float, str | int | None, str, Any]:
    try:
        entry = orjson.loads(line)
    except ValueError:
        raise _rubbish(number, "it is no JSON") from None
    if not isinstance(entry, dict):
        raise _rubbish(number, "it is no JSON object")
    milliseconds, direction = entry.get("t"), entry.get("dir")
    if not isinstance(milliseconds, (int, float)) or isinstance(milliseconds, bool):
        raise _rubbish(number, "t is no number")
    if not isinstance(direction, str) or "frame" not in entry:
        raise _rubbish(number, "dir or frame is missing")
    client = entry.get("conn")
    if client is not None and type(client) not in (str, int):
        raise _rubbish(number, "conn is no name")
    return float(milliseconds), client, direction, entry["frame"]


def _rubbish(number: int, why: str) -> ProtocolError:
    return ProtocolError(f"Line {number} is none of a capture: {why}.", step="replay", retryable=False, remedy=_REMEDY)
