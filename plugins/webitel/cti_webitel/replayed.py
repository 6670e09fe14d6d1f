"""A captured session, gone through again: what the provider reported of it, without a connection.

The frames of the engine go through protocol and translator as they did. What the provider knew beside them is read from the
commands that it sent: that a call was hung up, or sent on, by us; and what a look at the switch found.

Frames of the web phone's signalling go through its own protocol, which says what Webitel's library calls back for its dialogs.
What the provider made of both together depends on times that no capture has, and is not told again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cti_framework.clock import SessionClock
from cti_framework.json_text import read_json
from cti_framework.provider import ReplayLine
from cti_framework.reports import Allowed, Report, Snapshot
from cti_webitel.agents import agent_of
from cti_webitel.engine.callbacks import NO_PAYLOAD, Callback, OnConnect, OnNewCall, OnReady
from cti_webitel.engine.headers import ORIGINATE_NUMBER
from cti_webitel.engine.protocol import EngineProtocol, Reply
from cti_webitel.engine.replay import Asked, Began, Ended, Looked, LooksNow, Step, replay_steps
from cti_webitel.looks import LISTENING_FEATURES, FoundCalls
from cti_webitel.started import started
from cti_webitel.translator import Translator

if TYPE_CHECKING:
    from cti_webitel.web_phone.replayed import VertoReplay

__all__ = ["replay_session"]

_OF_LOG_IN: Final = frozenset({"auth", "login", "api account list"})
_LOG_IN_SECONDS: Final = 15.0
_PHONE: Final = "verto"
"""What the provider calls the web phone's connection in its captures."""


def replay_session(lines: Iterable[str]) -> Iterator[ReplayLine]:
    """Go through a capture of the engine's WebSocket, of the web phone's, or of both.

    Args:
        lines: The lines of a capture.

    Yields:
        Each callback, as Webitel's own library names it, and what the provider reports of it; and what the core did then.

    Raises:
        ProtocolError: A line is none of a capture.
    """
    session, sieve = _Session(), _Sieve(lines)
    protocol = None
    for session.now, protocol, step in replay_steps(sieve.of_engine()):
        yield from sieve.take()
        yield from session.lines(protocol, step)
    if protocol is not None:
        yield from session.logged_in(protocol)
    yield from sieve.take()


class _Sieve:
    """Parts the lines of a capture: those of the engine go on, those of the web phone are understood here.

    What a connection is shows by its first frame, so its opening waits for that.

    Args:
        lines: The lines of a capture.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._opened: dict[object, str] = {}
        self._of_phone: set[object] = set()
        self._told: list[ReplayLine] = []
        self._replay: VertoReplay | None = None

    def of_engine(self) -> Iterator[str]:
        """Give the engine's lines; an empty one for each that is none, so that they keep their numbers."""
        for line in self._lines:
            entry = _read(line)
            client, direction = entry.get("conn"), entry.get("dir")
            if client == _PHONE or (isinstance(entry.get("frame"), dict) and "jsonrpc" in entry["frame"]):
                self._of_phone.add(client)
            if client in self._of_phone:
                if self._opened.pop(client, None) is not None:
                    yield ""
                self._understand(client, str(direction), entry)
                yield ""
            elif direction == "open":
                if client in self._opened:
                    yield self._opened[client]
                self._opened[client] = line
            else:
                opened = self._opened.pop(client, None)
                if opened is not None:
                    yield opened
                yield line
        yield from self._opened.values()

    def take(self) -> list[ReplayLine]:
        """Take what the web phone's lines have told since."""
        told, self._told = self._told, []
        return told

    def _understand(self, client: object, direction: str, entry: Mapping[str, Any]) -> None:
        if self._replay is None:
            # The signalling is loaded for captures that hold some.
            from cti_webitel.web_phone.replayed import VertoReplay

            self._replay = VertoReplay()
        milliseconds = entry.get("t")
        at_seconds = milliseconds / 1000 if isinstance(milliseconds, (int, float)) else 0.0
        self._told += self._replay.feed(client, direction, entry.get("frame"), at_seconds)


def _read(line: str) -> dict[str, Any]:
    try:
        entry = read_json(line) if line.strip() else None
    except ValueError:
        # Whoever takes it says what is wrong with it.
        entry = None
    return entry if isinstance(entry, dict) else {}


