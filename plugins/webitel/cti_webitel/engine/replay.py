"""A capture, read by the protocol.

A capture is a file of lines, one frame a line::

    {"t": 28, "dir": "open", "frame": "ws://pbx.example:10022"}
    {"t": 29, "dir": "c2s", "frame": {"exec-uuid": "…", "exec-func": "auth", "exec-args": {…}}}
    {"t": 35, "dir": "s2c", "frame": {"exec-uuid": "…", "exec-complete": "+OK", "exec-response": {…}}}
    {"t": 1066, "dir": "close", "frame": {"code": 1005, "reason": ""}}

``t`` is milliseconds since the capture began. The client's frames are the record of what was asked; calls outlive a socket. Where
a capture holds several clients, ``conn`` names whose frame it is: each has a protocol of its own.

`replay_frames` tells what the protocol makes of it. `replay_steps` tells the rest, too: connections that begin and end, what was
asked, and what a look at the switch found (`Webitel.look`), so that a whole session can be gone through again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import orjson

from cti_framework.errors import CommandError, InvalidArgumentError, ProtocolError
from cti_framework.json_text import read_json
from cti_webitel.engine.answers import read_object, read_rows
from cti_webitel.engine.arguments import check_uuid
from cti_webitel.engine.callbacks import CallCallback
from cti_webitel.engine.headers import OTHER_LEG, PRESENCE
from cti_webitel.engine.protocol import EngineProtocol, Output, Reply
from cti_webitel.engine.reconcile import Sighting
from cti_webitel.engine.snapshot import LegDump, SeenLeg, is_leg_of, read_dump

__all__ = ["Asked", "Began", "Ended", "Looked", "LooksNow", "Step", "replay_frames", "replay_steps"]

_REMEDY: Final = "Give a capture: one JSON object a line, with t, dir (open, c2s, s2c or close) and frame."
_NO_STATUS: Final = 1005
_MOST_MILLISECONDS: Final = 1e13
"""Three hundred years: also where a capture counts from 1970, its times are in a calendar."""


@attrs.frozen
class Began:
    """A connection began."""


@attrs.frozen
class Ended:
    """A connection ended."""


@attrs.frozen
class Asked:
    """The client sent a command.

    Attributes:
        exec_uuid: Its identifier.
        func: The command.
        args: Its arguments.
        call_id: The call that it is about, where it names one of the own legs.
        far_of: The call whose far end it is about, where it names that.
        consult_id: The other call, where it joins two.
    """

    exec_uuid: str
    func: str
    args: Mapping[str, Any]
    call_id: str | None = None
    far_of: str | None = None
    consult_id: str | None = None


@attrs.frozen
class LooksNow:
    """The client begins a look: what it finds was so at this time.

    Attributes:
        first: It is the first since the connection began.
    """

    first: bool


@attrs.frozen
class Looked:
    """A look is over, and the protocol agrees with it.

    Attributes:
        seen: One leg for each call that there is.
        begun: What the beginning of those not known would have raised.
        gone: The calls that were known and that the switch does not have any more.
        first: It was the first since the connection began.
    """

    seen: tuple[SeenLeg, ...]
    begun: tuple[CallCallback, ...]
    gone: frozenset[str]
    first: bool


Step: TypeAlias = Output | Began | Ended | Asked | LooksNow | Looked


def replay_frames(lines: Iterable[str]) -> Iterator[tuple[float, Output]]:
    """Feed a capture to the protocol.

    Args:
        lines: The lines of the capture; empty ones are skipped.

    Yields:
        Seconds since the capture began, and what the protocol told then.

    Raises:
        ProtocolError: A line is none of a capture; the message names it.
    """
    for now, _, step in replay_steps(lines):
        if not isinstance(step, Began | Ended | Asked | LooksNow | Looked):
            yield now, step


def replay_steps(lines: Iterable[str]) -> Iterator[tuple[float, EngineProtocol, Step]]:
    """Go through a capture as the client went through it.

    Args:
        lines: As for `replay_frames`.

    Yields:
        Seconds since the capture began, the protocol of whose connection it is, and what happened.

    Raises:
        ProtocolError: As `replay_frames`.
    """
    clients: dict[str | int | None, _Client] = {}
    now = 0.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        milliseconds, name, direction, frame = _read(line, number)
        then = max(now, milliseconds / 1000)
        yield from _let_pass(clients.values(), then)
        now = then
        client = clients.get(name)
        if client is None:
            client = clients[name] = _Client()
        for step in client.feed(direction, frame, now, number):
            yield now, client.protocol, step


def _let_pass(clients: Collection[_Client], then: float) -> Iterator[tuple[float, EngineProtocol, Step]]:
    """Tell what the passing of time makes certain, in the order in which it does."""
    while due := [client.protocol for client in clients if _deadline_of(client.protocol) <= then]:
        protocol = min(due, key=_deadline_of)
        deadline = _deadline_of(protocol)
        for output in protocol.tick(deadline):
            yield deadline, protocol, output


def _deadline_of(protocol: EngineProtocol) -> float:
    return float("inf") if protocol.next_deadline is None else protocol.next_deadline


class _Client:
    """One client of a capture."""

    def __init__(self) -> None:
        self.protocol = EngineProtocol()
        self._look: _Look | None = None
        self._looks = 0
        self._sees_all = True
        self._dumps: dict[str, str] = {}
        self._own_of: dict[str, str] = {}

    def feed(self, direction: str, frame: Any, now: float, number: int) -> Iterator[Step]:
        if direction == "open" and isinstance(frame, str):
            self._look, self._looks, self._sees_all = None, 0, True
            self._dumps.clear()
            yield Began()
        elif direction == "close":
            yield Ended()
        asked = direction == "c2s" and isinstance(frame, dict)
        if asked:
            yield from self._asked(frame)
        for output in _feed(self.protocol, direction, frame, now, number):
            yield output
            if isinstance(output, Reply):
                yield from self._answered(output)

    def _asked(self, frame: Mapping[str, Any]) -> Iterator[Step]:
        exec_uuid, func, args = frame.get("exec-uuid"), frame.get("exec-func"), frame.get("exec-args")
        if not isinstance(exec_uuid, str) or not isinstance(func, str):
            return
        args = args if isinstance(args, dict) else {}
        if func == "show_channel":
            first = self._looks == 0
            # As the provider does it: what the second look in a row misses it waits for, and what the third does is gone.
            self._look = _Look(exec_uuid, self.protocol, forget_gone=first or not self._sees_all, first=first)
            yield LooksNow(first)
        elif func == "channel_dump" and isinstance(args.get("uuid"), str):
            self._dumps[exec_uuid] = args["uuid"]
        own = args.get("channel-uuid-leg-a", args.get("channel-uuid"))
        far_own = self._own_of.get(str(args.get("channel-uuid")))
        consult = args.get("channel-uuid-leg-d", args.get("channel-uuid-leg-c"))
        yield Asked(
            exec_uuid,
            func,
            args,
            call_id=self._call_of(own),
            far_of=self._call_of(far_own),
            consult_id=self._call_of(consult),
        )

    def _answered(self, reply: Reply) -> Iterator[Step]:
        leg = self._dumps.pop(reply.exec_uuid, None)
        dump = None if leg is None else _dump_of(reply)
        if leg is not None and dump is not None:
            far = dump.headers.get("variable_signal_bond") or dump.headers.get(OTHER_LEG)
            if far:
                self._own_of[far] = leg
        look = self._look
        if look is not None and look.answered(reply, leg, dump):
            self._look = None
            self._looks += 1
            looked = look.over()
            if looked is not None:
                self._sees_all = self.protocol.call_ids <= {leg.call.uuid for leg in looked.seen}
                yield looked

    def _call_of(self, leg: object) -> str | None:
        return next((call_id for call_id, legs in self.protocol.sight().calls.items() if leg in legs), None)


class _Look:
    """A look at the switch, as `Webitel.look` takes it: the list of legs, then the dump of each."""

    def __init__(self, exec_uuid: str, protocol: EngineProtocol, *, forget_gone: bool, first: bool) -> None:
        self._exec_uuid = exec_uuid
        self._protocol = protocol
        self._sighting: Sighting = protocol.sight()
        self._known = protocol.call_ids
        self._forgets_gone = forget_gone
        self._first = first
        self._waits_for: set[str] | None = None
        self._dumps: list[LegDump] = []
        self._gone: list[str] = []
        self._failed = False

    def answered(self, reply: Reply, leg: str | None, dump: LegDump | None) -> bool:
        """Take an answer; tell whether it was the last."""
        if self._waits_for is None:
            if reply.exec_uuid != self._exec_uuid:
                return False
            self._waits_for = set()
            try:
                rows = read_rows("show_channel", read_object("show_channel", reply.response).get("rows", []))
            except CommandError:
                self._failed = True
                return True
            own = [row["uuid"] for row in rows if is_leg_of(row, self._protocol.account)]
            for uuid in (*own, *self._protocol.leg_uuids):
                if _is_uuid(uuid):
                    self._waits_for.add(uuid)
                else:
                    self._gone.append(uuid)
        elif leg in self._waits_for:
            self._waits_for.discard(leg)
            if dump is None:
                self._gone.append(leg)
            elif dump.headers.get(PRESENCE) == self._protocol.account:
                self._dumps.append(dump)
        return not self._waits_for

    def over(self) -> Looked | None:
        """Agree with what was found; nothing if the list could not be read."""
        if self._failed:
            return None
        gone = self._gone if self._forgets_gone else ()
        seen, begun = self._protocol.reconcile(self._sighting, self._dumps, gone)
        return Looked(seen, begun, self._known - self._protocol.call_ids, self._first)


def _dump_of(reply: Reply) -> LegDump | None:
    if not reply.ok:
        return None
    try:
        return read_dump(read_object("channel_dump", reply.response))
    except CommandError:
        return None


def _is_uuid(text: str) -> bool:
    try:
        check_uuid(text)
    except InvalidArgumentError:
        return False
    return True


def _feed(protocol: EngineProtocol, direction: str, frame: Any, now: float, number: int) -> Sequence[Output]:
    if direction == "s2c":
        # What was no JSON object on the wire stands in a capture as a text.
        if isinstance(frame, dict):
            return protocol.receive_decoded(frame, now)
        return protocol.receive(frame if isinstance(frame, str) else orjson.dumps(frame), now)
    if direction == "c2s":
        if isinstance(frame, dict):
            protocol.record_sent(frame)
        return ()
    if direction == "open" and isinstance(frame, str):
        protocol.opened()
        return ()
    if direction == "close" and (frame is None or isinstance(frame, dict)):
        code, reason = (frame or {}).get("code"), (frame or {}).get("reason")
        return protocol.closed(code if type(code) is int else _NO_STATUS, reason if isinstance(reason, str) else "")
    raise _rubbish(number, f"dir is {direction!r} and frame is a {type(frame).__name__}")


def _read(line: str, number: int) -> tuple[float, str | int | None, str, Any]:
    try:
        entry = read_json(line)
    except ValueError:
        raise _rubbish(number, "it is no JSON") from None
    if not isinstance(entry, dict):
        raise _rubbish(number, "it is no JSON object")
    milliseconds, direction = entry.get("t"), entry.get("dir")
    if not isinstance(milliseconds, (int, float)) or isinstance(milliseconds, bool):
        raise _rubbish(number, "t is no number")
    if not abs(milliseconds) <= _MOST_MILLISECONDS:
        raise _rubbish(number, "t is no time that a session can last")
    if not isinstance(direction, str) or "frame" not in entry:
        raise _rubbish(number, "dir or frame is missing")
    client = entry.get("conn")
    if client is not None and type(client) not in (str, int):
        raise _rubbish(number, "conn is no name")
    return float(milliseconds), client, direction, entry["frame"]


def _rubbish(number: int, why: str) -> ProtocolError:
    return ProtocolError(f"Line {number} is none of a capture: {why}.", step="replay", retryable=False, remedy=_REMEDY)
