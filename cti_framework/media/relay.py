"""Media that is elsewhere: a browser beside this program has the microphone and its own WebRTC stack.

The signalling is here, the media there: texts (SDP) go across, sound does not. Whoever holds the connection to that party, a
page of the host for example, gives two things: an object that carries each request across and brings the answer back, and calls
of ``told_…`` for what happens there by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

import anyio

from cti_framework.errors import CtiError
from cti_framework.media.errors import MediaConnectionError, MediaStateError, RelayError
from cti_framework.media.port import MediaPeer
from cti_framework.media.quality import MediaCounters, MediaQuality, measure
from cti_framework.media.values import MediaState, QualityMeasured, Told

__all__ = ["RelayPeer", "RemoteParty"]

T = TypeVar("T")


class RemoteParty(Protocol):
    """Carries a peer's requests to the party that has the media. Each raises whatever went wrong."""

    async def offer(self) -> str:
        """Ask for a first offer."""

    async def answer(self, remote_sdp: str) -> str:
        """Hand over an offer, first or later, and ask for the answer."""

    async def set_remote(self, remote_sdp: str) -> None:
        """Hand over the answer to its last offer."""

    async def restart(self) -> str:
        """Ask for an offer of new media: new addresses, new keys, the same microphone."""

    async def renegotiate(self, held: bool) -> str:
        """Ask for an offer of the present media: ``sendonly`` if held, else ``sendrecv``."""

    def switch(self, muted: bool, held: bool) -> None:
        """Let it send and hear as told. It may be sent and not waited for."""

    async def close(self) -> None:
        """Let it end the call's media, if it is there at all."""


class RelayPeer(MediaPeer):
    """A peer whose media is a remote party's. It runs on every event loop that anyio knows.

    Args:
        party: Carries requests across.
        told: Called with each notice.
        answer_timeout_seconds: How long the party may take for a request: people may be asked for their microphone first.
    """

    def __init__(self, party: RemoteParty, told: Told | None = None, *, answer_timeout_seconds: float = 10.0) -> None:
        super().__init__(told)
        self._party = party
        self._seconds = answer_timeout_seconds
        self._counters: MediaCounters | None = None
        self._offered = False
        self._begun = False

    async def offer(self) -> str:
        """Begin the media of a call that goes out.

        Returns:
            The party's offer.

        Raises:
            MediaStateError: The media was begun already, or the peer is closed.
            RelayError: The party did not give one.
        """
        self._check_open()
        if self._begun or self._offered:
            raise MediaStateError("The media was begun already.", remedy="restart() begins new media.")
        return await self._offer(self._party.offer())

    async def answer(self, remote_sdp: str) -> str:
        """Take the other side's offer.

        Args:
            remote_sdp: What the other side can do.

        Returns:
            The party's answer.

        Raises:
            MediaStateError: The peer is closed.
            RelayError: The party did not answer it.
        """
        self._check_open()
        sdp = await self._asked("answer", self._party.answer(remote_sdp))
        self._offered = False
        self._negotiated()
        return sdp

    async def set_remote(self, remote_sdp: str) -> None:
        """Take the other side's answer.

        Args:
            remote_sdp: What both can do, as the other side says.

        Raises:
            MediaStateError: There is no offer to answer, or the peer is closed.
            RelayError: The party did not take it.
        """
        self._check_open()
        if not self._offered:
            raise MediaStateError("There is no offer that this could be the answer to.")
        await self._asked("set_remote", self._party.set_remote(remote_sdp))
        self._offered = False
        self._negotiated()

    async def restart(self) -> str:
        """Begin new media on the same call.

        Returns:
            The party's offer.

        Raises:
            MediaStateError: The peer is closed.
            RelayError: The party did not give one.
        """
        self._check_open()
        return await self._offer(self._party.restart())

    async def renegotiate(self) -> str:
        """Offer the present media again, in the directions that ``held`` asks for.

        Returns:
            The party's offer.

        Raises:
            MediaStateError: There is no media, an offer is unanswered, or the peer is closed.
            RelayError: The party did not give one.
        """
        self._check_open()
        if not self._begun or self._offered:
            raise MediaStateError("There is no media yet that could be offered again.")
        return await self._offer(self._party.renegotiate(self._held))

    async def statistics(self) -> MediaCounters:
        """Look at the counters.

        Returns:
            What the party last said.
        """
        return self._counters or MediaCounters(at_seconds=anyio.current_time())

    def told_connected(self) -> None:
        """Take it from the party that sound flows."""
        if self._begun:
            self._enter(MediaState.CONNECTED)

    def told_ended(self) -> None:
        """Take it from the party that the other side ended the media."""
        self._enter(MediaState.ENDED)

    def told_failed(self, error: CtiError | str) -> None:
        """Take it from the party that there is no way to the other side, that its microphone is refused, or that it is gone.

        Args:
            error: Why: an error of ``media.errors`` where one says it, else the party's words.
        """
        if not isinstance(error, CtiError):
            error = RelayError(f"The party that has the media says: {error}")
        self._enter(MediaState.FAILED, error)

    def told_counters(self, counters: MediaCounters) -> MediaQuality:
        """Take the party's counters; what they say of the time since the last ones is told as ``QualityMeasured``, unless held.

        Args:
            counters: What the party counted so far.

        Returns:
            The quality.
        """
        quality = measure(self._counters, counters)
        self._counters = counters
        if not self._held:
            self._tell(QualityMeasured(quality))
        return quality

    def _switched(self) -> None:
        self._party.switch(self._muted, self._held)

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._asked("close", self._party.close())
            except RelayError:
                # It is gone, and its media with it.
                return

    async def _offer(self, asked: Awaitable[str]) -> str:
        sdp = await self._asked("offer", asked)
        self._offered = True
        return sdp

    def _negotiated(self) -> None:
        if not self._begun or self._state in (MediaState.FAILED, MediaState.ENDED):
            self._begun = True
            self._enter(MediaState.CONNECTING)

    async def _asked(self, what: str, asked: Awaitable[T]) -> T:
        try:
            with anyio.fail_after(self._seconds):
                answer = await asked
        except TimeoutError as error:
            raise RelayError(f"The party that has the media did not do {what!r} within {self._seconds:g} s.") from error
        except (MediaConnectionError, MediaStateError):
            raise
        except Exception as error:  # the party's stack is its own: whatever it raises is told as what it could not do
            raise RelayError(f"The party that has the media could not do {what!r}: {error}") from error
        if self._state is MediaState.CLOSED and what != "close":
            raise MediaStateError("The media peer was closed meanwhile.")
        return answer
