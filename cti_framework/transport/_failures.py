"""What ``websockets``, sockets and TLS raise, turned into this framework's errors. The one place where that is done."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)

from cti_framework.errors import AddressError, ConnectionFailedError, NetworkError, OutageKind, ProtocolError

from ._options import Options
from ._port import kind_of_close, safe_url

__all__ = ["certificate_remedy", "closed_failure", "opening_failure", "unread_failure"]

_ADDRESS_REMEDY = "Write it as ws://host:port or wss://host:port."
_BUSY_STATUSES = frozenset({429, 503})
_RETRY_STATUSES = frozenset({408, 425, 500, 502, 504}) | _BUSY_STATUSES
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EHOSTDOWN})
# What a peer says of our certificate: it wants one, or not this one.
_CERTIFICATE_ALERT = re.compile(r"ALERT_(?:.*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)|HANDSHAKE_FAILURE")
# OpenSSL's numbers of what is wrong with a certificate (openssl-verification-options), and what to do.
_OTHER_NAME = frozenset({62, 64})
_NOT_YET, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_RESET = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk an error, what it stands for and what caused it."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member)
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)


def _error_numbers(errors: list[BaseException]) -> set[int]:
    numbers = {error.errno for error in errors if isinstance(error, OSError) and error.errno is not None}
    # asyncio folds the failures of several addresses into one text without an errno.
    for error in errors:
        if isinstance(error, OSError) and error.errno is None:
            numbers.update(int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error)))
    return numbers


def opening_failure(error: Exception, options: Options) -> ConnectionFailedError:
    """Say why a connection could not be opened.

    Args:
        error: What the library raised.
        options: What was to be opened.

    Returns:
        The error to raise, with its cause set unless that names secrets.
    """
    failure = _opening_failure(error, options)
    # The texts of these two quote the whole URL, password and all.
    if isinstance(error, OSError) or not isinstance(error, InvalidURI | InvalidProxy | ValueError | ImportError):
        failure.__cause__ = error
    return failure


def _opening_failure(error: Exception, options: Options) -> ConnectionFailedError:
    place = options.place
    match error:
        case InvalidURI():
            return AddressError(f"{place or 'An empty address'} is not a WebSocket address: {error.msg}.", remedy=_ADDRESS_REMEDY)
        case InvalidProxy():
            return AddressError(
                f"{safe_url(error.proxy)} is not a proxy's address: {error.msg}.", remedy="Write it as http://host:port."
            )
        case ProxyError():
            return NetworkError(
                f"The proxy {safe_url(options.proxy or '')} does not connect to {place}.",
                kind=OutageKind.UNREACHABLE,
                remedy="Check the proxy's settings.",
            )
        case InvalidStatus():
            return _refused_handshake(error, place)
        case ImportError():
            return AddressError(f"{safe_url(options.proxy or '')} is a SOCKS proxy: the package python-socks is needed for it.")
        # An untrusted certificate is a ValueError, too.
        case ValueError() if not isinstance(error, OSError):
            return AddressError(f"{place} is not a WebSocket address: host or port cannot be used.", remedy=_ADDRESS_REMEDY)
        case _:
            return _network_failure(error, options)


def _refused_handshake(error: InvalidStatus, place: str) -> ConnectionFailedError:
    status = error.response.status_code
    said = f"{place} answered the WebSocket handshake with HTTP {status}"
    if status in _RETRY_STATUSES:
        return NetworkError(
            f"{said}.",
            kind=OutageKind.BUSY if status in _BUSY_STATUSES else OutageKind.RESTARTING,
            remedy="What stands behind the proxy is down or overloaded; try again later.",
        )
    if 300 <= status < 400:
        target = safe_url(error.response.headers.get("Location", ""))
        return ProtocolError(
            f"{said}, a redirect to {target or 'nowhere'}.", retryable=False, remedy="Set the address to where it leads."
        )
    return ProtocolError(
        f"{said}: no WebSocket is served there, or not to this client.",
        retryable=False,
        remedy="Check host, port, path and the proxy in front of the PBX.",
    )


def _network_failure(error: Exception, options: Options) -> ConnectionFailedError:
    place = options.place
    errors = list(_causes(error))
    numbers = _error_numbers(errors)
    for cause in errors:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NetworkError(
                f"The TLS certificate of {place} is not trusted: {cause.verify_message.rstrip('.')}.",
                kind=OutageKind.TLS_NOT_TRUSTED,
                remedy=certificate_remedy(cause.verify_code),
            )
        if isinstance(cause, ssl.SSLError) and _CERTIFICATE_ALERT.search(cause.reason or ""):
            return NetworkError(
                f"{place} lets nobody in without a certificate that it trusts: {cause.reason}.",
                kind=OutageKind.TLS_NOT_TRUSTED,
                remedy="Name this host's: cti.tls_client_certificate_file, or an ssl_context that has it.",
            )
        if isinstance(cause, ssl.SSLError):
            return ProtocolError(
                f"TLS with {place} failed: {cause.reason or 'the peer broke it off'}.",
                retryable=False,
                remedy="Check that the port speaks TLS; if it does not, write ws:// for wss://.",
            )
        if isinstance(cause, socket.gaierror):
            return NetworkError(
                f"The host name of {place} is not known.",
                kind=OutageKind.NAME_UNKNOWN,
                remedy="Check the name and the name server.",
            )
    if any(isinstance(cause, ConnectionRefusedError) for cause in errors) or errno.ECONNREFUSED in numbers:
        return NetworkError(
            f"{place} refuses connections.", kind=OutageKind.REFUSED, remedy="Check the port, and that the PBX runs."
        )
    if numbers & _UNREACHABLE:
        return NetworkError(f"There is no way to {place}.", kind=OutageKind.UNREACHABLE, remedy="Check the network.")
    if any(isinstance(cause, ConnectionResetError) for cause in errors) or numbers & _RESET:
        return NetworkError(f"{place} reset the connection during the opening handshake.", remedy=_cut_remedy(options))
    if any(isinstance(cause, TimeoutError) for cause in errors):
        return NetworkError(
            f"{place} did not answer within {options.open_timeout_seconds:g} s.",
            kind=OutageKind.NO_ANSWER,
            remedy="Check address, network and firewall.",
        )
    if any(isinstance(cause, EOFError) for cause in errors):
        return NetworkError(
            f"{place} closed the connection during the opening handshake.",
            remedy=_cut_remedy(options),
        )
    if isinstance(error, InvalidHandshake):
        what = "no HTTP" if isinstance(error, InvalidMessage) else "no proper WebSocket handshake"
        return ProtocolError(f"{place} speaks {what}: another program listens there.", remedy="Check the port.")
    return NetworkError(f"{place} cannot be connected to.")


def certificate_remedy(verify_code: int) -> str:
    """Say what to do about a certificate that is not trusted.

    Args:
        verify_code: OpenSSL's number of what is wrong with it.

    Returns:
        A sentence.
    """
    if verify_code in _OTHER_NAME:
        return "Connect by a name that the certificate is for, or have the PBX given one for this name."
    if verify_code == _EXPIRED:
        return "Have the PBX's certificate renewed; if it is still good, this host's clock is wrong."
    if verify_code == _NOT_YET:
        return "Set this host's clock; if it is right, the PBX's certificate is for a time to come."
    if verify_code == _SELF_SIGNED:
        return "It is signed by itself: name its own file, cti.tls_ca_file, or an ssl_context, or have an authority sign it."
    return "Install the authority that signed it, or name its file: cti.tls_ca_file, or an ssl_context."


def _cut_remedy(options: Options) -> str:
    """Tell what may be wrong where a peer goes without a word."""
    if not options.url.lower().startswith("wss:"):
        return "Check that the port speaks WebSocket; if it speaks TLS, write wss:// for ws://."
    # A refusal that comes after the handshake of TLS 1.3 may be lost on its way, and is on asyncio.
    return (
        "Check that the port speaks TLS. A server that wants a certificate of this host may end it so, too:"
        " cti.tls_client_certificate_file."
    )


def closed_failure(error: ConnectionClosed, options: Options) -> ConnectionFailedError:
    """Say why an open connection ended.

    Args:
        error: What the library raised.
        options: What was opened.

    Returns:
        The error to raise, with its cause set.
    """
    failure = _closed_failure(error, options)
    failure.__cause__ = error
    return failure


def _closed_failure(error: ConnectionClosed, options: Options) -> ConnectionFailedError:
    place = options.place
    sent, received = error.sent, error.rcvd
    if sent is not None and (received is None or not error.rcvd_then_sent):
        match sent.code:
            case 1009:
                return ProtocolError(f"{place} sent a message of more than {options.max_size_bytes} bytes.")
            case 1011 if "ping" in sent.reason:
                return NetworkError(
                    f"{place} did not answer a ping within {options.ping_timeout_seconds:g} s.", kind=OutageKind.FROZEN
                )
            case 1002 | 1007 | 1011:
                return ProtocolError(f"{place} sent what WebSocket does not allow: {sent.reason or sent.code}.")
            case _:
                return NetworkError(f"The connection to {place} was closed by this side.")
    if received is not None:
        reason = f", {received.reason}" if received.reason else ""
        return NetworkError(f"{place} closed the connection (code {received.code}{reason}).", kind=kind_of_close(received.code))
    numbers = _error_numbers(list(_causes(error)))
    if numbers & _RESET:
        return NetworkError(f"{place} reset the connection.")
    if errno.ETIMEDOUT in numbers:
        return NetworkError(f"{place} does not acknowledge what is sent any more.", kind=OutageKind.HALF_OPEN)
    if numbers & _UNREACHABLE:
        return NetworkError(f"There is no way to {place} any more.", kind=OutageKind.UNREACHABLE, remedy="Check the network.")
    return NetworkError(f"The connection to {place} was cut without a closing handshake (code 1006).")


def unread_failure(options: Options) -> NetworkError:
    """Say that a message could not be sent in its time.

    Args:
        options: What was opened.

    Returns:
        The error to raise.
    """
    return NetworkError(f"{options.place} has not read anything for {options.send_timeout_seconds:g} s.", kind=OutageKind.FROZEN)
