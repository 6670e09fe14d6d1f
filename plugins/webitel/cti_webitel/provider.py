"""WebitelCtiProvider: one operator's line at a Webitel engine.

Callbacks arrive in the one task that reads the socket, and are reported from there, so reports are in the engine's order. The
engine answers ``call`` only when the operator's own phone was picked up, but shows the call long before: the answer is waited
for in a task of the connection, and ``make_call`` returns when the call appears.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar, Final, NoReturn

import anyio
import orjson
from anyio.abc import TaskGroup

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, Party, Side
from cti_framework.clock import SessionClock, from_microseconds
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    NotAllowedNowError,
    NotConnectedError,
)
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, ProviderContext, ReplayLine, Simulation
from cti_framework.reports import CallSnapshot, Raw, Report, Snapshot, Started, Trouble
from cti_webitel.engine.arguments import check_destination, check_digits
from cti_webitel.engine.callbacks import NO_PAYLOAD, Callback, OnNewCall, OnReady, WebitelDirection
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from cti_webitel.engine.replay import replay_frames
from cti_webitel.engine.snapshot import SeenLeg
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, serve_webitel
from cti_webitel.translator import AGENT_STATES, Translator, agent_of, attributes_of, parties_of

__all__ = ["WebitelCtiProvider"]

_FEATURES: Final = CallFeature.DIAL | CallFeature.DROP | CallFeature.HOLD | CallFeature.UNHOLD | CallFeature.DTMF

_SHOWN_WITHIN_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 1.0


class _AskedCall:
    """A call that was asked for and is not shown yet."""

    __slots__ = ("_decided", "call_id", "failure", "number")

    def __init__(self, number: str) -> None:
        self.number = number
        self.call_id: str | None = None
        self.failure: CommandError | None = None
        self._decided = anyio.Event()

    def shown(self, call_id: str) -> None:
        self.call_id = call_id
        self._decided.set()

    def failed(self, failure: CommandError) -> None:
        if not self._decided.is_set():
            self.failure = failure
            self._decided.set()

    async def decided(self) -> None:
        await self._decided.wait()

    async def wait(self) -> str:
        await self._decided.wait()
        if self.call_id is not None:
            return self.call_id
        assert self.failure is not None
        raise self.failure


class _LoggedIn:
    """What the client tells when commands can be sent."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    def started(self, value: object = None) -> None:
        self.event.set()


