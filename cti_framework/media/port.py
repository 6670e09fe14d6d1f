"""The port: what a web phone's signalling needs of its media, whoever has the microphone.

A peer is one call's media. The signalling carries its texts (SDP, without trickled addresses) and does not read them::

    the call goes out           sdp = await peer.offer()         …          await peer.set_remote(their_answer)
    the call comes in           sdp = await peer.answer(their_offer)
    the PBX wants new media     sdp = await peer.answer(their_new_offer)
    we want new media           sdp = await peer.restart()       …          await peer.set_remote(their_answer)
    hold that the PBX does      peer.hold()                      …          peer.unhold()
    hold by the media itself    peer.hold(); sdp = await peer.renegotiate() …  await peer.set_remote(their_answer)

What happens by itself is told to the function that the peer was made with, as one frozen value each, in order, from the event
loop. It has to be quick and must not raise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

import anyio
import structlog

from cti_framework.errors import CtiError, traceback_text
from cti_framework.media.errors import MediaStateError
from cti_framework.media.quality import MediaCounters
from cti_framework.media.values import MediaConnected, MediaEnded, MediaFailed, MediaNotice, MediaState, Told

__all__ = ["MediaPeer"]

Self = TypeVar("Self", bound="MediaPeer")

_log = structlog.get_logger("cti_framework")


def _ignore(notice: MediaNotice) -> None:
    return


class MediaPeer(ABC):
    """One call's media. A context manager: leaving it closes it.

    Args:
        told: Called with each notice.
    """

    def __init__(self, told: Told | None = None) -> None:
        self._told = _ignore if told is None else told
        self._state = MediaState.NEW
        self._error: CtiError | None = None
        self._changed = anyio.Event()
        self._gone = anyio.Event()
        self._muted = False
        self._held = False

    @property
    def state(self) -> MediaState:
        """How far the media is."""
        return self._state

    @property
    def muted(self) -> bool:
        """Whether silence is sent in place of the source."""
        return self._muted

    @property
    def held(self) -> bool:
        """Whether nothing is sent of the source, nor heard of the other side."""
        return self._held

    @abstractmethod
    async def offer(self) -> str:
        """Begin the media of a call that goes out.

        Returns:
            What this side can do, with its addresses.

        Raises:
            MediaStateError: The media was begun already, or the peer is closed.
            RelayError: The remote party did not give one.
        """

    @abstractmethod
    async def answer(self, remote_sdp: str) -> str:
        """Take the other side's offer: of a call that comes in, of new media, or of a change to the present media.

        An offer with other ICE credentials than the present ones is one of new media (facts: verto, Sessions): source and sink
        go over to it, and the old media is dropped.

        Args:
            remote_sdp: What the other side can do.

        Returns:
            What both can.

        Raises:
            SdpError: It cannot be used. Media that was there goes on.
            MediaStateError: The peer is closed.
            RelayError: The remote party did not answer it.
        """

    @abstractmethod
    async def set_remote(self, remote_sdp: str) -> None:
        """Take the other side's answer to the last ``offer``, ``restart`` or ``renegotiate``.

        Args:
            remote_sdp: What both can do, as the other side says.

        Raises:
            SdpError: It cannot be used. Media that was there goes on.
            MediaStateError: There is no offer to answer, or the peer is closed.
            RelayError: The remote party did not take it.
        """

    @abstractmethod
    async def restart(self) -> str:
        """Begin new media on the same call, with new addresses and keys; source and sink go over to it once the answer is set.

        Returns:
            The offer for the other side.

        Raises:
            MediaStateError: The peer is closed.
            RelayError: The remote party did not give one.
        """

    @abstractmethod
    async def renegotiate(self) -> str:
        """Offer the present media again, in the directions that ``held`` asks for: ``sendonly`` while held, else ``sendrecv``.

        Returns:
            The offer for the other side.

        Raises:
            MediaStateError: There is no media, an offer is unanswered, or the peer is closed.
            RelayError: The remote party did not give one.
        """

    @abstractmethod
    async def statistics(self) -> MediaCounters:
        """Look at the counters.

        Returns:
            What they say now; all zero before the media is there.
        """

    @abstractmethod
    def _switched(self) -> None:
        """Do what ``muted`` and ``held`` say now."""

    @abstractmethod
    async def _close(self) -> None:
        """Let go of everything. Called once."""

    def mute(self) -> None:
        """Send silence in place of the source. The source is read on, so that nothing old is heard afterwards."""
        self._switch(muted=True)

    def unmute(self) -> None:
        """Send the source again."""
        self._switch(muted=False)

    def hold(self) -> None:
        """Send silence, and let nothing of the other side be heard. The PBX holds the call; this is the phone's part of it."""
        self._switch(held=True)

    def unhold(self) -> None:
        """Send and hear again."""
        self._switch(held=False)

    async def wait_connected(self) -> None:
        """Wait until sound flows.

        Raises:
            MediaConnectionError: There is no way to the other side, or it ended the media.
            MediaStateError: The peer was closed.
        """
        while self._state is not MediaState.CONNECTED:
            if self._error is not None:
                raise self._error
            self._check_open()
            if self._state is MediaState.ENDED:
                raise MediaStateError("The other side ended the media.")
            await self._changed.wait()

    async def close(self) -> None:
        """Let go of everything: connections, source and sink. Closing again only waits until that is done."""
        if self._state is MediaState.CLOSED:
            await self._gone.wait()
            return
        self._enter(MediaState.CLOSED)
        try:
            await self._close()
        finally:
            self._gone.set()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _switch(self, *, muted: bool | None = None, held: bool | None = None) -> None:
        self._check_open()
        self._muted = self._muted if muted is None else muted
        self._held = self._held if held is None else held
        self._switched()

    def _check_open(self) -> None:
        if self._state is MediaState.CLOSED:
            raise MediaStateError("The media peer is closed.", remedy="Make a new one for a new call.")

    def _enter(self, state: MediaState, error: CtiError | None = None) -> None:
        """Go to a state, wake those who wait for one, and tell it."""
        if self._state is MediaState.CLOSED or (state is self._state and error is None):
            return
        self._state = state
        self._error = error
        self._changed.set()
        self._changed = anyio.Event()
        if error is not None:
            self._tell(MediaFailed(error))
        elif state is MediaState.CONNECTED:
            self._tell(MediaConnected())
        elif state is MediaState.ENDED:
            self._tell(MediaEnded())

    def _tell(self, notice: MediaNotice) -> None:
        try:
            self._told(notice)
        except Exception as error:  # noqa: BLE001  # whoever listens is not the media's affair, and must not end it
            _log.error("cti.media.listener_failed", notice=type(notice).__name__, error=traceback_text(error))
