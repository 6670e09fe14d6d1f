"""Descriptions in FreeSWITCH's shape: no ``a=mid``, no bundle, RTCP's candidate beside RTP's (facts: verto, SDP). Texts only."""

from __future__ import annotations

import re
import zlib
from typing import Final

__all__ = ["has_common_codec", "written_answer", "written_attach", "written_offer"]

_CODECS: Final = re.compile(r"^a=rtpmap:\d+ (?:opus/48000|PCMU/8000|PCMA/8000)", re.IGNORECASE | re.MULTILINE)
_STATIC: Final = re.compile(r"^m=audio [1-9]\d* \S*RTP/SAVPF?(?: \d+)* (?:0|8)\b", re.MULTILINE)
_OFFERED_OPUS: Final = "useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20; minptime=10; maxptime=40"
_ANSWERED_OPUS: Final = "useinbandfec=1; minptime=10; maxptime=40"


def has_common_codec(sdp: str) -> bool:
    """Look into a client's description without taking it.

    Args:
        sdp: It.

    Returns:
        Whether it is one, with sound that FreeSWITCH can send.
    """
    if not sdp.lstrip().startswith("v=0") or re.search(r"^m=audio [1-9]\d* \S*RTP/SAVPF?\b", sdp, re.MULTILINE) is None:
        return False
    return _CODECS.search(sdp) is not None or _STATIC.search(sdp) is not None


class _Parts:
    """What is taken over from the description of the media peer."""

    def __init__(self, sdp: str) -> None:
        self._lines = sdp.splitlines()
        media = next(line for line in self._lines if line.startswith("m=audio "))
        self.port = media.split(" ")[1]
        self.formats = media.split(" ")[3:]
        self.version = self._value("o=").split(" ")[1]
        address = self._value("c=").rpartition(" ")[2]
        self.address = f"IN {'IP6' if ':' in address else 'IP4'} {address}"
        self.fragment = self._value("a=ice-ufrag:")
        self.password = self._value("a=ice-pwd:")
        self.setup = self._value("a=setup:")
        ssrc, _, cname = self._value("a=ssrc:").partition(" cname:")
        self.ssrc, self.cname = ssrc, cname[:16]
        # Where media finds its way: aiortc has one port, which FreeSWITCH would name so, too.
        self.candidates = [
            line.removeprefix("a=candidate:").split(" ") for line in self._lines if line.startswith("a=candidate:")
        ]

    def fingerprint(self, hash_name: str) -> str:
        return self._value(f"a=fingerprint:{hash_name} ")

    def maps(self, formats: list[str], opus: str) -> list[str]:
        lines = []
        for number in formats:
            name = self._value(f"a=rtpmap:{number} ")
            lines.append(f"a=rtpmap:{number} {name}")
            if name.lower().startswith("opus/"):
                lines.append(f"a=fmtp:{number} {opus}")
        return lines

    def source(self) -> list[str]:
        stream = self.cname * 2
        return [
            f"a=ssrc:{self.ssrc} cname:{self.cname}",
            f"a=ssrc:{self.ssrc} msid:{stream} a0",
            f"a=ssrc:{self.ssrc} mslabel:{stream}",
            f"a=ssrc:{self.ssrc} label:{stream}a0",
        ]

    def head(self) -> list[str]:
        return [
            "v=0",
            f"o=FreeSWITCH {self.version} {int(self.version) + 1} {self.address}",
            "s=FreeSWITCH",
            f"c={self.address}",
            "t=0 0",
            f"a=msid-semantic: WMS {self.cname * 2}",
        ]

    def ways(self, *components: str) -> list[str]:
        lines = [f"a=ice-ufrag:{self.fragment}", f"a=ice-pwd:{self.password}"]
        for foundation, _, protocol, priority, address, port, *_ in self.candidates:
            # FreeSWITCH's have ten figures; aiortc's are hashes.
            number = zlib.crc32(foundation.encode()) + 10**9
            lines += [
                f"a=candidate:{number} {component} {protocol} {priority} {address} {port} typ host generation 0"
                for component in components
            ]
        return lines

    def _value(self, start: str) -> str:
        return next((line.removeprefix(start) for line in self._lines if line.startswith(start)), "")


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


def written_offer(sdp: str, *, is_agreed: bool) -> str:
    """Write an offer to whoever is called.

    Args:
        sdp: The media peer's.
        is_agreed: Whether the other side has agreed on a codec already: then no other one is offered.

    Returns:
        It, as FreeSWITCH writes one.
    """
    parts = _Parts(sdp)
    formats = parts.formats[:1] if is_agreed else parts.formats
    opus = _OFFERED_OPUS if is_agreed else f"{_OFFERED_OPUS}; stereo=1"
    return _joined(
        [
            *parts.head(),
            f"m=audio {parts.port} RTP/SAVPF {' '.join(formats)}",
            *parts.maps(formats, opus),
            f"a=fingerprint:sha-256 {parts.fingerprint('sha-256')}",
            "a=setup:actpass",
            "a=rtcp-mux",
            f"a=rtcp:{parts.port} {parts.address}",
            *parts.source(),
            *parts.ways("1", "2"),
            "a=silenceSupp:off - - - -",
            "a=ptime:20",
            "a=sendrecv",
        ]
    )


def written_answer(sdp: str) -> str:
    """Write an answer to whoever calls, or wants new media.

    Args:
        sdp: The media peer's.

    Returns:
        It, as FreeSWITCH writes one: with one codec.
    """
    parts = _Parts(sdp)
    return _joined([*_agreed(parts, "sha-256", parts.setup), *parts.ways("1"), "a=end-of-candidates", *parts.source()])


def written_attach(sdp: str) -> str:
    """Write an offer of new media to whoever came back.

    Args:
        sdp: The media peer's.

    Returns:
        It, as FreeSWITCH writes one.
    """
    parts = _Parts(sdp)
    return _joined([*_agreed(parts, "sha-512", "actpass"), *parts.ways("1", "2"), "a=end-of-candidates", *parts.source()])


def _agreed(parts: _Parts, hash_name: str, setup: str) -> list[str]:
    codec = parts.formats[0]
    return [
        *parts.head(),
        f"m=audio {parts.port} UDP/TLS/RTP/SAVPF {codec}",
        *parts.maps([codec], _ANSWERED_OPUS),
        "a=silenceSupp:off - - - -",
        "a=ptime:20",
        "a=sendrecv",
        f"a=fingerprint:{hash_name} {parts.fingerprint(hash_name)}",
        f"a=setup:{setup}",
        "a=rtcp-mux",
        f"a=rtcp:{parts.port} {parts.address}",
    ]
