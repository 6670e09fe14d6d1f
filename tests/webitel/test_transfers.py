"""Consulting, transferring, alternating, waiting calls: at a simulated engine without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from cti_framework.calls import Call, CallFeature, CallRole, CallState, EndCause, Side
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    InvalidArgumentError,
    NotAllowedNowError,
)
from cti_framework.events import CallFinished, CallStarted, CallUnheld, ErrorOccurred, Event
from cti_framework.switchboard import Device, SwitchError
from tests.webitel.in_memory import Desk, desk
from tests.webitel.sessions import CALLER, FAR, OWN

pytestmark = pytest.mark.anyio

ASKED = "0509998877"
OTHER_CALLER = "0442223344"


async def talking_in(at: Desk, caller: str = CALLER) -> Call:
    """A caller is talked to."""
    at.switchboard.incoming(caller, OWN)
    at.switchboard.answer(at.own_legs[-1].uuid)
    await at.settle()
    return at.model.calls[-1]


async def talking_out(at: Desk) -> Call:
    """A number that was called is talked to."""
    await at.ask(at.model.make_call, FAR)
    at.switchboard.answer(at.own_legs[-1].uuid)
    await at.settle()
    at.switchboard.answer(at.switchboard.legs_at(FAR)[0].uuid)
    await at.settle()
    return at.model.calls[-1]


async def consulting(at: Desk, first: Call, *, answered: bool = True) -> tuple[Call, Call]:
    """The first call is held, and somebody is consulted on its behalf."""
    await at.ask(at.model.make_consult_call, ASKED, first)
    at.switchboard.answer(at.own_legs[-1].uuid)
    await at.settle()
    if answered:
        at.switchboard.answer(at.switchboard.legs_at(ASKED)[0].uuid)
        await at.settle()
    parent = at.model.call(first.id)
    assert parent is not None
    enquiry = next(call for call in at.model.calls if call.parent_id == parent.id)
    return parent, enquiry


@asynccontextmanager
async def watched(at: Desk) -> AsyncIterator[list[Event]]:
    """Collect the session's events of the block."""
    events: list[Event] = []
    read = at.model.events()
    yield events
    while (event := read.next_nowait()) is not None:
        events.append(event)


def ends(events: list[Event]) -> list[Call]:
    return [event.call for event in events if isinstance(event, CallFinished)]


def numbers_joined(at: Desk) -> set[frozenset[str]]:
    legs = at.switchboard.legs
    return {frozenset({leg.snapshot.party_number, leg.partner.snapshot.party_number}) for leg in legs if leg.partner is not None}


# --- consult


@pytest.mark.parametrize("begin", [talking_in, talking_out])
async def test_an_enquiry_holds_first_and_knows_its_first_call(begin: Any) -> None:
    async with desk() as at:
        first = await begin(at)
        async with watched(at) as events:
            enquiry = await at.ask(at.model.make_consult_call, ASKED, first)
            assert enquiry.parent_id == first.id
            assert enquiry.other.number == ASKED
            await at.settle()
        order = [type(event).__name__ for event in events if type(event).__name__ in ("CallHeld", "CallStarted")]
        assert order == ["CallHeld", "CallStarted"], "it goes on when the hold is confirmed"
        assert at.model.current_call is not None
        assert at.model.current_call.id == first.id
        assert at.model.current_call.held_by == {Side.OWN}
        assert at.model.consult_call is not None
        assert at.model.consult_call.role is CallRole.CONSULT


async def test_a_call_that_is_held_already_is_not_held_again() -> None:
    async with desk() as at:
        first = await talking_in(at)
        await at.ask(at.model.hold_call, first)
        await at.settle()
        async with watched(at) as events:
            await at.ask(at.model.make_consult_call, ASKED, first)
            await at.settle()
        assert "CallHeld" not in [type(event).__name__ for event in events]


async def test_an_enquiry_that_the_engine_refuses_gives_the_first_call_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        first = await talking_in(at)

        async def refuse(*arguments: object, **keywords: object) -> str:
            raise CommandRefusedError("no", pbx_text="-ERR USER_BUSY\n")

        monkeypatch.setattr(at.webitel, "consult", refuse)
        with pytest.raises(CommandRefusedError, match="USER_BUSY"):
            await at.ask(at.model.make_consult_call, ASKED, first)
        await at.settle()
        assert at.model.calls[0].state is CallState.CONNECTED
        assert at.line_says() == at.switch_says()


