"""The flight recorder: the last minutes of a session's frames, for whoever has to find out what happened.

A ring in memory, bounded by age and by size. Recording is one entry for what arrived together, without a copy; a frame is decoded
and its secrets are taken out when somebody reads it. Only what *we* say is looked through at once: a log in holds a password,
which has no business in a ring for minutes.

What is read are the lines of a *capture*, which ``cti replay`` plays again: one JSON object a frame::

    {"t": 28, "dir": "open", "frame": "ws://pbx.example:10022"}
    {"t": 29, "dir": "c2s", "frame": {"exec-uuid": "…", "exec-func": "auth", "exec-args": {"account": "…", "secret": "***"}}}
    {"t": 35, "dir": "s2c", "frame": {"exec-uuid": "…", "exec-complete": "+OK", "exec-response": {…}}}
    {"t": 1066, "dir": "close", "frame": {"code": 1005, "reason": ""}}

``t`` is milliseconds since the recorder was made. A session with several connections names each frame's in ``conn``.

A ring forgets the beginning first, and the beginning of a connection says whose it is. So the first few kilobytes of the
connection that the oldest frame belongs to are kept as long as it is.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import structlog

from cti_framework.json_text import read_json
from cti_framework.redaction import SecretRedactor

__all__ = ["FlightRecorder", "FrameData", "FrameDirection"]

FrameData: TypeAlias = str | bytes | bytearray | Mapping[str, Any] | None
"""A frame as it was on the wire; for the end of a connection a mapping, or nothing."""


class FrameDirection(StrEnum):
    """Which way a frame went. The values are those of a capture's ``dir``."""

    OPEN = "open"
    """A connection is open; the frame is its address."""
    TO_PBX = "c2s"
    FROM_PBX = "s2c"
    CLOSE = "close"
    """It is closed; the frame is a mapping with ``code`` and ``reason``, or nothing."""


_Entry: TypeAlias = tuple[float, FrameDirection, str, Sequence[FrameData], int]
"""When, which way, on which connection, the frames that came together, and how much room they take."""

_ENTRY_BYTES: Final = 200
"""What an entry takes beside its frames."""
_HEAD_BYTES: Final = 4096
_NOTHING: Final[tuple[str, ...]] = ()
# A known value that is short, or a number, stands in other texts by chance: an extension is part of every time and identifier.
# Where such a value stands under its own name it is recognised by that; and a number of some length, where it stands alone in
# what we say ourselves.
_SHORTEST_KNOWN: Final = 6


def _make_redactor(secrets: Iterable[str] = (), numbers: Iterable[str] = ()) -> SecretRedactor:
    # A whole domain's accounts come in one frame, and what is cut short cannot be replayed.
    return SecretRedactor(secrets, numbers=numbers, max_depth=32, max_values=100_000, max_characters=4_194_304)


_BY_NAME: Final = _make_redactor()


