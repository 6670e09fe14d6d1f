"""What the kit measures of sound, and where: on the web phone of the PBX in a box, on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from cti_dummy import DummyCtiProvider
from cti_framework.calls import CallFeature
from cti_framework.media import SILENCE, Tone
from cti_framework.provider import ProviderContext, Simulation
from cti_framework.reports import Report, Started
from cti_framework.testing.conformance import Outcome, OutcomeKind, ProviderBench, SoundProfile, measure, rules_of
from cti_framework.testing.conformance.hearing import FAR_HZ, OPERATOR_HZ, is_tone, missing_media
from cti_framework.testing.conformance.table import facts_of
from tests.conformance.mutants import bench_of
from tests.conformance.mutants.sounding import Sounding, sounding_bench, web_phone

SOUND = tuple(rules_of(SoundProfile))


def one(bench: ProviderBench, test: str, backend: str = "asyncio") -> Outcome:
    return measure(bench, test, backend=backend)[test]


def test_what_the_mutants_are_made_from_has_no_fault() -> None:
    outcomes = measure(bench_of(Sounding, **sounding_bench()), *SOUND)
    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.PASSED}, outcomes


def test_a_pbx_in_a_box_can_have_its_web_phone_with_it() -> None:
    @asynccontextmanager
    async def simulate() -> AsyncIterator[Simulation]:
        async with DummyCtiProvider.simulator() as simulation, web_phone() as its_phone:
            yield attrs.evolve(simulation, web_phone=its_phone)

    changes: dict[str, Any] = {**sounding_bench(), "web_phone": None, "simulate": simulate}
    assert one(bench_of(Sounding, **changes), "test_both_sides_are_heard").kind is OutcomeKind.PASSED


def test_without_a_web_phone_nothing_of_sound_is_measured() -> None:
    outcome = one(bench_of(Sounding), "test_both_sides_are_heard")
    assert (outcome.kind, outcome.why) == (OutcomeKind.SKIPPED, "the PBX in a box has no web phone (Simulation.web_phone)")


def test_what_is_not_declared_is_not_measured_at_a_web_phone() -> None:
    outcome = one(bench_of(DummyCtiProvider, **sounding_bench()), "test_a_muted_operator_is_not_heard")
    assert (outcome.kind, outcome.why) == (OutcomeKind.SKIPPED, "MUTE is not declared")


def test_sound_is_measured_on_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = one(bench_of(Sounding, **sounding_bench()), "test_both_sides_are_heard", "trio")
    assert outcome.kind is OutcomeKind.SKIPPED
    assert "measured on asyncio" in outcome.why
    monkeypatch.setitem(__import__("sys").modules, "aiortc", None)
    assert "cti-framework[media]" in (missing_media("asyncio") or "")


class OnlyByWebPhone(Sounding):
    """A session that can answer and mute only where it has the sound: where not, the operator's phone is on his desk."""

    def __init__(self, context: ProviderContext) -> None:
        report = context.report

        def narrowed(*told: Report) -> None:
            has_sound = hasattr(self.pbx, "hears_operator")
            features = self.capabilities.calls
            features &= ~CallFeature(0) if has_sound else ~(CallFeature.ANSWER | CallFeature.MUTE)
            report(*(attrs.evolve(one, features=features) if isinstance(one, Started) else one for one in told))

        context.report = narrowed
        super().__init__(context)


@pytest.mark.parametrize("test", ["test_a_call_is_answered", "test_the_right_call_is_answered", "test_the_microphone"])
def test_what_a_session_can_do_only_by_its_web_phone_is_measured_there(test: str) -> None:
    assert one(bench_of(OnlyByWebPhone, **sounding_bench()), test).kind is OutcomeKind.PASSED
    without = one(bench_of(OnlyByWebPhone), test)
    assert without.kind is OutcomeKind.SKIPPED
    assert "the session does not offer" in without.why
    assert one(bench_of(OnlyByWebPhone, **sounding_bench()), test, "trio").kind is OutcomeKind.SKIPPED


def test_every_rule_can_be_measured_by_the_web_phone() -> None:
    by_it = bench_of(Sounding, **sounding_bench(), by_web_phone=True)
    # The far side of the web phone cannot pick the operator's phone up: the session has to.
    outcomes = measure(by_it, "test_the_operator_holds", "test_each_is_described", "test_it_can_be_cancelled_at_every_step")
    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.PASSED}, outcomes
    held = one(by_it, "test_the_operator_holds", "trio")
    assert (held.kind, "measured on asyncio" in held.why) == (OutcomeKind.SKIPPED, True)
    nowhere = one(bench_of(Sounding, by_web_phone=True), "test_the_operator_holds")
    assert (nowhere.kind, "has no web phone" in nowhere.why) == (OutcomeKind.SKIPPED, True)


def test_what_is_measured_by_the_web_phone_has_a_table_of_its_own() -> None:
    made = rules_of(SoundProfile)["test_both_sides_are_heard"]
    assert facts_of(made, bench_of(Sounding), "asyncio")["provider"] == "dummy"
    assert facts_of(made, bench_of(Sounding, by_web_phone=True), "asyncio")["provider"] == "dummy by web phone"


async def _sound(*frequencies_hz: int, frames: int = 10, level_dbfs: float = -18.0) -> bytes:
    tone = Tone(*frequencies_hz, level_dbfs=level_dbfs)
    return b"".join([await tone.read() or b"" for _ in range(frames)])


@pytest.mark.anyio
async def test_a_tone_is_known_from_others_from_both_and_from_silence() -> None:
    for hertz, other in ((OPERATOR_HZ, FAR_HZ), (FAR_HZ, OPERATOR_HZ)):
        assert is_tone(await _sound(hertz), hertz)
        assert not is_tone(await _sound(other), hertz)
        assert not is_tone(await _sound(hertz, other), hertz)
        assert not is_tone(await _sound(hertz, level_dbfs=-60.0), hertz)
        assert not is_tone(SILENCE * 10, hertz)
        assert not is_tone(b"", hertz)