async def test_a_hold_that_is_never_shown_ends_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(command_timeout_seconds=0.05) as at:
        first = await talking_in(at)

        async def say_yes(leg: str) -> str:
            return "+OK Success"

        monkeypatch.setattr(at.webitel, "hold", say_yes)
        with pytest.raises(CommandUnconfirmedError, match="accepted the hold"):
            await at.ask(at.model.make_consult_call, ASKED, first)
        assert len(at.own_legs) == 1, "nobody was called"


async def test_a_destination_that_could_inject_is_refused_before_the_hold() -> None:
    async with desk() as at:
        first = await talking_in(at)
        with pytest.raises(InvalidArgumentError, match="','"):
            await at.ask(at.model.make_consult_call, "050,1", first)
        with pytest.raises(InvalidArgumentError, match="','"):
            await at.ask(at.model.blind_transfer, "050,1", first)
        await at.settle()
        assert at.model.calls[0].state is CallState.CONNECTED


async def test_the_far_end_of_an_enquiry_refuses_and_the_first_call_comes_back() -> None:
    async with desk() as at:
        parent, _ = await consulting(at, await talking_in(at), answered=False)
        async with watched(at) as events:
            at.switchboard.hang_up(at.switchboard.legs_at(ASKED)[0].uuid, "USER_BUSY")
            await at.settle()
        (ended,) = ends(events)
        assert ended.cause is EndCause.BUSY
        assert [type(event) for event in events if isinstance(event, CallUnheld)] == [CallUnheld]
        assert [call.id for call in at.model.calls] == [parent.id]
        assert at.line_says() == at.switch_says()


async def test_the_first_caller_hangs_up_during_the_enquiry_which_goes_on() -> None:
    async with desk() as at:
        _, enquiry = await consulting(at, await talking_in(at))
        at.switchboard.hang_up(at.switchboard.legs_at(CALLER)[0].uuid)
        await at.settle()
        assert [(call.id, call.role, call.state) for call in at.model.calls] == [
            (enquiry.id, CallRole.CURRENT, CallState.CONNECTED)
        ]


# --- complete


@pytest.mark.parametrize("begin", [talking_in, talking_out])
async def test_a_completed_transfer_joins_the_far_ends_and_ends_both_calls(begin: Any) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await begin(at))
        async with watched(at) as events:
            await at.ask(at.model.complete_transfer, parent, enquiry)
            await at.settle()
        assert at.model.calls == ()
        assert numbers_joined(at) == {frozenset({parent.other.number, ASKED})}
        by_id = {call.other.number: call for call in ends(events)}
        first, second = by_id[parent.other.number], by_id[ASKED]
        assert first.cause is second.cause is EndCause.TRANSFERRED
        (redirection,) = first.redirections
        assert (redirection.by, redirection.to) == ("100", ASKED), "facts: creatio-cti 7.4, 6: the right way round"
        assert second.redirections == ()


async def test_a_transfer_that_the_switch_refuses_changes_nothing() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))

        async def refuse(**legs: object) -> str:
            raise CommandRefusedError("no", pbx_text="-ERR Invalid uuid")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(at.webitel, "confirm_transfer", refuse)
            with pytest.raises(CommandRefusedError):
                await at.ask(at.model.complete_transfer, parent, enquiry)
        async with watched(at) as events:
            at.switchboard.hang_up(at.switchboard.legs_at(CALLER)[0].uuid)
            await at.settle()
        (ended,) = ends(events)
        assert ended.cause is EndCause.NORMAL, "an end after a transfer that failed is none of a transfer"
        assert ended.redirections == ()


# --- cancel


async def test_a_cancelled_transfer_ends_the_enquiry_and_gives_the_first_call_back() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        async with watched(at) as events:
            await at.ask(at.model.cancel_transfer, parent, enquiry)
            await at.settle()
        (ended,) = ends(events)
        assert ended.former_ids[:1] == (enquiry.id,) or ended.id == enquiry.id
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.CONNECTED)]
        assert len([event for event in events if isinstance(event, CallUnheld)]) == 1, "taken back once"
        assert not [event for event in events if isinstance(event, ErrorOccurred)]


async def test_an_enquiry_that_still_rings_can_be_cancelled() -> None:
    async with desk() as at:
        first = await talking_in(at)
        enquiry = await at.ask(at.model.make_consult_call, ASKED, first)
        await at.settle()
        async with watched(at) as events:
            await at.ask(at.model.cancel_transfer, first, enquiry)
            await at.settle()
        assert [call.cause for call in ends(events)] == [EndCause.CANCELLED]
        assert at.model.calls[0].state is CallState.CONNECTED


