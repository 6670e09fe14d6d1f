"""The engine's commands, one room each; every command is one method, whose arguments are checked before anything is sent.

===============  =======================================================================================
`execute`        what every room stands on
`calls`          making calls, and what is done with them
`channels`       single legs
`states`         what the operator is: ready, or away and why
`call_centre`    queues
`directory`      the accounts of the domain
`messages`       messages to other operators
`subscriptions`  events that are told only to who subscribed to them
`recordings`     recordings of calls
`session`        who is logged in, tokens, where the operator sits
===============  =======================================================================================

The PBX's own administration is left out: domains, gateways, licences, blacklists, and what runs the switch itself.
"""

from __future__ import annotations

from cti_webitel.engine.commands.call_centre import CallCentreCommands, Tier
from cti_webitel.engine.commands.calls import CallCommands
from cti_webitel.engine.commands.channels import ChannelCommands
from cti_webitel.engine.commands.directory import DirectoryCommands
from cti_webitel.engine.commands.execute import Commands
from cti_webitel.engine.commands.messages import MessageCommands
from cti_webitel.engine.commands.recordings import RecordingCommands
from cti_webitel.engine.commands.session import OnlineAccount, SessionCommands, Token
from cti_webitel.engine.commands.states import StateCommands
from cti_webitel.engine.commands.subscriptions import SubscriptionCommands

__all__ = [
    "CallCentreCommands",
    "CallCommands",
    "ChannelCommands",
    "Commands",
    "DirectoryCommands",
    "MessageCommands",
    "OnlineAccount",
    "RecordingCommands",
    "SessionCommands",
    "StateCommands",
    "SubscriptionCommands",
    "Tier",
    "Token",
]
