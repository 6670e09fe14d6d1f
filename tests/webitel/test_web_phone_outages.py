"""What is lost and comes back: the engine's connection, the phone's, the media, the session; and what cannot be had at all."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import anyio
import pytest
from attrs import evolve
from typed_settings.types import Secret

from cti_framework.calls import CallFeature, CallState
from cti_framework.errors import CommandStage, CommandUnconfirmedError, CredentialsRefusedError, NotSupportedError, SettingsError
from cti_framework.events import (
    CallFinished,
    CallStarted,
    ErrorOccurred,
    ProviderState,
    SnapshotTaken,
    WebRtcDestroyed,
    WebRtcQuality,
    WebRtcStarted,
    WebRtcVideoStarted,
)
from cti_framework.media.errors import (
    DeviceNotFoundError,
    IceFailedError,
    MediaConnectionError,
    MediaError,
    MediaUnavailableError,
)
from cti_framework.media.quality import MediaCounters, MediaQuality
from cti_framework.media.values import AudioFailed, MediaState, QualityMeasured
from cti_webitel.settings import WebitelUserSettings
from cti_webitel.simulator import serve_webitel
from cti_webitel.verto.errors import SessionTakenError
from cti_webitel.web_phone.sound import NoSoundError
from cti_webitel.web_phone.video import both_show_video
from tests.webitel.sessions import OWN, model_at
from tests.webitel.verto_server import OFFER
from tests.webitel.web_phone_bench import SDP, VIDEO, FakePeers, PhoneBench, hasten, phone_bench, ring_alone, ring_both, talk

pytestmark = pytest.mark.anyio

ANSWER, MUTE = CallFeature.ANSWER, CallFeature.MUTE
REFUSED = {"code": -32001, "message": "Authentication Failure"}
QUALITY = MediaQuality(
    interval_seconds=5.0,
    packets_received=250,
    loss=0.01,
    remote_loss=None,
    jitter_seconds=0.002,
    round_trip_seconds=0.03,
    rating=90.0,
    mos=4.3,
    counters=MediaCounters(at_seconds=1.0),
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


# --- the engine's connection


async def test_the_sound_goes_on_while_the_engine_is_away() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        await bench.model.set_mute(True)
        snapshots = len(bench.told(SnapshotTaken))
        bench.simulator.cut()
        await bench.until(lambda: len(bench.told(SnapshotTaken)) > snapshots)
        await bench.until(lambda: not bench.call().stale)
        assert bench.peers.of(leg).steps.count("close") == 0
        assert len(bench.peers.made) == 1
        call = bench.call()
        assert call.state is CallState.CONNECTED
        assert call.muted
        assert MUTE in call.features
        assert len(bench.told(WebRtcStarted)) == 1
        assert bench.told(WebRtcDestroyed) == []
        assert bench.server.methods().count("login") == 1


async def test_a_call_that_ends_while_the_engine_is_away() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.simulator.cut(0.2)
        await bench.until(lambda: bench.model.provider_state is not ProviderState.IN_SERVICE)
        bench.simulator.switchboard.hang_up(leg)
        await bench.server.say("verto.bye", callID=leg, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.told(CallFinished))
        assert bench.model.calls == ()
        assert bench.peers.open == 0
        assert [event.media_id for event in bench.told(WebRtcDestroyed)] == [leg]


async def test_a_call_of_the_phones_alone_outlives_the_engines_connection() -> None:
    async with phone_bench() as bench:
        dialog = await ring_alone(bench)
        await bench.model.answer_call()
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        snapshots = len(bench.told(SnapshotTaken))
        bench.simulator.cut()
        await bench.until(lambda: len(bench.told(SnapshotTaken)) > snapshots)
        await bench.until(lambda: not bench.call().stale)
        assert bench.call().id == dialog
        assert bench.call().state is CallState.CONNECTED
        assert CallFeature.DROP in bench.call().features
        assert CallFeature.CONSULT not in bench.call().features
        assert len(bench.told(CallStarted)) == 1


async def test_a_call_that_comes_while_the_engine_is_away() -> None:
    async with phone_bench() as bench:
        bench.simulator.cut(0.3)
        await bench.until(lambda: bench.model.provider_state is not ProviderState.IN_SERVICE)
        await bench.ring_phone("44444444-0000-4000-8000-000000000001")
        await bench.until(lambda: bench.model.calls)
        await bench.until(lambda: ANSWER in bench.call().features)
        assert bench.call().state is CallState.ALERTING


async def test_a_call_that_the_engine_does_not_have_any_more_goes_on_at_the_phone() -> None:
    """The server of the signalling has it, and it is talked on: the engine's list is not the whole truth."""
    async with phone_bench() as bench:
        leg = "55555555-0000-4000-8000-000000000001"
        bench.engine_says("CHANNEL_CREATE", leg, "22222222-0000-4000-8000-000000000001", None)
        await bench.until(lambda: bench.model.calls)
        await bench.ring_phone(leg)
        await bench.until(lambda: ANSWER in bench.call().features)
        await bench.model.answer_call()
        # The switch of the engine has no such leg.
        await bench.model._provider._look_at_once()  # type: ignore[attr-defined]  # what the provider does by itself
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        assert CallFeature.DROP in bench.call().features
        assert CallFeature.CONSULT not in bench.call().features
        assert bench.told(CallFinished) == []
        await bench.model.drop_call()
        await bench.until(lambda: bench.told(CallFinished))
        assert "verto.bye" in bench.server.methods()


