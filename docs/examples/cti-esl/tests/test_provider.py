"""What the kit cannot know: how FreeSWITCH has it. Rules of our own, measured as the kit measures its."""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from cti_framework import CtiProviderInitializer
from cti_framework.calls import CallDirection, CallFeature, CallState, EndCause, Side
from cti_framework.doctor import StepState, examine
from cti_framework.errors import CommandRefusedError, InvalidArgumentError, NotSupportedError, ProtocolError
from cti_framework.events import (
    CallConnected,
    CallFinished,
    CallInfoChanged,
    CallStarted,
    Cursor,
    DtmfEntered,
    SnapshotTaken,
)
from cti_framework.provider import CtiUser
from cti_framework.reports import Started
from cti_framework.testing.conformance import Profile, ProviderBench, Stand, rule

from boxed import boxed, settings_for, until
from captured import lines
from cti_esl import EslCtiProvider
from cti_esl.simulator import PASSWORD, EslFarSide, running_switch
from told import in_words


def far_side(stand: Stand) -> EslFarSide:
    far = stand.simulation.far_side
    assert isinstance(far, EslFarSide)
    return far


def _rings(far: EslFarSide) -> bool:
    return bool(far.switchboard.legs_at("1001"))


def _is_key(key: str, event: DtmfEntered) -> bool:
    return event.digits == key


