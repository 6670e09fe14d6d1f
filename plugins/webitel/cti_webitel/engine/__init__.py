"""The engine's WebSocket (port 871): what is said on it, and a client that says it.

==================  ================================================================================================
`protocol`          frames in, callbacks out; frames to send; no I/O, no clock
`callbacks`         the callbacks, one value class each, with the names of Webitel's own library
`calls`, `legs`     the legs and calls that the frames tell of
`headers`           the keys of their frames
`snapshot`          what the switch says of a leg when it is asked
`reconcile`         `calls`, made to agree with it after an outage
`accounts`          the accounts of the domain that the frames tell of
`arguments`         what may be sent: numbers, identifiers, causes, variables, names, texts
`causes`            the switch's causes, and what they mean
`replay`            a capture, read by the protocol
`commands`          every command, a class a room
`answers`           what is answered to them, read
`connection`        the socket, and the waiting for answers
`login`             what is said first on it
`vigil`             keeping it alive, and its account heard
`waiting`           a command that waits for its answer
`timeouts`          how long for
`client`            `Webitel`: all of it together
==================  ================================================================================================
"""
