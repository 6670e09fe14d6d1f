"""What the host holds: one operator's session. Commands go down, events come up.

``CtiModel`` owns the session's line, log of events, hooks and connection. A verb is checked against what may be done now,
handed to the provider under a time-out, and ends in a value or in an error that says how far it got; nothing is sent twice.
"""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import anyio
import attrs
import structlog

from cti_framework.agents import Agent, AgentFeature
from cti_framework.calls import Call, CallFeature, CallRole
from cti_framework.clock import SessionClock
from cti_framework.connection import ConnectionKeeper, ReconnectPolicy
from cti_framework.errors import (
    CommandError,
    CommandStage,
    CommandUnconfirmedError,
    ConnectionFailedError,
    CtiError,
    InvalidArgumentError,
    NotAllowedNowError,
    NotConnectedError,
    NotSupportedError,
    PluginError,
    SessionClosedError,
    traceback_text,
)
from cti_framework.eventlog import EventLog, Subscription
from cti_framework.events import Cursor, Event, ProviderState, ProviderStateChanged
from cti_framework.hooks import Hooks
from cti_framework.line import Line, Refusal
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, FetchProgress, ProviderContext
from cti_framework.reports import Report, Started

__all__ = ["CommandTimeouts", "CtiModel"]

T = TypeVar("T")

_CLOSE_SECONDS = 5.0
_DIGITS = frozenset("0123456789*#ABCD")
_MONITOR_MODES = ("listen", "whisper", "barge")


@attrs.frozen
class CommandTimeouts:
    """How long the core waits for a verb, whatever the provider does.

    Attributes:
        command_seconds: For a verb that acts on a call, or on the agent.
        make_call_seconds: For one that begins a call: until the PBX shows it.
        query_seconds: For one that only asks; for one that fetches a file, for each silence.
    """

    command_seconds: float = 15.0
    make_call_seconds: float = 30.0
    query_seconds: float = 30.0


