"""`python -m tests.benchmarks [--json] [speed | reliability | phone | all]`: how fast and small, what outages and a phone cost.

Where that says something, a figure is a ratio to a floor measured in the same run. What each is and what limits it:
docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.benchmarks.measure import idle_session_kb, import_ratio, latency_p99_ms, throughput
from tests.benchmarks.phone import phone_costs
from tests.benchmarks.reliability import restart
from tests.benchmarks.resync import resync_1000_calls_s

BARS = {
    "events_ratio": ("at least 0.5", "the whole path's frames a second, over a bare client's that only receives and decodes"),
    "latency_p99_ms": ("at most 5", "from the frame's sending to the subscriber, at 500 events a second"),
    "idle_session_kb": ("at most 60", "an idle session's memory above a bare connection's"),
    "import_ratio": ("at most 1.5", "import cti_framework, over import anyio, attrs, pluggy, structlog"),
    "import_used_ratio": ("printed", "as import_ratio, with CtiProviderInitializer used: nothing is left to be loaded later"),
    "events_ratio_trio": ("printed", "as events_ratio, on trio"),
    "latency_p99_ms_trio": ("printed", "as latency_p99_ms, on trio"),
    "sessions_2000_s": ("printed", "from the PBX's return until 2,000 sessions of one hub are in service, their calls known"),
    "sessions_2000_mb": ("printed", "what the process of those 2,000 sessions holds more than with none"),
    "phone_idle_cpu_percent": ("below 1", "of one core, by a session with the web phone that waits for calls"),
    "phone_call_ratio": (
        "printed",
        "processor time of a session in a call with the web phone, over bare aiortc's in the same call",
    ),
    "resync_1000_calls_s": ("at most 1", "from the snapshot until 1,000 calls agree with it and all events of that are told"),
}
RESYNC_ROUNDS = 5

Figures = dict[str, float]


def speed() -> tuple[Figures, Figures]:
    """Measure what the hot path does, and what a session costs."""
    figures: Figures = {}
    details: Figures = {}
    for backend, suffix in (("asyncio", ""), ("trio", "_trio")):
        found = throughput(backend)
        figures[f"events_ratio{suffix}"] = round(found.ratio, 3)
        details[f"floor_frames_per_second{suffix}"] = round(found.floor_frames_per_second)
        details[f"path_frames_per_second{suffix}"] = round(found.path_frames_per_second)
        details[f"path_events_per_second{suffix}"] = round(found.path_events_per_second)
        figures[f"latency_p99_ms{suffix}"] = round(latency_p99_ms(backend), 3)
    figures["idle_session_kb"] = round(idle_session_kb(), 1)
    figures["import_ratio"] = round(import_ratio(), 3)
    figures["import_used_ratio"] = round(import_ratio(used="CtiProviderInitializer"), 3)
    return figures, details


def reliability() -> tuple[Figures, Figures]:
    """Measure what outages cost."""
    figures: Figures = {"resync_1000_calls_s": round(min(resync_1000_calls_s() for _ in range(RESYNC_ROUNDS)), 3)}
    found = restart()
    figures["sessions_2000_s"] = round(found.back_seconds, 1)
    figures["sessions_2000_mb"] = round(found.mb, 1)
    details: Figures = {
        "sessions_opened_s": round(found.opened_seconds, 1),
        "sessions_log_ins": found.log_ins,
        "sessions_log_ins_at_once": found.log_ins_at_once,
        "sessions_log_ins_in_a_second": found.log_ins_in_a_second,
    }
    return figures, details


def phone() -> tuple[Figures, Figures]:
    """Measure what the web phone costs."""
    found = phone_costs()
    figures: Figures = {
        "phone_idle_cpu_percent": round(found.idle_cpu_percent, 2),
        "phone_call_ratio": round(found.ratio, 3),
    }
    details: Figures = {
        "phone_call_cpu_percent": round(found.call_cpu_percent, 2),
        "phone_bare_cpu_percent": round(found.bare_cpu_percent, 2),
    }
    return figures, details


GROUPS = {
    "speed": (speed,),
    "reliability": (reliability,),
    "phone": (phone,),
    "all": (speed, reliability, phone),
}


def main() -> int:
    """Measure, print, and say by the exit code only whether the measuring itself went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("group", nargs="?", choices=sorted(GROUPS), default="speed", help="which figures (default: %(default)s)")
    arguments = parser.parse_args()
    figures: Figures = {}
    details: Figures = {}
    for measure in GROUPS[arguments.group]:
        found, beside = measure()
        figures |= found
        details |= beside
    if arguments.json:
        print(json.dumps({**figures, **details}))
        return 0
    for name in figures:
        bar, meaning = BARS[name]
        print(f"{name:22} {figures[name]:>9}   {bar:14} {meaning}")
    for name, value in details.items():
        print(f"{name:34} {value:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
