"""The engine's WebSocket (port 871): what is said on it, and a client that says it.

==================  ================================================================================================
`protocol`          frames in, callbacks out; frames to send; no I/O, no clock
`callbacks`         the callbacks, one value class each, with the names of Webitel's own library
`calls`             the legs and calls that the frames tell of
`headers`           the keys of their frames
`snapshot`          what the switch says of a leg when it is asked
`reconcile`         `calls`, made to agree with it after an outage
`accounts`          the accounts of the domain that the frames tell of
`arguments`         what may be sent: numbers, identifiers, causes, variables
`causes`            the switch's causes, and what they mean
`replay`            a capture, read by the protocol
`client`            `Webitel`: the socket, the time-outs, the waiting
==================  ================================================================================================
"""
