"""``cti doctor`` at an engine: its address, its port, whether call events come, the phone, recordings; and nothing is changed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from cti_framework.diagnosis import DiagnosisStep, StepState
from cti_framework.doctor import examine
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import Plugins
from cti_framework.provider import CtiUser
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from tests.webitel.sessions import OWN, Tap

pytestmark = pytest.mark.anyio

FAILED, OK, SKIPPED, WARNING = StepState.FAILED, StepState.OK, StepState.SKIPPED, StepState.WARNING
PASSWORD = "tr0ub4dor-4100"
QUESTIONS = {"auth", "login", "api account list", "ping", "api whoami", "show_channel", "cdr_get_record_link", "channel_dump"}


async def diagnosed(simulator: WebitelSimulator, **settings: Any) -> dict[str, DiagnosisStep]:
    simulator.switchboard.set_account(OWN, password=PASSWORD)
    given = {
        "cti.provider": "webitel",
        "webitel.connection_string": simulator.url,
        "webitel.login": OWN,
        "webitel.password": PASSWORD,
    }
    by = CtiProviderInitializer(given | settings, environ={}, plugins=Plugins())
    with anyio.fail_after(30):
        steps = await examine(lambda: by, CtiUser("100"))
    assert PASSWORD not in repr(steps)
    return {step.step: step for step in steps}


async def test_all_is_well_and_only_questions_are_asked() -> None:
    async with serve_webitel(control_port=None) as simulator:
        tap = Tap(simulator)
        steps = await diagnosed(simulator)
        await tap.until_nobody_is_there()
    assert {step.state for step in steps.values()} == {OK, SKIPPED}
    # Without a call the engine tells no time; the address itself did.
    assert [name for name, step in steps.items() if step.state is SKIPPED] == ["clock"]
    names = list(steps)
    assert names[names.index("endpoints") :] == [
        "endpoints", "engine: address", "engine: encryption", "engine: name", "engine: port", "engine: clock",
        "engine: handshake", "provider_made", "authorisation", "answers", "snapshot", "clock", "login_flag", "agent_registered",
        "recordings", "provider_steps",
    ]  # fmt: skip
    assert {command["exec-func"] for command in tap.commands} <= QUESTIONS
    assert {"api whoami", "cdr_get_record_link"} <= {command["exec-func"] for command in tap.commands}


async def test_no_phone() -> None:
    async with serve_webitel(control_port=None) as simulator:
        simulator.switchboard.set_registered(OWN, registered=False)
        steps = await diagnosed(simulator)
    assert steps["agent_registered"].state is WARNING
    assert OWN in steps["agent_registered"].detail
    assert steps["snapshot"].detail.endswith("agent state NONREG.")


async def test_call_events_that_another_program_has_switched_off() -> None:
    async with serve_webitel(control_port=None) as simulator:
        tap = Tap(simulator)
        tap.answers["api whoami"] = ("+OK", '{"id":"100","domain":"demo.local","logged":false}')
        steps = await diagnosed(simulator)
        tap.answers["api whoami"] = ("+OK", '{"id":"100","domain":"demo.local"}')
        unknown = await diagnosed(simulator)
    assert steps["login_flag"].state is FAILED
    assert "logout" in (steps["login_flag"].remedy or "")
    assert steps["recordings"].state is OK
    assert unknown["login_flag"].state is SKIPPED


@pytest.mark.parametrize("said", ["Permission denied!", "-ERR: no cdr"])
async def test_recordings_that_the_account_may_not_see(said: str) -> None:
    async with serve_webitel(control_port=None) as simulator:
        tap = Tap(simulator)
        tap.answers["cdr_get_record_link"] = ("-ERR", said)
        steps = await diagnosed(simulator)
    assert steps["recordings"].state is WARNING
    assert said in steps["recordings"].detail
    assert "cdr" in (steps["recordings"].remedy or "")


async def test_a_wrong_password() -> None:
    async with serve_webitel(control_port=None) as simulator:
        steps = await diagnosed(simulator, **{"webitel.password": "wrong-password-1"})
    assert steps["engine: handshake"].state is OK
    assert steps["authorisation"].state is FAILED
    assert "secret incorrect" in steps["authorisation"].detail
    assert "password" in (steps["authorisation"].remedy or "")
    assert [name for name, step in steps.items() if step.state is SKIPPED] == ["answers", "snapshot", "clock", "provider_steps"]


async def test_an_engine_that_says_nothing() -> None:
    async with serve_webitel(control_port=None, options=SimulatorOptions(silent=True)) as simulator:
        steps = await diagnosed(simulator, **{"cti.connect_timeout_seconds": 0.3})
    assert steps["engine: handshake"].state is OK
    assert steps["authorisation"].state is FAILED
    assert steps["authorisation"].remedy


def test_the_endpoints() -> None:
    settings = WebitelSettings(connection_string="wss://pbx.example:871", webrtc_connection_string="wss://pbx.example:5066")
    assert [(one.name, one.place()) for one in WebitelCtiProvider.endpoints(settings)] == [
        ("engine", ("pbx.example", 871)),
        ("web_phone", ("pbx.example", 5066)),
    ]
    assert [one.name for one in WebitelCtiProvider.endpoints(WebitelSettings(connection_string="ws://a"))] == ["engine"]
