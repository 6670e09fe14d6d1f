"""``cti doctor`` on the PBX in memory: what a newcomer sees first is all well."""

from __future__ import annotations

import anyio
import pytest

from cti_dummy import DummyPbx
from cti_framework.diagnosis import Checks, DiagnosisStep, StepState
from cti_framework.doctor import examine
from cti_framework.errors import SessionClosedError
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.plugins import Plugins
from cti_framework.provider import CtiUser

pytestmark = pytest.mark.anyio


def initializer(**settings: object) -> CtiProviderInitializer:
    return CtiProviderInitializer({"cti.provider": "dummy", **settings}, environ={}, plugins=Plugins())


async def diagnosed(**settings: object) -> dict[str, DiagnosisStep]:
    with anyio.fail_after(10):
        return {step.step: step for step in await examine(lambda: initializer(**settings), CtiUser("100"))}


async def test_all_is_well() -> None:
    steps = await diagnosed()
    assert {step.state for step in steps.values()} == {StepState.OK}
    assert list(steps)[-2:] == ["agent_registered", "provider_steps"]
    assert steps["endpoints"].detail == "It names no address."


async def test_no_phone() -> None:
    pbx = DummyPbx()
    pbx.switchboard.set_registered("100@demo.local", registered=False)
    steps = await diagnosed(**{"dummy.pbx": pbx})
    assert steps["agent_registered"].state is StepState.WARNING
    # That PBX has the same clock in every run.
    assert steps["clock"].state is StepState.WARNING


async def test_no_such_user() -> None:
    steps = await diagnosed(**{"dummy.number": "999"})
    assert steps["authorisation"].state is StepState.FAILED
    assert "999@demo.local" in steps["authorisation"].detail
    assert steps["authorisation"].remedy == "Set dummy.number to 100, 101 or 102."


async def test_an_open_session_can_be_looked_at() -> None:
    checks = Checks()
    async with initializer().open("100") as model:
        await model.examine(checks)
    assert [step.step for step in checks.steps] == ["answers", "snapshot", "clock", "agent_registered", "provider_steps"]
    assert {step.state for step in checks.steps} == {StepState.OK}
    with pytest.raises(SessionClosedError):
        await model.examine(checks)
    assert len(checks.steps) == 5
