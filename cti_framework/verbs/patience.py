"""How long a provider may take for a verb, whatever it does meanwhile.

A verb that is out of time is cancelled. One that shields itself, or catches what it is told, would go on, and whoever asked would
wait with it: for an hour, if that is how long it takes. So it is left where it is a little later, as a hook is. Whoever asked
runs it himself, in his own task; another task, the session's, looks after the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from cti_framework.hooks.driven import Driven, GivenUp

__all__ = ["OutOfTime", "Patience"]

T = TypeVar("T")

_GRACE_SECONDS: Final = 1.0
"""How long a verb that is cancelled may take to end."""


class OutOfTime(Exception):
    """The provider did not end a verb in its time.

    Args:
        is_given_up: Whether it did not even end when it was cancelled, and was left where it is.

    Attributes:
        is_given_up: As given.
    """

    def __init__(self, *, is_given_up: bool) -> None:
        super().__init__()
        self.is_given_up = is_given_up


class _Asked:
    """A verb that a provider carries out now."""

    __slots__ = ("driven", "is_given_up", "scope")

    def __init__(self, driven: Driven, scope: anyio.CancelScope) -> None:
        self.driven = driven
        self.scope = scope
        self.is_given_up = False

    @property
    def due(self) -> float:
        """When it is given up. A scope's time may grow while it lasts."""
        return self.scope.deadline + _GRACE_SECONDS

    def give_up(self) -> None:
        self.is_given_up = True
        self.driven.give_up()


class Patience:
    """The verbs that providers carry out for one session now, and their time."""

    __slots__ = ("_asked", "_kept", "_until", "_woken")

    def __init__(self) -> None:
        self._asked: dict[_Asked, None] = {}
        # What is never ended, so that Python does not try to, either.
        self._kept: list[Coroutine[Any, Any, Any]] = []
        # The task that looks after the time lives as long as there is something to look after.
        self._woken: anyio.Event | None = None
        self._until = math.inf

    async def wait(self, tasks: TaskGroup, scope: anyio.CancelScope, act: Coroutine[Any, Any, T]) -> T:
        """Carry a verb out.

        Args:
            tasks: The session's.
            scope: Its time; it is entered here.
            act: The verb.

        Returns:
            What it returns.

        Raises:
            OutOfTime: It did not end in its time.
        """
        asked = _Asked(Driven(act, time.monotonic), scope)
        self._asked[asked] = None
        self._look_after(tasks, asked)
        try:
            with scope:
                value: T = await asked.driven
                return value
        except GivenUp:
            pass
        except Exception:
            # Trio complains of scopes that what was left has not closed.
            if not asked.driven.is_left:
                raise
        finally:
            del self._asked[asked]
            if not self._asked and self._woken is not None:
                self._woken.set()
            if asked.driven.is_left:
                self._kept.append(act)
        raise OutOfTime(is_given_up=asked.is_given_up)

    def _look_after(self, tasks: TaskGroup, asked: _Asked) -> None:
        if self._woken is None:
            self._woken = anyio.Event()
            tasks.start_soon(self._watch, name="verbs: time-outs")
        # Almost always it sleeps until an earlier one's time is over, and looks then.
        elif asked.due < self._until:
            self._woken.set()

    async def _watch(self) -> None:
        try:
            while self._asked:
                now = anyio.current_time()
                for asked in self._asked:
                    if asked.due <= now and not asked.is_given_up:
                        asked.give_up()
                self._until = min((asked.due for asked in self._asked if not asked.is_given_up), default=math.inf)
                woken = self._woken = anyio.Event()
                with anyio.CancelScope(deadline=self._until):
                    await woken.wait()
        finally:
            self._woken = None
