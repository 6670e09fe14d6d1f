"""The three distributions, built once, and environments outside this repository to install them in.

Nothing is downloaded: the wheels are built without isolation, and an environment borrows the third-party packages of the
one that runs the tests, but none of its editable projects. So what is proved is proved of the wheels.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = {
    "cti_framework": ROOT,
    "cti_framework_webitel": ROOT / "plugins/webitel",
    "cti_framework_dummy": ROOT / "plugins/dummy",
}


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints; its errors are the test's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "CTI_", "COV"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=50)
    if done.returncode != 0:
        pytest.fail(f"{command[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(project: Path, into: Path, *kinds: str) -> list[Path]:
    """The archives built from a project folder by its own back end; both kinds where none is named."""
    before = set(into.iterdir()) if into.is_dir() else set()
    options = [f"--{kind}" for kind in kinds]
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", into, *options, project, cwd=into.parent)
    return sorted(set(into.iterdir()) - before)


@attrs.frozen
class Built:
    """The archives of one distribution."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """The archives of the three distributions; the wheels are made from the sdists, as an index's users make them."""
    archives = {}
    for name, project in PROJECTS.items():
        made = build(project, tmp_path_factory.mktemp(name) / "dist")
        (wheel,) = (path for path in made if path.suffix == ".whl")
        (sdist,) = (path for path in made if path.name.endswith(".tar.gz"))
        archives[name] = Built(wheel=wheel, sdist=sdist)
    return archives


@attrs.frozen
class Environment:
    """A virtual environment outside the repository."""

    folder: Path

    @property
    def bin(self) -> Path:
        """Where its commands are."""
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.bin / "python"

    def install(self, *wheels: Path) -> None:
        """Install wheels and nothing else; a dependency that is not there is an error."""
        pip = (sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "install", "--quiet")
        run(*pip, "--no-index", *wheels, cwd=self.folder)

    def python_says(self, script: str) -> str:
        """What a script prints that runs isolated from this repository."""
        return run(self.python, "-I", "-W", "error", "-c", script, cwd=self.folder)


def lend_third_party_packages(borrower: Path) -> None:
    """Link what is installed here into a folder, except editable projects and the `.pth` files that lead to them."""
    borrower.mkdir()
    for site_packages in {Path(sysconfig.get_path(scheme)) for scheme in ("purelib", "platlib")}:
        for entry in site_packages.iterdir():
            ours = entry.name.startswith(("cti_", "_cti_", "__editable__"))
            if entry.suffix != ".pth" and entry.name != "__pycache__" and not ours:
                (borrower / entry.name).symlink_to(entry)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment that has third-party packages and nothing of this repository."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    lend_third_party_packages(folder / "lent")
    site_packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    (site_packages / "lent.pth").write_text(f"{folder / 'lent'}\n", encoding="utf-8")
    return Environment(folder=folder)
