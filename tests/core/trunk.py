"""A PBX that serves all its users over one socket, and the provider for it: what a plugin on a shared connection looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import attrs

from cti_framework.calls import Call, CallFeature, Party
from cti_framework.errors import NetworkError
from cti_framework.provider import BaseCtiProvider, Capabilities
from cti_framework.reports import Offered, Snapshot, Started
from cti_framework.settings import setting


@attrs.frozen(kw_only=True)
class TrunkSettings:
    port: int = setting(help="Where it listens.")


@attrs.frozen(kw_only=True)
class TrunkUserSettings:
    number: str = setting(help="The user's own number.")


class Trunk:
    """The connection: a line of text is ``NUMBER WORD [MORE]``, both ways."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._places: dict[str, Callable[[str, str], None]] = {}
        # A thousand users have one socket, and one at a time writes to it.
        self._writing = anyio.Lock()

    @classmethod
    async def live(cls, port: int, opened: Callable[[Trunk], None]) -> None:
        """Open it, let users stand on it, and hand each what is theirs until it breaks."""
        try:
            stream = await anyio.connect_tcp("127.0.0.1", port)
        except OSError as error:
            raise NetworkError("Nobody listens there.") from error
        async with stream:
            trunk = cls(stream)
            opened(trunk)
            async for line in _lines(stream):
                number, word, *more = line.split()
                told = trunk._places.get(number)
                if told is not None:
                    told(word, " ".join(more))
        raise NetworkError("The PBX closed the connection.")

    @contextmanager
    def place(self, number: str, told: Callable[[str, str], None]) -> Iterator[None]:
        """Hand what is said to a number to its user."""
        self._places[number] = told
        try:
            yield
        finally:
            del self._places[number]

    async def say(self, number: str, word: str) -> None:
        async with self._writing:
            await self._stream.send(f"{number} {word}\n".encode())


async def _lines(stream: anyio.abc.ByteReceiveStream) -> AsyncIterator[str]:
    rest = b""
    while True:
        try:
            rest += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield line.decode()


class TrunkCtiProvider(BaseCtiProvider):
    capabilities = Capabilities(calls=CallFeature.DIAL | CallFeature.DROP | CallFeature.ANSWER)
    settings_type = TrunkSettings
    user_settings_type = TrunkUserSettings

    async def run(self) -> None:
        port, number = self.context.settings.port, self.context.user_settings.number
        async with self.context.shared(("127.0.0.1", port), partial(Trunk.live, port)) as trunk:
            with trunk.place(number, self._told):
                await trunk.say(number, "login")
                await anyio.sleep_forever()

    def _told(self, word: str, more: str) -> None:
        now = self.context.clock.now()
        if word == "welcome":
            self.context.report(Started(at=now, own_numbers=(self.context.user_settings.number,)))
        elif word == "rings":
            self.context.report(Offered(at=now, call_id=more, other=Party(more)))

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now(), complete=False)

    async def make_call(self, destination: str) -> Call:
        raise NotImplementedError

    async def drop_call(self, call: Call) -> None:
        raise NotImplementedError


class TrunkPbx:
    """The other end: it lets everybody in.

    Attributes:
        port: Where it listens.
        accepted: How many connections there have been.
        most_open: The most that were open at a time.
        log_ins: Who logged in, by connection from 1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted = 0
        self.most_open = 0
        self.log_ins: dict[int, list[str]] = {}
        self._streams: set[anyio.abc.SocketStream] = set()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        self.accepted += 1
        log_ins = self.log_ins[self.accepted] = []
        self._streams.add(stream)
        self.most_open = max(self.most_open, len(self._streams))
        try:
            async with stream:
                async for line in _lines(stream):
                    number, _, word = line.partition(" ")
                    assert word == "login"
                    log_ins.append(number)
                    await stream.send(f"{number} welcome\n".encode())
        finally:
            self._streams.discard(stream)

    async def say(self, text: str) -> None:
        """Say something on the one connection that is up."""
        (stream,) = self._streams
        await stream.send(text.encode())

    async def cut(self) -> None:
        """Close the one connection that is up."""
        (stream,) = self._streams
        await stream.aclose()


@asynccontextmanager
async def trunk_pbx() -> AsyncIterator[TrunkPbx]:
    """Run the PBX on a free port of loopback."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        port: Any = listener.extra(anyio.abc.SocketAttribute.local_port)
        pbx = TrunkPbx(port)
        tasks.start_soon(listener.serve, pbx.serve)
        yield pbx
        tasks.cancel_scope.cancel()
