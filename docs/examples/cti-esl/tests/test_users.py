"""Many users on one connection: one socket, one reconnection, and nobody is told of another's calls."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import pytest
from cti_framework import CtiHub, CtiModel, CtiProviderInitializer
from cti_framework.errors import CredentialsRefusedError
from cti_framework.events import CallEvent, CallFinished, CallStarted, Disconnected
from cti_framework.provider import CtiUser

from boxed import is_up, settings_for, until
from cti_esl.simulator import DOMAIN, running_switch
from cti_esl.simulator.server import EslServer

pytestmark = pytest.mark.anyio

USERS = 200


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def hub_of(numbers: tuple[str, ...]) -> AsyncIterator[tuple[EslServer, dict[str, CtiModel]]]:
    async with AsyncExitStack() as stack:
        server, port = await stack.enter_async_context(running_switch(numbers))
        initializer = CtiProviderInitializer(settings_for(port), environ={})
        hub = await stack.enter_async_context(CtiHub(initializer, openings_per_second=1000, concurrent_openings=64))
        models: dict[str, CtiModel] = {}

        async def join(number: str) -> None:
            models[number] = await hub.open(CtiUser(id=number, parameters={"esl.number": number}))

        async with anyio.create_task_group() as tasks:
            for number in numbers:
                tasks.start_soon(join, number)
        yield server, models


def names(frames: str, number: str) -> bool:
    """Tell whether a number is in frames, and not only its digits in a time or an identifier."""
    return re.search(rf"(?<![\w.-]){number}(?![\w.-])", frames) is not None


def has_calls(model: CtiModel) -> bool:
    return bool(model.calls)


def has_no_calls(model: CtiModel) -> bool:
    return not model.calls


async def test_two_hundred_users_are_one_socket() -> None:
    numbers = tuple(str(1000 + at) for at in range(USERS))
    told: dict[str, list[CallEvent]] = {number: [] for number in numbers}
    with anyio.fail_after(55):
        async with hub_of(numbers) as (server, models):
            assert (server.accepted, server.open) == (1, 1)
            assert sum("show channels" in command for command in server.commands) <= 2

            async def listen(number: str) -> None:
                async for event in models[number].events(after=models[number].cursor):
                    if isinstance(event, CallEvent):
                        told[number].append(event)

            async with anyio.create_task_group() as tasks:
                for number in numbers:
                    tasks.start_soon(listen, number)
                await anyio.wait_all_tasks_blocked()
                # Each even user is called from outside by a number of its own, and hangs up.
                board = server.switch.switchboard
                called = numbers[::2]
                for number in called:
                    board.incoming(f"05{number}", f"{number}@{DOMAIN}")
                for number in called:
                    await until(models[number], partial(has_calls, models[number]))
                cursors = {number: models[number].cursor for number in numbers}
                await server.cut()
                for number, model in models.items():
                    async for event in model.events(after=cursors[number]):
                        if isinstance(event, Disconnected):
                            break
                    await until(model, partial(is_up, model))
                assert (server.accepted, server.most_open) == (2, 1)
                for number in called:
                    await models[number].drop_call(models[number].calls[0])
                for number in called:
                    await until(models[number], partial(has_no_calls, models[number]))
                tasks.cancel_scope.cancel()
            for number in numbers:
                # Nor is another's call in what a user's flight recorder holds.
                frames = "".join(models[number].recorder.lines())
                others = [other for other in called if other != number and names(frames, f"05{other}")]
                assert not others
                assert names(frames, f"05{number}") is (number in called)
                callers = {event.call.other.number for event in told[number]}
                assert callers == ({f"05{number}"} if number in called else set())
                kinds = [type(event) for event in told[number] if isinstance(event, CallStarted | CallFinished)]
                assert kinds == ([CallStarted, CallFinished] if number in called else [])
        assert server.open == 0


@asynccontextmanager
async def small_hub() -> AsyncIterator[tuple[EslServer, CtiHub]]:
    async with AsyncExitStack() as stack:
        server, port = await stack.enter_async_context(running_switch())
        yield server, await stack.enter_async_context(CtiHub(CtiProviderInitializer(settings_for(port), environ={})))


async def test_who_has_a_wrong_password_is_not_let_in_by_the_right_one_of_others() -> None:
    with anyio.fail_after(20):
        async with small_hub() as (server, hub):
            alice = await hub.open(CtiUser(id="1000", parameters={"esl.number": "1000"}))
            with pytest.raises(CredentialsRefusedError):
                await hub.open(CtiUser(id="1001", parameters={"esl.number": "1001", "esl.password": "wrong"}))
            assert is_up(alice)
            assert (server.accepted, server.open) == (2, 1)


async def test_the_last_who_leaves_closes_the_connection() -> None:
    with anyio.fail_after(20):
        async with small_hub() as (server, hub):
            alice = await hub.open(CtiUser(id="1000", parameters={"esl.number": "1000"}))
            bob = await hub.open(CtiUser(id="1001", parameters={"esl.number": "1001"}))
            await hub.close(alice)
            await bob.make_call("0501234567")
            assert server.accepted == 1
            await hub.close(bob)
            while server.open:
                await anyio.wait_all_tasks_blocked()
