"""The wall that a plugin stands behind, as a contract of import-linter: of the core it uses public names only.

In a plugin's ``pyproject.toml``::

    [tool.importlinter]
    root_packages = ["cti_acme"]
    include_external_packages = true
    contract_types = ["public_names: cti_framework.testing.walls.PublicNamesContract"]

    [[tool.importlinter.contracts]]
    name = "Only public names of cti-framework are used"
    type = "public_names"
    users = ["cti_acme"]
    of = "cti_framework"

A name is public where no part of its module's name begins with an underscore and the module lists it in ``__all__``.
import-linter itself knows modules and not names, so the sources are read here. Extra ``walls``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
from importlinter import Contract, ContractCheck, fields, output

__all__ = ["PrivateUse", "PublicNamesContract", "private_uses"]

_USES: Final = "uses"


@attrs.frozen(order=True)
class PrivateUse:
    """A place where something private is used.

    Attributes:
        module: The module that uses it.
        line: Where in its source, from 1.
        what: What it uses.
    """

    module: str
    line: int
    what: str


class PublicNamesContract(Contract):
    """A contract of import-linter: the modules of ``users`` use public names of the package ``of``, and no others."""

    type_name = "public_names"

    users = fields.ListField(subfield=fields.StringField())
    of = fields.StringField()

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        """Find what is broken.

        Args:
            graph: The modules.
            verbose: Whether to tell more; there is no more.

        Returns:
            What was found.
        """
        package = str(self.of)
        users: list[str] = self.users  # type: ignore[assignment]  # a field gives what it was filled with
        modules = (name for user in users for name in (user, *graph.find_descendants(user)))
        found = sorted(use for name in modules for use in private_uses(name, _source_of(name), package))
        return ContractCheck(kept=not found, metadata={_USES: found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say what is broken.

        Args:
            check: What was found.
        """
        for use in check.metadata[_USES]:
            output.print_error(f"{use.module} (l.{use.line}) uses {use.what}, which is private.")
        output.new_line()


def private_uses(module: str, source: str, package: str) -> Iterator[PrivateUse]:
    """Find the private names of a package that a module uses.

    Args:
        module: The module's name.
        source: Its source.
        package: The package whose names may be private, for example ``cti_framework``.

    Yields:
        Each use.
    """
    bound: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(home), level=0) if _is_within(home, package):
                for alias in node.names:
                    if not _is_public(home, alias.name):
                        yield PrivateUse(module, node.lineno, f"{home}.{alias.name}")
                    elif _is_module(f"{home}.{alias.name}"):
                        bound[alias.asname or alias.name] = f"{home}.{alias.name}"
            case ast.Import():
                for alias in node.names:
                    if _is_within(alias.name, package):
                        bound[alias.asname or package] = alias.name if alias.asname else package
                        if not _is_public_module(alias.name):
                            yield PrivateUse(module, node.lineno, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)) is not None:
            name, _, rest = dotted.partition(".")
            home, _, last = f"{bound.get(name, '')}.{rest}".rpartition(".")
            if name in bound and _is_public_module(home) and _is_module(home) and not _is_public(home, last):
                yield PrivateUse(module, node.lineno, f"{home}.{last}")


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _is_public_module(module: str) -> bool:
    return not any(part.startswith("_") for part in module.split("."))


def _is_public(module: str, name: str) -> bool:
    if not _is_public_module(module) or (name.startswith("_") and name != "__version__"):
        return False
    if name == "*" or _is_module(f"{module}.{name}"):
        return True
    return name in _public_names(import_module(module))


def _public_names(module: ModuleType) -> Any:
    return getattr(module, "__all__", ())


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _dotted(node: ast.expr) -> str | None:
    """The dotted name that an expression is, or ``None``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _source_of(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    return Path(spec.origin).read_text(encoding="utf-8")
