"""One clock a session: the PBX's times and ours, brought together.

A session's clock starts at the computer's time and then runs by the monotonic clock: it never jumps, so the difference of two
of its times is time that really passed. A PBX has a clock of its own. How far apart they are is learnt from what the PBX says
has just happened: a message is late by the network's delay and never early, so the latest-looking of the recent observations
is the best one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["SessionClock"]


class SessionClock:
    """The clock of one session.

    Args:
        wall: Tells the computer's time once, at the start.
        monotonic: Tells seconds that never go back.
        window: How many observations of the PBX's clock are looked at.

    Attributes:
        monotonic: As given.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        window: int = 32,
    ) -> None:
        started_at = datetime.now(UTC) if wall is None else wall().astimezone(UTC)
        self.monotonic = monotonic
        # Seconds since 1970 at the monotonic clock's zero: one addition tells the time.
        self._zero = started_at.timestamp() - monotonic()
        self._differences: deque[float] = deque(maxlen=window)
        self._difference = 0.0

    def now(self) -> datetime:
        """Tell the time: aware, UTC, never going back."""
        return _from_timestamp(self._zero + self.monotonic(), UTC)

    @property
    def pbx_ahead_seconds(self) -> float | None:
        """How far the PBX's clock is ahead of this one (negative: behind); ``None`` while nothing is known of it."""
        return self._difference if self._differences else None

    def observe(self, pbx_time: datetime) -> None:
        """Say that the PBX gave this as the time of something that has only just happened.

        Args:
            pbx_time: By the PBX's clock; aware.
        """
        self._observe(pbx_time.timestamp(), self._zero + self.monotonic())

    def forget(self) -> None:
        """Forget what was learnt of the PBX's clock. A provider does it when it connects: another PBX may answer."""
        self._differences.clear()
        self._difference = 0.0

    def from_pbx(self, pbx_time: datetime) -> datetime:
        """Translate a time of the PBX's clock.

        Args:
            pbx_time: By the PBX's clock; aware.

        Returns:
            The same moment by this clock; never later than now, for nothing that is told lies in the future. A time that no
            calendar has (a PBX's field full of garbage) is now.
        """
        return self._translated(pbx_time.timestamp(), self._zero + self.monotonic())

    def from_microseconds(self, microseconds: int, *, just_now: bool = False) -> datetime:
        """Translate a time as switches give it: the microseconds since 1970 by the PBX's clock.

        Args:
            microseconds: Since 1970-01-01 00:00 UTC.
            just_now: It is the time of something that has only just happened; the clock learns from it, as by ``observe``.

        Returns:
            As ``from_pbx``.
        """
        now = self._zero + self.monotonic()
        try:
            seconds = microseconds / 1_000_000
        except OverflowError:
            return _from_timestamp(now, UTC)
        if just_now:
            self._observe(seconds, now)
        return self._translated(seconds, now)

    def _observe(self, pbx_seconds: float, now: float) -> None:
        differences = self._differences
        leaving = differences[0] if len(differences) == differences.maxlen else None
        difference = pbx_seconds - now
        if difference < self._difference - _SET_BACK_SECONDS and differences:
            # No message is late by so much: the PBX's clock was set back.
            differences.clear()
            leaving = None
        differences.append(difference)
        if difference >= self._difference or len(differences) == 1:
            self._difference = difference
        elif leaving == self._difference:
            self._difference = max(differences)

    def _translated(self, pbx_seconds: float, now: float) -> datetime:
        try:
            return _from_timestamp(min(pbx_seconds - self._difference, now), UTC)
        except (OverflowError, OSError, ValueError):
            return _from_timestamp(now, UTC)


_SET_BACK_SECONDS = 5.0
_from_timestamp = datetime.fromtimestamp
