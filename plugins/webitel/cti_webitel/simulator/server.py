"""Serving the simulator: its ports, its clock, its far side."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from cti_framework.switchboard import Switchboard, SwitchboardFarSide, drive
from cti_framework.switchboard.faults import SwitchFaults
from cti_webitel.simulator.control import control
from cti_webitel.simulator.control_port import serve_control
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.options import SimulatorOptions, changed
from cti_webitel.simulator.recording_server import RecordingServer
from cti_webitel.simulator.websocket import serve_socket

__all__ = ["WebitelSimulator", "serve_webitel"]

_DOMAIN = "demo.local"


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class WebitelSimulator(SwitchboardFarSide):
    """A running simulator; as a far side, that of account 100.

    Args:
        engine: The engine behind its port.
        host: Where it listens.
        port: The engine's port.
        control_port: The control port; ``None``: it has none.

    Attributes:
        recording_server: Serves the calls' recordings.
        engine: As given.
        host: As given.
        port: As given.
        control_port: As given.
    """

    def __init__(self, engine: Engine, host: str, port: int, control_port: int | None) -> None:
        super().__init__(engine.switchboard, f"100@{_DOMAIN}", self.cut)
        self.engine = engine
        self.host = host
        self.port = port
        self.control_port = control_port
        self._away_until_seconds = 0.0
        self.recording_server = RecordingServer(engine.recordings, engine.tokens, lambda: self.options, lambda: self.away)

    @property
    def url(self) -> str:
        """The engine's address."""
        return _address("ws", self.host, self.port)

    @property
    def recordings_url(self) -> str:
        """Where recordings are served."""
        return self.engine.recordings.address

    @property
    def options(self) -> SimulatorOptions:
        """How it behaves now."""
        return self.engine.options

    @property
    def faults(self) -> SwitchFaults:
        """What goes wrong on the engine's sockets, frame by frame."""
        return self.engine.faults

    @property
    def away(self) -> bool:
        """Whether the network is cut just now."""
        return self.switchboard.clock.elapsed_seconds < self._away_until_seconds

    def configure(self, **changes: Any) -> SimulatorOptions:
        """Change options while it runs.

        Args:
            **changes: As :class:`SimulatorOptions` names them.

        Returns:
            The options now.

        Raises:
            ValueError: There is no such option, or it may not hold that.
        """
        self.engine.configure(changed(self.engine.options, changes))
        return self.engine.options

    def control(self, request: object) -> dict[str, Any]:
        """Carry out a verb of the control port.

        Args:
            request: The object that the port would read.

        Returns:
            The object that it would answer.
        """
        return control(self.engine, request)

    def far_side(self, presence: str) -> SwitchboardFarSide:
        """Give the far side of another account.

        Args:
            presence: ``number@domain``.

        Returns:
            It.
        """
        return SwitchboardFarSide(self.switchboard, presence, self.cut)

    def cut(self, seconds: float = 0.0) -> None:
        """Cut every socket without a goodbye; calls go on.

        Args:
            seconds: For how long whoever connects is cut off at once.
        """
        self._away_until_seconds = self.switchboard.clock.elapsed_seconds + seconds
        self.engine.drop_sockets()
        self.recording_server.drop()


@asynccontextmanager
async def serve_webitel(
    host: str = "127.0.0.1",
    port: int = 0,
    control_port: int | None = 0,
    options: SimulatorOptions | None = None,
    *,
    recordings_port: int = 0,
    seed: int | None = None,
    start: datetime | None = None,
) -> AsyncGenerator[WebitelSimulator]:
    """Serve a Webitel, with accounts 100, 101, 102 and the administrator 200 in ``demo.local``; password = number.

    The three users are the agents of the queue ``support@demo.local``. ``root`` logs in with the password of the options.

    Leaving the block cuts every socket and ends everything.

    Args:
        host: Where to listen.
        port: The engine's port; 0: any that is free.
        control_port: The control port; 0: any that is free; ``None``: none.
        options: How it behaves.
        recordings_port: Where recordings are served; 0: any that is free.
        seed: What its identifiers are made from; ``None``: others each time, as two runs of a real switch have.
        start: What its clock shows first; ``None``: the time of day.

    Yields:
        The simulator.

    Raises:
        OSError: It cannot listen there.
    """
    switchboard = Switchboard(seed=secrets.randbits(64) if seed is None else seed, start=start or datetime.now(UTC))
    for number, role in (("100", "user"), ("101", "user"), ("102", "user"), ("200", "admin")):
        switchboard.add_account(number, _DOMAIN, password=number, role=role)
    engine = Engine(switchboard, options or SimulatorOptions())
    try:
        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(await anyio.create_tcp_listener(local_host=host, local_port=port))
            control_listener = None
            if control_port is not None:
                control_listener = await stack.enter_async_context(
                    await anyio.create_tcp_listener(local_host=host, local_port=control_port)
                )
                control_port = control_listener.extra(SocketAttribute.local_port)
            recordings_listener = await stack.enter_async_context(
                await anyio.create_tcp_listener(local_host=host, local_port=recordings_port)
            )
            engine.recordings.address = _address("http", host, recordings_listener.extra(SocketAttribute.local_port))
            simulator = WebitelSimulator(engine, host, listener.extra(SocketAttribute.local_port), control_port)
            tasks: TaskGroup = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            await tasks.start(partial(drive, switchboard))
            tasks.start_soon(listener.serve, partial(serve_socket, engine=engine, is_away=lambda: simulator.away))
            tasks.start_soon(recordings_listener.serve, simulator.recording_server.serve)
            if control_listener is not None:
                tasks.start_soon(control_listener.serve, partial(serve_control, carry_out=simulator.control))
            yield simulator
    except BaseExceptionGroup as group:
        # What went wrong in the block leaves it as it is, not wrapped by the tasks beside it.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
