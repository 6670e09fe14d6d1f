"""The benchmarks run and measure what they say; how fast it is, no test asserts."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import BARS
from tests.benchmarks.measure import idle_session_kb, import_ratio, latency_p99_ms, throughput
from tests.benchmarks.phone import phone_costs
from tests.benchmarks.reliability import restart
from tests.benchmarks.resync import resync_1000_calls_s


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_frame_goes_the_whole_way(backend: str) -> None:
    found = throughput(backend, calls=3, rounds=1)
    assert found.ratio > 0
    assert found.path_events_per_second > 0


def test_each_tone_is_timed() -> None:
    assert 0 < latency_p99_ms("asyncio", tones=20) < 10_000


def test_memory_and_imports_are_measured() -> None:
    assert idle_session_kb(sessions=3) > -10_000
    assert import_ratio(imports=1) > 0


def test_a_hubs_sessions_come_back_after_a_restart_and_are_measured() -> None:
    found = restart(sessions=40)
    assert found.in_service == 40
    assert found.log_ins == 40
    assert found.log_ins_at_once <= 16
    assert found.back_seconds > 0
    assert found.mb > 0


def test_calls_are_reconciled() -> None:
    assert resync_1000_calls_s(40) > 0


def test_a_web_phone_is_measured_with_a_call_and_without() -> None:
    pytest.importorskip("aiortc", reason="the extra media is not installed")
    found = phone_costs(seconds=0.5, rounds=1)
    assert found.idle_cpu_percent >= 0
    assert found.ratio > 0


def test_the_keys_that_readers_rely_on_are_printed() -> None:
    assert {"events_ratio", "latency_p99_ms", "idle_session_kb", "import_ratio"} <= set(BARS)
    assert {"phone_idle_cpu_percent", "phone_call_ratio"} <= set(BARS)
    assert {"sessions_2000_s", "sessions_2000_mb", "resync_1000_calls_s"} <= set(BARS)
