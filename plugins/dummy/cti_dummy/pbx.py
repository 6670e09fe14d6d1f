"""The PBX that the dummy provider connects to: a ``Switchboard``, and lines to it on which everything can go wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio
import attrs

from cti_framework.errors import CommandUnconfirmedError, CtiError
from cti_framework.switchboard import Switchboard, SwitchEvent, SwitchEventName, SwitchOptions
from cti_framework.switchboard.faults import FaultLink, SwitchFaults

__all__ = ["DOMAIN", "DummyLine", "DummyPbx"]

T = TypeVar("T")

DOMAIN: Final = "demo.local"
_TONES_REMEMBERED: Final = 16


class DummyPbx:
    """A PBX in memory with three users, 100 to 102, and an outside world that answers when it is called.

    Args:
        switchboard: The switch; ``None``: a new one.
        start: What the clock of a new one shows first; ``None``: the same in every run.

    Attributes:
        switchboard: As given, or the new one. Its time stands still unless somebody turns it or drives it.
        faults: What goes wrong on the lines.
    """

    def __init__(self, switchboard: Switchboard | None = None, *, start: datetime | None = None) -> None:
        if switchboard is None:
            options = SwitchOptions(far_answer_seconds=0.15)
            switchboard = Switchboard(options=options) if start is None else Switchboard(start=start, options=options)
            for number in ("100", "101", "102"):
                switchboard.add_account(number, DOMAIN, name=f"User {number}")
        self.switchboard = switchboard
        self.faults = SwitchFaults(switchboard.clock)
        self._lines: set[DummyLine] = set()
        self._former: dict[str, tuple[str, ...]] = {}
        switchboard.subscribe(self._learn)

    def plug_in(self, on_event: Callable[[SwitchEvent], None]) -> DummyLine:
        """Lay a line to the PBX.

        Args:
            on_event: Called with what the switch says, as it comes over the line.

        Returns:
            The line.
        """
        line = DummyLine(self, on_event)
        self._lines.add(line)
        return line

    def former_ids(self, leg_uuid: str) -> tuple[str, ...]:
        """Tell what a leg was called before.

        Args:
            leg_uuid: What it is called now.

        Returns:
            Its former identifiers, oldest first.
        """
        return self._former.get(leg_uuid, ())

    def _learn(self, event: SwitchEvent) -> None:
        leg = event.leg
        if leg is not None and event.name is SwitchEventName.CHANNEL_UUID and event.former_uuid is not None:
            self._former[leg.uuid] = (*self._former.pop(event.former_uuid, ()), event.former_uuid)
        elif leg is not None and event.name is SwitchEventName.CHANNEL_DESTROY:
            self._former.pop(leg.uuid, None)

    def unplug(self, line: DummyLine) -> None:
        """Take a line away.

        Args:
            line: As ``plug_in`` gave it.
        """
        self._lines.discard(line)
        line.close()

    def cut(self) -> None:
        """Cut all lines, without a goodbye."""
        for line in tuple(self._lines):
            line.cut()


@attrs.frozen
class _Told:
    """What the switch said: as on real lines numbered, so that what comes twice can be told from what happened twice."""

    number: int
    event: SwitchEvent


@attrs.define(eq=False)
class _Question:
    """A command, and what became of it."""

    act: Callable[[], Any]
    over: anyio.Event = attrs.field(factory=anyio.Event)
    value: Any = None
    error: Exception | None = None


@attrs.frozen
class _Answer:
    """What the PBX answers to a command."""

    question: _Question
    value: Any = None
    error: Exception | None = None


class DummyLine:
    """One line to the PBX. What the switch says comes over it, and what is asked is answered over it, unless it fails.

    Args:
        pbx: Where to.
        on_event: Called with what the switch says.
    """

    def __init__(self, pbx: DummyPbx, on_event: Callable[[SwitchEvent], None]) -> None:
        self._on_event = on_event
        self._was_cut = anyio.Event()
        self._questions: set[_Question] = set()
        self._told = 0
        self._tones: deque[int] = deque(maxlen=_TONES_REMEMBERED)
        self._link: FaultLink[_Told | _Answer, _Question] = pbx.faults.open_link(
            to_client=self._come, to_pbx=self._carry_out, cut=self._was_cut.set, concerns=_call_of
        )
        self._unsubscribe = pbx.switchboard.subscribe(self._tell)

    async def wait_cut(self) -> None:
        """Wait until the line is cut."""
        await self._was_cut.wait()

    async def ask(self, act: Callable[[], T]) -> T:
        """Have the PBX do something, and wait for its answer.

        Args:
            act: What; it may refuse by an error.

        Returns:
            What it returned.

        Raises:
            CtiError: What it raised.
            CommandUnconfirmedError: The line was taken away before an answer came.
        """
        question = _Question(act)
        self._questions.add(question)
        try:
            self._link.command(question)
            if not question.over.is_set():
                await question.over.wait()
        finally:
            self._questions.discard(question)
        if question.error is not None:
            raise question.error
        answer: T = question.value
        return answer

    def cut(self) -> None:
        """Cut the line, without a goodbye."""
        self._link.drop()

    def close(self) -> None:
        """Hear nothing more. Whoever waits for an answer is told that there will be none."""
        self._unsubscribe()
        self._link.close()
        for question in self._questions:
            question.error = CommandUnconfirmedError("The line to the PBX in memory was lost before it answered.")
            question.over.set()

    def _tell(self, event: SwitchEvent) -> None:
        self._told += 1
        self._link.event(_Told(self._told, event))

    def _carry_out(self, question: _Question) -> None:
        try:
            answer = _Answer(question, question.act())
        except CtiError as error:
            answer = _Answer(question, error=error)
        self._link.reply(answer)

    def _come(self, message: _Told | _Answer) -> None:
        if isinstance(message, _Answer):
            message.question.value, message.question.error = message.value, message.error
            message.question.over.set()
        elif not self._is_repeated_tone(message):
            self._on_event(message.event)

    def _is_repeated_tone(self, told: _Told) -> bool:
        # What changes a state is refused where it says nothing new; a tone that comes twice would be two.
        if told.event.name is not SwitchEventName.DTMF:
            return False
        if told.number in self._tones:
            return True
        self._tones.append(told.number)
        return False


def _call_of(message: _Told | _Answer) -> str:
    if not isinstance(message, _Told):
        return ""
    leg = message.event.leg
    # For whoever keeps the order call by call, what a call is called from now on is another one.
    return message.event.former_uuid or ("" if leg is None else leg.call_uuid)