class TestProvider(Profile):
    @pytest.fixture
    def bench(self) -> ProviderBench:
        return ProviderBench(EslCtiProvider, name="esl")

    @rule(
        "own.number",
        "What people write into numbers is left out; what cannot be dialled is refused.",
        contract="make_call",
    )
    async def test_numbers(self, stand: Stand) -> None:
        for destination in (
            "",
            "a b;c",
            "1001 XML public",
            "1001,cti_parent=x",
            "{a=b}1",
            "'",
            "5" * 65,
            "&park()",
            "-bleg",
            "-both",
        ):
            with stand.expect_error(InvalidArgumentError, doing=f"make_call({destination!r})"):
                await stand.provider.make_call(destination)
        call = await stand.model.make_call("+380 (50) 123-45-67")
        stand.expect(call.other.number == "+380501234567", f"{call.other.number} was called.")

    @rule("own.unregistered", "A user without a phone is told so, by the switch's word.", contract="make_call")
    async def test_no_phone(self, stand: Stand) -> None:
        far_side(stand).switchboard.set_registered("1000@webitel.test", False)
        try:
            await stand.model.make_call("0501234567")
        except CommandRefusedError as error:
            stand.expect(error.pbx_text == "-ERR USER_NOT_REGISTERED", f"It says {error.pbx_text!r}.")
        else:
            stand.expect(False, "It was not refused.")

    @rule("own.busy", "Why a far end did not answer is told.", contract="Ended")
    async def test_why_a_far_end_did_not_answer(self, stand: Stand) -> None:
        for cause, common in (("USER_BUSY", EndCause.BUSY), ("NO_ANSWER", EndCause.NO_ANSWER)):
            call = await stand.model.make_call("1001")
            await stand.until_so(partial(_rings, far_side(stand)), "the far end rings")
            await stand.far.do("hang_up", "1001", cause)
            finished = await stand.finished(call)
            stand.expect(finished.cause is common, f"{cause} is told as {finished.cause}.")
            stand.expect(finished.connected_at is None, "It is told to have been connected.")

    @rule("own.rejected", "Who is refused hears that he was.", contract="drop_call")
    async def test_a_refused_caller(self, stand: Stand) -> None:
        call = await stand.incoming()
        await stand.model.drop_call(call)
        finished = await stand.finished(call)
        stand.expect(finished.cause is EndCause.REJECTED, f"The cause is {finished.cause}.")
        stand.expect("uuid_kill" in far_side(stand).server.commands[-1], "Nothing was killed.")
        stand.expect(far_side(stand).server.commands[-1].endswith("CALL_REJECTED"), "The caller is not told.")

    @rule("own.tones", "Tones that are sent are told, as the operator's.", contract="send_dtmf")
    async def test_tones(self, stand: Stand) -> None:
        call = await stand.talking()
        await stand.model.send_dtmf("12#", call)
        told = []
        for key in "12#":
            entered = await stand.until(DtmfEntered, call, partial(_is_key, key))
            told.append(entered.by)
        stand.expect(told == [Side.OWN] * 3, f"They are told as {told}.")
        with stand.expect_error(InvalidArgumentError, doing="Sending no tones"):
            await stand.provider.send_dtmf(call, "1\n\nexit")

    @rule(
        "own.hold",
        "A hold by the phone is told, and not offered here: it could not be undone.",
        contract="capabilities",
    )
    async def test_hold(self, stand: Stand) -> None:
        call = await stand.talking()
        stand.expect(CallFeature.HOLD not in stand.now(call).features, "HOLD is offered.")
        board = far_side(stand).switchboard
        board.hold(call.id)
        await stand.until_state(call, CallState.HELD)
        stand.expect(CallFeature.UNHOLD not in stand.now(call).features, "UNHOLD is offered.")
        board.unhold(call.id)
        await stand.until_state(call, CallState.CONNECTED)
        with stand.expect_error(NotSupportedError, doing="hold_call"):
            await stand.provider.hold_call(call)

    @rule(
        "own.enquiry-hold",
        "The first call is held once, however often an enquiry is begun.",
        contract="make_consult_call",
    )
    async def test_an_enquiry_holds_once(self, stand: Stand) -> None:
        call = await stand.talking()
        for number in ("0501234567", "0507654321"):
            enquiry = await stand.model.make_consult_call(number, call=stand.now(call))
            await stand.until(CallConnected, enquiry)
            await stand.model.drop_call(enquiry)
            await stand.finished(enquiry)
        holds = [command for command in far_side(stand).server.commands if "uuid_hold" in command]
        stand.expect(len(holds) == 1, f"{holds} were sent.")

    @rule("own.sent-on", "Who is joined with somebody else is told with whom.", contract="InfoChanged")
    async def test_who_was_sent_on_to_us(self, stand: Stand) -> None:
        call = await stand.talking()
        board = far_side(stand).switchboard
        # Somebody else sends our caller on, and joins us with another.
        other = board.receive("0509998877", "5000", "webitel.test")
        board.bridge(other.uuid, call.id)
        changed = await stand.until(CallInfoChanged, call, lambda event: event.call.other.number == "0509998877")
        stand.expect(changed.call.state is CallState.CONNECTED, f"The call is {changed.call.state}.")


# --- sessions as a host has them

on_both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@on_both
@pytest.mark.anyio
async def test_a_leg_that_the_table_lacked_is_found_a_second_later() -> None:
    """The table lags: a call that began just before we subscribed is in no event and in no table yet."""
    with anyio.fail_after(20):
        async with boxed(lag_seconds=0.3) as box:
            await box.model.disconnect()
            await box.far.incoming("0671112233", "Ann")
            await box.far.answer_own()
            await box.model.connect()
            await until(box.model, lambda: bool(box.model.calls))
            (call,) = box.model.calls
            assert (call.direction, call.state) == (CallDirection.IN, CallState.CONNECTED)
            assert (call.other.number, call.other.name) == ("0671112233", "Ann")
            assert sum("show channels" in command for command in box.server.commands) == 3


