"""A file that comes in pieces: kept under another name until it is complete, and continued where it broke off.

Beside ``NAME.part`` lies ``NAME.part.json``, which says what the pieces are of. Nothing here waits or knows of a network; all of
it may block, so it is called in a thread.
"""

from __future__ import annotations

import os
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import attrs
import orjson

if sys.platform != "win32":
    import fcntl

__all__ = ["FileVersion", "PartFile", "PartFileBusyError"]


class PartFileBusyError(OSError):
    """Somebody else writes the same file just now."""


@attrs.frozen(kw_only=True)
class FileVersion:
    """What tells a file on a server from what was, or will be, under the same address.

    Attributes:
        etag: The server's name for it, with its quotes and its ``W/``.
        last_modified: When it was changed, in the server's words.
        total_bytes: How long it is.
        content_type: What it is, without parameters; empty: the server does not say.
    """

    etag: str | None = None
    last_modified: str | None = None
    total_bytes: int | None = None
    content_type: str = ""

    def may_be(self, other: FileVersion) -> bool:
        """Tell whether nothing speaks against both being the same.

        Args:
            other: The other one.

        Returns:
            Whether what both say is equal.
        """
        pairs = (
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
            (self.total_bytes, other.total_bytes),
        )
        return all(one == another for one, another in pairs if one is not None and another is not None)


class PartFile:
    """What has come of a file so far. It belongs to whoever opened it until it is closed.

    Args:
        path: Where the pieces are; created if it is not there.

    Attributes:
        path: As given.
        size_bytes: How much there is.
        version: What it is of; ``None``: nobody knows, so it cannot be continued.

    Raises:
        PartFileBusyError: Somebody else has opened it.
        OSError: It cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")
        self._file = _opened_alone(path)
        self.size_bytes = os.fstat(self._file.fileno()).st_size
        self.version = self._noted() if self.size_bytes else None

    def begin(self, version: FileVersion) -> None:
        """Forget what came so far: another file comes, or the same from its beginning.

        Args:
            version: What it is.

        Raises:
            OSError: It cannot be written.
        """
        self._file.truncate(0)
        self.size_bytes = 0
        self.version = version
        self._note.write_bytes(orjson.dumps(attrs.asdict(version)))

    def append(self, data: bytes) -> None:
        """Write the next piece. What part of it was written counts, even if not all of it can be.

        Args:
            data: It.

        Raises:
            OSError: It cannot be written: no room, for one.
        """
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            self.size_bytes += written
            rest = rest[written:]

    def finish(self, target: Path) -> None:
        """Give the complete file its name, and let it go.

        Args:
            target: What it is called from now on; whatever was called so is replaced.

        Raises:
            OSError: It cannot be called so.
        """
        if sys.platform == "win32":
            self._file.close()
        # Elsewhere it is ours alone until it has its name: whoever waits for it finds the old one gone.
        self.path.replace(target)
        self._note.unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Let others have it; where nothing came, leave nothing behind. Closing twice does nothing."""
        if self._file.closed:
            return
        try:
            if not self.size_bytes:
                if sys.platform == "win32":
                    self._file.close()
                self._note.unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
        except OSError:
            # An empty file stays: it is continued from its beginning.
            return
        finally:
            self._file.close()

    def _noted(self) -> FileVersion | None:
        try:
            note: Any = orjson.loads(self._note.read_bytes())
            version = FileVersion(**note)
        except (OSError, orjson.JSONDecodeError, TypeError):
            return None
        texts = (version.etag, version.last_modified, version.content_type)
        if not all(text is None or isinstance(text, str) for text in texts) or not isinstance(version.content_type, str):
            return None
        return version if version.total_bytes is None or type(version.total_bytes) is int else None


def _opened_alone(path: Path) -> FileIO:
    while True:
        file = path.open("a+b", buffering=0)
        try:
            if sys.platform == "win32":
                return file
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have completed or removed it between our opening and our locking.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise PartFileBusyError(f"{path.name} is being written by somebody else") from None
        except BaseException:
            file.close()
            raise
        file.close()
