"""Answering for calls that come back: the server offers media, somebody makes the answer, and it is sent.

Each call that wants new media has a task of its own, so that a slow one keeps nobody waiting. One that wants media again begins
anew, and one that is over is given up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup

from cti_framework.cancellation import fault_of
from cti_framework.errors import CommandError, CommandStage, CtiError, told_error, traceback_text
from cti_webitel.verto.signals import Attached, AttachFailed

__all__ = ["Attaching", "OnAttach"]

OnAttach: TypeAlias = Callable[[Attached], Awaitable[str | None]]
"""Makes new media for a call, and gives the answer to the server's offer; ``None`` leaves the call mute."""


class Attaching:
    """Gives calls new media, on one connection.

    Args:
        group: Where its tasks run.
        on_attach: Makes the media.
        send: Sends the answer, and waits until the server has confirmed it.
        tell: Is told what failed.
        seconds: How long the media may take.
        log: A structlog logger.
    """

    __slots__ = ("_group", "_log", "_on_attach", "_scopes", "_seconds", "_send", "_tell")

    def __init__(
        self,
        group: TaskGroup,
        on_attach: OnAttach,
        send: Callable[[str, str], Awaitable[object]],
        tell: Callable[[AttachFailed], object],
        *,
        seconds: float,
        log: Any,
    ) -> None:
        self._group = group
        self._on_attach = on_attach
        self._send = send
        self._tell = tell
        self._seconds = seconds
        self._log = log
        self._scopes: dict[str, anyio.CancelScope] = {}

    def begin(self, offered: Attached) -> None:
        """Begin to make new media for a call.

        Args:
            offered: What the server offers.
        """
        self.give_up(offered.call_id)
        scope = self._scopes[offered.call_id] = anyio.CancelScope()
        self._group.start_soon(self._run, offered, scope)

    def give_up(self, call_id: str) -> None:
        """Make no media for a call any more.

        Args:
            call_id: The call; one for which none is made is left alone.
        """
        scope = self._scopes.pop(call_id, None)
        if scope is not None:
            scope.cancel()

    async def _run(self, offered: Attached, scope: anyio.CancelScope) -> None:
        with scope:
            error = await self._attach(offered)
            # Of a call that is over, or wants media once more, it is nobody's concern.
            if error is not None and not scope.cancel_called:
                self._tell(AttachFailed(offered.call_id, error))
        if self._scopes.get(offered.call_id) is scope:
            del self._scopes[offered.call_id]

    async def _attach(self, offered: Attached) -> CtiError | None:
        sdp: str | None = None
        try:
            with anyio.move_on_after(self._seconds) as patience:
                sdp = await self._on_attach(offered)
            if patience.cancelled_caught:
                return self._failed(f"was not made within {self._seconds:g} s")
            if sdp is not None:
                await self._send(offered.call_id, sdp)
        except BaseException as raised:
            # Whatever the media does, the call and the connection go on.
            fault = fault_of(raised)
            if fault is None:
                raise
            told = told_error(fault) if isinstance(fault, Exception) else None
            if told is not None:
                return told
            self._log.error("verto.media_raised", call_id=offered.call_id, stack=traceback_text(fault))
            error = self._failed(f"raised {type(fault).__name__}")
            error.__cause__ = fault
            return error
        return None

    def _failed(self, how: str) -> CommandError:
        return CommandError(
            f"The new media of a call that came back {how}.",
            stage=CommandStage.NOT_SENT,
            command="verto.attach",
            remedy="The call goes on, mute: hang it up and call again.",
        )
