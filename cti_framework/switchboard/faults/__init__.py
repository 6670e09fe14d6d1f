"""What can go wrong between a PBX in memory and its clients, message by message, from a script or by hand.

Theory of operation: each connection has a `FaultLink`, which the switch's end and the client's end hand their messages to. The
link counts them, by kind; the script says which message meets which fault. Nothing is awaited and nothing is drawn at random
while it runs: a script is drawn from a seed beforehand, and messages wait on the switch's clock. So the same script and
the same traffic give the same log, byte for byte.
"""

from cti_framework.switchboard.faults.kinds import (
    DelayMessages,
    DropLink,
    DuplicateEvents,
    HalfOpen,
    LoseReplies,
    Message,
    ReorderEvents,
    SlowPeer,
    SwitchFault,
    read_switch_fault,
)
from cti_framework.switchboard.faults.link import FaultLink
from cti_framework.switchboard.faults.links import SwitchFaults
from cti_framework.switchboard.faults.log import FaultHit, SwitchFaultLog
from cti_framework.switchboard.faults.script import ALL_SWITCH_KINDS, FaultScript, ScriptedFault, random_switch_faults

__all__ = [
    "ALL_SWITCH_KINDS",
    "DelayMessages",
    "DropLink",
    "DuplicateEvents",
    "FaultHit",
    "FaultLink",
    "FaultScript",
    "HalfOpen",
    "LoseReplies",
    "Message",
    "ReorderEvents",
    "ScriptedFault",
    "SlowPeer",
    "SwitchFault",
    "SwitchFaultLog",
    "SwitchFaults",
    "random_switch_faults",
    "read_switch_fault",
]
