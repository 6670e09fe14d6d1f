"""Cancelling at an exact await: something is driven step by step, and at its n-th suspension the scope around it is cancelled."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import anyio

from cti_framework.connection import ConnectionKeeper
from cti_framework.model import CtiModel

T = TypeVar("T")


class Await:
    """The n-th suspension of what is driven; whatever is done there is done before the event loop knows of the suspension.

    Args:
        number: Which, from 1.
        act: What is done there.

    Attributes:
        reached: Whether it came so far.
    """

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.reached = False
        self._left = number
        self._act = act

    def passed(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached = True
            self._act()

    def drive(self, function: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
        """Have the suspensions of whatever a function returns counted."""

        async def driven(*arguments: Any, **named: Any) -> T:
            return await _driven(function(*arguments, **named), self)

        return driven


@types.coroutine
def _driven(coroutine: Coroutine[Any, Any, T], at: Await) -> Generator[Any, Any, T]:
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            step = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            outcome: T = stop.value
            return outcome
        at.passed()
        value, error = None, None
        try:
            value = yield step
        except BaseException as thrown:  # noqa: BLE001  # handed on to what is driven, which is asked next
            error = thrown


async def cancelled_at(number: int, act: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Cancel something at its n-th await.

    Returns:
        Whether it came so far; if not, it has ended before.
    """
    with anyio.CancelScope() as scope:
        at = Await(number, scope.cancel)
        await at.drive(act)()
    return at.reached


async def at_every_await(act: Callable[[int], Awaitable[bool]]) -> int:
    """Do something for the 1st, 2nd, … await until there is none left.

    Args:
        act: Told the number; tells whether there was such an await.

    Returns:
        How many there were.
    """
    number = 1
    while await act(number):
        number += 1
        assert number < 1000, "it never ends"
    return number - 1


PLACES = ("host", "keeper", "run", "snapshot")
"""Whose awaits: the host's, which opens, disconnects, connects and closes, and those of the tasks that do it."""


async def cancelled_session(model: CtiModel, place: str, number: int) -> bool:
    """Open a session, disconnect, connect again and close it, and cancel all that at the n-th await of a place.

    Returns:
        Whether it came so far.
    """

    async def host() -> None:
        async with model:
            await model.disconnect()
            await model.connect()

    with anyio.CancelScope() as scope:
        at = Await(number, scope.cancel)
        if place == "keeper":
            # It has slots: nothing of this one alone can be replaced.
            driven = at.drive(model._keeper.keep)
            fields = {"__slots__": (), "keep": lambda keeper: driven()}
            model._keeper.__class__ = type("DrivenKeeper", (ConnectionKeeper,), fields)
        elif place != "host":
            vars(model._provider)[place] = at.drive(getattr(model._provider, place))
        await (at.drive(host) if place == "host" else host)()
    return at.reached
