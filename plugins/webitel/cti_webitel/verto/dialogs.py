"""The calls that the server and this session agree on, and what may be done with each (facts: verto, Calls and Sessions).

::

    ours       invite -> REQUESTING -CALL CREATED-> TRYING -verto.media-> EARLY -verto.answer-> ACTIVE
    incoming   verto.invite -> RINGING -answer-> ANSWERING -its result-> ACTIVE
    then       ACTIVE -hold-> HELD -unhold-> ACTIVE
    new media  verto.attach -> RECOVERING -attach-> ATTACHING -its result-> ACTIVE or HELD, as it was
    outage     any -> DETACHED -verto.attach-> RECOVERING; not in verto.clientReady: over
    bye        any -> over, by either side

A call that is over is forgotten, but for its identifier: what the server had on its way for it comes late, and must not bring it
back. What waits in the server's queue comes after the answer to a request that it should have come before; so a step may be
left out (``verto.answer`` before CALL CREATED), and none leads back.

Two things are one step here: what we ask is checked before it is sent, and takes the call a step further at once where asking
twice would act twice (REQUESTING, ANSWERING, ATTACHING). If nobody answers, it stays there: it may have acted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from attrs import evolve, field, frozen

from cti_webitel.verto.replies import CallCreated, CallEnded, HoldState, Modified, Outcome, Refused
from cti_webitel.verto.requests import Answer, Attach, Bye, DialogMessage, Invite, Modify, SendDigits, VertoMessage
from cti_webitel.verto.signals import (
    Answered,
    Attached,
    Displayed,
    EarlyMedia,
    Ended,
    EndedBy,
    HoldChanged,
    Invited,
    Parties,
    Signal,
)

__all__ = ["Dialog", "DialogState", "Dialogs"]

_REMEMBERED: Final = 256


class DialogState(Enum):
    """How far a call is."""

    REQUESTING = "requesting"
    """We asked for it; the server has not said that there is a channel."""
    TRYING = "trying"
    """There is a channel. It may ring at the other end: nothing tells that."""
    EARLY = "early"
    """It is not answered, and tones or an announcement are heard."""
    RINGING = "ringing"
    """It comes in, and waits for us."""
    ANSWERING = "answering"
    """We answered it; the server has not confirmed that."""
    ACTIVE = "active"
    """Both sides talk."""
    HELD = "held"
    """The own side holds it."""
    RECOVERING = "recovering"
    """It has no media: the server offers some."""
    ATTACHING = "attaching"
    """We gave it new media; the server has not confirmed that."""
    DETACHED = "detached"
    """The connection is lost. The server keeps the call for a while, if it was answered."""


_ANSWERED: Final = frozenset({DialogState.ACTIVE, DialogState.HELD})
_NOT_ANSWERED: Final = frozenset({DialogState.REQUESTING, DialogState.TRYING, DialogState.EARLY})
_WORDS: Final[Mapping[DialogState, str]] = MappingProxyType(
    {
        DialogState.REQUESTING: "is not yet known to the server",
        DialogState.TRYING: "is not answered",
        DialogState.EARLY: "is not answered",
        DialogState.RINGING: "is not answered",
        DialogState.ANSWERING: "is being answered",
        DialogState.ACTIVE: "is answered already",
        DialogState.HELD: "is answered already",
        DialogState.RECOVERING: "has no media before it is attached",
        DialogState.ATTACHING: "is being attached",
        DialogState.DETACHED: "was cut off with the connection, and is not back",
    }
)


@frozen
class Dialog:
    """A call, as far as the two sides agree on it.

    Attributes:
        call_id: The call: the ``Unique-ID`` of its channel.
        is_incoming: It came in, or was found when the session came back; else we asked for it.
        state: How far it is.
        remote_sdp: The newest media description of the server's.
        name: The other party's name.
        number: The other party's number.
        parties: Who talks to whom.
        is_held: The own side holds it, or did before its media was lost.
    """

    call_id: str
    is_incoming: bool
    state: DialogState
    remote_sdp: str | None = field(default=None, repr=False)
    name: str = ""
    number: str = ""
    parties: Parties = field(factory=Parties)
    is_held: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether both sides talk, or would if it was not held."""
        return self.state in _ANSWERED


