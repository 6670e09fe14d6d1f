"""A random walk of the operator, far ends and phones: what is offered works, what is not does not, and what is shown is there.

After each walk every verb is tried on a copy of the state it led to: the walk is walked again on a switch of its own, from the
same seed. A verb that is offered must have its effect at the switch. One that is not offered is asked of the provider all the
same, past the model: the switch refuses it, or nothing changes there, or the table is stricter on purpose: `is_stricter`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from cti_framework import line, reports
from cti_framework.calls import Call, CallFeature, CallState
from cti_framework.errors import CommandError
from cti_framework.switchboard import Device, Leg, SwitchError
from tests.webitel.in_memory import Desk, desk
from tests.webitel.sessions import OWN

FAR: Final = "0501111111"
MOST_LEGS: Final = 3
FURTHER: Final = 3
LAST_WORDS: Final = ("drop", "blind", "complete", "cancel")
CALLERS: Final = ("0671111111", "0672222222")
ENQUIRED: Final = "0503333333"
ELSEWHERE: Final = "0504444444"

# --- steps


@attrs.frozen
class Move:
    """One thing that somebody can do just now.

    Attributes:
        name: Who does what, for people.
        do: Does it.
    """

    name: str
    do: Callable[[], Awaitable[object]]


def moves(at: Desk) -> list[Move]:
    """List what can be done just now, always in the same order. What leads further is in it more often than what ends a call."""
    return [*_operators(at), *_far_ends(at), *_phones(at)]


def _operators(at: Desk) -> Iterator[Move]:
    if CallFeature.DIAL in at.model.features:
        yield Move("the operator calls", lambda: at.ask(at.model.make_call, FAR))
    for place, call in enumerate(at.model.calls):
        for verb, (feature, act) in VERBS.items():
            if feature in call.features:
                move = Move(f"the operator: {verb}, call {place}", partial(act, at, call, at.model))
                yield from [move] * (1 if verb in LAST_WORDS else FURTHER)


def _far_ends(at: Desk) -> Iterator[Move]:
    switch = at.switchboard
    for caller in CALLERS:
        if len(at.own_legs) < MOST_LEGS and not switch.legs_at(caller):
            yield Move(f"{caller} calls", _now(partial(switch.incoming, caller, OWN)))
    for leg in switch.legs:
        if leg.snapshot.presence is None:
            who = leg.snapshot.party_number
            if leg.rings_in is not None:
                yield from [Move(f"{who} answers", _now(partial(switch.answer, leg.uuid)))] * 2 * FURTHER
                yield Move(f"{who} refuses", _now(partial(switch.hang_up, leg.uuid, "USER_BUSY")))
            else:
                yield Move(f"{who} hangs up", _now(partial(switch.hang_up, leg.uuid)))


def _phones(at: Desk) -> Iterator[Move]:
    switch = at.switchboard
    if not at.own_legs:
        yield Move("the operator dials on the phone", _now(partial(switch.dial_from_device, OWN, FAR)))
    for place, leg in enumerate(at.own_legs):
        if leg.rings_in is not None:
            yield from [Move(f"the phone is picked up, leg {place}", _now(partial(switch.answer, leg.uuid)))] * 2 * FURTHER
        elif leg.partner is not None:
            if leg.snapshot.held:
                yield Move(f"the phone takes back, leg {place}", _now(partial(switch.unhold, leg.uuid)))
            else:
                yield Move(f"the phone holds, leg {place}", _now(partial(switch.hold, leg.uuid)))
        yield Move(f"the phone is hung up, leg {place}", _now(partial(switch.hang_up, leg.uuid)))


def _now(act: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def do() -> object:
        return act()

    return do


async def nowhere(at: Desk) -> None:
    """Nobody calls anybody yet."""


async def on_two_phones(at: Desk) -> None:
    """Nobody calls anybody yet, and the operator has two phones."""
    at.switchboard.set_account(OWN, devices=(Device(), Device(number=2)))
    await at.settle()


async def talking(at: Desk) -> None:
    """A caller is talked to."""
    at.switchboard.incoming(CALLERS[0], OWN)
    at.switchboard.answer(at.own_legs[0].uuid)
    await at.settle()


async def enquiring(at: Desk) -> None:
    """A caller is on hold, and somebody is asked on his behalf."""
    await talking(at)
    await at.ask(at.model.make_consult_call, ENQUIRED)
    at.switchboard.answer(at.own_legs[1].uuid)
    await at.settle()
    at.switchboard.answer(at.switchboard.legs_at(ENQUIRED)[0].uuid)
    await at.settle()


Start = Callable[[Desk], Awaitable[None]]
STARTS: Final[tuple[Start, ...]] = (nowhere, on_two_phones, talking, enquiring)


async def walk(at: Desk, start: Start, choices: list[int]) -> list[str]:
    """Do what the numbers choose; tell what it was."""
    await start(at)
    done = [start.__name__]
    for choice in choices:
        possible = moves(at)
        move = possible[choice % len(possible)]
        done.append(move.name)
        await move.do()
        await at.settle()
    return done


# --- verbs, and what each does to the switch

_Act = Callable[[Desk, Call, Any], Awaitable[object]]


def _enquiry(at: Desk, call: Call) -> Call | None:
    return next((other for other in at.model.calls if other.parent_id == call.id), None)


def _on_call(verb: str, *arguments: object) -> _Act:
    async def act(at: Desk, call: Call, target: Any) -> object:
        # The model takes the call last, the provider first.
        given = (*arguments, call) if target is at.model else (call, *arguments)
        return await at.ask(getattr(target, verb), *given)

    return act


def _on_pair(verb: str) -> _Act:
    async def act(at: Desk, call: Call, target: Any) -> object:
        enquiry = _enquiry(at, call)
        if enquiry is None:
            raise SwitchError("-ERR there is no enquiry")
        return await at.ask(getattr(target, verb), call, enquiry)

    return act


VERBS: Final[dict[str, tuple[CallFeature, _Act]]] = {
    "drop": (CallFeature.DROP, _on_call("drop_call")),
    "hold": (CallFeature.HOLD, _on_call("hold_call")),
    "unhold": (CallFeature.UNHOLD, _on_call("unhold_call")),
    "tones": (CallFeature.DTMF, _on_call("send_dtmf", "5")),
    "blind": (CallFeature.BLIND_TRANSFER, _on_call("blind_transfer", ELSEWHERE)),
    "consult": (CallFeature.CONSULT, _on_call("make_consult_call", ENQUIRED)),
    "complete": (CallFeature.COMPLETE_TRANSFER, _on_pair("complete_transfer")),
    "cancel": (CallFeature.CANCEL_TRANSFER, _on_pair("cancel_transfer")),
    "alternate": (CallFeature.ALTERNATE, _on_pair("alternate")),
}


@attrs.frozen
class Seen:
    """What of the switch a verb can change: each leg's own and what it is joined with, and the tones so far."""

    legs: frozenset[tuple[str, bool, str | None, bool, str]]
    tones: int


