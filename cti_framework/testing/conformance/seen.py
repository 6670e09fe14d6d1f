"""What a test saw: what was done, reported, told and logged, in order. A test that fails shows it."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime
from typing import Any, Final, TextIO

import anyio
import attrs
import structlog.testing

from cti_framework.calls import Call
from cti_framework.errors import CtiError
from cti_framework.eventlog import Subscription
from cti_framework.events import Event
from cti_framework.reports import Report

__all__ = ["Logs", "Run", "Seen", "Told"]

_SHOWN: Final = 40
_SHOWN_CHARACTERS: Final = 180


@attrs.frozen
class Told:
    """A report of the provider.

    Attributes:
        report: It.
        run: In which ``run()`` it came, from 1; 0: none was running.
        in_loop: Whether it came in the event loop's own thread.
    """

    report: Report
    run: int
    in_loop: bool = True


@attrs.define(eq=False)
class Run:
    """One call of ``run()``.

    Attributes:
        number: From 1.
        is_over: Whether it has ended.
        error: What it ended with; ``None``: nothing.
        fault: That, where it is a fault of the plugin: no error of the framework's own, and no cancellation.
    """

    number: int
    is_over: bool = False
    error: BaseException | None = None
    fault: BaseException | None = None


class Seen:
    """What a test saw.

    Args:
        logs: What is logged meanwhile.

    Attributes:
        logs: As given.
        told: The reports, in order.
        events: The events of the session, in order.
        runs: The calls of ``run()``.
        marks: How often a command was said to leave.
        unmarked: The verbs that returned and never said so.
        traced: What was told to whoever watches the messages.
    """

    def __init__(self, logs: Logs) -> None:
        self.logs = logs
        self.told: list[Told] = []
        self.events: list[Event] = []
        self.runs: list[Run] = []
        self.marks = 0
        self.unmarked: list[str] = []
        self.traced: list[str] = []
        self._thread = threading.get_ident()
        self._lines: list[tuple[float, str, str]] = []
        self._began = time.monotonic()
        self._subscription: Subscription | None = None
        self._changed = anyio.Event()

    # ------------------------------------------------------------------ what is written down

    def note(self, who: str, what: str) -> None:
        """Write something down.

        Args:
            who: Who did it: ``far side``, ``verb``, ``report``, ``event``, ``run``.
            what: What, in one line.
        """
        self._lines.append((time.monotonic() - self._began, who, what))
        self._change()

    def report(self, report: Report) -> None:
        """Write a report down.

        Args:
            report: It.
        """
        running = next((run.number for run in reversed(self.runs) if not run.is_over), 0)
        self.told.append(Told(report, running, threading.get_ident() == self._thread))
        self.note("report", _short(report))

    def read(self, subscription: Subscription) -> None:
        """Read the events of a session from now on.

        Args:
            subscription: A reader of its own.
        """
        self._subscription = subscription

    def catch_up(self) -> None:
        """Write down the events that have been told since."""
        while self._subscription is not None and (event := self._subscription.next_nowait()) is not None:
            self.events.append(event)
            self.note("event", _short(event))

    async def follow(self, subscription: Subscription) -> None:
        """Catch up whenever something is told, until the session is over.

        Args:
            subscription: Another reader of the session: it only wakes.
        """
        async for _ in subscription:
            self.catch_up()
        self.catch_up()

    async def change(self) -> None:
        """Wait until something more was written down."""
        await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # ------------------------------------------------------------------ what is asked of it

    def reports_of(self, *kinds: type[Report]) -> list[Any]:
        """Give the reports of some classes.

        Args:
            kinds: Which; none: all.

        Returns:
            They, in order.
        """
        return [told.report for told in self.told if not kinds or isinstance(told.report, kinds)]

    @property
    def astray(self) -> tuple[str, ...]:
        """The names of the reports that came from another thread than the event loop's."""
        return tuple(sorted({type(told.report).__name__ for told in self.told if not told.in_loop}))

    def story(self) -> str:
        """Tell what was seen, the latest last.

        Returns:
            One line each, indented.
        """
        lines = [f"    {at:8.3f} s  {who:<9}  {what}" for at, who, what in self._lines[-_SHOWN:]]
        if len(self._lines) > _SHOWN:
            lines.insert(0, f"    ({len(self._lines) - _SHOWN} lines before)")
        return "\n".join(lines) or "    nothing"


class Logs:
    """What was logged.

    Attributes:
        entries: By structlog, one mapping an entry.
        texts: By ``logging``.
        printed: On the standard output and the standard error.
    """

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.texts: list[str] = []
        self.printed: list[str] = []

    @contextmanager
    def written_down(self, packages: Collection[str]) -> Iterator[Logs]:
        """Write down what is logged, for as long as the block lasts.

        Args:
            packages: The provider's own: of what they log everything counts, of what others log only what is not for debugging.

        Yields:
            Itself.
        """
        handler = _Handler(self.texts, packages)
        root = logging.getLogger()
        wanted = {root: logging.INFO, **{logging.getLogger(name): logging.DEBUG for name in packages}}
        levels = {logger: logger.level for logger in wanted}
        root.addHandler(handler)
        for logger, level in wanted.items():
            logger.setLevel(level)
        try:
            with (
                structlog.testing.capture_logs() as self.entries,
                redirect_stdout(_Printed(sys.stdout, self.printed)),
                redirect_stderr(_Printed(sys.stderr, self.printed)),
            ):
                yield self
        finally:
            root.removeHandler(handler)
            for logger, level in levels.items():
                logger.setLevel(level)


class _Printed(io.TextIOBase):
    """Takes what is printed, and hands it on."""

    def __init__(self, stream: TextIO, texts: list[str]) -> None:
        self._stream = stream
        self._texts = texts

    def write(self, text: str) -> int:
        self._texts.append(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


class _Handler(logging.Handler):
    def __init__(self, texts: list[str], packages: Collection[str]) -> None:
        super().__init__()
        self._texts = texts
        self._packages = packages

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.INFO or record.name.partition(".")[0] in self._packages:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += "\n" + "".join(traceback.format_exception(record.exc_info[1]))
            self._texts.append(text)


def _short(told: Report | Event) -> str:
    """One line: the class, the call and its state, and whatever is not as it is by default."""
    parts = [type(told).__name__]
    for field in attrs.fields(type(told)):
        value = getattr(told, field.name)
        if field.name in ("epoch", "at", "raw", "since") or (value == field.default and field.default is not attrs.NOTHING):
            continue
        if isinstance(value, Call):
            parts.append(_short_call(value))
        elif field.name == "calls" and isinstance(value, tuple):
            parts.append("calls=[" + "; ".join(_short_call(call) for call in value) + "]")
        elif field.name == "seq":
            parts.insert(0, f"#{value}")
        elif isinstance(value, CtiError):
            parts.append(f"{type(value).__name__}: {value.message}")
        else:
            parts.append(f"{field.name}={_plain(value)}")
    text = " ".join(parts)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _short_call(call: Any) -> str:
    if not isinstance(call, Call):
        return f"{getattr(call, 'call_id', '?')} {getattr(getattr(call, 'state', None), 'name', '?')}"
    held = f" by {'+'.join(sorted(side.value for side in call.held_by))}" if call.held_by else ""
    return f"{call.id} {call.direction.name} {call.state.name}{held} {call.other.number or '(no number)'}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return value.name if hasattr(value, "name") and hasattr(value, "value") else repr(value)
