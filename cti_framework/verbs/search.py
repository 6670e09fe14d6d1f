"""Looking for the call that a command began, where nobody confirmed it.

A command that begins a call and gets no answer is not sent again: the call would be made twice. But calls are told of by events,
too, and the PBX can be asked for those there are. So what began since is compared with what was asked for: begun by us, after
the command, to that number. One call like that is the one; of two it cannot be told which, and both are named. What began long
after the command is none of its doing: the operator may have dialled that number on his telephone.

A PBX may write a number otherwise than it was dialled: with the country's prefix, without the digit for an outside line. What is
compared are the digits, from the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
import attrs

from cti_framework.calls import Call, CallDirection
from cti_framework.cancellation import fault_of
from cti_framework.errors import CtiError, traceback_text
from cti_framework.eventlog import EventLog
from cti_framework.events import (
    CallFinished,
    CallStarted,
    Cursor,
    Event,
    ProviderState,
    ResyncRequired,
    SnapshotTaken,
)
from cti_framework.line import Line
from cti_framework.provider import BaseCtiProvider
from cti_framework.questions import Questions
from cti_framework.reports import Snapshot

__all__ = ["CallSearch", "is_same_number"]

_CLOCK_ERROR: Final = timedelta(seconds=2)
"""How much earlier than the command its call may seem to have begun: the PBX's clock is known only about."""
_SHORTEST_REWRITTEN: Final = 4
"""Shorter numbers are internal: they are written as they are dialled."""
_LAG_SECONDS: Final = 1.5
"""How long a PBX's list of calls may lag behind what it did (facts: esl-control, show channels): it is looked at twice."""
_NEVER_AGAIN: Final = (ProviderState.CLOSED, ProviderState.FAILED)


