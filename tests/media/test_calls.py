"""Two peers on loopback, with real ICE, DTLS and Opus: each hears the other, whatever is done meanwhile."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import anyio
import attrs
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_framework.media import (
    AiortcPeer,
    AudioFailed,
    AudioSink,
    AudioSource,
    MediaConnected,
    MediaEnded,
    MediaFileError,
    MediaQuality,
    MediaState,
    MediaStateError,
    NoSink,
    Pipe,
    QualityMeasured,
    Several,
    Silence,
    SourceEnded,
    Tone,
    WavSink,
    level_dbfs,
    rtc_audio,
)
from tests.media.listening import LOOPBACK, Heard, Side, a_call, both_connected, connect, nothing_left, share_of

pytestmark = pytest.mark.anyio

LOW, HIGH, OTHER = 440, 700, 1_000


async def test_each_side_hears_the_other() -> None:
    async with nothing_left(), a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.heard.tone(HIGH)
        await callee.heard.tone(LOW)
        assert share_of(bytes(caller.heard.pcm[-9_600:]), LOW) < 0.01
        # It is as loud as it was sent.
        assert level_dbfs(await caller.heard.more(10)) == pytest.approx(-18.0, abs=0.5)
        assert caller.peer.state.value == "connected"
        assert caller.notices.kinds() == [MediaConnected]
    assert caller.peer.state is MediaState.CLOSED
    assert (caller.heard.opened, caller.heard.closed) == (1, 1)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
async def test_with_each_codec(codec: str) -> None:
    async with a_call(Tone(LOW), Tone(HIGH), attrs.evolve(LOOPBACK, codecs=(codec,))) as (caller, callee):
        await caller.heard.tone(HIGH)
        await callee.heard.tone(LOW)
        assert (await caller.peer.statistics()).codec.lower() == codec.lower()


@pytest.mark.parametrize(("limit", "least", "most"), [("", 75, 400), ("a=fmtp:96 maxaveragebitrate=10000\r\n", 10, 60)])
async def test_no_more_is_sent_than_the_other_side_wants(limit: str, least: int, most: int) -> None:
    """RFC 7587 6.1; FreeSWITCH asks for 30,000 bits a second."""
    caller, callee = Side(Tone(LOW, HIGH)), Side(Tone(HIGH))
    async with caller.peer, callee.peer:
        answer = await callee.peer.answer(await caller.peer.offer())
        await caller.peer.set_remote(answer.replace("a=ice-ufrag", f"{limit}a=ice-ufrag"))
        await callee.heard.tone(LOW, share=0.4)
        counters = await caller.peer.statistics()
        assert least < counters.bytes_sent / counters.packets_sent < most


async def test_a_file_holds_the_call_at_its_length(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    heard = Heard()
    caller = AiortcPeer(LOOPBACK, source=Tone(LOW))
    callee = AiortcPeer(LOOPBACK, source=Tone(HIGH), sink=Several(WavSink(path), heard))
    async with callee, caller:
        await connect(caller, callee)
        await heard.more(75)
        received = (await callee.statistics()).packets_received
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48_000, 1, 2)
        pcm = file.readframes(file.getnframes())
    assert len(pcm) == len(heard.pcm) + 1_920 * heard.missing
    # The receiver's jitter buffer holds back four packets; some more come while the call is closed.
    assert received - 8 <= len(pcm) / 1_920 <= received + 25
    assert share_of(pcm[9_600:57_600], LOW) > 0.9


async def test_mute_is_silence_and_its_end_is_not_old_sound() -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await callee.heard.tone(LOW)
        caller.peer.mute()
        assert caller.peer.muted
        await callee.heard.silence()
        await caller.heard.tone(HIGH)
        caller.peer.unmute()
        await callee.heard.tone(LOW)


async def test_hold_without_renegotiation() -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.heard.tone(HIGH)
        caller.peer.hold()
        assert caller.peer.held
        await callee.heard.silence()
        already = len(caller.heard.pcm)
        await callee.heard.more(10)
        # One frame may have been on its way into the sink.
        assert len(caller.heard.pcm) - already <= 1_920
        caller.peer.unhold()
        await caller.heard.tone(HIGH)
        await callee.heard.tone(LOW)


async def test_hold_with_renegotiation() -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await callee.heard.tone(LOW)
        caller.peer.hold()
        offer = await caller.peer.renegotiate()
        assert "a=sendonly" in offer
        answer = await callee.peer.answer(offer)
        assert "a=recvonly" in answer
        await caller.peer.set_remote(answer)
        await callee.heard.silence()
        sent = (await callee.peer.statistics()).packets_sent
        await callee.heard.more(20)
        # A packet or two may be on its way when the answer is given.
        assert (await callee.peer.statistics()).packets_sent - sent <= 2
        caller.peer.unhold()
        offer = await caller.peer.renegotiate()
        assert "a=sendrecv" in offer
        await caller.peer.set_remote(await callee.peer.answer(offer))
        await caller.heard.tone(HIGH)
        await callee.heard.tone(LOW)
        assert caller.notices.kinds() == [MediaConnected]


async def test_the_other_side_holds() -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        callee.peer.hold()
        await callee.peer.set_remote(await caller.peer.answer(await callee.peer.renegotiate()))
        await caller.heard.silence()
        callee.peer.unhold()
        await callee.peer.set_remote(await caller.peer.answer(await callee.peer.renegotiate()))
        await caller.heard.tone(HIGH)
        await callee.heard.tone(LOW)


async def test_restart_keeps_source_sink_and_mute() -> None:
    async with nothing_left(), a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await callee.heard.tone(LOW)
        offer = await caller.peer.restart()
        # Until the answer is there the old media goes on.
        await callee.heard.tone(LOW)
        assert caller.peer.state is MediaState.CONNECTED
        caller.peer.mute()
        await caller.peer.set_remote(await callee.peer.answer(offer))
        await both_connected(caller.peer, callee.peer)
        await caller.heard.tone(HIGH)
        await callee.heard.silence()
        caller.peer.unmute()
        await callee.heard.tone(LOW)
        assert (caller.heard.opened, caller.heard.closed) == (1, 0)
        assert caller.notices.kinds() == [MediaConnected, MediaConnected]
    assert (caller.heard.opened, caller.heard.closed) == (1, 1)


async def test_the_pbx_gives_new_media_after_the_old_was_lost() -> None:
    """As `verto.attach` does: an offer on a call that this side had media for (facts: verto, Sessions)."""
    phone, first, second = Side(Tone(LOW)), Side(Tone(HIGH)), Side(Tone(OTHER))
    async with nothing_left(), phone.peer:
        async with first.peer:
            await connect(first.peer, phone.peer)
            await phone.heard.tone(HIGH)
        await phone.notices.first(MediaEnded)
        assert phone.peer.state is MediaState.ENDED
        async with second.peer:
            await second.peer.set_remote(await phone.peer.answer(await second.peer.offer()))
            await both_connected(phone.peer, second.peer)
            await phone.heard.tone(OTHER)
            await second.heard.tone(LOW)


async def test_an_offer_of_the_pbx_overtakes_ours() -> None:
    async with nothing_left(), a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.peer.restart()
        await callee.peer.set_remote(await caller.peer.answer(await callee.peer.restart()))
        await both_connected(caller.peer, callee.peer)
        await caller.heard.tone(HIGH)
        with pytest.raises(MediaStateError, match="no offer"):
            await caller.peer.set_remote("v=0")


class _Closable(Tone):
    closed = 0

    async def close(self) -> None:
        self.closed += 1


async def test_source_and_sink_are_replaced_in_a_call() -> None:
    first = _Closable(LOW)
    async with nothing_left(), a_call(first, Tone(HIGH)) as (caller, callee):
        await callee.heard.tone(LOW)
        await caller.peer.replace_source(Tone(OTHER))
        assert first.closed == 1
        await callee.heard.tone(OTHER)
        other = Heard()
        await callee.peer.replace_sink(other)
        await other.tone(OTHER)
        already = len(callee.heard.pcm)
        await other.more(5)
        assert len(callee.heard.pcm) == already
        assert callee.heard.closed == 1
        await callee.peer.replace_sink(NoSink())
        assert other.closed == 1


async def test_one_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (_, callee):
        with pytest.raises(MediaFileError, match="cannot be written"):
            await callee.peer.replace_sink(WavSink(tmp_path / "nowhere" / "call.wav"))
        await callee.heard.tone(LOW)


async def test_an_echo_is_a_pipe() -> None:
    pipe = Pipe()
    caller = Side(Tone(LOW))
    async with caller.peer, AiortcPeer(LOOPBACK, source=pipe, sink=pipe) as echo:
        await connect(caller.peer, echo)
        await caller.heard.tone(LOW)


async def test_two_calls_are_bridged_by_pipes() -> None:
    to_alice, to_bob = Pipe(), Pipe()
    alice, bob = Side(Tone(LOW)), Side(Tone(HIGH))
    async with (
        nothing_left(),
        alice.peer,
        bob.peer,
        AiortcPeer(LOOPBACK, source=to_alice, sink=to_bob) as one,
        AiortcPeer(LOOPBACK, source=to_bob, sink=to_alice) as two,
    ):
        await connect(alice.peer, one)
        await connect(bob.peer, two)
        await alice.heard.tone(HIGH)
        await bob.heard.tone(LOW)


class _Short(AudioSource):
    def __init__(self) -> None:
        self.left = 5

    async def read(self) -> bytes | None:
        self.left -= 1
        return b"\1" * 1_920 if self.left > 0 else None


class _Broken(AudioSource):
    async def read(self) -> bytes | None:
        raise LookupError("the tape tore")


class _Full(AudioSink):
    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        raise MediaFileError("the disk is full.")


class _Slow(AudioSink):
    """Takes nothing until it is let."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.written = self.at_once = self.most_at_once = 0

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        self.began.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go_on.wait()
        self.at_once -= 1
        self.written += 1


