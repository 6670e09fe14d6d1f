"""The SDP of the captures: what a real FreeSWITCH wrote, and what it took."""

from __future__ import annotations

import json
from pathlib import Path

CAPTURES = Path(__file__).parent.parent / "captures" / "verto"


def described(name: str, method: str, *, by: str = "s2c") -> str:
    """The SDP of the first message of a kind in a capture; of a result, if the method is empty."""
    for line in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        happened = json.loads(line)
        frame = happened.get("frame")
        if happened["dir"] != by or not isinstance(frame, dict):
            continue
        held = frame.get("params" if method else "result") or {}
        if frame.get("method", "") == method and isinstance(held, dict) and "sdp" in held:
            return str(held["sdp"])
    raise LookupError(f"{name} has no SDP in a {method or 'result'} of {by}")


def all_descriptions(by: str = "s2c") -> list[tuple[str, str]]:
    """Each SDP that a real FreeSWITCH wrote: an identifier, and the text."""
    found: list[tuple[str, str]] = []
    for path in sorted(CAPTURES.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            happened = json.loads(line)
            frame = happened.get("frame")
            if happened["dir"] == by and isinstance(frame, dict):
                for held in (frame.get("params"), frame.get("result")):
                    if isinstance(held, dict) and isinstance(held.get("sdp"), str):
                        found.append((f"{path.stem}:{number}:{frame.get('method', 'result')}", held["sdp"]))
    return found
