"""The log, for ``-v``: on the standard error, and only while a command runs."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from cti_framework.redaction import redact_secrets

__all__ = ["LogTail", "log_to_stderr"]

_LEVELS = (logging.CRITICAL, logging.INFO, logging.DEBUG)
_KEPT_LINES = 2000


class LogTail:
    """The end of the log, as a processor of structlog that keeps what passes it.

    Attributes:
        lines: The lines, oldest first.
    """

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
        """Keep an entry.

        Args:
            logger: As structlog gives it.
            method_name: As structlog gives it.
            event_dict: The entry.

        Returns:
            The entry, unchanged.
        """
        self.lines.append(str(self._render(logger, method_name, dict(event_dict))))
        return event_dict


@contextmanager
def log_to_stderr(
    verbosity: int, *, colour: bool, tail: LogTail | None = None, redact: Processor = redact_secrets
) -> Iterator[None]:
    """Have the framework's log written to the standard error.

    Args:
        verbosity: How often ``-v`` was given. Without it nothing is written: commands tell their own errors.
        colour: Whether to use colours.
        tail: Is given all of it, whatever ``verbosity`` says.
        redact: Takes secrets out of it.

    Yields:
        Nothing; afterwards structlog is as it was.
    """
    before = structlog.get_config()
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]

    def drop_the_rest(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
        if logging.getLevelNamesMapping().get(str(event_dict.get("level", "")).upper(), level) < level:
            raise structlog.DropEvent
        return event_dict

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            redact,
            *(() if tail is None else (tail, drop_the_rest)),
            # The fancy tracebacks show local variables, and a password can be one.
            structlog.dev.ConsoleRenderer(colors=colour, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level if tail is None else logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
