"""``cti phone`` between the keys and the session: what is asked of the session, in which order, and whose calls end with it."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from cti_framework.calls import Call, CallFeature, CallState
from cti_framework.cli.phone.ends import SourceMaker
from cti_framework.cli.phone.hand import Act, SendTones
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.phone.sound import PhoneSound
from cti_framework.cli.phone.state import PhoneState
from cti_framework.errors import CommandRefusedError, NotAllowedNowError, NotConnectedError, NotSupportedError
from cti_framework.events import CallConnected, CallFinished, CallInfoChanged, Initialized, WebRtcStarted
from cti_framework.media import Silence
from cti_framework.model import CtiModel
from tests.core.test_cli_phone_keys import AT, RINGING, F, a_call

pytestmark = pytest.mark.anyio


class StubModel:
    """Writes down what it is asked."""

    def __init__(self, *calls: Call) -> None:
        self.calls = calls
        self.asked: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.goes_on: anyio.Event | None = None
        self.user = SimpleNamespace(id="103")
        self.provider_name = "stub"
        self.provider_state_event = None
        self.features = F.DIAL

    @property
    def current_call(self) -> Call | None:
        return self.calls[0] if self.calls else None

    def now(self) -> datetime:
        return AT

    async def _do(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.goes_on is not None:
            await self.goes_on.wait()
        if self.error is not None:
            raise self.error

    async def make_call(self, destination: str) -> Call:
        await self._do("make_call", destination)
        return a_call("made")

    async def make_consult_call(self, destination: str, call: str | None) -> Call:
        await self._do("make_consult_call", destination, call)
        return a_call("asked", parent_id=call)

    async def answer_call(self, call: str | None) -> None:
        await self._do("answer_call", call)

    async def set_mute(self, on: bool, call: str | None) -> None:
        await self._do("set_mute", on, call)

    async def send_dtmf(self, digits: str, call: str | None) -> None:
        await self._do("send_dtmf", digits, call)

    async def drop_call(self, call: str) -> None:
        await self._do("drop_call", call)


def a_phone(*calls: Call) -> tuple[Softphone, StubModel]:
    model = StubModel(*calls)
    sound = PhoneSound(SourceMaker(Silence))
    return Softphone(cast(CtiModel, model), PhoneState(), sound), model


def event_of(event_type: type[Any], **more: Any) -> Any:
    return event_type("e", 1, AT, **more)


async def test_a_key_asks_the_session() -> None:
    phone, model = a_phone(a_call("c"))
    for action in (Act("make_call", None, ("5",)), Act("set_mute", "c", (True,)), Act("make_consult_call", "c", ("6",))):
        await phone.act(action)
    assert model.asked == [("make_call", "5"), ("set_mute", True, "c"), ("make_consult_call", "6", "c")]
    assert phone.doing == []


async def test_what_is_done_is_told_while_it_lasts_and_an_error_stays() -> None:
    phone, model = a_phone()
    model.goes_on = anyio.Event()
    model.error = CommandRefusedError("The PBX refuses to call 5.", remedy="Call somebody else.")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(phone.act, Act("make_call", None, ("5",)))
            await anyio.wait_all_tasks_blocked()
            assert phone.view().doing == ("Calling 5",)
            model.goes_on.set()
    view = phone.view()
    assert view.doing == ()
    assert [message.text for message in view.messages] == ["The PBX refuses to call 5. Call somebody else."]


async def test_tones_go_out_in_order_and_those_that_wait_together() -> None:
    phone, model = a_phone(a_call("c"), a_call("other"))
    model.goes_on = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for call_id, digit in (("c", "1"), ("c", "2"), ("other", "9"), ("c", "3")):
                tasks.start_soon(phone.act, SendTones(call_id, digit))
                await anyio.wait_all_tasks_blocked()
            model.goes_on.set()
    assert model.asked == [("send_dtmf", "1", "c"), ("send_dtmf", "23", "c"), ("send_dtmf", "9", "other")]


async def test_tones_that_wait_for_one_that_fails_are_dropped() -> None:
    phone, model = a_phone(a_call("c"))
    model.goes_on, model.error = anyio.Event(), CommandRefusedError("No.")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for digit in "12":
                tasks.start_soon(phone.act, SendTones("c", digit))
                await anyio.wait_all_tasks_blocked()
            model.goes_on.set()
        model.error = None
        # Half a code helps nobody; what is pressed from now on goes out.
        await phone.act(SendTones("c", "5"))
    assert model.asked == [("send_dtmf", "1", "c"), ("send_dtmf", "5", "c")]


async def test_a_session_that_is_no_phone_is_refused() -> None:
    phone, _ = a_phone()
    what: dict[str, Any] = {"agent_features": None, "agent_states": (), "own_numbers": ()}
    with pytest.raises(NotSupportedError, match="it is no phone"):
        phone.take(event_of(Initialized, features=F.DIAL | F.DROP, **what))
    for features in (F.ANSWER, F.MUTE):
        phone.take(event_of(Initialized, features=features, **what))


async def test_whose_calls_end_with_the_phone() -> None:
    made, answered, sounds = a_call("made"), a_call("in"), a_call("sounds")
    phone, model = a_phone(made, answered, a_call("desk"), sounds)
    await phone.act(Act("make_call", None, ("5",)))
    await phone.act(Act("answer_call", "in"))
    phone.take(event_of(WebRtcStarted, call=sounds, media_id="m"))
    phone.take(event_of(CallConnected, call=a_call("desk")))
    assert [call.id for call in phone.own_calls] == ["made", "in", "sounds"]
    model.asked.clear()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(phone.hang_up)
            await anyio.wait_all_tasks_blocked()
            # It waits for their end, and for nobody else's.
            model.calls = (a_call("desk"),)
            phone.touch()
    assert {asked[1] for asked in model.asked} == {"made", "in", "sounds"}


async def test_a_call_that_gets_another_name_stays_ones_own() -> None:
    phone, model = a_phone(a_call("made"))
    await phone.act(Act("make_call", None, ("5",)))
    renamed = a_call("new", former_ids=("made",))
    phone.take(event_of(CallInfoChanged, call=renamed))
    later = a_call("newer", former_ids=("new",))
    phone.take(event_of(CallInfoChanged, call=later))
    model.calls = (later,)
    assert phone.own_calls == (later,)
    phone.take(event_of(CallFinished, call=a_call("newer", CallState.NONE, former_ids=("new", "made"))))
    # The PBX may use a name again, for somebody else.
    model.calls = (a_call("made"),)
    assert not phone.own_calls


async def test_an_answer_that_fails_makes_a_call_nobodys_own() -> None:
    phone, model = a_phone(RINGING)
    model.error = CommandRefusedError("No.")
    await phone.act(Act("answer_call", "in"))
    assert phone.own_calls == ()


@pytest.mark.parametrize("error", [NotConnectedError("Gone."), NotAllowedNowError("drop_call", reason="it ended")])
async def test_what_cannot_be_hung_up_is_not_waited_for(error: Exception) -> None:
    phone, model = a_phone(a_call("made"))
    await phone.act(Act("make_call", None, ("5",)))
    model.error = error
    with anyio.fail_after(1):
        await phone.hang_up()
    assert bool(phone.view().messages) is isinstance(error, NotConnectedError)


async def test_a_call_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_framework.cli.phone.softphone._LEAVING_SECONDS", 0.05)
    phone, _ = a_phone(a_call("made"))
    await phone.act(Act("make_call", None, ("5",)))
    with anyio.fail_after(5):
        await phone.hang_up()


async def test_the_view_tells_what_there_is() -> None:
    phone, _ = a_phone(a_call("c"))
    phone.take(event_of(WebRtcStarted, call=a_call("c"), media_id="m"))
    view = phone.view()
    assert (view.user, view.provider, view.current_id) == ("103", "stub", "c")
    assert view.sounds["c"].media_id == "m"
    assert view.features is CallFeature.DIAL
    assert phone.press("m") == Act("set_mute", "c", (True,))
    assert phone.press("a") is not None
    assert phone.view().messages[-1].text == "Cannot answer now."
