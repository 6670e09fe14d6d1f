"""A file that comes in pieces: whose it is, what it is of, what it leaves behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from cti_webitel.part_file import FileVersion, PartFile, PartFileBusyError

ONE = FileVersion(etag='"one"', last_modified="Sun, 22 Nov 2026 08:00:00 GMT", total_bytes=6, content_type="audio/wav")


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_pieces_are_continued_by_whoever_opens_it_next(tmp_path: Path) -> None:
    first = PartFile(tmp_path / "x.part")
    assert (first.size_bytes, first.version) == (0, None)
    first.begin(ONE)
    first.append(b"abc")
    first.close()
    first.close()
    second = PartFile(tmp_path / "x.part")
    assert (second.size_bytes, second.version) == (3, ONE)
    second.append(b"def")
    second.finish(tmp_path / "x.wav")
    second.close()
    assert (tmp_path / "x.wav").read_bytes() == b"abcdef"
    assert names_in(tmp_path) == ["x.wav"]


def test_beginning_anew_forgets_what_came(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "x.part")
    part.begin(ONE)
    part.append(b"abc")
    part.begin(FileVersion())
    assert (part.size_bytes, part.version) == (0, FileVersion())
    part.append(b"z")
    part.close()
    assert (tmp_path / "x.part").read_bytes() == b"z"


def test_where_nothing_came_nothing_is_left(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "x.part")
    part.begin(ONE)
    part.close()
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="nobody is kept out there")
def test_it_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "x.part")
    part.begin(ONE)
    part.append(b"abc")
    with pytest.raises(PartFileBusyError, match=r"x\.part"):
        PartFile(tmp_path / "x.part")
    part.close()
    PartFile(tmp_path / "x.part").close()


def test_what_was_completed_while_we_opened_it_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = PartFile(tmp_path / "x.part")
    other.begin(ONE)
    other.append(b"abcdef")
    fcntl = pytest.importorskip("fcntl", reason="nobody is kept out there")
    lock = fcntl.flock

    def complete_first(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        other.finish(tmp_path / "x.wav")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", complete_first)
    part = PartFile(tmp_path / "x.part")
    assert (part.size_bytes, part.version) == (0, None)
    part.begin(ONE)
    part.append(b"z")
    part.close()
    assert (tmp_path / "x.wav").read_bytes() == b"abcdef"


def test_versions_differ_where_both_say_something_else() -> None:
    assert ONE.may_be(ONE)
    assert ONE.may_be(FileVersion())
    assert FileVersion().may_be(ONE)
    for change in ({"etag": '"two"'}, {"last_modified": "x"}, {"total_bytes": 7}):
        assert not ONE.may_be(attrs.evolve(ONE, **change))
    assert ONE.may_be(attrs.evolve(ONE, content_type="audio/mpeg"))


def test_a_place_that_cannot_be_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "x.part").mkdir()
    before = len(os.listdir(tmp_path))
    with pytest.raises(OSError, match=r"x\.part"):
        PartFile(tmp_path / "x.part")
    assert len(os.listdir(tmp_path)) == before
