"""Cancelled at every await of opening, connecting, disconnecting and closing, a session leaves nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from cti_dummy import DummyCtiProvider, DummyPbx
from cti_dummy.provider import DummySettings, DummyUserSettings
from cti_framework.clock import SessionClock
from cti_framework.commands import CommandTimeouts
from cti_framework.errors import CommandError, CommandStage
from cti_framework.events import Event, ProviderState
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.reports import Snapshot
from cti_framework.switchboard.faults import LoseReplies, SlowPeer
from tests.core.awaits import PLACES, at_every_await, cancelled_at, cancelled_session
from tests.core.scripted import Pbx, ScriptedProvider, jumping_backend, living, session, state_of
from tests.core.test_commands import the

pytestmark = pytest.mark.anyio

PEER = "0501234567"


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return jumping_backend(request.param)


class Journal:
    @hookimpl
    async def cti_event(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()


def with_a_journal() -> Hooks:
    hooks = Hooks()
    hooks.register(Journal(), "journal")
    return hooks


# Opening, connecting, disconnecting, closing ---------------------------------------------------------------------------


async def logs_in_slowly(provider: ScriptedProvider) -> None:
    for _ in range(3):
        await anyio.sleep(0.1)
    provider.started()
    try:
        await provider.pbx.live()
    finally:
        # A PBX that wants a goodbye is given one.
        with anyio.move_on_after(1, shield=True):
            await anyio.sleep(0.1)


async def told_slowly(provider: ScriptedProvider) -> Snapshot:
    for _ in range(2):
        await anyio.sleep(0.1)
    return Snapshot(at=provider.now, calls=())


@pytest.mark.parametrize("place", PLACES)
async def test_the_scripted_session(place: str) -> None:
    async def once(number: int) -> bool:
        pbx = Pbx()
        pbx.on_run = {1: logs_in_slowly, 2: logs_in_slowly}
        pbx.on_snapshot = {1: told_slowly, 2: told_slowly}
        before = living()
        model = session(pbx, hooks=with_a_journal())
        reached = await cancelled_session(model, place, number)
        assert living() == before
        assert pbx.running == 0
        assert state_of(model) is ProviderState.CLOSED
        assert not model._keeper.is_running
        assert not model._keeper.is_live
        return reached

    assert await at_every_await(once) >= {"host": 4, "keeper": 2, "run": 8, "snapshot": 4}[place]


@pytest.mark.parametrize("place", PLACES)
async def test_the_dummys_session(place: str) -> None:
    pbx = DummyPbx()
    listening = list(pbx.switchboard._delivery._listeners)

    async def once(number: int) -> bool:
        before = living()
        model = dummy_at(pbx, hooks=with_a_journal())
        reached = await cancelled_session(model, place, number)
        assert living() == before
        assert not pbx._lines
        assert list(pbx.switchboard._delivery._listeners) == listening
        assert state_of(model) is ProviderState.CLOSED
        return reached

    # Where nothing goes wrong its snapshot waits for nothing.
    assert await at_every_await(once) >= {"host": 4, "keeper": 2, "run": 2, "snapshot": 0}[place]


def dummy_at(pbx: DummyPbx, **options: Any) -> CtiModel:
    return CtiModel(
        DummyCtiProvider,
        **{
            "user": CtiUser("ann"),
            "settings": DummySettings(pbx=pbx),
            "user_settings": DummyUserSettings(),
            "name": "dummy",
            "timeouts": CommandTimeouts(command_seconds=1, make_call_seconds=1, resolve_seconds=1),
            "clock": SessionClock(monotonic=anyio.current_time),
            **options,
        },
    )


# The dummy's verbs -----------------------------------------------------------------------------------------------------


async def dialled(pbx: DummyPbx, model: CtiModel) -> None:
    """Nothing is there, so a call can be made."""


async def ringing(pbx: DummyPbx, model: CtiModel) -> None:
    pbx.switchboard.incoming("0671112233", "100@demo.local")


async def talking(pbx: DummyPbx, model: CtiModel) -> None:
    await ringing(pbx, model)
    await model.answer_call()


async def held(pbx: DummyPbx, model: CtiModel) -> None:
    await talking(pbx, model)
    await model.hold_call()


VERBS: dict[str, tuple[Callable[[DummyPbx, CtiModel], Awaitable[None]], Callable[[CtiModel], Coroutine[Any, Any, Any]]]] = {
    "make_call": (dialled, lambda model: model.make_call(PEER, command_id="mine")),
    "drop_call": (ringing, lambda model: model.drop_call(command_id="mine")),
    "answer_call": (ringing, lambda model: model.answer_call(command_id="mine")),
    "hold_call": (talking, lambda model: model.hold_call(command_id="mine")),
    "unhold_call": (held, lambda model: model.unhold_call(command_id="mine")),
    "send_dtmf": (talking, lambda model: model.send_dtmf("1", command_id="mine")),
    "set_agent_state": (dialled, lambda model: model.set_agent_state("DND", command_id="mine")),
}


@pytest.mark.parametrize("fault", [LoseReplies(), SlowPeer(seconds=0.5)], ids=str)
@pytest.mark.parametrize("verb", VERBS)
async def test_the_dummys_verbs(verb: str, fault: LoseReplies | SlowPeer) -> None:
    given, act = VERBS[verb]

    async def once(number: int) -> bool:
        pbx = DummyPbx()
        done: list[object] = []
        async with dummy_at(pbx) as model:
            await given(pbx, model)
            pbx.faults.apply(fault)
            pbx.switchboard.subscribe(done.append)
            await anyio.wait_all_tasks_blocked()
            before = living()
            reached = await cancelled_at(number, lambda: settles(act(model)))
            # Who looked after its time is told, and goes.
            await anyio.wait_all_tasks_blocked()
            assert not model._patience._asked
            assert not model._is_dialling
            assert not model._events._waiting
            record = the(model.command("mine"))
            assert record.cancelled is reached
            if reached:
                # It is on its way, or has acted: it cannot be taken back.
                assert record.stage is CommandStage.UNCONFIRMED
            pbx.switchboard.advance(1.0)
            # Those who were asked by the core are answered, too.
            await anyio.wait_all_tasks_blocked()
            assert living() == before
            assert done
            assert all(not line._questions for line in pbx._lines)
        return reached

    assert await at_every_await(once) >= 1


async def settles(verb: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(CommandError):
        await verb


async def test_lost_reply_a_thousand_times_is_a_thousand_originates() -> None:
    pbx = DummyPbx()
    originates = 0
    originate = pbx.switchboard.originate

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal originates
        originates += 1
        return originate(*arguments, **named)

    vars(pbx.switchboard)["originate"] = counted
    async with dummy_at(pbx) as model:
        for number in range(1000):
            pbx.faults.apply(LoseReplies())
            call = await model.make_call(PEER, command_id=f"{number}")
            assert await model.make_call(PEER, command_id=f"{number}") == call
            assert (call.other.number, the(model.command(f"{number}")).stage) == (PEER, CommandStage.ACCEPTED)
            assert pbx.switchboard.legs_of("100@demo.local")[0].uuid == call.id
            await model.drop_call()
            assert model.calls == ()
    assert originates == 1000
