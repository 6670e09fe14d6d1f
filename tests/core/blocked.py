"""What tests of hosts without an event loop share: sessions on the scripted PBX, threads that wait, and what is left of both."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio

from cti_framework import BlockingCtiModel, BlockingRuntime, ProviderState
from cti_framework.clock import SessionClock
from cti_framework.provider import BaseCtiProvider
from tests.core.scripted import Pbx, ScriptedProvider, session

T = TypeVar("T")

SECONDS = 10.0
"""How long a test waits at most for what happens at once."""


def open_on(
    runtime: BlockingRuntime | None, pbx: Pbx, provider_class: type[BaseCtiProvider] = ScriptedProvider, **options: Any
) -> BlockingCtiModel:
    """Open a session on a PBX of a test."""
    options = {"clock": SessionClock(), **options}
    return BlockingCtiModel(lambda: session(pbx, provider_class, **options), runtime=runtime)


def state_of(model: BlockingCtiModel) -> ProviderState:
    """Tell what the connection does: mypy would take what was asserted once for what it is."""
    return model.provider_state


def in_loop(model: BlockingCtiModel, act: Callable[[], T]) -> T:
    """Do in the session's loop what the PBX does of its own accord."""
    return model._runtime.read(act)


def in_thread(act: Callable[[], T], *, daemon: bool = True) -> Future[T]:
    """Call something in a thread of its own."""
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            value = act()
        except BaseException as error:  # noqa: BLE001
            outcome.set_exception(error)
        else:
            outcome.set_result(value)

    threading.Thread(target=work, daemon=daemon, name="of a test").start()
    return outcome


class Held:
    """A verb of the PBX that does not end by itself. It says when it was begun, and when it was cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self, *arguments: Any) -> None:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise


@contextmanager
def nothing_left() -> Iterator[None]:
    """Expect that no thread and no open file is left that was not there before."""
    before = threads(), open_files()
    yield
    # A thread of a test is told its outcome a moment before it has ended.
    for thread in threads() - before[0]:
        if thread.name == "of a test":
            thread.join(SECONDS)
    assert threads() - before[0] == set()
    assert Counter(open_files()) - Counter(before[1]) == Counter()


def threads() -> set[threading.Thread]:
    """Tell which threads there are, but for those that trio keeps for the next who wants one."""
    return {thread for thread in threading.enumerate() if not thread.name.lower().startswith("trio")}


def open_files() -> list[str]:
    """Tell what this process has open: files, sockets, what a loop waits by. Where the system does not say: nothing."""
    try:
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return sorted(found)
