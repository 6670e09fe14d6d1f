"""The estimate of the E-model, and what is made of counters."""

from __future__ import annotations

import pytest

from cti_framework.media import MediaCounters, mean_opinion_score, measure, rating


@pytest.mark.parametrize(("r", "mos"), [(93.2, 4.41), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_the_score_of_a_rating(r: float, mos: float) -> None:
    """ITU-T G.107, Annex B: the provisional guide between R and MOS; and its best, 4.41 for the default R."""
    assert mean_opinion_score(r) == pytest.approx(mos, abs=0.01)


def test_the_ends_of_the_scale() -> None:
    assert mean_opinion_score(-5) == mean_opinion_score(0) == 1.0
    assert mean_opinion_score(100) == mean_opinion_score(120) == 4.5
    assert all(1.0 <= mean_opinion_score(r / 10) <= 4.5 for r in range(1_001))


def test_what_delay_costs() -> None:
    assert rating(delay_seconds=0, loss=0) == pytest.approx(93.2)
    assert rating(delay_seconds=0.1, loss=0) == pytest.approx(93.2 - 2.4)
    # Above 177.3 ms people begin to talk at the same time.
    assert rating(delay_seconds=0.3, loss=0) == pytest.approx(93.2 - 7.2 - 0.11 * (300 - 177.3))


def test_what_loss_costs() -> None:
    assert rating(delay_seconds=0, loss=0.02) == pytest.approx(93.2 - 95 * 2 / (2 + 4.3))
    assert rating(delay_seconds=0, loss=1) == pytest.approx(93.2 - 95 * 100 / 104.3)
    assert rating(delay_seconds=5, loss=0.5) == 0


def test_what_a_codec_costs() -> None:
    assert rating(delay_seconds=0, loss=0, codec="G722") == pytest.approx(80.2)
    assert rating(delay_seconds=0, loss=0, codec="PCMU") == pytest.approx(93.2)


def test_one_interval() -> None:
    before = MediaCounters(
        at_seconds=10, codec="opus", packets_sent=100, packets_received=90, packets_lost=10, remote_packets_lost=1
    )
    now = MediaCounters(
        at_seconds=15,
        codec="opus",
        packets_sent=350,
        packets_received=330,
        packets_lost=20,
        remote_packets_lost=26,
        jitter_seconds=0.004,
        round_trip_seconds=0.08,
    )
    quality = measure(before, now)
    assert quality.interval_seconds == 5
    assert quality.packets_received == 240
    assert quality.loss == pytest.approx(10 / 250)
    assert quality.remote_loss == pytest.approx(25 / 250)
    assert quality.jitter_seconds == 0.004
    assert quality.rating == pytest.approx(rating(delay_seconds=0.14, loss=0.04))
    assert quality.mos == mean_opinion_score(quality.rating)
    assert quality.counters is now


def test_nothing_was_said_yet() -> None:
    quality = measure(None, MediaCounters(at_seconds=3))
    assert (quality.interval_seconds, quality.packets_received, quality.loss) == (0, 0, 0)
    assert quality.remote_loss is None
    assert quality.round_trip_seconds is None


def test_a_stream_that_begins_anew_counts_from_zero() -> None:
    before = MediaCounters(at_seconds=10, packets_sent=900, packets_received=900, packets_lost=50)
    quality = measure(before, MediaCounters(at_seconds=11, packets_sent=40, packets_received=45, packets_lost=5))
    assert quality.interval_seconds == 1
    assert quality.packets_received == 45
    assert quality.loss == pytest.approx(0.1)


def test_packets_that_came_twice_are_no_loss() -> None:
    before = MediaCounters(at_seconds=1, packets_received=50, packets_lost=0, packets_sent=50, remote_packets_lost=0)
    now = MediaCounters(at_seconds=2, packets_received=101, packets_lost=-1, packets_sent=100, remote_packets_lost=-2)
    assert measure(before, now).loss == 0
    assert measure(before, now).remote_loss == 0


def test_held_calls_send_nothing() -> None:
    before = MediaCounters(at_seconds=1, packets_sent=50, remote_packets_lost=3)
    assert measure(before, MediaCounters(at_seconds=2, packets_sent=50, remote_packets_lost=5)).remote_loss == 0


def test_a_stream_that_fell_silent_is_all_loss() -> None:
    before = MediaCounters(at_seconds=1, packets_received=50)
    silent = measure(before, MediaCounters(at_seconds=6, packets_received=50))
    assert (silent.loss, silent.packets_received) == (1.0, 0)
    assert silent.mos < 1.5
    # Of one that never began nothing can be said.
    assert measure(MediaCounters(at_seconds=1), MediaCounters(at_seconds=6)).loss == 0
    assert measure(before, MediaCounters(at_seconds=6, packets_received=300, packets_lost=250)).loss == 0.5
