"""What a host can ask of its line: the verbs of ``CtiModel``, by what they act on."""

from cti_framework.verbs.agent import AgentVerbs
from cti_framework.verbs.calls import CallVerbs
from cti_framework.verbs.pairs import PairVerbs
from cti_framework.verbs.recordings import RecordingVerbs

__all__ = ["AgentVerbs", "CallVerbs", "PairVerbs", "RecordingVerbs", "Verbs"]


class Verbs(CallVerbs, PairVerbs, AgentVerbs, RecordingVerbs):
    """All verbs."""
