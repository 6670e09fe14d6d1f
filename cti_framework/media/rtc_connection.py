"""One connection of aiortc, from the first description to the end: descriptions in and out, states, failures, counters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio
import structlog
from aiortc import MediaStreamTrack, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.stats import (
    RTCInboundRtpStreamStats,
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
)

from cti_framework.errors import traceback_text
from cti_framework.media.errors import (
    DtlsFailedError,
    IceFailedError,
    MediaConnectionError,
    MediaStateError,
    NoCommonCodecError,
    SdpError,
)
from cti_framework.media.quality import MediaCounters
from cti_framework.media.rtc_adapted import AdaptedConnection
from cti_framework.media.rtc_audio import MouthTrack
from cti_framework.media.sdp import RemoteSdp, complete_answer, shown
from cti_framework.media.values import MediaSettings

__all__ = ["RtcConnection"]

T = TypeVar("T")

_log = structlog.get_logger("cti_framework")

_CLOSE_SECONDS: Final = 5.0
_MOST_NAMED: Final = 10


class RtcConnection:
    """One set of addresses and keys, from the first description to the end. New media is a new one of these.

    Args:
        settings: How media finds its way.
        track: What is sent.
        on_change: Called with this connection when ``state`` changed, or when the other side's sound is there.
    """

    def __init__(self, settings: MediaSettings, track: MouthTrack, on_change: Callable[[RtcConnection], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._track = track
        self._peer = AdaptedConnection(settings, self._broke)
        self._peer.on("connectionstatechange", self._changed)
        self._peer.on("track", self._track_came)
        self._transceiver = self._peer.addTransceiver(track, direction="sendrecv")
        self._ice = self._transceiver.sender.transport.transport
        self._ice.on("statechange", self._ice_changed)
        self._prefer(settings.codecs)
        self._timer: asyncio.TimerHandle | None = None
        self._working: asyncio.Future[Any] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._was_connected = False
        self.user_fragment = ""
        """The other side's ICE user fragment."""
        self.remote_track: MediaStreamTrack | None = None
        """The other side's sound."""
        self.error: MediaConnectionError | None = None
        """Why it failed."""

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected``, ``failed`` or ``closed``."""
        return "failed" if self.error is not None else self._peer.connectionState

    @property
    def awaits_answer(self) -> bool:
        """Whether an offer was made and not answered."""
        return self._peer.signalingState == "have-local-offer"

    async def offer(self, *, held: bool = False) -> str:
        """Describe this side.

        Args:
            held: Whether nothing of the other side is to be heard.

        Returns:
            The offer.
        """
        return await self._work(self._offer(held))

    async def answer(self, remote: RemoteSdp, *, held: bool = False) -> str:
        """Take an offer.

        Args:
            remote: The other side's.
            held: Whether nothing of the other side is to be heard.

        Returns:
            The answer.

        Raises:
            SdpError: The offer cannot be used.
            MediaStateError: An offer of this side is unanswered.
        """
        return await self._work(self._answer(remote, held))

    async def accept(self, remote: RemoteSdp) -> None:
        """Take the answer to the last offer.

        Args:
            remote: The other side's.

        Raises:
            SdpError: The answer cannot be used.
            MediaStateError: There is no offer to answer.
        """
        await self._work(self._accept(remote))

    async def counters(self) -> MediaCounters:
        """Look at what was counted.

        Returns:
            The counters.
        """
        codec = self._codec()
        found: dict[str, Any] = {}
        for stats in (await self._peer.getStats()).values():
            if isinstance(stats, RTCOutboundRtpStreamStats):
                found |= {"packets_sent": stats.packetsSent, "bytes_sent": stats.bytesSent}
            elif isinstance(stats, RTCRemoteInboundRtpStreamStats):
                # aiortc says `float`, and means `None` before the first measurement. Clocks are set while calls go on.
                trip = getattr(stats, "roundTripTime", None)
                found |= {
                    "remote_packets_lost": stats.packetsLost,
                    "remote_jitter_seconds": stats.jitter / codec.clockRate if codec else None,
                    "round_trip_seconds": None if trip is None else max(trip, 0.0),
                }
            elif isinstance(stats, RTCInboundRtpStreamStats):
                found |= {
                    "packets_received": stats.packetsReceived,
                    "packets_lost": stats.packetsLost,
                    "jitter_seconds": stats.jitter / codec.clockRate if codec else 0.0,
                }
        return MediaCounters(at_seconds=asyncio.get_running_loop().time(), codec=codec.name if codec else "", **found)

    async def close(self) -> None:
        """Let go of addresses, keys, decoders and tasks. It goes on to its end even if whoever waits is cancelled."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        with anyio.CancelScope(shield=True):
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stop_timer()
        self._peer.remove_all_listeners()
        if self._working is not None:
            # Addresses that are just being gathered would be open for ever.
            await asyncio.wait({self._working})
        closing = asyncio.ensure_future(self._peer.close())
        _, left = await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
        if left:
            _log.warning("cti.media.does_not_close", after_seconds=_CLOSE_SECONDS)
        elif (error := closing.exception()) is not None:
            _log.error("cti.media.close_failed", error=traceback_text(error))

    async def _offer(self, held: bool) -> str:
        self._transceiver.direction = "sendonly" if held else "sendrecv"
        await self._peer.setLocalDescription(await self._peer.createOffer())
        return self._peer.localDescription.sdp

    async def _answer(self, remote: RemoteSdp, held: bool) -> str:
        self._transceiver.direction = "sendonly" if held else "sendrecv"
        with self._understanding(remote, "offer"):
            await self._take(remote, "offer")
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        self._begin_timer()
        return complete_answer(self._peer.localDescription.sdp, remote)

    async def _accept(self, remote: RemoteSdp) -> None:
        with self._understanding(remote, "answer"):
            await self._take(remote, "answer")
        self._begin_timer()

    async def _take(self, remote: RemoteSdp, kind: str) -> None:
        if not {codec.lower() for codec in self._settings.codecs} & {codec.lower() for codec in remote.codecs}:
            raise OperationError("no name of a codec in common")
        await self._peer.setRemoteDescription(RTCSessionDescription(remote.text, kind))
        self.user_fragment = remote.user_fragment
        codec = self._codec()
        if codec is not None and codec.name.lower() == "opus":
            self._track.begin_opus(remote.opus_bits_per_second)

    @contextmanager
    def _understanding(self, remote: RemoteSdp, kind: str) -> Iterator[None]:
        """Say in our words what aiortc stumbled over."""
        ours = self._settings.codecs
        named = [shown(codec) for codec in remote.codecs[:_MOST_NAMED]] + ["…"] * (len(remote.codecs) > _MOST_NAMED)
        try:
            yield
        except OperationError as error:
            raise NoCommonCodecError(
                f"The two sides have no codec in common: ours are {', '.join(ours)}, theirs {', '.join(named)}.",
                ours=ours,
                theirs=remote.codecs,
            ) from error
        except (InvalidStateError, InvalidAccessError) as error:
            raise MediaStateError(f"The {kind} comes at the wrong time: {error}.") from error
        except (AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise SdpError(f"The other side's {kind} cannot be read: {shown(str(error)) or type(error).__name__}.") from error

    async def _work(self, negotiation: Awaitable[T]) -> T:
        """Go on to the end of a step even if whoever waits is cancelled: a half-made connection cannot be closed."""
        working = asyncio.ensure_future(negotiation)
        self._working = working
        working.add_done_callback(_retrieve)
        result: T = await asyncio.shield(working)
        return result

    def _prefer(self, names: tuple[str, ...]) -> None:
        capabilities = RTCRtpSender.getCapabilities("audio").codecs
        wanted = [f"audio/{name.lower()}" for name in names]
        chosen = [codec for codec in capabilities if codec.mimeType.lower() in wanted]
        self._transceiver.setCodecPreferences(sorted(chosen, key=lambda codec: wanted.index(codec.mimeType.lower())))

    def _codec(self) -> Any:
        """Give the codec that both agreed on: the first of the common ones, which is what aiortc sends."""
        codecs = self._transceiver._codecs
        return codecs[0] if self.user_fragment and codecs else None

    def _begin_timer(self) -> None:
        if self._timer is None and self.state in ("new", "connecting"):
            self._timer = asyncio.get_running_loop().call_later(self._settings.connect_timeout_seconds, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _timed_out(self) -> None:
        after = f"within {self._settings.connect_timeout_seconds:g} s"
        if self._peer.iceConnectionState == "completed":
            self._fail(DtlsFailedError(f"The other side did not agree on keys {after}.", retryable=True))
        else:
            self._fail(IceFailedError(f"No pair of addresses of the two sides worked {after}."))

    def _track_came(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self.remote_track = track
            self._on_change(self)

    def _ice_changed(self) -> None:
        # The connection goes from connected to closed then, as if the other side had ended it.
        if self._was_connected and self._ice.state == "failed":
            self._fail(IceFailedError("The other side is not heard of any more: its network or its program is gone."))

    def _changed(self) -> None:
        state = self._peer.connectionState
        if state == "failed":
            if self._peer.iceConnectionState != "failed":
                self._fail(DtlsFailedError("The two sides could not agree on keys."))
            else:
                self._fail(IceFailedError("No pair of addresses of the two sides works."))
            return
        if state == "connected":
            self._was_connected = True
            self._stop_timer()
        self._on_change(self)

    def _broke(self, error: Exception) -> None:
        _log.error("cti.media.connection_broke", error=traceback_text(error))
        self._fail(MediaConnectionError(f"The media connection broke: {str(error) or type(error).__name__}."))

    def _fail(self, error: MediaConnectionError) -> None:
        if self.error is None and self._closing is None:
            self.error = error
            self._stop_timer()
            self._on_change(self)


def _retrieve(done: asyncio.Future[Any]) -> None:
    """Look at what a step ended with, so that asyncio does not complain where nobody waits any more."""
    if not done.cancelled():
        done.exception()