class FlightRecorder:
    """The last frames of one session.

    Args:
        seconds: How long a frame is kept; 0: none is.
        kilobytes: How much room frames may take; 0: none is kept.
        secrets: Gives the values that are known to be secret, when something is read.
        monotonic: Tells seconds that never go back.
        log: Told of followers that fail.
    """

    __slots__ = (
        "_began",
        "_entries",
        "_followers",
        "_heads",
        "_known",
        "_log",
        "_lost",
        "_monotonic",
        "_most_bytes",
        "_seconds",
        "_secrets",
        "_size",
    )

    def __init__(
        self,
        *,
        seconds: float = 300.0,
        kilobytes: float = 256.0,
        secrets: Callable[[], Iterable[str]] = lambda: _NOTHING,
        monotonic: Callable[[], float] = time.monotonic,
        log: structlog.typing.FilteringBoundLogger | None = None,
    ) -> None:
        self._seconds = seconds
        self._most_bytes = round(kilobytes * 1024) if seconds > 0 else 0
        self._secrets = secrets
        self._monotonic = monotonic
        self._began = monotonic()
        self._entries: deque[_Entry] = deque()
        self._heads: dict[str, list[_Entry]] = {}
        self._log = log
        self._followers: tuple[_Follower, ...] = ()
        self._known: tuple[tuple[str, ...], _Redactors] = ((), (_BY_NAME, _BY_NAME))
        self._size = 0
        self._lost = 0

    def __repr__(self) -> str:
        return f"<FlightRecorder, {sum(len(entry[3]) for entry in self._entries)} frames, {self._size} bytes>"

    @property
    def lost(self) -> int:
        """How many frames were recorded and are kept no more."""
        return self._lost

    # ------------------------------------------------------------------ recording

    def record(self, direction: FrameDirection, data: FrameData, *, connection: str = "") -> None:
        """Record one frame.

        Args:
            direction: Which way it went.
            data: The frame as it was on the wire, which must not be changed any more.
            connection: Names the connection, where the session has several.
        """
        self.record_many(direction, (data,), connection=connection)

    def record_many(self, direction: FrameDirection, batch: Sequence[FrameData], *, connection: str = "") -> None:
        """Record frames that went together: as `record` for each of them, for less.

        Args:
            direction: Which way they went.
            batch: The frames in order. The sequence is kept and must not be changed any more.
            connection: As for `record`.
        """
        most_bytes = self._most_bytes
        if not most_bytes and not self._followers:
            return
        at = self._monotonic()
        if direction is not FrameDirection.FROM_PBX:
            batch = tuple(_without_secrets(data) for data in batch)
            size = _ENTRY_BYTES + sum(_size_of(data) for data in batch)
        else:
            size = _ENTRY_BYTES
            for data in batch:
                kind = type(data)
                size += len(data) if kind is bytes or kind is str else _size_of(data)  # type: ignore[arg-type]  # mypy follows no kept type
        entry = (at, direction, connection, batch, size)
        if size > most_bytes:
            self._keep_parts(entry)
        else:
            self._entries.append(entry)
            self._size += size
            if self._size > most_bytes or self._entries[0][0] < at - self._seconds:
                self._make_room(at)
        if self._followers:
            self._tell(entry)

    def _keep_parts(self, entry: _Entry) -> None:
        """Keep of what is larger than the ring the frames that are not: one alone must not wash out all others."""
        at, direction, connection, batch, _ = entry
        for data in batch:
            size = _ENTRY_BYTES + _size_of(data)
            if size > self._most_bytes:
                self._lost += 1
            else:
                self._entries.append((at, direction, connection, (data,), size))
                self._size += size
        self._make_room(at)

    def _make_room(self, now: float) -> None:
        entries, oldest = self._entries, now - self._seconds
        while entries and (self._size > self._most_bytes or entries[0][0] < oldest):
            entry = entries.popleft()
            self._size -= entry[4]
            self._lost += len(entry[3])
            self._keep_head(entry)

    def _keep_head(self, entry: _Entry) -> None:
        """Keep what a connection began with, when it leaves the ring."""
        _, direction, connection, _, size = entry
        if direction in (FrameDirection.OPEN, FrameDirection.CLOSE):
            self._lost += sum(len(kept[3]) for kept in self._heads.pop(connection, ()))
        if direction is FrameDirection.OPEN:
            self._heads[connection] = []
        head = self._heads.get(connection)
        if head is None:
            return
        # One gap only: what follows a frame that is left out cannot be understood without it.
        if sum(kept[4] for kept in head) + size > _HEAD_BYTES:
            self._heads[connection] = _Sealed(head)
        elif not isinstance(head, _Sealed):
            head.append(entry)
            self._lost -= len(entry[3])

    # ------------------------------------------------------------------ reading

    def lines(self) -> Iterator[str]:
        """Give the frames that are kept as the lines of a capture, without secrets.

        Returns:
            The lines, oldest first. Which they are is fixed now; each is made when it is asked for, so another thread may read.
        """
        kept = self._kept()
        redactors = self._redactors()
        return (line for entry in kept for line in self._lines_of(entry, redactors))

    def follow(self, told: Callable[[str], object]) -> Callable[[], None]:
        """Be told each frame as it comes, as a line of a capture without secrets.

        Args:
            told: Called with each line, from where the frame is recorded. It must be quick. If it raises, it is told nothing
                more, and the log says so once: who looks on must not end the session.

        Returns:
            Ends it. Calling that once more does nothing.
        """
        follower = _Follower(told)
        self._followers = (*self._followers, follower)
        return lambda: self._leave(follower)

    def _leave(self, follower: _Follower) -> None:
        self._followers = tuple(other for other in self._followers if other is not follower)

    def _kept(self) -> tuple[_Entry, ...]:
        self._make_room(self._monotonic())
        heads = sorted((entry for head in self._heads.values() for entry in head), key=lambda entry: entry[0])
        return (*heads, *self._entries)

    def _tell(self, entry: _Entry) -> None:
        for line in self._lines_of(entry, self._redactors()):
            for follower in self._followers:
                try:
                    follower.told(line)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001  # a host's own code, which is named in the log
                    self._leave(follower)
                    log = self._log or structlog.get_logger("cti_framework")
                    # Its words may hold a frame.
                    log.error("cti.recorder.follower_failed", follower=_name_of(follower.told), error=type(error).__name__)

    def _redactors(self) -> _Redactors:
        secrets = tuple(secret for secret in self._secrets() if len(secret) >= _SHORTEST_KNOWN)
        if secrets != self._known[0]:
            words = [secret for secret in secrets if not secret.isdecimal()]
            numbers = [secret for secret in secrets if secret.isdecimal()]
            redactor = _make_redactor(words)
            self._known = (secrets, (redactor, _make_redactor(words, numbers) if numbers else redactor))
        return self._known[1]

    def _lines_of(self, entry: _Entry, redactors: _Redactors) -> Iterator[str]:
        at, direction, connection, frames, _ = entry
        redactor = redactors[direction is FrameDirection.TO_PBX]
        began: dict[str, Any] = {"t": max(0, round((at - self._began) * 1000)), "dir": direction.value}
        if connection:
            began["conn"] = connection
        for data in frames:
            yield _json({**began, "frame": redactor.redact(_decoded(direction, data))})


