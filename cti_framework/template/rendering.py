"""Rendering: what copier makes of the template and of what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import attrs

from cti_framework.errors import CtiError
from cti_framework.template.answers import STEP, Answers

__all__ = ["Templates", "check_copier", "new_provider"]

_VERSIONS: Final = Path(__file__).parent / "versions"


@attrs.frozen
class Templates:
    """The versions of the template that are at hand.

    Attributes:
        folders: Where each is, by its number.
    """

    folders: Mapping[int, Path]

    @classmethod
    def installed(cls) -> Self:
        """Find those that cti-framework brings.

        Returns:
            The present one and all before it.
        """
        return cls(MappingProxyType({int(path.name): path for path in _VERSIONS.iterdir() if path.name.isdecimal()}))

    @property
    def present(self) -> int:
        """The number of the newest."""
        return max(self.folders)

    def render(self, version: int, answers: Answers, into: Path) -> None:
        """Render one.

        Args:
            version: Its number.
            answers: What it is told.
            into: The folder; it is made where it is not there.

        Raises:
            CtiError: There is no such version, or copier is not installed.
        """
        check_copier()
        folder = self.folders.get(version)
        if folder is None:
            is_newer = version > self.present
            raise CtiError(
                f"The template's version {version} is not at hand, only {', '.join(map(str, sorted(self.folders)))}.",
                step=STEP,
                remedy="Upgrade cti-framework." if is_newer else "Restore the package's .copier-answers.yml.",
            )
        # Loaded here, because only who makes a package needs it, and it takes long.
        import copier

        copier.run_copy(
            str(folder),
            into,
            data={**answers.as_data(), "template_version": version},
            settings=copier.Settings(),
            defaults=True,
            overwrite=True,
            quiet=True,
        )


def check_copier() -> None:
    """See whether packages can be made at all.

    Raises:
        CtiError: copier is not installed.
    """
    if find_spec("copier") is None:
        raise CtiError(
            "Making a provider's package needs copier, which is not installed.",
            step=STEP,
            remedy='Install the extra: pip install "cti-framework[template]".',
        )


def new_provider(answers: Answers, folder: Path, *, templates: Templates | None = None) -> int:
    """Make a provider's package.

    Args:
        answers: What the template is told.
        folder: Where to; it is empty, or not there.
        templates: The versions of the template; ``None``: those that are installed. The newest is taken.

    Returns:
        The number of the template.

    Raises:
        CtiError: The folder holds something, or copier is not installed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CtiError(
            f"{folder} is there already, and holds something.",
            step=STEP,
            remedy="Name another folder; `cti new-provider --update DIR` brings a package up to the template.",
        )
    templates = templates or Templates.installed()
    templates.render(templates.present, answers, folder)
    return templates.present
