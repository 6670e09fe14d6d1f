"""The web phone's WebSocket (Verto): what is said on it, and a client that says it. The media itself is not here.

==================  ================================================================================================
`frames`            JSON-RPC as FreeSWITCH speaks it: messages into requests and replies, and back
`fields`            what stands in an object, read by type
`signals`           what the server tells, one value class each
`receiving`         its requests, read
`requests`          what can be asked of it, one value class each
`replies`           what it answers, read
`dialogs`           the calls that the two agree on, and what may be done with each
`protocol`          all of the above: messages in, values out; messages to send; no I/O, no clock
`errors`            what goes wrong beside the framework's own errors
`timeouts`          how long to wait for what
`asking`            a request and its answer: sent once, waited for
`attaching`         answering for calls that come back, with new media
`login`             what is said first on it
`connection`        the socket, keeping it alive, the waiting for answers
`client`            `VertoClient`: everything that can be asked, on that connection
==================  ================================================================================================
"""
