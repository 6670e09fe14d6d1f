"""How connections are secured: what is refused, what is trusted, and files that are wrong or change."""

from __future__ import annotations

import gc
import os
import ssl
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from structlog.testing import capture_logs

from cti_framework.clock import SessionClock
from cti_framework.errors import AddressError, SettingsError
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.network import NetworkPolicy, is_exposed
from cti_framework.provider import CtiUser, ProviderContext
from cti_framework.settings import CoreSettings, SystemSettings, describe_settings
from tests.core.tls_front import authority_file, client_files

PASSWORD = "tr0ub4dor-and-3"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context_with(network: NetworkPolicy | None = None) -> ProviderContext:
    return ProviderContext(
        user=CtiUser("ann"),
        settings=None,
        user_settings=None,
        clock=SessionClock(),
        report=lambda *reports: None,
        find_call=lambda call_id: None,
        network=network,
    )


# --- in plain text


@pytest.mark.parametrize(
    "url",
    [
        "ws://pbx.example:871",
        "WS://pbx.example",
        "http://pbx.example:4004/api",
        "ws://192.0.2.7:10022",
        "ws://[2001:db8::1]:10022",
        "ws://127.0.0.1@pbx.example",
        "ws://user:pw@pbx.example/?host=127.0.0.1",
        "ws://127.0.0.1.pbx.example",
        "ws://127.1",
        "ws://localhost.pbx.example",
        "ws://0.0.0.0:10022",
        "ws://",
        "tcp://pbx.example:8021",
        "TCP://10.0.0.1:8021",
    ],
)
def test_plain_text_to_another_computer_is_refused(url: str) -> None:
    assert is_exposed(url)
    with pytest.raises(AddressError, match="is not encrypted") as caught:
        NetworkPolicy().check(url)
    assert "cti.allow_plain_text" in caught.value.remedy
    encrypted = {"ws": "wss", "http": "https", "tcp": "tls"}[url.partition(":")[0].lower()]
    assert f"Write {encrypted}://" in caught.value.remedy
    assert "pw" not in str(caught.value)
    assert not caught.value.retryable
    NetworkPolicy(allow_plain_text=True).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "wss://pbx.example",
        "https://pbx.example:4004",
        "ws://localhost:10022",
        "ws://LOCALHOST:10022",
        "ws://127.0.0.1:10022/engine?x=y",
        "ws://127.200.0.9",
        "http://user:pw@127.0.0.1:4004",
        "ws://[::1]:10022",
        "tls://pbx.example:8022",
        "tcp://127.0.0.1:8021",
        # Nobody connects to these: the transport says what is wrong with them.
        "ftp://pbx.example",
        "ws://[::1",
        "",
    ],
)
def test_the_rest_is_not(url: str) -> None:
    assert not is_exposed(url)
    NetworkPolicy().check(url)


@pytest.mark.anyio
async def test_where_plain_text_is_allowed_a_session_says_so_once() -> None:
    with capture_logs() as logs:
        context = context_with(NetworkPolicy(allow_plain_text=True))
        for _ in range(2):
            assert await context.tls_for("ws://user:pw@pbx.example:871/?token=abc") is None
            assert await context.tls_for("ws://127.0.0.1:871") is None
        assert await context_with(NetworkPolicy(allow_plain_text=True)).tls_for("http://pbx.example") is None
    assert [(line["event"], line["log_level"], line["address"]) for line in logs] == [
        ("cti.connection.plain_text", "warning", "ws://pbx.example:871/"),
        ("cti.connection.plain_text", "warning", "http://pbx.example"),
    ]


@pytest.mark.anyio
async def test_a_provider_opens_no_websocket_in_plain_text() -> None:
    with pytest.raises(AddressError, match=r"ws://pbx\.invalid is not encrypted"):
        async with context_with().open_websocket("ws://pbx.invalid"):
            pytest.fail("it opened")


# --- what is trusted


def test_certificates_and_names_are_checked_and_the_context_is_kept(tmp_path: Path, authority: trustme.CA) -> None:
    own = NetworkPolicy(tls_ca_file=authority_file(authority, tmp_path / "ca.pem"))
    for policy in (NetworkPolicy(), own):
        context = policy.ssl_context()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert policy.ssl_context() is context
    # One's own authority stands in the place of the system's, not beside them.
    assert len(own.ssl_context().get_ca_certs()) == 1


@pytest.mark.anyio
async def test_files_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    reading: list[threading.Thread] = []
    load = NetworkPolicy._load

    def seen(policy: NetworkPolicy) -> ssl.SSLContext:
        reading.append(threading.current_thread())
        return load(policy)

    monkeypatch.setattr(NetworkPolicy, "_load", seen)
    context = context_with(NetworkPolicy())
    first = await context.tls_for("wss://pbx.example")
    assert await context.tls_for("https://pbx.example") is first is not None
    assert await context.tls_for("tls://pbx.example:8022") is first
    assert await context.tls_for("tcp://127.0.0.1:8021") is None
    assert len(reading) == 1
    assert reading[0] is not threading.main_thread()


