"""Keeping a connection alive, and its account heard (facts: webitel-protocol 1, 1.2, 7.4).

Theory of operation
-------------------

**Alive.** `Vigil` sends ``ping`` at intervals; an answer that does not come in time is the end of the connection.

**Heard.** Call events flow while the account's flag ``logged`` is set, and the flag is shared by all of its sockets: another
program's ``logout`` silences this one, and nothing is said about it. It is noticed in two ways:

- the account's own status says that it is in a call (``ISBUSY``, and not because it is away), and for a while no leg is known and
  none begins;
- beside each ``ping`` goes ``api whoami``, whose answer says ``logged``.

The first is only a suspicion (there are other reasons), so it asks ``api whoami``, too. Where that says that the account is
silent, or a suspicion cannot be cleared up because it is not answered, ``login`` switches the events on again. Once that is
answered `OnSilenced` is told: who hears of it can look at the calls, and misses nothing any more.

Two programs could go on switching the events off and on, so there is a pause between two times. A suspicion that proved unfounded
is not raised again before the account's status has changed.

There is no clock here and no socket: `Vigil.step` is told the time, sends by what it was given, and says when it is due again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from cti_framework.errors import NetworkError, OutageKind
from cti_framework.json_text import read_json
from cti_webitel.engine.callbacks import Callback, OnSilenced, SilencedBy, WebitelUser
from cti_webitel.engine.protocol import Reply
from cti_webitel.engine.timeouts import WebitelTimeouts
from cti_webitel.engine.waiting import Waiter

__all__ = ["Vigil"]

_NEVER: Final = float("inf")


class _Line(Protocol):
    """What a vigil is kept over."""

    @property
    def unacknowledged_bytes(self) -> int | None: ...

    def _send(self, func: str, args: Mapping[str, Any] | None = None) -> Awaitable[Waiter]: ...

    def _forget(self, waiter: Waiter) -> None: ...


class _Question:
    """A command that was sent on somebody's suspicion, and how long its answer is waited for."""

    __slots__ = ("by", "ends_at", "waiter")

    def __init__(self, waiter: Waiter, ends_at: float, by: SilencedBy) -> None:
        self.waiter = waiter
        self.ends_at = ends_at
        self.by = by


