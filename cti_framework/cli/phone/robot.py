"""The phone of a script: it answers or calls by itself, says what it is given, and ends."""

from __future__ import annotations

from typing import Final

import anyio

from cti_framework.calls import Call, CallFeature, CallState
from cti_framework.cli.console import Output
from cti_framework.cli.phone.hand import Act
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.running import Stopping
from cti_framework.cli.session import tell_events
from cti_framework.errors import CtiError, StepTimeoutError
from cti_framework.eventlog import Subscription
from cti_framework.events import CallEvent

__all__ = ["Robot"]

_SILENT_DBFS: Final = -90.0
_TAIL_SECONDS: Final = 0.4
"""What was said last is still on its way when there is no more to say."""


class Robot:
    """Takes one call from its beginning to its end.

    Args:
        output: Where events go.
        phone: The phone.
        events: The session's events, from the first.
        number: Whom to call; ``None``: the next call that comes is answered.
        talk_seconds: When to hang up after the call is connected; ``None``: when all is said that there is to say, or the
            other side hangs up.
        patience_seconds: How long to wait until a call is connected; ``None``: as long as it takes.
    """

    def __init__(
        self,
        output: Output,
        phone: Softphone,
        events: Subscription,
        *,
        number: str | None,
        talk_seconds: float | None = None,
        patience_seconds: float | None = None,
    ) -> None:
        self._output = output
        self._phone = phone
        self._events = events
        self._number = number
        self._talk_seconds = talk_seconds
        self._patience_seconds = patience_seconds
        # The latest of each call, also of those that are over: one can end before the verb that began it returns.
        self._calls: dict[str, Call] = {}

    async def run(self, stopping: Stopping) -> bool:
        """Take the call.

        Args:
            stopping: What a signal does: the call is hung up.

        Returns:
            Whether a call took place: it was connected.

        Raises:
            CtiError: No call could be made, answered or waited for.
        """
        stopping.is_own_affair = True
        took_place = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_events)
            tasks.start_soon(self._hang_up_on_request, stopping, tasks.cancel_scope)
            took_place = await self._take_call()
            tasks.cancel_scope.cancel()
        return took_place

    async def _take_call(self) -> bool:
        connected: Call | None = None
        with anyio.move_on_after(self._patience_seconds) as patience:
            connected = await (self._answered() if self._number is None else self._made(self._number))
        if patience.cancelled_caught:
            await self._phone.hang_up()
            raise StepTimeoutError(
                f"No call was connected within {self._patience_seconds:g} s.", step="phone", remedy="Give --within more time."
            )
        if connected is None:
            return False
        await self._talk(connected)
        return True

    async def _made(self, number: str) -> Call | None:
        """Call somebody; give the call once it is connected, or ``None`` where it ended before."""
        made = await self._phone.act(Act("make_call", None, (number,)))
        if isinstance(made, CtiError):
            raise made
        assert made is not None
        return await self._until_connected(made)

    async def _answered(self) -> Call | None:
        """Answer the first call that comes and stays."""
        while True:
            ringing = next((call for call in self._phone.model.calls if CallFeature.ANSWER in call.features), None)
            if ringing is None:
                await self._phone.wait_changed()
                continue
            error = await self._phone.act(Act("answer_call", ringing.id))
            if isinstance(error, CtiError) and self._phone.model.call(ringing.id) is not None:
                # It rings on, and cannot be answered here: trying again would end the same way.
                raise error
            connected = await self._until_connected(ringing)
            if connected is not None:
                return connected

    async def _until_connected(self, call: Call) -> Call | None:
        while True:
            latest = self._latest(call)
            if latest.connected_at is not None:
                return latest
            if latest.state is CallState.NONE:
                return None
            await self._phone.wait_changed()

    async def _talk(self, call: Call) -> None:
        sounds: list[str] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hang_up_in_time, call, sounds, tasks.cancel_scope)
            while self._latest(call).state is not CallState.NONE:
                await self._phone.wait_changed()
            tasks.cancel_scope.cancel()
        for media_id in sounds:
            self._tell_heard(media_id)

    async def _hang_up_in_time(self, call: Call, sounds: list[str], scope: anyio.CancelScope) -> None:
        with anyio.move_on_after(self._talk_seconds):
            while (sound := self._phone.state.sound_of(self._latest(call))) is None:
                await self._phone.wait_changed()
            sounds.append(sound.media_id)
            if self._talk_seconds is not None:
                await anyio.sleep_forever()
            await self._phone.sound.wait_said(sound.media_id)
            await anyio.sleep(_TAIL_SECONDS)
        error = await self._phone.hang_up()
        if self._phone.model.call(call.id) is not None:
            why = "the PBX does not say that it is over." if error is None else self._output.redact(error.message)
            self._output.note(f"The call could not be hung up: {why}")
            scope.cancel()

    def _tell_heard(self, media_id: str) -> None:
        if self._output.as_json:
            return
        sound = self._phone.sound
        seconds, loudest_dbfs = sound.heard_seconds(media_id), sound.loudest_dbfs(media_id)
        loud = f", {loudest_dbfs:.0f} dB at the loudest" if loudest_dbfs > _SILENT_DBFS else ", all of it silent"
        self._output.note(f"Heard {seconds:.1f} s{loud if seconds else ''}.")

    def _latest(self, call: Call) -> Call:
        return next((self._calls[call_id] for call_id in (call.id, *call.former_ids) if call_id in self._calls), call)

    async def _read_events(self) -> None:
        async for event in tell_events(self._output, self._events):
            if isinstance(event, CallEvent):
                self._calls.update(dict.fromkeys((event.call.id, *event.call.former_ids), event.call))
            self._phone.take(event)

    async def _hang_up_on_request(self, stopping: Stopping, scope: anyio.CancelScope) -> None:
        await stopping.requested.wait()
        if self._phone.own_calls:
            self._output.note("Hanging up; once more Ctrl-C leaves at once.")
        await self._phone.hang_up()
        scope.cancel()