class _Follower:
    """Who follows; the same function may follow twice."""

    __slots__ = ("told",)

    def __init__(self, told: Callable[[str], object]) -> None:
        self.told = told


_Redactors: TypeAlias = tuple[SecretRedactor, SecretRedactor]
"""For all frames but ours, and for ours."""


class _Sealed(list[_Entry]):
    """The beginning of a connection, to which nothing is added any more."""


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _size_of(data: FrameData) -> int:
    if isinstance(data, str | bytes | bytearray):
        return len(data)
    # A mapping with all that is in it, each once.
    size = 0
    waiting: list[Any] = [data]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        if isinstance(one, Mapping):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
    return size


def _without_secrets(data: FrameData) -> FrameData:
    shown: FrameData = _BY_NAME.redact(data)
    if shown is data or not isinstance(data, str | bytes | bytearray):
        return shown
    # In a text the end of a secret is guessed, and what is behind it may suffer; in an object it is certain.
    decoded = _decoded(FrameDirection.TO_PBX, data)
    if isinstance(decoded, dict):
        shown = _BY_NAME.redact(decoded)
    return shown


def _decoded(direction: FrameDirection, data: FrameData) -> Any:
    if direction in (FrameDirection.OPEN, FrameDirection.CLOSE) or data is None or isinstance(data, Mapping):
        return data.decode("utf-8", "backslashreplace") if isinstance(data, bytes | bytearray) else data
    try:
        return read_json(data)
    except ValueError:
        # What is no JSON stands in a capture as a text.
        return data.decode("utf-8", "backslashreplace") if isinstance(data, bytes | bytearray) else data


def _json(value: Any) -> str:
    # Loaded with the first frame that is read: importing the core stays light.
    import orjson

    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # A provider's own mapping may hold what is no JSON, and half a character.
        return json.dumps(value, separators=(",", ":"), default=str)
