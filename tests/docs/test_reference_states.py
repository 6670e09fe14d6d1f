"""The diagram of a call's states has every state and every way of the table, each where it belongs, and nothing over anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree as xml

import pytest

from cti_framework.calls import CallState
from cti_framework.line import CONSULTING, FEATURES, TRANSITIONS
from tests.docs.reference_pages import DOCS, own_module

PAGE = "reference/states.md"
LETTER_WIDTH = 0.68
"""Of the font's size, at most: bold capitals are the widest that there is."""


class Parked:
    """A report that is not there yet."""


class Released:
    """Another: it leads to two states."""


CHANGED: Mapping[CallState, Mapping[type, CallState]] = MappingProxyType(
    {
        **TRANSITIONS,
        CallState.CONNECTED: {**TRANSITIONS[CallState.CONNECTED], Parked: CallState.HELD, Released: CallState.BUSY},
        CallState.BUSY: {**TRANSITIONS[CallState.BUSY], Released: CallState.ALERTING},
    }
)
TABLES = (pytest.param(TRANSITIONS, id="as it is"), pytest.param(CHANGED, id="with a new state and new reports"))


def drawn(table: Mapping[CallState, Mapping[type, CallState]]) -> xml.Element:
    picture: str = own_module("state_diagram").state_diagram(table)
    return xml.fromstring(picture)


def elements(picture: xml.Element, name: str) -> list[xml.Element]:
    return picture.findall(f"{{http://www.w3.org/2000/svg}}{name}")


def middles(picture: xml.Element) -> dict[str, float]:
    """Give the middle of each state's column."""
    boxes = [box for box in elements(picture, "rect") if "data-state" in box.attrib]
    return {box.attrib["data-state"]: float(box.attrib["x"]) + float(box.attrib["width"]) / 2 for box in boxes}


@pytest.mark.parametrize("table", TABLES)
def test_every_state_is_drawn(table: Mapping[CallState, Mapping[type, CallState]]) -> None:
    states = {state.name for state in table} | {after.name for row in table.values() for after in row.values()}
    picture = drawn(table)
    columns = middles(picture)
    assert set(columns) == states
    names = {text.text: float(text.attrib["x"]) for text in elements(picture, "text") if text.text in states}
    assert names == columns


@pytest.mark.parametrize("table", TABLES)
def test_every_way_is_drawn_from_its_state_to_its_state(table: Mapping[CallState, Mapping[type, CallState]]) -> None:
    ways = {
        (state.name, report.__name__, after.name)
        for state, row in table.items()
        for report, after in row.items()
        if after is not state
    }
    picture = drawn(table)
    columns = middles(picture)
    dots = elements(picture, "circle")
    assert {(dot.attrib["data-from"], dot.attrib["data-report"], dot.attrib["data-to"]) for dot in dots} == ways
    assert len(dots) == len(ways)
    tips = elements(picture, "path")
    words = {(text.text, text.attrib["y"]) for text in elements(picture, "text")}
    for dot in dots:
        assert float(dot.attrib["cx"]) == columns[dot.attrib["data-from"]]
        # Its row says which report it is.
        assert (dot.attrib["data-report"], dot.attrib["cy"]) in words
        start, to = float(dot.attrib["cx"]), columns[dot.attrib["data-to"]]
        # A line runs from the dot to a tip that touches the column of the state that it leads to, from the dot's side.
        tip = next(x for x, y in map(tip_of, tips) if y == float(dot.attrib["cy"]) and (x - to) * (start - to) > 0)
        assert abs(tip - to) < 3
        assert any(covers(line, start, tip, float(dot.attrib["cy"])) for line in elements(picture, "line"))


def tip_of(path: xml.Element) -> tuple[float, float]:
    x, y, *_ = path.attrib["d"].removeprefix("M").split()
    return float(x), float(y)


def covers(line: xml.Element, one: float, other: float, y: float) -> bool:
    """Whether a line runs all the way between two points, but for the arrow's tip itself."""
    ends = sorted((float(line.attrib["x1"]), float(line.attrib["x2"])))
    low, high = sorted((one, other))
    return float(line.attrib["y1"]) == float(line.attrib["y2"]) == y and ends[0] <= low + 8 and ends[1] >= high - 8


@pytest.mark.parametrize("table", TABLES)
def test_nothing_lies_over_anything(table: Mapping[CallState, Mapping[type, CallState]]) -> None:
    picture = drawn(table)
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    placed = list(words_of(picture))
    for number, (words, one) in enumerate(placed):
        assert one[0] >= 0, words
        assert one[2] <= width, words
        assert one[3] <= height, words
        for others, other in placed[number + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (words, others)
        for line in elements(picture, "line"):
            left, right = sorted((float(line.attrib["x1"]), float(line.attrib["x2"])))
            top, bottom = sorted((float(line.attrib["y1"]), float(line.attrib["y2"])))
            assert right <= one[0] or left >= one[2] or bottom <= one[1] or top >= one[3], (words, line.attrib)


def words_of(picture: xml.Element) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Give each text with the room that it takes."""
    for text in elements(picture, "text"):
        words, size = text.text or "", float(text.attrib.get("font-size", picture.attrib["font-size"]))
        x, y, wide = float(text.attrib["x"]), float(text.attrib["y"]), len(words) * LETTER_WIDTH * size
        left = x - wide / 2 if text.attrib.get("text-anchor") == "middle" else x
        yield words, (left, y - size / 2, left + wide, y + size / 2)


def test_it_is_the_same_each_time() -> None:
    picture = own_module("state_diagram").state_diagram
    assert picture() == picture()


def test_it_can_be_read_in_the_light_and_in_the_dark_and_by_who_does_not_see() -> None:
    picture = drawn(TRANSITIONS)
    painted = {element.attrib[paint] for element in picture.iter() for paint in ("fill", "stroke") if paint in element.attrib}
    # The page's own colours: what it says in both. A colour in reserve is for where there is no page around it.
    assert all(colour in ("none", "currentColor") or colour.startswith("var(--color-") for colour in painted), painted
    (title,) = elements(picture, "title")
    assert picture.attrib["role"] == "img"
    assert picture.attrib["aria-labelledby"] == title.attrib["id"]
    assert "table below" in (title.text or "")


def generated() -> Any:
    pytest.importorskip("sphinx", reason="the documentation's tools are not installed")
    return own_module("generated")


def test_the_page_has_the_diagram_and_all_tables() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    for directive in ("cti-states", "cti-transitions", "cti-features", "cti-consulting"):
        assert f"```{{{directive}}}\n```" in text


def test_the_tables_say_the_same() -> None:
    table: str = generated().transition_table(CHANGED)
    assert "| `Parked` | refused | → `HELD` |" in table
    features: str = generated().features_table()
    for situation, permitted in FEATURES.items():
        (row,) = [
            row for row in features.splitlines() if row.startswith(f"| `{situation.state.name}` | {situation.detail or '-'} |")
        ]
        assert {flag.name for flag in permitted} == set(row.split("`")[3::2]) or not permitted
    consulting: str = generated().consulting_table()
    assert all(f"| `{enquiry}` |" in consulting for enquiry in CONSULTING)
