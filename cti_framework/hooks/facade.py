"""``Hooks``: registering plugins, telling them events, and being asked how they fare."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

import anyio
import anyio.abc
import attrs
import pluggy
import structlog

from cti_framework.errors import CtiError, HookError
from cti_framework.events import EVENT_TYPES, Event
from cti_framework.hooks.account import Account, HookRecord, Implementation
from cti_framework.hooks.asked import AskedHooks
from cti_framework.hooks.registration import adapted, hooks_of
from cti_framework.hooks.specs import CATCH_ALL, PROJECT, RESYNC, HookSpecs, hook_name
from cti_framework.hooks.told import SLOW_SECONDS, Resync, Run
from cti_framework.hooks.trace import traced

__all__ = ["Hooks", "Owner"]

_HOST_MODULE: Final = "__main__"
"""A script's own code and its companions lie in one module: what is in it may be either's."""

_log = structlog.get_logger("cti_framework.hooks")


@attrs.frozen
class Owner:
    """Whose code is running.

    Attributes:
        plugin: The plugin's name.
        in_hook: Whether it runs in an implementation of a hook, or in something else of the plugin's.
    """

    plugin: str
    in_hook: bool


class Hooks(AskedHooks):
    """The hooks of one session, or of several that share their plugins: a typed façade over pluggy.

    Told implementations that are ``async`` run in tasks of their session's ``run``; the others are called directly. Asked
    implementations that are not ``async`` run in threads. Used from one event loop at a time.

    Args:
        clock: Gives seconds that only grow; tests turn it by hand.
        timeout_seconds: How long a told ``async`` implementation may take. Then it is cancelled.
        fault_limit: After how many faults in a row (it raised, did not return, kept the event loop) a plugin is told nothing
            more; 0: it is told whatever it does.
        trace: Whether the log says of each call who was called with what, and what came of it: by types, never by values.

    Attributes:
        has_listeners: Whether anybody listens to any event.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout_seconds: float = 30.0,
        fault_limit: int = 20,
        trace: bool = False,
    ) -> None:
        super().__init__()
        self.has_listeners = False
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._fault_limit = fault_limit
        self._trace = trace
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        self._arguments: dict[str, tuple[str, ...]] = {
            name: tuple(inspect.signature(getattr(HookSpecs, name)).parameters)[1:]
            for name in dir(HookSpecs)
            if name.startswith("cti_")
        }
        self._accounts: dict[str, Account] = {}
        self._told: dict[type[Event], tuple[Implementation, ...]] = {}
        self._catch_all: tuple[Implementation, ...] = ()
        self._codes: dict[CodeType, Account] = {}
        self._modules: dict[str, Account] = {}
        self._runs: dict[int, Run] = {}
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
        hooks = hooks_of(plugin, name, self._manager, self._arguments)
        try:
            self._manager.register(plugin, name)
        except (ValueError, pluggy.PluginValidationError) as error:
            if self._manager.has_plugin(name) and name not in self._accounts:
                self._manager.unregister(name=name)
            raise HookError(f"The plugin '{name}' cannot be registered: {error}") from error
        self._accounts[name] = Account(name, tuple(sorted(hooks)), on_limit=self._switch_off, fault_limit=self._fault_limit)
        self._index()

    def unregister(self, name: str) -> None:
        """Remove a plugin. What its ``async`` implementations were already told still runs.

        Args:
            name: As registered.

        Raises:
            HookError: No plugin is registered under the name.
        """
        del self._accounts[self._account(name).name]
        self._manager.unregister(name=name)
        self._index()

    def switch_on(self, name: str) -> None:
        """Tell a plugin events again that was switched off after too many faults in a row. Its row begins anew.

        In each open session it is first told ``cti_resync_required``, if it implements that: it has missed events.

        Args:
            name: As registered.

        Raises:
            HookError: No plugin is registered under the name.
        """
        account = self._account(name)
        account.did_well()
        if not account.switched_off:
            return
        account.switched_off = False
        self._index()
        _log.info("cti.plugin.switched_on", plugin=name)
        for run in self._runs.values():
            run.begin_anew(account)

    def names(self) -> tuple[str, ...]:
        """Tell which plugins are registered.

        Returns:
            Their names, in the order in which they were registered.
        """
        return tuple(self._accounts)

    def records(self) -> tuple[HookRecord, ...]:
        """Tell what each plugin implements, and how it fares.

        Returns:
            One record a plugin, in the order in which they were registered.
        """
        return tuple(account.record() for account in self._accounts.values())

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
            account = implementation.account
            if account.switched_off:
                # Just now, by what it did with this very event.
                continue
            if implementation.is_async:
                run = self._runs.get(id(model))
                if run is None:
                    account.drop(implementation.hook, "the session is not open")
                else:
                    run.queue(account).put(implementation, model, event)
            else:
                self._tell_now(implementation, model, event)

    async def run(
        self,
        model: Any,
        resync: Resync | None = None,
        on_trouble: Callable[[CtiError], None] | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run what ``tell`` hands over for one session, until cancelled: one task a plugin, each in order.

        What still waits then is dropped and counted; wait for ``flush`` first to have it done. An implementation that does not
        end when it is cancelled is left where it is, after a second.

        Args:
            model: The session's ``CtiModel``.
            resync: Makes ``ResyncRequired`` for a plugin that fell behind, from the number of events that it missed.
            on_trouble: Told that a plugin was switched off.
            task_status: Told when ``tell`` may be called.

        Raises:
            HookError: It runs already for this session.
        """
        self._check_not_enlisted(model)
        async with anyio.create_task_group() as group:
            self.enlist(model, group, resync, on_trouble)
            try:
                task_status.started()
                await anyio.sleep_forever()
            finally:
                await self.leave(model)

    def enlist(
        self,
        model: Any,
        group: anyio.abc.TaskGroup,
        resync: Resync | None = None,
        on_trouble: Callable[[CtiError], None] | None = None,
    ) -> None:
        """Have what ``tell`` hands over for one session run in a task group: as ``run``, without a task where nobody listens.

        Args:
            model: The session's ``CtiModel``.
            group: Where tasks are started. It has to be cancelled before ``leave``.
            resync: As for ``run``.
            on_trouble: As for ``run``.

        Raises:
            HookError: They run already for this session.
        """
        self._check_not_enlisted(model)
        self._runs[id(model)] = Run(
            model,
            group,
            timeout_seconds=self._timeout_seconds,
            clock=self._clock,
            resync=resync,
            on_trouble=on_trouble,
            resync_of=self._resync_of,
            tell_now=self._tell_now,
        )

    def _check_not_enlisted(self, model: Any) -> None:
        if id(model) in self._runs:
            raise HookError("The hooks of this session run already.")

    async def leave(self, model: Any) -> None:
        """Tell a session's hooks nothing more, and give what is being called, cancelled already, a second to end.

        Args:
            model: The session's ``CtiModel``.
        """
        run = self._runs.pop(id(model), None)
        if run is not None:
            await run.end()

    async def flush(self, model: Any) -> None:
        """Wait until all ``async`` implementations that were told something in this session have ended.

        A plugin can make this last long: give it a time-out.

        Args:
            model: The session's ``CtiModel``.
        """
        run = self._runs.get(id(model))
        if run is not None:
            await run.idle()

    # Who keeps the event loop ------------------------------------------------------------------------------------------

    def owner_of(self, frame: FrameType) -> Owner | None:
        """Tell whose code a frame runs. May be called from any thread.

        Args:
            frame: Of Python's stack.

        Returns:
            The plugin; ``None``: none of those registered here.
        """
        account = self._codes.get(frame.f_code)
        if account is not None:
            return Owner(account.name, in_hook=True)
        module = str(frame.f_globals.get("__name__", ""))
        modules = self._modules
        while module:
            account = modules.get(module)
            if account is not None:
                return Owner(account.name, in_hook=False)
            module = module.rpartition(".")[0]
        return None

    def stalled(self, owner: Owner) -> None:
        """Count that a plugin made the event loop stand still.

        Args:
            owner: Which, and where.
        """
        account = self._accounts.get(owner.plugin)
        if account is None:
            return
        account.stalls += 1
        if not owner.in_hook:
            # In a hook it has been counted: whoever calls it sees how long it took.
            account.latest_fault = "it kept the event loop in a task of its own"
            account.did_wrong()

    # Inside ------------------------------------------------------------------------------------------------------------

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise HookError(f"No plugin is registered as '{name}'.")
        return account

    def _tell_now(self, implementation: Implementation, model: Any, event: Event) -> None:
        account = implementation.account
        did_well = True
        began = self._clock()
        try:
            result = implementation.call(model, event)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("it returned a coroutine although it is not declared with 'async def'")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - isolates the plugin: nothing is awaited, so no cancellation is this task's
            account.failed(implementation.hook, error)
            did_well = False
        seconds = self._clock() - began
        if seconds >= SLOW_SECONDS:
            account.was_slow(implementation.hook, seconds)
            did_well = False
        if not did_well:
            account.did_wrong()
        elif account.faults_in_row:
            account.did_well()

    def _switch_off(self, account: Account) -> None:
        account.switched_off = True
        self._index()
        _log.error(
            "cti.plugin.switched_off",
            plugin=account.name,
            faults_in_row=account.faults_in_row,
            latest=account.latest_fault,
            remedy="It is told no event any more. Mend it and start again, or use Hooks.switch_on.",
        )
        error = HookError(
            f"The plugin '{account.name}' is told no event any more: it failed {account.faults_in_row} times in a row;"
            f" the latest: {account.latest_fault}.",
            remedy=f"Mend the plugin, or add '{account.name}' to cti.disabled_plugins.",
        )
        for run in tuple(self._runs.values()):
            run.forget(account, "the plugin is switched off")
            if run.on_trouble is not None:
                run.on_trouble(error)

    def _resync_of(self, account: Account) -> Implementation | None:
        if account.switched_off:
            return None
        return next((told for told in self._implementations[RESYNC] if told.account is account), None)

    def _index(self) -> None:
        """Work out who is called for what, so that telling an event to nobody costs one look-up."""
        self._implementations = {
            hook: tuple(self._implementation(hook, implementation) for implementation in reversed(caller.get_hookimpls()))
            for hook, caller in ((hook, getattr(self._manager.hook, hook)) for hook in self._arguments)
        }
        told = {
            hook: tuple(told for told in implementations if not told.account.switched_off)
            for hook, implementations in self._implementations.items()
        }
        self._catch_all = told[CATCH_ALL]
        self._told = {event_type: told[hook_name(event_type)] + self._catch_all for event_type in EVENT_TYPES}
        self.has_listeners = any(self._told.values())
        # Replaced and never changed: another thread looks into them.
        everything = [told for implementations in self._implementations.values() for told in implementations]
        self._codes = {told.code: told.account for told in everything if told.code is not None}
        self._modules = {told.module: told.account for told in everything if told.module != _HOST_MODULE}

    def _implementation(self, hook: str, implementation: pluggy.HookImpl) -> Implementation:
        function = implementation.function
        innermost = inspect.unwrap(function)
        is_async = inspect.iscoroutinefunction(function)
        call = adapted(function, self._arguments[hook])
        return Implementation(
            account=self._accounts[implementation.plugin_name],
            hook=hook,
            call=traced(implementation.plugin_name, hook, call, is_async=is_async) if self._trace else call,
            is_async=is_async,
            code=getattr(innermost, "__code__", None),
            module=getattr(innermost, "__module__", None) or _HOST_MODULE,
        )
