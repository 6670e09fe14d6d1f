"""Calls of web phones at the simulator, with real media: who hears whom, by the tone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

pytest.importorskip("aiortc", reason="the extra media is not installed")

from cti_framework.media import MediaState
from cti_framework.switchboard import SwitchEvent, SwitchEventName
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, serve_webitel
from cti_webitel.simulator.verto.voices import MUSIC_HZ, RING_HZ, TEST_TONE_HZ, default_voice_hz, dominant_hz, tone_frame
from cti_webitel.verto.signals import Attached, Displayed
from tests.media.listening import Side, both_connected
from tests.webitel.verto_phone import PATIENCE_SECONDS, Phone, phone

pytestmark = pytest.mark.anyio

OUTSIDE = "0501234567"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def simulator() -> AsyncIterator[WebitelSimulator]:
    options = SimulatorOptions(far_answer_seconds=0.1, verto_queue_seconds=0.0)
    async with serve_webitel(verto_port=0, control_port=None, options=options) as running:
        yield running


async def far_hears(simulator: WebitelSimulator, side: Side, number: str, hertz: float | None) -> None:
    """Wait until a number hears that tone, or nothing: what a phone hears meanwhile is the clock."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            heard = simulator.hears(number)
            if heard is hertz or (heard is not None and hertz is not None and abs(heard - hertz) < 3):
                return
            await side.heard.more(3)


async def in_call(simulator: WebitelSimulator, caller: Phone, callee: Phone, number: str) -> tuple[str, Side, str, Side]:
    """Let one web phone call another, which answers."""
    with anyio.fail_after(PATIENCE_SECONDS):
        call_id, ours = await caller.call(number)
        invited = await callee.rings()
        theirs = await callee.answer(invited)
        await caller.answered(call_id)
        await both_connected(ours.peer, theirs.peer)
    return call_id, ours, invited.call_id, theirs


def test_a_tone_is_measured() -> None:
    for hertz in (300, 425, 440, 1_004, 1_690, 3_000):
        pcm = b"".join(tone_frame(hertz, index) for index in range(25))
        measured = dominant_hz(pcm)
        assert measured is not None and abs(measured - hertz) < 1
    assert dominant_hz(b"") is None
    assert dominant_hz(bytes(48_000)) is None


def test_a_number_has_a_voice_of_its_own() -> None:
    voices = {default_voice_hz(f"05012345{index:02}") for index in range(100)}
    assert len(voices) > 30
    assert not voices & {MUSIC_HZ, RING_HZ, TEST_TONE_HZ}
    assert all(1_100 <= hertz < 1_700 for hertz in voices)


async def test_an_outside_number_is_called(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        simulator.switchboard.options = simulator.configure(far_answer_seconds=None)
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(RING_HZ)
        assert simulator.hears(OUTSIDE) is None
        await simulator.answer(OUTSIDE)
        await alice.answered(call_id)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, side, OUTSIDE, 440)
        (shown,) = alice.of(Displayed)
        assert shown.number == OUTSIDE
        side.peer.mute()
        await far_hears(simulator, side, OUTSIDE, None)
        side.peer.unmute()
        simulator.voice(OUTSIDE, 850)
        await side.heard.tone(850)
        await simulator.hang_up(OUTSIDE)
        ended = await alice.ended(call_id)
        assert ended.cause is not None and ended.cause.name == "NORMAL_CLEARING"
        assert simulator.hears(OUTSIDE) is None
    assert not simulator.switchboard.legs


async def test_an_outside_number_calls(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        far_side = simulator.web_phone_far_side("103@demo.local")
        call_id = await far_side.incoming("0671112233", name="Olena")
        invited = await alice.rings()
        assert (invited.parties.caller_name, invited.parties.caller_number) == ("Olena", "0671112233")
        assert simulator.switchboard.leg(invited.call_id).snapshot.call_id == call_id
        assert far_side.hears("0671112233") == RING_HZ
        side = await alice.answer(invited)
        await side.heard.tone(far_side.voice_of("0671112233"))
        await far_hears(simulator, side, "0671112233", 440)


async def test_hold_of_both_sides(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await alice.client.hold(call_id)
        await side.heard.silence()
        assert simulator.hears(OUTSIDE) == MUSIC_HZ
        await alice.client.unhold(call_id)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, side, OUTSIDE, 440)
        await simulator.hold(OUTSIDE)
        await side.heard.tone(MUSIC_HZ)
        assert simulator.hears(OUTSIDE) is None
        await simulator.unhold(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))


