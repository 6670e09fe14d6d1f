"""Running one scenario on one event loop, so that nothing that a provider does can keep the others from being run.

A scenario runs in a thread of its own. A provider that ignores cancellation, or blocks for ever, hangs that thread; the test
fails and says where, and the process goes on.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio
import attrs

__all__ = ["BACKENDS", "Broken", "NotMeasured", "Stall", "Watch", "missing_backend", "run_scenario"]

BACKENDS: Final = ("asyncio", "trio")

_GRACE_SECONDS: Final = 1.0
_BEAT_SECONDS: Final = 0.01
_SAMPLE_SECONDS: Final = 0.02
_SAMPLES: Final = 3
_STALL_SECONDS: Final = 0.15
_LONG_SECONDS: Final = 1.0
_SHOWN_FRAMES: Final = 12


class Broken(AssertionError):
    """A rule is broken; the message says how."""


class NotMeasured(Exception):
    """A rule cannot be measured here; the message says why."""


def missing_backend(backend: str) -> str | None:
    """Tell why an event loop cannot be used here.

    Args:
        backend: Its name.

    Returns:
        Why; ``None``: it can.
    """
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        return "trio is not installed (pip install trio)"
    return None


def run_scenario(backend: str, act: Callable[[], Awaitable[None]], limit_seconds: float) -> None:
    """Run a scenario in a thread of its own.

    Args:
        backend: The event loop's name.
        act: The scenario.
        limit_seconds: How long it may take.

    Raises:
        Broken: It found a rule broken, or hangs.
        NotMeasured: It cannot measure what it is for.
        Exception: Whatever else it raised.
    """
    failures: list[BaseException] = []

    async def limited() -> None:
        with anyio.move_on_after(limit_seconds) as limit:
            await act()
        if limit.cancelled_caught:
            raise Broken(f"The test did not end within {limit_seconds:g} s.")

    def work() -> None:
        try:
            anyio.run(limited, backend=backend)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            failures.append(error)

    thread = threading.Thread(target=work, name=f"conformance on {backend}", daemon=True)
    thread.start()
    thread.join(limit_seconds + _GRACE_SECONDS)
    if thread.is_alive():
        stack = _stack_of(sys._current_frames().get(thread.ident or 0))
        raise Broken(
            f"The test was cancelled after {limit_seconds:g} s and does not end: something ignores cancellation or blocks."
            f" Its thread is at:\n{stack}"
        )
    if failures:
        raise _cause_of(failures[0])


def _cause_of(error: BaseException) -> BaseException:
    """Find what was meant, where task groups have wrapped it; a rule that is broken goes first."""
    leaves = list(_leaves(error))
    for kind in (Broken, NotMeasured):
        found = next((leaf for leaf in leaves if isinstance(leaf, kind)), None)
        if found is not None:
            return found
    return leaves[0] if len(leaves) == 1 else error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _stack_of(frame: FrameType | None) -> str:
    if frame is None:
        return "    (it has just ended)"
    return "".join(traceback.format_stack(frame)[-_SHOWN_FRAMES:]).rstrip()


# An event loop that stands still ---------------------------------------------------------------------------------------


@attrs.frozen
class Stall:
    """A time in which the event loop stood still.

    Attributes:
        seconds: How long at least.
        stack: Where, as Python prints it.
    """

    seconds: float
    stack: str


class Watch:
    """Watches from another thread whether an event loop goes on.

    A sample counts where the loop's thread is found at one and the same place several times: a computer that is busy with
    something else stops the watching thread, too, and a loop that has nothing to do waits in its selector.

    Attributes:
        stalls: What was found.
    """

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self._beat_at = time.monotonic()
        self._is_over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the loop of the calling thread, for as long as the block lasts; ``beat`` has to run in it."""
        thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), name="conformance watch", daemon=True)
        self._beat_at = time.monotonic()
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    async def beat(self) -> None:
        """Show that the loop goes on, until cancelled."""
        while True:
            self._beat_at = time.monotonic()
            await anyio.sleep(_BEAT_SECONDS)

    def _watch(self, loop_thread: int) -> None:
        place: tuple[object, int] | None = None
        same = 0
        told_for = -1.0
        while not self._is_over.wait(_SAMPLE_SECONDS):
            beat_at = self._beat_at
            late = time.monotonic() - beat_at
            frame = sys._current_frames().get(loop_thread)
            if frame is None or late < _STALL_SECONDS or _is_waiting(frame):
                place, same = None, 0
                continue
            here = (frame.f_code, frame.f_lineno)
            same = same + 1 if here == place else 1
            place = here
            if (same >= _SAMPLES or late >= _LONG_SECONDS) and told_for != beat_at:
                told_for = beat_at
                self.stalls.append(Stall(late, _stack_of(frame)))


def _is_waiting(frame: FrameType) -> bool:
    return os.path.basename(frame.f_code.co_filename) in ("selectors.py", "_io_epoll.py", "_io_kqueue.py", "_io_windows.py")
