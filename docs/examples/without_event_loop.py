"""A host without an event loop makes a call and hangs up once somebody answers. The PBX is the one in memory."""

from cti_framework import CallConnected, CallFinished, CtiProviderInitializer, open_session


def main() -> None:
    initializer = CtiProviderInitializer({"cti.provider": "dummy"})
    with open_session(initializer, "100") as session:
        events = session.events()
        session.make_call("0501234567")
        for event in events:
            match event:
                case CallConnected(call=call):
                    print(f"talking to {call.other.number}")
                    session.drop_call(call)
                case CallFinished(call=call):
                    print(f"over, {call.pbx_cause}")
                    break


if __name__ == "__main__":
    main()
