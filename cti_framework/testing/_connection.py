"""One connection through the proxy: two sockets, two directions."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from cti_framework.testing._log import FaultLog
from cti_framework.testing._signal import Signal
from cti_framework.testing._stream import Conditions, Stream
from cti_framework.testing._verbs import Faults
from cti_framework.testing.faults import Accept, Cut, Direction, Fault, HalfClose, Refuse, Reset
from cti_framework.testing.schedule import FaultSchedule, ScheduledFault

if TYPE_CHECKING:
    from cti_framework.switchboard import Clock

__all__ = ["FaultConnection", "Shared", "set_up"]

_NO_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_READ_AWAY_BYTES: Final = 2**20
_READ_AWAY_TIMES: Final = 16


def set_up(sock: socket.socket) -> None:
    """Prepare a socket: nothing blocks, and small pieces are not put together.

    Args:
        sock: The socket.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@attrs.frozen
class Shared:
    """What all connections of a proxy share.

    Attributes:
        addresses: The server's, as ``getaddrinfo`` gave them.
        clock: The clock turned by hand; ``None``: the event loop's.
        changed: Set whenever anything changes.
        log: The proxy's.
        buffer_bytes: How many bytes may wait, each way.
        schedule: What comes when.
    """

    addresses: tuple[tuple[int, int, int, Any], ...]
    clock: Clock | None
    changed: Signal
    log: FaultLog
    buffer_bytes: int
    schedule: FaultSchedule


