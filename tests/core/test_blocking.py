from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib.util
import inspect
import pydoc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from structlog.testing import capture_logs

import cti_framework.blocking.runtime
import cti_framework.blocking.session
from cti_framework import (
    BlockingCallError,
    BlockingCtiModel,
    BlockingRuntime,
    Call,
    CallRole,
    CallStarted,
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConfigurationError,
    CredentialsRefusedError,
    CtiModel,
    CtiProviderInitializer,
    CtiUser,
    Cursor,
    InvalidArgumentError,
    LineStateChanged,
    NotAllowedNowError,
    ProviderNotFoundError,
    ProviderState,
    ProviderStateChanged,
    SessionClosedError,
    StepTimeoutError,
    hookimpl,
    open_session,
)
from cti_framework.blocking import BlockingVerbs
from cti_framework.blocking.work import Work
from cti_framework.hooks import Hooks
from cti_framework.model import CommandTimeouts
from cti_framework.provider import FetchProgress
from tests.core.blocked import SECONDS, Held, in_loop, in_thread, nothing_left, open_on, state_of
from tests.core.scripted import Pbx, ScriptedProvider, fails, session

EXPECTED_DIFFERENT = {"events"}
"""A time can be given to it at the end, and what it gives waits."""


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    # A test within an event loop has what that loop has.
    with nullcontext() if inspect.iscoroutinefunction(request.function) else nothing_left():
        yield


@pytest.fixture
def runtime(anyio_backend: str) -> Iterator[BlockingRuntime]:
    with BlockingRuntime(anyio_backend) as runtime:
        yield runtime


@pytest.fixture
def pbx() -> Pbx:
    return Pbx()


@pytest.fixture
def model(runtime: BlockingRuntime, pbx: Pbx) -> Iterator[BlockingCtiModel]:
    with open_on(runtime, pbx) as model:
        yield model


# The same model ----------------------------------------------------------------------------------------------------------


def public(of: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers_static(of) if not name.startswith("_")}


VERBS = {name: value for name, value in public(CtiModel).items() if inspect.iscoroutinefunction(value)}
READ = {name: value for name, value in public(CtiModel).items() if name not in VERBS}


def signature_of(member: Any) -> inspect.Signature:
    function: Any = member.fget if isinstance(member, property) else member
    return inspect.signature(function, eval_str=True)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_twin_of_the_same_signature(verb: str) -> None:
    twin = public(BlockingVerbs).get(verb)
    assert twin is not None, f"cti_framework/blocking/verbs.py has no twin of {verb}"
    assert signature_of(twin) == signature_of(VERBS[verb])
    assert twin.__name__ == verb
    # Tools that follow a wrapper to what it wraps would take it for a coroutine function.
    assert not inspect.iscoroutinefunction(inspect.unwrap(twin))
    documented, original = inspect.getdoc(twin), inspect.getdoc(VERBS[verb])
    assert documented is not None
    assert original is not None
    assert documented.partition("\n")[0] == original.partition("\n")[0]
    assert "Raises:" in documented or verb == "disconnect"


def test_there_is_no_twin_without_a_verb() -> None:
    assert set(public(BlockingVerbs)) == set(VERBS)


@pytest.mark.parametrize("name", READ)
def test_everything_that_can_be_read_has_a_twin(name: str) -> None:
    twin = public(BlockingCtiModel).get(name)
    assert twin is not None, f"BlockingCtiModel has no {name}"
    assert type(twin) is type(READ[name])
    given, asked = signature_of(twin), signature_of(READ[name])
    if name in EXPECTED_DIFFERENT:
        own = [parameter for parameter in given.parameters.values() if parameter.name != "timeout_seconds"]
        given = given.replace(parameters=own, return_annotation=asked.return_annotation)
    assert given == asked


def test_help_tells_what_a_verb_takes() -> None:
    told = pydoc.plain(pydoc.render_doc(BlockingCtiModel))
    assert "make_call(self, destination: str, *, command_id: str | None = None) -> cti_framework.calls.Call" in told
    assert "Call somebody." in told


# Verbs -------------------------------------------------------------------------------------------------------------------

