"""Who makes the media of a web phone's calls: one object for all calls of a session.

A provider asks its context for it (``context.media()``) and knows no more of it than this. `AiortcPeers` has the sound in this
process, from the microphone and to the speaker that the settings name, or from and to whatever a host gives it. `RelayPeers`
leaves it to a party elsewhere, a browser for example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final
from weakref import WeakValueDictionary

import anyio
import structlog

from cti_framework.errors import CtiError, traceback_text
from cti_framework.media.available import require_media
from cti_framework.media.devices import Microphone, Speaker
from cti_framework.media.files import FileSource
from cti_framework.media.options import MediaOptions
from cti_framework.media.pcm import FRAME_SECONDS, SILENCE
from cti_framework.media.port import MediaPeer
from cti_framework.media.relay import RelayPeer, RemoteParty
from cti_framework.media.sinks import AudioSink
from cti_framework.media.sources import AudioSource, Tone
from cti_framework.media.values import MediaState, Told

__all__ = ["AiortcPeers", "MediaPeers", "RelayPeers"]

_RING_HZ: Final = 425
_RING_FRAMES: Final = round(1 / FRAME_SECONDS)
_PAUSE_FRAMES: Final = round(4 / FRAME_SECONDS)
"""The ring of most of Europe (ITU-T E.180, supplement 2): a second of 425 Hz, four of silence."""
_LATE_SECONDS: Final = 0.2
"""Who comes later than this with a frame goes on from now: what was missed would be played in one go."""

_log = structlog.get_logger("cti_framework")


class MediaPeers(ABC):
    """Makes the media of one session's calls."""

    @abstractmethod
    def peer(self, call_id: str, told: Told) -> MediaPeer:
        """Make one call's media. Nothing is opened yet.

        Args:
            call_id: The call's identifier, as the phone knows it.
            told: Called with each notice of the peer.

        Returns:
            The peer. Whoever asked for it closes it.

        Raises:
            MediaError: It cannot be made.
        """

    def ringing(self, call_id: str) -> AbstractAsyncContextManager[None]:
        """Let it be heard that a call comes in, for as long as it is entered.

        Args:
            call_id: The call's identifier, as the phone knows it.

        Returns:
            An asynchronous context manager, out of which nothing comes that goes wrong with the ringing. By default there is
            nothing to hear.
        """
        return nullcontext()

    def check(self) -> None:  # noqa: B027 - whoever needs nothing has nothing to look at
        """Look that calls can have sound here, before there is one: when a session is opened.

        Raises:
            MediaUnavailableError: They cannot: a library is missing, or the event loop is of the wrong make.
        """


