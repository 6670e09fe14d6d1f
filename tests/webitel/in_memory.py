"""Sessions at a simulated engine without sockets and without real time: fast enough to try hundreds of walks.

The engine's queue of a socket is the socket. The switch's clock is turned by hand, and `Desk.settle` waits until everything that
was said has been understood: an answer to ``ping`` comes after all that the engine said before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from cti_framework.calls import Call, CallState
from cti_framework.errors import NetworkError
from cti_framework.model import CtiModel
from cti_framework.provider import ProviderContext
from cti_framework.switchboard import Leg, Switchboard
from cti_framework.transport import WebSocket
from cti_webitel.engine.client import Webitel
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.simulator import SimulatorOptions
from cti_webitel.simulator.engine import Engine
from tests.webitel.sessions import OWN, model_at

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
_ROUNDS = 3
_TURN_SECONDS = 0.1


class EngineSocket(WebSocket):
    """The client's end of one of the engine's sockets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session = engine.connect()
        self._session.wake = self._session.abort = self._wake
        self._came = anyio.Event()
        self._closed = False

    def _wake(self) -> None:
        self._came.set()

    async def receive(self) -> bytes:
        """Take the next frame."""
        while True:
            frame = self._session.take()
            if frame is not None:
                return frame
            if self._session.terminated or self._closed:
                await self.close()
                raise NetworkError("The engine cut the line.")
            self._came = anyio.Event()
            await self._came.wait()

    async def receive_many(self) -> Sequence[bytes]:
        """Take all that is there: what came together is understood together."""
        batch = [await self.receive()]
        while (frame := self._session.take()) is not None:
            batch.append(frame)
        return batch

    async def send(self, message: str | bytes) -> None:
        """Hand a frame to the engine."""
        await anyio.lowlevel.checkpoint()
        if self._closed or self._session.terminated:
            raise NetworkError("The line is cut.")
        self._engine.receive(self._session, message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave."""
        if not self._closed:
            self._closed = True
            self._engine.disconnect(self._session)
            self._wake()

    @property
    def close_code(self) -> int | None:
        """As a line that was cut."""
        return 1006 if self._closed else None

    @property
    def close_reason(self) -> str | None:
        """None is given."""
        return None

    @property
    def subprotocol(self) -> str | None:
        """None is agreed on."""
        return None


class Desk:
    """An operator's session and the switch that it is connected to.

    Args:
        model: The session.
        switchboard: The switch.
        engine: The engine before it.
    """

    def __init__(self, model: CtiModel, switchboard: Switchboard, engine: Engine) -> None:
        self.model = model
        self.switchboard = switchboard
        self.engine = engine

    @property
    def provider(self) -> WebitelCtiProvider:
        """The session's provider, without the model's checks."""
        provider = self.model._provider
        assert isinstance(provider, WebitelCtiProvider)
        return provider

    @property
    def webitel(self) -> Webitel:
        """The provider's client."""
        return self.provider._webitel

    @property
    def own_legs(self) -> tuple[Leg, ...]:
        """The operator's legs at the switch."""
        return self.switchboard.legs_of(OWN)

    def legs_of(self, call: Call) -> list[Leg]:
        """The operator's legs of one call."""
        ids = {call.id, *call.former_ids}
        return [leg for leg in self.own_legs if {leg.uuid, leg.snapshot.call_uuid, leg.snapshot.call_id or ""} & ids]

    async def settle(self) -> None:
        """Let everything happen that is about to, and be understood."""
        with anyio.fail_after(PATIENCE_SECONDS):
            for _ in range(_ROUNDS):
                self.switchboard.advance(_TURN_SECONDS)
                await self.webitel.ping()
                await anyio.wait_all_tasks_blocked()

    async def ask(self, verb: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Carry a verb out while the switch's clock goes on."""
        results: list[T] = []
        errors: list[Exception] = []

        async def act() -> None:
            try:
                results.append(await verb(*arguments))
            except Exception as error:  # noqa: BLE001  # raised again below, not as a group
                errors.append(error)
            group.cancel_scope.cancel()

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(act)
                while True:
                    await anyio.wait_all_tasks_blocked()
                    self.switchboard.advance(_TURN_SECONDS)
        if errors:
            raise errors[0]
        return results[0]

    def switch_says(self) -> list[tuple[str, str, bool]]:
        """Tell the operator's calls as the switch has them: state, direction, held by the operator."""
        by_call: dict[str, list[Leg]] = {}
        for leg in self.own_legs:
            by_call.setdefault(leg.snapshot.call_id or leg.snapshot.call_uuid, []).append(leg)
        return sorted(map(_as_a_call, by_call.values()))

    def line_says(self) -> list[tuple[str, str, bool]]:
        """Tell the operator's calls as the model shows them."""
        return sorted((call.state.name, call.direction.name, bool(call.held_by)) for call in self.model.calls)


def _as_a_call(legs: list[Leg]) -> tuple[str, str, bool]:
    held = any(leg.snapshot.held for leg in legs)
    talks = any(leg.partner is not None for leg in legs)
    state = CallState.HELD if held else CallState.CONNECTED if talks else CallState.ALERTING
    return state.name, "OUT" if legs[0].snapshot.outgoing else "IN", held


@asynccontextmanager
async def desk(*, seed: int = 1, **settings: Any) -> AsyncIterator[Desk]:
    """Open a session of account 100 at a simulated engine of its own."""
    switchboard = Switchboard(seed=seed)
    for number, role in (("100", "user"), ("101", "user"), ("102", "user"), ("200", "admin")):
        switchboard.add_account(number, "demo.local", password=number, role=role)
    by_hand: dict[str, Any] = {"own_answer_seconds": None, "far_answer_seconds": None, "media_seconds": 0.005}
    engine = Engine(switchboard, SimulatorOptions(**by_hand))

    @asynccontextmanager
    async def open_socket(context: ProviderContext, url: str, **options: Any) -> AsyncIterator[WebSocket]:
        socket = EngineSocket(engine)
        try:
            yield socket
        finally:
            await socket.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProviderContext, "open_websocket", open_socket)
        # Here nothing is on the way: what the engine said is understood at once.
        patch.setattr("cti_webitel.transfers._ON_THE_WAY_SECONDS", 0.0)
        async with model_at("ws://memory", **settings) as model:
            yield Desk(model, switchboard, engine)
