"""Who hears whom. The legs of the switch say so, at each of its events; phones without media say a tone, and hear as well."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeAlias

from cti_framework.media import FRAME_SECONDS, SILENCE, AudioSink, AudioSource
from cti_framework.switchboard import Leg, Switchboard, SwitchEvent
from cti_webitel.simulator.verto.voices import (
    MUSIC_HZ,
    RING_HZ,
    TEST_TONE_HZ,
    default_voice_hz,
    dominant_hz,
    mixed,
    tone_frame,
)

__all__ = ["ECHO", "MUSIC", "TEST_TONE", "Line", "Room"]

ECHO: Final = "echo"
TEST_TONE: Final = "tone"
MUSIC: Final = "music"

_MEASURED_SECONDS: Final = 0.5
_FRESH_SECONDS: Final = 0.25
_RING_CYCLE: Final = 250
_RING_FRAMES: Final = 50
_KEPT_FRAMES: Final = 6
_FIRST_FRAMES: Final = 2


class _Kind(Enum):
    TONE = "tone"
    RING = "ring"
    LINE = "line"


_Said: TypeAlias = tuple[_Kind, object]
"""One thing that is heard: a tone of so many hertz, the ring tone, or what comes on a line."""


class _Relayed:
    """What came on another line and is yet to be said on this one. It waits a little before it begins, so that it can go on."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=_KEPT_FRAMES)
        self._flows = False

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._flows = self._flows or len(self._frames) >= _FIRST_FRAMES

    def next(self) -> bytes:
        if not self._flows:
            return SILENCE
        frame = self._frames.popleft()
        self._flows = bool(self._frames)
        return frame


class Line(AudioSource, AudioSink):
    """The sound of one web phone's leg: what is said to it, and what it says.

    Args:
        room: Where it is heard.
        leg_uuid: Whose.

    Attributes:
        leg_uuid: As given; another one once the switch has renamed the leg.
        is_there: Whether anybody is at its end.
    """

    def __init__(self, room: Room, leg_uuid: str) -> None:
        self.leg_uuid = leg_uuid
        self.is_there = True
        self._room = room
        self._count = 0
        self._heard: dict[_Said, _Relayed] = {}

    def follow(self, said: tuple[_Said, ...]) -> None:
        """Hear that, and nothing else any more.

        Args:
            said: What.
        """
        if tuple(self._heard) != said:
            self._heard = {one: self._heard.get(one) or _Relayed() for one in said}

    def hears(self, line: Line) -> _Relayed | None:
        """Tell where what comes on a line is put, for this one to hear.

        Args:
            line: Which.

        Returns:
            There; ``None``: it is not heard here.
        """
        return self._heard.get((_Kind.LINE, line))

    async def read(self) -> bytes | None:
        """Give what is said to the phone.

        Returns:
            20 ms of it.
        """
        self._count += 1
        return mixed([self._next(said, relayed) for said, relayed in self._heard.items()])

    async def write(self, frame: bytes, *, missing: int = 0) -> None:
        """Take what the phone says.

        Args:
            frame: 20 ms of it.
            missing: How many were lost before.
        """
        self._room.said(self, frame)

    async def close(self) -> None:
        """The media is over."""
        self.is_there = False

    def _next(self, said: _Said, relayed: _Relayed) -> bytes:
        kind, what = said
        if kind is _Kind.LINE:
            return relayed.next()
        if kind is _Kind.RING:
            return tone_frame(RING_HZ, self._count) if self._count % _RING_CYCLE < _RING_FRAMES else SILENCE
        assert isinstance(what, int)
        return tone_frame(what, self._count)