# --- the phone's connection


async def test_the_phones_connection_breaks_in_a_call() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.server.sockets[-1].cut()
        await bench.server.asked("verto.attach")
        # Its answer comes after that to the other.
        await bench.phone.client.ping()
        assert bench.phone.is_talked_on(leg)
        peer = bench.peers.of(leg)
        assert len(bench.peers.made) == 1
        assert peer.steps.count("answer") == 2
        assert "close" not in peer.steps
        assert len(bench.told(ErrorOccurred)) == 1
        assert bench.call().state is CallState.CONNECTED


@pytest.mark.parametrize("took_it", [True, False])
async def test_a_hold_that_the_outage_swallowed(took_it: bool) -> None:
    """The microphone was silenced before it was sent. Where the switch never held the call, nobody would take it back."""
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.server.silent.add("verto.modify")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_hold_unconfirmed, bench)
            await bench.server.asked("verto.modify")
            assert bench.peers.of(leg).held
            if took_it:
                bench.simulator.switchboard.hold(leg)
                await bench.until(lambda: bench.call().state is CallState.HELD)
            bench.server.sockets[-1].cut()
        await bench.server.asked("verto.attach")
        assert bench.peers.of(leg).held is took_it
        assert bench.call().state is (CallState.HELD if took_it else CallState.CONNECTED)


async def _hold_unconfirmed(bench: PhoneBench) -> None:
    with contextlib.suppress(CommandUnconfirmedError):
        await bench.model.hold_call()


async def test_nothing_can_be_answered_while_the_phone_is_away() -> None:
    async with phone_bench() as bench:
        await ring_both(bench)
        bench.server.refusals["login"] = REFUSED
        bench.server.sockets[-1].cut()
        await bench.until(lambda: ANSWER not in bench.call().features)
        await bench.until(lambda: any(isinstance(event.error, CredentialsRefusedError) for event in bench.told(ErrorOccurred)))
        # Refused once, it is not tried again.
        assert bench.server.methods().count("login") == 2


async def test_it_can_be_answered_again_when_the_phone_is_back() -> None:
    async with phone_bench() as bench:
        leg = await ring_both(bench)
        # A call that only rings is not kept by the server; another leg of the same call rings anew.
        bench.server.sockets[-1].cut()
        await bench.until(lambda: bench.server.methods().count("login") == 2 and leg not in bench.phone.calls)
        assert ANSWER not in bench.call().features
        await bench.until(lambda: bench.phone.connected)
        dialog = "55555555-0000-4000-8000-000000000001"
        own = bench.simulator.switchboard.legs_of(OWN)[0].snapshot
        await bench.ring_phone(dialog)
        bench.engine_says("CHANNEL_CREATE", dialog, own.call_uuid, own.call_id)
        await bench.until(lambda: ANSWER in bench.call().features)


async def test_the_session_is_taken_over() -> None:
    async with phone_bench() as bench:
        first = bench.phone.client.session_id
        await bench.server.say("verto.punt")
        await bench.until(lambda: any(isinstance(event.error, SessionTakenError) for event in bench.told(ErrorOccurred)))
        assert bench.server.methods().count("login") == 1
        # Whoever connects again wants a phone of his own.
        await bench.model.disconnect()
        await bench.model.connect()
        await bench.server.asked("login", 2)
        assert bench.phone.client.session_id != first
        await bench.until(lambda: bench.phone.connected)


