"""Events that are subscribed to: asked for, told, and asked for again by the next connection."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
import structlog

from cti_framework.errors import CommandRefusedError, CommandUnconfirmedError
from cti_webitel.engine.callbacks import OnServerEvent, OnSubscriptionLost
from cti_webitel.engine.client import WebitelTimeouts
from tests.webitel.scripted_engine import PATIENCE_SECONDS, Engine, Told, made, session

pytestmark = pytest.mark.anyio

COUNT = "CC::MEMBERS-COUNT"
STATUS = "CC::AGENT-STATUS-CHANGE"


def engine_with_events() -> Engine:
    engine = Engine()
    engine.answers["subscribe"] = ("+OK", "+OK: subscribe\n")
    engine.answers["unsubscribe"] = ("+OK", "+OK: unsubscribe\n")
    return engine


def asked_for(engine: Engine) -> list[dict[str, Any]]:
    return [request["exec-args"] for request in engine.requests if request["exec-func"] == "subscribe"]


async def test_subscribed_and_told() -> None:
    engine, told = engine_with_events(), Told()
    async with session(engine, told) as webitel:
        assert await webitel.subscribe("cc::members-count") == "+OK: subscribe"
        await webitel.subscribe(STATUS, all=True)
        assert asked_for(engine) == [{"event": COUNT}, {"event": STATUS, "all": True}]
        assert dict(webitel.subscriptions) == {COUNT: False, STATUS: True}
        frame = {"Event-Name": COUNT, "CC-Queue": "support@demo.local", "CC-Count": "3", "webitel-event-name": "server"}
        await engine.say(frame)
        await told.until("onServerEvent")
        (event,) = [callback for callback in told.callbacks if isinstance(callback, OnServerEvent)]
        assert (event.event, event.headers["CC-Count"], event.payload()) == (COUNT, "3", frame)
        await webitel.unsubscribe(COUNT)
        assert engine.requests[-1]["exec-args"] == {"event": COUNT}
        assert dict(webitel.subscriptions) == {STATUS: True}


async def test_what_is_subscribed_already_is_no_error() -> None:
    engine = engine_with_events()
    engine.answers["subscribe"] = ("-ERR", "-ERR: event subscribed!")
    async with session(engine) as webitel:
        assert await webitel.subscribe(COUNT) == ""
        assert COUNT in webitel.subscriptions


@pytest.mark.parametrize("complete", ["-ERR", "+OK"])
async def test_what_is_refused_is_not_subscribed_to(complete: str) -> None:
    engine = engine_with_events()
    engine.answers["subscribe"] = (complete, "-ERR: Event unregistered")
    async with session(engine) as webitel:
        with pytest.raises(CommandRefusedError, match="Event unregistered"):
            await webitel.subscribe("NO::SUCH")
        assert not webitel.subscriptions


async def test_an_unanswered_end_of_a_subscription_is_an_end() -> None:
    engine = engine_with_events()
    async with session(engine, timeouts=WebitelTimeouts(command_seconds=0.5)) as webitel:
        await webitel.subscribe(COUNT)
        engine.silent.add("unsubscribe")
        with pytest.raises(CommandUnconfirmedError):
            await webitel.unsubscribe(COUNT)
        assert not webitel.subscriptions


async def test_quirk_7_3_the_next_connection_subscribes_again() -> None:
    engine, told = engine_with_events(), Told()
    webitel = made(engine, told)
    for life in range(3):
        async with anyio.create_task_group() as group:
            with anyio.fail_after(PATIENCE_SECONDS):
                await group.start(webitel.run)
            if life == 0:
                await webitel.subscribe(COUNT)
                await webitel.subscribe(STATUS, all=True)
            else:
                await engine.asked("subscribe", times=2 + 2 * life)
                assert asked_for(engine)[-2:] == [{"event": COUNT}, {"event": STATUS, "all": True}]
            group.cancel_scope.cancel()
    assert "onSubscriptionLost" not in told.names


async def test_a_subscription_that_is_refused_later_is_told_and_kills_nothing() -> None:
    engine, told = engine_with_events(), Told()
    webitel = made(engine, told)
    with structlog.testing.capture_logs() as lines:
        for life in range(2):
            async with anyio.create_task_group() as group:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await group.start(webitel.run)
                if life == 0:
                    await webitel.subscribe(COUNT)
                    await webitel.subscribe(STATUS)
                    engine.answers["subscribe"] = ("-ERR", "-ERR: Event unregistered")
                else:
                    await told.until("onSubscriptionLost", times=2)
                    await webitel.ping()
                    assert webitel.connected
                group.cancel_scope.cancel()
    lost = [callback for callback in told.callbacks if isinstance(callback, OnSubscriptionLost)]
    assert lost == [OnSubscriptionLost(COUNT, "-ERR: Event unregistered"), OnSubscriptionLost(STATUS, "-ERR: Event unregistered")]
    assert [line["event_name"] for line in lines if line["event"] == "engine.subscription_lost"] == [COUNT, STATUS]
    # The next connection tries again: the PBX may have been mended.
    assert set(webitel.subscriptions) == {COUNT, STATUS}


async def test_a_subscription_that_is_not_answered_later_is_told() -> None:
    engine, told = engine_with_events(), Told()
    webitel = made(engine, told, timeouts=WebitelTimeouts(command_seconds=0.5))
    for life in range(2):
        async with anyio.create_task_group() as group:
            with anyio.fail_after(PATIENCE_SECONDS):
                await group.start(webitel.run)
            if life == 0:
                await webitel.subscribe(COUNT)
                engine.silent.add("subscribe")
            else:
                await told.until("onSubscriptionLost")
            group.cancel_scope.cancel()
    (lost,) = [callback for callback in told.callbacks if isinstance(callback, OnSubscriptionLost)]
    assert "did not answer subscribe" in lost.reason


async def test_the_line_breaks_while_subscribing_again() -> None:
    engine, told = engine_with_events(), Told()
    webitel = made(engine, told)
    async with anyio.create_task_group() as group:
        await group.start(webitel.run)
        await webitel.subscribe(COUNT)
        group.cancel_scope.cancel()
    engine.silent.add("subscribe")
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as group:

            async def run(*, task_status: Any) -> None:
                with pytest.raises(Exception, match="1012"):
                    await webitel.run(task_status=task_status)

            await group.start(run)
            await engine.asked("subscribe", times=2)
            engine.sockets[-1].shut(1012, "restarting")
    assert "onSubscriptionLost" not in told.names
    assert COUNT in webitel.subscriptions
