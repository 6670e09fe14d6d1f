"""What ``cti phone`` remembers of events, and how its screen looks: without a terminal and without a session."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import attrs
import pytest
from rich.console import Console

from cti_framework.calls import Call, CallDirection, CallFeature, CallState, EndCause, Party, Side
from cti_framework.cli.console import Screen
from cti_framework.cli.phone.drawing import draw
from cti_framework.cli.phone.hand import Entry, Hand, Purpose
from cti_framework.cli.phone.screen import _draw
from cti_framework.cli.phone.softphone import Softphone
from cti_framework.cli.phone.state import CallSound, Levels, Message, PhoneState, PhoneView
from cti_framework.cli.words import event_in_words
from cti_framework.errors import NetworkError
from cti_framework.events import (
    CallFinished,
    DtmfEntered,
    ErrorOccurred,
    Event,
    ProviderState,
    ProviderStateChanged,
    WebRtcDestroyed,
    WebRtcQuality,
    WebRtcStarted,
)
from tests.core.test_cli_phone_keys import AT, F, a_call

NOW = AT + timedelta(seconds=95)
CONNECTION = ProviderStateChanged("e", 1, AT, ProviderState.IN_SERVICE, AT)


def event_of(event_type: type[Any], **more: Any) -> Any:
    return event_type("e", 1, AT, **more)


def quality_of(call: Call, mos: float = 4.32, **more: Any) -> WebRtcQuality:
    told: dict[str, Any] = {"media_id": "m", "loss": 0.001, "jitter_seconds": 0.003, "round_trip_seconds": 0.024, **more}
    event: WebRtcQuality = event_of(WebRtcQuality, call=call, mos=mos, **told)
    return event


# What is remembered --------------------------------------------------------------------------------------------------------


def remembered(*events: Event, redact: Any = lambda value: value) -> PhoneState:
    state = PhoneState(redact)
    for event in events:
        state.take(event)
    return state


def test_a_call_has_its_sound_and_the_latest_quality() -> None:
    call = a_call("c")
    state = remembered(event_of(WebRtcStarted, call=call, media_id="m"))
    assert state.sounds((call, a_call("other"))) == {"c": CallSound("m")}
    renamed = a_call("new", former_ids=("c",))
    state.take(quality_of(renamed, mos=3.0))
    state.take(quality_of(renamed))
    assert state.sounds((renamed,)) == {"new": CallSound("m", quality_of(renamed))}
    assert state.sound_of(renamed) == CallSound("m", quality_of(renamed))
    state.take(event_of(WebRtcDestroyed, call=renamed, media_id="m"))
    assert state.sounds((renamed,)) == {}
    # What comes too late gives a call no sound.
    state.take(quality_of(renamed))
    assert state.sound_of(renamed) is None


def test_what_was_pressed_is_remembered_a_side() -> None:
    call = a_call("c")
    state = remembered(
        event_of(DtmfEntered, call=call, digits="1", by=Side.OWN),
        event_of(DtmfEntered, call=a_call("new", former_ids=("c",)), digits="2#", by=Side.OWN),
        event_of(DtmfEntered, call=a_call("new", former_ids=("c",)), digits="9", by=Side.OTHER),
    )
    assert state.tones((a_call("new", former_ids=("c",)),)) == {"new": "pressed 12#, they pressed 9"}
    assert state.tones((a_call("other"),)) == {}


def test_a_call_that_is_over_is_among_those_before() -> None:
    call = a_call("c")
    over = attrs.evolve(call, state=CallState.NONE)
    state = remembered(
        event_of(WebRtcStarted, call=call, media_id="m"),
        event_of(DtmfEntered, call=call, digits="1"),
        event_of(CallFinished, call=over),
        event_of(CallFinished, call=a_call("later", CallState.NONE)),
    )
    assert [known.id for known in state.recent] == ["later", "c"]
    assert (state.sounds((call,)), state.tones((call,))) == ({}, {})


def test_what_goes_wrong_is_told_once_with_what_to_do_and_without_secrets() -> None:
    error = NetworkError("Nobody answers sesame.", remedy="Check sesame.")
    failed = event_of(ProviderStateChanged, state=ProviderState.RECONNECTING, since=AT, error=error)
    state = remembered(
        CONNECTION,
        failed,
        attrs.evolve(failed, attempt=2),
        event_of(ErrorOccurred, error=error),
        CONNECTION,
        CONNECTION,
        redact=lambda text: text.replace("sesame", "***"),
    )
    assert [(message.text, message.is_error) for message in state.messages] == [
        ("Nobody answers ***. Check ***.", True),
        ("The connection is back.", False),
    ]


def test_the_quality_of_sound_is_an_event_in_words() -> None:
    told = event_in_words(quality_of(a_call("c")))
    assert told == "MOS 4.3, loss 0.1%, jitter 3 ms, round trip 24 ms, media m, to 0501234567, connected"
    assert "round trip" not in event_in_words(quality_of(a_call("c"), round_trip_seconds=None))


# When it is drawn ----------------------------------------------------------------------------------------------------------


class StubPhone(Softphone):
    """Counts what changes; there is no session."""

    def __init__(self) -> None:
        self.changes = 0
        self._changed = anyio.Event()

    def view(self) -> PhoneView:
        return view_of()


@attrs.define
class StubScreen:
    phone: StubPhone
    drawn: list[int] = attrs.field(factory=list)
    done: anyio.Event = attrs.field(factory=lambda: anyio.Event())
    ascii_only: bool = False
    token: Any = None

    def draw(self, make: Any) -> None:
        self.drawn.append(self.phone.changes)
        if len(self.drawn) < 3:
            # In the middle of drawing, in the thread that draws, as a key may come.
            anyio.from_thread.run_sync(self.phone.touch, token=self.token)
        else:
            anyio.from_thread.run_sync(self.done.set, token=self.token)


@pytest.mark.anyio
async def test_what_changes_while_it_is_drawn_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cti_framework.cli.phone.screen._IDLE_SECONDS", 60.0)
    phone = StubPhone()
    screen = StubScreen(phone, token=anyio.lowlevel.current_token())
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_draw, cast(Screen, screen), phone)
            await screen.done.wait()
            tasks.cancel_scope.cancel()
    assert screen.drawn == [0, 1, 2]


def test_an_attempt_that_fails_as_the_one_before_is_not_told_again() -> None:
    failed = event_of(ProviderStateChanged, state=ProviderState.RECONNECTING, since=AT, error=NetworkError("Nobody answers."))
    state = remembered(CONNECTION, failed)
    state.tell(AT, "Cannot hang up now.")
    state.take(attrs.evolve(failed, attempt=2))
    assert [message.text for message in state.messages] == ["Nobody answers.", "Cannot hang up now."]


# How it looks --------------------------------------------------------------------------------------------------------------


def view_of(*calls: Call, **more: Any) -> PhoneView:
    facts: dict[str, Any] = {
        "now": NOW,
        "user": "103",
        "provider": "webitel",
        "connection": CONNECTION,
        "own_numbers": ("103",),
        "calls": calls,
        "current_id": calls[0].id if calls else None,
        **more,
    }
    return PhoneView(**facts)


def screen_of(view: PhoneView, width: int = 80, height: int = 24, **more: Any) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, height=height, color_system=None).print(draw(view, width, height, **more))
    lines = file.getvalue().splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


TALKING = attrs.evolve(a_call("c"), other=Party("0501234567", "Ann"), connected_at=AT)
SOUND = {"c": CallSound("m", quality_of(TALKING))}


def test_the_head_tells_who_where_and_how_it_is_connected() -> None:
    head = screen_of(view_of())[0]
    assert head.startswith("cti phone  103 at webitel  ● in service")
    assert len(head) == 80
    lost = attrs.evolve(CONNECTION, state=ProviderState.RECONNECTING, next_try_at=NOW + timedelta(seconds=4))
    assert "● reconnecting, next try in 4 s" in screen_of(view_of(connection=lost))[0]
    assert "● not connected" in screen_of(view_of(connection=None, own_numbers=()))[0]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (TALKING, "  to 0501234567 (Ann)                                              talking  1:35"),
        (
            attrs.evolve(TALKING, direction=CallDirection.IN, state=CallState.ALERTING, connected_at=None),
            "  from 0501234567 (Ann)                                              rings  1:35",
        ),
        (attrs.evolve(TALKING, state=CallState.ALERTING), "is called  1:35"),
        (attrs.evolve(TALKING, state=CallState.HELD, held_by=frozenset({Side.OWN}), hold_seconds=3.0), "held  1:38"),
        (attrs.evolve(TALKING, state=CallState.HELD, held_by=frozenset({Side.OTHER})), "held by them  1:35"),
        (attrs.evolve(TALKING, state=CallState.HELD, held_by=frozenset(Side)), "held by both  1:35"),
        (attrs.evolve(TALKING, state=CallState.CONFERENCED, talk_seconds=3_600.0), "conference  1:01:35"),
        (attrs.evolve(TALKING, state=CallState.BUSY), "busy  1:35"),
        (attrs.evolve(TALKING, stale=True, talk_seconds=7.0), "   talking"),
    ],
)
def test_a_call_tells_what_it_does_and_for_how_long(call: Call, told: str) -> None:
    assert screen_of(view_of(call))[2].endswith(told)


def levels_line(levels: Levels, call: Call = TALKING) -> str:
    return screen_of(view_of(call, sounds=SOUND, levels={"m": levels}))[3]


def test_both_directions_have_a_level() -> None:
    assert levels_line(Levels(-30.0, -96.0)) == "    you ███████░░░░░░░   they ░░░░░░░░░░░░░░"
    assert levels_line(Levels(0.0, -15.0)) == "    you ██████████████   they ██████████░░░░"
    assert levels_line(Levels(-96.0, None)) == "    you ░░░░░░░░░░░░░░   they nothing comes"
    # Of what does not come nobody knows how good it is.
    assert "quality" not in "".join(screen_of(view_of(TALKING, sounds=SOUND, levels={"m": Levels(-96.0, None)})))
    # Before anybody answers nothing has to come.
    assert levels_line(Levels(-96.0, None), attrs.evolve(TALKING, connected_at=None)).endswith("they ░░░░░░░░░░░░░░")
    assert levels_line(Levels(-30.0, -30.0), attrs.evolve(TALKING, muted=True)).startswith("    you muted   ")
    held = attrs.evolve(TALKING, state=CallState.HELD, held_by=frozenset({Side.OWN}))
    assert levels_line(Levels(-30.0, -30.0), held).split() == ["you", "on", "hold", "they", "on", "hold"]


def test_who_speaks_is_bold() -> None:
    def styles(levels: Levels) -> tuple[bool, bool]:
        file = io.StringIO()
        console = Console(file=file, width=80, force_terminal=True, color_system="truecolor")
        console.print(draw(view_of(TALKING, sounds=SOUND, levels={"m": levels}), 80, 24))
        return "\x1b[1myou" in file.getvalue(), "\x1b[1mthey" in file.getvalue()

    assert styles(Levels(-20.0, -60.0)) == (True, False)
    assert styles(Levels(-60.0, -20.0)) == (False, True)


@pytest.mark.parametrize(("mos", "word"), [(4.3, "good"), (3.7, "fair"), (3.2, "poor"), (1.0, "bad")])
def test_the_quality_is_told_in_a_word_and_in_numbers(mos: float, word: str) -> None:
    sounds = {"c": CallSound("m", quality_of(TALKING, mos))}
    told = f"    quality: {word} (MOS {mos:.1f}), loss 0.1%, jitter 3 ms, round trip 24 ms"
    assert screen_of(view_of(TALKING, sounds=sounds))[4] == told
    unknown = {"c": CallSound("m", quality_of(TALKING, mos, round_trip_seconds=None))}
    assert screen_of(view_of(TALKING, sounds=unknown))[4].endswith("jitter 3 ms")
    assert "not measured yet" in screen_of(view_of(TALKING, sounds={"c": CallSound("m")}))[4]


def test_a_call_without_sound_here_has_no_levels() -> None:
    lines = screen_of(view_of(attrs.evolve(TALKING, muted=True, recording=True), tones={"c": "pressed 12#"}))
    assert lines[3] == "    muted, recorded, pressed 12#"
    assert not any("they" in line for line in lines)


def test_what_is_typed_stands_above_the_keys_at_any_height() -> None:
    calls = tuple(attrs.evolve(TALKING, id=str(number)) for number in range(8))
    for height in (6, 8, 24):
        lines = screen_of(view_of(*calls, hand=Hand(Entry(Purpose.TRANSFER, "050"))), height=height)
        assert lines[-3:] == ["  Send the call to: 050▏", "─" * 80, " Enter  send the call to   Esc  forget it"]
    assert "  A call is up: q once more hangs up and leaves." in screen_of(view_of(TALKING, hand=Hand(is_leaving=True)))
    assert "  Answering…" in screen_of(view_of(TALKING, doing=("Answering",)))


def test_messages_are_broken_between_words() -> None:
    message = Message(AT, "The default microphone cannot be used, " * 4, is_error=True)
    lines = screen_of(view_of(messages=(message,)), width=60)
    told = [line.strip() for line in lines if "microphone" in line or "used" in line]
    assert " ".join(told).split(maxsplit=1)[1] == ("The default microphone cannot be used, " * 4).strip()


def test_calls_before_are_listed_where_there_is_room() -> None:
    over = attrs.evolve(TALKING, state=CallState.NONE, talk_seconds=62.0)
    missed = attrs.evolve(TALKING, state=CallState.NONE, direction=CallDirection.IN, connected_at=None, cause=EndCause.CANCELLED)
    busy = attrs.evolve(TALKING, state=CallState.NONE, connected_at=None, cause=EndCause.BUSY)
    view = view_of(recent=(over, missed, busy))
    told = [line.split("  ", 2)[2] for line in screen_of(view) if "Ann" in line]
    assert told == ["to 0501234567 (Ann), talked 1:02", "from 0501234567 (Ann), missed", "to 0501234567 (Ann), busy"]
    assert sum("Ann" in line for line in screen_of(view, height=9)) == 2
    assert not any("Before" in line for line in screen_of(view, height=7))


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("height", [4, 8, 24])
def test_it_fits_into_any_terminal(width: int, height: int) -> None:
    long = attrs.evolve(TALKING, other=Party("0" * 60, "Ніна " * 20), features=CallFeature(0x3FFFF))
    screen_of(view_of(long, sounds=SOUND, messages=(Message(AT, "x" * 200),)), width=width, height=height)


def test_nothing_of_the_pbx_commands_the_terminal() -> None:
    evil = attrs.evolve(TALKING, other=Party("5\x1b[2J", "A\nnn"))
    text = "\n".join(screen_of(view_of(evil, recent=(evil,), messages=(Message(AT, "\x1b[31m"),), tones={"c": "\x07"})))
    text += "\n".join(screen_of(view_of(hand=Hand(Entry(Purpose.DIAL, "\x1b[2J")), doing=("\x1b[2J",))))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"5\x1b[2J" in text


def test_a_terminal_with_ascii_alone_gets_ascii_alone() -> None:
    call = attrs.evolve(TALKING, other=Party("5", "Ніна"))
    lines = screen_of(view_of(call, sounds=SOUND, levels={"m": Levels(-20.0)}), ascii_only=True)
    assert "\n".join(lines).isascii()
    assert "    you #########....." in lines[3]
    assert "5 (????)" in lines[2]


def test_keys_that_do_not_fit_go_on_below() -> None:
    lines = screen_of(view_of(attrs.evolve(TALKING, features=F.DROP | F.HOLD | F.MUTE)), width=30)
    assert lines[-2:] == [" h  hang up   H  hold", " m  mute   q  quit"]