async def test_no_microphone_is_open_for_a_call_that_another_program_has() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        await bench.server.say("verto.punt")
        await bench.until(lambda: bench.told(WebRtcDestroyed))
        assert bench.peers.open == 0
        assert bench.peers.of(leg).steps[-1] == "close"
        assert bench.call().state is CallState.CONNECTED
        assert MUTE not in bench.call().features


async def test_a_call_that_came_back_too_late_for_the_phone_has_sound_again() -> None:
    """The phone was refused, so its microphone was closed; who connects once more is let in, and has the same session."""
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.server.refusals["login"] = REFUSED
        bench.server.sockets[-1].cut()
        await bench.until(lambda: bench.peers.open == 0)
        bench.server.refusals.clear()
        await bench.model.disconnect()
        await bench.model.connect()
        await bench.server.asked("verto.attach")
        await bench.until(lambda: leg in bench.phone.calls and bench.phone.calls[leg].has_media)
        assert bench.peers.open == 1


async def test_no_microphone_is_open_for_a_call_that_ended_while_the_phone_is_away() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        vars(bench.server)["log_in"] = _no_answer
        bench.server.sockets[-1].cut()
        await bench.until(lambda: not bench.phone.connected)
        bench.simulator.switchboard.hang_up(leg)
        await bench.until(lambda: bench.told(CallFinished) and bench.peers.open == 0)
        assert "verto.bye" not in bench.server.methods()


async def _no_answer(*_: object) -> None:
    return


async def test_what_was_wrong_before_the_log_in_is_told_after_it() -> None:
    async with phone_bench(before=lambda _, server: server.refusals.update(login=REFUSED)) as bench:
        await bench.until(lambda: bench.told(ErrorOccurred))
        assert isinstance(bench.told(ErrorOccurred)[0].error, CredentialsRefusedError)
        assert bench.model.provider_state is ProviderState.IN_SERVICE


async def test_closing_ends_everything_and_hangs_nothing_up() -> None:
    async with phone_bench() as bench:
        await talk(bench)
        server, peers = bench.server, bench.peers
    assert "verto.bye" not in server.methods()
    assert peers.open == 0


# --- the media


@pytest.mark.parametrize("step", ["peer", "answer"])
async def test_no_microphone_at_answering(step: str) -> None:
    """The call goes on ringing, and can be answered when there is one."""
    async with phone_bench() as bench:
        await ring_both(bench)
        bench.peers.errors[step] = DeviceNotFoundError("There is no microphone.")
        with pytest.raises(NoSoundError) as raised:
            await bench.model.answer_call()
        assert raised.value.stage is CommandStage.NOT_SENT
        assert isinstance(raised.value.__cause__, DeviceNotFoundError)
        assert "Plug it in" in raised.value.remedy
        assert ANSWER in bench.call().features
        assert bench.peers.open == 0
        await bench.until(lambda: bench.peers.rings)
        bench.peers.errors.clear()
        await bench.model.answer_call()
        assert bench.server.methods().count("verto.answer") == 1


async def test_media_that_raises_anything() -> None:
    async with phone_bench() as bench:
        await ring_both(bench)
        bench.peers.errors["answer"] = RuntimeError("a library's own")
        with pytest.raises(NoSoundError, match="RuntimeError"):
            await bench.model.answer_call()
        assert bench.model.provider_state is ProviderState.IN_SERVICE


async def test_no_microphone_at_calling() -> None:
    async with phone_bench() as bench:
        bench.peers.errors["offer"] = DeviceNotFoundError("There is no microphone.")
        with pytest.raises(NoSoundError):
            await bench.model.make_call("101")
        assert "verto.invite" not in bench.server.methods()
        assert bench.peers.open == 0


async def test_media_that_never_comes_to_be_ends_the_call() -> None:
    async with phone_bench() as bench:
        leg = await ring_both(bench)
        await bench.model.answer_call()
        bench.simulator.switchboard.answer(leg)
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        bench.peers.of(leg).fail(IceFailedError("No way."))
        asked = await bench.server.asked("verto.bye")
        assert asked["params"]["dialogParams"]["callID"] == leg
        await bench.until(lambda: bench.told(ErrorOccurred))
        (told,) = bench.told(ErrorOccurred)
        assert isinstance(told.error, IceFailedError)
        assert told.call is not None


