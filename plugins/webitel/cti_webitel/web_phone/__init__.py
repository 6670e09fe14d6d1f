"""The web phone: calls whose sound goes through this session. It is imported only where a user has one.

==================  ================================================================================================
`phone`             `WebPhone`: one user's calls at the signalling's server, each with its media
`phone_call`        one of its calls, and what is told of it
`sound`             one call's media: begun, mended, ended
`keeping`           keeping the signalling connected: when to try, when to wait, when to stop
`meeting`           where its calls and the engine's meet: they are one call on the operator's line
`seat`              all of it, as a session has it
`showing`           what the line is to show of a call of the phone's
`video`             whether two media descriptions agree on video
`replayed`          a capture of its signalling, gone through again
==================  ================================================================================================
"""
