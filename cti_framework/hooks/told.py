"""What the ``async`` implementations of one session are told: a queue a plugin, and one who looks after the time.

A queue is bounded. One that is full stays as it is, and what comes then is counted; when the plugin has come to the end of it, it
is told how much it missed and what there is (``cti_resync_required``), and goes on with what comes next. So a plugin that is slow
loses events, but never without knowing, and nothing grows.
"""

from __future__ import annotations

import contextvars
import math
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc
import anyio.lowlevel

from cti_framework.cancellation import fault_of
from cti_framework.errors import CtiError
from cti_framework.events import Event, ResyncRequired
from cti_framework.hooks.account import Account, Implementation
from cti_framework.hooks.driven import Driven, GivenUp

__all__ = ["SLOW_SECONDS", "Queue", "Resync", "Run"]

QUEUE_CAPACITY: Final = 1024
"""How many calls may wait for one plugin's ``async`` implementations in one session."""
SLOW_SECONDS: Final = 0.1
"""From here on an implementation that keeps the event loop is reported: nobody else does anything meanwhile."""
GRACE_SECONDS: Final = 1.0
"""How long an implementation that is cancelled may take to end."""

Resync = Callable[[int | None], ResyncRequired]
"""Makes the event for who missed so many: all there is now."""


class _Call:
    """A call of an implementation that is under way."""

    __slots__ = ("began", "cancelled_at", "driven", "implementation", "scope")

    def __init__(self, implementation: Implementation, driven: Driven) -> None:
        self.implementation = implementation
        self.driven = driven
        self.scope = anyio.CancelScope()
        self.began = anyio.current_time()
        self.cancelled_at: float | None = None


class Queue:
    """One plugin's ``async`` implementations in one session: in order, one at a time."""

    __slots__ = (
        "_account",
        "_idle",
        "_is_behind",
        "_is_working",
        "_items",
        "_missed",
        "_missed_seq",
        "_run",
        "_wake",
        "call",
        "is_over",
    )

    def __init__(self, account: Account, run: Run) -> None:
        self._account = account
        self._run = run
        self._items: deque[tuple[Implementation, Any, Event]] = deque()
        self._is_behind = False
        self._missed: int | None = 0
        self._missed_seq = 0
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._is_working = False
        self.call: _Call | None = None
        self.is_over = False

    @property
    def is_busy(self) -> bool:
        """Whether anything is being called, or waits."""
        return not self.is_over and (self.call is not None or bool(self._items) or self._is_behind)

    def put(self, implementation: Implementation, model: Any, event: Event) -> None:
        """Have an implementation called when its turn comes."""
        if self.is_over:
            self._account.drop(implementation.hook, "its queue was given up")
            return
        if self._is_behind or len(self._items) >= QUEUE_CAPACITY:
            self._account.drop(implementation.hook, f"{QUEUE_CAPACITY} of them wait already")
            if not self._is_behind:
                self.fall_behind(0)
                self._account.fell_behind()
            # Two hooks of one plugin can be told one event.
            if self._missed is not None and event.seq != self._missed_seq:
                self._missed += 1
                self._missed_seq = event.seq
            return
        self._items.append((implementation, model, event))
        self._begin()

    def fall_behind(self, missed: int | None) -> None:
        """Have the plugin told, after what waits, that it missed so many (``None``: not known)."""
        if not self.is_over:
            self._is_behind = True
            self._missed = missed
            self._begin()

    async def idle(self) -> None:
        """Wait until nothing is called and nothing waits."""
        while self.is_busy:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    def drop_all(self, reason: str) -> None:
        """Forget what waits."""
        if self._items:
            self._account.drop(self._items[0][0].hook, reason, len(self._items))
            self._items.clear()
        self._is_behind = False

    def give_up(self) -> None:
        """Leave the implementation that is being called where it is. The plugin is told nothing more in this session."""
        call = self.call
        assert call is not None
        self.is_over = True
        self._account.did_not_end(call.implementation.hook)
        self.drop_all("its queue was given up")
        call.driven.give_up()
        self._idle.set()

    def _begin(self) -> None:
        self._wake.set()
        if not self._is_working:
            self._is_working = True
            self._run.start(self._work, f"hooks of {self._account.name}")

    async def _work(self) -> None:
        try:
            while not self.is_over:
                if self._items:
                    await self._call(*self._items.popleft())
                elif self._is_behind:
                    await self._catch_up()
                else:
                    self._idle.set()
                    self._wake = anyio.Event()
                    await self._wake.wait()
                    continue
                # An implementation that never waits would keep everybody else waiting.
                await anyio.lowlevel.checkpoint()
        finally:
            self._is_working = False
            self._idle.set()

    async def _catch_up(self) -> None:
        missed, self._missed, self._is_behind = self._missed, 0, False
        told = self._run.resync_of(self._account)
        if told is None or self._run.resync is None:
            return
        # Made now, and not when it fell behind: what is put from here on came after it.
        event = self._run.resync(missed)
        if told.is_async:
            await self._call(told, self._run.model, event)
        else:
            self._run.tell_now(told, self._run.model, event)

    async def _call(self, implementation: Implementation, model: Any, event: Event) -> None:
        account, hook = self._account, implementation.hook
        if account.switched_off:
            account.drop(hook, "the plugin is switched off")
            return
        try:
            driven = Driven(implementation.call(model, event), self._run.clock)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - isolates the plugin: nothing was awaited, so no cancellation is this task's
            account.failed(hook, error)
            account.did_wrong()
            return
        call = self.call = _Call(implementation, driven)
        self._run.watch(call)
        did_well = True
        try:
            with call.scope:
                await driven
        except GivenUp:
            # Somebody has said so already.
            did_well = False
        except BaseException as error:
            # Isolates the plugin, whatever it raises.
            fault = fault_of(error)
            if fault is None:
                raise
            did_well = False
            # Trio complains of scopes that what was left has not closed.
            if not driven.is_left:
                account.failed(hook, fault)
        finally:
            self.call = None
        if driven.is_left:
            account.kept.append(driven.coroutine)
        if call.cancelled_at is not None:
            did_well = False
        if driven.slowest_seconds >= SLOW_SECONDS:
            account.was_slow(hook, driven.slowest_seconds)
            did_well = False
        if did_well:
            account.did_well()
        else:
            account.did_wrong()


