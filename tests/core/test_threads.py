"""Calling what may block: what it raises is raised to whoever waits, and never ends the event loop."""

from __future__ import annotations

import asyncio

import pytest

from cti_framework.threads import EndedThreadError, call_in_thread

pytestmark = pytest.mark.anyio


class Panic(BaseException):
    """As pyo3's ``PanicException`` and gevent's ``Timeout`` are."""


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
async def test_an_exception_and_ctrl_c_come_out_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await call_in_thread("test", raises, error)
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), GeneratorExit(), Panic()], ids=repr)
async def test_what_would_end_the_loop_or_pass_for_a_cancellation_is_an_ordinary_error(error: BaseException) -> None:
    with pytest.raises(EndedThreadError, match=type(error).__name__) as caught:
        await call_in_thread("test", raises, error)
    assert caught.value.__cause__ is error
    assert await call_in_thread("test", str, 5) == "5"
