"""One call of the web phone, and what is told of it: values for whoever shows calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

import anyio
import attrs

from cti_framework.errors import CtiError
from cti_framework.media.port import MediaPeer
from cti_framework.media.quality import MediaQuality
from cti_webitel.engine.callbacks import WebRtcCallback
from cti_webitel.verto.dialogs import Dialog
from cti_webitel.verto.signals import Ended, Parties

__all__ = [
    "CallCame",
    "CallChanged",
    "CallMeasured",
    "CallOver",
    "CallTrouble",
    "HoldInDoubt",
    "PhoneBack",
    "PhoneCall",
    "PhoneLost",
    "PhoneNews",
    "TellsNews",
]


class PhoneCall:
    """One call: what the signalling agreed on, and its media.

    Args:
        call_id: The dialog, which is the ``Unique-ID`` of its leg.
        is_incoming: It came in; else it was asked for here.
        began_at: When it became known, on the clock of whoever made it.
        number: The other party's number.
        offer: The media description that begins it: the server's of one that came in, ours of one that goes out.

    Attributes:
        id: As ``call_id``.
        is_incoming: As given.
        began_at: As given.
        number: The other party's number, as it was told last.
        name: The other party's name, likewise.
        parties: Who talks to whom, as the server names them.
        variables: Channel variables that came with it.
        offer: As given.
        is_answered: Both sides talk, or would if it was not held. It stays so when the connection is lost.
        is_held: The own side holds it.
        is_muted: The microphone is off in it.
        is_over: It has ended.
        has_media: Its media was begun: source and sink are in use.
        has_video: Both sides have agreed on video.
        peer: Its media; ``None``: none was begun, or it is over.
        is_described: The server has said what its media is like, in answer to our offer.
        was_connected: Sound has flown in it.
        was_mended: New media was made for it, and no sound has flown in that yet.
        is_answering: It is being answered.
        is_mending: New media is being made for it.
        is_video_told: Whoever listens knows of the video.
        silenced: Set when it need not be heard to ring any more.
    """

    __slots__ = (
        "began_at",
        "has_media",
        "has_video",
        "id",
        "is_answered",
        "is_answering",
        "is_described",
        "is_held",
        "is_incoming",
        "is_mending",
        "is_muted",
        "is_over",
        "is_video_told",
        "name",
        "number",
        "offer",
        "parties",
        "peer",
        "silenced",
        "variables",
        "was_connected",
        "was_mended",
    )

    def __init__(self, call_id: str, *, is_incoming: bool, began_at: datetime, number: str = "", offer: str = "") -> None:
        self.id = call_id
        self.is_incoming = is_incoming
        self.began_at = began_at
        self.number = number
        self.name = ""
        self.parties = Parties()
        self.variables: dict[str, str] = {}
        self.offer = offer
        self.is_answered = self.is_held = self.is_muted = self.is_over = False
        self.has_media = self.has_video = self.was_connected = self.was_mended = self.is_described = False
        self.is_answering = self.is_mending = self.is_video_told = False
        self.peer: MediaPeer | None = None
        self.silenced = anyio.Event()

    def __repr__(self) -> str:
        state = "over" if self.is_over else "held" if self.is_held else "answered" if self.is_answered else "not answered"
        return f"<PhoneCall {self.id}, {state}>"

    def learn(self, dialog: Dialog) -> None:
        """Take over what the signalling knows of it.

        Args:
            dialog: The call, as the two sides agree on it.
        """
        self.is_answered = self.is_answered or dialog.is_answered
        self.is_held = dialog.is_held
        self.number = dialog.number or self.number
        self.name = dialog.name or self.name
        self.parties = dialog.parties

    def about(self, kind: type[WebRtcCallback]) -> WebRtcCallback:
        """Make a callback about it.

        Args:
            kind: Which.

        Returns:
            It.
        """
        return kind(self.id, self.is_incoming, self.number, self.name)


@attrs.frozen
class PhoneNews:
    """Base of what the web phone tells."""


@attrs.frozen
class PhoneBack(PhoneNews):
    """Something can be asked: it is connected, for the first time or again."""


@attrs.frozen
class PhoneLost(PhoneNews):
    """It is not connected. Told once an outage, and again where no further attempt is made.

    Attributes:
        error: Why.
        is_tried_again: Whether further attempts are made.
    """

    error: CtiError
    is_tried_again: bool


@attrs.frozen
class CallCame(PhoneNews):
    """A call is there that was not there before.

    Attributes:
        call: It.
    """

    call: PhoneCall


@attrs.frozen
class CallChanged(PhoneNews):
    """Something about a call is different: it was answered, held, muted; its media began or is over; who the other party is.

    Attributes:
        call: It.
    """

    call: PhoneCall


@attrs.frozen
class HoldInDoubt(PhoneNews):
    """Its media may be held and the call not, or not held and the call is: the line knows it by the engine.

    It is so where a call came back with new media, and a while after the server did not say whether it holds it.

    Attributes:
        call: It.
    """

    call: PhoneCall


@attrs.frozen
class CallOver(PhoneNews):
    """A call is over.

    Attributes:
        call: It.
        ended: Why, as the server said.
    """

    call: PhoneCall
    ended: Ended


@attrs.frozen
class CallMeasured(PhoneNews):
    """The quality of a call's sound was measured.

    Attributes:
        call: It.
        quality: What was found.
    """

    call: PhoneCall
    quality: MediaQuality


@attrs.frozen
class CallTrouble(PhoneNews):
    """Something went wrong with a call that nobody's command tells of.

    Attributes:
        call: It.
        error: What.
    """

    call: PhoneCall
    error: CtiError


TellsNews: TypeAlias = Callable[[PhoneNews], None]
