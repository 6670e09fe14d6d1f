"""What hosts and companion plugins may implement, and the typed way to call it.

An implementation is a function or method with the hook's name, marked with ``hookimpl``, of an object or a module::

    from cti_framework.hooks import hookimpl

    class Journal:
        @hookimpl
        def cti_call_finished(self, event):
            print(event.call.id, event.call.cause)

It names the arguments that it wants, in any order, and may leave the others out.

There are two kinds of hook. *Told* hooks are told an event; all implementations are called, what they return is of no
interest. *Asked* hooks give an answer; the first answer that is not ``None`` wins, and the rest are not asked. Implementations
are called in pluggy's order: the latest registered first, ``hookimpl(tryfirst=True)`` before and ``hookimpl(trylast=True)``
after all others.

Told implementations that are synchronous run in the event loop and have to be quick. Asked ones that are synchronous run in a
thread of their own, because they are there to look something up: a database without ``async`` holds up nobody else.

What one plugin does wrong is reported under its name and harms no other. A misspelt hook, an argument that the hook does not
give, a function named like a hook without the mark: each is refused when the plugin is registered, because it would otherwise
never be called and nobody would know why.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel
import attrs
import pluggy
import structlog

from cti_framework.errors import CtiError, HookError, StepTimeoutError, traceback_text
from cti_framework.events import (
    EVENT_TYPES,
    AgentStateChanged,
    CallBusy,
    CallCentreModeChanged,
    CallConnected,
    CallFinished,
    CallHeld,
    CallInfoChanged,
    CallSaved,
    CallStarted,
    CallUnheld,
    CurrentCallChanged,
    Disconnected,
    DtmfEntered,
    ErrorOccurred,
    Event,
    Initialized,
    LineStateChanged,
    ProviderStateChanged,
    RawMessage,
    RecordingStateChanged,
    SnapshotTaken,
    WebRtcDestroyed,
    WebRtcStarted,
    WebRtcVideoStarted,
)
from cti_framework.threads import call_in_thread

if TYPE_CHECKING:
    from cti_framework.provider import CtiUser

__all__ = ["HookRecord", "HookSpecs", "Hooks", "TimeLimit", "hook_name", "hookimpl"]

PROJECT: Final = "cti_framework"

hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of a hook."""

_hookspec: Final = pluggy.HookspecMarker(PROJECT)
_Function = TypeVar("_Function", bound=Callable[..., Any])

_CATCH_ALL: Final = "cti_event"
_QUEUE_CAPACITY: Final = 1024
"""How many events may wait for one plugin's ``async`` implementations in one session."""
_SLOW_SECONDS: Final = 0.1
"""From here on a synchronous implementation is reported: the session does nothing else meanwhile."""

_log = structlog.get_logger("cti_framework.hooks")


def hook_name(event_type: type[Event]) -> str:
    """Tell the hook of a class of event.

    Args:
        event_type: One of ``EVENT_TYPES``.

    Returns:
        ``cti_`` and the class's name in snake case: ``CallStarted`` is told to ``cti_call_started``.
    """
    return "cti_" + re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


def _asked(function: _Function) -> _Function:
    return _hookspec(firstresult=True)(function)


