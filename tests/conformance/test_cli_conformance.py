"""``cti conformance``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the extra cli is not installed")

from cti_framework.cli import conformance as command
from cti_framework.cli import main


def test_it_shows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "dummy", "-k", "test_the_operator_holds or test_answer_call_undeclared"]) == 0
    said = capsys.readouterr().out
    assert "| HOLD | yes | 2 | 0 | 0 | 0 | works |" in said
    assert "FAILED" not in said


def test_it_shows_the_table_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(["conformance", "Dummy", "--json", "--backend", "trio"]) == 0
    assert time.monotonic() - began < 45
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["provider"], told["passed"]) == ("dummy", True)
    verdicts = {row["name"]: row["verdict"] for row in told["rows"]}
    assert (verdicts["HOLD"], verdicts["CONSULT"], verdicts["lifecycle"]) == ("works", "not offered", "works")
    assert {test["backend"] for test in told["tests"]} == {"trio"}


def test_a_provider_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "dumy"]) == 1
    assert "Did you mean 'dummy'?" in capsys.readouterr().err


def test_an_expression_that_fits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "dummy", "-k", "test_no_such_test"]) == 1
    assert "No test fits 'test_no_such_test'" in capsys.readouterr().err


def test_without_pytest_it_says_what_to_install(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["conformance", "dummy"]) == 1
    assert 'pip install "cti-framework[testing]"' in capsys.readouterr().err


def test_what_there_was_no_time_for_is_no_success(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_BEGIN_SECONDS", 0.0)
    assert main(["conformance", "dummy", "--backend", "asyncio", "-k", "test_the_operator_holds"]) == 1
    said = capsys.readouterr()
    assert "| HOLD | yes | 0 | 0 | 0 | 1 | not measured |" in said.out
    assert "The time was up" in said.err


def test_what_does_not_end_is_ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_END_SECONDS", 0.2)
    assert main(["conformance", "dummy"]) == 1
    assert "did not end within 0.2 s" in capsys.readouterr().err


def installed(folder: Path, name: str, source: str) -> None:
    """Put a provider into a folder, as pip would."""
    distribution = folder / f"cti_{name}-0.1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cti-{name}\nVersion: 0.1\n")
    (distribution / "entry_points.txt").write_text(f"[cti_framework.providers]\n{name} = {name}_module:Provider\n")
    (folder / f"{name}_module.py").write_text(source)


def test_an_import_that_hangs_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(tmp_path, "hanging", "import threading\nthreading.Event().wait(30)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(command, "_IMPORT_SECONDS", 0.2)
    began = time.monotonic()
    assert main(["conformance", "hanging", "--json"]) == 1
    assert time.monotonic() - began < 20
    assert "did not end within 0.2 s" in json.loads(capsys.readouterr().err)["message"]


def test_what_is_printed_at_import_is_no_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(tmp_path, "talking", "print('hello')\nfrom cti_dummy import DummyCtiProvider as Provider\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["conformance", "talking", "--json", "--backend", "asyncio", "-k", "test_the_class_says_what_it_is"]) == 0
    assert json.loads(capsys.readouterr().out)["provider"] == "talking"


def test_a_process_that_a_provider_leaves_is_ended_and_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = """
import subprocess, sys, threading
from pathlib import Path
from cti_dummy import DummyCtiProvider

class Provider(DummyCtiProvider):
    @classmethod
    def simulator(cls):
        left = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(60)"])
        Path(__file__).with_name("left").write_text(str(left.pid))
        threading.Event().wait(60)
"""
    installed(tmp_path, "leaving", source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command, "_END_SECONDS", 8.0)
    began = time.monotonic()
    assert main(["conformance", "leaving", "-k", "test_a_session_declares_no_more"]) == 1
    assert time.monotonic() - began < 30
    assert "did not end within 8 s" in capsys.readouterr().err
    assert not is_running(int((tmp_path / "left").read_text()))


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only waiting for somebody to take notice of its end."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
