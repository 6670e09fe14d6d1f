"""Calling what may block, without holding up the event loop."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs

__all__ = ["EndedThreadError", "call_in_thread"]

T = TypeVar("T")


class EndedThreadError(Exception):
    """What was called ended its thread with what is no ``Exception``, which is the cause: ``sys.exit()``, say.

    Raised as it is in the task that waits, that would end the event loop, or pass for the task's own cancellation.
    """


@attrs.define(eq=False, repr=False)
class _Outcome:
    value: Any = None
    error: BaseException | None = None


async def call_in_thread(name: str, act: Callable[..., T], *arguments: object) -> T:
    """Call something that may block in a thread of its own, which ends with it: a pooled thread would outlive the session.

    Nothing can end code that hangs. Who is cancelled here does not wait for it; the thread is a daemon, so that it keeps no
    process alive either.

    Args:
        name: The thread's, for whoever looks at a process that hangs.
        act: What to call. It sees the caller's context variables.
        arguments: Its arguments.

    Returns:
        What it returns. An ``Exception`` that it raises comes out as it is, and Ctrl-C does.

    Raises:
        EndedThreadError: It raised something else.
    """
    done = anyio.Event()
    token = anyio.lowlevel.current_token()
    outcome = _Outcome()

    def work() -> None:
        try:
            outcome.value = act(*arguments)
        except BaseException as error:  # noqa: BLE001  # handed to the task that waits
            outcome.error = error
        try:
            anyio.from_thread.run_sync(done.set, token=token)
        except RuntimeError:
            # The loop is gone: nobody waits any more.
            return

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True)
    thread.start()
    await done.wait()
    thread.join()
    error = outcome.error
    if isinstance(error, Exception | KeyboardInterrupt):
        raise error
    if error is not None:
        raise EndedThreadError(f"It ended its thread with {type(error).__name__}.") from error
    value: T = outcome.value
    return value
