"""`python -m tests.benchmarks [--json]`: how fast and how small, as ratios to a floor measured in the same run.

What each figure is and what limits it: docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.benchmarks.measure import idle_session_kb, import_ratio, latency_p99_ms, throughput

BARS = {
    "events_ratio": ("at least 0.5", "the whole path's frames a second, over a bare client's that only receives and decodes"),
    "latency_p99_ms": ("at most 5", "from the frame's sending to the subscriber, at 500 events a second"),
    "idle_session_kb": ("at most 60", "an idle session's memory above a bare connection's"),
    "import_ratio": ("at most 1.5", "import cti_framework, over import anyio, attrs, pluggy, structlog"),
    "import_used_ratio": ("printed", "as import_ratio, with CtiProviderInitializer used: nothing is left to be loaded later"),
    "events_ratio_trio": ("printed", "as events_ratio, on trio"),
    "latency_p99_ms_trio": ("printed", "as latency_p99_ms, on trio"),
}


def main() -> int:
    """Measure, print, and say by the exit code only whether the measuring itself went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    details: dict[str, float] = {}
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
    if arguments.json:
        print(json.dumps({**figures, **details}))
        return 0
    for name, (bar, meaning) in BARS.items():
        print(f"{name:22} {figures[name]:>9}   {bar:14} {meaning}")
    for name, value in details.items():
        print(f"{name:34} {value:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
