"""Cancelled at every await of a session over real sockets, nothing is left: no task, no socket, no thread."""

from __future__ import annotations

import anyio
import pytest

from cti_framework.events import ProviderState
from cti_webitel.simulator import serve_webitel
from tests.core.awaits import PLACES, at_every_await, cancelled_session
from tests.core.blocked import open_files
from tests.core.scripted import living
from tests.webitel.sessions import PATIENCE_SECONDS, model_at

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_at_every_await_over_real_sockets_nothing_is_left(place: str) -> None:
    async with serve_webitel(control_port=None) as simulator:
        # What a first connection leaves for all that follow is no remainder of one.
        await cancelled_session(model_at(simulator), "host", 1000)

        async def until_as(before: tuple[tuple[int, int], list[str]]) -> None:
            # The simulator's end of a socket is closed a moment later than ours.
            with anyio.fail_after(PATIENCE_SECONDS):
                while (living(), open_files()) != before:
                    await anyio.wait_all_tasks_blocked()

        await anyio.wait_all_tasks_blocked()
        before = living(), open_files()

        async def once(number: int) -> bool:
            model = model_at(simulator)
            reached = await cancelled_session(model, place, number)
            assert model.provider_state is ProviderState.CLOSED
            assert not model._keeper.is_running
            await until_as(before)
            assert not simulator.engine.sessions
            return reached

        assert await at_every_await(once) >= {"host": 3, "keeper": 1, "run": 10, "snapshot": 1}[place]
