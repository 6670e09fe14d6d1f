"""A companion: a journal of calls, and a directory that knows each user's number."""

from collections.abc import Mapping
from typing import Any

import anyio

from cti_framework import CallConnected, CallFinished, CtiProviderInitializer, CtiUser, hookimpl


class Journal:
    """Keeps one line for each call."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @hookimpl
    def cti_call_finished(self, event: CallFinished) -> None:
        call = event.call
        verdict = "missed" if call.missed else call.cause.value if call.cause else "unknown"
        self.lines.append(f"{call.direction.name} {call.other.number} {verdict}")


class Directory:
    """Knows who has which number of the PBX."""

    numbers: Mapping[str, str] = {"anna": "101"}

    @hookimpl
    async def cti_user_connection(self, user: CtiUser) -> Mapping[str, Any] | None:
        number = self.numbers.get(user.id)
        return None if number is None else {"number": number}


async def main() -> None:
    journal = Journal()
    initializer = CtiProviderInitializer({"cti.provider": "dummy"}, companions=[journal, Directory()])
    async with initializer.open("anna") as model:
        events = model.events()
        call = await model.make_call("0501234567")
        print(f"calling from {call.own.number}")
        async for event in events:
            if isinstance(event, CallConnected):
                await model.drop_call(event.call)
            if isinstance(event, CallFinished):
                break
    print(*journal.lines)


if __name__ == "__main__":
    anyio.run(main)
