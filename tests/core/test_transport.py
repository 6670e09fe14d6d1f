"""The WebSocket port on both backends, against peers that behave and peers that do not."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener, TLSStream
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from cti_framework.errors import AddressError, ConnectionFailedError, NetworkError, OutageKind, ProtocolError
from cti_framework.transport import memory_websocket_pair, open_websocket, safe_url
from tests.core.wire import drop_everything

pytestmark = pytest.mark.anyio

# A regression hangs for seconds or for ever; a healthy run needs milliseconds.
PATIENCE_SECONDS = 5.0


class Peer:
    """The far side of one connection: bytes by hand, the WebSocket rules by the sans-I/O server of ``websockets``."""

    def __init__(self, stream: SocketStream | TLSStream) -> None:
        self.stream = stream
        # The test looks into the log of the client.
        self.protocol = ServerProtocol(max_size=None, logger=logging.Logger("peer"))
        self.request: Request | None = None
        self.opened = anyio.Event()
        self.gone = anyio.Event()

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send(data)
            elif isinstance(self.stream, TLSStream):
                await self.stream.aclose()
            else:
                await self.stream.send_eof()

    async def accept(self, subprotocol: str | None = None) -> None:
        while self.request is None:
            self.protocol.receive_data(await self.stream.receive())
            for event in self.protocol.events_received():
                assert isinstance(event, Request)
                self.request = event
        response = self.protocol.accept(self.request)
        if subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
        self.protocol.send_response(response)
        await self.flush()
        self.opened.set()

    async def frames(self) -> AsyncIterator[Frame]:
        while True:
            try:
                data = await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.gone.set()
                return
            self.protocol.receive_data(data)
            for event in self.protocol.events_received():
                assert isinstance(event, Frame)
                yield event
            await self.flush()

    async def until_gone(self) -> None:
        async for _ in self.frames():
            pass

    async def send(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()

    async def close(self, code: int, reason: str = "") -> None:
        self.protocol.send_close(code, reason)
        await self.flush()
        await self.until_gone()

    def reset(self) -> None:
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Run a script for each connection on a free port of loopback, and give the address."""

    async def serve(stream: SocketStream | TLSStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await script(Peer(stream))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as tcp:
        port = tcp.extra(SocketAttribute.local_port)
        listener: Any = TLSListener(tcp, tls, standard_compatible=False) if tls else tcp
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            yield f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"
            group.cancel_scope.cancel()


def raw_answer(answer: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.stream.send(answer)

    return script


def http_answer(status: str, headers: str = "") -> Script:
    return raw_answer(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode())


async def accept_and_read(peer: Peer) -> None:
    await peer.accept()
    await peer.until_gone()


def text_frames(count: int, payload: bytes = b"{}") -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=False, extensions=[]) * count


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets by /proc")


async def settled() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def opening_error(url: str, **options: Any) -> ConnectionFailedError:
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ConnectionFailedError) as caught:
        async with open_websocket(url, **options):
            pytest.fail("it opened")
    return caught.value


# --- talking


async def test_text_comes_as_bytes_and_goes_as_text() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send('{"ä":1}')
        async for frame in peer.frames():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                await peer.send(f"{frame.opcode.name} {bytes(frame.data).decode()}")

    async with serving(script) as url, open_websocket(url) as websocket:
        assert await websocket.receive() == '{"ä":1}'.encode()
        await websocket.send("a")
        assert await websocket.receive() == b"TEXT a"
        await websocket.send(b"b")
        assert await websocket.receive() == b"BINARY b"
        assert websocket.close_code is None
        assert websocket.close_reason is None
    assert websocket.close_code == 1000


async def test_headers_subprotocols_and_no_compression() -> None:
    seen: list[Request] = []

    async def script(peer: Peer) -> None:
        await peer.accept("verto")
        assert peer.request is not None
        seen.append(peer.request)
        await peer.until_gone()

    async with (
        serving(script) as url,
        open_websocket(url + "/path?a=b", headers={"X-Test": "1"}, subprotocols=["verto"]) as websocket,
    ):
        assert websocket.subprotocol == "verto"
    assert seen[0].headers["X-Test"] == "1"
    assert seen[0].path == "/path?a=b"
    assert "Sec-WebSocket-Extensions" not in seen[0].headers


