"""Looking at the switch: what there is, beside what is told of it (facts: esl-control, show channels).

A look asks for the own legs and for the exact description of each. What it finds is told as a snapshot: the core's, which is
the whole truth at the time of a log in, or one of the provider's own, which is incomplete and ends nothing by silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

import anyio

from cti_framework.agents import Agent
from cti_framework.calls import CallDirection, CallFeature, CallState, Party, Side
from cti_framework.clock import SessionClock
from cti_framework.errors import CommandError, CommandUnconfirmedError
from cti_framework.provider import ProviderContext
from cti_framework.reports import CallSnapshot, Snapshot
from cti_webitel.agents import agent_of
from cti_webitel.asked import AskedCalls
from cti_webitel.engine.callbacks import CallCallback, OnNewCall
from cti_webitel.engine.client import Webitel
from cti_webitel.engine.snapshot import SeenLeg
from cti_webitel.translator import Translator, attributes_of, direction_of, is_dialled, parties_of

__all__ = ["LISTENING_FEATURES", "FoundCalls", "Looks"]

LISTENING_FEATURES: Final = CallFeature.DROP | CallFeature.DTMF
"""What can be done with a call that only listens in: there is nobody to hold, and nobody to send on."""

_LOOK_AGAIN_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0


class FoundCalls:
    """What a look found, in the core's words.

    Args:
        clock: The session's.
        translator: Learns what is found.
    """

    def __init__(self, clock: SessionClock, translator: Translator) -> None:
        self._clock = clock
        self._translator = translator

    def agree_with(self, seen: Iterable[SeenLeg], *, known: Collection[str]) -> None:
        """Have clock and translator learn from it.

        Args:
            seen: One leg for each call that was found.
            known: All calls that are open for the protocol.
        """
        found = tuple(seen)
        for leg in found:
            if leg.dump.dumped_microseconds is not None:
                self._clock.from_microseconds(leg.dump.dumped_microseconds, just_now=True)
        self._translator.take_over(((leg.call, leg.dump.bridged) for leg in found), known=known)

    def call(self, leg: SeenLeg) -> CallSnapshot:
        """Describe a call.

        Args:
            leg: The leg that says what it does.

        Returns:
            The call.
        """
        call, dump = leg.call, leg.dump
        own, other = parties_of(call)
        held_by = _holders(leg)
        listens = self._translator.is_listening(call.uuid)
        talks = dump.bridged or (dump.answered and (listens or is_dialled(call)))
        state = CallState.CONNECTED if talks else CallState.ALERTING
        return CallSnapshot(
            call_id=call.uuid,
            direction=direction_of(call),
            state=CallState.HELD if held_by else state,
            held_by=held_by,
            own=own,
            other=other,
            parent_id=call.attended_transfer_call_uuid,
            started_at=self._time(call.created_microseconds),
            answered_at=self._time(call.answered_microseconds),
            connected_at=self._time(dump.bridged_microseconds) if dump.bridged else None,
            attributes=attributes_of(call),
            allowed=LISTENING_FEATURES if listens else None,
        )

    @staticmethod
    def gone(call_id: str) -> CallSnapshot:
        """Describe a call that the switch does not have any more.

        Args:
            call_id: Which.

        Returns:
            It, without a state.
        """
        unknown, nobody = CallDirection.UNKNOWN, Party()
        return CallSnapshot(call_id=call_id, direction=unknown, state=CallState.NONE, own=nobody, other=nobody)

    def _time(self, microseconds: int | None) -> datetime | None:
        return None if microseconds is None else self._clock.from_microseconds(microseconds)


class Looks:
    """The looks that one session takes at the switch.

    Args:
        context: The session's.
        webitel: The engine's client.
        translator: Learns what is found.
        asked: The calls that are waited for: one that a look finds is told of by no frame any more.
        describe: Adds to each call that is found what somebody else knows of it.
        keeps: Tells whether a call goes on although the switch does not have it.
    """

    def __init__(
        self,
        context: ProviderContext,
        webitel: Webitel,
        translator: Translator,
        asked: AskedCalls,
        *,
        describe: Callable[[CallSnapshot], CallSnapshot] | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> None:
        self._context = context
        self._webitel = webitel
        self._found = FoundCalls(context.clock, translator)
        self._asked = asked
        self._describe = describe
        self._keeps = keeps

    async def snapshot(self) -> Snapshot:
        """Take the core's snapshot.

        Returns:
            The calls of the own account, and its state.

        Raises:
            CommandError: The engine did not answer, or refused.
        """
        seen, begun = await self._webitel.look()
        self._agree_with(seen)
        # A call asked for meanwhile is known by its dump now, so no frame will tell that it begins; who asked waits for that.
        self._tell_begun([leg for leg in seen if self._asked.is_waited_for(leg.call)], begun)
        calls = tuple(map(self._call, seen))
        return Snapshot(at=self._context.clock.now(), calls=calls, agent=self._agent())

    async def again(self, *, after_seconds: float | None = None) -> None:
        """Find what the last look could not see.

        A leg made just before may be in no list yet, and the engine tells nothing of it while it rings. One that is gone may have
        ended before anybody listened.

        Args:
            after_seconds: How long to wait before it; ``None``: as long as the list of legs may lag.
        """
        pause_seconds = _LOOK_AGAIN_SECONDS if after_seconds is None else after_seconds
        while True:
            try:
                await anyio.sleep(pause_seconds)
                await self._look_again()
                return
            except CommandError as error:
                self._context.log.warning("webitel.look_again.failed", reason=str(error))
                if not isinstance(error, CommandUnconfirmedError):
                    return
            # Without it a call would be hidden for as long as it rings: an answer that is lost is asked for again.
            pause_seconds = min(max(2 * pause_seconds, _LOOK_AGAIN_SECONDS), _LONGEST_PAUSE_SECONDS)

    async def _look_again(self) -> None:
        seen, begun = await self._webitel.look(forget_gone=False)
        self._agree_with(seen)
        self._tell_begun([leg for leg in seen if self._is_behind(leg)], begun)
        if self._webitel.call_ids <= {leg.call.uuid for leg in seen}:
            return
        # An end that is on its way is told by then.
        await anyio.sleep(_LOOK_AGAIN_SECONDS)
        known = self._webitel.call_ids
        seen, begun = await self._webitel.look()
        self._agree_with(seen)
        self._tell_begun([leg for leg in seen if self._is_behind(leg)], begun)
        self._tell_gone(known - self._webitel.call_ids)

    def _agent(self) -> Agent | None:
        own_user = self._webitel.own_user
        return None if own_user is None else agent_of(own_user, in_call=bool(self._webitel.call_ids))

    def _agree_with(self, seen: Iterable[SeenLeg]) -> None:
        self._found.agree_with(seen, known=self._webitel.call_ids)

    def _tell_begun(self, legs: Sequence[SeenLeg], begun: Iterable[CallCallback]) -> None:
        """Show calls that no frame will tell of, with all that is known about them."""
        if legs:
            seen = tuple(map(self._call, legs))
            self._context.report(Snapshot(at=self._context.clock.now(), calls=seen, agent=self._agent(), complete=False))
        for callback in begun:
            if isinstance(callback, OnNewCall):
                self._asked.match(callback.call)

    def _call(self, leg: SeenLeg) -> CallSnapshot:
        found = self._found.call(leg)
        return found if self._describe is None else self._describe(found)

    def _tell_gone(self, call_ids: Iterable[str]) -> None:
        if self._keeps is not None:
            call_ids = [call_id for call_id in call_ids if not self._keeps(call_id)]
        gone = tuple(FoundCalls.gone(call_id) for call_id in call_ids if self._context.call(call_id) is not None)
        if gone:
            self._context.report(Snapshot(at=self._context.clock.now(), calls=gone, agent=self._agent(), complete=False))

    def _is_behind(self, leg: SeenLeg) -> bool:
        """Whether the line does not know what a dump said: the frames that tell the same later are none of news any more."""
        known = self._context.call(leg.call.uuid)
        return (
            known is None
            or (known.answered_at is None and leg.call.answered_microseconds is not None)
            or (known.connected_at is None and leg.dump.bridged)
            or known.held_by != _holders(leg)
        )


def _holders(leg: SeenLeg) -> frozenset[Side]:
    sides = ((Side.OWN, leg.held_by_own), (Side.OTHER, leg.held_by_other))
    return frozenset(side for side, holds in sides if holds)
