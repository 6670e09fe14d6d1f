"""Keeping a provider connected: when to try, when to wait, when to stop.

A provider lives through one connection (``run()``) and ends. The keeper calls it again, after a pause that doubles from attempt
to attempt and is drawn at random from its upper half, so that a thousand sessions do not come back at one moment. The
pause starts small again only after a connection has lasted: a PBX that lets everybody in and throws them out at once is not
stormed.

Refused credentials and unusable addresses stop it for good: trying again would lock the account and help nobody. A provider
that raises something that is no ``CtiError`` has a fault of its own; it is named, and tried again like a lost network. So is
one whose log in ended in a command that failed: a PBX that is slow once must not end the session.

After each log in the keeper asks the provider for its calls (``snapshot()``) while events flow already, and makes the line
agree: what ended meanwhile ends, what began is shown. A snapshot that fails is asked for again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import attrs

from cti_framework.clock import SessionClock
from cti_framework.errors import CommandError, CtiError, NetworkError, PluginError, traceback_text
from cti_framework.events import Event, ProviderState, SnapshotTaken
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider

__all__ = ["ConnectionKeeper", "ReconnectPolicy"]


@attrs.frozen
class ReconnectPolicy:
    """How long to wait for a connection, and between attempts.

    Attributes:
        initial_delay_seconds: The pause before the second attempt.
        maximum_delay_seconds: The longest pause.
        stable_after_seconds: How long a connection must have lasted for the pauses to start small again.
        log_in_timeout_seconds: How long ``run()`` may take until it reports ``Started``.
        snapshot_timeout_seconds: How long ``snapshot()`` may take.
    """

    initial_delay_seconds: float = 0.5
    maximum_delay_seconds: float = 30.0
    stable_after_seconds: float = 10.0
    log_in_timeout_seconds: float = 15.0
    snapshot_timeout_seconds: float = 15.0

    def delay_seconds(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Draw the pause before the next attempt.

        Args:
            failures: How many attempts have failed in a row, from 1.
            draw: Gives a number between 0 and 1.

        Returns:
            Seconds, between half of the doubled pause and the whole of it.
        """
        longest = min(self.maximum_delay_seconds, self.initial_delay_seconds * 2.0 ** min(failures - 1, 32))
        return longest * (0.5 + draw() / 2)