class FaultConnection(Faults):
    """One connection that a client made to the proxy. Its verbs are faults for it alone.

    Args:
        number: 1 is the first that the proxy accepted.
        client: The client's socket.
        conditions: What holds at first.
        shared: What all connections share.
        on_listener: Does the faults that are the listener's.

    Attributes:
        number: As given.
        open: Whether anything of it is left: until both ends have closed, or it was cut or reset.
    """

    def __init__(
        self,
        number: int,
        client: socket.socket,
        conditions: Mapping[Direction, Conditions],
        shared: Shared,
        on_listener: Callable[[Fault], None],
    ) -> None:
        self.number = number
        self.open = True
        self._shared = shared
        self._on_listener = on_listener
        self._ends: dict[Direction, socket.socket] = {Direction.TO_CLIENT: client}
        logs = shared.log.connection(number)
        self._streams = {
            way: Stream(
                conditions=conditions[way],
                signal=Signal(shared.clock, shared.changed),
                log=logs[way],
                buffer_bytes=shared.buffer_bytes,
                scheduled=shared.schedule.of(number, way),
                carry_out=self._carry_out_scheduled,
                on_broken=partial(self._broken, way),
                on_reset=partial(self._reset_after, way),
            )
            for way in Direction
        }

    def __repr__(self) -> str:
        return f"<FaultConnection {self.number}, {'open' if self.open else 'closed'}>"

    def passed_bytes(self, direction: Direction) -> int:
        """Tell how many bytes were passed on.

        Args:
            direction: Which way; of both, the sum.

        Returns:
            The number.
        """
        return sum(self._streams[way].passed_bytes for way in direction)

    def held_bytes(self, direction: Direction) -> int:
        """Tell how many bytes were read and wait, delayed, stalled or for a receiver that does not read.

        Args:
            direction: Which way; of both, the sum.

        Returns:
            The number.
        """
        return sum(self._streams[way].held_bytes for way in direction)

    def lost_bytes(self, direction: Direction) -> int:
        """Tell how many bytes were thrown away because of a fault.

        Args:
            direction: Which way; of both, the sum.

        Returns:
            The number.
        """
        return sum(self._streams[way].lost_bytes for way in direction)

    def apply(self, fault: Fault, direction: Direction = Direction.BOTH) -> None:
        """Make a fault happen to this connection.

        Args:
            fault: Which. `Refuse` and `Accept` are the proxy's: they are done to it.
            direction: Which way it works.
        """
        self._shared.log.command(self.number, fault, direction)
        self.carry_out(fault, direction)

    def carry_out(self, fault: Fault, direction: Direction) -> None:
        """Make a fault happen without writing it down: the proxy has, when all its connections are meant.

        Args:
            fault: Which.
            direction: Which way it works.
        """
        match fault:
            case Refuse() | Accept():
                self._on_listener(fault)
            case Cut():
                self._discard()
                for way in Direction:
                    _close(self._ends.get(way))
            case Reset():
                self._discard()
                for way in direction:
                    _reset(self._ends.get(way))
            case HalfClose():
                for way in direction:
                    self._streams[way].half_close()
            case _:
                for way in direction:
                    self._streams[way].change(fault)

    def _carry_out_scheduled(self, scheduled: ScheduledFault) -> None:
        moment = f"{scheduled.after_bytes} bytes {scheduled.counting}"
        self._shared.log.command(self.number, scheduled.fault, scheduled.direction, moment)
        self.carry_out(scheduled.fault, scheduled.direction)

    # Living -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry bytes until both ends have closed, or nothing can come any more."""
        client = self._ends[Direction.TO_CLIENT]
        to_server, to_client = self._streams[Direction.TO_SERVER], self._streams[Direction.TO_CLIENT]
        try:
            to_server.source = client
            to_client.open_sink(client)
            if not (to_server.conditions.black_hole and to_client.conditions.black_hole):
                await self._reach_server()
            async with anyio.create_task_group() as tasks:
                for stream in (to_server, to_client):
                    tasks.start_soon(stream.read)
                    tasks.start_soon(stream.write)
        finally:
            self._discard(counted=False)
            for end in self._ends.values():
                _end(end)
            self.open = False
            self._shared.changed.set()

    async def _reach_server(self) -> None:
        to_server, to_client = self._streams[Direction.TO_SERVER], self._streams[Direction.TO_CLIENT]
        for family, kind, protocol, address in self._shared.addresses:
            if self._ends[Direction.TO_CLIENT].fileno() < 0:
                return
            server = socket.socket(family, kind, protocol)
            self._ends[Direction.TO_SERVER] = server
            try:
                set_up(server)
                await _connect(server, address)
            except anyio.ClosedResourceError:
                return
            except OSError:
                _end(server)
                continue
            to_client.source = server
            to_server.open_sink(server)
            to_server.carry_out_due()
            to_client.carry_out_due()
            return
        if self._ends[Direction.TO_CLIENT].fileno() >= 0:
            self._shared.log.event(self.number, "unreachable", "the server cannot be reached")
            self._reset_after(Direction.TO_CLIENT)

    # Ending -----------------------------------------------------------------------------------------------------------

    def _broken(self, way: Direction) -> None:
        """The end that this way leads to has reset: a write has shown it."""
        self._streams[way].discard(counted=False)
        self._streams[way.opposite].sender_has_reset()

    def _reset_after(self, way: Direction) -> None:
        """Reset the end that this way leads to, because the other one is gone."""
        self._discard(counted=False)
        _reset(self._ends.get(way))

    def _discard(self, *, counted: bool = True) -> None:
        for stream in self._streams.values():
            stream.discard(counted=counted)


def _reset(end: socket.socket | None) -> None:
    """Close a socket so that the other side is told of a reset."""
    if end is not None and end.fileno() >= 0:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        _end(end)


def _close(end: socket.socket | None) -> None:
    """Close a socket so that the other side is told of an end."""
    if end is not None and end.fileno() >= 0:
        with suppress(OSError):
            # What is closed with something unread in it is reset.
            for _ in range(_READ_AWAY_TIMES):
                if not end.recv(_READ_AWAY_BYTES):
                    break
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        _end(end)


def _end(end: socket.socket) -> None:
    """Close a socket. Whoever waits for it is woken; closing twice does nothing."""
    if end.fileno() >= 0:
        anyio.notify_closing(end)
        end.close()


async def _connect(sock: socket.socket, address: Any) -> None:
    """Connect a socket that does not block.

    Raises:
        OSError: It cannot be.
        anyio.ClosedResourceError: It was closed here meanwhile.
    """
    with suppress(BlockingIOError):
        sock.connect(address)
        return
    await anyio.wait_writable(sock)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
