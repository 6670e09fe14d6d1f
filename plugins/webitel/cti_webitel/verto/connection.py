"""One connection of a web phone: the socket, the log in, keeping it alive, the waiting for answers.

The rules of the wire are in `cti_webitel.verto.protocol`. One `run` is one connection's life. It never reconnects and nothing is
ever sent twice: who holds the object decides that, and runs it again. The session, and with it the calls, goes on.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    ConnectionFailedError,
    NetworkError,
    OutageKind,
)
from cti_framework.liveness import Liveness, LivenessPolicy, LivenessStep
from cti_framework.recorder import FrameData, FrameDirection
from cti_framework.transport import WebSocket, open_websocket, safe_url
from cti_webitel.engine.connection import OnTraffic, OpenWebSocket
from cti_webitel.verto.asking import Asking
from cti_webitel.verto.attaching import Attaching, OnAttach
from cti_webitel.verto.dialogs import Dialog
from cti_webitel.verto.errors import SessionTakenError
from cti_webitel.verto.login import log_in
from cti_webitel.verto.protocol import BadFrame, Output, Reply, Unexpected, VertoCounts, VertoProtocol
from cti_webitel.verto.replies import Outcome
from cti_webitel.verto.requests import Attach, Login, Ping, Subscribe, VertoMessage
from cti_webitel.verto.signals import Attached, AttachFailed, Ended, Punted, Ready, Signal, SubscriptionLost
from cti_webitel.verto.timeouts import VertoTimeouts

__all__ = ["VertoConnection"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_SHUTDOWN: Final = "SYSTEM_SHUTDOWN"


class VertoConnection:
    """One user's connection to one server; what its arguments mean, `VertoClient` says."""

    def __init__(
        self,
        url: str,
        user: str,
        password: Secret[str],
        *,
        on_signals: Callable[[Sequence[Signal]], object],
        on_attach: OnAttach | None = None,
        session_id: str | None = None,
        login_params: Mapping[str, Any] = _NOTHING,
        user_variables: Mapping[str, Any] = _NOTHING,
        on_request: Callable[[VertoMessage], object] | None = None,
        on_traffic: OnTraffic | None = None,
        timeouts: VertoTimeouts | None = None,
        ssl_context: ssl.SSLContext | None = None,
        log: Any = None,
        clock: Callable[[], float] = time.monotonic,
        open_socket: OpenWebSocket = open_websocket,
    ) -> None:
        self._url = url
        self._login = Login(user, password, login_params, user_variables)
        self._on_signals = on_signals
        self._on_attach = on_attach
        self._on_request = on_request
        self._on_traffic = on_traffic
        self._timeouts = timeouts or VertoTimeouts()
        self._ssl_context = ssl_context
        self._log = log if log is not None else structlog.get_logger("cti_webitel.verto")
        self._clock = clock
        self._open_socket = open_socket
        self._protocol = VertoProtocol(session_id)
        self._liveness = Liveness(LivenessPolicy(self._timeouts.silence_seconds, self._timeouts.probe_seconds), clock)
        # Connections come and go; what was subscribed to stays.
        self._subscribed: dict[str, None] = {}
        self._asking = Asking(self._protocol, on_sending=self._sending, on_silence=self._suspect)
        self._attaching: Attaching | None = None
        self._taken: SessionTakenError | None = None
        self._running = False
        self._connected = False
        self._is_ready = False
        self._is_shutting_down = False
        self._woken = anyio.Event()
        self._has_replies = anyio.Event()
        self._bad_frames = 0

    def __repr__(self) -> str:
        state = "ready" if self._connected else "connecting" if self._running else "disconnected"
        return f"<{type(self).__name__} {self._login.user} at {safe_url(self._url)}, {state}>"

    @property
    def user(self) -> str:
        """The user of this connection, ``number@domain``."""
        return self._login.user

    @property
    def session_id(self) -> str:
        """The session. A program that keeps it, and is started again in time, gets its calls back."""
        return self._protocol.session_id

    @property
    def timeouts(self) -> VertoTimeouts:
        """How long to wait for what."""
        return self._timeouts

    @property
    def connected(self) -> bool:
        """Whether something can be asked: logged in, and the connection is not known to be broken."""
        return self._connected

    @property
    def dialogs(self) -> Mapping[str, Dialog]:
        """The calls that there are, by identifier. They outlive connections."""
        return self._protocol.dialogs

    @property
    def counts(self) -> VertoCounts:
        """What was received and meant nothing, since this object was made."""
        return self._protocol.counts

    @property
    def unacknowledged_bytes(self) -> int | None:
        """How much of what was sent the server's computer has not acknowledged; ``None`` where that cannot be told."""
        return None if self._asking.socket is None else self._asking.socket.unacknowledged_bytes

    def renew_session(self) -> None:
        """Begin a new session, after `SessionTakenError`: the old one, with its calls, belongs to somebody else.

        Raises:
            RuntimeError: It runs.
        """
        if self._running:
            raise RuntimeError("A session is renewed between two connections.")
        self._taken = None
        ended = self._protocol.renew()
        if ended:
            self._on_signals(ended)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, log in, take back the calls that the server still has, then deliver signals until the connection breaks.

        ``task_status.started()`` is called when something can be asked. It ends only by an error or by being cancelled. Calls
        are not hung up at the end: the server keeps those that are answered for a while.

        Args:
            task_status: As `anyio.abc.TaskGroup.start` passes it.

        Raises:
            AddressError: The URL cannot be connected to.
            NetworkError: The server cannot be reached, does not answer in time, or the connection broke.
            CredentialsRefusedError: The server refuses the user.
            SessionTakenError: Another connection has the session. It is raised again at each run until `renew_session`.
            ProtocolError: What answers there is no Verto.
            RuntimeError: It runs already.
        """
        if self._running:
            raise RuntimeError("This web phone runs already; one object is one connection.")
        if self._taken is not None:
            raise SessionTakenError(self._taken.message)
        self._running = True
        try:
            async with self._open_socket(
                self._url,
                open_timeout_seconds=self._timeouts.open_seconds,
                close_timeout_seconds=self._timeouts.close_seconds,
                ssl_context=self._ssl_context,
                # The server answers no ping of WebSocket, and takes one for a message that it cannot read.
                ping_interval_seconds=None,
            ) as socket:
                self._log.debug("verto.opened", user=self.user, url=safe_url(self._url))
                failure = await self._live(socket, task_status)
        finally:
            self._running = False
        raise failure

    async def ask(self, message: VertoMessage, *, timeout_seconds: float | None = None) -> Outcome:
        """Ask anything and wait for the answer. When it is cancelled it may have acted; what the answer means still counts.

        Args:
            message: What.
            timeout_seconds: How long to wait for the answer; by default ``command_seconds``.

        Returns:
            What the server answers.

        Raises:
            NotConnectedError: There is no connection; nothing was sent.
            NotAllowedNowError: The state of the call does not allow it; nothing was sent.
            InvalidArgumentError: The server would not read it; nothing was sent.
            CallGoneError: The server does not have the call any more.
            CommandRefusedError: The server answered no; its words are in ``pbx_text``.
            CommandUnconfirmedError: No answer in time, or the connection broke while waiting.
        """
        if not self._connected:
            raise self._asking.not_connected(message)
        return await self._asking.ask(message, self._timeouts.command_seconds if timeout_seconds is None else timeout_seconds)

    # ------------------------------------------------------------------ one connection

    async def _live(self, socket: WebSocket, task_status: TaskStatus[None]) -> ConnectionFailedError:
        """Live through a connection, and tell what it ended with."""
        self._asking.socket, self._asking.failure = socket, None
        self._is_ready = self._is_shutting_down = False
        failure: ConnectionFailedError | None = None
        self._tell_traffic(FrameDirection.OPEN, safe_url(self._url))
        self._protocol.opened()
        self._liveness.restart(watches_silence=True)
        try:
            async with anyio.create_task_group() as group:
                if self._on_attach is not None:
                    self._attaching = Attaching(
                        group,
                        self._on_attach,
                        self._send_attach,
                        self._tell_attach_failed,
                        seconds=self._timeouts.attach_seconds,
                        log=self._log,
                    )
                group.start_soon(self._read, socket)
                group.start_soon(self._write, socket)
                try:
                    await log_in(
                        self._login, self._asking.request, seconds=self._timeouts.login_seconds, peer=safe_url(self._url)
                    )
                    await self._wait_ready()
                    self._connected = True
                    self._log.debug("verto.ready", user=self.user)
                    task_status.started()
                    group.start_soon(self._restore)
                    await self._keep()
                except ConnectionFailedError as error:
                    failure = error
                    if isinstance(error, SessionTakenError):
                        self._taken = error
                group.cancel_scope.cancel()
        finally:
            self._asking.socket = self._attaching = None
            self._break(failure or NetworkError("The web phone was closed."))
            code, reason = 1006 if socket.close_code is None else socket.close_code, socket.close_reason or ""
            self._tell_traffic(FrameDirection.CLOSE, {"code": code, "reason": reason})
            self._protocol.closed()
            self._log.debug("verto.closed", user=self.user, reason=str(self._asking.failure))
        assert failure is not None
        return failure

    async def _wait_ready(self) -> None:
        with anyio.move_on_after(self._timeouts.ready_seconds):
            while not self._is_ready and self._asking.failure is None:
                self._woken = anyio.Event()
                await self._woken.wait()
        if self._asking.failure is not None:
            raise self._asking.failure
        if not self._is_ready:
            # Which calls it still has is not known then; everything else is.
            self._log.warning("verto.not_ready", user=self.user, seconds=self._timeouts.ready_seconds)

    async def _keep(self) -> None:
        """Watch over the connection until it breaks."""
        liveness = self._liveness
        while True:
            # Before anything that waits: what happens meanwhile must not be slept over.
            self._woken = anyio.Event()
            if self._asking.failure is not None:
                raise self._asking.failure
            step = liveness.step()
            if step is LivenessStep.DEAD:
                raise NetworkError(
                    f"The server at {safe_url(self._url)} did not answer verto.ping within {self._timeouts.probe_seconds:g} s.",
                    step="verto.ping",
                    kind=OutageKind.HALF_OPEN if self.unacknowledged_bytes else OutageKind.FROZEN,
                )
            if step is LivenessStep.PROBE:
                await self._asking.send(Ping())
            with anyio.move_on_after(max(0.0, liveness.next_deadline - self._clock())):
                await self._woken.wait()

    async def _restore(self) -> None:
        if not self._subscribed:
            return
        channels = tuple(self._subscribed)
        try:
            outcome = await self.ask(Subscribe(channels))
            refused, reason = getattr(outcome, "refused", ()), "not allowed"
        except CommandRefusedError as error:
            refused, reason = channels, error.pbx_text or error.message
        except CommandError as error:
            # Without a connection the next one does it. Without an answer it may have acted: that is not to be relied on.
            if self._connected:
                self._on_signals([SubscriptionLost(channels, error.message)])
            return
        lost = tuple(channel for channel in refused if self._subscribed.pop(channel, reason) is None)
        if lost:
            self._log.warning("verto.subscription_lost", user=self.user, channels=lost, reason=reason)
            self._on_signals([SubscriptionLost(lost, reason)])

    def _break(self, failure: ConnectionFailedError) -> None:
        self._connected = False
        if self._is_shutting_down and failure.kind is OutageKind.LOST:
            lost = failure
            failure = NetworkError(f"The server at {safe_url(self._url)} shut down.", kind=OutageKind.RESTARTING)
            failure.__cause__ = lost
        self._asking.fail(failure)
        self._woken.set()

    # ------------------------------------------------------------------ what comes in

    async def _read(self, socket: WebSocket) -> None:
        protocol, liveness = self._protocol, self._liveness
        try:
            while True:
                batch = await socket.receive_many()
                if self._on_traffic is not None:
                    self._on_traffic(FrameDirection.FROM_PBX, batch)
                liveness.heard()
                self._deliver(protocol.receive_many(batch))
                self._has_replies.set()
        except ConnectionFailedError as failure:
            self._break(failure)

    async def _write(self, socket: WebSocket) -> None:
        """Answer the server's requests, beside the reading: it needs no answers, and must not wait for them to be sent."""
        try:
            while True:
                self._has_replies = anyio.Event()
                for text in self._protocol.take_replies():
                    self._tell_traffic(FrameDirection.TO_PBX, text)
                    await socket.send(text)
                await self._has_replies.wait()
        except ConnectionFailedError as failure:
            self._break(failure)

    def _deliver(self, outputs: Sequence[Output]) -> None:
        signals: list[Signal] = []
        for output in outputs:
            if isinstance(output, Signal):
                signals.append(output)
                self._follow(output)
            elif isinstance(output, Reply):
                self._asking.settle(output)
                if isinstance(output.message, Ping):
                    # The question is answered, and the next silence begins: its end is earlier than what was waited for.
                    self._woken.set()
            elif isinstance(output, Unexpected):
                self._log.debug("verto.unexpected", user=self.user, signal=type(output.signal).__name__, reason=output.reason)
            else:
                self._refuse(output)
        if signals:
            self._on_signals(signals)

    def _follow(self, signal: Signal) -> None:
        attaching = self._attaching
        match signal:
            case Ready():
                self._is_ready = True
                self._woken.set()
            case Attached() if attaching is not None:
                attaching.begin(signal)
            case Ended():
                if attaching is not None:
                    attaching.give_up(signal.call_id)
                self._is_shutting_down |= signal.cause is not None and signal.cause.name == _SHUTDOWN
            case Punted():
                self._break(SessionTakenError(f"Another connection took over the session of {self.user}'s web phone."))
            case _:
                pass

    def _refuse(self, frame: BadFrame) -> None:
        self._bad_frames += 1
        # Each one of a flood would drown the log: the powers of two show that it goes on.
        if self._bad_frames & (self._bad_frames - 1) == 0:
            self._log.warning("verto.bad_frame", user=self.user, reason=frame.reason, method=frame.method, count=self._bad_frames)

    # ------------------------------------------------------------------ what goes out

    def _sending(self, message: VertoMessage, text: str) -> None:
        if self._on_request is not None:
            self._on_request(message)
        self._tell_traffic(FrameDirection.TO_PBX, text)

    def _suspect(self) -> None:
        self._liveness.suspect()
        self._woken.set()

    async def _send_attach(self, call_id: str, sdp: str) -> None:
        await self._asking.ask(Attach(call_id, sdp), self._timeouts.command_seconds)

    def _tell_attach_failed(self, failed: AttachFailed) -> None:
        if self._asking.failure is not None:
            # The next connection offers media anew.
            return
        self._log.warning("verto.attach_failed", user=self.user, call_id=failed.call_id, **failed.error.describe())
        self._on_signals([failed])

    def _tell_traffic(self, direction: FrameDirection, data: FrameData) -> None:
        if self._on_traffic is not None:
            self._on_traffic(direction, (data,))