class WebitelCtiProvider(BaseCtiProvider):
    """The provider for Webitel.

    A call is named by Webitel's own identifier of it; at its end it gets the one that its record is kept by, and is still found
    by the former. Calls cannot be answered without the web phone: the engine has no command for it, so it is never offered
    (facts: webitel-protocol 3.2).
    """

    provider_api = 1
    capabilities: ClassVar[Capabilities] = Capabilities(calls=_FEATURES, logged_out_state="NONREG")
    settings_type = WebitelSettings
    user_settings_type = WebitelUserSettings
    licences: ClassVar[tuple[str, ...]] = ("WebitelCollaboration.Use",)

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        settings: WebitelSettings = context.settings
        user: WebitelUserSettings = context.user_settings
        domain = f"@{settings.domain}" if settings.domain and "@" not in user.login else ""
        self._account = user.login + domain
        self._translator = Translator(self._account, context.clock)
        self._webitel = Webitel(
            settings.connection_string,
            self._account,
            secret=user.password if user.key is None else None,
            key=user.key,
            token=user.token if user.key is not None else None,
            on_callback=self._on_callback,
            on_frame=self._on_frame if context.wants_raw or context.trace is not None else None,
            auto_answer_param=settings.auto_answer_param,
            timeouts=WebitelTimeouts(
                command_seconds=settings.command_timeout_seconds,
                call_seconds=settings.ring_timeout_seconds,
                ping_interval_seconds=settings.ping_interval_seconds,
            ),
            hold_grace_seconds=settings.hold_grace_seconds,
            log=context.log,
        )
        self._tasks: TaskGroup | None = None
        self._logged_in = _LoggedIn()
        self._asked: list[_AskedCall] = []
        self._early: list[Report] | None = []

    # ------------------------------------------------------------------ what the engine says

    async def run(self) -> None:
        """Live through one connection to the engine.

        Raises:
            CredentialsRefusedError: The engine refuses the account.
            AddressError: The connection string cannot be used.
            ConnectionFailedError: The connection could not be made, or broke.
        """
        failure: ConnectionFailedError | None = None
        self._logged_in = _LoggedIn()
        self._early = []
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._look_again)
                try:
                    await self._webitel.run(task_status=self._logged_in)
                except ConnectionFailedError as error:
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            for asked in self._asked:
                asked.failed(
                    CommandUnconfirmedError(
                        "The connection ended before the call was shown.",
                        remedy="It may ring all the same: look at the calls when the connection is back.",
                    )
                )
            self._asked.clear()
        if failure is not None:
            raise failure

    def _on_callback(self, callback: Callback) -> None:
        reports = self._translator.translate(callback)
        if self._early is not None:
            # Started is the first report of a connection; the engine tells of calls and accounts before it is ready.
            self._early.extend(reports)
        else:
            for report in reports:
                self.context.report(report)
        kind = type(callback)
        if kind is OnNewCall:
            assert isinstance(callback, OnNewCall)
            self._match_asked(callback)
        elif kind is OnReady:
            self._report_started()

    def _report_started(self) -> None:
        own = self._webitel.own_user
        self.context.report(
            Started(
                at=self.context.clock.now(),
                features=_FEATURES,
                agent_states=AGENT_STATES,
                own_numbers=(self._account.partition("@")[0],),
                agent=None if own is None else agent_of(own),
            )
        )
        early, self._early = self._early or [], None
        for report in early:
            self.context.report(report)

    def _on_frame(self, frame: bytes) -> None:
        try:
            told: Any = orjson.loads(frame)
        except orjson.JSONDecodeError:
            told = frame
        if self.context.wants_raw:
            self.context.report(Raw(at=self.context.clock.now(), raw=told))
        if self.context.trace is not None and isinstance(told, dict):
            name = told.get("Event-Name") or f"reply {told.get('exec-complete')}"
            about = told.get("Unique-ID") or told.get("exec-response")
            self.context.trace("from_pbx", str(name), about if isinstance(about, str) else "")

    def _match_asked(self, callback: OnNewCall) -> None:
        # The engine gives no identifier of ours back with the call. The own phone that rings for a call asked for by click
        # shows the number asked for (facts: webitel-protocol 3.2, 5.1).
        call = callback.call
        if call.direction is not WebitelDirection.CALLBACK or not self._asked:
            return
        asked = next((asked for asked in self._asked if asked.number == call.callee_number), None)
        if asked is not None:
            self._asked.remove(asked)
            asked.shown(call.uuid)

    # ------------------------------------------------------------------ what the host asks

    async def snapshot(self) -> Snapshot:
        """Ask the engine for the operator's legs and describe each: the list lags and can hold ghosts, a leg's dump is exact.

        Returns:
            The calls of the own account.

        Raises:
            CommandError: The engine did not answer, or refused.
        """
        await self._logged_in.event.wait()
        seen, _ = await self._webitel.look()
        for leg in seen:
            if leg.dump.dumped_microseconds is not None:
                self.context.clock.observe(from_microseconds(leg.dump.dumped_microseconds))
        self._translator.take_over(((leg.call, leg.dump.bridged) for leg in seen), known=self._webitel.call_ids)
        own_user = self._webitel.own_user
        return Snapshot(
            at=self.context.clock.now(),
            calls=tuple(self._seen(leg) for leg in seen),
            agent=None if own_user is None else agent_of(own_user),
        )

    def _seen(self, leg: SeenLeg) -> CallSnapshot:
        call, dump = leg.call, leg.dump
        own, other = parties_of(call)
        held_by: frozenset[Side] = frozenset()
        if dump.held:
            held_by = frozenset((Side.OWN if dump.held_by_own else Side.OTHER,))
        state = CallState.CONNECTED if dump.bridged else CallState.ALERTING
        return CallSnapshot(
            call_id=call.uuid,
            direction=CallDirection.IN if call.direction is WebitelDirection.INBOUND else CallDirection.OUT,
            state=CallState.HELD if held_by else state,
            held_by=held_by,
            own=own,
            other=other,
            parent_id=call.attended_transfer_call_uuid,
            started_at=self._time(call.created_microseconds),
            answered_at=self._time(call.answered_microseconds),
            connected_at=self._time(dump.bridged_microseconds) if dump.bridged else None,
            attributes=attributes_of(call),
        )

    async def _look_again(self) -> None:
        """A leg made just before the log in may be in no list yet, and the engine tells nothing of it while it rings."""
        await self._logged_in.event.wait()
        await anyio.sleep(_LOOK_AGAIN_SECONDS)
        try:
            _, adopted = await self._webitel.look()
        except CommandError as error:
            self.context.log.warning("webitel.look_again.failed", reason=str(error))
            return
        for callback in adopted:
            self._on_callback(callback)

    def _time(self, microseconds: int | None) -> datetime | None:
        return None if microseconds is None else self.context.clock.from_pbx(from_microseconds(microseconds))

    async def make_call(self, destination: str) -> Call:
        """Ring the operator's own phone, and the destination once it is picked up.

        Args:
            destination: Digits, ``*``, ``#`` and a ``+`` in front; blanks, dashes, dots, slashes and brackets are taken out.

        Returns:
            The call, as soon as the own phone rings.

        Raises:
            InvalidArgumentError: The destination holds something that cannot be dialled.
            CommandRefusedError: The own phone cannot be rung; ``pbx_text`` says why.
            CommandUnconfirmedError: No answer, and no call was shown.
        """
        number = check_destination(destination)
        tasks = self._connected("make_call")
        asked = _AskedCall(number)
        self._asked.append(asked)
        tasks.start_soon(self._originate, asked)
        try:
            call_id = await asked.wait()
        finally:
            if asked in self._asked:
                self._asked.remove(asked)
        call = self.context.call(call_id)
        if call is None:
            raise CommandError(
                f"The call to {number} was over at once.",
                stage=CommandStage.ACCEPTED,
                remedy="CallFinished says why.",
            )
        return call

    async def _originate(self, asked: _AskedCall) -> None:
        self._trace("call", asked.number)
        try:
            await self._webitel.call(asked.number)
        except CommandRefusedError as error:
            # If the call was shown, its end is told by the engine's events.
            asked.failed(
                CommandRefusedError(
                    f"The engine refused the call to {asked.number}: {error.pbx_text}.",
                    pbx_text=error.pbx_text,
                    remedy="The operator's own phone rings first: check that it is registered and free.",
                )
            )
        except CommandError as error:
            if asked.call_id is None:
                asked.failed(error)
            else:
                self.context.report(Trouble(at=self.context.clock.now(), error=error, call_id=asked.call_id))
        else:
            # The events come by another way than the answer and may still be on theirs (facts: webitel-protocol 2).
            with anyio.move_on_after(_SHOWN_WITHIN_SECONDS):
                await asked.decided()
            asked.failed(
                CommandError(
                    f"The engine placed the call to {asked.number} and tells nothing about it.",
                    stage=CommandStage.ACCEPTED,
                    remedy="Another program of this account has logged out, which silences all of them; connect again.",
                )
            )

    async def drop_call(self, call: Call) -> None:
        """Hang up every own leg of the call.

        Args:
            call: The call.
        """
        legs = self._translator.legs_of(call.id)
        if not legs:
            self._unknown("drop_call", call)
        for leg in legs:
            self._trace("hangup", leg)
            try:
                await self._webitel.hangup(leg)
            except CommandRefusedError:
                # Another device's leg that has lost the race meanwhile is no failure while one of them was hung up.
                if leg == legs[-1] and len(legs) == 1:
                    raise

    async def hold_call(self, call: Call) -> None:
        """Hold the leg that was picked up.

        Args:
            call: The call.
        """
        leg = self._leg("hold_call", call)
        self._trace("hold", leg)
        await self._webitel.hold(leg)

    async def unhold_call(self, call: Call) -> None:
        """Take the leg back.

        Args:
            call: The call.
        """
        leg = self._leg("unhold_call", call)
        self._trace("unhold", leg)
        await self._webitel.unhold(leg)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Send tones to the far end, as if the operator's phone had.

        Args:
            call: The call.
            digits: One or more of ``0123456789*#ABCD``.
        """
        leg = self._leg("send_dtmf", call)
        self._trace("dtmf", f"{leg} {digits}")
        await self._webitel.dtmf(leg, check_digits(digits))

    def _leg(self, verb: str, call: Call) -> str:
        leg = self._translator.leg_of(call.id)
        if leg is None:
            self._unknown(verb, call)
        return leg

    def _unknown(self, verb: str, call: Call) -> NoReturn:
        raise NotAllowedNowError(f"{verb} for call {call.id!r}", reason="the engine does not know it any more", command=verb)

    def _connected(self, verb: str) -> TaskGroup:
        if self._tasks is None or not self._logged_in.event.is_set():
            raise NotConnectedError(f"{verb} was not sent: there is no connection to the engine.", command=verb)
        return self._tasks

    def _trace(self, name: str, detail: str) -> None:
        if self.context.trace is not None:
            self.context.trace("to_pbx", name, detail)

    # ------------------------------------------------------------------ a Webitel in a box

    @classmethod
    @asynccontextmanager
    async def simulator(cls) -> AsyncIterator[Simulation]:
        """Run a Webitel on loopback, with an outside world that answers when it is called.

        Yields:
            It, with the operator 100.
        """
        options = SimulatorOptions(far_answer_seconds=0.16, proxy_hold=True)
        async with serve_webitel(control_port=None, options=options) as served:
            yield Simulation(
                settings={"webitel.connection_string": served.url, "webitel.hold_grace_seconds": 0.3},
                user=CtiUser(
                    id="100", name="User 100", parameters={"webitel.login": "100@demo.local", "webitel.password": "100"}
                ),
                far_side=served,
                subscriber="0501234567",
                notes=(
                    "proxy-hold is switched on: a SIP profile without it, as known sites have, does not tell of the far end's hold.",
                    "The far end's hold is certain when no HOLD of ours came within 0.3 s (webitel.hold_grace_seconds).",
                ),
            )

    @classmethod
    @asynccontextmanager
    async def serve_simulator(cls, *, host: str, port: int, control_port: int) -> AsyncIterator[str]:
        """Serve a Webitel for other programs.

        Args:
            host: The address to listen on.
            port: The engine's port; 0 takes a free one.
            control_port: The control port; 0 takes a free one.

        Yields:
            Where it listens and who can log in.
        """
        async with serve_webitel(host, port, control_port) as served:
            yield (
                f"Webitel engine at {served.url}, control port {served.control_port}. Accounts 100, 101, 102 (users) and 200"
                " (administrator) in demo.local; the password is the number. The far end answers by itself."
            )

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Iterator[ReplayLine]:
        """Feed a capture of the engine's WebSocket to the protocol.

        Args:
            lines: The lines of a ``NAME.frames.jsonl``.

        Yields:
            Each callback, as Webitel's own library names it, and what the provider reports of it.

        Raises:
            ProtocolError: A line is none of a capture.
        """
        now = 0.0
        clock = SessionClock(monotonic=lambda: now)
        translator = Translator("", clock)
        for now, output in replay_frames(lines):
            if isinstance(output, Callback):
                payload = output.payload()
                yield ReplayLine(
                    at_seconds=now,
                    callback=None if output.ours else output.name,
                    payload=None if payload is NO_PAYLOAD else payload,
                    has_payload=payload is not NO_PAYLOAD,
                    reports=translator.translate(output),
                    text=output.name,
                )