class HookSpecs:
    """Every hook. ``model`` is the session's ``CtiModel``."""

    # Told ------------------------------------------------------------------------------------------------------------

    @_hookspec
    def cti_event(self, model: Any, event: Event) -> None:
        """Be told every event, after the event's own hook."""

    @_hookspec
    def cti_initialized(self, model: Any, event: Initialized) -> None:
        """Be told that the session is logged in and ready for calls: for the first time, or again."""

    @_hookspec
    def cti_disconnected(self, model: Any, event: Disconnected) -> None:
        """Be told that the connection to the PBX is gone."""

    @_hookspec
    def cti_provider_state_changed(self, model: Any, event: ProviderStateChanged) -> None:
        """Be told that the connection to the PBX does something else now."""

    @_hookspec
    def cti_call_started(self, model: Any, event: CallStarted) -> None:
        """Be told that a call appeared."""

    @_hookspec
    def cti_call_connected(self, model: Any, event: CallConnected) -> None:
        """Be told that both parties of a call can talk."""

    @_hookspec
    def cti_call_held(self, model: Any, event: CallHeld) -> None:
        """Be told that a party put a call on hold."""

    @_hookspec
    def cti_call_unheld(self, model: Any, event: CallUnheld) -> None:
        """Be told that a party took a call back."""

    @_hookspec
    def cti_call_busy(self, model: Any, event: CallBusy) -> None:
        """Be told that the far end is busy."""

    @_hookspec
    def cti_call_info_changed(self, model: Any, event: CallInfoChanged) -> None:
        """Be told that something about a call changed that no other hook tells."""

    @_hookspec
    def cti_call_finished(self, model: Any, event: CallFinished) -> None:
        """Be told that a call is over."""

    @_hookspec
    def cti_call_saved(self, model: Any, event: CallSaved) -> None:
        """Be told that a journal stored a call."""

    @_hookspec
    def cti_recording_state_changed(self, model: Any, event: RecordingStateChanged) -> None:
        """Be told that recording of a call started or stopped."""

    @_hookspec
    def cti_dtmf_entered(self, model: Any, event: DtmfEntered) -> None:
        """Be told that tones were sent or received."""

    @_hookspec
    def cti_web_rtc_started(self, model: Any, event: WebRtcStarted) -> None:
        """Be told that the web phone's media session for a call began."""

    @_hookspec
    def cti_web_rtc_video_started(self, model: Any, event: WebRtcVideoStarted) -> None:
        """Be told that video flows in the web phone's media session."""

    @_hookspec
    def cti_web_rtc_destroyed(self, model: Any, event: WebRtcDestroyed) -> None:
        """Be told that the web phone's media session for a call is over."""

    @_hookspec
    def cti_current_call_changed(self, model: Any, event: CurrentCallChanged) -> None:
        """Be told that another call, or none, is the one that the operator deals with first."""

    @_hookspec
    def cti_line_state_changed(self, model: Any, event: LineStateChanged) -> None:
        """Be told that what may be done has changed."""

    @_hookspec
    def cti_agent_state_changed(self, model: Any, event: AgentStateChanged) -> None:
        """Be told that the operator's state changed."""

    @_hookspec
    def cti_call_centre_mode_changed(self, model: Any, event: CallCentreModeChanged) -> None:
        """Be told that the operator takes calls of queues, or no longer."""

    @_hookspec
    def cti_snapshot_taken(self, model: Any, event: SnapshotTaken) -> None:
        """Be told that the PBX was asked for its calls and the line agrees with the answer."""

    @_hookspec
    def cti_error_occurred(self, model: Any, event: ErrorOccurred) -> None:
        """Be told that something went wrong that no command's outcome tells."""

    @_hookspec
    def cti_raw_message(self, model: Any, event: RawMessage) -> None:
        """Be told a message of the PBX, unchanged; only where raw messages were asked for."""

    # Asked -----------------------------------------------------------------------------------------------------------

    @_asked
    def cti_log_in(self, user: CtiUser, licences: tuple[str, ...]) -> bool | str | None:
        """Decide whether the user may use telephony, before anything connects. May be ``async``.

        Args:
            user: Who.
            licences: The licences that the provider needs.

        Returns:
            ``True`` or the text of a session: yes. ``False``: no. ``None``: no opinion. To say why not, raise
            ``LogInRefusedError``.
        """

    @_asked
    def cti_user_connection(self, user: CtiUser, provider: str) -> Mapping[str, Any] | None:
        """Look up the user's own connection settings in a users directory. May be ``async``.

        Args:
            user: Who.
            provider: The name of the provider that is going to connect.

        Returns:
            Settings: dotted keys, the product's codes, or names without a prefix. ``None``: this directory does not know
            the user.
        """

    @_asked
    def cti_identify(self, number: str) -> Any | None:
        """Find out whose number it is. May be ``async``.

        Args:
            number: As the PBX tells it.

        Returns:
            Whoever the host knows by it; ``None``: nobody.
        """

    @_asked
    def cti_save_call(self, entry: Any) -> str | int | None:
        """Store a journal entry. May be ``async``.

        Args:
            entry: The entry.

        Returns:
            Its identifier in the store; ``None``: not stored here.
        """

    @_asked
    def cti_setting(self, key: str) -> Any | None:
        """Give a system setting. May be ``async``.

        Args:
            key: The dotted key, for example ``"webitel.connection_string"``.

        Returns:
            Its value; ``None``: not known here.
        """


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


