"""One connection to the engine: the socket, the log in, the time-outs, the waiting. The commands themselves are in `commands`.

The rules of the wire are in `cti_webitel.engine.protocol`. One `run` is one connection's life. It never reconnects and nothing is
ever sent twice: who holds the object decides that.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeAlias

import anyio
import structlog
from anyio.abc import TaskStatus
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandRefusedError,
    CommandUnconfirmedError,
    ConnectionFailedError,
    NetworkError,
    NotConnectedError,
)
from cti_framework.recorder import FrameData, FrameDirection
from cti_framework.transport import WebSocket, open_websocket, safe_url
from cti_webitel.engine.answers import read_refusal
from cti_webitel.engine.arguments import check_account, check_parameter
from cti_webitel.engine.commands.execute import Commands
from cti_webitel.engine.login import LogIn
from cti_webitel.engine.protocol import BadFrame, Callback, Counts, EngineProtocol, Output, Reply
from cti_webitel.engine.timeouts import WebitelTimeouts
from cti_webitel.engine.vigil import Vigil
from cti_webitel.engine.waiting import Waiter

__all__ = ["EngineConnection", "OnTraffic", "OpenWebSocket"]

OnTraffic: TypeAlias = Callable[[FrameDirection, Sequence[FrameData]], object]
"""Told what goes over the wire: which way, and the frames that went together."""

_FROM_PBX: Final = FrameDirection.FROM_PBX
_SECRET_ARGUMENTS: Final = frozenset({"secret", "token"})


class OpenWebSocket(Protocol):
    """Opens a WebSocket, as `cti_framework.transport.open_websocket` does."""

    def __call__(
        self,
        url: str,
        *,
        open_timeout_seconds: float,
        close_timeout_seconds: float,
        ssl_context: ssl.SSLContext | None,
        ping_interval_seconds: float | None,
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open ``url`` for the time of an ``async with``."""


