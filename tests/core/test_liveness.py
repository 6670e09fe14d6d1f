from __future__ import annotations

from math import inf

import pytest

from cti_framework.liveness import Liveness, LivenessPolicy, LivenessStep

WAIT, PROBE, DEAD = LivenessStep.WAIT, LivenessStep.PROBE, LivenessStep.DEAD


class Watched:
    def __init__(
        self, *, silence_seconds: float = 60.0, probe_timeout_seconds: float = 10.0, watches_silence: bool = True
    ) -> None:
        self.now = 1000.0
        self.liveness = Liveness(LivenessPolicy(silence_seconds, probe_timeout_seconds), lambda: self.now)
        self.liveness.restart(watches_silence=watches_silence)

    def after(self, seconds: float) -> LivenessStep:
        self.now += seconds
        return self.liveness.step()


def test_silence_is_asked_about_and_then_is_death() -> None:
    watched = Watched()
    assert watched.liveness.next_deadline == 1060.0
    assert watched.after(59.9) is WAIT
    assert watched.after(0.1) is PROBE
    assert watched.liveness.is_asking
    assert watched.liveness.next_deadline == 1070.0
    assert watched.after(9.9) is WAIT
    assert watched.after(0.1) is DEAD
    assert watched.liveness.silent_seconds == 70.0


def test_what_is_heard_puts_the_question_off() -> None:
    watched = Watched()
    assert watched.after(50) is WAIT
    watched.liveness.heard()
    assert watched.after(59) is WAIT
    assert watched.liveness.next_deadline == 1110.0
    assert watched.after(1) is PROBE


@pytest.mark.parametrize("how", ["answered", "heard"])
def test_an_answer_is_life_and_so_is_anything_else_that_is_heard(how: str) -> None:
    watched = Watched()
    assert watched.after(60) is PROBE
    watched.now += 5
    getattr(watched.liveness, how)()
    assert watched.after(5) is WAIT
    assert not watched.liveness.is_asking
    assert watched.liveness.next_deadline == 1125.0
    assert watched.after(55) is PROBE


def test_what_was_heard_before_the_question_is_no_answer() -> None:
    watched = Watched()
    watched.liveness.heard()
    watched.liveness.suspect()
    assert watched.after(0) is PROBE
    assert watched.after(10) is DEAD


def test_a_suspicion_is_asked_about_at_once_and_once() -> None:
    watched = Watched()
    watched.liveness.suspect()
    assert watched.liveness.next_deadline == -inf
    assert watched.after(0) is PROBE
    assert watched.after(1) is WAIT
    watched.liveness.answered()
    assert watched.after(0) is WAIT


def test_a_suspicion_while_a_question_is_open_is_asked_about_afterwards() -> None:
    watched = Watched()
    assert watched.after(60) is PROBE
    watched.liveness.suspect()
    assert watched.after(1) is WAIT
    watched.liveness.answered()
    assert watched.after(0) is PROBE


@pytest.mark.parametrize("options", [{"silence_seconds": 0}, {"watches_silence": False}])
def test_silence_that_is_not_watched_is_nothing(options: dict[str, float]) -> None:
    watched = Watched(**options)  # type: ignore[arg-type]  # either of the two
    assert watched.liveness.next_deadline == inf
    assert watched.after(1e6) is WAIT
    watched.liveness.suspect()
    assert watched.after(0) is PROBE
    assert watched.after(10) is DEAD


def test_what_cannot_be_asked_is_not_asked() -> None:
    watched = Watched()
    assert watched.after(60) is PROBE
    watched.liveness.suspect()
    watched.liveness.cannot_ask()
    assert not watched.liveness.is_open
    assert not watched.liveness.is_asking
    assert watched.liveness.next_deadline == inf
    assert watched.after(1e6) is WAIT
    watched.liveness.restart(watches_silence=True)
    assert watched.after(60) is PROBE


def test_a_new_connection_is_not_judged_by_the_old_one() -> None:
    watched = Watched()
    watched.liveness.suspect()
    assert watched.after(60) is PROBE
    watched.now += 100
    watched.liveness.restart(watches_silence=True)
    assert watched.liveness.step() is WAIT
    assert watched.liveness.next_deadline == 1220.0


@pytest.mark.parametrize(("silence", "probe"), [(-1.0, 10.0), (60.0, 0.0)])
def test_times_that_cannot_be(silence: float, probe: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        LivenessPolicy(silence, probe)
