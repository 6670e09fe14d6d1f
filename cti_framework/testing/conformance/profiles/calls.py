"""Basic calls: made, offered, answered, ended; each told once, in order, about the right call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause
from cti_framework.errors import CommandError, InvalidArgumentError
from cti_framework.events import CallConnected, CallFinished, CallStarted
from cti_framework.reports import CallReport, Connected, Ended, Offered, Originated, Report
from cti_framework.testing.conformance.profiles.several import SeveralCallsProfile, is_open
from cti_framework.testing.conformance.rules import rule
from cti_framework.testing.conformance.running import Broken, NotMeasured
from cti_framework.testing.conformance.stand import CALLER, CALLER_NAME, OTHER_CALLER, Stand, is_same_call, is_same_number

__all__ = ["CallsProfile"]

_DIAL: Final = CallFeature.DIAL
_DROP: Final = CallFeature.DROP
_BACK: Final = timedelta(milliseconds=100)
_HARMLESS: Final = frozenset({"repeated"})


class CallsProfile(SeveralCallsProfile):
    """Calls that nobody holds or sends on."""

    # --- of the operator's own making

    @rule(
        "calls.made",
        "make_call gives the call as soon as the PBX shows it: outgoing, ringing, to the number that was asked for, open on the"
        " line; and makes one call.",
        contract="BaseCtiProvider.make_call",
        proves=_DIAL,
    )
    async def test_a_call_is_made(self, stand: Stand) -> None:
        number = stand.simulation.subscriber
        call = await stand.within(stand.model.make_call(number), "make_call")
        stand.expect(
            any(isinstance(event, CallStarted) and event.call.id == call.id for event in stand.seen.events),
            f"make_call gave call {call.id}, of which no report has told.",
        )
        stand.expect(call.direction is CallDirection.OUT, f"The call's direction is {call.direction.name}, not OUT.")
        stand.expect(
            is_same_number(call.other.number, number), f"The call's other party is {call.other.number!r}, {number!r} was called."
        )
        stand.expect(call.state is not CallState.CONNECTED, "make_call gave the call only when the far end had answered.")
        await stand.settle()
        stand.expect(len(stand.model.calls) == 1, f"One call was made, and {len(stand.model.calls)} are shown.")

    @rule(
        "calls.connected",
        "Connected says when both can talk: for an outgoing call when the far end has answered, not when the operator's own"
        " phone was picked up.",
        contract="reports.Answered, reports.Connected",
        proves=_DIAL,
    )
    async def test_a_call_is_connected(self, stand: Stand) -> None:
        call = await stand.calling()
        stand.expect(call.state is CallState.CONNECTED, f"The call is {call.state.name} when it is connected.")
        if stand.far.can("tones"):
            try:
                # Only who has answered can press keys.
                await stand.far.do("tones", stand.simulation.subscriber, "1")
            except NotMeasured:
                raise
            except Exception as error:
                raise Broken(f"The call is told to be connected, and the far end cannot press a key: {error}.") from error
        await stand.settle()
        connected = [event for event in stand.seen.events if isinstance(event, CallConnected)]
        stand.expect(len(connected) == 1, f"CallConnected was told {len(connected)} times.")
        stand.expect(is_open(stand, call), "The call is not open any more, though nobody has hung up.")

    @rule(
        "calls.dropped-ringing",
        "drop_call ends a call that the far end has not answered; it is never told to be connected.",
        contract="BaseCtiProvider.drop_call",
        proves=_DROP,
        needs=_DIAL,
    )
    async def test_a_ringing_call_is_dropped(self, stand: Stand) -> None:
        call = await stand.model.make_call(stand.simulation.subscriber)
        await stand.within(stand.model.drop_call(call), "drop_call")
        finished = await stand.finished(call)
        stand.expect(finished.connected_at is None, "The call is told to have been connected.")
        await _once(stand, call)

    @rule(
        "calls.dropped",
        "drop_call ends a call that is talked on.",
        contract="BaseCtiProvider.drop_call",
        proves=_DROP,
    )
    async def test_a_call_is_dropped(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.within(stand.model.drop_call(call), "drop_call")
        await stand.finished(call)
        await _once(stand, call)

    @rule(
        "calls.destination",
        "A destination that cannot be dialled raises InvalidArgumentError, and nothing is sent: a line break is in no number.",
        contract="BaseCtiProvider.make_call",
        proves=_DIAL,
    )
    async def test_a_destination_that_cannot_be_dialled(self, stand: Stand) -> None:
        for destination in ("050\r\n112", "050\x00112"):
            with stand.expect_error(InvalidArgumentError, doing=f"make_call({destination!r})"):
                await stand.within(stand.model.make_call(destination), "make_call")
        await stand.settle()
        stand.expect(not stand.seen.reports_of(CallReport), "A call was begun all the same.")

    # --- offered to the operator

    @rule(
        "calls.offered",
        "A call for the operator is told when it rings: incoming, from the caller's number, not connected.",
        contract="reports.Offered",
    )
    async def test_a_call_is_offered(self, stand: Stand) -> None:
        call = await stand.incoming(name=CALLER_NAME)
        stand.expect(call.direction is CallDirection.IN, f"The call's direction is {call.direction.name}, not IN.")
        stand.expect(call.state is CallState.ALERTING, f"The call is {call.state.name}, not ALERTING.")
        stand.expect(
            is_same_number(call.other.number, CALLER), f"The call's other party is {call.other.number!r}, {CALLER!r} calls."
        )

    @rule(
        "calls.named",
        "What the PBX knows of the other party's name is told, at the latest when the call is connected.",
        contract="reports.Offered, reports.InfoChanged",
        shows="names",
    )
    async def test_the_callers_name(self, stand: Stand) -> None:
        call = await stand.pick_up(await stand.incoming(name=CALLER_NAME))
        await stand.until_so(lambda: stand.now(call).other.name == CALLER_NAME, f"the other party's name is {CALLER_NAME!r}")

    @rule(
        "calls.picked-up",
        "A call that the operator's own phone answers is connected, whoever picked the phone up.",
        contract="reports.Connected",
    )
    async def test_the_own_phone_is_picked_up(self, stand: Stand) -> None:
        call = await stand.incoming()
        await stand.far.do("answer_own")
        connected = (await stand.until(CallConnected, call)).call
        stand.expect(connected.answered_at is not None, "The call is connected and was never answered.")

    @rule(
        "calls.answered",
        "answer_call picks the operator's phone up.",
        contract="BaseCtiProvider.answer_call",
        proves=CallFeature.ANSWER,
    )
    async def test_a_call_is_answered(self, stand: Stand) -> None:
        call = await stand.incoming()
        stand.expect(CallFeature.ANSWER in stand.now(call).features, "The call rings and ANSWER is not offered.")
        await stand.within(stand.model.answer_call(call), "answer_call")
        await stand.until(CallConnected, call)

    @rule(
        "calls.missed",
        "A caller who gives up leaves a call that has ended and was never connected.",
        contract="reports.Ended",
    )
    async def test_a_caller_gives_up(self, stand: Stand) -> None:
        call = await stand.incoming()
        await stand.far.do("hang_up", CALLER)
        finished = await stand.finished(call)
        stand.expect(finished.missed, f"The call counts as taken: {finished.cause}, connected at {finished.connected_at}.")
        await _once(stand, call)

    @rule(
        "calls.rejected",
        "drop_call refuses a call that rings for the operator.",
        contract="BaseCtiProvider.drop_call",
        proves=_DROP,
    )
    async def test_a_call_is_rejected(self, stand: Stand) -> None:
        call = await stand.incoming()
        await stand.within(stand.model.drop_call(call), "drop_call")
        finished = await stand.finished(call)
        stand.expect(finished.connected_at is None, "The call is told to have been connected.")

    @rule(
        "calls.refused-answer",
        "What the PBX does not do ends in a CommandError: a call that is over cannot be answered.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=CallFeature.ANSWER,
    )
    async def test_a_refused_answer_is_told(self, stand: Stand) -> None:
        call = await stand.incoming()
        await stand.far.do("hang_up", CALLER)
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's answer_call of a call that is over"):
            await stand.within(stand.provider.answer_call(finished), "answer_call")

    # --- the end

    @rule(
        "calls.hung-up",
        "A call that the far end hangs up has ended, with the cause NORMAL.",
        contract="reports.Ended.cause",
    )
    async def test_the_far_end_hangs_up(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        stand.expect(finished.cause is EndCause.NORMAL, f"The cause is {finished.cause}, not NORMAL.")
        stand.expect(not finished.inferred, "The end was not reported: the core had to infer it.")
        await _once(stand, call)

    @rule(
        "calls.ended-once",
        "The end of a call is reported, and reported once; after it nothing is reported about the call.",
        contract="reports.Ended",
    )
    async def test_an_end_is_told_once(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        of_it = [report for report in stand.seen.reports_of(CallReport) if is_same_call(finished, report.call_id)]
        ends = [report for report in of_it if isinstance(report, Ended)]
        stand.expect(len(ends) == 1, f"Ended was reported {len(ends)} times.")
        late = [type(report).__name__ for report in of_it[of_it.index(ends[0]) + 1 :]]
        stand.expect(not late, f"After the end came {', '.join(late)}.")

    @rule(
        "calls.refusal",
        "What the PBX does not do ends in a CommandError: a call that is over cannot be dropped again.",
        contract="BaseCtiProvider: CommandRefusedError, CommandUnconfirmedError",
        proves=_DROP,
    )
    async def test_a_refusal_is_told(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        await stand.settle()
        with stand.expect_error(CommandError, doing="The provider's drop_call of a call that is over"):
            await stand.within(stand.provider.drop_call(finished), "drop_call")

    # --- how it is reported

    @rule(
        "calls.order",
        "The first report about a call is Originated or Offered; the times of the reports about it do not go back.",
        contract="reports; ProviderContext.report",
    )
    async def test_reports_are_in_order(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("tones", stand.number_of(call), "1")
        await stand.far.do("hang_up", stand.number_of(call))
        finished = await stand.finished(call)
        of_it = [report for report in stand.seen.reports_of(CallReport) if is_same_call(finished, report.call_id)]
        first = type(of_it[0])
        stand.expect(issubclass(first, Originated | Offered), f"The first report about the call is {first.__name__}.")
        for before, after in pairwise(of_it):
            stand.expect(
                after.at >= before.at - _BACK,
                f"{type(after).__name__} happened at {after.at}, after {type(before).__name__} at {before.at}.",
            )

    @rule(
        "calls.times",
        "Each report says when it happened: aware, in UTC, on the session's clock.",
        contract="reports.Report.at",
    )
    async def test_times_are_on_the_sessions_clock(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.far.do("hang_up", stand.number_of(call))
        await stand.finished(call)
        snapshot = await stand.provider.snapshot()
        for report in (*stand.seen.reports_of(), snapshot):
            _check_time(stand, report, report.at)
        for report in (*stand.seen.reports_of(Connected, Ended), snapshot):
            distance = abs(report.at - stand.model.now())
            stand.expect(
                distance < timedelta(minutes=1),
                f"{type(report).__name__} is at {report.at}, and the session's clock shows {stand.model.now()}.",
            )

    @rule(
        "calls.sound",
        "Of what is reported in an ordinary call the core refuses nothing but what is repeated; nothing of the plugin raises.",
        contract="line.Line: refusals",
    )
    async def test_reports_are_sound(self, stand: Stand) -> None:
        first = await stand.talking()
        second = await stand.incoming(OTHER_CALLER)
        await stand.far.do("hang_up", OTHER_CALLER)
        await stand.finished(second)
        await stand.far.do("hang_up", stand.number_of(first))
        await stand.finished(first)
        await stand.settle()
        refused = {reason: count for reason, count in stand.model.refused_reports.items() if reason not in _HARMLESS}
        stand.expect(not refused, f"The core refused reports: {refused}.")
        faults = [entry for entry in stand.seen.logs.entries if entry.get("event") == "cti.provider.raised"]
        stand.expect(not faults, f"The provider raised: {faults}.")


async def _once(stand: Stand, call: Call) -> None:
    """Find a call's end told to the host exactly once."""
    await stand.settle()
    ends = [event for event in stand.seen.events if isinstance(event, CallFinished) and is_same_call(event.call, call.id)]
    stand.expect(len(ends) == 1, f"CallFinished was told {len(ends)} times.")
    stand.expect(not is_open(stand, call), "The call is over and still open.")


def _check_time(stand: Stand, report: Report, at: Any) -> None:
    name = type(report).__name__
    stand.expect(isinstance(at, datetime), f"{name}.at is {at!r}, no time.")
    stand.expect(at.tzinfo is not None and at.utcoffset() is not None, f"{name}.at is {at!r}: it is not aware.")
    stand.expect(at.utcoffset() == datetime.now(UTC).utcoffset(), f"{name}.at is {at!r}: it is not in UTC.")
