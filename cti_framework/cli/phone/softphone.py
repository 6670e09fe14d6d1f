"""The phone between the keys and the session: it does what was pressed, and knows which calls are its own."""

from __future__ import annotations

from typing import Final

import anyio

from cti_framework.calls import Call, CallFeature
from cti_framework.cli.phone.hand import (
    Act,
    Cannot,
    Hand,
    Pressed,
    Quit,
    SendTones,
)
from cti_framework.cli.phone.keys import pressed
from cti_framework.cli.phone.sound import PhoneSound
from cti_framework.cli.phone.state import PhoneState, PhoneView
from cti_framework.errors import CtiError, NotAllowedNowError, NotSupportedError
from cti_framework.events import CallEvent, CallFinished, Event, Initialized
from cti_framework.model import CtiModel

__all__ = ["Softphone"]

_LEAVING_SECONDS: Final = 5.0
_NEEDED: Final = CallFeature.ANSWER | CallFeature.MUTE
_DOING: Final = {
    "make_call": "Calling {}",
    "answer_call": "Answering",
    "drop_call": "Hanging up",
    "hold_call": "Putting the call on hold",
    "unhold_call": "Taking the call back",
    "set_mute": "Switching the microphone",
    "blind_transfer": "Sending the call to {}",
    "make_consult_call": "Calling {}",
    "complete_transfer": "Connecting the two",
    "alternate": "Swapping",
    "cancel_transfer": "Going back",
    "conference": "Joining all three",
}


class Softphone:
    """A phone on a session.

    Args:
        model: The session.
        state: What is remembered of its events.
        sound: What speaks and listens.
        remedy: What to do where the session is no phone.

    Attributes:
        model: As given.
        state: As given.
        sound: As given.
        hand: What was pressed.
        doing: What is being done now, in words.
        changes: How often something changed.
    """

    def __init__(self, model: CtiModel, state: PhoneState, sound: PhoneSound, *, remedy: str = "") -> None:
        self.model = model
        self.state = state
        self.sound = sound
        self.hand = Hand()
        self.doing: list[str] = []
        self._remedy = remedy or "`cti call` and `cti listen` work with the phone on the desk."
        self._own: set[str] = set()
        self._tones: list[SendTones] = []
        self._is_sending_tones = False
        self._changed = anyio.Event()
        self.changes = 0

    def take(self, event: Event) -> None:
        """Learn from an event.

        Args:
            event: It, in the session's order.

        Raises:
            NotSupportedError: The session cannot be a phone.
        """
        if isinstance(event, Initialized) and not event.features & _NEEDED:
            raise NotSupportedError(
                f"The session at {self.model.provider_name!r} can neither answer calls nor mute them: it is no phone.",
                command="phone",
                remedy=self._remedy,
            )
        self.state.take(event)
        if isinstance(event, CallEvent):
            self._follow(event)
        self.touch()

    def _follow(self, event: CallEvent) -> None:
        call = event.call
        names = {call.id, *call.former_ids}
        sound = self.state.sound_of(call)
        if sound is not None:
            self._own |= names
            if call.connected_at is not None:
                self.sound.begin(sound.media_id)
        elif names & self._own:
            self._own |= names
        if isinstance(event, CallFinished):
            self._own -= names

    def press(self, key: Pressed) -> Act | SendTones | Cannot | Quit | None:
        """Take a key. What cannot be done is told to the operator.

        Args:
            key: Which.

        Returns:
            What is to be done, or cannot be; ``None``: nothing.
        """
        current = self.model.current_call
        self.hand, action = pressed(key, self.hand, self.model.calls, None if current is None else current.id)
        if isinstance(action, Cannot):
            self.state.tell(self.model.now(), action.text)
        self.touch()
        return action

    async def act(self, action: Act | SendTones) -> Call | CtiError | None:
        """Do what was pressed. Tones go out in the order in which they were pressed, those that wait together.

        Args:
            action: It.

        Returns:
            What came of it: the call that was made, or an error, which is told to the operator, too, and never raised.
        """
        try:
            if isinstance(action, SendTones):
                await self._send_tones(action)
                return None
            return await self._call_verb(action)
        except CtiError as error:
            self.state.tell_error(self.model.now(), error)
            return error
        finally:
            self.touch()

    async def _call_verb(self, action: Act) -> Call | None:
        doing = _DOING[action.verb].format(*action.arguments)
        self.doing.append(doing)
        self.touch()
        verb = getattr(self.model, action.verb)
        about = () if action.verb == "make_call" else (action.call_id,)
        try:
            made = await verb(*action.arguments, *about)
        finally:
            self.doing.remove(doing)
        if isinstance(made, Call):
            self._own.add(made.id)
            return made
        if action.verb == "answer_call" and action.call_id is not None:
            self._own.add(action.call_id)
        return None

    async def _send_tones(self, action: SendTones) -> None:
        self._tones.append(action)
        if self._is_sending_tones:
            return
        self._is_sending_tones = True
        try:
            while self._tones:
                call_id = self._tones[0].call_id
                digits = "".join(one.digits for one in self._tones if one.call_id == call_id)
                self._tones = [one for one in self._tones if one.call_id != call_id]
                await self.model.send_dtmf(digits, call_id)
        finally:
            self._tones.clear()
            self._is_sending_tones = False

    @property
    def own_calls(self) -> tuple[Call, ...]:
        """The open calls that were made or answered here, or have their sound here: they end with the phone."""
        return tuple(call for call in self.model.calls if self._own & {call.id, *call.former_ids})

    async def hang_up(self) -> CtiError | None:
        """Hang up what is the phone's own, and wait a moment until it is over.

        Returns:
            Why something could not be hung up; it is told to the operator, too. ``None``: nothing was refused.
        """
        failed: CtiError | None = None
        with anyio.move_on_after(_LEAVING_SECONDS):
            asked: set[str] = set()
            for call in self.own_calls:
                try:
                    await self.model.drop_call(call.id)
                except NotAllowedNowError:
                    # It ended just now.
                    continue
                except CtiError as error:
                    failed = error
                    self.state.tell_error(self.model.now(), error)
                else:
                    asked |= {call.id, *call.former_ids}
            while any(asked & {call.id, *call.former_ids} for call in self.own_calls):
                await self.wait_changed()
        return failed

    def touch(self) -> None:
        """Say that something changed."""
        self.changes += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_changed(self) -> None:
        """Wait until something changes."""
        await self._changed.wait()

    def view(self) -> PhoneView:
        """Tell all that the screen is drawn from.

        Returns:
            It, as it is now.
        """
        model, state = self.model, self.state
        current = model.current_call
        return PhoneView(
            now=model.now(),
            user=model.user.id,
            provider=model.provider_name,
            connection=model.provider_state_event,
            own_numbers=state.own_numbers,
            features=model.features,
            calls=model.calls,
            current_id=None if current is None else current.id,
            hand=self.hand,
            sounds=state.sounds(model.calls),
            levels=self.sound.levels(),
            tones=state.tones(model.calls),
            messages=tuple(state.messages),
            recent=tuple(state.recent),
            doing=tuple(self.doing),
        )
