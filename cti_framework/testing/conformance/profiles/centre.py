"""The call centre: taking calls of queues, or not."""

from __future__ import annotations

from cti_framework.agents import AgentFeature
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["CallCentreProfile"]


class CallCentreProfile(Profile):
    """Call-centre mode."""

    @rule(
        "centre.mode",
        "set_call_centre_mode switches whether the operator takes calls of queues, and a report says so.",
        contract="BaseCtiProvider.set_call_centre_mode, reports.CallCentreModeReport, Agent.call_centre_mode",
        proves=AgentFeature.CALL_CENTRE_MODE,
    )
    async def test_the_mode_is_switched(self, stand: Stand) -> None:
        for on in (True, False, True):
            await stand.within(stand.model.set_call_centre_mode(on), f"set_call_centre_mode({on})")
            await _until(stand, on=on)

    @rule(
        "centre.calls",
        "Whoever takes calls of queues still has calls of their own.",
        contract="BaseCtiProvider.set_call_centre_mode",
        proves=AgentFeature.CALL_CENTRE_MODE,
    )
    async def test_own_calls_go_on(self, stand: Stand) -> None:
        await stand.model.set_call_centre_mode(True)
        await _until(stand, on=True)
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)


async def _until(stand: Stand, *, on: bool) -> None:
    await stand.until_so(lambda: stand.model.agent.call_centre_mode is on, f"call_centre_mode is {on}")
