"""Draws the transition table of a call as SVG: nothing but this module is needed, and the same table gives the same picture.

Each state is a column. Each row is a report and where it leads: a dot at every state that it leads away from, and one line from
there to an arrow's tip at the state that it leads to. Boxes with arrows between them would have to be laid out anew, by hand,
whenever the table changes, and cross each other even so; here there is a place for everything, and nothing is in another's way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

import attrs

from cti_framework.calls import CallState
from cti_framework.line import TRANSITIONS

__all__ = ["Row", "Transitions", "rows_of", "state_diagram"]

Transitions = Mapping[CallState, Mapping[type, CallState]]

_GUTTER, _COLUMN, _MARGIN = 108, 113, 4
_BOX_WIDTH, _BOX_HEIGHT = 106, 36
_ROW_HEIGHT, _HEAD_HEIGHT = 38, 62
_DOT, _TIP = 4.5, 6
_ACCENT = "var(--color-brand-primary, currentColor)"
_TITLE = "The states of a call, and the reports that move it from one to another. The table below says the same."


@attrs.frozen
class Row:
    """One row of the diagram.

    Attributes:
        report: The report's name.
        sources: The states that it leads away from.
        target: The state that it leads to.
    """

    report: str
    sources: tuple[CallState, ...]
    target: CallState


def rows_of(transitions: Transitions = TRANSITIONS) -> tuple[Row, ...]:
    """Tell the ways of a transition table, without those that stay where they are.

    Args:
        transitions: The table.

    Returns:
        One row a report and the state that it leads to, in the table's order.
    """
    ways: dict[tuple[str, CallState], list[CallState]] = {}
    for report in dict.fromkeys(report for row in transitions.values() for report in row):
        for state, row in transitions.items():
            after = row.get(report)
            if after is not None and after is not state:
                ways.setdefault((report.__name__, after), []).append(state)
    return tuple(Row(report, tuple(sources), target) for (report, target), sources in ways.items())


def state_diagram(transitions: Transitions = TRANSITIONS) -> str:
    """Draw a transition table.

    Args:
        transitions: The table.

    Returns:
        An SVG element that takes the page's colours, light or dark.
    """
    rows = rows_of(transitions)
    states = tuple(dict.fromkeys((*transitions, *(row.target for row in rows))))
    columns = {state: _GUTTER + _COLUMN * (place + 0.5) for place, state in enumerate(states)}
    width = _GUTTER + _COLUMN * len(states) + _MARGIN
    height = _HEAD_HEIGHT + _ROW_HEIGHT * len(rows) + _MARGIN
    parts = [_head(width, height), *_stripes(rows, width), *_lifelines(columns.values(), height)]
    for place, row in enumerate(rows):
        parts += _way(row, columns, _HEAD_HEIGHT + _ROW_HEIGHT * (place + 0.5))
    parts += (_box(state, x, is_final=state not in transitions) for state, x in columns.items())
    return "".join([*parts, "</svg>"])


def _head(width: float, height: float) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg"'
        f' style="width:100%;max-width:{width:g}px;height:auto" aria-labelledby="cti-states-title" font-size="13">'
        f'<title id="cti-states-title">{_TITLE}</title>'
    )


def _stripes(rows: Sequence[Row], width: float) -> Iterator[str]:
    for place in range(0, len(rows), 2):
        y = _HEAD_HEIGHT + _ROW_HEIGHT * place
        yield f'<rect x="0" y="{y}" width="{width:g}" height="{_ROW_HEIGHT}" fill="currentColor" fill-opacity="0.045"/>'


def _lifelines(columns: Iterable[float], height: float) -> Iterator[str]:
    for x in columns:
        yield (
            f'<line x1="{x:g}" y1="{_BOX_HEIGHT}" x2="{x:g}" y2="{height:g}" stroke="currentColor" stroke-opacity="0.3"'
            ' stroke-dasharray="2 4"/>'
        )


def _way(row: Row, columns: Mapping[CallState, float], y: float) -> Iterator[str]:
    target = columns[row.target]
    sources = {state: columns[state] for state in row.sources}
    yield (
        f'<text x="10" y="{y:g}" dominant-baseline="central" font-family="var(--font-stack--monospace, monospace)"'
        f' fill="currentColor">{escape(row.report)}</text>'
    )
    for side in (-1, 1):
        farthest = max((x for x in sources.values() if (x - target) * side > 0), key=lambda x: abs(x - target), default=None)
        if farthest is not None:
            tip = target + side * 1.5
            yield (
                f'<line x1="{farthest:g}" y1="{y:g}" x2="{tip + side * _TIP:g}" y2="{y:g}" stroke="{_ACCENT}" stroke-width="2"/>'
            )
            yield (
                f'<path d="M{tip:g} {y:g} l{side * 2 * _TIP} {-_TIP} v{2 * _TIP} z" fill="{_ACCENT}"'
                f' data-report="{escape(row.report)}" data-to="{row.target.name}"/>'
            )
    for state, x in sources.items():
        yield (
            f'<circle cx="{x:g}" cy="{y:g}" r="{_DOT}" fill="{_ACCENT}" data-from="{state.name}"'
            f' data-report="{escape(row.report)}" data-to="{row.target.name}"/>'
        )


def _box(state: CallState, x: float, *, is_final: bool) -> str:
    left = x - _BOX_WIDTH / 2
    frame = 'stroke="currentColor" stroke-opacity="0.6"'
    inner = f'<rect x="{left + 3:g}" y="4" width="{_BOX_WIDTH - 6}" height="{_BOX_HEIGHT - 6}" rx="4" fill="none" {frame}/>'
    return (
        f'<rect x="{left:g}" y="1" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" {frame}'
        f' fill="var(--color-background-secondary, #f8f9fb)" data-state="{state.name}"/>{inner if is_final else ""}'
        f'<text x="{x:g}" y="{1 + _BOX_HEIGHT / 2:g}" font-weight="600" font-size="12" text-anchor="middle"'
        f' dominant-baseline="central" fill="currentColor">{state.name}</text>'
    )
