"""What a key of ``cti phone`` means: without a terminal and without a session."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from cti_framework.calls import Call, CallDirection, CallFeature, CallRole, CallState, Party
from cti_framework.cli.phone.hand import (
    BACKSPACE,
    DOWN,
    ENTER,
    ESCAPE,
    UP,
    Act,
    Cannot,
    Entry,
    Hand,
    Pasted,
    Pressed,
    Purpose,
    Quit,
    SendTones,
)
from cti_framework.cli.phone.keys import acted_on, commands_now, pressed
from cti_framework.cli.phone.lines import keys_of

F = CallFeature
AT = datetime(2026, 1, 1, tzinfo=UTC)
TALKING = F.DROP | F.HOLD | F.BLIND_TRANSFER | F.CONSULT | F.DTMF | F.MUTE


def a_call(
    call_id: str,
    state: CallState = CallState.CONNECTED,
    features: CallFeature = TALKING,
    *,
    direction: CallDirection = CallDirection.OUT,
    parent_id: str | None = None,
    muted: bool = False,
    former_ids: tuple[str, ...] = (),
) -> Call:
    return Call(
        id=call_id,
        direction=direction,
        state=state,
        role=CallRole.CURRENT,
        own=Party("100"),
        other=Party("0501234567"),
        started_at=AT,
        changed_at=AT,
        features=features,
        parent_id=parent_id,
        muted=muted,
        former_ids=former_ids,
    )


RINGING = a_call("in", CallState.ALERTING, F.ANSWER | F.DROP, direction=CallDirection.IN)
HELD = a_call("first", CallState.HELD, F.DROP | F.UNHOLD | F.BLIND_TRANSFER | F.CONSULT)
PARENT = a_call("first", CallState.HELD, F.DROP | F.COMPLETE_TRANSFER | F.CANCEL_TRANSFER | F.ALTERNATE | F.CONFERENCE)
ASKED = a_call("asked", features=F.DROP | F.HOLD | F.DTMF | F.MUTE, parent_id="first")


def press(
    *keys: Pressed, calls: tuple[Call, ...] = (), current: str | None = None, hand: Hand | None = None
) -> tuple[Hand, list[object]]:
    hand = hand or Hand()
    actions: list[object] = []
    for key in keys:
        hand, action = pressed(key, hand, calls, current or (calls[0].id if calls else None))
        if action is not None:
            actions.append(action)
    return hand, actions


def test_digits_are_a_number_and_enter_calls_it() -> None:
    hand, actions = press("+", "3", "8", "0")
    assert (hand.entry, actions) == (Entry(Purpose.DIAL, "+380", takes_all=False), [])
    assert press(ENTER, hand=hand) == (Hand(), [Act("make_call", None, ("+380",))])


def test_a_number_can_be_corrected_and_forgotten() -> None:
    hand, _ = press("1", "2", BACKSPACE)
    assert hand.entry is not None
    assert hand.entry.text == "1"
    assert press(BACKSPACE, hand=hand) == (Hand(), [])
    assert press(ESCAPE, hand=hand) == (Hand(), [])


def test_a_name_can_be_typed_where_it_was_asked_for() -> None:
    hand, actions = press("d", "a", "h", "q", "@", "x", ENTER)
    assert (hand, actions) == (Hand(), [Act("make_call", None, ("ahq@x",))])
    assert press("d", "x", BACKSPACE, BACKSPACE)[0].entry == Entry(Purpose.DIAL)
    assert press("d", " ", ENTER) == (Hand(), [])


def test_while_a_number_is_typed_a_call_that_comes_can_be_answered() -> None:
    hand, actions = press("1", "a", calls=(RINGING,))
    assert actions == [Act("answer_call", "in")]
    assert hand.entry == Entry(Purpose.DIAL, "1", takes_all=False)


def test_digits_are_tones_in_a_call() -> None:
    talking = a_call("c")
    hand, actions = press("1", "#", calls=(talking,))
    assert (hand, actions) == (Hand(), [SendTones("c", "1"), SendTones("c", "#")])
    # A plus is no tone, and a call that is held takes none.
    assert press("+", calls=(talking,))[1] == []
    assert press("1", calls=(HELD,))[0].entry is not None


@pytest.mark.parametrize(
    ("key", "features", "action"),
    [
        ("a", F.ANSWER, Act("answer_call", "c")),
        ("h", F.DROP, Act("drop_call", "c")),
        ("H", F.HOLD, Act("hold_call", "c")),
        ("H", F.UNHOLD, Act("unhold_call", "c")),
        ("H", F.HOLD | F.UNHOLD, Act("unhold_call", "c")),
        ("m", F.MUTE, Act("set_mute", "c", (True,))),
        ("x", F.COMPLETE_TRANSFER, Act("complete_transfer", "c")),
        ("s", F.ALTERNATE, Act("alternate", "c")),
        ("b", F.CANCEL_TRANSFER, Act("cancel_transfer", "c")),
        ("j", F.CONFERENCE, Act("conference", "c")),
    ],
)
def test_a_key_is_a_verb(key: str, features: CallFeature, action: Act) -> None:
    assert press(key, calls=(a_call("c", features=features),)) == (Hand(), [action])


def test_a_muted_call_is_unmuted() -> None:
    assert press("m", calls=(a_call("c", muted=True),))[1] == [Act("set_mute", "c", (False,))]


@pytest.mark.parametrize(
    ("key", "purpose", "verb"), [("t", Purpose.TRANSFER, "blind_transfer"), ("c", Purpose.CONSULT, "make_consult_call")]
)
def test_a_key_that_needs_a_number_asks_for_it(key: str, purpose: Purpose, verb: str) -> None:
    talking = (a_call("c"),)
    hand, actions = press(key, calls=talking)
    assert (hand.entry, actions) == (Entry(purpose), [])
    assert press("1", "0", "2", ENTER, hand=hand, calls=talking) == (Hand(), [Act(verb, "c", ("102",))])


@pytest.mark.parametrize("key", "ahHmtcxsbj")
def test_what_may_not_be_done_is_not_tried(key: str) -> None:
    for calls in ((), (a_call("c", features=F.NONE),)):
        hand, actions = press(key, calls=calls)
        assert hand == Hand()
        [action] = actions
        assert isinstance(action, Cannot)
        assert action.text.startswith("Cannot ")
        assert action.text.endswith(": there is no call.") is not bool(calls)


def test_why_nothing_can_be_done_with_a_lost_call() -> None:
    lost = (attrs.evolve(a_call("c", features=F.NONE), stale=True),)
    assert press("h", calls=lost)[1] == [Cannot("Cannot hang up now: the connection is lost.")]


def test_other_keys_mean_nothing() -> None:
    assert press("z", "A", ENTER, ESCAPE, BACKSPACE, "é", calls=(a_call("c"),)) == (Hand(), [])


def test_who_is_meant() -> None:
    waiting = a_call("waiting", CallState.ALERTING, F.ANSWER | F.DROP, direction=CallDirection.IN)
    talking = a_call("talking")
    assert press("h", calls=(waiting, talking), current="waiting")[1] == [Act("drop_call", "talking")]
    assert press("a", calls=(talking, waiting))[1] == [Act("answer_call", "waiting")]
    # Who is asked first and still rings, and not the one who waits for that.
    rings = a_call("asked", CallState.ALERTING, F.DROP, parent_id="first")
    assert press("h", calls=(PARENT, rings))[1] == [Act("drop_call", "asked")]
    assert press("h", calls=(PARENT, ASKED))[1] == [Act("drop_call", "asked")]
    assert press("H", calls=(HELD, RINGING))[1] == [Act("unhold_call", "first")]
    both_held = a_call("second", CallState.HELD, F.DROP)
    assert press("h", calls=(both_held, HELD), current="first")[1] == [Act("drop_call", "first")]
    assert acted_on(F.MUTE, Hand(), (HELD,), "first") is None


def test_a_call_can_be_chosen() -> None:
    calls = (a_call("1"), a_call("2", CallState.HELD, F.DROP | F.UNHOLD), a_call("3", CallState.HELD, F.DROP))
    hand, _ = press(DOWN, calls=calls)
    assert hand.selected == "2"
    assert press("h", calls=calls, hand=hand)[1] == [Act("drop_call", "2")]
    assert press(UP, UP, calls=calls, hand=hand)[0].selected == "3"
    assert press("n", "n", calls=calls, hand=hand)[0].selected == "1"
    assert press(DOWN) == (Hand(), [])
    # Chosen, it is meant even where another one could do it.
    assert press("m", calls=calls, hand=hand)[1] == [Cannot("Cannot mute now: the chosen call does not allow it.")]


def test_why_a_call_that_waits_cannot_be_taken_back() -> None:
    calls = (a_call("1"), a_call("2", CallState.HELD, F.DROP))
    told = "Cannot take that call back while another one is talked on: hold the other one first."
    assert press("H", calls=calls, hand=Hand(selected="2"))[1] == [Cannot(told)]
    assert press("H", calls=(calls[1],))[1] == [Cannot("Cannot hold now.")]
    # Where holding is none of the PBX's, that is not the reason.
    assert press("H", calls=(a_call("1", features=F.DROP),))[1] == [Cannot("Cannot hold now.")]


def test_a_choice_ends_with_its_call_and_outlives_its_name() -> None:
    assert press("h", calls=(a_call("1"),), hand=Hand(selected="gone")) == (Hand(), [Act("drop_call", "1")])
    renamed = (a_call("1"), a_call("new", former_ids=("2",)))
    assert press("h", calls=renamed, hand=Hand(selected="2"))[1] == [Act("drop_call", "new")]


def test_what_is_done_with_two_calls_is_the_first_ones_affair() -> None:
    assert press("x", calls=(PARENT, ASKED), hand=Hand(selected="asked"))[1] == [Act("complete_transfer", "first")]


def test_leaving_a_call_is_asked_twice() -> None:
    assert press("q") == (Hand(), [Quit()])
    hand, actions = press("q", calls=(RINGING,))
    assert (hand, actions) == (Hand(is_leaving=True), [])
    assert press("q", calls=(RINGING,), hand=hand)[1] == [Quit()]
    assert press("m", calls=(RINGING,), hand=hand)[0] == Hand()


def test_what_is_pasted_presses_no_key() -> None:
    hand, actions = press(Pasted("hello, q\nh"), calls=(a_call("c"),))
    assert (hand.entry, actions) == (Entry(Purpose.DIAL, "hello, q"), [])
    assert press(Pasted(" +38 (050) 123-45-67\n"))[0].entry == Entry(Purpose.DIAL, "+380501234567")
    # Digits are a code for whoever is talked to, and go out when they were looked at.
    talking = (a_call("c"),)
    hand, actions = press(Pasted("12 34#"), calls=talking)
    assert (hand.entry, actions) == (Entry(Purpose.TONES, "1234#"), [])
    assert press(ENTER, hand=hand, calls=talking) == (Hand(), [SendTones("c", "1234#")])
    assert press(ENTER, hand=hand)[1] == [Cannot("Cannot send tones now.")]
    hand, actions = press("t", Pasted("102"), ENTER, calls=(a_call("c"),))
    assert actions == [Act("blind_transfer", "c", ("102",))]
    assert press(Pasted("a\x1b[2Jb"))[0].entry == Entry(Purpose.DIAL, "a[2Jb")


def labels(hand: Hand, *calls: Call, features: CallFeature = F.NONE) -> dict[str, str]:
    told = commands_now(hand, calls, calls[0].id if calls else None, features)
    return {command.key: command.label for command in told}


def test_the_keys_that_are_shown_are_those_that_mean_something() -> None:
    assert labels(Hand(), features=F.DIAL) == {"0-9": "dial", "q": "quit"}
    assert labels(Hand()) == {"q": "quit"}
    assert labels(Hand(), RINGING) == {"a": "answer", "h": "hang up", "q": "quit"}
    assert labels(Hand(), a_call("c", muted=True)) == {
        "h": "hang up",
        "H": "hold",
        "m": "unmute",
        "t": "transfer",
        "c": "consult",
        "0-9*#": "tones",
        "q": "quit",
    }
    pair = labels(Hand(), PARENT, ASKED)
    assert {"x", "s", "b", "j", "↑↓"} <= set(pair)
    assert labels(Hand(is_leaving=True), RINGING)["q"] == "hang up and leave"
    assert labels(Hand(entry=Entry(Purpose.TRANSFER, "1")), a_call("c")) == {"Enter": "send the call to", "Esc": "forget it"}
    assert list(labels(Hand(entry=Entry(Purpose.DIAL, "1", takes_all=False)), RINGING)) == ["Enter", "Esc", "a", "h", "q"]


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("9196", "9196"),
        (" +38 050\r", "+38050"),
        ("a", "a"),
        ("H", "H"),
        ("hold", "H"),
        ("Hangup", "h"),
        ("t 102", "t102"),
        ("transfer  ann b", "tann b"),
        ("call 5", "d5"),
        ("quit", "q"),
    ],
)
def test_a_line_is_keys(line: str, keys: str) -> None:
    assert keys_of(line) == (*keys, ENTER)


@pytest.mark.parametrize("line", ["", "  ", "hello", "A", "answer!", "\x1b"])
def test_a_line_that_means_nothing_presses_nothing(line: str) -> None:
    assert keys_of(line) is None
