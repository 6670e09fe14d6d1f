"""SDP as the other side writes it, made into what an ordinary WebRTC stack takes; and back. Texts only, no I/O.

FreeSWITCH writes no ``a=mid`` and, in an offer, no ``a=end-of-candidates`` though none follow (facts: verto, SDP). Without the
first nothing fits together, without the second a side that cannot be reached is waited for for ever.

One audio section is used. Any other section (video, data, more audio) is refused in the answer as RFC 3264 6 says: port 0, at
its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from cti_framework.media.errors import SdpError

__all__ = ["RemoteSdp", "complete_answer", "read_remote", "shown"]

_LONGEST: Final = 65_536
_HASHES: Final = ("sha-256", "sha-384", "sha-512")
_DIRECTIONS: Final = {"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"}
_STATIC: Final = {"0": "PCMU", "8": "PCMA", "9": "G722"}
_AUDIO: Final = re.compile(r"m=audio \d{1,5} (?:UDP/TLS/)?RTP/SAVPF?(?: \d{1,3})+")
_SECTION: Final = re.compile(r"m=\S+ \S+ \S+ .+")
_PORT: Final = re.compile(r"0*(\d{1,5})", re.ASCII)
_MOST_ADDRESSES: Final = 100
"""Each is tried: more would make a stranger's SDP knock at as many doors, and hold up the event loop."""
_MOST_SHOWN: Final = 64
_OPUS_LIMIT: Final = re.compile(r"\bmaxaveragebitrate=(\d{4,6})\b")


@attrs.frozen(kw_only=True)
class RemoteSdp:
    """The other side's description. It holds keys of the media: no ``repr`` shows them.

    Attributes:
        text: What a WebRTC stack is given: the one audio section, completed.
        user_fragment: The ICE user fragment: another one means new media.
        codecs: The names of the codecs, as written.
        opus_bits_per_second: The most that the other side wants of Opus (RFC 7587 6.1); ``None``: it does not say.
        sections: The first lines of all sections, in their order; empty at the place of the audio section that is used.
    """

    text: str = attrs.field(repr=False)
    user_fragment: str = attrs.field(repr=False)
    codecs: tuple[str, ...]
    opus_bits_per_second: int | None
    sections: tuple[str, ...]


def read_remote(text: str, *, answer: bool) -> RemoteSdp:
    """Check and complete what the other side sent.

    Args:
        text: The SDP.
        answer: Whether it is an answer; otherwise it is an offer.

    Returns:
        What was found in it.

    Raises:
        SdpError: It cannot be used; the sentence says why.
    """
    if not text.lstrip().startswith("v=0"):
        raise SdpError("The other side's SDP is none: it does not begin with 'v=0'.")
    if len(text) > _LONGEST:
        raise SdpError(f"The other side's SDP has {len(text)} characters; no more than {_LONGEST} are read.")
    session, sections = _sections(text)
    index = next((index for index, lines in enumerate(sections) if _is_used(lines[0])), None)
    if index is None:
        raise SdpError("The other side's SDP has no audio, or not as WebRTC: no section 'm=audio … RTP/SAVPF' with a port.")
    if answer and len(sections) > 1:
        raise SdpError(f"The other side's answer has {len(sections)} sections, the offer had one.")
    broken = next((lines[0] for lines in sections if not _SECTION.fullmatch(lines[0])), None)
    if broken is not None:
        raise SdpError(f"The other side's SDP has a section that says not what it is: {shown(broken)!r}.")
    audio = _with_usable_addresses(sections[index])
    fragment = _first(session, audio, "ice-ufrag")
    if not fragment or not _first(session, audio, "ice-pwd"):
        raise SdpError("The other side's SDP has no ICE credentials (ice-ufrag, ice-pwd).")
    if not any(value.split(" ")[1:2] == ["1"] for value in _values(audio, "candidate")):
        raise SdpError(
            "The other side's SDP has no address that can be used (a=candidate), and none can come later: nothing is trickled."
        )
    fingerprints = [*_values(session, "fingerprint"), *_values(audio, "fingerprint")]
    if not any(value.split(" ")[0].lower() in _HASHES for value in fingerprints):
        raise SdpError(
            "The other side's SDP names no certificate (fingerprint by SHA-256, 384 or 512): the media would not be secret."
        )
    if "a=rtcp-mux" not in audio:
        raise SdpError("The other side's SDP wants RTCP at a port of its own; WebRTC needs a=rtcp-mux.")
    setup = _first(session, audio, "setup")
    if setup not in (("active", "passive") if answer else ("actpass", "active", "passive")):
        raise SdpError(f"The other side's SDP does not say who begins the keys' agreement: a=setup is {shown(setup)!r}.")
    limits = [int(limit) for value in _values(audio, "fmtp") for limit in _OPUS_LIMIT.findall(value)]
    return RemoteSdp(
        text=_joined([*(line for line in session if not line.startswith("a=group:")), *_completed(session, audio)]),
        user_fragment=fragment,
        codecs=_codecs(audio),
        opus_bits_per_second=min(limits, default=None),
        sections=tuple("" if place == index else lines[0] for place, lines in enumerate(sections)),
    )


