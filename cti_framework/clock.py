"""One clock a session: the PBX's times and ours, brought together.

A session's clock starts at the computer's time and then runs by the monotonic clock: while a connection lives it never jumps, so
the difference of two of its times is time that really passed. The monotonic clock stands still while a computer sleeps. No
connection lives through that, so before each new one the clock catches up with the computer's time.

A PBX has a clock of its own. How far apart they are is learnt from what the PBX says has just happened: a message is late by the
network's delay and never early, so the latest-looking of the recent observations is the best one. A message that is very late
was held back, or the PBX's clock was set back. What was held back comes in order, and the later of it is less late; a clock that
was set back goes on being wrong by the same. So that is believed when the PBX's time has gone back, or when two messages some
seconds apart are late by the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

__all__ = ["SessionClock"]


class SessionClock:
    """The clock of one session.

    Args:
        wall: Tells the computer's time, at the start and when the clock is to catch up.
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
        self._wall = wall or _computer_time
        self.monotonic = monotonic
        # Seconds since 1970 at the monotonic clock's zero: one addition tells the time.
        self._zero = self._wall().timestamp() - monotonic()
        self._differences: deque[float] = deque(maxlen=window)
        self._difference = 0.0
        self._latest = 0.0
        # A difference that is far less than the others, and since when.
        self._suspect: tuple[float, float] | None = None

    def now(self) -> datetime:
        """Tell the time: aware, UTC, never going back."""
        return _from_timestamp(self._zero + self.monotonic(), UTC)

    def catch_up(self) -> None:
        """Go forward to the computer's time if that is seconds ahead: the computer slept. The core does it before it connects.

        Never back. What was learnt of the PBX's clock is forgotten where it goes forward.
        """
        ahead = self._wall().timestamp() - self._zero - self.monotonic()
        if ahead > _SLEPT_SECONDS:
            self._zero += ahead
            self.forget()

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
        self._suspect = None

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
        if differences and difference < self._difference - _VERY_LATE_SECONDS:
            if pbx_seconds < self._latest - _VERY_LATE_SECONDS or self._agrees(difference, now):
                differences.clear()
                leaving = None
                self._suspect = None
        else:
            self._suspect = None
        self._latest = pbx_seconds
        differences.append(difference)
        if difference >= self._difference or len(differences) == 1:
            self._difference = difference
        elif leaving == self._difference:
            self._difference = max(differences)

    def _agrees(self, difference: float, now: float) -> bool:
        """Whether a message that is very late is as late as one some seconds before it: so the PBX's clock was set back."""
        suspect = self._suspect
        if suspect is None or difference > suspect[0] + _JITTER_SECONDS:
            self._suspect = (difference, now)
            return False
        return difference >= suspect[0] - _JITTER_SECONDS and now - suspect[1] >= _APART_SECONDS

    def _translated(self, pbx_seconds: float, now: float) -> datetime:
        try:
            return _from_timestamp(min(pbx_seconds - self._difference, now), UTC)
        except (OverflowError, OSError, ValueError):
            return _from_timestamp(now, UTC)


def _computer_time() -> datetime:
    return datetime.now(UTC)


_VERY_LATE_SECONDS: Final = 5.0
_APART_SECONDS: Final = 2.0
_JITTER_SECONDS: Final = 1.0
_SLEPT_SECONDS: Final = 5.0
_from_timestamp = datetime.fromtimestamp
