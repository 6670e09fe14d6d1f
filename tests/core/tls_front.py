"""TLS for tests: an authority with certificates in files, and a relay that ends TLS in front of a port that speaks none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

__all__ = ["Files", "authority_file", "client_files", "server_context", "tls_front"]


@attrs.frozen
class Files:
    """A certificate and its key."""

    certificate: Path
    key: Path


def authority_file(authority: trustme.CA, path: Path) -> Path:
    """Write an authority as a host is given it."""
    path.write_bytes(authority.cert_pem.bytes())
    return path


def client_files(authority: trustme.CA, folder: Path, *, name: str = "host.example", password: str = "") -> Files:
    """Write a host's certificate and its key, which a password may protect."""
    issued = authority.issue_cert(name)
    files = Files(folder / f"{name}.crt", folder / f"{name}.key")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key = issued.private_key_pem.bytes()
    if password:
        protected = BestAvailableEncryption(password.encode())
        key = load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protected)
    files.key.write_bytes(key)
    return files


def server_context(authority: trustme.CA, *, name: str = "127.0.0.1", asks_client: bool = False) -> ssl.SSLContext:
    """Make what a server needs; one that asks lets nobody in whom the authority has not certified."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    if asks_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@contextmanager
def tls_front(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Serve TLS on loopback, and hand on to another port what comes in it.

    It has threads of its own and sockets that block: of Python's ways to serve TLS, only this one says by an alert why it lets
    nobody in, as other servers do.

    Yields:
        The port that speaks TLS.
    """
    open_sockets: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def start(act: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def relay(raw: socket.socket) -> None:
        outside = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        open_sockets.add(outside)
        try:
            outside.do_handshake()
        except OSError:
            # The alert is out; a reset would overtake it where something unread is left.
            with suppress(OSError):
                outside.shutdown(socket.SHUT_WR)
                while outside.recv(65536):
                    pass
            return
        inside = socket.create_connection(("127.0.0.1", port))
        open_sockets.add(inside)
        back = threading.Thread(target=copy, args=(inside, outside), daemon=True)
        back.start()
        copy(outside, inside)
        back.join()

    def serve() -> None:
        with suppress(OSError):
            while True:
                raw, _ = listener.accept()
                start(relay, raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        start(serve)
        try:
            yield listener.getsockname()[1]
        finally:
            for one in (listener, *open_sockets):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5.0)
            for one in open_sockets:
                one.close()
