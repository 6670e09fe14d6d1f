"""What the host holds: one operator's session. Commands go down, events come up.

``CtiModel`` owns the session's line, log of events, hooks and connection. A verb is checked against what may be done now,
handed to the provider under a time-out, and ends in a value or in an error that says how far it got; nothing is sent twice.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import attrs
import structlog

from cti_framework.agents import Agent, AgentFeature
from cti_framework.back_off import ReconnectPolicy
from cti_framework.calls import Call, CallFeature
from cti_framework.clock import SessionClock
from cti_framework.commands import CommandRecord, Commands, CommandTimeouts
from cti_framework.connection import ConnectionKeeper
from cti_framework.diagnosis import Checks
from cti_framework.errors import (
    ConnectionFailedError,
    CtiError,
    OutageKind,
    PluginError,
    SessionClosedError,
)
from cti_framework.eventlog import EventLog, EventLoss, IfBehind, Subscription
from cti_framework.events import Cursor, Event, ProviderState, ProviderStateChanged, ResyncRequired
from cti_framework.hooks import Hooks
from cti_framework.line import Line, Refusal
from cti_framework.liveness import Liveness, LivenessPolicy
from cti_framework.network import NetworkPolicy
from cti_framework.provider import BaseCtiProvider, Capabilities, CtiUser, ProviderContext
from cti_framework.recorder import FlightRecorder
from cti_framework.reports import Report, Started, Trouble
from cti_framework.session_checks import check_session
from cti_framework.settings import secret_values
from cti_framework.shared import Opener, SharedConnections
from cti_framework.support_bundle import BundleFacts, bundle_of_session, write_bundle
from cti_framework.threads import call_in_thread
from cti_framework.verbs import Verbs
from cti_framework.verbs.patience import Patience
from cti_framework.watchdog import LoopStalls, Watch

if TYPE_CHECKING:
    from cti_framework.media import MediaOptions, MediaPeers

__all__ = ["CommandTimeouts", "CtiModel"]

_CLOSE_SECONDS = 5.0


class CtiModel(Verbs):
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
        admission: Entered before each attempt to connect, left when its log in is decided; a hub gives it.
        shared: Where shared connections are found; a hub gives it. ``None``: the session has its own.
        commands_in_flight: How many commands may be under way at a time; ``None``: any number.
        flight_recorder_seconds: How long frames of the wire are kept; 0: not at all.
        flight_recorder_kilobytes: How much room they may take; 0: none.
        facts: Tells settings and plugins to a support bundle.
        network: How connections are secured; ``None``: certificates are checked, and nothing leaves this computer in plain text.
        liveness: How connections are watched.
        restore_agent_state: Whether the agent's state is given back to a PBX that has forgotten it.
        stall_seconds: How long the event loop may stand still before whoever keeps it is named; 0: nobody looks. All sessions
            of a loop share one thread that looks.
        media: Makes the sound of the web phone's calls; ``None``: this computer does.
        media_options: Reads how it does so, when that is first asked for; ``None``: as the defaults of the settings say.

    Attributes:
        user: As given.
        provider_name: As given.
        recorder: The last frames of the wire, where the provider hands them over.

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
        admission: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
        shared: SharedConnections | None = None,
        commands_in_flight: int | None = None,
        flight_recorder_seconds: float = 300.0,
        flight_recorder_kilobytes: float = 256.0,
        facts: Callable[[], BundleFacts] = BundleFacts,
        network: NetworkPolicy | None = None,
        liveness: LivenessPolicy | None = None,
        restore_agent_state: bool = True,
        stall_seconds: float = 0.0,
        media: MediaPeers | None = None,
        media_options: Callable[[], MediaOptions] | None = None,
    ) -> None:
        self.user = user
        self.provider_name = name
        self._clock = clock or SessionClock()
        self._hooks = Hooks() if hooks is None else hooks
        self._timeouts = timeouts or CommandTimeouts()
        self._wait_for_service = wait_for_service
        self._policy = policy or ReconnectPolicy()
        self._is_shared_with_others = shared is not None
        self._shared = shared or SharedConnections()
        self._log = structlog.get_logger("cti_framework").bind(user=user.id, provider=name)
        self._facts = facts
        self._secrets: Callable[[], tuple[str, ...]] = lambda: (*secret_values(settings), *secret_values(user_settings))
        self.recorder = FlightRecorder(
            seconds=flight_recorder_seconds, kilobytes=flight_recorder_kilobytes, secrets=self._secrets, log=self._log
        )
        self._refusals_logged: set[tuple[str, str]] = set()
        self._commands = Commands(self.now, self._log, at_once=commands_in_flight)
        epoch = uuid.uuid4().hex
        self._line = Line(epoch, raw=raw_messages, waits_for_calls=True, on_refused=self._on_refused)
        self._events = EventLog(epoch, self._resync, capacity=event_log_capacity, log=self._log)
        self._watch = Watch(self._hooks, name, provider_class, stall_seconds)
        self._liveness = Liveness(liveness or LivenessPolicy(), self._clock.monotonic)
        self._media = media
        self._media_options = media_options
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
                use_shared=self._use_shared,
                command_sent=self._commands.sent,
                recorder=self.recorder,
                network=network,
                on_heard=self._liveness.heard,
                media=self._make_media,
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
            policy=self._policy,
            log=self._log,
            liveness=self._liveness,
            restore_agent=restore_agent_state,
            admission=admission,
        )
        self._tasks: anyio.abc.TaskGroup | None = None
        self._is_closed = False
        self._is_dialling = False
        self._patience = Patience()
        # Only where somebody listens; hundreds of sessions have nobody.
        self._untold: deque[Event] | None = None
        self._is_telling = False

    def _use_shared(self, key: Hashable, opener: Opener[Any]) -> AbstractAsyncContextManager[Any]:
        # Two plugins that choose the same key mean two things.
        key = (self.provider_name, key)
        if not self._is_shared_with_others:
            return self._shared.use(key, opener)
        policy = self._policy
        return self._shared.use(
            key,
            opener,
            # Sooner than this one user alone would not come back either.
            pause_seconds=lambda failures, error: policy.delay_seconds(failures, lambda: 0.0, OutageKind.of(error)),
            stable_after_seconds=policy.stable_after_seconds,
        )

    def _make_media(self) -> MediaPeers:
        if self._media is None:
            # Loaded for those who have a web phone.
            from cti_framework.media import AiortcPeers

            self._media = AiortcPeers(None if self._media_options is None else self._media_options())
        return self._media

    def _make_provider(self, provider_class: type[BaseCtiProvider], context: ProviderContext) -> BaseCtiProvider:
        try:
            return provider_class(context)
        except (CtiError, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever a plugin raises is named with the plugin
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
        if not self._is_shared_with_others:
            self._shared.live_in(tasks)
        try:
            self._watch.start()
            self._hooks.enlist(self, tasks, self._resync, self._on_trouble)
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
            self._watch.stop()
            self._events.close()
            tasks.cancel_scope.cancel()
            await self._hooks.leave(self)
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

    async def reconnect_now(self) -> None:
        """Make sure that the session is connected, and do not wait for the next attempt: for "the network is back", or "try now".

        While an attempt is waited for, it is made at once. While the session is in service, the PBX is asked whether it is still
        there, and a new connection is made if it does not answer; a provider that cannot ask makes one in any case. A session
        that was disconnected, or has given up, connects as by ``connect()``.

        Raises:
            SessionClosedError: The session is not open.
            ConnectionFailedError: The attempt failed. The core goes on trying if the error is retryable.
        """
        self._check_open("reconnect_now")
        if self._line.provider_state is ProviderState.IN_SERVICE and await self._keeper.prove():
            return
        self._keeper.hurry()
        await self.connect()

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
    def is_kept_connected(self) -> bool:
        """Whether the core keeps the session connected, or tries to: not before ``connect()``, nor after it was given up."""
        return self._keeper.is_running and not self._keeper.is_stopping

    @property
    def cursor(self) -> Cursor:
        """The last event told so far."""
        return Cursor(self._line.epoch, self._line.seq)

    @property
    def refused_reports(self) -> dict[str, int]:
        """How many reports of the provider were refused, by reason."""
        return dict(self._line.refusals)

    @property
    def event_losses(self) -> dict[str, EventLoss]:
        """What readers of events have lost because they were too slow, by the name that they gave."""
        return self._events.losses

    @property
    def stalls(self) -> dict[str, LoopStalls]:
        """Who made the event loop stand still while the session was open: plugins by name, or ``"host"``."""
        return self._watch.stalls

    def call(self, call_id: str) -> Call | None:
        """Find an open call.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            The call as it is now, or ``None``.
        """
        return self._line.find(call_id)

    @property
    def commands(self) -> tuple[CommandRecord, ...]:
        """What became of the latest commands, the oldest first: 256 with an identifier of the host's, and 256 without."""
        return self._commands.records

    def command(self, command_id: str) -> CommandRecord | None:
        """Tell what became of a command.

        Args:
            command_id: Its identifier: as it was given to the verb, or as ``CommandError.command_id`` has it.

        Returns:
            What became of it so far; ``None``: it was never asked for, or is none of those in ``commands``.
        """
        return self._commands.record(command_id)

    def events(self, after: Cursor | None = None, *, if_behind: IfBehind = IfBehind.RESYNC, name: str = "") -> Subscription:
        """Read the session's events.

        Args:
            after: The last event already seen; what came after it is told first. ``None``: only what comes from now on.
            if_behind: What becomes of the reader where the events after its place are gone: it is given ``ResyncRequired`` and
                goes on from there, or gets ``SubscriberBehindError`` and is over.
            name: By what its losses are logged and counted in ``event_losses``.

        Returns:
            An asynchronous iterator. Its place is fixed now: events told before the first ``anext`` are not missed. It ends
            with the session.
        """
        return self._events.read(after, if_behind=if_behind, name=name)

    async def write_support_bundle(self, path: Path | str, *, log: Iterable[str] = (), force: bool = False) -> Path:
        """Write a zip that tells somebody far away what happened: frames, events, settings, versions, a diagnosis; no secrets.

        It can be written while the session is open, and after it was closed or could not be opened.

        Args:
            path: The file to make; only its owner may read it.
            log: Lines of the host's log, to go with it.
            force: Whether to replace a file that is there.

        Returns:
            The file.

        Raises:
            FileExistsError: There is such a file, and it is not to be replaced.
            OSError: It cannot be written.
        """
        bundle = bundle_of_session(
            self,
            events=self._events.kept(),
            facts=self._facts(),
            hooks=self._hooks.records(),
            secrets=self._secrets(),
            error=self._keeper.error,
        )
        write: Callable[[], Path] = partial(write_bundle, Path(path), bundle, log=tuple(log), force=force)
        return await call_in_thread("cti: support bundle", write)

    async def examine(self, checks: Checks) -> None:
        """Look at the session while it is in service: does the PBX answer, whose clock is right, what does the provider find?

        Args:
            checks: Takes the steps. None of them changes anything at the PBX.

        Raises:
            SessionClosedError: The session is not open.
        """
        self._check_open("examine")
        await check_session(checks, self._provider, self._clock)

    # ------------------------------------------------------------------ what the provider and the core say

    def _report(self, *reports: Report) -> None:
        keeper, line = self._keeper, self._line
        # What is left of a question to a connection that is over speaks for no other one.
        is_left = keeper.questions.has_left and keeper.questions.is_of_one_left()
        events: list[Event] = []
        for report in reports:
            if type(report) is not Trouble and not is_left:
                # Trouble may be the plugin's own: that the PBX is silent, for instance.
                self._liveness.heard()
            if is_left or not keeper.is_live:
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

    def _resync(self, missed: int | None) -> ResyncRequired:
        return self._line.resync(missed, self.now())

    def _on_trouble(self, error: CtiError) -> None:
        self._publish(self._line.apply(Trouble(at=self.now(), error=error)))

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
