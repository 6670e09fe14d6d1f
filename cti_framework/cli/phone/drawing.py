"""The phone's screen: a view in, lines out. Nothing here knows a terminal or a session."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from rich.console import Group
from rich.text import Text

from cti_framework.calls import Call, CallDirection, CallState, Side
from cti_framework.cli.phone.keys import KeyCommand, commands_now
from cti_framework.cli.phone.state import CallSound, Levels, Message, PhoneView
from cti_framework.cli.words import in_words, printable
from cti_framework.events import ProviderState

__all__ = ["draw"]

_FLOOR_DBFS: Final = -60.0
_SPEECH_DBFS: Final = -45.0
_BAR_WIDTH: Final = 14
_ASCII: Final = str.maketrans({"●": "*", "▶": ">", "█": "#", "░": ".", "─": "-", "▏": "_", "↑": "^", "↓": "v", "…": "."})
_STATE_STYLES: Final = {
    ProviderState.IN_SERVICE: "green",
    ProviderState.CONNECTING: "yellow",
    ProviderState.RECONNECTING: "yellow",
    ProviderState.OUT_OF_SERVICE: "red",
    ProviderState.FAILED: "bold red",
    ProviderState.CLOSED: "dim",
}
_CALL_STYLES: Final = {
    "rings": "bold cyan",
    "is called": "cyan",
    "talking": "bold green",
    "conference": "bold green",
    "busy": "bold red",
}


def draw(view: PhoneView, width: int, height: int, *, ascii_only: bool = False) -> Group:
    """Draw the screen.

    Args:
        view: What there is.
        width: How many characters a line has.
        height: How many lines there are.
        ascii_only: Whether the terminal has no other characters.

    Returns:
        At most so many lines, each at most so long; the keys are the last of them.
    """
    top = [_head(view, width), Text("─" * width, style="dim")]
    calls = [line for call in view.calls for line in _call(view, call, width)] or [Text("  No call.", style="dim")]
    messages = [line for message in view.messages for line in _message(message, width)]
    bottom = [*_typed(view), Text("─" * width, style="dim"), *_keys(_commands(view), width)]
    # Where there is too little room, the calls and what is typed are what matters.
    room = max(height - len(top) - len(bottom), 1)
    middle = [*calls, *([Text(""), *messages] if messages else ())]
    middle = [*middle, *_recent(view, room - len(middle))][:room]
    lines = [*top, *middle, *(Text("") for _ in range(room - len(middle))), *bottom]
    for line in lines:
        line.truncate(width)
        if ascii_only:
            line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return Group(*lines[:height])


def _head(view: PhoneView, width: int) -> Text:
    state = None if view.connection is None else view.connection.state
    numbers = in_words(view.own_numbers) if view.own_numbers else view.user
    text = Text.assemble(
        ("cti phone", "bold"),
        f"  {printable(numbers)} at {printable(view.provider)}  ",
        ("● ", _STATE_STYLES.get(state, "dim") if state is not None else "dim"),
        in_words(state).replace("_", " ") if state is not None else "not connected",
    )
    if view.connection is not None and view.connection.next_try_at is not None:
        left = max((view.connection.next_try_at - view.now).total_seconds(), 0.0)
        text.append(f", next try in {left:.0f} s")
    clock = _clock(view.now)
    text.append(clock.rjust(max(width - text.cell_len, len(clock) + 2)), style="dim")
    return text


def _call(view: PhoneView, call: Call, width: int) -> Iterable[Text]:
    doing, seconds = _doing(call, view.now)
    mark = "▶ " if view.hand.selected in (call.id, *call.former_ids) else "  "
    sign = {CallDirection.OUT: "to", CallDirection.IN: "from"}.get(call.direction, "with")
    # Of a call that nobody sees any more nobody knows how long it lasts.
    right = doing if call.stale else f"{doing}  {_duration(seconds)}"
    left = Text.assemble((mark, "bold"), (f"{sign} {printable(in_words(call.other))}", "bold"))
    left.truncate(max(width - len(right) - 2, 8), overflow="ellipsis")
    left.append(right.rjust(width - left.cell_len), style=_CALL_STYLES.get(doing, "yellow"))
    yield left
    sound = view.sounds.get(call.id)
    if sound is not None:
        levels = view.levels.get(sound.media_id, Levels())
        yield _levels(levels, call)
        # Of what does not come the quality is only what it was.
        if levels.heard_dbfs is not None or call.state is CallState.HELD:
            yield _quality(sound)
    notes = [
        "asked first" if call.parent_id is not None else "",
        "muted" if call.muted and sound is None else "",
        "recorded" if call.recording else "",
        "last known" if call.stale else "",
        view.tones.get(call.id, ""),
    ]
    told = ", ".join(note for note in notes if note)
    if told:
        yield Text(f"    {printable(told)}", style="dim")


def _doing(call: Call, now: datetime) -> tuple[str, float]:
    match call.state:
        case CallState.ALERTING:
            doing = "rings" if call.direction is CallDirection.IN else "is called"
            return doing, (now - call.started_at).total_seconds()
        case CallState.CONNECTED:
            return "talking", call.talk_seconds_at(now)
        case CallState.CONFERENCED:
            return "conference", call.talk_seconds_at(now)
        case CallState.HELD:
            by = {frozenset({Side.OWN}): "held", frozenset({Side.OTHER}): "held by them"}.get(call.held_by, "held by both")
            return by, call.hold_seconds_at(now)
        case CallState.BUSY:
            return "busy", (now - call.started_at).total_seconds()
    return "?", (now - call.started_at).total_seconds()


def _levels(levels: Levels, call: Call) -> Text:
    is_held = call.state is CallState.HELD
    said = _instead("muted", "bold red") if call.muted else _instead("on hold", "yellow") if is_held else None
    heard = _instead("on hold", "yellow") if is_held else None
    if heard is None and levels.heard_dbfs is None and call.connected_at is not None:
        heard = _instead("nothing comes", "bold red")
    heard_dbfs = _FLOOR_DBFS if levels.heard_dbfs is None else levels.heard_dbfs
    you = "bold" if said is None and levels.said_dbfs > _SPEECH_DBFS else "dim"
    they = "bold" if heard is None and heard_dbfs > _SPEECH_DBFS else "dim"
    return Text.assemble("    ", ("you ", you), said or _bar(levels.said_dbfs), "   ", ("they ", they), heard or _bar(heard_dbfs))


def _instead(words: str, style: str) -> Text:
    return Text(words.ljust(_BAR_WIDTH), style=style)


def _bar(dbfs: float) -> Text:
    full = round((max(min(dbfs, 0.0), _FLOOR_DBFS) - _FLOOR_DBFS) / -_FLOOR_DBFS * _BAR_WIDTH)
    style = "red" if dbfs > -3 else "green" if dbfs > _SPEECH_DBFS else "dim"
    return Text.assemble(("█" * full, style), ("░" * (_BAR_WIDTH - full), "dim"))


def _quality(sound: CallSound) -> Text:
    quality = sound.quality
    if quality is None:
        return Text("    quality: not measured yet", style="dim")
    name, style = next((name, style) for least, name, style in _SCALE if quality.mos >= least)
    delay = "" if quality.round_trip_seconds is None else f", round trip {quality.round_trip_seconds * 1000:.0f} ms"
    return Text.assemble(
        ("    quality: ", "dim"),
        (name, style),
        (f" (MOS {quality.mos:.1f}), loss {quality.loss:.1%}, jitter {quality.jitter_seconds * 1000:.0f} ms{delay}", "dim"),
    )


_SCALE: Final = ((4.0, "good", "green"), (3.6, "fair", "green"), (3.1, "poor", "yellow"), (0.0, "bad", "bold red"))
"""By the bands of G.109: what a score means to those who talk."""


def _typed(view: PhoneView) -> Iterable[Text]:
    for doing in view.doing:
        yield Text(f"  {printable(doing)}…", style="yellow")
    entry = view.hand.entry
    if entry is not None:
        yield Text.assemble((f"  {entry.purpose.value}: ", "bold"), printable(entry.text), ("▏", "bold"))
    elif view.hand.is_leaving and view.calls:
        yield Text("  A call is up: q once more hangs up and leaves.", style="bold yellow")


def _message(message: Message, width: int) -> Iterable[Text]:
    head = f"  {_clock(message.at)}  "
    style = "red" if message.is_error else "dim"
    room = max(width - len(head), 20)
    line = ""
    first = True
    for word in printable(message.text).split(" "):
        if line and len(line) + 1 + len(word) > room:
            yield Text((head if first else " " * len(head)) + line, style=style)
            line, first = word, False
        else:
            line = f"{line} {word}" if line else word
    yield Text((head if first else " " * len(head)) + line, style=style)


def _recent(view: PhoneView, room: int) -> list[Text]:
    if not view.recent or room < 3:
        return []
    lines = [Text(""), Text("  Before:", style="dim")]
    for call in view.recent[: room - 2]:
        sign = "to" if call.direction is CallDirection.OUT else "from"
        if call.connected_at is not None:
            how = f"talked {_duration(call.talk_seconds)}"
        else:
            how = "missed" if call.missed else in_words(call.cause).replace("_", " ")
        lines.append(Text(f"  {_clock(call.started_at)}  {sign} {printable(in_words(call.other))}, {how}", style="dim"))
    return lines


def _commands(view: PhoneView) -> tuple[KeyCommand, ...]:
    return commands_now(view.hand, view.calls, view.current_id, view.features)


def _keys(commands: Iterable[KeyCommand], width: int) -> list[Text]:
    lines = [Text()]
    for command in commands:
        part = Text.assemble((f" {command.key} ", "reverse"), f" {printable(command.label)}  ")
        if lines[-1].cell_len + part.cell_len > width and lines[-1]:
            lines.append(Text())
        lines[-1].append_text(part)
    return lines


def _duration(seconds: float) -> str:
    whole = max(int(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")
