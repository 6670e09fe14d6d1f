"""Whose a cancellation is: of the task that caught it, or of something else that a plugin waited for.

Of trio, only trio itself cancels, and only tasks. Of asyncio, whoever awaits a task or a future that is cancelled gets the very
exception that would cancel himself. A plugin that lets it out would end the task that called it: the session's, or the host's,
without a reason. So whoever calls a plugin asks here before a cancellation goes on.
"""

from __future__ import annotations

import asyncio
import math

import anyio

__all__ = ["fault_of", "is_ours"]


def is_ours() -> bool:
    """Tell whether the running task is being cancelled, by a scope around it or by asyncio's own ``Task.cancel()``.

    Asked where a cancellation was caught, outside of the scopes that could have ended with it.

    Returns:
        Whether. If not, the cancellation is of something else: a fault of whoever let it out.
    """
    if anyio.current_effective_deadline() == -math.inf:
        return True
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task = asyncio.current_task()
    # A host may have it cancelled by `asyncio.timeout()`, of which a scope knows nothing.
    return task is not None and task.cancelling() > 0


def fault_of(error: BaseException) -> BaseException | None:
    """Tell what of something that a plugin let out is a fault of its own. Asked where it was caught, as ``is_ours``.

    What is no ``Exception`` is a fault as well: a panic of a library written in Rust, a time-out of gevent, ``sys.exit()``. A
    plugin does not end the program of its host, nor the sessions of others.

    Args:
        error: What was caught.

    Returns:
        The fault, without what of it is the cancellation of the running task. ``None``: there is nothing else to it, or Ctrl-C
        was pressed, or the task is taken away and nothing runs any more; it has to go on.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt):
        return None
    try:
        own = anyio.get_cancelled_exc_class()
    except RuntimeError:
        # The event loop is gone. Python closes what was left in it.
        return None
    if isinstance(error, own):
        return None if is_ours() else error
    if isinstance(error, BaseExceptionGroup):
        if error.subgroup(KeyboardInterrupt) is not None:
            return None
        # A task group of the plugin's that is cancelled can hand on the cancellation and its tasks' faults together.
        _, faults = error.split((own, asyncio.CancelledError))
        if faults is not None:
            return faults
        return None if error.subgroup(own) is not None and is_ours() else error
    return error
