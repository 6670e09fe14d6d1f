"""aiortc's connection, made to get on with FreeSWITCH and with computers that have only loopback.

What aiortc needs for that (facts: verto, What an aiortc client needs) is done to one connection and to nobody else's: a host
may use aiortc itself in the same process. Some of it is private in aiortc; ``_check_library`` looks that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import aiortc
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, generate_certificate
from aiortc.rtp import is_rtcp
from cryptography.hazmat.primitives.asymmetric import rsa

from cti_framework.media.errors import MediaUnavailableError
from cti_framework.media.values import MediaSettings

__all__ = ["AdaptedConnection"]

_CERTIFICATES: Final = "_RTCPeerConnection__certificates"
_CREATE_DTLS: Final = "_RTCPeerConnection__createDtlsTransport"
_CONNECT: Final = "_RTCPeerConnection__connect"
_CLOSE_TASK: Final = "_RTCPeerConnection__closeTask"

_CIPHERS: Final = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
    for key in ("ECDSA", "RSA")
).encode()
"""aiortc's own, each for certificates with RSA keys as well: FreeSWITCH's always is one."""

_TALK_SPURT_SECONDS: Final = 0.5


_RSA_BITS: Final = 2048
"""Half of what FreeSWITCH's have: it makes no difference but to how long they take to make."""


class _Certificate(RTCCertificate):
    """Our certificate, and the contexts that take a certificate with an RSA key from the other side."""

    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(_CIPHERS)
        return context


@cache
def _rsa_certificate() -> _Certificate:
    # aiortc names keys of elliptic curves, and uses nothing of them that those of RSA do not have.
    key: Any = rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS)
    return _Certificate(key, generate_certificate(key))


def _check_library(connection: RTCPeerConnection) -> None:
    """Look that what is private in aiortc and used here is there."""
    missing = [name for name in (_CREATE_DTLS, _CONNECT) if not hasattr(RTCPeerConnection, name)]
    if not hasattr(connection, _CERTIFICATES):
        missing.append(_CERTIFICATES)
    if missing:
        raise MediaUnavailableError(
            f"aiortc {aiortc.__version__} is made differently inside: it has no {', '.join(missing)}.",
            remedy="Install aiortc 1.16, which this version of cti-framework was tested with.",
        )


class AdaptedConnection(RTCPeerConnection):
    """aiortc's connection, with what FreeSWITCH needs, and with an end that can be waited for.

    Args:
        settings: How media finds its way.
        on_broken: Called with what aiortc's own task stumbled over.

    Raises:
        MediaUnavailableError: This aiortc is made differently inside.
    """

    def __init__(self, settings: MediaSettings, on_broken: Callable[[Exception], None]) -> None:
        servers = [RTCIceServer(server.url, server.username, server.credential) for server in settings.ice_servers]
        policy = RTCIceTransportPolicy.RELAY if settings.relay_only else RTCIceTransportPolicy.ALL
        # With `None` in place of an empty list aiortc asks a public STUN server of its own choice.
        super().__init__(RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
        _check_library(self)
        self._settings = settings
        self._on_broken = on_broken
        self._running: set[asyncio.Task[None]] = set()
        (certificate,) = getattr(self, _CERTIFICATES)
        ours = _rsa_certificate() if settings.rsa_certificate else _Certificate(certificate._key, certificate._cert)
        setattr(self, _CERTIFICATES, [ours])

    def _RTCPeerConnection__createDtlsTransport(self) -> RTCDtlsTransport:
        transport: RTCDtlsTransport = getattr(super(), _CREATE_DTLS)()
        _clear_markers(transport)
        _choose_addresses(transport, self._settings)
        return transport

    async def _RTCPeerConnection__connect(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await getattr(super(), _CONNECT)()
        except Exception as error:  # noqa: BLE001  # aiortc's own task, which nobody waits for
            if self.signalingState != "closed":
                self._on_broken(error)
        finally:
            self._running.discard(task)

    async def close(self) -> None:
        """Close it, and wait until nothing of it runs any more."""
        transports = [transceiver.receiver.transport for transceiver in self.getTransceivers()]
        receiving = [transport._task for transport in transports]
        await super().close()
        # Its tasks are told to end, and not waited for.
        own = (*self._running, *receiving, getattr(self, _CLOSE_TASK, None))
        ending = {task for task in own if task is not None and task is not asyncio.current_task()}
        if ending:
            await asyncio.wait(ending)
        # Closed in the turn in which an address or the keys were found, it goes on: asks for consent for ever, sends and
        # receives. Stopping what has stopped does nothing.
        for transceiver in self.getTransceivers():
            await transceiver.stop()
        for transport in transports:
            await transport.transport._connection.close()


def _clear_markers(transport: RTCDtlsTransport) -> None:
    """Mark only the first packet of a talk spurt (RFC 3551 4.1): in a bridge FreeSWITCH drops what it has at every mark."""
    send = transport._send_rtp
    last_seconds = float("-inf")

    async def send_marked(data: bytes) -> None:
        nonlocal last_seconds
        if not is_rtcp(data):
            now = asyncio.get_running_loop().time()
            begins, last_seconds = now - last_seconds > _TALK_SPURT_SECONDS, now
            second = data[1] | 0x80 if begins else data[1] & 0x7F
            data = data[:1] + bytes((second,)) + data[2:]
        await send(data)

    vars(transport)["_send_rtp"] = send_marked


def _choose_addresses(transport: RTCDtlsTransport, settings: MediaSettings) -> None:
    """Use the addresses of this computer that the settings name; loopback, which aioice leaves out, where there is no other."""
    connection = transport.transport._connection
    gather = connection.get_component_candidates

    async def gather_chosen(component: int, addresses: list[str]) -> Any:
        if not settings.relay_only:
            addresses = list(settings.host_addresses) or addresses or ["127.0.0.1"]
        # aioice says `int`, and hands it to asyncio.wait().
        return await gather(component, addresses, timeout=settings.gather_timeout_seconds)  # type: ignore[arg-type]

    vars(connection)["get_component_candidates"] = gather_chosen
