"""The conformance kit: tests of the provider contract, for any provider. Extra ``testing``.

An author subclasses one class and overrides one fixture::

    class TestAcme(ProviderConformance):
        @pytest.fixture
        def bench(self) -> ProviderBench:
            return ProviderBench(AcmeCtiProvider)

Theory of operation: each test measures one *rule* on one event loop. It runs the provider's PBX in a box, opens a session as
a host would, and has the far side and the host do something; between the core and the provider everything is written down.
What a provider declares gates the tests: what is declared must work, what is not must raise ``NotSupportedError``, and what
the PBX in a box cannot show is skipped and called *not measured*. A test that fails says which rule is broken, what was seen,
and where the rule is written. Nothing here is asynchronous to pytest: each test is a plain function that runs a scenario in
an event loop, and a thread, of its own.
"""

from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.profiles.agent import AgentProfile
from cti_framework.testing.conformance.profiles.calls import CallsProfile
from cti_framework.testing.conformance.profiles.capabilities import CapabilitiesProfile
from cti_framework.testing.conformance.profiles.centre import CallCentreProfile
from cti_framework.testing.conformance.profiles.conference import ConferenceProfile
from cti_framework.testing.conformance.profiles.hold import HoldProfile
from cti_framework.testing.conformance.profiles.lifecycle import LifecycleProfile
from cti_framework.testing.conformance.profiles.media import MediaProfile
from cti_framework.testing.conformance.profiles.recordings import RecordingsProfile
from cti_framework.testing.conformance.profiles.resync import ResyncProfile
from cti_framework.testing.conformance.profiles.secrets import SecretsProfile
from cti_framework.testing.conformance.profiles.settings import SettingsProfile
from cti_framework.testing.conformance.profiles.sound import SoundProfile
from cti_framework.testing.conformance.profiles.tones import TonesProfile
from cti_framework.testing.conformance.profiles.transfer import TransferProfile
from cti_framework.testing.conformance.rules import Outcome, OutcomeKind, Rule, rule
from cti_framework.testing.conformance.running import BACKENDS, Broken, NotMeasured
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile, rules_of
from cti_framework.testing.conformance.table import CapabilityRow, CapabilityTable, Measured

__all__ = [
    "BACKENDS",
    "AgentProfile",
    "Broken",
    "CallCentreProfile",
    "CallsProfile",
    "CapabilitiesProfile",
    "CapabilityRow",
    "CapabilityTable",
    "ConferenceProfile",
    "HoldProfile",
    "LifecycleProfile",
    "Measured",
    "MediaProfile",
    "NotMeasured",
    "Outcome",
    "OutcomeKind",
    "Profile",
    "ProviderBench",
    "ProviderConformance",
    "RecordingsProfile",
    "ResyncProfile",
    "Rule",
    "SecretsProfile",
    "SettingsProfile",
    "SoundProfile",
    "Stand",
    "TonesProfile",
    "TransferProfile",
    "measure",
    "rule",
    "rules_of",
]


class ProviderConformance(
    CallsProfile,
    HoldProfile,
    TransferProfile,
    ConferenceProfile,
    TonesProfile,
    MediaProfile,
    SoundProfile,
    AgentProfile,
    CallCentreProfile,
    RecordingsProfile,
    ResyncProfile,
    LifecycleProfile,
    SecretsProfile,
    SettingsProfile,
    CapabilitiesProfile,
):
    """All profiles. Subclass it and override the fixture ``bench``."""


def measure(
    bench: ProviderBench,
    *tests: str,
    backend: str = "asyncio",
    suite: type[Profile] = ProviderConformance,
) -> dict[str, Outcome]:
    """Measure a provider without pytest.

    Args:
        bench: The provider.
        tests: The names of the tests to run; none: all.
        backend: The event loop.
        suite: The class whose tests they are.

    Returns:
        What came out, by the name of the test.

    Raises:
        KeyError: There is no such test.
    """
    rules = rules_of(suite)
    profile = suite()
    return {name: rules[name].measure(bench, backend, profile) for name in (tests or rules)}
