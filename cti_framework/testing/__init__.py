"""For tests of plugins and hosts: a network that fails when it is told to, and a PBX whose links do.

`fault_proxy` stands between a client and a server and does what networks do: it delays, stalls, cuts messages into pieces,
loses them, resets connections or refuses them. What it draws at random comes from a seed, and its log is the same, byte for
byte, for the same seed and the same traffic.

`SwitchFaults` does the same to messages, within a PBX in memory: a link is dropped or half open, what it carries comes late,
twice or in another order, replies are lost, and commands are read slowly.
"""

from cti_framework.switchboard.faults import (
    ALL_SWITCH_KINDS,
    DelayMessages,
    DropLink,
    DuplicateEvents,
    FaultHit,
    FaultLink,
    FaultScript,
    HalfOpen,
    LoseReplies,
    Message,
    ReorderEvents,
    ScriptedFault,
    SlowPeer,
    SwitchFault,
    SwitchFaultLog,
    SwitchFaults,
    random_switch_faults,
    read_switch_fault,
)
from cti_framework.testing._connection import FaultConnection
from cti_framework.testing._log import FaultLog, LogEntry
from cti_framework.testing._verbs import Faults
from cti_framework.testing.faults import (
    Accept,
    Bandwidth,
    BlackHole,
    Clear,
    Cut,
    Delay,
    Direction,
    Fault,
    HalfClose,
    Refuse,
    Reset,
    Resume,
    Split,
    Stall,
    read_fault,
)
from cti_framework.testing.proxy import FaultProxy, fault_proxy
from cti_framework.testing.schedule import ALL_KINDS, FaultSchedule, ScheduledFault, random_faults

__all__ = [
    "ALL_KINDS",
    "ALL_SWITCH_KINDS",
    "Accept",
    "Bandwidth",
    "BlackHole",
    "Clear",
    "Cut",
    "Delay",
    "DelayMessages",
    "Direction",
    "DropLink",
    "DuplicateEvents",
    "Fault",
    "FaultConnection",
    "FaultHit",
    "FaultLink",
    "FaultLog",
    "FaultProxy",
    "FaultSchedule",
    "FaultScript",
    "Faults",
    "HalfClose",
    "HalfOpen",
    "LogEntry",
    "LoseReplies",
    "Message",
    "Refuse",
    "ReorderEvents",
    "Reset",
    "Resume",
    "ScheduledFault",
    "ScriptedFault",
    "SlowPeer",
    "Split",
    "Stall",
    "SwitchFault",
    "SwitchFaultLog",
    "SwitchFaults",
    "fault_proxy",
    "random_faults",
    "random_switch_faults",
    "read_fault",
    "read_switch_fault",
]
