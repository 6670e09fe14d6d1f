"""The web phone's end of the simulated PBX: Verto as FreeSWITCH speaks it, with real media (facts: verto).

Theory of operation: a `Client` is one socket, without I/O; what it says is carried out by ``methods`` and ``call_methods`` on the
`VertoEndpoint`, which keeps sessions, each a registered device of its account, and dialogs, each a leg of the Switchboard with a
media peer. What the switch says of those legs becomes requests to the clients. Who hears whom follows from the switch alone:
`Room` looks at the legs, and knows nothing of Verto.

Nothing of this is imported before a Verto port is asked for: it needs the extra ``media`` and asyncio.
"""
