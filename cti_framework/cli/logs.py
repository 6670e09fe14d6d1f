"""The log, for ``-v``: on the standard error, and only while a command runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from cti_framework.redaction import redact_secrets

__all__ = ["log_to_stderr"]

_LEVELS = (logging.CRITICAL, logging.INFO, logging.DEBUG)


@contextmanager
def log_to_stderr(verbosity: int, *, colour: bool) -> Iterator[None]:
    """Have the framework's log written to the standard error.

    Args:
        verbosity: How often ``-v`` was given. Without it nothing is written: commands tell their own errors.
        colour: Whether to use colours.

    Yields:
        Nothing; afterwards structlog is as it was.
    """
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            redact_secrets,
            # The fancy tracebacks show local variables, and a password can be one.
            structlog.dev.ConsoleRenderer(colors=colour, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[min(verbosity, len(_LEVELS) - 1)]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)
