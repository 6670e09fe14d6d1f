"""One connection that many users stand on: for a PBX that serves all its users over a single socket.

Each user's ``run()`` asks for the connection by a key. The first that asks opens it, the others join, the last that leaves
closes it. It lives in a task group that is no user's, so the first user may go while the others stay. When it breaks, each
``run()`` that stands on it ends with the error that ended it, and whoever comes back first makes the one new connection for all.

A thousand users who come back one by one must not make a thousand attempts on a PBX that is down. Whoever comes while an attempt
is made waits for it and shares what it ends with. Whoever comes after a failure, and sooner than one user alone would try again,
shares that failure.
"""

from __future__ import annotations

import contextvars
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.abc
import attrs
import structlog

from cti_framework.cancellation import fault_of
from cti_framework.errors import (
    ConnectionFailedError,
    CtiError,
    NetworkError,
    PluginError,
    SessionClosedError,
    told_error,
    traceback_text,
)

__all__ = ["Opener", "SharedConnections", "UseShared"]

T = TypeVar("T")

Opener = Callable[[Callable[[T], None]], Awaitable[object]]
"""Lives through one connection: opens it, calls what it is given with it, serves it until it breaks or is cancelled."""

UseShared = Callable[[Hashable, Opener[Any]], AbstractAsyncContextManager[Any]]
"""Stands on the one connection for a key: what a provider's context is given."""

_CLOSE_SECONDS: Final = 3.0
_BREAK_SECONDS: Final = 0.5
"""How long whoever reads a connection may take to find that it broke, after one who writes has."""
_FORGET_SECONDS: Final = 600.0


def _no_pause(failures: int, error: CtiError) -> float:
    return 0.0


@attrs.define(eq=False, repr=False)
class _Connection(Generic[T]):
    """One connection, from the moment it is asked for until nothing is left of it."""

    pause_seconds: Callable[[int, CtiError], float]
    stable_after_seconds: float
    users: int = 0
    value: Any = None
    error: CtiError | None = None
    opened_at: float | None = None
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    decided: anyio.Event = attrs.field(factory=anyio.Event)
    gone: anyio.Event = attrs.field(factory=anyio.Event)
    standing: set[anyio.CancelScope] = attrs.field(factory=set)

    def opened(self, value: T) -> None:
        if not self.decided.is_set():
            self.value = value
            self.opened_at = anyio.current_time()
            self.decided.set()

    def broke(self, error: CtiError) -> None:
        self.error = error
        self.decided.set()
        for scope in self.standing:
            scope.cancel()

    def lasted(self) -> bool:
        return self.opened_at is not None and anyio.current_time() - self.opened_at >= self.stable_after_seconds

    def check(self) -> None:
        if self.error is not None:
            # One error for a thousand users: each raising would lengthen its traceback.
            raise self.error.with_traceback(None)


@attrs.frozen
class _Failure:
    error: CtiError
    count: int
    shared_until: float
    """By the event loop's time."""


