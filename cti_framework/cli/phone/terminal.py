"""Keys from a terminal, lines from anywhere else, and a screen that leaves the terminal as it was."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import anyio
import anyio.lowlevel

from cti_framework.cli.phone.hand import (
    BACKSPACE,
    DOWN,
    ENTER,
    ESCAPE,
    UP,
    Pasted,
    Pressed,
)
from cti_framework.threads import call_in_thread

if sys.platform != "win32":
    import termios

__all__ = ["KeyReader", "Keys", "Lines", "has_keys", "keys_one_by_one", "stderr_kept"]

_CHUNK_BYTES: Final = 4_096
_KEPT_STDERR_BYTES: Final = 20_000
_PASTE_BEGINS: Final = "\x1b[200~"
_PASTE_ENDS: Final = "\x1b[201~"
_NAMED: Final = {"\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "\x1b": ESCAPE}
_SEQUENCES: Final = {"A": UP, "B": DOWN}
_BRACKETS_PASTES: Final = b"\x1b[?2004h"
_BRACKETS_NO_PASTES: Final = b"\x1b[?2004l"
_LEAVES_SCREEN: Final = b"\x1b[?1049l\x1b[?25h"


def has_keys(stream: IO[Any]) -> bool:
    """Tell whether keys can be read one by one.

    Args:
        stream: Where they would come from.

    Returns:
        Whether it is a terminal of a system that can do that.
    """
    return sys.platform != "win32" and stream.isatty()


class KeyReader:
    """Makes keys of what a terminal sends, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pasted: str | None = None

    def feed(self, data: bytes) -> list[Pressed]:
        """Take what came.

        Args:
            data: It.

        Returns:
            The keys that were pressed. Those that mean nothing to the phone are left out.
        """
        text = self._decoder.decode(data)
        keys: list[Pressed] = []
        while text:
            if self._pasted is not None:
                before, ends, text = text.partition(_PASTE_ENDS)
                self._pasted += before
                if ends:
                    keys.append(Pasted(self._pasted))
                    self._pasted = None
            elif text.startswith(_PASTE_BEGINS):
                text = text.removeprefix(_PASTE_BEGINS)
                self._pasted = ""
            elif text[0] == "\x1b" and text[1:2] in ("[", "O"):
                text = self._sequence(text, keys)
            else:
                key = _NAMED.get(text[0], text[0])
                text = text[1:]
                if len(key) > 1 or key.isprintable():
                    keys.append(key)
        return keys

    @staticmethod
    def _sequence(text: str, keys: list[Pressed]) -> str:
        """Take a key that has no character of its own; give what comes after it."""
        end = 2
        # ECMA-48 5.4: parameters, then one letter or the like that ends it.
        while end < len(text) and not "@" <= text[end] <= "~":
            end += 1
        if text[end : end + 1] in _SEQUENCES:
            keys.append(_SEQUENCES[text[end]])
        return text[end + 1 :]


async def _chunk(descriptor: int) -> bytes:
    """Wait for what comes next; nothing: there is no more."""
    if sys.platform == "win32":
        # There only sockets can be waited for.
        return await call_in_thread("cti-phone-keys", os.read, descriptor, _CHUNK_BYTES)
    while True:
        try:
            await anyio.wait_readable(descriptor)
        except (OSError, ValueError):
            # A file on the disk cannot be waited for; it never makes anybody wait either.
            await anyio.lowlevel.checkpoint()
        try:
            return os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            # The terminal is gone.
            return b""


class Keys:
    """Keys as they are pressed: an asynchronous iterator, until the terminal is gone.

    Args:
        descriptor: Of a terminal that gives them one by one.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader = KeyReader()
        self._read: deque[Pressed] = deque()

    def __aiter__(self) -> Keys:
        return self

    async def __anext__(self) -> Pressed:
        while not self._read:
            chunk = await _chunk(self._descriptor)
            if not chunk:
                raise StopAsyncIteration
            self._read.extend(self._reader.feed(chunk))
        return self._read.popleft()


class Lines:
    """Lines as they come, without their ends: an asynchronous iterator, also of a last one that has none.

    Args:
        descriptor: Of a pipe, a file or a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read: deque[str] = deque()
        self._waiting = ""
        self._is_over = False

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        while not self._read:
            if self._is_over:
                raise StopAsyncIteration
            chunk = await _chunk(self._descriptor)
            *lines, self._waiting = (self._waiting + self._decoder.decode(chunk)).split("\n")
            self._read.extend(lines)
            if not chunk:
                self._is_over = True
                self._read.extend([self._waiting] if self._waiting else [])
        return self._read.popleft()


@contextmanager
def keys_one_by_one(descriptor: int, shown_on: int) -> Iterator[Callable[[], None]]:
    """Have a terminal give each key when it is pressed, unseen, for as long as the block lasts.

    Ctrl-C stays what it is. Ctrl-Z and Ctrl-S mean nothing: a phone that stands still is a call without sound.

    Args:
        descriptor: What its keys come from.
        shown_on: What is written to, to be seen on it.

    Yields:
        What makes the terminal as it was, the screen too, for whoever ends the process on the spot.
    """
    before = termios.tcgetattr(descriptor)
    now = termios.tcgetattr(descriptor)
    now[0] &= ~termios.IXON
    now[3] &= ~(termios.ICANON | termios.ECHO)
    nothing = os.fpathconf(descriptor, "PC_VDISABLE")
    for index in (termios.VSUSP, termios.VQUIT):
        now[6][index] = bytes([nothing])
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0

    def give_back() -> None:
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)

    def leave_at_once() -> None:
        with contextlib.suppress(OSError):
            os.write(shown_on, _BRACKETS_NO_PASTES + _LEAVES_SCREEN)
        give_back()

    termios.tcsetattr(descriptor, termios.TCSANOW, now)
    try:
        with contextlib.suppress(OSError):
            os.write(shown_on, _BRACKETS_PASTES)
        yield leave_at_once
    finally:
        with contextlib.suppress(OSError):
            os.write(shown_on, _BRACKETS_NO_PASTES)
        give_back()


@contextmanager
def stderr_kept() -> Iterator[None]:
    """Keep what is written to the standard error until the screen is gone, where both are the same terminal.

    The sound libraries below PortAudio write there by themselves, past Python.
    """
    if not sys.stderr.isatty():
        yield
        return
    try:
        descriptor = sys.stderr.fileno()
        terminal = os.dup(descriptor)
    except (OSError, ValueError):
        yield
        return
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        os.dup2(kept.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, descriptor)
            os.close(terminal)
            size = kept.seek(0, os.SEEK_END)
            kept.seek(max(size - _KEPT_STDERR_BYTES, 0))
            sys.stderr.write(kept.read().decode("utf-8", "backslashreplace"))
            sys.stderr.flush()
