"""The simulated Verto server: who rings, who is told of an end, lost sockets, faults, what cannot be.

Its words are compared with FreeSWITCH's in ``test_simulator_verto_captures``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cti_framework.errors import NotSupportedError
from cti_framework.media import MediaSettings, MediaUnavailableError
from cti_framework.media.rtc_peer import AiortcPeer
from cti_framework.switchboard import SwitchEvent, SwitchEventName
from cti_framework.switchboard.faults import DelayMessages, DropLink, LoseReplies
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, can_serve_web_phones, serve_webitel
from cti_webitel.verto.signals import Ended, Invited
from tests.media.listening import both_connected
from tests.webitel.raw_client import open_client
from tests.webitel.verto_phone import PATIENCE_SECONDS, phone

pytestmark = pytest.mark.anyio

OUTSIDE = "0501234567"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    options = SimulatorOptions(far_answer_seconds=0.05, verto_queue_seconds=0.0, detach_seconds=0.3)
    async with serve_webitel(verto_port=0, options=options) as running:
        yield running


class Raw:
    """A bare client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.came: list[dict[str, Any]] = []

    async def say(self, method: str, request_id: object = None, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id or method}
        await self.connection.send(json.dumps(message))

    async def next(self) -> dict[str, Any]:
        with anyio.fail_after(PATIENCE_SECONDS):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        self.came.append(message)
        return message

    async def until(self, name: str) -> dict[str, Any]:
        """Read up to the request, or the answer to the request, of that name."""
        while True:
            message = await self.next()
            if name in (message.get("method"), message.get("id")):
                return message

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.say(method, **params)
        return await self.until(method)

    async def log_in(self, number: str = "103", session_id: str = "session") -> dict[str, Any]:
        return await self.ask("login", login=number, passwd=number, sessid=session_id)

    async def closed(self) -> int | None:
        with anyio.fail_after(PATIENCE_SECONDS), suppress(ConnectionClosed):
            while True:
                await self.next()
        return self.connection.close_code


@asynccontextmanager
async def raw(simulator: WebitelSimulator) -> AsyncIterator[Raw]:
    url = str(simulator.verto_url)
    async with connect(url, compression=None, proxy=None, ping_interval=None, close_timeout=1) as connection:
        yield Raw(connection)


async def ends_of(simulator: WebitelSimulator) -> dict[str, str | None]:
    """Why each leg ended that is over, by its uuid."""
    ends: dict[str, str | None] = {}

    def note(event: SwitchEvent) -> None:
        if event.name is SwitchEventName.CHANNEL_HANGUP_COMPLETE and event.leg is not None:
            ends[event.leg.uuid] = event.leg.hangup_cause

    simulator.switchboard.subscribe(note)
    return ends


async def no_leg_left(simulator: WebitelSimulator) -> None:
    happened = anyio.Event()

    def look(event: SwitchEvent) -> None:
        if not simulator.switchboard.legs:
            happened.set()

    stop = simulator.switchboard.subscribe(look)
    with anyio.fail_after(PATIENCE_SECONDS):
        if simulator.switchboard.legs:
            await happened.wait()
    stop()


# --- what it needs


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_web_phones_need_asyncio() -> None:
    assert not can_serve_web_phones()
    with pytest.raises(MediaUnavailableError, match="asyncio"):
        async with serve_webitel(verto_port=0):
            pass
    async with WebitelCtiProvider.simulator() as simulation:
        assert simulation.web_phone is None
    async with serve_webitel() as simulator:
        assert simulator.verto_url is None
        with pytest.raises(RuntimeError, match="verto_port"):
            simulator.hears(OUTSIDE)


