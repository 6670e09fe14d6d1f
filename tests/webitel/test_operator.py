"""The operator's state, call-centre mode, recordings, listening in: what concerns no call of two parties."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import pytest
from typed_settings.types import Secret

from cti_framework.agents import Agent, AgentFeature
from cti_framework.calls import CallDirection, CallFeature, CallState, EndCause
from cti_framework.errors import CommandRefusedError, InvalidArgumentError, NotSupportedError
from cti_framework.events import AgentStateChanged, CallCentreModeChanged, CallFinished, ErrorOccurred
from cti_webitel import looks
from cti_webitel.agents import agent_of
from cti_webitel.engine.callbacks import OnSilenced, SilencedBy, WebitelUser
from cti_webitel.engine.client import Webitel
from cti_webitel.record_ids import RecordIds
from tests.webitel.in_memory import Desk, desk
from tests.webitel.sessions import CALLER, OWN
from tests.webitel.test_transfers import talking_in, talking_out, watched

pytestmark = pytest.mark.anyio

SUPERVISED = "101@demo.local"


# --- states


@pytest.mark.parametrize("state", ["ONBREAK", "DND", "CALLFORWARD", "VOICEMAIL"])
async def test_being_away_and_ready_again(state: str) -> None:
    async with desk() as at:
        await at.ask(at.model.set_agent_state, state, "lunch break")
        await at.settle()
        assert at.model.agent == Agent(state, note="lunch break", call_centre_mode=False)
        await at.ask(at.model.set_agent_state, "ONHOOK")
        await at.settle()
        assert at.model.agent == Agent("ONHOOK", call_centre_mode=False)


@pytest.mark.parametrize("state", ["ISBUSY", "NONREG", "LUNCH", "", "DND'"])
async def test_what_cannot_be_set_is_refused_before_it_is_sent(state: str) -> None:
    async with desk() as at:
        with pytest.raises(InvalidArgumentError, match=r"ONHOOK|empty|text"):
            await at.ask(at.model.set_agent_state, state)


async def test_being_ready_takes_no_reason() -> None:
    async with desk() as at:
        with pytest.raises(InvalidArgumentError, match="no reason"):
            await at.ask(at.model.set_agent_state, "ONHOOK", "tea")


async def test_in_a_call_being_away_is_pending_until_it_ends() -> None:
    async with desk() as at:
        await talking_in(at)
        assert at.model.agent.state == "ISBUSY"
        async with watched(at) as events:
            await at.ask(at.model.set_agent_state, "DND")
            await at.settle()
            assert (at.model.agent.state, at.model.agent.pending) == ("ISBUSY", "DND")
            at.switchboard.hang_up(at.own_legs[0].uuid)
            await at.settle()
        assert at.model.agent == Agent("DND", call_centre_mode=False)
        told = [(event.agent.state, event.agent.pending) for event in events if isinstance(event, AgentStateChanged)]
        assert told == [("ISBUSY", "DND"), ("DND", None)]


async def test_who_is_away_and_is_called_is_in_a_call_and_away_after_it() -> None:
    async with desk() as at:
        await at.ask(at.model.set_agent_state, "ONBREAK")
        await at.settle()
        await talking_in(at)
        assert (at.model.agent.state, at.model.agent.pending) == ("ISBUSY", "ONBREAK")


async def test_a_phone_that_goes_away_is_told() -> None:
    async with desk() as at:
        at.switchboard.set_registered(OWN, registered=False)
        await at.settle()
        assert at.model.agent.state == "NONREG"


@pytest.mark.parametrize(
    ("user", "in_call", "agent"),
    [
        (WebitelUser("100", "d", "ONHOOK", "NONE"), False, Agent("ONHOOK")),
        (WebitelUser("100", "d", "ISBUSY", "NONE"), True, Agent("ISBUSY")),
        (WebitelUser("100", "d", "ISBUSY", "DND", "later"), False, Agent("DND", note="later")),
        (WebitelUser("100", "d", "ISBUSY", "DND"), True, Agent("ISBUSY", pending="DND")),
        (WebitelUser("100", "d", "NONREG", "DND"), True, Agent("DND")),
    ],
)
def test_what_an_account_says_of_its_operator(user: WebitelUser, in_call: bool, agent: Agent) -> None:
    assert agent_of(user, in_call=in_call) == agent


# --- call centre


async def test_call_centre_mode_on_and_off() -> None:
    async with desk() as at:
        assert at.model.agent.call_centre_mode is False
        async with watched(at) as events:
            for on in (True, False):
                await at.ask(at.model.set_call_centre_mode, on)
                await at.settle()
                assert at.model.agent.call_centre_mode is on
        assert [event.on for event in events if isinstance(event, CallCentreModeChanged)] == [True, False]


async def test_on_demand_is_a_setting() -> None:
    async with desk(call_centre_on_demand=True) as at:
        await at.ask(at.model.set_call_centre_mode, True)
        await at.settle()
        assert at.switchboard.account(OWN).agent_status == "Available (On Demand)"


async def test_an_account_that_is_no_agent_is_not_offered_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        assert AgentFeature.CALL_CENTRE_MODE in at.model.agent_features
        user = at.webitel.own_user
        assert user is not None
        monkeypatch.setattr(Webitel, "own_user", attrs.evolve(user, agent=False))
        at.provider._started()
        assert at.model.agent_features == AgentFeature.SET_STATE | AgentFeature.CALL_RECORDS


# --- recordings


async def test_a_recording_is_asked_for_by_the_identifier_it_is_kept_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await talking_out(at)
        async with watched(at) as events:
            at.switchboard.hang_up(at.own_legs[0].uuid)
            await at.settle()
        (ended,) = [event.call for event in events if isinstance(event, CallFinished)]
        asked: list[str] = []

        async def link(call_id: str) -> Secret[str] | None:
            asked.append(call_id)
            return Secret("http://pbx/file?x_key=k")

        monkeypatch.setattr(at.webitel, "recording_link", link)
        assert ended.id != call.id
        for call_id in (call.id, ended.id):
            assert await at.ask(at.model.query_recordings, call_id) == ("http://pbx/file?x_key=k",)
        assert asked == [ended.id, ended.id], "while it was up it had another identifier"


@pytest.mark.parametrize("cause", ["ALLOTTED_TIMEOUT", "MEDIA_TIMEOUT", "NORMAL_UNSPECIFIED"])
@pytest.mark.parametrize("begin", [talking_in, talking_out])
async def test_it_is_kept_so_however_the_call_ends(begin: Any, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:
        call = await begin(at)
        own = at.own_legs[0].snapshot
        at.switchboard.hang_up(own.uuid, cause)
        await at.settle()
        asked: list[str] = []

        async def link(call_id: str) -> None:
            asked.append(call_id)

        monkeypatch.setattr(at.webitel, "recording_link", link)
        await at.ask(at.model.query_recordings, call.id)
        assert asked == [own.originating_leg or own.uuid], "facts: webitel-protocol 4.5, dbUuid"


async def test_a_call_that_was_not_recorded_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk() as at:

        async def none(call_id: str) -> None:
            return None

        monkeypatch.setattr(at.webitel, "recording_link", none)
        assert await at.ask(at.model.query_recordings, "06060606-0000-4000-8000-000000000006") == ()


async def test_what_is_no_identifier_is_refused() -> None:
    async with desk() as at:
        with pytest.raises(InvalidArgumentError):
            await at.ask(at.model.query_recordings, "x y")


def test_identifiers_are_followed_and_forgotten() -> None:
    ids = RecordIds()
    ids.learn("a", "b")
    ids.learn("b", "c")
    assert (ids.of("a"), ids.of("b"), ids.of("c"), ids.of("d")) == ("c", "c", "c", "d")
    ids.learn("c", "a")
    assert ids.of("a") in ("a", "b", "c"), "a circle ends"
    for number in range(5000):
        ids.learn(f"old {number}", f"new {number}")
    assert ids.of("old 0") == "old 0"
    assert ids.of("old 4999") == "new 4999"


# --- listening in


async def others_call(at: Desk) -> str:
    """A colleague talks to a caller; give the colleague's leg."""
    _, own = at.switchboard.incoming(CALLER, SUPERVISED)
    at.switchboard.answer(own[0].uuid)
    await at.settle()
    return own[0].uuid