async def test_a_sink_that_is_too_slow_gets_the_newest_second() -> None:
    slow = _Slow()
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.peer.replace_sink(slow)
        await slow.began.wait()
        # Time goes by as sound does: two seconds of it.
        await callee.heard.more(100)
        slow.go_on.set()
        await callee.heard.more(5)
        assert 40 <= slow.written <= 65


async def test_new_media_waits_for_a_sink_in_the_middle_of_a_frame() -> None:
    slow = _Slow()
    async with nothing_left(), a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.peer.replace_sink(slow)
        await slow.began.wait()
        await caller.peer.set_remote(await callee.peer.answer(await caller.peer.restart()))
        await both_connected(caller.peer, callee.peer)
        await callee.heard.tone(LOW)
        slow.go_on.set()
        await callee.heard.more(10)
        assert slow.written > 3
        assert slow.most_at_once == 1


async def test_a_source_at_its_end_is_told_once_and_silence_follows() -> None:
    async with a_call(_Short(), Tone(HIGH)) as (caller, callee):
        await caller.notices.first(SourceEnded)
        await callee.heard.silence()
        assert sum(isinstance(notice, SourceEnded) for notice in caller.notices) == 1
        await caller.peer.replace_source(Tone(LOW))
        await callee.heard.tone(LOW)


