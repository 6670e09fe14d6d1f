"""Looking at an address: its name, its port, its certificate, its clock, what speaks there. No user is needed for it."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.tls import TLSAttribute

from cti_framework.diagnosis import Checks, Endpoint, Finding, StepState
from cti_framework.errors import NetworkError, OutageKind, ProtocolError
from cti_framework.network import NetworkPolicy, is_exposed
from cti_framework.session_checks import clock_finding
from cti_framework.threads import call_in_thread

__all__ = ["check_endpoint"]

_STEP_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 8.0
"""For one address, so that it is told by name before the step is over."""
_EXPIRES_SOON_DAYS: Final = 30
_DAY_SECONDS: Final = 86_400
_LONGEST_HEAD_BYTES: Final = 16_384
_UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


async def check_endpoint(checks: Checks, endpoint: Endpoint, network: NetworkPolicy) -> None:
    """Take all steps of one address.

    Args:
        checks: Takes them.
        endpoint: Which.
        network: How connections are secured.
    """
    looked = _Looked(endpoint, network)
    name = endpoint.name

    async def check(what: str, act: Callable[[], Awaitable[Finding | str]], *needs: str, also: Sequence[str] = ()) -> None:
        needed = [*(f"{name}: {need}" for need in needs), *also]
        await checks.check(f"{name}: {what}", act, needs=needed, timeout_seconds=_STEP_SECONDS)

    await check("address", looked.address)
    await check("encryption", looked.encryption, "address")
    await check("name", looked.name, "address")
    await check("port", looked.port, "name")
    ground = "port"
    if endpoint.is_encrypted:
        ground = "certificate"
        await check(ground, looked.certificate, "port", also=["tls_files"])
    if endpoint.scheme in ("ws", "wss", "http", "https"):
        # What is not encrypted and may not be is not spoken to.
        await check("clock", looked.clock, "encryption", ground)
    if endpoint.scheme in ("ws", "wss"):
        await check("handshake", looked.handshake, "encryption", ground)


class _Looked:
    """What one step leaves for the next."""

    def __init__(self, endpoint: Endpoint, network: NetworkPolicy) -> None:
        self._endpoint = endpoint
        self._network = network
        self._host = ""
        self._port = 0
        self._addresses: tuple[str, ...] = ()

    @property
    def _place(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def address(self) -> str:
        self._host, self._port = self._endpoint.place()
        return f"The {self._endpoint.name} is at {self._place}."

    async def encryption(self) -> Finding | str:
        self._network.check(self._endpoint.url)
        if is_exposed(self._endpoint.url):
            return Finding(
                "Nothing on the way is encrypted: passwords and calls can be read.",
                StepState.WARNING,
                remedy="The setting cti.allow_plain_text allows it; use wss:// if it can be had.",
            )
        if self._endpoint.is_encrypted:
            return "TLS."
        if self._endpoint.scheme == "tcp":
            return "By TCP alone; what the protocol does beyond that is its own affair."
        return "None is needed: nothing leaves this computer."

    async def name(self) -> str:
        try:
            # Not the loop's own way: on asyncio that leaves threads behind.
            found = await call_in_thread("cti: name", _addresses_of, self._host, self._port)
        except (OSError, UnicodeError):
            raise NetworkError(
                f"The host name {self._host} is not known.",
                kind=OutageKind.NAME_UNKNOWN,
                remedy="Check the name and the name server.",
            ) from None
        self._addresses = found
        return f"{self._host} is {', '.join(found)}."

    async def port(self) -> Finding | str:
        began = time.monotonic()
        failures: dict[str, NetworkError] = {}

        async def knock(address: str) -> None:
            with anyio.move_on_after(_CONNECT_SECONDS):
                try:
                    async with _connected(self._place, address, self._port):
                        return
                except NetworkError as error:
                    failures[address] = error
                    return
            failures[address] = NetworkError(
                f"{self._place} did not answer within {_CONNECT_SECONDS:g} s.",
                kind=OutageKind.NO_ANSWER,
                remedy="Check address, network and firewall: something there neither answers nor refuses.",
            )

        # At once: one that is silent must not use up the time of the others.
        async with anyio.create_task_group() as tasks:
            for address in self._addresses:
                tasks.start_soon(knock, address)
        if not failures:
            return f"{self._place} takes connections, after {(time.monotonic() - began) * 1000:.0f} ms."
        deaf = [address for address in self._addresses if address in failures]
        answering = [address for address in self._addresses if address not in failures]
        if not answering:
            raise failures[deaf[0]]
        self._addresses = tuple(answering)
        return Finding(
            f"{self._place} takes connections at {', '.join(answering)}, and not at {', '.join(deaf)}.",
            StepState.WARNING,
            remedy="Take the addresses out of the name server that nobody listens at: trying them costs time.",
        )

    async def certificate(self) -> Finding | str:
        async with self._open() as stream:
            told = stream.extra(TLSAttribute.peer_certificate) or {}
            version = stream.extra(TLSAttribute.tls_version)
        ends_at = ssl.cert_time_to_seconds(str(told["notAfter"]))
        days = int((ends_at - time.time()) // _DAY_SECONDS)
        until = datetime.fromtimestamp(ends_at, UTC).date().isoformat()
        said = f"{version}; the certificate, of {_organisation(told)}, is good until {until}, {days} days."
        if days < _EXPIRES_SOON_DAYS:
            return Finding(said, StepState.WARNING, remedy="Have it renewed: on that day nobody can connect any more.")
        return said

    async def clock(self) -> Finding:
        request = f"GET / HTTP/1.1\r\nHost: {self._place}\r\nConnection: close\r\n\r\n".encode()
        async with self._open() as stream:
            sent_at = time.time()
            await stream.send(request)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD_BYTES:
                try:
                    head += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    break
            heard_at = time.time()
        for line in head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n"):
            key, _, value = line.partition(":")
            if key.strip().lower() == "date":
                try:
                    told = parsedate_to_datetime(value.strip())
                except ValueError:
                    break
                # The header tells whole seconds: half of one is the best guess of what it leaves out.
                return clock_finding(told.timestamp() + 0.5 - (sent_at + heard_at) / 2)
        return Finding(f"{self._place} tells no time.", StepState.SKIPPED)

    async def handshake(self) -> str:
        # The WebSocket library is loaded by whoever needs it.
        from cti_framework.transport import open_websocket

        began = time.monotonic()
        async with open_websocket(self._endpoint.url, ssl_context=await self._tls(), ping_interval_seconds=None):
            return f"A WebSocket opens, after {(time.monotonic() - began) * 1000:.0f} ms."

    async def _tls(self) -> ssl.SSLContext | None:
        if not self._endpoint.is_encrypted:
            return None
        return self._network.ready_ssl_context or await call_in_thread("cti: tls", self._network.ssl_context)

    def _open(self) -> Any:
        return _secured(self._place, self._host, self._addresses[0], self._port, self._tls)


@asynccontextmanager
async def _connected(place: str, address: str, port: int) -> AsyncIterator[anyio.abc.SocketStream]:
    try:
        stream = await anyio.connect_tcp(address, port)
    except OSError as error:
        raise _not_reached(place, error) from None
    async with stream:
        yield stream


@asynccontextmanager
async def _secured(
    place: str, host: str, address: str, port: int, tls: Callable[[], Awaitable[ssl.SSLContext | None]]
) -> AsyncIterator[anyio.abc.ByteStream]:
    context = await tls()
    if context is None:
        async with _connected(place, address, port) as plain:
            yield plain
        return
    try:
        stream = await anyio.connect_tcp(
            address, port, ssl_context=context, tls_hostname=host.partition("%")[0], tls_standard_compatible=False
        )
    except ssl.SSLCertVerificationError as error:
        # What a connection of the provider would say; the WebSocket library is loaded by whoever needs it.
        from cti_framework.transport._failures import certificate_remedy

        raise NetworkError(
            f"The certificate of {place} is not trusted: {error.verify_message.rstrip('.')}.",
            kind=OutageKind.TLS_NOT_TRUSTED,
            remedy=certificate_remedy(error.verify_code),
        ) from None
    except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        reason = getattr(error, "reason", None) or "the peer broke it off"
        raise ProtocolError(
            f"TLS with {place} failed: {reason}.",
            retryable=False,
            remedy="Check that the port speaks TLS; where it asks for this host's certificate: cti.tls_client_certificate_file.",
        ) from None
    except OSError as error:
        raise _not_reached(place, error) from None
    async with stream:
        yield stream


def _addresses_of(host: str, port: int) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _not_reached(place: str, error: OSError) -> NetworkError:
    numbers = {cause.errno for cause in _causes(error) if isinstance(cause, OSError)}
    if errno.ECONNREFUSED in numbers:
        return NetworkError(
            f"{place} refuses connections.", kind=OutageKind.REFUSED, remedy="Check the port, and that the PBX runs."
        )
    if numbers & _UNREACHABLE:
        return NetworkError(f"There is no way to {place}.", kind=OutageKind.UNREACHABLE, remedy="Check the network.")
    return NetworkError(
        f"{place} cannot be connected to: {error.strerror or type(error).__name__}.",
        kind=OutageKind.NO_ANSWER,
        remedy="Check address, network and firewall.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    if error is None:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    yield from _causes(error.__cause__)


def _organisation(certificate: Any) -> str:
    """Name the authority, as well as it names itself."""
    named = {key: value for group in certificate.get("issuer", ()) for key, value in group}
    return str(named.get("organizationName") or named.get("commonName") or "an authority without a name")