class EngineConnection(Commands):
    """One account's connection to one engine; what its arguments mean, `Webitel` says."""

    def __init__(
        self,
        url: str,
        account: str,
        *,
        on_callbacks: Callable[[Sequence[Callback]], object],
        secret: Secret[str] | None = None,
        key: str | None = None,
        token: Secret[str] | None = None,
        on_frame: Callable[[bytes], object] | None = None,
        on_command: Callable[[str, Mapping[str, Any]], object] | None = None,
        on_traffic: OnTraffic | None = None,
        auto_answer_param: str | None = None,
        timeouts: WebitelTimeouts | None = None,
        ssl_context: ssl.SSLContext | None = None,
        log: Any = None,
        hold_grace_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        open_socket: OpenWebSocket = open_websocket,
    ) -> None:
        if (secret is None) == (key is None) or (key is None) != (token is None):
            raise ValueError("Give either secret, or key and token.")
        self._url = url
        self._account = check_account(account)
        credentials: dict[str, Any] = {"key": key, "token": token} if secret is None else {"account": account, "secret": secret}
        self._on_callbacks = on_callbacks
        self._on_frame = on_frame
        self._on_command = on_command
        self._on_traffic = on_traffic
        self._auto_answer_param = None if auto_answer_param is None else check_parameter(auto_answer_param)
        self._timeouts = timeouts or WebitelTimeouts()
        self._ssl_context = ssl_context
        self._clock = clock
        self._open_socket = open_socket
        self._log = log if log is not None else structlog.get_logger("cti_webitel.engine")
        self._hold_grace_seconds = hold_grace_seconds
        self._protocol = EngineProtocol(account, hold_grace_seconds=hold_grace_seconds)
        self._log_in = LogIn(self._request, account, credentials, self._timeouts, peer=safe_url(url))
        # Connections come and go; what was subscribed to stays (commands/subscriptions.py).
        self._subscriptions: dict[str, bool] = {}
        self._waiting: dict[str, Waiter] = {}
        self._socket: WebSocket | None = None
        self._failure: ConnectionFailedError | None = None
        self._running = False
        self._connected = False
        self._vigil: Vigil | None = None
        self._woken = anyio.Event()
        self._wakes_at = 0.0
        self._bad_frames = 0

    def __repr__(self) -> str:
        state = "ready" if self._connected else "connecting" if self._running else "disconnected"
        return f"<{type(self).__name__} {self._account} at {safe_url(self._url)}, {state}>"

    @property
    def own_account(self) -> str:
        """The account of this connection, ``number@domain``."""
        return self._account

    @property
    def timeouts(self) -> WebitelTimeouts:
        """How long to wait for what."""
        return self._timeouts

    @property
    def auto_answer_param(self) -> str | None:
        """What makes the operator's own device answer by itself, ``name=value``; ``None``: nothing does."""
        return self._auto_answer_param

    @property
    def connected(self) -> bool:
        """Whether commands can be sent: logged in, and the connection is not known to be broken."""
        return self._connected

    @property
    def unacknowledged_bytes(self) -> int | None:
        """How much of what was sent the engine's computer has not acknowledged; ``None`` where that cannot be told."""
        return None if self._socket is None else self._socket.unacknowledged_bytes

    @property
    def counts(self) -> Counts:
        """What was received and meant nothing, since this object was made."""
        return self._protocol.counts

    def func_of(self, exec_uuid: object) -> str | None:
        """Tell which command waits for an answer, for whoever watches frames.

        Args:
            exec_uuid: The command's identifier.

        Returns:
            The command's name, or ``None`` if none of that identifier waits.
        """
        request = self._protocol.pending.get(exec_uuid) if isinstance(exec_uuid, str) else None
        return None if request is None else request.func

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, authorise, log in, load the accounts, then deliver callbacks until the connection breaks.

        ``task_status.started()`` is called when commands can be sent. It ends only by an error or by being cancelled. No
        ``logout`` is sent at the end: the flag that it clears is shared by all sockets of the account, so it would silence
        the operator's other programs (facts: webitel-protocol 1.2).

        Args:
            task_status: As `anyio.abc.TaskGroup.start` passes it.

        Raises:
            AddressError: The URL cannot be connected to.
            NetworkError: The engine cannot be reached, does not answer in time, is full, or the connection broke.
            CredentialsRefusedError: The engine refuses the account, or does not let it read the accounts.
            ProtocolError: What answers there is no engine.
            RuntimeError: It runs already.
        """
        if self._running:
            raise RuntimeError("This Webitel runs already; one object is one connection.")
        self._running = True
        self._failure = None
        try:
            async with self._open_socket(
                self._url,
                open_timeout_seconds=self._timeouts.open_seconds,
                close_timeout_seconds=self._timeouts.close_seconds,
                ssl_context=self._ssl_context,
                # The command `ping` proves more: that the engine answers, not just a proxy in front of it.
                ping_interval_seconds=None,
            ) as socket:
                self._log.debug("engine.opened", account=self._account, url=safe_url(self._url))
                failure = await self._live(socket, task_status)
        finally:
            self._running = False
        raise failure

    async def execute(self, func: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float | None = None) -> Any:
        """Send any command and wait for its answer. The arguments are sent as they are: the typed methods check theirs.

        When it is cancelled the command may have acted; its answer is then ignored.

        Args:
            func: The command's name, for example ``"hangup"`` (facts: webitel-protocol 3).
            args: Its arguments. A `Secret` is sent as what it holds, and shown to nobody else.
            timeout_seconds: How long to wait for the answer; by default ``command_seconds``.

        Returns:
            The engine's ``exec-response``: text, an object, a list, or ``None`` if it has none.

        Raises:
            NotConnectedError: There is no connection; nothing was sent.
            CommandRefusedError: The engine answered no; its words are in ``pbx_text``.
            CommandUnconfirmedError: No answer in time, or the connection broke while waiting.
        """
        if not self._connected:
            # Before the log in the engine obeys call commands of anybody; we do not lean on that (facts: webitel-protocol 2).
            raise NotConnectedError(f"{func} was not sent: the engine connection is not ready.", command=func)
        seconds = self._timeouts.command_seconds if timeout_seconds is None else timeout_seconds
        reply = await self._request(func, args, seconds)
        if not reply.ok:
            said = read_refusal(reply)
            raise CommandRefusedError(f"The engine refused {func}: {said or 'no reason given'}.", command=func, pbx_text=said)
        return reply.response

    async def _restore(self) -> None:
        """Take up again what an earlier connection was asked for, once commands can be sent."""

    # ------------------------------------------------------------------ one connection's life

    async def _live(self, socket: WebSocket, task_status: TaskStatus[None]) -> ConnectionFailedError:
        self._socket = socket
        failure: ConnectionFailedError | None = None
        self._tell_traffic(FrameDirection.OPEN, safe_url(self._url))
        try:
            self._protocol.opened()
            async with anyio.create_task_group() as group:
                group.start_soon(self._read, socket)
                try:
                    await self._log_in.run()
                    self._connected = True
                    self._log.debug("engine.ready", account=self._account)
                    task_status.started()
                    group.start_soon(self._restore)
                    await self._keep()
                except ConnectionFailedError as error:
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._socket = None
            self._vigil = None
            self._break(failure or NetworkError("The session was closed."))
            code, reason = 1006 if socket.close_code is None else socket.close_code, socket.close_reason or ""
            self._tell_traffic(FrameDirection.CLOSE, {"code": code, "reason": reason})
            self._deliver(self._protocol.closed(code, reason))
            self._log.debug("engine.closed", account=self._account, reason=str(self._failure))
        assert failure is not None
        return failure

    async def _read(self, socket: WebSocket) -> None:
        protocol, clock, on_frame, on_traffic = self._protocol, self._clock, self._on_frame, self._on_traffic
        own_statuses = protocol.own_statuses
        try:
            while True:
                batch = await socket.receive_many()
                if on_traffic is not None:
                    on_traffic(_FROM_PBX, batch)
                now = clock()
                if on_frame is None:
                    self._deliver(protocol.receive_many(batch, now))
                else:
                    for data in batch:
                        on_frame(bytes(data))
                        self._deliver(protocol.receive(data, now))
                if protocol.own_statuses != own_statuses:
                    own_statuses = protocol.own_statuses
                    self._hear_status(now)
                deadline = protocol.next_deadline
                if deadline is not None and deadline < self._wakes_at:
                    self._woken.set()
        except ConnectionFailedError as failure:
            self._break(failure)

    def _hear_status(self, now: float) -> None:
        protocol, vigil = self._protocol, self._vigil
        user = protocol.own_user
        if vigil is not None and user is not None:
            vigil.hear_status(user, in_call=bool(protocol.leg_uuids), legs_begun=protocol.legs_begun, now=now)
            if vigil.next_deadline < self._wakes_at:
                self._woken.set()

    def _deliver(self, outputs: Sequence[Output]) -> None:
        callbacks = [output for output in outputs if isinstance(output, Callback)]
        if len(callbacks) != len(outputs):
            self._settle(outputs)
        if callbacks:
            self._on_callbacks(callbacks)

    def _settle(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Reply):
                waiter = self._waiting.pop(output.exec_uuid, None)
                if waiter is not None:
                    waiter.settle(output, None)
                    if waiter.watched:
                        self._woken.set()
            elif isinstance(output, BadFrame):
                self._refuse(output)

    def _refuse(self, frame: BadFrame) -> None:
        self._bad_frames += 1
        # Each one of a flood would drown the log: the powers of two show that it goes on.
        if self._bad_frames & (self._bad_frames - 1) == 0:
            self._log.warning("engine.bad_frame", account=self._account, reason=frame.reason, count=self._bad_frames)

    def _break(self, failure: ConnectionFailedError) -> None:
        self._connected = False
        if self._failure is None:
            self._failure = failure
        for waiter in self._waiting.values():
            waiter.settle(None, self._failure)
        self._woken.set()

    async def _keep(self) -> None:
        """Watch over the connection, and wake the protocol when it asked for it, until it breaks."""
        clock, protocol = self._clock, self._protocol
        vigil = self._vigil = Vigil(self, self._timeouts, peer=safe_url(self._url), now=clock(), log=self._log)
        while True:
            woken = self._woken.is_set()
            # Before anything that waits: what happens meanwhile must not be slept over.
            self._woken = anyio.Event()
            if self._failure is not None:
                raise self._failure
            now = clock()
            told = await vigil.step(now, legs_begun=protocol.legs_begun)
            if told:
                self._on_callbacks(told)
            deadline = protocol.next_deadline
            if deadline is not None and deadline <= now:
                self._deliver(protocol.tick(now))
                deadline = protocol.next_deadline
            if deadline is None and woken:
                # What woke this is settled already: a hold of ours. Under load another follows, which need not wake it again.
                deadline = now + self._hold_grace_seconds
            due = vigil.next_deadline
            self._wakes_at = due if deadline is None else min(due, deadline)
            with anyio.move_on_after(max(0.0, self._wakes_at - clock())):
                await self._woken.wait()

    # ------------------------------------------------------------------ commands and answers

    async def _send(self, func: str, args: Mapping[str, Any] | None = None) -> Waiter:
        """Send a command whose answer somebody else looks for.

        A failure to send is the failure of the connection, which ends it.
        """
        assert self._socket is not None
        waiter, text = self._prepared(func, args, watched=True)
        await self._socket.send(text)
        return waiter

    def _prepared(self, func: str, args: Mapping[str, Any] | None, *, watched: bool = False) -> tuple[Waiter, str]:
        if self._on_command is not None:
            given = args or {}
            self._on_command(func, {name: value for name, value in given.items() if not _is_secret(name, value, given)})
        exec_uuid, text = self._protocol.request(func, args)
        self._tell_traffic(FrameDirection.TO_PBX, text)
        waiter = self._waiting[exec_uuid] = Waiter(exec_uuid, watched=watched)
        return waiter, text

    def _tell_traffic(self, direction: FrameDirection, data: FrameData) -> None:
        if self._on_traffic is not None:
            self._on_traffic(direction, (data,))

    def _forget(self, waiter: Waiter) -> None:
        """Wait no longer for the answer to a command."""
        if self._waiting.pop(waiter.exec_uuid, None) is not None:
            self._protocol.forget(waiter.exec_uuid)

    async def _request(self, func: str, args: Mapping[str, Any] | None, timeout_seconds: float) -> Reply:
        socket = self._socket
        if socket is None or self._failure is not None:
            raise NotConnectedError(
                f"{func} was not sent: there is no connection to the engine.", command=func
            ) from self._failure
        waiter, text = self._prepared(func, args)
        try:
            with anyio.move_on_after(timeout_seconds):
                await socket.send(text)
                await waiter.wait()
        except ConnectionFailedError as failure:
            waiter.settle(None, failure)
        finally:
            self._forget(waiter)
        if waiter.reply is not None:
            return waiter.reply
        remedy = "It may have acted: look at the calls before trying again."
        if waiter.failure is not None:
            raise CommandUnconfirmedError(
                f"The connection broke before {func} was answered.", command=func, remedy=remedy
            ) from waiter.failure
        raise CommandUnconfirmedError(
            f"The engine did not answer {func} within {timeout_seconds:g} s.", command=func, remedy=remedy
        )


def _is_secret(name: str, value: object, beside: Container[str]) -> bool:
    # The key of a token is half of what logs in.
    return name in _SECRET_ARGUMENTS or isinstance(value, Secret) or (name == "key" and "token" in beside)
