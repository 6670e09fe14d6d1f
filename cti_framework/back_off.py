"""How long to wait for a connection, by what kept it from being there, and when to give up.

A name that is not known today is not known in half a second either, and a PBX that said that it restarts is back in a few: each
kind of outage has pauses of its own. They double from attempt to attempt up to the kind's longest, and are drawn at random from
their upper half, so that a thousand sessions do not come back at one moment.

The pauses of all kinds are multiples of two settings, so that one number makes all of them longer: see ``_FACTORS``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import attrs

from cti_framework.errors import OutageKind

__all__ = ["BackOff", "ReconnectPolicy"]

_NO_BACK_OFFS: Final[Mapping[OutageKind, BackOff]] = MappingProxyType({})


@attrs.frozen
class BackOff:
    """The pauses between attempts in one kind of outage.

    Attributes:
        initial_seconds: The first pause, before jitter.
        maximum_seconds: The longest pause, before jitter.
    """

    initial_seconds: float
    maximum_seconds: float

    def delay_seconds(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Draw the pause before the next attempt.

        Args:
            failures: How many attempts have failed in a row, from 1.
            draw: Gives a number between 0 and 1.

        Returns:
            Seconds, between half of the doubled pause and the whole of it.
        """
        longest = min(self.maximum_seconds, self.initial_seconds * 2.0 ** min(failures - 1, 32))
        return longest * (0.5 + draw() / 2)


_FACTORS: Final[Mapping[OutageKind, tuple[float, float]]] = MappingProxyType(
    {
        OutageKind.LOST: (1.0, 1.0),
        # What is sent arrives nowhere: another way may be there already.
        OutageKind.HALF_OPEN: (0.5, 1.0),
        OutageKind.REFUSED: (2.0, 1.0),
        OutageKind.UNREACHABLE: (3.0, 1.0),
        # The peer's computer has enough to do.
        OutageKind.FROZEN: (4.0, 2.0),
        # Each attempt has waited for long already.
        OutageKind.NO_ANSWER: (3.0, 2.0),
        OutageKind.NAME_UNKNOWN: (6.0, 4.0),
        # It said that it comes back: soon, but not at once.
        OutageKind.RESTARTING: (4.0, 0.5),
        OutageKind.PLUGIN: (5.0, 4.0),
        OutageKind.BUSY: (10.0, 4.0),
        # Somebody has to do something about these: a certificate is renewed, a port is corrected.
        OutageKind.PROTOCOL: (20.0, 10.0),
        OutageKind.TLS_NOT_TRUSTED: (60.0, 20.0),
        # Never tried again, unless a plugin says of one that it can be.
        OutageKind.CREDENTIALS: (60.0, 20.0),
        OutageKind.ADDRESS: (60.0, 20.0),
    }
)
"""By kind: how many times ``initial_delay_seconds``, and how many times ``maximum_delay_seconds``."""


@lru_cache(maxsize=16)
def _back_offs(initial_seconds: float, maximum_seconds: float) -> Mapping[OutageKind, BackOff]:
    """Make the table of all kinds: one for all sessions that have the same settings."""
    return MappingProxyType(
        {kind: BackOff(initial_seconds * first, maximum_seconds * most) for kind, (first, most) in _FACTORS.items()}
    )


@attrs.frozen
class ReconnectPolicy:
    """How long to wait for a connection, and between attempts, and when to give up.

    Attributes:
        initial_delay_seconds: The pause before the second attempt after a connection was lost. Other kinds of outage begin with
            a multiple of it.
        maximum_delay_seconds: The longest pause after a connection was lost, likewise.
        stable_after_seconds: How long a connection must have lasted for the pauses to start small again.
        log_in_timeout_seconds: How long ``run()`` may take until it reports ``Started``.
        snapshot_timeout_seconds: How long ``snapshot()`` may take.
        by_kind: The pauses of kinds of outage that are to have others than the usual ones.
        give_up_after_attempts: How many attempts may fail in one outage before the session gives up; ``None``: any number.
        give_up_after_seconds: How long an outage may last before the session gives up; ``None``: for ever.
    """

    initial_delay_seconds: float = 0.5
    maximum_delay_seconds: float = 30.0
    stable_after_seconds: float = 10.0
    log_in_timeout_seconds: float = 15.0
    snapshot_timeout_seconds: float = 15.0
    by_kind: Mapping[OutageKind, BackOff] = _NO_BACK_OFFS
    give_up_after_attempts: int | None = None
    give_up_after_seconds: float | None = None

    def back_off(self, kind: OutageKind) -> BackOff:
        """Give the pauses of a kind of outage.

        Args:
            kind: Which.

        Returns:
            What ``by_kind`` has for it, or the kind's multiples of the two delays.
        """
        given = self.by_kind.get(kind)
        return _back_offs(self.initial_delay_seconds, self.maximum_delay_seconds)[kind] if given is None else given

    def delay_seconds(
        self, failures: int, draw: Callable[[], float] = random.random, kind: OutageKind = OutageKind.LOST
    ) -> float:
        """Draw the pause before the next attempt.

        Args:
            failures: How many attempts have failed in a row in this way, from 1.
            draw: Gives a number between 0 and 1.
            kind: What the latest one failed with.

        Returns:
            Seconds, between half of the doubled pause and the whole of it.
        """
        return self.back_off(kind).delay_seconds(failures, draw)
