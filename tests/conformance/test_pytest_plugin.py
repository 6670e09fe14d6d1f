"""The kit as an author's pytest runs it: in a process of its own, in a repository that is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

ACME = """
import pytest
from cti_framework.testing.conformance import HoldProfile, ProviderBench
from tests.conformance.mutants import {provider}, bench_of


class TestAcme(HoldProfile):
    {attribute}

    @pytest.fixture
    def bench(self) -> ProviderBench:
        return bench_of({provider}, known_failures={known})
"""


def run(folder: Path, *options: str, ini: str = "", modules: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    plugins = [word for module in ("cti_framework.pytest_plugin", *modules) for word in ("-p", module)]
    command = [sys.executable, "-m", "pytest", *plugins, "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50)


def acme(folder: Path, provider: str = "DummyCtiProvider", known: str = "{}", attribute: str = "pass") -> Path:
    text = dedent(ACME).format(provider=provider, known=known, attribute=attribute)
    text = text.replace("import DummyCtiProvider, bench_of", "import bench_of\nfrom cti_dummy import DummyCtiProvider")
    (folder / "test_acme.py").write_text(text, encoding="utf-8")
    return folder


def rows_of(said: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in cells}


def test_a_table_is_shown(tmp_path: Path) -> None:
    done = run(acme(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "conformance of dummy" in done.stdout
    assert rows_of(done.stdout)["HOLD"] == ["yes", "12", "0", "0", "0", "works"]


def test_a_failure_shows_the_rule_and_no_traceback(tmp_path: Path) -> None:
    done = run(acme(tmp_path, "Shouting"), "-k", "test_the_operator_holds and asyncio", "-rf")
    assert done.returncode == 1
    assert "hold.own: hold_call puts a call on hold" in done.stdout
    assert "written: docs/reference/conformance.md#hold-own" in done.stdout
    assert "rules.py" not in done.stdout
    assert rows_of(done.stdout)["HOLD"][-1] == "fails"


def test_a_known_failure_is_expected_and_told(tmp_path: Path) -> None:
    known = '{"test_the_operator_holds": "it shouts"}'
    done = run(acme(tmp_path, "Shouting", known), "-k", "test_the_operator_holds", "-rx")
    assert done.returncode == 0, done.stdout
    assert "it shouts" in done.stdout
    assert rows_of(done.stdout)["HOLD"] == ["yes", "0", "0", "2", "0", "known failures"]


def test_an_event_loop_can_be_left_out(tmp_path: Path) -> None:
    done = run(acme(tmp_path, attribute='not_on = {"trio": "no ears"}'), "-k", "test_the_operator_holds", "-rs")
    assert done.returncode == 0, done.stdout
    assert "not on trio: no ears" in done.stdout
    assert rows_of(done.stdout)["HOLD"] == ["yes", "1", "0", "0", "1", "works"]


def test_the_table_is_written_as_markdown(tmp_path: Path) -> None:
    run(acme(tmp_path), "--cti-table", "table.md", "-k", "asyncio")
    assert rows_of((tmp_path / "table.md").read_text(encoding="utf-8"))["UNHOLD"][-1] == "works"


def test_the_table_is_written_as_json(tmp_path: Path) -> None:
    run(acme(tmp_path), "--cti-table", "table.json", "-k", "test_the_operator_holds")
    (told,) = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert (told["provider"], told["passed"]) == ("dummy", True)
    tests: list[dict[str, Any]] = told["tests"]
    assert [(one["rule"], one["backend"], one["outcome"]) for one in tests] == [
        ("hold.own", "asyncio", "passed"),
        ("hold.own", "trio", "passed"),
    ]


def test_a_table_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    done = run(acme(tmp_path), "--cti-table", "table.txt")
    assert done.returncode == 4
    assert "ends in .md or .json" in done.stderr


def test_what_other_processes_measure_is_in_the_table(tmp_path: Path) -> None:
    pytest.importorskip("xdist.plugin", reason="pytest-xdist is not installed")
    done = run(acme(tmp_path), "-n", "1", "-k", "test_the_operator_holds", modules=("xdist.plugin",))
    assert done.returncode == 0, done.stdout
    assert rows_of(done.stdout)["HOLD"] == ["yes", "2", "0", "0", "0", "works"]


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_it_goes_together_with_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    pytest.importorskip("pytest_asyncio.plugin", reason="pytest-asyncio is not installed")
    done = run(
        acme(tmp_path), "-k", "test_the_operator_holds", ini=f"asyncio_mode = {mode}\n", modules=("pytest_asyncio.plugin",)
    )
    assert done.returncode == 0, done.stdout


def test_a_bench_has_to_be_given(tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(
        "from cti_framework.testing.conformance import HoldProfile\nclass TestAcme(HoldProfile): pass\n", encoding="utf-8"
    )
    done = run(tmp_path, "-x")
    assert "TestAcme has to override the fixture `bench`" in done.stdout


def test_where_the_kit_is_not_used_it_is_not_even_imported(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\n"
        "def test_it():\n"
        "    assert not [name for name in sys.modules if name.startswith('cti_framework.') and 'pytest_plugin' not in name]\n",
        encoding="utf-8",
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "conformance" not in done.stdout
