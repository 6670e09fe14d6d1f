"""Outages on real sockets: each is told apart, has a back-off of its own, and is over without a call lost, doubled or silent."""

from __future__ import annotations

import socket
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSListener
from typed_settings.types import Secret
from websockets.http11 import Request
from websockets.server import ServerProtocol

from cti_framework.back_off import BackOff, ReconnectPolicy
from cti_framework.calls import CallRole, CallState, EndCause
from cti_framework.commands import CommandTimeouts
from cti_framework.errors import CommandUnconfirmedError, ConnectionFailedError, NetworkError, OutageKind
from cti_framework.eventlog import Subscription
from cti_framework.events import CallFinished, CallStarted, Event, ProviderState, ProviderStateChanged, SnapshotTaken
from cti_framework.liveness import LivenessPolicy
from cti_framework.model import CtiModel
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, serve_webitel
from tests.core.scripted import told, until, until_state
from tests.core.wire import wire_to
from tests.webitel.server_process import ServerProcess, server_process
from tests.webitel.sessions import FAR, OWN, SWIFT, Tap, model_at

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="signals, and packets that are dropped")]

PATIENCE_SECONDS = 20.0
QUICK = LivenessPolicy(silence_seconds=0.2, probe_timeout_seconds=0.3)
ENQUIRED = "0509998877"


# Each kind -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"ws://127.0.0.1:{taken.getsockname()[1]}"


@asynccontextmanager
async def no_such_name() -> AsyncIterator[str]:
    yield "wss://pbx.invalid:10022"


@asynccontextmanager
async def server(serve: Callable[[Any], Awaitable[None]], tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as tcp, anyio.create_task_group() as tasks:
        listener: Any = tcp if tls is None else TLSListener(tcp, tls, standard_compatible=False)
        tasks.start_soon(listener.serve, serve)
        yield f"{'ws' if tls is None else 'wss'}://127.0.0.1:{tcp.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def untrusted() -> AsyncIterator[str]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    async def serve(stream: SocketStream) -> None:
        await stream.aclose()

    async with server(serve, tls) as url:
        yield url


def answering(answer: bytes | None) -> Callable[[], Any]:
    @asynccontextmanager
    async def place() -> AsyncIterator[str]:
        async def serve(stream: SocketStream) -> None:
            async with stream:
                await stream.receive()
                if answer is None:
                    await anyio.sleep_forever()
                else:
                    await stream.send(answer)

        async with server(serve) as url:
            yield url

    return place


@asynccontextmanager
async def restarting() -> AsyncIterator[str]:
    """A server that lets whoever comes in and says that it restarts."""

    async def serve(stream: SocketStream) -> None:
        protocol = ServerProtocol()
        async with stream:
            while not protocol.close_expected():
                protocol.receive_data(await stream.receive())
                for event in protocol.events_received():
                    if isinstance(event, Request):
                        protocol.send_response(protocol.accept(event))
                        protocol.send_close(1012, "restart")
                for data in protocol.data_to_send():
                    await stream.send(data)

    async with server(serve) as url:
        yield url


@asynccontextmanager
async def full() -> AsyncIterator[str]:
    options = SimulatorOptions(sockets_per_account=1)
    async with serve_webitel(control_port=None, options=options) as simulator, model_at(simulator):
        yield simulator.url


@asynccontextmanager
async def well() -> AsyncIterator[str]:
    async with serve_webitel(control_port=None) as simulator:
        yield simulator.url


@asynccontextmanager
async def not_an_address() -> AsyncIterator[str]:
    yield "ws://127.0.0.1:99999"


RETRIED: Final = {
    OutageKind.REFUSED: nobody,
    OutageKind.NAME_UNKNOWN: no_such_name,
    OutageKind.TLS_NOT_TRUSTED: untrusted,
    OutageKind.NO_ANSWER: answering(None),
    OutageKind.RESTARTING: restarting,
    OutageKind.BUSY: full,
    OutageKind.PROTOCOL: answering(b"220 mail.example ESMTP\r\n\r\n"),
    OutageKind.LOST: answering(b""),
}
OWN_PAUSES = {kind: BackOff(100.0 + 10 * number, 1000.0) for number, kind in enumerate(OutageKind)}


@pytest.mark.parametrize("kind", RETRIED)
async def test_each_kind_is_told_apart_and_has_its_own_pause(kind: OutageKind) -> None:
    policy = ReconnectPolicy(by_kind=OWN_PAUSES, log_in_timeout_seconds=0.3 if kind is OutageKind.NO_ANSWER else 10.0)
    async with RETRIED[kind]() as url, model_at(url, options={"policy": policy, "wait_for_service": False}) as model:
        events = model.events()
        for attempt in (2, 3):
            waiting = await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None)
            assert isinstance(waiting.error, ConnectionFailedError)
            assert waiting.error.kind is kind, waiting.error
            assert waiting.state is ProviderState.OUT_OF_SERVICE
            assert waiting.attempt == attempt
            assert waiting.next_try_at is not None
            pause = (waiting.next_try_at - waiting.at).total_seconds()
            whole = OWN_PAUSES[kind].initial_seconds * (attempt - 1)
            assert whole / 2 <= pause <= whole
            if attempt == 2:
                with pytest.raises(type(waiting.error)):
                    await model.reconnect_now()


