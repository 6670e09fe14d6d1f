"""``cti.trace_hooks``: who was called with what, and what came of it; never a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from cti_framework.events import RawMessage
from cti_framework.hooks import Hooks, hookimpl
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.provider import CtiUser
from tests.core.scripted import Pbx, session

pytestmark = pytest.mark.anyio

USER = CtiUser("ann")


class Directory:
    @hookimpl
    def cti_user_connection(self, user: CtiUser) -> Mapping[str, str]:
        return {"password": "hunter2"}

    @hookimpl
    async def cti_log_in(self, user: CtiUser) -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    @hookimpl
    def cti_identify(self, number: str) -> None:
        raise ValueError("hunter2")

    @hookimpl
    def cti_raw_message(self, event: RawMessage) -> str:
        return "hunter2"


def calls(logs: list[Any]) -> list[tuple[str, list[str], str]]:
    return [(log["hook"], log["arguments"], log["result"]) for log in logs if log["event"] == "cti.hook.called"]


async def test_each_call_is_told_by_types_and_by_no_value() -> None:
    hooks = Hooks(trace=True)
    hooks.register(Directory(), "directory")
    with capture_logs() as logs:
        assert await hooks.user_connection(USER, "acme") == {"password": "hunter2"}
        assert await hooks.log_in(USER, ("telephony",)) is True
        with pytest.raises(Exception, match="failed in cti_identify"):
            await hooks.identify("0501")
        hooks.tell(None, RawMessage(epoch="e", seq=1, at=datetime.now(UTC), raw="hunter2"))
    assert calls(logs) == [
        ("cti_user_connection", ["CtiUser", "str"], "dict"),
        ("cti_log_in", ["CtiUser", "tuple"], "True"),
        ("cti_identify", ["str"], "raised ValueError"),
        ("cti_raw_message", ["None", "RawMessage"], "str"),
    ]
    told = [log for log in logs if log["event"] == "cti.hook.called"]
    assert all(log["plugin"] == "directory" and log["log_level"] == "info" and log["milliseconds"] >= 0 for log in told)
    assert "hunter2" not in str(told)


async def test_nothing_is_told_where_nobody_asked() -> None:
    hooks = Hooks()
    hooks.register(Directory(), "directory")
    with capture_logs() as logs:
        await hooks.log_in(USER, ())
    assert logs == []


async def test_an_async_implementation_is_traced_where_it_runs() -> None:
    told = anyio.Event()

    class Slow:
        @hookimpl
        async def cti_initialized(self, event: object) -> None:
            told.set()

    hooks = Hooks(trace=True)
    hooks.register(Slow(), "slow")
    with capture_logs() as logs, anyio.fail_after(5):
        async with session(Pbx(), hooks=hooks):
            await told.wait()
    assert ("cti_initialized", ["CtiModel", "Initialized"], "None") in calls(logs)
    assert hooks.records()[0].failures == 0


@pytest.mark.parametrize("on", [True, False])
async def test_the_setting_switches_it_on(on: bool) -> None:
    companion = Directory()
    by = CtiProviderInitializer({"cti.trace_hooks": on}, environ={}, companions=[companion])
    hooks = await by.chain.hooks()
    with capture_logs() as logs:
        await hooks.log_in(USER, ())
    assert bool(calls(logs)) is on
