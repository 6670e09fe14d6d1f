"""A file that only its owner may read, made before it is known what comes into it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["PrivateFile"]

# A pipe that nobody reads is told at once, and not waited for.
_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0)
_OWN: Final = 0o600


class PrivateFile:
    """A file to write to. Whoever works for minutes makes it first: then the place is taken, and can be written to.

    One that is there is replaced by a new one and never written over, so nobody who has it open reads what is private. A device
    or a pipe is not replaced but written to.

    Args:
        path: The file.
        force: Whether to replace one that is there. Where a link leads, there it is replaced.

    Attributes:
        descriptor: What to write to. Whoever made the file closes it.

    Raises:
        FileExistsError: There is such a file, and it is not to be replaced.
        OSError: It cannot be made.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._target: Path | None = None
        self._new: Path | None = path
        if force:
            if _is_device(path):
                self._new = None
                self.descriptor = os.open(path, os.O_WRONLY | _AT_ONCE)
                if _AT_ONCE:
                    os.set_blocking(self.descriptor, True)
                return
            target = Path(os.path.realpath(path))
            self._target, self._new = target, target.with_name(f".{target.name}.new")
            self._new.unlink(missing_ok=True)
        self.descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWN)

    def __repr__(self) -> str:
        return f"<PrivateFile {self._target or self._new or 'written to as it is'}>"

    def put_in_place(self) -> None:
        """Have it take the place of the one that was there.

        Raises:
            OSError: It cannot.
        """
        if self._new is not None and self._target is not None:
            self._new.replace(self._target)
        self._new = None

    def discard(self) -> None:
        """Take it away, unless it is in its place: what was there before stays."""
        if self._new is not None:
            self._new.unlink(missing_ok=True)
            self._new = None


def _is_device(path: Path) -> bool:
    """Tell whether there is anything but a file."""
    try:
        # As the system goes there: behind /dev/stdout may be a pipe, to which no path leads.
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