class AiortcPeers(MediaPeers):
    """Sound in this process, by aiortc. It needs the extra ``media`` and asyncio.

    Args:
        options: Which devices, and which way through the network; ``None``: as the defaults of the settings say.
        source: Gives what is said in a call, by its identifier; ``None``: the microphone of the options.
        sink: Gives where what is heard in a call goes; ``None``: the speaker of the options. Where it is given and the options
            name no device to ring on, nothing rings: such a host may have no device at all.

    Attributes:
        options: As given.
    """

    def __init__(
        self,
        options: MediaOptions | None = None,
        *,
        source: Callable[[str], AudioSource] | None = None,
        sink: Callable[[str], AudioSink] | None = None,
    ) -> None:
        self.options = MediaOptions() if options is None else options
        self._settings = self.options.media_settings()
        self._source = source
        self._sink = sink
        # Two calls that come in together ring as one: the other one goes on when the first stops.
        self._one_rings = anyio.Lock()
        self._is_told_mute = False

    def peer(self, call_id: str, told: Told) -> MediaPeer:
        """Make one call's media.

        Args:
            call_id: The call's identifier, as the phone knows it.
            told: Called with each notice of the peer.

        Returns:
            The peer.

        Raises:
            MediaUnavailableError: The event loop is not asyncio's, or a library is missing.
        """
        require_media()
        from cti_framework.media.rtc_peer import AiortcPeer

        return AiortcPeer(
            self._settings,
            told,
            source=Microphone(self.options.microphone) if self._source is None else self._source(call_id),
            sink=Speaker(self.options.speaker) if self._sink is None else self._sink(call_id),
        )

    def ringing(self, call_id: str) -> AbstractAsyncContextManager[None]:
        """Ring on the device that the options name, or else on the computer's default speaker.

        Args:
            call_id: The call's identifier.

        Returns:
            An asynchronous context manager. A device that cannot be used is told once in the log.
        """
        if self._sink is not None and self.options.ring_device is None:
            return nullcontext()
        return self._ringing()

    def check(self) -> None:
        """Look that the libraries are there and the event loop is asyncio's. Devices are looked at when a call needs them.

        Raises:
            MediaUnavailableError: They are not, or it is another one.
        """
        require_media()

    @asynccontextmanager
    async def _ringing(self) -> AsyncIterator[None]:
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        tasks.start_soon(self._ring)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
            # What happens in the block goes out as it is, not wrapped in a group.
            await tasks.__aexit__(None, None, None)

    async def _ring(self) -> None:
        async with self._one_rings:
            try:
                await _play(self._ring_tone(), Speaker(self.options.ring_device))
            except Exception as error:  # noqa: BLE001  # a call that is not heard to come in is a call all the same
                say = _log.debug if self._is_told_mute else _log.warning
                self._is_told_mute = True
                told = error.describe() if isinstance(error, CtiError) else {"error": traceback_text(error)}
                say("cti.media.does_not_ring", device=self.options.ring_device, **told)

    def _ring_tone(self) -> AudioSource:
        file = self.options.ring_file
        return _RingTone() if file is None else FileSource(file, loop=True)


class RelayPeers(MediaPeers):
    """Sound elsewhere: each call's media is a remote party's, which rings by itself as well.

    Args:
        party: Gives what carries requests to the party that has a call's media, by the call's identifier.
        answer_timeout_seconds: How long a party may take for a request.
    """

    def __init__(self, party: Callable[[str], RemoteParty], *, answer_timeout_seconds: float = 10.0) -> None:
        self._party = party
        self._seconds = answer_timeout_seconds
        self._peers: WeakValueDictionary[str, RelayPeer] = WeakValueDictionary()

    def open_peer(self, call_id: str) -> RelayPeer | None:
        """Find a call's media, for whoever brings the news of the party: ``told_connected()`` and its like.

        Args:
            call_id: The call's identifier, as the party was asked for by it.

        Returns:
            The peer; ``None``: there is none, or it is closed.
        """
        peer = self._peers.get(call_id)
        return None if peer is None or peer.state is MediaState.CLOSED else peer

    def peer(self, call_id: str, told: Told) -> MediaPeer:
        """Make one call's media.

        Args:
            call_id: The call's identifier, as the phone knows it.
            told: Called with each notice of the peer.

        Returns:
            The peer; ``open_peer`` finds it.
        """
        peer = self._peers[call_id] = RelayPeer(self._party(call_id), told, answer_timeout_seconds=self._seconds)
        return peer


class _RingTone(AudioSource):
    """A second of tone, four of silence, for ever."""

    def __init__(self) -> None:
        self._tone = Tone(_RING_HZ)
        self._frame = 0

    async def read(self) -> bytes | None:
        frame, self._frame = self._frame, (self._frame + 1) % (_RING_FRAMES + _PAUSE_FRAMES)
        return await self._tone.read() if frame < _RING_FRAMES else SILENCE


async def _play(source: AudioSource, sink: AudioSink) -> None:
    """Let a sink have a source's sound at the pace of sound, until there is no more or it is cancelled."""
    await source.open()
    try:
        await sink.open()
        due = anyio.current_time()
        while (frame := await source.read()) is not None:
            await sink.write(frame)
            due = max(due + FRAME_SECONDS, anyio.current_time() - _LATE_SECONDS)
            await anyio.sleep_until(due)
    finally:
        with anyio.CancelScope(shield=True):
            await source.close()
            await sink.close()
