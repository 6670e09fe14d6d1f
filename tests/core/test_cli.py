"""The ``cti`` command on a provider of the tests' own: what it prints, how it fails, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import anyio
import attrs
import pytest
import structlog
from typed_settings.types import Secret

import cti_framework.plugins
from cti_framework.agents import Agent
from cti_framework.calls import Call, CallDirection, CallFeature, CallRole, CallState, EndCause, Party, Side
from cti_framework.cli import main
from cti_framework.cli.console import Output, OutputClosed
from cti_framework.cli.tracing import Step, Trace, _Legs
from cti_framework.cli.words import event_in_words, printable
from cti_framework.deprecation import CtiDeprecationWarning, Deprecation
from cti_framework.errors import CommandRefusedError, CredentialsRefusedError, NetworkError, SettingsError
from cti_framework.events import CallHeld
from cti_framework.hooks import hookimpl
from cti_framework.plain import as_plain, json_line
from cti_framework.plugins import Plugins
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, ProviderContext, ReplayLine, Simulation
from cti_framework.reports import Answered, Connected, Ended, Held, IdChanged, Originated, Retrieved, Snapshot, Started
from cti_framework.settings import setting

ROOT = Path(__file__).parents[2]
SUBSCRIBER = "0501234567"


# A provider with its PBX ---------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class FakePbx:
    """One line, one call at most. Everything happens at once."""

    provider: FakeProvider | None = None
    call_id: str = ""
    cut: anyio.Event = attrs.field(factory=lambda: anyio.Event())

    def say(self, report: type, **more: Any) -> None:
        if self.provider is not None:
            context = self.provider.context
            if context.trace is not None:
                context.trace("from_pbx", report.__name__.upper(), f"frame of {self.call_id}\n")
            context.report(report(at=context.clock.now(), call_id=self.call_id, **more))

    async def incoming(self, number: str, name: str = "") -> str:
        raise AssertionError("nobody calls in here")

    async def answer(self, number: str) -> None:
        self.say(Connected)

    async def hold(self, number: str) -> None:
        self.say(Held, by=Side.OTHER)

    async def unhold(self, number: str) -> None:
        self.say(Retrieved, by=Side.OTHER)

    async def tones(self, number: str, digits: str) -> None:
        raise AssertionError("nobody presses keys here")

    async def hang_up(self, number: str, cause: str | None = None) -> None:
        self.say(Ended, cause=EndCause.NORMAL, pbx_cause=cause)

    async def answer_own(self) -> None:
        self.say(Answered)

    async def drop_network(self) -> None:
        self.cut.set()


@attrs.frozen(kw_only=True)
class FakeSettings:
    pbx: FakePbx | None = setting(default=None)
    mode: str = setting(default="", code="fakeMode")
    """What of it does not work."""


@attrs.frozen(kw_only=True)
class FakeUserSettings:
    password: Secret[str] | None = setting(default=None)


class FakeProvider(BaseCtiProvider):
    key: ClassVar[str] = "fake"
    capabilities = Capabilities(calls=CallFeature.DIAL | CallFeature.DROP | CallFeature.HOLD)
    settings_type = FakeSettings
    user_settings_type = FakeUserSettings

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.pbx = context.settings.pbx or FakePbx()

    async def run(self) -> None:
        password = self.context.user_settings.password
        if password is not None and password.get_secret_value() != "sesame":
            raise CredentialsRefusedError("The PBX refuses this password.")
        if self.context.settings.mode == "refuses":
            raise CredentialsRefusedError("The PBX refuses user 100.", remedy="Correct the password.")
        if self.context.settings.mode == "nobody":
            raise NetworkError("Nobody answers at 127.0.0.1:1.", remedy="Check the address.")
        self.pbx.provider = self
        now = self.context.clock.now()
        self.context.report(Started(at=now, own_numbers=("100",), agent=Agent(state="READY")))
        await self.pbx.cut.wait()
        raise NetworkError("The line was cut.")

    async def snapshot(self) -> Snapshot:
        return Snapshot(at=self.context.clock.now())

    async def make_call(self, destination: str) -> Call:
        if destination == "666":
            raise CommandRefusedError("The PBX refuses to call 666.", remedy="Call somebody else.")
        if self.context.trace is not None:
            self.context.trace("to_pbx", "dial", destination)
        self.pbx.call_id = "call-1"
        self.pbx.say(Originated, other=Party(destination, "Ann \x1b[31mRed\x1b[0m"))
        call = self.context.call("call-1")
        assert call is not None
        if destination == "busy":
            self.pbx.say(Ended, cause=EndCause.BUSY, pbx_cause="USER_BUSY")
        elif destination == "short":
            self.pbx.say(Connected)
            self.pbx.say(Ended)
        else:
            self.pbx.say(Answered)
            self.pbx.say(Connected)
        return call

    async def drop_call(self, call: Call) -> None:
        if self.context.settings.mode != "stubborn":
            self.pbx.say(Ended, cause=EndCause.NORMAL)

    @classmethod
    @asynccontextmanager
    async def simulator(cls) -> AsyncIterator[Simulation]:
        pbx = cls.make_pbx()
        # A task group around the caller's code wraps what that raises: the command has to take it out again.
        async with anyio.create_task_group():
            yield Simulation(
                settings={f"{cls.key}.pbx": pbx},
                user=CtiUser(id="100", parameters={f"{cls.key}.password": "sesame"}),
                far_side=pbx,
                subscriber=SUBSCRIBER,
                notes=("Time stands still here.",),
            )

    @classmethod
    @asynccontextmanager
    async def serve_simulator(cls, *, host: str, port: int, control_port: int) -> AsyncIterator[str]:
        if port == 1:
            raise OSError(98, "Address already in use")
        if port == 2:
            raise BaseExceptionGroup("tasks", [ExceptionGroup("more", [ValueError("x")]), KeyboardInterrupt()])
        if port == 3:
            raise ExceptionGroup("tasks", [ZeroDivisionError("by nought")])
        yield f"listening at {host}:{port or 4711}, control {control_port}"

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Iterator[ReplayLine]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        for line in lines:
            word = json.loads(line)
            reports = {
                "new": (Originated(at=at, call_id="c", other=Party("5")),),
                "end": (Ended(at=at + timedelta(seconds=2), call_id="c"),),
            }.get(word, ())
            yield ReplayLine(0.05, f"on_{word}", reports=reports, text=f"said {word}")
            yield ReplayLine(0.06, None, payload=1, text="of no name")
            yield ReplayLine(0.07, "onNothing", payload=None, has_payload=True)
            yield ReplayLine(0.08, "onWord", payload={"b": 1, "a": "слово"}, has_payload=True)

    @classmethod
    def make_pbx(cls) -> FakePbx:
        return FakePbx()


class Deaf(FakePbx):
    async def hold(self, number: str) -> None:
        """Nothing comes of it."""


class Impatient(FakePbx):
    async def hold(self, number: str) -> None:
        self.say(Ended, cause=EndCause.NORMAL, pbx_cause="HAD_ENOUGH")


class DeafProvider(FakeProvider):
    key = "deaf"

    @classmethod
    def make_pbx(cls) -> FakePbx:
        return Deaf()


class ImpatientProvider(FakeProvider):
    key = "impatient"

    @classmethod
    def make_pbx(cls) -> FakePbx:
        return Impatient()


class BareProvider(BaseCtiProvider):
    run = FakeProvider.run
    snapshot = FakeProvider.snapshot
    make_call = FakeProvider.make_call
    drop_call = FakeProvider.drop_call


class Wireless(FakeProvider):
    """Its simulator does not listen on a port."""

    key = "wireless"
    serve_simulator = BaseCtiProvider.__dict__["serve_simulator"]


class Journal:
    """A companion that is installed."""

    told: list[object] = []  # noqa: RUF012 - the entry point names the class, the test reads what its instance was told

    @hookimpl
    def cti_event(self, event: object) -> None:
        self.told.append(event)


def plugins_of(providers: dict[str, str]) -> Plugins:
    here = "tests.core.test_cli"
    return Plugins(
        entry_points=lambda: [
            *(EntryPoint(name, f"{here}:{value}", "cti_framework.providers") for name, value in providers.items()),
            EntryPoint("journal", f"{here}:Journal", "cti_framework.companions"),
        ]
    )


def fake_plugins() -> Plugins:
    return plugins_of(
        {
            "fake": "FakeProvider",
            "deaf": "DeafProvider",
            "impatient": "ImpatientProvider",
            "bare": "BareProvider",
            "broken": "NotThere",
        }
    )


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CTI_")]:
        monkeypatch.delenv(name)
    Journal.told.clear()


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def cti(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, plugins: Plugins | None = None) -> Ran:
        code = main(arguments, plugins=plugins or fake_plugins())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err or "-v" in arguments
        return Ran(code, captured.out, captured.err)

    return run


# demo ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_demo_tells_every_layer_in_order(cti: Any, backend: str) -> None:
    ran = cti("demo", "--provider", "fake", "--json", "--backend", backend)
    assert (ran.code, ran.err) == (0, "")
    steps = ran.objects
    assert all(list(step) == ["at_ms", "from", "to", "step", "call", "detail"] for step in steps)
    assert [step["at_ms"] for step in steps] == sorted(step["at_ms"] for step in steps)
    told = [(step["from"], step["to"], step["step"]) for step in steps]
    expected = [
        ("simulator", "operator", "note"),
        ("host", "CtiProviderInitializer", "settings"),
        ("CtiProviderInitializer", "Plugins", "load_provider"),
        ("Plugins", "CtiProviderInitializer", "class"),
        ("CtiProviderInitializer", "companion", "cti_log_in"),
        ("companion", "CtiProviderInitializer", "cti_log_in"),
        ("CtiProviderInitializer", "companion", "cti_user_connection"),
        ("CtiModel", "FakeProvider", "run"),
        ("FakeProvider", "Line", "Started"),
        ("Line", "CtiModel", "Initialized"),
        ("CtiModel", "FakeProvider", "snapshot"),
        ("CtiModel", "host", "Initialized"),
        ("operator", "host", "call"),
        ("host", "CtiModel", "make_call"),
        ("CtiModel", "FakeProvider", "make_call"),
        ("FakeProvider", "PBX", "dial"),
        ("PBX", "FakeProvider", "ORIGINATED"),
        ("FakeProvider", "Line", "Originated"),
        ("Line", "CtiModel", "CallStarted"),
        ("CtiModel", "companion", "cti_call_started"),
        ("FakeProvider", "CtiModel", "make_call"),
        ("CtiModel", "host", "CallConnected"),
        ("subscriber", "PBX", "hold"),
        ("FakeProvider", "Line", "Held"),
        ("Line", "CtiModel", "CallHeld"),
        ("CtiModel", "companion", "cti_call_held"),
        ("CtiModel", "host", "CallHeld"),
        ("subscriber", "PBX", "unhold"),
        ("Line", "CtiModel", "CallUnheld"),
        ("CtiModel", "host", "CallUnheld"),
        ("operator", "host", "hang up"),
        ("host", "CtiModel", "drop_call"),
        ("CtiModel", "FakeProvider", "drop_call"),
        ("FakeProvider", "Line", "Ended"),
        ("Line", "CtiModel", "CallFinished"),
        ("CtiModel", "host", "CallFinished"),
        ("host", "CtiModel", "close"),
        ("CtiModel", "host", "Disconnected"),
        ("host", "operator", "summary"),
    ]
    positions = [told.index(step) for step in expected]
    assert positions == sorted(positions)
    held = steps[told.index(("Line", "CtiModel", "CallHeld"))]
    assert held["call"] == "call-1"
    assert "by the other party" in held["detail"]
    assert steps[told.index(("PBX", "FakeProvider", "ORIGINATED"))]["detail"] == "frame of call-1"
    assert "sesame" not in ran.out


def test_the_demo_counts_each_event_once(cti: Any) -> None:
    steps = cti("demo", "--provider", "fake", "--json").objects
    made = [step["step"] for step in steps if (step["from"], step["to"]) == ("Line", "CtiModel")]
    read = [step["step"] for step in steps if (step["from"], step["to"]) == ("CtiModel", "host")]
    assert [step for step in read if step not in ("make_call", "drop_call")] == made
    assert steps[-1]["detail"].endswith(f"; {len(made)} events")


def test_the_demo_is_a_timeline_for_people(cti: Any) -> None:
    ran = cti("demo", "--provider", "fake")
    assert ran.code == 0
    assert "Time stands still here." in ran.out.splitlines()[0]
    assert "The subscriber puts the call on hold, and takes it back" in ran.out
    columns = {line.index("→") - line.index("CtiModel →") for line in ran.out.splitlines() if "CtiModel →" in line}
    assert len(columns) == 1
    assert "ringing" in ran.out.splitlines()[-1]
    assert "\x1b" not in ran.out


def test_the_demo_is_hidden_from_installed_companions_and_from_settings(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_PROVIDER", "broken")
    monkeypatch.setenv("CTI_FAKE__MODE", "refuses")
    assert cti("demo", "--provider", "fake").code == 0
    assert Journal.told == []


def test_the_demo_says_which_event_did_not_come(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_framework.cli.demo._WAIT_SECONDS", 0.05)
    ran = cti("demo", "--provider", "deaf")
    assert ran.code == 1
    assert "cti: CallHeld did not come within 0.05 s; the latest event is " in ran.err


def test_the_demo_says_that_the_call_ended_too_early(cti: Any) -> None:
    ran = cti("demo", "--provider", "impatient", "--json")
    assert ran.code == 1
    error = json.loads(ran.err)
    assert error["error"] == "CommandError"
    assert "The call ended before CallHeld: normal (HAD_ENOUGH)" in error["message"]


@pytest.mark.parametrize(
    ("command", "what"), [("demo", "simulator to play on"), ("simulate", "simulator that"), ("replay", "way to replay captures")]
)
def test_a_provider_without_a_tool_says_so(cti: Any, tmp_path: Path, command: str, what: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("{}")
    arguments = {"demo": ("--provider", "bare"), "simulate": ("bare",), "replay": (str(file), "--provider", "bare")}[command]
    ran = cti(command, *arguments)
    assert ran.code == 1
    assert f"The provider 'bare' (BareProvider) brings no {what}" in ran.err
    assert "cti providers" in ran.err


def chosen_by_demo(ran: Ran) -> str:
    assert ran.code == 0
    return str(next(step["detail"] for step in ran.objects if step["step"] == "settings").split(";")[0])


@pytest.mark.parametrize(
    ("providers", "chosen"),
    [
        ({"a": "NotThere", "b": "BareProvider", "c": "Wireless", "fake": "FakeProvider", "z": "FakeProvider"}, "fake"),
        ({"a": "NotThere", "wireless": "Wireless", "x": "BareProvider", "z": "Wireless"}, "wireless"),
    ],
)
def test_the_demo_takes_a_provider_with_a_wire_first(cti: Any, providers: dict[str, str], chosen: str) -> None:
    assert chosen_by_demo(cti("demo", "--json", plugins=plugins_of(providers))) == f"cti.provider = {chosen}"


def test_the_demo_takes_the_provider_of_the_settings(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_PROVIDER", "wireless")
    plugins = plugins_of({"fake": "FakeProvider", "wireless": "Wireless"})
    assert chosen_by_demo(cti("demo", "--json", plugins=plugins)) == "cti.provider = wireless"
    monkeypatch.setenv("CTI_PROVIDER", "nobody")
    assert "'nobody'" in cti("demo", plugins=plugins).err


def test_a_provider_that_is_passed_over_is_told_on_request(cti: Any) -> None:
    plugins = plugins_of({"a": "NotThere", "fake": "FakeProvider"})
    assert "NotThere" in cti("-v", "demo", plugins=plugins).err


@pytest.mark.parametrize("command", ["demo", "replay"])
def test_where_no_provider_can_it_says_so(cti: Any, capture: str, command: str) -> None:
    arguments = (command, capture) if command == "replay" else (command,)
    for providers in ({}, {"a": "NotThere", "bare": "BareProvider"}):
        ran = cti(*arguments, plugins=plugins_of(providers))
        assert ran.code == 1
        assert "cti: No provider that is installed brings a " in ran.err


def test_a_capture_is_given_to_no_provider_by_guess(cti: Any, capture: str) -> None:
    ran = cti("replay", capture, plugins=plugins_of({"a": "FakeProvider", "b": "FakeProvider", "bare": "BareProvider"}))
    assert ran.code == 1
    assert "Several providers that are installed bring a way to replay captures: a, b." in ran.err
    assert "--provider" in ran.err
    assert cti("replay", capture, "--provider", "b", plugins=plugins_of({"a": "FakeProvider", "b": "FakeProvider"})).code == 0


def test_a_message_is_told_with_its_call_once_that_is_known() -> None:
    leg, other = "fda03cf7-4be0-4d7a-a5c1-8a8ae73661fb", "11111111-4be0-4d7a-a5c1-8a8ae73661fb"
    at = datetime(2026, 1, 1, tzinfo=UTC)
    legs = _Legs()
    assert legs.call_of(leg) is None
    legs.reported(Originated(at=at, call_id="c-1", other=Party("5")))
    assert legs.call_of(f"RINGING {leg}") == "c-1"
    assert legs.call_of("no leg at all") is None
    legs.reported(Originated(at=at, call_id="c-2", other=Party("6")))
    assert legs.call_of(other) is None
    assert legs.call_of(leg) == "c-1"
    legs.reported(IdChanged(at=at, call_id="c-1", new_id=leg))
    legs.reported(Ended(at=at, call_id="c-1"))
    assert legs.call_of(leg) == leg


# providers -----------------------------------------------------------------------------------------------------------------


def test_providers_lists_without_importing(cti: Any) -> None:
    ran = cti("providers", "--json")
    assert ran.code == 0
    assert {record["name"]: record["status"] for record in ran.objects} == dict.fromkeys(
        ("bare", "broken", "deaf", "fake", "impatient", "journal"), "available"
    )


def test_providers_can_find_out_which_are_broken(cti: Any) -> None:
    ran = cti("providers", "--check", "--json")
    assert ran.code == 1
    status = {record["name"]: record["status"] for record in ran.objects}
    assert status["fake"] == status["journal"] == "loaded"
    assert status["broken"] == "import-failed"
    ran = cti("providers", "--check")
    assert ran.code == 1
    assert "import-failed" in ran.out
    assert "NotThere" in ran.out.splitlines()[-1]


def test_what_a_plugin_prints_while_it_is_imported_is_no_result(
    cti: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "chatty_cti.py").write_text(
        "print('Hello from chatty')\nfrom tests.core.test_cli import BareProvider as Provider\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("chatty", "chatty_cti:Provider", "cti_framework.providers")
    ran = cti("providers", "--check", "--json", plugins=Plugins(entry_points=lambda: [entry]))
    assert [record["status"] for record in ran.objects] == ["loaded"]
    assert ran.err == "Hello from chatty\n"


def test_a_provider_for_a_contract_that_is_about_to_go_is_listed_with_its_end(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deprecated = {1: Deprecation("0.2", "0.3", "upgrade it.")}
    monkeypatch.setattr(cti_framework.plugins, "PROVIDER_API_DEPRECATED", deprecated)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CtiDeprecationWarning)
        ran = cti("providers", "--check", plugins=plugins_of({"fake": "FakeProvider"}))
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("fake  Provider API 1, for which the provider 'fake'")
    assert "gone in 0.3: upgrade it." in ran.out


# listen, call --------------------------------------------------------------------------------------------------------------


def test_call_prints_what_happens_until_the_end(cti: Any) -> None:
    ran = cti("--set", "cti.provider=fake", "call", "short", "--json")
    assert ran.code == 0
    events = ran.objects
    names = [event["event"] for event in events]
    assert names[0] == "ProviderStateChanged"
    assert names.index("CallStarted") < names.index("CallConnected") < names.index("CallFinished")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    finished = next(event for event in events if event["event"] == "CallFinished")
    assert finished["at"].endswith("Z")
    assert finished["call"]["state"] == "none"
    assert finished["call"]["direction"] == "out"
    assert finished["call"]["other"]["number"] == "short"


def test_call_tells_by_its_exit_code_that_nobody_answered(cti: Any) -> None:
    ran = cti("--set", "cti.provider=fake", "call", "busy")
    assert ran.code == 1
    assert "busy (USER_BUSY)" in ran.out


def test_call_need_not_wait(cti: Any) -> None:
    ran = cti("--set", "cti.provider=fake", "call", "5", "--no-wait")
    assert ran.code == 0
    assert "CallFinished" not in ran.out


def test_what_a_pbx_sends_cannot_command_the_terminal(cti: Any) -> None:
    out = cti("--set", "cti.provider=fake", "call", "short").out
    assert "\x1b" not in out
    assert r"Ann \x1b[31mRed" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--set", "cti.provider=fake", "call", "666"), "cti: The PBX refuses to call 666.\n     Call somebody else.\n"),
        (("--set", "cti.provider=fake", "--set", "fake.mode=refuses", "listen"), "cti: The PBX refuses user 100."),
        (("--set", "cti.provider=fake", "--set", "fake.mode=nobody", "listen"), "cti: Nobody answers at 127.0.0.1:1."),
        (("listen",), "cti: No provider is chosen"),
        (("--set", "cti.provider=feke", "listen"), "Did you mean 'fake'?"),
        (("--set", "cti.provider=fake", "--set", "fake.moode=x", "listen"), "  - fake.moode"),
        (("--settings", "/nowhere/x.toml", "listen"), "/nowhere/x.toml"),
        (("simulate", "fake", "--port", "1"), "Address already in use"),
        (("simulate", "fake", "--port", "3"), "Unexpected ZeroDivisionError: by nought"),
    ],
)
def test_errors_are_friendly(cti: Any, arguments: tuple[str, ...], told: str) -> None:
    ran = cti(*arguments)
    assert ran.code == 1
    assert told in ran.err


def test_ctrl_c_is_found_among_other_errors(cti: Any) -> None:
    assert cti("simulate", "fake", "--port", "2").code == 130


def test_an_error_is_json_where_json_was_asked_for(cti: Any) -> None:
    ran = cti("--set", "cti.provider=fake", "--set", "fake.moode=x", "listen", "--json")
    error = json.loads(ran.err)
    assert error["error"] == "SettingsError"
    assert "fake.moode" in error["problems"][0]
    assert ran.out == ""


def test_a_traceback_is_shown_on_request_only(cti: Any) -> None:
    ran = cti("-v", "--set", "cti.provider=fake", "call", "666")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "The PBX refuses to call 666." in ran.err


def test_the_log_goes_to_stderr_while_a_command_runs_only(cti: Any) -> None:
    before = structlog.get_config()
    ran = cti("-v", "--set", "cti.provider=fake", "call", "short", "--json")
    assert "cti.connection.in_service" in ran.err
    assert all("event" in each for each in ran.objects)
    assert structlog.get_config() == before


def test_what_is_typed_is_stronger_than_a_variable(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_PROVIDER", "broken")
    monkeypatch.setenv("CTI_FAKE__MODE", "refuses")
    for key in ("cti.provider", "Cti.Provider", "SysMsgLib"):
        assert cti("--set", f"{key}=fake", "--set", "fake.mode=", "call", "short").code == 0
    assert "refuses user 100" in cti("--set", "cti.provider=fake", "listen").err
    assert cti("--set", "cti.provider=fake", "--set", "fakeMode=", "call", "short").code == 0


def test_a_typed_secret_may_be_in_the_variable_of_the_same_setting(cti: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTI_FAKE__PASSWORD", "sesame")
    given = ("--set", "cti.provider=fake", "--set", "fake.password=env:CTI_FAKE__PASSWORD")
    assert cti(*given, "call", "short").code == 0
    monkeypatch.setenv("CTI_FAKE__PASSWORD", "other")
    assert "refuses this password" in cti(*given, "call", "short").err


def test_errors_say_that_a_setting_was_typed(cti: Any) -> None:
    ran = cti("--set", "cti.provider=fake", "--set", "cti.auto_connect=perhaps", "listen")
    assert ran.code == 1
    assert "from cti.auto_connect in --set" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "secret-without-key", "listen"),
        ("demmo",),
        ("simulate",),
        ("simulate", "fake", "--port", "70000"),
        ("replay", "?"),
    ],
)
def test_wrong_usage_is_told(cti: Any, arguments: tuple[str, ...]) -> None:
    ran = cti(*arguments)
    assert ran.code == 2
    assert "Error: " in ran.err
    assert "secret-without-key" not in ran.err


@pytest.mark.parametrize(
    "command", ["demo", "providers", "doctor", "simulate", "listen", "call", "phone", "recordings", "replay"]
)
def test_help_explains_with_examples(cti: Any, command: str) -> None:
    ran = cti(command, "--help")
    assert ran.code == 0
    assert "Examples:\n" in ran.out
    assert f"cti {command}" in ran.out or "cti --set" in ran.out


def test_version(cti: Any) -> None:
    ran = cti("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "cti-framework")


# replay --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def capture(tmp_path: Path) -> str:
    file = tmp_path / "x.frames.jsonl"
    file.write_text('"new"\n"end"\n')
    return str(file)


def test_replay_tells_callbacks_as_captured(cti: Any, capture: str) -> None:
    ran = cti("replay", capture, "--provider", "fake", "--callbacks")
    assert ran.code == 0
    assert ran.out.splitlines()[:3] == [
        '{"cb":"on_new"}',
        '{"cb":"onNothing","payload":null}',
        '{"cb":"onWord","payload":{"b":1,"a":"слово"}}',
    ]


def test_replay_tells_events(cti: Any, capture: str) -> None:
    ran = cti("replay", capture, "--provider", "fake")
    assert ran.code == 0
    assert "said new" in ran.out
    assert "CallStarted" in ran.out
    assert "total 2.000 s" in ran.out
    objects = cti("replay", capture, "--provider", "fake", "--json").objects
    assert objects[0]["reports"][0]["report"] == "Originated"
    assert objects[0]["events"][0]["event"] == "CallStarted"
    assert "payload" not in objects[0]


def test_replay_takes_a_provider_that_can(cti: Any, capture: str) -> None:
    plugins = plugins_of({"a": "NotThere", "b": "BareProvider", "c": "FakeProvider"})
    assert "said new" in cti("replay", capture, plugins=plugins).out


def test_what_is_no_capture_is_told(cti: Any, tmp_path: Path) -> None:
    file = tmp_path / "x"
    for content in (b"no json", b"\xff\xfe"):
        file.write_bytes(content)
        ran = cti("replay", str(file), "--provider", "fake")
        assert ran.code == 1
        assert "cannot be replayed" in ran.err


# values --------------------------------------------------------------------------------------------------------------------


def test_values_as_plain_data() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone(timedelta(hours=2)))
    call = Call(
        id="c",
        direction=CallDirection.OUT,
        state=CallState.HELD,
        role=CallRole.CURRENT,
        own=Party("100"),
        other=Party("5", "Ann"),
        started_at=at,
        changed_at=at + timedelta(seconds=1),
        features=CallFeature.DROP | CallFeature.UNHOLD,
        held_by=frozenset({Side.OTHER, Side.OWN}),
        talk_seconds=0.1 + 0.2,
        attributes={"a": [b"\xff", Secret("sesame"), float("nan")]},
    )
    plain = as_plain(call)
    assert plain["started_at"] == "2026-01-02T01:04:05.678Z"
    assert plain["features"] == ["drop", "unhold"]
    assert plain["held_by"] == ["other", "own"]
    assert plain["talk_seconds"] == 0.3
    assert plain["total_seconds"] == 1.0
    assert plain["attributes"] == {"a": ["\\xff", "***", None]}
    assert as_plain(SettingsError("Bad.", problems=("a: wrong",)))["problems"] == ["a: wrong"]
    event = CallHeld("e", 1, at, call, by=Side.OTHER, raw={"frame": 1})
    assert as_plain(event)["raw"] == {"frame": 1}
    assert event_in_words(event) == "by the other party, to 5 (Ann), held"


def test_json_lines_are_compact() -> None:
    assert json_line({"a": [1, "ї"]}) == '{"a":[1,"ї"]}'
    assert json_line("ї", ascii_only=True) == '"\\u0457"'


def test_control_characters_are_spelled_out() -> None:
    assert printable("a\x1b[0m\nb\u202eї") == "a\\x1b[0m\\nb\\u202eї"


def test_a_stream_that_cannot_hold_a_character_gets_an_escape(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        output = Output()
        output.json({"a": "ї\ud800"})
        output.line("host → CtiModel", "ї")
        stream.seek(0)
        written = stream.read().splitlines()
    assert json.loads(written[0]) == {"a": "ї\ud800"}
    assert written[1] == "host > CtiModel  \\u0457"


def test_layers_are_not_disturbed_when_nobody_reads() -> None:
    def tell(step: Step) -> None:
        raise OutputClosed

    trace = Trace(tell)
    trace.step("a", "b", "c")
    with pytest.raises(OutputClosed):
        trace.check()


# as a process --------------------------------------------------------------------------------------------------------------

_FAKE_CTI = "import sys; from cti_framework.cli import main; from tests.core.test_cli import fake_plugins as p; "


_EACH_SIGNAL_IS_NEW = "import cti_framework.cli.running as r; r._SAME_WITHIN_SECONDS = 0; "


def start(*arguments: str, first: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", _FAKE_CTI + first + "sys.exit(main(sys.argv[1:], plugins=p()))", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word} was not printed")


posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")


@posix_only
@pytest.mark.parametrize(
    ("arguments", "after", "sent", "code"),
    [
        (("--set", "cti.provider=fake", "listen"), "SnapshotTaken", signal.SIGINT, 130),
        (("--set", "cti.provider=fake", "listen", "--json"), "SnapshotTaken", signal.SIGTERM, 0),
        (("simulate", "fake"), "listening at 127.0.0.1:4711", signal.SIGINT, 130),
        (("simulate", "fake", "--json"), "listening at", signal.SIGTERM, 0),
        (("demo", "--provider", "deaf"), "subscriber → PBX", signal.SIGINT, 130),
        (("demo", "--provider", "deaf", "--backend", "trio"), "subscriber → PBX", signal.SIGINT, 130),
        (("demo", "--provider", "deaf", "--backend", "trio"), "subscriber → PBX", signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_it_in_order(arguments: tuple[str, ...], after: str, sent: signal.Signals, code: int) -> None:
    with start(*arguments) as process:
        read_until(process, after)
        process.send_signal(sent)
        out, err = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in err
    if "demo" in arguments:
        # The session was closed, not torn down.
        assert "Disconnected" in out


@posix_only
def test_ctrl_c_hangs_the_call_up() -> None:
    with start("--set", "cti.provider=fake", "call", "5") as process:
        read_until(process, "CallConnected")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert "CallFinished" in out
    assert err == "Hanging up; once more Ctrl-C leaves at once.\n"


@posix_only
def test_a_second_ctrl_c_leaves_at_once() -> None:
    arguments = ("--set", "cti.provider=fake", "--set", "fake.mode=stubborn", "call", "5")
    with start(*arguments, first=_EACH_SIGNAL_IS_NEW) as process:
        read_until(process, "CallConnected")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == "Hanging up; once more Ctrl-C leaves at once.\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert ("CallFinished" in out, err) == (False, "")


@posix_only
@pytest.mark.parametrize("pause_seconds", [0.002, 0.016])
@pytest.mark.parametrize(
    ("arguments", "after", "still_told"),
    [
        (("--set", "cti.provider=fake", "listen"), "SnapshotTaken", ""),
        (("--set", "cti.provider=fake", "call", "5"), "CallConnected", "CallFinished"),
        (("demo", "--provider", "deaf"), "subscriber → PBX", "Disconnected"),
        (("demo", "--provider", "deaf", "--backend", "trio"), "subscriber → PBX", "Disconnected"),
    ],
)
def test_one_ctrl_c_may_come_twice(arguments: tuple[str, ...], after: str, still_told: str, pause_seconds: float) -> None:
    with start(*arguments) as process:
        read_until(process, after)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(pause_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.count("\n") <= 1
    assert still_told in out


_HANGS_WHEN_CANCELLED = """
import sys, anyio
import cti_framework.cli.running as running
running._SAME_WITHIN_SECONDS = 0
async def act(stopping):
    print("begun", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("cancelled", flush=True)
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
running.run(act, backend=sys.argv[1])
"""


@posix_only
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_does_not_end_is_left_at_once(backend: str) -> None:
    command = [sys.executable, "-c", _HANGS_WHEN_CANCELLED, backend]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        read_until(process, "begun")
        process.send_signal(signal.SIGINT)
        read_until(process, "cancelled")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (-signal.SIGINT, "")


@posix_only
@pytest.mark.parametrize("arguments", [("demo", "--provider", "fake"), ("demo", "--provider", "fake", "--json")])
def test_a_closed_pipe_is_quiet(arguments: tuple[str, ...]) -> None:
    with start(*arguments) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")


def test_it_is_a_module_too() -> None:
    ran = subprocess.run([sys.executable, "-m", "cti_framework.cli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()[0]) == (0, "cti-framework")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    hide = (
        "import sys, importlib.abc\n"
        "class Hider(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hider())\n"
        "from cti_framework.cli import main\n"
        "sys.exit(main(['demo']))\n"
    )
    ran = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == f'The command cti needs {missing}, which is not installed: pip install "cti-framework[cli]"\n'
