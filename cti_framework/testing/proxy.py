"""A TCP proxy that spoils the network between a client and a server, on purpose and reproducibly."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from cti_framework.testing._connection import FaultConnection, Shared, set_up
from cti_framework.testing._log import FaultLog
from cti_framework.testing._signal import ROUNDING_SECONDS, Signal
from cti_framework.testing._stream import Conditions
from cti_framework.testing._verbs import Faults
from cti_framework.testing.faults import Accept, Direction, Fault, Refuse
from cti_framework.testing.schedule import FaultSchedule

if TYPE_CHECKING:
    from cti_framework.switchboard import Clock

__all__ = ["FaultProxy", "fault_proxy"]

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 128


class FaultProxy(Faults):
    """A running proxy. Its verbs are faults for every connection: those that there are, and those that come.

    ``reset``, ``half_close`` and ``cut`` are done once, to those that there are.

    Args:
        shared: What its connections share.

    Attributes:
        host: Where it listens: loopback.
        port: Its port, the same for its whole life.
    """

    def __init__(self, shared: Shared) -> None:
        self.host = _HOST
        self._shared = shared
        self._conditions = {way: Conditions() for way in Direction}
        self._connections: list[FaultConnection] = []
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self._listener.listen(_BACKLOG)
        self._listening = True
        self._refusing_until_seconds = -math.inf

    def __repr__(self) -> str:
        return f"<FaultProxy {self.host}:{self.port}, {len(self._connections)} connections>"

    @property
    def connections(self) -> tuple[FaultConnection, ...]:
        """Every connection since the start, in the order in which they were accepted."""
        return tuple(self._connections)

    @property
    def log(self) -> FaultLog:
        """What it did: the same, byte for byte, for the same seed and the same traffic."""
        return self._shared.log

    def url_for(self, url: str) -> str:
        """Give the address of something behind the proxy, as a client is to use it.

        Args:
            url: Its own address, for example ``ws://pbx.example:10022/engine?x=y``.

        Returns:
            The same with the proxy's host and port. With ``wss:`` or ``https:`` the certificate has to be for this host.
        """
        parts = urlsplit(url)
        user, mark, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{mark}{self.host}:{self.port}"))

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, without sleeping: ``lambda: proxy.connections[0].held_bytes(Direction.TO_SERVER) == 4``.

        Args:
            condition: Asked at once, and again whenever anything changed.
        """
        await anyio.lowlevel.checkpoint()
        while not condition():
            await self._shared.changed.wait()

    def apply(self, fault: Fault, direction: Direction = Direction.BOTH) -> None:
        """Make a fault happen to every connection.

        Args:
            fault: Which.
            direction: Which way it works.
        """
        self.log.command(0, fault, direction)
        if isinstance(fault, Refuse | Accept):
            self._apply_to_listener(fault)
            return
        now = self._shared.changed.now()
        for way in direction:
            self._conditions[way] = self._conditions[way].under(fault, now)
        for connection in self._connections:
            connection.carry_out(fault, direction)

    def refuse(self, for_seconds: float | None = None) -> None:
        """Refuse new connections; see `Refuse`.

        Args:
            for_seconds: How long; ``None``: until ``accept()``.
        """
        self.apply(Refuse(for_seconds))

    def accept(self) -> None:
        """Accept connections again. A client that tries right after this gets through."""
        self.apply(Accept())

    # Listening --------------------------------------------------------------------------------------------------------

    def _apply_to_listener(self, fault: Fault) -> None:
        if isinstance(fault, Refuse):
            seconds = fault.for_seconds
            self._refusing_until_seconds = math.inf if seconds is None else self._shared.changed.now() + seconds
            if self._listening:
                self._close()
                # Bound and not listening: it refuses, and nobody else gets the port.
                self._listener = _bound(self.port)
        elif not self._listening:
            self._listen()
        self._shared.changed.set()

    def _listen(self) -> None:
        self._listener.listen(_BACKLOG)
        self._listening = True

    def _close(self) -> None:
        self._listening = False
        anyio.notify_closing(self._listener)
        self._listener.close()

    async def _run(self, tasks: TaskGroup) -> None:
        changed = self._shared.changed
        while True:
            if not self._listening:
                if changed.now() + ROUNDING_SECONDS < self._refusing_until_seconds:
                    await changed.wait(self._refusing_until_seconds)
                else:
                    self._listen()
                continue
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(self._listener)
                continue
            except ConnectionAbortedError:
                continue
            set_up(client)
            number = len(self._connections) + 1
            connection = FaultConnection(number, client, self._conditions, self._shared, self._apply_to_listener)
            self._connections.append(connection)
            tasks.start_soon(connection.run)
            changed.set()
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def fault_proxy(
    target_host: str,
    target_port: int,
    *,
    seed: int = 0,
    schedule: FaultSchedule | None = None,
    buffer_bytes: int = 65536,
    clock: Clock | None = None,
) -> AsyncIterator[FaultProxy]:
    """Run a proxy for the time of an ``async with``, on asyncio or trio, whichever runs.

    It carries every TCP connection to the target as it is until it is told otherwise, by its verbs or by a schedule.

    Args:
        target_host: The server's host.
        target_port: Its port.
        seed: What sizes of pieces and jitter are drawn from.
        schedule: Faults that come by themselves.
        buffer_bytes: How many bytes of each connection may wait in the proxy, each way, beside those in the system's buffers.
        clock: A clock that a test turns by hand (``cti_framework.switchboard.Clock``): delays, stalls, refusals and bandwidth go
            by it. Without it they take real time.

    Yields:
        The proxy.

    Raises:
        OSError: The host's name is not known, or there is no port to listen on.
        ValueError: ``buffer_bytes`` is not positive.
    """
    if buffer_bytes < 1:
        raise ValueError(f"buffer_bytes ({buffer_bytes}) has to be positive")
    shared = Shared(
        addresses=await _addresses_of(target_host, target_port),
        clock=clock,
        changed=Signal(clock),
        log=FaultLog(seed),
        buffer_bytes=buffer_bytes,
        schedule=schedule or FaultSchedule(),
    )
    proxy = FaultProxy(shared)
    raised: BaseException
    try:
        async with anyio.create_task_group() as tasks:
            try:
                tasks.start_soon(proxy._run, tasks)
                yield proxy
            finally:
                tasks.cancel_scope.cancel()
        return
    except BaseExceptionGroup as group:
        # What goes wrong in the block leaves it as it was raised.
        if len(group.exceptions) > 1:
            raise
        raised = group.exceptions[0]
    finally:
        proxy._close()
    raise raised


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        if os.name == "posix":
            # Connections of a listener that is closed keep its port, and would keep it from the next one.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


async def _addresses_of(host: str, port: int) -> tuple[tuple[int, int, int, Any], ...]:
    found: Sequence[tuple[int, int, int, str, Any]]
    try:
        # Without asking anybody: the event loop's own way takes a thread, which stays.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple((family, kind, protocol, address) for family, kind, protocol, _, address in found)