class Room:
    """All sound of the switch.

    Args:
        switchboard: The switch.
        clock: Monotonic seconds.
    """

    def __init__(self, switchboard: Switchboard, clock: Callable[[], float]) -> None:
        self._switchboard = switchboard
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self._voices: dict[str, int] = {}
        # What phones without media heard lately of lines: their leg's uuid to frames, with when they came.
        self._ears: dict[str, deque[tuple[float, bytes]]] = {}
        self._unsubscribe = switchboard.subscribe(self._on_event)

    def close(self) -> None:
        """Listen to the switch no longer."""
        self._unsubscribe()

    def open_line(self, leg_uuid: str) -> Line:
        """A web phone's leg has media from now on.

        Args:
            leg_uuid: Which.

        Returns:
            Its line.
        """
        line = self._lines[leg_uuid] = Line(self, leg_uuid)
        self.look()
        return line

    def close_line(self, line: Line) -> None:
        """A web phone's leg is over.

        Args:
            line: Its line.
        """
        if self._lines.get(line.leg_uuid) is line:
            del self._lines[line.leg_uuid]
        self.look()

    def set_voice(self, number: str, hertz: int) -> None:
        """Let a number that has no web phone speak with another tone.

        Args:
            number: Which.
            hertz: A whole number of hertz.

        Raises:
            ValueError: That is no tone that a telephone carries.
        """
        if not 100 <= hertz <= 3_400 or int(hertz) != hertz:
            raise ValueError(f"a voice has a whole number of hertz from 100 to 3400, not {hertz!r}")
        self._voices[number] = hertz
        self.look()

    def voice_of(self, number: str) -> int:
        """Tell the tone that a number speaks with.

        Args:
            number: Which.

        Returns:
            Hertz.
        """
        return self._voices.get(number) or default_voice_hz(number)

    def heard_at(self, number: str) -> float | None:
        """Measure what a number without a web phone has heard in the last half second.

        Args:
            number: Which.

        Returns:
            The loudest frequency in hertz; ``None``: it hears nothing, or has no call.
        """
        legs = [leg for leg in self._switchboard.legs_at(number) if leg.uuid not in self._lines]
        if not legs:
            return None
        leg = next((leg for leg in reversed(legs) if leg.answered), legs[-1])
        said = self._heard_by(leg)
        tones = [what for _, what in said if isinstance(what, int)]
        if tones:
            return float(tones[0])
        if not said:
            return None
        now = self._clock()
        ear = [(at, frame) for at, frame in self._ears.get(leg.uuid, ()) if now - at <= _MEASURED_SECONDS]
        if not ear or now - ear[-1][0] > _FRESH_SECONDS:
            return None
        return dominant_hz(b"".join(frame for _, frame in ear))

    def said(self, line: Line, frame: bytes) -> None:
        """Something came on a line.

        Args:
            line: Which.
            frame: 20 ms of it.
        """
        for other in self._lines.values():
            relayed = other.hears(line)
            if relayed is not None:
                relayed.put(frame)
        for uuid in self._listening.get(line, ()):
            self._ears[uuid].append((self._clock(), frame))

    def look(self) -> None:
        """Look at all legs: who hears whom now."""
        legs = {leg.uuid: leg for leg in self._switchboard.legs}
        self._listening: dict[Line, list[str]] = {}
        for uuid, leg in legs.items():
            said = self._heard_by(leg)
            line = self._lines.get(uuid)
            if line is not None:
                line.follow(said)
                continue
            for _, what in said:
                if isinstance(what, Line):
                    self._ears.setdefault(uuid, deque(maxlen=round(_MEASURED_SECONDS / FRAME_SECONDS)))
                    self._listening.setdefault(what, []).append(uuid)
        for uuid in set(self._ears) - set(legs):
            del self._ears[uuid]

    def _on_event(self, event: SwitchEvent) -> None:
        if event.former_uuid in self._lines and event.leg is not None:
            line = self._lines[event.leg.uuid] = self._lines.pop(event.former_uuid)
            line.leg_uuid = event.leg.uuid
        if event.leg is not None:
            self.look()

    def _heard_by(self, leg: Leg) -> tuple[_Said, ...]:
        if leg.ended:
            return ()
        if leg.listens_to is not None:
            target = leg.listens_to
            other = _talks_to(target)
            return (*self._voice(target), *(() if other is None else self._voice(other)))
        if leg.rings_for is not None:
            return ((_Kind.RING, RING_HZ),)
        other = _talks_to(leg)
        if leg.snapshot.held:
            # Who holds gets nothing (facts: verto, Calls).
            return ()
        if other is None:
            return self._of_application(leg)
        if other.snapshot.held or other.rings_for is not None or _talks_to(other) is not leg:
            return ((_Kind.TONE, MUSIC_HZ),)
        return self._voice(other)

    def _voice(self, leg: Leg) -> tuple[_Said, ...]:
        line = self._lines.get(leg.uuid)
        if line is None:
            return ((_Kind.TONE, self.voice_of(leg.snapshot.party_number)),)
        return ((_Kind.LINE, line),) if line.is_there else ()

    def _of_application(self, leg: Leg) -> tuple[_Said, ...]:
        application = leg.snapshot.application
        if application == TEST_TONE:
            return ((_Kind.TONE, TEST_TONE_HZ),)
        if application == MUSIC:
            return ((_Kind.TONE, MUSIC_HZ),)
        return self._voice(leg) if application == ECHO else ()


def _talks_to(leg: Leg) -> Leg | None:
    return leg.consulted or leg.consulted_by or leg.partner