class Run:
    """The ``async`` implementations of one session.

    Args:
        model: The session's ``CtiModel``.
        group: Where they run.
        timeout_seconds: How long each may take.
        clock: Gives seconds that only grow.
        resync: Makes the event for a plugin that missed some; ``None``: nobody can.
        on_trouble: Told what the host should know; ``None``: nobody is.
        resync_of: Finds a plugin's implementation of ``cti_resync_required``.
        tell_now: Calls an implementation that is not ``async``.
    """

    __slots__ = (
        "_context",
        "_queues",
        "_timeout_seconds",
        "_until",
        "_wake",
        "clock",
        "group",
        "model",
        "on_trouble",
        "resync",
        "resync_of",
        "tell_now",
    )

    def __init__(
        self,
        model: Any,
        group: anyio.abc.TaskGroup,
        *,
        timeout_seconds: float,
        clock: Callable[[], float],
        resync: Resync | None,
        on_trouble: Callable[[CtiError], None] | None,
        resync_of: Callable[[Account], Implementation | None],
        tell_now: Callable[[Implementation, Any, Event], None],
    ) -> None:
        self.model = model
        self.group = group
        self.clock = clock
        self.resync = resync
        self.on_trouble = on_trouble
        self.resync_of = resync_of
        self.tell_now = tell_now
        self._timeout_seconds = timeout_seconds
        self._context = contextvars.copy_context()
        self._queues: dict[Account, Queue] = {}
        # The task that looks after the time is started by the first call.
        self._wake: anyio.Event | None = None
        self._until = math.inf

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Begin a task of the session: in the context of who opened it.

        Whoever happens to set off the first event, a web request say, is another with each start.
        """
        self._context.copy().run(partial(self.group.start_soon, work, name=name))

    def queue(self, account: Account) -> Queue:
        """Give a plugin's queue.

        Args:
            account: The plugin's.

        Returns:
            The queue; a new one if it has none.
        """
        queue = self._queues.get(account)
        if queue is None:
            queue = self._queues[account] = Queue(account, self)
        return queue

    def forget(self, account: Account, reason: str) -> None:
        """Drop what waits for a plugin."""
        queue = self._queues.get(account)
        if queue is not None:
            queue.drop_all(reason)

    def begin_anew(self, account: Account) -> None:
        """Go on with a plugin that was told nothing for a while: it is told what there is now."""
        queue = self._queues.get(account)
        if queue is not None and queue.is_over:
            del self._queues[account]
        if self.resync_of(account) is not None:
            self.queue(account).fall_behind(None)

    async def idle(self) -> None:
        """Wait until nothing is called and nothing waits."""
        while busy := [queue for queue in self._queues.values() if queue.is_busy]:
            await busy[0].idle()

    # The time ----------------------------------------------------------------------------------------------------------

    def watch(self, call: _Call) -> None:
        """Look after the time of a call that begins."""
        if self._wake is None:
            self._wake = anyio.Event()
            self.start(self._look_after, "hooks: time-outs")
        # Almost always it is asleep until an earlier call's time is over, and looks then.
        elif call.began + self._timeout_seconds < self._until:
            self._wake.set()

    async def _look_after(self) -> None:
        """Cancel what does not return in its time, and leave what does not end then. Until cancelled."""
        while True:
            self._until = self._next_look()
            wake = self._wake = anyio.Event()
            with anyio.CancelScope(deadline=self._until):
                await wake.wait()

    def _next_look(self) -> float:
        now, until = anyio.current_time(), math.inf
        for queue in self._queues.values():
            call = queue.call
            if call is None or queue.is_over:
                continue
            due = call.began + self._timeout_seconds if call.cancelled_at is None else call.cancelled_at + GRACE_SECONDS
            if now >= due:
                if call.cancelled_at is not None:
                    queue.give_up()
                    continue
                call.cancelled_at = now
                call.implementation.account.did_not_return(call.implementation.hook, self._timeout_seconds)
                call.scope.cancel()
                due = now + GRACE_SECONDS
            until = min(until, due)
        return until

    async def end(self) -> None:
        """End what is being called, which is cancelled already, and drop what waits. It may be given a little time."""
        for queue in self._queues.values():
            queue.drop_all("the session ended")
        if any(queue.call is not None for queue in self._queues.values()):
            with anyio.move_on_after(GRACE_SECONDS, shield=True):
                await self.idle()
            for queue in self._queues.values():
                if queue.call is not None and not queue.is_over:
                    queue.give_up()
