"""A session's events handed to callbacks, in one thread of their own or, through ``deliver``, in the host's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from cti_framework.blocking.runtime import CLOSE_SECONDS, BlockingRuntime
from cti_framework.blocking.subscription import Await
from cti_framework.errors import traceback_text
from cti_framework.eventlog import Subscription
from cti_framework.events import Event

__all__ = ["CallbackThread", "Deliver", "EventCallback"]

Deliver = Callable[[Callable[[], None]], object]

_ROUNDS: Final = 64
_LOOK_SECONDS: Final = 0.05
_DELIVER_SECONDS: Final = 0.5
"""A ``deliver`` that takes longer waits for the host's thread, which may be the one that is closing the session."""


class EventCallback:
    """A callback that is told a session's events until it is cancelled or the session is closed.

    Args:
        callback: What is called.
        deliver: How it gets into the host's thread.
        log: Where to say that it failed.

    Attributes:
        name: By what it is named in logs.
        failures: How many events it failed at, or ``deliver`` did.
        is_cancelled: Whether it was cancelled.
    """

    def __init__(self, callback: Callable[[Event], object], deliver: Deliver | None, log: Any) -> None:
        self.name = _name_of(callback)
        self.failures = 0
        self._callback = callback
        self._deliver = deliver
        self._log = log
        self._reported: set[tuple[str, type]] = set()
        self.is_cancelled = False

    def cancel(self) -> None:
        """Call it no more, not even for what has been delivered and not run yet. A call that runs goes on."""
        self.is_cancelled = True

    @property
    def is_handed_over(self) -> bool:
        """Whether it runs in the host's thread."""
        return self._deliver is not None

    def tell(self, event: Event) -> None:
        """Tell it an event, in the session's thread. It never raises.

        Args:
            event: What happened.
        """
        if self.is_cancelled:
            return
        try:
            if self._deliver is None:
                self._callback(event)
            else:
                self._deliver(partial(self._call_there, event))
        except BaseException as error:  # noqa: BLE001  # isolates the callback: its sys.exit() must not end the others' thread
            self._failed(self.name if self._deliver is None else f"{_name_of(self._deliver)} for {self.name}", error)

    def _call_there(self, event: Event) -> None:
        if self.is_cancelled:
            return
        try:
            self._callback(event)
        except Exception as error:  # noqa: BLE001  # isolates the callback from the host's thread
            self._failed(self.name, error)

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures += 1
        # What fails fails at every event: one line says it, a thousand hide everything else.
        if (name, type(error)) not in self._reported:
            self._reported.add((name, type(error)))
            self._log.error("cti.callback.failed", callback=name, stack=traceback_text(error))


class CallbackThread:
    """The thread of a session's callbacks. It reads the log as everybody does, each callback at a place of its own.

    Args:
        runtime: The session's.
        events: Gives a reader of the session's events, whose place is now; it takes a ``name``.
        wait: How to wait in the loop.
        log: Where to say that something hangs.
    """

    def __init__(self, runtime: BlockingRuntime, events: Callable[..., Subscription], wait: Await, log: Any) -> None:
        self._runtime = runtime
        self._events = events
        self._wait = wait
        self._log = log
        self._readers: list[tuple[EventCallback, Subscription]] = []
        self._round: list[tuple[EventCallback, Event]] = []
        self._thread = threading.Thread(target=self._live, name="cti: callbacks", daemon=True)
        self._present: EventCallback | None = None
        self._present_since = 0.0
        self._is_given_up = False

    def add(self, callback: EventCallback) -> None:
        """Tell a callback what happens from now on. To be called in the loop.

        Args:
            callback: Which.
        """
        if self._thread.ident is None:
            self._thread.start()
            self._runtime.follow(self, True)
        self._readers.append((callback, self._events(name=callback.name)))

    def join(self) -> None:
        """Wait until all is told, but not for what never ends, nor for a host's thread that may be waiting for us."""
        thread = self._thread
        if thread.ident is None or thread is threading.current_thread():
            return
        deadline_seconds = time.monotonic() + CLOSE_SECONDS
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            now_seconds, present = time.monotonic(), self._present
            if present is not None and present.is_handed_over and now_seconds - self._present_since > _DELIVER_SECONDS:
                return
            if now_seconds > deadline_seconds:
                self._is_given_up = True
                name = None if present is None else present.name
                self._log.error("cti.callback.hangs", callback=name, waited_seconds=CLOSE_SECONDS)
                return

    # ------------------------------------------------------------------ in the loop

    async def _take(self) -> bool:
        while not self._look():
            try:
                await anext(self._events())
            except StopAsyncIteration:
                return self._look()
        return True

    def _look(self) -> bool:
        self._readers = [reader for reader in self._readers if not reader[0].is_cancelled]
        for _ in range(_ROUNDS):
            heard = [(callback, reader.next_nowait()) for callback, reader in self._readers]
            told = [(callback, event) for callback, event in heard if event is not None]
            if not told:
                break
            self._round += told
        # An event is told to all before the next is told to anybody.
        self._round.sort(key=lambda heard: heard[1].seq)
        return bool(self._round)

    # ------------------------------------------------------------------ in its thread

    def _live(self) -> None:
        try:
            # When the session is over, what it told at last is read here: the loop may be gone.
            while self._wait(self._take) or self._look():
                told, self._round = self._round, []
                for callback, event in told:
                    if self._is_given_up:
                        return
                    self._present_since = time.monotonic()
                    self._present = callback
                    callback.tell(event)
                    self._present = None
        finally:
            self._runtime.follow(self, False)


def _name_of(function: Callable[..., object]) -> str:
    # A partial or an object that can be called has no name of its own.
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
