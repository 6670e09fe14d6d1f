"""A capture that is written while it is taken: a line a frame, on the disk before the next one comes."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from cti_framework.errors import CtiError
from cti_framework.private_file import PrivateFile

__all__ = ["CaptureFile", "cannot_write", "open_capture"]


class CaptureFile:
    """A file that frames are written to.

    Args:
        file: It, without a buffer of its own.

    Attributes:
        path: Its name.
        frames: How many frames it holds.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._failure: OSError | None = None
        self._failed = anyio.Event()
        self.path = Path(str(file.name))
        self.frames = 0

    def write(self, line: str) -> None:
        """Write one frame. It never raises: who records must not be ended by a full disk.

        Args:
            line: The line of the capture.
        """
        if self._failure is not None:
            return
        data = (line + "\n").encode("utf-8", "backslashreplace")
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._failure = error
            self._failed.set()
        else:
            self.frames += 1

    async def watch(self) -> None:
        """Wait until something cannot be written.

        Raises:
            CtiError: It could not.
        """
        await self._failed.wait()
        assert self._failure is not None
        raise cannot_write(self.path, self._failure)


@contextmanager
def open_capture(path: Path, *, force: bool) -> Iterator[CaptureFile]:
    """Make a file for a capture, which only its owner may read.

    Args:
        path: The file.
        force: Whether to replace one that is there. A device or a pipe is written to as it is.

    Yields:
        The file, closed afterwards.

    Raises:
        CtiError: It cannot be made.
    """
    try:
        made = PrivateFile(path, force=force)
    except OSError as error:
        raise cannot_write(path, error) from error
    with os.fdopen(made.descriptor, "wb", buffering=0) as file:
        try:
            # At once: whatever ends the command, the capture is where it belongs.
            made.put_in_place()
        except OSError as error:
            made.discard()
            raise cannot_write(path, error) from error
        capture = CaptureFile(file)
        capture.path = path
        yield capture


def cannot_write(path: Path, error: OSError) -> CtiError:
    """Say why a file cannot be written.

    Args:
        path: The file.
        error: What the system said.

    Returns:
        The error to raise.
    """
    exists = isinstance(error, FileExistsError)
    return CtiError(
        f"{path} cannot be written: {'there is such a file' if exists else error.strerror or error}.",
        step="command",
        remedy="Name another file, or give --force to replace it." if exists else "Name another file.",
    )