def test_many_threads_read_once(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = NetworkPolicy(tls_ca_file=authority_file(authority, tmp_path / "ca.pem"))
    load, loads = NetworkPolicy._load, list[None]()

    def seen(policy: NetworkPolicy) -> ssl.SSLContext:
        loads.append(None)
        return load(policy)

    monkeypatch.setattr(NetworkPolicy, "_load", seen)
    given: list[ssl.SSLContext] = []
    threads = [threading.Thread(target=lambda: given.append(policy.ssl_context())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(one) for one in given}) == 1


# --- files that cannot be used


def problem_of(policy: NetworkPolicy) -> str:
    with pytest.raises(SettingsError) as caught:
        policy.ssl_context()
    assert PASSWORD not in "".join(map(str, (caught.value, caught.value.__context__, caught.value.__cause__)))
    (problem,) = caught.value.problems
    return problem


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path, authority: trustme.CA) -> None:
    files = client_files(authority, tmp_path)
    other = client_files(authority, tmp_path, name="other.example")
    closed = client_files(authority, tmp_path, name="closed.example", password=PASSWORD)
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    nowhere = tmp_path / "nowhere.pem"

    def client(certificate: Path, key: Path | None, password: str | None = None) -> NetworkPolicy:
        return NetworkPolicy(tls_client_certificate_file=certificate, tls_client_key_file=key, tls_client_key_password=password)

    assert problem_of(NetworkPolicy(tls_ca_file=nowhere)) == (
        f"cti.tls_ca_file: {nowhere} cannot be read: No such file or directory"
    )
    assert problem_of(NetworkPolicy(tls_ca_file=tmp_path)).startswith(f"cti.tls_ca_file: {tmp_path} ")
    assert problem_of(NetworkPolicy(tls_ca_file=junk)) == f"cti.tls_ca_file: {junk} holds no certificate in PEM"
    assert problem_of(client(nowhere, files.key)).startswith(f"cti.tls_client_certificate_file: {nowhere} cannot be read")
    assert problem_of(client(junk, files.key)) == f"cti.tls_client_certificate_file: {junk} holds no certificate in PEM"
    assert "what they hold is damaged" in problem_of(client(damaged, files.key))
    assert problem_of(client(files.certificate, nowhere)).startswith(f"cti.tls_client_key_file: {nowhere} cannot be read")
    assert problem_of(client(files.certificate, junk)) == f"cti.tls_client_key_file: {junk} holds no key in PEM"
    assert problem_of(client(files.certificate, None)) == f"cti.tls_client_key_file: {files.certificate} holds no key in PEM"
    assert problem_of(client(files.certificate, other.key)) == (
        f"cti.tls_client_key_file: {other.key} is not the key of {files.certificate}"
    )
    assert problem_of(client(closed.certificate, closed.key)) == (
        f"cti.tls_client_key_password: {closed.key} cannot be opened: it has a password"
    )
    assert problem_of(client(closed.certificate, closed.key, PASSWORD[::-1])) == (
        f"cti.tls_client_key_password: {closed.key} cannot be opened: that is not its password"
    )
    # What OpenSSL takes for no password at all.
    for password in ("x" * 2000, "\udcff"):
        assert problem_of(client(closed.certificate, closed.key, password)) == (
            f"cti.tls_client_key_password: {closed.key} cannot be opened: that is not its password"
        )
    client(closed.certificate, closed.key, PASSWORD).ssl_context()
    client(files.certificate, files.key).ssl_context()


def test_nobody_is_asked_for_a_password_at_the_terminal(tmp_path: Path, authority: trustme.CA) -> None:
    closed = client_files(authority, tmp_path, password=PASSWORD)
    program = (
        "from pathlib import Path; from cti_framework.network import NetworkPolicy;"
        f"NetworkPolicy(tls_client_certificate_file=Path({str(closed.certificate)!r}),"
        f" tls_client_key_file=Path({str(closed.key)!r})).ssl_context()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input="\n", capture_output=True, text=True, timeout=30, start_new_session=True
    )
    assert "it has a password" in done.stderr
    assert "Enter PEM pass phrase" not in done.stderr + done.stdout


