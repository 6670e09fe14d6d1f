"""The imaginary PBX of the page about the contract: its client, and a provider that takes what the page shows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from cti_framework import diagnosis, provider, reports, settings, switchboard
from tests.core.scripted import Pbx, ScriptedProvider
from tests.docs.reference_pages import Section, execute, imported

__all__ = ["ANSWERS", "AcmePbx", "Base", "names", "provider_with"]

ANSWERS: dict[str, Any] = {
    "dial": "out-1",
    "consult": "out-2",
    "listen in": "own-1",
    "calls": [{"call": "7", "from": "0671112233"}],
    "devices": [],
    "recordings": ["first.wav"],
    "fetch": b"RIFF of a talk",
}


class AcmePbx(Pbx):
    """The imaginary PBX, and its client."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = SimpleNamespace(unacknowledged_bytes=lambda: 17)
        self.connections: list[Any] = []

    async def ask(self, command: str, *arguments: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        self.asked.append((command, *arguments))
        return ANSWERS.get(command)

    @asynccontextmanager
    async def sound(self) -> AsyncIterator[None]:
        self.asked.append(("sound on",))
        try:
            yield
        finally:
            self.asked.append(("sound off",))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        send, receive = anyio.create_memory_object_stream[dict[str, str]](8)
        self.connections.append(send)
        async with send, receive:
            yield receive


class Base(ScriptedProvider):
    settings_type = AcmePbx


def names() -> dict[str, Any]:
    """Give what the page says that names come from."""
    rooms = (provider, reports, settings, diagnosis, switchboard)
    found = {name: getattr(room, name) for room in rooms for name in room.__all__}
    modules = {"anyio": anyio, "attrs": attrs, "json": json, "asynccontextmanager": asynccontextmanager}
    return {**imported(), **found, **modules}


async def provider_with(section: Section) -> type[ScriptedProvider]:
    """Make a provider that has an attribute or a method as the page shows it."""
    given = await execute(section, names())
    return type("Acme", (Base,), {section.name: given[section.name], "marks_sent": True})