@attrs.frozen
class HookRecord:
    """What a registered plugin implements, and how it fares.

    Attributes:
        plugin: Its name.
        hooks: The hooks that it implements, sorted.
        failures: How often an implementation raised.
        slow: How often a synchronous implementation kept the session waiting for 0.1 seconds or more.
        dropped: How many calls of its ``async`` implementations were dropped: too many waited, or the session ended.
        last_error: The latest failure in words.
    """

    plugin: str
    hooks: tuple[str, ...]
    failures: int
    slow: int
    dropped: int
    last_error: str | None

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data, for ``--json`` output.

        Returns:
            The attributes by name.
        """
        return {**attrs.asdict(self), "hooks": list(self.hooks)}


@attrs.define(eq=False)
class _Plugin:
    """A registered plugin's account."""

    name: str
    hooks: tuple[str, ...]
    failures: int = 0
    slow: int = 0
    dropped: int = 0
    last_error: str | None = None
    _reported: set[str] = attrs.field(factory=set)

    def failed(self, hook: str, error: BaseException) -> None:
        self.failures += 1
        self.last_error = f"{hook}: {type(error).__name__}: {error}"
        if self._is_news(f"{hook} {type(error).__name__}"):
            _log.error("cti.hook.failed", plugin=self.name, hook=hook, stack=traceback_text(error))

    def was_slow(self, hook: str, seconds: float) -> None:
        self.slow += 1
        if self._is_news(f"{hook} slow"):
            _log.warning("cti.hook.slow", plugin=self.name, hook=hook, seconds=round(seconds, 3))

    def drop(self, hook: str, reason: str, count: int = 1) -> None:
        self.dropped += count
        if self._is_news(f"{hook} {reason}"):
            _log.warning("cti.hook.dropped", plugin=self.name, hook=hook, why=reason)

    def record(self) -> HookRecord:
        return HookRecord(self.name, self.hooks, self.failures, self.slow, self.dropped, self.last_error)

    def _is_news(self, matter: str) -> bool:
        # An implementation that fails fails at every event: one line says it, a thousand hide everything else.
        if matter in self._reported:
            return False
        self._reported.add(matter)
        return True


@attrs.frozen(eq=False)
class _Implementation:
    plugin: _Plugin
    hook: str
    call: Callable[..., Any]
    """Takes all of the hook's arguments by position, and hands on those that the implementation named."""
    is_async: bool


class _Queue:
    """One plugin's ``async`` implementations in one session: in order, one at a time."""

    __slots__ = ("_idle", "_is_calling", "_is_working", "_wake", "items", "plugin")

    def __init__(self, plugin: _Plugin) -> None:
        self.plugin = plugin
        self.items: deque[tuple[_Implementation, Any, Event]] = deque()
        self._wake = anyio.Event()
        self._idle = anyio.Event()
        self._is_working = False
        self._is_calling = False

    def put(self, item: tuple[_Implementation, Any, Event], group: anyio.abc.TaskGroup) -> None:
        if len(self.items) >= _QUEUE_CAPACITY:
            self.plugin.drop(item[0].hook, f"{_QUEUE_CAPACITY} of them wait already")
            return
        self.items.append(item)
        self._wake.set()
        if not self._is_working:
            self._is_working = True
            group.start_soon(self._work, name=f"hooks of {self.plugin.name}")

    @property
    def is_busy(self) -> bool:
        return self._is_calling or bool(self.items)

    async def idle(self) -> None:
        while self.is_busy:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _work(self) -> None:
        try:
            while True:
                while not self.items:
                    self._idle.set()
                    self._wake = anyio.Event()
                    await self._wake.wait()
                implementation, model, event = self.items.popleft()
                self._is_calling = True
                try:
                    await implementation.call(model, event)
                except anyio.get_cancelled_exc_class() as error:
                    # Of asyncio, an implementation can let out the cancellation of something else that it waited for.
                    if anyio.current_effective_deadline() == -math.inf:
                        raise
                    self.plugin.failed(implementation.hook, error)
                except Exception as error:  # noqa: BLE001 - isolates the plugin
                    self.plugin.failed(implementation.hook, error)
                finally:
                    self._is_calling = False
                # An implementation that never waits would keep everybody else waiting.
                await anyio.lowlevel.checkpoint()
        finally:
            self._idle.set()

    def close(self) -> None:
        if self.items:
            self.plugin.drop(self.items[0][0].hook, "the session ended", len(self.items))
            self.items.clear()


