"""An event loop in a thread of its own, for hosts that have none.

Threads ask the loop by works (``work.py``) that are posted to it; no lock is shared between them. Who has added its work and
then sees that the loop is over goes on without it; the loop, once it is over, ends the works that it finds. So none is forgotten,
whichever comes first.

The loop's thread is a daemon: it keeps no process alive. ``atexit`` closes what the host has left open. Python calls that only
when the threads of the host have ended, and one that waits here would never end; so the loop also looks, twice a second, whether
the main thread is over, and closes then.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import importlib.util
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

import anyio
import anyio.abc
import structlog

from cti_framework.blocking.work import Work
from cti_framework.errors import BlockingCallError, ConfigurationError, SessionClosedError, traceback_text

__all__ = ["BlockingRuntime", "Follower"]

T = TypeVar("T")

_BACKENDS: Final = ("asyncio", "trio")
_LOOK_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 10.0
"""How long closing waits for what a plugin or a host's callback does not end. A session itself takes 5 s at most."""

_log = structlog.get_logger("cti_framework")


class Follower(Protocol):
    """A thread that reads what the loop tells, and ends by itself when there is nothing more."""

    def join(self) -> None:
        """Wait, not for ever, until it has ended."""


class BlockingRuntime:
    """An event loop in a thread of its own, which sessions share: one is enough for a process.

    It belongs to the process that made it: after a fork the child makes its own. Sessions of one
    ``CtiProviderInitializer`` share its hooks, so they are opened in one runtime.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.

    Raises:
        ConfigurationError: There is no such event loop, or it is not installed.
    """

    def __init__(self, backend: str = "asyncio") -> None:
        if backend not in _BACKENDS:
            raise ConfigurationError(f"There is no event loop {backend!r}.", remedy=f"Choose one of {', '.join(_BACKENDS)}.")
        if importlib.util.find_spec(backend) is None:
            raise ConfigurationError(f"{backend} is not installed.", remedy=f'pip install "cti-framework[{backend}]"')
        self._pid = os.getpid()
        self._works: set[Work[Any]] = set()
        self._followers: set[Follower] = set()
        self._is_closing = False
        self._is_over = False
        self._call_soon: Callable[[Callable[[], object]], object] | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        ready = Work[None]()
        # Not the variables of whoever makes it: a loop lives longer than a request.
        act = partial(contextvars.Context().run, self._live, backend, ready)
        self._thread = threading.Thread(target=act, name="cti: event loop", daemon=True)
        atexit.register(self.close)
        try:
            self._thread.start()
            ready.wait()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ for hosts

    @property
    def closed(self) -> bool:
        """Whether it is closed, or about to be. In a process that was forked from its own it always is."""
        return self._is_closing or self.is_foreign

    def close(self) -> None:
        """Close all sessions, then the loop. From any thread, any number of times; at the interpreter's exit it is called.

        Who still waits for a verb gets ``SessionClosedError``; who reads events reads to their end. From the loop's own thread
        it only begins. In a forked process it does nothing: what is open belongs to the parent.
        """
        if self.is_foreign:
            return
        self._is_closing = True
        atexit.unregister(self.close)
        self.post(self._stop)
        if self.is_own_thread:
            return
        self.join()
        for follower in tuple(self._followers):
            follower.join()

    def __enter__(self) -> Self:
        """Give the runtime itself, which is open already.

        Returns:
            The runtime.
        """
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        """Close it."""
        self.close()

    # ------------------------------------------------------------------ for its sessions

    @property
    def is_foreign(self) -> bool:
        """Whether this process is not the one that made it."""
        return os.getpid() != self._pid

    @property
    def is_own_thread(self) -> bool:
        """Whether the loop's own thread asks."""
        # Not by its number: that is given to another thread when it has ended.
        return threading.current_thread() is self._thread

    @property
    def tasks(self) -> anyio.abc.TaskGroup:
        """What runs as long as the loop. To be used in the loop."""
        assert self._tasks is not None
        return self._tasks

    def check_may_wait(self, step: str) -> None:
        """Refuse to wait where nobody may.

        Args:
            step: What for.

        Raises:
            SessionClosedError: This is another process: it was forked.
            BlockingCallError: An event loop runs in this thread.
        """
        self.check_process(step)
        if self.is_own_thread:
            raise BlockingCallError(
                f"{step}: called in the thread of the session's own event loop, which would wait for itself.",
                step=step,
                remedy="A hook is given the CtiModel: use that, in an `async` implementation. Or use `on_event`.",
            )
        if _in_event_loop():
            raise BlockingCallError(
                f"{step}: called where an event loop runs, which would stand still meanwhile.",
                step=step,
                remedy="Use CtiModel there, or call this in a thread (`anyio.to_thread.run_sync`).",
            )

    def check_process(self, step: str) -> None:
        """Refuse to be used in a process that was forked.

        Args:
            step: What for.

        Raises:
            SessionClosedError: This is another process.
        """
        if self.is_foreign:
            raise SessionClosedError(
                f"{step}: the session belongs to process {self._pid}; this is process {os.getpid()}, which was forked from it.",
                step=step,
                remedy="Open it in the worker: after the fork, in the process that uses it.",
            )

    def post(self, act: Callable[[], object]) -> None:
        """Have the loop call something soon, without waiting. A loop that is over does not, nor one of another process.

        Args:
            act: What to call. It must not raise.
        """
        # What wakes the loop is shared with a forked process, and its locks may have been taken at the fork for ever.
        if self._call_soon is not None and not self.is_foreign:
            with suppress(RuntimeError):
                self._call_soon(act)

    def run(self, start: Callable[[Work[T]], object], *, timeout_seconds: float | None = None) -> Work[T]:
        """Have the loop do something, and wait for it. What interrupts the waiting, be it Ctrl-C, cancels it.

        Args:
            start: Called in the loop with the work; it starts it, or ends it at once.
            timeout_seconds: How long to wait at most; ``None``: as long as it takes.

        Returns:
            The work. It has no outcome if it was not begun, was cancelled by the loop, or the time was over.
        """
        work = Work[T]()
        try:
            self._works.add(work)
            if self._is_closing:
                work.end()
            else:
                self.post(partial(start, work))
            if self._is_over:
                work.end()
            if not work.wait(timeout_seconds):
                self.post(work.cancel)
        except BaseException:
            self.post(work.cancel)
            if self._is_over:
                work.end()
            work.wait_for_end()
            raise
        finally:
            self._works.discard(work)
        return work

    def read(self, act: Callable[[], T]) -> T:
        """Have the loop call something that takes no time; without a loop call it here: nobody else changes anything then.

        Args:
            act: What to call.

        Returns:
            What it returns. What it raises comes out as it is.
        """
        if self.is_own_thread:
            return act()

        def begin(work: Work[T]) -> None:
            work.run_now(act)

        work = self.run(begin)
        if work.has_outcome:
            return work.outcome()
        self.join()
        return act()

    def join(self) -> None:
        """Wait until the loop is over, once it is being closed; but not for ever."""
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            _log.error("cti.blocking.hangs", waited_seconds=CLOSE_SECONDS)

    def spawn(self, work: Work[T], act: Callable[[], Awaitable[T]], group: anyio.abc.TaskGroup) -> None:
        """Start a work in a task. To be called in the loop.

        Args:
            work: The work.
            act: What to do. It sees the context variables of the thread that asked, and the loop's own.
            group: Where.
        """
        context = contextvars.copy_context()
        for variable, value in work.variables.items():
            # The loop's own say, for one, which library it is of.
            if variable not in context:
                context.run(variable.set, value)
        try:
            context.run(group.start_soon, work.run, act)
        except RuntimeError:
            # The group ends in this very moment; trio then takes nothing more.
            work.end()

    def follow(self, follower: Follower, follows: bool) -> None:
        """Remember a thread that closing waits for, or forget it.

        Args:
            follower: The thread.
            follows: Whether to remember it.
        """
        if follows:
            self._followers.add(follower)
        else:
            self._followers.discard(follower)

    # ------------------------------------------------------------------ the loop's thread

    def _live(self, backend: str, ready: Work[None]) -> None:
        try:
            anyio.run(self._serve, backend, ready, backend=backend)
        except BaseException as error:  # noqa: BLE001  # there is nobody above to tell
            # At exit asyncio may no longer start the thread in which it ends its other threads.
            if threading.main_thread().is_alive():
                _log.error("cti.blocking.failed", stack=traceback_text(error))
        finally:
            self._is_closing = self._is_over = True
            ready.end()
            for work in tuple(self._works):
                work.end()

    async def _serve(self, backend: str, ready: Work[None]) -> None:
        async with anyio.create_task_group() as self._tasks:
            self._call_soon = _caller_of(backend)
            ready.end()
            while threading.main_thread().is_alive() and not self._is_closing:  # noqa: ASYNC110  # its end sets no event
                await anyio.sleep(_LOOK_SECONDS)
            if not self._is_closing:
                _log.warning("cti.blocking.main_thread_over", remedy="Keep it until the last session is closed: join threads.")
            self._stop()

    def _stop(self) -> None:
        self._is_closing = True
        self.tasks.cancel_scope.cancel()


def _caller_of(backend: str) -> Callable[[Callable[[], object]], object]:
    """Give what calls a function in the running loop, from any thread, even in a signal's handler, without waiting."""
    if backend == "trio":
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    return partial(asyncio.get_running_loop().call_soon_threadsafe, context=contextvars.copy_context())


def _in_event_loop() -> bool:
    """Tell whether a loop runs in this thread. Context variables are not asked: they wander into threads where none does."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
