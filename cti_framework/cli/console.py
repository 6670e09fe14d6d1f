"""Where the commands write: lines for people, or lines of JSON; nothing else writes to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich.console import Console, RenderableType, ScreenContext
from rich.control import Control
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from cti_framework.cli.words import printable
from cti_framework.errors import CtiError, SettingsError
from cti_framework.plain import error_as_plain, json_line

__all__ = ["Column", "Output", "OutputClosed", "Screen"]

Column = tuple[str, str, int]
"""A cell of a line: its text, its style, the width it is filled up to."""

_GAP: Final = "  "
_NARROWEST: Final = 20
_ENDLESS: Final = 10_000
_BAR_WIDTH: Final = 16
_IN_ASCII: Final = str.maketrans({"→": ">", "…": "...", "─": "-"})


class OutputClosed(Exception):
    """Nobody reads what is written any more."""


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        raise OutputClosed from None


class Screen:
    """The whole terminal, drawn anew as often as wanted. Made by ``Output.screen``.

    Args:
        console: The terminal.
        context: What draws on it.
    """

    def __init__(self, console: Console, context: ScreenContext) -> None:
        self._console = console
        self._context = context

    @property
    def ascii_only(self) -> bool:
        """Whether it has no characters but those of ASCII."""
        try:
            "─█".encode(self._console.encoding)
        except UnicodeEncodeError:
            return True
        return False

    def ring(self) -> None:
        """Have the terminal ring its bell, or show that it would."""
        self._console.bell()

    def draw(self, make: Callable[[int, int], RenderableType]) -> None:
        """Draw it.

        Args:
            make: Given how many characters a line has, and how many lines there are; gives what to draw.

        Raises:
            OutputClosed: Nobody reads any more.
        """
        width, height = self._console.size
        self._console.control(Control.home())
        self._context.update(make(width, height))


class Output:
    """Writes results to the standard output and errors to the standard error.

    Args:
        colour: Whether colours may be used where the terminal has them.

    Attributes:
        as_json: Whether the command was asked for JSON.
        verbose: Whether tracebacks are shown.
        colour_on_stderr: Whether the log may use colours.
        redact: Takes secrets out of errors; who knows some sets it.
    """

    def __init__(self, *, colour: bool = True) -> None:
        self.as_json = False
        self.verbose = False
        self.redact: Callable[[Any], Any] = lambda value: value
        self.colour_on_stderr = colour and sys.stderr.isatty()
        # `None` leaves it to NO_COLOR.
        no_color = None if colour else True
        # As it is now: what a plugin prints is redirected, results are not.
        self._stdout = sys.stdout
        self._out = _Terminal(file=sys.stdout, no_color=no_color, highlight=False, emoji=False, markup=False)
        if not self._out.is_terminal:
            # A file or a pipe has no width: nothing is to be broken for it.
            self._out.width = _ENDLESS
        self._err = _Terminal(file=sys.stderr, no_color=no_color, highlight=False, emoji=False, markup=False)

    def json(self, value: Any) -> None:
        """Write one line of JSON.

        Args:
            value: Plain data.

        Raises:
            OutputClosed: Nobody reads any more.
        """
        self._write(self._stdout, value)

    def line(self, *columns: Column | str) -> None:
        """Write one line for people. On a terminal that is too narrow the last column goes on below itself.

        Args:
            columns: The cells; a text alone is an unstyled cell.

        Raises:
            OutputClosed: Nobody reads any more.
        """
        cells = [column if isinstance(column, tuple) else (column, "", 0) for column in columns]
        text = Text()
        for content, style, width in cells[:-1]:
            text.append(self._drawable(content).ljust(width), style=style)
            text.append(_GAP)
        content, style, _ = cells[-1]
        for part in self._broken(self._drawable(content), len(text)):
            text.append(part, style=style)
        text.rstrip()
        self._print(self._out, text)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Column | str]]) -> None:
        """Write a table for people.

        Args:
            headings: Of the columns.
            rows: The cells of each row.

        Raises:
            OutputClosed: Nobody reads any more.
        """
        table = Table(*headings, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for row in rows:
            cells = [cell if isinstance(cell, tuple) else (cell, "", 0) for cell in row]
            table.add_row(*(Text(self._drawable(content), style=style, overflow="fold") for content, style, _ in cells))
        self._out.print(table)

    def note(self, text: str) -> None:
        """Write a remark beside the results, to the standard error.

        Args:
            text: The remark.
        """
        self._print(self._err, Text(self._drawable(text), style="dim"))

    def error(self, error: CtiError) -> None:
        """Write what went wrong and what to do, to the standard error.

        Args:
            error: The error.
        """
        if self.as_json:
            self._write(sys.stderr, self.redact(error_as_plain(error)))
            return
        self._print(self._err, Text.assemble(("cti: ", "bold red"), self._drawable(self.redact(error.message))))
        for problem in error.problems if isinstance(error, SettingsError) else ():
            self._print(self._err, Text(f"  - {self._drawable(self.redact(problem))}"))
        if error.remedy:
            self._print(self._err, Text.assemble(("     ", ""), (self._drawable(self.redact(error.remedy)), "cyan")))

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int | None], None]]:
        """Show on the standard error how far a transfer has come, for as long as the block lasts; on a terminal only.

        Args:
            what: What is transferred.

        Yields:
            What is told how many bytes are there, and of how many; ``None``: nobody knows.
        """
        if self.as_json or not self._err.is_terminal:
            yield lambda received_bytes, total_bytes: None
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR_WIDTH),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(self._drawable(what), total=None)
            yield lambda received_bytes, total_bytes: bar.update(task, completed=received_bytes, total=total_bytes)

    @contextmanager
    def screen(self) -> Iterator[Screen]:
        """Take the whole terminal for as long as the block lasts. What was on it is there again afterwards.

        Yields:
            What draws on it.
        """
        with self._out.screen() as context:
            yield Screen(self._out, context)

    @property
    def has_screen(self) -> bool:
        """Whether the standard output is a terminal that can be drawn on."""
        return self._out.is_terminal and not self._out.is_dumb_terminal

    @property
    def width(self) -> int | None:
        """How many characters a line of the terminal has; ``None``: it is no terminal, and lines may be long."""
        return self._out.width if self._out.is_terminal else None

    def _broken(self, content: str, indent: int) -> Iterable[str]:
        """Break the last cell where the terminal ends, and indent what goes on."""
        room = (self.width or 0) - indent
        if room < _NARROWEST:
            yield content
            return
        line = ""
        for word in content.split(" "):
            if line and len(line) + 1 + len(word) > room:
                yield line + "\n" + " " * indent
                line = word
            else:
                line = f"{line} {word}" if line else word
        yield line

    def _drawable(self, text: str) -> str:
        text = printable(text)
        encoding = self._out.encoding
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
        return text

    def _print(self, console: Console, text: Text) -> None:
        console.print(text, soft_wrap=True)
        console.file.flush()

    def _write(self, stream: TextIO, value: Any) -> None:
        line = json_line(value)
        try:
            try:
                line.encode(stream.encoding or "utf-8")
            except UnicodeEncodeError:
                line = json_line(value, ascii_only=True)
            stream.write(line + "\n")
            stream.flush()
        except BrokenPipeError:
            raise OutputClosed from None