@on_both
@pytest.mark.anyio
async def test_a_call_that_the_table_does_not_have_yet_outlives_an_outage() -> None:
    with anyio.fail_after(20):
        async with boxed(lag_seconds=60) as box:
            await box.far.incoming("0671112233")
            await until(box.model, lambda: bool(box.model.calls))
            before = box.model.cursor
            box.network.reset()
            seen: list[str] = []
            async for event in box.model.events(after=before):
                seen.append(type(event).__name__)
                if isinstance(event, SnapshotTaken):
                    break
            assert "Disconnected" in seen
            assert "CallFinished" not in seen
            assert box.server.switch.table() == '{"row_count": 0}\n'
            await box.model.drop_call(box.model.calls[0])
            await until(box.model, lambda: not box.model.calls)


@on_both
@pytest.mark.anyio
async def test_a_row_of_a_leg_that_is_gone_is_no_call() -> None:
    """The table lags: what has ended is still in it, and no event will ever come."""
    with anyio.fail_after(20):
        async with boxed() as box:
            await box.far.incoming("0671112233")
            await until(box.model, lambda: bool(box.model.calls))
            await box.model.disconnect()
            box.server.switch.lag_seconds = 60
            await box.far.hang_up("0671112233")
            assert '"rows"' in box.server.switch.table()
            await box.model.connect()
            await until(box.model, lambda: not box.model.calls)


@on_both
@pytest.mark.anyio
async def test_a_session_that_was_captured_is_replayed_alike() -> None:
    told: list[str] = []
    with anyio.fail_after(20):
        async with boxed() as box:
            call = await box.model.make_call("0501234567")
            await until(box.model, lambda: box.model.calls[0].state is CallState.CONNECTED)
            await box.model.send_dtmf("5", call)
            await box.model.blind_transfer("1001", box.model.calls[0])
            await until(box.model, lambda: not box.model.calls)
            frames = list(box.model.recorder.lines())
            async for event in box.model.events(after=Cursor(box.model.cursor.epoch, 0)):
                if isinstance(event, CallStarted | CallConnected | DtmfEntered | CallFinished):
                    told.append(type(event).__name__)
                if isinstance(event, CallFinished):
                    break
    assert PASSWORD not in "".join(frames)
    replayed = [report for line in EslCtiProvider.replay(frames) for report in line.reports]
    assert in_words(replayed) == ("1 originated 0501234567, 1 answered, 1 connected, 1 5 by own, 1 ended transferred")
    assert told == ["CallStarted", "CallConnected", "DtmfEntered", "CallFinished"]


def test_a_capture_that_goes_on_after_an_outage() -> None:
    begun = lines("02_click_to_call")[6:12]
    opened = '{"t": 0, "conn": "esl1", "dir": "open", "frame": "tcp://pbx.example:8021#1000@webitel.test"}'
    closed = '{"t": 900, "conn": "esl1", "dir": "close", "frame": null}'
    told = list(EslCtiProvider.replay([opened, *begun, closed, opened]))
    assert [line.disconnected for line in told[-2:]] == [True, False]
    (again,) = told[-1].reports
    assert isinstance(again, Started)
    assert again.own_numbers == ("1000",)
    assert all(report.at <= again.at for line in told for report in line.reports)


def test_a_capture_that_says_not_whose_it_is() -> None:
    with pytest.raises(ProtocolError):
        list(EslCtiProvider.replay(['{"t": 1, "dir": "s2c", "frame": "Content-Type: auth/request"}']))
    with pytest.raises(ProtocolError):
        list(EslCtiProvider.replay(["no capture"]))


@on_both
@pytest.mark.anyio
async def test_the_doctor_looks_at_the_socket_and_asks_for_the_version() -> None:
    with anyio.fail_after(20):
        async with running_switch() as (_, port):
            user = CtiUser(id="1000", parameters={"esl.number": "1000"})
            initializer = CtiProviderInitializer(settings_for(port), environ={})
            steps = {step.step: step for step in await examine(lambda: initializer, user)}
            assert steps["version"].state is StepState.OK
            assert "FreeSWITCH Version" in steps["version"].detail
            assert any(name.startswith("event_socket") for name in steps)
            assert not [step for step in steps.values() if step.state is StepState.FAILED]
