"""Own legs and the calls that they belong to, as `calls` keeps them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import attrs

from cti_webitel.engine.callbacks import WebitelCallState
from cti_webitel.engine.headers import CREATED_TIME

__all__ = ["CallCounts", "EndedCalls", "EndedLegs", "Leg", "LegCall"]

_REMEMBERED_ENDS: Final = 1024
_MOST_TIME_DIGITS: Final = 18


class Leg:
    """One own leg.

    Attributes:
        uuid: Its ``Unique-ID``.
        number: The how many-th leg of the account it is.
        call: The call that it belongs to.
        headers: All that its frames said, the later over the earlier.
        begun: Its ``CHANNEL_CREATE`` was seen.
        answered: Its device was picked up.
        call_state: ``Channel-Call-State`` as it was last told; empty if what was told before is not to be concluded from.
        own_held: Our side holds it.
        far_held: The far end holds it.
        we_unheld: The last hold that ended was ours.
        due: When what is in doubt about the far end's hold becomes certain.
    """

    __slots__ = (
        "answered",
        "begun",
        "call",
        "call_state",
        "due",
        "far_held",
        "headers",
        "number",
        "own_held",
        "uuid",
        "we_unheld",
    )

    def __init__(self, uuid: str, number: int, call: LegCall, headers: dict[str, Any]) -> None:
        self.uuid = uuid
        self.number = number
        self.call = call
        self.headers = headers
        self.begun = False
        self.answered = False
        self.call_state = ""
        self.own_held = False
        self.far_held = False
        self.we_unheld = False
        self.due: float | None = None


class LegCall:
    """One call.

    Attributes:
        uuid: Webitel's identifier of it.
        is_originator: Its first own leg began it.
        state: What the library calls its state.
        legs: Its own legs; the one that is told of it comes first.
        first: The leg that the library tells, where that is another one: of those that there are, the one that began first.
        provisional: It was adopted by a frame without variables: Webitel's identifier of it is not known yet.
    """

    __slots__ = ("first", "is_originator", "legs", "provisional", "state", "uuid")

    def __init__(self, uuid: str, is_originator: bool) -> None:
        self.uuid = uuid
        self.is_originator = is_originator
        self.state = WebitelCallState.RINGING
        self.legs: list[Leg] = []
        self.first: Leg | None = None
        self.provisional = False

    def put_in_front(self, leg: Leg) -> None:
        """Tell a leg from now on: it was picked up.

        Args:
            leg: One of its legs.
        """
        if self.legs[0] is not leg:
            self.legs.remove(leg)
            self.legs.insert(0, leg)
            self._look_for_first()

    def remove(self, leg: Leg) -> None:
        """Take out a leg that ended.

        Args:
            leg: One of its legs.
        """
        self.legs.remove(leg)
        if self.first is not None:
            self._look_for_first()

    def _look_for_first(self) -> None:
        first = min(self.legs, key=_number_of, default=None)
        self.first = None if not self.legs or first is self.legs[0] else first


class EndedCalls:
    """The identifiers of the calls that ended most recently."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # In their order; the values say nothing.
        self._known: dict[str, None] = {}

    def __contains__(self, uuid: object) -> bool:
        return uuid in self._known

    def add(self, uuid: str) -> None:
        """Remember one.

        Args:
            uuid: Its identifier.
        """
        if uuid not in self._known:
            if len(self._known) >= _REMEMBERED_ENDS:
                del self._known[next(iter(self._known))]
            self._known[uuid] = None


class EndedLegs:
    """The legs that ended most recently: when each was made, and whether the switch has destroyed it."""

    __slots__ = ("_created", "_destroyed")

    def __init__(self) -> None:
        self._created: OrderedDict[str, int] = OrderedDict()
        self._destroyed: set[str] = set()

    def __contains__(self, uuid: object) -> bool:
        return uuid in self._created

    def add(self, uuid: str, headers: dict[str, Any]) -> None:
        """Remember one.

        Args:
            uuid: Its ``Unique-ID``.
            headers: What was told of it.
        """
        created = _created(headers)
        if uuid in self._created:
            created = created or self._created[uuid]
        elif len(self._created) >= _REMEMBERED_ENDS:
            forgotten, _ = self._created.popitem(last=False)
            self._destroyed.discard(forgotten)
        self._created[uuid] = created

    def destroy(self, uuid: str) -> None:
        """Note that the switch has destroyed one: nothing can come of it any more.

        Args:
            uuid: Its ``Unique-ID``.
        """
        if uuid in self._created:
            self._destroyed.add(uuid)

    def is_destroyed(self, uuid: str) -> bool:
        """Tell whether the switch has destroyed one.

        Args:
            uuid: Its ``Unique-ID``.

        Returns:
            Whether.
        """
        return uuid in self._destroyed

    def is_another(self, uuid: str, frame: dict[str, Any]) -> bool:
        """Tell whether a frame is of a new leg that has the identifier of one that ended.

        Args:
            uuid: The identifier.
            frame: The frame.

        Returns:
            Whether it was made later.
        """
        before = self._created.get(uuid, 0)
        return 0 < before < _created(frame)

    def forget(self, uuid: str) -> None:
        """Forget one: there is a new leg of that identifier.

        Args:
            uuid: The identifier.
        """
        self._created.pop(uuid, None)
        self._destroyed.discard(uuid)


@attrs.define
class CallCounts:
    """What the call frames held that told nothing.

    Attributes:
        foreign_frames: Of another account.
        malformed_frames: With values of the wrong type, which were left out, or without an identifier.
        unknown_frames: Of an ``Event-Name`` or of a leg that means nothing here.
        late_frames: Of a leg or a call that has ended, or that began twice.
    """

    foreign_frames: int = 0
    malformed_frames: int = 0
    unknown_frames: int = 0
    late_frames: int = 0


def _number_of(leg: Leg) -> int:
    return leg.number


def _created(headers: dict[str, Any]) -> int:
    text = headers.get(CREATED_TIME)
    if not isinstance(text, str) or not text.isdecimal() or len(text) > _MOST_TIME_DIGITS:
        return 0
    return int(text)
