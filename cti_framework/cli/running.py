"""Running a command's coroutine: signals become cancellation, and groups of errors become what they hold."""

from __future__ import annotations

import atexit
import importlib.util
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Final, TypeVar

import anyio
import attrs

from cti_framework.errors import ConfigurationError

__all__ = ["BACKENDS", "Stopped", "Stopping", "leaves", "run", "run_until_stopped"]

T = TypeVar("T")

BACKENDS: Final = ("asyncio", "trio")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_SAME_WITHIN_SECONDS: Final = 1.0
"""What comes within this is the signal before once more."""


class Stopped(Exception):
    """A signal ended the command.

    Args:
        signal_number: Which.

    Attributes:
        signal_number: As given.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@attrs.define(eq=False)
class Stopping:
    """What a signal does to a command: it cancels it, unless the command wants to end in its own way first.

    Attributes:
        requested: Set by the first signal.
        is_own_affair: Whether the command ends by itself once that is set; a further signal cancels it then.
        before_leaving_at_once: Called before a signal ends the process on the spot, where nothing else runs any more: it gives
            the terminal back. It must not raise.
    """

    requested: anyio.Event = attrs.field(factory=lambda: anyio.Event())
    is_own_affair: bool = False
    before_leaving_at_once: Callable[[], None] | None = None

    def leave_at_once(self, number: int) -> None:
        """End the process by a signal, as if nobody received it.

        Args:
            number: Which.
        """
        if self.before_leaving_at_once is not None:
            self.before_leaving_at_once()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def run(act: Callable[[Stopping], Awaitable[T]], *, backend: str = "asyncio") -> T:
    """Run a coroutine function under an event loop.

    A signal cancels it. What comes within a second after is the same once more and is passed over; what comes later ends the
    process at once. After a signal the process's handlers stay so: it is about to end.

    Args:
        act: What to run.
        backend: ``"asyncio"`` or ``"trio"``.

    Returns:
        What it returns.

    Raises:
        Stopped: Ctrl-C or SIGTERM ended it, in order.
        ConfigurationError: The event loop is not installed.
    """
    if importlib.util.find_spec(backend) is None:
        raise ConfigurationError(f"{backend} is not installed.", remedy=f'pip install "cti-framework[{backend}]"')
    return anyio.run(_with_signals, act, backend=backend)


def run_until_stopped(act: Callable[[Stopping], Awaitable[None]]) -> int:
    """Run a coroutine function that only a signal ends.

    Args:
        act: What to run.

    Returns:
        The exit code: to be stopped by SIGTERM is what such a command is there for.

    Raises:
        Stopped: Ctrl-C ended it, in order.
    """
    try:
        run(act)
    except Stopped as stopped:
        if stopped.signal_number != signal.SIGTERM:
            raise
    return 0


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Take groups of errors apart.

    Args:
        error: An error, or a group.

    Yields:
        Each error that is no group.
    """
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


async def _with_signals(act: Callable[[Stopping], Awaitable[T]]) -> T:
    stopping = Stopping()
    acting = anyio.CancelScope()
    signals = _Signals(stopping)
    results: list[T] = []
    async with anyio.create_task_group() as tasks:
        # Windows has no such receiver on asyncio; there Ctrl-C stays a KeyboardInterrupt.
        if sys.platform != "win32":
            await tasks.start(_watch_signals, stopping, signals, acting)
        # Only the command is cancelled: signals are received until it has ended.
        with acting:
            results.append(await act(stopping))
        tasks.cancel_scope.cancel()
    if signals.first is not None:
        raise Stopped(signals.first)
    return results[0]


@attrs.define(eq=False)
class _Signals:
    """The signals that came.

    One Ctrl-C can come twice: ``timeout`` sends its signal to the command and then to the command's process group.
    """

    stopping: Stopping
    first: int | None = None
    _heeded_at_seconds: float = 0.0

    def heeds(self, number: int) -> bool:
        """Tell whether a signal is a new one, and not the one before once more."""
        now = time.monotonic()
        if self.first is not None and now - self._heeded_at_seconds < _SAME_WITHIN_SECONDS:
            return False
        self.first = self.first or number
        self._heeded_at_seconds = now
        return True

    def handle_late(self, number: int, frame: FrameType | None) -> None:
        """Take a signal while the event loop and the process end, where an exception could only make noise."""
        if self.heeds(number):
            self.stopping.leave_at_once(number)


async def _watch_signals(
    stopping: Stopping,
    received: _Signals,
    acting: anyio.CancelScope,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    try:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            task_status.started()
            try:
                async for number in signals:
                    if not received.heeds(number):
                        continue
                    if not stopping.requested.is_set():
                        stopping.requested.set()
                        if stopping.is_own_affair:
                            continue
                    if acting.cancel_called:
                        # What was cancelled does not end.
                        stopping.leave_at_once(number)
                    acting.cancel()
            finally:
                # Closing the receiver makes SIGINT an exception again: none may come before the handlers below are set.
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    finally:
        if received.first is not None:
            _handle_with(received.handle_late)
            # Threads have ended by then, nothing is left that could hang: the exit code is to say how the command ended.
            atexit.register(_handle_with, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _handle_with(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)
