"""The contract of a provider plugin: what it must do, what it may do, and what it is given.

A provider translates one PBX's protocol: what the PBX tells becomes *reports* (``reports.py``), what the host asks becomes
commands. It holds no policy. When to connect again, what a call's state is, what may be done when, how long to wait and what to
tell whom is the core's.

The smallest complete example is the package ``cti_dummy``; ``docs/how-to/write-a-provider.md`` walks through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Protocol, TypeVar

import attrs
import structlog

from cti_framework.agents import AgentFeature
from cti_framework.calls import Call, CallFeature
from cti_framework.clock import SessionClock
from cti_framework.deprecation import Deprecation
from cti_framework.diagnosis import Checks, Endpoint
from cti_framework.errors import NotSupportedError, SessionClosedError
from cti_framework.network import NetworkPolicy, is_exposed
from cti_framework.recorder import FlightRecorder, FrameData, FrameDirection
from cti_framework.reports import Report, Snapshot
from cti_framework.shared import Opener, UseShared
from cti_framework.threads import call_in_thread

if TYPE_CHECKING:
    import ssl

    from cti_framework.media import MediaPeers
    from cti_framework.switchboard import FarSide
    from cti_framework.transport import WebSocket

__all__ = [
    "PROVIDER_API",
    "PROVIDER_API_DEPRECATED",
    "PROVIDER_API_SUPPORTED",
    "BaseCtiProvider",
    "Capabilities",
    "CtiUser",
    "EmptySettings",
    "FetchProgress",
    "ProviderContext",
    "ReplayLine",
    "Reporter",
    "Simulation",
]

T = TypeVar("T")

_FROM_PBX: Final = FrameDirection.FROM_PBX

PROVIDER_API: Final = 1
"""The number of the contract in this file. It grows when a provider written for the one before would no longer work."""

PROVIDER_API_SUPPORTED: Final = range(1, 2)
"""The numbers that this version of the core can work with."""

PROVIDER_API_DEPRECATED: Final[Mapping[int, Deprecation]] = MappingProxyType({})
"""Those of them that it will not work with for long: all but the newest. Loading a provider of one of these warns."""


@attrs.frozen
class Capabilities:
    """The most that a provider can ever do. ``Started`` says what one session of it can; that is never more.

    Attributes:
        calls: What it can do with calls.
        agent: What it can do with its agent.
        logged_out_state: The agent state that means "logged out", where the PBX has one.
    """

    calls: CallFeature = CallFeature.NONE
    agent: AgentFeature = AgentFeature.NONE
    logged_out_state: str | None = None


@attrs.frozen
class CtiUser:
    """The host's user who operates the line.

    Attributes:
        id: The host's identifier of the user.
        name: What the host shows for the user.
        parameters: The user's own settings, on top of the system's: dotted keys, the product's codes, or without a prefix.
    """

    id: str
    name: str = ""
    parameters: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen
class EmptySettings:
    """The settings of a provider that has none."""


@attrs.frozen
class FetchProgress:
    """How far the fetching of a file has come.

    Attributes:
        received_bytes: What is here; it becomes less where a peer makes us begin anew.
        total_bytes: What there is to fetch; ``None``: the peer does not say.
    """

    received_bytes: int
    total_bytes: int | None = None


class Reporter(Protocol):
    """Takes reports: `ProviderContext.report`."""

    def __call__(self, *reports: Report) -> None:
        """Say what the PBX made known.

        Args:
            reports: In order.
        """


class ProviderContext:
    """What a provider is given: all it needs of the core, and nothing else.

    Args:
        user: Whose line it is.
        settings: An instance of the provider's ``settings_type``.
        user_settings: An instance of its ``user_settings_type``.
        clock: The session's clock.
        report: Where reports go.
        find_call: How open calls are found.
        log: Where to log.
        wants_raw: Whether the host asked for raw messages.
        trace: Told each message to and from the PBX, by ``cti demo`` and the like; ``None``: nobody watches.
        use_shared: Where shared connections are found.
        recorder: Where frames are recorded; ``None``: nowhere.
        on_heard: Told by ``heard()``; ``None``: nobody watches over the connection.
        network: How connections are secured; ``None``: as the defaults of the settings say.
        command_sent: Told by ``command_sent()``; ``None``: nobody asks.
        media: Gives what ``media()`` does; ``None``: there is none.

    Attributes:
        user: As given.
        settings: As given.
        user_settings: As given.
        clock: As given.
        log: A structlog logger, bound to this session.
        wants_raw: As given: ``raw`` in reports is passed on only then.
        network: As given, by the settings ``cti.tls_…`` and ``cti.allow_plain_text``. `open_websocket` and `tls_for` go by it.
        trace: As given. A provider that can calls it with ``"to_pbx"`` or ``"from_pbx"``, the message's name and a detail in
            words, free of secrets.
        report: Says what the PBX made known: ``report(Held(at=..., call_id=...))``, or several reports that came together,
            in order. Synchronous; the events that follow are told before it returns. Call it from one task only, the one
            that reads the connection, so that their order is the PBX's; never from another thread than the event loop's.
    """

    __slots__ = (
        "_command_sent",
        "_find_call",
        "_media",
        "_on_heard",
        "_recorder",
        "_told_exposed",
        "_use_shared",
        "clock",
        "log",
        "network",
        "report",
        "settings",
        "trace",
        "user",
        "user_settings",
        "wants_raw",
    )

    def __init__(
        self,
        *,
        user: CtiUser,
        settings: Any,
        user_settings: Any,
        clock: SessionClock,
        report: Reporter,
        find_call: Callable[[str], Call | None],
        log: structlog.typing.FilteringBoundLogger | Any = None,
        wants_raw: bool = False,
        trace: Callable[[str, str, str], None] | None = None,
        use_shared: UseShared | None = None,
        recorder: FlightRecorder | None = None,
        on_heard: Callable[[], None] | None = None,
        network: NetworkPolicy | None = None,
        command_sent: Callable[[], None] | None = None,
        media: Callable[[], MediaPeers] | None = None,
    ) -> None:
        self.user = user
        self.settings = settings
        self.user_settings = user_settings
        self.clock = clock
        self.report = report
        self._find_call = find_call
        self.log = structlog.get_logger("cti_framework") if log is None else log
        self.wants_raw = wants_raw
        self.trace = trace
        self._use_shared = use_shared
        self._recorder = recorder
        self._on_heard = on_heard
        self._told_exposed = False
        self.network = NetworkPolicy() if network is None else network
        self._command_sent = command_sent
        self._media = media

    def call(self, call_id: str) -> Call | None:
        """Find an open call.

        Args:
            call_id: Its identifier, or one that it had before.

        Returns:
            The call as it is now, or ``None``.
        """
        return self._find_call(call_id)

    def command_sent(self) -> None:
        """Say that the command of a verb leaves now: from here on it may act.

        To be called in the task of the verb, or in one started from it, right before the first of its bytes is handed over that
        can change anything; questions on the way to it do not count, unless the verb is a question. A verb that hands its
        command to another task says it there and then: it cannot be taken back any more. A provider whose verbs all do so
        sets ``marks_sent``.
        """
        if self._command_sent is not None:
            self._command_sent()

    def media(self) -> MediaPeers:
        """Give what makes the sound of the web phone's calls: the host's own, a browser for example, or this computer's.

        A provider asks for it when it is made, and only where the user has a web phone: nothing of media is imported before.
        ``MediaPeers.check`` then tells what would keep every call mute.

        Returns:
            It, the same for the whole session.

        Raises:
            SettingsError: A setting under ``media.`` cannot be used.
            MediaUnavailableError: Media cannot be had in this process.
            SessionClosedError: There is no session around it.
        """
        if self._media is None:
            raise SessionClosedError("Media needs a session.", step="media", remedy="Make it by `CtiModel`.")
        return self._media()

    async def tls_for(self, url: str) -> ssl.SSLContext | None:
        """Give what a connection is to be secured with, for what is no WebSocket: the same as `open_websocket` uses.

        Args:
            url: The address that is connected to; of a bare socket ``tls://host:port`` or ``tcp://host:port``.

        Returns:
            The context for ``wss://``, ``https://`` and ``tls://``; ``None`` for others.

        Raises:
            AddressError: It would be spoken to in plain text over a network, and the settings do not allow that.
            SettingsError: A file that the settings name for TLS cannot be used.
        """
        self.network.check(url)
        scheme = url.strip().partition(":")[0].lower()
        if scheme in ("wss", "https", "tls"):
            # Certificates are read from files.
            return self.network.ready_ssl_context or await call_in_thread("cti: tls", self.network.ssl_context)
        if is_exposed(url) and not self._told_exposed:
            from cti_framework.transport import safe_url

            self._told_exposed = True
            self.log.warning("cti.connection.plain_text", address=safe_url(url), allowed_by="cti.allow_plain_text")
        return None

    @asynccontextmanager
    async def open_websocket(self, url: str, **options: Any) -> AsyncIterator[WebSocket]:
        """Open a WebSocket to the PBX for the time of an ``async with``, secured as the settings say.

        Args:
            url: ``wss://``, or ``ws://`` to this computer or where the settings allow it.
            **options: As for ``cti_framework.transport.open_websocket``. An ``ssl_context`` given here is used instead.

        Yields:
            The open connection.

        Raises:
            AddressError: It would be spoken to in plain text over a network, and the settings do not allow that; or it is no
                address of a WebSocket.
            SettingsError: A file that the settings name for TLS cannot be used.
            ConnectionFailedError: As for ``cti_framework.transport.open_websocket``.
        """
        from cti_framework.transport import open_websocket

        context = await self.tls_for(url)
        if options.get("ssl_context") is None:
            options["ssl_context"] = context
        async with open_websocket(url, **options) as websocket:
            yield websocket

    def heard(self) -> None:
        """Say that something came in from the PBX, whatever it was: the connection lives. Cheap.

        Reports, but for ``Trouble``, and frames that are handed over, say it by themselves.
        """
        if self._on_heard is not None:
            self._on_heard()

    def frame(self, direction: FrameDirection, data: FrameData, *, connection: str = "") -> None:
        """Hand a frame to the session's flight recorder, for captures and support bundles. Cheap where nothing records.

        A provider that does so for each frame that it sends and receives, and for the beginning and the end of each connection,
        can be looked into at a site; with ``replay`` what happened there can be played again.

        Args:
            direction: Which way it went.
            data: The frame as it was on the wire, which must not be changed any more. Secrets are taken out by the recorder.
            connection: Names the connection, where the provider has several.
        """
        if direction is _FROM_PBX:
            self.heard()
        if self._recorder is not None:
            self._recorder.record(direction, data, connection=connection)

    def frames(self, direction: FrameDirection, batch: Sequence[FrameData], *, connection: str = "") -> None:
        """Hand frames that went together to the recorder: as ``frame`` for each of them, for less.

        Args:
            direction: Which way they went.
            batch: The frames in order. The sequence must not be changed any more.
            connection: As for ``frame``.
        """
        if direction is _FROM_PBX:
            self.heard()
        if self._recorder is not None:
            self._recorder.record_many(direction, batch, connection=connection)

    def shared(self, key: Hashable, opener: Opener[T]) -> AbstractAsyncContextManager[T]:
        """Stand on a connection that many users share: for a PBX that serves all of them over one.

        All sessions of a hub that name the same key share one connection; a session that is in no hub has it for itself. The
        first opens it, the last that leaves closes it. When it breaks, the block is cancelled and raises what it broke with:
        let that end ``run()``, and the core comes back to one new connection for all.

        Args:
            key: Names the connection: its address, and whatever else makes it another. It may hold secrets.
            opener: Lives through the connection: opens it, calls the function that it is given with what users need of it,
                and serves it until it breaks or is cancelled, as ``run()`` does. It outlives the user who happens to be first,
                so it must not report: give each user a place in what it opens, from where each reports for itself.

        Returns:
            An asynchronous context manager that gives what the opener gave.

        Raises:
            SessionClosedError: There is no session around it.
        """
        if self._use_shared is None:
            raise SessionClosedError("A shared connection needs a session.", step="connect", remedy="Make it by `CtiModel`.")
        return self._use_shared(key, opener)


@attrs.frozen
class Simulation:
    """A provider's own PBX in a box, running.

    Attributes:
        settings: Settings, by dotted key, that make the provider connect to it.
        user: A user of it.
        far_side: Drives it: calls in, answers, holds, sends tones, hangs up, drops the network.
        subscriber: A number that can be called and answers by itself.
        notes: What is not as a real PBX would have it, for whoever watches.
        hides: What such a PBX does not make known, each with why; the conformance kit does not ask for it. ``tones``: those of
            the far end; ``hold``: that by the far end; ``names``: of the other party.
        web_phone: The same PBX, for a user whose sound goes through the session; ``None``: there is none.
    """

    settings: Mapping[str, Any]
    user: CtiUser
    far_side: FarSide
    subscriber: str
    notes: tuple[str, ...] = ()
    hides: Mapping[str, str] = attrs.field(factory=dict)
    web_phone: Simulation | None = None


@attrs.frozen
class ReplayLine:
    """One thing that a protocol made of captured frames.

    What the core does by itself in a session, it does in a replay: a line that says ``asks_snapshot`` is the moment that the next
    complete ``Snapshot`` speaks of, and one that says ``disconnected`` leaves the calls stale until the next ``Started``.

    Attributes:
        at_seconds: Since the start of the capture.
        callback: The name by which the PBX's own client library calls it, or ``None`` where that has no name for it.
        payload: What that library would hand over.
        has_payload: Whether it would hand over anything at all.
        reports: What the provider would report.
        text: One line for people.
        asks_snapshot: The PBX was asked for its calls here.
        disconnected: The connection was over here.
    """

    at_seconds: float
    callback: str | None
    payload: Any = None
    has_payload: bool = False
    reports: tuple[Report, ...] = ()
    text: str = ""
    asks_snapshot: bool = False
    disconnected: bool = False


class BaseCtiProvider(ABC):
    """A provider: the translator between one PBX and the core. One instance a session.

    A subclass says by class attributes what it is, and implements the four abstract methods. Each further verb is
    implemented by the providers that can do it: what ``capabilities`` declares must work, what it does not declare must
    raise ``NotSupportedError`` (as the methods here do).

    Every verb that acts on a call is given the call as the host last saw it. The core has checked that ``call.features``
    allows it, puts a time-out on it, and never sends anything twice. A verb returns when the PBX accepted the command, and
    raises ``CommandRefusedError`` (the PBX said no) or ``CommandUnconfirmedError`` (no answer) otherwise; what the command
    *does* is told by reports. Asked while no ``run()`` is logged in, it raises ``NotConnectedError``, or another ``CtiError``.

    Args:
        context: What the core gives to the provider.

    Attributes:
        provider_api: The number of the contract it is written for; checked before anything of it runs.
        capabilities: The most that it can ever do.
        settings_type: An attrs class of its system settings.
        user_settings_type: An attrs class of its settings for each user.
        licences: Names of the host's licences that are needed; given to ``cti_log_in``.
        uses_media: Whether some of its users have a web phone, whose sound goes through the session: the settings under
            ``media.`` are read for it, and ``context.media()`` gives what makes the sound.
        marks_sent: Whether every verb says by ``context.command_sent()`` that its command leaves. Where it does, a verb that
            ended before that was not sent, and may be tried again; where it does not, it may always have acted.
        context: As given.
    """

    provider_api: ClassVar[int] = PROVIDER_API
    capabilities: ClassVar[Capabilities] = Capabilities()
    settings_type: ClassVar[type] = EmptySettings
    user_settings_type: ClassVar[type] = EmptySettings
    licences: ClassVar[tuple[str, ...]] = ()
    marks_sent: ClassVar[bool] = False
    uses_media: ClassVar[bool] = False

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    # ------------------------------------------------------------------ mandatory

    @abstractmethod
    async def run(self) -> None:
        """Live through one connection: log in, report ``Started``, deliver reports until it breaks or is cancelled.

        It never reconnects: the core calls it again. Everything it opened is closed when it ends, however it ends. It may be
        cancelled at every ``await``, lets the cancellation through, and ends within seconds: nothing else is begun before.

        Raises:
            CredentialsRefusedError: The PBX refuses the user. The core does not try again.
            AddressError: The address cannot be used. The core does not try again.
            ConnectionFailedError: The connection could not be made, or broke. The core tries again.
        """

    @abstractmethod
    async def snapshot(self) -> Snapshot:
        """Ask the PBX for the operator's calls and agent state as they are now.

        The core asks after each log in, and where a command that begins a call was not confirmed; two may be under way at once.

        Returns:
            All it knows; ``complete=False`` where the PBX can only tell a part. Where the PBX uses the identifier of a call that
            is over again, ``started_at`` tells the calls apart.

        Raises:
            CommandError: The PBX did not answer, or refused.
        """

    @abstractmethod
    async def make_call(self, destination: str) -> Call:
        """Call somebody.

        Args:
            destination: The number as the operator typed it.

        Returns:
            The call, as soon as the PBX shows it (``Originated`` was reported). What becomes of it is told by reports.

        Raises:
            InvalidArgumentError: The destination cannot be dialled; nothing was sent.
            CommandRefusedError: The PBX refused before it showed a call.
            CommandUnconfirmedError: No answer, and no call was shown.
        """

    @abstractmethod
    async def drop_call(self, call: Call) -> None:
        """Hang a call up, in whatever state it is.

        Args:
            call: The call.
        """

    # ------------------------------------------------------------------ what outlives a connection

    def lifetime(self) -> AbstractAsyncContextManager[object]:
        """Give what lasts for as long as the core keeps the provider connected, over all of its connections.

        Entered before the first ``run()`` and left after the last one has ended; after ``disconnect()`` and ``connect()``, anew.
        Entering it waits for nothing that can take long: the first connection waits for it.
        The sound of a web phone, for one, is to go on while another connection is made. Its tasks report only while ``run()`` is
        logged in. One that fails ends the connection, as a fault of ``run()`` does, and all begins anew after a pause.

        Returns:
            An asynchronous context manager; by default there is nothing.
        """
        return nullcontext()

    # ------------------------------------------------------------------ so that a dead connection is noticed

    async def probe(self) -> None:
        """Ask the PBX whether it is still there: the cheapest question that it answers, a ping.

        The core asks when nothing was heard for long, when a command was not answered, and when somebody wants to know; a
        connection on which it is not answered in time, and on which nothing else is heard either, is given up. Without it
        a connection that dies silently is noticed only by what ``run()`` itself notices.

        Raises:
            ConnectionFailedError: The connection has broken. It is given up with this error.
            NotSupportedError: It cannot be asked on this connection, whose server is too old for it, say; it is not asked
                again on it, and what ``run()`` notices itself is all that is noticed.
            CommandError: The PBX did not answer, or refused; who refuses is there. One that was not sent proves nothing.
        """
        self._not_supported("probe")

    def unacknowledged_bytes(self) -> int | None:
        """Tell how much of what was sent the peer's computer has not acknowledged: ``WebSocket.unacknowledged_bytes``.

        Asked when a probe was not answered: it tells a peer that is gone from one that stands still.

        Returns:
            Bytes; ``None``: not known.
        """
        return None

    # ------------------------------------------------------------------ so that a fault is found

    @classmethod
    def endpoints(cls, settings: Any) -> tuple[Endpoint, ...]:
        """Tell what it connects to. `cti_framework.doctor` looks at name, port, certificate and clock of each.

        Args:
            settings: An instance of ``settings_type``.

        Returns:
            One endpoint an address that the settings hold; none where there is no network.
        """
        return ()

    async def diagnose(self, checks: Checks) -> None:  # noqa: B027 - whoever has nothing of his own to look at leaves it
        """Look at what only this provider knows: is the user known at the PBX, does he have a phone, are there recordings?

        Asked while the connection is up, after log in and snapshot. It changes nothing at the PBX. What a step raises is told
        as its failure; what this method itself raises, too.

        Args:
            checks: Takes the steps: ``await checks.check("phone", self._check_phone)``.
        """

    # ------------------------------------------------------------------ by capability

    async def answer_call(self, call: Call) -> None:
        """Answer a call that rings here. ``CallFeature.ANSWER``.

        Args:
            call: The call.
        """
        self._not_supported("answer_call")

    async def hold_call(self, call: Call) -> None:
        """Put a call on hold. ``CallFeature.HOLD``.

        Args:
            call: The call.
        """
        self._not_supported("hold_call")

    async def unhold_call(self, call: Call) -> None:
        """Take a call back that we hold. ``CallFeature.UNHOLD``.

        Args:
            call: The call.
        """
        self._not_supported("unhold_call")

    async def make_consult_call(self, call: Call, destination: str) -> Call:
        """Hold a call and call somebody else on its behalf. ``CallFeature.CONSULT``.

        Args:
            call: The call on whose behalf.
            destination: The number as the operator typed it.

        Returns:
            The enquiry call, as soon as the PBX shows it; its ``parent_id`` is ``call.id``.
        """
        self._not_supported("make_consult_call")

    async def complete_transfer(self, call: Call, consult_call: Call) -> None:
        """Connect the two far ends and leave. ``CallFeature.COMPLETE_TRANSFER``.

        Args:
            call: The first call.
            consult_call: The enquiry call.
        """
        self._not_supported("complete_transfer")

    async def cancel_transfer(self, call: Call, consult_call: Call) -> None:
        """End the enquiry and take the first call back. ``CallFeature.CANCEL_TRANSFER``.

        Args:
            call: The first call.
            consult_call: The enquiry call.
        """
        self._not_supported("cancel_transfer")

    async def blind_transfer(self, call: Call, destination: str) -> None:
        """Send a call on to somebody else without asking them first. ``CallFeature.BLIND_TRANSFER``.

        Args:
            call: The call.
            destination: The number as the operator typed it.
        """
        self._not_supported("blind_transfer")

    async def alternate(self, call: Call, consult_call: Call) -> None:
        """Talk to the other one of the two, and hold the one talked to. ``CallFeature.ALTERNATE``.

        Args:
            call: The first call.
            consult_call: The enquiry call.
        """
        self._not_supported("alternate")

    async def conference(self, call: Call, consult_call: Call) -> None:
        """Bring all three together. ``CallFeature.CONFERENCE``.

        Args:
            call: The first call.
            consult_call: The enquiry call.
        """
        self._not_supported("conference")

    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Send tones. ``CallFeature.DTMF``.

        Args:
            call: The call.
            digits: One or more of ``0123456789*#ABCD``.
        """
        self._not_supported("send_dtmf")

    async def set_mute(self, call: Call, on: bool) -> None:
        """Switch the operator's microphone off or on. ``CallFeature.MUTE``.

        Args:
            call: The call.
            on: Whether it is to be off ("muted").
        """
        self._not_supported("set_mute")

    async def set_video(self, call: Call, on: bool) -> None:
        """Switch the operator's camera on or off. ``CallFeature.VIDEO``.

        Args:
            call: The call.
            on: Whether it is to be on.
        """
        self._not_supported("set_video")

    async def set_agent_state(self, state: str, reason: str | None = None) -> None:
        """Change the operator's state. ``AgentFeature.SET_STATE``.

        Args:
            state: The PBX's code of the state.
            reason: The reason, where the state takes one.
        """
        self._not_supported("set_agent_state")

    async def set_wrap_up(self, on: bool) -> None:
        """Enter or leave after-call work. ``AgentFeature.WRAP_UP``.

        Args:
            on: Whether to enter.
        """
        self._not_supported("set_wrap_up")

    async def set_call_centre_mode(self, on: bool) -> None:
        """Take calls of queues, or no longer. ``AgentFeature.CALL_CENTRE_MODE``.

        Args:
            on: Whether to take them.
        """
        self._not_supported("set_call_centre_mode")

    async def query_recordings(self, call_id: str) -> tuple[str, ...]:
        """Find the recordings of a call, open or over. ``AgentFeature.CALL_RECORDS``.

        Args:
            call_id: The PBX's identifier of the call.

        Returns:
            Where they can be fetched; empty if there are none.
        """
        self._not_supported("query_recordings")

    async def fetch_recording(
        self, link: str, directory: Path, *, progress: Callable[[FetchProgress], object] | None = None
    ) -> Path:
        """Save a recording as a file. ``AgentFeature.CALL_RECORDS``.

        A recording can be large and take minutes: the core puts its time-out on each silence, not on the whole.

        Args:
            link: As ``query_recordings`` gave it. It may hold secrets: it is in no log, no error and no file's name.
            directory: Where to; it is there already.
            progress: Told whenever bytes came in, and when another attempt begins.

        Returns:
            The complete file. What cannot be completed is under no name that a recording has.
        """
        self._not_supported("fetch_recording")

    async def start_recording(self, call: Call) -> None:
        """Record a call. ``CallFeature.RECORDING``.

        Args:
            call: The call.
        """
        self._not_supported("start_recording")

    async def stop_recording(self, call: Call) -> None:
        """Stop recording a call. ``CallFeature.RECORDING``.

        Args:
            call: The call.
        """
        self._not_supported("stop_recording")

    async def pause_recording(self, call: Call, on: bool) -> None:
        """Pause the recording of a call, or go on with it. ``CallFeature.RECORDING``.

        Args:
            call: The call.
            on: Whether to pause.
        """
        self._not_supported("pause_recording")

    async def monitor(self, call_id: str, mode: str) -> Call:
        """Listen in on somebody else's call. ``CallFeature.MONITOR``.

        Args:
            call_id: The PBX's identifier of that call.
            mode: ``"listen"``, ``"whisper"`` or ``"barge"``.

        Returns:
            The operator's own call that listens.
        """
        self._not_supported("monitor")

    # ------------------------------------------------------------------ so that tools stay generic

    @classmethod
    def simulator(cls) -> AbstractAsyncContextManager[Simulation]:
        """Run a PBX in a box that this provider can connect to; ``cti demo`` and tests use it.

        Returns:
            An asynchronous context manager that gives a ``Simulation``.

        Raises:
            NotSupportedError: This provider brings none.
        """
        raise NotSupportedError(f"{cls.__name__} brings no simulator.", command="simulator")

    @classmethod
    def serve_simulator(cls, *, host: str, port: int, control_port: int) -> AbstractAsyncContextManager[str]:
        """Run the simulator as a server for other programs; ``cti simulate`` uses it.

        Args:
            host: The address to listen on.
            port: The port for clients; 0 takes a free one.
            control_port: The port for whoever drives the far side; 0 takes a free one.

        Returns:
            An asynchronous context manager that gives one line for people: where it listens and who can log in.

        Raises:
            NotSupportedError: This provider brings none that listens.
        """
        raise NotSupportedError(f"{cls.__name__} brings no simulator that listens on a port.", command="simulate")

    @classmethod
    def replay(cls, lines: Iterable[str]) -> Iterator[ReplayLine]:
        """Feed captured frames to the protocol.

        Args:
            lines: The lines of a capture.

        Returns:
            What the protocol made of them, in order.

        Raises:
            NotSupportedError: This provider cannot.
        """
        raise NotSupportedError(f"{cls.__name__} cannot replay captures.", command="replay")

    def _not_supported(self, verb: str) -> NoReturn:
        raise NotSupportedError(
            f"{type(self).__name__} cannot {verb.replace('_', ' ')}.",
            command=verb,
            remedy="Ask capabilities, line.features or call.features before offering it.",
        )
