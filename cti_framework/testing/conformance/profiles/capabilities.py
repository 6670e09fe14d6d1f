"""Capabilities: what is declared is said by each session, and what is not raises NotSupportedError."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cti_framework.calls import Call, CallFeature
from cti_framework.errors import NotSupportedError
from cti_framework.reports import Started
from cti_framework.testing.conformance.bench import ProviderBench
from cti_framework.testing.conformance.rules import Feature, names_of, rule
from cti_framework.testing.conformance.running import Broken, NotMeasured
from cti_framework.testing.conformance.stand import Stand
from cti_framework.testing.conformance.suite import Profile, rules_of
from cti_framework.testing.conformance.tap import VERBS

__all__ = ["CapabilitiesProfile"]

_NO_CALL: Final = "00000000-0000-4000-8000-000000000000"


class CapabilitiesProfile(Profile):
    """What a provider says that it can do."""

    @rule(
        "capabilities.within",
        "A session declares no more than the class.",
        contract="Capabilities, reports.Started.features",
    )
    async def test_a_session_declares_no_more(self, stand: Stand) -> None:
        most = stand.bench.provider_class.capabilities
        for started in stand.seen.reports_of(Started):
            calls = started.features & ~most.calls if started.features is not None else 0
            agent = started.agent_features & ~most.agent if started.agent_features is not None else 0
            stand.expect(not calls and not agent, f"Started declares {calls!r} {agent!r} beside what the class does.")

    @rule(
        "capabilities.known-failures",
        "What the bench calls known failures are names of tests: a failure that is known is of one that there is.",
        contract="ProviderBench.known_failures",
    )
    def test_known_failures_are_tests(self, bench: ProviderBench) -> None:
        unknown = sorted(set(bench.known_failures) - set(rules_of(type(self))))
        if unknown:
            raise Broken(f"There is no test {', '.join(unknown)}.")


def _arguments(stand: Stand, call: Call | None, folder: str) -> dict[str, tuple[Any, ...]]:
    """Give each verb what it would be called with."""
    number = stand.simulation.subscriber
    return {
        "make_call": (number,),
        "make_consult_call": (call, number),
        "blind_transfer": (call, number),
        "complete_transfer": (call, call),
        "cancel_transfer": (call, call),
        "alternate": (call, call),
        "conference": (call, call),
        "send_dtmf": (call, "1"),
        "set_mute": (call, True),
        "set_video": (call, True),
        "pause_recording": (call, True),
        "monitor": (_NO_CALL, "listen"),
        "set_agent_state": ("READY",),
        "set_wrap_up": (True,),
        "set_call_centre_mode": (True,),
        "query_recordings": (_NO_CALL,),
        "fetch_recording": ("https://pbx.example/1.wav", Path(folder)),
    }


async def _is_not_supported(stand: Stand, verb: str, feature: Feature) -> None:
    call = await _some_call(stand) if isinstance(feature, CallFeature) and verb not in ("make_call", "monitor") else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = _arguments(stand, call, folder).get(verb, (call,))
        with stand.expect_error(NotSupportedError, doing=f"{verb}, whose capability {names_of([feature])[0]} is not declared,"):
            await stand.within(getattr(stand.provider, verb)(*arguments), verb)


async def _some_call(stand: Stand) -> Call:
    # A call that rings will do, but what works undeclared works best in one that is talked on.
    try:
        return await stand.talking()
    except (Broken, NotMeasured):
        return await stand.incoming()


def _test_of(verb: str, feature: Feature) -> Callable[..., None]:
    async def body(self: Any, stand: Stand) -> None:
        await _is_not_supported(stand, verb, feature)

    body.__name__ = f"test_{verb}_undeclared"
    body.__qualname__ = f"{CapabilitiesProfile.__name__}.{body.__name__}"
    made: Callable[..., None] = rule(
        f"capabilities.undeclared-{verb.replace('_', '-')}",
        f"{verb} raises NotSupportedError where {feature.name} is not declared.",
        contract="BaseCtiProvider, Capabilities",
        undeclared=feature,
    )(body)
    return made


for _verb, _feature in VERBS.items():
    setattr(CapabilitiesProfile, f"test_{_verb}_undeclared", _test_of(_verb, _feature))
