"""A host makes a call and hangs up once somebody answers. The PBX is the one in memory."""

import anyio

from cti_framework import CallConnected, CallFinished, CtiProviderInitializer, CtiUser


async def main() -> None:
    initializer = CtiProviderInitializer({"cti.provider": "dummy"})
    async with initializer.open(CtiUser(id="100")) as model:
        events = model.events()
        await model.make_call("0501234567")
        async for event in events:
            match event:
                case CallConnected(call=call):
                    print(f"talking to {call.other.number}")
                    await model.drop_call(call)
                case CallFinished(call=call):
                    print(f"over, {call.pbx_cause}")
                    break


if __name__ == "__main__":
    anyio.run(main)
