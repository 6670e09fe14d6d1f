"""How a PBX may be spoken to: whose certificates are trusted, who we say that we are, and never in plain text unawares.

What is on the way between a host and its PBX reads along where nothing is encrypted: passwords, who calls whom, links to
recordings. So ``ws://``, ``http://`` and ``tcp://`` go to this computer alone, unless the settings say otherwise, and even then
it is said aloud. Certificates are always checked; who has an authority of their own names its file, and nobody can switch the
check off.

Files are read again when they change: certificates are renewed while a host runs. Where the new ones cannot be used (a program
may be just writing them) those read before stay in use, and the log says so.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Hashable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs
import structlog

from cti_framework.errors import AddressError, SettingsError

if TYPE_CHECKING:
    import ssl

    from cti_framework.settings import CoreSettings

__all__ = ["NetworkPolicy", "is_exposed"]

_ENCRYPTED_INSTEAD: Final = MappingProxyType({"ws": "wss", "http": "https", "tcp": "tls"})
"""What is spoken in plain text, and what is to be spoken in its place."""

_Stamps = tuple[tuple[int, int, int] | None, ...]


def is_exposed(url: str) -> bool:
    """Tell whether what is sent to an address can be read on the way.

    Args:
        url: The address.

    Returns:
        Whether it is ``ws://``, ``http://`` or ``tcp://``, and not certainly on this computer: ``localhost``, ``127.0.0.0/8`` or
        ``::1``. An address that cannot be understood is not: nothing connects to it.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in _ENCRYPTED_INSTEAD and not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        # A name that begins with 127. is a name: whoever owns it says where it leads.
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@attrs.define(eq=False)
class _Loaded:
    """What was read from the files, and what they looked like then."""

    lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)
    context: ssl.SSLContext | None = None
    stamps: _Stamps = ()


