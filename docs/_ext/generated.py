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
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from state_diagram import Transitions, state_diagram

from cti_framework import errors
from cti_framework.agents import AgentFeature
from cti_framework.calls import CallFeature
from cti_framework.line import CONSULTING, FEATURES, TRANSITIONS
from cti_framework.settings import SettingDescription, describe_settings

__all__ = [
    "EXAMPLE_SETTINGS",
    "capability_table",
    "consulting_table",
    "error_table",
    "features_table",
    "help_of_command",
    "settings_at",
    "settings_list",
    "setup",
    "transition_table",
    "variable_text",
]


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
    default = "It has to be set." if told.required else f"Default: {_value(told.default)}."
    scope = "Set by the system alone." if told.system_only else "Set by the system; a user's own parameters may say otherwise."
    code = f" The product's own key: `{'`, `'.join(told.codes)}`." if told.codes else ""
    secret = " Never shown." if told.secret else ""
    facts = [f"May hold: {told.allowed}{_unit(told.key)}. {default}{secret}", f"{scope}{code}", _example(told)]
    return "\n".join([f"`{told.key}`", f": {meaning}", "", *(f"  - {fact}" for fact in facts)])


_UNITS: Mapping[str, str] = {"_seconds": "seconds", "_kilobytes": "kilobytes"}
EXAMPLE_SETTINGS = Path(__file__).parents[1] / "examples" / "settings.toml"
"""Has a value for every setting that a file can hold."""


def _unit(key: str) -> str:
    return next((f"; in {unit}" for ending, unit in _UNITS.items() if key.endswith(ending)), "")


def _example(told: SettingDescription) -> str:
    """Write a setting as it stands in a file and as a variable; one that no file can hold is shown below the list."""
    prefix, _, name = told.key.partition(".")
    values = tomllib.loads(EXAMPLE_SETTINGS.read_text(encoding="utf-8")).get(prefix, {})
    if name not in values:
        return f"Example: below; the variable `{told.variable}` cannot hold it."
    return f"Example: `{told.key} = {json.dumps(values[name])}`, or `{told.variable}={variable_text(values[name])}`."


def variable_text(value: Any) -> str:
    """Write a value of a settings file as a variable holds it.

    Args:
        value: As TOML gives it.

    Returns:
        Its text.
    """
    if isinstance(value, list):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)


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

    def run(self) -> list[nodes.Node]:
        """Write it, and again where the examples change."""
        self.env.note_dependency(str(EXAMPLE_SETTINGS))
        return super().run()


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
