"""A private file: its owner's alone, in its place only when it is put there, and never in the place of a device."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from cti_framework.private_file import PrivateFile


def write(made: PrivateFile, text: str = "new") -> None:
    with os.fdopen(made.descriptor, "w") as file:
        file.write(text)


def test_the_place_is_taken_at_once_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "x"
    made = PrivateFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        PrivateFile(path)
    write(made)
    made.discard()
    made.discard()
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        PrivateFile(tmp_path / "nowhere" / "x")


def test_what_was_there_stays_until_it_is_replaced_and_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("mine")
    path.chmod(0o644)
    with path.open() as held:
        made = PrivateFile(path, force=True)
        write(made)
        assert path.read_text() == "mine"
        made.put_in_place()
        # Once it is there, it is not taken away.
        made.discard()
        assert (path.read_text(), held.read()) == ("new", "mine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write(other := PrivateFile(path, force=True))
    other.discard()
    assert os.listdir(tmp_path) == ["x"]


def test_where_a_link_leads_there_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x", tmp_path / "link"
    link.symlink_to(target)
    for _ in range(2):
        made = PrivateFile(link, force=True)
        write(made)
        made.put_in_place()
        assert (link.is_symlink(), target.read_text()) == (True, "new")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="links that lead to no path, as Linux has them")
@pytest.mark.parametrize("through", ["/proc/self/fd/{}", "/dev/fd/{}"])
def test_a_pipe_that_no_path_leads_to_is_written_to(through: str) -> None:
    reader, writer = os.pipe()
    made = PrivateFile(Path(through.format(writer)), force=True)
    write(made)
    made.put_in_place()
    made.discard()
    assert os.read(reader, 100) == b"new"
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_is_written_to_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o640)
    mode = path.stat().st_mode
    # Nobody reads it: that is told at once.
    with pytest.raises(OSError, match="No such device"):
        PrivateFile(path, force=True)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    made = PrivateFile(path, force=True)
    write(made)
    made.put_in_place()
    made.discard()
    assert os.read(reader, 100) == b"new"
    os.close(reader)
    assert path.stat().st_mode == mode
    assert os.listdir(tmp_path) == ["pipe"]
