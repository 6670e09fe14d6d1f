"""The hub: who has which session, and each session's life."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.abc
import structlog

from cti_framework.cancellation import fault_of
from cti_framework.errors import CtiError, NotAllowedNowError, SessionClosedError, traceback_text
from cti_framework.events import ProviderState
from cti_framework.hub._entry import LIVING, Entry
from cti_framework.hub._gate import Gates, Places
from cti_framework.hub._values import HubBudget, HubSession, HubSessionState
from cti_framework.initializer import CtiProviderInitializer
from cti_framework.model import CtiModel
from cti_framework.provider import CtiUser
from cti_framework.shared import SharedConnections

if TYPE_CHECKING:
    from cti_framework.media import MediaPeers

__all__ = ["CtiHub"]

_ATTEMPTS_REMEMBERED_FOR: Final = 4096
_CLOSE_SECONDS: Final = 10.0
"""The longest that anybody waits for a session's end, which takes a limited time unless a plugin sees to the contrary."""
_PLACE_SECONDS: Final = 1.0
"""How long a session on its way through the chain keeps its place there: a directory that hangs must not keep all users out."""


class CtiHub:
    """Opens, watches and closes the sessions of many users. ``async with`` opens the hub; leaving the block closes all of them.

    Its methods may be called from any task of its event loop. One session that fails, whatever it fails with, harms no other.

    Args:
        initializer: Opens the sessions.
        budget: What each user may take.
        concurrent_openings: How many log ins one PBX is asked for at a time.
        openings_per_second: How many it is asked for a second, at most.
        on_change: Told of every session that begins to open, is open, failed or closed. Called in the event loop: it must be
            quick. What the connections of open sessions do, the hook ``cti_provider_state_changed`` tells for all of them.
    """

    def __init__(
        self,
        initializer: CtiProviderInitializer,
        *,
        budget: HubBudget | None = None,
        concurrent_openings: int = 16,
        openings_per_second: float = 100.0,
        on_change: Callable[[HubSession], object] | None = None,
    ) -> None:
        self._initializer = initializer
        self._budget = budget or HubBudget()
        self._concurrent_openings = concurrent_openings
        self._gates = Gates(concurrent_openings, openings_per_second)
        self._on_change = on_change
        self._entries: dict[str, Entry] = {}
        self._openings: dict[str, deque[float]] = {}
        self._shared = SharedConnections()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._chains: Places | None = None
        self._context = contextvars.Context()
        self._is_closed = False
        self._log = structlog.get_logger("cti_framework")

    # ------------------------------------------------------------------ the hub itself

    async def __aenter__(self) -> Self:
        """Open the hub.

        Returns:
            The hub itself.

        Raises:
            SessionClosedError: It was opened before; make a new one.
        """
        if self._tasks is not None or self._is_closed:
            raise SessionClosedError("A hub is opened once.", remedy="Make another CtiHub.")
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        self._chains = Places(self._concurrent_openings, _PLACE_SECONDS)
        self._context = contextvars.copy_context()
        self._shared.live_in(tasks)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all sessions, and wait until nothing is left of them. What does not end within ten seconds is cancelled."""
        tasks = self._tasks
        if tasks is None or self._is_closed:
            return
        self._is_closed = True
        try:
            # Each closes in its own time; all of them at once.
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                entries = tuple(self._entries.values())
                for entry in entries:
                    entry.end()
                for entry in entries:
                    await entry.gone.wait()
            for entry in self._entries.values():
                self._log.warning("cti.hub.does_not_end", user=entry.user.id, seconds=_CLOSE_SECONDS)
        finally:
            tasks.cancel_scope.cancel()
            # A host's own exception goes out as it is, not wrapped in a group.
            if isinstance(exc, anyio.get_cancelled_exc_class()):
                await tasks.__aexit__(type(exc), exc, exc.__traceback__)
            else:
                await tasks.__aexit__(None, None, None)

    @property
    def sessions(self) -> tuple[HubSession, ...]:
        """All sessions, open or opening, in the order in which they were asked for."""
        return tuple(entry.seen() for entry in self._entries.values())

    def session(self, user_id: str) -> HubSession | None:
        """Find a user's session.

        Args:
            user_id: The user's identifier.

        Returns:
            What the hub knows of it now; ``None``: the user has none.
        """
        entry = self._entries.get(user_id)
        return None if entry is None else entry.seen()

    # ------------------------------------------------------------------ opening and closing

    async def open(self, user: CtiUser | str, *, wait_for_service: bool = True, media: MediaPeers | None = None) -> CtiModel:
        """Open a user's session, or hold the one that is open. Each ``open`` is given back by one ``close``.

        Whoever is cancelled here holds nothing; a session that nobody else holds is gone when this returns.

        Args:
            user: Whose line it is; a text is taken as the user's identifier.
            wait_for_service: Whether to wait for the attempt to connect that is under way, and raise what it ended with; then
                the session is not held. If not, it is held at once and goes on trying.
            media: As for ``CtiProviderInitializer.open``, for the session that this opens. One that is open already has its own;
                another than that is not allowed.

        Returns:
            The session. It is the hub's: never enter or leave it.

        Raises:
            NotAllowedNowError: The budget does not allow it; ``reason`` says what.
            SessionClosedError: The hub is not open.
            CtiError: As for ``CtiProviderInitializer.open``.
        """
        if isinstance(user, str):
            user = CtiUser(id=user)
        entry = await self._held(user, media)
        try:
            await entry.decided.wait()
            if entry.error is not None:
                # Each who waits raises it: the traceback of one is of no use to the others.
                raise entry.error.with_traceback(None)
            model = entry.model
            if model is None or entry.closing.is_set():
                raise SessionClosedError("The session was closed while it was opening.", step="open")
            if wait_for_service:
                await _wait_for_service(model)
        except BaseException:
            await self._give_back(entry)
            raise
        return model

    async def close(self, session: CtiModel | str, *, for_all: bool = False) -> None:
        """Give back a session that ``open`` gave. The last who does closes it, and waits until nothing is left of it.

        It is waited for ten seconds at most. A hook of the session itself may close it, too: it does not wait, for the session
        waits for the hook.

        Args:
            session: As ``open`` gave it: where it has ended meanwhile and the user has another, that one is left alone. Or the
                user's identifier, for the session that the user has now. Where there is none, nothing is to be done.
            for_all: Whether to close it for all who hold it.
        """
        entry = self._entries.get(session if isinstance(session, str) else session.user.id)
        if entry is None or not (isinstance(session, str) or entry.model is session):
            return
        await self._give_back(entry, for_all=for_all)

    async def _held(self, user: CtiUser, media: MediaPeers | None) -> Entry:
        while True:
            if self._tasks is None or self._is_closed:
                raise SessionClosedError("The hub is not open.", step="open", remedy="Open it with `async with`.")
            entry = self._entries.get(user.id)
            if entry is None:
                entry = self._begin(user, media)
            elif LIVING.get() is entry and (entry.closing.is_set() or not entry.decided.is_set()):
                raise NotAllowedNowError(
                    f"open {user.id!r}",
                    reason="the session is opening or closing, and waits for the hook that asks",
                    command="open",
                )
            elif entry.closing.is_set():
                await entry.gone.wait()
                continue
            elif user.parameters and dict(user.parameters) != dict(entry.user.parameters):
                # Whoever asks with another password must not get the line of the one who was first.
                raise NotAllowedNowError(
                    f"open {user.id!r}", reason="the session is open with other parameters of the user", command="open"
                )
            elif media is not None and media is not entry.media:
                # Whoever asks with a microphone of his own must not be told that he has the line.
                raise NotAllowedNowError(f"open {user.id!r}", reason="the session is open with other media", command="open")
            elif entry.holders >= self._budget.holders:
                raise NotAllowedNowError(
                    f"open {user.id!r}", reason=f"the session is held {entry.holders} times already", command="open"
                )
            entry.holders += 1
            return entry

    def _begin(self, user: CtiUser, media: MediaPeers | None) -> Entry:
        budget = self._budget
        if budget.sessions is not None and len(self._entries) >= budget.sessions:
            raise NotAllowedNowError(
                f"open {user.id!r}", reason=f"the hub has {len(self._entries)} sessions, as many as it may", command="open"
            )
        self._count_opening(user.id)
        entry = self._entries[user.id] = Entry(user, datetime.now(UTC), media)
        assert self._tasks is not None
        # In the hub's context: what a web request has bound to its log must not stay with the session for its life.
        self._context.copy().run(self._tasks.start_soon, self._live, entry)
        return entry

    def _count_opening(self, user_id: str) -> None:
        budget, now = self._budget, anyio.current_time()
        if budget.openings is None:
            return
        past = self._openings.pop(user_id, None)
        if past is None:
            past = deque(maxlen=budget.openings)
            while len(self._openings) >= _ATTEMPTS_REMEMBERED_FOR:
                del self._openings[next(iter(self._openings))]
        # Back at the end: those who were away longest are forgotten first.
        self._openings[user_id] = past
        if len(past) == budget.openings and now - past[0] < budget.openings_seconds:
            wait = budget.openings_seconds - (now - past[0])
            raise NotAllowedNowError(
                f"open {user_id!r}",
                reason=f"it was opened {budget.openings} times within {budget.openings_seconds:g} s; try again in {wait:.0f} s",
                command="open",
            )
        past.append(now)

    async def _give_back(self, entry: Entry, *, for_all: bool = False) -> None:
        entry.holders = 0 if for_all else entry.holders - 1
        if entry.holders > 0:
            return
        entry.end()
        if LIVING.get() is entry:
            # A hook of its own: nothing of the session can be gone before this has returned.
            return
        # Whoever leaves last has closed it, also when cancelled. Two sessions whose hooks close each other wait for each other.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await entry.gone.wait()
        if not entry.gone.is_set():
            self._log.warning("cti.hub.does_not_end", user=entry.user.id, seconds=_CLOSE_SECONDS)

    # ------------------------------------------------------------------ one session's life

    async def _live(self, entry: Entry) -> None:
        LIVING.set(entry)
        state, error = HubSessionState.CLOSED, None
        self._tell(entry)
        try:
            await self._open_and_wait(entry)
        except CtiError as raised:
            state, error = HubSessionState.FAILED, raised
        except BaseException as raised:
            # Whatever ends a session is named with its user and harms no other.
            fault = fault_of(raised)
            if fault is None:
                raise
            state, error = HubSessionState.FAILED, self._crashed(entry, fault)
        finally:
            entry.state, entry.error, entry.model = state, error, None
            entry.at = datetime.now(UTC)
            entry.closing.set()
            if self._entries.get(entry.user.id) is entry:
                del self._entries[entry.user.id]
            entry.decided.set()
            entry.gone.set()
            self._tell(entry)

    async def _open_and_wait(self, entry: Entry) -> None:
        assert self._chains is not None
        model: CtiModel | None = None
        with entry.opening:
            # A directory or a log in of the host's is not stormed either.
            async with self._chains.one():
                model = await self._initializer.create(
                    entry.user,
                    wait_for_service=False,
                    media=entry.media,
                    admission=self._gates.admission,
                    shared=self._shared,
                    event_log_capacity=self._budget.event_log_capacity,
                    commands_in_flight=self._budget.commands_in_flight,
                )
        if model is None or entry.closing.is_set():
            return
        async with model:
            entry.model, entry.state, entry.at = model, HubSessionState.OPEN, datetime.now(UTC)
            self._tell(entry)
            entry.decided.set()
            await entry.closing.wait()

    def _crashed(self, entry: Entry, error: BaseException) -> CtiError:
        self._log.error("cti.hub.session_crashed", user=entry.user.id, stack=traceback_text(error))
        crashed = CtiError(
            f"The session of user {entry.user.id!r} ended with {type(error).__name__}: a fault.",
            retryable=True,
            remedy="Open it again; the log has the traceback.",
        )
        crashed.__cause__ = error
        return crashed

    def _tell(self, entry: Entry) -> None:
        if self._on_change is None:
            return
        try:
            # In the hub's context: what a host begins here is no part of the session.
            self._context.copy().run(self._on_change, entry.seen())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a host's callback is named and harms no session
            self._log.error("cti.hub.on_change_raised", user=entry.user.id, stack=traceback_text(error))


async def _wait_for_service(model: CtiModel) -> None:
    if model.is_kept_connected:
        await model.connect()
    elif model.provider_state is ProviderState.FAILED:
        told = model.provider_state_event
        assert told is not None
        assert told.error is not None
        raise told.error
