"""What the phone remembers of the session's events beside what the session itself tells, and what its screen is drawn from.

Nothing here knows a terminal or a session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from cti_framework.calls import Call, CallFeature, Side
from cti_framework.cli.phone.hand import Hand
from cti_framework.errors import CtiError
from cti_framework.events import (
    CallFinished,
    DtmfEntered,
    ErrorOccurred,
    Event,
    Initialized,
    ProviderState,
    ProviderStateChanged,
    WebRtcDestroyed,
    WebRtcQuality,
    WebRtcStarted,
)

__all__ = ["CallSound", "Levels", "Message", "PhoneState", "PhoneView"]

_MESSAGES: Final = 4
_RECENT: Final = 8
_TONES: Final = 16


@attrs.frozen
class Levels:
    """How loud a call is now.

    Attributes:
        said_dbfs: What the microphone, or whatever speaks here, gives: 0 is as loud as can be, -96 is silence.
        heard_dbfs: What comes from the other side; ``None``: nothing comes, not even silence.
    """

    said_dbfs: float = -96.0
    heard_dbfs: float | None = -96.0


@attrs.frozen
class CallSound:
    """A call's sound in this phone.

    Attributes:
        media_id: What it is called.
        quality: What was measured last; ``None``: nothing yet.
    """

    media_id: str
    quality: WebRtcQuality | None = None


@attrs.frozen
class Message:
    """Something that the operator is told.

    Attributes:
        at: When.
        text: What.
        is_error: Whether something went wrong.
    """

    at: datetime
    text: str
    is_error: bool = False


@attrs.frozen(kw_only=True)
class PhoneView:
    """All that the screen is drawn from.

    Attributes:
        now: The time by the session's clock.
        user: Whose phone it is.
        provider: The provider's name.
        connection: What the connection does; ``None``: nothing is known yet.
        own_numbers: The operator's own numbers.
        features: What may be done on the line.
        calls: The open calls.
        current_id: The one that the line puts first.
        hand: What was pressed.
        sounds: The sound of the calls that have it here, by the call's identifier.
        levels: How loud they are, by the identifier of their sound.
        tones: What was pressed in the calls, in words, by the call's identifier.
        messages: What the operator was told lately, oldest first.
        recent: Calls that are over, latest first.
        doing: What is being done now, in words.
    """

    now: datetime
    user: str
    provider: str
    connection: ProviderStateChanged | None = None
    own_numbers: tuple[str, ...] = ()
    features: CallFeature = CallFeature.NONE
    calls: tuple[Call, ...] = ()
    current_id: str | None = None
    hand: Hand = attrs.field(factory=Hand)
    sounds: Mapping[str, CallSound] = attrs.field(factory=dict)
    levels: Mapping[str, Levels] = attrs.field(factory=dict)
    tones: Mapping[str, str] = attrs.field(factory=dict)
    messages: tuple[Message, ...] = ()
    recent: tuple[Call, ...] = ()
    doing: tuple[str, ...] = ()


class PhoneState:
    """What the phone remembers, event by event.

    Args:
        redact: Takes secrets out of errors.

    Attributes:
        own_numbers: The operator's own numbers.
        messages: What the operator was told, oldest first.
        recent: Calls that are over, latest first.
    """

    def __init__(self, redact: Callable[[Any], Any] = lambda value: value) -> None:
        self._redact = redact
        self.own_numbers: tuple[str, ...] = ()
        self._connection: ProviderStateChanged | None = None
        self.messages: deque[Message] = deque(maxlen=_MESSAGES)
        self.recent: deque[Call] = deque(maxlen=_RECENT)
        self._sounds: dict[str, CallSound] = {}
        self._tones: dict[str, dict[Side, str]] = {}

    def take(self, event: Event) -> None:
        """Learn from an event.

        Args:
            event: It, in the session's order.
        """
        match event:
            case Initialized():
                self.own_numbers = event.own_numbers
            case ProviderStateChanged():
                self._connection_changed(event)
            case ErrorOccurred():
                self.tell_error(event.at, event.error)
            case CallFinished():
                self.recent.appendleft(event.call)
                self._forget(self._sounds, event.call)
                self._forget(self._tones, event.call)
            case WebRtcStarted():
                self._forget(self._sounds, event.call)
                self._sounds[event.call.id] = CallSound(event.media_id)
            case WebRtcDestroyed():
                self._forget(self._sounds, event.call)
            case WebRtcQuality():
                sound = _of(self._sounds, event.call)
                if sound is not None:
                    self._forget(self._sounds, event.call)
                    self._sounds[event.call.id] = attrs.evolve(sound, quality=event)
            case DtmfEntered():
                tones = self._forget(self._tones, event.call) or {}
                self._tones[event.call.id] = {**tones, event.by: (tones.get(event.by, "") + event.digits)[-_TONES:]}

    def tell(self, at: datetime, text: str) -> None:
        """Tell the operator something.

        Args:
            at: When.
            text: What.
        """
        self.messages.append(Message(at, text))

    def tell_error(self, at: datetime, error: CtiError) -> None:
        """Tell the operator what went wrong, and what to do.

        Args:
            at: When.
            error: What.
        """
        text = " ".join(str(self._redact(part)) for part in (error.message, error.remedy) if part)
        if self.messages and self.messages[-1].text == text:
            # What a verb ends with is often told as trouble of the call, too.
            self.messages.pop()
        self.messages.append(Message(at, text, is_error=True))

    def sound_of(self, call: Call) -> CallSound | None:
        """Find the sound of a call.

        Args:
            call: The call.

        Returns:
            Its sound; ``None``: it has none here.
        """
        sound: CallSound | None = _of(self._sounds, call)
        return sound

    def sounds(self, calls: Iterable[Call]) -> dict[str, CallSound]:
        """Tell which calls have their sound here.

        Args:
            calls: The open calls.

        Returns:
            Their sounds, by the call's identifier.
        """
        return {call.id: sound for call in calls if (sound := _of(self._sounds, call)) is not None}

    def tones(self, calls: Iterable[Call]) -> dict[str, str]:
        """Tell what was pressed in the calls.

        Args:
            calls: The open calls.

        Returns:
            It in words, by the call's identifier.
        """
        told: dict[str, str] = {}
        for call in calls:
            sides = _of(self._tones, call) or {}
            parts = [f"{'pressed' if side is Side.OWN else 'they pressed'} {digits}" for side, digits in sides.items()]
            if parts:
                told[call.id] = ", ".join(parts)
        return told

    def _connection_changed(self, event: ProviderStateChanged) -> None:
        before, self._connection = self._connection, event
        error = event.error
        # Each attempt ends in the same words: they are told once.
        if error is not None and (before is None or before.error is None or before.error.message != error.message):
            self.tell_error(event.at, error)
        elif event.state is ProviderState.IN_SERVICE and before is not None and before.error is not None:
            self.tell(event.at, "The connection is back.")

    @staticmethod
    def _forget(known: dict[str, Any], call: Call) -> Any:
        """Take away what is known of a call, under any of its names; give what it was."""
        found = None
        for call_id in (call.id, *call.former_ids):
            found = known.pop(call_id, found)
        return found


def _of(known: Mapping[str, Any], call: Call) -> Any:
    return next((known[call_id] for call_id in (call.id, *call.former_ids) if call_id in known), None)
