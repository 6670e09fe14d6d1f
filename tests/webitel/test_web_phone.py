"""Whole sessions with a web phone: its calls and the engine's are one, and each command goes the right one of two ways."""

from __future__ import annotations

from uuid import uuid4

import pytest

from cti_framework.calls import CallDirection, CallFeature, CallState, EndCause
from cti_framework.errors import (
    NotAllowedNowError,
)
from cti_framework.events import (
    CallConnected,
    CallFinished,
    CallHeld,
    CallStarted,
    WebRtcDestroyed,
    WebRtcStarted,
)
from cti_framework.switchboard import Device
from tests.webitel.sessions import CALLER, OWN
from tests.webitel.web_phone_bench import SDP, hasten, phone_bench, ring_alone, ring_both

pytestmark = pytest.mark.anyio

ANSWER, MUTE = CallFeature.ANSWER, CallFeature.MUTE


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


# --- an incoming call


async def test_the_engine_shows_it_first() -> None:
    async with phone_bench() as bench:
        leg = bench.ring_engine().uuid
        await bench.until(lambda: bench.told(CallStarted))
        # It may ring at a desk phone only.
        assert not bench.call().features & (ANSWER | MUTE)
        await bench.ring_phone(leg)
        await bench.until(lambda: ANSWER in bench.call().features)
        await bench.until(lambda: bench.peers.rings == [leg])
        await bench.model.answer_call()
        sent = await bench.server.asked("verto.answer")
        assert sent["params"]["sdp"] == SDP
        assert sent["params"]["dialogParams"]["callID"] == leg
        await bench.until(lambda: not bench.peers.rings)
        bench.simulator.switchboard.answer(leg)
        await bench.until(lambda: bench.told(CallConnected))
        (begun,) = bench.told(CallStarted)
        assert begun.call.other.number == CALLER
        assert [event.media_id for event in bench.told(WebRtcStarted)] == [leg]
        assert MUTE in bench.call().features
        bench.simulator.switchboard.hang_up(leg)
        await bench.server.say("verto.bye", callID=leg, causeCode=16, cause="NORMAL_CLEARING")
        await bench.until(lambda: bench.told(CallFinished))
        assert [event.media_id for event in bench.told(WebRtcDestroyed)] == [leg]
        await bench.until(lambda: bench.peers.open == 0)
        assert len(bench.told(CallStarted)) == len(bench.told(CallFinished)) == 1
        assert bench.model.refused_reports == {}


async def test_the_phone_shows_it_first() -> None:
    """The other order: nothing is told twice, and it can be answered from the first moment on."""
    async with phone_bench() as bench:
        dialog = await ring_alone(bench)
        call = bench.call()
        assert call.id == dialog
        assert call.other.number == CALLER
        assert call.other.name == "ACME"
        assert call.direction is CallDirection.IN
        assert call.features == ANSWER | CallFeature.DROP


async def test_a_second_device_rings_later() -> None:
    """The call is known by the desk phone's leg; the phone's leg comes after the dialog."""
    async with phone_bench() as bench:
        bench.simulator.switchboard.set_account(OWN, devices=(Device(number=1), Device(number=2)))
        own, *others = bench.simulator.switchboard.incoming(CALLER, OWN)[1]
        await bench.until(lambda: bench.model.calls)
        assert ANSWER not in bench.call().features
        for leg in others:
            await bench.ring_phone(leg.uuid)
        await bench.until(lambda: ANSWER in bench.call().features)
        # The desk phone is quicker.
        bench.simulator.switchboard.answer(own.uuid)
        await bench.server.say("verto.bye", callID=others[0].uuid, causeCode=702, cause="LOSE_RACE")
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        await bench.until(lambda: not bench.phone.calls)
        assert not bench.call().features & (ANSWER | MUTE)


async def test_the_dialog_comes_before_the_leg_of_a_known_call() -> None:
    async with phone_bench() as bench:
        bench.ring_engine()
        await bench.until(lambda: bench.model.calls)
        dialog = str(uuid4())
        await bench.ring_phone(dialog)
        await bench.until(lambda: dialog in bench.phone.calls)
        switch_call = bench.simulator.switchboard.legs_of(OWN)[0].snapshot
        bench.engine_says("CHANNEL_CREATE", dialog, switch_call.call_uuid, switch_call.call_id)
        await bench.until(lambda: ANSWER in bench.call().features)
        assert len(bench.told(CallStarted)) == 1


