"""A session at the switch in the box, through a network that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
from cti_framework import CtiModel, CtiProviderInitializer
from cti_framework.events import Cursor, ProviderState, SnapshotTaken
from cti_framework.provider import CtiUser
from cti_framework.testing import FaultProxy, FaultSchedule, fault_proxy

from cti_esl.simulator import DOMAIN, PASSWORD, EslFarSide, running_switch
from cti_esl.simulator.server import EslServer


def settings_for(port: int, **more: Any) -> dict[str, Any]:
    return {
        "cti.provider": "esl",
        "cti.reconnect_initial_seconds": 0.02,
        "cti.reconnect_max_seconds": 0.02,
        "esl.port": port,
        "esl.password": PASSWORD,
        "esl.domain": DOMAIN,
        **{name.replace("__", "."): value for name, value in more.items()},
    }


@attrs.frozen
class Boxed:
    """What a test has of a session."""

    model: CtiModel
    server: EslServer
    far: EslFarSide
    network: FaultProxy


@asynccontextmanager
async def boxed(schedule: str = "", *, lag_seconds: float = 0.0, **settings: Any) -> AsyncIterator[Boxed]:
    """Alice's session."""
    async with AsyncExitStack() as stack:
        server, port = await stack.enter_async_context(running_switch())
        server.switch.lag_seconds = lag_seconds
        faults = FaultSchedule.parse(schedule) if schedule else None
        network = await stack.enter_async_context(fault_proxy("127.0.0.1", port, seed=7, schedule=faults))
        initializer = CtiProviderInitializer(settings_for(network.port, **settings), environ={})
        user = CtiUser(id="1000", parameters={"esl.number": "1000"})
        model = await stack.enter_async_context(await initializer.create(user, wait_for_service=False))
        # In service is not yet ready: the calls that there are have to be told first.
        async for event in model.events(after=Cursor(model.cursor.epoch, 0)):
            if isinstance(event, SnapshotTaken):
                break
        yield Boxed(model, server, EslFarSide(server, f"1000@{DOMAIN}"), network)


async def until(model: CtiModel, is_so: Callable[[], bool]) -> None:
    """Wait for something that events tell."""
    events = model.events(after=model.cursor)
    if not is_so():
        async for _ in events:
            if is_so():
                return


def is_up(model: CtiModel) -> bool:
    return model.provider_state is ProviderState.IN_SERVICE and not any(call.stale for call in model.calls)
