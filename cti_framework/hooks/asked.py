"""Asking plugins: each in its turn, within a time, until one has an answer."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import structlog

from cti_framework.cancellation import fault_of
from cti_framework.errors import CtiError, HookError, StepTimeoutError
from cti_framework.hooks.account import Implementation
from cti_framework.hooks.driven import Driven, GivenUp, begin_apart
from cti_framework.hooks.told import GRACE_SECONDS
from cti_framework.threads import EndedThreadError, call_in_thread

if TYPE_CHECKING:
    from cti_framework.provider import CtiUser

__all__ = ["AskedHooks", "TimeLimit"]

_log = structlog.get_logger("cti_framework.hooks")


@attrs.frozen
class TimeLimit:
    """The time that a step has for everything that it asks.

    Attributes:
        step: The step's name, as errors tell it.
        seconds: How long it may take.
        setting: The key of the setting that says so.
        deadline_seconds: When it is over, by ``anyio.current_time()``.
    """

    step: str
    seconds: float
    setting: str
    deadline_seconds: float

    @classmethod
    def starting_now(cls, step: str, seconds: float, setting: str) -> TimeLimit:
        """Begin a step.

        Args:
            step: Its name.
            seconds: How long it may take.
            setting: The key of the setting that says so.

        Returns:
            The limit.
        """
        return cls(step, seconds, setting, anyio.current_time() + seconds)


class AskedHooks:
    """The hooks that give an answer.

    A plugin that failed too often when it was told events is asked all the same: no answer to "may this user log in?" must
    never pass for a yes.
    """

    def __init__(self) -> None:
        self._implementations: dict[str, tuple[Implementation, ...]] = {}

    async def log_in(self, user: CtiUser, licences: Sequence[str], *, limit: TimeLimit | None = None) -> bool | str | None:
        """Ask whether the user may use telephony.

        Args:
            user: Who.
            licences: The licences that the provider needs.
            limit: The time for it; ``None``: as long as it takes.

        Returns:
            ``True`` or the text of a session: yes. ``False``: no. ``None``: nobody has an opinion.

        Raises:
            StepTimeoutError: The time is over.
            HookError: An implementation raised, or answered something else.
            CtiError: As an implementation raised it; ``LogInRefusedError`` says why not.
        """
        plugin, answer = await self._ask("cti_log_in", limit, user, tuple(licences))
        if answer is None or isinstance(answer, bool | str):
            return answer
        raise self._wrong_answer("cti_log_in", plugin, answer, "True, False, a text or None")

    async def user_connection(self, user: CtiUser, provider: str, *, limit: TimeLimit | None = None) -> Mapping[str, Any] | None:
        """Ask for the user's own connection settings.

        Args:
            user: Who.
            provider: The name of the provider that is going to connect.
            limit: The time for it; ``None``: as long as it takes.

        Returns:
            The settings, or ``None``: no directory knows the user.

        Raises:
            StepTimeoutError: The time is over.
            HookError: An implementation raised, or answered something else.
            CtiError: As an implementation raised it.
        """
        plugin, answer = await self._ask("cti_user_connection", limit, user, provider)
        if answer is None or isinstance(answer, Mapping):
            return answer
        raise self._wrong_answer("cti_user_connection", plugin, answer, "a mapping or None")

    async def identify(self, number: str, *, limit: TimeLimit | None = None) -> Any | None:
        """Ask whose number it is.

        Args:
            number: As the PBX tells it.
            limit: The time for it; ``None``: as long as it takes.

        Returns:
            Whoever the host knows by it, or ``None``.

        Raises:
            StepTimeoutError: The time is over.
            HookError: An implementation raised.
            CtiError: As an implementation raised it.
        """
        return (await self._ask("cti_identify", limit, number))[1]

    async def save_call(self, entry: Any, *, limit: TimeLimit | None = None) -> str | None:
        """Have a journal entry stored.

        Args:
            entry: The entry.
            limit: The time for it; ``None``: as long as it takes.

        Returns:
            Its identifier in the store, or ``None``: nobody stored it.

        Raises:
            StepTimeoutError: The time is over.
            HookError: An implementation raised, or answered something else.
            CtiError: As an implementation raised it.
        """
        plugin, answer = await self._ask("cti_save_call", limit, entry)
        if answer is None:
            return None
        if isinstance(answer, str | int) and not isinstance(answer, bool):
            return str(answer)
        raise self._wrong_answer("cti_save_call", plugin, answer, "an identifier or None")

    async def setting(self, key: str, *, limit: TimeLimit | None = None) -> Any | None:
        """Ask for a system setting.

        Args:
            key: The dotted key.
            limit: The time for it, and for other keys of the same step; ``None``: as long as it takes.

        Returns:
            Its value, or ``None``: nobody knows it.

        Raises:
            StepTimeoutError: The time is over.
            HookError: An implementation raised.
            CtiError: As an implementation raised it.
        """
        return (await self._ask("cti_setting", limit, key))[1]

    async def _ask(self, hook: str, limit: TimeLimit | None, *arguments: Any) -> tuple[str, Any]:
        for implementation in self._implementations.get(hook, ()):
            account = implementation.account
            answer: Any = None
            try:
                with anyio.CancelScope(deadline=math.inf if limit is None else limit.deadline_seconds) as scope:
                    answer = await self._answer(implementation, arguments)
                if limit is not None and scope.cancelled_caught:
                    raise StepTimeoutError(
                        f"The step {limit.step} did not end within {limit.seconds:g} s:"
                        f" the plugin '{account.name}' did not answer {hook}.",
                        step=limit.step,
                        remedy=f"Mend the plugin, or give it a longer time: {limit.setting}.",
                    )
            except CtiError:
                raise
            except BaseException as error:
                # Isolates the plugin, whatever it raises.
                fault = fault_of(error)
                if fault is None:
                    raise
                if isinstance(fault, EndedThreadError) and fault.__cause__ is not None:
                    fault = fault.__cause__
                account.failed(hook, fault)
                raise HookError(
                    # Without the plugin's own words: they can hold a secret, such as a directory's password.
                    f"The plugin '{account.name}' failed in {hook}: it raised {type(fault).__name__}.",
                    step=hook.removeprefix("cti_"),
                    remedy=f"The log has the traceback. Mend the plugin, or add '{account.name}' to cti.disabled_plugins.",
                ) from fault
            if answer is not None:
                return account.name, answer
        return "", None

    async def _answer(self, implementation: Implementation, arguments: tuple[Any, ...]) -> Any:
        try:
            if implementation.is_async:
                return await _driven(implementation, implementation.call(*arguments))
            name = f"cti: {implementation.hook} of {implementation.account.name}"
            answer = await call_in_thread(name, implementation.call, *arguments)
            return await _driven(implementation, _awaited(answer)) if inspect.isawaitable(answer) else answer
        except anyio.get_cancelled_exc_class():
            # Only here is it known who kept the session waiting until its time was over.
            _log.warning("cti.hook.abandoned", plugin=implementation.account.name, hook=implementation.hook)
            raise

    def _wrong_answer(self, hook: str, plugin: str, answer: Any, expected: str) -> HookError:
        # Its type only: the answer can be a secret.
        return HookError(
            f"The plugin '{plugin}' answered {hook} with a value of type {type(answer).__name__}; it may answer {expected}.",
            step=hook.removeprefix("cti_"),
        )


@attrs.define(eq=False, repr=False)
class _Asking:
    """An implementation that is being asked."""

    implementation: Implementation
    driven: Driven
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    ended: anyio.Event = attrs.field(factory=anyio.Event)
    answer: Any = None
    error: BaseException | None = None

    async def drive(self) -> None:
        try:
            with self.scope:
                self.answer = await self.driven
        except anyio.get_cancelled_exc_class() as error:
            # The event loop ends; or, of asyncio, it let out the cancellation of something else that it waited for.
            if anyio.current_effective_deadline() == -math.inf:
                raise
            self.error = RuntimeError("it let out the cancellation of something else")
            self.error.__cause__ = error
        except GivenUp:
            # Whoever gave it up has said so already.
            return
        except BaseException as error:  # noqa: BLE001  # handed to the task that waits
            # Trio complains of scopes that what was left has not closed.
            if not self.driven.is_left:
                self.error = error
        finally:
            self.ended.set()
            if self.driven.is_left:
                self.implementation.account.kept.append(self.driven.coroutine)


async def _driven(implementation: Implementation, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await an implementation that may not end when it is cancelled: it shields itself, say, or waits in a thread.

    Who asks does not wait for that longer than a moment.
    """
    asking = _Asking(implementation, Driven(coroutine, time.monotonic))
    # Asyncio holds no task for whoever began it.
    task = begin_apart(asking.drive, f"{implementation.hook} of {implementation.account.name}")
    try:
        await asking.ended.wait()
    except anyio.get_cancelled_exc_class():
        asking.scope.cancel()
        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await asking.ended.wait()
        if not asking.ended.is_set():
            implementation.account.did_not_end(implementation.hook)
            asking.driven.give_up()
        raise
    finally:
        del task
    if asking.error is not None:
        raise asking.error
    return asking.answer


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