async def test_a_first_call_that_does_not_come_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))

        async def refuse(leg: str) -> str:
            raise CommandRefusedError("unhold was refused.", pbx_text="-ERR Operation failed")

        monkeypatch.setattr(at.webitel, "unhold", refuse)
        with pytest.raises(CommandError, match="still on hold") as caught:
            await at.ask(at.model.cancel_transfer, parent, enquiry)
        assert caught.value.stage is CommandStage.UNCONFIRMED, "half of it acted"


async def test_dropping_the_enquiry_gives_the_first_call_back_too() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        await at.ask(at.model.drop_call, enquiry)
        await at.settle()
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.CONNECTED)]


# --- alternate


async def test_alternating_talks_to_the_other_one() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        for talked_to in (parent, enquiry, parent):
            await at.ask(at.model.alternate, parent, enquiry)
            await at.settle()
            states = {call.id: call.state for call in at.model.calls}
            assert states[talked_to.id] is CallState.CONNECTED
            assert sorted(states.values()) == [CallState.CONNECTED, CallState.HELD]


async def test_alternating_that_stops_halfway_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))

        async def refuse(leg: str) -> str:
            raise CommandRefusedError("unhold was refused.", pbx_text="-ERR Operation failed")

        monkeypatch.setattr(at.webitel, "unhold", refuse)
        with pytest.raises(CommandError, match="Both calls are on hold"):
            await at.ask(at.model.alternate, parent, enquiry)


# --- blind


@pytest.mark.parametrize("begin", [talking_in, talking_out])
@pytest.mark.parametrize("held", [False, True])
async def test_a_blind_transfer_sends_the_far_end_on(begin: Any, held: bool) -> None:
    async with desk() as at:
        call = await begin(at)
        if held:
            await at.ask(at.model.hold_call, call)
            await at.settle()
        async with watched(at) as events:
            await at.ask(at.model.blind_transfer, "102", call)
            await at.settle()
        assert at.model.calls == ()
        assert [leg.snapshot.presence for leg in at.switchboard.legs if leg.snapshot.presence] == ["102@demo.local"]
        (ended,) = ends(events)
        assert ended.cause is EndCause.TRANSFERRED
        (redirection,) = ended.redirections
        assert (redirection.by, redirection.to) == ("100", "102")


async def test_whom_the_switch_does_not_show_cannot_be_sent_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)

        async def dump(leg: str) -> dict[str, str]:
            return {"Unique-ID": leg, "Answer-State": "answered"}

        monkeypatch.setattr(at.webitel, "channel_dump", dump)
        with pytest.raises(NotAllowedNowError, match="nobody at its far end"):
            await at.ask(at.model.blind_transfer, "102", call)


# --- call waiting


async def test_a_second_caller_waits_and_can_be_answered() -> None:
    async with desk() as at:
        first = await talking_in(at)
        at.switchboard.incoming(OTHER_CALLER, OWN)
        await at.settle()
        roles = {call.other.number: call.role for call in at.model.calls}
        assert roles == {CALLER: CallRole.CURRENT, OTHER_CALLER: CallRole.WAITING}
        await at.ask(at.model.hold_call, first)
        at.switchboard.answer(at.own_legs[-1].uuid)
        await at.settle()
        assert at.line_says() == at.switch_says()


async def test_rejected_as_busy_a_second_caller_is_told_all_the_same() -> None:
    async with desk(reject_as_busy=True) as at:
        await talking_in(at)
        async with watched(at) as events:
            caller, _ = at.switchboard.incoming(OTHER_CALLER, OWN)
            await at.settle()
        started = [event.call.other.number for event in events if isinstance(event, CallStarted)]
        (ended,) = ends(events)
        assert started == [OTHER_CALLER]
        assert (ended.other.number, ended.cause, ended.connected_at) == (OTHER_CALLER, EndCause.BUSY, None), "finished as missed"
        with pytest.raises(SwitchError):
            at.switchboard.leg(caller.uuid)
        assert len(at.model.calls) == 1


async def test_rejected_on_all_phones() -> None:
    async with desk(reject_as_busy=True) as at:
        await talking_in(at)
        at.switchboard.set_account(OWN, devices=(Device(), Device(number=2)))
        at.switchboard.incoming(OTHER_CALLER, OWN)
        await at.settle()
        assert len(at.own_legs) == 1


async def test_a_first_caller_is_not_rejected_and_neither_is_an_enquiry() -> None:
    async with desk(reject_as_busy=True) as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        assert [call.id for call in at.model.calls] == [parent.id, enquiry.id]