ASKED: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "answer_call": (("in",), ("in",)),
    "drop_call": (("up",), ("up",)),
    "hold_call": (("up",), ("up",)),
    "blind_transfer": (("0502", "up"), ("up", "0502")),
    "send_dtmf": (("1#", "up"), ("up", "1#")),
    "set_mute": ((True, "up"), ("up", True)),
    "set_video": ((True, "up"), ("up", True)),
    "start_recording": (("up",), ("up",)),
    "stop_recording": (("up",), ("up",)),
    "pause_recording": ((True, "up"), ("up", True)),
    "monitor": (("77", "whisper"), ("77", "whisper")),
    "set_agent_state": (("AWAY", "lunch"), ("AWAY", "lunch")),
    "set_wrap_up": ((True,), (True,)),
    "set_call_centre_mode": ((True,), (True,)),
    "query_recordings": (("77",), ("77",)),
    "make_consult_call": (("0503", "up"), ("up", "0503")),
    "complete_transfer": ((), ("up", "consult")),
    "cancel_transfer": ((), ("up", "consult")),
    "alternate": ((), ("up", "consult")),
    "conference": ((), ("up", "consult")),
}


@pytest.mark.parametrize("verb", ASKED)
def test_a_verb_reaches_the_provider(model: BlockingCtiModel, pbx: Pbx, verb: str) -> None:
    given, expected = ASKED[verb]

    def happens() -> None:
        pbx.provider.offered("up")
        pbx.provider.connected("up")
        if verb in ("complete_transfer", "cancel_transfer", "alternate", "conference"):
            pbx.provider.originated("consult", parent_id="up")
            pbx.provider.connected("consult")
        if verb == "answer_call":
            pbx.provider.offered("in")

    if verb != "monitor":
        in_loop(model, happens)
    value = getattr(model, verb)(*given)
    ((asked, *arguments),) = pbx.asked
    assert asked == verb
    assert tuple(argument.id if isinstance(argument, Call) else argument for argument in arguments) == expected
    if verb in ("make_consult_call", "monitor"):
        assert isinstance(value, Call)
    elif verb == "query_recordings":
        assert value == ("https://pbx.example/1.mp3",)
    else:
        assert value is None


def test_a_verb_returns_its_value(model: BlockingCtiModel) -> None:
    call = model.make_call("0501")
    assert isinstance(call, Call)
    assert model.calls == (call,)
    assert model.call(call.id) == model.current_call == call


def test_verbs_of_the_session(model: BlockingCtiModel, pbx: Pbx) -> None:
    model.disconnect()
    assert state_of(model) is ProviderState.CLOSED
    model.connect()
    assert state_of(model) is ProviderState.IN_SERVICE
    assert pbx.runs == 2


def test_an_error_comes_out_as_it_is(model: BlockingCtiModel, pbx: Pbx) -> None:
    with pytest.raises(NotAllowedNowError, match="there is no call"):
        model.drop_call()
    refused = CommandRefusedError("No.", pbx_text="-ERR")

    async def refuse(destination: str) -> None:
        raise refused

    pbx.on_verb["make_call"] = refuse
    with pytest.raises(CommandRefusedError) as caught:
        model.make_call("0501")
    assert caught.value is refused
    assert caught.value.step == "make_call"


def test_verbs_may_be_called_by_many_threads(model: BlockingCtiModel, pbx: Pbx) -> None:
    all_are_there = anyio.Event()

    async def together(call_id: str) -> tuple[str, ...]:
        if len(pbx.asked) == 20:
            all_are_there.set()
        await all_are_there.wait()
        return (call_id,)

    pbx.on_verb["query_recordings"] = together
    answers = [in_thread(functools.partial(model.query_recordings, str(number))) for number in range(20)]
    assert [answer.result(SECONDS) for answer in answers] == [(str(number),) for number in range(20)]


def test_a_verb_sees_the_context_variables_of_its_caller(model: BlockingCtiModel, pbx: Pbx) -> None:
    request_id = contextvars.ContextVar("request_id", default="none")
    seen = []

    async def look(destination: str) -> Any:
        seen.append(request_id.get())
        return pbx.provider.originated("1")

    pbx.on_verb["make_call"] = look
    request_id.set("42")
    model.make_call("0501")
    contextvars.Context().run(in_loop, model, lambda: pbx.provider.ended("1"))
    contextvars.Context().run(in_loop, model, lambda: seen.append(request_id.get()))
    assert seen == ["42", "none"]


