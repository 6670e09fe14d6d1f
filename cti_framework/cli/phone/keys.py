"""What a key of the phone means now: the state of the keys, and what is to be done. Nothing here knows a terminal or a session.

Keys are texts: one character each, or one of the names in ``hand``. What the terminal pasted is ``Pasted``, so that a number from
a web page never presses keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from cti_framework.calls import Call, CallFeature, CallState
from cti_framework.cli.phone.hand import (
    BACKSPACE,
    DOWN,
    ENTER,
    ESCAPE,
    UP,
    Act,
    Action,
    Cannot,
    Entry,
    Hand,
    Pasted,
    Pressed,
    Purpose,
    Quit,
    SendTones,
)

__all__ = ["KeyCommand", "acted_on", "commands_now", "pressed"]

_DIGITS: Final = frozenset("0123456789*#")
_DIALLED: Final = _DIGITS | {"+"}
_F: Final = CallFeature


@attrs.frozen
class KeyCommand:
    """A key that means something now.

    Attributes:
        key: Which.
        label: What it does, in a word or two.
    """

    key: str
    label: str


@attrs.frozen
class _OfCall:
    """A key for what may be done with a call: the verb, and the feature that permits it."""

    label: str
    feature: CallFeature
    verb: str
    asks: Purpose | None = None


_OF_CALLS: Final[Mapping[str, tuple[_OfCall, ...]]] = {
    "a": (_OfCall("answer", _F.ANSWER, "answer_call"),),
    "h": (_OfCall("hang up", _F.DROP, "drop_call"),),
    "H": (_OfCall("take back", _F.UNHOLD, "unhold_call"), _OfCall("hold", _F.HOLD, "hold_call")),
    "m": (_OfCall("mute", _F.MUTE, "set_mute"),),
    "t": (_OfCall("transfer", _F.BLIND_TRANSFER, "blind_transfer", Purpose.TRANSFER),),
    "c": (_OfCall("consult", _F.CONSULT, "make_consult_call", Purpose.CONSULT),),
    "x": (_OfCall("complete", _F.COMPLETE_TRANSFER, "complete_transfer"),),
    "s": (_OfCall("swap", _F.ALTERNATE, "alternate"),),
    "b": (_OfCall("go back", _F.CANCEL_TRANSFER, "cancel_transfer"),),
    "j": (_OfCall("join all", _F.CONFERENCE, "conference"),),
}
"""What has two meanings means the first that may be done."""
_NAMED: Final = ("a", "h")

_BY_PURPOSE: Final = {one.asks: one for meanings in _OF_CALLS.values() for one in meanings if one.asks is not None}
_TALKING: Final = (CallState.CONNECTED, CallState.CONFERENCED)


def acted_on(feature: CallFeature, hand: Hand, calls: tuple[Call, ...], current_id: str | None) -> Call | None:
    """Find the call that a key is about.

    Args:
        feature: What it needs.
        hand: Says which call was chosen.
        calls: The open calls.
        current_id: The one that the line puts first.

    Returns:
        The chosen one where there is one, whether it permits that or not; else one that permits it: whoever is talked to
        first, then whoever is being asked first, then the current one; ``None``: none does.
    """
    able = [call for call in calls if feature in call.features]
    if hand.selected is not None and not feature & _OF_PAIRS:
        chosen = next((call for call in calls if hand.selected in (call.id, *call.former_ids)), None)
        if chosen is not None:
            return chosen
    return min(able, key=lambda call: (call.state not in _TALKING, not _is_asked(call), call.id != current_id), default=None)


def _is_asked(call: Call) -> bool:
    return call.parent_id is not None and call.state is not CallState.HELD


_OF_PAIRS: Final = _F.COMPLETE_TRANSFER | _F.CANCEL_TRANSFER | _F.ALTERNATE | _F.CONFERENCE
"""What is done with two calls is the affair of the one that came first, whichever was chosen."""


def commands_now(hand: Hand, calls: tuple[Call, ...], current_id: str | None, features: CallFeature) -> tuple[KeyCommand, ...]:
    """Tell which keys mean something now.

    Args:
        hand: What was pressed so far.
        calls: The open calls.
        current_id: The one that the line puts first.
        features: What may be done on the line.

    Returns:
        They, in the order in which they are shown.
    """
    if hand.entry is not None and hand.entry.takes_all:
        return (KeyCommand("Enter", hand.entry.purpose.value.lower()), KeyCommand("Esc", "forget it"))
    told: list[KeyCommand] = []
    if hand.entry is not None:
        told += (KeyCommand("Enter", "call"), KeyCommand("Esc", "forget it"))
    for key, meanings in _OF_CALLS.items():
        for meaning in meanings:
            call = acted_on(meaning.feature, hand, calls, current_id)
            if call is not None and meaning.feature in call.features:
                label = "unmute" if meaning.verb == "set_mute" and call.muted else meaning.label
                # Where there are several, nobody is to guess whom the key hangs up.
                is_named = len(calls) > 1 and key in _NAMED
                told.append(KeyCommand(key, f"{label} {call.other.number}" if is_named else label))
                break
    if _toned(hand, calls, current_id) is not None:
        told.append(KeyCommand("0-9*#", "tones"))
    elif _F.DIAL in features and hand.entry is None:
        told.append(KeyCommand("0-9", "dial"))
    if len(calls) > 1:
        told.append(KeyCommand("↑↓", "choose"))
    told.append(KeyCommand("q", "hang up and leave" if hand.is_leaving and calls else "quit"))
    return tuple(told)


def pressed(key: Pressed, hand: Hand, calls: tuple[Call, ...], current_id: str | None) -> tuple[Hand, Action | None]:
    """Tell what a key means.

    Args:
        key: What was pressed, or pasted.
        hand: What was pressed before.
        calls: The open calls.
        current_id: The one that the line puts first.

    Returns:
        What was pressed now, and what is to be done; ``None``: nothing.
    """
    if hand.selected is not None and not any(hand.selected in (call.id, *call.former_ids) for call in calls):
        hand = attrs.evolve(hand, selected=None)
    if isinstance(key, Pasted):
        return _pasted(key.text, hand, _toned(hand, calls, current_id)), None
    if hand.is_leaving and key != "q":
        hand = attrs.evolve(hand, is_leaving=False)
    if hand.entry is not None:
        taken = _typed(key, hand, hand.entry, calls, current_id)
        if taken is not None:
            return taken
    if key in (UP, DOWN, "n"):
        return _chosen(key, hand, calls, current_id), None
    if key == "q":
        return _left(hand, calls)
    if key == "d":
        return attrs.evolve(hand, entry=Entry(Purpose.DIAL)), None
    if key in _DIALLED:
        talking = _toned(hand, calls, current_id)
        if talking is not None and key in _DIGITS:
            return hand, SendTones(talking.id, key)
        return attrs.evolve(hand, entry=Entry(Purpose.DIAL, key, takes_all=False)), None
    return _of_call(key, hand, calls, current_id)


def _of_call(key: str, hand: Hand, calls: tuple[Call, ...], current_id: str | None) -> tuple[Hand, Action | None]:
    meanings = _OF_CALLS.get(key)
    if meanings is None:
        return hand, None
    for meaning in meanings:
        call = acted_on(meaning.feature, hand, calls, current_id)
        if call is None or meaning.feature not in call.features:
            continue
        if meaning.asks is not None:
            return attrs.evolve(hand, entry=Entry(meaning.asks)), None
        return hand, Act(meaning.verb, call.id, (not call.muted,) if meaning.verb == "set_mute" else ())
    label = meanings[-1].label
    if not calls:
        return hand, Cannot(f"Cannot {label}: there is no call.")
    if all(call.stale for call in calls):
        return hand, Cannot(f"Cannot {label} now: the connection is lost.")
    meant = acted_on(meanings[-1].feature, hand, calls, current_id)
    if key == "H" and meant is not None and meant.state is CallState.HELD and any(call.state in _TALKING for call in calls):
        return hand, Cannot("Cannot take that call back while another one is talked on: hold the other one first.")
    if hand.selected is not None and len(calls) > 1:
        return hand, Cannot(f"Cannot {label} now: the chosen call does not allow it.")
    return hand, Cannot(f"Cannot {label} now.")


def _typed(
    key: str, hand: Hand, entry: Entry, calls: tuple[Call, ...], current_id: str | None
) -> tuple[Hand, Action | None] | None:
    """What a key means to the number that is being typed; ``None``: it is not meant for it."""
    if key == ENTER:
        number = entry.text.strip()
        hand = attrs.evolve(hand, entry=None)
        if not number:
            return hand, None
        if entry.purpose is Purpose.DIAL:
            return hand, Act("make_call", None, (number,))
        if entry.purpose is Purpose.TONES:
            toned = _toned(hand, calls, current_id)
            return hand, Cannot("Cannot send tones now.") if toned is None else SendTones(toned.id, number)
        meaning = _BY_PURPOSE[entry.purpose]
        call = acted_on(meaning.feature, hand, calls, current_id)
        return hand, Act(meaning.verb, None if call is None else call.id, (number,))
    if key == ESCAPE:
        return attrs.evolve(hand, entry=None), None
    if key == BACKSPACE:
        shorter = entry.text[:-1]
        # Of a number that digits began nothing is left when they are gone.
        left = attrs.evolve(entry, text=shorter) if shorter or entry.takes_all else None
        return attrs.evolve(hand, entry=left), None
    if len(key) == 1 and (entry.takes_all or key in _DIALLED):
        return attrs.evolve(hand, entry=attrs.evolve(entry, text=entry.text + key)), None
    return None


def _pasted(text: str, hand: Hand, toned: Call | None) -> Hand:
    line = text.strip().partition("\n")[0]
    # A number as people write it, else whatever it is: an address of SIP, a name.
    number = "".join(character for character in line if character not in " -()./\t\u00a0")
    if not number or not set(number) <= _DIALLED:
        number = "".join(character for character in line if character.isprintable())
    # A code for whoever is talked to: it goes out when it was looked at.
    is_tones = toned is not None and set(number) <= _DIGITS
    entry = hand.entry or Entry(Purpose.TONES if is_tones else Purpose.DIAL)
    return attrs.evolve(hand, entry=attrs.evolve(entry, text=entry.text + number))


def _chosen(key: str, hand: Hand, calls: tuple[Call, ...], current_id: str | None) -> Hand:
    if not calls:
        return hand
    places = [place for place, call in enumerate(calls) if (hand.selected or current_id) in (call.id, *call.former_ids)]
    step = -1 if key == UP else 1
    place = (places[0] + step) % len(calls) if places else 0
    return attrs.evolve(hand, selected=calls[place].id)


def _left(hand: Hand, calls: tuple[Call, ...]) -> tuple[Hand, Action | None]:
    if calls and not hand.is_leaving:
        return attrs.evolve(hand, is_leaving=True), None
    return hand, Quit()


def _toned(hand: Hand, calls: tuple[Call, ...], current_id: str | None) -> Call | None:
    """The call that digits go into."""
    call = acted_on(_F.DTMF, hand, calls, current_id)
    return call if call is not None and _F.DTMF in call.features else None
