"""The event socket of the switch in the box: connections, log in, subscriptions, answers in order."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final
from uuid import uuid4

import anyio
import anyio.abc

from cti_esl.simulator.commands import Commands
from cti_esl.simulator.switch import FakeSwitch
from cti_esl.simulator.wire import api_response, command_reply

__all__ = ["EslServer"]

_AUTH_REQUEST: Final = b"Content-Type: auth/request\n\n"
_GOODBYE: Final = b"Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
_DISCONNECT: Final = b"Content-Type: text/disconnect-notice\nContent-Length: %d\n\n%s" % (len(_GOODBYE), _GOODBYE)
_NOT_FOUND: Final = "-ERR command not found"


class EslServer:
    """Serves connections.

    Args:
        switch: The switch.
        password: The event socket's.

    Attributes:
        switch: As given.
        accepted: How many connections there have been.
        most_open: How many there were at a time, at most.
        commands: What was asked, without passwords.
    """

    def __init__(self, switch: FakeSwitch, password: str) -> None:
        self.switch = switch
        self.accepted = 0
        self.most_open = 0
        self.commands: list[str] = []
        self._password = password
        self._sessions: dict[_Session, anyio.abc.SocketStream] = {}

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Serve a connection until it ends.

        Args:
            stream: It.
        """
        self.accepted += 1
        session = _Session(self.switch, self._password, self.commands)
        self._sessions[session] = stream
        self.most_open = max(self.most_open, len(self._sessions))
        try:
            async with stream, anyio.create_task_group() as tasks:
                tasks.start_soon(session.write_to, stream)
                await session.read_from(stream)
                tasks.cancel_scope.cancel()
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError):
            pass
        finally:
            session.close()
            self._sessions.pop(session, None)

    async def cut(self) -> None:
        """Cut every connection, without a goodbye."""
        for stream in tuple(self._sessions.values()):
            await anyio.aclose_forcefully(stream)

    def shut_down(self) -> None:
        """Say goodbye to everybody, and close."""
        for session in tuple(self._sessions):
            session.say_goodbye()

    def say(self, data: bytes) -> None:
        """Send something to everybody, whatever it is.

        Args:
            data: It.
        """
        for session in tuple(self._sessions):
            session.send(data)


class _Session:
    """One connection's side of the dialogue."""

    def __init__(self, switch: FakeSwitch, password: str, log: list[str]) -> None:
        self._switch = switch
        self._commands = Commands(switch)
        self._password = password
        self._log = log
        self._is_in = False
        self._subscribed: frozenset[str] = frozenset()
        self._held_back: list[bytes] | None = None
        self._out, self._outbox = anyio.create_memory_object_stream[bytes | None](math.inf)
        self._unsubscribe = switch.subscribe(self._told)
        self.send(_AUTH_REQUEST)

    def send(self, data: bytes | None) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._out.send_nowait(data)

    def say_goodbye(self) -> None:
        self.send(_DISCONNECT)
        self.send(None)

    def close(self) -> None:
        self._unsubscribe()
        self._out.close()
        self._outbox.close()

    async def write_to(self, stream: anyio.abc.SocketStream) -> None:
        async for data in self._outbox:
            if data is None:
                await stream.send_eof()
                return
            await stream.send(data)

    async def read_from(self, stream: anyio.abc.SocketStream) -> None:
        buffer = b""
        while True:
            buffer += await stream.receive()
            *commands, buffer = buffer.split(b"\n\n")
            for command in commands:
                self._command(command.decode("utf-8", "replace"))

    def _command(self, text: str) -> None:
        line, *headers = text.lstrip("\n").split("\n")
        verb, _, rest = line.partition(" ")
        if verb == "auth":
            self._authorise(rest)
            return
        self._log.append(line)
        if not self._is_in:
            self.send(command_reply(_NOT_FOUND))
            return
        # Events of a command come behind its answer.
        self._held_back = []
        match verb:
            case "api" if rest:
                self.send(api_response(self._commands.api(rest)))
            case "bgapi" if rest:
                given = dict(header.split(": ", 1) for header in headers if ": " in header)
                job = given.get("Job-UUID") or str(uuid4())
                self.send(command_reply(f"+OK Job-UUID: {job}", Job_UUID=job))
                self._commands.background(rest, job)
            case "event":
                self._subscribed |= frozenset(rest.split()[1:])
                self.send(command_reply("+OK event listener enabled json"))
            case "exit":
                self.send(command_reply("+OK bye"))
                self.say_goodbye()
            case _:
                self.send(command_reply(_NOT_FOUND))
        held_back, self._held_back = self._held_back, None
        for message in held_back:
            self.send(message)

    def _authorise(self, password: str) -> None:
        self._is_in = password == self._password
        if self._is_in:
            self.send(command_reply("+OK accepted"))
        else:
            self.send(command_reply("-ERR invalid"))
            self.say_goodbye()

    def _told(self, name: str, message: bytes) -> None:
        if name not in self._subscribed:
            return
        if self._held_back is not None:
            self._held_back.append(message)
        else:
            self.send(message)
