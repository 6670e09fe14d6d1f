"""For tests of plugins and hosts: a network that fails when it is told to.

`fault_proxy` stands between a client and a server and does what networks do: it delays, stalls, cuts messages into pieces,
loses them, resets connections or refuses them. What it draws at random comes from a seed, and its log is the same, byte for
byte, for the same seed and the same traffic.
"""

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
    "Accept",
    "Bandwidth",
    "BlackHole",
    "Clear",
    "Cut",
    "Delay",
    "Direction",
    "Fault",
    "FaultConnection",
    "FaultLog",
    "FaultProxy",
    "FaultSchedule",
    "Faults",
    "HalfClose",
    "LogEntry",
    "Refuse",
    "Reset",
    "Resume",
    "ScheduledFault",
    "Split",
    "Stall",
    "fault_proxy",
    "random_faults",
    "read_fault",
]
