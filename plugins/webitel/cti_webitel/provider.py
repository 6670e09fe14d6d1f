"""WebitelCtiProvider: one operator's line at a Webitel engine.

Callbacks arrive in the one task that reads the socket, and are reported from there, so reports are in the engine's order.
Verbs run in the host's tasks. What goes on after a verb has returned, and what the provider does by itself, runs in tasks of
the connection.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from cti_framework.calls import Call, Side
from cti_framework.diagnosis import Checks, Endpoint
from cti_framework.errors import (
    AddressError,
    CommandError,
    CommandRefusedError,
    CommandUnconfirmedError,
    ConnectionFailedError,
    InvalidArgumentError,
    NetworkError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    SettingsError,
)
from cti_framework.json_text import read_json
from cti_framework.provider import (
    BaseCtiProvider,
    Capabilities,
    CtiUser,
    FetchProgress,
    ProviderContext,
    ReplayLine,
    Reporter,
    Simulation,
)
from cti_framework.reports import Allowed, Raw, Report, Snapshot, Trouble
from cti_webitel.agents import AWAY_CAUSES
from cti_webitel.asked import AskedCall, AskedCalls
from cti_webitel.diagnosis import diagnose_engine, endpoints_of
from cti_webitel.engine.arguments import check_account, check_destination, check_digits, check_uuid
from cti_webitel.engine.callbacks import (
    Callback,
    CallCallback,
    OnAcceptCall,
    OnHangupCall,
    OnNewCall,
    OnSilenced,
    OnUuidCall,
    WebitelDirection,
)
from cti_webitel.engine.client import Webitel, WebitelTimeouts
from cti_webitel.engine.headers import ORIGINATE_NUMBER
from cti_webitel.looks import LISTENING_FEATURES, Looks
from cti_webitel.record_ids import RecordIds
from cti_webitel.replayed import replay_session
from cti_webitel.settings import WebitelSettings, WebitelUserSettings
from cti_webitel.simulator import SimulatorOptions, WebitelSimulator, can_serve_web_phones, serve_webitel
from cti_webitel.started import AGENT_FEATURES, FEATURES, PHONE_FEATURES, started
from cti_webitel.transfers import Transfers
from cti_webitel.translator import Translator
from cti_webitel.ways import Ways

if TYPE_CHECKING:
    from cti_webitel.web_phone.seat import Seat

__all__ = ["WebitelCtiProvider"]


_PING_REPLY_SECONDS: Final = 10.0
_SIMULATED_PASSWORD: Final = "simulated-4100"
_HIDDEN: Final = MappingProxyType({"tones": "the engine tells the tones that the own leg hears, which are the operator's"})
_QUESTIONS: Final = frozenset({"channel_dump", "getvar", "show_channel"})
"""Commands that change nothing: what a verb asks before it acts."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


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


def _simulated_web_phone(served: WebitelSimulator, settings: Mapping[str, Any]) -> Simulation | None:
    if served.verto_url is None:
        return None
    presence = "103@demo.local"
    served.switchboard.amend_account(presence, password=_SIMULATED_PASSWORD)
    return Simulation(
        settings={**settings, "webitel.webrtc_connection_string": served.verto_url},
        user=CtiUser(
            id="103",
            name="User 103",
            parameters={"webitel.login": presence, "webitel.password": _SIMULATED_PASSWORD, "webitel.use_web_phone": True},
        ),
        far_side=served.web_phone_far_side(presence),
        subscriber="0501234567",
        notes=("Each number speaks with a tone of its own; what it hears is measured by its frequency.",),
        hides=_HIDDEN,
    )


