"""The page about Webitel's engine: every command, every callback, every fault and its test."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cti_webitel.engine.callbacks import CALLBACKS, Callback
from cti_webitel.engine.client import Webitel
from cti_webitel.engine.commands import Commands

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "webitel-engine.md").read_text(encoding="utf-8")
COMMANDS, _, _REST = PAGE.partition("## Callbacks")
CALLED_BACK, _, _REST = _REST.partition("## Errors")
FAULTS = PAGE.partition("## Faults that are lived with")[2]

# What belongs to the object itself, and is no command.
_OF_THE_OBJECT = {"run", "look", "execute"}


def methods() -> list[str]:
    """Give every public coroutine of `Webitel`."""
    return sorted(
        {
            name
            for base in Webitel.__mro__
            if issubclass(base, Commands)
            for name, value in vars(base).items()
            if inspect.iscoroutinefunction(value) and not name.startswith("_")
        }
    )


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("method", [name for name in methods() if name != "run"])
def test_every_command_with_its_arguments_and_its_answer(method: str) -> None:
    row = next((row for row in rows(COMMANDS) if row[1].startswith(f"`{method}(")), None)
    assert row is not None, method
    parameters = [
        ("*, " if parameter.kind is parameter.KEYWORD_ONLY and not before else "") + name
        for name, parameter, before in _parameters(getattr(Webitel, method))
    ]
    assert f"`{method}({', '.join(parameters)})`" in row[1]
    assert row[0]
    assert row[2]


def _parameters(method: object) -> list[tuple[str, inspect.Parameter, bool]]:
    """Give a method's parameters, and of each whether one before it can be given by its name only."""
    found = []
    keyword_only = False
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:  # type: ignore[arg-type]  # any callable
        found.append((name, parameter, keyword_only))
        keyword_only = keyword_only or parameter.kind is parameter.KEYWORD_ONLY
    return found


@pytest.mark.parametrize("method", [name for name in methods() if name not in _OF_THE_OBJECT])
def test_every_command_is_the_one_that_is_named(method: str) -> None:
    row = next(row for row in rows(COMMANDS) if row[1].startswith(f"`{method}("))
    command = row[0].strip("`")
    # What a method sends stands in its source, or in that of the method that it calls.
    source = inspect.getsource(getattr(Webitel, method))
    called = "".join(
        inspect.getsource(getattr(Webitel, name)) for name in re.findall(r"self\.(_?[a-z_]+)\(", source) if name != "execute"
    )
    assert f'"{command}"' in source + called, (method, command)


def test_nothing_is_listed_that_there_is_not() -> None:
    listed = {match[1] for row in rows(COMMANDS) if len(row) > 1 and (match := re.match(r"`(\w+)\(", row[1]))}
    assert listed <= set(methods())


@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda callback: callback.__name__)
def test_every_callback(callback: type[Callback]) -> None:
    of_the_library, ours = CALLED_BACK.split("| ours | class | when |")
    (row,) = [row for row in rows(ours if callback.ours else of_the_library) if row[1] == f"`{callback.__name__}`"]
    assert row[0] == f"`{callback.name}`"
    assert row[2]


@pytest.mark.parametrize("number", range(1, 26))
def test_every_fault_has_a_test_that_names_it(number: int) -> None:
    (row,) = [row for row in rows(FAULTS) if row[0].startswith(f"7.{number} ")]
    assert re.search(rf"`webitel/test_commands_\w+\.py::test_(?:deviation_)?quirk_7_{number}_\w+`", row[2])


def test_every_test_of_a_fault_is_listed() -> None:
    there = {
        f"webitel/{module.name}::{name}"
        for module in (ROOT / "tests" / "webitel").glob("test_*.py")
        for name in re.findall(r"def (test_(?:deviation_)?quirk_\w+)\(", module.read_text(encoding="utf-8"))
    }
    assert there == set(re.findall(r"`(webitel/test_\w+\.py::test_\w+)`", FAULTS))
