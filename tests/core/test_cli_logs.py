"""The log of ``-v``: written to the standard error while a command runs, without secrets."""

from __future__ import annotations

import pytest
import structlog
from typed_settings.types import Secret

from cti_framework.cli.logs import log_to_stderr


def test_no_secret_is_in_the_log_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(2, colour=False):
        log = structlog.get_logger()
        log.info("sent", frame='{"exec-func":"auth","exec-args":{"secret":"hunter2"}}', token="hunter2", user=Secret("hunter2"))
        try:
            raise OSError("https://user:hunter2@pbx.example/?x_key=hunter2")
        except OSError:
            log.exception("failed")
    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert '"secret":"***"' in told
    assert "OSError: https://***@pbx.example/?x_key=***" in told
    assert "test_no_secret_is_in_the_log_of_the_command" in told


@pytest.mark.parametrize(("verbosity", "told"), [(0, set()), (1, {"loud", "quiet"}), (2, {"loud", "quiet", "low"}), (9, {"low"})])
def test_what_is_told_and_that_structlog_is_afterwards_as_it_was(
    verbosity: int, told: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = structlog.get_config()
    with log_to_stderr(verbosity, colour=False):
        log = structlog.get_logger()
        log.warning("loud")
        log.info("quiet")
        log.debug("low")
    assert structlog.get_config() == before
    shown = capsys.readouterr().err
    assert {word for word in ("loud", "quiet", "low") if word in shown} >= told
    if not verbosity:
        assert shown == ""
