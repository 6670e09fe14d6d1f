"""Conference: all three together."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import CallFeature, CallState
from cti_framework.testing.conformance.profiles.transfer import consulting
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile

__all__ = ["ConferenceProfile"]

_CONFERENCE: Final = CallFeature.CONFERENCE


class ConferenceProfile(Profile):
    """More than two parties in one call."""

    @rule(
        "conference.joined",
        "conference brings all three together, and Conferenced says so of a call that stays up.",
        contract="BaseCtiProvider.conference, reports.Conferenced",
        proves=_CONFERENCE,
        needs=CallFeature.CONSULT,
    )
    async def test_three_are_brought_together(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.within(stand.model.conference(first, enquiry), "conference")
        await stand.until_so(
            lambda: any(call.state is CallState.CONFERENCED for call in stand.model.calls), "a call is CONFERENCED"
        )

    @rule(
        "conference.left",
        "The operator can leave a conference.",
        contract="BaseCtiProvider.drop_call",
        proves=_CONFERENCE,
        needs=(CallFeature.CONSULT, CallFeature.DROP),
    )
    async def test_the_operator_leaves(self, stand: Stand) -> None:
        first, enquiry = await consulting(stand)
        await stand.model.conference(first, enquiry)
        await stand.until_so(
            lambda: any(call.state is CallState.CONFERENCED for call in stand.model.calls), "a call is CONFERENCED"
        )
        for call in stand.model.calls:
            if stand.model.call(call.id) is not None:
                await stand.within(stand.model.drop_call(call), "drop_call")
        await stand.until_so(lambda: not stand.model.calls, "no call is left")
