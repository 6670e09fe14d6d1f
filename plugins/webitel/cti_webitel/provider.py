"""WebitelCtiProvider: one operator's line at a Webitel engine.

Callbacks arrive in the one task that reads the socket, and are reported from there, so reports are in the engine's order. The
engine answers ``call`` only when the operator's own phone was picked up, but shows the call long before: the answer is waited
for in a task of the connection, and ``make_call`` returns when the call appears.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, ClassVar, Final

import anyio
import anyio.lowlevel
import orjson
from anyio.abc import TaskGroup

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, Party, Side
from cti_framework.clock import SessionClock
from cti_framework.errors import (
    CommandError,
    CommandRefusedError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    InvalidArgumentError,
    NotAllowedNowError,
    NotConnectedError,
    SettingsError,
)
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, ProviderContext, ReplayLine, Reporter, Simulation
from cti_framework.reports import CallSnapshot, Raw, Report, Snapshot, Started, Trouble
from cti_webitel.engine.arguments import check_account, check_destination, check_digits
from cti_webitel.engine.callbacks import NO_PAYLOAD, Callback, CallCallback, OnNewCall, WebitelCall
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from cti_webitel.engine.headers import ORIGINATE_NUMBER
from cti_webitel.engine.replay import replay_frames
from cti_webitel.engine.snapshot import SeenLeg
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, serve_webitel
from cti_webitel.translator import AGENT_STATES, Translator, agent_of, attributes_of, direction_of, parties_of

__all__ = ["WebitelCtiProvider"]

_FEATURES: Final = CallFeature.DIAL | CallFeature.DROP | CallFeature.HOLD | CallFeature.UNHOLD | CallFeature.DTMF

_SHOWN_WITHIN_SECONDS: Final = 5.0
_PING_REPLY_SECONDS: Final = 10.0
_LOOK_AGAIN_SECONDS: Final = 1.0


def _account_of(settings: WebitelSettings, user: WebitelUserSettings) -> str:
    domain = f"@{settings.domain}" if settings.domain and "@" not in user.login else ""
    try:
        return check_account(user.login + domain)
    except InvalidArgumentError as error:
        raise SettingsError(
            "The user's account at Webitel cannot be used.",
            problems=(f"webitel.login: {error.message}",),
            remedy="Give the login as number@domain, or set webitel.domain for logins without one.",
        ) from None


def _holders(leg: SeenLeg) -> frozenset[Side]:
    sides = ((Side.OWN, leg.held_by_own), (Side.OTHER, leg.held_by_other))
    return frozenset(side for side, holds in sides if holds)


class _AskedCall:
    """A call that was asked for and is not shown yet."""

    __slots__ = ("_decided", "call", "failure", "number")

    def __init__(self, number: str) -> None:
        self.number = number
        self.call: Call | None = None
        self.failure: CommandError | None = None
        self._decided = anyio.Event()

    def shown(self, call: Call) -> None:
        self.call = call
        self._decided.set()

    def failed(self, failure: CommandError) -> None:
        if not self._decided.is_set():
            self.failure = failure
            self._decided.set()

    async def decided(self) -> None:
        await self._decided.wait()

    async def wait(self) -> Call:
        await self._decided.wait()
        if self.call is not None:
            return self.call
        assert self.failure is not None
        raise self.failure


class _WhenReady:
    """What the client tells that commands can be sent, and what then happens."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def started(self, value: object = None) -> None:
        self._act()


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
        self._account = _account_of(settings, user)
        self._translator = Translator(self._account, context.clock)
        self._webitel = Webitel(
            settings.connection_string,
            self._account,
            secret=user.password if user.key is None else None,
            key=user.key,
            token=user.token if user.key is not None else None,
            on_callbacks=self._on_callbacks,
            on_frame=self._on_frame if context.wants_raw or context.trace is not None else None,
            on_command=None if context.trace is None else self._on_command,
            auto_answer_param=settings.auto_answer_param,
            timeouts=WebitelTimeouts(
                command_seconds=settings.command_timeout_seconds,
                call_seconds=settings.ring_timeout_seconds,
                ping_interval_seconds=settings.ping_interval_seconds,
                ping_reply_seconds=min(settings.ping_interval_seconds, _PING_REPLY_SECONDS),
            ),
            hold_grace_seconds=settings.hold_grace_seconds,
            log=context.log,
        )
        self._tasks: TaskGroup | None = None
        self._logged_in = anyio.Event()
        self._asked: list[_AskedCall] = []
        # Started is the first report of a connection; the engine tells of calls and accounts before it is ready.
        self._early: list[Report] = []
        self._report: Reporter = self._say_later

    # ------------------------------------------------------------------ what the engine says

    async def run(self) -> None:
        """Live through one connection to the engine.

        Raises:
            CredentialsRefusedError: The engine refuses the account.
            AddressError: The connection string cannot be used.
            ConnectionFailedError: The connection could not be made, or broke.
        """
        failure: ConnectionFailedError | None = None
        self.context.clock.forget()
        self._logged_in = anyio.Event()
        self._early.clear()
        self._report = self._say_later
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._look_again)
                try:
                    await self._webitel.run(task_status=_WhenReady(self._started))
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

    def _on_callbacks(self, callbacks: Sequence[Callback]) -> None:
        translate = self._translator.translate
        reports: list[Report] = []
        for callback in callbacks:
            reports += translate(callback)
            if self._asked and type(callback) is OnNewCall:
                # Who asked for it is given the call as it is shown from now on.
                self._report(*reports)
                reports.clear()
                self._match_asked(callback.call)
        if reports:
            self._report(*reports)

    def _say_later(self, *reports: Report) -> None:
        self._early += reports

    def _started(self) -> None:
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
        self._report = self.context.report
        self.context.report(*self._early)
        self._early.clear()
        self._logged_in.set()

    def _on_frame(self, frame: bytes) -> None:
        try:
            told: Any = orjson.loads(frame)
        except orjson.JSONDecodeError:
            told = frame
        if self.context.wants_raw:
            self._report(Raw(at=self.context.clock.now(), raw=told))
        if self.context.trace is not None and isinstance(told, dict):
            self.context.trace("from_pbx", *_in_words(told, self._webitel.func_of(told.get("exec-uuid"))))

    def _on_command(self, func: str, args: Mapping[str, Any]) -> None:
        if self.context.trace is not None:
            self.context.trace("to_pbx", func, ", ".join(str(value) for value in args.values()))

    def _match_asked(self, call: WebitelCall) -> None:
        # The engine gives no identifier of ours back with the call, only the number that was asked for, on each own phone
        # that rings for it (facts: webitel-protocol 3.2, 5.1).
        number = call.headers.get(ORIGINATE_NUMBER)
        shown = self.context.call(call.uuid)
        if number is None or shown is None:
            return
        asked = next((asked for asked in self._asked if asked.number == number), None)
        if asked is not None:
            self._asked.remove(asked)
            asked.shown(shown)

    # ------------------------------------------------------------------ what the host asks

    async def snapshot(self) -> Snapshot:
        """Ask the engine for the operator's legs and describe each: the list lags and can hold ghosts, a leg's dump is exact.

        Returns:
            The calls of the own account.

        Raises:
            CommandError: The engine did not answer, or refused.
        """
        await self._logged_in.wait()
        seen, begun = await self._webitel.look()
        self._agree_with(seen)
        # A call asked for meanwhile is known by its dump now, so no frame will tell that it begins; who asked waits for that.
        self._tell_begun([leg for leg in seen if self._is_asked(leg.call)], begun)
        own_user = self._webitel.own_user
        return Snapshot(
            at=self.context.clock.now(),
            calls=tuple(self._seen(leg) for leg in seen),
            agent=None if own_user is None else agent_of(own_user),
        )

    def _agree_with(self, seen: Iterable[SeenLeg]) -> None:
        for leg in seen:
            if leg.dump.dumped_microseconds is not None:
                self.context.clock.from_microseconds(leg.dump.dumped_microseconds, just_now=True)
        self._translator.take_over(((leg.call, leg.dump.bridged) for leg in seen), known=self._webitel.call_ids)

    def _tell_begun(self, legs: Sequence[SeenLeg], begun: Iterable[CallCallback]) -> None:
        """Show calls that no frame will tell of, with all that is known about them."""
        if legs:
            seen = tuple(self._seen(leg) for leg in legs)
            self.context.report(Snapshot(at=self.context.clock.now(), calls=seen, complete=False))
        for callback in begun:
            if isinstance(callback, OnNewCall):
                self._match_asked(callback.call)

    def _is_asked(self, call: WebitelCall) -> bool:
        number = call.headers.get(ORIGINATE_NUMBER)
        return number is not None and any(asked.number == number for asked in self._asked)

    def _seen(self, leg: SeenLeg) -> CallSnapshot:
        call, dump = leg.call, leg.dump
        own, other = parties_of(call)
        held_by = _holders(leg)
        state = CallState.CONNECTED if dump.bridged else CallState.ALERTING
        return CallSnapshot(
            call_id=call.uuid,
            direction=direction_of(call),
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
        """Find what the first look could not see.

        A leg made just before the log in may be in no list yet, and the engine tells nothing of it while it rings. One that
        is gone may have ended before anybody listened.
        """
        await self._logged_in.wait()
        try:
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            seen, begun = await self._webitel.look(forget_gone=False)
            self._agree_with(seen)
            self._tell_begun([leg for leg in seen if self._is_behind(leg)], begun)
            if self._webitel.call_ids <= {leg.call.uuid for leg in seen}:
                return
            # An end that is on its way is told by then.
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            known = self._webitel.call_ids
            seen, begun = await self._webitel.look()
            self._agree_with(seen)
            self._tell_begun([leg for leg in seen if self._is_behind(leg)], begun)
            self._tell_gone(known - self._webitel.call_ids)
        except CommandError as error:
            self.context.log.warning("webitel.look_again.failed", reason=str(error))

    def _tell_gone(self, call_ids: Iterable[str]) -> None:
        gone = tuple(
            CallSnapshot(call_id=call_id, direction=CallDirection.UNKNOWN, state=CallState.NONE, own=Party(), other=Party())
            for call_id in call_ids
            if self.context.call(call_id) is not None
        )
        if gone:
            self.context.report(Snapshot(at=self.context.clock.now(), calls=gone, complete=False))

    def _is_behind(self, leg: SeenLeg) -> bool:
        """Whether the line does not know what a dump said: the frames that tell the same later are none of news any more."""
        known = self.context.call(leg.call.uuid)
        return (
            known is None
            or (known.answered_at is None and leg.call.answered_microseconds is not None)
            or (known.connected_at is None and leg.dump.bridged)
            or known.held_by != _holders(leg)
        )

    def _time(self, microseconds: int | None) -> datetime | None:
        return None if microseconds is None else self.context.clock.from_microseconds(microseconds)

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
        await anyio.lowlevel.checkpoint_if_cancelled()
        asked = _AskedCall(number)
        # It stays there when nobody waits for it any more: the call that comes is not the next one's.
        self._asked.append(asked)
        tasks.start_soon(self._originate, asked)
        return await asked.wait()

    async def _originate(self, asked: _AskedCall) -> None:
        await self._ask_for(asked)
        if asked in self._asked:
            self._asked.remove(asked)

    async def _ask_for(self, asked: _AskedCall) -> None:
        try:
            await self._webitel.call(asked.number)
        except CommandRefusedError as error:
            # If the call was shown, its end is told by the engine's events.
            cause = (error.pbx_text or "").removeprefix("-ERR").strip()
            asked.failed(
                CommandRefusedError(
                    f"The engine refused the call to {asked.number}: {cause or 'no reason given'}.",
                    pbx_text=cause,
                    remedy="The operator's own phone rings first: check that it is registered and free.",
                )
            )
        except CommandError as error:
            if asked.call is None:
                asked.failed(error)
            elif self._webitel.ready:
                self.context.report(Trouble(at=self.context.clock.now(), error=error, call_id=asked.call.id))
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
        legs = list(self._legs("drop_call", call))
        self._translator.dropping(call.id)
        refusals: list[CommandRefusedError] = []
        # Of several phones that ring, one may be told of only while another one is hung up.
        for leg in legs:
            try:
                await self._webitel.hangup(leg)
            except CommandRefusedError as error:
                refusals.append(error)
            legs.extend(late for late in self._webitel.legs.get(call.id, ()) if late not in legs)
        # The end of one of them can end the others: only if none could be hung up it is a failure.
        if len(refusals) == len(legs):
            raise refusals[0]

    async def hold_call(self, call: Call) -> None:
        """Hold the leg that was picked up.

        Args:
            call: The call.
        """
        leg = self._legs("hold_call", call)[0]
        await self._webitel.hold(leg)

    async def unhold_call(self, call: Call) -> None:
        """Take the leg back.

        Args:
            call: The call.
        """
        leg = self._legs("unhold_call", call)[0]
        await self._webitel.unhold(leg)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Send tones to the far end, as if the operator's phone had.

        Args:
            call: The call.
            digits: One or more of ``0123456789*#ABCD``.
        """
        leg = self._legs("send_dtmf", call)[0]
        await self._webitel.dtmf(leg, check_digits(digits))

    def _legs(self, verb: str, call: Call) -> tuple[str, ...]:
        """Find the own legs of a call: the one that commands go to, which was picked up, comes first."""
        legs = self._webitel.legs.get(call.id, ())
        if not legs:
            raise NotAllowedNowError(f"{verb} for call {call.id!r}", reason="the engine does not know it any more", command=verb)
        return legs

    def _connected(self, verb: str) -> TaskGroup:
        if self._tasks is None or not self._webitel.ready:
            raise NotConnectedError(f"{verb} was not sent: there is no connection to the engine.", command=verb)
        return self._tasks

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
                    "proxy-hold is switched on: a SIP profile without it, as known sites have, hides the far end's hold.",
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


def _in_words(frame: dict[str, Any], func: str | None) -> tuple[str, str]:
    """Name a frame for whoever watches, and say what it is about. What is long, or may be secret, is left out."""
    event = frame.get("Event-Name")
    if event is not None:
        about = (frame.get("Channel-Call-State") if event == "CHANNEL_CALLSTATE" else None, frame.get("Unique-ID"))
        return str(event), " ".join(text for text in about if isinstance(text, str))
    response = frame.get("exec-response")
    # The switch's own answers only: what else is a text there is a dump, or a token.
    told = isinstance(response, str) and response.startswith(("+OK", "-ERR", "-USAGE"))
    said = response.strip() if told and isinstance(response, str) else str(frame.get("exec-complete"))
    return f"reply to {func or 'nobody'}", said
