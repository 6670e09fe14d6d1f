"""The web phone: what it costs when nothing happens, and in a call beside bare aiortc that has the same call.

`python -m tests.benchmarks.phone serve` is the PBX, with a number that sends back what it hears; `idle`, `call` and `bare` are
the clients, each a process of its own whose processor time is measured. The bare one speaks just enough Verto for a call.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import math
import subprocess
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs

ECHO = "9196"
USER, DOMAIN = "103", "demo.local"
SETTLE_SECONDS = 2.0
"""How long a call has before it is measured: keys and addresses are agreed by then."""
ROOT = Path(__file__).parents[2]


@attrs.frozen
class PhoneCosts:
    """What a web phone costs.

    Attributes:
        idle_cpu_percent: Of one core, connected and without a call.
        call_cpu_percent: Of one core, in a call.
        bare_cpu_percent: Of one core, of bare aiortc in the same call.
    """

    idle_cpu_percent: float
    call_cpu_percent: float
    bare_cpu_percent: float

    @property
    def ratio(self) -> float:
        """The phone in a call over bare aiortc."""
        return self.call_cpu_percent / self.bare_cpu_percent


@contextmanager
def pbx() -> Iterator[dict[str, str]]:
    """Run the PBX; give its addresses."""
    command = [sys.executable, "-m", "tests.benchmarks.phone", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            addresses: dict[str, str] = json.loads(process.stdout.readline())
            yield addresses
        finally:
            process.stdin.close()
            process.wait(10)


def phone_costs(*, seconds: float = 10.0, rounds: int = 3) -> PhoneCosts:
    """Measure, the two in a call in turns; the best of each counts: the others were disturbed.

    Args:
        seconds: How long each is measured.
        rounds: How often.

    Returns:
        What was found.
    """
    found: dict[str, list[float]] = {"idle": [], "bare": [], "call": []}
    with pbx() as addresses:
        for _ in range(rounds):
            for kind, percents in found.items():
                percents.append(_client(kind, addresses, seconds))
    return PhoneCosts(*(min(found[kind]) for kind in ("idle", "call", "bare")))


def _client(kind: str, addresses: dict[str, str], seconds: float) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.phone", kind, json.dumps(addresses), str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 60)
    percent: float = json.loads(done.stdout)["cpu_percent"]
    return percent


# The clients ------------------------------------------------------------------------------------------------------------


async def _measured(seconds: float) -> float:
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - used) / (time.perf_counter() - began)


@asynccontextmanager
async def _session(addresses: dict[str, str]) -> AsyncIterator[Any]:
    from cti_framework import CtiProviderInitializer
    from cti_framework.media import AiortcPeers, MediaOptions, NoSink, Tone

    options = MediaOptions(host_addresses=("127.0.0.1",))
    peers = AiortcPeers(options, source=lambda call_id: Tone(440), sink=lambda call_id: NoSink())
    settings = {
        "cti.provider": "webitel",
        "webitel.connection_string": addresses["engine"],
        "webitel.webrtc_connection_string": addresses["verto"],
        "webitel.login": f"{USER}@{DOMAIN}",
        "webitel.password": USER,
        "webitel.use_web_phone": True,
    }
    async with CtiProviderInitializer(settings, environ={}).open(USER, media=peers) as model:
        yield model


async def idle(addresses: dict[str, str], seconds: float) -> float:
    """A web phone that waits for calls."""
    async with _session(addresses):
        await asyncio.sleep(SETTLE_SECONDS)
        return await _measured(seconds)


async def call(addresses: dict[str, str], seconds: float) -> float:
    """A web phone in a call: it speaks a tone and throws away what it hears."""
    async with _session(addresses) as model:
        await model.make_call(ECHO)
        await asyncio.sleep(SETTLE_SECONDS)
        percent = await _measured(seconds)
        assert model.current_call is not None
        assert model.current_call.connected_at is not None
        await model.drop_call()
        return percent


async def bare(addresses: dict[str, str], seconds: float) -> float:
    """The same call by aiortc and websockets alone."""
    import aioice.ice
    from aiortc import RTCPeerConnection, RTCSessionDescription
    from websockets.asyncio.client import connect

    # Loopback is what aioice leaves out. This process does nothing else.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    answered = asyncio.Event()
    heard: list[asyncio.Task[None]] = []
    peer = RTCPeerConnection()
    peer.addTrack(_tone_track(440))

    @peer.on("track")
    def on_track(track: Any) -> None:
        async def listen() -> None:
            while True:
                await track.recv()

        heard.append(asyncio.ensure_future(listen()))

    call_id, session = str(uuid4()), str(uuid4())
    async with connect(addresses["verto"], ping_interval=None, proxy=None, compression=None) as socket:
        number = 0

        async def ask(method: str, **params: Any) -> None:
            nonlocal number
            number += 1
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": {"sessid": session, **params}}
            await socket.send(json.dumps(request))

        async def read() -> None:
            async for text in socket:
                frame = json.loads(text)
                sdp = frame.get("params", {}).get("sdp")
                if sdp and frame.get("method") in ("verto.media", "verto.answer"):
                    if "a=mid:" not in sdp:
                        sdp += "a=mid:0\r\n"
                    await peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
                    answered.set()

        reading = asyncio.ensure_future(read())
        await ask("login", login=f"{USER}@{DOMAIN}", passwd=USER)
        await asyncio.sleep(0.5)
        await peer.setLocalDescription(await peer.createOffer())
        dialog = {"callID": call_id, "destination_number": ECHO, "caller_id_number": USER}
        await ask("verto.invite", sdp=peer.localDescription.sdp, dialogParams=dialog)
        await asyncio.wait_for(answered.wait(), 20)
        await asyncio.sleep(SETTLE_SECONDS)
        percent = await _measured(seconds)
        assert peer.connectionState == "connected"
        await ask("verto.bye", dialogParams={"callID": call_id})
        reading.cancel()
    for task in heard:
        task.cancel()
    await peer.close()
    return percent


def _tone_track(hertz: int) -> Any:
    """A tone as an aiortc track: twenty milliseconds a frame, on time."""
    from aiortc import MediaStreamTrack
    from av import AudioFrame

    rate, samples = 48_000, 960
    waves = [
        array("h", (round(4000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(first, first + samples))).tobytes()
        for first in range(0, rate, samples)
    ]

    class ToneTrack(MediaStreamTrack):
        kind = "audio"
        frames = 0
        began = 0.0

        async def recv(self) -> Any:
            self.began = self.began or time.monotonic()
            wait = self.began + self.frames * samples / rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            frame = AudioFrame(format="s16", layout="mono", samples=samples)
            frame.planes[0].update(waves[self.frames % len(waves)])
            frame.sample_rate, frame.pts, frame.time_base = rate, self.frames * samples, fractions.Fraction(1, rate)
            self.frames += 1
            return frame

    return ToneTrack()


# The PBX ------------------------------------------------------------------------------------------------------------------


async def serve() -> None:
    """Serve engine and web phones until standard input ends."""
    from cti_webitel.simulator import serve_webitel

    async with serve_webitel(control_port=None, verto_port=0) as served:
        print(json.dumps({"engine": served.url, "verto": served.verto_url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main(arguments: list[str]) -> None:
    """Run one of the processes."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    kind, *rest = arguments
    if kind == "serve":
        asyncio.run(serve())
        return
    addresses, seconds = json.loads(rest[0]), float(rest[1])
    percent = asyncio.run({"idle": idle, "call": call, "bare": bare}[kind](addresses, seconds))
    print(json.dumps({"cpu_percent": percent}))


if __name__ == "__main__":
    main(sys.argv[1:])