@pytest.mark.parametrize(
    ("kind", "place", "password"), [(OutageKind.ADDRESS, not_an_address, "100"), (OutageKind.CREDENTIALS, well, "wrong")]
)
async def test_what_nobody_can_wait_for_is_not_tried_again(kind: OutageKind, place: Any, password: str) -> None:
    settings = WebitelUserSettings(login=OWN, password=Secret(password))
    async with place() as url:
        model = model_at(url, user_settings=settings, options={"wait_for_service": False})
        events = model.events()
        async with model:
            failed = await until_state(events, ProviderState.FAILED)
            assert isinstance(failed.error, ConnectionFailedError)
            assert failed.error.kind is kind
            assert failed.next_try_at is None


# Mid-call --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def in_two_calls(
    url: str, do: Callable[..., Awaitable[Any]], **options: Any
) -> AsyncIterator[tuple[CtiModel, Subscription]]:
    """A session whose operator holds one call and talks about it in another."""
    async with model_at(url, options={"policy": SWIFT, "liveness": QUICK, **options}) as model:
        events = model.events()
        await do("incoming", **{"from": "0671112233", "to": OWN})
        await until(events, CallStarted)
        await do("answer", presence=OWN)
        first = await calls_are(model, events, CallState.CONNECTED)
        await model.make_consult_call(ENQUIRED, first[0].id)
        await do("answer", presence=OWN)
        await calls_are(model, events, CallState.HELD, CallState.CONNECTED)
        told(events)
        yield model, events


async def calls_are(model: CtiModel, events: Subscription, *states: CallState) -> Any:
    with anyio.fail_after(PATIENCE_SECONDS):
        while tuple(call.state for call in model.calls) != states or any(call.stale for call in model.calls):
            await until(events, Event)
    return model.calls


async def takes_queues(model: CtiModel, events: Subscription) -> None:
    while not model.agent.call_centre_mode:
        await until(events, Event)


def check_history(model: CtiModel, history: list[Event]) -> None:
    """Nothing is missing, and no call began or ended twice."""
    assert [event.seq for event in history] == list(range(history[0].seq, history[0].seq + len(history)))
    for kind in (CallStarted, CallFinished):
        counted = Counter(event.call.id for event in history if isinstance(event, kind))
        assert set(counted.values()) <= {1}


async def test_a_server_that_stands_still_mid_call_is_frozen_and_its_calls_go_on() -> None:
    async with AsyncExitStack() as stack:
        pbx: ServerProcess = await stack.enter_async_context(server_process())
        model, events = await stack.enter_async_context(in_two_calls(pbx.url, pbx.do))
        place = model.cursor
        held, enquiry = model.calls
        pbx.stop()
        lost = await until_state(events, ProviderState.RECONNECTING)
        assert isinstance(lost.error, NetworkError)
        assert lost.error.kind is OutageKind.FROZEN
        assert all(call.stale and not call.features for call in model.calls)
        # While it stands still its computer takes connections, and nobody logs anybody in.
        pbx.go_on()
        await until(events, SnapshotTaken)
        await calls_are(model, events, CallState.HELD, CallState.CONNECTED)
        assert [(call.id, call.role) for call in model.calls] == [
            (held.id, CallRole.CURRENT),
            (enquiry.id, CallRole.CONSULT),
        ]
        history = told(model.events(after=place))
        check_history(model, history)
        assert not any(isinstance(event, CallStarted | CallFinished) for event in history)
        # And they are real: the enquiry is given up, and the first call comes back.
        await model.cancel_transfer(held.id, enquiry.id)
        await calls_are(model, events, CallState.CONNECTED)