async def test_it_is_answered_elsewhere() -> None:
    async with phone_bench() as bench:
        leg = await ring_both(bench)
        await bench.server.say("verto.bye", callID=leg, causeCode=702, cause="LOSE_RACE")
        await bench.until(lambda: not bench.call().features & ANSWER and not bench.peers.rings)
        with pytest.raises(NotAllowedNowError):
            await bench.model.answer_call(bench.call())


async def test_the_engine_never_shows_it() -> None:
    async with phone_bench() as bench:
        dialog = await ring_alone(bench)
        await bench.model.answer_call()
        await bench.until(lambda: bench.told(CallConnected))
        assert bench.call().features == (CallFeature.DROP | CallFeature.HOLD | CallFeature.DTMF | MUTE)
        await bench.model.hold_call()
        await bench.until(lambda: bench.told(CallHeld))
        assert bench.peers.of(dialog).held
        await bench.model.unhold_call()
        await bench.until(lambda: bench.call().state is CallState.CONNECTED)
        assert not bench.peers.of(dialog).held
        await bench.model.send_dtmf("12#")
        assert (await bench.server.asked("verto.info"))["params"]["dtmf"] == "12#"
        await bench.model.drop_call()
        await bench.until(lambda: bench.told(CallFinished))
        (end,) = bench.told(CallFinished)
        assert end.call.cause is EndCause.NORMAL
        assert bench.server.methods().count("verto.bye") == 1


async def test_a_call_of_the_phones_alone_is_refused() -> None:
    async with phone_bench() as bench:
        await ring_alone(bench)
        await bench.model.drop_call()
        await bench.until(lambda: bench.told(CallFinished))
        assert bench.told(CallFinished)[0].call.cause is EndCause.REJECTED


async def test_a_call_that_only_rang_for_a_moment() -> None:
    """Nobody could answer it, and the engine did not show it. It is told all the same."""
    async with phone_bench() as bench:
        dialog = str(uuid4())
        await bench.ring_phone(dialog)
        await bench.server.say("verto.bye", callID=dialog, causeCode=487, cause="ORIGINATOR_CANCEL")
        await bench.until(lambda: bench.told(CallFinished))
        (begun,) = bench.told(CallStarted)
        assert begun.call.id == dialog
        assert bench.model.calls == ()


async def test_the_engine_shows_what_the_phone_has_shown() -> None:
    async with phone_bench() as bench:
        model = bench.model
        leg = bench.ring_engine().uuid
        await bench.until(lambda: model.calls)
        engine_id = bench.call().id
        bench.simulator.switchboard.hang_up(leg)
        await bench.until(lambda: not model.calls)
        assert engine_id != leg
        dialog = await ring_alone(bench)
        await model.answer_call()
        await bench.until(lambda: bench.call().connected_at)
        call_id = "33333333-0000-4000-8000-000000000001"
        bench.engine_says("CHANNEL_CREATE", dialog, "22222222-0000-4000-8000-000000000001", call_id)
        await bench.until(lambda: bench.call().id == call_id)
        call = bench.call()
        assert call.former_ids == (dialog,)
        assert call.other.number == "0670000000"
        assert call.state is CallState.CONNECTED
        assert MUTE in call.features
        assert CallFeature.CONSULT in call.features
        assert len(bench.told(CallStarted)) == 2
        assert model.refused_reports == {}


async def test_a_leg_of_a_known_call_comes_after_the_phone_has_shown_it_alone() -> None:
    """For a moment there were two: the engine's goes on, the other one ends."""
    async with phone_bench() as bench:
        bench.ring_engine()
        await bench.until(lambda: bench.model.calls)
        engine_id = bench.call().id
        dialog = str(uuid4())
        await bench.ring_phone(dialog)
        await bench.until(lambda: len(bench.model.calls) == 2)
        await bench.model.answer_call(dialog)
        await bench.until(lambda: any(event.media_id == dialog for event in bench.told(WebRtcStarted)))
        own = bench.simulator.switchboard.legs_of(OWN)[0].snapshot
        bench.engine_says("CHANNEL_CREATE", dialog, own.call_uuid, own.call_id)
        await bench.until(lambda: len(bench.model.calls) == 1)
        assert bench.call().id == engine_id
        await bench.until(lambda: MUTE in bench.call().features or bench.told(WebRtcStarted)[-1].call.id == engine_id)
        assert [event.call.id for event in bench.told(WebRtcStarted)] == [dialog, engine_id]
        assert [event.call.id for event in bench.told(WebRtcDestroyed)] == [dialog]
        assert bench.told(CallFinished)[0].call.cause is EndCause.RESYNC
