"""One user on the connection, from log in to its end: what concerns him becomes reports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import anyio
import attrs
from cti_framework.calls import Call
from cti_framework.errors import CommandUnconfirmedError, NotConnectedError
from cti_framework.provider import ProviderContext
from cti_framework.recorder import FrameDirection
from cti_framework.reports import CallReport, CallSnapshot, Originated, Snapshot

from cti_esl.calls import UserCalls
from cti_esl.client import EslConnection
from cti_esl.legs import LegNews

__all__ = ["Begun", "Standing"]

_AGAIN_SECONDS: Final = 1.0
"""After how long the table of channels has what it lacked (facts: esl-control, show channels)."""
_APPLICATION_SECONDS: Final = 1.1
"""After how long a click to call that waits for nobody talks to an application; its dump says whether it does."""


@attrs.define(eq=False)
class Begun:
    """What became of an originate.

    Attributes:
        decided: Set when the call is there, or when it never will be.
        call: The call.
        text: What the job said; ``None``: nothing yet, or the connection broke.
    """

    decided: anyio.Event = attrs.field(factory=anyio.Event)
    call: Call | None = None
    text: str | None = None

    def answered(self, text: str | None) -> None:
        """Take what the job said.

        Args:
            text: It; ``None``: the connection broke.
        """
        self.text = text
        self.decided.set()


class Standing:
    """A user's place on the connection.

    Args:
        context: The user's context.
        connection: The connection.
        presence: The user: ``1000@example``.

    Attributes:
        connection: As given.
        presence: As given.
        calls: The user's calls.
    """

    def __init__(self, context: ProviderContext, connection: EslConnection, presence: str) -> None:
        self.connection = connection
        self.presence = presence
        self.calls = UserCalls(presence, connection.legs, self._time)
        self._context = context
        self._begun: dict[str, Begun] = {}
        # What is to be looked at, in the order in which it is due.
        self._looks, self._due = anyio.create_memory_object_stream[tuple[float, str | None]](math.inf)

    @contextmanager
    def taken(self, host: str, port: int) -> Iterator[None]:
        """Stand on the connection for the time of a ``with``.

        Args:
            host: Where it leads, for captures.
            port: And to which port.
        """
        with self._looks, self._due, self.connection.place(self.presence, self):
            # Behind the # stands whose capture it is: the connection is everybody's.
            self._context.frame(FrameDirection.OPEN, f"tcp://{host}:{port}#{self.presence}")
            try:
                yield
            finally:
                self._context.frame(FrameDirection.CLOSE, None)
                for begun in self._begun.values():
                    begun.decided.set()

    # --- what concerns the user

    def told(self, news: LegNews, raw: bytes) -> None:
        """Report what a piece of news means.

        Args:
            news: It.
            raw: As it was on the wire.
        """
        self._context.frame(FrameDirection.FROM_PBX, raw)
        if self._context.trace is not None:
            self._context.trace("from_pbx", news.name, f"{news.presence or news.leg} {news.call_state}".strip())
        if news.at_microseconds:
            self._context.clock.from_microseconds(news.at_microseconds, just_now=True)
        self._report(self.calls.feed(news))
        call = self.calls.get(news.leg)
        if news.name == "CHANNEL_ANSWER" and call is not None and call.is_clicked:
            self._look_at(news.leg, _APPLICATION_SECONDS)

    def found(self, leg: str) -> None:
        """Look at a leg that no event has told of.

        Args:
            leg: Which.
        """
        self._look_at(leg, 0.0)

    def _report(self, reports: list[CallReport]) -> None:
        for report in reports:
            self._context.report(report)
            begun = self._begun.get(report.call_id) if isinstance(report, Originated) else None
            if begun is not None:
                begun.call = self._context.call(report.call_id)
                begun.decided.set()

    @contextmanager
    def awaiting(self, leg: str) -> Iterator[Begun]:
        """Be told when an originated leg is there.

        Args:
            leg: Which.

        Yields:
            What becomes of it.
        """
        begun = self._begun[leg] = Begun()
        try:
            yield begun
        finally:
            del self._begun[leg]

    # --- looking

    async def look_at(self, leg: str) -> None:
        """Report a leg that no event has told of, if there is one.

        Args:
            leg: Which.

        Raises:
            CommandUnconfirmedError: The connection broke, or had broken before.
        """
        try:
            await self._check(leg)
        except NotConnectedError as error:
            # The look was not sent; what was asked before it was.
            raise CommandUnconfirmedError("The connection to FreeSWITCH was lost before it showed the call.") from error

    async def look_after(self) -> None:
        """Look, until cancelled, where events do not tell all: for legs that the table lacked, and for applications."""
        self._look_at(None, _AGAIN_SECONDS)
        try:
            async for due, leg in self._due:
                await anyio.sleep_until(due)
                if leg is None:
                    await self.connection.look_again()
                else:
                    await self._check(leg)
        except (CommandUnconfirmedError, NotConnectedError):
            # Whoever reads has found it, or does now, and says why.
            await anyio.sleep_forever()

    def _look_at(self, leg: str | None, delay_seconds: float) -> None:
        self._looks.send_nowait((anyio.current_time() + delay_seconds, leg))

    async def _check(self, leg: str) -> None:
        call = self.calls.get(leg)
        if call is not None and call.is_connected:
            return
        news, far = await self._dump(leg)
        if news is not None and self.calls.get(leg) is None:
            self._report(self.calls.missed(leg, news, far))
        else:
            self._report(self.calls.application_answered(leg, news))

    async def snapshot(self) -> Snapshot:
        """Tell the user's calls.

        Returns:
            All there are.

        Raises:
            CommandUnconfirmedError: The connection broke.
            NotConnectedError: It had broken before.
        """
        at = self._context.clock.now()
        # What was told before this is answered is known then.
        await self.connection.probe()
        seen: list[CallSnapshot] = []
        for leg in self.connection.legs.legs_of(self.presence):
            call = self.calls.look(leg, *await self._dump(leg))
            if call is not None:
                seen.append(call)
        # Events win: what ended while we looked is over.
        return Snapshot(at=at, calls=tuple(call for call in seen if self.calls.get(call.call_id) is not None))

    async def _dump(self, leg: str) -> tuple[LegNews | None, LegNews | None]:
        """Look at a leg, and at the one that it is joined with."""
        news = await self.connection.dump(leg)
        is_joined = news is not None and news.bridged_microseconds > 0 and bool(news.other_leg)
        return news, await self.connection.dump(news.other_leg) if news is not None and is_joined else None

    def _time(self, microseconds: int) -> datetime:
        if not microseconds:
            return self._context.clock.now()
        return self._context.clock.from_microseconds(microseconds)