async def test_a_server_that_is_killed_mid_call_and_comes_back_has_no_calls() -> None:
    async with AsyncExitStack() as stack:
        pbx: ServerProcess = await stack.enter_async_context(server_process())
        model, events = await stack.enter_async_context(in_two_calls(pbx.url, pbx.do))
        await model.set_call_centre_mode(True)
        await takes_queues(model, events)
        place = model.cursor
        before = {call.id: call for call in model.calls}
        await pbx.kill()
        lost = await until_state(events, ProviderState.RECONNECTING)
        assert OutageKind.of(lost.error or ValueError()) is OutageKind.LOST
        refused = await until(events, ProviderStateChanged, lambda event: event.next_try_at is not None and event.attempt > 1)
        assert OutageKind.of(refused.error or ValueError()) is OutageKind.REFUSED
        await pbx.start()
        # Calls that had only just begun are looked for twice: a list can lag.
        taken = await until(events, SnapshotTaken, lambda event: not event.calls)
        assert taken.complete
        assert model.calls == ()
        history = told(model.events(after=place))
        check_history(model, history)
        ended = {event.call.id: event.call for event in history if isinstance(event, CallFinished)}
        assert set(ended) == set(before)
        for call in ended.values():
            assert (call.inferred, call.cause, call.state) == (True, EndCause.RESYNC, CallState.NONE)
            # It was there until the connection was lost, and that is what is counted.
            assert call.ended_at == lost.at
            assert call.total_seconds == pytest.approx((lost.at - call.started_at).total_seconds(), abs=0.01)
        assert ended[next(iter(before))].hold_seconds > before[next(iter(before))].hold_seconds
        # The new server has logged the agent out of its queues: he is there again.
        await takes_queues(model, events)
        # And the line is free.
        assert (await model.make_call(FAR)).other.number == FAR


@pytest.mark.parametrize("noticed_by", ["silence", "a command", "somebody"])
async def test_a_half_open_connection_is_noticed_and_left(noticed_by: str) -> None:
    options = SimulatorOptions(own_answer_seconds=None, far_answer_seconds=0.02, media_seconds=0.005)
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(serve_webitel(control_port=None, options=options))
        wire = await stack.enter_async_context(wire_to(simulator.port))

        async def do(verb: str, **request: Any) -> None:
            assert "error" not in simulator.control({"do": verb, **request})

        liveness = QUICK if noticed_by == "silence" else LivenessPolicy(silence_seconds=0, probe_timeout_seconds=0.3)
        timeouts = CommandTimeouts(command_seconds=1.0)
        model, events = await stack.enter_async_context(in_two_calls(wire.url, do, liveness=liveness, timeouts=timeouts))
        place, known = model.cursor, model.now()
        wire.go_dark()
        async with anyio.create_task_group() as tasks:
            if noticed_by == "a command":
                tasks.start_soon(is_not_answered, model)
            elif noticed_by == "somebody":
                tasks.start_soon(model.reconnect_now)
            lost = await until_state(events, ProviderState.RECONNECTING)
        assert isinstance(lost.error, NetworkError)
        assert lost.error.kind is OutageKind.HALF_OPEN
        # One of the two ends before anybody is there again to hear of it.
        assert (lost.at - known).total_seconds() > 0.2
        await until(events, SnapshotTaken)
        await calls_are(model, events, CallState.HELD, CallState.CONNECTED)
        history = told(model.events(after=place))
        check_history(model, history)
        assert not any(isinstance(event, CallStarted | CallFinished) for event in history)


async def is_not_answered(model: CtiModel) -> None:
    with pytest.raises(CommandUnconfirmedError):
        await model.set_agent_state("DND")


async def test_what_was_subscribed_to_is_subscribed_to_again() -> None:
    async with serve_webitel(control_port=None) as simulator, model_at(simulator) as model:
        provider = model._provider
        assert isinstance(provider, WebitelCtiProvider)
        events = model.events()
        await provider._webitel.subscribe("CC::MEMBERS-COUNT")
        tap = Tap(simulator)
        simulator.cut()
        await until_state(events, ProviderState.IN_SERVICE)
        await tap.until_asked("subscribe")
        assert [command["exec-args"]["event"] for command in tap.asked("subscribe")] == ["CC::MEMBERS-COUNT"]