async def test_media_that_breaks_is_made_anew_once() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        peer = bench.peers.of(leg)
        peer.fail(IceFailedError("The network changed."))
        asked = await bench.server.asked("verto.modify")
        assert asked["params"]["action"] == "updateMedia"
        await bench.until(lambda: peer.steps[-2:] == ["restart", "set_remote"])
        assert bench.told(ErrorOccurred) == []
        # And if the server does not want any, that is told.
        peer.connect()
        bench.server.refusals["verto.modify"] = {"code": -32002, "message": "no"}
        peer.fail(IceFailedError("Again."))
        await bench.until(lambda: bench.told(ErrorOccurred))
        assert "verto.bye" not in bench.server.methods()


async def test_new_media_that_does_not_come_to_be_is_told() -> None:
    """The call is silent then, and nobody would know: it is not tried over and over."""
    async with phone_bench() as bench:
        leg = await talk(bench)
        peer = bench.peers.of(leg)
        peer.fail(IceFailedError("The network changed."))
        await bench.until(lambda: peer.steps[-2:] == ["restart", "set_remote"])
        peer.fail(IceFailedError("There is no way any more."))
        await bench.until(lambda: bench.told(ErrorOccurred))
        (told,) = bench.told(ErrorOccurred)
        assert (str(told.error.message), told.call.id) == ("There is no way any more.", bench.call().id)
        assert bench.server.methods().count("verto.modify") == 1
        # The server's own offer of new media is another beginning.
        await bench.server.say("verto.attach", callID=leg, sdp=OFFER)
        await bench.server.asked("verto.attach")
        # The server's answer to that goes before the next one.
        await bench.phone.client.ping()
        peer.fail(IceFailedError("Nor that."))
        await bench.server.asked("verto.modify", 2)


async def test_new_media_that_the_other_side_ends_too_is_told() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        peer = bench.peers.of(leg)
        peer.end()
        await bench.until(lambda: peer.steps[-2:] == ["restart", "set_remote"])
        peer._enter(MediaState.CONNECTING)
        peer.end()
        await bench.until(lambda: bench.told(ErrorOccurred))
        assert isinstance(bench.told(ErrorOccurred)[0].error, MediaConnectionError)
        assert bench.server.methods().count("verto.modify") == 1


async def test_media_that_the_other_side_ends_alone_is_made_anew() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.peers.of(leg).end()
        await bench.server.asked("verto.modify")


async def test_a_device_that_fails_in_a_call_is_told() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.peers.of(leg).tell(AudioFailed(DeviceNotFoundError("It was pulled out.")))
        await bench.until(lambda: bench.told(ErrorOccurred))
        assert bench.call().state is CallState.CONNECTED


async def test_media_that_cannot_be_held_stops_nobody() -> None:
    """It may be a browser that is gone. The call is held in the switch, and the reading goes on."""
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.peers.errors["switch"] = RuntimeError("the page is gone")
        bench.simulator.switchboard.hold(leg)
        await bench.until(lambda: bench.call().state is CallState.HELD and bench.told(ErrorOccurred))
        assert bench.model.provider_state is ProviderState.IN_SERVICE
        with pytest.raises(MediaError):
            bench.phone.mute(leg, True)
        assert not bench.call().muted


async def test_quality_is_told() -> None:
    async with phone_bench() as bench:
        leg = await talk(bench)
        bench.peers.of(leg).tell(QualityMeasured(QUALITY))
        await bench.until(lambda: bench.told(WebRtcQuality))
        (told,) = bench.told(WebRtcQuality)
        assert (told.media_id, told.mos, told.loss) == (leg, 4.3, 0.01)
        assert (told.jitter_seconds, told.round_trip_seconds) == (0.002, 0.03)
        assert told.call.id == bench.call().id


@pytest.mark.parametrize(("use_video", "is_told"), [(True, True), (False, False)])
async def test_video(use_video: bool, is_told: bool) -> None:
    async with phone_bench(user={"use_video": use_video}) as bench:
        bench.peers.sdp = SDP + VIDEO
        leg = bench.ring_engine().uuid
        await bench.until(lambda: bench.model.calls)
        await bench.server.say("verto.invite", callID=leg, sdp=OFFER + VIDEO, caller_id_number="067")
        await bench.until(lambda: ANSWER in bench.call().features)
        await bench.model.answer_call()
        await bench.until(lambda: bench.told(WebRtcStarted))
        await bench.phone.client.ping()
        if is_told:
            await bench.until(lambda: bench.told(WebRtcVideoStarted))
        assert [event.media_id for event in bench.told(WebRtcVideoStarted)] == ([leg] if is_told else [])