def _seen(at: Desk, tones: list[str]) -> Seen:
    return Seen(
        frozenset(
            (leg.uuid, leg.snapshot.held, leg.snapshot.bridged_to, leg.answered, leg.snapshot.destination)
            for leg in at.switchboard.legs
        ),
        len(tones),
    )


def _far_legs(at: Desk, call: Call) -> list[Leg]:
    return [leg.partner for leg in at.legs_of(call) if leg.partner is not None]


def _had_effect(at: Desk, verb: str, call: Call, before: Before) -> bool:
    """Tell whether the switch did what the verb is for."""
    own = at.legs_of(call)
    held = any(leg.snapshot.held for leg in own)
    alive = {leg.uuid for leg in at.switchboard.legs}
    if verb == "drop":
        return not own
    if verb == "hold":
        return held
    if verb == "unhold":
        return bool(own) and not held
    if verb == "tones":
        return len(before.tones) == before.tones_so_far + 1
    if verb == "blind":
        return not own and before.far_legs <= alive and bool(at.switchboard.legs_at(ELSEWHERE))
    if verb == "consult":
        return held and len(at.own_legs) > before.own_count
    if verb == "complete":
        joined = {leg.uuid for leg in at.switchboard.legs if leg.partner is not None}
        return not own and len(before.far_legs) == 2 and before.far_legs <= joined
    if verb == "cancel":
        return bool(own) and not held and len(at.own_legs) < before.own_count
    assert verb == "alternate"
    now_held = {leg.uuid for leg in at.own_legs if leg.snapshot.held} & before.pair
    # One is talked to, and the other is not; where the phone had both or neither on hold, it does not matter which.
    return now_held == before.not_held if len(before.not_held) == 1 else len(now_held) == 1


