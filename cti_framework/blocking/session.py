"""One operator's session for a host without an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio
import anyio.abc
import structlog

from cti_framework.blocking.callbacks import CallbackThread, Deliver, EventCallback
from cti_framework.blocking.readings import BlockingReadings
from cti_framework.blocking.runtime import CLOSE_SECONDS, BlockingRuntime
from cti_framework.blocking.subscription import BlockingSubscription
from cti_framework.blocking.verbs import Act, BlockingVerbs, InTime
from cti_framework.blocking.work import Work
from cti_framework.errors import CommandUnconfirmedError, SessionClosedError, traceback_text
from cti_framework.eventlog import IfBehind
from cti_framework.events import Cursor, Event
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser

if TYPE_CHECKING:
    from cti_framework.media import MediaPeers

__all__ = ["BlockingCtiModel", "open_session"]

T = TypeVar("T")

_REMEDY: Final = "Open another one with `open_session`."


def open_session(
    initializer: CtiProviderInitializer,
    user: CtiUser | str,
    *,
    wait_for_service: bool = True,
    runtime: BlockingRuntime | None = None,
    media: MediaPeers | None = None,
) -> BlockingCtiModel:
    """Open a session for a user: the whole chain, then the connection; and wait until it is open.

    Args:
        initializer: Knows the settings. Its sessions share its hooks, so open all of them in one runtime.
        user: Whose line it is; a text is taken as the user's identifier.
        wait_for_service: Whether to wait for the first attempt to connect and raise what it ended with. If not, the session
            opens at once and goes on trying.
        runtime: The event loop to use, for more sessions than one; ``None``: one of its own, which is closed with the session.
        media: As for ``CtiProviderInitializer.open``. It is called in the event loop.

    Returns:
        The open session. Close it, or use it with ``with``.

    Raises:
        CtiError: As for ``CtiProviderInitializer.open``.
        SessionClosedError: The runtime is closed, or of another process.
        BlockingCallError: An event loop runs in this thread.
    """
    return BlockingCtiModel(partial(initializer.open, user, wait_for_service=wait_for_service, media=media), runtime=runtime)


class BlockingCtiModel(BlockingVerbs, BlockingReadings):
    """One operator's session, open from the moment it is made until it is closed: ``CtiModel`` for threads that wait.

    Everything may be called from any thread in which no event loop runs; ``close()`` from any thread at all. It belongs to the
    process that opened it.

    Args:
        opener: Called in the loop; gives what opens the session: ``CtiProviderInitializer.open`` with its arguments, or a new
            ``CtiModel``.
        runtime: The event loop to use; ``None``: one of its own, which is closed with the session.

    Attributes:
        user: Whose line it is.
        provider_name: By what the provider is named in logs and errors.

    Raises:
        CtiError: As for ``CtiModel.__aenter__``, and what the opener raises.
        SessionClosedError: The runtime is closed, or of another process.
        BlockingCallError: An event loop runs in this thread.
    """

    def __init__(
        self, opener: Callable[[], AbstractAsyncContextManager[CtiModel]], *, runtime: BlockingRuntime | None = None
    ) -> None:
        self._owns_runtime = runtime is None
        self._opener = opener
        self._is_closed = False
        self._scope: anyio.CancelScope | None = None
        self._verbs: anyio.abc.TaskGroup | None = None
        self._log = structlog.get_logger("cti_framework")
        self._runtime = BlockingRuntime() if runtime is None else runtime
        try:
            self._runtime.check_may_wait("open")
            if self._runtime.closed:
                raise SessionClosedError("open: the runtime is closed.", step="open", remedy="Make another BlockingRuntime.")
            self._model = self._run("open", self._begin_to_open)
        except BaseException:
            # Interrupted at the last moment, it may be open already.
            self._runtime.post(self._end)
            if self._owns_runtime:
                self._runtime.close()
            raise
        self.user = self._model.user
        self.provider_name = self._model.provider_name
        self._log = self._log.bind(user=self.user.id, provider=self.provider_name)
        self._callbacks = CallbackThread(self._runtime, self._model.events, self._wait, self._log)

    # ------------------------------------------------------------------ closing

    @property
    def closed(self) -> bool:
        """Whether it is closed, or about to be. In a process that was forked from its own it always is."""
        return self._is_closed or self._runtime.closed

    def close(self) -> None:
        """Close the session and everything it opened. From any thread, any number of times; it raises nothing.

        Who waits for a verb gets ``SessionClosedError``; who reads events reads to their end, and callbacks are told them to
        their end. From the loop's own thread it only begins. In a forked process it does nothing: the session is the parent's.
        """
        if self._runtime.is_foreign:
            return
        self._is_closed = True
        if self._owns_runtime:
            self._runtime.close()
            return
        self._runtime.post(self._end)
        if not self._runtime.is_own_thread:
            self._wait_for_end()
            self._callbacks.join()

    def __enter__(self) -> Self:
        """Give the session itself, which is open already.

        Returns:
            The session.
        """
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        """Close it."""
        self.close()

    # ------------------------------------------------------------------ events

    def events(
        self,
        after: Cursor | None = None,
        timeout_seconds: float | None = None,
        *,
        if_behind: IfBehind = IfBehind.RESYNC,
        name: str = "",
    ) -> BlockingSubscription:
        """Read the session's events.

        Args:
            after: The last event already seen; what came after it is told first. ``None``: only what comes from now on.
            timeout_seconds: How long to wait for each event, before ``TimeoutError``; ``None``: as long as it takes.
            if_behind: What becomes of the reader where the events after its place are gone: it is given ``ResyncRequired`` and
                goes on from there, or gets ``SubscriberBehindError`` and is over.
            name: By what its losses are logged and counted in ``event_losses``.

        Returns:
            An iterator. Its place is fixed now: events told before the first ``next`` are not missed. It ends with the session.
        """
        subscription = self._read("events", lambda model: model.events(after, if_behind=if_behind, name=name))
        return BlockingSubscription(subscription, self._wait, timeout_seconds)

    def on_event(self, callback: Callable[[Event], object], *, deliver: Deliver | None = None) -> EventCallback:
        """Have a callback called with each event from now on, one after the other, in one thread for all callbacks.

        What a callback raises is logged with its name; the others are told all the same. It may call verbs, and ``close()``.
        One that takes long keeps the others waiting, until they are given ``ResyncRequired``.

        Args:
            callback: What to call.
            deliver: Where callbacks are to run in a thread of the host's: what hands a function without arguments to that
                thread, for example ``queue.put`` of a queue that it empties. It should not wait for that thread.

        Returns:
            Cancel it to hear no more.

        Raises:
            SessionClosedError: The session is closed, or of another process.
            BlockingCallError: An event loop runs in this thread.
        """
        self._runtime.check_may_wait("on_event")
        told = EventCallback(callback, deliver, self._log)

        def begin(work: Work[None]) -> None:
            if self._verbs is None:
                work.end()
            else:
                work.run_now(lambda: self._callbacks.add(told))

        self._run("on_event", begin)
        return told

    def within(self, timeout_seconds: float) -> BlockingVerbs:
        """Give the verbs with a time of their own: ``session.within(5).make_call("0501")``.

        Args:
            timeout_seconds: How long each may take. One that takes longer is cancelled and raises
                ``CommandUnconfirmedError``. The session's own limits hold as well.

        Returns:
            The session's verbs.

        Raises:
            InvalidArgumentError: The time is not above zero.
        """
        return InTime(self, timeout_seconds)

    # ------------------------------------------------------------------ in threads

    def _ask(self, step: str, act: Act[T], *, command_id: object = None) -> T:
        self._runtime.check_may_wait(step)

        def begin(work: Work[T]) -> None:
            verbs = self._verbs
            if verbs is None or self.closed:
                work.end()
            else:
                self._runtime.spawn(work, lambda: act(self._model, work.tell), verbs)

        return self._run(step, begin)

    def _run(self, step: str, begin: Callable[[Work[T]], object]) -> T:
        work = self._runtime.run(begin)
        if work.has_outcome:
            return work.outcome()
        if work.cancelled_itself:
            raise CommandUnconfirmedError(
                f"{step}: something within the provider cancelled it.",
                command=step,
                remedy="It may have acted: look at the calls before trying again.",
            )
        if work.has_begun:
            # It may be on its way only: a session can also end by a fault.
            self._is_closed = True
            raise SessionClosedError(f"{step}: the session was closed meanwhile. It may have acted.", step=step, remedy=_REMEDY)
        raise SessionClosedError(f"{step}: the session is closed.", step=step, remedy=_REMEDY)

    def _read(self, step: str, act: Callable[[CtiModel], T]) -> T:
        runtime = self._runtime
        if not runtime.is_own_thread:
            runtime.check_may_wait(step)
        return runtime.read(lambda: act(self._model))

    def _wait(self, act: Callable[[], Awaitable[bool]]) -> bool:
        self._runtime.check_may_wait("events")

        def begin(work: Work[bool]) -> None:
            # Not among the verbs, which are cancelled with the session: its log ends it, when everything is read.
            self._runtime.spawn(work, act, self._runtime.tasks)

        work = self._runtime.run(begin)
        if work.has_outcome:
            return work.outcome()
        self._wait_for_end()
        return False

    def _wait_for_end(self) -> None:
        def begin(work: Work[None]) -> None:
            self._runtime.spawn(work, self._ended.wait, self._runtime.tasks)

        if self._runtime.run(begin, timeout_seconds=CLOSE_SECONDS).has_outcome:
            return
        if self._runtime.closed:
            self._runtime.join()
        else:
            self._log.error("cti.blocking.hangs", waited_seconds=CLOSE_SECONDS)

    # ------------------------------------------------------------------ in the loop

    def _begin_to_open(self, work: Work[CtiModel]) -> None:
        self._runtime.spawn(work, self._open, self._runtime.tasks)

    async def _open(self) -> CtiModel:
        model: CtiModel = await self._runtime.tasks.start(self._live)
        return model

    async def _live(self, *, task_status: anyio.abc.TaskStatus[CtiModel]) -> None:
        self._ended = anyio.Event()
        is_open = False
        try:
            with anyio.CancelScope() as self._scope:
                async with self._opener() as model, anyio.create_task_group() as self._verbs:
                    is_open = True
                    task_status.started(model)
                    await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            if not is_open:
                raise
            self._log.error("cti.session.failed", stack=traceback_text(error))
        finally:
            self._verbs = None
            self._is_closed = True
            self._ended.set()

    def _end(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