def shown(text: str) -> str:
    """Make of a stranger's text what may stand in an error: short, and without what a terminal would obey.

    Args:
        text: It.

    Returns:
        Its beginning, with a question mark in place of each character that is not printed.
    """
    cut = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def complete_answer(text: str, remote: RemoteSdp) -> str:
    """Put the refused sections of an offer into our answer to it.

    Args:
        text: Our answer, with its one audio section.
        remote: The offer.

    Returns:
        The answer, section for section that of the offer.
    """
    if len(remote.sections) == 1:
        return text
    session, (audio,) = _sections(text)
    lines = list(session)
    for first in remote.sections:
        if first:
            kind, _, rest = first.split(" ", 2)
            lines += [f"{kind} 0 {rest}", "c=IN IP4 0.0.0.0", "a=inactive"]
        else:
            lines += audio
    return _joined(lines)


def _sections(text: str) -> tuple[list[str], list[list[str]]]:
    session: list[str] = []
    sections: list[list[str]] = []
    for line in text.splitlines():
        if stripped := line.strip():
            if stripped.startswith("m="):
                sections.append([stripped])
            else:
                (sections[-1] if sections else session).append(stripped)
    return session, sections


def _is_used(first: str) -> bool:
    return _AUDIO.fullmatch(first) is not None and first.split(" ")[1] != "0"


def _values(lines: Iterable[str], name: str) -> list[str]:
    return [line.partition(":")[2].strip() for line in lines if line.startswith(f"a={name}:")]


def _first(session: list[str], section: list[str], name: str) -> str:
    """Give an attribute of a section, or the session's where the section has none of its own."""
    return next(iter(_values(section, name) or _values(session, name)), "")


def _completed(session: list[str], audio: list[str]) -> list[str]:
    added = []
    if not _DIRECTIONS & set(audio):
        added.append(next((line for line in session if line in _DIRECTIONS), "a=sendrecv"))
    if not _values(audio, "mid"):
        added.append("a=mid:0")
    if "a=end-of-candidates" not in audio:
        added.append("a=end-of-candidates")
    return [*audio, *added]


def _with_usable_addresses(audio: list[str]) -> list[str]:
    """Leave out the addresses whose port is none, which break the socket that all of them share, and those that are too many."""
    kept: list[str] = []
    addresses = 0
    for line in audio:
        if line.startswith("a=candidate:"):
            parts = line.split()
            if len(parts) > 5:
                port = _PORT.fullmatch(parts[5])
                if port is None or not 0 < int(port[1]) < 65_536:
                    continue
            addresses += 1
            if addresses > _MOST_ADDRESSES:
                continue
        kept.append(line)
    return kept


def _codecs(audio: list[str]) -> tuple[str, ...]:
    named = dict(value.split(" ", 1) for value in _values(audio, "rtpmap") if " " in value)
    formats = audio[0].split(" ")[3:]
    return tuple(named[number].partition("/")[0] if number in named else _STATIC.get(number, number) for number in formats)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