class Vigil:
    """Watches over one connection.

    Args:
        line: What sends commands.
        timeouts: How long to wait for what.
        peer: The engine, as errors name it.
        now: Seconds, on the clock of `step`.
        log: A structlog logger.
    """

    __slots__ = (
        "_asked_at",
        "_begun_then",
        "_line",
        "_log",
        "_login",
        "_not_before",
        "_peer",
        "_ping",
        "_ping_due",
        "_silenced_by",
        "_suspected_at",
        "_timeouts",
        "_unconfirmed_by",
        "_unfounded",
        "_whoami",
    )

    def __init__(self, line: _Line, timeouts: WebitelTimeouts, *, peer: str, now: float, log: Any = None) -> None:
        self._line = line
        self._timeouts = timeouts
        self._peer = peer
        self._log = log if log is not None else structlog.get_logger("cti_webitel.engine")
        self._ping: Waiter | None = None
        self._asked_at = now
        self._ping_due = now + timeouts.ping_interval_seconds
        self._whoami: _Question | None = None
        self._login: _Question | None = None
        self._silenced_by: SilencedBy | None = None
        self._not_before = -_NEVER
        self._suspected_at: float | None = None
        self._begun_then = 0
        self._unfounded = False
        # A log in was sent and its answer did not come: it may have acted all the same.
        self._unconfirmed_by: SilencedBy | None = None

    @property
    def next_deadline(self) -> float:
        """When `step` is due, if nothing comes before."""
        return min(
            self._ping_due,
            _NEVER if self._whoami is None else self._whoami.ends_at,
            _NEVER if self._login is None else self._login.ends_at,
            self._suspicion_due,
            self._not_before if self._silenced_by is not None and self._login is None else _NEVER,
        )

    @property
    def _suspicion_due(self) -> float:
        if self._suspected_at is None or self._whoami is not None or self._login is not None:
            return _NEVER
        return self._suspected_at + self._timeouts.silence_seconds

    def hear_status(self, user: WebitelUser, *, in_call: bool, legs_begun: int, now: float) -> None:
        """Take the own account's status as the engine told it.

        Args:
            user: The account.
            in_call: An own leg is known.
            legs_begun: How many legs have become known so far.
            now: Seconds, on the clock of `step`.
        """
        if in_call or user.state != "ISBUSY" or user.away not in ("", "NONE"):
            self._suspected_at = None
            self._unfounded = False
        elif self._suspected_at is None and not self._unfounded:
            self._suspected_at = now
            self._begun_then = legs_begun

    async def step(self, now: float, *, legs_begun: int) -> Sequence[Callback]:
        """Do what is due: send what has to be sent, and draw the conclusions from what was answered.

        Args:
            now: Seconds, on any clock that does not go back.
            legs_begun: As for `hear_status`.

        Returns:
            What is to be told.

        Raises:
            NetworkError: ``ping`` was not answered in time, or nothing can be sent.
        """
        await self._keep_alive(now)
        told = self._read_whoami(now)
        await self._follow_suspicion(now, legs_begun)
        await self._switch_on(now)
        told = (*told, *self._read_login(now))
        if self._unconfirmed_by is not None:
            await self._ask(now, self._unconfirmed_by)
        return told

    async def _keep_alive(self, now: float) -> None:
        timeouts = self._timeouts
        if self._ping is not None and self._ping.reply is not None:
            self._ping = None
            self._ping_due = max(now, self._asked_at + timeouts.ping_interval_seconds)
        elif now >= self._ping_due:
            if self._ping is not None:
                raise NetworkError(
                    f"The engine at {self._peer} did not answer ping within {timeouts.ping_reply_seconds:g} s.",
                    step="ping",
                    kind=OutageKind.HALF_OPEN if self._line.unacknowledged_bytes else OutageKind.FROZEN,
                )
            await self._ask(now, SilencedBy.WHOAMI)
            self._ping = await self._line._send("ping")
            self._asked_at, self._ping_due = now, now + timeouts.ping_reply_seconds

    async def _ask(self, now: float, by: SilencedBy) -> None:
        if self._whoami is None and self._login is None:
            waiter = await self._line._send("api whoami", {})
            self._whoami = _Question(waiter, now + self._timeouts.command_seconds, by)

    def _read_whoami(self, now: float) -> Sequence[Callback]:
        question = self._whoami
        if question is None or (question.waiter.reply is None and now < question.ends_at):
            return ()
        self._whoami = None
        self._line._forget(question.waiter)
        logged = _is_logged(question.waiter.reply)
        unconfirmed_by, self._unconfirmed_by = self._unconfirmed_by, None
        if logged is False or (logged is None and question.by is SilencedBy.ACCOUNT_STATUS):
            self._silenced_by = question.by
        elif logged and unconfirmed_by is not None:
            return (OnSilenced(unconfirmed_by),)
        return ()

    async def _follow_suspicion(self, now: float, legs_begun: int) -> None:
        if self._suspected_at is not None and legs_begun != self._begun_then:
            # Frames come after all.
            self._suspected_at = None
        if now >= self._suspicion_due:
            self._suspected_at = None
            self._unfounded = True
            await self._ask(now, SilencedBy.ACCOUNT_STATUS)

    async def _switch_on(self, now: float) -> None:
        by = self._silenced_by
        if by is None or self._login is not None or now < self._not_before:
            return
        self._silenced_by = None
        self._not_before = now + self._timeouts.silence_pause_seconds
        self._log.warning("engine.silenced", noticed_by=by.value)
        self._login = _Question(await self._line._send("login"), now + self._timeouts.command_seconds, by)

    def _read_login(self, now: float) -> Sequence[Callback]:
        question = self._login
        if question is None or (question.waiter.reply is None and now < question.ends_at):
            return ()
        self._login = None
        self._line._forget(question.waiter)
        reply = question.waiter.reply
        if reply is None or not reply.ok:
            self._log.warning("engine.still_silenced", reason="not answered" if reply is None else reply.error)
            self._unconfirmed_by = question.by if reply is None else None
            return ()
        return (OnSilenced(question.by),)


def _is_logged(reply: Reply | None) -> bool | None:
    """Read whether the account's events are on; ``None`` if that cannot be read."""
    said = None if reply is None or not reply.ok else reply.response
    if isinstance(said, str):
        try:
            said = read_json(said)
        except ValueError:
            return None
    logged = said.get("logged") if isinstance(said, dict) else None
    return logged if isinstance(logged, bool) else None
