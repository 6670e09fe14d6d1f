"""The example of a package of its own: it is built as anybody's is, installs beside the core, and is found."""

from __future__ import annotations

import json
import tarfile
import zipfile

import pytest

from tests.packaging.conftest import ROOT, Built, Environment, build, run

EXAMPLE = ROOT / "docs/examples/cti-esl"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Its archives; the wheel is made from the sdist."""
    made = build(EXAMPLE, tmp_path_factory.mktemp("cti_esl") / "dist")
    (wheel,) = (path for path in made if path.suffix == ".whl")
    (sdist,) = (path for path in made if path.name.endswith(".tar.gz"))
    return Built(wheel=wheel, sdist=sdist)


@pytest.fixture
def installed(built: dict[str, Built], example: Built, environment: Environment) -> Environment:
    """An environment with the core and the example, and without the project's own plugins."""
    environment.install(built["cti_framework"].wheel, example.wheel)
    return environment


def test_the_wheel_holds_the_package_and_no_tests(example: Built) -> None:
    source = EXAMPLE / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    with zipfile.ZipFile(example.wheel) as archive:
        held = {path for path in archive.namelist() if ".dist-info/" not in path}
    assert held == files
    assert "cti_esl/py.typed" in held


def test_the_sdist_holds_its_tests_and_captures(example: Built) -> None:
    with tarfile.open(example.sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    captures = {path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.glob("tests/captures/*")}
    assert captures
    assert captures | {"tests/test_conformance.py", "quality.yaml", "README.md", "LICENSE"} <= files


def test_it_carries_the_projects_licence() -> None:
    assert (EXAMPLE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_reaches_for_nothing_outside_its_folder() -> None:
    for path in [*EXAMPLE.rglob("*.py"), EXAMPLE / "README.md", EXAMPLE / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text, path
        assert "plugins/" not in text, path


def test_it_is_found_and_loads(installed: Environment) -> None:
    listed = run(installed.bin / "cti", "providers", "--check", "--json", cwd=installed.folder)
    records = {record["name"]: record for record in map(json.loads, listed.splitlines())}
    assert set(records) == {"esl"}
    assert records["esl"]["distribution"] == "cti-esl"
    assert records["esl"]["status"] == "loaded"


def test_a_call_is_played_on_its_switch(installed: Environment) -> None:
    told = run(installed.bin / "cti", "demo", "--provider", "esl", cwd=installed.folder)
    assert "connected" in told.lower()


def test_importing_the_core_does_not_import_it(installed: Environment) -> None:
    assert installed.python_says("import sys, cti_framework; print('cti_esl' in sys.modules)").strip() == "False"
