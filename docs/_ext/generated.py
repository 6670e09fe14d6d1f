"""Directives that write tables and a diagram from the code, so that the documentation cannot fall behind it.

============================  ======================================================================================
``cti-states``                a diagram of ``Line``'s transition table
``cti-transitions``           the table itself
``cti-features``              what each state permits
``cti-consulting``            what an enquiry changes in that
``cti-settings PREFIX CLASS`` the settings of a class, ``module:Class``
``cti-capabilities CLASS …``  what each of some providers, ``module:Class``, can do at most
``cti-errors``                every error with its stage, number and whether to try again
``cti-command NAME``          what ``cti NAME --help`` prints; without a name, what ``cti --help`` does
============================  ======================================================================================
"""

from __future__ import annotations

import inspect
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cti_framework import errors
from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature, CallState
from cti_framework.line import CONSULTING, FEATURES, TRANSITIONS
from cti_framework.settings import SettingDescription, describe_settings

__all__ = [
    "capability_table",
    "consulting_table",
    "error_table",
    "features_table",
    "help_of_command",
    "settings_at",
    "settings_list",
    "setup",
    "state_diagram",
    "transition_table",
]

Transitions = Mapping[CallState, Mapping[type, CallState]]


# Tables of the line ----------------------------------------------------------------------------------------------------


def transition_table(transitions: Transitions = TRANSITIONS) -> str:
    """Write the transition table: one row a report, one column a state.

    Args:
        transitions: The table.

    Returns:
        Markdown.
    """
    reports = list(dict.fromkeys(report for row in transitions.values() for report in row))
    rows = []
    for report in reports:
        cells = []
        for state, row in transitions.items():
            after = row.get(report)
            cells.append("refused" if after is None else "stays" if after is state else f"→ `{after.name}`")
        rows.append([f"`{report.__name__}`", *cells])
    return _table(["report", *(f"in `{state.name}`" for state in transitions)], rows)


def features_table() -> str:
    """Write what each state permits.

    Returns:
        Markdown.
    """
    rows = [[f"`{situation.state.name}`", situation.detail or "-", _flags(features)] for situation, features in FEATURES.items()]
    return _table(["state", "where it depends on more", "permits"], rows)


def consulting_table() -> str:
    """Write what an enquiry changes.

    Returns:
        Markdown.
    """
    rows = [
        [f"`{situation}`", _flags(rule.parent_gains), _flags(rule.parent_loses), _flags(rule.consult_loses)]
        for situation, rule in CONSULTING.items()
    ]
    return _table(["the enquiry is", "the first call gains", "the first call loses", "the enquiry loses"], rows)


