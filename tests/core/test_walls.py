"""The walls that import-linter cannot see: public names, the root package, declared dependencies."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "cti_framework"
DISTRIBUTIONS = {
    "cti_framework": ROOT / "pyproject.toml",
    "cti_webitel": ROOT / "plugins/webitel/pyproject.toml",
    "cti_dummy": ROOT / "plugins/dummy/pyproject.toml",
}
PACKAGES = {
    "cti_framework": CORE,
    "cti_webitel": ROOT / "plugins/webitel/cti_webitel",
    "cti_dummy": ROOT / "plugins/dummy/cti_dummy",
}
LIGHT_LAYERS_ABOVE_THE_ROOT = {"cli", "panel", "testing"}


def imports_of(package: Path) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Every import of a package from outside its own folder, wherever it stands, with ``file:line``."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def faults_against_the_public_surface(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """What a plugin's import takes from the core that is not offered there."""
    if isinstance(node, ast.Import):
        modules = [(alias.name, [alias.name]) for alias in node.names]
    else:
        modules = [(node.module or "", [alias.name for alias in node.names])]
    for module, names in modules:
        if module.partition(".")[0] != "cti_framework":
            continue
        if any(part.startswith("_") for part in module.split(".")):
            yield f"{module} is private"
            continue
        if isinstance(node, ast.ImportFrom):
            imported = importlib.import_module(module)
            offered = getattr(imported, "__all__", ())
            for name in names:
                submodule = (
                    not name.startswith("_") and importlib.util.find_spec(f"{module}.{name}") if is_package(imported) else None
                )
                if name not in offered and not submodule:
                    yield f"{module} does not offer {name}"


def is_package(module: object) -> bool:
    """Whether the module can hold submodules."""
    return hasattr(module, "__path__")


@pytest.mark.parametrize("plugin", ["cti_webitel", "cti_dummy"])
def test_plugins_use_public_names_of_the_core_only(plugin: str) -> None:
    faults = [
        f"{where}: {fault}" for where, node in imports_of(PACKAGES[plugin]) for fault in faults_against_the_public_surface(node)
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from cti_framework.calls import no_such_name", "cti_framework.calls does not offer no_such_name"),
        ("from cti_framework.calls import attrs", "cti_framework.calls does not offer attrs"),
        ("from cti_framework._inside import Thing", "cti_framework._inside is private"),
        ("import cti_framework.calls._inside", "cti_framework.calls._inside is private"),
    ],
)
def test_the_look_at_plugins_can_fail(source: str, fault: str) -> None:
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.Import | ast.ImportFrom)
    assert list(faults_against_the_public_surface(node)) == [fault]


def test_the_core_never_imports_its_own_root() -> None:
    """The root package gathers the public names; a room that imported it would import every other room."""
    faults = [
        where
        for where, node in imports_of(CORE)
        if isinstance(node, ast.ImportFrom)
        and node.module == "cti_framework"
        and Path(where).parts[1] not in LIGHT_LAYERS_ABOVE_THE_ROOT
        and not where.startswith("cti_framework/__init__.py")
        and any(not (CORE / f"{alias.name}.py").exists() and not (CORE / alias.name).is_dir() for alias in node.names)
    ]
    assert faults == []


@pytest.mark.parametrize("package", DISTRIBUTIONS)
def test_what_is_imported_is_declared(package: str) -> None:
    """Every third-party import is a dependency, or an extra, of the very distribution that imports it."""
    declared = declared_by(DISTRIBUTIONS[package], without={"dev", "test"})
    assert undeclared_imports(PACKAGES[package], {package}, declared) == set()


def test_what_the_tests_import_is_declared() -> None:
    declared = declared_by(DISTRIBUTIONS["cti_framework"], without={"dev"})
    assert undeclared_imports(ROOT / "tests", {"tests", *PACKAGES}, declared) == set()


def declared_by(project_file: Path, *, without: set[str]) -> set[str]:
    """The names of the distributions that a project depends on, its extras included."""
    project = tomllib.loads(project_file.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    return {normalised(line) for line in project["dependencies"]} | {
        normalised(line) for name, lines in extras.items() if name not in without for line in lines
    }


def undeclared_imports(folder: Path, own: set[str], declared: set[str]) -> set[str]:
    """Where a folder's code imports what is neither Python's, nor its own, nor declared."""
    owners = packages_distributions()
    undeclared = set()
    for where, node in imports_of(folder):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - own:
            if not {normalised(owner) for owner in owners.get(top, [top])} & declared:
                undeclared.add(f"{where}: {top}")
    return undeclared


def normalised(requirement: str) -> str:
    """The distribution's name in a requirement, as package indexes compare names."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()
