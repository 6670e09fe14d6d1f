"""What the template is told of a package: kept in the package, so that it can be brought up to a newer template."""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path
from typing import Any, Final, Self

import attrs

from cti_framework.errors import CtiError

__all__ = ["ANSWERS_FILE", "STEP", "Answers"]

ANSWERS_FILE: Final = ".copier-answers.yml"
STEP: Final = "new-provider"

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST: Final = 24
_LONGEST_TEXT: Final = 60
# They would end the texts that it is put into.
_UNFIT: Final = frozenset('"\\{}')
# cti_framework would be the core's package, and `cti.` its settings.
_TAKEN: Final = frozenset({"cti", "framework"})
_FIELD: Final = re.compile(r"^(\w+): (.+)$", re.MULTILINE)


def _check_name(_: object, __: attrs.Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(value) or len(value) > _LONGEST or keyword.iskeyword(value) or value in _TAKEN:
        raise CtiError(
            f"{value!r} cannot be a provider's name.",
            step=STEP,
            remedy=f"Take up to {_LONGEST} small letters, digits and single underscores, a letter first; not cti, not framework.",
        )


def _check_text(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and (
        len(value) > _LONGEST_TEXT or not value.strip() or not value.isprintable() or not _UNFIT.isdisjoint(value)
    ):
        raise CtiError(
            f"The {attribute.name} {value!r} cannot be used.",
            step=STEP,
            remedy=f"Take one line of up to {_LONGEST_TEXT} characters, without quotation marks, backslashes and braces.",
        )


@attrs.frozen(kw_only=True)
class Answers:
    """What the template is told.

    Attributes:
        name: The provider's name, as the setting ``cti.provider`` has it.
        title: The PBX's name, for people; ``None``: made from the name.
        author: Who writes it; ``None``: made from the name.

    Raises:
        CtiError: One of them cannot be used.
    """

    name: str = attrs.field(validator=_check_name)
    title: str | None = attrs.field(default=None, validator=_check_text)
    author: str | None = attrs.field(default=None, validator=_check_text)

    @property
    def distribution(self) -> str:
        """The name of the distribution, and of the folder where none is said."""
        return f"cti-{self.name.replace('_', '-')}"

    def as_data(self) -> dict[str, Any]:
        """Tell them as copier takes them.

        Returns:
            Those that were given.
        """
        return {key: value for key, value in attrs.asdict(self).items() if value is not None}

    @classmethod
    def recorded(cls, folder: Path) -> tuple[Self, int]:
        """Read what a package was made with.

        Args:
            folder: The package's.

        Returns:
            The answers, and the number of the template.

        Raises:
            CtiError: It was not made from this template, or what was recorded cannot be read.
        """
        path = folder / ANSWERS_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CtiError(
                f"{folder} was not made by `cti new-provider`: it has no {ANSWERS_FILE}.",
                step=STEP,
                remedy="Name the folder that has it.",
            ) from None
        try:
            # Each line is one answer, and each answer JSON, which is YAML, too.
            found = {key: json.loads(value) for key, value in _FIELD.findall(text)}
            version = found.pop("template_version")
            if type(version) is not int:
                raise TypeError(f"the template's number is {version!r}")
            return cls(**found), version
        except (CtiError, KeyError, TypeError, ValueError) as error:
            raise CtiError(
                f"{path} cannot be read: {error}.",
                step=STEP,
                remedy="Restore it from the package's history: `cti new-provider` wrote it.",
            ) from error
