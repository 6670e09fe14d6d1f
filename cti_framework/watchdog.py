"""Who keeps the event loop: one thread beside it asks it, a few times a second, to answer.

A plugin that blocks in the loop (``time.sleep``, a query, a large file) holds up every session of the process, and from
within the loop nobody can see who it is: whoever could look is held up as well. So a thread looks. It hands the loop a beat;
where the beat is not answered in time, it looks at what the loop's thread is doing just then and names the plugin whose code it
is in.

The thread is the loop's and not the session's: all sessions of a loop share it, and it ends with the last of them.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import anyio.lowlevel
import attrs
import structlog

from cti_framework.hooks import Hooks
from cti_framework.hooks.facade import Owner

__all__ = ["HOST", "LoopStalls", "Watch"]

HOST: Final = "host"
"""Who is named where no plugin's code was running."""

_LOOK_SECONDS: Final = 1.0
"""How often, during a stall, it is looked at whether there still is a loop."""
_JOIN_SECONDS: Final = 1.0

_log = structlog.get_logger("cti_framework")


@attrs.frozen
class LoopStalls:
    """How often somebody made the event loop stand still while a session was open.

    Attributes:
        times: How often.
        seconds: For how long altogether, at least.
        where: Where it was seen the last time: file, line and function.
    """

    times: int
    seconds: float
    where: str


@attrs.frozen(eq=False)
class _Stall:
    """A stall that is going on."""

    plugin: str
    where: str
    hooks: Hooks | None
    owner: Owner | None


class Watch:
    """One session's part in the watch over its event loop.

    Args:
        hooks: Their plugins are told apart.
        provider: By what the provider is named.
        provider_class: Its code is everything in the packages of the class and of its bases.
        stall_seconds: How long the loop may take to answer. Of several sessions the least holds. 0: this session does not care.
    """

    __slots__ = ("_dog", "_stalls", "hooks", "provider", "provider_class", "stall_seconds")

    def __init__(self, hooks: Hooks, provider: str, provider_class: type, stall_seconds: float) -> None:
        self.hooks = hooks
        self.provider = provider
        self.provider_class = provider_class
        self.stall_seconds = stall_seconds
        self._stalls: dict[str, LoopStalls] = {}
        self._dog: _Watchdog | None = None

    @property
    def stalls(self) -> dict[str, LoopStalls]:
        """Who made the loop stand still: plugins by name, or ``HOST``."""
        return dict(self._stalls)

    def start(self) -> None:
        """Begin to watch the running loop."""
        if self.stall_seconds <= 0:
            return
        dog = _dogs.get(None)
        if dog is None or not dog.is_alive:
            dog = _Watchdog()
            _dogs.set(dog)
        self._dog = dog
        dog.add(self)

    def stop(self) -> None:
        """Watch no longer. With the last session of the loop the thread ends."""
        dog, self._dog = self._dog, None
        if dog is not None and dog.remove(self):
            _dogs.set(None)

    def count(self, plugin: str, seconds: float, where: str) -> None:
        """Take down a stall that is over.

        Args:
            plugin: Whose.
            seconds: For how long.
            where: Where.
        """
        before = self._stalls.get(plugin, LoopStalls(0, 0.0, ""))
        self._stalls[plugin] = LoopStalls(before.times + 1, before.seconds + seconds, where)


