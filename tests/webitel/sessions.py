"""Webitel sessions against the simulator: how a test opens one, what it puts in between, and how it waits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from typed_settings.types import Secret

from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import CallState, Side
from cti_framework.clock import SessionClock
from cti_framework.line import Line
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser, ProviderContext
from cti_framework.reports import Report, Started
from cti_webitel.provider import WebitelCtiProvider
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import WebitelSimulator
from cti_webitel.simulator.commands import Reply
from cti_webitel.simulator.sessions import Session

ReportT = TypeVar("ReportT", bound=Report)

OWN = "100@demo.local"
FAR = "0501234567"
CALLER = "0671112233"
PATIENCE_SECONDS = 20.0
HOLD_GRACE_SECONDS = 0.1
SWIFT = ReconnectPolicy(initial_delay_seconds=0.02, maximum_delay_seconds=0.05, log_in_timeout_seconds=10.0)


def settings_for(url: str, **changes: Any) -> WebitelSettings:
    return WebitelSettings(**{"connection_string": url, "hold_grace_seconds": HOLD_GRACE_SECONDS, **changes})


def user_settings_for(number: str) -> WebitelUserSettings:
    return WebitelUserSettings(login=f"{number}@demo.local", password=Secret(number))


def model_at(
    where: WebitelSimulator | str,
    number: str = "100",
    *,
    user_settings: WebitelUserSettings | None = None,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> CtiModel:
    """Make a session of an account; it is not opened yet."""
    return CtiModel(
        WebitelCtiProvider,
        user=CtiUser(number),
        settings=settings_for(where if isinstance(where, str) else where.url, **settings),
        user_settings=user_settings or user_settings_for(number),
        name="webitel",
        **{"policy": SWIFT, **(options or {})},
    )


class Tap:
    """Sits between the simulator's sockets and its engine: sees each command, and can keep it or answer it otherwise."""

    def __init__(self, simulator: WebitelSimulator) -> None:
        self.commands: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        self.answers: dict[str, tuple[str, Any]] = {}
        self.kept: list[Callable[[], None]] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self._engine = simulator.engine
        self._receive = self._engine.receive
        self._disconnect = self._engine.disconnect
        self._came = anyio.Event()
        self._left = anyio.Event()
        # The simulator's sockets look the two up each time.
        vars(self._engine).update(receive=self._take, disconnect=self._leave)

    def asked(self, name: str) -> list[dict[str, Any]]:
        return [command for command in self.commands if command["exec-func"] == name]

    async def until_asked(self, name: str, times: int = 1) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.asked(name)) < times:
                await self._came.wait()

    async def until_nobody_is_there(self) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while self._engine.sessions:
                await self._left.wait()

    def release(self) -> None:
        """Hand on the commands that were kept."""
        self.silent.clear()
        for act in self.kept:
            act()
        self.kept.clear()

    def _take(self, session: Session, data: str | bytes) -> None:
        command = json.loads(data)
        name = command["exec-func"]
        self.commands.append(command)
        came, self._came = self._came, anyio.Event()
        came.set()
        if name in self.before:
            self.before[name]()
        if name in self.answers:
            self._engine.answer(session, command["exec-uuid"], Reply(*self.answers[name]))
        elif name in self.silent:
            self.kept.append(lambda: self._receive(session, data))
        else:
            self._receive(session, data)
        if name in self.after:
            self.after[name]()

    def _leave(self, session: Session) -> None:
        self._disconnect(session)
        left, self._left = self._left, anyio.Event()
        left.set()


class Bench:
    """A provider without the core: its reports, and the line that they make."""

    def __init__(
        self,
        simulator: WebitelSimulator,
        *,
        user_settings: WebitelUserSettings | None = None,
        wants_raw: bool = False,
        trace: Callable[[str, str, str], None] | None = None,
        **settings: Any,
    ) -> None:
        self.reports: list[Report] = []
        self.line = Line("epoch")
        self._came = anyio.Event()
        self.provider = WebitelCtiProvider(
            ProviderContext(
                user=CtiUser("100"),
                settings=settings_for(simulator.url, **settings),
                user_settings=user_settings or user_settings_for("100"),
                clock=SessionClock(),
                report=self._report,
                find_call=self.line.find,
                wants_raw=wants_raw,
                trace=trace,
            )
        )

    def _report(self, *reports: Report) -> None:
        for report in reports:
            self.reports.append(report)
            self.line.apply(report)
        came, self._came = self._came, anyio.Event()
        came.set()

    async def until(self, kind: type[ReportT], fits: Callable[[ReportT], bool] = lambda report: True) -> ReportT:
        """Wait for a report; one that came before counts, too."""
        seen = 0
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                for report in self.reports[seen:]:
                    if isinstance(report, kind) and fits(report):
                        return report
                seen = len(self.reports)
                await self._came.wait()

    def told(self, kind: type[ReportT]) -> list[ReportT]:
        return [report for report in self.reports if isinstance(report, kind)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[WebitelCtiProvider]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.provider.run)
            await self.until(Started)
            yield self.provider
            tasks.cancel_scope.cancel()


def switch_says(simulator: WebitelSimulator, presence: str = OWN) -> dict[str, tuple[CallState, frozenset[Side]]]:
    """What the switch itself knows of an account's calls, in the words of a host."""
    calls: dict[str, tuple[CallState, frozenset[Side]]] = {}
    for leg in simulator.switchboard.legs_of(presence):
        holders: set[Side] = {Side.OWN} if leg.snapshot.held else set()
        if leg.partner is not None and leg.partner.snapshot.held and simulator.options.proxy_hold:
            holders.add(Side.OTHER)
        state = CallState.ALERTING if leg.partner is None else CallState.HELD if holders else CallState.CONNECTED
        calls[leg.snapshot.call_id or leg.snapshot.call_uuid] = (state, frozenset(holders))
    return calls


def line_says(model: CtiModel) -> dict[str, tuple[CallState, frozenset[Side]]]:
    return {call.id: (call.state, call.held_by) for call in model.calls}