@pytest.mark.parametrize(
    ("theirs", "shows"),
    [
        (VIDEO, True),
        ("", False),
        ("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n", False),
        (VIDEO + "a=inactive\r\n", False),
        (VIDEO + "a=sendonly\r\n", True),
        ("m=video\r\n", False),
    ],
)
def test_what_shows_video(theirs: str, shows: bool) -> None:
    assert both_show_video(SDP + VIDEO, SDP + theirs) is shows
    assert both_show_video(SDP + theirs, SDP + VIDEO) is shows


# --- settings


async def test_a_call_that_came_beside_another_is_heard_when_nobody_talks_any_more() -> None:
    async with phone_bench() as bench:
        first = await talk(bench)
        second = bench.ring_engine().uuid
        await bench.ring_phone(second)
        await bench.until(lambda: len(bench.model.calls) == 2)
        assert bench.peers.rings == []
        await bench.server.say("verto.bye", callID=first, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.peers.rings == [second])
        await bench.server.say("verto.bye", callID=second, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.peers.rings == [])


async def test_sound_off() -> None:
    async with phone_bench(user={"use_notification_sound": False}) as bench:
        await ring_both(bench)
        assert bench.peers.rings == []


async def test_no_media_in_this_process_is_known_before_there_is_a_call() -> None:
    peers = FakePeers()
    peers.unavailable = MediaUnavailableError("The event loop is trio's.")
    who = WebitelUserSettings(login=OWN, password=Secret("100"), use_web_phone=True)
    options = {"media": peers}
    with pytest.raises(MediaUnavailableError):
        model_at("ws://127.0.0.1:9", user_settings=who, options=options, webrtc_connection_string="ws://127.0.0.1:9")


async def test_the_address_of_the_signalling_is_needed() -> None:
    who = WebitelUserSettings(login=OWN, password=Secret("100"), use_web_phone=True)
    with pytest.raises(SettingsError, match="webrtc_connection_string"):
        model_at("ws://127.0.0.1:9", user_settings=who, options={"media": FakePeers()})


def test_a_token_does_not_do_for_the_phone() -> None:
    token = WebitelUserSettings(login=OWN, key="k", token=Secret("t"))
    with pytest.raises(ValueError, match="web_phone_password"):
        evolve(token, use_web_phone=True)
    assert evolve(token, use_web_phone=True, web_phone_password=Secret("p")).use_web_phone


async def test_another_account_at_the_signalling() -> None:
    async with phone_bench(user={"web_phone_login": "900@other", "web_phone_password": Secret("p900")}) as bench:
        asked = await bench.server.asked("login")
        assert (asked["params"]["login"], asked["params"]["passwd"]) == ("900@other", "p900")


async def test_without_the_web_phone() -> None:
    async with serve_webitel(control_port=None) as simulator, model_at(simulator) as model:
        simulator.switchboard.incoming("0670000000", OWN)
        async for event in model.events():
            if isinstance(event, CallStarted):
                break
        assert not model.calls[0].features & (ANSWER | MUTE)
        with pytest.raises(NotSupportedError):
            await model.answer_call()
        with pytest.raises(NotSupportedError):
            await model.set_mute(True)


def test_nothing_of_it_is_loaded_without_it() -> None:
    program = """
import sys, anyio
from cti_framework.initializer import CtiProviderInitializer
from cti_webitel.simulator import serve_webitel

async def main():
    async with serve_webitel(control_port=None) as pbx:
        known = {"cti.provider": "webitel", "webitel.connection_string": pbx.url}
        known |= {"webitel.login": "100@demo.local", "webitel.password": "100"}
        async with CtiProviderInitializer(known, environ={}).open("100") as model:
            assert model.calls == ()

anyio.run(main)
rooms = ("cti_webitel.verto", "cti_webitel.web_phone", "cti_framework.media", "aiortc")
loaded = [name for name in sys.modules if name.startswith(rooms)]
assert loaded == [], loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
