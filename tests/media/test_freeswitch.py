"""What a real FreeSWITCH wrote is taken and answered; what aiortc needs to get on with it is there, for our connections only."""

from __future__ import annotations

import asyncio
import datetime
import re
from typing import Any

import anyio
import attrs
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from aiortc.rtcdtlstransport import RTCCertificate, generate_certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from cti_framework.media import (
    AiortcPeer,
    DtlsFailedError,
    IceFailedError,
    MediaFailed,
    MediaSettings,
    MediaState,
    NoCommonCodecError,
    SdpError,
    Tone,
)
from tests.media.descriptions import all_descriptions, described
from tests.media.listening import LOOPBACK, Side, both_connected, nothing_left

pytestmark = pytest.mark.anyio

OFFERS = [(name, sdp) for name, sdp in all_descriptions() if "a=setup:actpass" in sdp]
ANSWERS = [(name, sdp) for name, sdp in all_descriptions() if "a=setup:active" in sdp]


def test_the_captures_hold_both() -> None:
    assert len(OFFERS) > 10
    assert len(ANSWERS) > 10


@pytest.mark.parametrize(("name", "sdp"), OFFERS, ids=[name for name, _ in OFFERS])
async def test_each_offer_of_freeswitch_is_answered(name: str, sdp: str) -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        answer = await peer.answer(sdp)
        assert peer.state is MediaState.CONNECTING
    assert "a=setup:active\r\n" in answer
    assert "a=rtpmap:96 opus/48000/2\r\n" in answer
    assert " 127.0.0.1 " in answer
    assert answer.count("m=") == 1


async def test_each_answer_of_freeswitch_is_taken() -> None:
    for name, sdp in ANSWERS:
        async with AiortcPeer(LOOPBACK) as peer:
            await peer.offer()
            await peer.set_remote(sdp)
            assert peer.state is MediaState.CONNECTING, name


async def test_our_offer_is_one_that_freeswitch_took() -> None:
    """The same kinds of lines, in the same order, as of the client that the captures were made with."""

    def kinds(sdp: str) -> list[str]:
        return [line.partition(" ")[0].partition(":")[0] + line[:2] for line in sdp.splitlines()]

    async with AiortcPeer(LOOPBACK) as peer:
        assert kinds(await peer.offer()) == kinds(described("04_call_echo", "verto.invite", by="c2s"))
    async with AiortcPeer(LOOPBACK) as peer:
        answer = await peer.answer(described("05_call_alice_bob", "verto.invite"))
        assert kinds(answer) == kinds(described("05_call_alice_bob", "verto.answer", by="c2s"))


async def test_a_call_is_re_attached() -> None:
    """The offer of `verto.attach` has other ICE credentials: new media for the same call."""
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        first = await peer.offer()
        await peer.set_remote(described("09_reconnect_same_sessid", "verto.media"))
        second = await peer.answer(described("09_reconnect_same_sessid", "verto.attach"))
        assert fragment(first) != fragment(second)


async def test_updated_media_has_the_credentials_that_freeswitch_had_before() -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        await peer.offer()
        await peer.set_remote(described("22_update_media", "verto.answer"))
        await peer.restart()
        await peer.set_remote(described("22_update_media", ""))
        assert peer.state is MediaState.CONNECTING


def fragment(sdp: str) -> str:
    return sdp.partition("a=ice-ufrag:")[2].splitlines()[0]


# --- FreeSWITCH's keys

CERTIFICATES = "_RTCPeerConnection__certificates"


class OtherSide(RTCPeerConnection):
    """A bare aiortc with a certificate as FreeSWITCH's: RSA, and suites for it."""

    def __init__(self, certificate: RTCCertificate | None = None) -> None:
        super().__init__()
        if certificate is not None:
            setattr(self, CERTIFICATES, [certificate])
        self.packets: list[bytes] = []
        self.sound = asyncio.Event()

        @self.on("track")
        def on_track(track: Any) -> None:
            self._listening = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: Any) -> None:
        while True:
            await track.recv()
            self.sound.set()

    async def __aenter__(self) -> OtherSide:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        listening = getattr(self, "_listening", None)
        if listening is not None:
            listening.cancel()


class RsaCertificate(RTCCertificate):
    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
        return context


@pytest.fixture(scope="module")
def rsa_certificate() -> RsaCertificate:
    key: Any = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    certificate: x509.Certificate = generate_certificate(key)
    assert certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC)
    return RsaCertificate(key, certificate)


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the bare aiortc of these tests; ours has its settings."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    monkeypatch.setattr("aiortc.rtcicetransport.RTCIceGatherer.getDefaultIceServers", classmethod(lambda cls: []))