class _Watchdog:
    """The thread that watches one event loop. Made in the loop."""

    def __init__(self) -> None:
        self._watches: dict[Watch, None] = {}
        self._loop_thread = threading.get_ident()
        self._post = _poster()
        # Guards what the two threads both change: whether the beat is answered, and what was found meanwhile. Nothing that may
        # take its time is done while it is held: the loop would wait for it.
        self._changed = threading.Condition()
        self._is_answered = False
        self._is_over = False
        self._posted_seconds = 0.0
        self._stall: _Stall | None = None
        self._stall_seconds = 0.0
        self._thread = threading.Thread(target=self._live, name="cti: watchdog", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether it watches: in a forked process it does not."""
        return self._thread.is_alive()

    def add(self, watch: Watch) -> None:
        self._watches[watch] = None
        self._stall_seconds = min(each.stall_seconds for each in self._watches)
        if self._thread.ident is None:
            self._thread.start()

    def remove(self, watch: Watch) -> bool:
        """Remove a session; whether it was the last."""
        del self._watches[watch]
        if self._watches:
            if watch.stall_seconds <= self._stall_seconds:
                self._stall_seconds = min(each.stall_seconds for each in self._watches)
            return False
        with self._changed:
            self._is_over = True
            self._changed.notify()
        # It is at most writing a line into the log.
        self._thread.join(_JOIN_SECONDS)
        return True

    # ------------------------------------------------------------------ in the thread

    def _live(self) -> None:
        # A loop that was closed without its sessions takes no more beats.
        while self._pause(self._stall_seconds / 2) and self._beat():
            seconds = self._stall_seconds
            if self._is_settled_within(seconds):
                continue
            # Woken much too late itself: the whole process stood still, and the loop with it.
            is_late = time.monotonic() - self._posted_seconds > 2 * seconds
            self._look(is_late)
            while not self._is_settled_within(_LOOK_SECONDS):
                if not self._try_to_post(_nothing):
                    return

    def _pause(self, seconds: float) -> bool:
        with self._changed:
            return not self._changed.wait_for(lambda: self._is_over, seconds)

    def _is_settled_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._is_answered or self._is_over, seconds)

    def _beat(self) -> bool:
        # The one before was answered: nobody else changes this now.
        self._is_answered = False
        self._posted_seconds = time.monotonic()
        return self._try_to_post(self._answer)

    def _try_to_post(self, act: Callable[[], object]) -> bool:
        try:
            self._post(act)
        except RuntimeError:
            # The loop is closed.
            return False
        return True

    def _look(self, is_late: bool) -> _Stall | None:
        with self._changed:
            innermost = sys._current_frames().get(self._loop_thread)
            if self._is_answered or innermost is None or _is_waiting(innermost):
                # It has answered, or is about to: not the loop stood still, but the computer.
                return None
            stall = _find(innermost, list(self._watches))
            if stall.plugin == HOST and is_late:
                return None
            places = _places(innermost)
            self._stall = stall
        # Files are read for it, and whoever writes the log may be slow: the loop may go on meanwhile.
        _log.error(
            "cti.loop.stalled",
            plugin=stall.plugin,
            where=stall.where,
            seconds_so_far=round(time.monotonic() - self._posted_seconds, 3),
            # The lines of the source, and no values: those could be secrets.
            stack="".join(traceback.StackSummary.from_list(places).format()),
        )
        return stall

    # ------------------------------------------------------------------ in the loop

    def _answer(self) -> None:
        seconds = time.monotonic() - self._posted_seconds
        with self._changed:
            self._is_answered = True
            stall, self._stall = self._stall, None
            self._changed.notify()
        if stall is None:
            return
        _log.warning("cti.loop.stall_over", plugin=stall.plugin, where=stall.where, seconds=round(seconds, 3))
        for watch in list(self._watches):
            watch.count(stall.plugin, seconds, stall.where)
        if stall.hooks is not None and stall.owner is not None:
            stall.hooks.stalled(stall.owner)


_dogs: Final[anyio.lowlevel.RunVar[_Watchdog | None]] = anyio.lowlevel.RunVar("cti_framework watchdog", None)
"""The running loop's. Each event loop has a value of its own, which goes with it."""


def _find(innermost: FrameType, watches: list[Watch]) -> _Stall:
    """Find out whose code the loop's thread is in: the innermost frame that is a plugin's decides."""
    all_hooks = {id(watch.hooks): watch.hooks for watch in watches}.values()
    providers = {watch.provider_class: watch.provider for watch in watches}
    packages = {package: name for provider_class, name in providers.items() for package in _packages_of(provider_class)}
    frame: FrameType | None = innermost
    while frame is not None:
        for hooks in all_hooks:
            owner = hooks.owner_of(frame)
            if owner is not None:
                return _Stall(owner.plugin, _place(frame), hooks, owner)
        module = str(frame.f_globals.get("__name__", ""))
        for package, provider in packages.items():
            if module == package or module.startswith(f"{package}."):
                return _Stall(provider, _place(frame), None, None)
        frame = frame.f_back
    return _Stall(HOST, _place(innermost), None, None)


def _places(innermost: FrameType) -> list[tuple[str, int, str, None]]:
    """Tell where a thread is, the outermost first, without looking into files."""
    return [(frame.f_code.co_filename, line, frame.f_code.co_name, None) for frame, line in traceback.walk_stack(innermost)][::-1]


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _is_waiting(frame: FrameType) -> bool:
    """Tell whether the loop itself waits for something to happen."""
    module = str(frame.f_globals.get("__name__", ""))
    return module == "selectors" or module.startswith("trio._core._io_")


def _packages_of(provider_class: type) -> frozenset[str]:
    """Tell where a provider's code lies: a host may keep its own provider in a package beside other things."""
    modules = {each.__module__ for each in provider_class.__mro__ if each is not object}
    packages = {module.rpartition(".")[0] or module for module in modules}
    return frozenset(package for package in packages if package.partition(".")[0] not in (*_NOT_PROVIDERS, "__main__"))


_NOT_PROVIDERS: Final = frozenset({"cti_framework", "abc", "typing", "builtins"})


def _poster() -> Callable[[Callable[[], object]], Any]:
    """Give what hands the running loop something to call, from any thread."""
    loop: Any = anyio.lowlevel.current_token().native_token
    post: Callable[[Callable[[], object]], Any] = (
        loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    )
    return post


def _nothing() -> None:
    """Be called, so that whoever posts it sees whether there is a loop."""