@attrs.frozen
class Before:
    """What an effect is measured against."""

    own_count: int
    far_legs: frozenset[str]
    pair: frozenset[str]
    not_held: frozenset[str]
    tones: list[str]
    tones_so_far: int


def _before(at: Desk, call: Call, tones: list[str]) -> Before:
    enquiry = _enquiry(at, call)
    far = _far_legs(at, call) + ([] if enquiry is None else _far_legs(at, enquiry))
    pair = [*at.legs_of(call), *([] if enquiry is None else at.legs_of(enquiry))]
    return Before(
        own_count=len(at.own_legs),
        far_legs=frozenset(leg.uuid for leg in far),
        pair=frozenset(leg.uuid for leg in pair),
        not_held=frozenset(leg.uuid for leg in pair if not leg.snapshot.held),
        tones=tones,
        tones_so_far=len(tones),
    )


def _tones_of(at: Desk) -> list[str]:
    tones: list[str] = []
    at.switchboard.subscribe(lambda event: tones.append(event.digit) if event.digit is not None else None)
    return tones


# --- where the table is stricter than the switch, on purpose


def _situation(call: Call, at: Desk) -> str:
    """Name what decides for the table: role, state, who holds, and what its enquiry or first call does."""
    enquiry = _enquiry(at, call)
    words = [call.role.name, _does(call)]
    if enquiry is not None:
        words.append(f"with an enquiry {_does(enquiry)}")
    return " ".join(words)


def _does(call: Call) -> str:
    rings_far = call.state is CallState.ALERTING and call.answered_at is not None
    return f"{call.state.name} picked up" if rings_far else call.state.name


@attrs.frozen
class Stricter:
    """Verbs that the switch would carry out and that are not offered, on purpose.

    Attributes:
        verbs: Which.
        when: In which situations, by how they begin.
        because: Why.
    """

    verbs: tuple[str, ...]
    when: tuple[str, ...]
    because: str


STRICTER: Final = (
    Stricter(("blind",), ("CURRENT ALERTING", "WAITING ALERTING"), "a ringing call is answered or dropped; it is not sent on"),
    Stricter(
        ("hold", "tones", "consult"),
        ("CURRENT ALERTING picked up", "WAITING ALERTING picked up", "CONSULT ALERTING picked up"),
        "the far end still rings: there is nobody to hold, and some switches lose such a call (facts: esl-control, 03d)",
    ),
    Stricter(("blind", "consult"), ("CONSULT",), "an enquiry is part of its first call's transfer"),
    Stricter(
        ("alternate",),
        tuple(f"{role} {state} with an enquiry ALERTING" for role in ("CURRENT", "WAITING") for state in ("HELD", "CONNECTED")),
        "whoever is asked is not there yet",
    ),
    Stricter(("unhold",), ("CONSULT HELD",), "one mouth: while the first call is talked to, the two are alternated"),
    Stricter(
        ("blind", "consult"),
        tuple(f"{role} {state} with an enquiry" for role in ("CURRENT", "WAITING") for state in ("HELD", "CONNECTED")),
        "the transfer that was begun is completed, alternated or cancelled",
    ),
    Stricter(
        ("unhold",),
        tuple(f"{role} HELD with an enquiry {does}" for role in ("CURRENT", "WAITING") for does in ("ALERTING", "CONNECTED")),
        "while somebody is asked, the first call waits: the two are alternated, or the enquiry is cancelled",
    ),
    Stricter(("unhold",), ("CURRENT HELD", "WAITING HELD"), "one mouth: while another call is talked on, this one stays on hold"),
)


def is_stricter(verb: str, situation: str, at: Desk) -> bool:
    """Tell whether a verb that the switch would carry out is not offered on purpose."""
    return any(verb in rule.verbs and situation.startswith(rule.when) for rule in STRICTER if _applies(rule, at))


