"""The ``cti`` command: try it, look at it, run it. Extra ``cli``.

The modules that draw on the terminal are imported when the command runs, so that it can say what to install where they
cannot be.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cti_framework.plugins import Plugins

__all__ = ["main"]

_OF_THE_EXTRA = frozenset({"click", "rich"})
_CANNOT_RUN = 2


def main(arguments: Sequence[str] | None = None, *, plugins: Plugins | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words behind ``cti``; ``None``: those of the process.
        plugins: The installed plugins; ``None``: as found.

    Returns:
        The exit code: 0, 1 for a failure that was told, 2 for wrong usage or a missing extra, 128 and the signal's number
        where a signal ended it.
    """
    try:
        from cti_framework.cli.application import run_application
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_EXTRA:
            raise
        sys.stderr.write(f'The command cti needs {error.name}, which is not installed: pip install "cti-framework[cli]"\n')
        return _CANNOT_RUN
    return run_application(arguments, plugins=plugins)
