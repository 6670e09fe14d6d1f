"""How each plugin fares: what it did wrong, how often, and when it is enough."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CodeType
from typing import Any

import attrs
import structlog

from cti_framework.errors import traceback_text

__all__ = ["Account", "HookRecord", "Implementation"]

_log = structlog.get_logger("cti_framework.hooks")


@attrs.frozen
class HookRecord:
    """What a registered plugin implements, and how it fares.

    Attributes:
        plugin: Its name.
        hooks: The hooks that it implements, sorted.
        failures: How often an implementation raised, or returned what it may not.
        slow: How often an implementation that is told events kept the event loop for 0.1 seconds or more.
        timed_out: How often an ``async`` implementation did not return in its time and was cancelled.
        stalls: How often the event loop stood still in its code: for longer than the watchdog allows.
        behind: How often it fell behind and missed events.
        dropped: How many calls of its ``async`` implementations were dropped: too many waited, or the session ended.
        faults_in_row: How many told implementations did something wrong since one of them did well.
        switched_off: Whether it is told nothing more, after too many faults in a row.
        last_error: The latest failure in words.
    """

    plugin: str
    hooks: tuple[str, ...]
    failures: int
    slow: int
    timed_out: int
    stalls: int
    behind: int
    dropped: int
    faults_in_row: int
    switched_off: bool
    # In the plugin's own words, which can hold secrets.
    last_error: str | None = attrs.field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Tell it as plain data, for ``--json`` output.

        Returns:
            The attributes by name.
        """
        return {**attrs.asdict(self), "hooks": list(self.hooks)}


@attrs.define(eq=False)
class Account:
    """A registered plugin's account.

    Attributes:
        name: The plugin's name.
        hooks: The hooks that it implements, sorted.
        on_limit: Called when it has done wrong ``fault_limit`` times in a row.
        fault_limit: How often; 0: as often as it likes.
        latest_fault: Which it was, without the plugin's own words: those can hold secrets.
        kept: What it never ends, so that Python does not try to, either.
    """

    name: str
    hooks: tuple[str, ...]
    on_limit: Callable[[Account], None]
    fault_limit: int
    failures: int = 0
    slow: int = 0
    timed_out: int = 0
    stalls: int = 0
    behind: int = 0
    dropped: int = 0
    faults_in_row: int = 0
    switched_off: bool = False
    latest_fault: str = ""
    last_error: str | None = attrs.field(default=None, repr=False)
    kept: list[Coroutine[Any, Any, Any]] = attrs.field(factory=list)
    _reported: set[str] = attrs.field(factory=set)

    def failed(self, hook: str, error: BaseException) -> None:
        """Count that an implementation raised."""
        self.failures += 1
        self.latest_fault = f"{hook} raised {type(error).__name__}"
        self.last_error = f"{hook}: {type(error).__name__}: {error}"
        if self._is_news(f"{hook} {type(error).__name__}"):
            _log.error("cti.hook.failed", plugin=self.name, hook=hook, stack=traceback_text(error))

    def was_slow(self, hook: str, seconds: float) -> None:
        """Count that an implementation kept the event loop."""
        self.slow += 1
        self.latest_fault = f"{hook} kept the event loop for {seconds:.1f} s"
        if self._is_news(f"{hook} slow"):
            _log.warning("cti.hook.slow", plugin=self.name, hook=hook, seconds=round(seconds, 3))

    def did_not_return(self, hook: str, seconds: float) -> None:
        """Count that an implementation was cancelled because its time was over."""
        self.timed_out += 1
        self.latest_fault = f"{hook} did not return within {seconds:g} s"
        self.last_error = self.latest_fault
        if self._is_news(f"{hook} timed out"):
            _log.error("cti.hook.timed_out", plugin=self.name, hook=hook, timeout_seconds=seconds)

    def did_not_end(self, hook: str) -> None:
        """Say that an implementation goes on although it was cancelled, and is left where it is."""
        self.last_error = self.latest_fault = f"{hook} did not end when it was cancelled"
        if self._is_news(f"{hook} swallowed"):
            _log.error("cti.hook.given_up", plugin=self.name, hook=hook)

    def fell_behind(self) -> None:
        """Count that it is going to miss events."""
        self.behind += 1

    def drop(self, hook: str, reason: str, count: int = 1) -> None:
        """Count calls that are not made."""
        self.dropped += count
        if self._is_news(f"{hook} {reason}"):
            _log.warning("cti.hook.dropped", plugin=self.name, hook=hook, why=reason)

    def did_well(self) -> None:
        """Begin a new row: a told implementation did nothing wrong."""
        self.faults_in_row = 0

    def did_wrong(self) -> None:
        """Add to the row of faults."""
        self.faults_in_row += 1
        if self.fault_limit and self.faults_in_row >= self.fault_limit and not self.switched_off:
            self.on_limit(self)

    def record(self) -> HookRecord:
        """Tell it."""
        return HookRecord(
            plugin=self.name,
            hooks=self.hooks,
            failures=self.failures,
            slow=self.slow,
            timed_out=self.timed_out,
            stalls=self.stalls,
            behind=self.behind,
            dropped=self.dropped,
            faults_in_row=self.faults_in_row,
            switched_off=self.switched_off,
            last_error=self.last_error,
        )

    def _is_news(self, matter: str) -> bool:
        # An implementation that fails fails at every event: one line says it, a thousand hide everything else.
        if matter in self._reported:
            return False
        self._reported.add(matter)
        return True


@attrs.frozen(eq=False)
class Implementation:
    """One plugin's implementation of one hook.

    Attributes:
        account: The plugin's.
        hook: Its name.
        call: Takes all of the hook's arguments by position, and hands on those that the implementation named.
        is_async: Whether what it returns has to be awaited.
        code: What Python runs, if it is a function of Python's.
        module: Where it was written.
    """

    account: Account
    hook: str
    call: Callable[..., Any]
    is_async: bool
    code: CodeType | None
    module: str