class _WhenReady:
    """What the client tells that commands can be sent, and what then happens."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def started(self, value: object = None) -> None:
        self._act()


class WebitelCtiProvider(BaseCtiProvider):
    """The provider for Webitel.

    A call is named by Webitel's own identifier of it; at its end it gets the one that its record is kept by, and is still found
    by the former. Calls cannot be answered without the web phone: the engine has no command for it, so it is never offered then
    (facts: webitel-protocol 3.2). With it, and for calls that are at it, they can, and be muted.
    """

    provider_api = 1
    capabilities: ClassVar[Capabilities] = Capabilities(
        calls=FEATURES | PHONE_FEATURES, agent=AGENT_FEATURES, logged_out_state="NONREG"
    )
    settings_type = WebitelSettings
    user_settings_type = WebitelUserSettings
    licences: ClassVar[tuple[str, ...]] = ("WebitelCollaboration.Use",)
    marks_sent: ClassVar[bool] = True
    uses_media: ClassVar[bool] = True

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        settings: WebitelSettings = context.settings
        user: WebitelUserSettings = context.user_settings
        self._settings = settings
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
            on_command=self._on_command,
            on_traffic=context.frames,
            auto_answer_param=settings.auto_answer_param,
            timeouts=WebitelTimeouts(
                command_seconds=settings.command_timeout_seconds,
                call_seconds=settings.ring_timeout_seconds,
                ping_interval_seconds=settings.ping_interval_seconds,
                ping_reply_seconds=min(settings.ping_interval_seconds, _PING_REPLY_SECONDS),
            ),
            hold_grace_seconds=settings.hold_grace_seconds,
            log=context.log,
            open_socket=context.open_websocket,
        )
        self._tasks: TaskGroup | None = None
        self._logged_in = anyio.Event()
        self._asked = AskedCalls(context, self._webitel, on_shown=self._asked_for)
        self._watchers: list[anyio.Event] = []
        self._rejected: set[str] = set()
        # Until then calls that are over may still count.
        self._has_looked = False
        self._seat = self._take_seat() if user.use_web_phone else None
        meeting = None if self._seat is None else self._seat.meeting
        self._translate = self._translator.translate if meeting is None else meeting.translate
        self._looks = Looks(
            context,
            self._webitel,
            self._translator,
            self._asked,
            describe=None if meeting is None else meeting.describe,
            keeps=None if meeting is None else meeting.keeps,
        )
        self._records = RecordIds()
        self._ways = Ways(self._webitel, None if self._seat is None else self._seat.phone)
        self._transfers = Transfers(
            context,
            self._webitel,
            self._translator,
            ways=self._ways,
            legs_of=self._legs,
            until=self._until,
            start=self._start,
            confirm_seconds=settings.command_timeout_seconds,
        )
        # Started is the first report of a connection; the engine tells of calls and accounts before it is ready.
        self._early: list[Report] = []
        self._report: Reporter = self._say_later

    def _take_seat(self) -> Seat:
        # Signalling and media are loaded by whoever has a web phone.
        from cti_webitel.web_phone.seat import Seat

        return Seat(
            self.context,
            self._account,
            self._webitel,
            self._translator,
            self._asked,
            tell=self._tell,
            is_live=self._is_live,
            look_at_once=lambda: self._start(self._look_at_once),
        )

    def lifetime(self) -> AbstractAsyncContextManager[object]:
        """Have the web phone live, where the user has one: the sound goes on while a connection to the engine is made anew.

        Returns:
            What is entered before the first connection and left after the last one.
        """
        return nullcontext() if self._seat is None else self._seat.lifetime()

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
        self._rejected.clear()
        self._has_looked = False
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
            self._asked.disconnected()
            self._wake_watchers()
        if failure is not None:
            raise failure

    def _on_callbacks(self, callbacks: Sequence[Callback]) -> None:
        translate = self._translate
        reports: list[Report] = []
        for callback in callbacks:
            follow_up = _FOLLOW_UPS.get(type(callback))
            if not self._asked and (follow_up is None or not _needs_line(callback)):
                reports += translate(callback)
                if follow_up is not None:
                    follow_up(self, callback, None)
                continue
            # What it sets off needs the line to know what came before it, and it.
            if reports:
                self._report(*reports)
                reports.clear()
            before = self.context.call(callback.call.uuid) if isinstance(callback, CallCallback) else None
            self._report(*translate(callback))
            if follow_up is not None:
                follow_up(self, callback, before)
            if self._asked and isinstance(callback, CallCallback):
                # A call whose beginning was missed may say only later what it was asked for.
                self._asked.match(callback.call)
        if reports:
            self._report(*reports)
        if self._watchers:
            self._wake_watchers()

    def _call_began(self, callback: OnNewCall, before: Call | None) -> None:
        call = callback.call
        if callback.adopted and call.answered_microseconds is not None:
            self._records.learn_from(call)
        if (
            self._settings.reject_as_busy
            and self._tasks is not None
            and self._has_looked
            and not callback.adopted
            and call.direction is WebitelDirection.INBOUND
            # A call that somebody makes has another leg, or a queue; one that listens in has neither.
            and (call.other_leg_uuid is not None or call.cc_queue is not None)
            and self._translator.open_calls - len(self._rejected) > 1
        ):
            self._rejected.add(call.uuid)
            self._tasks.start_soon(self._reject, call.uuid)

    def _call_answered(self, callback: OnAcceptCall, before: Call | None) -> None:
        self._records.learn_from(callback.call)

    def _call_renamed(self, callback: OnUuidCall, before: Call | None) -> None:
        if callback.new_id:
            self._records.learn(callback.call.uuid, callback.new_id)

    def _call_ended(self, callback: OnHangupCall, before: Call | None) -> None:
        call = callback.call
        self._rejected.discard(call.uuid)
        parent_id = call.attended_transfer_call_uuid
        if parent_id is None or self._tasks is None or call.transfer_result == "confirmed":
            return
        # Whoever put both on hold meant to.
        if before is None or Side.OWN not in before.held_by:
            self._tasks.start_soon(self._transfers.take_back, parent_id)

    def _silenced(self, callback: OnSilenced, before: Call | None) -> None:
        error = NetworkError(
            "Another program of this account has logged out, which silenced this one; it has logged in again.",
            step="login",
            remedy="Let the other program close its connection without the command logout.",
        )
        self._report(Trouble(at=self.context.clock.now(), error=error))
        if self._tasks is not None:
            self._tasks.start_soon(self._look_at_once)

    def _say_later(self, *reports: Report) -> None:
        self._early += reports

    def _started(self) -> None:
        in_call = bool(self._webitel.call_ids)
        features = FEATURES if self._seat is None else FEATURES | PHONE_FEATURES
        own_user = self._webitel.own_user
        self.context.report(started(self.context.clock, self._account, own_user, in_call=in_call, features=features))
        self._report = self.context.report
        self.context.report(*self._early)
        self._early.clear()
        self._logged_in.set()
        if self._seat is not None:
            self._seat.meeting.started()

    def _is_live(self) -> bool:
        return self._tasks is not None and self._logged_in.is_set()

    def _tell(self, *reports: Report) -> None:
        if reports and self._is_live():
            self.context.report(*reports)
            # Who waits for the line to show something is shown it by the web phone, too.
            self._wake_watchers()

    def _asked_for(self, call_id: str) -> None:
        if self._seat is not None:
            self._seat.meeting.asked_for(call_id)

    def _on_frame(self, frame: bytes) -> None:
        try:
            told: Any = read_json(frame)
        except ValueError:
            told = frame
        if self.context.wants_raw:
            self._report(Raw(at=self.context.clock.now(), raw=told))
        if self.context.trace is not None and isinstance(told, dict):
            self.context.trace("from_pbx", *_in_words(told, self._webitel.func_of(told.get("exec-uuid"))))

    def _on_command(self, func: str, args: Mapping[str, Any]) -> None:
        if func not in _QUESTIONS:
            self.context.command_sent()
        if self.context.trace is not None:
            self.context.trace("to_pbx", func, ", ".join(str(value) for value in args.values()))

    # ------------------------------------------------------------------ what the host asks

    async def snapshot(self) -> Snapshot:
        """Ask the engine for the operator's legs and describe each: the list lags and can hold ghosts, a leg's dump is exact.

        Returns:
            The calls of the own account.

        Raises:
            CommandError: The engine did not answer, or refused.
        """
        await self._logged_in.wait()
        if self._seat is not None:
            await self._seat.ready()
        snapshot = await self._looks.snapshot()
        self._has_looked = True
        return snapshot if self._seat is None else self._seat.meeting.complete(snapshot)

    async def probe(self) -> None:
        """Ask the engine whether it is still there.

        Raises:
            CommandError: It did not answer.
        """
        await self._webitel.ping()

    def unacknowledged_bytes(self) -> int | None:
        """Tell how much of what was sent the engine's computer has not acknowledged.

        Returns:
            Bytes; ``None``: not known.
        """
        return self._webitel.unacknowledged_bytes

    @classmethod
    def endpoints(cls, settings: WebitelSettings) -> tuple[Endpoint, ...]:
        """Tell what it connects to.

        Args:
            settings: The system's.

        Returns:
            The engine, and the web phone's signalling where it is set.
        """
        return endpoints_of(settings)

    async def diagnose(self, checks: Checks) -> None:
        """Look whether call events come, whether a phone is registered, and whether the engine looks recordings up.

        Where the user has a web phone: whether its signalling lets him in, and whether calls can have sound here.

        Args:
            checks: Takes the steps.
        """
        await diagnose_engine(checks, self._webitel)
        if self._seat is not None:
            await self._seat.diagnose(checks)

    async def _look_again(self) -> None:
        await self._logged_in.wait()
        await self._looks.again()
        if self._seat is not None:
            self._seat.meeting.catch_up()

    async def _look_at_once(self) -> None:
        await self._logged_in.wait()
        await self._looks.again(after_seconds=0.0)

    async def make_call(self, destination: str) -> Call:
        """Call somebody by the web phone; without one, ring the operator's own phone, and the destination once it is picked up.

        Args:
            destination: Digits, ``*``, ``#`` and a ``+`` in front; blanks, dashes, dots, slashes and brackets are taken out.

        Returns:
            The call, as soon as it is shown: the own phone rings, if it is not the web phone.

        Raises:
            InvalidArgumentError: The destination holds something that cannot be dialled.
            CommandRefusedError: The own phone cannot be rung; ``pbx_text`` says why.
            CommandUnconfirmedError: No answer, and no call was shown.
        """
        number = check_destination(destination)
        if self._seat is not None:
            await self._seat.ready()
            if self._seat.phone.connected:
                return await self._seat.make_call(self._connected("make_call"), number)
        return await self._ask(AskedCall(number), lambda: self._webitel.call(number))

    async def _ask(self, asked: AskedCall, act: Callable[[], Awaitable[object]]) -> Call:
        return await self._asked.ask(self._connected(asked.verb), asked, act)

    async def drop_call(self, call: Call) -> None:
        """Hang up every own leg of the call.

        Args:
            call: The call.
        """
        legs = self._legs("drop_call", call)
        current = self.context.call(call.id) or call
        self._translator.dropping(current.id)
        count, refusals = await self._hang_up_all(current.id)
        # The end of one of them can end the others: only if none could be hung up it is a failure.
        if len(refusals) < count:
            return
        if self._seat is None or legs[0] not in self._seat.phone.calls:
            raise refusals[0]
        # The engine does not know it, or does not any more.
        await self._seat.phone.hang_up(legs[0])

    async def answer_call(self, call: Call) -> None:
        """Answer a call that rings at the web phone.

        Args:
            call: The call.

        Raises:
            NoSoundError: Its media cannot be begun; the cause says why. It goes on ringing.
            CommandError: As for every verb.
        """
        if self._seat is None:
            await super().answer_call(call)
        else:
            self._connected("answer_call")
            await self._seat.answer(call)

    async def set_mute(self, call: Call, on: bool) -> None:
        """Switch the web phone's microphone off or on.

        Args:
            call: The call.
            on: Whether it is to be off.

        Raises:
            CommandError: As for every verb.
        """
        if self._seat is None:
            await super().set_mute(call, on)
        else:
            self._seat.mute(call, on)

    async def hold_call(self, call: Call) -> None:
        """Hold the leg that was picked up.

        Args:
            call: The call.
        """
        leg = self._legs("hold_call", call)[0]
        await self._ways.hold(leg)

    async def unhold_call(self, call: Call) -> None:
        """Take the leg back.

        Args:
            call: The call.
        """
        leg = self._legs("unhold_call", call)[0]
        await self._ways.unhold(leg)

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Send tones to the far end, as if the operator's phone had.

        Args:
            call: The call.
            digits: One or more of ``0123456789*#ABCD``.
        """
        leg = self._legs("send_dtmf", call)[0]
        await self._ways.send_digits(leg, check_digits(digits))
        if self._seat is not None and self._webitel.call_of(leg) is None:
            self._seat.pressed(call, digits)

    # ------------------------------------------------------------------ two calls, and sending one on

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        """Hold the call, and ring the operator's own phone and the destination on its behalf.

        Where nothing comes of the enquiry, a call that was held for it is taken back: the engine refused it, or it was not even
        sent. An enquiry that was sent and not answered may still ring; then the call stays held.

        Args:
            call: The first call.
            destination: As for ``make_call``.

        Returns:
            The enquiry, as soon as the own phone rings for it.

        Raises:
            InvalidArgumentError: The destination holds something that cannot be dialled.
            CommandError: As for every verb.
        """
        number = check_destination(destination)
        self._connected("make_consult_call")
        held_now = await self._hold_for_enquiry(call)
        asked: AskedCall | None = None
        try:
            # It may have got another identifier meanwhile.
            first = self.context.call(call.id) or call
            leg = self._legs("make_consult_call", first)[0]

            async def give_back() -> None:
                if held_now:
                    await self._transfers.take_back(first.id)

            tasks = self._connected("make_consult_call")
            # From here on it is sent: what becomes of the hold is up to the enquiry.
            await anyio.lowlevel.checkpoint_if_cancelled()
            asked = AskedCall(number, first.id, "make_consult_call", undo=give_back)
            return await self._asked.ask(tasks, asked, lambda: self._webitel.consult(number, parent_call_id=first.id, leg=leg))
        finally:
            if asked is None and held_now:
                self._start(self._transfers.take_back, call.id)

    async def _hold_for_enquiry(self, call: Call) -> bool:
        try:
            return await self._transfers.hold_for("make_consult_call", call)
        except (CommandRefusedError, NotAllowedNowError, NotConnectedError):
            # It was not held.
            raise
        except BaseException:
            self._start(self._transfers.give_back, call.id)
            raise

    async def complete_transfer(self, call: Call, consult_call: Call) -> None:
        """Join the two far ends and leave; both calls end as transferred.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: As for every verb.
        """
        await self._transfers.complete(call, consult_call)

    async def cancel_transfer(self, call: Call, consult_call: Call) -> None:
        """End the enquiry; the first call comes back.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: As for every verb.
        """
        await self._transfers.cancel(call, consult_call)

    async def alternate(self, call: Call, consult_call: Call) -> None:
        """Hold the one that is talked to, then take the other one back.

        Args:
            call: The first call.
            consult_call: The enquiry.

        Raises:
            CommandError: As for every verb.
        """
        await self._transfers.alternate(call, consult_call)

    async def blind_transfer(self, call: Call, destination: str) -> None:
        """Send the far end on to somebody else; the call ends as transferred.

        Args:
            call: The call.
            destination: As for ``make_call``.

        Raises:
            InvalidArgumentError: The destination holds something that cannot be dialled.
            CommandError: As for every verb.
        """
        await self._transfers.blind(call, check_destination(destination))

    # ------------------------------------------------------------------ the operator, recordings, others' calls

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        """Become ready, or be away.

        Args:
            state: ``ONHOOK``, ``ONBREAK``, ``DND``, ``CALLFORWARD`` or ``VOICEMAIL``.
            reason: A note beside why he is away, in the operator's own words.

        Raises:
            InvalidArgumentError: It is none of these, or ``ONHOOK`` is given a reason.
            CommandError: As for every verb.
        """
        if state == "ONHOOK" and reason is None:
            await self._webitel.set_status("ONHOOK")
        elif state in AWAY_CAUSES:
            await self._webitel.busy(state, reason or "")
        elif state == "ONHOOK":
            raise InvalidArgumentError("The state 'ONHOOK' takes no reason.", remedy="Give one only with why you are away.")
        else:
            raise InvalidArgumentError(f"{state!r} is no state that can be set.", remedy=f"Set ONHOOK, {', '.join(AWAY_CAUSES)}.")

    async def set_call_centre_mode(self, on: bool) -> None:
        """Take calls of queues, or no longer.

        Args:
            on: Whether to take them.

        Raises:
            CommandError: As for every verb.
        """
        if on:
            await self._webitel.call_centre_login(on_demand=self._settings.call_centre_on_demand)
        else:
            await self._webitel.call_centre_logout()

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        """Ask where a call's recording can be fetched.

        Args:
            call_id: An identifier of the call: one that it had while it was up does, too, while the session remembers it.

        Returns:
            One link, which holds a key and a token; none if there is no recording.

        Raises:
            CommandError: As for every verb.
        """
        link = await self._webitel.recording_link(self._records.of(call_id))
        return () if link is None else (link.get_secret_value(),)

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        """Save a recording as a file, or go on with one that broke off.

        Args:
            link: As ``query_recordings`` gave it.
            directory: Where to.
            progress: Told whenever bytes came in.

        Returns:
            The file: the recording's identifier, with the extension of what it is.

        Raises:
            InvalidArgumentError: The link is none.
            RecordingError: It cannot be fetched, or not be saved.
        """
        # The HTTP library is loaded by whoever needs it.
        from cti_webitel.recordings import RecordingInsecureError, address_of, download_recording

        insecure: RecordingInsecureError | None = None
        try:
            context = await self.context.tls_for(address_of(link))
        except (AddressError, SettingsError) as error:
            insecure = RecordingInsecureError.of(error)
        if insecure is not None:
            raise insecure
        self.context.command_sent()
        saved = await download_recording(link, directory, progress=progress, ssl_context=context, log=self.context.log)
        return saved.path

    async def monitor(self, call_id: str, mode: str) -> Call:
        """Ring the operator's own phone, on which somebody else's call is heard when it is picked up.

        Args:
            call_id: That call: the identifier of one of its legs, or of its first one, as ``Webitel.show_channels`` lists them.
            mode: ``"listen"``; ``"whisper"`` where ``webitel.whisper_side`` says how.

        Returns:
            The operator's own call that listens.

        Raises:
            NotSupportedError: The mode is not to be had at this site.
            CommandError: As for every verb.
        """
        side = self._side(mode)
        self._connected("monitor")
        leg, number = await self._leg_to_hear(call_id)
        # The engine shows this name of whom a call is for, and takes it for one of our own making then.
        variables = {ORIGINATE_NUMBER.removeprefix("variable_"): number}
        asked = AskedCall(number, verb="monitor", on_shown=self._listens)
        return await self._ask(asked, lambda: self._webitel.eavesdrop(leg, side=side, variables=variables))

    def _side(self, mode: str) -> str | None:
        if mode == "listen":
            return None
        if mode == "whisper" and self._settings.whisper_side is not None:
            return self._settings.whisper_side
        raise NotSupportedError(
            f"monitor: the mode {mode!r} is not to be had here.",
            command="monitor",
            remedy="Use 'listen'; for 'whisper' the site has to name the side in webitel.whisper_side.",
        )

    async def _leg_to_hear(self, call_id: str) -> tuple[str, str]:
        """Find a leg of somebody's call, and the number to show for it."""
        check_uuid(call_id)
        rows = await self._webitel.show_channels()
        legs = [row for row in rows if call_id in (row.get("uuid"), row.get("call_uuid"))]
        own = [row for row in legs if row.get("uuid") == call_id] or [row for row in legs if row.get("presence_id")] or legs
        if not own or not isinstance(own[0].get("uuid"), str):
            raise CommandRefusedError(
                f"There is no call {call_id!r} to listen to.", command="monitor", remedy="Take an identifier of a leg that is up."
            )
        presence = own[0].get("presence_id")
        names = (presence.partition("@")[0] if isinstance(presence, str) else "", own[0].get("cid_num"))
        # It is shown, and sent along: what it may hold is what an account's name may.
        shown = next((name for name in names if isinstance(name, str) and _NAME.fullmatch(name)), "unknown")
        return own[0]["uuid"], shown

    def _listens(self, call_id: str) -> None:
        self._translator.listening(call_id)
        # There is nobody to hold, and nobody to send on.
        self.context.report(Allowed(at=self.context.clock.now(), call_id=call_id, features=LISTENING_FEATURES))

    async def _reject(self, call_id: str) -> None:
        try:
            # Refused where the caller has given up, or the end of one leg ended the others.
            await self._hang_up_all(call_id, "USER_BUSY")
        except CommandError as error:
            if self._webitel.connected:
                self.context.report(Trouble(at=self.context.clock.now(), error=error, call_id=call_id))

    async def _hang_up_all(self, call_id: str, cause: str | None = None) -> tuple[int, list[CommandRefusedError]]:
        """Hang up every own leg of a call; tell how many there were, and what was refused."""
        legs = list(self._webitel.legs.get(call_id, ()))
        refusals: list[CommandRefusedError] = []
        # Of several phones that ring, one may be told of only while another one is hung up.
        for place, leg in enumerate(legs):
            try:
                await self._webitel.hangup(leg, cause)
            except CommandRefusedError as error:
                refusals.append(error)
            except NotConnectedError as error:
                if len(refusals) == place:
                    raise
                raise CommandUnconfirmedError(
                    f"The connection broke when {place} of {len(legs)} phones were hung up.",
                    command="drop_call",
                    remedy="The end of one leg can end the others: look at the calls before trying again.",
                ) from error
            legs.extend(late for late in self._webitel.legs.get(call_id, ()) if late not in legs)
        return len(legs), refusals

    def _start(self, act: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        # A connection that broke takes its tasks along, and takes no more.
        if self._tasks is not None and self._webitel.connected:
            self._tasks.start_soon(act, *arguments)

    # ------------------------------------------------------------------ what verbs need

    async def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until the line shows something; tell whether it did."""
        with anyio.move_on_after(seconds):
            while not done():
                if self._tasks is None or not self._webitel.connected:
                    return False
                changed = anyio.Event()
                self._watchers.append(changed)
                await changed.wait()
            return True
        return False

    def _wake_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for changed in watchers:
            changed.set()

    def _legs(self, verb: str, call: Call) -> tuple[str, ...]:
        """Find the own legs of a call: the one that commands go to, which was picked up, comes first."""
        known = self.context.call(call.id)
        call_id = call.id if known is None else known.id
        legs = self._webitel.legs.get(call_id, ())
        if not legs and self._seat is not None:
            legs = self._seat.meeting.dialogs_of(call_id)
        if not legs:
            raise NotAllowedNowError(f"{verb} for call {call.id!r}", reason="the engine does not know it any more", command=verb)
        return legs

    def _connected(self, verb: str) -> TaskGroup:
        if self._tasks is None or not self._webitel.connected:
            raise NotConnectedError(f"{verb} was not sent: there is no connection to the engine.", command=verb)
        return self._tasks

    # ------------------------------------------------------------------ a Webitel in a box

    @classmethod
    @asynccontextmanager
    async def simulator(cls) -> AsyncIterator[Simulation]:
        """Run a Webitel on loopback, with an outside world that answers when it is called.

        Yields:
            It, with the operator 100, and the web phone of 103 where the extra ``media`` is installed and this is asyncio.
        """
        options = SimulatorOptions(far_answer_seconds=0.16, proxy_hold=True)
        verto_port = 0 if can_serve_web_phones() else None
        async with serve_webitel(control_port=None, options=options, verto_port=verto_port) as served:
            # One that can be told from everything else: whoever looks for it where it may not be finds it.
            served.switchboard.set_account(served.presence, password=_SIMULATED_PASSWORD)
            settings = {"webitel.connection_string": served.url, "webitel.hold_grace_seconds": 0.3}
            yield Simulation(
                settings=settings,
                user=CtiUser(
                    id="100",
                    name="User 100",
                    parameters={"webitel.login": "100@demo.local", "webitel.password": _SIMULATED_PASSWORD},
                ),
                far_side=served,
                subscriber="0501234567",
                notes=(
                    "proxy-hold is switched on: a SIP profile without it, as known sites have, hides the far end's hold.",
                    "The far end's hold is certain when no HOLD of ours came within 0.3 s (webitel.hold_grace_seconds).",
                ),
                hides=_HIDDEN,
                web_phone=_simulated_web_phone(served, settings),
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
        async with serve_webitel(host, port, control_port, verto_port=0 if can_serve_web_phones() else None) as served:
            web_phones = ""
            if served.verto_url is not None:
                web_phones = f" Web phones at {served.verto_url} (Verto): accounts 103 and 104 have no other phone."
            yield (
                f"Webitel engine at {served.url}, recordings at {served.recordings_url}, control port {served.control_port}."
                " Accounts 100, 101, 102 (users) and 200 (administrator) in demo.local; the password is the number."
                f" The far end answers by itself.{web_phones}"
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
        yield from replay_session(lines)


_FOLLOW_UPS: Final[Mapping[type[Callback], Callable[[WebitelCtiProvider, Any, Call | None], None]]] = MappingProxyType(
    {
        OnNewCall: WebitelCtiProvider._call_began,
        OnAcceptCall: WebitelCtiProvider._call_answered,
        OnUuidCall: WebitelCtiProvider._call_renamed,
        OnHangupCall: WebitelCtiProvider._call_ended,
        OnSilenced: WebitelCtiProvider._silenced,
    }
)
"""What a callback sets off beside its reports."""


def _needs_line(callback: Callback) -> bool:
    """Whether what a callback sets off depends on what the line shows, or is told in an order with it."""
    if type(callback) is OnHangupCall:
        return callback.call.attended_transfer_call_uuid is not None
    return type(callback) is OnSilenced


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