class _Run:
    """The ``async`` implementations of one session."""

    __slots__ = ("_group", "_queues")

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self._queues: dict[_Plugin, _Queue] = {}

    def put(self, implementation: _Implementation, model: Any, event: Event) -> None:
        queue = self._queues.get(implementation.plugin)
        if queue is None:
            queue = self._queues[implementation.plugin] = _Queue(implementation.plugin)
        queue.put((implementation, model, event), self._group)

    async def idle(self) -> None:
        while busy := [queue for queue in self._queues.values() if queue.is_busy]:
            await busy[0].idle()

    def close(self) -> None:
        for queue in self._queues.values():
            queue.close()


class Hooks:
    """The hooks of one session, or of several that share their plugins: a typed façade over pluggy.

    Told implementations that are ``async`` run in tasks of their session's ``run``; the others are called directly. Asked
    implementations that are not ``async`` run in threads. Used from one event loop at a time.

    Args:
        clock: Gives seconds that only grow; tests turn it by hand.

    Attributes:
        has_listeners: Whether anybody listens to any event.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.has_listeners = False
        self._clock = clock
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        self._arguments: dict[str, tuple[str, ...]] = {
            name: tuple(inspect.signature(getattr(HookSpecs, name)).parameters)[1:]
            for name in dir(HookSpecs)
            if name.startswith("cti_")
        }
        self._plugins: dict[str, _Plugin] = {}
        self._implementations: dict[str, tuple[_Implementation, ...]] = {}
        self._told: dict[type[Event], tuple[_Implementation, ...]] = {}
        self._catch_all: tuple[_Implementation, ...] = ()
        self._runs: dict[int, _Run] = {}
        self._index()

    # Registration ------------------------------------------------------------------------------------------------------

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin: a module, or an object.

        Args:
            plugin: It has functions or methods marked with ``hookimpl``.
            name: What it is called in logs and errors.

        Raises:
            HookError: The name or the plugin is registered already, it implements no hook, or one of its hooks is misspelt,
                not marked, takes an argument that the hook does not give, or is a wrapper. Nothing is registered then.
        """
        hooks = self._checked(plugin, name)
        try:
            self._manager.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            if self._manager.has_plugin(name) and name not in self._plugins:
                self._manager.unregister(name=name)
            raise HookError(f"The plugin '{name}' cannot be registered: {error}") from error
        self._plugins[name] = _Plugin(name, tuple(sorted(hooks)))
        self._index()

    def unregister(self, name: str) -> None:
        """Remove a plugin. What its ``async`` implementations were already told still runs.

        Args:
            name: As registered.

        Raises:
            HookError: No plugin is registered under the name.
        """
        if name not in self._plugins:
            raise HookError(f"No plugin is registered as '{name}'.")
        self._manager.unregister(name=name)
        del self._plugins[name]
        self._index()

    def names(self) -> tuple[str, ...]:
        """Tell which plugins are registered.

        Returns:
            Their names, in the order in which they were registered.
        """
        return tuple(self._plugins)

    def records(self) -> tuple[HookRecord, ...]:
        """Tell what each plugin implements, and how it fares.

        Returns:
            One record a plugin, in the order in which they were registered.
        """
        return tuple(plugin.record() for plugin in self._plugins.values())

    def implements(self, hook: str) -> bool:
        """Tell whether anybody implements a hook.

        Args:
            hook: Its name, for example ``"cti_setting"``.

        Returns:
            Whether.
        """
        return bool(self._implementations.get(hook))

    # Told --------------------------------------------------------------------------------------------------------------

    def wants(self, event_type: type[Event]) -> bool:
        """Tell whether anybody listens to a class of event, so that nobody makes one for nothing.

        Args:
            event_type: Which.

        Returns:
            Whether.
        """
        return bool(self._told.get(event_type, self._catch_all))

    def tell(self, model: Any, event: Event) -> None:
        """Tell an event to whoever listens. It never raises what an implementation raises, and never waits.

        Args:
            model: The session's ``CtiModel``.
            event: What happened.
        """
        for implementation in self._told.get(type(event), self._catch_all):
            if implementation.is_async:
                run = self._runs.get(id(model))
                if run is None:
                    implementation.plugin.drop(implementation.hook, "the session is not open")
                else:
                    run.put(implementation, model, event)
            else:
                self._tell_now(implementation, model, event)

    async def run(self, model: Any, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run what ``tell`` hands over for one session, until cancelled: one task a plugin, each in order.

        What still waits then is dropped and counted; wait for ``flush`` first to have it done.

        Args:
            model: The session's ``CtiModel``.
            task_status: Told when ``tell`` may be called.

        Raises:
            HookError: It runs already for this session.
        """
        if id(model) in self._runs:
            raise HookError("The hooks of this session run already.")
        async with anyio.create_task_group() as group:
            run = self._runs[id(model)] = _Run(group)
            try:
                task_status.started()
                await anyio.sleep_forever()
            finally:
                del self._runs[id(model)]
                run.close()

    async def flush(self, model: Any) -> None:
        """Wait until all ``async`` implementations that were told something in this session have ended.

        A plugin can make this last forever: give it a time-out.

        Args:
            model: The session's ``CtiModel``.
        """
        run = self._runs.get(id(model))
        if run is not None:
            await run.idle()

    # Asked -------------------------------------------------------------------------------------------------------------

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

    # Inside ------------------------------------------------------------------------------------------------------------

    def _tell_now(self, implementation: _Implementation, model: Any, event: Event) -> None:
        began = self._clock()
        try:
            result = implementation.call(model, event)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("it returned a coroutine although it is not declared with 'async def'")
        except Exception as error:  # noqa: BLE001 - isolates the plugin
            implementation.plugin.failed(implementation.hook, error)
        seconds = self._clock() - began
        if seconds >= _SLOW_SECONDS:
            implementation.plugin.was_slow(implementation.hook, seconds)

    async def _ask(self, hook: str, limit: TimeLimit | None, *arguments: Any) -> tuple[str, Any]:
        for implementation in self._implementations.get(hook, ()):
            plugin = implementation.plugin
            answer: Any = None
            try:
                with anyio.CancelScope(deadline=math.inf if limit is None else limit.deadline_seconds) as scope:
                    answer = await self._answer(implementation, arguments)
                if limit is not None and scope.cancelled_caught:
                    raise StepTimeoutError(
                        f"The step {limit.step} did not end within {limit.seconds:g} s:"
                        f" the plugin '{plugin.name}' did not answer {hook}.",
                        step=limit.step,
                        remedy=f"Mend the plugin, or give it a longer time: {limit.setting}.",
                    )
            except CtiError:
                raise
            except Exception as error:  # isolates the plugin
                plugin.failed(hook, error)
                raise HookError(
                    f"The plugin '{plugin.name}' failed in {hook}: {type(error).__name__}: {error}.",
                    step=hook.removeprefix("cti_"),
                    remedy=f"Mend the plugin, or add '{plugin.name}' to cti.disabled_plugins.",
                ) from error
            if answer is not None:
                return plugin.name, answer
        return "", None

    async def _answer(self, implementation: _Implementation, arguments: tuple[Any, ...]) -> Any:
        try:
            if implementation.is_async:
                return await implementation.call(*arguments)
            name = f"cti: {implementation.hook} of {implementation.plugin.name}"
            answer = await call_in_thread(name, implementation.call, *arguments)
            return await answer if inspect.isawaitable(answer) else answer
        except anyio.get_cancelled_exc_class():
            # Only here is it known who kept the session waiting until its time was over.
            _log.warning("cti.hook.abandoned", plugin=implementation.plugin.name, hook=implementation.hook)
            raise

    def _wrong_answer(self, hook: str, plugin: str, answer: Any, expected: str) -> HookError:
        # Its type only: the answer can be a secret.
        return HookError(
            f"The plugin '{plugin}' answered {hook} with a value of type {type(answer).__name__}; it may answer {expected}.",
            step=hook.removeprefix("cti_"),
        )

    def _index(self) -> None:
        """Work out who is called for what, so that telling an event to nobody costs one look-up."""
        self._implementations = {
            hook: tuple(self._implementation(hook, implementation) for implementation in reversed(caller.get_hookimpls()))
            for hook, caller in ((hook, getattr(self._manager.hook, hook)) for hook in self._arguments)
        }
        self._catch_all = self._implementations[_CATCH_ALL]
        self._told = {event_type: self._implementations[hook_name(event_type)] + self._catch_all for event_type in EVENT_TYPES}
        self.has_listeners = any(self._told.values())

    def _implementation(self, hook: str, implementation: pluggy.HookImpl) -> _Implementation:
        function = implementation.function
        return _Implementation(
            plugin=self._plugins[implementation.plugin_name],
            hook=hook,
            call=_adapted(function, self._arguments[hook]),
            is_async=inspect.iscoroutinefunction(function),
        )

    def _checked(self, plugin: object, name: str) -> set[str]:
        if isinstance(plugin, type):
            raise HookError(f"The plugin '{name}' is the class {plugin.__name__}; register an instance of it.")
        hooks: set[str] = set()
        for attribute in dir(plugin):
            options = self._manager.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                self._refuse_unmarked(plugin, name, attribute)
                continue
            hook = options.get("specname") or attribute
            if hook not in self._arguments:
                if not options.get("optionalhook"):
                    raise HookError(
                        f"The plugin '{name}' implements '{hook}', which is no hook.{_did_you_mean(hook, self._arguments)}",
                        remedy="Correct the name; hookimpl(optionalhook=True) is for hooks of other versions.",
                    )
                continue
            if options.get("wrapper") or options.get("hookwrapper"):
                raise HookError(
                    f"The plugin '{name}' wraps {hook}; implementations are kept apart from each other, so none can wrap another."
                )
            self._check_arguments(name, hook, getattr(plugin, attribute))
            if hook in hooks:
                raise HookError(f"The plugin '{name}' implements {hook} twice.")
            hooks.add(hook)
        if not hooks:
            raise HookError(
                f"The plugin '{name}' implements no hook.", remedy="Mark its functions with @hookimpl of cti_framework.hooks."
            )
        return hooks

    def _refuse_unmarked(self, plugin: object, name: str, attribute: str) -> None:
        if not attribute.startswith("cti_"):
            return
        # Without evaluating properties. Classes and modules of such a name are no attempt at a hook.
        value = inspect.getattr_static(plugin, attribute)
        if not callable(value) and not isinstance(value, classmethod | staticmethod):
            return
        if isinstance(value, type):
            return
        if attribute in self._arguments:
            raise HookError(
                f"The plugin '{name}' has a function '{attribute}' that is not marked as a hook.",
                remedy="Add @hookimpl of cti_framework.hooks to it, or rename it.",
            )
        raise HookError(
            f"The plugin '{name}' has a function '{attribute}', which is no hook.{_did_you_mean(attribute, self._arguments)}",
            remedy="Correct the name and add @hookimpl, or name it without 'cti_'.",
        )

    def _check_arguments(self, name: str, hook: str, function: Callable[..., Any]) -> None:
        given = self._arguments[hook]
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in given:
                continue
            if parameter.default is parameter.empty:
                raise HookError(
                    f"The plugin '{name}' takes '{parameter.name}' in {hook}, which gives {', '.join(given)}."
                    f"{_did_you_mean(parameter.name, given)}",
                    remedy="Name only arguments that the hook gives.",
                )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _adapted(function: Callable[..., Any], given: tuple[str, ...]) -> Callable[..., Any]:
    """Make a function that takes all arguments by position of one that takes some of them, in its own order."""
    parameters = list(inspect.signature(function).parameters.values())
    by_position: list[int] = []
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) or parameter.name not in given:
            break
        by_position.append(given.index(parameter.name))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        named = set(given)
    else:
        named = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    by_name = [(name, place) for place, name in enumerate(given) if name in named and place not in by_position]
    if not by_name and by_position == list(range(len(given))):
        return function
    return lambda *arguments: function(
        *(arguments[place] for place in by_position), **{name: arguments[place] for name, place in by_name}
    )
