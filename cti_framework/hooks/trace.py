"""Saying of each hook who was called with what, and what came of it: ``cti.trace_hooks``.

Arguments and results are told by their types: what they hold may be a secret, and an answer to ``cti_user_connection`` is one.
Only ``True``, ``False`` and ``None`` are told as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

__all__ = ["traced"]

_log = structlog.get_logger("cti_framework.hooks")


def traced(plugin: str, hook: str, call: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    """Make what calls an implementation and says so.

    Args:
        plugin: The plugin's name.
        hook: The hook's.
        call: The implementation.
        is_async: Whether what it returns has to be awaited.

    Returns:
        What to call instead.
    """

    def now(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            result = call(*arguments)
        except BaseException as error:
            _tell(plugin, hook, arguments, f"raised {type(error).__name__}", began)
            raise
        _tell(plugin, hook, arguments, _shown(result), began)
        return result

    async def later(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            result = await call(*arguments)
        except BaseException as error:
            _tell(plugin, hook, arguments, f"raised {type(error).__name__}", began)
            raise
        _tell(plugin, hook, arguments, _shown(result), began)
        return result

    return later if is_async else now


def _tell(plugin: str, hook: str, arguments: tuple[Any, ...], result: str, began: float) -> None:
    _log.info(
        "cti.hook.called",
        plugin=plugin,
        hook=hook,
        arguments=[_shown(argument) for argument in arguments],
        result=result,
        milliseconds=round((time.perf_counter() - began) * 1000, 3),
    )


def _shown(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool) else type(value).__name__
