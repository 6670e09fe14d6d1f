"""What authors of providers copy from the pages works: the tutorial's package is built and measured, each page's code is run.

How a page shows code:

* ``{code-block} LANGUAGE`` with ``:caption: `FILE` `` is a piece of that file; pieces of one file go one below the other. The
  name stands in backticks: Markdown would make ``__init__`` a bold ``init``;
* ``{code-block} diff`` with a file's name changes that file;
* the blocks ``python`` of one page are one program, and the blocks with ``:caption: it prints`` are what it prints.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import pytest

from cti_framework.testing.conformance.running import BACKENDS

DOCS: Final = Path(__file__).parents[2] / "docs"
TUTORIAL: Final = DOCS / "tutorial" / "write-a-provider.md"
PROGRAMS: Final = (
    "provider-settings",
    "provider-agent-states",
    "provider-recordings",
    "provider-shared-connections",
    "test-a-provider",
    "publish-a-provider",
    "write-a-provider",
)
_SILENT: Final = frozenset({"write-a-provider"})
"""Pages whose code is there to be subclassed, and prints nothing."""
PRINTED: Final = "it prints"
_ON_BACKEND: Final = """\
import functools, runpy, sys
import anyio
anyio.run = functools.partial(anyio.run, backend=sys.argv[1])
runpy.run_path("program.py", run_name="__main__")
"""
_LOGGED: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
_BLOCK: Final = re.compile(r"^```(\{code-block\} )?([\w-]+)\n(?::caption: ([^\n]+)\n\n?)?(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """A piece of code on a page; its caption is empty where it has none."""

    language: str
    caption: str
    code: str


def blocks(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(page):
        caption = found[3] or ""
        assert caption in ("", PRINTED) or re.fullmatch(r"`[^`]+`", caption), f"A file's name stands in backticks: {caption}"
        yield Block(found[2], caption.strip("`"), found[4])


def files(page: str) -> dict[str, str]:
    """Give what a reader has copied to where, having come to the end of a page."""
    copied: dict[str, str] = {}
    for block in blocks(page):
        if block.caption and block.caption != PRINTED and block.language != "diff":
            copied[block.caption] = "\n".join(filter(None, (copied.get(block.caption), block.code)))
    return copied


def changed(text: str, diff: str) -> str:
    """Make the change that a ``diff`` block shows."""
    lines = diff.splitlines(keepends=True)
    before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
    assert text.count(before) == 1, f"This is not to be found, or not once:\n{before}"
    return text.replace(before, after)


def shown_after(page: str, marker: str) -> list[str]:
    """Give the lines of the first block ``text`` behind some words of a page."""
    _, found, rest = page.partition(marker)
    assert found, marker
    return next(block.code for block in blocks(rest) if block.language == "text").splitlines()


def environment(*folders: Path, **more: str) -> dict[str, str]:
    """Give the variables of a process, and from where it imports before all else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CTI_", "PYTEST_", "COV"))}
    path = os.pathsep.join(filter(None, (*map(str, folders), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": path, **more}


@attrs.frozen
class Package:
    """The tutorial's package, where a reader would have it."""

    folder: Path

    def write(self, copied: Mapping[str, str]) -> None:
        for name, text in copied.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        # What `pip install -e .` would write down.
        project = tomllib.loads(copied["pyproject.toml"])["project"]
        known = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        known.mkdir()
        (known / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
        )
        points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in project["entry-points"].items()
        )
        (known / "entry_points.txt").write_text(points, encoding="utf-8")

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment(self.folder, **variables),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def pytest(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments)


@pytest.fixture
def tutorial() -> str:
    return TUTORIAL.read_text(encoding="utf-8")


@pytest.fixture
def package(tutorial: str, tmp_path: Path) -> Package:
    made = Package(tmp_path / "cti-parlour")
    made.write(files(tutorial))
    return made


@pytest.fixture
def port(package: Package) -> Iterator[int]:
    """Let the tutorial's PBX listen, as its page says, on a port that is free here."""
    command = [sys.executable, "-m", "cti_framework.cli", "simulate", "parlour", "--port", "0", "--json"]
    with subprocess.Popen(
        command,
        cwd=package.folder,
        env=environment(package.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as simulator:
        try:
            assert simulator.stdout is not None
            told = json.loads(simulator.stdout.readline())["detail"]
            found = re.search(r"port (\d+)", told)
            assert found is not None, told
            yield int(found[1])
        finally:
            simulator.terminate()


# --- the tutorial


@pytest.mark.timeout(180)
def test_the_tutorials_provider_passes_the_kit(tutorial: str, package: Package) -> None:
    done = package.pytest("--cti-table", package.folder / "table.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = json.loads((package.folder / "table.json").read_text(encoding="utf-8"))
    assert table["passed"]
    assert {test["backend"] for test in table["tests"] if test["outcome"] == "passed"} >= set(BACKENDS)
    declared = {row["name"]: row["verdict"] for row in table["rows"] if row["declared"]}
    assert declared == dict.fromkeys(("DIAL", "ANSWER", "DROP", "HOLD", "UNHOLD"), "works")
    # How many tests there are grows with the kit; what came of them does not.
    printed = {row.split("|")[1]: row for row in done.stdout.splitlines() if row.startswith("| ")}
    for row in shown_after(tutorial, "$ python -m pytest\n"):
        cells, real = row.split("|"), printed[row.split("|")[1]].split("|")
        assert (cells[2], cells[-2]) == (real[2], real[-2])


@pytest.mark.timeout(180)
def test_the_tutorials_mistake_is_told_as_the_page_says(tutorial: str, package: Package) -> None:
    (mistake,) = [block for block in blocks(tutorial) if block.language == "diff"]
    wrong = package.folder / mistake.caption
    wrong.write_text(changed(wrong.read_text(encoding="utf-8"), mistake.code), encoding="utf-8")
    done = package.pytest("-k", "test_a_call_is_connected")
    assert done.returncode == 1, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    for line in shown_after(tutorial, "-k test_a_call_is_connected\n"):
        assert line in printed, line


@pytest.mark.timeout(180)
def test_the_tutorials_provider_is_found_and_measured_by_its_name(package: Package) -> None:
    listed = package.run("-m", "cti_framework.cli", "providers", "--check")
    assert re.search(r"^parlour +provider +loaded", listed.stdout, re.MULTILINE), listed.stdout + listed.stderr
    measured = package.run("-m", "cti_framework.cli", "conformance", "parlour", "-k", "test_a_call_is_answered")
    assert measured.returncode == 0, measured.stdout + measured.stderr
    assert "| ANSWER | yes | 2 | 0 |" in measured.stdout
    shown = package.run("-m", "cti_framework.cli", "demo", "--provider", "parlour")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "CallFinished" in shown.stdout


@pytest.mark.timeout(180)
def test_the_tutorials_way_is_looked_through(tutorial: str, package: Package, port: int) -> None:
    command = ("-m", "cti_framework.cli", "--settings", "parlour.toml", "doctor", "--user", "anna")
    done = package.run(*command, CTI_PARLOUR__PORT=str(port))
    assert done.returncode == 0, done.stdout + done.stderr
    printed = [_steady(line) for line in done.stdout.splitlines()]
    for line in shown_after(tutorial, "doctor --user anna\n"):
        assert _steady(line) in printed, done.stdout


@pytest.mark.timeout(180)
def test_the_tutorials_host_makes_a_call(tutorial: str, package: Package, port: int) -> None:
    done = package.run("-W", "error", "host.py", CTI_PARLOUR__PORT=str(port))
    assert (done.returncode, done.stderr) == (0, "")
    _, _, shown = tutorial.partition("$ python host.py\n")
    assert _printed(done.stdout) == shown.partition("```")[0].splitlines()


def test_the_tutorial_shows_nothing_wider_than_a_page(tutorial: str) -> None:
    for name, text in files(tutorial).items():
        assert all(len(line) <= 110 for line in text.splitlines()), name


def _steady(line: str) -> str:
    return re.sub(r"\d+ ms", "0 ms", line)


def _printed(output: str) -> list[str]:
    """Give what a program printed, without the log, which stands where it happens to."""
    return [line.rstrip() for line in output.splitlines() if not _LOGGED.match(line)]


# --- the pages about one thing


@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_pages_code_runs_and_prints_what_the_page_says(name: str, backend: str, tmp_path: Path) -> None:
    page = list(blocks((DOCS / "how-to" / f"{name}.md").read_text(encoding="utf-8")))
    program = tmp_path / "program.py"
    program.write_text("\n\n".join(block.code for block in page if block.language == "python"), encoding="utf-8")
    command = [sys.executable, "-W", "error", "-c", _ON_BACKEND, backend]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    expected = [line for block in page if block.caption == PRINTED for line in block.code.splitlines()]
    assert bool(expected) is (name not in _SILENT)
    assert _printed(done.stdout) == expected


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [0, 1])
def test_a_class_of_the_page_about_testing_is_all_that_pytest_needs(number: int, tmp_path: Path) -> None:
    page = blocks((DOCS / "how-to" / "test-a-provider.md").read_text(encoding="utf-8"))
    classes = [block.code for block in page if block.language == "python" and "class Test" in block.code]
    (tmp_path / "test_conformance.py").write_text(classes[number], encoding="utf-8")
    done = Package(tmp_path).pytest("-k", "test_a_call_is_made or test_known_failures or test_each_is_described")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_page_about_testing_has_each_key_of_what_a_pbx_hides() -> None:
    page = (DOCS / "how-to" / "test-a-provider.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| key of `hides` |")
    profiles = DOCS.parent / "cti_framework" / "testing" / "conformance" / "profiles"
    asked = {key for path in profiles.glob("*.py") for key in re.findall(r'shows="(\w+)"', path.read_text(encoding="utf-8"))}
    assert set(re.findall(r"^\| `(\w+)` \|", table.partition("\n\n")[0], re.MULTILINE)) == asked


# --- what the checks above stand on


def test_pieces_of_a_file_go_one_below_the_other() -> None:
    page = "\n".join(
        (
            "```{code-block} python\n:caption: `a.py`\n\none = 1\n```",
            "Words.",
            "```{code-block} python\n:caption: `b.py`\n\ntwo = 2\n```",
            "```{code-block} python\n:caption: `a.py`\n\nthree = 3\n```",
            "```{code-block} text\n:caption: it prints\n6\n```",
            "```{code-block} diff\n:caption: `a.py`\n-one = 1\n+one = 2\n```",
        )
    )
    assert files(page) == {"a.py": "one = 1\n\nthree = 3\n", "b.py": "two = 2\n"}


def test_a_change_that_does_not_fit_is_no_change() -> None:
    assert changed("a = 1\nb = 2\n", " a = 1\n-b = 2\n+b = 3\n") == "a = 1\nb = 3\n"
    with pytest.raises(AssertionError, match="not to be found"):
        changed("a = 1\n", "-a = 2\n+a = 3\n")
