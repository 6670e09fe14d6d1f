"""`Webitel`: one account's connection to the engine, over its WebSocket. Usable alone, without the rest of the framework.

The rules of the wire are in `cti_webitel.engine.protocol`; here are the socket, the time-outs and the waiting. One `run` is
one connection's life. It never reconnects and nothing is ever sent twice: who holds the object decides that.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
import orjson
import structlog
from anyio.abc import TaskStatus
from attrs import field, frozen, validators
from typed_settings.types import Secret

from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CredentialsRefusedError,
    InvalidArgumentError,
    NetworkError,
    NotConnectedError,
    ProtocolError,
)
from cti_framework.transport import WebSocket, open_websocket, safe_url
from cti_webitel.engine.arguments import (
    check_account,
    check_cause,
    check_destination,
    check_digits,
    check_parameter,
    check_uuid,
    check_variable,
)
from cti_webitel.engine.callbacks import CallCallback, WebitelUser
from cti_webitel.engine.headers import PRESENCE
from cti_webitel.engine.protocol import BadFrame, Callback, Counts, EngineProtocol, Output, Reply
from cti_webitel.engine.snapshot import LegDump, SeenLeg, read_dump

__all__ = ["OpenWebSocket", "Webitel", "WebitelTimeouts"]

# The engine gives an unauthorised socket five seconds (facts: webitel-protocol 1).
_AUTH_LIMIT_SECONDS = 5.0

_SECRET_ARGUMENTS = frozenset({"secret", "token"})
_CREDENTIALS_REMEDY = "Check account and password, or key and token, of this user in Webitel."
# Refusals of `auth` that say nothing about the credentials, and what helps (facts: webitel-protocol 1, 1.1).
_BUSY_REFUSALS = (
    ("Maximum opened socket", "Close other programs that are logged in with this account, or wait until dead sockets end."),
    ("Maximum license connections", "Wait until another user logs out, or extend the licence."),
    ("Console connect error", "The engine has lost its directory; it comes back by itself, or ask the administrator of the PBX."),
)


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


@frozen
class WebitelTimeouts:
    """How long to wait for what, in seconds.

    Attributes:
        open_seconds: For the address to be resolved, reached and to speak WebSocket.
        auth_seconds: For the answer to ``auth``; less than the five seconds after which the engine cuts the line.
        command_seconds: For the answer to any other command.
        call_seconds: For the answer to ``call``, which comes when the operator's own device answers.
        ping_interval_seconds: Between two commands ``ping``.
        ping_reply_seconds: For the answer to ``ping``; after that the peer counts as frozen.
        close_seconds: For the closing handshake; then the socket is closed by force.
    """

    open_seconds: float = field(default=10.0, validator=validators.gt(0))
    auth_seconds: float = field(default=4.5, validator=[validators.gt(0), validators.lt(_AUTH_LIMIT_SECONDS)])
    command_seconds: float = field(default=10.0, validator=validators.gt(0))
    call_seconds: float = field(default=65.0, validator=validators.gt(0))
    ping_interval_seconds: float = field(default=50.0, validator=validators.gt(0))
    ping_reply_seconds: float = field(default=10.0, validator=validators.gt(0))
    close_seconds: float = field(default=2.0, validator=validators.gt(0))


class _Waiter:
    """A command that waits for its answer: it gets a reply, or the failure of the connection, whichever is first."""

    __slots__ = ("_answered", "exec_uuid", "failure", "reply")

    def __init__(self, exec_uuid: str) -> None:
        self.exec_uuid = exec_uuid
        self._answered = anyio.Event()
        self.reply: Reply | None = None
        self.failure: ConnectionFailedError | None = None

    def settle(self, reply: Reply | None, failure: ConnectionFailedError | None) -> None:
        if self.reply is None and self.failure is None:
            self.reply, self.failure = reply, failure
            self._answered.set()

    async def wait(self) -> None:
        await self._answered.wait()


class Webitel:
    """One account at one engine.

    ::

        webitel = Webitel("wss://pbx.example/engine", "100@pbx.example", secret=Secret("…"), on_callbacks=print)
        async with anyio.create_task_group() as group:
            await group.start(webitel.run)
            leg = await webitel.call("0501234567")

    Args:
        url: Where the engine listens, ``ws://`` or ``wss://``.
        account: ``number@domain``.
        secret: The account's password. Either this, or ``key`` and ``token``.
        key: The key of a token.
        token: The token that belongs to ``key``.
        on_callbacks: Called by the reading task with the callbacks that came together, in order. It must be quick and must
            not raise.
        on_frame: Called with each received frame before it is understood, for captures.
        on_command: Called with each command's name and arguments before it is sent; secrets are left out.
        auto_answer_param: What makes the operator's own device answer by itself, ``name=value`` (facts: webitel-protocol 3.2).
        timeouts: How long to wait for what.
        ssl_context: For ``wss://``; by default the certificate is checked against the system's authorities.
        log: A structlog logger.
        hold_grace_seconds: How long after a leg is held the switch can say that it was we who did it.
        clock: Monotonic seconds, read once a frame.
        open_socket: How to open the WebSocket.

    Raises:
        InvalidArgumentError: ``account`` or ``auto_answer_param`` is not of the form that the engine takes.
        ValueError: Neither or both of ``secret`` and ``key`` with ``token`` are given.
    """

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
        self._secret = secret
        self._key = key
        self._token = token
        self._on_callbacks = on_callbacks
        self._on_frame = on_frame
        self._on_command = on_command
        self._auto_answer_param = None if auto_answer_param is None else check_parameter(auto_answer_param)
        self._timeouts = timeouts or WebitelTimeouts()
        self._ssl_context = ssl_context
        self._clock = clock
        self._open_socket = open_socket
        self._log = log if log is not None else structlog.get_logger("cti_webitel.engine")
        self._hold_grace_seconds = hold_grace_seconds
        self._protocol = EngineProtocol(account, hold_grace_seconds=hold_grace_seconds)
        self._waiting: dict[str, _Waiter] = {}
        self._socket: WebSocket | None = None
        self._failure: ConnectionFailedError | None = None
        self._running = False
        self._ready = False
        self._woken = anyio.Event()
        self._wakes_at = 0.0
        self._bad_frames = 0

    def __repr__(self) -> str:
        state = "ready" if self._ready else "connecting" if self._running else "disconnected"
        return f"<Webitel {self._account} at {safe_url(self._url)}, {state}>"

    @property
    def account(self) -> str:
        """The account, ``number@domain``."""
        return self._account

    @property
    def ready(self) -> bool:
        """Whether commands can be sent: logged in, and the connection is not known to be broken."""
        return self._ready

    @property
    def users(self) -> Mapping[str, WebitelUser]:
        """The accounts of the domain, by number, as the engine tells them; empty without a connection."""
        return self._protocol.users

    @property
    def own_user(self) -> WebitelUser | None:
        """The own account as the engine tells it; ``None`` without a connection."""
        return self._protocol.own_user

    @property
    def call_ids(self) -> frozenset[str]:
        """The identifiers of the calls that are open, as far as is known."""
        return self._protocol.call_ids

    @property
    def legs(self) -> Mapping[str, tuple[str, ...]]:
        """The own legs of each open call, by its identifier: one a device that rings; one that was picked up comes first."""
        return self._protocol.sight().calls

    def func_of(self, exec_uuid: object) -> str | None:
        """Tell which command waits for an answer, for whoever watches frames.

        Args:
            exec_uuid: The command's identifier.

        Returns:
            The command's name, or ``None`` if none of that identifier waits.
        """
        request = self._protocol.pending.get(exec_uuid) if isinstance(exec_uuid, str) else None
        return None if request is None else request.func

    @property
    def counts(self) -> Counts:
        """What was received and meant nothing, since this object was made."""
        return self._protocol.counts

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

    async def _live(self, socket: WebSocket, task_status: TaskStatus[None]) -> ConnectionFailedError:
        self._socket = socket
        failure: ConnectionFailedError | None = None
        try:
            self._protocol.opened()
            async with anyio.create_task_group() as group:
                group.start_soon(self._read, socket)
                try:
                    await self._log_in()
                    self._ready = True
                    self._log.debug("engine.ready", account=self._account)
                    task_status.started()
                    await self._keep()
                except ConnectionFailedError as error:
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._socket = None
            self._break(failure or NetworkError("The session was closed."))
            code = socket.close_code
            self._deliver(self._protocol.closed(1006 if code is None else code, socket.close_reason or ""))
            self._log.debug("engine.closed", account=self._account, reason=str(self._failure))
        assert failure is not None
        return failure

    async def _read(self, socket: WebSocket) -> None:
        protocol, clock, on_frame = self._protocol, self._clock, self._on_frame
        try:
            while True:
                batch = await socket.receive_many()
                now = clock()
                if on_frame is None:
                    self._deliver(protocol.receive_many(batch, now))
                else:
                    for data in batch:
                        on_frame(bytes(data))
                        self._deliver(protocol.receive(data, now))
                deadline = protocol.next_deadline
                if deadline is not None and deadline < self._wakes_at:
                    self._woken.set()
        except ConnectionFailedError as failure:
            self._break(failure)

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
                if output.func == "ping":
                    # The next one is due an interval after the last: whoever keeps the time has to know that it came.
                    self._woken.set()
            elif isinstance(output, BadFrame):
                self._refuse(output)

    def _refuse(self, frame: BadFrame) -> None:
        self._bad_frames += 1
        # Each one of a flood would drown the log: the powers of two show that it goes on.
        if self._bad_frames & (self._bad_frames - 1) == 0:
            self._log.warning("engine.bad_frame", account=self._account, reason=frame.reason, count=self._bad_frames)

    def _break(self, failure: ConnectionFailedError) -> None:
        self._ready = False
        if self._failure is None:
            self._failure = failure
        for waiter in self._waiting.values():
            waiter.settle(None, self._failure)
        self._woken.set()

    async def _log_in(self) -> None:
        await self._authorise()
        await self._step("login", None, "Try again; if it stays so, look at the engine's log.")
        domain = self._account.partition("@")[2]
        rows = await self._step(
            "api account list",
            {"domain": domain},
            "Give the account's role the permission account: ro (its own row) or r (all rows).",
        )
        try:
            _account_rows(rows)
        except CommandError as error:
            raise ProtocolError(error.message, step="api account list", remedy="Check that this is the engine's port.") from None

    async def _authorise(self) -> None:
        if self._secret is not None:
            args: dict[str, Any] = {"account": self._account, "secret": self._secret.get_secret_value()}
        else:
            assert self._token is not None
            args = {"key": self._key, "token": self._token.get_secret_value()}
        try:
            reply = await self._request("auth", args, self._timeouts.auth_seconds)
        except CommandError as error:
            raise self._login_failure(error, "auth", self._timeouts.auth_seconds) from None
        if reply.ok:
            return
        said = _refusal(reply)
        for text, remedy in _BUSY_REFUSALS:
            if text in said:
                raise NetworkError(f"The engine does not let {self._account} in now: {said}.", step="auth", remedy=remedy)
        raise CredentialsRefusedError(
            f"The engine refuses {self._account}: {said or 'no reason given'}.", step="auth", remedy=_CREDENTIALS_REMEDY
        )

    async def _step(self, func: str, args: Mapping[str, Any] | None, remedy: str) -> Any:
        seconds = self._timeouts.command_seconds
        try:
            reply = await self._request(func, args, seconds)
        except CommandError as error:
            raise self._login_failure(error, func, seconds) from None
        if reply.ok:
            return reply.response
        said = _refusal(reply)
        if "permission denied" in said.lower():
            raise CredentialsRefusedError(
                f"The engine does not allow {self._account} the command {func}: {said}.", step=func, remedy=remedy
            )
        raise ProtocolError(f"The engine answered {func} with {said or 'no text'}.", step=func, remedy=remedy)

    def _login_failure(self, error: CommandError, func: str, seconds: float) -> ConnectionFailedError:
        failure = self._failure or error.__cause__
        if isinstance(failure, ConnectionFailedError):
            return failure
        return NetworkError(
            f"The engine at {safe_url(self._url)} did not answer {func} within {seconds:g} s.",
            step=func,
            remedy="Check that this is the engine's port, and that the engine is well.",
        )

    async def _keep(self) -> None:
        """Send `ping`, and wake the protocol when it asked for it, until the connection breaks."""
        clock, timeouts = self._clock, self._timeouts
        asked = clock()
        due = asked + timeouts.ping_interval_seconds
        ping: _Waiter | None = None
        while True:
            woken = self._woken.is_set()
            # Before anything that waits: what happens meanwhile must not be slept over.
            self._woken = anyio.Event()
            if self._failure is not None:
                raise self._failure
            now = clock()
            if ping is not None and ping.reply is not None:
                ping = None
                due = max(now, asked + timeouts.ping_interval_seconds)
            elif now >= due:
                if ping is not None:
                    raise NetworkError(
                        f"The engine at {safe_url(self._url)} did not answer ping within {timeouts.ping_reply_seconds:g} s.",
                        step="ping",
                    )
                ping = await self._send("ping")
                asked, due = now, now + timeouts.ping_reply_seconds
            deadline = self._protocol.next_deadline
            if deadline is not None and deadline <= now:
                self._deliver(self._protocol.tick(now))
                deadline = self._protocol.next_deadline
            if deadline is None and woken:
                # What woke this is settled already: a hold of ours. Under load another follows, which need not wake it again.
                deadline = now + self._hold_grace_seconds
            self._wakes_at = due if deadline is None else min(due, deadline)
            with anyio.move_on_after(max(0.0, self._wakes_at - clock())):
                await self._woken.wait()

    async def _send(self, func: str, args: Mapping[str, Any] | None = None) -> _Waiter:
        """Send a command whose answer somebody else looks for.

        A failure to send is the failure of the connection, which ends it.
        """
        assert self._socket is not None
        waiter, text = self._prepared(func, args)
        await self._socket.send(text)
        return waiter

    def _prepared(self, func: str, args: Mapping[str, Any] | None) -> tuple[_Waiter, str]:
        if self._on_command is not None:
            self._on_command(func, {name: value for name, value in (args or {}).items() if name not in _SECRET_ARGUMENTS})
        exec_uuid, text = self._protocol.request(func, args)
        waiter = self._waiting[exec_uuid] = _Waiter(exec_uuid)
        return waiter, text

    async def _request(self, func: str, args: Mapping[str, Any] | None, timeout_seconds: float) -> Reply:
        socket = self._socket
        if socket is None or self._failure is not None:
            raise NotConnectedError(f"{func} was not sent: there is no connection to the engine.", command=func)
        waiter, text = self._prepared(func, args)
        try:
            with anyio.move_on_after(timeout_seconds):
                await socket.send(text)
                await waiter.wait()
        except ConnectionFailedError as failure:
            waiter.settle(None, failure)
        finally:
            if self._waiting.pop(waiter.exec_uuid, None) is not None:
                self._protocol.forget(waiter.exec_uuid)
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

    async def execute(self, func: str, args: Mapping[str, Any] | None = None, *, timeout_seconds: float | None = None) -> Any:
        """Send any command and wait for its answer. The arguments are sent as they are: the typed methods check theirs.

        When it is cancelled the command may have acted; its answer is then ignored.

        Args:
            func: The command's name, for example ``"hangup"`` (facts: webitel-protocol 3).
            args: Its arguments.
            timeout_seconds: How long to wait for the answer; by default ``command_seconds``.

        Returns:
            The engine's ``exec-response``: text, an object, a list, or ``None`` if it has none.

        Raises:
            NotConnectedError: There is no connection; nothing was sent.
            CommandRefusedError: The engine answered no; its words are in ``pbx_text``.
            CommandUnconfirmedError: No answer in time, or the connection broke while waiting.
        """
        if not self._ready:
            # Before the log in the engine obeys call commands of anybody; we do not lean on that (facts: webitel-protocol 2).
            raise NotConnectedError(f"{func} was not sent: the engine connection is not ready.", command=func)
        seconds = self._timeouts.command_seconds if timeout_seconds is None else timeout_seconds
        reply = await self._request(func, args, seconds)
        if not reply.ok:
            said = _refusal(reply)
            raise CommandRefusedError(f"The engine refused {func}: {said or 'no reason given'}.", command=func, pbx_text=said)
        return reply.response

    async def call(self, number: str, *, variables: Mapping[str, str] | None = None) -> str:
        """Ring the operator's own device, and the number once it answers.

        The answer comes when the own device has answered, so it may wait for ``call_seconds``; the call itself shows earlier,
        as ``onNewCall``.

        Args:
            number: Digits, ``*``, ``#`` and one ``+`` in front.
            variables: Channel variables, also kept as the call's data.

        Returns:
            The engine's answer, ``+OK <leg>``.

        Raises:
            InvalidArgumentError: The number or a variable could inject into the switch; nothing was sent.
            CommandError: As `execute`.
        """
        args: dict[str, Any] = {"extension": check_destination(number), "user": self._account}
        if self._auto_answer_param is not None:
            args["auto_answer_param"] = self._auto_answer_param
        if variables:
            args["variables"] = dict(check_variable(name, value) for name, value in variables.items())
        return str(await self.execute("call", args, timeout_seconds=self._timeouts.call_seconds)).strip()

    async def hangup(self, leg: str, cause: str | None = None) -> str:
        """End one leg.

        Args:
            leg: The leg's ``Unique-ID``.
            cause: A hang-up cause of the switch, such as ``USER_BUSY``; the switch's own by default.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID, or the cause is unknown; nothing was sent.
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(leg)}
        if cause is not None:
            args["cause"] = check_cause(cause)
        return str(await self.execute("hangup", args)).strip()

    async def hold(self, leg: str) -> str:
        """Put the far end of a leg on hold.

        ``+OK Success`` is no proof: the switch says it for a leg that it does not know, too (facts: webitel-protocol 3.2).

        Args:
            leg: The own leg's ``Unique-ID``.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        return str(await self.execute("hold", {"channel-uuid": check_uuid(leg)})).strip()

    async def unhold(self, leg: str) -> str:
        """Take the far end of a leg back from hold; what `hold` says about the answer is true here too.

        Args:
            leg: The own leg's ``Unique-ID``.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandError: As `execute`.
        """
        return str(await self.execute("unhold", {"channel-uuid": check_uuid(leg)})).strip()

    async def dtmf(self, leg: str, digits: str) -> str:
        """Send tones to the far end.

        Args:
            leg: The own leg's ``Unique-ID``.
            digits: ``0`` to ``9``, ``*``, ``#`` and ``A`` to ``D``.

        Returns:
            The engine's answer.

        Raises:
            InvalidArgumentError: The leg is no UUID, or there are other characters; nothing was sent.
            CommandError: As `execute`.
        """
        args = {"channel-uuid": check_uuid(leg), "digits": check_digits(digits)}
        return str(await self.execute("dtmf", args)).strip()

    async def channel_dump(self, leg: str) -> Mapping[str, Any]:
        """Read all that the switch knows about a leg: exact, unlike `show_channels`.

        Args:
            leg: The leg's ``Unique-ID``.

        Returns:
            The leg's headers and variables.

        Raises:
            InvalidArgumentError: The leg is no UUID; nothing was sent.
            CommandRefusedError: There is no such leg.
            CommandError: As `execute`, or the answer cannot be read.
        """
        return _object("channel_dump", await self.execute("channel_dump", {"uuid": check_uuid(leg)}))

    async def show_channels(self) -> Sequence[Mapping[str, Any]]:
        """List the legs of the account's domain. It lags behind, and may hold legs that have ended.

        Returns:
            One row a leg.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        rows = _object("show_channel", await self.execute("show_channel", {})).get("rows", [])
        if not isinstance(rows, list):
            raise _unreadable("show_channel")
        return [row for row in rows if isinstance(row, Mapping)]

    async def look(self, *, forget_gone: bool = True) -> tuple[tuple[SeenLeg, ...], tuple[CallCallback, ...]]:
        """Ask the switch for the own legs, and agree with its answer.

        The list of channels lags and can hold ghosts, a channel's dump is exact: each row is checked by its dump, and so is
        each leg that is known and not listed (facts: esl-control, show channels).

        Args:
            forget_gone: Forget the known legs that the switch does not have any more, without a word. If not, their end is
                waited for: it comes by another way than the answers, and may still be on it (facts: webitel-protocol 2).

        Returns:
            One leg for each own call that there is, and the callbacks that the beginning of those not known would have
            raised: they were not handed to ``on_callbacks``.

        Raises:
            CommandError: As `execute`.
        """
        sighting = self._protocol.sight()
        rows = await self.show_channels()
        uuids = dict.fromkeys(row["uuid"] for row in rows if _is_leg_of(row, self._account))
        uuids.update(dict.fromkeys(self._protocol.leg_uuids))
        dumps: list[LegDump] = []
        gone: list[str] = []
        for uuid in uuids:
            try:
                dump = read_dump(await self.channel_dump(uuid))
            except (CommandRefusedError, InvalidArgumentError):
                # What is no UUID cannot be asked for, and must not hide the others.
                gone.append(uuid)
            else:
                if dump.headers.get(PRESENCE) == self._account:
                    dumps.append(dump)
        return self._protocol.reconcile(sighting, dumps, gone if forget_gone else ())

    async def account_list(self) -> Mapping[str, Any]:
        """List the accounts of the domain that this account may see.

        Returns:
            One row an account, by its number.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        domain = self._account.partition("@")[2]
        return _account_rows(await self.execute("api account list", {"domain": domain}))

    async def whoami(self) -> Mapping[str, Any]:
        """Ask the engine who this connection is logged in as.

        Returns:
            The account's id, domain, role, state, status and permissions.

        Raises:
            CommandError: As `execute`, or the answer cannot be read.
        """
        return _object("api whoami", await self.execute("api whoami", {}))

    async def ping(self) -> None:
        """Ask the engine for a sign of life. `run` does so by itself at intervals.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("ping", timeout_seconds=self._timeouts.ping_reply_seconds)

    async def login(self) -> None:
        """Switch the account's call events on, for all its sockets. `run` does it once.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("login")

    async def logout(self) -> None:
        """Switch the account's call events off, for all its sockets: other programs of this operator fall silent too.

        Raises:
            CommandError: As `execute`.
        """
        await self.execute("logout")


def _is_leg_of(row: Mapping[str, Any], account: str) -> bool:
    # presence_id says whose leg it is; where the switch leaves it empty, the channel's name does (facts: esl-control).
    uuid, presence, name = row.get("uuid"), row.get("presence_id"), row.get("name")
    if not isinstance(uuid, str):
        return False
    return presence == account or (not presence and isinstance(name, str) and name.endswith(f"/{account}"))


def _refusal(reply: Reply) -> str:
    """Find the engine's words in the forms that a refusal has (facts: webitel-protocol 1.1, 2)."""
    said: Any = reply.response
    if isinstance(said, Mapping):
        said = said.get("login", said)
    if isinstance(said, Mapping):
        said = said.get("message")
    return said.strip() if isinstance(said, str) and said.strip() else str(reply.error or "").strip()


def _object(func: str, answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, str):
        try:
            answer = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise _unreadable(func) from None
    if not isinstance(answer, Mapping):
        raise _unreadable(func)
    return answer


def _account_rows(answer: Any) -> Mapping[str, Any]:
    table = _object("api account list", answer)
    return _object("api account list", table.get("response", table))


def _unreadable(func: str) -> CommandError:
    return CommandError(
        f"The engine answered {func} with something that cannot be read.", command=func, stage=CommandStage.ACCEPTED
    )
