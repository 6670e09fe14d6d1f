"""Calls that the host asked for and that the engine has not shown yet.

The engine answers such a command only when the operator's own phone was picked up, but shows the call long before, and gives no
identifier of ours back with it: only the number that was asked for, and the call on whose behalf (facts: webitel-protocol 3.2,
5.1). So the answer is waited for in a task of the connection, and who asked is given the call when it appears.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from cti_framework.calls import Call
from cti_framework.errors import CommandError, CommandRefusedError, CommandStage, CommandUnconfirmedError
from cti_framework.provider import ProviderContext
from cti_framework.reports import Trouble
from cti_webitel.engine.callbacks import WebitelCall
from cti_webitel.engine.client import Webitel
from cti_webitel.engine.headers import ORIGINATE_NUMBER

__all__ = ["AskedCall", "AskedCalls"]

_SHOWN_WITHIN_SECONDS: Final = 5.0


class AskedCall:
    """A call that was asked for.

    Args:
        number: What was asked for.
        parent_id: The call on whose behalf; ``None``: none.
        verb: What the host asked.
        on_shown: Told the call's identifier when the line shows it.
        undo: Done when the engine refuses it, before whoever asked is told.
        leg: Its own leg, where the web phone makes it and so has named it; ``None``: the engine makes it.

    Attributes:
        number: As given.
        parent_id: As given.
        verb: As given.
        undo: As given.
        leg: As given.
        call: The call, once it is shown.
        is_given_up: Nobody waits for it any more.
    """

    __slots__ = ("_decided", "_failure", "_on_shown", "call", "is_given_up", "leg", "number", "parent_id", "undo", "verb")

    def __init__(
        self,
        number: str,
        parent_id: str | None = None,
        verb: str = "make_call",
        *,
        on_shown: Callable[[str], None] | None = None,
        undo: Callable[[], Awaitable[None]] | None = None,
        leg: str | None = None,
    ) -> None:
        self.leg = leg
        self.number = number
        self.parent_id = parent_id
        self.verb = verb
        self.undo = undo
        self.is_given_up = False
        self._on_shown = on_shown
        self.call: Call | None = None
        self._failure: CommandError | None = None
        self._decided = anyio.Event()

    def shown(self, call: Call) -> None:
        """Say that the engine shows it.

        Args:
            call: The call.
        """
        self.call = call
        if self._on_shown is not None:
            self._on_shown(call.id)
        self._decided.set()

    def failed(self, failure: CommandError) -> None:
        """Say that it will not be shown. After it was, that says nothing any more.

        Args:
            failure: Why.
        """
        if not self._decided.is_set():
            self._failure = failure
            self._decided.set()

    async def decided(self) -> None:
        """Wait until it is shown or failed."""
        await self._decided.wait()

    async def wait(self) -> Call:
        """Wait for the call.

        Returns:
            It.

        Raises:
            CommandError: It will not be shown.
        """
        await self._decided.wait()
        if self.call is not None:
            return self.call
        assert self._failure is not None
        raise self._failure

    def is_meant(self, call: WebitelCall) -> bool:
        """Tell whether a call that appeared can be this one.

        Args:
            call: As the engine shows it.

        Returns:
            Whether.
        """
        if self.leg is not None:
            return call.channel_uuid == self.leg
        return call.headers.get(ORIGINATE_NUMBER) == self.number and call.attended_transfer_call_uuid == self.parent_id


class AskedCalls:
    """The calls that are waited for, the longest waiting first.

    Args:
        context: The session's.
        webitel: The engine's client.
        on_shown: Told the identifier of each call that the engine made and shows, for whoever picks it up.
    """

    __slots__ = ("_asked", "_context", "_on_shown", "_webitel")

    def __init__(self, context: ProviderContext, webitel: Webitel, *, on_shown: Callable[[str], None] | None = None) -> None:
        self._context = context
        self._webitel = webitel
        self._on_shown = on_shown
        self._asked: list[AskedCall] = []

    def __bool__(self) -> bool:
        return bool(self._asked)

    async def ask(self, tasks: TaskGroup, asked: AskedCall, act: Callable[[], Awaitable[object]]) -> Call:
        """Ask for a call and wait until the engine shows it.

        Args:
            tasks: The connection's: the answer is waited for there, also when whoever asked is cancelled.
            asked: Which call.
            act: Sends the command and waits for its answer.

        Returns:
            The call.

        Raises:
            CommandError: It was refused, or is not shown.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        # From here on it is sent, whatever becomes of who asked.
        self._context.command_sent()
        # It stays there when nobody waits for it any more: the call that comes is not the next one's.
        self._asked.append(asked)
        tasks.start_soon(self._await_answer, asked, act)
        try:
            return await asked.wait()
        except anyio.get_cancelled_exc_class():
            asked.is_given_up = True
            raise

    async def _await_answer(self, asked: AskedCall, act: Callable[[], Awaitable[object]]) -> None:
        try:
            await act()
        except CommandRefusedError as error:
            # If the call was shown, its end is told by the engine's events.
            if asked.leg is not None:
                asked.failed(error)
                if asked.is_given_up and asked.call is None:
                    self._context.report(Trouble(at=self._context.clock.now(), error=error))
                self._forget(asked)
                return
            cause = (error.pbx_text or "").removeprefix("-ERR").strip()
            refusal = CommandRefusedError(
                f"The engine refused the call to {asked.number}: {cause or 'no reason given'}.",
                pbx_text=cause,
                command=asked.verb,
                remedy="The operator's own phone rings first: check that it is registered and free.",
            )
            if asked.undo is not None and asked.call is None:
                await asked.undo()
            asked.failed(refusal)
            if asked.is_given_up and asked.call is None:
                self._context.report(Trouble(at=self._context.clock.now(), error=refusal))
        except CommandError as error:
            if asked.call is None:
                asked.failed(error)
            elif self._webitel.connected:
                self._context.report(Trouble(at=self._context.clock.now(), error=error, call_id=asked.call.id))
        else:
            # The events come by another way than the answer and may still be on theirs (facts: webitel-protocol 2).
            with anyio.move_on_after(_SHOWN_WITHIN_SECONDS):
                await asked.decided()
            asked.failed(
                CommandError(
                    f"The engine placed the call to {asked.number} and tells nothing about it.",
                    stage=CommandStage.ACCEPTED,
                    command=asked.verb,
                    remedy="Another program of this account has logged out, which silences all of them; connect again.",
                )
            )
        self._forget(asked)

    def _forget(self, asked: AskedCall) -> None:
        if asked in self._asked:
            self._asked.remove(asked)

    def is_waited_for(self, call: WebitelCall) -> bool:
        """Tell whether a call that appeared was asked for.

        Args:
            call: As the engine shows it.

        Returns:
            Whether.
        """
        return any(asked.is_meant(call) for asked in self._asked)

    def match(self, call: WebitelCall) -> None:
        """Give a call that the line shows to who asked for it first, if anybody did.

        Args:
            call: As the engine shows it.
        """
        shown = self._context.call(call.uuid)
        asked = next((asked for asked in self._asked if asked.is_meant(call)), None)
        if asked is not None and shown is not None:
            self._asked.remove(asked)
            asked.shown(shown)
            if self._on_shown is not None and asked.leg is None:
                self._on_shown(shown.id)

    def match_leg(self, leg: str, shown: Call) -> None:
        """Give a call that the web phone shows to who asked for it.

        Args:
            leg: Its leg.
            shown: The call, as the line has it.
        """
        for asked in [asked for asked in self._asked if asked.leg == leg]:
            self._asked.remove(asked)
            asked.shown(shown)

    def fail_leg(self, leg: str, failure: CommandError) -> None:
        """Tell who asked for a call of the web phone's that it will not be shown.

        Args:
            leg: Its leg.
            failure: Why.
        """
        for asked in [asked for asked in self._asked if asked.leg == leg]:
            self._asked.remove(asked)
            asked.failed(failure)

    def disconnected(self) -> None:
        """Tell all who wait that the connection is over."""
        for asked in self._asked:
            asked.failed(
                CommandUnconfirmedError(
                    "The connection ended before the call was shown.",
                    command=asked.verb,
                    remedy="It may ring all the same: look at the calls when the connection is back.",
                )
            )
        self._asked.clear()