class CtiModel:
    """One operator's session, opened by ``async with``.

    While it is open, tasks of its own keep the connection and serve the hooks; leaving the block ends them all. Its verbs may
    be called from any task of the same event loop.

    Args:
        provider_class: The provider to use.
        user: Whose line it is.
        settings: An instance of the provider's ``settings_type``.
        user_settings: An instance of its ``user_settings_type``.
        name: By what the provider is named in logs and errors.
        hooks: Whom to tell.
        policy: How long to wait for connections.
        timeouts: How long to wait for verbs.
        auto_connect: Whether opening the session connects, or leaves that to ``connect()``.
        wait_for_service: Whether opening the session waits for the first attempt and raises what it ended with. If not, it
            opens at once and goes on trying; ``provider_state`` and ``ProviderStateChanged`` tell.
        event_log_capacity: How many events are kept for readers that come back.
        raw_messages: Whether ``RawMessage`` events are told and call events carry the PBX's own words.
        clock: The session's clock.

    Attributes:
        user: As given.
        provider_name: As given.

    Raises:
        PluginError: The provider cannot be made.
    """

    def __init__(
        self,
        provider_class: type[BaseCtiProvider],
        *,
        user: CtiUser,
        settings: Any,
        user_settings: Any,
        name: str,
        hooks: Hooks | None = None,
        policy: ReconnectPolicy | None = None,
        timeouts: CommandTimeouts | None = None,
        auto_connect: bool = True,
        wait_for_service: bool = True,
        event_log_capacity: int = 1024,
        raw_messages: bool = False,
        clock: SessionClock | None = None,
    ) -> None:
        self.user = user
        self.provider_name = name
        self._clock = clock or SessionClock()
        self._hooks = Hooks() if hooks is None else hooks
        self._timeouts = timeouts or CommandTimeouts()
        self._wait_for_service = wait_for_service
        self._log = structlog.get_logger("cti_framework").bind(user=user.id, provider=name)
        self._refusals_logged: set[tuple[str, str]] = set()
        epoch = uuid.uuid4().hex
        self._line = Line(epoch, raw=raw_messages, on_refused=self._on_refused)
        self._events = EventLog(epoch, lambda missed: self._line.resync(missed, self.now()), capacity=event_log_capacity)
        self._provider = self._make_provider(
            provider_class,
            ProviderContext(
                user=user,
                settings=settings,
                user_settings=user_settings,
                clock=self._clock,
                report=self._report,
                find_call=self._line.find,
                log=self._log,
                wants_raw=raw_messages,
            ),
        )
        self._capabilities = provider_class.capabilities
        self._auto_connect = auto_connect
        self._keeper = ConnectionKeeper(
            self._provider,
            name=name,
            line=self._line,
            clock=self._clock,
            publish=self._publish,
            policy=policy or ReconnectPolicy(),
            log=self._log,
        )
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._is_closed = False
        self._is_dialling = False
        # Only where somebody listens; hundreds of sessions have nobody.
        self._untold: deque[Event] | None = None
        self._is_telling = False

    def _make_provider(self, provider_class: type[BaseCtiProvider], context: ProviderContext) -> BaseCtiProvider:
        try:
            return provider_class(context)
        except CtiError:
            raise
        except Exception as error:  # whatever a plugin raises is named with the plugin
            raise PluginError(
                f"Provider {self.provider_name!r} cannot be made: it raised {type(error).__name__}, a fault of the plugin.",
                step="make_provider",
                remedy="Tell its author; the cause has the traceback.",
            ) from error

    # ------------------------------------------------------------------ opening and closing

    async def __aenter__(self) -> Self:
        """Open the session, and unless told otherwise connect.

        Returns:
            The model itself.

        Raises:
            SessionClosedError: It was opened before; make a new one.
            ConnectionFailedError: The first attempt failed, and opening was to wait for it.
            PluginError: The provider raised something of its own.
        """
        if self._tasks is not None or self._is_closed:
            raise SessionClosedError("A session is opened once.", remedy="Make another CtiModel.")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        try:
            await tasks.start(self._hooks.run, self)
            if self._auto_connect:
                self._start_keeper()
                if self._wait_for_service:
                    await self._wait_for_connection()
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session and everything it opened."""
        await self._close(exc)

    async def _close(self, error: BaseException | None) -> None:
        tasks = self._tasks
        if tasks is None or self._is_closed:
            return
        self._is_closed = True
        try:
            # In order even when cancelled: first the connection, so that the hooks are still told that it is closed.
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._keeper.stop()
                await self._hooks.flush(self)
        finally:
            self._events.close()
            tasks.cancel_scope.cancel()
            # A host's own exception goes out as it is, not wrapped in a group.
            if isinstance(error, anyio.get_cancelled_exc_class()):
                await tasks.__aexit__(type(error), error, error.__traceback__)
            else:
                await tasks.__aexit__(None, None, None)

    async def connect(self) -> None:
        """Connect now: for a session that does not connect by itself, was disconnected, or has given up.

        While the session is connected, or is trying to, this opens nothing; it waits until that is decided.

        Raises:
            SessionClosedError: The session is not open.
            ConnectionFailedError: The attempt failed. The core goes on trying if the error is retryable.
        """
        self._check_open("connect")
        while self._keeper.is_stopping:
            await self._keeper.stop()
            self._check_open("connect")
        if not self._keeper.is_running:
            self._start_keeper()
        await self._wait_for_connection()

    async def disconnect(self) -> None:
        """Hang the connection up and stay disconnected until ``connect()``. Calls go on without us."""
        await self._keeper.stop()

    def _start_keeper(self) -> None:
        assert self._tasks is not None
        self._keeper.prepare()
        self._tasks.start_soon(self._keeper.keep)

    async def _wait_for_connection(self) -> None:
        await self._keeper.wait_settled()
        if self._keeper.error is not None:
            raise self._keeper.error
        if self._line.provider_state is not ProviderState.IN_SERVICE:
            raise ConnectionFailedError(
                "The session was disconnected while it was connecting.",
                retryable=False,
                remedy="Somebody called `disconnect()` or closed the session; `connect()` begins again.",
            )

    # ------------------------------------------------------------------ what a host reads

    def now(self) -> datetime:
        """Tell the time by the session's clock: aware, UTC, never going back."""
        return self._clock.now()

    @property
    def calls(self) -> tuple[Call, ...]:
        """All open calls, in the order in which they began."""
        return self._line.calls

    @property
    def current_call(self) -> Call | None:
        """The call that the operator deals with first."""
        return self._line.current

    @property
    def consult_call(self) -> Call | None:
        """The enquiry call made on behalf of the current one."""
        return self._line.consult

    @property
    def features(self) -> CallFeature:
        """What may be done on the line now."""
        return self._line.features

    @property
    def agent(self) -> Agent:
        """The operator's state."""
        return self._line.agent

    @property
    def agent_features(self) -> AgentFeature:
        """What this session can do with its agent."""
        return self._line.agent_features

    @property
    def capabilities(self) -> Capabilities:
        """The most that the provider can ever do."""
        return self._capabilities

    @property
    def provider_state(self) -> ProviderState:
        """What the connection to the PBX does."""
        return self._line.provider_state

    @property
    def provider_state_event(self) -> ProviderStateChanged | None:
        """The latest ``ProviderStateChanged``, for those who come late; ``None`` before the first."""
        return self._line.provider_state_event

    @property
    def cursor(self) -> Cursor:
        """The last event told so far."""
        return Cursor(self._line.epoch, self._line.seq)

    @property
    def refused_reports(self) -> dict[str, int]:
        """How many reports of the provider were refused, by reason."""
        return dict(self._line.refusals)

    def call(self, call_id: str) -> Call | None:
        """Find an open call.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            The call as it is now, or ``None``.
        """
        return self._line.find(call_id)

    def events(self, after: Cursor | None = None) -> Subscription:
        """Read the session's events.

        Args:
            after: The last event already seen; what came after it is told first. ``None``: only what comes from now on.

        Returns:
            An asynchronous iterator. Its place is fixed now: events told before the first ``anext`` are not missed. Where the
            events after ``after`` are gone it gives ``ResyncRequired`` and goes on from there. It ends with the session.
        """
        return self._events.read(after)

    # ------------------------------------------------------------------ what the provider and the core say

    def _report(self, *reports: Report) -> None:
        keeper, line = self._keeper, self._line
        events: list[Event] = []
        for report in reports:
            if not keeper.is_live:
                # A leftover of a connection that is over would make the session look alive.
                line.refusals["not_connected"] += 1
                self._on_refused(Refusal("not_connected", report))
            elif type(report) is Started:
                events += line.apply(self._within_capabilities(report))
                self._publish(events)
                events = []
                if line.provider_state is ProviderState.IN_SERVICE:
                    keeper.started()
            else:
                events += line.apply(report)
                if self._hooks.has_listeners:
                    # Who is told sees the calls as the event leaves them.
                    self._publish(events)
                    events = []
        if events:
            self._publish(events)

    def _within_capabilities(self, report: Started) -> Started:
        most = self._capabilities
        features = most.calls if report.features is None else report.features
        agent_features = most.agent if report.agent_features is None else report.agent_features
        if features & ~most.calls or agent_features & ~most.agent:
            self._log.warning(
                "cti.provider.over_declared",
                calls=repr(features & ~most.calls),
                agent=repr(agent_features & ~most.agent),
            )
        return attrs.evolve(report, features=features & most.calls, agent_features=agent_features & most.agent)

    def _publish(self, events: list[Event]) -> None:
        self._events.extend(events)
        hooks = self._hooks
        if hooks.has_listeners:
            if self._untold is None:
                self._untold = deque()
            self._untold.extend([event for event in events if hooks.wants(type(event))])
            if self._untold and not self._is_telling:
                self._tell_hooks(self._untold)

    def _tell_hooks(self, untold: deque[Event]) -> None:
        # What an implementation sets off is told when all of them have been told what came before it.
        self._is_telling = True
        try:
            while untold:
                self._hooks.tell(self, untold.popleft())
        finally:
            self._is_telling = False

    def _on_refused(self, refusal: Refusal) -> None:
        key = (refusal.reason, type(refusal.report).__name__)
        if key not in self._refusals_logged:
            self._refusals_logged.add(key)
            self._log.warning("cti.report.refused", reason=refusal.reason, report=key[1])

    # ------------------------------------------------------------------ verbs

    async def make_call(self, destination: str) -> Call:
        """Call somebody.

        Args:
            destination: The number as the operator typed it; ``+``, ``*`` and ``#`` can be dialled.

        Returns:
            The call, as soon as the PBX shows it.

        Raises:
            InvalidArgumentError: The destination cannot be dialled.
            NotAllowedNowError: The line is not free.
            CommandRefusedError: The PBX refused before it showed a call.
            CommandUnconfirmedError: No answer, and no call was shown.
            NotConnectedError: There is no connection.
        """
        self._check_line("make_call", CallFeature.DIAL, "a call is up already; consult, transfer or end it first")
        self._check_text("make_call", "destination", destination)
        return await self._begin_call("make_call", self._provider.make_call, destination)

    async def answer_call(self, call: Call | str | None = None) -> None:
        """Answer a call that rings here.

        Args:
            call: Which; by default the one that rings, the current one first.

        Raises:
            NotAllowedNowError: It does not ring, or cannot be answered from here.
            CommandError: As for every verb.
        """
        if call is None:
            ringing = [known for known in self._line.calls if CallFeature.ANSWER in known.features]
            call = next((known for known in ringing if known.role is CallRole.CURRENT), ringing[0] if ringing else None)
        known = self._allowed("answer_call", CallFeature.ANSWER, call)
        await self._command("answer_call", self._timeouts.command_seconds, self._provider.answer_call, known)

    async def drop_call(self, call: Call | str | None = None) -> None:
        """Hang a call up, in whatever state it is.

        Args:
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("drop_call", CallFeature.DROP, call)
        await self._command("drop_call", self._timeouts.command_seconds, self._provider.drop_call, known)

    async def hold_call(self, call: Call | str | None = None) -> None:
        """Put a call on hold.

        Args:
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("hold_call", CallFeature.HOLD, call)
        await self._command("hold_call", self._timeouts.command_seconds, self._provider.hold_call, known)

    async def unhold_call(self, call: Call | str | None = None) -> None:
        """Take a call back that we hold.

        Args:
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("unhold_call", CallFeature.UNHOLD, call)
        await self._command("unhold_call", self._timeouts.command_seconds, self._provider.unhold_call, known)

    async def make_consult_call(self, destination: str, call: Call | str | None = None) -> Call:
        """Hold a call and call somebody else on its behalf.

        Args:
            destination: The number as the operator typed it.
            call: On whose behalf; by default the current one.

        Returns:
            The enquiry call, as soon as the PBX shows it.

        Raises:
            CommandError: As for ``make_call``.
        """
        known = self._allowed("make_consult_call", CallFeature.CONSULT, call)
        self._check_text("make_consult_call", "destination", destination)
        return await self._begin_call("make_consult_call", self._provider.make_consult_call, known, destination)

    async def complete_transfer(self, call: Call | str | None = None, consult_call: Call | str | None = None) -> None:
        """Connect the two far ends and leave.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.

        Raises:
            CommandError: As for every verb.
        """
        act = self._provider.complete_transfer
        await self._on_pair("complete_transfer", CallFeature.COMPLETE_TRANSFER, call, consult_call, act)

    async def cancel_transfer(self, call: Call | str | None = None, consult_call: Call | str | None = None) -> None:
        """End the enquiry and take the first call back.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("cancel_transfer", CallFeature.CANCEL_TRANSFER, call, consult_call, self._provider.cancel_transfer)

    async def blind_transfer(self, destination: str, call: Call | str | None = None) -> None:
        """Send a call on to somebody else without asking them first.

        Args:
            destination: The number as the operator typed it.
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("blind_transfer", CallFeature.BLIND_TRANSFER, call)
        self._check_text("blind_transfer", "destination", destination)
        await self._command("blind_transfer", self._timeouts.command_seconds, self._provider.blind_transfer, known, destination)

    async def alternate(self, call: Call | str | None = None, consult_call: Call | str | None = None) -> None:
        """Talk to the other one of the two, and hold the one talked to.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("alternate", CallFeature.ALTERNATE, call, consult_call, self._provider.alternate)

    async def conference(self, call: Call | str | None = None, consult_call: Call | str | None = None) -> None:
        """Bring all three together.

        Args:
            call: The first call; by default the current one.
            consult_call: The enquiry call; by default the one made on its behalf.

        Raises:
            CommandError: As for every verb.
        """
        await self._on_pair("conference", CallFeature.CONFERENCE, call, consult_call, self._provider.conference)

    async def send_dtmf(self, digits: str, call: Call | str | None = None) -> None:
        """Send tones.

        Args:
            digits: One or more of ``0123456789*#ABCD``.
            call: Which; by default the current one.

        Raises:
            InvalidArgumentError: There is another character among the digits, or none at all.
            CommandError: As for every verb.
        """
        known = self._allowed("send_dtmf", CallFeature.DTMF, call)
        self._check_text("send_dtmf", "digits", digits)
        for place, digit in enumerate(digits, start=1):
            if digit not in _DIGITS:
                raise InvalidArgumentError(
                    f"{digit!r} at place {place} of {digits!r} is no tone.",
                    command="send_dtmf",
                    remedy="Tones are 0 to 9, *, # and A to D.",
                )
        await self._command("send_dtmf", self._timeouts.command_seconds, self._provider.send_dtmf, known, digits)

    async def set_mute(self, on: bool, call: Call | str | None = None) -> None:
        """Switch the operator's microphone off or on.

        Args:
            on: Whether it is to be off ("muted").
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("set_mute", CallFeature.MUTE, call)
        await self._command("set_mute", self._timeouts.command_seconds, self._provider.set_mute, known, on)

    async def set_video(self, on: bool, call: Call | str | None = None) -> None:
        """Switch the operator's camera on or off.

        Args:
            on: Whether it is to be on.
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("set_video", CallFeature.VIDEO, call)
        await self._command("set_video", self._timeouts.command_seconds, self._provider.set_video, known, on)

    async def start_recording(self, call: Call | str | None = None) -> None:
        """Record a call.

        Args:
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("start_recording", CallFeature.RECORDING, call)
        await self._command("start_recording", self._timeouts.command_seconds, self._provider.start_recording, known)

    async def stop_recording(self, call: Call | str | None = None) -> None:
        """Stop recording a call.

        Args:
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("stop_recording", CallFeature.RECORDING, call)
        await self._command("stop_recording", self._timeouts.command_seconds, self._provider.stop_recording, known)

    async def pause_recording(self, on: bool, call: Call | str | None = None) -> None:
        """Pause the recording of a call, or go on with it.

        Args:
            on: Whether to pause.
            call: Which; by default the current one.

        Raises:
            CommandError: As for every verb.
        """
        known = self._allowed("pause_recording", CallFeature.RECORDING, call)
        await self._command("pause_recording", self._timeouts.command_seconds, self._provider.pause_recording, known, on)

    async def monitor(self, call_id: str, mode: str = "listen") -> Call:
        """Listen in on somebody else's call.

        Args:
            call_id: The PBX's identifier of that call.
            mode: ``"listen"``, ``"whisper"`` or ``"barge"``.

        Returns:
            The operator's own call that listens.

        Raises:
            CommandError: As for every verb.
        """
        self._check_line("monitor", CallFeature.MONITOR, "the line does not allow it")
        self._check_text("monitor", "call_id", call_id)
        if mode not in _MONITOR_MODES:
            raise InvalidArgumentError(
                f"monitor: {mode!r} is no mode.", command="monitor", remedy=f"Modes are {', '.join(_MONITOR_MODES)}."
            )
        return await self._begin_call("monitor", self._provider.monitor, call_id, mode)

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        """Change the operator's state.

        Args:
            state: The PBX's code of the state; ``Initialized.agent_states`` lists them.
            reason: The reason, where the state takes one.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_agent_state", AgentFeature.SET_STATE)
        self._check_text("set_agent_state", "state", state)
        await self._command("set_agent_state", self._timeouts.command_seconds, self._provider.set_agent_state, state, reason)

    async def set_wrap_up(self, on: bool) -> None:
        """Enter or leave after-call work.

        Args:
            on: Whether to enter.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_wrap_up", AgentFeature.WRAP_UP)
        await self._command("set_wrap_up", self._timeouts.command_seconds, self._provider.set_wrap_up, on)

    async def set_call_centre_mode(self, on: bool) -> None:
        """Take calls of queues, or no longer.

        Args:
            on: Whether to take them.

        Raises:
            CommandError: As for every verb.
        """
        self._check_agent("set_call_centre_mode", AgentFeature.CALL_CENTRE_MODE)
        await self._command("set_call_centre_mode", self._timeouts.command_seconds, self._provider.set_call_centre_mode, on)

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        """Find the recordings of a call, open or over.

        Args:
            call_id: The PBX's identifier of the call.

        Returns:
            Where they can be fetched; empty if there are none.

        Raises:
            CommandError: As for every verb. It always ends, in an answer or in an error.
        """
        self._check_agent("query_recordings", AgentFeature.CALL_RECORDS)
        self._check_text("query_recordings", "call_id", call_id)
        return await self._command("query_recordings", self._timeouts.query_seconds, self._provider.query_recordings, call_id)

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        """Save a recording as a file. It may take as long as it takes, but not fall silent for longer than a query may last.

        Args:
            link: As ``query_recordings`` gave it. It may hold secrets: show and log it by ``safe_url`` of ``transport``.
            directory: Where to; it is there already.
            progress: Told whenever bytes came in. It must not raise.

        Returns:
            The complete file.

        Raises:
            CommandError: As for every verb; a provider's own errors say more. Trying again is always safe, and goes on where
                the last attempt ended if the provider can.
        """
        self._check_agent("fetch_recording", AgentFeature.CALL_RECORDS)
        given: object = link
        if not isinstance(given, str) or not given.strip():
            # Whatever it is instead, it may hold what the link holds: it is not shown.
            raise InvalidArgumentError("fetch_recording: link must be a text that is not empty.", command="fetch_recording")
        seconds = self._timeouts.query_seconds

        async def fetch() -> Path:
            with anyio.move_on_after(seconds) as patience:

                def told(state: FetchProgress) -> None:
                    patience.deadline = anyio.current_time() + seconds
                    if progress is not None:
                        progress(state)

                return await self._provider.fetch_recording(link, Path(directory), progress=told)
            raise CommandUnconfirmedError(
                f"fetch_recording: nothing came from provider {self.provider_name!r} within {seconds:g} s.",
                remedy="Try again: what has come so far may be kept.",
            )

        return await self._command("fetch_recording", math.inf, fetch)

    # ------------------------------------------------------------------ what every verb goes through

    async def _on_pair(
        self,
        verb: str,
        feature: CallFeature,
        call: Call | str | None,
        consult_call: Call | str | None,
        act: Callable[[Call, Call], Awaitable[None]],
    ) -> None:
        known = self._allowed(verb, feature, call)
        if consult_call is None:
            consult_call = next((other for other in self._line.calls if other.parent_id == known.id), None)
            if consult_call is None:
                raise NotAllowedNowError(verb, reason="there is no enquiry call", command=verb)
        enquiry = self._find(verb, consult_call)
        if enquiry.parent_id != known.id:
            raise NotAllowedNowError(
                f"{verb} for call {known.id!r}", reason=f"call {enquiry.id!r} is no enquiry on its behalf", command=verb
            )
        await self._command(verb, self._timeouts.command_seconds, act, known, enquiry)

    async def _begin_call(self, verb: str, act: Callable[..., Awaitable[Call]], *arguments: object) -> Call:
        # A double click asks twice before the first call is shown: the line does not know of it yet.
        if self._is_dialling:
            raise NotAllowedNowError(verb, reason="a call is being made already", command=verb)
        self._is_dialling = True
        try:
            call: object = await self._command(verb, self._timeouts.make_call_seconds, act, *arguments)
        finally:
            self._is_dialling = False
        if isinstance(call, Call):
            return call
        raise CommandError(
            f"{verb}: provider {self.provider_name!r} gave {type(call).__name__} for a call: a fault of the plugin.",
            stage=CommandStage.UNCONFIRMED,
            command=verb,
            remedy="It may have acted: look at the calls before trying again. Tell the plugin's author.",
        )

    async def _command(self, verb: str, seconds: float, act: Callable[..., Awaitable[T]], *arguments: object) -> T:
        try:
            with anyio.move_on_after(seconds):
                return await act(*arguments)
        except CommandError as error:
            error.step = verb
            raise
        except CtiError as error:
            # It says nothing about how far the command got.
            raise CommandUnconfirmedError(
                f"{verb}: {error.message}",
                command=verb,
                remedy="It may have acted: look at the calls before trying again.",
            ) from error
        except Exception as error:  # whatever a plugin raises is named with the plugin, and may have been sent
            # As text: a renderer that is given the exception may show local variables, so secrets.
            self._log.error("cti.provider.raised", verb=verb, stack=traceback_text(error))
            raise CommandError(
                f"{verb}: provider {self.provider_name!r} raised {type(error).__name__}: a fault of the plugin.",
                stage=CommandStage.UNCONFIRMED,
                command=verb,
                remedy="It may have acted. Tell the plugin's author; the log has the traceback.",
            ) from error
        raise CommandUnconfirmedError(
            f"{verb}: provider {self.provider_name!r} did not end it within {seconds:g} s.",
            command=verb,
            remedy="It may have acted: look at the calls before trying again.",
        )

    def _find(self, verb: str, call: Call | str | None) -> Call:
        if call is None:
            call = self._line.current
            if call is None:
                raise NotAllowedNowError(verb, reason="there is no call", command=verb)
        call_id = call.id if isinstance(call, Call) else call
        if not isinstance(call_id, str):
            raise InvalidArgumentError(f"{verb}: a call is a Call or its identifier, not {call!r}.", command=verb)
        known = self._line.find(call_id)
        if known is not None:
            return known
        if self._line.has_ended(call_id):
            raise NotAllowedNowError(f"{verb} for call {call_id!r}", reason="the call is over", command=verb)
        raise InvalidArgumentError(
            f"{verb}: there is no call {call_id!r}.", command=verb, remedy="`model.calls` lists those there are."
        )

    def _allowed(self, verb: str, feature: CallFeature, call: Call | str | None) -> Call:
        self._check_can(verb, feature)
        known = self._find(verb, call)
        if feature not in known.features:
            doing = known.state.name.lower()
            if known.stale:
                doing = "not known: the connection was lost"
            raise NotAllowedNowError(
                f"{verb} for call {known.id!r}", reason=f"its state ({doing}) does not allow it now", command=verb
            )
        return known

    def _check_line(self, verb: str, feature: CallFeature, reason: str) -> None:
        self._check_can(verb, feature)
        if feature not in self._line.features:
            raise NotAllowedNowError(verb, reason=reason, command=verb)

    def _check_can(self, verb: str, feature: CallFeature) -> None:
        if feature not in self._capabilities.calls:
            self._refuse_unsupported(verb, "can never do that")
        self._check_connected(verb)
        if feature not in self._line.session_features:
            self._refuse_unsupported(verb, "cannot do that in this session")

    def _check_agent(self, verb: str, feature: AgentFeature) -> None:
        if feature not in self._capabilities.agent:
            self._refuse_unsupported(verb, "can never do that")
        self._check_connected(verb)
        if feature not in self._line.agent_features:
            self._refuse_unsupported(verb, "cannot do that in this session")

    def _refuse_unsupported(self, verb: str, what: str) -> NoReturn:
        raise NotSupportedError(
            f"{verb}: provider {self.provider_name!r} {what}.",
            command=verb,
            remedy="Ask `capabilities`, `features` or `call.features` before offering it.",
        )

    def _check_open(self, step: str) -> None:
        if self._is_closed or self._tasks is None:
            raise SessionClosedError("The session is not open.", step=step, remedy="Open it with `async with`.")

    def _check_connected(self, verb: str) -> None:
        self._check_open(verb)
        if self._line.provider_state is not ProviderState.IN_SERVICE:
            raise NotConnectedError(
                f"{verb}: there is no connection to the PBX ({self._line.provider_state.value}). Nothing was sent.",
                command=verb,
                remedy="Try again when `provider_state` is in_service.",
            )

    def _check_text(self, verb: str, name: str, value: object) -> None:
        if not isinstance(value, str) or not value.strip():
            raise InvalidArgumentError(f"{verb}: {name} must be a text that is not empty, not {value!r}.", command=verb)
