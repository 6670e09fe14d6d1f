"""Cancelling at an await: the first, the second, and so on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio

from cti_framework.clock import SessionClock
from cti_framework.provider import BaseCtiProvider, ProviderContext
from cti_framework.shared import SharedConnections
from cti_framework.testing.conformance.running import NotMeasured
from cti_framework.testing.conformance.stand import Stand

__all__ = ["cancel_at", "cancelled"]


class _Stepped:
    """Awaits something and is told each time that it waits.

    Args:
        act: What to await.
        on_wait: Told, just before it waits.
    """

    def __init__(self, act: Coroutine[Any, Any, Any], on_wait: Callable[[], None]) -> None:
        self._act = act
        self._on_wait = on_wait

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._act.__await__()
        try:
            waits_for = next(steps)
            while True:
                self._on_wait()
                try:
                    answer = yield waits_for
                except BaseException as error:  # noqa: BLE001  # handed on to whoever waited
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(answer)
        except StopIteration as end:
            return end.value
        finally:
            self._act.close()


async def cancel_at(stand: Stand, step: int) -> bool:
    """Run a provider without the core, and cancel it at one of its awaits.

    Args:
        stand: The stand.
        step: At which, from 1.

    Returns:
        Whether there was such an await before it had logged in.
    """
    waits = 0
    reported = False
    scope = anyio.CancelScope()

    def on_wait() -> None:
        nonlocal waits
        waits += 1
        if waits == step or reported:
            scope.cancel()

    def on_report(*reports: object) -> None:
        nonlocal reported
        reported = True
        # Some wait in one place from now on: nothing wakes them to be counted.
        scope.cancel()

    # What is shared lives in a task group of its own, as in a session; nothing of it may be left when the last user goes.
    shared = SharedConnections()
    async with anyio.create_task_group() as tasks:
        shared.live_in(tasks)
        provider = await _bare_provider(stand, on_report, shared)
        with anyio.move_on_after(stand.bench.patience_seconds) as patience, scope:
            await _Stepped(provider.run(), on_wait)
    if not (patience.cancelled_caught or scope.cancelled_caught):
        raise NotMeasured("run() ended by itself before it was cancelled")
    stand.expect(
        not patience.cancelled_caught or scope.cancel_called,
        f"run() neither logged in nor ended within {stand.bench.patience_seconds:g} s.",
    )
    return not reported


async def _bare_provider(stand: Stand, on_report: Callable[..., None], shared: SharedConnections) -> BaseCtiProvider:
    """Make a provider as the core does, but with a context of the test's own."""
    await stand.initializer().create(stand.simulation.user)
    made = stand.provider.context
    context = ProviderContext(
        user=made.user,
        settings=made.settings,
        user_settings=made.user_settings,
        clock=SessionClock(),
        report=on_report,
        find_call=lambda call_id: None,
        log=made.log,
        use_shared=shared.use,
        network=made.network,
        media=made.media,
    )
    return stand.bench.provider_class(context)


async def cancelled(act: Awaitable[Any]) -> bool:
    """Await something and cancel it as soon as it waits.

    Args:
        act: What.

    Returns:
        Whether it waited at all.
    """
    scope = anyio.CancelScope()

    async def whole() -> None:
        await act

    with scope:
        await _Stepped(whole(), scope.cancel)
    return scope.cancelled_caught