async def test_two_web_phones_hear_each_other(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice, phone(simulator, "104", 700) as bob:
        call_id, ours, other_id, theirs = await in_call(simulator, alice, bob, "104")
        assert call_id != other_id
        await ours.heard.tone(700)
        await theirs.heard.tone(440)
        await bob.client.hold(other_id)
        await ours.heard.tone(MUSIC_HZ)
        await theirs.heard.silence()
        await bob.client.unhold(other_id)
        await ours.heard.tone(700)
        await alice.client.hang_up(call_id)
        await bob.ended(other_id)


@pytest.mark.parametrize(("number", "hertz"), [("9196", 440), ("9197", TEST_TONE_HZ), ("9664", MUSIC_HZ)])
async def test_the_switch_answers_numbers_of_its_own(simulator: WebitelSimulator, number: str, hertz: int) -> None:
    async with phone(simulator, "103", 440) as alice:
        call_id, side = await alice.call(number)
        await side.heard.tone(hertz)
        (leg,) = simulator.switchboard.legs
        assert leg.uuid == call_id and leg.answered
        with anyio.fail_after(PATIENCE_SECONDS):
            await alice.client.hang_up(call_id)
    assert not simulator.switchboard.legs


async def test_a_blind_transfer_lets_the_ring_be_heard_and_then_the_other(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice, phone(simulator, "104", 700) as bob:
        call_id, _, other_id, theirs = await in_call(simulator, alice, bob, "104")
        simulator.configure(far_answer_seconds=None)
        await alice.client.transfer(call_id, OUTSIDE)
        await alice.ended(call_id)
        await theirs.heard.tone(RING_HZ)
        await simulator.answer(OUTSIDE)
        await theirs.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, theirs, OUTSIDE, 700)
        shown = await bob.until(Displayed, lambda told: told.call_id == other_id and told.number == OUTSIDE)
        assert shown.name == "Outbound Call"


async def test_an_attended_transfer_joins_the_others(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice, phone(simulator, "104", 700) as bob:
        first, _, _, theirs = await in_call(simulator, alice, bob, "104")
        await alice.client.hold(first)
        await theirs.heard.tone(MUSIC_HZ)
        second, consulted = await alice.call(OUTSIDE)
        await consulted.heard.tone(simulator.voice_of(OUTSIDE))
        await alice.client.replace(second, first)
        await alice.ended(first)
        await alice.ended(second)
        await theirs.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, theirs, OUTSIDE, 700)


async def test_whoever_listens_in_hears_both(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice, phone(simulator, "104", 700) as bob:
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        simulator.switchboard.eavesdrop("104@demo.local", call_id)
        ear = await bob.answer(await bob.rings())
        await ear.heard.tone(440, share=0.35)
        await ear.heard.tone(simulator.voice_of(OUTSIDE), share=0.35)
        await side.heard.tone(simulator.voice_of(OUTSIDE))


async def test_keys_are_events_of_the_switch(simulator: WebitelSimulator) -> None:
    pressed: list[str | None] = []

    def note(event: SwitchEvent) -> None:
        if event.name is SwitchEventName.DTMF:
            pressed.append(event.digit)

    simulator.switchboard.subscribe(note)
    async with phone(simulator, "103") as alice:
        call_id, _ = await alice.call(OUTSIDE)
        await alice.answered(call_id)
        await alice.client.send_digits(call_id, "12*#A")
        await alice.client.execute("verto.info", {"dtmf": "w5", "dialogParams": {"callID": call_id}})
        await alice.client.execute("verto.info", {"dtmf": "9@500", "dialogParams": {"callID": call_id}})
    assert pressed == [*"12*#A", "5", "9"]


async def test_new_media_on_the_phones_wish_and_on_the_switchs(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        call_id, side = await alice.call(OUTSIDE)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await side.peer.set_remote(await alice.client.update_media(call_id, await side.peer.restart()))
        await both_connected(side.peer)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, side, OUTSIDE, 440)
        simulator.verto.renew_media(call_id)
        await alice.until(Attached)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        await far_hears(simulator, side, OUTSIDE, 440)


async def test_a_phone_that_is_cut_off_comes_back_to_its_call(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice, phone(simulator, "104", 700) as bob:
        call_id, ours, _, theirs = await in_call(simulator, alice, bob, "104")
        await theirs.heard.tone(440)
        session = simulator.verto.sessions[alice.client.session_id]
        assert session.client is not None
        session.client.drop()
        attached = await alice.until(Attached)
        assert attached.call_id == call_id
        await ours.heard.tone(700)
        await theirs.heard.tone(440)
        assert ours.peer.state is MediaState.CONNECTED
        # Nobody at the other side was told anything.
        assert not [signal for signal in bob.signals if isinstance(signal, Attached)]


async def test_a_click_to_call_rings_the_web_phone_and_is_picked_up_by_hand(simulator: WebitelSimulator) -> None:
    results: list[object] = []
    async with phone(simulator, "103", 440) as alice:
        simulator.switchboard.originate("103@demo.local", OUTSIDE, on_result=results.append)
        invited = await alice.rings()
        assert not results
        side = await alice.answer(invited)
        await side.heard.tone(simulator.voice_of(OUTSIDE))
        assert len(results) == 1


async def test_the_media_of_a_call_that_is_over_is_gone(simulator: WebitelSimulator) -> None:
    async with phone(simulator, "103", 440) as alice:
        for _ in range(3):
            call_id, side = await alice.call(OUTSIDE)
            await side.heard.tone(simulator.voice_of(OUTSIDE))
            await alice.client.hang_up(call_id)
        assert not simulator.verto.dialogs
        assert not simulator.verto.sessions[alice.client.session_id].dialogs