async def test_a_source_that_breaks_ends_no_call() -> None:
    async with a_call(_Broken(), Tone(HIGH)) as (caller, callee):
        told = await caller.notices.first(AudioFailed)
        assert isinstance(told, AudioFailed)
        assert str(told.error) == "The source failed: the tape tore."
        await callee.heard.silence()
        await caller.heard.tone(HIGH)


async def test_a_sink_that_breaks_ends_no_call() -> None:
    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.peer.replace_sink(_Full())
        told = await caller.notices.first(AudioFailed)
        assert isinstance(told, AudioFailed)
        assert isinstance(told.error, MediaFileError)
        await callee.heard.tone(LOW)
        again = Heard()
        await caller.peer.replace_sink(again)
        await again.tone(HIGH)


class _Stuck(AudioSource, AudioSink):
    """Gives no frame, and takes none to its end."""

    async def read(self) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        await asyncio.Event().wait()


async def test_a_source_that_hangs_is_told_and_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_audio, "_STUCK_SECONDS", 0.2)
    async with nothing_left(), a_call(_Stuck(), Tone(HIGH)) as (caller, callee):
        told = await caller.notices.first(AudioFailed)
        assert isinstance(told, AudioFailed)
        assert str(told.error) == "The source hangs: it took more than 0.2 s for 20 ms of sound."
        await callee.heard.silence()
        await caller.peer.replace_source(Tone(LOW))
        await callee.heard.tone(LOW)


