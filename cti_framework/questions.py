"""What the core itself asks of a provider, and how long it waits for it, whatever the provider does meanwhile.

Nobody but the core waits for a snapshot, a probe, or the agent to be given back; and while it waits, it keeps no connection. So
each question has a task of its own, which nobody has to wait for. One that is out of time, or whose connection is over, is
cancelled. One that goes on all the same (it shields itself, or waits in a thread, as a library that blocks is called) is left
where it is a moment later, and named: what it gives is nothing any more, and what is reported from within it is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import anyio

from cti_framework.hooks.driven import Driven, GivenUp, begin_apart

__all__ = ["OutOfTime", "Questions"]

T = TypeVar("T")

_GRACE_SECONDS: Final = 1.0
"""How long a question that is cancelled may take to end."""


class OutOfTime(Exception):
    """The provider did not answer a question in its time."""


class _Question:
    """One question, in its own task.

    Args:
        act: What asks.
    """

    __slots__ = ("act", "answer", "driven", "ended", "error", "is_answered", "is_left", "scope")

    def __init__(self, act: Coroutine[Any, Any, Any]) -> None:
        self.act = act
        self.driven = Driven(act, time.monotonic)
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.answer: Any = None
        self.error: BaseException | None = None
        self.is_answered = False
        self.is_left = False

    async def drive(self) -> None:
        _current.set(self)
        try:
            with self.scope:
                self.answer = await self.driven
                self.is_answered = True
        except GivenUp:
            # Whoever gave it up has said so already.
            return
        except GeneratorExit as error:
            # The event loop is gone, and cannot be asked whose it is.
            self.error = error
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()) and anyio.current_effective_deadline() == -math.inf:
                # The event loop ends.
                raise
            # Whoever asked is told, whatever it is. Trio complains of scopes that what was left has not closed.
            if not self.driven.is_left:
                self.error = error
        finally:
            self.ended.set()


_current: ContextVar[_Question | None] = ContextVar("cti_framework_question", default=None)


class Questions:
    """The questions that the core asks one session's provider.

    Args:
        name: By what the provider is named in logs.
        log: Where to log.

    Attributes:
        has_left: Whether a question was ever left where it is.
    """

    __slots__ = ("_kept", "_log", "_name", "has_left")

    def __init__(self, name: str, log: Any) -> None:
        self._name = name
        self._log = log
        # What is never ended, so that Python does not try to, either.
        self._kept: list[Coroutine[Any, Any, Any]] = []
        self.has_left = False

    async def ask(self, verb: str, act: Callable[[], Awaitable[T]], seconds: float = math.inf) -> T:
        """Ask, and wait for the answer no longer than a moment after its time, or after whoever waits is cancelled.

        Args:
            verb: What is asked, for the log.
            act: What asks.
            seconds: How long it may take.

        Returns:
            The answer. What it raises comes out as it is.

        Raises:
            OutOfTime: There was none in time.
        """
        question = _Question(_awaited(act))
        # Asyncio holds no task for whoever began it.
        task = begin_apart(question.drive, f"{self._name}: {verb}")
        try:
            with anyio.move_on_after(seconds):
                await question.ended.wait()
        finally:
            if not question.ended.is_set():
                await self._end(question, verb)
            del task
        if question.error is not None:
            raise question.error
        if not question.is_answered:
            raise OutOfTime
        answer: T = question.answer
        return answer

    @staticmethod
    def is_of_one_left() -> bool:
        """Tell whether this is done from within a question that was left: in its task, in one that it began, or in its thread."""
        question = _current.get()
        return question is not None and question.is_left

    async def _end(self, question: _Question, verb: str) -> None:
        question.scope.cancel()
        with anyio.move_on_after(_GRACE_SECONDS, shield=True):
            await question.ended.wait()
        if question.ended.is_set():
            return
        question.is_left = self.has_left = True
        self._log.error("cti.provider.given_up", provider=self._name, verb=verb, seconds=_GRACE_SECONDS)
        self._kept.append(question.act)
        question.driven.give_up()


async def _awaited(act: Callable[[], Awaitable[T]]) -> T:
    return await act()
