"""Serving the simulator: its ports, its clock, its far side."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from cti_framework.errors import NotSupportedError
from cti_framework.switchboard import Switchboard, SwitchboardFarSide, drive
from cti_framework.switchboard.faults import SwitchFaults
from cti_webitel.simulator.control import control
from cti_webitel.simulator.control_port import serve_control
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.options import SimulatorOptions, changed
from cti_webitel.simulator.recording_server import RecordingServer
from cti_webitel.simulator.websocket import serve_socket

if TYPE_CHECKING:
    from cti_webitel.simulator.verto.endpoint import VertoEndpoint

__all__ = ["WebPhoneFarSide", "WebitelSimulator", "can_serve_web_phones", "serve_webitel"]

_DOMAIN = "demo.local"


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def can_serve_web_phones() -> bool:
    """Tell whether web phones can be served here: the extra ``media`` is installed, and the event loop is asyncio's.

    Returns:
        Whether.
    """
    # The media brings aiortc and codecs with it, which nobody else needs.
    from cti_framework.media import MediaUnavailableError, require_media

    try:
        require_media()
    except MediaUnavailableError:
        return False
    return True


class WebPhoneFarSide(SwitchboardFarSide):
    """The far side of an account whose sound can be heard: each number says a tone, and what it hears is measured.

    Args:
        simulator: The simulator.
        presence: The account.
    """

    def __init__(self, simulator: WebitelSimulator, presence: str) -> None:
        super().__init__(simulator.switchboard, presence, simulator.cut)
        self._simulator = simulator

    async def answer_own(self) -> None:
        """Do nothing of the kind: a web phone is picked up by its session.

        Raises:
            NotSupportedError: Always.
        """
        raise NotSupportedError("The far side cannot pick up a web phone: its session does, by answer_call().")

    def voice(self, number: str, hertz: int) -> None:
        """Let a number speak with another tone than its own.

        Args:
            number: Which.
            hertz: A whole number of hertz, from 100 to 3,400.

        Raises:
            ValueError: That is no such tone.
        """
        self._simulator.voice(number, hertz)

    def voice_of(self, number: str) -> int:
        """Tell the tone that a number speaks with.

        Args:
            number: Which.

        Returns:
            Hertz.
        """
        return self._simulator.voice_of(number)

    def hears(self, number: str) -> float | None:
        """Measure what a number has heard in the last half second.

        Args:
            number: Which.

        Returns:
            The loudest frequency in hertz; ``None``: silence, or it has no call.
        """
        return self._simulator.hears(number)


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
        verto_port: Where web phones are served; ``None``: nowhere.
    """

    def __init__(self, engine: Engine, host: str, port: int, control_port: int | None) -> None:
        super().__init__(engine.switchboard, f"100@{_DOMAIN}", self.cut)
        self.engine = engine
        self.host = host
        self.port = port
        self.control_port = control_port
        self.verto_port: int | None = None
        self._endpoint: VertoEndpoint | None = None
        self._away_until_seconds = 0.0
        self.recording_server = RecordingServer(engine.recordings, engine.tokens, lambda: self.options, lambda: self.away)

    @property
    def url(self) -> str:
        """The engine's address."""
        return _address("ws", self.host, self.port)

    @property
    def verto_url(self) -> str | None:
        """Where web phones connect; ``None``: there is no Verto port."""
        return None if self.verto_port is None else _address("ws", self.host, self.verto_port)

    @property
    def verto(self) -> VertoEndpoint:
        """The server behind the Verto port.

        Raises:
            RuntimeError: There is no such port.
        """
        if self._endpoint is None:
            raise RuntimeError("this simulator serves no web phones: give serve_webitel a verto_port")
        return self._endpoint

    def voice(self, number: str, hertz: int) -> None:
        """Let a number that has no web phone speak with another tone than its own.

        Args:
            number: Which.
            hertz: A whole number of hertz, from 100 to 3,400.

        Raises:
            ValueError: That is no such tone.
            RuntimeError: No web phones are served.
        """
        self.verto.room.set_voice(number, hertz)

    def voice_of(self, number: str) -> int:
        """Tell the tone that a number without a web phone speaks with.

        Args:
            number: Which.

        Returns:
            Hertz.

        Raises:
            RuntimeError: No web phones are served.
        """
        return self.verto.room.voice_of(number)

    def hears(self, number: str) -> float | None:
        """Measure what a number without a web phone has heard in the last half second.

        Args:
            number: Which.

        Returns:
            The loudest frequency in hertz; ``None``: silence, or it has no call.

        Raises:
            RuntimeError: No web phones are served.
        """
        return self.verto.room.heard_at(number)

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
        if self._endpoint is not None:
            self._endpoint.drop_sockets()

    def serve_web_phones(self, endpoint: VertoEndpoint, port: int) -> None:
        """Say that web phones are served as well.

        Args:
            endpoint: The server.
            port: Where.
        """
        self._endpoint, self.verto_port = endpoint, port

    def web_phone_far_side(self, presence: str) -> WebPhoneFarSide:
        """Give the far side of an account with a web phone.

        Args:
            presence: ``number@domain``.

        Returns:
            It.
        """
        return WebPhoneFarSide(self, presence)


@asynccontextmanager
async def serve_webitel(
    host: str = "127.0.0.1",
    port: int = 0,
    control_port: int | None = 0,
    options: SimulatorOptions | None = None,
    *,
    recordings_port: int = 0,
    verto_port: int | None = None,
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
        verto_port: Where web phones are served, with their sound; 0: any that is free; ``None``: nowhere. It adds the accounts
            103 and 104, which have no other phone, and the numbers 9196 (an echo), 9197 (a tone) and 9664 (music).
        seed: What its identifiers are made from; ``None``: others each time, as two runs of a real switch have.
        start: What its clock shows first; ``None``: the time of day.

    Yields:
        The simulator.

    Raises:
        OSError: It cannot listen there.
        MediaUnavailableError: Web phones cannot be served: the extra ``media`` is not installed, or this is not asyncio.
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
            if verto_port is not None:
                # It brings ICE, DTLS and codecs with it, which nobody else needs.
                from cti_webitel.simulator.verto.serving import serve_verto

                served = await stack.enter_async_context(serve_verto(engine, host, verto_port, _DOMAIN, lambda: simulator.away))
                simulator.serve_web_phones(*served)
            if control_listener is not None:
                tasks.start_soon(control_listener.serve, partial(serve_control, carry_out=simulator.control))
            yield simulator
    except BaseExceptionGroup as group:
        # What went wrong in the block leaves it as it is, not wrapped by the tasks beside it.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
