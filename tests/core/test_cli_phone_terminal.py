"""The terminal of ``cti phone``: keys out of bytes, lines out of anything, and a terminal that is afterwards as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from cti_framework.cli.phone.hand import (
    BACKSPACE,
    DOWN,
    ENTER,
    ESCAPE,
    UP,
    Pasted,
    Pressed,
)
from cti_framework.cli.phone.terminal import KeyReader, Keys, Lines, has_keys, keys_one_by_one, stderr_kept

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

import pty
import termios

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"1a#", ["1", "a", "#"]),
        (b"\r\n", [ENTER, ENTER]),
        (b"\x7f\x08\x1b", [BACKSPACE, BACKSPACE, ESCAPE]),
        (b"\x1b[A\x1b[B\x1bOA\x1b[1;5B", [UP, DOWN, UP, DOWN]),
        (b"\x1b[3~\x1b[C\x1b[15~\x1bOPh", ["h"]),
        (b"\x1b[", []),
        (b"\x00\x04\x07\t", []),
        ("їй".encode(), ["ї", "й"]),
        (b"\xff", ["\ufffd"]),
        (b"\x1b[200~+38 050\nh\x1b[201~h", [Pasted("+38 050\nh"), "h"]),
        (b"\x1b[200~\x1b[201~", [Pasted("")]),
    ],
)
def test_bytes_are_keys(data: bytes, keys: list[Pressed]) -> None:
    assert KeyReader().feed(data) == keys


def test_what_comes_in_pieces_is_whole() -> None:
    reader = KeyReader()
    assert [reader.feed(bytes([byte])) for byte in "ї".encode()] == [[], ["ї"]]
    assert [reader.feed(piece) for piece in (b"\x1b[200~12", b"34", b"5\x1b[201~")] == [[], [], [Pasted("12345")]]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The operator's end of a terminal, and the program's."""
    operator, program = pty.openpty()
    yield operator, program
    os.close(operator)
    os.close(program)


def test_a_terminal_gives_keys_and_is_given_back(terminal: tuple[int, int]) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    with pytest.raises(ZeroDivisionError), keys_one_by_one(program, program):
        now = termios.tcgetattr(program)
        assert not now[3] & (termios.ICANON | termios.ECHO)
        assert now[3] & termios.ISIG
        assert not now[0] & termios.IXON
        nothing = bytes([os.fpathconf(program, "PC_VDISABLE")])
        assert now[6][termios.VSUSP] == nothing
        assert now[6][termios.VINTR] == b"\x03"
        raise ZeroDivisionError
    assert termios.tcgetattr(program) == before


def test_who_ends_on_the_spot_gives_the_terminal_back_first(terminal: tuple[int, int]) -> None:
    operator, program = terminal
    before = termios.tcgetattr(program)
    with keys_one_by_one(program, program) as leave_at_once:
        leave_at_once()
        assert termios.tcgetattr(program) == before
        assert b"\x1b[?1049l\x1b[?25h" in os.read(operator, 1_000)


def test_only_a_terminal_has_keys(terminal: tuple[int, int], tmp_path: Path) -> None:
    with os.fdopen(os.dup(terminal[1])) as stream:
        assert has_keys(stream)
    (tmp_path / "x").touch()
    with (tmp_path / "x").open() as file:
        assert not has_keys(file)


async def test_a_key_is_read_when_it_is_pressed(terminal: tuple[int, int]) -> None:
    operator, program = terminal
    with anyio.fail_after(10), keys_one_by_one(program, program):
        async with anyio.create_task_group() as tasks:
            read: list[Pressed] = []

            async def reading() -> None:
                keys = Keys(program)
                read.extend([await anext(keys) for _ in range(3)])

            tasks.start_soon(reading)
            await anyio.wait_all_tasks_blocked()
            os.write(operator, b"a\x1b[Ah")
    assert read == ["a", UP, "h"]


async def test_a_terminal_that_is_gone_ends_the_keys() -> None:
    operator, program = pty.openpty()
    os.close(operator)
    with anyio.fail_after(10):
        assert [key async for key in Keys(program)] == []
    os.close(program)


async def test_lines_come_from_a_pipe_in_any_pieces() -> None:
    reader, writer = os.pipe()
    lines: list[str] = []

    async def reading() -> None:
        lines.extend([line async for line in Lines(reader)])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reading)
            for piece in (b"a\nt 1", b"02\n\xd1", b"\x97\n", b"q"):
                os.write(writer, piece)
                await anyio.wait_all_tasks_blocked()
            os.close(writer)
    os.close(reader)
    assert lines == ["a", "t 102", "ї", "q"]


async def test_lines_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("9196\nh\n")
    for path, lines in ((file, ["9196", "h"]), (Path(os.devnull), [])):
        with path.open() as stream, anyio.fail_after(10):
            assert [line async for line in Lines(stream.fileno())] == lines


def test_what_libraries_say_meanwhile_is_told_afterwards(terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    operator, program = terminal
    with os.fdopen(os.dup(program), "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with stderr_kept():
            # As ALSA does: past Python.
            os.write(stderr.fileno(), b"ALSA lib: no card\n")
            os.set_blocking(operator, False)
            with pytest.raises(BlockingIOError):
                os.read(operator, 1_000)
        os.set_blocking(operator, True)
        assert os.read(operator, 1_000) == b"ALSA lib: no card\r\n"
        os.write(stderr.fileno(), b"after\n")
        assert os.read(operator, 1_000) == b"after\r\n"


def test_a_standard_error_that_leads_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "log").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with stderr_kept():
            os.write(stderr.fileno(), b"at once\n")
            assert (tmp_path / "log").read_text() == "at once\n"