class CallSearch:
    """The search for one command's call. It is made before the command is sent, so that it misses nothing.

    Args:
        provider: Asked for the calls there are.
        line: The session's line.
        events: Its log.
        publish: Where the events of a snapshot go.
        asked_at: When the host asked.
        number: Whom it calls; ``None``: that is not known.
        parent_id: The call on whose behalf; ``None``: none.
        is_anothers: Tells of a call whether another command began it, or may have.
        questions: Wait for the provider.
        log: Where to log.

    Attributes:
        has_looked: Whether the PBX told all its calls since.
        has_seen_later: Whether there is one that began too late to be it, as far as is known.
    """

    def __init__(
        self,
        provider: BaseCtiProvider,
        line: Line,
        events: EventLog,
        publish: Callable[[list[Event]], None],
        *,
        asked_at: datetime,
        number: str | None,
        parent_id: str | None,
        is_anothers: Callable[[Call], bool],
        questions: Questions,
        log: Any,
    ) -> None:
        self._is_anothers = is_anothers
        self.has_looked = False
        self.has_seen_later = False
        self._questions = questions
        self._provider = provider
        self._line = line
        self._events = events
        self._publish = publish
        self._asked_at = self._begun_by = asked_at
        self._number = number
        self._parent_id = parent_id
        self._log = log
        self._place = Cursor(line.epoch, line.seq)
        self._known = frozenset(call.id for call in line.calls)
        self._begun: dict[str, Call] = {}

    async def find(self, seconds: float, *, begun_by: datetime) -> list[Call]:
        """Look for the call until it is found, or until it is certain that there is none.

        Args:
            seconds: How long to look.
            begun_by: When it has begun at the latest.

        Returns:
            Each call that it can be, as it is now.
        """
        self._begun_by, self.has_seen_later = begun_by, False
        reader = self._events.read(self._place)
        while (event := reader.next_nowait()) is not None:
            self._take(event)
        if not self._fitting() and self._line.provider_state not in _NEVER_AGAIN:
            with anyio.move_on_after(seconds):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._look_until_certain)
                    while not (self._fitting() or self.has_looked or self._line.provider_state in _NEVER_AGAIN):
                        told = await anext(reader, None)
                        if told is None:
                            # The session is closed: nothing is told any more.
                            break
                        # What came together is taken together: of two calls neither is the first.
                        while told is not None:
                            self._take(told)
                            told = reader.next_nowait()
                    tasks.cancel_scope.cancel()
        return self._fitting()

    def _take(self, event: Event) -> None:
        if isinstance(event, CallStarted):
            self._begun[event.call.id] = event.call
        elif isinstance(event, CallFinished):
            ids = (event.call.id, *event.call.former_ids)
            self._begun.update({call_id: event.call for call_id in ids if call_id in self._begun})
        elif isinstance(event, ResyncRequired):
            new = [call for call in event.calls if self._known.isdisjoint((call.id, *call.former_ids))]
            self._begun.update({call.id: call for call in new})

    def _fitting(self) -> list[Call]:
        now = [self._line.find(call_id) or call for call_id, call in self._begun.items()]
        fitting = {call.id: call for call in now if self._fits(call)}.values()
        in_time = [call for call in fitting if call.started_at <= self._begun_by + _CLOCK_ERROR]
        self.has_seen_later = len(in_time) < len(fitting)
        return in_time

    def _fits(self, call: Call) -> bool:
        return (
            call.direction is not CallDirection.IN
            and call.started_at >= self._asked_at - _CLOCK_ERROR
            and (call.parent_id is None or self._is_parent(call.parent_id))
            and (self._number is None or is_same_number(self._number, call.other.number))
            and not self._is_anothers(call)
        )

    def _is_parent(self, call_id: str) -> bool:
        if self._parent_id is None or call_id == self._parent_id:
            return call_id == self._parent_id
        # It may have another identifier by now.
        found, parent = self._line.find(call_id), self._line.find(self._parent_id)
        return found is not None and parent is not None and found.id == parent.id

    async def _look_until_certain(self) -> None:
        sure = False
        while not self.has_looked:
            # What is found is told by the events of the look, and ends this.
            sure = self._line.provider_state is ProviderState.IN_SERVICE and await self._look(last=sure)
            await anyio.sleep(_LAG_SECONDS)

    async def _look(self, *, last: bool) -> bool:
        line = self._line
        asked_at_seq, connection = line.seq, line.provider_state_event
        try:
            snapshot = await self._questions.ask("snapshot", self._provider.snapshot)
        except CtiError as error:
            self._log.info("cti.command.not_looked_up", reason=str(error))
        except BaseException as error:
            # Whatever a plugin raises is named with the plugin, and ends no verb.
            fault = fault_of(error)
            if fault is None:
                raise
            self._log.error("cti.provider.raised", verb="snapshot", stack=traceback_text(fault))
        else:
            if line.provider_state_event is connection:
                return self._learn_of(snapshot, asked_at_seq, last=last)
        return False

    def _learn_of(self, snapshot: Snapshot, asked_at_seq: int, *, last: bool) -> bool:
        line, told = self._line, snapshot.complete is True if type(snapshot) is Snapshot else False
        refused = line.refusals.total()
        if told:
            # A list that lags lacks calls that are up: what is looked for here must not end any.
            snapshot = attrs.evolve(snapshot, complete=False)
        events = line.apply_snapshot(snapshot, asked_at_seq=asked_at_seq)
        taken = any(isinstance(event, SnapshotTaken) for event in events)
        # A call that cannot be read may be the one.
        complete = told and taken and line.refusals.total() == refused and None not in snapshot.calls
        self.has_looked = last and complete
        self._publish(events)
        return complete


def is_same_number(dialled: str, shown: str) -> bool:
    """Tell whether two spellings can be of one number.

    Args:
        dialled: As it was dialled.
        shown: As the PBX shows it.

    Returns:
        Whether.
    """
    one, other = _plain(dialled), _plain(shown)
    if one == other:
        return bool(one)
    shorter, longer = sorted((one.lstrip("0"), other.lstrip("0")), key=len)
    return shorter.isdecimal() and len(shorter) >= _SHORTEST_REWRITTEN and longer.endswith(shorter)


def _plain(number: str) -> str:
    name = number.strip().casefold().removeprefix("sip:").partition("@")[0]
    # What is spelt with letters is a name, and no number with separators in it.
    return name if re.search(r"[^\W\d_]", name) else re.sub(r"[^\d*#]", "", name)
