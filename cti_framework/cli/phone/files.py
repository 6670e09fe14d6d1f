"""Where what is heard is saved: a file a call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cti_framework.cli.capture import cannot_write
from cti_framework.private_file import PrivateFile

__all__ = ["CallFiles"]


class CallFiles:
    """A file for each call: the first is named as asked, those that follow have a number.

    Files are made for their owner alone, before there is anything to put into them: then the place is known to be good.

    Args:
        path: The first one.
        force: Whether to replace what is there.

    Raises:
        CtiError: It cannot be made.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self._path = path
        self._force = force
        self._of_calls: dict[str, Path] = {}
        self._made = [path]
        self._make(path)

    def of_call(self, media_id: str) -> Path:
        """Give the file of a call.

        Args:
            media_id: The call's sound. One that is begun again writes over its own file.

        Returns:
            The file, which is there.

        Raises:
            CtiError: It cannot be made.
        """
        path = self._of_calls.get(media_id)
        if path is None:
            path = self._path if not self._of_calls else self._next()
            self._of_calls[media_id] = path
        return path

    def drop_empty(self) -> tuple[Path, ...]:
        """Take away the files that no sound came into.

        Returns:
            The others.
        """
        kept: list[Path] = []
        for path in self._made:
            try:
                if path.stat().st_size > _EMPTY_WAV_BYTES:
                    kept.append(path)
                elif path.is_file():
                    path.unlink()
            except OSError:
                continue
        return tuple(kept)

    def _next(self) -> Path:
        number = len(self._made) + 1
        while True:
            path = self._path.with_name(f"{self._path.stem}-{number}{self._path.suffix}")
            # A number that was used by the phone before this one is left alone.
            if self._force or not path.exists():
                break
            number += 1
        self._make(path)
        self._made.append(path)
        return path

    def _make(self, path: Path) -> None:
        try:
            made = PrivateFile(path, force=self._force)
            try:
                made.put_in_place()
            finally:
                os.close(made.descriptor)
        except OSError as error:
            raise cannot_write(path, error) from error


_EMPTY_WAV_BYTES: Final = 44
"""A WAV file without sound is its head."""
