"""SDP as text: what is added, what is refused, and nothing that anybody could write breaks it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_framework.media import MediaError, SdpError
from cti_framework.media.sdp import RemoteSdp, complete_answer, read_remote
from tests.media.descriptions import described

OFFER = described("05_call_alice_bob", "verto.invite")
ANSWER = described("04_call_echo", "verto.answer")
VIDEO = "m=video 30224 RTP/SAVPF 102\r\na=rtpmap:102 VP8/90000\r\n"


def test_what_freeswitch_leaves_out_is_added() -> None:
    lines = read_remote(OFFER, answer=False).text.splitlines()
    assert "a=mid:0" in lines
    assert "a=end-of-candidates" in lines
    assert set(OFFER.splitlines()) <= set(lines)


def test_what_is_there_is_not_added_again() -> None:
    offer = OFFER + "a=mid:audio\r\na=end-of-candidates\r\n"
    assert read_remote(offer, answer=False).text == offer
    assert read_remote(ANSWER, answer=True).text.count("a=end-of-candidates") == 1


def test_where_no_direction_is_said_both_are_meant() -> None:
    """RFC 8866 6.7; or the session's own is meant."""
    offer = OFFER.replace("a=sendrecv\r\n", "")
    assert "a=sendrecv" in read_remote(offer, answer=False).text.splitlines()
    held = read_remote(offer.replace("t=0 0\r\n", "t=0 0\r\na=inactive\r\n"), answer=False).text
    assert "a=inactive" in held.partition("m=audio")[2].splitlines()
    assert "a=sendrecv" not in held


def test_what_is_read_of_it() -> None:
    remote = read_remote(OFFER, answer=False)
    assert remote.codecs == ("opus", "PCMU", "PCMA")
    assert remote.user_fragment == "f9BkT30zC9vyBqGh"
    assert remote.opus_bits_per_second == 30_000
    assert read_remote(ANSWER, answer=True).opus_bits_per_second is None


def test_static_formats_need_no_name() -> None:
    offer = "".join(line for line in OFFER.splitlines(keepends=True) if not line.startswith("a=rtpmap"))
    assert read_remote(offer, answer=False).codecs == ("96", "PCMU", "PCMA")


def test_credentials_and_certificate_may_be_the_sessions() -> None:
    moved = [line for line in OFFER.splitlines(keepends=True) if line.startswith(("a=ice-", "a=fingerprint", "a=setup"))]
    rest = "".join(line for line in OFFER.splitlines(keepends=True) if line not in moved)
    head, _, audio = rest.partition("m=audio")
    assert read_remote(head + "".join(moved) + "m=audio" + audio, answer=False).user_fragment == "f9BkT30zC9vyBqGh"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_either_end_of_line(ending: str) -> None:
    assert read_remote(OFFER.replace("\r\n", ending), answer=False) == read_remote(OFFER, answer=False)


def test_other_sections_are_left_out_and_refused_at_their_places() -> None:
    head, _, audio = OFFER.partition("m=audio")
    more = "m=audio 9 RTP/SAVPF 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    offer = f"{head}a=group:BUNDLE 0 1\r\n{VIDEO}m=audio{audio}{more}"
    remote = read_remote(offer, answer=False)
    assert "video" not in remote.text
    assert "a=group" not in remote.text
    answer = complete_answer("v=0\r\ns=-\r\nm=audio 5 RTP/SAVPF 0\r\na=mid:0\r\n", remote)
    assert answer.splitlines() == [
        "v=0",
        "s=-",
        "m=video 0 RTP/SAVPF 102",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        "m=audio 5 RTP/SAVPF 0",
        "a=mid:0",
        "m=audio 0 RTP/SAVPF 0",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
    ]


def test_one_section_is_left_as_it_is() -> None:
    assert complete_answer("v=0\r\nm=audio 9 x 1\r\n", read_remote(OFFER, answer=False)) == "v=0\r\nm=audio 9 x 1\r\n"


@pytest.mark.parametrize("section", ["m=", "m=video", "m=video 9", "m=video 9 RTP/SAVPF", "m=video\t9\tRTP/SAVPF\t102"])
def test_a_section_that_could_not_be_refused_at_its_place(section: str) -> None:
    with pytest.raises(SdpError, match="a section that says not what it is"):
        read_remote(f"{OFFER}{section}\r\n", answer=False)


def addresses(*ports: object) -> str:
    """The offer, with an address for each of the ports in place of its own."""
    audio = "".join(f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n" for port in ports)
    return "".join(line for line in OFFER.splitlines(keepends=True) if not line.startswith("a=candidate")) + audio


@pytest.mark.parametrize("port", [0, 65_536, 99_999, -5, "+5", "9" * 5_000, "٣", "x"])
def test_an_address_whose_port_is_none_is_left_out(port: object) -> None:
    with pytest.raises(SdpError, match="no address"):
        read_remote(addresses(port), answer=False)
    text = read_remote(addresses(port, 40_000), answer=False).text
    assert [line.split()[5] for line in text.splitlines() if line.startswith("a=candidate")] == ["40000"]


def test_of_very_many_addresses_the_first_are_tried() -> None:
    text = read_remote(addresses(*range(10_000, 10_900)), answer=False).text
    assert [int(line.split()[5]) for line in text.splitlines() if line.startswith("a=candidate")] == list(range(10_000, 10_100))


def test_an_error_shows_little_of_it_and_nothing_that_a_terminal_obeys() -> None:
    with pytest.raises(SdpError) as raised:
        read_remote(OFFER.replace("a=setup:actpass", "a=setup:\x1b[31m\x07" + "x" * 30_000), answer=False)
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


def test_its_keys_are_in_no_repr() -> None:
    remote = read_remote(OFFER, answer=False)
    assert "ice-pwd" in remote.text
    assert "ice-pwd" not in repr(remote)
    assert remote.user_fragment not in repr(remote)


def read(text: str, *, answer: bool) -> RemoteSdp | None:
    try:
        return read_remote(text, answer=answer)
    except SdpError as error:
        assert error.remedy
        return None


@given(st.text(), st.booleans())
def test_any_text(text: str, answer: bool) -> None:
    assert read(text, answer=answer) is None
    read("v=0\r\n" + text, answer=answer)


def spoiled(seed: int) -> str:
    """An offer of which some lines are lost, doubled, cut, exchanged, or have another character."""
    chance = random.Random(seed)
    lines = OFFER.splitlines()
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(1, len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 2:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 3:
                lines[at] = lines[at].replace(chance.choice(" :/=10"), chance.choice("xé -9"))
            case _:
                other = chance.randrange(1, len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    return "\r\n".join(lines) + "\r\n"


@pytest.mark.anyio
async def test_a_spoiled_offer_is_answered_or_refused_and_leaves_nothing() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    from cti_framework.media import AiortcPeer
    from tests.media.listening import LOOPBACK, nothing_left

    answered = refused = 0
    async with nothing_left():
        for seed in range(150):
            async with AiortcPeer(LOOPBACK) as peer:
                try:
                    assert "m=audio" in await peer.answer(spoiled(seed))
                    answered += 1
                except MediaError as error:
                    assert error.remedy
                    refused += 1
    assert answered > 10
    assert refused > 10