def _applies(rule: Stricter, at: Desk) -> bool:
    # Held alone is no reason: somebody else has to be talked to.
    return not rule.because.startswith("one mouth") or any(call.state is CallState.CONNECTED for call in at.model.calls)


# --- the walk


async def _check(start: Start, choices: list[int], tell: Callable[[str], object] = lambda text: None) -> None:
    for length in range(len(choices) + 1):
        await _check_after(start, choices[:length], tell)


async def _check_after(start: Start, choices: list[int], tell: Callable[[str], object]) -> None:
    async with desk(command_timeout_seconds=0.5) as at:
        done = await walk(at, start, choices)
        tell("\n".join(done))
        assert at.line_says() == at.switch_says(), "what is shown is what is there"
        assert all(at.legs_of(call) for call in at.model.calls), "each call by its own identifier"
        tries = [(verb, place) for place in range(len(at.model.calls)) for verb in VERBS]
    for verb, place in tries:
        async with desk(command_timeout_seconds=0.5) as copy:
            await walk(copy, start, choices)
            await _try(copy, verb, copy.model.calls[place])


async def _try(at: Desk, verb: str, call: Call) -> None:
    feature, act = VERBS[verb]
    tones = _tones_of(at)
    where = f"{verb} of a call that is {_situation(call, at)}"
    before = _before(at, call, tones)
    stricter = is_stricter(verb, _situation(call, at), at)
    if feature in call.features:
        assert not stricter, f"offered, though it is not to be: {where}"
        await act(at, call, at.model)
        await at.settle()
        assert _had_effect(at, verb, call, before), f"offered, but without effect: {where}"
        assert at.line_says() == at.switch_says(), f"what is shown is not what is there after {where}"
        return
    seen = _seen(at, tones)
    # Refused, or without effect.
    with suppress(CommandError, SwitchError):
        await act(at, call, at.provider)
    await at.settle()
    assert stricter or _seen(at, tones) == seen, f"not offered, but done: {where}"


def explore(backend: str, *, examples: int, longest: int) -> None:
    # Not shrunk: each attempt walks dozens of times, and the moves are told in words.
    phases = (Phase.reuse, Phase.generate)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(STARTS), st.lists(st.integers(0, 1 << 16), max_size=longest))
    def walks(start: Start, choices: list[int]) -> None:
        anyio.run(_check, start, choices, note, backend=backend)

    walks()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_is_offered_works_and_what_is_not_does_not(backend: str) -> None:
    explore(backend, examples=12, longest=8)


# --- a deliberate error in the table makes the walk fail


async def ringing(at: Desk) -> None:
    """A caller is not answered yet."""
    at.switchboard.incoming(CALLERS[0], OWN)
    await at.settle()


async def calling(at: Desk) -> None:
    """The own phone is picked up, and whom it calls is not."""
    await at.ask(at.model.make_call, FAR)
    at.switchboard.answer(at.own_legs[0].uuid)
    await at.settle()


async def holding(at: Desk) -> None:
    """A caller is on hold."""
    await talking(at)
    await at.ask(at.model.hold_call)
    await at.settle()


async def asking(at: Desk) -> None:
    """A caller is on hold, and who is asked is not there yet."""
    await talking(at)
    await at.ask(at.model.make_consult_call, ENQUIRED)
    await at.settle()


async def alternated(at: Desk) -> None:
    """The caller is talked to, and who was asked is on hold."""
    await enquiring(at)
    await at.ask(at.model.alternate)
    await at.settle()


ROWS: Final[dict[str, Start]] = {
    "BITS_RINGING_IN": ringing,
    "BITS_RINGING_OUT": calling,
    "BITS_CONNECTED": talking,
    "BITS_HELD": holding,
}


def _errors() -> Iterator[Any]:
    for row, start in ROWS.items():
        for verb, (feature, _) in VERBS.items():
            yield pytest.param(row, start, feature, id=f"{row} {verb}")


@pytest.mark.parametrize(("row", "start", "feature"), list(_errors()))
def test_an_error_in_what_a_state_permits_is_found(
    row: str, start: Start, feature: CallFeature, monkeypatch: pytest.MonkeyPatch
) -> None:
    anyio.run(_check, start, [])
    bits = getattr(line, row)
    flipped = bits ^ int(feature) if isinstance(bits, int) else tuple(of_holders ^ int(feature) for of_holders in bits)
    monkeypatch.setattr(line, row, flipped)
    with pytest.raises((AssertionError, CommandError, SwitchError)):
        anyio.run(_check, start, [])


