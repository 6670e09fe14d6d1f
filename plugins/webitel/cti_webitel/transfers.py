"""Consulting, transferring, alternating: what takes more than one command, and what must be waited for in between.

The engine confirms a hold by an event, not by its answer: ``+OK Success`` is said of a leg that it does not know, too (facts:
webitel-protocol 3.2). So a step that must come after another waits until the line shows the first. Which leg is at the far end is
asked of the switch each time: what frames said of it may be old (facts: webitel-protocol 7.11).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from cti_framework.calls import Call, CallFeature, Side
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    NotAllowedNowError,
)
from cti_framework.provider import ProviderContext
from cti_framework.reports import Trouble
from cti_webitel.engine.client import Webitel
from cti_webitel.engine.headers import OTHER_LEG
from cti_webitel.engine.snapshot import read_dump
from cti_webitel.translator import Translator
from cti_webitel.ways import Ways

__all__ = ["Transfers"]

_LOOK_AT_THE_CALLS: Final = "Look at the calls before trying again."
# Events and answers come by two ways: how much later the one may be than the other.
_ON_THE_WAY_SECONDS: Final = 0.3
# How much later the hold of who was given up may be shown. One that is later still may be the operator's own.
_HOLD_ON_THE_WAY_SECONDS: Final = 2.0


class Transfers:
    """The verbs about two calls at once, and about sending one on.

    Args:
        context: The session's.
        webitel: The engine's client.
        translator: Told what is going on, for the causes of ends.
        ways: Holds legs and takes them back, each by its own way.
        legs_of: Finds the own legs of a call, the one that was picked up first; raises where there is none.
        until: Waits until the line shows something; tells whether it did in time.
        start: Runs something in the connection's tasks, if there is a connection.
        confirm_seconds: How long the engine may take to show what it accepted.
    """

    def __init__(
        self,
        context: ProviderContext,
        webitel: Webitel,
        translator: Translator,
        *,
        ways: Ways,
        legs_of: Callable[[str, Call], tuple[str, ...]],
        until: Callable[[Callable[[], bool], float], Awaitable[bool]],
        start: Callable[..., None],
        confirm_seconds: float,
    ) -> None:
        self._context = context
        self._webitel = webitel
        self._translator = translator
        self._ways = ways
        self._legs_of = legs_of
        self._until = until
        self._start = start
        self._confirm_seconds = confirm_seconds
        self._taken_back: set[str] = set()

    async def hold_for(self, verb: str, call: Call) -> bool:
        """Hold a call and wait until the line shows it.

        Args:
            verb: On whose behalf, for errors.
            call: Which.

        Returns:
            Whether it was held now; if not, it was held before.

        Raises:
            CommandError: It could not be held, or it is not certain.
        """
        if self._is_held(call.id):
            return False
        await self._ways.hold(self._legs_of(verb, call)[0])
        await self._confirmed(verb, call.id, "hold", lambda: self._is_held(call.id) or not self._is_up(call.id))
        self._must_be_up(verb, call.id)
        return True

    async def unhold_for(self, verb: str, call: Call) -> None:
        """Take a call back and wait until the line shows it.

        Args:
            verb: On whose behalf, for errors.
            call: Which.

        Raises:
            CommandError: It could not be taken back, or it is not certain.
        """
        if not self._is_held(call.id):
            return
        await self._ways.unhold(self._legs_of(verb, call)[0])
        await self._confirmed(verb, call.id, "unhold", lambda: not self._is_held(call.id))

    async def complete(self, call: Call, consult_call: Call) -> None:
        """Join the two far ends.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: They were not joined, or it is not certain.
        """
        verb = "complete_transfer"
        own_leg, consult_own_leg = self._legs_of(verb, call)[0], self._legs_of(verb, consult_call)[0]
        far_leg = await self._far_leg(verb, call, own_leg)
        consult_far_leg = await self._far_leg(verb, consult_call, consult_own_leg)
        self._translator.transferring(call.id, consult_call.other.number)
        self._translator.transferring(consult_call.id, "")
        try:
            await self._webitel.confirm_transfer(
                own_leg=own_leg, far_leg=far_leg, consult_far_leg=consult_far_leg, consult_own_leg=consult_own_leg
            )
        except CommandRefusedError:
            self._translator.not_transferring(call.id)
            self._translator.not_transferring(consult_call.id)
            raise
        # Only now it is certain; the ends may take as long again.
        self._translator.transferring(call.id, consult_call.other.number)
        self._translator.transferring(consult_call.id, "")

    async def cancel(self, call: Call, consult_call: Call) -> None:
        """End the enquiry; when it is over, take the first call back.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: The enquiry was not ended or the first call not taken back, or it is not certain.
        """
        verb = "cancel_transfer"
        own_leg = self._legs_of(verb, call)[0]
        self._translator.dropping(consult_call.id)
        # It is waited for here: whoever asked is told if it fails.
        self._taken_back.add(call.id)
        asked_back = False
        try:
            await self._end_enquiry(verb, consult_call, own_leg)
            asked_back = True
            await self._second_step(verb, "The enquiry is over; the first call is still on hold.", self.unhold_for, call)
        finally:
            self._taken_back.discard(call.id)
            if not asked_back and not self._is_up(consult_call.id):
                # It ended all the same, before this was refused, given up or cancelled.
                self._start(self.take_back, call.id)

    async def _end_enquiry(self, verb: str, consult_call: Call, own_leg: str) -> None:
        legs = list(self._legs_of(verb, consult_call))
        for leg in legs:
            try:
                if leg is legs[0]:
                    await self._webitel.cancel_transfer(consult_own_leg=leg, own_leg=own_leg)
                else:
                    await self._webitel.hangup(leg)
            except CommandRefusedError:
                # Its far end, or the end of another phone's leg, may have been quicker: then its own end is on the way.
                if leg is legs[-1] and not await self._until(lambda: not self._is_up(consult_call.id), _ON_THE_WAY_SECONDS):
                    raise
            # Of several phones that ring, one may be told of only while another one is hung up.
            legs.extend(late for late in self._webitel.legs.get(consult_call.id, ()) if late not in legs)
        await self._confirmed(verb, consult_call.id, "end", lambda: not self._is_up(consult_call.id))

    async def blind(self, call: Call, number: str) -> None:
        """Send the far end of a call on.

        Args:
            call: Which.
            number: To whom, as it is dialled.

        Raises:
            CommandError: It was not sent on, or it is not certain.
        """
        far_leg = await self._far_leg("blind_transfer", call, self._legs_of("blind_transfer", call)[0])
        self._translator.transferring(call.id, number)
        try:
            await self._webitel.transfer(far_leg, number)
        except CommandRefusedError:
            self._translator.not_transferring(call.id)
            raise
        self._translator.transferring(call.id, number)

    async def alternate(self, call: Call, consult_call: Call) -> None:
        """Hold the one of two that is talked to, then take the other one back.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: One of the steps failed, or it is not certain.
        """
        talked_to, other = (consult_call, call) if self._is_held(call.id) else (call, consult_call)
        await self.hold_for("alternate", talked_to)
        if not self._is_up(other.id):
            await self._second_step("alternate", "The other call is over, and this one is on hold.", self.unhold_for, talked_to)
            raise CommandRefusedError("alternate: the other call is over; this one was taken back.", command="alternate")
        await self._second_step("alternate", "Both calls are on hold.", self.unhold_for, other)

    async def give_back(self, call_id: str) -> None:
        """Take a call back whose hold was sent and not waited for to the end: it may still be on its way.

        Args:
            call_id: The call.
        """
        if await self._until(lambda: self._is_held(call_id) or not self._is_up(call_id), _HOLD_ON_THE_WAY_SECONDS):
            await self.take_back(call_id)

    async def take_back(self, parent_id: str) -> None:
        """Take the first call back by itself, because its enquiry is over. What fails is told as trouble.

        Args:
            parent_id: The first call.
        """
        call = self._context.call(parent_id)
        if call is None or call.id in self._taken_back or not self._may_be_taken_back(call.id):
            return
        self._taken_back.add(call.id)
        try:
            # Another program may have completed the transfer: then this call, too, is about to end.
            if await self._until(lambda: not self._may_be_taken_back(call.id), _ON_THE_WAY_SECONDS):
                return
            await self._ways.unhold(self._legs_of("take_back", call)[0])
            await self._until(lambda: not self._is_held(call.id), self._confirm_seconds)
        except CommandError as error:
            # Somebody else may have been quicker.
            if not await self._until(lambda: not self._is_held(call.id), _ON_THE_WAY_SECONDS):
                self._context.report(Trouble(at=self._context.clock.now(), error=error, call_id=call.id))
        finally:
            self._taken_back.discard(call.id)

    async def _second_step(self, verb: str, done: str, act: Callable[[str, Call], Awaitable[None]], call: Call) -> None:
        """Do what must follow something that has acted already: its failure is not the verb's refusal."""
        try:
            await act(verb, call)
        except CommandError as error:
            raise CommandError(
                f"{error.message} {done}",
                stage=CommandStage.UNCONFIRMED,
                pbx_text=error.pbx_text,
                command=verb,
                remedy=_LOOK_AT_THE_CALLS,
            ) from error

    async def _far_leg(self, verb: str, call: Call, own_leg: str) -> str:
        dump = read_dump(await self._webitel.channel_dump(own_leg))
        far_leg: str | None = dump.headers.get("variable_signal_bond") or dump.headers.get(OTHER_LEG)
        if not far_leg:
            raise NotAllowedNowError(
                f"{verb} for call {call.id!r}", reason="the switch shows nobody at its far end", command=verb
            )
        return far_leg

    def _is_up(self, call_id: str) -> bool:
        return self._context.call(call_id) is not None

    def _must_be_up(self, verb: str, call_id: str) -> None:
        if not self._is_up(call_id):
            raise CommandRefusedError(f"{verb} for call {call_id!r}: the call is over.", command=verb)

    def _may_be_taken_back(self, call_id: str) -> bool:
        call = self._context.call(call_id)
        return call is not None and CallFeature.UNHOLD in call.features

    def _is_held(self, call_id: str) -> bool:
        call = self._context.call(call_id)
        return call is not None and Side.OWN in call.held_by

    async def _confirmed(self, verb: str, call_id: str, what: str, done: Callable[[], bool]) -> None:
        if await self._until(done, self._confirm_seconds):
            return
        if not self._webitel.connected:
            raise CommandUnconfirmedError(
                f"{verb} for call {call_id!r}: the connection broke before the {what} was shown.",
                command=verb,
                remedy=_LOOK_AT_THE_CALLS,
            )
        raise CommandUnconfirmedError(
            f"{verb} for call {call_id!r}: the engine accepted the {what} and showed none within {self._confirm_seconds:g} s.",
            command=verb,
            remedy=_LOOK_AT_THE_CALLS,
        )
