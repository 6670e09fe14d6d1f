"""``cti new-provider``: what the template makes installs, passes its own checks and the kit, and says what it is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cti_framework.cli.application import run_application
from cti_framework.errors import CtiError
from cti_framework.template import Answers, Templates, new_provider, rendering
from tests.packaging.conftest import ROOT, Built, Environment, build, run

LONGEST = "a_name_of_24_characters1"
NEW_ACME = Answers(name="acme", title="Acme's PBX & Söhne", author="Anna O'Neil")


def make(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A target of the package's Makefile, in the environment that runs the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CTI_", "MAKE"))}
    command = ["make", target, f"PYTHON={sys.executable}", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as it comes from the template."""
    folder = tmp_path_factory.mktemp("template") / "cti-acme"
    new_provider(NEW_ACME, folder)
    return folder


@pytest.fixture
def own_acme(tmp_path: Path) -> Path:
    """Another, to be changed."""
    folder = tmp_path / "cti-acme"
    new_provider(NEW_ACME, folder)
    return folder


def change(path: Path, old: str, new: str) -> None:
    """Put one text in place of another, which is there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# --- what it makes

NEEDS_ITS_TOOLS = pytest.mark.skipif(
    any(importlib.util.find_spec(tool) is None for tool in ("importlinter", "mypy", "ruff")),
    reason="the package's own checks need ruff, mypy and import-linter: the extra dev",
)


@NEEDS_ITS_TOOLS
@pytest.mark.timeout(150)
@pytest.mark.parametrize("answers", [NEW_ACME, Answers(name="a"), Answers(name=LONGEST)], ids=lambda answers: answers.name)
def test_what_it_makes_passes_its_own_checks(answers: Answers, tmp_path: Path) -> None:
    new_provider(answers, tmp_path / "made")
    done = make("check", tmp_path / "made")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Only public names of cti-framework are used KEPT" in done.stdout


def test_it_is_complete_and_nothing_of_the_template_is_left_in_it(acme: Path) -> None:
    files = {path.relative_to(acme).as_posix(): path for path in acme.rglob("*") if path.is_file()}
    assert set(files) == {
        ".ci/run",
        ".ci/table.py",
        ".copier-answers.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
        "quality.yaml",
        "src/cti_acme/__init__.py",
        "src/cti_acme/pbx.py",
        "src/cti_acme/provider.py",
        "src/cti_acme/py.typed",
        "src/cti_acme/settings.py",
        "tests/test_conformance.py",
        "tests/test_provider.py",
        "tests/test_quality.py",
    }
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    assert [name for name, text in texts.items() if "{{" in text or "{%" in text] == []
    assert [name for name, text in texts.items() if str(ROOT) in text or "dummy" in text.lower()] == []
    assert os.access(files[".ci/run"], os.X_OK)
    assert Answers.recorded(acme) == (NEW_ACME, Templates.installed().present)


@pytest.mark.timeout(180)
def test_it_is_made_built_installed_and_measured_in_a_fresh_environment(
    built: dict[str, Built], environment: Environment, tmp_path: Path
) -> None:
    environment.install(built["cti_framework"].wheel)
    run(environment.python, "-m", "cti_framework.cli", "new-provider", "acme", cwd=tmp_path)
    folder = tmp_path / "cti-acme"
    # The second of two commands: nothing is installed for it.
    said = run(environment.python, "-m", "pytest", "-q", folder, cwd=tmp_path)
    assert " passed" in said

    (wheel,) = build(folder, tmp_path / "dist", "wheel")
    environment.install(wheel)
    (folder / "src").rename(tmp_path / "away")
    assert " passed" in run("make", "test", f"PYTHON={environment.python}", "ARGS=-q", cwd=folder)
    run("make", "table", f"PYTHON={environment.python}", cwd=folder)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    (head,) = (line for line in readme.splitlines() if "verdict" in line)
    assert head.startswith("| acme ")
    assert "Nothing was measured yet" not in readme
    assert "fails" not in readme

    played = run(environment.python, "-m", "cti_framework.cli", "demo", "--provider", "acme", cwd=tmp_path)
    assert "AcmeCtiProvider of cti-acme 0.1.0" in played
    listed = json.loads(run(environment.python, "-m", "cti_framework.cli", "providers", "--check", "--json", cwd=tmp_path))
    assert (listed["name"], listed["status"], listed["distribution"]) == ("acme", "loaded", "cti-acme")


# --- what holds it


@pytest.mark.timeout(100)
@NEEDS_ITS_TOOLS
@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("from cti_framework.transport._port import TransportPort", "cti_framework.transport._port"),
        ("from cti_framework.provider import _Nothing", "cti_framework.provider._Nothing"),
        ("from cti_framework.settings import CORE_PREFIX", "cti_framework.settings.CORE_PREFIX"),
    ],
)
def test_a_private_name_of_the_core_fails_its_check(own_acme: Path, line: str, named: str) -> None:
    (own_acme / "src/cti_acme/secretive.py").write_text(f'"""It takes what is not offered."""\n\n{line}\n', encoding="utf-8")
    # Only the walls are looked at: mypy and ruff may have words of their own.
    change(own_acme / "Makefile", "\t@$(PYTHON) -m mypy\n", "")
    change(own_acme / "Makefile", "\t@$(PYTHON) -m ruff check\n", "")
    change(own_acme / "Makefile", "\t@$(PYTHON) -m ruff format --check ||", "\t@true ||")
    done = make("check", own_acme)
    assert done.returncode != 0
    assert "Only public names of cti-framework are used BROKEN" in done.stdout
    assert f"cti_acme.secretive (l.3) uses {named}" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "failing"),
    [
        ("replay: todo", "replay: done", "test_what_is_said_to_be_done_is[replay]"),
        ("capability-table: todo", "capability-table: done", "test_what_is_said_to_be_done_is[capability-table]"),
        ("replay: todo", "replay: perhaps", "test_each_rule_is_answered[replay]"),
        ("replay: todo", "replay:\n    status: exempt", "test_each_rule_is_answered[replay]"),
        ("replay: todo", "replay:\n    status: exempt\n    reason: It is encrypted.", None),
    ],
)
def test_the_quality_scale_is_held(own_acme: Path, old: str, new: str, failing: str | None) -> None:
    change(own_acme / "quality.yaml", old, new)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_quality.py"]
    done = subprocess.run(command, cwd=own_acme, capture_output=True, text=True, timeout=55, check=False)
    failed = [line.split("::")[1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed == ([] if failing is None else [failing])
    assert done.returncode == (0 if failing is None else 1), done.stdout


def test_each_rule_of_the_quality_scale_is_explained(acme: Path) -> None:
    page = (ROOT / "docs/reference/quality-scale.md").read_text(encoding="utf-8")
    rules = re.findall(r"^  ([a-z-]+): (?:done|todo)$", (acme / "quality.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rules) > 10
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == rules


def test_what_the_package_asks_for_is_what_the_tests_run_with() -> None:
    """No tool that the template names is one that its tests here have not."""
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert {"copier", "hatchling", "import-linter", "mypy", "pyyaml", "ruff", "build"} <= pinned


# --- what it refuses


@pytest.mark.parametrize(
    "name", ["", "Acme", "1st", "my-pbx", "_a", "a_", "a__b", "class", "cti", "framework", "a" * 25, "a b", "ä"]
)
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(CtiError, match="cannot be a provider's name") as refused:
        Answers(name=name)
    assert refused.value.remedy


@pytest.mark.parametrize("text", ["", " ", 'a "b"', "a\\b", "two\nlines", "{{ 7 }}", "x" * 61])
def test_a_text_that_cannot_be_put_into_files(text: str) -> None:
    with pytest.raises(CtiError, match=r"The title .* cannot be used"):
        Answers(name="acme", title=text)
    with pytest.raises(CtiError, match=r"The author .* cannot be used"):
        Answers(name="acme", author=text)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    with pytest.raises(CtiError, match="holds something"):
        new_provider(NEW_ACME, tmp_path)
    with pytest.raises(CtiError, match="holds something"):
        new_provider(NEW_ACME, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_somebody_set_for_other_templates_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults:\n  author: Mallory\n", encoding="utf-8")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    new_provider(Answers(name="acme"), tmp_path / "made")
    assert Answers.recorded(tmp_path / "made")[0].author == "The authors of cti-acme"


def test_without_copier_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "find_spec", lambda name: None)
    with pytest.raises(CtiError, match="needs copier") as refused:
        new_provider(NEW_ACME, tmp_path / "made")
    assert "cti-framework[template]" in refused.value.remedy
    assert not (tmp_path / "made").exists()


# --- the command


def test_the_command_makes_the_folder_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_application(["new-provider", "my_pbx", "--title", "My PBX"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("cti-my-pbx is there: a provider 'my_pbx'")
    assert "python -m pytest cti-my-pbx" in said.err
    assert (tmp_path / "cti-my-pbx/src/cti_my_pbx/provider.py").is_file()
    assert run_application(["new-provider", "my_pbx"]) == 1
    assert "holds something" in capsys.readouterr().err


def test_the_command_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "here"
    assert run_application(["new-provider", "acme", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"folder": str(folder), "from": None, "to": Templates.installed().present, "changed": [], "conflicts": []}


@pytest.mark.parametrize("arguments", [[], ["acme", "--update", "."], ["--update", ".", "--author", "Anna"]])
def test_the_command_used_wrongly(arguments: list[str]) -> None:
    assert run_application(["new-provider", *arguments]) == 2
