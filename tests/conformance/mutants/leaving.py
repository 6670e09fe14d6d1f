"""Faults in what a connection takes from others: it blocks the event loop, or leaves something behind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any, ClassVar

import anyio

from cti_dummy import DummyCtiProvider
from cti_framework.calls import Call
from cti_framework.errors import CredentialsRefusedError
from cti_framework.reports import Snapshot
from tests.conformance.mutants.making import Mutant

__all__ = ["MUTANTS", "Blocking", "Leaking"]


class Blocking(DummyCtiProvider):
    """Blocks the event loop in a verb."""

    async def hold_call(self, call: Call) -> None:
        time.sleep(0.4)  # noqa: ASYNC251 - that is its fault
        await super().hold_call(call)


class BlockingLogIn(DummyCtiProvider):
    """Blocks the event loop while it logs in."""

    async def run(self) -> None:
        time.sleep(0.4)  # noqa: ASYNC251 - that is its fault
        await super().run()


class BlockingLogOut(DummyCtiProvider):
    """Blocks the event loop while it logs out."""

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            time.sleep(0.4)  # noqa: ASYNC251 - that is its fault


class BlockingSnapshot(DummyCtiProvider):
    """Blocks the event loop while it asks for its calls."""

    async def snapshot(self) -> Snapshot:
        time.sleep(0.4)  # noqa: ASYNC251 - that is its fault
        return await super().snapshot()


class Spinning(DummyCtiProvider):
    """Asks without a pause whether something has come."""

    async def run(self) -> None:
        async def spin() -> None:
            while True:
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(spin)
            await super().run()


class Leaking(DummyCtiProvider):
    """Leaves a thread behind."""

    async def run(self) -> None:
        thread = threading.Thread(target=threading.Event().wait, args=(2.0,), name="left behind", daemon=True)
        thread.start()
        await super().run()


class LeakingSocket(DummyCtiProvider):
    """Leaves a socket behind."""

    left: ClassVar[list[socket.socket]] = []

    async def run(self) -> None:
        self.left.append(socket.socket())
        await super().run()


class LeakingWhenCancelled(DummyCtiProvider):
    """Leaves a socket behind where it is cancelled while it logs in."""

    left: ClassVar[list[socket.socket]] = []

    async def run(self) -> None:
        opened = socket.socket()
        self.left.append(opened)
        await anyio.lowlevel.checkpoint()
        try:
            await super().run()
        finally:
            opened.close()


class LeakingWhenCut(DummyCtiProvider):
    """Leaves a socket behind where the network is cut."""

    left: ClassVar[list[socket.socket]] = []

    async def run(self) -> None:
        opened = socket.socket()
        self.left.append(opened)
        try:
            await super().run()
        except anyio.get_cancelled_exc_class():
            opened.close()
            raise


class LeakingWhenRefused(DummyCtiProvider):
    """Leaves a socket behind where the user is refused."""

    left: ClassVar[list[socket.socket]] = []

    async def run(self) -> None:
        opened = socket.socket()
        self.left.append(opened)
        try:
            await super().run()
        except CredentialsRefusedError:
            raise
        except BaseException:
            opened.close()
            raise


class LeakingTask(DummyCtiProvider):
    """Leaves a task behind that waits for what does not come."""

    left: ClassVar[list[Any]] = []

    async def run(self) -> None:
        self.left.append(asyncio.create_task(asyncio.Event().wait()))
        await super().run()


MUTANTS = (
    Mutant(Blocking, ("test_the_event_loop_goes_on",)),
    Mutant(BlockingLogIn, ("test_the_event_loop_goes_on",)),
    Mutant(BlockingLogOut, ("test_the_event_loop_goes_on",)),
    Mutant(BlockingSnapshot, ("test_the_event_loop_goes_on",)),
    Mutant(Spinning, ("test_an_idle_session_is_idle",)),
    Mutant(Leaking, ("test_nothing_is_left_of_a_session",)),
    Mutant(LeakingSocket, ("test_nothing_is_left_of_a_session",)),
    Mutant(LeakingWhenCancelled, ("test_it_can_be_cancelled_at_every_step",)),
    Mutant(LeakingWhenCut, ("test_nothing_is_left_of_a_lost_connection",)),
    Mutant(LeakingWhenRefused, ("test_the_user_is_refused",)),
    Mutant(LeakingTask, ("test_nothing_is_left_of_a_session",), backend="asyncio"),
)