def as_freeswitch_writes(sdp: str) -> str:
    """Without what FreeSWITCH leaves out."""
    left_out = ("a=mid", "a=group", "a=end-of-candidates", "a=extmap")
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith(left_out))


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("we_begin", [False, True], ids=["they call", "we call"])
async def test_a_side_with_an_rsa_certificate_is_connected_to(rsa_certificate: RsaCertificate, we_begin: bool) -> None:
    phone = Side(Tone(440))
    async with OtherSide(rsa_certificate) as other, phone.peer:
        other.addTrack(AudioStreamTrack())
        if we_begin:
            await other.setRemoteDescription(RTCSessionDescription(await phone.peer.offer(), "offer"))
            await other.setLocalDescription(await other.createAnswer())
            await phone.peer.set_remote(as_freeswitch_writes(other.localDescription.sdp))
        else:
            await other.setLocalDescription(await other.createOffer())
            answer = await phone.peer.answer(as_freeswitch_writes(other.localDescription.sdp))
            await other.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await both_connected(phone.peer)
        with anyio.fail_after(10):
            await phone.heard.more()
            await other.sound.wait()


@pytest.mark.usefixtures("loopback")
async def test_another_certificate_than_was_named_is_refused() -> None:
    phone = Side(Tone(440))
    async with nothing_left(), OtherSide() as other, phone.peer:
        other.addTrack(AudioStreamTrack())
        await other.setLocalDescription(await other.createOffer())
        sdp = other.localDescription.sdp
        for digest in [line for line in sdp.splitlines() if line.startswith("a=fingerprint:")]:
            sdp = sdp.replace(digest, digest[:-2] + ("00" if digest[-2:] != "00" else "11"))
        answer = await phone.peer.answer(sdp)
        await other.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        told = await phone.notices.first(MediaFailed)
        assert isinstance(told, MediaFailed)
        assert isinstance(told.error, DtlsFailedError)
        assert told.error.remedy
        with pytest.raises(DtlsFailedError):
            await phone.peer.wait_connected()
        # Only what is heard after keys are agreed on is sound.
        assert not phone.heard.pcm


@pytest.mark.usefixtures("loopback")
async def test_the_keys_and_the_addresses_of_other_users_of_aiortc_are_left_alone() -> None:
    ours = AiortcPeer(MediaSettings())
    async with ours:
        await ours.offer()
        bare = RTCPeerConnection()
        bare.addTransceiver("audio")
        (certificate,) = getattr(bare, CERTIFICATES)
        assert type(certificate) is RTCCertificate
        transport = bare.getTransceivers()[0].sender.transport
        assert "_send_rtp" not in vars(transport)
        assert "get_component_candidates" not in vars(transport.transport._connection)
        await bare.close()


async def test_nobody_outside_is_asked_unless_a_host_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiortc has a public STUN server of its own choice."""

    def never(cls: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("aiortc.rtcicetransport.RTCIceGatherer.getDefaultIceServers", classmethod(never))
    async with AiortcPeer(LOOPBACK) as peer:
        assert "srflx" not in await peer.offer()


# --- RTP


@pytest.mark.usefixtures("loopback")
async def test_only_the_first_packet_of_a_talk_spurt_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bridge FreeSWITCH drops what it has at each mark (facts: verto, What an aiortc client needs)."""
    marks: list[int] = []
    enough = asyncio.Event()
    phone = Side(Tone(440))
    async with OtherSide() as other, phone.peer:
        other.addTrack(AudioStreamTrack())
        await other.setRemoteDescription(RTCSessionDescription(await phone.peer.offer(), "offer"))
        receiver = other.getReceivers()[0]
        handle = receiver._handle_rtp_packet

        async def look(packet: Any, arrival_time_ms: int) -> None:
            marks.append(packet.marker)
            if len(marks) >= 25:
                enough.set()
            await handle(packet, arrival_time_ms)

        monkeypatch.setattr(receiver, "_handle_rtp_packet", look)
        await other.setLocalDescription(await other.createAnswer())
        await phone.peer.set_remote(other.localDescription.sdp)
        with anyio.fail_after(10):
            await enough.wait()
    assert marks[:25] == [1] + 24 * [0]


# --- what cannot be used

OFFER = described("05_call_alice_bob", "verto.invite")
ANSWER = described("04_call_echo", "verto.answer")


def without(sdp: str, start: str) -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith(start))


