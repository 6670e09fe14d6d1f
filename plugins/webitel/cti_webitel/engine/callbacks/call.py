"""One call, as the callbacks tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Final

import attrs

from cti_framework.json_text import read_json
from cti_webitel.engine.headers import (
    ANSWERED_TIME,
    ATTENDED_TRANSFER,
    BILL_SECONDS,
    BRIDGE_A,
    BRIDGE_B,
    CALL_DIRECTION,
    CALLEE_NAME,
    CALLEE_NUMBER,
    CALLER_NAME,
    CALLER_NUMBER,
    CHANNEL_CALL_UUID,
    CREATED_TIME,
    DATA,
    DESTINATION,
    DLR_SESSION,
    HANGUP_CAUSE,
    HANGUP_TIME,
    HIT_DIALPLAN,
    LOGICAL_DIRECTION,
    ORIGINATE_NUMBER,
    OTHER_LEG,
    QUEUE,
    TRANSFER_RESULT,
)

__all__ = ["WebitelCall", "WebitelCallState", "WebitelDirection", "parse_data"]

_LEG: Final = re.compile(r"u?:?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_SHORTEST_LEG: Final = 36
# Microseconds since 1970 have 16 digits; more than 18 are no time.
_MOST_TIME_DIGITS: Final = 18


class WebitelCallState(IntEnum):
    """The library's states of a call (facts: webitel-protocol 4.5)."""

    RINGING = 1
    ANSWERED = 2
    HOLD = 3
    ACTIVE = 4
    """Taken back from hold: the library never returns to ``ANSWERED``."""
    ENDED = 5


class WebitelDirection(Enum):
    """Which way a call goes (facts: webitel-protocol 5.1)."""

    CALLBACK = "callback"
    """The operator's own device rings for a call that he asked for; it becomes ``OUTBOUND`` when he answers."""
    OUTBOUND = "outbound"
    INBOUND = "inbound"


