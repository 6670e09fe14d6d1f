"""A small PBX in memory, on which the dummy provider, the simulators and the conformance kit stand.

Theory of operation: every party to a call has a *leg* on the switch; two answered legs are joined by a bridge. A click
to call rings the user's own device first (a leg *outbound* from the switch), then sends that leg into the dialplan,
which rings the far end on its behalf; the answer of the far end joins them. Listeners are told each step, for every leg,
in FreeSWITCH's words and order. Nothing happens by itself but what a timer does, and nothing is awaited: turn the clock
by hand (:meth:`Switchboard.advance`) or have :func:`drive` follow real time.

It decides by the facts of a switch and knows nothing of a line's states and features: what is compared with it would
prove nothing otherwise.
"""

from cti_framework.switchboard.accounts import NO_STATUS, Account, Device
from cti_framework.switchboard.board import DEFAULT_START, Switchboard
from cti_framework.switchboard.causes import CAUSES
from cti_framework.switchboard.clock import Clock, Timer, drive
from cti_framework.switchboard.events import SwitchError, SwitchEvent, SwitchEventName
from cti_framework.switchboard.far_side import FarSide, SwitchboardFarSide
from cti_framework.switchboard.legs import AnswerState, ChannelCallState, ChannelState, Leg, LegDirection, LegSnapshot
from cti_framework.switchboard.options import SwitchOptions

__all__ = [
    "CAUSES",
    "DEFAULT_START",
    "NO_STATUS",
    "Account",
    "AnswerState",
    "ChannelCallState",
    "ChannelState",
    "Clock",
    "Device",
    "FarSide",
    "Leg",
    "LegDirection",
    "LegSnapshot",
    "SwitchError",
    "SwitchEvent",
    "SwitchEventName",
    "SwitchOptions",
    "Switchboard",
    "SwitchboardFarSide",
    "Timer",
    "drive",
]
