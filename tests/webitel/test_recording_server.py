"""The simulator's recordings: which calls have one, who is given its link, and how it is served."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx2
import pytest

from cti_framework.calls import Call, CallState
from cti_framework.events import CallFinished, Cursor
from cti_framework.model import CtiModel
from cti_framework.switchboard import Leg, Switchboard, SwitchOptions
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.engine import Engine
from cti_webitel.simulator.recordings import Recording, Recordings
from cti_webitel.simulator.sessions import Session
from tests.webitel.sessions import CALLER, FAR, OWN, PATIENCE_SECONDS, model_at

UUID = "08080808-0000-4000-8000-000000000008"


def seconds_of(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        frames: int = file.getnframes()
        return frames / 8000


# --- which calls are recorded


class Exchange:
    """A switch whose clock is turned by hand, and its recordings."""

    def __init__(self) -> None:
        self.switch = Switchboard(seed=7, options=SwitchOptions(own_answer_seconds=None, far_answer_seconds=None))
        for number in ("100", "101"):
            self.switch.add_account(number, password=number)
        self.recordings = Recordings(self.switch)

    def far_leg(self) -> Leg:
        return next(leg for leg in self.switch.legs if leg.snapshot.presence is None)

    def talk(self, first: Leg, *others: Leg, seconds: float) -> None:
        for leg in (first, *others):
            self.switch.answer(leg.uuid)
        self.switch.advance(seconds)

    def seconds(self, uuid: str) -> float | None:
        recording = self.recordings.get(uuid)
        return None if recording is None else seconds_of(recording.wav())


def test_a_click_to_call_is_kept_by_the_own_leg() -> None:
    exchange = Exchange()
    (own,) = exchange.switch.originate(OWN, FAR)
    exchange.switch.advance(2)
    exchange.switch.answer(own.uuid)
    exchange.switch.advance(3)
    far = exchange.far_leg()
    exchange.talk(far, seconds=7.5)
    assert exchange.seconds(own.uuid) is None
    exchange.switch.hang_up(own.uuid)
    # Ringing is not recorded.
    assert exchange.seconds(own.uuid) == 7.5
    assert exchange.seconds(far.uuid) is None


@pytest.mark.parametrize("who_hangs_up", ["caller", "own"])
def test_an_incoming_call_is_kept_by_the_callers_leg(who_hangs_up: str) -> None:
    exchange = Exchange()
    caller, (own,) = exchange.switch.incoming(CALLER, OWN)
    exchange.talk(own, seconds=4)
    exchange.switch.hang_up(caller.uuid if who_hangs_up == "caller" else own.uuid)
    assert exchange.seconds(caller.uuid) == 4
    assert exchange.seconds(own.uuid) is None
    # Whichever of the two ends first, nothing is remembered of either.
    assert not vars(exchange.recordings)["_joined_at"]
    assert not vars(exchange.recordings)["_joined_for"]


def test_a_call_from_the_phone_and_one_among_colleagues_are_kept_by_the_calling_leg() -> None:
    exchange = Exchange()
    own = exchange.switch.dial_from_device(OWN, "101")
    (colleague,) = exchange.switch.legs_of("101@demo.local")
    exchange.talk(colleague, seconds=5)
    exchange.switch.hang_up(colleague.uuid)
    assert exchange.seconds(own.uuid) == 5
    assert exchange.seconds(colleague.uuid) is None


def test_a_hold_is_in_the_recording_and_an_unanswered_call_has_none() -> None:
    exchange = Exchange()
    caller, (own,) = exchange.switch.incoming(CALLER, OWN)
    exchange.talk(own, seconds=1)
    exchange.switch.hold(own.uuid)
    exchange.switch.advance(10)
    exchange.switch.unhold(own.uuid)
    exchange.switch.advance(1)
    exchange.switch.hang_up(own.uuid)
    assert exchange.seconds(caller.uuid) == 12
    missed, (rung,) = exchange.switch.incoming(CALLER, OWN)
    exchange.switch.hang_up(missed.uuid)
    assert exchange.seconds(missed.uuid) is exchange.seconds(rung.uuid) is None


def test_a_caller_who_is_sent_on_is_recorded_for_the_whole_time() -> None:
    exchange = Exchange()
    caller, (own,) = exchange.switch.incoming(CALLER, OWN)
    exchange.talk(own, seconds=2)
    exchange.switch.transfer(caller.uuid, "101")
    exchange.switch.advance(1)
    (colleague,) = exchange.switch.legs_of("101@demo.local")
    exchange.talk(colleague, seconds=3)
    exchange.switch.hang_up(caller.uuid)
    recorded = exchange.seconds(caller.uuid)
    assert recorded is not None
    assert 5 <= recorded <= 6


def test_a_file_is_the_same_each_time_and_sounds() -> None:
    recording = Recording(uuid=UUID, seconds=0.3, ended_at=datetime.now(UTC))
    wav = recording.wav()
    assert wav == recording.wav()
    assert seconds_of(wav) == 0.3
    assert len(set(wav[44:])) > 10
    assert seconds_of(Recording(uuid=UUID, seconds=0, ended_at=datetime.now(UTC)).wav()) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["in", "out"])
async def test_the_identifier_that_the_client_learns_at_the_end_is_that_of_the_recording(way: str) -> None:
    async with simulator_with(own_answer_seconds=0.0, far_answer_seconds=0.0) as simulator, model_at(simulator) as model:
        after = model.cursor
        if way == "out":
            await model.make_call(FAR)
        else:
            await simulator.incoming(CALLER)
            await simulator.answer_own()
        await until(model, CallState.CONNECTED)
        await model.drop_call()
        ended = await the_end(model, after)
        assert ended.former_ids
        assert simulator.engine.recordings.get(ended.id) is not None


async def the_end(model: CtiModel, after: Cursor) -> Call:
    with anyio.fail_after(PATIENCE_SECONDS):
        async for event in model.events(after):
            if isinstance(event, CallFinished):
                return event.call
    raise AssertionError("the session has ended before the call")


async def until(model: CtiModel, state: CallState) -> None:
    events = model.events()
    with anyio.fail_after(PATIENCE_SECONDS):
        while model.current_call is None or model.current_call.state is not state:
            await anext(events)


# --- who is given a link


class Socket:
    """A socket of the engine, without a network."""

    def __init__(self, engine: Engine, number: str | None = "100") -> None:
        self.engine = engine
        self.session: Session = engine.connect()
        if number is not None:
            self.ask("auth", account=f"{number}@demo.local", secret=number)

    def ask(self, command: str, **arguments: Any) -> tuple[str, Any]:
        frame = {"exec-uuid": "mine", "exec-func": command, "exec-args": arguments}
        self.engine.receive(self.session, json.dumps(frame))
        reply: dict[str, Any] = {}
        while reply.get("exec-uuid") != "mine":
            reply = json.loads(self.session.take() or b"null")
        return reply["exec-complete"], reply.get("exec-response")


@pytest.fixture
def engine() -> Engine:
    switch = Switchboard(seed=7)
    switch.add_account("100", password="100")
    switch.add_account("200", password="200", role="admin")
    engine = Engine(switch, SimulatorOptions())
    engine.recordings.address = "http://pbx.example:4004"
    engine.recordings.keep(Recording(uuid=UUID, seconds=1, ended_at=datetime.now(UTC)))
    return engine


@pytest.mark.parametrize("number", ["100", "200"])
def test_the_link_carries_key_and_token(engine: Engine, number: str) -> None:
    complete, link = Socket(engine, number).ask("cdr_get_record_link", uuid=UUID)
    token = engine.tokens.give(f"{number}@demo.local")
    assert complete == "+OK"
    assert link == f"http://pbx.example:4004/api/v2/files/{UUID}?x_key={token.key}&access_token={token.token}"
    assert engine.tokens.owner(token.key, token.token) == (f"{number}@demo.local", "")


def test_the_other_replies_are_the_captured_ones(engine: Engine) -> None:
    socket = Socket(engine)
    assert socket.ask("cdr_get_record_link", uuid="nope") == ("+OK", "+OK: Not found.")
    assert socket.ask("cdr_get_record_link") == ("-ERR", "-ERR: UUID is required.")
    assert Socket(engine, number=None).ask("cdr_get_record_link", uuid=UUID) == ("-ERR", "Permission denied!")


def test_where_nobody_serves_recordings_there_are_none(engine: Engine) -> None:
    engine.recordings.address = ""
    assert Socket(engine).ask("cdr_get_record_link", uuid=UUID) == ("+OK", "+OK: Not found.")


def test_a_new_token_is_good_for_as_long_as_the_options_say(engine: Engine) -> None:
    engine.configure(SimulatorOptions(token_seconds=60))
    token = engine.tokens.give(OWN)
    engine.switchboard.advance(59)
    assert engine.tokens.owner(token.key, token.token) == (OWN, "")
    engine.switchboard.advance(1)
    assert engine.tokens.owner(token.key, token.token) == (None, "Token Expired")


# --- how it is served


@asynccontextmanager
async def simulator_with(**options: Any) -> AsyncIterator[WebitelSimulator]:
    async with serve_webitel(control_port=None, options=SimulatorOptions(**options)) as simulator:
        simulator.engine.recordings.keep(Recording(uuid=UUID, seconds=2, ended_at=datetime.now(UTC)))
        yield simulator


@asynccontextmanager
async def asking(**options: Any) -> AsyncIterator[tuple[WebitelSimulator, httpx2.AsyncClient, str]]:
    async with simulator_with(**options) as simulator, httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        link = simulator.engine.recordings.link(UUID, simulator.engine.tokens.give(OWN))
        assert link is not None
        yield simulator, client, link


@pytest.mark.anyio
async def test_the_whole_file() -> None:
    async with asking() as (simulator, client, link):
        answer = await client.get(link)
        recording = simulator.engine.recordings.get(UUID)
        assert recording is not None
        assert (answer.status_code, answer.content) == (200, recording.wav())
        assert answer.headers["Content-Type"] == "audio/wav"
        assert answer.headers["Content-Length"] == str(len(recording.wav()))
        head = await client.head(link)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers == answer.headers
        # Both on one connection.
        assert simulator.recording_server.connections == 1
        assert link.startswith(simulator.recordings_url + "/api/v2/files/")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=100-", 100, 32043), ("bytes=0-9", 0, 9), ("bytes=32000-99999", 32000, 32043), ("bytes=-44", 32000, 32043)],
)
async def test_a_part_of_it(asked: str, first: int, last: int) -> None:
    async with asking() as (_, client, link):
        whole = (await client.get(link)).content
        part = await client.get(link, headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == whole[first : last + 1]
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/32044"


@pytest.mark.anyio
@pytest.mark.parametrize("asked", ["bytes=32044-", "bytes=99999-100000", "bytes=-0", "bytes=9-3"])
async def test_a_part_that_there_is_not(asked: str) -> None:
    async with asking() as (_, client, link):
        answer = await client.get(link, headers={"Range": asked})
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */32044")


@pytest.mark.anyio
@pytest.mark.parametrize("asked", ["bytes=-", "bytes=0-1,4-5", "lines=1-2", "bytes=x-", f"bytes={'9' * 5000}-"])
async def test_a_range_that_cannot_be_understood_gives_the_whole(asked: str) -> None:
    async with asking() as (_, client, link):
        assert (await client.get(link, headers={"Range": asked})).status_code == 200


@pytest.mark.anyio
async def test_a_part_of_the_same_version_only() -> None:
    async with asking() as (_, client, link):
        whole = await client.get(link)
        for condition in (whole.headers["ETag"], whole.headers["Last-Modified"]):
            assert (await client.get(link, headers={"Range": "bytes=5-", "If-Range": condition})).status_code == 206
        for condition in ('"another"', "Sun, 22 Nov 2020 08:00:00 GMT"):
            assert (await client.get(link, headers={"Range": "bytes=5-", "If-Range": condition})).status_code == 200


@pytest.mark.anyio
async def test_who_has_no_good_token_is_refused() -> None:
    async with asking(token_seconds=0) as (simulator, client, expired):
        simulator.configure(token_seconds=60)
        token = simulator.engine.tokens.give(OWN)
        address = f"{simulator.recordings_url}/api/v2/files/{UUID}"
        refused = {
            address: "Invalid Token or Key",
            f"{address}?x_key={token.key}": "Invalid Token or Key",
            f"{address}?x_key=x&access_token={token.token}": "Invalid Token or Key",
            expired: "Token Expired",
        }
        for link, why in refused.items():
            answer = await client.get(link)
            assert (answer.status_code, answer.json()["message"]) == (401, why)
        by_headers = await client.get(address, headers={"x-key": token.key, "x-access-token": token.token})
        assert by_headers.status_code == 200


@pytest.mark.anyio
async def test_what_is_not_there_and_what_cannot_be_done() -> None:
    async with asking() as (_, client, link):
        assert (await client.get(link.replace(UUID, "nope"))).status_code == 404
        assert (await client.get(link.replace("/api/v2/files/", "/"))).status_code == 404
        answer = await client.post(link, content=b"x" * 100_000)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await client.get(link)).status_code == 200


@pytest.mark.anyio
async def test_a_cut_comes_where_the_options_say() -> None:
    async with asking(recording_cut_after_bytes=20_000) as (_, client, link):
        received = 0
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.stream("GET", link) as answer:
                async for piece in answer.aiter_raw():
                    received += len(piece)
        assert received == 20_000


@pytest.mark.anyio
async def test_the_network_can_be_cut_and_comes_back() -> None:
    async with asking(recording_pause_seconds=3600) as (simulator, client, link):
        with pytest.raises(httpx2.RemoteProtocolError):
            async with client.stream("GET", link) as answer:
                assert simulator.recording_server.connections == 1
                simulator.cut(seconds=3600)
                await answer.aread()
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(link)
        simulator.cut()
        simulator.configure(recording_pause_seconds=0)
        assert (await client.get(link)).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "said", [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
async def test_whoever_speaks_otherwise_harms_nobody(said: bytes) -> None:
    async with asking() as (simulator, client, link):
        port = httpx2.URL(simulator.recordings_url).port
        assert port is not None
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(said or b"\r\n")
            await stream.send_eof()
            with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(anyio.EndOfStream):
                while True:
                    await stream.receive()
        assert (await client.get(link)).status_code == 200


@pytest.mark.anyio
async def test_a_port_of_ones_choice() -> None:
    async with serve_webitel(control_port=None) as first:
        port = httpx2.URL(first.recordings_url).port
        assert port is not None
        with pytest.raises(OSError, match="in use"):
            async with serve_webitel(control_port=None, recordings_port=port):
                pytest.fail("two cannot listen on one port")
    async with serve_webitel(control_port=None, recordings_port=port) as second:
        assert second.recordings_url == first.recordings_url
