"""How good a call sounds: what the counters of RTP and RTCP say, and what a listener would say of it.

The estimate is the E-model's (ITU-T G.107), with everything at its default but delay and loss:

- R = 93.2 - Id - Ie,eff. 93.2 is what the defaults of G.107 give.
- Id, what delay costs: 0.024 d + 0.11 (d - 177.3) where d > 177.3, d in ms one way. That is the usual simplification of G.107's
  own Idd without echo (R. G. Cole, J. H. Rosenbluth: Voice over IP performance monitoring, 2001).
- Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl), G.107's for random loss. Ie is 0 for G.711 and 13 for G.722 at 64 kbit/s (ITU-T
  G.113, Appendix I). G.113 has no value for Opus, which at our rates is heard as no worse than G.711. Bpl is 4.3, that of G.711
  without concealment: the receiver leaves lost packets out and conceals nothing.
- MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6, 1 where R < 0, 4.5 where R > 100 (G.107, Annex B).

It is an estimate of conversational quality for narrow-band listeners: good for comparing calls, no replacement for asking people.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["MediaCounters", "MediaQuality", "mean_opinion_score", "measure", "rating"]

_BEST: Final = 93.2
_DELAY_COSTS_MORE_ABOVE_MS: Final = 177.3
_ROBUSTNESS: Final = 4.3
_IMPAIRMENT: Final = {"g722": 13.0}
_BUFFER_SECONDS: Final = 0.1
"""What this side adds: one frame of 20 ms, and the four that the receiver's jitter buffer holds back."""


@attrs.frozen(kw_only=True)
class MediaCounters:
    """What one media connection has counted so far.

    Attributes:
        at_seconds: When, on the clock of the event loop.
        codec: The codec's name, as in SDP; empty while none is agreed.
        packets_sent: RTP packets sent.
        bytes_sent: Their payload.
        packets_received: RTP packets received.
        packets_lost: RTP packets that did not come, judged by their numbers. Negative where some came twice.
        jitter_seconds: How unevenly they come (RFC 3550 6.4.1).
        remote_packets_lost: RTP packets sent that the other side says it did not get; ``None``: it has not said.
        remote_jitter_seconds: How unevenly they come there; ``None``: it has not said.
        round_trip_seconds: There and back, by RTCP; ``None``: not measured yet.
    """

    at_seconds: float
    codec: str = ""
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    jitter_seconds: float = 0.0
    remote_packets_lost: int | None = None
    remote_jitter_seconds: float | None = None
    round_trip_seconds: float | None = None


@attrs.frozen(kw_only=True)
class MediaQuality:
    """How good the media was during one interval.

    Attributes:
        interval_seconds: How long the interval was.
        packets_received: RTP packets that came in it.
        loss: The share of packets that did not come, 0 to 1.
        remote_loss: The share of ours that did not come there; ``None``: the other side has not said.
        jitter_seconds: How unevenly packets come.
        round_trip_seconds: There and back; ``None``: not measured yet, and taken as 0 in the estimate.
        rating: R of the E-model, 0 to 93.2.
        mos: The mean opinion score to be expected, 1 to 4.5; of what is heard here.
        counters: The counters at the interval's end.
    """

    interval_seconds: float
    packets_received: int
    loss: float
    remote_loss: float | None
    jitter_seconds: float
    round_trip_seconds: float | None
    rating: float
    mos: float
    counters: MediaCounters


def rating(*, delay_seconds: float, loss: float, codec: str = "opus") -> float:
    """Estimate R, the E-model's rating.

    Args:
        delay_seconds: From mouth to ear, one way.
        loss: The share of packets lost, 0 to 1.
        codec: The codec's name, as in SDP.

    Returns:
        0, unusable, to 93.2, as good as a telephone call can be.
    """
    delay_ms = delay_seconds * 1_000
    delay_cost = 0.024 * delay_ms + 0.11 * max(delay_ms - _DELAY_COSTS_MORE_ABOVE_MS, 0.0)
    impairment = _IMPAIRMENT.get(codec.lower(), 0.0)
    percent = min(max(loss, 0.0), 1.0) * 100
    impairment += (95 - impairment) * percent / (percent + _ROBUSTNESS)
    return max(_BEST - delay_cost - impairment, 0.0)


def mean_opinion_score(r: float) -> float:
    """Translate the E-model's rating into a mean opinion score.

    Args:
        r: The rating.

    Returns:
        1, bad, to 4.5, excellent.
    """
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    # The formula dips below 1 for ratings under 6.5; no listener can say less than 1.
    return max(1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6, 1.0)


def measure(before: MediaCounters | None, now: MediaCounters) -> MediaQuality:
    """Tell the quality of the time between two looks at the counters.

    Args:
        before: The earlier look; ``None``: the beginning of the connection.
        now: The later one.

    Returns:
        The quality. Counters that fell, because the other side began a new stream, count from zero again. Where something came
        before, and nothing did in this time, all of it is lost: what is missing is counted only once something comes again.
    """
    if before is None or now.packets_received < before.packets_received or now.packets_sent < before.packets_sent:
        before = MediaCounters(at_seconds=before.at_seconds if before is not None else now.at_seconds)
    received = now.packets_received - before.packets_received
    lost = max(now.packets_lost - before.packets_lost, 0)
    fell_silent = received == 0 and before.packets_received > 0 and now.at_seconds > before.at_seconds
    loss = lost / (received + lost) if lost else float(fell_silent)
    remote_loss = None
    if now.remote_packets_lost is not None:
        sent = now.packets_sent - before.packets_sent
        missed = now.remote_packets_lost - (before.remote_packets_lost or 0)
        # The other side's count is some packets older than ours.
        remote_loss = min(max(missed, 0) / sent, 1.0) if sent else 0.0
    delay_seconds = (now.round_trip_seconds or 0.0) / 2 + _BUFFER_SECONDS
    r = rating(delay_seconds=delay_seconds, loss=loss, codec=now.codec)
    return MediaQuality(
        interval_seconds=now.at_seconds - before.at_seconds,
        packets_received=received,
        loss=loss,
        remote_loss=remote_loss,
        jitter_seconds=now.jitter_seconds,
        round_trip_seconds=now.round_trip_seconds,
        rating=r,
        mos=mean_opinion_score(r),
        counters=now,
    )
