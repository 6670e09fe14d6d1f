"""``cti replay``: what a provider's protocol makes of captured frames, out of a capture or a support bundle."""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, provider_option
from cti_framework.cli.session import style_of
from cti_framework.cli.words import event_in_words
from cti_framework.errors import CtiError, NetworkError
from cti_framework.events import Event, ProviderState
from cti_framework.line import Line
from cti_framework.plain import as_plain, event_as_plain
from cti_framework.provider import BaseCtiProvider, ReplayLine
from cti_framework.reports import Report, Snapshot, Started
from cti_framework.support_bundle import DIAGNOSIS, FRAMES

__all__ = ["replay"]

_EPILOG: Final = """\b
Examples:
  cti replay 03-out-call.frames.jsonl
  cti replay 03-out-call.frames.jsonl --callbacks
  cti replay support.zip --json
"""

_ZIP: Final = b"PK"
_DAMAGED: Final = (ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
"""What Python raises for archives that are cut, damaged, encrypted, or compressed in a way that it does not know."""
_OVER: Final = "The connection was over here."


class _CaptureFile(click.File):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except RuntimeError:
            self.fail("the standard input is closed.", param, ctx)


@click.command(short_help="Feed captured frames to a protocol.", epilog=_EPILOG)
@click.argument("file", type=_CaptureFile("rb"), metavar="FILE")
@provider_option
@click.option(
    "--callbacks",
    is_flag=True,
    help="Tell what the PBX's own client library would call: one JSON object a line, with cb and, if it hands one over, payload.",
)
@json_option
@pass_invocation
def replay(invocation: Invocation, file: io.BufferedReader, provider: str | None, callbacks: bool) -> int:
    """Feed captured frames to a provider's protocol and print what it makes of them.

    Each line tells when, what the PBX's own client library would call it, and the events that a host would be told. FILE is a
    support bundle, or one frame a line, as captured; - reads the standard input. A bundle names its provider itself.
    """
    try:
        capture = _read(file)
        chosen = provider or capture.provider or invocation.provider_with("replay")
        provider_class, replay_lines = invocation.tool_of(chosen, "replay")
        output = invocation.output
        session = _Session(provider_class)
        lines: Iterable[ReplayLine] = replay_lines(capture.lines)
        for line in lines:
            if callbacks:
                _tell_callback(output, line)
            elif output.as_json:
                output.json(_plain(line, session.events(line)))
            else:
                _tell(output, line, session.events(line))
        if capture.is_bundle and not session.lines:
            output.note("The bundle holds no frames: the provider has no wire, or was never connected.")
    except (ValueError, OverflowError) as error:
        # What a provider makes of a line that is none, or of a time that no calendar knows.
        if isinstance(error, CtiError):
            raise
        raise _not_replayed(file.name, error) from error
    return 0


@attrs.frozen
class _Capture:
    """What is to be replayed.

    Attributes:
        lines: The frames.
        provider: The plugin that a bundle names.
        is_bundle: Whether it is one.
    """

    lines: Iterable[str]
    provider: str | None = None
    is_bundle: bool = False


def _read(file: io.BufferedReader) -> _Capture:
    with _reading(file.name):
        if not file.peek(len(_ZIP)).startswith(_ZIP):
            return _Capture(_lines(file.name, file))
        # A zip is read from its end, and a pipe has none.
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
        names = archive.namelist()
        if FRAMES not in names or DIAGNOSIS not in names:
            raise ValueError("it is no support bundle")
        if archive.testzip() is not None:
            raise ValueError("what it holds is damaged")
        diagnosis = json.loads(archive.read(DIAGNOSIS))
        provider = diagnosis.get("provider") if isinstance(diagnosis, dict) else None
        lines = _lines(file.name, archive.open(FRAMES))
        return _Capture(lines, provider if isinstance(provider, str) else None, is_bundle=True)


def _lines(name: str, file: Iterable[bytes]) -> Iterator[str]:
    # What fails while a line is used is raised elsewhere: here comes only what fails while it is read.
    with _reading(name):
        for line in file:
            yield line.decode()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise _not_replayed(name, error) from error


def _not_replayed(name: str, error: Exception) -> CtiError:
    return CtiError(
        f"{name} cannot be replayed: {str(error) or type(error).__name__}.",
        step="replay",
        remedy="It must be a support bundle, or one JSON object a line, as frames were captured.",
    )


class _Session:
    """A session without a connection: the line alone, fed with what the provider reports, and with what the core says.

    Args:
        provider_class: The provider; the session can do what it can at most.

    Attributes:
        lines: How many lines of the replay it was given.
    """

    def __init__(self, provider_class: type[BaseCtiProvider]) -> None:
        self.lines = 0
        self._capabilities = provider_class.capabilities
        self._line = Line("replay")
        self._began_at: datetime | None = None
        self._asked_at_seq: int | None = None
        self._asked_at: datetime | None = None

    def events(self, line: ReplayLine) -> list[Event]:
        """Tell the events that a line of the replay leads to.

        Args:
            line: The line.

        Returns:
            They, in order.
        """
        self.lines += 1
        told: list[Event] = []
        if line.disconnected and self._is_in_service:
            told += self._line.connection_changed(ProviderState.RECONNECTING, self._time_of(line), error=NetworkError(_OVER))
        if line.asks_snapshot:
            self._asked_at_seq, self._asked_at = self._line.seq, self._time_of(line)
        for report in line.reports:
            if self._began_at is None:
                self._began_at = report.at - timedelta(seconds=line.at_seconds)
            if not isinstance(report, Started) and not self._is_in_service:
                # The capture began later than the session, or its protocol tells of no log in. Made up, so not told.
                features, agent_features = self._capabilities.calls, self._capabilities.agent
                self._line.apply(Started(at=report.at, features=features, agent_features=agent_features))
            elif isinstance(report, Started) and not self._line.seq:
                # From the first moment on, as a session begins: what may be begun is told when the calls are known.
                self._line = Line("replay", waits_for_calls=True)
            told += self._applied(report)
        return told

    @property
    def _is_in_service(self) -> bool:
        return self._line.provider_state is ProviderState.IN_SERVICE

    def _applied(self, report: Report) -> list[Event]:
        if isinstance(report, Snapshot) and report.complete and self._asked_at_seq is not None:
            asked_at_seq, self._asked_at_seq = self._asked_at_seq, None
            return self._line.apply_snapshot(report, asked_at_seq=asked_at_seq, asked_at=self._asked_at)
        return self._line.apply(report)

    def _time_of(self, line: ReplayLine) -> datetime:
        began_at = self._began_at or datetime.now(UTC)
        return began_at + timedelta(seconds=line.at_seconds)


def _tell_callback(output: Output, line: ReplayLine) -> None:
    if line.callback is not None:
        payload = {"payload": line.payload} if line.has_payload else {}
        output.json({"cb": line.callback, **payload})


def _tell(output: Output, line: ReplayLine, events: list[Event]) -> None:
    when = (f"{line.at_seconds * 1000:8.0f} ms", "dim", 0)
    name = (line.text or line.callback or "", "bold", _NAME_WIDTH)
    if not events:
        output.line(when, name)
    for event in events:
        output.line(when, name, (type(event).__name__, style_of(event), _EVENT_WIDTH), event_in_words(event))
        when, name = (_NOTHING * len(when[0]), "", 0), ("", "", _NAME_WIDTH)


_NAME_WIDTH: Final = 20
_EVENT_WIDTH: Final = 20
_NOTHING: Final = " "


def _plain(line: ReplayLine, events: list[Event]) -> dict[str, Any]:
    payload = {"payload": line.payload} if line.has_payload else {}
    return {
        "at_ms": round(line.at_seconds * 1000, 1),
        "callback": line.callback,
        **payload,
        "reports": [{"report": type(report).__name__, **as_plain(report)} for report in line.reports],
        "events": [event_as_plain(event) for event in events],
        "text": line.text,
    }
