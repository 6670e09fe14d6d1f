"""What the three distributions contain, say of themselves, and are when installed."""

from __future__ import annotations

import json
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.packaging.conftest import PROJECTS, ROOT, Built, Environment

PACKAGE = {"cti_framework": "cti_framework", "cti_framework_webitel": "cti_webitel", "cti_framework_dummy": "cti_dummy"}

distributions = pytest.mark.parametrize("name", PROJECTS)


def source_files(name: str) -> set[str]:
    """The files of the distribution's package, as its folder holds them."""
    folder = PROJECTS[name] / PACKAGE[name]
    files = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return {path.relative_to(PROJECTS[name]).as_posix() for path in files}


def metadata_of(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(path).decode())


@distributions
def test_a_wheel_holds_the_package_and_nothing_else(built: dict[str, Built], name: str) -> None:
    with zipfile.ZipFile(built[name].wheel) as archive:
        files = {path for path in archive.namelist() if ".dist-info/" not in path}
        notices = {path for path in archive.namelist() if path.endswith("/licenses/LICENSE")}
    assert files == source_files(name)
    assert f"{PACKAGE[name]}/py.typed" in files
    assert len(notices) == 1


@distributions
def test_an_sdist_holds_what_builds_the_wheel_and_no_tests(built: dict[str, Built], name: str) -> None:
    with tarfile.open(built[name].sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    frame = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}
    assert frame <= files
    assert files - frame - {".gitignore", "CHANGELOG.md"} == source_files(name)


@distributions
def test_the_metadata_says_licence_typing_and_python(built: dict[str, Built], name: str) -> None:
    metadata = metadata_of(built[name].wheel)
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_the_three_share_one_version(built: dict[str, Built]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {metadata_of(archives.wheel)["Version"] for archives in built.values()} == {declared["project"]["version"]}


def test_the_three_carry_the_same_licence() -> None:
    assert len({(project / "LICENSE").read_bytes() for project in PROJECTS.values()}) == 1


def test_the_constraints_are_exact_and_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    for pin in pins:
        name, equals, pinned = pin.partition("==")
        assert equals and name.replace("-", "").replace("_", "").replace(".", "").isalnum(), pin
        assert pinned and not set(pinned) & set("/@; *<>"), pin


def test_the_wheels_install_together_and_register_their_providers(built: dict[str, Built], environment: Environment) -> None:
    environment.install(*(archives.wheel for archives in built.values()))
    script = """
import json, cti_framework, cti_webitel, cti_dummy
from importlib.metadata import entry_points
found = {e.name: e.value for e in entry_points(group="cti_framework.providers")}
print(json.dumps({"found": found, "files": [m.__file__ for m in (cti_framework, cti_webitel, cti_dummy)]}))
"""
    said = json.loads(environment.python_says(script))
    assert said["found"] == {"webitel": "cti_webitel:WebitelCtiProvider", "dummy": "cti_dummy:DummyCtiProvider"}
    assert all(Path(file).is_relative_to(environment.folder) for file in said["files"])
