"""What lives in the process: tasks of the event loop, open files and sockets, threads. Whatever is new afterwards was left."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import anyio

__all__ = ["living", "steady", "what_is_left"]

_LOOK_AGAIN_SECONDS: Final = 0.005
_STEADY_SECONDS: Final = 0.02
_POOLS: Final = ("AnyIO worker thread", "asyncio_", "Trio thread", "trio ")
"""Threads of the event loop's own pools: it keeps them for whoever needs one next."""

_OPEN_FILES: Final = next((where for where in ("/proc/self/fd", "/dev/fd") if os.path.isdir(where)), None)


def living() -> Mapping[Any, str]:
    """Tell what lives now.

    Returns:
        A key for each task, file and thread, with words for people.
    """
    found: dict[Any, str] = {}
    for task in asyncio.all_tasks() if _is_asyncio() else _trio_tasks():
        found[task] = f"task {_name_of(task)}"
    for file in _open_files():
        found[file] = f"{'socket' if 'socket' in file[1] else 'file'} {file[0]} ({file[1]})"
    for thread in threading.enumerate():
        if not thread.name.startswith(_POOLS):
            found[thread] = f"thread {thread.name}"
    return found


async def steady(within_seconds: float) -> Mapping[Any, str]:
    """Wait until nothing begins or ends any more: a PBX in a box is still starting when it can be used already.

    Args:
        within_seconds: How long to wait at most.

    Returns:
        What lives then.
    """
    deadline = anyio.current_time() + within_seconds
    now = living()
    while True:
        before = now
        await anyio.sleep(_STEADY_SECONDS)
        now = living()
        if now.keys() == before.keys() or anyio.current_time() >= deadline:
            return now


async def what_is_left(before: Mapping[Any, str], within_seconds: float) -> tuple[str, ...]:
    """Wait until nothing is there that was not before.

    Args:
        before: What lived then.
        within_seconds: How long to wait.

    Returns:
        What is left then, in words; empty if nothing is.
    """
    deadline = anyio.current_time() + within_seconds
    while True:
        left = {key: words for key, words in living().items() if key not in before}
        if not left or anyio.current_time() >= deadline:
            return tuple(sorted(left.values()))
        # Nothing tells that a task has ended or a socket was closed: that can only be looked at.
        await anyio.sleep(_LOOK_AGAIN_SECONDS)


def _is_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _trio_tasks() -> Iterator[Any]:
    import trio

    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _name_of(task: Any) -> str:
    asyncios = isinstance(task, asyncio.Task)
    coroutine = task.get_coro() if asyncios else task.coro
    name = task.get_name() if asyncios else task.name
    # Where it waits is of more use to whoever has to find it than its name.
    frame = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or frame
        coroutine = getattr(coroutine, "cr_await", None)
    return f"{name} at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame is not None else str(name)


def _open_files() -> Iterator[tuple[int, str]]:
    if _OPEN_FILES is None:
        return
    for name in os.listdir(_OPEN_FILES):
        try:
            yield int(name), os.readlink(f"{_OPEN_FILES}/{name}") if sys.platform == "linux" else "open"
        except (OSError, ValueError):
            # It was the one by which the folder was read.
            continue
