"""Every event has a section in the reference, and its example is told when that event happens, and for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cti_framework.events import EVENT_TYPES, Event, ResyncRequired
from tests.conformance.mutants import Able
from tests.docs.happenings import BEHIND, HAPPENINGS, made_without_a_session
from tests.docs.reference_pages import BACKENDS, DOCS, execute, imported, run, sections, session, talked_on, told_so_far

PAGE = "reference/events.md"
SECTIONS = sections(PAGE)
EVENTS = {event_type.__name__: event_type for event_type in (*EVENT_TYPES, ResyncRequired)}


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_an_example(event: str) -> None:
    assert event in SECTIONS, f"docs/{PAGE} has no section `{event}`"
    assert f"isinstance(event, {event})" in SECTIONS[event].code, f"the example of {event} is about something else"
    assert f"[`{event}`](#{event.lower()})" in (DOCS / PAGE).read_text(encoding="utf-8"), f"no table leads to {event}"


def test_no_event_is_told_that_there_is_not() -> None:
    assert set(SECTIONS) <= set(EVENTS)
    assert set(HAPPENINGS) == set(EVENTS.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("event", SECTIONS)
def test_the_example_of_an_event_is_for_that_event(event: str, backend: str, tmp_path: Path) -> None:
    section, event_type = SECTIONS[event], EVENTS[event]
    happened: list[Event] = []

    async def act() -> None:
        async with session(Able) as (model, pbx):
            await HAPPENINGS[event_type](model, pbx)
            happened.extend(await told_so_far(model))
            if event_type is ResyncRequired:
                happened.append(await anext(model.events(after=BEHIND)))
            call = happened[-1].call if hasattr(happened[-1], "call") else model.current_call
            made = made_without_a_session(event_type, call or await talked_on(model, pbx), model)
            if made is not None:
                happened.append(made)

        shown = dict.fromkeys(EVENTS.values(), 0)
        for one in happened:
            printed: list[str] = []
            given: dict[str, Any] = {
                **imported(),
                "event": one,
                "print": lambda *words, p=printed: p.append(" ".join(map(str, words))),
            }
            await execute(section, given)
            shown[type(one)] += len(printed)
        assert shown[event_type], f"the example of {event} said nothing in {[type(one).__name__ for one in happened]}"
        assert sum(shown.values()) == shown[event_type], shown

    run(backend, act)
