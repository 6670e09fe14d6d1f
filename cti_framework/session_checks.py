"""Looking at a session that is in service: does the PBX answer, whose clock is right, what does it say of calls and agent?"""

from __future__ import annotations

import time
from typing import Final

from cti_framework.clock import SessionClock
from cti_framework.diagnosis import Checks, Finding, StepState
from cti_framework.errors import NotSupportedError
from cti_framework.provider import BaseCtiProvider

__all__ = ["check_session", "clock_finding"]

_CLOCK_SECONDS: Final = 2.0


async def check_session(checks: Checks, provider: BaseCtiProvider, clock: SessionClock) -> None:
    """Take the steps that any provider can, and those of this provider.

    Args:
        checks: Takes them.
        provider: It is connected and logged in.
        clock: The session's.
    """

    async def answers() -> Finding | str:
        began = time.monotonic()
        try:
            await provider.probe()
        except NotSupportedError:
            return Finding("This provider has no question to ask for that.", StepState.SKIPPED)
        return f"The PBX answers after {(time.monotonic() - began) * 1000:.0f} ms."

    async def snapshot() -> Finding | str:
        taken = await provider.snapshot()
        calls = f"{len(taken.calls)} call{'' if len(taken.calls) == 1 else 's'}"
        agent = "no agent state" if taken.agent is None else f"agent state {taken.agent.state}"
        if not taken.complete:
            return Finding(f"The PBX tells a part only: {calls}, {agent}.", StepState.WARNING, remedy=_PARTIAL_REMEDY)
        return f"The PBX tells {calls}, {agent}."

    async def clock_difference() -> Finding | str:
        ahead = clock.pbx_ahead_seconds
        return Finding("The PBX has not told its time yet.", StepState.SKIPPED) if ahead is None else clock_finding(ahead)

    async def own() -> Finding | str:
        taken = len(checks.steps)
        await provider.diagnose(checks)
        count = len(checks.steps) - taken
        return f"{count} step{'' if count == 1 else 's'} of the provider's own."

    await checks.check("answers", answers)
    await checks.check("snapshot", snapshot)
    # Behind the snapshot, which can tell a time.
    await checks.check("clock", clock_difference)
    await checks.check("provider_steps", own, timeout_seconds=_OWN_SECONDS)


def clock_finding(ahead_seconds: float) -> Finding:
    """Say what a difference of clocks means.

    Args:
        ahead_seconds: How far the other one is ahead of ours; negative: behind.

    Returns:
        A warning where it is more than two seconds.
    """
    told = f"{abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds >= 0 else 'behind'} ours"
    if abs(ahead_seconds) > _CLOCK_SECONDS:
        return Finding(
            f"Its clock is {told}.",
            StepState.WARNING,
            remedy="Have both computers set their clocks by the network (NTP); tokens and times of calls depend on it.",
        )
    return Finding(f"Its clock is {told}.")


_OWN_SECONDS: Final = 60.0
_PARTIAL_REMEDY: Final = "What it does not tell is not ended after an outage; the provider's documentation says why."