def test_files_that_change_are_read_again_and_unusable_ones_leave_all_as_it_was(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    path = authority_file(first, tmp_path / "ca.pem")
    policy = NetworkPolicy(tls_ca_file=path)
    before = policy.ssl_context()

    def change(text: bytes, at_seconds: int) -> None:
        path.write_bytes(text)
        # Two writes may fall into one tick of the file system's clock.
        os.utime(path, (at_seconds, at_seconds))

    with capture_logs() as logs:
        change(b"half a certif", 1)
        assert policy.ssl_context() is before
        assert policy.ssl_context() is before
        path.unlink()
        assert policy.ssl_context() is before
    assert [line["event"] for line in logs] == ["cti.tls.files_unusable"] * 2
    assert logs[0]["problems"] == (f"cti.tls_ca_file: {path} holds no certificate in PEM",)
    change(second.cert_pem.bytes(), 2)
    after = policy.ssl_context()
    assert after is not before
    assert after.get_ca_certs() != before.get_ca_certs()
    assert policy.ssl_context() is after


def test_the_password_is_shown_by_nothing() -> None:
    policy = NetworkPolicy(tls_client_key_password=PASSWORD)
    assert PASSWORD not in repr(policy)
    core = CoreSettings(tls_client_key_password=PASSWORD)
    assert PASSWORD not in repr(core)
    assert PASSWORD not in repr(structlog.testing.CapturingLogger()) + repr(NetworkPolicy.of(core))


# --- the settings


def core_from(values: dict[str, Any], **more: Any) -> CoreSettings:
    return SystemSettings.load(values, environ={}, **more).read("cti", CoreSettings)


def test_the_settings_become_the_policy(tmp_path: Path) -> None:
    toml = tmp_path / "pbx.toml"
    toml.write_text('[cti]\ntls_ca_file = "ca.pem"\ntls_client_certificate_file = "/etc/host.crt"\n')
    (tmp_path / "word").write_text(f"{PASSWORD}\n")
    core = core_from(
        {"cti.tls_client_key_file": "~/host.key", "cti.tls_client_key_password": f"file:{tmp_path / 'word'}"}, toml=toml
    )
    assert NetworkPolicy.of(core) == NetworkPolicy(
        tls_ca_file=tmp_path / "ca.pem",
        tls_client_certificate_file=Path("/etc/host.crt"),
        tls_client_key_file=Path.home() / "host.key",
        tls_client_key_password=PASSWORD,
    )
    assert NetworkPolicy.of(core_from({})) == NetworkPolicy()
    assert NetworkPolicy.of(core_from({"cti.allow_plain_text": "yes"})).allow_plain_text


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="set tls_client_certificate_file, too"):
        core_from({"cti.tls_client_key_file": "/x"})


SECURING = [
    ("allow_plain_text", True),
    ("tls_ca_file", "/tmp/mine.pem"),
    ("tls_client_certificate_file", "/tmp/mine.pem"),
    ("tls_client_key_file", "/tmp/mine.pem"),
    ("tls_client_key_password", PASSWORD),
]


@pytest.mark.parametrize("spelling", ["cti.{}", "{}", "CTI.{}"])
@pytest.mark.parametrize(("name", "value"), SECURING)
def test_a_users_own_parameters_change_nothing_of_it(name: str, value: object, spelling: str) -> None:
    settings = SystemSettings.load({}, environ={}).with_user({spelling.format(name): value})
    with pytest.raises(SettingsError) as caught:
        settings.read("cti", CoreSettings)
    assert caught.value.problems == (
        f"cti.{name}: only the system may set it, and {spelling.format(name)} in the user's parameters does",
    )
    assert PASSWORD not in str(caught.value)


def test_all_that_secures_is_the_systems_alone_and_says_so() -> None:
    alone = {one.key for one in describe_settings("cti", CoreSettings) if one.system_only}
    assert {f"cti.{name}" for name, _ in SECURING} <= alone


def test_a_users_directory_may_name_a_certificate() -> None:
    directory = SystemSettings.load({}, environ={}).with_user({"cti.tls_ca_file": "/x"}, origin="the directory", references=True)
    assert directory.read("cti", CoreSettings).tls_ca_file == Path("/x")


@pytest.mark.anyio
async def test_a_session_is_not_made_where_a_user_or_a_file_spoils_it(tmp_path: Path) -> None:
    initializer = CtiProviderInitializer({"cti.provider": "dummy"}, environ={})
    mine = CtiUser("100", parameters={"dummy.number": "100", "cti.allow_plain_text": True})
    with pytest.raises(SettingsError, match="only the system may set it"):
        await initializer.create(mine)
    nowhere = CtiProviderInitializer({"cti.provider": "dummy", "cti.tls_ca_file": tmp_path / "ca.pem"}, environ={})
    with pytest.raises(SettingsError, match=r"ca\.pem cannot be read"):
        await nowhere.create(CtiUser("100", parameters={"dummy.number": "100"}))


@pytest.mark.anyio
async def test_sessions_that_are_secured_alike_share_it_and_leave_nothing(tmp_path: Path, authority: trustme.CA) -> None:
    path = authority_file(authority, tmp_path / "ca.pem")
    initializer = CtiProviderInitializer({"cti.provider": "dummy", "cti.tls_ca_file": path}, environ={})
    users = [CtiUser(number, parameters={"dummy.number": number}) for number in ("100", "101")]
    models = [await initializer.create(user) for user in users]
    policies = [model._provider.context.network for model in models]
    assert policies[0] is policies[1]
    assert policies[0].tls_ca_file == path
    context = weakref.ref(policies[0].ssl_context())
    del models, policies
    gc.collect()
    assert context() is None