async def test_two_callers_at_once_are_one_too_many() -> None:
    async with desk(reject_as_busy=True) as at:
        at.switchboard.incoming(CALLER, OWN)
        at.switchboard.incoming(OTHER_CALLER, OWN)
        await at.settle()
        assert [call.other.number for call in at.model.calls] == [CALLER], "the first of them rings on"


async def test_after_an_outage_calls_that_are_over_make_nobody_busy() -> None:
    async with desk(reject_as_busy=True) as at:
        await talking_in(at)
        at.engine.drop_sockets()
        at.switchboard.hang_up(at.own_legs[0].uuid)
        at.switchboard.incoming(OTHER_CALLER, OWN)
        # One that had only just begun is looked for twice: a list can lag.
        with anyio.fail_after(10):
            while [call.other.number for call in at.model.calls] != [OTHER_CALLER]:
                await anyio.lowlevel.checkpoint()
        await at.settle()
        assert [call.other.number for call in at.model.calls] == [OTHER_CALLER]


async def test_a_phone_that_is_told_of_late_is_rejected_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(reject_as_busy=True) as at:
        await talking_in(at)
        late: list[str] = []
        hangup = at.webitel.hangup

        async def and_another_rings(leg: str, cause: str | None = None) -> str:
            if not late:
                late.append("one more")
                at.provider.context.log.debug("the second phone is told of only now")
                at.switchboard.set_account(OWN, devices=(Device(), Device(number=2)))
            return await hangup(leg, cause)

        monkeypatch.setattr(at.webitel, "hangup", and_another_rings)
        at.switchboard.incoming(OTHER_CALLER, OWN)
        await at.settle()
        assert len(at.own_legs) == 1


async def test_a_listener_that_another_program_asked_for_is_not_rejected() -> None:
    async with desk(reject_as_busy=True) as at:
        await talking_in(at)
        _, colleague = at.switchboard.incoming(OTHER_CALLER, "101@demo.local")
        at.switchboard.answer(colleague[0].uuid)
        at.switchboard.eavesdrop(OWN, colleague[0].uuid, caller_number="101")
        await at.settle()
        assert len(at.own_legs) == 2


# --- the far end is quicker, the answer is lost, the host gives up


async def test_an_enquiry_that_ends_by_itself_while_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))

        async def too_late(**legs: object) -> str:
            at.switchboard.hang_up(at.switchboard.legs_at(ASKED)[0].uuid)
            await at.settle()
            raise CommandRefusedError("no", pbx_text="-ERR No such channel!")

        monkeypatch.setattr(at.webitel, "cancel_transfer", too_late)
        await at.ask(at.model.cancel_transfer, parent, enquiry)
        await at.settle()
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.CONNECTED)]


@pytest.mark.parametrize("how", ["the answer is lost", "the host gives up"])
async def test_a_cancelled_transfer_that_nobody_hears_of_gives_the_first_call_back(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        cancel_transfer = at.webitel.cancel_transfer

        async def acted(**legs: Any) -> str:
            await cancel_transfer(**legs)
            if how == "the answer is lost":
                await at.settle()
                raise CommandUnconfirmedError("no answer")
            scope.cancel()
            await anyio.sleep_forever()
            return ""

        monkeypatch.setattr(at.webitel, "cancel_transfer", acted)
        with anyio.CancelScope() as scope, suppress(CommandUnconfirmedError):
            await at.model.cancel_transfer(parent, enquiry)
        await at.settle()
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.CONNECTED)]


async def test_a_transfer_that_may_have_acted_and_did_not_is_no_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)

        async def lost(leg: str, number: str) -> str:
            raise CommandUnconfirmedError("no answer")

        monkeypatch.setattr(at.webitel, "transfer", lost)
        with pytest.raises(CommandUnconfirmedError):
            await at.ask(at.model.blind_transfer, "102", call)
        async with watched(at) as events:
            await at.ask(at.model.drop_call, call)
            await at.settle()
        (ended,) = ends(events)
        assert (ended.cause, ended.redirections) == (EndCause.NORMAL, ())


async def test_a_first_call_that_ends_during_its_hold_ends_the_verb_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)

        async def gone(leg: str) -> str:
            at.switchboard.hang_up(leg)
            return "+OK Success"

        monkeypatch.setattr(at.webitel, "hold", gone)
        with anyio.fail_after(5), pytest.raises(CommandRefusedError, match="over"):
            await at.model.make_consult_call(ASKED, call)


async def test_alternating_while_the_other_one_hangs_up_leaves_nobody_on_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        await at.ask(at.model.alternate, parent, enquiry)
        await at.settle()
        hold = at.webitel.hold

        async def and_the_other_goes(leg: str) -> str:
            at.switchboard.hang_up(at.switchboard.legs_at(ASKED)[0].uuid)
            return await hold(leg)

        monkeypatch.setattr(at.webitel, "hold", and_the_other_goes)
        with suppress(CommandRefusedError):
            await at.ask(at.model.alternate, parent, enquiry)
        await at.settle()
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.CONNECTED)]


