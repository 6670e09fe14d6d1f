"""The READMEs say what is so."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib

import pytest

from cti_framework.provider import BaseCtiProvider
from tests.packaging.conftest import PROJECTS, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_host_code_compiles_and_imports_what_there_is() -> None:
    (code,) = blocks("python")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_entry_point_is_in_the_group_that_ours_use() -> None:
    (block,) = blocks("toml")
    (group,) = tomllib.loads(block)["project"]["entry-points"]
    for name in ("cti_framework_webitel", "cti_framework_dummy"):
        project = tomllib.loads((PROJECTS[name] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert list(project["entry-points"]) == [group]


def test_the_mandatory_methods_are_these() -> None:
    sentence = re.search(r"Four methods are mandatory:(.*?)\. The rest", README, re.DOTALL)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == BaseCtiProvider.__abstractmethods__


@pytest.mark.parametrize("name", PROJECTS)
def test_every_link_and_folder_is_there(name: str) -> None:
    folder = PROJECTS[name]
    text = (folder / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    folders = re.findall(r"^\| `([\w/]+/)`", text, re.MULTILINE)
    assert [path for path in [*links, *folders] if not (folder / path).exists()] == []


def test_every_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`[^`]+`|^\$.*$", README, re.MULTILINE)))) <= targets
