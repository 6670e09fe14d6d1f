"""Running a command's coroutine: signals become cancellation, and groups of errors become what they hold."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar

import anyio
import attrs

from cti_framework.errors import ConfigurationError

__all__ = ["BACKENDS", "Stopped", "Stopping", "leaves", "run", "run_until_stopped"]

T = TypeVar("T")

BACKENDS: Final = ("asyncio", "trio")


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
        is_own_affair: Whether the command ends by itself once that is set; a second signal cancels it then.
    """

    requested: anyio.Event = attrs.field(factory=lambda: anyio.Event())
    is_own_affair: bool = False


def run(act: Callable[[Stopping], Awaitable[T]], *, backend: str = "asyncio") -> T:
    """Run a coroutine function under an event loop.

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
    received: list[int] = []
    results: list[T] = []
    async with anyio.create_task_group() as tasks:
        # Windows has no such receiver on asyncio; there Ctrl-C stays a KeyboardInterrupt.
        if sys.platform != "win32":
            await tasks.start(_watch_signals, stopping, received, tasks.cancel_scope)
        results.append(await act(stopping))
        tasks.cancel_scope.cancel()
    if received:
        raise Stopped(received[0])
    return results[0]


async def _watch_signals(
    stopping: Stopping,
    received: list[int],
    scope: anyio.CancelScope,
    *,
    task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            is_first = not received
            received.append(number)
            stopping.requested.set()
            if not (is_first and stopping.is_own_affair):
                break
    # The receiver is closed: whatever now hangs can still be ended by one more Ctrl-C.
    scope.cancel()