def _flags(features: CallFeature) -> str:
    names = [f"`{flag.name}`" for flag in CallFeature if flag and flag in features]
    return ", ".join(names) or "nothing"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    listed = list(headings)
    lines = [_row(listed), _row(["---"] * len(listed)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# The diagram -----------------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 900, 470
_BOX_WIDTH, _BOX_HEIGHT = 132, 38
_LETTER_WIDTH, _LABEL_HEIGHT = 6.6, 18
_PLACES: Mapping[str, tuple[int, int]] = {
    "UNKNOWN": (90, 235),
    "ALERTING": (330, 60),
    "BUSY": (330, 410),
    "CONNECTED": (600, 160),
    "CONFERENCED": (600, 310),
    "NONE": (815, 235),
}
"""Where the states stand; one that is new stands at the bottom until somebody gives it a better place."""

_Point = tuple[float, float]
_Rectangle = tuple[float, float, float, float]


def state_diagram(transitions: Transitions = TRANSITIONS) -> str:
    """Draw the transition table: the states, and the reports that move a call from one to another.

    A report that leads from every state to the same one is drawn faintly and told once, at that state.

    Args:
        transitions: The table.

    Returns:
        An SVG element that takes the page's text colour.
    """
    edges: dict[tuple[str, str], list[str]] = defaultdict(list)
    for state, row in transitions.items():
        for report, after in row.items():
            if after is not state:
                edges[state.name, after.name].append(report.__name__)
    from_everywhere = _reports_from_everywhere(transitions)
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    places = {name: _PLACES.get(name, (90 + 150 * index, _HEIGHT - 25)) for index, name in enumerate(names)}
    taken = [_around(place, _BOX_WIDTH, _BOX_HEIGHT) for place in places.values()]
    lines, labels = [], []
    for (source, target), reports in edges.items():
        told = [report for report in reports if from_everywhere.get(report) != target]
        curve = _curve(places[source], places[target], is_faint=not told)
        lines.append(_line(curve, is_faint=not told))
        if told:
            labels.append(_label(curve, ", ".join(told), taken))
    boxes = [_box(name, places[name], [r for r, to in from_everywhere.items() if to == name]) for name in names]
    return "".join([_HEAD, *lines, *labels, *boxes, "</svg>"])


_HEAD = (
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" style="width:100%;height:auto"'
    ' aria-labelledby="cti-states-title">'
    '<title id="cti-states-title">The states of a call, and the reports that move it. The table below says the same.</title>'
    '<defs><marker id="cti-states-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
    ' orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="currentColor"/></marker></defs>'
)


def _reports_from_everywhere(transitions: Transitions) -> dict[str, str]:
    targets: dict[str, list[str]] = defaultdict(list)
    for state, row in transitions.items():
        for report, after in row.items():
            if after is not state:
                targets[report.__name__].append(after.name)
    return {report: names[0] for report, names in targets.items() if len(names) == len(transitions) and len(set(names)) == 1}


def _curve(start: _Point, end: _Point, *, is_faint: bool) -> tuple[_Point, _Point, _Point]:
    """Bend the way from box to box: to its left, so that there and back are two lines; a faint one around the others."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1)
    bend = 0.08 * length
    if is_faint:
        bend = math.copysign(0.28 * length, y2 - y1) if abs(y2 - y1) > 100 else 0.0
    control = ((x1 + x2) / 2 + bend * (y2 - y1) / length, (y1 + y2) / 2 - bend * (x2 - x1) / length)
    return _border(start, control), control, _border(end, control)


def _on(curve: tuple[_Point, _Point, _Point], t: float) -> _Point:
    (ax, ay), (cx, cy), (bx, by) = curve
    before, after, between = (1 - t) ** 2, t**2, 2 * t * (1 - t)
    return before * ax + between * cx + after * bx, before * ay + between * cy + after * by


def _line(curve: tuple[_Point, _Point, _Point], *, is_faint: bool) -> str:
    (ax, ay), (cx, cy), (bx, by) = curve
    return (
        f'<path d="M{ax:.0f} {ay:.0f} Q{cx:.0f} {cy:.0f} {bx:.0f} {by:.0f}" fill="none" stroke="currentColor"'
        f' stroke-opacity="{0.35 if is_faint else 0.9}" stroke-width="1.4" marker-end="url(#cti-states-tip)"/>'
    )


def _label(curve: tuple[_Point, _Point, _Point], words: str, taken: list[_Rectangle]) -> str:
    """Write on a line, where least is written already."""
    width = len(words) * _LETTER_WIDTH
    places = [_on(curve, t / 100) for t in (50, 44, 56, 38, 62, 32, 68, 26, 74, 20, 80)]
    best = min(places, key=lambda place: sum(_overlap(_around(place, width, _LABEL_HEIGHT), other) for other in taken))
    taken.append(_around(best, width, _LABEL_HEIGHT))
    x, y = best
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="12" text-anchor="middle" dominant-baseline="central" fill="currentColor"'
        f' stroke="var(--color-background-primary, #fff)" stroke-width="5" paint-order="stroke">{escape(words)}</text>'
    )


def _around(place: _Point, width: float, height: float) -> _Rectangle:
    x, y = place
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(one: _Rectangle, other: _Rectangle) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _border(box: _Point, towards: _Point) -> _Point:
    x, y = box
    dx, dy = towards[0] - x, towards[1] - y
    scale = min(
        _BOX_WIDTH / 2 / abs(dx) if dx else math.inf,
        _BOX_HEIGHT / 2 / abs(dy) if dy else math.inf,
    )
    return x + dx * scale, y + dy * scale


def _box(name: str, place: _Point, reports: list[str]) -> str:
    x, y = place
    said = f"{name}: ended" if name == CallState.NONE.name else name
    below = ""
    if reports:
        below = (
            f'<text x="{x}" y="{y + _BOX_HEIGHT / 2 + 14}" font-size="12" text-anchor="middle" fill="currentColor"'
            f' stroke="var(--color-background-primary, #fff)" stroke-width="5" paint-order="stroke">'
            f"{escape(', '.join(reports))}, from each</text>"
        )
    return (
        f'<rect x="{x - _BOX_WIDTH / 2:.0f}" y="{y - _BOX_HEIGHT / 2:.0f}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"'
        ' fill="var(--color-background-secondary, #f8f9fb)" stroke="currentColor"/>'
        f'<text x="{x}" y="{y}" font-size="13" font-weight="600" text-anchor="middle" dominant-baseline="central"'
        f' fill="currentColor">{escape(said)}</text>{below}'
    )


# Settings --------------------------------------------------------------------------------------------------------------


def settings_list(prefix: str, settings_type: type) -> str:
    """Write the settings of a class.

    Args:
        prefix: What their keys begin with.
        settings_type: The class.

    Returns:
        Markdown: a definition list.
    """
    meanings = _attributes_of(settings_type)
    return "\n\n".join(_setting(one, meanings) for one in describe_settings(prefix, settings_type))


def settings_at(prefix: str, where: str) -> str:
    """Write the settings of the class that is named.

    Args:
        prefix: What their keys begin with.
        where: ``module:Class``.

    Returns:
        Markdown: a definition list.
    """
    return settings_list(prefix, _named(where))


def _setting(told: SettingDescription, meanings: Mapping[str, str]) -> str:
    meaning = meanings.get(told.key.rpartition(".")[2], told.help)
    codes = f"; the product's own key `{'`, `'.join(told.codes)}`" if told.codes else ""
    default = "It has to be set." if told.required else f"Default: {_value(told.default)}."
    secret = " Never shown." if told.secret else ""
    alone = " Of the system alone." if told.system_only else ""
    may_hold = f"May hold: {told.allowed}. {default}{secret}{alone}"
    return f"`{told.key}`\n: {meaning}\n\n  {may_hold}\n\n  Variable `{told.variable}`{codes}."


def _value(value: Any) -> str:
    if value is None or value == ():
        return "nothing"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _attributes_of(documented: type) -> dict[str, str]:
    """Read the ``Attributes:`` section of a docstring."""
    _, _, section = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")
    found: dict[str, list[str]] = {}
    name = ""
    for line in section.splitlines():
        begins = re.match(r"    (\w+): (.*)", line)
        if begins:
            name = begins[1]
            found[name] = [begins[2]]
        elif name and line.startswith("        "):
            found[name].append(line.strip())
        elif line.strip():
            break
    return {name: " ".join(lines) for name, lines in found.items()}


# Errors ----------------------------------------------------------------------------------------------------------------


def error_table() -> str:
    """Write every error: what a host can read from its class.

    Returns:
        Markdown.
    """
    return _table(["error", "step", "stage", "retryable", "error_type"], _error_rows(errors.CtiError))


def _error_rows(error: type[errors.CtiError], depth: int = 0) -> Iterator[list[str]]:
    stage = error.stage.value if issubclass(error, errors.CommandError) else "-"
    yield [
        "&emsp;" * depth + f"`{error.__name__}`",
        f"`{error.step}`",
        stage if stage == "-" else f"`{stage}`",
        "yes" if error.retryable else "no",
        f"{error.error_type.value} `{error.error_type.name}`",
    ]
    for inner in error.__subclasses__():
        if inner.__module__ == errors.__name__:
            yield from _error_rows(inner, depth + 1)


# Capabilities ----------------------------------------------------------------------------------------------------------


def capability_table(*where: str) -> str:
    """Write what each provider can do at most.

    Args:
        *where: Each as ``module:Class``.

    Returns:
        Markdown.
    """
    found = [_named(one) for one in where]
    features: list[tuple[str, list[bool]]] = []
    features += [(flag.name or "", [flag in one.capabilities.calls for one in found]) for flag in CallFeature if flag]
    features += [(flag.name or "", [flag in one.capabilities.agent for one in found]) for flag in AgentFeature if flag]
    rows = [[f"`{name}`", *("yes" if can else "-" for can in can_each)] for name, can_each in features if any(can_each)]
    return _table(["feature", *(f"`{one.__name__}`" for one in found)], rows)


def _named(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


# The command -----------------------------------------------------------------------------------------------------------


_HELP_WIDTH = 96


def help_of_command(name: str) -> str:
    """Give what ``--help`` prints.

    Args:
        name: The subcommand; empty: the command itself.

    Returns:
        Plain text.
    """
    import click

    from cti_framework.cli.application import cti

    group = click.Context(cti, info_name="cti", **{**cti.context_settings, "terminal_width": _HELP_WIDTH})
    if not name:
        return cti.get_help(group)
    command = cti.commands[name]
    return command.get_help(click.Context(command, info_name=name, parent=group, terminal_width=_HELP_WIDTH))


# Directives ------------------------------------------------------------------------------------------------------------


class _Markdown(SphinxDirective):
    """A directive that writes Markdown, to be read as if it stood in the page."""

    write: ClassVar[Callable[..., str]]

    def run(self) -> list[nodes.Node]:
        """Write it."""
        return self.parse_text_to_nodes(type(self).write(*self.arguments))


class TransitionTable(_Markdown):
    """``cti-transitions``."""

    write = staticmethod(transition_table)


class FeaturesTable(_Markdown):
    """``cti-features``."""

    write = staticmethod(features_table)


class ConsultingTable(_Markdown):
    """``cti-consulting``."""

    write = staticmethod(consulting_table)


class ErrorTable(_Markdown):
    """``cti-errors``."""

    write = staticmethod(error_table)


class CapabilityTable(_Markdown):
    """``cti-capabilities``."""

    required_arguments = 1
    optional_arguments = 9
    write = staticmethod(capability_table)


class SettingsList(_Markdown):
    """``cti-settings``."""

    required_arguments = 2
    write = staticmethod(settings_at)


class Command(SphinxDirective):
    """``cti-command``."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write it."""
        text = help_of_command(self.arguments[0] if self.arguments else "")
        return [nodes.literal_block(text, text, language="text")]


class StateDiagram(SphinxDirective):
    """``cti-states``."""

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        return [nodes.raw("", f"<div>{state_diagram()}</div>", format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives.

    Args:
        app: Sphinx.

    Returns:
        What Sphinx asks.
    """
    app.add_directive("cti-states", StateDiagram)
    app.add_directive("cti-transitions", TransitionTable)
    app.add_directive("cti-features", FeaturesTable)
    app.add_directive("cti-consulting", ConsultingTable)
    app.add_directive("cti-capabilities", CapabilityTable)
    app.add_directive("cti-settings", SettingsList)
    app.add_directive("cti-errors", ErrorTable)
    app.add_directive("cti-command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