async def test_no_proxy_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(accept_and_read) as url, open_websocket(url):
        pass
    error = await opening_error(url, proxy="http://user:hunter2@127.0.0.1:9")
    assert isinstance(error, NetworkError)
    assert "hunter2" not in str(error)


async def test_pings_of_the_peer_are_answered() -> None:
    answered = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.protocol.send_ping(b"alive?")
        await peer.flush()
        async for frame in peer.frames():
            if frame.opcode is Opcode.PONG and bytes(frame.data) == b"alive?":
                answered.set()

    async with serving(script) as url, open_websocket(url, ping_interval_seconds=None):
        with anyio.fail_after(PATIENCE_SECONDS):
            await answered.wait()


async def test_a_peer_that_answers_no_ping_is_dead() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await anyio.sleep_forever()

    async with (
        serving(script) as url,
        open_websocket(url, ping_interval_seconds=0.02, ping_timeout_seconds=0.05, close_timeout_seconds=0.05) as websocket,
    ):
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError, match="did not answer a ping") as caught:
            await websocket.receive()
    assert caught.value.retryable


# --- size and floods


async def test_twenty_mebibytes_are_one_message() -> None:
    size = 20 * 1024 * 1024

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send(text_frames(1, b"x" * size))
        await peer.until_gone()

    async with serving(script) as url, open_websocket(url) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS):
            assert len(await websocket.receive()) == size


async def test_a_message_above_the_limit_names_the_limit() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send(text_frames(1, b"x" * 1001))
        await peer.until_gone()

    async with serving(script) as url, open_websocket(url, max_size_bytes=1000) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ProtocolError, match="more than 1000 bytes"):
            await websocket.receive()


async def test_text_that_breaks_the_rules_of_websocket() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send(b"\xff\xff\xff\xff")
        await peer.until_gone()

    async with serving(script) as url, open_websocket(url) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ProtocolError, match="what WebSocket does not allow"):
            await websocket.receive()


async def test_a_flood_starves_nobody() -> None:
    count = 5000

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send(text_frames(count))
        await peer.until_gone()

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.lowlevel.checkpoint()

    async with serving(script) as url, open_websocket(url) as websocket, anyio.create_task_group() as group:
        group.start_soon(tick)
        longest = since = 0
        before = ticks
        for _ in range(count):
            await websocket.receive()
            since += 1
            if ticks != before:
                before, since = ticks, 0
            longest = max(longest, since)
        group.cancel_scope.cancel()
    assert longest <= 64


