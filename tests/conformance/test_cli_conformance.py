"""``cti conformance``."""

from __future__ import annotations

import json
import time

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
