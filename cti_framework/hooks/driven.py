"""A coroutine whose steps are timed, and that can be left where it is.

Cancelling asks a coroutine to end; one that catches what it is told, or shields itself, goes on. The task that waits for it
would then wait for ever, and with it the session that is to be closed. So whoever drives it keeps the means to stop.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

__all__ = ["Driven", "GivenUp", "begin_apart"]


class GivenUp(BaseException):
    """The coroutine is left where it is. It is told so, too, once: by something that an ``except Exception`` lets through."""


class Driven:
    """Drives a coroutine for the task that awaits this.

    Args:
        coroutine: What to drive.
        clock: Gives seconds that only grow.

    Attributes:
        coroutine: As given.
        slowest_seconds: The longest that it kept the event loop between two of its waits.
        is_left: Whether it was left unfinished: it has swallowed even ``GivenUp``.
    """

    __slots__ = ("_clock", "_interrupt", "_is_given_up", "coroutine", "is_left", "slowest_seconds")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], clock: Callable[[], float]) -> None:
        self.coroutine = coroutine
        self._clock = clock
        self._interrupt: Callable[[], object] | None = None
        self._is_given_up = False
        self.slowest_seconds = 0.0
        self.is_left = False

    def give_up(self) -> None:
        """Stop driving it, whatever it waits for. Called from another task; whoever awaits this gets ``GivenUp``."""
        self._is_given_up = True
        if self._interrupt is not None:
            self._interrupt()

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive it to its end.

        Returns:
            What it returns. What it raises comes out as it is.

        Raises:
            GivenUp: ``give_up()`` was called.
        """
        clock = self._clock
        self._interrupt = _interrupt_of_this_task()
        resume: Callable[[Any], Any] = self.coroutine.send
        value: Any = None
        while True:
            began = clock()
            try:
                waits_for = resume(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self.slowest_seconds = max(self.slowest_seconds, clock() - began)
                value = None
            try:
                value = yield waits_for
                resume = self.coroutine.send
            except BaseException as error:  # noqa: BLE001  # it is the coroutine's, whatever it is
                value = error
                resume = self.coroutine.throw
            if self._is_given_up:
                value = None
                _forget_interrupt()
                self._leave()
                raise GivenUp

    def _leave(self) -> None:
        try:
            waits_for = self.coroutine.throw(GivenUp())
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # a plugin that is given up has nothing to say any more
            return
        self.is_left = True
        # What it waits for now must not wake a task that has gone: trio keeps that in the hands of who waits.
        undo = getattr(waits_for, "abort_func", None)
        if undo is not None:
            undo(_raise_given_up)


def begin_apart(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> object:
    """Begin a task that belongs to no task group, so that nobody has to wait for it.

    Of trio, what waits in a thread cannot be left before the thread ends, whoever drives it.

    Args:
        work: What it does. It raises nothing.
        name: The task's.

    Returns:
        The task, to be held while it is waited for.
    """
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return asyncio.get_running_loop().create_task(work(), name=name)
    task: object = trio.lowlevel.spawn_system_task(work, name=name, context=contextvars.copy_context())
    return task


def _raise_given_up() -> NoReturn:
    raise GivenUp


def _forget_interrupt() -> None:
    """Take back what ``give_up()`` asked of asyncio, now that it has come: who counts cancellations would take it for his own."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()


def _interrupt_of_this_task() -> Callable[[], object]:
    """Find out how another task can wake this one, even where it is shielded from cancellation."""
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        task = asyncio.current_task()
        assert task is not None
        return task.cancel
    trio_task = trio.lowlevel.current_task()

    def interrupt() -> None:
        # Trio itself knows no way past a shield. Where it has no such method any more, the task ends when its shield does.
        if getattr(trio_task, "_abort_func", None) is not None and hasattr(trio_task, "_attempt_abort"):
            trio_task._attempt_abort(_raise_given_up)

    return interrupt
