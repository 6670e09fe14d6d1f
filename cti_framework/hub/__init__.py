"""Many users' sessions in one process: opened, watched and closed from any task, each isolated from the others.

A session lives in the hub's own task group, not in the task that asked for it: a web request may open one and end. Whoever opens
a user's session holds it until they close it, and the last who does closes it for good; all who hold it have the same model.

A PBX that comes back must not be stormed by two thousand log ins at once. All connection attempts to one PBX go through one gate,
the first as well as those after an outage: so many at a time, so many a second. Two PBXs have two gates, for one that hangs must
not keep the other's users out.
"""

from __future__ import annotations

from cti_framework.hub._hub import CtiHub
from cti_framework.hub._values import HubBudget, HubSession, HubSessionState

__all__ = ["CtiHub", "HubBudget", "HubSession", "HubSessionState"]
