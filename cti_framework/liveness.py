"""Whether a connection still lives: two clocks, and a question. No I/O, no task.

A connection can die without a word: the peer's program stands still, a computer loses its power, a firewall forgets. Nothing is
told then; it only becomes quiet. Two clocks notice it:

1. *Silence*: nothing was heard for ``silence_seconds``. A quiet line is no dead one, so it is only asked.
2. *A request unanswered*: a command, or whoever doubts (``suspect()``), has it asked at once.

What is asked is the provider's ``probe()``. If it is answered, or anything else is heard within ``probe_timeout_seconds``, the
connection lives, and both clocks begin anew. If not, it is dead.

`Liveness` is told when something was heard, and says what to do (``step()``) and when to ask it next (``next_deadline``).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf

from attrs import field, frozen, validators

__all__ = ["Liveness", "LivenessPolicy", "LivenessStep"]


@frozen
class LivenessPolicy:
    """How a connection is watched.

    Attributes:
        silence_seconds: How long nothing may be heard before the PBX is asked; 0: it is not asked for silence.
        probe_timeout_seconds: How long its answer may take.
    """

    silence_seconds: float = field(default=60.0, validator=validators.ge(0))
    probe_timeout_seconds: float = field(default=10.0, validator=validators.gt(0))


class LivenessStep(Enum):
    """What is to be done now."""

    WAIT = "wait"
    """Nothing before ``next_deadline``."""
    PROBE = "probe"
    """Ask the PBX; say ``answered()`` when it answers."""
    DEAD = "dead"
    """Give the connection up."""


class Liveness:
    """Watches one session's connections, one after the other.

    Args:
        policy: How.
        clock: Tells seconds that never go back.

    Attributes:
        policy: As given.
        heard_at: When anything was heard last, by that clock.
    """

    __slots__ = ("_clock", "_is_suspected", "_probed_at", "_silent_from", "_watches_silence", "heard_at", "policy")

    def __init__(self, policy: LivenessPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self._clock = clock
        self._watches_silence = False
        self.restart(watches_silence=False)

    def restart(self, *, watches_silence: bool) -> None:
        """Begin to watch a connection that has just come into being.

        Args:
            watches_silence: Whether the PBX is asked when nothing is heard; not where nothing can be asked.
        """
        self._watches_silence = watches_silence and self.policy.silence_seconds > 0
        self._probed_at: float | None = None
        self._is_suspected = False
        self.heard_at = self._silent_from = self._clock()

    def heard(self) -> None:
        """Say that something was heard, whatever it was. Cheap: it is called for each message."""
        self.heard_at = self._clock()

    def suspect(self) -> None:
        """Say that an answer did not come, or that somebody wants to know: the PBX is to be asked at once."""
        self._is_suspected = True

    def answered(self) -> None:
        """Say that the question was answered."""
        self.heard_at = self._clock()
        self._probed_at = None

    def withdraw(self) -> None:
        """Say that the question could not be asked. It is asked again after another silence; nothing was heard."""
        self._silent_from = self._clock()
        self._probed_at = None

    def cannot_ask(self) -> None:
        """Say that the question cannot be asked on this connection at all: nothing is asked any more, and silence is none."""
        self._watches_silence = self._is_suspected = False
        self._probed_at = None

    @property
    def is_open(self) -> bool:
        """Whether a question is open."""
        return self._probed_at is not None

    @property
    def is_asking(self) -> bool:
        """Whether a question is open, or about to be asked."""
        return self._is_suspected or self.is_open

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been heard."""
        return self._clock() - self.heard_at

    @property
    def next_deadline(self) -> float:
        """When ``step`` is due, by the clock, if nothing comes before."""
        if self._probed_at is not None:
            return self._probed_at + self.policy.probe_timeout_seconds
        if self._is_suspected:
            return -inf
        return max(self.heard_at, self._silent_from) + self.policy.silence_seconds if self._watches_silence else inf

    def step(self) -> LivenessStep:
        """Tell what is to be done now.

        Returns:
            It. ``PROBE`` is said once a question.
        """
        now = self._clock()
        if self._probed_at is not None:
            if self.heard_at <= self._probed_at:
                return LivenessStep.DEAD if now >= self.next_deadline else LivenessStep.WAIT
            self._probed_at = None
        if now < self.next_deadline:
            return LivenessStep.WAIT
        self._is_suspected = False
        self._probed_at = now
        return LivenessStep.PROBE
