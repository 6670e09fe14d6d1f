"""Commands at a simulated engine: lost replies, lost connections, and cancelling at every await."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import attrs
import pytest

from cti_framework.calls import CallState
from cti_framework.commands import CommandTimeouts
from cti_framework.errors import CommandError, CommandStage, CommandUnconfirmedError
from cti_framework.events import ProviderState
from cti_webitel.provider import WebitelCtiProvider
from tests.core.awaits import PLACES, at_every_await, cancelled_at, cancelled_session
from tests.core.scripted import living
from tests.core.test_commands import the
from tests.webitel.in_memory import Desk, desk
from tests.webitel.sessions import FAR, OWN, model_at
from tests.webitel.test_operator import others_call
from tests.webitel.test_transfers import ASKED, consulting, talking_in

pytestmark = pytest.mark.anyio

QUESTIONS = {"channel_dump", "getvar", "show_channel", "ping"}
CALL_ID = "06060606-0000-4000-8000-000000000006"


class Tapped:
    """What arrives at the engine from now on; a command can be made the last that it hears of a socket."""

    def __init__(self, at: Desk) -> None:
        self.commands: list[str] = []
        self.last: str | None = None
        self._engine = at.engine
        self._receive = at.engine.receive
        vars(at.engine)["receive"] = self._take

    @property
    def acting(self) -> list[str]:
        return [name for name in self.commands if name not in QUESTIONS]

    def _take(self, session: Any, data: str | bytes) -> None:
        name = json.loads(data)["exec-func"]
        self.commands.append(name)
        self._receive(session, data)
        if name == self.last:
            # It acts, and nothing of what the engine says comes out any more.
            self._engine.drop_sockets()


# --- once


async def test_lost_reply_a_thousand_times_is_a_thousand_originates() -> None:
    async with desk() as at:
        at.engine.configure(attrs.evolve(at.engine.options, lost_replies=("call",)))
        tapped = Tapped(at)
        for number in range(1000):
            call = await at.model.make_call(FAR, command_id=f"{number}")
            assert await at.model.make_call(FAR, command_id=f"{number}") == call
            assert call.other.number == FAR
            (leg,) = at.own_legs
            at.switchboard.hang_up(leg.uuid)
            with anyio.fail_after(5):
                while at.model.calls:
                    await at.webitel.ping()
        assert tapped.commands.count("call") == 1000
        assert at.model.refused_reports == {}


async def test_a_call_whose_connection_is_lost_before_it_is_shown_is_found_by_the_next_one() -> None:
    async with desk() as at:
        tapped = Tapped(at)
        tapped.last = "call"
        call = await at.model.make_call(FAR)
        assert call.other.number == FAR
        assert call == at.model.call(call.id)
        assert at.model.provider_state is ProviderState.IN_SERVICE
        assert tapped.commands.count("call") == 1
        assert len(at.own_legs) == 1
        (record,) = at.model.commands
        assert (record.stage, record.call_id) == (CommandStage.ACCEPTED, call.id)
        at.switchboard.answer(at.own_legs[0].uuid)
        at.switchboard.answer(at.switchboard.legs_at(FAR)[0].uuid)
        await at.settle()
        assert at.model.calls[0].state is CallState.CONNECTED


async def test_an_enquiry_whose_connection_is_lost_before_it_is_shown_is_found_by_the_next_one() -> None:
    async with desk() as at:
        first = await talking_in(at)
        tapped = Tapped(at)
        tapped.last = "att_xfer2"
        enquiry = await at.model.make_consult_call(ASKED, first)
        assert (enquiry.parent_id, enquiry.other.number) == (first.id, ASKED)
        assert tapped.commands.count("att_xfer2") == 1


async def test_a_call_that_the_engine_never_heard_of_stays_unconfirmed() -> None:
    async with desk() as at:
        receive = at.engine.receive
        heard = []

        def deaf(session: Any, data: str | bytes) -> None:
            if json.loads(data)["exec-func"] == "call":
                heard.append(data)
                at.engine.drop_sockets()
            else:
                receive(session, data)

        vars(at.engine)["receive"] = deaf
        with pytest.raises(CommandUnconfirmedError, match="shows no such call") as caught:
            await at.ask(at.model.make_call, FAR)
        assert caught.value.command_id == at.model.commands[0].command_id
        await at.settle()
        assert at.model.calls == ()
        assert len(heard) == 1


async def test_a_question_that_is_not_answered_was_no_transfer() -> None:
    timeouts = CommandTimeouts(command_seconds=0.2)
    async with desk(options={"timeouts": timeouts}) as at:
        await talking_in(at)
        at.engine.configure(attrs.evolve(at.engine.options, lost_replies=("channel_dump",)))
        tapped = Tapped(at)
        with pytest.raises(CommandError, match="Nothing was sent") as caught:
            await at.model.blind_transfer(ASKED)
        assert (caught.value.stage, caught.value.retryable) == (CommandStage.NOT_SENT, True)
        assert tapped.commands == ["channel_dump"]


# --- cancelled at every await of a verb


async def nothing(at: Desk) -> None:
    """Nobody calls."""


async def ringing(at: Desk) -> None:
    at.switchboard.incoming(FAR, OWN)
    await at.settle()


async def talking(at: Desk) -> None:
    await talking_in(at)


async def held(at: Desk) -> None:
    await talking_in(at)
    await at.ask(at.model.hold_call)
    await at.settle()


async def consults(at: Desk) -> None:
    await consulting(at, await talking_in(at))


async def others_talk(at: Desk) -> None:
    await others_call(at)


def others_leg(at: Desk) -> str:
    return next(leg.uuid for leg in at.switchboard.legs if leg.snapshot.presence == "101@demo.local")


Verb = Callable[[Desk], Coroutine[Any, Any, Any]]
VERBS: dict[str, tuple[Callable[[Desk], Awaitable[None]], Verb]] = {
    "make_call": (nothing, lambda at: at.model.make_call(FAR, command_id="mine")),
    "drop_call": (ringing, lambda at: at.model.drop_call(command_id="mine")),
    "hold_call": (talking, lambda at: at.model.hold_call(command_id="mine")),
    "unhold_call": (held, lambda at: at.model.unhold_call(command_id="mine")),
    "send_dtmf": (talking, lambda at: at.model.send_dtmf("12", command_id="mine")),
    "blind_transfer": (talking, lambda at: at.model.blind_transfer(ASKED, command_id="mine")),
    "make_consult_call": (talking, lambda at: at.model.make_consult_call(ASKED, command_id="mine")),
    "complete_transfer": (consults, lambda at: at.model.complete_transfer(command_id="mine")),
    "cancel_transfer": (consults, lambda at: at.model.cancel_transfer(command_id="mine")),
    "alternate": (consults, lambda at: at.model.alternate(command_id="mine")),
    "monitor": (others_talk, lambda at: at.model.monitor(others_leg(at), command_id="mine")),
    "set_agent_state": (nothing, lambda at: at.model.set_agent_state("DND", command_id="mine")),
    "set_call_centre_mode": (nothing, lambda at: at.model.set_call_centre_mode(True, command_id="mine")),
    "query_recordings": (nothing, lambda at: at.model.query_recordings(CALL_ID, command_id="mine")),
}


def test_every_verb_that_this_engine_can_is_tried() -> None:
    done = {name for name, value in vars(WebitelCtiProvider).items() if inspect.iscoroutinefunction(value)}
    # Fetching a file is HTTP's, answering and muting are the web phone's, and are tried with them.
    others = {"run", "snapshot", "probe", "diagnose", "fetch_recording", "answer_call", "set_mute"}
    assert {name for name in done if not name.startswith("_")} - others == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
async def test_cancelled_at_every_await_of_a_verb_it_says_how_far_it_got_and_leaves_nothing(verb: str) -> None:
    given, act = VERBS[verb]
    stages: list[CommandStage | None] = []
    at_the_door: list[int] = []

    async def once(number: int) -> bool:
        async with desk() as at:
            before = living()
            await given(at)
            tapped = Tapped(at)
            reached = await at.ask(lambda: cancelled_at(number, lambda: settles(act(at))))
            record = the(at.model.command("mine"))
            assert not record.is_running
            assert not at.model._is_dialling
            # The answer can be quicker than the cancellation: then it has ended as ever.
            assert record.cancelled if reached and record.stage is not CommandStage.ACCEPTED else not record.cancelled
            # What is sent is understood, and who was asked answers.
            await at.settle()
            if record.cancelled:
                stages.append(record.stage)
                if record.stage is CommandStage.NOT_SENT:
                    assert tapped.acting == []
                elif not tapped.acting:
                    # Between saying that it leaves and the socket.
                    at_the_door.append(number)
                # The line shows what the engine did, whoever asked is still there or not.
                assert at.line_says() == at.switch_says()
            for leg in at.switchboard.legs:
                with suppress(Exception):
                    at.switchboard.hang_up(leg.uuid)
            await at.settle()
            assert living() == before
            assert not at.webitel._waiting
            assert not at.provider._asked
            assert not at.provider._watchers
        return reached

    assert await at_every_await(once) >= 1
    sent = [stage is CommandStage.UNCONFIRMED for stage in stages]
    # Once it is sent it stays so.
    assert sent == sorted(sent)
    assert sent[-1]
    # Twice, where a cancellation comes with the answer to a question, and takes effect at the next await.
    assert len(at_the_door) <= 2


async def test_a_call_that_was_handed_over_cannot_be_taken_back() -> None:
    # Whether the task that sends it or the one that is cancelled is first is up to the event loop.
    for _ in range(10):
        async with desk() as at:
            tapped = Tapped(at)
            assert await cancelled_at(1, lambda: at.model.make_call(FAR, command_id="mine"))  # called at once
            assert the(at.model.command("mine")).stage is CommandStage.UNCONFIRMED
            await at.settle()
            assert tapped.acting == ["call"]


async def settles(verb: Coroutine[Any, Any, Any]) -> None:
    with suppress(CommandError):
        await verb


# --- cancelled at every await of opening, connecting, disconnecting and closing


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_at_every_await_a_session_leaves_nothing(place: str) -> None:
    async with desk() as at:

        async def once(number: int) -> bool:
            before = living()
            sockets = len(at.engine.sessions)
            model = model_at("ws://memory", "101")
            reached = await cancelled_session(model, place, number)
            assert living() == before
            assert len(at.engine.sessions) == sockets
            assert model.provider_state is ProviderState.CLOSED
            assert not model._keeper.is_running
            assert not model._provider._webitel._waiting  # type: ignore[attr-defined]  # it is the engine's
            return reached

        assert await at_every_await(once) >= {"host": 4, "keeper": 2, "run": 10, "snapshot": 1}[place]
