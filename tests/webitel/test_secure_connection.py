"""A session at an engine behind TLS: whom it trusts, who it says that it is, and that nothing leaves in plain text."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from structlog.testing import capture_logs

from cti_framework.errors import (
    AddressError,
    CommandStage,
    ConnectionFailedError,
    ErrorType,
    NetworkError,
    OutageKind,
    ProtocolError,
)
from cti_framework.events import ProviderState
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.network import NetworkPolicy
from cti_framework.provider import CtiUser
from cti_webitel.recordings import RecordingInsecureError, RecordingUnavailableError
from cti_webitel.simulator import serve_webitel
from tests.core.tls_front import authority_file, client_files, server_context, tls_front
from tests.webitel.http_script import answer, serve_script
from tests.webitel.sessions import PATIENCE_SECONDS, model_at

pytestmark = pytest.mark.anyio

UUID = "08080808-0000-4000-8000-000000000008"
LINK = f"{{}}/api/v2/files/{UUID}?x_key=key-of-it&access_token=token-of-it"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def behind_tls(port: int, authority: trustme.CA, **options: Any) -> Iterator[str]:
    with tls_front(port, server_context(authority, **options)) as front:
        yield f"wss://127.0.0.1:{front}"


async def open_error(url: str, **network: Any) -> ConnectionFailedError:
    """What opening a session ends with."""
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(ConnectionFailedError) as caught:
        async with model_at(url, options={"network": NetworkPolicy(**network)}):
            pytest.fail("it opened")
    return caught.value


async def test_by_settings_alone_a_session_trusts_an_authority_of_its_own(authority: trustme.CA, tmp_path: Path) -> None:
    async with serve_webitel(control_port=None) as simulator:
        with behind_tls(simulator.port, authority) as url:
            toml = tmp_path / "pbx.toml"
            toml.write_text(
                f'[cti]\nprovider = "webitel"\ntls_ca_file = "{authority_file(authority, tmp_path / "ca.pem").name}"\n'
                f'[webitel]\nconnection_string = "{url}"\n'
            )
            user = CtiUser("100", parameters={"login": "100@demo.local", "password": "100"})
            with anyio.fail_after(PATIENCE_SECONDS):
                async with CtiProviderInitializer(toml=toml, environ={}).open(user) as model:
                    assert model.provider_state is ProviderState.IN_SERVICE


async def test_without_it_nobody_is_trusted_and_the_error_names_the_setting(authority: trustme.CA, tmp_path: Path) -> None:
    other = authority_file(trustme.CA(), tmp_path / "other.pem")
    async with serve_webitel(control_port=None) as simulator:
        with behind_tls(simulator.port, authority) as url:
            for network in ({}, {"tls_ca_file": other}):
                error = await open_error(url, **network)
                assert isinstance(error, NetworkError)
                assert error.kind is OutageKind.TLS_NOT_TRUSTED
                assert "cti.tls_ca_file" in error.remedy
        own = authority_file(authority, tmp_path / "ca.pem")
        with behind_tls(simulator.port, authority, name="pbx.example") as url:
            error = await open_error(url, tls_ca_file=own)
            assert error.kind is OutageKind.TLS_NOT_TRUSTED
        # A peer without TLS is not spoken to without it.
        error = await open_error(f"wss://127.0.0.1:{simulator.port}", tls_ca_file=own)
        assert isinstance(error, ProtocolError | NetworkError)


async def test_a_host_shows_its_certificate_where_the_peer_wants_one(authority: trustme.CA, tmp_path: Path) -> None:
    own = authority_file(authority, tmp_path / "ca.pem")
    files = client_files(authority, tmp_path, password="hunter2")
    async with serve_webitel(control_port=None) as simulator:
        with behind_tls(simulator.port, authority, asks_client=True) as url:
            policy = NetworkPolicy(
                tls_ca_file=own,
                tls_client_certificate_file=files.certificate,
                tls_client_key_file=files.key,
                tls_client_key_password="hunter2",
            )
            with anyio.fail_after(PATIENCE_SECONDS):
                async with model_at(url, options={"network": policy}) as model:
                    assert model.provider_state is ProviderState.IN_SERVICE
            error = await open_error(url, tls_ca_file=own)
            assert "cti.tls_client_certificate_file" in error.remedy
            assert error.retryable


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
async def test_a_peer_that_refuses_our_certificate_is_told_from_one_that_speaks_no_tls(
    authority: trustme.CA, tmp_path: Path, tls: str
) -> None:
    context = server_context(authority, asks_client=True)
    if tls == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serve_webitel(control_port=None) as simulator:
        with tls_front(simulator.port, context) as port:
            error = await open_error(f"wss://127.0.0.1:{port}", tls_ca_file=authority_file(authority, tmp_path / "ca.pem"))
    assert "cti.tls_client_certificate_file" in error.remedy
    if tls == "1.2":
        # Later versions say it when the handshake is over, and it may be lost then.
        assert error.kind is OutageKind.TLS_NOT_TRUSTED
        assert "lets nobody in without a certificate" in error.message


async def test_plain_text_to_another_computer_opens_no_session() -> None:
    error = await open_error("ws://user:hunter2@pbx.invalid:871/?token=hunter2")
    assert isinstance(error, AddressError)
    assert error.message.startswith("ws://pbx.invalid:871/ is not encrypted")
    assert not error.retryable
    with capture_logs() as logs:
        allowed = await open_error("ws://user:hunter2@pbx.invalid:871/?token=hunter2", allow_plain_text=True)
    # It was tried.
    assert allowed.kind is not OutageKind.ADDRESS
    assert [line["address"] for line in logs if line["event"] == "cti.connection.plain_text"] == ["ws://pbx.invalid:871/"]
    assert "hunter2" not in repr(logs)


# --- recordings


async def test_recordings_trust_and_show_the_same_certificates(authority: trustme.CA, tmp_path: Path) -> None:
    files = client_files(authority, tmp_path)
    policy = NetworkPolicy(
        tls_ca_file=authority_file(authority, tmp_path / "ca.pem"),
        tls_client_certificate_file=files.certificate,
        tls_client_key_file=files.key,
    )
    script = serve_script(answer(body=b"RIFF"), ssl_context=server_context(authority, asks_client=True))
    async with serve_webitel(control_port=None) as simulator, script as served:
        link = LINK.format(served.url)
        async with model_at(simulator, options={"network": policy}) as model:
            file = await model.fetch_recording(link, tmp_path)
            assert file.read_bytes() == b"RIFF"
            file.unlink()
        async with model_at(simulator) as model:
            with pytest.raises(RecordingUnavailableError, match="not trusted") as caught:
                await model.fetch_recording(link, tmp_path)
            assert "cti.tls_ca_file" in caught.value.remedy


async def test_a_link_that_leads_over_a_network_in_plain_text_is_not_followed(tmp_path: Path) -> None:
    async with serve_webitel(control_port=None) as simulator:
        with capture_logs() as logs:
            async with model_at(simulator) as model:
                with pytest.raises(RecordingInsecureError, match=r"http://pbx\.invalid:4004/.* is not encrypted") as caught:
                    await model.fetch_recording(LINK.format("http://pbx.invalid:4004"), tmp_path)
            assert caught.value.stage is CommandStage.NOT_SENT
            assert caught.value.error_type is ErrorType.CONNECTION_CONFIG
            assert caught.value.step == "fetch_recording"
            assert "-of-it" not in str(caught.value)
            assert not any(line["event"] == "cti.connection.plain_text" for line in logs)
            async with model_at(simulator, options={"network": NetworkPolicy(allow_plain_text=True)}) as model:
                with pytest.raises(RecordingUnavailableError):
                    await model.fetch_recording(LINK.format("http://pbx.invalid:4004"), tmp_path)
        assert [line["address"] for line in logs if line["event"] == "cti.connection.plain_text"] == [
            f"http://pbx.invalid:4004/api/v2/files/{UUID}"
        ]
        assert "-of-it" not in repr(logs)


async def test_files_for_tls_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    policy = NetworkPolicy(tls_ca_file=tmp_path / "nowhere.pem")
    async with serve_webitel(control_port=None) as simulator, model_at(simulator, options={"network": policy}) as model:
        with pytest.raises(RecordingInsecureError, match=r"cti\.tls_ca_file: .*nowhere\.pem cannot be read"):
            await model.fetch_recording(LINK.format("https://127.0.0.1:1"), tmp_path)
