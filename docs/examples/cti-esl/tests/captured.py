"""The captures: dialogues of a client with a real FreeSWITCH, byte for byte (facts: esl-control, files)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cti_esl.legs import LegNews, read_leg
from cti_esl.protocol import EslProtocol, Event, Message

CAPTURES: Final = sorted(path.name.removesuffix(".jsonl.gz") for path in Path(__file__).parent.glob("captures/*.gz"))


def lines(name: str) -> list[str]:
    with gzip.open(Path(__file__).parent / "captures" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return file.readlines()


def rows(name: str, *directions: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in lines(name)]
    return [row for row in found if not directions or row["dir"] in directions]


def wire(name: str) -> dict[str, bytes]:
    """What the switch sent, by connection."""
    sent: dict[str, bytes] = {}
    for row in rows(name, "s2c"):
        sent[row["conn"]] = sent.get(row["conn"], b"") + f"{row['head']}{row['body']}".encode()
    return sent


def messages(name: str) -> list[Message]:
    return [message for data in wire(name).values() for message in EslProtocol().feed(data)]


def events(*names: str) -> Iterator[Event]:
    for name in names or CAPTURES:
        yield from (message for message in messages(name) if isinstance(message, Event))


def news_of(name: str) -> list[LegNews]:
    found = [read_leg(event.fields) for event in events(name) if event.name != "BACKGROUND_JOB"]
    return [news for news in found if news is not None]
