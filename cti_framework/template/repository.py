"""The git repository that a package is in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import attrs

from cti_framework.errors import CtiError
from cti_framework.template.answers import STEP

__all__ = ["Repository"]

# Which repository is meant, is said by a folder; who calls from a hook of git has others set.
_ELSEWHERE: Final = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}
)
# The commits that are merged are in no branch; git wants somebody's name on them all the same.
_NOBODY: Final[Mapping[str, str]] = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "cti new-provider"), ("EMAIL", "nobody@localhost"), ("DATE", "2000-01-01T00:00:00+00:00"))
}


@attrs.frozen
class Repository:
    """A git repository.

    Attributes:
        root: The folder of its working tree.
        prefix: Where in it the package is; empty: at the root.
    """

    root: Path
    prefix: str

    @classmethod
    def around(cls, folder: Path) -> Self:
        """Find the repository that a folder is in.

        Args:
            folder: The package's.

        Returns:
            It.

        Raises:
            CtiError: It is in none, or git is not installed.
        """
        if shutil.which("git") is None:
            raise CtiError("Bringing a package up to the template needs git.", step=STEP, remedy="Install git.")
        found = _git(folder, "rev-parse", "--show-toplevel", "--show-prefix", check=False)
        if found.returncode != 0:
            raise CtiError(
                f"{folder} is in no git repository that can be read: {found.stderr.strip()}",
                step=STEP,
                remedy="What you changed is kept by a merge: run `git init`, `git add .` and `git commit` there first.",
            )
        root, prefix = found.stdout.splitlines()
        return cls(Path(root), prefix)

    def check_clean(self) -> None:
        """See that all is committed, so that what a merge brings can be told from the rest, and taken back.

        Raises:
            CtiError: Something is not.
        """
        changed = self._read("status", "--porcelain").splitlines()
        if changed:
            raise CtiError(
                f"Not all is committed in {self.root}: {', '.join(line[3:] for line in changed[:5])}.",
                step=STEP,
                remedy="Commit it, or put it away with `git stash --include-untracked`.",
            )

    def commit_of(self, rendered: Path, *parents: str) -> str:
        """Make a commit, in no branch, that holds a rendered package where the author's is.

        Args:
            rendered: A folder that holds it, under the package's prefix.
            parents: The commits it comes from.

        Returns:
            Its name.
        """
        index = {"GIT_INDEX_FILE": str(rendered.parent / f"{rendered.name}.index")}
        self._read("--work-tree", str(rendered), "add", "--all", "--force", ".", cwd=rendered, environment=index)
        tree = self._read("write-tree", environment=index).strip()
        options = [option for parent in parents for option in ("-p", parent)]
        return self._read("commit-tree", "--no-gpg-sign", *options, "-m", "The template of a provider", tree).strip()

    def merge_change_of(self, commit: str) -> bool:
        """Merge what a commit changed into the working tree and the index; nothing is committed.

        Args:
            commit: Which.

        Returns:
            Whether it went without a conflict.

        Raises:
            CtiError: git could not.
        """
        done = _git(self.root, "cherry-pick", "--no-commit", "--allow-empty", commit, check=False)
        if done.returncode != 0 and not self.conflicts():
            raise CtiError(
                f"git could not merge: {done.stderr.strip()}",
                step=STEP,
                remedy="Look at `git status`; nothing was committed.",
            )
        return done.returncode == 0

    def conflicts(self) -> tuple[str, ...]:
        """Tell the files that hold conflicts.

        Returns:
            Their paths, from the root.
        """
        return self._paths("diff", "--name-only", "--diff-filter=U")

    def changed(self) -> tuple[str, ...]:
        """Tell the files that differ from the last commit.

        Returns:
            Their paths, from the root.
        """
        return self._paths("diff", "--name-only", "HEAD")

    def _paths(self, *arguments: str) -> tuple[str, ...]:
        return tuple(sorted({path for path in self._read(*arguments, "-z").split("\0") if path}))

    def _read(self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
        if cwd is not None:
            # A work tree elsewhere has no repository of its own.
            arguments = ("--git-dir", _git(self.root, "rev-parse", "--absolute-git-dir").stdout.strip(), *arguments)
        return _git(cwd or self.root, *arguments, environment=environment).stdout


def _git(
    cwd: Path, *arguments: str, environment: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**inherited, **_NOBODY, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if check and done.returncode != 0:
        raise CtiError(f"git {arguments[0]} failed: {done.stderr.strip()}", step=STEP)
    return done