class _Session:
    """What the provider knew, as far as a capture tells.

    Attributes:
        now: Seconds since the capture began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._clock = SessionClock(monotonic=lambda: self.now)
        self._translator = Translator("", self._clock)
        self._found = FoundCalls(self._clock, self._translator)
        # Started is the first report of a connection; the engine tells of calls and accounts before it is ready.
        self._early: list[Report] | None = None
        self._connected_at = 0.0
        self._asked: dict[str, Asked] = {}
        self._to_hear: set[str] = set()
        self._not_seen: frozenset[str] = frozenset()

    def lines(self, protocol: EngineProtocol, step: Step) -> Iterator[ReplayLine]:
        """Tell what one step leads to."""
        over = isinstance(step, Asked) and step.func not in _OF_LOG_IN
        if over or self.now - self._connected_at > _LOG_IN_SECONDS:
            # A ring of frames can lack the end of the log in.
            yield from self.logged_in(protocol)
        match step:
            case Began():
                self._clock.forget()
                self._early = None
                self._asked.clear()
                self._to_hear.clear()
            case Ended():
                self._early = None
                yield ReplayLine(self.now, None, text="connection over", disconnected=True)
            case Asked():
                self._note(step)
            case Reply():
                self._note_answer(step)
            case LooksNow():
                if step.first:
                    yield ReplayLine(self.now, None, text="asks for the calls", asks_snapshot=True)
            case Looked():
                yield from self._looked(protocol, step)
            case Callback():
                yield from self._callback(protocol, step)

    def _callback(self, protocol: EngineProtocol, callback: Callback) -> Iterator[ReplayLine]:
        if type(callback) is OnConnect:
            self._early, self._connected_at = [], self.now
        reports: tuple[Report, ...] = self._translator.translate(callback)
        if type(callback) is OnNewCall:
            reports += self._listens(callback)
        if self._early is not None:
            self._early += reports
            reports = ()
        payload = callback.payload()
        yield ReplayLine(
            at_seconds=self.now,
            callback=None if callback.ours else callback.name,
            payload=None if payload is NO_PAYLOAD else payload,
            has_payload=payload is not NO_PAYLOAD,
            reports=reports,
            text=callback.name,
        )
        if type(callback) is OnReady:
            yield from self.logged_in(protocol)

    def logged_in(self, protocol: EngineProtocol) -> Iterator[ReplayLine]:
        """Say that the log in is over, if it was not."""
        early, self._early = self._early, None
        if early is None:
            return
        said = started(self._clock, protocol.account, protocol.own_user, in_call=bool(protocol.call_ids))
        yield ReplayLine(self.now, None, reports=(said, *early), text="ready")

    def _looked(self, protocol: EngineProtocol, looked: Looked) -> Iterator[ReplayLine]:
        self._found.agree_with(looked.seen, known=protocol.call_ids)
        calls = tuple(map(self._found.call, looked.seen))
        if looked.first:
            # Of those that are gone it says so by being complete, but of young ones: they are over when the next lacks them, too.
            self._not_seen = frozenset(looked.gone)
        else:
            seen = {call.call_id for call in calls}
            calls += tuple(map(FoundCalls.gone, sorted((self._not_seen | set(looked.gone)) - seen)))
            self._not_seen = frozenset()
        if calls or looked.first:
            own = protocol.own_user
            agent = None if own is None else agent_of(own, in_call=bool(protocol.call_ids))
            snapshot = Snapshot(at=self._clock.now(), calls=calls, agent=agent, complete=looked.first)
            yield ReplayLine(self.now, None, reports=(snapshot,), text="looked")

    # ------------------------------------------------------------------ what was asked

    def _note(self, asked: Asked) -> None:
        note = _NOTES.get(asked.func)
        if note is not None:
            self._asked[asked.exec_uuid] = asked
            note(self, asked)

    def _note_answer(self, reply: Reply) -> None:
        asked = self._asked.pop(reply.exec_uuid, None)
        if asked is None or asked.func not in ("transfer", "att_xfer_bridge"):
            return
        if reply.ok:
            # Only now it is certain; the ends may take as long again.
            _NOTES[asked.func](self, asked)
        else:
            for call_id in (asked.far_of, asked.call_id, asked.consult_id):
                self._translator.not_transferring(call_id or "")

    def _hangs_up(self, asked: Asked) -> None:
        # With a cause it is one that is turned away, not one that the operator hangs up.
        if asked.call_id is not None and "cause" not in asked.args:
            self._translator.dropping(asked.call_id)

    def _cancels(self, asked: Asked) -> None:
        self._translator.dropping(asked.consult_id or "")

    def _sends_on(self, asked: Asked) -> None:
        self._translator.transferring(asked.far_of or "", str(asked.args.get("destination", "")))

    def _joins(self, asked: Asked) -> None:
        consult_id = asked.consult_id or ""
        self._translator.transferring(asked.call_id or "", self._translator.number_of(consult_id))
        self._translator.transferring(consult_id, "")

    def _hears(self, asked: Asked) -> None:
        name = ORIGINATE_NUMBER.removeprefix("variable_")
        variables = asked.args.get("variables")
        for variable in variables if isinstance(variables, list) else ():
            if isinstance(variable, str) and variable.startswith(f"{name}="):
                self._to_hear.add(variable.removeprefix(f"{name}="))

    def _listens(self, callback: OnNewCall) -> tuple[Report, ...]:
        number = callback.call.headers.get(ORIGINATE_NUMBER)
        if number not in self._to_hear:
            return ()
        self._to_hear.discard(number)
        self._translator.listening(callback.call.uuid)
        return (Allowed(at=self._clock.now(), call_id=callback.call.uuid, features=LISTENING_FEATURES),)


_NOTES: Final[Mapping[str, Callable[[_Session, Asked], None]]] = MappingProxyType(
    {
        "hangup": _Session._hangs_up,
        "att_xfer_cancel": _Session._cancels,
        "transfer": _Session._sends_on,
        "att_xfer_bridge": _Session._joins,
        "eavesdrop": _Session._hears,
    }
)
"""What a command lets the provider know."""