async def test_a_sink_that_hangs_is_told_and_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_audio, "_STUCK_SECONDS", 0.2)
    async with nothing_left(), a_call(Tone(LOW), Tone(HIGH)) as (caller, callee):
        await caller.peer.replace_sink(_Stuck())
        told = await caller.notices.first(AudioFailed)
        assert isinstance(told, AudioFailed)
        assert str(told.error) == "The sink hangs: it took more than 0.2 s for 20 ms of sound."
        again = Heard()
        await caller.peer.replace_sink(again)
        await again.tone(HIGH)
        await callee.peer.replace_sink(_Stuck())
        with anyio.fail_after(5):
            await callee.peer.close()


async def test_the_quality_is_told() -> None:
    def said_there_and_back(quality: MediaQuality) -> bool:
        return quality.round_trip_seconds is not None and quality.remote_loss is not None

    async with a_call(Tone(LOW), Tone(HIGH)) as (caller, _):
        with anyio.fail_after(20):
            for number in range(1, 30):
                told = await caller.notices.first(QualityMeasured, count=number)
                assert isinstance(told, QualityMeasured)
                quality = told.quality
                if said_there_and_back(quality):
                    break
    # A busy computer measures later than it was told to.
    assert quality.interval_seconds >= 0.49
    assert quality.packets_received == pytest.approx(quality.interval_seconds * 50, abs=15)
    assert quality.loss == 0
    assert quality.remote_loss is not None and quality.remote_loss < 0.5
    assert quality.round_trip_seconds is not None and 0 <= quality.round_trip_seconds < 1
    assert 0 <= quality.jitter_seconds < 0.2
    assert 3.5 < quality.mos < 4.5
    assert quality.counters.codec == "opus"
    assert quality.counters.bytes_sent > 0


async def test_a_listener_that_raises_ends_nothing() -> None:
    def grumpy(notice: object) -> None:
        raise RuntimeError("not now")

    callee = Side(Tone(HIGH))
    async with AiortcPeer(LOOPBACK, grumpy, source=Tone(LOW)) as caller, callee.peer:
        await connect(caller, callee.peer)
        await callee.heard.tone(LOW)


async def test_steps_out_of_their_order() -> None:
    async with AiortcPeer(LOOPBACK) as peer, AiortcPeer(LOOPBACK, source=Silence()) as other:
        with pytest.raises(MediaStateError, match="no offer"):
            await peer.set_remote("v=0")
        with pytest.raises(MediaStateError, match="no media now"):
            await peer.renegotiate()
        assert (await peer.statistics()).packets_sent == 0
        offer = await peer.offer()
        with pytest.raises(MediaStateError, match="begun already"):
            await peer.offer()
        answer = await other.answer(offer)
        await peer.set_remote(answer)
        with pytest.raises(MediaStateError, match="no offer"):
            await peer.set_remote(answer)
    for step in (
        peer.offer(),
        peer.restart(),
        peer.renegotiate(),
        peer.answer(offer),
        peer.set_remote(answer),
        peer.wait_connected(),
    ):
        with pytest.raises(MediaStateError, match="closed"):
            await step
    with pytest.raises(MediaStateError, match="closed"):
        peer.mute()