def test_nothing_of_it_is_loaded_unless_it_is_asked_for() -> None:
    code = """
import anyio, sys
from cti_webitel.simulator import serve_webitel
async def main():
    async with serve_webitel():
        pass
anyio.run(main)
print([name for name in sys.modules if name.startswith(("aiortc", "av", "cti_framework.media", "cti_webitel.simulator.verto"))])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


async def test_the_providers_simulator_has_a_user_with_a_web_phone() -> None:
    async with WebitelCtiProvider.simulator() as simulation:
        web_phone = simulation.web_phone
        assert web_phone is not None
        assert web_phone.user.id == "103"
        assert str(web_phone.settings["webitel.webrtc_connection_string"]).startswith("ws://")
        assert web_phone.far_side.hears(web_phone.subscriber) is None  # type: ignore[attr-defined]  # it has more than it must
        web_phone.far_side.voice(web_phone.subscriber, 900)  # type: ignore[attr-defined]
        with pytest.raises(NotSupportedError, match="answer_call"):
            await web_phone.far_side.answer_own()
        with pytest.raises(ValueError, match="hertz"):
            web_phone.far_side.voice(web_phone.subscriber, 5)  # type: ignore[attr-defined]


async def test_whoever_serves_it_to_others_is_told_where(simulator: WebitelSimulator) -> None:
    async with WebitelCtiProvider.serve_simulator(host="127.0.0.1", port=0, control_port=0) as told:
        assert "Web phones at ws://127.0.0.1:" in told
        assert "103 and 104" in told


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "simulate-web-phones.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "440 Hz" in told.stdout.splitlines()


# --- a phone is a device


async def test_a_web_phone_is_a_phone_of_its_account(simulator: WebitelSimulator) -> None:
    switchboard = simulator.switchboard
    assert switchboard.account("103@demo.local").state == "NONREG"
    async with open_client(simulator, "asyncio") as engine, raw(simulator) as first, raw(simulator) as second:
        await engine.log_in("103")
        await first.log_in(session_id="one")
        told = await engine.until("ACCOUNT_STATUS")
        assert (told["Account-User"], told["Account-User-State"]) == ("103", "ONHOOK")
        await second.log_in(session_id="two")
        assert len(switchboard.account("103@demo.local").registered_devices) == 2
        assert await engine.nothing_came()
        await first.connection.close()
        await second.connection.close()
        assert (await engine.until("ACCOUNT_STATUS"))["Account-User-State"] == "NONREG"
    assert switchboard.account("103@demo.local").devices == ()
    assert not simulator.verto.sessions


async def test_the_control_port_leaves_web_phones_alone(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in("100")
        simulator.control({"do": "status", "account": "100", "set": {"devices": 2}})
        devices = simulator.switchboard.account("100@demo.local").devices
        assert [device.by_hand for device in devices] == [False, False, True]


async def test_all_phones_ring_and_the_first_to_answer_has_the_call(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "100", session_id="one") as one, phone(simulator, "100", 700, session_id="two") as two:
        _, own = simulator.switchboard.incoming("0671112233", "100@demo.local")
        assert len(own) == 3
        first, second = await one.rings(), await two.rings()
        assert {first.call_id, second.call_id} < {leg.uuid for leg in own}
        side = await two.answer(second)
        ended = await one.ended(first.call_id)
        assert str(ended.cause) == "702 LOSE_RACE"
        await side.heard.tone(simulator.voice_of("0671112233"))
        assert [leg.uuid for leg in simulator.switchboard.legs_of("100@demo.local")] == [second.call_id]


async def test_the_desk_phone_answers_first(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "100") as alice:
        simulator.switchboard.originate("100@demo.local", OUTSIDE)
        invited = await alice.rings()
        assert str((await alice.ended(invited.call_id)).cause) == "702 LOSE_RACE"


async def test_what_the_engine_and_the_phone_call_a_leg_is_the_same(simulator: WebitelSimulator) -> None:
    async with open_client(simulator, "asyncio") as engine, phone(simulator, "103") as alice:
        await engine.log_in("103")
        call_id, side = await alice.call(OUTSIDE)
        created = await engine.until("CHANNEL_CREATE")
        assert created["Unique-ID"] == call_id
        await engine.until("CHANNEL_BRIDGE")
        await alice.answered(call_id)
        await alice.client.hold(call_id)
        assert (await engine.until("CHANNEL_HOLD"))["Unique-ID"] == call_id
        await engine.ask("hangup", channel_uuid=call_id)
        await alice.ended(call_id)
        await side.peer.close()


async def test_a_leg_that_gets_another_name_keeps_its_own_at_the_phone(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        simulator.switchboard.rename(call_id, "another")
        await alice.client.hold(call_id)
        assert simulator.switchboard.leg("another").snapshot.held
        await alice.client.unhold(call_id)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await alice.client.hang_up(call_id)
    assert not simulator.switchboard.legs


# --- what cannot be


async def test_a_client_without_suites_for_rsa_keys_gets_no_media_and_both_are_hung_up(
    simulator: WebitelSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As aiortc is (facts: verto, What an aiortc client needs, 1)."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    monkeypatch.setattr("aiortc.rtcicetransport.RTCIceGatherer.getDefaultIceServers", classmethod(lambda cls: []))
    ends = await ends_of(simulator)
    bare = RTCPeerConnection()
    async with phone(simulator, "103") as alice:
        caller, _ = simulator.switchboard.incoming("0671112233", "103@demo.local")
        invited = await alice.rings()
        bare.addTrack(AudioStreamTrack())
        offer = invited.sdp.replace("a=rtcp-mux", "a=mid:0\r\na=rtcp-mux")
        await bare.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await bare.setLocalDescription(await bare.createAnswer())
        await alice.client.answer(invited.call_id, bare.localDescription.sdp)
        ended = await alice.ended(invited.call_id)
        assert str(ended.cause) == "27 DESTINATION_OUT_OF_ORDER"
        assert ends[caller.uuid] == "NORMAL_CLEARING"
        await bare.close()


async def test_an_answer_that_is_no_description_ends_the_call(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        simulator.switchboard.incoming("0671112233", "103@demo.local")
        call_id = (await client.until("verto.invite"))["params"]["callID"]
        await client.say("verto.answer", sdp="v=0 nonsense", dialogParams={"callID": call_id})
        assert (await client.until("verto.answer"))["result"] == {"sessid": "session"}
        assert (await client.until("verto.bye"))["params"]["cause"] == "INCOMPATIBLE_DESTINATION"


async def test_more_levels_than_freeswitch_reads(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        for depth, code in ((60, None), (80, -32600), (3_000, -32600)):
            deep = "[" * depth + "]" * depth
            message = f'{{"jsonrpc":"2.0","method":"verto.ping","params":{{"x":{deep}}},"id":7}}'
            await client.connection.send(message)
            while "method" in (answer := await client.next()):
                pass
            assert answer.get("error", {}).get("code") == code


async def test_a_ping_of_websocket_is_never_answered(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        pong = await client.connection.ping(b"hello")
        assert (await client.ask("verto.ping"))["result"]["message"] == "PONG"
        assert [message["error"]["message"] for message in client.came if "error" in message] == ["Invalid Request"]
        with anyio.move_on_after(0.1) as scope:
            await pong
        assert scope.cancelled_caught


async def test_half_a_character_goes_no_further(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        message = '{"jsonrpc":"2.0","method":"verto.ping","params":{"echoParams":true,"text":"a\\ud800b \\ud83d\\ude00"},"id":7}'
        await client.connection.send(message)
        while "method" in (answer := await client.next()):
            pass
        assert answer["result"]["requestParams"]["text"] == "a?b \U0001f600"


async def test_the_speed_test_is_let_go_after_the_log_in(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        await client.connection.send("#SPU 1000")
        assert (await client.ask("verto.ping"))["result"]["message"] == "PONG"


async def test_while_a_hold_takes_its_time_the_next_request_waits(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103") as alice, raw(simulator) as client:
        call_id, _ = await alice.call(OUTSIDE)
        await alice.answered(call_id)
        await client.log_in("104", session_id="somebody else's")
        started = simulator.switchboard.clock.elapsed_seconds
        await client.say("verto.modify", action="hold", dialogParams={"callID": call_id})
        await client.say("verto.ping")
        await client.until("verto.ping")
        assert simulator.switchboard.clock.elapsed_seconds - started >= 0.25
        said = [message["id"] for message in client.came if "method" not in message]
        assert said == ["login", "verto.modify", "verto.ping"]


async def test_new_media_for_a_call_that_is_not_answered_ends_it_and_others_go_on(simulator: WebitelSimulator) -> None:
    simulator.configure(far_answer_seconds=None)
    async with phone(simulator, "103") as alice:
        call_id, side = await alice.call(OUTSIDE)
        request = {"action": "updateMedia", "sdp": await side.peer.restart(), "dialogParams": {"callID": call_id}}
        with pytest.raises(Exception, match="has not been answered"):
            await alice.client.execute("verto.modify", request)
        assert str((await alice.ended(call_id)).cause) == "27 DESTINATION_OUT_OF_ORDER"
        await alice.client.ping()


# --- lost sockets


async def test_the_caller_is_told_at_once_that_a_ringing_phone_is_lost(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "104") as bob, raw(simulator) as client:
        await client.log_in()
        async with AiortcPeer(MediaSettings(host_addresses=("127.0.0.1",))) as peer:
            call_id = await bob.client.invite("103", await peer.offer())
            await client.until("verto.invite")
            client.connection.transport.abort()
            assert str((await bob.ended(call_id)).cause) == "27 DESTINATION_OUT_OF_ORDER"


async def test_whoever_does_not_come_back_is_hung_up(simulator: WebitelSimulator) -> None:
    ends = await ends_of(simulator)
    async with phone(simulator, "103", 440) as alice:
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        far = simulator.switchboard.legs_at(OUTSIDE)[0].uuid
        unregistered = anyio.Event()
        simulator.switchboard.subscribe(lambda event: unregistered.set() if event.account is not None else None)
    with anyio.fail_after(PATIENCE_SECONDS):
        await unregistered.wait()
    # Its socket is gone, the call is not; nobody is heard at the other side.
    assert simulator.hears(OUTSIDE) is None
    assert [leg.uuid for leg in simulator.switchboard.legs] == [call_id, far]
    assert simulator.switchboard.account("103@demo.local").registered_devices == ()
    await no_leg_left(simulator)
    assert ends == {call_id: "RECOVERY_ON_TIMER_EXPIRE", far: "NORMAL_CLEARING"}
    assert not simulator.verto.sessions and not simulator.verto.dialogs


async def test_the_network_is_cut_for_all(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client, open_client(simulator, "asyncio") as engine:
        await client.log_in()
        await engine.log_in()
        simulator.cut(60.0)
        assert await client.closed() == 1006
        assert await engine.closed() == 1006
        with pytest.raises((ConnectionClosed, OSError, EOFError, Exception)):
            async with raw(simulator) as other:
                await other.log_in()


async def test_a_switch_that_forgets_its_legs_leaves_no_media(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103") as alice:
        call_id, _ = await alice.call(OUTSIDE)
        await alice.answered(call_id)
        simulator.control({"do": "reset"})
        assert not simulator.verto.dialogs
        with pytest.raises(Exception, match=r"CALL DOES NOT EXIST|over"):
            await alice.client.hold(call_id)
        assert not alice.of(Ended) or alice.of(Ended)[0].call_id == call_id


# --- faults


async def test_a_silent_server_hears_and_does_and_says_nothing(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        simulator.configure(silent=True)
        await client.say("verto.ping", request_id="lost")
        await client.say("verto.subscribe", eventChannel="demo")
        with anyio.move_on_after(0.2) as scope:
            await client.until("verto.subscribe")
        assert scope.cancelled_caught
        simulator.configure(silent=False)
        await client.ask("verto.ping")
        assert simulator.verto.sessions["session"].channels
        assert not [message for message in client.came if message.get("id") in ("lost", "verto.subscribe")]


async def test_a_half_open_network_carries_it_all_later(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        await client.until("verto.clientReady")
        simulator.configure(half_open=True)
        await client.say("verto.ping", request_id="later")
        with anyio.move_on_after(0.2) as scope:
            await client.connection.recv()
        assert scope.cancelled_caught
        simulator.configure(half_open=False)
        assert (await client.until("later"))["result"]["message"] == "PONG"


async def test_answers_are_late_or_lost(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        simulator.configure(reply_delay_seconds_by_command={"verto.subscribe": 0.2}, lost_replies=["verto.ping"])
        await client.say("verto.subscribe", eventChannel="demo")
        await client.say("verto.ping")
        await client.say("verto.unsubscribe", eventChannel="demo")
        await client.until("verto.subscribe")
        said = [message["id"] for message in client.came if "method" not in message]
        assert said == ["login", "verto.unsubscribe", "verto.subscribe"]


async def test_faults_by_message(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as client:
        await client.log_in()
        await client.until("verto.clientReady")
        simulator.verto.faults.apply(LoseReplies(1))
        await client.say("verto.ping", request_id="lost")
        simulator.verto.faults.apply(DelayMessages(messages=1, seconds=0.05))
        assert (await client.ask("verto.ping"))["id"] == "verto.ping"
        assert "lost" not in {message.get("id") for message in client.came}
        simulator.verto.faults.apply(DropLink())
        assert await client.closed() == 1006


async def test_a_phone_that_is_punted_goes(simulator: WebitelSimulator) -> None:
    async with raw(simulator) as first, raw(simulator) as second:
        await first.log_in()
        await second.log_in()
        assert await first.closed() == 1000
        assert first.came[-1]["method"] == "verto.punt"
        simulator.switchboard.incoming("0671112233", "103@demo.local")
        await second.until("verto.invite")


async def test_a_call_goes_over_to_the_socket_that_takes_the_session(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440, session_id="mine") as alice, phone(simulator, "104", 700) as bob:
        call_id, ours = await alice.call("104")
        theirs = await bob.answer(await bob.rings())
        await both_connected(ours.peer, theirs.peer)
        async with raw(simulator) as client:
            await client.log_in(session_id="mine")
            attached = await client.until("verto.attach")
            assert attached["params"]["callID"] == call_id
            ready = await client.until("verto.clientReady")
            assert ready["params"]["reattached_sessions"] == [call_id]
            answer = await client.ask("verto.bye", dialogParams={"callID": call_id})
            assert answer["result"]["cause"] == "NORMAL_CLEARING"
            await bob.ended(bob.of(Invited)[0].call_id)
