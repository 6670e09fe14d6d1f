"""A web phone's media by aiortc: ICE, DTLS, SRTP, Opus and G.711 in this process. It needs asyncio, as aiortc does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import anyio
import structlog

from cti_framework.errors import traceback_text
from cti_framework.media.available import require_media
from cti_framework.media.errors import MediaError, MediaStateError
from cti_framework.media.port import MediaPeer
from cti_framework.media.quality import MediaCounters, measure
from cti_framework.media.rtc_audio import Ear, Mouth, MouthTrack
from cti_framework.media.rtc_connection import RtcConnection
from cti_framework.media.sdp import read_remote
from cti_framework.media.sinks import AudioSink, NoSink
from cti_framework.media.sources import AudioSource, Silence
from cti_framework.media.values import MediaSettings, MediaState, QualityMeasured, Told

__all__ = ["AiortcPeer"]

_log = structlog.get_logger("cti_framework")

_CLOSE_SECONDS: Final = 10.0
"""How long a source, a sink or whatever ends may take for it; it is then left to itself."""


class AiortcPeer(MediaPeer):
    """One call's media in this process, from a source and into a sink.

    Source and sink are opened with the first offer or answer: a microphone that is missing is told before the other side is
    answered.
    Video that the other side offers is refused, the sound of the call is not.

    Args:
        settings: How media finds its way.
        told: Called with each notice.
        source: What is sent; silence if not given.
        sink: Where what is heard goes; nowhere if not given.

    Raises:
        MediaUnavailableError: The event loop is not asyncio's, or aiortc is of another make than was tested.
    """

    def __init__(
        self,
        settings: MediaSettings | None = None,
        told: Told | None = None,
        *,
        source: AudioSource | None = None,
        sink: AudioSink | None = None,
    ) -> None:
        require_media()
        super().__init__(told)
        self._settings = MediaSettings() if settings is None else settings
        self._mouth = Mouth(Silence() if source is None else source, self._tell)
        self._ear = Ear(NoSink() if sink is None else sink, self._tell)
        self._audio_is_open = False
        self._current: RtcConnection | None = None
        self._pending: RtcConnection | None = None
        self._one_step = asyncio.Lock()
        self._one_change = asyncio.Lock()
        self._measuring: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def offer(self) -> str:
        """Begin the media of a call that goes out.

        Returns:
            What this side can do, with its addresses.

        Raises:
            MediaStateError: The media was begun already, or the peer is closed.
            MediaError: The source or the sink cannot be had.
        """
        async with self._one_step:
            self._check_open()
            if self._current is not None or self._pending is not None:
                raise MediaStateError("The media was begun already.", remedy="restart() begins new media.")
            return await self._offer_new()

    async def answer(self, remote_sdp: str) -> str:
        """Take the other side's offer: of a call that comes in, of new media, or of a change to the present media.

        Args:
            remote_sdp: What the other side can do.

        Returns:
            What both can.

        Raises:
            SdpError: It cannot be used. Media that was there goes on.
            MediaStateError: An offer of this side is unanswered, or the peer is closed.
            MediaError: The source or the sink cannot be had.
        """
        async with self._one_step:
            self._check_open()
            remote = read_remote(remote_sdp, answer=False)
            current = self._current
            if current is not None and current.user_fragment == remote.user_fragment and current.state == "connected":
                return await current.answer(remote, held=self._held)
            await self._open_audio()
            connection = self._new_connection()
            try:
                sdp = await connection.answer(remote)
                self._check_open()
            except BaseException:
                await connection.close()
                raise
            # Whatever this side has offered is overtaken by it.
            pending, self._pending = self._pending, None
            if pending is not None:
                await pending.close()
            await self._go_over_to(connection)
            return sdp

    async def set_remote(self, remote_sdp: str) -> None:
        """Take the other side's answer to the last ``offer``, ``restart`` or ``renegotiate``.

        Args:
            remote_sdp: What both can do, as the other side says.

        Raises:
            SdpError: It cannot be used. Media that was there goes on.
            MediaStateError: There is no offer to answer, or the peer is closed.
        """
        async with self._one_step:
            self._check_open()
            connection = self._pending or self._current
            if connection is None or not connection.awaits_answer:
                raise MediaStateError("There is no offer that this could be the answer to.")
            await connection.accept(read_remote(remote_sdp, answer=True))
            self._check_open()
            if connection is self._pending:
                self._pending = None
                await self._go_over_to(connection)

    async def restart(self) -> str:
        """Begin new media on the same call; source and sink go over to it once the answer is set.

        Returns:
            The offer for the other side.

        Raises:
            MediaStateError: The peer is closed.
            MediaError: The source or the sink cannot be had.
        """
        async with self._one_step:
            self._check_open()
            pending, self._pending = self._pending, None
            if pending is not None:
                await pending.close()
            return await self._offer_new()

    async def renegotiate(self) -> str:
        """Offer the present media again, in the directions that ``held`` asks for.

        Returns:
            The offer for the other side.

        Raises:
            MediaStateError: There is no media, an offer is unanswered, or the peer is closed.
        """
        async with self._one_step:
            self._check_open()
            current = self._current
            if current is None or current.state != "connected" or current.awaits_answer or self._pending is not None:
                raise MediaStateError("There is no media now that could be offered again.", remedy="restart() begins new media.")
            return await current.offer(held=self._held)

    async def statistics(self) -> MediaCounters:
        """Look at the counters.

        Returns:
            What they say now; all zero before the media is there.
        """
        if self._current is None:
            return MediaCounters(at_seconds=asyncio.get_running_loop().time())
        return await self._current.counters()

    async def replace_source(self, source: AudioSource) -> None:
        """Send something else from now on; the old source is closed.

        Args:
            source: The new one. It is opened first: if it cannot be had, the old one goes on.

        Raises:
            MediaError: It cannot be had.
            MediaStateError: The peer is closed.
        """
        async with self._one_change:
            self._check_open()
            if self._audio_is_open:
                await self._opened(source)
            old = self._mouth.take(source)
        await old.close()

    async def replace_sink(self, sink: AudioSink) -> None:
        """Let what is heard go elsewhere from now on; the old sink is closed.

        Args:
            sink: The new one. It is opened first: if it cannot be had, the old one goes on.

        Raises:
            MediaError: It cannot be had, or the old one could not be finished: the disk is full.
            MediaStateError: The peer is closed.
        """
        async with self._one_change:
            self._check_open()
            if self._audio_is_open:
                await self._opened(sink)
            old = await self._ear.take(sink)
        await old.close()
        if self._state is MediaState.CLOSED:
            # It was closed meanwhile, and with it the old one.
            await sink.close()

    def _switched(self) -> None:
        self._mouth.silent = self._muted or self._held
        self._ear.deaf = self._held

    async def _opened(self, end: AudioSource | AudioSink) -> None:
        opening = asyncio.ensure_future(end.open())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A device or a file is opened in a thread, which nothing cancels: it would stay open.
            self._let_end(self._undo(opening, end))
            raise
        if self._state is MediaState.CLOSED:
            await end.close()
            self._check_open()

    async def _undo(self, opening: asyncio.Future[None], end: AudioSource | AudioSink) -> None:
        await asyncio.wait({opening})
        if not opening.cancelled() and opening.exception() is None:
            await self._finished(end.close())

    async def _open_audio(self) -> None:
        # Whoever replaces one of them meanwhile waits: else the new one would be taken for open.
        async with self._one_change:
            if self._audio_is_open:
                return
            await self._opened(self._mouth.source)
            try:
                await self._opened(self._ear.sink)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._mouth.source.close()
                raise
            self._audio_is_open = True

    def _new_connection(self) -> RtcConnection:
        self._check_open()
        return RtcConnection(self._settings, MouthTrack(self._mouth), self._moved)

    async def _offer_new(self) -> str:
        await self._open_audio()
        connection = self._new_connection()
        try:
            sdp = await connection.offer()
            self._check_open()
        except BaseException:
            await connection.close()
            raise
        self._pending = connection
        return sdp

    async def _go_over_to(self, connection: RtcConnection) -> None:
        old, self._current = self._current, connection
        self._stop_measuring()
        self._enter(MediaState.CONNECTING)
        self._moved(connection)
        if old is not None:
            await old.close()

    def _moved(self, connection: RtcConnection) -> None:
        """Do what follows from a change of a connection."""
        if connection is not self._current or self._state is MediaState.CLOSED:
            return
        self._ear.follow(connection.remote_track)
        match connection.state:
            case "connected" if self._state is not MediaState.CONNECTED:
                self._enter(MediaState.CONNECTED)
                self._stop_measuring()
                self._measuring = asyncio.ensure_future(self._measure(connection))
            case "failed" if self._state is not MediaState.FAILED:
                self._over(connection)
                self._enter(MediaState.FAILED, connection.error)
            # While new media is being agreed on, the other side may drop the old one first.
            case "closed" if self._state not in (MediaState.FAILED, MediaState.ENDED) and self._pending is None:
                self._over(connection)
                self._enter(MediaState.ENDED)

    def _over(self, connection: RtcConnection) -> None:
        """Let go of what a connection holds, beside whoever is told that it is over."""
        self._stop_measuring()
        self._let_end(connection.close())

    def _let_end(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def _stop_measuring(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            self._ending.add(self._measuring)
            self._measuring.add_done_callback(self._ending.discard)
            self._measuring = None

    async def _measure(self, connection: RtcConnection) -> None:
        before = await connection.counters()
        while True:
            await asyncio.sleep(self._settings.quality_interval_seconds)
            now = await connection.counters()
            if not self._held:
                # Who holds may be sent nothing at all, and hears none of it.
                self._tell(QualityMeasured(measure(before, now)))
            before = now

    async def _close(self) -> None:
        closing = asyncio.ensure_future(self._close_all())
        with anyio.CancelScope(shield=True):
            await asyncio.shield(closing)

    async def _close_all(self) -> None:
        self._stop_measuring()
        for connection in (self._pending, self._current):
            if connection is not None:
                await connection.close()
        await self._ear.close()
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSE_SECONDS)
        if self._audio_is_open:
            for end in (self._mouth.source, self._ear.sink):
                closing = self._let_end(self._finished(end.close()))
                _, left = await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
                if left:
                    _log.error("cti.media.not_finished", error=f"{type(end).__name__} did not close in {_CLOSE_SECONDS:g} s")

    async def _finished(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close a source or a sink; the other one is closed as well if it fails."""
        try:
            await closing
        except MediaError as error:
            _log.error("cti.media.not_finished", error=str(error))
        except Exception as error:  # noqa: BLE001  # a source or a sink may be anybody's
            _log.error("cti.media.not_finished", error=traceback_text(error))
