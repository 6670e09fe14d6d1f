"""The one connection for all users: a TCP stream, commands in order, news to those whom they concern.

`EslConnection.live` is what ``context.shared`` opens. It belongs to no user: it logs in, subscribes, looks at the table
of channels, and reads until the connection breaks. Each user takes a place in it.

Answers come in the order of the commands, so a command that was begun has to be finished: half of one would spoil the
next for everybody. It is written shielded from cancellation, and where that takes too long the connection is given up.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import anyio
import anyio.abc
import attrs
from cti_framework.errors import (
    CommandUnconfirmedError,
    CredentialsRefusedError,
    NetworkError,
    NotConnectedError,
    OutageKind,
    ProtocolError,
)

from cti_esl.legs import LegNews, LegTable, read_leg
from cti_esl.protocol import (
    EVENTS,
    AuthRequest,
    Disconnecting,
    EslProtocol,
    Event,
    Message,
    Reply,
    Unknown,
    auth_command,
    command_bytes,
    is_refusal,
    read_object,
)

__all__ = ["SHOW_CHANNELS", "EslConnection", "Place", "read_table"]

SHOW_CHANNELS: Final = "show channels as json"
"""All of them: ``like`` finds neither a presence nor what a leg dialled (facts: esl-control, show channels)."""

_CONNECT_SECONDS: Final = 10.0
_LOG_IN_SECONDS: Final = 10.0
_WRITE_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 65536
_NOT_FROM_HERE: Final = "text/rude-rejection"
"""What the event socket says, by its manual, to addresses that its list leaves out, instead of ``auth/request``."""
_NO_LEG: Final = "00000000-0000-0000-0000-000000000000"


class Place(Protocol):
    """Where a user stands on the connection."""

    def told(self, news: LegNews, raw: bytes) -> None:
        """Take a piece of news that concerns the user.

        Args:
            news: It.
            raw: As it was on the wire.
        """

    def found(self, leg: str) -> None:
        """Take note of a leg of the user's that no event has told of.

        Args:
            leg: Which.
        """


@attrs.define(eq=False)
class _Answer:
    """What a command was answered; ``None``: nothing, the connection is lost."""

    came: anyio.Event = attrs.field(factory=anyio.Event)
    reply: Reply | None = None

    def is_here(self, reply: Reply | None) -> None:
        self.reply = reply
        self.came.set()


class EslConnection:
    """A connection to the event socket.

    Args:
        stream: The TCP stream.

    Attributes:
        legs: The legs that it has heard of.
        is_open: Whether it is up.
    """

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.legs = LegTable()
        self.is_open = True
        self._stream = stream
        self._protocol = EslProtocol()
        self._messages: deque[Message] = deque()
        self._places: dict[str, list[Place]] = {}
        self._answers: deque[_Answer] = deque()
        self._jobs: dict[str, Callable[[str | None], None]] = {}
        self._writing = anyio.Lock()
        self._has_looked_again = False

    @classmethod
    async def live(cls, host: str, port: int, password: str, opened: Callable[[EslConnection], None]) -> None:
        """Open a connection, let users stand on it, and serve it until it breaks.

        Args:
            host: Where the event socket listens.
            port: At which port.
            password: Its password.
            opened: Told when it can be used.

        Raises:
            CredentialsRefusedError: The switch refuses the password.
            ProtocolError: What listens there is no event socket.
            NetworkError: Nobody listens there, or the connection broke.
        """
        async with await _connect(host, port) as stream:
            connection = cls(stream)
            try:
                with anyio.move_on_after(_LOG_IN_SECONDS) as patience:
                    await connection._log_in(password)
                if patience.cancelled_caught:
                    raise NetworkError(
                        f"The event socket did not answer within {_LOG_IN_SECONDS:g} s.",
                        kind=OutageKind.NO_ANSWER,
                        remedy="Look at what listens at `esl.host` and `esl.port`, and at the firewall.",
                    )
                opened(connection)
                while True:
                    connection._take(await connection._message())
            finally:
                connection._close()

    # --- logging in

    async def _log_in(self, password: str) -> None:
        first = await self._message()
        if isinstance(first, Unknown) and first.content_type == _NOT_FROM_HERE:
            raise ProtocolError(
                "The event socket takes no connections from this computer.",
                remedy="Add it to the list that `apply-inbound-acl` names in event_socket.conf.xml.",
            )
        if not isinstance(first, AuthRequest):
            raise ProtocolError(
                "What listens there is no event socket: it does not ask for a password.",
                remedy="Look at the settings `esl.host` and `esl.port`.",
            )
        if is_refusal((await self._exchange(auth_command(password))).text):
            raise CredentialsRefusedError(
                "FreeSWITCH refuses the password of the event socket.", remedy="Look at the setting `esl.password`."
            )
        # Subscribed first: what the table does not have any more, or not yet, the events tell.
        subscribed = await self._exchange(command_bytes(f"event json {' '.join(EVENTS)}"))
        if is_refusal(subscribed.text):
            raise ProtocolError("FreeSWITCH does not let us subscribe to events.")
        self.legs.note(read_table((await self._exchange(command_bytes(f"api {SHOW_CHANNELS}"))).text))

    async def _exchange(self, command: bytes) -> Reply:
        """Ask while nobody else does."""
        await self._write(command)
        while not isinstance(message := await self._message(), Reply):
            self._take(message)
        return message

    # --- reading

    async def _message(self) -> Message:
        while not self._messages:
            try:
                data = await self._stream.receive(_CHUNK_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
                raise NetworkError("The connection to FreeSWITCH broke.") from error
            self._messages.extend(self._protocol.feed(data))
        return self._messages.popleft()

    def _take(self, message: Message) -> None:
        match message:
            case Reply():
                if not self._answers:
                    raise ProtocolError("FreeSWITCH answered what nobody had asked.")
                self._answers.popleft().is_here(message)
            case Event(name="BACKGROUND_JOB"):
                # Everybody's jobs are told to everybody.
                done = self._jobs.pop(str(message.fields.get("Job-UUID")), None)
                if done is not None:
                    done(str(message.fields.get("_body", "")).strip())
            case Event():
                news = read_leg(message.fields)
                if news is not None:
                    self._hand_on(news, message.raw)
            case Disconnecting():
                raise NetworkError("FreeSWITCH closes the connection.", kind=OutageKind.RESTARTING)
            case _:
                pass

    def _hand_on(self, news: LegNews, raw: bytes) -> None:
        for presence in self.legs.feed(news):
            for place in tuple(self._places.get(presence, ())):
                place.told(news, raw)

    def _close(self) -> None:
        self.is_open = False
        while self._answers:
            self._answers.popleft().is_here(None)
        jobs, self._jobs = self._jobs, {}
        for done in jobs.values():
            done(None)

    # --- users

    @contextmanager
    def place(self, presence: str, place: Place) -> Iterator[None]:
        """Hand a user's news to him.

        Args:
            presence: Who: ``1000@example``.
            place: What takes them.
        """
        places = self._places.setdefault(presence, [])
        places.append(place)
        try:
            yield
        finally:
            places.remove(place)
            if not places:
                self._places.pop(presence, None)

    async def look_again(self) -> None:
        """Look at the table of channels once more, if nobody has: it lags, and may have missed a leg that is up.

        Raises:
            CommandUnconfirmedError: The connection broke.
            NotConnectedError: It had broken before.
        """
        if self._has_looked_again:
            return
        self._has_looked_again = True
        found = self.legs.note(read_table((await self.api(SHOW_CHANNELS)).text))
        for leg in found:
            for place in tuple(self._places.get(self.legs.presence_of(leg), ())):
                place.found(leg)

    # --- asking

    async def api(self, command: str, sent: Callable[[], None] | None = None) -> Reply:
        """Ask, and wait for the answer. For what the switch answers at once: everybody waits with us.

        Args:
            command: What.
            sent: Told right before it leaves.

        Returns:
            The answer.

        Raises:
            InvalidArgumentError: It holds a line break.
            NotConnectedError: The connection has broken; nothing was sent.
            CommandUnconfirmedError: It broke before an answer came.
        """
        return await self._ask(command_bytes(f"api {command}"), sent)

    async def background(
        self, command: str, job_uuid: str, done: Callable[[str | None], None], sent: Callable[[], None] | None = None
    ) -> Reply:
        """Have something done that takes its time.

        Args:
            command: What.
            job_uuid: The job's identifier.
            done: Told what came of it; ``None``: the connection broke.
            sent: Told right before it leaves.

        Returns:
            The answer, which says nothing but that it was begun.

        Raises:
            InvalidArgumentError: As for `api`.
            NotConnectedError: As for `api`.
            CommandUnconfirmedError: As for `api`.
        """
        data = command_bytes(f"bgapi {command}", job_uuid=job_uuid)
        self._jobs[job_uuid] = done
        return await self._ask(data, sent)

    def forget_job(self, job_uuid: str) -> None:
        """Tell nobody what comes of a job.

        Args:
            job_uuid: Which.
        """
        self._jobs.pop(job_uuid, None)

    async def dump(self, leg: str) -> LegNews | None:
        """Look at a leg, which is exact where the table is not.

        Args:
            leg: Which.

        Returns:
            It; ``None``: there is no such leg.

        Raises:
            CommandUnconfirmedError: The connection broke.
            NotConnectedError: It had broken before.
        """
        fields = read_object((await self.api(f"uuid_dump {leg} json")).text)
        news = None if fields is None else read_leg(fields)
        self.legs.dumped(leg, news)
        return news

    async def probe(self) -> None:
        """Ask whether the switch is still there.

        Raises:
            CommandUnconfirmedError: The connection broke.
            NotConnectedError: It had broken before.
        """
        await self.api(f"uuid_exists {_NO_LEG}")

    async def _ask(self, data: bytes, sent: Callable[[], None] | None) -> Reply:
        async with self._writing:
            if not self.is_open:
                raise NotConnectedError("Nothing was sent: the connection to FreeSWITCH is lost.")
            if sent is not None:
                sent()
            answer = _Answer()
            self._answers.append(answer)
            await self._write_whole(data)
        await answer.came.wait()
        if answer.reply is None:
            raise CommandUnconfirmedError("The connection to FreeSWITCH was lost before it answered.")
        return answer.reply

    async def _write_whole(self, data: bytes) -> None:
        with anyio.move_on_after(_WRITE_SECONDS, shield=True) as patience:
            try:
                await self._write(data)
            except NetworkError as error:
                raise CommandUnconfirmedError("The connection to FreeSWITCH broke.") from error
        if patience.cancelled_caught:
            # Half of it may have left: whoever reads finds the stream closed, and ends the connection.
            self.is_open = False
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)
            raise CommandUnconfirmedError("FreeSWITCH does not read any more.")

    async def _write(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise NetworkError("The connection to FreeSWITCH broke.") from error


async def _connect(host: str, port: int) -> anyio.abc.SocketStream:
    try:
        with anyio.move_on_after(_CONNECT_SECONDS):
            return await anyio.connect_tcp(host, port)
    except socket.gaierror as error:
        raise NetworkError(
            f"The host name {host} is not known.",
            kind=OutageKind.NAME_UNKNOWN,
            remedy="Look at the setting `esl.host`.",
        ) from error
    except OSError as error:
        is_refused = any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))
        raise NetworkError(
            f"Nobody answers at {host}:{port}.",
            kind=OutageKind.REFUSED if is_refused else OutageKind.UNREACHABLE,
            remedy="Look at the settings `esl.host` and `esl.port`.",
        ) from error
    raise NetworkError(
        f"{host}:{port} did not answer within {_CONNECT_SECONDS:g} s.",
        kind=OutageKind.NO_ANSWER,
        remedy="Look at the settings `esl.host` and `esl.port`, and at the firewall.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk an error, and what it stands for: a host of several addresses fails in as many ways."""
    if error is not None:
        yield error
        for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from _causes(one)
        yield from _causes(error.__cause__)


def read_table(text: str) -> list[tuple[str, str]]:
    """Read the table of channels.

    Args:
        text: The answer to `SHOW_CHANNELS`; without channels it has no rows at all.

    Returns:
        Uuid and presence of each row.
    """
    table: dict[str, Any] = read_object(text) or {}
    rows = table.get("rows")
    found = []
    for row in rows if isinstance(rows, list) else ():
        leg = row.get("uuid") if isinstance(row, dict) else None
        if isinstance(leg, str) and leg:
            presence = row.get("presence_id")
            found.append((leg, presence if isinstance(presence, str) else ""))
    return found
