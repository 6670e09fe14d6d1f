"""The switch in the box, running on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
from cti_framework.provider import CtiUser, Simulation
from cti_framework.switchboard import Switchboard, SwitchOptions, drive

from cti_esl.simulator.far_side import EslFarSide
from cti_esl.simulator.server import EslServer
from cti_esl.simulator.switch import FakeSwitch

__all__ = ["DOMAIN", "PASSWORD", "running_switch", "simulation"]

DOMAIN: Final = "webitel.test"
PASSWORD: Final = "in-the-box-8021"
_OPERATOR: Final = "1000"
_FAR_ANSWER_SECONDS: Final = 0.15


@asynccontextmanager
async def running_switch(numbers: tuple[str, ...] = (_OPERATOR, "1001")) -> AsyncIterator[tuple[EslServer, int]]:
    """Run a switch in real time.

    Args:
        numbers: Its users.

    Yields:
        Its event socket, and the port at which that listens on loopback.
    """
    switchboard = Switchboard(options=SwitchOptions(far_answer_seconds=_FAR_ANSWER_SECONDS))
    for number in numbers:
        switchboard.add_account(number, DOMAIN)
    server = EslServer(FakeSwitch(switchboard), PASSWORD)
    failure: Exception | None = None
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port: Any = listener.extra(anyio.abc.SocketAttribute.local_port)
        await tasks.start(drive, switchboard)
        tasks.start_soon(listener.serve, server.serve)
        try:
            yield server, port
        except Exception as error:  # noqa: BLE001 - raised below as it is: a task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def simulation() -> AsyncIterator[Simulation]:
    """Run a switch for one operator.

    Yields:
        It, with an operator at 1000 and an outside number that answers by itself.
    """
    async with running_switch() as (server, port):
        yield Simulation(
            settings={
                "esl.host": "127.0.0.1",
                "esl.port": port,
                "esl.password": PASSWORD,
                "esl.domain": DOMAIN,
            },
            user=CtiUser(id=_OPERATOR, name="Alice", parameters={"esl.number": _OPERATOR}),
            far_side=EslFarSide(server, f"{_OPERATOR}@{DOMAIN}"),
            subscriber="0501234567",
            notes=("The switch is in memory: phones answer by themselves, and nothing is heard.",),
        )