BAD = {
    "nothing": ("", "begin with 'v=0'"),
    "nonsense": ("<html>busy</html>", "begin with 'v=0'"),
    "too long": (OFFER + "a=x:y\r\n" * 20_000, "no more than"),
    "no audio": (OFFER.replace("m=audio", "m=image"), "no audio"),
    "audio refused": (OFFER.replace("m=audio 30222", "m=audio 0"), "no audio"),
    "plain RTP": (OFFER.replace("RTP/SAVPF", "RTP/AVP"), "no audio"),
    "no credentials": (without(OFFER, "a=ice-"), "ICE credentials"),
    "no address": (without(OFFER, "a=candidate"), "no address"),
    "an address for RTCP alone": (OFFER.replace("a=candidate:6151585852 1 ", "a=candidate:6151585852 2 "), "no address"),
    "no certificate": (without(OFFER, "a=fingerprint"), "certificate"),
    "an old hash": (OFFER.replace("sha-256", "md5"), "certificate"),
    "RTCP of its own": (without(OFFER, "a=rtcp-mux"), "rtcp-mux"),
    "no setup": (without(OFFER, "a=setup"), "a=setup"),
    "half a line": (OFFER.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256"), "certificate"),
    "half an address": (OFFER.replace(" typ host generation 0", ""), "cannot be read"),
    "no number": (OFFER.replace("opus/48000", "opus/fast"), "cannot be read"),
}


@pytest.mark.parametrize(("sdp", "words"), BAD.values(), ids=BAD)
async def test_what_cannot_be_used_is_told_and_leaves_nothing(sdp: str, words: str) -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        with pytest.raises(SdpError, match=words) as raised:
            await peer.answer(sdp)
        assert raised.value.remedy
        assert not raised.value.retryable
        # The peer is as it was.
        await peer.answer(OFFER)


async def test_no_codec_in_common() -> None:
    settings = attrs.evolve(LOOPBACK, codecs=("G722",))
    async with nothing_left(), AiortcPeer(settings) as peer:
        with pytest.raises(NoCommonCodecError, match="ours are G722, theirs opus, PCMU, PCMA") as raised:
            await peer.answer(OFFER)
    assert (raised.value.ours, raised.value.theirs) == (("G722",), ("opus", "PCMU", "PCMA"))
    async with AiortcPeer(LOOPBACK) as peer:
        with pytest.raises(NoCommonCodecError, match="theirs EVS"):
            await peer.answer(OFFER.replace("opus/48000/2", "EVS/16000").replace("96 0 8", "96"))
        with pytest.raises(NoCommonCodecError):
            # The name is right and the clock is not.
            await peer.answer(
                without(OFFER, "a=rtpmap:").replace("a=ptime", "a=rtpmap:96 opus/8000\r\na=ptime").replace("96 0 8", "96")
            )


async def test_of_strange_codecs_little_is_shown() -> None:
    names = "".join(f"a=rtpmap:{number} \x1b[31m{'x' * 5_000}/8000\r\n" for number in range(96, 108))
    head, _, tail = without(OFFER, "a=rtpmap").partition("m=audio 30222")
    audio = re.sub(r"(RTP/SAVPF)[^\r]*", r"\1 " + " ".join(map(str, range(96, 108))), tail, count=1)
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        with pytest.raises(NoCommonCodecError) as raised:
            await peer.answer(f"{head}m=audio 30222{audio}{names}")
    assert len(str(raised.value)) < 1_500
    assert str(raised.value).isprintable()


async def test_an_answer_that_cannot_be_used() -> None:
    async with nothing_left(), AiortcPeer(LOOPBACK) as peer:
        await peer.offer()
        with pytest.raises(SdpError, match="setup"):
            await peer.set_remote(ANSWER.replace("a=setup:active", "a=setup:actpass"))
        with pytest.raises(SdpError, match="2 sections"):
            await peer.set_remote(ANSWER + "m=video 9 UDP/TLS/RTP/SAVPF 97\r\n")
        await peer.set_remote(ANSWER)


async def test_video_is_refused_and_the_sound_is_not() -> None:
    video = "m=video 30224 RTP/SAVPF 102\r\na=rtpmap:102 VP8/90000\r\na=mid:v\r\n"
    head, _, audio = OFFER.partition("m=audio")
    async with AiortcPeer(LOOPBACK) as peer:
        answer = await peer.answer(f"{head}a=group:BUNDLE v a\r\n{video}m=audio{audio}")
    sections = [line for line in answer.splitlines() if line.startswith("m=")]
    assert sections[0] == "m=video 0 RTP/SAVPF 102"
    assert sections[1].startswith("m=audio ") and not sections[1].startswith("m=audio 0 ")


async def test_a_side_that_never_answers_fails_in_its_time() -> None:
    """FreeSWITCH of the capture is not there any more."""
    async with nothing_left():
        notices = Side(Tone(440), attrs.evolve(LOOPBACK, connect_timeout_seconds=0.3))
        async with notices.peer:
            await notices.peer.answer(OFFER)
            told = await notices.notices.first(MediaFailed)
            assert isinstance(told, MediaFailed)
            assert isinstance(told.error, IceFailedError)
            assert told.error.retryable
            assert "STUN or TURN" in told.error.remedy
            with pytest.raises(IceFailedError):
                await notices.peer.wait_connected()
            # New media can be begun.
            assert await notices.peer.restart()
