"""The settings under ``media.``: which devices, which way through the network. They are the same for every PBX."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs

from cti_framework.media.values import IceServer, MediaSettings
from cti_framework.settings import MEDIA_PREFIX, setting

__all__ = ["MEDIA_PREFIX", "MediaOptions"]

_DEFAULTS: Final = MediaSettings()
_POSITIVE: Final = attrs.validators.gt(0)


def _are_stun(_: object, __: object, servers: tuple[str, ...]) -> None:
    _check_servers(servers, ("stun:",), "STUN server, as stun:stun.example.com:3478")


def _are_turn(_: object, __: object, servers: tuple[str, ...]) -> None:
    _check_servers(servers, ("turn:", "turns:"), "TURN server, as turn:turn.example.com:3478 or turns:turn.example.com:5349")


def _check_servers(servers: tuple[str, ...], schemes: tuple[str, ...], what: str) -> None:
    for url in servers:
        try:
            is_one = url.startswith(schemes) and bool(IceServer(url=url))
        except ValueError:
            is_one = False
        if not is_one:
            raise ValueError(f"{url!r} is no address of a {what}")


def _are_addresses(_: object, __: object, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            raise ValueError(f"{address!r} is no IP address of this computer") from None


def _are_codecs(_: object, __: object, codecs: tuple[str, ...]) -> None:
    MediaSettings(codecs=codecs)


@attrs.frozen(kw_only=True)
class MediaOptions:
    """What is read for the web phone's sound, under ``media.``, of the system and of each user.

    Attributes:
        microphone: The microphone's name, or a part of it that is no other's; ``None``: the computer's default.
        speaker: The speaker's name, likewise.
        ring_device: The device on which it rings, likewise: the loudspeakers, say, where the speaker is a headset.
        ring_file: What is played when a call comes in: any audio file, over and over; ``None``: a ring tone.
        stun_servers: Where this computer asks for its address outside: ``stun:host:port``. None by default: nobody is asked.
        turn_servers: Who relays the sound where there is no other way: ``turn:host:port``, ``turns:host:port``.
        turn_username: The name for all of them.
        turn_password: The password for all of them.
        relay_only: Whether only the TURN servers' addresses are used and shown.
        host_addresses: The addresses of this computer to use; none: all of them.
        codecs: What is offered and accepted, best first, of ``opus``, ``G722``, ``PCMU``, ``PCMA``.
        connect_timeout_seconds: How long addresses and keys may take before a call counts as one without sound.
        gather_timeout_seconds: How long STUN and TURN servers have for their answers.
        quality_interval_seconds: How often the quality of the sound is measured and told.

    Raises:
        ValueError: ``relay_only`` without a TURN server: no call could have sound.
    """

    microphone: str | None = setting(default=None, help="The microphone's name, or a part of it.")
    speaker: str | None = setting(default=None, help="The speaker's name, or a part of it.")
    ring_device: str | None = setting(default=None, help="The device on which it rings when a call comes in.")
    ring_file: Path | None = setting(default=None, help="What is played when a call comes in, instead of a ring tone.")
    stun_servers: tuple[str, ...] = setting(
        default=(), validator=_are_stun, help="Servers that tell this computer its address outside."
    )
    turn_servers: tuple[str, ...] = setting(
        default=(), validator=_are_turn, help="Servers that relay the sound where there is no other way."
    )
    turn_username: str | None = setting(default=None, help="The user name for the TURN servers.")
    turn_password: str | None = setting(default=None, secret=True, help="The password for the TURN servers.")
    relay_only: bool = setting(default=False, help="Use the TURN servers only, and show no address of this computer.")
    host_addresses: tuple[str, ...] = setting(
        default=(), validator=_are_addresses, help="The addresses of this computer to use; all where none is named."
    )
    codecs: tuple[str, ...] = setting(
        default=_DEFAULTS.codecs, validator=_are_codecs, help="What is offered and accepted, best first."
    )
    connect_timeout_seconds: float = setting(
        default=_DEFAULTS.connect_timeout_seconds, validator=_POSITIVE, help="Time for a call's sound to find its way."
    )
    gather_timeout_seconds: float = setting(
        default=_DEFAULTS.gather_timeout_seconds, validator=_POSITIVE, help="Time for the answers of STUN and TURN servers."
    )
    quality_interval_seconds: float = setting(
        default=_DEFAULTS.quality_interval_seconds, validator=_POSITIVE, help="How often the quality of the sound is measured."
    )

    def __attrs_post_init__(self) -> None:
        if self.relay_only and not self.turn_servers:
            raise ValueError("relay_only needs turn_servers: there is no way for any sound")

    def media_settings(self) -> MediaSettings:
        """Give what a peer is made with.

        Returns:
            How media finds its way.
        """
        turn: dict[str, Any] = {"username": self.turn_username, "credential": self.turn_password}
        return MediaSettings(
            ice_servers=(
                *(IceServer(url=url) for url in self.stun_servers),
                *(IceServer(url=url, **turn) for url in self.turn_servers),
            ),
            relay_only=self.relay_only,
            host_addresses=self.host_addresses,
            codecs=self.codecs,
            gather_timeout_seconds=self.gather_timeout_seconds,
            connect_timeout_seconds=self.connect_timeout_seconds,
            quality_interval_seconds=self.quality_interval_seconds,
        )
