"""Bringing a package up to the present template, with all that its author changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import attrs

from cti_framework.errors import CtiError
from cti_framework.template.answers import STEP, Answers
from cti_framework.template.rendering import Templates, check_copier
from cti_framework.template.repository import Repository

__all__ = ["Update", "update_provider"]


@attrs.frozen(kw_only=True)
class Update:
    """What was brought into a package.

    Attributes:
        from_version: The number of the template that it was of.
        to_version: The one that it is of now.
        changed: The files that changed, from the repository's root; those with conflicts are among them.
        conflicts: Those that hold conflicts.
    """

    from_version: int
    to_version: int
    changed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


def update_provider(folder: Path, *, templates: Templates | None = None) -> Update:
    """Bring a package up to the present template. What its author changed is kept: git merges, and nothing is committed.

    Args:
        folder: The package's, in a git repository where all is committed.
        templates: The versions of the template; ``None``: those that are installed.

    Returns:
        What was brought. Where the author changed what the template changed, too, there are conflicts, as after any merge.

    Raises:
        CtiError: It is no such package, not all is committed, or copier or git is not installed.
    """
    check_copier()
    templates = templates or Templates.installed()
    answers, version = Answers.recorded(folder)
    if version > templates.present:
        raise CtiError(
            f"{folder} is of the template's version {version}, and here is {templates.present}.",
            step=STEP,
            remedy="Upgrade cti-framework.",
        )
    repository = Repository.around(folder)
    repository.check_clean()
    if version == templates.present:
        return Update(from_version=version, to_version=version)
    with tempfile.TemporaryDirectory() as scratch:
        commits: list[str] = []
        for number in (version, templates.present):
            rendered = Path(scratch, str(number))
            # As copier's recopy does it: the template again, with the answers that were recorded.
            templates.render(number, answers, rendered / repository.prefix)
            commits.append(repository.commit_of(rendered, *commits))
    repository.merge_change_of(commits[-1])
    return Update(
        from_version=version,
        to_version=templates.present,
        changed=repository.changed(),
        conflicts=repository.conflicts(),
    )
