"""A Webitel on loopback: the engine's wire format on the Switchboard.

What a newcomer runs first, what the plugin's tests run on. ``async with serve_webitel() as simulator`` gives its address,
its switchboard and its far side; the control port gives them to other programs.
"""

from cti_webitel.simulator.options import SimulatorOptions
from cti_webitel.simulator.server import WebitelSimulator, WebPhoneFarSide, can_serve_web_phones, serve_webitel

__all__ = ["SimulatorOptions", "WebPhoneFarSide", "WebitelSimulator", "can_serve_web_phones", "serve_webitel"]
