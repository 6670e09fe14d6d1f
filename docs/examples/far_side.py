"""A host is tested against a PBX whose far side the test drives: it calls in, holds, presses keys, drops the network."""

from typing import TypeVar

import anyio

from cti_dummy import DummyCtiProvider
from cti_framework import (
    CallConnected,
    CallFeature,
    CallHeld,
    CallStarted,
    CallUnheld,
    CtiProviderInitializer,
    Event,
    SnapshotTaken,
    Subscription,
)

EventT = TypeVar("EventT", bound=Event)


async def next_of(event_type: type[EventT], events: Subscription) -> EventT:
    async for event in events:
        if isinstance(event, event_type):
            return event
    raise RuntimeError(f"the session ended before {event_type.__name__}")


async def main() -> None:
    async with DummyCtiProvider.simulator() as pbx:
        initializer = CtiProviderInitializer({"cti.provider": "dummy", **pbx.settings})
        async with initializer.open(pbx.user) as model:
            events = model.events()

            await pbx.far_side.incoming("0501112233")
            started = await next_of(CallStarted, events)
            print(f"{started.call.other.number} calls; answering allowed: {CallFeature.ANSWER in started.call.features}")
            await model.answer_call()
            await next_of(CallConnected, events)

            await pbx.far_side.hold("0501112233")
            held = await next_of(CallHeld, events)
            print(f"held by the {held.by.value} party; may we take it back? {CallFeature.UNHOLD in held.call.features}")
            await pbx.far_side.unhold("0501112233")
            await next_of(CallUnheld, events)

            before = model.cursor
            await pbx.far_side.drop_network()
            await next_of(SnapshotTaken, events)
            missed = model.events(after=before)
            names = []
            while (event := missed.next_nowait()) is not None:
                names.append(type(event).__name__)
            print("during the outage:", ", ".join(names))
            print(f"the same call goes on: {model.calls[0].id == started.call.id}")


if __name__ == "__main__":
    anyio.run(main)
