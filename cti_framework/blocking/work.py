"""What a thread asks the event loop to do, while it waits for it.

A thread waits at a ``SimpleQueue`` of its own and at nothing else: no lock is held meanwhile, so that a signal's handler, which
runs in the midst of whatever its thread does, may ask for something itself, closing the session for one.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel

__all__ = ["Work"]

T = TypeVar("T")


class Work(Generic[T]):
    """One thing that the loop does for one thread. It has an outcome, or it was ended without one.

    Attributes:
        has_outcome: Whether it came to one, be it an error.
        cancelled_itself: Whether it has none because something within it was cancelled.
        variables: The context variables of the thread that asks.
    """

    __slots__ = (
        "_box",
        "_error",
        "_has_ended",
        "_is_unwanted",
        "_scope",
        "_value",
        "cancelled_itself",
        "has_outcome",
        "variables",
    )

    def __init__(self) -> None:
        self._box: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._scope: anyio.CancelScope | None = None
        self._is_unwanted = False
        self._has_ended = False
        self._value: Any = None
        self._error: BaseException | None = None
        self.has_outcome = False
        self.cancelled_itself = False
        self.variables = contextvars.copy_context()

    @property
    def has_begun(self) -> bool:
        """Whether the loop has begun it, so that it may have acted."""
        return self._scope is not None

    # ------------------------------------------------------------------ in the loop

    async def run(self, act: Callable[[], Awaitable[T]]) -> None:
        """Do what takes time.

        Args:
            act: What to do. What it raises is the outcome, and never the loop's affair.
        """
        if self._is_unwanted:
            return
        try:
            with anyio.CancelScope() as self._scope:
                # What is cancelled before it began must not begin.
                await anyio.lowlevel.checkpoint_if_cancelled()
                self._value = await act()
                self.has_outcome = True
        except anyio.get_cancelled_exc_class():
            # Of asyncio, a provider can let out the cancellation of something of its own: that is not the session's.
            if anyio.current_effective_deadline() == -math.inf:
                raise
            self.cancelled_itself = True
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            self._error = error
            self.has_outcome = True
        finally:
            self.end()

    def run_now(self, act: Callable[[], T]) -> None:
        """Do what takes none.

        Args:
            act: What to do. What it raises is the outcome.
        """
        try:
            self._value = act()
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            self._error = error
        self.has_outcome = True
        self.end()

    def cancel(self) -> None:
        """Cancel it, wherever it is, for a thread that was interrupted and waits for its end."""
        self._is_unwanted = True
        if self._scope is None or self._has_ended:
            # It may have been told before, and interrupted before it knew.
            self.end()
        else:
            self._scope.cancel()

    def tell(self, act: Callable[[], object]) -> None:
        """Have something called in the thread that waits, before it gets the outcome.

        Args:
            act: What to call. What it raises cancels the work, and is raised where the thread waits.
        """
        self._box.put(act)

    def end(self) -> None:
        """Let the thread go on."""
        self._has_ended = True
        self._box.put(None)

    # ------------------------------------------------------------------ in the thread that waits

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it has ended.

        Args:
            timeout_seconds: How long at most; ``None``: as long as it takes.

        Returns:
            Whether it has.
        """
        try:
            while (told := self._box.get(timeout=timeout_seconds)) is not None:
                told()
        except Empty:
            return False
        return True

    def wait_for_end(self) -> None:
        """Wait until it has ended, whatever is told meanwhile."""
        while self._box.get() is not None:
            pass

    def outcome(self) -> T:
        """Give the outcome.

        Returns:
            What the work returned. What it raised comes out as it is.
        """
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value
