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
from datetime import UTC, datetime, timedelta

__all__ = ["SessionClock", "from_microseconds"]

_MICROSECOND = timedelta(microseconds=1)


class SessionClock:
    """The clock of one session.

    Args:
        wall: Tells the computer's time once, at the start.
        monotonic: Tells seconds that never go back.
        window: How many observations of the PBX's clock are looked at.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], datetime] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        window: int = 32,
    ) -> None:
        self._monotonic = monotonic
        self._started_at = datetime.now(UTC) if wall is None else wall().astimezone(UTC)
        self._started = monotonic()
        self._differences: deque[float] = deque(maxlen=window)
        self._difference = timedelta(0)

    def now(self) -> datetime:
        """Tell the time: aware, UTC, never going back."""
        return self._started_at + timedelta(seconds=self._monotonic() - self._started)

    @property
    def pbx_ahead_seconds(self) -> float | None:
        """How far the PBX's clock is ahead of this one (negative: behind); ``None`` while nothing is known of it."""
        return self._difference.total_seconds() if self._differences else None

    def observe(self, pbx_time: datetime) -> None:
        """Say that the PBX gave this as the time of something that has only just happened.

        Args:
            pbx_time: By the PBX's clock; aware.
        """
        self._differences.append((pbx_time - self.now()).total_seconds())
        self._difference = timedelta(seconds=max(self._differences))

    def forget(self) -> None:
        """Forget what was learnt of the PBX's clock: another PBX answers, or it was restarted."""
        self._differences.clear()
        self._difference = timedelta(0)

    def from_pbx(self, pbx_time: datetime) -> datetime:
        """Translate a time of the PBX's clock.

        Args:
            pbx_time: By the PBX's clock; aware.

        Returns:
            The same moment by this clock; never later than now, for nothing that is told lies in the future.
        """
        return min(pbx_time.astimezone(UTC) - self._difference, self.now())


def from_microseconds(microseconds: int) -> datetime:
    """Turn the microseconds since 1970 that switches count in into a time.

    Args:
        microseconds: Since 1970-01-01 00:00 UTC.

    Returns:
        The time, aware and in UTC.

    Raises:
        OverflowError: It is not a time that Python knows.
    """
    return _EPOCH + microseconds * _MICROSECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