@attrs.frozen
class WebitelCall:
    """One call of the account as the frames had told it at one moment (facts: webitel-protocol 4.5, 5.1, 5.2).

    What is told of a call is told of one of its legs: the one that answered, or else the first. Most callbacks are read for
    one or two of these values, so they are worked out when they are asked for; the headers are a copy and do not change.

    Attributes:
        uuid: Webitel's identifier of the call, not of a leg.
        state: What the library calls its state.
        is_originator: The own leg began it: the operator dialled, or asked for the call.
        channel_uuid: The own leg's ``Unique-ID``: commands are sent to it.
        own_number: The account's number.
        headers: All that the engine said of the leg, by the keys of its frames.
        first: The same call, told of its first leg, where another leg was picked up: the library goes on telling the first
            (facts: webitel-protocol 5.3, 7.12).
    """

    uuid: str
    state: WebitelCallState
    is_originator: bool
    channel_uuid: str
    own_number: str = ""
    headers: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    first: WebitelCall | None = attrs.field(default=None, repr=False)

    @property
    def direction(self) -> WebitelDirection:
        """Which way it goes."""
        if self.headers.get(ORIGINATE_NUMBER):
            return WebitelDirection.CALLBACK if self.state is WebitelCallState.RINGING else WebitelDirection.OUTBOUND
        return WebitelDirection.OUTBOUND if self.headers.get(LOGICAL_DIRECTION) == "inbound" else WebitelDirection.INBOUND

    @property
    def callee_number(self) -> str | None:
        """Who was called; ``None`` if not told, as below."""
        return self.parties[0]

    @property
    def callee_name(self) -> str | None:
        """Who was called, by name."""
        return self.parties[1]

    @property
    def caller_number(self) -> str | None:
        """Who called."""
        return self.parties[2]

    @property
    def caller_name(self) -> str | None:
        """Who called, by name."""
        return self.parties[3]

    @property
    def parties(self) -> tuple[str | None, str | None, str | None, str | None]:
        """Callee's number and name, caller's number and name: all at once, for who needs them all."""
        get = self._text
        outgoing = self.direction is not WebitelDirection.INBOUND
        if self._is_swapped() is not outgoing:
            callee, callee_name, caller, caller_name = get(CALLER_NUMBER), get(CALLER_NAME), get(CALLEE_NUMBER), get(CALLEE_NAME)
        else:
            callee, callee_name, caller, caller_name = get(CALLEE_NUMBER), get(CALLEE_NAME), get(CALLER_NUMBER), get(CALLER_NAME)
        if outgoing and not (callee and callee_name):
            destination = get(DESTINATION)
            callee, callee_name = callee or destination, callee_name or destination
        return self._without_leg(callee), callee_name, self._without_leg(caller), caller_name

    @property
    def display_number(self) -> str | None:
        """The party to show: who was called, if the own leg began it, or else who called."""
        return self.callee_number if self.is_originator else self.caller_number

    @property
    def other_leg_uuid(self) -> str | None:
        """The far end's leg."""
        return self._text(OTHER_LEG)

    @property
    def bridge_a_uuid(self) -> str | None:
        """The leg that began the latest bridge."""
        return self._text(BRIDGE_A)

    @property
    def bridge_b_uuid(self) -> str | None:
        """The leg that it was bridged to."""
        return self._text(BRIDGE_B)

    @property
    def created_microseconds(self) -> int | None:
        """When the own leg was made, on the switch's clock, since 1970."""
        return _microseconds(self._text(CREATED_TIME))

    @property
    def answered_microseconds(self) -> int | None:
        """When the own leg was answered; ``None`` while it is not."""
        return _microseconds(self._text(ANSWERED_TIME))

    @property
    def hangup_microseconds(self) -> int | None:
        """When the own leg was hung up; ``None`` while it is not."""
        return _microseconds(self._text(HANGUP_TIME))

    @property
    def hangup_cause(self) -> str | None:
        """FreeSWITCH's word for why it ended."""
        return self._text(HANGUP_CAUSE)

    @property
    def transfer_result(self) -> str | None:
        """``confirmed`` or ``error``, for an attended transfer."""
        return self._text(TRANSFER_RESULT)

    @property
    def attended_transfer_call_uuid(self) -> str | None:
        """The call on whose behalf this one was made."""
        return self._text(ATTENDED_TRANSFER)

    @property
    def cc_queue(self) -> str | None:
        """The queue that gave the call."""
        return self._text(QUEUE)

    @property
    def data(self) -> str | None:
        """``webitel_data`` as it came, quotes and all; `parse_data` reads it."""
        return self._text(DATA)

    @property
    def bill_seconds(self) -> int:
        """The switch's talk time; 0 but at the end (facts: webitel-protocol 7.10)."""
        value = self.headers.get(BILL_SECONDS)
        return value if type(value) is int else 0

    @property
    def dlr_session_id(self) -> str | None:
        """The dialler's session."""
        return self._text(DLR_SESSION) or None

    def payload(self) -> dict[str, Any]:
        """Tell the call as the library does.

        Returns:
            The library's keys in the library's order; those that it leaves undefined are absent.
        """
        if self.first is not None:
            return self.first.payload()
        told = {
            "uuid": self.uuid,
            "state": int(self.state),
            "calleeNumber": self.callee_number,
            "calleeName": self.callee_name,
            "callerNumber": self.caller_number,
            "callerName": self.caller_name,
            "displayNumber": self.display_number,
            "isOriginator": self.is_originator,
            "attended-transfer-call-uuid": self.attended_transfer_call_uuid,
            "direction": self.direction.value,
            "call-channel-uuid": self.channel_uuid,
            "data": None if self.data is None else self.data.replace("'", ""),
            "hangup_cause": self.hangup_cause,
            "cc_queue": self.cc_queue,
            "transferResult": self.transfer_result,
            "call-created-time": self._text(CREATED_TIME),
            "call-answered-time": self._text(ANSWERED_TIME),
            "call-hangup-time": self._text(HANGUP_TIME),
            "other-leg-unique-id": self.other_leg_uuid,
            "bridge-A-Unique-ID": self.bridge_a_uuid,
            "bridge-B-Unique-ID": self.bridge_b_uuid,
            "bill_sec": self.bill_seconds,
            "dlr_session_id": self.dlr_session_id,
        }
        return {key: value for key, value in told.items() if value is not None}

    def _text(self, key: str) -> str | None:
        value = self.headers.get(key)
        return value if isinstance(value, str) else None

    def _is_swapped(self) -> bool:
        """The switch writes both parties from its own side, and swaps them once the dialplan has the leg."""
        headers = self.headers
        switch_direction = headers.get(CALL_DIRECTION)
        if switch_direction == "inbound":
            return headers.get(CHANNEL_CALL_UUID) == self.channel_uuid
        return switch_direction == "outbound" and headers.get(HIT_DIALPLAN) == "true"

    def _without_leg(self, number: str | None) -> str | None:
        # A number that is a leg's identifier stands for the operator himself.
        if number is not None and len(number) >= _SHORTEST_LEG and _LEG.fullmatch(number):
            return self.own_number
        return number


def _microseconds(text: str | None) -> int | None:
    if text is None or text == "0" or len(text) > _MOST_TIME_DIGITS or not text.isdecimal():
        return None
    return int(text) or None


_NO_DATA: Final[Mapping[str, Any]] = MappingProxyType({})


def parse_data(text: str | None) -> Mapping[str, Any]:
    """Read ``webitel_data``, the free data of a call (facts: webitel-protocol 7.13).

    Args:
        text: As it came: usually a JSON object within single quotes.

    Returns:
        The object; any other text under the key ``webitel_data``; nothing for ``None``, an empty text and ``'undefined'``.
    """
    if text is None:
        return _NO_DATA
    inner = text[1:] if text.startswith("'") else text
    inner = inner[:-1] if inner.endswith("'") else inner
    if inner.strip() in ("", "undefined"):
        return _NO_DATA
    # The engine writes each blank as "\\s" for the switch, which not every installation reads back.
    for candidate in (inner, inner.replace("\\s", " ")):
        try:
            data = read_json(candidate)
        except ValueError:
            continue
        if isinstance(data, dict):
            return MappingProxyType(data)
    return MappingProxyType({"webitel_data": inner})