async def test_a_supervisor_listens_to_a_colleagues_call() -> None:
    async with desk() as at:
        leg = await others_call(at)
        call = await at.ask(at.model.monitor, leg)
        assert (call.direction, call.other.number) == (CallDirection.OUT, "101")
        assert call.state is CallState.ALERTING
        at.switchboard.answer(at.own_legs[0].uuid)
        await at.settle()
        (listening,) = at.model.calls
        assert listening.state is CallState.CONNECTED, "nobody else answers it"
        assert listening.features == CallFeature.DROP | CallFeature.DTMF
        await at.ask(at.model.drop_call, listening)
        await at.settle()
        assert at.model.calls == ()
        assert at.switchboard.leg(leg).partner is not None, "the colleague goes on talking"


async def test_the_first_leg_of_a_call_names_it_too() -> None:
    async with desk() as at:
        leg = at.switchboard.leg(await others_call(at))
        call = await at.ask(at.model.monitor, leg.snapshot.call_uuid)
        assert call.other.number == "101"


async def test_a_call_that_is_not_there_cannot_be_heard() -> None:
    async with desk() as at:
        with pytest.raises(CommandRefusedError, match="no call"):
            await at.ask(at.model.monitor, "06060606-0000-4000-8000-000000000006")


@pytest.mark.parametrize(
    ("presence", "number", "shown"), [("alice@demo.local", "x", "alice"), ("", "anonymous", "anonymous"), ("", "", "unknown")]
)
async def test_whom_a_row_names_by_letters_can_be_heard(
    presence: str, number: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk() as at:
        leg = await others_call(at)

        async def rows() -> list[dict[str, str]]:
            return [{"uuid": leg, "presence_id": presence, "cid_num": number}]

        monkeypatch.setattr(at.webitel, "show_channels", rows)
        call = await at.ask(at.model.monitor, leg)
        assert call.other.number == shown


@pytest.mark.parametrize("mode", ["whisper", "barge"])
async def test_modes_that_the_site_does_not_name_are_not_to_be_had(mode: str) -> None:
    async with desk() as at:
        with pytest.raises(NotSupportedError, match="whisper_side"):
            await at.ask(at.model.monitor, await others_call(at), mode)
        assert not at.own_legs


async def test_whispering_takes_the_sites_side(monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(whisper_side="agent") as at:
        sides: list[Any] = []
        eavesdrop = at.webitel.eavesdrop

        async def noted(leg: str, **options: Any) -> str:
            sides.append(options["side"])
            return await eavesdrop(leg, **options)

        monkeypatch.setattr(at.webitel, "eavesdrop", noted)
        await at.ask(at.model.monitor, await others_call(at), "whisper")
        assert sides == ["agent"]


async def test_a_listener_whose_colleague_hangs_up_is_over() -> None:
    async with desk() as at:
        leg = await others_call(at)
        await at.ask(at.model.monitor, leg)
        at.switchboard.answer(at.own_legs[0].uuid)
        await at.settle()
        async with watched(at) as events:
            at.switchboard.hang_up(leg)
            await at.settle()
        assert at.model.calls == ()
        assert [event.call.cause for event in events if isinstance(event, CallFinished)] == [EndCause.NORMAL]


# --- silenced by another program


async def test_a_session_that_was_silenced_says_so_and_looks_at_the_calls() -> None:
    async with desk() as at:
        async with watched(at) as events:
            at.engine.online[OWN].logged = False
            at.switchboard.incoming(CALLER, OWN)
            await at.settle()
            assert len(at.model.calls) == 0, "nothing is told of it"
            at.engine.online[OWN].logged = True
            at.provider._on_callbacks([OnSilenced(SilencedBy.WHOAMI)])
            await at.settle()
        (trouble,) = [event for event in events if isinstance(event, ErrorOccurred)]
        assert "logged out" in str(trouble.error)
        assert trouble.error.remedy
        rings = at.model.current_call
        assert rings is not None and rings.other.number == CALLER


async def test_an_end_that_was_missed_ends_being_busy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_LOOK_AGAIN_SECONDS", 0.0)
    async with desk() as at:
        await talking_in(at)
        await at.ask(at.model.set_agent_state, "DND")
        await at.settle()
        assert at.model.agent.pending == "DND"
        at.engine.online[OWN].logged = False
        at.switchboard.hang_up(at.own_legs[0].uuid)
        await at.settle()
        at.provider._on_callbacks([OnSilenced(SilencedBy.WHOAMI)])
        with anyio.fail_after(5):
            while at.model.calls:
                await at.settle()
        assert at.model.agent == Agent("DND", call_centre_mode=False)
