"""A user's place on the connection: what comes while it is looked wins over what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import pytest
from cti_framework.clock import SessionClock
from cti_framework.provider import CtiUser, ProviderContext
from cti_framework.reports import Report

from captured import news_of
from cti_esl.client import EslConnection
from cti_esl.legs import LegNews, LegTable
from cti_esl.standing import Standing
from told import in_words

ALICE = "1000@webitel.test"


class Scripted:
    """A connection that says what it is told to."""

    def __init__(self) -> None:
        self.legs = LegTable()
        self.standing: Standing | None = None
        self.seen: dict[str, LegNews] = {}
        self.happens_before_dump_of: dict[str, LegNews] = {}

    @contextmanager
    def place(self, presence: str, place: Standing) -> Iterator[None]:
        self.standing = place
        yield

    async def probe(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def dump(self, leg: str) -> LegNews | None:
        await anyio.lowlevel.checkpoint()
        happened = self.happens_before_dump_of.get(leg)
        if happened is not None:
            self.legs.feed(happened)
            assert self.standing is not None
            self.standing.told(happened, b"")
        return self.seen.get(leg)


def standing_on(connection: Scripted, reports: list[Report]) -> Standing:
    def report(*made: Report) -> None:
        reports.extend(made)

    context = ProviderContext(
        user=CtiUser("1000"),
        settings=None,
        user_settings=None,
        clock=SessionClock(),
        report=report,
        find_call=lambda call_id: None,
    )
    return Standing(context, cast(EslConnection, cast(Any, connection)), ALICE)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_call_that_ends_while_others_are_looked_at_is_in_no_snapshot() -> None:
    own = [news for news in news_of("04_attended_transfer") if news.presence == ALICE]
    first, second = dict.fromkeys(news.leg for news in own)
    end = next(news for news in own if news.leg == first and news.name == "CHANNEL_HANGUP_COMPLETE")
    connection, reports = Scripted(), list[Report]()
    standing = standing_on(connection, reports)
    for leg in (first, second):
        connection.legs.remember([leg], ALICE)
        connection.seen[leg] = next(news for news in own if news.leg == leg and news.name == "CHANNEL_ANSWER")
    connection.happens_before_dump_of[second] = end
    with standing.taken("127.0.0.1", 8021):
        snapshot = await standing.snapshot()
    assert [call.call_id for call in snapshot.calls] == [second]
    assert in_words(reports) == "1 ended normal"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_call_that_is_told_while_it_is_looked_at_is_told_once() -> None:
    own = [news for news in news_of("02_click_to_call") if news.presence == ALICE]
    connection, reports = Scripted(), list[Report]()
    standing = standing_on(connection, reports)
    connection.seen[own[0].leg] = next(news for news in own if news.name == "CHANNEL_ANSWER")
    connection.happens_before_dump_of[own[0].leg] = own[0]
    with standing.taken("127.0.0.1", 8021):
        standing.found(own[0].leg)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(standing.look_after)
                while not reports:
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
    assert in_words(reports) == "1 originated 1001"
