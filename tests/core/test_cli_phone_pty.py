"""``cti phone`` on a terminal, as a process: keys in, a screen out, and the terminal as it was before."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("aiortc", reason="the extra 'media' is not installed")
if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

import fcntl
import pty
import struct
import termios

from tests.core.test_cli import ROOT

_START = (
    "import sys; from cti_framework.cli import main; from tests.core.sounding import sounding_plugins as p; "
    "sys.exit(main(sys.argv[1:], plugins=p()))"
)
_EACH_SIGNAL_IS_NEW = "import cti_framework.cli.running as r; r._SAME_WITHIN_SECONDS = 0; "
_SILENT = ("--source", "tone:440", "--sink", "none")
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|[()][A-Z0-9])")
_WAIT_SECONDS = 20.0
_HEIGHT = 24


class Terminal:
    """The operator in front of a terminal with a phone on it.

    Args:
        process: The phone.
        operator: The operator's end of the terminal.
        program: The phone's end.
    """

    def __init__(self, process: subprocess.Popen[bytes], operator: int, program: int) -> None:
        self.process = process
        self.operator = operator
        self.program = program
        self.shown = b""

    def press(self, keys: str) -> None:
        os.write(self.operator, keys.encode())

    def see(self, *texts: str) -> None:
        """Wait until one screen shows all of them, and none from before now."""
        self.shown = b""
        self._read_until(lambda screen: all(text in screen for text in texts), texts)

    def see_no(self, text: str) -> None:
        """Wait until a screen does not show that."""
        self.shown = b""
        self._read_until(lambda screen: "─" in screen and text not in screen, (f"not {text}",))

    def _read_until(self, fits: Callable[[str], bool], wanted: object) -> None:
        until = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < until:
            self._read(until)
            # Each screen begins at the top left corner, and only whole ones are looked at.
            for screen in self.shown.decode("utf-8", "replace").split("\x1b[H")[1:]:
                if screen.count("\n") == _HEIGHT - 1 and fits(_ESCAPES.sub("", screen)):
                    return
        raise AssertionError(f"{wanted} was not shown: {self.shown.decode('utf-8', 'replace')}")

    def _read(self, until: float) -> None:
        ready, _, _ = select.select([self.operator], [], [], max(until - time.monotonic(), 0))
        if ready:
            self.shown += os.read(self.operator, 65_536)

    def see_line(self, text: str) -> None:
        """Wait until that is printed."""
        until = time.monotonic() + _WAIT_SECONDS
        while text.encode() not in self.shown:
            assert time.monotonic() < until, f"{text} was not printed: {self.shown!r}"
            self._read(until)

    def end(self) -> int:
        """Wait for the phone's end; give its exit code."""
        until = time.monotonic() + _WAIT_SECONDS
        # It cannot end while nobody reads what it writes.
        while self.process.poll() is None and time.monotonic() < until:
            self._read(time.monotonic() + 0.05)
        self._read(time.monotonic() + 0.05)
        return self.process.wait(1)

    @property
    def mode(self) -> list[object]:
        return termios.tcgetattr(self.program)


