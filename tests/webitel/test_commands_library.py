"""Ours and the library's callbacks, on streams of frames that nobody captured: two phones, queues, transfers, changing numbers.

What the library does is written down in `library_model`; where ours differs on purpose, a test in `test_protocol` says so, and no
stream here goes there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from cti_webitel.engine.callbacks import CALLBACKS, Callback, CallCallback
from cti_webitel.engine.protocol import EngineProtocol
from tests.webitel.library_model import LibraryModel

CAPTURES = Path(__file__).parents[1] / "captures" / "webitel"
ACCOUNT = "100@demo.local"
WITHOUT_VARIABLES = ("CHANNEL_STATE", "CHANNEL_CALLSTATE", "DTMF")


def identifier(number: int) -> str:
    return str(UUID(int=number << 64, version=4))


def ours(frames: Iterable[dict[str, Any]]) -> list[tuple[str, Any]]:
    protocol = EngineProtocol(ACCOUNT)
    told = [output for frame in frames for output in protocol.receive(orjson.dumps(frame))]
    return [(output.name, output.payload()) for output in told if isinstance(output, Callback) and not output.ours]


def the_library_s(frames: Iterable[dict[str, Any]]) -> list[tuple[str, Any]]:
    model = LibraryModel(ACCOUNT)
    return [told for frame in frames for told in model.receive(frame)]


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.callbacks.jsonl")), ids=lambda path: path.name.partition(".")[0])
def test_the_model_is_the_library(path: Path) -> None:
    lines = path.with_name(path.name.replace(".callbacks.", ".frames.")).read_text(encoding="utf-8").splitlines()
    frames = [entry["frame"] for entry in map(json.loads, lines) if entry["dir"] == "s2c"]
    calls = the_library_s(frame for frame in frames if frame.get("webitel-event-name") == "call")
    entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    recorded = [(entry["cb"], entry["payload"]) for entry in entries if "Call" in entry.get("cb", "")]
    assert [json.dumps(told) for told in calls] == [json.dumps(told) for told in recorded]


# --- streams


NUMBERS = (None, "", "100", "0671112233", "0501234567", f"u:{identifier(77)}", identifier(78))
PEOPLE = (None, "", "Outbound Call", "Ann")
MIDDLE = (
    "CHANNEL_STATE",
    "CHANNEL_CALLSTATE",
    "DTMF",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "RECORD_START",
    "RECORD_STOP",
)
BUSY = (*MIDDLE, "CHANNEL_HOLD", "CHANNEL_UNHOLD")
LAST = ("CHANNEL_HANGUP", "CHANNEL_HANGUP_COMPLETE", "CHANNEL_DESTROY")


class Exchange:
    """Makes up calls and the frames of their legs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def stream(self) -> list[dict[str, Any]]:
        """Give some calls, whose legs' frames keep their order while those of different legs mix."""
        waiting = [stream for number in range(self.one(1, 2, 3)) for stream in self.legs(2 * number, self.one(1, 2, 3))]
        mixed = []
        while waiting:
            stream = self.random.choice(waiting)
            mixed.append(stream.pop(0))
            waiting = [stream for stream in waiting if stream]
        return mixed

    def legs(self, number: int, count: int) -> list[list[dict[str, Any]]]:
        """Give the frames of a call, a list a leg; one leg at most is picked up."""
        far, originator = identifier(1000 + number // 2), count == 1 and self.one(True, False)
        variables = {
            "variable_w_account_origination_uuid": self.one(None, identifier(2000 + number)),
            "variable_w_jsclient_originate_number": self.one(None, None, "0501234567"),
            "variable_w_jsclient_xtransfer": self.one(None, None, identifier(3)),
            "variable_cc_queue": self.one(None, None, "support@demo.local"),
            "variable_cc_member_session_uuid": self.one(None, identifier(4)),
            "variable_originating_leg_uuid": self.one(None, far),
            "variable_webitel_data": self.one(None, '\'{"a":"O\'B"}\''),
            "variable_dlr_session_id": self.one(None, "7"),
            "variable_w_transfer_result": self.one(None, None, "confirmed"),
        }
        direction = self.one("inbound", "outbound")
        answers = self.one(None, *range(count))
        streams = []
        for place in range(count):
            uuid = identifier(10 + 10 * number + place)
            head = {
                "webitel-event-name": "call",
                "Channel-Presence-ID": self.one(ACCOUNT, "100%40demo.local"),
                "Unique-ID": uuid,
                "Channel-Call-UUID": uuid if originator else far,
                "Caller-Channel-Created-Time": f"17953325442170{place:02}",
            }
            stream = []
            for at, event in enumerate(self.events(answered=answers == place)):
                frame = {**head, "Event-Name": event, **self.changing(event, far, first=at == 0)}
                # Legs that ring together all go the same way.
                frame["Caller-Logical-Direction"] = direction if count > 1 else self.one("inbound", "outbound")
                if event not in WITHOUT_VARIABLES:
                    frame |= {**variables, "variable_sip_call_id": f"{uuid}@x"}
                stream.append({key: value for key, value in frame.items() if value is not None})
            streams.append(stream)
        return streams

    def events(self, *, answered: bool) -> list[str]:
        told = ["CHANNEL_CREATE", *self.random.choices(MIDDLE, k=self.one(0, 1, 2, 3))]
        if self.one(True, False):
            told.insert(0, "CHANNEL_STATE")
        if answered:
            told += ["CHANNEL_ANSWER", *self.random.choices(BUSY, k=self.random.randrange(9))]
        return [*told, *(LAST if self.random.randrange(5) else ())]

    def changing(self, event: str, far: str, *, first: bool) -> dict[str, Any]:
        """Give what is another in each frame."""
        ending = event in LAST
        return {
            "Channel-State": "CS_INIT" if first or event == "CHANNEL_CREATE" else "CS_HANGUP" if ending else "CS_EXECUTE",
            "Channel-Call-State": self.one("RINGING", "ACTIVE", "HELD"),
            "Answer-State": "hangup" if ending else self.one("ringing", "answered"),
            "Channel-HIT-Dialplan": self.one("true", "false"),
            "Call-Direction": self.one("inbound", "outbound"),
            "Caller-Callee-ID-Number": self.one(*NUMBERS),
            "Caller-Caller-ID-Number": self.one(*NUMBERS),
            "Caller-Callee-ID-Name": self.one(*PEOPLE),
            "Caller-Caller-ID-Name": self.one(*PEOPLE),
            "Caller-Destination-Number": self.one(*NUMBERS),
            "Other-Leg-Unique-ID": self.one(None, far, identifier(5)),
            "Bridge-A-Unique-ID": self.one(None, identifier(6)),
            "Bridge-B-Unique-ID": self.one(None, identifier(7)),
            "Caller-Channel-Answered-Time": self.one("0", "1795332544326000"),
            "Caller-Channel-Hangup-Time": "1795332545000000" if ending else "0",
            "DTMF-Digit": "5" if event == "DTMF" else None,
            "variable_hangup_cause": self.one("NORMAL_CLEARING", "LOSE_RACE", "USER_BUSY") if ending else None,
            "variable_billsec": self.one(0, 3),
        }


@pytest.mark.parametrize("seed", range(400))
def test_what_nobody_captured(seed: int) -> None:
    frames = Exchange(seed).stream()
    assert [json.dumps(told) for told in ours(frames)] == [json.dumps(told) for told in the_library_s(frames)]


def test_the_streams_tell_all_that_the_library_tells() -> None:
    told = {name for seed in range(400) for name, _ in the_library_s(Exchange(seed).stream())}
    assert told >= {callback.name for callback in CALLBACKS if issubclass(callback, CallCallback) and not callback.ours} - {
        "onVideoChangeWebRTCCall"
    }
