"""The verbs of ``CtiModel`` for a thread that waits: the same names, arguments, values and errors.

Each is made of the verb itself, so that neither its signature nor its documentation can differ. A test finds one that is missing.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import anyio

from cti_framework.commands import new_command_id
from cti_framework.errors import (
    CommandError,
    CommandStage,
    CommandUnconfirmedError,
    InvalidArgumentError,
    StepTimeoutError,
)
from cti_framework.model import CtiModel
from cti_framework.provider import FetchProgress

__all__ = ["Act", "BlockingVerbs", "InTime", "Tell"]

P = ParamSpec("P")
T = TypeVar("T")
Tell = Callable[[Callable[[], object]], object]
"""Has something called in the thread that waits."""
Act = Callable[[CtiModel, Tell], Awaitable[T]]
"""What the loop does for a verb."""


def _twin(verb: Callable[Concatenate[CtiModel, P], Awaitable[T]]) -> Callable[Concatenate[BlockingVerbs, P], T]:
    takes_id = "command_id" in inspect.signature(verb).parameters

    def twin(self: BlockingVerbs, /, *arguments: P.args, **named: P.kwargs) -> T:
        if takes_id and named.get("command_id") is None:
            # Known here, so that a verb that is out of time can tell how far it got.
            named["command_id"] = new_command_id()
        command_id = named.get("command_id")
        return self._ask(verb.__name__, lambda model, tell: verb(model, *arguments, **named), command_id=command_id)

    return _described(twin, verb)


def _described(twin: Callable[P, T], verb: Callable[..., object]) -> Callable[P, T]:
    """Have a twin say of itself what the verb says, but for being a coroutine."""
    update_wrapper(twin, verb, assigned=("__name__", "__doc__"))
    signature = inspect.signature(verb, eval_str=True)
    hints = {name: parameter.annotation for name, parameter in signature.parameters.items() if name != "self"}
    twin.__annotations__ = {**hints, "return": signature.return_annotation}
    twin.__qualname__ = f"BlockingVerbs.{verb.__name__}"
    # Who follows __wrapped__ would take the twin for a coroutine function.
    del twin.__dict__["__wrapped__"]
    twin.__dict__["__signature__"] = signature
    return twin


class BlockingVerbs(ABC):
    """The verbs. Each waits until it has ended, and may be called from any thread in which no event loop runs.

    Beside the errors that each tells, all of them raise ``SessionClosedError`` where the session is closed or of another
    process, and ``BlockingCallError`` where an event loop runs. A verb that is interrupted, by Ctrl-C for one, is cancelled;
    it may have acted.
    """

    __slots__ = ()

    connect = _twin(CtiModel.connect)
    disconnect = _twin(CtiModel.disconnect)
    reconnect_now = _twin(CtiModel.reconnect_now)
    write_support_bundle = _twin(CtiModel.write_support_bundle)
    examine = _twin(CtiModel.examine)

    make_call = _twin(CtiModel.make_call)
    answer_call = _twin(CtiModel.answer_call)
    drop_call = _twin(CtiModel.drop_call)
    hold_call = _twin(CtiModel.hold_call)
    unhold_call = _twin(CtiModel.unhold_call)
    make_consult_call = _twin(CtiModel.make_consult_call)
    complete_transfer = _twin(CtiModel.complete_transfer)
    cancel_transfer = _twin(CtiModel.cancel_transfer)
    blind_transfer = _twin(CtiModel.blind_transfer)
    alternate = _twin(CtiModel.alternate)
    conference = _twin(CtiModel.conference)
    send_dtmf = _twin(CtiModel.send_dtmf)
    set_mute = _twin(CtiModel.set_mute)
    set_video = _twin(CtiModel.set_video)
    start_recording = _twin(CtiModel.start_recording)
    stop_recording = _twin(CtiModel.stop_recording)
    pause_recording = _twin(CtiModel.pause_recording)
    monitor = _twin(CtiModel.monitor)

    set_agent_state = _twin(CtiModel.set_agent_state)
    set_wrap_up = _twin(CtiModel.set_wrap_up)
    set_call_centre_mode = _twin(CtiModel.set_call_centre_mode)
    query_recordings = _twin(CtiModel.query_recordings)

    def fetch_recording(
        self,
        link: str,
        directory: Path,
        *,
        progress: Callable[[FetchProgress], object] | None = None,
        command_id: str | None = None,
    ) -> Path:
        """Save a recording as a file. It may take as long as it takes, but not fall silent for longer than a query may last.

        Args:
            link: As ``query_recordings`` gave it. It may hold secrets: show and log it by ``safe_url`` of ``transport``.
            directory: Where to; it is there already.
            progress: Told whenever bytes came in, in the thread that waits. What it raises ends the fetching, and comes out.
            command_id: Names this command, so that it can be asked for again without acting twice; by default one is made.

        Returns:
            The complete file.

        Raises:
            CommandError: As for every verb; a provider's own errors say more. Trying again is always safe, and goes on where
                the last attempt ended if the provider can.
        """
        own_id = new_command_id() if command_id is None else command_id

        def fetch(model: CtiModel, tell: Tell) -> Awaitable[Path]:
            told = None if progress is None else lambda state: tell(partial(progress, state))
            return model.fetch_recording(link, directory, progress=told, command_id=own_id)

        return self._ask("fetch_recording", fetch, command_id=own_id)

    @abstractmethod
    def _ask(self, step: str, act: Act[T], *, command_id: object = None) -> T:
        """Have the loop do something with the model, and wait for it."""


class InTime(BlockingVerbs):
    """The verbs of a session, each with a time of its own beside the session's.

    Args:
        verbs: The session's.
        timeout_seconds: How long each may take.

    Raises:
        InvalidArgumentError: The time is not above zero.
    """

    __slots__ = ("_timeout_seconds", "_verbs")

    def __init__(self, verbs: BlockingVerbs, timeout_seconds: float) -> None:
        if not timeout_seconds > 0:
            raise InvalidArgumentError(f"within: a time is above zero seconds, not {timeout_seconds!r}.", command="within")
        self._verbs = verbs
        self._timeout_seconds = timeout_seconds

    def _ask(self, step: str, act: Act[T], *, command_id: object = None) -> T:
        seconds = self._timeout_seconds

        async def in_time(model: CtiModel, tell: Tell) -> T:
            with anyio.move_on_after(seconds):
                return await act(model, tell)
            message = f"{step}: it did not end within the {seconds:g} s that it was given."
            if step == "write_support_bundle":
                raise StepTimeoutError(message, step=step, remedy="The file may still be written; nothing else depends on it.")
            if step == "examine":
                raise StepTimeoutError(message, step=step, remedy="The steps tell what was found until then.")
            if step in ("connect", "disconnect", "reconnect_now"):
                raise StepTimeoutError(message, step=step, remedy="It goes on: `provider_state` tells what becomes of it.")
            record = model.command(command_id) if isinstance(command_id, str) else None
            error: CommandError = CommandUnconfirmedError(
                message, command=step, remedy="It may have acted: look at the calls before trying again."
            )
            if record is not None and record.stage is CommandStage.NOT_SENT and record.error is not None:
                error = CommandError(message, command=step, retryable=True, remedy=record.error.remedy)
            error.command_id = None if record is None else record.command_id
            raise error

        return self._verbs._ask(step, in_time, command_id=command_id)