async def test_an_enquiry_that_was_given_up_and_is_refused_later_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)
        refused = anyio.Event()

        async def refuse_late(number: str, **options: object) -> str:
            scope.cancel()
            await refused.wait()
            raise CommandRefusedError("no", pbx_text="-ERR USER_NOT_REGISTERED")

        monkeypatch.setattr(at.webitel, "consult", refuse_late)
        async with watched(at) as events:
            with anyio.CancelScope() as scope:
                await at.model.make_consult_call(ASKED, call)
            refused.set()
            await at.settle()
        assert [event for event in events if isinstance(event, ErrorOccurred)]
        assert at.model.calls[0].state is CallState.CONNECTED, "and the first call is back"


async def test_a_call_that_was_held_for_an_enquiry_that_is_given_up_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)
        hold = at.webitel.hold

        async def given_up_meanwhile(leg: str) -> str:
            answer = await hold(leg)
            scope.cancel()
            return answer

        monkeypatch.setattr(at.webitel, "hold", given_up_meanwhile)
        events = at.model.events()
        with anyio.CancelScope() as scope:
            await at.model.make_consult_call(ASKED, call)
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            while not isinstance(events.next_nowait(), CallUnheld):
                await at.settle()
        assert [(known.id, known.state) for known in at.model.calls] == [(call.id, CallState.CONNECTED)]
        assert at.model.commands[-1].stage is CommandStage.UNCONFIRMED


async def test_a_call_that_was_held_for_an_enquiry_that_cannot_be_sent_may_have_acted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_in(at)

        async def and_the_line_is_cut(verb: str, held: Call) -> bool:
            held_now = await hold_for(verb, held)
            monkeypatch.setattr(at.webitel, "_connected", False)
            return held_now

        hold_for = at.provider._transfers.hold_for
        monkeypatch.setattr(at.model, "_timeouts", attrs.evolve(at.model._timeouts, resolve_seconds=0.01))
        monkeypatch.setattr(at.provider._transfers, "hold_for", and_the_line_is_cut)
        with pytest.raises(CommandUnconfirmedError) as caught:
            await at.ask(at.model.make_consult_call, ASKED, call)
        assert not caught.value.retryable
        monkeypatch.setattr(at.webitel, "_connected", True)


async def test_calls_that_were_both_held_on_purpose_stay_so() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        await at.ask(at.model.hold_call, enquiry)
        await at.settle()
        at.switchboard.hang_up(at.switchboard.legs_at(ASKED)[0].uuid)
        await at.settle()
        assert [(call.id, call.state) for call in at.model.calls] == [(parent.id, CallState.HELD)]


async def test_waiting_after_a_reconnection_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(command_timeout_seconds=0.2) as at:
        call = await talking_in(at)
        at.engine.drop_sockets()
        with anyio.fail_after(5):
            while not at.model.calls or at.model.calls[0].stale or not at.webitel.connected:
                await anyio.lowlevel.checkpoint()
        looked: list[str] = []
        find = at.provider.context.call

        def counted(call_id: str) -> Call | None:
            looked.append(call_id)
            return find(call_id)

        async def say_yes(leg: str) -> str:
            return "+OK Success"

        monkeypatch.setattr(at.webitel, "hold", say_yes)
        monkeypatch.setattr(type(at.provider.context), "call", lambda context, call_id: counted(call_id))
        with pytest.raises(CommandUnconfirmedError):
            await at.model.make_consult_call(ASKED, call)
        assert len(looked) < 50


# --- the connection breaks in between


async def test_the_connection_breaks_while_a_hold_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        first = await talking_in(at)

        async def break_off(leg: str) -> str:
            at.engine.drop_sockets()
            return "+OK Success"

        monkeypatch.setattr(at.webitel, "hold", break_off)
        with anyio.fail_after(5), pytest.raises(CommandUnconfirmedError):
            await at.model.make_consult_call(ASKED, first)


async def test_features_of_an_enquiry_follow_the_table() -> None:
    async with desk() as at:
        parent, enquiry = await consulting(at, await talking_in(at))
        assert CallFeature.COMPLETE_TRANSFER in parent.features
        assert CallFeature.CANCEL_TRANSFER in parent.features
        assert CallFeature.ALTERNATE in parent.features
        assert CallFeature.CONSULT not in enquiry.features
