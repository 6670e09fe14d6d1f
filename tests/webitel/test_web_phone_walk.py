"""The two sockets speak of one call in any order, and either can be late or silent: the line shows one call, and its end."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cti_framework.calls import CallFeature
from cti_framework.events import CallFinished, CallStarted
from cti_webitel import looks
from cti_webitel.web_phone import meeting
from tests.webitel.web_phone_bench import PhoneBench, phone_bench

FAR_LEG = "22222222-0000-4000-8000-000000000001"
CALL = "33333333-0000-4000-8000-000000000001"
ENGINE = ("created", "answered", "over")
PHONE = ("invited", "gone")
_PAUSE = "pause"


class Sleepers:
    """Those who give the other side time: they wake when the test says that it has had it."""

    def __init__(self) -> None:
        self._woken = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        await self._woken.wait()

    def wake(self) -> None:
        woken, self._woken = self._woken, anyio.Event()
        woken.set()


@st.composite
def orders(draw: Any) -> list[str]:
    """What is said, in an order in which each side keeps its own; ends may be lost, and time passes in between."""
    engine = list(ENGINE[: draw(st.integers(0, 3))])
    phone = list(PHONE[: draw(st.integers(1, 2))])
    if draw(st.booleans()) and "answered" in engine:
        engine.remove("answered")
    order: list[str] = []
    while engine or phone:
        side = engine if not phone or (engine and draw(st.booleans())) else phone
        order.append(side.pop(0))
        if draw(st.integers(0, 3)) == 0:
            order.append(_PAUSE)
    return order


async def settle(bench: PhoneBench) -> None:
    """Wait until all that was said is understood: the answer to a question comes after it."""
    for _ in range(3):
        await bench.model._provider.probe()
        await bench.phone.client.ping()
        await anyio.wait_all_tasks_blocked()


async def say(bench: PhoneBench, what: str, leg: str, sleepers: Sleepers) -> None:
    match what:
        case "created":
            bench.engine_says("CHANNEL_CREATE", leg, FAR_LEG, CALL)
        case "answered":
            talks = {"Channel-Call-State": "ACTIVE", "Channel-State": "CS_EXCHANGE_MEDIA", "Answer-State": "answered"}
            bench.engine_says("CHANNEL_ANSWER", leg, FAR_LEG, CALL, **talks)
        case "over":
            ends = {"Channel-Call-State": "HANGUP", "Channel-State": "CS_HANGUP", "Answer-State": "hangup"}
            bench.engine_says("CHANNEL_HANGUP_COMPLETE", leg, FAR_LEG, CALL, variable_hangup_cause="NO_ANSWER", **ends)
        case "invited":
            await bench.ring_phone(leg)
        case "gone":
            await bench.server.say("verto.bye", callID=leg, causeCode=487, cause="ORIGINATOR_CANCEL")
        case _:
            await settle(bench)
            sleepers.wake()
            await settle(bench)


async def walk(order: list[str], together: bool, sleepers: Sleepers) -> None:
    async with phone_bench() as bench:
        leg = str(uuid4())
        said: set[str] = set()
        for what in order:
            await say(bench, what, leg, sleepers)
            said.add(what)
            if together and what != _PAUSE:
                continue
            await settle(bench)
            rings_here = "invited" in said and "gone" not in said and leg in bench.phone.calls
            shown = [call for call in bench.model.calls if leg in (call.id, *call.former_ids) or call.id == CALL]
            # One call, whatever was said of it.
            assert len(shown) == len(bench.model.calls) <= 1
            if rings_here and "over" not in said and shown and "answered" not in said:
                assert CallFeature.ANSWER in shown[0].features
            if rings_here and "over" not in said and what == _PAUSE:
                assert shown
        await settle(bench)
        # All the time that anybody may need.
        with anyio.fail_after(10.0):
            while bench.model.calls or bench.phone.calls or not bench.told(CallFinished):
                await settle(bench)
                sleepers.wake()
                await settle(bench)
                if bench.model.calls and lives(order, together):
                    # Nobody said that it is over, so it is not.
                    assert len(bench.model.calls) == 1
                    return
        begun, over = bench.told(CallStarted), bench.told(CallFinished)
        assert len(begun) == len(over)
        assert begun
        if not late(order, together):
            assert len(begun) == 1
        assert bench.peers.open == 0


def can_precede(order: list[str], one: str, other: str, together: bool) -> bool:
    """Whether the one may be heard before the other: what is said at once on two sockets has no order."""
    if one not in order or other not in order:
        return False
    first, second = order.index(other), order.index(one)
    return second < first or (together and _PAUSE not in order[first:second])


def lives(order: list[str], together: bool) -> bool:
    """Whether the dialog may go on: nobody ended it, nor did the engine end its call after it had come."""
    return "gone" not in order and ("over" not in order or can_precede(order, "over", "invited", together))


def late(order: list[str], together: bool) -> bool:
    """Whether one of the two may begin to speak of the call when it is over for the other: then it is told as two."""
    if "created" not in order:
        return False
    missed = can_precede(order, "gone", "created", together) and _PAUSE in order[order.index("invited") : order.index("created")]
    return missed or can_precede(order, "over", "invited", together)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=orders(), together=st.booleans())
def test_any_order(backend: str, monkeypatch: pytest.MonkeyPatch, order: list[str], together: bool) -> None:
    async def run() -> None:
        sleepers = Sleepers()
        # It sleeps, and does nothing else of it.
        monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.3)
        monkeypatch.setattr(meeting, "anyio", SimpleNamespace(sleep=sleepers.sleep))
        await walk(order, together, sleepers)

    anyio.run(partial(run), backend=backend)