@pytest.mark.parametrize(
    ("rule", "start", "what", "feature"),
    [
        ("ringing", asking, "parent_gains", CallFeature.CANCEL_TRANSFER),
        ("talking", enquiring, "parent_gains", CallFeature.CANCEL_TRANSFER),
        ("talking", enquiring, "parent_gains", CallFeature.COMPLETE_TRANSFER),
        ("talking", enquiring, "parent_gains", CallFeature.ALTERNATE),
        ("ringing", asking, "parent_gains", CallFeature.ALTERNATE),
        ("ringing", asking, "parent_loses", CallFeature.BLIND_TRANSFER),
        ("ringing", asking, "parent_loses", CallFeature.CONSULT),
        ("ringing", asking, "parent_loses", CallFeature.UNHOLD),
        ("talking", enquiring, "parent_loses", CallFeature.BLIND_TRANSFER),
        ("talking", enquiring, "parent_loses", CallFeature.CONSULT),
        ("talking", enquiring, "parent_loses", CallFeature.UNHOLD),
        ("talking", enquiring, "consult_loses", CallFeature.BLIND_TRANSFER),
        ("talking", enquiring, "consult_loses", CallFeature.CONSULT),
        ("held", alternated, "consult_loses", CallFeature.UNHOLD),
        ("held", alternated, "parent_loses", CallFeature.BLIND_TRANSFER),
        ("held", alternated, "parent_gains", CallFeature.COMPLETE_TRANSFER),
    ],
)
def test_an_error_in_what_an_enquiry_changes_is_found(
    rule: str, start: Start, what: str, feature: CallFeature, monkeypatch: pytest.MonkeyPatch
) -> None:
    anyio.run(_check, start, [])
    consulting = dict(line.CONSULTING)
    consulting[rule] = attrs.evolve(consulting[rule], **{what: getattr(consulting[rule], what) ^ feature})
    monkeypatch.setattr(line, "CONSULTING", consulting)
    with pytest.raises((AssertionError, CommandError, SwitchError)):
        anyio.run(_check, start, [])


@pytest.mark.parametrize("report", [reports.Held, reports.Retrieved, reports.Connected])
def test_an_error_in_where_a_report_leads_is_found(report: type[reports.CallReport], monkeypatch: pytest.MonkeyPatch) -> None:
    without = {state: {kind: to for kind, to in ways.items() if kind is not report} for state, ways in line.TRANSITIONS.items()}
    monkeypatch.setattr(line, "TRANSITIONS", without)
    with pytest.raises((AssertionError, CommandError, SwitchError, IndexError, TimeoutError)):
        anyio.run(_check, enquiring, [])


def test_each_exception_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is listed as stricter than the switch is something that the switch does."""
    needed: set[str] = set()

    async def note_what_is_done(start: Start) -> None:
        async with desk() as at:
            await start(at)
            count = len(at.model.calls)
        for verb, place in [(verb, place) for verb in VERBS for place in range(count)]:
            async with desk() as copy:
                await start(copy)
                call = copy.model.calls[place]
                feature, act = VERBS[verb]
                if feature in call.features:
                    continue
                situation, tones = _situation(call, copy), _tones_of(copy)
                seen = _seen(copy, tones)
                with suppress(CommandError, SwitchError):
                    await act(copy, call, copy.provider)
                await copy.settle()
                if _seen(copy, tones) != seen:
                    needed.update(rule.because for rule in STRICTER if verb in rule.verbs and situation.startswith(rule.when))

    async def asking_further(at: Desk) -> None:
        await asking(at)
        at.switchboard.answer(at.own_legs[1].uuid)
        await at.settle()

    async def beside_another(at: Desk) -> None:
        await holding(at)
        at.switchboard.incoming(CALLERS[1], OWN)
        at.switchboard.answer(at.own_legs[-1].uuid)
        await at.settle()

    for start in (ringing, calling, asking, asking_further, enquiring, alternated, beside_another):
        anyio.run(note_what_is_done, start)
    assert needed == {rule.because for rule in STRICTER}
