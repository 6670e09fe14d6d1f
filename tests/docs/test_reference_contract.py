"""Everything that a provider implements or is given has a section in the reference, and its example works in a session."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
from websockets.sync.server import ServerConnection, serve

from cti_framework import settings
from cti_framework.calls import Call, CallState
from cti_framework.diagnosis import Checks, Endpoint, StepState
from cti_framework.errors import CommandStage
from cti_framework.events import CallStarted, Disconnected, Initialized
from cti_framework.media import RelayPeers
from cti_framework.model import CtiModel
from cti_framework.provider import BaseCtiProvider, Capabilities, ProviderContext
from cti_framework.reports import Held
from cti_framework.settings import SystemSettings
from tests.core.scripted import ScriptedProvider, session, until
from tests.docs.acme import ANSWERS, AcmePbx, Base, names, provider_with
from tests.docs.reference_pages import BACKENDS, check_said, execute, run, sections
from tests.media.test_relay import Browser

PAGE = "reference/contract.md"
SECTIONS = sections(PAGE)
ATTRIBUTES = [name for name, hint in vars(BaseCtiProvider)["__annotations__"].items() if hint.startswith("ClassVar")]
METHODS = [name for name, value in vars(BaseCtiProvider).items() if not name.startswith("_") and name not in ATTRIBUTES]
# `report` is handed over as it is, and no method.
GIVEN = ["report", *(name for name, value in vars(ProviderContext).items() if inspect.isfunction(value) and name[0] != "_")]


def test_everything_is_shown_and_nothing_else() -> None:
    told = {*ATTRIBUTES, *METHODS, *GIVEN}
    assert "run" in told
    assert "capabilities" in told
    assert "open_websocket" in told
    assert set(SECTIONS) <= told, sorted(set(SECTIONS) - told)


@pytest.mark.parametrize("name", [*ATTRIBUTES, *METHODS])
def test_everything_of_a_provider_has_an_example(name: str) -> None:
    assert name in SECTIONS, f"docs/{PAGE} has no section `{name}`"
    shown = (f"def {name}(", f"{name} = ")
    assert any(beginning in SECTIONS[name].code for beginning in shown), f"the example of {name} is about something else"


@pytest.mark.parametrize("name", GIVEN)
def test_everything_that_a_provider_is_given_has_an_example(name: str) -> None:
    assert name in SECTIONS, f"docs/{PAGE} has no section `{name}`"
    assert f"context.{name}(" in SECTIONS[name].code, f"the example of {name} does not use it"


@pytest.mark.parametrize("name", METHODS)
def test_the_feature_of_a_verb_is_told(name: str) -> None:
    documented = inspect.getdoc(getattr(BaseCtiProvider, name)) or ""
    for kind in ("CallFeature", "AgentFeature"):
        for feature in documented.split(f"``{kind}.")[1:]:
            assert f"`{kind}.{feature.partition('``')[0]}`" in SECTIONS[name].words


# What it says of itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_what_the_contract_wants(name: str, backend: str) -> None:
    async def act() -> None:
        value = getattr(await provider_with(SECTIONS[name]), name)
        if name.endswith("settings_type"):
            told = settings.describe_settings("acme", value)
            assert all(one.help for one in told)
            given = {one.key: "wss://pbx.example" for one in told if one.required}
            assert isinstance(SystemSettings.load(given, environ={}).read("acme", value), value)
        else:
            wanted = {
                "provider_api": int,
                "capabilities": Capabilities,
                "licences": tuple,
                "uses_media": bool,
                "marks_sent": bool,
            }
            assert isinstance(value, wanted[name])

    run(backend, act, jumping=False)


# Verbs -----------------------------------------------------------------------------------------------------------------

ARGUMENTS: dict[str, Callable[[Call, Path], tuple[Any, ...]]] = {
    "make_call": lambda call, folder: ("0501234567",),
    "make_consult_call": lambda call, folder: ("101",),
    "blind_transfer": lambda call, folder: ("101",),
    "send_dtmf": lambda call, folder: ("1#",),
    "set_mute": lambda call, folder: (True,),
    "set_video": lambda call, folder: (True,),
    "pause_recording": lambda call, folder: (True,),
    "monitor": lambda call, folder: ("theirs", "listen"),
    "set_agent_state": lambda call, folder: ("AWAY", "lunch"),
    "set_wrap_up": lambda call, folder: (True,),
    "set_call_centre_mode": lambda call, folder: (True,),
    "query_recordings": lambda call, folder: (call.id,),
    "fetch_recording": lambda call, folder: ("first.wav", folder),
}
"""What a host asks with; the others take the current call, or what is made below."""
VERBS = [name for name in METHODS if inspect.iscoroutinefunction(getattr(CtiModel, name, None))]
OF_PAIRS = {"complete_transfer", "cancel_transfer", "alternate", "conference"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("verb", [name for name in SECTIONS if name in VERBS])
def test_a_verb_does_what_a_host_asks(verb: str, backend: str, tmp_path: Path) -> None:
    async def act() -> None:
        pbx = AcmePbx()
        async with session(pbx, await provider_with(SECTIONS[verb])) as model:
            call = made(model, pbx, verb)
            arguments = ARGUMENTS[verb](call, tmp_path) if verb in ARGUMENTS else ()
            answer = await getattr(model, verb)(*arguments)
            (record,) = model.commands
            assert (record.verb, record.stage, record.error) == (verb, CommandStage.ACCEPTED, None)
            assert pbx.asked, f"the example of {verb} does not ask the PBX"
            if verb in ("make_call", "make_consult_call", "monitor"):
                assert model.call(answer.id) == answer
            if verb == "fetch_recording":
                assert answer.read_bytes() == ANSWERS["fetch"]
                assert await anyio.to_thread.run_sync(lambda: list(tmp_path.iterdir())) == [answer]

    run(backend, act, jumping=False)


def made(model: CtiModel, pbx: AcmePbx, verb: str) -> Call:
    """Have a call in the state in which a verb is allowed."""
    on = pbx.provider
    if verb in ("make_call", "monitor"):
        return on.context.call("none") or _nobody(on)
    on.offered("1")
    if verb != "answer_call":
        on.connected("1")
    if verb in ("unhold_call", *OF_PAIRS):
        on.context.report(Held(at=on.now, call_id="1"))
    if verb in OF_PAIRS:
        on.originated("2", parent_id="1")
        on.connected("2")
    call = model.call("1")
    assert call is not None
    return call


def _nobody(on: ScriptedProvider) -> Call:
    """Give a call that is over, for who asks without one."""
    call = on.originated("0")
    on.ended("0")
    return call


# What is no verb -------------------------------------------------------------------------------------------------------

Check = Callable[[type[ScriptedProvider], Path], Awaitable[None]]


async def runs(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx = AcmePbx()
    async with session(pbx, acme) as model:
        events = model.events()
        await pbx.connections[0].send({"call": "7", "from": "0671112233"})
        assert (await until(events, CallStarted)).call.other.number == "0671112233"
        await pbx.connections[0].aclose()
        error = (await until(events, Disconnected)).error
        assert error is not None
        assert error.message == "The PBX closed the connection."


async def takes_a_snapshot(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx = AcmePbx()
    async with session(pbx, acme) as model:
        (call,) = model.calls
        assert (call.id, call.state, call.other.number) == ("7", CallState.CONNECTED, "0671112233")


async def lasts(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx = AcmePbx()
    async with session(pbx, acme) as model:
        events = model.events()
        pbx.cut()
        await until(events, Initialized)
        assert (pbx.runs, pbx.asked) == (2, [("sound on",)])
    assert pbx.asked == [("sound on",), ("sound off",)]


async def is_probed(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx = AcmePbx()
    async with session(pbx, acme) as model:
        # In service: the PBX is asked whether it is there, and it is.
        await model.reconnect_now()
        assert (pbx.asked, pbx.runs) == ([("ping",)], 1)


async def counts_bytes(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx = AcmePbx()
    async with session(pbx, acme):
        assert pbx.provider.unacknowledged_bytes() == 17


async def tells_where(acme: type[ScriptedProvider], folder: Path) -> None:
    assert acme.endpoints(SimpleNamespace(address="wss://pbx.example:5443")) == (Endpoint("pbx", "wss://pbx.example:5443"),)


async def is_examined(acme: type[ScriptedProvider], folder: Path) -> None:
    pbx, checks = AcmePbx(), Checks()
    async with session(pbx, acme) as model:
        await model.examine(checks)
    (step,) = [step for step in checks.steps if step.step == "phone"]
    assert (step.state, step.remedy) == (StepState.WARNING, "Switch the phone on.")


async def is_simulated(acme: type[ScriptedProvider], folder: Path) -> None:
    async with acme.simulator() as simulation:
        assert await simulation.far_side.incoming("0671112233")


async def is_served(acme: type[ScriptedProvider], folder: Path) -> None:
    async with acme.serve_simulator(host="127.0.0.1", port=0, control_port=0) as said:
        port = int(said.partition("listens on ")[2].partition(";")[0].rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port):
            pass


async def is_replayed(acme: type[ScriptedProvider], folder: Path) -> None:
    (line,) = acme.replay(['{"at": 0.5, "event": "ringing", "call": "7"}'])
    assert (line.at_seconds, line.callback, line.text) == (0.5, "ringing", "ringing of 7")


OTHERS: dict[str, Check] = {
    "run": runs,
    "snapshot": takes_a_snapshot,
    "lifetime": lasts,
    "probe": is_probed,
    "unacknowledged_bytes": counts_bytes,
    "endpoints": tells_where,
    "diagnose": is_examined,
    "simulator": is_simulated,
    "serve_simulator": is_served,
    "replay": is_replayed,
}


def test_every_method_is_tried() -> None:
    assert {*VERBS, *OTHERS} == set(METHODS)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in SECTIONS if name in OTHERS])
def test_a_method_does_what_the_core_and_tools_ask(name: str, backend: str, tmp_path: Path) -> None:
    async def act() -> None:
        await OTHERS[name](await provider_with(SECTIONS[name]), tmp_path)

    run(backend, act, jumping=False)


# What it is given ------------------------------------------------------------------------------------------------------


@contextmanager
def echoing() -> Iterator[str]:
    """Serve what gives back what it is sent; give its address."""

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, name="echo")
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in SECTIONS if name in GIVEN])
def test_what_a_provider_is_given_works(name: str, backend: str) -> None:
    section = SECTIONS[name]
    printed: list[str] = []
    heard: list[str] = []

    async def act() -> None:
        pbx = AcmePbx()
        async with session(pbx, Base, media=RelayPeers(lambda call_id: Browser())) as model:
            call = made(model, pbx, "hold_call")
            context = pbx.provider.context
            given = {
                **names(),
                "context": context,
                "call": call,
                "print": lambda *words: printed.append(" ".join(map(str, words))),
            }
            before, context._on_heard = context._on_heard, lambda: heard.append("heard")
            marked = context._command_sent
            context._command_sent = lambda: heard.append("sent")
            with echoing() as address:
                await execute(section, {**given, "address": address})
            context._on_heard, context._command_sent = before, marked
            shown = model.call(call.id)
            assert shown is not None
            frames = [line for line in model.recorder.lines() if "command" in line or "event" in line]
            check_effect(name, shown, heard, frames, printed)

    run(backend, act, jumping=False)
    check_said(section, printed)


def check_effect(name: str, call: Call, heard: list[str], frames: list[Any], printed: list[str]) -> None:
    """Check that what an example uses did what it is for."""
    effects: dict[str, bool] = {
        "report": call.state is CallState.HELD,
        "call": bool(printed),
        "command_sent": heard == ["sent"],
        "media": bool(printed),
        "tls_for": bool(printed),
        "open_websocket": printed == ["hello"],
        "heard": heard == ["heard"],
        "frame": len(frames) == 1,
        "frames": len(frames) == 2 and heard == ["heard"],
        "shared": bool(printed),
    }
    assert effects[name], (name, heard, frames, printed)
