"""``cti replay``: what a provider's protocol makes of captured frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TextIO

import click

from cti_framework.cli.console import Output
from cti_framework.cli.invocation import Invocation, json_option, pass_invocation, provider_option
from cti_framework.cli.plain import as_plain, event_as_plain
from cti_framework.cli.session import style_of
from cti_framework.cli.words import event_in_words
from cti_framework.errors import CtiError
from cti_framework.events import Event
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider, ReplayLine
from cti_framework.reports import Started

__all__ = ["replay"]

_EPILOG: Final = """\b
Examples:
  cti replay 03-out-call.frames.jsonl
  cti replay 03-out-call.frames.jsonl --callbacks
"""


@click.command(short_help="Feed captured frames to a protocol.", epilog=_EPILOG)
@click.argument("file", type=click.File("r", encoding="utf-8"), metavar="FILE.frames.jsonl")
@provider_option
@click.option(
    "--callbacks",
    is_flag=True,
    help="Tell what the PBX's own client library would call: one JSON object a line, with cb and, if it hands one over, payload.",
)
@json_option
@pass_invocation
def replay(invocation: Invocation, file: TextIO, provider: str | None, callbacks: bool) -> int:
    """Feed captured frames to a provider's protocol and print what it makes of them.

    Each line tells when, what the PBX's own client library would call it, and the events that a host would be told. FILE is one
    frame a line, as captured; - reads the standard input.
    """
    provider_class, replay_lines = invocation.tool_of(provider or invocation.provider_with("replay"), "replay")
    output = invocation.output
    session = _Session(provider_class)
    try:
        lines: Iterable[ReplayLine] = replay_lines(file)
        for line in lines:
            if callbacks:
                _tell_callback(output, line)
            elif output.as_json:
                output.json(_plain(line, session.events(line)))
            else:
                _tell(output, line, session.events(line))
    except ValueError as error:
        if isinstance(error, CtiError):
            raise
        raise CtiError(
            f"{file.name} cannot be replayed: {error}.",
            step="replay",
            remedy="It must be one JSON object a line, as frames were captured.",
        ) from error
    return 0


class _Session:
    """A session without a connection: the line alone, fed with what the provider reports.

    Args:
        provider_class: The provider; the session can do what it can at most.
    """

    def __init__(self, provider_class: type[BaseCtiProvider]) -> None:
        self._capabilities = provider_class.capabilities
        self._line = Line("replay")
        self._is_started = False

    def events(self, line: ReplayLine) -> list[Event]:
        """Tell the events that a line of the replay leads to.

        Args:
            line: The line.

        Returns:
            They, in order.
        """
        told: list[Event] = []
        for report in line.reports:
            if not self._is_started:
                self._is_started = True
                if not isinstance(report, Started):
                    features, agent_features = self._capabilities.calls, self._capabilities.agent
                    self._line.apply(Started(at=report.at, features=features, agent_features=agent_features))
            told.extend(self._line.apply(report))
        return told


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
