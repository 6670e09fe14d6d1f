"""A capture, read by the protocol.

A capture is a file of lines, one message a line, as the flight recorder writes them::

    {"t": 28, "dir": "open", "frame": "tcp://127.0.0.1:8021#1000@example"}
    {"t": 29, "dir": "c2s", "frame": "api uuid_kill …"}
    {"t": 35, "dir": "s2c", "frame": "Content-Length: …"}

The connection is everybody's; what is captured is what one user asked, and was told. Whose capture it is the address
says behind its ``#``. Raw dialogues with ``text``, ``head`` and ``body``, and seconds, are read, too.

What an outage ended is not told: nothing on the wire says where a look at the calls begins and ends. A call that was up
before is adopted from its dump, and one that is gone stays as it was last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
from cti_framework.errors import ProtocolError
from cti_framework.provider import ReplayLine
from cti_framework.reports import CallReport, Started

from cti_esl.calls import UserCalls
from cti_esl.legs import LegTable, read_leg
from cti_esl.protocol import EslProtocol, Event, Message, Reply, read_object

__all__ = ["CaptureLine", "read_capture", "replay_frames"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SENT_ON: Final = re.compile(r"api uuid_(?:transfer|bridge) (\S+) (\S+)")
_REMEDY: Final = "Give a capture: one JSON object a line, with t, dir and frame."


@attrs.frozen
class CaptureLine:
    """One line of a capture.

    Attributes:
        at_seconds: Since its beginning.
        direction: ``open``, ``c2s``, ``s2c``, ``close``, or what a raw dialogue has beside them.
        connection: Which connection.
        text: What went over the wire, or the address.
    """

    at_seconds: float
    direction: str
    connection: str
    text: str


def read_capture(lines: Iterable[str]) -> Iterator[CaptureLine]:
    """Read a capture.

    Args:
        lines: Its lines; empty ones are skipped.

    Yields:
        What each says.

    Raises:
        ProtocolError: A line is none of a capture; the message names it.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = read_object(line)
        at, direction = (None, None) if fields is None else (fields.get("t"), fields.get("dir"))
        if fields is None or not isinstance(at, int | float) or not isinstance(direction, str):
            raise ProtocolError(f"Line {number} is none of a capture.", remedy=_REMEDY)
        seconds = at / 1000 if "frame" in fields else float(at)
        yield CaptureLine(seconds, direction, str(fields.get("conn", "")), _text_of(fields))


def _text_of(fields: dict[str, Any]) -> str:
    if "head" in fields:
        return f"{fields['head']}{fields.get('body', '')}"
    frame = fields.get("frame", fields.get("text", ""))
    return frame if isinstance(frame, str) else json.dumps(frame)


class _Replay:
    """One user's side of a connection."""

    def __init__(self, presence: str) -> None:
        self._protocol = EslProtocol()
        self._legs = LegTable()
        self._presence = presence
        self._calls = UserCalls(presence, self._legs, _moment)

    def asked(self, command: str) -> None:
        asked = _SENT_ON.match(command)
        for leg in () if asked is None or "-bleg" in asked.groups() else asked.groups():
            self._calls.sent_on(leg)

    def feed(self, text: str) -> Iterator[tuple[Message, list[CallReport]]]:
        for message in self._protocol.feed(text.encode()):
            yield message, self._reports(message)

    def _reports(self, message: Message) -> list[CallReport]:
        match message:
            case Event() if message.name != "BACKGROUND_JOB":
                news = read_leg(message.fields)
                if news is not None and self._presence in self._legs.feed(news):
                    return self._calls.feed(news)
            case Reply():
                news = read_leg(read_object(message.text) or {})
                if news is not None:
                    self._legs.dumped(news.leg, news)
                    if news.presence == self._presence:
                        return self._calls.missed(news.leg, news, None)
        return []


def replay_frames(lines: Iterable[str], presence: str | None = None) -> Iterator[ReplayLine]:
    """Feed a capture to the protocol.

    Args:
        lines: Its lines.
        presence: Whose calls are looked at; ``None``: the capture says so.

    Yields:
        Each event, and what the provider reports of it.

    Raises:
        ProtocolError: A line is none of a capture, or it does not say whose it is.
    """
    replays: dict[str, _Replay] = {}
    latest, is_over = _EPOCH, False
    for line in read_capture(lines):
        match line.direction:
            case "open" | "net":
                whose = presence or line.text.partition("#")[2]
                if whose:
                    replays[line.connection] = _Replay(whose)
                if is_over:
                    is_over = False
                    again = Started(at=latest, own_numbers=(whose.partition("@")[0],))
                    yield ReplayLine(
                        at_seconds=line.at_seconds, callback=None, reports=(again,), text="connected again"
                    )
            case "close":
                is_over = True
                yield ReplayLine(
                    at_seconds=line.at_seconds, callback=None, text="the connection is over", disconnected=True
                )
            case "c2s":
                if line.connection in replays:
                    replays[line.connection].asked(line.text)
            case "s2c":
                if line.connection not in replays:
                    if presence is None:
                        raise ProtocolError("The capture does not say whose calls it shows.", remedy=_REMEDY)
                    replays[line.connection] = _Replay(presence)
                for message, reports in replays[line.connection].feed(line.text):
                    latest = max([latest, *(report.at for report in reports)])
                    if isinstance(message, Event) or reports:
                        name = message.name if isinstance(message, Event) else "CHANNEL_DATA"
                        yield _line(line.at_seconds, name, reports)


def _line(at_seconds: float, name: str, reports: list[CallReport]) -> ReplayLine:
    text = ", ".join(f"{type(report).__name__} {report.call_id}" for report in reports)
    return ReplayLine(at_seconds=at_seconds, callback=name, reports=tuple(reports), text=text)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
