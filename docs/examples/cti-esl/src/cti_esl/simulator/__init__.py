"""A FreeSWITCH in a box: cti-framework's switchboard behind an event socket on loopback."""

from cti_esl.simulator.far_side import EslFarSide
from cti_esl.simulator.running import DOMAIN, PASSWORD, running_switch, simulation
from cti_esl.simulator.switch import FakeSwitch

__all__ = ["DOMAIN", "PASSWORD", "EslFarSide", "FakeSwitch", "running_switch", "simulation"]