class Interrupting(Held):
    """A verb in whose midst the main thread gets a signal."""

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__()
        self.signal_number = signal_number

    async def __call__(self, *arguments: Any) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, self.signal_number)
        await super().__call__()


def test_ctrl_c_cancels_the_verb_and_leaves_all_as_it_was(model: BlockingCtiModel, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = held = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        model.make_call("0501")
    assert held.cancelled.is_set()
    del pbx.on_verb["make_call"]
    # Were it still being made, a second one would be refused.
    assert model.make_call("0501").other.number == "0501"
    assert model._runtime._works == set()


def test_a_signal_s_handler_may_close_the_session(model: BlockingCtiModel, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = held = Interrupting(signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: model.close())
    try:
        with pytest.raises(SessionClosedError, match=r"make_call: the session was closed meanwhile\. It may have acted"):
            model.make_call("0501")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert held.cancelled.is_set()
    assert model.provider_state is ProviderState.CLOSED


def test_a_verb_may_be_given_a_time(model: BlockingCtiModel, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = held = Held()
    with pytest.raises(CommandUnconfirmedError, match=r"make_call: it did not end within the 0\.01 s") as caught:
        model.within(0.01).make_call("0501")
    assert caught.value.step == "make_call"
    assert caught.value.remedy
    assert held.cancelled.is_set()
    del pbx.on_verb["make_call"]
    assert model.within(SECONDS).make_call("0501").role is CallRole.CURRENT


def test_a_time_is_above_zero(model: BlockingCtiModel) -> None:
    for seconds in (0, -1, float("nan")):
        with pytest.raises(InvalidArgumentError):
            model.within(seconds)


def test_connecting_goes_on_after_the_time_given(runtime: BlockingRuntime, pbx: Pbx) -> None:
    go_on: list[anyio.Event] = []

    async def slowly(provider: ScriptedProvider) -> None:
        go_on.append(anyio.Event())
        await go_on[0].wait()
        provider.started()
        await provider.pbx.live()

    pbx.on_run[1] = slowly
    with open_on(runtime, pbx, auto_connect=False) as model:
        with pytest.raises(StepTimeoutError, match="connect") as caught:
            model.within(0.01).connect()
        assert caught.value.step == "connect"
        in_loop(model, go_on[0].set)
        model.connect()
        assert pbx.runs == 1


def test_a_verb_that_the_model_gives_up_is_unconfirmed(runtime: BlockingRuntime, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = Held()
    with open_on(runtime, pbx, timeouts=CommandTimeouts(make_call_seconds=0.01)) as model:
        with pytest.raises(CommandUnconfirmedError, match=r"within 0\.01 s") as caught:
            model.make_call("0501")
        assert caught.value.step == "make_call"


def test_a_verb_that_is_given_too_little_time_tells_how_far_it_got(runtime: BlockingRuntime, pbx: Pbx) -> None:
    class Marking(ScriptedProvider):
        marks_sent = True
        leaves = False

        async def _asked(self, verb: str, *arguments: Any) -> Any:
            if self.leaves:
                self.context.command_sent()
            return await super()._asked(verb, *arguments)

    pbx.on_verb["make_call"] = Held()
    with open_on(runtime, pbx, Marking) as model:
        with pytest.raises(CommandError, match="Nothing was sent") as caught:
            model.within(0.01).make_call("0501", command_id="kept")
        told = caught.value
        assert (told.stage, told.retryable, told.command_id) == (CommandStage.NOT_SENT, True, "kept")
        Marking.leaves = True
        with pytest.raises(CommandUnconfirmedError) as unconfirmed:
            model.within(0.01).make_call("0501")
        assert unconfirmed.value.command_id is not None
        record = model.command(unconfirmed.value.command_id)
        assert record is not None
        assert record.cancelled
        assert [known.stage for known in model.commands] == [CommandStage.NOT_SENT, CommandStage.UNCONFIRMED]


def test_the_same_command_from_two_threads_acts_once(model: BlockingCtiModel, pbx: Pbx) -> None:
    first = in_thread(lambda: model.make_call("0501", command_id="mine"))
    second = in_thread(lambda: model.within(SECONDS).make_call("0501", command_id="mine"))
    assert first.result(SECONDS) == second.result(SECONDS)
    assert len(pbx.asked) == 1


def test_a_cancellation_of_the_provider_s_own_is_no_outcome(pbx: Pbx) -> None:
    async def stray(destination: str) -> None:
        raise asyncio.CancelledError

    pbx.on_verb["make_call"] = stray
    with open_on(None, pbx) as model:
        with pytest.raises(CommandUnconfirmedError, match="raised CancelledError"):
            model.make_call("0501")
        del pbx.on_verb["make_call"]
        assert model.make_call("0501").id == "out-2"


class Fetching(ScriptedProvider):
    """Has a recording to fetch, in two pieces."""

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        assert progress is not None
        for number in (1, 2):
            progress(FetchProgress(received_bytes=number, total_bytes=2))
            await anyio.lowlevel.checkpoint()
        return directory / "1.mp3"


def test_progress_is_told_in_the_thread_that_waits(runtime: BlockingRuntime, pbx: Pbx, tmp_path: Path) -> None:
    told = []
    with open_on(runtime, pbx, Fetching) as model:
        path = model.fetch_recording("link", tmp_path, progress=lambda state: told.append((state, threading.get_ident())))
        assert path == tmp_path / "1.mp3"
        assert [(state.received_bytes, ident) for state, ident in told] == [
            (1, threading.get_ident()),
            (2, threading.get_ident()),
        ]
        assert model.fetch_recording("link", tmp_path) == path


def test_what_progress_raises_ends_the_fetching_and_comes_out(runtime: BlockingRuntime, pbx: Pbx, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def enough(state: FetchProgress) -> None:
        raise Enough

    with open_on(runtime, pbx, Fetching) as model:
        with pytest.raises(Enough):
            model.fetch_recording("link", tmp_path, progress=enough)
        assert model.fetch_recording("link", tmp_path) == tmp_path / "1.mp3"


# Where nobody may wait ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_where_an_event_loop_runs_it_is_refused(pbx: Pbx) -> None:
    model = await anyio.to_thread.run_sync(open_on, None, pbx)
    events = await anyio.to_thread.run_sync(model.events)
    waiting: list[Callable[[], object]] = [
        lambda: model.make_call("0501"),
        lambda: model.calls,
        lambda: next(events),
        events.next_nowait,
        lambda: model.on_event(print),
        lambda: model.within(1).drop_call(),
        lambda: open_session(CtiProviderInitializer({"cti.provider": "dummy"}, environ={}), "100"),
    ]
    for wait in waiting:
        with pytest.raises(BlockingCallError, match="event loop") as caught:
            wait()
        assert "CtiModel" in caught.value.remedy
    assert pbx.asked == []
    call = await anyio.to_thread.run_sync(model.make_call, "0501")
    assert isinstance(call, Call)
    # It is safe from any thread at all: whoever closes wants to be rid of it.
    model.close()
    assert model.closed


def test_the_loop_s_own_thread_may_read_and_must_not_wait(runtime: BlockingRuntime, pbx: Pbx) -> None:
    the: list[BlockingCtiModel] = []
    seen: list[object] = []

    class Companion:
        @hookimpl
        def cti_call_started(self, event: CallStarted) -> None:
            seen.append(the[0].calls)
            with pytest.raises(BlockingCallError, match="would wait for itself") as caught:
                the[0].drop_call()
            seen.append(caught.value.remedy)

    hooks = Hooks()
    hooks.register(Companion(), "companion")
    with open_on(runtime, pbx, hooks=hooks) as opened:
        the.append(opened)
        call = opened.make_call("0501")
        assert seen[0] == (call,)
        assert "CtiModel" in str(seen[1])
        assert len(seen) == 2


# Opening -----------------------------------------------------------------------------------------------------------------


def test_a_session_is_opened_by_a_settings_key(runtime: BlockingRuntime) -> None:
    initializer = CtiProviderInitializer({"cti.provider": "dummy"}, environ={})
    with open_session(initializer, "100", runtime=runtime) as model, open_session(initializer, "101", runtime=runtime) as other:
        assert (model.user, model.provider_name) == (CtiUser("100"), "dummy")
        assert model.make_call("0501234567").own.number == "100"
        assert other.calls == ()
        assert other.provider_state is ProviderState.IN_SERVICE
    assert not runtime.closed


def test_a_session_may_have_a_loop_of_its_own(pbx: Pbx) -> None:
    with open_session(CtiProviderInitializer({"cti.provider": "dummy"}, environ={}), "100") as model:
        threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("cti")}
        assert threads == {"cti: event loop", "cti: watchdog"}
        assert not model.closed
    assert model.closed


def test_what_opening_raises_comes_out_as_it_is(runtime: BlockingRuntime, pbx: Pbx) -> None:
    refused = CredentialsRefusedError("No such user.")
    pbx.on_run[1] = fails(refused)
    with pytest.raises(CredentialsRefusedError) as caught:
        open_on(runtime, pbx)
    assert caught.value is refused
    with pytest.raises(ProviderNotFoundError):
        open_session(CtiProviderInitializer({"cti.provider": "nobody"}, environ={}), "100")
    with open_on(runtime, pbx) as model:
        assert model.provider_state is ProviderState.IN_SERVICE


def test_opening_need_not_wait_for_service(runtime: BlockingRuntime) -> None:
    initializer = CtiProviderInitializer({"cti.provider": "dummy", "dummy.number": "nobody"}, environ={})
    with open_session(initializer, "100", wait_for_service=False, runtime=runtime) as model:
        for event in model.events(after=Cursor(model.cursor.epoch, 0), timeout_seconds=SECONDS):
            if isinstance(event, ProviderStateChanged) and event.state is ProviderState.FAILED:
                break
        assert model.provider_state is ProviderState.FAILED


def test_ctrl_c_while_opening_leaves_nothing(pbx: Pbx) -> None:
    interrupting = Interrupting()
    pbx.on_run[1] = interrupting
    with pytest.raises(KeyboardInterrupt):
        open_on(None, pbx)
    assert interrupting.cancelled.is_set()


def test_ctrl_c_at_the_last_moment_of_opening_closes_it_again(runtime: BlockingRuntime, pbx: Pbx) -> None:
    ended = threading.Event()

    async def lives(provider: ScriptedProvider) -> None:
        provider.started()
        try:
            await provider.pbx.live()
        finally:
            ended.set()

    class Interrupted(BlockingCtiModel):
        def _run(self, step: str, begin: Callable[[Work[Any]], object]) -> Any:
            super()._run(step, begin)
            raise KeyboardInterrupt

    pbx.on_run[1] = lives
    with pytest.raises(KeyboardInterrupt):
        Interrupted(lambda: session(pbx), runtime=runtime)
    assert ended.wait(SECONDS)


def test_opening_sees_the_context_variables_of_its_caller(runtime: BlockingRuntime) -> None:
    tenant = contextvars.ContextVar("tenant", default="none")

    class Directory:
        @hookimpl
        def cti_user_connection(self, user: CtiUser) -> dict[str, str]:
            return {"number": {"acme": "102"}[tenant.get()]}

    tenant.set("acme")
    initializer = CtiProviderInitializer({"cti.provider": "dummy"}, environ={}, companions=[Directory()])
    with open_session(initializer, "anna", runtime=runtime) as model:
        assert model.make_call("0501234567").own.number == "102"


def test_a_closed_runtime_opens_nothing(runtime: BlockingRuntime, pbx: Pbx) -> None:
    runtime.close()
    assert runtime.closed
    with pytest.raises(SessionClosedError, match="the runtime is closed") as caught:
        open_on(runtime, pbx)
    assert "BlockingRuntime" in caught.value.remedy
    assert pbx.runs == 0


def test_a_loop_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="'curio'") as caught:
        BlockingRuntime("curio")
    assert "asyncio, trio" in caught.value.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"cti-framework\[trio\]"):
        BlockingRuntime("trio")


# Closing -----------------------------------------------------------------------------------------------------------------


def test_who_waits_for_a_verb_is_told_that_the_session_is_closed(model: BlockingCtiModel, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = held = Held()
    pbx.on_verb["query_recordings"] = other = Held()
    waiting: list[Future[Any]] = [in_thread(lambda: model.make_call("0501")), in_thread(lambda: model.query_recordings("1"))]
    assert held.begun.wait(SECONDS)
    assert other.begun.wait(SECONDS)
    model.close()
    for outcome in waiting:
        with pytest.raises(SessionClosedError, match="It may have acted"):
            outcome.result(SECONDS)
    assert held.cancelled.is_set()
    assert other.cancelled.is_set()


def test_a_closed_session_can_be_read_and_does_nothing(model: BlockingCtiModel, pbx: Pbx) -> None:
    model.make_call("0501")
    asked = list(pbx.asked)
    model.close()
    assert model.closed
    for act in (lambda: model.make_call("0502"), lambda: model.connect(), lambda: model.on_event(print)):
        with pytest.raises(SessionClosedError, match="the session is closed") as caught:
            act()
        assert "open_session" in caught.value.remedy
    assert pbx.asked == asked
    assert model.provider_state is ProviderState.CLOSED
    assert [call.stale for call in model.calls] == [True]


def test_closing_twice_and_by_many_at_once(model: BlockingCtiModel) -> None:
    for outcome in [in_thread(model.close) for _ in range(10)]:
        outcome.result(SECONDS)
    model.close()
    model._runtime.close()
    model.close()
    assert model.closed


def test_closing_the_runtime_closes_its_sessions(runtime: BlockingRuntime) -> None:
    pbxs = [Pbx(), Pbx(), Pbx()]
    models = [open_on(runtime, pbx) for pbx in pbxs]
    models[0].close()
    assert not models[1].closed
    runtime.close()
    assert all(model.closed for model in models)
    assert [pbx.running for pbx in pbxs] == [0, 0, 0]
    assert [model.provider_state for model in models] == [ProviderState.CLOSED] * 3


@pytest.mark.parametrize("owns_runtime", [True, False])
def test_closing_in_the_loop_s_own_thread_only_begins(runtime: BlockingRuntime, pbx: Pbx, owns_runtime: bool) -> None:
    the: list[BlockingCtiModel] = []
    returned = []

    class Companion:
        @hookimpl
        def cti_call_started(self, event: CallStarted) -> None:
            the[0].close()
            returned.append(True)

    hooks = Hooks()
    hooks.register(Companion(), "companion")
    the.append(model := open_on(None if owns_runtime else runtime, pbx, hooks=hooks))
    with pytest.raises(SessionClosedError):
        model.make_call("0501")
        model.drop_call()
    model.close()
    assert returned
    assert pbx.running == 0


def test_no_socket_is_left(runtime: BlockingRuntime, pbx: Pbx) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)

        async def connected(provider: ScriptedProvider) -> None:
            async with await anyio.connect_tcp(*server.getsockname()) as stream:
                provider.started()
                await stream.receive()

        pbx.on_run[1] = connected
        with nothing_left():
            model = open_on(runtime, pbx)
            peer, _ = server.accept()
            model.close()
            with peer:
                peer.settimeout(SECONDS)
                assert peer.recv(1) == b""


def test_a_session_whose_model_breaks_is_closed_and_says_so(runtime: BlockingRuntime, pbx: Pbx) -> None:
    class BrokenModel(CtiModel):
        async def __aenter__(self) -> BrokenModel:
            await super().__aenter__()
            broken = anyio.Event()

            async def breaks() -> None:
                await broken.wait()
                raise RuntimeError("A fault of ours.")

            async def breaking(destination: str) -> None:
                broken.set()
                await anyio.sleep_forever()

            assert self._tasks is not None
            self._tasks.start_soon(breaks)
            pbx.on_verb["make_call"] = breaking
            return self

    def opener() -> CtiModel:
        return BrokenModel(ScriptedProvider, user=CtiUser("ann"), settings=pbx, user_settings=None, name="scripted")

    with capture_logs() as logs:
        model = BlockingCtiModel(opener, runtime=runtime)
        events = model.events()
        with pytest.raises(SessionClosedError, match="closed meanwhile"):
            model.make_call("0501")
        assert model.closed
        assert isinstance(list(events)[-1], LineStateChanged)
    (failed,) = [line for line in logs if line["event"] == "cti.session.failed"]
    assert "A fault of ours." in failed["stack"]
    with open_on(runtime, Pbx()) as another:
        assert another.provider_state is ProviderState.IN_SERVICE


def test_what_is_being_closed_begins_nothing_more(model: BlockingCtiModel, pbx: Pbx) -> None:
    def begin_and_end(work: Work[Any]) -> None:
        assert model._verbs is not None
        model._runtime.spawn(work, lambda: model._model.make_call("0501"), model._verbs)
        model._end()

    with pytest.raises(SessionClosedError):
        model._run("make_call", begin_and_end)
    assert pbx.asked == []


def test_a_verb_that_comes_while_another_thread_closes_is_refused(model: BlockingCtiModel, pbx: Pbx) -> None:
    # As for a thread that has come between the first step of closing and the loop's.
    model._is_closed = True
    with pytest.raises(SessionClosedError, match="make_call: the session is closed"):
        model.make_call("0501")
    assert pbx.asked == []


# Works: what threads post to the loop ------------------------------------------------------------------------------------


def test_a_work_that_was_given_up_before_it_began_never_begins(runtime: BlockingRuntime) -> None:
    begun = []

    async def act() -> None:
        begun.append(True)

    def start(work: Work[None]) -> None:
        runtime.spawn(work, act, runtime.tasks)
        work.cancel()

    assert not runtime.run(start).has_outcome
    # What was posted before this has been done.
    assert runtime.read(lambda: begun) == []
    runtime.close()
    assert begun == []


@pytest.mark.anyio
async def test_a_work_that_has_ended_is_ended_again_for_a_thread_that_was_interrupted_before_it_knew() -> None:
    work = Work[int]()

    async def act() -> int:
        return 1

    await work.run(act)
    assert work.wait(0)
    work.cancel()
    assert work.wait(0)
    assert work.outcome() == 1


def test_a_work_whose_group_has_ended_is_ended(runtime: BlockingRuntime) -> None:
    groups: list[anyio.abc.TaskGroup] = []

    async def make_and_end() -> None:
        async with anyio.create_task_group() as tasks:
            groups.append(tasks)

    def start(work: Work[None]) -> None:
        runtime.spawn(work, make_and_end, runtime.tasks)

    def start_too_late(work: Work[None]) -> None:
        runtime.spawn(work, anyio.sleep_forever, groups[0])

    assert runtime.run(start).has_outcome
    too_late = in_thread(lambda: runtime.run(start_too_late)).result(SECONDS)
    assert not too_late.has_outcome
    assert not too_late.has_begun
    assert not runtime.closed


def test_a_work_that_the_loop_did_not_come_to_ends_with_it(runtime: BlockingRuntime) -> None:
    posted = threading.Event()

    def forget(work: Work[None]) -> None:
        posted.set()

    waiting = in_thread(lambda: runtime.run(forget))
    assert posted.wait(SECONDS)
    runtime.close()
    assert not waiting.result(SECONDS).has_outcome


def test_a_work_for_a_loop_that_is_over_ends(runtime: BlockingRuntime) -> None:
    runtime.close()
    # As for a thread that asked whether it is being closed a moment before it was.
    runtime._is_closing = False

    def forget(work: Work[None]) -> None:
        pass

    assert not runtime.run(forget).has_outcome


@pytest.mark.parametrize("owns_runtime", [True, False])
def test_a_loop_that_hangs_is_left_after_a_time(
    monkeypatch: pytest.MonkeyPatch, runtime: BlockingRuntime, pbx: Pbx, owns_runtime: bool
) -> None:
    monkeypatch.setattr(cti_framework.blocking.runtime, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(cti_framework.blocking.session, "CLOSE_SECONDS", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    async def hang(destination: str) -> None:
        begun.set()
        go_on.wait(SECONDS)

    pbx.on_verb["make_call"] = hang
    model = open_on(None if owns_runtime else runtime, pbx)
    waiting = in_thread(lambda: model.make_call("0501"))
    assert begun.wait(SECONDS)
    with capture_logs() as logs:
        model.close()
    assert [line["event"] for line in logs] == ["cti.blocking.hangs"]
    assert model.closed
    go_on.set()
    # What it came to after all is not hidden.
    assert waiting.result(SECONDS).other.number == "0501"
    with pytest.raises(SessionClosedError):
        model.drop_call()
    model.close()
    if owns_runtime:
        model._runtime._thread.join(SECONDS)


def test_system_exit_of_a_signal_s_handler_is_no_different_from_ctrl_c(model: BlockingCtiModel, pbx: Pbx) -> None:
    pbx.on_verb["make_call"] = held = Interrupting(signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(3))
    try:
        with pytest.raises(SystemExit):
            model.make_call("0501")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert held.cancelled.is_set()


def test_stages_say_what_they_say_of_the_model(model: BlockingCtiModel) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        model.make_call("")
    assert caught.value.stage is CommandStage.NOT_SENT