class ConnectionKeeper:
    """Keeps one provider connected.

    Args:
        provider: The provider.
        name: By what it is named in logs and errors.
        line: The session's line.
        clock: The session's clock.
        publish: Where events go.
        policy: How long to wait.
        log: Where to log.
        draw: Gives a number between 0 and 1, for the pauses.

    Attributes:
        error: What the latest attempt ended with; ``None`` while in service.
        is_live: Whether the provider lives through a connection now: what it reports at other times is not to be believed.
    """

    def __init__(
        self,
        provider: BaseCtiProvider,
        *,
        name: str,
        line: Line,
        clock: SessionClock,
        publish: Callable[[list[Event]], None],
        policy: ReconnectPolicy,
        log: Any,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._name = name
        self._line = line
        self._clock = clock
        self._publish = publish
        self._policy = policy
        self._log = log
        self._draw = draw
        self._scope: anyio.CancelScope | None = None
        self._stopped = anyio.Event()
        self._settled = anyio.Event()
        self._started = anyio.Event()
        self._in_service_at: float | None = None
        self.error: CtiError | None = None
        self.is_live = False

    @property
    def is_running(self) -> bool:
        """Whether it keeps the provider connected, or tries to."""
        return self._scope is not None

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop()`` was called and something is left of the connection."""
        return self._scope is not None and self._scope.cancel_called

    def started(self) -> None:
        """Say that the provider reported ``Started``."""
        if self._in_service_at is None:
            self._in_service_at = anyio.current_time()
        self._started.set()

    async def wait_settled(self) -> None:
        """Wait until the present attempt is decided: in service with its calls known, or failed."""
        await self._settled.wait()

    async def stop(self) -> None:
        """End the connection and all attempts, and wait until nothing is left of them."""
        if self._scope is not None:
            self._scope.cancel()
            await self._stopped.wait()

    def prepare(self) -> None:
        """Make ready for ``keep()``: whoever asks from now on sees it running."""
        self._scope = anyio.CancelScope()
        self._stopped = anyio.Event()
        self._settled = anyio.Event()
        self.error = None

    async def keep(self) -> None:
        """Keep the provider connected until ``stop()``, or until it is of no use to go on."""
        scope = self._scope
        assert scope is not None
        try:
            with scope:
                await self._attempts()
        finally:
            if self._line.provider_state is not ProviderState.FAILED:
                self._say(ProviderState.CLOSED)
            self._scope = None
            self._settled.set()
            self._stopped.set()

    async def _attempts(self) -> None:
        failures = 0
        attempt = 1
        was_in_service = False
        while True:
            waiting = ProviderState.RECONNECTING if was_in_service else ProviderState.OUT_OF_SERVICE
            first = not was_in_service and attempt == 1
            if self._settled.is_set():
                self._settled = anyio.Event()
            self._say(ProviderState.CONNECTING if first else waiting, attempt=attempt, error=self.error)
            error = await self._attempt()
            lasted = None if self._in_service_at is None else anyio.current_time() - self._in_service_at
            self.error = error
            if not error.retryable:
                self._log.error("cti.connection.failed", provider=self._name, **error.describe())
                self._say(ProviderState.FAILED, attempt=attempt, error=error)
                return
            failures = 1 if lasted is not None and lasted >= self._policy.stable_after_seconds else failures + 1
            delay = self._policy.delay_seconds(failures, self._draw)
            if lasted is not None or first:
                told = {"provider": self._name, "next_try_in_seconds": round(delay, 1), **error.describe()}
                self._log.warning("cti.connection.lost", **told)
            was_in_service = was_in_service or lasted is not None
            attempt = 1 if lasted is not None else attempt + 1
            waiting = ProviderState.RECONNECTING if was_in_service else ProviderState.OUT_OF_SERVICE
            self._say(waiting, attempt=attempt, next_try_seconds=delay, error=error)
            self._settled.set()
            await anyio.sleep(delay)

    async def _attempt(self) -> CtiError:
        """Live through one connection.

        Returns:
            What it ended with.
        """
        self._started = anyio.Event()
        self._in_service_at = None
        outcome: list[CtiError] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, tasks.cancel_scope, outcome)
            with anyio.move_on_after(self._policy.log_in_timeout_seconds):
                await self._started.wait()
            if not self._started.is_set():
                outcome.append(
                    NetworkError(
                        f"Provider {self._name!r} did not log in within {self._policy.log_in_timeout_seconds:g} s.",
                        remedy="Check that the PBX answers at that address; `cti listen` shows what it says.",
                    )
                )
                tasks.cancel_scope.cancel()
            elif self.is_live:
                self._log.info("cti.connection.in_service", provider=self._name)
                self.error = None
                await self._take_snapshot()
                if self.is_live:
                    self._settled.set()
        return outcome[0]

    async def _run(self, scope: anyio.CancelScope, outcome: list[CtiError]) -> None:
        self.is_live = True
        try:
            await self._provider.run()
        except Exception as error:  # noqa: BLE001  # whatever a plugin raises is named with the plugin and ends its connection only
            outcome.append(self._named(error))
        except BaseExceptionGroup as group:
            # A task group of the plugin's that is cancelled can hand on the cancellation and its tasks' faults together.
            _, faults = group.split(anyio.get_cancelled_exc_class())
            if not isinstance(faults, ExceptionGroup):
                raise
            outcome.append(self._named(faults))
        else:
            outcome.append(NetworkError(f"The connection of provider {self._name!r} ended."))
        finally:
            self.is_live = False
        scope.cancel()

    def _named(self, error: Exception) -> CtiError:
        told = _told_error(error)
        if isinstance(told, CommandError):
            failed = NetworkError(f"Provider {self._name!r} could not log in: {told.message}", remedy=told.remedy)
            failed.__cause__ = told
            return failed
        if told is None:
            self._log.error("cti.provider.raised", provider=self._name, stack=traceback_text(error))
            told = PluginError(
                f"Provider {self._name!r} raised {type(error).__name__} while connected: a fault of the plugin.",
                step="connect",
                retryable=True,
                remedy="Tell its author; the log has the traceback.",
            )
            told.__cause__ = error
        return told

    async def _take_snapshot(self) -> None:
        failures = 0
        while True:
            asked_at_seq = self._line.seq
            try:
                with anyio.fail_after(self._policy.snapshot_timeout_seconds):
                    snapshot = await self._provider.snapshot()
            except TimeoutError:
                reason = f"no answer within {self._policy.snapshot_timeout_seconds:g} s"
            except CtiError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001  # whatever a plugin raises is named with the plugin and asked again
                self._log.error("cti.provider.raised", provider=self._name, stack=traceback_text(error))
                reason = f"{type(error).__name__}: a fault of the plugin"
            else:
                if not self.is_live:
                    # The connection broke while it was asked: nothing of it is the truth any more.
                    return
                events = self._line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq)
                self._publish(events)
                if events and type(events[-1]) is SnapshotTaken:
                    return
                reason = "it gave no snapshot that can be used: a fault of the plugin"
            failures += 1
            self._log.warning("cti.snapshot.failed", provider=self._name, reason=reason, failures=failures)
            self._settled.set()
            await anyio.sleep(self._policy.delay_seconds(failures, self._draw))

    def _say(
        self,
        state: ProviderState,
        *,
        attempt: int = 0,
        next_try_seconds: float | None = None,
        error: CtiError | None = None,
    ) -> None:
        now = self._clock.now()
        next_try_at = None if next_try_seconds is None else now + timedelta(seconds=next_try_seconds)
        self._publish(self._line.connection_changed(state, now, attempt=attempt, next_try_at=next_try_at, error=error))


def _told_error(error: Exception) -> CtiError | None:
    """Find the error that a provider meant, where a task group of its own has wrapped it."""
    if isinstance(error, CtiError):
        return error
    if isinstance(error, ExceptionGroup):
        told = [found for found in map(_told_error, error.exceptions) if found is not None]
        # One that must not be tried again decides.
        return min(told, key=lambda found: found.retryable, default=None)
    return None