@attrs.frozen(kw_only=True)
class NetworkPolicy:
    """How connections are secured. Its ``repr`` tells no secret.

    Attributes:
        tls_ca_file: The authorities to trust, in PEM; ``None``: those of the system.
        tls_client_certificate_file: The certificate by which peers know us, in PEM; ``None``: we have none.
        tls_client_key_file: Its key; ``None``: it is in the same file.
        tls_client_key_password: The key's password.
        allow_plain_text: Whether another computer may be spoken to without encryption.
    """

    tls_ca_file: Path | None = None
    tls_client_certificate_file: Path | None = None
    tls_client_key_file: Path | None = None
    tls_client_key_password: str | None = attrs.field(default=None, repr=False)
    allow_plain_text: bool = False
    _loaded: _Loaded = attrs.field(factory=_Loaded, init=False, eq=False, repr=False)

    @classmethod
    def of(cls, settings: CoreSettings) -> NetworkPolicy:
        """Make the one that the settings describe.

        Args:
            settings: The framework's own.

        Returns:
            It; nothing of it has been read.
        """
        return cls(
            tls_ca_file=settings.tls_ca_file,
            tls_client_certificate_file=settings.tls_client_certificate_file,
            tls_client_key_file=settings.tls_client_key_file,
            tls_client_key_password=settings.tls_client_key_password,
            allow_plain_text=settings.allow_plain_text,
        )

    @property
    def key(self) -> Hashable:
        """What two that secure alike have in common. It holds the password: not to be shown."""
        files = (self.tls_ca_file, self.tls_client_certificate_file, self.tls_client_key_file)
        return (*files, self.tls_client_key_password, self.allow_plain_text)

    @property
    def has_files(self) -> bool:
        """Whether it names files, which may be wrong, and may change."""
        return self.tls_ca_file is not None or self.tls_client_certificate_file is not None

    @property
    def ready_ssl_context(self) -> ssl.SSLContext | None:
        """What `ssl_context` would give, if that is known without reading anything; ``None``: call it, in a thread."""
        return None if self.has_files else self._loaded.context

    def check(self, url: str) -> None:
        """Refuse an address that is spoken to in plain text where that is not allowed.

        Args:
            url: The address.

        Raises:
            AddressError: It is ``ws://``, ``http://`` or ``tcp://`` on another computer, and ``allow_plain_text`` is off.
        """
        if is_exposed(url) and not self.allow_plain_text:
            from cti_framework.transport import safe_url

            encrypted = _ENCRYPTED_INSTEAD[urlsplit(url).scheme]
            raise AddressError(
                f"{safe_url(url)} is not encrypted: whoever is on the way could read passwords and calls. Nothing was sent.",
                remedy=f"Write {encrypted}:// if it can be had there. Where the way is safe by other means, an administrator may"
                " set cti.allow_plain_text.",
            )

    def ssl_context(self) -> ssl.SSLContext:
        """Give what TLS needs. It checks certificates and host names, always.

        It reads files, so it may block; it may be called from any thread. What was read is kept until a file changes.

        Returns:
            The context; the same one as long as nothing changes.

        Raises:
            SettingsError: A file cannot be read, or is not what it has to be.
        """
        loaded = self._loaded
        with loaded.lock:
            stamps = tuple(map(_stamp, (self.tls_ca_file, self.tls_client_certificate_file, self.tls_client_key_file)))
            if loaded.context is not None and stamps == loaded.stamps:
                return loaded.context
            try:
                context = self._load()
            except SettingsError as error:
                if loaded.context is None:
                    raise
                structlog.get_logger("cti_framework").warning("cti.tls.files_unusable", problems=error.problems)
                context = loaded.context
            loaded.context, loaded.stamps = context, stamps
            return context

    def _load(self) -> ssl.SSLContext:
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
        except ssl.SSLError:
            problem = f"cti.tls_ca_file: {self.tls_ca_file} holds no certificate in PEM"
        except OSError as error:
            problem = f"cti.tls_ca_file: {self.tls_ca_file} {_reason(error)}"
        else:
            if self.tls_client_certificate_file is None:
                return context
            try:
                # Without a function OpenSSL would ask at the terminal for a password that is not given.
                context.load_cert_chain(
                    self.tls_client_certificate_file, self.tls_client_key_file, lambda: self.tls_client_key_password or ""
                )
            except (OSError, ValueError) as error:
                # OpenSSL takes no password that is longer than a kilobyte, or that cannot be encoded.
                problem = self._client_problem(error)
            else:
                return context
        raise SettingsError(
            "The files for TLS cannot be used.", problems=(problem,), remedy="Mend the file that is named, or the setting."
        )

    def _client_problem(self, error: OSError | ValueError) -> str:
        """Say which of the two files is at fault: OpenSSL does not."""
        certificate, key = self.tls_client_certificate_file, self.tls_client_key_file
        assert certificate is not None
        certificate_text, unread = _text_of(certificate)
        if unread is not None:
            return f"cti.tls_client_certificate_file: {certificate} {_reason(unread)}"
        if "-----BEGIN CERTIFICATE" not in certificate_text:
            return f"cti.tls_client_certificate_file: {certificate} holds no certificate in PEM"
        key_text, unread = (certificate_text, None) if key is None else _text_of(key)
        if unread is not None:
            return f"cti.tls_client_key_file: {key} {_reason(unread)}"
        if "PRIVATE KEY-----" not in key_text:
            return f"cti.tls_client_key_file: {key or certificate} holds no key in PEM"
        if "MISMATCH" in (getattr(error, "reason", None) or ""):
            return f"cti.tls_client_key_file: {key or certificate} is not the key of {certificate}"
        if "ENCRYPTED" in key_text:
            fault = "that is not its password" if self.tls_client_key_password else "it has a password"
            return f"cti.tls_client_key_password: {key or certificate} cannot be opened: {fault}"
        return f"cti.tls_client_certificate_file: {certificate} and its key cannot be used: what they hold is damaged"


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text_of(path: Path) -> tuple[str, OSError | None]:
    try:
        return path.read_text(encoding="latin-1"), None
    except OSError as error:
        return "", error


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
