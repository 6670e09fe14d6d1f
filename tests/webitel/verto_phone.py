"""A web phone for tests: `VertoClient` and a media peer of its own a call, with what is said and heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import anyio
from typed_settings.types import Secret

from cti_framework.errors import ConnectionFailedError
from cti_framework.media import Tone
from cti_webitel.simulator import WebitelSimulator
from cti_webitel.verto.client import VertoClient
from cti_webitel.verto.signals import Answered, Attached, EarlyMedia, Ended, Invited, Signal
from tests.media.listening import Side

PATIENCE_SECONDS = 15

SignalT = TypeVar("SignalT", bound=Signal)


class Phone:
    """A web phone that speaks with a tone."""

    def __init__(self, simulator: WebitelSimulator, number: str, voice_hz: int, *, session_id: str | None = None) -> None:
        self.voice_hz = voice_hz
        self.signals: list[Signal] = []
        self.sides: dict[str, Side] = {}
        self._changed = anyio.Event()
        url = simulator.verto_url
        assert url is not None
        self.client = VertoClient(
            url,
            f"{number}@demo.local",
            Secret(number),
            on_signals=self._told,
            on_attach=self._attached,
            session_id=session_id,
        )

    async def call(self, number: str) -> tuple[str, Side]:
        """Call a number, and take the answer, or what is heard before it."""
        side = Side(Tone(self.voice_hz))
        call_id = await self.client.invite(number, await side.peer.offer())
        self.sides[call_id] = side
        await side.peer.set_remote(await self._sdp_of(call_id))
        return call_id, side

    async def rings(self) -> Invited:
        """Wait until it rings for a call that was not answered yet."""
        return await self.until(Invited, lambda invited: invited.call_id not in self.sides)

    async def answer(self, invited: Invited) -> Side:
        """Answer a call that comes in."""
        side = self.sides[invited.call_id] = Side(Tone(self.voice_hz))
        await self.client.answer(invited.call_id, await side.peer.answer(invited.sdp))
        return side

    async def answered(self, call_id: str) -> Answered:
        """Wait until a call was answered."""
        return await self.until(Answered, lambda answered: answered.call_id == call_id)

    async def ended(self, call_id: str) -> Ended:
        """Wait until a call is over."""
        return await self.until(Ended, lambda ended: ended.call_id == call_id)

    async def until(self, kind: type[SignalT], fits: object = None) -> SignalT:
        """Wait for a signal."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                for signal in self.signals:
                    if isinstance(signal, kind) and (not callable(fits) or fits(signal)):
                        return signal
                self._changed = anyio.Event()
                await self._changed.wait()

    def of(self, kind: type[SignalT]) -> list[SignalT]:
        return [signal for signal in self.signals if isinstance(signal, kind)]

    async def _sdp_of(self, call_id: str) -> str:
        kinds = (EarlyMedia, Answered)
        signal = await self.until(Signal, lambda one: isinstance(one, kinds) and one.call_id == call_id and one.sdp)
        assert isinstance(signal, EarlyMedia | Answered) and signal.sdp is not None
        return signal.sdp

    async def _attached(self, attached: Attached) -> str:
        return await self.sides[attached.call_id].peer.answer(attached.sdp)

    def _told(self, signals: Sequence[Signal]) -> None:
        self.signals += signals
        self._changed.set()


@asynccontextmanager
async def phone(
    simulator: WebitelSimulator, number: str, voice_hz: int = 440, *, session_id: str | None = None
) -> AsyncIterator[Phone]:
    """Log a web phone in; it connects again as often as it is cut, until the block is left."""
    made = Phone(simulator, number, voice_hz, session_id=session_id)

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        with suppress(ConnectionFailedError):
            await made.client.run(task_status=task_status)
        while True:
            with suppress(ConnectionFailedError):
                await made.client.run()
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(PATIENCE_SECONDS):
            await tasks.start(run)
        try:
            yield made
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for side in made.sides.values():
                    await side.peer.close()
