"""The package is as good as quality.yaml says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own
from cti_framework.provider import BaseCtiProvider
from cti_framework.settings import describe_settings

from cti_esl import EslCtiProvider

ROOT: Final = Path(__file__).parents[1]
NAME: Final = "esl"
PROVIDER: Final[type[BaseCtiProvider]] = EslCtiProvider
RULES: Final[Mapping[str, Any]] = yaml.safe_load((ROOT / "quality.yaml").read_text(encoding="utf-8"))["rules"]
STATES: Final = {"done", "todo", "exempt"}


def state_of(rule: str) -> str:
    """What quality.yaml says of a rule."""
    said = RULES[rule]
    return str(said if isinstance(said, str) else said["status"])


def implements(*names: str) -> bool:
    """Whether the provider has one of these of its own."""
    for name in names:
        own = getattr(PROVIDER, name)
        inherited = getattr(BaseCtiProvider, name)
        if getattr(own, "__func__", own) is not getattr(inherited, "__func__", inherited):
            return True
    return False


def is_described() -> bool:
    """Whether each setting says what it is for."""
    types = (PROVIDER.settings_type, PROVIDER.user_settings_type)
    return all(one.help for settings_type in types for one in describe_settings(NAME, settings_type))


def has_table() -> bool:
    """Whether the README shows what the kit measured, without a failure."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    place = re.search(r"<!-- capabilities -->(.*?)<!-- /capabilities -->", readme, re.DOTALL)
    return place is not None and "| verdict |" in place[1]


def has_walls() -> bool:
    """Whether import-linter is told to see to it that only public names are used."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    return any(contract["type"] == "public_names" for contract in contracts)


PROOFS: Final[Mapping[str, Callable[[], bool]]] = {
    "conformance": lambda: (ROOT / "tests" / "test_conformance.py").is_file(),
    "settings-described": is_described,
    "typed": lambda: files("cti_esl").joinpath("py.typed").is_file(),
    "walls": has_walls,
    "probe": lambda: implements("probe"),
    "simulator": lambda: implements("simulator"),
    "diagnosis": lambda: implements("diagnose", "endpoints"),
    "replay": lambda: implements("replay"),
    "capability-table": has_table,
    "captures": lambda: any((ROOT / "tests").glob("captures/*")),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_answered(rule: str) -> None:
    assert state_of(rule) in STATES, f"{rule}: {state_of(rule)!r} is none of {sorted(STATES)}"
    if state_of(rule) == "exempt":
        assert RULES[rule].get("reason", "").strip(), f"{rule}: exempt needs a reason"


@pytest.mark.parametrize("rule", PROOFS)
def test_what_is_said_to_be_done_is(rule: str) -> None:
    if state_of(rule) == "done":
        assert PROOFS[rule](), f"quality.yaml says that {rule} is done"
