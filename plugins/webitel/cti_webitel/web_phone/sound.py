"""One call's media: begun, mended where it breaks, ended. Whatever a peer raises is named, and ends nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from cti_framework.cancellation import fault_of
from cti_framework.errors import CommandError, CtiError, told_error, traceback_text
from cti_framework.media.errors import MediaError
from cti_framework.media.port import MediaPeer
from cti_framework.media.values import MediaNotice, MediaState
from cti_webitel.web_phone.phone_call import PhoneCall
from cti_webitel.web_phone.video import both_show_video

if TYPE_CHECKING:
    from cti_framework.media.peers import MediaPeers

__all__ = ["NoSoundError", "Sounds"]

T = TypeVar("T")


class NoSoundError(CommandError):
    """The media of a call cannot be begun, so nothing was sent: a call that comes in goes on ringing. The cause says more."""

    remedy = "Look at the microphone and the speaker, and try again."


class Sounds:
    """Makes and ends the media of a phone's calls.

    Args:
        media: Makes peers.
        told: Called with what a call's peer tells.
        log: A structlog logger.
    """

    def __init__(self, media: MediaPeers, told: Callable[[PhoneCall, MediaNotice], None], log: Any) -> None:
        self._media = media
        self._told = told
        self._log = log

    def ringing(self, call: PhoneCall) -> Awaitable[None]:
        """Let it be heard that a call comes in, until it is silenced.

        Args:
            call: The call.

        Returns:
            What is awaited for it.
        """

        async def ring() -> None:
            async with self._media.ringing(call.id):
                await call.silenced.wait()

        return self._guarded("ring", ring)

    async def offer(self, call: PhoneCall) -> str:
        """Begin the media of a call that goes out.

        Args:
            call: The call.

        Returns:
            The offer.

        Raises:
            NoSoundError: It cannot be begun.
        """
        return await self._begun(call, "make_call", lambda peer: peer.offer())

    async def answer(self, call: PhoneCall, remote_sdp: str) -> str:
        """Begin the media of a call that came in.

        Args:
            call: The call.
            remote_sdp: The server's offer.

        Returns:
            The answer.

        Raises:
            NoSoundError: It cannot be begun.
        """
        sdp = await self._begun(call, "answer_call", lambda peer: peer.answer(remote_sdp))
        call.has_video = both_show_video(sdp, remote_sdp)
        return sdp

    async def answer_again(self, call: PhoneCall, remote_sdp: str) -> str:
        """Take the server's offer of new media, in the call's own peer where it has one: it stays held and muted as it is.

        Args:
            call: The call.
            remote_sdp: The server's offer.

        Returns:
            The answer.

        Raises:
            CtiError: There is none.
        """
        if call.peer is None:
            return await self.answer(call, remote_sdp)
        sdp = await self._guarded("answer", call.peer.answer, remote_sdp)
        call.has_video = both_show_video(sdp, remote_sdp)
        return sdp

    async def accept(self, call: PhoneCall, remote_sdp: str) -> None:
        """Take the server's answer to a call's offer.

        Args:
            call: The call.
            remote_sdp: The answer.

        Raises:
            CtiError: It cannot be used.
        """
        if call.peer is not None:
            await self._guarded("set_remote", call.peer.set_remote, remote_sdp)
            call.has_video = both_show_video(call.offer, remote_sdp)

    async def mend(self, call: PhoneCall, update: Callable[[str], Awaitable[str]]) -> None:
        """Make new media for an answered call.

        Args:
            call: The call.
            update: Hands an offer to the server, and gives its answer.

        Raises:
            CtiError: There is none.
        """
        peer = call.peer
        if peer is not None:
            offer = await self._guarded("restart", peer.restart)
            await self._guarded("set_remote", peer.set_remote, await update(offer))

    def switch(self, call: PhoneCall, *, muted: bool | None = None, held: bool | None = None) -> None:
        """Mute a call's media or hold it, or take it back. What has none, or is so already, is left alone.

        Args:
            call: The call.
            muted: Whether the microphone is to be off; ``None``: as it is.
            held: Whether nothing is to be said or heard; ``None``: as it is.

        Raises:
            CtiError: The media did not.
        """
        peer = call.peer
        if peer is None or peer.state is MediaState.CLOSED:
            return
        try:
            if muted is not None and muted is not peer.muted:
                (peer.mute if muted else peer.unmute)()
            if held is not None and held is not peer.held:
                (peer.hold if held else peer.unhold)()
        except CtiError:
            raise
        except Exception as fault:  # whoever has the media may be the host's: whatever it raises is told as what it did not do
            raise self._named("switch", fault) from fault

    async def end(self, call: PhoneCall) -> None:
        """Let go of a call's media.

        Args:
            call: The call.
        """
        peer, call.peer = call.peer, None
        call.has_media = False
        if peer is not None:
            with anyio.CancelScope(shield=True):
                try:
                    await self._guarded("close", peer.close)
                except CtiError as error:
                    self._log.error("webitel.web_phone.media_not_closed", call_id=call.id, **error.describe())

    async def _begun(self, call: PhoneCall, verb: str, negotiate: Callable[[MediaPeer], Awaitable[str]]) -> str:
        try:
            peer = call.peer = self._new_peer(call)
            sdp = await self._guarded(verb, negotiate, peer)
        except CtiError as error:
            await self.end(call)
            raise NoSoundError(
                f"{verb} was not sent: {error.message}", command=verb, retryable=error.retryable, remedy=error.remedy or None
            ) from error
        except BaseException:
            await self.end(call)
            raise
        if call.is_over:
            await self.end(call)
            raise NoSoundError(f"{verb} was not sent: the call ended meanwhile.", command=verb, remedy="The call is over.")
        call.has_media = True
        return sdp

    def _new_peer(self, call: PhoneCall) -> MediaPeer:
        try:
            peer = self._media.peer(call.id, lambda notice: self._told(call, notice))
            if call.is_muted:
                peer.mute()
            if call.is_held:
                peer.hold()
        except CtiError:
            raise
        except Exception as fault:  # whoever makes peers may be the host: whatever it raises is told as what it could not do
            raise self._named("peer", fault) from fault
        return peer

    async def _guarded(self, step: str, act: Callable[..., Awaitable[T]], *arguments: object) -> T:
        try:
            return await act(*arguments)
        except BaseException as raised:
            # A peer may be anybody's, and its library raise anything.
            fault = fault_of(raised)
            if fault is None or isinstance(fault, CtiError):
                raise
            told = told_error(fault) if isinstance(fault, Exception) else None
            if told is not None:
                raise told from (told.__cause__ or raised)
            raise self._named(step, fault) from fault

    def _named(self, step: str, fault: BaseException) -> MediaError:
        self._log.error("webitel.web_phone.media_raised", media_step=step, stack=traceback_text(fault))
        return MediaError(f"The media raised {type(fault).__name__} at the step {step!r}.", remedy="The log has the traceback.")