class Dialogs:
    """All calls of one session. They outlive connections.

    Attributes:
        late: How often the server said something of a call that is over.
    """

    def __init__(self) -> None:
        self._live: dict[str, Dialog] = {}
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)
        # The answer to the newest offer of each call: what is said of one before it does not count any more.
        self._attaching: dict[str, Attach] = {}
        self.late = 0

    @property
    def live(self) -> Mapping[str, Dialog]:
        """The calls that there are, by identifier."""
        return MappingProxyType(self._live)

    # ------------------------------------------------------------------ what we ask

    def refusal(self, message: VertoMessage) -> str | None:
        """Tell why something cannot be asked now.

        Args:
            message: What.

        Returns:
            Why, for people; ``None``: it can.
        """
        if not isinstance(message, DialogMessage):
            return None
        dialog = self._live.get(message.call_id)
        if isinstance(message, Invite):
            known = dialog is not None or message.call_id in self._ended
            return "a call of this identifier is, or was, there already" if known else None
        if dialog is None:
            return "the call is over" if message.call_id in self._ended else "there is no such call"
        return None if self._allows(dialog, message) else f"the call {_WORDS[dialog.state]}"

    def _allows(self, dialog: Dialog, message: DialogMessage) -> bool:
        match message:
            case Answer():
                return dialog.state is DialogState.RINGING
            case Attach():
                return dialog.state is DialogState.RECOVERING
            case Modify():
                return dialog.is_answered
            case SendDigits():
                return dialog.is_answered or dialog.state is DialogState.EARLY
            case _:
                return True

    def asked(self, message: VertoMessage) -> None:
        """Take note of what is asked.

        Args:
            message: What.
        """
        match message:
            case Invite(call_id=call_id):
                number = message.destination if message.remote_number is None else message.remote_number
                self._live[call_id] = Dialog(
                    call_id, False, DialogState.REQUESTING, name=message.remote_name or "", number=number
                )
            case Answer(call_id=call_id):
                self._step(call_id, DialogState.ANSWERING)
            case Attach(call_id=call_id):
                self._attaching[call_id] = message
                self._step(call_id, DialogState.ATTACHING)
            case _:
                pass

    def unasked(self, message: VertoMessage) -> None:
        """Take back a note: it turned out that nothing was sent.

        Args:
            message: What was to be asked.
        """
        dialog = self._live.get(message.call_id) if isinstance(message, DialogMessage) else None
        if dialog is None:
            return
        match message:
            case Invite() if dialog.state is DialogState.REQUESTING:
                del self._live[dialog.call_id]
            case Answer() if dialog.state is DialogState.ANSWERING:
                self._step(dialog.call_id, DialogState.RINGING)
            case Attach() if self._attaching.get(dialog.call_id) is message:
                self._step(dialog.call_id, DialogState.RECOVERING)
            case _:
                pass

    def answered(self, message: VertoMessage, outcome: Outcome) -> list[Signal]:
        """Draw the conclusions from an answer of the server's.

        Args:
            message: What was asked.
            outcome: What it answered.

        Returns:
            What is to be told.
        """
        dialog = self._live.get(message.call_id) if isinstance(message, DialogMessage) else None
        if dialog is None:
            return []
        if isinstance(outcome, Refused):
            return self._refused(dialog, message, outcome)
        match message, outcome:
            case Invite(), CallCreated() if dialog.state is DialogState.REQUESTING:
                self._step(dialog.call_id, DialogState.TRYING)
            case (Answer(), _) if dialog.state is DialogState.ANSWERING:
                self._step(dialog.call_id, DialogState.ACTIVE)
            case (Attach(), _) if self._attaching.get(dialog.call_id) is message:
                self._step(dialog.call_id, DialogState.HELD if dialog.is_held else DialogState.ACTIVE)
            case Bye(), CallEnded(cause=cause):
                return [self._over(Ended(dialog.call_id, cause, EndedBy.CLIENT))]
            case Modify(), Modified(hold_state=hold_state):
                return self._held(dialog, hold_state)
            case _:
                pass
        return []

    def _refused(self, dialog: Dialog, message: VertoMessage, outcome: Refused) -> list[Signal]:
        if isinstance(message, Invite):
            # Of a call that is there, a second one was refused.
            if dialog.state is DialogState.REQUESTING:
                return [self._over(Ended(dialog.call_id, outcome.cause, EndedBy.REFUSED))]
        elif outcome.is_gone:
            return [self._over(Ended(dialog.call_id, None, EndedBy.SERVER))]
        else:
            self.unasked(message)
        return []

    def _held(self, dialog: Dialog, hold_state: HoldState | None) -> list[Signal]:
        if hold_state is None or not dialog.is_answered:
            return []
        held = hold_state is HoldState.HELD
        self._live[dialog.call_id] = evolve(dialog, state=DialogState.HELD if held else DialogState.ACTIVE, is_held=held)
        return [HoldChanged(dialog.call_id, held)] if held is not dialog.is_held else []

    # ------------------------------------------------------------------ what the server says

    def told(self, signal: Signal) -> str | None:
        """Take what the server says of a call.

        Args:
            signal: It.

        Returns:
            Why it cannot be, for people; ``None``: it can, and was taken.
        """
        if not isinstance(signal, Invited | EarlyMedia | Answered | Attached | Displayed | Ended):
            return None
        dialog = self._live.get(signal.call_id)
        if dialog is None and signal.call_id in self._ended:
            self.late += 1
            return "the call is over"
        if isinstance(signal, Invited | Attached):
            return self._came(signal, dialog)
        if dialog is None:
            return "there is no such call"
        if isinstance(signal, EarlyMedia | Answered):
            if dialog.state not in _NOT_ANSWERED:
                return f"the call {_WORDS[dialog.state]}"
            state = DialogState.ACTIVE if isinstance(signal, Answered) else DialogState.EARLY
            self._live[dialog.call_id] = evolve(dialog, state=state, remote_sdp=signal.sdp or dialog.remote_sdp)
        elif isinstance(signal, Displayed):
            self._live[dialog.call_id] = evolve(dialog, name=signal.name, number=signal.number, parties=signal.parties)
        else:
            self._over(signal)
        return None

    def _came(self, signal: Invited | Attached, dialog: Dialog | None) -> str | None:
        if isinstance(signal, Attached):
            self._attaching.pop(signal.call_id, None)
            if dialog is None:
                dialog = Dialog(signal.call_id, signal.parties.direction != "inbound", DialogState.RECOVERING)
            self._live[signal.call_id] = evolve(
                dialog, state=DialogState.RECOVERING, remote_sdp=signal.sdp, parties=signal.parties
            )
            return None
        if dialog is not None:
            return "a call of this identifier is there already"
        parties = signal.parties
        self._live[signal.call_id] = Dialog(
            signal.call_id, True, DialogState.RINGING, signal.sdp, parties.caller_name, parties.caller_number, parties
        )
        return None

    # ------------------------------------------------------------------ connections

    def detach(self) -> None:
        """Take note that the connection is lost."""
        self._attaching.clear()
        for call_id, dialog in self._live.items():
            self._live[call_id] = evolve(dialog, state=DialogState.DETACHED)

    def ready(self, reattached: Iterable[str] | None) -> list[Signal]:
        """Take note of which calls the server still has.

        Args:
            reattached: They; ``None``: that is not known.

        Returns:
            The end of those that it does not have any more.
        """
        if reattached is None:
            return []
        kept = frozenset(reattached)
        lost = [each.call_id for each in self._live.values() if each.state is DialogState.DETACHED and each.call_id not in kept]
        for call_id in lost:
            # It is not remembered as over: if the server has it after all, and offers it media, it goes on.
            del self._live[call_id]
        return [Ended(call_id, None, EndedBy.LOST) for call_id in lost]

    def forget_all(self) -> list[Signal]:
        """Begin anew, as another session.

        Returns:
            The end of all calls, as far as this session is concerned.
        """
        lost = tuple(self._live)
        self._live.clear()
        return [Ended(call_id, None, EndedBy.LOST) for call_id in lost]

    def _step(self, call_id: str, state: DialogState) -> None:
        dialog = self._live.get(call_id)
        if dialog is not None:
            self._live[call_id] = evolve(dialog, state=state)

    def _over(self, ended: Ended) -> Ended:
        del self._live[ended.call_id]
        self._attaching.pop(ended.call_id, None)
        self._ended.append(ended.call_id)
        return ended
