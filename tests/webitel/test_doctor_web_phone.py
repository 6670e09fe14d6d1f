"""``cti doctor`` for a user with a web phone: its address, its log in, the sound; and nothing of it for one without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from cti_framework.diagnosis import DiagnosisStep, StepState
from cti_framework.doctor import examine
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import Plugins
from cti_framework.provider import CtiUser
from cti_webitel.simulator import WebitelSimulator, serve_webitel
from tests.media.sound_card import sound_card
from tests.webitel.sessions import OWN, Tap

FAILED, OK, SKIPPED, WARNING = StepState.FAILED, StepState.OK, StepState.SKIPPED, StepState.WARNING
PHONE = "103@demo.local"
PASSWORD = "tr0ub4dor-4103"
SOUND = ["libraries", "devices", "microphone", "speaker", "ringing", "stun", "turn", "call"]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return sound_card(monkeypatch)


async def diagnosed(simulator: WebitelSimulator, **settings: Any) -> dict[str, DiagnosisStep]:
    # Who serves no web phones has no accounts for them.
    account = OWN if simulator.verto_url is None else PHONE
    simulator.switchboard.amend_account(account, password=PASSWORD)
    given = {
        "cti.provider": "webitel",
        "webitel.connection_string": simulator.url,
        "webitel.webrtc_connection_string": simulator.verto_url,
        "webitel.login": account,
        "webitel.password": PASSWORD,
        "webitel.use_web_phone": True,
        **{f"webitel.{key}": value for key, value in settings.items()},
    }
    by = CtiProviderInitializer({key: value for key, value in given.items() if value is not None}, environ={}, plugins=Plugins())
    with anyio.fail_after(30):
        steps = await examine(lambda: by, CtiUser("103"))
    assert PASSWORD not in repr(steps)
    return {step.step: step for step in steps}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_all_is_well(card: SimpleNamespace, anyio_backend: str) -> None:
    async with serve_webitel(control_port=None, verto_port=0) as simulator:
        tap = Tap(simulator)
        steps = await diagnosed(simulator)
        await tap.until_nobody_is_there()
        assert not simulator.switchboard.legs
    names = list(steps)
    assert names[names.index("recordings") :] == [
        "recordings",
        "web_phone: log_in",
        *(f"sound: {name}" for name in SOUND),
        "provider_steps",
    ]
    assert {name for name in names if name.startswith("web_phone: ")} == {
        f"web_phone: {what}" for what in ("address", "encryption", "name", "port", "clock", "handshake", "log_in")
    }
    assert {step.state for name, step in steps.items() if name.startswith("web_phone: ")} <= {OK, SKIPPED}
    assert PHONE in steps["web_phone: log_in"].detail
    assert steps["agent_registered"].state is OK
    assert steps["sound: microphone"].state is OK


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_a_password_that_the_signalling_refuses(card: SimpleNamespace, anyio_backend: str) -> None:
    async with serve_webitel(control_port=None, verto_port=0) as simulator:
        steps = await diagnosed(simulator, web_phone_password="another-4711")
    assert steps["authorisation"].state is OK
    assert steps["web_phone: handshake"].state is OK
    assert steps["web_phone: log_in"].state is FAILED
    assert steps["web_phone: log_in"].remedy
    assert "another-4711" not in repr(steps)
    assert steps["sound: microphone"].state is OK


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_nobody_at_the_address_of_the_signalling(card: SimpleNamespace, anyio_backend: str) -> None:
    async with serve_webitel(control_port=None, verto_port=0) as simulator:
        steps = await diagnosed(simulator, webrtc_connection_string="ws://127.0.0.1:9")
    assert steps["web_phone: port"].state is FAILED
    assert steps["web_phone: log_in"].state is FAILED
    assert "127.0.0.1:9" in steps["web_phone: log_in"].detail


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_an_address_that_is_not_set(anyio_backend: str) -> None:
    async with serve_webitel(control_port=None) as simulator:
        steps = await diagnosed(simulator)
    assert steps["provider_made"].state is FAILED
    assert "webitel.webrtc_connection_string" in steps["provider_made"].detail
    assert "wss://" in (steps["provider_made"].remedy or "")


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.anyio
async def test_on_trio_it_is_told_before_a_call(anyio_backend: str) -> None:
    async with serve_webitel(control_port=None) as simulator:
        steps = await diagnosed(simulator, webrtc_connection_string="ws://127.0.0.1:9")
    assert steps["provider_made"].state is FAILED
    assert "asyncio" in steps["provider_made"].detail
    assert "switch the web phone off" in (steps["provider_made"].remedy or "")


@pytest.mark.anyio
async def test_who_has_none_is_told_nothing_of_it() -> None:
    async with serve_webitel(control_port=None) as simulator:
        steps = await diagnosed(simulator, use_web_phone=False)
    assert not [name for name in steps if name.startswith(("web_phone", "sound"))]