@contextmanager
def a_phone(*arguments: str, does: str = "", first: str = "", term: str = "xterm-256color") -> Iterator[Terminal]:
    operator, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, 80, 0, 0))
    command = [
        *(sys.executable, "-X", "utf8", "-c", first + _START),
        *("--set", "cti.provider=sounding", "--set", "media.host_addresses=127.0.0.1"),
        *(("--set", f"sounding.does={does}") if does else ()),
        *("--set", "media.quality_interval_seconds=0.2"),
        *("phone", *arguments),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CTI_")}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**environ, "TERM": term},
        stdin=program,
        stdout=program,
        stderr=program,
        start_new_session=True,
        # The terminal is the phone's own: ^C reaches it.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        terminal = Terminal(process, operator, program)
        try:
            yield terminal
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(operator)
            os.close(program)


LEFT = b"\x1b[?1049l"
CURSOR = b"\x1b[?25h"


def test_a_call_by_keys() -> None:
    with a_phone(*_SILENT) as phone:
        before = phone.mode
        phone.see("cti phone  103 at sounding  ● in service", "No call.", "0-9  dial")
        assert phone.mode != before
        phone.press("50")
        phone.see("Call: 50▏")
        phone.press("\x7f\r")
        phone.see("to 5", "talking", "quality: good", "you ████", "they ████")
        phone.press("12")
        phone.see("pressed 12")
        phone.press("m")
        phone.see("you muted", "m  unmute")
        phone.press("m")
        phone.see("you ████")
        phone.press("H")
        phone.see("held  0:0", "they on hold", "H  take back")
        phone.press("H")
        phone.see("talking", "they ████")
        phone.press("q")
        phone.see("A call is up: q once more hangs up and leaves.")
        phone.press("h")
        phone.see("No call.", "Before:", "to 5, talked 0:0")
        phone.press("q")
        assert phone.end() == 0
        assert LEFT in phone.shown
        assert CURSOR in phone.shown
        assert phone.mode == before


def test_a_call_that_comes_is_rung_and_answered() -> None:
    with a_phone(*_SILENT, does="rings") as phone:
        phone.see("from 0501234567 (Ann)", "rings", "a  answer")
        assert b"\x07" in phone.shown
        phone.press("a")
        phone.see("talking")
        phone.press("qq")
        assert phone.end() == 0


def test_what_goes_wrong_is_shown_and_the_phone_goes_on() -> None:
    with a_phone(*_SILENT) as phone:
        phone.see("No call.")
        phone.press("h")
        phone.see("Cannot hang up: there is no call.")
        phone.press("\x1b[200~05 0\nqq\x1b[201~")
        phone.see("Call: 050▏")
        phone.press("\x1b")
        phone.see_no("Call: 050")
        phone.press("q")
        assert phone.end() == 0


def test_ctrl_c_hangs_up_and_leaves() -> None:
    with a_phone(*_SILENT) as phone:
        before = phone.mode
        phone.see("No call.")
        phone.press("5\r")
        phone.see("talking")
        # Neither stops it: a phone that stands still is a call without sound.
        phone.press("\x1a\x13")
        phone.see("talking")
        phone.press("\x03")
        assert phone.end() == 130
        assert LEFT in phone.shown
        assert phone.mode == before


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_call_that_does_not_end_is_left_by_the_second_signal(sent: signal.Signals, code: int) -> None:
    with a_phone(*_SILENT, first=_EACH_SIGNAL_IS_NEW, does="stubborn") as phone:
        before = phone.mode
        phone.see("No call.")
        phone.press("5\r")
        phone.see("talking")
        phone.process.send_signal(sent)
        phone.see("Hanging up and leaving; once more Ctrl-C leaves at once.")
        phone.process.send_signal(sent)
        assert phone.end() == code
        assert LEFT in phone.shown
        assert phone.mode == before


def test_a_session_that_is_lost_for_good_says_why_after_the_screen_is_gone() -> None:
    with a_phone(*_SILENT) as phone:
        phone.see("No call.")
        phone.press("666\r")
        assert phone.end() == 1
        shown = phone.shown.decode("utf-8", "replace")
        assert "cti: The PBX refuses user 103." in _ESCAPES.sub("", shown[shown.index("\x1b[?1049l") :])


@pytest.mark.parametrize(("more", "term"), [((), "dumb"), (("--json",), "xterm")])
def test_a_terminal_that_is_not_drawn_on_gets_lines(more: tuple[str, ...], term: str) -> None:
    with a_phone(*_SILENT, *more, term=term) as phone:
        phone.press("5\n")
        phone.see_line("CallConnected")
        phone.press("h\n")
        phone.see_line("CallFinished")
        phone.press("q\n")
        assert phone.end() == 0
        assert LEFT not in phone.shown


def test_ctrl_c_hangs_up_by_lines_too() -> None:
    with a_phone(*_SILENT, term="dumb") as phone:
        phone.press("5\n")
        phone.see_line("CallConnected")
        phone.press("\x03")
        phone.see_line("Hanging up; once more Ctrl-C leaves at once.")
        assert phone.end() == 130
        assert b"CallFinished" in phone.shown


def test_ctrl_c_hangs_up_what_a_script_does() -> None:
    with a_phone("--call", "5", *_SILENT) as phone:
        phone.see_line("CallConnected")
        phone.press("\x03")
        assert phone.end() == 130
        assert b"CallFinished" in phone.shown


_HANGS_WHEN_CANCELLED = """
import anyio
import cti_framework.cli.running as running
running._SAME_WITHIN_SECONDS = 0
async def act(stopping):
    stopping.before_leaving_at_once = lambda: print("given back", flush=True)
    print("begun", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
running.run(act)
"""


def test_whoever_holds_the_terminal_gives_it_back_before_the_process_ends_on_the_spot() -> None:
    with subprocess.Popen([sys.executable, "-c", _HANGS_WHEN_CANCELLED], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for told in ("begun\n", "cancelled\n"):
            assert process.stdout.readline() == told
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "given back\n"
    assert process.returncode == -signal.SIGINT