async def test_leaving_while_the_peer_floods_and_reads_nothing() -> None:
    """The trio client of websockets 17.4 waits for ever here: its reader waits for room in a queue that nobody empties."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        while True:
            await peer.stream.send(text_frames(2000))

    tasks = len(anyio.get_running_tasks())
    async with serving(script) as url:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with open_websocket(url, close_timeout_seconds=0.1) as websocket:
                await websocket.receive()
    await settled()
    assert len(anyio.get_running_tasks()) == tasks


async def test_cancelled_the_peer_is_told() -> None:
    gone = anyio.Event()
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.until_gone()
        codes.append(peer.protocol.close_rcvd.code if peer.protocol.close_rcvd else 1006)
        gone.set()

    async with serving(script) as url:
        await settled()
        tasks = len(anyio.get_running_tasks())
        async with anyio.create_task_group() as group:

            async def use() -> None:
                async with open_websocket(url) as websocket:
                    group.cancel_scope.cancel()
                    await websocket.receive()

            group.start_soon(use)
        with anyio.fail_after(PATIENCE_SECONDS):
            await gone.wait()
        await settled()
        assert len(anyio.get_running_tasks()) <= tasks
    assert codes == [1000]


async def test_cancelled_with_a_peer_that_never_answers_the_close() -> None:
    """The asyncio client of websockets 17.4 keeps its socket until its keep-alive fails, after 20 seconds."""
    gone = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await peer.stream.receive()
        gone.set()

    async with serving(script) as url:
        with anyio.fail_after(PATIENCE_SECONDS):
            with anyio.move_on_after(0.05):
                async with open_websocket(url, close_timeout_seconds=0.05) as websocket:
                    await websocket.receive()
            await gone.wait()


@needs_proc
async def test_cancelled_at_every_await_of_opening_nothing_is_left() -> None:
    async with serving(accept_and_read) as url:
        async with open_websocket(url):
            pass
        await settled()
        opened = 0
        for steps in range(40):
            with anyio.fail_after(PATIENCE_SECONDS):
                files = open_files()
                async with anyio.create_task_group() as group:

                    async def cancel(after: int, scope: anyio.CancelScope) -> None:
                        for _ in range(after):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    with anyio.CancelScope() as scope:
                        group.start_soon(cancel, steps, scope)
                        async with open_websocket(url, close_timeout_seconds=1.0) as websocket:
                            opened += 1
                            await websocket.receive()
                # The server's own side of it ends a moment later.
                while open_files() > files:
                    await anyio.lowlevel.checkpoint()
    assert opened < 40


async def test_what_the_body_raises_leaves_as_it_is() -> None:
    async with serving(accept_and_read) as url:
        with pytest.raises(KeyError, match="mine"):
            async with open_websocket(url):
                raise KeyError("mine")
        with pytest.raises(ExceptionGroup) as caught:
            async with open_websocket(url):
                raise ExceptionGroup("ours", [KeyError("a"), ValueError("b")])
    assert caught.value.message == "ours"


async def test_cancelling_receive_loses_no_message() -> None:
    count = 300

    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(count):
            await peer.send(str(number))
        await peer.until_gone()

    got: list[int] = []
    async with serving(script) as url, open_websocket(url) as websocket, anyio.create_task_group() as group:

        async def cancel(scope: anyio.CancelScope, after: int) -> None:
            for _ in range(after):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        turn = 0
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(got) < count:
                turn += 1
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel, scope, turn % 3)
                    while len(got) < count:
                        got.append(int(await websocket.receive()))
    assert got == list(range(count))


@pytest.mark.parametrize("library", ["as it is", "with another queue"])
@pytest.mark.parametrize("many", [True, False], ids=["receive_many", "receive"])
async def test_whole_and_fragmented_messages_keep_their_order(library: str, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "with another queue":
        monkeypatch.setattr("cti_framework.transport._asyncio._arrived_of", lambda connection: (deque(), None))
    texts = [f"message {number}" for number in range(300)]

    def frames() -> Iterator[bytes]:
        for number, text in enumerate(texts):
            data = text.encode()
            if number % 7:
                yield Frame(Opcode.TEXT, data).serialize(mask=False, extensions=[])
            else:
                yield Frame(Opcode.TEXT, data[:3], fin=False).serialize(mask=False, extensions=[])
                yield Frame(Opcode.PING, b"between").serialize(mask=False, extensions=[])
                yield Frame(Opcode.CONT, data[3:]).serialize(mask=False, extensions=[])

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stream.send(b"".join(frames()))
        await peer.until_gone()

    got: list[str] = []
    async with serving(script) as url, open_websocket(url) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(got) < len(texts):
                batch = await websocket.receive_many() if many else [await websocket.receive()]
                assert batch
                got += [data.decode() for data in batch]
    assert got == texts


async def test_a_peer_that_does_not_read_fails_the_send() -> None:
    async def accept_and_never_read(listener: socket.socket) -> None:
        await anyio.wait_readable(listener)
        connection, _ = listener.accept()
        with connection:
            protocol = ServerProtocol(logger=logging.Logger("peer"))
            await anyio.wait_readable(connection)
            protocol.receive_data(connection.recv(65536))
            (request,) = protocol.events_received()
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
            connection.sendall(b"".join(protocol.data_to_send()))
            await anyio.sleep_forever()

    # A listener of anyio would not do: on asyncio it reads ahead without limit.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as group:
            group.start_soon(accept_and_never_read, listener)
            async with open_websocket(
                url, send_timeout_seconds=0.1, close_timeout_seconds=0.1, ping_interval_seconds=None
            ) as websocket:
                with anyio.fail_after(PATIENCE_SECONDS):
                    with pytest.raises(NetworkError, match=r"has not read anything for 0\.1 s"):
                        for _ in range(100):
                            await websocket.send("x" * 1_000_000)
                    with pytest.raises(NetworkError):
                        await websocket.receive()
            group.cancel_scope.cancel()


async def test_a_cancelled_send_leaves_the_connection_usable() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        async for frame in peer.frames():
            if frame.opcode is Opcode.TEXT:
                await peer.send(bytes(frame.data).decode())

    async with serving(script) as url, open_websocket(url) as websocket:
        for steps in range(6):
            async with anyio.create_task_group() as group:

                async def send() -> None:
                    await websocket.send("may be lost")

                group.start_soon(send)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        await websocket.send("last")
        with anyio.fail_after(PATIENCE_SECONDS):
            while await websocket.receive() != b"last":
                pass


# --- the end


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, OutageKind.LOST),
        (1001, OutageKind.RESTARTING),
        (1008, OutageKind.LOST),
        (1012, OutageKind.RESTARTING),
        (1013, OutageKind.RESTARTING),
    ],
)
async def test_a_close_code_says_whether_the_peer_comes_back(code: int, kind: OutageKind) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.close(code)

    client, server = memory_websocket_pair()
    await server.close(code)
    async with serving(script) as url, open_websocket(url) as websocket:
        for one in (websocket, client):
            with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError) as caught:
                await one.receive()
            assert caught.value.kind is kind


async def test_a_line_that_is_cut_is_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.reset()

    async with serving(script) as url, open_websocket(url) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError) as caught:
            await websocket.receive()
        assert caught.value.kind is OutageKind.LOST


async def test_a_peer_that_does_not_answer_a_ping_is_frozen() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await anyio.sleep_forever()

    async with (
        serving(script) as url,
        open_websocket(url, ping_interval_seconds=0.05, ping_timeout_seconds=0.05, close_timeout_seconds=0.05) as websocket,
    ):
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError, match="ping") as caught:
            await websocket.receive()
        assert caught.value.kind is OutageKind.FROZEN


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize("tls", [False, True])
async def test_what_the_peers_computer_has_not_acknowledged_is_told(tls: bool) -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.accept()
        await peer.send("ready")
        await anyio.sleep_forever()

    async with (
        serving(script, server if tls else None) as url,
        open_websocket(url, ssl_context=client, close_timeout_seconds=0.05) as websocket,
    ):
        assert await websocket.receive() == b"ready"
        await websocket.send("taken by the system, read by nobody")
        with anyio.fail_after(PATIENCE_SECONDS):
            while websocket.unacknowledged_bytes != 0:
                await anyio.lowlevel.checkpoint()
        drop_everything(peers[0].stream.extra(SocketAttribute.raw_socket))
        await websocket.send("lost")
        assert (websocket.unacknowledged_bytes or 0) >= len("lost")
        await websocket.close()
        assert websocket.unacknowledged_bytes is None


async def test_without_a_network_nothing_is_unacknowledged() -> None:
    client, _ = memory_websocket_pair()
    assert client.unacknowledged_bytes is None


async def test_closed_by_the_peer_says_code_and_reason() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send("last words")
        await peer.close(1001, "restarting")

    async with serving(script) as url, open_websocket(url) as websocket:
        assert await websocket.receive() == b"last words"
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError, match=r"closed .* 1001, restarting"):
            await websocket.receive()
        assert websocket.close_code == 1001
        assert websocket.close_reason == "restarting"
        with pytest.raises(NetworkError):
            await websocket.send("too late")


@pytest.mark.parametrize("abruptly", [False, True])
async def test_cut_without_a_closing_handshake(abruptly: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        if abruptly:
            peer.reset()

    async with serving(script) as url, open_websocket(url) as websocket:
        with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(NetworkError, match=r"reset|cut without"):
            await websocket.receive()
        assert websocket.close_code == 1006


async def test_closing_twice_and_receiving_after_it() -> None:
    async with serving(accept_and_read) as url, open_websocket(url) as websocket:
        await websocket.close(1001, "enough")
        await websocket.close()
        with pytest.raises(NetworkError, match="closed"):
            await websocket.receive()
        with pytest.raises(NetworkError, match="closed"):
            await websocket.send("x")


# --- opening that fails


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pbx.example:10022",
        "http://pbx.example",
        "ws://",
        "ws://pbx.example:99999",
        "ws://pbx.example:port",
        "ws://user@pbx.example",
        "ws://pbx.example/#here",
        "ws://[::1",
        f"ws://{'a' * 70}.example\u00e4",
    ],
)
async def test_an_address_that_is_none(url: str) -> None:
    error = await opening_error(url)
    assert isinstance(error, AddressError)
    assert not error.retryable
    assert error.kind is OutageKind.ADDRESS
    assert "ws://host:port" in str(error)


async def test_no_secret_of_the_address_is_told() -> None:
    for url in ("ws://user:hunter2@", "ftp://user:hunter2@pbx.example/x", "ws://user:hunter2@127.0.0.1:9/?token=hunter2"):
        error: BaseException | None = await opening_error(url)
        while error is not None:
            assert "hunter2" not in str(error) + repr(error)
            error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("wss://user:pass@pbx.example:8/engine?token=x#y", "wss://pbx.example:8/engine"),
        ("ws://pbx.example", "ws://pbx.example"),
        ("ws://pbx.example/?account=100@demo.local", "ws://pbx.example/"),
        ("ws://user:pa/ss@pbx.example/x?y", "ws://pbx.example/x"),
        ("ws://user:pa?ss@pbx.example", "ws://pbx.example"),
        ("user:pass@pbx.example", "pbx.example"),
        ("pbx.example:10022?token=x", "pbx.example:10022"),
        ("", ""),
    ],
)
def test_safe_url(url: str, said: str) -> None:
    assert safe_url(url) == said


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        error = await opening_error(f"ws://{host}:{port}")
        assert isinstance(error, NetworkError)
        assert error.retryable
        assert "refuses connections" in str(error)
        assert error.kind is OutageKind.REFUSED


async def test_a_name_that_nobody_knows() -> None:
    error = await opening_error("ws://pbx.invalid:10022")
    assert isinstance(error, NetworkError)
    assert "host name" in str(error)
    assert error.kind is OutageKind.NAME_UNKNOWN


@pytest.mark.parametrize(
    ("script", "kind", "retryable", "text"),
    [
        (http_answer("403 Forbidden"), OutageKind.PROTOCOL, False, "HTTP 403"),
        (http_answer("404 Not Found"), OutageKind.PROTOCOL, False, "HTTP 404"),
        (http_answer("200 OK"), OutageKind.PROTOCOL, False, "HTTP 200"),
        (http_answer("503 Service Unavailable"), OutageKind.BUSY, True, "HTTP 503"),
        (http_answer("502 Bad Gateway"), OutageKind.RESTARTING, True, "HTTP 502"),
        (
            http_answer("302 Found", "Location: ws://u:hunter2@other.example/x\r\n"),
            OutageKind.PROTOCOL,
            False,
            "ws://other.example/x",
        ),
        (http_answer("101 Switching Protocols"), OutageKind.PROTOCOL, True, "no proper WebSocket handshake"),
        (raw_answer(b"220 mail.example ESMTP\r\n\r\n"), OutageKind.PROTOCOL, True, "another program"),
        (raw_answer(b""), OutageKind.LOST, True, "closed the connection during the opening handshake"),
    ],
)
async def test_refused_handshakes(script: Script, kind: OutageKind, retryable: bool, text: str) -> None:
    async with serving(script) as url:
        error = await opening_error(url)
    assert isinstance(error, ProtocolError if kind is OutageKind.PROTOCOL else NetworkError)
    assert error.kind is kind
    assert error.retryable is retryable
    assert text in str(error)
    assert "hunter2" not in str(error)


async def test_reset_during_the_handshake() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive()
        peer.reset()

    async with serving(script) as url:
        error = await opening_error(url)
    assert isinstance(error, NetworkError)
    assert "during the opening handshake" in str(error)


async def test_a_server_that_says_nothing() -> None:
    async def script(peer: Peer) -> None:
        await anyio.sleep_forever()

    async with serving(script) as url:
        error = await opening_error(url, open_timeout_seconds=0.1)
    assert isinstance(error, NetworkError)
    assert error.retryable
    assert "did not answer within 0.1 s" in str(error)
    assert error.kind is OutageKind.NO_ANSWER


# --- TLS


async def test_tls() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send("safe")
        await peer.until_gone()

    async with serving(script, server) as url:
        async with open_websocket(url, ssl_context=client, close_timeout_seconds=0.5) as websocket:
            assert await websocket.receive() == b"safe"
        untrusted = await opening_error(url)
        assert isinstance(untrusted, NetworkError)
        assert untrusted.retryable
        assert untrusted.kind is OutageKind.TLS_NOT_TRUSTED
        assert f"The TLS certificate of {url} is not trusted" in str(untrusted)

        assert ".." not in str(untrusted)
        assert "Install the authority that signed it" in (untrusted.remedy or "")

        plain = await opening_error(url.replace("wss:", "ws:"), open_timeout_seconds=1.0, ssl_context=client)
        assert isinstance(plain, NetworkError | ProtocolError)
    async with serving(http_answer("400 Bad Request")) as url:
        error = await opening_error(url.replace("ws:", "wss:"), ssl_context=client)
        assert isinstance(error, ProtocolError)
        assert "write ws:// for wss://" in str(error)


def certificate_of_itself(authority: trustme.CA, context: ssl.SSLContext, folder: Path) -> None:
    file = folder / "itself.pem"
    file.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context.load_cert_chain(file)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ("name", "Connect by a name that the certificate is for"),
        ("address", "Connect by a name that the certificate is for"),
        ("over", "Have the PBX's certificate renewed"),
        ("early", "Set this host's clock"),
        ("itself", "It is signed by itself"),
    ],
)
async def test_what_is_wrong_with_a_certificate_has_its_own_remedy(wrong: str, remedy: str, tmp_path: Path) -> None:
    authority, now = trustme.CA(), datetime.now(UTC)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    days = timedelta(days=1)
    match wrong:
        case "name" | "address":
            authority.issue_cert("pbx.example").configure_cert(server)
        case "over":
            authority.issue_cert("127.0.0.1", not_before=now - 2 * days, not_after=now - days).configure_cert(server)
        case "early":
            authority.issue_cert("127.0.0.1", not_before=now + days, not_after=now + 2 * days).configure_cert(server)
        case _:
            certificate_of_itself(trustme.CA(), server, tmp_path)

    async with serving(accept_and_read, server) as url:
        error = await opening_error(url.replace("127.0.0.1", "localhost") if wrong == "name" else url, ssl_context=client)
    assert isinstance(error, NetworkError)
    assert error.kind is OutageKind.TLS_NOT_TRUSTED
    assert (error.remedy or "").startswith(remedy)
    assert ".." not in error.message


# --- what must not be told or loaded


async def test_no_frame_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(accept_and_read) as url, open_websocket(url, headers={"Authorization": "hunter2"}) as websocket:
        await websocket.send("hunter2")
    assert "hunter2" not in caplog.text


def test_websockets_is_loaded_when_a_connection_is_opened() -> None:
    program = "import sys, cti_framework.transport; sys.exit('websockets' in sys.modules or 'trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- the twin


async def test_the_twin_talks_and_closes() -> None:
    client, server = memory_websocket_pair()
    await client.send("ä")
    assert await server.receive() == "ä".encode()
    await server.send(b"b")
    await server.close(1001, "restarting")
    assert await client.receive() == b"b"
    with pytest.raises(NetworkError, match=r"closed .* 1001, restarting"):
        await client.receive()
    with pytest.raises(NetworkError, match="1001"):
        await client.send("x")
    with pytest.raises(NetworkError, match="by this side"):
        await server.receive()
    assert client.close_code == server.close_code == 1001
    assert client.close_reason == "restarting"
    assert client.subprotocol is None


async def test_the_twin_limits_size_and_queue() -> None:
    client, server = memory_websocket_pair(max_size_bytes=3, queue_messages=2)
    await server.send("1234")
    with pytest.raises(ProtocolError, match="more than 3 bytes"):
        await client.receive()
    with pytest.raises(NetworkError, match="1009"):
        await server.receive()

    client, server = memory_websocket_pair(queue_messages=2)
    await client.send("1")
    await client.send("2")
    with anyio.move_on_after(0) as scope:
        await client.send("3")
    assert scope.cancelled_caught
    async with anyio.create_task_group() as group:
        group.start_soon(client.send, "3")
        assert [await server.receive() for _ in range(3)] == [b"1", b"2", b"3"]
        group.cancel_scope.cancel()


async def test_the_twin_is_cut() -> None:
    client, server = memory_websocket_pair()
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(NetworkError, match="1006"):
                await client.receive()

        group.start_soon(wait)
        await anyio.lowlevel.checkpoint()
        server.shut()
    assert client.close_code == 1006
