"""One link between a client and a PBX, without I/O: asked with each message, it says when and how often that comes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from cti_framework.switchboard.clock import Clock, Timer
from cti_framework.switchboard.faults.kinds import (
    DelayMessages,
    DropLink,
    DuplicateEvents,
    HalfOpen,
    LoseReplies,
    Message,
    ReorderEvents,
    SlowPeer,
    SwitchFault,
)
from cti_framework.switchboard.faults.script import MET_BY, ScriptedFault

__all__ = ["FaultLink"]

ToClient = TypeVar("ToClient")
ToPbx = TypeVar("ToPbx")
FaultT = TypeVar("FaultT", bound=SwitchFault)
T = TypeVar("T")


class _Lane(Generic[T]):
    """One way of a link: what waits comes out in order, each at its time."""

    __slots__ = ("_clock", "_deliver", "_timer", "_waiting")

    def __init__(self, clock: Clock, deliver: Callable[[T], None]) -> None:
        self._clock = clock
        self._deliver = deliver
        self._waiting: deque[tuple[float, T]] = deque()
        self._timer: Timer | None = None

    def put(self, message: T, seconds: float = 0.0, *, after_last: bool = False) -> None:
        """Let a message out in so many seconds from now, or from when the one before it comes out; never before that one."""
        now = self._clock.elapsed_seconds
        last = self._waiting[-1][0] if self._waiting else now
        due = last + seconds if after_last else max(now + seconds, last)
        if due <= now and not self._waiting:
            self._deliver(message)
            return
        self._waiting.append((due, message))
        self._set_timer()

    def clear(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hurry(self) -> None:
        """Let everything out now."""
        while self._waiting:
            _, message = self._waiting.popleft()
            self._deliver(message)
        self.clear()

    def _set_timer(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._clock.call_later(self._waiting[0][0] - self._clock.elapsed_seconds, self._let_out)

    def _let_out(self) -> None:
        self._timer = None
        _, message = self._waiting.popleft()
        self._deliver(message)
        self._set_timer()


class FaultLink(Generic[ToClient, ToPbx]):
    """One link. Both ends hand it their messages, it hands them on as its faults allow. ``SwitchFaults.open_link`` makes it.

    Args:
        number: 1 is the first.
        clock: The switch's.
        to_client: Given what the PBX says.
        to_pbx: Given the commands.
        cut: Cuts the connection, for both ends to see.
        concerns: Tells which call an event concerns; empty: none. Asked only where events change places.
        scripted: What its messages meet.
        on_hit: Told each message that meets a fault.
        on_swallowed: Told each further one that a link that is half open loses.
        on_applied: Told each fault that is ordered by hand.
        on_closed: Told that nothing passes any more.

    Attributes:
        number: As given.
        open: Whether anything passes: not after ``close()`` or a drop. A link that is half open is open.
    """

    def __init__(
        self,
        number: int,
        clock: Clock,
        *,
        to_client: Callable[[ToClient], None],
        to_pbx: Callable[[ToPbx], None],
        cut: Callable[[], None],
        concerns: Callable[[ToClient], str],
        scripted: tuple[ScriptedFault, ...],
        on_hit: Callable[[int, Message, int, SwitchFault], None],
        on_swallowed: Callable[[int, Message, int, SwitchFault], None],
        on_applied: Callable[[int, SwitchFault], None],
        on_closed: Callable[[FaultLink[ToClient, ToPbx]], object],
    ) -> None:
        self.number = number
        self.open = True
        self._clock = clock
        self._cut = cut
        self._concerns = concerns
        self._on_hit = on_hit
        self._on_swallowed = on_swallowed
        self._on_applied = on_applied
        self._on_closed = on_closed
        self._to_client: _Lane[ToClient] = _Lane(clock, to_client)
        self._to_pbx: _Lane[ToPbx] = _Lane(clock, to_pbx)
        self._out_of_order: tuple[ToClient, int, ReorderEvents, Timer] | None = None
        self._half_open: HalfOpen | None = None
        # Of each kind the one that holds, and how many messages it is still for. Counted by the kind of message, too: the order
        # between events and replies is nobody's.
        self._holding: dict[tuple[type[SwitchFault], Message], tuple[SwitchFault, int]] = {}
        self.renumber(number, scripted)

    def __repr__(self) -> str:
        state = "closed" if not self.open else "half open" if self._half_open is not None else "open"
        return f"<FaultLink {self.number}, {state}>"

    @property
    def is_half_open(self) -> bool:
        """Whether nothing passes any more, though nobody was told."""
        return self._half_open is not None

    def renumber(self, number: int, scripted: tuple[ScriptedFault, ...]) -> None:
        """Begin to count anew, for another script.

        Args:
            number: What it is called from now on.
            scripted: What its messages meet.
        """
        self.number = number
        self._passed = dict.fromkeys(Message, 0)
        self._ended_by: tuple[Message, int] | None = None
        self._scripted: dict[tuple[Message, int], list[SwitchFault]] = {}
        for one in scripted:
            self._scripted.setdefault((one.message, one.ordinal), []).append(one.fault)

    # What both ends hand in

    def event(self, message: ToClient) -> None:
        """Pass on what the PBX says on its own.

        Args:
            message: It.
        """
        ordinal = self._count(Message.EVENT)
        if self._is_lost(Message.EVENT, ordinal):
            return
        if not self._holding and self._out_of_order is None:
            self._to_client.put(message)
            return
        if self._out_of_order is not None:
            former = self._out_of_order
            if self._concerns(former[0]) != self._concerns(message):
                self._on_hit(self.number, Message.EVENT, former[1], former[2])
                self._release(message, ordinal)
                self._in_order()
                return
            self._in_order()
        reorder = self._take(ReorderEvents, Message.EVENT)
        if reorder is None:
            self._release(message, ordinal)
        else:
            timer = self._clock.call_later(reorder.seconds, self._in_order)
            self._out_of_order = message, ordinal, reorder, timer

    def reply(self, message: ToClient) -> None:
        """Pass on the answer to a command.

        Args:
            message: It.
        """
        ordinal = self._count(Message.REPLY)
        if self._is_lost(Message.REPLY, ordinal):
            return
        lost = self._take(LoseReplies, Message.REPLY)
        if lost is not None:
            self._on_hit(self.number, Message.REPLY, ordinal, lost)
            return
        self._in_order()
        self._to_client.put(message, self._delay_seconds(Message.REPLY, ordinal))

    def command(self, message: ToPbx) -> None:
        """Pass on a command.

        Args:
            message: It.
        """
        ordinal = self._count(Message.COMMAND)
        if self._is_lost(Message.COMMAND, ordinal):
            return
        slow = self._take(SlowPeer, Message.COMMAND)
        if slow is None:
            self._to_pbx.put(message)
        else:
            self._on_hit(self.number, Message.COMMAND, ordinal, slow)
            self._to_pbx.put(message, slow.seconds, after_last=True)

    def close(self) -> None:
        """The client or the PBX has closed the connection: what waits is lost, and nothing passes any more."""
        self.open = False
        self._clear()
        self._on_closed(self)

    # What goes wrong

    def apply(self, fault: SwitchFault) -> None:
        """Make a fault happen now, or to the next messages. Of each kind one holds: a new one takes the place of the former.

        Args:
            fault: Which.
        """
        self._on_applied(self.number, fault)
        self.begin(fault)

    def heal(self) -> None:
        """End the faults that are for messages, and let out what waits. A link that is half open stays so."""
        self._scripted.clear()
        self._holding.clear()
        self._in_order()
        self._to_pbx.hurry()
        self._to_client.hurry()

    def drop(self) -> None:
        """Cut the connection: what waits is lost, and both ends see it."""
        if self.open:
            self.close()
            self._cut()

    def begin(self, fault: SwitchFault, met_by: Message | None = None) -> None:
        """Make a fault happen without writing it down: it was, for all links or in the script.

        Args:
            fault: Which.
            met_by: The kind of message that the script counts; ``None``: it was ordered.
        """
        if isinstance(fault, DropLink):
            self.drop()
        elif isinstance(fault, HalfOpen):
            self._half_open = fault
            self._clear()
        else:
            kinds = MET_BY[type(fault)]
            for message in (met_by,) if met_by in kinds else kinds:
                self._holding[type(fault), message] = fault, getattr(fault, "messages", 1)

    def _count(self, message: Message) -> int:
        ordinal = self._passed[message] = self._passed[message] + 1
        for fault in self._scripted.pop((message, ordinal), ()):
            if isinstance(fault, DropLink):
                self._on_hit(self.number, message, ordinal, fault)
            elif isinstance(fault, HalfOpen):
                self._ended_by = message, ordinal
            self.begin(fault, message)
        return ordinal

    def _is_lost(self, message: Message, ordinal: int) -> bool:
        if self._half_open is not None and self.open:
            told = self._on_hit if self._ended_by == (message, ordinal) else self._on_swallowed
            told(self.number, message, ordinal, self._half_open)
        return self._half_open is not None or not self.open

    def _take(self, kind: type[FaultT], message: Message) -> FaultT | None:
        """Give the fault of a kind that the present message meets."""
        held = self._holding.pop((kind, message), None)
        if held is None:
            return None
        fault, left = held
        if left > 1:
            self._holding[kind, message] = fault, left - 1
        return cast("FaultT", fault)

    def _release(self, message: ToClient, ordinal: int) -> None:
        twice = self._take(DuplicateEvents, Message.EVENT)
        if twice is not None:
            self._on_hit(self.number, Message.EVENT, ordinal, twice)
        seconds = self._delay_seconds(Message.EVENT, ordinal)
        for _ in range(1 if twice is None else 2):
            # The first may have set off the end of the connection.
            if self.open:
                self._to_client.put(message, seconds)

    def _delay_seconds(self, message: Message, ordinal: int) -> float:
        delay = self._take(DelayMessages, message)
        if delay is None:
            return 0.0
        self._on_hit(self.number, message, ordinal, delay)
        return delay.seconds

    def _in_order(self) -> None:
        """Let out what waits for a neighbour."""
        if self._out_of_order is not None:
            message, ordinal, _, timer = self._out_of_order
            self._out_of_order = None
            timer.cancel()
            self._release(message, ordinal)

    def _clear(self) -> None:
        if self._out_of_order is not None:
            self._out_of_order[3].cancel()
            self._out_of_order = None
        self._to_client.clear()
        self._to_pbx.clear()
