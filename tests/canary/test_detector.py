"""A canary that sings of nothing proves nothing: it hears secrets in every form in which they come out."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
import structlog

from cti_framework.errors import NetworkError
from cti_framework.redaction import SecretRedactor
from tests.canary.canary import Canary


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:", "user:"])
def test_it_hears_each_form(before: str) -> None:
    canary = Canary()
    secret = canary.secret("pass word")
    forms = [secret, json.dumps({"x": secret}), quote(f"={secret}&"), repr({"x": secret})]
    forms.append(base64.b64encode(f"{before}{secret}".encode()).decode())
    for number, form in enumerate(forms):
        canary.see(f"place {number}", f"before {form} after")
    assert set(canary.found()) == {f"place {number}" for number in range(len(forms))}
    assert "pass word" in canary.explain()
    assert not Canary().found()


def test_it_hears_what_hangs_on_an_error() -> None:
    canary = Canary()
    secret = canary.secret("x")
    hung_on: list[tuple[str, Exception, Exception | None]] = [
        ("tracebacks", NetworkError("harmless"), ValueError(secret)),
        ("errors", _with(NetworkError("harmless"), secret), None),
        ("tracebacks", ExceptionGroup("harmless", [ValueError(secret)]), None),
    ]
    for place, error, cause in hung_on:
        canary.seen.clear()
        with pytest.raises(Exception) as caught:
            raise_(error, cause)
        canary.see_error(caught.value)
        assert canary.found() == {place: {"x"}}


def raise_(error: Exception, cause: Exception | None) -> None:
    raise error from cause


def _with(error: Exception, secret: str) -> Exception:
    error.pbx_text = secret  # type: ignore[attr-defined]
    return error


@attrs.frozen
class _Shown:
    password: str


_Shown.__module__ = "cti_framework.of_a_test"


def test_it_hears_objects_files_and_logs(tmp_path: Path) -> None:
    canary = Canary()
    secret = canary.secret("x")
    kept = _Shown(secret)
    canary.see_objects()
    assert canary.found() == {"objects": {"x"}}
    del kept
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inside.txt", secret)
    canary.seen.clear()
    canary.see_file(tmp_path / "a.zip")
    assert canary.found() == {".zip: inside.txt": {"x"}}
    for redactor, found in ((None, {"log": {"x"}}), (SecretRedactor([secret]), {})):
        canary.seen.clear()
        with canary.logged(redactor):
            hidden = secret
            try:
                raise ValueError("harmless")
            except ValueError:
                structlog.get_logger("x").exception("with a local variable")
            assert hidden
        assert canary.found() == found