class SharedConnections:
    """The shared connections of one hub, or of one session that is in no hub.

    Its connections live in the task group that ``live_in`` names; it is used from that event loop alone.
    """

    def __init__(self) -> None:
        self._tasks: anyio.abc.TaskGroup | None = None
        self._connections: dict[Hashable, _Connection[Any]] = {}
        self._closing: dict[Hashable, _Connection[Any]] = {}
        self._failures: dict[Hashable, _Failure] = {}
        self._log = structlog.get_logger("cti_framework")

    def live_in(self, tasks: anyio.abc.TaskGroup) -> None:
        """Say where the connections live.

        Args:
            tasks: A task group that lasts longer than every user.
        """
        self._tasks = tasks

    @asynccontextmanager
    async def use(
        self,
        key: Hashable,
        opener: Opener[T],
        *,
        pause_seconds: Callable[[int, CtiError], float] = _no_pause,
        stable_after_seconds: float = 0.0,
    ) -> AsyncIterator[T]:
        """Stand on the one connection for a key.

        Args:
            key: Names the connection. It may hold secrets: it is in no log and no error.
            opener: Lives through the connection, if there is none yet; see ``Opener``. It runs for all users, so it belongs
                to none of them.
            pause_seconds: How long a failure is shared by those who come after it: by how many there were in a row, from 1,
                and by the latest. By default not at all.
            stable_after_seconds: A connection that lasted less counts as a failure as well.

        Yields:
            What the opener gave. The block is cancelled when the connection breaks.

        Raises:
            ConnectionFailedError: It could not be opened, or broke. Also where the block raised because it broke: its error is
                the cause then, unless that says already why there is no connection for this user.
            PluginError: The opener raised something of its own.
            SessionClosedError: There is no task group that it could live in.
        """
        connection = self._connections.get(key)
        if connection is None:
            connection = self._open(key, opener, _Connection(pause_seconds, stable_after_seconds))
        connection.users += 1
        try:
            await connection.decided.wait()
            connection.check()
            raised: Exception | None = None
            try:
                with anyio.CancelScope() as standing:
                    connection.standing.add(standing)
                    try:
                        value: T = connection.value
                        yield value
                    finally:
                        connection.standing.discard(standing)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is raised below, or named as the cause
                raised = error
            if raised is not None:
                await self._check_block(connection, raised)
            connection.check()
        finally:
            connection.users -= 1
            if not connection.users:
                await self._close(key, connection)

    async def _check_block(self, connection: _Connection[Any], raised: Exception) -> None:
        """Raise what a block that raised is to end with: why the connection broke, if it did, or else its own error."""
        told = told_error(raised)
        if told is not None and not (told.retryable and isinstance(told, ConnectionFailedError)):
            # It concerns this user: a refused password, say.
            raise raised
        if connection.error is None:
            # A write fails at once; whoever reads is told of it a moment later.
            with anyio.move_on_after(_BREAK_SECONDS):
                await connection.gone.wait()
        if connection.error is None:
            raise raised
        # A copy: a thousand users share the one error, and each has a cause of its own.
        raise copy.copy(connection.error) from raised

    def _open(self, key: Hashable, opener: Opener[T], connection: _Connection[T]) -> _Connection[T]:
        if self._tasks is None:
            raise SessionClosedError("A shared connection needs an open session.", step="connect", remedy="Open it first.")
        failure = self._failures.get(key)
        if failure is not None and anyio.current_time() < failure.shared_until:
            raise failure.error.with_traceback(None)
        self._connections[key] = connection
        # Not in the context of the user who happens to be first: what is bound to its log is not the others'.
        contextvars.Context().run(self._tasks.start_soon, self._live, key, connection, opener)
        return connection

    async def _live(self, key: Hashable, connection: _Connection[T], opener: Opener[T]) -> None:
        error: CtiError = NetworkError("The shared connection ended.")
        try:
            with connection.scope:
                before = self._closing.get(key)
                if before is not None:
                    # One socket at a time, also where the last user has left and another comes at once.
                    await before.gone.wait()
                await opener(connection.opened)
        except BaseException as raised:
            # Whatever a plugin raises is named, and ends its connection only.
            fault = fault_of(raised)
            if fault is None:
                raise
            error = self._named(fault)
        finally:
            if self._connections.get(key) is connection:
                del self._connections[key]
                self._count(key, connection, error)
                self._log.info("cti.shared.lost", users=connection.users, **error.describe())
            if self._closing.get(key) is connection:
                del self._closing[key]
            connection.broke(error)
            connection.gone.set()

    def _count(self, key: Hashable, connection: _Connection[Any], error: CtiError) -> None:
        now = anyio.current_time()
        before = self._failures.pop(key, None)
        if connection.lasted():
            return
        count = 1 if before is None else before.count + 1
        for other in [other for other, failure in self._failures.items() if failure.shared_until + _FORGET_SECONDS < now]:
            del self._failures[other]
        self._failures[key] = _Failure(error, count, now + connection.pause_seconds(count, error))

    async def _close(self, key: Hashable, connection: _Connection[Any]) -> None:
        if self._connections.get(key) is connection:
            del self._connections[key]
            if connection.lasted():
                # The next failure is the first of another row.
                self._failures.pop(key, None)
            # Where one is closing already, this one has waited for it and never opened anything.
            self._closing.setdefault(key, connection)
        connection.scope.cancel()
        # Whoever leaves last has closed it, also when cancelled.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await connection.gone.wait()

    def _named(self, error: BaseException) -> CtiError:
        told = told_error(error) if isinstance(error, Exception) else None
        if told is None:
            # As text: a renderer that is given the exception may show local variables, so secrets.
            self._log.error("cti.shared.raised", stack=traceback_text(error))
            told = PluginError(
                f"The shared connection raised {type(error).__name__}: a fault of the plugin.",
                step="connect",
                retryable=True,
                remedy="Tell its author; the log has the traceback.",
            )
            told.__cause__ = error
        return told
