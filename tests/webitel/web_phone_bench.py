"""A session with a web phone: at the simulated engine, at a Verto server that says what a test wants, with media that is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from typed_settings.types import Secret

from cti_framework.calls import Call, CallFeature, CallState
from cti_framework.errors import CtiError
from cti_framework.media.peers import MediaPeers
from cti_framework.media.port import MediaPeer
from cti_framework.media.quality import MediaCounters
from cti_framework.media.values import MediaState, Told
from cti_framework.model import CtiModel
from cti_framework.switchboard import Leg
from cti_webitel import looks
from cti_webitel.settings import WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.web_phone import meeting, phone
from cti_webitel.web_phone.phone import WebPhone
from cti_webitel.web_phone.phone_call import PhoneNews
from tests.webitel.sessions import CALLER, OWN, model_at
from tests.webitel.verto_server import OFFER, Socket, VertoServer, loopback

PATIENCE_SECONDS = 10.0
SDP = "v=0\r\no=- 7 7 IN IP4 127.0.0.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"


class FakePeer(MediaPeer):
    """Media that is agreed on as soon as it is asked for; a test says what becomes of it."""

    def __init__(self, peers: FakePeers, call_id: str, told: Told) -> None:
        super().__init__(told)
        self.peers = peers
        self.call_id = call_id
        self.steps: list[str] = []

    async def offer(self) -> str:
        return await self._do("offer")

    async def answer(self, remote_sdp: str) -> str:
        return await self._do("answer", remote_sdp)

    async def set_remote(self, remote_sdp: str) -> None:
        await self._do("set_remote", remote_sdp)

    async def restart(self) -> str:
        return await self._do("restart")

    async def renegotiate(self) -> str:
        return await self._do("renegotiate")

    async def statistics(self) -> MediaCounters:
        return MediaCounters(at_seconds=anyio.current_time())

    def connect(self) -> None:
        self._enter(MediaState.CONNECTED)

    def fail(self, error: CtiError) -> None:
        self._enter(MediaState.FAILED, error)

    def end(self) -> None:
        self._enter(MediaState.ENDED)

    def tell(self, notice: Any) -> None:
        self._tell(notice)

    def _switched(self) -> None:
        self.steps.append(f"muted={self._muted} held={self._held}")
        if "switch" in self.peers.errors:
            raise self.peers.errors["switch"]

    async def _close(self) -> None:
        self.steps.append("close")
        await anyio.lowlevel.checkpoint()
        self.peers.open -= 1
        self.peers.changed()

    async def _do(self, step: str, remote_sdp: str = "") -> str:
        self.steps.append(step)
        self.peers.changed()
        await self.peers.lets_go.wait()
        self._check_open()
        if step in self.peers.errors:
            raise self.peers.errors[step]
        return self.peers.sdp


class FakePeers(MediaPeers):
    """Makes them, and knows which of them are open and what rings."""

    def __init__(self) -> None:
        self.made: list[FakePeer] = []
        self.open = 0
        self.errors: dict[str, BaseException] = {}
        self.sdp = SDP
        self.rings: list[str] = []
        self.lets_go = anyio.Event()
        self.lets_go.set()
        self.unavailable: CtiError | None = None
        self.changed: Callable[[], None] = lambda: None

    def peer(self, call_id: str, told: Told) -> FakePeer:
        if "peer" in self.errors:
            raise self.errors["peer"]
        peer = FakePeer(self, call_id, told)
        self.made.append(peer)
        self.open += 1
        self.changed()
        return peer

    def ringing(self, call_id: str) -> AbstractAsyncContextManager[None]:
        return self._ringing(call_id)

    @asynccontextmanager
    async def _ringing(self, call_id: str) -> AsyncIterator[None]:
        self.rings.append(call_id)
        self.changed()
        try:
            yield
        finally:
            self.rings.remove(call_id)
            self.changed()

    def check(self) -> None:
        if self.unavailable is not None:
            raise self.unavailable

    def of(self, call_id: str) -> FakePeer:
        """The newest peer of a dialog."""
        return [peer for peer in self.made if peer.call_id == call_id][-1]


class PhoneBench:
    """A session, open, and the three that it talks to."""

    def __init__(self, model: CtiModel, simulator: WebitelSimulator, server: VertoServer, peers: FakePeers) -> None:
        self.model = model
        self.simulator = simulator
        self.server = server
        self.peers = peers
        self.events: list[Any] = []
        self._came = anyio.Event()
        # From before it is opened, so that nothing is missed.
        self._subscription = model.events()
        peers.changed = self.look
        tell, receive = self.phone._on_news, server.receive

        def on_news(news: PhoneNews) -> None:
            tell(news)
            self.look()

        async def on_request(socket: Socket, data: bytes) -> None:
            await receive(socket, data)
            self.look()

        vars(self.phone)["_on_news"] = on_news
        vars(server)["receive"] = on_request

    @property
    def phone(self) -> WebPhone:
        seat = self.model._provider._seat  # type: ignore[attr-defined]  # there is no other way to it
        assert seat is not None
        web_phone: WebPhone = seat.phone
        return web_phone

    async def follow(self) -> None:
        """Read the events until the session is over."""
        async for event in self._subscription:
            self.events.append(event)
            self.look()

    def look(self) -> None:
        """Have those who wait look again."""
        came, self._came = self._came, anyio.Event()
        came.set()

    async def until(self, done: Callable[[], object]) -> None:
        """Wait until something is true: looked at whenever there is an event, or news of the phone, of media or of the server."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while not done():
                await self._came.wait()

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def call(self) -> Call:
        (call,) = self.model.calls
        return call

    def ring_engine(self, **variables: str) -> Leg:
        """Somebody calls: the engine shows it."""
        _, legs = self.simulator.switchboard.incoming(CALLER, OWN, name="ACME", variables=variables)
        return legs[0]

    async def ring_phone(self, leg: str, **params: Any) -> None:
        """The web phone is told of a leg."""
        await self.server.say(
            "verto.invite",
            callID=leg,
            sdp=OFFER,
            caller_id_name="ACME",
            caller_id_number=CALLER,
            callee_id_number="100",
            display_direction="outbound",
            **params,
        )

    def engine_says(self, event: str, leg: str, call_uuid: str, call_id: str | None, **headers: Any) -> None:
        """Have the engine send a frame of a leg that the switch does not have."""
        frame = {
            "webitel-event-name": "call",
            "Event-Name": event,
            "Channel-Presence-ID": OWN,
            "Unique-ID": leg,
            "Channel-Call-UUID": call_uuid,
            "Channel-Call-State": "DOWN",
            "Channel-State": "CS_INIT",
            "Answer-State": "ringing",
            "Call-Direction": "outbound",
            "Caller-Logical-Direction": "outbound",
            "Caller-Callee-ID-Number": "100",
            "Caller-Caller-ID-Number": "0670000000",
            "variable_billsec": 0,
        }
        if call_id is not None:
            frame["variable_w_account_origination_uuid"] = call_id
        for session in self.simulator.engine.sessions:
            session.send(frame | headers)

    async def answered_by_switch(self, leg: str) -> None:
        """Answer a leg in the switch as its Verto endpoint does when the phone answers."""
        await self.server.asked("verto.answer")
        self.simulator.switchboard.answer(leg)


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for, because it may still come, is waited for shorter."""
    monkeypatch.setattr(meeting, "_SHOWN_WITHIN_SECONDS", 0.1)
    monkeypatch.setattr(meeting, "_OVER_WITHIN_SECONDS", 0.15)
    monkeypatch.setattr(phone, "_BYE_FOLLOWS_SECONDS", 0.05)
    monkeypatch.setattr(phone, "_WORD_FOLLOWS_SECONDS", 0.05)
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.3)


async def ring_both(bench: PhoneBench, **variables: str) -> str:
    """A call rings, the engine and the phone show it."""
    leg = bench.ring_engine(**variables).uuid
    await bench.until(lambda: bench.model.calls)
    await bench.ring_phone(leg)
    await bench.until(lambda: CallFeature.ANSWER in bench.call().features)
    return leg


async def talk(bench: PhoneBench) -> str:
    """The operator has answered a call at the phone."""
    leg = await ring_both(bench)
    await bench.model.answer_call()
    bench.simulator.switchboard.answer(leg)
    await bench.until(lambda: bench.call().state is CallState.CONNECTED)
    bench.peers.of(leg).connect()
    bench.server.calls.setdefault(bench.phone.client.session_id, []).append(leg)
    return leg


async def ring_alone(bench: PhoneBench) -> str:
    """A call rings that the engine does not show."""
    dialog = str(uuid4())
    await bench.ring_phone(dialog)
    await bench.until(lambda: bench.model.calls)
    return dialog


@asynccontextmanager
async def phone_bench(
    *,
    peers: FakePeers | None = None,
    user: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    before: Callable[[WebitelSimulator, VertoServer], object] | None = None,
    **settings: Any,
) -> AsyncIterator[PhoneBench]:
    """Open a session of account 100 with a web phone."""
    by_hand: dict[str, Any] = {"own_answer_seconds": None, "far_answer_seconds": None, "media_seconds": 0.005}
    peers = FakePeers() if peers is None else peers
    simulated = SimulatorOptions(**{**by_hand, **(options or {})})
    async with serve_webitel(control_port=None, options=simulated) as simulator, loopback() as server:
        if before is not None:
            before(simulator, server)
        who = WebitelUserSettings(login=OWN, password=Secret("100"), **{"use_web_phone": True, **(user or {})})
        address = f"ws://127.0.0.1:{server.port}"
        model = model_at(
            simulator, user_settings=who, options={"media": peers}, **{"webrtc_connection_string": address, **settings}
        )
        bench = PhoneBench(model, simulator, server, peers)
        async with anyio.create_task_group() as tasks, model:
            tasks.start_soon(bench.follow)
            yield bench
    assert peers.open == 0
