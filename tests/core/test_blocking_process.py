"""Sessions and the life of a process: its exit, its signals, its forks. Each test has a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest

BEGIN = """
import atexit, functools, gc, logging, multiprocessing, os, signal, sys, threading
import anyio, structlog
from cti_framework import *
structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
)
say = functools.partial(print, flush=True)
initializer = CtiProviderInitializer({"cti.provider": "dummy"}, environ={})

def told(act, *arguments):
    try:
        return act(*arguments)
    except Exception as error:
        return type(error).__name__

def waits(act, *arguments, daemon=True):
    begun, outcome = threading.Event(), []
    def work():
        begun.set()
        outcome.append(told(act, *arguments))
    thread = threading.Thread(target=work, daemon=daemon)
    thread.start()
    begun.wait(10)
    return thread, outcome
"""
COMMAND = (sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c")

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def script(text: str, backend: str) -> str:
    return f"{BEGIN}\nruntime = BlockingRuntime({backend!r})\n{dedent(text)}"


def said(text: str, backend: str, code: int = 0) -> list[str]:
    """Run a script in a process of its own, which ends as it should and prints no traceback; give what it said."""
    done = subprocess.run([*COMMAND, script(text, backend)], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stderr, done.returncode) == ("", code), done.stdout
    return done.stdout.splitlines()


# Exit --------------------------------------------------------------------------------------------------------------------


def test_what_is_left_open_is_closed_at_exit(anyio_backend: str) -> None:
    # What is registered earlier is called later.
    text = """
    atexit.register(lambda: say(model.provider_state.value, threading.enumerate() == [threading.main_thread()]))
    runtime.close()
    runtime = BlockingRuntime(runtime_backend)
    model = open_session(initializer, "100", runtime=runtime)
    model.on_event(lambda event: say(type(event).__name__))
    say("end")
    """
    text = text.replace("runtime_backend", repr(anyio_backend))
    assert said(text, anyio_backend) == ["end", "Disconnected", "ProviderStateChanged", "LineStateChanged", "closed True"]


def test_who_waits_at_exit_is_told(anyio_backend: str) -> None:
    text = """
    def report():
        for thread, outcome in waiting:
            thread.join(10)
            say(*outcome)
    atexit.unregister(runtime.close)
    atexit.register(report)
    atexit.register(runtime.close)

    async def never(*_):
        arrived.set()
        await anyio.sleep_forever()

    arrived = threading.Event()
    model = open_session(initializer, "100", runtime=runtime)
    model._model._provider.make_call = never
    waiting = [waits(model.make_call, "0501"), waits(lambda: len(list(events)))]
    arrived.wait(10)
    """
    text = text.replace("    waiting =", "    events = model.events()\n    waiting =")
    assert said(text, anyio_backend) == ["SessionClosedError", "3"]


def test_a_thread_that_python_waits_for_is_told_too(anyio_backend: str) -> None:
    # Python calls atexit when it has ended, and it would never end.
    text = """
    model = open_session(initializer, "100", runtime=runtime)
    def listen():
        for event in model.events():
            say(type(event).__name__)
        say(told(model.make_call, "0501"))
    waits(listen, daemon=False)
    """
    lines = said(text, anyio_backend)
    assert lines[0].startswith("event='cti.blocking.main_thread_over'")
    assert lines[1:] == ["Disconnected", "ProviderStateChanged", "LineStateChanged", "SessionClosedError"]


def test_an_exit_from_within_a_session(anyio_backend: str) -> None:
    text = """
    with open_session(initializer, "100", runtime=runtime) as model:
        model.make_call("0501234567")
        sys.exit(3)
    """
    assert said(text, anyio_backend, code=3) == []


def test_an_exit_after_asyncio_has_used_threads_of_its_own() -> None:
    # At exit it may no longer start the thread in which it ends them.
    text = """
    async def resolve(*_):
        await anyio.getaddrinfo("localhost", 1)
        say([thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio")])
    model = open_session(initializer, "100", runtime=runtime)
    model._model._provider.set_agent_state = resolve
    model.set_agent_state("DND")
    """
    assert said(text, "asyncio") == ["['asyncio_0']"]


@posix
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_signal_while_it_waits(anyio_backend: str, how: str) -> None:
    text = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with open_session(initializer, "100", runtime=runtime) as model:
            say("waiting")
            for event in model.events():
                say(type(event).__name__)
    except BaseException as error:
        say(type(error).__name__, model.closed, model.provider_state.value)
    """
    with subprocess.Popen(
        [*COMMAND, script(text, anyio_backend)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(getattr(signal, how))
        output, errors = process.communicate(timeout=30)
    expected = {"SIGINT": "KeyboardInterrupt", "SIGTERM": "SystemExit"}[how]
    assert (output, errors, process.returncode) == (f"{expected} True closed\n", "", 0)


# Fork --------------------------------------------------------------------------------------------------------------------

FORKED = """
model = open_session(initializer, "100", runtime=runtime)
events = model.events()
callback = model.on_event(lambda event: None)

def use():
    for act in (
        lambda: model.make_call("0501234567"),
        lambda: model.within(1).drop_call(),
        lambda: model.calls,
        lambda: next(events),
        lambda: events.next_nowait(),
        lambda: model.on_event(print),
        lambda: open_session(initializer, "100", runtime=runtime),
    ):
        try:
            act()
        except SessionClosedError as error:
            assert "Open it in the worker" in error.remedy, error
            assert str(os.getpid()) in error.message, error
        else:
            raise AssertionError(act)
    assert model.closed and runtime.closed
    callback.cancel()

def works():
    return model.make_call("0501234567").other.number, model.drop_call()
"""


@posix
def test_a_session_carried_over_a_fork_says_where_to_open_it(anyio_backend: str) -> None:
    text = f"""
    {FORKED.replace(chr(10), chr(10) + "    ")}
    child = os.fork()
    if child == 0:
        use()
        model.close()
        runtime.close()
        del model, events, callback, runtime
        gc.collect()
        say("child")
        sys.exit(7)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    say(*works())
    """
    assert said(text, anyio_backend) == ["child", "7", "0501234567 None"]


@posix
def test_a_child_that_leaves_the_block_closes_nothing_of_its_parent_s(anyio_backend: str) -> None:
    text = f"""
    {FORKED.replace(chr(10), chr(10) + "    ")}
    with runtime, model:
        child = os.fork()
        if child != 0:
            say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            say(*works())
    """
    assert said(text, anyio_backend) == ["0", "0501234567 None"]


@posix
def test_a_worker_opens_a_session_of_its_own(anyio_backend: str) -> None:
    text = f"""
    {FORKED.replace(chr(10), chr(10) + "    ")}
    def work():
        use()
        with open_session(initializer, CtiUser("anna", parameters={{"number": "101"}})) as own:
            say(own.make_call("0501234567").own.number)

    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join(20)
    say(worker.exitcode)
    say(*works())
    """
    assert said(text, anyio_backend) == ["101", "0", "0501234567 None"]


@posix
def test_a_fork_while_others_wait(anyio_backend: str) -> None:
    text = f"""
    {FORKED.replace(chr(10), chr(10) + "    ")}
    thread, outcome = waits(lambda: [event.seq for event in model.events()])
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            use()
            os._exit(0)
        children.append(child)
        works()
    say({{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}})
    model.close()
    thread.join(10)
    say(outcome[0] == list(range(outcome[0][0], model.cursor.seq + 1)))
    """
    assert said(text, anyio_backend) == ["{0}", "True"]
