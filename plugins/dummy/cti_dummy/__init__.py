"""The smallest complete provider: a PBX in memory, shown as it is.

Read it beside ``cti_framework.provider`` to learn what a provider does. What is particular here is the PBX (a ``Switchboard``),
which can be operated by plain calls; a provider for a real one has a protocol and a socket in their place.
"""

from cti_dummy.pbx import DummyPbx
from cti_dummy.provider import DummyCtiProvider, DummySettings, DummyUserSettings

__all__ = ["DummyCtiProvider", "DummyPbx", "DummySettings", "DummyUserSettings"]
