"""The engine's protocol: frames in, callbacks out; commands in, frames out (facts: webitel-protocol 1, 2, 4).

Theory of operation
-------------------

There is no I/O here, no clock and no waiting. Who has the socket hands over what it received and when, and sends what `request`
gave::

    exec_uuid, text = protocol.request("hold", {"channel-uuid": leg})    # send text
    for output in protocol.receive(data, now): ...                       # a Reply, a Callback, a BadFrame
    for output in protocol.tick(now): ...                                # due at protocol.next_deadline

A frame is one JSON object. With a ``webitel-event-name`` it is an event, else the answer to a command::

    event   call                 -> `calls`: the legs and calls
            user, ACCOUNT_STATUS,
            USER_CREATE/DESTROY  -> `accounts`: the accounts of the domain
            DOMAIN_CREATE/DESTROY-> OnDomainChange
            server               -> OnServerEvent: what was subscribed to
            WEBITEL-CUSTOM       -> OnCustomMessage; OnVideoChangeWebRTCCall, if it is about a camera of a call
            account              -> OnAuthTimeout, before the engine cuts a line on which nobody was authorised
            any other            -> counted
    answer  of auth              -> OnConnect, or OnDisconnect and OnError
            of login             -> OnUserLogin
            of api account list  -> OnAddUser each, OnUserStatusChange of the own, OnReady
            of any other         -> OnError if it failed
            to nobody            -> counted; its Reply has no ``func``

Each answer gives its `Reply` first and the callbacks after it, as Webitel's library does. Answers and events have no order
between them: a call's events may come before the answer to the command that made it, or after it.

**A command failed** in several ways (facts: webitel-protocol 2): ``+ERR``, ``-ERR``, ``-ERR: bad response`` without a word, and
``+OK`` around a text that begins with ``-ERR``. `Reply.ok` knows them all; whether ``OnError`` comes follows the library, which
sees only ``exec-complete``.

**Connections.** `opened` begins one and `closed` ends it. Commands without an answer are dropped at the end, and so are the
accounts; calls and legs are kept, because they outlive a socket.

**Rubbish** never raises: what is no JSON object, or no event and no answer, becomes a `BadFrame`; values of the wrong type are
left out; all of it is counted (`EngineProtocol.counts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import uuid4

import attrs
import orjson
from typed_settings.types import Secret

from cti_framework.json_text import read_json
from cti_webitel.engine.accounts import Accounts
from cti_webitel.engine.callbacks import (
    CALL_ERROR,
    Callback,
    CallCallback,
    OnAuthTimeout,
    OnConnect,
    OnCustomMessage,
    OnDisconnect,
    OnDomainChange,
    OnError,
    OnReady,
    OnServerEvent,
    OnUserLogin,
    OnUserStatusChange,
    OnVideoChangeWebRTCCall,
    WebitelCall,
    WebitelUser,
)
from cti_webitel.engine.calls import CallTable
from cti_webitel.engine.reconcile import Sighting, reconcile, sight
from cti_webitel.engine.snapshot import LegDump, SeenLeg

__all__ = ["BadFrame", "Callback", "Counts", "EngineProtocol", "Output", "Reply", "Request"]

_ERROR_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"call": CALL_ERROR, "auth": "AUTH-ERROR", "api account_list": "AGENT-ERROR"}
)


@attrs.frozen
class Request:
    """A command that was sent and has no answer yet.

    Attributes:
        func: The command.
        args: Its arguments; empty for ``auth``, whose arguments are secret.
    """

    func: str
    args: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class Reply:
    """The engine's answer to a command.

    Attributes:
        exec_uuid: The command's identifier.
        func: The command; ``None`` if nobody asked, or nobody waits any more.
        ok: It did what it was asked.
        complete: ``exec-complete`` as it came.
        response: ``exec-response`` as it came; ``None`` if it was absent.
        error: What went wrong, for people; ``None`` if nothing did.
    """

    exec_uuid: str
    func: str | None
    ok: bool
    complete: str
    response: Any = None
    error: str | None = None


@attrs.frozen
class BadFrame:
    """A frame that means nothing.

    Attributes:
        reason: What is wrong with it; never what it holds, which may be secret.
        size_bytes: How long it is; 0 if it was decoded elsewhere.
    """

    reason: str
    size_bytes: int = 0


Output: TypeAlias = Reply | Callback | BadFrame


@attrs.frozen
class Counts:
    """What was received and meant nothing, since the protocol was made.

    Attributes:
        bad_frames: No JSON objects, or neither event nor answer.
        unclaimed_replies: Answers to nobody.
        unknown_events: Events of other kinds than those that are understood.
        foreign_call_frames: Call events of another account.
        malformed_call_frames: Call events with values of the wrong type, which were left out.
        unknown_call_frames: Call events that nothing could be made of.
        late_call_frames: Call events of a leg or a call that has ended, or that began twice.
    """

    bad_frames: int = 0
    unclaimed_replies: int = 0
    unknown_events: int = 0
    foreign_call_frames: int = 0
    malformed_call_frames: int = 0
    unknown_call_frames: int = 0
    late_call_frames: int = 0


_NOTHING: Final[tuple[Output, ...]] = ()


def _new_id() -> str:
    return str(uuid4())


class EngineProtocol:
    """One account's side of the engine's WebSocket.

    Args:
        account: ``number@domain``. Empty: it is learnt from ``auth`` and its answer, as in a capture.
        hold_grace_seconds: How long after a leg is held the switch can say that it was we who did it.
        new_id: Gives each command its identifier.
    """

    __slots__ = (
        "_accounts",
        "_bad_frames",
        "_calls",
        "_learns",
        "_new_id",
        "_pending",
        "_ready",
        "_unclaimed_replies",
        "_unknown_events",
    )

    def __init__(self, account: str = "", *, hold_grace_seconds: float = 1.0, new_id: Callable[[], str] = _new_id) -> None:
        self._calls = CallTable(account, hold_grace_seconds)
        self._accounts = Accounts(account)
        self._learns = not account
        self._new_id = new_id
        self._pending: dict[str, Request] = {}
        self._ready: OnReady | None = None
        self._bad_frames = 0
        self._unclaimed_replies = 0
        self._unknown_events = 0

    @property
    def account(self) -> str:
        """The account, ``number@domain``; empty while it is not known."""
        return self._accounts.account

    @property
    def pending(self) -> Mapping[str, Request]:
        """The commands that have no answer yet, by identifier."""
        return MappingProxyType(self._pending)

    @property
    def users(self) -> Mapping[str, WebitelUser]:
        """The accounts of the domain, by number."""
        return self._accounts.users

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due; ``None`` if nothing waits for time to pass."""
        return self._calls.next_deadline

    @property
    def counts(self) -> Counts:
        """What was received and meant nothing."""
        calls = self._calls.counts
        return Counts(
            bad_frames=self._bad_frames,
            unclaimed_replies=self._unclaimed_replies,
            unknown_events=self._unknown_events,
            foreign_call_frames=calls.foreign_frames,
            malformed_call_frames=calls.malformed_frames,
            unknown_call_frames=calls.unknown_frames,
            late_call_frames=calls.late_frames,
        )

    @property
    def own_user(self) -> WebitelUser | None:
        """The own account as the engine tells it; ``None`` before it is listed."""
        return self._accounts.own

    @property
    def own_statuses(self) -> int:
        """How often the own account's status was told."""
        return self._accounts.own_statuses

    @property
    def legs_begun(self) -> int:
        """How many own legs have become known so far."""
        return self._calls.legs_begun

    @property
    def leg_uuids(self) -> tuple[str, ...]:
        """The own legs that are known to be alive."""
        return tuple(self._calls.legs)

    @property
    def call_ids(self) -> frozenset[str]:
        """The identifiers of the calls that are open."""
        return self._calls.call_ids

    def call_of(self, leg_uuid: str) -> str | None:
        """Find the open call that an own leg belongs to.

        Args:
            leg_uuid: The leg.

        Returns:
            The call's identifier; ``None``: no open call has such a leg, as far as is known.
        """
        leg = self._calls.legs.get(leg_uuid)
        return None if leg is None else leg.call.uuid

    def call_told(self, leg_uuid: str) -> WebitelCall | None:
        """Tell the open call that an own leg belongs to.

        Args:
            leg_uuid: The leg.

        Returns:
            The call as it is now; ``None`` as for `call_of`.
        """
        return self._calls.told(leg_uuid) if leg_uuid in self._calls.legs else None

    def sight(self) -> Sighting:
        """Note what is known of legs, before the switch is asked for them.

        Returns:
            What ``reconcile`` takes.
        """
        return sight(self._calls)

    def reconcile(
        self, sighting: Sighting, dumps: Iterable[LegDump], gone: Iterable[str]
    ) -> tuple[tuple[SeenLeg, ...], tuple[CallCallback, ...]]:
        """Agree with what the switch answered. Frames that came in since it was asked are newer and win.

        Args:
            sighting: As ``sight`` gave it before the switch was asked.
            dumps: The legs that there are.
            gone: Known legs that the switch does not have.

        Returns:
            One leg for each call that there is, and the callbacks that the beginning of those not known would have raised.
        """
        return reconcile(self._calls, sighting, dumps, gone)

    def request(self, func: str, args: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """Make the frame of a command and remember that it will be answered.

        Args:
            func: The command.
            args: Its arguments; ``None`` leaves them out. A `Secret` is written as what it holds.

        Returns:
            The command's identifier and the frame. It is compact JSON: the engine masks a secret in its own log only where no
            space follows the colon (facts: webitel-protocol 7.19).

        Raises:
            TypeError: An argument is nothing that JSON can say.
        """
        exec_uuid = self._new_id()
        frame: dict[str, Any] = {"exec-uuid": exec_uuid, "exec-func": func}
        if args is not None:
            frame["exec-args"] = dict(args)
        text = orjson.dumps(frame, default=_revealed).decode()
        self._remember(exec_uuid, func, frame.get("exec-args"))
        return exec_uuid, text

    def record_sent(self, frame: Mapping[str, Any]) -> None:
        """Remember a command that another client sent, when a capture is read. Frames that are none are left alone.

        Args:
            frame: The client's frame.
        """
        exec_uuid, func, args = frame.get("exec-uuid"), frame.get("exec-func"), frame.get("exec-args")
        if isinstance(exec_uuid, str) and isinstance(func, str):
            self._remember(exec_uuid, func, args if isinstance(args, dict) else None)

    def forget(self, exec_uuid: str) -> None:
        """Wait no longer for the answer to a command: if it comes late, it is to nobody.

        Args:
            exec_uuid: The command's identifier; one that is not known is left alone.
        """
        self._pending.pop(exec_uuid, None)

    def opened(self) -> None:
        """Begin a connection. The engine says nothing until it is asked."""
        self._pending.clear()
        self._ready = None

    def closed(self, code: int, reason: str = "") -> Sequence[Output]:
        """End a connection. Calls and legs are kept, because they outlive it.

        Args:
            code: The close code; none carries a meaning at this engine.
            reason: The close reason.

        Returns:
            ``OnDisconnect``, and a removal for each account.
        """
        self._pending.clear()
        self._ready = None
        self._calls.lose_sight()
        return [OnDisconnect(code, reason), *self._accounts.clear()]

    def receive(self, data: bytes | bytearray | str, now: float = 0.0) -> Sequence[Output]:
        """Take a frame.

        Args:
            data: The frame as it came from the socket.
            now: Seconds, on any clock that does not go back.

        Returns:
            What it tells, in order. It never raises.
        """
        return self.receive_many((data,), now)

    def receive_many(self, batch: Iterable[bytes | bytearray | str], now: float = 0.0) -> Sequence[Output]:
        """Take frames that arrived together: as `receive` for each of them, for less.

        Args:
            batch: The frames as they came from the socket, in order.
            now: As for `receive`.

        Returns:
            What they tell, in order. It never raises.
        """
        loads, calls, receive = orjson.loads, self._calls, self.receive_decoded
        told: list[Output] = []
        for data in batch:
            try:
                frame = loads(data)
            except ValueError:
                try:
                    # Node writes half a character, in a caller's name say, as an escape that orjson refuses.
                    frame = read_json(data)
                except ValueError as error:
                    told += self._bad(f"It is no JSON: {error}.", data)
                    continue
            if type(frame) is not dict:
                told += self._bad(f"It is a JSON {type(frame).__name__}, not an object.", data)
            elif calls.next_deadline is None and frame.get("webitel-event-name") == "call":
                # As `receive_decoded`, spared a call: nearly all frames are of this kind.
                told += calls.receive(frame, now)
            else:
                told += receive(frame, now)
        return told

    def receive_decoded(self, frame: dict[str, Any], now: float = 0.0) -> Sequence[Output]:
        """Take a frame that is decoded already.

        Args:
            frame: The frame; it is not changed and not kept.
            now: Seconds, on the clock of `receive`.

        Returns:
            What it tells, in order. It never raises.
        """
        calls = self._calls
        if calls.next_deadline is not None and now >= calls.next_deadline:
            return [*calls.tick(now), *self._receive(frame, now)]
        if frame.get("webitel-event-name") == "call":
            return calls.receive(frame, now)
        return self._receive(frame, now)

    def tick(self, now: float) -> Sequence[Output]:
        """Tell what the passing of time makes certain.

        Args:
            now: Seconds, on the clock of `receive`.

        Returns:
            The holds of the far end that began or ended.
        """
        return self._calls.tick(now)

    def _receive(self, frame: dict[str, Any], now: float) -> Sequence[Output]:
        kind = frame.get("webitel-event-name")
        if not kind:
            return self._answer(frame)
        if kind == "call":
            return self._calls.receive(frame, now)
        event = frame.get("Event-Name")
        if event == "ACCOUNT_STATUS":
            return self._accounts.status(frame)
        if event == "ACCOUNT_ONLINE" or event == "ACCOUNT_OFFLINE":
            return self._accounts.online(frame)
        if event == "USER_CREATE":
            return self._accounts.created(frame)
        if event == "USER_DESTROY":
            return self._accounts.destroyed(frame)
        if event == "DOMAIN_CREATE" or event == "DOMAIN_DESTROY":
            return _domain_changed(event, frame)
        if kind == "server" and isinstance(event, str) and event:
            return (OnServerEvent(event, dict(frame)),)
        if kind == "WEBITEL-CUSTOM":
            return self._messaged(frame)
        if kind == "account" and event == "DISCONNECT":
            return (OnAuthTimeout(),)
        self._unknown_events += 1
        return _NOTHING

    def _messaged(self, frame: dict[str, Any]) -> Sequence[Callback]:
        body = frame.get("body")
        message = OnCustomMessage(_text_or_none(frame.get("from")) or "", _text_or_none(frame.get("to")) or "", body)
        if not isinstance(body, dict) or body.get("type") != "REMOTE-VIDEO-CHANGE":
            return (message,)
        far_leg = body.get("callID")
        found = self._calls.find_by_far(far_leg) if isinstance(far_leg, str) and far_leg else None
        if found is None:
            return (message,)
        call, leg_uuid = found
        trigger = _text_or_none(frame.get("Event-Name")) or "WEBITEL-CUSTOM-MESSAGE"
        return (message, OnVideoChangeWebRTCCall(call, trigger, leg_uuid, bool(body.get("enabled"))))

    def _answer(self, frame: dict[str, Any]) -> Sequence[Output]:
        exec_uuid = frame.get("exec-uuid")
        if not isinstance(exec_uuid, str) or "exec-complete" not in frame:
            self._bad_frames += 1
            return (BadFrame("It is neither an event nor an answer."),)
        request = self._pending.pop(exec_uuid, None)
        complete, response = frame["exec-complete"], frame.get("exec-response")
        said = complete if isinstance(complete, str) else ""
        error = _error_of(said, response)
        reply = Reply(exec_uuid, None if request is None else request.func, error is None, said, response, error)
        if request is None:
            self._unclaimed_replies += 1
            return (reply,)
        return (reply, *self._told_by(request.func, said == "+OK", reply))

    def _told_by(self, func: str, succeeded: bool, reply: Reply) -> Sequence[Callback]:
        response = reply.response
        told: list[Callback] = []
        if func == "auth":
            if succeeded:
                told.append(self._connected(response))
            else:
                told.append(OnDisconnect(refusal=reply.complete if response is None else response))
        elif func == "login":
            told.append(OnUserLogin(reply.ok))
        elif func == "api account list" and succeeded:
            told += self._listed(response)
        if not succeeded:
            told.append(OnError(func, _ERROR_TYPES.get(func), response))
        return told

    def _connected(self, response: Any) -> OnConnect:
        row: Mapping[str, Any] = response if isinstance(response, dict) else {}
        login = row.get("login")
        if self._learns and isinstance(login, str) and login != self.account:
            self._learn_account(login)
        agent = row.get("cc-agent")
        sockets = row.get("ws-count")
        fields: dict[str, Any] = {
            "login": login if isinstance(login, str) else self.account,
            "role": _text_or_none(row.get("role")),
            "domain": _text_or_none(row.get("domain")),
            "socket_count": sockets if type(sockets) is int else None,
            "agent": agent in ("true", True),
            "state": _text_or_none(row.get("state")) or "",
            "away": _text_or_none(row.get("status")) or "",
            "session": _text_or_none(row.get("session")) or "",
            "cc_logged": row.get("cc-logged") is True,
            "agent_told": bool(agent),
        }
        self._ready = OnReady(**fields)
        return OnConnect(**fields)

    def _listed(self, response: Any) -> Sequence[Callback]:
        told = self._accounts.load(response)
        if told is None:
            return _NO_CALLBACKS
        ready, self._ready = self._ready, None
        if ready is None:
            return told
        own = self._accounts.own
        return [*told, *(() if own is None else (OnUserStatusChange(own),)), ready]

    def _remember(self, exec_uuid: str, func: str, args: Mapping[str, Any] | None) -> None:
        if func == "auth":
            account = (args or {}).get("account")
            if self._learns and not self.account and isinstance(account, str):
                self._learn_account(account)
            args = None
        self._pending[exec_uuid] = Request(func, args or {})

    def _learn_account(self, account: str) -> None:
        self._accounts.account = account
        self._calls.account = account

    def _bad(self, reason: str, data: bytes | bytearray | str) -> Sequence[Output]:
        self._bad_frames += 1
        return (BadFrame(reason, len(data)),)


_NO_CALLBACKS: Final[tuple[Callback, ...]] = ()


def _domain_changed(event: str, frame: Mapping[str, Any]) -> Sequence[Callback]:
    domain = _text_or_none(frame.get("Domain-Name")) or _text_or_none(frame.get("Event-Domain")) or ""
    return (OnDomainChange(domain, event == "DOMAIN_CREATE"),)


def _error_of(complete: str, response: Any) -> str | None:
    """Find what went wrong, in any of the forms in which the engine says it (facts: webitel-protocol 1.1, 2)."""
    if complete == "+OK":
        hidden = isinstance(response, str) and response.startswith(("-ERR", "-USAGE"))
        return _without_marker(response) if hidden else None
    if isinstance(response, dict):
        login = response.get("login")
        message = login.get("message") if isinstance(login, dict) else response.get("message")
        if isinstance(message, str) and message.strip():
            return _without_marker(message)
    if isinstance(response, str) and response.strip():
        return _without_marker(response)
    return f"no reason given ({complete})" if complete else "no reason given"


def _without_marker(text: str) -> str:
    shorter = text.strip()
    for marker in ("-ERR:", "-ERR", "+ERR"):
        if shorter.startswith(marker):
            return shorter.removeprefix(marker).strip() or shorter
    return shorter


def _revealed(value: object) -> object:
    if isinstance(value, Secret):
        return value.get_secret_value()
    raise TypeError(f"A {type(value).__name__} is nothing that JSON can say.")


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
