"""The walk from the settings to a session: every step can fail, says what to do, and stops nothing that can still be seen."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import attrs
import pytest
import trustme
from structlog.testing import capture_logs
from typed_settings.types import Secret

import cti_framework.plugins
from cti_framework.calls import Call
from cti_framework.cli import main
from cti_framework.deprecation import CtiDeprecationWarning, Deprecation
from cti_framework.diagnosis import Checks, DiagnosisStep, Endpoint, Finding, StepState
from cti_framework.doctor import endpoints, examine
from cti_framework.errors import CommandRefusedError, CredentialsRefusedError, NetworkError
from cti_framework.hooks import hookimpl
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, CtiUser
from cti_framework.reports import Snapshot, Started
from cti_framework.settings import setting
from tests.core.scripted import living, snapshot_of
from tests.core.tls_front import authority_file, server_context, tls_front

pytestmark = pytest.mark.anyio

SECRET = "tr0ub4dor-hunter2"
USER = CtiUser("ann", parameters={"login": "100"})

FAILED, OK, SKIPPED, WARNING = StepState.FAILED, StepState.OK, StepState.SKIPPED, StepState.WARNING


# A provider with an address, and what stands there ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class AcmeSettings:
    url: str = setting()
    password: Secret[str] | None = setting(default=None)
    fault: str = setting(default="")


@attrs.frozen(kw_only=True)
class AcmeUserSettings:
    login: str = setting()


class AcmeProvider(BaseCtiProvider):
    """It connects to nothing, and names an address: what stands there is looked at by the doctor alone."""

    settings_type = AcmeSettings
    user_settings_type = AcmeUserSettings
    runs: ClassVar[list[str]] = []

    @classmethod
    def endpoints(cls, settings: AcmeSettings) -> tuple[Endpoint, ...]:
        return () if settings.url == "none" else (Endpoint("engine", settings.url),)

    async def run(self) -> None:
        fault = self.context.settings.fault
        self.runs.append(fault)
        if fault == "refuses":
            raise CredentialsRefusedError(f"No such user, or not with {SECRET}.", remedy="Ask for a password.")
        if fault == "away":
            raise NetworkError("Nobody answers.", remedy="Switch it on.")
        self.context.clock.observe(self.context.clock.now() + timedelta(seconds=3 if fault == "fast" else 0))
        self.context.report(Started(at=self.context.clock.now()))
        await anyio.sleep_forever()

    async def probe(self) -> None:
        if self.context.settings.fault == "mute":
            raise CommandRefusedError("No answer.", remedy="Wait.")

    async def snapshot(self) -> Snapshot:
        at = self.context.clock.now()
        return Snapshot(at=at, calls=(snapshot_of("a"),), complete=self.context.settings.fault != "partial")

    async def make_call(self, destination: str) -> Call:
        raise CommandRefusedError("Not now.")

    async def drop_call(self, call: Call) -> None:
        raise CommandRefusedError("Not now.")

    async def diagnose(self, checks: Checks) -> None:
        async def phone() -> Finding:
            return Finding(f"No phone for {SECRET}.", WARNING, remedy="Switch it on.")

        if self.context.settings.fault == "raises":
            raise ValueError(SECRET)
        await checks.check("phone", phone)


class Journal:
    told: ClassVar[list[object]] = []

    @hookimpl
    def cti_event(self, event: object) -> None:
        self.told.append(event)


def plugins(**entries: str) -> Plugins:
    values = {"acme": f"{__name__}:AcmeProvider"} | {
        name: value if ":" in value else f"{__name__}:{value}" for name, value in entries.items()
    }
    return Plugins(entry_points=lambda: [EntryPoint(name, value, "cti_framework.providers") for name, value in values.items()])


class _Answers(socketserver.BaseRequestHandler):
    """Answers HTTP with the time that the test says, and opens WebSockets."""

    ahead_seconds = 0.0

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.request.recv(4096)
            if not data:
                return
            head += data
            if not head.startswith(b"GET"):
                self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
        lines = head.decode().split("\r\n")
        asked = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
        date = f"Date: {formatdate(time.time() + self.ahead_seconds, usegmt=True)}"
        if "sec-websocket-key" in asked:
            key = asked["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            answer = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                      f"Sec-WebSocket-Accept: {accept}")  # fmt: skip
        else:
            answer = ("HTTP/1.1 426 Upgrade Required", date, "Content-Length: 0", "Connection: close")
        self.request.sendall("\r\n".join((*answer, "", "")).encode())
        # The close frame, and its answer: empty, with the mask bit off.
        if "sec-websocket-key" in asked and self.request.recv(4096):
            self.request.sendall(b"\x88\x00")


@contextmanager
def engine(*, ahead_seconds: float = 0.0) -> Iterator[int]:
    handler = type("Answers", (_Answers,), {"ahead_seconds": ahead_seconds})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join(5)


async def diagnosed(
    settings: dict[str, Any] | None = None,
    *,
    user: CtiUser = USER,
    environ: dict[str, str] | None = None,
    toml: Path | None = None,
    companions: tuple[object, ...] = (),
    found: Plugins | None = None,
) -> dict[str, DiagnosisStep]:
    """Take all steps, by name, and see that nothing is left behind and no secret was told."""
    before = living()
    told: list[DiagnosisStep] = []
    given = {"cti.provider": "acme", "acme.url": "none", "acme.password": SECRET} | (settings or {})

    def initialize() -> CtiProviderInitializer:
        return CtiProviderInitializer(
            {key: value for key, value in given.items() if value is not None},
            toml=toml,
            environ=environ or {},
            companions=companions,
            plugins=found or plugins(),
        )

    with anyio.fail_after(30):
        steps = await examine(initialize, user, on_step=told.append)
    assert tuple(told) == steps
    assert len({step.step for step in steps}) == len(steps)
    assert SECRET not in repr(steps)
    # A hook's thread ends a moment after its answer.
    with anyio.fail_after(5):
        while living() != before:
            await anyio.lowlevel.checkpoint()
    assert all(step.remedy for step in steps if step.state in (FAILED, WARNING))
    return {step.step: step for step in steps}


def states(steps: dict[str, DiagnosisStep], state: StepState) -> list[str]:
    return [name for name, step in steps.items() if step.state is state]


ALL = [
    "settings_source", "companions", "settings", "tls_files",
    "provider_set", "provider_found", "provider_loadable", "provider_compatible",
    "provider_settings", "secrets", "log_in", "user_connection",
    "endpoints", "engine: address", "engine: encryption", "engine: name", "engine: port", "engine: clock", "engine: handshake",
    "provider_made", "authorisation", "answers", "snapshot", "clock", "phone", "provider_steps",
]  # fmt: skip
IN_SESSION = ["answers", "snapshot", "clock", "provider_steps"]


# All is well -----------------------------------------------------------------------------------------------------------


async def test_every_step_where_all_is_well() -> None:
    with engine() as port:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}", "acme.password": SECRET})
    assert list(steps) == ALL
    assert states(steps, OK) == [name for name in ALL if name != "phone"]
    assert steps["phone"].state is WARNING
    assert steps["phone"].detail == "No phone for ***."
    assert steps["provider_found"].detail.endswith(f"{__name__}:AcmeProvider.")
    assert f"127.0.0.1:{port}" in steps["engine: port"].detail
    assert steps["snapshot"].detail == "The PBX tells 1 call, no agent state."
    assert steps["provider_steps"].detail == "1 step of the provider's own."


async def test_companions_are_asked_and_told_nothing_of_it() -> None:
    Journal.told.clear()

    class Directory:
        @hookimpl
        def cti_user_connection(self, user: CtiUser) -> dict[str, str]:
            return {"acme.login": "100"}

    steps = await diagnosed(user=CtiUser("ann"), companions=(Journal(), Directory()))
    assert steps["companions"].detail == "In use: Journal, Directory."
    assert steps["user_connection"].detail == "There is one, by acme.login in the users directory."
    assert steps["snapshot"].state is OK
    assert Journal.told == []


# Settings and plugins --------------------------------------------------------------------------------------------------


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text(f'password = "{SECRET}')
    steps = await diagnosed(toml=bad)
    assert states(steps, FAILED) == ["settings_source"]
    assert str(bad) in steps["settings_source"].detail
    assert states(steps, SKIPPED) == list(steps)[1:]


@pytest.mark.parametrize(
    ("settings", "failed", "told"),
    [
        ({"cti.providr": "x"}, "settings", "did you mean cti.provider"),
        ({"cti.stall_seconds": "soon"}, "settings", "cti.stall_seconds"),
        ({"cti.tls_ca_file": "/not/there.pem"}, "tls_files", "/not/there.pem"),
        ({"cti.provider": None}, "provider_set", "No provider is chosen"),
        ({"cti.provider": "acne"}, "provider_found", "Did you mean 'acme'?"),
        ({"cti.disabled_plugins": "acme"}, "provider_found", "switched off"),
        ({"cti.provider": "gone"}, "provider_loadable", "No module named"),
        ({"cti.provider": "wrong"}, "provider_compatible", "no subclass of BaseCtiProvider"),
        ({"acme.url": None}, "provider_settings", "acme.url: not set"),
        ({"acme.port": "1"}, "provider_settings", "acme.port in the host's settings: not known"),
        ({"acme.password": "env:NOT_THERE"}, "secrets", "the variable NOT_THERE is not set"),
    ],
)
async def test_what_can_be_wrong_with_settings_and_provider(settings: dict[str, Any], failed: str, told: str) -> None:
    found = plugins(gone="no_such_module:Provider", wrong="Journal")
    if failed == "provider_found" and "cti.disabled_plugins" in settings:
        values = [EntryPoint("acme", f"{__name__}:AcmeProvider", "cti_framework.providers")]
        found = Plugins(disabled=["acme"], entry_points=lambda: values)
    steps = await diagnosed(settings, found=found)
    assert states(steps, FAILED)[0] == failed
    assert told in steps[failed].detail
    # What comes before it is as it should be, and what does not need it is looked at.
    assert states(steps, OK)[0] == "settings_source"
    assert steps["companions"].state is (SKIPPED if "cti.stall_seconds" in settings else OK)
    if failed in ("tls_files", "secrets"):
        assert steps["log_in"].state is OK
    assert not set(states(steps, OK)) & {"authorisation", *IN_SESSION}


async def test_a_provider_that_hangs_in_its_import(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(EntryPoint, "load", lambda self: let_go.wait(20))
    timer = threading.Timer(0.4, let_go.set)
    timer.start()
    steps = await diagnosed_leaving_threads({"cti.load_timeout_seconds": 0.1})
    timer.join()
    with anyio.fail_after(5):
        # It ends by a word to this loop, which must not stand still for it.
        while any(thread.name.startswith("cti: load provider") for thread in threading.enumerate()):
            await anyio.lowlevel.checkpoint()
    assert steps["provider_found"].state is OK
    assert steps["provider_loadable"].state is FAILED
    assert "did not end within 0.1 s" in steps["provider_loadable"].detail
    assert steps["provider_compatible"].state is SKIPPED


async def diagnosed_leaving_threads(settings: dict[str, Any]) -> dict[str, DiagnosisStep]:
    """Take all steps where an import goes on in its thread, which nothing can end."""
    by = CtiProviderInitializer({"cti.provider": "acme", "acme.url": "none"} | settings, environ={}, plugins=plugins())
    return {step.step: step for step in await examine(lambda: by, USER)}


async def test_a_provider_for_a_contract_that_is_about_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    deprecated = MappingProxyType({1: Deprecation("0.2", "0.3", "see the compatibility page.")})
    monkeypatch.setattr(cti_framework.plugins, "PROVIDER_API_DEPRECATED", deprecated)
    with pytest.warns(CtiDeprecationWarning):
        steps = await diagnosed()
    assert steps["provider_compatible"].state is WARNING
    assert "gone in 0.3" in steps["provider_compatible"].detail
    assert steps["authorisation"].state is OK


async def test_a_companion_that_cannot_be_used() -> None:
    def entry_points() -> list[EntryPoint]:
        return [
            EntryPoint("acme", f"{__name__}:AcmeProvider", "cti_framework.providers"),
            EntryPoint("broken", "no_such_module:Journal", "cti_framework.companions"),
            EntryPoint("journal", f"{__name__}:Journal", "cti_framework.companions"),
        ]

    with capture_logs():
        steps = await diagnosed(found=Plugins(entry_points=entry_points))
    assert steps["companions"].state is WARNING
    assert "broken: ModuleNotFoundError" in steps["companions"].detail
    assert steps["authorisation"].state is OK


async def test_a_hook_that_fails_when_it_is_asked_for_settings() -> None:
    class Settings:
        @hookimpl
        def cti_setting(self, key: str) -> str | None:
            if key == "acme.url":
                raise ValueError(SECRET)
            return None

    with capture_logs():
        steps = await diagnosed(companions=(Settings(),))
    assert states(steps, FAILED) == ["provider_settings"]
    assert "'Settings' failed in cti_setting" in steps["provider_settings"].detail
    assert steps["secrets"].state is SKIPPED
    assert steps["log_in"].state is OK


# The user --------------------------------------------------------------------------------------------------------------


async def test_whom_the_host_refuses_is_not_logged_in_but_the_network_is_looked_at() -> None:
    class Licences:
        @hookimpl
        def cti_log_in(self, user: CtiUser) -> bool:
            return False

    AcmeProvider.runs.clear()
    with engine() as port:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"}, companions=(Licences(),))
    assert states(steps, FAILED) == ["log_in"]
    assert states(steps, SKIPPED) == ["provider_made", "authorisation", *IN_SESSION]
    assert steps["engine: handshake"].state is OK
    assert AcmeProvider.runs == []


async def test_a_directory_may_say_how_to_get_there(tmp_path: Path) -> None:
    """What it says is used by the steps behind it, as in a session."""
    authority = trustme.CA()
    trusted = str(authority_file(authority, tmp_path / "ca.pem"))

    with engine() as port, tls_front(port, server_context(authority)) as front:

        class Directory:
            @hookimpl
            def cti_user_connection(self, user: CtiUser) -> dict[str, str]:
                return {"acme.login": "7", "acme.url": f"wss://127.0.0.1:{front}", "cti.tls_ca_file": trusted}

        steps = await diagnosed(companions=(Directory(),))
    assert steps["engine: certificate"].state is OK
    assert steps["engine: handshake"].state is OK


async def test_a_user_without_a_connection() -> None:
    with engine() as port:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"}, user=CtiUser("bob"))
    assert states(steps, FAILED) == ["user_connection"]
    assert "acme.login: not set" in steps["user_connection"].detail
    assert steps["engine: handshake"].state is OK
    assert steps["provider_made"].detail == "Not looked at: it needs user_connection."


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("refuses", {"authorisation": FAILED} | dict.fromkeys(IN_SESSION, SKIPPED)),
        ("away", {"authorisation": FAILED} | dict.fromkeys(IN_SESSION, SKIPPED)),
        ("mute", {"answers": FAILED, "snapshot": OK, "phone": WARNING}),
        ("partial", {"snapshot": WARNING}),
        ("fast", {"clock": WARNING}),
        ("raises", {"provider_steps": FAILED, "clock": OK}),
    ],
)
async def test_what_can_be_wrong_in_the_session(fault: str, expected: dict[str, StepState]) -> None:
    steps = await diagnosed({"acme.fault": fault, "acme.password": SECRET})
    assert {name: steps[name].state for name in expected} == expected
    assert steps["provider_made"].state is OK


# The network -----------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("url", "failed", "told", "skipped"),
    [
        ("pbx.example:871", "address", "no host and port", ["encryption", "name", "port"]),
        ("wss://pbx.invalid:871", "name", "pbx.invalid is not known", ["port", "certificate", "clock", "handshake"]),
        ("tcp://127.0.0.1:PORT", "port", "refuses connections", []),
        ("ws://127.0.0.1:PORT", "port", "refuses connections", ["clock", "handshake"]),
    ],
)
async def test_what_can_be_wrong_with_an_address(url: str, failed: str, told: str, skipped: list[str]) -> None:
    steps = await diagnosed({"acme.url": url.replace("PORT", str(closed_port()))})
    assert states(steps, FAILED) == [f"engine: {failed}"]
    assert told in steps[f"engine: {failed}"].detail
    assert [name.removeprefix("engine: ") for name in states(steps, SKIPPED) if name.startswith("engine")] == skipped
    # The provider may know better than the doctor: it is tried all the same.
    assert steps["authorisation"].state is OK


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's, and refuses nothing")
async def test_a_host_of_which_one_address_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "_addresses_of", lambda host, port: ("127.0.0.2", "127.0.0.1"))
    with engine() as port:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"})
    assert steps["engine: port"].state is WARNING
    assert steps["engine: port"].detail.endswith("at 127.0.0.1, and not at 127.0.0.2.")
    # What comes behind it goes to the one that lives.
    assert steps["engine: clock"].state is OK


async def test_a_silent_address_takes_no_time_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 address that leads nowhere, say, beside the one that is served."""
    monkeypatch.setattr(endpoints, "_CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(endpoints, "_STEP_SECONDS", 2.0)
    with engine() as port:
        silent = [f"127.0.0.{last}" for last in range(2, 20)]
        monkeypatch.setattr(endpoints, "_addresses_of", lambda host, port: (*silent, "127.0.0.1"))
        connect = anyio.connect_tcp

        async def connect_tcp(address: str, port: int, **options: Any) -> Any:
            if address in silent:
                await anyio.sleep_forever()
            return await connect(address, port, **options)

        monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"})
        assert steps["engine: port"].state is WARNING
        assert "takes connections at 127.0.0.1, and not at 127.0.0.2, " in steps["engine: port"].detail
        assert steps["engine: clock"].state is OK

        monkeypatch.setattr(endpoints, "_addresses_of", lambda host, port: tuple(silent))
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"})
    assert steps["engine: port"].state is FAILED
    assert "did not answer within 0.3 s" in steps["engine: port"].detail
    assert "firewall" in (steps["engine: port"].remedy or "")


async def test_a_clock_that_is_wrong() -> None:
    with engine(ahead_seconds=-60) as port:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{port}"})
    assert steps["engine: clock"].state is WARNING
    assert "s behind ours" in steps["engine: clock"].detail
    assert steps["engine: handshake"].state is OK


async def test_plain_text_to_another_computer() -> None:
    name = socket.gethostname()
    url = f"ws://{name}.invalid:871"
    steps = await diagnosed({"acme.url": url})
    assert steps["engine: encryption"].state is FAILED
    steps = await diagnosed({"acme.url": url, "cti.allow_plain_text": True})
    assert steps["engine: encryption"].state is WARNING
    assert "cti.allow_plain_text" in (steps["engine: encryption"].remedy or "")


@pytest.mark.parametrize("days", [400, 29, -1])
async def test_certificates(tmp_path: Path, days: int) -> None:
    authority = trustme.CA(organization_name="Acme Trust")
    context = server_context(authority)
    # Its own certificate again, with the end that the test wants.
    ends_at = datetime.now(UTC) + timedelta(days=days, hours=1)
    authority.issue_cert("127.0.0.1", not_before=datetime.now(UTC) - timedelta(days=40), not_after=ends_at).configure_cert(
        context
    )
    trusted = {"cti.tls_ca_file": str(authority_file(authority, tmp_path / "ca.pem"))}
    with engine() as port, tls_front(port, context) as front:
        steps = await diagnosed({"acme.url": f"wss://127.0.0.1:{front}"} | trusted)
    certificate = steps["engine: certificate"]
    if days < 0:
        assert certificate.state is FAILED
        assert "certificate has expired" in certificate.detail
        assert "renewed" in (certificate.remedy or "")
        assert states(steps, SKIPPED) == ["engine: clock", "engine: handshake"]
        return
    assert certificate.state is (WARNING if days < 30 else OK)
    assert f"{days} days" in certificate.detail
    assert "Acme Trust" in certificate.detail
    assert ends_at.date().isoformat() in certificate.detail
    assert steps["engine: clock"].state is steps["engine: handshake"].state is OK


async def test_a_certificate_of_nobody_whom_we_trust() -> None:
    with engine() as port, tls_front(port, server_context(trustme.CA())) as front:
        steps = await diagnosed({"acme.url": f"wss://127.0.0.1:{front}"})
    assert states(steps, FAILED) == ["engine: certificate"]
    assert "cti.tls_ca_file" in (steps["engine: certificate"].remedy or "")


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted = {"cti.tls_ca_file": str(authority_file(authority, tmp_path / "ca.pem"))}
    with engine() as port, tls_front(port, server_context(authority)) as front:
        # The front's certificate is for 127.0.0.1 alone.
        steps = await diagnosed({"acme.url": f"wss://localhost:{front}"} | trusted)
    certificate = steps["engine: certificate"]
    assert certificate.state is FAILED
    assert "Hostname mismatch" in certificate.detail
    assert not certificate.detail.endswith("..")
    # To have it renewed, or an authority named, would change nothing.
    assert certificate.remedy == "Connect by a name that the certificate is for, or have the PBX given one for this name."


async def test_tls_where_none_is_expected() -> None:
    with engine() as port, tls_front(port, server_context(trustme.CA())) as front:
        steps = await diagnosed({"acme.url": f"ws://127.0.0.1:{front}"})
    assert steps["engine: handshake"].state is FAILED
    assert "wss://" in (steps["engine: handshake"].remedy or "")


@pytest.mark.parametrize(
    ("settings", "failed", "skipped"),
    [
        ({"cti.tls_ca_file": "/not/there.pem"}, "tls_files", ["engine: certificate", "engine: clock", "engine: handshake"]),
        ({"acme.port": "1"}, "provider_settings", []),
    ],
)
async def test_the_network_is_looked_at_behind_what_only_a_session_needs(
    tmp_path: Path, settings: dict[str, Any], failed: str, skipped: list[str]
) -> None:
    authority = trustme.CA()
    trusted = {"cti.tls_ca_file": str(authority_file(authority, tmp_path / "ca.pem"))}
    with engine() as port, tls_front(port, server_context(authority)) as front:
        steps = await diagnosed({"acme.url": f"wss://127.0.0.1:{front}"} | trusted | settings)
    assert states(steps, FAILED) == [failed]
    assert steps["engine: name"].state is steps["engine: port"].state is OK
    assert [name for name in states(steps, SKIPPED) if name.startswith("engine")] == skipped
    assert steps["authorisation"].state is SKIPPED


async def test_a_step_that_fails_has_a_remedy_whoever_took_it() -> None:
    async def lost() -> str:
        raise NetworkError("It broke.")

    async def bad() -> Finding:
        return Finding("Bad.", FAILED)

    checks = Checks()
    await checks.check("lost", lost)
    await checks.check("bad", bad)
    assert all("Try again" in (step.remedy or "") for step in checks.steps)
    assert len(checks.steps) == 2


async def test_no_tls_at_all() -> None:
    with engine() as port:
        steps = await diagnosed({"acme.url": f"wss://127.0.0.1:{port}"})
    assert states(steps, FAILED) == ["engine: certificate"]
    assert "TLS with" in steps["engine: certificate"].detail


# The command -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cti(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    for name in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments, plugins=plugins())
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


CHOSEN = ("--set", "cti.provider=acme", "--set", "acme.login=100", "--set", f"acme.password={SECRET}", "--set", "acme.url=none")


def test_the_command_tells_each_step_and_its_remedy(cti: Any) -> None:
    code, out, err = cti(*CHOSEN, "doctor", "--user", "ann")
    assert code == 0
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["ok", "settings_source"]
    (at,) = [number for number, line in enumerate(lines) if line.startswith("warning  phone")]
    assert lines[at].endswith("No phone for ***.")
    assert lines[at + 1].strip() == "Switch it on."
    assert lines[-1].endswith("1 warning")


def test_the_command_in_json(cti: Any) -> None:
    code, out, _ = cti(*CHOSEN, "--set", "acme.fault=refuses", "doctor", "--user", "ann", "--json")
    assert code == 1
    steps = [json.loads(line) for line in out.splitlines()]
    assert all(list(step) == ["step", "state", "detail", "remedy", "seconds"] for step in steps)
    assert [step["step"] for step in steps if step["state"] == "failed"] == ["authorisation"]
    assert next(step for step in steps if step["state"] == "failed")["remedy"] == "Ask for a password."
    assert SECRET not in out


def test_what_a_plugin_prints_is_no_step(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def endpoints(settings: AcmeSettings) -> tuple[Endpoint, ...]:
        sys.stdout.write("hello\n")
        return ()

    monkeypatch.setattr(AcmeProvider, "endpoints", endpoints)
    _, out, err = cti(*CHOSEN, "doctor", "--user", "ann", "--json")
    steps = [json.loads(line)["step"] for line in out.splitlines()]
    assert "endpoints" in steps
    assert err == "hello\n"


def test_the_command_without_anything(cti: Any, tmp_path: Path) -> None:
    code, out, err = cti("--settings", str(tmp_path / "none.toml"), "doctor")
    assert code == 1
    assert out.startswith("failed   settings_source")
    assert err == ""
    assert cti("doctor")[0] == 1


def test_the_command_goes_on_where_the_provider_hangs_in_its_import(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secrets are looked for where a line is written, in the event loop: that must not wait for it for ever either."""
    let_go = threading.Event()
    gave_up: list[bool] = []
    monkeypatch.setattr(EntryPoint, "load", lambda self: gave_up.append(not let_go.wait(20)))
    try:
        code, out, err = cti(*CHOSEN, "--set", "cti.load_timeout_seconds=0.1", "doctor", "--user", "ann", "--json")
        assert gave_up == []
    finally:
        let_go.set()
        for thread in threading.enumerate():
            if thread.name == "cti: secrets" or thread.name.startswith("cti: load provider"):
                thread.join(5)
    assert code == 1
    assert err == ""
    steps = [json.loads(line) for line in out.splitlines()]
    assert [step["step"] for step in steps if step["state"] == "failed"] == ["provider_loadable"]
    assert "did not end within 0.1 s" in next(step["detail"] for step in steps if step["state"] == "failed")


# Written down ----------------------------------------------------------------------------------------------------------


def test_every_step_is_told_of_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "find-a-fault.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    own = ["login_flag", "agent_registered", "recordings", "web_phone: log_in"]
    sound = ("libraries", "devices", "microphone", "speaker", "ringing", "stun", "turn", "call")
    own += [f"sound: {step}" for step in sound]
    # The certificate's is taken of what is encrypted; the phone's is the test's own.
    expected = [*ALL[:17], "engine: certificate", *ALL[17:-2], *own, ALL[-1]]
    assert rows == expected
