"""The provider for the Webitel PBX, and ``Webitel``, the low-level object that it stands on, usable alone."""

from cti_webitel.engine.client import Webitel, WebitelTimeouts
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelSettings, WebitelUserSettings

__all__ = ["Webitel", "WebitelCtiProvider", "WebitelSettings", "WebitelTimeouts", "WebitelUserSettings"]
