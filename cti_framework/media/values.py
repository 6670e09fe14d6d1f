"""What a peer is told, what it says of itself, and what it tells: frozen values."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from cti_framework.errors import CtiError
from cti_framework.media.quality import MediaQuality

__all__ = [
    "AudioFailed",
    "IceServer",
    "MediaConnected",
    "MediaEnded",
    "MediaFailed",
    "MediaNotice",
    "MediaSettings",
    "MediaState",
    "QualityMeasured",
    "SourceEnded",
    "Told",
]

_SERVER: Final = re.compile(r"(?:stun:[^?:\s]+(?::\d{1,5})?|turns?:[^?:\s]+(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?)")
_CODECS: Final = ("opus", "G722", "PCMU", "PCMA")


class MediaState(Enum):
    """How far a peer's media is."""

    NEW = "new"
    """Nothing is agreed yet."""
    CONNECTING = "connecting"
    """Both sides said what they can; addresses and keys are being tried."""
    CONNECTED = "connected"
    """Sound flows."""
    ENDED = "ended"
    """The other side ended the media. New media can be begun."""
    FAILED = "failed"
    """There is no way to the other side, or it was lost. New media can be begun."""
    CLOSED = "closed"
    """The peer is closed for good."""


@attrs.frozen(kw_only=True)
class IceServer:
    """A server that helps two sides behind firewalls to find each other.

    Attributes:
        url: ``stun:host:port``, ``turn:host:port`` or ``turns:host:port``, the latter two also with ``?transport=tcp``.
        username: For TURN.
        credential: For TURN. Never shown.
    """

    url: str = attrs.field()
    username: str | None = None
    credential: str | None = attrs.field(default=None, repr=False)

    @url.validator
    def _check_url(self, _: object, url: str) -> None:
        if _SERVER.fullmatch(url) is None:
            raise ValueError(f"url: {url!r} is no address of a STUN or TURN server, as 'stun:stun.example.com:3478'")


def _positive(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name}: {value!r} is not above 0")


@attrs.frozen(kw_only=True)
class MediaSettings:
    """How media finds its way, the same for all calls of a user.

    Attributes:
        ice_servers: STUN and TURN servers. None by default: nobody outside is asked unless a host wants it.
        relay_only: Only addresses of the TURN server are used and shown: nothing tells the other side this computer's own.
        host_addresses: The addresses of this computer to use. Empty: all but loopback, and loopback where there is no other.
        codecs: What is offered and accepted, best first, of ``opus``, ``G722``, ``PCMU``, ``PCMA``.
        rsa_certificate: Whether this side shows a certificate with an RSA key, as FreeSWITCH does and browsers do not: for what
            stands for a PBX. Making the key takes a moment, once in a process.
        gather_timeout_seconds: How long STUN and TURN servers have for their answers.
        connect_timeout_seconds: How long addresses and keys may take.
        quality_interval_seconds: How often the quality is measured and told while sound flows.
    """

    ice_servers: tuple[IceServer, ...] = ()
    relay_only: bool = False
    host_addresses: tuple[str, ...] = ()
    codecs: tuple[str, ...] = attrs.field(default=_CODECS)
    rsa_certificate: bool = False
    gather_timeout_seconds: float = attrs.field(default=3.0, validator=_positive)
    connect_timeout_seconds: float = attrs.field(default=15.0, validator=_positive)
    quality_interval_seconds: float = attrs.field(default=5.0, validator=_positive)

    @codecs.validator
    def _check_codecs(self, _: object, codecs: tuple[str, ...]) -> None:
        if not codecs or not {codec.lower() for codec in codecs} <= {codec.lower() for codec in _CODECS}:
            raise ValueError(f"codecs: {codecs!r}; one or more of {', '.join(_CODECS)}")


@attrs.frozen
class MediaNotice:
    """Base of what a peer tells by itself."""


@attrs.frozen
class MediaConnected(MediaNotice):
    """Sound flows; told again after new media."""


@attrs.frozen
class MediaEnded(MediaNotice):
    """The other side ended the media, usually just before the signalling says that the call is over."""


@attrs.frozen
class MediaFailed(MediaNotice):
    """There is no way to the other side, or it was lost.

    Attributes:
        error: Why, and what to do.
    """

    error: CtiError


@attrs.frozen
class QualityMeasured(MediaNotice):
    """The quality was measured.

    Attributes:
        quality: What was found, of the time since the last measurement.
    """

    quality: MediaQuality


@attrs.frozen
class SourceEnded(MediaNotice):
    """The source has no more sound, as a file at its end. Silence is sent until another one is given."""


@attrs.frozen
class AudioFailed(MediaNotice):
    """The source or the sink failed in the middle of a call. The call goes on: with silence, or unheard.

    Attributes:
        error: Why, and what to do.
    """

    error: CtiError


Told = Callable[[MediaNotice], None]
"""What a peer tells its notices to."""
