"""Tones: sent by the operator, pressed by the far end."""

from __future__ import annotations

from typing import Final

from cti_framework.calls import Call, CallFeature, Side
from cti_framework.errors import CommandError
from cti_framework.events import DtmfEntered
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.stand import Stand, is_same_call
from cti_framework.testing.conformance.suite import Profile

__all__ = ["TonesProfile"]

_ALL: Final = "0123456789*#ABCD"


class TonesProfile(Profile):
    """DTMF."""

    @rule(
        "tones.sent",
        "send_dtmf takes each of 0123456789*#ABCD; where the operator's own tones are told, they are those that were sent, in"
        " order.",
        contract="BaseCtiProvider.send_dtmf, reports.Tones",
        proves=CallFeature.DTMF,
    )
    async def test_tones_are_sent(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.within(stand.model.send_dtmf(_ALL, call), "send_dtmf")
        await stand.settle()
        stand.expect(not _pressed(stand, call, Side.OTHER), "The operator's own tones are told as the far end's.")
        own = _pressed(stand, call, Side.OWN)
        stand.expect(own in ("", _ALL), f"{_ALL} was sent, and {own} is told to be.")

    @rule(
        "tones.received",
        "Tones that the far end presses are told, in order, and not as the operator's own.",
        contract="reports.Tones",
        shows="tones",
    )
    async def test_tones_are_received(self, stand: Stand) -> None:
        call = await stand.talking()
        for digit in "4*1#":
            await stand.far.do("tones", stand.number_of(call), digit)
        await stand.until_so(
            lambda: _pressed(stand, call, Side.OTHER, Side.UNKNOWN) == "4*1#", "4*1# was told, not by the operator"
        )

    @rule(
        "tones.refusal",
        "What the PBX does not do ends in a CommandError: tones cannot be sent on a call that is over.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=CallFeature.DTMF,
    )
    async def test_refused_tones_are_told(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's send_dtmf on a call that is over"):
            await stand.within(stand.provider.send_dtmf(finished, "1"), "send_dtmf")


def _pressed(stand: Stand, call: Call, *by: Side) -> str:
    return "".join(
        event.digits
        for event in stand.seen.events
        if isinstance(event, DtmfEntered) and event.by in by and is_same_call(event.call, call.id)
    )
