"""``cti new-provider --update``: a package of an older template is brought up to the present one, and keeps what was changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from cti_framework.cli.application import run_application
from cti_framework.errors import CtiError
from cti_framework.template import Answers, Templates, Update, new_provider, update_provider

OLDER = Path(__file__).parent / "templates" / "0"
INSTALLED = Templates.installed()
ALL = Templates({0: OLDER, **INSTALLED.folders})
ACME = Answers(name="acme", title="Acme", author="Anna")
PROVIDER = "src/cti_acme/provider.py"
OWN_VERB = '''
    async def send_dtmf(self, call: Call, digits: str) -> None:
        """Press keys.

        Args:
            call: The call.
            digits: Which.
        """
        await self._ask("send_dtmf", lambda connection: None)
'''


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose git knows nobody, and that has nothing of copier's."""
    for name in ("XDG_CONFIG_HOME", "EMAIL", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    whom = ("-c", "user.name=Anna", "-c", "user.email=anna@example.invalid", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *whom, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def commit(folder: Path) -> None:
    """All that there is."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "As it is")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the older template, in a repository of its own."""
    folder = tmp_path / "cti-acme"
    new_provider(ACME, folder, templates=Templates({0: OLDER}))
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a file."""
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def files_of(folder: Path) -> dict[str, bytes]:
    """What is in it, beside git's."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {name: path.read_bytes() for path in found if not (name := path.relative_to(folder).as_posix()).startswith(".git/")}


# --- it keeps what was changed


def test_an_unchanged_package_becomes_what_the_present_template_makes(package: Path, tmp_path: Path) -> None:
    done = update_provider(package, templates=ALL)
    new_provider(ACME, tmp_path / "new")
    assert files_of(package) == files_of(tmp_path / "new")
    assert (done.from_version, done.to_version, done.conflicts) == (0, INSTALLED.present, ())
    assert {"NOTES.md", "quality.yaml", "Makefile", PROVIDER, ".copier-answers.yml"} <= set(done.changed)
    assert "LICENSE" not in done.changed


def test_what_git_ignores_on_this_machine_comes_all_the_same(package: Path, tmp_path: Path) -> None:
    (tmp_path / "ignored").write_text("*.yaml\n", encoding="utf-8")
    git(package, "config", "core.excludesFile", str(tmp_path / "ignored"))
    assert "quality.yaml" in update_provider(package, templates=ALL).changed
    assert (package / "quality.yaml").is_file()


def test_what_the_author_changed_is_kept_and_what_is_new_is_there(package: Path) -> None:
    edit(package / PROVIDER, lambda text: text.replace("\n    async def _ask(", f"{OWN_VERB}\n    async def _ask("))
    edit(package / "README.md", lambda text: text.replace("# cti-acme\n", "# cti-acme, mine\n"))
    (package / "LICENSE").write_text("Mine.\n", encoding="utf-8")
    (package / "tests/test_provider.py").unlink()
    (package / "src/cti_acme/mine.py").write_text('"""Mine."""\n', encoding="utf-8")
    commit(package)
    head = git(package, "rev-parse", "HEAD")

    done = update_provider(package, templates=ALL)

    provider = (package / PROVIDER).read_text(encoding="utf-8")
    assert OWN_VERB in provider
    assert "async def probe" in provider
    readme = (package / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# cti-acme, mine\n")
    assert "<!-- capabilities -->" in readme
    assert (package / "LICENSE").read_text(encoding="utf-8") == "Mine.\n"
    assert not (package / "tests/test_provider.py").exists()
    assert (package / "src/cti_acme/mine.py").exists()
    assert not (package / "NOTES.md").exists()
    assert done.conflicts == ()
    # Nothing is committed, and all of it can be taken back.
    assert git(package, "rev-parse", "HEAD") == head
    assert git(package, "branch", "--list").split() == ["*", "main"]
    git(package, "reset", "--hard", "--quiet")
    assert git(package, "status", "--porcelain") == ""


def test_a_file_that_the_author_moved_is_followed(package: Path) -> None:
    git(package, "mv", PROVIDER, "src/cti_acme/telephony.py")
    commit(package)
    update_provider(package, templates=ALL)
    assert "async def probe" in (package / "src/cti_acme/telephony.py").read_text(encoding="utf-8")
    assert not (package / PROVIDER).exists()


def test_where_both_changed_the_same_there_is_a_conflict_as_after_any_merge(package: Path) -> None:
    edit(package / "Makefile", lambda text: text.replace("test check format", "test check format mine"))
    edit(package / "NOTES.md", lambda text: text + "It is old.\n")
    commit(package)
    done = update_provider(package, templates=ALL)
    assert done.conflicts == ("Makefile", "NOTES.md")
    makefile = (package / "Makefile").read_text(encoding="utf-8")
    assert "<<<<<<<" in makefile
    assert "test check format mine\n" in makefile
    assert "test check format table build\n" in makefile
    # Who changed what the template has no more, keeps it until he decides.
    assert (package / "NOTES.md").read_text(encoding="utf-8").endswith("It is old.\n")
    assert {line[:2] for line in git(package, "status", "--porcelain").splitlines() if line[3:] in done.conflicts} == {"UU", "UD"}
    # The rest is done.
    assert (package / "quality.yaml").exists()


def test_a_package_within_a_larger_repository(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    folder = whole / "plugins" / "cti acme"
    new_provider(ACME, folder, templates=Templates({0: OLDER}))
    (whole / "README.md").write_text("The whole.\n", encoding="utf-8")
    git(whole, "init", "--quiet")
    commit(whole)
    done = update_provider(folder, templates=ALL)
    assert "plugins/cti acme/quality.yaml" in done.changed
    assert all(path.startswith("plugins/cti acme/") for path in done.changed)
    new_provider(ACME, tmp_path / "new")
    assert files_of(folder) == files_of(tmp_path / "new")
    assert (whole / "README.md").read_text(encoding="utf-8") == "The whole.\n"


def test_a_second_time_there_is_nothing_to_do(package: Path) -> None:
    update_provider(package, templates=ALL)
    commit(package)
    before = files_of(package)
    assert update_provider(package, templates=ALL) == Update(from_version=INSTALLED.present, to_version=INSTALLED.present)
    assert files_of(package) == before


# --- what it refuses


def untidy(package: Path) -> None:
    (package / "new.txt").write_text("new", encoding="utf-8")


def changed(package: Path) -> None:
    edit(package / "README.md", lambda text: text + "More.\n")


def staged(package: Path) -> None:
    changed(package)
    git(package, "add", "README.md")


@pytest.mark.parametrize("make_dirty", [untidy, changed, staged])
def test_where_not_all_is_committed_nothing_is_done(package: Path, make_dirty: Callable[[Path], None]) -> None:
    make_dirty(package)
    before = files_of(package)
    with pytest.raises(CtiError, match="Not all is committed") as refused:
        update_provider(package, templates=ALL)
    assert ("new.txt" if make_dirty is untidy else "README.md") in refused.value.message
    assert files_of(package) == before


def test_without_a_repository_it_says_what_to_do(tmp_path: Path) -> None:
    new_provider(ACME, tmp_path / "made", templates=Templates({0: OLDER}))
    with pytest.raises(CtiError, match="no git repository") as refused:
        update_provider(tmp_path / "made", templates=ALL)
    assert "git init" in refused.value.remedy


def test_without_git_it_says_so(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CtiError, match="needs git"):
        update_provider(package, templates=ALL)


def test_a_folder_that_is_no_such_package(tmp_path: Path) -> None:
    with pytest.raises(CtiError, match="was not made by"):
        update_provider(tmp_path, templates=ALL)


@pytest.mark.parametrize(
    "text", ["", "name: acme\n", 'template_version: "0"\nname: "acme"\n', 'template_version: 0\nname: "No"\n', "\0", "name: [\n"]
)
def test_answers_that_cannot_be_read(package: Path, text: str) -> None:
    (package / ".copier-answers.yml").write_text(text, encoding="utf-8")
    with pytest.raises(CtiError, match="cannot be read") as refused:
        update_provider(package, templates=ALL)
    assert refused.value.remedy


def test_a_package_of_a_newer_template(package: Path) -> None:
    edit(package / ".copier-answers.yml", lambda text: text.replace("template_version: 0", "template_version: 99"))
    with pytest.raises(CtiError, match="version 99") as refused:
        update_provider(package, templates=ALL)
    assert refused.value.remedy == "Upgrade cti-framework."


def test_a_template_that_is_not_at_hand(package: Path) -> None:
    before = files_of(package)
    with pytest.raises(CtiError, match="version 0 is not at hand"):
        update_provider(package, templates=INSTALLED)
    assert files_of(package) == before


def test_it_goes_where_git_s_hooks_call_it(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert update_provider(package, templates=ALL).conflicts == ()


# --- the command


@pytest.fixture
def all_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a release that has an older template behind it."""
    monkeypatch.setattr(Templates, "installed", classmethod(lambda cls: ALL))


@pytest.mark.usefixtures("all_at_hand")
def test_the_command_tells_what_it_brought(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_application(["new-provider", "--update", str(package)]) == 0
    said = capsys.readouterr()
    assert f"is brought from template 0 to {INSTALLED.present}" in said.out
    assert "changed   Makefile" in said.out
    assert "git diff --cached" in said.err


@pytest.mark.usefixtures("all_at_hand")
def test_the_command_tells_conflicts_and_ends_with_1(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(package / "Makefile", lambda text: text.replace("test check format", "test check format mine"))
    commit(package)
    assert run_application(["new-provider", "--update", str(package), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["from"], said["to"], said["conflicts"]) == (0, INSTALLED.present, ["Makefile"])
    assert "quality.yaml" in said["changed"]


def test_the_command_at_the_present_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_provider(ACME, tmp_path / "made")
    git(tmp_path / "made", "init", "--quiet")
    commit(tmp_path / "made")
    assert run_application(["new-provider", "--update", str(tmp_path / "made")]) == 0
    assert "nothing is to do" in capsys.readouterr().out


def test_the_versions_at_hand_are_numbered_without_a_gap() -> None:
    assert sorted(INSTALLED.folders) == list(range(1, INSTALLED.present + 1))
    assert attrs.evolve(ACME, name="b").distribution == "cti-b"
